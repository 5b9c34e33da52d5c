//! Generations as programs: step 0, then one loop whose body is all later steps.
//!
//! The loop carries the forward pass so far, the token that goes on with it, the new tokens, the variables, and a list for each
//! value that is collected over steps; what is computed outside of the generation and used in it comes as operands that stay the
//! same. It ends after the step that chooses a token, or completes a text, that ends the generation; where step 0 does so, a guard
//! keeps it from running, and it gives what it would have begun with.

use std::collections::{HashMap, HashSet};

use irc_ir::{
    attr::{Float, Literal},
    diagnostic::{Diagnostics, Span},
    graph::{Body, Effect, EffectKind, Guard, NodeId},
    op::Op,
    tensor::Tensor,
    types::{DType, Dim, ForwardType, Name, Type},
};

use super::{Frame, Item, Key, Lowering, Phase};
use crate::recorder::{
    Choice, TermId, TermKind, TraceId,
    steps::{Decoding, StepTerm, Steps, ends},
};

/// What the body of a generation's loop begins with.
pub(super) struct StepParams {
    /// The number of the iteration, one less than that of the step.
    number: NodeId,
    /// The forward pass so far.
    pub(super) forward: NodeId,
    /// The token that goes on with it.
    pub(super) token: NodeId,
    /// The new tokens so far.
    new_tokens: NodeId,
    variables: Vec<NodeId>,
}

/// The parameters that all generations have: number, forward, token, new tokens.
const PARAMS: usize = 4;

/// Where a value is that comes out of a generation.
#[derive(Clone, Copy)]
enum Place {
    Node(NodeId),
    /// This part of the loop's result.
    Part(NodeId, usize),
}

/// What a generation came to.
pub(super) struct Made {
    new_tokens: Place,
    variables: Vec<Place>,
    lists: HashMap<TermId, Place>,
}

/// A value that is collected over steps.
struct Collected {
    list: TermId,
    value: TermId,
    steps: Steps,
    when: Option<TermId>,
    of: Type,
}

impl Lowering<'_> {
    /// Makes a generation where it stands: its steps, and its new tokens as a save.
    pub(super) fn generation(&mut self, trace: TraceId) -> Result<(), Diagnostics> {
        let recorder = self.recorder;
        let (of, span) = (&recorder.traces[trace.0], &recorder.traces[trace.0].span);
        let Some(generation) = &of.generation else { return Ok(()) };
        let (decoding, first) = (&generation.decoding, Phase::First(trace));
        let mut effects: Vec<usize> = (0..recorder.effects.len()).collect();
        effects.retain(|at| recorder.effects[*at].within.is_some_and(|within| within.trace == trace));
        effects.sort_by_key(|at| recorder.effects[*at].order);
        let lists = self.collected_lists(trace);
        let made = if decoding.steps == 0 {
            let nothing = self.constant(&Tensor::new([1, 0], Vec::<i64>::new()), span);
            let variables = generation.variables.iter().map(|variable| Place::Node(self.node(self.key(variable.initial, Phase::Outside))));
            Made { new_tokens: Place::Node(nothing), variables: variables.collect(), lists: self.first_lists(&lists, None, span) }
        } else {
            effects.iter().for_each(|at| self.effect(*at, first));
            let token = self.node((Item::Token(trace), first));
            let ends = variable_ends(self, trace, first);
            let variables = ends.into_iter().map(|key| Place::Node(self.node(key))).collect();
            let made = Made { new_tokens: Place::Node(token), variables, lists: self.first_lists(&lists, Some(first), span) };
            if decoding.steps == 1 { made } else { self.later_steps(trace, made, &effects, &lists)? }
        };
        let new_tokens = self.placed(made.new_tokens, span);
        self.made.insert(trace, made);
        let save = EffectKind::Save { name: decoding.name.clone() };
        self.frame.graph.effects.push(Effect::new(save, [new_tokens], span.clone()));
        Ok(())
    }

    /// The loop of all steps but the first, and what comes out of it.
    fn later_steps(&mut self, trace: TraceId, first: Made, effects: &[usize], lists: &[Collected]) -> Result<Made, Diagnostics> {
        let recorder = self.recorder;
        let (span, phase) = (&recorder.traces[trace.0].span, Phase::Later(trace));
        let Some(decoding) = recorder.traces[trace.0].generation.as_ref().map(|of| &of.decoding) else { return Ok(first) };
        let forward = (Item::Forward(trace, self.writes(trace, phase).len()), phase);
        let variables = variable_ends(self, trace, phase);
        let carried: Vec<&Collected> = lists.iter().filter(|list| self.active(list.steps, phase) != Some(false)).collect();

        // Everything that the body needs from outside, before its first node is made.
        let mut roots: Vec<Key> = [forward, (Item::Token(trace), phase)].into_iter().chain(variables.iter().copied()).collect();
        roots.extend(carried.iter().flat_map(|list| [list.value].into_iter().chain(list.when)).map(|term| self.key(term, phase)));
        for effect in effects.iter().map(|at| &recorder.effects[*at]) {
            if effect.within.is_some_and(|within| self.active(within.steps, phase) != Some(false)) {
                roots.extend(effect.operands.iter().chain(&effect.guard).map(|term| self.key(*term, phase)));
            }
        }
        let captured = self.captured(&roots);

        let token = self.node((Item::Token(trace), Phase::First(trace)));
        let last = (Item::Forward(trace, self.writes(trace, Phase::First(trace)).len()), Phase::First(trace));
        let mut operands = vec![self.node(last), token, token];
        operands.extend(first.variables.iter().map(|place| self.placed(*place, span)));
        operands.extend(carried.iter().map(|list| self.placed(first.lists[&list.list], span)));
        operands.extend(captured.iter().map(|key| self.node(*key)));
        let ended = self.ended(decoding, token, token, span);

        let outside = std::mem::replace(&mut self.frame, Frame::new(Name::from("")));
        let model = recorder.models[recorder.traces[trace.0].model.0].0.name.clone();
        let one = Dim::known(1);
        let forward_so_far = Type::Forward(ForwardType { model, batch: one.clone(), tokens: Dim::symbol("T"), past: Dim::symbol("P") });
        let new_tokens = Type::tensor(DType::I64, [one, Dim::symbol("N")]);
        let mut param = |ty: Option<Type>| {
            let index = self.frame.graph.len() as i64;
            self.frame.graph.add(Op::Param { index, ty: ty.map(Box::new) }, [], span.clone())
        };
        let [number, so_far, last_token, tokens] = [None, Some(forward_so_far), None, Some(new_tokens)].map(&mut param);
        let params = StepParams {
            number,
            forward: so_far,
            token: last_token,
            new_tokens: tokens,
            variables: variables.iter().map(|_| param(None)).collect(),
        };
        let list_params: Vec<NodeId> = carried.iter().map(|_| param(None)).collect();
        let from_outside: Vec<NodeId> = captured.iter().map(|_| param(None)).collect();
        debug_assert_eq!(params.new_tokens.index() + 1, PARAMS);
        self.frame.nodes.extend(captured.iter().copied().zip(from_outside));
        self.frame.params = Some(params);

        effects.iter().for_each(|at| self.effect(*at, phase));
        let mut results = vec![self.node(forward), self.node((Item::Token(trace), phase))];
        let token = results[1];
        let all = self.frame.graph.add(Op::Cat { dim: 1 }, [tokens, token], span.clone());
        results.push(all);
        results.extend(variables.iter().map(|key| self.node(*key)));
        for (list, param) in carried.iter().zip(list_params) {
            results.push(self.appended(list, param, phase, span));
        }
        let until = self.ended(decoding, token, all, span);
        let mut body = std::mem::replace(&mut self.frame, outside).graph;
        (body.results, body.until) = (results, until);
        let (trip, body) = (decoding.steps as i64 - 1, Body::new(body)?);
        let result = match (ended, body.has_effects()) {
            (None, false) => self.frame.graph.add(Op::Loop { trip, body }, operands, span.clone()),
            (ended, _) => {
                let guard = ended.map(|ended| {
                    let condition = self.frame.graph.add(Op::Not {}, [ended], span.clone());
                    Guard { condition, otherwise: None }
                });
                let entry = self.frame.graph.effects.len() as i64;
                self.frame.graph.effects.push(Effect { guard, ..Effect::new(EffectKind::Loop { trip, body }, operands, span.clone()) });
                self.frame.graph.add(Op::EffectResult { entry }, [], span.clone())
            }
        };
        // The result has no number.
        let part = |at: usize| Place::Part(result, at);
        let variables: Vec<Place> = (0..variables.len()).map(|at| part(PARAMS - 1 + at)).collect();
        let after = PARAMS - 1 + variables.len();
        let carried: HashMap<TermId, Place> = carried.iter().enumerate().map(|(at, list)| (list.list, part(after + at))).collect();
        let lists = first.lists.into_iter().map(|(list, place)| (list, carried.get(&list).copied().unwrap_or(place))).collect();
        Ok(Made { new_tokens: part(PARAMS - 2), variables, lists })
    }

    /// The values that the body of a loop needs and that are not of its steps. Constants have no need to come from outside.
    fn captured(&self, roots: &[Key]) -> Vec<Key> {
        let (mut found, mut seen): (Vec<Key>, HashSet<Key>) = (vec![], HashSet::new());
        let mut stack: Vec<Key> = roots.iter().rev().copied().collect();
        while let Some(key) = stack.pop() {
            if !seen.insert(key) {
                continue;
            }
            match key {
                (_, Phase::Later(_)) => stack.extend(self.needs(key).into_iter().rev()),
                (Item::Term(term), _) if matches!(self.recorder.terms[term.0].kind, TermKind::Op(Op::Const { .. }, _)) => {}
                _ => found.push(key),
            }
        }
        found
    }

    fn collected_lists(&self, trace: TraceId) -> Vec<Collected> {
        let terms = self.recorder.terms.iter().enumerate();
        let list = terms.filter_map(|(at, term)| match (&term.kind, &term.ty) {
            (TermKind::Step(of, StepTerm::Collected { value, steps, when }), Some(Type::List(ty))) if *of == trace => {
                Some(Collected { list: TermId(at), value: *value, steps: *steps, when: *when, of: with_short_symbols(ty) })
            }
            _ => None,
        });
        list.collect()
    }

    /// The lists after step 0, or before it.
    fn first_lists(&mut self, lists: &[Collected], phase: Option<Phase>, span: &Span) -> HashMap<TermId, Place> {
        let mut made = HashMap::new();
        for list in lists {
            let empty = Op::List { of: Some(Box::new(list.of.clone())) };
            let phase = phase.filter(|phase| self.active(list.steps, *phase) == Some(true));
            let node = match (phase, list.when) {
                (None, _) => self.frame.graph.add(empty, [], span.clone()),
                (Some(phase), None) => {
                    let value = self.node(self.key(list.value, phase));
                    self.frame.graph.add(empty, [value], span.clone())
                }
                (Some(phase), Some(_)) => {
                    let empty = self.frame.graph.add(empty, [], span.clone());
                    self.appended(list, empty, phase, span)
                }
            };
            made.insert(list.list, Place::Node(node));
        }
        made
    }

    /// The list with the value of a step, if that is one of its steps and a condition holds.
    fn appended(&mut self, list: &Collected, so_far: NodeId, phase: Phase, span: &Span) -> NodeId {
        let value = self.node(self.key(list.value, phase));
        let here = self.active(list.steps, phase).is_none().then(|| self.in_steps(list.steps, span));
        let when = list.when.map(|when| self.node(self.key(when, phase)));
        let condition = match (here, when) {
            (Some(here), Some(when)) => Some(self.frame.graph.add(Op::And {}, [here, when], span.clone())),
            (here, when) => here.or(when),
        };
        self.frame.graph.add(Op::Append {}, [so_far, value].into_iter().chain(condition), span.clone())
    }

    /// Whether the step that the body of the loop is now is one of these, as a value.
    pub(super) fn in_steps(&mut self, steps: Steps, span: &Span) -> NodeId {
        let Some(number) = self.frame.params.as_ref().map(|params| params.number) else {
            // Of step 0 it is known.
            return self.constant(&Tensor::scalar(steps.start == 0), span);
        };
        // The iteration is one less than the step.
        let mut compare = |op: Op, step: usize| {
            let step = self.constant(&Tensor::scalar(step as i64 - 1), span);
            self.frame.graph.add(op, [number, step], span.clone())
        };
        match (steps.only(), steps.start > 1, steps.end < usize::MAX) {
            (Some(step), ..) => compare(Op::Eq {}, step),
            (None, true, false) => compare(Op::Ge {}, steps.start),
            (None, false, _) => compare(Op::Lt {}, steps.end),
            (None, true, true) => {
                let (from, before) = (compare(Op::Ge {}, steps.start), compare(Op::Lt {}, steps.end));
                self.frame.graph.add(Op::And {}, [from, before], span.clone())
            }
        }
    }

    pub(super) fn needs_of_step(&self, trace: TraceId, term: StepTerm, phase: Phase) -> Vec<Key> {
        let initial = |at: usize| self.recorder.traces[trace.0].generation.as_ref().and_then(|of| Some(of.variables.get(at)?.initial));
        match term {
            StepTerm::Token => vec![(Item::Token(trace), phase)],
            StepTerm::Variable(at) if phase == Phase::First(trace) => {
                initial(at).map(|term| self.key(term, Phase::Outside)).into_iter().collect()
            }
            StepTerm::First(term) => vec![self.key(term, Phase::First(trace))],
            StepTerm::Tokens => vec![(Item::Prompt(trace), Phase::First(trace))],
            StepTerm::Number | StepTerm::Active(_) | StepTerm::Variable(_) => vec![],
            StepTerm::Collected { .. } | StepTerm::Last(_) | StepTerm::NewTokens => vec![],
        }
    }

    /// The node of something that a generation brings with it.
    pub(super) fn step_term(&mut self, trace: TraceId, term: StepTerm, phase: Phase, operands: &[NodeId], span: &Span) -> NodeId {
        let list = |made: &Made, term: StepTerm| {
            let is = |at: &TermId| matches!(self.recorder.terms[at.0].kind, TermKind::Step(_, of) if of == term);
            made.lists.iter().find(|(at, _)| is(at)).map(|(_, place)| *place)
        };
        let place = self.made.get(&trace).and_then(|made| match term {
            StepTerm::Last(at) => made.variables.get(at).copied(),
            StepTerm::NewTokens | StepTerm::Tokens => Some(made.new_tokens),
            StepTerm::Collected { .. } => list(made, term),
            StepTerm::Number | StepTerm::Active(_) | StepTerm::Token | StepTerm::Variable(_) | StepTerm::First(_) => None,
        });
        match (term, place, self.frame.params.as_ref()) {
            (StepTerm::Number, ..) => self.number(span),
            (StepTerm::Active(steps), ..) => match self.active(steps, phase) {
                Some(active) => self.constant(&Tensor::scalar(active), span),
                None => self.in_steps(steps, span),
            },
            (StepTerm::Variable(at), _, Some(params)) => params.variables[at],
            (StepTerm::Tokens, Some(place), _) => {
                let new_tokens = self.placed(place, span);
                self.frame.graph.add(Op::Cat { dim: 1 }, [operands[0], new_tokens], span.clone())
            }
            (_, Some(place), _) => self.placed(place, span),
            // It is what it needs.
            (_, None, _) => operands[0],
        }
    }

    /// The number of the step.
    fn number(&mut self, span: &Span) -> NodeId {
        match self.frame.params.as_ref().map(|params| params.number) {
            Some(number) => {
                let one = self.constant(&Tensor::scalar(1i64), span);
                self.frame.graph.add(Op::Add {}, [number, one], span.clone())
            }
            None => self.constant(&Tensor::scalar(0i64), span),
        }
    }

    fn placed(&mut self, place: Place, span: &Span) -> NodeId {
        match place {
            Place::Node(node) => node,
            Place::Part(whole, index) => self.frame.graph.add(Op::Get { index: index as i64 }, [whole], span.clone()),
        }
    }

    pub(super) fn needs_of_token(&self, trace: TraceId, phase: Phase) -> Vec<Key> {
        let forward = (Item::Forward(trace, self.writes(trace, phase).len()), phase);
        let generation = self.recorder.traces[trace.0].generation.as_ref();
        let looks_back = generation.is_some_and(|of| of.decoding.repetition_penalty != 1.0);
        [forward].into_iter().chain(looks_back.then_some((Item::Prompt(trace), Phase::First(trace)))).collect()
    }

    /// The token that a step chooses, i64 [1, 1], in the order of Hugging Face's logits processors: the penalty of repetitions, no
    /// end before so many tokens, then temperature and filters, which are attributes of the draw.
    pub(super) fn token(&mut self, trace: TraceId, phase: Phase, operands: &[NodeId]) -> NodeId {
        let recorder = self.recorder;
        let (spec, span) = (recorder.spec(recorder.model_of(trace)), &recorder.traces[trace.0].span);
        let decoding = recorder.traces[trace.0].generation.as_ref().map(|of| &of.decoding);
        let (Some(decoding), Some((_, hook))) = (decoding, ends(spec)) else { return operands[0] };
        let hook = spec.hook_info(hook).name.clone();
        let mut logits = self.frame.graph.add(Op::Read { hook }, [operands[0]], span.clone());
        if phase == Phase::First(trace) {
            logits = self.frame.graph.add(Op::Slice { dim: 1, start: Some(-1), end: None, step: 1 }, [logits], span.clone());
        }
        if decoding.repetition_penalty != 1.0 {
            let so_far = self.frame.params.as_ref().map(|params| params.new_tokens);
            let ids = match so_far {
                Some(new_tokens) => self.frame.graph.add(Op::Cat { dim: 1 }, [operands[1], new_tokens], span.clone()),
                None => operands[1],
            };
            logits = self.penalised(logits, ids, decoding.repetition_penalty, span);
        }
        let none_ends = Steps { start: 0, end: decoding.min_new_tokens };
        if !decoding.ends.is_empty() && self.active(none_ends, phase) != Some(false) && decoding.min_new_tokens > 0 {
            let ids = self.constant(&Tensor::new([decoding.ends.len()], decoding.ends.clone()), span);
            let never = self.constant(&Tensor::scalar(f32::NEG_INFINITY), span);
            let without = self.frame.graph.add(Op::IndexPut { dims: vec![2], accumulate: false }, [logits, never, ids], span.clone());
            logits = match self.active(none_ends, phase) {
                Some(_) => without,
                None => {
                    let here = self.in_steps(none_ends, span);
                    self.frame.graph.add(Op::Select {}, [here, without, logits], span.clone())
                }
            };
        }
        match decoding.choice {
            Choice::Greedy => self.frame.graph.add(Op::Argmax { dim: Some(-1), keepdim: false }, [logits], span.clone()),
            Choice::Sample { seed, temperature, top_k, top_p, min_p } => {
                let stream = self.number(span);
                let [temperature, top_p, min_p] = [temperature, top_p, min_p].map(Float::new);
                let op = Op::Sample { seed, temperature, top_k, top_p, min_p };
                self.frame.graph.add(op, [logits, stream], span.clone())
            }
        }
    }

    /// Logits [1, 1, V] with those of these ids [1, N] nearer to the least probable: divided by the penalty, multiplied where
    /// they are negative.
    fn penalised(&mut self, logits: NodeId, ids: NodeId, penalty: f64, span: &Span) -> NodeId {
        let [penalty, zero] = [penalty as f32, 0.0].map(|number| self.constant(&Tensor::scalar(number), span));
        let mut add = |op: Op, operands: &[NodeId]| self.frame.graph.add(op, operands.iter().copied(), span.clone());
        let ids = add(Op::Unsqueeze { dim: 1 }, &[ids]);
        let own = add(Op::Gather { dim: 2 }, &[logits, ids]);
        let negative = add(Op::Lt {}, &[own, zero]);
        let (more, less) = (add(Op::Mul {}, &[own, penalty]), add(Op::Div {}, &[own, penalty]));
        let own = add(Op::Select {}, &[negative, more, less]);
        add(Op::Scatter { dim: 2 }, &[logits, ids, own])
    }

    /// Whether a token, or a text that it completes, ends the generation: one bool. None if nothing does.
    fn ended(&mut self, decoding: &Decoding, token: NodeId, new_tokens: NodeId, span: &Span) -> Option<NodeId> {
        let by_token = (!decoding.ends.is_empty()).then(|| match &decoding.ends[..] {
            [end] => {
                let end = self.constant(&Tensor::scalar(*end), span);
                self.frame.graph.add(Op::Eq {}, [token, end], span.clone())
            }
            ends => {
                let ends = self.constant(&Tensor::new([ends.len()], ends.to_vec()), span);
                let each = self.frame.graph.add(Op::Eq {}, [token, ends], span.clone());
                self.frame.graph.add(Op::Any { dims: vec![], keepdim: false }, [each], span.clone())
            }
        });
        let by_text = decoding.stop.as_ref().map(|stop| {
            let text = |text: &Name| Op::Const { value: Literal::Str(text.clone()) };
            let texts: Vec<NodeId> = stop.texts.iter().map(|of| self.frame.graph.add(text(of), [], span.clone())).collect();
            let op = Op::Call { name: stop.function.clone(), returns: Box::new(Type::tensor(DType::Bool, [])) };
            self.frame.graph.add(op, [new_tokens].into_iter().chain(texts), span.clone())
        });
        match (by_token, by_text) {
            (Some(token), Some(text)) => Some(self.frame.graph.add(Op::Or {}, [token, text], span.clone())),
            (token, text) => token.or(text),
        }
    }
}

/// The type with symbols N, N2 and so on, in the order in which they occur: those of the recorder tell generations apart.
fn with_short_symbols(ty: &Type) -> Type {
    let mut found: Vec<Name> = vec![];
    for symbol in ty.dims().into_iter().flat_map(Dim::symbols) {
        if !found.contains(&symbol) {
            found.push(symbol);
        }
    }
    let short = |at: usize| if at == 0 { Dim::symbol("N") } else { Dim::symbol(format!("N{}", at + 1)) };
    ty.substitute(&|symbol| found.iter().position(|of| **of == *symbol).map(short))
}

/// What variables hold when a step ends.
fn variable_ends(lowering: &Lowering<'_>, trace: TraceId, phase: Phase) -> Vec<Key> {
    let recorder = lowering.recorder;
    let variables = recorder.traces[trace.0].generation.as_ref().map_or(&[][..], |of| &of.variables);
    variables.iter().map(|variable| lowering.key(recorder.places[variable.place.0].content, phase)).collect()
}
