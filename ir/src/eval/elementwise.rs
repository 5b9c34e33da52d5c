//! Operations element by element, with PyTorch's broadcasting and promotion.

use crate::{
    eval::{
        EvalError,
        number::{FromAny, Number, Real, cast, convert, convert_by},
        walk::{Walk, broadcast, broadcast_strides},
    },
    tensor::{Element, Tensor},
    types::{DType, promote_operands},
};

/// Arithmetic on two operands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
    Minimum,
}

/// A function of one operand whose results are floats.
#[derive(Clone, Copy)]
pub(super) enum Function {
    Exp,
    Log,
    Sqrt,
    Sigmoid,
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
    let dtype = promoted(&[a, b]);
    let pair = Pair::new(a, b)?;
    if kind == Arithmetic::Sub && (a.dtype() == DType::Bool || b.dtype() == DType::Bool) {
        return Err(EvalError::new("there is no difference of bools"));
    }
    if kind == Arithmetic::Div {
        return Ok(match dtype {
            DType::F64 => pair.map(&convert(a), &convert(b), f64::div),
            DType::F16 | DType::BF16 => cast(&pair.map(&factor(a, dtype), &factor(b, dtype), f32::div), dtype),
            DType::F32 | DType::I64 | DType::I32 | DType::U8 | DType::Bool => pair.map(&convert(a), &convert(b), f32::div),
        });
    }
    Ok(match dtype {
        DType::F64 => pair.arithmetic::<f64>(kind, &convert(a), &convert(b)),
        DType::F32 => pair.arithmetic::<f32>(kind, &convert(a), &convert(b)),
        DType::F16 | DType::BF16 if kind == Arithmetic::Mul => cast(&pair.map(&factor(a, dtype), &factor(b, dtype), f32::mul), dtype),
        DType::F16 | DType::BF16 => cast(&pair.arithmetic::<f32>(kind, &convert_by(a, dtype), &convert_by(b, dtype)), dtype),
        DType::I64 => pair.arithmetic::<i64>(kind, &convert(a), &convert(b)),
        DType::I32 => pair.arithmetic::<i32>(kind, &convert(a), &convert(b)),
        DType::U8 => pair.arithmetic::<u8>(kind, &convert(a), &convert(b)),
        DType::Bool => pair.arithmetic::<bool>(kind, &convert(a), &convert(b)),
    })
}

/// An operand of `mul` or `div` of the narrow float `dtype`: PyTorch does not round those without dimensions to it.
fn factor(x: &Tensor, dtype: DType) -> std::borrow::Cow<'_, [f32]> {
    if x.rank() == 0 { convert(x) } else { convert_by(x, dtype) }
}

pub(super) fn compare(kind: Comparison, a: &Tensor, b: &Tensor) -> Result<Tensor, EvalError> {
    let pair = Pair::new(a, b)?;
    Ok(match promoted(&[a, b]) {
        DType::F64 => pair.compare::<f64>(kind, &convert(a), &convert(b)),
        DType::F32 => pair.compare::<f32>(kind, &convert(a), &convert(b)),
        dtype @ (DType::F16 | DType::BF16) => pair.compare::<f32>(kind, &convert_by(a, dtype), &convert_by(b, dtype)),
        DType::I64 => pair.compare::<i64>(kind, &convert(a), &convert(b)),
        DType::I32 => pair.compare::<i32>(kind, &convert(a), &convert(b)),
        DType::U8 => pair.compare::<u8>(kind, &convert(a), &convert(b)),
        DType::Bool => pair.compare::<bool>(kind, &convert(a), &convert(b)),
    })
}

pub(super) fn logic(a: &Tensor, b: &Tensor, f: impl Fn(bool, bool) -> bool) -> Result<Tensor, EvalError> {
    Ok(Pair::new(a, b)?.map(&convert(a), &convert(b), f))
}

pub(super) fn not(x: &Tensor) -> Tensor {
    map(x, |x: bool| !x)
}

pub(super) fn negative(x: &Tensor) -> Result<Tensor, EvalError> {
    Ok(match x.dtype() {
        DType::F64 => map(x, <f64 as Number>::neg),
        DType::F32 => map(x, <f32 as Number>::neg),
        dtype @ (DType::F16 | DType::BF16) => cast(&map(x, <f32 as Number>::neg), dtype),
        DType::I64 => map(x, <i64 as Number>::neg),
        DType::I32 => map(x, <i32 as Number>::neg),
        DType::U8 => map(x, <u8 as Number>::neg),
        DType::Bool => return Err(EvalError::new("bools have no negative")),
    })
}

pub(super) fn absolute(x: &Tensor) -> Result<Tensor, EvalError> {
    Ok(match x.dtype() {
        DType::F64 => map(x, <f64 as Number>::abs),
        DType::F32 => map(x, <f32 as Number>::abs),
        dtype @ (DType::F16 | DType::BF16) => cast(&map(x, <f32 as Number>::abs), dtype),
        DType::I64 => map(x, <i64 as Number>::abs),
        DType::I32 => map(x, <i32 as Number>::abs),
        DType::U8 => x.clone(),
        DType::Bool => return Err(EvalError::new("bools have no absolute value")),
    })
}

pub(super) fn function(kind: Function, x: &Tensor) -> Result<Tensor, EvalError> {
    fn typed<T: Real>(kind: Function, x: &Tensor) -> Tensor {
        match kind {
            Function::Exp => map(x, T::exp),
            Function::Log => map(x, T::ln),
            Function::Sqrt => map(x, T::sqrt),
            Function::Sigmoid => map(x, T::sigmoid),
        }
    }
    Ok(match x.dtype() {
        DType::F64 => typed::<f64>(kind, x),
        dtype @ (DType::F16 | DType::BF16) => cast(&typed::<f32>(kind, x), dtype),
        DType::F32 | DType::I64 | DType::I32 | DType::U8 | DType::Bool => typed::<f32>(kind, x),
    })
}

pub(super) fn silu(x: &Tensor) -> Result<Tensor, EvalError> {
    Ok(match x.dtype() {
        DType::F64 => map(x, f64::silu),
        DType::F32 => map(x, f32::silu),
        dtype @ (DType::F16 | DType::BF16) => cast(&map(x, f32::silu), dtype),
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => return Err(EvalError::new("the operand is not of floats")),
    })
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
        walk.rows(|[at, at_yes, at_no]| {
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
    shape: crate::tensor::Sizes,
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
            [1, 1] => self.walk.rows(|[i, j]| out.extend(a[i..i + len].iter().zip(&b[j..j + len]).map(|(&a, &b)| f(a, b)))),
            [1, _] => self.walk.rows(|[i, j]| {
                let b = b[j];
                out.extend(a[i..i + len].iter().map(|&a| f(a, b)));
            }),
            [_, 1] => self.walk.rows(|[i, j]| {
                let a = a[i];
                out.extend(b[j..j + len].iter().map(|&b| f(a, b)));
            }),
            [_, _] => self.walk.rows(|[i, j]| out.extend(std::iter::repeat_n(f(a[i], b[j]), len))),
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
            // A quotient is always of floats, and computed above.
            Arithmetic::Div => self.map(a, b, |_, _| T::default()),
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
