//! Values of programs as people and programs read them.

use irc_ir::{
    attr::{Attr, Literal},
    eval::Value,
    tensor::Tensor,
    types::DType,
};
use serde_json::{Value as Json, json};

/// How many elements a person is shown of the beginning, and of the end.
const SHOWN: usize = 3;

/// What is shown of many things: all of a few, else the first and the last.
pub(super) fn abridged(count: usize, ellipsis: &str, show: impl Fn(usize) -> String) -> Vec<String> {
    if count <= 2 * SHOWN {
        return (0..count).map(show).collect();
    }
    (0..SHOWN).map(&show).chain([ellipsis.to_owned()]).chain((count - SHOWN..count).map(&show)).collect()
}

/// The first and last elements of a tensor: `[0.1234, -5.1, 3, …, 0, 0, 1]`.
pub(super) fn preview(tensor: &Tensor, ellipsis: &str) -> String {
    let flat = tensor.reshaped([tensor.len()]);
    let element = |at: usize| match (tensor.dtype(), flat.part(at..at + 1).to_f64().first().copied().unwrap_or_default()) {
        (DType::Bool, value) => (value != 0.0).to_string(),
        (dtype, value) if dtype.is_float() => float(value),
        (_, value) => format!("{value}"),
    };
    if tensor.rank() == 0 { element(0) } else { format!("[{}]", abridged(tensor.len(), ellipsis, element).join(", ")) }
}

/// A number in few digits.
fn float(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e5).contains(&size) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ if value.is_finite() => format!("{value:.3e}"),
        _ => value.to_string(),
    }
}

/// A part of a save that is a tensor or text.
pub(super) struct Leaf<'v> {
    /// `name`, or `name.0.1` where it is a part of tuples.
    pub(super) name: String,
    /// Which parts those are.
    pub(super) path: Vec<usize>,
    /// The tensor or text.
    pub(super) value: &'v Value,
}

/// The parts of a value, and the values of a list, that are tensors or text.
pub(super) fn leaves<'v>(name: &str, value: &'v Value) -> Vec<Leaf<'v>> {
    let parts = match value {
        Value::Tensor(_) | Value::Str(_) | Value::Opaque(_) => return vec![Leaf { name: name.to_owned(), path: vec![], value }],
        Value::Tuple(parts) => &parts[..],
        Value::List { items, .. } => &items[..],
    };
    let of_part = |(at, part)| {
        let inner = leaves(&format!("{name}.{at}"), part).into_iter();
        inner.map(move |leaf| Leaf { path: [&[at], &leaf.path[..]].concat(), ..leaf })
    };
    parts.iter().enumerate().flat_map(of_part).collect()
}

/// A value as JSON: `{type, dtype, shape, values}` of a tensor (flat, row-major), `{type, text}`, `{type, parts}` or `{type, items}`.
///
/// JSON has no infinities and no NaN: they are the strings "inf", "-inf" and "nan".
pub(super) fn value_json(value: &Value) -> Json {
    match value {
        Value::Tensor(tensor) => tensor_json(tensor),
        Value::Tuple(parts) => json!({ "type": value.ty().to_string(), "parts": parts.iter().map(value_json).collect::<Vec<_>>() }),
        Value::List { items, .. } => json!({ "type": value.ty().to_string(), "items": items.iter().map(value_json).collect::<Vec<_>>() }),
        Value::Str(text) => json!({ "type": "str", "text": &**text }),
        Value::Opaque(_) => json!({ "type": "opaque" }),
    }
}

fn tensor_json(tensor: &Tensor) -> Json {
    let values: Vec<Json> = match (tensor.dtype(), tensor.values::<i64>(), tensor.values::<f32>()) {
        (_, Some(integers), _) => integers.iter().map(|value| json!(value)).collect(),
        // By way of their shortest text, so that 0.1 of f32 is not 0.10000000149011612.
        (_, _, Some(floats)) => floats.iter().map(|value| float_json(value.to_string().parse().unwrap_or(f64::from(*value)))).collect(),
        (DType::Bool, ..) => tensor.to_f64().into_iter().map(|value| json!(value != 0.0)).collect(),
        (DType::I32 | DType::U8, ..) => tensor.to_f64().into_iter().map(|value| json!(value as i64)).collect(),
        _ => tensor.to_f64().into_iter().map(float_json).collect(),
    };
    json!({ "type": tensor.ty().to_string(), "dtype": tensor.dtype().name(), "shape": tensor.shape(), "values": values })
}

fn float_json(value: f64) -> Json {
    match value {
        value if value.is_finite() => json!(value),
        value if value.is_nan() => json!("nan"),
        value => json!(if value > 0.0 { "inf" } else { "-inf" }),
    }
}

/// An attribute as JSON: numbers, flags, names, lists; types and symbolic sizes are strings; a literal is a value.
pub(super) fn attr_json(attr: &Attr) -> Json {
    match attr {
        Attr::None => Json::Null,
        Attr::Int(value) => json!(value),
        Attr::Bool(value) => json!(value),
        Attr::Float(value) => float_json(value.get()),
        Attr::Name(name) => json!(&**name),
        Attr::DType(dtype) => json!(dtype.name()),
        Attr::Type(ty) => json!(ty.to_string()),
        Attr::Body(body) => json!(format!("{body:?}")),
        Attr::Ints(values) => json!(values),
        Attr::Dims(dims) => dims.iter().map(|dim| dim.as_known().map_or_else(|| json!(dim.to_string()), |size| json!(size))).collect(),
        Attr::Literal(Literal::Tensor(tensor)) => tensor_json(&tensor.to_tensor()),
        Attr::Literal(Literal::Str(text)) => json!({ "type": "str", "text": &**text }),
        Attr::Reduction(reduction) => json!(reduction.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_short() {
        let tensor = Tensor::new([2, 4], vec![0.5_f32, -1.25, 0.0, 1e-9, 3.0, 123456.0, 7.0, 8.0]);
        assert_eq!(preview(&tensor, "…"), "[0.5, -1.25, 0, …, 1.235e5, 7, 8]");
        assert_eq!(preview(&Tensor::scalar(7_i64), "…"), "7");
        assert_eq!(preview(&Tensor::new([0], Vec::<f32>::new()), "…"), "[]");
    }

    #[test]
    fn json_loses_nothing() {
        let json = tensor_json(&Tensor::new([3], vec![0.1_f32, f32::NAN, f32::NEG_INFINITY]));
        assert_eq!(json["values"], json!([0.1, "nan", "-inf"]));
    }
}
