//! Programs written node by node, and how their results are compared: for the suite, and for tests of one's own that ask of a
//! backend what the suite does not.

use irc_ir::{
    diagnostic::{Diagnostic, Span},
    eval::Value,
    graph::{Effect, EffectKind, Graph, ModelDecl, NodeId},
    infer::{Models, infer},
    op::Op,
    random::Dice,
    tensor::Tensor,
    types::{DType, Type},
    verify::{Verified, verify},
};

use super::{Trouble, VOCABULARY};
use crate::{Backend, Handle, Handles, Outcome, host::Host, reference::Reference};

/// A program on the model `m`, and others where there are any. The place of each node is its number, so that tests can ask
/// where an error points.
///
/// It is for programs that are right by their makers' doing: all its functions panic where types do not fit.
#[derive(Clone)]
pub struct Program {
    /// The nodes and effects.
    pub graph: Graph,
    /// The models, by their names in the program.
    pub handles: Handles,
    types: Vec<Type>,
}

impl Program {
    /// A program without nodes on the model `m`.
    pub fn new(model: &Handle) -> Program {
        Program { graph: Graph::new("test"), handles: Handles::new(), types: vec![] }.with("m", model)
    }

    /// The program with another model.
    pub fn with(mut self, name: &str, model: &Handle) -> Program {
        self.graph.models.push(ModelDecl { name: name.into(), reference: name.into(), span: Span::None });
        self.handles.insert(name.into(), model.clone());
        self
    }

    fn models(&self) -> Models {
        self.handles.iter().map(|(name, handle)| (name.clone(), handle.spec.clone())).collect()
    }

    /// Adds a node.
    pub fn op(&mut self, op: Op, operands: impl IntoIterator<Item = NodeId>) -> NodeId {
        let operands: Vec<NodeId> = operands.into_iter().collect();
        let types: Vec<&Type> = operands.iter().map(|id| &self.types[id.index()]).collect();
        let ty = infer(&op, &types, &self.models()).unwrap_or_else(|error| panic!("{op:?} of {types:?}: {error:?}"));
        self.types.push(ty);
        let at = self.graph.len();
        self.graph.add(op, operands, Span::text(at, at + 1))
    }

    /// The sizes of a tensor.
    pub fn shape(&self, id: NodeId) -> Vec<usize> {
        let ty = self.types[id.index()].as_tensor().expect("a tensor");
        ty.shape.iter().filter_map(|dim| dim.as_usize()).collect()
    }

    /// The element type of a tensor.
    pub fn dtype(&self, id: NodeId) -> DType {
        self.types[id.index()].as_tensor().expect("a tensor").dtype
    }

    /// A constant.
    pub fn constant(&mut self, tensor: &Tensor) -> NodeId {
        self.op(Op::Const { value: tensor.into() }, [])
    }

    /// A constant number.
    pub fn number(&mut self, value: f32) -> NodeId {
        self.constant(&Tensor::scalar(value))
    }

    /// A forward of `m` on these token ids, i64 [batch, tokens].
    pub fn forward(&mut self, ids: &Tensor) -> NodeId {
        let tokens = self.constant(ids);
        self.forward_on("m", tokens)
    }

    /// A forward of a model.
    pub fn forward_on(&mut self, model: &str, tokens: NodeId) -> NodeId {
        self.op(Op::Forward { model: model.into() }, [tokens])
    }

    /// What a forward shows at a hook.
    pub fn read(&mut self, forward: NodeId, hook: &str) -> NodeId {
        self.op(Op::Read { hook: hook.into() }, [forward])
    }

    /// A forward in which a hook is set.
    pub fn write(&mut self, forward: NodeId, hook: &str, value: NodeId) -> NodeId {
        self.op(Op::Write { hook: hook.into() }, [forward, value])
    }

    /// A module of `m` on a value.
    pub fn apply(&mut self, module: &str, value: NodeId) -> NodeId {
        self.op(Op::Apply { model: "m".into(), module: module.into() }, [value])
    }

    /// The sum of two values.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.op(Op::Add {}, [a, b])
    }

    /// The product of two values.
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.op(Op::Mul {}, [a, b])
    }

    /// Half the value and a bit, or for token ids the next ones.
    pub fn changed(&mut self, value: NodeId) -> NodeId {
        if self.dtype(value) == DType::I64 {
            let (one, last) = (self.constant(&Tensor::scalar(1i64)), self.constant(&Tensor::scalar(VOCABULARY as i64 - 1)));
            let next = self.add(value, one);
            return self.op(Op::Minimum {}, [next, last]);
        }
        let (half, bit) = (self.number(0.5), self.number(0.125));
        let scaled = self.mul(value, half);
        self.add(scaled, bit)
    }

    /// A random constant of a value's type.
    pub fn like(&mut self, value: NodeId, dice: &mut Dice) -> NodeId {
        let tensor = random(self.dtype(value), &self.shape(value), dice);
        self.constant(&tensor)
    }

    /// Saves a value.
    pub fn save(&mut self, name: impl AsRef<str>, value: NodeId) {
        let kind = EffectKind::Save { name: name.as_ref().into() };
        self.graph.effects.push(Effect::new(kind, [value], Span::None));
    }

    /// Saves every hook of a forward as `PREFIX HOOK`.
    pub fn save_all(&mut self, forward: NodeId, prefix: &str) {
        let Type::Forward(ty) = &self.types[forward.index()] else { panic!("not a forward") };
        for hook in hooks(&self.handles[&ty.model].clone()) {
            let value = self.read(forward, &hook);
            self.save(format!("{prefix}{hook}"), value);
        }
    }

    /// The program, verified.
    pub fn verified(&self) -> Verified {
        verify(self.graph.clone(), &self.models()).unwrap_or_else(|errors| panic!("the program is wrong: {errors}"))
    }

    /// Runs the program.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn run(&self, backend: &dyn Backend) -> Result<Outcome, Diagnostic> {
        backend.run(&self.verified(), &self.handles, &mut |_| {})
    }

    /// Runs the program for a host.
    ///
    /// # Errors
    /// Those of the backend and of the host.
    pub fn run_for(&self, backend: &dyn Backend, host: &mut dyn Host) -> Result<Outcome, Diagnostic> {
        backend.run_for(&self.verified(), &self.handles, host)
    }

    /// Runs the program on the backend and on the reference, and compares all that is saved.
    pub(super) fn against_reference(&self, backend: &dyn Backend) -> Result<Outcome, Trouble> {
        let (found, expected) = (self.run(backend)?, self.run(&Reference)?);
        agree(&found, &expected)?;
        Ok(found)
    }
}

/// Whether two runs of one program saved the same: integers exactly, rows of floats to 1e-4 of their length.
///
/// # Errors
/// What differs first.
pub fn agree(found: &Outcome, expected: &Outcome) -> Result<(), String> {
    let names = |outcome: &Outcome| outcome.saves.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if names(found) != names(expected) {
        return Err(format!("it saves {:?}, not {:?}", names(found), names(expected)));
    }
    let mut pairs = found.saves.iter().zip(&expected.saves);
    pairs.try_for_each(|((name, found), (_, expected))| close(found, expected).map_err(|error| format!("{name}{error}")))
}

/// A tensor of random elements from -1 to 1; of integers, token ids below [`VOCABULARY`].
pub fn random(dtype: DType, shape: &[usize], dice: &mut Dice) -> Tensor {
    let count = shape.iter().product();
    match dtype {
        DType::I64 => Tensor::new(shape, (0..count).map(|_| dice.below(VOCABULARY) as i64).collect::<Vec<_>>()),
        _ => Tensor::new(shape, (0..count).map(|_| dice.float()).collect::<Vec<f32>>()),
    }
}

/// Random token ids below [`VOCABULARY`], i64 [batch, length].
pub fn ids(batch: usize, length: usize, dice: &mut Dice) -> Tensor {
    random(DType::I64, &[batch, length], dice)
}

/// The names of a model's hooks.
pub fn hooks(model: &Handle) -> Vec<String> {
    model.spec.hooks().iter().map(|hook| hook.name.to_string()).collect()
}

/// Whether two values agree: integers exactly, rows of floats to 1e-4 of their length.
fn close(found: &Value, expected: &Value) -> Result<(), String> {
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
///
/// # Errors
/// What differs first.
pub fn same_bits(some: &Outcome, all: &Outcome) -> Result<(), String> {
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
