//! The driver's values, simulated: what is alive when, each until its last use.

use std::collections::{BTreeMap, HashMap};

use irc_ir::{
    graph::{EffectKind, NodeId},
    model::StageKind,
    plan::{Joined, Kept, LaneId, Pieces, Schedule, StageStep, Step},
    types::Name,
    verify::Verified,
};

use super::{bytes, bytes_of_a_token, stage::Ran, tokens};
use crate::takes::{self, Takes};

/// Where elements lie. Several values may be parts of one.
type Buffer = usize;

/// Where the values of a flat batch lie: one piece after the other, each with its number of tokens.
type Pieced = Vec<(Buffer, u64)>;

/// Some tokens of a lane: where they lie, and from which token on.
#[derive(Clone)]
struct Part {
    buffer: Buffer,
    start: u64,
    tokens: u64,
}

/// The value of a lane, sequence by sequence.
struct LaneValue {
    buffer: Buffer,
    start: u64,
    positions: std::ops::Range<usize>,
}

pub(super) struct Memory<'a> {
    program: &'a Verified,
    takes: Takes<'a>,
    sizes: BTreeMap<Name, Vec<u64>>,
    /// Bytes, and how many values are there.
    buffers: Vec<(u64, u32)>,
    free: Vec<Buffer>,
    uses: Vec<u32>,
    values: Vec<Option<Buffer>>,
    lane_uses: HashMap<(LaneId, NodeId), u32>,
    lanes: HashMap<(LaneId, NodeId), LaneValue>,
    live: u64,
    most_of_step: u64,
    peak: u64,
}

impl<'a> Memory<'a> {
    pub(super) fn new(program: &'a Verified, schedule: &'a Schedule) -> Memory<'a> {
        let takes = Takes { program, schedule };
        let sizes = program.models().iter().map(|(name, spec)| (name.clone(), bytes_of_a_token(spec))).collect();
        let mut uses = vec![0; program.graph().len()];
        let mut lane_uses: HashMap<(LaneId, NodeId), u32> = HashMap::new();
        for step in &schedule.steps {
            let taken = takes.of(step);
            taken.lanes.into_iter().for_each(|key| *lane_uses.entry(key).or_default() += 1);
            taken.values.into_iter().for_each(|value| uses[value.index()] += 1);
        }
        let values = vec![None; uses.len()];
        let (buffers, free, lanes) = Default::default();
        Memory { program, takes, sizes, buffers, free, uses, values, lane_uses, lanes, live: 0, most_of_step: 0, peak: 0 }
    }

    pub(super) fn takes(&self) -> Takes<'a> {
        self.takes
    }

    pub(super) fn begin_step(&mut self) {
        self.most_of_step = self.live;
    }

    pub(super) fn most_of_step(&self) -> u64 {
        self.most_of_step
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// New elements, held once.
    fn make(&mut self, bytes: u64) -> Buffer {
        self.live += bytes;
        self.most_of_step = self.most_of_step.max(self.live);
        self.peak = self.peak.max(self.live);
        match self.free.pop() {
            Some(free) => {
                self.buffers[free] = (bytes, 1);
                free
            }
            None => {
                self.buffers.push((bytes, 1));
                self.buffers.len() - 1
            }
        }
    }

    fn hold(&mut self, buffer: Buffer) -> Buffer {
        self.buffers[buffer].1 += 1;
        buffer
    }

    fn release(&mut self, buffer: Buffer) {
        let (bytes, held) = &mut self.buffers[buffer];
        *held -= 1;
        if *held == 0 {
            self.live -= *bytes;
            self.free.push(buffer);
        }
    }

    /// A use of a value of the program: it is held until it is dropped.
    fn take(&mut self, value: NodeId) -> Option<Buffer> {
        let uses = &mut self.uses[value.index()];
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            return self.values[value.index()].take();
        }
        let buffer = self.values[value.index()]?;
        Some(self.hold(buffer))
    }

    fn take_all(&mut self, values: &[NodeId]) -> Vec<Buffer> {
        values.iter().filter_map(|value| self.take(*value)).collect()
    }

    /// Gives a value its elements, which are held already.
    fn store(&mut self, value: NodeId, buffer: Buffer) {
        match self.uses[value.index()] {
            0 => self.release(buffer),
            _ => self.values[value.index()] = Some(buffer),
        }
    }

    /// Some positions of a value of lanes, which thereby is used once; held.
    fn parts(&mut self, pieces: &Pieces, node: NodeId, parts: &mut Vec<Part>) {
        let batch = pieces.first().map_or(0, |(lane, _)| self.takes.schedule.lanes[lane.index()].batch);
        let whole = |value: &LaneValue| match pieces.as_slice() {
            [(_, positions)] if value.positions == *positions => true,
            _ => batch == 1,
        };
        let from = parts.len();
        for sequence in 0..batch as u64 {
            for (lane, positions) in pieces {
                let Some(value) = self.lanes.get(&(*lane, node)) else { continue };
                if sequence > 0 && pieces.len() == 1 && whole(value) {
                    continue;
                }
                let each = value.positions.len() as u64;
                let skipped = positions.start.saturating_sub(value.positions.start) as u64;
                let all = if pieces.len() == 1 && whole(value) { batch as u64 } else { 1 };
                let part =
                    Part { buffer: value.buffer, start: value.start + sequence * each + skipped, tokens: all * positions.len() as u64 };
                parts.push(part);
            }
        }
        for part in &parts[from..] {
            self.buffers[part.buffer].1 += 1;
        }
        for (lane, _) in pieces {
            self.let_go(*lane, node);
        }
    }

    fn let_go(&mut self, lane: LaneId, node: NodeId) {
        let Some(uses) = self.lane_uses.get_mut(&(lane, node)) else { return };
        *uses = uses.saturating_sub(1);
        if *uses == 0
            && let Some(value) = self.lanes.remove(&(lane, node))
        {
            self.release(value.buffer);
        }
    }

    /// Parts put together: where they lie beside each other, nothing is made.
    fn together(&mut self, parts: &[Part], bytes_of_a_token: u64) -> Option<Buffer> {
        let first = parts.first()?.buffer;
        let neighbours = parts.windows(2).all(|pair| pair[0].buffer == pair[1].buffer && pair[0].start + pair[0].tokens == pair[1].start);
        let whole = match neighbours {
            true => self.hold(first),
            false => self.make(parts.iter().map(|part| part.tokens).sum::<u64>() * bytes_of_a_token),
        };
        parts.iter().for_each(|part| self.release(part.buffer));
        Some(whole)
    }

    pub(super) fn join(&mut self, join: &Joined) {
        let Some((lane, _)) = join.pieces.first() else { return };
        let size = self.sizes[&self.takes.schedule.lanes[lane.index()].model][join.node.index()];
        let mut parts = vec![];
        self.parts(&join.pieces, join.node, &mut parts);
        if let Some(buffer) = self.together(&parts, size) {
            self.store(join.value, buffer);
        }
    }

    /// A forward that is kept takes what it is made of, and holds it to the end.
    pub(super) fn keep(&mut self, kept: &Kept) {
        let taken = self.takes.of(&Step::Keep(kept.clone()));
        let bytes = taken.lanes.iter().filter_map(|key| Some(self.buffers[self.lanes.get(key)?.buffer].0)).sum();
        taken.lanes.into_iter().for_each(|(lane, node)| self.let_go(lane, node));
        let operands = self.take_all(&taken.values);
        operands.into_iter().for_each(|operand| self.release(operand));
        self.make(bytes);
    }

    /// Operations on the host, of which `id` is the last.
    pub(super) fn host(&mut self, step: &Step, id: NodeId) {
        let taken = self.takes.of(step).values;
        let operands = self.take_all(&taken);
        let made = self.make(bytes(self.program.ty(id)));
        operands.into_iter().for_each(|operand| self.release(operand));
        self.store(id, made);
    }

    /// What the iterations of a loop own beside what is there already.
    pub(super) fn beside(&mut self, bytes: u64) {
        let made = self.make(bytes);
        self.release(made);
    }

    pub(super) fn effect(&mut self, at: usize) {
        let effect = &self.program.graph().effects[at];
        let taken = self.takes.of(&Step::Effect(at)).values;
        let operands = self.take_all(&taken);
        if let (EffectKind::Save { .. }, Some(&saved)) = (&effect.kind, operands.first()) {
            // A part of something larger is copied, and the results hold it to the end.
            let own = bytes(self.program.ty(effect.operands[0]));
            if self.buffers[saved].0 > 2 * own {
                self.make(own)
            } else {
                self.hold(saved)
            };
        }
        operands.into_iter().for_each(|operand| self.release(operand));
        if let Some(result) = self.takes.schedule.results[at] {
            let made = self.make(bytes(self.program.ty(result)));
            self.store(result, made);
        }
    }

    pub(super) fn stage(&mut self, step: &StageStep, ran: &Ran) {
        let takes = self.takes;
        let spec = &self.program.models()[&step.model];
        let stage = &spec.stages()[step.stage];
        let all = step.lanes.iter().zip(&step.positions).map(|(lane, at)| tokens(takes.schedule.lanes[lane.index()].batch, at)).sum();
        let mut known: HashMap<NodeId, Pieced> = HashMap::new();
        for &input in takes::own_inputs(spec, step) {
            let mut parts = vec![];
            for (&lane, positions) in step.lanes.iter().zip(&step.positions) {
                self.parts(&takes.pieces(spec, lane, input, positions), input, &mut parts);
            }
            let size = self.sizes[&step.model][input.index()];
            known.extend(self.together(&parts, size).map(|whole| (input, vec![(whole, all)])));
        }
        let mut held = vec![];
        // What is set, and what edits are made of: both as large as the hook.
        let (mut set, mut flat): (BTreeMap<NodeId, Vec<Buffer>>, u64) = Default::default();
        for (&lane, positions) in step.lanes.iter().zip(&step.positions) {
            let info = &takes.schedule.lanes[lane.index()];
            for write in info.writes.iter().filter(|_| info.stage == step.stage) {
                let buffers = self.take_all(&write.operands());
                let node = spec.hook_info(write.hook).node;
                match write.edit {
                    None => set.entry(node).or_default().extend(buffers),
                    Some(_) => held.extend(buffers),
                }
                flat += tokens(info.batch, positions) * self.sizes[&step.model][node.index()];
            }
            if step.inputs.iter().any(|input| takes::is_given(spec, *input)) {
                held.extend(info.tokens.and_then(|tokens| self.take(tokens)));
            }
        }
        for (node, buffers) in set {
            match buffers.as_slice() {
                [one] => drop(known.insert(node, vec![(*one, all)])),
                _ => {
                    known.insert(node, vec![(self.make(flat), all)]);
                    held.extend(buffers);
                }
            }
        }
        if let StageKind::Attention(attention) = &stage.kind {
            let keys = takes.keys(spec, step);
            for (which, hook) in takes.keys_looked_at(step, spec, attention) {
                let input = attention.inputs[which];
                for (maker, positions) in &keys.parts {
                    match takes.written(*maker, step.stage, hook) {
                        Some(write) => held.extend(self.take_all(&write.operands())),
                        None => {
                            let mut parts = vec![];
                            self.parts(&takes.pieces(spec, *maker, input, positions), input, &mut parts);
                            let size = self.sizes[&step.model][input.index()];
                            held.extend(self.together(&parts, size));
                        }
                    }
                }
            }
        }
        for (node, bytes, chunks) in &ran.made {
            let made = chunks.iter().map(|tokens| (self.make(bytes * tokens), *tokens)).collect();
            for (before, _) in known.insert(*node, made).unwrap_or_default() {
                self.release(before);
            }
        }
        let beside = self.make(ran.beside);
        self.release(beside);
        self.give(step, &known);
        known.into_values().flatten().map(|(buffer, _)| buffer).chain(held).for_each(|buffer| self.release(buffer));
    }

    /// What later steps use of what is known in a stage: parts of it.
    fn give(&mut self, step: &StageStep, known: &HashMap<NodeId, Pieced>) {
        let spec = &self.program.models()[&step.model];
        let find = |mut node: NodeId| loop {
            match known.get(&node) {
                Some(pieces) => return Some(pieces),
                None if spec.source(node) != node => node = spec.graph().node(node).operands[0],
                None => return None,
            }
        };
        let mut start = 0;
        let mut places = HashMap::new();
        for (place, (&lane, positions)) in step.lanes.iter().zip(&step.positions).enumerate() {
            let batch = self.takes.schedule.lanes[lane.index()].batch;
            places.insert(lane, (place, start));
            let own = start..start + tokens(batch, positions);
            for &output in &step.outputs {
                if self.lane_uses.get(&(lane, output)).is_some_and(|uses| *uses > 0)
                    && let Some(pieces) = find(output)
                {
                    let size = self.sizes[&step.model][output.index()];
                    let (buffer, start) = self.part(pieces, &own, size);
                    self.lanes.insert((lane, output), LaneValue { buffer, start, positions: positions.clone() });
                }
            }
            start = own.end;
        }
        for capture in &step.captures {
            let (place, start) = places[&capture.lane];
            let own = bytes(self.program.ty(capture.value));
            let buffer = match find(spec.hook_info(capture.hook).node) {
                Some(pieces) if !spec.is_square(capture.hook) => {
                    let (batch, computed) = (self.takes.schedule.lanes[capture.lane.index()].batch, &step.positions[place]);
                    let from = start + capture.positions.start.saturating_sub(computed.start) as u64;
                    let shown = from..from + tokens(batch, &capture.positions);
                    let size = self.sizes[&step.model][spec.hook_info(capture.hook).node.index()];
                    match batch == 1 || *computed == capture.positions {
                        true => {
                            let (buffer, _) = self.part(pieces, &shown, size);
                            // A small part of a batch is copied, so that it does not keep the batch.
                            let copied = (self.buffers[buffer].0 > 2 * own).then(|| self.make(own));
                            copied.inspect(|_| self.release(buffer)).unwrap_or(buffer)
                        }
                        false => self.make(own),
                    }
                }
                _ => self.make(own),
            };
            self.store(capture.value, buffer);
        }
    }

    /// Some tokens of a flat batch, held: where they lie, and from which token on. They are copied unless one piece has them.
    fn part(&mut self, pieces: &Pieced, tokens: &std::ops::Range<u64>, bytes_of_a_token: u64) -> (Buffer, u64) {
        let mut start = 0;
        for (buffer, count) in pieces {
            if tokens.start >= start && tokens.end <= start + count {
                return (self.hold(*buffer), tokens.start - start);
            }
            start += count;
        }
        (self.make((tokens.end - tokens.start) * bytes_of_a_token), 0)
    }
}
