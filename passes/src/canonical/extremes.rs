//! The largest and the smallest, through what keeps the order of elements.

use irc_ir::{
    graph::NodeId,
    infer::normalise_axis,
    op::{Op, OpKind},
    types::DType,
};

use super::{Entry, layouts::widens};
use crate::builder::{Builder, Rewrite, Site};

pub(super) static RULES: &[Entry] = &[
    Entry::exact(
        "extreme-of-negative",
        "argmax (-x) = argmin x, and argmin (-x) = argmax x, of floats",
        &[OpKind::Argmax, OpKind::Argmin],
        extreme_of_negative,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save argmax(neg(%x)) {dim: -1} as "max"
          save argmin(neg(%x)) as "min"
        }"#,
    ),
    Entry::exact(
        "extreme-of-cast",
        "argmax (cast x) = argmax x, where the cast loses nothing; so argmin, and the indices of topk and sort",
        &[OpKind::Argmax, OpKind::Argmin, OpKind::Get],
        extreme_of_cast,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf16>}
          save argmax(cast(%x) {dtype: f32}) {dim: 1, keepdim: true} as "max"
          save argmin(cast(%x) {dtype: f64}) {dim: 0} as "min"
          save get(topk(cast(%x) {dtype: f32}) {k: 3}) {index: 1} as "topk"
        }"#,
    ),
    Entry::exact(
        "cast-of-extreme",
        "max (cast x) = cast (max x), where the cast loses nothing; so min",
        &[OpKind::Max, OpKind::Min],
        cast_of_extreme,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf16>}
          save max(cast(%x) {dtype: f32}) {dims: [1]} as "max"
          save min(cast(%x) {dtype: f64}) as "min"
        }"#,
    ),
    Entry::exact(
        "extreme-of-flat",
        "argmax (reshape x) = argmax x, of all elements; so argmin",
        &[OpKind::Argmax, OpKind::Argmin],
        extreme_of_flat,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save argmax(flatten(%x)) as "max"
          save argmin(unsqueeze(%x) {dim: 0}) as "min"
        }"#,
    ),
    Entry::exact(
        "extreme-of-monotone",
        "argmax (f x) = argmax x, where f grows with x: softmax, log_softmax, exp, sigmoid, …; so argmin, and the indices of topk and sort",
        &[OpKind::Argmax, OpKind::Argmin, OpKind::Get],
        extreme_of_monotone,
        r#"graph @w {
          %x = call(0) {name: "some", returns: tensor<4x6xf32>}
          save argmax(softmax(%x) {dim: -1}) {dim: -1} as "softmax"
          save argmin(sigmoid(%x)) {dim: 0} as "sigmoid"
          save get(topk(log_softmax(%x) {dim: 1}) {k: 2}) {index: 1} as "topk"
        }"#,
    )
    .rounding("two numbers may round to the same one, and then the first of them is the largest"),
];

fn extreme_of_negative(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    let Op::Neg {} = b.op(x) else { return None };
    // The smallest integer has no negative.
    if !b.tensor(x)?.dtype.is_float() {
        return None;
    }
    let op = if let Op::Argmax { dim, keepdim } = site.op {
        Op::Argmin { dim: *dim, keepdim: *keepdim }
    } else {
        let Op::Argmin { dim, keepdim } = site.op else { return None };
        Op::Argmax { dim: *dim, keepdim: *keepdim }
    };
    Some(Rewrite::unary(op, b.operands(x)[0]))
}

/// Whether the result says only where something is among elements: which value, and along which dimension, if not all.
fn places(b: &Builder<'_, '_>, site: &Site<'_>) -> Option<(NodeId, Option<i64>)> {
    let x = site.operands[0];
    if let Op::Argmax { dim, .. } | Op::Argmin { dim, .. } = site.op {
        return Some((x, *dim));
    }
    let (Op::Get { index: 1 }, Op::TopK { dim, .. } | Op::Sort { dim, .. }) = (site.op, b.op(x)) else { return None };
    Some((b.operands(x)[0], Some(*dim)))
}

/// The same places among other elements.
fn places_among(b: &mut Builder<'_, '_>, site: &Site<'_>, among: NodeId) -> Option<Rewrite> {
    let Op::Get { .. } = site.op else { return Some(Rewrite::unary(site.op.clone(), among)) };
    let whole = b.op(site.operands[0]).clone();
    Some(Rewrite::unary(site.op.clone(), b.make(whole, &[among])?))
}

fn extreme_of_cast(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let (x, _) = places(b, site)?;
    let Op::Cast { dtype } = b.op(x) else { return None };
    let source = b.operands(x)[0];
    let from = b.tensor(source)?.dtype;
    if from == DType::Bool || !widens(from, *dtype) {
        return None;
    }
    places_among(b, site, source)
}

fn cast_of_extreme(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    let Op::Cast { dtype } = b.op(x) else { return None };
    let (cast, source) = (Op::Cast { dtype: *dtype }, b.operands(x)[0]);
    let from = b.tensor(source)?.dtype;
    if from == DType::Bool || !widens(from, *dtype) {
        return None;
    }
    Some(Rewrite::unary(cast, b.make(site.op.clone(), &[source])?))
}

fn extreme_of_flat(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let (Op::Argmax { dim: None, keepdim: false } | Op::Argmin { dim: None, keepdim: false }) = site.op else { return None };
    let x = site.operands[0];
    let same = matches!(b.op(x), Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. });
    same.then(|| Rewrite::unary(site.op.clone(), b.operands(x)[0]))
}

fn extreme_of_monotone(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let (x, dim) = places(b, site)?;
    let along = |at: &i64| {
        let rank = b.tensor(x).map_or(0, |ty| ty.rank());
        dim.and_then(|dim| normalise_axis(dim, rank)) == normalise_axis(*at, rank)
    };
    let monotone = match b.op(x) {
        Op::Softmax { dim } | Op::LogSoftmax { dim } => along(dim),
        op => matches!(
            op,
            Op::Exp {}
                | Op::Exp2 {}
                | Op::Expm1 {}
                | Op::Sigmoid {}
                | Op::Tanh {}
                | Op::LogSigmoid {}
                | Op::Atan {}
                | Op::Sinh {}
                | Op::Erf {}
        ),
    };
    let source = *b.operands(x).first()?;
    // Integers become floats, which are fewer.
    if !monotone || !b.tensor(source)?.dtype.is_float() {
        return None;
    }
    places_among(b, site, source)
}
