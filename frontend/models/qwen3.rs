//! The Qwen3 architecture: a Llama with a norm of each head of queries and keys before it turns, and windows as in Qwen2.
//!
//! The modules are those of `Qwen3ForCausalLM` in Hugging Face transformers.

use irc_ir::{diagnostic::Diagnostic, model::ModelSpec};

use super::{
    config::{Config, Fields},
    llama::{Defaults, LlamaConfig},
    qwen2,
};

/// A Qwen3 of this configuration.
///
/// # Errors
/// E0011 naming the field that is missing, wrong, out of all proportion or not supported.
pub fn spec(config: &Config) -> Result<ModelSpec, Diagnostic> {
    let fields = Fields::new(config);
    let plain = LlamaConfig::read_plain("qwen3", fields, &Defaults { kv_heads: Some(32), head_dim: Some(128) })?;
    let bias = fields.flag("attention_bias", false)?;
    let window = qwen2::window(fields, plain.num_hidden_layers)?;
    LlamaConfig { qkv_bias: bias, output_bias: bias, head_norms: true, window, ..plain }.spec()
}
