//! Generation: a model goes on from a prompt, token by token, and what its hooks hold is read and set in each step.
//!
//! ```
//! use irc::prelude::*;
//!
//! let model = Model::open("induction")?;
//! let session = model.session();
//! let generation = session.generate("<s> Eiffel Paris Buckingham London Eiffel", 4);
//!
//! generation.all().hook("model.layers.3.output").mul_(1.0); // in every step
//! generation.step(2).hook("model.layers.3.output").save("third"); // in one: [1, 1, 64], as a step has one position
//! generation.all().token().log("token"); // each as it comes
//! generation.steps(1..).hook("lm_head.output").argmax(-1).save("later"); // a list, a value for each step
//!
//! let results = session.run_on(&irc::backends::reference::Reference, &mut |_| {})?;
//! assert_eq!(model.decode(results.ints("generation")?), "Paris Buckingham London Eiffel");
//! assert_eq!(results.tensor("third")?.shape(), [1, 1, 64]);
//! assert_eq!(results.get("later")?.as_list().map(<[_]>::len), Some(3));
//! # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
//! ```
//!
//! **Steps.** Step 0 is the forward pass on the prompt, step k the one on the token that step k - 1 chose; n new tokens take n
//! steps. Hooks show what those of Hugging Face's `generate` show: in step 0 all positions of the prompt, but of the model's head
//! the last one alone (in GPT-2, whose class computes all, all); in later steps one position. What is set in a step changes later
//! ones through the keys and values that they see of it.
//!
//! **Which steps.** [`Generation::step`], [`Generation::steps`], [`Generation::all`] and [`Generation::next`] give a [`Step`],
//! which is used as a trace is. A value exists in the steps that it comes from. Values of one generation that are used together
//! are so in the steps that they share; a value of step 0 can be used in all later ones. What a step hands on to the next is a
//! [`Generation::variable`]. Outside of the generation, a value of a single step is what it was there, and
//! [`Value::over_steps`](crate::trace::Value::over_steps) the list of what one was in each.
//!
//! **Saves.** A value of one step is saved as it is. A value of several steps is saved as a list, whose parts are `name.0`,
//! `name.1` in files. What belongs to a step that is never reached is not saved: [`Results::get`] says why. The new tokens are
//! always saved, under the generation's name; [`Results::generated`] tells how it ended.
//!
//! **How tokens are chosen** is said by a [`GenerationConfig`], and where that leaves it open, by the model. A number alone is
//! how many tokens there are at most. A model that asks for no number gets [`DEFAULT_NEW_TOKENS`]. A generation ends at the end of
//! the model's context, whatever was asked for.
//!
//! All steps but the first are one loop in the program, whose body is the same for each.

use std::{
    ops::{Bound, RangeBounds},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::EffectKind,
    types::Name,
};

use crate::{
    models::generation::{DEFAULT_NEW_TOKENS, DEFAULT_TOP_K, GenerationConfig},
    names,
    recorder::{Choice, Decoding, Ref, Scope, Steps, StopAt, TraceId},
    run::{self, Results},
    trace::{Operand, Prompt, Session, TracedModel, Value, here},
};

mod ended;
mod intervention;

pub(crate) use ended::Planned;
pub use ended::{End, Generated};

/// A generation of a session. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Generation {
    model: TracedModel,
    /// None after a mistake.
    trace: Option<TraceId>,
    name: Name,
    /// What [`Generation::next`] gives next.
    next: Arc<AtomicUsize>,
}

impl Session {
    /// Goes on from a prompt with the session's first model; see [`TracedModel::generate`].
    ///
    /// A session without a model is an error (E2002).
    #[track_caller]
    pub fn generate(&self, prompt: impl Into<Prompt>, config: impl Into<GenerationConfig>) -> Generation {
        self.any_model().generate(prompt, config)
    }

    /// A generation for each prompt; see [`TracedModel::generate_batch`].
    ///
    /// A session without a model is an error (E2002).
    #[track_caller]
    pub fn generate_batch<P: Into<Prompt>>(
        &self,
        prompts: impl IntoIterator<Item = P>,
        config: impl Into<GenerationConfig>,
    ) -> Vec<Generation> {
        self.any_model().generate_batch(prompts, config)
    }

    pub(crate) fn with_generations(&self, mut results: Results) -> Results {
        results.generations = self.generations().clone();
        for (name, trace, step) in self.record().saves_of_steps() {
            if let Some(planned) = results.generations.iter_mut().find(|planned| planned.trace == trace) {
                planned.saves.push((name.clone(), step));
            }
        }
        results
    }
}

impl TracedModel {
    /// Goes on from a prompt, token by token: `model.generate("The Eiffel Tower is in", 20)`, or with a [`GenerationConfig`] in
    /// the place of the number. See [the module](crate::generate).
    ///
    /// Several rows of tokens are an error (E2004); so is a part of the model's generation_config.json that is damaged or not
    /// supported (E0011).
    #[track_caller]
    pub fn generate(&self, prompt: impl Into<Prompt>, config: impl Into<GenerationConfig>) -> Generation {
        self.generate_as(prompt.into(), &config.into(), here())
    }

    /// A generation for each prompt, of any length: each is what it is for the prompt alone, bit for bit. They run together. Draws
    /// have the same seed in each.
    #[track_caller]
    pub fn generate_batch<P: Into<Prompt>>(
        &self,
        prompts: impl IntoIterator<Item = P>,
        config: impl Into<GenerationConfig>,
    ) -> Vec<Generation> {
        let (config, span) = (config.into(), here());
        let one = |prompt: P| self.generate_as(prompt.into(), &config, span.clone());
        prompts.into_iter().map(one).collect()
    }

    fn generate_as(&self, prompt: Prompt, config: &GenerationConfig, span: Span) -> Generation {
        let session = &self.session;
        let name = session.free_name(config.name.as_deref());
        let nothing = |model: &TracedModel| Generation { model: model.clone(), trace: None, name: name.clone(), next: Arc::default() };
        let Some(model) = self.model else { return nothing(self) };
        let (spec, model_name) = {
            let recorder = session.record();
            (recorder.spec(model).clone(), recorder.model_name(model).clone())
        };
        let here = session.model_named(&model_name);
        let own = match here.as_ref().map_or_else(|| Ok(GenerationConfig::new()), |model| model.generation_config()) {
            Ok(own) => own,
            Err(error) => {
                session.record().error(error.or_label(&span));
                return nothing(self);
            }
        };
        let (config, length) = (config.clone().or(&own), prompt.length(here.as_ref()));
        let wanted = config.max_new_tokens.or(config.max_length.zip(length).map(|(all, prompt)| all.saturating_sub(prompt)));
        let wanted = wanted.unwrap_or(DEFAULT_NEW_TOKENS);
        // The last token is not read by the model. A prompt that does not fit is the verifier's to refuse.
        let room = length.and_then(|length| (spec.context() + 1).checked_sub(length)).filter(|room| *room > 0);
        let steps = wanted.min(room.unwrap_or(usize::MAX)).min(irc_ir::verify::MAX_TRIP as usize);
        let choice = match config.sample.unwrap_or(false) {
            false => Choice::Greedy,
            true => Choice::Sample {
                seed: config.seed.unwrap_or(0),
                temperature: config.temperature.unwrap_or(1.0),
                top_k: Some(config.top_k.unwrap_or(DEFAULT_TOP_K)).filter(|k| *k != 0),
                top_p: config.top_p.unwrap_or(1.0),
                min_p: config.min_p.unwrap_or(0.0),
            },
        };
        let stop = (!config.stop.is_empty()).then(|| StopAt {
            function: run::function_of(&model_name),
            texts: config.stop.iter().map(|text| text.as_str().into()).collect(),
        });
        let decoding = Decoding {
            name: name.clone(),
            steps,
            choice,
            repetition_penalty: config.repetition_penalty.unwrap_or(1.0),
            min_new_tokens: config.min_new_tokens.unwrap_or(0),
            ends: config.eos.unwrap_or_default(),
            stop,
            last_logits: names::profile::last_logits(&spec),
        };
        let ends = decoding.ends.clone();
        let tokens = session.tokens(model, prompt, span.clone());
        let trace = session.record().generate(model, &tokens, decoding, span);
        if let Some(trace) = trace {
            let cut_by_context = steps < wanted;
            session.generations().push(Planned { trace, name: name.clone(), steps, cut_by_context, ends, saves: vec![] });
        }
        Generation { trace, ..nothing(self) }
    }
}

impl Session {
    /// The name for a generation, unless it has one: one that no other has.
    fn free_name(&self, given: Option<&str>) -> Name {
        if let Some(given) = given {
            return given.into();
        }
        let taken = self.generations();
        let numbered = (2..).map(|number| Name::from(format!("generation {number}")));
        let mut names = [Name::from("generation")].into_iter().chain(numbered);
        names.find(|name| taken.iter().all(|of| of.name != *name)).unwrap_or_else(|| "generation".into())
    }
}

impl Generation {
    /// The name that its new tokens are saved under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A single step, from 0. What is saved in it is one value.
    pub fn step(&self, step: usize) -> Step {
        self.next.store(step.saturating_add(1), Ordering::Relaxed);
        self.within(Steps { start: step, end: step.saturating_add(1) })
    }

    /// Several steps: `1..`, `2..=4`. What is saved in them is a list.
    ///
    /// A range without a step is an error (E1008).
    #[track_caller]
    pub fn steps(&self, steps: impl RangeBounds<usize>) -> Step {
        let start = match steps.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match steps.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => usize::MAX,
        };
        if start >= end {
            let error = Diagnostic::error(Code::E1008, format!("there is no step from {start} on and before {end}")).label(here(), "");
            self.model.session.record().error(error.note("steps are counted from 0"));
            return Step { generation: Generation { trace: None, ..self.clone() }, steps: Steps::ALL };
        }
        self.within(Steps { start, end })
    }

    /// [`Generation::steps`], as nnsight calls it.
    #[track_caller]
    pub fn iter(&self, steps: impl RangeBounds<usize>) -> Step {
        self.steps(steps)
    }

    /// All steps, however many there are.
    pub fn all(&self) -> Step {
        self.within(Steps::ALL)
    }

    /// The step after the one that was asked for last by this or by [`Generation::step`]; step 0 at first.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&self) -> Step {
        self.step(self.next.load(Ordering::Relaxed))
    }

    fn within(&self, steps: Steps) -> Step {
        Step { generation: self.clone(), steps }
    }

    /// The tokens of the prompt and the new ones, i64 \[1, prompt + new\]: a value that is there after the generation.
    #[track_caller]
    pub fn tokens(&self) -> Value {
        self.after(|session, trace, span| session.record().tokens(trace, true, span))
    }

    /// The new tokens, i64 \[1, new\], the one that ended it included: a value that is there after the generation.
    #[track_caller]
    pub fn new_tokens(&self) -> Value {
        self.after(|session, trace, span| session.record().tokens(trace, false, span))
    }

    /// A value that is `first` in step 0, and in each later step what it was at the end of the one before. It is changed by
    /// [`Value::set`], in the steps that what it is set to comes from.
    ///
    /// ```
    /// # use irc::prelude::*;
    /// # let model = Model::open("induction")?;
    /// # let session = model.session();
    /// let generation = session.generate("<s> Eiffel Paris Eiffel", 3);
    /// let count = generation.variable(0.0f32);
    /// let surprise = 1.0 - generation.all().logits().softmax(-1).max([-1]).flatten(0, -1).index(0, 0);
    /// count.set(&count + surprise);
    /// generation.last(&count).save("surprise");
    /// let results = session.run_on(&irc::backends::reference::Reference, &mut |_| {})?;
    /// assert!(results.floats("surprise")?[0] < 1.5);
    /// # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
    /// ```
    #[track_caller]
    pub fn variable(&self, first: impl Into<Operand>) -> Value {
        self.after(|session, trace, span| {
            let first = session.resolve(vec![first.into()], span.clone()).remove(0);
            session.record().variable(trace, &first, span)
        })
    }

    /// What a variable holds after the last step.
    ///
    /// Another value is an error (E3003).
    #[track_caller]
    pub fn last(&self, variable: &Value) -> Value {
        self.after(|session, trace, span| session.record().last_of(trace, &variable.at, span))
    }

    #[track_caller]
    fn after(&self, make: impl FnOnce(&Session, TraceId, Span) -> Ref) -> Value {
        self.model.session.value(|session, span| match self.trace {
            Some(trace) => make(session, trace, span),
            None => Ref::poisoned(span),
        })
    }
}

/// Some steps of a generation. Clones are the same steps.
#[derive(Clone, Debug)]
pub struct Step {
    generation: Generation,
    steps: Steps,
}

impl Step {
    /// The value at a hook in these steps; see [`Trace::hook`](crate::trace::Trace::hook).
    ///
    /// A hook that the model does not have is an error (E2001).
    #[track_caller]
    pub fn hook(&self, name: impl AsRef<str>) -> Value {
        self.generation.after(|session, trace, span| {
            let mut recorder = session.record();
            let spec = recorder.spec(recorder.model_of(trace)).clone();
            match names::hook(&spec, name.as_ref()) {
                Ok(hook) => recorder.hook_at(trace, self.steps, &spec.hook_info(hook).name, span),
                Err(error) => {
                    recorder.error(error.or_label(&span));
                    Ref::poisoned(span)
                }
            }
        })
    }

    /// The values at all hooks that a pattern names, with their names; see [`Trace::hooks`](crate::trace::Trace::hooks).
    ///
    /// A pattern that names no hook is an error (E2001).
    #[track_caller]
    pub fn hooks(&self, pattern: impl AsRef<str>) -> Vec<(String, Value)> {
        let (Some(trace), session) = (self.generation.trace, &self.generation.model.session) else { return vec![] };
        let span = here();
        let mut recorder = session.record();
        let spec = recorder.spec(recorder.model_of(trace)).clone();
        match names::hooks(&spec, pattern.as_ref()) {
            Ok(hooks) => {
                let value = |hook| {
                    let name = &spec.hook_info(hook).name;
                    let at = recorder.hook_at(trace, self.steps, name, span.clone());
                    (name.to_string(), Value { session: session.clone(), at })
                };
                hooks.into_iter().map(value).collect()
            }
            Err(error) => {
                recorder.error(error.or_label(&span));
                vec![]
            }
        }
    }

    /// The logits of the last position as the model gives them, \[1, 1, vocabulary\], with what was set of them: before penalties,
    /// temperature and filters.
    #[track_caller]
    pub fn logits(&self) -> Value {
        let logits = self.generation.after(|session, trace, span| {
            let mut recorder = session.record();
            let spec = recorder.spec(recorder.model_of(trace)).clone();
            match spec.hook_at(spec.output()) {
                Some(hook) => recorder.hook_at(trace, self.steps, &spec.hook_info(hook).name, span),
                None => Ref::poisoned(span),
            }
        });
        logits.at((.., -1..))
    }

    /// The token that the step chose, i64 \[1, 1\]: what the next step runs on.
    #[track_caller]
    pub fn token(&self) -> Value {
        self.generation.after(|session, trace, span| session.record().step_token(trace, self.steps, span))
    }

    /// The number of the step, i64.
    #[track_caller]
    pub fn number(&self) -> Value {
        self.generation.after(|session, trace, span| session.record().step_number(trace, self.steps, span))
    }

    /// A module of the model on a value; see [`TracedModel::apply`].
    #[track_caller]
    pub fn apply(&self, module: impl AsRef<str>, value: impl Into<Operand>) -> Value {
        self.generation.model.apply(module, value)
    }

    /// Shows a text or a value in each of these steps, as it happens.
    #[track_caller]
    pub fn log(&self, what: impl Into<Operand>) {
        if let Some(trace) = self.generation.trace {
            let scope = Scope::Steps(trace, self.steps);
            self.generation.model.session.effect(EffectKind::Log { label: None }, what.into(), scope, here());
        }
    }

    /// Ends the program in the first of these steps; inside [`Session::when`], in the first in which the condition holds. What was
    /// saved before is returned.
    #[track_caller]
    pub fn stop<'a>(&self, reason: impl Into<Option<&'a str>>) {
        if let Some(trace) = self.generation.trace {
            let kind = EffectKind::Stop { reason: reason.into().map(Into::into) };
            self.generation.model.session.record().effect_on(kind, &[], Scope::Steps(trace, self.steps), here());
        }
    }
}
