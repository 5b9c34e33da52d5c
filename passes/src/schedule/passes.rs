//! What a program costs where it is run as it is written.

use irc_ir::{
    graph::NodeId,
    model::{HookId, ModelSpec, StageKind},
    op::Op,
    types::Type,
    verify::Verified,
};

use crate::{maps::NodeMap, values::Hooks};

/// What a tool does that runs programs as they are written: a model once for every forward whose hooks are read, unless a
/// forward with one more write shows the same value on its way. Modules count with their own stages.
#[derive(Default)]
pub(super) struct Passes {
    /// Passes through models.
    pub(super) forwards: usize,
    /// Stages of them, each whole and alone, and of modules.
    pub(super) stages: usize,
    /// Tokens that go through those of them that are position-wise.
    pub(super) token_stages: usize,
}

/// The passes that the effects of a program ask for.
pub(super) fn passes(program: &Verified, live: &[bool]) -> Passes {
    let graph = program.graph();
    let mut writes: NodeMap<Hooks> = NodeMap::new(graph.len());
    let mut reads: NodeMap<Hooks> = NodeMap::new(graph.len());
    let mut passes = Passes::default();
    let spec_of = |forward: NodeId| match program.ty(forward) {
        Type::Forward(ty) => Some((&program.models()[&ty.model], ty)),
        _ => None,
    };
    for (_, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        match &node.op {
            Op::Write { hook } | Op::Read { hook } => {
                let Some(hook) = spec_of(node.operands[0]).and_then(|(spec, _)| spec.find_hook(hook)) else { continue };
                let of = if matches!(node.op, Op::Write { .. }) {
                    writes.or_default(node.operands[0])
                } else {
                    reads.or_default(node.operands[0])
                };
                of.push(hook);
            }
            Op::Apply { model, module } => {
                let spec = &program.models()[model];
                let Ok(module) = spec.module(module) else { continue };
                let tail = spec.hook_type(module.input).rank().saturating_sub(2);
                let shape = program.ty(node.operands[0]).as_tensor().map(|ty| &ty.shape[..ty.rank().saturating_sub(tail)]);
                let tokens = shape.unwrap_or_default().iter().filter_map(|dim| dim.as_usize()).product();
                passes.add(spec, spec.hook_info(module.input).stage..spec.hook_info(module.output).stage + 1, tokens);
            }
            _ => {}
        }
    }
    for (forward, hooks) in reads.iter() {
        let Some((spec, ty)) = spec_of(forward) else { continue };
        let later = writes.get(forward).map_or(&[][..], Hooks::as_slice);
        let shown = |hook: &HookId| later.iter().any(|write| !spec.reaches(*write, *hook));
        if !hooks.iter().all(shown) {
            passes.forwards += 1;
            let tokens = ty.batch.as_usize().unwrap_or(0) * ty.tokens.as_usize().unwrap_or(0);
            passes.add(spec, 0..spec.stages().len(), tokens);
        }
    }
    passes
}

impl Passes {
    fn add(&mut self, spec: &ModelSpec, stages: std::ops::Range<usize>, tokens: usize) {
        self.stages += stages.len();
        let positionwise = spec.stages()[stages].iter().filter(|stage| matches!(stage.kind, StageKind::Positionwise));
        self.token_stages += tokens * positionwise.count();
    }
}
