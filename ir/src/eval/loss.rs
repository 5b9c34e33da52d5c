//! Losses and similarities of floats, computed in f32 (f64 for f64) and rounded once.

use crate::{
    attr::Reduction,
    eval::{
        EvalError, along, elementwise,
        elementwise::Arithmetic,
        number::{Real, cast, convert},
        reduce,
        walk::{Around, strict_axis},
    },
    tensor::{Sizes, Tensor},
    types::DType,
};

/// The type of floats that losses of `dtype` are computed in.
fn computed_in(dtype: DType) -> Result<DType, EvalError> {
    match dtype {
        DType::F64 => Ok(DType::F64),
        DType::F32 | DType::F16 | DType::BF16 => Ok(DType::F32),
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => Err(EvalError::new("the operands are not of floats")),
    }
}

/// The sum along `dim` of the products of x / max(|x|, eps) and the same of y.
pub(super) fn cosine_similarity(x: &Tensor, y: &Tensor, dim: i64, eps: f64) -> Result<Tensor, EvalError> {
    let dtype = elementwise::promoted(&[x, y]);
    let wide = computed_in(dtype)?;
    let (x, y) = (cast(x, dtype), cast(y, dtype));
    let x_everywhere = elementwise::of_floats(&x, &y, wide, |x, _| x, |x, _| x)?;
    let y_everywhere = elementwise::of_floats(&x, &y, wide, |_, y| y, |_, y| y)?;
    strict_axis(dim, x_everywhere.rank())?;
    let unit = |x: &Tensor| {
        let length = reduce::norm(x, 2.0, &[dim], true)?;
        elementwise::divide(x, &elementwise::arithmetic(Arithmetic::Maximum, &length, &Tensor::scalar(eps))?)
    };
    let products = elementwise::arithmetic(Arithmetic::Mul, &unit(&x_everywhere)?, &unit(&y_everywhere)?)?;
    Ok(cast(&reduce::sum(&products, &[dim], false)?, dtype))
}

/// Each loss is -log_softmax at the class, of which `label_smoothing` is replaced by the mean of that of all classes.
pub(super) fn cross_entropy(
    logits: &Tensor,
    classes: &Tensor,
    reduction: Reduction,
    ignore_index: i64,
    label_smoothing: f64,
) -> Result<Tensor, EvalError> {
    /// The loss of each class that is not ignored, or else nothing.
    fn typed<T: Real>(
        logs: &Tensor,
        Around { size, inner, .. }: Around,
        classes: &[i64],
        ignore_index: i64,
        smoothing: f64,
    ) -> Result<Vec<Option<T>>, EvalError> {
        let logs = convert::<T>(logs);
        let losses = classes.iter().enumerate().map(|(at, &class)| {
            if class == ignore_index {
                return Ok(None);
            }
            let log = |class: usize| logs[(at / inner * size + class) * inner + at % inner];
            let Some(known) = usize::try_from(class).ok().filter(|class| *class < size) else {
                return Err(EvalError::new(format!("class {class} is out of range: there are {size}")));
            };
            let right = log(known).neg();
            if smoothing == 0.0 {
                return Ok(Some(right));
            }
            let all = (0..size).fold(T::from_i64(0), |sum, class| sum.sub(log(class)));
            Ok(Some(right.mul(T::from_f64(1.0 - smoothing)).add(all.mul(T::from_f64(smoothing / size as f64)))))
        });
        losses.collect()
    }
    fn reduced<T: Real>(losses: Vec<Option<T>>, shape: &[usize], reduction: Reduction) -> Result<Tensor, EvalError> {
        let zero = T::from_i64(0);
        let sum = || losses.iter().flatten().fold(zero, |sum, &loss| sum.add(loss));
        Ok(match reduction {
            Reduction::None => Tensor::new(shape, losses.into_iter().map(|loss| loss.unwrap_or(zero)).collect()),
            Reduction::Sum => Tensor::scalar(sum()),
            Reduction::Mean => Tensor::scalar(sum().div(T::from_i64(losses.iter().flatten().count() as i64))),
            Reduction::BatchMean => return Err(EvalError::new("there is no `batchmean`")),
        })
    }
    let wide = computed_in(logits.dtype())?;
    if !matches!(classes.dtype(), DType::I64 | DType::I32) {
        return Err(EvalError::new("the classes are not of i64 or i32"));
    }
    if !(0.0..=1.0).contains(&label_smoothing) {
        return Err(EvalError::new(format!("`label_smoothing` goes from 0 to 1, and is {label_smoothing}")));
    }
    let dim = usize::from(logits.rank() > 1);
    let mut shape = Sizes::from_slice(logits.shape());
    if shape.is_empty() || (shape.remove(dim), &shape[..] != classes.shape()).1 {
        return Err(EvalError::new(format!("classes of the shape {:?} do not fit logits of {:?}", classes.shape(), logits.shape())));
    }
    let logs = along::log_softmax(&cast(logits, wide), dim as i64)?;
    let (around, classes) = (Around::new(logits.shape(), dim), convert::<i64>(classes));
    let loss = match wide {
        DType::F64 => reduced::<f64>(typed(&logs, around, &classes, ignore_index, label_smoothing)?, &shape, reduction)?,
        _ => reduced::<f32>(typed(&logs, around, &classes, ignore_index, label_smoothing)?, &shape, reduction)?,
    };
    Ok(cast(&loss, logits.dtype()))
}

/// target * ln(target) - target * input, where 0 * ln(0) is 0; e^target * (target - input) where the target holds logarithms.
pub(super) fn kl_div(input: &Tensor, target: &Tensor, reduction: Reduction, log_target: bool) -> Result<Tensor, EvalError> {
    fn of_probability<T: Real>(input: T, target: T) -> T {
        let zero = T::from_i64(0);
        let entropy = if target == zero { zero } else { target.mul(target.ln()) };
        entropy.sub(target.mul(input))
    }
    fn of_logarithm<T: Real>(input: T, target: T) -> T {
        target.exp().mul(target.sub(input))
    }
    computed_in(input.dtype())?;
    computed_in(target.dtype())?;
    let dtype = elementwise::promoted(&[input, target]);
    let (x, y, wide) = (cast(input, dtype), cast(target, dtype), computed_in(dtype)?);
    let each = match log_target {
        false => elementwise::of_floats(&x, &y, wide, of_probability::<f32>, of_probability::<f64>)?,
        true => elementwise::of_floats(&x, &y, wide, of_logarithm::<f32>, of_logarithm::<f64>)?,
    };
    let loss = match reduction {
        Reduction::None => each,
        Reduction::Mean => reduce::mean(&each, &[], false)?,
        Reduction::Sum => reduce::sum(&each, &[], false)?,
        Reduction::BatchMean => {
            let batch = Tensor::scalar(input.shape().first().copied().unwrap_or(1) as f64);
            elementwise::divide(&reduce::sum(&each, &[], false)?, &cast(&batch, wide))?
        }
    };
    Ok(cast(&loss, dtype))
}
