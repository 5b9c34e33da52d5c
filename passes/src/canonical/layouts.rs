//! The same elements under another shape, in another order, or as another type: chains of such are one.

use irc_ir::{
    graph::{NodeId, Operands},
    infer::normalise_axis,
    op::{Op, OpKind},
    types::{DType, Dim},
};

use super::Entry;
use crate::builder::{Builder, Rewrite, Site};

/// What keeps elements and their order.
const RESHAPES: &[OpKind] = &[OpKind::Reshape, OpKind::Flatten, OpKind::Squeeze, OpKind::Unsqueeze];

pub(super) static RULES: &[Entry] = &[
    Entry::exact(
        "same-shape",
        "reshape x = x, to the shape that it has; so flatten, squeeze, expand and repeat",
        &[OpKind::Reshape, OpKind::Flatten, OpKind::Squeeze, OpKind::Expand, OpKind::Repeat, OpKind::RepeatInterleave],
        same_shape,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save reshape(%x) {shape: [4, -1]} as "reshape"
          save squeeze(%x) as "squeeze"
          save expand(%x) {shape: [-1, 6]} as "expand"
          save repeat(%x) {repeats: [1, 1]} as "repeat"
        }"#,
    ),
    Entry::exact(
        "reshape-of-reshape",
        "reshape (reshape x) = reshape x; so flatten, squeeze and unsqueeze",
        RESHAPES,
        reshape_of_reshape,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save squeeze(unsqueeze(%x) {dim: 0}) {dim: 0} as "back"
          save flatten(reshape(%x) {shape: [2, 3, 4]}) {start: 1} as "chain"
        }"#,
    ),
    Entry::exact(
        "same-order",
        "permute x = x, where each dimension stays in its place",
        &[OpKind::Permute, OpKind::Transpose],
        same_order,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save permute(%x) {dims: [0, 1]} as "permute"
          save transpose(%x) {dim0: 1, dim1: -1} as "transpose"
        }"#,
    ),
    Entry::exact(
        "permute-of-permute",
        "permute (permute x) = permute x; so transpose",
        &[OpKind::Permute, OpKind::Transpose],
        permute_of_permute,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6x5xf32>}
          save transpose(transpose(%x) {dim0: 0, dim1: 1}) {dim0: 1, dim1: 0} as "back"
          save transpose(permute(%x) {dims: [2, 0, 1]}) {dim0: 0, dim1: 1} as "chain"
        }"#,
    ),
    Entry::exact(
        "expand-of-expand",
        "expand (expand x) = expand x",
        &[OpKind::Expand],
        expand_of_expand,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<1x6xf32>}
          save expand(expand(%x) {shape: [4, 6]}) {shape: [2, 4, 6]} as "y"
        }"#,
    ),
    Entry::exact(
        "broadcast-of-expand",
        "f (expand x) y = f x y, where f broadcasts to the same shape",
        &[
            OpKind::Add,
            OpKind::Sub,
            OpKind::Mul,
            OpKind::Div,
            OpKind::Maximum,
            OpKind::Minimum,
            OpKind::Eq,
            OpKind::Ne,
            OpKind::Lt,
            OpKind::Le,
            OpKind::Gt,
            OpKind::Ge,
            OpKind::Select,
        ],
        broadcast_of_expand,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<1x6xf32>}
          %y = call(1) {name: "any", returns: tensor<4x6xf32>}
          save add(expand(%x) {shape: [4, 6]}, %y) as "add"
          save select(gt(%y, 0.0), %y, expand(%x) {shape: [4, 6]}) as "select"
        }"#,
    ),
    Entry::exact(
        "same-type",
        "cast x = x, to the type that it has",
        &[OpKind::Cast],
        same_type,
        r#"graph @w { %x = call(0) {name: "any", returns: tensor<4x6xf32>} save cast(%x) {dtype: f32} as "y" }"#,
    ),
    Entry::exact(
        "cast-of-cast",
        "cast (cast x) = cast x, where the first loses nothing",
        &[OpKind::Cast],
        cast_of_cast,
        r#"graph @w {
          %h = call(0) {name: "any", returns: tensor<4x6xf16>}
          %i = call(1) {name: "any", returns: tensor<4x6xi32>}
          %b = call(2) {name: "any", returns: tensor<4x6xbool>}
          save cast(cast(%h) {dtype: f32}) {dtype: f16} as "back"
          save cast(cast(%h) {dtype: f64}) {dtype: bf16} as "narrow"
          save cast(cast(%i) {dtype: i64}) {dtype: f16} as "integers"
          save cast(cast(%i) {dtype: f64}) {dtype: u8} as "by way of floats"
          save cast(cast(%b) {dtype: u8}) {dtype: f32} as "bools"
        }"#,
    ),
];

fn same_shape(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    let same = b.ty(x) == site.ty;
    // Repeats of nothing, or of sizes that are 1 and so repeat none, say themselves what they are.
    same.then_some(Rewrite::Value(x))
}

fn reshape_of_reshape(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    if !RESHAPES.contains(&b.op(x).kind()) {
        return None;
    }
    let source = b.operands(x)[0];
    if b.ty(source) == site.ty {
        return Some(Rewrite::Value(source));
    }
    let shape = site.sizes()?.iter().map(|size| Dim::from(*size)).collect();
    b.sizes(source)?;
    Some(Rewrite::unary(Op::Reshape { shape }, source))
}

/// The old dimension at each place, where an operation only moves dimensions.
fn order(op: &Op, rank: usize) -> Option<Vec<usize>> {
    if let Op::Permute { dims } = op {
        return dims.iter().map(|dim| normalise_axis(*dim, rank)).collect();
    }
    let Op::Transpose { dim0, dim1 } = op else { return None };
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(normalise_axis(*dim0, rank)?, normalise_axis(*dim1, rank)?);
    Some(order)
}

fn same_order(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    order(site.op, b.tensor(x)?.rank())?.is_sorted().then_some(Rewrite::Value(x))
}

fn permute_of_permute(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    let rank = b.tensor(x)?.rank();
    let (outer, inner) = (order(site.op, rank)?, order(b.op(x), rank)?);
    let source = b.operands(x)[0];
    let order: Vec<usize> = outer.iter().map(|at| inner[*at]).collect();
    let moved: Vec<usize> = (0..rank).filter(|at| order[*at] != *at).collect();
    Some(match moved[..] {
        [] => Rewrite::Value(source),
        [a, c] => Rewrite::unary(Op::Transpose { dim0: a as i64, dim1: c as i64 }, source),
        [..] => Rewrite::unary(Op::Permute { dims: order.iter().map(|at| *at as i64).collect() }, source),
    })
}

fn expand_of_expand(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    let Op::Expand { .. } = b.op(x) else { return None };
    let source = b.operands(x)[0];
    let shape = site.sizes()?.iter().map(|size| Dim::from(*size)).collect();
    let op = Op::Expand { shape };
    b.has_type(&op, &[source], site.ty).then(|| Rewrite::unary(op, source))
}

fn broadcast_of_expand(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let expanded = |at: &usize| matches!(b.op(site.operands[*at]), Op::Expand { .. });
    let at = (0..site.operands.len()).find(expanded)?;
    let source = b.operands(site.operands[at])[0];
    // Without dimensions, an operand of `mul` takes part in another type.
    if b.tensor(source)?.rank() == 0 {
        return None;
    }
    let mut operands: Operands = site.operands.into();
    operands[at] = source;
    b.has_type(site.op, &operands, site.ty).then(|| Rewrite::Node(site.op.clone(), operands))
}

fn same_type(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    (b.ty(x) == site.ty).then_some(Rewrite::Value(x))
}

/// Whether all values of a type are values of another one. A signalling NaN becomes a quiet one, but no operation makes such.
pub(super) fn widens(from: DType, to: DType) -> bool {
    use DType::{BF16, Bool, F16, F32, F64, I32, I64, U8};
    match from {
        F64 | I64 => to == from,
        F32 => matches!(to, F32 | F64),
        F16 | BF16 => to == from || matches!(to, F32 | F64),
        I32 => matches!(to, I32 | I64 | F64),
        U8 => matches!(to, U8 | I32 | I64 | F16 | BF16 | F32 | F64),
        Bool => true,
    }
}

fn cast_of_cast(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    let (Op::Cast { dtype: through }, Op::Cast { .. }) = (b.op(x), site.op) else { return None };
    let source: NodeId = b.operands(x)[0];
    widens(b.tensor(source)?.dtype, *through).then(|| Rewrite::unary(site.op.clone(), source))
}
