//! Generations: a trace whose accesses happen again in each step.
//!
//! Step 0 is the forward pass on the prompt, step k the one on the token that step k - 1 chose. What is recorded of a generation
//! is recorded once, for any step: its terms are made for step 0, and once more in the body of a loop for all later ones
//! ([`super::lower`]). Their *home* is the generation.
//!
//! **Within.** A value that comes from some steps exists in those alone, which its [`Ref`] knows. Values of one generation that
//! are used together are so in the steps that they share. To set a hook in some steps is to give its place another term there:
//! `select(in these steps, new, old)`. What is known when a graph is made, as all is of step 0, leaves no select behind.
//!
//! **Outside.** A value of step 0 is there for all that comes later. One of another single step is the only item of the list of
//! that step's values; those of several steps are used as such lists.

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::EffectKind,
    model::{HookId, ModelSpec},
    op::Op,
    types::{DType, Dim, Name, TensorType, Type},
};

use super::{ModelId, Moment, Place, PlaceId, Point, Recorder, Ref, Scope, Term, TermId, TermKind, Trace, TraceId};

/// Steps of a generation, from 0: those from `start` on and before `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Steps {
    /// The first.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

impl Steps {
    /// All steps, however many there are.
    pub const ALL: Steps = Steps { start: 0, end: usize::MAX };

    /// The only step.
    pub(super) fn only(self) -> Option<usize> {
        (self.end.checked_sub(self.start) == Some(1)).then_some(self.start)
    }

    fn shared(self, other: Steps) -> Option<Steps> {
        let both = Steps { start: self.start.max(other.start), end: self.end.min(other.end) };
        (both.start < both.end).then_some(both)
    }
}

impl std::fmt::Display for Steps {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.only(), self.end) {
            (Some(step), _) => write!(out, "step {step}"),
            (None, usize::MAX) if self.start == 0 => write!(out, "all steps"),
            (None, usize::MAX) => write!(out, "the steps from {} on", self.start),
            (None, end) => write!(out, "steps {} to {}", self.start, end.saturating_sub(1)),
        }
    }
}

/// Steps of one generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Within {
    pub(super) trace: TraceId,
    pub(super) steps: Steps,
}

/// How a generation goes on, once all that is left open has been decided.
#[derive(Clone, PartialEq, Debug)]
pub struct Decoding {
    /// The name that its new tokens are saved under.
    pub name: Name,
    /// How many steps there are at most, each of which makes a token.
    pub steps: usize,
    /// How a token is chosen.
    pub choice: Choice,
    /// What the logits of tokens that are there already are divided by, or multiplied with where they are negative; 1 is nothing.
    pub repetition_penalty: f64,
    /// Before so many tokens none of `ends` is chosen.
    pub min_new_tokens: usize,
    /// The tokens that end it.
    pub ends: Vec<i64>,
    /// The texts that end it.
    pub stop: Option<StopAt>,
    /// Whether the model's head has the last position alone in step 0.
    pub last_logits: bool,
}

/// How a token is chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Choice {
    /// The most probable one.
    Greedy,
    /// By probability: the attributes of the operation `sample`, whose stream is the number of the step.
    Sample {
        /// The seed.
        seed: i64,
        /// What logits are divided by.
        temperature: f64,
        /// How many of the most probable tokens stay.
        top_k: Option<i64>,
        /// The probability that those have together which stay.
        top_p: f64,
        /// The share of the largest probability that those have at least which stay.
        min_p: f64,
    },
}

/// Texts that end a generation, as a function of the user's tells: it is called with the new tokens and the texts, and
/// returns whether one of the texts ends in the last of the tokens.
#[derive(Clone, PartialEq, Debug)]
pub struct StopAt {
    /// The function.
    pub function: Name,
    /// The texts.
    pub texts: Vec<Name>,
}

/// A trace that is a generation.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) decoding: Decoding,
    /// The number of tokens of the prompt.
    prompt: Dim,
    pub(super) variables: Vec<Variable>,
}

/// A value that each step hands on to the next.
#[derive(Debug)]
pub(super) struct Variable {
    /// What step 0 begins with.
    pub(super) initial: TermId,
    /// Holds what the step ends with.
    pub(super) place: PlaceId,
}

/// A term that a generation brings with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StepTerm {
    /// The number of the step, i64.
    Number,
    /// Whether the step is one of these.
    Active(Steps),
    /// The token that the step chose, i64 \[1, 1\].
    Token,
    /// What a variable holds when the step begins.
    Variable(usize),
    /// What a term was in step 0.
    First(TermId),
    /// What a term was in each of some steps, as a list; of those alone in which a condition held.
    Collected { value: TermId, steps: Steps, when: Option<TermId> },
    /// What a variable holds after the last step.
    Last(usize),
    /// The new tokens, i64 \[1, N\].
    NewTokens,
    /// The tokens of the prompt and the new ones, i64 \[1, N\].
    Tokens,
}

/// The hook of the model's token ids, and that of its logits.
pub(super) fn ends(spec: &ModelSpec) -> Option<(HookId, HookId)> {
    let tokens = spec.hook_ids().find(|(id, _)| spec.hook_type(*id).dtype == DType::I64)?.0;
    let logits = spec.hook_at(spec.output()).or_else(|| spec.hook_ids().last().map(|(id, _)| id))?;
    Some((tokens, logits))
}

/// Whether a hook is one of the model's head.
pub(super) fn is_of_head(spec: &ModelSpec, hook: HookId) -> bool {
    let Some((_, logits)) = ends(spec) else { return false };
    let name = |hook: HookId| spec.hook_info(hook).name.clone();
    let (head, name) = (name(logits), name(hook));
    head.rsplit_once('.').is_some_and(|(head, _)| name.strip_prefix(head).is_some_and(|rest| rest.starts_with('.')))
}

impl Recorder {
    /// Opens a generation of a model on tokens, i64 [1, tokens] or a text. Its steps run where it stands among the traces.
    ///
    /// `None` after a mistake: tokens that are poisoned, or of several rows (E2004).
    pub fn generate(&mut self, model: ModelId, tokens: &Ref, decoding: Decoding, span: Span) -> Option<TraceId> {
        let trace = self.trace(model, tokens, span.clone())?;
        if let Some(rows) = self.traces[trace.0].batch.as_known().filter(|rows| *rows != 1) {
            let error = Diagnostic::error(Code::E2004, format!("a generation goes on from one row of tokens, not from {rows}"));
            self.errors.push(error.label(span, "").help("`generate_batch` takes several prompts, of any length"));
            self.traces.pop();
            return None;
        }
        let (length, one) = (Dim::symbol(format!("L{}", trace.0)), Dim::known(1));
        let Trace { length: prompt, batch, generation, .. } = &mut self.traces[trace.0];
        let prompt = std::mem::replace(prompt, length);
        *batch = one;
        *generation = Some(Generation { decoding, prompt, variables: vec![] });
        self.used = self.used.max(Some(trace));
        Some(trace)
    }

    /// The number of the step, i64, in some steps.
    pub fn step_number(&mut self, trace: TraceId, steps: Steps, span: Span) -> Ref {
        let ty = Type::tensor(DType::I64, []);
        let term = self.step_term(trace, StepTerm::Number, Some(ty), Moment::Begin, span.clone());
        self.place(term, Some(Within { trace, steps }), span)
    }

    /// The token that each of some steps chose, i64 \[1, 1\].
    pub fn step_token(&mut self, trace: TraceId, steps: Steps, span: Span) -> Ref {
        let ty = Type::tensor(DType::I64, [Dim::known(1), Dim::known(1)]);
        let term = self.step_term(trace, StepTerm::Token, Some(ty), Moment::End, span.clone());
        self.place(term, Some(Within { trace, steps }), span)
    }

    /// All new tokens of a generation, or with those of its prompt, i64 \[1, N\]: a value that is there after it.
    pub fn tokens(&mut self, trace: TraceId, with_prompt: bool, span: Span) -> Ref {
        let ty = Type::tensor(DType::I64, [Dim::known(1), self.unknown()]);
        let term = if with_prompt { StepTerm::Tokens } else { StepTerm::NewTokens };
        let term = self.step_term(trace, term, Some(ty), Moment::After, span.clone());
        self.place(term, None, span)
    }

    /// A tensor of its own with what a value holds here.
    pub fn copy(&mut self, of: &Ref, span: Span) -> Ref {
        match self.current(of) {
            Some(term) => self.place(term, of.within, span),
            None => Ref::poisoned(span),
        }
    }

    /// A value that is `initial` in step 0, and in each later step what it was at the end of the one before.
    pub fn variable(&mut self, trace: TraceId, initial: &Ref, span: Span) -> Ref {
        let Some(initial) = self.outside(initial, &span) else { return Ref::poisoned(span) };
        let index = self.traces[trace.0].generation.as_ref().map_or(0, |generation| generation.variables.len());
        let ty = self.terms[initial.0].ty.clone();
        let content = self.step_term(trace, StepTerm::Variable(index), ty, Moment::Begin, span.clone());
        let within = Within { trace, steps: Steps::ALL };
        let place = PlaceId(self.places.len());
        self.places.push(Place { content, hook: None, within: Some(within), set: None });
        if let Some(generation) = &mut self.traces[trace.0].generation {
            generation.variables.push(Variable { initial, place });
        }
        Ref { place: Some(place), views: vec![], picked: None, within: Some(within), span }
    }

    /// What a variable holds after the last step.
    ///
    /// Anything else than a variable of the generation is an error (E3003).
    pub fn last_of(&mut self, trace: TraceId, variable: &Ref, span: Span) -> Ref {
        let Some(place) = variable.place else { return Ref::poisoned(span) };
        let variables = self.traces[trace.0].generation.as_ref().map_or(&[][..], |generation| &generation.variables);
        let Some((at, found)) = variables.iter().enumerate().find(|(_, of)| of.place == place && variable.views.is_empty()) else {
            let error = Diagnostic::error(Code::E3003, "the value is no variable of this generation").label(span.clone(), "");
            self.errors.push(error.label(variable.span.clone(), "the value").help("`generation.variable(first)` makes one"));
            return Ref::poisoned(span);
        };
        let ty = self.terms[found.initial.0].ty.clone();
        let term = self.step_term(trace, StepTerm::Last(at), ty, Moment::After, span.clone());
        self.place(term, None, span)
    }

    /// What single steps save: the name, the generation, and the step.
    pub fn saves_of_steps(&self) -> impl Iterator<Item = (&Name, TraceId, usize)> {
        self.effects.iter().filter_map(|effect| match (&effect.kind, effect.within) {
            (EffectKind::Save { name }, Some(within)) => Some((name, within.trace, within.steps.only()?)),
            _ => None,
        })
    }

    /// What a value was in each of its steps, as a list that is there after the generation.
    ///
    /// A value of no generation is an error (E3003).
    pub fn collected(&mut self, value: &Ref, span: Span) -> Ref {
        let (Some(term), Some(within)) = (self.current(value), value.within) else {
            if !value.is_poisoned() {
                let error = Diagnostic::error(Code::E3003, "a value that is of no step of a generation has no values over its steps");
                self.errors.push(error.label(span.clone(), "").label(value.span.clone(), "the value"));
            }
            return Ref::poisoned(span);
        };
        match self.collected_term(term, within, None, &span) {
            Some(list) => self.place(list, None, span),
            None => Ref::poisoned(span),
        }
    }

    /// The type of what is at a hook in any step of a generation.
    pub(super) fn step_type(&self, trace: TraceId, hook: HookId, ty: TensorType) -> TensorType {
        let Trace { model, generation, length, .. } = &self.traces[trace.0];
        let spec = &self.models[model.0].1;
        let last = generation.as_ref().is_some_and(|generation| generation.decoding.last_logits);
        if last && is_of_head(spec, hook) {
            return ty.substitute(&|symbol| (Dim::symbol(symbol) == *length).then_some(Dim::known(1)));
        }
        let mut ty = ty;
        if let (true, Some(keys)) = (spec.is_square(hook), ty.shape.last_mut()) {
            *keys = Dim::symbol(format!("K{}", trace.0));
        }
        ty
    }

    fn step_term(&mut self, trace: TraceId, term: StepTerm, ty: Option<Type>, moment: Moment, span: Span) -> TermId {
        let home = match term {
            StepTerm::Number | StepTerm::Active(_) | StepTerm::Token | StepTerm::Variable(_) => Some(trace),
            StepTerm::First(_) | StepTerm::Collected { .. } | StepTerm::Last(_) | StepTerm::NewTokens | StepTerm::Tokens => None,
        };
        self.term(Term { kind: TermKind::Step(trace, term), span, ty, time: Some(Point { trace, moment }), home, label: None })
    }

    /// `new` in these steps, `old` in all others.
    pub(super) fn in_steps(&mut self, within: Within, new: TermId, old: TermId, span: &Span) -> TermId {
        let ty = Type::tensor(DType::Bool, []);
        let active = self.step_term(within.trace, StepTerm::Active(within.steps), Some(ty), Moment::Begin, span.clone());
        // A list grows in these steps alone.
        if let TermKind::Op(Op::Append {}, operands) = &self.terms[new.0].kind
            && let [list, item] = operands[..]
            && list == old
        {
            return self.op_term(Op::Append {}, vec![list, item, active], span.clone());
        }
        self.op_term(Op::Select {}, vec![active, new, old], span.clone())
    }

    /// Values that are used together, and the steps in which they can be.
    pub(super) fn together(&mut self, values: &[&Ref], span: &Span) -> Option<(Vec<TermId>, Option<Within>)> {
        let terms: Vec<TermId> = values.iter().map(|value| self.current(value)).collect::<Option<_>>()?;
        let Some(trace) = values.iter().filter_map(|value| value.within).map(|within| within.trace).max() else {
            return Some((terms, None));
        };
        // What is known only after the generation is used with what came out of it.
        let outside = values.iter().zip(&terms).filter(|(value, _)| value.within.is_none());
        if outside.clone().any(|(_, term)| self.is_after(*term, trace)) {
            return Some((self.all_outside(values, terms, span)?, None));
        }
        let own = |value: &&&Ref| value.within.filter(|within| within.trace == trace).map(|within| within.steps);
        let latest = values.iter().filter_map(|value| own(&value)).map(|steps| steps.start).max().unwrap_or(0);
        let is_past = |steps: Steps| steps.only() == Some(0) && latest > 0;
        let mut shared = Some(Steps::ALL);
        for steps in values.iter().filter_map(|value| own(&value)).filter(|steps| !is_past(*steps)) {
            shared = shared.and_then(|shared| shared.shared(steps));
        }
        let Some(steps) = shared else {
            self.different_steps(values, span);
            return None;
        };
        let mut found = vec![];
        for (value, term) in values.iter().zip(terms) {
            found.push(match value.within {
                Some(within) if within.trace == trace && !is_past(within.steps) => term,
                Some(within) => self.outside_term(term, within, value, span)?,
                None => term,
            });
        }
        Some((found, Some(Within { trace, steps })))
    }

    /// Whether a value is there only after a generation.
    fn is_after(&self, term: TermId, trace: TraceId) -> bool {
        self.terms[term.0].time.is_some_and(|time| time > Point { trace, moment: Moment::End })
    }

    /// A place and what it is set to, and in which steps it is.
    pub(super) fn set_together(&mut self, target: &Ref, value: &Ref, span: &Span) -> Option<(Vec<TermId>, Option<Within>)> {
        let own = target.within.map(|within| within.trace);
        match value.within {
            // A value of another generation, or set outside of all.
            Some(within) if own != Some(within.trace) && own.is_none_or(|own| own >= within.trace) => {
                let (place, term) = (self.current(target)?, self.current(value)?);
                Some((vec![place, self.outside_term(term, within, value, span)?], target.within))
            }
            _ if own.is_none() => Some((vec![self.current(target)?, self.current(value)?], None)),
            Some(within) if own < Some(within.trace) => {
                let error = Diagnostic::error(Code::E3003, "a value of a later generation is set in an earlier one");
                let error = error.label(span.clone(), "").label(value.span.clone(), "the value");
                self.errors.push(error.help("open the generation that values come from before the one that uses them"));
                None
            }
            // What is known after the target's hook is refused where the hook is set.
            None if self.current(value).is_some_and(|term| own.is_some_and(|trace| self.is_after(term, trace))) => {
                let error = Diagnostic::error(Code::E3003, "a value that is there after a generation is set in its steps");
                let error = error.label(span.clone(), "").label(value.span.clone(), "the value");
                self.errors.push(error.help("compute it before the generation, or set it in a later trace"));
                None
            }
            None => Some((vec![self.current(target)?, self.current(value)?], target.within)),
            Some(_) => self.together(&[target, value], span),
        }
    }

    /// The values of an effect, and the steps in which it happens. What is saved of several steps is a list that is saved once.
    pub(super) fn effect_together(
        &mut self,
        kind: &EffectKind,
        values: &[&Ref],
        scope: Scope,
        span: &Span,
    ) -> Option<(Vec<TermId>, Option<Within>)> {
        let (terms, mut within) = match scope {
            Scope::Steps(trace, steps) => {
                // A value that exists in these steps, so that all others are used with it.
                let here = self.step_number(trace, steps, span.clone());
                let all: Vec<&Ref> = values.iter().copied().chain([&here]).collect();
                let (mut terms, within) = self.together(&all, span)?;
                terms.pop();
                (terms, within)
            }
            Scope::Value | Scope::Trace(_) | Scope::Session => self.together(values, span)?,
        };
        if let (EffectKind::Save { .. }, Some(of), [value, when @ ..]) = (kind, within, &terms[..])
            && of.steps.only().is_none()
        {
            let list = self.collected_term(*value, of, when.first().copied(), span)?;
            within = None;
            return Some((vec![list], within));
        }
        Some((terms, within))
    }

    /// A value as it is outside of generations.
    pub(super) fn outside(&mut self, value: &Ref, span: &Span) -> Option<TermId> {
        let term = self.current(value)?;
        match value.within {
            Some(within) => self.outside_term(term, within, value, span),
            None => Some(term),
        }
    }

    fn all_outside(&mut self, values: &[&Ref], terms: Vec<TermId>, span: &Span) -> Option<Vec<TermId>> {
        let pairs = values.iter().zip(terms);
        pairs.map(|(value, term)| value.within.map_or(Some(term), |within| self.outside_term(term, within, value, span))).collect()
    }

    fn outside_term(&mut self, term: TermId, within: Within, value: &Ref, span: &Span) -> Option<TermId> {
        let Within { trace, steps } = within;
        match steps.only() {
            Some(0) => {
                let length = self.traces[trace.0].length.clone();
                let prompt = self.traces[trace.0].generation.as_ref().map(|generation| generation.prompt.clone())?;
                let keys = format!("K{}", trace.0);
                let first = |symbol: &str| (Dim::symbol(symbol) == length || symbol == keys).then(|| prompt.clone());
                let ty = self.terms[term.0].ty.as_ref().map(|ty| ty.substitute(&first));
                Some(self.step_term(trace, StepTerm::First(term), ty, Moment::Begin, span.clone()))
            }
            Some(_) => {
                let list = self.collected_term(term, within, None, span)?;
                Some(self.op_term(Op::Item { index: Some(0) }, vec![list], span.clone()))
            }
            None => {
                let error = Diagnostic::error(Code::E3003, format!("a value of {steps} of a generation is used outside of them"));
                let error = error.label(span.clone(), "used here").label(value.span.clone(), "the value");
                self.errors.push(error.help("`value.over_steps()` is the list of what it was in each step; `step(k)` takes one of them"));
                None
            }
        }
    }

    fn collected_term(&mut self, value: TermId, within: Within, when: Option<TermId>, span: &Span) -> Option<TermId> {
        let Some(ty) = self.terms[value.0].ty.clone() else {
            let message = "the type of a value over the steps of a generation cannot be told before the prompt is bound";
            let error =
                Diagnostic::error(Code::E1005, message).label(span.clone(), "").label(self.terms[value.0].span.clone(), "the value");
            self.errors.push(error.help("state its shape with `reshape`, or generate from token ids"));
            return None;
        };
        let of = self.type_over(&ty, within);
        let term = StepTerm::Collected { value, steps: within.steps, when };
        Some(self.step_term(within.trace, term, Some(Type::List(of.into())), Moment::After, span.clone()))
    }

    /// The type of values over steps: sizes that change are symbols of their own.
    fn type_over(&mut self, ty: &Type, within: Within) -> Type {
        let length = self.traces[within.trace.0].length.clone();
        match ty {
            Type::Tensor(tensor) => {
                let mut tensor = tensor.clone();
                if within.steps.start > 0 {
                    tensor = tensor.substitute(&|symbol| (Dim::symbol(symbol) == length).then_some(Dim::known(1)));
                }
                for size in &mut tensor.shape {
                    if size.as_known().is_none() && size.as_symbol().is_none() {
                        *size = self.unknown();
                    }
                }
                Type::Tensor(tensor)
            }
            Type::Tuple(parts) => Type::Tuple(parts.iter().map(|part| self.type_over(part, within)).collect()),
            Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => ty.clone(),
        }
    }

    fn different_steps(&mut self, values: &[&Ref], span: &Span) {
        let mut error =
            Diagnostic::error(Code::E3003, "values of different steps of a generation are used together").label(span.clone(), "");
        for value in values {
            if let Some(within) = value.within {
                error = error.label(value.span.clone(), format!("of {}", within.steps));
            }
        }
        let error = error.note("a value of step 0 can be used in all later steps");
        self.errors.push(error.help("take it along: `let x = generation.variable(first)`, and set it in the step that it is of"));
    }
}
