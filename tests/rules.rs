//! Each rule of the optimizer alone: it fires on its witness, and what the program saves stays what it was, bit for bit.
//!
//! A witness takes its values from functions of the host. `any` gives every element a number from a few (0, -0, 1, infinities, no
//! number at all), so that there are ties and traps, or a random one; to rules that round only the latter. `some` gives finite numbers that lie apart, for rules
//! that round. Which of two NaN comes out where they meet is up to the processor's instructions, so their bits are not
//! compared. The operand of a call says which value it is: equal calls would be one. The model `m` is the small llama of the
//! conformance suite.

use std::collections::BTreeSet;

use irc::{
    backends::{Backend, Handles, conformance, host::Functions, reference::Reference},
    ir::{
        attr::Literal,
        eval::Value,
        graph::Graph,
        infer::Models,
        op::Op,
        random::Dice,
        tensor::{Element, Tensor},
        text::{parse, print},
        types::{DType, Dim, Name, TensorType, Type},
        verify::{Verified, verify},
    },
    passes::{
        optimize,
        rule::{Numerics, Options, Rule},
        rules,
    },
};

/// How far a `Rounding` rule may move a number, relative to the largest of its tensor.
const TOLERANCE: f64 = 1e-5;

fn models() -> Models {
    [(Name::from("m"), conformance::llama().spec.clone())].into()
}

fn program(text: &str) -> Verified {
    let graph = parse(text).into_result().unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    verify(graph, &models()).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// A number with a meaning of its own, or a random one.
fn any(dice: &mut Dice) -> f64 {
    match dice.below(12) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => 0.0,
        4 => -0.0,
        5 | 6 => 1.0,
        7 => -2.0,
        8 => 0.5,
        _ => f64::from(dice.float()) * 3.0,
    }
}

fn value(function: &str, ty: &TensorType, numerics: Numerics, dice: &mut Dice) -> Tensor {
    fn tensor<T: Element>(sizes: &[usize], element: impl FnMut(usize) -> T) -> Tensor {
        Tensor::new(sizes, (0..sizes.iter().product()).map(element).collect())
    }
    let sizes: Vec<usize> = ty.shape.iter().filter_map(Dim::as_usize).collect();
    let offset = dice.below(1_000);
    // Neighbours are far from each other, and no two are equal.
    let mut number = |at: usize| match function {
        "some" => ((at * 37 + offset) % 101) as f64 / 20.0 - 2.5,
        // What rounds differently may also overflow differently.
        _ if numerics == Numerics::Rounding => f64::from(dice.float()),
        _ => any(dice),
    };
    match ty.dtype {
        DType::F64 => tensor(&sizes, number),
        DType::F32 => tensor(&sizes, |at| number(at) as f32),
        DType::F16 => tensor(&sizes, |at| half::f16::from_f64(number(at))),
        DType::BF16 => tensor(&sizes, |at| half::bf16::from_f64(number(at))),
        DType::I64 => tensor(&sizes, |_| dice.pick(&[i64::MIN, i64::MAX, -1, 0, 1, 2, 3])),
        DType::I32 => tensor(&sizes, |_| dice.pick(&[i32::MIN, i32::MAX, -1, 0, 1, 2, 3])),
        DType::U8 => tensor(&sizes, |_| dice.pick(&[0u8, 1, 2, 255])),
        DType::Bool => tensor(&sizes, |_| dice.once_in(2)),
    }
}

/// The values that the functions of a witness give, by function and operand.
fn values(graph: &Graph, numerics: Numerics, dice: &mut Dice) -> Vec<(Name, i64, Tensor)> {
    let mut found = vec![];
    for (_, node) in graph.nodes() {
        let Op::Call { name, returns } = &node.op else { continue };
        let Type::Tensor(ty) = &**returns else { continue };
        let Op::Const { value: Literal::Tensor(which) } = &graph.node(node.operands[0]).op else { panic!("which value is a constant") };
        let which = which.to_tensor().values::<i64>().unwrap()[0];
        assert!(found.iter().all(|(_, other, _)| *other != which), "two values are called {which}");
        found.push((name.clone(), which, value(name, ty, numerics, dice)));
    }
    found
}

fn saves(program: &Verified, values: &[(Name, i64, Tensor)]) -> Vec<(Name, Value)> {
    let mut host = Functions::new(|_| {});
    for function in ["any", "some"] {
        let values = values.to_vec();
        host.add(function, move |operands| {
            let which = operands[0].as_tensor().and_then(|which| which.values::<i64>()?.first().copied());
            let found = values.iter().find(|(name, other, _)| **name == *function && Some(*other) == which);
            found.map(|(_, _, tensor)| tensor.clone().into()).ok_or_else(|| "there is no such value".to_owned())
        });
    }
    let handles: Handles = program.models().keys().map(|name| (name.clone(), conformance::llama().clone())).collect();
    Reference.run_for(program, &handles, &mut host).unwrap_or_else(|error| panic!("{error}")).saves
}

fn near(found: &Value, expected: &Value) -> bool {
    if let (Value::Tuple(a), Value::Tuple(b)) = (found, expected) {
        return a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| near(a, b));
    }
    let (Some(a), Some(b)) = (found.as_tensor(), expected.as_tensor()) else { return found == expected };
    if a.ty() != b.ty() {
        return false;
    }
    let (a, b) = (a.to_f64(), b.to_f64());
    let scale = b.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    a.iter().zip(&b).all(|(a, b)| a == b || (a - b).abs() <= TOLERANCE * scale)
}

/// Only this rule is applied.
fn only(rule: &Rule) -> Options {
    let disabled = rules().filter(|other| other.name != rule.name).map(|other| other.name.to_owned()).collect();
    Options { disabled, fast: rule.numerics == Numerics::Rounding, ..Options::default() }
}

#[test]
fn every_rule_fires_and_keeps_what_is_saved() {
    let mut wrong = vec![];
    for rule in rules() {
        let program = program(rule.witness);
        let optimized = optimize(&program, &only(rule)).unwrap_or_else(|errors| panic!("{}: {errors}", rule.name));
        let fired = optimized.record.fired.get(rule.name).copied().unwrap_or(0);
        let others: Vec<_> = optimized.record.fired.keys().filter(|name| **name != rule.name).collect();
        assert_eq!(others, [""; 0].iter().collect::<Vec<_>>(), "{} is to be alone", rule.name);
        let after = print(optimized.program.graph(), None);
        // Each save is another form of it.
        if fired < program.graph().effects.len() as u64 {
            wrong.push(format!("{} fired {fired} times:\n{after}", rule.name));
            continue;
        }
        for seed in 0..32 {
            let values = values(program.graph(), rule.numerics, &mut Dice::new(seed));
            let (before, found) = (saves(&program, &values), saves(&optimized.program, &values));
            let same = |((name, a), (other, b)): (&(Name, Value), &(Name, Value))| {
                name == other && if rule.numerics == Numerics::Exact { a.same_numbers(b) } else { near(b, a) }
            };
            let differs = before.iter().zip(&found).find(|(a, b)| !same((a, b)));
            if let Some(((name, a), (_, b))) = differs {
                wrong.push(format!("{}, seed {seed}: \"{name}\" was {a:?} and is {b:?}:\n{after}", rule.name));
                break;
            }
            assert_eq!(before.len(), found.len(), "{}", rule.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_of_rules_are_theirs() {
    let names: BTreeSet<&str> = rules().map(|rule| rule.name).collect();
    assert_eq!(names.len(), rules().count());
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    assert!(names.iter().all(|name| plain(name)));
    assert!(rules().count() >= 40);
}
