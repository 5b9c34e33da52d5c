//! What may change no bit of a result: other forwards, other reads, other rows, other threads, later tokens.

use irc::{
    backends::{execute::Driven, rten::Rten},
    ir::{graph::NodeId, op::Op, tensor::Tensor},
};

use crate::support::{Program, Random, llama, names, odd, same_bits, tensor};

/// A forward on random tokens, changed at random hooks, of which a few hooks are saved under `name`.
fn random_trace(program: &mut Program, random: &mut Random, name: &str) {
    let (batch, length) = (1 + random.below(2), 1 + random.below(40));
    let mut forward = program.forward(&random.ids(batch, length));
    let hooks: Vec<String> = names(&program.handles["m"].clone());
    for _ in 0..random.below(3) {
        let hook = random.pick(&hooks).clone();
        let value = program.read(forward, &hook);
        let new = if random.below(3) == 0 { program.like(value, random) } else { program.changed(value) };
        forward = program.write(forward, &hook, new);
    }
    let logits = hooks.last().expect("models have hooks").clone();
    for hook in [random.pick(&hooks).clone(), logits] {
        let value = program.read(forward, &hook);
        if program.graph.effects.len() % 7 != 6 {
            program.save(format!("{name} {} {hook}", program.graph.effects.len()), value);
        } else {
            let last = program.op(Op::Index { dim: 1, index: -1 }, [value]);
            program.save(format!("{name} {} {hook}", program.graph.effects.len()), last);
        }
    }
}

#[test]
fn a_forward_among_others_is_the_forward_alone() {
    for model in [llama(), odd()] {
        for seed in 0..4 {
            let mut all = Program::new(model);
            let traces: Vec<u64> = (0..10).map(|at| 1000 * seed + at).collect();
            traces.iter().for_each(|trace| random_trace(&mut all, &mut Random(*trace), &trace.to_string()));
            let all = all.run();
            let mut found = 0;
            for trace in traces {
                let mut alone = Program::new(model);
                // The names of saves count on from those before.
                alone.graph.effects.clear();
                random_trace(&mut alone, &mut Random(trace), &trace.to_string());
                for (name, value) in &alone.run().saves {
                    let hook = name.rsplit(' ').next().expect("the name of a hook");
                    let prefix = format!("{trace} ");
                    let same = all.saves.iter().filter(|(other, _)| other.starts_with(&prefix) && other.ends_with(hook));
                    found += same
                        .filter(|(_, other)| other.ty() == value.ty())
                        .inspect(|(other, together)| {
                            assert!(together.same_bits(value), "{name} alone, {other} among others: {value:?} and {together:?}");
                        })
                        .count();
                }
            }
            assert!(found >= 15, "{found} values were compared");
        }
    }
}

#[test]
fn reads_change_nothing() {
    for model in [llama(), odd()] {
        for seed in 20..30 {
            let mut random = Random(seed);
            let mut program = Program::new(model);
            for trace in 0..3 {
                random_trace(&mut program, &mut random, &trace.to_string());
            }
            let alone = program.run();
            let forwards: Vec<NodeId> = program
                .graph
                .nodes()
                .filter(|(_, node)| matches!(node.op, Op::Forward { .. } | Op::Write { .. }))
                .map(|(id, _)| id)
                .collect();
            for (at, forward) in forwards.iter().enumerate() {
                program.save_all(*forward, &format!("extra {at} "));
            }
            same_bits(&format!("seed {seed}, everything read"), &alone, &program.run());
        }
    }
}

/// Each hook read beside the logits of a long prompt, whose attention is then taken apart.
#[test]
fn one_more_read_changes_nothing() {
    let ids = Random(31).ids(1, 130);
    let mut program = Program::new(llama());
    let forward = program.forward(&ids);
    let logits = program.read(forward, "lm_head.output");
    program.save("logits", logits);
    let alone = program.run();
    for hook in names(llama()).iter().filter(|hook| hook.contains("layers.1.") || !hook.contains("layers.")) {
        let mut program = program.clone();
        let value = program.read(forward, hook);
        program.save("extra", value);
        same_bits(hook, &alone, &program.run());
    }
}

/// A value written where it was read changes nothing.
#[test]
fn writing_what_was_read_changes_nothing() {
    for (model, logits) in [(llama(), "lm_head.output"), (odd(), "head.output")] {
        for length in [5, 90] {
            let ids = Random(32).ids(1, length);
            let saved = |hook: Option<&str>| {
                let mut program = Program::new(model);
                let mut forward = program.forward(&ids);
                if let Some(hook) = hook {
                    let value = program.read(forward, hook);
                    forward = program.write(forward, hook, value);
                }
                let value = program.read(forward, logits);
                program.save("logits", value);
                program.run()
            };
            let plain = saved(None);
            names(model).iter().for_each(|hook| same_bits(hook, &plain, &saved(Some(hook))));
        }
    }
}

#[test]
fn rows_of_a_batch_are_prompts_alone() {
    for model in [llama(), odd()] {
        for (batch, length) in [(3, 1), (2, 9), (5, 33)] {
            let ids = Random(33).ids(batch, length);
            let saved = |ids: &Tensor| {
                let mut program = Program::new(model);
                let forward = program.forward(ids);
                program.save_all(forward, "");
                program.run()
            };
            let all = saved(&ids);
            for row in 0..batch {
                for (name, value) in &saved(&ids.part(row..row + 1)).saves {
                    let value = value.as_tensor().expect("hooks are tensors");
                    assert!(tensor(&all, name).part(row..row + 1).same_bits(value), "row {row} of {batch}x{length}: {name}");
                }
            }
        }
    }
}

#[test]
fn threads_change_nothing() {
    let one = Driven::new(Rten::new(Some(1)));
    let two = Driven::new(Rten::new(Some(2)));
    for seed in 40..45 {
        let mut program = Program::new(llama());
        let mut random = Random(seed);
        (0..4).for_each(|trace| random_trace(&mut program, &mut random, &trace.to_string()));
        let forward = program.forward(&random.ids(1, 400));
        let logits = program.read(forward, "lm_head.output");
        program.save("long", logits);
        let [one, two] = [&one, &two].map(|engine| program.try_run(engine).expect("it runs"));
        same_bits("one thread and two", &one, &two);
    }
}

/// In a causal model the first tokens of a long prompt are those of the short one, bit for bit, however the tokens fall
/// into chunks.
#[test]
fn later_tokens_change_nothing() {
    let ids = Random(50).ids(1, 300);
    let saved = |length: usize| {
        let mut program = Program::new(llama());
        let part: Vec<i64> = ids.values::<i64>().expect("ids")[..length].to_vec();
        let forward = program.forward(&Tensor::new([1, length], part));
        for hook in names(llama()).iter().filter(|hook| !hook.ends_with("scores") && !hook.ends_with("pattern")) {
            let value = program.read(forward, hook);
            program.save(hook, value);
        }
        program.run()
    };
    let long = saved(300);
    for length in [1, 2, 3, 63, 64, 65, 127, 129, 150, 299] {
        for (name, value) in &saved(length).saves {
            let value = value.as_tensor().expect("hooks are tensors");
            let whole = tensor(&long, name);
            let whole = whole.reshaped(&whole.shape()[1..]).part(0..length);
            assert!(whole.same_bits(&value.reshaped(&value.shape()[1..])), "{name} of the first {length} tokens");
        }
    }
}

/// The order in which a program is written does not show.
#[test]
fn a_program_is_the_same_twice() {
    let mut program = Program::new(llama());
    let mut random = Random(60);
    (0..6).for_each(|trace| random_trace(&mut program, &mut random, &trace.to_string()));
    same_bits("again", &program.run(), &program.run());
    assert_eq!(irc::passes::schedule(&program.verified()), irc::passes::schedule(&program.verified()));
}
