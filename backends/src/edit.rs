//! Edits of a model's values where an engine computes them.

use irc_ir::{
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::NodeId,
    op::Op,
    plan::{self, Operand},
    tensor::Tensor,
    verify::Verified,
};

use crate::failed;

/// What becomes of a value x, element by element: where(mask, value, x * scale + add), each operation rounded on its own.
///
/// All tensors are of the shape of x, and of its type f32 but for the mask. What is left out is 1, -0, or nowhere: x * 1 and
/// x + -0 are x, bit by bit.
#[derive(Clone, Default, Debug)]
pub struct Edit {
    /// What x is multiplied by.
    pub scale: Option<Tensor>,
    /// What is added to the product.
    pub add: Option<Tensor>,
    /// Where x is replaced (bool), whatever it is, and by what.
    pub replace: Option<(Tensor, Tensor)>,
}

impl Edit {
    /// The edit of a value of shape `shape` that a plan describes; `given` has the values of the program that it takes, in
    /// the order of its operands.
    pub(crate) fn new(
        edit: &plan::Edit,
        program: &Verified,
        shape: &[usize],
        mut given: impl FnMut(NodeId) -> Result<Tensor, Diagnostic>,
    ) -> Result<Edit, Diagnostic> {
        let own = Edit {
            scale: edit.scales.then(|| filled(shape, 1.0)),
            add: edit.adds.then(|| filled(shape, -0.0)),
            replace: edit.replaces.then(|| (nowhere(shape), filled(shape, 0.0))),
        };
        let mut made: Vec<Edit> = Vec::with_capacity(edit.steps.len());
        for step in &edit.steps {
            let op = &program.graph().node(step.node).op;
            let label = |error: Diagnostic| error.or_label(program.graph().span(step.node));
            let mut operand = |at: usize| -> Result<Part<'_>, Diagnostic> {
                Ok(match step.operands[at] {
                    Operand::Own => Part::Of(&own),
                    Operand::Step(step) => Part::Of(&made[step]),
                    Operand::Given(value) => Part::Given(given(value)?),
                    Operand::Absent => Part::Absent,
                })
            };
            let operands = [operand(0)?, operand(1)?];
            let next = apply_step(op, operands).map_err(label)?;
            made.push(next);
        }
        made.pop().ok_or_else(|| failed("an edit has no steps"))
    }

    /// One edit of many rows, of the edits of some rows each: [batch, length, …] to [rows, …]. `rows` says how many each has.
    pub(crate) fn joined(edits: &[Edit], rows: &[usize], tail: &[usize]) -> Edit {
        let shape = |rows: usize| [&[rows], tail].concat();
        let part = |default: &dyn Fn(&[usize]) -> Tensor, of: &dyn Fn(&Edit) -> Option<Tensor>| {
            let found: Vec<Option<Tensor>> = edits.iter().map(of).collect();
            let all = found.iter().zip(rows).map(|(part, &rows)| match part {
                Some(part) => part.reshaped(shape(rows)),
                None => default(&shape(rows)),
            });
            found.iter().any(Option::is_some).then(|| Tensor::joined(&all.collect::<Vec<_>>()))
        };
        let mask = part(&nowhere, &|edit| edit.replace.as_ref().map(|(mask, _)| mask.clone()));
        let value = part(&|shape| filled(shape, 0.0), &|edit| edit.replace.as_ref().map(|(_, value)| value.clone()));
        Edit {
            scale: part(&|shape| filled(shape, 1.0), &|edit| edit.scale.clone()),
            add: part(&|shape| filled(shape, -0.0), &|edit| edit.add.clone()),
            replace: mask.zip(value),
        }
    }

    /// The same of other elements: what `part` makes of each of its tensors.
    pub(crate) fn map<E>(&self, part: impl Fn(&Tensor) -> Result<Tensor, E>) -> Result<Edit, E> {
        Ok(Edit {
            scale: self.scale.as_ref().map(&part).transpose()?,
            add: self.add.as_ref().map(&part).transpose()?,
            replace: self.replace.as_ref().map(|(mask, value)| Ok((part(mask)?, part(value)?))).transpose()?,
        })
    }

    /// What it makes of a value.
    ///
    /// # Errors
    /// E4003 if the value has another shape.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor, Diagnostic> {
        let mut x = x.clone();
        if let Some(scale) = &self.scale {
            x = result(&Op::Mul {}, &[&x, scale])?;
        }
        if let Some(add) = &self.add {
            x = result(&Op::Add {}, &[&x, add])?;
        }
        if let Some((mask, value)) = &self.replace {
            x = result(&Op::Select {}, &[mask, value, &x])?;
        }
        Ok(x)
    }
}

/// An operand of a step.
enum Part<'a> {
    Of(&'a Edit),
    Given(Tensor),
    Absent,
}

/// An operation on what was made of x, done on each of the parts of the edit.
fn apply_step(op: &Op, operands: [Part<'_>; 2]) -> Result<Edit, Diagnostic> {
    let both = |a: &Option<Tensor>, b: &Option<Tensor>| a.as_ref().zip(b.as_ref()).map(|(a, b)| result(op, &[a, b])).transpose();
    match (op, operands) {
        (Op::Slice { .. }, [Part::Of(of), _]) => of.map(|x| result(op, &[x])),
        (Op::Update { .. }, [Part::Of(whole), part]) => {
            let part = match part {
                Part::Of(part) => part,
                Part::Given(value) => &Edit {
                    scale: Some(Tensor::scalar(1f32)),
                    add: Some(Tensor::scalar(-0f32)),
                    replace: Some((Tensor::scalar(true), value)),
                },
                Part::Absent => return Err(failed("an update has two operands")),
            };
            let replace = whole.replace.as_ref().zip(part.replace.as_ref());
            let replace =
                replace.map(|(whole, part)| Ok::<_, Diagnostic>((result(op, &[&whole.0, &part.0])?, result(op, &[&whole.1, &part.1])?)));
            Ok(Edit { scale: both(&whole.scale, &part.scale)?, add: both(&whole.add, &part.add)?, replace: replace.transpose()? })
        }
        (Op::Mul {} | Op::Add {} | Op::Sub {}, operands) => {
            let (of, given, first) = match operands {
                [Part::Of(of), Part::Given(given)] => (of, given, true),
                [Part::Given(given), Part::Of(of)] => (of, given, false),
                _ => return Err(failed("an edit combines a value with itself")),
            };
            let on = |x: &Tensor| if first { result(op, &[x, &given]) } else { result(op, &[&given, x]) };
            let (scale, add) = match op {
                Op::Mul {} => (of.scale.as_ref().map(on).transpose()?, of.add.clone()),
                _ => (of.scale.clone(), of.add.as_ref().map(on).transpose()?),
            };
            // What was put in the place of x is a value like any other.
            let replace = of.replace.as_ref().map(|(mask, value)| Ok::<_, Diagnostic>((mask.clone(), on(value)?)));
            Ok(Edit { scale, add, replace: replace.transpose()? })
        }
        (op, _) => Err(failed(format!("`{}` is no edit", op.kind().name()))),
    }
}

fn result(op: &Op, operands: &[&Tensor]) -> Result<Tensor, Diagnostic> {
    let values: Vec<Value> = operands.iter().map(|operand| Value::Tensor((*operand).clone())).collect();
    let value = eval(op, &values.iter().collect::<Vec<_>>()).map_err(|error| failed(error.message()))?;
    value.into_tensor().ok_or_else(|| failed("an edit gives a tensor"))
}

fn filled(shape: &[usize], value: f32) -> Tensor {
    Tensor::new(shape, vec![value; shape.iter().product()])
}

fn nowhere(shape: &[usize]) -> Tensor {
    Tensor::new(shape, vec![false; shape.iter().product()])
}
