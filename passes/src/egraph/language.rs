//! What stands in an e-graph: operations on classes, and values from outside.
//!
//! A node of an e-graph never mentions an operation by name. It holds the operation with its attributes as a number, under
//! which [`Facts`](super::facts::Facts) keep it: what stands in an e-graph stands there three times, so it is small.

use egg::{Id, Language};
use irc_ir::{graph::NodeId, op::OpKind};
use smallvec::SmallVec;

use super::facts::OpId;

/// The classes that an operation works on.
pub(super) type Operands = SmallVec<[Id; 3]>;

/// A node of an e-graph.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum ENode {
    /// A value that is not looked into: a read, the result of a loop or of a call, what other parts of the program use, too.
    Leaf(NodeId),
    /// An operation with its attributes. `kind` comes first: nodes of one kind stand together, as egg's search needs it.
    Op { kind: OpKind, op: OpId, operands: Operands },
}

impl ENode {
    /// The kind of the operation; nothing for leaves.
    pub(super) const fn kind(&self) -> Option<OpKind> {
        match self {
            ENode::Leaf(_) => None,
            ENode::Op { kind, .. } => Some(*kind),
        }
    }
}

impl Language for ENode {
    type Discriminant = Option<OpKind>;

    fn discriminant(&self) -> Option<OpKind> {
        self.kind()
    }

    fn matches(&self, other: &ENode) -> bool {
        match (self, other) {
            (ENode::Leaf(a), ENode::Leaf(b)) => a == b,
            (ENode::Op { op: a, operands: x, .. }, ENode::Op { op: b, operands: y, .. }) => a == b && x.len() == y.len(),
            (ENode::Leaf(_), ENode::Op { .. }) | (ENode::Op { .. }, ENode::Leaf(_)) => false,
        }
    }

    fn children(&self) -> &[Id] {
        match self {
            ENode::Leaf(_) => &[],
            ENode::Op { operands, .. } => operands,
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            ENode::Leaf(_) => &mut [],
            ENode::Op { operands, .. } => operands,
        }
    }
}
