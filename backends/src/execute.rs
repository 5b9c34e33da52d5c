//! The driver: runs the schedule of a program on an engine.
//!
//! The engine computes values of stages; the driver knows forwards, lanes and writes, runs attention between the stages,
//! evaluates what the program computes outside of models, and lets go of every value after its last use.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use irc_ir::{
    diagnostic::Diagnostic,
    eval::Value,
    graph::{EffectKind, NodeId},
    model::StageKind,
    op::Op,
    plan::{LaneId, Schedule, Step},
    tensor::Tensor,
    types::Name,
    verify::Verified,
};

use irc_passes::{Strategy, Target, takes::Takes};

use crate::{
    Backend, Caps, Engine, Handle, Handles, LoadedModel, Outcome, StepReport,
    attention_stage::AttentionStage,
    cancel::Cancel,
    failed, handle_of,
    host::{Host, check_functions},
    steps::{Frame, evaluate, perform},
};

mod carried;
mod keep;
mod kernel;
mod loops;
mod stages;

use carried::Carried;
use kernel::run_kernel;
use loops::Planned;

/// The backend that runs schedules on an engine.
pub struct Driven {
    engine: Box<dyn Engine>,
    /// The engine, without its version.
    name: String,
    strategy: Strategy,
    memory: Option<u64>,
    loaded: Mutex<Vec<(Handle, Arc<Ready>)>>,
}

/// A model that is ready to run, kept for the next program.
struct Ready {
    model: Arc<dyn LoadedModel>,
    /// By stage; none for position-wise ones.
    attention: Vec<Option<AttentionStage>>,
}

impl Driven {
    /// A backend on an engine.
    pub fn new(engine: impl Engine + 'static) -> Driven {
        let name = engine.caps().engine.split(' ').next().unwrap_or_default().to_owned();
        Driven { engine: Box::new(engine), name, strategy: Strategy::default(), memory: None, loaded: Mutex::default() }
    }

    /// With schedules that leave out some of what saves work, to see what it is worth. No bit of a result changes.
    pub fn with_strategy(self, strategy: Strategy) -> Driven {
        Driven { strategy, ..self }
    }

    /// With this many bytes, about, for values of forwards at a time; forwards that do not fit wait for others.
    pub fn with_memory(self, bytes: u64) -> Driven {
        Driven { memory: Some(bytes), ..self }
    }

    /// What its schedules count on.
    pub fn target(&self) -> Target {
        let Caps { chunk, min_rows, edits, splices, prunes, .. } = self.engine.caps();
        let default = Target::default();
        Target { strategy: self.strategy, chunk, min_rows, edits, splices, prunes, memory: self.memory.unwrap_or(default.memory) }
    }

    /// Makes a model ready to run, unless it is already.
    ///
    /// # Errors
    /// E0012 or E4003 if weights cannot be read or the engine refuses the model.
    pub fn load(&self, handle: &Handle) -> Result<(), Diagnostic> {
        self.ready(handle).map(drop)
    }

    fn ready(&self, handle: &Handle) -> Result<Arc<Ready>, Diagnostic> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        // One set of weights may serve several architectures.
        let same = |known: &Handle| Arc::ptr_eq(&known.weights, &handle.weights) && Arc::ptr_eq(&known.spec, &handle.spec);
        if let Some((_, ready)) = loaded.iter().find(|(known, _)| same(known)) {
            return Ok(ready.clone());
        }
        let stages = handle.spec.stages();
        let mut rotaries = vec![];
        let attention = stages.iter().map(|stage| match &stage.kind {
            StageKind::Positionwise => None,
            StageKind::Attention(attention) => Some(AttentionStage::new(attention, &mut rotaries)),
        });
        let attention = attention.collect();
        let ready = Arc::new(Ready { model: self.engine.load(handle)?, attention });
        loaded.push((handle.clone(), ready.clone()));
        Ok(ready)
    }
}

impl Backend for Driven {
    fn name(&self) -> &str {
        &self.name
    }

    fn run_for(&self, program: &Verified, models: &Handles, host: &mut dyn Host) -> Result<Outcome, Diagnostic> {
        let cancel = host.cancel();
        cancel.over(|| self.run_until(program, models, host, &cancel))
    }
}

impl Driven {
    fn run_until(&self, program: &Verified, models: &Handles, host: &mut dyn Host, cancel: &Cancel) -> Result<Outcome, Diagnostic> {
        let start = Instant::now();
        let caps = self.engine.caps();
        let target = self.target();
        let planned = Planned::new(Cow::Borrowed(program), &[], &target)?;
        check_functions(program, host)?;
        let mut ready = BTreeMap::new();
        for model in planned.models() {
            ready.insert(model.clone(), self.ready(handle_of(models, &model)?)?);
            cancel.check()?;
        }
        // All models of a program run on one engine.
        let class = ready.values().next().map_or_else(String::new, |ready| ready.model.numeric_class());
        let mut outcome = Outcome::of(&planned.schedule, class);
        let mut result = Err(failed("the engine did not run"));
        self.engine.enter(&mut || {
            let around = Around { ready: &ready, caps: &caps, target: &target, cancel };
            let mut execution = Execution::new(around, &planned, Frame::default(), &mut outcome);
            result = execution.run(host);
        });
        result?;
        outcome.report.total_time = start.elapsed();
        Ok(outcome)
    }
}

/// What is the same for a program and all its loops.
#[derive(Clone, Copy)]
struct Around<'a> {
    ready: &'a BTreeMap<Name, Arc<Ready>>,
    caps: &'a Caps,
    target: &'a Target,
    cancel: &'a Cancel,
}

/// A value of a model for some positions of a lane: [batch * positions, …], sequence by sequence; scores and pattern as they are.
#[derive(Clone)]
struct LaneValue {
    batch: usize,
    positions: Range<usize>,
    tensor: Tensor,
}

impl LaneValue {
    /// Some of its positions of a sequence.
    fn part(&self, sequence: usize, positions: &Range<usize>) -> Tensor {
        let start = sequence * self.positions.len() + positions.start.saturating_sub(self.positions.start);
        self.tensor.part(start..start + positions.len())
    }
}

/// The state of a program, or of a body in an iteration, that is being run.
struct Execution<'a> {
    around: Around<'a>,
    planned: &'a Planned<'a>,
    program: &'a Verified,
    schedule: &'a Schedule,
    takes: Takes<'a>,
    frame: Frame,
    /// What was computed, or why it could not be: that matters only if something that happens needs it.
    values: Vec<Option<Result<Value, Diagnostic>>>,
    /// Forwards that came from outside, and those that were kept.
    forwards: HashMap<NodeId, Result<Arc<Carried>, Diagnostic>>,
    /// How long those from outside are: what was before them, and their own positions.
    lengths: HashMap<NodeId, (usize, usize)>,
    /// How often each value and each of these forwards is still going to be used.
    uses: Vec<u32>,
    lanes: HashMap<(LaneId, NodeId), LaneValue>,
    lane_uses: HashMap<(LaneId, NodeId), u32>,
    outcome: &'a mut Outcome,
}

impl<'a> Execution<'a> {
    fn new(around: Around<'a>, planned: &'a Planned<'a>, frame: Frame, outcome: &'a mut Outcome) -> Execution<'a> {
        let (program, schedule) = (&*planned.program, &planned.schedule);
        let (forwards, lengths, lanes) = Default::default();
        let values = vec![None; program.graph().len()];
        // Each value goes with its last use.
        let (uses, lane_uses) = planned.uses.clone();
        let takes = planned.takes();
        Execution { around, planned, program, schedule, takes, frame, values, forwards, lengths, uses, lanes, lane_uses, outcome }
    }

    fn value(&self, node: NodeId) -> NodeId {
        self.schedule.values[node.index()]
    }

    fn run(&mut self, host: &mut dyn Host) -> Result<(), Diagnostic> {
        let schedule = self.schedule;
        for step in &schedule.steps {
            self.around.cancel.check()?;
            let (start, before) = (Instant::now(), self.outcome.report.crossed());
            match step {
                Step::Host(id) if matches!(self.program.graph().node(*id).op, Op::Loop { .. }) => self.pure_loop(*id, host),
                Step::Host(id) => {
                    let value = self.host(*id, host);
                    self.store(*id, value);
                }
                Step::Kernel(chain) => self.kernel(chain),
                Step::Effect(at) => self.effect(*at, host)?,
                Step::Join(join) => self.join(join)?,
                Step::Keep(kept) => self.keep(kept)?,
                Step::Stage(step) => self.stage(step)?,
            }
            if !self.frame.in_loop {
                let crossed = self.outcome.report.crossed().since(before);
                self.outcome.report.steps.push(StepReport { time: start.elapsed(), crossed });
            }
            if self.outcome.stopped.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn host(&mut self, id: NodeId, host: &mut dyn Host) -> Result<Value, Diagnostic> {
        let graph = self.program.graph();
        let node = graph.node(id);
        let operands: Vec<Value> = self.take_all(&node.operands).into_iter().collect::<Result<_, _>>()?;
        evaluate(self.program, id, &operands, &self.frame, host)
    }

    /// Evaluates a chain of operations that work element by element.
    fn kernel(&mut self, chain: &[NodeId]) {
        let Some(&last) = chain.last() else { return };
        let operands = self.takes.of_chain(chain);
        let given = operands.into_iter().map(|operand| Ok((operand, self.take_tensor(operand)?)));
        let given: Result<Vec<(NodeId, Tensor)>, Diagnostic> = given.collect();
        let value = given.and_then(|given| run_kernel(self.program, &self.schedule.values, chain, &given));
        self.store(last, value.map(Value::Tensor));
    }

    fn effect(&mut self, at: usize, host: &mut dyn Host) -> Result<(), Diagnostic> {
        let effect = &self.program.graph().effects[at];
        if let EffectKind::Loop { .. } = effect.kind {
            return self.effectful_loop(at, effect, host);
        }
        // All are taken, also where they turn out not to be needed: each use is counted.
        let operands = self.take_all(&effect.operands);
        let condition = effect.guard.map(|guard| self.take(self.value(guard.condition))).transpose()?;
        let otherwise = effect.guard.and_then(|guard| guard.otherwise).map(|other| self.take(self.value(other)));
        let result = perform(effect, operands, condition, otherwise, &self.frame, self.outcome, host)?;
        if let (Some(value), Some(id)) = (result, self.schedule.results[at]) {
            self.store(id, value);
        }
        Ok(())
    }

    /// A value, which goes with its last use.
    fn take(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        let slot = &mut self.values[id.index()];
        self.uses[id.index()] = self.uses[id.index()].saturating_sub(1);
        let value = if self.uses[id.index()] == 0 { slot.take() } else { slot.clone() };
        value.unwrap_or_else(|| Err(failed(format!("the schedule uses {id:?} before it is there"))))
    }

    fn take_all(&mut self, nodes: &[NodeId]) -> Vec<Result<Value, Diagnostic>> {
        nodes.iter().map(|node| self.take(self.value(*node))).collect()
    }

    fn store(&mut self, id: NodeId, value: Result<Value, Diagnostic>) {
        if self.uses[id.index()] > 0 {
            self.values[id.index()] = Some(value);
        }
    }

    fn take_tensor(&mut self, id: NodeId) -> Result<Tensor, Diagnostic> {
        self.take(id)?.into_tensor().ok_or_else(|| failed(format!("{id:?} is not a tensor")))
    }
}
