//! Which values of a program hold token ids, and of which model: so that people are shown words.

use irc_ir::{
    graph::{Body, Effect, EffectKind, Graph, NodeId},
    infer::Models,
    op::Op,
    types::{Dim, Name, Type},
    verify::{LoopId, Types, Verified},
};

/// A program, or the body of a loop.
#[derive(Clone, Copy)]
struct Scope<'a> {
    graph: &'a Graph,
    types: &'a Types,
    models: &'a Models,
    /// What is around the body, and the operands of its loop there.
    around: Option<(&'a Scope<'a>, &'a [NodeId])>,
}

/// The program's name for the model whose token ids a save holds, or the part of it that `path` leads to, if that can be told.
pub(super) fn of_save(program: &Verified, name: &str, path: &[usize]) -> Option<Name> {
    let mut found = None;
    each_effect(program, &mut |scope, effect| {
        if let (EffectKind::Save { name: of }, [value]) = (&effect.kind, &effect.operands[..])
            && **of == *name
        {
            found = scope.model(*value, path.iter().rev().copied().collect());
        }
    });
    found
}

/// The model whose token ids all that is logged under a label, or without one, holds.
pub(super) fn of_log(program: &Verified, label: Option<&str>) -> Option<Name> {
    let mut found: Vec<Option<Name>> = vec![];
    each_effect(program, &mut |scope, effect| {
        if let (EffectKind::Log { label: of }, [value]) = (&effect.kind, &effect.operands[..])
            && of.as_deref() == label
        {
            found.push(scope.model(*value, vec![]));
        }
    });
    let first = found.first()?.clone();
    first.filter(|first| found.iter().all(|other| other.as_ref() == Some(first)))
}

/// The names of all saves, those in loops included.
pub(super) fn saves(program: &Verified) -> Vec<Name> {
    let mut names = vec![];
    each_effect(program, &mut |_, effect| {
        if let EffectKind::Save { name } = &effect.kind {
            names.push(name.clone());
        }
    });
    names
}

fn each_effect(program: &Verified, see: &mut dyn FnMut(&Scope<'_>, &Effect)) {
    Scope { graph: program.graph(), types: program.types(), models: program.models(), around: None }.each_effect(see);
}

impl Scope<'_> {
    fn each_effect(&self, see: &mut dyn FnMut(&Scope<'_>, &Effect)) {
        for (at, effect) in self.graph.effects.iter().enumerate() {
            see(self, effect);
            if let EffectKind::Loop { body, .. } = &effect.kind
                && let Some(types) = self.types.bodies.get(&LoopId::Effect(at))
            {
                let inside = Scope { graph: body.graph(), types, models: self.models, around: Some((self, &effect.operands)) };
                inside.each_effect(see);
            }
        }
    }

    /// The model whose token ids a value holds, or the part that `path` leads to, its next step last: it is where something along the
    /// axis of the vocabulary is largest or smallest, or was drawn from there, or a part of such a value.
    fn model(&self, value: NodeId, mut path: Vec<usize>) -> Option<Name> {
        let mut at = value;
        loop {
            let node = self.graph.node(at);
            let operand = node.operands.first().copied();
            at = match &node.op {
                Op::Slice { .. } | Op::Index { .. } | Op::IndexSelect { .. } | Op::IndexBy { .. } | Op::Gather { .. } => operand?,
                Op::Reshape { .. } | Op::Flatten { .. } | Op::Transpose { .. } | Op::Permute { .. } | Op::Unsqueeze { .. } => operand?,
                Op::Squeeze { .. } | Op::Expand { .. } | Op::Flip { .. } | Op::Roll { .. } | Op::Repeat { .. } => operand?,
                Op::Cat { .. } | Op::Stack { .. } => *node.operands.last()?,
                Op::Split { .. } | Op::Chunk { .. } => {
                    path.pop()?;
                    operand?
                }
                Op::Tuple {} => *node.operands.get(path.pop()?)?,
                Op::List { .. } => {
                    path.pop()?;
                    operand?
                }
                Op::Append {} => {
                    path.pop()?;
                    node.operands[1]
                }
                Op::Item { .. } => {
                    path.push(0);
                    operand?
                }
                Op::Get { index } => {
                    path.push(usize::try_from(*index).ok()?);
                    operand?
                }
                Op::Param { index, .. } => {
                    let (around, operands) = self.around?;
                    return around.model(*operands.get(usize::try_from(*index).ok()?.checked_sub(1)?)?, path);
                }
                Op::Loop { body, .. } => return self.of_loop(LoopId::Node(at), body, &node.operands, path),
                Op::EffectResult { entry } => {
                    let entry = usize::try_from(*entry).ok()?;
                    let effect = self.graph.effects.get(entry)?;
                    let EffectKind::Loop { body, .. } = &effect.kind else { return None };
                    return self.of_loop(LoopId::Effect(entry), body, &effect.operands, path);
                }
                Op::Argmax { dim: Some(dim), .. } | Op::Argmin { dim: Some(dim), .. } => return self.vocabulary_along(operand?, *dim),
                Op::Sample { .. } => return self.vocabulary_along(operand?, -1),
                Op::TopK { dim, .. } | Op::Sort { dim, .. } if path == [1] => return self.vocabulary_along(operand?, *dim),
                _ => return None,
            };
        }
    }

    /// What a loop gives is of the kind that it begins with, or that its body gives.
    fn of_loop(&self, at: LoopId, body: &Body, operands: &[NodeId], mut path: Vec<usize>) -> Option<Name> {
        let part = path.pop()?;
        let begins = self.model(*operands.get(part)?, path.clone());
        begins.or_else(|| {
            let inside =
                Scope { graph: body.graph(), types: self.types.bodies.get(&at)?, models: self.models, around: Some((self, operands)) };
            inside.model(*body.graph().results.get(part)?, path)
        })
    }

    /// The model whose vocabulary lies along a dimension of a value: one that the value comes from, of that size.
    fn vocabulary_along(&self, value: NodeId, dim: i64) -> Option<Name> {
        let Type::Tensor(ty) = &self.types.nodes[value.index()] else { return None };
        let axis = if dim < 0 { dim.checked_add(i64::try_from(ty.rank()).ok()?)? } else { dim };
        let size = ty.shape.get(usize::try_from(axis).ok()?).and_then(Dim::as_usize)?;
        self.model_of_size(value, size)
    }

    /// A model that a value comes from, whose vocabulary has this size.
    fn model_of_size(&self, value: NodeId, size: usize) -> Option<Name> {
        let mut needed = vec![false; value.index() + 1];
        needed[value.index()] = true;
        for at in (0..=value.index()).rev() {
            if !needed[at] {
                continue;
            }
            let node = self.graph.node(NodeId::new(at));
            let model = match (&node.op, &self.types.nodes[at]) {
                (Op::Apply { model, .. }, _) => Some(model),
                (_, Type::Forward(forward)) => Some(&forward.model),
                _ => None,
            };
            if let Some(model) = model.filter(|model| self.models.get(*model).is_some_and(|spec| spec.vocabulary() == size)) {
                return Some(model.clone());
            }
            node.operands.iter().for_each(|operand| needed[operand.index()] = true);
        }
        None
    }
}
