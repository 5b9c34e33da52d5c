//! The engine on ONNX Runtime. Where the library is not here and pip cannot bring it, the tests say loudly that they were
//! skipped.

use std::{path::PathBuf, sync::Arc};

use irc::backends::{
    conformance::{Suite, check},
    execute::Driven,
    ort::{Optimization, Ort, runtime::Runtime},
};

fn runtime() -> Option<Arc<Runtime>> {
    let path = std::env::var_os("IRC_ORT_LIBRARY").map(PathBuf::from);
    let Some(path) = path else {
        eprintln!("SKIPPED: ONNX Runtime is not here");
        return None;
    };
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
