//! `einsum`, by way of sums and matrix products, whose order of arithmetic it has.

use crate::{
    eval::{
        EvalError,
        linear::matmul,
        number::cast,
        reduce::sum,
        shape::{permute, strided},
        walk::{check_size, strides},
    },
    infer::einsum::{Equation, Label},
    tensor::{Sizes, Tensor},
};

/// A tensor whose dimensions have different labels and are not of size 1.
struct Term {
    labels: Vec<Label>,
    tensor: Tensor,
}

/// `shape` is that of the result. Dimensions of size 1 are left out until the end: they are broadcast, and change no sum.
pub(super) fn einsum(equation: &str, operands: &[&Tensor], shape: &[usize]) -> Result<Tensor, EvalError> {
    let ranks: Vec<usize> = operands.iter().map(|operand| operand.rank()).collect();
    let equation = Equation::new(equation, &ranks).map_err(EvalError::new)?;
    let mut terms = equation.operands.iter().zip(operands).map(|(labels, operand)| Term::new(labels, operand));
    let Some(mut all) = terms.next() else { return Err(EvalError::new("there are no operands")) };
    for (at, next) in terms.enumerate() {
        let later = &equation.operands[at + 2..];
        let needed = |label: &Label| equation.result.contains(label) || later.iter().any(|labels| labels.contains(label));
        all = all.times(next, &needed)?;
    }
    let all = all.without(|label| !equation.result.contains(label))?;
    let wide: Vec<Label> = equation.result.iter().copied().filter(|label| all.labels.contains(label)).collect();
    Ok(all.arranged(&wide)?.reshaped(shape))
}

impl Term {
    fn new(labels: &[Label], x: &Tensor) -> Term {
        let (mut names, mut shape, mut steps) = (vec![], Sizes::new(), Sizes::new());
        for ((label, &size), step) in labels.iter().zip(x.shape()).zip(strides(x.shape())) {
            match names.iter().position(|name| name == label) {
                _ if size == 1 => {}
                // A label that comes again: its dimension moves along with the first one.
                Some(at) => steps[at] += step,
                None => {
                    names.push(*label);
                    shape.push(size);
                    steps.push(step);
                }
            }
        }
        let whole = shape.iter().product::<usize>() == x.len();
        Term { labels: names, tensor: if whole { x.reshaped(shape) } else { strided(x, &shape, 0, &steps) } }
    }

    /// The term summed over some labels.
    fn without(self, dropped: impl Fn(&Label) -> bool) -> Result<Term, EvalError> {
        let dims: Vec<i64> = (0..).zip(&self.labels).filter(|(_, label)| dropped(label)).map(|(at, _)| at).collect();
        if dims.is_empty() {
            return Ok(self);
        }
        let tensor = cast(&sum(&self.tensor, &dims, false)?, self.tensor.dtype());
        Ok(Term { labels: self.labels.into_iter().filter(|label| !dropped(label)).collect(), tensor })
    }

    /// The tensor with its dimensions in the order of these labels, which are all of the term.
    fn arranged(&self, labels: &[Label]) -> Result<Tensor, EvalError> {
        let axes: Vec<usize> = labels.iter().filter_map(|label| self.labels.iter().position(|own| own == label)).collect();
        let shape: Sizes = axes.iter().map(|&at| self.tensor.shape()[at]).collect();
        permute(&self.tensor, &axes.iter().map(|&at| at as i64).collect::<Vec<_>>(), &shape)
    }

    fn size(&self, label: &Label) -> usize {
        self.labels.iter().position(|own| own == label).map_or(1, |at| self.tensor.shape()[at])
    }

    /// The product, summed over the labels that nobody needs any more.
    fn times(self, other: Term, needed: &dyn Fn(&Label) -> bool) -> Result<Term, EvalError> {
        let (left, right) = (self, other);
        let left = left.without(|label| !needed(label) && !right.labels.contains(label))?;
        let right = right.without(|label| !needed(label) && !left.labels.contains(label))?;
        let own = |term: &Term, other: &Term| term.labels.iter().copied().filter(|label| !other.labels.contains(label)).collect::<Vec<_>>();
        let (rows, columns) = (own(&left, &right), own(&right, &left));
        let (batch, summed): (Vec<Label>, Vec<Label>) =
            left.labels.iter().copied().filter(|label| right.labels.contains(label)).partition(|label| needed(label));
        let count = |labels: &[Label]| labels.iter().map(|label| left.size(label).max(right.size(label))).product::<usize>();
        let empty = |labels: &[Label]| labels.iter().any(|label| left.size(label) == 0 || right.size(label) == 0);
        let count = |labels: &[Label]| if empty(labels) { 0 } else { count(labels) };
        let sizes = [count(&batch), count(&rows), count(&summed), count(&columns)];
        let labels = [batch.clone(), rows.clone(), columns.clone()].concat();
        let shape: Sizes =
            labels.iter().map(|label| if left.labels.contains(label) { left.size(label) } else { right.size(label) }).collect();
        check_size(&shape)?;
        let a = left.arranged(&[&batch[..], &rows, &summed].concat())?.reshaped([sizes[0], sizes[1], sizes[2]]);
        let b = right.arranged(&[&batch[..], &summed, &columns].concat())?.reshaped([sizes[0], sizes[2], sizes[3]]);
        Ok(Term { labels, tensor: matmul(&a, &b)?.reshaped(shape) })
    }
}
