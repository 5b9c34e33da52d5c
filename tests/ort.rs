//! The engine on ONNX Runtime. Where the library is not here and pip cannot bring it, the tests say loudly that they were
//! skipped.

#![cfg(feature = "ort")]

use std::sync::Arc;

use irc::backends::{
    Backend, Handle, Handles,
    conformance::{self, Suite, agree, check},
    execute::Driven,
    ort::{Optimization, Ort, runtime::Runtime},
    rten::Rten,
};
use irc::ir::{eval::Value, text::parse, types::Name, verify::verify};
use irc::ort::Target;

fn runtime() -> Option<Arc<Runtime>> {
    let found = irc::ort::library(None).or_else(|_| irc::ort::setup(Target::Cpu, None, &mut |_| {}).map(|library| library.path));
    let path = found.map_err(|error| eprintln!("SKIPPED: ONNX Runtime is not here: {error}")).ok()?;
    Some(Runtime::load(&path, Some(2)).unwrap_or_else(|error| panic!("{error}")))
}

fn engine(optimization: Optimization) -> Option<Driven> {
    Some(Driven::new(Ort::new(runtime()?, Some(2)).unwrap_or_else(|error| panic!("{error}")).with_optimization(optimization)))
}

#[test]
fn it_conforms() {
    let Some(engine) = engine(Optimization::Off) else { return };
    let report = check(&engine, &Suite::default());
    println!("{report}");
    report.assert();
}

#[test]
fn it_agrees_with_rten() {
    let Some(engine) = engine(Optimization::Off) else { return };
    let report = agree(&engine, &Driven::new(Rten::new(Some(2))), 500);
    println!("{report}");
    report.assert();
    let passed: usize = report.sections.iter().map(|section| section.passed).sum();
    assert!(passed > 600, "{report}");
}

/// ONNX Runtime may fuse what surrounds a hook, and has been seen to lose the hook by it.
#[test]
fn graph_optimizations_change_no_hook() {
    let (Some(off), Some(on)) = (engine(Optimization::Off), engine(Optimization::On)) else { return };
    for handle in [conformance::llama(), conformance::odd()] {
        let results = [&off, &on].map(|engine| every_hook(engine, handle));
        let [off, on] = &results;
        assert_eq!(off.len(), handle.spec.hooks().len());
        for ((name, off), (_, on)) in off.iter().zip(on) {
            assert!(off.same_bits(on), "`{name}` is {on:?} with graph optimizations and {off:?} without");
        }
    }
}

/// What one forward shows at every hook.
fn every_hook(backend: &Driven, handle: &Handle) -> Vec<(Name, Value)> {
    let mut text = String::from("graph @all models { m: \"any\" } {\n  %f = forward(unsqueeze([3, 1, 4, 1, 5]) {dim: 0}) {model: m}\n");
    for hook in handle.spec.hooks() {
        text += &format!("  save read(%f) {{hook: \"{0}\"}} as \"{0}\"\n", hook.name);
    }
    let graph = parse(&(text + "}")).into_result().unwrap_or_else(|errors| panic!("{errors:?}"));
    let program = verify(graph, &[("m".into(), handle.spec.clone())].into()).unwrap_or_else(|errors| panic!("{errors}"));
    let handles = Handles::from([("m".into(), handle.clone())]);
    backend.run(&program, &handles, &mut |_| {}).unwrap_or_else(|error| panic!("{error}")).saves
}
