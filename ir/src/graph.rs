//! Programs and models as graphs: an append-only arena of nodes in topological order, spans beside the nodes, and the
//! ordered list of effects.
//!
//! Nodes are pure values. What happens in an order is an [`Effect`]: saves, logs, calls of the user's functions, stops, and
//! loops that have such in their bodies. An effect may have a [`Guard`]; the result of one is a value again, the node
//! `effect_result`. A loop is an operation or an effect with a [`Body`], a graph of its own that sees its parameters only, so
//! that a body can be checked, compared and moved like a program.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    op::Op,
    types::{Name, Type},
    verify::LoopId,
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

/// What an entry of the effect list does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EffectKind {
    /// Returns the operand to the user under a name. In the body of a loop: that of the last iteration that did so.
    Save {
        /// The name; each is used once.
        name: Name,
    },
    /// Shows the operand to the user while the program runs.
    Log {
        /// Said before the value.
        label: Option<Name>,
    },
    /// Calls a function of the user's with the operands. Two equal calls are two calls.
    Call {
        /// The name under which the user registered the function.
        name: Name,
        /// The type of what it returns.
        returns: Type,
    },
    /// Runs a loop whose body has effects. The operands are those of the operation `loop`.
    Loop {
        /// How often the body runs at most.
        trip: i64,
        /// What runs.
        body: Body,
    },
    /// Ends the program here: later entries do not run, what was saved before is returned.
    Stop {
        /// Why, for the user.
        reason: Option<Name>,
    },
}

impl EffectKind {
    /// Whether the entry has a result, for an `effect_result` to stand for.
    pub const fn has_result(&self) -> bool {
        match self {
            EffectKind::Call { .. } | EffectKind::Loop { .. } => true,
            EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Stop { .. } => false,
        }
    }
}

/// When an entry of the effect list runs at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Guard {
    /// One bool: the entry runs if it holds.
    pub condition: NodeId,
    /// What the result of the entry is if it does not run. An entry without result needs none, and a loop without another one
    /// gives what it would have begun with.
    pub otherwise: Option<NodeId>,
}

/// An entry of the ordered list of effects.
#[derive(Clone, Debug)]
pub struct Effect {
    /// What is done.
    pub kind: EffectKind,
    /// With what: one value for a save or a log, any number for a call or a loop, none for a stop.
    pub operands: Operands,
    /// Whether it is done; always, where there is none.
    pub guard: Option<Guard>,
    /// Where the user asked for it.
    pub span: Span,
}

impl Effect {
    /// An entry that always runs.
    pub fn new(kind: EffectKind, operands: impl IntoIterator<Item = NodeId>, span: Span) -> Effect {
        Effect { kind, operands: operands.into_iter().collect(), guard: None, span }
    }

    /// All values that the entry needs: its operands, then those of its guard.
    pub fn uses(&self) -> impl Iterator<Item = NodeId> + '_ {
        let guard = self.guard.iter().flat_map(|guard| [guard.condition].into_iter().chain(guard.otherwise));
        self.operands.iter().copied().chain(guard)
    }

    /// The same entry on other values.
    pub fn map(&self, mut value: impl FnMut(NodeId) -> NodeId) -> Effect {
        let operands = self.operands.iter().map(|operand| value(*operand)).collect();
        let guard = self.guard.map(|guard| Guard { condition: value(guard.condition), otherwise: guard.otherwise.map(&mut value) });
        Effect { kind: self.kind.clone(), operands, guard, span: self.span.clone() }
    }
}

/// How deep loops may stand in the bodies of loops.
pub const MAX_LOOP_NESTING: usize = 16;

/// The body of a loop: a graph that sees nothing of the graph around it but its parameters.
///
/// Its first nodes are the parameters: the number of the iteration (i64, from 0), then one for each operand of the loop.
/// Its [`results`](Graph::results) become the first of the other parameters in the next iteration, the rest stay the same.
/// It has neither a name nor models of its own: it uses those of the program. Clones share the graph.
///
/// ```
/// use irc_ir::{diagnostic::Span, graph::{Body, Graph}, op::Op};
///
/// let mut graph = Graph::new("");
/// let number = graph.add(Op::Param { index: 0, ty: None }, [], Span::None);
/// let sum = graph.add(Op::Param { index: 1, ty: None }, [], Span::None);
/// let sum = graph.add(Op::Add {}, [sum, number], Span::None);
/// graph.results.push(sum);
/// assert_eq!(Body::new(graph)?.params().count(), 2);
/// # Ok::<(), irc_ir::diagnostic::Diagnostic>(())
/// ```
#[derive(Clone)]
pub struct Body {
    graph: Arc<Graph>,
    /// How deep loops are nested in it, itself included.
    depth: usize,
}

impl Body {
    /// A body.
    ///
    /// # Errors
    /// E3007 if a loop cannot have such a body: its parameters are not its first nodes, it has more results than they can
    /// take, or a name or models of its own. E0002 if something in it refers to a node that it does not have; E4001 if loops
    /// are nested deeper than [`MAX_LOOP_NESTING`].
    pub fn new(graph: Graph) -> Result<Body, Diagnostic> {
        let wrong = |message: &str| Diagnostic::error(Code::E3007, message);
        graph.check_references()?;
        if !graph.name.is_empty() || !graph.models.is_empty() {
            return Err(wrong("the body of a loop has neither a name nor models of its own"));
        }
        let depth = 1 + graph.bodies().map(|(_, body)| body.depth).max().unwrap_or(0);
        if depth > MAX_LOOP_NESTING {
            return Err(Diagnostic::error(Code::E4001, format!("loops are nested more than {MAX_LOOP_NESTING} deep")));
        }
        let body = Body { graph: Arc::new(graph), depth };
        let (graph, params) = (&body.graph, body.params().count());
        if params == 0 {
            return Err(wrong("the first parameter of a body is the number of the iteration, but this body has no parameters"));
        }
        let is_param = |node: &Node| matches!(node.op, Op::Param { .. });
        if let Some((id, _)) = graph.nodes().skip(params).find(|(_, node)| is_param(node)) {
            return Err(wrong("the parameters of a body are its first nodes, in their order").or_label(graph.span(id)));
        }
        if graph.results.len() >= params {
            let message = format!("the body gives {} results, but it has {} parameters to take them", graph.results.len(), params - 1);
            return Err(wrong(&message).note("each result becomes a parameter of the next iteration"));
        }
        Ok(body)
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The parameters with the types that they declare; the first is the number of the iteration.
    pub fn params(&self) -> impl Iterator<Item = (NodeId, Option<&Type>)> {
        self.graph.nodes().map_while(|(id, node)| match &node.op {
            Op::Param { index, ty } if usize::try_from(*index) == Ok(id.index()) => Some((id, ty.as_deref())),
            _ => None,
        })
    }

    /// Changes the graph; other clones keep what they are.
    ///
    /// # Errors
    /// As [`Body::new`], if the changed graph is no body any more: then nothing has changed.
    pub fn edit(&mut self, change: impl FnOnce(&mut Graph)) -> Result<(), Diagnostic> {
        let mut graph = Graph::clone(&self.graph);
        change(&mut graph);
        *self = Body::new(graph)?;
        Ok(())
    }

    /// Whether anything in the body, or in a loop inside it, is an effect.
    pub fn has_effects(&self) -> bool {
        !self.graph.effects.is_empty()
    }
}

impl Default for Body {
    /// A body that does nothing: its only parameter is the number of the iteration.
    fn default() -> Body {
        let mut graph = Graph::new("");
        graph.add(Op::Param { index: 0, ty: None }, [], Span::None);
        Body { graph: Arc::new(graph), depth: 1 }
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        Arc::ptr_eq(&self.graph, &other.graph) || self.graph == other.graph
    }
}

impl Eq for Body {}

impl PartialOrd for Body {
    fn partial_cmp(&self, other: &Body) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Body {
    fn cmp(&self, other: &Body) -> Ordering {
        if Arc::ptr_eq(&self.graph, &other.graph) { Ordering::Equal } else { self.graph.cmp(&other.graph) }
    }
}

impl Hash for Body {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.graph.hash(state);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "body of {} nodes", self.graph.len())
    }
}

/// A program, the body of a loop, or the inside of a model.
///
/// Equality and order are of structure: name, models, nodes, effects and results; spans, value names and written types do
/// not count.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The name of the program.
    pub name: Name,
    /// The models that it uses.
    pub models: Vec<ModelDecl>,
    /// The effects, in their order.
    pub effects: Vec<Effect>,
    /// In the body of a loop, the values that the next iteration begins with; empty in programs.
    pub results: Vec<NodeId>,
    /// In the body of a loop, one bool: the iteration in which it holds is the last one.
    pub until: Option<NodeId>,
    nodes: Vec<Node>,
    spans: Vec<Span>,
    labels: Vec<Option<Name>>,
    written_types: Vec<(NodeId, Type, Span)>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<Name>) -> Graph {
        Graph {
            name: name.into(),
            models: vec![],
            effects: vec![],
            results: vec![],
            until: None,
            nodes: vec![],
            spans: vec![],
            labels: vec![],
            written_types: vec![],
        }
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

    /// Replaces a node by another one, whose operands come before it.
    ///
    /// # Panics
    /// If an operand does not.
    pub fn replace(&mut self, id: NodeId, op: Op, operands: impl IntoIterator<Item = NodeId>) {
        let operands: Operands = operands.into_iter().collect();
        assert!(operands.iter().all(|operand| *operand < id), "an operand comes before its user");
        self.nodes[id.index()] = Node { op, operands };
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

    /// The bodies of the loops in this graph, each with the node that it belongs to, if it is no effect.
    pub fn bodies(&self) -> impl Iterator<Item = (Option<NodeId>, &Body)> {
        let nodes = self.nodes().filter_map(|(id, node)| match &node.op {
            Op::Loop { body, .. } => Some((Some(id), body)),
            _ => None,
        });
        nodes.chain(self.effects.iter().filter_map(|effect| match &effect.kind {
            EffectKind::Loop { body, .. } => Some((None, body)),
            EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Call { .. } | EffectKind::Stop { .. } => None,
        }))
    }

    /// The loops in this graph: where each stands, its body and its operands; those that are values first.
    pub fn loops(&self) -> impl DoubleEndedIterator<Item = (LoopId, &Body, &[NodeId])> {
        let nodes = self.nodes().filter_map(|(id, node)| match &node.op {
            Op::Loop { body, .. } => Some((LoopId::Node(id), body, node.operands.as_slice())),
            _ => None,
        });
        let effects = self.effects.iter().enumerate().filter_map(|(at, effect)| match &effect.kind {
            EffectKind::Loop { body, .. } => Some((LoopId::Effect(at), body, effect.operands.as_slice())),
            EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Call { .. } | EffectKind::Stop { .. } => None,
        });
        nodes.chain(effects)
    }

    /// The same bodies, to be changed.
    pub fn bodies_mut(&mut self) -> impl Iterator<Item = &mut Body> {
        let nodes = self.nodes.iter_mut().filter_map(|node| if let Op::Loop { body, .. } = &mut node.op { Some(body) } else { None });
        nodes.chain(self.effects.iter_mut().filter_map(|effect| match &mut effect.kind {
            EffectKind::Loop { body, .. } => Some(body),
            EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Call { .. } | EffectKind::Stop { .. } => None,
        }))
    }

    /// The values that something outside of the nodes asks for: effects, results and the end of a loop.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.effects.iter().flat_map(Effect::uses).chain(self.results.iter().copied()).chain(self.until)
    }

    /// Checks that effects, results, the end of a loop and claimed types are about nodes that the graph has. Nodes are by
    /// construction; the rest can be set by hand.
    ///
    /// # Errors
    /// E0002 where one is missing.
    pub fn check_references(&self) -> Result<(), Diagnostic> {
        let missing = |id: &NodeId| id.index() >= self.len();
        let error = |what: &str, id: NodeId| {
            Diagnostic::error(Code::E0002, format!("{what} refers to {id:?}, but the graph has {} nodes", self.len()))
        };
        for effect in &self.effects {
            if let Some(id) = effect.uses().find(missing) {
                return Err(error("an effect", id).or_label(&effect.span));
            }
        }
        if let Some(id) = self.results.iter().copied().chain(self.until).find(missing) {
            return Err(error("a result, or the end of a loop,", id));
        }
        match self.written_types.iter().find(|(id, ..)| missing(id)) {
            Some((id, _, span)) => Err(error("a written type", *id).or_label(span)),
            None => Ok(()),
        }
    }

    /// How often each value is used, by nodes and by what is outside of them.
    pub fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0; self.len()];
        let operands = self.nodes.iter().flat_map(|node| node.operands.iter().copied());
        operands.chain(self.roots()).for_each(|id| uses[id.index()] += 1);
        uses
    }

    /// Which values something outside of the nodes depends on.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.len()];
        self.roots().for_each(|root| live[root.index()] = true);
        for (id, node) in self.nodes().rev() {
            if live[id.index()] {
                node.operands.iter().for_each(|operand| live[operand.index()] = true);
            }
        }
        live
    }
}

impl Graph {
    /// What equality and order look at.
    #[allow(clippy::type_complexity)]
    fn structure(&self) -> (&Name, Vec<(&Name, &Name)>, &[Node], Vec<(&EffectKind, &Operands, Option<Guard>)>, &[NodeId], Option<NodeId>) {
        let models = self.models.iter().map(|model| (&model.name, &model.reference)).collect();
        let effects = self.effects.iter().map(|effect| (&effect.kind, &effect.operands, effect.guard)).collect();
        (&self.name, models, &self.nodes, effects, &self.results, self.until)
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.structure() == other.structure()
    }
}

impl Eq for Graph {}

impl PartialOrd for Graph {
    fn partial_cmp(&self, other: &Graph) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Graph {
    fn cmp(&self, other: &Graph) -> Ordering {
        self.structure().cmp(&other.structure())
    }
}

impl Hash for Graph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.structure().hash(state);
    }
}
