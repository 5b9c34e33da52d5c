//! The matrix product, and the parts of transformers that have no shorter form.

use std::borrow::Cow;

use crate::{
    eval::{
        EvalError,
        elementwise::{Arithmetic, arithmetic},
        number::{Number, Real, Wide, cast, convert, wide},
        walk::{Walk, broadcast, broadcast_strides, check_size},
    },
    tensor::{Element, Sizes, Tensor},
    types::DType,
};

pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor, EvalError> {
    let no_fit = || EvalError::new(format!("the shapes {:?} and {:?} do not fit together", a.shape(), b.shape()));
    if a.dtype() != b.dtype() {
        return Err(EvalError::new(format!("the operands are of different types, {} and {}", a.dtype(), b.dtype())));
    }
    let (Some((&inner, left)), Some((&last, right))) = (a.shape().split_last(), b.shape().split_last()) else { return Err(no_fit()) };
    // A vector is a matrix of one row on the left and of one column on the right; that dimension disappears.
    let (left, rows) = left.split_last().map_or((left, None), |(&rows, left)| (left, Some(rows)));
    let (right, columns) = match right.split_last() {
        Some((&size, right)) if size == inner => (right, Some(last)),
        None if last == inner => (right, None),
        _ => return Err(no_fit()),
    };
    let leading = broadcast([left, right])?;
    let mut shape = leading.clone();
    shape.extend(rows.into_iter().chain(columns));
    check_size(&shape)?;
    let sizes = MatrixSizes { rows: rows.unwrap_or(1), inner, columns: columns.unwrap_or(1) };
    let batch = Batch { left, right, leading };
    let result = match wide(a.dtype()) {
        _ if a.dtype() == DType::Bool => return Err(EvalError::new("bools have no matrix product")),
        Wide::F64 => Tensor::new(shape, products::<f64>(a, b, sizes, &batch)),
        Wide::F32 => Tensor::new(shape, products::<f32>(a, b, sizes, &batch)),
        Wide::I64 => Tensor::new(shape, products::<i64>(a, b, sizes, &batch)),
    };
    Ok(cast(&result, a.dtype()))
}

/// The dimensions before those of the matrices.
struct Batch<'a> {
    left: &'a [usize],
    right: &'a [usize],
    leading: Sizes,
}

#[derive(Clone, Copy)]
struct MatrixSizes {
    rows: usize,
    inner: usize,
    columns: usize,
}

fn products<T: Number>(a: &Tensor, b: &Tensor, sizes: MatrixSizes, batch: &Batch) -> Vec<T> {
    let (a, b): (Cow<[T]>, Cow<[T]>) = (convert(a), convert(b));
    let MatrixSizes { rows, inner, columns } = sizes;
    let count: usize = batch.leading.iter().product();
    let mut out = vec![T::from_i64(0); count * rows * columns];
    if out.is_empty() || inner == 0 {
        return out;
    }
    if batch.right.iter().all(|&size| size == 1) {
        // One matrix on the right: all rows on the left are rows of one matrix.
        product(&a, &b, MatrixSizes { rows: count * rows, ..sizes }, &mut out);
        return out;
    }
    let mut results = out.chunks_exact_mut(rows * columns);
    let of_left = broadcast_strides(batch.left, &batch.leading);
    let of_right = broadcast_strides(batch.right, &batch.leading);
    let walk = Walk::new(&batch.leading, [&of_left, &of_right]);
    let (len, [next_left, next_right]) = (walk.row_len(), walk.row_steps());
    walk.rows(&mut |[left, right]| {
        for (at, out) in results.by_ref().take(len).enumerate() {
            let (left, right) = ((left + at * next_left) * rows * inner, (right + at * next_right) * inner * columns);
            product(&a[left..left + rows * inner], &b[right..right + inner * columns], sizes, out);
        }
    });
    out
}

/// The columns that are summed together: few enough that four rows of them stay in the first cache.
const PANEL: usize = 512;

/// One product of matrices. Each element of `out` is the sum over `inner`, in order, in one accumulator, wherever it
/// lies; so it does not depend on how many rows and columns there are. `out` begins as zeros.
fn product<T: Number>(a: &[T], b: &[T], sizes: MatrixSizes, out: &mut [T]) {
    let MatrixSizes { rows, inner, columns } = sizes;
    for panel in (0..columns).step_by(PANEL) {
        let width = PANEL.min(columns - panel);
        let of_b = |k: usize| &b[k * columns + panel..k * columns + panel + width];
        for k in (0..inner).step_by(4) {
            for row in 0..rows {
                let sums = &mut out[row * columns + panel..row * columns + panel + width];
                match a[row * inner..(row + 1) * inner][k..] {
                    [p, q, r, s, ..] => add_four(sums, [p, q, r, s], [of_b(k), of_b(k + 1), of_b(k + 2), of_b(k + 3)]),
                    ref rest => rest.iter().enumerate().for_each(|(at, &factor)| add_one(sums, factor, of_b(k + at))),
                }
            }
        }
    }
}

/// Adds four multiples to the sums, one after the other. A plain loop over slices, which the compiler vectorises.
fn add_four<T: Number>(sums: &mut [T], [p, q, r, s]: [T; 4], [a, b, c, d]: [&[T]; 4]) {
    for ((((sum, &a), &b), &c), &d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *sum = sum.add(p.mul(a)).add(q.mul(b)).add(r.mul(c)).add(s.mul(d));
    }
}

fn add_one<T: Number>(sums: &mut [T], factor: T, values: &[T]) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum = sum.add(factor.mul(value)));
}

pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor, EvalError> {
    fn normalised<T: Real>(x: &Tensor, size: usize, eps: f64) -> Tensor {
        let mut out = convert::<T>(x).into_owned();
        let (one, count, eps) = (T::from_i64(1), T::from_i64(size as i64), T::from_f64(eps));
        for row in out.chunks_exact_mut(size.max(1)) {
            let squares = row.iter().fold(T::from_i64(0), |sum, &x| sum.add(x.mul(x)));
            let scale = one.div(squares.div(count).add(eps).sqrt());
            row.iter_mut().for_each(|x| *x = x.mul(scale));
        }
        Tensor::new(x.shape(), out)
    }
    let fits = x.shape().last().is_some_and(|size| weight.shape() == [*size]) && x.dtype() == weight.dtype();
    let Some(&size) = x.shape().last().filter(|_| fits) else {
        return Err(EvalError::new(format!("{} needs a weight of its last dimension, not {}", x.ty(), weight.ty())));
    };
    let normalised = match wide(x.dtype()) {
        Wide::F64 => normalised::<f64>(x, size, eps),
        Wide::F32 => normalised::<f32>(x, size, eps),
        Wide::I64 => return Err(EvalError::new("the operands are not of floats")),
    };
    arithmetic(Arithmetic::Mul, &cast(&normalised, x.dtype()), weight)
}

/// `operands` are x, then weight and bias where they are given.
pub(super) fn layer_norm(operands: &[&Tensor], eps: f64) -> Result<Tensor, EvalError> {
    fn normalised<T: Real>(operands: &[&Tensor], size: usize, eps: f64) -> Tensor {
        let mut out = convert::<T>(operands[0]).into_owned();
        let [weight, bias] = [1, 2].map(|at| operands.get(at).map(|operand| convert::<T>(operand)));
        let (zero, one, count, eps) = (T::from_i64(0), T::from_i64(1), T::from_i64(size as i64), T::from_f64(eps));
        for row in out.chunks_exact_mut(size.max(1)) {
            let mean = row.iter().fold(zero, |sum, &x| sum.add(x)).div(count);
            row.iter_mut().for_each(|x| *x = x.sub(mean));
            let variance = row.iter().fold(zero, |sum, &x| sum.add(x.mul(x))).div(count);
            let scale = one.div(variance.add(eps).sqrt());
            row.iter_mut().for_each(|x| *x = x.mul(scale));
            if let Some(weight) = &weight {
                row.iter_mut().zip(weight.iter()).for_each(|(x, &weight)| *x = x.mul(weight));
            }
            if let Some(bias) = &bias {
                row.iter_mut().zip(bias.iter()).for_each(|(x, &bias)| *x = x.add(bias));
            }
        }
        Tensor::new(operands[0].shape(), out)
    }
    let (x, affine) = (operands[0], &operands[1..]);
    let Some(&size) = x.shape().last() else { return Err(EvalError::new(format!("{} has no last dimension", x.ty()))) };
    if let Some(wrong) = affine.iter().find(|operand| operand.shape() != [size] || operand.dtype() != x.dtype()) {
        return Err(EvalError::new(format!("{} needs weights of its last dimension, not {}", x.ty(), wrong.ty())));
    }
    let normalised = match wide(x.dtype()) {
        Wide::F64 => normalised::<f64>(operands, size, eps),
        Wide::F32 => normalised::<f32>(operands, size, eps),
        Wide::I64 => return Err(EvalError::new("the operands are not of floats")),
    };
    Ok(cast(&normalised, x.dtype()))
}

pub(super) fn rotary(x: &Tensor, positions: &Tensor, frequencies: &Tensor, scale: f64) -> Result<Tensor, EvalError> {
    let no_fit = || EvalError::new(format!("cannot turn {} by positions {}", x.ty(), positions.ty()));
    let &[batch, tokens, heads, size] = x.shape() else { return Err(no_fit()) };
    let Some(positions) = positions.values::<i64>().filter(|_| positions.shape() == [batch, tokens]) else { return Err(no_fit()) };
    let pairs = match frequencies.shape() {
        &[pairs] if pairs > 0 && pairs <= size / 2 => frequencies.values::<f32>(),
        _ => None,
    };
    let Some(pairs) = pairs else {
        return Err(EvalError::new(format!("{} are no inverse frequencies for heads of {size} elements", frequencies.ty())));
    };

    /// Turns the heads of each position, in `T`; the angles are in f32.
    fn turn<T: Number>(x: &Tensor, positions: &[i64], pairs: &[f32], scale: f32, [heads, size]: [usize; 2]) -> Tensor {
        let mut out = convert::<T>(x).into_owned();
        for (token, &position) in out.chunks_exact_mut((heads * size).max(1)).zip(positions) {
            let turns: Vec<(T, T)> = pairs
                .iter()
                .map(|frequency| {
                    let angle = position as f32 * frequency;
                    (T::from_f32(angle.cos() * scale), T::from_f32(angle.sin() * scale))
                })
                .collect();
            for head in token.chunks_exact_mut(size) {
                let (first, rest) = head.split_at_mut(pairs.len());
                for ((x, y), &(cos, sin)) in first.iter_mut().zip(rest).zip(&turns) {
                    (*x, *y) = (x.mul(cos).add(y.neg().mul(sin)), y.mul(cos).add(x.mul(sin)));
                }
            }
        }
        Tensor::new(x.shape(), out)
    }
    let result = match wide(x.dtype()) {
        Wide::F64 => turn::<f64>(x, positions, pairs, scale as f32, [heads, size]),
        Wide::F32 => turn::<f32>(x, positions, pairs, scale as f32, [heads, size]),
        Wide::I64 => return Err(EvalError::new("the operand is not of floats")),
    };
    Ok(cast(&result, x.dtype()))
}

pub(super) fn causal_mask(scores: &Tensor, window: Option<i64>) -> Result<Tensor, EvalError> {
    fn masked<T: Element>(scores: &Tensor, [queries, keys]: [usize; 2], window: Option<usize>, hidden: T) -> Tensor {
        let mut out = scores.values::<T>().unwrap_or_default().to_vec();
        for matrix in out.chunks_exact_mut((queries * keys).max(1)) {
            for (query, row) in matrix.chunks_exact_mut(keys).enumerate() {
                // The query sees the keys before `end`: the last query sees the last key.
                let end = (query + 1 + keys).saturating_sub(queries);
                row[end..].fill(hidden);
                row[..window.map_or(0, |window| end.saturating_sub(window))].fill(hidden);
            }
        }
        Tensor::new(scores.shape(), out)
    }
    let &[.., queries, keys] = scores.shape() else { return Err(EvalError::new("the scores have fewer than two dimensions")) };
    let window = match window.map(usize::try_from) {
        None => None,
        Some(Ok(window)) if window > 0 => Some(window),
        Some(_) => return Err(EvalError::new("a window holds at least the query's own position")),
    };
    let sizes = [queries, keys];
    Ok(match scores.dtype() {
        DType::F64 => masked(scores, sizes, window, f64::NEG_INFINITY),
        DType::F32 => masked(scores, sizes, window, f32::NEG_INFINITY),
        DType::F16 => masked(scores, sizes, window, half::f16::NEG_INFINITY),
        DType::BF16 => masked(scores, sizes, window, half::bf16::NEG_INFINITY),
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => return Err(EvalError::new("the scores are not floats")),
    })
}
