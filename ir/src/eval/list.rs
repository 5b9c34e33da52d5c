//! Lists, and texts with values in them.

use std::sync::Arc;

use crate::{
    eval::{EvalError, Value},
    infer::list::{fits, template},
    tensor::Tensor,
    text::nested_lists,
    types::Type,
};

/// The most bytes of a text: texts of texts grow quickly.
const LONGEST: usize = 1 << 20;

/// The most values of a list: lists of themselves grow quickly, too.
const MOST: usize = 1 << 20;

/// The most elements of a tensor, and values of a list, that are shown in full.
const SHORT: usize = 64;

/// What a list is of, and its values.
fn parts(list: &Value) -> Result<(&Type, &Arc<Vec<Value>>), EvalError> {
    match list {
        Value::List { of, items } => Ok((of, items)),
        other => Err(EvalError::new(format!("{} is not a list", other.ty()))),
    }
}

fn check(of: &Type, value: &Value) -> Result<(), EvalError> {
    match value.ty() {
        ty if fits(of, &ty) => Ok(()),
        ty => Err(EvalError::new(format!("the list is of {of}, but a value is {ty}"))),
    }
}

pub(super) fn list(of: Option<&Type>, operands: &[&Value]) -> Result<Value, EvalError> {
    let of = of.cloned().or_else(|| operands.first().map(|first| first.ty()));
    let of = of.ok_or_else(|| EvalError::new("the type of the values of an empty list is not known"))?;
    operands.iter().try_for_each(|value| check(&of, value))?;
    Ok(Value::List { of, items: Arc::new(operands.iter().map(|&value| value.clone()).collect()) })
}

pub(super) fn append(list: &Value, value: &Value, when: Option<&Value>) -> Result<Value, EvalError> {
    let (of, items) = parts(list)?;
    check(of, value)?;
    match when.map(|when| when.as_tensor().and_then(Tensor::values::<bool>)) {
        None | Some(Some([true])) => {}
        Some(Some([false])) => return Ok(list.clone()),
        Some(_) => return Err(EvalError::new("the condition is not one bool")),
    }
    let mut longer = Vec::with_capacity(items.len() + 1);
    longer.extend_from_slice(items);
    longer.push(value.clone());
    Ok(Value::List { of: of.clone(), items: Arc::new(longer) })
}

pub(super) fn join(a: &Value, b: &Value) -> Result<Value, EvalError> {
    let ((of, first), (other, second)) = (parts(a)?, parts(b)?);
    if of != other {
        return Err(EvalError::new(format!("a list of {of} cannot be joined with one of {other}")));
    }
    if first.len() + second.len() > MOST {
        return Err(EvalError::new(format!("the list would have {} values, and {MOST} are the most", first.len() + second.len())));
    }
    Ok(Value::List { of: of.clone(), items: Arc::new(first.iter().chain(second.iter()).cloned().collect()) })
}

pub(super) fn item(list: &Value, index: Option<i64>, operand: Option<&Value>) -> Result<Value, EvalError> {
    let (_, items) = parts(list)?;
    let given = operand.map(|at| match at.as_tensor().and_then(|at| at.values::<i64>().filter(|_| at.rank() == 0)) {
        Some(&[at]) => Ok(at),
        _ => Err(EvalError::new("the number of the value is not an i64 without dimensions")),
    });
    let index = match (index, given.transpose()?) {
        (Some(index), None) | (None, Some(index)) => index,
        _ => return Err(EvalError::new("the number of the value is either an attribute or an operand")),
    };
    let at = if index < 0 { index.saturating_add_unsigned(items.len() as u64) } else { index };
    let item = usize::try_from(at).ok().and_then(|at| items.get(at));
    item.cloned().ok_or_else(|| EvalError::new(format!("item {index} is out of range: there are {}", items.len())))
}

pub(super) fn length(list: &Value) -> Result<Value, EvalError> {
    Ok(Tensor::scalar(parts(list)?.1.len() as i64).into())
}

pub(super) fn format(text: &str, operands: &[&Value]) -> Result<Value, EvalError> {
    let pieces = template(text).map_err(EvalError::new)?;
    if pieces.len() != operands.len() + 1 {
        return Err(EvalError::new(format!("the template has {} places for {} operands", pieces.len() - 1, operands.len())));
    }
    let mut out = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        if let Some(value) = at.checked_sub(1).map(|at| operands[at]) {
            match value {
                Value::Str(text) => out.push_str(text),
                value => show(&mut out, value),
            }
        }
        out.push_str(piece);
        if out.len() > LONGEST {
            return Err(EvalError::new(format!("a text of more than {LONGEST} bytes is too large")));
        }
    }
    Ok(Value::Str(out.into()))
}

fn show(out: &mut String, value: &Value) {
    if out.len() > LONGEST {
        return;
    }
    match value {
        Value::Tensor(tensor) if (1..=SHORT).contains(&tensor.len()) && tensor.rank() <= SHORT => nested_lists(out, tensor),
        Value::Tensor(tensor) => out.push_str(&format!("{tensor:?}")),
        Value::Str(text) => out.push_str(&format!("{text:?}")),
        Value::Opaque(_) => out.push_str("opaque"),
        Value::Tuple(parts) => sequence(out, '(', parts, ')'),
        Value::List { items, .. } => sequence(out, '[', items, ']'),
    }
}

fn sequence(out: &mut String, open: char, values: &[Value], close: char) {
    out.push(open);
    let shown = if values.len() > SHORT { 8 } else { values.len() };
    for (at, value) in values[..shown].iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        show(out, value);
    }
    out.push_str(if shown < values.len() { ", …" } else { "" });
    out.push(close);
}
