//! The laws of forwards: a read sees the writes that reach it, and no others.
//!
//! A forward is a base and a map from hooks to written values ([`Builder::forward`]), so a rule never walks along a chain of
//! writes.

use irc_ir::{
    graph::NodeId,
    model::{HookId, ModelSpec},
    op::{Op, OpKind},
    types::Type,
};

use smallvec::SmallVec;

use super::Entry;
use crate::{
    builder::{Builder, Rewrite, Site},
    values::ForwardValue,
};

pub(super) static RULES: &[Entry] = &[
    Entry::exact(
        "read-of-write",
        "read i (write i f v) = v",
        &[OpKind::Read],
        read_of_write,
        r#"graph @w models { m: "m" } {
          %f = forward([[1, 2, 3]]) {model: m}
          %v = call(0) {name: "any", returns: tensor<1x3x32xf32>}
          save read(write(%f, %v) {hook: "model.layers.0.output"}) {hook: "model.layers.0.output"} as "y"
        }"#,
    ),
    Entry::exact(
        "read-past-write",
        "read j (write i f v) = read j f, unless i reaches j past all else that is written",
        &[OpKind::Read],
        read_past_write,
        r#"graph @w models { m: "m" } {
          %f = forward([[1, 2, 3]]) {model: m}
          %v = call(0) {name: "any", returns: tensor<1x3x32xf32>}
          %u = call(1) {name: "any", returns: tensor<1x3x32xf32>}
          %w = write(%f, %v) {hook: "model.layers.1.output"}
          save read(%w) {hook: "model.layers.0.output"} as "before"
          save read(write(%w, %u) {hook: "model.layers.0.mlp.output"}) {hook: "model.layers.0.self_attn.output"} as "beside"
          save read(write(%w, %u) {hook: "model.layers.0.output"}) {hook: "lm_head.output"} as "hidden by the other"
        }"#,
    ),
    Entry::exact(
        "read-of-same",
        "read j f = read i f, where j only passes on what is at i",
        &[OpKind::Read],
        read_of_same,
        r#"graph @w models { m: "m" } {
          %f = forward([[1, 2, 3]]) {model: m}
          %v = call(0) {name: "any", returns: tensor<1x3x32xf32>}
          %w = write(%f, %v) {hook: "model.layers.0.mlp.output"}
          save read(%w) {hook: "model.layers.1.input"} as "y"
        }"#,
    ),
    Entry::exact(
        "write-of-read",
        "read j (write i f (read i f)) = read j f, where nothing else that is written reaches i",
        &[OpKind::Read],
        write_of_read,
        r#"graph @w models { m: "m" } {
          %f = forward([[1, 2, 3]]) {model: m}
          %r = read(%f) {hook: "model.layers.0.output"}
          save read(write(%f, %r) {hook: "model.layers.0.output"}) {hook: "lm_head.output"} as "y"
        }"#,
    ),
    Entry::exact(
        "write-over-write",
        "write i (write i f v) w = write i f w",
        &[OpKind::Write],
        write_over_write,
        r#"graph @w models { m: "m" } {
          %f = forward([[1, 2, 3]]) {model: m}
          %v = call(0) {name: "any", returns: tensor<1x3x32xf32>}
          %u = call(1) {name: "any", returns: tensor<1x3x32xf32>}
          %w = write(%f, %v) {hook: "model.layers.0.mlp.output"}
          save read(write(%w, %u) {hook: "model.layers.0.mlp.output"}) {hook: "lm_head.output"} as "y"
        }"#,
    ),
    Entry::exact(
        "write-order",
        "write i (write j f v) w = write j (write i f w) v, where i comes before j",
        &[OpKind::Write],
        write_order,
        r#"graph @w models { m: "m" } {
          %f = forward([[1, 2, 3]]) {model: m}
          %v = call(0) {name: "any", returns: tensor<1x3x32xf32>}
          %u = call(1) {name: "any", returns: tensor<1x3x32xf32>}
          %w = write(%f, %v) {hook: "model.layers.1.mlp.output"}
          save read(write(%w, %u) {hook: "model.layers.0.mlp.output"}) {hook: "lm_head.output"} as "y"
        }"#,
    ),
    Entry::exact(
        "apply-to-own-input",
        "apply m (read m.input f) = read m.output f, where nothing is written inside m",
        &[OpKind::Apply],
        apply_to_own_input,
        r#"graph @w models { m: "m" } {
          %f = forward([[1, 2, 3]]) {model: m}
          %v = call(0) {name: "any", returns: tensor<1x3x32xf32>}
          %w = write(%f, %v) {hook: "model.layers.0.mlp.output"}
          %n = apply(read(%w) {hook: "model.layers.1.output"}) {model: m, module: "model.norm"}
          save %n as "y"
        }"#,
    ),
];

fn read_of_write(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Read { hook } = site.op else { return None };
    let hook = b.hook(site.operands[0], hook)?;
    b.forward(site.operands[0])?.writes.get(hook).map(Rewrite::Value)
}

fn read_past_write(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Read { hook } = site.op else { return None };
    let forward = site.operands[0];
    let at = b.hook(forward, hook)?;
    let value = b.forward(forward)?;
    if value.writes.is_empty() || value.writes.contains(at) {
        return None;
    }
    let (count, value) = (value.writes.len(), value.clone());
    let visible = b.visible(value, at)?;
    if visible.writes.len() == count {
        return None;
    }
    Some(Rewrite::unary(site.op.clone(), b.forward_node(&visible)?))
}

/// The first hook that has the value of this one, unless one is written on the way.
fn same_value(spec: &ModelSpec, hook: HookId, written: impl Fn(HookId) -> bool) -> HookId {
    let mut first = hook;
    loop {
        let before = spec.graph().node(spec.hook_info(first).node).operands[0];
        match spec.hook_at(before) {
            Some(before) if !written(first) => first = before,
            _ => return first,
        }
    }
}

/// Whether a forward has no other writes than those that are known of it: a parameter of a body, or what comes out of a loop,
/// may have been written anywhere.
fn all_writes_are_known(b: &mut Builder<'_, '_>, forward: NodeId) -> Option<bool> {
    let base = NodeId::new(b.forward(forward)?.base);
    Some(matches!(b.op(base), Op::Forward { .. } | Op::Extend {}))
}

fn read_of_same(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Read { hook } = site.op else { return None };
    let forward = site.operands[0];
    let at = b.hook(forward, hook)?;
    if !all_writes_are_known(b, forward)? {
        return None;
    }
    let (_, spec) = b.model_of(forward)?;
    let writes = &b.forward(forward)?.writes;
    let first = same_value(spec, at, |hook| writes.contains(hook));
    (first != at).then(|| Rewrite::unary(Op::Read { hook: spec.hook_info(first).name.clone() }, forward))
}

/// A write of what is there already is seen by no read, unless it keeps another write from it: so a forward alone is not the same
/// without it, but a read of it is.
fn write_of_read(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Read { hook } = site.op else { return None };
    let forward = site.operands[0];
    let at = b.hook(forward, hook)?;
    let writes: SmallVec<[(HookId, NodeId); 2]> = b.forward(forward)?.writes.iter().collect();
    if writes.iter().any(|(hook, _)| *hook == at) {
        return None;
    }
    for (hook, value) in writes {
        let mut without = b.forward(forward)?.clone();
        without.writes.remove(hook);
        if is_read(b, value, &without, hook) == Some(true) {
            return Some(Rewrite::unary(site.op.clone(), b.forward_node(&without)?));
        }
    }
    None
}

/// Whether a value is what a forward shows at a hook.
fn is_read(b: &mut Builder<'_, '_>, value: NodeId, forward: &ForwardValue, hook: HookId) -> Option<bool> {
    let Op::Read { hook: name } = b.op(value) else { return Some(false) };
    let (name, source) = (name.clone(), b.operands(value)[0]);
    let read = b.hook(source, &name)?;
    let of = b.forward(source)?.clone();
    let known = all_writes_are_known(b, source)?;
    let (_, spec) = b.model_of(source)?;
    let same = read == hook || known && read == same_value(spec, hook, |hook| forward.writes.contains(hook));
    let set = [&of, forward].iter().any(|forward| forward.writes.contains(read));
    if of.base != forward.base || !same || set {
        return Some(false);
    }
    Some(b.visible(of, read)? == b.visible(forward.clone(), read)?)
}

fn write_over_write(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Write { hook } = site.op else { return None };
    let hook = b.hook(site.operands[0], hook)?;
    let mut forward = b.forward(site.operands[0])?.clone();
    forward.writes.insert(hook, site.operands[1])?;
    b.forward_node(&forward).map(Rewrite::Value)
}

fn write_order(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Write { hook } = site.op else { return None };
    let hook = b.hook(site.operands[0], hook)?;
    let before = b.forward(site.operands[0])?;
    if before.writes.contains(hook) || before.writes.hooks().next_back().is_none_or(|last| last < hook) {
        return None;
    }
    let mut forward = before.clone();
    forward.writes.insert(hook, site.operands[1]);
    b.forward_node(&forward).map(Rewrite::Value)
}

fn apply_to_own_input(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Apply { model, module } = site.op else { return None };
    let Op::Read { hook } = b.op(site.operands[0]) else { return None };
    let (hook, forward) = (hook.clone(), b.operands(site.operands[0])[0]);
    let hook = b.hook(forward, &hook)?;
    let (name, spec) = b.model_of(forward)?;
    let module = spec.module(module).ok().filter(|_| name == model)?;
    if !all_writes_are_known(b, forward)? {
        return None;
    }
    // Positions count from 0 in an applied module.
    let Type::Forward(ty) = b.ty(forward) else { return None };
    if ty.past.as_known() != Some(0) {
        return None;
    }
    let value = b.forward(forward)?.clone();
    let visible = b.visible(value, module.output)?;
    let goes_in = same_value(spec, module.input, |hook| visible.writes.contains(hook));
    let inside = visible.writes.hooks().any(|written| !spec.reaches(written, goes_in));
    if hook != goes_in || inside || b.forward(forward)?.writes.contains(module.output) {
        return None;
    }
    Some(Rewrite::unary(Op::Read { hook: spec.hook_info(module.output).name.clone() }, forward))
}
