//! Operations element by element, with PyTorch's broadcasting and promotion.

use std::borrow::Cow;

use crate::{
    attr::Float,
    eval::{
        EvalError,
        number::{FromAny, Number, Real, Wide, cast, convert, convert_by, wide},
        walk::{Walk, broadcast, broadcast_strides},
    },
    infer::{clamp_dtype, is_bound},
    tensor::{Element, Sizes, Tensor},
    types::{DType, promote_operands},
};

/// Arithmetic on two operands whose result is of the promoted type.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Maximum,
    Minimum,
    Pow,
    Remainder,
    Fmod,
    FloorDiv,
}

impl Arithmetic {
    /// Whether bools have no such operation.
    fn is_of_numbers(self) -> bool {
        matches!(self, Arithmetic::Pow | Arithmetic::Remainder | Arithmetic::Fmod | Arithmetic::FloorDiv)
    }

    /// Whether it divides, which integers cannot by 0.
    fn divides(self) -> bool {
        matches!(self, Arithmetic::Remainder | Arithmetic::Fmod | Arithmetic::FloorDiv)
    }
}

/// A function of one operand whose results are floats, with its parameters.
#[derive(Clone, Copy)]
pub(super) enum Function {
    Exp,
    Exp2,
    Expm1,
    Log,
    Log1p,
    Log2,
    Log10,
    Sqrt,
    Rsqrt,
    Reciprocal,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Erf,
    Sigmoid,
    Silu,
    LeakyRelu { slope: f64 },
    Elu { alpha: f64 },
    Softplus { beta: f64, threshold: f64 },
    Mish,
    LogSigmoid,
    Frac,
}

/// A function of one operand to a whole number. Integers are whole already.
#[derive(Clone, Copy)]
pub(super) enum Rounding {
    Floor,
    Ceil,
    Round,
    Trunc,
}

/// A comparison of two operands.
#[derive(Clone, Copy)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

pub(super) fn arithmetic(kind: Arithmetic, a: &Tensor, b: &Tensor) -> Result<Tensor, EvalError> {
    let pair = Pair::new(a, b)?;
    if kind == Arithmetic::Sub && (a.dtype() == DType::Bool || b.dtype() == DType::Bool) {
        return Err(EvalError::new("there is no difference of bools"));
    }
    let dtype = promoted(&[a, b]);
    if kind.is_of_numbers() && dtype == DType::Bool {
        return Err(EvalError::new("bools are no numbers"));
    }
    let result = match wide(dtype) {
        Wide::F64 => pair.arithmetic::<f64>(kind, &convert(a), &convert(b)),
        Wide::F32 if kind == Arithmetic::Mul => pair.map(&factor(a, dtype), &factor(b, dtype), |a, b| a * b),
        Wide::F32 => pair.arithmetic::<f32>(kind, &convert_by(a, dtype), &convert_by(b, dtype)),
        Wide::I64 => {
            let divisors = convert_by::<i64>(b, dtype);
            if kind.divides() && divisors.contains(&0) && !pair.shape.contains(&0) {
                return Err(EvalError::new("integers cannot be divided by 0"));
            }
            pair.arithmetic::<i64>(kind, &convert_by(a, dtype), &divisors)
        }
    };
    Ok(cast(&result, dtype))
}

/// `atan2`, which makes floats of integers.
pub(super) fn atan2(y: &Tensor, x: &Tensor) -> Result<Tensor, EvalError> {
    let dtype = promoted(&[y, x]);
    of_floats(y, x, if dtype.is_float() { dtype } else { DType::F32 }, f32::atan2, f64::atan2)
}

/// `logaddexp`, of floats.
pub(super) fn logaddexp(a: &Tensor, b: &Tensor) -> Result<Tensor, EvalError> {
    let dtype = promoted(&[a, b]);
    if !dtype.is_float() {
        return Err(EvalError::new("the operands are not of floats"));
    }
    of_floats(a, b, dtype, f32::logaddexp, f64::logaddexp)
}

/// A function of both, cast to a type of floats.
pub(super) fn of_floats(
    a: &Tensor,
    b: &Tensor,
    dtype: DType,
    narrow: impl Fn(f32, f32) -> f32,
    wide: impl Fn(f64, f64) -> f64,
) -> Result<Tensor, EvalError> {
    let pair = Pair::new(a, b)?;
    let result = match dtype {
        DType::F64 => pair.map(&convert(a), &convert(b), wide),
        _ => pair.map(&convert_by(a, dtype), &convert_by(b, dtype), narrow),
    };
    Ok(cast(&result, dtype))
}

pub(super) fn divide(a: &Tensor, b: &Tensor) -> Result<Tensor, EvalError> {
    let pair = Pair::new(a, b)?;
    let dtype = promoted(&[a, b]);
    let dtype = if dtype.is_float() { dtype } else { DType::F32 };
    let result = match wide(dtype) {
        Wide::F64 => pair.map(&convert(a), &convert(b), |a: f64, b| a / b),
        Wide::F32 | Wide::I64 => pair.map(&factor(a, dtype), &factor(b, dtype), |a, b| a / b),
    };
    Ok(cast(&result, dtype))
}

/// An operand of `mul` or `div` of f32 or the narrower `dtype`: PyTorch does not round those without dimensions to it.
fn factor(x: &Tensor, dtype: DType) -> Cow<'_, [f32]> {
    if x.rank() == 0 { convert(x) } else { convert_by(x, dtype) }
}

pub(super) fn compare(kind: Comparison, a: &Tensor, b: &Tensor) -> Result<Tensor, EvalError> {
    let pair = Pair::new(a, b)?;
    let dtype = promoted(&[a, b]);
    Ok(match wide(dtype) {
        Wide::F64 => pair.compare::<f64>(kind, &convert(a), &convert(b)),
        Wide::F32 => pair.compare::<f32>(kind, &convert_by(a, dtype), &convert_by(b, dtype)),
        Wide::I64 => pair.compare::<i64>(kind, &convert_by(a, dtype), &convert_by(b, dtype)),
    })
}

pub(super) fn logic(a: &Tensor, b: &Tensor, f: impl Fn(bool, bool) -> bool) -> Result<Tensor, EvalError> {
    Ok(Pair::new(a, b)?.map(&convert(a), &convert(b), f))
}

pub(super) fn not(x: &Tensor) -> Tensor {
    map(x, |x: bool| !x)
}

pub(super) fn negative(x: &Tensor) -> Result<Tensor, EvalError> {
    let result = match wide(x.dtype()) {
        _ if x.dtype() == DType::Bool => return Err(EvalError::new("bools have no negative")),
        Wide::F64 => map(x, <f64 as Number>::neg),
        Wide::F32 => map(x, <f32 as Number>::neg),
        Wide::I64 => map(x, <i64 as Number>::neg),
    };
    Ok(cast(&result, x.dtype()))
}

pub(super) fn absolute(x: &Tensor) -> Result<Tensor, EvalError> {
    let result = match wide(x.dtype()) {
        _ if x.dtype() == DType::Bool => return Err(EvalError::new("bools have no absolute value")),
        Wide::F64 => map(x, <f64 as Number>::abs),
        Wide::F32 => map(x, <f32 as Number>::abs),
        Wide::I64 => map(x, <i64 as Number>::abs),
    };
    Ok(cast(&result, x.dtype()))
}

pub(super) fn sign(x: &Tensor) -> Tensor {
    let result = match wide(x.dtype()) {
        Wide::F64 => map(x, <f64 as Number>::sign),
        Wide::F32 => map(x, <f32 as Number>::sign),
        Wide::I64 => map(x, <i64 as Number>::sign),
    };
    cast(&result, x.dtype())
}

pub(super) fn square(x: &Tensor) -> Tensor {
    let dtype = if x.dtype() == DType::Bool { DType::I64 } else { x.dtype() };
    let result = match wide(dtype) {
        Wide::F64 => map(x, |x: f64| x * x),
        Wide::F32 => map(x, |x: f32| x * x),
        Wide::I64 => map(x, |x: i64| x.wrapping_mul(x)),
    };
    cast(&result, dtype)
}

pub(super) fn round(kind: Rounding, x: &Tensor) -> Result<Tensor, EvalError> {
    fn typed<T: Real>(kind: Rounding, x: &Tensor) -> Tensor {
        match kind {
            Rounding::Floor => map(x, T::floor),
            Rounding::Ceil => map(x, T::ceil),
            Rounding::Round => map(x, T::round),
            Rounding::Trunc => map(x, T::trunc),
        }
    }
    Ok(match wide(x.dtype()) {
        _ if x.dtype() == DType::Bool => return Err(EvalError::new("bools are not rounded")),
        Wide::F64 => typed::<f64>(kind, x),
        Wide::F32 => cast(&typed::<f32>(kind, x), x.dtype()),
        Wide::I64 => x.clone(),
    })
}

pub(super) fn relu(x: &Tensor) -> Result<Tensor, EvalError> {
    let result = match wide(x.dtype()) {
        _ if x.dtype() == DType::Bool => return Err(EvalError::new("bools are no numbers")),
        Wide::F64 => map(x, |x: f64| Number::maximum(x, 0.0)),
        Wide::F32 => map(x, |x: f32| Number::maximum(x, 0.0)),
        Wide::I64 => map(x, |x: i64| x.max(0)),
    };
    Ok(cast(&result, x.dtype()))
}

/// The lower bound is applied first.
pub(super) fn clamp(x: &Tensor, min: Option<Float>, max: Option<Float>) -> Result<Tensor, EvalError> {
    fn typed<T: Number>(x: &Tensor, dtype: DType, [min, max]: [Option<Float>; 2]) -> Tensor {
        let bound = |bound: Float| convert_by::<T>(&Tensor::scalar(bound.get()), dtype)[0];
        let (min, max) = (min.map(bound), max.map(bound));
        let values = convert_by::<T>(x, dtype);
        let clamped = values.iter().map(|&x| {
            let x = min.map_or(x, |min| x.maximum(min));
            max.map_or(x, |max| x.minimum(max))
        });
        Tensor::new(x.shape(), clamped.collect())
    }
    let (dtype, bounds) = (clamp_dtype(x.dtype(), min, max), [min, max]);
    if bounds == [None, None] || bounds.into_iter().flatten().any(|bound| !is_bound(bound.get(), dtype)) {
        return Err(EvalError::new(format!("{min:?} and {max:?} are no bounds for {dtype}")));
    }
    let result = match wide(dtype) {
        Wide::F64 => typed::<f64>(x, dtype, bounds),
        Wide::F32 => typed::<f32>(x, dtype, bounds),
        Wide::I64 => typed::<i64>(x, dtype, bounds),
    };
    Ok(cast(&result, dtype))
}

/// Whether floats are of a kind; integers are `of_integers`.
pub(super) fn class(x: &Tensor, of_floats: impl Fn(f64) -> bool, of_integers: bool) -> Tensor {
    match wide(x.dtype()) {
        // Every float is an f64, and of the same kind.
        Wide::F64 | Wide::F32 => map(x, of_floats),
        Wide::I64 => Tensor::new(x.shape(), vec![of_integers; x.len()]),
    }
}

/// A function of floats; integers become f32.
pub(super) fn function(kind: Function, x: &Tensor) -> Result<Tensor, EvalError> {
    fn typed<T: Real>(kind: Function, x: &Tensor) -> Tensor {
        match kind {
            Function::Exp => map(x, T::exp),
            Function::Exp2 => map(x, T::exp2),
            Function::Expm1 => map(x, T::exp_m1),
            Function::Log => map(x, T::ln),
            Function::Log1p => map(x, T::ln_1p),
            Function::Log2 => map(x, T::log2),
            Function::Log10 => map(x, T::log10),
            Function::Sqrt => map(x, T::sqrt),
            Function::Rsqrt => map(x, |x: T| x.sqrt().recip()),
            Function::Reciprocal => map(x, T::recip),
            Function::Sin => map(x, T::sin),
            Function::Cos => map(x, T::cos),
            Function::Tan => map(x, T::tan),
            Function::Asin => map(x, T::asin),
            Function::Acos => map(x, T::acos),
            Function::Atan => map(x, T::atan),
            Function::Sinh => map(x, T::sinh),
            Function::Cosh => map(x, T::cosh),
            Function::Tanh => map(x, T::tanh),
            Function::Erf => map(x, T::erf),
            Function::Sigmoid => map(x, T::sigmoid),
            Function::Silu => map(x, T::silu),
            Function::LeakyRelu { slope } => {
                let slope = T::from_f64(slope);
                map(x, |x: T| x.leaky_relu(slope))
            }
            Function::Elu { alpha } => {
                let alpha = T::from_f64(alpha);
                map(x, |x: T| x.elu(alpha))
            }
            Function::Softplus { beta, threshold } => {
                let (beta, threshold) = (T::from_f64(beta), T::from_f64(threshold));
                map(x, |x: T| x.softplus(beta, threshold))
            }
            Function::Mish => map(x, T::mish),
            Function::LogSigmoid => map(x, T::log_sigmoid),
            Function::Frac => map(x, T::fract),
        }
    }
    let dtype = if x.dtype().is_float() { x.dtype() } else { DType::F32 };
    let result = match wide(dtype) {
        Wide::F64 => typed::<f64>(kind, x),
        Wide::F32 | Wide::I64 => typed::<f32>(kind, x),
    };
    Ok(cast(&result, dtype))
}

/// A function of floats only.
pub(super) fn activation(kind: Function, x: &Tensor) -> Result<Tensor, EvalError> {
    if x.dtype().is_float() { function(kind, x) } else { Err(EvalError::new("the operand is not of floats")) }
}

pub(super) fn gelu(x: &Tensor, approximate: &str) -> Result<Tensor, EvalError> {
    let tanh = match approximate {
        "none" => false,
        "tanh" => true,
        other => return Err(EvalError::new(format!("there is no approximation `{other}`"))),
    };
    let result = match (wide(x.dtype()), tanh) {
        (Wide::F64, false) => map(x, f64::gelu),
        (Wide::F64, true) => map(x, f64::gelu_tanh),
        (Wide::F32, false) => map(x, f32::gelu),
        (Wide::F32, true) => map(x, f32::gelu_tanh),
        (Wide::I64, _) => return Err(EvalError::new("the operand is not of floats")),
    };
    Ok(cast(&result, x.dtype()))
}

pub(super) fn select(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor, EvalError> {
    let Some(holds) = condition.values::<bool>() else { return Err(EvalError::new("the condition is not of bools")) };
    let dtype = promoted(&[yes, no]);
    let (yes, no) = (cast(yes, dtype), cast(no, dtype));
    let shape = broadcast([condition.shape(), yes.shape(), no.shape()])?;
    let strides = [condition.shape(), yes.shape(), no.shape()].map(|from| broadcast_strides(from, &shape));
    let walk = Walk::new(&shape, strides.each_ref().map(|strides| &strides[..]));

    fn typed<T: Element>(walk: &Walk<3>, shape: &[usize], holds: &[bool], yes: &Tensor, no: &Tensor) -> Tensor {
        let (yes, no) = (yes.values::<T>().unwrap_or_default(), no.values::<T>().unwrap_or_default());
        let (len, [c, y, n]) = (walk.row_len(), walk.row_steps());
        let mut out = Vec::with_capacity(shape.iter().product());
        walk.rows(&mut |[at, at_yes, at_no]| {
            out.extend((0..len).map(|i| if holds[at + i * c] { yes[at_yes + i * y] } else { no[at_no + i * n] }));
        });
        Tensor::new(shape, out)
    }
    Ok(match dtype {
        DType::F64 => typed::<f64>(&walk, &shape, holds, &yes, &no),
        DType::F32 => typed::<f32>(&walk, &shape, holds, &yes, &no),
        DType::F16 => typed::<half::f16>(&walk, &shape, holds, &yes, &no),
        DType::BF16 => typed::<half::bf16>(&walk, &shape, holds, &yes, &no),
        DType::I64 => typed::<i64>(&walk, &shape, holds, &yes, &no),
        DType::I32 => typed::<i32>(&walk, &shape, holds, &yes, &no),
        DType::U8 => typed::<u8>(&walk, &shape, holds, &yes, &no),
        DType::Bool => typed::<bool>(&walk, &shape, holds, &yes, &no),
    })
}

/// The element type of an operation on these.
pub(super) fn promoted(operands: &[&Tensor]) -> DType {
    promote_operands(operands.iter().map(|x| (x.dtype(), x.rank()))).unwrap_or(DType::F32)
}

/// A function of each element, computed in `T`.
fn map<T: FromAny, U: Element>(x: &Tensor, f: impl Fn(T) -> U) -> Tensor {
    Tensor::new(x.shape(), convert::<T>(x).iter().map(|&x| f(x)).collect())
}

/// Two operands broadcast to each other.
struct Pair {
    shape: Sizes,
    walk: Walk<2>,
}

impl Pair {
    fn new(a: &Tensor, b: &Tensor) -> Result<Pair, EvalError> {
        let shape = broadcast([a.shape(), b.shape()])?;
        let walk = Walk::new(&shape, [&broadcast_strides(a.shape(), &shape), &broadcast_strides(b.shape(), &shape)]);
        Ok(Pair { shape, walk })
    }

    fn map<T: Element, U: Element>(&self, a: &[T], b: &[T], f: impl Fn(T, T) -> U) -> Tensor {
        let mut out: Vec<U> = Vec::with_capacity(self.shape.iter().product());
        let len = self.walk.row_len();
        // Rows step by 1 or stay where they are: the operands are contiguous.
        match self.walk.row_steps() {
            [1, 1] => self.walk.rows(&mut |[i, j]| out.extend(a[i..i + len].iter().zip(&b[j..j + len]).map(|(&a, &b)| f(a, b)))),
            [1, _] => self.walk.rows(&mut |[i, j]| {
                let b = b[j];
                out.extend(a[i..i + len].iter().map(|&a| f(a, b)));
            }),
            [_, 1] => self.walk.rows(&mut |[i, j]| {
                let a = a[i];
                out.extend(b[j..j + len].iter().map(|&b| f(a, b)));
            }),
            [_, _] => self.walk.rows(&mut |[i, j]| out.extend(std::iter::repeat_n(f(a[i], b[j]), len))),
        }
        Tensor::new(&self.shape, out)
    }

    fn arithmetic<T: Number>(&self, kind: Arithmetic, a: &[T], b: &[T]) -> Tensor {
        match kind {
            Arithmetic::Add => self.map(a, b, T::add),
            Arithmetic::Sub => self.map(a, b, T::sub),
            Arithmetic::Mul => self.map(a, b, T::mul),
            Arithmetic::Maximum => self.map(a, b, T::maximum),
            Arithmetic::Minimum => self.map(a, b, T::minimum),
            Arithmetic::Pow => self.map(a, b, T::pow),
            Arithmetic::Remainder => self.map(a, b, T::remainder),
            Arithmetic::Fmod => self.map(a, b, T::fmod),
            Arithmetic::FloorDiv => self.map(a, b, T::floor_div),
        }
    }

    fn compare<T: Number>(&self, kind: Comparison, a: &[T], b: &[T]) -> Tensor {
        match kind {
            Comparison::Eq => self.map(a, b, |a, b| a == b),
            Comparison::Ne => self.map(a, b, |a, b| a != b),
            Comparison::Lt => self.map(a, b, |a, b| a < b),
            Comparison::Le => self.map(a, b, |a, b| a <= b),
            Comparison::Gt => self.map(a, b, |a, b| a > b),
            Comparison::Ge => self.map(a, b, |a, b| a >= b),
        }
    }
}
