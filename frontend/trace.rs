//! What a person types: sessions, traces and values.
//!
//! A [`Session`] is one program. A [`Trace`] is one forward pass in it, and [`Trace::hook`] is a value inside that pass, to
//! look at, to compute with and to set. Nothing runs while a program is written; what is not saved never leaves the place
//! where the model is, and what nobody needs is not computed.
//!
//! ```
//! # use irc_ir::{model::ModelBuilder, types::DType};
//! use irc::trace::Session;
//! # let mut m = ModelBuilder::new("tiny", DType::F32, 16, 8);
//! # let tokens = m.tokens();
//! # let x = m.module("model.embed_tokens", tokens, |m, t| m.embedding("weight", t, 16, 4));
//! # let x = m.module("model.layers.0", x, |m, x| m.linear("weight", x, 4, 4));
//! # let x = m.module("model.layers.1", x, |m, x| m.linear("weight", x, 4, 4));
//! # let x = m.module("lm_head", x, |m, x| m.linear("weight", x, 4, 16));
//! # let spec = m.finish(x)?.into();
//! # let session = Session::for_model("m", "tiny", spec);
//!
//! let t1 = session.trace("The Eiffel Tower is in the city of");
//! let hs = t1.hook("model.layers.1.output").at((.., -1)); // not saved: the next trace uses it
//! t1.hook("lm_head.output").argmax(-1).save("t1");
//!
//! let t2 = session.trace("Buckingham Palace is in the city of");
//! t2.hook("model.layers.0.output").at((.., -1)).set(&hs);
//! t2.hook("lm_head.output").argmax(-1).save("t2");
//!
//! let graph = session.program()?;
//! assert_eq!(graph.effects.len(), 2);
//! # Ok::<(), irc_ir::diagnostic::Diagnostics>(())
//! ```
//!
//! **Order.** Traces run in the order in which they are opened. Within one, accesses happen in the order of the model, and
//! in the order of the program at one hook: setting `layers.5` and then `layers.3` does what PyTorch hooks make of it. A
//! value that would be needed before it exists is an error (E2007); values of earlier traces can be used everywhere.
//!
//! **Views.** [`Value::at`], [`Value::slice`], [`Value::index`], [`Value::reshape`], [`Value::flatten`], [`Value::transpose`],
//! [`Value::permute`], [`Value::unsqueeze`], [`Value::squeeze`], [`Value::expand`], [`Value::diagonal`], [`Value::split`] and
//! [`Value::chunk`] are views, as in PyTorch: [`Value::set`] on one changes the tensor that it looks into, for the
//! forward pass and for every other view of it. All other results are tensors of their own. A save or a log shows the
//! value at its line of the program.
//!
//! **Several prompts** are a [`Batch`]: a trace each, of its own length, read and set together. [`Trace::position`] tells where
//! in a prompt a word stands.
//!
//! **Mistakes** are collected and returned by [`Session::program`], each with the line that made it. What follows from a
//! mistake causes no errors of its own.

use std::{
    collections::BTreeMap,
    fmt,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use irc_ir::{
    attr::Literal,
    code::Code,
    diagnostic::{Diagnostic, Diagnostics, Span},
    graph::{EffectKind, Graph},
    model::ModelSpec,
    op::Op,
    tensor::Tensor,
    types::{Name, Type},
};

use irc_backends::{Backend, Event, host::Host};

use crate::recorder::{ModelId, Recorder, Ref, Scope, TraceId};
use crate::{generate::Planned, models::Model, names, run::Results};

mod batch;
mod index;
mod layout;
mod operators;
mod positions;
#[cfg(test)]
mod tests;
mod value;

pub use batch::{Batch, Each, Rows};
pub use index::{Dims, Ellipsis, Indices, Part, Reduction, every, keep};
pub use layout::Random;
pub use operators::Operand;
pub use positions::PromptPart;
pub use value::Value;

/// The line of the user's program that called.
#[track_caller]
pub(crate) fn here() -> Span {
    Span::Code(Location::caller())
}

/// Several traces as one program. Clones are the same session.
#[derive(Clone)]
pub struct Session {
    recorder: Arc<Mutex<Recorder>>,
    /// The models that are here with weights, by the program's names; those without can be traced, but not run.
    models: Arc<Mutex<BTreeMap<Name, Model>>>,
    /// What is to be said of generations once they have run.
    generations: Arc<Mutex<Vec<Planned>>>,
}

impl Session {
    /// A session without models; see [`Session::add_model`].
    pub fn new() -> Session {
        Session { recorder: Arc::new(Mutex::new(Recorder::new("session"))), models: Arc::default(), generations: Arc::default() }
    }

    /// A session with one model: `name` is what the program calls it, `reference` the name or path that it is found by.
    #[track_caller]
    pub fn for_model(name: &str, reference: &str, spec: Arc<ModelSpec>) -> Session {
        let session = Session::new();
        session.add_model(name, reference, spec);
        session
    }

    /// Adds a model, as [`Session::for_model`]. Values of one model can be used in traces of another.
    ///
    /// Two models of one name are an error (E0003).
    #[track_caller]
    pub fn add_model(&self, name: &str, reference: &str, spec: Arc<ModelSpec>) -> TracedModel {
        let model = self.record().add_model(name, reference, spec, here());
        TracedModel { session: self.clone(), model }
    }

    /// Adds a model that can be run, under a name of the program's own: several models of one session need different ones.
    #[track_caller]
    pub fn with_model(&self, name: &str, model: &Model) -> TracedModel {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), model.clone());
        self.add_model(name, model.name(), model.spec().clone())
    }

    /// Runs the program as recorded so far, on all cores; logs go to standard output as they happen.
    ///
    /// # Errors
    /// What is wrong with the program, before anything runs; or E4003 if it fails while it runs.
    pub fn run(&self) -> Result<Results, Diagnostics> {
        self.run_on(crate::run::default_backend(), &mut |event| println!("{}", crate::run::describe(&event)))
    }

    /// [`Session::run`] on a backend of one's choice; `on_event` hears of logs as they happen.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_on(&self, backend: &dyn Backend, on_event: &mut (dyn FnMut(Event) + Send)) -> Result<Results, Diagnostics> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner).clone();
        crate::run::run(self.program()?, &models, backend, on_event).map(|results| self.with_generations(results))
    }

    /// [`Session::run`] on a backend and for a host of one's choice, whose functions the program may call, and who may cancel
    /// it from any thread.
    ///
    /// ```
    /// # use irc::{backends::{cancel::Cancel, host::Functions}, models::Model, run};
    /// let model = Model::open("induction")?;
    /// let session = model.session();
    /// session.log(&session.trace("<s> Eiffel Paris Eiffel").hook("lm_head.output").argmax(-1));
    ///
    /// let cancel = Cancel::new();
    /// // Anybody may do it who has a clone; here the first log does.
    /// let enough = cancel.clone();
    /// let mut host = Functions::new(move |_| enough.cancel()).with_cancel(&cancel);
    /// let error = session.run_for(run::default_backend(), &mut host).unwrap_err();
    /// assert_eq!(error.0[0].code.name(), "E4006");
    /// # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::run`]; E3009 if the host does not have a function that the program calls; E4006 if it was cancelled.
    pub fn run_for(&self, backend: &dyn Backend, host: &mut dyn Host) -> Result<Results, Diagnostics> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner).clone();
        crate::run::run_for(self.program()?, &models, backend, host).map(|results| self.with_generations(results))
    }

    /// [`Session::run_for`] without the optimizer: the program runs as it was recorded.
    ///
    /// # Errors
    /// As [`Session::run_for`].
    pub fn run_as_recorded(&self, backend: &dyn Backend, host: &mut dyn Host) -> Result<Results, Diagnostics> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let program = crate::run::check(self.program()?, &models)?;
        let results = crate::run::run_verified_for(&program, &models, backend, host).map_err(Diagnostics::from);
        results.map(|results| self.with_generations(results))
    }

    /// Opens a trace of the session's first model; see [`TracedModel::trace`].
    ///
    /// A session without a model is an error (E2002).
    #[track_caller]
    pub fn trace(&self, prompt: impl Into<Prompt>) -> Trace {
        self.any_model().trace(prompt)
    }

    /// The first model that was added.
    #[track_caller]
    pub(crate) fn any_model(&self) -> TracedModel {
        let model = self.record().first_model();
        if model.is_none() {
            let error = Diagnostic::error(Code::E2002, "the session has no model to trace").label(here(), "");
            self.record().error(error.help("add one with `session.add_model(…)`, or open the session with `model.session()`"));
        }
        TracedModel { session: self.clone(), model }
    }

    /// A constant: a [`Tensor`], a number, or numbers in (nested) arrays and vectors. A value is given back as it is.
    #[track_caller]
    pub fn tensor(&self, value: impl Into<Operand>) -> Value {
        self.value(|session, span| session.resolve(vec![value.into()], span).remove(0))
    }

    /// Tensors one after the other along a dimension; they agree in all others.
    #[track_caller]
    pub fn cat(&self, parts: impl IntoIterator<Item: Into<Operand>>, dim: i64) -> Value {
        self.compute(Op::Cat { dim }, parts.into_iter().map(Into::into).collect())
    }

    /// Tensors of one shape along a new dimension, whose place in the result is `dim`.
    #[track_caller]
    pub fn stack(&self, parts: impl IntoIterator<Item: Into<Operand>>, dim: i64) -> Value {
        self.compute(Op::Stack { dim }, parts.into_iter().map(Into::into).collect())
    }

    /// Several values as one, to be saved together.
    #[track_caller]
    pub fn tuple(&self, parts: impl IntoIterator<Item: Into<Operand>>) -> Value {
        self.compute(Op::Tuple {}, parts.into_iter().map(Into::into).collect())
    }

    /// Shows a text or a value while the program runs, between traces: after those that were used above this line, before
    /// those that are used below it for the first time. [`Value::log`] has a place inside a trace.
    #[track_caller]
    pub fn log(&self, what: impl Into<Operand>) {
        self.effect(EffectKind::Log { label: None }, what.into(), Scope::Session, here());
    }

    /// [`Session::log`] with something said before the value.
    #[track_caller]
    pub fn log_as(&self, label: &str, what: impl Into<Operand>) {
        self.effect(EffectKind::Log { label: Some(label.into()) }, what.into(), Scope::Session, here());
    }

    /// Calls a function of the user's, which [`Session::run_for`] knows by its name, with values; what it returns is of type
    /// `returns`, [`Type::Opaque`] if only other functions of the user's understand it.
    ///
    /// Calls are ordered as logs are: by the latest hook that one of their values depends on, then as in the program. Two
    /// equal calls are two calls. A hook can be set to what a function returns, if that is not a later one (E2007).
    ///
    /// ```
    /// # use irc::{backends::{host::Functions, reference::Reference}, ir::{tensor::Tensor, types::{DType, Type}}, models::Model};
    /// let model = Model::open("induction")?;
    /// let session = model.session();
    /// let trace = session.trace("<s> Eiffel Paris Eiffel");
    /// let next = trace.hook("lm_head.output").at((.., -1)).argmax(-1);
    /// let surprise = session.call("surprise", [&next], Type::tensor(DType::F32, []));
    /// session.when(surprise.gt(0.5), || session.stop("too surprising"));
    /// next.save("next");
    ///
    /// let mut host = Functions::new(|event| println!("{event:?}"));
    /// host.add("surprise", |operands| Ok(Tensor::scalar(if operands[0].as_tensor().is_some() { 0.25f32 } else { 1.0 }).into()));
    /// let results = session.run_for(&Reference, &mut host)?;
    /// assert_eq!(model.decode(results.ints("next")?), "Paris");
    /// assert!(results.stopped().is_none());
    /// # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
    /// ```
    #[track_caller]
    pub fn call(&self, name: &str, operands: impl IntoIterator<Item: Into<Operand>>, returns: Type) -> Value {
        self.value(|session, span| {
            let operands = session.resolve(operands.into_iter().map(Into::into).collect(), span.clone());
            session.record().call(name, &operands.iter().collect::<Vec<_>>(), returns, span)
        })
    }

    /// [`Session::call`] of a function without effects: it is called when its value is needed, once for equal calls, or not
    /// at all.
    #[track_caller]
    pub fn call_pure(&self, name: &str, operands: impl IntoIterator<Item: Into<Operand>>, returns: Type) -> Value {
        self.compute(Op::Call { name: name.into(), returns: Box::new(returns) }, operands.into_iter().map(Into::into).collect())
    }

    /// Ends the program here: what was saved before is returned, later saves, logs and calls do not happen. Its place is that
    /// of [`Session::log`].
    #[track_caller]
    pub fn stop<'a>(&self, reason: impl Into<Option<&'a str>>) {
        let kind = EffectKind::Stop { reason: reason.into().map(Into::into) };
        self.record().effect_on(kind, &[], Scope::Session, here());
    }

    /// Saves, logs, calls and stops inside `effects` happen only if a condition, one bool, holds when the program runs. They are
    /// recorded in any case; what a call returns that may not happen cannot be used (E3006).
    #[track_caller]
    pub fn when(&self, condition: impl Into<Operand>, effects: impl FnOnce()) {
        let span = here();
        let condition = self.resolve(vec![condition.into()], span.clone()).remove(0);
        self.record().begin_guard(&condition, span);
        // Also where `effects` panics.
        let _end = EndGuard(self);
        effects();
    }

    /// The program as recorded so far. Prompts are text constants in it, to be bound to token ids before it is verified.
    ///
    /// # Errors
    /// All mistakes that were made while recording: hooks that do not exist, values used before they are there (E2007) or
    /// outside of their session (E3003). Types and shapes are checked when the program is verified.
    pub fn program(&self) -> Result<Graph, Diagnostics> {
        self.record().program()
    }

    fn is(&self, other: &Session) -> bool {
        Arc::ptr_eq(&self.recorder, &other.recorder)
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Recorder> {
        // Nothing of the user's runs under the lock, so a panic of theirs leaves the recorder whole.
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[track_caller]
    pub(crate) fn value(&self, make: impl FnOnce(&Session, Span) -> Ref) -> Value {
        Value { at: make(self, here()), session: self.clone() }
    }

    #[track_caller]
    fn compute(&self, op: Op, operands: Vec<Operand>) -> Value {
        self.value(|session, span| {
            let operands = session.resolve(operands, span.clone());
            session.record().op(op, &operands.iter().collect::<Vec<_>>(), span)
        })
    }

    pub(crate) fn effect(&self, kind: EffectKind, what: Operand, scope: Scope, span: Span) {
        let value = self.resolve(vec![what], span.clone()).remove(0);
        self.record().effect(kind, &value, scope, span);
    }
}

/// Ends the guard of a session when it goes.
struct EndGuard<'a>(&'a Session);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.record().end_guard();
    }
}

impl Default for Session {
    fn default() -> Session {
        Session::new()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Session").finish_non_exhaustive()
    }
}

/// A model of a session.
#[derive(Clone, Debug)]
pub struct TracedModel {
    pub(crate) session: Session,
    /// None after a mistake.
    pub(crate) model: Option<ModelId>,
}

impl TracedModel {
    /// Opens a trace: a forward pass on a prompt or on token ids.
    ///
    /// Rows of different length are an error (E2004).
    #[track_caller]
    pub fn trace(&self, prompt: impl Into<Prompt>) -> Trace {
        let (session, span) = (self.session.clone(), here());
        let prompt = prompt.into();
        let text = if let Tokens::Text(text) = &prompt.0 { Some(text.as_str().into()) } else { None };
        let trace = self.model.and_then(|model| {
            let tokens = session.tokens(model, prompt, span.clone());
            session.record().trace(model, &tokens, span)
        });
        Trace { trace, text, session }
    }

    /// A module on a value: `lm_head` of `model.norm` of a hidden state is the logit lens.
    ///
    /// A module that does not exist, or whose output depends on more than its input, is an error (E2005).
    #[track_caller]
    pub fn apply(&self, module: impl AsRef<str>, value: impl Into<Operand>) -> Value {
        self.session.value(|session, span| match self.model {
            Some(model) => {
                let value = session.resolve(vec![value.into()], span.clone()).remove(0);
                let mut recorder = session.record();
                let path = match names::module(recorder.spec(model), module.as_ref()) {
                    Ok(path) => path,
                    Err(error) => {
                        recorder.error(error.or_label(&span));
                        return Ref::poisoned(span);
                    }
                };
                recorder.apply(model, &path, &value, span)
            }
            None => Ref::poisoned(span),
        })
    }
}

/// One forward pass of a session. Clones are the same trace.
#[derive(Clone, Debug)]
pub struct Trace {
    session: Session,
    /// None after a mistake.
    trace: Option<TraceId>,
    /// The prompt, where it is a text.
    text: Option<Arc<str>>,
}

impl Trace {
    /// The value at a hook, by its Hugging Face path with `.output`, `.input` or a leaf name: `model.layers.5.mlp.output`;
    /// or by whatever else [`names`] knows it as: `model.layers[-1].output[0]`, `blocks.5.hook_resid_post`.
    ///
    /// A hook that the model does not have is an error (E2001).
    #[track_caller]
    pub fn hook(&self, name: impl AsRef<str>) -> Value {
        self.session.value(|session, span| {
            let Some(trace) = self.trace else { return Ref::poisoned(span) };
            let mut recorder = session.record();
            let spec = recorder.spec(recorder.model_of(trace)).clone();
            match names::hook(&spec, name.as_ref()) {
                Ok(hook) => recorder.hook(trace, &spec.hook_info(hook).name, span),
                Err(error) => {
                    recorder.error(error.or_label(&span));
                    Ref::poisoned(span)
                }
            }
        })
    }

    /// The values at all hooks that a pattern names, with their names, in the order of the model:
    /// `model.layers.*.mlp.output`; see [`names::pattern`].
    ///
    /// A pattern that names no hook is an error (E2001).
    #[track_caller]
    pub fn hooks(&self, pattern: impl AsRef<str>) -> Vec<(String, Value)> {
        let Some(trace) = self.trace else { return vec![] };
        let span = here();
        let mut recorder = self.session.record();
        let spec = recorder.spec(recorder.model_of(trace)).clone();
        match names::hooks(&spec, pattern.as_ref()) {
            Ok(hooks) => {
                let value = |hook| {
                    let name = &spec.hook_info(hook).name;
                    let at = recorder.hook(trace, name, span.clone());
                    (name.to_string(), Value { session: self.session.clone(), at })
                };
                hooks.into_iter().map(value).collect()
            }
            Err(error) => {
                recorder.error(error.or_label(&span));
                vec![]
            }
        }
    }

    /// A module of the trace's model on a value; see [`TracedModel::apply`].
    #[track_caller]
    pub fn apply(&self, module: impl AsRef<str>, value: impl Into<Operand>) -> Value {
        self.model().apply(module, value)
    }

    /// Shows a text or a value while the program runs, after the saves and logs of this trace that are above this line. A
    /// value that comes from a hook has the place of that hook instead; see [`Value::log`].
    #[track_caller]
    pub fn log(&self, what: impl Into<Operand>) {
        if let Some(trace) = self.trace {
            self.session.effect(EffectKind::Log { label: None }, what.into(), Scope::Trace(trace), here());
        }
    }

    /// [`Session::stop`] inside this trace: after its saves, logs and calls that are above this line; inside
    /// [`Session::when`], at the latest hook that the condition depends on, if that is one of this trace.
    #[track_caller]
    pub fn stop<'a>(&self, reason: impl Into<Option<&'a str>>) {
        if let Some(trace) = self.trace {
            let kind = EffectKind::Stop { reason: reason.into().map(Into::into) };
            self.session.record().effect_on(kind, &[], Scope::Trace(trace), here());
        }
    }

    /// The model that the trace runs.
    pub fn model(&self) -> TracedModel {
        TracedModel { session: self.session.clone(), model: self.trace.map(|trace| self.session.record().model_of(trace)) }
    }

    /// The session of the trace.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// What a trace runs on: a prompt, token ids of one row or several of equal length, a tensor i64 \[batch, tokens\], or a
/// value of that type.
#[derive(Clone, Debug)]
pub struct Prompt(Tokens);

#[derive(Clone, Debug)]
enum Tokens {
    Text(String),
    Ids(Tensor),
    /// Rows of these two lengths.
    Ragged(usize, usize),
    Value(Value),
}

impl Prompt {
    /// How many tokens it has for a model, where that can be told before it is bound.
    pub(crate) fn length(&self, model: Option<&Model>) -> Option<usize> {
        match &self.0 {
            Tokens::Text(text) => Some(model?.encode(text).ok()?.len()),
            Tokens::Ids(ids) => ids.shape().get(1).copied(),
            Tokens::Ragged(..) | Tokens::Value(_) => None,
        }
    }
}

impl Session {
    /// The model of this name, if it is here.
    pub(crate) fn model_named(&self, name: &str) -> Option<Model> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn generations(&self) -> MutexGuard<'_, Vec<Planned>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tokens(&self, model: ModelId, prompt: Prompt, span: Span) -> Ref {
        let literal = match prompt.0 {
            Tokens::Text(text) => return self.record().prompt(model, &text, span),
            Tokens::Ids(ids) => Literal::from(&ids),
            Tokens::Ragged(a, b) => {
                let error = Diagnostic::error(Code::E2004, format!("the rows of a trace have {a} and {b} tokens")).label(span.clone(), "");
                self.record().error(error.help("open one trace for each row: the traces of a session run together"));
                return Ref::poisoned(span);
            }
            Tokens::Value(value) => return self.resolve(vec![value.into()], span).remove(0),
        };
        self.record().constant(literal, span)
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Prompt {
        Prompt(Tokens::Text(text.to_owned()))
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Prompt {
        Prompt(Tokens::Text(text))
    }
}

impl From<&String> for Prompt {
    fn from(text: &String) -> Prompt {
        text.as_str().into()
    }
}

impl From<Vec<i64>> for Prompt {
    fn from(row: Vec<i64>) -> Prompt {
        Prompt(Tokens::Ids(Tensor::new([1, row.len()], row)))
    }
}

impl From<&[i64]> for Prompt {
    fn from(row: &[i64]) -> Prompt {
        row.to_vec().into()
    }
}

impl<const N: usize> From<[i64; N]> for Prompt {
    fn from(row: [i64; N]) -> Prompt {
        row.to_vec().into()
    }
}

impl From<Vec<Vec<i64>>> for Prompt {
    fn from(rows: Vec<Vec<i64>>) -> Prompt {
        let length = rows.first().map_or(0, Vec::len);
        match rows.iter().find(|row| row.len() != length) {
            Some(other) => Prompt(Tokens::Ragged(length, other.len())),
            None => Prompt(Tokens::Ids(Tensor::new([rows.len(), length], rows.concat()))),
        }
    }
}

impl From<Tensor> for Prompt {
    fn from(ids: Tensor) -> Prompt {
        Prompt(Tokens::Ids(ids))
    }
}

impl From<&Value> for Prompt {
    fn from(ids: &Value) -> Prompt {
        Prompt(Tokens::Value(ids.clone()))
    }
}

impl From<Value> for Prompt {
    fn from(ids: Value) -> Prompt {
        Prompt(Tokens::Value(ids))
    }
}
