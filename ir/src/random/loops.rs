//! Loops: bodies are walks of their own, and what they carry may grow.

use std::collections::BTreeSet;

use super::walk::{Frame, Walk};
use crate::{
    diagnostic::Span,
    graph::{Body, Effect, EffectKind, Graph, Guard, NodeId},
    infer::loops::Parameters,
    op::Op,
    types::{DType, Dim, ForwardType, Type},
};

/// How deep random programs nest loops.
const MAX_DEPTH: usize = 2;

/// How a carried value comes to the next iteration.
enum Carry {
    /// As another value of its type.
    Same,
    /// With rows added along the first dimension.
    Grown,
    /// With so many more tokens.
    Extended(usize),
}

struct Loop {
    trip: i64,
    operands: Vec<NodeId>,
    body: Body,
    ty: Type,
    /// Its type where a guard may keep it from running.
    guarded: Type,
}

impl Walk<'_> {
    pub(super) fn pure_loop(&mut self) {
        let Some(Loop { trip, operands, body, ty, .. }) = self.make_loop(false) else { return };
        let id = self.place(Op::Loop { trip, body }, &operands, ty);
        self.unpack(id);
    }

    pub(super) fn effectful_loop(&mut self) {
        let Some(Loop { trip, operands, body, ty, guarded }) = self.make_loop(true) else { return };
        // Often it may not run at all, and gives then what it would have begun with.
        if let Some(condition) = self.condition_sometimes() {
            let guard = Some(Guard { condition, otherwise: None });
            let entry = self.frame.graph.effects.len() as i64;
            let effect = Effect::new(EffectKind::Loop { trip, body }, operands.iter().copied(), Span::None);
            self.frame.graph.effects.push(Effect { guard, ..effect });
            let id = self.place(Op::EffectResult { entry }, &[], guarded);
            return self.unpack(id);
        }
        // For the case that a condition keeps it from running.
        if let Type::Tuple(parts) = &ty
            && self.config.guards
            && self.dice.once_in(3)
        {
            let parts = parts.len();
            let _ = self.add(Op::Tuple {}, &operands[..parts]);
        }
        if let Some(id) = self.effect_with_result(EffectKind::Loop { trip, body }, &operands, ty) {
            self.unpack(id);
        }
    }

    /// The parts of a loop's result as values.
    fn unpack(&mut self, id: NodeId) {
        let Type::Tuple(parts) = self.ty(id).clone() else { return };
        for index in 0..parts.len() {
            let Some(part) = self.add(Op::Get { index: index as i64 }, &[id]) else { continue };
            if matches!(self.ty(part), Type::Forward(_)) {
                self.frame.forwards.push(part);
            }
        }
    }

    fn make_loop(&mut self, effects: bool) -> Option<Loop> {
        if self.frame.depth >= MAX_DEPTH {
            return None;
        }
        let trip = self.dice.pick(&[0, 1, 2, 2, 3, 3, 4]);
        let mut inner = Frame::new(Graph::new(""), effects);
        inner.depth = self.frame.depth + 1;
        inner.largest = self.frame.largest.clone();
        inner.graph.add(Op::Param { index: 0, ty: None }, [], Span::None);
        let (mut operands, mut carries) = (vec![], vec![]);
        for at in 0..self.dice.between(1, 4) {
            let (operand, declared, carry) = self.carried(trip, &mut inner)?;
            inner.graph.add(Op::Param { index: at + 1, ty: declared.map(Box::new) }, [], Span::None);
            operands.push(operand);
            carries.push(carry);
        }
        let of: Vec<Type> = operands.iter().map(|operand| self.ty(*operand).clone()).collect();
        let params = Parameters::new(trip, &Body::new(inner.graph.clone()).ok()?, &of).ok()?;
        inner.types = (0..=operands.len()).map(|at| params.ty(at as i64)).collect::<Result<_, _>>().ok()?;
        let is_forward = |id: &NodeId| matches!(inner.types[id.index()], Type::Forward(_));
        inner.forwards = (0..inner.types.len()).map(NodeId::new).filter(is_forward).collect();
        // The last ones may be the same in each iteration; token ids stay token ids then.
        let carried = self.dice.below(carries.len() + 1);
        for (at, operand) in operands.iter().enumerate().skip(carried) {
            let below = self.frame.ids.iter().find(|(id, _)| id == operand).map(|(_, below)| *below);
            inner.ids.extend(below.map(|below| (NodeId::new(at + 1), below)));
        }
        self.count += inner.graph.len();
        let outer = std::mem::replace(&mut self.frame, inner);
        let results = self.body(&carries[..carried]);
        let inner = std::mem::replace(&mut self.frame, outer);
        // Symbols of the body may be sizes of the result.
        self.frame.largest.extend(inner.largest.clone());

        let mut graph = inner.graph;
        graph.results = results?;
        let results: Vec<Type> =
            graph.results.iter().map(|result| params.outside(&inner.types[result.index()], &BTreeSet::new())).collect();
        let body = Body::new(graph).ok()?;
        // No two loops of a program share a symbol, so that those of the body can be those of the result.
        let result = |guarded: bool| params.result((trip, guarded), &body, &of, &results, &|symbol| Dim::symbol(symbol)).ok();
        let (ty, guarded) = (result(false)?, result(true)?);
        Some(Loop { trip, operands, body, ty, guarded })
    }

    /// A value for a loop to begin with, the type that its parameter declares, and how it is carried.
    fn carried(&mut self, trip: i64, inner: &mut Frame) -> Option<(NodeId, Option<Type>, Carry)> {
        match self.dice.below(6) {
            0 | 1 if self.config.extends => {
                if let Some(found) = self.carried_forward(trip, inner) {
                    return Some(found);
                }
            }
            2 => {
                if let Some(forward) = self.any_forward() {
                    return Some((forward, None, Carry::Same));
                }
            }
            3 => {
                let value = self.value()?;
                if let Some(sizes) = self.sizes_of(value)
                    && sizes.iter().product::<usize>() as i64 * (trip + 1) <= self.config.elements
                {
                    let symbol = self.name("N");
                    inner.largest.insert(symbol.clone(), sizes[0] as i64 + trip);
                    let mut ty = self.tensor_type(value)?.clone();
                    ty.shape[0] = Dim::symbol(symbol);
                    return Some((value, Some(Type::Tensor(ty)), Carry::Grown));
                }
            }
            _ => {}
        }
        let value = self.value()?;
        let known = self.ty(value).dims().iter().all(|dim| dim.as_known().is_some());
        let declared = (known && self.dice.once_in(2)).then(|| self.ty(value).clone());
        Some((value, declared, Carry::Same))
    }

    /// A forward that each iteration extends.
    fn carried_forward(&mut self, trip: i64, inner: &mut Frame) -> Option<(NodeId, Option<Type>, Carry)> {
        let forward = self.any_forward()?;
        let spec = self.spec_of(forward)?;
        let ty = self.forward_type(forward)?.clone();
        let grow = self.dice.between(1, 2);
        let (tokens, past) = (ty.tokens.as_known()?, ty.past.as_known()?);
        if !spec.causal() || ty.batch.as_known().is_none() || tokens + past + trip * grow > spec.context() as i64 {
            return None;
        }
        let (now, before) = (self.name("T"), self.name("P"));
        inner.largest.insert(now.clone(), tokens.max(grow));
        // Where it begins with 0, it stands for one more inside the body.
        inner.largest.insert(before.clone(), tokens + past + trip * grow + 1);
        let declared = ForwardType { tokens: Dim::symbol(now), past: Dim::symbol(before), ..ty };
        Some((forward, Some(Type::Forward(declared)), Carry::Extended(grow as usize)))
    }

    /// Fills the body that is the current frame; its results.
    fn body(&mut self, carries: &[Carry]) -> Option<Vec<NodeId>> {
        let until = self.count + self.dice.between(2, 10) as usize;
        for _ in 0..40 {
            if self.count < until {
                self.step();
            }
        }
        if self.frame.effects {
            let value = self.value()?;
            self.save_or_log(value);
            if self.frame.graph.effects.is_empty() {
                // The number of the iteration.
                self.save_or_log(NodeId::new(0));
            }
        }
        let mut results = vec![];
        for (at, carry) in carries.iter().enumerate() {
            let param = NodeId::new(at + 1);
            results.push(match carry {
                Carry::Same => self.next(param)?,
                Carry::Extended(tokens) => self.extended_anyhow(param, *tokens)?,
                Carry::Grown => {
                    let first = self.add(Op::Slice { dim: 0, start: Some(0), end: Some(1), step: 1 }, &[param])?;
                    self.add(Op::Cat { dim: 0 }, &[param, first])?
                }
            });
        }
        if self.dice.once_in(3) {
            self.frame.graph.until = self.condition();
        }
        Some(results)
    }

    /// A value of the type of a parameter, a new one if possible.
    fn next(&mut self, param: NodeId) -> Option<NodeId> {
        let ty = self.ty(param).clone();
        let alike = |frame: &Frame| -> Vec<NodeId> {
            (1..frame.types.len()).filter(|at| frame.types[*at] == ty && *at != param.index()).map(NodeId::new).collect()
        };
        let found = alike(&self.frame);
        if !found.is_empty() {
            return Some(self.dice.pick(&found));
        }
        let new = match &ty {
            Type::Forward(_) if self.config.writes => self.written(param),
            Type::Tensor(tensor) if tensor.dtype == DType::Bool => self.add(Op::Not {}, &[param]),
            Type::Tensor(tensor) if tensor.dtype.is_float() => self.add(Op::Tanh {}, &[param]),
            Type::Tensor(_) => self.add(Op::Neg {}, &[param]),
            Type::Tuple(_) | Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => None,
        };
        Some(new.unwrap_or(param))
    }

    /// The parameter with so many more tokens: the context has room for them, as was seen to.
    fn extended_anyhow(&mut self, param: NodeId, tokens: usize) -> Option<NodeId> {
        let batch = self.forward_type(param)?.batch.as_usize()?;
        let ids = match self.dice.once_in(2) && tokens == 1 {
            true => self.predicted(param),
            false => None,
        };
        let ids = ids.unwrap_or_else(|| self.tokens(batch, tokens));
        self.add(Op::Extend {}, &[param, ids])
    }
}
