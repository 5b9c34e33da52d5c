//! Operations along one dimension that leave it there: softmax and its logarithm, running sums and products, sorting.

use crate::{
    eval::{
        EvalError,
        number::{FromAny, Number, Real, Wide, cast, convert, wide},
        walk::{Around, axis},
    },
    tensor::{Element, Tensor},
    types::DType,
};

fn not_floats() -> EvalError {
    EvalError::new("the operand is not of floats")
}

/// The elements with each row along a dimension changed.
fn rows<T: FromAny>(x: &Tensor, Around { size, inner, .. }: Around, row: impl Fn(&mut [T])) -> Vec<T> {
    let mut out = convert::<T>(x).into_owned();
    let mut column = Vec::with_capacity(size);
    for block in out.chunks_exact_mut((size * inner).max(1)) {
        if inner == 1 {
            row(block);
            continue;
        }
        for at in 0..inner {
            column.clear();
            column.extend(block[at..].iter().step_by(inner));
            row(&mut column);
            block[at..].iter_mut().step_by(inner).zip(&column).for_each(|(to, &value)| *to = value);
        }
    }
    out
}

fn largest<T: Number>(values: &[T]) -> T {
    values.iter().fold(T::LOWEST, |largest, &x| largest.maximum(x))
}

pub(super) fn softmax(x: &Tensor, dim: i64) -> Result<Tensor, EvalError> {
    /// e to the power of what each is below the largest, over the sum of these.
    fn row<T: Real>(values: &mut [T]) {
        let largest = largest(values);
        let mut sum = T::from_i64(0);
        for x in values.iter_mut() {
            *x = x.sub(largest).exp();
            sum = sum.add(*x);
        }
        values.iter_mut().for_each(|x| *x = x.div(sum));
    }
    let around = Around::new(x.shape(), axis(dim, x.rank())?);
    Ok(match wide(x.dtype()) {
        Wide::F64 => Tensor::new(x.shape(), rows(x, around, row::<f64>)),
        Wide::F32 => cast(&Tensor::new(x.shape(), rows(x, around, row::<f32>)), x.dtype()),
        Wide::I64 => return Err(not_floats()),
    })
}

pub(super) fn log_softmax(x: &Tensor, dim: i64) -> Result<Tensor, EvalError> {
    /// What each is below the largest, less the logarithm of the sum of the powers of e of these.
    fn row<T: Real>(values: &mut [T]) {
        let largest = largest(values);
        let mut sum = T::from_i64(0);
        for x in values.iter_mut() {
            *x = x.sub(largest);
            sum = sum.add(x.exp());
        }
        let log = sum.ln();
        values.iter_mut().for_each(|x| *x = x.sub(log));
    }
    let around = Around::new(x.shape(), axis(dim, x.rank())?);
    Ok(match wide(x.dtype()) {
        Wide::F64 => Tensor::new(x.shape(), rows(x, around, row::<f64>)),
        Wide::F32 => cast(&Tensor::new(x.shape(), rows(x, around, row::<f32>)), x.dtype()),
        Wide::I64 => return Err(not_floats()),
    })
}

/// What accumulates along a dimension.
#[derive(Clone, Copy)]
pub(super) enum Scan {
    Sum,
    Product,
}

/// f32 accumulates in f64, and each result is rounded, as in PyTorch.
pub(super) fn scan(kind: Scan, x: &Tensor, dim: i64) -> Result<Tensor, EvalError> {
    fn typed<T: Number>(kind: Scan, x: &Tensor, around: Around) -> Tensor {
        let values = rows(x, around, |row: &mut [T]| {
            let (mut total, combine): (T, fn(T, T) -> T) = match kind {
                Scan::Sum => (T::from_i64(0), T::add),
                Scan::Product => (T::from_i64(1), T::mul),
            };
            for x in row {
                total = combine(total, *x);
                *x = total;
            }
        });
        Tensor::new(x.shape(), values)
    }
    let around = Around::new(x.shape(), axis(dim, x.rank())?);
    Ok(match x.dtype() {
        DType::F64 | DType::F32 => cast(&typed::<f64>(kind, x, around), x.dtype()),
        DType::F16 | DType::BF16 => cast(&typed::<f32>(kind, x, around), x.dtype()),
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => typed::<i64>(kind, x, around),
    })
}

pub(super) fn sort(x: &Tensor, dim: i64, descending: bool) -> Result<(Tensor, Tensor), EvalError> {
    fn typed<T: Number + Element>(x: &Tensor, Around { outer, size, inner }: Around, descending: bool) -> (Tensor, Tensor) {
        let values = convert::<T>(x);
        let (mut sorted, mut indices) = (vec![T::default(); values.len()], vec![0i64; values.len()]);
        let mut order: Vec<usize> = Vec::with_capacity(size);
        for (block, column) in (0..outer).flat_map(|block| (0..inner).map(move |column| (block, column))) {
            let place = |row: usize| (block * size + row) * inner + column;
            order.clear();
            order.extend(0..size);
            // Stable, and NaN is the largest.
            order.sort_by(|&a, &b| {
                let (a, b) = (values[place(a)], values[place(b)]);
                if descending { b.order(a) } else { a.order(b) }
            });
            for (row, &from) in order.iter().enumerate() {
                (sorted[place(row)], indices[place(row)]) = (values[place(from)], from as i64);
            }
        }
        (Tensor::new(x.shape(), sorted), Tensor::new(x.shape(), indices))
    }
    let around = Around::new(x.shape(), axis(dim, x.rank())?);
    let (values, indices) = match wide(x.dtype()) {
        Wide::F64 => typed::<f64>(x, around, descending),
        Wide::F32 => typed::<f32>(x, around, descending),
        Wide::I64 => typed::<i64>(x, around, descending),
    };
    Ok((cast(&values, x.dtype()), indices))
}
