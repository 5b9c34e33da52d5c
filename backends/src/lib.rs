//! Backends: verified programs to numbers.
//!
//! A [`Backend`] runs a whole program. Ours are [`reference::Reference`], which is slow, obvious and the oracle, and
//! [`execute::Driven`], which runs a schedule on an [`Engine`]. An engine knows nothing of forwards and writes: it computes
//! values of a model's graph from others, for a flat batch of tokens.

pub mod attention;
mod attention_stage;
pub mod cancel;
pub mod conformance;
pub mod edit;
pub mod execute;
pub mod host;
mod memory;
pub mod onnx;
#[cfg(feature = "ort")]
pub mod ort;
mod positionwise;
pub mod reference;
pub mod rten;
mod steps;
pub mod weights;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    eval::Value,
    graph::NodeId,
    model::ModelSpec,
    plan::Schedule,
    tensor::Tensor,
    types::Name,
    verify::Verified,
};

use cancel::Cancel;
use edit::Edit;
use host::Host;
use weights::Weights;

/// A model with its weights.
#[derive(Clone)]
pub struct Handle {
    /// What the compiler knows of it.
    pub spec: Arc<ModelSpec>,
    /// Where its weights are.
    pub weights: Arc<Weights>,
}

/// The models of a program, by the program's names for them.
pub type Handles = BTreeMap<Name, Handle>;

/// The model that a program calls by a name.
pub(crate) fn handle_of<'a>(models: &'a Handles, name: &Name) -> Result<&'a Handle, Diagnostic> {
    models.get(name).ok_or_else(|| failed(format!("the model `{name}` has no weights here")))
}

/// Runs verified programs.
pub trait Backend: Send + Sync {
    /// What a person calls it: `rten`, `reference`.
    fn name(&self) -> &str;

    /// Whether operations of a program outside of models have the bits of [`irc_ir::eval`], and not those of an engine.
    fn evaluates_exactly(&self) -> bool {
        true
    }

    /// Runs a program to its end, or until it stops itself.
    ///
    /// # Errors
    /// E3009 if it calls a function that the host does not have, and E4005 if it needs something that this backend cannot do,
    /// both before anything runs; E4003 if the program fails at run time, at the place in the program where it does; E0012 if
    /// weights cannot be read; E4006 if it was cancelled before it came to its end, whatever else went wrong.
    fn run_for(&self, program: &Verified, models: &Handles, host: &mut dyn Host) -> Result<Outcome, Diagnostic>;

    /// [`Backend::run_for`] a program that calls no functions. `on_event` hears of logs as they happen.
    ///
    /// # Errors
    /// As [`Backend::run_for`].
    fn run(&self, program: &Verified, models: &Handles, on_event: &mut (dyn FnMut(Event) + Send)) -> Result<Outcome, Diagnostic> {
        self.run_for(program, models, &mut host::Listener(on_event))
    }
}

/// What happens while a program runs.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The program logs a value.
    Log {
        /// Said before the value.
        label: Option<Name>,
        /// The value.
        value: Value,
    },
    /// An iteration of a loop saves a value: what is returned in the end is that of the last iteration.
    Save {
        /// The name of the save.
        name: Name,
        /// The value.
        value: Value,
    },
}

impl Event {
    /// What is said before the value, or the name under which it is saved.
    pub fn label(&self) -> Option<&Name> {
        match self {
            Event::Log { label, .. } => label.as_ref(),
            Event::Save { name, .. } => Some(name),
        }
    }

    /// The value.
    pub fn value(&self) -> &Value {
        match self {
            Event::Log { value, .. } | Event::Save { value, .. } => value,
        }
    }
}

/// What a program returns.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The saved values in the order of the program.
    pub saves: Vec<(Name, Value)>,
    /// Whether the program stopped itself; what comes after that is not saved.
    pub stopped: Option<Stopped>,
    /// What was done for them.
    pub report: Report,
}

impl Outcome {
    /// Of a program that is about to run by a schedule, on an engine of a numeric class. Where nothing of a model is computed,
    /// it is the host's arithmetic.
    pub(crate) fn of(schedule: &Schedule, class: String) -> Outcome {
        let numeric_class = if class.is_empty() { "host".to_owned() } else { class };
        let mut report = Report { numeric_class, ..Report::default() };
        report.add_planned(schedule);
        Outcome { report, ..Outcome::default() }
    }

    /// Saves a value in a loop: that of the last iteration is returned.
    pub(crate) fn save_again(&mut self, name: &Name, value: Value) {
        match self.saves.iter_mut().find(|(saved, _)| saved == name) {
            Some((_, earlier)) => *earlier = value,
            None => self.saves.push((name.clone(), value)),
        }
    }

    /// The value that was saved under a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.saves.iter().find(|(saved, _)| &**saved == name).map(|(_, value)| value)
    }
}

/// A program stopped itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Stopped {
    /// Why, if it says so.
    pub reason: Option<Name>,
    /// Where.
    pub span: Span,
}

/// What was done to run a program.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Engine, element type and form of the weights: results of one class are comparable bit by bit.
    pub numeric_class: String,
    /// The forward passes that the program asks for, as a tool counts them that runs it as it is written.
    pub forwards: usize,
    /// Stages in which something was computed, counted once for each group of rows that are the same so far.
    pub stages_run: usize,
    /// Stages that those passes would have run, each whole and alone, with the stages of applied modules.
    pub stages_whole: usize,
    /// Tokens that went through position-wise stages, over all stages.
    pub token_stages: usize,
    /// Tokens that would have gone through them in those passes.
    pub token_stages_whole: usize,
    /// Calls of the engine.
    pub engine_calls: usize,
    /// Bytes of the tensors that the engine was given, edits included.
    pub bytes_in: u64,
    /// Bytes of those that it gave.
    pub bytes_out: u64,
    /// By the steps of the schedule, as far as it came: what each of them took.
    pub steps: Vec<StepReport>,
    /// Wall time in the engine.
    pub engine_time: Duration,
    /// Wall time in attention.
    pub attention_time: Duration,
    /// Wall time of everything.
    pub total_time: Duration,
}

/// What went over the boundary of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Crossed {
    /// Calls.
    pub calls: usize,
    /// Bytes of the tensors that it was given, edits included.
    pub bytes_in: u64,
    /// Bytes of those that it gave.
    pub bytes_out: u64,
}

impl Crossed {
    /// What came after `before`.
    pub(crate) fn since(self, before: Crossed) -> Crossed {
        Crossed {
            calls: self.calls - before.calls,
            bytes_in: self.bytes_in - before.bytes_in,
            bytes_out: self.bytes_out - before.bytes_out,
        }
    }
}

impl Report {
    /// What went over the engine's boundary so far.
    pub(crate) fn crossed(&self) -> Crossed {
        Crossed { calls: self.engine_calls, bytes_in: self.bytes_in, bytes_out: self.bytes_out }
    }

    /// Adds what a schedule is going to do: that of the body of a loop, for an iteration.
    pub(crate) fn add_planned(&mut self, schedule: &Schedule) {
        self.forwards += schedule.forwards;
        self.stages_run += schedule.stages_run;
        self.stages_whole += schedule.stages_whole;
        self.token_stages_whole += schedule.token_stages_whole;
    }

    /// Adds calls of the engine.
    pub(crate) fn add_calls(&mut self, crossed: Crossed, time: Duration) {
        self.engine_calls += crossed.calls;
        self.bytes_in += crossed.bytes_in;
        self.bytes_out += crossed.bytes_out;
        self.engine_time += time;
    }
}

/// What a step of a schedule took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StepReport {
    /// Wall time.
    pub time: Duration,
    /// What went over the engine's boundary.
    pub crossed: Crossed,
}

/// What an engine can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caps {
    /// The engine with its version.
    pub engine: String,
    /// Tokens of a flat batch that it likes best; longer ones are cut.
    pub chunk: usize,
    /// The fewest rows of a matrix that keep its arithmetic the same for any number of rows; shorter batches are padded.
    pub min_rows: usize,
    /// Whether it edits values while it computes them. One that starts anywhere and computes only what is wanted has no need
    /// to: it is stopped at a value, and goes on from what became of it.
    pub edits: bool,
    /// Whether chains of operations are edits for it as well, all of them that are [exact](irc_passes::chains::is_exact).
    pub splices: bool,
    /// Whether it computes only what is wanted. Otherwise it computes the whole stage.
    pub prunes: bool,
}

/// Something that can compute models.
pub trait Engine: Send + Sync {
    /// What it can do.
    fn caps(&self) -> Caps;

    /// Makes a model ready to run.
    ///
    /// # Errors
    /// E0012 or E4003 if weights cannot be read or the engine refuses the model.
    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic>;

    /// Runs `work` where the engine's threads are at hand, so that work of ours need not wake others.
    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        work();
    }
}

/// What a model on an engine is asked for: nodes of its graph from others, for a flat batch of N tokens.
///
/// Every tensor is [N, …]: the type of its node with batch and tokens as one dimension. Hooks have the value of the node that
/// they are on ([`ModelSpec::source`]), so that sources only are named. Nothing between the inputs and the outputs of an
/// attention stage is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Nodes with their values; they need not be inputs of the model. What only leads to them does not run.
    pub given: &'a [(NodeId, &'a Tensor)],
    /// Nodes that become something else as soon as they are computed, before anything uses them: what is wanted of them,
    /// too, is the edited value. Empty unless the engine says that it takes edits ([`Caps::edits`]).
    pub edits: &'a [(NodeId, &'a Edit)],
    /// Nodes whose values are wanted.
    pub want: &'a [NodeId],
    /// Ends the run early. An engine that cannot be interrupted need not look at it: its caller does, between calls.
    pub cancel: &'a Cancel,
}

impl Call<'_> {
    /// The bytes of all tensors that are given.
    pub fn bytes(&self) -> u64 {
        let given: usize = self.given.iter().map(|(_, tensor)| tensor.bytes()).sum();
        (given + self.edits.iter().map(|(_, edit)| edit.bytes()).sum::<usize>()) as u64
    }
}

/// A model on an engine.
pub trait LoadedModel: Send + Sync {
    /// Computes what a call wants, in its order.
    ///
    /// # Errors
    /// E4003 if the engine fails; E4006 if it was cancelled and heeds it.
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic>;

    /// Names what the bits of the results depend on.
    fn numeric_class(&self) -> String;
}

/// An error that only running could tell.
pub(crate) fn failed(message: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(Code::E4003, message.to_string())
}
