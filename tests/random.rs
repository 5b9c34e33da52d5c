//! Random programs: what is printed reads back, the verifier accepts them, and the engine computes what the reference does.
//!
//! The programs are well typed: forwards of the toy with reads, writes and applied modules, and every operation of the
//! table. The seeds are fixed, so every run is the same.

#[path = "random/generate.rs"]
mod generate;

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use irc::{
    backends::{Backend, Event, Handle, Handles, execute::Driven, reference::Reference, rten::Rten, weights::Weights},
    ir::{
        diagnostic::Source,
        eval::Value,
        graph::{EffectKind, Graph},
        infer::Models,
        model::ModelSpec,
        op::{OpKind, Scope},
        tensor::Tensor,
        text::{parse, print},
        types::{DType, Name},
        verify::{Verified, verify},
    },
    models::induction,
};

use generate::{Dice, program};

fn spec() -> Arc<ModelSpec> {
    Arc::new(induction::spec().unwrap())
}

fn models(spec: &Arc<ModelSpec>) -> Models {
    generate::MODELS.iter().map(|name| (Name::from(*name), spec.clone())).collect()
}

fn handles(spec: &Arc<ModelSpec>, weights: BTreeMap<Name, Tensor>) -> Handles {
    let handle = Handle { spec: spec.clone(), weights: Weights::from_tensors(weights) };
    generate::MODELS.iter().map(|name| (Name::from(*name), handle.clone())).collect()
}

/// A program with the types of its values.
fn verified(seed: u64, graph: Graph, models: &Models) -> Verified {
    verify(graph, models).unwrap_or_else(|errors| panic!("program {seed} is meant to be well typed: {errors}"))
}

#[test]
fn what_is_printed_reads_back() {
    let models = models(&spec());
    for seed in 0..200 {
        let graph = program(seed, &models);
        let types = verified(seed, graph.clone(), &models);
        for text in [print(&graph, None), print(&graph, Some(types.types()))] {
            let again = parse(&text).into_result();
            let again = again.unwrap_or_else(|errors| panic!("program {seed}: {}", errors.render(&Source::new("printed", &*text), false)));
            assert_eq!(again, graph, "program {seed}:\n{text}");
            // Types that were printed are claims, and true ones.
            verified(seed, again, &models);
        }
    }
}

/// Random weights: all of them count, which is not so in the planted circuit.
fn weights(spec: &ModelSpec, dice: &mut Dice) -> BTreeMap<Name, Tensor> {
    let tensor = |decl: &irc::ir::model::WeightDecl| {
        let sizes: Vec<usize> = decl.ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
        let scale = if decl.name.contains("embed") { 1.0 } else { 2.0 / (sizes[0] as f32).sqrt() };
        let values = (0..sizes.iter().product()).map(|_| dice.float() * scale).collect();
        (decl.name.clone(), Tensor::new(sizes, values))
    };
    spec.weights().iter().map(tensor).collect()
}

/// The same weights, each off by at most this much of itself.
fn shaken(weights: &BTreeMap<Name, Tensor>, by: f32, dice: &mut Dice) -> BTreeMap<Name, Tensor> {
    let mut shake = |tensor: &Tensor| {
        let values = tensor.values::<f32>().unwrap().iter().map(|x| x * (1.0 + by * dice.float())).collect();
        Tensor::new(tensor.shape(), values)
    };
    weights.iter().map(|(name, tensor)| (name.clone(), shake(tensor))).collect()
}

/// What a program logs and saves, in one list.
fn run(backend: &dyn Backend, program: &Verified, models: &Handles) -> Result<Vec<Value>, String> {
    let mut values = vec![];
    let mut hear = |Event::Log { value, .. }: Event| values.push(value);
    let outcome = backend.run(program, models, &mut hear).map_err(|error| error.to_string())?;
    values.extend(outcome.saves.into_iter().map(|(_, value)| value));
    Ok(values)
}

/// The tensors of a value.
fn tensors(value: &Value) -> Vec<&Tensor> {
    match value {
        Value::Tensor(tensor) => vec![tensor],
        Value::Tuple(parts) => parts.iter().flat_map(tensors).collect(),
        Value::List { items, .. } => items.iter().flat_map(tensors).collect(),
        Value::Str(_) | Value::Opaque(_) => vec![],
    }
}

/// How much the weights are shaken, to see what hangs on their last digits: a hundred times more than engines differ.
const SHAKE: f32 = 1e-4;

/// What of a tensor can be compared: the largest difference that is allowed, or nothing where a discrete choice (an argmax, a
/// comparison) is so close that shaken weights make it otherwise.
fn tolerance(found: &Tensor, shaken: &[&Tensor]) -> Option<f64> {
    let values = found.to_f64();
    if !found.dtype().is_float() {
        return shaken.iter().all(|other| other.to_f64() == values).then_some(0.0);
    }
    let finite = |x: &f64| x.is_finite();
    let largest = values.iter().copied().filter(finite).fold(0.0, |most: f64, x| most.max(x.abs()));
    let mut moved: f64 = 0.0;
    for other in shaken {
        for (x, y) in values.iter().zip(other.to_f64()) {
            if x.is_finite() != y.is_finite() {
                return None;
            }
            moved = moved.max(if x.is_finite() { (x - y).abs() } else { 0.0 });
        }
    }
    // Something discrete lies before it, or it is a difference of large numbers.
    if moved > 0.05 * largest {
        return None;
    }
    // Narrow floats may be rounded to the neighbour.
    let unit = match found.dtype() {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => 1e-5,
    };
    Some(if moved == 0.0 { 0.0 } else { 0.2 * moved + unit * largest })
}

fn within(a: &Tensor, b: &Tensor, tolerance: f64) -> bool {
    let near = |(x, y): (f64, f64)| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance;
    a.ty() == b.ty() && a.to_f64().into_iter().zip(b.to_f64()).all(near)
}

#[test]
fn the_engine_computes_what_the_reference_does() {
    let spec = spec();
    let models = models(&spec);
    let mut dice = Dice::new(7);
    let random = weights(&spec, &mut dice);
    let exact = handles(&spec, random.clone());
    let shaken: Vec<Handles> = (0..3).map(|_| handles(&spec, shaken(&random, SHAKE, &mut dice))).collect();
    let engine = Driven::new(Rten::new(Some(1)));
    let (mut compared, mut left, mut seen) = (0, 0, BTreeSet::new());
    for seed in 0..120 {
        let program = verified(seed, program(seed, &models), &models);
        let text = || print(program.graph(), Some(program.types()));
        let live = program.graph().live();
        seen.extend(program.graph().nodes().filter(|(id, _)| live[id.index()]).map(|(_, node)| node.op.kind()));
        let expected = run(&Reference, &program, &exact).unwrap_or_else(|error| panic!("program {seed}: {error}\n{}", text()));
        let found = run(&engine, &program, &exact).unwrap_or_else(|error| panic!("program {seed} on the engine: {error}\n{}", text()));
        let others: Vec<Vec<Value>> = shaken.iter().map(|handles| run(&Reference, &program, handles).unwrap()).collect();
        let effects = &program.graph().effects;
        let logs = effects.iter().filter(|effect| matches!(effect.kind, EffectKind::Log { .. }));
        let saves = effects.iter().filter(|effect| matches!(effect.kind, EffectKind::Save { .. }));
        let asked: Vec<_> = logs.chain(saves).collect();
        assert_eq!((expected.len(), found.len()), (asked.len(), asked.len()), "program {seed}");
        for (at, effect) in asked.into_iter().enumerate() {
            assert_eq!(
                expected[at].ty(),
                *program.ty(effect.operands[0]),
                "program {seed}: {:?} has another type\n{}",
                effect.operands[0],
                text()
            );
            assert_eq!(
                found[at].ty(),
                *program.ty(effect.operands[0]),
                "program {seed}: {:?} has another type\n{}",
                effect.operands[0],
                text()
            );
            for (part, (a, b)) in tensors(&expected[at]).into_iter().zip(tensors(&found[at])).enumerate() {
                let others: Vec<&Tensor> = others.iter().map(|values| tensors(&values[at])[part]).collect();
                let Some(tolerance) = tolerance(a, &others) else {
                    left += 1;
                    continue;
                };
                compared += 1;
                assert!(within(a, b, tolerance), "program {seed}, {:?}: {b:?} is not {a:?} +- {tolerance:e}\n{}", effect.kind, text());
            }
        }
    }
    // Otherwise the test shows less than it says.
    assert!(compared > 10 * left && compared > 400, "{compared} tensors were compared, {left} hang on the last digits");
    let programs = OpKind::ALL.iter().filter(|kind| kind.scope() != Scope::Model);
    let unseen: Vec<&str> = programs.filter(|kind| !seen.contains(kind)).map(|kind| kind.name()).collect();
    assert_eq!(unseen, [""; 0], "no program uses these operations");
}

/// Reads never perturb: what is saved beside a value changes no bit of it.
#[test]
fn other_saves_change_nothing() {
    let spec = spec();
    let models = models(&spec);
    let handles = handles(&spec, weights(&spec, &mut Dice::new(7)));
    let engine = Driven::new(Rten::new(Some(1)));
    for seed in 0..30 {
        let graph = program(seed, &models);
        let whole = run(&engine, &verified(seed, graph.clone(), &models), &handles).unwrap();
        let logs = graph.effects.iter().filter(|effect| matches!(effect.kind, EffectKind::Log { .. })).count();
        for at in (0..graph.effects.len()).step_by(3) {
            let mut part = graph.clone();
            let effect = part.effects.remove(at);
            part.effects = vec![effect.clone()];
            let alone = run(&engine, &verified(seed, part, &models), &handles).unwrap();
            let is_log = |effect: &irc::ir::graph::Effect| matches!(effect.kind, EffectKind::Log { .. });
            let same_kind = graph.effects[..at].iter().filter(|other| is_log(other) == is_log(&effect)).count();
            let place = if is_log(&effect) { same_kind } else { logs + same_kind };
            assert!(alone[0].same_bits(&whole[place]), "program {seed}: {:?} alone is another value", effect.kind);
        }
    }
}
