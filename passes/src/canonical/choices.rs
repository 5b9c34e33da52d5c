//! Choices that are made already.

use irc_ir::op::{Op, OpKind};

use super::{Entry, numbers::number, parts::as_type};
use crate::builder::{Builder, Rewrite, Site};

pub(super) static RULES: &[Entry] = &[
    Entry::exact(
        "select-by-constant",
        "select true x y = x, and select false x y = y",
        &[OpKind::Select],
        select_by_constant,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          %y = call(1) {name: "any", returns: tensor<6xf64>}
          save select(true, %x, %y) as "first"
          save select(full() {shape: [4, 6], value: false}, %x, %y) as "second"
        }"#,
    ),
    Entry::exact(
        "select-of-equals",
        "select c x x = x",
        &[OpKind::Select],
        select_of_equals,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save select(gt(%x, 0.0), %x, %x) as "y"
        }"#,
    ),
    Entry::exact(
        "select-by-not",
        "select (not c) x y = select c y x",
        &[OpKind::Select],
        select_by_not,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save select(not(gt(%x, 0.0)), %x, 2.0) as "y"
        }"#,
    ),
];

fn select_by_constant(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[condition, yes, no] = site.operands else { return None };
    let chosen = if number(b, condition)? != 0.0 { yes } else { no };
    as_type(b, chosen, site.ty).map(Rewrite::Value)
}

fn select_of_equals(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[_, yes, no] = site.operands else { return None };
    if yes != no {
        return None;
    }
    as_type(b, yes, site.ty).map(Rewrite::Value)
}

fn select_by_not(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[condition, yes, no] = site.operands else { return None };
    let Op::Not {} = b.op(condition) else { return None };
    let source = b.operands(condition)[0];
    // `not` takes numbers, too; a condition is a bool.
    if b.ty(source) != b.ty(condition) {
        return None;
    }
    Some(Rewrite::Node(Op::Select {}, [source, no, yes].into_iter().collect()))
}
