//! The schedule: which stages run, for which rows, in which order.
//!
//! What is decided here, each on its own in [`Strategy`]:
//!
//! - *Liveness*: a stage runs for a row only if something that the program saves or logs depends on it; stopping early and
//!   skipping a module whose output is set follow from that.
//! - *Sharing*: forwards with the same tokens and the same writes so far are one row until their writes differ; prompts that
//!   begin alike are one row until their tokens differ.
//! - *The causal cone*: in a causal model a write at a position changes nothing before it. Earlier positions are not computed
//!   again: later ones look at the keys and values that are there. A write that changes nothing at all is dropped.
//! - *Positions*: of the last layers only those are computed that something needs.
//! - *Edits and splices*: what a forward writes is made of the hook's own value where the engine computes it, so that the stage need
//!   not run once to show the value and again from what became of it ([`Edit`](irc_ir::plan::Edit)). Operations are put into a stage
//!   only where it runs less for it: an engine has to compile them, once.
//! - *One walk*: at each stage, all rows that are ready travel as one flat batch of tokens. A sweep of patches written as a plain
//!   loop of traces becomes a staircase, which rows join at the layer of their first write, and goes over the weights once.
//!
//! A forward that extends another is a row whose queries look at the keys of the other as well. Loops have schedules of their own for
//! their bodies, made when their sizes are known; of a forward that goes in or comes out, only what is needed is kept.
//!
//! `lanes` finds the rows and where they branch, `carried` what loops need of forwards, `demand` what is needed of all of them, `order`
//! when it is done, `kernels` puts operations of the program together.

use std::collections::{BTreeMap, BTreeSet};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{EffectKind, Graph, NodeId},
    op::Op,
    plan::{Keep, Schedule},
    types::{Dim, ForwardType, Name, Type},
    verify::{Types, Verified},
};

use smallvec::SmallVec;

use crate::values::number;
use demand::Demand;
use lanes::Lanes;
use order::Order;
use passes::{Passes, passes};

mod carried;
mod demand;
mod kernels;
mod lanes;
mod order;
mod passes;

/// A pass over a stage's weights costs as much as the arithmetic of about this many tokens.
const BREAK_EVEN_TOKENS: u64 = 16;

/// What a schedule may count on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// What it may do to save work.
    pub strategy: Strategy,
    /// Tokens of a flat batch that the engine likes best; longer ones are cut. 0 is no limit.
    pub chunk: usize,
    /// The fewest rows of a matrix; shorter batches are padded.
    pub min_rows: usize,
    /// Bytes that values of lanes may take at a time; what does not fit waits. A single lane may take more.
    pub memory: u64,
    /// Whether the engine edits values where it computes them ([`Edit`](irc_ir::plan::Edit)). Otherwise they are read, changed
    /// on the host and given back, which costs an engine nothing that stops and goes on anywhere.
    pub edits: bool,
    /// Whether the engine puts operations on a value into the stage that computes it ([`Chain`](irc_ir::plan::Chain)), all those
    /// that are [exact](crate::chains::is_exact). It makes edits, too.
    pub splices: bool,
    /// Whether the engine computes only what is wanted of a stage, and not all of it.
    pub prunes: bool,
}

impl Default for Target {
    /// An engine that prunes, without edits, chunks or padding, and a gigabyte.
    fn default() -> Target {
        Target { strategy: Strategy::default(), chunk: 0, min_rows: 0, memory: 1 << 30, edits: false, splices: false, prunes: true }
    }
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
    /// Chains of operations of the program that work element by element are one step.
    pub fuse: bool,
    /// Chains of operations on a value at a hook that is written become part of the stage that computes it, where the engine can
    /// do it and the stage runs less for it.
    pub splice: bool,
}

impl Strategy {
    /// Each forward pass alone, whole, from its first stage to its last: what runs when a program is run as it is written.
    pub const AS_WRITTEN: Strategy =
        Strategy { live: false, share: false, prefixes: false, cone: false, positions: false, batch: false, fuse: false, splice: false };
    /// What graphs of whole programs are made of: rows of whole sequences.
    pub const WHOLE_SEQUENCES: Strategy =
        Strategy { live: true, share: true, prefixes: false, cone: false, positions: false, batch: true, fuse: false, splice: false };
}

impl Default for Strategy {
    /// Everything.
    fn default() -> Strategy {
        Strategy { live: true, share: true, prefixes: true, cone: true, positions: true, batch: true, fuse: true, splice: true }
    }
}

/// The schedule of a verified program.
///
/// # Errors
/// E4005 if a loop carries a forward inside a tuple: each is carried by itself.
pub fn schedule(program: &Verified, target: &Target) -> Result<Schedule, Diagnostic> {
    schedule_body(program, &[], target)
}

/// The schedule of the [body](Verified::body) of a loop, of whose results that are forwards this much is kept; all else of it is as
/// in a program. Sizes of rows have to be known in it.
///
/// # Errors
/// As [`schedule`].
pub fn schedule_body(program: &Verified, results: &[Keep], target: &Target) -> Result<Schedule, Diagnostic> {
    let graph = program.graph();
    let live = graph.live();
    check_supported(program)?;
    let strategy = target.strategy;
    let values = number(program, &live, strategy.share);
    let carried = carried::carried(graph, program.types(), program.models(), results);
    let mut keeps: BTreeMap<NodeId, Keep> = BTreeMap::new();
    for (forward, keep) in carried.kept.into_iter().filter(|(forward, _)| live[forward.index()]) {
        let of = keeps.entry(values.of[forward.index()]).or_default();
        of.extends |= keep.extends;
        of.nodes.extend(keep.nodes);
    }
    let settled = |unspliced| {
        let lanes = Lanes::new(program, &values, target, keeps.keys().copied(), unspliced);
        let mut demand = Demand::new(program, &values, lanes, keeps.clone(), strategy);
        graph.roots().for_each(|root| demand.want(root));
        demand.settle();
        demand
    };
    let mut demand = settled(BTreeSet::new());
    let idle = demand.idle_chains();
    if !idle.is_empty() {
        demand = settled(idle);
    }
    demand.prune();
    let mut made = vec![None; graph.effects.len()];
    for value in demand.wanted() {
        if let Op::EffectResult { entry } = graph.node(value).op
            && let Some(result) = usize::try_from(entry).ok().and_then(|entry| made.get_mut(entry))
        {
            *result = Some(value);
        }
    }
    let stages_run = (0..demand.tasks.len()).filter(|task| demand.needs(*task).computes).count();
    let Passes { forwards, stages: stages_whole, token_stages: token_stages_whole } = passes(program, &live);
    let token_stages = demand.token_stages();
    let identities = demand.identities();
    let (steps, lanes) = Order::new(program, &values, target, demand, &made).run();
    let values = values.of;
    let steps = if strategy.fuse { kernels::fuse(program, &values, &lanes, steps) } else { steps };
    let (results, loops) = (made, carried.loops);
    Ok(Schedule { lanes, steps, values, results, forwards, loops, identities, stages_run, stages_whole, token_stages, token_stages_whole })
}

/// The symbols whose sizes a [schedule of a body](schedule_body) depends on: those of rows and new tokens of forwards, and of what
/// modules are applied to. Lengths of pasts are not among them.
pub fn scheduled_sizes(body: &Graph, types: &Types) -> BTreeSet<Name> {
    let mut sizes = BTreeSet::new();
    for (id, node) in body.nodes() {
        let dims: SmallVec<[&Dim; 4]> = match (&types.nodes[id.index()], &node.op) {
            (Type::Forward(ForwardType { batch, tokens, .. }), _) => SmallVec::from_iter([batch, tokens]),
            (_, Op::Apply { .. }) => types.nodes[node.operands[0].index()].dims(),
            _ => continue,
        };
        sizes.extend(dims.into_iter().flat_map(Dim::symbols));
    }
    sizes
}

/// Refuses what cannot be scheduled.
fn check_supported(program: &Verified) -> Result<(), Diagnostic> {
    let graph = program.graph();
    let holds = |id: &NodeId| matches!(program.ty(*id), ty @ Type::Tuple(_) if ty.holds_forward());
    let refuse = |span: &Span| {
        Err(Diagnostic::error(Code::E4005, "a loop that carries a forward inside a tuple cannot be run on an engine")
            .label(span.clone(), "")
            .help("carry the parts of the tuple, each by itself; or take the reference backend, `--backend reference`"))
    };
    for (id, node) in graph.nodes() {
        if matches!(node.op, Op::Loop { .. }) && node.operands.iter().any(holds) {
            return refuse(graph.span(id));
        }
    }
    graph.effects.iter().try_for_each(|effect| match &effect.kind {
        EffectKind::Loop { .. } if effect.operands.iter().any(holds) => refuse(&effect.span),
        EffectKind::Loop { .. } | EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Call { .. } | EffectKind::Stop { .. } => {
            Ok(())
        }
    })
}
