//! Two small models: one that is causal, one whose attention looks ahead.

use irc_ir::{
    infer::Models,
    model::{AttentionShape, ModelBuilder, ModelSpec, RotaryShape},
    op::Op,
    types::DType,
};

fn spec(architecture: &str, vocabulary: usize, causal: bool) -> ModelSpec {
    let mut m = ModelBuilder::new(architecture, DType::F32, vocabulary, 32);
    let rotary = causal.then_some(RotaryShape::new(100.0, 4));
    let shape = AttentionShape { heads: 2, kv_heads: 2, head_size: 4, scale: 0.5, rotary, causal, window: None };
    let tokens = m.tokens();
    let mut x = m.module("embed", tokens, |m, tokens| m.embedding("weight", tokens, vocabulary, 8));
    for layer in 0..2 {
        m.stage(&format!("layer {layer}"));
        x = m.module(&format!("model.layers.{layer}"), x, |m, x| {
            let normed = m.rms_norm("norm", x, 8, 1e-5);
            let z = m.attention(&format!("layer {layer}"), shape.clone(), normed, normed, normed);
            let x = m.add(x, z);
            let up = m.projection("up", x, 8, 12);
            let up = m.node(Op::Silu {}, [up]);
            let down = m.projection("down", up, 12, 8);
            m.add(x, down)
        });
    }
    let logits = m.projection("head", x, 8, vocabulary);
    m.finish(logits).expect("the model is right")
}

/// The models by their names.
pub fn models() -> Models {
    let causal = std::sync::Arc::new(spec("causal", 11, true));
    [("m", causal.clone()), ("second model", causal), ("n", spec("ahead", 7, false).into())].map(|(name, spec)| (name.into(), spec)).into()
}
