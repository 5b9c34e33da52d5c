//! Reading a `config.json`: what an architecture wants to know, within bounds, or an error that names the field.
//!
//! Every number that decides how large something becomes has its bound here, so that no damaged or hostile configuration
//! makes us build without end.

use irc_ir::{code::Code, diagnostic::Diagnostic};
use serde_json::{Map, Value};

/// A `config.json`.
pub type Config = Map<String, Value>;

/// The most token ids.
pub(super) const VOCABULARY: usize = 1 << 24;
/// The most elements of the residual stream.
pub(super) const HIDDEN: usize = 1 << 20;
/// The most elements inside an MLP.
pub(super) const INNER: usize = 1 << 22;
/// The most layers.
pub(super) const LAYERS: usize = 1 << 12;
/// The most heads, and the most elements of one.
pub(super) const HEADS: usize = 1 << 14;
/// The longest sequence.
pub(super) const CONTEXT: usize = 1 << 31;

/// The fields of a configuration, or of an object inside it. `null` is the same as a field that is not there, unless
/// something else is said.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    fields: &'a Config,
    /// What precedes a name in messages: `rope_scaling.`.
    prefix: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(config: &'a Config) -> Fields<'a> {
        Fields { fields: config, prefix: "" }
    }

    /// The value of a field, if there is one.
    pub(super) fn value(self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field is there, even as `null`.
    pub(super) fn mentions(self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        self.fields.keys().map(String::as_str)
    }

    /// An error about a field.
    pub(super) fn error(self, name: &str, problem: impl std::fmt::Display) -> Diagnostic {
        Diagnostic::error(Code::E0011, format!("`{}{name}` {problem}", self.prefix))
    }

    fn wrong(self, name: &str, value: &Value, expected: impl std::fmt::Display) -> Diagnostic {
        // A list of thousands would bury what is said of it.
        let text: String = value.to_string().chars().take(40).collect();
        self.error(name, format!("is {text}, but must be {expected}"))
    }

    fn required<T>(self, name: &str, value: Option<T>) -> Result<T, Diagnostic> {
        value.ok_or_else(|| self.error(name, "is missing"))
    }

    /// A whole number from 1 to `most`, if it is there.
    pub(super) fn maybe_size(self, name: &str, most: usize) -> Result<Option<usize>, Diagnostic> {
        let Some(value) = self.value(name) else { return Ok(None) };
        // Some exporters write whole numbers as floats.
        let whole = value.as_u64().or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..1e15).contains(x)).map(|x| x as u64));
        match whole.and_then(|whole| usize::try_from(whole).ok()).filter(|size| (1..=most).contains(size)) {
            Some(size) => Ok(Some(size)),
            None => Err(self.wrong(name, value, format!("a whole number between 1 and {most}"))),
        }
    }

    /// A whole number from 1 to `most`.
    pub(super) fn size(self, name: &str, most: usize) -> Result<usize, Diagnostic> {
        self.required(name, self.maybe_size(name, most)?)
    }

    /// A finite number, if it is there.
    pub(super) fn maybe_number(self, name: &str) -> Result<Option<f64>, Diagnostic> {
        let Some(value) = self.value(name) else { return Ok(None) };
        match value.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, value, "a number")),
        }
    }

    /// A finite number.
    pub(super) fn number(self, name: &str) -> Result<f64, Diagnostic> {
        self.required(name, self.maybe_number(name)?)
    }

    /// A number that is not negative; what is added to keep a norm from dividing by zero.
    pub(super) fn epsilon(self, name: &str, default: f64) -> Result<f64, Diagnostic> {
        match self.maybe_number(name)?.unwrap_or(default) {
            eps if eps >= 0.0 => Ok(eps),
            eps => Err(self.error(name, format!("is {eps}, but must not be negative"))),
        }
    }

    pub(super) fn flag(self, name: &str, default: bool) -> Result<bool, Diagnostic> {
        match self.value(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, other, "true or false")),
        }
    }

    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, Diagnostic> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, other, "a text")),
        }
    }

    /// `count` finite numbers.
    pub(super) fn numbers(self, name: &str, count: usize) -> Result<Vec<f64>, Diagnostic> {
        let value = self.required(name, self.value(name))?;
        let numbers = value.as_array().filter(|items| items.len() == count);
        let numbers = numbers.and_then(|items| items.iter().map(|item| item.as_f64().filter(|x| x.is_finite())).collect());
        numbers.ok_or_else(|| self.wrong(name, value, format!("a list of {count} numbers")))
    }

    /// The fields of an object inside, if it is there. `prefix` is its name and a dot.
    pub(super) fn object(self, prefix: &'static str) -> Result<Option<Fields<'a>>, Diagnostic> {
        let name = prefix.trim_end_matches('.');
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Fields { fields, prefix })),
            Some(other) => Err(self.wrong(name, other, "an object")),
        }
    }

    /// Refuses a field that changes what a model computes in a way that is not supported: it must be missing, or `fine`.
    pub(super) fn refuse_unless(self, name: &str, fine: impl FnOnce(&Value) -> bool) -> Result<(), Diagnostic> {
        match self.value(name) {
            Some(value) if !fine(value) => {
                let text: String = value.to_string().chars().take(40).collect();
                Err(self.error(name, format!("is {text}, which is not supported")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what no architecture supports: quantized weights, pruned heads, attention to an encoder.
    pub(super) fn refuse_the_unsupported(self) -> Result<(), Diagnostic> {
        self.refuse_unless("quantization_config", |_| false)?;
        self.refuse_unless("pruned_heads", |heads| heads.as_object().is_some_and(Map::is_empty))?;
        ["add_cross_attention", "is_encoder_decoder"]
            .into_iter()
            .try_for_each(|name| self.refuse_unless(name, |flag| flag == &Value::Bool(false)))
    }
}
