//! Whole programs as graphs of ONNX Runtime.

#![cfg(feature = "ort")]

use std::sync::Arc;

use irc::backends::{
    conformance::{Suite, agree, check},
    execute::Driven,
    ort::{Device, Precision, WholeGraph, runtime::Runtime},
    rten::Rten,
};
use irc::ort::Target;

fn runtime() -> Option<Arc<Runtime>> {
    let found = irc::ort::library(None).or_else(|_| irc::ort::setup(Target::Cpu, None, &mut |_| {}).map(|library| library.path));
    let path = found.map_err(|error| eprintln!("SKIPPED: ONNX Runtime is not here: {error}")).ok()?;
    Some(Runtime::load(&path, Some(2)).unwrap_or_else(|error| panic!("{error}")))
}

fn backend(precision: Precision) -> Option<WholeGraph> {
    Some(WholeGraph::new(runtime()?, Device::Cpu, precision).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn it_conforms() {
    let Some(backend) = backend(Precision::F32) else { return };
    let report = check(&backend, &Suite::default());
    println!("{report}");
    report.assert();
}

#[test]
fn it_agrees_with_rten() {
    let Some(backend) = backend(Precision::F32) else { return };
    let report = agree(&backend, &Driven::new(Rten::new(Some(2))), 500);
    println!("{report}");
    report.assert();
}
