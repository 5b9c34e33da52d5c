//! `irc run`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

#[cfg(feature = "ort")]
use irc_backends::ort::Device;
use irc_backends::{Backend, Event, Report, cancel::Cancel, execute::Driven, host::Functions, reference::Reference, rten::Rten};
use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    eval::Value,
    types::Name,
    verify::Verified,
};
use serde_json::{Value as Json, json};

use super::{
    args::{BackendName, EngineArgs, RunArgs},
    explanation::warn,
    failure::{Failure, Outcome, span_json},
    interrupt,
    program::Program,
    terminal::{Terminal, columns, count, thousands, time},
    token_ids,
    value::{Leaf, abridged, leaves, preview, value_json},
};
#[cfg(feature = "ort")]
use crate::ort::{
    cuda::{Cuda, DefaultEngine},
    library,
};
use crate::{
    models::Model,
    run::{Results, describe, optimized, run_verified_for},
};

pub(super) fn run(args: &RunArgs, terminal: &Terminal) -> Outcome {
    let backend = backend(&args.engine, terminal)?;
    if let Some(out) = &args.out {
        check_writable(out)?;
    }
    let program = Program::open(&args.program, terminal)?;
    let verified = program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
    let warnings = warn(&verified, &program, terminal);
    program.load_models(&verified, terminal)?;
    let mut logs = vec![];
    let mut words = Words { program: &program, verified: &verified, models: BTreeMap::new() };
    // The first line that could not be written ends the command, but not before the results are saved.
    let mut closed: io::Result<()> = Ok(());
    let mut on_event = |event: Event| {
        let Event::Log { label, value } = &event else { return };
        let mut line = format!("LOG {}", describe(&event));
        let words = words.of(label.as_ref(), value);
        if let Some(words) = &words {
            line += &format!(" {}", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "));
        }
        if args.json {
            terminal.say(&line);
            let mut log = json!({ "label": label.as_deref(), "value": value_json(value) });
            if let Some(words) = words {
                log["text"] = json!(words);
            }
            logs.push(log);
        } else if closed.is_ok() {
            closed = writeln!(io::stdout().lock(), "{line}");
        }
    };
    let cancel = Cancel::new();
    interrupt::cancels(&cancel, terminal);
    let mut host = Functions::new(&mut on_event).with_cancel(&cancel);
    let optimized = match args.no_optimize {
        true => verified.clone(),
        false => optimized(&verified).map_err(|errors| Failure::in_source(errors, &program.source))?,
    };
    let results = run_verified_for(&optimized, &program.models, &*backend, &mut host);
    drop(host);
    let results = results.map_err(|error| Failure::in_source(error, &program.source))?;
    if let Some(out) = &args.out {
        results.write(out)?;
    }
    closed?;
    let saves = Saves { program: &program, verified: &verified, results: &results };
    if args.json {
        return terminal.print_json(&json!({
            "ok": true,
            "saves": saves.to_json(),
            "unset": saves.unset().iter().map(|name| &**name).collect::<Vec<_>>(),
            "logs": logs,
            "stopped": results.stopped().map(|stopped| json!({
                "reason": stopped.reason.as_deref(),
                "span": span_json(&stopped.span, &program.source),
            })),
            "report": report_json(results.report()),
            "diagnostics": warnings,
            "out": args.out.as_ref().map(|path| path.display().to_string()),
        }));
    }
    if !args.quiet {
        terminal.print(&saves.table(terminal))?;
        let unset = saves.unset().iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        if !unset.is_empty() {
            terminal.say(&format!("not saved, as nothing came to it: {unset}"));
        }
        if let Some(stopped) = results.stopped() {
            let why = stopped.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            terminal.say(&format!("the program stopped itself{why}"));
        }
        let mut line = report_line(results.report());
        if let Some(out) = &args.out {
            line += &format!("; results in {}", out.display());
        }
        terminal.say(&line);
    }
    Ok(())
}

/// What was asked for, or is the default here.
pub(super) fn backend(args: &EngineArgs, terminal: &Terminal) -> Outcome<Box<dyn Backend>> {
    #[cfg(feature = "ort")]
    if args.backend != Some(BackendName::Ort) {
        let given = [
            ("--ort-library", args.ort_library.is_some()),
            ("--whole-graph", args.whole_graph),
            ("--device", args.device.is_some()),
            ("--precision", args.precision.is_some()),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(Diagnostic::error(Code::E4004, format!("`{flag}` is for ONNX Runtime")).help("add `--engine ort`").into());
        }
    }
    let threads = args.threads.map(usize::from);
    match (args.backend, threads) {
        (None, _) => default(args, terminal),
        (Some(BackendName::Rten), threads) => Ok(Box::new(Driven::new(Rten::new(threads)))),
        #[cfg(feature = "ort")]
        (Some(BackendName::Ort), _) => ort(args, args.device.unwrap_or_default()),
        (Some(BackendName::Reference), None) => Ok(Box::new(Reference)),
        (Some(BackendName::Reference), Some(_)) => {
            Err(Diagnostic::error(Code::E4004, "the reference backend has one thread").help("leave `--threads` out").into())
        }
    }
}

/// What computes where nobody says what: ONNX Runtime on a card where both are here, else rten.
fn default(args: &EngineArgs, terminal: &Terminal) -> Outcome<Box<dyn Backend>> {
    #[cfg(feature = "ort")]
    {
        let (engine, why_no_card) = Cuda::find(None).default_engine();
        if let Some(why) = why_no_card {
            terminal.say(&format!("{}; rten computes", why.message));
        }
        if engine == DefaultEngine::OrtOnCuda {
            return ort(args, Device::Cuda { id: 0 });
        }
    }
    let _ = terminal;
    Ok(Box::new(Driven::new(Rten::new(args.threads.map(usize::from)))))
}

#[cfg(feature = "ort")]
fn ort(args: &EngineArgs, device: Device) -> Outcome<Box<dyn Backend>> {
    let threads = args.threads.map(usize::from);
    let path = match device {
        Device::Cpu => library(args.ort_library.as_deref())?,
        Device::Cuda { id } => {
            let cuda = Cuda::find(args.ort_library.as_deref());
            let (library, cards) = cuda.usable()?;
            if usize::try_from(id).is_ok_and(|id| id >= cards.len()) {
                let error = Diagnostic::error(Code::E4004, format!("there is no {device}: there is {}", count(cards.len(), "card")));
                return Err(error.help("`irc backends` lists them, from `cuda:0` on").into());
            }
            library.path.clone()
        }
    };
    Ok(crate::ort::backend(&path, threads, device, args.precision.unwrap_or_default(), args.whole_graph)?)
}

/// A run may take long: that its results have no place to go to is said before.
fn check_writable(out: &Path) -> Outcome {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let problem = match () {
        () if out.is_dir() => "it is a folder",
        () if !parent.is_dir() => "there is no such folder",
        () => return Ok(()),
    };
    Err(Diagnostic::error(Code::E0010, format!("the results cannot be written: {problem}")).label(Span::file(out, ""), "").into())
}

/// The words of token ids that are logged.
struct Words<'a> {
    program: &'a Program,
    verified: &'a Verified,
    /// By label, whose token ids its values hold.
    models: BTreeMap<Option<Name>, Option<Name>>,
}

impl Words<'_> {
    /// The words of a few token ids.
    fn of(&mut self, label: Option<&Name>, value: &Value) -> Option<Vec<String>> {
        let ids = value.as_tensor()?.values::<i64>().filter(|ids| ids.len() <= MOST_WORDS)?;
        let verified = self.verified;
        let model = self.models.entry(label.cloned()).or_insert_with(|| token_ids::of_log(verified, label.map(|label| &**label)));
        words(self.program.models.get(model.as_ref()?)?, ids)
    }
}

/// More words than these are not shown beside a value that is logged.
const MOST_WORDS: usize = 64;

/// Each token as text.
fn words(model: &Model, ids: &[i64]) -> Option<Vec<String>> {
    let tokenizer = model.tokenizer().ok()?;
    Some(ids.iter().map(|id| tokenizer.decode(&[*id])).collect())
}

/// What was saved, with what is known of it.
struct Saves<'a> {
    program: &'a Program,
    verified: &'a Verified,
    results: &'a Results,
}

impl Saves<'_> {
    /// The tokens of a part of a save, where it holds token ids: each as text.
    fn tokens(&self, save: &str, leaf: &Leaf<'_>) -> Option<Vec<String>> {
        let model: &Model = self.program.models.get(&token_ids::of_save(self.verified, save, &leaf.path)?)?;
        words(model, leaf.value.as_tensor()?.values::<i64>()?)
    }

    /// The names under which nothing was saved.
    fn unset(&self) -> Vec<Name> {
        let unset = token_ids::saves(self.verified).into_iter().filter(|name| self.results.iter().all(|(saved, _)| *saved != **name));
        unset.collect()
    }

    fn table(&self, terminal: &Terminal) -> String {
        let ellipsis = terminal.glyph("…", "...");
        let mut rows = vec![];
        for (name, value) in self.results.iter() {
            for leaf in leaves(name, value) {
                let shown = match leaf.value {
                    Value::Tensor(tensor) => preview(tensor, ellipsis),
                    Value::Str(text) => format!("{text:?}"),
                    Value::Tuple(_) | Value::List { .. } | Value::Opaque(_) => String::new(),
                };
                let tokens = self.tokens(name, &leaf).unwrap_or_default();
                let tokens = abridged(tokens.len(), ellipsis, |at| format!("{:?}", tokens[at])).join(" ");
                rows.push([leaf.name, leaf.value.ty().to_string(), shown, tokens]);
            }
        }
        columns(&rows)
    }

    fn to_json(&self) -> Json {
        let mut all = vec![];
        for (name, value) in self.results.iter() {
            for leaf in leaves(name, value) {
                let mut json = value_json(leaf.value);
                if let Some(tokens) = self.tokens(name, &leaf) {
                    json["text"] = json!(tokens);
                }
                json["name"] = json!(leaf.name);
                all.push(json);
            }
        }
        Json::Array(all)
    }
}

/// What was done, in one line.
pub(super) fn report_line(report: &Report) -> String {
    let mut parts = vec![report.numeric_class.clone()];
    // The reference backend has no stages.
    if report.stages_whole > 0 {
        let tokens = format!("{} of {} tokens through stages", thousands(report.token_stages), thousands(report.token_stages_whole));
        parts.push(format!("{}, {tokens}", count(report.forwards, "forward")));
    }
    parts.push(time(report.total_time));
    parts.join("; ")
}

/// What was done, as JSON.
pub(super) fn report_json(report: &Report) -> Json {
    json!({
        "numeric_class": report.numeric_class,
        "forwards": report.forwards,
        "stages_run": report.stages_run,
        "stages_whole": report.stages_whole,
        "token_stages": report.token_stages,
        "token_stages_whole": report.token_stages_whole,
        "engine_calls": report.engine_calls,
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "seconds": report.total_time.as_secs_f64(),
        "engine_seconds": report.engine_time.as_secs_f64(),
        "attention_seconds": report.attention_time.as_secs_f64(),
    })
}
