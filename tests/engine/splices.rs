//! Chains of operations on a value, made by an engine where it computes the value: the bits are those of the host, and the stage
//! runs once.

use std::sync::{Arc, OnceLock};

use irc::{
    backends::{
        Backend, Handle, Handles, Outcome, Report,
        conformance::{self, VOCABULARY, program::Program},
        execute::Driven,
        ort::Ort,
        weights::Weights,
    },
    ir::{
        attr::Float,
        model::ModelBuilder,
        op::Op,
        plan::Edit,
        random::Dice,
        tensor::Tensor,
        text::parse,
        types::DType,
        verify::{Verified, verify},
    },
    passes::{Strategy, chains::is_exact, schedule},
};

use super::{chains, support::runtime};

const APART: Strategy = Strategy { splice: false, ..WHOLE };
/// All positions in each lane, so that a write of some of them leaves others of the same lane alone.
const WHOLE: Strategy =
    Strategy { live: true, share: true, prefixes: true, cone: false, positions: true, batch: true, fuse: true, splice: true };

fn engine(strategy: Strategy) -> Option<Driven> {
    Some(Driven::new(Ort::new(runtime()?, Some(2)).unwrap_or_else(|error| panic!("{error}"))).with_strategy(strategy))
}

/// How many writes of a program become part of stages.
fn spliced(program: &Verified, engine: &Driven) -> usize {
    let schedule = schedule(program, &engine.target()).unwrap_or_else(|error| panic!("{error}"));
    let writes = schedule.lanes.iter().flat_map(|lane| &lane.writes);
    writes.filter(|write| matches!(write.edit, Some(Edit::Chain(_)))).count()
}

const ODD: [f32; 26] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    -1.5,
    2.5,
    -2.5,
    0.3,
    -0.3,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-42,
    -1e-42,
    8_388_609.5,
    -4_194_304.5,
    0.499_999_97,
    -0.499_999_97,
    1.0 / 3.0,
];

/// Odd numbers, those that one gets and those that no one expects.
fn number(dice: &mut Dice) -> f32 {
    match dice.below(3) {
        0 => dice.pick(&ODD),
        1 => dice.float() * 4.0,
        _ => f32::from_bits(dice.between(0, i64::from(u32::MAX)) as u32),
    }
}

const WIDTH: usize = 16;

/// A model whose hook `x` has odd numbers, and whose hook `y` shows what x is.
fn numbers() -> &'static Handle {
    static MODEL: OnceLock<Handle> = OnceLock::new();
    MODEL.get_or_init(|| {
        let mut m = ModelBuilder::new("numbers", DType::F32, VOCABULARY, 64);
        let tokens = m.tokens();
        let embedded = m.embedding("embed", tokens, VOCABULARY, WIDTH);
        m.stage("rest");
        let x = m.node(Op::Neg {}, [embedded]);
        let x = m.hook("x", x);
        let y = m.node(Op::Neg {}, [x]);
        let y = m.hook("y", y);
        let logits = m.projection("head", y, WIDTH, VOCABULARY);
        let spec = m.finish(logits).unwrap_or_else(|error| panic!("{error}"));
        let mut dice = Dice::new(7);
        let mut weights = conformance::weights(&spec, 1);
        let embed = Tensor::new([VOCABULARY, WIDTH], (0..VOCABULARY * WIDTH).map(|_| number(&mut dice)).collect::<Vec<f32>>());
        weights.insert("embed".into(), embed);
        Handle { spec: Arc::new(spec), weights: Weights::from_tensors(weights) }
    })
}

/// The operations that are said to have the same bits everywhere, with as many operands as they take.
fn exact() -> Vec<(Op, usize)> {
    let bounds = [None, Some(0.0), Some(-0.0), Some(-0.5), Some(1e-42), Some(f64::INFINITY)].map(|bound| bound.map(Float::new));
    let clamps = bounds.iter().flat_map(|min| bounds.map(|max| Op::Clamp { min: *min, max }));
    let clamps = clamps.filter(|op| !matches!(op, Op::Clamp { min: None, max: None })).map(|op| (op, 1));
    let slopes = [0.1, 1e-42, 3.0].map(|slope| (Op::LeakyRelu { slope: Float::new(slope) }, 1));
    let unary = [
        Op::Neg {},
        Op::Abs {},
        Op::Sign {},
        Op::Square {},
        Op::Sqrt {},
        Op::Rsqrt {},
        Op::Reciprocal {},
        Op::Floor {},
        Op::Ceil {},
        Op::Round {},
        Op::Trunc {},
        Op::Frac {},
        Op::Relu {},
        Op::Not {},
        Op::Isnan {},
        Op::Isinf {},
        Op::Isfinite {},
        Op::Cast { dtype: DType::Bool },
        Op::Cast { dtype: DType::F32 },
    ];
    let binary = [
        Op::Add {},
        Op::Sub {},
        Op::Mul {},
        Op::Div {},
        Op::Maximum {},
        Op::Minimum {},
        Op::Fmod {},
        Op::Remainder {},
        Op::Eq {},
        Op::Ne {},
        Op::Lt {},
        Op::Le {},
        Op::Gt {},
        Op::Ge {},
        Op::And {},
        Op::Or {},
        Op::Xor {},
    ];
    let all = unary.map(|op| (op, 1)).into_iter().chain(binary.map(|op| (op, 2)));
    all.chain(clamps).chain(slopes).chain([(Op::Select {}, 3)]).collect()
}

/// Each operation on odd numbers, with odd numbers of several types and shapes on either side.
#[test]
fn every_operation_has_the_bits_of_the_host() {
    let (Some(engine), Some(apart)) = (engine(WHOLE), engine(APART)) else { return };
    let mut dice = Dice::new(3);
    let ids = Tensor::new([2, 25], (0..50).collect::<Vec<i64>>());
    let shape = [2, 25, WIDTH];
    for (op, arity) in exact() {
        assert!(is_exact(&op), "{op:?}");
        let mut program = Program::new(numbers());
        let forward = program.forward(&ids);
        let x = program.read(forward, "x");
        let mut numbers =
            |shape: &[usize]| Tensor::new(shape, (0..shape.iter().product()).map(|_| number(&mut dice)).collect::<Vec<f32>>());
        let mut operands = vec![Some(x)];
        if arity > 1 {
            let mut tensors = vec![numbers(&shape), numbers(&[WIDTH]), numbers(&[25, 1])];
            tensors.extend(ODD.map(Tensor::scalar::<f32>));
            tensors.extend([Tensor::scalar((1i64 << 24) + 1), Tensor::scalar(1.0f64 / 3.0), Tensor::scalar(0i64)]);
            tensors.push(Tensor::new([25, 1], (0..25).map(|at| at as i64 % 3 - 1).collect::<Vec<_>>()));
            // There is no difference of bools.
            if op != (Op::Sub {}) {
                tensors.push(Tensor::new([WIDTH], (0..WIDTH).map(|at| at % 3 == 0).collect::<Vec<_>>()));
            }
            operands.extend(tensors.iter().map(|tensor| Some(program.constant(tensor))));
        }
        let mut writes = 0;
        for operand in operands.into_iter().flatten() {
            let orders = match arity {
                1 => vec![vec![x]],
                2 => vec![vec![x, operand], vec![operand, x]],
                _ => {
                    let positive = program.op(Op::Gt {}, [x, operand]);
                    let bools = Tensor::new(&shape[..], (0..800).map(|at| at % 5 < 2).collect::<Vec<_>>());
                    let given = program.constant(&bools);
                    [positive, given].iter().flat_map(|condition| [vec![*condition, x, operand], vec![*condition, operand, x]]).collect()
                }
            };
            for operands in orders {
                let mut made = program.op(op.clone(), operands);
                if program.dtype(made) == DType::Bool {
                    made = program.op(Op::Select {}, [made, x, made]);
                }
                if program.shape(made) != shape || program.dtype(made) != DType::F32 {
                    continue;
                }
                let write = program.write(forward, "x", made);
                let y = program.read(write, "y");
                program.save(format!("{op:?} {writes}"), y);
                writes += 1;
            }
        }
        // Writes of equal values are one; some are affine, and some are x.
        let count = spliced(&program.verified(), &engine);
        let affine = matches!(op, Op::Add {} | Op::Sub {} | Op::Mul {});
        assert!(affine || matches!(op, Op::Cast { dtype: DType::F32 }) || count > 0 && count + 8 > writes, "{op:?}: {count} of {writes}");
        let run = |engine: &Driven| program.run(engine).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        chains::same_bits(&run(&engine), &run(&apart)).unwrap_or_else(|error| panic!("{op:?}: {error}"));
    }
}

/// Random chains of them, in parts of a value, on several hooks of a stage, and in rows of several forwards.
#[test]
fn chains_of_all_operations_have_the_bits_of_the_host() {
    let engines = [WHOLE, Strategy::default()].map(engine);
    let Some(apart) = engine(APART) else { return };
    let mut counts = [0; 2];
    for seed in 0..1_000 {
        let chains = chains::wide(seed);
        let run = |engine: &Driven| chains.program.run(engine).unwrap_or_else(|error| panic!("program {seed}: {error}"));
        let expected = run(&apart);
        for (at, engine) in engines.iter().flatten().enumerate() {
            chains::same_bits(&run(engine), &expected).unwrap_or_else(|error| panic!("program {seed}: {error}"));
            counts[at] += chains.spliced(engine.target().strategy);
        }
    }
    println!("{counts:?} writes are made in their stages");
    assert!(counts.iter().all(|count| *count > 400), "{counts:?} writes are made in their stages");
}

fn checked(text: &str, handle: &Handle) -> (Verified, Handles) {
    let graph = parse(text).into_result().unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let program = verify(graph, &[("m".into(), handle.spec.clone())].into()).unwrap_or_else(|errors| panic!("{text}: {errors}"));
    (program, Handles::from([("m".into(), handle.clone())]))
}

fn run(engine: &Driven, (program, handles): &(Verified, Handles)) -> Outcome {
    engine.run(program, handles, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// A program that writes what an expression makes of `%x`, the value at a hook.
fn writes(hook: &str, made: &str) -> String {
    format!(
        r#"graph @writes models {{ m: "m" }} {{
  %f = forward([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]]) {{model: m}}
  %x = read(%f) {{hook: "{hook}"}}
  %w = write(%f, {made}) {{hook: "{hook}"}}
  save read(%w) {{hook: "lm_head.output"}} as "logits"
  save read(%w) {{hook: "model.layers.1.output"}} as "residual"
}}"#
    )
}

/// Chains on several hooks, on all of a value and on some of its positions, rows and columns.
#[test]
fn a_stage_runs_once() {
    let engines = [Strategy::default(), WHOLE, APART].map(engine);
    let [Some(best), Some(whole), Some(apart)] = &engines else { return };
    let plain = |hook: &str| writes(hook, "sub(mul(%x, 1.5), 0.25)");
    for hook in ["mlp.output", "mlp.up_proj.output", "mlp.down_proj.input", "self_attn.output", "post_attention_layernorm.output"] {
        let hook = format!("model.layers.1.{hook}");
        let once = run(best, &checked(&plain(&hook), conformance::llama())).report;
        for made in [
            "relu(%x)",
            "clamp(%x) {min: -0.1, max: 0.2}",
            "div(%x, 3.0)",
            "maximum(%x, 0)",
            "add(add(%x, 0.5), 0.25)",
            "select(gt(%x, 0.1), mul(%x, 2), 0.1)",
            "update(%x, relu(slice(%x) {dim: 1, start: -1})) {dim: 1, start: -1}",
            "update(%x, abs(slice(%x) {dim: 1, start: 2, end: 5})) {dim: 1, start: 2, end: 5}",
            "update(%x, neg(slice(%x) {dim: 0, start: 1})) {dim: 0, start: 1}",
            "update(%x, round(mul(slice(%x) {dim: 2, start: 3, end: 20, step: 4}, 8))) {dim: 2, start: 3, end: 20, step: 4}",
        ] {
            let program = checked(&writes(&hook, made), conformance::llama());
            let expected = run(apart, &program);
            for engine in [whole, best] {
                let found = run(engine, &program);
                conformance::program::same_bits(&found, &expected).unwrap_or_else(|error| panic!("{hook}, {made}: {error}"));
                let at_some_positions = made.contains("dim: 1");
                if engine.target().strategy.cone && at_some_positions {
                    // The positions before belong to the forward without the write, whose stage runs as well.
                    assert!(found.report.token_stages <= expected.report.token_stages, "{hook}, {made}");
                } else {
                    let ran = |report: &Report| (report.stages_run, report.token_stages, report.engine_calls);
                    assert_eq!(ran(&found.report), ran(&once), "{hook}, {made}");
                    let twice = (expected.report.stages_run, expected.report.engine_calls);
                    assert_eq!(twice, (once.stages_run + 1, once.engine_calls + 1), "{hook}, {made}");
                }
            }
        }
    }
}

/// Rows of forwards of different lengths that do the same with other values: one batch, one session.
#[test]
fn rows_of_several_forwards_travel_together() {
    let (Some(engine), Some(apart)) = (engine(WHOLE), engine(APART)) else { return };
    let program = |made: [&str; 3]| {
        let mut text = String::from("graph @rows models { m: \"m\" } {\n");
        for (at, (made, ids)) in made.iter().zip(["[[3, 1, 4], [1, 5, 9]]", "[[2, 7, 1, 8, 2]]", "[[1]]"]).enumerate() {
            let hook = "{hook: \"model.layers.0.mlp.output\"}";
            text += &format!(
                "  %f{at} = forward({ids}) {{model: m}}\n  %x{at} = read(%f{at}) {hook}\n  %w{at} = write(%f{at}, {made}) {hook}\n  \
                 save read(%w{at}) {{hook: \"lm_head.output\"}} as \"{at}\"\n"
            );
        }
        checked(&(text + "}"), conformance::llama())
    };
    let part = |at: usize, by: f32| {
        let slice = format!("slice(%x{at}) {{dim: 2, start: 4}}");
        format!("maximum(update(%x{at}, div({slice}, {by:?})) {{dim: 2, start: 4}}, {by:?})")
    };
    let spliced = program([&part(0, 0.5), &part(1, -0.25), &part(2, 3.0)]);
    let found = run(&engine, &spliced);
    conformance::program::same_bits(&found, &run(&apart, &spliced)).unwrap_or_else(|error| panic!("{error}"));
    let plain = run(&engine, &program(["mul(%x0, 2)", "mul(%x1, 3)", "mul(%x2, 4)"])).report;
    assert_eq!((found.report.engine_calls, found.report.token_stages), (plain.engine_calls, plain.token_stages));
}

/// In each step of a generation as well, over the keys and values of what was written before.
#[test]
fn each_step_of_a_generation_runs_its_stages_once() {
    let engines = [Strategy::default(), Strategy { splice: false, ..Strategy::default() }].map(engine);
    let [Some(engine), Some(apart)] = engines else { return };
    let program = |made: &str| {
        let text = r#"graph @generate models { m: "m" } {
  %p = forward([[3, 1, 4, 1]]) {model: m}
  %x = read(%p) {hook: "model.layers.0.mlp.output"}
  %f = write(%p, MADE) {hook: "model.layers.0.mlp.output"}
  %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %r = loop(%f, %t, %t) {trip: 5} (%i, %f: forward<m, 1xT after P>, %t, %all: tensor<1xNxi64>) {
    %g = extend(%f, %t)
    %x = read(%g) {hook: "model.layers.0.mlp.output"}
    %h = write(%g, MADE) {hook: "model.layers.0.mlp.output"}
    %n = argmax(read(%h) {hook: "lm_head.output"}) {dim: -1}
    yield %h, %n, cat(%all, %n) {dim: 1}
  }
  save get(%r) {index: 2} as "tokens"
  save read(get(%r) {index: 0}) {hook: "lm_head.input"} as "last"
}"#;
        checked(&text.replace("MADE", made), conformance::llama())
    };
    let relu = program("relu(%x)");
    let (found, expected) = (run(&engine, &relu), run(&apart, &relu));
    conformance::program::same_bits(&found, &expected).unwrap_or_else(|error| panic!("{error}"));
    let once = run(&engine, &program("mul(%x, 2)")).report;
    let ran = |report: &Report| (report.stages_run, report.engine_calls);
    assert_eq!(ran(&found.report), ran(&once));
    assert_eq!(ran(&expected.report), (once.stages_run + 6, once.engine_calls + 6));
}

/// What others read of the hook, before and after the write.
#[test]
fn others_read_what_they_would() {
    let (Some(engine), Some(apart)) = (engine(Strategy::default()), engine(APART)) else { return };
    let text = r#"graph @reads models { m: "m" } {
  %f = forward([[3, 1, 4, 1, 5, 9, 2, 6]]) {model: m}
  %x = read(%f) {hook: "model.layers.1.mlp.output"}
  %w = write(%f, relu(%x)) {hook: "model.layers.1.mlp.output"}
  %v = write(%w, abs(read(%w) {hook: "model.layers.0.mlp.output"})) {hook: "model.layers.0.mlp.output"}
  save read(%v) {hook: "lm_head.output"} as "logits"
  save read(%v) {hook: "model.layers.1.mlp.output"} as "after"
  save read(%f) {hook: "model.layers.1.mlp.up_proj.output"} as "before"
  save read(%v) {hook: "model.layers.0.mlp.down_proj.output"} as "below"
  save read(%v) {hook: "model.layers.0.output"} as "above"
}"#;
    let program = checked(text, conformance::llama());
    conformance::program::same_bits(&run(&engine, &program), &run(&apart, &program)).unwrap_or_else(|error| panic!("{error}"));
}
