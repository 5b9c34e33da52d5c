//! A schedule cut into stretches that are one graph each, and what the host does between them.
//!
//! A graph is as long as it can be: it ends where something on the host needs a value of it before more can be computed, such
//! as a call of a user's function, an operation that has no ONNX form, or token ids that have to be looked at. Saves and logs
//! of what a graph computes come after it, in their order.

use std::collections::{BTreeSet, HashSet};

use irc_ir::{
    attr::Literal,
    graph::{EffectKind, NodeId},
    infer::normalise_axis,
    op::Op,
    plan::{Capture, LaneId, Schedule, StageStep, Step},
    types::{DType, Type},
    verify::Verified,
};

use super::{Port, StageValue, stage_values};
use crate::onnx::lower::Lowering;

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Part {
    /// Compute a graph.
    Graph(Stretch),
    /// Evaluate an operation on the host.
    Host(NodeId),
    /// A value that was read at a hook for token ids or positions: nothing has to be computed for it.
    Ids(NodeId, Ids),
    /// Do an entry of the effect list.
    Effect(usize),
}

/// What lies at a hook for token ids or positions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ids {
    /// This value of the program.
    Of(NodeId),
    /// 0, 1, … in each of `batch` rows.
    Positions { batch: usize, length: usize },
}

/// Steps of a schedule that become one graph.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    /// Places in [`Schedule::steps`]: operations and stages.
    pub(crate) steps: Vec<usize>,
    /// What others made.
    pub(crate) inputs: BTreeSet<Port>,
    /// What others use, and who.
    pub(crate) outputs: Vec<Output>,
}

/// A value that leaves a graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Output {
    pub(crate) port: Port,
    /// Whether the host looks at it.
    pub(crate) host: bool,
    /// Whether later graphs take it.
    pub(crate) graph: bool,
}

/// The parts of a program, and for each of its values the last part that uses it.
pub(crate) struct Parts {
    pub(crate) parts: Vec<Part>,
    /// What is not needed any more after a part.
    pub(crate) ends: Vec<Vec<Port>>,
}

/// The values of lanes that a stage takes from earlier stages.
pub(crate) fn stage_lanes(program: &Verified, schedule: &Schedule, step: &StageStep) -> Vec<(LaneId, NodeId)> {
    let spec = &program.models()[&step.model];
    let made = step.inputs.iter().filter(|input| !matches!(spec.graph().node(**input).op, Op::Input { .. }));
    let of_lanes = made.flat_map(|&input| {
        let maker = spec.stage_of(input);
        step.lanes.iter().map(move |&lane| (schedule.lane_at(lane, maker, 0), input))
    });
    of_lanes.collect()
}

/// Cuts a schedule into parts.
pub(crate) fn parts(program: &Verified, schedule: &Schedule) -> Parts {
    let mut cutter =
        Cutter { program, schedule, parts: vec![], open: vec![], made: HashSet::new(), effects: vec![], on_host: HashSet::new() };
    for (at, step) in schedule.steps.iter().enumerate() {
        cutter.step(at, step);
    }
    cutter.close();
    let mut parts = cutter.parts;
    connect(program, schedule, &mut parts)
}

/// What was read, if it is ids that somebody gave.
fn ids_at(program: &Verified, schedule: &Schedule, capture: &Capture) -> Option<Ids> {
    let lane = &schedule.lanes[capture.lane.index()];
    let spec = &program.models()[&lane.model];
    let mut node = spec.hook_info(capture.hook).node;
    loop {
        if let Some(hook) = spec.hook_at(node) {
            let mut next = Some(capture.lane);
            while let Some(lane) = next.map(|lane| &schedule.lanes[lane.index()]) {
                if let Some(write) = lane.writes.iter().find(|write| write.hook == hook) {
                    return (spec.hook_type(hook).dtype == DType::I64).then_some(Ids::Of(schedule.values[write.value.index()]));
                }
                next = lane.parent;
            }
        }
        match &spec.graph().node(node).op {
            Op::Hook { .. } => node = spec.graph().node(node).operands[0],
            Op::Input { name, .. } if &**name == "positions" => return Some(Ids::Positions { batch: lane.batch, length: lane.length }),
            Op::Input { .. } => return lane.tokens.map(Ids::Of),
            _ => return None,
        }
    }
}

struct Cutter<'a> {
    program: &'a Verified,
    schedule: &'a Schedule,
    parts: Vec<Part>,
    /// The steps of the graph that is open.
    open: Vec<usize>,
    /// The values of the program that it makes.
    made: HashSet<NodeId>,
    /// What comes after it.
    effects: Vec<usize>,
    /// What the host made.
    on_host: HashSet<NodeId>,
}

impl Cutter<'_> {
    fn step(&mut self, at: usize, step: &Step) {
        match step {
            Step::Host(id) => {
                let operands = &self.program.graph().node(*id).operands;
                let operands: Vec<NodeId> = operands.iter().map(|operand| self.schedule.values[operand.index()]).collect();
                if matches!(self.program.graph().node(*id).op, Op::Call { .. }) {
                    // Users see when their functions are called.
                    self.close();
                } else if !operands.iter().all(|operand| self.on_host.contains(operand)) {
                    if has_form(self.program, self.schedule, *id) {
                        self.open.push(at);
                        self.made.insert(*id);
                        return;
                    }
                    if operands.iter().any(|operand| self.made.contains(operand)) {
                        self.close();
                    }
                }
                self.parts.push(Part::Host(*id));
                self.on_host.insert(*id);
            }
            Step::Stage(step) => {
                let spec = &self.program.models()[&step.model];
                let is_ids = |value: &StageValue| spec.node_type(value.node).as_tensor().is_some_and(|ty| ty.dtype == DType::I64);
                let ids: Vec<NodeId> = stage_values(self.program, self.schedule, step).filter(is_ids).map(|value| value.value).collect();
                if ids.iter().any(|value| self.made.contains(value)) {
                    self.close();
                }
                let mut computes = !step.outputs.is_empty();
                for capture in &step.captures {
                    match ids_at(self.program, self.schedule, capture) {
                        Some(Ids::Of(value)) if !self.on_host.contains(&value) => {
                            computes = true;
                            self.made.insert(capture.value);
                        }
                        Some(ids) => {
                            self.parts.push(Part::Ids(capture.value, ids));
                            self.on_host.insert(capture.value);
                        }
                        None => {
                            computes = true;
                            self.made.insert(capture.value);
                        }
                    }
                }
                if computes {
                    self.open.push(at);
                }
            }
            // There are none where sequences are whole and nothing is fused, and none has a form.
            Step::Join(_) | Step::Keep(_) | Step::Kernel(_) => self.open.push(at),
            Step::Effect(effect) => match self.program.graph().effects[*effect].kind {
                EffectKind::Save { .. } | EffectKind::Log { .. } if self.open.is_empty() => self.parts.push(Part::Effect(*effect)),
                EffectKind::Save { .. } | EffectKind::Log { .. } => self.effects.push(*effect),
                EffectKind::Call { .. } | EffectKind::Stop { .. } | EffectKind::Loop { .. } => {
                    self.close();
                    self.parts.push(Part::Effect(*effect));
                    self.on_host.extend(self.schedule.results[*effect]);
                }
            },
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let steps = std::mem::take(&mut self.open);
            self.parts.push(Part::Graph(Stretch { steps, ..Stretch::default() }));
        }
        self.made.clear();
        self.parts.extend(self.effects.drain(..).map(Part::Effect));
    }
}

/// What a part makes and uses.
#[derive(Default)]
struct Needs {
    makes: BTreeSet<Port>,
    /// On the host.
    host: BTreeSet<Port>,
    /// In a graph.
    graph: BTreeSet<Port>,
}

/// Finds what goes between the parts.
fn connect(program: &Verified, schedule: &Schedule, parts: &mut Vec<Part>) -> Parts {
    let ports = |id: NodeId| {
        let id = schedule.values[id.index()];
        (0..count(program.ty(id))).map(move |part| Port::Value(id, part))
    };
    let needs: Vec<Needs> = parts
        .iter()
        .map(|part| {
            let mut needs = Needs::default();
            match part {
                Part::Host(id) => {
                    needs.makes.extend(ports(*id));
                    needs.host.extend(program.graph().node(*id).operands.iter().flat_map(|operand| ports(*operand)));
                }
                Part::Ids(id, ids) => {
                    needs.makes.extend(ports(*id));
                    if let Ids::Of(value) = ids {
                        needs.host.extend(ports(*value));
                    }
                }
                Part::Effect(at) => {
                    needs.makes.extend(schedule.results[*at].into_iter().flat_map(ports));
                    needs.host.extend(program.graph().effects[*at].uses().flat_map(ports));
                }
                Part::Graph(stretch) => {
                    for step in stretch.steps.iter().map(|at| &schedule.steps[*at]) {
                        match step {
                            Step::Host(id) => {
                                needs.graph.extend(program.graph().node(*id).operands.iter().flat_map(|operand| ports(*operand)));
                                needs.makes.extend(ports(*id));
                            }
                            Step::Stage(step) => {
                                let spec = &program.models()[&step.model];
                                for StageValue { node, value } in stage_values(program, schedule, step) {
                                    needs.graph.extend(ports(value));
                                    if spec.node_type(node).as_tensor().is_some_and(|ty| ty.dtype == DType::I64) {
                                        needs.host.extend(ports(value));
                                    }
                                }
                                let lanes = stage_lanes(program, schedule, step);
                                needs.graph.extend(lanes.into_iter().map(|(lane, node)| Port::Lane(lane, node)));
                                let outputs =
                                    step.outputs.iter().flat_map(|&node| step.lanes.iter().map(move |&lane| Port::Lane(lane, node)));
                                needs.makes.extend(outputs);
                                needs.makes.extend(step.captures.iter().flat_map(|capture| ports(capture.value)));
                            }
                            Step::Join(_) | Step::Keep(_) | Step::Kernel(_) | Step::Effect(_) => {}
                        }
                    }
                }
            }
            needs
        })
        .collect();

    let mut ends = vec![vec![]; parts.len()];
    let mut seen: HashSet<Port> = HashSet::new();
    for (at, needs) in needs.iter().enumerate().rev() {
        ends[at].extend(needs.host.union(&needs.graph).copied().filter(|port| seen.insert(*port)));
    }
    let elsewhere: BTreeSet<Port> =
        parts.iter().flat_map(|part| if let Part::Ids(id, _) = part { Some(Port::Value(*id, 0)) } else { None }).collect();
    for (at, part) in parts.iter_mut().enumerate() {
        let Part::Graph(stretch) = part else { continue };
        stretch.inputs = needs[at].graph.difference(&needs[at].makes).copied().collect();
        for &port in needs[at].makes.difference(&elsewhere) {
            let host = needs[at + 1..].iter().any(|later| later.host.contains(&port));
            let graph = needs[at + 1..].iter().any(|later| later.graph.contains(&port));
            if host || graph {
                stretch.outputs.push(Output { port, host, graph });
            }
        }
    }
    Parts { parts: std::mem::take(parts), ends }
}

/// How many tensors a value is; one for what only the host understands.
fn count(ty: &Type) -> usize {
    match ty {
        Type::Tuple(parts) if is_plain(ty) => parts.len(),
        Type::Tensor(_) | Type::Tuple(_) | Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => 1,
    }
}

/// Whether a value is a tensor or a tuple of tensors, of types that engines compute with.
fn is_plain(ty: &Type) -> bool {
    match ty {
        // Of nothing, engines know little.
        Type::Tensor(ty) => {
            matches!(ty.dtype, DType::F32 | DType::I64 | DType::I32 | DType::Bool) && ty.shape.iter().all(|dim| dim.as_known() != Some(0))
        }
        Type::Tuple(parts) => !parts.is_empty() && parts.iter().all(|part| part.as_tensor().is_some() && is_plain(part)),
        Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => false,
    }
}

/// Whether an operation can be part of a graph, and cannot fail in it: what fails has a place in the program.
fn has_form(program: &Verified, schedule: &Schedule, id: NodeId) -> bool {
    let graph = program.graph();
    let node = graph.node(id);
    let types = node.operands.iter().chain([&id]).map(|id| program.ty(*id));
    if !types.into_iter().all(is_plain) || can_fail(program, schedule, id) {
        return false;
    }
    let mut alone = Lowering::new(graph, &program.types().nodes);
    for &operand in &node.operands {
        alone.bind(operand, (0..count(program.ty(operand))).map(|part| format!("operand.{part}")).collect());
    }
    alone.node(id).is_ok()
}

/// Whether an operation may fail for some values of its operands.
fn can_fail(program: &Verified, schedule: &Schedule, id: NodeId) -> bool {
    let node = program.graph().node(id);
    let operand = |at: usize| node.operands.get(at).map(|operand| schedule.values[operand.index()]);
    // Ids that the program has written down can be looked at here.
    let within = |ids: usize, of: usize, dim: i64| {
        let sizes = operand(of).and_then(|of| program.ty(of).as_tensor());
        let size = sizes.and_then(|ty| ty.shape.get(normalise_axis(dim, ty.rank())?)?.as_known());
        match (operand(ids).map(|ids| &program.graph().node(ids).op), size) {
            (Some(Op::Const { value: Literal::Tensor(ids) }), Some(size)) => {
                ids.to_tensor().to_f64().iter().all(|id| (0.0..size as f64).contains(id))
            }
            _ => false,
        }
    };
    let integers = program.ty(id).as_tensor().is_some_and(|ty| !ty.dtype.is_float());
    match &node.op {
        Op::Gather { dim } | Op::IndexSelect { dim } => !within(1, 0, *dim),
        Op::IndexBy { dims } => !within(1, 0, dims.first().copied().unwrap_or(0)),
        Op::Embedding {} => !within(1, 0, 0),
        Op::OneHot { .. } | Op::Item { .. } | Op::NonZero { .. } | Op::MaskedSelect { .. } | Op::IndexPut { .. } => true,
        Op::Scatter { .. } | Op::ScatterAdd { .. } | Op::Call { .. } => true,
        Op::Div {} | Op::FloorDiv {} | Op::Remainder {} | Op::Fmod {} => integers,
        _ => false,
    }
}
