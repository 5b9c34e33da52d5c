//! Parts of tensors and other arrangements of their elements. Where the elements of the result lie together in the
//! operand, they are shared and not copied.

use std::ops::Range;

use crate::{
    eval::{
        EvalError,
        elementwise::promoted,
        indexing::{entries, positions},
        number::{FromAny, cast, convert, on_dtype},
        walk::{Around, Walk, axis, broadcast, broadcast_strides, check_size, strict_axis, strides},
    },
    infer::{
        layout::{chunk_sizes, diagonal_length, permuted, split_sizes},
        normalise_axis,
    },
    tensor::{Element, Sizes, Tensor, on_elements},
    types::{DType, Dim},
};

/// `start:end:step` of a dimension.
struct Steps {
    start: usize,
    step: usize,
    count: usize,
}

impl Steps {
    fn new(size: usize, start: Option<i64>, end: Option<i64>, step: i64) -> Result<Steps, EvalError> {
        if step < 1 {
            return Err(EvalError::new(format!("the step of a slice is at least 1, not {step}")));
        }
        // Sizes of tensors are far below i64::MAX.
        let last = size as i64;
        let bound = |at: i64| (if at < 0 { at + last } else { at }).clamp(0, last) as usize;
        let (start, end) = (start.map_or(0, bound), end.map_or(size, bound));
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        Ok(Steps { start, step, count: end.saturating_sub(start).div_ceil(step) })
    }

    /// The indices as a range, where they follow each other.
    fn together(&self) -> Option<Range<usize>> {
        (self.step == 1 || self.count <= 1).then_some(self.start..self.start + self.count)
    }
}

pub(super) fn slice(x: &Tensor, dim: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Result<Tensor, EvalError> {
    let dim = strict_axis(dim, x.rank())?;
    let steps = Steps::new(x.shape()[dim], start, end, step)?;
    Ok(pick(x, dim, &steps))
}

fn pick(x: &Tensor, dim: usize, steps: &Steps) -> Tensor {
    let Around { outer, size, inner } = Around::new(x.shape(), dim);
    if steps.count == size {
        return x.clone();
    }
    let mut shape = Sizes::from_slice(x.shape());
    shape[dim] = steps.count;
    match steps.together() {
        Some(range) if outer == 1 => x.reshaped([size, inner]).part(range).reshaped(shape),
        together => on_elements!(x, values => {
            let mut out = Vec::with_capacity(outer * steps.count * inner);
            for block in 0..outer {
                let row = |at: usize| (block * size + at) * inner;
                match &together {
                    Some(range) => out.extend_from_slice(&values[row(range.start)..row(range.end)]),
                    None => {
                        let starts = (0..steps.count).map(|k| row(steps.start + k * steps.step));
                        starts.for_each(|at| out.extend_from_slice(&values[at..at + inner]));
                    }
                }
            }
            Tensor::new(shape, out)
        }),
    }
}

pub(super) fn index(x: &Tensor, dim: i64, index: i64) -> Result<Tensor, EvalError> {
    let dim = strict_axis(dim, x.rank())?;
    let size = x.shape()[dim];
    let start = normalise_axis(index, size)
        .ok_or_else(|| EvalError::new(format!("index {index} is out of range for a dimension of size {size}")))?;
    let mut shape = Sizes::from_slice(x.shape());
    shape.remove(dim);
    Ok(pick(x, dim, &Steps { start, step: 1, count: 1 }).reshaped(shape))
}

pub(super) fn update(x: &Tensor, value: &Tensor, dim: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Result<Tensor, EvalError> {
    let dim = strict_axis(dim, x.rank())?;
    let steps = Steps::new(x.shape()[dim], start, end, step)?;
    let mut part = Sizes::from_slice(x.shape());
    part[dim] = steps.count;
    // Dimensions of size 1 before those of the part do not matter, as in PyTorch's assignment.
    let surplus = value.rank().saturating_sub(x.rank());
    let from = &value.shape()[surplus..];
    if value.shape()[..surplus].iter().any(|&size| size != 1) || broadcast([&part, from])? != part {
        return Err(EvalError::new(format!("a value of shape {:?} does not fit a part of shape {part:?}", value.shape())));
    }
    let value = cast(value, x.dtype());
    if part[..] == *x.shape() && from == &part[..] {
        return Ok(value.reshaped(part));
    }
    let mut to = strides(x.shape());
    let first = steps.start * to[dim];
    to[dim] = to[dim].saturating_mul(steps.step);
    let walk = Walk::new(&part, [&to, &broadcast_strides(from, &part)]);
    let (len, [to, from]) = (walk.row_len(), walk.row_steps());

    fn typed<T: Element>(x: &Tensor, value: &Tensor, mut assign: impl FnMut(&mut [T], &[T])) -> Tensor {
        let mut out = x.values::<T>().unwrap_or_default().to_vec();
        assign(&mut out, value.values::<T>().unwrap_or_default());
        Tensor::new(x.shape(), out)
    }
    macro_rules! assign {
        ($ty:ty) => {
            typed::<$ty>(x, &value, |out, value| {
                walk.rows(&mut |[i, j]| match (to, from) {
                    (1, 1) => out[first + i..first + i + len].copy_from_slice(&value[j..j + len]),
                    (1, 0) => out[first + i..first + i + len].fill(value[j]),
                    _ => (0..len).for_each(|k| out[first + i + k * to] = value[j + k * from]),
                })
            })
        };
    }
    Ok(match x.dtype() {
        DType::F64 => assign!(f64),
        DType::F32 => assign!(f32),
        DType::F16 => assign!(half::f16),
        DType::BF16 => assign!(half::bf16),
        DType::I64 => assign!(i64),
        DType::I32 => assign!(i32),
        DType::U8 => assign!(u8),
        DType::Bool => assign!(bool),
    })
}

pub(super) fn gather(x: &Tensor, index: &Tensor, dim: i64) -> Result<Tensor, EvalError> {
    let dim = axis(dim, x.rank())?;
    let larger = |at: usize| at != dim && index.shape()[at] > x.shape()[at];
    if index.rank() != x.rank() || (0..x.rank()).any(larger) {
        return Err(EvalError::new(format!("cannot pick from the shape {:?} by ids of the shape {:?}", x.shape(), index.shape())));
    }
    if x.rank() == 0 {
        positions(index, 1, false)?;
        return Ok(x.clone());
    }
    let ids = positions(index, x.shape()[dim], false)?;
    let mut steps = strides(x.shape());
    let step = std::mem::take(&mut steps[dim]);
    let walk = Walk::new(index.shape(), [&strides(index.shape()), &steps]);
    let (len, [_, across]) = (walk.row_len(), walk.row_steps());
    Ok(on_elements!(x, values => {
        let mut out = Vec::with_capacity(ids.len());
        walk.rows(&mut |[i, j]| out.extend(ids[i..i + len].iter().enumerate().map(|(k, id)| values[j + k * across + id * step])));
        Tensor::new(index.shape(), out)
    }))
}

pub(super) fn embedding(table: &Tensor, index: &Tensor) -> Result<Tensor, EvalError> {
    let &[rows, size] = table.shape() else {
        return Err(EvalError::new(format!("the table has the shape {:?}, not two dimensions", table.shape())));
    };
    let ids = positions(index, rows, false)?;
    let mut shape = Sizes::from_slice(index.shape());
    shape.push(size);
    check_size(&shape)?;
    Ok(on_elements!(table, values => {
        let mut out = Vec::with_capacity(ids.len() * size);
        ids.iter().for_each(|id| out.extend_from_slice(&values[id * size..(id + 1) * size]));
        Tensor::new(shape, out)
    }))
}

pub(super) fn reshape(x: &Tensor, shape: &[Dim]) -> Result<Tensor, EvalError> {
    let mut sizes = Sizes::new();
    let mut open = None;
    for (at, dim) in shape.iter().enumerate() {
        match dim.as_known() {
            Some(-1) if open.is_none() => open = Some(at),
            Some(-1) => return Err(EvalError::new("at most one size may be -1")),
            Some(size) if size < 0 => return Err(EvalError::new(format!("{size} is not a size"))),
            _ => {}
        }
        match dim.as_known() {
            Some(size) => sizes.push(usize::try_from(size).unwrap_or(1)),
            None => return Err(EvalError::new(format!("the size {dim} is not known"))),
        }
    }
    check_size(&sizes)?;
    let given: usize = sizes.iter().product();
    if let Some(at) = open {
        sizes[at] = x.len().checked_div(given).unwrap_or(0);
    }
    if sizes.iter().product::<usize>() != x.len() || (open.is_some() && given == 0) {
        return Err(EvalError::new(format!("{} elements do not fill the shape {shape:?}", x.len())));
    }
    Ok(x.reshaped(sizes))
}

/// The elements that are these strides apart, from a first one on, as a tensor of a shape.
pub(super) fn strided(x: &Tensor, shape: &[usize], first: usize, steps: &[usize]) -> Tensor {
    let walk = Walk::new(shape, [steps]);
    let (len, [step]) = (walk.row_len(), walk.row_steps());
    on_elements!(x, values => {
        let mut out = Vec::with_capacity(shape.iter().product());
        walk.rows(&mut |[at]| match step {
            1 => out.extend_from_slice(&values[first + at..first + at + len]),
            _ => out.extend((0..len).map(|k| values[first + at + k * step])),
        });
        Tensor::new(shape, out)
    })
}

/// The tensor repeated to a shape to which it can be broadcast.
pub(super) fn expanded(x: &Tensor, shape: &[usize]) -> Tensor {
    if x.len() == shape.iter().product() { x.reshaped(shape) } else { strided(x, shape, 0, &broadcast_strides(x.shape(), shape)) }
}

pub(super) fn permute(x: &Tensor, dims: &[i64], shape: &[usize]) -> Result<Tensor, EvalError> {
    let axes = permuted(dims, x.rank()).ok_or_else(|| EvalError::new(format!("{dims:?} is not an order of {} dimensions", x.rank())))?;
    // Dimensions of one place can be anywhere.
    let wide: Sizes = axes.iter().copied().filter(|&at| x.shape()[at] != 1).collect();
    if wide.is_sorted() {
        return Ok(x.reshaped(shape));
    }
    let steps = strides(x.shape());
    Ok(strided(x, shape, 0, &axes.iter().map(|&at| steps[at]).collect::<Sizes>()))
}

/// Pieces of a dimension, one after the other.
fn pieces(x: &Tensor, dim: i64, sizes: impl FnOnce(i64) -> Result<Vec<i64>, String>) -> Result<Vec<Tensor>, EvalError> {
    let dim = strict_axis(dim, x.rank())?;
    let sizes = sizes(x.shape()[dim] as i64).map_err(EvalError::new)?;
    let ends = sizes.iter().scan(0, |end, size| {
        *end += *size as usize;
        Some(*end)
    });
    let steps = ends.zip(&sizes).map(|(end, &size)| Steps { start: end - size as usize, step: 1, count: size as usize });
    Ok(steps.map(|steps| pick(x, dim, &steps)).collect())
}

pub(super) fn split(x: &Tensor, size: Option<i64>, sizes: &[i64], dim: i64) -> Result<Vec<Tensor>, EvalError> {
    pieces(x, dim, |total| split_sizes(total, size, sizes))
}

pub(super) fn chunk(x: &Tensor, chunks: i64, dim: i64) -> Result<Vec<Tensor>, EvalError> {
    pieces(x, dim, |total| chunk_sizes(total, chunks))
}

pub(super) fn flip(x: &Tensor, dims: &[i64]) -> Result<Tensor, EvalError> {
    dims.iter().try_fold(x.clone(), |x, &dim| {
        let dim = strict_axis(dim, x.rank())?;
        entries(&x, dim, &(0..x.shape()[dim]).rev().collect::<Vec<_>>())
    })
}

pub(super) fn roll(x: &Tensor, shifts: &[i64], dims: &[i64]) -> Result<Tensor, EvalError> {
    let along = |x: &Tensor, dim: i64, shift: i64| {
        let dim = strict_axis(dim, x.rank())?;
        let size = x.shape()[dim];
        let first = if size == 0 { 0 } else { (-(shift as i128)).rem_euclid(size as i128) as usize };
        entries(x, dim, &(first..size).chain(0..first).collect::<Vec<_>>())
    };
    match (shifts, dims) {
        (&[shift], []) => Ok(along(&x.reshaped([x.len()]), 0, shift)?.reshaped(x.shape())),
        _ => dims.iter().zip(shifts).try_fold(x.clone(), |x, (&dim, &shift)| along(&x, dim, shift)),
    }
}

/// Each size twice: how often a dimension repeats, and its size; or the other way round.
fn with_repeats(x: &Tensor, repeats: &[usize], inside: bool, shape: &[usize]) -> Tensor {
    let new = repeats.len() - x.rank();
    let sizes = std::iter::repeat_n(1, new).chain(x.shape().iter().copied());
    let steps = std::iter::repeat_n(0, new).chain(strides(x.shape()));
    let pairs =
        repeats.iter().zip(sizes.zip(steps)).flat_map(|(&repeat, size)| if inside { [size, (repeat, 0)] } else { [(repeat, 0), size] });
    let (sizes, steps): (Sizes, Sizes) = pairs.unzip();
    strided(x, &sizes, 0, &steps).reshaped(shape)
}

pub(super) fn repeat(x: &Tensor, repeats: &[i64], shape: &[usize]) -> Tensor {
    with_repeats(x, &repeats.iter().map(|&repeat| repeat as usize).collect::<Sizes>(), false, shape)
}

pub(super) fn repeat_interleave(x: &Tensor, repeats: i64, dim: Option<i64>, shape: &[usize]) -> Result<Tensor, EvalError> {
    let (x, dim) = match dim {
        Some(dim) => (x.clone(), strict_axis(dim, x.rank())?),
        None => (x.reshaped([x.len()]), 0),
    };
    let mut all = Sizes::from_elem(1, x.rank());
    all[dim] = repeats as usize;
    Ok(with_repeats(&x, &all, true, shape))
}

/// Matrices with zeros on one side of a diagonal.
pub(super) fn triangle(x: &Tensor, diagonal: i64, lower: bool) -> Result<Tensor, EvalError> {
    fn typed<T: Element>(x: &Tensor, [rows, columns]: [usize; 2], diagonal: i64, lower: bool) -> Tensor {
        let mut out = x.values::<T>().unwrap_or_default().to_vec();
        for matrix in out.chunks_exact_mut((rows * columns).max(1)) {
            for (row, elements) in matrix.chunks_exact_mut(columns.max(1)).enumerate() {
                // How many elements of the row lie before the diagonal, and with it.
                let before = (row as i64).saturating_add(diagonal).clamp(0, columns as i64) as usize;
                let with = (row as i64 + 1).saturating_add(diagonal).clamp(0, columns as i64) as usize;
                if lower { elements[with..].fill(T::default()) } else { elements[..before].fill(T::default()) }
            }
        }
        Tensor::new(x.shape(), out)
    }
    let &[.., rows, columns] = x.shape() else { return Err(EvalError::new("the tensor has fewer than two dimensions")) };
    Ok(on_dtype!(x.dtype(), T => typed::<T>(x, [rows, columns], diagonal, lower)))
}

pub(super) fn diagonal(x: &Tensor, offset: i64, dim0: i64, dim1: i64, shape: &[usize]) -> Result<Tensor, EvalError> {
    let (a, b) = (strict_axis(dim0, x.rank())?, strict_axis(dim1, x.rank())?);
    let steps = strides(x.shape());
    let length = diagonal_length(x.shape()[a] as i64, x.shape()[b] as i64, offset);
    let first = match offset {
        _ if length == 0 => 0,
        0.. => offset as usize * steps[b],
        _ => offset.unsigned_abs() as usize * steps[a],
    };
    let others = (0..x.rank()).filter(|at| *at != a && *at != b).map(|at| steps[at]);
    Ok(strided(x, shape, first, &others.chain([steps[a] + steps[b]]).collect::<Sizes>()))
}

pub(super) fn unsqueeze(x: &Tensor, dim: i64) -> Result<Tensor, EvalError> {
    let dim = axis(dim, x.rank() + 1)?;
    let mut shape = Sizes::from_slice(x.shape());
    shape.insert(dim, 1);
    Ok(x.reshaped(shape))
}

pub(super) fn transpose(x: &Tensor, dim0: i64, dim1: i64) -> Result<Tensor, EvalError> {
    let (a, b) = (axis(dim0, x.rank())?, axis(dim1, x.rank())?);
    let (a, b) = (a.min(b), a.max(b));
    let mut shape = Sizes::from_slice(x.shape());
    if x.rank() > 0 {
        shape.swap(a, b);
    }
    // One dimension passes over others only if it and they have more than one place.
    if a == b || x.shape()[a..=b].iter().filter(|&&size| size != 1).count() <= 1 {
        return Ok(x.reshaped(shape));
    }
    // The elements as [outer, n, between, m, inner]; n and m change places.
    let (first, last) = (Around::new(x.shape(), a), Around::new(x.shape(), b));
    let (outer, n, m, inner) = (first.outer, first.size, last.size, last.inner);
    let between: usize = x.shape()[a + 1..b].iter().product();
    Ok(on_elements!(x, values => Tensor::new(shape, swapped(values, [outer, n, between, m, inner]))))
}

fn swapped<T: Element>(values: &[T], [outer, n, between, m, inner]: [usize; 5]) -> Vec<T> {
    // Rows of one side are columns of the other: squares of this size stay in the cache.
    const SQUARE: usize = 32;
    let mut out = vec![T::default(); values.len()];
    for (block, from) in (0..outer).flat_map(|o| (0..between).map(move |at| (o, at))) {
        for i0 in (0..n).step_by(SQUARE) {
            for j0 in (0..m).step_by(SQUARE) {
                for j in j0..m.min(j0 + SQUARE) {
                    for i in i0..n.min(i0 + SQUARE) {
                        let source = (((block * n + i) * between + from) * m + j) * inner;
                        let target = (((block * m + j) * between + from) * n + i) * inner;
                        match inner {
                            1 => out[target] = values[source],
                            _ => out[target..target + inner].copy_from_slice(&values[source..source + inner]),
                        }
                    }
                }
            }
        }
    }
    out
}

pub(super) fn cat(parts: &[&Tensor], dim: i64) -> Result<Tensor, EvalError> {
    let Some(first) = parts.first() else { return Err(EvalError::new("there is nothing to join")) };
    let dim = strict_axis(dim, first.rank())?;
    let others = |x: &Tensor| x.shape().iter().enumerate().filter(|(at, _)| *at != dim).map(|(_, &size)| size).collect::<Sizes>();
    if let Some(other) = parts.iter().find(|x| x.rank() != first.rank() || others(x) != others(first)) {
        return Err(EvalError::new(format!(
            "the shapes {:?} and {:?} cannot be joined along dimension {dim}",
            first.shape(),
            other.shape()
        )));
    }
    let mut shape = Sizes::from_slice(first.shape());
    shape[dim] = parts.iter().try_fold(0usize, |sum, x| sum.checked_add(x.shape()[dim])).unwrap_or(usize::MAX);
    check_size(&shape)?;

    fn typed<T: FromAny>(parts: &[&Tensor], shape: &[usize], dim: usize) -> Tensor {
        let outer: usize = shape[..dim].iter().product();
        let parts: Vec<_> = parts.iter().map(|x| convert::<T>(x)).collect();
        let mut out = Vec::with_capacity(shape.iter().product());
        for block in 0..outer {
            for part in &parts {
                let each = part.len() / outer;
                out.extend_from_slice(&part[block * each..(block + 1) * each]);
            }
        }
        Tensor::new(shape, out)
    }
    Ok(match promoted(parts) {
        dtype if parts.len() == 1 => cast(first, dtype),
        DType::F64 => typed::<f64>(parts, &shape, dim),
        DType::F32 => typed::<f32>(parts, &shape, dim),
        DType::F16 => typed::<half::f16>(parts, &shape, dim),
        DType::BF16 => typed::<half::bf16>(parts, &shape, dim),
        DType::I64 => typed::<i64>(parts, &shape, dim),
        DType::I32 => typed::<i32>(parts, &shape, dim),
        DType::U8 => typed::<u8>(parts, &shape, dim),
        DType::Bool => typed::<bool>(parts, &shape, dim),
    })
}

pub(super) fn stack(parts: &[&Tensor], dim: i64) -> Result<Tensor, EvalError> {
    let Some(first) = parts.first() else { return Err(EvalError::new("there is nothing to stack")) };
    if let Some(other) = parts.iter().find(|x| x.shape() != first.shape()) {
        return Err(EvalError::new(format!("the shapes {:?} and {:?} are not one", first.shape(), other.shape())));
    }
    let parts = parts.iter().map(|x| unsqueeze(x, dim)).collect::<Result<Vec<_>, _>>()?;
    // The new dimension is found at the same place: all have one more than before.
    cat(&parts.iter().collect::<Vec<_>>(), dim)
}
