//! Matrix products: each element of one is a sum over the inner dimension, in its order, wherever the element lies. So rows and
//! columns can be computed apart, together, or the other way round, bit for bit.

use egg::{Id, Language};
use irc_ir::{
    op::{Op, OpKind},
    types::Dim,
};

use super::{
    Entry, Right, Site, exact,
    moves::{order, permuted},
};
use crate::egraph::language::ENode;

pub(super) const RULES: [Entry; 12] = [
    exact(
        "transpose-of-matmul",
        "(A B)^T = B^T A^T",
        "(PERMUTE (matmul ?a ?b))",
        Right::Make(|site| {
            let (a, b) = (site.var(0), site.var(1));
            if !swaps_matrix(site, 0, site.found.class) || site.rank(a)? < 2 || site.rank(b)? < 2 {
                return None;
            }
            let (a, b) = (swapped(site, a)?, swapped(site, b)?);
            site.add(Op::Matmul {}, [b, a])
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<2x30x3xf32>}
          %b = call(1) {name: "any", returns: tensor<3x40xf32>}
          save transpose(matmul(%a, %b)) {dim0: -1, dim1: 1} as "r"
        }"#,
    ),
    exact(
        "matmul-of-transposes",
        "B^T A^T = (A B)^T",
        "(matmul (PERMUTE ?b) (PERMUTE ?a))",
        Right::Make(|site| {
            let (b, a) = (site.var(0), site.var(1));
            let ranks = [site.rank(a)?, site.rank(b)?];
            if ranks.contains(&0) || !swaps_matrix(site, 1, b) || !swaps_matrix(site, 2, a) {
                return None;
            }
            let product = site.add(Op::Matmul {}, [a, b])?;
            swapped(site, product)
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<3x40xf32>}
          %b = call(1) {name: "any", returns: tensor<40x5xf32>}
          save matmul(transpose(%b) {dim0: 0, dim1: 1}, transpose(%a) {dim0: 1, dim1: 0}) as "r"
        }"#,
    ),
    exact(
        "slice-of-matmul",
        "rows or columns of A B = (rows of A) B, A (columns of B)",
        "(slice (matmul ?a ?b))",
        Right::Make(slice_of_matmul),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<9x8xf32>}
          %b = call(1) {name: "any", returns: tensor<8x30xf32>}
          save slice(slice(matmul(%a, %b)) {dim: 1, start: -20, end: -2}) {dim: 0, start: 2, end: 4} as "r"
        }"#,
    ),
    exact(
        "matmul-of-rows",
        "(rows of A) B = rows of A B",
        "(matmul (slice ?a) ?b)",
        Right::Make(|site| {
            let (a, b) = (site.var(0), site.var(1));
            let Op::Slice { dim, start, end, step } = site.op(1) else { return None };
            let axis = row_axis(site, a, b, dim)?;
            let product = site.add(Op::Matmul {}, [a, b])?;
            let back = site.rank(product)? - (site.rank(a)? - axis);
            site.add(Op::Slice { dim: back as i64, start, end, step }, [product])
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<9x8xf32>}
          %b = call(1) {name: "any", returns: tensor<8x30xf32>}
          save tuple(matmul(%a, %b), matmul(slice(%a) {dim: 0, start: 2}, %b)) as "r"
        }"#,
    ),
    exact(
        "matmul-of-columns",
        "A (columns of B) = columns of A B",
        "(matmul ?a (slice ?b))",
        Right::Make(|site| {
            let (a, b) = (site.var(0), site.var(1));
            let Op::Slice { dim, start, end, step } = site.op(1) else { return None };
            let rank = site.rank(b)?;
            if rank < 2 || site.axis(b, dim)? != rank - 1 {
                return None;
            }
            let product = site.add(Op::Matmul {}, [a, b])?;
            site.add(Op::Slice { dim: -1, start, end, step }, [product])
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<9x8xf32>}
          %b = call(1) {name: "any", returns: tensor<8x30xf32>}
          save tuple(matmul(%a, %b), matmul(%a, slice(%b) {dim: 1, start: 2})) as "r"
        }"#,
    ),
    exact(
        "cat-of-products-by-rows",
        "cat (A X) (B X) = (cat A B) X",
        "(cat (matmul ?a ?x) ...)",
        Right::Make(|site| {
            let Op::Cat { dim } = site.op(0) else { return None };
            let (a, x) = (site.var(0), site.var(1));
            let axis = site.axis(site.found.class, dim)?;
            let from_last = site.rank(site.found.class)? - axis;
            let others = other_factors(site, 1, x)?;
            let at = row_axis(site, a, x, -(from_last as i64))?;
            let whole = site.add(Op::Cat { dim: at as i64 }, [a].into_iter().chain(others))?;
            site.add(Op::Matmul {}, [whole, x])
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<2x20xf32>}
          %b = call(1) {name: "any", returns: tensor<3x20xf32>}
          %c = call(2) {name: "any", returns: tensor<1x20xf32>}
          %x = call(3) {name: "any", returns: tensor<20x30xf32>}
          save cat(matmul(%a, %x), matmul(%b, %x), matmul(%c, %x)) {dim: 0} as "r"
        }"#,
    ),
    exact(
        "cat-of-products-by-columns",
        "cat (X A) (X B) = X (cat A B)",
        "(cat (matmul ?x ?a) ...)",
        Right::Make(|site| {
            let Op::Cat { dim } = site.op(0) else { return None };
            let (x, a) = (site.var(0), site.var(1));
            let rank = site.rank(a)?;
            if rank < 2 || site.axis(site.found.class, dim)? + 1 != site.rank(site.found.class)? {
                return None;
            }
            let others = other_factors(site, 0, x)?;
            let whole = site.add(Op::Cat { dim: -1 }, [a].into_iter().chain(others))?;
            site.add(Op::Matmul {}, [x, whole])
        }),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<90x20xf32>}
          %a = call(1) {name: "any", returns: tensor<20x1xf32>}
          %b = call(2) {name: "any", returns: tensor<20x2xf32>}
          save cat(matmul(%x, %a), matmul(%x, %b)) {dim: -1} as "r"
        }"#,
    ),
    exact(
        "stack-of-products",
        "stack (A X) (B X) = (stack A B) X",
        "(stack (matmul ?a ?x) ...)",
        Right::Make(|site| {
            let Op::Stack { dim } = site.op(0) else { return None };
            let (a, x) = (site.var(0), site.var(1));
            let at = site.axis(site.found.class, dim)?;
            if site.rank(x)? != 2 || at + 1 >= site.rank(site.found.class)? {
                return None;
            }
            let others = other_factors(site, 1, x)?;
            let whole = site.add(Op::Stack { dim: at as i64 }, [a].into_iter().chain(others))?;
            site.add(Op::Matmul {}, [whole, x])
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<20xf32>}
          %b = call(1) {name: "any", returns: tensor<20xf32>}
          %x = call(2) {name: "any", returns: tensor<20x30xf32>}
          save stack(matmul(%a, %x), matmul(%b, %x)) {dim: 0} as "r"
        }"#,
    ),
    exact(
        "product-of-cat-by-rows",
        "(cat A B) X = cat (A X) (B X)",
        "(matmul (cat ?a ...) ?x)",
        Right::Make(|site| {
            let (a, x) = (site.var(0), site.var(1));
            let Op::Cat { dim } = site.op(1) else { return None };
            let axis = row_axis(site, a, x, dim)?;
            let back = axis as i64 - site.rank(a)? as i64;
            let parts: Vec<Id> = [a].into_iter().chain(site.found.more.iter().copied()).collect();
            let products = parts.into_iter().map(|part| site.add(Op::Matmul {}, [part, x])).collect::<Option<Vec<_>>>()?;
            site.add(Op::Cat { dim: back }, products)
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<30x20xf32>}
          %b = call(1) {name: "any", returns: tensor<30x20xf32>}
          %x = call(2) {name: "any", returns: tensor<20x1xf32>}
          save matmul(cat(%a, %b) {dim: 0}, %x) as "r"
        }"#,
    ),
    exact(
        "product-of-cat-by-columns",
        "X (cat A B) = cat (X A) (X B)",
        "(matmul ?x (cat ?a ...))",
        Right::Make(|site| {
            let (x, a) = (site.var(0), site.var(1));
            let Op::Cat { dim } = site.op(1) else { return None };
            let rank = site.rank(a)?;
            if rank < 2 || site.axis(a, dim)? != rank - 1 {
                return None;
            }
            let parts: Vec<Id> = [a].into_iter().chain(site.found.more.iter().copied()).collect();
            let products = parts.into_iter().map(|part| site.add(Op::Matmul {}, [x, part])).collect::<Option<Vec<_>>>()?;
            site.add(Op::Cat { dim: -1 }, products)
        }),
        r#"graph @w {
          %x = call(0) {name: "any", returns: tensor<1x20xf32>}
          %a = call(1) {name: "any", returns: tensor<20x30xf32>}
          %b = call(2) {name: "any", returns: tensor<20x30xf32>}
          save matmul(%x, cat(%a, %b) {dim: 1}) as "r"
        }"#,
    ),
    exact(
        "einsum-as-matmul",
        "einsum of two operands over one letter = A B, with dimensions in another order",
        "(einsum ?a ?b)",
        Right::Make(einsum_as_matmul),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<40x5xf32>}
          %b = call(1) {name: "any", returns: tensor<40x3xf32>}
          %t = transpose(%a) {dim0: 0, dim1: 1}
          save tuple(matmul(%t, %b), einsum(%a, %b) {equation: "ji,jk->ki"}) as "r"
        }"#,
    ),
    exact(
        "product-of-view",
        "(reshape A) B = reshape (A B), where rows stay rows",
        "(matmul (VIEW ?a) ?b)",
        Right::Make(|site| {
            let (a, b) = (site.var(0), site.var(1));
            let shape: Vec<Dim> = site.result()?.shape.iter().cloned().collect();
            let numbers = shape.iter().all(|dim| dim.as_known().is_some());
            // The inner dimension stays the last one.
            if !numbers || site.rank(b)? != 2 || site.tensor(b)?.shape.first() != site.tensor(a)?.shape.last() {
                return None;
            }
            let product = site.add(Op::Matmul {}, [a, b])?;
            site.add(Op::Reshape { shape }, [product])
        }),
        r#"graph @w {
          %a = call(0) {name: "any", returns: tensor<2x3x20xf32>}
          %b = call(1) {name: "any", returns: tensor<20x30xf32>}
          save tuple(matmul(%a, %b), matmul(reshape(%a) {shape: [6, 20]}, %b)) as "r"
        }"#,
    ),
];

/// Whether the operation at a place swaps the last two dimensions of a value, and no others.
fn swaps_matrix(site: &Site<'_, '_>, place: usize, value: Id) -> bool {
    let Some(rank) = site.rank(value).filter(|rank| *rank >= 2) else { return false };
    let swapped: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    order(&site.op(place), rank) == Some(swapped)
}

/// A value with its last two dimensions swapped.
fn swapped(site: &mut Site<'_, '_>, value: Id) -> Option<Id> {
    let rank = site.rank(value).filter(|rank| *rank >= 2)?;
    let order: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    permuted(site, value, &order)
}

/// The dimension `dim` of A, where it is one of the rows of A B: an element of A B depends on no other index of it.
fn row_axis(site: &Site<'_, '_>, a: Id, b: Id, dim: i64) -> Option<usize> {
    let (rank, axis) = (site.rank(a)?, site.axis(a, dim)?);
    // Leading dimensions of B are paired with those of A.
    let rows = axis + 2 == rank || axis + 2 < rank && site.rank(b)? <= 2;
    (rows && site.rank(b)? >= 2).then_some(axis)
}

fn slice_of_matmul(site: &mut Site<'_, '_>) -> Option<Id> {
    let (a, b) = (site.var(0), site.var(1));
    let Op::Slice { dim, start, end, step } = site.op(0) else { return None };
    let rank = site.rank(site.found.class)?;
    let from_last = (rank - site.axis(site.found.class, dim)?) as i64;
    if from_last == 1 && site.rank(b)? >= 2 {
        let columns = site.add(Op::Slice { dim: -1, start, end, step }, [b])?;
        return site.add(Op::Matmul {}, [a, columns]);
    }
    let axis = row_axis(site, a, b, -from_last)?;
    let rows = site.add(Op::Slice { dim: axis as i64, start, end, step }, [a])?;
    site.add(Op::Matmul {}, [rows, b])
}

/// The other factors of the products that `...` stands for, each of which has `factor` at `side`.
fn other_factors(site: &Site<'_, '_>, side: usize, factor: Id) -> Option<Vec<Id>> {
    let factor = site.egraph.find(factor);
    let other = |class: &Id| {
        let nodes = &site.egraph[*class].nodes;
        let product = nodes.iter().filter(|node| node.kind() == Some(OpKind::Matmul)).map(ENode::children);
        product.filter(|factors| site.egraph.find(factors[side]) == factor).map(|factors| factors[1 - side]).next()
    };
    let others: Option<Vec<Id>> = site.found.more.iter().map(other).collect();
    // One product alone is no sum of work.
    others.filter(|others| !others.is_empty())
}

fn einsum_as_matmul(site: &mut Site<'_, '_>) -> Option<Id> {
    let (a, b) = (site.var(0), site.var(1));
    let Op::Einsum { equation } = site.op(0) else { return None };
    let text: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (inputs, output) = text.split_once("->")?;
    let (left, right) = inputs.split_once(',')?;
    let letters = |text: &str| -> Option<Vec<char>> {
        let letters: Vec<char> = text.chars().collect();
        let once = letters.iter().enumerate().all(|(at, letter)| letter.is_ascii_alphabetic() && !letters[..at].contains(letter));
        once.then_some(letters)
    };
    let (left, right, output) = (letters(left)?, letters(right)?, letters(output)?);
    let only = |own: &[char], other: &[char]| own.iter().copied().filter(|letter| !other.contains(letter)).collect::<Vec<_>>();
    let (rows, columns) = (only(&left, &right), only(&right, &left));
    let (batch, summed): (Vec<char>, Vec<char>) =
        left.iter().copied().filter(|letter| right.contains(letter)).partition(|letter| output.contains(letter));
    let (&[row], &[column], &[inner]) = (&rows[..], &columns[..], &summed[..]) else { return None };
    // A letter of one operand alone that is summed is summed first; and sizes of 1 are broadcast.
    let dim = |letters: &[char], value: Id, letter: char| -> Option<Dim> {
        let at = letters.iter().position(|own| *own == letter)?;
        Some(site.tensor(value)?.shape[at].clone())
    };
    let alike = batch.iter().chain([&inner]).all(|letter| dim(&left, a, *letter) == dim(&right, b, *letter));
    if !alike || !output.contains(&row) || !output.contains(&column) || !site.same_dtype(&[a, b]) {
        return None;
    }
    let places = |letters: &[char], wanted: &[char]| -> Option<Vec<usize>> {
        wanted.iter().map(|letter| letters.iter().position(|own| own == letter)).collect()
    };
    let (of_a, of_b) = ([&batch[..], &[row, inner]].concat(), [&batch[..], &[inner, column]].concat());
    let (of_a, of_b) = (places(&left, &of_a)?, places(&right, &of_b)?);
    let product = [&batch[..], &[row, column]].concat();
    let a = permuted(site, a, &of_a)?;
    let b = permuted(site, b, &of_b)?;
    let made = site.add(Op::Matmul {}, [a, b])?;
    permuted(site, made, &places(&product, &output)?)
}
