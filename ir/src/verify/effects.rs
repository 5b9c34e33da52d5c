//! Invariants of the effect list: operands, guards, results, and that everything is there when it is needed.

use super::{Checker, Found, LoopId, returned};
use crate::{
    code::Code,
    diagnostic::Diagnostic,
    graph::{Effect, EffectKind, Graph, NodeId},
    infer::loops::{self, Parameters},
    op::Op,
    types::{DType, Name, Type, elements},
};

/// What each entry of the effect list needs, and which value stands for its result.
pub(super) struct Order {
    /// The value for the result of each entry, where there is one.
    results: Vec<Option<NodeId>>,
    /// The last value that the entries up to each one need.
    last_use: Vec<Option<NodeId>>,
}

impl Order {
    pub(super) fn new(graph: &Graph) -> Order {
        let mut results = vec![None; graph.effects.len()];
        for (id, node) in graph.nodes() {
            if let Op::EffectResult { entry } = node.op
                && let Some(result @ None) = usize::try_from(entry).ok().and_then(|entry| results.get_mut(entry))
            {
                *result = Some(id);
            }
        }
        let mut last = None;
        let last_use = graph.effects.iter().map(|effect| {
            last = effect.uses().max().max(last);
            last
        });
        Order { last_use: last_use.collect(), results }
    }
}

impl Checker {
    /// The type of the value that stands for the result of an entry.
    pub(super) fn effect_result(
        &mut self,
        graph: &Graph,
        id: NodeId,
        entry: i64,
        params: Option<&Parameters>,
        order: &Order,
        types: &mut Found,
    ) -> Result<Option<Type>, Diagnostic> {
        let at = usize::try_from(entry).unwrap_or(usize::MAX);
        let Some(effect) = graph.effects.get(at).filter(|effect| effect.kind.has_result() && order.results[at] == Some(id)) else {
            return Err(loops::no_such_result(entry));
        };
        if order.last_use[at] >= Some(id) {
            let message = "the result of an effect stands above what the effect, or one before it, needs";
            let error = Diagnostic::error(Code::E3006, message).label(graph.span(id).clone(), "the result");
            return Err(error.label(effect.span.clone(), "the effect"));
        }
        let ty = self.result_type(at, effect, params, types)?;
        match (&ty, effect.guard) {
            (Some(ty), Some(guard)) => match guard.otherwise {
                // What it would have begun with.
                None if matches!(effect.kind, EffectKind::Loop { .. }) => Ok(Some(ty.clone())),
                None => Err(Diagnostic::error(Code::E3006, "the result is missing where the effect does not run")
                    .label(effect.span.clone(), "")
                    .help("give a value for that case: `do … if %condition else %value`")),
                Some(other) => match &types.nodes[other.index()] {
                    Some(found) if found != ty => {
                        let message = format!("the result is {ty}, but {found} where the effect does not run");
                        Err(Diagnostic::error(Code::E3006, message).label(graph.span(other).clone(), ""))
                    }
                    found => Ok(found.clone()),
                },
            },
            _ => Ok(ty),
        }
    }

    /// The type of the result of a call or a loop.
    fn result_type(
        &mut self,
        at: usize,
        effect: &Effect,
        params: Option<&Parameters>,
        types: &mut Found,
    ) -> Result<Option<Type>, Diagnostic> {
        match &effect.kind {
            EffectKind::Call { returns, .. } => returned(returns, params).map(Some),
            EffectKind::Loop { trip, body } => match types.all(&effect.operands) {
                Some(operands) => {
                    let guarded = effect.guard.is_some_and(|guard| guard.otherwise.is_none());
                    self.a_loop(LoopId::Effect(at), (*trip, guarded), body, &operands, params, types)
                }
                None => Ok(None),
            },
            EffectKind::Save { .. } | EffectKind::Log { .. } | EffectKind::Stop { .. } => Ok(None),
        }
    }

    pub(super) fn effects(&mut self, graph: &Graph, params: Option<&Parameters>, order: &Order, types: &mut Found) {
        for (at, effect) in graph.effects.iter().enumerate() {
            // A loop with a result was checked with it.
            if order.results[at].is_none()
                && let Err(error) = self.result_type(at, effect, params, types)
            {
                self.found.push(error.or_label(&effect.span));
            }
            if let Err(error) = self.effect(graph, effect, types) {
                self.found.push(error.or_label(&effect.span));
            }
        }
    }

    fn effect(&mut self, graph: &Graph, effect: &Effect, types: &Found) -> Result<(), Diagnostic> {
        let (wanted, verb) = match &effect.kind {
            EffectKind::Save { name } => {
                self.save(name, effect);
                (Some(1), "saved")
            }
            EffectKind::Log { .. } => (Some(1), "logged"),
            EffectKind::Call { .. } => (None, "given to a function of the user's"),
            EffectKind::Loop { .. } => (None, ""),
            EffectKind::Stop { .. } => (Some(0), ""),
        };
        if wanted.is_some_and(|wanted| wanted != effect.operands.len()) {
            return Err(Diagnostic::error(Code::E1001, format!("the effect has {} values", effect.operands.len())));
        }
        if let Some(guard) = effect.guard {
            self.condition(graph, guard.condition, types, "a guard");
        }
        if effect.guard.is_some_and(|guard| guard.otherwise.is_some()) && !effect.kind.has_result() {
            return Err(Diagnostic::error(Code::E3006, "the effect has no result that could be another value where it does not run")
                .help("leave out `else …`"));
        }
        let wrong = effect.operands.iter().filter_map(|id| types.nodes[id.index()].as_ref()).find(|ty| match &effect.kind {
            EffectKind::Save { .. } | EffectKind::Log { .. } => !can_leave(ty),
            EffectKind::Call { .. } => ty.holds_forward(),
            EffectKind::Loop { .. } | EffectKind::Stop { .. } => false,
        });
        wrong.map_or(Ok(()), |ty| Err(cannot_leave(ty, verb)))
    }

    fn save(&mut self, name: &Name, effect: &Effect) {
        if name.is_empty() {
            let error = Diagnostic::error(Code::E3001, "a save needs a name that is not empty").label(effect.span.clone(), "");
            self.found.push(error.note("results are found by their names"));
        } else if let Some(earlier) = self.saved.insert(name.clone(), effect.span.clone()) {
            let error = Diagnostic::error(Code::E3001, format!("two saves are called \"{name}\""));
            let error = error.label(effect.span.clone(), "").label(earlier.clone(), "first here");
            self.found.push(error.help("give each its own name"));
            self.saved.insert(name.clone(), earlier);
        }
    }

    /// Checks that a value is one bool.
    pub(super) fn condition(&mut self, graph: &Graph, id: NodeId, types: &Found, what: &str) {
        let Some(ty) = &types.nodes[id.index()] else { return };
        if !ty.as_tensor().is_some_and(|ty| ty.dtype == DType::Bool && elements(&ty.shape).as_known() == Some(1)) {
            let error = Diagnostic::error(Code::E3005, format!("{what} is one bool, but this is {ty}"));
            self.found.push(error.label(graph.span(id).clone(), "").help("compare: `gt(x, 0)`; of several, take `max` or `min`"));
        }
    }
}

/// Whether a value of this type can go to the user. What is opaque is understood by the user's functions only.
fn can_leave(ty: &Type) -> bool {
    match ty {
        Type::Tensor(_) | Type::Str => true,
        Type::Tuple(parts) => parts.iter().all(can_leave),
        Type::List(part) => can_leave(part),
        Type::Opaque | Type::Forward(_) => false,
    }
}

/// The mistake that a value of this type leaves the place where the program runs.
pub(super) fn cannot_leave(ty: &Type, verb: &str) -> Diagnostic {
    let error = Diagnostic::error(Code::E3002, format!("{ty} cannot be {verb}"));
    let error = error.note("tensors, texts, and tuples and lists of them can leave the place where a program runs");
    if ty.holds_forward() { error.help("read a hook of the forward: `read(f) {hook: …}`") } else { error }
}
