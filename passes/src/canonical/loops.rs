//! What is the same in every iteration of a loop is computed before it, once.

use irc_ir::{
    graph::{Body, Effect, EffectKind, Graph, NodeId, Operands},
    op::Op,
    types::Type,
};

use crate::{
    builder::Builder,
    operations::can_fail,
    rule::{Numerics, Pass, Rule},
    scope::body_of,
};

pub(super) static RULES: [&Rule; 2] = [&INVARIANT, &UNUSED];

static INVARIANT: Rule = Rule {
    name: "invariant-of-loop",
    numerics: Numerics::Exact,
    pass: Pass::Canonical,
    law: "loop … (… f c …) = loop … y (… y …) with y = f c, where c is the same in every iteration",
    witness: r#"graph @w models { m: "m" } {
      %c = call(0) {name: "any", returns: tensor<1x3x32xf32>}
      %l = loop(call(1) {name: "any", returns: tensor<1x3x32xf32>}, %c) {trip: 3} (%i, %x, %c) {
        %f = write(forward([[1, 2, 3]]) {model: m}, exp(%c)) {hook: "model.layers.0.output"}
        yield add(%x, read(%f) {hook: "model.layers.1.output"})
      }
      save get(%l) {index: 0} as "y"
    }"#,
};

static UNUSED: Rule = Rule {
    name: "unused-in-loop",
    numerics: Numerics::Exact,
    pass: Pass::Canonical,
    law: "loop x y (… x …) = loop x (… x …), where y is carried along and not used",
    witness: r#"graph @w {
      %l = loop(call(0) {name: "any", returns: tensor<4xf32>}, 7) {trip: 3} (%i, %x, %seven) { yield add(%x, 1.0) }
      save get(%l) {index: 0} as "y"
    }"#,
};

/// The loop without what is the same in all iterations: that is built before it, and given to it as operands.
///
/// What may fail is moved out only of loops without effects, and all else only where the first iteration computes it for
/// certain: so nothing fails, or is computed, that would not have been.
pub(super) fn hoisted(b: &mut Builder<'_, '_>, trip: i64, body: &Graph, types: &[Type], mut operands: Operands) -> (Body, Operands) {
    let params = operands.len() + 1;
    let carried = body.results.len();
    let hoisted = if trip > 0 && b.work.allows(&INVARIANT) { frontier(body, types, params) } else { vec![] };
    let inside = |at: usize| at > carried && at < params;
    let live = live_inside(body, params, &hoisted);
    // A type that a parameter declares may name sizes for the whole body.
    let declares = |at: usize| matches!(&body.node(NodeId::new(at)).op, Op::Param { ty: Some(_), .. });
    let unused: Vec<usize> = (0..params).filter(|at| inside(*at) && !live[*at] && !declares(*at)).collect();
    if let [first, ..] = hoisted[..] {
        b.work.fired(&INVARIANT, body.span(first));
        operands.extend(built_outside(b, body, types, &hoisted, &operands));
    }
    let mut dropped = vec![false; params];
    for at in unused {
        if b.work.allows(&UNUSED) {
            let span = b.span().clone();
            b.work.fired(&UNUSED, &span);
            dropped[at] = true;
        }
    }
    if hoisted.is_empty() && !dropped.contains(&true) {
        return (body_of(body.clone()), operands);
    }
    let new = rebuilt(body, &hoisted, &dropped);
    let operands = operands.iter().enumerate().filter(|(at, _)| dropped.get(at + 1) != Some(&true)).map(|(_, id)| *id).collect();
    (body_of(new), operands)
}

/// Whether a type names no size, in lists neither: outside of the body, a size may be another one or known.
fn is_sized(ty: &Type) -> bool {
    match ty {
        Type::List(of) => is_sized(of),
        Type::Tuple(parts) => parts.iter().all(is_sized),
        Type::Tensor(_) | Type::Forward(_) | Type::Str | Type::Opaque => ty.symbols().is_empty(),
    }
}

/// What can be computed before the loop and is used by what cannot.
fn frontier(body: &Graph, types: &[Type], params: usize) -> Vec<NodeId> {
    let carried = body.results.len();
    let certain = certain(body);
    let pure = body.effects.is_empty() && !body.bodies().any(|(_, body)| body.has_effects());
    let mut invariant = vec![false; body.len()];
    for (id, node) in body.nodes() {
        invariant[id.index()] = match &node.op {
            Op::Param { index, .. } => {
                let at = usize::try_from(*index).unwrap_or(0);
                at > carried || (at > 0 && at < params && body.results[at - 1] == id)
            }
            Op::EffectResult { .. } => false,
            op => {
                node.operands.iter().all(|operand| invariant[operand.index()])
                    && is_sized(&types[id.index()])
                    && op.symbols().is_empty()
                    && certain[id.index()]
                    && (pure || !fails(body, id))
            }
        };
    }
    let mut wanted = vec![false; body.len()];
    let users = body.nodes().filter(|(id, _)| !invariant[id.index()]).flat_map(|(_, node)| node.operands.iter().copied());
    for id in users.chain(body.roots()) {
        // Constants need no place outside.
        let node = body.node(id);
        wanted[id.index()] |= invariant[id.index()] && !node.operands.is_empty() && !matches!(node.op, Op::Param { .. });
    }
    (0..body.len()).filter(|at| wanted[*at]).map(NodeId::new).collect()
}

/// Whether computing a value may fail. Token ids that are constants were checked.
fn fails(body: &Graph, id: NodeId) -> bool {
    let node = body.node(id);
    match (&node.op, node.operands.first()) {
        (Op::Forward { .. }, Some(tokens)) => !matches!(body.node(*tokens).op, Op::Const { .. }),
        (op, _) => can_fail(op),
    }
}

/// What the first iteration computes, whatever the conditions are.
fn certain(body: &Graph) -> Vec<bool> {
    let stops = |effect: &Effect| match &effect.kind {
        EffectKind::Stop { .. } => true,
        EffectKind::Loop { body, .. } => has_stop(body.graph()),
        EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Call { .. } => false,
    };
    let end = body.effects.iter().position(stops);
    let mut certain = vec![false; body.len()];
    for effect in &body.effects[..end.unwrap_or(body.effects.len())] {
        match effect.guard {
            None => effect.operands.iter().for_each(|operand| certain[operand.index()] = true),
            Some(guard) => certain[guard.condition.index()] = true,
        }
    }
    if end.is_none() {
        body.results.iter().chain(&body.until).for_each(|id| certain[id.index()] = true);
    }
    for (id, node) in body.nodes().rev() {
        if certain[id.index()] {
            node.operands.iter().for_each(|operand| certain[operand.index()] = true);
        }
    }
    certain
}

/// Whether there is a stop in a body, or in one inside it.
fn has_stop(body: &Graph) -> bool {
    body.effects.iter().any(|effect| matches!(effect.kind, EffectKind::Stop { .. }))
        || body.bodies().any(|(_, body)| body.has_effects() && has_stop(body.graph()))
}

/// The hoisted values, built where the loop stands, with its operands for its parameters.
fn built_outside(b: &mut Builder<'_, '_>, body: &Graph, types: &[Type], hoisted: &[NodeId], operands: &[NodeId]) -> Vec<NodeId> {
    let mut needed = vec![false; body.len()];
    hoisted.iter().for_each(|id| needed[id.index()] = true);
    for (id, node) in body.nodes().rev() {
        if needed[id.index()] {
            node.operands.iter().for_each(|operand| needed[operand.index()] = true);
        }
    }
    let around = b.span().clone();
    let mut outside: Vec<Option<NodeId>> = vec![None; body.len()];
    for (id, node) in body.nodes().filter(|(id, _)| needed[id.index()]) {
        b.at(body.span(id));
        outside[id.index()] = match &node.op {
            Op::Param { .. } => operands.get(id.index().wrapping_sub(1)).copied(),
            op => {
                let on: Option<Operands> = node.operands.iter().map(|operand| outside[operand.index()]).collect();
                on.map(|on| b.add(op.clone(), on, types[id.index()].clone()))
            }
        };
    }
    b.at(&around);
    hoisted.iter().filter_map(|id| outside[id.index()]).collect()
}

/// What the body still asks for, once some of its values come from outside.
fn live_inside(body: &Graph, params: usize, hoisted: &[NodeId]) -> Vec<bool> {
    let mut live = vec![false; body.len()];
    body.roots().for_each(|root| live[root.index()] = true);
    for (id, node) in body.nodes().skip(params).rev() {
        if live[id.index()] && hoisted.binary_search(&id).is_err() {
            node.operands.iter().for_each(|operand| live[operand.index()] = true);
        }
    }
    live
}

/// The body with a parameter for each hoisted value, after those that it keeps.
fn rebuilt(body: &Graph, hoisted: &[NodeId], dropped: &[bool]) -> Graph {
    let mut new = Graph::new("");
    let mut moved: Vec<NodeId> = vec![NodeId::new(0); body.len()];
    let kept = (0..dropped.len()).filter(|at| !dropped[*at]).map(NodeId::new);
    for (index, (id, ty)) in kept.map(|id| (id, true)).chain(hoisted.iter().map(|id| (*id, false))).enumerate() {
        let declared = match &body.node(id).op {
            Op::Param { ty: declared, .. } if ty => declared.clone(),
            _ => None,
        };
        moved[id.index()] = new.add(Op::Param { index: index as i64, ty: declared }, [], body.span(id).clone());
        if let Some(label) = body.label(id) {
            new.set_label(moved[id.index()], label.clone());
        }
    }
    let params = dropped.len();
    let live = live_inside(body, params, hoisted);
    let inside = |id: &NodeId| live[id.index()] && id.index() >= params && hoisted.binary_search(id).is_err();
    for (id, node) in body.nodes().filter(|(id, _)| inside(id)) {
        let operands = node.operands.iter().map(|operand| moved[operand.index()]);
        moved[id.index()] = new.add(node.op.clone(), operands, body.span(id).clone());
        if let Some(label) = body.label(id) {
            new.set_label(moved[id.index()], label.clone());
        }
    }
    new.effects = body.effects.iter().map(|effect| effect.map(|value| moved[value.index()])).collect();
    new.results = body.results.iter().map(|result| moved[result.index()]).collect();
    new.until = body.until.map(|until| moved[until.index()]);
    new
}
