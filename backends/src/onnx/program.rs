//! Programs as ONNX graphs: the steps of a schedule, forwards and writes and all between them, spliced into one graph.
//!
//! It is what [`crate::execute`] does, with names of values in the place of values. Tokens of all lanes of a step travel on one
//! flat axis through position-wise stages, [1, N, …]; through attention those lanes go together that have equal lengths, as
//! rows [rows, length, …]. All sizes are known. [`program_model`] makes a file of a whole program.

mod emit;
#[cfg(feature = "ort")]
pub(crate) mod parts;

pub use emit::{ProgramModel, program_model};

use std::{collections::HashMap, rc::Rc};

use irc_ir::{
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{HookId, ModelSpec, StageKind},
    op::Op,
    plan::{LaneId, Schedule, StageStep, Step},
    tensor::Tensor,
    types::{DType, Dim, Name, TensorType, Type},
    verify::Verified,
};

use super::{
    builder::{GraphBuilder, data_type, value_info},
    lower::Lowering,
    proto::{self, ModelProto, TensorProto},
};
use crate::failed;

/// A tensor that enters or leaves a stretch of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Port {
    /// A value of the program; of a tuple or a list, the part at this place.
    Value(NodeId, usize),
    /// A value of a model for the tokens of a lane, [1, tokens, …].
    #[cfg_attr(not(feature = "ort"), expect(dead_code, reason = "only stretches of a program have such"))]
    Lane(LaneId, NodeId),
}

/// Gives the node of a weight, of the model of this name, its value: a constant, or an input.
pub(crate) type DeclareWeight<'a> = dyn FnMut(&mut Lowering<'_>, &Name, NodeId) -> Result<(), Diagnostic> + 'a;

/// Steps of a schedule that become one ONNX graph, one after the other.
pub(crate) struct Splice<'a> {
    program: &'a Verified,
    schedule: &'a Schedule,
    /// What models compute in, where it is not their own element type. Values of the program keep theirs.
    precision: Option<DType>,
    weights: &'a mut DeclareWeight<'a>,
    /// Of the program's graph.
    lowering: Lowering<'a>,
    lanes: HashMap<(LaneId, NodeId), Piece>,
    types: HashMap<(Name, usize, usize), Rc<[Type]>>,
}

/// The tokens of a lane in a value of shape [1, of, …].
#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    name: String,
    start: usize,
    length: usize,
    of: usize,
}

/// Some lanes of a step as one value: flat as one row, or as rows of equal length.
struct Group<'a> {
    step: &'a StageStep,
    spec: &'a ModelSpec,
    lanes: Vec<LaneId>,
    batch: usize,
    length: usize,
}

impl<'a> Splice<'a> {
    /// Nothing yet. Names in `reserved` are kept for inputs and outputs.
    pub(crate) fn new(
        program: &'a Verified,
        schedule: &'a Schedule,
        precision: Option<DType>,
        reserved: &[String],
        weights: &'a mut DeclareWeight<'a>,
    ) -> Splice<'a> {
        let graph = program.graph();
        // ONNX wants graphs to have a name.
        let mut out = GraphBuilder::new(if graph.name.is_empty() { "program" } else { &graph.name });
        out.share();
        reserved.iter().for_each(|name| out.reserve(name));
        let lowering = Lowering::within(out, graph, &program.types().nodes);
        Splice { program, schedule, precision, weights, lowering, lanes: HashMap::new(), types: HashMap::new() }
    }

    pub(crate) fn finish(self) -> ModelProto {
        self.lowering.finish().model
    }

    /// Declares an input. Parts of one tuple come in their order.
    pub(crate) fn input(&mut self, port: Port, name: &str) -> Result<(), Diagnostic> {
        let ty = self.ty(port)?;
        self.lowering.add_input(value_info(name, &ty));
        self.give(port, name, &ty);
        Ok(())
    }

    /// Declares an input that has a value where none is given.
    pub(crate) fn input_with_default(&mut self, port: Port, name: &str, default: &Tensor) -> Result<(), Diagnostic> {
        self.input(port, name)?;
        let tensor = TensorProto::raw(name, data_type(default.dtype()), default.shape(), default.to_le_bytes());
        self.lowering.add_constant(tensor);
        Ok(())
    }

    fn give(&mut self, port: Port, name: &str, ty: &TensorType) {
        match port {
            Port::Value(id, part) => {
                let parts = self.lowering.names(id).unwrap_or_default()[..part].iter().cloned();
                let parts = parts.chain([name.to_owned()]).collect();
                self.lowering.bind(id, parts);
            }
            Port::Lane(lane, node) => {
                let length = ty.shape[1].as_usize().unwrap_or(0);
                self.lanes.insert((lane, node), Piece { name: name.to_owned(), start: 0, length, of: length });
            }
        }
    }

    /// Declares an output.
    pub(crate) fn output(&mut self, port: Port, name: &str) -> Result<(), Diagnostic> {
        let missing = || failed(format!("{port:?} leaves a graph that does not have it"));
        let ty = self.ty(port)?;
        let from = match port {
            Port::Value(id, part) => self.lowering.names(id).and_then(|names| names.get(part)).cloned().ok_or_else(missing)?,
            Port::Lane(lane, node) => {
                let piece = self.lanes.get(&(lane, node)).cloned().ok_or_else(missing)?;
                self.joined(vec![piece])
            }
        };
        self.lowering.add_node(proto::node("Identity", [from.as_str()], [name]));
        self.lowering.add_output(value_info(name, &ty));
        Ok(())
    }

    /// The type of what goes through a port.
    fn ty(&self, port: Port) -> Result<TensorType, Diagnostic> {
        let ty = match port {
            Port::Value(id, part) => match self.program.ty(id) {
                Type::Tensor(ty) => Some(ty.clone()),
                Type::Tuple(parts) => parts.get(part).and_then(Type::as_tensor).cloned(),
                Type::List(of) => of.as_tensor().cloned(),
                Type::Str | Type::Opaque | Type::Forward(_) => None,
            },
            Port::Lane(lane, node) => {
                let lane = &self.schedule.lanes[lane.index()];
                let spec = &self.program.models()[&lane.model];
                let ty = spec.node_type(node).as_tensor();
                ty.map(|ty| {
                    let leading = [Dim::known(1), (lane.batch * lane.length).into()];
                    TensorType::new(self.dtype(spec, ty.dtype), leading.into_iter().chain(ty.shape.iter().skip(2).cloned()))
                })
            }
        };
        ty.ok_or_else(|| failed(format!("{port:?} is not a tensor")))
    }

    /// What a value of a model is computed in.
    fn dtype(&self, spec: &ModelSpec, dtype: DType) -> DType {
        if dtype == spec.dtype() { self.precision.unwrap_or(dtype) } else { dtype }
    }

    /// Lowers a step that computes something.
    ///
    /// # Errors
    /// E4003 at the operation that has no ONNX form.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), Diagnostic> {
        match step {
            Step::Host(id) => self.host(*id).map_err(|error| error.or_label(self.program.graph().span(*id))),
            Step::Stage(step) => self.stage(step),
            Step::Join(_) | Step::Keep(_) | Step::Kernel(_) => {
                Err(failed("graphs of whole programs are made of whole sequences and single operations"))
            }
            Step::Effect(_) => Err(failed("effects are not part of a graph")),
        }
    }

    fn host(&mut self, id: NodeId) -> Result<(), Diagnostic> {
        let node = self.program.graph().node(id);
        for &operand in &node.operands {
            self.lowering.alias(operand, self.schedule.values[operand.index()]);
        }
        let of_tensors = matches!(self.program.ty(id), Type::List(of) if of.as_tensor().is_some());
        match &node.op {
            // A list whose length is known is what a tuple is; what is appended where a condition holds, none knows before.
            Op::List { .. } | Op::Append {} | Op::Join {}
                if of_tensors && (node.operands.len() < 3 || !matches!(node.op, Op::Append {})) =>
            {
                let names = node.operands.iter().map(|operand| self.lowering.names(*operand).ok_or(operand));
                let names = names.collect::<Result<Vec<_>, _>>().map_err(|operand| failed(format!("{operand:?} is not in the graph")))?;
                let names = names.concat();
                self.lowering.bind(id, names);
                Ok(())
            }
            _ => self.lowering.node(id),
        }
    }

    fn stage(&mut self, step: &StageStep) -> Result<(), Diagnostic> {
        let spec = &self.program.models()[&step.model].clone();
        let lanes = &self.schedule.lanes;
        let tokens = |lane: &LaneId| lanes[lane.index()].batch * lanes[lane.index()].length;
        match &spec.stages()[step.stage].kind {
            StageKind::Positionwise => {
                let length = step.lanes.iter().map(tokens).sum();
                self.group(&Group { step, spec, lanes: step.lanes.clone(), batch: 1, length })
            }
            StageKind::Attention(_) => {
                let mut groups: Vec<Group<'_>> = vec![];
                for &lane in &step.lanes {
                    let info = &lanes[lane.index()];
                    match groups.iter_mut().find(|group| group.length == info.length) {
                        Some(group) => {
                            group.lanes.push(lane);
                            group.batch += info.batch;
                        }
                        None => groups.push(Group { step, spec, lanes: vec![lane], batch: info.batch, length: info.length }),
                    }
                }
                groups.iter().try_for_each(|group| self.group(group))
            }
        }
    }

    /// Runs the stage for lanes that go together.
    fn group(&mut self, group: &Group<'_>) -> Result<(), Diagnostic> {
        let Group { step, spec, .. } = *group;
        let types = self.types(group);
        let known = self.known(group, &types)?;
        let captured: Vec<_> = step.captures.iter().filter(|capture| group.lanes.contains(&capture.lane)).collect();
        let wanted = captured.iter().map(|capture| spec.hook_info(capture.hook).node).chain(step.outputs.iter().copied());
        let wanted: Vec<NodeId> = wanted.collect();
        let positions = self.positions(group);

        let mut lowering = Lowering::within(std::mem::take(&mut *self.lowering), spec.graph(), &types);
        for (node, name) in known {
            lowering.bind(node, vec![name]);
        }
        let weights = &mut *self.weights;
        let lowered = lowering.model(spec, wanted.iter().copied(), |lowering, id| match &spec.graph().node(id).op {
            Op::Weight { .. } => weights(lowering, &step.model, id),
            Op::Input { name, .. } if &**name == "positions" => {
                let name = lowering.constant(&positions);
                lowering.bind(id, vec![name]);
                Ok(())
            }
            _ => Err(failed(format!("{id:?} of the model is not given"))),
        });
        let names: HashMap<NodeId, String> = wanted.iter().filter_map(|id| Some((*id, lowering.names(*id)?.first()?.clone()))).collect();
        *self.lowering = lowering.into_builder();
        lowered?;

        for &output in &step.outputs {
            let of = group.batch * group.length;
            let name = self.flat(group, &types, output, &names);
            for (lane, start, length) in self.spans(group) {
                self.lanes.insert((lane, output), Piece { name: name.clone(), start, length, of });
            }
        }
        for capture in captured {
            let node = spec.hook_info(capture.hook).node;
            let value = self.captured(group, &types, node, capture.lane, &names);
            let Type::Tensor(program) = self.program.ty(capture.value) else { return Err(failed("hooks are tensors")) };
            let (from, value) = value;
            let dtype = self.dtype(spec, spec.hook_type(capture.hook).dtype);
            let value = self.lowering.cast(&value, dtype, program.dtype);
            let value = self.lowering.reshape(&value, &from, &sizes(program));
            self.lowering.bind(capture.value, vec![value]);
        }
        Ok(())
    }

    /// The lanes of a group with their first token and how many they have.
    fn spans(&self, group: &Group<'_>) -> Vec<(LaneId, usize, usize)> {
        let mut start = 0;
        let span = |lane: &LaneId| {
            let info = &self.schedule.lanes[lane.index()];
            let length = info.batch * info.length;
            start += length;
            (*lane, start - length, length)
        };
        group.lanes.iter().map(span).collect()
    }

    /// A value of a group as [1, tokens, …].
    fn flat(&mut self, group: &Group<'_>, types: &[Type], node: NodeId, names: &HashMap<NodeId, String>) -> String {
        let from = node_sizes(types, node);
        let to: Vec<usize> = [1, group.batch * group.length].into_iter().chain(from[2..].iter().copied()).collect();
        self.lowering.reshape(&names[&node], &from, &to)
    }

    /// What of a value is a lane's, with its sizes.
    fn captured(
        &mut self,
        group: &Group<'_>,
        types: &[Type],
        node: NodeId,
        lane: LaneId,
        names: &HashMap<NodeId, String>,
    ) -> (Vec<usize>, String) {
        let spans = self.spans(group);
        let (_, start, tokens) = spans.into_iter().find(|(other, ..)| *other == lane).unwrap_or((lane, 0, 0));
        let mut from = node_sizes(types, node);
        let all = group.batch * group.length;
        // Scores and pattern are of pairs of positions, so that rows are what can be taken of them.
        let (axis, unit, name) = match is_square(group.spec, node) {
            true => (0, group.length.max(1), names[&node].clone()),
            false => {
                let name = self.flat(group, types, node, names);
                from = [1, all].into_iter().chain(from[2..].iter().copied()).collect();
                (1, 1, name)
            }
        };
        if tokens == all {
            return (from, name);
        }
        from[axis] = tokens / unit;
        (from, self.lowering.slice(&name, axis as i64, (start / unit) as i64, ((start + tokens) / unit) as i64, 1))
    }

    /// What a stage is given: values of earlier stages, tokens, and what is written.
    fn known(&mut self, group: &Group<'_>, types: &[Type]) -> Result<Vec<(NodeId, String)>, Diagnostic> {
        let Group { step, spec, .. } = *group;
        let mut known = vec![];
        for &input in &step.inputs {
            let pieces = if matches!(spec.graph().node(input).op, Op::Input { .. }) {
                let of_lane =
                    |lane: &LaneId| self.schedule.lanes[lane.index()].tokens.ok_or_else(|| failed("an applied module has no tokens"));
                let values = group.lanes.iter().map(of_lane).collect::<Result<Vec<_>, _>>()?;
                self.flat_values(group, &values, &[], None)?
            } else {
                let maker = spec.stage_of(input);
                let piece = |lane: &LaneId| {
                    let lane = self.schedule.lane_at(*lane, maker, 0);
                    let missing = || failed(format!("the schedule uses {input:?} of lane {} before it is there", lane.index()));
                    self.lanes.get(&(lane, input)).cloned().ok_or_else(missing)
                };
                group.lanes.iter().map(piece).collect::<Result<Vec<_>, _>>()?
            };
            let name = self.joined(pieces);
            let to = node_sizes(types, input);
            known.push((input, self.unflat(group, &name, &to)));
        }
        for (hook, values) in self.written(group) {
            let node = spec.hook_info(hook).node;
            let ty = spec.hook_type(hook);
            let dtype = self.dtype(spec, ty.dtype);
            let to = node_sizes(types, node);
            let name = match is_square(spec, node) {
                true => {
                    let mut rows = vec![];
                    for value in values {
                        let (name, from) = self.program_value(value, dtype)?;
                        rows.push(name);
                        debug_assert_eq!(from[1..], to[1..], "what is written to scores has their type");
                    }
                    if let [only] = &rows[..] { only.clone() } else { self.lowering.concat(&rows, 0) }
                }
                false => {
                    let pieces = self.flat_values(group, &values, &to[2..], Some(dtype))?;
                    let name = self.joined(pieces);
                    self.unflat(group, &name, &to)
                }
            };
            known.push((node, name));
        }
        Ok(known)
    }

    /// [1, tokens, …] as the sizes of a group.
    fn unflat(&mut self, group: &Group<'_>, name: &str, to: &[usize]) -> String {
        let from: Vec<usize> = [1, group.batch * group.length].into_iter().chain(to[2..].iter().copied()).collect();
        self.lowering.reshape(name, &from, to)
    }

    /// What the lanes of a group write in this stage, by hook: one value of the program a lane.
    fn written(&self, group: &Group<'_>) -> Vec<(HookId, Vec<NodeId>)> {
        let mut written: Vec<(HookId, Vec<NodeId>)> = vec![];
        for lane in &group.lanes {
            let info = &self.schedule.lanes[lane.index()];
            for write in info.writes.iter().filter(|_| info.stage == group.step.stage) {
                match written.iter_mut().find(|(other, _)| *other == write.hook) {
                    Some((_, values)) => values.push(write.value),
                    None => written.push((write.hook, vec![write.value])),
                }
            }
        }
        written
    }

    /// Values of the program, one a lane, as flat pieces [1, tokens of the lane, …].
    fn flat_values(
        &mut self,
        group: &Group<'_>,
        values: &[NodeId],
        tail: &[usize],
        dtype: Option<DType>,
    ) -> Result<Vec<Piece>, Diagnostic> {
        let mut pieces = vec![];
        for ((_, _, length), &value) in self.spans(group).into_iter().zip(values) {
            let (name, from) = self.program_value(value, dtype.unwrap_or(DType::I64))?;
            let to: Vec<usize> = [1, length].into_iter().chain(tail.iter().copied()).collect();
            let name = self.lowering.reshape(&name, &from, &to);
            pieces.push(Piece { name, start: 0, length, of: length });
        }
        Ok(pieces)
    }

    /// A tensor of the program as an element type, with its sizes.
    fn program_value(&mut self, value: NodeId, dtype: DType) -> Result<(String, Vec<usize>), Diagnostic> {
        let missing = || failed(format!("the schedule uses {value:?} before it is there"));
        let name = self.lowering.names(value).and_then(<[_]>::first).cloned().ok_or_else(missing)?;
        let Type::Tensor(ty) = self.program.ty(value) else { return Err(failed(format!("{value:?} is not a tensor"))) };
        Ok((self.lowering.cast(&name, ty.dtype, dtype), sizes(ty)))
    }

    /// Pieces one after the other, [1, sum of their lengths, …]; neighbours are taken together.
    fn joined(&mut self, pieces: Vec<Piece>) -> String {
        let mut runs: Vec<Piece> = vec![];
        for piece in pieces {
            match runs.last_mut() {
                Some(last) if last.name == piece.name && last.start + last.length == piece.start => last.length += piece.length,
                _ => runs.push(piece),
            }
        }
        let mut names = vec![];
        for Piece { name, start, length, of } in runs {
            names.push(if length == of { name } else { self.lowering.slice(&name, 1, start as i64, (start + length) as i64, 1) });
        }
        if let [only] = &names[..] { only.clone() } else { self.lowering.concat(&names, 1) }
    }

    fn positions(&self, group: &Group<'_>) -> Tensor {
        let mut positions: Vec<i64> = vec![];
        for lane in &group.lanes {
            let info = &self.schedule.lanes[lane.index()];
            (0..info.batch).for_each(|_| positions.extend(0..info.length as i64));
        }
        Tensor::new([group.batch, group.length], positions)
    }

    /// The types of a model's nodes for the sizes of a group.
    fn types(&mut self, group: &Group<'_>) -> Rc<[Type]> {
        let Group { step, spec, batch, length, .. } = *group;
        let key = (step.model.clone(), batch, length);
        if let Some(types) = self.types.get(&key) {
            return types.clone();
        }
        let size = |symbol: &str| match symbol {
            "B" => Some(batch.into()),
            "T" => Some(length.into()),
            _ => None,
        };
        let types = spec.graph().nodes().zip(spec.node_types()).map(|((_, node), ty)| match (&node.op, ty.substitute(&size)) {
            // Constants are what they are; who uses them casts them.
            (Op::Const { .. }, ty) => ty,
            (_, Type::Tensor(ty)) => Type::Tensor(TensorType { dtype: self.dtype(spec, ty.dtype), shape: ty.shape }),
            (_, other) => other,
        });
        let types: Rc<[Type]> = types.collect();
        self.types.insert(key, types.clone());
        types
    }
}

/// The values of the program that a stage takes for some of its lanes: tokens, and what is written.
pub(crate) fn stage_values<'a>(
    program: &'a Verified,
    schedule: &'a Schedule,
    step: &'a StageStep,
) -> impl Iterator<Item = StageValue> + 'a {
    let spec = &program.models()[&step.model];
    let is_input = |node: &NodeId| matches!(spec.graph().node(*node).op, Op::Input { .. });
    let looked_at = step.inputs.iter().copied().find(is_input);
    step.lanes.iter().flat_map(move |lane| {
        let info = &schedule.lanes[lane.index()];
        let writes = info.writes.iter().filter(|_| info.stage == step.stage);
        let written = writes.map(|write| StageValue { node: spec.hook_info(write.hook).node, value: write.value });
        let tokens = looked_at.and_then(|node| Some(StageValue { node, value: info.tokens? }));
        written.chain(tokens)
    })
}

/// A value of the program at a node of a model.
#[derive(Clone, Copy)]
pub(crate) struct StageValue {
    pub(crate) node: NodeId,
    pub(crate) value: NodeId,
}

/// Whether a hook is of pairs of positions, [batch, heads, length, length].
fn is_square(spec: &ModelSpec, node: NodeId) -> bool {
    match (&spec.stages()[spec.stage_of(node)].kind, spec.hook_at(node)) {
        (StageKind::Attention(attention), Some(hook)) => hook == attention.scores || hook == attention.pattern,
        _ => false,
    }
}

fn node_sizes(types: &[Type], node: NodeId) -> Vec<usize> {
    types[node.index()].as_tensor().map(sizes).unwrap_or_default()
}

fn sizes(ty: &TensorType) -> Vec<usize> {
    ty.shape.iter().filter_map(Dim::as_usize).collect()
}
