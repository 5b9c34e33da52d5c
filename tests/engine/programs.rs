//! Whole programs: writes that depend on reads, patches between forwards, chains, conditions, two models; and random ones.

use irc::ir::{
    diagnostic::Span,
    graph::{Effect, EffectKind, NodeId},
    op::Op,
};

use crate::support::{Dice, Program, check, engine, ids, llama, odd, tensor};

fn last(program: &mut Program, value: NodeId) -> NodeId {
    program.op(Op::Slice { dim: 1, start: Some(-1), end: None, step: 1 }, [value])
}

fn with_last(program: &mut Program, whole: NodeId, part: NodeId) -> NodeId {
    program.op(Op::Update { dim: 1, start: Some(-1), end: None, step: 1 }, [whole, part])
}

/// Late into early and early into late, between prompts of different length.
#[test]
fn patches_between_forwards() {
    let mut dice = Dice::new(100);
    for (from, into) in [
        ("layers.2.output", "layers.0.input"),
        ("layers.0.output", "layers.2.input"),
        ("layers.1.mlp.output", "layers.1.mlp.output"),
        ("norm.output", "embed_tokens.output"),
        ("embed_tokens.output", "norm.output"),
        ("layers.2.self_attn.output", "layers.0.self_attn.input"),
    ] {
        let mut program = Program::new(llama());
        let (a, b) = (program.forward(&ids(1, 6, &mut dice)), program.forward(&ids(1, 9, &mut dice)));
        let source = program.read(a, &format!("model.{from}"));
        let part = last(&mut program, source);
        let hook = format!("model.{into}");
        let target = program.read(b, &hook);
        let new = with_last(&mut program, target, part);
        let patched = program.write(b, &hook, new);
        for (name, forward) in [("a", a), ("b", b), ("patched", patched)] {
            program.save_all(forward, &format!("{name} "));
        }
        check(&program, &format!("{from} into {into}"));
    }
}

/// Each layer's output set to a function of itself as earlier writes left it: seen by the next, which is seen by the next.
#[test]
fn chains_over_all_layers() {
    let mut dice = Dice::new(101);
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
    let base = program.forward(&ids(2, 4, &mut dice));
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
    let outcome = check(&program, "a chain");
    assert!(!tensor(&outcome, "lm_head.input").same_bits(tensor(&outcome, "model.embed_tokens.output")));
}

/// Writes on a write, on a hook before an earlier write, and many in one stage.
#[test]
fn writes_on_writes() {
    let mut dice = Dice::new(102);
    let mut program = Program::new(llama());
    let base = program.forward(&ids(1, 5, &mut dice));
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
    check(&program, "writes on writes");
    // The same hooks overwritten by constants, so that some writes hide others; only the end is looked at.
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let mut program = Program::new(llama());
        let mut forward = program.forward(&ids(1, 2, &mut dice));
        for _ in 0..2 + dice.below(4) {
            let hook = format!("model.layers.{}.mlp.{}", dice.below(2), dice.pick(&stage));
            let value = program.read(forward, &hook);
            let new = program.like(value, &mut dice);
            forward = program.write(forward, &hook, new);
        }
        let logits = program.read(forward, "model.layers.1.output");
        program.save("out", logits);
        check(&program, &format!("constants, seed {seed}"));
    }
}

#[test]
fn conditions() {
    for limit in [-1e9f32, 0.0, 1e9] {
        let mut program = Program::new(llama());
        let forward = program.forward(&ids(2, 4, &mut Dice::new(103)));
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
        check(&program, "a condition");
    }
}

/// Two models that feed each other: the tokens and a steering vector of one come from the other.
#[test]
fn two_models() {
    let mut program = Program::new(llama()).with("n", odd());
    let ids = program.constant(&ids(1, 5, &mut Dice::new(104)));
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
    check(&program, "two models");
}

/// Generation without a cache: each forward takes what the last one said.
#[test]
fn tokens_of_tokens() {
    let mut program = Program::new(llama());
    let mut ids = program.constant(&ids(1, 3, &mut Dice::new(105)));
    for step in 0..5 {
        let forward = program.forward_on("m", ids);
        let logits = program.read(forward, "lm_head.output");
        let end = last(&mut program, logits);
        let next = program.op(Op::Argmax { dim: Some(-1), keepdim: false }, [end]);
        ids = program.op(Op::Cat { dim: 1 }, [ids, next]);
        program.save(format!("ids {step}"), ids);
    }
    check(&program, "generation");
}

/// Logs come in the order of the program, before later saves run out of tensors.
#[test]
fn effects_keep_their_order() {
    let mut program = Program::new(llama());
    let forward = program.forward(&ids(1, 3, &mut Dice::new(106)));
    let hooks = ["lm_head.output", "model.layers.0.output", "model.layers.2.mlp.output", "model.layers.0.output"];
    for hook in hooks {
        let value = program.read(forward, hook);
        let value = program.op(Op::Max { dims: vec![], keepdim: false }, [value]);
        let kind = EffectKind::Log { label: Some(hook.into()) };
        program.graph.effects.push(Effect::new(kind, [value], Span::None));
    }
    let mut heard = vec![];
    let verified = program.verified();
    irc::backends::Backend::run(engine(), &verified, &program.handles, &mut |event| heard.push(event.label().cloned())).expect("it runs");
    assert_eq!(heard.iter().flatten().map(|label| &**label).collect::<Vec<_>>(), hooks);
}
