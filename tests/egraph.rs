//! The rules of the e-graph, each alone on its witness: it applies there, and the value stays what it is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use irc::{
    backends::{Backend, Event, Handles, conformance, host::Functions, reference::Reference},
    ir::{
        attr::Literal,
        diagnostic::Span,
        eval::Value,
        graph::{Effect, EffectKind, Graph, NodeId},
        infer::{Models, infer},
        op::Op,
        random::{self, Config, Dice, program},
        tensor::Tensor,
        text::{parse, print},
        types::{DType, Dim, Name, TensorType, Type},
        verify::{Verified, verify},
    },
    passes::{
        egraph,
        rule::{Numerics, Options, Rewriting, Rule},
    },
};

fn verified(graph: Graph) -> Verified {
    let text = print(&graph, None);
    verify(graph, &Models::new()).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// Options under which only one rule applies.
fn only(rule: &Rule) -> Options {
    let disabled = egraph::rules().map(|other| other.name.to_owned()).filter(|name| name != rule.name).collect();
    Options { disabled, fast: true, proofs: true, ..Options::default() }
}

/// The types of what the function `any` returns, by its operand.
fn arguments(program: &Verified) -> BTreeMap<i64, Type> {
    let graph = program.graph();
    let number = |id: NodeId| match &graph.node(id).op {
        Op::Const { value: Literal::Tensor(tensor) } => tensor.to_tensor().to_f64()[0] as i64,
        other => panic!("{other:?} is no number"),
    };
    let calls = graph.nodes().filter_map(|(_, node)| match &node.op {
        Op::Call { returns, .. } => Some((number(node.operands[0]), Type::clone(returns))),
        _ => None,
    });
    calls.collect()
}

/// A tensor of a type; `nasty` ones have numbers in them that are none, that are too large, or that are zero with a sign.
fn any(ty: &Type, dice: &mut Dice, nasty: bool) -> Tensor {
    let ty = ty.as_tensor().expect("`any` returns tensors");
    let shape: Vec<usize> = ty.shape.iter().map(|dim| dim.as_usize().expect("sizes are numbers")).collect();
    let count = shape.iter().product::<usize>();
    const NASTY: [f32; 9] = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0, -1.0, 1e-40, f32::MAX];
    let mut float = || if nasty && dice.once_in(12) { dice.pick(&NASTY) } else { dice.float() };
    match ty.dtype {
        DType::F32 => Tensor::new(shape, (0..count).map(|_| float()).collect::<Vec<f32>>()),
        DType::F16 => Tensor::new(shape, (0..count).map(|_| half::f16::from_f32(float())).collect::<Vec<_>>()),
        DType::I64 => Tensor::new(shape, (0..count).map(|_| (float() * 1e19) as i64).collect::<Vec<_>>()),
        other => panic!("no witness needs {other}"),
    }
}

fn run(program: &Verified, types: &BTreeMap<i64, Type>, seed: u64, nasty: bool) -> Vec<Value> {
    let types = types.clone();
    let mut host = Functions::new(|_| {});
    host.add("any", move |operands| {
        let number = operands[0].as_tensor().map_or(0, |tensor| tensor.to_f64()[0] as i64);
        Ok(any(&types[&number], &mut Dice::new(seed * 100 + number as u64), nasty).into())
    });
    let outcome = Reference.run_for(program, &Handles::new(), &mut host).unwrap_or_else(|error| panic!("{error}"));
    outcome.saves.into_iter().map(|(_, value)| value).collect()
}

/// Equal but for 1e-5 of the largest element.
fn close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Tuple(a), Value::Tuple(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| close(a, b)),
        (Value::Tensor(a), Value::Tensor(b)) => {
            let (x, y) = (a.to_f64(), b.to_f64());
            let largest = x.iter().fold(0f64, |largest, x| largest.max(x.abs()));
            a.ty() == b.ty() && x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= 1e-5 * largest)
        }
        _ => false,
    }
}

/// What is wrong with a rule on a program to which it should apply, or not.
fn check(rule: &Rule, program: &str, applies: bool) -> Result<(), String> {
    let before = verified(parse(program).into_result().map_err(|errors| errors.to_string())?);
    let options = only(rule);
    let mut work = Rewriting::new(&options);
    let after = verified(egraph::run(&before, &mut work));
    let record = work.record;
    if applies != record.fired.contains_key(rule.name) || applies == (before.graph() == after.graph()) {
        return Err(format!("applied: {}\n{}", !applies, print(before.graph(), None)));
    }
    let proven = record.proofs.iter().any(|proof| proof.steps.iter().any(|step| step.ends_with(rule.name)));
    if !record.limits.is_empty() || proven != applies {
        return Err(format!("{record:?}"));
    }
    let types = arguments(&before);
    for seed in 0..32 {
        let nasty = seed % 2 == 1 && rule.numerics == Numerics::Exact;
        let (expected, found) = (run(&before, &types, seed, nasty), run(&after, &types, seed, nasty));
        let equal = |(a, b): (&Value, &Value)| match rule.numerics {
            Numerics::Exact => a.same_numbers(b),
            Numerics::Rounding => close(a, b),
        };
        if expected.len() != found.len() || !expected.iter().zip(&found).all(equal) {
            return Err(format!("seed {seed}: {expected:?} becomes {found:?} in\n{}", print(after.graph(), None)));
        }
    }
    Ok(())
}

#[test]
fn each_rule_keeps_the_value_of_its_witness() {
    let wrong: Vec<String> =
        egraph::rules().filter_map(|rule| check(rule, rule.witness, true).err().map(|error| format!("{}: {error}", rule.name))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(egraph::rules().count() >= 40, "the rules are there");
}

/// More programs for some rules: (the rule, whether it applies, tensors that are given, a value made of them).
const CASES: [(&str, bool, &[&str], &str); 16] = [
    // All places that a factor can have.
    ("common-factor-of-integers", true, &["4x6xi64"; 3], "add(mul(%1, %0), mul(%0, %2))"),
    ("common-factor-of-integers", true, &["4x6xi64"; 3], "add(mul(%1, %0), mul(%2, %0))"),
    ("common-factor-of-integers", true, &["4x6xi64"; 3], "add(mul(%0, %1), mul(%0, %2))"),
    ("common-factor-of-integers", false, &["4x6xf32"; 3], "add(mul(%0, %1), mul(%0, %2))"),
    ("common-factor", true, &["4x6xf32"; 3], "add(mul(%1, %0), mul(%0, %2))"),
    // Slices that are not what is before and after, and values of another size.
    ("cat-as-update", false, &["9x6xf32", "1x6xf32"], "cat(slice(%0) {dim: 0, end: 3}, %1, slice(%0) {dim: 0, start: 5}) {dim: 0}"),
    (
        "cat-as-update",
        false,
        &["9x6xf32", "2x6xf32"],
        "cat(slice(%0) {dim: 0, start: 1, end: 3}, %1, slice(%0) {dim: 0, start: 5}) {dim: 0}",
    ),
    ("cat-as-update", false, &["9x6xf32", "2x6xf32"], "cat(slice(%0) {dim: 0, end: 3}, %1, slice(%0) {dim: 0, start: 5, end: 8}) {dim: 0}"),
    (
        "cat-as-update",
        false,
        &["9x6xf32", "6x6xf32"],
        "cat(slice(%0) {dim: 0, end: 3, step: 2}, %1, slice(%0) {dim: 0, start: 8}) {dim: 0}",
    ),
    ("cat-as-update-of-end", false, &["9x6xf32", "3x6xf32"], "cat(slice(%0) {dim: 0, end: -2}, %1) {dim: 0}"),
    // A value that is broadcast.
    ("update-as-cat", false, &["40x80xf32", "80x60xf32", "1x60xf32"], "update(matmul(%0, %1), %2) {dim: 0, start: 1}"),
    // What rolls over the end of a row rolls differently in rows of another length.
    ("binary-of-moves", false, &["4x1xf32", "4x4xf32"], "add(roll(%0) {shifts: [1]}, roll(%1) {shifts: [1]})"),
    ("binary-of-move-and-number", false, &["1x6xf32", "6xf32"], "div(expand(%0) {shape: [5, 6]}, %1)"),
    // A mean over the columns, too.
    ("mean-of-product", false, &["10x20xf32", "20x30xf32"], "mean(matmul(%0, %1)) {dims: [0, 1]}"),
    ("mean-of-product", false, &["10x20xf32", "20x30xf32"], "mean(matmul(%0, %1))"),
    // The product of a matrix and a vector has no rows after it.
    ("transpose-of-matmul", false, &["2x3x30xf32", "30xf32"], "transpose(matmul(%0, %1)) {dim0: 0, dim1: 1}"),
];

#[test]
fn rules_keep_to_their_conditions() {
    for (name, applies, given, value) in CASES {
        let rule = egraph::rules().find(|rule| rule.name == name).unwrap_or_else(|| panic!("there is no rule {name}"));
        let values = (0..).zip(given).map(|(at, ty)| format!("%{at} = call({at}) {{name: \"any\", returns: tensor<{ty}>}}\n"));
        let program = format!("graph @case {{\n{}save {value} as \"r\"\n}}", values.collect::<String>());
        check(rule, &program, applies).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// What a program shows and saves, by itself.
fn shown(program: &Verified, handles: &Handles) -> Vec<(String, Value)> {
    let events = Arc::new(Mutex::new(vec![]));
    let log = events.clone();
    let mut host = Functions::new(move |event: Event| log.lock().unwrap().push((format!("{:?}", event.label()), event.value().clone())));
    for (effects, names) in random::FUNCTIONS.iter().enumerate() {
        for name in *names {
            let events = events.clone();
            host.add(name, move |operands| {
                let told = operands.iter().map(|value| (name.to_string(), value.clone()));
                if effects == 1 {
                    events.lock().unwrap().extend(told);
                }
                random::call(name, operands)
            });
        }
    }
    let outcome = Reference.run_for(program, handles, &mut host).unwrap_or_else(|error| panic!("{error}"));
    drop(host);
    let events = std::mem::take(&mut *events.lock().unwrap());
    events.into_iter().chain(outcome.saves.into_iter().map(|(name, value)| (name.to_string(), value))).collect()
}

/// Random programs, loops and all, with the exact rules alone: some change, and none shows anything else.
#[test]
fn random_programs_keep_their_values() {
    let handles: Handles =
        [("m", conformance::llama()), ("odd", conformance::odd())].map(|(name, handle)| (Name::from(name), handle.clone())).into();
    let models: Models = handles.iter().map(|(name, handle)| (name.clone(), handle.spec.clone())).collect();
    let options = Options { proofs: true, ..Options::default() };
    let mut fired = BTreeMap::new();
    for seed in 0..PROGRAMS {
        let before = verify(program(seed, &models, &Config::default()), &models).unwrap();
        let mut work = Rewriting::new(&options);
        let after = egraph::run(&before, &mut work);
        if work.record.fired.is_empty() {
            continue;
        }
        let text = print(&after, None);
        let after = verify(after, &models).unwrap_or_else(|errors| panic!("program {seed}: {errors}\n{text}"));
        work.record.fired.into_iter().for_each(|(rule, times)| *fired.entry(rule).or_insert(0) += times);
        let (expected, found) = (shown(&before, &handles), shown(&after, &handles));
        let alike = |((a, x), (b, y)): (&(String, Value), &(String, Value))| {
            a == b && (x.same_numbers(y) || matches!((x, y), (Value::Opaque(_), Value::Opaque(_))))
        };
        assert!(
            expected.len() == found.len() && expected.iter().zip(&found).all(alike),
            "program {seed}:\n{}\n{text}",
            print(before.graph(), None)
        );
    }
    assert!(fired.len() > 4, "{fired:?}");
}

/// How many random programs are looked at.
const PROGRAMS: u64 = 2_000;

/// A random value of small matrices by the operations that the rules are about, some of it used twice.
fn matrices(seed: u64) -> Verified {
    let mut dice = Dice::new(seed);
    let (mut graph, mut types) = (Graph::new("matrices"), Vec::<Type>::new());
    let mut add = |graph: &mut Graph, op: Op, operands: &[NodeId]| {
        // The ids of `index_select` are there in dimensions of two or more.
        let empty = |id: &NodeId| types[id.index()].as_tensor().is_some_and(|ty: &TensorType| ty.shape.contains(&Dim::known(1)));
        if matches!(op, Op::IndexSelect { .. }) && empty(&operands[0]) {
            return None;
        }
        let of: Vec<&Type> = operands.iter().map(|id| &types[id.index()]).collect();
        let ty = infer(&op, &of, &Models::new()).ok()?;
        let size = ty.as_tensor()?.shape.iter().try_fold(1, |size, dim| Some(size * dim.as_usize()?))?;
        (size > 0 && size <= 200).then(|| {
            types.push(ty);
            graph.add(op, operands.iter().copied(), Span::None)
        })
    };
    let mut values = vec![];
    for (at, shape) in [[4, 4], [4, 4], [4, 6], [6, 4]].into_iter().enumerate() {
        let number = add(&mut graph, Op::Const { value: Literal::from(&Tensor::scalar(at as i64)) }, &[]).unwrap();
        let returns = Type::tensor(if at == 1 { DType::F16 } else { DType::F32 }, shape.map(Dim::from));
        values.push(add(&mut graph, Op::Call { name: "any".into(), returns: Box::new(returns) }, &[number]).unwrap());
    }
    values.push(add(&mut graph, Op::Const { value: Literal::from(&Tensor::scalar(0.7f32)) }, &[]).unwrap());
    let ids = Tensor::new([3], vec![0i64, 1, 1]);
    let ids = add(&mut graph, Op::Const { value: Literal::from(&ids) }, &[]).unwrap();
    for _ in 0..40 {
        // Most operations are on what was made last, so that they stand on each other.
        let pick = |dice: &mut Dice| {
            let from = if dice.once_in(3) { 0 } else { values.len().saturating_sub(5) };
            values[from + dice.below(values.len() - from)]
        };
        let [a, b, c] = [pick(&mut dice), pick(&mut dice), pick(&mut dice)];
        let dim = dice.between(-2, 1);
        let shape = |sizes: &[i64]| sizes.iter().copied().map(Dim::known).collect();
        let (start, end) = (Some(dice.between(-3, 2)), Some(dice.between(1, 5)));
        let (op, operands) = match dice.below(26) {
            0..4 => (Op::Matmul {}, vec![a, b]),
            4..6 => (Op::Transpose { dim0: 0, dim1: 1 }, vec![a]),
            6 => (Op::Permute { dims: vec![1, 0] }, vec![a]),
            7 => (Op::Reshape { shape: dice.pick(&[shape(&[-1]), shape(&[-1, 4]), shape(&[2, 2, -1])]) }, vec![a]),
            8 => (Op::Flatten { start: 0, end: -1 }, vec![a]),
            9 => (Op::Expand { shape: shape(&[2, -1, -1]) }, vec![a]),
            10 => (Op::Gelu { approximate: "none".into() }, vec![a]),
            11 => (Op::Cast { dtype: dice.pick(&[DType::F32, DType::F16, DType::I64]) }, vec![a]),
            12 => (Op::Add {}, vec![a, b]),
            13 => (Op::Mul {}, vec![a, b]),
            14 => (Op::Mul {}, vec![values[4], a]),
            15 => (Op::Slice { dim, start, end, step: 1 }, vec![a]),
            16 => (Op::Slice { dim, start, end: None, step: 2 }, vec![a]),
            17 => (Op::Cat { dim }, vec![a, b]),
            18 => (Op::Cat { dim }, vec![a, b, c]),
            19 => (Op::Update { dim, start, end, step: 1 }, vec![a, b]),
            20 => (Op::Gt {}, vec![a, b]),
            21 => (Op::Select {}, vec![a, b, c]),
            22 => (Op::IndexSelect { dim }, vec![a, ids]),
            23 => (Op::Softmax { dim }, vec![a]),
            24 => (Op::Einsum { equation: dice.pick(&["ij,jk->ki", "ij,kj->ik", "bij,bjk->bik"]).into() }, vec![a, b]),
            _ => (Op::Stack { dim: dim.max(0) }, vec![a, b]),
        };
        values.extend(add(&mut graph, op, &operands));
    }
    let last = values.split_off(values.len() - 3);
    let result = graph.add(Op::Tuple {}, last, Span::None);
    graph.effects.push(Effect::new(EffectKind::Save { name: "r".into() }, [result], Span::None));
    verified(graph)
}

/// Each exact rule meets the others in many places, with numbers that are none among the values.
#[test]
fn random_matrices_keep_their_bits() {
    let mut fired = BTreeMap::new();
    for seed in 0..MATRICES {
        let before = matrices(seed);
        let options = Options { proofs: true, ..Options::default() };
        let mut work = Rewriting::new(&options);
        let after = verified(egraph::run(&before, &mut work));
        work.record.fired.into_iter().for_each(|(rule, times)| *fired.entry(rule).or_insert(0) += times);
        let types = arguments(&before);
        for nasty in [false, true] {
            let (expected, found) = (run(&before, &types, seed, nasty), run(&after, &types, seed, nasty));
            let all = expected.iter().zip(&found).all(|(a, b)| a.same_numbers(b));
            assert!(all, "program {seed}:\n{}\n{}", print(before.graph(), None), print(after.graph(), None));
        }
    }
    let exact = egraph::rules().filter(|rule| rule.numerics == Numerics::Exact).count();
    assert!(fired.len() * 10 >= exact * 7, "{} of {exact} exact rules: {fired:?}", fired.len());
}

/// How many random values of matrices are looked at.
const MATRICES: u64 = 1_000;

/// Products with something to find, in cones of their own.
fn products(count: usize) -> Verified {
    let mut graph = Graph::new("products");
    let given = |graph: &mut Graph, number: usize| {
        let number = graph.add(Op::Const { value: Literal::from(&Tensor::scalar(number as i64)) }, [], Span::None);
        graph.add(Op::Call { name: "any".into(), returns: Box::new(Type::tensor(DType::F32, [8, 8].map(Dim::from))) }, [number], Span::None)
    };
    for at in 0..count {
        let (a, b) = (given(&mut graph, 2 * at), given(&mut graph, 2 * at + 1));
        let [a, b] = [a, b].map(|x| graph.add(Op::Transpose { dim0: 0, dim1: 1 }, [x], Span::None));
        let product = graph.add(Op::Matmul {}, [a, b], Span::None);
        let rows = graph.add(Op::Slice { dim: 0, start: Some(at as i64 % 8), end: None, step: 1 }, [product], Span::None);
        let rows = graph.add(Op::Gelu { approximate: "none".into() }, [rows], Span::None);
        graph.effects.push(Effect::new(EffectKind::Save { name: format!("r{at}").into() }, [rows], Span::None));
    }
    verified(graph)
}

/// One value, at the end of a chain.
fn chain(length: usize) -> Verified {
    let mut graph = Graph::new("chain");
    let number = graph.add(Op::Const { value: Literal::from(&Tensor::scalar(0i64)) }, [], Span::None);
    let mut x = graph.add(
        Op::Call { name: "any".into(), returns: Box::new(Type::tensor(DType::F32, [8, 8].map(Dim::from))) },
        [number],
        Span::None,
    );
    for at in 0..length {
        let op = match at % 50 {
            0 => Op::Transpose { dim0: 0, dim1: 1 },
            at if at % 2 == 0 => Op::Relu {},
            _ => Op::Tanh {},
        };
        x = graph.add(op, [x], Span::None);
    }
    graph.effects.push(Effect::new(EffectKind::Save { name: "r".into() }, [x], Span::None));
    verified(graph)
}

/// What was counted while a program was optimized.
fn counters(program: &Verified) -> BTreeMap<&'static str, u64> {
    let options = Options::default();
    let mut work = Rewriting::new(&options);
    let after = egraph::run(program, &mut work);
    assert!(after.len() <= program.graph().len());
    work.record.counters
}

#[test]
fn the_work_grows_with_the_program() {
    for (small, large) in [(products(100), products(1_000)), (chain(4_000), chain(20_000))] {
        let (few, many) = (counters(&small), counters(&large));
        let times = large.graph().len() as f64 / small.graph().len() as f64;
        for (what, count) in &many {
            assert!((*count as f64) < few[what] as f64 * times * 1.3, "{what}: {} become {count}", few[what]);
        }
    }
}

#[test]
fn where_no_rule_fits_there_is_no_e_graph() {
    let text = r#"graph @plain {
      %x = call(0) {name: "any", returns: tensor<4x6xf32>}
      %h = index(slice(%x) {dim: 0, start: 1}) {dim: 0, index: 0}
      save argmax(softmax(mul(%h, 2.0)) {dim: -1}) {dim: -1} as "r"
    }"#;
    let counted = counters(&verified(parse(text).into_result().unwrap()));
    assert_eq!(counted.get("e-graphs"), None, "{counted:?}");
}

const CHAIN: &str = r#"graph @chain {
  %a = call(0) {name: "any", returns: tensor<1x576xf32>}
  %b = call(1) {name: "any", returns: tensor<576x64xf32>}
  %c = call(2) {name: "any", returns: tensor<64x576xf32>}
  %w = matmul(%b, %c)
  %d = call(3) {name: "any", returns: tensor<1x576xf32>}
  %h = add(transpose(%a) {dim0: 0, dim1: 1}, transpose(%d) {dim0: 0, dim1: 1})
  save matmul(transpose(%h) {dim0: 0, dim1: 1}, %w) as "r"
}"#;

#[test]
fn what_happens_is_recorded() {
    let program = verified(parse(CHAIN).into_result().unwrap());
    let run = |options: &Options| {
        let mut work = Rewriting::new(options);
        let graph = egraph::run(&program, &mut work);
        (graph, work.record)
    };

    // By default nothing is rounded otherwise; but the user hears of it.
    let options = Options { proofs: true, ..Options::default() };
    let (exact, record) = run(&options);
    assert_eq!(record.fired.keys().copied().collect::<Vec<_>>(), ["binary-of-moves", "permutes-compose"]);
    let steps: Vec<&str> = record.proofs.iter().flat_map(|proof| proof.steps.iter().map(String::as_str)).collect();
    assert_eq!(
        steps,
        [
            "add(transpose(%a) {dim0: 0, dim1: 1}, transpose(%d) {dim0: 0, dim1: 1}) => transpose(add(%a, %d)) {dim0: 0, dim1: 1}   binary-of-moves",
            "transpose(transpose(add(%a, %d)) {dim0: 0, dim1: 1}) {dim0: 0, dim1: 1} => add(%a, %d)   permutes-compose",
        ]
    );
    let missed: Vec<(&str, &str)> = record.missed.iter().map(|miss| (miss.rule, miss.why_not.as_deref().unwrap_or(""))).collect();
    assert_eq!(
        missed,
        [(
            "matmul-associates-left",
            "it would save 99 % of the arithmetic and bytes of this value, but rounds differently: `--fast` allows it"
        )]
    );
    let names = |graph: &Graph| graph.nodes().filter_map(|(id, _)| graph.label(id).map(|label| label.to_string())).collect::<Vec<_>>();
    assert_eq!(names(&exact), ["a", "b", "c", "d", "w"]);

    let (fast, record) = run(&Options { fast: true, ..options.clone() });
    assert!(record.fired.contains_key("matmul-associates-left") && record.missed.is_empty(), "{record:?}");
    assert!(!print(&fast, None).contains("%w"), "{}", print(&fast, None));

    // Without a rule, or without any.
    let without = Options { disabled: ["binary-of-moves".to_owned()].into(), ..options.clone() };
    assert_eq!(run(&without).1.fired.len(), 0);
    let (same, record) = run(&Options { fuel: Some(0), ..options.clone() });
    assert_eq!((record.fired.len(), same.len()), (0, program.graph().len()));

    // With fuel for all but the last step, the step that is missing is known.
    let (graph, record) = run(&Options { fuel: Some(1), ..options });
    assert_eq!(record.limits, ["the fuel is spent: no rule fires after `binary-of-moves`"]);
    assert_ne!(graph, exact);
}

/// A value that is too large is taken apart, and the user is told.
#[test]
fn limits_are_said() {
    let options = Options::default();
    let mut work = Rewriting::new(&options);
    let program = chain(9_000);
    let after = verified(egraph::run(&program, &mut work));
    assert!(work.record.limits.iter().any(|limit| limit.starts_with("values of more than 4000 operations")), "{:?}", work.record.limits);
    let types = arguments(&program);
    assert!(run(&program, &types, 0, false).iter().zip(&run(&after, &types, 0, false)).all(|(a, b)| a.same_numbers(b)));
    let again = egraph::run(&program, &mut Rewriting::new(&options));
    assert_eq!(print(after.graph(), None), print(&again, None), "the same program gives the same text");
}
