//! The GPT-NeoX architecture (Pythia): layer norms, partly rotary attention, and the MLP beside attention or after it.
//!
//! The modules, their names and their order are those of `GPTNeoXForCausalLM` in Hugging Face transformers; dropouts compute
//! nothing, but have hooks, as they have there.

use irc_ir::{
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{AttentionShape, ModelBuilder, ModelSpec, RotaryShape},
    op::Op,
    types::DType,
};

use super::{
    activation::Activation,
    config::{self, Config, Fields},
    rope::Rope,
};

struct GptNeox {
    vocabulary: usize,
    context: usize,
    hidden: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    eps: f64,
    rotary: Option<RotaryShape>,
    activation: Activation,
    attention_bias: bool,
    parallel: bool,
    tied: bool,
}

/// A GPT-NeoX of this configuration.
///
/// # Errors
/// E0011 naming the field that is missing, wrong, out of all proportion or not supported.
pub fn spec(config: &Config) -> Result<ModelSpec, Diagnostic> {
    let fields = Fields::new(config);
    fields.refuse_the_unsupported()?;
    let hidden = fields.size("hidden_size", config::HIDDEN)?;
    let heads = fields.size("num_attention_heads", config::HEADS)?;
    if !hidden.is_multiple_of(heads) {
        return Err(fields.error("num_attention_heads", format!("is {heads}, but must divide `hidden_size`, which is {hidden}")));
    }
    let context = fields.size("max_position_embeddings", config::CONTEXT)?;
    let size = hidden / heads;
    let share = fields.maybe_number("rotary_pct")?.unwrap_or(0.25);
    // Configurations of newer versions say it under the name that other architectures have for it.
    fields.refuse_unless("partial_rotary_factor", |factor| factor.as_f64() == Some(share))?;
    let rotated = (size as f64 * share) as usize;
    if !(0.0..=1.0).contains(&share) || !rotated.is_multiple_of(2) {
        let problem = format!("is {share}, which makes {rotated} of the {size} elements of a head turn: an even part is needed");
        return Err(fields.error("rotary_pct", problem));
    }
    // Without elements that turn, there is nothing to scale either.
    let rope = if rotated > 0 { Some(Rope::read(fields, "rotary_emb_base", rotated, context)?) } else { None };
    let neox = GptNeox {
        vocabulary: fields.size("vocab_size", config::VOCABULARY)?,
        context: rope.as_ref().map_or(context, |rope| rope.context),
        hidden,
        inner: fields.size("intermediate_size", config::INNER)?,
        layers: fields.size("num_hidden_layers", config::LAYERS)?,
        heads,
        eps: fields.epsilon("layer_norm_eps", 1e-5)?,
        rotary: rope.map(|rope| rope.shape),
        activation: Activation::read(fields, "hidden_act", Activation::Gelu)?,
        attention_bias: fields.flag("attention_bias", true)?,
        parallel: fields.flag("use_parallel_residual", true)?,
        tied: fields.flag("tie_word_embeddings", false)?,
    };
    neox.spec()
}

impl GptNeox {
    fn spec(&self) -> Result<ModelSpec, Diagnostic> {
        let (hidden, vocabulary) = (self.hidden, self.vocabulary);
        let mut m = ModelBuilder::new("gpt_neox", DType::F32, vocabulary, self.context);
        let tokens = m.tokens();
        let x = m.module("gpt_neox", tokens, |m, tokens| {
            let x = m.module("embed_in", tokens, |m, tokens| m.embedding("weight", tokens, vocabulary, hidden));
            let mut x = m.identity("emb_dropout", x);
            for layer in 0..self.layers {
                m.stage(&format!("layers.{layer} before attention"));
                x = m.module(&format!("layers.{layer}"), x, |m, x| self.layer(m, layer, x));
            }
            m.stage("norm and head");
            m.layer_norm("final_layer_norm", x, hidden, self.eps)
        });
        let logits = m.projection("embed_out", x, hidden, vocabulary);
        if self.tied {
            m.tie("embed_out.weight.T", "gpt_neox.embed_in.weight");
        }
        m.finish(logits)
    }

    fn layer(&self, m: &mut ModelBuilder, layer: usize, x: NodeId) -> NodeId {
        let (hidden, inner) = (self.hidden, self.inner);
        let normed = m.layer_norm("input_layernorm", x, hidden, self.eps);
        let attention = m.module("attention", normed, |m, x| self.attention(m, layer, x));
        let attention = m.identity("post_attention_dropout", attention);
        // Beside attention the MLP sees what attention saw; after it, what attention made of it.
        let after = if self.parallel { x } else { m.add(attention, x) };
        let normed = m.layer_norm("post_attention_layernorm", after, hidden, self.eps);
        let mlp = m.module("mlp", normed, |m, x| {
            let x = m.projection_with("dense_h_to_4h", x, hidden, inner, true);
            let x = m.module("act", x, |m, x| self.activation.apply(m, x));
            m.projection_with("dense_4h_to_h", x, inner, hidden, true)
        });
        let mlp = m.identity("post_mlp_dropout", mlp);
        if self.parallel {
            let both = m.add(mlp, attention);
            m.add(both, x)
        } else {
            m.add(mlp, after)
        }
    }

    fn attention(&self, m: &mut ModelBuilder, layer: usize, x: NodeId) -> NodeId {
        let (hidden, heads, size) = (self.hidden, self.heads, self.hidden / self.heads);
        // Head by head: queries, keys, values.
        let all = m.projection_with("query_key_value", x, hidden, 3 * hidden, self.attention_bias);
        let all = m.split_heads(all, heads, 3 * size);
        let [q, k, v] = [0, 1, 2].map(|part| {
            let (start, end) = ((part * size) as i64, ((part + 1) * size) as i64);
            m.node(Op::Slice { dim: -1, start: Some(start), end: Some(end), step: 1 }, [all])
        });
        let scale = (size as f64).sqrt().recip() as f32;
        let rotary = self.rotary.clone();
        let shape = AttentionShape { heads, kv_heads: heads, head_size: size, scale, rotary, causal: true, window: None };
        let z = m.attention(&format!("layers.{layer}"), shape, q, k, v);
        m.projection_with("dense", z, hidden, hidden, self.attention_bias)
    }
}
