//! The architectures that can be built from a Hugging Face `config.json`: one row each.

use irc_ir::{code::Code, diagnostic::Diagnostic, model::ModelSpec};
use serde_json::Value;

pub use super::config::Config;
use super::{gpt_neox, gpt2, llama, mistral, qwen2, qwen3};

/// What builds a model from its configuration.
type Build = fn(&Config) -> Result<ModelSpec, Diagnostic>;

/// By `model_type`.
const ARCHITECTURES: &[(&str, Build)] = &[
    ("llama", llama::spec),
    ("mistral", mistral::spec),
    ("qwen2", qwen2::spec),
    ("qwen3", qwen3::spec),
    ("gpt2", gpt2::spec),
    ("gpt_neox", gpt_neox::spec),
];

/// The model that a configuration describes. A configuration without `model_type` is a Llama's.
///
/// # Errors
/// E0011 naming the field, if the architecture is not known, or a value is missing, wrong, out of all proportion or not
/// supported.
pub fn spec(config: &Config) -> Result<ModelSpec, Diagnostic> {
    let model_type = config.get("model_type").map_or(Some("llama"), Value::as_str);
    let model_type = model_type.ok_or_else(|| Diagnostic::error(Code::E0011, "`model_type` is not a string"))?;
    match ARCHITECTURES.iter().find(|(name, _)| *name == model_type) {
        Some((_, build)) => build(config),
        None => {
            let names = ARCHITECTURES.iter().map(|(name, _)| *name);
            let error = Diagnostic::error(Code::E0011, format!("the architecture `{model_type}` is not supported"));
            let list = names.clone().collect::<Vec<_>>().join(", ");
            Err(error.suggest(model_type, names).note(format!("`model_type` can be: {list}")))
        }
    }
}
