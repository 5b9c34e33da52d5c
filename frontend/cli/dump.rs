//! `irc dump`: the program as text, as JSON, as a picture, in binary; its hash.

use std::fs;

use irc_ir::{
    attr::Attr,
    canonical::content_hash,
    cbor,
    code::Code,
    diagnostic::{Diagnostic, Source, Span},
    graph::{Effect, EffectKind, Graph, NodeId},
    text,
    types::Type,
    verify::{LoopId, Types},
};
use serde_json::{Map, Value as Json, json};

use super::{
    args::{DumpArgs, Format, Types as Wanted},
    dot,
    failure::{Failure, Outcome, span_json},
    program::Program,
    terminal::Terminal,
    value::attr_json,
};

pub(super) fn dump(args: &DumpArgs, terminal: &Terminal) -> Outcome {
    let mut program = Program::read(&args.program.file)?;
    let syntax = irc_ir::diagnostic::Diagnostics(program.syntax.clone());
    if syntax.has_errors() {
        return Err(Failure::in_source(syntax, &program.source));
    }
    if args.hash {
        return hash(&mut program, args, terminal);
    }
    if args.format == Format::Cbor && args.out.is_none() && terminal.watched {
        let error = Diagnostic::error(Code::E4004, "a program in binary is not shown on a terminal");
        return Err(error.help("write it to a file: `--out FILE.igb`").into());
    }
    let types = match args.types {
        // Types that the program does not claim have no place in it.
        _ if args.format == Format::Cbor => None,
        Wanted::Never => None,
        Wanted::Auto | Wanted::Always => {
            program.open_models(&args.program.models, terminal)?;
            match program.verify() {
                Ok(verified) => Some(verified.types().clone()),
                Err(errors) if args.types == Wanted::Always => return Err(Failure::in_source(errors, &program.source)),
                Err(errors) => {
                    let reason = errors.0.first().map_or_else(String::new, |error| error.message.clone());
                    let more =
                        if errors.0.len() > 1 { format!(" (and {} more; see `irc check`)", errors.0.len() - 1) } else { String::new() };
                    terminal.say(&format!("note: without types, since {reason}{more}"));
                    None
                }
            }
        }
    };
    let types = types.as_ref();
    let bytes = match args.format {
        Format::Text => text::print(&program.graph, types).into_bytes(),
        Format::Json => {
            let json = to_json(&program.graph, types, &program.source);
            if args.out.is_none() {
                return terminal.print_json(&json);
            }
            format!("{json:#}\n").into_bytes()
        }
        Format::Dot => dot::to_dot(&program.graph, types).into_bytes(),
        Format::Cbor => cbor::encode(&program.graph),
    };
    match &args.out {
        None => terminal.print_bytes(&bytes),
        Some(out) => fs::write(out, bytes).map_err(|error| {
            let error = Diagnostic::error(Code::E0010, format!("the program cannot be written: {error}"));
            error.label(Span::file(out, ""), "").into()
        }),
    }
}

/// The hash of the program as it is given to the verifier: with its prompts as token ids.
fn hash(program: &mut Program, args: &DumpArgs, terminal: &Terminal) -> Outcome {
    program.open_models(&args.program.models, terminal)?;
    let verified = program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
    let hash = content_hash(verified.graph()).to_string();
    match args.json {
        true => terminal.print_json(&json!({ "ok": true, "name": &*program.graph.name, "hash": hash })),
        false => terminal.print(&hash),
    }
}

/// The object that `irc dump --help` documents.
fn to_json(graph: &Graph, types: Option<&Types>, source: &Source) -> Json {
    let models: Vec<Json> = graph
        .models
        .iter()
        .map(|decl| json!({ "name": &*decl.name, "reference": &*decl.reference, "span": span_json(&decl.span, source) }))
        .collect();
    let mut json = json!({ "format": "irc.graph", "version": 1, "name": &*graph.name, "models": models });
    json["nodes"] = nodes_json(graph, types, source);
    json["effects"] = effects_json(graph, types, source);
    json
}

fn nodes_json(graph: &Graph, types: Option<&Types>, source: &Source) -> Json {
    graph.nodes().map(|(id, _)| node_json(graph, id, types, source)).collect()
}

fn effects_json(graph: &Graph, types: Option<&Types>, source: &Source) -> Json {
    let body = |at: usize| types.and_then(|types| types.bodies.get(&LoopId::Effect(at)));
    graph.effects.iter().enumerate().map(|(at, effect)| effect_json(effect, body(at), source)).collect()
}

fn node_json(graph: &Graph, id: NodeId, types: Option<&Types>, source: &Source) -> Json {
    let node = graph.node(id);
    let attrs: Map<String, Json> = node
        .op
        .kind()
        .attrs()
        .iter()
        .zip(node.op.attrs())
        .map(|(decl, attr)| {
            (
                decl.name.to_owned(),
                match &attr {
                    Attr::Body(body) => body_json(body.graph(), types.and_then(|types| types.bodies.get(&LoopId::Node(id))), source),
                    attr => attr_json(attr),
                },
            )
        })
        .collect();
    let written = || graph.written_types().iter().find(|(of, ..)| *of == id).map(|(_, ty, _)| ty);
    let ty = types.and_then(|types| types.nodes.get(id.index())).or_else(written);
    json!({
        "id": id.index(),
        "op": node.op.kind().name(),
        "attrs": attrs,
        "operands": node.operands.iter().map(|operand| operand.index()).collect::<Vec<_>>(),
        "label": graph.label(id).map(|label| &**label),
        "type": ty.map(Type::to_string),
        "span": span_json(graph.span(id), source),
    })
}

/// An entry of the effect list, with the types of its body where it is a loop.
fn effect_json(effect: &Effect, types: Option<&Types>, source: &Source) -> Json {
    let mut json = match &effect.kind {
        EffectKind::Save { name } => json!({ "kind": "save", "name": &**name }),
        EffectKind::Log { label } => json!({ "kind": "log", "label": label.as_deref() }),
        EffectKind::Call { name, returns } => json!({ "kind": "call", "name": &**name, "returns": returns.to_string() }),
        EffectKind::Loop { trip, body } => json!({ "kind": "loop", "trip": trip, "body": body_json(body.graph(), types, source) }),
        EffectKind::Stop { reason } => json!({ "kind": "stop", "reason": reason.as_deref() }),
    };
    json["operands"] = effect.operands.iter().map(|operand| operand.index()).collect();
    json["guard"] = effect
        .guard
        .map_or(Json::Null, |guard| json!({ "condition": guard.condition.index(), "otherwise": guard.otherwise.map(NodeId::index) }));
    json["span"] = span_json(&effect.span, source);
    json
}

/// The body of a loop.
fn body_json(body: &Graph, types: Option<&Types>, source: &Source) -> Json {
    json!({
        "nodes": nodes_json(body, types, source),
        "effects": effects_json(body, types, source),
        "results": body.results.iter().map(|result| result.index()).collect::<Vec<_>>(),
        "until": body.until.map(NodeId::index),
    })
}
