//! What has to be computed, found backwards from the effects: for each lane and stage, which values at which positions.
//!
//! Only hulls of positions are kept, so that what a stage computes for a lane is one range. Stages are settled from the last to
//! the first; where a written value turns out to need a later stage of another lane, that one is settled again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    rc::Rc,
};

use hashbrown::HashMap;
use irc_ir::{
    graph::NodeId,
    model::{Attention, HookId, ModelSpec, StageKind},
    op::Op,
    plan::{Capture, Edit, Joined, Keep, Kept, KeyPiece, Lane, LaneId, Past, Write, hull, key_pieces, lane_at, pieces},
    types::Name,
    verify::Verified,
};

use smallvec::SmallVec;

use super::{BREAK_EVEN_TOKENS, Strategy, lanes::Lanes};
use crate::values::Values;

mod sets;

use sets::{SetId, Sets};

/// A stage of a lane: what it computes, takes, gives and shows. There are many, so it is numbers of what many share.
pub(super) struct Task {
    pub(super) lane: LaneId,
    stage: u32,
    /// The positions that are computed: of those that the lane itself makes.
    pub(super) positions: Range<usize>,
    /// The values that are asked of it.
    wanted: SetId,
    /// Those of them that others take.
    outputs: SetId,
    /// What follows from what is wanted.
    needs: u32,
    /// The place of what it shows, plus one, if it shows anything.
    captures: u32,
    queued: bool,
}

impl Task {
    pub(super) fn stage(&self) -> usize {
        self.stage as usize
    }
}

/// What a stage needs to compute some of its values.
#[derive(Default)]
pub(super) struct Needs {
    /// The values of earlier stages; and the model's token ids, if it looks at them.
    pub(super) inputs: Vec<NodeId>,
    /// Whether the token ids are among them.
    pub(super) tokens: bool,
    /// Of an attention stage, whether it looks at queries, keys and values.
    pub(super) looks: [bool; 3],
    /// Of an attention stage, whether scores or pattern are asked for or set: then all positions are.
    square: bool,
    /// Whether anything is computed: not so where all that is needed is set.
    pub(super) computes: bool,
    /// Multiplications and additions of matrices for a token.
    pub(super) flops: u64,
}

/// What is set in a stage, each hook with whether by an edit.
type Set = SmallVec<[(HookId, bool); 2]>;

/// What makes the needs of stages the same: model, stage, what is wanted, and what is set.
type NeedsKey = (usize, usize, SetId, Set);

/// The search.
pub(super) struct Demand<'a> {
    program: &'a Verified,
    values: &'a Values,
    strategy: Strategy,
    pub(super) lanes: Vec<Lane>,
    of: Lanes<'a>,
    specs: Vec<Rc<Model<'a>>>,
    model_of: Vec<usize>,
    pub(super) tasks: Vec<Task>,
    /// By lane, where its part of `places` begins, plus one: a place for each stage from the first one of the lane on. None
    /// where the lane has no tasks.
    rows: Vec<u32>,
    /// The places of tasks plus one.
    places: Vec<u32>,
    sets: Sets,
    /// The first is that of a task that was not settled yet.
    needs: Vec<Rc<Needs>>,
    known: HashMap<NeedsKey, u32>,
    captures: Vec<SmallVec<[Capture; 1]>>,
    /// By node, whether its value is needed.
    is_wanted: Vec<bool>,
    pub(super) joins: Vec<Joined>,
    /// What has to be kept of forwards that loops take or a body gives.
    keeps: BTreeMap<NodeId, Keep>,
    pub(super) kept: Vec<Kept>,
    queue: Vec<NodeId>,
    /// Tasks that have to be settled, by stage, and the last stage that has some.
    unsettled: Vec<Vec<u32>>,
    last: usize,
}

/// A model, with the stage of each node.
struct Model<'a> {
    spec: &'a ModelSpec,
    stage_of: Vec<u32>,
}

impl<'a> Demand<'a> {
    pub(super) fn new(
        program: &'a Verified,
        values: &'a Values,
        mut of: Lanes<'a>,
        keeps: BTreeMap<NodeId, Keep>,
        strategy: Strategy,
    ) -> Demand<'a> {
        let names: Vec<&Name> = program.models().keys().collect();
        let specs = program.models().values().map(|spec| {
            let stages = spec.stages().iter().enumerate();
            let stage_of = stages.flat_map(|(at, stage)| stage.nodes.clone().map(move |_| at as u32)).collect();
            Rc::new(Model { spec, stage_of })
        });
        let specs = specs.collect();
        let lanes = std::mem::take(&mut of.lanes);
        let model_of = lanes.iter().map(|lane| names.iter().position(|name| **name == lane.model).unwrap_or(0)).collect();
        let rows = vec![0; lanes.len()];
        Demand {
            program,
            values,
            strategy,
            lanes,
            of,
            specs,
            model_of,
            tasks: vec![],
            rows,
            places: vec![],
            sets: Sets::default(),
            needs: vec![Rc::default()],
            known: HashMap::new(),
            captures: vec![],
            is_wanted: vec![false; program.graph().len()],
            joins: vec![],
            keeps,
            kept: vec![],
            queue: vec![],
            unsettled: vec![],
            last: 0,
        }
    }

    fn model(&self, lane: LaneId) -> Rc<Model<'a>> {
        self.specs[self.model_of[lane.index()]].clone()
    }

    /// Asks for a value of the program.
    pub(super) fn want(&mut self, value: NodeId) {
        let value = self.values.of[value.index()];
        if !std::mem::replace(&mut self.is_wanted[value.index()], true) {
            self.queue.push(value);
        }
    }

    /// The values of the program that are needed.
    pub(super) fn wanted(&self) -> impl Iterator<Item = NodeId> {
        self.is_wanted.iter().enumerate().filter(|(_, wanted)| **wanted).map(|(at, _)| NodeId::new(at))
    }

    /// Finds all that follows from what was asked for.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some(value) = self.queue.pop() {
                self.want_value(value);
            } else if let Some(task) = self.unsettled.get_mut(self.last).and_then(Vec::pop) {
                self.tasks[task as usize].queued = false;
                self.need(task as usize);
            } else if self.last > 0 {
                self.last -= 1;
            } else {
                break;
            }
        }
    }

    fn want_value(&mut self, value: NodeId) {
        if let Some(window) = self.values.windows.get(value).filter(|_| self.strategy.positions) {
            self.capture(value, window.of, window.positions.clone());
        } else if let Some(hook) = self.values.hooks.get(value) {
            let length = self.values.bases[hook.forward.base].length;
            self.capture(value, value, 0..length);
        } else if let Some(forward) = self.values.forwards.get(value).filter(|forward| !self.values.comes_from_outside(forward)) {
            let base = &self.values.bases[forward.base];
            base.tokens.into_iter().chain(base.given).for_each(|value| self.want(value));
            self.keep(value);
        } else {
            let operands = &self.program.graph().node(value).operands;
            operands.iter().for_each(|operand| self.want(*operand));
        }
    }

    /// Makes `value` the positions of the value `of` at a hook.
    fn capture(&mut self, value: NodeId, of: NodeId, positions: Range<usize>) {
        let hook = self.values.hooks[of].hook;
        let lane = self.of.of(of);
        let model = self.model(lane);
        let info = model.spec.hook_info(hook);
        if !self.strategy.live {
            let output = model.spec.output();
            if self.lanes[lane.index()].tokens.is_some() {
                let all = 0..self.lanes[lane.index()].length;
                self.request(lane, model.stage_of[output.index()] as usize, output, all);
            }
        }
        let pieces = match model.spec.is_square(hook) {
            true => [(lane_at(&self.lanes, lane, info.stage, usize::MAX).0, positions.clone())].into_iter().collect(),
            false => pieces(&self.lanes, lane, info.stage, positions),
        };
        match pieces.as_slice() {
            [(lane, positions)] if !self.lanes[lane.index()].is_outside() => {
                let task = self.ask(*lane, info.stage, info.node, positions.clone(), false);
                let capture = Capture { lane: *lane, hook, value, positions: positions.clone() };
                match &mut self.tasks[task].captures {
                    new @ 0 => {
                        self.captures.push(SmallVec::from_iter([capture]));
                        *new = self.captures.len() as u32;
                    }
                    place => self.captures[*place as usize - 1].push(capture),
                }
            }
            _ => {
                for (lane, positions) in &pieces {
                    self.output(*lane, info.stage, info.node, positions.clone());
                }
                self.joins.push(Joined { value, node: info.node, pieces });
            }
        }
    }

    /// Asks for what is kept of a forward.
    fn keep(&mut self, value: NodeId) {
        let lane = self.of.of(value);
        let keep = self.keeps.get(&value).cloned().unwrap_or_default();
        let model = self.model(lane);
        let spec = model.spec;
        let length = self.lanes[lane.index()].length;
        for &node in &keep.nodes {
            let stage = model.stage_of[node.index()] as usize;
            match spec.hook_at(node).is_some_and(|hook| spec.is_square(hook)) {
                true => self.output(lane_at(&self.lanes, lane, stage, usize::MAX).0, stage, node, 0..length),
                false => self.request(lane, stage, node, 0..length),
            }
        }
        if keep.extends {
            for (at, stage) in spec.stages().iter().enumerate() {
                let StageKind::Attention(_) = &stage.kind else { continue };
                self.need_keys(&model, lane, at, length, [true, true]);
            }
        }
        self.kept.push(Kept { value, lane, keep });
    }

    /// Asks for keys (1) and values (2) of an attention stage that a lane looks at up to a position, those of its past as well.
    fn need_keys(&mut self, model: &Model<'_>, lane: LaneId, stage: usize, end: usize, looks: [bool; 2]) {
        let StageKind::Attention(attention) = &model.spec.stages()[stage].kind else { return };
        for piece in key_pieces(&self.lanes, lane, stage, end) {
            let (maker, part) = match piece {
                KeyPiece::Made(maker, part) => (maker, part),
                KeyPiece::Given(given, _) | KeyPiece::Before(given) => {
                    self.want(given);
                    continue;
                }
            };
            for (hook, input) in keys_and_values(attention, looks) {
                match written(&self.lanes[maker.index()], stage, hook) {
                    Some(write) => write.operands().into_iter().for_each(|value| self.want(value)),
                    None => self.request(maker, model.stage_of[input.index()] as usize, input, part.clone()),
                }
            }
        }
    }

    /// Asks for positions of a node in a lane, of whoever makes them.
    fn request(&mut self, lane: LaneId, stage: usize, node: NodeId, positions: Range<usize>) {
        for (maker, positions) in pieces(&self.lanes, lane, stage, positions) {
            self.output(maker, stage, node, positions);
        }
    }

    /// Asks the lane that has them for positions of a node that others take.
    fn output(&mut self, lane: LaneId, stage: usize, node: NodeId, positions: Range<usize>) {
        match self.lanes[lane.index()] {
            Lane { given: Some(given), parent: None, .. } => self.want(given),
            _ => drop(self.ask(lane, stage, node, positions, true)),
        }
    }

    /// Asks a lane for positions of a node that it makes itself; `output` says that others take it.
    fn ask(&mut self, lane: LaneId, stage: usize, node: NodeId, positions: Range<usize>, output: bool) -> usize {
        let info = &self.lanes[lane.index()];
        let positions = if self.strategy.positions { positions } else { info.first..info.length };
        let row = &mut self.rows[lane.index()];
        if *row == 0 {
            let stages = self.specs[self.model_of[lane.index()]].spec.stages().len();
            *row = self.places.len() as u32 + 1;
            self.places.resize(self.places.len() + stages - info.stage, 0);
        }
        let place = &mut self.places[*row as usize - 1 + stage - info.stage];
        let at = match *place {
            0 => {
                *place = self.tasks.len() as u32 + 1;
                let (wanted, outputs) = (SetId::EMPTY, SetId::EMPTY);
                let stage = stage as u32;
                self.tasks.push(Task { lane, stage, positions: 0..0, wanted, outputs, needs: 0, captures: 0, queued: false });
                self.tasks.len() - 1
            }
            place => place as usize - 1,
        };
        let task = &mut self.tasks[at];
        let wanted = self.sets.with(task.wanted, node);
        let mut changed = wanted != task.wanted;
        task.wanted = wanted;
        if output {
            task.outputs = self.sets.with(task.outputs, node);
        }
        let hull = hull(&task.positions, &positions);
        changed |= hull != task.positions;
        task.positions = hull;
        if changed && !task.queued {
            task.queued = true;
            if self.unsettled.len() <= stage {
                self.unsettled.resize(stage + 1, vec![]);
            }
            self.unsettled[stage].push(at as u32);
            self.last = self.last.max(stage);
        }
        at
    }

    /// Asks for what a task needs.
    fn need(&mut self, at: usize) {
        let (lane, stage) = (self.tasks[at].lane, self.tasks[at].stage());
        let model = self.model(lane);
        let needs = self.find_needs(at);
        self.tasks[at].needs = needs;
        let needs = self.needs[needs as usize].clone();
        let info = &self.lanes[lane.index()];
        let length = info.length;
        let writes = info.writes.iter().filter(|_| info.stage == stage);
        let operands: SmallVec<[NodeId; 4]> = writes.flat_map(Write::operands).collect();
        let tokens = info.tokens.or(info.given).filter(|_| needs.tokens);
        operands.into_iter().chain(tokens).for_each(|value| self.want(value));
        match &model.spec.stages()[stage].kind {
            StageKind::Positionwise => {
                let positions = self.tasks[at].positions.clone();
                for &input in &needs.inputs {
                    if !is_given(model.spec, input) {
                        self.request(lane, model.stage_of[input.index()] as usize, input, positions.clone());
                    }
                }
            }
            StageKind::Attention(attention) => {
                if needs.square {
                    self.tasks[at].positions = 0..length;
                }
                let positions = self.tasks[at].positions.clone();
                let [q, _, _] = attention.inputs;
                if needs.inputs.contains(&q) {
                    self.request(lane, model.stage_of[q.index()] as usize, q, positions.clone());
                }
                let [_, k, v] = needs.looks;
                if k || v {
                    self.need_keys(&model, lane, stage, keys(model.spec, &positions, length).end, [k, v]);
                }
            }
        }
    }

    /// What is set in the stage of a task.
    pub(super) fn writes(&self, at: usize) -> &[Write] {
        let task = &self.tasks[at];
        let lane = &self.lanes[task.lane.index()];
        if lane.stage == task.stage() { &lane.writes } else { &[] }
    }

    fn find_needs(&mut self, at: usize) -> u32 {
        let Task { lane, wanted, .. } = self.tasks[at];
        let set = self.writes(at).iter().map(|write| (write.hook, write.edit.is_some())).collect();
        let key = (self.model_of[lane.index()], self.tasks[at].stage(), wanted, set);
        let (model, needs, sets) = (self.model(lane), &mut self.needs, &self.sets);
        *self.known.entry(key).or_insert_with_key(|(_, stage, wanted, set)| {
            needs.push(Rc::new(Needs::new(&model, *stage, sets.get(*wanted), set)));
            needs.len() as u32 - 1
        })
    }

    /// What a task needs.
    pub(super) fn needs(&self, at: usize) -> &Needs {
        &self.needs[self.tasks[at].needs as usize]
    }

    /// The values of a task that others take.
    pub(super) fn outputs(&self, at: usize) -> &[NodeId] {
        self.sets.get(self.tasks[at].outputs)
    }

    /// What a task shows.
    pub(super) fn captures(&self, at: usize) -> &[Capture] {
        (self.tasks[at].captures as usize).checked_sub(1).map_or(&[], |place| &self.captures[place])
    }

    /// The place of the task of a lane at a stage.
    pub(super) fn task_at(&self, lane: LaneId, stage: usize) -> Option<usize> {
        let row = (self.rows[lane.index()] as usize).checked_sub(1)?;
        let place = row + stage.checked_sub(self.lanes[lane.index()].stage)?;
        (self.places[place] as usize).checked_sub(1)
    }

    /// Calls `each` with every task and every forward from outside whose values a task takes.
    pub(super) fn makers(&self, at: usize, mut each: impl FnMut(Maker)) {
        let Task { lane, ref positions, .. } = self.tasks[at];
        let (stage, needs) = (self.tasks[at].stage(), self.needs(at));
        let model = &self.specs[self.model_of[lane.index()]];
        let mut take = |lane: LaneId, input: NodeId, positions: Range<usize>| self.made_by(model, lane, input, positions, &mut each);
        match &model.spec.stages()[stage].kind {
            StageKind::Positionwise => {
                for &input in needs.inputs.iter().filter(|input| !is_given(model.spec, **input)) {
                    take(lane, input, positions.clone());
                }
            }
            StageKind::Attention(attention) => {
                if needs.inputs.contains(&attention.inputs[0]) {
                    take(lane, attention.inputs[0], positions.clone());
                }
                let end = keys(model.spec, positions, self.lanes[lane.index()].length).end;
                let [_, k, v] = needs.looks;
                if k || v {
                    self.key_makers(model, lane, stage, end, [k, v], &mut each);
                }
            }
        }
    }

    /// Calls `each` with who made positions of an input of a lane.
    fn made_by(&self, model: &Model<'_>, lane: LaneId, input: NodeId, positions: Range<usize>, each: &mut impl FnMut(Maker)) {
        let stage = model.stage_of[input.index()] as usize;
        for (maker, _) in pieces(&self.lanes, lane, stage, positions) {
            match self.lanes[maker.index()] {
                Lane { given: Some(given), parent: None, .. } => each(Maker::Given(given)),
                _ => self.task_at(maker, stage).into_iter().for_each(|task| each(Maker::Task(task))),
            }
        }
    }

    /// Calls `each` with who made keys and values.
    fn key_makers(&self, model: &Model<'_>, lane: LaneId, stage: usize, end: usize, looks: [bool; 2], each: &mut impl FnMut(Maker)) {
        let StageKind::Attention(attention) = &model.spec.stages()[stage].kind else { return };
        for piece in key_pieces(&self.lanes, lane, stage, end) {
            let (maker, part) = match piece {
                KeyPiece::Made(maker, part) => (maker, part),
                KeyPiece::Given(given, _) | KeyPiece::Before(given) => {
                    each(Maker::Given(given));
                    continue;
                }
            };
            for (hook, input) in keys_and_values(attention, looks) {
                match written(&self.lanes[maker.index()], stage, hook) {
                    Some(write) => write.operands().into_iter().for_each(|value| each(Maker::Value(value))),
                    None => self.made_by(model, maker, input, part.clone(), each),
                }
            }
        }
    }

    /// Calls `each` with who made what is kept of a forward.
    pub(super) fn makers_of_kept(&self, kept: &Kept, mut each: impl FnMut(Maker)) {
        let lane = kept.lane;
        let model = &self.specs[self.model_of[lane.index()]];
        let info = &self.lanes[lane.index()];
        for &node in &kept.keep.nodes {
            let square = model.spec.hook_at(node).is_some_and(|hook| model.spec.is_square(hook));
            let stage = model.stage_of[node.index()] as usize;
            let lane = if square { lane_at(&self.lanes, lane, stage, usize::MAX).0 } else { lane };
            self.made_by(model, lane, node, 0..info.length, &mut each);
        }
        if kept.keep.extends {
            for (at, _) in model.spec.stages().iter().enumerate() {
                self.key_makers(model, lane, at, info.length, [true, true], &mut each);
            }
        }
        info.tokens.into_iter().for_each(|tokens| each(Maker::Value(tokens)));
        info.given.into_iter().for_each(|given| each(Maker::Given(given)));
    }

    /// Calls `each` with every value of the program that a task takes.
    pub(super) fn operands(&self, at: usize, mut each: impl FnMut(NodeId)) {
        let (lane, stage, needs) = (self.tasks[at].lane, self.tasks[at].stage(), self.needs(at));
        let info = &self.lanes[lane.index()];
        let writes = info.writes.iter().filter(|_| info.stage == stage);
        writes.for_each(|write| write.operands().into_iter().for_each(&mut each));
        info.tokens.or(info.given).filter(|_| needs.tokens).into_iter().for_each(&mut each);
    }

    /// Forgets lanes in which nothing runs and numbers the others anew.
    pub(super) fn prune(&mut self) {
        let mut used = vec![false; self.lanes.len()];
        let shown = self.joins.iter().flat_map(|join| join.pieces.iter().map(|(lane, _)| *lane));
        let mut stack: Vec<LaneId> = self.tasks.iter().map(|task| task.lane).chain(shown).collect();
        stack.extend(self.kept.iter().map(|kept| kept.lane));
        while let Some(lane) = stack.pop() {
            if !std::mem::replace(&mut used[lane.index()], true) {
                let Lane { parent, past, .. } = self.lanes[lane.index()];
                stack.extend(parent);
                stack.extend(past.and_then(Past::lane));
            }
        }
        let mut places = vec![];
        let mut count = 0;
        for used in &used {
            places.push(LaneId(count));
            count += u32::from(*used);
        }
        let moved = |lane: &mut LaneId| *lane = places[lane.index()];
        let mut keep = used.iter();
        self.lanes.retain(|_| *keep.next().unwrap_or(&false));
        let mut keep = used.iter();
        self.rows.retain(|_| *keep.next().unwrap_or(&false));
        let mut keep = used.iter();
        self.model_of.retain(|_| *keep.next().unwrap_or(&false));
        for lane in &mut self.lanes {
            lane.parent.iter_mut().for_each(moved);
            if let Some(Past::Lane(past)) = &mut lane.past {
                moved(past);
            }
        }
        self.kept.iter_mut().for_each(|kept| moved(&mut kept.lane));
        for task in &mut self.tasks {
            moved(&mut task.lane);
        }
        self.captures.iter_mut().flatten().for_each(|capture| moved(&mut capture.lane));
        self.joins.iter_mut().for_each(|join| join.pieces.iter_mut().for_each(|(lane, _)| moved(lane)));
    }

    /// Chains of operations that save too little: a run of the stage for the lane that the own one branches off is there anyway,
    /// and would have less than a pass over the weights is worth to do more to show the hook there.
    pub(super) fn idle_chains(&self) -> BTreeSet<(LaneId, HookId)> {
        let mut idle = BTreeSet::new();
        for (at, lane) in self.lanes.iter().enumerate() {
            let (id, Some(parent)) = (LaneId(at as u32), lane.parent) else { continue };
            let chains = lane.writes.iter().filter(|write| matches!(write.edit, Some(Edit::Chain(_))));
            let chains: Vec<(LaneId, HookId)> = chains.map(|write| (id, write.hook)).collect();
            let Some(task) = self.task_at(id, lane.stage).filter(|_| !chains.is_empty()) else { continue };
            let made = pieces(&self.lanes, parent, lane.stage, self.tasks[task].positions.clone());
            let more = made.into_iter().try_fold(0, |more, (maker, part)| {
                let at = self.task_at(maker, lane.stage)?;
                let runs = &self.tasks[at].positions;
                let both = part.start.max(runs.start)..part.end.min(runs.end);
                self.needs(at).computes.then(|| more + (part.len() - both.len()) * lane.batch)
            });
            if more.is_some_and(|more| (more as u64) < BREAK_EVEN_TOKENS) {
                idle.extend(chains);
            }
        }
        idle
    }

    /// Tokens that go through position-wise stages.
    pub(super) fn token_stages(&self) -> usize {
        let computed = self.tasks.iter().filter(|task| {
            let stage = &self.specs[self.model_of[task.lane.index()]].spec.stages()[task.stage()];
            self.needs[task.needs as usize].computes && matches!(stage.kind, StageKind::Positionwise)
        });
        computed.map(|task| self.lanes[task.lane.index()].batch * task.positions.len()).sum()
    }

    /// Which model a lane is of, in the order of the program's models.
    pub(super) fn model_at(&self, lane: LaneId) -> usize {
        self.model_of[lane.index()]
    }

    /// Writes that change nothing.
    pub(super) fn identities(&mut self) -> Vec<(HookId, NodeId)> {
        std::mem::take(&mut self.of.identities)
    }
}

impl Needs {
    fn new(model: &Model<'_>, stage: usize, wanted: &[NodeId], set: &[(HookId, bool)]) -> Needs {
        let spec = model.spec;
        let graph = spec.graph();
        let nodes = &spec.stages()[stage].nodes;
        let mut needs = Needs::default();
        let mut inputs = BTreeSet::new();
        let mut seen = vec![false; nodes.len()];
        let mut stack = wanted.to_vec();
        while let Some(node) = stack.pop() {
            if !nodes.contains(&node.index()) {
                inputs.insert(node);
                continue;
            }
            if std::mem::replace(&mut seen[node.index() - nodes.start], true) {
                continue;
            }
            let edited = spec.hook_at(node).and_then(|hook| set.iter().find(|(set, _)| *set == hook)).map(|(_, edited)| *edited);
            if edited == Some(false) {
                continue;
            }
            needs.computes |= !matches!(graph.node(node).op, Op::Hook { .. });
            needs.flops += flops(spec, node);
            for &operand in &graph.node(node).operands {
                match &graph.node(operand).op {
                    Op::Weight { .. } | Op::Const { .. } => {}
                    // The node among the inputs tells the driver who looks at tokens: not every lane does, even of one stage,
                    // where hooks after the embedding are set.
                    Op::Input { name, .. } if &**name == "tokens" => {
                        needs.tokens = true;
                        inputs.insert(operand);
                    }
                    Op::Input { .. } => {}
                    _ => stack.push(operand),
                }
            }
        }
        needs.inputs = inputs.into_iter().collect();
        if let StageKind::Attention(attention) = &spec.stages()[stage].kind {
            let looked = |hook: HookId| seen[spec.hook_info(hook).node.index() - nodes.start];
            needs.looks = [attention.q, attention.k, attention.v].map(looked);
            let shown = |hook: HookId| {
                let node = spec.hook_info(hook).node;
                wanted.contains(&node) || looked(hook) && set.iter().any(|(set, _)| *set == hook)
            };
            needs.square = shown(attention.scores) || shown(attention.pattern);
        }
        needs
    }
}

/// Multiplications and additions of a node for one token, of matrix products alone ([`ModelSpec::flops`] for numbers).
fn flops(spec: &ModelSpec, node: NodeId) -> u64 {
    let of = spec.graph().node(node);
    let (Op::Matmul {}, Some(&left)) = (&of.op, of.operands.first()) else { return 0 };
    // Sizes with names are those of batch and tokens.
    let sizes = |node: NodeId| spec.node_type(node).as_tensor().map(|ty| ty.shape.iter().map(|dim| dim.as_usize().unwrap_or(1) as u64));
    let (Some(made), Some(mut inner)) = (sizes(node), sizes(left)) else { return 0 };
    2 * made.product::<u64>() * inner.next_back().unwrap_or(1)
}

/// The keys that queries at some positions look at.
fn keys(spec: &ModelSpec, positions: &Range<usize>, length: usize) -> Range<usize> {
    0..if spec.causal() { positions.end } else { length }
}

/// What a lane writes at a hook of a stage.
fn written(lane: &Lane, stage: usize, hook: HookId) -> Option<&Write> {
    lane.writes.iter().find(|write| lane.stage == stage && write.hook == hook)
}

/// Who made something that is taken.
pub(super) enum Maker {
    /// A task.
    Task(usize),
    /// The program: a value.
    Value(NodeId),
    /// Whoever made a forward that comes from outside.
    Given(NodeId),
}

/// The hooks of keys and values, of those that are looked at, each with the input that it is made of.
fn keys_and_values(attention: &Attention, [k, v]: [bool; 2]) -> impl Iterator<Item = (HookId, NodeId)> {
    let all = [(k, attention.k, attention.inputs[1]), (v, attention.v, attention.inputs[2])];
    all.into_iter().filter(|(looks, ..)| *looks).map(|(_, hook, input)| (hook, input))
}

/// Whether an input of a stage is one of the model: what no lane makes.
fn is_given(spec: &ModelSpec, input: NodeId) -> bool {
    matches!(spec.graph().node(input).op, Op::Input { .. })
}
