//! The GPT-2 architecture: layer norms, learned positions, attention with one matrix for queries, keys and values.
//!
//! The modules, their names and their order are those of `GPT2LMHeadModel` in Hugging Face transformers; dropouts compute
//! nothing, but have hooks, as they have there. Its `Conv1D` modules store their matrices as [in, out].

use irc_ir::{
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{AttentionShape, ModelBuilder, ModelSpec},
    op::Op,
    types::DType,
};

use super::{
    activation::Activation,
    config::{self, Config, Fields},
};

struct Gpt2 {
    vocabulary: usize,
    positions: usize,
    hidden: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    eps: f64,
    activation: Activation,
    scale_by_size: bool,
    scale_by_layer: bool,
    tied: bool,
}

/// A GPT-2 of this configuration.
///
/// # Errors
/// E0011 naming the field that is missing, wrong, out of all proportion or not supported.
pub fn spec(config: &Config) -> Result<ModelSpec, Diagnostic> {
    let fields = Fields::new(config);
    fields.refuse_the_unsupported()?;
    // The order in which attention is scaled and upcast is one of rounding: both values mean the same in f32.
    fields.flag("reorder_and_upcast_attn", false)?;
    let hidden = fields.size("n_embd", config::HIDDEN)?;
    let heads = fields.size("n_head", config::HEADS)?;
    if !hidden.is_multiple_of(heads) {
        return Err(fields.error("n_head", format!("is {heads}, but must divide `n_embd`, which is {hidden}")));
    }
    let gpt2 = Gpt2 {
        vocabulary: fields.size("vocab_size", config::VOCABULARY)?,
        // The table of positions is a weight: its size counts as one of a vocabulary.
        positions: fields.size("n_positions", config::VOCABULARY)?,
        hidden,
        inner: fields.maybe_size("n_inner", config::INNER)?.unwrap_or(4 * hidden),
        layers: fields.size("n_layer", config::LAYERS)?,
        heads,
        eps: fields.epsilon("layer_norm_epsilon", 1e-5)?,
        activation: Activation::read(fields, "activation_function", Activation::GeluTanh)?,
        scale_by_size: fields.flag("scale_attn_weights", true)?,
        scale_by_layer: fields.flag("scale_attn_by_inverse_layer_idx", false)?,
        tied: fields.flag("tie_word_embeddings", true)?,
    };
    gpt2.spec()
}

impl Gpt2 {
    fn spec(&self) -> Result<ModelSpec, Diagnostic> {
        let (hidden, vocabulary) = (self.hidden, self.vocabulary);
        let mut m = ModelBuilder::new("gpt2", DType::F32, vocabulary, self.positions);
        let tokens = m.tokens();
        let x = m.module("transformer", tokens, |m, tokens| {
            let x = m.module("wte", tokens, |m, tokens| m.embedding("weight", tokens, vocabulary, hidden));
            let positions = m.positions();
            let places = m.module("wpe", positions, |m, positions| m.embedding("weight", positions, self.positions, hidden));
            let x = m.add(x, places);
            let mut x = m.identity("drop", x);
            for layer in 0..self.layers {
                m.stage(&format!("h.{layer} before attention"));
                x = m.module(&format!("h.{layer}"), x, |m, x| self.layer(m, layer, x));
            }
            m.stage("norm and head");
            m.layer_norm("ln_f", x, hidden, self.eps)
        });
        let logits = m.projection("lm_head", x, hidden, vocabulary);
        if self.tied {
            m.tie("lm_head.weight.T", "transformer.wte.weight");
        }
        m.finish(logits)
    }

    fn layer(&self, m: &mut ModelBuilder, layer: usize, x: NodeId) -> NodeId {
        let (hidden, inner) = (self.hidden, self.inner);
        let normed = m.layer_norm("ln_1", x, hidden, self.eps);
        let attention = m.module("attn", normed, |m, x| self.attention(m, layer, x));
        let x = m.add(attention, x);
        let normed = m.layer_norm("ln_2", x, hidden, self.eps);
        let mlp = m.module("mlp", normed, |m, x| {
            let x = conv1d(m, "c_fc", x, hidden, inner);
            let x = m.module("act", x, |m, x| self.activation.apply(m, x));
            let x = conv1d(m, "c_proj", x, inner, hidden);
            m.identity("dropout", x)
        });
        m.add(x, mlp)
    }

    fn attention(&self, m: &mut ModelBuilder, layer: usize, x: NodeId) -> NodeId {
        let (hidden, heads, size) = (self.hidden, self.heads, self.hidden / self.heads);
        let all = conv1d(m, "c_attn", x, hidden, 3 * hidden);
        let [q, k, v] = [0, 1, 2].map(|part| {
            let (start, end) = ((part * hidden) as i64, ((part + 1) * hidden) as i64);
            m.node(Op::Slice { dim: -1, start: Some(start), end: Some(end), step: 1 }, [all])
        });
        let by_size = if self.scale_by_size { (size as f64).sqrt().recip() } else { 1.0 };
        let by_layer = if self.scale_by_layer { ((layer + 1) as f64).recip() } else { 1.0 };
        let scale = (by_size * by_layer) as f32;
        let shape = AttentionShape { heads, kv_heads: heads, head_size: size, scale, rotary: None, causal: true, window: None };
        let z = m.attention(&format!("h.{layer}"), shape, q, k, v);
        let x = conv1d(m, "c_proj", z, hidden, hidden);
        m.identity("resid_dropout", x)
    }
}

/// A linear map whose matrix the checkpoint stores as [in, out].
fn conv1d(m: &mut ModelBuilder, name: &str, x: NodeId, from: usize, to: usize) -> NodeId {
    m.module(name, x, |m, x| {
        let weight = m.weight("weight", &[from, to]);
        let x = m.node(Op::Matmul {}, [x, weight]);
        m.bias("bias", x, to)
    })
}
