//! Building a graph anew, node after node: what passes have in common.
//!
//! Values are built in the order of the old graph. The result of an effect stands after all that the effect and those before it
//! need, in the old graph and so in the new one, as long as everything an effect needs is built before its result is.

use irc_ir::{
    graph::{Body, Effect, EffectKind, Graph, NodeId, Operands},
    op::Op,
    types::Type,
    verify::{LoopId, Types},
};

use crate::builder::{Builder, without_dead_code};

/// What a pass makes of a loop: its body, of which the types are known, on operands that are built.
pub(crate) type Looped = fn(&mut Builder<'_, '_>, i64, &Body, &Types, Operands) -> (Body, Operands);

/// A graph and what has been built of it.
pub(crate) struct Scope<'g, 'a, 'o> {
    pub(crate) graph: &'g Graph,
    pub(crate) types: &'g Types,
    pub(crate) builder: Builder<'a, 'o>,
    /// Which new value stands for each old one, as a whole.
    pub(crate) moved: Vec<Option<NodeId>>,
    /// Which values are the token ids of forwards.
    tokens: Vec<bool>,
    looped: Looped,
    effects: Vec<Effect>,
}

impl<'g, 'a, 'o> Scope<'g, 'a, 'o> {
    pub(crate) fn new(graph: &'g Graph, types: &'g Types, builder: Builder<'a, 'o>, looped: Looped) -> Scope<'g, 'a, 'o> {
        Scope { graph, types, builder, moved: vec![None; graph.len()], tokens: token_ids(graph), looped, effects: vec![] }
    }

    /// Whether a value may be computed now. Token ids are left as they are: whether the model has them is found where the program
    /// runs, if it comes so far.
    pub(crate) fn may_fold(&self, id: NodeId) -> bool {
        !self.tokens[id.index()]
    }

    /// The nodes to be built: those that something asks for, and the parameters of a body.
    pub(crate) fn wanted(&self) -> Vec<NodeId> {
        let live = self.graph.live();
        let nodes = self.graph.nodes().filter(|(id, node)| live[id.index()] || matches!(node.op, Op::Param { .. }));
        nodes.map(|(id, _)| id).collect()
    }

    pub(crate) fn moved(&self, id: NodeId) -> NodeId {
        self.moved[id.index()].unwrap_or_else(|| unreachable!("operands come before their users, and what is used is wanted"))
    }

    fn moved_all(&self, ids: &[NodeId]) -> Operands {
        ids.iter().map(|id| self.moved(*id)).collect()
    }

    /// Builds a node on what stands for its operands.
    pub(crate) fn build(&mut self, id: NodeId) -> NodeId {
        let node = self.graph.node(id);
        let ty = self.types.nodes[id.index()].clone();
        match &node.op {
            Op::Loop { trip, body } => {
                let operands = self.moved_all(&node.operands);
                let (body, operands) = self.a_loop(LoopId::Node(id), *trip, body, operands);
                self.builder.at(self.graph.span(id));
                self.builder.add(Op::Loop { trip: *trip, body }, operands, ty)
            }
            Op::EffectResult { entry } => {
                // What its effect needs comes before it.
                self.effects_up_to(usize::try_from(*entry).map_or(0, |entry| entry + 1));
                self.builder.at(self.graph.span(id));
                self.builder.add(node.op.clone(), Operands::new(), ty)
            }
            op => self.builder.add_with(op.clone(), self.moved_all(&node.operands), ty, self.may_fold(id)),
        }
    }

    /// Builds the effects before this one, with their loops.
    fn effects_up_to(&mut self, end: usize) {
        while self.effects.len() < end.min(self.graph.effects.len()) {
            let at = self.effects.len();
            let mut effect = self.graph.effects[at].map(|value| self.moved(value));
            if let EffectKind::Loop { trip, body } = &self.graph.effects[at].kind {
                self.builder.at(&effect.span);
                let (body, operands) = self.a_loop(LoopId::Effect(at), *trip, body, effect.operands);
                effect.kind = EffectKind::Loop { trip: *trip, body };
                effect.operands = operands;
            }
            self.effects.push(effect);
        }
    }

    fn a_loop(&mut self, at: LoopId, trip: i64, body: &Body, operands: Operands) -> (Body, Operands) {
        match self.types.bodies.get(&at) {
            Some(types) => (self.looped)(&mut self.builder, trip, body, types, operands),
            None => (body.clone(), operands),
        }
    }

    /// The new graph, without what nothing asks for any more, and the types of its values.
    pub(crate) fn finish(mut self) -> (Graph, Vec<Type>) {
        self.effects_up_to(self.graph.effects.len());
        let results = self.moved_all(&self.graph.results).to_vec();
        let until = self.graph.until.map(|until| self.moved(until));
        let new = self.builder.graph_mut();
        (new.effects, new.results, new.until) = (self.effects, results, until);
        let (graph, types) = self.builder.finish();
        without_dead_code(graph, types)
    }
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

/// The body of a loop again.
pub(crate) fn body_of(graph: Graph) -> Body {
    Body::new(graph).unwrap_or_else(|error| unreachable!("the body of a loop stays one: {error}"))
}
