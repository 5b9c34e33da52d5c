//! From terms to a graph: only what effects need, forward passes with what is set in them in the order of the model.

use std::collections::{HashMap, HashSet};

use irc_ir::{
    diagnostic::{Diagnostics, Span},
    graph::{Effect, Graph, Guard, NodeId},
    model::HookId,
    op::Op,
    types::Name,
};

use super::{Recorder, TermId, TermKind, Time, TraceId};

impl Recorder {
    /// The program as recorded so far: operands before users, nothing that no effect needs, only the models that it uses.
    ///
    /// # Errors
    /// The mistakes that were made while recording, in the order of the program. Types are checked by the verifier.
    pub fn program(&self) -> Result<Graph, Diagnostics> {
        if !self.errors.is_empty() {
            return Err(Diagnostics(self.errors.clone()));
        }
        let mut lowering = Lowering::new(self);
        let mut effects: Vec<_> = self.effects.iter().enumerate().collect();
        effects.sort_by_key(|(_, effect)| effect.order);
        lowering.entries = effects.iter().enumerate().map(|(entry, (at, _))| (*at, entry)).collect();
        for (_, effect) in effects {
            let operands: Vec<NodeId> = effect.operands.iter().map(|operand| lowering.node(*operand)).collect();
            let guard = effect.guard.map(|guard| Guard { condition: lowering.node(guard), otherwise: None });
            lowering.graph.effects.push(Effect { guard, ..Effect::new(effect.kind.clone(), operands, effect.span.clone()) });
        }
        let mut graph = lowering.graph;
        let used: HashSet<&Name> = graph.nodes().filter_map(|(_, node)| model_of(&node.op)).collect();
        graph.models = self.models.iter().filter(|(decl, _)| used.contains(&decl.name)).map(|(decl, _)| decl.clone()).collect();
        Ok(graph)
    }
}

fn model_of(op: &Op) -> Option<&Name> {
    if let Op::Forward { model } | Op::Apply { model, .. } = op { Some(model) } else { None }
}

/// What becomes a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Item {
    Term(TermId),
    /// A trace's forward pass with this many of its writes.
    Forward(TraceId, usize),
}

/// A hook that was set, and the last value it was set to.
struct Write<'a> {
    hook: HookId,
    value: TermId,
    span: &'a Span,
}

struct Lowering<'a> {
    recorder: &'a Recorder,
    graph: Graph,
    /// What each trace sets, in the order of its hooks.
    writes: Vec<Vec<Write<'a>>>,
    nodes: HashMap<Item, NodeId>,
    /// The place among the program's effects of each effect of the recorder.
    entries: HashMap<usize, usize>,
    labels: HashSet<Name>,
}

impl<'a> Lowering<'a> {
    fn new(recorder: &'a Recorder) -> Lowering<'a> {
        let writes = recorder.traces.iter().map(|trace| {
            let set = trace.hooks.iter().filter_map(|(&hook, state)| {
                let place = &recorder.places[state.place.0];
                Some(Write { hook, value: place.content, span: place.set.as_ref()? })
            });
            set.collect()
        });
        let (writes, graph) = (writes.collect(), Graph::new(recorder.name.clone()));
        Lowering { recorder, graph, writes, nodes: HashMap::new(), entries: HashMap::new(), labels: HashSet::new() }
    }

    /// The node of a term; makes those that it needs first, without recursion: programs can be long chains.
    fn node(&mut self, term: TermId) -> NodeId {
        let mut stack = vec![Item::Term(term)];
        while let Some(&item) = stack.last() {
            if self.nodes.contains_key(&item) {
                stack.pop();
                continue;
            }
            let missing: Vec<Item> = self.needs(item).into_iter().filter(|need| !self.nodes.contains_key(need)).collect();
            if missing.is_empty() {
                let node = self.emit(item);
                self.nodes.insert(item, node);
                stack.pop();
            } else {
                stack.extend(missing.into_iter().rev());
            }
        }
        self.nodes[&Item::Term(term)]
    }

    /// What must have a node before an item can have one. Values are never later than their use (the recorder checks it
    /// where they are set), so this ends.
    fn needs(&self, item: Item) -> Vec<Item> {
        match item {
            Item::Term(term) => match &self.recorder.terms[term.0].kind {
                TermKind::Arrival(time) => vec![self.forward_at(*time)],
                TermKind::Op(_, operands) => operands.iter().copied().map(Item::Term).collect(),
                TermKind::Result(_) => vec![],
            },
            Item::Forward(trace, 0) => vec![Item::Term(self.recorder.traces[trace.0].tokens)],
            Item::Forward(trace, count) => {
                vec![Item::Forward(trace, count - 1), Item::Term(self.writes[trace.0][count - 1].value)]
            }
        }
    }

    /// The forward pass whose value at a hook is what arrives there: with all writes at earlier hooks, up to the last one
    /// that matters.
    fn forward_at(&self, time: Time) -> Item {
        let spec = self.recorder.spec(self.recorder.model_of(time.trace));
        let writes = &self.writes[time.trace.0];
        let earlier = writes.partition_point(|write| write.hook < time.hook);
        let count = writes[..earlier].iter().rposition(|write| spec.reaches(write.hook, time.hook)).map_or(0, |last| last + 1);
        Item::Forward(time.trace, count)
    }

    fn emit(&mut self, item: Item) -> NodeId {
        let operands: Vec<NodeId> = self.needs(item).iter().map(|need| self.nodes[need]).collect();
        let recorder = self.recorder;
        match item {
            Item::Term(term) => {
                let term = &recorder.terms[term.0];
                let op = match &term.kind {
                    TermKind::Arrival(time) => Op::Read { hook: self.hook_name(*time) },
                    TermKind::Op(op, _) => op.clone(),
                    TermKind::Result(effect) => Op::EffectResult { entry: self.entries[effect] as i64 },
                };
                let node = self.graph.add(op, operands, term.span.clone());
                if let Some(label) = term.label.as_ref().filter(|label| !label.is_empty()) {
                    let label = self.free_label(label);
                    self.graph.set_label(node, label);
                }
                node
            }
            Item::Forward(trace, 0) => {
                let trace = &recorder.traces[trace.0];
                let model = recorder.models[trace.model.0].0.name.clone();
                self.graph.add(Op::Forward { model }, operands, trace.span.clone())
            }
            Item::Forward(trace, count) => {
                let Write { hook, span, .. } = self.writes[trace.0][count - 1];
                let op = Op::Write { hook: self.hook_name(Time { trace, hook }) };
                self.graph.add(op, operands, span.clone())
            }
        }
    }

    fn hook_name(&self, time: Time) -> Name {
        self.recorder.spec(self.recorder.model_of(time.trace)).hook_info(time.hook).name.clone()
    }

    /// The label, or one like it that no other node has.
    fn free_label(&mut self, label: &Name) -> Name {
        let numbered = (2..).map(|number| Name::from(format!("{label}_{number}")));
        let free = [label.clone()].into_iter().chain(numbered).find(|label| !self.labels.contains(label));
        let label = free.unwrap_or_else(|| label.clone());
        self.labels.insert(label.clone());
        label
    }
}
