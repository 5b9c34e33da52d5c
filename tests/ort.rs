//! The engine on ONNX Runtime. Where the library is not here and pip cannot bring it, the tests say loudly that they were
//! skipped.

#![cfg(feature = "ort")]

#[path = "engine/chains.rs"]
mod chains;
#[path = "engine/sessions.rs"]
mod sessions;
#[path = "engine/splices.rs"]
mod splices;
#[path = "onnx_runtime/support.rs"]
mod support;

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use irc::backends::{
    Backend, Call, Caps, Engine, Handle, Handles, LoadedModel,
    cancel::Cancel,
    conformance,
    execute::Driven,
    ort::{Optimization, Ort},
    rten::Rten,
    weights::Weights,
};
use irc::ir::{
    code::Code,
    diagnostic::Diagnostic,
    eval::Value,
    graph::NodeId,
    model::ModelBuilder,
    op::Op,
    tensor::Tensor,
    text::parse,
    types::{DType, Name},
    verify::verify,
};
use irc::models::Model;
use irc::passes::Strategy;

use support::{agrees_with_rten, conforms, runtime};

fn engine(optimization: Optimization) -> Option<Driven> {
    Some(Driven::new(Ort::new(runtime()?, Some(2)).unwrap_or_else(|error| panic!("{error}")).with_optimization(optimization)))
}

#[test]
fn it_conforms() {
    let Some(engine) = engine(Optimization::Off) else { return };
    conforms(&engine);
}

#[test]
fn it_agrees_with_rten() {
    let Some(engine) = engine(Optimization::Off) else { return };
    agrees_with_rten(&engine);
}

/// Sessions of patches, with all that saves work and as they are written.
#[test]
fn no_schedule_changes_a_bit() {
    let Some(runtime) = runtime() else { return };
    let engine = || Driven::new(Ort::new(runtime.clone(), Some(2)).unwrap_or_else(|error| panic!("{error}")));
    let (best, written) = (engine(), engine().with_strategy(Strategy::AS_WRITTEN));
    for seed in 1_000..1_080 {
        let program = sessions::program(seed);
        let run = |engine: &Driven| program.run(engine).unwrap_or_else(|error| panic!("session {seed}: {error:?}"));
        conformance::program::same_bits(&run(&best), &run(&written)).unwrap_or_else(|error| panic!("session {seed}: {error}"));
    }
}

/// The engine as if it took no edits.
struct Unedited(Ort);

impl Engine for Unedited {
    fn caps(&self) -> Caps {
        Caps { edits: false, splices: false, ..self.0.caps() }
    }

    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        self.0.load(model)
    }
}

/// Inputs of a session, or values that the host made: it is the same, and the former is one run of a stage less.
#[test]
fn edits_change_no_bit() {
    let Some(runtime) = runtime() else { return };
    let engine = || Ort::new(runtime.clone(), Some(2)).unwrap_or_else(|error| panic!("{error}"));
    let model = Model::open("induction").unwrap_or_else(|error| panic!("{error}"));
    let graph = parse(include_str!("cases/plan/edits.ig")).into_result().unwrap_or_else(|errors| panic!("{errors:?}"));
    let program = irc::run::check(graph, &[("m".into(), model.clone())].into()).unwrap_or_else(|errors| panic!("{errors}"));
    let handles = Handles::from([("m".into(), model.handle().unwrap_or_else(|error| panic!("{error}")))]);
    let run = |engine: Driven| engine.run(&program, &handles, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let [edited, given] = [run(Driven::new(engine())), run(Driven::new(Unedited(engine())))];
    assert!(edited.saves.len() > 12);
    for ((name, edited), (_, given)) in edited.saves.iter().zip(&given.saves) {
        assert!(edited.same_bits(given), "`{name}` is {edited:?} by an edit and {given:?} without");
    }
}

/// The library's own selection makes 0 of a -0 that it chooses; 1 over it tells them apart.
#[test]
fn negative_zeros_that_are_set_stay_negative() {
    let Some(engine) = engine(Optimization::Off) else { return };
    let text = r#"graph @zeros models { m: "m" } {
      %f = forward([[1, 2, 3], [4, 5, 6]]) {model: m}
      %x = read(%f) {hook: "x"}
      %given = write(%f, mul(sigmoid(%x), -0.0)) {hook: "x"}
      %edited = write(%f, update(%x, -0.0) {dim: 1, start: 1}) {hook: "x"}
      %added = write(%f, add(update(%x, -0.0) {dim: 1, start: 1}, update(mul(%x, 0), -0.0) {dim: 1, start: 1})) {hook: "x"}
      save read(%given) {hook: "y"} as "given"
      save read(%edited) {hook: "y"} as "edited"
      save read(%added) {hook: "y"} as "added"
    }"#;
    let mut m = ModelBuilder::new("zeros", DType::F32, conformance::VOCABULARY, 8);
    let tokens = m.tokens();
    let embedded = m.embedding("embed", tokens, conformance::VOCABULARY, 4);
    m.stage("rest");
    let x = m.linear("x", embedded, 4, 4);
    let x = m.hook("x", x);
    let negative = m.node(Op::Neg {}, [x]);
    let back = m.node(Op::Neg {}, [negative]);
    let y = m.node(Op::Reciprocal {}, [back]);
    let y = m.hook("y", y);
    let logits = m.projection("head", y, 4, conformance::VOCABULARY);
    let model = conformance::handle(m.finish(logits).unwrap_or_else(|error| panic!("{error}")), 1);
    let graph = parse(text).into_result().unwrap_or_else(|errors| panic!("{errors:?}"));
    let program = verify(graph, &[("m".into(), model.spec.clone())].into()).unwrap_or_else(|errors| panic!("{errors}"));
    let handles = Handles::from([("m".into(), model)]);
    for engine in [&engine as &dyn Backend, &Driven::new(Rten::new(Some(1)))] {
        let saves = engine.run(&program, &handles, &mut |_| {}).unwrap_or_else(|error| panic!("{error}")).saves;
        for (name, value) in saves {
            let values = value.as_tensor().and_then(Tensor::values::<f32>).unwrap_or_else(|| panic!("y is f32")).to_vec();
            let at = values.iter().enumerate().filter(|(at, _)| &*name == "given" || at / 4 % 3 > 0).map(|(_, value)| *value);
            assert!(at.clone().all(|value| value == f32::NEG_INFINITY), "{name} on {}: {:?}", engine.name(), at.collect::<Vec<_>>());
        }
    }
}

/// The same for random chains of operations, several hooks of a stage at once, and rows of several forwards.
#[test]
fn chains_of_operations_have_the_bits_of_the_host() {
    let Some(runtime) = runtime() else { return };
    let engine = || Ort::new(runtime.clone(), Some(2)).unwrap_or_else(|error| panic!("{error}"));
    let [edited, given, rten] = [Driven::new(engine()), Driven::new(Unedited(engine())), Driven::new(Rten::new(Some(2)))];
    let mut counts = [0; 2];
    for seed in 0..400 {
        let chains = chains::program(seed);
        let run = |engine: &Driven| chains.program.run(engine).unwrap_or_else(|error| panic!("program {seed}: {error}"));
        let (found, expected) = (run(&edited), run(&given));
        chains::same_bits(&found, &expected).unwrap_or_else(|error| panic!("program {seed}: {error}"));
        if chains.tame {
            conformance::program::agree(&found, &run(&rten)).unwrap_or_else(|error| panic!("program {seed}: {error}"));
        }
        counts = [0, 1].map(|at| counts[at] + chains.counts()[at]);
    }
    let [writes, edited] = counts;
    assert!(3 * edited > writes && writes > 1_500, "{edited} of {writes} writes are edits");
}

/// Matrices are cut along rows and columns, never along sums. A process has one pool of threads, so that each count is one.
#[test]
fn threads_change_no_bit() {
    if runtime().is_none() || Model::open("smollm2").and_then(|model| model.handle()).is_err() {
        return eprintln!("SKIPPED: ONNX Runtime or SmolLM2 is not here");
    }
    let folder = std::env::temp_dir().join(format!("irc-threads-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room");
    let program = folder.join("program.ig");
    let text = r#"graph @threads models { m: "smollm2" } {
      %f = forward("The Eiffel Tower is in the city of Paris, and the Louvre is there, too; but where is the Colosseum?") {model: m}
      save read(%f) {hook: "lm_head.output"} as "logits"
      save read(%f) {hook: "model.layers.7.self_attn.pattern"} as "pattern"
    }"#;
    std::fs::write(&program, text).expect("there is room");
    for form in [&[][..], &["--whole-graph"]] {
        let results = ["1", "2", "3"].map(|threads| {
            let out = folder.join(threads);
            let mut irc = std::process::Command::new(env!("CARGO_BIN_EXE_irc"));
            irc.args(["run", "--engine", "ort", "--quiet", "--threads", threads]).args(form).arg(&program).arg("--out").arg(&out);
            assert!(irc.status().expect("irc runs").success());
            std::fs::read(out).expect("it writes what was saved")
        });
        assert!(results.iter().all(|found| found.len() > 100_000 && *found == results[0]), "the number of threads shows in {form:?}");
    }
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
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

/// A single run of a session that nobody would wait for, from another thread. Where it is not ended, it succeeds.
#[test]
fn a_cancel_ends_the_run_of_a_session() {
    let Some(runtime) = runtime() else { return };
    let mut m = ModelBuilder::new("long", DType::F32, 4, 8);
    let tokens = m.tokens();
    let x = m.embedding("embed", tokens, 4, 64);
    let end = m.module("long", x, |m, x| (0..2_000).fold(x, |x, _| m.node(Op::Tanh {}, [x])));
    let spec = m.finish(end).unwrap_or_else(|error| panic!("{error}"));
    let embed = Tensor::new([4, 64], (0..256).map(|at| at as f32 / 256.0).collect::<Vec<f32>>());
    let handle = Handle { spec: Arc::new(spec), weights: Weights::from_tensors(BTreeMap::from([("embed".into(), embed)])) };
    let model = Ort::new(runtime, Some(2)).and_then(|engine| engine.load(&handle)).unwrap_or_else(|error| panic!("{error}"));

    let run = |tokens: usize, cancel: &Cancel| {
        let ids = Tensor::new([tokens], (0..tokens).map(|at| at as i64 % 4).collect::<Vec<_>>());
        let graph = handle.spec.graph();
        let input = graph.nodes().find(|(_, node)| matches!(node.op, Op::Input { .. })).map(|(id, _)| id);
        let want = [handle.spec.source(handle.spec.output())];
        model.run(&Call { given: &[(input.unwrap_or(NodeId::new(0)), &ids)], edits: &[], want: &want, cancel })
    };
    let before = run(8, &Cancel::new()).unwrap_or_else(|error| panic!("{error}"));
    let cancel = Cancel::new();
    let error = thread::scope(|scope| {
        let long = scope.spawn(|| run(200_000, &cancel));
        // Time enough to begin, and none to come to an end.
        thread::sleep(Duration::from_millis(300));
        cancel.cancel();
        long.join().unwrap_or_else(|_| panic!("it panics"))
    });
    assert_eq!(error.expect_err("nobody would wait for it").code, Code::E4006);
    let after = run(8, &Cancel::new()).unwrap_or_else(|error| panic!("{error}"));
    assert!(Value::from(before[0].clone()).same_bits(&Value::from(after[0].clone())), "{before:?} and {after:?}");
}
