//! A schedule as text, in the program's names for values.

use std::{fmt::Write as _, ops::Range};

use irc::{
    ir::{
        attr::Literal,
        graph::{EffectKind, Graph, NodeId},
        model::{HookId, ModelSpec, StageKind},
        op::Op,
        plan::{Edit, Lane, LaneId, Schedule, StageStep, Step, Write},
        verify::Verified,
    },
    models::induction::WORDS,
};

/// Lanes, then steps in their order, then how many stages run.
pub(crate) fn render(program: &Verified, schedule: &Schedule) -> String {
    let mut text = String::new();
    for (at, lane) in schedule.lanes.iter().enumerate() {
        writeln!(text, "lane {at}: {}", show_lane(program, lane)).unwrap();
    }
    for step in &schedule.steps {
        match step {
            Step::Stage(step) => text += &show_stage(program, step),
            Step::Host(id) => writeln!(text, "host {}", definition(program.graph(), *id)).unwrap(),
            Step::Kernel(chain) => {
                let chain: Vec<String> = chain.iter().map(|id| definition(program.graph(), *id)).collect();
                writeln!(text, "kernel {}", chain.join("; ")).unwrap();
            }
            Step::Join(join) => {
                let pieces = join.pieces.iter().map(|(lane, positions)| format!("{} of lane {}", range(positions), lane.0));
                let pieces: Vec<String> = pieces.collect();
                writeln!(text, "join {} = {}", name(program.graph(), join.value), pieces.join(", ")).unwrap();
            }
            Step::Keep(kept) => {
                let spec = &program.models()[&schedule.lanes[kept.lane.index()].model];
                let nodes = kept.keep.nodes.iter().map(|node| spec.hook_at(*node).map_or("a node", |hook| &spec.hook_info(hook).name));
                let keys = kept.keep.extends.then_some("keys and values");
                let what: Vec<&str> = keys.into_iter().chain(nodes).collect();
                writeln!(text, "keep {} of lane {}: {}", name(program.graph(), kept.value), kept.lane.0, what.join(", ")).unwrap();
            }
            Step::Effect(at) => {
                let effect = &program.graph().effects[*at];
                let show = |id: NodeId| name(program.graph(), schedule.values[id.index()]);
                let value = effect.operands.iter().map(|id| show(*id)).collect::<Vec<_>>().join(", ");
                match &effect.kind {
                    EffectKind::Save { name } => writeln!(text, "save {value} as \"{name}\"").unwrap(),
                    EffectKind::Log { label: Some(label) } => writeln!(text, "log \"{label}\", {value}").unwrap(),
                    EffectKind::Log { label: None } => writeln!(text, "log {value}").unwrap(),
                    EffectKind::Call { name, .. } => writeln!(text, "call {name}({value})").unwrap(),
                    EffectKind::Stop { .. } => writeln!(text, "stop").unwrap(),
                    EffectKind::Loop { .. } => unreachable!("loops are not scheduled"),
                }
            }
        }
    }
    for (hook, value) in &schedule.identities {
        let spec = program.models().values().next().expect("it has a model");
        writeln!(text, "no change: {} = {}", hook_name(spec, *hook), name(program.graph(), *value)).unwrap();
    }
    let Schedule { forwards, token_stages, token_stages_whole, .. } = schedule;
    writeln!(text, "forwards {forwards}, tokens through stages {token_stages} of {token_stages_whole}").unwrap();
    text
}

fn show_lane(program: &Verified, lane: &Lane) -> String {
    let spec = &program.models()[&lane.model];
    let rows = format!("{} {}x{}", lane.model, lane.batch, lane.length);
    let tokens = lane.tokens.map(|tokens| name(program.graph(), tokens));
    let mut text = match (lane.parent, tokens) {
        (None, Some(tokens)) => format!("{rows}, {tokens}"),
        (None, None) => format!("{rows}, no tokens"),
        (Some(LaneId(parent)), Some(tokens)) if lane.stage == 0 && lane.writes.is_empty() => {
            format!("{rows}, {tokens}, lane {parent} before position {}", lane.first)
        }
        (Some(LaneId(parent)), _) => {
            let stage = &spec.stages()[lane.stage].name;
            let first = if lane.first > 0 { format!(" and before position {}", lane.first) } else { String::new() };
            format!("{rows}, lane {parent} up to \"{stage}\"{first}")
        }
    };
    for Write { hook, value, from, edit } in &lane.writes {
        let sign = match edit {
            None => "=",
            Some(Edit::Affine(_)) => "becomes",
            Some(Edit::Chain(_)) => "becomes spliced",
        };
        let from = if *from > 0 { format!(" from {from}") } else { String::new() };
        write!(text, ", {}{from} {sign} {}", hook_name(spec, *hook), name(program.graph(), *value)).unwrap();
    }
    text
}

fn show_stage(program: &Verified, step: &StageStep) -> String {
    let spec = &program.models()[&step.model];
    let stage = &spec.stages()[step.stage];
    let kind = if matches!(stage.kind, StageKind::Attention(_)) { "attention" } else { "stage" };
    let lanes: Vec<String> = step.lanes.iter().zip(&step.positions).map(|(lane, at)| format!("{} at {}", lane.0, range(at))).collect();
    let mut text = format!("{kind} {} \"{}\" for {}\n", step.stage, stage.name, lanes.join(", "));
    for capture in &step.captures {
        let value = name(program.graph(), capture.value);
        let (hook, positions) = (hook_name(spec, capture.hook), range(&capture.positions));
        writeln!(text, "  lane {}: {value} is {hook} at {positions}", capture.lane.0).unwrap();
    }
    text
}

fn range(positions: &Range<usize>) -> String {
    format!("{}..{}", positions.start, positions.end)
}

fn hook_name(spec: &ModelSpec, hook: HookId) -> &str {
    &spec.hook_info(hook).name
}

/// `%x`, or for a value without a name what it is.
fn name(graph: &Graph, id: NodeId) -> String {
    match graph.label(id) {
        Some(label) => format!("%{label}"),
        None => expression(graph, id),
    }
}

fn definition(graph: &Graph, id: NodeId) -> String {
    match graph.label(id) {
        Some(label) => format!("%{label} = {}", expression(graph, id)),
        None => expression(graph, id),
    }
}

fn expression(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    match &node.op {
        Op::Const { value: Literal::Str(text) } => format!("\"{text}\""),
        Op::Const { value: Literal::Tensor(tensor) } => match tensor.to_tensor().values::<i64>() {
            // Token ids, for all that cases are about.
            Some(ids) if tensor.shape().len() == 2 => {
                let word = |id: &i64| usize::try_from(*id).ok().and_then(|id| WORDS.get(id)).copied().unwrap_or("…");
                format!("\"{}\"", ids.iter().map(word).collect::<Vec<_>>().join(" "))
            }
            _ => format!("{tensor:?}"),
        },
        op => {
            let operands: Vec<String> = node.operands.iter().map(|operand| name(graph, *operand)).collect();
            format!("{}({})", op.kind().name(), operands.join(", "))
        }
    }
}
