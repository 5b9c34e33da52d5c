//! The order of what has to be done: one walk over the stages for all rows that are ready, as long as memory allows.

use std::{cmp::Ordering, collections::BTreeMap, ops::Range};

use irc_ir::{
    graph::NodeId,
    model::HookId,
    op::Op,
    plan::{Lane, StageStep, Step, WriteForm, hull},
    types::{Name, Type},
    verify::Verified,
};
use smallvec::SmallVec;

use super::{
    BREAK_EVEN_TOKENS, Target,
    demand::{Demand, Maker},
};
use crate::values::Values;

/// What is set in a stage, and in which way.
type Written = SmallVec<[(HookId, WriteForm); 2]>;

/// A task, a value of the program, a join or a forward that is kept, by one number: tasks come first, then values, then joins.
type Item = usize;

/// Puts tasks, host operations and effects in order.
pub(super) struct Order<'a> {
    program: &'a Verified,
    values: &'a Values,
    target: &'a Target,
    demand: Demand<'a>,
    /// How many things each item still waits for.
    waits: Vec<u32>,
    /// Who waits for each item: from where to where in `users`.
    user_places: Vec<u32>,
    users: Vec<u32>,
    /// The part of the memory that a lane's values go into.
    wave: Vec<u32>,
    /// Tasks that wait for nothing more, by wave, model and stage.
    ready: BTreeMap<(u32, usize, usize), Vec<usize>>,
    steps: Vec<Step>,
    next_effect: usize,
    /// The values for the results of effects.
    results: &'a [Option<NodeId>],
    done: Vec<bool>,
    /// Room for items, which is used again and again.
    stack: Vec<Item>,
    freed: Vec<Item>,
}

impl<'a> Order<'a> {
    pub(super) fn new(
        program: &'a Verified,
        values: &'a Values,
        target: &'a Target,
        demand: Demand<'a>,
        results: &'a [Option<NodeId>],
    ) -> Order<'a> {
        let done = vec![false; program.graph().len()];
        let wave = waves(program, target, &demand);
        let (waits, user_places, users) = Default::default();
        let (ready, steps, next_effect, stack, freed) = Default::default();
        let mut order = Order {
            program,
            values,
            target,
            demand,
            waits,
            user_places,
            users,
            wave,
            ready,
            steps,
            next_effect,
            results,
            done,
            stack,
            freed,
        };
        order.link();
        order
    }

    fn value_item(&self, value: NodeId) -> Item {
        self.demand.tasks.len() + self.values.of[value.index()].index()
    }

    fn join_item(&self, join: usize) -> Item {
        self.demand.tasks.len() + self.program.graph().len() + join
    }

    fn of_effect(&self, value: NodeId) -> bool {
        matches!(self.program.graph().node(value).op, Op::EffectResult { .. })
    }

    fn kept_item(&self, kept: usize) -> Item {
        self.join_item(self.demand.joins.len()) + kept
    }

    /// The item of who made something.
    fn maker_item(&self, maker: Maker) -> Item {
        match maker {
            Maker::Task(task) => task,
            Maker::Value(value) | Maker::Given(value) => self.value_item(value),
        }
    }

    /// Whether a value is shown by a stage or put together of what stages show, and not computed on the host.
    fn is_captured(&self, value: NodeId) -> bool {
        self.values.hooks.contains(value) || self.target.strategy.positions && self.values.windows.contains(value)
    }

    /// Whether it is an operation of the host that makes a value.
    fn is_computed(&self, value: NodeId) -> bool {
        let is_parameter = matches!(self.program.graph().node(value).op, Op::Param { .. });
        !self.is_captured(value) && !self.of_effect(value) && !is_parameter && !matches!(self.program.ty(value), Type::Forward(_))
    }

    /// Who waits for whom.
    fn link(&mut self) {
        let demand = &self.demand;
        let items = self.kept_item(demand.kept.len());
        let mut edges: Vec<(u32, u32)> = Vec::with_capacity(2 * demand.tasks.len());
        let mut from: Vec<u32> = vec![];
        for at in 0..demand.tasks.len() {
            from.clear();
            demand.makers(at, |maker| from.push(self.maker_item(maker) as u32));
            // Queries, keys and values are of one task, mostly.
            from.sort_unstable();
            from.dedup();
            edges.extend(from.iter().map(|maker| (*maker, at as u32)));
            demand.operands(at, |value| edges.push((self.value_item(value) as u32, at as u32)));
            edges.extend(demand.captures(at).iter().map(|capture| (at as u32, self.value_item(capture.value) as u32)));
        }
        for (at, join) in demand.joins.iter().enumerate() {
            let item = self.join_item(at) as u32;
            for (lane, _) in &join.pieces {
                let info = &demand.lanes[lane.index()];
                let spec = &self.program.models()[&info.model];
                let given = info.given.filter(|_| info.is_outside()).map(Maker::Given);
                let maker = given.or_else(|| demand.task_at(*lane, spec.stage_of(join.node)).map(Maker::Task));
                edges.extend(maker.map(|maker| (self.maker_item(maker) as u32, item)));
            }
            edges.push((item, self.value_item(join.value) as u32));
        }
        for (at, kept) in demand.kept.iter().enumerate() {
            let item = self.kept_item(at) as u32;
            demand.makers_of_kept(kept, |maker| edges.push((self.maker_item(maker) as u32, item)));
            edges.push((item, self.value_item(kept.value) as u32));
        }
        self.waits = vec![0; items];
        for value in demand.wanted() {
            let item = self.value_item(value);
            // The result of an effect waits for the effect.
            self.waits[item] += u32::from(self.of_effect(value));
            // A forward comes from where it is kept, unless it comes from outside.
            let is_kept = self.values.forwards.get(value).is_some_and(|forward| !self.values.comes_from_outside(forward));
            if !self.is_captured(value) && !is_kept {
                let operands = &self.program.graph().node(value).operands;
                edges.extend(operands.iter().map(|operand| (self.value_item(*operand) as u32, item as u32)));
            }
        }
        self.user_places = vec![0; items + 1];
        for (from, to) in &edges {
            self.user_places[*from as usize + 1] += 1;
            self.waits[*to as usize] += 1;
        }
        for at in 0..items {
            self.user_places[at + 1] += self.user_places[at];
        }
        let mut next = self.user_places.clone();
        self.users = vec![0; edges.len()];
        for (from, to) in edges {
            self.users[next[from as usize] as usize] = to;
            next[from as usize] += 1;
        }
    }

    /// The steps in their order, and the lanes that they are about.
    pub(super) fn run(mut self) -> (Vec<Step>, Vec<Lane>) {
        let values: Vec<Item> = self.demand.wanted().map(|value| self.value_item(value)).collect();
        let tasks = 0..self.demand.tasks.len();
        // Of an extended forward nothing may be kept but its token ids.
        let kept = self.kept_item(0)..self.kept_item(self.demand.kept.len());
        let free: Vec<Item> = tasks.chain(values).chain(kept).filter(|item| self.waits[*item] == 0).collect();
        free.into_iter().for_each(|item| self.release(item));
        // An effect may need nothing.
        let first = self.flush_effects();
        first.into_iter().for_each(|value| self.release_result(value));
        let mut cursor = (0, 0, 0);
        while let Some((&(wave, ..), _)) = self.ready.first_key_value() {
            // On with the walk, or again from the beginning.
            let from = if cursor.0 == wave { cursor } else { (wave, 0, 0) };
            let on = self.ready.range(from..).next().map(|(key, _)| *key).filter(|key| key.0 == wave);
            let Some(key) = on.or_else(|| self.ready.first_key_value().map(|(key, _)| *key)) else { break };
            cursor = key;
            if let Some(tasks) = self.ready.remove(&key) {
                self.run_stage(key.1, key.2, tasks);
            }
        }
        debug_assert_eq!(self.next_effect, self.program.graph().effects.len(), "every effect has its place");
        (self.steps, self.demand.lanes)
    }

    /// The result of an effect waited for the effect itself, at least.
    fn release_result(&mut self, value: NodeId) {
        let item = self.value_item(value);
        self.waits[item] = self.waits[item].saturating_sub(1);
        if self.waits[item] == 0 {
            self.release(item);
        }
    }

    /// An item waits for nothing more.
    fn release(&mut self, item: Item) {
        let (tasks, nodes) = (self.demand.tasks.len(), self.program.graph().len());
        let mut stack = std::mem::take(&mut self.stack);
        stack.push(item);
        while let Some(item) = stack.pop() {
            if item < tasks {
                let task = &self.demand.tasks[item];
                let key = (self.wave[task.lane.index()], self.demand.model_at(task.lane), task.stage());
                self.ready.entry(key).or_default().push(item);
            } else if item < tasks + nodes {
                let value = NodeId::new(item - tasks);
                if self.is_computed(value) {
                    self.steps.push(Step::Host(value));
                }
                self.done[value.index()] = true;
                // At once: what is computed next may fail, and a log that comes before it was still heard.
                let results = self.flush_effects();
                self.serve(item, &mut stack);
                for value in results {
                    let item = self.value_item(value);
                    self.waits[item] = self.waits[item].saturating_sub(1);
                    stack.extend((self.waits[item] == 0).then_some(item));
                }
            } else {
                let joins = &self.demand.joins;
                let at = item - tasks - nodes;
                self.steps.push(match joins.get(at) {
                    Some(join) => Step::Join(Box::new(join.clone())),
                    None => Step::Keep(self.demand.kept[at - joins.len()].clone()),
                });
                self.serve(item, &mut stack);
            }
        }
        self.stack = stack;
    }

    /// Adds the items that waited for this one alone, the first last.
    fn serve(&mut self, item: Item, free: &mut Vec<Item>) {
        let users = self.user_places[item] as usize..self.user_places[item + 1] as usize;
        let begin = free.len();
        for &user in &self.users[users] {
            let waits = &mut self.waits[user as usize];
            *waits -= 1;
            if *waits == 0 {
                free.push(user as usize);
            }
        }
        free[begin..].reverse();
    }

    /// Runs a stage for tasks that are ready, together where they set the same hooks and take the same values.
    fn run_stage(&mut self, model: usize, stage: usize, mut tasks: Vec<usize>) {
        let Some(name) = self.program.models().keys().nth(model).cloned() else { return };
        tasks.sort_by_cached_key(|task| self.demand.tasks[*task].lane);
        for tasks in self.alike(tasks) {
            let inputs = self.demand.needs(tasks[0]).inputs.clone();
            for tasks in self.together(tasks) {
                self.step(&name, stage, inputs.clone(), &tasks);
                for task in tasks {
                    let mut freed = std::mem::take(&mut self.freed);
                    self.serve(task, &mut freed);
                    freed.drain(..).for_each(|item| self.release(item));
                    self.freed = freed;
                }
            }
        }
    }

    /// Puts tasks of a stage together whose lanes set the same hooks in it, in the same way, and take the same values. Then comes
    /// what the attention of the stage looks at, and whether anything is computed. Groups are in the order of all that.
    fn alike(&self, tasks: Vec<usize>) -> Vec<Vec<usize>> {
        let mut groups: Vec<(Written, Vec<usize>)> = vec![];
        for task in tasks {
            let written: Written = self.demand.writes(task).iter().map(|write| (write.hook, write.form())).collect();
            let needs = self.demand.needs(task);
            let order = |(other, tasks): &(Written, Vec<usize>)| {
                let others = self.demand.needs(tasks[0]);
                other.cmp(&written).then_with(|| match std::ptr::eq(others, needs) {
                    true => Ordering::Equal,
                    false => (&others.inputs, others.looks, others.computes).cmp(&(&needs.inputs, needs.looks, needs.computes)),
                })
            };
            match groups.binary_search_by(order) {
                Ok(place) => groups[place].1.push(task),
                Err(place) => groups.insert(place, (written, vec![task])),
            }
        }
        groups.into_iter().map(|(_, tasks)| tasks).collect()
    }

    /// Cuts tasks with the same inputs into groups that are better computed apart, because some need much less than others.
    fn together(&self, tasks: Vec<usize>) -> Vec<Vec<usize>> {
        let mut by_flops: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for &task in &tasks {
            by_flops.entry(self.demand.needs(task).flops).or_default().push(task);
        }
        if by_flops.len() < 2 {
            return vec![tasks];
        }
        let tokens = |tasks: &[usize]| -> u64 {
            let of = |task: &usize| {
                let task = &self.demand.tasks[*task];
                (self.demand.lanes[task.lane.index()].batch * task.positions.len()) as u64
            };
            tasks.iter().map(of).sum()
        };
        let mut groups: Vec<(u64, Vec<usize>)> = vec![];
        for (flops, mut tasks) in by_flops.into_iter().rev() {
            // A few tokens that get more than they need still join. What is set needs nothing of the engine.
            match groups.last_mut() {
                Some((most, group)) if flops > 0 && tokens(&tasks).saturating_mul(*most - flops) <= BREAK_EVEN_TOKENS * flops => {
                    group.append(&mut tasks);
                }
                _ => groups.push((flops, tasks)),
            }
        }
        groups.iter_mut().for_each(|(_, tasks)| tasks.sort_by_key(|task| self.demand.tasks[*task].lane));
        groups.into_iter().map(|(_, tasks)| tasks).collect()
    }

    fn step(&mut self, model: &Name, stage: usize, inputs: Vec<NodeId>, tasks: &[usize]) {
        let mut outputs: Vec<NodeId> = vec![];
        let (mut lanes, mut positions) = (Vec::with_capacity(tasks.len()), Vec::with_capacity(tasks.len()));
        let mut captures = vec![];
        for &at in tasks {
            for output in self.demand.outputs(at) {
                if let Err(place) = outputs.binary_search(output) {
                    outputs.insert(place, *output);
                }
            }
            let task = &self.demand.tasks[at];
            lanes.push(task.lane);
            positions.push(task.positions.clone());
            captures.extend(self.demand.captures(at).iter().cloned());
        }
        self.steps.push(Step::Stage(Box::new(StageStep { model: model.clone(), stage, lanes, positions, inputs, outputs, captures })));
    }

    /// Does the effects whose values are there, in their order; the results that there are now.
    fn flush_effects(&mut self) -> Vec<NodeId> {
        let effects = &self.program.graph().effects;
        let mut results = vec![];
        while let Some(effect) = effects.get(self.next_effect)
            && effect.uses().all(|used| self.done[self.values.of[used.index()].index()])
        {
            self.steps.push(Step::Effect(self.next_effect));
            results.extend(self.results[self.next_effect]);
            self.next_effect += 1;
        }
        results
    }
}

/// For each lane, when its turn is: those of one turn have room beside each other.
fn waves(program: &Verified, target: &Target, demand: &Demand<'_>) -> Vec<u32> {
    let mut tokens: Vec<Range<usize>> = demand.lanes.iter().map(|_| 0..0).collect();
    for task in &demand.tasks {
        let of = &mut tokens[task.lane.index()];
        *of = hull(of, &task.positions);
    }
    let each: BTreeMap<&Name, u64> = program
        .models()
        .iter()
        .map(|(name, spec)| {
            let bytes = |node: &NodeId| match spec.node_type(*node) {
                Type::Tensor(ty) => ty.substitute(&|symbol| matches!(symbol, "B" | "T").then(|| 1.into())).bytes().as_known().unwrap_or(0),
                _ => 0,
            };
            // What is alive between two stages, and what one is made of.
            let most = spec.stages().iter().map(|stage| stage.inputs.iter().chain(&stage.outputs).map(bytes).sum::<i64>()).max();
            (name, most.and_then(|most| u64::try_from(most).ok()).unwrap_or(0))
        })
        .collect();
    let mut wave = 0;
    let mut used = 0u64;
    let lanes = demand.lanes.iter().zip(tokens).enumerate().map(|(at, (lane, tokens))| {
        if !target.strategy.batch {
            return at as u32;
        }
        let own = each[&lane.model].saturating_mul((lane.batch * tokens.len()) as u64);
        if used > 0 && used.saturating_add(own) > target.memory {
            (wave, used) = (wave + 1, 0);
        }
        used = used.saturating_add(own);
        wave
    });
    lanes.collect()
}
