//! The parts of a program that get an e-graph each: an operation with all that only it needs.
//!
//! A cone ends at values that something else needs, too, and at those that are not looked into: forwards, reads, loops, results
//! of calls. So each value belongs to one cone, and all e-graphs together are as large as the program.

use irc_ir::{
    attr::Literal,
    graph::{Graph, NodeId},
    op::Op,
};

use super::cost::{Work, work};

/// Constants with more bytes than this are values from outside: rules have no use for them, and comparing them takes long.
const LARGEST_CONSTANT: usize = 1 << 9;

/// The cones of a graph.
pub(super) struct Cones {
    /// The root of the cone that a node belongs to; nothing for what is dead or not looked into.
    root: Vec<Option<NodeId>>,
    /// The nodes of each cone by its root, operands before users, the root last.
    nodes: Vec<Vec<NodeId>>,
    /// How many values are roots only because their cones would have been too large.
    pub(super) cut: usize,
}

/// Whether an operation is a small constant. Those belong to no cone: each that uses one has it.
pub(super) fn is_constant(op: &Op) -> bool {
    matches!(op, Op::Const { value: Literal::Tensor(tensor) } if tensor.bytes().len() <= LARGEST_CONSTANT)
}

impl Cones {
    /// The cones of a graph, of at most `largest` nodes.
    pub(super) fn new(graph: &Graph, largest: usize) -> Cones {
        /// Who needs a value.
        #[derive(Clone, Copy, PartialEq)]
        enum User {
            Nobody,
            /// One cone.
            Cone(NodeId),
            /// Several, or something that is no cone.
            Others,
        }
        let mut users = vec![User::Nobody; graph.len()];
        let mut sizes = vec![0usize; graph.len()];
        let mut cones = Cones { root: vec![None; graph.len()], nodes: vec![vec![]; graph.len()], cut: 0 };
        graph.roots().for_each(|root| users[root.index()] = User::Others);
        for (id, node) in graph.nodes().rev() {
            let user = match users[id.index()] {
                User::Nobody => continue,
                _ if work(node.op.kind()) == Work::Outside || matches!(node.op, Op::Const { .. }) => {
                    // What it needs is needed outside of all cones.
                    node.operands.iter().for_each(|operand| users[operand.index()] = User::Others);
                    continue;
                }
                User::Cone(root) if sizes[root.index()] < largest => root,
                User::Cone(_) => {
                    cones.cut += 1;
                    id
                }
                User::Others => id,
            };
            sizes[user.index()] += 1;
            cones.root[id.index()] = Some(user);
            for operand in &node.operands {
                let users = &mut users[operand.index()];
                *users = match *users {
                    User::Nobody => User::Cone(user),
                    User::Cone(other) if other == user => User::Cone(user),
                    User::Cone(_) | User::Others => User::Others,
                };
            }
        }
        for (id, _) in graph.nodes() {
            if let Some(root) = cones.root[id.index()] {
                cones.nodes[root.index()].push(id);
            }
        }
        cones
    }

    /// The root of the cone that a value belongs to.
    pub(super) fn root(&self, id: NodeId) -> Option<NodeId> {
        self.root[id.index()]
    }

    /// The nodes of a cone by its root, operands before users, the root last; none for other values.
    pub(super) fn nodes(&self, root: NodeId) -> &[NodeId] {
        &self.nodes[root.index()]
    }
}
