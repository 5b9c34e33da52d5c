//! `irc demo`: what one run thinks, put into another run; on a real model, or on the toy where there is none.
//!
//! All of it is the tracing API, so this file is also an example of how to use it.

mod story;

use std::time::{Duration, Instant};

use irc_backends::{Report, execute::Driven, rten::Rten};
use irc_ir::{code::Code, diagnostic::Diagnostic, text};
use serde_json::{Value as Json, json};

use super::{
    args::DemoArgs,
    chart::{bar, percent},
    failure::Outcome,
    model::Facts,
    progress::ProgressDisplay,
    run::report_json,
    terminal::{Terminal, bytes, columns, thousands, time},
};
use crate::{
    models::{BUILT_IN, Model, fetch},
    run::Results,
    trace::{Session, Trace},
};
use story::{Patch, Story};

/// The hook of the logits.
const LOGITS: &str = "lm_head.output";

/// The save of a run in which nothing is set.
const UNPATCHED: &str = "unpatched";

/// The longest bar, and that with known answers beside it.
const BARS: [usize; 2] = [54, 34];

/// Known probabilities are compared up to this: the last digits of an exponential are the platform's.
const TOLERANCE: f64 = 1e-6;

pub(super) fn demo(args: &DemoArgs, terminal: &Terminal) -> Outcome {
    let show = |text: String| if args.json { Ok(()) } else { terminal.print(&text) };
    let name = find_model(args.no_network, terminal)?;

    let start = Instant::now();
    let model = Model::open(name)?;
    let handle = model.handle()?;
    model.tokenizer()?;
    let open = start.elapsed();
    let start = Instant::now();
    let backend = Driven::new(Rten::new(None));
    backend.load(&handle)?;
    let load = start.elapsed();
    show(format!("{}: {}\n\n", terminal.strong(model.name()), Facts::of(&model).in_words()))?;

    let story = Story::of(&model);
    let session = patch_session(&model, &story.patch);
    let program = text::print(&session.program()?, None);
    show(heading(terminal, 1, "Read the last token's residual in one run, set it in another"))?;
    show(indented(&program))?;
    let patch = session.run_on(&backend, &mut |_| {})?;
    let sweep = sweep_session(&model, &story)?.run_on(&backend, &mut |_| {})?;

    let words = Words { t1: word(&model, &patch, "t1")?, t2: word(&model, &patch, "t2")?, alone: word(&model, &sweep, "alone")? };
    show(predictions(&story, &words, terminal))?;
    let unpatched = probability(&sweep, UNPATCHED)?;
    let swept = story.sweep.iter().map(|place| probability(&sweep, &place.hook)).collect::<Outcome<Vec<f64>>>()?;
    show(heading(terminal, 2, &format!("The same layer in both runs: how likely {:?} becomes", story.answer)))?;
    show(chart(&story, unpatched, &swept, terminal))?;

    let parts = Parts { open, load, patch: patch.report(), sweep: sweep.report() };
    show(heading(terminal, 3, "What ran"))?;
    show(parts.table(terminal))?;

    if let Some(wrong) = wrong_answer(&story, &words, &swept) {
        return Err(Diagnostic::error(Code::E4003, format!("a known answer does not hold: {wrong}")).into());
    }
    if let Some(known) = &story.known {
        show(format!("\n{}\n", terminal.good(format!("All {} known answers hold.", known.count()))))?;
    }
    if args.json { terminal.print_json(&to_json(&model, &story, &program, &words, (unpatched, &swept), &parts)) } else { Ok(()) }
}

/// The real model, or the toy where that cannot be had.
fn find_model(no_network: bool, terminal: &Terminal) -> Outcome<&'static str> {
    let reason = if no_network {
        "as --no-network asks".to_owned()
    } else {
        let mut progress = ProgressDisplay::new(terminal);
        match fetch::fetch(story::REAL, None, &mut |now| progress.show(now)) {
            Ok(_) => return Ok(story::REAL),
            Err(error) if matches!(error.code, Code::E0013 | Code::E4002) => error.message,
            Err(error) => return Err(error.into()),
        }
    };
    terminal.say(&format!("{} is not fetched ({reason}): here is a toy whose right answers are known", story::REAL));
    Ok(BUILT_IN)
}

/// A value of one run in another, and what comes of it: one program.
fn patch_session(model: &Model, patch: &Patch) -> Session {
    let session = model.session();

    let t1 = session.trace(patch.from);
    let hs = t1.hook(&patch.read).at((.., -1..)).named("hs"); // not saved: only the next trace wants it
    t1.hook(LOGITS).argmax(-1).save("t1");

    let t2 = session.trace(patch.into);
    t2.hook(&patch.write).at((.., -1..)).set(&hs);
    t2.hook(LOGITS).argmax(-1).save("t2");
    session
}

/// A plain loop of traces: which of their work is the same is for the compiler to find out.
fn sweep_session(model: &Model, story: &Story) -> Outcome<Session> {
    let answer = model.encode(story.answer)?.first().copied().unwrap_or_default();
    let session = model.session();
    let probability = |trace: &Trace| trace.hook(LOGITS).at((.., -1)).softmax(-1).at((.., answer));

    let source = session.trace(story.sweep_from);
    for place in &story.sweep {
        let patched = session.trace(story.sweep_into);
        patched.hook(&place.hook).at((.., -1)).set(source.hook(&place.hook).at((.., -1)));
        probability(&patched).save(&place.hook);
    }

    // What the second prompts say by themselves.
    probability(&session.trace(story.sweep_into)).save(UNPATCHED);
    session.trace(story.patch.into).hook(LOGITS).argmax(-1).save("alone");
    Ok(session)
}

/// What the model says after each prompt.
struct Words {
    t1: String,
    t2: String,
    alone: String,
}

/// The word that follows the last token.
fn word(model: &Model, results: &Results, name: &str) -> Outcome<String> {
    let ids = results.ints(name)?;
    Ok(model.decode(&ids[ids.len().saturating_sub(1)..]))
}

fn probability(results: &Results, name: &str) -> Outcome<f64> {
    Ok(results.floats(name)?.first().copied().map_or(f64::NAN, f64::from))
}

fn heading(terminal: &Terminal, number: usize, title: &str) -> String {
    format!("{} {}\n", terminal.accent(number), terminal.strong(title))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect::<String>() + "\n"
}

fn predictions(story: &Story, words: &Words, terminal: &Terminal) -> String {
    let Patch { from, into, read, write } = &story.patch;
    let short = |hook: &str| hook.trim_start_matches("model.").trim_end_matches(".output").to_owned();
    let rows = [
        ((*from).to_owned(), &words.t1),
        ((*into).to_owned(), &words.alone),
        (format!("  with {} of the first run in its {}", short(read), short(write)), &words.t2),
    ];
    let width = rows.iter().map(|(prompt, _)| prompt.chars().count()).max().unwrap_or(0);
    let arrow = terminal.dim(terminal.glyph("→", "->"));
    let lines = rows.iter().map(|(prompt, word)| format!("  {prompt:width$}  {arrow} {}\n", terminal.strong(format!("{word:?}"))));
    let mut text: String = lines.collect();
    if words.t2 != words.t1 {
        text += &format!("  {}\n", terminal.dim("An early layer makes something else of it. Where does it keep its meaning?"));
    }
    text + "\n"
}

fn chart(story: &Story, unpatched: f64, probabilities: &[f64], terminal: &Terminal) -> String {
    let known = story.known.as_ref();
    let width = story.sweep.iter().map(|place| place.label.len()).chain([UNPATCHED.len()]).max().unwrap_or(0);
    let line = |label: &str, part: f64, planted: Option<&f64>| {
        let planted = planted.map_or_else(String::new, |part| terminal.dim(format!(" planted: {}", percent(*part).trim())));
        let bar = terminal.accent(bar(part, BARS[usize::from(known.is_some())], terminal));
        format!("  {label:>width$}  {}  {bar}{planted}", percent(part)).trim_end().to_owned() + "\n"
    };
    let places = story.sweep.iter().zip(probabilities).enumerate();
    let lines = places.map(|(at, (place, part))| line(&place.label, *part, known.and_then(|known| known.sweep.get(at))));
    [line(UNPATCHED, unpatched, None)].into_iter().chain(lines).collect::<String>() + "\n"
}

/// How long the parts took, and what was done in them.
struct Parts<'a> {
    open: Duration,
    load: Duration,
    patch: &'a Report,
    sweep: &'a Report,
}

impl Parts<'_> {
    fn table(&self, terminal: &Terminal) -> String {
        let row = |name: &str, of: &dyn Fn(&Report) -> String| [format!("  {name}"), of(self.patch), of(self.sweep)];
        let rows = [
            ["  ".to_owned(), "1 patch".to_owned(), "2 sweep".to_owned()],
            row("forward passes", &|report| thousands(report.forwards)),
            row("tokens through stages", &|report| {
                let part = 1.0 - report.token_stages as f64 / report.token_stages_whole.max(1) as f64;
                let saved = if part > 0.0 { format!(", {:.0} % saved", part * 100.0) } else { String::new() };
                format!("{} of {}{saved}", thousands(report.token_stages), thousands(report.token_stages_whole))
            }),
            row("calls of the engine", &|report| thousands(report.engine_calls)),
            row("time", &|report| time(report.total_time)),
            row("  in the engine", &|report| time(report.engine_time)),
            row("  in attention", &|report| time(report.attention_time)),
        ];
        let mut lines = columns(&rows);
        lines += &format!("  opened in {}, loaded in {}\n", time(self.open), time(self.load));
        lines += &format!("  numeric class: {}", self.patch.numeric_class);
        if let Some(memory) = anonymous_memory() {
            lines += &format!("; anonymous memory: {}", bytes(memory));
        }
        let mut lines = lines.lines();
        let head = lines.next().map(|line| terminal.dim(line)).into_iter();
        head.chain(lines.map(str::to_owned)).map(|line| line + "\n").collect()
    }
}

/// The memory of this process that is not a file's, where the system tells.
fn anonymous_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The first of the known answers that does not hold.
fn wrong_answer(story: &Story, words: &Words, swept: &[f64]) -> Option<String> {
    let known = story.known.as_ref()?;
    let said = [("t1", &words.t1, known.t1), ("t2", &words.t2, known.t2), ("the second prompt alone", &words.alone, known.alone)];
    let mut said = said.into_iter().filter(|(_, found, known)| found != known);
    let mut places = story.sweep.iter().zip(swept).zip(&known.sweep);
    let said = said.next().map(|(run, found, known)| format!("{run} says {found:?}, not {known:?}"));
    said.or_else(|| {
        let ((place, found), known) = places.find(|((_, found), known)| found.is_nan() || (*found - **known).abs() > TOLERANCE)?;
        Some(format!("with {} it is {found}, not {known}", place.hook))
    })
}

fn to_json(model: &Model, story: &Story, program: &str, words: &Words, (unpatched, swept): (f64, &[f64]), parts: &Parts<'_>) -> Json {
    let sweep: Vec<Json> = story.sweep.iter().zip(swept).map(|(place, part)| json!({ "hook": place.hook, "probability": part })).collect();
    json!({
        "ok": true,
        "model": model.name(),
        "program": program,
        "predictions": { "t1": words.t1, "t2": words.t2, "alone": words.alone },
        "answer": story.answer,
        "unpatched": unpatched,
        "sweep": sweep,
        "known_answers": story.known.as_ref().map(|known| known.count()),
        "seconds": { "open": parts.open.as_secs_f64(), "load": parts.load.as_secs_f64() },
        "reports": { "patch": report_json(parts.patch), "sweep": report_json(parts.sweep) },
    })
}
