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
    saves: Vec<(&'a str, String)>,
}

impl<'a> Summary<'a> {
    fn of(program: &'a Verified) -> Summary<'a> {
        let graph = program.graph();
        let live = graph.live();
        let mut summary = Summary { program, forwards: 0, logs: 0, saves: vec![] };
        summary.forwards = graph.nodes().filter(|(id, node)| live[id.index()] && matches!(node.op, Op::Forward { .. })).count();
        for effect in &graph.effects {
            match &effect.kind {
                EffectKind::Save { name } => summary.saves.push((&**name, program.ty(effect.value).to_string())),
                EffectKind::Log { .. } => summary.logs += 1,
            }
        }
        summary
    }

    fn in_words(&self) -> String {
        let graph = self.program.graph();
        let mut parts = vec![count(graph.len(), "node"), count(self.forwards, "forward")];
        if self.logs > 0 {
            parts.push(count(self.logs, "log"));
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
            "logs": self.logs,
            "saves": saves,
            "diagnostics": [],
        })
    }
}
