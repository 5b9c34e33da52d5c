//! The reference backend: any program on any model, operation by operation through [`irc_ir::eval`].
//!
//! Slow, obvious, and the oracle: there is no schedule, no batch and no engine, only what the words mean. A read asks for a
//! node of the model's graph; a node that was written has the written value, all others are evaluated.

use std::{borrow::Cow, collections::HashMap, time::Instant};

use irc_ir::{
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::{EffectKind, NodeId},
    model::HookId,
    op::Op,
    tensor::Tensor,
    types::{Dim, Name},
    verify::Verified,
};

use crate::{Backend, Event, Handle, Handles, Outcome, Report, failed};

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn run(&self, program: &Verified, models: &Handles, on_event: &mut (dyn FnMut(Event) + Send)) -> Result<Outcome, Diagnostic> {
        let start = Instant::now();
        let mut oracle = Oracle { program, models, values: vec![None; program.graph().len()], forwards: HashMap::new() };
        let mut saves = vec![];
        for effect in &program.graph().effects {
            let value = oracle.value(effect.value)?;
            match &effect.kind {
                EffectKind::Save { name } => saves.push((name.clone(), value)),
                EffectKind::Log { label } => on_event(Event::Log { label: label.clone(), value }),
            }
        }
        let report = Report { numeric_class: "reference".to_owned(), total_time: start.elapsed(), ..Report::default() };
        Ok(Outcome { saves, report })
    }
}

struct Oracle<'a> {
    program: &'a Verified,
    models: &'a Handles,
    values: Vec<Option<Value>>,
    forwards: HashMap<NodeId, Pass>,
}

/// A forward pass, as far as it was asked for.
#[derive(Clone)]
struct Pass {
    model: Name,
    batch: usize,
    length: usize,
    tokens: Option<Tensor>,
    writes: HashMap<HookId, Value>,
    nodes: HashMap<NodeId, Value>,
}

impl Oracle<'_> {
    /// The value of a node of the program. Operands are evaluated first, without recursion: programs may be deep.
    fn value(&mut self, wanted: NodeId) -> Result<Value, Diagnostic> {
        let graph = self.program.graph();
        let mut needed = vec![false; wanted.index() + 1];
        needed[wanted.index()] = true;
        for at in (0..=wanted.index()).rev() {
            if needed[at] && self.values[at].is_none() {
                graph.node(NodeId::new(at)).operands.iter().for_each(|operand| needed[operand.index()] = true);
            }
        }
        for (at, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
            let id = NodeId::new(at);
            if self.values[at].is_none() && !self.forwards.contains_key(&id) {
                self.evaluate(id).map_err(|error| error.or_label(graph.span(id)))?;
            }
        }
        self.values[wanted.index()].clone().ok_or_else(|| failed("a forward is not a value that can be returned"))
    }

    fn operand(&self, id: NodeId, at: usize) -> Result<&Value, Diagnostic> {
        let operand = self.program.graph().node(id).operands[at];
        self.values[operand.index()].as_ref().ok_or_else(|| failed(format!("operand {at} of {id:?} has no value")))
    }

    fn handle(&self, model: &Name) -> Result<&Handle, Diagnostic> {
        self.models.get(model).ok_or_else(|| failed(format!("the model `{model}` has no weights here")))
    }

    fn evaluate(&mut self, id: NodeId) -> Result<(), Diagnostic> {
        let node = self.program.graph().node(id).clone();
        let value = match &node.op {
            Op::Forward { model } => {
                let tokens = self.operand(id, 0)?.as_tensor().cloned().ok_or_else(|| failed("token ids are a tensor"))?;
                let (batch, length) = (tokens.shape()[0], tokens.shape()[1]);
                let pass =
                    Pass { model: model.clone(), batch, length, tokens: Some(tokens), writes: HashMap::new(), nodes: HashMap::new() };
                self.forwards.insert(id, pass);
                return Ok(());
            }
            Op::Write { hook } => {
                let mut pass = self.forwards[&node.operands[0]].clone();
                let hook = self.handle(&pass.model)?.spec.hook(hook)?;
                pass.writes.insert(hook, self.operand(id, 1)?.clone());
                // What was evaluated of the other forward may depend on what is now written.
                pass.nodes.clear();
                self.forwards.insert(id, pass);
                return Ok(());
            }
            Op::Read { hook } => {
                let mut pass = self.forwards.remove(&node.operands[0]).ok_or_else(|| failed("a read needs a forward"))?;
                let handle = self.handle(&pass.model)?;
                let result = handle.spec.hook(hook).and_then(|hook| pass.read(handle, hook));
                self.forwards.insert(node.operands[0], pass);
                result?
            }
            Op::Apply { model, module } => {
                let handle = self.handle(model)?;
                let module = handle.spec.module(module)?;
                let given = self.operand(id, 0)?.as_tensor().cloned().ok_or_else(|| failed("a module is applied to a tensor"))?;
                apply(handle, model, module.input, module.output, &given)?
            }
            op => {
                let operands = (0..node.operands.len()).map(|at| self.operand(id, at)).collect::<Result<Vec<_>, _>>()?;
                eval(op, &operands).map_err(|error| failed(error.message()))?
            }
        };
        self.values[id.index()] = Some(value);
        Ok(())
    }
}

/// A module on a value: the forward in which the module's input was set to it.
fn apply(handle: &Handle, model: &Name, input: HookId, output: HookId, given: &Tensor) -> Result<Value, Diagnostic> {
    let tail = handle.spec.hook_type(input).rank() - 2;
    let (leading, rest) = given.shape().split_at(given.rank() - tail);
    let (batch, length) = match leading {
        [batch, length] => (*batch, *length),
        other => (1, other.iter().product()),
    };
    let sizes: Vec<usize> = [batch, length].iter().chain(rest).copied().collect();
    let writes = HashMap::from([(input, Value::Tensor(given.reshaped(sizes)))]);
    let mut pass = Pass { model: model.clone(), batch, length, tokens: None, writes, nodes: HashMap::new() };
    let result = pass.read(handle, output)?.into_tensor().ok_or_else(|| failed("hooks are tensors"))?;
    let sizes: Vec<usize> = leading.iter().chain(&result.shape()[2..]).copied().collect();
    Ok(Value::Tensor(result.reshaped(sizes)))
}

impl Pass {
    fn read(&mut self, handle: &Handle, hook: HookId) -> Result<Value, Diagnostic> {
        let spec = &handle.spec;
        let graph = spec.graph();
        let wanted = spec.hook_info(hook).node;
        let written = |pass: &Pass, node: NodeId| spec.hook_at(node).and_then(|hook| pass.writes.get(&hook).cloned());
        let mut needed = vec![false; wanted.index() + 1];
        needed[wanted.index()] = true;
        for at in (0..=wanted.index()).rev() {
            let id = NodeId::new(at);
            if needed[at] && !self.nodes.contains_key(&id) && written(self, id).is_none() {
                graph.node(id).operands.iter().for_each(|operand| needed[operand.index()] = true);
            }
        }
        for (at, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
            let id = NodeId::new(at);
            // Weights are taken where they are used, and not kept.
            if self.nodes.contains_key(&id) || matches!(graph.node(id).op, Op::Weight { .. }) {
                continue;
            }
            let value = match written(self, id) {
                Some(value) => value,
                None => self.compute(handle, id)?,
            };
            self.nodes.insert(id, value);
        }
        Ok(self.nodes[&wanted].clone())
    }

    fn compute(&self, handle: &Handle, id: NodeId) -> Result<Value, Diagnostic> {
        let spec = &handle.spec;
        let node = spec.graph().node(id);
        if let Op::Input { name, .. } = &node.op {
            let positions = || (0..self.batch).flat_map(|_| 0..self.length as i64).collect();
            return match (&**name, &self.tokens) {
                ("positions", _) => Ok(Tensor::new([self.batch, self.length], positions()).into()),
                (_, Some(tokens)) => Ok(tokens.clone().into()),
                (name, None) => Err(failed(format!("an applied module has no {name}"))),
            };
        }
        let op = match &node.op {
            Op::Reshape { shape } => Op::Reshape { shape: shape.iter().map(|dim| dim.substitute(&|symbol| self.size(symbol))).collect() },
            op => op.clone(),
        };
        let operands = node.operands.iter().map(|operand| match &spec.graph().node(*operand).op {
            Op::Weight { name, .. } => {
                let decl = spec.weights().iter().find(|decl| decl.name == *name).ok_or_else(|| failed(format!("`{name}` is no weight")))?;
                Ok(Cow::Owned(handle.weights.tensor(decl)?.into()))
            }
            _ => self.nodes.get(operand).map(Cow::Borrowed).ok_or_else(|| failed(format!("node {operand:?} has no value"))),
        });
        let operands: Vec<Cow<'_, Value>> = operands.collect::<Result<_, Diagnostic>>()?;
        eval(&op, &operands.iter().map(|operand| &**operand).collect::<Vec<_>>()).map_err(|error| failed(error.message()))
    }

    fn size(&self, symbol: &str) -> Option<Dim> {
        match symbol {
            "B" => Some(self.batch.into()),
            "T" => Some(self.length.into()),
            _ => None,
        }
    }
}
