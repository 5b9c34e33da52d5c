//! The Llama architecture (Llama 2 and 3, SmolLM2): RMS norms, rotary grouped-query attention, a gated MLP.
//!
//! The modules, their names and their order are those of `LlamaForCausalLM` in Hugging Face transformers.

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{AttentionShape, ModelBuilder, ModelSpec, RotaryShape},
    op::Op,
    types::DType,
};
use serde::{Deserialize, Serialize};

/// The numbers of a Llama model, by the names of Hugging Face's `config.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// The number of token ids.
    pub vocab_size: usize,
    /// Elements of the residual stream.
    pub hidden_size: usize,
    /// Elements inside the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// The longest sequence.
    pub max_position_embeddings: usize,
    /// Added to the mean of squares in norms.
    pub rms_norm_eps: f64,
    /// The base of the rotary wavelengths.
    pub rope_theta: f64,
    /// Whether the head has the numbers of the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

impl LlamaConfig {
    /// The model of this configuration.
    ///
    /// # Errors
    /// E0011 if a number is out of all proportion, or the numbers do not fit together.
    pub fn spec(&self) -> Result<ModelSpec, Diagnostic> {
        self.check()?;
        let c = self;
        let mut m = ModelBuilder::new("llama", DType::F32, c.vocab_size, c.max_position_embeddings);
        let tokens = m.tokens();
        let x = m.module("model", tokens, |m, tokens| {
            let mut x = m.module("embed_tokens", tokens, |m, tokens| m.embedding("weight", tokens, c.vocab_size, c.hidden_size));
            for layer in 0..c.num_hidden_layers {
                m.stage(&format!("layers.{layer} before attention"));
                x = m.module(&format!("layers.{layer}"), x, |m, x| c.layer(m, layer, x));
            }
            m.stage("norm and head");
            m.rms_norm("norm", x, c.hidden_size, c.rms_norm_eps)
        });
        let logits = m.projection("lm_head", x, c.hidden_size, c.vocab_size);
        if c.tie_word_embeddings {
            m.tie("lm_head.weight.T", "model.embed_tokens.weight");
        }
        m.finish(logits)
    }

    fn layer(&self, m: &mut ModelBuilder, layer: usize, x: NodeId) -> NodeId {
        let (hidden, eps) = (self.hidden_size, self.rms_norm_eps);
        let normed = m.rms_norm("input_layernorm", x, hidden, eps);
        let attention = m.module("self_attn", normed, |m, x| self.attention(m, layer, x));
        let x = m.add(x, attention);
        let normed = m.rms_norm("post_attention_layernorm", x, hidden, eps);
        let mlp = m.module("mlp", normed, |m, x| {
            let gate = m.projection("gate_proj", x, hidden, self.intermediate_size);
            let gate = m.module("act_fn", gate, |m, x| m.node(Op::Silu {}, [x]));
            let up = m.projection("up_proj", x, hidden, self.intermediate_size);
            let product = m.mul(gate, up);
            m.projection("down_proj", product, self.intermediate_size, hidden)
        });
        m.add(x, mlp)
    }

    fn attention(&self, m: &mut ModelBuilder, layer: usize, x: NodeId) -> NodeId {
        let (heads, kv_heads, head_size) = (self.num_attention_heads, self.num_key_value_heads, self.head_dim);
        let q = m.projection("q_proj", x, self.hidden_size, heads * head_size);
        let k = m.projection("k_proj", x, self.hidden_size, kv_heads * head_size);
        let v = m.projection("v_proj", x, self.hidden_size, kv_heads * head_size);
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_size,
            scale: (head_size as f64).sqrt().recip() as f32,
            rotary: Some(RotaryShape { base: self.rope_theta, rotated: head_size }),
            causal: true,
            window: None,
        };
        let z = m.attention(&format!("layers.{layer}"), shape, q, k, v);
        m.projection("o_proj", z, heads * head_size, self.hidden_size)
    }

    /// Bounds what a damaged or hostile configuration can make us build.
    fn check(&self) -> Result<(), Diagnostic> {
        let numbers = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 20),
            ("intermediate_size", self.intermediate_size, 1 << 22),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 12),
            ("num_attention_heads", self.num_attention_heads, 1 << 14),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 14),
            ("head_dim", self.head_dim, 1 << 14),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 31),
        ];
        let wrong = numbers.iter().find(|(_, value, most)| !(1..=*most).contains(value));
        if let Some((name, value, most)) = wrong {
            return Err(Diagnostic::error(Code::E0011, format!("`{name}` is {value}, but must lie between 1 and {most}")));
        }
        if !self.head_dim.is_multiple_of(2) || !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let message = format!(
                "`head_dim` {} must be even, and `num_attention_heads` {} a multiple of `num_key_value_heads` {}",
                self.head_dim, self.num_attention_heads, self.num_key_value_heads
            );
            return Err(Diagnostic::error(Code::E0011, message));
        }
        Ok(())
    }
}
