//! Operations that take dimensions away: sums and products, extremes, norms, variances; the largest elements.

use std::cmp::Ordering;

use crate::{
    eval::{
        EvalError,
        number::{Number, Real, Wide, cast, convert, wide},
        walk::{Around, Walk, axis, strides},
    },
    infer::reduced_axes,
    tensor::{Element, Sizes, Tensor},
    types::DType,
};

/// Which end of the order.
#[derive(Clone, Copy)]
pub(super) enum Extreme {
    Max,
    Min,
}

fn not_floats() -> EvalError {
    EvalError::new("the operand is not of floats")
}

/// A reduction: which elements of the operand meet in which element of the result.
struct Reduction {
    walk: Walk<2>,
    /// The shape of the result.
    shape: Sizes,
    /// The number of elements of the result.
    results: usize,
    /// The number of elements behind each.
    each: usize,
}

impl Reduction {
    fn new(shape: &[usize], dims: &[i64], keepdim: bool) -> Result<Reduction, EvalError> {
        let no_dims = || EvalError::new(format!("{dims:?} are not different dimensions of the shape {shape:?}"));
        // Without dimensions there is dimension 0 as in PyTorch, of size 1.
        let axes = reduced_axes(dims, shape.len().max(1)).ok_or_else(no_dims)?;
        let reduced = |at: usize| axes.contains(&at);
        let kept: Sizes = shape.iter().enumerate().map(|(at, &size)| if reduced(at) { 1 } else { size }).collect();
        let mut to = strides(&kept);
        to.iter_mut().enumerate().filter(|(at, _)| reduced(*at)).for_each(|(_, step)| *step = 0);
        let dropped = || shape.iter().enumerate().filter(|(at, _)| !reduced(*at)).map(|(_, &size)| size).collect();
        Ok(Reduction {
            walk: Walk::new(shape, [&strides(shape), &to]),
            results: kept.iter().product(),
            each: shape.iter().enumerate().filter(|(at, _)| reduced(*at)).map(|(_, &size)| size).product(),
            shape: if keepdim { kept } else { dropped() },
        })
    }

    /// Each result is `start` combined with its elements one after the other, in row-major order.
    fn fold<T: Element, U: Copy>(&self, values: &[T], start: U, combine: impl Fn(U, T) -> U) -> Vec<U> {
        self.fold_at(values, start, |sum, x, _| combine(sum, x))
    }

    /// Like [`Self::fold`]; `combine` is also told which result it is.
    fn fold_at<T: Element, U: Copy>(&self, values: &[T], start: U, combine: impl Fn(U, T, usize) -> U) -> Vec<U> {
        let mut out = vec![start; self.results];
        let len = self.walk.row_len();
        let [_, step] = self.walk.row_steps();
        self.walk.rows(&mut |[i, j]| {
            let row = &values[i..i + len];
            match step {
                0 => out[j] = row.iter().fold(out[j], |sum, &x| combine(sum, x, j)),
                _ => out[j..j + len].iter_mut().zip(row).zip(j..).for_each(|((sum, &x), j)| *sum = combine(*sum, x, j)),
            }
        });
        out
    }

    fn sum<T: Number>(&self, x: &Tensor) -> Vec<T> {
        self.fold(&convert::<T>(x), T::from_i64(0), T::add)
    }

    fn mean<T: Real>(&self, x: &Tensor) -> Tensor {
        let count = T::from_i64(self.each as i64);
        Tensor::new(&self.shape, self.sum::<T>(x).into_iter().map(|sum| sum.div(count)).collect())
    }

    fn product<T: Number>(&self, x: &Tensor) -> Vec<T> {
        self.fold(&convert::<T>(x), T::from_i64(1), T::mul)
    }

    fn norm<T: Real>(&self, x: &Tensor, p: f64) -> Tensor {
        let values = convert::<T>(x);
        let (zero, one) = (T::from_i64(0), T::from_i64(1));
        let out = match p {
            0.0 => self.fold(&values, zero, |count, x| if x == zero { count } else { count.add(one) }),
            1.0 => self.fold(&values, zero, |sum, x| sum.add(x.abs())),
            2.0 => self.fold(&values, zero, |sum, x| sum.add(x.mul(x))).into_iter().map(T::sqrt).collect(),
            f64::INFINITY => self.fold(&values, zero, |largest, x| largest.maximum(x.abs())),
            f64::NEG_INFINITY => self.fold(&values, T::HIGHEST, |smallest, x| smallest.minimum(x.abs())),
            _ => {
                let p = T::from_f64(p);
                let sums = self.fold(&values, zero, |sum, x| sum.add(x.abs().pow(p)));
                sums.into_iter().map(|sum| sum.pow(p.recip())).collect()
            }
        };
        Tensor::new(&self.shape, out)
    }

    /// Two passes: the mean, then the squared distances from it.
    fn var<T: Real>(&self, x: &Tensor, correction: i64) -> Vec<T> {
        let (values, zero) = (convert::<T>(x), T::from_i64(0));
        let count = self.each as i64;
        let mean: Vec<T> = self.fold(&values, zero, T::add).into_iter().map(|sum| sum.div(T::from_i64(count))).collect();
        let squares = self.fold_at(&values, zero, |sum, x, at| {
            let distance = x.sub(mean[at]);
            sum.add(distance.mul(distance))
        });
        let divisor = T::from_i64(count.saturating_sub(correction).max(0));
        squares.into_iter().map(|sum| sum.div(divisor)).collect()
    }

    /// What is below the largest, so that no power of e overflows; infinite ones are not subtracted.
    fn logsumexp<T: Real>(&self, x: &Tensor) -> Tensor {
        let (values, zero) = (convert::<T>(x), T::from_i64(0));
        let largest = self.fold(&values, T::LOWEST, T::maximum);
        let shift: Vec<T> = largest.into_iter().map(|x| if x.is_infinite() { zero } else { x }).collect();
        let sums = self.fold_at(&values, zero, |sum, x, at| sum.add(x.sub(shift[at]).exp()));
        Tensor::new(&self.shape, sums.into_iter().zip(shift).map(|(sum, shift)| sum.ln().add(shift)).collect())
    }

    fn extreme<T: Number>(&self, end: Extreme, x: &Tensor) -> Tensor {
        let values = convert::<T>(x);
        let out = match end {
            Extreme::Max => self.fold(&values, T::LOWEST, T::maximum),
            Extreme::Min => self.fold(&values, T::HIGHEST, T::minimum),
        };
        Tensor::new(&self.shape, out)
    }
}

pub(super) fn sum(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor, EvalError> {
    let reduction = Reduction::new(x.shape(), dims, keepdim)?;
    let shape = &reduction.shape;
    Ok(match wide(x.dtype()) {
        Wide::F64 => Tensor::new(shape, reduction.sum::<f64>(x)),
        Wide::F32 => cast(&Tensor::new(shape, reduction.sum::<f32>(x)), x.dtype()),
        Wide::I64 => Tensor::new(shape, reduction.sum::<i64>(x)),
    })
}

pub(super) fn mean(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor, EvalError> {
    let reduction = Reduction::new(x.shape(), dims, keepdim)?;
    Ok(match wide(x.dtype()) {
        Wide::F64 => reduction.mean::<f64>(x),
        Wide::F32 => cast(&reduction.mean::<f32>(x), x.dtype()),
        Wide::I64 => return Err(not_floats()),
    })
}

pub(super) fn prod(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor, EvalError> {
    let reduction = Reduction::new(x.shape(), dims, keepdim)?;
    let shape = &reduction.shape;
    Ok(match wide(x.dtype()) {
        Wide::F64 => Tensor::new(shape, reduction.product::<f64>(x)),
        Wide::F32 => cast(&Tensor::new(shape, reduction.product::<f32>(x)), x.dtype()),
        Wide::I64 => Tensor::new(shape, reduction.product::<i64>(x)),
    })
}

pub(super) fn any(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor, EvalError> {
    quantifier(x, dims, keepdim, false, |any, x| any || x)
}

pub(super) fn all(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor, EvalError> {
    quantifier(x, dims, keepdim, true, |all, x| all && x)
}

fn quantifier(x: &Tensor, dims: &[i64], keepdim: bool, start: bool, combine: impl Fn(bool, bool) -> bool) -> Result<Tensor, EvalError> {
    let reduction = Reduction::new(x.shape(), dims, keepdim)?;
    let result = Tensor::new(&reduction.shape, reduction.fold(&convert::<bool>(x), start, combine));
    Ok(cast(&result, if x.dtype() == DType::U8 { DType::U8 } else { DType::Bool }))
}

pub(super) fn norm(x: &Tensor, p: f64, dims: &[i64], keepdim: bool) -> Result<Tensor, EvalError> {
    let reduction = Reduction::new(x.shape(), dims, keepdim)?;
    if p.is_nan() || (reduction.each == 0 && (p < 0.0 || p.is_infinite())) {
        return Err(EvalError::new(format!("there is no norm with p = {p} of the shape {:?}", x.shape())));
    }
    Ok(match wide(x.dtype()) {
        Wide::F64 => reduction.norm::<f64>(x, p),
        Wide::F32 => cast(&reduction.norm::<f32>(x, p), x.dtype()),
        Wide::I64 => return Err(not_floats()),
    })
}

pub(super) fn var(x: &Tensor, dims: &[i64], correction: i64, keepdim: bool) -> Result<Tensor, EvalError> {
    spread(x, dims, correction, keepdim, |var| var, |var| var)
}

pub(super) fn std(x: &Tensor, dims: &[i64], correction: i64, keepdim: bool) -> Result<Tensor, EvalError> {
    spread(x, dims, correction, keepdim, f32::sqrt, f64::sqrt)
}

/// A function of the variance.
fn spread(
    x: &Tensor,
    dims: &[i64],
    correction: i64,
    keepdim: bool,
    of_f32: impl Fn(f32) -> f32,
    of_f64: impl Fn(f64) -> f64,
) -> Result<Tensor, EvalError> {
    let reduction = Reduction::new(x.shape(), dims, keepdim)?;
    let shape = &reduction.shape;
    Ok(match wide(x.dtype()) {
        Wide::F64 => Tensor::new(shape, reduction.var(x, correction).into_iter().map(of_f64).collect()),
        Wide::F32 => cast(&Tensor::new(shape, reduction.var(x, correction).into_iter().map(of_f32).collect()), x.dtype()),
        Wide::I64 => return Err(not_floats()),
    })
}

pub(super) fn logsumexp(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor, EvalError> {
    let reduction = Reduction::new(x.shape(), dims, keepdim)?;
    Ok(match wide(x.dtype()) {
        Wide::F64 => reduction.logsumexp::<f64>(x),
        Wide::F32 => cast(&reduction.logsumexp::<f32>(x), x.dtype()),
        Wide::I64 => reduction.logsumexp::<f32>(x),
    })
}

pub(super) fn extreme(end: Extreme, x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor, EvalError> {
    let reduction = Reduction::new(x.shape(), dims, keepdim)?;
    if reduction.each == 0 {
        return Err(EvalError::new(format!("of no elements there is none: the shape is {:?}", x.shape())));
    }
    let result = match wide(x.dtype()) {
        Wide::F64 => reduction.extreme::<f64>(end, x),
        Wide::F32 => reduction.extreme::<f32>(end, x),
        Wide::I64 => reduction.extreme::<i64>(end, x),
    };
    Ok(cast(&result, x.dtype()))
}

/// The index of the largest or smallest element; of the first NaN, if there is one.
pub(super) fn arg_extreme(end: Extreme, x: &Tensor, dim: Option<i64>, keepdim: bool) -> Result<Tensor, EvalError> {
    fn typed<T: Number>(end: Extreme, x: &Tensor, Around { outer, size, inner }: Around) -> Vec<i64> {
        let values = convert::<T>(x);
        let mut out = Vec::with_capacity(outer * inner);
        for (block, column) in (0..outer).flat_map(|block| (0..inner).map(move |column| (block, column))) {
            let at = |row: usize| values[(block * size + row) * inner + column];
            let mut best = 0;
            let mut furthest = at(0);
            for row in 1..size {
                let value = at(row);
                let further = match end {
                    Extreme::Max => value > furthest,
                    Extreme::Min => value < furthest,
                };
                if further || (value.is_nan() && !furthest.is_nan()) {
                    (best, furthest) = (row, value);
                }
            }
            out.push(best as i64);
        }
        out
    }
    let (around, shape) = match dim {
        None => (Around { outer: 1, size: x.len(), inner: 1 }, if keepdim { Sizes::from_elem(1, x.rank()) } else { Sizes::new() }),
        Some(dim) => {
            let at = axis(dim, x.rank())?;
            let mut shape = Sizes::from_slice(x.shape());
            match shape.get_mut(at) {
                Some(size) if keepdim => *size = 1,
                Some(_) => drop(shape.remove(at)),
                None => {}
            }
            (Around::new(x.shape(), at), shape)
        }
    };
    if around.size == 0 {
        return Err(EvalError::new(format!("of no elements there is none: the shape is {:?}", x.shape())));
    }
    let out = match wide(x.dtype()) {
        _ if x.dtype() == DType::Bool => return Err(EvalError::new("bools have no order")),
        Wide::F64 => typed::<f64>(end, x, around),
        Wide::F32 => typed::<f32>(end, x, around),
        Wide::I64 => typed::<i64>(end, x, around),
    };
    Ok(Tensor::new(shape, out))
}

pub(super) fn topk(x: &Tensor, k: i64, dim: i64, largest: bool) -> Result<(Tensor, Tensor), EvalError> {
    fn typed<T: Number>(x: &Tensor, Around { outer, size, inner }: Around, k: usize, largest: bool) -> (Vec<T>, Vec<i64>) {
        let values = convert::<T>(x);
        let mut best = vec![T::default(); outer * k * inner];
        let mut indices = vec![0; best.len()];
        let mut rows: Vec<usize> = Vec::with_capacity(size);
        for (block, column) in (0..outer).flat_map(|block| (0..inner).map(move |column| (block, column))) {
            let at = |row: usize| values[(block * size + row) * inner + column];
            let order = |a: &usize, b: &usize| -> Ordering {
                let by_value = if largest { at(*b).order(at(*a)) } else { at(*a).order(at(*b)) };
                by_value.then(a.cmp(b))
            };
            rows.clear();
            rows.extend(0..size);
            if k > 0 && k < size {
                rows.select_nth_unstable_by(k - 1, order);
            }
            rows[..k].sort_unstable_by(order);
            for (place, &row) in rows[..k].iter().enumerate() {
                let target = (block * k + place) * inner + column;
                (best[target], indices[target]) = (at(row), row as i64);
            }
        }
        (best, indices)
    }
    let at = axis(dim, x.rank())?;
    let around = Around::new(x.shape(), at);
    let Some(k) = usize::try_from(k).ok().filter(|k| *k <= around.size) else {
        return Err(EvalError::new(format!("there are no {k} elements in a dimension of size {}", around.size)));
    };
    let mut shape = Sizes::from_slice(x.shape());
    if let Some(size) = shape.get_mut(at) {
        *size = k;
    } else if k == 0 {
        return Err(EvalError::new("a tensor without dimensions has one element to take"));
    }
    macro_rules! both {
        ($ty:ty) => {{
            let (values, indices) = typed::<$ty>(x, around, k, largest);
            (Tensor::new(&shape, values), Tensor::new(&shape, indices))
        }};
    }
    let (values, indices) = match wide(x.dtype()) {
        _ if x.dtype() == DType::Bool => return Err(EvalError::new("bools have no order")),
        Wide::F64 => both!(f64),
        Wide::F32 => both!(f32),
        Wide::I64 => both!(i64),
    };
    Ok((cast(&values, x.dtype()), indices))
}
