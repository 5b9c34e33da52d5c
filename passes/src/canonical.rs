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
    graph::{Body, Graph, Operands},
    infer::Models,
    op::OpKind,
    types::Type,
    verify::{Types, Verified},
};

use crate::{
    builder::{Builder, Rewrite, Site},
    rule::{Numerics, Pass, Rewriting, Rule},
    scope::Scope,
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

pub(crate) use parts::{Steps, as_type};

/// What a rule does at an operation.
pub(crate) type Apply = fn(&mut Builder<'_, '_>, &Site<'_>) -> Option<Rewrite>;

/// A rule with its code.
pub(crate) struct Entry {
    pub(crate) rule: Rule,
    /// The operations at which it is tried.
    pub(crate) roots: &'static [OpKind],
    pub(crate) apply: Apply,
    /// Of a rule that rounds and is worth it: what may come out otherwise.
    pub(crate) why_rounding: Option<&'static str>,
}

impl Entry {
    const fn exact(name: &'static str, law: &'static str, roots: &'static [OpKind], apply: Apply, witness: &'static str) -> Entry {
        let rule = Rule { name, numerics: Numerics::Exact, pass: Pass::Canonical, law, witness };
        Entry { rule, roots, apply, why_rounding: None }
    }

    /// A rule that is applied only where the user allows roundings; where not, they are told why it was not.
    const fn rounding(self, why: &'static str) -> Entry {
        Entry { rule: Rule { numerics: Numerics::Rounding, ..self.rule }, why_rounding: Some(why), ..self }
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
    let mut scope = Scope::new(graph, types, Builder::new(graph, models, work), looped);
    for id in scope.wanted() {
        scope.builder.at(graph.span(id));
        let place = scope.build(id);
        scope.builder.label(place, graph.label(id));
        scope.moved[id.index()] = Some(place);
    }
    scope.finish()
}

/// A loop with its body in canonical form, and what is the same in every iteration before it.
fn looped(builder: &mut Builder<'_, '_>, trip: i64, body: &Body, types: &Types, operands: Operands) -> (Body, Operands) {
    let (graph, types) = scope(body.graph(), types, builder.models, builder.work);
    loops::hoisted(builder, trip, &graph, &types, operands)
}
