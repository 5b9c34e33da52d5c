//! From accesses to a graph: what a program reads and sets at hooks, in any order, becomes pure values in the order of
//! the forward pass.
//!
//! **Places and views.** A *place* holds a tensor: a hook of a trace, or the result of an operation. A [`Ref`] is a place
//! and the views that lead into it (slice, index, reshape, flatten, transpose, permute, unsqueeze, squeeze, expand, diagonal,
//! the pieces of split and chunk). As in PyTorch, a view shares the tensor of its place: setting it changes the place, and
//! whoever looks at the place later sees the change. Everything else (arithmetic, reductions, casts) makes a new place. A
//! reshape is always a view here, where PyTorch sometimes copies. What is picked by tensors of ids is a new place, too, but
//! remembers what it was picked from: to set it is PyTorch's `x[ids] = value`.
//!
//! **Terms.** What a place holds at one moment is a *term*, a pure value. To set a view is to give its place a new term,
//! `update(old, value)`, through the views in reverse; so terms are made at once, in the order of the program. One kind of
//! term is left open until [`Recorder::program`]: what *arrives* at a hook depends on all that is set at earlier hooks of
//! its trace, even by later lines of the program. That is how accesses come to be sorted by hook, and stay in program order
//! within one.
//!
//! **Time.** Every term has one: the last (trace, hook) of which it needs to know what arrives. A hook can be set to
//! values of its own time or earlier, which is also why there are no cycles. What a function of the user's returns has the
//! time at which it is called, so no effect can need the result of a later one.
//!
//! The recorder knows nothing of engines and tokenizers. A prompt is a text constant that a later step binds to token ids;
//! until then the number of tokens is a symbol. Mistakes never panic: they are kept for [`Recorder::program`], and what
//! would follow from them is a poisoned [`Ref`], which causes no errors of its own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use irc_ir::{
    attr::Literal,
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{EffectKind, ModelDecl},
    infer::Models,
    model::{HookId, ModelSpec},
    op::Op,
    types::{DType, Dim, Name, Type},
};

mod assign;
mod known;
mod lower;
mod steps;

use steps::Within;
pub use steps::{Choice, Decoding, Steps, StopAt};

/// A model of a recorder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ModelId(usize);

/// A trace of a recorder. Traces run in the order in which they were opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TraceId(usize);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PlaceId(usize);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct TermId(usize);

/// A value of the program: a place and the views that lead into it.
#[derive(Clone, Debug)]
pub struct Ref {
    /// None after a mistake.
    place: Option<PlaceId>,
    views: Vec<(Op, Span)>,
    /// What all of the place was picked from by ids.
    picked: Option<Arc<Picked>>,
    /// The steps of a generation in which the value exists; none is a value of the program.
    within: Option<Within>,
    span: Span,
}

/// What `x[ids]` was taken from: to set it is to set that.
#[derive(Debug)]
struct Picked {
    from: Ref,
    ids: Vec<TermId>,
    dims: Vec<i64>,
}

impl Ref {
    /// A value that stands for a mistake which has been reported.
    pub fn poisoned(span: Span) -> Ref {
        Ref { place: None, views: vec![], picked: None, within: None, span }
    }

    /// Whether the value stands for a mistake which has been reported.
    pub fn is_poisoned(&self) -> bool {
        self.place.is_none()
    }

    /// Where the user asked for the value.
    pub fn span(&self) -> &Span {
        &self.span
    }
}

/// Where among the effects one is to stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In the last trace that its value depends on.
    Value,
    /// In this trace, or a later one if its value depends on that.
    Trace(TraceId),
    /// In these steps of a generation.
    Steps(TraceId, Steps),
    /// After the traces that were used before it, before those that were not.
    Session,
}

/// Records a program. One recorder is one session.
#[derive(Debug)]
pub struct Recorder {
    name: Name,
    models: Vec<(ModelDecl, Arc<ModelSpec>)>,
    /// The same models, as type inference wants them.
    specs: Models,
    traces: Vec<Trace>,
    places: Vec<Place>,
    terms: Vec<Term>,
    /// Constants and views by what they are: equal ones are one term. The prompts of each model are apart from all else,
    /// as each has a tokenizer of its own.
    constants: HashMap<(Option<ModelId>, Literal), TermId>,
    views: HashMap<(TermId, Op), TermId>,
    effects: Vec<Effect>,
    /// The condition under which effects happen, innermost last; each implies those before it.
    guards: Vec<Option<Ref>>,
    /// The last of the traces that have been used.
    used: Option<TraceId>,
    /// How many sizes have been given a symbol of their own.
    unknowns: usize,
    errors: Vec<Diagnostic>,
}

#[derive(Debug)]
struct Trace {
    model: ModelId,
    tokens: TermId,
    batch: Dim,
    length: Dim,
    span: Span,
    hooks: BTreeMap<HookId, HookState>,
    /// How it goes on, where it is a generation: then the trace is what happens in each step.
    generation: Option<steps::Generation>,
}

/// A hook that a trace has used.
#[derive(Debug)]
struct HookState {
    /// What arrives there.
    arrival: TermId,
    /// What the forward pass goes on with.
    place: PlaceId,
}

#[derive(Debug)]
struct Place {
    content: TermId,
    hook: Option<Time>,
    /// The steps of a generation in which there is such a place.
    within: Option<Within>,
    /// Where it was last set.
    set: Option<Span>,
}

#[derive(Debug)]
struct Term {
    kind: TermKind,
    span: Span,
    /// As far as it is known before prompts are bound; nothing if the term is wrong.
    ty: Option<Type>,
    time: Option<Point>,
    /// The generation in each step of which the term stands for another value.
    home: Option<TraceId>,
    label: Option<Name>,
}

#[derive(Debug)]
enum TermKind {
    /// What arrives at a hook, given all that is set at earlier hooks.
    Arrival(Time),
    Op(Op, Vec<TermId>),
    /// What this effect returns.
    Result(usize),
    /// Something of a generation.
    Step(TraceId, steps::StepTerm),
}

/// A hook of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Time {
    trace: TraceId,
    hook: HookId,
}

/// A point of the program's run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Point {
    trace: TraceId,
    moment: Moment,
}

impl From<Time> for Point {
    fn from(time: Time) -> Point {
        Point { trace: time.trace, moment: Moment::At(time.hook) }
    }
}

#[derive(Debug)]
struct Effect {
    kind: EffectKind,
    operands: Vec<TermId>,
    /// It happens only if this holds.
    guard: Option<TermId>,
    /// The steps of a generation in which it happens; none is an effect of the program.
    within: Option<Within>,
    span: Span,
    order: Order,
}

/// The order of effects; program order decides among equals.
type Order = (Option<TraceId>, Moment);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Moment {
    Begin,
    At(HookId),
    End,
    /// After the last step of a generation, or the whole of a trace.
    After,
}

/// Terms that a recorder keeps: far more than the verifier lets pass, and few enough for a graph's ids.
const TERMS: usize = 1 << 28;

impl Recorder {
    /// A recorder for a program of this name.
    pub fn new(name: impl Into<Name>) -> Recorder {
        Recorder {
            name: name.into(),
            models: vec![],
            specs: Models::new(),
            traces: vec![],
            places: vec![],
            terms: vec![],
            constants: HashMap::new(),
            views: HashMap::new(),
            effects: vec![],
            guards: vec![],
            used: None,
            unknowns: 0,
            errors: vec![],
        }
    }

    /// Keeps a mistake for [`Recorder::program`].
    pub fn error(&mut self, error: Diagnostic) {
        self.errors.push(error);
    }

    /// Adds a model: `name` is what the program calls it, `reference` what it is found by. `None` after a mistake: a second
    /// model of the same name.
    pub fn add_model(&mut self, name: &str, reference: &str, spec: Arc<ModelSpec>, span: Span) -> Option<ModelId> {
        if let Some((earlier, _)) = self.models.iter().find(|(decl, _)| &*decl.name == name) {
            let error = Diagnostic::error(Code::E0003, format!("the session has two models `{name}`"));
            self.errors.push(error.label(span, "").label(earlier.span.clone(), "first here").help("give each its own name"));
            return None;
        }
        let name = Name::from(name);
        self.specs.insert(name.clone(), spec.clone());
        self.models.push((ModelDecl { name, reference: reference.into(), span }, spec));
        Some(ModelId(self.models.len() - 1))
    }

    /// Opens a trace of a model on tokens: a text, i64 [batch, tokens], or a value of that type from an earlier trace.
    /// `None` if the tokens are poisoned.
    pub fn trace(&mut self, model: ModelId, tokens: &Ref, span: Span) -> Option<TraceId> {
        let tokens = self.outside(tokens, &span)?;
        let (batch, length) = match &self.terms[tokens.0].ty {
            // Equal prompts have equally many tokens, so that values of one fit the other.
            Some(Type::Str) => (Dim::known(1), Dim::symbol(format!("T{}M{}", tokens.0, model.0))),
            Some(Type::Tensor(ty)) if ty.rank() == 2 => (ty.shape[0].clone(), ty.shape[1].clone()),
            _ => (self.unknown(), self.unknown()),
        };
        self.traces.push(Trace { model, tokens, batch, length, span, hooks: BTreeMap::new(), generation: None });
        Some(TraceId(self.traces.len() - 1))
    }

    /// A constant.
    pub fn constant(&mut self, value: Literal, span: Span) -> Ref {
        self.shared_constant(None, value, span)
    }

    /// A prompt, for traces of this model alone: whoever binds it to token ids can replace the constant.
    pub fn prompt(&mut self, model: ModelId, text: &str, span: Span) -> Ref {
        self.shared_constant(Some(model), Literal::Str(text.into()), span)
    }

    fn shared_constant(&mut self, model: Option<ModelId>, value: Literal, span: Span) -> Ref {
        let key = (model, value);
        let term = match self.constants.get(&key) {
            Some(&term) => term,
            None => {
                let term = self.op_term(Op::Const { value: key.1.clone() }, vec![], span.clone());
                self.constants.insert(key, term);
                term
            }
        };
        self.place(term, None, span)
    }

    /// The value at a hook, by its name; poisoned if the model has no such hook (E2001).
    pub fn hook(&mut self, trace: TraceId, name: &str, span: Span) -> Ref {
        let within = self.traces[trace.0].generation.is_some().then_some(Within { trace, steps: Steps::ALL });
        self.hook_within(trace, within, name, span)
    }

    /// [`Recorder::hook`] in some steps of a generation.
    pub fn hook_at(&mut self, trace: TraceId, steps: Steps, name: &str, span: Span) -> Ref {
        self.hook_within(trace, Some(Within { trace, steps }), name, span)
    }

    fn hook_within(&mut self, trace: TraceId, within: Option<Within>, name: &str, span: Span) -> Ref {
        let Trace { model, ref batch, ref length, .. } = self.traces[trace.0];
        let spec = self.models[model.0].1.clone();
        let hook = match spec.hook(name) {
            Ok(hook) => hook,
            Err(error) => {
                self.errors.push(error.or_label(&span));
                return Ref::poisoned(span);
            }
        };
        self.used = self.used.max(Some(trace));
        if let Some(state) = self.traces[trace.0].hooks.get(&hook) {
            return Ref { place: Some(state.place), views: vec![], picked: None, within, span };
        }
        let mut ty = spec.hook_type(hook).substitute(&|symbol| match symbol {
            "B" => Some(batch.clone()),
            "T" => Some(length.clone()),
            _ => None,
        });
        let generation = self.traces[trace.0].generation.is_some();
        if generation {
            ty = self.step_type(trace, hook, ty);
        }
        let time = Time { trace, hook };
        let kind = TermKind::Arrival(time);
        let home = generation.then_some(trace);
        let arrival = Term { kind, span: span.clone(), ty: Some(Type::Tensor(ty)), time: Some(time.into()), home, label: None };
        let arrival = self.term(arrival);
        let place = PlaceId(self.places.len());
        let everywhere = home.map(|trace| Within { trace, steps: Steps::ALL });
        self.places.push(Place { content: arrival, hook: Some(time), within: everywhere, set: None });
        self.traces[trace.0].hooks.insert(hook, HookState { arrival, place });
        Ref { place: Some(place), views: vec![], picked: None, within, span }
    }

    /// An operation on values. A view (slice, reshape, permute and their like) shares the place of its operand, any other
    /// result has a place of its own. Operands that do not fit are the verifier's to find.
    pub fn op(&mut self, op: Op, operands: &[&Ref], span: Span) -> Ref {
        if let [of] = operands
            && is_view(&op, of)
        {
            let views = of.views.iter().cloned().chain([(op, span.clone())]).collect();
            return Ref { place: of.place, views, picked: None, within: of.within, span };
        }
        let Some((operands, within)) = self.together(operands, &span) else { return Ref::poisoned(span) };
        let term = self.op_term(op, operands, span.clone());
        self.place(term, within, span)
    }

    /// Entries picked by tensors of ids, one for each of `dims` (PyTorch's `x[ids]`): a tensor of its own, but to set all of it
    /// is `x[ids] = value`.
    pub fn pick(&mut self, of: &Ref, ids: &[&Ref], dims: Vec<i64>, span: Span) -> Ref {
        let all: Vec<&Ref> = [of].into_iter().chain(ids.iter().copied()).collect();
        let Some((operands, within)) = self.together(&all, &span) else { return Ref::poisoned(span) };
        let ids = operands[1..].to_vec();
        let term = self.op_term(Op::IndexBy { dims: dims.clone() }, operands, span.clone());
        Ref { picked: Some(Arc::new(Picked { from: of.clone(), ids, dims })), ..self.place(term, within, span) }
    }

    /// A module of a model on a value; poisoned if there is no such module (E2005).
    pub fn apply(&mut self, model: ModelId, module: &str, value: &Ref, span: Span) -> Ref {
        let (decl, spec) = &self.models[model.0];
        let op = Op::Apply { model: decl.name.clone(), module: module.into() };
        if let Err(error) = spec.module(module) {
            self.errors.push(error.or_label(&span));
            return Ref::poisoned(span);
        }
        self.op(op, &[value], span)
    }

    /// Sets a value in place, as `target[...] = value` does in PyTorch: broadcast and cast to the target, seen by all who
    /// share its place, and by the forward pass where that is a hook.
    ///
    /// A value that comes from a later hook of the same trace (E2007) or from a later trace (E3003) is a mistake.
    pub fn set(&mut self, target: &Ref, value: &Ref, span: Span) {
        let Some((terms, within)) = self.set_together(target, value, &span) else { return };
        let value = terms[1];
        if let Some(picked) = target.picked.clone() {
            let Some(of) = self.current(&picked.from) else { return };
            let part = self.without_leading_ones(value, terms[0], &span);
            let operands = [of, part].into_iter().chain(picked.ids.iter().copied()).collect();
            let op = Op::IndexPut { dims: picked.dims.clone(), accumulate: false };
            let whole = self.op_term(op, operands, span.clone());
            self.set_term(&picked.from, whole, within, span.clone());
        }
        self.set_term(target, value, within, span);
    }

    /// Sets a value in those steps of a generation that are given; always, where there are none.
    fn set_term(&mut self, target: &Ref, value: TermId, within: Option<Within>, span: Span) {
        let Some(place) = target.place else { return };
        if let Err(error) = self.check_time(self.places[place.0].hook, value, &span) {
            self.errors.push(error);
            return;
        }
        let old = self.places[place.0].content;
        let mut content = self.assign(old, &target.views, value, &span);
        if let Some(within) = within.filter(|within| self.places[place.0].within != Some(*within)) {
            content = self.in_steps(within, content, old, &span);
        }
        let place = &mut self.places[place.0];
        (place.content, place.set) = (content, Some(span));
    }

    /// Puts another tensor at a hook of a trace, as a PyTorch hook does that returns one: values that were read there before keep
    /// what they are. The new one must have the hook's type. Mistakes are those of [`Recorder::set`] and
    /// [`Recorder::hook`].
    pub fn replace(&mut self, trace: TraceId, name: &str, value: &Ref, span: Span) {
        let (Some(old), Some(value)) = (self.hook(trace, name, span.clone()).place, self.current(value)) else { return };
        let time = self.places[old.0].hook;
        if let Err(error) = self.check_time(time, value, &span) {
            self.errors.push(error);
            return;
        }
        // The old tensor is now one that the forward pass does not look at.
        self.places[old.0].hook = None;
        let place = PlaceId(self.places.len());
        self.places.push(Place { content: value, hook: time, within: None, set: Some(span) });
        if let Some(state) = time.and_then(|time| self.traces[trace.0].hooks.get_mut(&time.hook)) {
            state.place = place;
        }
    }

    /// Saves or logs what a value is at this point of the program. Nothing happens if it is poisoned.
    ///
    /// Effects are sorted by trace, then by the latest hook of that trace that their value depends on, then stay in
    /// program order. One whose value depends on no hook of its trace comes after all effects of that trace that are
    /// above it in the program.
    pub fn effect(&mut self, kind: EffectKind, value: &Ref, scope: Scope, span: Span) {
        self.effect_on(kind, &[value], scope, span);
    }

    /// [`Recorder::effect`] on any number of values, of which the latest hook counts.
    pub fn effect_on(&mut self, kind: EffectKind, operands: &[&Ref], scope: Scope, span: Span) {
        self.add_effect(kind, operands, scope, span);
    }

    /// Calls a function of the user's as an effect; what it returns is a value of this type, and has the time of the call.
    pub fn call(&mut self, name: &str, operands: &[&Ref], returns: Type, span: Span) -> Ref {
        let kind = EffectKind::Call { name: name.into(), returns: returns.clone() };
        let Some(effect) = self.add_effect(kind, operands, Scope::Value, span.clone()) else { return Ref::poisoned(span) };
        let Effect { order: (trace, moment), within, .. } = self.effects[effect];
        let time = trace.map(|trace| Point { trace, moment });
        let home = within.map(|within| within.trace);
        let term = self.term(Term { kind: TermKind::Result(effect), span: span.clone(), ty: Some(returns), time, home, label: None });
        self.place(term, within, span)
    }

    /// From here on, effects happen only if a condition holds that is one bool; until [`Recorder::end_guard`].
    pub fn begin_guard(&mut self, condition: &Ref, span: Span) {
        let outer = self.guards.last().cloned().flatten();
        let both = match (outer, condition.is_poisoned()) {
            (Some(outer), false) => Some(self.op(Op::And {}, &[&outer, condition], span)),
            (outer, true) => outer,
            // What it is here, whatever is set later.
            (None, false) => self.current(condition).map(|term| self.place(term, condition.within, span)),
        };
        self.guards.push(both);
    }

    /// Ends what the last [`Recorder::begin_guard`] began.
    pub fn end_guard(&mut self) {
        self.guards.pop();
    }

    /// None if something that it needs is a mistake.
    fn add_effect(&mut self, kind: EffectKind, operands: &[&Ref], scope: Scope, span: Span) -> Option<usize> {
        let guard = self.guards.last().cloned().flatten();
        let all: Vec<&Ref> = operands.iter().copied().chain(&guard).collect();
        let (terms, within) = self.effect_together(&kind, &all, scope, &span)?;
        let guard = terms.get(operands.len()).copied();
        let operands = terms[..operands.len()].to_vec();
        if let Scope::Trace(trace) | Scope::Steps(trace, _) = scope {
            self.used = self.used.max(Some(trace));
        }
        let time = operands.iter().chain(&guard).filter_map(|term| self.terms[term.0].time).max();
        let natural: Option<Order> = time.map(|time| (Some(time.trace), time.moment));
        let so_far = |trace: Option<TraceId>| {
            let moments = self.effects.iter().filter(|effect| effect.order.0 == trace).map(|effect| effect.order.1);
            (trace, moments.max().unwrap_or(Moment::Begin))
        };
        let order = match (scope, natural) {
            (Scope::Value, Some(order)) => order,
            (Scope::Value, None) => so_far(self.used),
            (Scope::Trace(trace), Some(order)) if order.0 >= Some(trace) => order,
            (Scope::Trace(trace), _) => so_far(Some(trace)),
            (Scope::Steps(trace, _), Some(order)) if order.0 == Some(trace) => order,
            (Scope::Steps(trace, _), _) => so_far(Some(trace)),
            (Scope::Session, _) => (self.used, Moment::After),
        };
        // A value that is known before a generation is of no step of it.
        let order = match within {
            Some(within) if order.0 != Some(within.trace) => so_far(Some(within.trace)),
            Some(within) => (Some(within.trace), order.1.min(Moment::End)),
            None => order,
        };
        self.effects.push(Effect { kind, operands, guard, within, span, order });
        Some(self.effects.len() - 1)
    }

    /// Names what a value is at this point, for the reader of the graph. The first name counts.
    pub fn name(&mut self, value: &Ref, name: &str) {
        if let Some(term) = self.current(value) {
            self.terms[term.0].label.get_or_insert_with(|| name.into());
        }
    }

    /// The type of a value as far as it is known before prompts are bound to token ids. Sizes that are not are symbols,
    /// which are different unless the sizes are surely equal.
    pub fn ty(&mut self, value: &Ref) -> Option<&Type> {
        let term = self.current(value)?;
        self.terms[term.0].ty.as_ref()
    }

    /// The element type of a value.
    pub fn dtype(&mut self, value: &Ref) -> Option<DType> {
        self.ty(value)?.as_tensor().map(|ty| ty.dtype)
    }

    /// A model that has been added.
    pub fn spec(&self, model: ModelId) -> &Arc<ModelSpec> {
        &self.models[model.0].1
    }

    /// What the program calls a model.
    pub fn model_name(&self, model: ModelId) -> &Name {
        &self.models[model.0].0.name
    }

    /// The first model that was added.
    pub fn first_model(&self) -> Option<ModelId> {
        (!self.models.is_empty()).then_some(ModelId(0))
    }

    /// The model of a trace.
    pub fn model_of(&self, trace: TraceId) -> ModelId {
        self.traces[trace.0].model
    }

    /// What a value holds at this point of the program.
    fn current(&mut self, value: &Ref) -> Option<TermId> {
        let content = self.places[value.place?.0].content;
        Some(value.views.iter().fold(content, |term, (op, span)| self.view_term(op, term, span)))
    }

    fn place(&mut self, content: TermId, within: Option<Within>, span: Span) -> Ref {
        self.places.push(Place { content, hook: None, within, set: None });
        Ref { place: Some(PlaceId(self.places.len() - 1)), views: vec![], picked: None, within, span }
    }

    fn view_term(&mut self, op: &Op, of: TermId, span: &Span) -> TermId {
        let key = (of, op.clone());
        if let Some(&term) = self.views.get(&key) {
            return term;
        }
        let term = self.op_term(op.clone(), vec![of], span.clone());
        self.views.insert(key, term);
        term
    }

    fn op_term(&mut self, op: Op, operands: Vec<TermId>, span: Span) -> TermId {
        let time = operands.iter().filter_map(|operand| self.terms[operand.0].time).max();
        let home = operands.iter().filter_map(|operand| self.terms[operand.0].home).max();
        let types: Option<Vec<&Type>> = operands.iter().map(|operand| self.terms[operand.0].ty.as_ref()).collect();
        let ty = types.and_then(|types| known::infer(&op, &types, &self.specs, &mut self.unknowns));
        self.term(Term { kind: TermKind::Op(op, operands), span, ty, time, home, label: None })
    }

    fn term(&mut self, term: Term) -> TermId {
        if self.terms.len() == TERMS {
            if self.errors.last().is_none_or(|error| error.code != Code::E4001) {
                let error = Diagnostic::error(Code::E4001, format!("the session has more than {TERMS} values"));
                self.errors.push(error.label(term.span, "").help("use several sessions"));
            }
            // Any term will do: there will be no program.
            return TermId(TERMS - 1);
        }
        self.terms.push(term);
        TermId(self.terms.len() - 1)
    }

    fn unknown(&mut self) -> Dim {
        known::unknown(&mut self.unknowns)
    }

    /// Whether a value exists when a hook is set to it; places that are no hooks can be set to anything.
    fn check_time(&self, target: Option<Time>, value: TermId, span: &Span) -> Result<(), Diagnostic> {
        let (Some(target), Some(source)) = (target, self.terms[value.0].time) else { return Ok(()) };
        if source <= target.into() {
            return Ok(());
        }
        let name = |trace: TraceId, hook: HookId| self.models[self.traces[trace.0].model.0].1.hook_info(hook).name.clone();
        let target_name = name(target.trace, target.hook);
        let Moment::At(hook) = source.moment else {
            // It was returned by a function that is called outside of hooks.
            let of_step = self.traces[target.trace.0].generation.is_some() && source.trace == target.trace;
            return Err(Diagnostic::error(
                Code::E2007,
                format!("`{target_name}` is set to a value that is there only after its forward pass"),
            )
            .note(if of_step { "what is computed after the last hook of a step is there in the next one" } else { "hooks come before it" })
            .label(span.clone(), "set here")
            .label(self.terms[value.0].span.clone(), "the value")
            .help(match of_step {
                true => "take it along: `let x = generation.variable(first)`, and `x.set(…)` in each step",
                false => "set it in a trace that is opened below this value",
            }));
        };
        let source_name = name(source.trace, hook);
        let read = self.traces[source.trace.0].hooks.get(&hook).map_or(&Span::None, |state| &self.terms[state.arrival.0].span);
        if source.trace == target.trace {
            let message = format!("a value of `{source_name}` is needed at `{target_name}`, which comes before it in the forward pass");
            return Err(Diagnostic::error(Code::E2007, message)
                .label(span.clone(), format!("`{target_name}` is set here"))
                .label(read.clone(), format!("`{source_name}` is read here"))
                .note("accesses happen in the order of the model, whatever their order in the program")
                .help(format!("read `{source_name}` in one trace, and set `{target_name}` in a second trace of the session")));
        }
        Err(Diagnostic::error(Code::E3003, format!("`{target_name}` is set to a value of a later trace"))
            .label(span.clone(), "set here")
            .label(read.clone(), format!("`{source_name}` of the later trace is read here"))
            .label(self.traces[source.trace.0].span.clone(), "the later trace is opened here")
            .label(self.traces[target.trace.0].span.clone(), "the earlier trace is opened here")
            .note("traces run in the order in which they are opened")
            .help("open the trace that values come from before the one that uses them"))
    }
}

/// Whether the result shares the tensor of the operand.
fn is_view(op: &Op, of: &Ref) -> bool {
    match op {
        Op::Slice { .. } | Op::Index { .. } | Op::Reshape { .. } | Op::Flatten { .. } | Op::Expand { .. } => true,
        Op::Transpose { .. } | Op::Permute { .. } | Op::Unsqueeze { .. } | Op::Squeeze { .. } | Op::Diagonal { .. } => true,
        Op::Split { .. } | Op::Chunk { .. } => true,
        Op::Get { .. } => matches!(of.views.last(), Some((Op::Split { .. } | Op::Chunk { .. }, _))),
        _ => false,
    }
}
