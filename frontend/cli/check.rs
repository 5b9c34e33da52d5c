//! `irc check`.

use irc_ir::{
    canonical::content_hash,
    graph::{Body, EffectKind, Graph},
    op::Op,
    verify::{LoopId, Types, Verified},
};
use serde_json::{Value as Json, json};

use super::{
    args::CheckArgs,
    explanation::warn,
    failure::{Failure, Outcome},
    program::Program,
    terminal::{Terminal, count},
};

pub(super) fn check(args: &CheckArgs, terminal: &Terminal) -> Outcome {
    let program = Program::open(&args.program, terminal)?;
    let verified = program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
    let warnings = warn(&verified, &program, terminal);
    let summary = Summary::of(&verified);
    terminal.say(&summary.in_words());
    if args.json { terminal.print_json(&summary.to_json(warnings)) } else { Ok(()) }
}

/// What a program amounts to.
struct Summary<'a> {
    program: &'a Verified,
    nodes: usize,
    forwards: usize,
    logs: usize,
    calls: usize,
    loops: usize,
    stops: usize,
    saves: Vec<(&'a str, String)>,
}

impl<'a> Summary<'a> {
    fn of(program: &'a Verified) -> Summary<'a> {
        let mut summary = Summary { program, nodes: 0, forwards: 0, logs: 0, calls: 0, loops: 0, stops: 0, saves: vec![] };
        summary.add(program.graph(), program.types());
        summary
    }

    /// Adds what stands in a graph, the bodies of its loops included.
    fn add(&mut self, graph: &'a Graph, types: &'a Types) {
        self.nodes += graph.len();
        let live = graph.live();
        for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
            self.forwards += usize::from(matches!(node.op, Op::Forward { .. } | Op::Extend {}));
            self.calls += usize::from(matches!(node.op, Op::Call { .. }));
            if let Op::Loop { body, .. } = &node.op {
                self.add_loop(body, types.bodies.get(&LoopId::Node(id)));
            }
        }
        for (at, effect) in graph.effects.iter().enumerate() {
            match &effect.kind {
                EffectKind::Save { name } => self.saves.push((&**name, types.nodes[effect.operands[0].index()].to_string())),
                EffectKind::Log { .. } => self.logs += 1,
                EffectKind::Call { .. } => self.calls += 1,
                EffectKind::Loop { body, .. } => self.add_loop(body, types.bodies.get(&LoopId::Effect(at))),
                EffectKind::Stop { .. } => self.stops += 1,
            }
        }
    }

    fn add_loop(&mut self, body: &'a Body, types: Option<&'a Types>) {
        self.loops += 1;
        if let Some(types) = types {
            self.add(body.graph(), types);
        }
    }

    fn in_words(&self) -> String {
        let graph = self.program.graph();
        let mut parts = vec![count(self.nodes, "node"), count(self.forwards, "forward")];
        for (number, what) in [(self.loops, "loop"), (self.calls, "call"), (self.stops, "stop"), (self.logs, "log")] {
            if number > 0 {
                parts.push(count(number, what));
            }
        }
        parts.push(count(self.saves.len(), "save"));
        format!("@{} is right: {}", graph.name, parts.join(", "))
    }

    fn to_json(&self, warnings: Json) -> Json {
        let graph = self.program.graph();
        let saves: Vec<Json> = self.saves.iter().map(|(name, ty)| json!({ "name": name, "type": ty })).collect();
        json!({
            "ok": true,
            "name": &*graph.name,
            "hash": content_hash(graph).to_string(),
            "nodes": self.nodes,
            "forwards": self.forwards,
            "loops": self.loops,
            "calls": self.calls,
            "stops": self.stops,
            "logs": self.logs,
            "saves": saves,
            "diagnostics": warnings,
        })
    }
}
