//! Any graph that can be built, well typed or not: what proptest makes programs of.

use half::{bf16, f16};
use irc_ir::{
    attr::{Attr, AttrKind, Float, Literal, Reduction},
    diagnostic::Span,
    graph::{Body, Effect, EffectKind, Graph, Guard, ModelDecl, NodeId},
    op::{Arity, Op, OpKind},
    tensor::{Element, Tensor},
    types::{DType, Dim, ForwardType, Name, Type},
};
use proptest::{
    prelude::*,
    sample::{Index, select},
};

fn text() -> BoxedStrategy<Name> {
    let odd = vec![
        "",
        "m",
        "model.layers.0.output",
        "a \"b\" \\ c",
        "line\nbreak\r\t\0",
        "é😀\u{202e}\u{feff}\u{7f}",
        "7",
        "0",
        "1_2",
        "-inf",
        "nan",
    ];
    prop_oneof![select(odd).prop_map(Name::from), "[ -~é]{0,8}".prop_map(Name::from)].boxed()
}

fn label() -> BoxedStrategy<Option<Name>> {
    prop_oneof![3 => Just(None), 2 => select(vec!["h", "x", "h_2", "save", "f32"]).prop_map(|name| Some(name.into())), 1 => text().prop_map(Some)].boxed()
}

fn dim() -> BoxedStrategy<Dim> {
    let small = prop_oneof![Just(-1i64), 0i64..20, Just(1 << 40)];
    let symbol = select(vec!["B", "T", "T2", "A_B"]).prop_map(Dim::symbol);
    let product = prop_oneof![
        small.prop_map(Dim::known),
        symbol.clone(),
        (-3i64..4, symbol.clone(), symbol).prop_map(|(n, a, b)| Dim::known(n) * a * b)
    ];
    let large = |dim: &Dim| dim.as_known().is_some_and(|size| size > 20);
    let sum = (product.clone(), product.clone()).prop_map(move |(a, b)| if large(&a) || large(&b) { a } else { a + b });
    prop_oneof![4 => product, 1 => sum].boxed()
}

fn dtype() -> BoxedStrategy<DType> {
    select(DType::ALL.to_vec()).boxed()
}

fn float() -> BoxedStrategy<f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), select(vec![0.0, -0.0, 1.0, 0.1, 1e16, f64::INFINITY, f64::NEG_INFINITY, f64::NAN])]
        .boxed()
}

fn tensor() -> BoxedStrategy<Tensor> {
    fn of<T: Element>(shape: &[usize], bits: &[u64], from: impl Fn(u64) -> T) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|at| from(bits[at % bits.len()])).collect())
    }
    let shape = prop_oneof![
        3 => Just(vec![]),
        3 => prop::collection::vec(1usize..4, 1..4),
        1 => prop::collection::vec(0usize..3, 1..4),
        1 => Just(vec![1; 20]),
        1 => Just(vec![1 << 40, 0]),
        1 => Just(vec![3, 50]),
    ];
    let simple = any::<i8>().prop_map(|n| (n as f32 / 10.0).to_bits() as u64);
    let bits = prop::collection::vec(
        prop_oneof![any::<u64>(), any::<u8>().prop_map(u64::from), simple, Just(0x7fc0_7e00_7fc0_0000), Just(1 << 63)],
        1..8,
    );
    (dtype(), shape, bits)
        .prop_map(|(dtype, shape, bits)| match dtype {
            DType::F64 => of(&shape, &bits, f64::from_bits),
            DType::F32 => of(&shape, &bits, |bits| f32::from_bits(bits as u32)),
            DType::F16 => of(&shape, &bits, |bits| f16::from_bits(bits as u16)),
            DType::BF16 => of(&shape, &bits, |bits| bf16::from_bits(bits as u16)),
            DType::I64 => of(&shape, &bits, |bits| bits as i64),
            DType::I32 => of(&shape, &bits, |bits| bits as i32),
            DType::U8 => of(&shape, &bits, |bits| bits as u8),
            DType::Bool => of(&shape, &bits, |bits| bits & 1 == 1),
        })
        .boxed()
}

fn literal() -> BoxedStrategy<Literal> {
    prop_oneof![1 => text().prop_map(Literal::Str), 3 => tensor().prop_map(|tensor| Literal::from(&tensor))].boxed()
}

/// `depth` is how deep loops may be nested.
fn attr(kind: AttrKind, depth: usize) -> BoxedStrategy<Attr> {
    let int = prop_oneof![-3i64..10, Just(i64::MIN), Just(i64::MAX)];
    match kind {
        AttrKind::Int => int.prop_map(Attr::Int).boxed(),
        AttrKind::OptionalInt => prop_oneof![Just(Attr::None), int.prop_map(Attr::Int)].boxed(),
        AttrKind::OptionalFloat => prop_oneof![Just(Attr::None), float().prop_map(|value| Attr::Float(Float::new(value)))].boxed(),
        AttrKind::OptionalDType => prop_oneof![Just(Attr::None), dtype().prop_map(Attr::DType)].boxed(),
        AttrKind::Type => ty().prop_map(Attr::Type).boxed(),
        AttrKind::OptionalType => prop_oneof![Just(Attr::None), ty().prop_map(Attr::Type)].boxed(),
        AttrKind::Bool => any::<bool>().prop_map(Attr::Bool).boxed(),
        AttrKind::Float => float().prop_map(|value| Attr::Float(Float::new(value))).boxed(),
        AttrKind::Name => text().prop_map(Attr::Name).boxed(),
        AttrKind::DType => dtype().prop_map(Attr::DType).boxed(),
        AttrKind::Ints => prop::collection::vec(int, 0..4).prop_map(Attr::Ints).boxed(),
        AttrKind::Dims => prop::collection::vec(dim(), 0..4).prop_map(Attr::Dims).boxed(),
        AttrKind::Literal => literal().prop_map(Attr::Literal).boxed(),
        AttrKind::Body => body(depth).prop_map(Attr::Body).boxed(),
        AttrKind::Reduction => prop::sample::select(&Reduction::ALL[..]).prop_map(Attr::Reduction).boxed(),
    }
}

fn op(depth: usize) -> BoxedStrategy<Op> {
    let of = move |kind: OpKind| {
        // Optional attributes are left out half of the time.
        let attrs: Vec<_> = kind
            .attrs()
            .iter()
            .map(|decl| (attr(decl.kind, depth), if decl.optional { any::<bool>().boxed() } else { Just(true).boxed() }))
            .collect();
        let build = move |attrs: Vec<(Attr, bool)>| {
            Op::build(kind, &mut |name| {
                let at = kind.attrs().iter().position(|decl| decl.name == name)?;
                attrs[at].1.then(|| attrs[at].0.clone())
            })
            .unwrap()
        };
        attrs.prop_map(build)
    };
    let any_op = select(OpKind::ALL.to_vec()).prop_flat_map(of);
    prop_oneof![1 => literal().prop_map(|value| Op::Const { value }), 2 => any_op].boxed()
}

pub fn ty() -> BoxedStrategy<Type> {
    let leaf = prop_oneof![
        (dtype(), prop::collection::vec(dim(), 0..4)).prop_map(|(dtype, shape)| Type::tensor(dtype, shape)),
        (text(), dim(), dim(), dim()).prop_map(|(model, batch, tokens, past)| Type::Forward(ForwardType { model, batch, tokens, past })),
        Just(Type::Str),
        Just(Type::Opaque),
    ];
    let nest = |part: BoxedStrategy<Type>| {
        let parts = prop::collection::vec(part.clone(), 0..3).prop_map(|parts| Type::Tuple(parts.into()));
        prop_oneof![parts, part.prop_map(|part| Type::List(part.into()))]
    };
    leaf.prop_recursive(3, 8, 3, move |part| nest(part.boxed())).boxed()
}

#[derive(Clone, Debug)]
struct Part {
    op: Op,
    picks: Vec<Index>,
    recent: bool,
    label: Option<Name>,
    ty: Option<Type>,
    effect: Option<EffectPart>,
}

#[derive(Clone, Debug)]
struct EffectPart {
    kind: EffectKind,
    picks: Vec<Index>,
    guard: Option<(Index, Option<Index>)>,
    /// Its place among the effects so far; the last.
    place: Option<Index>,
    /// Whether a value stands for its result.
    result: bool,
}

fn effect(depth: usize) -> BoxedStrategy<EffectPart> {
    let index = any::<Index>;
    let kind = prop_oneof![
        3 => text().prop_map(|name| EffectKind::Save { name }),
        3 => prop::option::of(text()).prop_map(|label| EffectKind::Log { label }),
        2 => (text(), prop_oneof![Just(Type::Opaque), ty()]).prop_map(|(name, returns)| EffectKind::Call { name, returns }),
        1 => (any::<i64>(), body(depth)).prop_map(|(trip, body)| EffectKind::Loop { trip, body }),
        1 => prop::option::of(text()).prop_map(|reason| EffectKind::Stop { reason }),
    ];
    let guard = prop::option::weighted(0.3, (index(), prop::option::of(index())));
    (kind, prop::collection::vec(index(), 0..4), guard, prop::option::weighted(0.2, index()), any::<bool>())
        .prop_map(|(kind, picks, guard, place, result)| EffectPart { kind, picks, guard, place, result })
        .boxed()
}

fn part(depth: usize) -> BoxedStrategy<Part> {
    let effect = prop::option::weighted(0.3, effect(depth));
    let picks = prop::collection::vec(any::<Index>(), 0..4);
    (op(depth), picks, any::<bool>(), label(), prop::option::weighted(0.3, ty()), effect)
        .prop_map(|(op, picks, recent, label, ty, effect)| Part { op, picks, recent, label, ty, effect })
        .boxed()
}

fn fill(graph: &mut Graph, parts: Vec<Part>) {
    for part in parts {
        let count = match part.op.kind().arity() {
            Arity::Exactly(count) => count,
            Arity::AtLeast(least) => least.max(part.picks.len()),
            Arity::Between(least, most) => part.picks.len().clamp(least, most),
        };
        // Half of the nodes use the values just before them, in order: that is where constants move in.
        let operands: Vec<NodeId> = (0..if graph.is_empty() { 0 } else { count })
            .map(|at| match part.picks.get(at) {
                Some(pick) if !part.recent => NodeId::new(pick.index(graph.len())),
                _ => NodeId::new((graph.len() + at).saturating_sub(count).min(graph.len() - 1)),
            })
            .collect();
        let id = graph.add(part.op, operands, Span::None);
        if let Some(label) = part.label {
            graph.set_label(id, label);
        }
        if let Some(ty) = part.ty {
            graph.write_type(id, ty, Span::None);
        }
        let Some(effect) = part.effect else { continue };
        let pick = |pick: &Index| NodeId::new(pick.index(graph.len()));
        let operands: Vec<NodeId> = match &effect.kind {
            EffectKind::Save { .. } | EffectKind::Log { .. } => vec![effect.picks.first().map_or(id, pick)],
            EffectKind::Call { .. } | EffectKind::Loop { .. } => effect.picks.iter().map(pick).collect(),
            EffectKind::Stop { .. } => vec![],
        };
        let guard = effect.guard.map(|(condition, other)| Guard { condition: pick(&condition), otherwise: other.as_ref().map(pick) });
        let at = effect.place.map_or(graph.effects.len(), |place| place.index(graph.effects.len() + 1));
        graph.effects.insert(at, Effect { guard, ..Effect::new(effect.kind, operands, Span::None) });
        if effect.result {
            graph.add(Op::EffectResult { entry: at as i64 }, [], Span::None);
        }
    }
}

/// Any body that can be built.
fn body(depth: usize) -> BoxedStrategy<Body> {
    let Some(inner) = depth.checked_sub(1) else { return Just(Body::default()).boxed() };
    let params = prop::collection::vec((prop::option::of(ty()), label()), 1..4);
    let ends = (prop::collection::vec(any::<Index>(), 0..3), prop::option::of(any::<Index>()));
    (params, prop::collection::vec(part(inner), 0..6), ends)
        .prop_map(|(params, mut parts, (results, until))| {
            let mut graph = Graph::new("");
            let count = params.len();
            for (index, (ty, label)) in params.into_iter().enumerate() {
                let id = graph.add(Op::Param { index: index as i64, ty: ty.map(Box::new) }, [], Span::None);
                label.into_iter().for_each(|label| graph.set_label(id, label));
            }
            parts.retain(|part| part.op.kind() != OpKind::Param);
            fill(&mut graph, parts);
            graph.results = results.iter().take(count - 1).map(|pick| NodeId::new(pick.index(graph.len()))).collect();
            graph.until = until.map(|pick| NodeId::new(pick.index(graph.len())));
            Body::new(graph).unwrap()
        })
        .boxed()
}

/// Any graph that can be built, well typed or not.
pub fn graph() -> BoxedStrategy<Graph> {
    let models = prop::collection::hash_map(text(), text(), 0..3);
    (text(), models, prop::collection::vec(part(2), 0..24))
        .prop_map(|(name, models, parts)| {
            let mut graph = Graph::new(name);
            graph.models = models.into_iter().map(|(name, reference)| ModelDecl { name, reference, span: Span::None }).collect();
            fill(&mut graph, parts);
            graph
        })
        .boxed()
}
