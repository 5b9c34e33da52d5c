//! The Llama architecture (Llama 2 and 3, SmolLM2): RMS norms, rotary grouped-query attention, a gated MLP.
//!
//! The modules, their names and their order are those of `LlamaForCausalLM` in Hugging Face transformers. Mistral, Qwen2 and
//! Qwen3 are Llamas with windows, with biases, with norms of heads: [`LlamaConfig`] has what any of them needs.

use irc_ir::{
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{AttentionShape, ModelBuilder, ModelSpec, RotaryShape},
    types::DType,
};

use super::{
    activation::Activation,
    config::{self, Config, Fields},
    rope::Rope,
};

/// What a Llama or one of its relatives is made of, by the names of Hugging Face's `config.json` where it has one.
#[derive(Clone, PartialEq, Debug)]
pub struct LlamaConfig {
    /// The architecture's name: `llama`.
    pub model_type: &'static str,
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
    /// The rotary position embedding.
    pub rotary: RotaryShape,
    /// The function in the MLP.
    pub hidden_act: Activation,
    /// Whether the head has the numbers of the embedding.
    pub tie_word_embeddings: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the output of attention has a bias.
    pub output_bias: bool,
    /// Whether the three matrices of the MLP have biases.
    pub mlp_bias: bool,
    /// Whether each head of queries and keys has a norm, before it turns.
    pub head_norms: bool,
    /// How many positions a position sees in the layers that have a window, itself included, and the first such layer.
    pub window: Option<(usize, usize)>,
}

/// What differs between relatives where a configuration says nothing.
pub(super) struct Defaults {
    /// Key and value heads; none: as many as query heads.
    pub(super) kv_heads: Option<usize>,
    /// Elements of a head; none: what is left to each head of the residual stream.
    pub(super) head_dim: Option<usize>,
}

/// A Llama of this configuration.
///
/// # Errors
/// E0011 naming the field that is missing, wrong, out of all proportion or not supported.
pub fn spec(config: &Config) -> Result<ModelSpec, Diagnostic> {
    LlamaConfig::read(config)?.spec()
}

impl LlamaConfig {
    /// What a `config.json` of a Llama says.
    ///
    /// # Errors
    /// E0011 naming the field.
    pub fn read(config: &Config) -> Result<LlamaConfig, Diagnostic> {
        let fields = Fields::new(config);
        let attention_bias = fields.flag("attention_bias", false)?;
        let mlp_bias = fields.flag("mlp_bias", false)?;
        let plain = LlamaConfig::read_plain("llama", fields, &Defaults { kv_heads: None, head_dim: None })?;
        Ok(LlamaConfig { qkv_bias: attention_bias, output_bias: attention_bias, mlp_bias, ..plain })
    }

    /// What all relatives have.
    pub(super) fn read_plain(model_type: &'static str, fields: Fields<'_>, defaults: &Defaults) -> Result<LlamaConfig, Diagnostic> {
        fields.refuse_the_unsupported()?;
        fields.refuse_unless("partial_rotary_factor", |factor| factor.as_f64() == Some(1.0))?;
        let (hidden_size, heads) = (fields.size("hidden_size", config::HIDDEN)?, fields.size("num_attention_heads", config::HEADS)?);
        // A `null` has always meant that there are no groups.
        let kv_heads = defaults.kv_heads.filter(|_| !fields.mentions("num_key_value_heads")).unwrap_or(heads);
        let kv_heads = fields.maybe_size("num_key_value_heads", config::HEADS)?.unwrap_or(kv_heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(
                fields.error("num_key_value_heads", format!("is {kv_heads}, but must divide `num_attention_heads`, which is {heads}"))
            );
        }
        let head_dim = fields.maybe_size("head_dim", config::HEADS)?.or(defaults.head_dim).unwrap_or(hidden_size / heads);
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(fields.error("head_dim", format!("is {head_dim}, but must be even, since elements turn in pairs")));
        }
        let rope = Rope::read(fields, "rope_theta", head_dim, fields.size("max_position_embeddings", config::CONTEXT)?)?;
        Ok(LlamaConfig {
            model_type,
            vocab_size: fields.size("vocab_size", config::VOCABULARY)?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size", config::INNER)?,
            num_hidden_layers: fields.size("num_hidden_layers", config::LAYERS)?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: rope.context,
            rms_norm_eps: fields.epsilon("rms_norm_eps", 1e-6)?,
            rotary: rope.shape,
            hidden_act: Activation::read(fields, "hidden_act", Activation::Silu)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings", false)?,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            head_norms: false,
            window: None,
        })
    }

    /// The model.
    ///
    /// # Errors
    /// E1003 or E1008 if the numbers do not fit together, which those of [`LlamaConfig::read`] do.
    pub fn spec(&self) -> Result<ModelSpec, Diagnostic> {
        let c = self;
        let mut m = ModelBuilder::new(c.model_type, DType::F32, c.vocab_size, c.max_position_embeddings);
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
        let (hidden, inner, eps, bias) = (self.hidden_size, self.intermediate_size, self.rms_norm_eps, self.mlp_bias);
        let normed = m.rms_norm("input_layernorm", x, hidden, eps);
        let attention = m.module("self_attn", normed, |m, x| self.attention(m, layer, x));
        let x = m.add(x, attention);
        let normed = m.rms_norm("post_attention_layernorm", x, hidden, eps);
        let mlp = m.module("mlp", normed, |m, x| {
            let gate = m.projection_with("gate_proj", x, hidden, inner, bias);
            let gate = m.module("act_fn", gate, |m, x| self.hidden_act.apply(m, x));
            let up = m.projection_with("up_proj", x, hidden, inner, bias);
            let product = m.mul(gate, up);
            m.projection_with("down_proj", product, inner, hidden, bias)
        });
        m.add(x, mlp)
    }

    fn attention(&self, m: &mut ModelBuilder, layer: usize, x: NodeId) -> NodeId {
        let (heads, kv_heads, size) = (self.num_attention_heads, self.num_key_value_heads, self.head_dim);
        let mut q = m.projection_with("q_proj", x, self.hidden_size, heads * size, self.qkv_bias);
        if self.head_norms {
            let by_head = m.split_heads(q, heads, size);
            q = m.rms_norm("q_norm", by_head, size, self.rms_norm_eps);
        }
        let mut k = m.projection_with("k_proj", x, self.hidden_size, kv_heads * size, self.qkv_bias);
        if self.head_norms {
            let by_head = m.split_heads(k, kv_heads, size);
            k = m.rms_norm("k_norm", by_head, size, self.rms_norm_eps);
        }
        let v = m.projection_with("v_proj", x, self.hidden_size, kv_heads * size, self.qkv_bias);
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_size: size,
            scale: (size as f64).sqrt().recip() as f32,
            rotary: Some(self.rotary.clone()),
            causal: true,
            window: self.window.and_then(|(window, from)| (layer >= from).then_some(window)),
        };
        let z = m.attention(&format!("layers.{layer}"), shape, q, k, v);
        m.projection_with("o_proj", z, heads * size, self.hidden_size, self.output_bias)
    }
}
