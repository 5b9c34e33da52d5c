//! The engine on ONNX Runtime: each position-wise stage of a model is a session, and attention between them is ours.
//!
//! ONNX Runtime computes all of a session whatever is asked for, so sessions are as small as stages, and only those run that
//! something needs. A stage has two sessions over the same packed weights: a plain one, and one in which each value can be
//! replaced while it runs. Both are made when the model is loaded, so that nothing is compiled for most programs. Where a program
//! writes what a chain of operations makes of a value, the stage gets one more session with these operations in it, which is
//! kept for the next time, whatever values they are given then. All of them give the same bits.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    thread,
};

use irc_ir::{
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{ModelSpec, StageKind},
    op::Op,
    tensor::Tensor,
};
use ort::session::{
    SessionInputValue,
    builder::{GraphOptimizationLevel, PrepackedWeights},
};
use rayon::prelude::*;

use super::{
    device::Device,
    recent::Recent,
    runtime::Runtime,
    session::{Options, Session, SharedWeight, in_view},
};
use crate::{
    Call, Caps, Engine, Handle, LoadedModel,
    cancel::Cancel,
    edit::Edit,
    failed,
    memory::{keep_large_buffers, release_free_memory},
    onnx::lower::{Point, Splices, StageForm, lower_stage},
};

/// How many sessions with operations of programs a model keeps. All share the packed weights, so that each has about 0.1 MB; so many
/// are a few programs with one in each stage of a large model.
const SPLICED: usize = 256;

/// What ONNX Runtime may change in a graph. Hooks have the same bits either way; that is tested, since fusions that swallow
/// an output are a known defect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Optimization {
    /// Nothing: the lowered operators are fused ones already, and there is nothing to win.
    #[default]
    Off,
    /// All that it likes.
    On,
}

/// The engine.
pub struct Ort {
    runtime: Arc<Runtime>,
    optimization: Optimization,
    profile: Option<PathBuf>,
    /// Attention and the driver run here.
    threads: rayon::ThreadPool,
}

impl Ort {
    /// An engine on a loaded library. Attention runs on `threads` threads; on all cores where none are given.
    ///
    /// # Errors
    /// E4003 if the system gives no threads.
    pub fn new(runtime: Arc<Runtime>, threads: Option<usize>) -> Result<Ort, Diagnostic> {
        keep_large_buffers();
        let count = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
        let threads = pool.map_err(|error| failed(format!("no threads: {error}")))?;
        Ok(Ort { runtime, optimization: Optimization::default(), profile: None, threads })
    }

    /// The same with graph optimizations as given.
    pub fn with_optimization(self, optimization: Optimization) -> Ort {
        Ort { optimization, ..self }
    }

    /// The same with ONNX Runtime's profile of each session, a file of JSON in a folder, which is there when the engine is gone.
    pub fn with_profile(self, folder: impl Into<PathBuf>) -> Ort {
        Ort { profile: Some(folder.into()), ..self }
    }
}

impl Engine for Ort {
    fn caps(&self) -> Caps {
        Caps {
            engine: format!("onnxruntime {}", self.runtime.version()),
            chunk: 128,
            min_rows: 2,
            edits: true,
            // Operators that are fused may have other bits than one after the other.
            splices: self.optimization == Optimization::Off,
            prunes: false,
        }
    }

    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        let sessions = Sessions {
            runtime: self.runtime.clone(),
            optimization: self.optimization,
            packed: PrepackedWeights::new(),
            profile: self.profile.clone(),
            handle: model.clone(),
        };
        let of_stage = |at: usize| match &model.spec.stages()[at].kind {
            StageKind::Attention(_) => Ok(None),
            StageKind::Positionwise => {
                Ok(Some(Forms { plain: sessions.form(at, &StageForm::Plain)?, replaceable: sessions.form(at, &StageForm::Replaceable)? }))
            }
        };
        let stages = self.threads.install(|| (0..model.spec.stages().len()).into_par_iter().map(of_stage).collect::<Result<_, _>>())?;
        // They are packed now.
        model.weights.release_pages();
        let class = format!("onnxruntime {}, cpu, f32, packed", self.runtime.version());
        Ok(Arc::new(OrtModel { stages, spliced: Recent::new(SPLICED), class, sessions }))
    }

    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        self.threads.install(work);
    }
}

/// A model, stage by stage.
struct OrtModel {
    // Before the weights, whose memory they refer to: fields are dropped in this order.
    stages: Vec<Option<Forms>>,
    /// By stage and what is put into it.
    spliced: Recent<(usize, Splices), Form>,
    class: String,
    sessions: Sessions,
}

/// What sessions of a model are made of.
struct Sessions {
    runtime: Arc<Runtime>,
    optimization: Optimization,
    profile: Option<PathBuf>,
    /// All sessions share them.
    packed: PrepackedWeights,
    handle: Handle,
}

/// A stage in its two forms.
struct Forms {
    plain: Form,
    replaceable: Form,
}

struct Form {
    session: Session,
    inputs: BTreeMap<NodeId, String>,
    outputs: BTreeMap<NodeId, String>,
    points: BTreeMap<NodeId, Point>,
    /// The inputs that chains of operations are given.
    chains: BTreeMap<NodeId, Vec<String>>,
}

impl Sessions {
    fn form(&self, stage: usize, form: &StageForm) -> Result<Form, Diagnostic> {
        let Handle { spec, weights } = &self.handle;
        let lowered = lower_stage(spec, weights, stage, form)?;
        let decls: BTreeMap<&str, _> = spec.weights().iter().map(|decl| (&*decl.name, decl)).collect();
        let shared = lowered.weights.values().map(|name| SharedWeight::new(weights, decls[&**name]));
        let optimization = match self.optimization {
            Optimization::Off => GraphOptimizationLevel::Disable,
            Optimization::On => GraphOptimizationLevel::All,
        };
        let options = Options {
            runtime: &self.runtime,
            optimization,
            file: weights.file(),
            packed: &self.packed,
            device: Device::Cpu,
            profile: self.profile.as_deref(),
        };
        // SAFETY: the model keeps the mapping, and drops it after its sessions.
        let session = unsafe { Session::new(&options, lowered.model, shared.collect::<Result<_, _>>()?) }?;
        let (inputs, outputs, points, chains) = (lowered.inputs, lowered.outputs, lowered.points, lowered.chains);
        Ok(Form { session, inputs, outputs, points, chains })
    }
}

impl OrtModel {
    /// The session of a stage with the chains of some edits in it, which gives what is wanted beside what a `plain` one gives.
    fn spliced(&self, stage: usize, plain: &Form, edits: &[(NodeId, Edit)], wanted: &BTreeSet<NodeId>) -> Result<Arc<Form>, Diagnostic> {
        let chains = edits.iter().filter_map(|(id, edit)| Some((*id, edit.chain.as_ref()?.form.clone()))).collect();
        let points = edits.iter().filter(|(_, edit)| edit.chain.is_none()).map(|(id, _)| *id).collect();
        let shown = wanted.iter().filter(|id| !plain.outputs.contains_key(id)).copied().collect();
        let splices = Splices { chains, points, shown };
        self.spliced.get((stage, splices), |(stage, splices)| {
            let form = self.sessions.form(*stage, &StageForm::Spliced(splices.clone()));
            // The weights were read and packed once more, to find that they are packed already.
            self.sessions.handle.weights.release_pages();
            release_free_memory();
            form
        })
    }
}

/// What a call needs: the nodes that are computed, and what the computation begins with.
#[derive(Default)]
struct Needs {
    computed: BTreeSet<NodeId>,
    /// Sources of what is given, where it is used.
    used: BTreeSet<NodeId>,
}

fn needs(spec: &ModelSpec, given: &BTreeMap<NodeId, &Tensor>, want: &[NodeId]) -> Needs {
    let mut needs = Needs::default();
    let mut stack: Vec<NodeId> = want.iter().map(|node| spec.source(*node)).collect();
    while let Some(source) = stack.pop() {
        if given.contains_key(&source) {
            needs.used.insert(source);
        } else if !matches!(spec.graph().node(source).op, Op::Weight { .. } | Op::Const { .. }) && needs.computed.insert(source) {
            stack.extend(spec.graph().node(source).operands.iter().map(|operand| spec.source(*operand)));
        }
    }
    needs
}

impl LoadedModel for OrtModel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let Call { given, edits, want, cancel } = *call;
        let spec = &*self.sessions.handle.spec;
        let given: BTreeMap<NodeId, &Tensor> = given.iter().copied().collect();
        let needs = needs(spec, &given, want);
        let tokens = given.values().next().map(|tensor| tensor.shape()[0]).ok_or_else(|| failed("nothing is given"))?;
        let mut computed: BTreeMap<NodeId, Tensor> = BTreeMap::new();
        for (at, stage) in spec.stages().iter().enumerate() {
            let mine = |node: &NodeId| stage.nodes.contains(&node.index());
            let node = |index: usize| NodeId::new(index);
            if needs
                .computed
                .range(node(stage.nodes.start)..node(stage.nodes.end))
                .all(|id| matches!(spec.graph().node(*id).op, Op::Input { .. }))
            {
                continue;
            }
            let forms = self.stages[at].as_ref().ok_or_else(|| failed("attention is not for engines"))?;
            let later = spec.stages()[at + 1..].iter().flat_map(|stage| &stage.inputs).map(|input| spec.source(*input));
            let wanted: BTreeSet<NodeId> =
                want.iter().map(|node| spec.source(*node)).chain(later).filter(|id| mine(id) && needs.computed.contains(id)).collect();
            let edits = edits.iter().filter(|(id, _)| mine(id) && needs.computed.contains(id)).map(|(id, edit)| (*id, (*edit).clone()));
            // A value of this stage that is given replaces what would be computed.
            let given_here = needs.used.iter().filter(|id| mine(id) && !forms.plain.inputs.contains_key(id));
            let replaced = given_here.map(|id| (*id, Edit { replace: Some((Tensor::scalar(true), given[id].clone())), ..Edit::default() }));
            let edits: Vec<(NodeId, Edit)> = edits.chain(replaced).collect();
            let plain = edits.is_empty() && wanted.iter().all(|id| forms.plain.outputs.contains_key(id));
            let spliced = match edits.iter().any(|(_, edit)| edit.chain.is_some()) {
                true => Some(self.spliced(at, &forms.plain, &edits, &wanted)?),
                false => None,
            };
            let form = spliced.as_deref().unwrap_or(if plain { &forms.plain } else { &forms.replaceable });
            let known = |id: NodeId| given.get(&id).copied().or_else(|| computed.get(&id));
            let outputs = form.run(spec, tokens, known, &edits, &wanted, cancel)?;
            computed.extend(wanted.into_iter().zip(outputs));
        }
        want.iter()
            .map(|node| {
                let source = spec.source(*node);
                let known = computed.get(&source).or_else(|| given.get(&source).copied()).cloned();
                known.ok_or_else(|| failed(format!("the engine has no value for node {node:?} of the model")))
            })
            .collect()
    }

    fn numeric_class(&self) -> String {
        self.class.clone()
    }
}

impl Form {
    fn run<'a>(
        &self,
        spec: &ModelSpec,
        tokens: usize,
        known: impl Fn(NodeId) -> Option<&'a Tensor>,
        edits: &[(NodeId, Edit)],
        wanted: &BTreeSet<NodeId>,
        cancel: &Cancel,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        // What nothing needs is computed all the same, from anything.
        let missing: Vec<(NodeId, Tensor)> = self
            .inputs
            .keys()
            .filter(|id| known(**id).is_none())
            .map(|id| Ok((*id, zeros(spec, *id, tokens)?)))
            .collect::<Result<_, Diagnostic>>()?;
        let mut inputs = vec![];
        for (id, name) in &self.inputs {
            let value = known(*id).or_else(|| missing.iter().find(|(missing, _)| missing == id).map(|(_, zeros)| zeros));
            inputs.push((&**name, one_sequence(value.ok_or_else(|| failed("an input is missing"))?)?));
        }
        let of_edits: Vec<Option<Tensor>> =
            edits.iter().map(|(_, edit)| edit.replace.as_ref().and_then(|(mask, value)| signs(mask.values()?, value))).collect();
        for ((id, edit), sign) in edits.iter().zip(&of_edits) {
            let unable = || failed(format!("node {id:?} cannot be edited on this engine"));
            if let Some(chain) = &edit.chain {
                let names = self.chains.get(id).ok_or_else(unable)?;
                for (name, tensor) in names.iter().zip(&chain.given) {
                    inputs.push((name, one_sequence(tensor)?));
                }
                continue;
            }
            let point = self.points.get(id).ok_or_else(unable)?;
            let (mask, value) = edit.replace.as_ref().map_or((None, None), |(mask, value)| (Some(mask), Some(value)));
            let mut given = vec![(&point.mask, mask), (&point.value, value), (&point.sign, sign.as_ref())];
            match &point.affine {
                Some((scale, add)) => given.extend([(scale, edit.scale.as_ref()), (add, edit.add.as_ref())]),
                None if edit.scale.is_some() || edit.add.is_some() => return Err(unable()),
                None => {}
            }
            for (name, tensor) in given {
                if let Some(tensor) = tensor {
                    inputs.push((name, one_sequence(tensor)?));
                }
            }
        }
        let names = wanted
            .iter()
            .map(|id| self.outputs.get(id).map(String::as_str).ok_or_else(|| failed(format!("node {id:?} is no value of this engine"))));
        let found = self.session.run(inputs, &names.collect::<Result<Vec<_>, _>>()?, cancel)?;
        found
            .into_iter()
            .map(|tensor| match tensor.shape().to_vec()[..] {
                [1, ref shape @ ..] => Ok(tensor.reshaped(shape)),
                ref shape => Err(failed(format!("ONNX Runtime gives {shape:?} for one sequence"))),
            })
            .collect()
    }
}

/// A tensor [N, …] as [1, N, …]: the engine's batch is one sequence of all tokens.
fn one_sequence(tensor: &Tensor) -> Result<SessionInputValue<'_>, Diagnostic> {
    let shape: Vec<usize> = [1].into_iter().chain(tensor.shape().iter().copied()).collect();
    in_view(tensor, &shape)
}

/// -1 where a value that replaces is -0 and 1 elsewhere, if it is -0 anywhere. The mask has as many elements, or one for all.
fn signs(mask: &[bool], value: &Tensor) -> Option<Tensor> {
    let negative = |(x, replaces): (&f32, &bool)| *replaces && x.to_bits() == (-0f32).to_bits();
    let negatives = || Some(value.values::<f32>()?.iter().zip(mask.iter().cycle()).map(negative));
    negatives()?.any(|negative| negative).then_some(())?;
    let signs = negatives()?.map(|negative| if negative { -1f32 } else { 1.0 });
    Some(Tensor::new(value.shape(), signs.collect()))
}

/// Zeros in the place of an input that nothing needs.
fn zeros(spec: &ModelSpec, node: NodeId, tokens: usize) -> Result<Tensor, Diagnostic> {
    let ty = spec.node_type(node).as_tensor().ok_or_else(|| failed(format!("node {node:?} is not a tensor")))?;
    let sizes: Vec<usize> = [tokens].into_iter().chain(ty.shape.iter().skip(2).filter_map(|dim| dim.as_usize())).collect();
    let bytes = sizes.iter().product::<usize>() * ty.dtype.size();
    Tensor::from_le_bytes(ty.dtype, sizes, &vec![0; bytes]).ok_or_else(|| failed("zeros have the bytes of their type"))
}
