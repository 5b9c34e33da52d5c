//! The architectures that can be built from a Hugging Face `config.json`: one row each.

use irc_ir::{code::Code, diagnostic::Diagnostic, model::ModelSpec};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::llama::LlamaConfig;

/// A `config.json`.
pub type Config = Map<String, Value>;

/// What builds a model from its configuration.
type Build = fn(&Config) -> Result<ModelSpec, Diagnostic>;

/// By `model_type`.
const ARCHITECTURES: &[(&str, Build)] = &[("llama", |config| numbers::<LlamaConfig>(config)?.spec())];

/// The model that a configuration describes. A configuration without `model_type` is a Llama's.
///
/// # Errors
/// E0011 naming the field, if the architecture is not known, or a number is missing, wrong or out of all proportion.
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

/// The fields of a configuration that an architecture reads.
fn numbers<T: DeserializeOwned>(config: &Config) -> Result<T, Diagnostic> {
    serde_json::from_value(Value::Object(config.clone()))
        .map_err(|error| Diagnostic::error(Code::E0011, format!("the configuration cannot be used: {error}")))
}
