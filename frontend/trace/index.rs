//! Which part of a tensor, and along which dimensions: Python's `h[:, -1]` and `h.mean(dim=-1, keepdim=True)`.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use irc_ir::{op::Op, tensor::Tensor};

use super::{Operand, Value};

/// What is taken of one dimension.
#[derive(Clone, Debug)]
pub enum Part {
    /// One index, negative from the end; the dimension disappears.
    Index(i64),
    /// `start:end:step`; bounds count from the end where they are negative.
    Slice {
        /// The first index; none is the beginning.
        start: Option<i64>,
        /// One past the last index; none is the end.
        end: Option<i64>,
        /// The distance of indices, at least 1.
        step: i64,
    },
    /// The entries that ids pick, whose dimensions take the place of this one; negative ids count from the end. Several such
    /// parts pick together, as in PyTorch.
    Ids(Operand),
    /// All dimensions that the other parts leave over.
    Ellipsis,
}

impl Part {
    const ALL: Part = Part::Slice { start: None, end: None, step: 1 };

    /// The view that takes this part of a dimension; none if it takes all of it, or is no view.
    pub(super) fn op(&self, dim: i64) -> Option<Op> {
        match *self {
            Part::Slice { start: None, end: None, step: 1 } | Part::Ellipsis | Part::Ids(_) => None,
            Part::Index(index) => Some(Op::Index { dim, index }),
            Part::Slice { start, end, step } => Some(Op::Slice { dim, start, end, step }),
        }
    }
}

/// All dimensions that the other parts leave over, Python's `...`: `h.at((Ellipsis, -1))` is the last element of the last
/// dimension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ellipsis;

/// Every `step`-th index of a range: `h.at((.., every(.., 2)))` is Python's `h[:, ::2]`.
pub fn every(range: impl Indices, step: i64) -> Part {
    match range.parts().as_slice() {
        &[Part::Slice { start, end, step: inner }] => Part::Slice { start, end, step: inner.saturating_mul(step) },
        // Not a range: a step of 0 is what the verifier reports, at the line that uses it.
        _ => Part::Slice { start: None, end: None, step: 0 },
    }
}

/// What can stand between the brackets of Python's `h[…]`: an index, a range of them, `..` for a whole dimension,
/// [`Ellipsis`], a [`Part`], ids (an array or vector of i64, a [`Tensor`] or a [`Value`] of integers), or a tuple of up to six
/// of these. Indices and bounds count from the end where they are negative.
pub trait Indices {
    /// What is taken of the dimensions, first to last.
    fn parts(self) -> Vec<Part>;
}

impl Indices for Part {
    fn parts(self) -> Vec<Part> {
        vec![self]
    }
}

impl Indices for Ellipsis {
    fn parts(self) -> Vec<Part> {
        vec![Part::Ellipsis]
    }
}

impl Indices for RangeFull {
    fn parts(self) -> Vec<Part> {
        vec![Part::ALL]
    }
}

macro_rules! ids {
    ($($ids:ty)*) => { $(
        impl Indices for $ids {
            fn parts(self) -> Vec<Part> { vec![Part::Ids(self.into())] }
        }
    )* };
}

ids! { Value &Value Tensor &Tensor Vec<i64> &[i64] }

impl<const N: usize> Indices for [i64; N] {
    fn parts(self) -> Vec<Part> {
        vec![Part::Ids(self.into())]
    }
}

/// A range whose end is part of it: after -1, the last, there is nothing more.
fn after(last: i64) -> Option<i64> {
    if last == -1 { None } else { Some(last.saturating_add(1)) }
}

fn slice(start: Option<i64>, end: Option<i64>) -> Vec<Part> {
    vec![Part::Slice { start, end, step: 1 }]
}

// All integers, so that literals and `usize` variables both work. None of them loses anything that an index could mean.
macro_rules! integers {
    ($($int:ty)*) => { $(
        impl Indices for $int {
            fn parts(self) -> Vec<Part> { vec![Part::Index(number(self))] }
        }
        impl Indices for Range<$int> {
            fn parts(self) -> Vec<Part> { slice(Some(number(self.start)), Some(number(self.end))) }
        }
        impl Indices for RangeFrom<$int> {
            fn parts(self) -> Vec<Part> { slice(Some(number(self.start)), None) }
        }
        impl Indices for RangeTo<$int> {
            fn parts(self) -> Vec<Part> { slice(None, Some(number(self.end))) }
        }
        impl Indices for RangeInclusive<$int> {
            fn parts(self) -> Vec<Part> { slice(Some(number(*self.start())), after(number(*self.end()))) }
        }
        impl Indices for RangeToInclusive<$int> {
            fn parts(self) -> Vec<Part> { slice(None, after(number(self.end))) }
        }
    )* };
}

fn number(int: impl TryInto<i64>) -> i64 {
    int.try_into().unwrap_or(i64::MAX)
}

integers! { i64 i32 u32 usize }

macro_rules! tuples {
    ($(($($name:ident)*))*) => { $(
        impl<$($name: Indices),*> Indices for ($($name,)*) {
            fn parts(self) -> Vec<Part> {
                #[allow(non_snake_case)]
                let ($($name,)*) = self;
                [$($name.parts()),*].concat()
            }
        }
    )* };
}

tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

/// The dimensions that a reduction works along, and whether they stay with size 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reduction {
    pub(super) dims: Vec<i64>,
    pub(super) keepdim: bool,
}

/// Dimensions of a reduction: one, an array of several, or `..` for all; negative ones count from the last. They disappear
/// unless they are wrapped in [`keep`].
pub trait Dims {
    /// The dimensions.
    fn reduction(self) -> Reduction;
}

/// The dimensions stay, with size 1: `h.mean(keep(-1))` is Python's `h.mean(dim=-1, keepdim=True)`.
pub fn keep(dims: impl Dims) -> Reduction {
    Reduction { keepdim: true, ..dims.reduction() }
}

impl Dims for Reduction {
    fn reduction(self) -> Reduction {
        self
    }
}

impl Dims for RangeFull {
    fn reduction(self) -> Reduction {
        Reduction { dims: vec![], keepdim: false }
    }
}

impl Dims for &[i64] {
    fn reduction(self) -> Reduction {
        Reduction { dims: self.to_vec(), keepdim: false }
    }
}

macro_rules! dims {
    ($($int:ty)*) => { $(
        impl Dims for $int {
            fn reduction(self) -> Reduction { Reduction { dims: vec![self.into()], keepdim: false } }
        }
        impl<const N: usize> Dims for [$int; N] {
            fn reduction(self) -> Reduction { Reduction { dims: self.map(i64::from).to_vec(), keepdim: false } }
        }
    )* };
}

dims! { i64 i32 }
