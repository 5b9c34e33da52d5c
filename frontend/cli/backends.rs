//! `irc backends`.

use irc_backends::rten;
use serde_json::{Value as Json, json};

use super::{
    args::JsonOnly,
    failure::Outcome,
    terminal::{Terminal, columns},
};

/// What is known of one backend on this machine.
struct Found {
    name: &'static str,
    version: Option<String>,
    path: Option<String>,
    /// The cards that it computes on.
    cards: Vec<String>,
    /// Why it is not available.
    why: Option<String>,
    /// What can be done about that.
    help: Vec<String>,
}

impl Found {
    fn available(name: &'static str, version: Option<String>) -> Found {
        Found { name, version, path: None, cards: vec![], why: None, help: vec![] }
    }

    fn missing(name: &'static str, why: impl Into<String>, help: Vec<String>) -> Found {
        Found { name, version: None, path: None, cards: vec![], why: Some(why.into()), help }
    }

    fn row(&self) -> [String; 3] {
        let Some(why) = &self.why else {
            let facts: Vec<&str> = self.version.iter().chain(&self.path).chain(&self.cards).map(String::as_str).collect();
            return [self.name.to_owned(), "available".to_owned(), facts.join("  ")];
        };
        let help = self.help.first().map(|help| format!("; {help}")).unwrap_or_default();
        [self.name.to_owned(), "not available".to_owned(), format!("{why}{help}")]
    }

    fn to_json(&self) -> Json {
        json!({
            "name": self.name,
            "available": self.why.is_none(),
            "version": self.version,
            "path": self.path,
            "cards": self.cards,
            "why": self.why,
            "help": self.help,
        })
    }
}

pub(super) fn backends(args: &JsonOnly, terminal: &Terminal) -> Outcome {
    let found = [Found::available("rten", Some(rten::VERSION.to_owned())), Found::available("reference", None), ort(), cuda()];
    match args.json {
        true => terminal.print_json(&json!({ "ok": true, "backends": found.iter().map(Found::to_json).collect::<Vec<_>>() })),
        false => terminal.print(&columns(&found.each_ref().map(Found::row))),
    }
}

#[cfg(feature = "ort")]
fn ort() -> Found {
    use crate::ort::{Library, library};
    on_library("ort", library(None).and_then(|path| Library::open(&path)).map(|library| (library, vec![])))
}

#[cfg(feature = "ort")]
fn cuda() -> Found {
    use crate::ort::cuda::Cuda;
    on_library("ort CUDA", Cuda::find(None).usable().map(|(library, cards)| (library.clone(), cards.to_vec())))
}

#[cfg(feature = "ort")]
fn on_library(name: &'static str, found: Result<(crate::ort::Library, Vec<String>), irc_ir::diagnostic::Diagnostic>) -> Found {
    match found {
        Ok((library, cards)) => {
            let path = Some(library.path.display().to_string());
            Found { path, cards, ..Found::available(name, Some(library.version)) }
        }
        Err(error) => Found::missing(name, error.message, error.help),
    }
}

#[cfg(not(feature = "ort"))]
fn ort() -> Found {
    Found::missing("ort", "this irc was built without the feature `ort`", vec![])
}

#[cfg(not(feature = "ort"))]
fn cuda() -> Found {
    Found::missing("ort CUDA", "this irc was built without the feature `ort`", vec![])
}
