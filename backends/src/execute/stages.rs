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
    plan::{Joined, Lane, LaneId, Pieces, StageStep, Write},
    tensor::Tensor,
    types::Type,
};

use irc_passes::takes;

use super::{Execution, LaneValue};
use crate::{
    LoadedModel,
    attention_stage::{AttentionStage, HookTensor, KeyRange, Request, Span},
    edit::Edit,
    failed,
    positionwise::{Flat, FlatBatch},
    steps::check_ids,
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
    fn collected(&mut self, pieces: &Pieces, node: NodeId) -> Result<Vec<Tensor>, Diagnostic> {
        let mut parts = vec![];
        match pieces.as_slice() {
            [(lane, positions)] => {
                let value = self.lane_value(*lane, node)?;
                if value.positions == *positions {
                    parts.push(value.tensor.clone());
                } else {
                    (0..value.batch).for_each(|at| parts.push(value.part(at, positions)));
                }
            }
            several => {
                for sequence in 0..several.first().map_or(0, |(lane, _)| self.lane(*lane).batch) {
                    for (lane, positions) in several {
                        parts.push(self.lane_value(*lane, node)?.part(sequence, positions));
                    }
                }
            }
        }
        for (lane, _) in pieces {
            self.let_go(*lane, node);
        }
        Ok(parts)
    }

    fn lane_value(&self, lane: LaneId, node: NodeId) -> Result<&LaneValue, Diagnostic> {
        let missing = || failed(format!("the schedule uses node {node:?} of lane {} before it is there", lane.index()));
        self.lanes.get(&(lane, node)).ok_or_else(missing)
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
        let parts = self.collected(&join.pieces, join.node)?;
        self.capture(join.value, Tensor::joined(&parts));
        Ok(())
    }

    pub(super) fn stage(&mut self, step: &StageStep) -> Result<(), Diagnostic> {
        let spec = self.program.models()[&step.model].clone();
        let ready = self.ready[&step.model].clone();
        let spans = self.spans(step);
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
    fn spans(&self, step: &StageStep) -> Vec<Span> {
        let mut start = 0;
        let span = |(lane, positions): (&LaneId, &Range<usize>)| {
            let info = self.lane(*lane);
            let span = Span { start, batch: info.batch, positions: positions.clone(), length: info.length, keys: vec![] };
            start += span.count();
            span
        };
        step.lanes.iter().zip(&step.positions).map(span).collect()
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
        let sizes = hook_sizes(spec, write.hook, lane.batch, lane.length - write.from)?;
        let value = self.take_tensor(write.value)?.reshaped(sizes);
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
        let (caps, cancel) = (self.caps, self.cancel);
        let (crossed, time) = Default::default();
        let mut batch = FlatBatch { spec, model, caps, cancel, tokens, known, edits, crossed, time };
        batch.compute(&takes::wanted(spec, step))?;

        for &output in &step.outputs {
            let all = batch.get(output).ok_or_else(|| failed("the engine left an output out"))?;
            for (&lane, span) in step.lanes.iter().zip(spans) {
                self.keep(lane, output, span, all.part(span.tokens()));
            }
        }
        let places = places(step);
        for capture in &step.captures {
            let all = batch.get(spec.hook_info(capture.hook).node).ok_or_else(|| failed("the engine left a hook out"))?;
            let part = |tokens: Range<usize>| all.part(tokens);
            self.capture(capture.value, within(&part, &spans[places[&capture.lane]], &capture.positions));
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
                    (0..span.batch).for_each(|_| flat.extend(span.positions.clone().map(|position| position as i64)));
                }
            } else if step.inputs.contains(&id) {
                for (lane, span) in step.lanes.iter().zip(spans) {
                    let info = &self.schedule.lanes[lane.index()];
                    let place = info.tokens.ok_or_else(|| failed("an applied module has no tokens"))?;
                    let ids = self.take_tensor(place)?.reshaped([info.batch, info.length]);
                    check_ids(self.program, spec, id, &ids, place)?;
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
        for (&lane, span) in step.lanes.iter().zip(&mut spans) {
            let pieces = self.schedule.pieces(lane, step.stage, self.takes.key_positions(spec, lane, &span.positions));
            span.keys = pieces.into_iter().map(|(maker, positions)| (keys.place[&maker], positions)).collect();
        }
        let mut start_of_part = 0;
        let ranges = keys.parts.iter().map(|(maker, positions)| {
            let range = KeyRange { start: start_of_part, batch: self.lane(*maker).batch, positions: positions.clone() };
            start_of_part += range.batch * positions.len();
            range
        });
        let ranges: Vec<KeyRange> = ranges.collect();
        let mut keys_and_values = [None, None];
        for (which, hook) in self.takes.keys_looked_at(step, spec, shape) {
            keys_and_values[which - 1] = Some(self.key_parts(step, spec, &keys, shape.inputs[which], hook)?);
        }
        let mut wanted: BTreeMap<HookId, Vec<bool>> = BTreeMap::new();
        for &output in &step.outputs {
            let hook = spec.hook_at(output).ok_or_else(|| failed("attention stages give hooks"))?;
            wanted.insert(hook, vec![true; spans.len()]);
        }
        let places = places(step);
        for capture in &step.captures {
            wanted.entry(capture.hook).or_insert_with(|| vec![false; spans.len()])[places[&capture.lane]] = true;
        }
        let queries = inputs.get(&shape.inputs[0]);
        let request = Request { lanes: &spans, keys: &ranges, queries, keys_and_values, written, wanted, cancel: self.cancel };
        let values = attention.run(&request)?;
        self.outcome.report.attention_time += start.elapsed();

        // Keys and values of a lane are where its own part is.
        let place_of = |hook: HookId, at: usize| match hook == shape.k || hook == shape.v {
            true => keys.place.get(&step.lanes[at]).map(|part| {
                let KeyRange { start, batch, positions } = ranges[*part].clone();
                Span { start, batch, positions, ..spans[at].clone() }
            }),
            false => Some(spans[at].clone()),
        };
        let left_out = || failed("attention left a hook out");
        for &output in &step.outputs {
            let hook = spec.hook_at(output).unwrap_or(shape.z);
            for (at, &lane) in step.lanes.iter().enumerate() {
                if self.is_used(lane, output)
                    && let Some(HookTensor::Flat(all)) = values.get(&hook)
                {
                    let span = place_of(hook, at).ok_or_else(left_out)?;
                    self.keep(lane, output, &span, all.part(span.tokens()));
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
            self.capture(capture.value, tensor);
        }
        Ok(())
    }

    /// The keys or values of an attention step, part by part, each with whether it is set.
    fn key_parts(
        &mut self,
        step: &StageStep,
        spec: &ModelSpec,
        keys: &takes::Keys,
        input: NodeId,
        hook: HookId,
    ) -> Result<Vec<(Tensor, bool)>, Diagnostic> {
        let schedule = self.schedule;
        let mut parts = Vec::with_capacity(keys.parts.len());
        for (maker, positions) in &keys.parts {
            let info = &schedule.lanes[maker.index()];
            let write = info.writes.iter().find(|write| info.stage == step.stage && write.hook == hook);
            parts.push(match write {
                Some(write) => {
                    let value = self.written_value(spec, info, write, positions)?;
                    (value, true)
                }
                None => (Tensor::joined(&self.input(spec, *maker, input, positions)?), false),
            });
        }
        Ok(parts)
    }

    fn is_used(&self, lane: LaneId, node: NodeId) -> bool {
        self.lane_uses.get(&(lane, node)).is_some_and(|uses| *uses > 0)
    }

    /// Keeps what later steps use.
    fn keep(&mut self, lane: LaneId, node: NodeId, span: &Span, tensor: Tensor) {
        if self.is_used(lane, node) {
            self.lanes.insert((lane, node), LaneValue { batch: span.batch, positions: span.positions.clone(), tensor });
        }
    }

    /// Gives a value of the program what was found at a hook, under the shape that it has there.
    fn capture(&mut self, value: NodeId, tensor: Tensor) {
        if let Type::Tensor(ty) = self.program.ty(value) {
            let sizes: Vec<usize> = ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
            // A part must not keep a whole flat batch in memory.
            self.store(value, Ok(Value::Tensor(tensor.reshaped(sizes).compacted())));
        }
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
