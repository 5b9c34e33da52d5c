//! The types of loops.
//!
//! A loop carries values from one iteration to the next. Their sizes may change on the way: a parameter of the body can
//! declare a type with symbols, such as `forward<m, 1xT after P>`, and each iteration has its own numbers for them. What
//! comes out is checked against the declared types, so that the numbers of the next iteration follow from those of this
//! one. Symbols mean something inside their body only.

use std::collections::BTreeMap;

use crate::{
    code::Code,
    diagnostic::Diagnostic,
    graph::{Body, Graph, NodeId},
    infer::{Models, infer},
    op::Op,
    types::{DType, Dim, Name, Type},
};

/// How often a loop may run: sizes after the last iteration are found by following all of them.
pub const MAX_TRIP: i64 = 1 << 20;

/// What the symbols of a body stand for.
pub(crate) type Binding = BTreeMap<Name, Dim>;

/// The type of a loop without effects; the first mistake in its body is that of the loop.
pub(super) fn infer_loop(trip: i64, body: &Body, operands: &[&Type], models: &Models) -> Result<Type, Diagnostic> {
    let (params, binding) = parameters(trip, body, operands)?;
    let graph = body.graph();
    let mut types: Vec<Type> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let of: Vec<&Type> = node.operands.iter().map(|operand| &types[operand.index()]).collect();
        let ty = match &node.op {
            Op::Param { index, .. } => parameter(*index, &params)?,
            op => infer(op, &of, models).map_err(|error| error.or_label(graph.span(id)))?,
        };
        types.push(ty);
    }
    let results: Vec<&Type> = graph.results.iter().map(|result| &types[result.index()]).collect();
    result(trip, body, operands, &params, &binding, &results)
}

/// The type of a parameter.
pub(crate) fn parameter(index: i64, params: &[Type]) -> Result<Type, Diagnostic> {
    usize::try_from(index).ok().and_then(|at| params.get(at)).cloned().ok_or_else(misplaced_parameter)
}

pub(super) fn misplaced_parameter() -> Diagnostic {
    Diagnostic::error(Code::E3007, "`param` stands for what a loop gives its body; here is no such value")
        .note("the parameters of a body are its first nodes: the number of the iteration, then one for each operand")
}

pub(crate) fn no_such_result(entry: i64) -> Diagnostic {
    Diagnostic::error(Code::E3006, format!("entry {entry} of the effect list has no result that could be used here"))
        .note("calls and loops have results, and each is named once")
}

/// The types of a body's parameters, and what their symbols stand for in the first iteration.
pub(crate) fn parameters(trip: i64, body: &Body, operands: &[&Type]) -> Result<(Vec<Type>, Binding), Diagnostic> {
    let graph = body.graph();
    if !(0..=MAX_TRIP).contains(&trip) {
        let message = format!("a loop runs between 0 and {MAX_TRIP} times, not {trip} times");
        return Err(Diagnostic::error(if trip < 0 { Code::E1008 } else { Code::E4001 }, message));
    }
    let declared: Vec<Option<&Type>> = graph
        .nodes()
        .enumerate()
        .map_while(|(at, (_, node))| match &node.op {
            Op::Param { index, ty } if usize::try_from(*index) == Ok(at) => Some(ty.as_ref()),
            _ => None,
        })
        .collect();
    if declared.len() != operands.len() + 1 {
        let message = format!("the loop has {}, but its body {}", many(operands.len(), "operand"), many(declared.len(), "parameter"));
        return Err(Diagnostic::error(Code::E3007, message)
            .note("the body has a parameter for the number of the iteration, then one for each operand"));
    }
    let number = Type::tensor(DType::I64, []);
    if declared[0].is_some_and(|ty| *ty != number) {
        return Err(Diagnostic::error(Code::E3007, format!("the number of the iteration is {number}")).or_label(graph.span(NodeId::new(0))));
    }
    if graph.results.len() > operands.len() {
        let message = format!("the body gives {} for {}", many(graph.results.len(), "result"), many(operands.len(), "operand"));
        return Err(Diagnostic::error(Code::E3007, message).note("each result becomes a parameter of the next iteration"));
    }
    let types: Vec<Type> =
        [number].into_iter().chain(declared[1..].iter().zip(operands).map(|(ty, operand)| ty.unwrap_or(operand).clone())).collect();
    // A type that is not declared is the same in every iteration: its symbols stand for themselves.
    let mut binding = Binding::new();
    for (ty, operand) in declared[1..].iter().zip(operands) {
        if ty.is_none() {
            bind_to_themselves(operand, &mut binding);
        }
    }
    for (at, (ty, operand)) in types[1..].iter().zip(operands).enumerate() {
        if !matches(ty, operand, &mut binding) {
            let error = Diagnostic::error(Code::E3004, format!("operand {} of the loop is {operand}, but the body expects {ty}", at + 1));
            return Err(error.or_label(graph.span(NodeId::new(at + 1))));
        }
    }
    Ok((types, binding))
}

/// The type of a loop whose body has results of these types: those after the last iteration. Sizes that depend on when
/// the loop ends are symbols of the body.
pub(crate) fn result(
    trip: i64,
    body: &Body,
    operands: &[&Type],
    params: &[Type],
    first: &Binding,
    results: &[&Type],
) -> Result<Type, Diagnostic> {
    let carried = results.len();
    let mut step = Binding::new();
    params[1 + carried..].iter().for_each(|ty| bind_to_themselves(ty, &mut step));
    for (at, (ty, result)) in params[1..].iter().zip(results).enumerate() {
        if !matches(ty, result, &mut step) {
            return Err(wrong_result(body.graph(), at, ty, result));
        }
    }
    if trip == 0 {
        return Ok(Type::Tuple(operands[..carried].iter().map(|&ty| ty.clone()).collect()));
    }
    let after = |now: &Binding| results.iter().map(|ty| ty.substitute(&|symbol| now.get(symbol).cloned())).collect::<Vec<Type>>();
    let next =
        |now: &Binding| step.iter().map(|(symbol, dim)| (symbol.clone(), dim.substitute(&|symbol| now.get(symbol).cloned()))).collect();
    let mut now = first.clone();
    if body.graph().until.is_none() {
        for _ in 1..trip {
            let then: Binding = next(&now);
            if then == now {
                break;
            }
            now = then;
        }
        return Ok(Type::Tuple(after(&now).into()));
    }
    let second: Binding = next(&now);
    if after(&now) == after(&second) && next(&second) == second {
        return Ok(Type::Tuple(after(&now).into()));
    }
    now.retain(|symbol, dim| second.get(symbol) == Some(dim));
    Ok(Type::Tuple(params[1..=carried].iter().map(|ty| ty.substitute(&|symbol| now.get(symbol).cloned())).collect()))
}

fn wrong_result(graph: &Graph, at: usize, expected: &Type, found: &Type) -> Diagnostic {
    let message = format!("the body gives {found} where the next iteration begins with {expected}");
    let error = Diagnostic::error(Code::E3004, message).or_label(graph.span(graph.results[at]));
    match (expected.as_tensor(), found.as_tensor()) {
        (Some(a), Some(b)) if a.dtype != b.dtype => error.help(format!("cast it: `cast(…) {{dtype: {}}}`", a.dtype)),
        _ => error.help("a size that changes is a symbol in the type of the parameter, such as `%x: tensor<1xNxf32>`"),
    }
}

fn bind_to_themselves(ty: &Type, binding: &mut Binding) {
    for symbol in ty.dims().into_iter().flat_map(Dim::symbols) {
        binding.insert(symbol.clone(), Dim::symbol(symbol));
    }
}

/// Whether `given` is `ty` for some values of its symbols; those that are not bound yet are bound.
pub(crate) fn matches(ty: &Type, given: &Type, binding: &mut Binding) -> bool {
    if !same_form(ty, given) {
        return false;
    }
    let (expected, given) = (ty.dims(), given.dims());
    for (expected, given) in expected.iter().zip(&given) {
        if let Some(symbol) = expected.as_symbol() {
            binding.entry(symbol.clone()).or_insert_with(|| (*given).clone());
        }
    }
    expected.iter().zip(&given).all(|(expected, given)| expected.substitute(&|symbol| binding.get(symbol).cloned()) == **given)
}

/// Whether two types differ in sizes only.
fn same_form(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) => a.dtype == b.dtype && a.rank() == b.rank(),
        (Type::Tuple(a), Type::Tuple(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_form(a, b)),
        (Type::List(a), Type::List(b)) => same_form(a, b),
        (Type::Forward(a), Type::Forward(b)) => a.model == b.model,
        (Type::Str, Type::Str) | (Type::Opaque, Type::Opaque) => true,
        (Type::Tensor(_) | Type::Tuple(_) | Type::List(_) | Type::Forward(_) | Type::Str | Type::Opaque, _) => false,
    }
}

fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
