//! The Mistral architecture: a Llama in which each position sees a window of the last ones.
//!
//! The modules are those of `MistralForCausalLM` in Hugging Face transformers. A window of W holds W positions, the query's
//! own included, as in its eager attention.

use irc_ir::{diagnostic::Diagnostic, model::ModelSpec};

use super::{
    config::{self, Config, Fields},
    llama::{Defaults, LlamaConfig},
};

/// A Mistral of this configuration.
///
/// # Errors
/// E0011 naming the field that is missing, wrong, out of all proportion or not supported.
pub fn spec(config: &Config) -> Result<ModelSpec, Diagnostic> {
    let fields = Fields::new(config);
    let plain = LlamaConfig::read_plain("mistral", fields, &Defaults { kv_heads: Some(8), head_dim: None })?;
    // Version 0.1 has no field and a window; later ones say `null` and have none.
    let default = if fields.mentions("sliding_window") { None } else { Some(4096) };
    let window = fields.maybe_size("sliding_window", config::CONTEXT)?.or(default);
    LlamaConfig { window: window.map(|window| (window, 0)), ..plain }.spec()
}
