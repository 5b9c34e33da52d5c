//! How a model wants to be generated with: its `generation_config.json`, or what of that stands in `config.json`.
//!
//! Fields mean what they mean to Hugging Face's `generate`, defaults included. What would change its results in a way that this
//! version does not know is refused by name.

use std::path::Path;

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};
use serde_json::{Map, Value as Json};

use super::{Model, Source, cache, gguf, huggingface};

/// The new tokens of a generation, where neither the program nor the model says how many.
pub const DEFAULT_NEW_TOKENS: usize = 20;

/// Of sampled tokens, how many of the most probable stay where nothing says so: Hugging Face's default.
pub const DEFAULT_TOP_K: i64 = 50;

/// How to generate; what is left open is the model's to say, and then Hugging Face's defaults.
///
/// ```
/// use irc::models::generation::GenerationConfig;
/// let greedy = GenerationConfig::new().max_new_tokens(50).greedy();
/// let sampled = GenerationConfig::new().temperature(0.7).top_p(0.9).seed(3).stop(["\n"]);
/// ```
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GenerationConfig {
    /// How many tokens at most.
    pub(crate) max_new_tokens: Option<usize>,
    /// How long the prompt and the new tokens may be together, where nothing says how many are new.
    pub(crate) max_length: Option<usize>,
    pub(crate) min_new_tokens: Option<usize>,
    pub(crate) sample: Option<bool>,
    pub(crate) seed: Option<i64>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_k: Option<i64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) min_p: Option<f64>,
    pub(crate) repetition_penalty: Option<f64>,
    pub(crate) eos: Option<Vec<i64>>,
    pub(crate) stop: Vec<String>,
    pub(crate) name: Option<String>,
}

impl GenerationConfig {
    /// Everything as the model wants it.
    pub fn new() -> GenerationConfig {
        GenerationConfig::default()
    }

    /// At most so many new tokens. Where neither this nor the model says so, there are [`DEFAULT_NEW_TOKENS`].
    pub fn max_new_tokens(self, count: usize) -> GenerationConfig {
        GenerationConfig { max_new_tokens: Some(count), ..self }
    }

    /// Before so many new tokens, none that ends the text is chosen.
    pub fn min_new_tokens(self, count: usize) -> GenerationConfig {
        GenerationConfig { min_new_tokens: Some(count), ..self }
    }

    /// The most probable token each time, whatever the model says.
    pub fn greedy(self) -> GenerationConfig {
        GenerationConfig { sample: Some(false), ..self }
    }

    /// Tokens drawn by their probabilities. To set one of the following says so, too.
    pub fn sample(self) -> GenerationConfig {
        GenerationConfig { sample: Some(true), ..self }
    }

    /// The seed of the draws, 0 if none is given. Token k of a generation is drawn by the operation `sample` with this seed and
    /// stream k: equal logits give equal tokens, whatever else runs beside them.
    pub fn seed(self, seed: i64) -> GenerationConfig {
        GenerationConfig { seed: Some(seed), ..self.sample() }
    }

    /// What logits are divided by, above 0.
    pub fn temperature(self, temperature: f64) -> GenerationConfig {
        GenerationConfig { temperature: Some(temperature), ..self.sample() }
    }

    /// So many of the most probable tokens stay, and those that are as probable as the last of them; 0 is all. Where nothing
    /// says so, [`DEFAULT_TOP_K`].
    pub fn top_k(self, k: i64) -> GenerationConfig {
        GenerationConfig { top_k: Some(k), ..self.sample() }
    }

    /// The most probable tokens stay that have this probability together.
    pub fn top_p(self, p: f64) -> GenerationConfig {
        GenerationConfig { top_p: Some(p), ..self.sample() }
    }

    /// Tokens stay that have at least this share of the largest probability.
    pub fn min_p(self, p: f64) -> GenerationConfig {
        GenerationConfig { min_p: Some(p), ..self.sample() }
    }

    /// What the logits of tokens are divided by that are there already, in the prompt, too; negative ones are multiplied with it.
    pub fn repetition_penalty(self, penalty: f64) -> GenerationConfig {
        GenerationConfig { repetition_penalty: Some(penalty), ..self }
    }

    /// The tokens that end a text, in the place of the model's; none, and it has no end.
    pub fn eos(self, tokens: impl IntoIterator<Item = i64>) -> GenerationConfig {
        GenerationConfig { eos: Some(tokens.into_iter().collect()), ..self }
    }

    /// Texts that end the generation: it ends with the token that completes one of them, wherever the text begins in the new tokens.
    pub fn stop<S: Into<String>>(self, texts: impl IntoIterator<Item = S>) -> GenerationConfig {
        GenerationConfig { stop: texts.into_iter().map(Into::into).collect(), ..self }
    }

    /// The name that the new tokens are saved under: `generation` if none is given, then `generation 2` and so on.
    pub fn named(self, name: impl Into<String>) -> GenerationConfig {
        GenerationConfig { name: Some(name.into()), ..self }
    }

    /// This, and what it leaves open as another says it.
    pub(crate) fn or(self, other: &GenerationConfig) -> GenerationConfig {
        // Who asks for a number of new tokens is not held to a length of the model's.
        let max_length = self.max_length.or(if self.max_new_tokens.is_none() { other.max_length } else { None });
        GenerationConfig {
            max_new_tokens: self.max_new_tokens.or(other.max_new_tokens),
            max_length,
            min_new_tokens: self.min_new_tokens.or(other.min_new_tokens),
            sample: self.sample.or(other.sample),
            seed: self.seed.or(other.seed),
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
            eos: self.eos.or_else(|| other.eos.clone()),
            stop: if self.stop.is_empty() { other.stop.clone() } else { self.stop },
            name: self.name.or_else(|| other.name.clone()),
        }
    }
}

impl From<usize> for GenerationConfig {
    fn from(max_new_tokens: usize) -> GenerationConfig {
        GenerationConfig::new().max_new_tokens(max_new_tokens)
    }
}

impl From<i32> for GenerationConfig {
    /// A negative number is none.
    fn from(max_new_tokens: i32) -> GenerationConfig {
        usize::try_from(max_new_tokens).unwrap_or(0).into()
    }
}

/// Fields that change what is generated in ways that are not known here, with the value at which they change nothing.
const UNKNOWN: &[(&str, Option<f64>)] = &[
    ("num_beams", Some(1.0)),
    ("num_beam_groups", Some(1.0)),
    ("typical_p", Some(1.0)),
    ("epsilon_cutoff", Some(0.0)),
    ("eta_cutoff", Some(0.0)),
    ("diversity_penalty", Some(0.0)),
    ("no_repeat_ngram_size", Some(0.0)),
    ("encoder_repetition_penalty", Some(1.0)),
    ("encoder_no_repeat_ngram_size", Some(0.0)),
    ("min_length", Some(0.0)),
    ("penalty_alpha", None),
    ("top_h", None),
    ("guidance_scale", Some(1.0)),
    ("bad_words_ids", None),
    ("force_words_ids", None),
    ("sequence_bias", None),
    ("suppress_tokens", None),
    ("begin_suppress_tokens", None),
    ("forced_bos_token_id", None),
    ("forced_eos_token_id", None),
    ("forced_decoder_ids", None),
    ("exponential_decay_length_penalty", None),
    ("watermarking_config", None),
    ("dola_layers", None),
];

/// A generation_config.json has a few hundred bytes.
const LIMIT: u64 = 1 << 20;

impl Model {
    /// How the model wants to be generated with.
    ///
    /// # Errors
    /// E0011 naming the field, where its file has one that is damaged or not supported.
    pub fn generation_config(&self) -> Result<GenerationConfig, Diagnostic> {
        let folder = match self.source() {
            Source::BuiltIn => return Ok(GenerationConfig::new()),
            Source::Cached(cached) => cached.folder().to_owned(),
            Source::Folder(folder) => folder.path().to_owned(),
            Source::Gguf(path) => {
                let config = gguf::config(path)?;
                let eos = tokens(config.get("eos_token_id"), "eos_token_id", self.spec().vocabulary(), path)?;
                return Ok(GenerationConfig { eos, ..GenerationConfig::new() });
            }
        };
        let path = folder.join(cache::GENERATION);
        if path.is_file() {
            let bytes = cache::read_limited(&path, LIMIT)?;
            let json: Map<String, Json> = serde_json::from_slice(&bytes).map_err(|error| {
                Diagnostic::error(Code::E0011, format!("the configuration cannot be read: {error}"))
                    .label(Span::file(&path, format!("line {}", error.line())), "")
            })?;
            return parse(&json, self.spec().vocabulary(), &path);
        }
        let path = folder.join(cache::CONFIG);
        let config = huggingface::read_config(&path, Code::E0011)?;
        let eos = tokens(config.get("eos_token_id"), "eos_token_id", self.spec().vocabulary(), &path)?;
        Ok(GenerationConfig { eos, ..GenerationConfig::new() })
    }
}

fn fault(path: &Path, field: &str, message: String) -> Diagnostic {
    Diagnostic::error(Code::E0011, message).label(Span::file(path, field), "")
}

fn parse(json: &Map<String, Json>, vocabulary: usize, path: &Path) -> Result<GenerationConfig, Diagnostic> {
    for (field, nothing) in UNKNOWN {
        let given = json.get(*field).filter(|value| !value.is_null());
        if let Some(value) = given.filter(|value| nothing.is_none() || value.as_f64() != *nothing) {
            let error = fault(path, field, format!("`{field}` = {value} is not supported: it would change what is generated"));
            return Err(error.help("take it out of a copy of the model's folder to generate without it"));
        }
    }
    let number = |field: &str, fits: &dyn Fn(f64) -> bool| match json.get(field).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|value| fits(*value)) {
            Some(value) => Ok(Some(value)),
            None => Err(fault(path, field, format!("`{field}` cannot be {value}"))),
        },
    };
    let count = |field: &str| number(field, &|value| value >= 0.0 && value.fract() == 0.0 && value <= 1e9);
    let share = |field: &str| number(field, &|value| (0.0..=1.0).contains(&value));
    let sample = match json.get("do_sample").filter(|value| !value.is_null()) {
        None => None,
        Some(value) => Some(value.as_bool().ok_or_else(|| fault(path, "do_sample", format!("`do_sample` cannot be {value}")))?),
    };
    Ok(GenerationConfig {
        max_new_tokens: count("max_new_tokens")?.map(|count| count as usize),
        max_length: count("max_length")?.map(|count| count as usize),
        min_new_tokens: count("min_new_tokens")?.map(|count| count as usize),
        sample,
        seed: None,
        temperature: number("temperature", &|value| value > 0.0 && value.is_finite())?,
        top_k: count("top_k")?.map(|count| count as i64),
        top_p: share("top_p")?,
        min_p: share("min_p")?,
        repetition_penalty: number("repetition_penalty", &|value| value > 0.0 && value.is_finite())?,
        eos: tokens(json.get("eos_token_id"), "eos_token_id", vocabulary, path)?,
        stop: vec![],
        name: None,
    })
}

/// A token id, or a list of them.
fn tokens(value: Option<&Json>, field: &str, vocabulary: usize, path: &Path) -> Result<Option<Vec<i64>>, Diagnostic> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let all = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let ids: Option<Vec<i64>> = all.iter().map(|id| id.as_i64().filter(|id| (0..vocabulary as i64).contains(id))).collect();
    match ids.filter(|ids| ids.len() <= 1024) {
        Some(ids) => Ok(Some(ids)),
        None => Err(fault(path, field, format!("`{field}` = {value} is no token of a vocabulary of {vocabulary}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: Json) -> Result<GenerationConfig, Diagnostic> {
        parse(json.as_object().unwrap(), 100, Path::new("generation_config.json"))
    }

    #[test]
    fn fields_are_read_and_refused_by_name() {
        let json = serde_json::json!({
            "do_sample": true, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 7], "num_beams": 1, "pad_token_id": 0,
            "transformers_version": "4.51.3", "max_new_tokens": null,
        });
        let found = parsed(json).unwrap();
        assert_eq!((found.sample, found.temperature, found.top_p), (Some(true), Some(0.6), Some(0.9)));
        assert_eq!((found.eos, found.max_new_tokens), (Some(vec![2, 7]), None));
        for (field, value) in [("num_beams", 4.into()), ("eos_token_id", 100.into()), ("temperature", 0.into()), ("top_k", (-1).into())] {
            let error = parsed(Json::Object([(field.to_owned(), value)].into_iter().collect())).unwrap_err();
            assert!(error.code == Code::E0011 && error.message.contains(field), "{error}");
        }
    }

    #[test]
    fn what_is_given_comes_first() {
        let model = parsed(serde_json::json!({ "do_sample": true, "temperature": 0.6, "max_length": 30, "eos_token_id": 2 })).unwrap();
        let both = GenerationConfig::new().max_new_tokens(5).temperature(2.0).eos([]).or(&model);
        assert_eq!((both.max_length, both.temperature, both.eos, both.sample), (None, Some(2.0), Some(vec![]), Some(true)));
        assert_eq!(GenerationConfig::new().greedy().or(&model).sample, Some(false));
        assert_eq!(GenerationConfig::new().or(&model), model);
    }
}
