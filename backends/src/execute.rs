//! The driver: runs the schedule of a program on an engine.
//!
//! The engine computes values of stages; the driver knows forwards, lanes and writes, runs attention between the stages,
//! evaluates what the program computes outside of models, and lets go of every value after its last use.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use irc_ir::{
    diagnostic::Diagnostic,
    eval::Value,
    graph::NodeId,
    model::{HookId, ModelSpec, StageKind},
    op::Op,
    plan::{LaneId, Schedule, StageStep, Step},
    tensor::Tensor,
    types::{Name, Type},
    verify::Verified,
};

use irc_passes::Target;

use crate::{
    Backend, Caps, Engine, Handle, Handles, LoadedModel, Outcome,
    attention_stage::{AttentionStage, HookTensor, Request, Span},
    cancel::Cancel,
    edit::Edit,
    failed, handle_of,
    host::{Host, check_functions},
    positionwise::FlatBatch,
    steps::{check_ids, evaluate, perform},
};

/// The backend that runs schedules on an engine.
pub struct Driven {
    engine: Box<dyn Engine>,
    /// The engine, without its version.
    name: String,
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
        Driven { engine: Box::new(engine), name, loaded: Mutex::default() }
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
        let schedule = irc_passes::schedule(program, &target(&caps))?;
        check_functions(program, host)?;
        let mut ready = BTreeMap::new();
        for step in &schedule.steps {
            if let Step::Stage(step) = step
                && !ready.contains_key(&step.model)
            {
                ready.insert(step.model.clone(), self.ready(handle_of(models, &step.model)?)?);
                cancel.check()?;
            }
        }
        let mut result = Err(failed("the engine did not run"));
        self.engine.enter(&mut || {
            let mut execution = Execution::new(program, &schedule, &ready, &caps, cancel);
            result = execution.run(host).map(|()| execution.outcome());
        });
        let mut outcome = result?;
        outcome.report.total_time = start.elapsed();
        Ok(outcome)
    }
}

/// What a schedule may count on, for an engine that can do this.
pub fn target(caps: &Caps) -> Target {
    Target { edits: caps.edits, chunk: caps.chunk, min_rows: caps.min_rows, ..Target::default() }
}

/// A value of a model for the tokens of one lane, flat; or, for scores and pattern, [batch, heads, length, length].
type LaneValue = Tensor;

/// The state of a program that is being run.
struct Execution<'a> {
    program: &'a Verified,
    schedule: &'a Schedule,
    ready: &'a BTreeMap<Name, Arc<Ready>>,
    caps: &'a Caps,
    cancel: &'a Cancel,
    /// What was computed, or why it could not be: that matters only if something that happens needs it.
    values: Vec<Option<Result<Value, Diagnostic>>>,
    /// How often each value is still going to be used.
    uses: Vec<u32>,
    lanes: HashMap<(LaneId, NodeId), LaneValue>,
    lane_uses: HashMap<(LaneId, NodeId), u32>,
    outcome: Outcome,
}

impl<'a> Execution<'a> {
    fn new(
        program: &'a Verified,
        schedule: &'a Schedule,
        ready: &'a BTreeMap<Name, Arc<Ready>>,
        caps: &'a Caps,
        cancel: &'a Cancel,
    ) -> Execution<'a> {
        // All models of a program run on one engine.
        let class = ready.values().next().map_or_else(String::new, |ready| ready.model.numeric_class());
        let outcome = Outcome::of(schedule, class);
        let count = program.graph().len();
        let mut execution = Execution {
            program,
            schedule,
            ready,
            caps,
            cancel,
            values: vec![None; count],
            uses: vec![0; count],
            lanes: HashMap::new(),
            lane_uses: HashMap::new(),
            outcome,
        };
        execution.count_uses();
        execution
    }

    fn outcome(self) -> Outcome {
        self.outcome
    }

    /// Counts how often values are going to be used, so that each goes with its last use.
    fn count_uses(&mut self) {
        let graph = self.program.graph();
        for step in &self.schedule.steps {
            match step {
                Step::Host(id) => graph.node(*id).operands.iter().for_each(|operand| self.count_use(*operand)),
                Step::Effect(at) => graph.effects[*at].uses().for_each(|used| self.count_use(used)),
                Step::Stage(step) => {
                    for &lane in &step.lanes {
                        for &input in &step.inputs {
                            if is_given(&self.program.models()[&step.model], input) {
                                continue;
                            }
                            let key = (self.origin(step, lane, input), input);
                            *self.lane_uses.entry(key).or_default() += 1;
                        }
                        self.host_values(step, lane).for_each(|value| self.uses[value.index()] += 1);
                    }
                }
            }
        }
    }

    fn count_use(&mut self, node: NodeId) {
        let value = self.value(node);
        self.uses[value.index()] += 1;
    }

    fn value(&self, node: NodeId) -> NodeId {
        self.schedule.values[node.index()]
    }

    /// The lane that made an input of a stage.
    fn origin(&self, step: &StageStep, lane: LaneId, input: NodeId) -> LaneId {
        self.schedule.lane_at(lane, self.program.models()[&step.model].stage_of(input))
    }

    /// The values of the program that a lane takes in a stage: what is written, and the tokens.
    fn host_values(&self, step: &StageStep, lane: LaneId) -> impl Iterator<Item = NodeId> + use<> {
        let info = &self.schedule.lanes[lane.index()];
        let writes = info.writes.iter().filter(|_| info.stage == step.stage);
        let written: Vec<NodeId> = writes.flat_map(|write| write.operands()).collect();
        let looks = step.inputs.iter().any(|input| is_given(&self.program.models()[&step.model], *input));
        let tokens = if looks { info.tokens } else { None };
        written.into_iter().chain(tokens)
    }

    fn run(&mut self, host: &mut dyn Host) -> Result<(), Diagnostic> {
        let schedule = self.schedule;
        for step in &schedule.steps {
            self.cancel.check()?;
            match step {
                Step::Host(id) => {
                    let value = self.host(*id, host);
                    self.store(*id, value);
                }
                Step::Effect(at) => self.effect(*at, host)?,
                Step::Stage(step) => self.stage(step)?,
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
        evaluate(self.program, id, &operands, host)
    }

    fn effect(&mut self, at: usize, host: &mut dyn Host) -> Result<(), Diagnostic> {
        let effect = &self.program.graph().effects[at];
        // All are taken, also where they turn out not to be needed: each use is counted.
        let operands = self.take_all(&effect.operands);
        let condition = effect.guard.map(|guard| self.take(self.value(guard.condition))).transpose()?;
        let otherwise = effect.guard.and_then(|guard| guard.otherwise).map(|other| self.take(self.value(other)));
        let result = perform(effect, operands, condition, otherwise, &mut self.outcome, host)?;
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

    fn stage(&mut self, step: &StageStep) -> Result<(), Diagnostic> {
        let spec = self.program.models()[&step.model].clone();
        let ready = self.ready[&step.model].clone();
        let spans = self.spans(step);
        let mut inputs = BTreeMap::new();
        for &input in step.inputs.iter().filter(|input| !is_given(&spec, **input)) {
            let parts =
                step.lanes.iter().map(|&lane| self.take_lane(self.origin(step, lane, input), input)).collect::<Result<Vec<_>, _>>()?;
            inputs.insert(input, Tensor::joined(&parts));
        }
        let writes = self.writes(step, &spec)?;
        match &ready.attention[step.stage] {
            Some(attention) => self.attention(step, &spec, attention, &spans, inputs, writes),
            None => self.positionwise(step, &spec, &*ready.model, &spans, inputs, writes),
        }
    }

    /// Where each lane's tokens are in the flat batch.
    fn spans(&self, step: &StageStep) -> Vec<Span> {
        let mut start = 0;
        let span = |lane: &LaneId| {
            let info = &self.schedule.lanes[lane.index()];
            let span = Span { start, batch: info.batch, length: info.length };
            start += info.batch * info.length;
            span
        };
        step.lanes.iter().map(span).collect()
    }

    fn take_lane(&mut self, lane: LaneId, node: NodeId) -> Result<Tensor, Diagnostic> {
        let key = (lane, node);
        let uses = self.lane_uses.entry(key).or_insert(1);
        *uses -= 1;
        let value = if *uses == 0 { self.lanes.remove(&key) } else { self.lanes.get(&key).cloned() };
        value.ok_or_else(|| failed(format!("the schedule uses node {node:?} of lane {} before it is there", lane.index())))
    }

    /// What the lanes of a stage make of hooks where they are computed, by the node of the hook.
    fn edits(&mut self, step: &StageStep, spec: &ModelSpec, spans: &[Span]) -> Result<BTreeMap<NodeId, Edit>, Diagnostic> {
        let mut edits: BTreeMap<HookId, Vec<Edit>> = BTreeMap::new();
        for &lane in &step.lanes {
            let info = &self.schedule.lanes[lane.index()];
            for write in info.writes.iter().filter(|_| info.stage == step.stage) {
                let Some(edit) = &write.edit else { continue };
                let sizes = hook_sizes(spec, write.hook, info.batch, info.length)?;
                let program = self.program;
                edits.entry(write.hook).or_default().push(Edit::new(edit, program, &sizes, |value| self.take_tensor(value))?);
            }
        }
        let rows: Vec<usize> = spans.iter().map(|span| span.tokens().len()).collect();
        let joined = edits.into_iter().map(|(hook, edits)| {
            let tail = &hook_sizes(spec, hook, 1, 1)?[2..];
            Ok((spec.hook_info(hook).node, Edit::joined(&edits, &rows, tail)))
        });
        joined.collect()
    }

    /// What the lanes of a stage write, by hook: one tensor a lane.
    fn writes(&mut self, step: &StageStep, spec: &ModelSpec) -> Result<BTreeMap<HookId, Vec<Tensor>>, Diagnostic> {
        let mut writes: BTreeMap<HookId, Vec<Tensor>> = BTreeMap::new();
        for &lane in &step.lanes {
            let info = &self.schedule.lanes[lane.index()];
            for write in info.writes.iter().filter(|write| info.stage == step.stage && write.edit.is_none()) {
                let sizes = hook_sizes(spec, write.hook, info.batch, info.length)?;
                let value = self.take_tensor(write.value)?.reshaped(sizes);
                check_ids(self.program, spec, spec.hook_info(write.hook).node, &value, write.value)?;
                writes.entry(write.hook).or_default().push(value);
            }
        }
        Ok(writes)
    }

    fn positionwise(
        &mut self,
        step: &StageStep,
        spec: &ModelSpec,
        model: &dyn LoadedModel,
        spans: &[Span],
        mut known: BTreeMap<NodeId, Tensor>,
        writes: BTreeMap<HookId, Vec<Tensor>>,
    ) -> Result<(), Diagnostic> {
        let tokens = spans.iter().map(|span| span.tokens().len()).sum();
        self.model_inputs(step, spec, spans, &mut known)?;
        for (hook, values) in writes {
            let flat: Vec<Tensor> = values.iter().map(flatten).collect();
            known.insert(spec.hook_info(hook).node, Tensor::joined(&flat));
        }
        let edits = self.edits(step, spec, spans)?;
        let (caps, cancel) = (self.caps, self.cancel);
        let mut batch = FlatBatch { spec, model, caps, cancel, tokens, known, edits, calls: 0, time: Default::default() };
        let captured = step.captures.iter().map(|capture| spec.hook_info(capture.hook).node);
        let wanted: Vec<NodeId> = step.outputs.iter().copied().chain(captured).collect();
        batch.compute(&wanted)?;

        let mut of_lanes = vec![];
        for &output in &step.outputs {
            let all = batch.get(output).ok_or_else(|| failed("the engine left an output out"))?;
            of_lanes.extend(step.lanes.iter().zip(spans).map(|(lane, span)| ((*lane, output), all.part(span.tokens()))));
        }
        let mut captures = vec![];
        for capture in &step.captures {
            let all = batch.get(spec.hook_info(capture.hook).node).ok_or_else(|| failed("the engine left a hook out"))?;
            let at = step.lanes.iter().position(|lane| *lane == capture.lane).unwrap_or(0);
            captures.push((capture.value, all.part(spans[at].tokens())));
        }
        let report = &mut self.outcome.report;
        report.engine_calls += batch.calls;
        report.engine_time += batch.time;
        report.token_stages += tokens;
        self.keep(of_lanes);
        captures.into_iter().for_each(|(value, tensor)| self.capture(value, tensor));
        Ok(())
    }

    /// Positions, and token ids where the stage looks at them.
    fn model_inputs(
        &mut self,
        step: &StageStep,
        spec: &ModelSpec,
        spans: &[Span],
        known: &mut BTreeMap<NodeId, Tensor>,
    ) -> Result<(), Diagnostic> {
        for (id, node) in spec.graph().nodes().take_while(|(_, node)| matches!(node.op, Op::Input { .. })) {
            let mut flat: Vec<i64> = vec![];
            if matches!(&node.op, Op::Input { name, .. } if &**name == "positions") {
                spans.iter().for_each(|span| (0..span.batch).for_each(|_| flat.extend(0..span.length as i64)));
            } else if step.inputs.contains(&id) {
                for lane in &step.lanes {
                    let place = self.schedule.lanes[lane.index()].tokens.ok_or_else(|| failed("an applied module has no tokens"))?;
                    let ids = self.take_tensor(place)?;
                    check_ids(self.program, spec, id, &ids, place)?;
                    flat.extend(ids.into_values::<i64>().ok_or_else(|| failed("token ids are i64"))?);
                }
            } else {
                continue;
            }
            known.insert(id, Tensor::new([flat.len()], flat));
        }
        Ok(())
    }

    fn attention(
        &mut self,
        step: &StageStep,
        spec: &ModelSpec,
        attention: &AttentionStage,
        spans: &[Span],
        inputs: BTreeMap<NodeId, Tensor>,
        writes: BTreeMap<HookId, Vec<Tensor>>,
    ) -> Result<(), Diagnostic> {
        let start = Instant::now();
        let StageKind::Attention(shape) = &spec.stages()[step.stage].kind else { return Err(failed("not an attention stage")) };
        let per_lane = |hook: HookId| hook == shape.scores || hook == shape.pattern;
        let written = writes.into_iter().map(|(hook, values)| match per_lane(hook) {
            true => (hook, HookTensor::PerLane(values)),
            false => (hook, HookTensor::Flat(Tensor::joined(&values.iter().map(flatten).collect::<Vec<_>>()))),
        });
        let mut wanted: BTreeMap<HookId, Vec<bool>> = BTreeMap::new();
        for &output in &step.outputs {
            let hook = spec.hook_at(output).ok_or_else(|| failed("attention stages give hooks"))?;
            wanted.insert(hook, vec![true; spans.len()]);
        }
        let lane_at = |lane: LaneId| step.lanes.iter().position(|other| *other == lane).unwrap_or(0);
        for capture in &step.captures {
            wanted.entry(capture.hook).or_insert_with(|| vec![false; spans.len()])[lane_at(capture.lane)] = true;
        }
        let inputs = shape.inputs.map(|input| inputs.get(&input));
        let request = Request { lanes: spans, inputs, written: written.collect(), wanted, cancel: self.cancel };
        let values = attention.run(&request)?;
        self.outcome.report.attention_time += start.elapsed();

        let of_lane = |hook: HookId, at: usize| match values.get(&hook) {
            Some(HookTensor::Flat(all)) => Ok(all.part(spans[at].tokens())),
            Some(HookTensor::PerLane(tensors)) => Ok(tensors[at].clone()),
            None => Err(failed("attention left a hook out")),
        };
        let mut of_lanes = vec![];
        for &output in &step.outputs {
            for (at, &lane) in step.lanes.iter().enumerate() {
                of_lanes.push(((lane, output), of_lane(spec.hook_at(output).unwrap_or(shape.z), at)?));
            }
        }
        self.keep(of_lanes);
        for capture in &step.captures {
            self.capture(capture.value, of_lane(capture.hook, lane_at(capture.lane))?);
        }
        Ok(())
    }

    /// Keeps what later stages use.
    fn keep(&mut self, of_lanes: Vec<((LaneId, NodeId), Tensor)>) {
        for (key, tensor) in of_lanes {
            if self.lane_uses.get(&key).is_some_and(|uses| *uses > 0) {
                self.lanes.insert(key, tensor);
            }
        }
    }

    /// Gives a value of the program what was found at a hook, under the shape that it has there.
    fn capture(&mut self, value: NodeId, tensor: Tensor) {
        if let Type::Tensor(ty) = self.program.ty(value) {
            let sizes: Vec<usize> = ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
            self.store(value, Ok(Value::Tensor(tensor.reshaped(sizes))));
        }
    }
}

/// Whether an input of a stage is one of the model: what no lane makes.
fn is_given(spec: &ModelSpec, input: NodeId) -> bool {
    matches!(spec.graph().node(input).op, Op::Input { .. })
}

/// The sizes of a hook's value for a lane.
fn hook_sizes(spec: &ModelSpec, hook: HookId, batch: usize, length: usize) -> Result<Vec<usize>, Diagnostic> {
    let ty = spec.hook_type(hook).substitute(&|symbol| match symbol {
        "B" => Some(batch.into()),
        "T" => Some(length.into()),
        _ => None,
    });
    ty.shape.iter().map(|dim| dim.as_usize().ok_or_else(|| failed(format!("`{}` has no size", spec.hook_info(hook).name)))).collect()
}

/// [batch, length, …] as [batch * length, …].
fn flatten(tensor: &Tensor) -> Tensor {
    let shape = tensor.shape();
    let sizes: Vec<usize> = [shape[0] * shape[1]].into_iter().chain(shape[2..].iter().copied()).collect();
    tensor.reshaped(sizes)
}
