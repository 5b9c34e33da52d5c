//! What is going to be done for a program, and why: its plan beside what runs where a program is run as it is written.

use std::collections::BTreeMap;

use irc_ir::{
    diagnostic::{Diagnostic, Span},
    infer::Models,
    model::StageKind,
    plan::{Schedule, Step, hull},
    types::Name,
    verify::Verified,
};

use crate::{
    Strategy, Target,
    cost::{Cost, LoopCost, StepCost, cost},
    schedule,
};

/// A program's plan, explained. Plain data.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What is going to be done.
    pub schedule: Schedule,
    /// What it costs.
    pub planned: Cost,
    /// What it costs where each forward runs alone and whole ([`Strategy::AS_WRITTEN`]).
    pub as_written: Cost,
    /// The stages in the order in which they run, without those in loops.
    pub stages: Vec<StageLine>,
    /// The loops in the order in which they run, without those in loops.
    pub loops: Vec<LoopLine>,
    /// Steps that compute something of the program on the host: how many, and what they cost.
    pub host: (usize, StepCost),
    /// What is not done.
    pub dropped: Dropped,
    /// What is done once for several.
    pub shared: Shared,
}

/// A stage that runs.
#[derive(Clone, Debug)]
pub struct StageLine {
    /// The place of its step in the schedule.
    pub step: usize,
    /// The program's name for the model.
    pub model: Name,
    /// The place of the stage in the model.
    pub stage: usize,
    /// What a person calls it.
    pub name: Name,
    /// Whether it is attention.
    pub attention: bool,
    /// Lanes that travel together.
    pub lanes: usize,
    /// Sequences of them.
    pub rows: usize,
    /// The positions that are computed, of any of them.
    pub positions: std::ops::Range<usize>,
    /// Tokens of the flat batch.
    pub tokens: usize,
    /// Tokens that these lanes have in all.
    pub tokens_whole: usize,
    /// What it costs.
    pub cost: StepCost,
}

/// A loop that runs.
#[derive(Clone, Debug)]
pub struct LoopLine {
    /// The place of its step in the schedule.
    pub step: usize,
    /// Where the program has it.
    pub span: Span,
    /// How often it runs at most.
    pub trip: u64,
    /// The stages of its first iteration.
    pub stages: Vec<StageLine>,
    /// What all iterations cost.
    pub cost: StepCost,
}

/// What is not done.
#[derive(Clone, Default, Debug)]
pub struct Dropped {
    /// Writes that change nothing, by hook: the value is there anyway.
    pub identities: BTreeMap<Name, usize>,
    /// Nodes of the program that nothing saved or logged depends on.
    pub dead_nodes: usize,
    /// Stages, counted by lanes, that run where the program is run as it is written, and do not here.
    pub stages: usize,
}

/// What is done once for several.
#[derive(Clone, Default, Debug)]
pub struct Shared {
    /// Forwards that the program asks for.
    pub forwards: usize,
    /// Lanes that they became.
    pub lanes: usize,
    /// Lanes that branch off another one at a later stage.
    pub later_stages: usize,
    /// Lanes that branch off another one at a later position.
    pub later_positions: usize,
    /// Tokens of lanes that are another lane's, before their first position.
    pub prefix_tokens: usize,
    /// The most lanes that travel together.
    pub most_lanes: usize,
    /// The most tokens that travel together.
    pub most_tokens: usize,
}

/// Explains the plan of a program for a target. `written` is what the optimizer made it of, or the program itself.
///
/// # Errors
/// E4005 if it cannot be scheduled.
pub fn explain(program: &Verified, written: &Verified, target: &Target) -> Result<Explanation, Diagnostic> {
    let planned_schedule = schedule(program, target)?;
    let planned = cost(program, &planned_schedule, target);
    let plain = Target { strategy: Strategy::AS_WRITTEN, ..*target };
    let as_written = cost(written, &schedule(written, &plain)?, &plain);
    let schedule = planned_schedule;
    let stages = stage_lines(program.models(), &schedule, &planned);
    let (mut host, mut loops): (_, Vec<LoopLine>) = ((0, StepCost::default()), vec![]);
    for (at, step) in schedule.steps.iter().enumerate() {
        let cost = planned.steps[at];
        if let Some(LoopCost { trip, schedule: body, first, .. }) = planned.loops.get(&at) {
            let span = match step {
                Step::Host(id) => program.graph().span(*id),
                Step::Effect(entry) => &program.graph().effects[*entry].span,
                Step::Stage(_) | Step::Join(_) | Step::Keep(_) | Step::Kernel(_) => &Span::None,
            };
            loops.push(LoopLine { step: at, span: span.clone(), trip: *trip, stages: stage_lines(program.models(), body, first), cost });
        } else if matches!(step, Step::Host(_) | Step::Kernel(_) | Step::Join(_) | Step::Keep(_)) {
            host.0 += 1;
            host.1.work += cost.work;
            host.1.memory = host.1.memory.max(cost.memory);
        }
    }
    let mut dropped = Dropped {
        dead_nodes: written.graph().live().iter().filter(|live| !**live).count(),
        stages: usize::try_from(as_written.total.stages).unwrap_or(usize::MAX).saturating_sub(schedule.stages_run),
        ..Dropped::default()
    };
    for (hook, _) in &schedule.identities {
        // A hook is a number in its model; where there are several models, it is not said of which.
        let mut specs = program.models().values();
        let name = match (specs.next(), specs.next()) {
            (Some(spec), None) => spec.hook_info(*hook).name.clone(),
            _ => format!("hook {}", hook.0).into(),
        };
        *dropped.identities.entry(name).or_default() += 1;
    }
    let branches = || schedule.lanes.iter().filter(|lane| lane.parent.is_some());
    let shared = Shared {
        forwards: schedule.forwards,
        lanes: schedule.lanes.len(),
        later_stages: branches().filter(|lane| lane.stage > 0).count(),
        later_positions: branches().filter(|lane| lane.first > 0).count(),
        prefix_tokens: branches().map(|lane| lane.batch * lane.first).sum(),
        most_lanes: stages.iter().map(|stage| stage.lanes).max().unwrap_or(0),
        most_tokens: stages.iter().map(|stage| stage.tokens).max().unwrap_or(0),
    };
    Ok(Explanation { schedule, planned, as_written, stages, loops, host, dropped, shared })
}

/// The stages of a schedule in the order in which they run.
fn stage_lines(models: &Models, schedule: &Schedule, planned: &Cost) -> Vec<StageLine> {
    let lines = schedule.steps.iter().enumerate().filter_map(|(at, step)| {
        let Step::Stage(step) = step else { return None };
        let stage = &models[&step.model].stages()[step.stage];
        let lanes = step.lanes.iter().map(|lane| &schedule.lanes[lane.index()]);
        Some(StageLine {
            step: at,
            model: step.model.clone(),
            stage: step.stage,
            name: stage.name.clone(),
            attention: matches!(stage.kind, StageKind::Attention(_)),
            lanes: step.lanes.len(),
            rows: lanes.clone().map(|lane| lane.batch).sum(),
            positions: step.positions.iter().fold(0..0, |all, positions| hull(&all, positions)),
            tokens: lanes.clone().zip(&step.positions).map(|(lane, positions)| lane.batch * positions.len()).sum(),
            tokens_whole: lanes.map(|lane| lane.batch * lane.length).sum(),
            cost: planned.steps[at],
        })
    });
    lines.collect()
}
