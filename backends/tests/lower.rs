//! Every operation that has an ONNX form, lowered alone, run by the engine, and compared to its meaning: exactly where
//! elements only move or are integers, to 1e-6 otherwise. Once with all sizes known and, where types allow it, once with
//! the first one open.

#[path = "lower/cases.rs"]
mod cases;

use std::collections::BTreeSet;

use irc_backends::onnx::{
    lower::Lowering,
    session::{Data, DataRef, Session, SessionOptions, TensorRef, Threads},
};
use irc_ir::{
    attr::{Attr, Float},
    diagnostic::Span,
    eval::{Value, eval},
    graph::{Graph, NodeId},
    infer::{Models, infer},
    op::{Op, OpKind, Scope},
    tensor::Tensor,
    types::{DType, Dim, Type},
};

use cases::{Case, Random, cases, known};

/// Operations that models do not have, and that have no ONNX form.
const HOST_ONLY: &[OpKind] = &[
    OpKind::FloorDiv,
    OpKind::Atan2,
    OpKind::Logaddexp,
    OpKind::Expm1,
    OpKind::Log1p,
    OpKind::Cumprod,
    OpKind::CosineSimilarity,
    OpKind::CrossEntropy,
    OpKind::KlDiv,
];

/// Types of the operands; `open` leaves the first size of each open.
fn types(operands: &[Tensor], open: bool) -> Vec<Type> {
    let shape = |tensor: &Tensor| {
        let sizes = tensor.shape().iter().enumerate();
        sizes
            .map(|(at, size)| if open && at == 0 && *size > 1 { Dim::symbol(format!("S{size}")) } else { Dim::from(*size) })
            .collect::<Vec<_>>()
    };
    operands.iter().map(|tensor| Type::tensor(tensor.dtype(), shape(tensor))).collect()
}

/// What the engine makes of an operation; nothing if it cannot have such types.
fn run(op: &Op, operands: &[Tensor], open: bool) -> Option<Result<Vec<Tensor>, String>> {
    let mut graph = Graph::new("one");
    let mut all = types(operands, open);
    for (at, ty) in all.iter().enumerate() {
        let ty = ty.as_tensor().expect("operands are tensors");
        graph.add(Op::Input { name: format!("x{at}").into(), dtype: ty.dtype, shape: ty.shape.to_vec() }, [], Span::None);
    }
    let result = infer(op, &all.iter().collect::<Vec<_>>(), &Models::new()).ok()?;
    let node = graph.add(op.clone(), (0..operands.len()).map(NodeId::new), Span::None);
    all.push(result.clone());
    let mut wanted = vec![node];
    if let Type::Tuple(parts) = &result {
        wanted = (0..parts.len()).map(|index| graph.add(Op::Get { index: index as i64 }, [node], Span::None)).collect();
        all.extend(parts.iter().cloned());
    }

    let mut lowering = Lowering::new(&graph, &all);
    let lowered = (|| {
        for (id, node) in graph.nodes() {
            match &node.op {
                Op::Input { name, .. } => lowering.input(id, name)?,
                _ => lowering.node(id)?,
            }
        }
        wanted.iter().try_for_each(|id| lowering.output(*id))
    })();
    if let Err(error) = lowered {
        return Some(Err(error.message));
    }
    let lowered = lowering.finish();
    let options = SessionOptions { threads: Threads::new(1), prepack: false };
    let names: Vec<String> = wanted.iter().map(|id| lowered.names[id].clone()).collect();
    let session = match Session::load(lowered.model, None, options) {
        Ok(session) => session,
        Err(error) => return Some(Err(error.to_string())),
    };
    let given: Vec<_> = operands
        .iter()
        .enumerate()
        .filter_map(|(at, tensor)| {
            let data = match tensor.dtype() {
                DType::F32 => DataRef::F32(tensor.values()?),
                DType::I64 => DataRef::I64(tensor.values()?),
                DType::I32 => DataRef::I32(tensor.values()?),
                _ => DataRef::Bool(tensor.values()?),
            };
            // An operand that the operation's result does not need is not there.
            Some((session.find(&format!("x{at}"))?, TensorRef { shape: tensor.shape(), data }))
        })
        .collect();
    let ids: Vec<_> = names.iter().map(|name| session.find(name).expect("a wanted value is there")).collect();
    Some(match session.run(&given, &ids) {
        Err(error) => Err(error.to_string()),
        Ok(outputs) => outputs
            .into_iter()
            .zip(&all[node.index() + usize::from(wanted[0] != node)..])
            .map(|(out, ty)| {
                let dtype = ty.as_tensor().expect("results are tensors").dtype;
                match (out.data, dtype) {
                    (Data::F32(values), DType::F32) => Ok(Tensor::new(&out.shape, values)),
                    (Data::I32(values), DType::I64) => Ok(Tensor::new(&out.shape, values.into_iter().map(i64::from).collect())),
                    (Data::I32(values), DType::I32) => Ok(Tensor::new(&out.shape, values)),
                    (Data::I32(values), DType::Bool) if values.iter().all(|x| matches!(x, 0 | 1)) => {
                        Ok(Tensor::new(&out.shape, values.into_iter().map(|x| x == 1).collect()))
                    }
                    (data, dtype) => Err(format!("{data:?} is not of {dtype}")),
                }
            })
            .collect(),
    })
}

/// Whether the result of an operation is a choice of its operands' elements, or of integers.
fn is_exact(op: &Op) -> bool {
    !matches!(
        op.kind(),
        OpKind::Exp
            | OpKind::Log
            | OpKind::Sqrt
            | OpKind::Sigmoid
            | OpKind::Tanh
            | OpKind::Silu
            | OpKind::Softmax
            | OpKind::Sum
            | OpKind::Mean
            | OpKind::Matmul
            | OpKind::RmsNorm
            | OpKind::LayerNorm
            | OpKind::Gelu
            | OpKind::Rotary
            | OpKind::Div
            | OpKind::Reciprocal
            | OpKind::Rsqrt
            | OpKind::Exp2
            | OpKind::Log2
            | OpKind::Log10
            | OpKind::Sin
            | OpKind::Cos
            | OpKind::Tan
            | OpKind::Asin
            | OpKind::Acos
            | OpKind::Atan
            | OpKind::Sinh
            | OpKind::Cosh
            | OpKind::Erf
            | OpKind::Pow
            | OpKind::LeakyRelu
            | OpKind::Elu
            | OpKind::Softplus
            | OpKind::Mish
            | OpKind::LogSigmoid
            | OpKind::LogSoftmax
            | OpKind::Cumsum
            | OpKind::Prod
            | OpKind::Logsumexp
            | OpKind::Norm
            | OpKind::Var
            | OpKind::Std
            | OpKind::Einsum
    )
}

fn compare(op: &Op, got: &Tensor, want: &Tensor) -> Result<(), String> {
    if got.ty() != want.ty() {
        return Err(format!("{} instead of {}", got.ty(), want.ty()));
    }
    let (a, b) = (got.to_f64(), want.to_f64());
    let largest = b.iter().copied().filter(|x| x.is_finite()).fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let scale = |x: f64| match op.kind() {
        // Sums of products of both signs are as precise as their largest parts.
        OpKind::Sum | OpKind::Mean | OpKind::Matmul | OpKind::Einsum | OpKind::Rotary | OpKind::LayerNorm => largest.max(1.0),
        // The engine's erf is an approximation with an absolute error of 7e-7.
        OpKind::Gelu => 2.0 * x.abs().max(1.0),
        // The engine's are approximations whose error does not shrink with the result.
        OpKind::Sin | OpKind::Cos | OpKind::Erf | OpKind::Elu => x.abs().max(1.0),
        // A difference of numbers that may be nearly equal.
        OpKind::LogSoftmax => x.abs().max(1.0),
        _ => x.abs(),
    };
    let bound = if is_exact(op) { 0.0 } else { 1e-6 };
    match a
        .iter()
        .zip(&b)
        .position(|(a, b)| a != b && !(a.is_nan() && b.is_nan()) && ((a - b).is_nan() || (a - b).abs() > bound * scale(*b) + bound * 1e-30))
    {
        Some(at) => Err(format!("element {at} is {:e} instead of {:e}\n  {got:?}\n  {want:?}", a[at], b[at])),
        None => Ok(()),
    }
}

#[test]
fn operations_mean_the_same_on_the_engine() {
    let (mut failures, mut count, mut tried) = (vec![], 0, BTreeSet::new());
    for &kind in OpKind::ALL {
        for (op, operands) in cases(kind) {
            let values: Vec<Value> = operands.iter().map(|tensor| tensor.clone().into()).collect();
            let Ok(want) = eval(&op, &values.iter().collect::<Vec<_>>()) else { panic!("{op:?} of {operands:?} means nothing") };
            let want = match want {
                Value::Tuple(parts) => parts.iter().filter_map(|part| part.as_tensor().cloned()).collect(),
                value => vec![value.into_tensor().expect("a tensor")],
            };
            for open in [false, true] {
                let Some(result) = run(&op, &operands, open) else { continue };
                tried.insert(kind);
                count += 1;
                let result = result.and_then(|got| {
                    assert_eq!(got.len(), want.len());
                    got.iter().zip(&want).try_for_each(|(got, want)| compare(&op, got, want))
                });
                if let Err(why) = result {
                    failures.push(format!("{op:?} of {operands:?}, open {open}: {why}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 1_000, "{count} cases");
    // An operation that may stand inside models has cases.
    let refused: BTreeSet<OpKind> = refused().iter().map(|(op, _)| op.kind()).collect();
    let lists = [OpKind::Append, OpKind::Join, OpKind::Item, OpKind::Length];
    let covered = |kind: &OpKind| tried.contains(kind) || refused.contains(kind) || lists.contains(kind) || HOST_ONLY.contains(kind);
    let missing: Vec<&str> =
        OpKind::ALL.iter().filter(|kind| kind.scope() == Scope::Anywhere && !covered(kind)).map(|kind| kind.name()).collect();
    assert!(missing.is_empty(), "no case of {missing:?}");
}

/// Operations that have no ONNX form, on operands that they take.
fn refused() -> Vec<Case> {
    let mut random = Random(5);
    let r = &mut random;
    let (x, ids) = (r.tensor(DType::F32, &[3, 3]), r.ids(3, &[2]));
    let value = r.tensor(DType::F32, &[]);
    let stream = Tensor::scalar(1i64);
    let shape = || known(&[2]);
    let (zero, one, f32) = (Float::new(0.0), Float::new(1.0), DType::F32);
    vec![
        (Op::IndexBy { dims: vec![] }, vec![x.clone(), ids.clone(), ids.clone()]),
        (Op::IndexPut { dims: vec![0], accumulate: false }, vec![x.clone(), value.clone(), ids]),
        (Op::Scatter { dim: 0 }, vec![x.clone(), r.ids(3, &[1, 3]), value.clone()]),
        (Op::ScatterAdd { dim: 0 }, vec![x.clone(), r.ids(3, &[1, 3]), value.clone()]),
        (Op::NonZero { size: 9, fill: Some(0) }, vec![x.clone()]),
        (Op::MaskedSelect { size: 9, fill: Some(zero) }, vec![x.clone(), r.tensor(DType::Bool, &[3, 3])]),
        (Op::Roll { shifts: vec![1], dims: vec![0] }, vec![x.clone()]),
        (Op::Diagonal { offset: 0, dim0: 0, dim1: 1 }, vec![x.clone()]),
        (Op::RandomUniform { shape: shape(), seed: 0, low: zero, high: one, dtype: f32 }, vec![stream.clone()]),
        (Op::RandomNormal { shape: shape(), seed: 0, mean: zero, std: one, dtype: f32 }, vec![stream.clone()]),
        (Op::RandomInt { shape: shape(), seed: 0, low: 0, high: 9, dtype: DType::I64 }, vec![stream]),
        (Op::Sample { seed: 0, temperature: one, top_k: None, top_p: one, min_p: zero }, vec![x.clone()]),
        (Op::Einsum { equation: "i,i->i".into() }, vec![r.tensor(DType::I64, &[3]); 2]),
        (Op::List { of: None }, vec![x.clone()]),
        (Op::Format { template: "{}".into() }, vec![x]),
    ]
}

/// What has no ONNX form says so.
#[test]
fn what_cannot_be_lowered_is_an_error() {
    for (op, operands) in refused() {
        let found = run(&op, &operands, false);
        assert!(matches!(&found, Some(Err(message)) if message.contains("cannot be lowered")), "{op:?}: {found:?}");
    }
    // Of lists, which are no inputs of an ONNX model.
    let mut graph = Graph::new("lists");
    let [x, at] =
        [Tensor::scalar(1f32), Tensor::scalar(0i64)].map(|tensor| graph.add(Op::Const { value: (&tensor).into() }, [], Span::None));
    let list = graph.add(Op::List { of: None }, [x], Span::None);
    for (op, operands) in [
        (Op::Append {}, vec![list, x]),
        (Op::Join {}, vec![list, list]),
        (Op::Item { index: None }, vec![list, at]),
        (Op::Length {}, vec![list]),
    ] {
        let mut graph = graph.clone();
        let id = graph.add(op, operands, Span::None);
        let scalar = Type::tensor(DType::F32, []);
        let types = [scalar.clone(), Type::tensor(DType::I64, []), Type::List(scalar.clone().into()), scalar];
        let error = Lowering::new(&graph, &types).node(id);
        assert!(error.is_err_and(|error| error.message.contains("lists")));
    }
    let text = run(&Op::Const { value: irc_ir::attr::Literal::Str("Paris".into()) }, &[], false);
    assert!(matches!(text, Some(Err(message)) if message.contains("text")));
    for &kind in HOST_ONLY {
        let op = Op::build(kind, &mut |name| (name == "dim").then_some(Attr::Int(-1))).expect("the others have defaults");
        let mut operands = vec![Tensor::new([2, 3], vec![0.5f32; 6]); if kind.arity().accepts(1) { 1 } else { 2 }];
        if kind == OpKind::CrossEntropy {
            operands[1] = Tensor::new([2], vec![0i64, 2]);
        }
        let result = run(&op, &operands, false);
        let refused = matches!(&result, Some(Err(message)) if message.contains("cannot be lowered"));
        assert!(refused, "`{}` gives {result:?}", kind.name());
    }
}
