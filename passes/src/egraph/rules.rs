//! The rules of the e-graph: equations of which neither side is always the better one.
//!
//! To add one, write an [`Entry`] into a table below, with a witness in which the new form is the cheaper one: the test of
//! all rules applies it there, alone, and compares what comes out bit by bit.

mod moves;
mod parts;
mod products;
mod roundings;

use std::sync::LazyLock;

use egg::Id;
use irc_ir::{
    attr::Literal,
    infer::normalise_axis,
    op::Op,
    tensor::Tensor,
    types::{TensorType, Type},
};

use super::{
    facts::{Values, add, type_of},
    pattern::{Match, Pattern},
};
use crate::rule::{Numerics, Pass, Rule};

/// What a rule makes of what it found.
enum Right {
    /// This.
    Text(&'static str),
    /// This, where something more holds.
    If(&'static str, fn(&Site<'_, '_>) -> bool),
    /// What this makes, if anything.
    Make(fn(&mut Site<'_, '_>) -> Option<Id>),
}

/// A rule with its code.
pub(super) struct Entry {
    pub(super) rule: Rule,
    /// What it looks for.
    left: &'static str,
    right: Right,
    /// Whether the user is told where it would have saved much but is not allowed.
    pub(super) important: bool,
}

const fn exact(name: &'static str, law: &'static str, left: &'static str, right: Right, witness: &'static str) -> Entry {
    Entry { rule: Rule { name, numerics: Numerics::Exact, pass: Pass::EGraph, law, witness }, left, right, important: false }
}

const fn rounding(name: &'static str, law: &'static str, left: &'static str, right: Right, witness: &'static str) -> Entry {
    Entry { rule: Rule { name, numerics: Numerics::Rounding, pass: Pass::EGraph, law, witness }, left, right, important: false }
}

impl Entry {
    const fn important(self) -> Entry {
        Entry { important: true, ..self }
    }
}

/// All tables, in the order in which rules are tried.
const TABLES: [&[Entry]; 4] = [&moves::RULES, &parts::RULES, &products::RULES, &roundings::RULES];

/// A rule that is ready to be applied.
pub(super) struct Ready {
    pub(super) entry: &'static Entry,
    pub(super) left: Pattern,
    right: Option<Pattern>,
}

/// All rules, ready.
pub(super) fn all() -> &'static [Ready] {
    static ALL: LazyLock<Vec<Ready>> = LazyLock::new(|| {
        let ready = |entry: &'static Entry| {
            let left = Pattern::new(entry.left);
            let right = match &entry.right {
                Right::Text(text) | Right::If(text, _) => Some(left.other_side(text)),
                Right::Make(_) => None,
            };
            Ready { entry, left, right }
        };
        TABLES.into_iter().flatten().map(ready).collect()
    });
    &ALL
}

/// The rules, for those who list, disable or test them.
pub(super) fn headers() -> impl Iterator<Item = &'static Rule> {
    TABLES.into_iter().flatten().map(|entry| &entry.rule)
}

impl Ready {
    /// What the rule makes of a match: a value of the same type, which is not in its class yet. Nothing, if it does not apply.
    pub(super) fn make(&self, egraph: &mut Values<'_>, found: &Match) -> Option<Id> {
        let mut site = Site { egraph, found };
        let made = match &self.entry.right {
            Right::If(_, holds) if !holds(&site) => return None,
            Right::Text(_) | Right::If(..) => self.right.as_ref()?.instantiate(site.egraph, found)?,
            Right::Make(make) => make(&mut site)?,
        };
        // An equation of values of different types is none: two values of rank 0 are promoted otherwise than two of rank 1.
        (type_of(egraph, made) == type_of(egraph, found.class)).then_some(made)
    }
}

/// Where a rule found what it looks for.
struct Site<'e, 'p> {
    egraph: &'e mut Values<'p>,
    found: &'e Match,
}

impl Site<'_, '_> {
    /// The variable at a place in the order of the pattern.
    fn var(&self, at: usize) -> Id {
        self.found.vars[at]
    }

    /// The operation at a place in the order of the pattern.
    fn op(&self, at: usize) -> Op {
        self.egraph.analysis.op(self.found.ops[at]).clone()
    }

    fn ty(&self, value: Id) -> &Type {
        type_of(self.egraph, value)
    }

    fn tensor(&self, value: Id) -> Option<&TensorType> {
        self.ty(value).as_tensor()
    }

    fn rank(&self, value: Id) -> Option<usize> {
        self.tensor(value).map(TensorType::rank)
    }

    /// The type of what was found.
    fn result(&self) -> Option<&TensorType> {
        self.tensor(self.found.class)
    }

    /// Whether these are tensors of one element type.
    fn same_dtype(&self, values: &[Id]) -> bool {
        let mut dtypes = values.iter().map(|value| self.tensor(*value).map(|ty| ty.dtype));
        let first = dtypes.next().flatten();
        first.is_some() && dtypes.all(|dtype| dtype == first)
    }

    /// Whether all of these have dimensions: others count less where element types are promoted.
    fn have_dims(&self, values: &[Id]) -> bool {
        values.iter().all(|value| self.rank(*value).is_some_and(|rank| rank > 0))
    }

    /// A dimension of a value, counted from the first.
    fn axis(&self, value: Id, dim: i64) -> Option<usize> {
        normalise_axis(dim, self.rank(value)?)
    }

    /// The size of a dimension, where it is a number.
    fn size(&self, value: Id, axis: usize) -> Option<i64> {
        self.tensor(value)?.shape.get(axis)?.as_known()
    }

    /// The constant that a value is.
    fn known(&self, value: Id) -> Option<Tensor> {
        match self.egraph.analysis.op(self.egraph[value].data.known?) {
            Op::Const { value: Literal::Tensor(literal) } => Some(literal.to_tensor()),
            _ => None,
        }
    }

    fn add(&mut self, op: Op, operands: impl IntoIterator<Item = Id>) -> Option<Id> {
        add(self.egraph, &op, operands.into_iter().collect())
    }
}
