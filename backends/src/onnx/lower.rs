//! IR graphs as ONNX graphs: the one lowering, for every engine that reads ONNX.
//!
//! A node becomes one or a few ONNX operators; hooks become names. Batch and tokens stay symbolic, so that one ONNX model
//! serves any flat batch. [`lower_model`] lowers the position-wise stages of a model and leaves attention to the caller:
//! what an attention stage gives is an input of the ONNX model.

mod attention;
mod chain;
mod numeric;
mod stage;

pub use stage::{LoweredStage, Point, Splices, StageForm, lower_stage};

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
};

use irc_ir::{
    attr::{Float, Literal},
    code::Code,
    diagnostic::Diagnostic,
    eval::eval,
    graph::{Graph, Node, NodeId},
    infer::{normalise_axis, reduced_axes},
    model::{ModelSpec, StageKind},
    op::Op,
    tensor::Tensor,
    types::{DType, Dim, TensorType, Type},
};

use super::{
    builder::{FAR, GraphBuilder, data_type, value_info},
    proto::{self, ModelProto, TensorProto, ValueInfoProto},
};
use crate::weights::{Place, Weights};

/// The name by which all external tensors refer to the weight file; the loader binds it to the real one.
pub const WEIGHT_FILE: &str = "weights.data";

/// An ONNX model and the names of its values.
pub struct Lowered {
    /// The model.
    pub model: ModelProto,
    /// For each node of the IR graph that has a value in it, the value's name.
    pub names: BTreeMap<NodeId, String>,
}

/// The position-wise stages of a model as one ONNX graph. Inputs are those of the model (`tokens`, `positions`) and what
/// attention stages give.
///
/// # Errors
/// E0012 if a weight is missing; E4003 if an operation has no ONNX form for its types.
pub fn lower_model(spec: &ModelSpec, weights: &Weights) -> Result<Lowered, Diagnostic> {
    let graph = spec.graph();
    let mut lowering = Lowering::new(graph, spec.node_types());
    let decls: BTreeMap<_, _> = spec.weights().iter().map(|decl| (&decl.name, decl)).collect();
    let mut wanted = vec![];
    for stage in spec.stages() {
        match &stage.kind {
            StageKind::Positionwise => wanted.extend(stage.nodes.clone().map(NodeId::new)),
            StageKind::Attention(_) => {
                for &id in &stage.outputs {
                    lowering.input(id, &format!("attention.{}", id.index()))?;
                    lowering.alias(spec.source(id), id);
                }
            }
        }
    }
    lowering.model(spec, wanted, |lowering, id| match &graph.node(id).op {
        Op::Weight { name, .. } => lowering.weight(id, weights.place(decls[name])?, name, WEIGHT_FILE),
        Op::Input { name, .. } => lowering.input(id, name),
        other => Err(unsupported(other, "it is computed")),
    })?;
    lowering.output(spec.source(spec.output()))?;
    Ok(lowering.finish())
}

/// Lowers the nodes of a graph one by one, operands first, into an ONNX graph that may have more in it.
pub struct Lowering<'a> {
    graph: &'a Graph,
    types: &'a [Type],
    out: GraphBuilder,
    names: BTreeMap<NodeId, Vec<String>>,
}

impl Deref for Lowering<'_> {
    type Target = GraphBuilder;
    fn deref(&self) -> &GraphBuilder {
        &self.out
    }
}

impl DerefMut for Lowering<'_> {
    fn deref_mut(&mut self) -> &mut GraphBuilder {
        &mut self.out
    }
}

impl<'a> Lowering<'a> {
    /// Nothing lowered yet. `types` has the type of each node of `graph`.
    pub fn new(graph: &'a Graph, types: &'a [Type]) -> Lowering<'a> {
        Lowering::within(GraphBuilder::new(&graph.name), graph, types)
    }

    /// The same in the ONNX graph of others, whose values it does not know.
    pub(super) fn within(out: GraphBuilder, graph: &'a Graph, types: &'a [Type]) -> Lowering<'a> {
        Lowering { graph, types, out, names: BTreeMap::new() }
    }

    /// The ONNX graph, for others to go on with.
    pub(super) fn into_builder(self) -> GraphBuilder {
        self.out
    }

    /// The finished model.
    pub fn finish(self) -> Lowered {
        let names = self.names.into_iter().filter_map(|(id, mut names)| (names.len() == 1).then(|| (id, names.swap_remove(0)))).collect();
        Lowered { model: self.out.finish(), names }
    }

    /// Lowers what some nodes of a model need and what has no value here yet, operands first. Weights and inputs are left to
    /// `leaf`, which gives them a value.
    pub(super) fn model(
        &mut self,
        spec: &ModelSpec,
        wanted: impl IntoIterator<Item = NodeId>,
        mut leaf: impl FnMut(&mut Self, NodeId) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        for id in self.missing(wanted) {
            match &self.graph.node(id).op {
                Op::Weight { .. } | Op::Input { .. } => leaf(self, id)?,
                Op::Hook { .. } if spec.source(id) != id => self.alias(id, self.graph.node(id).operands[0]),
                _ => self.node(id)?,
            }
        }
        Ok(())
    }

    /// What has to be lowered for some nodes, operands first.
    pub(super) fn missing(&self, wanted: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
        let mut missing = BTreeSet::new();
        let mut next: Vec<NodeId> = wanted.into_iter().collect();
        while let Some(node) = next.pop() {
            if !self.names.contains_key(&node) && missing.insert(node) {
                next.extend(&self.graph.node(node).operands);
            }
        }
        missing
    }

    /// Declares a node as an input under a name.
    ///
    /// # Errors
    /// E4003 if it is not a tensor.
    pub fn input(&mut self, id: NodeId, name: &str) -> Result<(), Diagnostic> {
        let value = value_info(name, self.tensor(id)?);
        self.add_input(value);
        self.names.insert(id, vec![name.to_owned()]);
        Ok(())
    }

    /// Declares the value of a node, which is lowered already, as an output.
    ///
    /// # Errors
    /// E4003 if it has no value.
    pub fn output(&mut self, id: NodeId) -> Result<(), Diagnostic> {
        let name = self.name(id)?.to_owned();
        self.add_output(ValueInfoProto::untyped(&name));
        Ok(())
    }

    /// Declares the value of a node, which is lowered already, as an output under a name of its own, with its type.
    ///
    /// # Errors
    /// E4003 if it has no value.
    pub fn output_as(&mut self, id: NodeId, name: &str) -> Result<(), Diagnostic> {
        let node = proto::node("Identity", [self.name(id)?], [name]);
        let value = value_info(name, self.tensor(id)?);
        self.add_node(node);
        self.add_output(value);
        Ok(())
    }

    /// Says that a node has a value that was computed by other means: one name, or one for each part of a tuple.
    pub(crate) fn bind(&mut self, id: NodeId, names: Vec<String>) {
        self.names.insert(id, names);
    }

    /// The name of a lowered node's value, or of each of its parts.
    pub(super) fn names(&self, id: NodeId) -> Option<&[String]> {
        self.names.get(&id).map(Vec::as_slice)
    }

    pub(super) fn alias(&mut self, id: NodeId, of: NodeId) {
        if let Some(names) = self.names.get(&of).cloned() {
            self.names.insert(id, names);
        }
    }

    /// Declares a weight as a constant under a name: of this model, or in a file.
    pub(crate) fn weight(&mut self, id: NodeId, place: &Place, name: &str, file: &str) -> Result<(), Diagnostic> {
        let ty = self.tensor(id)?;
        let dims: Vec<usize> = ty.shape.iter().filter_map(Dim::as_usize).collect();
        let tensor = match place {
            Place::Memory(tensor) => TensorProto::raw(name, data_type(ty.dtype), &dims, tensor.to_le_bytes()),
            Place::File { offset, length, .. } => TensorProto::external(name, data_type(ty.dtype), &dims, file, *offset, *length),
        };
        self.add_constant(tensor);
        self.names.insert(id, vec![name.to_owned()]);
        Ok(())
    }

    fn tensor(&self, id: NodeId) -> Result<&'a TensorType, Diagnostic> {
        self.types[id.index()].as_tensor().ok_or_else(|| unsupported(&self.graph.node(id).op, "only tensors have an ONNX form here"))
    }

    fn name(&self, id: NodeId) -> Result<&str, Diagnostic> {
        match self.names.get(&id).map(Vec::as_slice) {
            Some([name]) => Ok(name),
            _ => Err(unsupported(&self.graph.node(id).op, "its value is not in the graph")),
        }
    }

    /// Operand `at` as an element type.
    fn operand(&mut self, node: &Node, at: usize, dtype: DType) -> Result<String, Diagnostic> {
        let id = node.operands[at];
        let from = self.tensor(id)?.dtype;
        let name = self.name(id)?.to_owned();
        Ok(self.cast(&name, from, dtype))
    }

    /// An operator on both operands, each cast to `dtype` first.
    fn binary(&mut self, op: &str, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let (a, b) = (self.operand(node, 0, dtype)?, self.operand(node, 1, dtype)?);
        Ok(self.plain(op, &[&a, &b]))
    }

    fn comparison(&mut self, op: &str, node: &Node) -> Result<String, Diagnostic> {
        let operands = node.operands.iter().map(|id| self.tensor(*id).map(|ty| (ty.dtype, ty.rank()))).collect::<Result<Vec<_>, _>>()?;
        let dtype = irc_ir::types::promote_operands(operands).unwrap_or(DType::F32);
        // ONNX does not order bools.
        let dtype = if dtype == DType::Bool && op != "Equal" { DType::I32 } else { dtype };
        self.binary(op, node, dtype)
    }

    /// Lowers a node whose operands are lowered.
    ///
    /// # Errors
    /// E4003 if the operation has no ONNX form for its types.
    pub fn node(&mut self, id: NodeId) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let result = self.types[id.index()].as_tensor();
        let dtype = result.map_or(DType::F32, |ty| ty.dtype);
        let first = node.operands.first().copied();
        let rank = match first.map(|id| &self.types[id.index()]) {
            Some(Type::Tensor(ty)) => ty.rank(),
            _ => 0,
        };
        let axis = |dim: i64, rank: usize| normalise_axis(dim, rank).map_or(dim, |at| at as i64);
        let name = match &node.op {
            Op::Const { value: Literal::Tensor(literal) } => self.constant(&literal.to_tensor()),
            Op::Const { value: Literal::Str(_) } => return Err(unsupported(&node.op, "text has no ONNX form")),
            Op::Forward { .. } | Op::Read { .. } | Op::Write { .. } | Op::Apply { .. } => {
                return Err(unsupported(&node.op, "the driver evaluates operations on forwards"));
            }
            Op::Extend {} | Op::Loop { .. } | Op::Call { .. } | Op::Param { .. } | Op::EffectResult { .. } => {
                return Err(unsupported(&node.op, "it has its place in programs, not in models"));
            }
            Op::Input { name, .. } | Op::Weight { name, .. } => {
                return Err(unsupported(&node.op, &format!("`{name}` is declared, not computed")));
            }
            Op::Hook { .. } => {
                let x = self.operand(node, 0, dtype)?;
                self.plain("Identity", &[&x])
            }

            Op::Slice { dim, start, end, step } => {
                let x = self.operand(node, 0, dtype)?;
                self.slice(&x, axis(*dim, rank), start.unwrap_or(0), end.unwrap_or(FAR), *step)
            }
            Op::Index { dim, index } => {
                let x = self.operand(node, 0, dtype)?;
                let index = self.constant(&Tensor::scalar(*index));
                self.emit("Gather", &[&x, &index], |node| node.attr("axis", axis(*dim, rank)))
            }
            Op::Update { dim, start, end, step } => self.update(node, axis(*dim, rank), *start, *end, *step)?,
            Op::Gather { dim } => {
                let (x, ids) = (self.operand(node, 0, dtype)?, self.operand(node, 1, DType::I64)?);
                self.emit("GatherElements", &[&x, &ids], |node| node.attr("axis", axis(*dim, rank)))
            }
            Op::Embedding {} => {
                let (table, ids) = (self.operand(node, 0, dtype)?, self.operand(node, 1, DType::I64)?);
                self.emit("Gather", &[&table, &ids], |node| node.attr("axis", 0))
            }
            Op::IndexSelect { dim } => {
                let (x, mut ids) = (self.operand(node, 0, dtype)?, self.operand(node, 1, DType::I64)?);
                if self.tensor(node.operands[1])?.rank() == 0 {
                    ids = self.unsqueeze(&ids, 0);
                }
                self.emit("Gather", &[&x, &ids], |node| node.attr("axis", axis(*dim, rank)))
            }
            Op::IndexBy { dims } if node.operands.len() == 2 => {
                let (x, ids) = (self.operand(node, 0, dtype)?, self.operand(node, 1, DType::I64)?);
                self.emit("Gather", &[&x, &ids], |node| node.attr("axis", axis(dims.first().copied().unwrap_or(0), rank)))
            }
            Op::IndexBy { .. } => return Err(unsupported(&node.op, "several tensors of ids have no ONNX form here")),
            Op::IndexPut { .. } | Op::Scatter { .. } | Op::ScatterAdd { .. } => {
                return Err(unsupported(&node.op, "engines differ in what becomes of ids that come twice"));
            }
            Op::NonZero { .. } | Op::MaskedSelect { .. } => {
                return Err(unsupported(&node.op, "ONNX has no bound for the number of elements that are found"));
            }
            Op::Reshape { .. } | Op::Flatten { .. } => {
                let x = self.operand(node, 0, dtype)?;
                let (shape, zero_is_a_size) = self.reshape_sizes(&x, node, id)?;
                self.emit("Reshape", &[&x, &shape], |node| if zero_is_a_size { node.attr("allowzero", 1) } else { node })
            }
            Op::Transpose { dim0, dim1 } => {
                let x = self.operand(node, 0, dtype)?;
                let mut perm: Vec<i64> = (0..rank as i64).collect();
                perm.swap(axis(*dim0, rank) as usize, axis(*dim1, rank) as usize);
                self.emit("Transpose", &[&x], |node| node.attr("perm", perm))
            }
            Op::Unsqueeze { dim } => {
                let x = self.operand(node, 0, dtype)?;
                self.unsqueeze(&x, axis(*dim, rank + 1))
            }
            Op::Squeeze { .. } => {
                let (x, from) = (self.operand(node, 0, dtype)?, &self.tensor(node.operands[0])?.shape);
                let gone = |at: &i64| match &node.op {
                    Op::Squeeze { dim: Some(dim) } => axis(*dim, rank) == *at && from[*at as usize].as_known() == Some(1),
                    _ => from[*at as usize].as_known() == Some(1),
                };
                let axes: Vec<i64> = (0..rank as i64).filter(gone).collect();
                // Without axes, some engines take all sizes of 1 away.
                if axes.is_empty() {
                    x
                } else {
                    let axes = self.ints(&axes);
                    self.plain("Squeeze", &[&x, &axes])
                }
            }
            Op::Expand { .. } => self.expand(node, id)?,
            Op::Permute { dims } => {
                let x = self.operand(node, 0, dtype)?;
                let perm: Vec<i64> = dims.iter().map(|dim| axis(*dim, rank)).collect();
                self.emit("Transpose", &[&x], |node| node.attr("perm", perm))
            }
            Op::Split { dim, .. } | Op::Chunk { dim, .. } => {
                let parts = self.pieces(node, id, axis(*dim, rank))?;
                self.names.insert(id, parts);
                return Ok(());
            }
            Op::Flip { dims } => {
                let mut x = self.operand(node, 0, dtype)?;
                for dim in dims {
                    x = self.slice(&x, axis(*dim, rank), -1, -FAR, -1);
                }
                x
            }
            Op::Roll { .. } | Op::Diagonal { .. } => return Err(unsupported(&node.op, "ONNX has no such operator")),
            Op::Repeat { repeats } => {
                let mut x = self.operand(node, 0, dtype)?;
                for _ in rank..repeats.len() {
                    x = self.unsqueeze(&x, 0);
                }
                let repeats = self.ints(repeats);
                self.plain("Tile", &[&x, &repeats])
            }
            Op::RepeatInterleave { repeats, dim } => {
                let mut x = self.operand(node, 0, dtype)?;
                let (at, sizes) = match dim {
                    Some(dim) => (axis(*dim, rank), self.tensor(node.operands[0])?.shape.to_vec()),
                    None => {
                        let flat = self.ints(&[-1]);
                        x = self.plain("Reshape", &[&x, &flat]);
                        (0, vec![irc_ir::types::elements(&self.tensor(node.operands[0])?.shape)])
                    }
                };
                let x = self.unsqueeze(&x, at + 1);
                let times: Vec<i64> = (0..=sizes.len() as i64).map(|place| if place == at + 1 { *repeats } else { 1 }).collect();
                let times = self.ints(&times);
                let x = self.plain("Tile", &[&x, &times]);
                let result = &self.tensor(id)?.shape;
                let open = result.iter().filter(|size| size.as_known().is_none()).count();
                if open > 1 || result.iter().any(|size| size.as_known() == Some(0)) {
                    return Err(unsupported(&node.op, "at most one dimension may be unknown, and none empty"));
                }
                let shape: Vec<i64> = result.iter().map(|size| size.as_known().unwrap_or(-1)).collect();
                let shape = self.ints(&shape);
                self.plain("Reshape", &[&x, &shape])
            }
            Op::Tril { diagonal } | Op::Triu { diagonal } => {
                let x = self.operand(node, 0, dtype)?;
                let diagonal = self.constant(&Tensor::scalar(*diagonal.clamp(&-FAR, &FAR)));
                let upper = i64::from(matches!(node.op, Op::Triu { .. }));
                self.emit("Trilu", &[&x, &diagonal], |node| node.attr("upper", upper))
            }
            Op::Cat { dim } => {
                let parts = (0..node.operands.len()).map(|at| self.operand(node, at, dtype)).collect::<Result<Vec<_>, _>>()?;
                self.concat(&parts, axis(*dim, rank))
            }
            Op::Stack { dim } => {
                let at = axis(*dim, rank + 1);
                let mut parts = vec![];
                for operand in 0..node.operands.len() {
                    let part = self.operand(node, operand, dtype)?;
                    parts.push(self.unsqueeze(&part, at));
                }
                self.concat(&parts, at)
            }
            Op::Cast { dtype } => self.operand(node, 0, *dtype)?,

            Op::RandomUniform { .. } | Op::RandomNormal { .. } | Op::RandomInt { .. } if !node.operands.is_empty() => {
                return Err(unsupported(&node.op, "engines have generators of their own; without a stream it is a constant"));
            }
            Op::Sample { .. } => return Err(unsupported(&node.op, "engines have generators of their own")),
            Op::Full { .. }
            | Op::Arange { .. }
            | Op::Linspace { .. }
            | Op::Eye { .. }
            | Op::RandomUniform { .. }
            | Op::RandomNormal { .. }
            | Op::RandomInt { .. } => {
                let value = eval(&node.op, &[]).map_err(|error| unsupported(&node.op, error.message()))?;
                self.constant(value.as_tensor().ok_or_else(|| unsupported(&node.op, "it is not a tensor"))?)
            }
            Op::OneHot { classes } => {
                let ids = self.operand(node, 0, DType::I64)?;
                let ids = self.unsqueeze(&ids, rank as i64);
                let all: Vec<i64> = (0..*classes).collect();
                let all = self.ints(&all);
                let equal = self.plain("Equal", &[&ids, &all]);
                self.cast(&equal, DType::Bool, DType::I64)
            }

            Op::Add {} | Op::Maximum {} if dtype == DType::Bool => self.binary("Or", node, dtype)?,
            Op::Mul {} | Op::Minimum {} if dtype == DType::Bool => self.binary("And", node, dtype)?,
            Op::Add {} => self.binary("Add", node, dtype)?,
            Op::Sub {} => self.binary("Sub", node, dtype)?,
            Op::Mul {} => self.binary("Mul", node, dtype)?,
            Op::Div {} => self.binary("Div", node, dtype)?,
            Op::Maximum {} => self.extremum("Max", node, dtype)?,
            Op::Minimum {} => self.extremum("Min", node, dtype)?,
            Op::Neg {} => self.unary("Neg", node, dtype)?,
            Op::Abs {} => self.unary("Abs", node, dtype)?,
            Op::Exp {} => self.unary("Exp", node, dtype)?,
            Op::Log {} => self.unary("Log", node, dtype)?,
            Op::Sqrt {} => self.unary("Sqrt", node, dtype)?,
            Op::Sigmoid {} => self.unary("Sigmoid", node, dtype)?,
            Op::Tanh {} => self.unary("Tanh", node, dtype)?,
            Op::Silu {} => self.unary("Swish", node, dtype)?,
            Op::Gelu { approximate } => {
                let x = self.operand(node, 0, dtype)?;
                self.emit("Gelu", &[&x], |node| node.attr("approximate", &**approximate))
            }

            Op::Pow {} if dtype.is_float() => self.pow(node, dtype)?,
            Op::Pow {} => return Err(unsupported(&node.op, "engines differ in powers of integers")),
            Op::Remainder {} => self.remainder(node, dtype)?,
            Op::Fmod {} => self.fmod(node, dtype)?,
            Op::FloorDiv {} | Op::Atan2 {} | Op::Logaddexp {} | Op::Expm1 {} | Op::Log1p {} | Op::Cumprod { .. } => {
                return Err(unsupported(&node.op, "there is no operator for it"));
            }
            Op::Sign {} => self.sign(node, dtype)?,
            Op::Square {} => self.square(node, dtype)?,
            Op::Floor {} => self.rounding("Floor", node, dtype)?,
            Op::Ceil {} => self.rounding("Ceil", node, dtype)?,
            Op::Round {} => self.rounding("Round", node, dtype)?,
            Op::Trunc {} => self.trunc(node, dtype)?,
            Op::Frac {} => self.frac(node, dtype)?,
            Op::Clamp { min, max } => self.clamp(node, dtype, min.map(Float::get), max.map(Float::get))?,
            Op::Reciprocal {} => self.unary("Reciprocal", node, dtype)?,
            Op::Rsqrt {} => self.rsqrt(node, dtype)?,
            Op::Exp2 {} => self.exp2(node, dtype)?,
            Op::Log2 {} => self.log_to(std::f64::consts::LN_2, node, dtype)?,
            Op::Log10 {} => self.log_to(std::f64::consts::LN_10, node, dtype)?,
            Op::Sin {} => self.unary("Sin", node, dtype)?,
            Op::Cos {} => self.unary("Cos", node, dtype)?,
            Op::Tan {} => self.unary("Tan", node, dtype)?,
            Op::Asin {} => self.unary("Asin", node, dtype)?,
            Op::Acos {} => self.unary("Acos", node, dtype)?,
            Op::Atan {} => self.unary("Atan", node, dtype)?,
            Op::Sinh {} => self.unary("Sinh", node, dtype)?,
            Op::Cosh {} => self.unary("Cosh", node, dtype)?,
            Op::Erf {} => self.unary("Erf", node, dtype)?,
            Op::Relu {} => self.clamp(node, dtype, Some(0.0), None)?,
            Op::LeakyRelu { slope } => self.with_alpha("LeakyRelu", node, dtype, *slope)?,
            Op::Elu { alpha } => self.with_alpha("Elu", node, dtype, *alpha)?,
            Op::Softplus { beta, threshold } => self.softplus(node, dtype, beta.get(), threshold.get())?,
            Op::Mish {} => self.mish(node, dtype)?,
            Op::LogSigmoid {} => self.log_sigmoid(node, dtype)?,
            Op::Xor {} => self.binary("Xor", node, DType::Bool)?,
            Op::Isnan {} => self.isnan(node)?,
            Op::Isinf {} => self.isinf(node)?,
            Op::Isfinite {} => self.isfinite(node)?,
            Op::Eq {} => self.comparison("Equal", node)?,
            Op::Ne {} => {
                let equal = self.comparison("Equal", node)?;
                self.plain("Not", &[&equal])
            }
            Op::Lt {} => self.comparison("Less", node)?,
            Op::Le {} => self.comparison("LessOrEqual", node)?,
            Op::Gt {} => self.comparison("Greater", node)?,
            Op::Ge {} => self.comparison("GreaterOrEqual", node)?,
            Op::And {} => self.binary("And", node, DType::Bool)?,
            Op::Or {} => self.binary("Or", node, DType::Bool)?,
            Op::Not {} => self.unary("Not", node, DType::Bool)?,
            Op::Select {} => {
                // Not every engine selects bools.
                let chosen = if dtype == DType::Bool { DType::I32 } else { dtype };
                let condition = self.operand(node, 0, DType::Bool)?;
                let (yes, no) = (self.operand(node, 1, chosen)?, self.operand(node, 2, chosen)?);
                let selected = self.chosen(&condition, &yes, &no, chosen);
                self.cast(&selected, chosen, dtype)
            }

            Op::Softmax { dim } => {
                let x = self.operand(node, 0, dtype)?;
                self.emit("Softmax", &[&x], |node| node.attr("axis", axis(*dim, rank)))
            }
            Op::Argmax { dim, keepdim } => self.arg_extreme(node, *dim, *keepdim, false)?,
            Op::Argmin { dim, keepdim } => self.arg_extreme(node, *dim, *keepdim, true)?,
            Op::LogSoftmax { dim } => {
                let x = self.operand(node, 0, dtype)?;
                self.emit("LogSoftmax", &[&x], |node| node.attr("axis", axis(*dim, rank)))
            }
            Op::Sort { dim, descending } => {
                let outs = self.sort(node, *dim, *descending)?;
                self.names.insert(id, outs.into());
                return Ok(());
            }
            Op::Cumsum { dim } => self.cumsum(node, dtype, *dim)?,
            Op::TopK { k, dim, largest } => {
                let dtype = self.tensor(node.operands[0])?.dtype;
                let x = self.operand(node, 0, dtype)?;
                let k = self.ints(&[*k]);
                let outs = self.top(&x, dtype, &k, axis(*dim, rank), *largest);
                self.names.insert(id, outs.into());
                return Ok(());
            }
            Op::Sum { dims, keepdim } => self.reduce("ReduceSum", node, dtype, dims, *keepdim)?,
            Op::Mean { dims, keepdim } => self.reduce("ReduceMean", node, dtype, dims, *keepdim)?,
            Op::Max { dims, keepdim } => self.extreme("ReduceMax", node, dtype, dims, *keepdim)?,
            Op::Min { dims, keepdim } => self.extreme("ReduceMin", node, dtype, dims, *keepdim)?,
            Op::Prod { dims, keepdim } => self.reduce("ReduceProd", node, dtype, dims, *keepdim)?,
            Op::Any { dims, keepdim } => self.quantifier(node, dtype, dims, *keepdim, false)?,
            Op::All { dims, keepdim } => self.quantifier(node, dtype, dims, *keepdim, true)?,
            Op::Logsumexp { dims, keepdim } => self.logsumexp(node, dtype, dims, *keepdim)?,
            Op::Norm { p, dims, keepdim } => self.norm(node, dtype, p.get(), dims, *keepdim)?,
            Op::Var { dims, correction, keepdim } => self.var(node, dtype, dims, *correction, *keepdim)?,
            Op::Std { dims, correction, keepdim } => {
                let var = self.var(node, dtype, dims, *correction, *keepdim)?;
                self.plain("Sqrt", &[&var])
            }

            Op::CosineSimilarity { .. } | Op::CrossEntropy { .. } | Op::KlDiv { .. } => {
                return Err(unsupported(&node.op, "losses are computed on the host"));
            }

            // A vector on the right is a matrix of one column: not every engine takes that column away again.
            Op::Matmul {} if rank > 1 && self.tensor(node.operands[1])?.rank() == 1 => {
                let (a, b) = (self.operand(node, 0, dtype)?, self.operand(node, 1, dtype)?);
                let column = self.unsqueeze(&b, 1);
                let product = self.plain("MatMul", &[&a, &column]);
                let last = self.ints(&[-1]);
                self.plain("Squeeze", &[&product, &last])
            }
            Op::Matmul {} => self.binary("MatMul", node, dtype)?,
            Op::Einsum { equation } => {
                if dtype != DType::F32 {
                    return Err(unsupported(&node.op, "engines have it for f32 only"));
                }
                let operands = (0..node.operands.len()).map(|at| self.operand(node, at, dtype)).collect::<Result<Vec<_>, _>>()?;
                let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
                self.emit("Einsum", &operands, |node| node.attr("equation", &**equation))
            }
            Op::RmsNorm { eps } => {
                let (x, weight) = (self.operand(node, 0, dtype)?, self.operand(node, 1, dtype)?);
                self.emit("RMSNormalization", &[&x, &weight], |node| node.attr("axis", -1).attr("epsilon", eps.get() as f32))
            }
            Op::LayerNorm { eps } => {
                let x = self.operand(node, 0, dtype)?;
                // Weights of one element stand for as many as there are.
                let weight = match node.operands.len() {
                    1 => self.number(1.0, dtype),
                    _ => self.operand(node, 1, dtype)?,
                };
                let bias = if node.operands.len() > 2 { Some(self.operand(node, 2, dtype)?) } else { None };
                let inputs: Vec<&str> = [&x, &weight].into_iter().chain(&bias).map(String::as_str).collect();
                self.emit("LayerNormalization", &inputs, |node| node.attr("axis", -1).attr("epsilon", eps.get() as f32))
            }
            Op::Rotary { scale } => {
                let known = |at: usize, dim: usize| self.tensor(node.operands[at]).map(|ty| ty.shape[dim].as_known());
                let (Some(size), Some(pairs)) = (known(0, 3)?, known(2, 0)?) else {
                    return Err(unsupported(&node.op, "the size of a head must be known"));
                };
                self.rotary(node, dtype, pairs, size, scale.get() as f32)?
            }
            Op::CausalMask { window } => self.causal_mask(node, dtype, *window)?,

            Op::Tuple {} => {
                let parts = node.operands.iter().map(|id| self.name(*id).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
                self.names.insert(id, parts);
                return Ok(());
            }
            Op::Get { index } => {
                let parts = self.names.get(&node.operands[0]);
                let part = parts.and_then(|parts| parts.get(usize::try_from(*index).ok()?));
                part.cloned().ok_or_else(|| unsupported(&node.op, "tuples of tuples have no ONNX form"))?
            }

            Op::List { .. } | Op::Append {} | Op::Join {} | Op::Item { .. } | Op::Length {} => {
                return Err(unsupported(&node.op, "lists have no ONNX form here"));
            }
            Op::Format { .. } => return Err(unsupported(&node.op, "text has no ONNX form")),
        };
        self.names.insert(id, vec![name]);
        Ok(())
    }

    fn unary(&mut self, op: &str, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        Ok(self.plain(op, &[&x]))
    }

    /// The first elements in order, and their indices. NaN counts as the largest, of which engines know nothing: they order
    /// what stands for the elements.
    fn top(&mut self, x: &str, dtype: DType, k: &str, axis: i64, largest: bool) -> [String; 2] {
        let key = if dtype.is_float() { self.ordered(x, dtype) } else { x.to_owned() };
        let outs = [self.fresh(), self.fresh()];
        let top = proto::node("TopK", [key.as_str(), k], [outs[0].as_str(), outs[1].as_str()]);
        let top = top.attr("axis", axis).attr("largest", i64::from(largest)).attr("sorted", 1);
        self.add_node(top);
        let [values, indices] = outs;
        if key == x {
            return [values, indices];
        }
        let values = self.emit("GatherElements", &[x, &indices], |node| node.attr("axis", axis));
        [values, indices]
    }

    fn reduce(&mut self, op: &str, node: &Node, dtype: DType, dims: &[i64], keepdim: bool) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        let rank = self.tensor(node.operands[0])?.rank();
        if rank == 0 {
            return Ok(x);
        }
        let axes: Vec<i64> = reduced_axes(dims, rank).unwrap_or_default().into_iter().map(|at| at as i64).collect();
        let axes = self.ints(&axes);
        Ok(self.emit(op, &[&x, &axes], |node| node.attr("keepdims", i64::from(keepdim))))
    }

    /// The sizes of a reshape: 0 copies a leading dimension that stays as it is, -1 is the one that is not known. Where a
    /// size is 0 and all are known, 0 is a size instead. Several that are not known, or one beside an empty one, are looked up
    /// in the shape of the value when it runs, as the sizes of scores [B, heads, T, T] are.
    fn reshape_sizes(&mut self, x: &str, node: &Node, id: NodeId) -> Result<(String, bool), Diagnostic> {
        let from = &self.tensor(node.operands[0])?.shape;
        let to = &self.tensor(id)?.shape;
        let empty = to.iter().any(|dim| dim.as_known() == Some(0));
        let known: Option<Vec<i64>> = to.iter().map(Dim::as_known).collect();
        if let (true, Some(known)) = (empty, known) {
            return Ok((self.ints(&known), true));
        }
        let mut open = 0;
        let sizes: Vec<i64> = to
            .iter()
            .enumerate()
            .map(|(at, dim)| match dim.as_known() {
                Some(size) => size,
                None if from.get(at) == Some(dim) && from[..at] == to[..at] => 0,
                None => {
                    open += 1;
                    -1
                }
            })
            .collect();
        // A known size of 0 would be taken for "copy".
        if open > 1 || empty {
            return self.reshape_sizes_at_run(x, node, from, to);
        }
        Ok((self.ints(&sizes), false))
    }

    /// Each size that is not known as that of a dimension of the value that is the same.
    fn reshape_sizes_at_run(&mut self, x: &str, node: &Node, from: &[Dim], to: &[Dim]) -> Result<(String, bool), Diagnostic> {
        let places: Option<Vec<(&Dim, usize)>> = to
            .iter()
            .map(|dim| if dim.as_known().is_some() { Some((dim, 0)) } else { Some((dim, from.iter().position(|old| old == dim)?)) })
            .collect();
        let why = "several of its sizes are unknown, and not all of them are sizes of what is reshaped";
        let places = places.ok_or_else(|| unsupported(&node.op, why))?;
        let shape = self.plain("Shape", &[x]);
        let sizes: Vec<String> = places
            .into_iter()
            .map(|(dim, at)| match dim.as_known() {
                Some(size) => self.ints(&[size]),
                None => self.slice(&shape, 0, at as i64, at as i64 + 1, 1),
            })
            .collect();
        Ok((self.concat(&sizes, 0), true))
    }

    /// Expand takes the larger of a size and the one asked for, so 1 keeps a size.
    fn expand(&mut self, node: &Node, id: NodeId) -> Result<String, Diagnostic> {
        let (from, to) = (self.tensor(node.operands[0])?, self.tensor(id)?);
        let x = self.operand(node, 0, from.dtype)?;
        let new = to.rank() - from.rank();
        let sizes = to.shape.iter().enumerate().map(|(at, size)| match at.checked_sub(new).map(|at| &from.shape[at]) {
            Some(old) if old == size => Ok(1),
            _ => size.as_known().ok_or_else(|| unsupported(&node.op, &format!("the size {size} must be known"))),
        });
        let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
        let sizes = self.ints(&sizes);
        Ok(self.plain("Expand", &[&x, &sizes]))
    }

    /// The parts of a tuple that follow each other along a dimension.
    fn pieces(&mut self, node: &Node, id: NodeId, axis: i64) -> Result<Vec<String>, Diagnostic> {
        let x = self.operand(node, 0, self.tensor(node.operands[0])?.dtype)?;
        let Type::Tuple(parts) = &self.types[id.index()] else { return Err(unsupported(&node.op, "its value is not a tuple")) };
        let mut start = 0;
        let mut names = vec![];
        for part in parts.iter() {
            let size = part.as_tensor().and_then(|part| part.shape[axis as usize].as_known());
            let end = start + size.ok_or_else(|| unsupported(&node.op, "the sizes of the pieces must be known"))?;
            names.push(self.slice(&x, axis, start, end, 1));
            start = end;
        }
        Ok(names)
    }

    /// The part before the slice, the value, and the part after it; with a step, scattered rows.
    fn update(&mut self, node: &Node, axis: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Result<String, Diagnostic> {
        let ty = self.tensor(node.operands[0])?;
        let (x, value) = (self.operand(node, 0, ty.dtype)?, self.operand(node, 1, ty.dtype)?);
        let at = axis as usize;
        let Some(size) = ty.shape[at].as_known() else {
            return match step {
                1 => Ok(self.update_open(&x, &value, axis, start, end)),
                _ => Err(unsupported(&node.op, "with a step the size of the updated dimension must be known")),
            };
        };
        let bound =
            |at: Option<i64>, default: i64| at.map_or(default, |at| if at < 0 { at.saturating_add(size).max(0) } else { at.min(size) });
        let (start, end) = (bound(start, 0), bound(end, size));
        if start >= end {
            return Ok(x);
        }
        let value = match ty.shape.iter().map(Dim::as_known).collect::<Option<Vec<i64>>>() {
            Some(mut part) => {
                part[at] = (end - start - 1) / step + 1;
                let part = self.ints(&part);
                self.plain("Expand", &[&value, &part])
            }
            None => self.expand_to_part(&x, &value, axis, start, end, step),
        };
        if step == 1 {
            let mut parts = vec![];
            if start > 0 {
                parts.push(self.slice(&x, axis, 0, start, 1));
            }
            parts.push(value);
            if end < size {
                parts.push(self.slice(&x, axis, end, size, 1));
            }
            return Ok(self.concat(&parts, axis));
        }
        let indices: Vec<i64> = (start..end).step_by(step as usize).collect();
        let indices = self.constant(&Tensor::new([indices.len(), 1], indices));
        let mut perm: Vec<i64> = (0..ty.rank() as i64).collect();
        perm.swap(0, at);
        let turn = |this: &mut Self, x: &str| this.emit("Transpose", &[x], |node| node.attr("perm", perm.clone()));
        let (x, value) = (turn(self, &x), turn(self, &value));
        let scattered = self.plain("ScatterND", &[&x, &indices, &value]);
        Ok(turn(self, &scattered))
    }

    /// The value that replaces a slice, with all its dimensions.
    fn expand_to_part(&mut self, x: &str, value: &str, axis: i64, start: i64, end: i64, step: i64) -> String {
        let part = self.slice(x, axis, start, end, step);
        let shape = self.plain("Shape", &[&part]);
        self.plain("Expand", &[value, &shape])
    }

    /// An update without a step of a dimension whose size is not known: bounds are inside of it and in order, which types
    /// have made sure of, or both count from one end.
    fn update_open(&mut self, x: &str, value: &str, axis: i64, start: Option<i64>, end: Option<i64>) -> String {
        let nothing = match (start.unwrap_or(0), end) {
            (start, Some(end)) => (start < 0) == (end < 0) && start >= end,
            (_, None) => false,
        };
        if nothing {
            return x.to_owned();
        }
        let value = self.expand_to_part(x, value, axis, start.unwrap_or(0), end.unwrap_or(FAR), 1);
        let before = start.filter(|start| *start != 0).map(|start| self.slice(x, axis, 0, start, 1));
        let after = end.map(|end| self.slice(x, axis, end, FAR, 1));
        let parts: Vec<String> = before.into_iter().chain([value]).chain(after).collect();
        self.concat(&parts, axis)
    }
}

fn unsupported(op: &Op, why: &str) -> Diagnostic {
    Diagnostic::error(Code::E4003, format!("`{}` cannot be lowered to ONNX: {why}", op.kind().name()))
}
