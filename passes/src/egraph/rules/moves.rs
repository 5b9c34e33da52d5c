//! Functions of elements, and where the elements stand: dimensions in another order, other shapes, elements picked or chosen.

use egg::Id;
use irc_ir::{
    infer::normalise_axis,
    op::Op,
    types::{DType, Dim},
};

use super::{Entry, Right, Site, exact};

pub(super) const RULES: [Entry; 15] = [
    exact(
        "permutes-compose",
        "permute (permute x) = permute x, or x",
        "(PERMUTE (PERMUTE ?x))",
        Right::Make(permutes_compose),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<3x4x5xf32>}
          save permute(transpose(%x) {dim0: 0, dim1: 1}) {dims: [2, 1, 0]} as "r"
        }"#,
    ),
    exact(
        "views-compose",
        "reshape (reshape x) = reshape x, or x",
        "(VIEW (VIEW ?x))",
        Right::Make(views_compose),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save reshape(flatten(%x)) {shape: [4, 6]} as "r"
        }"#,
    ),
    exact(
        "unary-of-move",
        "f (move x) = move (f x)",
        "(UNARY=f (MOVE=m ?x))",
        Right::Text("(m (f ?x))"),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<1x6xf32>}
          save gelu(expand(%x) {shape: [5, 6]}) as "r"
        }"#,
    ),
    exact(
        "move-of-cast",
        "move (cast x) = cast (move x)",
        "(MOVE=m (cast=c ?x))",
        Right::Text("(c (m ?x))"),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<40x60xf16>}
          save transpose(cast(%x) {dtype: f32}) {dim0: 0, dim1: 1} as "r"
        }"#,
    ),
    exact(
        "binary-of-moves",
        "f (move a) (move b) = move (f a b)",
        "(BINARY=f (MOVE=m ?a) (MOVE=m ?b))",
        Right::If("(m (f ?a ?b))", |site| site.ty(site.var(0)) == site.ty(site.var(1))),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<4x6xf32>}
          %b = call(1) {name: "any", returns: tensor<4x6xf32>}
          save add(transpose(%a) {dim0: 0, dim1: 1}, transpose(%b) {dim0: 0, dim1: 1}) as "r"
        }"#,
    ),
    exact(
        "binary-of-move-and-number",
        "f (move x) s = move (f x s), of a single number s",
        "(BINARY=f (MOVE=m ?x) ?s)",
        Right::If("(m (f ?x ?s))", |site| moved_with_number(site, 0, 1)),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<1x6xf32>}
          %s = call(1) {name: "any", returns: tensor<f32>}
          save div(expand(%x) {shape: [5, 6]}, %s) as "r"
        }"#,
    ),
    exact(
        "binary-of-number-and-move",
        "f s (move x) = move (f s x), of a single number s",
        "(BINARY=f ?s (MOVE=m ?x))",
        Right::If("(m (f ?s ?x))", |site| moved_with_number(site, 1, 0)),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<1x6xf32>}
          %s = call(1) {name: "any", returns: tensor<f32>}
          save div(%s, expand(%x) {shape: [5, 6]}) as "r"
        }"#,
    ),
    exact(
        "unary-of-pick",
        "f (pick x i) = pick (f x) i",
        "(UNARY=f (PICK=p ?x ?i))",
        Right::Text("(p (f ?x) ?i)"),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<3x6xf32>}
          %i = [0, 2, 2, 1, 0, 1, 1, 2, 0]
          save gelu(index_select(%x, %i) {dim: 0}) as "r"
        }"#,
    ),
    exact(
        "pick-of-unary",
        "pick (f x) i = f (pick x i)",
        "(PICK=p (UNARY=f ?x) ?i)",
        Right::Text("(f (p ?x ?i))"),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<40x6xf32>}
          save embedding(gelu(%x), [0, 20]) as "r"
        }"#,
    ),
    exact(
        "select-of-unaries",
        "select c (f a) (f b) = f (select c a b)",
        "(select ?c (UNARY=f ?a) (UNARY=f ?b))",
        Right::If("(f (select ?c ?a ?b))", |site| site.same_dtype(&[site.var(1), site.var(2)])),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<4x6xf32>}
          %b = call(1) {name: "any", returns: tensor<4x6xf32>}
          save select(gt(%a, 0.0), gelu(%a), gelu(%b)) as "r"
        }"#,
    ),
    exact(
        "unary-of-select",
        "f (select c a b) = select c (f a) (f b)",
        "(UNARY=f (select ?c ?a ?b))",
        Right::If("(select ?c (f ?a) (f ?b))", |site| site.same_dtype(&[site.var(1), site.var(2)])),
        r#"graph @w {
          %c = call(0) {name: "any", returns: tensor<40x60xf32>}
          %a = call(1) {name: "any", returns: tensor<f32>}
          %b = call(2) {name: "any", returns: tensor<60xf32>}
          save gelu(select(gt(%c, 0.0), %a, %b)) as "r"
        }"#,
    ),
    exact(
        "select-of-left-sides",
        "select c (f x a) (f x b) = f x (select c a b)",
        "(select ?c (BINARY=f ?x ?a) (BINARY=f ?x ?b))",
        Right::If("(f ?x (select ?c ?a ?b))", |site| chosen(site, [2, 3])),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          %a = call(1) {name: "any", returns: tensor<4x6xf32>}
          %b = call(2) {name: "any", returns: tensor<4x6xf32>}
          save select(gt(%a, 0.0), mul(%x, %a), mul(%x, %b)) as "r"
        }"#,
    ),
    exact(
        "select-of-right-sides",
        "select c (f a x) (f b x) = f (select c a b) x",
        "(select ?c (BINARY=f ?a ?x) (BINARY=f ?b ?x))",
        Right::If("(f (select ?c ?a ?b) ?x)", |site| chosen(site, [1, 3])),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          %a = call(1) {name: "any", returns: tensor<4x6xf32>}
          %b = call(2) {name: "any", returns: tensor<4x6xf32>}
          save select(gt(%a, 0.0), sub(%a, %x), sub(%b, %x)) as "r"
        }"#,
    ),
    exact(
        "softmax-of-permute",
        "softmax (permute x) = permute (softmax x), along the same elements",
        "(softmax=f (PERMUTE=p ?x))",
        Right::Make(softmax_of_permute),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<3x4x5xf32>}
          save tuple(softmax(%x) {dim: 1}, softmax(permute(%x) {dims: [1, 2, 0]}) {dim: 0}) as "r"
        }"#,
    ),
    exact(
        "common-factor-of-integers",
        "a b + a c = a (b + c), of integers",
        "(add (mul ?a ?b) (mul ?c ?d))",
        Right::Make(|site| {
            let values = [0, 1, 2, 3].map(|at| site.var(at));
            let integers = matches!(site.result()?.dtype, DType::I64 | DType::I32 | DType::U8);
            if integers && site.same_dtype(&values) { common_factor(site) } else { None }
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<4x6xi64>}
          %b = call(1) {name: "any", returns: tensor<4x6xi64>}
          %c = call(2) {name: "any", returns: tensor<4x6xi64>}
          save add(mul(%a, %b), mul(%c, %a)) as "r"
        }"#,
    ),
];

/// The old dimension at each place.
pub(super) fn order(op: &Op, rank: usize) -> Option<Vec<usize>> {
    match op {
        Op::Transpose { dim0, dim1 } => {
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(normalise_axis(*dim0, rank)?, normalise_axis(*dim1, rank)?);
            Some(order)
        }
        Op::Permute { dims } => dims.iter().map(|dim| normalise_axis(*dim, rank)).collect(),
        _ => None,
    }
}

/// A value with its dimensions in another order: itself, where that is the one they have.
pub(super) fn permuted(site: &mut Site<'_, '_>, value: Id, order: &[usize]) -> Option<Id> {
    let moved: Vec<usize> = (0..order.len()).filter(|at| order[*at] != *at).collect();
    let op = match moved[..] {
        [] => return Some(value),
        [a, b] => Op::Transpose { dim0: a as i64, dim1: b as i64 },
        _ => Op::Permute { dims: order.iter().map(|at| *at as i64).collect() },
    };
    site.add(op, [value])
}

fn permutes_compose(site: &mut Site<'_, '_>) -> Option<Id> {
    let x = site.var(0);
    let rank = site.rank(x)?;
    let (last, first) = (order(&site.op(0), rank)?, order(&site.op(1), rank)?);
    let both: Vec<usize> = last.into_iter().map(|at| first[at]).collect();
    permuted(site, x, &both)
}

fn views_compose(site: &mut Site<'_, '_>) -> Option<Id> {
    let x = site.var(0);
    let ty = site.result()?.clone();
    if site.tensor(x) == Some(&ty) {
        return Some(x);
    }
    let numbers = ty.shape.iter().all(|dim| dim.as_known().is_some());
    let shape: Vec<Dim> = ty.shape.into_iter().collect();
    if numbers { site.add(Op::Reshape { shape }, [x]) } else { None }
}

/// Whether one variable has dimensions before and after it is moved, and the other one is a single number.
fn moved_with_number(site: &Site<'_, '_>, x: usize, s: usize) -> bool {
    site.rank(site.var(s)) == Some(0) && site.have_dims(&[site.var(x), site.found.class])
}

/// Whether two values are promoted alike, and as the one of which they are chosen.
fn chosen(site: &Site<'_, '_>, [a, b]: [usize; 2]) -> bool {
    let sides = [site.var(a), site.var(b)];
    site.same_dtype(&sides) && site.have_dims(&sides)
}

fn softmax_of_permute(site: &mut Site<'_, '_>) -> Option<Id> {
    let x = site.var(0);
    let order = order(&site.op(1), site.rank(x)?)?;
    let Op::Softmax { dim } = site.op(0) else { return None };
    let dim = order[normalise_axis(dim, order.len())?] as i64;
    let inside = site.add(Op::Softmax { dim }, [x])?;
    permuted(site, inside, &order)
}

/// a b + c d as a product, where the two products have a factor in common.
pub(super) fn common_factor(site: &mut Site<'_, '_>) -> Option<Id> {
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| site.egraph.find(site.var(at)));
    let (factor, rest) = match () {
        () if a == c => (a, [b, d]),
        () if a == d => (a, [b, c]),
        () if b == c => (b, [a, d]),
        () if b == d => (b, [a, c]),
        () => return None,
    };
    let sum = site.add(Op::Add {}, rest)?;
    site.add(Op::Mul {}, [factor, sum])
}
