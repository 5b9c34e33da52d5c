//! Functions that programs can call without anybody's having registered them: what takes a model's tokenizer.

use std::collections::BTreeMap;

use irc_backends::{Event, cancel::Cancel, host::Host};
use irc_ir::{code::Code, diagnostic::Diagnostic, eval::Value, tensor::Tensor, types::Name};

use crate::models::Model;

/// What the names of these functions begin with; the program's name for the model follows.
const ENDS_WITH: &str = "tokens.end_with:";

/// The function that tells whether a text ends in the last of some tokens: `call(%tokens, "a", "b")`, with tokens i64 \[1, N\], is
/// whether one of the texts is in the text of the tokens and not in that of all but the last.
pub(crate) fn function_of(model: &str) -> Name {
    format!("{ENDS_WITH}{model}").into()
}

/// A host with these functions beside its own.
pub(super) struct WithTokenizers<'a> {
    pub(super) host: &'a mut dyn Host,
    pub(super) models: &'a BTreeMap<Name, Model>,
}

impl WithTokenizers<'_> {
    fn model_of(&self, function: &str) -> Option<&Model> {
        self.models.get(function.strip_prefix(ENDS_WITH)?)
    }
}

impl Host for WithTokenizers<'_> {
    fn event(&mut self, event: Event) {
        self.host.event(event);
    }

    fn has(&self, function: &str) -> bool {
        self.host.has(function) || self.model_of(function).is_some()
    }

    fn call(&mut self, function: &str, operands: &[Value]) -> Result<Value, Diagnostic> {
        match self.model_of(function).filter(|_| !self.host.has(function)) {
            Some(model) => Ok(Value::from(Tensor::scalar(ends_with(model, operands)?))),
            None => self.host.call(function, operands),
        }
    }

    fn cancel(&self) -> Cancel {
        self.host.cancel()
    }
}

fn ends_with(model: &Model, operands: &[Value]) -> Result<bool, Diagnostic> {
    let wrong = || Diagnostic::error(Code::E4003, "tokens i64 [1, N] and texts are needed here");
    let (tokens, texts) = operands.split_first().ok_or_else(wrong)?;
    let tokens = tokens.as_tensor().and_then(Tensor::values::<i64>).ok_or_else(wrong)?;
    let texts = texts.iter().map(|text| text.as_str().filter(|text| !text.is_empty())).collect::<Option<Vec<&str>>>().ok_or_else(wrong)?;
    let tokenizer = model.tokenizer()?;
    // A token has a byte or more, or is one of few special ones; the text before does not matter.
    let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let tail = &tokens[tokens.len().saturating_sub(longest + 8)..];
    let Some((_, before)) = tail.split_last() else { return Ok(false) };
    let (before, now) = (tokenizer.decode(before), tokenizer.decode(tail));
    Ok(texts.iter().any(|text| now.matches(text).count() > before.matches(text).count()))
}
