//! What stands beside a value: other values, numbers and tensors; and the operators of Rust on them.

use std::ops::{Add, AddAssign, BitAnd, BitOr, BitXor, Div, DivAssign, Mul, MulAssign, Neg, Not, Sub, SubAssign};

use irc_ir::{
    attr::Literal,
    code::Code,
    diagnostic::{Diagnostic, Span},
    op::Op,
    tensor::{Element, Tensor},
    types::DType,
};

use super::{Session, Value};
use crate::recorder::Ref;

/// Something that can be computed with: a [`Value`], a [`Tensor`], a number, numbers in arrays and vectors, a text to log.
///
/// A number counts as a scalar of PyTorch: it does not widen the tensor beside it. An `f64` (a plain `0.5`) is f32 as
/// PyTorch's default is, but f64 beside f64.
#[derive(Clone, Debug)]
pub struct Operand(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Value(Value),
    Number(f64),
    Literal(Literal),
}

impl Session {
    /// Operands as values of this session; those of another session are an error (E3003).
    pub(crate) fn resolve(&self, operands: Vec<Operand>, span: Span) -> Vec<Ref> {
        let values: Vec<Option<Ref>> = operands
            .iter()
            .map(|operand| match &operand.0 {
                Kind::Value(value) => Some(self.own(value, &span)),
                Kind::Number(_) | Kind::Literal(_) => None,
            })
            .collect();
        let mut recorder = self.record();
        let wide = values.iter().flatten().any(|value| recorder.dtype(value) == Some(DType::F64));
        let refs = values.into_iter().zip(operands).map(|(value, operand)| {
            let literal = match operand.0 {
                Kind::Number(number) if wide => Literal::from(&Tensor::scalar(number)),
                Kind::Number(number) => Literal::from(&Tensor::scalar(number as f32)),
                Kind::Literal(literal) => literal,
                // It is among the values.
                Kind::Value(_) => return value.unwrap_or_else(|| Ref::poisoned(span.clone())),
            };
            recorder.constant(literal, span.clone())
        });
        refs.collect()
    }

    fn own(&self, value: &Value, span: &Span) -> Ref {
        if self.is(&value.session) {
            return value.at.clone();
        }
        if !value.at.is_poisoned() {
            let error = Diagnostic::error(Code::E3003, "a value of another session is used")
                .label(span.clone(), "used here")
                .label(value.at.span().clone(), "the value is made here")
                .note("a session is one program, which shares nothing with other programs");
            self.record().error(error.help("trace both in one session, or save the value there and pass the tensor on"));
        }
        Ref::poisoned(span.clone())
    }
}

impl Operand {
    /// The constant that it is, where it is no value of a program. A plain number is f32.
    pub(super) fn literal(self) -> Option<Literal> {
        match self.0 {
            Kind::Value(_) => None,
            Kind::Number(number) => Some(Literal::from(&Tensor::scalar(number as f32))),
            Kind::Literal(literal) => Some(literal),
        }
    }
}

impl From<Value> for Operand {
    fn from(value: Value) -> Operand {
        Operand(Kind::Value(value))
    }
}

impl From<&Value> for Operand {
    fn from(value: &Value) -> Operand {
        Operand(Kind::Value(value.clone()))
    }
}

impl From<&&Value> for Operand {
    fn from(value: &&Value) -> Operand {
        (*value).into()
    }
}

impl From<f64> for Operand {
    fn from(number: f64) -> Operand {
        Operand(Kind::Number(number))
    }
}

impl From<Literal> for Operand {
    fn from(literal: Literal) -> Operand {
        Operand(Kind::Literal(literal))
    }
}

impl From<&Tensor> for Operand {
    fn from(tensor: &Tensor) -> Operand {
        Literal::from(tensor).into()
    }
}

impl From<Tensor> for Operand {
    fn from(tensor: Tensor) -> Operand {
        (&tensor).into()
    }
}

impl From<&str> for Operand {
    fn from(text: &str) -> Operand {
        Literal::Str(text.into()).into()
    }
}

impl From<String> for Operand {
    fn from(text: String) -> Operand {
        Literal::Str(text.into()).into()
    }
}

fn tensor<T: Element>(shape: &[usize], values: Vec<T>) -> Operand {
    Tensor::new(shape, values).into()
}

macro_rules! numbers {
    ($($from:ty => $element:ty;)*) => { $(
        impl From<$from> for Operand {
            fn from(number: $from) -> Operand { Tensor::scalar(<$element>::from(number)).into() }
        }
    )* };
}

numbers! { f32 => f32; i64 => i64; i32 => i64; bool => bool; }

// One float and one integer type, so that array literals have a type.
macro_rules! arrays {
    ($($element:ty)*) => { $(
        impl From<Vec<$element>> for Operand {
            fn from(values: Vec<$element>) -> Operand { tensor(&[values.len()], values) }
        }
        impl From<&[$element]> for Operand {
            fn from(values: &[$element]) -> Operand { tensor(&[values.len()], values.to_vec()) }
        }
        impl<const N: usize> From<[$element; N]> for Operand {
            fn from(values: [$element; N]) -> Operand { tensor(&[N], values.to_vec()) }
        }
        impl<const N: usize, const M: usize> From<[[$element; M]; N]> for Operand {
            fn from(values: [[$element; M]; N]) -> Operand { tensor(&[N, M], values.concat()) }
        }
    )* };
}

arrays! { f32 i64 bool }

// On the left of an operator stands `f64` or `i64`, one float and one integer type, so that literals have a type.
macro_rules! binary {
    ($($trait:ident $method:ident, $assign:ident $assign_method:ident, $op:ident;)*) => { $(
        binary!(@both $trait $method $op);

        impl<T: Into<Operand>> $assign<T> for Value {
            /// In place: seen by all who share the tensor, and by the forward pass where it is that of a hook.
            #[track_caller]
            fn $assign_method(&mut self, other: T) {
                let result = self.binary(Op::$op {}, other);
                self.set(result);
            }
        }

        binary!(@left $trait $method $op, f64 i64);
    )* };
    (@both $trait:ident $method:ident $op:ident) => {
        impl<T: Into<Operand>> $trait<T> for Value {
            type Output = Value;
            #[track_caller]
            fn $method(self, other: T) -> Value { self.binary(Op::$op {}, other) }
        }
        impl<T: Into<Operand>> $trait<T> for &Value {
            type Output = Value;
            #[track_caller]
            fn $method(self, other: T) -> Value { self.binary(Op::$op {}, other) }
        }
    };
    (@left $trait:ident $method:ident $op:ident, $($number:ty)*) => { $(
        impl $trait<Value> for $number {
            type Output = Value;
            #[track_caller]
            fn $method(self, other: Value) -> Value { other.session.compute(Op::$op {}, vec![self.into(), (&other).into()]) }
        }
        impl $trait<&Value> for $number {
            type Output = Value;
            #[track_caller]
            fn $method(self, other: &Value) -> Value { other.session.compute(Op::$op {}, vec![self.into(), other.into()]) }
        }
    )* };
}

binary! {
    Add add, AddAssign add_assign, Add;
    Sub sub, SubAssign sub_assign, Sub;
    Mul mul, MulAssign mul_assign, Mul;
    Div div, DivAssign div_assign, Div;
}
binary!(@both BitAnd bitand And);
binary!(@both BitOr bitor Or);
binary!(@both BitXor bitxor Xor);

macro_rules! unary {
    ($($trait:ident $method:ident $op:ident;)*) => { $(
        impl $trait for Value {
            type Output = Value;
            #[track_caller]
            fn $method(self) -> Value { self.unary(Op::$op {}) }
        }
        impl $trait for &Value {
            type Output = Value;
            #[track_caller]
            fn $method(self) -> Value { self.unary(Op::$op {}) }
        }
    )* };
}

unary! { Neg neg Neg; Not not Not; }
