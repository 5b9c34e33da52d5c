//! Types before prompts are bound: sizes in tokens are symbols, so a program that will be right cannot always be shown to
//! be. What the recorder needs is the element type and the number of dimensions, and to know when two types are surely equal.

use irc_ir::{
    infer::{self, Models, normalise_axis},
    op::Op,
    types::{Dim, TensorType, Type},
};

/// A size about which nothing is known.
pub(super) fn unknown(count: &mut usize) -> Dim {
    *count += 1;
    Dim::symbol(format!("U{count}"))
}

/// The type of an operation as far as it is known, or nothing if it is wrong for all sizes that were tried.
///
/// What cannot be decided for symbols may well be right for the numbers that they stand for: then the number of dimensions
/// and the element type are those that the operation has for some numbers, and the sizes are unknown.
pub(super) fn infer(op: &Op, operands: &[&Type], models: &Models, unknowns: &mut usize) -> Option<Type> {
    if let Ok(ty) = infer::infer(op, operands, models) {
        return Some(ty);
    }
    // Views and updates are what gets inverted, so of them we want to know more.
    match (op, operands) {
        (Op::Update { .. }, [Type::Tensor(whole), Type::Tensor(_)]) => return Some(Type::Tensor(whole.clone())),
        (Op::Slice { dim, .. }, [Type::Tensor(of)]) => {
            let mut ty = of.clone();
            let at = open_axis(of, *dim)?;
            ty.shape[at] = unknown(unknowns);
            return Some(Type::Tensor(ty));
        }
        (Op::Index { dim, .. }, [Type::Tensor(of)]) => {
            let mut ty = of.clone();
            ty.shape.remove(open_axis(of, *dim)?);
            return Some(Type::Tensor(ty));
        }
        // How many dimensions or pieces are left, no number of tokens can tell for all.
        (Op::Squeeze { .. }, [Type::Tensor(of)]) if of.shape.iter().any(|dim| dim.as_known().is_none()) => return None,
        (Op::Split { size: None, sizes, dim }, [Type::Tensor(of)]) => {
            let at = open_axis(of, *dim)?;
            let part = |size: &i64| {
                let mut part = of.clone();
                part.shape[at] = Dim::known(*size);
                Type::Tensor(part)
            };
            return Some(Type::Tuple(sizes.iter().map(part).collect()));
        }
        (Op::Split { .. } | Op::Chunk { .. }, [Type::Tensor(_)]) => return None,
        (Op::Reshape { shape }, [Type::Tensor(of)]) if of.shape.iter().any(|dim| dim.as_known().is_none()) => {
            let sizes = shape.iter().map(|dim| if dim.as_known() == Some(-1) { unknown(unknowns) } else { dim.clone() });
            return Some(Type::tensor(of.dtype, sizes.collect::<Vec<_>>()));
        }
        _ => {}
    }
    let dims: Vec<&Dim> = operands.iter().filter_map(|ty| ty.as_tensor()).flat_map(|ty| &ty.shape).collect();
    if dims.iter().all(|dim| dim.as_known().is_some()) {
        return None;
    }
    // A size of many divisors, then the sizes that are there: they are what a token count is most likely written as.
    let mut sizes = vec![55_440];
    for size in dims.iter().filter_map(|dim| dim.as_known()).filter(|size| *size > 0) {
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    let tried = sizes.into_iter().find_map(|size| {
        let types: Vec<Type> = operands.iter().map(|ty| filled(ty, size)).collect();
        infer::infer(op, &types.iter().collect::<Vec<_>>(), models).ok()
    })?;
    Some(blurred(tried, unknowns))
}

/// The dimension, if it exists and its size is a symbol.
fn open_axis(ty: &TensorType, dim: i64) -> Option<usize> {
    normalise_axis(dim, ty.rank()).filter(|&at| ty.shape[at].as_known().is_none())
}

/// The type with all symbols replaced by a number.
fn filled(ty: &Type, size: i64) -> Type {
    match ty {
        Type::Tensor(tensor) => Type::Tensor(tensor.substitute(&|_| Some(Dim::known(size)))),
        Type::Tuple(parts) => Type::Tuple(parts.iter().map(|part| filled(part, size)).collect()),
        Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => ty.clone(),
    }
}

/// The type with all sizes unknown.
fn blurred(ty: Type, unknowns: &mut usize) -> Type {
    match ty {
        Type::Tensor(ty) => Type::tensor(ty.dtype, ty.shape.iter().map(|_| unknown(unknowns)).collect::<Vec<_>>()),
        Type::Tuple(parts) => Type::Tuple(parts.iter().map(|part| blurred(part.clone(), unknowns)).collect()),
        Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => ty,
    }
}
