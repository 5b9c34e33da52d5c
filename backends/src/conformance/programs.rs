//! Random programs against the reference.

use std::sync::{Arc, Mutex, PoisonError};

use irc_ir::{
    attr::Literal,
    diagnostic::Diagnostic,
    eval::Value,
    graph::{EffectKind, NodeId},
    infer::Models,
    op::Op,
    random::{self, Config, Dice, FUNCTIONS},
    tensor::Tensor,
    text::print,
    types::{DType, Name},
    verify::{Verified, verify},
};

use super::{
    Case, Checker, Suite,
    models::{all, shaken},
};
use crate::{Backend, Event, Handles, Outcome, failed, host::Functions, reference::Reference};

/// How much the weights are shaken, to see what hangs on their last digits: a hundred times more than engines differ.
const SHAKE: f32 = 1e-4;

pub(super) fn check(checker: &mut Checker<'_>, suite: &Suite) {
    compare_all(checker, suite.programs);
    let exact = handles();
    let models: Models = exact.iter().map(|(name, handle)| (name.clone(), handle.spec.clone())).collect();
    checker.section("programs with other effects");
    for seed in 0..suite.programs / 4 {
        let graph = random::program(seed, &models, &Config::plain());
        let program = verify(graph, &models).unwrap_or_else(|errors| panic!("random program {seed} is wrong: {errors}"));
        checker.case(&format!("program {seed}"), |backend| one_effect_at_a_time(backend, &program, &models, &exact));
    }
}

/// Random programs of both kinds against the oracle.
pub(super) fn compare_all(checker: &mut Checker<'_>, programs: u64) {
    let exact = handles();
    let models: Models = exact.iter().map(|(name, handle)| (name.clone(), handle.spec.clone())).collect();
    let mut dice = Dice::new(7);
    let shaken: Vec<Handles> = (0..3).map(|_| shaken_handles(&mut dice)).collect();
    let oracle = checker.oracle;
    for (section, config) in [("random programs", Config::plain()), ("random programs of all kinds", Config::default())] {
        checker.section(section);
        for seed in 0..programs {
            let graph = random::program(seed, &models, &config);
            let program = verify(graph, &models).unwrap_or_else(|errors| panic!("random program {seed} is wrong: {errors}"));
            checker.case(&format!("program {seed}"), |backend| compare(backend, oracle, &program, &exact, &shaken));
        }
    }
}

/// Both models by their names, and one of them under a second name: the names that random programs use.
fn handles() -> Handles {
    let named = all().map(|(name, handle, _)| (Name::from(name), handle.clone()));
    named.into_iter().chain([("a second llama".into(), all()[0].1.clone())]).collect()
}

fn shaken_handles(dice: &mut Dice) -> Handles {
    let [llama, odd] = [0, 1].map(|at| shaken(all()[at].1, 1 + at as u64, SHAKE, dice));
    [("llama".into(), llama.clone()), ("odd".into(), odd), ("a second llama".into(), llama)].into()
}

/// All that a program shows the user, in order, then what it saved.
struct Shown {
    /// What it is: a log, or a call of a function with effects.
    events: Vec<(String, Vec<Value>)>,
    outcome: Outcome,
}

impl Shown {
    /// The values under what they are.
    fn values(&self) -> Vec<(String, &Value)> {
        let events = self.events.iter().flat_map(|(what, values)| values.iter().map(move |value| (what.clone(), value)));
        events.chain(self.outcome.saves.iter().map(|(name, value)| (format!("save {name}"), value))).collect()
    }

    /// What is the same wherever no condition comes out otherwise: what is shown, with its types, and how it ends.
    fn form(&self) -> String {
        let values: Vec<_> = self.values().into_iter().map(|(what, value)| (what, value.ty())).collect();
        format!("{values:?}, stopped: {:?}", self.outcome.stopped.as_ref().map(|stopped| &stopped.reason))
    }
}

fn run(backend: &dyn Backend, program: &Verified, models: &Handles) -> Result<Shown, Diagnostic> {
    let events = Arc::new(Mutex::new(vec![]));
    let log = events.clone();
    let push = |events: &Mutex<Vec<_>>, event| events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    let mut host = Functions::new(move |event| {
        let Event::Log { label, value } = event else { return };
        push(&log, (format!("log {label:?}"), vec![value]));
    });
    for (effects, names) in FUNCTIONS.iter().enumerate() {
        for name in *names {
            let events = events.clone();
            host.add(name, move |operands| {
                if effects == 1 {
                    push(&events, (format!("call {name}"), operands.to_vec()));
                }
                random::call(name, operands)
            });
        }
    }
    let outcome = backend.run_for(program, models, &mut host)?;
    drop(host);
    let events = std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Shown { events, outcome })
}

fn compare(backend: &dyn Backend, oracle: &dyn Backend, program: &Verified, exact: &Handles, shaken: &[Handles]) -> Case {
    let found = run(backend, program, exact)?;
    let expected = run(oracle, program, exact)?;
    let exact_operations = backend.evaluates_exactly();
    let mut dice = Dice::new(9);
    let others = shaken.iter().map(|handles| match exact_operations {
        true => run(&Reference, program, handles),
        // What hangs on the last digits of operations, too, cannot be compared.
        false => run(&Reference, &with_shaken_constants(program, &mut dice)?, handles),
    });
    // A condition that hangs on the last digits makes another program of it, which may even fail.
    let Ok(others) = others.collect::<Result<Vec<Shown>, _>>() else { return Ok(1) };
    if others.iter().any(|other| other.form() != expected.form()) {
        return Ok(1);
    }
    let text = || print(program.graph(), None);
    if found.form() != expected.form() {
        return Err(format!("it shows {}\nnot {}\n{}", found.form(), expected.form(), text()).into());
    }
    let mut undecided = 0;
    let others: Vec<_> = others.iter().map(Shown::values).collect();
    for (at, ((what, found), (_, expected))) in found.values().into_iter().zip(expected.values()).enumerate() {
        for (part, (a, b)) in tensors(expected).into_iter().zip(tensors(found)).enumerate() {
            let others: Vec<&Tensor> = others.iter().filter_map(|values| tensors(values[at].1).get(part).copied()).collect();
            match tolerance(a, &others, exact_operations) {
                None => undecided += 1,
                Some(tolerance) if within(a, b, tolerance) => {}
                Some(tolerance) => return Err(format!("{what} is {b:?}, not {a:?} +- {tolerance:e}\n{}", text()).into()),
            }
        }
        // Numbers in a text have all their digits.
        match (expected.as_str(), found.as_str()) {
            (Some(a), _) if others.iter().any(|values| values[at].1.as_str() != Some(a)) => undecided += 1,
            (Some(a), Some(b)) if a != b => return Err(format!("{what} is {b:?}, not {a:?}").into()),
            _ => {}
        }
    }
    Ok(undecided)
}

/// The program with other last digits in its constants.
fn with_shaken_constants(program: &Verified, dice: &mut Dice) -> Result<Verified, Diagnostic> {
    let mut graph = program.graph().clone();
    for id in (0..graph.len()).map(NodeId::new) {
        if let Op::Const { value: Literal::Tensor(literal) } = &graph.node(id).op
            && let Some(values) = literal.to_tensor().values::<f32>()
        {
            let values: Vec<f32> = values.iter().map(|x| x * (1.0 + SHAKE * dice.float())).collect();
            let shaken = Tensor::new(literal.shape(), values);
            graph.set_op(id, Op::Const { value: (&shaken).into() });
        }
    }
    verify(graph, program.models()).map_err(|errors| failed(errors.to_string()))
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

/// What of a tensor can be compared: the largest difference that is allowed, or nothing where a discrete choice (an argmax, a
/// comparison) is so close that shaken weights make it otherwise. What hangs on no weight is exact where operations are.
fn tolerance(expected: &Tensor, shaken: &[&Tensor], exact_operations: bool) -> Option<f64> {
    let values = expected.to_f64();
    if shaken.iter().any(|other| other.ty() != expected.ty()) {
        return None;
    }
    if !expected.dtype().is_float() {
        return shaken.iter().all(|other| other.to_f64() == values).then_some(0.0);
    }
    let finite = |x: &f64| x.is_finite();
    let largest = values.iter().copied().filter(finite).fold(0.0, |most: f64, x| most.max(x.abs()));
    let mut moved: f64 = 0.0;
    for other in shaken {
        for (x, y) in values.iter().zip(other.to_f64()) {
            // What is divided by 0 may itself be 0 or nearly so.
            if x.is_finite() != y.is_finite() || (!x.is_finite() && *x != y && !(x.is_nan() && y.is_nan())) {
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
    let unit = match expected.dtype() {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        DType::F64 | DType::F32 | DType::I64 | DType::I32 | DType::U8 | DType::Bool => 1e-5,
    };
    Some(if moved == 0.0 && exact_operations { 0.0 } else { 0.2 * moved + unit * largest })
}

fn within(a: &Tensor, b: &Tensor, tolerance: f64) -> bool {
    let near = |(x, y): (f64, f64)| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance;
    a.ty() == b.ty() && a.to_f64().into_iter().zip(b.to_f64()).all(near)
}

/// Reads never perturb: what is saved or logged beside a value changes no bit of it.
fn one_effect_at_a_time(backend: &dyn Backend, program: &Verified, models: &Models, handles: &Handles) -> Case {
    let whole = run(backend, program, handles)?;
    let graph = program.graph();
    let is_log = |at: usize| matches!(graph.effects[at].kind, EffectKind::Log { .. });
    let logs = (0..graph.effects.len()).filter(|at| is_log(*at)).count();
    for at in (0..graph.effects.len()).step_by(3) {
        let mut part = graph.clone();
        part.effects = vec![graph.effects[at].clone()];
        let part = verify(part, models).map_err(|errors| format!("the suite's program is wrong: {errors}"))?;
        let alone = run(backend, &part, handles)?;
        let same_kind = (0..at).filter(|other| is_log(*other) == is_log(at)).count();
        let place = if is_log(at) { same_kind } else { logs + same_kind };
        match (alone.values().first(), whole.values().get(place)) {
            (Some((_, alone)), Some((_, whole))) if alone.same_bits(whole) => {}
            _ => return Err(format!("{:?} alone is another value\n{}", graph.effects[at].kind, print(graph, None)).into()),
        }
    }
    Ok(0)
}
