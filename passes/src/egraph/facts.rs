//! What is known of the values of a class: their type, and the literal that they are. Both hold for every node of the class,
//! wherever it is computed.

use std::hash::Hash;

use hashbrown::HashMap;

use egg::{Analysis, DidMerge, EGraph, Id};
use irc_ir::{
    graph::NodeId,
    infer::{Models, infer},
    op::{Op, OpKind},
    types::Type,
};

use super::language::{ENode, Operands};

/// The number of an operation with its attributes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct OpId(u32);

/// The number of a type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct TypeId(u32);

/// What is known of a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fact {
    /// The type of its values.
    pub(super) ty: TypeId,
    /// The constant that it is.
    pub(super) known: Option<OpId>,
}

/// Things under numbers: equal ones have the same.
#[derive(Debug)]
struct Numbered<T> {
    all: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered { all: vec![], numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn number(&mut self, thing: &T) -> u32 {
        if let Some(number) = self.numbers.get(thing) {
            return *number;
        }
        let number = self.all.len() as u32;
        self.all.push(thing.clone());
        self.numbers.insert(thing.clone(), number);
        number
    }
}

/// An e-graph of values.
pub(super) type Values<'p> = EGraph<ENode, Facts<'p>>;

/// The operations and types of an e-graph.
#[derive(Debug)]
pub(super) struct Facts<'p> {
    models: &'p Models,
    ops: Numbered<Op>,
    types: Numbered<Type>,
    /// The type of the node that is about to be added.
    next: TypeId,
    /// Classes that got nodes since somebody last asked, new ones among them.
    changed: Vec<Id>,
}

impl<'p> Facts<'p> {
    /// Of an empty e-graph.
    pub(super) fn new(models: &'p Models) -> Facts<'p> {
        let mut types = Numbered::default();
        let next = TypeId(types.number(&Type::Opaque));
        Facts { models, ops: Numbered::default(), types, next, changed: vec![] }
    }

    /// Whether no class got nodes since [`take_changed`].
    pub(super) fn unchanged(&self) -> bool {
        self.changed.is_empty()
    }

    /// An operation.
    pub(super) fn op(&self, id: OpId) -> &Op {
        &self.ops.all[id.0 as usize]
    }

    /// A type.
    pub(super) fn ty(&self, id: TypeId) -> &Type {
        &self.types.all[id.0 as usize]
    }
}

/// Adds a value from outside.
pub(super) fn add_leaf(egraph: &mut Values<'_>, leaf: NodeId, ty: &Type) -> Id {
    egraph.analysis.next = TypeId(egraph.analysis.types.number(ty));
    egraph.add_uncanonical(ENode::Leaf(leaf))
}

/// Adds an operation whose type is known to be `ty`. The id stands for this very node, not for its class.
pub(super) fn add_typed(egraph: &mut Values<'_>, op: &Op, operands: Operands, ty: &Type) -> Id {
    let facts = &mut egraph.analysis;
    facts.next = TypeId(facts.types.number(ty));
    let node = ENode::Op { kind: op.kind(), op: OpId(facts.ops.number(op)), operands };
    egraph.add_uncanonical(node)
}

/// Adds an operation, unless it does not fit its operands.
pub(super) fn add(egraph: &mut Values<'_>, op: &Op, operands: Operands) -> Option<Id> {
    let facts = &egraph.analysis;
    let types: Vec<&Type> = operands.iter().map(|operand| type_of(egraph, *operand)).collect();
    let ty = infer(op, &types, facts.models).ok()?;
    Some(add_typed(egraph, op, operands, &ty))
}

/// The classes that got nodes since this was last asked, and those that have operations on them; in order.
pub(super) fn take_changed(egraph: &mut Values<'_>) -> Vec<Id> {
    let changed = std::mem::take(&mut egraph.analysis.changed);
    let mut classes = vec![];
    for id in changed {
        let class = egraph.find(id);
        classes.push(class);
        classes.extend(egraph[class].parents().map(|user| egraph.find(user)));
    }
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// The type of a class.
pub(super) fn type_of<'e>(egraph: &'e Values<'_>, class: Id) -> &'e Type {
    egraph.analysis.ty(egraph[class].data.ty)
}

impl Analysis<ENode> for Facts<'_> {
    type Data = Fact;

    fn make(egraph: &mut Values<'_>, node: &ENode, _: Id) -> Fact {
        let known = match node {
            ENode::Op { kind: OpKind::Const, op, .. } => Some(*op),
            ENode::Op { .. } | ENode::Leaf(_) => None,
        };
        Fact { ty: egraph.analysis.next, known }
    }

    /// What is known of a node does not change.
    fn remake(egraph: &mut Values<'_>, _: &ENode, id: Id) -> Fact {
        egraph[id].data
    }

    /// Called for each class that is new or has been united.
    fn modify(egraph: &mut Values<'_>, id: Id) {
        egraph.analysis.changed.push(id);
    }

    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        debug_assert_eq!(self.ty(a.ty), self.ty(b.ty), "a rule made values of different types equal");
        debug_assert!(a.known.is_none() || b.known.is_none() || a.known == b.known, "a rule made different constants equal");
        let known = a.known.or(b.known);
        let changed = DidMerge(a.known != known, b.known != known);
        a.known = known;
        changed
    }
}
