//! Programs written node by node, and how their results are compared.

use irc_ir::{
    diagnostic::Span,
    eval::Value,
    graph::{Effect, EffectKind, Graph, ModelDecl, NodeId},
    infer::{Models, infer},
    op::Op,
    random::Dice,
    tensor::Tensor,
    types::{DType, Type},
    verify::{Verified, verify},
};

use super::{Trouble, models::VOCABULARY};
use crate::{Backend, Handle, Handles, Outcome, host::Host, reference::Reference};

/// A program on the model `m`. The nodes are right by the suite's own making; the place of each is its number.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) graph: Graph,
    handles: Handles,
    types: Vec<Type>,
}

impl Program {
    pub(super) fn new(model: &Handle) -> Program {
        let mut graph = Graph::new("conformance");
        graph.models.push(ModelDecl { name: "m".into(), reference: "m".into(), span: Span::None });
        Program { graph, handles: [("m".into(), model.clone())].into(), types: vec![] }
    }

    fn models(&self) -> Models {
        self.handles.iter().map(|(name, handle)| (name.clone(), handle.spec.clone())).collect()
    }

    pub(super) fn op(&mut self, op: Op, operands: impl IntoIterator<Item = NodeId>) -> NodeId {
        let operands: Vec<NodeId> = operands.into_iter().collect();
        let types: Vec<&Type> = operands.iter().map(|id| &self.types[id.index()]).collect();
        let ty = infer(&op, &types, &self.models()).unwrap_or_else(|error| panic!("{op:?} of {types:?}: {error:?}"));
        self.types.push(ty);
        let at = self.graph.len();
        self.graph.add(op, operands, Span::text(at, at + 1))
    }

    fn tensor_type(&self, id: NodeId) -> (DType, Vec<usize>) {
        let ty = self.types[id.index()].as_tensor().expect("a tensor");
        (ty.dtype, ty.shape.iter().filter_map(|dim| dim.as_usize()).collect())
    }

    pub(super) fn constant(&mut self, tensor: &Tensor) -> NodeId {
        self.op(Op::Const { value: tensor.into() }, [])
    }

    pub(super) fn forward(&mut self, ids: &Tensor) -> NodeId {
        let tokens = self.constant(ids);
        self.op(Op::Forward { model: "m".into() }, [tokens])
    }

    pub(super) fn read(&mut self, forward: NodeId, hook: &str) -> NodeId {
        self.op(Op::Read { hook: hook.into() }, [forward])
    }

    pub(super) fn write(&mut self, forward: NodeId, hook: &str, value: NodeId) -> NodeId {
        self.op(Op::Write { hook: hook.into() }, [forward, value])
    }

    /// Half the value and a bit, or for token ids the next ones.
    pub(super) fn changed(&mut self, value: NodeId) -> NodeId {
        let (first, then, [a, b]) = match self.tensor_type(value).0 {
            DType::I64 => (Op::Add {}, Op::Minimum {}, [Tensor::scalar(1i64), Tensor::scalar(VOCABULARY as i64 - 1)]),
            _ => (Op::Mul {}, Op::Add {}, [Tensor::scalar(0.5f32), Tensor::scalar(0.125f32)]),
        };
        let (a, b) = (self.constant(&a), self.constant(&b));
        let value = self.op(first, [value, a]);
        self.op(then, [value, b])
    }

    /// A constant of a value's type.
    pub(super) fn like(&mut self, value: NodeId, dice: &mut Dice) -> NodeId {
        let (dtype, shape) = self.tensor_type(value);
        let tensor = random(dtype, &shape, dice);
        self.constant(&tensor)
    }

    pub(super) fn save(&mut self, name: impl AsRef<str>, value: NodeId) {
        let kind = EffectKind::Save { name: name.as_ref().into() };
        self.graph.effects.push(Effect::new(kind, [value], Span::None));
    }

    /// Saves every hook of a forward as `PREFIX HOOK`.
    pub(super) fn save_all(&mut self, forward: NodeId, prefix: &str) {
        for hook in hooks(&self.handles["m"].clone()) {
            let value = self.read(forward, &hook);
            self.save(format!("{prefix}{hook}"), value);
        }
    }

    fn verified(&self) -> Verified {
        verify(self.graph.clone(), &self.models()).unwrap_or_else(|errors| panic!("the suite's program is wrong: {errors}"))
    }

    pub(super) fn run(&self, backend: &dyn Backend) -> Result<Outcome, irc_ir::diagnostic::Diagnostic> {
        backend.run(&self.verified(), &self.handles, &mut |_| {})
    }

    pub(super) fn run_for(&self, backend: &dyn Backend, host: &mut dyn Host) -> Result<Outcome, irc_ir::diagnostic::Diagnostic> {
        backend.run_for(&self.verified(), &self.handles, host)
    }

    /// Runs the program on the backend and on the reference, and compares all that is saved.
    pub(super) fn against_reference(&self, backend: &dyn Backend) -> Result<Outcome, Trouble> {
        let (found, expected) = (self.run(backend)?, self.run(&Reference)?);
        let names = |outcome: &Outcome| outcome.saves.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        if names(&found) != names(&expected) {
            return Err(format!("it saves {:?}, not {:?}", names(&found), names(&expected)).into());
        }
        for ((name, found), (_, expected)) in found.saves.iter().zip(&expected.saves) {
            close(found, expected).map_err(|error| format!("{name}{error}"))?;
        }
        Ok(found)
    }
}

/// A tensor of random elements; of integers, token ids.
pub(super) fn random(dtype: DType, shape: &[usize], dice: &mut Dice) -> Tensor {
    let count = shape.iter().product();
    match dtype {
        DType::I64 => Tensor::new(shape, (0..count).map(|_| dice.below(VOCABULARY) as i64).collect::<Vec<_>>()),
        _ => Tensor::new(shape, (0..count).map(|_| dice.float()).collect::<Vec<f32>>()),
    }
}

pub(super) fn ids(batch: usize, length: usize, dice: &mut Dice) -> Tensor {
    random(DType::I64, &[batch, length], dice)
}

pub(super) fn hooks(model: &Handle) -> Vec<String> {
    model.spec.hooks().iter().map(|hook| hook.name.to_string()).collect()
}

/// Whether two values agree: integers exactly, rows of floats to 1e-4 of their length.
pub(super) fn close(found: &Value, expected: &Value) -> Result<(), String> {
    let (Value::Tensor(a), Value::Tensor(b)) = (found, expected) else {
        return if found == expected { Ok(()) } else { Err(format!(" is {found:?}, not {expected:?}")) };
    };
    if a.ty() != b.ty() {
        return Err(format!(" is of type {}, not {}", a.ty(), b.ty()));
    }
    let (Some(x), Some(y)) = (a.values::<f32>(), b.values::<f32>()) else {
        return if a == b { Ok(()) } else { Err(format!(" is {a:?}, not {b:?}")) };
    };
    let width = a.shape().last().copied().unwrap_or(1).max(1);
    for (row, (x, y)) in x.chunks(width).zip(y.chunks(width)).enumerate() {
        let norm = |row: &mut dyn Iterator<Item = f32>| row.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let difference = |(x, y): (&f32, &f32)| if x == y || x.is_nan() && y.is_nan() { 0.0 } else { x - y };
        let distance = norm(&mut x.iter().zip(y).map(difference));
        let scale = norm(&mut y.iter().copied().filter(|x| x.is_finite()));
        // Not a number is not near.
        if !matches!(distance.partial_cmp(&(1e-4 * scale + 1e-6)), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)) {
            return Err(format!(", row {row}, is {distance:e} off: {a:?}, not {b:?}"));
        }
    }
    Ok(())
}

/// Whether all that one program saved has the same bits in another one.
pub(super) fn same_bits(some: &Outcome, all: &Outcome) -> Result<(), String> {
    for (name, value) in &some.saves {
        let other = all.get(name).ok_or_else(|| format!("{name} is not saved"))?;
        if !value.same_bits(other) {
            return Err(format!("{name} changes: {value:?} becomes {other:?}"));
        }
    }
    Ok(())
}

pub(super) fn tensor<'a>(outcome: &'a Outcome, name: &str) -> Result<&'a Tensor, String> {
    outcome.get(name).and_then(Value::as_tensor).ok_or_else(|| format!("{name} is not saved"))
}
