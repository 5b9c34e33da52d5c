//! What a schedule asks of the host, whoever computes the models: operations of the program, effects, and checks of token ids.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::{Effect, EffectKind, NodeId},
    model::ModelSpec,
    op::Op,
    tensor::Tensor,
    types::{Dim, Name},
    verify::Verified,
};

use crate::{
    Event, Outcome, Stopped, failed,
    host::{Host, call},
};

/// Where steps are done: in a program, or in an iteration of a loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// What symbols stand for.
    pub(crate) sizes: BTreeMap<Name, Dim>,
    /// Whether it is an iteration: saves may come again.
    pub(crate) in_loop: bool,
}

impl Frame {
    /// What a symbol stands for.
    pub(crate) fn size(&self, symbol: &str) -> Option<Dim> {
        self.sizes.get(symbol).cloned()
    }
}

/// Evaluates an operation of a program, or of the body of a loop.
pub(crate) fn evaluate(
    program: &Verified,
    id: NodeId,
    operands: &[Value],
    frame: &Frame,
    host: &mut dyn Host,
) -> Result<Value, Diagnostic> {
    let graph = program.graph();
    let op = match &graph.node(id).op {
        op if frame.sizes.is_empty() => Cow::Borrowed(op),
        op => Cow::Owned(op.substitute(&|symbol| frame.size(symbol))),
    };
    match &*op {
        Op::Call { name, returns } => call(host, name, operands, returns, graph.span(id)),
        op => eval(op, &operands.iter().collect::<Vec<_>>()).map_err(|error| failed(error.message()).or_label(graph.span(id))),
    }
}

/// Whether a condition holds.
pub(crate) fn holds(condition: &Value) -> Result<bool, Diagnostic> {
    let bools = condition.as_tensor().and_then(Tensor::values::<bool>);
    bools.and_then(|bools| bools.first().copied()).ok_or_else(|| failed("a condition is one bool"))
}

/// Does an entry of the effect list, unless its condition does not hold. The result is a value of the program, where there is
/// one; of what was only going to be used it may say why it could not be computed.
pub(crate) fn perform(
    effect: &Effect,
    operands: Vec<Result<Value, Diagnostic>>,
    condition: Option<Value>,
    otherwise: Option<Result<Value, Diagnostic>>,
    frame: &Frame,
    outcome: &mut Outcome,
    host: &mut dyn Host,
) -> Result<Option<Result<Value, Diagnostic>>, Diagnostic> {
    if !condition.as_ref().map_or(Ok(true), holds)? {
        return Ok(otherwise);
    }
    let mut operands: Vec<Value> = operands.into_iter().collect::<Result<_, _>>()?;
    Ok(match &effect.kind {
        EffectKind::Save { name } => {
            let value = compact(operands.remove(0));
            if frame.in_loop {
                host.event(Event::Save { name: name.clone(), value: value.clone() });
                outcome.save_again(name, value);
            } else {
                outcome.saves.push((name.clone(), value));
            }
            None
        }
        EffectKind::Log { label } => {
            host.event(Event::Log { label: label.clone(), value: operands.remove(0) });
            None
        }
        EffectKind::Call { name, returns } => {
            let returns = returns.substitute(&|symbol| frame.size(symbol));
            Some(Ok(call(host, name, &operands, &returns, &effect.span)?))
        }
        EffectKind::Loop { .. } => return Err(failed("a loop is not run in one step").or_label(&effect.span)),
        EffectKind::Stop { reason } => {
            outcome.stopped = Some(Stopped { reason: reason.clone(), span: effect.span.clone() });
            None
        }
    })
}

/// Whether a forward of so many sequences and new tokens after others fits a model's context: in the body of a loop, nobody may have
/// known before.
pub(crate) fn check_length(batch: usize, length: usize, past: usize, context: usize) -> Result<(), Diagnostic> {
    if batch == 0 || length == 0 {
        return Err(Diagnostic::error(Code::E2004, "a forward needs at least one sequence and one token"));
    }
    if past + length > context {
        let message = format!("{} tokens are more than the model's context of {context}", past + length);
        return Err(Diagnostic::error(Code::E2004, message));
    }
    Ok(())
}

/// Whether a model has rows for the ids that it is given at a node: engines take negative ones for places from the end.
/// `place` is the value of the program that they are.
pub(crate) fn check_ids(program: &Verified, spec: &ModelSpec, node: NodeId, ids: &Tensor, place: NodeId) -> Result<(), Diagnostic> {
    let Some(ids) = ids.values::<i64>() else { return Ok(()) };
    let source = spec.source(node);
    let tables = spec.graph().nodes().filter(|(_, node)| node.op == Op::Embedding {} && spec.source(node.operands[1]) == source);
    let rows = tables.filter_map(|(_, node)| spec.node_type(node.operands[0]).as_tensor()?.shape[0].as_known()).min();
    match ids.iter().find(|id| rows.is_some_and(|rows| !(0..rows).contains(*id))) {
        Some(wrong) => {
            let message = format!("id {wrong} has no row in an embedding of {}", rows.unwrap_or_default());
            Err(failed(message).or_label(program.graph().span(place)))
        }
        None => Ok(()),
    }
}

/// A saved value must not keep a whole flat batch alive for the sake of a part of it.
fn compact(value: Value) -> Value {
    match value {
        Value::Tensor(tensor) => Value::Tensor(tensor.compacted()),
        Value::Tuple(parts) => Value::Tuple(parts.iter().cloned().map(compact).collect()),
        Value::List { of, items } => Value::List { of, items: Arc::new(items.iter().cloned().map(compact).collect()) },
        Value::Str(_) | Value::Opaque(_) => value,
    }
}
