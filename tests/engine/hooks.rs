//! Every hook of a model read, changed and overwritten; modules applied to values.

use irc::{
    backends::Handle,
    ir::{op::Op, tensor::Tensor, types::DType},
};

use crate::support::{Program, Random, llama, names, odd};

fn models() -> [(&'static str, &'static Handle, &'static str); 2] {
    [("llama", llama(), "lm_head.output"), ("odd", odd(), "head.output")]
}

#[test]
fn all_hooks_at_once() {
    let mut random = Random(10);
    for (name, model, _) in models() {
        for (batch, length) in [(1, 7), (2, 5), (1, 1), (3, 1), (1, 70)] {
            let mut program = Program::new(model);
            let forward = program.forward(&random.ids(batch, length));
            program.save_all(forward, "");
            program.check(&format!("{name} {batch}x{length}"));
        }
    }
}

#[test]
fn each_hook_alone() {
    for (name, model, _) in models() {
        for hook in names(model) {
            let mut program = Program::new(model);
            let forward = program.forward(&Random(11).ids(2, 4));
            let value = program.read(forward, &hook);
            program.save("it", value);
            program.check(&format!("{name} {hook}"));
        }
    }
}

/// Set to a function of its value and to a constant; what follows from it, alone and with all other hooks beside it.
#[test]
fn each_hook_is_set() {
    for (name, model, logits) in models() {
        for hook in names(model) {
            for (constant, batch) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
                let mut random = Random(12);
                let mut program = Program::new(model);
                let forward = program.forward(&random.ids(batch, 5));
                let value = program.read(forward, &hook);
                let new = if constant { program.like(value, &mut random) } else { program.changed(value) };
                let set = program.write(forward, &hook, new);
                let what = format!("{name}, {hook} set, constant {constant}, batch {batch}");
                let last = program.read(set, logits);
                program.save("logits", last);
                let alone = program.check(&what);
                if batch == 2 {
                    program.save_all(set, "after ");
                    program.save_all(forward, "before ");
                    let all = program.check(&format!("{what}, all read"));
                    crate::support::same_bits(&what, &alone, &all);
                }
            }
        }
    }
}

/// Hooks that have one value as long as nothing is set, set apart from each other.
#[test]
fn hooks_of_one_value_are_set_apart() {
    let together: [&[&str]; 5] = [
        &["layers.0.output", "layers.1.input", "layers.1.input_layernorm.input"],
        &["layers.1.input_layernorm.output", "layers.1.self_attn.input", "layers.1.self_attn.q_proj.input"],
        &["layers.1.self_attn.input", "layers.1.self_attn.k_proj.input", "layers.1.self_attn.v_proj.input"],
        &["layers.1.post_attention_layernorm.output", "layers.1.mlp.input", "layers.1.mlp.gate_proj.input", "layers.1.mlp.up_proj.input"],
        &["layers.2.output", "norm.input", "norm.output", "output"],
    ];
    for hooks in together {
        for set in 1..1u32 << hooks.len() {
            for constant in [false, true] {
                let mut random = Random(13 + u64::from(set));
                let mut program = Program::new(llama());
                let mut forward = program.forward(&random.ids(1, 4));
                for (_, hook) in hooks.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1) {
                    let hook = format!("model.{hook}");
                    let value = program.read(forward, &hook);
                    let new = if constant { program.like(value, &mut random) } else { program.changed(value) };
                    forward = program.write(forward, &hook, new);
                }
                let logits = program.read(forward, "lm_head.output");
                program.save("logits", logits);
                for hook in hooks {
                    let value = program.read(forward, &format!("model.{hook}"));
                    program.save(hook, value);
                }
                program.check(&format!("{hooks:?}, {set:b}, constant {constant}"));
            }
        }
    }
}

/// Two hooks set in one forward, in either order of the program, only the logits read: what one write hides of the other
/// must not be missed, and what it does not hide must count.
#[test]
fn pairs_of_hooks_are_set() {
    let mut random = Random(14);
    for (name, model, logits) in models() {
        let hooks = names(model);
        let near = (0..hooks.len()).flat_map(|a| (1..6).map(move |b| (a, a + b)));
        let mut pairs: Vec<(usize, usize)> = near.filter(|(_, b)| *b < hooks.len()).collect();
        pairs.extend((0..200).map(|_| (random.below(hooks.len()), random.below(hooks.len()))));
        for (a, b) in pairs {
            let mut program = Program::new(model);
            let mut forward = program.forward(&random.ids(1, 3));
            for hook in [a, b] {
                let value = program.read(forward, &hooks[hook]);
                let new = if random.below(2) == 0 { program.like(value, &mut random) } else { program.changed(value) };
                forward = program.write(forward, &hooks[hook], new);
            }
            let last = program.read(forward, logits);
            program.save("logits", last);
            program.check(&format!("{name}: {} and {}", hooks[a], hooks[b]));
        }
    }
}

#[test]
fn modules_are_applied() {
    let mut random = Random(15);
    for (name, model, _) in models() {
        let modules: Vec<_> = model.spec.modules().filter(|module| module.closed).collect();
        assert!(modules.len() >= if name == "llama" { 30 } else { 3 }, "{name}: {} modules can be applied", modules.len());
        for module in modules {
            let ty = model.spec.hook_type(module.input);
            let tail: Vec<usize> = ty.shape[2..].iter().filter_map(|dim| dim.as_usize()).collect();
            let anywhere: [&[usize]; 6] = [&[], &[5], &[1], &[2, 3], &[2, 3, 4], &[0, 3]];
            let in_rows: [&[usize]; 4] = [&[1, 1], &[1, 4], &[2, 3], &[3, 1]];
            for leading in if module.positionwise { anywhere.as_slice() } else { in_rows.as_slice() } {
                let shape: Vec<usize> = leading.iter().chain(&tail).copied().collect();
                let given = match ty.dtype {
                    DType::I64 => random.ids(1, shape.iter().product()).reshaped(&shape),
                    _ => random.floats(&shape),
                };
                let mut program = Program::new(model);
                let given = program.constant(&given);
                let result = program.apply(&module.path, given);
                program.save("it", result);
                let outcome = program.check(&format!("{name}: {} of {shape:?}", module.path));
                assert_eq!(outcome.report.forwards, 0, "an applied module is no pass");
            }
        }
    }
}

/// The logit lens: `lm_head` of `norm` of every layer, in one go and together with the forward itself.
#[test]
fn logit_lens() {
    let mut program = Program::new(llama());
    let forward = program.forward(&Random(16).ids(1, 6));
    for layer in 0..3 {
        let residual = program.read(forward, &format!("model.layers.{layer}.output"));
        let last = program.op(Op::Index { dim: 1, index: -1 }, [residual]);
        for (name, value) in [("all", residual), ("last", last)] {
            let normed = program.apply("model.norm", value);
            let logits = program.apply("lm_head", normed);
            program.save(format!("{name} {layer}"), logits);
        }
    }
    let logits = program.read(forward, "lm_head.output");
    program.save("logits", logits);
    let outcome = program.check("lens");
    let [all, logits] = ["all 2", "logits"].map(|name| crate::support::tensor(&outcome, name));
    assert!(all.same_bits(logits), "the lens after the last layer is the model's own output");
    // An empty part is a value, too.
    let mut program = Program::new(llama());
    let given = program.constant(&Tensor::new([2, 0, 32], Vec::<f32>::new()));
    let layer = program.apply("model.layers.1", given);
    program.save("it", layer);
    program.check("no tokens");
}
