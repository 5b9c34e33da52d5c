//! Whole models, attention included, as standard ONNX models with their weights beside them in `weights.data`.
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

use std::{collections::BTreeMap, path::PathBuf};

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
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
    /// The files that its weights are in.
    pub weights: Vec<WeightFile>,
}

/// A file that weights of an ONNX model are in.
#[derive(Debug)]
pub struct WeightFile {
    /// The name by which the model refers to it.
    pub name: String,
    /// What is in it.
    pub content: WeightContent,
}

/// What a file of weights is made from.
#[derive(Debug)]
pub enum WeightContent {
    /// This file, as it is.
    File(PathBuf),
    /// Tensors, each from a byte on, in that order.
    Memory(Vec<(u64, Tensor)>),
}

impl WeightFile {
    /// The file of a model's weights; of those in memory only the ones that are placed in it.
    pub(super) fn new(name: String, weights: &Weights) -> WeightFile {
        let content = weights.file().map_or(WeightContent::Memory(vec![]), |file| WeightContent::File(file.to_owned()));
        WeightFile { name, content }
    }

    /// Where a weight is in the file.
    pub(super) fn place(&mut self, place: &Place) -> Place {
        match (place, &mut self.content) {
            (Place::Memory(tensor), WeightContent::Memory(tensors)) => {
                let end = tensors.last().map_or(0, |(offset, last)| offset + last.bytes() as u64);
                let (offset, length) = (end.next_multiple_of(ALIGNMENT), tensor.bytes() as u64);
                tensors.push((offset, tensor.clone()));
                Place::File { ty: tensor.ty(), offset, length }
            }
            (place, _) => place.clone(),
        }
    }
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
    let maker = spec.stage_of(node);
    let given = |other: NodeId| spec.stages()[maker].outputs.contains(&other);
    let same = |hook: &&Hook| hook.stage == maker && spec.source(hook.node) == spec.source(node) && !given(hook.node);
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
    fn lower(self) -> Result<WholeModel, Diagnostic> {
        let (spec, graph) = (self.spec, self.spec.graph());
        let decls: BTreeMap<_, _> = spec.weights().iter().map(|decl| (&decl.name, decl)).collect();
        let mut lowering = Lowering::new(graph, spec.node_types());
        let mut inputs = vec![];
        let mut file = WeightFile::new(WEIGHT_FILE.to_owned(), self.weights);
        for (id, name) in &self.inputs {
            lowering.input(*id, name)?;
            inputs.push(name.clone());
        }
        let wanted: Vec<NodeId> = self.outputs.iter().map(|(node, _)| *node).collect();
        let tokens = graph.nodes().find(|(_, node)| matches!(&node.op, Op::Input { name, .. } if &**name == "tokens"));
        if let (false, Some((tokens, _))) = (self.given_positions, tokens) {
            // Positions come from their shape, even where nothing else does.
            lowering.input(tokens, "tokens")?;
            inputs.push("tokens".to_owned());
        }
        lowering.model(spec, wanted, |lowering, id| match &graph.node(id).op {
            Op::Weight { name, .. } => lowering.weight(id, &file.place(self.weights.place(decls[name])?), name, WEIGHT_FILE),
            Op::Input { name, .. } if self.given_positions => {
                inputs.push(name.to_string());
                lowering.input(id, name)
            }
            _ => {
                positions(lowering, id);
                Ok(())
            }
        })?;
        for (node, name) in &self.outputs {
            lowering.output_as(*node, name)?;
        }
        let outputs = self.outputs.into_iter().map(|(_, name)| name).collect();
        Ok(WholeModel { model: lowering.finish().model, inputs, outputs, weights: vec![file] })
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
    lowering.bind(id, vec![positions]);
}
