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
//! 7. Saves have different names that are not empty, those in the bodies of loops included; what is saved or logged is a
//!    tensor, tuple, list or text; a forward cannot be given to a function of the user's, come from one, or stand in a list.
//! 8. The program keeps to the [`Limits`].
//! 9. Effects have as many operands as their kind needs; a guard, and the end of a loop, is one bool; only what has a
//!    result has another value for the case that it does not run.
//! 10. The result of an effect is one value of the graph, after all that this effect and those before it need; so only later
//!     effects need it. A result that may be missing, because of a guard, has another value for that case; that of a loop
//!     is what the loop would have begun with.
//! 11. The body of a loop has a parameter for each operand; what it carries comes out with the type that it went in with,
//!     for some sizes of its symbols, at least 1 if they are so at first. Symbols are named in their body only. A program has
//!     neither parameters nor results nor an end.
//! 12. The body of an operation `loop` has no effects; one with effects is an effect itself.
//!
//! Operands come before users by construction of [`Graph`], and the parameters of a body before all else by that of
//! [`Body`], so there are no cycles to look for.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::{
    attr::Literal,
    code::Code,
    diagnostic::{Diagnostic, Diagnostics, Span},
    graph::{Body, EffectKind, Graph, NodeId},
    infer::{
        Models, find_model, infer,
        loops::{self, Parameters},
    },
    model::ModelSpec,
    op::{Op, Scope},
    types::{Dim, ForwardType, Name, Type, elements},
};

mod effects;

pub use crate::infer::loops::MAX_TRIP;

/// A program that holds to the invariants, with the type of every value.
#[derive(Clone, Debug)]
pub struct Verified {
    graph: Graph,
    types: Types,
    models: Models,
}

impl Verified {
    /// The program.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The type of a value.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.types.nodes[id.index()]
    }

    /// The types of all values.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// The models of the program, by the program's names.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// A loop of this program: how often it runs at most, and its body.
    pub fn loop_at(&self, at: LoopId) -> Option<(i64, &Body)> {
        match at {
            LoopId::Node(id) => match &self.graph.node(id).op {
                Op::Loop { trip, body } => Some((*trip, body)),
                _ => None,
            },
            LoopId::Effect(entry) => match &self.graph.effects.get(entry)?.kind {
                EffectKind::Loop { trip, body } => Some((*trip, body)),
                EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Call { .. } | EffectKind::Stop { .. } => None,
            },
        }
    }

    /// What the symbols of the body of a loop stand for in an iteration, counted from 0, unless the loop ends before: those that its
    /// parameters declare. Nothing where that depends on what is not known.
    pub fn sizes_in(&self, at: LoopId, iteration: u64) -> Option<BTreeMap<Name, Dim>> {
        let (_, body) = self.loop_at(at)?;
        let operands = match at {
            LoopId::Node(id) => &self.graph.node(id).operands,
            LoopId::Effect(entry) => &self.graph.effects.get(entry)?.operands,
        };
        let types = |ids: &[NodeId], of: &Types| ids.iter().map(|id| of.nodes[id.index()].clone()).collect::<Vec<_>>();
        let results = types(&body.graph().results, self.types.bodies.get(&at)?);
        loops::sizes_in(body, &types(operands, &self.types), &results, iteration)
    }

    /// The body of a loop as it is in an iteration in which symbols stand for these sizes; those without one stay symbols. It is
    /// a program but for its parameters, results and end.
    pub fn body(&self, at: LoopId, sizes: &dyn Fn(&str) -> Option<Dim>) -> Option<Verified> {
        let (_, body) = self.loop_at(at)?;
        let inside = self.types.bodies.get(&at)?;
        let nodes = inside.nodes.iter().map(|ty| ty.substitute(sizes)).collect();
        let types = Types { nodes, bodies: inside.bodies.clone() };
        Some(Verified { graph: body.graph().clone(), types, models: self.models.clone() })
    }
}

/// Where in a graph a loop stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LoopId {
    /// It is a value.
    Node(NodeId),
    /// It is this entry of the effect list.
    Effect(usize),
}

/// The types of the values of a graph and of the bodies of its loops.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Types {
    /// By node. In a body, sizes may be symbols that stand for another number in each iteration.
    pub nodes: Vec<Type>,
    /// By loop.
    pub bodies: BTreeMap<LoopId, Types>,
}

/// How large a program may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nodes of a program, those in bodies of loops included.
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
    graph.check_references()?;
    check_size(&graph, limits)?;
    let mut found = vec![];
    check_models(&graph, models, &mut found);
    let is_declared = |name: &Name| graph.models.iter().any(|decl| decl.name == *name);
    let declared: Models = models.iter().filter(|(name, _)| is_declared(name)).map(|(n, s)| (n.clone(), s.clone())).collect();
    let missing = graph.models.iter().map(|decl| decl.name.clone()).filter(|name| !models.contains_key(name)).collect();
    let mut checker = Checker { models: declared, missing, limits, saved: HashMap::new(), found };
    let types = checker.graph(&graph, None);
    if !graph.results.is_empty() || graph.until.is_some() {
        checker.found.push(Diagnostic::error(Code::E3007, "only the body of a loop has results and an end"));
    }
    if !checker.found.is_empty() {
        let mut found = Diagnostics(checker.found);
        found.sort();
        return Err(found);
    }
    // Without problems every node has a type.
    Ok(Verified { graph, types: types.known(), models: checker.models })
}

/// Refuses programs that are too large before anything is done with them.
fn check_size(graph: &Graph, limits: Limits) -> Result<(), Diagnostics> {
    let mut nodes = 0usize;
    let mut stack = vec![graph];
    while let Some(graph) = stack.pop() {
        nodes = nodes.saturating_add(graph.len());
        if nodes > limits.nodes {
            let message = format!("the program has {nodes} nodes or more; {} are allowed", limits.nodes);
            return Err(Diagnostic::error(Code::E4001, message).into());
        }
        stack.extend(graph.bodies().map(|(_, body)| body.graph()));
    }
    Ok(())
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

/// Types as far as they are known: nothing for values that follow from a mistake.
#[derive(Default)]
struct Found {
    nodes: Vec<Option<Type>>,
    bodies: BTreeMap<LoopId, Found>,
    /// In a body, the symbols that its parameters declare.
    own: BTreeSet<Name>,
}

impl Found {
    fn known(self) -> Types {
        let bodies = self.bodies.into_iter().map(|(at, body)| (at, body.known())).collect();
        Types { nodes: self.nodes.into_iter().flatten().collect(), bodies }
    }

    /// Writes types as the program around the body does that has these parameters; symbols that a body inside declares again
    /// are others.
    fn leave(&mut self, params: &Parameters, not: &BTreeSet<Name>) {
        self.nodes.iter_mut().flatten().for_each(|ty| *ty = params.outside(ty, not));
        for body in self.bodies.values_mut() {
            let not = not | &body.own;
            body.leave(params, &not);
        }
    }

    /// The types of these values, if all are known.
    fn all(&self, ids: &[NodeId]) -> Option<Vec<Type>> {
        ids.iter().map(|id| self.nodes[id.index()].clone()).collect()
    }
}

struct Checker {
    /// The models that the program declares and that are here.
    models: Models,
    /// Those that are not here. That was reported; what uses them is not reported again.
    missing: Vec<Name>,
    limits: Limits,
    /// The names of saves, with the place of the first.
    saved: HashMap<Name, Span>,
    found: Vec<Diagnostic>,
}

impl Checker {
    /// Checks a program, or with its parameters the body of a loop.
    fn graph(&mut self, graph: &Graph, params: Option<&Parameters>) -> Found {
        let mut types = Found { nodes: Vec::with_capacity(graph.len()), ..Found::default() };
        let order = effects::Order::new(graph);
        for (id, _) in graph.nodes() {
            let result = self.node(graph, id, params, &order, &mut types);
            let result = result.unwrap_or_else(|error| {
                self.found.push(locate(error, graph, id, &types.nodes));
                None
            });
            types.nodes.push(result);
        }
        self.effects(graph, params, &order, &mut types);
        if let Some(until) = graph.until {
            self.condition(graph, until, &types, "the end of a loop");
        }
        if let Some(params) = params {
            types.own = params.own.clone();
            if params.shifts() {
                types.leave(params, &BTreeSet::new());
            }
        } else {
            // Only now sizes in all bodies are written as the program writes them.
            self.written_types(graph, &types);
        }
        types
    }

    fn node(
        &mut self,
        graph: &Graph,
        id: NodeId,
        params: Option<&Parameters>,
        order: &effects::Order,
        types: &mut Found,
    ) -> Result<Option<Type>, Diagnostic> {
        let node = graph.node(id);
        if node.operands.iter().any(|operand| types.nodes[operand.index()].is_none()) {
            return Ok(None);
        }
        match &node.op {
            Op::Forward { model } | Op::Apply { model, .. } if self.missing.contains(model) => Ok(None),
            Op::Param { index, .. } => params.map_or_else(|| Err(loops::misplaced_parameter()), |params| params.ty(*index)).map(Some),
            Op::EffectResult { entry } => self.effect_result(graph, id, *entry, params, order, types),
            Op::Loop { body, .. } if body.has_effects() => {
                Err(Diagnostic::error(Code::E3008, "the body of this loop has effects, so the loop has a place among the effects")
                    .help("write `do loop(…)`"))
            }
            Op::Loop { trip, body } => {
                let Some(operands) = types.all(&node.operands) else { return Ok(None) };
                self.a_loop(LoopId::Node(id), (*trip, false), body, &operands, params, types)
            }
            op => {
                let operands: SmallVec<[&Type; 4]> = node.operands.iter().filter_map(|id| types.nodes[id.index()].as_ref()).collect();
                self.operation(graph, id, op, &operands, params).map(Some)
            }
        }
    }

    fn operation(&self, graph: &Graph, id: NodeId, op: &Op, operands: &[&Type], params: Option<&Parameters>) -> Result<Type, Diagnostic> {
        if op.kind().scope() == Scope::Model {
            let error = Diagnostic::error(Code::E2006, format!("`{}` stands inside models only", op.kind().name()));
            return Err(match op {
                Op::Weight { .. } => error.help("a module with its weights is applied to a value: `apply(x) {model: …, module: …}`"),
                _ => error.help("programs read and set hooks: `read(f) {hook: …}`, `write(f, value) {hook: …}`"),
            });
        }
        if let (Op::Forward { model }, [prompt]) = (op, operands)
            && is_text(prompt)
        {
            find_model(&self.models, model)?;
            let computed = !matches!(graph.node(graph.node(id).operands[0]).op, Op::Const { .. } | Op::Tuple {});
            let why = match computed {
                true => "only a text that stands in the program itself becomes token ids, not a computed one",
                false => "the model has no tokenizer here",
            };
            return Err(Diagnostic::error(Code::E2008, "the prompt is not bound to token ids")
                .note(why)
                .help("give the token ids: `forward([[504, 15341, 270]])`"));
        }
        let ty = match op {
            Op::Call { returns, .. } => {
                if let Some(wrong) = operands.iter().find(|ty| ty.holds_forward()) {
                    return Err(effects::cannot_leave(wrong, "given to a function of the user's"));
                }
                returned(returns, params)?
            }
            op => {
                let shifted = params.filter(|params| params.shifts()).map(|params| params.operation_inside(op));
                let ty = infer(shifted.as_ref().unwrap_or(op), operands, &self.models)?;
                check_symbols(op.symbols(), params)?;
                ty
            }
        };
        if let (Op::Forward { .. } | Op::Extend {}, Type::Forward(forward)) = (op, &ty) {
            let tokens = graph.node(id).operands.last().map(|tokens| &graph.node(*tokens).op);
            check_forward(tokens, forward, &self.models[&forward.model])?;
        }
        self.check_type(&ty)?;
        Ok(ty)
    }

    /// Checks that there can be values of a type.
    fn check_type(&self, ty: &Type) -> Result<(), Diagnostic> {
        match ty {
            Type::Tensor(tensor) if elements(&tensor.shape).as_known().is_some_and(|count| count > self.limits.elements) => Err(
                Diagnostic::error(Code::E4001, format!("{tensor} has more elements than the {} that are allowed", self.limits.elements)),
            ),
            Type::Tuple(parts) => parts.iter().try_for_each(|part| self.check_type(part)),
            Type::List(part) if part.holds_forward() => {
                Err(Diagnostic::error(Code::E1002, "a list cannot hold forwards").note("a tuple can: `tuple(%a, %b)`"))
            }
            Type::Forward(forward) => self.models.get(&forward.model).map_or(Ok(()), |spec| check_length(forward, spec)),
            Type::Tensor(_) | Type::List(_) | Type::Str | Type::Opaque => Ok(()),
        }
    }

    /// Checks a loop with its body; `guarded` says whether it may not run at all. A size that depends on when the loop ends
    /// becomes a symbol of this loop alone.
    fn a_loop(
        &mut self,
        at: LoopId,
        (trip, guarded): (i64, bool),
        body: &Body,
        operands: &[Type],
        around: Option<&Parameters>,
        types: &mut Found,
    ) -> Result<Option<Type>, Diagnostic> {
        let params = Parameters::new(trip, body, operands)?;
        let inside = self.graph(body.graph(), Some(&params));
        let results = inside.all(&body.graph().results);
        types.bodies.insert(at, inside);
        let Some(results) = results else { return Ok(None) };
        let place = match at {
            LoopId::Node(id) => id.index().to_string(),
            LoopId::Effect(entry) => format!("E{entry}"),
        };
        let fresh = |symbol: &str| {
            let mut name = format!("{symbol}_{place}");
            while around.is_some_and(|around| around.knows(&name.as_str().into())) {
                name.push('_');
            }
            Dim::symbol(name)
        };
        let ty = params.result((trip, guarded), body, operands, &results, &fresh)?;
        self.check_type(&ty)?;
        Ok(Some(ty))
    }

    fn written_types(&mut self, graph: &Graph, types: &Found) {
        for (id, written, span) in graph.written_types() {
            if let Some(ty) = &types.nodes[id.index()]
                && ty != written
            {
                let error = Diagnostic::error(Code::E1007, format!("the value is {ty}, but {written} is written here"));
                self.found.push(error.label(span.clone(), format!("should be `{ty}`")));
            }
        }
        for (at, inside) in &types.bodies {
            let body = match at {
                LoopId::Node(id) => match &graph.node(*id).op {
                    Op::Loop { body, .. } => Some(body),
                    _ => None,
                },
                LoopId::Effect(entry) => match graph.effects.get(*entry).map(|effect| &effect.kind) {
                    Some(EffectKind::Loop { body, .. }) => Some(body),
                    _ => None,
                },
            };
            if let Some(body) = body {
                self.written_types(body.graph(), inside);
            }
        }
    }
}

/// Whether a type is that of a prompt, or of a list of prompts, which are to be bound to token ids.
fn is_text(ty: &Type) -> bool {
    match ty {
        Type::Str => true,
        Type::Tuple(parts) => !parts.is_empty() && parts.iter().all(|part| *part == Type::Str),
        Type::Tensor(_) | Type::List(_) | Type::Opaque | Type::Forward(_) => false,
    }
}

/// The type of what a function of the user's returns, as it is written inside a body with these parameters.
fn returned(returns: &Type, params: Option<&Parameters>) -> Result<Type, Diagnostic> {
    if returns.holds_forward() {
        return Err(effects::cannot_leave(returns, "returned by a function of the user's"));
    }
    check_symbols(returns.symbols(), params)?;
    Ok(params.map_or_else(|| returns.clone(), |params| params.inside(returns)))
}

/// Checks that the symbols that an operation names are sizes that are known where it runs: those of the parameters of a body.
fn check_symbols(symbols: impl IntoIterator<Item = Name>, params: Option<&Parameters>) -> Result<(), Diagnostic> {
    match symbols.into_iter().find(|symbol| !params.is_some_and(|params| params.knows(symbol))) {
        Some(symbol) => Err(Diagnostic::error(Code::E1008, format!("`{symbol}` is not the name of a size here"))
            .note("sizes have names in the body of a loop, in the types of its parameters: `%x: tensor<1xNxf32>`")),
        None => Ok(()),
    }
}

/// Checks that a forward is not longer than its model's context.
fn check_length(forward: &ForwardType, spec: &ModelSpec) -> Result<(), Diagnostic> {
    let length = forward.length();
    match length.as_usize().is_some_and(|tokens| tokens > spec.context()) {
        true => Err(Diagnostic::error(Code::E2004, format!("{length} tokens are more than the model's context of {}", spec.context()))),
        false => Ok(()),
    }
}

/// Checks the sizes of a forward; `tokens` is the operation that its tokens come from.
fn check_forward(tokens: Option<&Op>, forward: &ForwardType, spec: &ModelSpec) -> Result<(), Diagnostic> {
    if forward.batch.as_known() == Some(0) || forward.tokens.as_known() == Some(0) {
        return Err(Diagnostic::error(Code::E2004, "a forward needs at least one sequence and one token"));
    }
    if let Some(Op::Const { value: Literal::Tensor(literal) }) = tokens {
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
    let operands = &graph.node(id).operands;
    let about_operands = match error.code {
        Code::E1002 | Code::E1003 | Code::E1004 | Code::E1005 | Code::E1006 | Code::E1008 | Code::E2003 | Code::E3004 | Code::E4001 => true,
        // It is the tokens that are wrong.
        Code::E2004 | Code::E2008 if !matches!(graph.node(id).op, Op::Loop { .. }) => {
            return operands.last().map_or(error.clone(), |tokens| error.or_label(graph.span(*tokens))).or_label(graph.span(id));
        }
        _ => false,
    };
    let mut error = error.or_label(graph.span(id));
    for operand in operands.iter().filter(|_| about_operands) {
        if let (Some(ty), span) = (&types[operand.index()], graph.span(*operand))
            && *span != Span::None
            && error.labels.iter().all(|label| label.span != *span)
        {
            error = error.label(span.clone(), format!("{ty}"));
        }
    }
    error
}
