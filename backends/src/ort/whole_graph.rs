//! Whole programs as graphs of ONNX Runtime: forwards, attention, writes and all between them in one session, so that only
//! what is saved, logged or looked at comes back to the host.
//!
//! A program is cut into as few graphs as there are things to do on the host between them. What goes from one graph to another
//! stays on the device. A graph takes all constants of its program as inputs, so that a program on other tokens of the same
//! shape, or with other coefficients, is the same graph: its session is found again. The last [`KEPT`] of them are kept. Weights
//! are there once, for all sessions: packed on the processor in f32, else as values on the device that sessions take as inputs.
//!
//! On the processor the laws of bits hold as they do for other engines, as far as the conformance suite looks: a row of a batch
//! is the prompt alone, reads change nothing. No such thing is promised of cards, whose libraries choose kernels by the number
//! of rows; two runs of one program on one card are all that is expected to be equal. Attention is plain operators, with scores
//! of each layer in memory while they are needed, so that reading or setting them changes nothing else. Operations of the
//! program itself are the engine's arithmetic, too, where they need values of models: near [`irc_ir::eval`], not equal to it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    eval::Value,
    graph::{EffectKind, NodeId},
    model::StageKind,
    op::Op,
    plan::{Schedule, Step},
    tensor::Tensor,
    types::{DType, Name, Type},
    verify::Verified,
};
use irc_passes::{Strategy, Target};
use ort::{
    memory::MemoryInfo,
    session::builder::{GraphOptimizationLevel, PrepackedWeights},
    value::DynValue,
};

use super::{
    device::{Device, DeviceWeights, Precision, Upload, to_tensor, to_value},
    runtime::Runtime,
    session::{Options, Session, SharedWeight},
};
use crate::{
    Backend, Handles, Outcome,
    cancel::Cancel,
    failed, handle_of,
    host::{Host, check_functions},
    onnx::{
        lower::{Lowering, WEIGHT_FILE},
        program::{
            Port, Splice,
            parts::{Ids, Output, Part, Parts, Stretch, parts},
            stage_values,
        },
        proto::ModelProto,
    },
    steps::{Frame, check_ids, evaluate, perform},
    weights::{Place, Weights},
};

/// How many sessions are kept for programs that come again.
pub const KEPT: usize = 16;

/// The backend that runs programs as whole graphs.
pub struct WholeGraph {
    // Before the packed weights, which they refer to: fields are dropped in this order.
    variants: Mutex<Vec<Arc<Variant>>>,
    packed: PrepackedWeights,
    runtime: Arc<Runtime>,
    device: Device,
    precision: Precision,
    /// Brings weights to the device; none where sessions take them from their file.
    upload: Option<Upload>,
    weights: Mutex<Vec<(Arc<Weights>, DeviceWeights)>>,
    class: String,
}

/// A graph with its session.
struct Variant {
    session: Session,
    /// The graph, and the weights that are part of it.
    key: Key,
}

#[derive(Clone)]
struct Key {
    graph: Vec<u8>,
    /// Of each model that has some in a file, in the order of their names. Kept, so that no others come to lie where they are.
    weights: Vec<Arc<Weights>>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        let same = |(a, b): (&Arc<Weights>, &Arc<Weights>)| Arc::ptr_eq(a, b);
        self.graph == other.graph && self.weights.len() == other.weights.len() && self.weights.iter().zip(&other.weights).all(same)
    }
}

impl WholeGraph {
    /// A backend on a loaded library.
    ///
    /// # Errors
    /// E0016 if the device cannot be used; E4005 if it has no kernels for the precision.
    pub fn new(runtime: Arc<Runtime>, device: Device, precision: Precision) -> Result<WholeGraph, Diagnostic> {
        if (device, precision) == (Device::Cpu, Precision::Bf16) {
            return Err(Diagnostic::error(Code::E4005, "ONNX Runtime has no kernels for bf16 on the processor")
                .help("it has them for f32, and for f16 by way of f32; for bf16 on an NVIDIA card")
                .help("`--device cuda` computes on the card"));
        }
        let in_file = (device, precision) == (Device::Cpu, Precision::F32);
        let upload = (!in_file).then(|| Upload::new(&runtime, device, precision.dtype())).transpose()?;
        let class = format!("onnxruntime {}, {device}, {}, whole graph", runtime.version(), precision.dtype());
        let (variants, weights, packed) = (Mutex::default(), Mutex::default(), PrepackedWeights::new());
        Ok(WholeGraph { variants, packed, runtime, device, precision, upload, weights, class })
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.variants.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The session of a graph: one that is there, or a new one.
    fn variant(&self, graph: &Graph, models: &Handles) -> Result<Arc<Variant>, Diagnostic> {
        let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        let in_file: BTreeSet<&Name> = graph.in_file.keys().map(|(model, _)| model).collect();
        let weights = in_file.into_iter().map(|model| models[model].weights.clone()).collect();
        let key = Key { graph: graph.model.to_bytes(), weights };
        if let Some(at) = variants.iter().position(|variant| variant.key == key) {
            let variant = variants.remove(at);
            variants.push(variant.clone());
            return Ok(variant);
        }
        // One file stands for all: tensors are given in memory, but that their bytes are inside a file is looked at.
        let files = key.weights.iter().filter_map(|weights| Some((weights.bytes(), weights.file()?)));
        let file = files.max_by_key(|(bytes, _)| *bytes).map(|(_, path)| path);
        let options = Options {
            runtime: &self.runtime,
            // Nothing may change what a hook shows.
            optimization: GraphOptimizationLevel::Disable,
            file,
            packed: &self.packed,
            device: self.device,
            profile: None,
        };
        let shared = graph.in_file.iter().map(|((model, decl), name)| {
            let handle = &models[model];
            Ok(SharedWeight::new(&handle.weights, &handle.spec.weights()[*decl])?.named(name.clone()))
        });
        let shared = shared.collect::<Result<Vec<_>, Diagnostic>>()?;
        // SAFETY: the key keeps the mappings, and is dropped after the session.
        let session = unsafe { Session::new(&options, graph.model.clone(), shared) }?;
        key.weights.iter().for_each(|weights| weights.release_pages());
        let variant = Arc::new(Variant { session, key });
        variants.push(variant.clone());
        if variants.len() > KEPT {
            variants.remove(0);
        }
        Ok(variant)
    }

    /// Weights as inputs.
    fn device_weights(&self, graph: &Graph, models: &Handles) -> Result<Vec<(String, Arc<DynValue>)>, Diagnostic> {
        let Some(upload) = &self.upload else { return Ok(vec![]) };
        let mut all = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody else has will not be asked for again.
        all.retain(|(weights, _)| Arc::strong_count(weights) > 1);
        let mut values = vec![];
        for ((model, decl), name) in &graph.given {
            let handle = &models[model];
            let known = all.iter().position(|(weights, _)| Arc::ptr_eq(weights, &handle.weights));
            let at = known.unwrap_or_else(|| {
                all.push((handle.weights.clone(), DeviceWeights::new()));
                all.len() - 1
            });
            let decl = &handle.spec.weights()[*decl];
            values.push((name.clone(), all[at].1.get(&handle.weights, decl, upload, self.precision.dtype())?));
        }
        Ok(values)
    }
}

impl Backend for WholeGraph {
    fn name(&self) -> &str {
        "onnxruntime"
    }

    fn evaluates_exactly(&self) -> bool {
        false
    }

    fn run_for(&self, program: &Verified, models: &Handles, host: &mut dyn Host) -> Result<Outcome, Diagnostic> {
        let cancel = host.cancel();
        cancel.over(|| self.run_until(program, models, host, &cancel))
    }
}

/// Whether a program goes straight from its forwards to what it saves: graphs have neither loops nor pasts.
fn check_straight(program: &Verified) -> Result<(), Diagnostic> {
    let graph = program.graph();
    let refuse = |what: &str, span: &Span| {
        Err(Diagnostic::error(Code::E4005, format!("{what} cannot be part of a graph of a whole program"))
            .label(span.clone(), "")
            .help("run it stage by stage, without `--whole-graph`"))
    };
    let live = graph.live();
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        match &node.op {
            Op::Extend {} => return refuse("a forward that extends another", graph.span(id)),
            Op::Loop { .. } => return refuse("a loop", graph.span(id)),
            _ => {}
        }
    }
    let mut effects = graph.effects.iter();
    effects.find(|effect| matches!(effect.kind, EffectKind::Loop { .. })).map_or(Ok(()), |effect| refuse("a loop", &effect.span))
}

impl WholeGraph {
    fn run_until(&self, program: &Verified, models: &Handles, host: &mut dyn Host, cancel: &Cancel) -> Result<Outcome, Diagnostic> {
        let start = Instant::now();
        check_straight(program)?;
        let schedule = irc_passes::schedule(program, &Target { strategy: Strategy::WHOLE_SEQUENCES, ..Target::default() })?;
        check_functions(program, host)?;
        for step in &schedule.steps {
            if let Step::Stage(step) = step {
                handle_of(models, &step.model)?;
            }
        }
        let Parts { parts, ends } = parts(program, &schedule);
        let outcome = Outcome::of(&schedule, self.class.clone());
        let (values, made) = (HashMap::new(), HashMap::new());
        let mut execution = Execution { backend: self, program, schedule: &schedule, models, cancel, values, made, outcome };
        for (part, ends) in parts.iter().zip(ends) {
            cancel.check()?;
            match part {
                Part::Host(id) => execution.host(*id, host),
                Part::Ids(id, ids) => execution.ids(*id, *ids),
                Part::Effect(at) => execution.effect(*at, host)?,
                Part::Graph(stretch) => execution.stretch(stretch)?,
            }
            if execution.outcome.stopped.is_some() {
                break;
            }
            ends.into_iter().for_each(|port| execution.forget(port));
        }
        let mut outcome = execution.outcome;
        outcome.report.total_time = start.elapsed();
        Ok(outcome)
    }
}

/// A graph, and what goes in and out under which names.
struct Graph {
    model: ModelProto,
    inputs: Vec<(Port, String)>,
    outputs: Vec<(Output, String)>,
    /// Weights that are constants in a file, by the name of their model and their place in it.
    in_file: BTreeMap<(Name, usize), String>,
    /// Weights that are inputs.
    given: BTreeMap<(Name, usize), String>,
}

/// A tensor that a graph made.
#[derive(Default)]
struct Made {
    /// Where it was computed, for later graphs.
    there: Option<Arc<DynValue>>,
    /// Where the host can look at it.
    host: Option<Tensor>,
}

/// The state of a program that is being run.
struct Execution<'a> {
    backend: &'a WholeGraph,
    program: &'a Verified,
    schedule: &'a Schedule,
    models: &'a Handles,
    cancel: &'a Cancel,
    /// What the host made, or why a value could not be computed: that matters only if something that happens needs it.
    values: HashMap<NodeId, Result<Value, Diagnostic>>,
    /// What graphs made.
    made: HashMap<Port, Made>,
    outcome: Outcome,
}

impl Execution<'_> {
    fn host(&mut self, id: NodeId, host: &mut dyn Host) {
        let operands = self.program.graph().node(id).operands.iter().map(|operand| self.value(*operand));
        let value =
            operands.collect::<Result<Vec<Value>, _>>().and_then(|operands| evaluate(self.program, id, &operands, &Frame::default(), host));
        self.values.insert(id, value);
    }

    fn ids(&mut self, id: NodeId, ids: Ids) {
        let value = match ids {
            Ids::Of(value) => self.value(value),
            Ids::Positions { batch, length } => {
                let positions = (0..batch).flat_map(|_| 0..length as i64).collect::<Vec<_>>();
                Ok(Tensor::new([batch, length], positions).into())
            }
        };
        // An applied module has the leading dimensions of what it is applied to.
        let sizes = self.program.ty(id).as_tensor().map(|ty| ty.shape.iter().filter_map(|dim| dim.as_usize()).collect::<Vec<_>>());
        let value = value.map(|value| match (value, sizes) {
            (Value::Tensor(tensor), Some(sizes)) => Value::Tensor(tensor.reshaped(sizes)),
            (other, _) => other,
        });
        self.values.insert(id, value);
    }

    fn effect(&mut self, at: usize, host: &mut dyn Host) -> Result<(), Diagnostic> {
        let effect = &self.program.graph().effects[at];
        let operands = effect.operands.iter().map(|operand| self.value(*operand)).collect();
        let condition = effect.guard.map(|guard| self.value(guard.condition)).transpose()?;
        let otherwise = effect.guard.and_then(|guard| guard.otherwise).map(|other| self.value(other));
        let result = perform(effect, operands, condition, otherwise, &Frame::default(), &mut self.outcome, host)?;
        if let (Some(value), Some(id)) = (result, self.schedule.results[at]) {
            self.values.insert(id, value);
        }
        Ok(())
    }

    /// A value on the host.
    fn value(&self, id: NodeId) -> Result<Value, Diagnostic> {
        let id = self.schedule.values[id.index()];
        if let Some(value) = self.values.get(&id) {
            return value.clone();
        }
        let part = |part: usize| {
            let made = self.made.get(&Port::Value(id, part)).and_then(|made| made.host.clone());
            made.map(Value::Tensor).ok_or_else(|| failed(format!("{id:?} is used before it is there")))
        };
        match self.program.ty(id) {
            Type::Tuple(parts) => Ok(Value::Tuple((0..parts.len()).map(part).collect::<Result<_, _>>()?)),
            _ => part(0),
        }
    }

    fn forget(&mut self, port: Port) {
        self.made.remove(&port);
        // Who uses a tuple uses all of its parts: they end together.
        if let Port::Value(id, _) = port {
            self.values.remove(&id);
        }
    }

    /// Computes a graph.
    fn stretch(&mut self, stretch: &Stretch) -> Result<(), Diagnostic> {
        let steps = self.computable(stretch)?;
        if steps.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let graph = self.lower(stretch, &steps)?;
        // All that would be looked at has failed: whoever looks at it says why.
        if graph.outputs.is_empty() {
            return Ok(());
        }
        let variant = self.backend.variant(&graph, self.models)?;
        let weights = self.backend.device_weights(&graph, self.models)?;
        let values = graph.inputs.iter().map(|(port, _)| self.given(*port)).collect::<Result<Vec<_>, _>>()?;
        let names = graph.inputs.iter().map(|(_, name)| name.as_str());
        let mut inputs: Vec<(&str, &DynValue)> = names.zip(values.iter().map(|value| &**value)).collect();
        inputs.extend(weights.iter().map(|(name, value)| (name.as_str(), &**value)));

        // What the host looks at is brought there at once; what later graphs take stays.
        let mut places: Vec<(String, &Output, MemoryInfo<'static>, bool)> = vec![];
        for (output, name) in &graph.outputs {
            if output.host {
                places.push((format!("{name}.host"), output, Device::Cpu.memory()?, true));
            }
            if output.graph {
                places.push((name.clone(), output, self.backend.device.memory()?, false));
            }
        }
        let outputs: Vec<(&str, &MemoryInfo<'_>)> = places.iter().map(|(name, _, memory, _)| (name.as_str(), memory)).collect();
        let found = variant.session.run_bound(&inputs, &outputs, self.cancel)?;
        for ((_, output, _, on_host), value) in places.iter().zip(found) {
            let made = self.made.entry(output.port).or_default();
            match on_host {
                true => made.host = Some(to_tensor(&value)?),
                false => made.there = Some(Arc::new(value)),
            }
        }
        let report = &mut self.outcome.report;
        report.engine_calls += 1;
        report.engine_time += start.elapsed();
        report.token_stages += steps.iter().map(|at| tokens(self.program, self.schedule, &self.schedule.steps[*at])).sum::<usize>();
        Ok(())
    }

    /// The steps whose values can be computed: not those that need what has failed.
    ///
    /// # Errors
    /// What has failed, if a model needs it; E4003 if token ids have no row in an embedding.
    fn computable(&mut self, stretch: &Stretch) -> Result<Vec<usize>, Diagnostic> {
        let mut steps = vec![];
        for &at in &stretch.steps {
            match &self.schedule.steps[at] {
                Step::Host(id) => {
                    let operands = self.program.graph().node(*id).operands.iter();
                    let mut values = operands.filter_map(|operand| self.values.get(&self.schedule.values[operand.index()]));
                    match values.find_map(|value| value.as_ref().err()).cloned() {
                        Some(error) => drop(self.values.insert(*id, Err(error))),
                        None => steps.push(at),
                    }
                }
                Step::Stage(step) => {
                    let spec = &self.program.models()[&step.model];
                    for given in stage_values(self.program, self.schedule, step) {
                        if let Some(Err(error)) = self.values.get(&given.value) {
                            return Err(error.clone());
                        }
                        if spec.node_type(given.node).as_tensor().is_some_and(|ty| ty.dtype == DType::I64) {
                            let ids = self.value(given.value)?.into_tensor().ok_or_else(|| failed("token ids are a tensor"))?;
                            check_ids(self.program, spec, given.node, &ids, given.value)?;
                        }
                    }
                    steps.push(at);
                }
                Step::Join(_) | Step::Keep(_) | Step::Kernel(_) | Step::Effect(_) => {}
            }
        }
        Ok(steps)
    }

    fn lower(&self, stretch: &Stretch, steps: &[usize]) -> Result<Graph, Diagnostic> {
        let has_failed = |port: Port| matches!(port, Port::Value(id, _) if matches!(self.values.get(&id), Some(Err(_))));
        let (mut in_file, mut given) = (BTreeMap::new(), BTreeMap::new());
        let mut declared = BTreeSet::new();
        let as_inputs = self.backend.upload.is_some();
        let mut declare = |lowering: &mut Lowering<'_>, model: &Name, id: NodeId| {
            let handle = &self.models[model];
            let Op::Weight { name, .. } = &handle.spec.graph().node(id).op else { return Err(failed("a weight is a weight")) };
            let at = handle.spec.weights().iter().position(|decl| decl.name == *name);
            let at = at.ok_or_else(|| failed(format!("`{name}` is no weight")))?;
            // A number at the end keeps those of all models apart, whatever these are called.
            let full = format!("{model}/{at}");
            if !declared.insert(full.clone()) {
                lowering.bind(id, vec![full]);
                return Ok(());
            }
            if as_inputs {
                lowering.input(id, &full)?;
                given.insert((model.clone(), at), full);
                return Ok(());
            }
            let place = handle.weights.place(&handle.spec.weights()[at])?;
            lowering.weight(id, place, &full, WEIGHT_FILE)?;
            if matches!(place, Place::File { .. }) {
                in_file.insert((model.clone(), at), full);
            }
            Ok(())
        };
        let precision = Some(self.backend.precision.dtype()).filter(|dtype| *dtype != DType::F32);
        let mut splice = Splice::new(self.program, self.schedule, precision, &[], &mut declare);
        let mut inputs = vec![];
        // By their order, so that a program is the same graph wherever its values stand.
        for (at, &port) in stretch.inputs.iter().filter(|port| !has_failed(**port)).enumerate() {
            let name = format!("i{at}");
            splice.input(port, &name)?;
            inputs.push((port, name));
        }
        steps.iter().try_for_each(|at| splice.step(&self.schedule.steps[*at]))?;
        let mut outputs = vec![];
        for (at, output) in stretch.outputs.iter().filter(|output| !has_failed(output.port)).enumerate() {
            let name = format!("o{at}");
            if output.host {
                splice.output(output.port, &format!("{name}.host"))?;
            }
            if output.graph {
                splice.output(output.port, &name)?;
            }
            outputs.push((*output, name));
        }
        let model = splice.finish();
        Ok(Graph { model, inputs, outputs, in_file, given })
    }

    /// A value that goes into a graph.
    fn given(&self, port: Port) -> Result<Arc<DynValue>, Diagnostic> {
        if let Some(there) = self.made.get(&port).and_then(|made| made.there.clone()) {
            return Ok(there);
        }
        let Port::Value(id, part) = port else { return Err(failed(format!("{port:?} is used before it is there"))) };
        let tensor = match self.value(id)? {
            Value::Tensor(tensor) => Some(tensor),
            Value::Tuple(parts) => parts.get(part).and_then(Value::as_tensor).cloned(),
            Value::List { .. } | Value::Str(_) | Value::Opaque(_) => None,
        };
        to_value(&tensor.ok_or_else(|| failed(format!("{id:?} is not a tensor")))?).map(Arc::new)
    }
}

/// Tokens that go through a position-wise stage.
fn tokens(program: &Verified, schedule: &Schedule, step: &Step) -> usize {
    match step {
        Step::Stage(step) if matches!(program.models()[&step.model].stages()[step.stage].kind, StageKind::Positionwise) => {
            step.lanes.iter().map(|lane| &schedule.lanes[lane.index()]).map(|lane| lane.batch * lane.length).sum()
        }
        Step::Stage(_) | Step::Host(_) | Step::Join(_) | Step::Keep(_) | Step::Kernel(_) | Step::Effect(_) => 0,
    }
}
