//! Positions in several tensors visited together, and the arithmetic of shapes.

use std::fmt::Debug;

use crate::{eval::EvalError, infer::normalise_axis, tensor::Sizes};

/// Refuses shapes whose elements cannot be counted. Sizes of 0 count as 1, so that each stretch of the shape can.
pub(super) fn check_size(shape: &[usize]) -> Result<(), EvalError> {
    // Elements take up to 8 bytes, and memory has at most isize::MAX of them.
    let limit = isize::MAX as usize / 8;
    let count = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size.max(1)));
    if count.is_some_and(|count| count <= limit) {
        Ok(())
    } else {
        Err(EvalError::new(format!("a tensor of shape {shape:?} is too large")))
    }
}

/// The dimension meant by `dim`; a tensor without dimensions has dimension 0 as in PyTorch.
pub(super) fn axis(dim: i64, rank: usize) -> Result<usize, EvalError> {
    normalise_axis(dim, rank.max(1)).ok_or_else(|| EvalError::new(format!("dimension {dim} is out of range for {rank} dimensions")))
}

/// Like [`axis`], where there must be dimensions.
pub(super) fn strict_axis(dim: i64, rank: usize) -> Result<usize, EvalError> {
    if rank == 0 { Err(EvalError::new("the tensor has no dimensions")) } else { axis(dim, rank) }
}

/// The shape that all are broadcast to, aligned at the last dimension.
pub(super) fn broadcast<const N: usize>(shapes: [&[usize]; N]) -> Result<Sizes, EvalError> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = Sizes::from_elem(1, rank);
    for shape in shapes {
        for (whole, &size) in result[rank - shape.len()..].iter_mut().zip(shape) {
            match (*whole, size) {
                (1, size) => *whole = size,
                (whole, size) if whole == size || size == 1 => {}
                _ => return Err(no_fit(&shapes)),
            }
        }
    }
    check_size(&result)?;
    Ok(result)
}

fn no_fit(shapes: &impl Debug) -> EvalError {
    EvalError::new(format!("the shapes {shapes:?} do not fit together"))
}

/// How far apart neighbours are along each dimension of a row-major tensor.
pub(super) fn strides(shape: &[usize]) -> Sizes {
    let mut strides = Sizes::from_elem(1, shape.len());
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at] * shape[at];
    }
    strides
}

/// The strides with which a tensor of shape `from` is read as if it had the shape `to`, to which it can be broadcast.
pub(super) fn broadcast_strides(from: &[usize], to: &[usize]) -> Sizes {
    let mut result = Sizes::from_elem(0, to.len() - from.len());
    result.extend(strides(from).iter().zip(from).map(|(&stride, &size)| if size == 1 { 0 } else { stride }));
    result
}

/// A tensor seen as `outer` blocks of `size` rows of `inner` elements, around one dimension.
#[derive(Clone, Copy)]
pub(super) struct Around {
    pub(super) outer: usize,
    pub(super) size: usize,
    pub(super) inner: usize,
}

impl Around {
    /// Around a dimension of the shape; a shape without dimensions has one element around dimension 0.
    pub(super) fn new(shape: &[usize], dim: usize) -> Around {
        let Some(&size) = shape.get(dim) else { return Around { outer: 1, size: 1, inner: 1 } };
        Around { outer: shape[..dim].iter().product(), size, inner: shape[dim + 1..].iter().product() }
    }
}

/// Positions in N tensors, visited together in the row-major order of one shape.
pub(super) struct Walk<const N: usize> {
    /// The merged dimensions but the last, outermost first.
    outer: Vec<(usize, [usize; N])>,
    /// The last one.
    row: (usize, [usize; N]),
    empty: bool,
}

impl<const N: usize> Walk<N> {
    /// A walk over `shape` with these strides in the tensors.
    pub(super) fn new(shape: &[usize], strides: [&[usize]; N]) -> Walk<N> {
        let mut merged: Vec<(usize, [usize; N])> = Vec::with_capacity(shape.len());
        for (at, &size) in shape.iter().enumerate().rev() {
            let step = strides.map(|strides| strides[at]);
            match merged.last_mut() {
                _ if size == 1 => {}
                // Dimensions that follow each other without a gap in all tensors are one.
                Some((inner, steps)) if (0..N).all(|k| step[k] == steps[k] * *inner) => *inner *= size,
                _ => merged.push((size, step)),
            }
        }
        merged.reverse();
        let row = merged.pop().unwrap_or((1, [0; N]));
        Walk { outer: merged, row, empty: shape.contains(&0) }
    }

    /// The number of positions of a row.
    pub(super) fn row_len(&self) -> usize {
        self.row.0
    }

    /// How far apart neighbours in a row are, in each tensor.
    pub(super) fn row_steps(&self) -> [usize; N] {
        self.row.1
    }

    /// Calls `row` with the position in each tensor of each row's beginning. Not generic over `row`: it is called once a
    /// row, and there are hundreds of callers to compile.
    pub(super) fn rows(&self, row: &mut dyn FnMut([usize; N])) {
        if self.empty {
            return;
        }
        let mut index = vec![0usize; self.outer.len()];
        let mut offsets = [0usize; N];
        loop {
            row(offsets);
            let mut at = self.outer.len();
            loop {
                let Some(next) = at.checked_sub(1) else { return };
                at = next;
                let (size, steps) = &self.outer[at];
                index[at] += 1;
                (0..N).for_each(|k| offsets[k] += steps[k]);
                if index[at] < *size {
                    break;
                }
                index[at] = 0;
                (0..N).for_each(|k| offsets[k] -= steps[k] * size);
            }
        }
    }
}
