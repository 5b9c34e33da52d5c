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
    /// Why it is not available.
    why: Option<String>,
    /// What can be done about that.
    help: Vec<String>,
}

impl Found {
    fn available(name: &'static str, version: Option<String>) -> Found {
        Found { name, version, path: None, why: None, help: vec![] }
    }

    fn missing(name: &'static str, why: impl Into<String>, help: Vec<String>) -> Found {
        Found { name, version: None, path: None, why: Some(why.into()), help }
    }

    fn row(&self) -> [String; 3] {
        let Some(why) = &self.why else {
            let facts: Vec<&str> = self.version.iter().chain(&self.path).map(String::as_str).collect();
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
    use irc_ir::diagnostic::Diagnostic;

    use crate::ort::{Library, library};
    match library(None).and_then(|path| Library::open(&path)) {
        Ok(library) => {
            let path = Some(library.path.display().to_string());
            Found { path, ..Found::available("ort", Some(library.version)) }
        }
        Err(Diagnostic { message, help, .. }) => Found::missing("ort", message, help),
    }
}

#[cfg(not(feature = "ort"))]
fn ort() -> Found {
    Found::missing("ort", "this irc was built without the feature `ort`", vec![])
}

fn cuda() -> Found {
    Found::missing("ort CUDA", "this version of irc does not run on CUDA yet", vec![])
}
