//! What the verifier says of graphs that no program text gives. The rest is in `tests/cases/verify`.

use std::sync::Arc;

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostics, Span},
    graph::{Effect, EffectKind, Graph, ModelDecl, NodeId},
    infer::Models,
    model::{ModelBuilder, ModelSpec},
    op::Op,
    tensor::Tensor,
    types::{DType, Type},
    verify::{Limits, verify, verify_within},
};

/// A model with a module that looks past its input: `sum` adds what went into the module before it.
fn spec() -> ModelSpec {
    let mut m = ModelBuilder::new("tiny", DType::F32, 8, 4);
    let tokens = m.tokens();
    let x = m.module("embed", tokens, |m, tokens| m.embedding("weight", tokens, 8, 4));
    let up = m.module("up", x, |m, x| m.linear("weight", x, 4, 4));
    let sum = m.module("sum", up, |m, up| m.add(up, x));
    m.finish(sum).unwrap()
}

fn models() -> Models {
    Models::from([("m".into(), Arc::new(spec()))])
}

fn declare(graph: &mut Graph, name: &str) {
    graph.models.push(ModelDecl { name: name.into(), reference: "tiny".into(), span: Span::None });
}

/// A graph of this model with token ids and a hook's value.
fn program() -> (Graph, NodeId) {
    let mut graph = Graph::new("g");
    declare(&mut graph, "m");
    let tokens = graph.add(Op::Const { value: (&Tensor::new([1, 2], vec![1i64, 2])).into() }, [], Span::None);
    let forward = graph.add(Op::Forward { model: "m".into() }, [tokens], Span::None);
    let value = graph.add(Op::Read { hook: "up.output".into() }, [forward], Span::None);
    (graph, value)
}

fn codes(result: Result<impl Sized, Diagnostics>) -> Vec<Code> {
    result.err().unwrap_or_default().0.iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn a_graph_without_text_is_checked_alike() {
    let (mut graph, value) = program();
    graph.effects.push(Effect::new(EffectKind::Save { name: "x".into() }, [value], Span::None));
    let verified = verify(graph.clone(), &models()).unwrap();
    assert_eq!(verified.ty(value).to_string(), "tensor<1x2x4xf32>");
    assert_eq!((verified.types().nodes.len(), verified.models().len()), (3, 1));

    graph.add(Op::Index { dim: 3, index: 0 }, [value], Span::None);
    let error = verify(graph, &models()).unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
    assert!(error.to_string().starts_with("E1004: dimension 3 is out of range"), "{error}");
}

#[test]
fn models_are_declared_once() {
    let (mut graph, _) = program();
    declare(&mut graph, "m");
    declare(&mut graph, "m");
    assert_eq!(codes(verify(graph, &models())), [Code::E0003, Code::E0003]);
}

#[test]
fn models_that_are_at_hand_must_be_declared() {
    let (mut graph, _) = program();
    graph.models.clear();
    assert_eq!(codes(verify(graph, &models())), [Code::E2002]);
}

#[test]
fn a_prompt_without_a_tokenizer_is_not_bound() {
    let mut graph = Graph::new("g");
    declare(&mut graph, "m");
    let prompt = graph.add(Op::Const { value: irc_ir::attr::Literal::Str("text".into()) }, [], Span::None);
    graph.add(Op::Forward { model: "m".into() }, [prompt], Span::None);
    let error = verify(graph, &models()).unwrap_err();
    assert_eq!(error.0[0].code, Code::E2008);
    assert!(error.0[0].notes[0].contains("no tokenizer"), "{error:?}");
}

#[test]
fn a_module_that_looks_past_its_input_cannot_be_applied() {
    let (mut graph, value) = program();
    let apply = |module: &str| Op::Apply { model: "m".into(), module: module.into() };
    graph.add(apply("up"), [value], Span::None);
    graph.add(apply("sum"), [value], Span::None);
    let error = verify(graph, &models()).unwrap_err();
    assert_eq!(error.0.len(), 1);
    assert!(error.0[0].code == Code::E2005 && error.0[0].message.contains("`sum`") && !error.0[0].notes.is_empty(), "{error:?}");
}

#[test]
fn claims_of_the_same_value_are_each_checked() {
    let (mut graph, value) = program();
    graph.write_type(value, Type::Str, Span::None);
    graph.write_type(value, Type::Opaque, Span::None);
    assert_eq!(codes(verify(graph, &models())), [Code::E1007, Code::E1007]);
}

#[test]
fn limits_are_kept() {
    let (graph, _) = program();
    let within = |nodes, elements| verify_within(graph.clone(), &models(), Limits { nodes, elements });
    assert_eq!(codes(within(3, 8)), []);
    assert_eq!(codes(within(2, 8)), [Code::E4001]);
    assert_eq!(codes(within(3, 7)), [Code::E4001]);
}
