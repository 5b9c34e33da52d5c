//! The types of arithmetic, of functions, of what goes along dimensions, and of losses.

use super::{axis, elementwise, float_of, floats, index_dtype, not_empty, numbers, reduce, wrong_dtype};
use crate::{
    attr::{Float, Reduction},
    code::Code,
    diagnostic::Diagnostic,
    op::Op,
    types::{DType, Shape, TensorType, Type},
};

/// Arithmetic that bools do not have.
pub(super) fn of_numbers(op: &Op, a: &TensorType, b: &TensorType) -> Result<Type, Diagnostic> {
    let ty = elementwise(op, &[a, b])?;
    numbers(op, &ty)?;
    Ok(Type::Tensor(ty))
}

/// Two operands, of which integers become f32.
pub(super) fn to_floats(op: &Op, a: &TensorType, b: &TensorType) -> Result<Type, Diagnostic> {
    let ty = elementwise(op, &[a, b])?;
    Ok(Type::Tensor(TensorType { dtype: float_of(ty.dtype), ..ty }))
}

/// Two operands, one or both of floats.
pub(super) fn of_floats(op: &Op, a: &TensorType, b: &TensorType) -> Result<Type, Diagnostic> {
    let ty = elementwise(op, &[a, b])?;
    floats(op, &ty)?;
    Ok(Type::Tensor(ty))
}

pub(super) fn square(x: &TensorType) -> Type {
    let dtype = if x.dtype == DType::Bool { DType::I64 } else { x.dtype };
    Type::Tensor(TensorType { dtype, ..x.clone() })
}

/// The element type of x between bounds: PyTorch counts a bound that is a whole number as an integer.
pub(crate) fn clamp_dtype(x: DType, min: Option<Float>, max: Option<Float>) -> DType {
    match x {
        _ if x.is_float() => x,
        _ if [min, max].into_iter().flatten().any(|bound| bound.get().fract() != 0.0) => DType::F32,
        DType::Bool => DType::I64,
        _ => x,
    }
}

/// Whether a bound is a value of the element type, give or take rounding.
pub(crate) fn is_bound(bound: f64, dtype: DType) -> bool {
    let within = |low: f64, high: f64| (low..=high).contains(&bound);
    match dtype {
        DType::F64 => !bound.is_nan(),
        DType::F32 => bound.is_infinite() || (bound as f32).is_finite(),
        DType::F16 => bound.is_infinite() || half::f16::from_f64(bound).is_finite(),
        DType::BF16 => bound.is_infinite() || half::bf16::from_f64(bound).is_finite(),
        // 2^63 is the f64 above the largest i64.
        DType::I64 => within(i64::MIN as f64, i64::MAX as f64) && bound != i64::MAX as f64,
        DType::I32 => within(i32::MIN.into(), i32::MAX.into()),
        DType::U8 => within(0.0, 255.0),
        DType::Bool => within(0.0, 1.0),
    }
}

pub(super) fn clamp(x: &TensorType, min: Option<Float>, max: Option<Float>) -> Result<Type, Diagnostic> {
    let bounds = [min, max].into_iter().flatten();
    if bounds.clone().count() == 0 {
        return Err(Diagnostic::error(Code::E1008, "`clamp` needs a bound: `min`, `max` or both"));
    }
    let dtype = clamp_dtype(x.dtype, min, max);
    if let Some(wrong) = bounds.map(Float::get).find(|bound| !is_bound(*bound, dtype)) {
        return Err(Diagnostic::error(Code::E1008, format!("{wrong} is no bound for {x}: it is not a value of {dtype}")));
    }
    Ok(Type::Tensor(TensorType { dtype, ..x.clone() }))
}

pub(super) fn log_softmax(op: &Op, x: &TensorType, dim: i64) -> Result<Type, Diagnostic> {
    axis(floats(op, x)?, dim)?;
    Ok(Type::Tensor(x.clone()))
}

pub(super) fn sample(op: &Op, logits: &TensorType, stream: Option<&Type>) -> Result<Type, Diagnostic> {
    floats(op, logits)?;
    let shape = reduce(logits, &[-1], false)?;
    not_empty(op, logits, &[-1])?;
    if let Some(stream) = stream
        && *stream != Type::tensor(DType::I64, [])
    {
        return Err(super::wrong_kind(op, 1, "the number of a stream, tensor<i64>", stream));
    }
    let wrong = |what: String| Err(Diagnostic::error(Code::E1008, what));
    if let Op::Sample { temperature, top_k, top_p, min_p, .. } = op {
        let share = |x: &Float| (0.0..=1.0).contains(&x.get());
        if !(temperature.get() > 0.0 && (temperature.get() as f32) > 0.0 && (temperature.get() as f32).is_finite()) {
            let error = Diagnostic::error(Code::E1008, format!("a temperature is above 0, not {}", temperature.get()));
            return Err(error.help("`argmax` takes the most probable one"));
        }
        if top_k.is_some_and(|k| k < 1) {
            return wrong(format!("`top_k` is 1 or more, not {}", top_k.unwrap_or_default()));
        }
        if !share(top_p) || !share(min_p) {
            return wrong(format!("`top_p` and `min_p` lie between 0 and 1, but are {} and {}", top_p.get(), min_p.get()));
        }
    }
    Ok(Type::Tensor(TensorType { dtype: DType::I64, ..shape }))
}

pub(super) fn sort(x: &TensorType, dim: i64) -> Result<Type, Diagnostic> {
    axis(x, dim)?;
    let indices = TensorType { dtype: DType::I64, ..x.clone() };
    Ok(Type::Tuple([Type::Tensor(x.clone()), Type::Tensor(indices)].into()))
}

/// The element type of sums and products.
fn total(dtype: DType) -> DType {
    if dtype.is_float() { dtype } else { DType::I64 }
}

pub(super) fn scan(x: &TensorType, dim: i64) -> Result<Type, Diagnostic> {
    axis(x, dim)?;
    Ok(Type::Tensor(TensorType { dtype: total(x.dtype), ..x.clone() }))
}

pub(super) fn prod(x: &TensorType, dims: &[i64], keepdim: bool) -> Result<Type, Diagnostic> {
    Ok(Type::Tensor(TensorType { dtype: total(x.dtype), ..reduce(x, dims, keepdim)? }))
}

/// `any` and `all`.
pub(super) fn quantifier(x: &TensorType, dims: &[i64], keepdim: bool) -> Result<Type, Diagnostic> {
    let dtype = if x.dtype == DType::U8 { DType::U8 } else { DType::Bool };
    Ok(Type::Tensor(TensorType { dtype, ..reduce(x, dims, keepdim)? }))
}

pub(super) fn logsumexp(x: &TensorType, dims: &[i64], keepdim: bool) -> Result<Type, Diagnostic> {
    Ok(Type::Tensor(TensorType { dtype: float_of(x.dtype), ..reduce(x, dims, keepdim)? }))
}

pub(super) fn norm(op: &Op, x: &TensorType, p: f64, dims: &[i64], keepdim: bool) -> Result<Type, Diagnostic> {
    let reduced = reduce(floats(op, x)?, dims, keepdim)?;
    if p.is_nan() {
        return Err(Diagnostic::error(Code::E1008, "the power of a norm is a number or `inf`, not NaN"));
    }
    if p < 0.0 || p.is_infinite() {
        not_empty(op, x, dims)?;
    }
    Ok(Type::Tensor(reduced))
}

/// `var` and `std`.
pub(super) fn spread(op: &Op, x: &TensorType, dims: &[i64], keepdim: bool) -> Result<Type, Diagnostic> {
    Ok(Type::Tensor(reduce(floats(op, x)?, dims, keepdim)?))
}

pub(super) fn cosine_similarity(op: &Op, a: &TensorType, b: &TensorType, dim: i64) -> Result<Type, Diagnostic> {
    let mut ty = elementwise(op, &[a, b])?;
    floats(op, &ty)?;
    let at = axis(&ty, dim)?;
    ty.shape.remove(at);
    Ok(Type::Tensor(ty))
}

pub(super) fn cross_entropy(
    op: &Op,
    logits: &TensorType,
    classes: &TensorType,
    reduction: Reduction,
    label_smoothing: f64,
) -> Result<Type, Diagnostic> {
    floats(op, logits)?;
    if classes.dtype.is_float() {
        return Err(wrong_dtype(op, classes.dtype, "classes of type i64 or i32")
            .note("targets are indices of classes; `kl_div` compares to probabilities"));
    }
    index_dtype(op, classes)?;
    let mut each = logits.clone();
    if each.rank() > 0 {
        each.shape.remove(usize::from(each.rank() > 1));
    }
    if logits.rank() == 0 || each.shape != classes.shape {
        let error = Diagnostic::error(Code::E1003, format!("`cross_entropy` of {logits} cannot have the classes {classes}"))
            .note("logits are [N, C, …] or [C]; the classes have their shape without the C");
        let classes_last = logits.rank() == 3 && logits.shape[..2] == classes.shape[..];
        return Err(match classes_last {
            true => error.help("the classes are the second dimension of the logits: `transpose(logits) {dim0: 1, dim1: 2}`"),
            false => error,
        });
    }
    if reduction == Reduction::BatchMean {
        return Err(Diagnostic::error(Code::E1008, "`cross_entropy` has no `batchmean`: its `mean` is one already"));
    }
    if !(0.0..=1.0).contains(&label_smoothing) {
        return Err(Diagnostic::error(Code::E1008, format!("`label_smoothing` goes from 0 to 1, and is {label_smoothing}")));
    }
    Ok(Type::Tensor(loss(each, reduction)))
}

pub(super) fn kl_div(op: &Op, input: &TensorType, target: &TensorType, reduction: Reduction) -> Result<Type, Diagnostic> {
    floats(op, input)?;
    floats(op, target)?;
    let ty = elementwise(op, &[input, target])?;
    Ok(Type::Tensor(loss(ty, reduction)))
}

/// The type of losses of type `each` after a reduction.
fn loss(each: TensorType, reduction: Reduction) -> TensorType {
    match reduction {
        Reduction::None => each,
        Reduction::Mean | Reduction::Sum | Reduction::BatchMean => TensorType { shape: Shape::new(), ..each },
    }
}
