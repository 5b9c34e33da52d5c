//! Parts of tuples and lists, and what loops carry along unchanged.

use irc_ir::{
    graph::NodeId,
    infer::normalise_axis,
    op::{Op, OpKind},
    tensor::Tensor,
};

use super::Entry;
use crate::builder::{Builder, Rewrite, Site};

pub(super) static RULES: &[Entry] = &[
    Entry::exact(
        "get-of-tuple",
        "get i (tuple x…) = the i-th x",
        &[OpKind::Get],
        get_of_tuple,
        r#"graph @w {
          %t = tuple(call(0) {name: "any", returns: tensor<4x6xf32>}, 2)
          save get(%t) {index: 0} as "y"
        }"#,
    ),
    Entry::exact(
        "tuple-of-gets",
        "tuple (get 0 t) … (get n t) = t, of all parts",
        &[OpKind::Tuple],
        tuple_of_gets,
        r#"graph @w {
          %t = topk(call(0) {name: "any", returns: tensor<4x6xf32>}) {k: 2}
          save tuple(get(%t) {index: 0}, get(%t) {index: 1}) as "y"
        }"#,
    ),
    Entry::exact(
        "get-of-loop",
        "get i (loop x…) = the i-th x, where every iteration gives it on as it is, or there is none",
        &[OpKind::Get],
        get_of_loop,
        r#"graph @w {
          %l = loop(call(0) {name: "any", returns: tensor<4xf32>}, 1.0) {trip: 3} (%i, %x, %y) { yield %x, add(%y, 1.0) }
          save get(%l) {index: 0} as "carried"
          save get(loop(2.5) {trip: 0} (%i, %x) { yield neg(%x) }) {index: 0} as "never"
        }"#,
    ),
    Entry::exact(
        "item-of-list",
        "item i (list x…) = the i-th x, and item -1 (append l x) = x",
        &[OpKind::Item],
        item_of_list,
        r#"graph @w {
          %l = list(call(0) {name: "any", returns: tensor<4xf32>}, call(1) {name: "any", returns: tensor<4xf32>})
          save item(%l) {index: -2} as "list"
          save item(append(%l, call(2) {name: "any", returns: tensor<4xf32>})) {index: -1} as "append"
        }"#,
    ),
    Entry::exact(
        "length-of-list",
        "length (list x…) = how many they are",
        &[OpKind::Length],
        length_of_list,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4xf32>}
          save length(list(%x, %x, %x)) as "y"
        }"#,
    ),
];

fn get_of_tuple(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Get { index } = site.op else { return None };
    let Op::Tuple {} = b.op(site.operands[0]) else { return None };
    b.operands(site.operands[0]).get(usize::try_from(*index).ok()?).map(|part| Rewrite::Value(*part))
}

fn tuple_of_gets(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let whole = *b.operands(*site.operands.first()?).first()?;
    let is_part = |(at, id): (usize, &NodeId)| {
        matches!(b.op(*id), Op::Get { index } if usize::try_from(*index) == Ok(at)) && b.operands(*id) == [whole]
    };
    (b.ty(whole) == site.ty && site.operands.iter().enumerate().all(is_part)).then_some(Rewrite::Value(whole))
}

fn get_of_loop(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Get { index } = site.op else { return None };
    let at = usize::try_from(*index).ok()?;
    let Op::Loop { trip, body } = b.op(site.operands[0]) else { return None };
    let unchanged = *body.graph().results.get(at)? == NodeId::new(at + 1);
    let operand = *b.operands(site.operands[0]).get(at)?;
    // A type that the body declares may be another than that of the operand, for the same value.
    ((unchanged || *trip == 0) && b.ty(operand) == site.ty).then_some(Rewrite::Value(operand))
}

fn item_of_list(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::Item { index: Some(index) } = site.op else { return None };
    let values = b.operands(site.operands[0]);
    let list = b.op(site.operands[0]);
    let value = match (matches!(list, Op::List { .. }), matches!(list, Op::Append {}) && values.len() == 2) {
        (true, _) => *values.get(normalise_axis(*index, values.len())?)?,
        (_, true) if *index == -1 => values[1],
        _ => return None,
    };
    (b.ty(value) == site.ty).then_some(Rewrite::Value(value))
}

fn length_of_list(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let Op::List { .. } = b.op(site.operands[0]) else { return None };
    let count = i64::try_from(b.operands(site.operands[0]).len()).ok()?;
    Some(Rewrite::Node(Op::Const { value: (&Tensor::scalar(count)).into() }, [].into_iter().collect()))
}
