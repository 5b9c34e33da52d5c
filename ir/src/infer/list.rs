//! Types of lists and texts.

use std::collections::BTreeMap;

use super::{as_tensor, wrong_kind};
use crate::{
    code::Code,
    diagnostic::Diagnostic,
    op::Op,
    types::{DType, Dim, Name, Type, elements},
};

/// Whether a value of type `ty` can be in a list of `of`, whose symbols stand for any sizes of at least 1: the same one
/// wherever it stands in one value.
pub(crate) fn fits(of: &Type, ty: &Type) -> bool {
    let mut sizes = BTreeMap::new();
    bind(of, ty, &mut sizes) && filled(of, &sizes) == *ty
}

/// The type with the sizes that symbols stand for, also in lists inside it.
fn filled(of: &Type, sizes: &BTreeMap<Name, Dim>) -> Type {
    match of {
        Type::List(of) => Type::List(filled(of, sizes).into()),
        Type::Tuple(parts) => Type::Tuple(parts.iter().map(|part| filled(part, sizes)).collect()),
        of => of.substitute(&|symbol| sizes.get(symbol).cloned()),
    }
}

/// Finds what single symbols stand for; whether both types are of one form.
fn bind(of: &Type, ty: &Type, sizes: &mut BTreeMap<Name, Dim>) -> bool {
    match (of, ty) {
        (Type::Tensor(of), Type::Tensor(ty)) => {
            of.rank() == ty.rank()
                && of.shape.iter().zip(&ty.shape).all(|(of, size)| {
                    if let [symbol] = &of.symbols()[..]
                        && *of == Dim::symbol(symbol.clone())
                    {
                        sizes.entry(symbol.clone()).or_insert_with(|| size.clone());
                        return size.at_least(1);
                    }
                    true
                })
        }
        (Type::Tuple(of), Type::Tuple(ty)) => of.len() == ty.len() && of.iter().zip(ty.iter()).all(|(of, ty)| bind(of, ty, sizes)),
        (Type::List(of), Type::List(ty)) => bind(of, ty, sizes),
        _ => true,
    }
}

/// Whether values of a type exist outside of models.
fn is_value(ty: &Type) -> bool {
    match ty {
        Type::Forward(_) => false,
        Type::Tuple(parts) => parts.iter().all(is_value),
        Type::List(of) => is_value(of),
        Type::Tensor(_) | Type::Str | Type::Opaque => true,
    }
}

fn check_item(op: &Op, at: usize, of: &Type, ty: &Type) -> Result<(), Diagnostic> {
    if !is_value(ty) {
        return Err(wrong_kind(op, at, &format!("a value of type {of}"), ty));
    }
    if !fits(of, ty) {
        return Err(Diagnostic::error(
            Code::E1002,
            format!("the list is of {of}, but operand {} of `{}` is {ty}", at + 1, op.kind().name()),
        )
        .help("values of several sizes go into a list whose type has symbols: `list {of: tensor<Nx576xf32>}`"));
    }
    Ok(())
}

pub(super) fn list(op: &Op, of: Option<&Type>, operands: &[&Type]) -> Result<Type, Diagnostic> {
    let Some(of) = of.or(operands.first().copied()) else {
        return Err(Diagnostic::error(Code::E1008, "the type of the values of an empty list is not known")
            .help("state it: `list {of: tensor<1x576xf32>}`"));
    };
    if !is_value(of) {
        return Err(
            Diagnostic::error(Code::E1002, format!("there are no lists of {of}")).help("`read(f) {hook: …}` gives a tensor of a forward")
        );
    }
    operands.iter().enumerate().try_for_each(|(at, ty)| check_item(op, at, of, ty))?;
    Ok(Type::List(of.clone().into()))
}

/// What the list that is operand `at` is of.
fn of_list<'a>(op: &Op, operands: &[&'a Type], at: usize) -> Result<&'a Type, Diagnostic> {
    match operands[at] {
        Type::List(of) => Ok(of),
        Type::Tensor(_) if matches!(op, Op::Join {}) => Err(wrong_kind(op, at, "a list", operands[at]).help("`cat` joins tensors")),
        other => Err(wrong_kind(op, at, "a list", other)),
    }
}

pub(super) fn append(op: &Op, operands: &[&Type]) -> Result<Type, Diagnostic> {
    check_item(op, 1, of_list(op, operands, 0)?, operands[1])?;
    if let Some(when) = operands.get(2) {
        let ty = as_tensor(op, 2, when)?;
        if ty.dtype != DType::Bool || elements(&ty.shape).as_known() != Some(1) {
            let error = Diagnostic::error(Code::E1006, format!("`append` happens where one bool holds, but its third operand is {ty}"));
            return Err(error.help("compare: `gt(x, 0)`; of several, take `any` or `all`"));
        }
    }
    Ok(operands[0].clone())
}

pub(super) fn join(op: &Op, operands: &[&Type]) -> Result<Type, Diagnostic> {
    let (a, b) = (of_list(op, operands, 0)?, of_list(op, operands, 1)?);
    if a != b {
        return Err(Diagnostic::error(Code::E1002, format!("a list of {a} cannot be joined with one of {b}")));
    }
    Ok(operands[0].clone())
}

pub(super) fn item(op: &Op, index: Option<i64>, operands: &[&Type]) -> Result<Type, Diagnostic> {
    let of = of_list(op, operands, 0)?;
    match (index, operands.get(1)) {
        (Some(_), None) => {}
        (None, Some(at)) => {
            let at = as_tensor(op, 1, at)?;
            if at.dtype != DType::I64 || at.rank() != 0 {
                return Err(Diagnostic::error(Code::E1006, format!("`item` needs a number of type tensor<i64>, but gets {at}")));
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            let message = "`item` gets its number either as the attribute `index` or as an operand";
            return Err(Diagnostic::error(Code::E1001, message).help("`item(list) {index: 0}` is the first"));
        }
    }
    Ok(of.clone())
}

pub(super) fn length(op: &Op, operands: &[&Type]) -> Result<Type, Diagnostic> {
    match operands[0] {
        Type::Tensor(ty) => Err(wrong_kind(op, 0, "a list", operands[0]).note(format!("the sizes of a tensor are in its type, {ty}"))),
        _ => of_list(op, operands, 0).map(|_| Type::tensor(DType::I64, [])),
    }
}

/// The pieces of a template around its `{}`.
///
/// # Errors
/// If a brace stands alone.
pub(crate) fn template(text: &str) -> Result<Vec<String>, String> {
    let mut pieces = vec![String::new()];
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        let last = pieces.len() - 1;
        pieces[last].push_str(before);
        match from.get(..2) {
            Some("{}") => pieces.push(String::new()),
            Some(twice @ ("{{" | "}}")) => pieces[last].push_str(&twice[1..]),
            _ => return Err(format!("a brace stands alone in {text:?}")),
        }
        rest = &from[2..];
    }
    let last = pieces.len() - 1;
    pieces[last].push_str(rest);
    Ok(pieces)
}

pub(super) fn format(op: &Op, text: &str, operands: &[&Type]) -> Result<Type, Diagnostic> {
    let pieces =
        template(text).map_err(|why| Diagnostic::error(Code::E1008, why).help("`{}` is the place of an operand, `{{` is a brace"))?;
    if pieces.len() - 1 != operands.len() {
        let message = format!("the template has {} places, but there are {} operands", pieces.len() - 1, operands.len());
        return Err(Diagnostic::error(Code::E1008, message));
    }
    match operands.iter().position(|ty| !is_value(ty)) {
        Some(at) => Err(wrong_kind(op, at, "something that can be shown", operands[at])),
        None => Ok(Type::Str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_stand_for_any_size() {
        let tensor = |sizes: &[Dim]| Type::tensor(DType::F32, sizes.iter().cloned());
        let (n, k) = (Dim::symbol("N"), Dim::known);
        let of = tensor(&[n.clone(), n.clone() + k(1), k(4)]);
        assert!(fits(&of, &tensor(&[k(2), k(3), k(4)])));
        assert!(fits(&of, &tensor(&[Dim::symbol("T"), Dim::symbol("T") + k(1), k(4)])));
        assert!(!fits(&of, &tensor(&[k(2), k(2), k(4)])) && !fits(&of, &tensor(&[k(0), k(1), k(4)])));
        assert!(!fits(&of, &tensor(&[k(2), k(3)])) && !fits(&of, &Type::tensor(DType::F64, [k(2), k(3), k(4)])));
        let pair = Type::Tuple([tensor(std::slice::from_ref(&n)), tensor(std::slice::from_ref(&n))].into());
        assert!(fits(&pair, &Type::Tuple([tensor(&[k(2)]), tensor(&[k(2)])].into())));
        assert!(!fits(&pair, &Type::Tuple([tensor(&[k(2)]), tensor(&[k(3)])].into())));
        assert!(fits(&Type::Str, &Type::Str) && !fits(&Type::Str, &pair));
    }

    #[test]
    fn templates_have_places() {
        assert_eq!(template("a {} b {{}} {}").unwrap(), ["a ", " b {} ", ""]);
        assert_eq!(template("").unwrap(), [""]);
        for wrong in ["{", "a } b", "{x}", "{é"] {
            assert!(template(wrong).is_err(), "{wrong}");
        }
    }
}
