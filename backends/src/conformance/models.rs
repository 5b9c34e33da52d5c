//! The models of the suite: small, with random weights such that every hook matters.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use irc_ir::{
    graph::NodeId,
    model::{AttentionShape, ModelBuilder, ModelSpec, RotaryShape},
    op::Op,
    random::Dice,
    tensor::Tensor,
    types::{DType, Name},
};

use crate::{Handle, weights::Weights};

/// The number of token ids of the suite's models.
pub const VOCABULARY: usize = 50;

/// Both models, with their names and the hook of their logits.
pub(super) fn all() -> [(&'static str, &'static Handle, &'static str); 2] {
    [("llama", llama(), "lm_head.output"), ("odd", odd(), "head.output")]
}

/// A model in the manner of Llama: two layers, grouped heads, rotary positions, causal.
pub fn llama() -> &'static Handle {
    static MODEL: OnceLock<Handle> = OnceLock::new();
    MODEL.get_or_init(|| handle(llama_spec(), 1))
}

fn llama_spec() -> ModelSpec {
    const HIDDEN: usize = 32;
    let shape = AttentionShape {
        heads: 4,
        kv_heads: 2,
        head_size: 8,
        scale: 8f32.sqrt().recip(),
        rotary: Some(RotaryShape::new(10_000.0, 8)),
        causal: true,
        window: None,
    };
    let layer = |m: &mut ModelBuilder, at: usize, x: NodeId| {
        let normed = m.rms_norm("input_layernorm", x, HIDDEN, 1e-5);
        let attention = m.module("self_attn", normed, |m, x| {
            let [q, k, v] = [("q_proj", 32), ("k_proj", 16), ("v_proj", 16)].map(|(name, size)| m.projection(name, x, HIDDEN, size));
            let z = m.attention(&format!("layers.{at}"), shape.clone(), q, k, v);
            m.projection("o_proj", z, 32, HIDDEN)
        });
        let x = m.add(x, attention);
        let normed = m.rms_norm("post_attention_layernorm", x, HIDDEN, 1e-5);
        let mlp = m.module("mlp", normed, |m, x| {
            let gate = m.projection("gate_proj", x, HIDDEN, 48);
            let gate = m.module("act_fn", gate, |m, x| m.node(Op::Silu {}, [x]));
            let up = m.projection("up_proj", x, HIDDEN, 48);
            let product = m.mul(gate, up);
            m.projection("down_proj", product, 48, HIDDEN)
        });
        m.add(x, mlp)
    };
    let mut m = ModelBuilder::new("llama", DType::F32, VOCABULARY, 512);
    let tokens = m.tokens();
    let x = m.module("model", tokens, |m, tokens| {
        let mut x = m.module("embed_tokens", tokens, |m, tokens| m.embedding("weight", tokens, VOCABULARY, HIDDEN));
        for at in 0..2 {
            m.stage(&format!("layers.{at} before attention"));
            x = m.module(&format!("layers.{at}"), x, |m, x| layer(m, at, x));
        }
        m.stage("norm and head");
        m.rms_norm("norm", x, HIDDEN, 1e-5)
    });
    let logits = m.projection("lm_head", x, HIDDEN, VOCABULARY);
    m.finish(logits).expect("the model is right")
}

/// A model with what Llamas lack: learned positions, token ids that are looked at again late, operations on two hooks of
/// one value, attention beside the MLP, a window, attention that looks ahead, a weight that is used twice, a constant.
pub fn odd() -> &'static Handle {
    static MODEL: OnceLock<Handle> = OnceLock::new();
    MODEL.get_or_init(|| handle(odd_spec(), 2))
}

fn odd_spec() -> ModelSpec {
    let mut m = ModelBuilder::new("odd", DType::F32, VOCABULARY, 512);
    let tokens = m.tokens();
    let shape = |causal, window| AttentionShape { heads: 3, kv_heads: 3, head_size: 4, scale: 0.4, rotary: None, causal, window };
    let x = m.module("embed", tokens, |m, tokens| {
        let positions = m.positions();
        let positions = m.hook("positions", positions);
        let places = m.embedding("embed_positions", positions, 512, 12);
        let x = m.embedding("embed_tokens", tokens, VOCABULARY, 12);
        m.add(x, places)
    });
    m.stage("first");
    let x = m.module("first", x, |m, x| {
        let normed = m.rms_norm("norm", x, 12, 1e-5);
        let z = m.attention("first", shape(true, Some(3)), normed, normed, x);
        let attention = m.linear("out", z, 12, 12);
        let attention = m.hook("attention", attention);
        let (left, right) = (m.hook("left", x), m.hook("right", x));
        let squared = m.mul(left, right);
        let mlp = m.linear("up", squared, 12, 12);
        let mlp = m.node(Op::Silu {}, [mlp]);
        let sum = m.add(attention, mlp);
        m.add(x, sum)
    });
    m.stage("second");
    let again = m.module("again", tokens, |m, tokens| m.embedding("embed_again", tokens, VOCABULARY, 12));
    let x = m.module("second", x, |m, x| {
        let x = m.add(x, again);
        let q = m.linear("shared", x, 12, 12);
        let q = m.linear("shared", q, 12, 12);
        let q = m.hook("query", q);
        let z = m.attention("second", shape(false, None), q, x, q);
        let half = m.node(Op::Const { value: (&Tensor::scalar(0.5f32)).into() }, []);
        let z = m.mul(z, half);
        m.add(z, x)
    });
    let logits = m.projection("head", x, 12, VOCABULARY);
    m.finish(logits).expect("the model is right")
}

/// A model with the [`weights`] of a seed.
pub fn handle(spec: ModelSpec, seed: u64) -> Handle {
    let weights = Weights::from_tensors(weights(&spec, seed));
    Handle { spec: Arc::new(spec), weights }
}

/// Weights such that every hook matters: norms near one, matrices that keep the size of what they multiply.
pub fn weights(spec: &ModelSpec, seed: u64) -> BTreeMap<Name, Tensor> {
    let mut dice = Dice::new(seed);
    let weight = |decl: &irc_ir::model::WeightDecl| {
        let shape: Vec<usize> = decl.ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
        let (offset, scale) = if shape.len() == 1 { (1.0, 0.3) } else { (0.0, 2.0 / (shape[0] as f32).sqrt()) };
        let scale = if decl.name.contains("embed") { 1.0 } else { scale };
        let values = (0..shape.iter().product()).map(|_| offset + scale * dice.float()).collect::<Vec<f32>>();
        (decl.name.clone(), Tensor::new(shape, values))
    };
    spec.weights().iter().map(weight).collect()
}

/// The same model with each weight off by at most this much of itself.
pub(super) fn shaken(handle: &Handle, seed: u64, by: f32, dice: &mut Dice) -> Handle {
    let mut shake = |tensor: Tensor| {
        let values = tensor.values::<f32>().unwrap_or_default().iter().map(|x| x * (1.0 + by * dice.float())).collect::<Vec<f32>>();
        Tensor::new(tensor.shape(), values)
    };
    let weights = weights(&handle.spec, seed).into_iter().map(|(name, tensor)| (name, shake(tensor))).collect();
    Handle { spec: handle.spec.clone(), weights: Weights::from_tensors(weights) }
}
