//! Where in a prompt something stands: positions of tokens by the text that they cover.
//!
//! Positions are plain numbers, known while the program is written: the model's tokenizer is asked at once. A session of a
//! model that is described but not here has none (E2008).

use std::ops::Range;

use irc_ir::{code::Code, diagnostic::Diagnostic};

use super::{PoisonError, Trace, here};

/// A part of a prompt: a text that stands in it once, or a text and which of its places is meant, counted from 0 or, where
/// negative, from the last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PromptPart {
    text: String,
    which: Option<i64>,
}

impl From<&str> for PromptPart {
    fn from(text: &str) -> PromptPart {
        PromptPart { text: text.to_owned(), which: None }
    }
}

impl From<&String> for PromptPart {
    fn from(text: &String) -> PromptPart {
        text.as_str().into()
    }
}

impl From<(&str, i64)> for PromptPart {
    fn from((text, which): (&str, i64)) -> PromptPart {
        PromptPart { text: text.to_owned(), which: Some(which) }
    }
}

impl Trace {
    /// The positions of the tokens that cover a part of the prompt: `h.at((.., trace.tokens_of("Eiffel Tower")))`. A token that
    /// covers only some of it counts. White space at the ends of the part only tells where it stands: of most models a
    /// space belongs to the token after it.
    ///
    /// ```
    /// # use irc::prelude::*;
    /// let model = Model::open("induction")?;
    /// let session = model.session();
    /// let trace = session.trace("<s> Eiffel Paris Buckingham London Eiffel");
    /// assert_eq!(trace.tokens_of("Paris Buckingham"), 2..4);
    /// assert_eq!(trace.position(("Eiffel", 1)), 5); // the second one
    /// trace.hook("model.layers.3.output").at((.., trace.position("London"))).save("h");
    /// # session.run()?;
    /// # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
    /// ```
    ///
    /// A part that is not in the prompt, or several times and it is not said which, is an error (E2010), as is a trace on
    /// token ids or a model without a tokenizer (E2008). The positions are then those of the first token.
    #[track_caller]
    pub fn tokens_of(&self, part: impl Into<PromptPart>) -> Range<i64> {
        match self.find(&part.into()) {
            Ok(tokens) => tokens,
            Err(error) => {
                // After a mistake there is a report already.
                if self.trace.is_some() {
                    self.session.record().error(error.label(here(), ""));
                }
                0..1
            }
        }
    }

    /// The position of the last token of a part of the prompt, where the model has read all of it; see
    /// [`Trace::tokens_of`].
    #[track_caller]
    pub fn position(&self, part: impl Into<PromptPart>) -> i64 {
        self.tokens_of(part).end - 1
    }

    fn find(&self, part: &PromptPart) -> Result<Range<i64>, Diagnostic> {
        let Some(prompt) = &self.text else {
            let error =
                Diagnostic::error(Code::E2008, format!("the trace runs on token ids, so nothing is known of the text `{}`", part.text));
            return Err(error.help("give the position as a number, or trace the prompt as text"));
        };
        let name = self.trace.map(|trace| {
            let recorder = self.session.record();
            recorder.model_name(recorder.model_of(trace)).clone()
        });
        let models = self.session.models.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(model) = name.and_then(|name| models.get(&name).cloned()) else {
            let error = Diagnostic::error(Code::E2008, "the model has no tokenizer here, so positions cannot be told from a text");
            return Err(error.help("open the model with `Model::open`, or give positions as numbers"));
        };
        drop(models);
        let tokens = model.tokenizer()?.encode_with_places(prompt)?;
        let place = place_in(prompt, part)?;
        let covers = |token: &Range<usize>| token.start < place.end && place.start < token.end;
        let first = tokens.iter().position(|(_, token)| covers(token));
        let last = tokens.iter().rposition(|(_, token)| covers(token));
        match (first, last) {
            (Some(first), Some(last)) => Ok(first as i64..last as i64 + 1),
            _ => Err(Diagnostic::error(Code::E2010, format!("no token of the prompt covers `{}`", part.text))
                .note("the tokenizer leaves it out")
                .help("`irc tokens MODEL PROMPT` shows the tokens of a prompt")),
        }
    }
}

/// The bytes of a prompt where a part stands, without white space around it.
fn place_in(prompt: &str, part: &PromptPart) -> Result<Range<usize>, Diagnostic> {
    let text = &*part.text;
    let show = |prompt: &str| match prompt.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &prompt[..end]),
        None => format!("{prompt:?}"),
    };
    if text.is_empty() {
        return Err(Diagnostic::error(Code::E2010, "an empty text stands at no position"));
    }
    // Also places that overlap.
    let places: Vec<usize> = prompt.char_indices().map(|(at, _)| at).filter(|at| prompt[*at..].starts_with(text)).collect();
    let start = match (places.as_slice(), part.which) {
        ([], _) => {
            let error = Diagnostic::error(Code::E2010, format!("`{text}` does not stand in the prompt {}", show(prompt)));
            let error = error.suggest(text, prompt.split_whitespace());
            return Err(match prompt.to_lowercase().contains(&text.to_lowercase()) {
                true => error.note("upper and lower case are different"),
                false => error,
            });
        }
        ([only], None) => *only,
        (several, None) => {
            let message = format!("`{text}` stands {} times in the prompt {}", several.len(), show(prompt));
            return Err(Diagnostic::error(Code::E2010, message).help(format!(
                "say which: `(\"{text}\", 0)` is the first, `(\"{text}\", -1)` the last; or give more of the text around it"
            )));
        }
        (some, Some(which)) => {
            let at = if which < 0 { which.checked_add_unsigned(some.len() as u64) } else { Some(which) };
            let Some(start) = at.and_then(|at| some.get(usize::try_from(at).ok()?)) else {
                let message = format!("`{text}` stands {} times in the prompt {}, so there is no number {which}", some.len(), show(prompt));
                return Err(Diagnostic::error(Code::E2010, message).help(format!("they are 0 to {}", some.len() - 1)));
            };
            *start
        }
    };
    let end = start + text.len();
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(start..end);
    }
    let start = start + (text.len() - text.trim_start().len());
    Ok(start..start + trimmed.len())
}
