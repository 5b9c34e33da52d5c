//! `irc opt`: what the optimizer makes of a program, and why.

use std::{collections::BTreeSet, fs};

use irc_ir::{
    cbor,
    code::Code,
    diagnostic::{Diagnostic, Source, Span},
    graph::Graph,
    text,
    verify::Verified,
};
use irc_passes::{
    optimize::optimize_watched,
    rule::{Firing, Numerics, Options, Pass, Record, Rule},
    rules,
};
use serde_json::{Value as Json, json};

use super::{
    args::{OptArgs, ProgramArgs},
    failure::{Failure, Outcome, span_json},
    program::Program,
    terminal::{Terminal, columns, count, thousands},
};

pub(super) fn opt(args: &OptArgs, terminal: &Terminal) -> Outcome {
    let Some(file) = &args.file else { return list(args, terminal) };
    let options = options(args)?;
    let shown = shown(args)?;
    let program = Program::open(&ProgramArgs { file: file.clone(), models: args.models.clone() }, terminal)?;
    let verified = program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
    let mut after = vec![];
    let optimized = optimize_watched(&verified, &options, &mut |pass, program| {
        if shown.contains(&pass) {
            after.push((pass, print(program)));
        }
    });
    let optimized = optimized.map_err(|errors| Failure::in_source(errors, &program.source))?;
    let text = print(&optimized.program);
    if let Some(out) = &args.out {
        let graph = optimized.program.graph();
        let binary = out.extension().is_some_and(|extension| extension == "igb");
        let bytes = if binary { cbor::encode(graph) } else { text.clone().into_bytes() };
        fs::write(out, bytes).map_err(|error| {
            let error = Diagnostic::error(Code::E0010, format!("the program cannot be written: {error}"));
            error.label(Span::file(out, ""), "")
        })?;
    }
    let sizes = [verified.graph(), optimized.program.graph()].map(nodes);
    if args.json {
        let after: Vec<Json> = after.iter().map(|(pass, text)| json!({ "pass": pass.name(), "program": text })).collect();
        let mut json = record_json(&optimized.record, &program.source);
        json["ok"] = true.into();
        json["name"] = (*verified.graph().name).into();
        json["program"] = text.into();
        json["nodes"] = json!({ "before": sizes[0], "after": sizes[1] });
        json["after"] = after.into();
        json["out"] = args.out.as_ref().map(|path| path.display().to_string()).into();
        return terminal.print_json(&json);
    }
    for (pass, text) in &after {
        terminal.print(&format!("// after {}\n{text}", pass.name()))?;
    }
    match (&args.out, after.is_empty()) {
        (Some(_), _) => {}
        (None, true) => terminal.print(text.trim_end())?,
        (None, false) => terminal.print(&format!("// optimized\n{}", text.trim_end()))?,
    }
    terminal.say(summary(&optimized.record, sizes, &program.source, args.stats).trim_end());
    Ok(())
}

fn print(program: &Verified) -> String {
    text::print(program.graph(), Some(program.types()))
}

/// The number of nodes, those in the bodies of loops included.
pub(super) fn nodes(graph: &Graph) -> usize {
    graph.len() + graph.bodies().map(|(_, body)| nodes(body.graph())).sum::<usize>()
}

fn options(args: &OptArgs) -> Result<Options, Diagnostic> {
    let passes = match &args.passes {
        None => Pass::ALL.into(),
        Some(names) => names.iter().filter(|name| !name.is_empty()).map(|name| pass(name)).collect::<Result<_, _>>()?,
    };
    let known = |name: &String| match rules().any(|rule| rule.name == name) {
        true => Ok(name.clone()),
        false => {
            let error = Diagnostic::error(Code::E4004, format!("there is no rule `{name}`"));
            Err(error.suggest(name, rules().map(|rule| rule.name)).help("`irc opt --rules` lists them"))
        }
    };
    let disabled = args.disabled.iter().map(known).collect::<Result<_, _>>()?;
    Ok(Options { passes, fast: args.fast, disabled, fuel: args.fuel, proofs: args.proofs })
}

fn pass(name: &str) -> Result<Pass, Diagnostic> {
    Pass::ALL.into_iter().find(|pass| pass.name() == name).ok_or_else(|| {
        let names = Pass::ALL.map(Pass::name);
        let error = Diagnostic::error(Code::E4004, format!("there is no pass `{name}`")).suggest(name, names);
        error.help(format!("the passes are {}", names.map(|name| format!("`{name}`")).join(", ")))
    })
}

/// The passes after which the program is shown.
fn shown(args: &OptArgs) -> Result<BTreeSet<Pass>, Diagnostic> {
    let mut shown = BTreeSet::new();
    for name in &args.print_after {
        match name.as_str() {
            "all" => shown.extend(Pass::ALL),
            name => drop(shown.insert(pass(name)?)),
        }
    }
    Ok(shown)
}

/// `line:column` of a place in the program.
fn place(span: &Span, source: &Source) -> String {
    let json = span_json(span, source);
    match (json.get("line"), json.get("column")) {
        (Some(line), Some(column)) => format!(" at {line}:{column}"),
        _ => String::new(),
    }
}

/// What happened, line by line.
pub(super) fn summary(record: &Record, [before, after]: [usize; 2], source: &Source, stats: bool) -> String {
    let mut text = format!("{} became {}\n", count(before, "node"), thousands(after));
    let fired: Vec<String> = record.fired.iter().map(|(rule, times)| format!("{rule} {times}")).collect();
    if !fired.is_empty() {
        text += &format!("fired: {}\n", fired.join(", "));
    }
    for Firing { rule, span, why_not } in &record.missed {
        text += &format!("not fired: {rule}{}: {}\n", place(span, source), why_not.as_deref().unwrap_or_default());
    }
    for limit in &record.limits {
        text += &format!("limit: {limit}\n");
    }
    for proof in &record.proofs {
        text += &format!("proof{}:\n", place(&proof.span, source));
        proof.steps.iter().for_each(|step| text += &format!("  {step}\n"));
    }
    if stats {
        for (what, times) in &record.counters {
            text += &format!("{what}: {}\n", thousands(usize::try_from(*times).unwrap_or(usize::MAX)));
        }
    }
    text
}

pub(super) fn record_json(record: &Record, source: &Source) -> Json {
    let firing = |firing: &Firing| json!({ "rule": firing.rule, "span": span_json(&firing.span, source), "why_not": firing.why_not });
    json!({
        "fired": record.fired,
        "firings": record.firings.iter().map(firing).collect::<Vec<_>>(),
        "missed": record.missed.iter().map(firing).collect::<Vec<_>>(),
        "limits": record.limits,
        "counters": record.counters,
        "proofs": record.proofs.iter().map(|proof| json!({ "span": span_json(&proof.span, source), "steps": proof.steps })).collect::<Vec<_>>(),
    })
}

/// All rules, with what they say.
fn list(args: &OptArgs, terminal: &Terminal) -> Outcome {
    let numerics = |rule: &Rule| match rule.numerics {
        Numerics::Exact => "exact",
        Numerics::Rounding => "rounding",
    };
    if args.json {
        let rules: Vec<Json> = rules()
            .map(|rule| json!({ "name": rule.name, "pass": rule.pass.name(), "numerics": numerics(rule), "law": rule.law, "witness": rule.witness }))
            .collect();
        return terminal.print_json(&json!({ "ok": true, "rules": rules }));
    }
    let rows: Vec<[String; 4]> =
        rules().map(|rule| [rule.name.to_owned(), rule.pass.name().to_owned(), numerics(rule).to_owned(), rule.law.to_owned()]).collect();
    terminal.print(columns(&rows).trim_end())
}
