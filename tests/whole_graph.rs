//! Whole programs as graphs of ONNX Runtime, on the processor: what a card computes is the same graphs. Where the library is
//! not here and pip cannot bring it, the tests say loudly that they were skipped.

#![cfg(feature = "ort")]

#[path = "../backends/tests/lower/cases.rs"]
mod cases;
#[path = "onnx_runtime/support.rs"]
mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use irc::{
    backends::{
        Backend, Handle, Handles,
        conformance::{llama, odd, weights},
        host::Functions,
        ort::{Device, Precision, WholeGraph},
        reference::Reference,
        weights::Weights,
    },
    ir::{
        code::Code,
        diagnostic::Span,
        eval::{Value, eval},
        graph::{Effect, EffectKind},
        op::{Op, OpKind},
        tensor::Tensor,
        text::parse,
        types::DType,
        verify::{Verified, verify},
    },
};

use cases::{Case, cases};
use support::{agrees_with_rten, conforms, runtime};

fn backend(precision: Precision) -> Option<WholeGraph> {
    Some(WholeGraph::new(runtime()?, Device::Cpu, precision).unwrap_or_else(|error| panic!("{error}")))
}

/// All of the suite holds on the processor, also what is about bits: on the suite's models.
#[test]
fn it_conforms() {
    let Some(backend) = backend(Precision::F32) else { return };
    conforms(&backend);
}

#[test]
fn it_agrees_with_rten() {
    let Some(backend) = backend(Precision::F32) else { return };
    agrees_with_rten(&backend);
}

fn program(text: &str) -> Verified {
    let graph = parse(text).into_result().unwrap_or_else(|errors| panic!("{errors:?}"));
    let models = handles().into_iter().filter(|(name, _)| text.contains(&format!("{name}:"))).map(|(name, handle)| (name, handle.spec));
    verify(graph, &models.collect()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn handles() -> Handles {
    [("llama".into(), llama().clone()), ("odd".into(), odd().clone())].into()
}

/// The largest distance of what two backends save, relative to the largest element.
fn distance(program: &Verified, a: &dyn Backend, b: &dyn Backend) -> BTreeMap<String, f64> {
    let [a, b] = [a, b].map(|backend| backend.run(program, &handles(), &mut |_| {}).unwrap_or_else(|error| panic!("{error}")).saves);
    let one = |((name, a), (_, b)): (&(irc::ir::types::Name, Value), &(irc::ir::types::Name, Value))| {
        let (a, b) = (a.as_tensor().unwrap(), b.as_tensor().unwrap());
        assert_eq!(a.ty(), b.ty());
        let (a, b) = (a.to_f64(), b.to_f64());
        let largest = b.iter().filter(|x| x.is_finite()).fold(0.0, |most: f64, x| most.max(x.abs()));
        let apart = a.iter().zip(&b).filter(|(a, b)| a != b).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
        (name.to_string(), apart / largest.max(1e-30))
    };
    a.iter().zip(&b).map(one).collect()
}

const SWEEP: &str = r#"graph @sweep models { llama: "" } {
  %a = forward([[3, 1, 4, 1, 5]]) {model: llama}
  %b = forward([[2, 7, 1, 8, 2, 8, 1], [1, 2, 3, 4, 5, 6, 7]]) {model: llama}
  %h = slice(read(%a) {hook: "model.layers.0.output"}) {dim: 1, start: -1}
  %w = write(%b, update(read(%b) {hook: "model.layers.1.input"}, %h) {dim: 1, start: 3, end: 4}) {hook: "model.layers.1.input"}
  %v = write(%b, mul(read(%b) {hook: "model.layers.0.self_attn.pattern"}, 0.5)) {hook: "model.layers.0.self_attn.pattern"}
  save read(%w) {hook: "lm_head.output"} as "w"
  save read(%v) {hook: "lm_head.output"} as "v"
  save read(%v) {hook: "model.layers.1.self_attn.scores"} as "scores"
}"#;

/// f16 rounds to 11 digits: a few of its units in the last place, 2^-11, after two layers. It is not f32 in disguise.
#[test]
fn half_precision_is_near() {
    let Some(half) = backend(Precision::F16) else { return };
    let apart = distance(&program(SWEEP), &half, &Reference);
    assert!(apart.values().all(|apart| (1e-5..2e-2).contains(apart)), "{apart:?}");
    let class = half.run(&program(SWEEP), &handles(), &mut |_| {}).unwrap().report.numeric_class;
    assert!(class.starts_with("onnxruntime 1.") && class.ends_with(", cpu, f16, whole graph"), "{class}");
}

/// Programs of one structure share a session, and the oldest of too many goes.
#[test]
fn sessions_are_found_by_structure() {
    let Some(backend) = backend(Precision::F32) else { return };
    let run = |text: &str| {
        let program = program(text);
        let apart = distance(&program, &backend, &Reference);
        assert!(apart.values().all(|apart| *apart < 1e-4), "{apart:?}");
        backend.sessions()
    };
    assert_eq!(run(SWEEP), 1);
    // Other tokens, and another factor.
    assert_eq!(run(&SWEEP.replace("[[3, 1, 4, 1, 5]]", "[[9, 2, 6, 5, 3]]").replace("0.5", "0.25")), 1);
    assert_eq!(run(&SWEEP.replace("[[3, 1, 4, 1, 5]]", "[[9, 2, 6, 5]]")), 2);
    for length in 1..=20 {
        let ids = vec!["7"; length].join(", ");
        run(&SWEEP.replace("[[3, 1, 4, 1, 5]]", &format!("[[{ids}]]")));
    }
    assert_eq!(backend.sessions(), 16);
}

/// A file that is removed at the end of its test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A model with weights of a seed, in a file of a layout that depends on the model alone.
fn in_file(handle: &Handle, seed: u64) -> (Handle, Scratch) {
    let file = Scratch(std::env::temp_dir().join(format!("irc-whole-graph-{seed}-{}", std::process::id())));
    let (mut bytes, mut table) = (vec![], vec![]);
    for (name, tensor) in weights(&handle.spec, seed) {
        table.push((name, tensor.ty(), bytes.len() as u64, tensor.bytes() as u64));
        bytes.extend(tensor.to_le_bytes());
    }
    fs::write(&file.0, bytes).unwrap();
    (Handle { spec: handle.spec.clone(), weights: Weights::mapped(&file.0, table).unwrap() }, file)
}

/// Which weights a model has is not in its graph, where they are in files of one layout.
#[test]
fn models_of_one_structure_are_kept_apart() {
    let text = r#"graph @three models { a: "", b: "", c: "" } {
  save read(forward([[1, 2, 3]]) {model: a}) {hook: "lm_head.output"} as "a"
  save read(forward([[1, 2, 3]]) {model: b}) {hook: "lm_head.output"} as "b"
  save read(forward([[1, 2, 3]]) {model: c}) {hook: "lm_head.output"} as "c"
}"#;
    let spec = &llama().spec;
    let three = ["a", "b", "c"].map(|name| (name.into(), spec.clone())).into();
    let program = verify(parse(text).into_result().unwrap(), &three).unwrap();
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::F16, 2e-2)] {
        let Some(backend) = backend(precision) else { return };
        let [(one, _file), (other, _other_file)] = [5, 6].map(|seed| in_file(llama(), seed));
        for models in [[&one, &one, &other], [&one, &other, &other], [&other, &one, &one], [llama(), &one, &other]] {
            let handles: Handles = ["a", "b", "c"].into_iter().map(Into::into).zip(models.map(Clone::clone)).collect();
            let [found, expected] = [&backend as &dyn Backend, &Reference].map(|on| on.run(&program, &handles, &mut |_| {}).unwrap());
            for ((name, found), (_, expected)) in found.saves.iter().zip(&expected.saves) {
                let [found, expected] = [found, expected].map(|value| value.as_tensor().unwrap().to_f64());
                let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                let near = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= tolerance * largest);
                assert!(near, "{name} in {precision:?}");
            }
        }
        // On a device, weights go with the last who has them.
        let gone = [one, other].map(|handle| Arc::downgrade(&handle.weights));
        distance(&self::program(SWEEP), &backend, &Reference);
        assert!(precision == Precision::F32 || gone.iter().all(|weights| weights.upgrade().is_none()));
    }
}

/// What engines leave open: integers that are not there for a float, or whose negative is not.
fn beyond() -> Vec<Case> {
    let floats = Tensor::new([7], vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e9, -3e9, 1e19, -0.5]);
    let [long, short] = [Tensor::new([4], vec![0, i64::MAX, i64::MIN, -1]), Tensor::new([4], vec![0, i32::MAX, i32::MIN, -1])];
    let casts = [DType::I64, DType::I32].map(|dtype| (Op::Cast { dtype }, vec![floats.clone()]));
    let least = [long, short].map(|x| (Op::Argmin { dim: Some(0), keepdim: false }, vec![x]));
    casts.into_iter().chain(least).collect()
}

/// Operations on values that a graph computes, NaN and infinities among them, compared to their meaning: integers exactly,
/// floats to 2e-6 of themselves, or of 1; products of matrices, whose sums may cancel, of the largest of them.
#[test]
fn operations_mean_the_same_in_a_graph() {
    let Some(backend) = backend(Precision::F32) else { return };
    let prelude = parse(
        r#"graph @one models { llama: "" } {
  %yes = ge(sum(isnan(read(forward([[1]]) {model: llama}) {hook: "model.embed_tokens.output"})), 0)
  %one = cast(%yes) {dtype: f32}
}"#,
    );
    let prelude = prelude.into_result().unwrap();
    let named = |name: &str| prelude.nodes().find(|(id, _)| prelude.label(*id).is_some_and(|label| &**label == name)).unwrap().0;
    let (yes, one) = (named("yes"), named("one"));
    let (mut count, mut wrong) = (0, vec![]);
    for (op, operands) in OpKind::ALL.iter().flat_map(|kind| cases(*kind)).chain(beyond()).filter(|(_, operands)| !operands.is_empty()) {
        let mut graph = prelude.clone();
        let constant = |graph: &mut irc::ir::graph::Graph, value: &Tensor| graph.add(Op::Const { value: value.into() }, [], Span::None);
        let ids: Vec<_> = operands
            .iter()
            .map(|tensor| {
                let value = constant(&mut graph, tensor);
                if tensor.dtype() == DType::F32 {
                    return graph.add(Op::Mul {}, [value, one], Span::None);
                }
                let zeros = Tensor::from_le_bytes(tensor.dtype(), tensor.shape(), &vec![0; tensor.bytes()]).unwrap();
                let zeros = constant(&mut graph, &zeros);
                graph.add(Op::Select {}, [yes, value, zeros], Span::None)
            })
            .collect();
        let node = graph.add(op.clone(), ids, Span::None);
        graph.effects.push(Effect::new(EffectKind::Save { name: "x".into() }, [node], Span::None));
        // Models have operations that programs have not.
        let Ok(program) = verify(graph, &handles().into_iter().take(1).map(|(name, handle)| (name, handle.spec)).collect()) else {
            continue;
        };
        count += 1;
        let values: Vec<Value> = operands.iter().map(|tensor| tensor.clone().into()).collect();
        let expected = eval(&op, &values.iter().collect::<Vec<_>>()).unwrap();
        let found = backend.run(&program, &handles(), &mut |_| {}).unwrap_or_else(|error| panic!("{op:?} of {operands:?}: {error}"));
        let near = |(a, b): (&f64, &f64), exact: bool, scale: f64| {
            a == b || a.is_nan() && b.is_nan() || !exact && (a - b).abs() <= 2e-6 * b.abs().max(scale)
        };
        for (found, expected) in parts(&found.saves[0].1).iter().zip(parts(&expected)) {
            assert_eq!(found.ty(), expected.ty(), "{op:?}");
            let exact = !expected.dtype().is_float();
            let numbers = expected.to_f64();
            let scale = match op.kind() {
                OpKind::Matmul | OpKind::Einsum => numbers.iter().filter(|x| x.is_finite()).fold(1.0, |most: f64, x| most.max(x.abs())),
                _ => 1.0,
            };
            if !found.to_f64().iter().zip(&numbers).all(|pair| near(pair, exact, scale)) {
                wrong.push(format!("{op:?} of {operands:?} is {found:?} and not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 500, "{count} cases");
}

fn parts(value: &Value) -> Vec<Tensor> {
    match value {
        Value::Tuple(parts) => parts.iter().filter_map(|part| part.as_tensor().cloned()).collect(),
        other => other.as_tensor().into_iter().cloned().collect(),
    }
}

/// Where all that a graph would show has failed already, the failure is said, at its place.
#[test]
fn what_failed_before_a_graph_is_said() {
    let Some(backend) = backend(Precision::F32) else { return };
    let program = program(
        r#"graph @fails models { llama: "" } {
  %h = read(forward([[1, 2]]) {model: llama}) {hook: "model.layers.0.output"}
  save add(%h, index_select([1.0, 2.0], [5]) {dim: 0}) as "x"
}"#,
    );
    let [found, expected] = [&backend as &dyn Backend, &Reference].map(|on| on.run(&program, &handles(), &mut |_| {}).unwrap_err());
    assert_eq!(found, expected);
}

/// What the host has to do lies between graphs: calls in their order, ids that are looked at, operations without an ONNX form,
/// a stop. Values of models go from one graph to another.
#[test]
fn the_host_works_between_graphs() {
    let Some(backend) = backend(Precision::F16) else { return };
    let program = program(
        r#"graph @between models { odd: "", llama: "" } {
  %a = forward([[3, 1, 4]]) {model: llama}
  %l = read(%a) {hook: "lm_head.output"}
  log "before", argmax(%l) {dim: -1}
  %s = do call(%l) {name: "probe", returns: tensor<1x3x50xf32>}
  %h = read(%a) {hook: "model.layers.0.output"}
  %w = write(%a, roll(%h) {shifts: [1], dims: [1]}) {hook: "model.layers.0.output"}
  %n = argmax(read(%w) {hook: "lm_head.output"}) {dim: -1}
  %b = forward(minimum(%n, 4)) {model: odd}
  save add(%s, read(%w) {hook: "lm_head.output"}) as "sum"
  save read(%b) {hook: "second.scores"} as "scores"
  stop if lt(max(%s), 1e9)
  save %n as "never"
}"#,
    );
    let heard = Arc::new(Mutex::new(vec![]));
    let run = |backend: &dyn Backend| {
        heard.lock().unwrap().clear();
        let (log, calls) = (heard.clone(), heard.clone());
        let mut host = Functions::new(move |event| log.lock().unwrap().push(format!("{event:?}")));
        host.add("probe", move |operands| {
            calls.lock().unwrap().push("probe".to_owned());
            let values = operands[0].as_tensor().unwrap().values::<f32>().unwrap().iter().map(|x| 2.0 * x).collect::<Vec<_>>();
            Ok(Tensor::new([1, 3, 50], values).into())
        });
        let outcome = backend.run_for(&program, &handles(), &mut host).unwrap_or_else(|error| panic!("{error}"));
        (outcome, heard.lock().unwrap().clone())
    };
    let ((found, events), (expected, others)) = (run(&backend), run(&Reference));
    assert_eq!(events, others);
    assert_eq!((events.len(), found.saves.len(), found.stopped.is_some()), (2, 2, true));
    assert!(found.report.engine_calls >= 3, "{:?}", found.report);
    for ((name, a), (_, b)) in found.saves.iter().zip(&expected.saves) {
        let (a, b) = (a.as_tensor().unwrap().to_f64(), b.as_tensor().unwrap().to_f64());
        let largest = b.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 2e-2 * largest), "{name}: {a:?} for {b:?}");
    }
}

/// What cannot be used is said with a code, and never replaced by something else.
#[test]
fn what_is_not_here_is_an_error() {
    let Some(runtime) = runtime() else { return };
    let of = |device, precision| WholeGraph::new(runtime.clone(), device, precision).err().map(|error| (error.code, error.message));
    let (code, message) = of(Device::Cpu, Precision::Bf16).unwrap();
    assert!(code == Code::E4005 && message.contains("bf16"), "{message}");
    // A build for cards may find one; that for processors never does.
    if let Some((code, message)) = of(Device::Cuda { id: 0 }, Precision::F32) {
        assert!(code == Code::E0016 && message.contains("cuda:0"), "{message}");
    }
    let irc = |arguments: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_irc")).args(arguments).output().unwrap();
        (ran.status.code().unwrap(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let patch = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/run/patch.ig");
    for flags in [&["--whole-graph"][..], &["--device", "cpu"], &["--precision", "f16"], &["--engine", "rten", "--device", "cuda"]] {
        let (status, message) = irc(&[&["run", patch], flags].concat());
        assert!(status == 2 && message.contains("--engine ort"), "{flags:?}: {message}");
    }
    let (status, message) = irc(&["run", patch, "--engine", "ort", "--precision", "bf16"]);
    assert!(status != 0 && message.contains("bf16"), "{message}");
    let (status, message) = irc(&["run", patch, "--engine", "ort", "--device", "gpu"]);
    assert!(status == 2 && message.contains("cuda:1"), "{message}");
}
