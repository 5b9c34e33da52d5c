//! Programs as pictures, in Graphviz' language.
//!
//! Forwards and writes are boxes joined by thick edges, the spine of the program; what is read from them hangs on it. The
//! constants of a forward or of one other operation stand inside its box.

use std::fmt::Write;

use irc_ir::{
    attr::{Attr, Literal},
    graph::{EffectKind, Graph, NodeId},
    op::Op,
    types::Type,
    verify::Types,
};

use super::value::preview;

/// The longest text of a constant in a box.
const LONGEST: usize = 40;

/// A graph in Graphviz' language, with types where they are known.
pub(super) fn to_dot(graph: &Graph, types: Option<&Types>) -> String {
    let uses = graph.uses();
    let inside = |id: NodeId| uses[id.index()] == 1 && matches!(graph.node(id).op, Op::Const { .. });
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_dot(&mut out, graph, types, &inside);
    out
}

fn write_dot(out: &mut String, graph: &Graph, types: Option<&Types>, inside: &dyn Fn(NodeId) -> bool) -> std::fmt::Result {
    writeln!(out, "digraph {} {{", quoted(&graph.name))?;
    writeln!(out, "  rankdir=TB; nodesep=0.25; ranksep=0.35;")?;
    writeln!(out, "  node [shape=box, style=\"rounded,filled\", fillcolor=white, color=gray40, fontname=\"Helvetica\", fontsize=11];")?;
    writeln!(out, "  edge [color=gray40, arrowsize=0.6, fontname=\"Helvetica\", fontsize=9];")?;
    let live = graph.live();
    for (id, node) in graph.nodes().filter(|(id, _)| !inside(*id)) {
        let dead = if live[id.index()] { "" } else { ", style=\"rounded,dashed\"" };
        let ty = types.and_then(|types| types.nodes.get(id.index())).filter(|ty| !matches!(ty, Type::Forward(_)));
        let mut label = label(graph, id, inside);
        if let Some(ty) = ty {
            let _ = write!(label, "\n{ty}");
        }
        writeln!(out, "  n{} [label={}, fillcolor={}{dead}];", id.index(), quoted(&label), color(&node.op))?;
        for (at, operand) in node.operands.iter().enumerate().filter(|(_, operand)| !inside(**operand)) {
            let spine = at == 0 && matches!(node.op, Op::Write { .. } | Op::Extend {} | Op::Read { .. }) && is_pass(graph, *operand);
            let thick = if spine && matches!(node.op, Op::Write { .. } | Op::Extend {}) {
                " [penwidth=2.5, color=\"#4477aa\", weight=8]"
            } else {
                ""
            };
            writeln!(out, "  n{} -> n{}{thick};", operand.index(), id.index())?;
        }
    }
    for (at, effect) in graph.effects.iter().enumerate() {
        let (text, fill) = match &effect.kind {
            EffectKind::Save { name } => (format!("save \"{name}\""), "\"#ccddaa\""),
            EffectKind::Log { label: Some(label) } => (format!("log \"{label}\""), "\"#eeeebb\""),
            EffectKind::Log { label: None } => ("log".to_owned(), "\"#eeeebb\""),
            EffectKind::Call { name, .. } => (format!("do call \"{name}\""), "\"#ffddbb\""),
            EffectKind::Loop { trip, body } => (format!("do loop\ntrip: {trip}\n{body:?}"), "\"#ffddbb\""),
            EffectKind::Stop { reason: Some(reason) } => (format!("stop \"{reason}\""), "\"#ffbbbb\""),
            EffectKind::Stop { reason: None } => ("stop".to_owned(), "\"#ffbbbb\""),
        };
        writeln!(out, "  e{at} [shape=note, style=filled, label={}, fillcolor={fill}];", quoted(&text))?;
        for used in effect.uses() {
            if inside(used) {
                writeln!(out, "  n{} [label={}, shape=plain, style=\"\"];", used.index(), quoted(&constant(graph, used)))?;
            }
            let guards = effect.guard.is_some_and(|guard| guard.condition == used);
            writeln!(out, "  n{} -> e{at}{};", used.index(), if guards { " [style=dotted]" } else { "" })?;
        }
    }
    for (id, node) in graph.nodes() {
        if let Op::EffectResult { entry } = node.op {
            writeln!(out, "  e{entry} -> n{};", id.index())?;
        }
    }
    writeln!(out, "}}")
}

fn is_pass(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Forward { .. } | Op::Extend {} | Op::Write { .. })
}

/// Forwards blue, writes red, reads green, applied modules purple; the rest is white.
fn color(op: &Op) -> &'static str {
    match op {
        Op::Forward { .. } | Op::Extend {} => "\"#bbccee\"",
        Op::Write { .. } => "\"#ffcccc\"",
        Op::Read { .. } => "\"#cceeff\"",
        Op::Apply { .. } => "\"#ddccee\"",
        Op::Const { .. } => "\"#eeeeee\"",
        _ => "white",
    }
}

/// What stands in a box: the operation, what makes it special, the constants that only it uses.
fn label(graph: &Graph, id: NodeId, inside: &dyn Fn(NodeId) -> bool) -> String {
    let node = graph.node(id);
    let constants: Vec<String> =
        node.operands.iter().filter(|operand| inside(**operand)).map(|operand| constant(graph, *operand)).collect();
    let name = graph.label(id).map_or_else(String::new, |label| format!("%{label} = "));
    let kind = node.op.kind().name();
    match &node.op {
        Op::Const { .. } => format!("{name}{}", constant(graph, id)),
        Op::Forward { model } => format!("{name}{kind} {model}\n{}", constants.join(", ")),
        Op::Read { hook } | Op::Write { hook } => {
            let with = if constants.is_empty() { String::new() } else { format!("\n= {}", constants.join(", ")) };
            format!("{name}{kind}\n{hook}{with}")
        }
        Op::Apply { model, module } => format!("{name}{kind} {model}\n{module}"),
        op => {
            let attrs: Vec<String> = op
                .kind()
                .attrs()
                .iter()
                .zip(op.attrs())
                .enumerate()
                .filter(|(at, _)| !op.is_default(*at))
                .map(|(_, (decl, attr))| format!("{}: {}", decl.name, attr_text(&attr)))
                .collect();
            [vec![format!("{name}{kind}")], attrs, constants].concat().join("\n")
        }
    }
}

fn constant(graph: &Graph, id: NodeId) -> String {
    let Op::Const { value } = &graph.node(id).op else { return String::new() };
    let text = match value {
        Literal::Str(text) => format!("\"{text}\""),
        Literal::Tensor(tensor) => preview(&tensor.to_tensor(), "…"),
    };
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST - 1).chain(['…']).collect() }
}

fn attr_text(attr: &Attr) -> String {
    match attr {
        Attr::None => "none".to_owned(),
        Attr::Int(value) => value.to_string(),
        Attr::Bool(value) => value.to_string(),
        Attr::Float(value) => format!("{value:?}"),
        Attr::Name(name) => name.to_string(),
        Attr::DType(dtype) => dtype.to_string(),
        Attr::Type(ty) => ty.to_string(),
        Attr::Body(body) => format!("{body:?}"),
        Attr::Ints(values) => format!("{values:?}"),
        Attr::Dims(dims) => format!("[{}]", dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        Attr::Literal(Literal::Str(text)) => format!("\"{text}\""),
        Attr::Literal(Literal::Tensor(tensor)) => preview(&tensor.to_tensor(), "…"),
        Attr::Reduction(reduction) => reduction.name().to_owned(),
    }
}

/// A string of Graphviz' language. `\n` is how its labels break lines; a backslash of ours must not be one of its escapes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
