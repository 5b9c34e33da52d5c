//! What is asked of ONNX Runtime in each of its forms. A process loads its library once.

use std::sync::Arc;

use irc::{
    backends::{
        Backend,
        conformance::{Suite, agree, check},
        execute::Driven,
        ort::runtime::Runtime,
        rten::Rten,
    },
    ort::{Target, library_or_setup},
};

/// The library; where it is not here and pip cannot bring it, nothing, said loudly.
pub fn runtime() -> Option<Arc<Runtime>> {
    let found = library_or_setup(Target::Cpu, &mut |_| {});
    let path = found.map_err(|error| eprintln!("SKIPPED: ONNX Runtime is not here: {error}")).ok()?;
    Some(Runtime::load(&path, Some(2)).unwrap_or_else(|error| panic!("{error}")))
}

/// The whole suite holds.
pub fn conforms(backend: &dyn Backend) {
    let report = check(backend, &Suite::default());
    println!("{report}");
    report.assert();
}

/// It agrees with rten on random programs.
pub fn agrees_with_rten(backend: &dyn Backend) {
    let report = agree(backend, &Driven::new(Rten::new(Some(2))), 500);
    println!("{report}");
    report.assert();
    let passed: usize = report.sections.iter().map(|section| section.passed).sum();
    assert!(passed > 600, "{report}");
}
