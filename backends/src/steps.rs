//! What a schedule asks of the host, whoever computes the models: operations of the program, effects, and checks of token ids.

use std::sync::Arc;

use irc_ir::{
    diagnostic::Diagnostic,
    eval::{Value, eval},
    graph::{Effect, EffectKind, NodeId},
    model::ModelSpec,
    op::Op,
    tensor::Tensor,
    verify::Verified,
};

use crate::{
    Event, Outcome, Stopped, failed,
    host::{Host, call},
};

/// Evaluates an operation of a program.
pub(crate) fn evaluate(program: &Verified, id: NodeId, operands: &[Value], host: &mut dyn Host) -> Result<Value, Diagnostic> {
    let graph = program.graph();
    match &graph.node(id).op {
        Op::Call { name, returns } => call(host, name, operands, returns, graph.span(id)),
        op => eval(op, &operands.iter().collect::<Vec<_>>()).map_err(|error| failed(error.message()).or_label(graph.span(id))),
    }
}

/// Does an entry of the effect list, unless its condition does not hold. The result is a value of the program, where there is
/// one; of what was only going to be used it may say why it could not be computed.
pub(crate) fn perform(
    effect: &Effect,
    operands: Vec<Result<Value, Diagnostic>>,
    condition: Option<Value>,
    otherwise: Option<Result<Value, Diagnostic>>,
    outcome: &mut Outcome,
    host: &mut dyn Host,
) -> Result<Option<Result<Value, Diagnostic>>, Diagnostic> {
    let bools = condition.as_ref().map(|condition| condition.as_tensor().and_then(Tensor::values::<bool>));
    let runs = bools.is_none_or(|bools| bools.is_some_and(|bools| bools.first() == Some(&true)));
    if !runs {
        return Ok(otherwise);
    }
    let mut operands: Vec<Value> = operands.into_iter().collect::<Result<_, _>>()?;
    Ok(match &effect.kind {
        EffectKind::Save { name } => {
            outcome.saves.push((name.clone(), compact(operands.remove(0))));
            None
        }
        EffectKind::Log { label } => {
            host.event(Event::Log { label: label.clone(), value: operands.remove(0) });
            None
        }
        EffectKind::Call { name, returns } => Some(Ok(call(host, name, &operands, returns, &effect.span)?)),
        EffectKind::Loop { .. } => return Err(failed("a loop is not run in one step").or_label(&effect.span)),
        EffectKind::Stop { reason } => {
            outcome.stopped = Some(Stopped { reason: reason.clone(), span: effect.span.clone() });
            None
        }
    })
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
