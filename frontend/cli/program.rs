//! Programs from files, with the models that they name.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use irc_ir::{
    cbor,
    code::Code,
    diagnostic::{Diagnostic, Diagnostics, Source, Span},
    graph::Graph,
    text::{self, Parsed},
    types::Name,
    verify::Verified,
};

use super::{
    args::ProgramArgs,
    failure::{Failure, Outcome},
    progress::ProgressDisplay,
    terminal::Terminal,
};
use crate::models::Model;

/// Nothing longer is read: it is what the text form allows.
const LIMIT: u64 = 256 << 20;

/// A program as far as it could be read.
pub(super) struct Program {
    /// Its text; if it came as CBOR, what it is printed as.
    pub(super) source: Source,
    /// What could be understood of it.
    pub(super) graph: Graph,
    /// What could not.
    pub(super) syntax: Vec<Diagnostic>,
    /// The models that are here, by the program's names.
    pub(super) models: BTreeMap<Name, Model>,
    /// What is to be said of those that are not.
    missing: Vec<Diagnostic>,
}

impl Program {
    /// Reads a program, as text or, where the file begins like it, as CBOR.
    pub(super) fn read(file: &Path) -> Outcome<Program> {
        let (name, bytes) = read_bytes(file)?;
        let (source, Parsed { graph, diagnostics }) = match cbor::is_cbor(&bytes) {
            true => read_cbor(&name, &bytes)?,
            false => {
                let source = read_text(name, bytes)?;
                let parsed = text::parse(&source.text);
                (source, parsed)
            }
        };
        Ok(Program { graph, syntax: diagnostics, models: BTreeMap::new(), missing: vec![], source })
    }

    /// Reads a program and opens its models.
    pub(super) fn open(args: &ProgramArgs, terminal: &Terminal) -> Outcome<Program> {
        let mut program = Program::read(&args.file)?;
        program.open_models(&args.models, terminal)?;
        Ok(program)
    }

    /// Opens the program's models. Those that cannot be opened are reported by [`Program::verify`], with all else.
    ///
    /// # Errors
    /// E4004 if the arguments do not fit the program.
    pub(super) fn open_models(&mut self, arguments: &[String], terminal: &Terminal) -> Outcome {
        let bindings = self.bindings(arguments)?;
        let decls = self.graph.models.clone();
        for decl in decls {
            if self.models.contains_key(&decl.name) {
                // Declared twice, which the verifier reports.
                continue;
            }
            let mut progress = ProgressDisplay::new(terminal);
            let (reference, own) = match bindings.get(&decl.name) {
                Some(reference) => (reference.as_str(), false),
                None => (&*decl.reference, true),
            };
            match Model::open_with(reference, &mut |now| progress.show(now)) {
                Ok(model) => drop(self.models.insert(decl.name.clone(), model)),
                Err(error) if own && error.labels.is_empty() => self.missing.push(error.label(decl.span.clone(), "")),
                Err(error) if own => self.missing.push(error.label(decl.span.clone(), "the program's model")),
                Err(error) => self.missing.push(error.note(format!("`--model` binds `{}` to it", decl.name))),
            }
        }
        Ok(())
    }

    /// Has the weights ready of the models that a program uses, showing the progress of what takes long.
    ///
    /// # Errors
    /// E4002 at the model that has no weights here; E0011 and E0012 if they are damaged.
    pub(super) fn load_models(&self, verified: &Verified, terminal: &Terminal) -> Outcome {
        for (name, model) in self.models.iter().filter(|(name, _)| verified.models().contains_key(*name)) {
            let mut progress = ProgressDisplay::new(terminal);
            let loaded = model.handle_with(&mut |now| progress.show(now));
            let decl = self.graph.models.iter().find(|decl| decl.name == *name);
            loaded.map_err(|error| {
                let error = decl.map_or(error.clone(), |decl| error.label(decl.span.clone(), "the program's model"));
                Failure::in_source(error, &self.source)
            })?;
        }
        Ok(())
    }

    /// The models that arguments give, by the program's names.
    fn bindings(&self, arguments: &[String]) -> Outcome<BTreeMap<Name, String>> {
        let names: Vec<&str> = self.graph.models.iter().map(|decl| &*decl.name).collect();
        // Where the list of models cannot be read, nothing can be said of what fits it.
        let readable = self.syntax.is_empty() || !names.is_empty();
        let mut bindings = BTreeMap::new();
        for argument in arguments {
            let (name, model) = match argument.split_once('=') {
                Some((name, model)) if names.contains(&name) => (name, model),
                // A path may have an equals sign of its own.
                _ if names.len() == 1 && Path::new(argument).exists() => (names[0], argument.as_str()),
                Some((name, _)) if readable => {
                    let error =
                        Diagnostic::error(Code::E4004, format!("the program has no model `{name}`")).suggest(name, names.iter().copied());
                    return Err(error.help(models_of(&names)).into());
                }
                None if names.len() == 1 => (names[0], argument.as_str()),
                None if readable => {
                    let error =
                        Diagnostic::error(Code::E4004, format!("`--model {argument}` does not say which model of the program it is"));
                    let help = match names.as_slice() {
                        [] => "the program has no models".to_owned(),
                        [first, ..] => format!("give it a name of the program: `--model {first}={argument}`; {}", models_of(&names)),
                    };
                    return Err(error.help(help).into());
                }
                _ => continue,
            };
            if bindings.insert(Name::from(name), model.to_owned()).is_some() {
                return Err(Diagnostic::error(Code::E4004, format!("`--model` binds `{name}` twice")).into());
            }
        }
        Ok(bindings)
    }

    /// Binds prompts and verifies.
    ///
    /// # Errors
    /// All that is wrong: the text, the models that are not here, the program.
    pub(super) fn verify(&self) -> Result<Verified, Diagnostics> {
        let mut found = [&self.syntax[..], &self.missing[..]].concat();
        let reported = |diagnostic: &Diagnostic| {
            let span = diagnostic.labels.first().map(|label| &label.span);
            // A model that is not here was reported with the reason. Where the list of models has mistakes, a model that is
            // not declared may well be.
            let missing = self.graph.models.iter().any(|decl| Some(&decl.span) == span);
            diagnostic.code == Code::E2002 && (missing || !self.syntax.is_empty())
        };
        match crate::run::check(self.graph.clone(), &self.models) {
            Ok(verified) if !Diagnostics(found.clone()).has_errors() => return Ok(verified),
            Ok(_) => {}
            Err(more) => found.extend(more.0.into_iter().filter(|diagnostic| !reported(diagnostic))),
        }
        found.sort_by_key(|diagnostic| match diagnostic.labels.first().map(|label| &label.span) {
            Some(Span::Text { start, .. }) => *start,
            _ => 0,
        });
        Err(Diagnostics(found))
    }
}

fn models_of(names: &[&str]) -> String {
    match names {
        [] => "it has none".to_owned(),
        names => format!("its models are {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

fn read_bytes(file: &Path) -> Outcome<(String, Vec<u8>)> {
    let mut bytes = vec![];
    let (name, read) = match file.to_str() {
        Some("-") => ("<stdin>".to_owned(), io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes)),
        _ => (file.display().to_string(), File::open(file).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))),
    };
    match read {
        Ok(_) => Ok((name, bytes)),
        Err(error) => {
            let error = Diagnostic::error(Code::E0010, format!("the program cannot be read: {error}"));
            Err(error.label(Span::file(Path::new(&name), ""), "").into())
        }
    }
}

fn read_text(name: String, bytes: Vec<u8>) -> Outcome<Source> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let place = Span::file(Path::new(&name), format!("byte {at}"));
            let error = Diagnostic::error(Code::E0001, "the program is not UTF-8 text").label(place, "");
            Err(Failure::from(error))
        }
    }
}

/// Reads a program that is no text. Diagnostics speak of places in a text, so it is printed, and read from there.
fn read_cbor(name: &str, bytes: &[u8]) -> Outcome<(Source, Parsed)> {
    let place = Span::file(Path::new(name), "");
    if bytes.len() as u64 > LIMIT {
        let message = format!("the program has more than the {LIMIT} bytes that are read");
        return Err(Diagnostic::error(Code::E4001, message).label(place, "").into());
    }
    let graph = cbor::decode(bytes).map_err(|error| error.or_label(&place))?;
    let source = Source::new(format!("{name}, as text"), text::print(&graph, None));
    let parsed = text::parse(&source.text);
    match parsed.diagnostics.is_empty() && parsed.graph == graph {
        true => Ok((source, parsed)),
        // Some names of sizes have no text.
        false => Ok((Source::default(), Parsed { graph, diagnostics: vec![] })),
    }
}
