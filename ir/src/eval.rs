//! The meaning of each operation on host tensors: PyTorch's results, in a fixed order of arithmetic.
//!
//! Everything else is compared to this, and it runs what a program computes outside of models. The order of arithmetic
//! never depends on the machine, on the number of threads or on what else is computed:
//! - Sums (`sum`, `mean`, `softmax`, `norm`, `rms_norm`, `layer_norm`, `matmul`) have one accumulator for each result and
//!   add to it in the row-major order of the operand, from zero; `prod` multiplies so, from one. Products are rounded before
//!   they are added: no fused multiply-add.
//! - `var` and `std` take two passes: the mean, then the sum of squared distances from it. `logsumexp` takes the largest
//!   first, then the sum of e^x of what is below it, and adds the largest to the logarithm; `log_softmax` takes both away.
//! - `cumsum` and `cumprod` of f32 accumulate in f64, of f16 and bf16 in f32, and each result is rounded, as PyTorch's on
//!   the CPU are.
//! - f16 and bf16 are computed in f32 and rounded after each operation; what accumulates is rounded once, at its end.
//!   `rms_norm` rounds twice, before and after the weight, as Hugging Face's does. Losses round once, where PyTorch's
//!   round after each step.
//! - Operands of different types are cast to the promoted type first. One exception: an operand without dimensions takes
//!   part in `mul` and `div` of f16 and bf16 as f32, so that `h * 0.1` has the f32 0.1. PyTorch on the CPU does so with
//!   the second operand; here it holds for both, and products commute.
//! - Integers and bools are computed in i64 and wrap to their type. Floats that become integers truncate and saturate (u8
//!   by way of i64, of which it takes the lower bits); NaN becomes 0.
//! - Logarithms, powers, trigonometric and hyperbolic functions are those of Rust's standard library, element by element:
//!   their last bit is the platform's, and the only thing that is. `erf` is that of the crate `libm`, and the same
//!   everywhere.
//! - Random numbers are a function of seed, stream and place, and normal ones are made with the functions of `libm`, so they
//!   are the same everywhere.
//!
//! Shapes and types are checked again here, cheaply: operands that no verifier has seen give an [`EvalError`], never a
//! panic.

mod along;
mod create;
mod einsum;
mod elementwise;
mod indexing;
mod linear;
mod list;
mod loss;
mod number;
mod random;
mod reduce;
mod sample;
mod shape;
mod walk;

use std::{any::Any, error::Error, fmt, sync::Arc};

use crate::{
    attr::Literal,
    infer::{Models, infer},
    op::Op,
    tensor::{Sizes, Tensor},
    types::{Dim, Name, Type},
};

use along::Scan;
use elementwise::{Arithmetic, Comparison, Function, Rounding};
use reduce::Extreme;

/// The value of a node on the host.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A tensor.
    Tensor(Tensor),
    /// Several values as one.
    Tuple(Arc<[Value]>),
    /// Any number of values of one type.
    List {
        /// The type of the values; symbols in it stand for any size.
        of: Type,
        /// The values.
        items: Arc<Vec<Value>>,
    },
    /// Text.
    Str(Name),
    /// Something that only the user's functions understand.
    Opaque(Opaque),
}

/// A value of the user's, of any type. Clones are the same value; two values are equal if they are the same one.
#[derive(Clone)]
pub struct Opaque(Arc<dyn Any + Send + Sync>);

impl Opaque {
    /// Wraps a value.
    pub fn new(value: impl Any + Send + Sync) -> Opaque {
        Opaque(Arc::new(value))
    }

    /// The value, if it is of type `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Opaque) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("opaque")
    }
}

impl Value {
    /// The tensor, where it is one.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        if let Value::Tensor(tensor) = self { Some(tensor) } else { None }
    }

    /// The tensor, where it is one, without the value around it.
    pub fn into_tensor(self) -> Option<Tensor> {
        if let Value::Tensor(tensor) = self { Some(tensor) } else { None }
    }

    /// The parts of a tuple, where it is one.
    pub fn as_tuple(&self) -> Option<&[Value]> {
        if let Value::Tuple(parts) = self { Some(parts) } else { None }
    }

    /// The values of a list, where it is one.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List { items, .. } = self { Some(items) } else { None }
    }

    /// The text, where it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::Str(text) = self { Some(text) } else { None }
    }

    /// The type of the value.
    pub fn ty(&self) -> Type {
        match self {
            Value::Tensor(tensor) => Type::Tensor(tensor.ty()),
            Value::Tuple(parts) => Type::Tuple(parts.iter().map(Value::ty).collect()),
            Value::List { of, .. } => Type::List(of.clone().into()),
            Value::Str(_) => Type::Str,
            Value::Opaque(_) => Type::Opaque,
        }
    }

    /// The bytes of all elements and texts in it; what is opaque has none that are known.
    pub fn bytes(&self) -> usize {
        match self {
            Value::Tensor(tensor) => tensor.bytes(),
            Value::Tuple(parts) => parts.iter().map(Value::bytes).sum(),
            Value::List { items, .. } => items.iter().map(Value::bytes).sum(),
            Value::Str(text) => text.len(),
            Value::Opaque(_) => 0,
        }
    }

    /// Whether both have the same types, shapes and bits.
    pub fn same_bits(&self, other: &Value) -> bool {
        self.same(other, &Tensor::same_bits)
    }

    /// Whether both have the same types, shapes and bits, but for which NaN is where none is a number: where two of them meet, which
    /// one comes out is up to the processor's instructions, and so to how many elements are computed at a time.
    pub fn same_numbers(&self, other: &Value) -> bool {
        self.same(other, &|a, b| {
            let same = |(a, b): (f64, f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            a.same_bits(b) || a.dtype().is_float() && a.ty() == b.ty() && a.to_f64().into_iter().zip(b.to_f64()).all(same)
        })
    }

    fn same(&self, other: &Value, tensors: &dyn Fn(&Tensor, &Tensor) -> bool) -> bool {
        match (self, other) {
            (Value::Tensor(a), Value::Tensor(b)) => tensors(a, b),
            (Value::Tuple(a), Value::Tuple(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.same(b, tensors)),
            (Value::List { of: a, items: x }, Value::List { of: b, items: y }) => {
                a == b && x.len() == y.len() && x.iter().zip(y.iter()).all(|(x, y)| x.same(y, tensors))
            }
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Opaque(a), Value::Opaque(b)) => a == b,
            (Value::Tensor(_) | Value::Tuple(_) | Value::List { .. } | Value::Str(_) | Value::Opaque(_), _) => false,
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Value {
        Value::Tensor(tensor)
    }
}

impl From<&Literal> for Value {
    fn from(literal: &Literal) -> Value {
        match literal {
            Literal::Tensor(tensor) => Value::Tensor(tensor.to_tensor()),
            Literal::Str(text) => Value::Str(text.clone()),
        }
    }
}

/// Why an operation has no result on these operands: an index out of range, a `max` of nothing, shapes that do not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvalError {
    message: String,
}

impl EvalError {
    fn new(message: impl Into<String>) -> EvalError {
        EvalError { message: message.into() }
    }

    /// What is wrong, in a sentence that begins with the name of the operation.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl Error for EvalError {}

/// The value of `op` on these operands.
///
/// # Errors
/// If the operation has no result on them, and for operations that only a backend can run: forwards and what models
/// are made of. A `hook` is the identity.
pub fn eval(op: &Op, operands: &[&Value]) -> Result<Value, EvalError> {
    evaluate(op, operands).map_err(|error| EvalError::new(format!("`{}`: {}", op.kind().name(), error.message)))
}

fn evaluate(op: &Op, operands: &[&Value]) -> Result<Value, EvalError> {
    if !op.kind().arity().accepts(operands.len()) {
        return Err(EvalError::new(format!("the operation does not take {} operands", operands.len())));
    }
    let x = |at: usize| tensor(operands, at);
    let tensors = || (0..operands.len()).map(x).collect::<Result<Vec<_>, _>>();
    let tensors_from = |from: usize| (from..operands.len()).map(x).collect::<Result<Vec<_>, _>>();
    let sizes = || result_sizes(op, operands);
    let arithmetic = |kind: Arithmetic| elementwise::arithmetic(kind, x(0)?, x(1)?);
    let function = |kind: Function| elementwise::function(kind, x(0)?);
    let activation = |kind: Function| elementwise::activation(kind, x(0)?);
    let compare = |kind: Comparison| elementwise::compare(kind, x(0)?, x(1)?);
    let result = match op {
        Op::Const { value } => return Ok(value.into()),
        Op::Forward { .. }
        | Op::Read { .. }
        | Op::Write { .. }
        | Op::Apply { .. }
        | Op::Extend {}
        | Op::Loop { .. }
        | Op::Call { .. }
        | Op::Param { .. }
        | Op::EffectResult { .. }
        | Op::Input { .. }
        | Op::Weight { .. } => {
            return Err(EvalError::new("a backend runs this operation, not the host"));
        }
        Op::Hook { .. } => return Ok(operands[0].clone()),

        Op::Slice { dim, start, end, step } => shape::slice(x(0)?, *dim, *start, *end, *step),
        Op::Index { dim, index } => shape::index(x(0)?, *dim, *index),
        Op::Update { dim, start, end, step } => shape::update(x(0)?, x(1)?, *dim, *start, *end, *step),
        Op::Gather { dim } => shape::gather(x(0)?, x(1)?, *dim),
        Op::Embedding {} => shape::embedding(x(0)?, x(1)?),
        Op::IndexSelect { dim } => sizes().and_then(|_| indexing::index_select(x(0)?, x(1)?, *dim)),
        Op::IndexBy { dims } => indexing::index_by(x(0)?, &tensors_from(1)?, dims),
        Op::IndexPut { dims, accumulate } => indexing::index_put(x(0)?, x(1)?, &tensors_from(2)?, dims, *accumulate),
        Op::Scatter { dim } => indexing::scatter(x(0)?, x(1)?, x(2)?, *dim, false),
        Op::ScatterAdd { dim } => indexing::scatter(x(0)?, x(1)?, x(2)?, *dim, true),
        Op::NonZero { size, fill } => indexing::nonzero(x(0)?, *size, *fill),
        Op::MaskedSelect { size, fill } => sizes().and_then(|_| indexing::masked_select(x(0)?, x(1)?, *size, *fill)),
        Op::Reshape { shape } => shape::reshape(x(0)?, shape),
        Op::Transpose { dim0, dim1 } => shape::transpose(x(0)?, *dim0, *dim1),
        Op::Unsqueeze { dim } => shape::unsqueeze(x(0)?, *dim),
        Op::Squeeze { .. } | Op::Flatten { .. } => sizes().and_then(|shape| Ok(x(0)?.reshaped(shape))),
        Op::Expand { .. } => sizes().and_then(|shape| Ok(shape::expanded(x(0)?, &shape))),
        Op::Permute { dims } => sizes().and_then(|shape| shape::permute(x(0)?, dims, &shape)),
        Op::Split { size, sizes, dim } => return Ok(tuple(shape::split(x(0)?, *size, sizes, *dim)?)),
        Op::Chunk { chunks, dim } => return Ok(tuple(shape::chunk(x(0)?, *chunks, *dim)?)),
        Op::Flip { dims } => sizes().and_then(|_| shape::flip(x(0)?, dims)),
        Op::Roll { shifts, dims } => sizes().and_then(|_| shape::roll(x(0)?, shifts, dims)),
        Op::Repeat { repeats } => sizes().and_then(|shape| Ok(shape::repeat(x(0)?, repeats, &shape))),
        Op::RepeatInterleave { repeats, dim } => sizes().and_then(|shape| shape::repeat_interleave(x(0)?, *repeats, *dim, &shape)),
        Op::Tril { diagonal } => shape::triangle(x(0)?, *diagonal, true),
        Op::Triu { diagonal } => shape::triangle(x(0)?, *diagonal, false),
        Op::Diagonal { offset, dim0, dim1 } => sizes().and_then(|shape| shape::diagonal(x(0)?, *offset, *dim0, *dim1, &shape)),
        Op::Cat { dim } => shape::cat(&tensors()?, *dim),
        Op::Stack { dim } => shape::stack(&tensors()?, *dim),
        Op::Cast { dtype } => Ok(number::cast(x(0)?, *dtype)),

        Op::Full { value, dtype, .. } => sizes().and_then(|shape| create::full(&shape, value, *dtype)),
        Op::Arange { start, step, dtype, .. } => sizes().map(|shape| create::arange(start.get(), step.get(), shape[0], *dtype)),
        Op::Linspace { start, end, dtype, .. } => sizes().map(|shape| create::linspace(start.get(), end.get(), shape[0], *dtype)),
        Op::Eye { dtype, .. } => sizes().map(|shape| create::eye(&shape, *dtype)),
        Op::OneHot { classes } => sizes().and_then(|shape| indexing::one_hot(x(0)?, *classes, &shape)),
        Op::RandomUniform { seed, low, high, dtype, .. } => {
            sizes().and_then(|shape| Ok(random::uniform(&random::Source::new(*seed, operands)?, &shape, low.get(), high.get(), *dtype)))
        }
        Op::RandomNormal { seed, mean, std, dtype, .. } => {
            sizes().and_then(|shape| Ok(random::normal(&random::Source::new(*seed, operands)?, &shape, mean.get(), std.get(), *dtype)))
        }
        Op::RandomInt { seed, low, high, dtype, .. } => {
            sizes().and_then(|shape| Ok(random::int(&random::Source::new(*seed, operands)?, &shape, *low, *high, *dtype)))
        }

        Op::Sample { seed, temperature, top_k, top_p, min_p } => sizes().and_then(|_| {
            let filters = sample::Filters { temperature: temperature.get(), top_k: *top_k, top_p: top_p.get(), min_p: min_p.get() };
            sample::sample(x(0)?, &random::Source::new(*seed, &operands[1..])?, filters)
        }),

        Op::Add {} => arithmetic(Arithmetic::Add),
        Op::Sub {} => arithmetic(Arithmetic::Sub),
        Op::Mul {} => arithmetic(Arithmetic::Mul),
        Op::Div {} => elementwise::divide(x(0)?, x(1)?),
        Op::Maximum {} => arithmetic(Arithmetic::Maximum),
        Op::Minimum {} => arithmetic(Arithmetic::Minimum),
        Op::FloorDiv {} => arithmetic(Arithmetic::FloorDiv),
        Op::Remainder {} => arithmetic(Arithmetic::Remainder),
        Op::Fmod {} => arithmetic(Arithmetic::Fmod),
        Op::Pow {} => arithmetic(Arithmetic::Pow),
        Op::Atan2 {} => elementwise::atan2(x(0)?, x(1)?),
        Op::Logaddexp {} => elementwise::logaddexp(x(0)?, x(1)?),
        Op::Neg {} => elementwise::negative(x(0)?),
        Op::Abs {} => elementwise::absolute(x(0)?),
        Op::Exp {} => function(Function::Exp),
        Op::Log {} => function(Function::Log),
        Op::Sqrt {} => function(Function::Sqrt),
        Op::Sigmoid {} => function(Function::Sigmoid),
        Op::Tanh {} => function(Function::Tanh),
        Op::Silu {} => activation(Function::Silu),
        Op::Gelu { approximate } => elementwise::gelu(x(0)?, approximate),

        Op::Sign {} => Ok(elementwise::sign(x(0)?)),
        Op::Square {} => Ok(elementwise::square(x(0)?)),
        Op::Floor {} => elementwise::round(Rounding::Floor, x(0)?),
        Op::Ceil {} => elementwise::round(Rounding::Ceil, x(0)?),
        Op::Round {} => elementwise::round(Rounding::Round, x(0)?),
        Op::Trunc {} => elementwise::round(Rounding::Trunc, x(0)?),
        Op::Clamp { min, max } => elementwise::clamp(x(0)?, *min, *max),
        Op::Reciprocal {} => function(Function::Reciprocal),
        Op::Rsqrt {} => function(Function::Rsqrt),
        Op::Exp2 {} => function(Function::Exp2),
        Op::Expm1 {} => function(Function::Expm1),
        Op::Log1p {} => function(Function::Log1p),
        Op::Log2 {} => function(Function::Log2),
        Op::Log10 {} => function(Function::Log10),
        Op::Sin {} => function(Function::Sin),
        Op::Cos {} => function(Function::Cos),
        Op::Tan {} => function(Function::Tan),
        Op::Asin {} => function(Function::Asin),
        Op::Acos {} => function(Function::Acos),
        Op::Atan {} => function(Function::Atan),
        Op::Sinh {} => function(Function::Sinh),
        Op::Cosh {} => function(Function::Cosh),
        Op::Erf {} => function(Function::Erf),
        Op::Frac {} => activation(Function::Frac),
        Op::Relu {} => elementwise::relu(x(0)?),
        Op::LeakyRelu { slope } => activation(Function::LeakyRelu { slope: slope.get() }),
        Op::Elu { alpha } => activation(Function::Elu { alpha: alpha.get() }),
        Op::Softplus { beta, threshold } => activation(Function::Softplus { beta: beta.get(), threshold: threshold.get() }),
        Op::Mish {} => activation(Function::Mish),
        Op::LogSigmoid {} => activation(Function::LogSigmoid),

        Op::Eq {} => compare(Comparison::Eq),
        Op::Ne {} => compare(Comparison::Ne),
        Op::Lt {} => compare(Comparison::Lt),
        Op::Le {} => compare(Comparison::Le),
        Op::Gt {} => compare(Comparison::Gt),
        Op::Ge {} => compare(Comparison::Ge),
        Op::And {} => elementwise::logic(x(0)?, x(1)?, |a, b| a && b),
        Op::Or {} => elementwise::logic(x(0)?, x(1)?, |a, b| a || b),
        Op::Xor {} => elementwise::logic(x(0)?, x(1)?, |a, b| a != b),
        Op::Not {} => Ok(elementwise::not(x(0)?)),
        Op::Isnan {} => Ok(elementwise::class(x(0)?, f64::is_nan, false)),
        Op::Isinf {} => Ok(elementwise::class(x(0)?, f64::is_infinite, false)),
        Op::Isfinite {} => Ok(elementwise::class(x(0)?, f64::is_finite, true)),
        Op::Select {} => elementwise::select(x(0)?, x(1)?, x(2)?),

        Op::Softmax { dim } => along::softmax(x(0)?, *dim),
        Op::Argmax { dim, keepdim } => reduce::arg_extreme(Extreme::Max, x(0)?, *dim, *keepdim),
        Op::TopK { k, dim, largest } => {
            let (values, indices) = reduce::topk(x(0)?, *k, *dim, *largest)?;
            return Ok(Value::Tuple([Value::Tensor(values), Value::Tensor(indices)].into()));
        }
        Op::LogSoftmax { dim } => along::log_softmax(x(0)?, *dim),
        Op::Argmin { dim, keepdim } => reduce::arg_extreme(Extreme::Min, x(0)?, *dim, *keepdim),
        Op::Sort { dim, descending } => {
            let (values, indices) = along::sort(x(0)?, *dim, *descending)?;
            return Ok(Value::Tuple([Value::Tensor(values), Value::Tensor(indices)].into()));
        }
        Op::Cumsum { dim } => along::scan(Scan::Sum, x(0)?, *dim),
        Op::Cumprod { dim } => along::scan(Scan::Product, x(0)?, *dim),
        Op::Sum { dims, keepdim } => reduce::sum(x(0)?, dims, *keepdim),
        Op::Mean { dims, keepdim } => reduce::mean(x(0)?, dims, *keepdim),
        Op::Max { dims, keepdim } => reduce::extreme(Extreme::Max, x(0)?, dims, *keepdim),
        Op::Min { dims, keepdim } => reduce::extreme(Extreme::Min, x(0)?, dims, *keepdim),
        Op::Prod { dims, keepdim } => reduce::prod(x(0)?, dims, *keepdim),
        Op::Any { dims, keepdim } => reduce::any(x(0)?, dims, *keepdim),
        Op::All { dims, keepdim } => reduce::all(x(0)?, dims, *keepdim),
        Op::Logsumexp { dims, keepdim } => reduce::logsumexp(x(0)?, dims, *keepdim),
        Op::Norm { p, dims, keepdim } => reduce::norm(x(0)?, p.get(), dims, *keepdim),
        Op::Var { dims, correction, keepdim } => reduce::var(x(0)?, dims, *correction, *keepdim),
        Op::Std { dims, correction, keepdim } => reduce::std(x(0)?, dims, *correction, *keepdim),

        Op::CosineSimilarity { dim, eps } => loss::cosine_similarity(x(0)?, x(1)?, *dim, eps.get()),
        Op::CrossEntropy { reduction, ignore_index, label_smoothing } => {
            loss::cross_entropy(x(0)?, x(1)?, *reduction, *ignore_index, label_smoothing.get())
        }
        Op::KlDiv { reduction, log_target } => loss::kl_div(x(0)?, x(1)?, *reduction, *log_target),

        Op::Matmul {} => linear::matmul(x(0)?, x(1)?),
        Op::Einsum { equation } => sizes().and_then(|shape| einsum::einsum(equation, &tensors()?, &shape)),
        Op::RmsNorm { eps } => linear::rms_norm(x(0)?, x(1)?, eps.get()),
        Op::LayerNorm { eps } => linear::layer_norm(&tensors()?, eps.get()),
        Op::Rotary { scale } => linear::rotary(x(0)?, x(1)?, x(2)?, scale.get()),
        Op::CausalMask { window } => linear::causal_mask(x(0)?, *window),

        Op::Tuple {} => return Ok(Value::Tuple(operands.iter().map(|&value| value.clone()).collect())),
        Op::Get { index } => {
            let parts = operands[0].as_tuple().ok_or_else(|| EvalError::new("the operand is not a tuple"))?;
            let part = usize::try_from(*index).ok().and_then(|index| parts.get(index));
            return part.cloned().ok_or_else(|| EvalError::new(format!("there is no part {index} in a tuple of {}", parts.len())));
        }

        Op::List { of } => return list::list(of.as_deref(), operands),
        Op::Append {} => return list::append(operands[0], operands[1], operands.get(2).copied()),
        Op::Join {} => return list::join(operands[0], operands[1]),
        Op::Item { index } => return list::item(operands[0], *index, operands.get(1).copied()),
        Op::Length {} => return list::length(operands[0]),
        Op::Format { template } => return list::format(template, operands),
    };
    result.map(Value::Tensor)
}

fn tuple(parts: Vec<Tensor>) -> Value {
    Value::Tuple(parts.into_iter().map(Value::Tensor).collect())
}

/// The sizes of the result, which is a tensor, by the rules of inference; so operands and attributes fit together.
fn result_sizes(op: &Op, operands: &[&Value]) -> Result<Sizes, EvalError> {
    let types: Vec<Type> = operands.iter().map(|operand| operand.ty()).collect();
    let ty = infer(op, &types.iter().collect::<Vec<_>>(), &Models::new()).map_err(|error| EvalError::new(error.message))?;
    let shape: Option<Sizes> = ty.as_tensor().and_then(|ty| ty.shape.iter().map(Dim::as_usize).collect());
    let shape = shape.ok_or_else(|| EvalError::new("a size of the result is not known"))?;
    walk::check_size(&shape)?;
    Ok(shape)
}

/// Operand `at`, which must be a tensor of a size that can be counted.
fn tensor<'a>(operands: &[&'a Value], at: usize) -> Result<&'a Tensor, EvalError> {
    let tensor = operands[at].as_tensor().ok_or_else(|| EvalError::new(format!("operand {} is not a tensor", at + 1)))?;
    walk::check_size(tensor.shape())?;
    Ok(tensor)
}

#[cfg(test)]
mod tests;
