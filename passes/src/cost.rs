//! What a schedule is going to cost, known before anything runs: it follows from the plan alone.
//!
//! Matrix products, and what crosses the engine's boundary, are not estimated: the driver makes the same [moves](crate::calls),
//! so that the numbers are those that a profile of the engine shows. The peak of memory is a simulation of the driver's values,
//! each of which goes with its last use; copies that single operations of the program make in passing are left out.

use std::{
    collections::BTreeMap,
    ops::{AddAssign, Range},
};

use irc_ir::{
    graph::{EffectKind, NodeId},
    op::Op,
    plan::{Schedule, Step},
    types::{Dim, Name, Type, elements},
    verify::{LoopId, Verified},
};

use crate::{Target, schedule::schedule_body};
use memory::Memory;
use stage::Stages;

mod memory;
mod stage;

/// A product of matrices [rows, inner] and [inner, columns].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Product {
    /// Rows of the first, padding included.
    pub rows: u64,
    /// Columns of the first and rows of the second.
    pub inner: u64,
    /// Columns of the second.
    pub columns: u64,
}

impl Product {
    /// Multiplications and additions.
    pub fn flops(self) -> u64 {
        2 * self.rows * self.inner * self.columns
    }
}

/// What some steps cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Work {
    /// Stages in which something is computed, counted once for each lane.
    pub stages: u64,
    /// Tokens that go through position-wise stages, over all stages, without padding.
    pub tokens: u64,
    /// Calls of the engine.
    pub calls: u64,
    /// Multiplications and additions of the matrix products that the engine makes.
    pub matrix_flops: u64,
    /// Those of attention: of each pair of a query and a key that it sees.
    pub attention_flops: u64,
    /// Those of operations of the program: of matrix products; of all else one for each element of the larger of what goes in
    /// and what comes out.
    pub host_flops: u64,
    /// Bytes that the engine is given.
    pub bytes_in: u64,
    /// Bytes that it gives.
    pub bytes_out: u64,
    /// Bytes of what operations of the program take and give.
    pub host_bytes: u64,
    /// Bytes of the tensors that are saved or logged; what a list has is not known before.
    pub returned_bytes: u64,
}

impl Work {
    /// All multiplications and additions.
    pub fn flops(&self) -> u64 {
        self.matrix_flops + self.attention_flops + self.host_flops
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        let Work { stages, tokens, calls, matrix_flops, attention_flops, host_flops, bytes_in, bytes_out, host_bytes, returned_bytes } =
            other;
        self.stages += stages;
        self.tokens += tokens;
        self.calls += calls;
        self.matrix_flops += matrix_flops;
        self.attention_flops += attention_flops;
        self.host_flops += host_flops;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.host_bytes += host_bytes;
        self.returned_bytes += returned_bytes;
    }
}

/// What a step costs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StepCost {
    /// The work.
    pub work: Work,
    /// The most bytes of tensors that the driver owns during the step.
    pub memory: u64,
}

/// What a schedule costs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Cost {
    /// By the steps of the schedule.
    pub steps: Vec<StepCost>,
    /// Of all of them.
    pub total: Work,
    /// The most bytes of tensors that the driver owns at a time, with those that go into a stage that runs and come out of it.
    /// What the engine itself needs, and weights, are not among them.
    pub peak_bytes: u64,
    /// How often the engine makes a product of each shape.
    pub products: BTreeMap<Product, u64>,
    /// By the steps that are loops: what their iterations cost.
    pub loops: BTreeMap<usize, LoopCost>,
}

/// What the iterations of a loop cost, unless it ends early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoopCost {
    /// How many there are at most.
    pub trip: u64,
    /// The schedule of the body in the first iteration.
    pub schedule: Schedule,
    /// What the first iteration costs.
    pub first: Box<Cost>,
    /// What the last one costs; those between them are taken to grow evenly.
    pub last: Box<Cost>,
}

/// What a schedule that was made for a target costs there. Loops are counted as if they did not end early.
pub fn cost(program: &Verified, schedule: &Schedule, target: &Target) -> Cost {
    cost_within(program, schedule, target, &Sizes::new())
}

/// What symbols of the bodies around stand for.
type Sizes = BTreeMap<Name, Dim>;

fn cost_within(program: &Verified, schedule: &Schedule, target: &Target, around: &Sizes) -> Cost {
    let mut stages = Stages::new(program, schedule, target);
    let mut memory = Memory::new(program, schedule);
    let mut cost = Cost::default();
    for (at, all) in schedule.steps.iter().enumerate() {
        memory.begin_step();
        let mut work = match all {
            Step::Stage(step) => {
                let (work, ran) = stages.work(step, &mut cost.products);
                memory.stage(step, &ran);
                work
            }
            Step::Join(join) => {
                memory.join(join);
                Work::default()
            }
            Step::Keep(kept) => {
                memory.keep(kept);
                Work::default()
            }
            Step::Host(id) => {
                memory.host(all, *id);
                host(program, *id)
            }
            Step::Kernel(chain) => {
                chain.last().into_iter().for_each(|last| memory.host(all, *last));
                let mut work = Work::default();
                chain.iter().for_each(|id| work += host(program, *id));
                // What is between them is in memory block by block only.
                let ends = memory.takes().of_chain(chain).into_iter().chain(chain.last().copied());
                Work { host_bytes: ends.map(|id| bytes(program.ty(id))).sum(), ..work }
            }
            Step::Effect(at) => {
                memory.effect(*at);
                effect(program, *at)
            }
        };
        let which = match all {
            Step::Host(id) => Some(LoopId::Node(*id)),
            Step::Effect(at) => Some(LoopId::Effect(*at)),
            Step::Stage(_) | Step::Join(_) | Step::Keep(_) | Step::Kernel(_) => None,
        };
        if let Some(looped) = which.and_then(|which| loop_cost(program, schedule, which, target, around)) {
            work = looped.work();
            looped.add_products(&mut cost.products);
            memory.beside(looped.peak_bytes());
            cost.loops.insert(at, looped);
        }
        cost.total += work;
        cost.steps.push(StepCost { work, memory: memory.most_of_step() });
    }
    cost.peak_bytes = memory.peak();
    cost
}

/// What a loop costs; nothing where that depends on what is not known before.
fn loop_cost(program: &Verified, schedule: &Schedule, at: LoopId, target: &Target, around: &Sizes) -> Option<LoopCost> {
    let (trip, _) = program.loop_at(at)?;
    let trip = u64::try_from(trip).ok().filter(|trip| *trip > 0)?;
    let keeps = schedule.loops.get(&at)?;
    let mut iterations = [0, trip - 1].into_iter().map(|iteration| {
        let mut sizes = around.clone();
        sizes.extend(program.sizes_in(at, iteration)?);
        let body = program.body(at, &|symbol| sizes.get(symbol).cloned())?;
        let schedule = schedule_body(&body, keeps, target).ok()?;
        let cost = cost_within(&body, &schedule, target, &sizes);
        Some((schedule, Box::new(cost)))
    });
    let ((schedule, first), (_, last)) = (iterations.next()??, iterations.next()??);
    Some(LoopCost { trip, schedule, first, last })
}

impl LoopCost {
    /// The work of all iterations.
    fn work(&self) -> Work {
        let (first, last) = (&self.first.total, &self.last.total);
        let mean = |of: fn(&Work) -> u64| (u128::from(self.trip) * (u128::from(of(first)) + u128::from(of(last))) / 2) as u64;
        Work {
            stages: mean(|work| work.stages),
            tokens: mean(|work| work.tokens),
            calls: mean(|work| work.calls),
            matrix_flops: mean(|work| work.matrix_flops),
            attention_flops: mean(|work| work.attention_flops),
            host_flops: mean(|work| work.host_flops),
            bytes_in: mean(|work| work.bytes_in),
            bytes_out: mean(|work| work.bytes_out),
            host_bytes: mean(|work| work.host_bytes),
            returned_bytes: mean(|work| work.returned_bytes),
        }
    }

    /// The products of all iterations. Where the first and the last one make others, each stands for half of them.
    fn add_products(&self, products: &mut BTreeMap<Product, u64>) {
        for (half, trip) in [(&self.first, self.trip.div_ceil(2)), (&self.last, self.trip / 2)] {
            half.products.iter().for_each(|(product, times)| *products.entry(*product).or_default() += trip * times);
        }
    }

    /// The most bytes that an iteration owns.
    fn peak_bytes(&self) -> u64 {
        self.first.peak_bytes.max(self.last.peak_bytes)
    }
}

fn host(program: &Verified, id: NodeId) -> Work {
    let node = program.graph().node(id);
    let size = |id: NodeId| program.ty(id).as_tensor().map_or(0, |ty| known(&elements(&ty.shape)));
    let (given, made) = (node.operands.iter().map(|operand| size(*operand)).max().unwrap_or(0), size(id));
    let host_flops = match (&node.op, program.ty(node.operands.first().copied().unwrap_or(id)).as_tensor()) {
        (Op::Const { .. }, _) => 0,
        (Op::Matmul {}, Some(left)) => 2 * made * left.shape.last().map_or(1, known),
        _ => given.max(made),
    };
    let host_bytes = node.operands.iter().copied().chain([id]).map(|id| bytes(program.ty(id))).sum();
    Work { host_flops, host_bytes: if matches!(node.op, Op::Const { .. }) { 0 } else { host_bytes }, ..Work::default() }
}

fn effect(program: &Verified, at: usize) -> Work {
    let effect = &program.graph().effects[at];
    let returned_bytes = match &effect.kind {
        EffectKind::Save { .. } | EffectKind::Log { .. } => effect.operands.iter().map(|id| bytes(program.ty(*id))).sum(),
        EffectKind::Call { .. } | EffectKind::Loop { .. } | EffectKind::Stop { .. } => 0,
    };
    Work { returned_bytes, ..Work::default() }
}

/// The bytes of a value, as far as its type tells them.
fn bytes(ty: &Type) -> u64 {
    ty.bytes().as_ref().map_or(0, known)
}

fn known(dim: &Dim) -> u64 {
    dim.as_known().and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

/// The bytes of each value of a model for one token; 0 for what has none.
fn bytes_of_a_token(spec: &irc_ir::model::ModelSpec) -> Vec<u64> {
    let one = |symbol: &str| matches!(symbol, "B" | "T").then(|| Dim::known(1));
    spec.node_types().iter().map(|ty| ty.as_tensor().map_or(0, |ty| known(&ty.substitute(&one).bytes()))).collect()
}

/// The number of tokens at some positions of some sequences.
fn tokens(batch: usize, positions: &Range<usize>) -> u64 {
    batch as u64 * positions.len() as u64
}
