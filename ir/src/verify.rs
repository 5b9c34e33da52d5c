//! The verifier: what every program holds to before a pass, a plan or a backend sees it.
//!
//! The invariants, each with a case in `tests/cases/verify`:
//!
//! 1. Every model that the program declares is declared once and is known; every operation names a declared model.
//! 2. Every operation has the number and kinds of operands that the op table and [`crate::infer`] ask for: shapes
//!    broadcast, dimensions and indices are in range, element types fit.
//! 3. Operations on forwards stand in programs only, the inputs, weights and hooks of models inside models only.
//! 4. Every hook and module exists in its model, and a value written to a hook has the hook's type.
//! 5. Prompts are bound to token ids; token ids that are constants lie inside the vocabulary; a forward has at least one
//!    sequence and one token, and no more tokens than the model's context.
//! 6. A type that the program's text claims for a value is the type that it has.
//! 7. Saves have different names that are not empty; what is saved or logged is a tensor, tuple, list or text.
//! 8. The program keeps to the [`Limits`].
//!
//! Operands come before users by construction of [`Graph`], so there are no cycles to look for.

use std::collections::HashMap;

use crate::{
    attr::Literal,
    code::Code,
    diagnostic::{Diagnostic, Diagnostics, Span},
    graph::{Effect, EffectKind, Graph, NodeId},
    infer::{Models, find_model, infer},
    op::{Op, Scope},
    types::{Name, Type, elements},
};

/// A program that holds to the invariants, with the type of every value.
#[derive(Clone, Debug)]
pub struct Verified {
    graph: Graph,
    types: Vec<Type>,
    models: Models,
}

impl Verified {
    /// The program.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The type of a value.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.types[id.index()]
    }

    /// The types of all values, by node.
    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// The models of the program, by the program's names.
    pub fn models(&self) -> &Models {
        &self.models
    }
}

/// How large a program may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nodes of a program.
    pub nodes: usize,
    /// Elements of one tensor.
    pub elements: i64,
}

impl Default for Limits {
    /// A million nodes; tensors of 2^32 elements.
    fn default() -> Limits {
        Limits { nodes: 1_000_000, elements: 1 << 32 }
    }
}

/// Checks a program against the invariants.
///
/// # Errors
/// All problems that were found, in the order of the program; values that follow from a wrong one are not reported.
pub fn verify(graph: Graph, models: &Models) -> Result<Verified, Diagnostics> {
    verify_within(graph, models, Limits::default())
}

/// [`verify`] with limits of one's own.
///
/// # Errors
/// As [`verify`].
pub fn verify_within(graph: Graph, models: &Models, limits: Limits) -> Result<Verified, Diagnostics> {
    let mut found = vec![];
    if graph.len() > limits.nodes {
        let message = format!("the program has {} nodes; {} are allowed", graph.len(), limits.nodes);
        return Err(Diagnostic::error(Code::E4001, message).into());
    }
    check_models(&graph, models, &mut found);
    let types = check_nodes(&graph, models, limits, &mut found);
    check_written_types(&graph, &types, &mut found);
    check_effects(&graph, &types, &mut found);
    if !found.is_empty() {
        let mut found = Diagnostics(found);
        found.sort();
        return Err(found);
    }
    // Without problems every node has a type.
    let types = types.into_iter().flatten().collect();
    let used = graph.models.iter().filter_map(|decl| Some((decl.name.clone(), models.get(&decl.name)?.clone()))).collect();
    Ok(Verified { graph, types, models: used })
}

fn check_models(graph: &Graph, models: &Models, found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<&Name, &Span> = HashMap::new();
    for decl in &graph.models {
        let earlier = *first.entry(&decl.name).or_insert(&decl.span);
        if !std::ptr::eq(earlier, &decl.span) {
            let error = Diagnostic::error(Code::E0003, format!("the model `{}` is declared twice", decl.name));
            found.push(error.label(decl.span.clone(), "declared again here").label(earlier.clone(), "declared first here"));
        } else if !models.contains_key(&decl.name) {
            let error = Diagnostic::error(Code::E2002, format!("the model \"{}\" is not here", decl.reference));
            found.push(
                error.label(decl.span.clone(), "").help("`irc model list` shows the models that are; `--model NAME=PATH` binds a name"),
            );
        }
    }
}

fn check_nodes(graph: &Graph, models: &Models, limits: Limits, found: &mut Vec<Diagnostic>) -> Vec<Option<Type>> {
    let declared: Models = models
        .iter()
        .filter(|(name, _)| graph.models.iter().any(|decl| decl.name == **name))
        .map(|(n, s)| (n.clone(), s.clone()))
        .collect();
    // A model that is declared but not here was reported; what uses it is not reported again.
    let missing = |name: &Name| graph.models.iter().any(|decl| decl.name == *name) && !models.contains_key(name);
    let mut types: Vec<Option<Type>> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let operands: Option<Vec<&Type>> = node.operands.iter().map(|operand| types[operand.index()].as_ref()).collect();
        let result = match (&node.op, operands) {
            (_, None) => Ok(None),
            (Op::Forward { model } | Op::Apply { model, .. }, _) if missing(model) => Ok(None),
            (op, Some(operands)) => check_node(graph, id, op, &operands, &declared, limits).map(Some),
        };
        types.push(result.unwrap_or_else(|error| {
            found.push(locate(error, graph, id, &types));
            None
        }));
    }
    types
}

fn check_node(graph: &Graph, id: NodeId, op: &Op, operands: &[&Type], models: &Models, limits: Limits) -> Result<Type, Diagnostic> {
    if op.kind().scope() == Scope::Model {
        let error = Diagnostic::error(Code::E2006, format!("`{}` stands inside models only", op.kind().name()));
        return Err(match op {
            Op::Weight { .. } => error.help("a module with its weights is applied to a value: `apply(x) {model: …, module: …}`"),
            _ => error.help("programs read and set hooks: `read(f) {hook: …}`, `write(f, value) {hook: …}`"),
        });
    }
    if let (Op::Forward { model }, [Type::Str]) = (op, operands) {
        find_model(models, model)?;
        let computed = !matches!(graph.node(graph.node(id).operands[0]).op, Op::Const { .. });
        let why = match computed {
            true => "only a text that stands in the program itself becomes token ids, not a computed one",
            false => "the model has no tokenizer here",
        };
        return Err(Diagnostic::error(Code::E2008, "the prompt is not bound to token ids")
            .note(why)
            .help("give the token ids: `forward([[504, 15341, 270]])`"));
    }
    let ty = infer(op, operands, models)?;
    if let Op::Forward { model } = op {
        check_forward(graph, id, &ty, &models[model])?;
    }
    if let Type::Tensor(tensor) = &ty
        && elements(&tensor.shape).as_known().is_some_and(|count| count > limits.elements)
    {
        return Err(Diagnostic::error(Code::E4001, format!("{tensor} has more elements than the {} that are allowed", limits.elements)));
    }
    Ok(ty)
}

fn check_forward(graph: &Graph, id: NodeId, ty: &Type, spec: &crate::model::ModelSpec) -> Result<(), Diagnostic> {
    let Type::Forward(forward) = ty else { return Ok(()) };
    if forward.batch.as_known() == Some(0) || forward.tokens.as_known() == Some(0) {
        return Err(Diagnostic::error(Code::E2004, "a forward needs at least one sequence and one token"));
    }
    if forward.tokens.as_usize().is_some_and(|tokens| tokens > spec.context()) {
        return Err(Diagnostic::error(
            Code::E2004,
            format!("{} tokens are more than the model's context of {}", forward.tokens, spec.context()),
        ));
    }
    let operand = graph.node(id).operands[0];
    if let Op::Const { value: Literal::Tensor(literal) } = &graph.node(operand).op {
        let tokens = literal.to_tensor();
        let inside = 0..spec.vocabulary() as i64;
        if let Some(wrong) = tokens.values::<i64>().unwrap_or_default().iter().find(|token| !inside.contains(token)) {
            let error = Diagnostic::error(Code::E2004, format!("token id {wrong} lies outside the vocabulary of {}", spec.vocabulary()));
            return Err(match *wrong < 0 {
                true => error.help("prompts are not padded: one of another length is a forward of its own"),
                false => error,
            });
        }
    }
    Ok(())
}

/// Points an error at its node and, where types disagree, at the operands with their types.
fn locate(error: Diagnostic, graph: &Graph, id: NodeId, types: &[Option<Type>]) -> Diagnostic {
    let about_operands = match error.code {
        Code::E1002 | Code::E1003 | Code::E1004 | Code::E1005 | Code::E1006 | Code::E1008 | Code::E2003 | Code::E4001 => true,
        // It is the tokens that are wrong.
        Code::E2004 | Code::E2008 => return error.or_label(graph.span(graph.node(id).operands[0])).or_label(graph.span(id)),
        _ => false,
    };
    let mut error = error.or_label(graph.span(id));
    for operand in graph.node(id).operands.iter().filter(|_| about_operands) {
        if let (Some(ty), span) = (&types[operand.index()], graph.span(*operand))
            && *span != Span::None
            && error.labels.iter().all(|label| label.span != *span)
        {
            error = error.label(span.clone(), format!("{ty}"));
        }
    }
    error
}

fn check_written_types(graph: &Graph, types: &[Option<Type>], found: &mut Vec<Diagnostic>) {
    for (id, written, span) in graph.written_types() {
        if let Some(ty) = &types[id.index()]
            && ty != written
        {
            let error = Diagnostic::error(Code::E1007, format!("the value is {ty}, but {written} is written here"));
            found.push(error.label(span.clone(), format!("should be `{ty}`")));
        }
    }
}

fn check_effects(graph: &Graph, types: &[Option<Type>], found: &mut Vec<Diagnostic>) {
    let mut saved: HashMap<&Name, &Effect> = HashMap::new();
    for effect in &graph.effects {
        let verb = match &effect.kind {
            EffectKind::Save { name } => {
                let earlier = *saved.entry(name).or_insert(effect);
                if name.is_empty() {
                    let error = Diagnostic::error(Code::E3001, "a save needs a name that is not empty").label(effect.span.clone(), "");
                    found.push(error.note("results are found by their names"));
                } else if !std::ptr::eq(earlier, effect) {
                    let error = Diagnostic::error(Code::E3001, format!("two saves are called \"{name}\""));
                    let error = error.label(effect.span.clone(), "").label(earlier.span.clone(), "first here");
                    found.push(error.help("give each its own name"));
                }
                "saved"
            }
            EffectKind::Log { .. } => "logged",
        };
        if let Some(ty) = &types[effect.value.index()]
            && !can_leave(ty)
        {
            let error = Diagnostic::error(Code::E3002, format!("{ty} cannot be {verb}")).label(effect.span.clone(), "");
            let error = error.note("tensors, texts, and tuples and lists of them can leave the place where a program runs");
            found.push(if *ty == Type::Opaque { error } else { error.help("read a hook of the forward: `read(f) {hook: …}`") });
        }
    }
}

/// Whether a value of this type can leave the place where it was made.
fn can_leave(ty: &Type) -> bool {
    match ty {
        Type::Tensor(_) | Type::Str => true,
        Type::Tuple(parts) => parts.iter().all(can_leave),
        Type::List(part) => can_leave(part),
        Type::Opaque | Type::Forward(_) => false,
    }
}
