//! From terms to a graph: only what effects need, forward passes with what is set in them in the order of the model.

use std::collections::{HashMap, HashSet};

use irc_ir::{
    diagnostic::{Diagnostics, Span},
    graph::{Effect, Graph, Guard, NodeId},
    model::HookId,
    op::Op,
    tensor::Tensor,
    types::Name,
};

use super::{
    Moment, Recorder, TermId, TermKind, Time, TraceId,
    steps::{StepTerm, Steps, ends, is_of_head},
};

mod generation;

use generation::{Made, StepParams};

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
        // What happens in the steps of a generation happens where that stands.
        let effects = self.effects.iter().enumerate().filter(|(_, effect)| effect.within.is_none());
        let effects = effects.map(|(at, effect)| (effect.order, Entry::Effect(at)));
        let generations = self.traces.iter().enumerate().filter(|(_, trace)| trace.generation.is_some()).map(|(at, _)| TraceId(at));
        let generations = generations.map(|trace| ((Some(trace), Moment::Begin), Entry::Generation(trace)));
        let mut entries: Vec<_> = generations.chain(effects).collect();
        entries.sort_by_key(|(order, _)| *order);
        for (_, entry) in entries {
            match entry {
                Entry::Effect(at) => lowering.effect(at, Phase::Outside),
                Entry::Generation(trace) => lowering.generation(trace)?,
            }
        }
        let mut graph = lowering.frame.graph;
        let used: HashSet<Name> = models_of(&graph);
        graph.models = self.models.iter().filter(|(decl, _)| used.contains(&decl.name)).map(|(decl, _)| decl.clone()).collect();
        Ok(graph)
    }
}

/// What stands in the program's order of effects.
enum Entry {
    Generation(TraceId),
    Effect(usize),
}

/// The names of the models that a graph names, in the bodies of its loops, too.
fn models_of(graph: &Graph) -> HashSet<Name> {
    let model = |op: &Op| if let Op::Forward { model } | Op::Apply { model, .. } = op { Some(model.clone()) } else { None };
    let inside = graph.bodies().flat_map(|(_, body)| models_of(body.graph()));
    graph.nodes().filter_map(|(_, node)| model(&node.op)).chain(inside).collect()
}

/// For which steps something is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// It is of no step.
    Outside,
    /// Step 0, which stands in the program itself.
    First(TraceId),
    /// All later steps, which are the body of a loop.
    Later(TraceId),
}

/// What becomes a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Item {
    Term(TermId),
    /// A trace's forward pass with this many of its writes.
    Forward(TraceId, usize),
    /// The tokens of a generation's prompt.
    Prompt(TraceId),
    /// The token that a step chooses.
    Token(TraceId),
}

/// An item, made for some steps.
type Key = (Item, Phase);

/// A hook that was set, and the last value it was set to.
struct Write<'a> {
    hook: HookId,
    value: TermId,
    span: &'a Span,
}

/// A graph that is being made: the program, or the body of a loop.
struct Frame {
    graph: Graph,
    nodes: HashMap<Key, NodeId>,
    /// The place among the graph's effects of each effect of the recorder, for these steps.
    entries: HashMap<(usize, Phase), usize>,
    labels: HashSet<Name>,
    /// In the body of a generation's loop.
    params: Option<StepParams>,
}

impl Frame {
    fn new(name: Name) -> Frame {
        Frame { graph: Graph::new(name), nodes: HashMap::new(), entries: HashMap::new(), labels: HashSet::new(), params: None }
    }
}

struct Lowering<'a> {
    recorder: &'a Recorder,
    frame: Frame,
    /// What each trace sets, in the order of its hooks: in step 0, or in a plain trace; and in later steps.
    writes: Vec<[Vec<Write<'a>>; 2]>,
    /// What generations came to that have been made.
    made: HashMap<TraceId, Made>,
}

impl<'a> Lowering<'a> {
    fn new(recorder: &'a Recorder) -> Lowering<'a> {
        let mut lowering = Lowering { recorder, frame: Frame::new(recorder.name.clone()), writes: vec![], made: HashMap::new() };
        lowering.writes = (0..recorder.traces.len()).map(|trace| lowering.writes_of(TraceId(trace))).collect();
        lowering
    }

    fn writes_of(&self, trace: TraceId) -> [Vec<Write<'a>>; 2] {
        let recorder = self.recorder;
        let in_phase = |phase: Phase| {
            let set = recorder.traces[trace.0].hooks.iter().filter_map(|(&hook, state)| {
                let place = &recorder.places[state.place.0];
                let (value, span) = (self.resolved(place.content, phase), place.set.as_ref()?);
                // In steps in which it is not set, it is what arrives.
                (value != state.arrival).then_some(Write { hook, value, span })
            });
            set.collect()
        };
        match &recorder.traces[trace.0].generation {
            None => [in_phase(Phase::Outside), vec![]],
            Some(_) => [in_phase(Phase::First(trace)), in_phase(Phase::Later(trace))],
        }
    }

    fn writes(&self, trace: TraceId, phase: Phase) -> &[Write<'a>] {
        &self.writes[trace.0][usize::from(matches!(phase, Phase::Later(_)))]
    }

    /// The term that one stands for in these steps, where a condition about the step itself decides.
    fn resolved(&self, mut term: TermId, phase: Phase) -> TermId {
        let active = |condition: TermId| match self.recorder.terms[condition.0].kind {
            TermKind::Step(_, StepTerm::Active(steps)) => self.active(steps, phase),
            _ => None,
        };
        loop {
            term = match &self.recorder.terms[term.0].kind {
                TermKind::Op(Op::Select {}, operands) => match active(operands[0]) {
                    Some(active) => operands[if active { 1 } else { 2 }],
                    None => return term,
                },
                TermKind::Op(Op::Append {}, operands) if operands.len() == 3 && active(operands[2]) == Some(false) => operands[0],
                _ => return term,
            };
        }
    }

    /// Whether all the steps that something is made for are among these, or none is.
    fn active(&self, steps: Steps, phase: Phase) -> Option<bool> {
        let count = |trace: TraceId| self.recorder.traces[trace.0].generation.as_ref().map_or(0, |of| of.decoding.steps);
        match phase {
            Phase::Outside => Some(true),
            Phase::First(trace) => Some(steps.start == 0 && steps.end > 0 && count(trace) > 0),
            Phase::Later(trace) if steps.start >= count(trace) || steps.end <= 1 => Some(false),
            Phase::Later(trace) => (steps.start <= 1 && steps.end >= count(trace)).then_some(true),
        }
    }

    /// The term as it is made for these steps; it may be of no step.
    fn key(&self, term: TermId, phase: Phase) -> Key {
        let term = self.resolved(term, phase);
        let phase = if self.recorder.terms[term.0].home.is_some() { phase } else { Phase::Outside };
        (Item::Term(term), phase)
    }

    /// Adds an effect of the recorder to the graph, if it happens in these steps.
    fn effect(&mut self, at: usize, phase: Phase) {
        let effect = &self.recorder.effects[at];
        let active = effect.within.map_or(Some(true), |within| self.active(within.steps, phase));
        if active == Some(false) {
            return;
        }
        let operands: Vec<NodeId> = effect.operands.iter().map(|operand| self.node(self.key(*operand, phase))).collect();
        let guard = effect.guard.map(|guard| self.node(self.key(guard, phase)));
        let guard = match (effect.within, active) {
            (Some(within), None) => {
                let here = self.in_steps(within.steps, &effect.span);
                let both = guard.map(|guard| self.frame.graph.add(Op::And {}, [here, guard], effect.span.clone()));
                Some(both.unwrap_or(here))
            }
            _ => guard,
        };
        let guard = guard.map(|condition| Guard { condition, otherwise: None });
        self.frame.entries.insert((at, phase), self.frame.graph.effects.len());
        self.frame.graph.effects.push(Effect { guard, ..Effect::new(effect.kind.clone(), operands, effect.span.clone()) });
    }

    /// The node of an item; makes those that it needs first, without recursion: programs can be long chains.
    fn node(&mut self, wanted: Key) -> NodeId {
        let mut stack = vec![wanted];
        while let Some(&key) = stack.last() {
            if self.frame.nodes.contains_key(&key) {
                stack.pop();
                continue;
            }
            let missing: Vec<Key> = self.needs(key).into_iter().filter(|need| !self.frame.nodes.contains_key(need)).collect();
            if missing.is_empty() {
                let node = self.emit(key);
                self.frame.nodes.insert(key, node);
                stack.pop();
            } else {
                stack.extend(missing.into_iter().rev());
            }
        }
        self.frame.nodes[&wanted]
    }

    /// What must have a node before an item can have one. Values are never later than their use (the recorder checks it
    /// where they are set), so this ends.
    fn needs(&self, (item, phase): Key) -> Vec<Key> {
        match item {
            Item::Term(term) => match &self.recorder.terms[term.0].kind {
                TermKind::Arrival(time) => vec![self.forward_at(*time, phase)],
                TermKind::Op(_, operands) => operands.iter().map(|operand| self.key(*operand, phase)).collect(),
                TermKind::Result(_) => vec![],
                TermKind::Step(trace, term) => self.needs_of_step(*trace, *term, phase),
            },
            Item::Forward(trace, 0) if phase == Phase::Later(trace) => vec![],
            Item::Forward(trace, 0) => vec![(Item::Term(self.recorder.traces[trace.0].tokens), Phase::Outside)],
            Item::Forward(trace, count) => {
                let value = self.writes(trace, phase)[count - 1].value;
                vec![(Item::Forward(trace, count - 1), phase), self.key(value, phase)]
            }
            Item::Prompt(trace) => vec![(Item::Forward(trace, 0), phase)],
            Item::Token(trace) => self.needs_of_token(trace, phase),
        }
    }

    /// The forward pass whose value at a hook is what arrives there: with all writes at earlier hooks, up to the last one
    /// that matters.
    fn forward_at(&self, time: Time, phase: Phase) -> Key {
        let spec = self.recorder.spec(self.recorder.model_of(time.trace));
        let writes = self.writes(time.trace, phase);
        let earlier = writes.partition_point(|write| write.hook < time.hook);
        let count = writes[..earlier].iter().rposition(|write| spec.reaches(write.hook, time.hook)).map_or(0, |last| last + 1);
        (Item::Forward(time.trace, count), phase)
    }

    fn emit(&mut self, key: Key) -> NodeId {
        let operands: Vec<NodeId> = self.needs(key).iter().map(|need| self.frame.nodes[need]).collect();
        let recorder = self.recorder;
        let (item, phase) = key;
        match item {
            Item::Term(term) => {
                let term = &recorder.terms[term.0];
                let node = match &term.kind {
                    TermKind::Arrival(time) => self.shown(*time, phase, operands[0], &term.span),
                    TermKind::Op(op, _) => self.frame.graph.add(op.clone(), operands, term.span.clone()),
                    TermKind::Result(effect) => {
                        let entry = self.frame.entries.get(&(*effect, phase)).map_or(-1, |entry| *entry as i64);
                        self.frame.graph.add(Op::EffectResult { entry }, [], term.span.clone())
                    }
                    TermKind::Step(trace, of) => self.step_term(*trace, *of, phase, &operands, &term.span),
                };
                if let Some(label) = term.label.as_ref().filter(|label| !label.is_empty() && self.frame.graph.label(node).is_none()) {
                    let label = self.free_label(label);
                    self.frame.graph.set_label(node, label);
                }
                node
            }
            Item::Forward(trace, 0) => match self.frame.params.as_ref().filter(|_| phase == Phase::Later(trace)) {
                Some(params) => {
                    let operands = [params.forward, params.token];
                    self.frame.graph.add(Op::Extend {}, operands, recorder.traces[trace.0].span.clone())
                }
                None => {
                    let trace = &recorder.traces[trace.0];
                    let model = recorder.models[trace.model.0].0.name.clone();
                    self.frame.graph.add(Op::Forward { model }, operands, trace.span.clone())
                }
            },
            Item::Forward(trace, count) => {
                let Write { hook, span, .. } = self.writes(trace, phase)[count - 1];
                let (time, span) = (Time { trace, hook }, span.clone());
                let [forward, value] = [operands[0], operands[1]];
                let hook = self.hook_name(time);
                let value = match self.is_cut(time, phase) {
                    true => {
                        let whole = self.frame.graph.add(Op::Read { hook: hook.clone() }, [forward], span.clone());
                        self.frame.graph.add(Op::Update { dim: 1, start: Some(-1), end: None, step: 1 }, [whole, value], span.clone())
                    }
                    false => value,
                };
                self.frame.graph.add(Op::Write { hook }, [forward, value], span)
            }
            Item::Prompt(trace) => {
                let hook = ends(recorder.spec(recorder.model_of(trace))).map_or(HookId(0), |(tokens, _)| tokens);
                let hook = self.hook_name(Time { trace, hook });
                self.frame.graph.add(Op::Read { hook }, operands, recorder.traces[trace.0].span.clone())
            }
            Item::Token(trace) => self.token(trace, phase, &operands),
        }
    }

    /// What a step shows of a hook.
    fn shown(&mut self, time: Time, phase: Phase, forward: NodeId, span: &Span) -> NodeId {
        let read = self.frame.graph.add(Op::Read { hook: self.hook_name(time) }, [forward], span.clone());
        match self.is_cut(time, phase) {
            true => self.frame.graph.add(Op::Slice { dim: 1, start: Some(-1), end: None, step: 1 }, [read], span.clone()),
            false => read,
        }
    }

    /// Whether a step shows the last position of a hook alone, where there are several.
    fn is_cut(&self, time: Time, phase: Phase) -> bool {
        let generation = self.recorder.traces[time.trace.0].generation.as_ref();
        let last = generation.is_some_and(|generation| generation.decoding.last_logits);
        last && phase == Phase::First(time.trace) && is_of_head(self.recorder.spec(self.recorder.model_of(time.trace)), time.hook)
    }

    fn constant(&mut self, value: &Tensor, span: &Span) -> NodeId {
        self.frame.graph.add(Op::Const { value: value.into() }, [], span.clone())
    }

    fn hook_name(&self, time: Time) -> Name {
        self.recorder.spec(self.recorder.model_of(time.trace)).hook_info(time.hook).name.clone()
    }

    /// The label, or one like it that no other node has.
    fn free_label(&mut self, label: &Name) -> Name {
        let numbered = (2..).map(|number| Name::from(format!("{label}_{number}")));
        let free = [label.clone()].into_iter().chain(numbered).find(|label| !self.frame.labels.contains(label));
        let label = free.unwrap_or_else(|| label.clone());
        self.frame.labels.insert(label.clone());
        label
    }
}
