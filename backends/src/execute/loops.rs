//! Loops: a body has a schedule of its own, which is made once for the sizes that it depends on, and run again and again.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use irc_ir::{
    diagnostic::Diagnostic,
    eval::Value,
    graph::{Body, Effect, Graph, NodeId},
    op::Op,
    plan::{Keep, LaneId, Schedule, Step},
    tensor::Tensor,
    types::{Dim, Name, Type},
    verify::{LoopId, Types, Verified},
};

use irc_passes::{
    Target,
    schedule::{schedule_body, scheduled_sizes},
    takes::Takes,
};

use super::{Carried, Execution};
use crate::{
    failed,
    host::Host,
    steps::{Frame, holds},
};

/// How often values of the program and of lanes are used.
type Uses = (Vec<u32>, HashMap<(LaneId, NodeId), u32>);

/// Which loop, and the sizes that the schedule of its body depends on.
type BodyKey = (LoopId, Vec<Option<Dim>>);

/// A program, or the body of a loop, with its schedule.
pub(super) struct Planned<'a> {
    pub(super) program: Cow<'a, Verified>,
    pub(super) schedule: Schedule,
    pub(super) uses: Uses,
    /// Parameters, by their numbers.
    params: Vec<NodeId>,
    /// For what gives several values, the forwards among them that something uses, with their places.
    parts: HashMap<NodeId, Vec<(usize, NodeId)>>,
    /// The symbols that the schedules of the bodies in it depend on.
    sizes: BTreeMap<LoopId, BTreeSet<Name>>,
    /// The bodies in it that are planned, by the sizes of these symbols.
    bodies: Mutex<HashMap<BodyKey, Arc<Planned<'static>>>>,
}

/// What a loop carries.
#[derive(Clone)]
pub(super) enum Item {
    Value(Value),
    Forward(Arc<Carried>),
}

impl Item {
    /// The sizes that occur in it, in the order of those in its type.
    fn sizes(&self) -> Vec<Dim> {
        match self {
            Item::Value(value) => value.ty().dims().into_iter().cloned().collect(),
            Item::Forward(carried) => carried.sizes().map(Dim::from).into(),
        }
    }
}

impl<'a> Planned<'a> {
    /// Plans a program, or a body of whose results this much is kept.
    pub(super) fn new(program: Cow<'a, Verified>, results: &[Keep], target: &Target) -> Result<Planned<'a>, Diagnostic> {
        let schedule = schedule_body(&program, results, target)?;
        let graph = program.graph();
        let mut params = vec![];
        let mut parts: HashMap<NodeId, Vec<(usize, NodeId)>> = HashMap::new();
        for (id, node) in graph.nodes() {
            match (&node.op, node.operands.first()) {
                (Op::Param { .. }, _) => params.push(id),
                (Op::Get { index }, Some(whole)) if matches!(program.ty(id), Type::Forward(_)) && schedule.values[id.index()] == id => {
                    let whole = schedule.values[whole.index()];
                    parts.entry(whole).or_default().extend(usize::try_from(*index).ok().map(|index| (index, id)));
                }
                _ => {}
            }
        }
        let sizes = schedule.loops.keys().filter_map(|at| {
            let (_, body) = program.loop_at(*at)?;
            Some((*at, scheduled_sizes(body.graph(), program.types().bodies.get(at)?)))
        });
        let sizes = sizes.collect();
        let mut planned = Planned { program, schedule, uses: Default::default(), params, parts, sizes, bodies: Mutex::default() };
        planned.uses = planned.count_uses();
        Ok(planned)
    }

    pub(super) fn takes(&self) -> Takes<'_> {
        Takes { program: &self.program, schedule: &self.schedule }
    }

    fn count_uses(&self) -> Uses {
        let graph = self.program.graph();
        let mut uses = vec![0; graph.len()];
        let mut lanes: HashMap<(LaneId, NodeId), u32> = HashMap::new();
        for step in &self.schedule.steps {
            let taken = self.takes().of(step);
            taken.lanes.into_iter().for_each(|key| *lanes.entry(key).or_default() += 1);
            taken.values.into_iter().chain(taken.forwards).for_each(|value| uses[value.index()] += 1);
        }
        for &result in graph.results.iter().chain(&graph.until) {
            uses[self.schedule.values[result.index()].index()] += 1;
        }
        (uses, lanes)
    }

    /// The models that it runs, those of the bodies in it included.
    pub(super) fn models(&self) -> BTreeSet<Name> {
        let mut models: BTreeSet<Name> = BTreeSet::new();
        for step in &self.schedule.steps {
            match step {
                Step::Stage(step) => drop(models.insert(step.model.clone())),
                Step::Host(id) => self.models_of_loop(LoopId::Node(*id), &mut models),
                Step::Effect(at) => self.models_of_loop(LoopId::Effect(*at), &mut models),
                Step::Join(_) | Step::Keep(_) | Step::Kernel(_) => {}
            }
        }
        models
    }

    fn models_of_loop(&self, at: LoopId, models: &mut BTreeSet<Name>) {
        if let (Some((_, body)), Some(types)) = (self.program.loop_at(at), self.program.types().bodies.get(&at)) {
            models_of(body.graph(), types, models);
        }
    }

    /// The plan of a body for an iteration.
    fn body(&self, at: LoopId, frame: &Frame, target: &Target) -> Result<Arc<Planned<'static>>, Diagnostic> {
        let symbols = self.sizes.get(&at).ok_or_else(|| failed("the schedule has no such loop"))?;
        let key = (at, symbols.iter().map(|symbol| frame.size(symbol)).collect());
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = bodies.get(&key) {
            return Ok(known.clone());
        }
        let known = |symbol: &str| symbols.contains(symbol).then(|| frame.size(symbol)).flatten();
        let body = self.program.body(at, &known).ok_or_else(|| failed("there is no such loop"))?;
        let keeps = self.schedule.loops.get(&at).map_or(&[][..], Vec::as_slice);
        let planned = Arc::new(Planned::new(Cow::Owned(body), keeps, target)?);
        bodies.insert(key, planned.clone());
        Ok(planned)
    }
}

/// The models whose forwards and modules a graph has.
fn models_of(graph: &Graph, types: &Types, models: &mut BTreeSet<Name>) {
    for (id, node) in graph.nodes() {
        match (&types.nodes[id.index()], &node.op) {
            (Type::Forward(forward), _) => drop(models.insert(forward.model.clone())),
            (_, Op::Apply { model, .. }) => drop(models.insert(model.clone())),
            _ => {}
        }
    }
    for (at, body, _) in graph.loops() {
        if let Some(types) = types.bodies.get(&at) {
            models_of(body.graph(), types, models);
        }
    }
}

impl Execution<'_> {
    /// Runs a loop that is a value: why it fails matters only if something needs it.
    pub(super) fn pure_loop(&mut self, id: NodeId, host: &mut dyn Host) {
        let operands = self.items(&self.program.graph().node(id).operands);
        let results = operands.and_then(|operands| self.repeat(LoopId::Node(id), operands, host));
        self.store_all(id, results);
    }

    /// Runs a loop with effects, unless its condition does not hold.
    pub(super) fn effectful_loop(&mut self, at: usize, effect: &Effect, host: &mut dyn Host) -> Result<(), Diagnostic> {
        let operands = self.items(&effect.operands);
        let condition = effect.guard.map(|guard| self.take(self.value(guard.condition))).transpose()?;
        let otherwise = effect.guard.and_then(|guard| guard.otherwise).map(|other| self.take(self.value(other)));
        let result = self.schedule.results[at];
        if condition.as_ref().map_or(Ok(true), holds)? {
            let results = self.repeat(LoopId::Effect(at), operands?, host)?;
            if let Some(result) = result {
                self.store_all(result, Ok(results));
            }
        } else if let Some(result) = result {
            match otherwise {
                Some(otherwise) => self.store(result, otherwise),
                // What it would have begun with.
                None => {
                    let count = self.program.loop_at(LoopId::Effect(at)).map_or(0, |(_, body)| body.graph().results.len());
                    let carried = operands.map(|mut items| {
                        items.truncate(count);
                        items
                    });
                    self.store_all(result, carried);
                }
            }
        }
        Ok(())
    }

    fn items(&mut self, nodes: &[NodeId]) -> Result<Vec<Item>, Diagnostic> {
        // All are taken, also where one is missing: each use is counted.
        let items: Vec<Result<Item, Diagnostic>> = nodes.iter().map(|node| self.item(*node)).collect();
        items.into_iter().collect()
    }

    fn item(&mut self, node: NodeId) -> Result<Item, Diagnostic> {
        let value = self.value(node);
        match self.program.ty(value) {
            Type::Forward(_) => self.take_forward(value).map(Item::Forward),
            _ => self.take(value).map(Item::Value),
        }
    }

    /// Gives the parts of what a loop gives to who uses them.
    fn store_all(&mut self, whole: NodeId, items: Result<Vec<Item>, Diagnostic>) {
        let planned = self.planned;
        for (index, part) in planned.parts.get(&whole).into_iter().flatten() {
            let forward = match &items {
                Ok(items) => match items.get(*index) {
                    Some(Item::Forward(carried)) => Ok(carried.clone()),
                    _ => Err(failed("a loop gives no such forward")),
                },
                Err(error) => Err(error.clone()),
            };
            self.store_forward(*part, forward);
        }
        // Nobody takes a forward out of this tuple.
        let value = |item| match item {
            Item::Value(value) => value,
            Item::Forward(_) => Value::Tuple([].into()),
        };
        self.store(whole, items.map(|items| Value::Tuple(items.into_iter().map(value).collect())));
    }

    /// Runs the body of a loop again and again: what it carries in the end, nothing if the program stopped itself.
    fn repeat(&mut self, at: LoopId, mut operands: Vec<Item>, host: &mut dyn Host) -> Result<Vec<Item>, Diagnostic> {
        let (planned, around) = (self.planned, self.around);
        let (trip, body) = planned.program.loop_at(at).ok_or_else(|| failed("there is no such loop"))?;
        let count = body.graph().results.len();
        for iteration in 0..trip {
            around.cancel.check()?;
            let sizes = sizes_of(body, &operands, &self.frame.sizes);
            let frame = Frame { sizes, in_loop: true };
            let planned = planned.body(at, &frame, around.target)?;
            self.outcome.report.add_planned(&planned.schedule);
            let mut inner = Execution::new(around, &planned, frame, self.outcome);
            // What is carried is handed on, so that it can be changed in place; the rest is needed again.
            let rest: Vec<Item> = operands[count..].to_vec();
            let number = Item::Value(Tensor::scalar(iteration).into());
            inner.give([number].into_iter().chain(operands).collect());
            inner.run(host)?;
            if inner.outcome.stopped.is_some() {
                return Ok(vec![]);
            }
            operands = inner.items(&body.graph().results)?;
            let ended = body.graph().until.map(|until| inner.take(inner.value(until)).and_then(|until| holds(&until)));
            operands.extend(rest);
            if ended.transpose()? == Some(true) {
                break;
            }
        }
        operands.truncate(count);
        Ok(operands)
    }

    /// Gives the parameters of a body their values.
    fn give(&mut self, items: Vec<Item>) {
        let planned = self.planned;
        for (param, item) in planned.params.iter().zip(items) {
            match item {
                Item::Value(value) => self.store(*param, Ok(value)),
                Item::Forward(carried) => self.store_forward(*param, Ok(carried)),
            }
        }
    }

    pub(super) fn store_forward(&mut self, id: NodeId, forward: Result<Arc<Carried>, Diagnostic>) {
        if let Ok(carried) = &forward {
            self.lengths.insert(id, (carried.past, carried.length));
        }
        if self.uses[id.index()] > 0 {
            self.forwards.insert(id, forward);
        }
    }

    /// A forward, which goes with its last use.
    pub(super) fn take_forward(&mut self, id: NodeId) -> Result<Arc<Carried>, Diagnostic> {
        let uses = &mut self.uses[id.index()];
        *uses = uses.saturating_sub(1);
        let forward = if *uses == 0 { self.forwards.remove(&id) } else { self.forwards.get(&id).cloned() };
        forward.unwrap_or_else(|| Err(failed(format!("the schedule uses the forward {id:?} before it is there"))))
    }
}

/// What symbols stand for in an iteration: those that parameters declare are sizes of what they get.
fn sizes_of(body: &Body, operands: &[Item], around: &BTreeMap<Name, Dim>) -> BTreeMap<Name, Dim> {
    let mut sizes = around.clone();
    for ((_, declared), item) in body.params().skip(1).zip(operands) {
        let dims = declared.map(Type::dims).unwrap_or_default();
        let symbols = dims.into_iter().zip(item.sizes()).filter_map(|(dim, size)| Some((dim.as_symbol()?.clone(), size)));
        sizes.extend(symbols);
    }
    sizes
}
