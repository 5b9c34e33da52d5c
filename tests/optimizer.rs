//! What the optimizer costs and promises: its work grows with the program, whatever its shape, and its output is the same, byte for
//! byte. That what it does is right is in `tests/rules.rs` (each rule), `tests/random.rs` and `tests/cases.rs`.

use std::{collections::BTreeMap, process::Command};

use irc::{
    ir::{
        cbor,
        diagnostic::Span,
        graph::{Effect, EffectKind, Graph, ModelDecl, NodeId},
        op::Op,
        tensor::Tensor,
        types::DType,
        verify::Verified,
    },
    models::Model,
    passes::{
        optimize,
        rule::{Options, Record},
    },
    run,
};

/// A graph that grows by one operation after the other.
struct Program {
    graph: Graph,
    saves: usize,
}

impl Program {
    fn new() -> Program {
        let mut graph = Graph::new("grows");
        graph.models = vec![ModelDecl { name: "m".into(), reference: "induction".into(), span: Span::None }];
        Program { graph, saves: 0 }
    }

    fn add(&mut self, op: Op, operands: impl IntoIterator<Item = NodeId>) -> NodeId {
        self.graph.add(op, operands, Span::None)
    }

    fn save(&mut self, value: NodeId) {
        let name = format!("{}", self.saves).into();
        self.saves += 1;
        self.graph.effects.push(Effect::new(EffectKind::Save { name }, [value], Span::None));
    }

    /// Numbers that nobody knows before the program runs.
    fn random(&mut self, size: usize, seed: usize) -> NodeId {
        let (seed, shape) = (seed as i64, vec![size.into(), 4usize.into()]);
        self.add(Op::RandomNormal { shape, seed, mean: float(0.0), std: float(1.0), dtype: DType::F32 }, [])
    }

    fn forward(&mut self, prompt: i64) -> NodeId {
        let ids = Tensor::new([1, 6], vec![0, 2, 3, 1 + prompt % 9, 4, 2]);
        let ids = self.add(Op::Const { value: (&ids).into() }, []);
        self.add(Op::Forward { model: "m".into() }, [ids])
    }

    fn read(&mut self, forward: NodeId, hook: &str) -> NodeId {
        self.add(Op::Read { hook: hook.into() }, [forward])
    }

    fn verified(self) -> Verified {
        let models = BTreeMap::from([("m".into(), Model::open("induction").expect("it is built in"))]);
        run::check(self.graph, &models).unwrap_or_else(|errors| panic!("{errors}"))
    }
}

fn float(value: f64) -> irc::ir::attr::Float {
    irc::ir::attr::Float::new(value)
}

fn slice(start: usize, end: usize) -> Op {
    Op::Slice { dim: 0, start: Some(start as i64), end: Some(end as i64), step: 1 }
}

/// Many operations one after the other, of which one part is asked for.
fn deep(n: usize) -> Program {
    let mut program = Program::new();
    let mut x = program.random(64, 0);
    for at in 0..n {
        x = program.add(if at % 2 == 0 { Op::Sin {} } else { Op::Cos {} }, [x]);
    }
    let part = program.add(slice(3, 5), [x]);
    program.save(part);
    program
}

/// As many operations as there are parts that are asked for of the last.
fn fan(n: usize) -> Program {
    let mut program = Program::new();
    let mut x = program.random(n, 0);
    for at in 0..n / 2 {
        x = program.add(if at % 2 == 0 { Op::Sin {} } else { Op::Cos {} }, [x]);
    }
    for at in 0..n / 2 {
        let part = program.add(slice(at, at + 1), [x]);
        program.save(part);
    }
    program
}

/// Updates of one tensor, each of which is looked at once all are made.
fn updates(n: usize) -> Program {
    let mut program = Program::new();
    let mut x = program.random(n, 0);
    for at in 0..n / 3 {
        let value = program.random(1, at + 1);
        x = program.add(Op::Update { dim: 0, start: Some(at as i64), end: Some(at as i64 + 1), step: 1 }, [x, value]);
    }
    for at in 0..n / 3 {
        let part = program.add(slice(at, at + 1), [x]);
        program.save(part);
    }
    program
}

/// A tensor that grows by one row after the other.
fn grows(n: usize) -> Program {
    let mut program = Program::new();
    let mut x = program.random(1, 0);
    for at in 0..n / 2 {
        let row = program.random(1, at + 1);
        x = program.add(Op::Cat { dim: 0 }, [x, row]);
    }
    let part = program.add(slice(0, 2), [x]);
    program.save(part);
    program
}

/// A chain of writes to all layers, over and over, each of which is read.
fn writes(n: usize) -> Program {
    let mut program = Program::new();
    let mut forward = program.forward(1);
    for at in 0..n / 4 {
        let hook = format!("model.layers.{}.output", at % 4);
        let h = program.read(forward, &hook);
        let value = program.add(Op::Sin {}, [h]);
        forward = program.add(Op::Write { hook: hook.into() }, [forward, value]);
        let logits = program.read(forward, "lm_head.output");
        program.save(logits);
    }
    program
}

/// Patches from one prompt into another, as a plain loop of traces.
fn sweep(n: usize) -> Program {
    let mut program = Program::new();
    for at in 0..n / 12 {
        let hook = format!("model.layers.{}.output", at % 4);
        let dim = 1;
        let part = |at: usize| Op::Slice { dim, start: Some(at as i64 % 6), end: Some(at as i64 % 6 + 1), step: 1 };
        let source = program.forward(1);
        let h = program.read(source, &hook);
        let h = program.add(part(at / 4), [h]);
        let h = program.add(Op::Neg {}, [h]);
        let target = program.forward(2);
        let old = program.read(target, &hook);
        let place = at as i64 / 4 % 6;
        let new = program.add(Op::Update { dim, start: Some(place), end: Some(place + 1), step: 1 }, [old, h]);
        let patched = program.add(Op::Write { hook: hook.into() }, [target, new]);
        let logits = program.read(patched, "lm_head.output");
        let probabilities = program.add(Op::Softmax { dim: -1 }, [logits]);
        let last = program.add(Op::Index { dim, index: -1 }, [probabilities]);
        program.save(last);
    }
    program
}

/// A program of about so many nodes.
type Shape = fn(usize) -> Program;

const SHAPES: [(&str, Shape); 6] =
    [("deep", deep), ("fan", fan), ("updates", updates), ("grows", grows), ("writes", writes), ("sweep", sweep)];

#[test]
fn work_grows_with_the_program() {
    for (name, shape) in SHAPES {
        let record = |n: usize| -> (Record, usize) {
            let program = shape(n).verified();
            let size = program.graph().len();
            let optimized = optimize(&program, &Options::default()).unwrap_or_else(|errors| panic!("{name}: {errors}"));
            // Up to four pieces of a value, and slices between them.
            assert!(optimized.program.graph().len() <= 5 * size, "{name}: {size} nodes become {}", optimized.program.graph().len());
            (optimized.record, size)
        };
        let ((small, from), (large, to)) = (record(2_000), record(20_000));
        let growth = to as f64 / from as f64;
        for (what, times) in &large.counters {
            let before = small.counters.get(what).copied().unwrap_or(0).max(100);
            assert!(*times as f64 <= 1.3 * growth * before as f64, "{name}: {what} grows from {before} to {times}");
        }
    }
}

#[test]
fn the_same_program_becomes_the_same_bytes() {
    for (name, shape) in SHAPES {
        let bytes = || {
            let optimized = optimize(&shape(600).verified(), &Options::default()).unwrap_or_else(|errors| panic!("{name}: {errors}"));
            (cbor::encode(optimized.program.graph()), optimized.record)
        };
        let (first, second) = (bytes(), bytes());
        assert!(first == second, "{name}");
    }
    // In other processes, too, where maps have other seeds.
    for case in ["parts", "loops", "forwards", "places"] {
        let path = format!("{}/tests/cases/opt/{case}.ig", env!("CARGO_MANIFEST_DIR"));
        let outputs = [0, 1].map(|_| {
            let output = Command::new(env!("CARGO_BIN_EXE_irc")).args(["opt", &path, "--print-after", "all", "--stats"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output
        });
        assert!(outputs[0].stdout == outputs[1].stdout && outputs[0].stderr == outputs[1].stderr, "{case}");
    }
}

#[test]
fn fuel_ends_and_rules_can_be_switched_off() {
    let program = sweep(600).verified();
    let all = optimize(&program, &Options::default()).unwrap();
    let fired: u64 = all.record.fired.values().sum();
    assert!(fired > 100 && all.record.limits.is_empty(), "{:?}", all.record);
    for fuel in [0, 1, fired / 2] {
        let some = optimize(&program, &Options { fuel: Some(fuel), ..Options::default() }).unwrap();
        assert_eq!(some.record.fired.values().sum::<u64>(), fuel);
        assert_eq!(some.record.limits.len(), usize::from(fuel > 0), "the user is told: {:?}", some.record.limits);
    }
    let without = Options { disabled: ["equal-values".to_owned()].into(), ..Options::default() };
    let without = optimize(&program, &without).unwrap();
    assert!(!without.record.fired.contains_key("equal-values") && without.program.graph().len() > all.program.graph().len());
}
