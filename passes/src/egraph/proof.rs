//! Proofs: which rules lead from one form of a value to another.

use std::{collections::HashSet, rc::Rc};

use egg::{Id, Language, Symbol, TreeExplanation, TreeTerm};
use irc_ir::{diagnostic::Span, graph::Graph, text};

use super::{facts::Values, language::ENode};
use crate::rule::Proof;

/// Terms that are nested deeper than this are not explained: egg goes through them by recursion.
const DEEPEST: usize = 400;

/// How deep terms are written out in a step.
const SHOWN: usize = 3;

/// One application of a rule.
pub(super) struct Step {
    /// The rule's name.
    pub(super) rule: Symbol,
    /// What it was applied to, and what it made of that, in the direction of the proof.
    sides: [Rc<TreeTerm<ENode>>; 2],
    /// Whether the rule leads from the second side to the first.
    backwards: bool,
}

/// The steps from one node to another one of its class; nothing, where terms are too deep.
pub(super) fn steps(egraph: &mut Values<'_>, from: Id, to: Id) -> Option<Vec<Step>> {
    let mut depths: Vec<usize> = Vec::with_capacity(egraph.nodes().len());
    for node in egraph.nodes() {
        // Operands were added before their users.
        depths.push(node.fold(0, |depth, operand| depth.max(depths[usize::from(operand)] + 1)));
    }
    if depths.iter().any(|depth| *depth > DEEPEST) {
        return None;
    }
    let explanation = egraph.explain_id_equivalence(from, to);
    let mut steps = vec![];
    let mut seen = HashSet::new();
    // Parts of the proof, each with the place in it where it goes on.
    let mut open: Vec<(&TreeExplanation<ENode>, usize)> = vec![(&explanation.explanation_trees, 1)];
    while let Some((terms, at)) = open.pop() {
        let Some(term) = terms.get(at) else { continue };
        open.push((terms, at + 1));
        if !seen.insert(Rc::as_ptr(term)) {
            continue;
        }
        let rule =
            |rule: Option<Symbol>, backwards: bool| rule.map(|rule| Step { rule, sides: [terms[at - 1].clone(), term.clone()], backwards });
        match rule(term.forward_rule, false).or_else(|| rule(term.backward_rule, true)) {
            Some(step) => steps.push(step),
            None => open.extend(term.child_proofs.iter().rev().map(|proof| (proof, 1))),
        }
    }
    Some(steps)
}

/// The steps in the words of a program.
pub(super) fn written(egraph: &Values<'_>, graph: &Graph, span: &Span, steps: &[Step]) -> Proof {
    let line = |step: &Step| {
        // The first side is what the last step left.
        let [before, after] = [term(egraph, graph, &step.sides[0], true, SHOWN), term(egraph, graph, &step.sides[1], false, SHOWN)];
        let sign = if step.backwards { "<=" } else { "=>" };
        format!("{before} {sign} {after}   {}", step.rule)
    };
    Proof { span: span.clone(), steps: steps.iter().map(line).collect() }
}

/// A term as it is before or after its own proof, so many operations deep.
fn term(egraph: &Values<'_>, graph: &Graph, tree: &TreeTerm<ENode>, after: bool, depth: usize) -> String {
    match &tree.node {
        ENode::Leaf(id) => graph.label(*id).map_or_else(|| format!("%{}", id.index()), |label| format!("%{label}")),
        ENode::Op { .. } if depth == 0 => "…".to_owned(),
        ENode::Op { op, .. } => {
            let part = |proof: &TreeExplanation<ENode>| {
                let tree = if after { proof.last() } else { proof.first() };
                tree.map_or_else(String::new, |tree| term(egraph, graph, tree, after, depth - 1))
            };
            text::print_op(egraph.analysis.op(*op), &tree.child_proofs.iter().map(part).collect::<Vec<_>>())
        }
    }
}
