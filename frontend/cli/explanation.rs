//! `irc explain`: what is going to be done for a program, before it runs and beside what a run took.

use std::fs;

#[cfg(feature = "ort")]
use irc_backends::ort::{Ort, runtime::Runtime};
use irc_backends::{Report, execute::Driven, host::Functions, rten::Rten};
use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Diagnostics, Source, Span},
    plan::Schedule,
    text,
    verify::Verified,
};
use irc_passes::{
    cost::Work,
    explain::{Explanation, LoopLine, StageLine, explain},
    optimize::{Optimized, optimize},
    rule::Options,
};
use serde_json::{Value as Json, json};

use super::{
    args::{BackendName, ExplainProgramArgs},
    chart::bar,
    failure::{Failure, Outcome, span_json, to_json},
    interrupt,
    opt::{nodes, record_json, summary},
    program::Program,
    run::report_json,
    terminal::{Terminal, bytes, columns, count, quantity, thousands, time},
};
use crate::run::run_verified_for;
use irc_backends::{Backend, cancel::Cancel};

/// The page, without what it is about.
const PAGE: &str = include_str!("explanation/page.html");

/// Lines about the optimizer.
const MOST_SAID: usize = 12;

/// Stages that are listed one by one; of more, the first and the last of them.
const MOST_LISTED: usize = 120;

pub(super) fn explanation(args: &ExplainProgramArgs, terminal: &Terminal) -> Outcome {
    let engine = engine(args)?;
    let program = Program::open(&args.program, terminal)?;
    let before = program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
    let warnings = warn(&before, &program, terminal);
    let optimized = match args.no_optimize {
        true => None,
        false => Some(optimize(&before, &Options::default()).map_err(|errors| Failure::in_source(errors, &program.source))?),
    };
    let verified = optimized.as_ref().map_or(&before, |optimized| &optimized.program);
    let target = engine.target();
    let explanation = explain(verified, &before, &target).map_err(|error| Failure::in_source(error, &program.source))?;
    let report = args.analyze.then(|| run(&engine, &program, verified, terminal)).transpose()?;
    let view = View {
        name: &before.graph().name,
        engine: engine.name(),
        before: &before,
        optimized: optimized.as_ref(),
        source: &program.source,
        explanation: &explanation,
        report: report.as_ref(),
    };
    if let Some(path) = &args.html {
        // A closing tag inside of the data would end it.
        let data = view.to_json(warnings.clone()).to_string().replace("</", "<\\/");
        let page = PAGE.replace("/*DATA*/null", &data);
        fs::write(path, page).map_err(|error| {
            Diagnostic::error(Code::E0010, format!("the page cannot be written: {error}")).label(Span::file(path, ""), "")
        })?;
        terminal.say(&format!("the page is in {}", path.display()));
    }
    match args.json {
        true => terminal.print_json(&view.to_json(warnings)),
        false => terminal.print(&view.in_words(terminal)),
    }
}

/// Says what the lints have to say; the same as JSON.
pub(super) fn warn(verified: &Verified, program: &Program, terminal: &Terminal) -> Json {
    let warnings = Diagnostics(irc_passes::lint(verified));
    if !warnings.0.is_empty() {
        terminal.say(&warnings.render(&program.source, terminal.color_err));
    }
    to_json(&warnings, &program.source)
}

fn engine(args: &ExplainProgramArgs) -> Outcome<Driven> {
    let threads = args.threads.map(usize::from);
    match args.engine {
        None | Some(BackendName::Rten) => Ok(Driven::new(Rten::new(threads))),
        #[cfg(feature = "ort")]
        Some(BackendName::Ort) => {
            let runtime = Runtime::load(&crate::ort::library(args.ort_library.as_deref())?, threads)?;
            Ok(Driven::new(Ort::new(runtime, threads)?))
        }
        Some(BackendName::Reference) => {
            let error = Diagnostic::error(Code::E4004, "the reference backend has no plan: it runs programs as they are written");
            Err(error.help("leave `--engine` out").into())
        }
    }
}

fn run(engine: &Driven, program: &Program, verified: &Verified, terminal: &Terminal) -> Outcome<Report> {
    program.load_models(verified, terminal)?;
    for (name, model) in program.models.iter().filter(|(name, _)| verified.models().contains_key(*name)) {
        let handle = model.handle().map_err(|error| error.note(format!("of the model `{name}`")))?;
        engine.load(&handle)?;
    }
    let cancel = Cancel::new();
    interrupt::cancels(&cancel, terminal);
    let on_event = |_| {};
    let mut host = Functions::new(on_event).with_cancel(&cancel);
    let results = run_verified_for(verified, &program.models, engine, &mut host);
    Ok(results.map_err(|error| Failure::in_source(error, &program.source))?.report().clone())
}

/// What is shown.
struct View<'a> {
    name: &'a str,
    engine: &'a str,
    before: &'a Verified,
    /// What the optimizer made of it, if it was asked.
    optimized: Option<&'a Optimized>,
    source: &'a Source,
    explanation: &'a Explanation,
    report: Option<&'a Report>,
}

impl View<'_> {
    fn in_words(&self, terminal: &Terminal) -> String {
        let Explanation { schedule, planned, as_written, stages, loops, host, dropped, shared } = self.explanation;
        let (plan, plain) = (&planned.total, &as_written.total);
        let mut text = format!(
            "{} on {}: {}, as written {}; planned {}{}\n\n",
            terminal.strong(format!("@{}", self.name)),
            self.engine,
            count(schedule.forwards, "forward"),
            quantity(plain.flops() as f64, "FLOP"),
            terminal.strong(quantity(plan.flops() as f64, "FLOP")),
            ratio(plain.flops(), plan.flops()),
        );
        let number = |value: u64| thousands(usize::try_from(value).unwrap_or(usize::MAX));
        let row = |what: &str, of: &dyn Fn(&Work) -> String| [what.to_owned(), of(plain), of(plan)];
        let mut rows = vec![
            ["".to_owned(), "as written".to_owned(), "planned".to_owned()],
            row("layer evaluations", &|work| number(work.stages)),
            row("tokens through stages", &|work| number(work.tokens)),
            row("matrix products", &|work| quantity(work.matrix_flops as f64, "FLOP")),
            row("attention", &|work| quantity(work.attention_flops as f64, "FLOP")),
            row("on the host", &|work| quantity(work.host_flops as f64, "FLOP")),
            row("calls of the engine", &|work| number(work.calls)),
            row("into the engine", &|work| bytes(work.bytes_in)),
            row("out of the engine", &|work| bytes(work.bytes_out)),
            row("saved and logged", &|work| bytes(work.returned_bytes)),
        ];
        rows.push(["peak of tensors".to_owned(), bytes(as_written.peak_bytes), bytes(planned.peak_bytes)]);
        text += &aligned(&rows);
        let mut lines: Vec<(&str, String)> = vec![];
        if dropped.stages > 0 {
            lines.push(("dropped", format!("{} that nothing needs or another forward has", count(dropped.stages, "layer evaluation"))));
        }
        if !dropped.identities.is_empty() {
            let hooks: Vec<String> = dropped.identities.iter().take(3).map(|(hook, times)| format!("{hook} ({times})")).collect();
            let more = if dropped.identities.len() > 3 { ", …" } else { "" };
            let all = dropped.identities.values().sum();
            lines.push(("dropped", format!("{} that change nothing: {}{more}", count(all, "write"), hooks.join(", "))));
        }
        if dropped.dead_nodes > 0 {
            lines.push(("dropped", format!("{} that nothing saved or logged depends on", count(dropped.dead_nodes, "node"))));
        }
        if shared.lanes > 0 {
            let mut how = vec![format!("{} are {}", count(shared.forwards, "forward"), count(shared.lanes, "lane"))];
            if shared.later_stages > 0 {
                how.push(format!("{} join at a later layer", thousands(shared.later_stages)));
            }
            if shared.later_positions > 0 {
                let tokens = count(shared.prefix_tokens, "token");
                how.push(format!("{} at a later position, {tokens} not computed again in each layer", thousands(shared.later_positions)));
            }
            lines.push(("shared", how.join("; ")));
        }
        if shared.most_lanes > 1 {
            let tokens = count(shared.most_tokens, "token");
            lines.push(("batched", format!("up to {} and {tokens} travel as one flat batch", count(shared.most_lanes, "lane"))));
        }
        text += "\n";
        if let Some(Optimized { program, record }) = self.optimized {
            let sizes = [self.before.graph(), program.graph()].map(nodes);
            let mut said = summary(record, sizes, self.source, false);
            said.truncate(said.trim_end().len());
            lines.extend(said.lines().take(MOST_SAID).map(|line| ("optimizer", line.to_owned())));
            let more = said.lines().count().saturating_sub(MOST_SAID);
            if more > 0 {
                lines.push(("optimizer", format!("and {} more: `irc opt` has all", count(more, "line"))));
            }
        }
        let rows: Vec<[String; 2]> = lines.into_iter().map(|(what, how)| [what.to_owned(), how]).collect();
        text += &columns(&rows);
        text += "\n";
        text += &table(stages, self.report, terminal);
        for line in loops {
            let work = &line.cost.work;
            let ran = self.report.and_then(|report| report.steps.get(line.step));
            let took = ran.map_or_else(String::new, |ran| format!("; it took {}", time(ran.time)));
            text += &format!(
                "\nloop of line {}, at most {}: {}, {} into the engine, {} out{took}. The first one:\n\n",
                self.line(&line.span),
                count(usize::try_from(line.trip).unwrap_or(usize::MAX), "iteration"),
                quantity(work.flops() as f64, "FLOP"),
                bytes(work.bytes_in),
                bytes(work.bytes_out),
            );
            text += &table(&line.stages, None, terminal);
        }
        if host.0 > 0 {
            let elements = quantity(host.1.work.host_flops as f64, "FLOP");
            text += &format!("and {} of the program on the host, {elements}\n", count(host.0, "operation"));
        }
        if let Some(report) = self.report {
            let rate = plan.matrix_flops as f64 / report.engine_time.as_secs_f64().max(1e-9);
            text += &format!(
                "\nmeasured: {} in all, {} in the engine ({}), {} in attention; {} into the engine, {} out, as planned: {}\n",
                time(report.total_time),
                time(report.engine_time),
                quantity(rate, "FLOP/s"),
                time(report.attention_time),
                bytes(report.bytes_in),
                bytes(report.bytes_out),
                if (report.bytes_in, report.bytes_out) == (plan.bytes_in, plan.bytes_out) { "yes" } else { "no" },
            );
        }
        text
    }

    /// The line of the program that has something.
    fn line(&self, span: &Span) -> Json {
        span_json(span, self.source)["line"].clone()
    }

    fn to_json(&self, warnings: Json) -> Json {
        let Explanation { schedule, planned, as_written, stages, loops, dropped, shared, .. } = self.explanation;
        let stage_json = |schedule: &Schedule, stages: &[StageLine], report: Option<&Report>| -> Vec<Json> {
            let line = |stage: &StageLine| {
                let irc_ir::plan::Step::Stage(step) = &schedule.steps[stage.step] else { return Json::Null };
                let positions: Vec<[usize; 2]> = step.positions.iter().map(|at| [at.start, at.end]).collect();
                let ran = report.and_then(|report| report.steps.get(stage.step));
                json!({
                    "name": &*stage.name,
                    "model": &*stage.model,
                    "stage": stage.stage,
                    "kind": if stage.attention { "attention" } else { "positionwise" },
                    "lanes": step.lanes.iter().map(|lane| lane.0).collect::<Vec<_>>(),
                    "positions": positions,
                    "rows": stage.rows,
                    "tokens": stage.tokens,
                    "tokens_whole": stage.tokens_whole,
                    "planned": work_json(&stage.cost.work),
                    "memory_bytes": stage.cost.memory,
                    "actual": ran.map(|ran| json!({
                        "seconds": ran.time.as_secs_f64(),
                        "calls": ran.crossed.calls,
                        "bytes_in": ran.crossed.bytes_in,
                        "bytes_out": ran.crossed.bytes_out,
                    })),
                })
            };
            stages.iter().map(line).collect()
        };
        let looped = |line: &LoopLine| {
            let ran = self.report.and_then(|report| report.steps.get(line.step));
            json!({
                "line": self.line(&line.span),
                "most_iterations": line.trip,
                "planned": work_json(&line.cost.work),
                "memory_bytes": line.cost.memory,
                "first_iteration": stage_json(&planned.loops[&line.step].schedule, &line.stages, None),
                "seconds": ran.map(|ran| ran.time.as_secs_f64()),
            })
        };
        let loops: Vec<Json> = loops.iter().map(looped).collect();
        let stages = stage_json(schedule, stages, self.report);
        let lanes: Vec<Json> = schedule
            .lanes
            .iter()
            .map(|lane| {
                let spec = &self.before.models()[&lane.model];
                json!({
                    "model": &*lane.model,
                    "batch": lane.batch,
                    "length": lane.length,
                    "parent": lane.parent.map(|parent| parent.0),
                    "stage": lane.stage,
                    "first": lane.first,
                    "writes": lane.writes.iter().map(|write| &*spec.hook_info(write.hook).name).collect::<Vec<_>>(),
                })
            })
            .collect();
        let products: Vec<Json> =
            planned.products.iter().map(|(product, times)| json!([product.rows, product.inner, product.columns, times])).collect();
        let mut whole = work_json(&as_written.total);
        whole["peak_bytes"] = json!(as_written.peak_bytes);
        let mut plan = work_json(&planned.total);
        plan["peak_bytes"] = json!(planned.peak_bytes);
        json!({
            "ok": true,
            "name": self.name,
            "engine": self.engine,
            "forwards": schedule.forwards,
            "as_written": whole,
            "planned": plan,
            "products": products,
            "dropped": {
                "layer_evaluations": dropped.stages,
                "identities": dropped.identities.iter().map(|(hook, times)| (hook.to_string(), json!(times))).collect::<serde_json::Map<_, _>>(),
                "dead_nodes": dropped.dead_nodes,
            },
            "shared": {
                "lanes": shared.lanes,
                "later_stages": shared.later_stages,
                "later_positions": shared.later_positions,
                "prefix_tokens": shared.prefix_tokens,
                "most_lanes": shared.most_lanes,
                "most_tokens": shared.most_tokens,
            },
            "lanes": lanes,
            "stages": stages,
            "loops": loops,
            "report": self.report.map(report_json),
            "before": text::print(self.before.graph(), Some(self.before.types())),
            "after": self.optimized.map(|optimized| text::print(optimized.program.graph(), Some(optimized.program.types()))),
            "optimizer": self.optimized.map(|optimized| record_json(&optimized.record, self.source)),
            "diagnostics": warnings,
        })
    }
}

/// Stages with what they cost, and what they took in a run.
fn table(stages: &[StageLine], report: Option<&Report>, terminal: &Terminal) -> String {
    let most = stages.iter().map(|stage| stage.cost.work.flops()).max().unwrap_or(0).max(1) as f64;
    let mut rows = vec![];
    let mut header: Vec<String> =
        ["stage", "lanes", "positions", "tokens", "of", "FLOP", "in", "out", "memory"].map(str::to_owned).to_vec();
    if report.is_some() {
        header.extend(["time".to_owned(), "in".to_owned(), "out".to_owned()]);
    }
    header.push(String::new());
    rows.push(header);
    let listed = |at: usize| stages.len() <= MOST_LISTED || at < MOST_LISTED / 2 || at >= stages.len() - MOST_LISTED / 2;
    for (_, stage) in stages.iter().enumerate().filter(|(at, _)| listed(*at)) {
        let work = &stage.cost.work;
        let mut row = vec![
            stage.name.to_string(),
            thousands(stage.lanes),
            format!("{}..{}", stage.positions.start, stage.positions.end),
            thousands(stage.tokens),
            thousands(stage.tokens_whole),
            quantity(work.flops() as f64, ""),
            quantity(work.bytes_in as f64, "B"),
            quantity(work.bytes_out as f64, "B"),
            quantity(stage.cost.memory as f64, "B"),
        ];
        if let Some(report) = report {
            let ran = report.steps.get(stage.step);
            row.push(ran.map_or_else(String::new, |ran| time(ran.time)));
            row.push(ran.map_or_else(String::new, |ran| quantity(ran.crossed.bytes_in as f64, "B")));
            row.push(ran.map_or_else(String::new, |ran| quantity(ran.crossed.bytes_out as f64, "B")));
        }
        row.push(bar(work.flops() as f64 / most, 16, terminal));
        rows.push(row);
    }
    let mut text = aligned(&rows);
    if stages.len() > MOST_LISTED {
        text += &format!("({} of {} are listed; `--json` has all)\n", thousands(MOST_LISTED), count(stages.len(), "stage"));
    }
    text
}

fn work_json(work: &Work) -> Json {
    json!({
        "layer_evaluations": work.stages,
        "tokens": work.tokens,
        "calls": work.calls,
        "matrix_flops": work.matrix_flops,
        "attention_flops": work.attention_flops,
        "host_flops": work.host_flops,
        "bytes_in": work.bytes_in,
        "bytes_out": work.bytes_out,
        "host_bytes": work.host_bytes,
        "returned_bytes": work.returned_bytes,
    })
}

/// `, 17 times less`, where that is worth saying.
fn ratio(whole: u64, part: u64) -> String {
    let ratio = whole as f64 / part.max(1) as f64;
    if part == 0 || ratio < 1.05 { String::new() } else { format!(", {ratio:.1} times less") }
}

/// Rows in columns, all but the first and a last one of bars to the right.
fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    let width = |column: usize| rows.iter().map(|row| row.as_ref()[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, |row| row.as_ref().len())).map(width).collect();
    let line = |row: &[String]| {
        let is_bar = |at: usize| row.len() > 3 && at + 1 == row.len();
        let cell = |(at, (cell, &width)): (usize, (&String, &usize))| match at {
            0 => format!("{cell:<width$}"),
            at if is_bar(at) => cell.clone(),
            _ => format!("{cell:>width$}"),
        };
        let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(|row| line(row.as_ref()) + "\n").collect()
}
