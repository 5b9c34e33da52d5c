//! The type of each operation from the types of its operands.

pub(crate) mod einsum;
pub(crate) mod layout;
pub(crate) mod list;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    code::Code,
    diagnostic::Diagnostic,
    model::ModelSpec,
    op::{Arity, Op, OpKind},
    types::{DType, Dim, ForwardType, Name, Shape, TensorType, Type, elements, promote_operands},
};

pub(crate) mod loops;
mod numeric;

pub(crate) use numeric::{clamp_dtype, is_bound};

/// The models that a program may use, by the program's names for them.
pub type Models = BTreeMap<Name, Arc<ModelSpec>>;

/// The type of `op` on operands of these types.
///
/// # Errors
/// A diagnostic without a place: the caller knows where the operation stands.
pub fn infer(op: &Op, operands: &[&Type], models: &Models) -> Result<Type, Diagnostic> {
    check_arity(op, operands.len())?;
    let tensor = |at: usize| as_tensor(op, at, operands[at]);
    let tensors = |from: usize| (from..operands.len()).map(tensor).collect::<Result<Vec<_>, _>>();
    let forward = |at: usize| match operands[at] {
        Type::Forward(forward) => Ok(forward),
        other => Err(wrong_kind(op, at, "a forward", other)),
    };
    Ok(match op {
        Op::Const { value } => value.ty(),

        Op::Forward { model } => {
            find_model(models, model)?;
            let Type::Tensor(tokens) = operands[0] else {
                return Err(wrong_kind(op, 0, "a tensor of token ids", operands[0]));
            };
            let [batch, length] = tokens.shape.as_slice() else { return Err(token_shape(tokens)) };
            if tokens.dtype != DType::I64 {
                return Err(token_shape(tokens));
            }
            let past = Dim::known(0);
            Type::Forward(ForwardType { model: model.clone(), batch: batch.clone(), tokens: length.clone(), past })
        }
        Op::Extend {} => Type::Forward(extended(forward(0)?, operands[1], op, models)?),
        Op::Read { hook } => Type::Tensor(hook_type(forward(0)?, hook, models)?),
        Op::Write { hook } => {
            let target = forward(0)?;
            let (expected, given) = (hook_type(target, hook, models)?, tensor(1)?);
            if *given != expected {
                return Err(wrong_write(hook, &expected, given));
            }
            Type::Forward(target.clone())
        }
        Op::Apply { model, module } => {
            let spec = find_model(models, model)?;
            let module = spec.module(module)?;
            spec.apply_type(module, tensor(0)?)?
        }

        Op::Call { returns, .. } => Type::clone(returns),
        // What stands around or inside them says which type they have: the verifier knows it.
        Op::Loop { .. } => return Err(Diagnostic::error(Code::E3007, "the type of a loop is that of its body's results")),
        Op::Param { .. } => return Err(loops::misplaced_parameter()),
        Op::EffectResult { entry } => return Err(loops::no_such_result(*entry)),

        Op::Input { dtype, shape, .. } | Op::Weight { dtype, shape, .. } => Type::tensor(*dtype, shape.iter().cloned()),
        Op::Hook { .. } => Type::Tensor(tensor(0)?.clone()),

        Op::Slice { dim, start, end, step } => {
            let mut ty = tensor(0)?.clone();
            let at = axis(&ty, *dim)?;
            ty.shape[at] = slice_size(&ty.shape[at], *start, *end, *step)?;
            Type::Tensor(ty)
        }
        Op::Index { dim, index } => {
            let mut ty = tensor(0)?.clone();
            let at = axis(&ty, *dim)?;
            let size = ty.shape.remove(at);
            let needed = if *index < 0 { index.checked_neg().unwrap_or(i64::MAX) } else { index.saturating_add(1) };
            match size.as_known() {
                Some(known) if needed > known => {
                    let error =
                        Diagnostic::error(Code::E1005, format!("index {index} lies outside dimension {dim}, which has size {known}"));
                    return Err(match known {
                        0 => error,
                        _ => error.help(format!("indices go from 0 to {}, or from -{known} to -1 counted from the end", known - 1)),
                    });
                }
                None if !size.at_least(needed) => return Err(undecided(&size, format!("index {index}"))),
                _ => Type::Tensor(ty),
            }
        }
        Op::Update { dim, start, end, step } => {
            let (whole, value) = (tensor(0)?, tensor(1)?);
            let at = axis(whole, *dim)?;
            let mut part = whole.clone();
            part.shape[at] = slice_size(&part.shape[at], *start, *end, *step)?;
            match broadcast(&part.shape, &value.shape) {
                Ok(shape) if shape == part.shape => Type::Tensor(whole.clone()),
                _ => {
                    return Err(Diagnostic::error(Code::E1003, format!("{value} does not fit the part {part} that it is to replace"))
                        .note("the value is broadcast to the part: aligned at the last dimension, each of its sizes must be 1 or equal"));
                }
            }
        }
        Op::Gather { dim } => {
            let (from, ids) = (tensor(0)?, tensor(1)?);
            let at = axis(from, *dim)?;
            index_dtype(op, ids)?;
            let too_large =
                |i: usize| i != at && matches!((ids.shape[i].as_known(), from.shape[i].as_known()), (Some(a), Some(b)) if a > b);
            if ids.rank() != from.rank() || (0..ids.rank()).any(too_large) {
                return Err(Diagnostic::error(Code::E1003, format!("`gather` cannot pick from {from} by {ids}"))
                    .note("the index has as many dimensions as the tensor and is nowhere larger, except along `dim`"));
            }
            Type::tensor(from.dtype, ids.shape.iter().cloned())
        }
        Op::Embedding {} => {
            let (table, ids) = (tensor(0)?, tensor(1)?);
            index_dtype(op, ids)?;
            let [_, size] = table.shape.as_slice() else {
                return Err(Diagnostic::error(
                    Code::E1003,
                    format!("`embedding` picks rows of a matrix, but its first operand is {table}"),
                )
                .help("`gather` and `index` pick elements of other tensors"));
            };
            Type::tensor(table.dtype, ids.shape.iter().cloned().chain([size.clone()]))
        }
        Op::IndexSelect { dim } => Type::Tensor(layout::index_select(op, tensor(0)?, tensor(1)?, *dim)?),
        Op::IndexBy { dims } => Type::Tensor(layout::index_by(op, tensor(0)?, &tensors(1)?, dims)?),
        Op::IndexPut { dims, .. } => Type::Tensor(layout::index_put(op, tensor(0)?, tensor(1)?, &tensors(2)?, dims)?),
        Op::Scatter { dim } | Op::ScatterAdd { dim } => Type::Tensor(layout::scatter(op, tensor(0)?, tensor(1)?, tensor(2)?, *dim)?),
        Op::NonZero { size, .. } => Type::Tensor(layout::nonzero(op, tensor(0)?, *size)?),
        Op::MaskedSelect { size, fill } => Type::Tensor(layout::masked_select(op, tensor(0)?, tensor(1)?, *size, *fill)?),
        Op::Reshape { shape } => Type::Tensor(reshape(tensor(0)?, shape)?),
        Op::Transpose { dim0, dim1 } => {
            let mut ty = tensor(0)?.clone();
            let (a, b) = (axis(&ty, *dim0)?, axis(&ty, *dim1)?);
            ty.shape.swap(a, b);
            Type::Tensor(ty)
        }
        Op::Unsqueeze { dim } => {
            let mut ty = tensor(0)?.clone();
            let at = new_axis(&ty, *dim)?;
            ty.shape.insert(at, Dim::known(1));
            Type::Tensor(ty)
        }
        Op::Squeeze { dim } => Type::Tensor(layout::squeeze(tensor(0)?, *dim)?),
        Op::Expand { shape } => Type::Tensor(layout::expand(tensor(0)?, shape)?),
        Op::Permute { dims } => Type::Tensor(layout::permute(tensor(0)?, dims)?),
        Op::Flatten { start, end } => Type::Tensor(layout::flatten(tensor(0)?, *start, *end)?),
        Op::Split { size, sizes, dim } => layout::split(tensor(0)?, *size, sizes, *dim)?,
        Op::Chunk { chunks, dim } => layout::chunk(tensor(0)?, *chunks, *dim)?,
        Op::Flip { dims } => Type::Tensor(layout::flip(tensor(0)?, dims)?),
        Op::Roll { shifts, dims } => Type::Tensor(layout::roll(tensor(0)?, shifts, dims)?),
        Op::Repeat { repeats } => Type::Tensor(layout::repeat(tensor(0)?, repeats)?),
        Op::RepeatInterleave { repeats, dim } => Type::Tensor(layout::repeat_interleave(tensor(0)?, *repeats, *dim)?),
        Op::Tril { .. } | Op::Triu { .. } => Type::Tensor(layout::triangle(op, tensor(0)?)?),
        Op::Diagonal { offset, dim0, dim1 } => Type::Tensor(layout::diagonal(tensor(0)?, *offset, *dim0, *dim1)?),
        Op::Cat { dim } => {
            let parts = (0..operands.len()).map(tensor).collect::<Result<Vec<_>, _>>()?;
            let at = axis(parts[0], *dim)?;
            let without =
                |ty: &TensorType| ty.shape.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, dim)| dim.clone()).collect::<Shape>();
            if let Some(other) = parts.iter().find(|ty| ty.rank() != parts[0].rank() || without(ty) != without(parts[0])) {
                return Err(Diagnostic::error(Code::E1003, format!("`cat` along dimension {dim} cannot join {} and {other}", parts[0]))
                    .note("tensors that are joined differ in the size of that dimension only"));
            }
            let size = parts.iter().fold(Dim::known(0), |sum, ty| sum + ty.shape[at].clone());
            let dtype = parts.iter().map(|ty| ty.dtype).reduce(DType::promote).unwrap_or(DType::F32);
            let mut ty = TensorType { dtype, ..parts[0].clone() };
            ty.shape[at] = size;
            Type::Tensor(ty)
        }
        Op::Stack { dim } => {
            let parts = (0..operands.len()).map(tensor).collect::<Result<Vec<_>, _>>()?;
            let at = new_axis(parts[0], *dim)?;
            if let Some(other) = parts.iter().find(|ty| ty.shape != parts[0].shape) {
                return Err(Diagnostic::error(
                    Code::E1003,
                    format!("`stack` needs tensors of one shape, but gets {} and {other}", parts[0]),
                )
                .help("`cat` joins tensors of different sizes along a dimension that they have"));
            }
            let dtype = parts.iter().map(|ty| ty.dtype).reduce(DType::promote).unwrap_or(DType::F32);
            let mut ty = TensorType { dtype, ..parts[0].clone() };
            ty.shape.insert(at, Dim::from(parts.len()));
            Type::Tensor(ty)
        }
        Op::Cast { dtype } => Type::Tensor(TensorType { dtype: *dtype, ..tensor(0)?.clone() }),

        Op::Full { shape, value, dtype } => Type::Tensor(layout::full(op, shape, value, *dtype)?),
        Op::Arange { start, end, step, dtype } => Type::Tensor(layout::arange(*start, *end, *step, *dtype)?),
        Op::Linspace { steps, dtype, .. } => Type::Tensor(layout::linspace(op, *steps, *dtype)?),
        Op::Eye { rows, columns, dtype } => Type::Tensor(layout::eye(op, *rows, *columns, *dtype)?),
        Op::OneHot { classes } => Type::Tensor(layout::one_hot(op, tensor(0)?, *classes)?),
        Op::RandomUniform { shape, dtype, .. } | Op::RandomNormal { shape, dtype, .. } | Op::RandomInt { shape, dtype, .. } => {
            Type::Tensor(layout::random(op, operands.first().copied(), shape, *dtype)?)
        }
        Op::Sample { .. } => numeric::sample(op, tensor(0)?, operands.get(1).copied())?,

        Op::Add {} | Op::Mul {} | Op::Maximum {} | Op::Minimum {} => Type::Tensor(elementwise(op, &[tensor(0)?, tensor(1)?])?),
        Op::Sub {} => {
            let ty = elementwise(op, &[tensor(0)?, tensor(1)?])?;
            if tensor(0)?.dtype == DType::Bool || tensor(1)?.dtype == DType::Bool {
                return Err(wrong_dtype(op, DType::Bool, "numbers").help("use `ne` for the difference of bools, or cast them"));
            }
            Type::Tensor(ty)
        }
        Op::Div {} => {
            let ty = elementwise(op, &[tensor(0)?, tensor(1)?])?;
            Type::Tensor(TensorType { dtype: float_of(ty.dtype), ..ty })
        }
        Op::Pow {} | Op::Remainder {} | Op::Fmod {} | Op::FloorDiv {} => numeric::of_numbers(op, tensor(0)?, tensor(1)?)?,
        Op::Atan2 {} => numeric::to_floats(op, tensor(0)?, tensor(1)?)?,
        Op::Logaddexp {} => numeric::of_floats(op, tensor(0)?, tensor(1)?)?,
        Op::Sign {} => Type::Tensor(tensor(0)?.clone()),
        Op::Square {} => numeric::square(tensor(0)?),
        Op::Clamp { min, max } => numeric::clamp(tensor(0)?, *min, *max)?,
        Op::Neg {} | Op::Abs {} | Op::Floor {} | Op::Ceil {} | Op::Round {} | Op::Trunc {} | Op::Relu {} => {
            let ty = tensor(0)?;
            numbers(op, ty)?;
            Type::Tensor(ty.clone())
        }
        Op::Exp {} | Op::Log {} | Op::Sqrt {} | Op::Sigmoid {} | Op::Tanh {} => {
            let ty = tensor(0)?;
            Type::Tensor(TensorType { dtype: float_of(ty.dtype), ..ty.clone() })
        }
        Op::Reciprocal {}
        | Op::Rsqrt {}
        | Op::Exp2 {}
        | Op::Expm1 {}
        | Op::Log1p {}
        | Op::Log2 {}
        | Op::Log10 {}
        | Op::Sin {}
        | Op::Cos {}
        | Op::Tan {}
        | Op::Asin {}
        | Op::Acos {}
        | Op::Atan {}
        | Op::Sinh {}
        | Op::Cosh {}
        | Op::Erf {} => {
            let ty = tensor(0)?;
            Type::Tensor(TensorType { dtype: float_of(ty.dtype), ..ty.clone() })
        }
        Op::Silu {} => Type::Tensor(floats(op, tensor(0)?)?.clone()),
        Op::Gelu { approximate } => {
            if !matches!(&**approximate, "none" | "tanh") {
                return Err(Diagnostic::error(Code::E1008, format!("`approximate` of `gelu` is `none` or `tanh`, not `{approximate}`")));
            }
            Type::Tensor(floats(op, tensor(0)?)?.clone())
        }
        Op::Frac {} | Op::LeakyRelu { .. } | Op::Elu { .. } | Op::Softplus { .. } | Op::Mish {} | Op::LogSigmoid {} => {
            Type::Tensor(floats(op, tensor(0)?)?.clone())
        }
        Op::Eq {} | Op::Ne {} | Op::Lt {} | Op::Le {} | Op::Gt {} | Op::Ge {} | Op::And {} | Op::Or {} | Op::Xor {} => {
            let ty = elementwise(op, &[tensor(0)?, tensor(1)?])?;
            Type::Tensor(TensorType { dtype: DType::Bool, ..ty })
        }
        Op::Not {} | Op::Isnan {} | Op::Isinf {} | Op::Isfinite {} => Type::Tensor(TensorType { dtype: DType::Bool, ..tensor(0)?.clone() }),
        Op::Select {} => {
            let (condition, yes, no) = (tensor(0)?, tensor(1)?, tensor(2)?);
            if condition.dtype != DType::Bool {
                return Err(wrong_dtype(op, condition.dtype, "a bool condition").help("compare first: `select(gt(x, 0), …)`"));
            }
            let ty = elementwise(op, &[yes, no])?;
            let shape = broadcast(&ty.shape, &condition.shape).map_err(|()| no_broadcast(op, &[condition, yes, no]))?;
            Type::Tensor(TensorType { shape, ..ty })
        }

        Op::Softmax { dim } => {
            let ty = floats(op, tensor(0)?)?;
            axis(ty, *dim)?;
            Type::Tensor(ty.clone())
        }
        Op::Argmax { dim, keepdim } | Op::Argmin { dim, keepdim } => {
            let ty = tensor(0)?;
            numbers(op, ty)?;
            let dims: Vec<i64> = dim.iter().copied().collect();
            let reduced = reduce(ty, &dims, *keepdim)?;
            not_empty(op, ty, &dims)?;
            Type::Tensor(TensorType { dtype: DType::I64, ..reduced })
        }
        Op::TopK { k, dim, .. } => {
            let mut ty = tensor(0)?.clone();
            numbers(op, &ty)?;
            let at = axis(&ty, *dim)?;
            if *k < 0 {
                return Err(Diagnostic::error(Code::E1008, format!("`topk` cannot take {k} elements: `k` is 0 or more"))
                    .help("for the smallest elements: `{largest: false}`"));
            }
            if ty.shape[at].as_known().is_some_and(|size| *k > size) {
                return Err(Diagnostic::error(
                    Code::E1008,
                    format!("`topk` cannot take {k} elements along dimension {dim}, which has size {}", ty.shape[at]),
                ));
            }
            if ty.shape[at].as_known().is_none() && !ty.shape[at].at_least(*k) {
                return Err(undecided(&ty.shape[at], format!("taking the top {k}")));
            }
            ty.shape[at] = Dim::known(*k);
            let indices = TensorType { dtype: DType::I64, ..ty.clone() };
            Type::Tuple([Type::Tensor(ty), Type::Tensor(indices)].into())
        }
        Op::Sum { dims, keepdim } => {
            let ty = tensor(0)?;
            let dtype = if ty.dtype.is_float() { ty.dtype } else { DType::I64 };
            Type::Tensor(TensorType { dtype, ..reduce(ty, dims, *keepdim)? })
        }
        Op::Mean { dims, keepdim } => Type::Tensor(reduce(floats(op, tensor(0)?)?, dims, *keepdim)?),
        Op::Max { dims, keepdim } | Op::Min { dims, keepdim } => {
            let ty = tensor(0)?;
            let reduced = reduce(ty, dims, *keepdim)?;
            not_empty(op, ty, dims)?;
            Type::Tensor(reduced)
        }

        Op::LogSoftmax { dim } => numeric::log_softmax(op, tensor(0)?, *dim)?,
        Op::Sort { dim, .. } => numeric::sort(tensor(0)?, *dim)?,
        Op::Cumsum { dim } | Op::Cumprod { dim } => numeric::scan(tensor(0)?, *dim)?,
        Op::Prod { dims, keepdim } => numeric::prod(tensor(0)?, dims, *keepdim)?,
        Op::Any { dims, keepdim } | Op::All { dims, keepdim } => numeric::quantifier(tensor(0)?, dims, *keepdim)?,
        Op::Logsumexp { dims, keepdim } => numeric::logsumexp(tensor(0)?, dims, *keepdim)?,
        Op::Norm { p, dims, keepdim } => numeric::norm(op, tensor(0)?, p.get(), dims, *keepdim)?,
        Op::Var { dims, keepdim, .. } | Op::Std { dims, keepdim, .. } => numeric::spread(op, tensor(0)?, dims, *keepdim)?,

        Op::CosineSimilarity { dim, .. } => numeric::cosine_similarity(op, tensor(0)?, tensor(1)?, *dim)?,
        Op::CrossEntropy { reduction, label_smoothing, .. } => {
            numeric::cross_entropy(op, tensor(0)?, tensor(1)?, *reduction, label_smoothing.get())?
        }
        Op::KlDiv { reduction, .. } => numeric::kl_div(op, tensor(0)?, tensor(1)?, *reduction)?,

        Op::Matmul {} => Type::Tensor(matmul(op, tensor(0)?, tensor(1)?)?),
        Op::Einsum { equation } => Type::Tensor(einsum::einsum(op, equation, &tensors(0)?)?),
        Op::RmsNorm { .. } => {
            let (x, weight) = (floats(op, tensor(0)?)?, tensor(1)?);
            let Some(size) = x.shape.last() else {
                return Err(Diagnostic::error(Code::E1004, format!("`rms_norm` goes along the last dimension, but {x} has none")));
            };
            let expected = TensorType::new(x.dtype, [size.clone()]);
            if weight.shape != expected.shape {
                return Err(Diagnostic::error(Code::E1003, format!("`rms_norm` of {x} needs the weight {expected}, but gets {weight}"))
                    .note("the weight has one element for each of the last dimension"));
            }
            if weight.dtype != x.dtype {
                return Err(mixed_dtypes(op, x.dtype, weight.dtype));
            }
            Type::Tensor(x.clone())
        }
        Op::LayerNorm { .. } => {
            let x = floats(op, tensor(0)?)?;
            let Some(size) = x.shape.last() else {
                return Err(Diagnostic::error(Code::E1004, format!("`layer_norm` goes along the last dimension, but {x} has none")));
            };
            let expected = TensorType::new(x.dtype, [size.clone()]);
            for at in 1..operands.len() {
                let (what, given) = (if at == 1 { "weight" } else { "bias" }, tensor(at)?);
                if given.shape != expected.shape {
                    return Err(Diagnostic::error(
                        Code::E1003,
                        format!("`layer_norm` of {x} needs the {what} {expected}, but gets {given}"),
                    )
                    .note("weight and bias have one element for each of the last dimension"));
                }
                if given.dtype != x.dtype {
                    return Err(mixed_dtypes(op, x.dtype, given.dtype));
                }
            }
            Type::Tensor(x.clone())
        }
        Op::Rotary { .. } => {
            let (x, positions, frequencies) = (floats(op, tensor(0)?)?, tensor(1)?, tensor(2)?);
            if x.rank() != 4 || positions.dtype != DType::I64 || positions.shape[..] != x.shape[..2] {
                return Err(Diagnostic::error(Code::E1003, format!("`rotary` cannot turn {x} by positions {positions}"))
                    .note("the first is [batch, tokens, heads, size], the second i64 [batch, tokens]"));
            }
            if frequencies.rank() != 1 || frequencies.dtype != DType::F32 {
                return Err(Diagnostic::error(
                    Code::E1003,
                    format!("`rotary` takes the inverse frequencies as f32 [pairs], not as {frequencies}"),
                ));
            }
            let (pairs, size) = (frequencies.shape[0].as_known(), x.shape[3].as_known());
            if pairs.is_none_or(|pairs| pairs < 1 || size.is_none_or(|size| pairs > size / 2)) {
                let message = format!("`rotary` cannot turn {} pairs of elements of a head that has {}", frequencies.shape[0], x.shape[3]);
                return Err(Diagnostic::error(Code::E1003, message)
                    .note("there is an inverse frequency for each pair of elements that turns; a head has at most half its size of them"));
            }
            Type::Tensor(x.clone())
        }
        Op::CausalMask { window } => {
            let scores = floats(op, tensor(0)?)?;
            if scores.rank() < 2 {
                return Err(Diagnostic::error(Code::E1004, format!("`causal_mask` needs two dimensions or more, but gets {scores}"))
                    .note("the last two are queries and keys"));
            }
            if window.is_some_and(|window| window < 1) {
                return Err(Diagnostic::error(Code::E1008, "a window holds at least the query's own position: `window` is 1 or more")
                    .help("without `window`, a query sees all keys up to its own"));
            }
            Type::Tensor(scores.clone())
        }

        Op::Tuple {} => Type::Tuple(operands.iter().map(|&ty| ty.clone()).collect()),
        Op::Get { index } => match operands[0] {
            Type::Tuple(parts) => match usize::try_from(*index).ok().and_then(|index| parts.get(index)) {
                Some(part) => part.clone(),
                None => {
                    let message = format!("the tuple has {}; there is no part {index}", count(parts.len(), "part"));
                    return Err(Diagnostic::error(Code::E1005, message).note("parts are counted from 0"));
                }
            },
            other => return Err(wrong_kind(op, 0, "a tuple", other)),
        },

        Op::List { of } => list::list(op, of.as_deref(), operands)?,
        Op::Append {} => list::append(op, operands)?,
        Op::Join {} => list::join(op, operands)?,
        Op::Item { index } => list::item(op, *index, operands)?,
        Op::Length {} => list::length(op, operands)?,
        Op::Format { template } => list::format(op, template, operands)?,
    })
}

fn check_arity(op: &Op, given: usize) -> Result<(), Diagnostic> {
    let (kind, arity) = (op.kind(), op.kind().arity());
    if arity.accepts(given) {
        return Ok(());
    }
    let (expected, too_many) = match arity {
        Arity::Exactly(n) => (count(n, "operand"), given > n),
        Arity::AtLeast(n) => (format!("{} or more", count(n, "operand")), false),
        Arity::Between(least, most) => (format!("{least} to {}", count(most, "operand")), given > most),
    };
    let message =
        format!("`{}` takes {expected}, but gets {}", kind.name(), if given == 0 { "none".to_owned() } else { given.to_string() });
    let error = Diagnostic::error(Code::E1001, message).note(format!("`{}`: {}", kind.name(), gist(kind)));
    let dimension = kind.attrs().iter().find(|decl| too_many && matches!(decl.name, "dim" | "dims"));
    Err(match (op, dimension) {
        (Op::Forward { .. }, _) if too_many => {
            error.help("each prompt is a forward of its own; or give several of one length as token ids")
        }
        (_, Some(decl)) => {
            let example = if decl.name == "dim" { "-1" } else { "[-1]" };
            error.help(format!("the dimension is an attribute: `{}(…) {{{}: {example}}}`", kind.name(), decl.name))
        }
        _ => error,
    })
}

/// The first sentence of what an operation does.
fn gist(kind: OpKind) -> String {
    let doc = kind.doc().split_whitespace().collect::<Vec<_>>().join(" ");
    let end = doc.find(". ").unwrap_or(doc.len());
    doc[..end].trim_end_matches('.').to_owned()
}

/// `1 operand`, `2 operands`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

pub(crate) fn find_model<'a>(models: &'a Models, name: &str) -> Result<&'a ModelSpec, Diagnostic> {
    models.get(name).map(|spec| &**spec).ok_or_else(|| {
        Diagnostic::error(Code::E2002, format!("the program declares no model `{name}`"))
            .suggest(name, models.keys().map(|name| &**name))
            .help(format!("declare it in the head of the graph: `models {{ {name}: \"smollm2\" }}`"))
    })
}

/// The type of the value at a hook of a forward. The second dimension of tokens is that of keys, which begins with those
/// of earlier forwards.
fn hook_type(forward: &ForwardType, hook: &str, models: &Models) -> Result<TensorType, Diagnostic> {
    let spec = find_model(models, &forward.model)?;
    let ty = spec.hook_type(spec.hook(hook)?);
    let mut seen = false;
    let shape = ty.shape.iter().map(|dim| {
        let keys = seen;
        seen |= dim.mentions("T");
        dim.substitute(&|symbol| match symbol {
            "B" => Some(forward.batch.clone()),
            "T" if keys => Some(forward.length()),
            "T" => Some(forward.tokens.clone()),
            _ => None,
        })
    });
    Ok(TensorType { dtype: ty.dtype, shape: shape.collect() })
}

/// A forward that goes on with more tokens.
fn extended(forward: &ForwardType, tokens: &Type, op: &Op, models: &Models) -> Result<ForwardType, Diagnostic> {
    let spec = find_model(models, &forward.model)?;
    if !spec.causal() {
        return Err(Diagnostic::error(Code::E2009, format!("a forward of `{}` cannot be extended", forward.model))
            .note("in this model positions see later ones, so more tokens change the values at earlier positions")
            .help("run all tokens as one forward"));
    }
    let Type::Tensor(given) = tokens else { return Err(wrong_kind(op, 1, "a tensor of token ids", tokens)) };
    match given.shape.as_slice() {
        [batch, length] if given.dtype == DType::I64 && *batch == forward.batch => {
            Ok(ForwardType { model: forward.model.clone(), batch: batch.clone(), tokens: length.clone(), past: forward.length() })
        }
        _ => {
            let message = format!("`extend` takes token ids as i64 [{}, tokens] here, but gets {given}", forward.batch);
            Err(Diagnostic::error(Code::E2004, message).note("each sequence of the forward goes on with as many tokens"))
        }
    }
}

fn as_tensor<'a>(op: &Op, at: usize, ty: &'a Type) -> Result<&'a TensorType, Diagnostic> {
    ty.as_tensor().ok_or_else(|| wrong_kind(op, at, "a tensor", ty))
}

fn wrong_kind(op: &Op, at: usize, expected: &str, found: &Type) -> Diagnostic {
    let error = Diagnostic::error(Code::E1002, format!("operand {} of `{}` must be {expected}, but is {found}", at + 1, op.kind().name()));
    match (op, found) {
        (Op::Forward { .. }, _) => error.help("give token ids, i64 [batch, tokens], or the prompt itself: `forward(\"The …\")`"),
        (Op::Write { .. }, _) if at == 0 => error.help("the forward comes first, then the value: `write(f, value) {hook: …}`"),
        (_, Type::Forward(_)) => error.help("`read(f) {hook: …}` gives a tensor of a forward"),
        (Op::Read { .. }, _) => error.help("forwards come from `forward(tokens) {model: …}` and `write(f, value) {hook: …}`"),
        (Op::Get { .. }, _) => error.help("parts of a tensor are cut out with `index` and `slice`"),
        (_, Type::Tuple(_)) => error.help("`get(t) {index: 0}` gives the first part of a tuple"),
        (_, Type::List(_)) => error.help("`item(list) {index: 0}` gives the first value of a list"),
        (_, Type::Str) => error.help("numbers stand without quotes"),
        (_, Type::Tensor(_) | Type::Opaque) => error,
    }
}

/// A value of another type than the hook that it is written to.
fn wrong_write(hook: &str, expected: &TensorType, given: &TensorType) -> Diagnostic {
    let error = Diagnostic::error(Code::E2003, format!("`{hook}` holds {expected}, but {given} is written to it"));
    if given.dtype != expected.dtype {
        return error.help(format!("cast the value: `cast(…) {{dtype: {}}}`", expected.dtype));
    }
    let update = format!("update(read(f) {{hook: \"{hook}\"}}, value)");
    let differ: Vec<usize> = (0..given.rank()).filter(|&at| given.shape.get(at) != expected.shape.get(at)).collect();
    match differ[..] {
        [dim] if given.rank() == expected.rank() => {
            error.help(format!("a part of a hook is set with `{update} {{dim: {dim}, start: …, end: …}}`"))
        }
        _ if broadcast(&given.shape, &expected.shape).as_ref() == Ok(&expected.shape) => {
            error.help(format!("values are not broadcast to a hook by themselves; this sets all of it: `{update} {{dim: 0}}`"))
        }
        _ => error,
    }
}

fn wrong_dtype(op: &Op, found: DType, expected: &str) -> Diagnostic {
    Diagnostic::error(Code::E1006, format!("`{}` needs {expected}, but gets {found}", op.kind().name()))
}

fn mixed_dtypes(op: &Op, a: DType, b: DType) -> Diagnostic {
    Diagnostic::error(Code::E1006, format!("`{}` needs numbers of one type, but gets {a} and {b}", op.kind().name()))
        .help(format!("cast one of them: `cast(x) {{dtype: {}}}`", a.promote(b)))
}

fn floats<'a>(op: &Op, ty: &'a TensorType) -> Result<&'a TensorType, Diagnostic> {
    if ty.dtype.is_float() { Ok(ty) } else { Err(wrong_dtype(op, ty.dtype, "floats").help("cast it first: `cast(x) {dtype: f32}`")) }
}

fn numbers(op: &Op, ty: &TensorType) -> Result<(), Diagnostic> {
    match ty.dtype {
        DType::Bool => Err(wrong_dtype(op, DType::Bool, "numbers").help("cast it first: `cast(x) {dtype: i64}`")),
        _ => Ok(()),
    }
}

fn index_dtype(op: &Op, ty: &TensorType) -> Result<(), Diagnostic> {
    match ty.dtype {
        DType::I64 | DType::I32 => Ok(()),
        other => Err(wrong_dtype(op, other, "indices of type i64 or i32").help("cast them first: `cast(x) {dtype: i64}`")),
    }
}

fn token_shape(found: &TensorType) -> Diagnostic {
    Diagnostic::error(Code::E2004, format!("`forward` takes token ids as i64 [batch, tokens], but gets {found}"))
        .help("one prompt is a batch of one: `[[504, 15341, 270]]`; or give the prompt itself: `forward(\"The …\")`")
}

/// The float type of a true division or a transcendental function.
fn float_of(dtype: DType) -> DType {
    if dtype.is_float() { dtype } else { DType::F32 }
}

fn axis(ty: &TensorType, dim: i64) -> Result<usize, Diagnostic> {
    normalise_axis(dim, ty.rank()).ok_or_else(|| {
        let message = format!("dimension {dim} is out of range: {ty} has {}", count(ty.rank(), "dimension"));
        with_range(Diagnostic::error(Code::E1004, message), ty.rank())
    })
}

fn new_axis(ty: &TensorType, dim: i64) -> Result<usize, Diagnostic> {
    let rank = ty.rank() + 1;
    normalise_axis(dim, rank).ok_or_else(|| {
        let message = format!("the new dimension cannot be at {dim}: with it, {ty} has {}", count(rank, "dimension"));
        with_range(Diagnostic::error(Code::E1004, message), rank)
    })
}

/// Says which numbers dimensions have.
fn with_range(error: Diagnostic, rank: usize) -> Diagnostic {
    match rank {
        0 => error.note("it is a single number"),
        1 => error.help("the only dimension is 0"),
        _ => error.help(format!("dimensions go from 0 to {}, or from -{rank} to -1 counted from the last", rank - 1)),
    }
}

/// Dimension `dim` of `rank`, counting from the last where it is negative.
pub fn normalise_axis(dim: i64, rank: usize) -> Option<usize> {
    let rank_i = i64::try_from(rank).ok()?;
    let at = if dim < 0 { dim.checked_add(rank_i)? } else { dim };
    (0..rank_i).contains(&at).then_some(at as usize)
}

fn undecided(size: &Dim, what: String) -> Diagnostic {
    Diagnostic::error(Code::E1005, format!("{what} cannot be decided for a dimension of size {size}"))
        .note("symbols stand for any size of at least 1")
        .help("give the prompt or the token ids, so that sizes are known")
}

/// The size of `start:end:step` of a dimension.
fn slice_size(size: &Dim, start: Option<i64>, end: Option<i64>, step: i64) -> Result<Dim, Diagnostic> {
    if step < 1 {
        let error = Diagnostic::error(Code::E1008, format!("the step of a slice is at least 1, not {step}"));
        return Err(if step < 0 { error.note("slices go forward; PyTorch has no others either") } else { error });
    }
    if let Some(size) = size.as_known() {
        let bound =
            |at: Option<i64>, default: i64| at.map_or(default, |at| if at < 0 { at.saturating_add(size).max(0) } else { at.min(size) });
        let length = bound(end, size) - bound(start, 0);
        return Ok(Dim::known(if length <= 0 { 0 } else { (length - 1) / step + 1 }));
    }
    let bound = |at: i64| {
        let inside = size.at_least(at.checked_abs().unwrap_or(i64::MAX));
        let from_end = if at < 0 { size.clone() } else { Dim::known(0) };
        if inside { Ok(from_end + Dim::known(at)) } else { Err(undecided(size, format!("a slice bound of {at}"))) }
    };
    let first = start.map_or(Ok(Dim::known(0)), bound)?;
    let last = end.map_or(Ok(size.clone()), bound)?;
    let length = last - first;
    match length.as_known() {
        Some(length) => Ok(Dim::known(if length <= 0 { 0 } else { (length - 1) / step + 1 })),
        None if step == 1 && length.at_least(0) => Ok(length),
        None => Err(undecided(size, "the number of steps of a slice".to_owned())),
    }
}

/// Refuses sizes of a new shape that are neither numbers nor made of sizes of the old one.
fn check_sizes(from: &TensorType, shape: &[Dim], listed: &dyn Fn() -> String) -> Result<(), Diagnostic> {
    if let Some(unknown) = shape.iter().flat_map(Dim::symbols).find(|symbol| from.shape.iter().all(|dim| !dim.symbols().contains(symbol))) {
        return Err(Diagnostic::error(Code::E1008, format!("the size `{unknown}` of the shape {} is not a size of {from}", listed()))
            .help("give numbers; one size may be -1: what is left"));
    }
    if let Some(wrong) = shape.iter().filter_map(Dim::as_known).find(|size| *size < -1) {
        return Err(Diagnostic::error(Code::E1008, format!("a size cannot be {wrong}"))
            .note("sizes are 0 or more; one may be -1, which stands for what is left"));
    }
    Ok(())
}

fn reshape(from: &TensorType, shape: &[Dim]) -> Result<TensorType, Diagnostic> {
    let total = elements(&from.shape);
    let open = shape.iter().filter(|dim| dim.as_known() == Some(-1)).count();
    let given = shape.iter().filter(|dim| dim.as_known() != Some(-1)).cloned().fold(Dim::known(1), |product, dim| product * dim);
    let listed = || format!("[{}]", shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "));
    check_sizes(from, shape, &listed)?;
    if open > 1 {
        return Err(Diagnostic::error(Code::E1008, format!("only one size may be left open with -1, not {open}: {}", listed())));
    }
    let mismatch = || {
        let message = match open {
            0 => format!("{from} has {total} elements, the shape {} has {given}", listed()),
            _ => format!("{from} has {total} elements, which cannot be divided by the {given} of {}", listed()),
        };
        Diagnostic::error(Code::E1003, message)
    };
    let rest = match open {
        0 if given == total => Dim::known(0),
        0 => return Err(mismatch()),
        _ => total.exact_div(&given).ok_or_else(mismatch)?,
    };
    let filled = shape.iter().map(|dim| if dim.as_known() == Some(-1) { rest.clone() } else { dim.clone() });
    Ok(TensorType { dtype: from.dtype, shape: filled.collect() })
}

/// The shape of an element-wise operation on both, aligned at the last dimension.
fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Shape, ()> {
    let rank = a.len().max(b.len());
    let one = Dim::known(1);
    (0..rank)
        .map(|at| {
            let dim = |shape: &[Dim]| (at + shape.len()).checked_sub(rank).map_or_else(|| one.clone(), |at| shape[at].clone());
            match (dim(a), dim(b)) {
                (a, b) if a == b || b == one => Ok(a),
                (a, b) if a == one => Ok(b),
                _ => Err(()),
            }
        })
        .collect()
}

fn elementwise(op: &Op, operands: &[&TensorType]) -> Result<TensorType, Diagnostic> {
    let dtype = promote_operands(operands.iter().map(|ty| (ty.dtype, ty.rank()))).unwrap_or(DType::F32);
    let shape =
        operands.iter().try_fold(Shape::new(), |shape, ty| broadcast(&shape, &ty.shape)).map_err(|()| no_broadcast(op, operands))?;
    Ok(TensorType { dtype, shape })
}

fn no_broadcast(op: &Op, operands: &[&TensorType]) -> Diagnostic {
    let types: Vec<String> = operands.iter().map(|ty| ty.to_string()).collect();
    let types = match types.as_slice() {
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
        [] => String::new(),
    };
    Diagnostic::error(Code::E1003, format!("`{}` cannot combine {types}", op.kind().name()))
        .note("shapes are aligned at the last dimension; sizes must be equal, or one of them 1")
}

/// Dimensions to reduce, from the attribute: none given means all.
pub fn reduced_axes(dims: &[i64], rank: usize) -> Option<Vec<usize>> {
    if dims.is_empty() {
        return Some((0..rank).collect());
    }
    let mut axes = dims.iter().map(|&dim| normalise_axis(dim, rank)).collect::<Option<Vec<_>>>()?;
    axes.sort_unstable();
    let count = axes.len();
    axes.dedup();
    (axes.len() == count).then_some(axes)
}

fn reduce(ty: &TensorType, dims: &[i64], keepdim: bool) -> Result<TensorType, Diagnostic> {
    dims.iter().try_for_each(|&dim| axis(ty, dim).map(drop))?;
    let axes = reduced_axes(dims, ty.rank()).ok_or_else(|| {
        Diagnostic::error(Code::E1004, format!("{dims:?} names a dimension of {ty} twice"))
            .note("negative numbers count from the last dimension, which is -1")
    })?;
    let shape = ty.shape.iter().enumerate().filter_map(|(at, dim)| match axes.contains(&at) {
        true => keepdim.then(|| Dim::known(1)),
        false => Some(dim.clone()),
    });
    Ok(TensorType { dtype: ty.dtype, shape: shape.collect() })
}

fn not_empty(op: &Op, ty: &TensorType, dims: &[i64]) -> Result<(), Diagnostic> {
    let axes = reduced_axes(dims, ty.rank()).unwrap_or_default();
    if axes.iter().any(|&at| ty.shape[at].as_known() == Some(0)) {
        return Err(Diagnostic::error(Code::E1003, format!("`{}` of no elements has no value, but the operand is {ty}", op.kind().name())));
    }
    Ok(())
}

fn matmul(op: &Op, a: &TensorType, b: &TensorType) -> Result<TensorType, Diagnostic> {
    let mismatch = || {
        let error = Diagnostic::error(Code::E1003, format!("`matmul` cannot multiply {a} by {b}"));
        if a.rank() == 0 || b.rank() == 0 {
            return error.help("`mul` multiplies by a single number");
        }
        let error =
            error.note("the last dimension of the first must equal the last but one of the second; what precedes them is broadcast");
        let transposed = b.rank() > 1 && a.shape.last() == b.shape.last();
        if transposed { error.help("transpose the second: `transpose(x) {dim0: -2, dim1: -1}`") } else { error }
    };
    numbers(op, a)?;
    numbers(op, b)?;
    if a.dtype != b.dtype {
        return Err(mixed_dtypes(op, a.dtype, b.dtype));
    }
    if a.rank() == 0 || b.rank() == 0 {
        return Err(mismatch());
    }
    let (rows, inner) = (a.shape[..a.rank() - 1].last().cloned(), a.shape[a.rank() - 1].clone());
    let columns = (b.rank() > 1).then(|| b.shape[b.rank() - 1].clone());
    if b.shape[b.rank().saturating_sub(2)] != inner {
        return Err(mismatch());
    }
    let leading = |ty: &TensorType| ty.shape[..ty.rank().saturating_sub(2)].iter().cloned().collect::<Shape>();
    let mut shape = broadcast(&leading(a), &leading(b)).map_err(|()| mismatch())?;
    shape.extend(rows.into_iter().chain(columns));
    Ok(TensorType { dtype: a.dtype, shape })
}
