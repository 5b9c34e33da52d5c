//! Parts of tensors: slices and single indices of slices, of updates, of joined and of constant tensors.

use irc_ir::{
    graph::{NodeId, Operands},
    infer::normalise_axis,
    op::{Op, OpKind},
    types::{Dim, Type},
};

use super::Entry;
use crate::builder::{Builder, Rewrite, Site};

pub(super) static RULES: &[Entry] = &[
    Entry::exact(
        "slice-of-all",
        "slice x = x, where it is all of x",
        &[OpKind::Slice],
        slice_of_all,
        r#"graph @w { %x = call(0) {name: "any", returns: tensor<4x6xf32>} save slice(%x) {dim: 1, start: -6, end: 9} as "y" }"#,
    ),
    Entry::exact(
        "part-of-slice",
        "slice (slice x) = slice x, and index (slice x) = index x, along one dimension",
        &[OpKind::Slice, OpKind::Index],
        part_of_slice,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x12xf32>}
          %s = slice(%x) {dim: 1, start: 1, end: -1, step: 2}
          save slice(%s) {dim: -1, start: 1, step: 2} as "slice"
          save index(%s) {dim: 1, index: -2} as "index"
        }"#,
    ),
    Entry::exact(
        "part-order",
        "parts along several dimensions: first along dimension 1, where models have positions, then from the first dimension on",
        &[OpKind::Slice, OpKind::Index],
        part_order,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6x5xf32>}
          save index(index(%x) {dim: 0, index: 1}) {dim: 0, index: -1} as "indices"
          save slice(slice(%x) {dim: 2, end: 2}) {dim: 0, start: 2} as "slices"
          save slice(index(%x) {dim: 0, index: 1}) {dim: 0, start: 2} as "slice of index"
          save index(slice(%x) {dim: 2, end: 2}) {dim: 1, index: 2} as "index of slice"
        }"#,
    ),
    Entry::exact(
        "part-of-update",
        "slice (update x v) = slice x, where the update lies elsewhere, and slice v, where it covers the slice",
        &[OpKind::Slice, OpKind::Index],
        part_of_update,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x9xf32>}
          %v = call(1) {name: "any", returns: tensor<4x4xf32>}
          %u = update(%x, %v) {dim: 1, start: 2, end: 6}
          save slice(%u) {dim: 1, start: 6} as "beside"
          save slice(%u) {dim: 1, start: 3, end: 5} as "inside"
          save index(%u) {dim: -1, index: 5} as "one"
          %s = update(%x, %v) {dim: 1, start: 1, step: 2}
          save slice(%s) {dim: 1, start: 3, step: 4} as "steps"
          save slice(update(%x, 2.5) {dim: 1, end: 3}) {dim: 1, end: 2} as "number"
        }"#,
    ),
    Entry::exact(
        "update-of-all",
        "update x v = v, where all of x is replaced",
        &[OpKind::Update],
        update_of_all,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save update(%x, call(1) {name: "any", returns: tensor<4x6xf32>}) {dim: 0} as "same"
          save update(%x, call(2) {name: "any", returns: tensor<6xf64>}) {dim: 1} as "cast and broadcast"
        }"#,
    ),
    Entry::exact(
        "update-of-nothing",
        "update x v = x, where the part is empty",
        &[OpKind::Update],
        update_of_nothing,
        r#"graph @w { %x = call(0) {name: "any", returns: tensor<4x6xf32>} save update(%x, 1.0) {dim: 1, start: 6} as "y" }"#,
    ),
    Entry::exact(
        "update-by-own-part",
        "update x (slice x) = x, at one place",
        &[OpKind::Update],
        update_by_own_part,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save update(%x, slice(%x) {dim: 1, start: -1}) {dim: 1, start: 5} as "y"
        }"#,
    ),
    Entry::exact(
        "update-over-update",
        "update (update x v) w = update x w, where the second covers the first",
        &[OpKind::Update],
        update_over_update,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          %u = update(%x, call(1) {name: "any", returns: tensor<4x2xf32>}) {dim: 1, start: 2, end: 4}
          save update(%u, call(2) {name: "any", returns: tensor<4x3xf32>}) {dim: 1, start: 1, end: 4} as "y"
        }"#,
    ),
    Entry::exact(
        "update-by-cast",
        "update x (cast v) = update x v, and update x (expand v) = update x v: an update casts and broadcasts",
        &[OpKind::Update],
        update_by_cast,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          %v = call(1) {name: "any", returns: tensor<1x2xf64>}
          save update(%x, cast(%v) {dtype: f32}) {dim: 1, end: 2} as "cast"
          save update(%x, expand(%v) {shape: [4, 2]}) {dim: 1, end: 2} as "expand"
        }"#,
    ),
    Entry::exact(
        "part-of-full",
        "slice (full) = full, of a smaller shape",
        &[OpKind::Slice, OpKind::Index],
        part_of_full,
        r#"graph @w {
          %z = full() {shape: [4, 30], value: 1.5}
          save mul(slice(%z) {dim: 1, end: 2}, call(0) {name: "any", returns: tensor<4x2xf32>}) as "y"
        }"#,
    ),
];

/// `start:end:step` of a dimension of known size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Steps {
    pub(crate) start: usize,
    pub(crate) step: usize,
    pub(crate) count: usize,
}

impl Steps {
    /// The indices that a slice picks, as [`irc_ir::eval`] does.
    pub(crate) fn new(size: usize, start: Option<i64>, end: Option<i64>, step: i64) -> Steps {
        let last = i64::try_from(size).unwrap_or(i64::MAX);
        let bound = |at: i64| if at < 0 { at.saturating_add(last).max(0) } else { at.min(last) } as usize;
        let (start, end) = (start.map_or(0, bound), end.map_or(size, bound));
        let step = usize::try_from(step).unwrap_or(1).max(1);
        let count = end.saturating_sub(start).div_ceil(step);
        Steps { start, step: if count <= 1 { 1 } else { step }, count }
    }

    /// One past the last index; the start where there is none.
    pub(crate) fn end(self) -> usize {
        if self.count == 0 { self.start } else { self.start + (self.count - 1) * self.step + 1 }
    }

    /// The index at a place among those that are picked.
    pub(crate) fn at(self, place: usize) -> usize {
        self.start + place * self.step
    }

    /// The place of an index among those that are picked.
    pub(crate) fn place(self, index: usize) -> Option<usize> {
        let past = index.checked_sub(self.start)?;
        (past % self.step == 0 && past / self.step < self.count).then_some(past / self.step)
    }

    /// Whether all of a dimension is picked.
    pub(crate) fn all_of(self, size: usize) -> bool {
        self.count == size
    }

    /// What `other` picks of what this picks.
    fn then(self, other: Steps) -> Steps {
        let step = if other.count <= 1 { 1 } else { self.step * other.step };
        Steps { start: self.at(other.start), step, count: other.count }
    }

    /// What this picks, in places of what `outer` picks, if that has all of it.
    fn within(self, outer: Steps) -> Option<Steps> {
        if self.count == 0 {
            return None;
        }
        let start = outer.place(self.start)?;
        let last = outer.place(self.at(self.count - 1))?;
        if !self.step.is_multiple_of(outer.step) && self.count > 1 {
            return None;
        }
        Some(Steps { start, step: if self.count == 1 { 1 } else { (last - start) / (self.count - 1) }, count: self.count })
    }

    /// The slice that picks it of a dimension.
    pub(crate) fn slice(self, dim: usize) -> Op {
        Op::Slice { dim: dim as i64, start: Some(self.start as i64), end: Some(self.end() as i64), step: self.step as i64 }
    }
}

/// A slice, or an index as a slice of one.
#[derive(Clone, Copy)]
struct Part {
    dim: usize,
    steps: Steps,
    /// Whether the dimension disappears.
    index: bool,
}

impl Part {
    /// Of an operation on a value.
    fn of(b: &Builder<'_, '_>, op: &Op, x: NodeId) -> Option<Part> {
        let ty = b.tensor(x)?;
        let size = |dim: usize| ty.shape[dim].as_usize();
        if let Op::Slice { dim, start, end, step } = op {
            let dim = normalise_axis(*dim, ty.rank())?;
            return Some(Part { dim, steps: Steps::new(size(dim)?, *start, *end, *step), index: false });
        }
        let Op::Index { dim, index } = op else { return None };
        let dim = normalise_axis(*dim, ty.rank())?;
        let start = normalise_axis(*index, size(dim)?)?;
        Some(Part { dim, steps: Steps { start, step: 1, count: 1 }, index: true })
    }

    fn op(self) -> Op {
        match self.index {
            true => Op::Index { dim: self.dim as i64, index: self.steps.start as i64 },
            false => self.steps.slice(self.dim),
        }
    }
}

/// The part that an operation is, and the value of which.
fn part_at(b: &Builder<'_, '_>, site: &Site<'_>) -> Option<(Part, NodeId)> {
    let x = *site.operands.first()?;
    Some((Part::of(b, site.op, x)?, x))
}

fn slice_of_all(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Slice { start, end, step, .. } = site.op else { return None };
    let x = site.operands[0];
    let all = match part_at(b, site) {
        Some((part, _)) => b.ty(x) == site.ty && part.steps.all_of(b.tensor(x)?.shape[part.dim].as_usize()?),
        None => matches!(start, None | Some(0)) && end.is_none() && *step == 1,
    };
    all.then_some(Rewrite::Value(x))
}

fn part_of_slice(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let (outer, x) = part_at(b, site)?;
    let source = *b.operands(x).first()?;
    let inner = Part::of(b, b.op(x), source).filter(|inner| !inner.index && inner.dim == outer.dim)?;
    if outer.steps.count == 0 {
        return None;
    }
    Some(Rewrite::unary(Part { steps: inner.steps.then(outer.steps), ..outer }.op(), source))
}

fn part_order(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let (outer, x) = part_at(b, site)?;
    let source = *b.operands(x).first()?;
    let inner = Part::of(b, b.op(x), source)?;
    // Both in dimensions of the source.
    let at = if inner.index && outer.dim >= inner.dim { outer.dim + 1 } else { outer.dim };
    let order = |dim: usize| (dim != 1, dim);
    if at == inner.dim || order(at) > order(inner.dim) {
        return None;
    }
    let first = b.make(Part { dim: at, ..outer }.op(), &[source])?;
    let dim = if outer.index && inner.dim > at { inner.dim - 1 } else { inner.dim };
    Some(Rewrite::unary(Part { dim, ..inner }.op(), first))
}

/// The value that an update gives to its part, with the part's type; nothing where a size is not known.
fn as_part(b: &mut Builder<'_, '_>, whole: NodeId, value: NodeId, dim: usize, count: usize) -> Option<NodeId> {
    let mut ty = b.tensor(whole)?.clone();
    ty.shape[dim] = Dim::from(count);
    as_type(b, value, &Type::Tensor(ty))
}

/// A value that is broadcast and cast to a type.
pub(crate) fn as_type(b: &mut Builder<'_, '_>, value: NodeId, ty: &Type) -> Option<NodeId> {
    let wanted = ty.as_tensor()?;
    let mut value = value;
    let surplus = b.tensor(value)?.rank().saturating_sub(wanted.rank());
    if surplus > 0 {
        value = b.make(Op::Reshape { shape: b.tensor(value)?.shape[surplus..].to_vec() }, &[value])?;
    }
    if b.tensor(value)?.dtype != wanted.dtype {
        value = b.make(Op::Cast { dtype: wanted.dtype }, &[value])?;
    }
    if b.tensor(value)?.shape != wanted.shape {
        value = b.make(Op::Expand { shape: wanted.shape.to_vec() }, &[value])?;
    }
    (b.ty(value) == ty).then_some(value)
}

/// The place that an update replaces.
fn place(b: &Builder<'_, '_>, op: &Op, whole: NodeId) -> Option<(usize, Steps)> {
    let Op::Update { dim, start, end, step } = op else { return None };
    let ty = b.tensor(whole)?;
    let dim = normalise_axis(*dim, ty.rank())?;
    Some((dim, Steps::new(ty.shape[dim].as_usize()?, *start, *end, *step)))
}

/// Whether two places have no index in common, as far as their ends and their steps tell.
fn apart(a: Steps, b: Steps) -> bool {
    let steps = a.step == b.step && a.start % a.step != b.start % b.step;
    a.count == 0 || b.count == 0 || a.end() <= b.start || b.end() <= a.start || steps
}

fn part_of_update(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let (part, updated) = part_at(b, site)?;
    let &[whole, value] = b.operands(updated) else { return None };
    let (dim, at) = place(b, b.op(updated), whole).filter(|(dim, _)| *dim == part.dim)?;
    if apart(part.steps, at) {
        return Some(Rewrite::unary(part.op(), whole));
    }
    let steps = part.steps.within(at)?;
    // A number, or one entry for all, is no smaller for being cut.
    let ty = b.tensor(value)?;
    let rank = b.tensor(whole)?.rank();
    let of_value = (dim + ty.rank()).checked_sub(rank).filter(|of_value| ty.shape[*of_value].as_usize() == Some(at.count));
    let cut = match of_value {
        Some(of_value) => b.make(Part { dim: of_value, steps, index: false }.op(), &[value])?,
        None => value,
    };
    let cut = as_part(b, whole, cut, dim, steps.count)?;
    Some(match part.index {
        true => Rewrite::unary(Op::Index { dim: dim as i64, index: 0 }, cut),
        false => Rewrite::Value(cut),
    })
}

fn update_of_all(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[whole, value] = site.operands else { return None };
    let (dim, at) = place(b, site.op, whole)?;
    if !at.all_of(b.tensor(whole)?.shape[dim].as_usize()?) || at.count == 0 {
        return None;
    }
    as_part(b, whole, value, dim, at.count).map(Rewrite::Value)
}

fn update_of_nothing(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let whole = site.operands[0];
    (place(b, site.op, whole)?.1.count == 0).then_some(Rewrite::Value(whole))
}

fn update_by_own_part(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[whole, value] = site.operands else { return None };
    let (dim, at) = place(b, site.op, whole)?;
    let part = Part::of(b, b.op(value), *b.operands(value).first()?)?;
    let same = b.operands(value) == [whole] && !part.index && (part.dim, part.steps) == (dim, at);
    same.then_some(Rewrite::Value(whole))
}

fn update_over_update(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[before, value] = site.operands else { return None };
    let &[whole, _] = b.operands(before) else { return None };
    let (dim, at) = place(b, site.op, before)?;
    let (inner_dim, inner) = place(b, b.op(before), whole)?;
    if dim != inner_dim || inner.within(at).is_none() {
        return None;
    }
    Some(Rewrite::Node(site.op.clone(), Operands::from_slice(&[whole, value])))
}

fn update_by_cast(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[whole, value] = site.operands else { return None };
    let source = *b.operands(value).first()?;
    let cast = matches!(b.op(value), Op::Cast { dtype } if *dtype == b.tensor(whole)?.dtype);
    if !cast && !matches!(b.op(value), Op::Expand { .. }) {
        return None;
    }
    let operands = Operands::from_slice(&[whole, source]);
    b.has_type(site.op, &operands, site.ty).then(|| Rewrite::Node(site.op.clone(), operands))
}

fn part_of_full(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Full { value, dtype, .. } = b.op(site.operands[0]) else { return None };
    let ty = site.ty.as_tensor()?;
    Some(Rewrite::Node(Op::Full { shape: ty.shape.to_vec(), value: value.clone(), dtype: *dtype }, Operands::new()))
}
