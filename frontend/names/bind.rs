//! Names in programs: what a person wrote in `hook` and `module` attributes becomes the canonical name.

use irc_ir::{
    diagnostic::Diagnostic,
    graph::{Body, EffectKind, Graph, NodeId},
    infer::Models,
    op::Op,
    types::Name,
};

/// Replaces the names of hooks and modules in a program by the canonical ones, before it is verified. Names of models that
/// are not here stay as they are, for the verifier to find.
///
/// Returns what is wrong with names, in the order of the program.
pub fn bind(graph: &mut Graph, models: &Models) -> Vec<Diagnostic> {
    let mut found = vec![];
    bind_in(graph, models, &[], &mut found);
    found
}

/// [`bind`] for a program, or for the body of a loop whose parameters are forward passes of these models.
fn bind_in(graph: &mut Graph, models: &Models, params: &[Option<Name>], found: &mut Vec<Diagnostic>) {
    let mut named: Vec<(NodeId, Op)> = vec![];
    // The model of each forward pass, and of what is made of forward passes; reads and writes do not say it.
    let mut of: Vec<Option<Name>> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let model = of_any(&of, &node.operands);
        let (is, bound) = match named_in(&node.op, model.as_ref(), models) {
            Some(bound) => (if let Op::Write { .. } = node.op { model } else { None }, Some(bound)),
            None if let Op::Forward { model } = &node.op => (Some(model.clone()), None),
            None if let Op::Param { index, .. } = node.op => {
                let param = usize::try_from(index).ok().and_then(|index| params.get(index));
                (param.cloned().flatten(), None)
            }
            None if let Op::EffectResult { entry } = node.op => {
                let entry = usize::try_from(entry).ok().and_then(|entry| graph.effects.get(entry));
                (entry.and_then(|entry| of_any(&of, &entry.operands)), None)
            }
            None if let Op::Loop { trip, body } = &node.op => {
                let mut body = body.clone();
                bind_body(&mut body, models, &of, &node.operands, found);
                (model, Some(Ok(Op::Loop { trip: *trip, body })))
            }
            // It is a tensor, whose hook has been read.
            None if let Op::Read { .. } = node.op => (None, None),
            None => (model, None),
        };
        of.push(is);
        match bound {
            Some(Ok(op)) if op != node.op => named.push((id, op)),
            Some(Err(error)) => found.push(error.or_label(graph.span(id))),
            Some(Ok(_)) | None => {}
        }
    }
    for (id, op) in named {
        graph.set_op(id, op);
    }
    for effect in &mut graph.effects {
        if let EffectKind::Loop { body, .. } = &mut effect.kind {
            bind_body(body, models, &of, &effect.operands, found);
        }
    }
}

/// The body's parameters are the number of the iteration and the operands of the loop.
fn bind_body(body: &mut Body, models: &Models, of: &[Option<Name>], operands: &[NodeId], found: &mut Vec<Diagnostic>) {
    let operands = operands.iter().map(|operand| of.get(operand.index()).cloned().flatten());
    let params: Vec<Option<Name>> = [None].into_iter().chain(operands).collect();
    let mut inside = vec![];
    let edited = body.edit(|graph| bind_in(graph, models, &params, &mut inside));
    found.extend(inside);
    found.extend(edited.err());
}

/// The model of the first of these values that has one.
fn of_any(of: &[Option<Name>], operands: &[NodeId]) -> Option<Name> {
    operands.iter().find_map(|operand| of.get(operand.index()).cloned().flatten())
}

/// The operation with canonical names; none if it has no names, or its model is not here. `model` is that of its operands.
fn named_in(op: &Op, model: Option<&Name>, models: &Models) -> Option<Result<Op, Diagnostic>> {
    let hook = |name: &Name| {
        let spec = models.get(model?)?;
        Some(super::hook(spec, name).map(|hook| spec.hook_info(hook).name.clone()))
    };
    if let Op::Read { hook: name } = op {
        return Some(hook(name)?.map(|hook| Op::Read { hook }));
    }
    if let Op::Write { hook: name } = op {
        return Some(hook(name)?.map(|hook| Op::Write { hook }));
    }
    if let Op::Apply { model, module } = op {
        let path = super::module(models.get(model)?, module);
        return Some(path.map(|module| Op::Apply { model: model.clone(), module }));
    }
    None
}

#[cfg(test)]
mod tests {
    use irc_ir::{
        diagnostic::Span,
        graph::{Effect, ModelDecl},
        tensor::Tensor,
    };

    use super::*;
    use crate::models::induction;

    /// Hooks are named in loops, too, on forward passes that come in as parameters and out as results.
    #[test]
    fn names_in_loops() {
        let models: Models = [("m".into(), induction::spec().unwrap().into())].into();
        let ids = |graph: &mut Graph| {
            let ids = Op::Const { value: (&Tensor::new([1, 2], vec![0i64, 2])).into() };
            graph.add(ids, [], Span::None)
        };
        let read = |hook: &str| Op::Read { hook: hook.into() };
        let body = |hook: &str| {
            let mut body = Graph::new("");
            body.add(Op::Param { index: 0, ty: None }, [], Span::None);
            let forward = body.add(Op::Param { index: 1, ty: None }, [], Span::None);
            let value = body.add(read(hook), [forward], Span::None);
            let write = body.add(Op::Write { hook: hook.into() }, [forward, value], Span::None);
            body.results.push(write);
            Body::new(body).unwrap()
        };
        let program = |hook: &str| {
            let mut graph = Graph::new("program");
            graph.models.push(ModelDecl { name: "m".into(), reference: "induction".into(), span: Span::None });
            let ids = ids(&mut graph);
            let forward = graph.add(Op::Forward { model: "m".into() }, [ids], Span::None);
            let done = graph.add(Op::Loop { trip: 2, body: body(hook) }, [forward], Span::None);
            let last = graph.add(Op::Get { index: 0 }, [done], Span::None);
            let value = graph.add(read(hook), [last], Span::None);
            graph.effects.push(Effect::new(EffectKind::Save { name: "h".into() }, [value], Span::None));
            graph.effects.push(Effect::new(EffectKind::Loop { trip: 2, body: body(hook) }, [last], Span::None));
            let done = graph.add(Op::EffectResult { entry: 1 }, [], Span::None);
            let last = graph.add(Op::Get { index: 0 }, [done], Span::None);
            let value = graph.add(read(hook), [last], Span::None);
            graph.effects.push(Effect::new(EffectKind::Save { name: "again".into() }, [value], Span::None));
            graph
        };
        let mut graph = program("model.layers[-1].output[0]");
        assert!(bind(&mut graph, &models).is_empty());
        assert_eq!(graph, program("model.layers.3.output"));
        // In both bodies twice, and twice outside of them.
        assert_eq!(bind(&mut program("model.layers[4].output"), &models).len(), 6);
    }
}
