//! Stages of a schedule: what they take of the values that are there, and what becomes of what they give.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    time::Instant,
};

use irc_ir::{
    diagnostic::Diagnostic,
    eval::Value,
    graph::NodeId,
    model::{HookId, ModelSpec, StageKind},
    op::Op,
    plan::{Joined, KeyPiece, Lane, LaneId, Pieces, StageStep, Write},
    tensor::Tensor,
    types::{Dim, Type},
};

use irc_passes::takes;

use super::{Execution, LaneValue};
use crate::{
    LoadedModel,
    attention_stage::{AttentionStage, HookTensor, KeyRange, Request, Span},
    edit::Edit,
    failed,
    positionwise::{Flat, FlatBatch},
    steps::{check_ids, check_length},
};

impl Execution<'_> {
    fn lane(&self, lane: LaneId) -> &Lane {
        &self.schedule.lanes[lane.index()]
    }

    /// Positions of an input of a lane, flat.
    fn input(&mut self, spec: &ModelSpec, lane: LaneId, input: NodeId, positions: &Range<usize>) -> Result<Vec<Tensor>, Diagnostic> {
        let pieces = self.takes.pieces(spec, lane, input, positions);
        self.collected(&pieces, input)
    }

    /// The pieces of a value, sequence by sequence.
    pub(super) fn collected(&mut self, pieces: &Pieces, node: NodeId) -> Result<Vec<Tensor>, Diagnostic> {
        let values = pieces.iter().map(|(lane, _)| self.take_lane(*lane, node)).collect::<Result<Vec<LaneValue>, _>>()?;
        if let ([value], [(_, positions)]) = (values.as_slice(), pieces.as_slice())
            && value.positions == *positions
        {
            return Ok(vec![value.tensor.clone()]);
        }
        let mut parts = vec![];
        for sequence in 0..values.first().map_or(0, |value| value.batch) {
            parts.extend(values.iter().zip(pieces).map(|(value, (_, positions))| value.part(sequence, positions)));
        }
        Ok(parts)
    }

    /// A value that a lane has, or a forward from outside; it is used once more.
    pub(super) fn take_lane(&mut self, lane: LaneId, node: NodeId) -> Result<LaneValue, Diagnostic> {
        let missing = || failed(format!("the schedule uses node {node:?} of lane {} before it is there", lane.index()));
        if let Lane { given: Some(given), parent: None, .. } = *self.lane(lane) {
            let carried = self.take_forward(given)?;
            let tensor = carried.nodes.get(&node).ok_or_else(missing)?.clone();
            return Ok(LaneValue { batch: carried.batch, positions: 0..carried.length, tensor });
        }
        let value = self.lanes.get(&(lane, node)).ok_or_else(missing)?.clone();
        self.let_go(lane, node);
        Ok(value)
    }

    /// A value of a lane was used once more.
    fn let_go(&mut self, lane: LaneId, node: NodeId) {
        let key = (lane, node);
        if let Some(uses) = self.lane_uses.get_mut(&key) {
            *uses = uses.saturating_sub(1);
            if *uses == 0 {
                self.lanes.remove(&key);
            }
        }
    }

    /// Puts a value of the program together of what several lanes have.
    pub(super) fn join(&mut self, join: &Joined) -> Result<(), Diagnostic> {
        let [(lane, _), ..] = join.pieces.as_slice() else { return Ok(()) };
        let spec = &self.program.models()[&self.lane(*lane).model];
        let tensor = match spec.hook_at(join.node).is_some_and(|hook| spec.is_square(hook)) {
            true => self.take_lane(*lane, join.node)?.tensor,
            false => Tensor::joined(&self.collected(&join.pieces, join.node)?),
        };
        self.capture(join.value, tensor)
    }

    pub(super) fn stage(&mut self, step: &StageStep) -> Result<(), Diagnostic> {
        let spec = self.program.models()[&step.model].clone();
        let ready = self.around.ready[&step.model].clone();
        let spans = self.spans(step, &spec)?;
        let mut inputs = BTreeMap::new();
        for &input in takes::own_inputs(&spec, step) {
            let mut parts = vec![];
            for (&lane, positions) in step.lanes.iter().zip(&step.positions) {
                parts.extend(self.input(&spec, lane, input, positions)?);
            }
            inputs.insert(input, Tensor::joined(&parts));
        }
        let writes = self.writes(step, &spec)?;
        match &ready.attention[step.stage] {
            Some(attention) => self.attention(step, &spec, attention, spans, inputs, writes),
            None => self.positionwise(step, &spec, &*ready.model, &spans, inputs, writes),
        }
    }

    /// Where each lane's tokens are in the flat batch.
    fn spans(&self, step: &StageStep, spec: &ModelSpec) -> Result<Vec<Span>, Diagnostic> {
        let mut start = 0;
        let span = |(lane, positions): (&LaneId, &Range<usize>)| {
            let Lane { batch, length, tokens, .. } = *self.lane(*lane);
            let past = self.past(*lane)?;
            if let Some(tokens) = tokens {
                check_length(batch, length, past, spec.context()).map_err(|error| error.or_label(self.span_of_tokens(tokens)))?;
            }
            let span = Span { start, batch, positions: positions.clone(), length, past, keys: vec![] };
            start += span.count();
            Ok(span)
        };
        step.lanes.iter().zip(&step.positions).map(span).collect()
    }

    /// Where the program has the forward of some tokens.
    fn span_of_tokens(&self, tokens: NodeId) -> &irc_ir::diagnostic::Span {
        let graph = self.program.graph();
        let takes = |node: &irc_ir::graph::Node| {
            let is_forward = matches!(node.op, Op::Forward { .. } | Op::Extend {});
            is_forward && node.operands.last().is_some_and(|last| self.value(*last) == tokens)
        };
        graph.span(graph.nodes().find(|(_, node)| takes(node)).map_or(tokens, |(id, _)| id))
    }

    /// What the lanes of a stage make of hooks where they are computed, by the node of the hook.
    fn edits(&mut self, step: &StageStep, spec: &ModelSpec, spans: &[Span]) -> Result<BTreeMap<NodeId, Edit>, Diagnostic> {
        let mut edits: BTreeMap<HookId, Vec<Edit>> = BTreeMap::new();
        for (&lane, positions) in step.lanes.iter().zip(&step.positions) {
            let info = &self.schedule.lanes[lane.index()];
            for write in info.writes.iter().filter(|_| info.stage == step.stage) {
                let Some(edit) = &write.edit else { continue };
                let sizes = hook_sizes(spec, write.hook, info.batch, info.length)?;
                let program = self.program;
                let edit = Edit::new(edit, program, &sizes, |value| self.take_tensor(value))?;
                edits.entry(write.hook).or_default().push(edit.map(|tensor| Ok::<_, Diagnostic>(at_positions(tensor, positions)))?);
            }
        }
        let rows: Vec<usize> = spans.iter().map(Span::count).collect();
        let joined = edits.into_iter().map(|(hook, edits)| {
            let tail = &hook_sizes(spec, hook, 1, 1)?[2..];
            Ok((spec.hook_info(hook).node, Edit::joined(&edits, &rows, tail)))
        });
        joined.collect()
    }

    /// What the lanes of a stage write, by hook: for each lane the tokens that it computes, or the whole of scores and pattern.
    fn writes(&mut self, step: &StageStep, spec: &ModelSpec) -> Result<BTreeMap<HookId, Vec<Tensor>>, Diagnostic> {
        let mut writes: BTreeMap<HookId, Vec<Tensor>> = BTreeMap::new();
        for (&lane, positions) in step.lanes.iter().zip(&step.positions) {
            let info = &self.schedule.lanes[lane.index()];
            for write in info.writes.iter().filter(|write| info.stage == step.stage && write.edit.is_none()) {
                let value = self.written_value(spec, info, write, positions)?;
                writes.entry(write.hook).or_default().push(value);
            }
        }
        Ok(writes)
    }

    fn written_value(&mut self, spec: &ModelSpec, lane: &Lane, write: &Write, positions: &Range<usize>) -> Result<Tensor, Diagnostic> {
        let mut value = self.take_tensor(write.value)?;
        if !spec.is_square(write.hook) {
            value = value.reshaped(hook_sizes(spec, write.hook, lane.batch, lane.length - write.from)?);
        }
        check_ids(self.program, spec, spec.hook_info(write.hook).node, &value, write.value)?;
        let shown = positions.start.saturating_sub(write.from)..positions.end.saturating_sub(write.from);
        Ok(if spec.is_square(write.hook) { value } else { at_positions(&value, &shown) })
    }

    fn positionwise(
        &mut self,
        step: &StageStep,
        spec: &ModelSpec,
        model: &dyn LoadedModel,
        spans: &[Span],
        inputs: BTreeMap<NodeId, Tensor>,
        writes: BTreeMap<HookId, Vec<Tensor>>,
    ) -> Result<(), Diagnostic> {
        let tokens = spans.iter().map(Span::count).sum();
        let mut known: BTreeMap<NodeId, Flat> = inputs.into_iter().map(|(node, tensor)| (node, Flat::whole(tensor))).collect();
        self.model_inputs(step, spec, spans, &mut known)?;
        for (hook, values) in writes {
            known.insert(spec.hook_info(hook).node, Flat::whole(Tensor::joined(&values)));
        }
        let edits = self.edits(step, spec, spans)?;
        let (caps, cancel) = (self.around.caps, self.around.cancel);
        let (crossed, time) = Default::default();
        let mut batch = FlatBatch { spec, model, caps, cancel, tokens, known, edits, crossed, time };
        batch.compute(&takes::wanted(spec, step))?;

        for &output in &step.outputs {
            let all = batch.get(output).ok_or_else(|| failed("the engine left an output out"))?;
            for (&lane, span) in step.lanes.iter().zip(spans) {
                self.keep_lane(lane, output, span, all.part(span.tokens()));
            }
        }
        let places = places(step);
        for capture in &step.captures {
            let all = batch.get(spec.hook_info(capture.hook).node).ok_or_else(|| failed("the engine left a hook out"))?;
            let part = |tokens: Range<usize>| all.part(tokens);
            self.capture(capture.value, within(&part, &spans[places[&capture.lane]], &capture.positions))?;
        }
        let report = &mut self.outcome.report;
        report.add_calls(batch.crossed, batch.time);
        report.token_stages += if batch.crossed.calls > 0 { tokens } else { 0 };
        Ok(())
    }

    /// Positions, and token ids where the stage looks at them.
    fn model_inputs(
        &mut self,
        step: &StageStep,
        spec: &ModelSpec,
        spans: &[Span],
        known: &mut BTreeMap<NodeId, Flat>,
    ) -> Result<(), Diagnostic> {
        for (id, node) in spec.graph().nodes().take_while(|(_, node)| matches!(node.op, Op::Input { .. })) {
            let mut flat: Vec<i64> = vec![];
            if matches!(&node.op, Op::Input { name, .. } if &**name == "positions") {
                for span in spans {
                    (0..span.batch).for_each(|_| flat.extend(span.positions.clone().map(|position| (span.past + position) as i64)));
                }
            } else if step.inputs.contains(&id) {
                for (lane, span) in step.lanes.iter().zip(spans) {
                    let info = &self.schedule.lanes[lane.index()];
                    let ids = match (info.tokens, info.given) {
                        (Some(place), _) => {
                            let ids = self.take_tensor(place)?.reshaped([info.batch, info.length]);
                            check_ids(self.program, spec, id, &ids, place)?;
                            ids
                        }
                        (None, Some(given)) => self.take_forward(given)?.tokens.clone(),
                        (None, None) => return Err(failed("an applied module has no tokens")),
                    };
                    let ids = at_positions(&ids, &span.positions);
                    flat.extend(ids.values::<i64>().ok_or_else(|| failed("token ids are i64"))?);
                }
            } else {
                continue;
            }
            known.insert(id, Flat::whole(Tensor::new([flat.len()], flat)));
        }
        Ok(())
    }

    fn attention(
        &mut self,
        step: &StageStep,
        spec: &ModelSpec,
        attention: &AttentionStage,
        mut spans: Vec<Span>,
        inputs: BTreeMap<NodeId, Tensor>,
        mut writes: BTreeMap<HookId, Vec<Tensor>>,
    ) -> Result<(), Diagnostic> {
        let start = Instant::now();
        let StageKind::Attention(shape) = &spec.stages()[step.stage].kind else { return Err(failed("not an attention stage")) };
        // What is set of keys and values is among those of all lanes.
        writes.retain(|hook, _| *hook != shape.k && *hook != shape.v);
        let written = writes.into_iter().map(|(hook, values)| match spec.is_square(hook) {
            true => (hook, HookTensor::PerLane(values)),
            false => (hook, HookTensor::Flat(Tensor::joined(&values))),
        });
        let written = written.collect();
        let keys = self.takes.keys(spec, step);
        let (mut ranges, mut start_of_part) = (vec![], 0);
        for (maker, positions) in &keys.parts {
            let (batch, positions, past) = (self.lane(*maker).batch, positions.clone(), self.past(*maker)?);
            let range = KeyRange { start: start_of_part, batch, positions, past };
            start_of_part += range.count();
            ranges.push(range);
        }
        let mut pasts = vec![];
        for given in &keys.given {
            let carried = self.take_forward(*given)?;
            let range = KeyRange { start: start_of_part, batch: carried.batch, positions: 0..carried.past + carried.length, past: 0 };
            start_of_part += range.count();
            ranges.push(range);
            pasts.push(carried);
        }
        for (&lane, span) in step.lanes.iter().zip(&mut spans) {
            for piece in self.schedule.key_pieces(lane, step.stage, self.takes.key_positions(spec, lane, &span.positions).end) {
                let place = |given| keys.parts.len() + keys.given.iter().position(|known| *known == given).unwrap_or(0);
                span.keys.push(match piece {
                    KeyPiece::Made(maker, positions) => (keys.place[&maker], positions),
                    KeyPiece::Before(given) => (place(given), 0..self.length(given)?.0),
                    KeyPiece::Given(given, positions) => {
                        let (past, _) = self.length(given)?;
                        (place(given), past + positions.start..past + positions.end)
                    }
                });
            }
        }
        let cached = |which: usize| pasts.iter().filter_map(|carried| carried.cache.get(&step.stage)).flat_map(move |of| of.buffers(which));
        let cached = [cached(0).collect(), cached(1).collect()];
        let mut keys_and_values = [None, None];
        for (which, hook) in self.takes.keys_looked_at(step, spec, shape) {
            let parts = keys.parts.iter().map(|(maker, at)| self.key_part(spec, step.stage, *maker, at, shape.inputs[which], hook));
            keys_and_values[which - 1] = Some(parts.collect::<Result<Vec<_>, _>>()?);
        }
        let mut wanted: BTreeMap<HookId, Vec<bool>> = BTreeMap::new();
        for &output in &step.outputs {
            let hook = spec.hook_at(output).ok_or_else(|| failed("attention stages give hooks"))?;
            // Scores and pattern are asked for lane by lane.
            let takes = |lane: &LaneId| !spec.is_square(hook) || self.is_used(*lane, output);
            wanted.insert(hook, step.lanes.iter().map(takes).collect());
        }
        let places = places(step);
        for capture in &step.captures {
            wanted.entry(capture.hook).or_insert_with(|| vec![false; spans.len()])[places[&capture.lane]] = true;
        }
        let queries = inputs.get(&shape.inputs[0]);
        let cancel = self.around.cancel;
        let request = Request { lanes: &spans, keys: &ranges, pasts: cached, queries, keys_and_values, written, wanted, cancel };
        let values = attention.run(&request)?;
        self.outcome.report.attention_time += start.elapsed();

        // Keys and values of a lane are where its own part is.
        let place_of = |hook: HookId, at: usize| match hook == shape.k || hook == shape.v {
            true => keys.place.get(&step.lanes[at]).map(|part| {
                let KeyRange { start, batch, positions, .. } = ranges[*part].clone();
                Span { start, batch, positions, ..spans[at].clone() }
            }),
            false => Some(spans[at].clone()),
        };
        let left_out = || failed("attention left a hook out");
        for &output in &step.outputs {
            let hook = spec.hook_at(output).unwrap_or(shape.z);
            for (at, &lane) in step.lanes.iter().enumerate() {
                match values.get(&hook) {
                    Some(HookTensor::Flat(all)) if self.is_used(lane, output) => {
                        let span = place_of(hook, at).ok_or_else(left_out)?;
                        self.keep_lane(lane, output, &span, all.part(span.tokens()));
                    }
                    Some(HookTensor::PerLane(tensors)) => self.keep_lane(lane, output, &spans[at], tensors[at].clone()),
                    Some(HookTensor::Flat(_)) | None => {}
                }
            }
        }
        for capture in &step.captures {
            let at = places[&capture.lane];
            let tensor = match values.get(&capture.hook).ok_or_else(left_out)? {
                HookTensor::Flat(all) => {
                    let span = place_of(capture.hook, at).ok_or_else(left_out)?;
                    within(&|tokens| all.part(tokens), &span, &capture.positions)
                }
                HookTensor::PerLane(tensors) => tensors[at].clone(),
            };
            self.capture(capture.value, tensor)?;
        }
        Ok(())
    }

    /// The keys or values that a lane made at some positions, with whether they are set.
    pub(super) fn key_part(
        &mut self,
        spec: &ModelSpec,
        stage: usize,
        maker: LaneId,
        positions: &Range<usize>,
        input: NodeId,
        hook: HookId,
    ) -> Result<(Tensor, bool), Diagnostic> {
        let info = &self.schedule.lanes[maker.index()];
        match info.writes.iter().find(|write| info.stage == stage && write.hook == hook) {
            Some(write) => Ok((self.written_value(spec, info, write, positions)?, true)),
            None => Ok((Tensor::joined(&self.input(spec, maker, input, positions)?), false)),
        }
    }

    fn is_used(&self, lane: LaneId, node: NodeId) -> bool {
        self.lane_uses.get(&(lane, node)).is_some_and(|uses| *uses > 0)
    }

    /// Keeps what later steps use.
    fn keep_lane(&mut self, lane: LaneId, node: NodeId, span: &Span, tensor: Tensor) {
        if self.is_used(lane, node) {
            self.lanes.insert((lane, node), LaneValue { batch: span.batch, positions: span.positions.clone(), tensor });
        }
    }

    /// Gives a value of the program what was found at a hook, under the shape that it has there.
    fn capture(&mut self, value: NodeId, tensor: Tensor) -> Result<(), Diagnostic> {
        if let Type::Tensor(ty) = self.program.ty(value) {
            let frame = &self.frame;
            let size = |dim: &Dim| dim.as_usize().or_else(|| dim.substitute(&|symbol| frame.size(symbol)).as_usize());
            let sizes: Option<Vec<usize>> = ty.shape.iter().map(size).collect();
            let tensor = match sizes {
                Some(sizes) => tensor.reshaped(sizes),
                // What depends on when a loop ended: scores, which have their shape.
                None if tensor.shape().len() == ty.shape.len() => tensor,
                None => return Err(failed(format!("the sizes of {ty} are not known"))),
            };
            // A part must not keep a whole flat batch in memory.
            self.store(value, Ok(Value::Tensor(tensor.compacted())));
        }
        Ok(())
    }
}

/// Where each lane is in a step.
fn places(step: &StageStep) -> HashMap<LaneId, usize> {
    step.lanes.iter().enumerate().map(|(at, lane)| (*lane, at)).collect()
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

/// Some positions of [batch, length, …], as [batch * positions, …].
fn at_positions(tensor: &Tensor, positions: &Range<usize>) -> Tensor {
    let (batch, length) = (tensor.shape()[0], tensor.shape()[1]);
    let sizes: Vec<usize> = [batch * length].into_iter().chain(tensor.shape()[2..].iter().copied()).collect();
    let all = tensor.reshaped(sizes);
    if *positions == (0..length) {
        return all;
    }
    let parts = (0..batch).map(|at| all.part(at * length + positions.start..at * length + positions.end));
    let parts: Vec<Tensor> = parts.collect();
    if parts.is_empty() { all } else { Tensor::joined(&parts) }
}

/// Some positions of the tokens of a lane, of a flat tensor.
fn within(all: &dyn Fn(Range<usize>) -> Tensor, span: &Span, positions: &Range<usize>) -> Tensor {
    if span.positions == *positions {
        return all(span.tokens());
    }
    let start = |at: usize| span.start + at * span.positions.len() + positions.start.saturating_sub(span.positions.start);
    let parts: Vec<Tensor> = (0..span.batch).map(|at| all(start(at)..start(at) + positions.len())).collect();
    if parts.is_empty() { all(0..0) } else { Tensor::joined(&parts) }
}
