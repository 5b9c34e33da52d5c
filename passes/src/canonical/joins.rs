//! Tensors that are joined, and pieces of them.

use irc_ir::{
    graph::{NodeId, Operands},
    infer::normalise_axis,
    op::{Op, OpKind},
    types::{TensorType, Type},
};

use super::{Entry, Steps, parts::as_type};
use crate::builder::{Builder, Rewrite, Site};

pub(super) static RULES: &[Entry] = &[
    Entry::exact(
        "cat-of-one",
        "cat x = x",
        &[OpKind::Cat],
        cat_of_one,
        r#"graph @w { save cat(call(0) {name: "any", returns: tensor<4x6xf32>}) {dim: 1} as "y" }"#,
    ),
    Entry::exact(
        "cat-of-cat",
        "cat (cat x y) z = cat x y z, along one dimension",
        &[OpKind::Cat],
        cat_of_cat,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          %y = call(1) {name: "any", returns: tensor<4x2xf32>}
          save cat(%y, cat(%x, %y) {dim: 1}, %x) {dim: -1} as "y"
        }"#,
    ),
    Entry::exact(
        "cat-of-neighbours",
        "cat (slice x) (slice x) = slice x, where the second begins where the first ends",
        &[OpKind::Cat],
        cat_of_neighbours,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save cat(slice(%x) {dim: 1, end: 2}, slice(%x) {dim: 1, start: 2}) {dim: 1} as "y"
        }"#,
    ),
    Entry::exact(
        "part-of-cat",
        "slice (cat x y) = slice x, where it lies in x",
        &[OpKind::Slice, OpKind::Index],
        part_of_cat,
        r#"graph @w {
          %c = cat(call(0) {name: "any", returns: tensor<4x6xf32>}, call(1) {name: "any", returns: tensor<4x2xf64>}) {dim: 1}
          save slice(%c) {dim: 1, start: 1, end: 6, step: 2} as "slice"
          save index(%c) {dim: -1, index: -1} as "index"
        }"#,
    ),
    Entry::exact(
        "index-of-stack",
        "index i (stack x…) = the i-th x",
        &[OpKind::Index],
        index_of_stack,
        r#"graph @w {
          %s = stack(call(0) {name: "any", returns: tensor<4x6xf32>}, call(1) {name: "any", returns: tensor<4x6xf64>}) {dim: 1}
          save index(%s) {dim: 1, index: 0} as "first"
        }"#,
    ),
    Entry::exact(
        "stack-of-indices",
        "stack (index 0 x) … (index n x) = x, of all indices",
        &[OpKind::Stack],
        stack_of_indices,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<2x6xf32>}
          save stack(index(%x) {dim: 0, index: 0}, index(%x) {dim: 0, index: 1}) {dim: 0} as "y"
        }"#,
    ),
    Entry::exact(
        "piece-of-split",
        "get i (split x) = slice x; so chunk",
        &[OpKind::Get],
        piece_of_split,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x7xf32>}
          save get(split(%x) {size: 3, dim: 1}) {index: 2} as "split"
          save get(split(%x) {sizes: [1, 4, 2], dim: -1}) {index: 1} as "sizes"
          save get(chunk(%x) {chunks: 3}) {index: 1} as "chunk"
        }"#,
    ),
];

/// The most tensors that one `cat` is made of: one that grows by a tensor at a time would be long at each of its steps.
const MOST_JOINED: usize = 64;

fn cat_of_one(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[only] = site.operands else { return None };
    (b.ty(only) == site.ty).then_some(Rewrite::Value(only))
}

/// The dimension along which a `cat` joins.
fn joined(op: &Op, ty: &TensorType) -> Option<usize> {
    let Op::Cat { dim } = op else { return None };
    normalise_axis(*dim, ty.rank())
}

fn cat_of_cat(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let ty = site.ty.as_tensor()?;
    let dim = joined(site.op, ty)?;
    let inner = |b: &Builder<'_, '_>, id: NodeId| {
        let of = b.tensor(id)?;
        (joined(b.op(id), of)? == dim && of.dtype == ty.dtype).then(|| b.operands(id).to_vec())
    };
    site.operands.iter().find_map(|id| inner(b, *id))?;
    let operands: Operands = site.operands.iter().flat_map(|id| inner(b, *id).unwrap_or_else(|| vec![*id])).collect();
    (operands.len() <= MOST_JOINED).then(|| Rewrite::Node(site.op.clone(), operands))
}

/// The slice of a dimension that a value is, with its source.
fn slice_of(b: &Builder<'_, '_>, id: NodeId, dim: usize) -> Option<(NodeId, Steps)> {
    let Op::Slice { dim: of, start, end, step } = b.op(id) else { return None };
    let source = b.operands(id)[0];
    let ty = b.tensor(source)?;
    if normalise_axis(*of, ty.rank())? != dim {
        return None;
    }
    let steps = Steps::new(ty.shape[dim].as_usize()?, *start, *end, *step);
    (steps.step == 1).then_some((source, steps))
}

fn cat_of_neighbours(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let ty = site.ty.as_tensor()?;
    let dim = joined(site.op, ty)?;
    let mut operands = Operands::new();
    // What has been joined of one source: which, from where, and to where.
    let mut open: Option<(NodeId, Steps)> = None;
    let mut changed = false;
    for &id in site.operands {
        let slice = slice_of(b, id, dim);
        match (&mut open, slice) {
            (Some((source, before)), Some((other, next))) if *source == other && before.end() == next.start => {
                before.count += next.count;
                operands.pop();
                let source = *source;
                let joined = b.make(before.slice(dim), &[source])?;
                operands.push(joined);
                changed = true;
            }
            (_, slice) => {
                open = slice;
                operands.push(id);
            }
        }
    }
    changed.then(|| Rewrite::Node(site.op.clone(), operands))
}

fn part_of_cat(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let whole = site.operands[0];
    let ty = b.tensor(whole)?;
    let along = joined(b.op(whole), ty)?;
    let size = ty.shape[along].as_usize()?;
    let (dim, steps, index) = if let Op::Slice { dim, start, end, step } = site.op {
        (*dim, Steps::new(size, *start, *end, *step), false)
    } else {
        let Op::Index { dim, index } = site.op else { return None };
        (*dim, Steps { start: normalise_axis(*index, size)?, step: 1, count: 1 }, true)
    };
    if normalise_axis(dim, ty.rank())? != along || steps.count == 0 {
        return None;
    }
    let mut begin = 0;
    for &part in b.operands(whole) {
        let end = begin + b.tensor(part)?.shape[along].as_usize()?;
        if (begin..end).contains(&steps.start) {
            if steps.end() > end {
                return None;
            }
            let steps = Steps { start: steps.start - begin, ..steps };
            let op = if index { Op::Index { dim: along as i64, index: steps.start as i64 } } else { steps.slice(along) };
            let cut = b.make(op, &[part])?;
            return as_type(b, cut, site.ty).map(Rewrite::Value);
        }
        begin = end;
    }
    None
}

fn index_of_stack(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Index { dim, index } = site.op else { return None };
    let Op::Stack { dim: along } = b.op(site.operands[0]) else { return None };
    let rank = b.tensor(site.operands[0])?.rank();
    if normalise_axis(*dim, rank)? != normalise_axis(*along, rank)? {
        return None;
    }
    let parts = b.operands(site.operands[0]);
    let part = parts[normalise_axis(*index, parts.len())?];
    as_type(b, part, site.ty).map(Rewrite::Value)
}

fn stack_of_indices(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Stack { dim } = site.op else { return None };
    let dim = normalise_axis(*dim, site.ty.as_tensor()?.rank())?;
    let source = *b.operands(*site.operands.first()?).first()?;
    if b.ty(source) != site.ty {
        return None;
    }
    let in_order = site.operands.iter().enumerate().all(|(at, id)| {
        let Op::Index { dim: of, index } = b.op(*id) else { return false };
        let rank = b.tensor(source).map_or(0, TensorType::rank);
        b.operands(*id) == [source] && normalise_axis(*of, rank) == Some(dim) && normalise_axis(*index, site.operands.len()) == Some(at)
    });
    in_order.then_some(Rewrite::Value(source))
}

fn piece_of_split(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Get { index } = site.op else { return None };
    let index = usize::try_from(*index).ok()?;
    let pieces = site.operands[0];
    let (Op::Split { dim, .. } | Op::Chunk { dim, .. }) = b.op(pieces) else { return None };
    let source = b.operands(pieces)[0];
    let dim = normalise_axis(*dim, b.tensor(source)?.rank())?;
    let Type::Tuple(types) = b.ty(pieces) else { return None };
    let size = |at: usize| types.get(at)?.as_tensor()?.shape[dim].as_usize();
    let start = (0..index).map(size).sum::<Option<usize>>()?;
    Some(Rewrite::unary(Steps { start, step: 1, count: size(index)? }.slice(dim), source))
}
