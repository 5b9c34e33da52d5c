//! One position-wise stage of a model as an ONNX graph of its own, with hooks as outputs, for engines that compute all of
//! what they are given.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use irc_ir::{
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{ModelSpec, StageKind},
    op::Op,
    plan::ChainForm,
    tensor::Tensor,
    types::DType,
};

use super::{Lowering, WEIGHT_FILE, data_type, unsupported};
use crate::{
    failed,
    onnx::proto::{ModelProto, TensorProto, TypeProto, ValueInfoProto, type_proto},
    weights::{Place, Weights},
};

/// A stage as an ONNX model.
pub struct LoweredStage {
    /// The model.
    pub model: ModelProto,
    /// What the stage takes: sources of earlier stages, and inputs of the model.
    pub inputs: BTreeMap<NodeId, String>,
    /// What the model gives: the sources that the stage computes.
    pub outputs: BTreeMap<NodeId, String>,
    /// The values that can be replaced, by source.
    pub points: BTreeMap<NodeId, Point>,
    /// The inputs that chains are given, by the source that each is on.
    pub chains: BTreeMap<NodeId, Vec<String>>,
    /// The names of the weights that it needs, by their nodes. Those in a file are external tensors.
    pub weights: BTreeMap<NodeId, String>,
}

/// The inputs by which a value x is edited while the model runs: it becomes where(mask, value, x * scale + add) * sign, each of
/// them broadcast to x. Left alone, it is what the model computes, to the bit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// Where it is replaced: bools. Nowhere by default.
    pub mask: String,
    /// By what.
    pub value: String,
    /// -1 where it is replaced by -0, and 1 by default: ONNX Runtime's `Where` gives 0 where it chooses -0 from its first
    /// values (from the second ones, which x is, it takes all as they are).
    pub sign: String,
    /// Scale and add, where a hook is on the value.
    pub affine: Option<(String, String)>,
}

/// What a stage is lowered for. All forms of a stage compute the same bits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum StageForm {
    /// It gives what lies at hooks and what later stages take.
    Plain,
    /// Each computed value of it is an output, and a [`Point`] where it can be edited: replaced by selection, so that a NaN that
    /// is replaced is gone.
    Replaceable,
    /// Like a plain one, in which some values become others as soon as they are computed.
    Spliced(Splices),
}

/// Chains of operations in a stage, and what they make of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Splices {
    /// By source, what is made of its value.
    pub chains: BTreeMap<NodeId, Arc<ChainForm>>,
    /// Sources that are edited by a [`Point`].
    pub points: BTreeSet<NodeId>,
    /// Sources that are outputs beside those of a plain form.
    pub shown: BTreeSet<NodeId>,
}

/// Lowers a position-wise stage.
///
/// # Errors
/// E0012 if a weight is missing; E4003 if an operation has no ONNX form for its types, or the stage is not position-wise.
pub fn lower_stage(spec: &ModelSpec, weights: &Weights, stage: usize, form: &StageForm) -> Result<LoweredStage, Diagnostic> {
    let stage = &spec.stages()[stage];
    if !matches!(stage.kind, StageKind::Positionwise) {
        return Err(failed(format!("`{}` is not position-wise", stage.name)));
    }
    let graph = spec.graph();
    let decls: BTreeMap<_, _> = spec.weights().iter().map(|decl| (&decl.name, decl)).collect();
    let mut lowering = Lowering::new(graph, spec.node_types());
    let hooked: BTreeSet<NodeId> = spec.hooks().iter().map(|hook| spec.source(hook.node)).collect();
    let (mut inputs, mut points, mut used, mut chains) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let is_point = |id: NodeId| match form {
        StageForm::Plain => false,
        StageForm::Replaceable => true,
        StageForm::Spliced(splices) => splices.points.contains(&id),
    };
    let is_leaf = |id: NodeId| matches!(graph.node(id).op, Op::Weight { .. } | Op::Const { .. } | Op::Input { .. });
    let computed: Vec<NodeId> = stage.nodes.clone().map(NodeId::new).filter(|id| !is_leaf(*id)).collect();
    for &operand in computed.iter().flat_map(|id| &graph.node(*id).operands) {
        // Weights, constants and inputs belong to no stage: they are lowered where they are needed.
        if stage.nodes.contains(&operand.index()) || is_leaf(operand) || lowering.names.contains_key(&operand) {
            continue;
        }
        let source = spec.source(operand);
        let name = inputs.entry(source).or_insert_with(|| format!("given.{}", source.index())).clone();
        if lowering.names.contains_key(&source) {
            lowering.alias(operand, source);
        } else {
            lowering.input(operand, &name)?;
            lowering.alias(source, operand);
        }
    }
    for &id in &computed {
        lowering.model(spec, [id], |lowering, leaf| match &graph.node(leaf).op {
            Op::Weight { name, .. } => {
                let place = weights.place(decls[name])?;
                if matches!(place, Place::File { .. }) {
                    used.insert(leaf, name.to_string());
                }
                lowering.weight(leaf, place, name, WEIGHT_FILE)
            }
            Op::Input { name, .. } => {
                inputs.insert(leaf, name.to_string());
                lowering.input(leaf, name)
            }
            other => Err(unsupported(other, "it is computed")),
        })?;
        if spec.source(id) != id {
            continue;
        }
        if let StageForm::Spliced(splices) = form
            && let Some(chain) = splices.chains.get(&id)
        {
            chains.insert(id, lowering.splice(id, chain)?);
        }
        if is_point(id)
            && let Some(point) = lowering.replaceable(id, hooked.contains(&id))
        {
            points.insert(id, point);
        }
    }
    let hooks = computed.iter().filter(|id| matches!(graph.node(**id).op, Op::Hook { .. }));
    let shown = stage.outputs.iter().chain(hooks).map(|id| spec.source(*id));
    let others: &mut dyn Iterator<Item = NodeId> = match form {
        StageForm::Plain => &mut [].into_iter(),
        StageForm::Replaceable => &mut points.keys().copied(),
        StageForm::Spliced(splices) => &mut splices.shown.iter().copied(),
    };
    let mut outputs = BTreeMap::new();
    for source in shown.chain(others).collect::<Vec<_>>() {
        // What only passes through is not of this stage.
        if stage.nodes.contains(&source.index()) && !outputs.contains_key(&source) {
            let mut own = lowering.name(source)?.to_owned();
            // Two values may have one name, where an operation does nothing.
            if outputs.values().chain(inputs.values()).any(|taken| *taken == own) {
                own = lowering.plain("Identity", &[&own]);
            }
            lowering.add_output(ValueInfoProto::untyped(&own));
            outputs.insert(source, own);
        }
    }
    Ok(LoweredStage { model: lowering.finish().model, inputs, outputs, points, chains, weights: used })
}

impl Lowering<'_> {
    /// Lets the value of a lowered node be replaced, if it is a tensor of floats; and be edited, if a hook is on it.
    fn replaceable(&mut self, id: NodeId, hooked: bool) -> Option<Point> {
        self.tensor(id).ok().filter(|ty| ty.dtype == DType::F32)?;
        let mut value = self.name(id).ok()?.to_owned();
        let name = |what: &str| format!("{what}.{}", id.index());
        let affine = hooked.then(|| (name("scale"), name("add")));
        let point = Point { mask: name("replace"), value: name("by"), sign: name("sign"), affine };
        if let Some((scale, add)) = &point.affine {
            // The defaults change no bit: x * 1 and x + -0 are x.
            self.open_input(scale, &Tensor::scalar(1f32));
            self.open_input(add, &Tensor::scalar(-0f32));
            value = self.plain("Mul", &[&value, scale]);
            value = self.plain("Add", &[&value, add]);
        }
        self.open_input(&point.mask, &Tensor::scalar(false));
        self.open_input(&point.value, &Tensor::scalar(0f32));
        let chosen = self.plain("Where", &[&point.mask, &point.value, &value]);
        self.open_input(&point.sign, &Tensor::scalar(1f32));
        let signed = self.plain("Mul", &[&chosen, &point.sign]);
        self.names.insert(id, vec![signed]);
        Some(point)
    }

    /// An input of any shape that need not be given.
    fn open_input(&mut self, name: &str, default: &Tensor) {
        let dtype = data_type(default.dtype());
        let open = type_proto::Tensor { elem_type: dtype as i32, shape: None };
        let ty = TypeProto { value: Some(type_proto::Value::TensorType(open)) };
        self.add_constant(TensorProto::raw(name, dtype, default.shape(), default.to_le_bytes()));
        self.add_input(ValueInfoProto { name: name.to_owned(), r#type: Some(ty) });
    }
}
