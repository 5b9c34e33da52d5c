//! What may change no bit of a result: other forwards, other reads, other rows, later tokens, the same once more.

use irc_ir::{graph::NodeId, op::Op, random::Dice, tensor::Tensor};

use super::{
    Checker, Suite,
    models::all,
    program::{Program, hooks, ids, same_bits, tensor},
};

pub(super) fn check(checker: &mut Checker<'_>, suite: &Suite) {
    forwards_among_others(checker, suite);
    reads(checker, suite);
    writes_of_what_was_read(checker);
    rows(checker);
    later_tokens(checker);
}

/// A forward on random tokens, changed at random hooks, of which a few hooks are saved as `NAME HOOK`.
fn random_forward(program: &mut Program, hooks: &[String], dice: &mut Dice, name: &str) {
    let (batch, length) = (1 + dice.below(2), 1 + dice.below(40));
    let mut forward = program.forward(&ids(batch, length, dice));
    for _ in 0..dice.below(3) {
        let hook = dice.pick(hooks);
        let value = program.read(forward, &hook);
        let new = if dice.once_in(3) { program.like(value, dice) } else { program.changed(value) };
        forward = program.write(forward, &hook, new);
    }
    let (some, logits) = (dice.below(hooks.len() - 1), hooks.len() - 1);
    for hook in [some, logits] {
        let value = program.read(forward, &hooks[hook]);
        program.save(format!("{name} {}", hooks[hook]), value);
    }
}

fn forwards_among_others(checker: &mut Checker<'_>, suite: &Suite) {
    checker.section("forwards among others");
    for (name, model, _) in all() {
        let hooks = hooks(model);
        for seed in 0..suite.programs / 40 {
            checker.case(&format!("ten forwards of {name}, seed {seed}"), |backend| {
                let forwards = 10 * seed..10 * seed + 10;
                let mut together = Program::new(model);
                for forward in forwards.clone() {
                    random_forward(&mut together, &hooks, &mut Dice::new(forward), &forward.to_string());
                }
                let together = together.run(backend)?;
                for forward in forwards {
                    let mut alone = Program::new(model);
                    random_forward(&mut alone, &hooks, &mut Dice::new(forward), &forward.to_string());
                    same_bits(&alone.run(backend)?, &together)?;
                }
                Ok(0)
            });
        }
    }
}

fn reads(checker: &mut Checker<'_>, suite: &Suite) {
    checker.section("reads added");
    for (name, model, logits) in all() {
        let hooks = hooks(model);
        for seed in 0..suite.programs / 12 {
            checker.case(&format!("everything of {name} read, seed {seed}"), |backend| {
                let mut dice = Dice::new(1000 + seed);
                let mut program = Program::new(model);
                (0..3).for_each(|at| random_forward(&mut program, &hooks, &mut dice, &at.to_string()));
                let alone = program.run(backend)?;
                let is_forward = |op: &Op| matches!(op, Op::Forward { .. } | Op::Write { .. });
                let forwards: Vec<NodeId> = program.graph.nodes().filter(|(_, node)| is_forward(&node.op)).map(|(id, _)| id).collect();
                for (at, forward) in forwards.into_iter().enumerate() {
                    program.save_all(forward, &format!("extra {at} "));
                }
                let all = program.run(backend)?;
                same_bits(&alone, &all)?;
                // And the same bits once more.
                same_bits(&all, &program.run(backend)?)?;
                Ok(0)
            });
        }
        // Beside the logits of a long prompt, whose attention is then taken apart.
        let ids = ids(1, 130, &mut Dice::new(31));
        let mut program = Program::new(model);
        let forward = program.forward(&ids);
        let value = program.read(forward, logits);
        program.save("logits", value);
        for hook in hooks.iter().filter(|hook| !hook.contains("layers.0.")) {
            checker.case(&format!("{hook} of {name} beside the logits of a long prompt"), |backend| {
                let mut more = program.clone();
                let value = more.read(forward, hook);
                more.save("extra", value);
                same_bits(&program.run(backend)?, &more.run(backend)?)?;
                Ok(0)
            });
        }
    }
}

fn writes_of_what_was_read(checker: &mut Checker<'_>) {
    checker.section("what was read written back");
    for (name, model, logits) in all() {
        for hook in hooks(model) {
            checker.case(&format!("{hook} of {name}"), |backend| {
                let mut program = Program::new(model);
                let forward = program.forward(&ids(1, 20, &mut Dice::new(32)));
                let value = program.read(forward, logits);
                program.save("logits", value);
                let plain = program.run(backend)?;
                let value = program.read(forward, &hook);
                let written = program.write(forward, &hook, value);
                let value = program.read(written, logits);
                program.graph.effects.clear();
                program.save("logits", value);
                same_bits(&plain, &program.run(backend)?)?;
                Ok(0)
            });
        }
    }
}

/// A row of a batch is the prompt alone.
fn rows(checker: &mut Checker<'_>) {
    checker.section("rows alone");
    for (name, model, _) in all() {
        for (batch, length) in [(3, 1), (2, 9), (5, 33)] {
            checker.case(&format!("{name}, {batch}x{length}"), |backend| {
                let ids = ids(batch, length, &mut Dice::new(33));
                let saved = |ids: &Tensor| {
                    let mut program = Program::new(model);
                    let forward = program.forward(ids);
                    program.save_all(forward, "");
                    program.run(backend)
                };
                let all = saved(&ids)?;
                for row in 0..batch {
                    for (hook, value) in &saved(&ids.part(row..row + 1))?.saves {
                        let alone = value.as_tensor().ok_or_else(|| format!("{hook} is no tensor"))?;
                        let whole = tensor(&all, hook)?;
                        if whole.shape().first() != Some(&batch) || !whole.part(row..row + 1).same_bits(alone) {
                            return Err(format!("row {row} of {hook} is not that of the prompt alone").into());
                        }
                    }
                }
                Ok(0)
            });
        }
    }
}

/// In a causal model the first tokens of a long prompt are those of the short one, however the tokens fall into chunks.
fn later_tokens(checker: &mut Checker<'_>) {
    checker.section("later tokens");
    for (name, model, _) in all().into_iter().filter(|(_, model, _)| model.spec.causal()) {
        let ids = ids(1, 300, &mut Dice::new(50));
        for length in [1, 2, 3, 63, 64, 65, 127, 129, 150, 299] {
            checker.case(&format!("{name}, {length} of 300 tokens"), |backend| {
                let saved = |length: usize| {
                    let mut program = Program::new(model);
                    let forward = program.forward(&Tensor::new([1, length], ids.values::<i64>().unwrap_or_default()[..length].to_vec()));
                    // Not those that are of pairs of positions.
                    for hook in hooks(model).iter().filter(|hook| !hook.ends_with("scores") && !hook.ends_with("pattern")) {
                        let value = program.read(forward, hook);
                        program.save(hook, value);
                    }
                    program.run(backend)
                };
                let long = saved(300)?;
                for (hook, value) in &saved(length)?.saves {
                    let short = value.as_tensor().ok_or_else(|| format!("{hook} is no tensor"))?;
                    let whole = tensor(&long, hook)?;
                    let whole = whole.reshaped(&whole.shape()[1..]).part(0..length);
                    if !whole.same_bits(&short.reshaped(&short.shape()[1..])) {
                        return Err(format!("{hook} of the first {length} tokens changes with later ones").into());
                    }
                }
                Ok(0)
            });
        }
    }
}
