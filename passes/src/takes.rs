//! What a step of a schedule takes of what earlier steps made. The driver takes it, and counts by it when a value goes;
//! [`cost`](crate::cost()) does the same before anything runs.

use std::{collections::HashMap, ops::Range};

use irc_ir::{
    graph::NodeId,
    model::{Attention, HookId, ModelSpec, StageKind},
    op::Op,
    plan::{Kept, KeyPiece, Lane, LaneId, Past, Pieces, Schedule, StageStep, Step, Write, hull},
    types::Type,
    verify::Verified,
};

/// What a step takes: values of lanes, and values of the program. Each is counted as often as it is taken.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Taken {
    /// A lane, and the node of the model whose value it has.
    pub lanes: Vec<(LaneId, NodeId)>,
    /// Values of the program.
    pub values: Vec<NodeId>,
    /// Forwards that come from outside or are kept.
    pub forwards: Vec<NodeId>,
}

/// The keys that an attention step looks at: of each lane that made some, which positions.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Keys {
    /// In the order of their first use.
    pub parts: Vec<(LaneId, Range<usize>)>,
    /// Where each lane is among the parts.
    pub place: HashMap<LaneId, usize>,
    /// The forwards from outside that have keys, too.
    pub given: Vec<NodeId>,
}

/// A schedule with its program.
#[derive(Clone, Copy, Debug)]
pub struct Takes<'a> {
    /// The program.
    pub program: &'a Verified,
    /// Its schedule.
    pub schedule: &'a Schedule,
}

impl Takes<'_> {
    fn lane(&self, lane: LaneId) -> &Lane {
        &self.schedule.lanes[lane.index()]
    }

    /// What a step takes.
    pub fn of(&self, step: &Step) -> Taken {
        let graph = self.program.graph();
        let value = |node: &NodeId| self.schedule.values[node.index()];
        match step {
            Step::Host(id) => self.used(graph.node(*id).operands.iter().map(value)),
            Step::Kernel(chain) => Taken { values: self.of_chain(chain), ..Taken::default() },
            Step::Effect(at) => self.used(graph.effects[*at].uses().map(|used| value(&used))),
            Step::Join(join) => {
                let mut taken = Taken::default();
                join.pieces.iter().for_each(|(lane, _)| self.take(&mut taken, *lane, join.node));
                taken
            }
            Step::Keep(kept) => self.of_kept(kept),
            Step::Stage(step) => self.of_stage(step),
        }
    }

    /// Values that are used, of which some may be forwards.
    pub fn used(&self, values: impl Iterator<Item = NodeId>) -> Taken {
        let (forwards, values) = values.partition(|value| matches!(self.program.ty(*value), Type::Forward(_)));
        Taken { values, forwards, ..Taken::default() }
    }

    /// A value of the model that a lane has, or a forward from outside.
    fn take(&self, taken: &mut Taken, maker: LaneId, node: NodeId) {
        match self.lane(maker) {
            Lane { given: Some(given), parent: None, .. } => taken.forwards.push(*given),
            _ => taken.lanes.push((maker, node)),
        }
    }

    fn of_kept(&self, kept: &Kept) -> Taken {
        let info = self.lane(kept.lane);
        let spec = &self.program.models()[&info.model];
        let mut taken = Taken::default();
        for &node in &kept.keep.nodes {
            let pieces = self.pieces_of_kept(spec, kept, node);
            pieces.into_iter().for_each(|(maker, _)| self.take(&mut taken, maker, node));
        }
        if kept.keep.extends {
            for (at, stage) in spec.stages().iter().enumerate() {
                let StageKind::Attention(attention) = &stage.kind else { continue };
                for piece in self.schedule.key_pieces(kept.lane, at, info.length) {
                    let KeyPiece::Made(maker, positions) = piece else { continue };
                    for (hook, input) in [(attention.k, attention.inputs[1]), (attention.v, attention.inputs[2])] {
                        self.take_key(&mut taken, spec, maker, (at, hook, input), &positions);
                    }
                }
            }
        }
        // Its token ids, and once all keys of the past.
        taken.values.extend(info.tokens);
        taken.forwards.extend(info.given.into_iter().chain(self.past(kept.lane)));
        taken
    }

    /// The pieces of a value that is kept.
    pub fn pieces_of_kept(&self, spec: &ModelSpec, kept: &Kept, node: NodeId) -> Pieces {
        let length = self.lane(kept.lane).length;
        let stage = spec.stage_of(node);
        match spec.hook_at(node).is_some_and(|hook| spec.is_square(hook)) {
            true => [(self.schedule.lane_at(kept.lane, stage, usize::MAX), 0..length)].into_iter().collect(),
            false => self.schedule.pieces(kept.lane, stage, 0..length),
        }
    }

    /// The forward from outside that a lane goes on from, at whatever distance; not that of its own rows.
    pub fn past(&self, lane: LaneId) -> Option<NodeId> {
        let mut at = lane;
        while let Some(Past::Lane(before)) = self.lane(at).past {
            at = before;
        }
        self.lane(at).given.filter(|_| at != lane)
    }

    /// The number of positions before position 0 of a lane; of forwards from outside what their types say, 0 where that is unknown.
    pub fn past_length(&self, lane: LaneId) -> usize {
        let size = |given: NodeId| match self.program.ty(given) {
            Type::Forward(ty) => ty.past.as_usize().unwrap_or(0),
            _ => 0,
        };
        let (mut count, mut at) = (0, lane);
        while let Some(past) = self.lane(at).past {
            match past {
                Past::Before(given) => return count + size(given),
                Past::Lane(before) => {
                    count += self.lane(before).length;
                    at = before;
                }
            }
        }
        count
    }

    /// A key, or what a write makes of it.
    fn take_key(
        &self,
        taken: &mut Taken,
        spec: &ModelSpec,
        maker: LaneId,
        (stage, hook, input): (usize, HookId, NodeId),
        positions: &Range<usize>,
    ) {
        match self.written(maker, stage, hook) {
            Some(write) => taken.values.extend(write.operands()),
            None => self.pieces(spec, maker, input, positions).into_iter().for_each(|(maker, _)| self.take(taken, maker, input)),
        }
    }

    /// The values that a chain of operations takes, each once, in the order of their first use.
    pub fn of_chain(&self, chain: &[NodeId]) -> Vec<NodeId> {
        let mut operands: Vec<NodeId> = vec![];
        for operand in chain.iter().flat_map(|id| &self.program.graph().node(*id).operands) {
            let operand = self.schedule.values[operand.index()];
            if chain.binary_search(&operand).is_err() && !operands.contains(&operand) {
                operands.push(operand);
            }
        }
        operands
    }

    fn of_stage(&self, step: &StageStep) -> Taken {
        let spec = &self.program.models()[&step.model];
        let mut taken = Taken::default();
        let looks_at_tokens = step.inputs.iter().any(|input| is_given(spec, *input));
        for (&lane, positions) in step.lanes.iter().zip(&step.positions) {
            let info = self.lane(lane);
            let writes = info.writes.iter().filter(|_| info.stage == step.stage);
            taken.values.extend(writes.flat_map(Write::operands));
            if looks_at_tokens {
                taken.values.extend(info.tokens);
                taken.forwards.extend(info.given);
            }
            for &input in own_inputs(spec, step) {
                self.pieces(spec, lane, input, positions).into_iter().for_each(|(maker, _)| self.take(&mut taken, maker, input));
            }
        }
        if let StageKind::Attention(attention) = &spec.stages()[step.stage].kind {
            let keys = self.keys(spec, step);
            for (which, hook) in self.keys_looked_at(step, spec, attention) {
                for (maker, positions) in &keys.parts {
                    self.take_key(&mut taken, spec, *maker, (step.stage, hook, attention.inputs[which]), positions);
                }
            }
            taken.forwards.extend(keys.given);
        }
        taken
    }

    /// The lanes that made positions of an input.
    pub fn pieces(&self, spec: &ModelSpec, lane: LaneId, input: NodeId, positions: &Range<usize>) -> Pieces {
        self.schedule.pieces(lane, spec.stage_of(input), positions.clone())
    }

    /// The positions that the lanes of an attention step look at as keys, by who made them.
    pub fn keys(&self, spec: &ModelSpec, step: &StageStep) -> Keys {
        let mut keys = Keys::default();
        for (&lane, positions) in step.lanes.iter().zip(&step.positions) {
            for piece in self.schedule.key_pieces(lane, step.stage, self.key_positions(spec, lane, positions).end) {
                let (maker, positions) = match piece {
                    KeyPiece::Made(maker, positions) => (maker, positions),
                    KeyPiece::Given(given, _) | KeyPiece::Before(given) => {
                        if !keys.given.contains(&given) {
                            keys.given.push(given);
                        }
                        continue;
                    }
                };
                let place = *keys.place.entry(maker).or_insert(keys.parts.len());
                match keys.parts.get_mut(place) {
                    Some((_, all)) => *all = hull(all, &positions),
                    None => keys.parts.push((maker, positions)),
                }
            }
        }
        keys
    }

    /// The positions that queries at some positions of a lane look at.
    pub fn key_positions(&self, spec: &ModelSpec, lane: LaneId, positions: &Range<usize>) -> Range<usize> {
        0..if spec.causal() { positions.end } else { self.lane(lane).length }
    }

    /// Those of k (1) and v (2) that a step looks at.
    pub fn keys_looked_at(&self, step: &StageStep, spec: &ModelSpec, attention: &Attention) -> Vec<(usize, HookId)> {
        let wanted = |hook: HookId| is_wanted(spec, step, hook);
        // All lanes of a step set the same hooks.
        let set = |hook: HookId| step.lanes.first().is_some_and(|lane| self.written(*lane, step.stage, hook).is_some());
        let [_, k, v] = looks(attention, &wanted, &set);
        [(1, attention.k, k), (2, attention.v, v)].into_iter().filter(|(.., looks)| *looks).map(|(at, hook, _)| (at, hook)).collect()
    }

    /// What a lane sets at a hook of a stage.
    pub fn written(&self, lane: LaneId, stage: usize, hook: HookId) -> Option<&Write> {
        let info = self.lane(lane);
        info.writes.iter().find(|write| info.stage == stage && write.hook == hook)
    }
}

/// Which of queries, keys and values a stage looks at for some hooks, while others are set.
pub fn looks(hooks: &Attention, wanted: &dyn Fn(HookId) -> bool, set: &dyn Fn(HookId) -> bool) -> [bool; 3] {
    let z = wanted(hooks.z) && !set(hooks.z);
    let pattern = (z || wanted(hooks.pattern)) && !set(hooks.pattern);
    let scores = (pattern || wanted(hooks.scores)) && !set(hooks.scores);
    [scores || wanted(hooks.q), scores || wanted(hooks.k), z || wanted(hooks.v)]
}

/// The nodes that a step is to make known: what later stages take, and what the program asks for.
pub fn wanted(spec: &ModelSpec, step: &StageStep) -> Vec<NodeId> {
    step.outputs.iter().copied().chain(step.captures.iter().map(|capture| spec.hook_info(capture.hook).node)).collect()
}

/// Whether a hook is among them.
pub fn is_wanted(spec: &ModelSpec, step: &StageStep, hook: HookId) -> bool {
    step.outputs.contains(&spec.hook_info(hook).node) || step.captures.iter().any(|capture| capture.hook == hook)
}

/// The inputs that each lane takes for its own tokens: all that are not of the model, or of an attention stage the queries.
pub fn own_inputs<'a>(spec: &'a ModelSpec, step: &'a StageStep) -> impl Iterator<Item = &'a NodeId> {
    let queries = match &spec.stages()[step.stage].kind {
        StageKind::Attention(attention) => Some(attention.inputs[0]),
        StageKind::Positionwise => None,
    };
    step.inputs.iter().filter(move |input| !is_given(spec, **input) && queries.is_none_or(|queries| queries == **input))
}

/// Whether an input of a stage is one of the model: what no lane makes.
pub fn is_given(spec: &ModelSpec, input: NodeId) -> bool {
    matches!(spec.graph().node(input).op, Op::Input { .. })
}
