//! The reference backend: any program on any model, operation by operation through [`irc_ir::eval`].
//!
//! Slow, obvious, and the oracle: there is no schedule, no batch and no engine, only what the words mean. A read asks for a
//! node of the model's graph; a node that was written has the written value, all others are evaluated.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use irc_ir::{
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::{Body, Effect, EffectKind, Graph, NodeId},
    model::HookId,
    op::Op,
    tensor::Tensor,
    types::{Dim, Name, Type},
    verify::Verified,
};

use crate::{
    Backend, Event, Handle, Handles, Outcome, Report, Stopped,
    cancel::Cancel,
    failed,
    host::{Host, call, check_functions},
};

mod pass;
use pass::Pass;

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn run_for(&self, program: &Verified, models: &Handles, host: &mut dyn Host) -> Result<Outcome, Diagnostic> {
        let start = Instant::now();
        let cancel = host.cancel();
        let mut oracle = Oracle { models, host, cancel: cancel.clone(), saves: vec![], stopped: None };
        cancel.over(|| {
            check_functions(program, oracle.host)?;
            oracle.graph(program.graph(), vec![], BTreeMap::new())
        })?;
        let report = Report { numeric_class: "reference".to_owned(), total_time: start.elapsed(), ..Report::default() };
        Ok(Outcome { saves: oracle.saves, stopped: oracle.stopped, report })
    }
}

/// What a node stands for.
#[derive(Clone)]
enum Item {
    Value(Value),
    Forward(Pass),
    /// Several, of which one is a forward.
    Tuple(Vec<Item>),
}

impl Item {
    fn tuple(parts: Vec<Item>) -> Item {
        let values: Option<Vec<Value>> = parts.iter().map(|part| part.value().cloned()).collect();
        values.map_or(Item::Tuple(parts), |values| Item::Value(Value::Tuple(values.into())))
    }

    fn value(&self) -> Option<&Value> {
        if let Item::Value(value) = self { Some(value) } else { None }
    }

    /// The sizes that occur in it, in the order of those in its type.
    fn sizes(&self) -> Vec<Dim> {
        match self {
            Item::Value(value) => value.ty().dims().into_iter().cloned().collect(),
            Item::Forward(pass) => pass.sizes().map(Dim::from).into(),
            Item::Tuple(parts) => parts.iter().flat_map(Item::sizes).collect(),
        }
    }

    fn part(&self, at: usize) -> Option<Item> {
        match self {
            Item::Tuple(parts) => parts.get(at).cloned(),
            Item::Value(Value::Tuple(parts)) => parts.get(at).cloned().map(Item::Value),
            Item::Value(_) | Item::Forward(_) => None,
        }
    }
}

struct Oracle<'a> {
    models: &'a Handles,
    host: &'a mut dyn Host,
    cancel: Cancel,
    saves: Vec<(Name, Value)>,
    stopped: Option<Stopped>,
}

/// A graph that is being run: the program, or an iteration of a loop.
struct Frame<'g> {
    graph: &'g Graph,
    /// Of an iteration of a loop: saves may come again.
    in_loop: bool,
    params: Vec<Item>,
    /// What symbols stand for.
    sizes: BTreeMap<Name, Dim>,
    items: Vec<Option<Item>>,
    /// The results of effects, by entry.
    results: Vec<Option<Item>>,
}

impl Oracle<'_> {
    /// Runs a graph: its effects in their order, then its results. What nothing asks for is not evaluated.
    fn graph<'g>(&mut self, graph: &'g Graph, params: Vec<Item>, sizes: BTreeMap<Name, Dim>) -> Result<Frame<'g>, Diagnostic> {
        let (items, results) = (vec![None; graph.len()], vec![None; graph.effects.len()]);
        // A body has at least the parameter for the number of the iteration.
        let mut frame = Frame { graph, in_loop: !params.is_empty(), params, sizes, items, results };
        for (at, effect) in graph.effects.iter().enumerate() {
            self.cancel.check()?;
            let result = self.effect(&mut frame, effect).map_err(|error| error.or_label(&effect.span))?;
            frame.results[at] = result;
            if self.stopped.is_some() {
                break;
            }
        }
        Ok(frame)
    }

    fn effect(&mut self, frame: &mut Frame<'_>, effect: &Effect) -> Result<Option<Item>, Diagnostic> {
        if let Some(guard) = effect.guard
            && !self.holds(frame, guard.condition)?
        {
            return match (guard.otherwise, &effect.kind) {
                (Some(other), _) => self.item(frame, other).map(Some),
                // What the loop would have begun with.
                (None, EffectKind::Loop { body, .. }) => {
                    let carried = &effect.operands[..body.graph().results.len()];
                    let carried = carried.iter().map(|operand| self.item(frame, *operand)).collect::<Result<Vec<Item>, _>>()?;
                    Ok(Some(Item::tuple(carried)))
                }
                (None, _) => Ok(None),
            };
        }
        let operands = effect.operands.iter().map(|operand| self.item(frame, *operand)).collect::<Result<Vec<Item>, _>>()?;
        let values = || operands.iter().map(|item| item.value().cloned().ok_or_else(no_value)).collect::<Result<Vec<Value>, _>>();
        Ok(match &effect.kind {
            EffectKind::Save { name } => {
                let value = values()?.remove(0);
                if frame.in_loop {
                    self.host.event(Event::Save { name: name.clone(), value: value.clone() });
                }
                match self.saves.iter_mut().find(|(saved, _)| saved == name) {
                    Some((_, earlier)) => *earlier = value,
                    None => self.saves.push((name.clone(), value)),
                }
                None
            }
            EffectKind::Log { label } => {
                self.host.event(Event::Log { label: label.clone(), value: values()?.remove(0) });
                None
            }
            EffectKind::Call { name, returns } => {
                let returns = returns.substitute(&|symbol| frame.sizes.get(symbol).cloned());
                Some(Item::Value(call(self.host, name, &values()?, &returns, &effect.span)?))
            }
            EffectKind::Loop { trip, body } => Some(self.repeat(*trip, body, operands, &frame.sizes)?),
            EffectKind::Stop { reason } => {
                self.stopped = Some(Stopped { reason: reason.clone(), span: effect.span.clone() });
                None
            }
        })
    }

    /// Runs the body of a loop again and again.
    fn repeat(&mut self, trip: i64, body: &Body, mut operands: Vec<Item>, around: &BTreeMap<Name, Dim>) -> Result<Item, Diagnostic> {
        let graph = body.graph();
        for iteration in 0..trip {
            self.cancel.check()?;
            let number = Item::Value(Tensor::scalar(iteration).into());
            let params: Vec<Item> = [number].into_iter().chain(operands.iter().cloned()).collect();
            // Where a type is not declared, its symbols are those around the loop.
            let mut sizes = around.clone();
            for ((_, declared), item) in body.params().zip(&params) {
                let dims = declared.map(Type::dims).unwrap_or_default();
                let symbols = dims.into_iter().zip(item.sizes()).filter_map(|(dim, size)| Some((dim.as_symbol()?.clone(), size)));
                sizes.extend(symbols);
            }
            let mut frame = self.graph(graph, params, sizes)?;
            if self.stopped.is_some() {
                break;
            }
            let results = graph.results.iter().map(|result| self.item(&mut frame, *result)).collect::<Result<Vec<Item>, _>>()?;
            operands.splice(..results.len(), results);
            if let Some(until) = graph.until
                && self.holds(&mut frame, until)?
            {
                break;
            }
        }
        operands.truncate(graph.results.len());
        Ok(Item::tuple(operands))
    }

    fn holds(&mut self, frame: &mut Frame<'_>, condition: NodeId) -> Result<bool, Diagnostic> {
        let item = self.item(frame, condition)?;
        let bools = item.value().and_then(Value::as_tensor).and_then(Tensor::values::<bool>);
        bools.and_then(|bools| bools.first().copied()).ok_or_else(|| failed("a condition is one bool"))
    }

    /// What a node stands for. Operands are evaluated first, without recursion: programs may be deep.
    fn item(&mut self, frame: &mut Frame<'_>, wanted: NodeId) -> Result<Item, Diagnostic> {
        let graph = frame.graph;
        let mut stack = vec![wanted];
        while let Some(&id) = stack.last() {
            if frame.items[id.index()].is_some() {
                stack.pop();
                continue;
            }
            // The first operand on top: operands are evaluated from left to right.
            let missing = graph.node(id).operands.iter().rev().filter(|operand| frame.items[operand.index()].is_none());
            let before = stack.len();
            stack.extend(missing);
            if stack.len() == before {
                self.cancel.check()?;
                frame.items[id.index()] = Some(self.evaluate(frame, id).map_err(|error| error.or_label(graph.span(id)))?);
            }
        }
        frame.items[wanted.index()].clone().ok_or_else(no_value)
    }

    fn handle(&self, model: &Name) -> Result<&Handle, Diagnostic> {
        self.models.get(model).ok_or_else(|| failed(format!("the model `{model}` has no weights here")))
    }

    fn evaluate(&mut self, frame: &mut Frame<'_>, id: NodeId) -> Result<Item, Diagnostic> {
        let node = frame.graph.node(id);
        let value = |at: usize| frame.items[node.operands[at].index()].as_ref().and_then(Item::value).ok_or_else(no_value);
        let tensor = |at: usize| value(at)?.as_tensor().ok_or_else(|| failed("a tensor is needed here"));
        let forward = |at: usize| match &frame.items[node.operands[at].index()] {
            Some(Item::Forward(pass)) => Ok(pass),
            _ => Err(failed("a forward is needed here")),
        };
        Ok(Item::Value(match &node.op {
            Op::Forward { model } => {
                let context = self.handle(model)?.spec.context();
                return Ok(Item::Forward(Pass::new(model.clone(), tensor(0)?.clone(), context)?));
            }
            Op::Extend {} => {
                let pass = forward(0)?;
                let context = self.handle(&pass.model)?.spec.context();
                return Ok(Item::Forward(pass.extended(tensor(1)?.clone(), context)?));
            }
            Op::Write { hook } => {
                let pass = forward(0)?;
                let hook = self.handle(&pass.model)?.spec.hook(hook)?;
                return Ok(Item::Forward(pass.written(hook, value(1)?.clone())));
            }
            Op::Read { hook } => {
                let Some(Item::Forward(mut pass)) = frame.items[node.operands[0].index()].take() else {
                    return Err(failed("a read needs a forward"));
                };
                let handle = self.handle(&pass.model)?;
                let result = handle.spec.hook(hook).and_then(|hook| pass.read(handle, hook, &self.cancel));
                // With what was evaluated for this read, for the next one.
                frame.items[node.operands[0].index()] = Some(Item::Forward(pass));
                result?
            }
            Op::Apply { model, module } => {
                let handle = self.handle(model)?;
                let module = handle.spec.module(module)?;
                apply(handle, model, [module.input, module.output], tensor(0)?, &self.cancel)?
            }
            Op::Loop { trip, body } => {
                let operands = node.operands.iter().map(|operand| frame.items[operand.index()].clone().ok_or_else(no_value));
                return self.repeat(*trip, body, operands.collect::<Result<_, _>>()?, &frame.sizes);
            }
            Op::Call { name, returns } => {
                let operands = (0..node.operands.len()).map(|at| value(at).cloned()).collect::<Result<Vec<_>, _>>()?;
                let returns = returns.substitute(&|symbol| frame.sizes.get(symbol).cloned());
                call(self.host, name, &operands, &returns, frame.graph.span(id))?
            }
            Op::Param { index, .. } => {
                let param = usize::try_from(*index).ok().and_then(|index| frame.params.get(index));
                return param.cloned().ok_or_else(|| failed("the loop gives no such parameter"));
            }
            Op::EffectResult { entry } => {
                let result = usize::try_from(*entry).ok().and_then(|entry| frame.results.get(entry)?.clone());
                return result.ok_or_else(|| failed("the effect has not run yet"));
            }
            Op::Tuple {} => {
                let parts = node.operands.iter().map(|operand| frame.items[operand.index()].clone().ok_or_else(no_value));
                return Ok(Item::tuple(parts.collect::<Result<_, _>>()?));
            }
            Op::Get { index } => {
                let whole = frame.items[node.operands[0].index()].as_ref();
                let part = usize::try_from(*index).ok().and_then(|index| whole?.part(index));
                return part.ok_or_else(|| failed(format!("there is no part {index}")));
            }
            op => {
                let operands = (0..node.operands.len()).map(value).collect::<Result<Vec<_>, _>>()?;
                let op = op.substitute(&|symbol| frame.sizes.get(symbol).cloned());
                eval(&op, &operands).map_err(|error| failed(error.message()))?
            }
        }))
    }
}

fn no_value() -> Diagnostic {
    failed("a forward is not a value that can be returned")
}

/// A module on a value: the forward in which the module's input was set to it.
fn apply(handle: &Handle, model: &Name, [input, output]: [HookId; 2], given: &Tensor, cancel: &Cancel) -> Result<Value, Diagnostic> {
    let tail = handle.spec.hook_type(input).rank() - 2;
    let (leading, rest) = given.shape().split_at(given.rank() - tail);
    let (batch, length) = match leading {
        [batch, length] => (*batch, *length),
        other => (1, other.iter().product()),
    };
    let sizes: Vec<usize> = [batch, length].iter().chain(rest).copied().collect();
    let writes = HashMap::from([(input, Value::Tensor(given.reshaped(sizes)))]);
    let mut pass = Pass::nameless(model.clone(), batch, length, writes);
    let result = pass.read(handle, output, cancel)?.into_tensor().ok_or_else(|| failed("hooks are tensors"))?;
    let sizes: Vec<usize> = leading.iter().chain(&result.shape()[2..]).copied().collect();
    Ok(Value::Tensor(result.reshaped(sizes)))
}
