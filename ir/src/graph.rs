//! Programs and models as graphs: an append-only arena of nodes in topological order, spans beside the nodes, and the
//! ordered list of effects.

use std::fmt;

use smallvec::SmallVec;

use crate::{
    diagnostic::Span,
    op::Op,
    types::{Name, Type},
};

/// A node of a graph. An operand has a lower id than its user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The node with this index.
    pub fn new(index: usize) -> NodeId {
        NodeId(u32::try_from(index).expect("graphs have fewer than 2^32 nodes: the parser and the recorder see to it"))
    }

    /// The index of the node.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "%{}", self.0)
    }
}

/// The operands of a node.
pub type Operands = SmallVec<[NodeId; 3]>;

/// An operation on operands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node {
    /// The operation with its attributes.
    pub op: Op,
    /// What it works on.
    pub operands: Operands,
}

/// A model that a program uses.
#[derive(Clone, Debug)]
pub struct ModelDecl {
    /// The program's name for it.
    pub name: Name,
    /// What the frontend finds it by: a name or a path.
    pub reference: Name,
    /// Where it is declared.
    pub span: Span,
}

/// What an effect does with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EffectKind {
    /// Returns the value to the user under a name.
    Save {
        /// The name; each is used once.
        name: Name,
    },
    /// Shows the value to the user while the program runs.
    Log {
        /// Said before the value.
        label: Option<Name>,
    },
}

/// An entry of the ordered list of effects.
#[derive(Clone, Debug)]
pub struct Effect {
    /// What is done.
    pub kind: EffectKind,
    /// With what.
    pub value: NodeId,
    /// Where the user asked for it.
    pub span: Span,
}

/// A program, or the inside of a model.
///
/// Equality is of structure: name, models, nodes and effects; spans, value names and written types do not count.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The name of the program.
    pub name: Name,
    /// The models that it uses.
    pub models: Vec<ModelDecl>,
    /// The effects, in their order.
    pub effects: Vec<Effect>,
    nodes: Vec<Node>,
    spans: Vec<Span>,
    labels: Vec<Option<Name>>,
    written_types: Vec<(NodeId, Type, Span)>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<Name>) -> Graph {
        Graph { name: name.into(), models: vec![], effects: vec![], nodes: vec![], spans: vec![], labels: vec![], written_types: vec![] }
    }

    /// Appends a node.
    ///
    /// # Panics
    /// If an operand is not in the graph yet.
    pub fn add(&mut self, op: Op, operands: impl IntoIterator<Item = NodeId>, span: Span) -> NodeId {
        let operands: Operands = operands.into_iter().collect();
        assert!(operands.iter().all(|operand| operand.index() < self.nodes.len()), "an operand comes before its user");
        self.nodes.push(Node { op, operands });
        self.spans.push(span);
        self.labels.push(None);
        NodeId::new(self.nodes.len() - 1)
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The nodes with their ids, operands before users.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId::new(index), node))
    }

    /// Replaces the operation of a node, as the frontend does when it turns a prompt into token ids.
    pub fn set_op(&mut self, id: NodeId, op: Op) {
        self.nodes[id.index()].op = op;
    }

    /// Where the user asked for a node.
    pub fn span(&self, id: NodeId) -> &Span {
        &self.spans[id.index()]
    }

    /// The name that the user gave to a value, without `%`.
    pub fn label(&self, id: NodeId) -> Option<&Name> {
        self.labels[id.index()].as_ref()
    }

    /// Gives a value a name.
    pub fn set_label(&mut self, id: NodeId, label: impl Into<Name>) {
        self.labels[id.index()] = Some(label.into());
    }

    /// The types that the program's text claims for values; the verifier checks them.
    pub fn written_types(&self) -> &[(NodeId, Type, Span)] {
        &self.written_types
    }

    /// Claims a type for a value.
    pub fn write_type(&mut self, id: NodeId, ty: Type, span: Span) {
        self.written_types.push((id, ty, span));
    }

    /// How often each value is used, by nodes and effects.
    pub fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0; self.len()];
        let operands = self.nodes.iter().flat_map(|node| node.operands.iter().copied());
        operands.chain(self.effects.iter().map(|effect| effect.value)).for_each(|id| uses[id.index()] += 1);
        uses
    }

    /// Which values something in the effect list depends on.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.len()];
        self.effects.iter().for_each(|effect| live[effect.value.index()] = true);
        for (id, node) in self.nodes().rev() {
            if live[id.index()] {
                node.operands.iter().for_each(|operand| live[operand.index()] = true);
            }
        }
        live
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        let models = |graph: &Graph| graph.models.iter().map(|m| (m.name.clone(), m.reference.clone())).collect::<Vec<_>>();
        let effects = |graph: &Graph| graph.effects.iter().map(|e| (e.kind.clone(), e.value)).collect::<Vec<_>>();
        self.name == other.name && self.nodes == other.nodes && models(self) == models(other) && effects(self) == effects(other)
    }
}
