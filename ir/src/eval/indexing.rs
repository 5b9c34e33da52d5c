//! Elements picked and set by ids and masks.

use half::{bf16, f16};

use crate::{
    attr::Float,
    eval::{
        EvalError,
        number::{FromAny, cast, convert, on_dtype},
        shape::expanded,
        walk::{Around, Walk, axis, broadcast, broadcast_strides, check_size, strict_axis, strides},
    },
    infer::layout::{indexed_axes, place_of_ids},
    tensor::{Element, Sizes, Tensor, on_elements},
    types::DType,
};

/// The ids as positions below `size`; negative ones count from the end where that is allowed.
pub(super) fn positions(ids: &Tensor, size: usize, from_end: bool) -> Result<Vec<usize>, EvalError> {
    if !matches!(ids.dtype(), DType::I64 | DType::I32) {
        return Err(EvalError::new(format!("ids are of type i64 or i32, not {}", ids.dtype())));
    }
    let position = |&id: &i64| {
        let at = if from_end && id < 0 { id.saturating_add_unsigned(size as u64) } else { id };
        usize::try_from(at).ok().filter(|at| *at < size).ok_or(id)
    };
    let positions = convert::<i64>(ids).iter().map(position).collect::<Result<Vec<_>, _>>();
    positions.map_err(|id| EvalError::new(format!("id {id} is out of range: there are {size}")))
}

/// These entries of a dimension, in this order.
pub(super) fn entries(x: &Tensor, dim: usize, at: &[usize]) -> Result<Tensor, EvalError> {
    let Around { outer, size, inner } = Around::new(x.shape(), dim);
    let mut shape = Sizes::from_slice(x.shape());
    shape[dim] = at.len();
    check_size(&shape)?;
    Ok(on_elements!(x, values => {
        let mut out = Vec::with_capacity(outer * at.len() * inner);
        for block in 0..outer {
            let starts = at.iter().map(|at| (block * size + at) * inner);
            starts.for_each(|start| out.extend_from_slice(&values[start..start + inner]));
        }
        Tensor::new(shape, out)
    }))
}

pub(super) fn index_select(x: &Tensor, ids: &Tensor, dim: i64) -> Result<Tensor, EvalError> {
    let dim = strict_axis(dim, x.rank())?;
    entries(x, dim, &positions(ids, x.shape()[dim], false)?)
}

/// The part of a tensor that ids pick: rows of elements that lie together.
struct Picked {
    /// The shape of the part.
    shape: Sizes,
    /// Where each row begins, in the order of the part.
    starts: Vec<usize>,
    /// The length of a row.
    row: usize,
}

impl Picked {
    fn new(x: &Tensor, ids: &[&Tensor], dims: &[i64]) -> Result<Picked, EvalError> {
        let axes = indexed_axes(dims, ids.len(), x.rank())
            .ok_or_else(|| EvalError::new(format!("{} tensors of ids do not fit the dimensions {dims:?} of {:?}", ids.len(), x.shape())))?;
        let picked = ids.iter().try_fold(Sizes::new(), |shape, ids| broadcast([&shape, ids.shape()]))?;
        let steps = strides(x.shape());
        // How far the entry of each combination of ids lies from the beginning.
        let mut offsets = vec![0; picked.iter().product()];
        for (ids, &axis) in ids.iter().zip(&axes) {
            let positions = positions(ids, x.shape()[axis], true)?;
            let walk = Walk::new(&picked, [&broadcast_strides(ids.shape(), &picked)]);
            let (len, [step]) = (walk.row_len(), walk.row_steps());
            let mut rest = offsets.iter_mut();
            walk.rows(&mut |[at]| {
                rest.by_ref().take(len).enumerate().for_each(|(k, offset)| *offset += positions[at + k * step] * steps[axis])
            });
        }
        // The dimensions after all indexed ones are rows; those before make up the rest, with the ids at their place.
        let last = axes.iter().copied().max().map_or(0, |last| last + 1);
        let others = (0..last).filter(|at| !axes.contains(at));
        let (mut shape, mut to): (Sizes, Sizes) = others.map(|at| (x.shape()[at], steps[at])).unzip();
        let mut from = Sizes::from_elem(0, shape.len());
        let place = place_of_ids(&axes);
        shape.insert_many(place, picked.iter().copied());
        to.insert_many(place, picked.iter().map(|_| 0));
        from.insert_many(place, strides(&picked));
        check_size(&shape)?;
        let walk = Walk::new(&shape, [&to, &from]);
        let (len, [to, from]) = (walk.row_len(), walk.row_steps());
        let mut starts = Vec::with_capacity(shape.iter().product());
        walk.rows(&mut |[i, j]| starts.extend((0..len).map(|k| i + k * to + offsets[j + k * from])));
        shape.extend_from_slice(&x.shape()[last..]);
        check_size(&shape)?;
        Ok(Picked { shape, starts, row: x.shape()[last..].iter().product() })
    }
}

pub(super) fn index_by(x: &Tensor, ids: &[&Tensor], dims: &[i64]) -> Result<Tensor, EvalError> {
    let picked = Picked::new(x, ids, dims)?;
    Ok(on_elements!(x, values => {
        let mut out = Vec::with_capacity(picked.starts.len() * picked.row);
        picked.starts.iter().for_each(|&start| out.extend_from_slice(&values[start..start + picked.row]));
        Tensor::new(picked.shape, out)
    }))
}

pub(super) fn index_put(x: &Tensor, value: &Tensor, ids: &[&Tensor], dims: &[i64], accumulate: bool) -> Result<Tensor, EvalError> {
    fn typed<T: Accumulate>(x: &Tensor, value: &Tensor, picked: &Picked, accumulate: bool) -> Tensor {
        let mut out = x.values::<T>().unwrap_or_default().to_vec();
        let rows = value.values::<T>().unwrap_or_default().chunks_exact(picked.row.max(1));
        for (&start, row) in picked.starts.iter().zip(rows) {
            let target = &mut out[start..start + picked.row];
            match accumulate {
                false => target.copy_from_slice(row),
                true => target.iter_mut().zip(row).for_each(|(target, &value)| *target = target.plus(value)),
            }
        }
        Tensor::new(x.shape(), out)
    }
    let picked = Picked::new(x, ids, dims)?;
    if broadcast([&picked.shape, value.shape()])? != picked.shape {
        return Err(EvalError::new(format!("a value of shape {:?} does not fit a part of shape {:?}", value.shape(), picked.shape)));
    }
    let value = expanded(&cast(value, x.dtype()), &picked.shape);
    Ok(on_dtype!(x.dtype(), T => typed::<T>(x, &value, &picked, accumulate)))
}

/// An element type whose sums are rounded, or wrap, after each addition.
trait Accumulate: Element {
    fn plus(self, other: Self) -> Self;
}

macro_rules! accumulate {
    ($($ty:ty: $plus:expr;)*) => { $(
        impl Accumulate for $ty {
            #[inline]
            fn plus(self, other: Self) -> Self { $plus(self, other) }
        }
    )* };
}

accumulate! {
    f64: |a, b| a + b;
    f32: |a, b| a + b;
    f16: |a: f16, b: f16| f16::from_f32(a.to_f32() + b.to_f32());
    bf16: |a: bf16, b: bf16| bf16::from_f32(a.to_f32() + b.to_f32());
    i64: i64::wrapping_add;
    i32: i32::wrapping_add;
    u8: u8::wrapping_add;
    bool: |a, b| a | b;
}

pub(super) fn scatter(x: &Tensor, ids: &Tensor, src: &Tensor, dim: i64, add: bool) -> Result<Tensor, EvalError> {
    fn typed<T: Accumulate>(x: &Tensor, src: &Tensor, places: &[usize], walk: &Walk<3>, add: bool) -> Tensor {
        let mut out = x.values::<T>().unwrap_or_default().to_vec();
        let src = src.values::<T>().unwrap_or_default();
        let (len, [i, j, k]) = (walk.row_len(), walk.row_steps());
        walk.rows(&mut |[id, to, from]| {
            for at in 0..len {
                let (target, value) = (&mut out[places[id + at * i] + to + at * j], src[from + at * k]);
                *target = if add { target.plus(value) } else { value };
            }
        });
        Tensor::new(x.shape(), out)
    }
    let dim = axis(dim, x.rank())?;
    let too_large = |at: usize| {
        let size = ids.shape()[at];
        (at != dim && size > x.shape()[at]) || (src.rank() > 0 && size > src.shape()[at])
    };
    if ids.rank() != x.rank() || (src.rank() > 0 && src.rank() != x.rank()) || (0..x.rank()).any(too_large) {
        return Err(EvalError::new(format!("the shapes {:?}, {:?} and {:?} do not fit together", x.shape(), ids.shape(), src.shape())));
    }
    let mut steps = strides(x.shape());
    let step = steps.get_mut(dim).map_or(0, std::mem::take);
    let places: Vec<usize> = positions(ids, x.shape().get(dim).copied().unwrap_or(1), false)?.into_iter().map(|at| at * step).collect();
    let from = if src.rank() == 0 { Sizes::from_elem(0, x.rank()) } else { strides(src.shape()) };
    let walk = Walk::new(ids.shape(), [&strides(ids.shape()), &steps, &from]);
    // PyTorch rounds the sums of `scatter_add` once, though not those of `index_put`.
    let wide = if add && matches!(x.dtype(), DType::F16 | DType::BF16) { DType::F32 } else { x.dtype() };
    let (from, src) = (cast(x, wide), cast(&cast(src, x.dtype()), wide));
    let result = on_dtype!(wide, T => typed::<T>(&from, &src, &places, &walk, add));
    Ok(cast(&result, x.dtype()))
}

/// How many places of a stated size stay empty when so many elements are found.
fn left_over(found: usize, size: i64, filled: bool) -> Result<usize, EvalError> {
    let size = usize::try_from(size).map_err(|_| EvalError::new(format!("{size} is not a size")))?;
    check_size(&[size])?;
    match size.checked_sub(found) {
        None => Err(EvalError::new(format!("{found} elements are found, more than the stated size of {size}"))),
        Some(1..) if !filled => {
            Err(EvalError::new(format!("{found} elements are found, fewer than the stated size of {size}, and no `fill` is stated")))
        }
        Some(left) => Ok(left),
    }
}

pub(super) fn nonzero(x: &Tensor, size: i64, fill: Option<i64>) -> Result<Tensor, EvalError> {
    let holds = convert::<bool>(x);
    let found: Vec<usize> = holds.iter().enumerate().filter(|(_, holds)| **holds).map(|(at, _)| at).collect();
    let left = left_over(found.len(), size, fill.is_some())?;
    let (steps, rows) = (strides(x.shape()), found.len() + left);
    check_size(&[rows, x.rank()])?;
    let mut out = Vec::with_capacity(rows * x.rank());
    for at in found {
        out.extend(steps.iter().zip(x.shape()).map(|(step, size)| (at / step % size) as i64));
    }
    out.resize(rows * x.rank(), fill.unwrap_or(0));
    Ok(Tensor::new([rows, x.rank()], out))
}

pub(super) fn masked_select(x: &Tensor, mask: &Tensor, size: i64, fill: Option<Float>) -> Result<Tensor, EvalError> {
    fn typed<T: FromAny>(x: &Tensor, holds: &[bool], size: i64, fill: Option<Float>) -> Result<Tensor, EvalError> {
        let values = x.values::<T>().unwrap_or_default();
        let mut out: Vec<T> = values.iter().zip(holds).filter(|(_, holds)| **holds).map(|(&value, _)| value).collect();
        let left = left_over(out.len(), size, fill.is_some())?;
        out.resize(out.len() + left, fill.map_or(T::default(), |fill| T::from_f64(fill.get())));
        Ok(Tensor::new([out.len()], out))
    }
    if mask.dtype() != DType::Bool {
        return Err(EvalError::new("the mask is not of bools"));
    }
    let shape = broadcast([x.shape(), mask.shape()])?;
    let (x, mask) = (expanded(x, &shape), expanded(mask, &shape));
    on_dtype!(x.dtype(), T => typed::<T>(&x, mask.values().unwrap_or_default(), size, fill))
}

pub(super) fn one_hot(ids: &Tensor, classes: i64, shape: &[usize]) -> Result<Tensor, EvalError> {
    let classes = usize::try_from(classes).unwrap_or(0);
    let mut out = vec![0i64; shape.iter().product()];
    for (at, id) in positions(ids, classes, false)?.into_iter().enumerate() {
        out[at * classes + id] = 1;
    }
    Ok(Tensor::new(shape, out))
}
