//! How generations ended, and why something in them was never reached.

use std::fmt;

use irc_ir::{code::Code, diagnostic::Diagnostic, types::Name};

use crate::{recorder::TraceId, run::Results};

/// A generation as it was recorded.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) trace: TraceId,
    /// Its new tokens are saved under it.
    pub(crate) name: Name,
    /// How many steps there are at most.
    pub(crate) steps: usize,
    /// Whether more were asked for than fit into the model's context.
    pub(crate) cut_by_context: bool,
    /// The tokens that end it.
    pub(crate) ends: Vec<i64>,
    /// What single steps save.
    pub(crate) saves: Vec<(Name, usize)>,
}

/// What a generation came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generated {
    /// The new tokens, the one that ended it included.
    pub tokens: Vec<i64>,
    /// Why there are no more.
    pub end: End,
}

/// Why a generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The model chose a token that ends a text.
    EndOfText,
    /// One of the texts that were to end it was completed.
    StopText,
    /// It has as many tokens as it was to have.
    MaxNewTokens,
    /// The model's context is full.
    Context,
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            End::EndOfText => "end of text",
            End::StopText => "a stop text",
            End::MaxNewTokens => "it has as many tokens as it was to have",
            End::Context => "the context of the model is full",
        })
    }
}

impl Results {
    /// What a generation came to, by its name.
    ///
    /// # Errors
    /// E4004 if there is no such generation, or the program stopped itself before its end.
    pub fn generated(&self, name: &str) -> Result<Generated, Diagnostic> {
        let Some(planned) = self.generations.iter().find(|planned| *planned.name == *name) else {
            let error = Diagnostic::error(Code::E4004, format!("there is no generation \"{name}\""));
            return Err(error.suggest(name, self.generations.iter().map(|planned| &*planned.name)));
        };
        let tokens = self.ints(name)?.to_vec();
        let end = match tokens.last() {
            Some(last) if planned.ends.contains(last) => End::EndOfText,
            _ if tokens.len() < planned.steps => End::StopText,
            _ if planned.cut_by_context => End::Context,
            _ => End::MaxNewTokens,
        };
        Ok(Generated { tokens, end })
    }

    /// Why nothing was saved under a name, where a generation ended before.
    pub(crate) fn why_unset(&self, name: &str) -> Option<String> {
        if let Some(stopped) = self.stopped() {
            let why = stopped.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            return Some(format!("the program stopped itself before{why}"));
        }
        let step = |planned: &Planned| Some((planned.name.clone(), planned.saves.iter().find(|(saved, _)| **saved == *name)?.1));
        let (generation, step) = self.generations.iter().find_map(step)?;
        let Generated { tokens, end } = self.generated(&generation).ok()?;
        let ended = match tokens.len().checked_sub(1) {
            _ if step < tokens.len() => return Some("its condition did not hold".to_owned()),
            Some(last) => format!("ended at step {last}: {end}"),
            None => "has no steps".to_owned(),
        };
        Some(format!("it is of step {step} of \"{generation}\", which {ended}"))
    }
}
