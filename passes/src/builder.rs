//! The constructor of optimized graphs: equal values are one node, and rules that are strictly better fire as soon as a node is
//! built.
//!
//! A rule sees one operation on operands that are built already, and what it gives is built in its place. So a chain of
//! rewrites costs what its steps cost, however deep the program is: nothing here recurses over it. Two bounds keep odd programs
//! linear: [`MOST_REWRITES`] of one value, and [`DEEPEST`] rules inside rules; beyond them a value stays as it is.

use std::{hash::BuildHasher, rc::Rc, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use irc_ir::{
    attr::Literal,
    diagnostic::Span,
    graph::{Graph, NodeId, Operands},
    infer::{Models, infer},
    model::{HookId, ModelSpec},
    op::Op,
    tensor::Sizes,
    types::{Dim, Name, TensorType, Type},
};
use smallvec::SmallVec;

use crate::{
    canonical::{EQUAL_VALUES, Entry, entries},
    maps::NodeMap,
    rule::Rewriting,
    values::ForwardValue,
};

/// How often one value is rewritten at most.
const MOST_REWRITES: usize = 64;

/// How deep rules may build operands that other rules build operands of.
const DEEPEST: usize = 32;

/// What a rule gives for an operation.
pub(crate) enum Rewrite {
    /// A value that is built already.
    Value(NodeId),
    /// Another operation, on values that are built.
    Node(Op, Operands),
}

impl Rewrite {
    /// Another operation on one operand.
    pub(crate) fn unary(op: Op, operand: NodeId) -> Rewrite {
        Rewrite::Node(op, Operands::from_slice(&[operand]))
    }
}

/// An operation that is about to be built.
#[derive(Clone, Copy)]
pub(crate) struct Site<'s> {
    pub(crate) op: &'s Op,
    pub(crate) operands: &'s [NodeId],
    pub(crate) ty: &'s Type,
    /// Whether the value may be computed now.
    pub(crate) may_fold: bool,
}

impl Site<'_> {
    /// The sizes of the result, where it is a tensor and all are known.
    pub(crate) fn sizes(&self) -> Option<Sizes> {
        known_sizes(self.ty)
    }
}

/// The sizes of a tensor type, where all are known.
pub(crate) fn known_sizes(ty: &Type) -> Option<Sizes> {
    ty.as_tensor()?.shape.iter().map(Dim::as_usize).collect()
}

/// Of several written hooks of a model, those that show at a hook.
type Shown = HashMap<(Name, HookId, SmallVec<[HookId; 4]>), Rc<[HookId]>>;

/// A graph that is being built.
pub(crate) struct Builder<'a, 'o> {
    pub(crate) models: &'a Models,
    pub(crate) work: &'a mut Rewriting<'o>,
    graph: Graph,
    types: Vec<Type>,
    /// The nodes, by their operations and operands.
    known: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
    /// What forwards are, by the node that stands for them.
    forwards: NodeMap<ForwardValue>,
    /// The hook that was asked for last: rules ask for the same one again and again.
    last_hook: Option<(Name, Name, HookId)>,
    shown: Shown,
    /// The rules that are allowed while there is fuel, or of which the user is told, by the operation at which they are tried.
    rules: Vec<Vec<&'static Entry>>,
    /// Where the user asked for what is being built.
    span: Span,
    depth: usize,
    tried: u64,
}

impl<'a, 'o> Builder<'a, 'o> {
    /// A graph that is to take the place of another one: with its name, its models and nothing else.
    pub(crate) fn new(graph: &Graph, models: &'a Models, work: &'a mut Rewriting<'o>) -> Builder<'a, 'o> {
        let mut new = Graph::new(graph.name.clone());
        new.models = graph.models.clone();
        let tried = |entry: &&&'static Entry| work.allows(&entry.rule) || work.would_allow_fast(&entry.rule);
        let rules = entries().iter().map(|entries| entries.iter().filter(tried).copied().collect()).collect();
        Builder {
            models,
            work,
            types: Vec::with_capacity(graph.len()),
            known: HashTable::with_capacity(graph.len()),
            hasher: DefaultHashBuilder::default(),
            graph: new,
            forwards: NodeMap::new(graph.len()),
            last_hook: None,
            shown: HashMap::new(),
            rules,
            span: Span::None,
            depth: 0,
            tried: 0,
        }
    }

    /// From now on, what is built is asked for here.
    pub(crate) fn at(&mut self, span: &Span) {
        if self.span != *span {
            self.span = span.clone();
        }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn op(&self, id: NodeId) -> &Op {
        &self.graph.node(id).op
    }

    pub(crate) fn operands(&self, id: NodeId) -> &[NodeId] {
        &self.graph.node(id).operands
    }

    pub(crate) fn ty(&self, id: NodeId) -> &Type {
        &self.types[id.index()]
    }

    pub(crate) fn tensor(&self, id: NodeId) -> Option<&TensorType> {
        self.ty(id).as_tensor()
    }

    /// The sizes of a tensor, where all are known.
    pub(crate) fn sizes(&self, id: NodeId) -> Option<Sizes> {
        known_sizes(self.ty(id))
    }

    /// A constant, where the value is one.
    pub(crate) fn constant(&self, id: NodeId) -> Option<&Literal> {
        if let Op::Const { value } = self.op(id) { Some(value) } else { None }
    }

    /// What a forward is made of.
    pub(crate) fn forward(&self, id: NodeId) -> Option<&ForwardValue> {
        self.forwards.get(id)
    }

    /// The model of a forward.
    pub(crate) fn model_of(&self, forward: NodeId) -> Option<(&Name, &'a ModelSpec)> {
        let Type::Forward(ty) = self.ty(forward) else { return None };
        Some((&ty.model, self.models.get(&ty.model)?))
    }

    /// A hook of the model of a forward, by its name.
    pub(crate) fn hook(&mut self, forward: NodeId, name: &Name) -> Option<HookId> {
        let Type::Forward(ty) = &self.types[forward.index()] else { return None };
        match &self.last_hook {
            Some((model, last, hook)) if Arc::ptr_eq(last, name) && *model == ty.model => Some(*hook),
            _ => {
                let hook = self.models.get(&ty.model)?.find_hook(name)?;
                self.last_hook = Some((ty.model.clone(), name.clone(), hook));
                Some(hook)
            }
        }
    }

    /// The forward without the writes that do not show at a hook.
    pub(crate) fn visible(&mut self, mut forward: ForwardValue, hook: HookId) -> Option<ForwardValue> {
        let models = self.models;
        let Type::Forward(ty) = &self.types[forward.base] else { return None };
        let spec = models.get(&ty.model)?;
        forward.writes.retain(|written| spec.reaches(written, hook));
        if forward.writes.len() > 1 {
            let key = (ty.model.clone(), hook, forward.writes.hooks().collect());
            let shown = self.shown.entry(key).or_insert_with(|| {
                let mut visible = forward.clone();
                visible.keep_visible(spec, hook);
                visible.writes.hooks().collect()
            });
            forward.writes.retain(|written| shown.contains(&written));
        }
        Some(forward)
    }

    /// The node of a forward: its writes one after the other, in the order of hooks.
    pub(crate) fn forward_node(&mut self, forward: &ForwardValue) -> Option<NodeId> {
        let base = NodeId::new(forward.base);
        let (_, spec) = self.model_of(base)?;
        let ty = self.ty(base).clone();
        let mut node = base;
        for (hook, value) in forward.writes.iter() {
            let name = spec.hook_info(hook).name.clone();
            node = self.intern(Op::Write { hook: name }, Operands::from_slice(&[node, value]), ty.clone());
        }
        Some(node)
    }

    /// Builds an operation of the given type, after all rules.
    pub(crate) fn add(&mut self, op: Op, operands: Operands, ty: Type) -> NodeId {
        self.add_with(op, operands, ty, true)
    }

    /// [`Builder::add`]; says whether the value may be computed now.
    pub(crate) fn add_with(&mut self, mut op: Op, mut operands: Operands, ty: Type, may_fold: bool) -> NodeId {
        for _ in 0..MOST_REWRITES {
            let site = Site { op: &op, operands: &operands, ty: &ty, may_fold };
            match self.rewritten(&site) {
                None => return self.intern(op, operands, ty),
                Some(Rewrite::Value(id)) => return id,
                Some(Rewrite::Node(new, on)) => (op, operands) = (new, on),
            }
        }
        self.work.limited("a value was rewritten 64 times, and is left as it is".to_owned());
        self.intern(op, operands, ty)
    }

    /// Builds an operation that a rule needs; nothing where its type does not follow from known sizes.
    pub(crate) fn make(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let ty = self.inferred(&op, operands)?;
        if self.depth >= DEEPEST {
            self.work.limited("rules are nested 32 deep, and what is deeper is left as it is".to_owned());
            return Some(self.intern(op, operands.into(), ty));
        }
        self.depth += 1;
        let id = self.add(op, operands.into(), ty);
        self.depth -= 1;
        Some(id)
    }

    /// Whether an operation on these operands has the type.
    pub(crate) fn has_type(&self, op: &Op, operands: &[NodeId], ty: &Type) -> bool {
        self.inferred(op, operands).is_some_and(|found| found == *ty)
    }

    /// The type of an operation on operands whose sizes are known.
    fn inferred(&self, op: &Op, operands: &[NodeId]) -> Option<Type> {
        let types: SmallVec<[&Type; 3]> = operands.iter().map(|operand| self.ty(*operand)).collect();
        let known = types.iter().all(|ty| ty.dims().iter().all(|dim| dim.as_known().is_some()));
        if known { infer(op, &types, self.models).ok() } else { None }
    }

    fn rewritten(&mut self, site: &Site<'_>) -> Option<Rewrite> {
        let kind = site.op.kind() as usize;
        for at in 0..self.rules[kind].len() {
            let entry = self.rules[kind][at];
            if !self.work.has_fuel() {
                return None;
            }
            if !self.work.allows_numerics(&entry.rule) {
                self.nearly(entry, site);
                continue;
            }
            self.tried += 1;
            // What it built for itself may have spent the fuel.
            if let Some(rewrite) = (entry.apply)(self, site)
                && self.work.has_fuel()
            {
                self.work.fired(&entry.rule, &self.span);
                return Some(rewrite);
            }
        }
        None
    }

    /// Tells of a rule that would apply if roundings were allowed.
    fn nearly(&mut self, entry: &'static Entry, site: &Site<'_>) {
        if let Some(why) = entry.why_rounding
            && (entry.apply)(self, site).is_some()
        {
            self.work.missed(&entry.rule, &self.span, || format!("{why}: `--fast` allows it"));
        }
    }

    /// The node of an operation: the one that there is, or a new one. No other rule is applied.
    pub(crate) fn intern(&mut self, op: Op, operands: Operands, ty: Type) -> NodeId {
        let (graph, types, hasher) = (&self.graph, &self.types, &self.hasher);
        let hash = hasher.hash_one((&op, &operands));
        let same = |id: &NodeId| {
            let node = graph.node(*id);
            node.op == op && node.operands == operands && types[id.index()] == ty
        };
        if self.work.allows(&EQUAL_VALUES)
            && let Some(&id) = self.known.find(hash, same)
        {
            self.work.fired(&EQUAL_VALUES, &self.span);
            return id;
        }
        let id = NodeId::new(graph.len());
        self.graph.add(op, operands, self.span.clone());
        self.types.push(ty);
        let (graph, hasher) = (&self.graph, &self.hasher);
        self.known.insert_unique(hash, id, |id| hasher.hash_one((&graph.node(*id).op, &graph.node(*id).operands)));
        self.note_forward(id);
        id
    }

    /// Keeps what a forward is made of.
    fn note_forward(&mut self, id: NodeId) {
        if !matches!(self.types[id.index()], Type::Forward(_)) {
            return;
        }
        let own = ForwardValue { base: id.index(), writes: Default::default() };
        let forward = match &self.graph.node(id).op {
            Op::Write { hook } => {
                let (name, operands) = (hook.clone(), self.graph.node(id).operands.clone());
                match (self.hook(operands[0], &name), self.forwards.get(operands[0])) {
                    (Some(hook), Some(before)) => {
                        let mut forward = before.clone();
                        forward.writes.insert(hook, operands[1]);
                        forward
                    }
                    _ => own,
                }
            }
            _ => own,
        };
        self.forwards.insert(id, forward);
    }

    /// Names a value as the user did, unless it has a name.
    pub(crate) fn label(&mut self, id: NodeId, label: Option<&Name>) {
        if let Some(label) = label
            && self.graph.label(id).is_none()
        {
            self.graph.set_label(id, label.clone());
        }
    }

    /// The graph, to be given effects and results.
    pub(crate) fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    /// The graph with the types of its nodes.
    pub(crate) fn finish(self) -> (Graph, Vec<Type>) {
        self.work.count("nodes interned", self.graph.len() as u64);
        self.work.count("rules tried", self.tried);
        (self.graph, self.types)
    }
}

/// A graph with only what something asks for, and the types of its values. The parameters of a body stay.
pub(crate) fn without_dead_code(graph: Graph, types: Vec<Type>) -> (Graph, Vec<Type>) {
    let mut live = graph.live();
    graph.nodes().take_while(|(_, node)| matches!(node.op, Op::Param { .. })).for_each(|(id, _)| live[id.index()] = true);
    if live.iter().all(|live| *live) {
        return (graph, types);
    }
    let mut new = Graph::new(graph.name.clone());
    new.models = graph.models.clone();
    let mut moved = vec![NodeId::new(0); graph.len()];
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        let operands = node.operands.iter().map(|operand| moved[operand.index()]);
        let place = new.add(node.op.clone(), operands, graph.span(id).clone());
        if let Some(label) = graph.label(id) {
            new.set_label(place, label.clone());
        }
        moved[id.index()] = place;
    }
    new.effects = graph.effects.iter().map(|effect| effect.map(|value| moved[value.index()])).collect();
    new.results = graph.results.iter().map(|result| moved[result.index()]).collect();
    new.until = graph.until.map(|until| moved[until.index()]);
    let types = types.into_iter().zip(live).filter_map(|(ty, live)| live.then_some(ty)).collect();
    (new, types)
}
