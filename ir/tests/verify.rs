//! What the verifier says of graphs that no program text gives. The rest is in `tests/cases/verify`.

use std::sync::Arc;

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostics, Span},
    graph::{Body, Effect, EffectKind, Graph, Guard, MAX_LOOP_NESTING, ModelDecl, NodeId},
    infer::Models,
    model::{ModelBuilder, ModelSpec},
    op::Op,
    tensor::Tensor,
    types::{DType, Dim, Type},
    verify::{Limits, MAX_TRIP, verify, verify_within},
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

#[test]
fn what_is_not_in_the_graph_is_found() {
    let far = NodeId::new(99);
    let (graph, value) = program();
    let kind = || EffectKind::Log { label: None };
    let with = |change: &dyn Fn(&mut Graph)| {
        let mut graph = graph.clone();
        change(&mut graph);
        codes(verify(graph, &models()))
    };
    assert_eq!(with(&|graph| graph.effects.push(Effect::new(kind(), [far], Span::None))), [Code::E0002]);
    let guard = |condition, otherwise| Effect { guard: Some(Guard { condition, otherwise }), ..Effect::new(kind(), [value], Span::None) };
    assert_eq!(with(&|graph| graph.effects.push(guard(far, None))), [Code::E0002]);
    assert_eq!(with(&|graph| graph.effects.push(guard(value, Some(far)))), [Code::E0002]);
    assert_eq!(with(&|graph| graph.write_type(far, Type::Str, Span::None)), [Code::E0002]);
    assert_eq!(with(&|graph| graph.until = Some(far)), [Code::E0002]);
    assert_eq!(with(&|graph| graph.until = Some(value)), [Code::E3005, Code::E3007]);
    assert_eq!(with(&|graph| graph.results.push(value)), [Code::E3007]);
}

#[test]
fn effects_have_the_operands_of_their_kinds() {
    let (graph, value) = program();
    let with = |kind: EffectKind, operands: &[NodeId]| {
        let mut graph = graph.clone();
        graph.effects.push(Effect::new(kind, operands.iter().copied(), Span::None));
        codes(verify(graph, &models()))
    };
    assert_eq!(with(EffectKind::Save { name: "x".into() }, &[]), [Code::E1001]);
    assert_eq!(with(EffectKind::Log { label: None }, &[value, value]), [Code::E1001]);
    assert_eq!(with(EffectKind::Stop { reason: None }, &[value]), [Code::E1001]);
    assert_eq!(with(EffectKind::Loop { trip: 1, body: Body::default() }, &[value]), [Code::E3007]);
    assert_eq!(with(EffectKind::Loop { trip: 1, body: Body::default() }, &[]), []);
}

#[test]
fn bodies_are_right_by_construction() {
    let param = |index| Op::Param { index, ty: None };
    let body = |params: &[i64], change: &dyn Fn(&mut Graph)| {
        let mut graph = Graph::new("");
        for index in params {
            graph.add(param(*index), [], Span::None);
        }
        change(&mut graph);
        Body::new(graph).err().map(|error| error.code)
    };
    assert_eq!(body(&[0, 1], &|graph| graph.results.push(NodeId::new(0))), None);
    assert_eq!(body(&[], &|_| ()), Some(Code::E3007));
    assert_eq!(body(&[1, 0], &|_| ()), Some(Code::E3007));
    assert_eq!(body(&[0, 1, 1], &|_| ()), Some(Code::E3007));
    assert_eq!(body(&[0], &|graph| graph.results.push(NodeId::new(0))), Some(Code::E3007));
    assert_eq!(body(&[0, 1], &|graph| graph.results.push(NodeId::new(2))), Some(Code::E0002));
    assert_eq!(body(&[0], &|graph| graph.name = "name".into()), Some(Code::E3007));
    assert_eq!(body(&[0], &|graph| declare(graph, "m")), Some(Code::E3007));
    let mut nested = Body::default();
    for depth in 2..=MAX_LOOP_NESTING + 1 {
        let mut graph = Graph::new("");
        graph.add(param(0), [], Span::None);
        graph.add(Op::Loop { trip: 1, body: nested.clone() }, [], Span::None);
        match Body::new(graph) {
            Ok(body) => nested = body,
            Err(error) => assert_eq!((error.code, depth), (Code::E4001, MAX_LOOP_NESTING + 1)),
        }
    }
}

/// Nodes of bodies count as often as they stand in the program, so sharing a body does not make checking it longer than that.
#[test]
fn shared_bodies_count_each_time() {
    let mut body = Body::default();
    for _ in 1..MAX_LOOP_NESTING {
        let mut graph = Graph::new("");
        graph.add(Op::Param { index: 0, ty: None }, [], Span::None);
        for _ in 0..1000 {
            graph.add(Op::Loop { trip: 1, body: body.clone() }, [], Span::None);
        }
        body = Body::new(graph).unwrap();
    }
    let mut graph = Graph::new("g");
    graph.add(Op::Loop { trip: 1, body }, [], Span::None);
    assert_eq!(codes(verify(graph, &models())), [Code::E4001]);
}

/// The sizes after a million iterations are found without counting to a million, for each of many loops.
#[test]
fn many_long_loops_are_checked() {
    let mut graph = Graph::new("");
    graph.add(Op::Param { index: 0, ty: None }, [], Span::None);
    let ty = Some(Box::new(Type::tensor(DType::I64, [Dim::symbol("N")])));
    let x = graph.add(Op::Param { index: 1, ty }, [], Span::None);
    let one = graph.add(Op::Const { value: (&Tensor::new([1], vec![1i64])).into() }, [], Span::None);
    let longer = graph.add(Op::Cat { dim: 0 }, [x, one], Span::None);
    graph.results.push(longer);
    let body = Body::new(graph).unwrap();
    let mut graph = Graph::new("g");
    let x = graph.add(Op::Const { value: (&Tensor::new([0], Vec::<i64>::new())).into() }, [], Span::None);
    let loops: Vec<NodeId> = (0..1000).map(|_| graph.add(Op::Loop { trip: MAX_TRIP, body: body.clone() }, [x], Span::None)).collect();
    let verified = verify(graph, &models()).unwrap();
    assert!(loops.iter().all(|id| verified.ty(*id).to_string() == "(tensor<1048576xi64>)"));
}
