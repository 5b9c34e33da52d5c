//! Whole programs: writes that depend on reads, patches between forwards, chains, conditions, two models; and random ones.

use irc::{
    backends::Event,
    ir::{
        diagnostic::Span,
        graph::{Effect, EffectKind, NodeId},
        op::Op,
        types::DType,
    },
};

use crate::support::{Program, Random, VOCABULARY, engine, llama, names, odd, tensor};

fn last(program: &mut Program, value: NodeId) -> NodeId {
    program.op(Op::Slice { dim: 1, start: Some(-1), end: None, step: 1 }, [value])
}

fn with_last(program: &mut Program, whole: NodeId, part: NodeId) -> NodeId {
    program.op(Op::Update { dim: 1, start: Some(-1), end: None, step: 1 }, [whole, part])
}

/// Late into early and early into late, between prompts of different length.
#[test]
fn patches_between_forwards() {
    let mut random = Random(100);
    for (from, into) in [
        ("layers.2.output", "layers.0.input"),
        ("layers.0.output", "layers.2.input"),
        ("layers.1.mlp.output", "layers.1.mlp.output"),
        ("norm.output", "embed_tokens.output"),
        ("embed_tokens.output", "norm.output"),
        ("layers.2.self_attn.output", "layers.0.self_attn.input"),
    ] {
        let mut program = Program::new(llama());
        let (a, b) = (program.forward(&random.ids(1, 6)), program.forward(&random.ids(1, 9)));
        let source = program.read(a, &format!("model.{from}"));
        let part = last(&mut program, source);
        let hook = format!("model.{into}");
        let target = program.read(b, &hook);
        let new = with_last(&mut program, target, part);
        let patched = program.write(b, &hook, new);
        for (name, forward) in [("a", a), ("b", b), ("patched", patched)] {
            program.save_all(forward, &format!("{name} "));
        }
        program.check(&format!("{from} into {into}"));
    }
}

/// Each layer's output set to a function of itself as earlier writes left it: seen by the next, which is seen by the next.
#[test]
fn chains_over_all_layers() {
    let mut random = Random(101);
    let hooks = [
        "model.embed_tokens.output",
        "model.layers.0.self_attn.z",
        "model.layers.0.output",
        "model.layers.1.self_attn.pattern",
        "model.layers.1.mlp.act_fn.output",
        "model.layers.1.output",
        "model.layers.2.self_attn.scores",
        "model.layers.2.output",
        "lm_head.input",
    ];
    let mut program = Program::new(llama());
    let base = program.forward(&random.ids(2, 4));
    let mut forward = base;
    for hook in hooks {
        let (before, plain) = (program.read(forward, hook), program.read(base, hook));
        let sum = program.add(before, plain);
        let new = program.changed(sum);
        forward = program.write(forward, hook, new);
        let after = program.read(forward, "lm_head.output");
        program.save(hook, after);
    }
    program.save_all(forward, "after ");
    let outcome = program.check("a chain");
    assert!(!tensor(&outcome, "lm_head.input").same_bits(tensor(&outcome, "model.embed_tokens.output")));
}

/// Writes on a write, on a hook before an earlier write, and many in one stage.
#[test]
fn writes_on_writes() {
    let mut random = Random(102);
    let mut program = Program::new(llama());
    let base = program.forward(&random.ids(1, 5));
    let mut forward = base;
    let stage = [
        "up_proj.output",
        "gate_proj.output",
        "act_fn.input",
        "gate_proj.output",
        "down_proj.input",
        "input",
        "output",
        "act_fn.output",
        "output",
    ];
    for (at, leaf) in stage.iter().enumerate() {
        let hook = format!("model.layers.1.mlp.{leaf}");
        // What is written depends on the forward before the write, at this hook and at one before it.
        let (value, other) = (program.read(forward, &hook), program.read(forward, "model.layers.1.mlp.down_proj.output"));
        let mean = program.op(Op::Mean { dims: vec![-1], keepdim: true }, [other]);
        let sum = program.add(value, mean);
        let new = program.changed(sum);
        forward = program.write(forward, &hook, new);
        let logits = program.read(forward, "lm_head.output");
        program.save(format!("{at} logits"), logits);
        program.save_all(forward, &format!("{at} "));
    }
    program.check("writes on writes");
    // The same hooks overwritten by constants, so that some writes hide others; only the end is looked at.
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut program = Program::new(llama());
        let mut forward = program.forward(&random.ids(1, 2));
        for _ in 0..2 + random.below(4) {
            let hook = format!("model.layers.{}.mlp.{}", random.below(2), random.pick(&stage));
            let value = program.read(forward, &hook);
            let new = program.like(value, &mut random);
            forward = program.write(forward, &hook, new);
        }
        let logits = program.read(forward, "model.layers.1.output");
        program.save("out", logits);
        program.check(&format!("constants, seed {seed}"));
    }
}

#[test]
fn conditions() {
    for limit in [-1e9f32, 0.0, 1e9] {
        let mut program = Program::new(llama());
        let forward = program.forward(&Random(103).ids(2, 4));
        let hook = "model.layers.1.output";
        let old = program.read(forward, hook);
        let new = program.changed(old);
        let early = program.read(forward, "model.layers.0.mlp.output");
        let sum = program.op(Op::Sum { dims: vec![1, 2], keepdim: true }, [early]);
        let limit = program.number(limit);
        let high = program.op(Op::Gt {}, [sum, limit]);
        let chosen = program.op(Op::Select {}, [high, new, old]);
        let forward = program.write(forward, hook, chosen);
        let logits = program.read(forward, "lm_head.output");
        program.save("logits", logits);
        program.check("a condition");
    }
}

/// Two models that feed each other: the tokens and a steering vector of one come from the other.
#[test]
fn two_models() {
    let mut program = Program::new(llama()).with("n", odd());
    let ids = program.constant(&Random(104).ids(1, 5));
    let first = program.forward_on("m", ids);
    let logits = program.read(first, "lm_head.output");
    let next = program.op(Op::Argmax { dim: Some(-1), keepdim: false }, [logits]);
    let second = program.forward_on("n", next);
    let head = program.read(second, "head.output");
    let query = program.read(second, "second.query");
    let mean = program.op(Op::Mean { dims: vec![-1], keepdim: true }, [query]);
    let residual = program.read(first, "model.layers.1.output");
    let steered = program.add(residual, mean);
    let first = program.write(first, "model.layers.1.output", steered);
    let after = program.read(first, "lm_head.output");
    [("next", next), ("head", head), ("after", after)].into_iter().for_each(|(name, value)| program.save(name, value));
    program.check("two models");
}

/// Generation without a cache: each forward takes what the last one said.
#[test]
fn tokens_of_tokens() {
    let mut program = Program::new(llama());
    let mut ids = program.constant(&Random(105).ids(1, 3));
    for step in 0..5 {
        let forward = program.forward_on("m", ids);
        let logits = program.read(forward, "lm_head.output");
        let end = last(&mut program, logits);
        let next = program.op(Op::Argmax { dim: Some(-1), keepdim: false }, [end]);
        ids = program.op(Op::Cat { dim: 1 }, [ids, next]);
        program.save(format!("ids {step}"), ids);
    }
    program.check("generation");
}

/// Logs come in the order of the program, before later saves run out of tensors.
#[test]
fn effects_keep_their_order() {
    let mut program = Program::new(llama());
    let forward = program.forward(&Random(106).ids(1, 3));
    let hooks = ["lm_head.output", "model.layers.0.output", "model.layers.2.mlp.output", "model.layers.0.output"];
    for hook in hooks {
        let value = program.read(forward, hook);
        let value = program.op(Op::Max { dims: vec![], keepdim: false }, [value]);
        let kind = EffectKind::Log { label: Some(hook.into()) };
        program.graph.effects.push(Effect::new(kind, [value], Span::None));
    }
    let mut heard = vec![];
    let verified = program.verified();
    irc::backends::Backend::run(engine(), &verified, &program.handles, &mut |Event::Log { label, .. }| heard.push(label)).expect("it runs");
    assert_eq!(heard.iter().flatten().map(|label| &**label).collect::<Vec<_>>(), hooks);
}

/// A program that wanders: forwards, reads, arithmetic, slices, updates, writes anywhere, patches, saves.
fn wander(seed: u64) -> Program {
    let mut random = Random(seed);
    let model = if seed.is_multiple_of(3) { odd() } else { llama() };
    let hooks = names(model);
    let mut program = Program::new(model);
    let prompts = [(1, 2), (2, 2), (1, 3), (2, 4)].map(|(batch, length)| random.ids(batch, length));
    let mut forwards: Vec<NodeId> = vec![];
    let mut tensors: Vec<NodeId> = vec![];
    for _ in 0..4 + random.below(20) {
        if forwards.is_empty() || random.below(6) == 0 {
            forwards.push(program.forward(random.pick(&prompts)));
            continue;
        }
        let forward = *random.pick(&forwards);
        let hook = random.pick(&hooks).clone();
        match random.below(8) {
            0 | 1 => tensors.push(program.read(forward, &hook)),
            2..=4 => {
                let old = program.read(forward, &hook);
                let shape = program.shape(old);
                let floats = program.dtype(old) == DType::F32;
                let same: Vec<NodeId> =
                    tensors.iter().copied().filter(|t| program.shape(*t) == shape && program.dtype(*t) == program.dtype(old)).collect();
                let fits: Vec<NodeId> = tensors
                    .iter()
                    .copied()
                    .filter(|t| {
                        floats
                            && program.dtype(*t) == DType::F32
                            && program.shape(*t).len() == shape.len()
                            && program.shape(*t)[2..] == shape[2..]
                            && program.shape(*t)[0] == shape[0]
                    })
                    .collect();
                let new = match random.below(4) {
                    0 if !same.is_empty() => *random.pick(&same),
                    1 if !fits.is_empty() => {
                        let other = *random.pick(&fits);
                        let part = last(&mut program, other);
                        with_last(&mut program, old, part)
                    }
                    2 => program.like(old, &mut random),
                    _ => program.changed(old),
                };
                forwards.push(program.write(forward, &hook, new));
            }
            5 if !tensors.is_empty() => {
                let value = *random.pick(&tensors);
                tensors.push(program.changed(value));
            }
            6 if !tensors.is_empty() => {
                let (a, b) = (*random.pick(&tensors), *random.pick(&tensors));
                if program.shape(a) == program.shape(b) && program.dtype(a) == DType::F32 && program.dtype(b) == DType::F32 {
                    let sum = program.add(a, b);
                    tensors.push(program.changed(sum));
                }
            }
            _ => {
                let logits = program.read(forward, &hooks[hooks.len() - 1]);
                let ids = program.op(Op::Argmax { dim: Some(-1), keepdim: false }, [logits]);
                assert!(program.shape(ids).len() == 2 && VOCABULARY == 50);
                forwards.push(program.forward_on("m", ids));
            }
        }
    }
    for at in 0..1 + random.below(4) {
        let value = match random.below(2) {
            0 if !tensors.is_empty() => *random.pick(&tensors),
            _ => {
                let forward = forwards[forwards.len() - 1 - random.below(forwards.len().min(3))];
                let hook = random.pick(&hooks);
                program.read(forward, hook)
            }
        };
        program.save(at.to_string(), value);
    }
    program
}

#[test]
fn random_programs() {
    for seed in 0..300 {
        wander(seed).check(&format!("seed {seed}"));
    }
}
