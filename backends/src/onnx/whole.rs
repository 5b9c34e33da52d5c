//! Whole models, attention included, as standard ONNX files: `model.onnx` with its weights beside it in `weights.data`.
//!
//! Any engine that reads ONNX runs them. The only input of a whole model is `tokens`, i64 [B, T], rows without padding; each
//! hook that is asked for is an output of its name:
//!
//! ```
//! use irc_backends::{onnx::whole::whole_model, weights::Weights};
//! use irc_ir::{model::ModelBuilder, tensor::Tensor, types::DType};
//!
//! let mut m = ModelBuilder::new("table", DType::F32, 3, 8);
//! let tokens = m.tokens();
//! let rows = m.embedding("rows", tokens, 3, 2);
//! let rows = m.hook("output", rows);
//! let spec = m.finish(rows)?;
//! let weights = Weights::from_tensors([("rows".into(), Tensor::new([3, 2], vec![0f32; 6]))].into());
//! let model = whole_model(&spec, &weights, &[])?;
//! assert_eq!((&*model.inputs[0], &*model.outputs[0]), ("tokens", "output"));
//! # Ok::<(), irc_ir::diagnostic::Diagnostic>(())
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::NodeId,
    model::{Hook, HookId, ModelSpec},
    op::Op,
    tensor::Tensor,
};

use super::{
    lower::{Lowering, WEIGHT_FILE},
    proto::ModelProto,
};
use crate::weights::{Place, Weights};

/// The file of the graph.
pub const MODEL_FILE: &str = "model.onnx";
/// Where weights that were in memory begin in their file: at multiples of this, which is as much as any element needs.
const ALIGNMENT: u64 = 64;

/// An ONNX model that needs nothing but its weights.
#[derive(Debug)]
pub struct WholeModel {
    /// The model.
    pub model: ModelProto,
    /// The names of its inputs.
    pub inputs: Vec<String>,
    /// The names of its outputs.
    pub outputs: Vec<String>,
    weights: WeightSource,
}

/// What `weights.data` is made from.
#[derive(Debug)]
enum WeightSource {
    /// This file, as it is.
    File(PathBuf),
    /// Tensors, each from a byte on, in that order.
    Memory(Vec<(u64, Tensor)>),
}

/// A whole model: from `tokens` to `hooks`, in that order, and what the model returns, under the name of its hook or
/// `output`. Positions are computed from the shape of the tokens. What no output needs is left out.
///
/// # Errors
/// E0012 if a weight is missing; E4003 if an operation has no ONNX form for its types.
pub fn whole_model(spec: &ModelSpec, weights: &Weights, hooks: &[HookId]) -> Result<WholeModel, Diagnostic> {
    let mut outputs = hook_outputs(spec, hooks.iter().copied());
    let last = spec.hook_at(spec.output()).map_or_else(|| "output".to_owned(), |hook| spec.hook_info(hook).name.to_string());
    add(&mut outputs, spec.output(), last);
    Cut { spec, weights, inputs: vec![], outputs, given_positions: false }.lower()
}

/// One stage of a model: from what it takes from stages before it to what it gives to those after it, and those of `hooks`
/// that are in it. Inputs and outputs that have no hook are named `node.N`. Stages that use tokens or positions take them as
/// the inputs `tokens` and `positions`, i64 [B, T].
///
/// # Errors
/// E4004 if there is no such stage; otherwise as [`whole_model`].
pub fn stage_model(spec: &ModelSpec, weights: &Weights, stage: usize, hooks: &[HookId]) -> Result<WholeModel, Diagnostic> {
    let stages = spec.stages();
    let Some(this) = stages.get(stage) else {
        let message = format!("there is no stage {stage}; the model has {}, counted from 0", stages.len());
        return Err(Diagnostic::error(Code::E4004, message));
    };
    let within = hooks.iter().copied().filter(|hook| spec.hook_info(*hook).stage == stage);
    let mut outputs = hook_outputs(spec, within);
    for &node in &this.outputs {
        add(&mut outputs, node, between_stages(spec, node));
    }
    let inputs = this.inputs.iter().map(|&node| (node, between_stages(spec, node))).collect();
    Cut { spec, weights, inputs, outputs, given_positions: true }.lower()
}

fn hook_outputs(spec: &ModelSpec, hooks: impl Iterator<Item = HookId>) -> Vec<(NodeId, String)> {
    let mut outputs = vec![];
    for info in hooks.map(|hook| spec.hook_info(hook)) {
        add(&mut outputs, info.node, info.name.to_string());
    }
    outputs
}

/// Names are there once; equal ones mean equal values.
fn add(outputs: &mut Vec<(NodeId, String)>, node: NodeId, name: String) {
    if !outputs.iter().any(|(_, known)| *known == name) {
        outputs.push((node, name));
    }
}

/// What a value is called that one stage gives to others, the same in all of them: by its hook, else by a hook of the stage
/// that makes it which has the same value and is not given away itself, else by its number.
fn between_stages(spec: &ModelSpec, node: NodeId) -> String {
    let maker = spec.stages().iter().position(|stage| stage.nodes.contains(&node.index()));
    let given = |other: NodeId| maker.is_some_and(|at| spec.stages()[at].outputs.contains(&other));
    let same = |hook: &&Hook| Some(hook.stage) == maker && spec.source(hook.node) == spec.source(node) && !given(hook.node);
    let own = spec.hook_at(node).map(|hook| spec.hook_info(hook));
    own.or_else(|| spec.hooks().iter().find(same)).map_or_else(|| format!("node.{}", node.index()), |hook| hook.name.to_string())
}

/// A part of a model's graph between some nodes and others.
struct Cut<'a> {
    spec: &'a ModelSpec,
    weights: &'a Weights,
    inputs: Vec<(NodeId, String)>,
    outputs: Vec<(NodeId, String)>,
    /// Whether positions are an input, not computed from the tokens.
    given_positions: bool,
}

impl Cut<'_> {
    /// What the outputs need, the inputs included and nothing before them; operands first.
    fn needed(&self) -> BTreeSet<NodeId> {
        let mut needed = BTreeSet::new();
        let mut next: Vec<NodeId> = self.outputs.iter().map(|(node, _)| *node).collect();
        while let Some(node) = next.pop() {
            if needed.insert(node) && !self.inputs.iter().any(|(input, _)| *input == node) {
                next.extend(&self.spec.graph().node(node).operands);
            }
        }
        needed
    }

    fn lower(self) -> Result<WholeModel, Diagnostic> {
        let (spec, graph) = (self.spec, self.spec.graph());
        let decls: BTreeMap<_, _> = spec.weights().iter().map(|decl| (&decl.name, decl)).collect();
        let mut lowering = Lowering::new(graph, spec.node_types());
        let mut inputs = vec![];
        let (mut memory, mut end) = (vec![], 0u64);

        let mut needed = self.needed();
        let tokens = graph.nodes().find(|(_, node)| matches!(&node.op, Op::Input { name, .. } if &**name == "tokens")).map(|(id, _)| id);
        if !self.given_positions {
            // Positions come from their shape, even where nothing else does.
            needed.extend(tokens);
        }
        for id in needed {
            if let Some((_, name)) = self.inputs.iter().find(|(input, _)| *input == id) {
                lowering.input(id, name)?;
                inputs.push(name.clone());
                continue;
            }
            match &graph.node(id).op {
                Op::Weight { name, .. } => match self.weights.place(decls[name])? {
                    Place::Memory(tensor) => {
                        let (offset, length) = (end.next_multiple_of(ALIGNMENT), tensor.bytes() as u64);
                        lowering.weight(id, &Place::File { ty: tensor.ty(), offset, length })?;
                        memory.push((offset, tensor.clone()));
                        end = offset + length;
                    }
                    place @ Place::File { .. } => lowering.weight(id, place)?,
                },
                Op::Input { name, .. } if &**name == "positions" && !self.given_positions => positions(&mut lowering, id),
                Op::Input { name, .. } => {
                    lowering.input(id, name)?;
                    inputs.push(name.to_string());
                }
                Op::Hook { .. } => lowering.alias(id, graph.node(id).operands[0]),
                _ => lowering.node(id)?,
            }
        }
        for (node, name) in &self.outputs {
            lowering.output_as(*node, name)?;
        }
        let weights = self.weights.file().map_or(WeightSource::Memory(memory), |file| WeightSource::File(file.to_owned()));
        let outputs = self.outputs.into_iter().map(|(_, name)| name).collect();
        Ok(WholeModel { model: lowering.finish().model, inputs, outputs, weights })
    }
}

/// 0, 1, … for each row of the input `tokens`.
fn positions(lowering: &mut Lowering<'_>, id: NodeId) {
    let shape = lowering.plain("Shape", &["tokens"]);
    let [zero, one] = [0i64, 1].map(|value| lowering.constant(&Tensor::scalar(value)));
    let length = lowering.plain("Gather", &[&shape, &one]);
    let range = lowering.plain("Range", &[&zero, &length, &one]);
    let row = lowering.unsqueeze(&range, 0);
    let positions = lowering.plain("Expand", &[&row, &shape]);
    lowering.bind(id, positions);
}

impl WholeModel {
    /// Writes `model.onnx` and `weights.data` into a folder, which is made if it is not there. A weight file of the cache
    /// is copied: ONNX's own reader refuses hard links, and nobody can change the cache through a copy. Returns both paths.
    ///
    /// # Errors
    /// E0010 if a file cannot be written, or one of these names is there and `overwrite` is false; nothing is written then.
    pub fn write(&self, folder: &Path, overwrite: bool) -> Result<[PathBuf; 2], Diagnostic> {
        let paths = [MODEL_FILE, WEIGHT_FILE].map(|name| folder.join(name));
        let failed = |path: &Path, what: &str, error: &dyn std::fmt::Display| {
            Diagnostic::error(Code::E0010, format!("{what}: {error}")).label(Span::file(path, ""), "")
        };
        fs::create_dir_all(folder).map_err(|error| failed(folder, "the folder cannot be made", &error))?;
        if let (WeightSource::File(source), Ok(old)) = (&self.weights, paths[1].canonicalize())
            && source.canonicalize().is_ok_and(|source| source == old)
        {
            return Err(failed(&paths[1], "the file is not written", &"it is the model's own weight file"));
        }
        let there: Vec<&PathBuf> = paths.iter().filter(|path| path.symlink_metadata().is_ok()).collect();
        if let (Some(path), false) = (there.first(), overwrite) {
            return Err(failed(path, "the file is not written", &"it is there already"));
        }
        for path in there {
            // Never in place: it may be a link to something else.
            fs::remove_file(path).map_err(|error| failed(path, "the file cannot be replaced", &error))?;
        }
        let [model, weights] = &paths;
        self.write_weights(weights).map_err(|error| failed(weights, "the weights cannot be written", &error))?;
        write_new(model, |file| file.write_all(&self.model.to_bytes()))
            .map_err(|error| failed(model, "the model cannot be written", &error))?;
        Ok(paths)
    }

    fn write_weights(&self, path: &Path) -> io::Result<()> {
        match &self.weights {
            WeightSource::File(file) => write_new(path, |to| io::copy(&mut fs::File::open(file)?, to).map(drop)),
            WeightSource::Memory(tensors) => write_new(path, |file| {
                let mut end = 0;
                for (offset, tensor) in tensors {
                    io::copy(&mut io::Read::take(io::repeat(0), offset - end), file)?;
                    file.write_all(&tensor.to_le_bytes())?;
                    end = offset + tensor.bytes() as u64;
                }
                Ok(())
            }),
        }
    }
}

fn write_new(path: &Path, write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).open(path)?);
    write(&mut file)?;
    file.flush()
}
