//! Equations of numbers that are not equations of floats: the two sides differ in how they round. They apply only where the user
//! allows it.

use egg::Id;
use irc_ir::{
    attr::Literal,
    eval::{Value, eval},
    op::Op,
};

use super::{Entry, Right, Site, moves::common_factor, rounding};

pub(super) const RULES: [Entry; 14] = [
    rounding(
        "matmul-associates-right",
        "(A B) C = A (B C)",
        "(matmul (matmul ?a ?b) ?c)",
        Right::If("(matmul ?a (matmul ?b ?c))", |site| matrices(site, &[0, 1, 2])),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<40x30xf32>}
          %b = call(1) {name: "any", returns: tensor<30x40xf32>}
          %c = call(2) {name: "any", returns: tensor<40x1xf32>}
          save matmul(matmul(%a, %b), %c) as "r"
        }"#,
    )
    .important(),
    rounding(
        "matmul-associates-left",
        "A (B C) = (A B) C",
        "(matmul ?a (matmul ?b ?c))",
        Right::If("(matmul (matmul ?a ?b) ?c)", |site| matrices(site, &[0, 1, 2])),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<1x40xf32>}
          %b = call(1) {name: "any", returns: tensor<40x30xf32>}
          %c = call(2) {name: "any", returns: tensor<30x40xf32>}
          save matmul(%a, matmul(%b, %c)) as "r"
        }"#,
    )
    .important(),
    rounding(
        "sum-of-products",
        "A X + B X = (A + B) X, X A + X B = X (A + B)",
        "(add (matmul ?a ?b) (matmul ?c ?d))",
        Right::Make(|site| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|at| site.egraph.find(site.var(at)));
            if !matrices(site, &[0, 1, 2, 3]) {
                return None;
            }
            if b == d && site.ty(a) == site.ty(c) {
                let sum = site.add(Op::Add {}, [a, c])?;
                site.add(Op::Matmul {}, [sum, b])
            } else if a == c && site.ty(b) == site.ty(d) {
                let sum = site.add(Op::Add {}, [b, d])?;
                site.add(Op::Matmul {}, [a, sum])
            } else {
                None
            }
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<4x20xf32>}
          %b = call(1) {name: "any", returns: tensor<4x20xf32>}
          %x = call(2) {name: "any", returns: tensor<20x30xf32>}
          save add(matmul(%a, %x), matmul(%b, %x)) as "r"
        }"#,
    )
    .important(),
    rounding(
        "product-of-sum",
        "(A + B) X = A X + B X",
        "(matmul (add ?a ?b) ?x)",
        Right::If("(add (matmul ?a ?x) (matmul ?b ?x))", |site| matrices(site, &[0, 1, 2]) && site.ty(site.var(0)) == site.ty(site.var(1))),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<4x20xf32>}
          %b = call(1) {name: "any", returns: tensor<4x20xf32>}
          %x = call(2) {name: "any", returns: tensor<20x30xf32>}
          save tuple(matmul(%a, %x), matmul(%b, %x), matmul(add(%a, %b), %x)) as "r"
        }"#,
    )
    .important(),
    rounding(
        "mean-of-product",
        "mean over rows of A B = (mean over rows of A) B",
        "(mean (matmul ?a ?b))",
        Right::Make(|site| {
            let Op::Mean { dims, keepdim } = site.op(0) else { return None };
            let (dims, [a, b]) = (summed_rows(site, &dims)?, [0, 1].map(|at| site.var(at)));
            let mean = site.add(Op::Mean { dims, keepdim }, [a])?;
            site.add(Op::Matmul {}, [mean, b])
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<10x20xf32>}
          %b = call(1) {name: "any", returns: tensor<20x30xf32>}
          save mean(matmul(%a, %b)) {dims: [0]} as "r"
        }"#,
    )
    .important(),
    rounding(
        "total-of-product",
        "sum over rows of A B = (sum over rows of A) B",
        "(sum (matmul ?a ?b))",
        Right::Make(|site| {
            let Op::Sum { dims, keepdim } = site.op(0) else { return None };
            let (dims, [a, b]) = (summed_rows(site, &dims)?, [0, 1].map(|at| site.var(at)));
            let sum = site.add(Op::Sum { dims, keepdim }, [a])?;
            site.add(Op::Matmul {}, [sum, b])
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<2x10x20xf32>}
          %b = call(1) {name: "any", returns: tensor<20x30xf32>}
          save sum(matmul(%a, %b)) {dims: [1], keepdim: true} as "r"
        }"#,
    )
    .important(),
    rounding(
        "scale-out-of-left-factor",
        "(s A) B = s (A B)",
        "(matmul (mul ?a ?s) ?b)",
        Right::If("(mul (matmul ?a ?b) ?s)", |site| site.rank(site.var(1)) == Some(0)),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<20x30xf32>}
          %s = call(1) {name: "any", returns: tensor<f32>}
          %b = call(2) {name: "any", returns: tensor<30x2xf32>}
          save matmul(mul(%a, %s), %b) as "r"
        }"#,
    ),
    rounding(
        "scale-out-of-right-factor",
        "A (s B) = s (A B)",
        "(matmul ?a (mul ?b ?s))",
        Right::If("(mul (matmul ?a ?b) ?s)", |site| site.rank(site.var(2)) == Some(0)),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<2x30xf32>}
          %b = call(1) {name: "any", returns: tensor<30x20xf32>}
          %s = call(2) {name: "any", returns: tensor<f32>}
          save matmul(%a, mul(%b, %s)) as "r"
        }"#,
    ),
    rounding(
        "scale-into-left-factor",
        "s (A B) = (s A) B",
        "(mul (matmul ?a ?b) ?s)",
        Right::If("(matmul (mul ?a ?s) ?b)", |site| site.rank(site.var(2)) == Some(0)),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<30x2xf32>}
          %b = call(1) {name: "any", returns: tensor<2x40xf32>}
          %s = call(2) {name: "any", returns: tensor<f32>}
          save mul(matmul(%a, %b), %s) as "r"
        }"#,
    ),
    rounding(
        "scale-into-right-factor",
        "s (A B) = A (s B)",
        "(mul (matmul ?a ?b) ?s)",
        Right::If("(matmul ?a (mul ?b ?s))", |site| site.rank(site.var(2)) == Some(0)),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<40x2xf32>}
          %b = call(1) {name: "any", returns: tensor<2x30xf32>}
          %s = call(2) {name: "any", returns: tensor<f32>}
          save mul(matmul(%a, %b), %s) as "r"
        }"#,
    ),
    rounding(
        "scales-multiply",
        "(x c) d = x (c d), of constants c and d",
        "(mul (mul ?x ?c) ?d)",
        Right::Make(|site| constants(site, Op::Mul {})),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save mul(mul(%x, 0.3), 0.7) as "r"
        }"#,
    ),
    rounding(
        "shifts-add",
        "(x + c) + d = x + (c + d), of constants c and d",
        "(add (add ?x ?c) ?d)",
        Right::Make(|site| constants(site, Op::Add {})),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<4x6xf32>}
          save add(add(%x, 0.3), 0.7) as "r"
        }"#,
    ),
    rounding(
        "small-sums-first",
        "(x + a) + b = x + (a + b), where a + b is smaller than x",
        "(add (add ?x ?a) ?b)",
        Right::Make(|site| {
            let [x, a, b] = [0, 1, 2].map(|at| site.var(at));
            let small = site.add(Op::Add {}, [a, b])?;
            let smaller = site.rank(small)? < site.rank(x)? && site.have_dims(&[a, b]);
            if smaller { site.add(Op::Add {}, [x, small]) } else { None }
        }),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<40x6xf32>}
          %a = call(1) {name: "any", returns: tensor<6xf32>}
          %b = call(2) {name: "any", returns: tensor<6xf32>}
          save add(add(%x, %a), %b) as "r"
        }"#,
    ),
    rounding(
        "common-factor",
        "a b + a c = a (b + c)",
        "(add (mul ?a ?b) (mul ?c ?d))",
        Right::Make(|site| {
            let values = [0, 1, 2, 3].map(|at| site.var(at));
            let fits = site.result()?.dtype.is_float() && site.same_dtype(&values) && site.have_dims(&values);
            if fits { common_factor(site) } else { None }
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<4x6xf32>}
          %b = call(1) {name: "any", returns: tensor<4x6xf32>}
          %c = call(2) {name: "any", returns: tensor<4x6xf32>}
          save add(mul(%a, %b), mul(%a, %c)) as "r"
        }"#,
    ),
];

/// Whether these variables are matrices, alone or many: vectors take part in products in another way on each side.
fn matrices(site: &Site<'_, '_>, vars: &[usize]) -> bool {
    vars.iter().all(|at| site.rank(site.var(*at)).is_some_and(|rank| rank >= 2))
}

/// The dimensions of A that are the dimensions `dims` of A B, where all of them are rows and B is one matrix. None are all,
/// which is no such case.
fn summed_rows(site: &Site<'_, '_>, dims: &[i64]) -> Option<Vec<i64>> {
    let (a, b) = (site.var(0), site.var(1));
    let rank = site.rank(a)?;
    let axes: Option<Vec<i64>> = dims.iter().map(|dim| site.axis(a, *dim).filter(|axis| axis + 1 < rank).map(|axis| axis as i64)).collect();
    axes.filter(|axes| !axes.is_empty() && rank >= 2 && matches!(site.rank(b), Some(2)))
}

/// x combined with two constants, which are combined first.
fn constants(site: &mut Site<'_, '_>, op: Op) -> Option<Id> {
    let [x, c, d] = [0, 1, 2].map(|at| site.var(at));
    let (c, d) = (site.known(c)?, site.known(d)?);
    if c.rank() > 0 || d.rank() > 0 || !c.dtype().is_float() || c.dtype() != d.dtype() {
        return None;
    }
    let both = eval(&op, &[&Value::from(c), &Value::from(d)]).ok()?.into_tensor()?;
    let both = site.add(Op::Const { value: Literal::from(&both) }, [])?;
    site.add(op, [x, both])
}
