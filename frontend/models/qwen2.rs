//! The Qwen2 architecture (Qwen 2 and 2.5): a Llama with biases of queries, keys and values, and windows in upper layers.
//!
//! The modules are those of `Qwen2ForCausalLM` in Hugging Face transformers.

use irc_ir::{diagnostic::Diagnostic, model::ModelSpec};

use super::{
    config::{self, Config, Fields},
    llama::{Defaults, LlamaConfig},
};

/// A Qwen2 of this configuration.
///
/// # Errors
/// E0011 naming the field that is missing, wrong, out of all proportion or not supported.
pub fn spec(config: &Config) -> Result<ModelSpec, Diagnostic> {
    let fields = Fields::new(config);
    let plain = LlamaConfig::read_plain("qwen2", fields, &Defaults { kv_heads: Some(32), head_dim: None })?;
    let window = window(fields, plain.num_hidden_layers)?;
    LlamaConfig { qkv_bias: true, window, ..plain }.spec()
}

/// The window of Qwen2 and Qwen3, and the first layer that has it: `sliding_window` from layer `max_window_layers` on, if
/// `use_sliding_window`. That is what the fields mean, what flash attention does, and what transformers does everywhere
/// since version 4.52; eager attention of earlier ones masks all layers by `sliding_window`, whatever the other fields say.
pub(super) fn window(fields: Fields<'_>, layers: usize) -> Result<Option<(usize, usize)>, Diagnostic> {
    let default = if fields.mentions("sliding_window") { None } else { Some(4096) };
    // 0 is a good number here: all layers have the window.
    let from = match fields.value("max_window_layers") {
        None => 28,
        Some(value) => {
            let from = value.as_u64().and_then(|from| usize::try_from(from).ok());
            from.ok_or_else(|| fields.error("max_window_layers", format!("is {value}, but must be a number of layers")))?
        }
    };
    let window = match fields.flag("use_sliding_window", false)? {
        true => fields.maybe_size("sliding_window", config::CONTEXT)?.or(default).map(|size| (size, from)),
        false => None,
    };
    // Newer configurations say it once more, layer by layer.
    let kind = |layer: usize| if window.is_some_and(|(_, from)| layer >= from) { "sliding_attention" } else { "full_attention" };
    fields.refuse_unless("layer_types", |types| {
        types.as_array().is_some_and(|types| types.len() == layers && types.iter().enumerate().all(|(layer, ty)| ty == kind(layer)))
    })?;
    Ok(window)
}
