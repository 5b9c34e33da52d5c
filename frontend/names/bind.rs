//! Names in programs: what a person wrote in `hook` and `module` attributes becomes the canonical name.

use irc_ir::{
    diagnostic::Diagnostic,
    graph::{Graph, NodeId},
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
    let mut named: Vec<(NodeId, Op)> = vec![];
    // The model of each forward pass, and of what is made of forward passes; reads and writes do not say it.
    let mut of: Vec<Option<&Name>> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let model = node.operands.iter().find_map(|operand| of[operand.index()]);
        let spec = |name: Option<&Name>| models.get(name?);
        let hook = |name: &Name| {
            let spec = spec(model)?;
            Some(super::hook(spec, name).map(|hook| spec.hook_info(hook).name.clone()))
        };
        let (is, bound) = if let Op::Forward { model } = &node.op {
            (Some(model), None)
        } else if let Op::Apply { model, module } = &node.op {
            let path = spec(Some(model)).map(|spec| super::module(spec, module));
            (None, path.map(|path| path.map(|module| Op::Apply { model: model.clone(), module })))
        } else if let Op::Read { hook: name } = &node.op {
            (None, hook(name).map(|name| name.map(|hook| Op::Read { hook })))
        } else if let Op::Write { hook: name } = &node.op {
            (model, hook(name).map(|name| name.map(|hook| Op::Write { hook })))
        } else {
            (model, None)
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
    found
}
