//! Parts of tensors: what is replaced in a tensor, and what it is put together from.

use egg::Id;
use irc_ir::{op::Op, types::Dim};

use super::{Entry, Right, Site, exact};

pub(super) const RULES: [Entry; 4] = [
    exact(
        "update-as-cat",
        "update x v = cat (x before v) v (x after v)",
        "(update ?x ?v)",
        Right::Make(update_as_cat),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<40x80xf32>}
          %w = call(1) {name: "any", returns: tensor<80x60xf32>}
          %v = call(2) {name: "any", returns: tensor<39x60xf32>}
          save update(matmul(%x, %w), %v) {dim: 0, start: 1} as "r"
        }"#,
    ),
    exact(
        "cat-as-update",
        "cat (x before v) v (x after v) = update x v",
        "(cat=c (slice=s ?x) ?v (slice=t ?x))",
        Right::Make(|site| {
            let (x, v) = (site.var(0), site.var(1));
            cat_as_update(site, x, v, [Some(1), Some(2)])
        }),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<9x6xf32>}
          %v = call(1) {name: "any", returns: tensor<2x6xf32>}
          save cat(slice(%x) {dim: 0, end: 3}, %v, slice(%x) {dim: 0, start: 5}) {dim: 0} as "r"
        }"#,
    ),
    exact(
        "cat-as-update-of-end",
        "cat (x before v) v = update x v",
        "(cat=c (slice=s ?x) ?v)",
        Right::Make(|site| {
            let (x, v) = (site.var(0), site.var(1));
            cat_as_update(site, x, v, [Some(1), None])
        }),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<9x6xf32>}
          %v = call(1) {name: "any", returns: tensor<2x6xf32>}
          save cat(slice(%x) {dim: 0, end: -2}, %v) {dim: 0} as "r"
        }"#,
    ),
    exact(
        "cat-as-update-of-beginning",
        "cat v (x after v) = update x v",
        "(cat=c ?v (slice=t ?x))",
        Right::Make(|site| {
            let (v, x) = (site.var(0), site.var(1));
            cat_as_update(site, x, v, [None, Some(1)])
        }),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<6x9xf32>}
          %v = call(1) {name: "any", returns: tensor<6x2xf32>}
          save cat(%v, slice(%x) {dim: 1, start: 2}) {dim: 1} as "r"
        }"#,
    ),
];

/// The first index of `start:end` and one past the last one, of a dimension of this size.
pub(super) fn range(size: i64, start: Option<i64>, end: Option<i64>) -> (i64, i64) {
    let inside = |at: i64| if at < 0 { at.saturating_add(size).max(0) } else { at.min(size) };
    let start = start.map_or(0, inside);
    (start, end.map_or(size, inside).max(start))
}

fn update_as_cat(site: &mut Site<'_, '_>) -> Option<Id> {
    let (x, v) = (site.var(0), site.var(1));
    let Op::Update { dim, start, end, step: 1 } = site.op(0) else { return None };
    let at = site.axis(x, dim)?;
    let size = site.size(x, at)?;
    let (start, end) = range(size, start, end);
    let mut part = site.tensor(x)?.clone();
    part.shape[at] = Dim::known(end - start);
    // A value that is broadcast or cast is another one.
    if site.tensor(v) != Some(&part) {
        return None;
    }
    let dim = at as i64;
    let slice = |start: Option<i64>, end: Option<i64>| Op::Slice { dim, start, end, step: 1 };
    let before = if start > 0 { Some(site.add(slice(None, Some(start)), [x])?) } else { None };
    let after = if end < size { Some(site.add(slice(Some(end), None), [x])?) } else { None };
    let parts: Vec<Id> = before.into_iter().chain([v]).chain(after).collect();
    if let [all] = parts[..] { Some(all) } else { site.add(Op::Cat { dim }, parts) }
}

/// `update x v`, where slices of x before and after v, of which one may be missing, make up the rest of x. They are the
/// operations at these places.
fn cat_as_update(site: &mut Site<'_, '_>, x: Id, v: Id, [before, after]: [Option<usize>; 2]) -> Option<Id> {
    let Op::Cat { dim } = site.op(0) else { return None };
    let at = site.axis(x, dim)?;
    let (size, new) = (site.size(x, at)?, site.size(v, at)?);
    let slice = |site: &Site<'_, '_>, place: Option<usize>| match place.map(|place| site.op(place)) {
        Some(Op::Slice { dim, start, end, step: 1 }) if site.axis(x, dim) == Some(at) => Some(Some(range(size, start, end))),
        Some(_) => None,
        None => Some(None),
    };
    let (first, end) = slice(site, before)?.unwrap_or((0, 0));
    let (start, last) = slice(site, after)?.unwrap_or((size, size));
    let fits = first == 0 && last == size && start - end == new && new > 0 && site.same_dtype(&[x, v]);
    let op = Op::Update { dim: at as i64, start: Some(end), end: Some(start), step: 1 };
    if fits { site.add(op, [x, v]) } else { None }
}
