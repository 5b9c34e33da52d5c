//! Programs as files, with what must come of them in a file beside each: `tests/cases/FOLDER/NAME.ig` and `NAME.out`.
//!
//! ```text
//! parse    the printed graph, or the diagnostics
//! verify   `ok` and the graph with all types, or the diagnostics
//! opt      the optimized program with all types, what fired and what nearly did; first words `Fast:` allow what rounds
//! plan     the schedule: lanes, steps in their order, how many stages run
//! lint     what is said of programs that are right, but hardly meant
//! run      what the program logs and saves, on the engine and on the reference backend alike; or how it fails. What the
//!          engine refuses (E4005), the reference backend runs alone
//! ```
//!
//! Programs say `models { m: "induction" }`: the toy that needs no files. In `run` they can call
//!
//! ```text
//! show(x)          logs x under the label "show"; returns x
//! count()          how often it was called before in this run, i64
//! start()          an opaque list of numbers, empty
//! push(list, x)    the opaque list with the sum of x, of i64, at its end
//! total(list)      the sum of the numbers of the list, i64
//! fail()           fails
//! ```
//!
//! After a change, read what
//! `IRC_BLESS=1 cargo test --test cases` writes as a user would, and commit it.
//!
//! In `verify`, the first line of a file says which invariant of [`irc::ir::verify`] it is about, and its name what comes
//! out: `ok_…`, `several_…`, or the code of the one diagnostic, `e2001_…`.

#[path = "cases/schedule.rs"]
mod schedule;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use irc::{
    backends::{Backend, Event, Outcome, execute::Driven, host::Functions, reference::Reference, rten::Rten},
    ir::{
        code::Code,
        diagnostic::{Diagnostic, Diagnostics, Source, Span},
        eval::{Opaque, Value},
        graph::Graph,
        op::{OpKind, Scope},
        tensor::Tensor,
        text::{parse, print},
        types::Name,
        verify::Verified,
    },
    models::Model,
    passes::{Target, optimize, rule::Options},
    run,
};

/// The folder of all cases.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// The programs of a folder, by name.
fn programs(folder: &str) -> BTreeMap<String, Source> {
    let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let is_program = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ig");
    let read = |path: PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        (path.file_stem().unwrap().to_string_lossy().into_owned(), Source::new(file, fs::read_to_string(&path).unwrap()))
    };
    files.filter(is_program).map(read).collect()
}

/// Compares what comes of each program of a folder with the file beside it, or writes that file.
fn check_folder(folder: &str, output: impl Fn(&Source) -> String) {
    let programs = programs(folder);
    let bless = std::env::var_os("IRC_BLESS").is_some();
    let mut wrong = vec![];
    for (name, source) in &programs {
        let path = root().join(folder).join(name).with_extension("out");
        let found = output(source);
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if bless {
            fs::write(path, found).unwrap();
        } else if expected != found {
            wrong.push(format!(
                "tests/cases/{folder}/{name}.out (-) is not what comes of {name}.ig (+):\n{}",
                difference(&expected, &found)
            ));
        }
    }
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "out") && !programs.contains_key(&name) {
            wrong.push(format!("tests/cases/{folder}/{name}.out has no program beside it\n"));
        }
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{}\n{count} cases differ; where that is right: IRC_BLESS=1 cargo test --test cases\n", wrong.join("\n"));
}

/// The lines that differ, with two lines around them.
fn difference(expected: &str, found: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let before = old.iter().zip(&new).take_while(same).count();
    let after = old[before..].iter().rev().zip(new[before..].iter().rev()).take_while(same).count();
    let mut text = String::new();
    let mut lines = |sign: &str, lines: &[&str]| lines.iter().for_each(|line| writeln!(text, "  {sign} {line}").unwrap());
    lines(" ", &old[before.saturating_sub(2)..before]);
    lines("-", &old[before..old.len() - after]);
    lines("+", &new[before..new.len() - after]);
    lines(" ", &old[old.len() - after..(old.len() - after + 2).min(old.len())]);
    text
}

/// The models of a program that are here, by its names for them.
fn models_of(graph: &Graph) -> BTreeMap<Name, Model> {
    graph.models.iter().filter_map(|decl| Some((decl.name.clone(), Model::open(&decl.reference).ok()?))).collect()
}

/// A program from its text to the verifier's word on it. No weights are at hand here: what is wrong is found without them.
fn verified(source: &Source) -> Result<Verified, Diagnostics> {
    let graph = parse(&source.text).into_result()?;
    let models = models_of(&graph);
    run::check(graph, &models)
}

/// A program that is meant to be right.
fn right(source: &Source) -> Verified {
    verified(source).unwrap_or_else(|errors| panic!("a case that is to run is wrong:\n{}", errors.render(source, false)))
}

#[test]
fn parsed() {
    check_folder("parse", |source| match parse(&source.text).into_result() {
        Ok(graph) => print(&graph, None),
        Err(errors) => errors.render(source, false) + "\n",
    });
    assert!(programs("parse").len() >= 20);
}

#[test]
fn checked() {
    check_folder("verify", |source| match verified(source) {
        Ok(program) => format!("ok\n{}", print(program.graph(), Some(program.types()))),
        Err(errors) => errors.render(source, false) + "\n",
    });
}

#[test]
fn optimized() {
    check_folder("opt", |source| {
        let options = Options { fast: source.text.starts_with("// Fast:"), ..Options::default() };
        let optimized = optimize(&right(source), &options).unwrap_or_else(|errors| panic!("{}: {errors}", source.name));
        let mut text = print(optimized.program.graph(), Some(optimized.program.types()));
        optimized.record.fired.iter().for_each(|(rule, times)| writeln!(text, "{rule} {times}").unwrap());
        optimized
            .record
            .missed
            .iter()
            .for_each(|missed| writeln!(text, "not {}: {}", missed.rule, missed.why_not.as_ref().unwrap()).unwrap());
        text
    });
}

/// What programs log and save, and how and where they fail, is the same when they are optimized.
#[test]
fn optimized_programs_run_alike() {
    for source in programs("run").values().chain(programs("opt").values()) {
        let (events, result) = run_on(&Reference, source);
        let (found_events, found) = run_program(&Reference, &run::optimized(&right(source)).unwrap());
        assert_eq!(events.len(), found_events.len(), "{}", source.name);
        for (event, found) in events.iter().zip(&found_events) {
            assert!(event.label() == found.label() && event.value().same_bits(found.value()), "{}: {event:?}, then {found:?}", source.name);
        }
        match (result, found) {
            (Ok(expected), Ok(found)) => {
                assert_eq!(expected.stopped, found.stopped, "{}", source.name);
                assert_eq!(expected.saves.len(), found.saves.len(), "{}", source.name);
                for ((name, value), (other, found)) in expected.saves.iter().zip(&found.saves) {
                    assert!(name == other && value.same_bits(found), "{}: \"{name}\" {value:?}, then {found:?}", source.name);
                }
            }
            (expected, found) => assert_eq!(expected.err(), found.err(), "{}", source.name),
        }
    }
}

#[test]
fn planned() {
    check_folder("plan", |source| {
        let program = right(source);
        // As for an engine that makes edits, or splices, where the case is about them.
        let splices = source.text.starts_with("// Splices");
        let target = Target { edits: splices || source.text.starts_with("// Edits"), splices, ..Target::default() };
        schedule::render(&program, &irc::passes::schedule(&program, &target).expect("no loop carries a tuple"))
    });
}

#[test]
fn linted() {
    check_folder("lint", |source| match Diagnostics(irc::passes::lint(&right(source))) {
        none if none.0.is_empty() => "nothing to say\n".to_owned(),
        found => found.render(source, false) + "\n",
    });
}

/// What the name of a case in `verify` promises.
#[test]
fn names_tell_what_is_wrong() {
    let mut invariants: BTreeSet<usize> = BTreeSet::new();
    let mut bad = 0;
    for (name, source) in programs("verify") {
        let found = verified(&source).err().unwrap_or_default().0;
        let codes: Vec<&str> = found.iter().map(|diagnostic| diagnostic.code.name()).collect();
        bad += usize::from(!codes.is_empty());
        match name.split('_').next() {
            Some("ok") => assert_eq!(codes, [""; 0], "{name}"),
            Some("several") => assert!(codes.len() > 1, "{name}: {codes:?}"),
            Some(code) => assert_eq!(codes, [code.to_uppercase()], "{name}"),
            None => unreachable!(),
        }
        let number = source.text.strip_prefix("// Invariant ").and_then(|rest| rest.split_once(": ")).map(|(number, _)| number.parse());
        let Some(Ok(invariant)) = number else {
            panic!("{name}: the first line says which invariant it is about: `// Invariant 4: …`");
        };
        invariants.insert(invariant);
        for diagnostic in &found {
            let Some(Span::Text { start, end }) = diagnostic.labels.first().map(|label| &label.span) else {
                panic!("{name}: {diagnostic} points nowhere");
            };
            assert!(start < end && *end as usize <= source.text.len(), "{name}: {diagnostic} points outside the text");
        }
    }
    assert!(invariants.into_iter().eq(1..=12), "each invariant of the verifier has a case");
    assert!(bad >= 40, "only {bad} programs are bad");
}

/// Where a code without a case is tested, or why it has none.
fn elsewhere(code: Code) -> Option<&'static str> {
    match code {
        Code::E0010 | Code::E0011 | Code::E0012 | Code::E0013 => Some("about files that are not programs: frontend/models"),
        Code::E0014 | Code::E0015 => Some("about programs that are no text: ir/tests/cbor.rs"),
        Code::E0016 => Some("about a library that is missing: tests/setup.rs"),
        Code::E2007 => {
            Some("a program text is in SSA form, where each value is there before its use; only a trace can ask so: frontend/trace")
        }
        Code::E2010 => Some("a program text has positions as numbers; only a trace can ask where a word stands: frontend/trace"),
        Code::E3003 => Some("a program text is one session; only traces can mix them: frontend/trace"),
        Code::E2009 => Some("the toy is causal: tests/engine/extend.rs"),
        Code::E3010 => Some("about programs that are interventions: tests/generate.rs"),
        Code::E4006 => Some("about somebody who does not wait: tests/engine/cancel.rs"),
        Code::E4002 | Code::E4004 => Some("about the command line and the machine"),
        Code::E0001 | Code::E0002 | Code::E0003 | Code::E0004 | Code::E0005 | Code::E0006 => None,
        Code::E1001 | Code::E1002 | Code::E1003 | Code::E1004 | Code::E1005 | Code::E1006 | Code::E1007 | Code::E1008 => None,
        Code::E2001 | Code::E2002 | Code::E2003 | Code::E2004 | Code::E2005 | Code::E2006 | Code::E2008 => None,
        Code::E3001 | Code::E3002 | Code::E3004 | Code::E3005 | Code::E3006 | Code::E3007 | Code::E3008 | Code::E3009 => None,
        Code::E4001 | Code::E4003 | Code::E4005 => None,
        Code::W0001 | Code::W0002 | Code::W0003 | Code::W0004 => None,
    }
}

#[test]
fn every_code_has_a_case() {
    let of_text = programs("parse").into_values().flat_map(|source| parse(&source.text).diagnostics);
    let of_check = programs("verify").into_values().flat_map(|source| verified(&source).err().unwrap_or_default().0);
    let of_run = programs("run").into_values().filter_map(|source| run_on(&Driven::new(Rten::new(Some(1))), &source).1.err());
    let of_lint = programs("lint").into_values().flat_map(|source| irc::passes::lint(&right(&source)));
    let covered: BTreeSet<Code> = of_text.chain(of_check).chain(of_run).chain(of_lint).map(|diagnostic| diagnostic.code).collect();
    for &code in Code::ALL {
        match elsewhere(code) {
            None => assert!(covered.contains(&code), "no case shows {}", code.name()),
            Some(why) => assert!(!covered.contains(&code), "a case shows {}, which was thought to be {why}", code.name()),
        }
    }
}

/// A new operation has a case that shows what it does.
#[test]
fn every_operation_has_a_case() {
    let mut used: BTreeSet<OpKind> = BTreeSet::new();
    let mut graphs: Vec<Graph> = programs("run").into_values().map(|source| right(&source).graph().clone()).collect();
    while let Some(graph) = graphs.pop() {
        used.extend(graph.nodes().map(|(_, node)| node.op.kind()));
        graphs.extend(graph.bodies().map(|(_, body)| body.graph().clone()));
    }
    let unused = OpKind::ALL.iter().filter(|kind| kind.scope() != Scope::Model && !used.contains(kind));
    assert_eq!(unused.map(|kind| kind.name()).collect::<Vec<_>>(), [""; 0], "tests/cases/run does not show these operations");
}

/// What a program logs, and what comes of it or how it fails.
type Ran = (Vec<Event>, Result<Outcome, Diagnostic>);

fn run_on(backend: &dyn Backend, source: &Source) -> Ran {
    run_program(backend, &right(source))
}

fn run_program(backend: &dyn Backend, program: &Verified) -> Ran {
    let handles = models_of(program.graph()).into_iter().map(|(name, model)| (name, model.handle().unwrap())).collect();
    let events = Arc::new(Mutex::new(vec![]));
    let log = |event| events.lock().unwrap().push(event);
    let outcome = {
        let mut host = Functions::new(log);
        add_functions(&mut host, &events);
        backend.run_for(program, &handles, &mut host)
    };
    let events = std::mem::take(&mut *events.lock().unwrap());
    (events, outcome)
}

/// The functions that programs can call; see the top.
fn add_functions(host: &mut Functions<'_>, events: &Arc<Mutex<Vec<Event>>>) {
    let number = |value: &Value| value.as_tensor().map(|tensor| tensor.to_f64().iter().sum::<f64>() as i64).ok_or("not a tensor");
    let list = |value: &Value| match value {
        Value::Opaque(list) => list.get::<Vec<i64>>().cloned().ok_or("another list"),
        _ => Err("not a list"),
    };
    let of = |list: Vec<i64>| Value::Opaque(Opaque::new(list));
    let events = events.clone();
    host.add("show", move |operands| {
        let value = operands.first().ok_or("nothing to show")?.clone();
        events.lock().unwrap().push(Event::Log { label: Some("show".into()), value: value.clone() });
        Ok(value)
    });
    let mut calls = 0i64;
    host.add("count", move |_| {
        calls += 1;
        Ok(Tensor::scalar(calls - 1).into())
    });
    host.add("start", move |_| Ok(of(vec![])));
    host.add("push", move |operands| Ok(of([list(&operands[0])?, vec![number(&operands[1])?]].concat())));
    host.add("total", move |operands| Ok(Tensor::scalar(list(&operands[0])?.iter().sum::<i64>()).into()));
    host.add("fail", |_| Err("out of luck".to_owned()));
}

#[test]
fn ran() {
    let engine = Driven::new(Rten::new(Some(1)));
    check_folder("run", |source| {
        let (oracle_events, oracle) = run_on(&Reference, source);
        let (events, result) = match run_on(&engine, source) {
            (events, Err(error)) if error.code == Code::E4005 => {
                assert_eq!(events, [], "{}: it was refused after something ran", source.name);
                (oracle_events.clone(), oracle.clone())
            }
            ran => ran,
        };
        assert_eq!(events.len(), oracle_events.len(), "{}: the backends log different things", source.name);
        let mut text = String::new();
        for (event, oracle) in events.iter().zip(&oracle_events) {
            assert_eq!(event.label(), oracle.label(), "{}", source.name);
            near(event.value(), oracle.value(), &format!("{}: a log", source.name));
            if let Event::Log { label, value } = event {
                let label = label.as_ref().map(|label| format!("\"{label}\", ")).unwrap_or_default();
                writeln!(text, "log {label}{}", show(value)).unwrap();
            }
        }
        match (result, oracle) {
            (Ok(outcome), Ok(oracle)) => {
                assert_eq!(outcome.saves.len(), oracle.saves.len(), "{}", source.name);
                assert_eq!(outcome.stopped, oracle.stopped, "{}", source.name);
                for ((name, value), (oracle_name, oracle)) in outcome.saves.iter().zip(&oracle.saves) {
                    assert_eq!(name, oracle_name, "{}", source.name);
                    near(value, oracle, &format!("{}: \"{name}\"", source.name));
                    writeln!(text, "save \"{name}\" {}", show(value)).unwrap();
                }
                if let Some(stopped) = outcome.stopped {
                    writeln!(text, "stopped {:?}", stopped.reason.as_deref().unwrap_or_default()).unwrap();
                }
            }
            (Err(error), Err(oracle)) => {
                // Each says it in its own words.
                assert_eq!(error.code, oracle.code, "{}", source.name);
                writeln!(text, "{}", error.render(source, false)).unwrap();
            }
            (Ok(_), Err(error)) => panic!("{}: only the reference fails: {error}", source.name),
            (Err(error), Ok(_)) => panic!("{}: only the engine fails: {error}", source.name),
        }
        text
    });
}

/// Asserts that what two backends computed is the same: floats within 1e-5, relative; all else exactly.
fn near(a: &Value, b: &Value, what: &str) {
    match (a, b) {
        (Value::Tensor(x), Value::Tensor(y)) => {
            assert_eq!(x.ty(), y.ty(), "{what}");
            let close = |(x, y): (f64, f64)| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-5 * x.abs().max(y.abs()).max(1e-3);
            let floats = x.dtype().is_float();
            let same = x.to_f64().into_iter().zip(y.to_f64()).all(|pair| if floats { close(pair) } else { pair.0 == pair.1 });
            assert!(same, "{what}: {x:?} on the engine, {y:?} on the reference backend");
        }
        (Value::Tuple(x), Value::Tuple(y)) => {
            assert_eq!(x.len(), y.len(), "{what}");
            x.iter().zip(y.iter()).for_each(|(x, y)| near(x, y, what));
        }
        (Value::List { of: a, items: x }, Value::List { of: b, items: y }) => {
            assert_eq!((a, x.len()), (b, y.len()), "{what}");
            x.iter().zip(y.iter()).for_each(|(x, y)| near(x, y, what));
        }
        (a, b) => assert_eq!(a, b, "{what}"),
    }
}

/// A value as cases show it: the type and up to 16 elements, floats with three digits.
fn show(value: &Value) -> String {
    match value {
        Value::Str(text) => format!("{text:?}"),
        Value::Opaque(_) => "opaque".to_owned(),
        Value::List { items, .. } => format!("{} [{}]", value.ty(), items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Tuple(parts) => format!("({})", parts.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Tensor(tensor) => {
            let number = |x: &f64| match tensor.dtype().is_float() {
                true if x.is_finite() && x.abs() >= 1e6 => format!("{x:.3e}"),
                // No minus before a zero that is only rounded.
                true => format!("{:.3}", if x.abs() < 5e-4 { 0.0 } else { *x }),
                false => x.to_string(),
            };
            let all = tensor.to_f64();
            let shown: Vec<String> = all.iter().take(16).map(number).collect();
            format!("{} [{}{}]", tensor.ty(), shown.join(", "), if all.len() > 16 { ", …" } else { "" })
        }
    }
}
