//! The canonical form: what is strictly better fires as soon as a node is built, and equal values are one node.
//!
//! The rules stand in tables, one a subject, each with its law and a program to which it applies. A rule is a function of one
//! operation on operands that are built already ([`Builder`]); it is tried where the root of its left side is built, and what it
//! gives is better in every program: fewer operations, smaller tensors, or the same value under one name. What is better only
//! sometimes is for the e-graph.
//!
//! Bits are kept: -0, infinities, and what is not a number. x + 0 is not x where x is -0, and the argmax of a softmax is not that
//! of its operand where rounding makes a tie.

use std::sync::LazyLock;

use irc_ir::{
    graph::{Body, Effect, EffectKind, Graph, NodeId, Operands},
    infer::Models,
    op::{Op, OpKind},
    types::Type,
    verify::{LoopId, Types, Verified},
};

use crate::{
    builder::{Builder, Rewrite, Site, without_dead_code},
    rule::{Numerics, Pass, Rewriting, Rule},
};

mod choices;
mod extremes;
mod forwards;
mod joins;
mod layouts;
mod loops;
mod numbers;
mod parts;
mod tuples;

pub(crate) use parts::Steps;

/// What a rule does at an operation.
pub(crate) type Apply = fn(&mut Builder<'_, '_>, &Site<'_>) -> Option<Rewrite>;

/// A rule with its code.
pub(crate) struct Entry {
    pub(crate) rule: Rule,
    /// The operations at which it is tried.
    pub(crate) roots: &'static [OpKind],
    pub(crate) apply: Apply,
}

impl Entry {
    const fn exact(name: &'static str, law: &'static str, roots: &'static [OpKind], apply: Apply, witness: &'static str) -> Entry {
        Entry { rule: Rule { name, numerics: Numerics::Exact, pass: Pass::Canonical, law, witness }, roots, apply }
    }

    const fn rounding(name: &'static str, law: &'static str, roots: &'static [OpKind], apply: Apply, witness: &'static str) -> Entry {
        Entry { rule: Rule { name, numerics: Numerics::Rounding, pass: Pass::Canonical, law, witness }, roots, apply }
    }
}

/// Where equal values become one; that is in the constructor itself.
pub(crate) static EQUAL_VALUES: Rule = Rule {
    name: "equal-values",
    numerics: Numerics::Exact,
    pass: Pass::Canonical,
    law: "equal operations on equal operands are one value",
    witness: r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<4x6xf32>}
      save add(neg(%x), exp(neg(%x))) as "y"
    }"#,
};

/// All tables of this pass.
static TABLES: [&[Entry]; 8] =
    [forwards::RULES, parts::RULES, layouts::RULES, joins::RULES, tuples::RULES, numbers::RULES, choices::RULES, extremes::RULES];

/// The rules of this pass.
pub(crate) fn rules() -> impl Iterator<Item = &'static Rule> {
    [&EQUAL_VALUES].into_iter().chain(loops::RULES).chain(TABLES.into_iter().flatten().map(|entry| &entry.rule))
}

/// The rules by the operation at which they are tried.
pub(crate) fn entries() -> &'static [Vec<&'static Entry>] {
    static BY_ROOT: LazyLock<Vec<Vec<&'static Entry>>> = LazyLock::new(|| {
        let mut by_root = vec![vec![]; OpKind::ALL.len()];
        for entry in TABLES.into_iter().flatten() {
            entry.roots.iter().for_each(|root| by_root[*root as usize].push(entry));
        }
        by_root
    });
    &BY_ROOT
}

/// The program in its canonical form, without what nothing asks for.
pub(crate) fn run(program: &Verified, work: &mut Rewriting<'_>) -> Graph {
    scope(program.graph(), program.types(), program.models(), work).0
}

/// The canonical form of a program or of the body of a loop, with the types of its values.
fn scope(graph: &Graph, types: &Types, models: &Models, work: &mut Rewriting<'_>) -> (Graph, Vec<Type>) {
    let builder = Builder::new(graph, models, work);
    let mut scope = Scope { graph, types, builder, moved: vec![None; graph.len()], effects: vec![] };
    let tokens = token_ids(graph);
    let live = graph.live();
    for (id, node) in graph.nodes() {
        let param = matches!(node.op, Op::Param { .. });
        if !live[id.index()] && !param {
            continue;
        }
        scope.builder.at(graph.span(id));
        let ty = types.nodes[id.index()].clone();
        let place = match &node.op {
            Op::Loop { trip, body } => {
                let operands = scope.moved_all(&node.operands);
                let (body, operands) = scope.a_loop(LoopId::Node(id), *trip, body, operands);
                scope.builder.at(graph.span(id));
                scope.builder.add(Op::Loop { trip: *trip, body }, operands, ty)
            }
            Op::EffectResult { entry } => {
                // What its effect needs comes before it.
                scope.effects_up_to(usize::try_from(*entry).map_or(0, |entry| entry + 1));
                scope.builder.at(graph.span(id));
                scope.builder.add(node.op.clone(), Operands::new(), ty)
            }
            op => scope.builder.add_with(op.clone(), scope.moved_all(&node.operands), ty, !tokens[id.index()]),
        };
        scope.builder.label(place, graph.label(id));
        scope.moved[id.index()] = Some(place);
    }
    scope.effects_up_to(graph.effects.len());
    let results = scope.moved_all(&graph.results).to_vec();
    let until = graph.until.map(|until| scope.moved(until));
    let effects = std::mem::take(&mut scope.effects);
    let new = scope.builder.graph_mut();
    (new.effects, new.results, new.until) = (effects, results, until);
    let (graph, types) = scope.builder.finish();
    without_dead_code(graph, types)
}

/// Which values are the token ids of forwards.
fn token_ids(graph: &Graph) -> Vec<bool> {
    let mut tokens = vec![false; graph.len()];
    for (_, node) in graph.nodes() {
        if let (Op::Forward { .. } | Op::Extend {}, Some(last)) = (&node.op, node.operands.last()) {
            tokens[last.index()] = true;
        }
    }
    tokens
}

struct Scope<'g, 'a, 'o> {
    graph: &'g Graph,
    types: &'g Types,
    builder: Builder<'a, 'o>,
    /// Which new value stands for each old one.
    moved: Vec<Option<NodeId>>,
    effects: Vec<Effect>,
}

impl Scope<'_, '_, '_> {
    fn moved(&self, id: NodeId) -> NodeId {
        self.moved[id.index()].unwrap_or_else(|| unreachable!("operands come before their users, and what is used is live"))
    }

    fn moved_all(&self, ids: &[NodeId]) -> Operands {
        ids.iter().map(|id| self.moved(*id)).collect()
    }

    /// Builds what the effects before this one need.
    fn effects_up_to(&mut self, end: usize) {
        while self.effects.len() < end.min(self.graph.effects.len()) {
            let at = self.effects.len();
            let mut effect = self.graph.effects[at].map(|value| self.moved(value));
            if let EffectKind::Loop { trip, body } = &effect.kind {
                let trip = *trip;
                let (body, operands) = self.a_loop(LoopId::Effect(at), trip, &body.clone(), effect.operands.clone());
                effect.kind = EffectKind::Loop { trip, body };
                effect.operands = operands;
            }
            self.effects.push(effect);
        }
    }

    /// A loop with its body in canonical form, and what is the same in every iteration before it.
    fn a_loop(&mut self, at: LoopId, trip: i64, body: &Body, operands: Operands) -> (Body, Operands) {
        let Some(types) = self.types.bodies.get(&at) else { return (body.clone(), operands) };
        let (graph, types) = scope(body.graph(), types, self.builder.models, self.builder.work);
        loops::hoisted(&mut self.builder, trip, &graph, &types, operands)
    }
}
