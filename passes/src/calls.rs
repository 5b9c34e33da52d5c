//! The calls of an engine that a position-wise stage takes: what is given and what is wanted, from what is known and what is
//! edited. The driver makes them, and [`cost`](crate::cost()) counts them before.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use irc_ir::{graph::NodeId, model::ModelSpec, op::Op};

/// Something to do for a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Move {
    /// Make the edit of a hook on the host, of a value that is known.
    Edit {
        /// The node of the hook; afterwards its value is known.
        hook: NodeId,
        /// The node whose value it is made of.
        of: NodeId,
    },
    /// Call the engine.
    Call(EngineCall),
}

/// A call of an engine, whatever the number of tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineCall {
    /// Sources that are given, each with the node whose known value it gets.
    pub given: BTreeMap<NodeId, NodeId>,
    /// Sources that are edited as soon as they are computed, each with the hook that does it.
    pub edited: BTreeMap<NodeId, NodeId>,
    /// What is wanted: sources, or the hooks that edit them. Afterwards it is known.
    pub want: BTreeSet<NodeId>,
}

/// The ranges of tokens that a flat batch is cut into: of equal size, give or take one, since a short last chunk would cost as
/// much as a long one. A `chunk` of 0 is no limit.
pub fn chunks(tokens: usize, chunk: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    let count = if chunk == 0 { 1 } else { tokens.div_ceil(chunk).max(1) };
    (0..count).map(move |at| tokens * at / count..tokens * (at + 1) / count)
}

/// How often a batch of `rows` is repeated, so that no matrix has fewer rows than the engine needs.
pub fn copies(rows: usize, min_rows: usize) -> usize {
    min_rows.saturating_sub(rows) + 1
}

/// What makes the wanted nodes of a stage known: nodes whose values are known, and hooks that are edited.
///
/// # Errors
/// A node that needs one value in two forms: no model has one ([`ModelSpec::source`]).
pub fn moves(spec: &ModelSpec, known: BTreeSet<NodeId>, edits: BTreeSet<NodeId>, want: &[NodeId]) -> Result<Vec<Move>, NodeId> {
    let mut search = Search { spec, known, edits, moves: vec![] };
    search.make(want)?;
    Ok(search.moves)
}

/// The node whose known value a node has: its own, or through hooks that nobody sets or edits that of what they are on.
pub fn nearest(
    spec: &ModelSpec,
    is_known: impl Fn(NodeId) -> bool,
    is_edited: impl Fn(NodeId) -> bool,
    mut node: NodeId,
) -> Option<NodeId> {
    loop {
        if is_known(node) {
            return Some(node);
        }
        match &spec.graph().node(node).op {
            Op::Hook { .. } if !is_edited(node) => node = spec.graph().node(node).operands[0],
            _ => return None,
        }
    }
}

/// The sources that an engine computes for a call, weights and constants aside; an engine that does not prune computes all
/// others of their stages, too.
pub fn computed(spec: &ModelSpec, call: &EngineCall) -> BTreeSet<NodeId> {
    let mut computed = BTreeSet::new();
    let mut stack: Vec<NodeId> = call.want.iter().map(|node| spec.source(*node)).collect();
    while let Some(source) = stack.pop() {
        let op = &spec.graph().node(source).op;
        let is_there = matches!(op, Op::Weight { .. } | Op::Const { .. } | Op::Input { .. }) || call.given.contains_key(&source);
        if !is_there && computed.insert(source) {
            stack.extend(spec.graph().node(source).operands.iter().map(|operand| spec.source(*operand)));
        }
    }
    computed
}

struct Search<'a> {
    spec: &'a ModelSpec,
    known: BTreeSet<NodeId>,
    edits: BTreeSet<NodeId>,
    moves: Vec<Move>,
}

/// What has to be given to an engine so that it can compute something.
enum Frontier {
    Clear(EngineCall),
    /// A value is needed both as it was and as it was set: what is computed between.
    Clash(BTreeSet<NodeId>),
}

impl Search<'_> {
    fn nearest(&self, node: NodeId) -> Option<NodeId> {
        nearest(self.spec, |node| self.known.contains(&node), |node| self.edits.contains(&node), node)
    }

    /// What has to be computed for a node: its source, or a hook between them that edits the source's value.
    fn target(&self, mut node: NodeId) -> NodeId {
        let source = self.spec.source(node);
        while node != source && !self.edits.contains(&node) {
            node = self.spec.graph().node(node).operands[0];
        }
        node
    }

    fn make(&mut self, want: &[NodeId]) -> Result<(), NodeId> {
        self.edit_known();
        let missing: BTreeSet<NodeId> = want.iter().filter(|node| self.nearest(**node).is_none()).map(|node| self.target(*node)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        match self.frontier(missing) {
            Frontier::Clear(call) => self.call(call),
            // Some hook was set that shares its source with a value that is needed as well. Operation by operation there
            // is no such clash, since no operation has two operands of one source.
            Frontier::Clash(computed) => {
                for node in computed {
                    if self.nearest(node).is_none() {
                        match self.frontier(BTreeSet::from([node])) {
                            Frontier::Clear(call) => self.call(EngineCall { edited: BTreeMap::new(), ..call }),
                            Frontier::Clash(_) => return Err(node),
                        }
                    }
                    self.edit_known();
                }
            }
        }
        Ok(())
    }

    fn call(&mut self, call: EngineCall) {
        self.known.extend(&call.want);
        self.moves.push(Move::Call(call));
    }

    /// Makes the edits of what is known.
    fn edit_known(&mut self) {
        for hook in self.edits.clone() {
            let Some(of) = self.nearest(self.spec.graph().node(hook).operands[0]) else { continue };
            self.edits.remove(&hook);
            self.known.insert(hook);
            self.moves.push(Move::Edit { hook, of });
        }
    }

    /// Walks back from what is wanted to what is known.
    fn frontier(&self, want: BTreeSet<NodeId>) -> Frontier {
        let graph = self.spec.graph();
        let mut given: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        // By source, the hook that edits it on the way to its users.
        let mut targets: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut computed: BTreeSet<NodeId> = BTreeSet::new();
        let mut stack: Vec<NodeId> = want.iter().copied().collect();
        let mut clash = false;
        while let Some(node) = stack.pop() {
            if let Some(known) = self.nearest(node) {
                // Under the node's own source: a hook that is a value of its own may get what is known of its operand.
                let other = given.insert(self.spec.source(node), known);
                clash |= other.is_some_and(|other| other != known);
                continue;
            }
            let (source, target) = (self.spec.source(node), self.target(node));
            clash |= *targets.entry(source).or_insert(target) != target;
            if target != source {
                // Two edits of one value are made one after the other.
                clash |= self.edits.contains(&self.target(graph.node(target).operands[0]));
            }
            if matches!(graph.node(source).op, Op::Weight { .. } | Op::Const { .. }) || !computed.insert(source) {
                continue;
            }
            stack.extend(graph.node(source).operands.iter().copied());
        }
        clash |= given.keys().any(|source| computed.contains(source));
        let edited = targets.into_iter().filter(|(_, target)| self.edits.contains(target)).collect();
        if clash { Frontier::Clash(computed) } else { Frontier::Clear(EngineCall { given, edited, want }) }
    }
}
