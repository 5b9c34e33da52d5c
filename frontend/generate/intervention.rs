//! Programs as interventions: what one does to its forward happens in steps of a generation.

use std::collections::HashMap;

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Diagnostics, Span},
    graph::{EffectKind, Graph, NodeId},
    model::HookId,
    op::Op,
    types::Name,
};

use super::Step;
use crate::recorder::Ref;

impl Step {
    /// Does to these steps what a program does to its forward. It has one `forward`, of one model, on any prompt; its model counts
    /// as that of the generation, whatever it is called. Writes stand one after the other, and each read comes before the writes
    /// that change what it shows. What the program saves and logs is left aside.
    ///
    /// ```
    /// # use irc::{ir::text::parse, prelude::*};
    /// let program = r#"graph @ablate models { m: "induction" } {
    ///   %f = forward([[0]]) {model: m}
    ///   %h = read(%f) {hook: "model.layers.2.output"}
    ///   %w = write(%f, mul(%h, 0.0)) {hook: "model.layers.2.output"}
    ///   save read(%w) {hook: "lm_head.output"} as "logits"
    /// }"#;
    /// let model = Model::open("induction")?;
    /// let session = model.session();
    /// let generation = session.generate("<s> Eiffel Paris Eiffel", 3);
    /// generation.all().intervene(&parse(program).into_result()?)?;
    /// generation.all().hook("model.layers.2.output").abs().max(..).save("h");
    /// let results = session.run()?;
    /// assert!(results.get("h")?.as_list().unwrap().iter().all(|h| h.as_tensor().unwrap().to_f64() == [0.0]));
    /// # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
    /// ```
    ///
    /// # Errors
    /// E3010 at whatever cannot be done in every step; E2001 for a hook that the model does not have.
    pub fn intervene(&self, program: &Graph) -> Result<(), Diagnostics> {
        let Some(trace) = self.generation.trace else { return Ok(()) };
        let mut recorder = self.generation.model.session.record();
        let spec = recorder.spec(recorder.model_of(trace)).clone();
        let model = recorder.model_of(trace);
        let chain = Chain::of(program, &|hook, span| spec.hook(hook).map_err(|error| error.or_label(span)), &|a, b| spec.reaches(a, b))?;
        let mut values: HashMap<NodeId, Ref> = HashMap::new();
        for (id, node) in program.nodes().filter(|(id, _)| chain.wanted[id.index()]) {
            let span = program.span(id).clone();
            let operands: Option<Vec<&Ref>> =
                node.operands.iter().filter(|of| !chain.is_forward[of.index()]).map(|of| values.get(of)).collect();
            let Some(operands) = operands else { continue };
            let value = match &node.op {
                Op::Forward { .. } => continue,
                Op::Const { value } => recorder.constant(value.clone(), span),
                Op::Read { hook } => {
                    let at = recorder.hook_at(trace, self.steps, hook, span.clone());
                    // What it is here, whatever is written later.
                    recorder.copy(&at, span)
                }
                Op::Write { hook } => {
                    let (at, value) = (recorder.hook_at(trace, self.steps, hook, span.clone()), operands[0].clone());
                    recorder.set(&at, &value, span);
                    continue;
                }
                Op::Apply { module, .. } => recorder.apply(model, module, operands[0], span),
                op => {
                    let value = recorder.op(op.clone(), &operands, span.clone());
                    recorder.copy(&value, span)
                }
            };
            values.insert(id, value);
        }
        Ok(())
    }
}

/// The forward of a program, and what is written to it.
struct Chain {
    is_forward: Vec<bool>,
    /// What the writes need, and they themselves.
    wanted: Vec<bool>,
}

impl Chain {
    /// Finds it, and whatever cannot happen in a step.
    fn of(
        program: &Graph,
        hook: &dyn Fn(&Name, &Span) -> Result<HookId, Diagnostic>,
        reaches: &dyn Fn(HookId, HookId) -> bool,
    ) -> Result<Chain, Diagnostics> {
        let refuse = |what: &str, span: &Span| {
            let error =
                Diagnostic::error(Code::E3010, format!("{what} cannot be done in every step of a generation")).label(span.clone(), "");
            error.help("an intervention has one forward, of one model, and writes to its hooks")
        };
        let mut found = vec![];
        let mut is_forward = vec![false; program.len()];
        let mut first: Option<NodeId> = None;
        // The writes, in their order, with the forward that comes of each.
        let mut writes: Vec<(NodeId, HookId)> = vec![];
        let mut reads: Vec<(NodeId, HookId)> = vec![];
        for (id, node) in program.nodes() {
            let span = program.span(id);
            is_forward[id.index()] = matches!(node.op, Op::Forward { .. } | Op::Write { .. });
            match &node.op {
                Op::Forward { .. } => match first {
                    None => first = Some(id),
                    Some(first) => found.push(refuse("a second forward", span).label(program.span(first).clone(), "the first one")),
                },
                Op::Write { hook: name } => {
                    if node.operands.first().copied() != writes.last().map(|(write, _)| *write).or(first) {
                        found.push(
                            refuse("a write beside another one", span).note("each write is on the forward that the one before gives"),
                        );
                    }
                    match hook(name, span) {
                        Ok(hook) => writes.push((id, hook)),
                        Err(error) => found.push(error),
                    }
                }
                Op::Read { hook: name } => match hook(name, span) {
                    Ok(hook) => reads.push((id, hook)),
                    Err(error) => found.push(error),
                },
                Op::Extend {} => found.push(refuse("`extend`", span)),
                Op::Loop { .. } => found.push(refuse("a loop", span)),
                Op::Call { .. } | Op::EffectResult { .. } => found.push(refuse("a call of a function", span)),
                _ => {}
            }
        }
        for effect in &program.effects {
            match &effect.kind {
                EffectKind::Save { .. } | EffectKind::Log { .. } => {}
                EffectKind::Call { .. } => found.push(refuse("a call of a function", &effect.span)),
                EffectKind::Loop { .. } => found.push(refuse("a loop", &effect.span)),
                EffectKind::Stop { .. } => found.push(refuse("a stop", &effect.span)),
            }
        }
        // What the writes need.
        let mut wanted = vec![false; program.len()];
        writes.iter().for_each(|(write, _)| wanted[write.index()] = true);
        for (id, node) in program.nodes().rev() {
            if wanted[id.index()] {
                // The prompt is any.
                let operands = if matches!(node.op, Op::Forward { .. }) { &[][..] } else { &node.operands[..] };
                operands.iter().for_each(|operand| wanted[operand.index()] = true);
            }
        }
        for (read, hook) in reads.iter().filter(|(read, _)| wanted[read.index()]) {
            let of = program.node(*read).operands.first().copied();
            let before = writes.iter().position(|(write, _)| Some(*write) == of).map_or(0, |at| at + 1);
            let changes = |(at, (write, on)): &(usize, &(NodeId, HookId))| {
                *at >= before && (reaches(*on, *hook) && on != hook || on == hook && write < read)
            };
            if let Some((_, (write, _))) = writes.iter().enumerate().find(changes) {
                let error = refuse("what a hook would have held without a write", program.span(*read));
                found.push(error.label(program.span(*write).clone(), "the write").note("read it of the forward that this write gives"));
            }
        }
        if writes.is_empty() && found.is_empty() {
            found.push(Diagnostic::error(Code::E3010, "the program writes to no hook, so that it is no intervention"));
        }
        if found.is_empty() { Ok(Chain { is_forward, wanted }) } else { Err(Diagnostics(found)) }
    }
}
