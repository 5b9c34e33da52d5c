//! Effects and calls: saves, logs, functions, stops, and the conditions under which they run.

use super::walk::Walk;
use crate::{
    diagnostic::Span,
    graph::{Effect, EffectKind, Guard, NodeId},
    op::Op,
    tensor::Tensor,
    types::{DType, Type},
};

impl Walk<'_> {
    /// Any effect, where there may be one.
    pub(super) fn effect(&mut self) {
        if !self.frame.effects {
            return;
        }
        match self.dice.below(20) {
            0..=3 if self.config.calls => self.effectful_call(),
            4..=6 if self.config.loops => self.effectful_loop(),
            7 if self.config.stops && self.dice.once_in(4) => self.stop(),
            _ => {
                if let Some(value) = self.value() {
                    self.save_or_log(value);
                }
            }
        }
    }

    /// Saves or logs a value, if it can leave the program.
    pub(super) fn save_or_log(&mut self, value: NodeId) {
        if !leaves(self.ty(value)) {
            return;
        }
        let kind = match self.dice.below(6) {
            0 => EffectKind::Log { label: None },
            1 => EffectKind::Log { label: Some(self.name("value ")) },
            _ => EffectKind::Save { name: self.name("value ") },
        };
        let guard = self.condition_sometimes().map(|condition| Guard { condition, otherwise: None });
        self.frame.graph.effects.push(Effect { guard, ..Effect::new(kind, [value], Span::None) });
    }

    /// Saves and logs some values of the program, the last ones surely.
    pub(super) fn last_effects(&mut self) {
        let count = self.frame.types.len();
        for at in 0..count {
            if at + 8 >= count || self.dice.once_in(4) {
                self.save_or_log(NodeId::new(at));
            }
        }
    }

    /// One bool, made of a value.
    pub(super) fn condition(&mut self) -> Option<NodeId> {
        for _ in 0..4 {
            let value = self.value()?;
            let Some(ty) = self.tensor_type(value) else { continue };
            if ty.dtype == DType::Bool || self.sizes_of(value).is_none() {
                continue;
            }
            let Some(most) = self.add(Op::Max { dims: vec![], keepdim: false }, &[value]) else { continue };
            let limit = Tensor::scalar(self.dice.float());
            let limit = self.constant(&limit);
            return self.add(Op::Gt {}, &[most, limit]);
        }
        let holds = self.dice.once_in(2);
        Some(self.constant(&Tensor::scalar(holds)))
    }

    pub(super) fn condition_sometimes(&mut self) -> Option<NodeId> {
        if self.config.guards && self.dice.once_in(4) { self.condition() } else { None }
    }

    fn stop(&mut self) {
        let reason = self.dice.pick(&[None, Some("enough")]).map(Into::into);
        let Some(condition) = self.condition() else { return };
        let guard = self.config.guards.then_some(Guard { condition, otherwise: None });
        self.frame.graph.effects.push(Effect { guard, ..Effect::new(EffectKind::Stop { reason }, [], Span::None) });
    }

    /// Operands for a function, and the type of what it returns.
    fn arguments(&mut self, function: &str) -> Option<(Vec<NodeId>, Type)> {
        let number = Type::tensor(DType::F32, []);
        for _ in 0..10 {
            let value = self.value()?;
            let known = self.ty(value).dims().iter().all(|dim| dim.as_known().is_some());
            let leaves = leaves(self.ty(value));
            match function {
                "halve" if known && self.is_float(value) => return Some((vec![value], self.ty(value).clone())),
                "echo" if known && leaves => return Some((vec![value], self.ty(value).clone())),
                "unwrap" => {
                    let opaque = self.frame.types.iter().rposition(|ty| *ty == Type::Opaque)?;
                    return Some((vec![NodeId::new(opaque)], number));
                }
                "total" | "tell" if leaves => return Some((vec![value; self.dice.below(3)], number)),
                "wrap" | "keep" if leaves => return Some((vec![value], Type::Opaque)),
                _ => {}
            }
        }
        None
    }

    pub(super) fn pure_call(&mut self) {
        let name = self.dice.pick(super::FUNCTIONS[0]);
        if let Some((operands, returns)) = self.arguments(name) {
            self.place(Op::Call { name: name.into(), returns: Box::new(returns.clone()) }, &operands, returns);
        }
    }

    fn effectful_call(&mut self) {
        let name = self.dice.pick(super::FUNCTIONS[1]);
        let Some((operands, returns)) = self.arguments(name) else { return };
        let kind = EffectKind::Call { name: name.into(), returns: returns.clone() };
        self.effect_with_result(kind, &operands, returns);
    }

    /// Adds an effect and, most often, the value that stands for its result.
    pub(super) fn effect_with_result(&mut self, kind: EffectKind, operands: &[NodeId], ty: Type) -> Option<NodeId> {
        let condition = self.condition_sometimes();
        // Where the effect does not run, its result is another value of its type.
        let otherwise = self.frame.types.iter().rposition(|other| *other == ty).map(NodeId::new);
        let named = !self.dice.once_in(4) && (condition.is_none() || otherwise.is_some());
        let guard = condition.map(|condition| Guard { condition, otherwise: otherwise.filter(|_| named) });
        let entry = self.frame.graph.effects.len() as i64;
        self.frame.graph.effects.push(Effect { guard, ..Effect::new(kind, operands.iter().copied(), Span::None) });
        named.then(|| self.place(Op::EffectResult { entry }, &[], ty))
    }
}

/// Whether a value of this type can be saved.
fn leaves(ty: &Type) -> bool {
    match ty {
        Type::Tensor(_) | Type::Str => true,
        Type::Tuple(parts) => parts.iter().all(leaves),
        Type::List(part) => leaves(part),
        Type::Opaque | Type::Forward(_) => false,
    }
}
