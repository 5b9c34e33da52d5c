//! Tensors from nothing but attributes.

use half::{bf16, f16};

use crate::{
    attr::Literal,
    eval::{
        EvalError,
        number::{cast, on_dtype},
    },
    tensor::{Element, Tensor},
    types::DType,
};

pub(super) fn full(shape: &[usize], value: &Literal, dtype: Option<DType>) -> Result<Tensor, EvalError> {
    fn typed<T: Element>(shape: &[usize], value: &Tensor) -> Option<Tensor> {
        let value = *value.values::<T>()?.first()?;
        Some(Tensor::new(shape, vec![value; shape.iter().product()]))
    }
    let Literal::Tensor(value) = value else { return Err(EvalError::new("the value is a text")) };
    let value = cast(&value.to_tensor(), dtype.unwrap_or(value.dtype()));
    on_dtype!(value.dtype(), T => typed::<T>(shape, &value)).ok_or_else(|| EvalError::new("there is no value"))
}

/// start + i * step: in f64, but for f16 and bf16 in f32 and rounded, as in PyTorch.
pub(super) fn arange(start: f64, step: f64, count: usize, dtype: DType) -> Tensor {
    fn all<T: Element>(count: usize, at: impl Fn(usize) -> T) -> Tensor {
        Tensor::new([count], (0..count).map(at).collect())
    }
    let narrow = |at: usize| start as f32 + at as f32 * step as f32;
    // Inference has made sure that they are whole and at most 2^53.
    let whole = |at: usize| (start as i64).wrapping_add((at as i64).wrapping_mul(step as i64));
    match dtype {
        DType::F64 => all(count, |at| start + at as f64 * step),
        DType::F32 => all(count, |at| (start + at as f64 * step) as f32),
        DType::F16 => all(count, |at| f16::from_f32(narrow(at))),
        DType::BF16 => all(count, |at| bf16::from_f32(narrow(at))),
        DType::I64 => all(count, whole),
        DType::I32 => all(count, |at| whole(at) as i32),
        DType::U8 => all(count, |at| whole(at) as u8),
        DType::Bool => all(count, |at| whole(at) != 0),
    }
}

/// From both ends to the middle, in f32, or f64 for that.
pub(super) fn linspace(start: f64, end: f64, steps: usize, dtype: DType) -> Tensor {
    let gaps = steps.saturating_sub(1);
    if dtype == DType::F64 {
        let step = (end - start) / gaps.max(1) as f64;
        let at = |at: usize| if at < steps / 2 || gaps == 0 { start + step * at as f64 } else { end - step * (gaps - at) as f64 };
        return Tensor::new([steps], (0..steps).map(at).collect());
    }
    let (start, end) = (start as f32, end as f32);
    let step = (end - start) / gaps.max(1) as f32;
    let at = |at: usize| if at < steps / 2 || gaps == 0 { start + step * at as f32 } else { end - step * (gaps - at) as f32 };
    cast(&Tensor::new([steps], (0..steps).map(at).collect()), dtype)
}

pub(super) fn eye(shape: &[usize], dtype: DType) -> Tensor {
    let mut out = vec![0u8; shape.iter().product()];
    if let &[rows, columns] = shape {
        (0..rows.min(columns)).for_each(|at| out[at * columns + at] = 1);
    }
    cast(&Tensor::new(shape, out), dtype)
}
