//! Random programs: they verify, every operation takes part, and what they are does not depend on how they are written.

use std::collections::BTreeSet;

use irc_ir::{
    attr::{Attr, Float, Literal, Reduction},
    canonical::{canonical, content_hash},
    cbor::{decode, encode},
    diagnostic::Span,
    graph::{Body, Effect, EffectKind, Graph, ModelDecl, NodeId},
    op::{Op, OpKind, Scope},
    random::{Config, Dice, program},
    tensor::Tensor,
    types::{DType, Dim, ForwardType, Name, Type},
    verify::verify,
};

mod models;
use models::models;

/// All graphs of a program.
fn graphs(graph: &Graph) -> Vec<&Graph> {
    let bodies = graph.bodies().flat_map(|(_, body)| graphs(body.graph()));
    [graph].into_iter().chain(bodies).collect()
}

#[test]
fn all_verify_and_every_operation_occurs() {
    let models = models();
    let mut seen = BTreeSet::new();
    let mut effects = BTreeSet::new();
    let (mut guards, mut ends, mut nested, mut grown) = (0, 0, 0, 0);
    for seed in 0..2_000 {
        let graph = program(seed, &models, &Config::default());
        assert_eq!(program(seed, &models, &Config::default()), graph, "the same seed is the same program");
        let verified = verify(graph, &models).unwrap_or_else(|errors| panic!("program {seed} is meant to be well typed: {errors}"));
        for graph in graphs(verified.graph()) {
            seen.extend(graph.nodes().map(|(_, node)| node.op.kind()));
            effects.extend(graph.effects.iter().map(|effect| match effect.kind {
                EffectKind::Save { .. } => "save",
                EffectKind::Log { .. } => "log",
                EffectKind::Call { .. } => "call",
                EffectKind::Loop { .. } => "loop",
                EffectKind::Stop { .. } => "stop",
            }));
            guards += graph.effects.iter().filter(|effect| effect.guard.is_some_and(|guard| guard.otherwise.is_some())).count();
            ends += usize::from(graph.until.is_some());
            nested += graph.bodies().filter(|(_, body)| body.graph().bodies().next().is_some()).count();
            grown += graph.nodes().filter(|(_, node)| matches!(node.op, Op::Param { ty: Some(_), .. })).count();
        }
    }
    let expected = OpKind::ALL.iter().filter(|kind| kind.scope() != Scope::Model);
    let unseen: Vec<&str> = expected.filter(|kind| !seen.contains(kind)).map(|kind| kind.name()).collect();
    assert_eq!(unseen, [""; 0], "no program uses these operations");
    assert_eq!(effects.len(), 5, "{effects:?}");
    assert!(guards > 50 && ends > 200 && nested > 50 && grown > 500, "{guards} {ends} {nested} {grown}");
}

#[test]
fn a_configuration_is_kept() {
    let models = models();
    for seed in 0..200 {
        let graph = program(seed, &models, &Config { writes: false, ..Config::plain() });
        let plain = graph.nodes().all(|(_, node)| {
            !matches!(node.op, Op::Write { .. } | Op::Extend {} | Op::Loop { .. } | Op::Call { .. } | Op::EffectResult { .. })
        });
        assert!(plain && graph.effects.iter().all(|effect| effect.guard.is_none()), "program {seed}");
        assert!(graph.len() < 100 && graph.effects.iter().all(|effect| effect.operands.len() == 1), "program {seed}");
    }
}

/// The graph in another order of its nodes that is as good, with a value that nobody needs, other names and other claims.
fn rewritten(graph: &Graph, dice: &mut Dice, renamed: &dyn Fn(&Name) -> Name) -> Graph {
    let mut new = Graph::new(format!("{} again", graph.name));
    let decl = |decl: &ModelDecl| ModelDecl { name: renamed(&decl.name), reference: decl.reference.clone(), span: Span::text(1, 2) };
    new.models = graph.models.iter().map(decl).collect();
    new.models.push(ModelDecl { name: "unused".into(), reference: "unused".into(), span: Span::None });
    let mut moved: Vec<Option<NodeId>> = vec![None; graph.len()];
    // A value may stand once what it needs does; the result of an effect after what that and the effects before it need.
    let ready = |id: NodeId, moved: &[Option<NodeId>]| {
        let node = graph.node(id);
        let there = |id: NodeId| moved[id.index()].is_some();
        let params = |end: usize| graph.nodes().take(end).all(|(id, node)| !matches!(node.op, Op::Param { .. }) || there(id));
        let before = match node.op {
            Op::EffectResult { entry } => graph.effects[..=entry as usize].iter().flat_map(Effect::uses).all(there),
            _ => true,
        };
        before && params(id.index()) && node.operands.iter().all(|operand| there(*operand))
    };
    while new.len() < graph.len() {
        let open: Vec<NodeId> = graph.nodes().map(|(id, _)| id).filter(|id| moved[id.index()].is_none() && ready(*id, &moved)).collect();
        let id = dice.pick(&open);
        let node = graph.node(id);
        let operands: Vec<NodeId> = node.operands.iter().filter_map(|operand| moved[operand.index()]).collect();
        let op = match &node.op {
            Op::Forward { model } => Op::Forward { model: renamed(model) },
            Op::Apply { model, module } => Op::Apply { model: renamed(model), module: module.clone() },
            Op::Param { index, ty } => Op::Param { index: *index, ty: ty.as_ref().map(|ty| Box::new(renamed_type(ty, renamed))) },
            Op::Loop { trip, body } => Op::Loop { trip: *trip, body: rewritten_body(body, dice, renamed) },
            op => op.clone(),
        };
        let at = new.add(op, operands, Span::text(3, 4));
        new.set_label(at, format!("v{}", dice.below(1000)));
        moved[id.index()] = Some(at);
    }
    let value = |id: NodeId| moved[id.index()].expect("all have their place");
    for effect in &graph.effects {
        let mut effect = effect.map(value);
        if let EffectKind::Loop { body, .. } = &mut effect.kind {
            *body = rewritten_body(body, dice, renamed);
        }
        new.effects.push(effect);
    }
    new.results = graph.results.iter().map(|id| value(*id)).collect();
    new.until = graph.until.map(value);
    let dead = new.add(Op::Const { value: Literal::Str("dead".into()) }, [], Span::None);
    new.add(Op::Tuple {}, [dead], Span::None);
    new
}

fn rewritten_body(body: &Body, dice: &mut Dice, renamed: &dyn Fn(&Name) -> Name) -> Body {
    let mut graph = rewritten(body.graph(), dice, renamed);
    graph.name = "".into();
    graph.models.clear();
    Body::new(graph).expect("it was a body before")
}

fn renamed_type(ty: &Type, renamed: &dyn Fn(&Name) -> Name) -> Type {
    match ty {
        Type::Tuple(parts) => Type::Tuple(parts.iter().map(|part| renamed_type(part, renamed)).collect()),
        Type::List(part) => Type::List(renamed_type(part, renamed).into()),
        Type::Forward(forward) => Type::Forward(ForwardType { model: renamed(&forward.model), ..forward.clone() }),
        Type::Tensor(_) | Type::Str | Type::Opaque => ty.clone(),
    }
}

#[test]
fn how_a_program_is_written_does_not_count() {
    let models = models();
    for seed in 0..300 {
        let graph = program(seed, &models, &Config::default());
        let hash = content_hash(&graph);
        let form = canonical(&graph);
        assert_eq!(canonical(&form), form, "program {seed}: the form of the form is the form");
        assert_eq!(content_hash(&decode(&encode(&graph)).unwrap()), hash, "program {seed}");
        let again = rewritten(&graph, &mut Dice::new(seed), &|name| format!("{name} too").into());
        assert_ne!(again, graph);
        assert_eq!(content_hash(&again), hash, "program {seed}");
        // It is a program that means something: on models of the new names it verifies, too.
        let named = models.iter().map(|(name, spec)| (format!("{name} too").into(), spec.clone()));
        let verified = verify(again, &named.chain([("unused".into(), models["n"].clone())]).collect());
        assert!(verified.is_ok(), "program {seed}: {:?}", verified.err());
        let by_reference = |decl: &ModelDecl| (decl.name.clone(), models[&decl.reference].clone());
        let verified = verify(form.clone(), &form.models.iter().map(by_reference).collect());
        assert!(verified.is_ok(), "program {seed}: {:?}", verified.err());
    }
}

/// Everything else counts: one change of one live part gives another hash.
#[test]
fn what_a_program_says_counts() {
    let models = models();
    let mut changed = [0; 5];
    for seed in 0..300 {
        let graph = program(seed, &models, &Config::default());
        let hash = content_hash(&graph);
        let mut dice = Dice::new(seed);
        let live: Vec<NodeId> = graph.live().iter().enumerate().filter(|(_, live)| **live).map(|(at, _)| NodeId::new(at)).collect();
        let mut differs = |which: usize, other: &Graph| {
            assert_ne!(content_hash(other), hash, "program {seed}, change {which}");
            changed[which] += 1;
        };
        // An attribute or a constant.
        let id = dice.pick(&live);
        if let Some(op) = with_another_attribute(&graph.node(id).op) {
            let mut other = graph.clone();
            other.set_op(id, op);
            differs(0, &other);
        }
        // The order of effects, a name, an operand, the model that is meant.
        let mut other = graph.clone();
        other.effects.rotate_left(1);
        if other != graph {
            differs(1, &other);
        }
        let mut other = graph.clone();
        other.effects.pop();
        differs(2, &other);
        let mut other = graph.clone();
        let effect = other.effects.last_mut().expect("something is saved");
        if let Some(id) = effect.operands.first().copied().filter(|id| id.index() > 0) {
            effect.operands[0] = NodeId::new(id.index() - 1);
            if graph.node(id) != graph.node(NodeId::new(id.index() - 1)) {
                differs(3, &other);
            }
        }
        let form = canonical(&graph);
        let uses = |model: &ModelDecl| form.models.iter().any(|used| used.reference == model.reference);
        if uses(&graph.models[0]) {
            let mut other = graph.clone();
            other.models[0].reference = "another".into();
            differs(4, &other);
        }
    }
    assert!(changed.iter().all(|count| *count > 100), "{changed:?}");
}

fn with_another_attribute(op: &Op) -> Option<Op> {
    let decls = op.kind().attrs();
    let attrs: Vec<Attr> = op.attrs();
    let at = attrs.iter().position(|attr| !matches!(attr, Attr::Body(_) | Attr::Type(_) | Attr::None))?;
    let other = match &attrs[at] {
        Attr::Int(value) => Attr::Int(value + 1),
        Attr::Bool(value) => Attr::Bool(!value),
        Attr::Float(value) => Attr::Float(Float::new(value.get() + 1.0)),
        Attr::Name(name) => Attr::Name(format!("{name}x").into()),
        Attr::DType(dtype) => Attr::DType(if dtype.is_float() { DType::U8 } else { DType::F64 }),
        Attr::Ints(values) => Attr::Ints([&values[..], &[7]].concat()),
        Attr::Dims(dims) => Attr::Dims(dims.iter().cloned().chain([Dim::known(1)]).collect()),
        Attr::Literal(Literal::Str(text)) => Attr::Literal(Literal::Str(format!("{text}x").into())),
        Attr::Literal(Literal::Tensor(tensor)) => {
            let mut bytes = tensor.bytes().to_vec();
            *bytes.first_mut()? ^= 1;
            Attr::Literal((&Tensor::from_le_bytes(tensor.dtype(), tensor.shape(), &bytes)?).into())
        }
        Attr::Reduction(reduction) => Attr::Reduction(if *reduction == Reduction::Sum { Reduction::Mean } else { Reduction::Sum }),
        Attr::None | Attr::Type(_) | Attr::Body(_) => return None,
    };
    Op::build(op.kind(), &mut |name| {
        let found = decls.iter().position(|decl| decl.name == name)?;
        Some(if found == at { other.clone() } else { attrs[found].clone() })
    })
    .ok()
}
