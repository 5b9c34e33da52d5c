//! Edits of a model's values where an engine computes them.

use std::sync::Arc;

use irc_ir::{
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::NodeId,
    op::Op,
    plan::{self, Affine, ChainForm, ChainGiven, ChainOperand, Operand, Part},
    tensor::Tensor,
    types::DType,
    verify::Verified,
};

use crate::failed;

/// What becomes of a value x, element by element: where(mask, value, x * scale + add), each operation rounded on its own; or
/// what a chain of operations makes of it.
///
/// All tensors are of the shape of x, and of its type f32 but for masks. What is left out is 1, -0, or nowhere: x * 1 and
/// x + -0 are x, bit by bit.
#[derive(Clone, Default, Debug)]
pub struct Edit {
    /// The chain, if it is one: then it is nothing else. Only for engines that say that they take it
    /// ([`Caps::splices`](crate::Caps)).
    pub chain: Option<Chain>,
    /// What x is multiplied by.
    pub scale: Option<Tensor>,
    /// What is added to the product.
    pub add: Option<Tensor>,
    /// Where x is replaced (bool), whatever it is, and by what.
    pub replace: Option<(Tensor, Tensor)>,
}

/// Operations on a value x, with what they are given.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The operations.
    pub form: Arc<ChainForm>,
    /// What they are given.
    pub given: Vec<Tensor>,
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
        match edit {
            plan::Edit::Affine(edit) => Edit::affine(edit, program, shape, given),
            plan::Edit::Chain(chain) => {
                let tensors = chain.given.iter().zip(&chain.form.given).map(|(of, dtype)| {
                    let value = of.value.map_or_else(|| Ok(Tensor::scalar(true)), &mut given)?;
                    let label = |error: Diagnostic| of.value.iter().fold(error, |error, id| error.or_label(program.graph().span(*id)));
                    placed(of, &value, *dtype, shape).map_err(label)
                });
                let given = tensors.collect::<Result<Vec<_>, Diagnostic>>()?;
                Ok(Edit { chain: Some(Chain { form: chain.form.clone(), given }), ..Edit::default() })
            }
        }
    }

    fn affine(
        edit: &Affine,
        program: &Verified,
        shape: &[usize],
        mut given: impl FnMut(NodeId) -> Result<Tensor, Diagnostic>,
    ) -> Result<Edit, Diagnostic> {
        let own = Edit {
            scale: edit.scales.then(|| filled(shape, 1.0)),
            add: edit.adds.then(|| filled(shape, -0.0)),
            replace: edit.replaces.then(|| (nowhere(shape), filled(shape, 0.0))),
            chain: None,
        };
        let mut made: Vec<Edit> = Vec::with_capacity(edit.steps.len());
        for step in &edit.steps {
            let op = &program.graph().node(step.node).op;
            let label = |error: Diagnostic| error.or_label(program.graph().span(step.node));
            let mut operand = |at: usize| -> Result<Operated<'_>, Diagnostic> {
                Ok(match step.operands[at] {
                    Operand::Own => Operated::Of(&own),
                    Operand::Step(step) => Operated::Of(&made[step]),
                    Operand::Given(value) => Operated::Given(given(value)?),
                    Operand::Absent => Operated::Absent,
                })
            };
            let operands = [operand(0)?, operand(1)?];
            let next = apply_step(op, operands).map_err(label)?;
            made.push(next);
        }
        made.pop().ok_or_else(|| failed("an edit has no steps"))
    }

    /// One edit of many rows, of the edits of some rows each: [batch, length, …] to [rows, …]. `rows` says how many each has. A
    /// chain is one that all of them have.
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
        let chain = edits.first().and_then(|edit| edit.chain.as_ref()).map(|first| {
            let given = (0..first.given.len()).map(|at| {
                let own = edits.iter().zip(rows).filter_map(|(edit, &rows)| Some(edit.chain.as_ref()?.given[at].reshaped(shape(rows))));
                Tensor::joined(&own.collect::<Vec<_>>())
            });
            Chain { form: first.form.clone(), given: given.collect() }
        });
        Edit {
            scale: part(&|shape| filled(shape, 1.0), &|edit| edit.scale.clone()),
            add: part(&|shape| filled(shape, -0.0), &|edit| edit.add.clone()),
            replace: mask.zip(value),
            chain,
        }
    }

    /// The bytes of its tensors.
    pub fn bytes(&self) -> usize {
        let replace = self.replace.iter().flat_map(|(mask, value)| [mask, value]);
        let given = self.chain.iter().flat_map(|chain| &chain.given);
        self.scale.iter().chain(&self.add).chain(replace).chain(given).map(Tensor::bytes).sum()
    }

    /// The same of other elements: what `part` makes of each of its tensors.
    pub(crate) fn map<E>(&self, part: impl Fn(&Tensor) -> Result<Tensor, E>) -> Result<Edit, E> {
        Ok(Edit {
            scale: self.scale.as_ref().map(&part).transpose()?,
            add: self.add.as_ref().map(&part).transpose()?,
            replace: self.replace.as_ref().map(|(mask, value)| Ok((part(mask)?, part(value)?))).transpose()?,
            chain: self.chain.as_ref().map(|chain| chain.map(part)).transpose()?,
        })
    }

    /// What it makes of a value.
    ///
    /// # Errors
    /// E4003 if the value has another shape.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor, Diagnostic> {
        let mut x = match &self.chain {
            Some(chain) => chain.apply(x)?,
            None => x.clone(),
        };
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

impl Chain {
    fn map<E>(&self, part: impl Fn(&Tensor) -> Result<Tensor, E>) -> Result<Chain, E> {
        Ok(Chain { form: self.form.clone(), given: self.given.iter().map(part).collect::<Result<_, _>>()? })
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor, Diagnostic> {
        let mut made: Vec<Tensor> = Vec::with_capacity(self.form.steps.len());
        for step in &self.form.steps {
            let operands = step.operands.iter().map(|operand| match operand {
                ChainOperand::Own => x,
                ChainOperand::Step(step) => &made[*step],
                ChainOperand::Given(at) => &self.given[*at],
            });
            let next = result(&step.op, &operands.collect::<Vec<_>>())?;
            made.push(next);
        }
        made.pop().ok_or_else(|| failed("a chain has no steps"))
    }
}

/// What a chain is given: zeros of a shape with a value in a part of them.
fn placed(given: &ChainGiven, value: &Tensor, dtype: DType, shape: &[usize]) -> Result<Tensor, Diagnostic> {
    fn within(zeros: &Tensor, parts: &[Part], value: &Tensor) -> Result<Tensor, Diagnostic> {
        match parts {
            [] => result(&Part { dim: 0, start: None, end: None, step: 1 }.update(), &[zeros, value]),
            [part] => result(&part.update(), &[zeros, value]),
            [part, rest @ ..] => {
                let inner = within(&result(&part.slice(), &[zeros])?, rest, value)?;
                result(&part.update(), &[zeros, &inner])
            }
        }
    }
    let zeros = if dtype == DType::Bool { nowhere(shape) } else { filled(shape, 0.0) };
    within(&zeros, &given.parts, &result(&Op::Cast { dtype }, &[value])?)
}

/// An operand of a step.
enum Operated<'a> {
    Of(&'a Edit),
    Given(Tensor),
    Absent,
}

/// An operation on what was made of x, done on each of the parts of the edit.
fn apply_step(op: &Op, operands: [Operated<'_>; 2]) -> Result<Edit, Diagnostic> {
    let both = |a: &Option<Tensor>, b: &Option<Tensor>| a.as_ref().zip(b.as_ref()).map(|(a, b)| result(op, &[a, b])).transpose();
    match (op, operands) {
        (Op::Slice { .. }, [Operated::Of(of), _]) => of.map(|x| result(op, &[x])),
        (Op::Update { .. }, [Operated::Of(whole), part]) => {
            let part = match part {
                Operated::Of(part) => part,
                Operated::Given(value) => &Edit {
                    scale: Some(Tensor::scalar(1f32)),
                    add: Some(Tensor::scalar(-0f32)),
                    replace: Some((Tensor::scalar(true), value)),
                    chain: None,
                },
                Operated::Absent => return Err(failed("an update has two operands")),
            };
            let replace = whole.replace.as_ref().zip(part.replace.as_ref());
            let replace =
                replace.map(|(whole, part)| Ok::<_, Diagnostic>((result(op, &[&whole.0, &part.0])?, result(op, &[&whole.1, &part.1])?)));
            Ok(Edit {
                scale: both(&whole.scale, &part.scale)?,
                add: both(&whole.add, &part.add)?,
                replace: replace.transpose()?,
                chain: None,
            })
        }
        (Op::Mul {} | Op::Add {} | Op::Sub {}, operands) => {
            let (of, given, first) = match operands {
                [Operated::Of(of), Operated::Given(given)] => (of, given, true),
                [Operated::Given(given), Operated::Of(of)] => (of, given, false),
                _ => return Err(failed("an edit combines a value with itself")),
            };
            let on = |x: &Tensor| if first { result(op, &[x, &given]) } else { result(op, &[&given, x]) };
            let (scale, add) = match op {
                Op::Mul {} => (of.scale.as_ref().map(on).transpose()?, of.add.clone()),
                _ => (of.scale.clone(), of.add.as_ref().map(on).transpose()?),
            };
            // What was put in the place of x is a value like any other.
            let replace = of.replace.as_ref().map(|(mask, value)| Ok::<_, Diagnostic>((mask.clone(), on(value)?)));
            Ok(Edit { scale, add, replace: replace.transpose()?, chain: None })
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
