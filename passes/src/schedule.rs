//! The schedule: which stages run, for which rows, in which order.
//!
//! Two things are decided here. *Liveness*: a stage runs for a row only if something that the program saves or logs
//! depends on it; stopping early and skipping a module whose output is set follow from that. *Shared prefixes*: forwards
//! with the same tokens and the same writes so far are one row until their writes differ.
//!
//! The form is that of a staircase: at each stage, all rows that are ready travel as one flat batch of tokens, so that a
//! sweep of patches written as a plain loop of traces walks over the weights once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    rc::Rc,
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{EffectKind, Graph, NodeId},
    model::{HookId, ModelSpec},
    op::Op,
    plan::{Capture, Lane, LaneId, Schedule, StageStep, Step, Write, lane_at},
    types::{Name, Type},
    verify::Verified,
};

use crate::{
    edits::edit,
    values::{Base, ForwardValue, HookValue, Values, number},
};

/// What a schedule may count on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Target {
    /// What it may do to save work.
    pub strategy: Strategy,
    /// Tokens of a flat batch that the engine likes best; longer ones are cut. 0 is no limit.
    pub chunk: usize,
    /// The fewest rows of a matrix; shorter batches are padded.
    pub min_rows: usize,
    /// Whether the engine edits values where it computes them ([`Edit`](irc_ir::plan::Edit)). Otherwise they are read, changed
    /// on the host and given back, which costs an engine nothing that stops and goes on anywhere.
    pub edits: bool,
}

/// What a schedule does to save work. Nothing of it changes a bit of any result; each can be left out to see what it is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strategy {
    /// Only stages run that something needs.
    pub live: bool,
    /// Forwards with the same tokens and the same writes so far are one.
    pub share: bool,
    /// So are forwards whose tokens begin alike, as far as they do, in a causal model.
    pub prefixes: bool,
    /// In a causal model, a write changes only positions from where it changes its hook: the others are not computed again. What
    /// changes nothing is dropped.
    pub cone: bool,
    /// Only positions are computed that something needs.
    pub positions: bool,
    /// All rows that are ready for a stage travel as one flat batch.
    pub batch: bool,
}

impl Strategy {
    /// Each forward pass alone, whole, from its first stage to its last: what runs when a program is run as it is written.
    pub const AS_WRITTEN: Strategy = Strategy { live: false, share: false, prefixes: false, cone: false, positions: false, batch: false };
    /// What graphs of whole programs are made of: rows of whole sequences.
    pub const WHOLE_SEQUENCES: Strategy = Strategy { live: true, share: true, prefixes: false, cone: false, positions: false, batch: true };
}

impl Default for Strategy {
    /// Everything.
    fn default() -> Strategy {
        Strategy { live: true, share: true, prefixes: true, cone: true, positions: true, batch: true }
    }
}

/// The schedule of a verified program.
///
/// # Errors
/// E4005 if it extends forwards or has loops: a schedule is a list of steps, and they have none yet.
pub fn schedule(program: &Verified, target: &Target) -> Result<Schedule, Diagnostic> {
    let live = program.graph().live();
    check_supported(program.graph(), &live)?;
    let values = number(program, &live);
    let mut demand = Demand::new(program, &values, target);
    program.graph().roots().for_each(|root| demand.want(values.of[root.index()]));
    demand.settle();
    let counts = demand.counts(&live);
    let Demand { lanes, tasks, wanted, .. } = demand;
    let mut results = vec![None; program.graph().effects.len()];
    for &value in &wanted {
        if let Op::EffectResult { entry } = program.graph().node(value).op
            && let Some(result) = usize::try_from(entry).ok().and_then(|entry| results.get_mut(entry))
        {
            *result = Some(value);
        }
    }
    let steps = Order::new(program, &values, &lanes, tasks, wanted, &results).run();
    let (forwards, stages_run, stages_whole) = counts;
    Ok(Schedule { lanes: lanes.lanes, steps, values: values.of, results, forwards, stages_run, stages_whole })
}

/// Refuses what cannot be scheduled.
fn check_supported(graph: &Graph, live: &[bool]) -> Result<(), Diagnostic> {
    let refuse = |what: &str, span: &Span| {
        Err(Diagnostic::error(Code::E4005, format!("{what} cannot be run on an engine yet"))
            .label(span.clone(), "")
            .help("the reference backend runs it: `--backend reference`"))
    };
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        match &node.op {
            Op::Extend {} => return refuse("a forward that extends another", graph.span(id)),
            Op::Loop { .. } => return refuse("a loop", graph.span(id)),
            _ => {}
        }
    }
    graph.effects.iter().try_for_each(|effect| match &effect.kind {
        EffectKind::Loop { .. } => refuse("a loop", &effect.span),
        EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Call { .. } | EffectKind::Stop { .. } => Ok(()),
    })
}

/// A stage of a lane: what it takes, gives and shows.
#[derive(Default)]
struct Task {
    inputs: BTreeSet<NodeId>,
    outputs: BTreeSet<NodeId>,
    captures: Vec<(HookId, NodeId)>,
    /// Values of the program that it needs: tokens and what is written.
    host: BTreeSet<NodeId>,
    /// Whether anything is computed: not so where all that is needed of the stage is written.
    computes: bool,
}

type TaskId = (LaneId, usize);

/// What makes lanes one: parent, base, first stage and what is written there.
type LaneKey = (Option<LaneId>, usize, usize, Vec<(HookId, NodeId)>);

/// Lanes that run a stage together: the hooks that they set in it and whether by edits, what they take and what they give.
type GroupKey = (Vec<(HookId, bool)>, Vec<NodeId>, Vec<NodeId>);

/// The tree of lanes.
struct Lanes<'a> {
    program: &'a Verified,
    values: &'a Values,
    edits: bool,
    lanes: Vec<Lane>,
    known: HashMap<LaneKey, LaneId>,
}

impl Lanes<'_> {
    /// The lane in which a hook of a forward has its value.
    fn find(&mut self, spec: &ModelSpec, value: &HookValue) -> LaneId {
        let mut lane = self.child(&value.forward, None, 0, vec![]);
        let mut by_stage: BTreeMap<usize, Vec<(HookId, NodeId)>> = BTreeMap::new();
        for (&hook, &written) in &value.forward.writes {
            by_stage.entry(spec.hook_info(hook).stage).or_default().push((hook, written));
        }
        for (stage, writes) in by_stage {
            lane = self.child(&value.forward, Some(lane), stage, writes);
        }
        lane
    }

    /// The lane of a forward that begins at a stage.
    fn child(&mut self, forward: &ForwardValue, parent: Option<LaneId>, stage: usize, writes: Vec<(HookId, NodeId)>) -> LaneId {
        let next = LaneId(self.lanes.len() as u32);
        match self.known.entry((parent, forward.base, stage, writes)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                let edit = |hook: HookId| self.edits.then(|| edit(self.program, self.values, forward, hook)).flatten();
                let writes = place.key().3.iter().map(|&(hook, value)| Write { hook, value, edit: edit(hook) }).collect();
                let Base { model, tokens, batch, length } = self.values.bases[forward.base].clone();
                self.lanes.push(Lane { model, tokens, batch, length, parent, stage, first: 0, writes });
                *place.insert(next)
            }
        }
    }

    /// The lane whose value counts at a stage: the lane itself from its first stage on, before that its parent.
    fn at(&self, lane: LaneId, stage: usize) -> LaneId {
        lane_at(&self.lanes, lane, stage)
    }
}

/// Finds what has to be computed, backwards from the effects.
struct Demand<'a> {
    program: &'a Verified,
    values: &'a Values,
    lanes: Lanes<'a>,
    tasks: BTreeMap<TaskId, Task>,
    /// Host values that are needed.
    wanted: BTreeSet<NodeId>,
    queue: Vec<NodeId>,
    /// Model nodes that are needed, per lane.
    needed: Vec<Vec<bool>>,
    stages: HashMap<Name, Rc<[usize]>>,
}

impl<'a> Demand<'a> {
    fn new(program: &'a Verified, values: &'a Values, target: &Target) -> Demand<'a> {
        let stages = program.models().iter().map(|(name, spec)| {
            let of = spec.stages().iter().enumerate().flat_map(|(at, stage)| stage.nodes.clone().map(move |_| at));
            (name.clone(), of.collect())
        });
        let stages = stages.collect();
        let lanes = Lanes { program, values, edits: target.edits, lanes: vec![], known: HashMap::new() };
        let (tasks, wanted) = (BTreeMap::new(), BTreeSet::new());
        Demand { program, values, lanes, tasks, wanted, queue: vec![], needed: vec![], stages }
    }

    fn want(&mut self, value: NodeId) {
        if self.wanted.insert(value) {
            self.queue.push(value);
        }
    }

    fn settle(&mut self) {
        while let Some(value) = self.queue.pop() {
            match self.values.hooks.get(&value) {
                Some(hook_value) => self.want_hook(value, hook_value),
                None => {
                    let operands = self.program.graph().node(value).operands.clone();
                    operands.iter().for_each(|operand| self.want(self.values.of[operand.index()]));
                }
            }
        }
    }

    fn want_hook(&mut self, value: NodeId, hook_value: &HookValue) {
        let model = &self.values.bases[hook_value.forward.base].model;
        let spec = self.program.models()[model].clone();
        let lane = self.lanes.find(&spec, hook_value);
        let info = spec.hook_info(hook_value.hook);
        let lane = self.lanes.at(lane, info.stage);
        self.tasks.entry((lane, info.stage)).or_default().captures.push((hook_value.hook, value));
        self.need(&spec, lane, info.node);
    }

    /// Marks what a node of a model needs in a lane, down to what is written, given or a weight.
    fn need(&mut self, spec: &ModelSpec, lane: LaneId, node: NodeId) {
        let stages = self.stages[&self.lanes.lanes[lane.index()].model].clone();
        let mut stack = vec![(lane, node)];
        while let Some((lane, node)) = stack.pop() {
            if self.needed.len() < self.lanes.lanes.len() {
                self.needed.resize(self.lanes.lanes.len(), vec![]);
            }
            let marks = &mut self.needed[lane.index()];
            if marks.is_empty() {
                marks.resize(spec.graph().len(), false);
            }
            if std::mem::replace(&mut marks[node.index()], true) {
                continue;
            }
            let stage = stages[node.index()];
            let task = self.tasks.entry((lane, stage)).or_default();
            let written = spec.hook_at(node).and_then(|hook| {
                let writes = &self.lanes.lanes[lane.index()].writes;
                writes.iter().find(|write| write.hook == hook).map(|write| (write.operands(), write.edit.is_some()))
            });
            if let Some((operands, edited)) = written {
                task.host.extend(&operands);
                operands.into_iter().for_each(|operand| self.want(operand));
                if !edited {
                    continue;
                }
            }
            let is_hook = matches!(spec.graph().node(node).op, Op::Hook { .. });
            self.tasks.entry((lane, stage)).or_default().computes |= !is_hook;
            for &operand in &spec.graph().node(node).operands {
                match &spec.graph().node(operand).op {
                    Op::Weight { .. } | Op::Const { .. } => {}
                    Op::Input { name, .. } => {
                        if let (Some(tokens), "tokens") = (self.lanes.lanes[lane.index()].tokens, &**name) {
                            // The node among the inputs tells the driver who looks at tokens: not every lane does, even
                            // of one stage, where hooks after the embedding are set.
                            let task = self.tasks.entry((lane, stage)).or_default();
                            task.inputs.insert(operand);
                            task.host.insert(tokens);
                            self.want(tokens);
                        }
                    }
                    _ => {
                        let maker = stages[operand.index()];
                        let from = self.lanes.at(lane, maker);
                        if maker != stage {
                            self.tasks.entry((lane, stage)).or_default().inputs.insert(operand);
                            self.tasks.entry((from, maker)).or_default().outputs.insert(operand);
                        }
                        stack.push((from, operand));
                    }
                }
            }
        }
    }

    /// Passes that the effects ask for, stages that run for them, stages if each pass ran whole and alone.
    fn counts(&self, live: &[bool]) -> (usize, usize, usize) {
        let run = self.tasks.values().filter(|task| task.computes).count();
        let (passes, whole) = self.passes(live);
        (passes, run, whole)
    }

    /// How often a tool that runs programs as they are written would run a model: once for every forward whose hooks are
    /// read, unless a forward with one more write shows the same value on its way. Modules count with their own stages.
    fn passes(&self, live: &[bool]) -> (usize, usize) {
        let graph = self.program.graph();
        let mut writes: HashMap<NodeId, Vec<&Name>> = HashMap::new();
        let mut reads: BTreeMap<NodeId, Vec<&Name>> = BTreeMap::new();
        let (mut passes, mut whole) = (0, 0);
        for (_, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
            match &node.op {
                Op::Write { hook } => writes.entry(node.operands[0]).or_default().push(hook),
                Op::Read { hook } => reads.entry(node.operands[0]).or_default().push(hook),
                Op::Apply { model, module } => {
                    let spec = &self.program.models()[model];
                    let stage = |hook: HookId| spec.hook_info(hook).stage;
                    whole += spec.module(module).map_or(0, |module| stage(module.output) + 1 - stage(module.input));
                }
                _ => {}
            }
        }
        for (forward, hooks) in reads {
            let Type::Forward(ty) = self.program.ty(forward) else { continue };
            let spec = &self.program.models()[&ty.model];
            let later = writes.get(&forward).map_or(&[][..], Vec::as_slice);
            let shown = |hook: &Name| {
                let reaches =
                    |write: &Name| matches!((spec.hook(write), spec.hook(hook)), (Ok(write), Ok(hook)) if spec.reaches(write, hook));
                later.iter().any(|write| !reaches(write))
            };
            if !hooks.iter().all(|hook| shown(hook)) {
                passes += 1;
                whole += spec.stages().len();
            }
        }
        (passes, whole)
    }
}

/// Something that waits for others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Item {
    Task(LaneId, usize),
    Value(NodeId),
}

/// Puts tasks, host operations and effects in order.
struct Order<'a> {
    program: &'a Verified,
    values: &'a Values,
    lanes: &'a Lanes<'a>,
    tasks: BTreeMap<TaskId, Task>,
    /// How many things each item still waits for, and who waits for it.
    waits: HashMap<Item, usize>,
    users: HashMap<Item, Vec<Item>>,
    /// Tasks that wait for nothing more, by model and stage.
    ready: BTreeMap<Name, Vec<Vec<LaneId>>>,
    steps: Vec<Step>,
    next_effect: usize,
    /// The values for the results of effects.
    results: &'a [Option<NodeId>],
    done: Vec<bool>,
}

impl<'a> Order<'a> {
    fn new(
        program: &'a Verified,
        values: &'a Values,
        lanes: &'a Lanes<'a>,
        tasks: BTreeMap<TaskId, Task>,
        wanted: BTreeSet<NodeId>,
        results: &'a [Option<NodeId>],
    ) -> Order<'a> {
        let ready = program.models().iter().map(|(name, spec)| (name.clone(), vec![vec![]; spec.stages().len()])).collect();
        let done = vec![false; program.graph().len()];
        let (waits, users) = (HashMap::new(), HashMap::new());
        let mut order = Order { program, values, lanes, tasks, waits, users, ready, steps: vec![], next_effect: 0, results, done };
        order.link(&wanted);
        order
    }

    fn link(&mut self, wanted: &BTreeSet<NodeId>) {
        let mut edges: Vec<(Item, Item)> = vec![];
        for (&(lane, stage), task) in &self.tasks {
            let user = Item::Task(lane, stage);
            self.waits.insert(user, 0);
            edges.extend(task.host.iter().map(|&value| (Item::Value(value), user)));
            edges.extend(task.captures.iter().map(|&(_, value)| (user, Item::Value(value))));
            let spec = &self.program.models()[&self.lanes.lanes[lane.index()].model];
            let made = task.inputs.iter().filter(|input| !matches!(spec.graph().node(**input).op, Op::Input { .. }));
            let makers: BTreeSet<usize> = made.map(|input| spec.stage_of(*input)).collect();
            edges.extend(makers.into_iter().map(|maker| (Item::Task(self.lanes.at(lane, maker), maker), user)));
        }
        for &value in wanted {
            // The result of an effect waits for the effect.
            let of_effect = matches!(self.program.graph().node(value).op, Op::EffectResult { .. });
            self.waits.entry(Item::Value(value)).or_insert(usize::from(of_effect));
            if !self.values.hooks.contains_key(&value) {
                let operands = self.program.graph().node(value).operands.iter().map(|operand| self.values.of[operand.index()]);
                edges.extend(operands.map(|operand| (Item::Value(operand), Item::Value(value))));
            }
        }
        for (from, to) in edges {
            *self.waits.entry(to).or_insert(0) += 1;
            self.users.entry(from).or_default().push(to);
        }
    }

    fn run(mut self) -> Vec<Step> {
        let mut free: Vec<Item> = self.waits.iter().filter(|(_, waits)| **waits == 0).map(|(item, _)| *item).collect();
        free.sort();
        free.into_iter().for_each(|item| self.release(item));
        // An effect may need nothing.
        let first = self.flush_effects();
        first.into_iter().for_each(|item| self.release(item));
        let models: Vec<(Name, usize)> = self.ready.iter().map(|(name, stages)| (name.clone(), stages.len())).collect();
        while self.ready.values().flatten().any(|lanes| !lanes.is_empty()) {
            for (model, stages) in &models {
                for stage in 0..*stages {
                    loop {
                        let lanes = self.ready.get_mut(model).map(|ready| std::mem::take(&mut ready[stage])).unwrap_or_default();
                        if lanes.is_empty() {
                            break;
                        }
                        self.run_stage(model, stage, lanes);
                    }
                }
            }
        }
        debug_assert_eq!(self.next_effect, self.program.graph().effects.len(), "every effect has its place");
        self.steps
    }

    /// An item waits for nothing more.
    fn release(&mut self, item: Item) {
        let mut stack = vec![item];
        while let Some(item) = stack.pop() {
            match item {
                Item::Task(lane, stage) => {
                    let model = &self.lanes.lanes[lane.index()].model;
                    if let Some(ready) = self.ready.get_mut(model) {
                        ready[stage].push(lane);
                    }
                }
                Item::Value(value) => {
                    let of_effect = matches!(self.program.graph().node(value).op, Op::EffectResult { .. });
                    if !self.values.hooks.contains_key(&value) && !of_effect {
                        self.steps.push(Step::Host(value));
                    }
                    self.done[value.index()] = true;
                    // At once: what is computed next may fail, and a log that comes before it was still heard.
                    let results = self.flush_effects();
                    stack.extend(self.served(item));
                    stack.extend(results);
                }
            }
        }
    }

    /// The items that waited for this one alone.
    fn served(&mut self, item: Item) -> Vec<Item> {
        let users = self.users.remove(&item).unwrap_or_default();
        let mut free: Vec<Item> = users
            .into_iter()
            .filter(|user| {
                let waits = self.waits.entry(*user).or_insert(1);
                *waits -= 1;
                *waits == 0
            })
            .collect();
        free.reverse();
        free
    }

    /// Runs a stage for lanes that are ready, together where they set the same hooks and give the same values.
    fn run_stage(&mut self, model: &Name, stage: usize, mut lanes: Vec<LaneId>) {
        lanes.sort();
        let mut groups: BTreeMap<GroupKey, Vec<LaneId>> = BTreeMap::new();
        for lane in lanes {
            let own = &self.lanes.lanes[lane.index()];
            let written =
                if own.stage == stage { own.writes.iter().map(|write| (write.hook, write.edit.is_some())).collect() } else { vec![] };
            let task = &self.tasks[&(lane, stage)];
            let key = (written, task.inputs.iter().copied().collect(), task.outputs.iter().copied().collect());
            groups.entry(key).or_default().push(lane);
        }
        for ((_, inputs, outputs), lanes) in groups {
            let captures = lanes.iter().flat_map(|&lane| {
                let positions = 0..self.lanes.lanes[lane.index()].length;
                let captures = self.tasks[&(lane, stage)].captures.iter();
                captures.map(move |&(hook, value)| Capture { lane, hook, value, positions: positions.clone() })
            });
            let captures = captures.collect();
            let positions = lanes.iter().map(|lane| 0..self.lanes.lanes[lane.index()].length).collect();
            let model = model.clone();
            self.steps.push(Step::Stage(StageStep { model, stage, lanes: lanes.clone(), positions, inputs, outputs, captures }));
            for lane in lanes {
                for item in self.served(Item::Task(lane, stage)) {
                    self.release(item);
                }
            }
        }
    }

    /// Does the effects whose values are there, in their order; the results that there are now.
    fn flush_effects(&mut self) -> Vec<Item> {
        let effects = &self.program.graph().effects;
        let mut results = vec![];
        while let Some(effect) = effects.get(self.next_effect)
            && effect.uses().all(|used| self.done[self.values.of[used.index()].index()])
        {
            self.steps.push(Step::Effect(self.next_effect));
            results.extend(self.results[self.next_effect].map(Item::Value));
            self.next_effect += 1;
        }
        results
    }
}
