//! Lints: what is right, but hardly meant.
//!
//! A lint speaks only where it is sure: what passes through loops, extended forwards or calls of the host is left alone.

use std::collections::BTreeSet;

use irc_ir::{
    attr::Literal,
    code::Code,
    diagnostic::{Diagnostic, Severity},
    graph::{EffectKind, Graph, NodeId},
    op::Op,
    types::Type,
    verify::Verified,
};

use crate::values::number;

/// Warnings about a program, in the order of their codes.
pub fn lint(program: &Verified) -> Vec<Diagnostic> {
    let mut found = unread_writes(program);
    found.extend(constant_saves(program));
    found.extend(equal_comparisons(program));
    found.extend(padded_positions(program));
    found
}

fn warning(code: Code, message: impl Into<String>) -> Diagnostic {
    Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
}

/// W0001.
fn unread_writes(program: &Verified) -> Vec<Diagnostic> {
    let graph = program.graph();
    let live = graph.live();
    let mut shown = vec![false; graph.len()];
    for (id, node) in graph.nodes() {
        // Whether what a forward shows at a hook tells of its writes; everything else that takes a forward may.
        let hook = match &node.op {
            Op::Read { hook } if live[id.index()] => Some(hook),
            Op::Read { .. } | Op::Write { .. } => continue,
            _ => None,
        };
        for &operand in &node.operands {
            let Type::Forward(ty) = program.ty(operand) else { continue };
            let spec = &program.models()[&ty.model];
            let read = hook.and_then(|hook| spec.find_hook(hook));
            let mut forward = operand;
            while let Op::Write { hook } = &graph.node(forward).op {
                let tells = match (read, spec.find_hook(hook)) {
                    (Some(read), Some(written)) => read == written || spec.reaches(written, read),
                    _ => true,
                };
                shown[forward.index()] |= tells;
                forward = graph.node(forward).operands[0];
            }
        }
    }
    for effect in &graph.effects {
        effect.uses().for_each(|used| shown[used.index()] = true);
    }
    let unread = graph.nodes().filter(|(id, node)| matches!(node.op, Op::Write { .. }) && !shown[id.index()]);
    let tell = |(id, node): (NodeId, &irc_ir::graph::Node)| {
        let Op::Write { hook } = &node.op else { return None };
        let error = warning(Code::W0001, format!("nothing that is saved or logged depends on this write to `{hook}`"));
        Some(error.label(graph.span(id).clone(), "").help("read the written forward, at this hook or one that it reaches, or leave it out"))
    };
    unread.filter_map(tell).collect()
}

/// W0002.
fn constant_saves(program: &Verified) -> Vec<Diagnostic> {
    let graph = program.graph();
    // A program without forwards is arithmetic, and meant so.
    if !graph.nodes().any(|(_, node)| matches!(node.op, Op::Forward { .. })) {
        return vec![];
    }
    let mut constant = vec![false; graph.len()];
    for (id, node) in graph.nodes() {
        let own = matches!(node.op, Op::Const { .. });
        // An operation of the program that can differ from run to run, or is somewhere else, is none.
        let computes =
            !matches!(node.op, Op::Forward { .. } | Op::Call { .. } | Op::Loop { .. } | Op::EffectResult { .. } | Op::Param { .. })
                && !node.operands.is_empty();
        constant[id.index()] = own || computes && node.operands.iter().all(|operand| constant[operand.index()]);
    }
    let saves = graph.effects.iter().filter_map(|effect| match &effect.kind {
        EffectKind::Save { name } if constant[effect.operands[0].index()] => Some((effect, name)),
        _ => None,
    });
    let tell = |(effect, name): (&irc_ir::graph::Effect, &irc_ir::types::Name)| {
        let error = warning(Code::W0002, format!("what is saved as \"{name}\" is constant: no forward has a part in it"));
        error.label(effect.span.clone(), "").help("save what was read of a forward")
    };
    saves.map(tell).collect()
}

/// W0003.
fn equal_comparisons(program: &Verified) -> Vec<Diagnostic> {
    let graph = program.graph();
    let live = graph.live();
    let whole = |(id, node): (NodeId, &irc_ir::graph::Node)| !live[id.index()] || !matches!(node.op, Op::Extend {} | Op::Loop { .. });
    if !graph.nodes().all(whole) {
        return vec![];
    }
    let values = number(program, &live, true);
    let mut of_forward = vec![false; graph.len()];
    let mut found = vec![];
    for (id, node) in graph.nodes() {
        of_forward[id.index()] =
            matches!(node.op, Op::Read { .. } | Op::Apply { .. }) || node.operands.iter().any(|operand| of_forward[operand.index()]);
        let compares = matches!(node.op, Op::Sub {} | Op::Eq {} | Op::Ne {} | Op::KlDiv { .. } | Op::CosineSimilarity { .. });
        if let ([a, b, ..], true) = (&node.operands[..], compares && live[id.index()])
            && of_forward[a.index()]
            && values.of[a.index()] == values.of[b.index()]
        {
            let error = warning(
                Code::W0003,
                format!("`{}` compares a value with itself: both sides are the same in every run", node.op.kind().name()),
            );
            found.push(
                error
                    .label(graph.span(id).clone(), "")
                    .note("both forwards have the same tokens, and no write that one has and the other lacks shows here")
                    .help("compare with a forward of other tokens or other writes"),
            );
        }
    }
    found
}

/// The sides on which rows of one length are filled up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Left,
    Right,
}

/// W0004.
fn padded_positions(program: &Verified) -> Vec<Diagnostic> {
    let graph = program.graph();
    let mut found = vec![];
    for (id, node) in graph.nodes() {
        let (dim, position) = match &node.op {
            Op::Index { dim, index } => (*dim, Some(*index)),
            Op::Slice { dim, start, end, .. } | Op::Update { dim, start, end, .. } => (*dim, place(*start, *end)),
            _ => continue,
        };
        let (Some(position), [value, ..]) = (position, &node.operands[..]) else { continue };
        let Op::Read { .. } = graph.node(*value).op else { continue };
        let rank = program.ty(*value).as_tensor().map_or(0, |ty| ty.rank()) as i64;
        if dim.rem_euclid(rank.max(1)) != 1 || rank < 3 {
            continue;
        }
        let Some((padding, token)) = padding(graph, graph.node(*value).operands[0]) else { continue };
        let (side, wrong) = match padding {
            Padding::Left => ("begin", position >= 0),
            Padding::Right => ("end", position < 0),
        };
        if wrong {
            let message = format!("position {position} is not the same token of every row: some rows {side} with padding (token {token})");
            found.push(
                warning(Code::W0004, message)
                    .label(graph.span(id).clone(), "")
                    .note("models see padding as tokens: it moves others to other positions and changes what is computed")
                    .help("give each prompt a forward of its own length; they travel together all the same"),
            );
        }
    }
    found
}

/// A fixed position that a range is about: not where it begins at the first and is open, or the reverse.
fn place(start: Option<i64>, end: Option<i64>) -> Option<i64> {
    match (start, end) {
        (None | Some(0), None) => None,
        (Some(start), _) => Some(start),
        (None, Some(end)) => Some(if end > 0 { end - 1 } else { end }),
    }
}

/// How the tokens of a forward are padded, and with which token. Rows are where some begin, or end, with a token at least twice
/// that others do not have there at all.
fn padding(graph: &Graph, mut forward: NodeId) -> Option<(Padding, i64)> {
    while let Op::Write { .. } = graph.node(forward).op {
        forward = graph.node(forward).operands[0];
    }
    let Op::Forward { .. } = graph.node(forward).op else { return None };
    let Op::Const { value: Literal::Tensor(tokens) } = &graph.node(graph.node(forward).operands[0]).op else { return None };
    let tokens = tokens.to_tensor();
    let [batch, length] = tokens.shape() else { return None };
    if *batch < 2 || *length < 2 {
        return None;
    }
    let rows: Vec<&[i64]> = tokens.values::<i64>()?.chunks_exact(*length).collect();
    let on = |padding: Padding| {
        let at = |row: &[i64], place: usize| match padding {
            Padding::Left => row[place],
            Padding::Right => row[row.len() - 1 - place],
        };
        let doubled: BTreeSet<i64> = rows.iter().filter(|row| at(row, 0) == at(row, 1)).map(|row| at(row, 0)).collect();
        let token = doubled.into_iter().find(|token| rows.iter().any(|row| !row.contains(token)))?;
        Some((padding, token))
    };
    on(Padding::Left).or_else(|| on(Padding::Right))
}
