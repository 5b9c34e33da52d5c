//! Parts of tensors and other arrangements of their elements. Where the elements of the result lie together in the
//! operand, they are shared and not copied.

use std::ops::Range;

use crate::{
    eval::{
        EvalError,
        elementwise::promoted,
        number::{FromAny, cast, convert},
        walk::{Around, Walk, axis, broadcast, broadcast_strides, check_size, strict_axis, strides},
    },
    infer::normalise_axis,
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

/// The ids as positions below `size`.
fn ids(ids: &Tensor, size: usize) -> Result<Vec<usize>, EvalError> {
    if !matches!(ids.dtype(), DType::I64 | DType::I32) {
        return Err(EvalError::new(format!("ids are of type i64 or i32, not {}", ids.dtype())));
    }
    let position = |&id: &i64| usize::try_from(id).ok().filter(|id| *id < size).ok_or(id);
    let positions = convert::<i64>(ids).iter().map(position).collect::<Result<Vec<_>, _>>();
    positions.map_err(|id| EvalError::new(format!("id {id} is out of range: there are {size}")))
}

pub(super) fn gather(x: &Tensor, index: &Tensor, dim: i64) -> Result<Tensor, EvalError> {
    let dim = axis(dim, x.rank())?;
    let larger = |at: usize| at != dim && index.shape()[at] > x.shape()[at];
    if index.rank() != x.rank() || (0..x.rank()).any(larger) {
        return Err(EvalError::new(format!("cannot pick from the shape {:?} by ids of the shape {:?}", x.shape(), index.shape())));
    }
    if x.rank() == 0 {
        ids(index, 1)?;
        return Ok(x.clone());
    }
    let ids = ids(index, x.shape()[dim])?;
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
    let ids = ids(index, rows)?;
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
