//! Arithmetic that changes nothing, and arithmetic on constants.

use irc_ir::{
    attr::Literal,
    eval::{Value, eval},
    graph::{NodeId, Operands},
    op::{Op, OpKind},
    types::{DType, Type, elements},
};

use super::Entry;
use crate::builder::{Builder, Rewrite, Site};

/// The most elements of a constant that is computed here: a program does not get longer by it.
const MOST_FOLDED: i64 = 64;

pub(super) static RULES: &[Entry] = &[
    Entry::exact(
        "constant",
        "f c = its value, where c is constant and the value has at most 64 elements",
        OpKind::ALL,
        constant,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4xf32>}
          save mul(%x, add(exp(0.5), div(1.0, 0.0))) as "numbers"
          save slice([[1, 2, 3], [4, 5, 6]]) {dim: 1, start: 1} as "parts"
        }"#,
    ),
    Entry::exact(
        "neutral-number",
        "x + -0 = x, x - 0 = x, x * 1 = x, x / 1 = x; of integers also x + 0",
        &[OpKind::Add, OpKind::Sub, OpKind::Mul, OpKind::Div],
        neutral,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          %i = call(1) {name: "any", returns: tensor<4x6xi64>}
          %h = call(2) {name: "any", returns: tensor<4x6xf16>}
          save add(%x, -0.0) as "add"
          save sub(%x, 0.0) as "sub"
          save mul(1.0, %x) as "mul"
          save div(%h, 1.0) as "div"
          save add(0, %i) as "integers"
        }"#,
    ),
    Entry::exact(
        "double-negative",
        "- - x = x, and not (not x) = x of bools",
        &[OpKind::Neg, OpKind::Not],
        double_negative,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save neg(neg(%x)) as "neg"
          save not(not(isnan(%x))) as "not"
        }"#,
    ),
    Entry::exact(
        "rounded-twice",
        "round (round x) = round x; so floor, ceil and trunc, in any order",
        &[OpKind::Floor, OpKind::Ceil, OpKind::Round, OpKind::Trunc],
        rounded_twice,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save floor(ceil(%x)) as "floor"
          save trunc(round(%x)) as "trunc"
        }"#,
    ),
    Entry::exact(
        "relu-of-relu",
        "relu (relu x) = relu x",
        &[OpKind::Relu],
        relu_of_relu,
        r#"graph @w { save relu(relu(call(0) {name: "any", returns: tensor<4x6xf32>})) as "y" }"#,
    ),
    Entry::exact(
        "absolute-of-negative",
        "|-x| = |x|, and ||x|| = |x|",
        &[OpKind::Abs],
        absolute,
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save abs(neg(%x)) as "neg"
          save abs(abs(%x)) as "abs"
        }"#,
    ),
];

fn constant(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    if site.operands.is_empty() || !site.may_fold {
        return None;
    }
    let Type::Tensor(ty) = site.ty else { return None };
    let small = elements(&ty.shape).as_known().is_some_and(|count| count <= MOST_FOLDED);
    if !small || !site.operands.iter().all(|operand| b.constant(*operand).is_some()) {
        return None;
    }
    let values: Vec<Value> = site.operands.iter().filter_map(|operand| b.constant(*operand)).map(Value::from).collect();
    // What fails, fails where the program runs, if it comes so far.
    let Ok(Value::Tensor(value)) = eval(site.op, &values.iter().collect::<Vec<_>>()) else { return None };
    (Type::Tensor(value.ty()) == *site.ty).then(|| Rewrite::Node(Op::Const { value: (&value).into() }, Operands::new()))
}

/// The number that a value is everywhere.
pub(super) fn number(b: &Builder<'_, '_>, id: NodeId) -> Option<f64> {
    let (Op::Const { value: literal } | Op::Full { value: literal, .. }) = b.op(id) else { return None };
    let Literal::Tensor(literal) = literal else { return None };
    // Longer ones are looked at by nobody who writes 1 or 0.
    let values = if literal.bytes().len() <= 512 { literal.to_tensor().to_f64() } else { return None };
    let first = *values.first()?;
    values.iter().all(|value| value.to_bits() == first.to_bits()).then_some(first)
}

fn neutral(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let &[left, right] = site.operands else { return None };
    let dtype = site.ty.as_tensor()?.dtype;
    // What it has to be on the right; sums and products commute.
    let (wanted, both_sides) = match site.op.kind() {
        OpKind::Add => (if dtype.is_float() { -0.0 } else { 0.0f64 }, true),
        OpKind::Sub => (0.0, false),
        OpKind::Mul => (1.0, true),
        OpKind::Div => (1.0, false),
        other => unreachable!("the rule is not tried at `{}`", other.name()),
    };
    let neutral = |id: NodeId| number(b, id).is_some_and(|number| number.to_bits() == wanted.to_bits());
    let unchanged = |x: NodeId| b.ty(x) == site.ty && dtype != DType::Bool;
    if unchanged(left) && neutral(right) {
        return Some(Rewrite::Value(left));
    }
    (both_sides && unchanged(right) && neutral(left)).then_some(Rewrite::Value(right))
}

fn double_negative(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    if b.op(x) != site.op {
        return None;
    }
    let source = b.operands(x)[0];
    (b.ty(source) == site.ty).then_some(Rewrite::Value(source))
}

fn rounded_twice(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    matches!(b.op(x), Op::Floor {} | Op::Ceil {} | Op::Round {} | Op::Trunc {}).then_some(Rewrite::Value(x))
}

fn relu_of_relu(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    matches!(b.op(x), Op::Relu {}).then_some(Rewrite::Value(x))
}

fn absolute(b: &mut Builder<'_, '_>, site: &Site<'_>) -> Option<Rewrite> {
    let x = site.operands[0];
    if matches!(b.op(x), Op::Abs {}) {
        return Some(Rewrite::Value(x));
    }
    matches!(b.op(x), Op::Neg {}).then(|| Rewrite::unary(site.op.clone(), b.operands(x)[0]))
}
