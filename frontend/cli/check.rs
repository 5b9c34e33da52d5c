//! `irc check`.

use irc_ir::{graph::EffectKind, op::Op, verify::Verified};
use serde_json::{Value as Json, json};

use super::{
    args::CheckArgs,
    failure::{Failure, Outcome},
    program::Program,
    terminal::{Terminal, count},
};

pub(super) fn check(args: &CheckArgs, terminal: &Terminal) -> Outcome {
    let program = Program::open(&args.program, terminal)?;
    let verified = program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
    let summary = Summary::of(&verified);
    terminal.say(&summary.in_words());
    if args.json { terminal.print_json(&summary.to_json()) } else { Ok(()) }
}

/// What a program amounts to.
struct Summary<'a> {
    program: &'a Verified,
    forwards: usize,
    logs: usize,
    calls: usize,
    loops: usize,
    stops: usize,
    saves: Vec<(&'a str, String)>,
}

impl<'a> Summary<'a> {
    fn of(program: &'a Verified) -> Summary<'a> {
        let graph = program.graph();
        let live = graph.live();
        let mut summary = Summary { program, forwards: 0, logs: 0, calls: 0, loops: 0, stops: 0, saves: vec![] };
        for (_, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
            summary.forwards += usize::from(matches!(node.op, Op::Forward { .. }));
            summary.calls += usize::from(matches!(node.op, Op::Call { .. }));
            summary.loops += usize::from(matches!(node.op, Op::Loop { .. }));
        }
        for effect in &graph.effects {
            match &effect.kind {
                EffectKind::Save { name } => summary.saves.push((&**name, program.ty(effect.operands[0]).to_string())),
                EffectKind::Log { .. } => summary.logs += 1,
                EffectKind::Call { .. } => summary.calls += 1,
                EffectKind::Loop { .. } => summary.loops += 1,
                EffectKind::Stop { .. } => summary.stops += 1,
            }
        }
        summary
    }

    fn in_words(&self) -> String {
        let graph = self.program.graph();
        let mut parts = vec![count(graph.len(), "node"), count(self.forwards, "forward")];
        for (number, what) in [(self.loops, "loop"), (self.calls, "call"), (self.stops, "stop"), (self.logs, "log")] {
            if number > 0 {
                parts.push(count(number, what));
            }
        }
        parts.push(count(self.saves.len(), "save"));
        format!("@{} is right: {}", graph.name, parts.join(", "))
    }

    fn to_json(&self) -> Json {
        let graph = self.program.graph();
        let saves: Vec<Json> = self.saves.iter().map(|(name, ty)| json!({ "name": name, "type": ty })).collect();
        json!({
            "ok": true,
            "name": &*graph.name,
            "nodes": graph.len(),
            "forwards": self.forwards,
            "loops": self.loops,
            "calls": self.calls,
            "stops": self.stops,
            "logs": self.logs,
            "saves": saves,
            "diagnostics": [],
        })
    }
}
