//! What `eval` makes of each operation is what PyTorch made of it: replays `ops_torch*.json`, which
//! `tests/scripts/record_ops` records and describes.

use irc_ir::{
    attr::{Attr, AttrKind, Float, Literal, Reduction},
    eval::{Value, eval},
    op::{AttrDecl, Op, OpKind, Scope},
    tensor::Tensor,
    types::DType,
};
use serde_json::Value as Json;

/// Operations that PyTorch does not have, or not as a function: `ir/src/eval/random.rs` and `ir/src/eval/tests.rs` test them.
const OURS: [OpKind; 10] = [
    OpKind::Sample,
    OpKind::RandomUniform,
    OpKind::RandomNormal,
    OpKind::RandomInt,
    OpKind::List,
    OpKind::Append,
    OpKind::Join,
    OpKind::Item,
    OpKind::Length,
    OpKind::Format,
];

#[test]
fn operations_are_pytorchs() {
    let read = |text: &str| -> Json { serde_json::from_str(text).expect("the recorder writes JSON") };
    let files = [include_str!("ops_torch.json"), include_str!("ops_torch_numeric.json"), include_str!("ops_torch_layout.json")].map(read);
    let mut failures = vec![];
    let kinds = OpKind::ALL.iter().filter(|kind| kind.scope() == Scope::Anywhere || **kind == OpKind::Hook);
    for &kind in kinds.filter(|kind| !OURS.contains(kind)) {
        let cases: Vec<&Json> = files.iter().filter_map(|file| file[kind.name()].as_array()).flatten().collect();
        if cases.len() < 15 {
            failures.push(format!("`{}` has {} cases: record more with tests/scripts/record_ops", kind.name(), cases.len()));
        }
        let replayed = cases.into_iter().map(|case| replay(kind, case).map_err(|problem| format!("{} {case}\n    {problem}", kind.name())));
        failures.extend(replayed.filter_map(Result::err));
    }
    assert!(failures.is_empty(), "{} problems:\n{}", failures.len(), failures.join("\n"));
}

fn replay(kind: OpKind, case: &Json) -> Result<(), String> {
    let decl = |name: &str| kind.attrs().iter().find(|decl| decl.name == name);
    if let Some(name) = case[0].as_object().and_then(|given| given.keys().find(|name| decl(name).is_none())) {
        return Err(format!("the operation has no attribute `{name}`"));
    }
    let op = Op::build(kind, &mut |name| Some(attr(decl(name)?, case[0].get(name)?))).map_err(|error| format!("{error:?}"))?;
    let operands: Vec<Value> = items(&case[1]).iter().map(value).collect();
    match (&case[2], eval(&op, &operands.iter().collect::<Vec<_>>())) {
        (Json::Null, Ok(found)) => Err(format!("PyTorch refuses it, but it gives {found:?}")),
        (Json::Null, Err(_)) => Ok(()),
        (_, Err(error)) => Err(error.to_string()),
        (expected, Ok(found)) => same(kind, &value(expected), &found),
    }
}

fn same(kind: OpKind, expected: &Value, found: &Value) -> Result<(), String> {
    match (expected, found) {
        (Value::Tuple(a), Value::Tuple(b)) if a.len() == b.len() => a.iter().zip(b.iter()).try_for_each(|(a, b)| same(kind, a, b)),
        (Value::Tensor(a), Value::Tensor(b)) if a.ty() == b.ty() => {
            let tolerance = tolerance(kind, a.dtype());
            // As f64, large integers would lose digits, and zeros their signs: bits come first.
            let bits = |x: &Tensor| x.to_le_bytes().chunks(x.dtype().size()).map(<[u8]>::to_vec).collect::<Vec<_>>();
            let equal = bits(a).into_iter().zip(bits(b)).map(|(a, b)| a == b);
            for (at, ((equal, a), b)) in equal.zip(a.to_f64()).zip(b.to_f64()).enumerate() {
                let close = || (a.is_nan() && b.is_nan()) || (tolerance(a) > 0.0 && (a - b).abs() <= tolerance(a));
                if !equal && !close() {
                    return Err(format!("element {at} should be {a:?}, but is {b:?}"));
                }
            }
            Ok(())
        }
        _ => Err(format!("should be of type {}, but is {found:?}", expected.ty())),
    }
}

/// How far from `x` a result may lie, where rounding is not prescribed. What is a single correctly rounded operation, and
/// what only moves elements, has the same bits.
fn tolerance(kind: OpKind, dtype: DType) -> impl Fn(f64) -> f64 {
    // Half of these is what one rounding may do.
    let unit = match dtype {
        // The angles are in f32.
        DType::F64 if kind == OpKind::Rotary => f64::from(f32::EPSILON),
        DType::F64 => f64::EPSILON,
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => 0.0,
    };
    let (units, least) = match kind {
        // PyTorch's vector library does not always round it correctly; `eval` does.
        OpKind::Sqrt => (1.0, 0.0),
        OpKind::Rsqrt => (2.0, 0.0),
        OpKind::Exp | OpKind::Log | OpKind::Sigmoid | OpKind::Tanh | OpKind::Silu => (4.0, 0.0),
        // 1 + erf and 1 + tanh cancel where x is far below zero.
        OpKind::Gelu => (8.0, 1.0),
        // So do x and its mean.
        OpKind::LayerNorm => (16.0, 1.0),
        OpKind::Exp2 | OpKind::Expm1 | OpKind::Log1p | OpKind::Log2 | OpKind::Log10 | OpKind::Pow | OpKind::Logaddexp => (4.0, 0.0),
        OpKind::Sin | OpKind::Cos | OpKind::Tan | OpKind::Asin | OpKind::Acos | OpKind::Atan | OpKind::Atan2 => (4.0, 0.0),
        OpKind::Sinh | OpKind::Cosh | OpKind::Softplus | OpKind::Mish | OpKind::LogSigmoid => (4.0, 0.0),
        // PyTorch's is e^x - 1, which loses what x is below 1.
        OpKind::Elu => (4.0, 1.0),
        // PyTorch's f32 is an approximation to 1.5e-7, whatever it is rounded to.
        OpKind::Erf => (4.0, (f64::from(f32::EPSILON) / unit).min(1.0)),
        OpKind::Softmax | OpKind::RmsNorm | OpKind::Prod | OpKind::Norm | OpKind::Var | OpKind::Std => (8.0, 0.0),
        // Logarithms of numbers near 1 leave the errors of these, as do terms of about 1 that cancel.
        OpKind::LogSoftmax | OpKind::Logsumexp | OpKind::CosineSimilarity | OpKind::CrossEntropy | OpKind::KlDiv => (8.0, 1.0),
        // Terms of about 1 that cancel leave their errors.
        OpKind::Sum | OpKind::Mean | OpKind::Matmul | OpKind::Einsum => (8.0, 1.0),
        // PyTorch starts anew from every few numbers, whose errors are those of the largest.
        OpKind::Arange => (1.0, 1.0),
        OpKind::Linspace => (4.0, 4.0),
        // The frequencies are powers, and errors of theirs grow with the position.
        OpKind::Rotary => (64.0, 1.0),
        _ => (0.0, 0.0),
    };
    move |x| if x.is_finite() { units * unit * x.abs().max(least) } else { 0.0 }
}

fn items(json: &Json) -> &[Json] {
    json.as_array().expect("a list")
}

fn value(json: &Json) -> Value {
    match json {
        Json::Array(parts) => Value::Tuple(parts.iter().map(value).collect()),
        other => Value::Tensor(tensor(other)),
    }
}

/// `f32 2x3 HEX`.
fn tensor(json: &Json) -> Tensor {
    let [dtype, sizes, digits] = json.as_str().expect("a tensor").splitn(3, ' ').collect::<Vec<_>>()[..] else {
        panic!("{json} is not a tensor");
    };
    let shape: Vec<usize> = sizes.split('x').filter(|size| !size.is_empty()).map(|size| size.parse().expect("a size")).collect();
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("a byte")).collect();
    Tensor::from_le_bytes(DType::from_name(dtype).expect("an element type"), shape, &bytes).expect("as many bytes as the shape needs")
}

fn attr(decl: &AttrDecl, json: &Json) -> Attr {
    let int = |json: &Json| json.as_i64().expect("a whole number");
    let text = || json.as_str().expect("a name");
    match decl.kind {
        AttrKind::OptionalInt | AttrKind::OptionalFloat | AttrKind::OptionalDType | AttrKind::OptionalType if json.is_null() => Attr::None,
        AttrKind::Int | AttrKind::OptionalInt => Attr::Int(int(json)),
        AttrKind::Bool => Attr::Bool(json.as_bool().expect("a flag")),
        AttrKind::Float | AttrKind::OptionalFloat => {
            // JSON has no word for infinity: it is a string.
            Attr::Float(Float::new(json.as_f64().unwrap_or_else(|| text().parse().expect("a number"))))
        }
        AttrKind::Name => Attr::Name(text().into()),
        AttrKind::DType | AttrKind::OptionalDType => Attr::DType(DType::from_name(text()).expect("an element type")),
        AttrKind::Ints | AttrKind::Dims => Attr::Ints(items(json).iter().map(int).collect()),
        AttrKind::Type | AttrKind::OptionalType | AttrKind::Body => unreachable!("no operation on tensors takes types or bodies"),
        AttrKind::Literal => Attr::Literal(Literal::from(&tensor(json))),
        AttrKind::Reduction => Attr::Reduction(Reduction::from_name(text()).expect("a reduction")),
    }
}
