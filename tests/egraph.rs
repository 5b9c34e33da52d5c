//! The rules of the e-graph, each alone on its witness: it applies there, and the value stays what it is.

use std::collections::BTreeMap;

use irc::{
    backends::{Backend, Handles, host::Functions, reference::Reference},
    ir::{
        attr::Literal,
        eval::Value,
        graph::{Graph, NodeId},
        infer::Models,
        op::Op,
        random::Dice,
        tensor::Tensor,
        text::{parse, print},
        types::{DType, Type},
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
        Op::Call { returns, .. } => Some((number(node.operands[0]), returns.clone())),
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

/// The same bits. Where two values meet that are no numbers, which of them comes out is up to the processor.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Tuple(a), Value::Tuple(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)),
        (Value::Tensor(a), Value::Tensor(b)) => {
            let bits = |tensor: &Tensor| tensor.to_f64().iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() }).collect::<Vec<_>>();
            a.same_bits(b) || a.dtype().is_float() && a.ty() == b.ty() && bits(a) == bits(b)
        }
        _ => a.same_bits(b),
    }
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

#[test]
fn each_rule_keeps_the_value_of_its_witness() {
    let mut count = 0;
    for rule in egraph::rules() {
        let witness = parse(rule.witness).into_result().unwrap_or_else(|errors| panic!("{}: {errors}", rule.name));
        let before = verified(witness);
        let options = only(rule);
        let mut work = Rewriting::new(&options);
        let after = verified(egraph::run(&before, &mut work));
        assert!(work.record.fired.contains_key(rule.name), "{} does not apply to its witness:\n{}", rule.name, print(before.graph(), None));
        assert!(work.record.limits.is_empty(), "{}: {:?}", rule.name, work.record.limits);
        assert!(work.record.proofs.iter().any(|proof| proof.steps.iter().any(|step| step.ends_with(rule.name))), "{}", rule.name);
        assert_ne!(before.graph(), after.graph(), "{}", rule.name);
        // Also of values that nobody asks for any more.
        let types = arguments(&before);
        for seed in 0..32 {
            let nasty = seed % 2 == 1 && rule.numerics == Numerics::Exact;
            let (expected, found) = (run(&before, &types, seed, nasty), run(&after, &types, seed, nasty));
            let equal = |(a, b): (&Value, &Value)| match rule.numerics {
                Numerics::Exact => same(a, b),
                Numerics::Rounding => close(a, b),
            };
            let all = expected.len() == found.len() && expected.iter().zip(&found).all(equal);
            assert!(all, "{}, seed {seed}:\n{}\n{expected:?}\n{found:?}", rule.name, print(after.graph(), None));
        }
        count += 1;
    }
    assert!(count > 40, "{count} rules");
}
