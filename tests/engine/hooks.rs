//! Every hook of a model read, changed and overwritten; modules applied to values.

use irc::ir::{op::Op, tensor::Tensor};

use crate::support::{Dice, Program, check, ids, llama};

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
                let mut dice = Dice::new(13 + u64::from(set));
                let mut program = Program::new(llama());
                let mut forward = program.forward(&ids(1, 4, &mut dice));
                for (_, hook) in hooks.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1) {
                    let hook = format!("model.{hook}");
                    let value = program.read(forward, &hook);
                    let new = if constant { program.like(value, &mut dice) } else { program.changed(value) };
                    forward = program.write(forward, &hook, new);
                }
                let logits = program.read(forward, "lm_head.output");
                program.save("logits", logits);
                for hook in hooks {
                    let value = program.read(forward, &format!("model.{hook}"));
                    program.save(hook, value);
                }
                check(&program, &format!("{hooks:?}, {set:b}, constant {constant}"));
            }
        }
    }
}

/// The logit lens: `lm_head` of `norm` of every layer, in one go and together with the forward itself.
#[test]
fn logit_lens() {
    let mut program = Program::new(llama());
    let forward = program.forward(&ids(1, 6, &mut Dice::new(16)));
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
    let outcome = check(&program, "lens");
    let [all, logits] = ["all 2", "logits"].map(|name| crate::support::tensor(&outcome, name));
    assert!(all.same_bits(logits), "the lens after the last layer is the model's own output");
    // An empty part is a value, too.
    let mut program = Program::new(llama());
    let given = program.constant(&Tensor::new([2, 0, 32], Vec::<f32>::new()));
    let layer = program.apply("model.layers.1", given);
    program.save("it", layer);
    check(&program, "no tokens");
}
