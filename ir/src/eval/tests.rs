//! What the cases recorded from PyTorch (`tests/ops_torch.rs`) cannot show.

use std::collections::BTreeMap;

use super::*;
use crate::{
    attr::{Attr, AttrKind, Float, Reduction},
    graph::Body,
    infer::infer,
    op::{Arity, OpKind, Scope},
    types::{DType, Dim},
};

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % count
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(2001) as f32 / 977.0 - 1.0).collect()
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        Tensor::new(shape, self.floats(shape.iter().product()))
    }
}

fn run(op: Op, operands: &[&Tensor]) -> Tensor {
    let operands: Vec<Value> = operands.iter().map(|&tensor| tensor.clone().into()).collect();
    eval(&op, &operands.iter().collect::<Vec<_>>()).unwrap().into_tensor().unwrap()
}

fn start(tensor: &Tensor) -> *const f32 {
    tensor.values::<f32>().unwrap().as_ptr()
}

#[test]
fn parts_that_lie_together_are_shared() {
    let x = Tensor::new([1, 6, 2], (0..12).map(|x| x as f32).collect());
    let shares = |op: Op, at: usize| assert_eq!(start(&run(op, &[&x])), start(&x).wrapping_add(at));
    shares(Op::Slice { dim: 1, start: Some(2), end: Some(5), step: 1 }, 4);
    shares(Op::Slice { dim: 1, start: Some(-1), end: None, step: 3 }, 10);
    shares(Op::Slice { dim: 2, start: None, end: Some(2), step: 1 }, 0);
    shares(Op::Index { dim: 1, index: -2 }, 8);
    shares(Op::Reshape { shape: vec![Dim::known(-1)] }, 0);
    shares(Op::Unsqueeze { dim: -1 }, 0);
    shares(Op::Transpose { dim0: 0, dim1: 1 }, 0);
    shares(Op::Hook { name: "norm.output".into() }, 0);
    shares(Op::Cast { dtype: DType::F32 }, 0);
    assert_ne!(start(&run(Op::Index { dim: 2, index: 0 }, &[&x])), start(&x));
}

/// The order of arithmetic is part of the meaning: element by element, whatever the sizes of the matrices.
#[test]
fn matrix_products_add_in_order() {
    let mut dice = Dice(1);
    for [rows, inner, columns] in [[1, 1, 1], [4, 7, 8], [5, 33, 9], [9, 100, 129], [3, 5, 64], [2, 4, 65]] {
        let (a, b) = (dice.tensor(&[rows, inner]), dice.tensor(&[inner, columns]));
        let (left, right) = (a.values::<f32>().unwrap(), b.values::<f32>().unwrap());
        let element = |at: usize| (0..inner).fold(0f32, |sum, k| sum + left[at / columns * inner + k] * right[k * columns + at % columns]);
        let expected = Tensor::new([rows, columns], (0..rows * columns).map(element).collect());
        let whole = run(Op::Matmul {}, &[&a, &b]);
        assert!(whole.same_bits(&expected), "{rows}x{inner}x{columns}");
        assert!(
            run(Op::Matmul {}, &[&a.part(rows - 1..rows), &b]).same_bits(&whole.part(rows - 1..rows)),
            "a row does not depend on others"
        );
        let batched = run(Op::Matmul {}, &[&a.reshaped([1, rows, inner]), &run(Op::Stack { dim: 0 }, &[&b, &b])]);
        assert!(batched.part(1..2).reshaped([rows, columns]).same_bits(&whole));
    }
}

#[test]
fn sums_add_in_order() {
    let mut dice = Dice(2);
    let x = dice.tensor(&[5, 40, 3]);
    let values = x.values::<f32>().unwrap();
    let at = |i: usize, j: usize, k: usize| values[(i * 40 + j) * 3 + k];
    let sum = |dims: &[i64]| run(Op::Sum { dims: dims.to_vec(), keepdim: false }, &[&x]);
    let total = values.iter().fold(0f32, |sum, x| sum + x);
    assert!(sum(&[]).same_bits(&Tensor::scalar(total)));
    let rows = (0..5).map(|i| (0..120).fold(0f32, |sum, at| sum + values[i * 120 + at])).collect();
    assert!(sum(&[2, 1]).same_bits(&Tensor::new([5], rows)));
    let middle = (0..40).map(|j| (0..15).fold(0f32, |sum, n| sum + at(n / 3, j, n % 3))).collect();
    assert!(sum(&[0, -1]).same_bits(&Tensor::new([40], middle)));
}

/// Two passes for variances, one largest element for logarithms of sums, and running sums of f32 in f64.
#[test]
fn what_is_more_than_a_sum_adds_in_order() {
    let mut dice = Dice(4);
    let x = dice.tensor(&[6, 50]);
    let rows: Vec<&[f32]> = x.values::<f32>().unwrap().chunks(50).collect();
    let expect = |op: Op, of_row: &dyn Fn(&[f32]) -> f32| {
        let expected = Tensor::new([6], rows.iter().map(|row| of_row(row)).collect());
        assert!(run(op.clone(), &[&x]).same_bits(&expected), "{op:?}");
        // The same along the first dimension, and of each row alone.
        let turned = run(Op::Transpose { dim0: 0, dim1: 1 }, &[&x]);
        let along_first = match op.clone() {
            Op::Var { correction, keepdim, .. } => Op::Var { dims: vec![0], correction, keepdim },
            Op::Norm { p, keepdim, .. } => Op::Norm { p, dims: vec![0], keepdim },
            Op::Logsumexp { keepdim, .. } => Op::Logsumexp { dims: vec![0], keepdim },
            other => panic!("{other:?}"),
        };
        assert!(run(along_first, &[&turned]).same_bits(&expected), "{op:?}");
        assert!(run(op.clone(), &[&x.part(2..3)]).same_bits(&expected.part(2..3)), "{op:?}");
    };
    let (dims, keepdim) = (vec![1], false);
    expect(Op::Var { dims: dims.clone(), correction: 1, keepdim }, &|row| {
        let mean = row.iter().fold(0f32, |sum, x| sum + x) / 50.0;
        row.iter().fold(0f32, |sum, x| sum + (x - mean) * (x - mean)) / 49.0
    });
    expect(Op::Norm { p: Float::new(2.0), dims: dims.clone(), keepdim }, &|row| row.iter().fold(0f32, |sum, x| sum + x * x).sqrt());
    expect(Op::Logsumexp { dims, keepdim }, &|row| {
        let largest = row.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        row.iter().fold(0f32, |sum, x| sum + (x - largest).exp()).ln() + largest
    });
    let sums = run(Op::Cumsum { dim: 1 }, &[&x]);
    let running = |row: &&[f32]| {
        let mut sum = 0f64;
        row.iter()
            .map(|x| {
                sum += f64::from(*x);
                sum as f32
            })
            .collect::<Vec<f32>>()
    };
    assert!(sums.same_bits(&Tensor::new([6, 50], rows.iter().flat_map(running).collect())));
}

#[test]
fn square_roots_are_correctly_rounded() {
    for x in [65504.0f32, 0.167_139_14, 3.9278736, f32::MIN_POSITIVE / 8.0] {
        let root = run(Op::Sqrt {}, &[&Tensor::scalar(x)]);
        // An f64 has more than twice the digits, so that its root can be rounded again.
        assert!(root.same_bits(&Tensor::scalar(f64::from(x).sqrt() as f32)), "{x}");
    }
}

#[test]
fn texts_and_tuples_are_values() {
    let text = eval(&Op::Const { value: Literal::Str("Paris".into()) }, &[]).unwrap();
    assert_eq!((text.as_str(), text.ty(), text.bytes()), (Some("Paris"), Type::Str, 5));
    let tuple = eval(&Op::Tuple {}, &[&text, &Tensor::scalar(1f32).into()]).unwrap();
    assert_eq!(tuple.ty().to_string(), "(str, tensor<f32>)");
    assert!(eval(&Op::Get { index: 0 }, &[&tuple]).unwrap().same_bits(&text));
}

#[test]
fn errors_say_what_is_wrong() {
    let message = |op: Op, operands: &[&Value]| eval(&op, operands).unwrap_err().to_string();
    let x = Value::from(Tensor::new([2, 3], vec![0f32; 6]));
    let ids = Value::from(Tensor::new([2], vec![1i64, 7]));
    assert_eq!(message(Op::Embedding {}, &[&x, &ids]), "`embedding`: id 7 is out of range: there are 2");
    assert_eq!(message(Op::Read { hook: "h".into() }, &[&x]), "`read`: a backend runs this operation, not the host");
    assert_eq!(message(Op::Add {}, &[&x]), "`add`: the operation does not take 1 operands");
    assert_eq!(message(Op::Add {}, &[&x, &Value::Str("a".into())]), "`add`: operand 2 is not a tensor");
    assert_eq!(message(Op::Add {}, &[&x, &ids]), "`add`: the shapes [[2, 3], [2]] do not fit together");
    assert_eq!(message(Op::Reshape { shape: vec![Dim::symbol("T")] }, &[&x]), "`reshape`: the size T is not known");
    let endless = Value::from(Tensor::new([0, 1 << 40, 1 << 40], Vec::<f32>::new()));
    assert!(message(Op::Neg {}, &[&endless]).contains("too large"));
    let long = Value::from(Tensor::new([1 << 40, 0], Vec::<f32>::new()));
    assert!(message(Op::Matmul {}, &[&long, &Value::from(Tensor::new([0, 1 << 40], Vec::<f32>::new()))]).contains("too large"));
}

/// Attributes and operands without sense give errors and no panics; where inference finds a type, the value has it.
#[test]
fn evaluation_follows_inference() {
    let shapes: [&[usize]; 12] = [&[], &[1], &[3], &[0], &[2, 3], &[3, 2], &[3, 3], &[1, 3], &[2, 0], &[2, 3, 2], &[1, 2, 2, 4], &[1, 2]];
    let dtypes = [DType::F32, DType::F32, DType::F16, DType::BF16, DType::F64, DType::I64, DType::I64, DType::I32, DType::U8, DType::Bool];
    let mut dice = Dice(3);
    for &kind in OpKind::ALL.iter().filter(|kind| kind.scope() == Scope::Anywhere || **kind == OpKind::Hook) {
        let mut typed = 0;
        for _ in 0..4000 {
            let value = |dice: &mut Dice| {
                // Lists are what few operations take, and all others refuse.
                let lists = [OpKind::List, OpKind::Append, OpKind::Join, OpKind::Item, OpKind::Length].contains(&kind);
                if dice.below(20) == 0 {
                    return Value::Tuple([Value::Str("a".into()), Tensor::scalar(2i64).into()].into());
                }
                if dice.below(if lists { 2 } else { 40 }) == 0 {
                    let items = vec![Value::from(Tensor::scalar(1i64)); dice.below(3)];
                    return Value::List { of: Type::tensor(DType::I64, []), items: items.into() };
                }
                if lists && dice.below(2) == 0 {
                    return Tensor::scalar(dice.below(4) as i64 - 2).into();
                }
                let (shape, dtype) = (dice.pick(&shapes), dice.pick(&dtypes));
                let values = (0..shape.iter().product()).map(|_| dice.pick(&[0.0, 1.0, 1.0, 2.0, -1.0, f32::NAN, 3.7]));
                Value::Tensor(number::cast(&Tensor::new(shape, values.collect()), dtype))
            };
            let count = match kind.arity() {
                Arity::Exactly(count) => count,
                Arity::AtLeast(count) => count + dice.below(3),
                Arity::Between(least, most) => least + dice.below(most - least + 1),
            };
            let same = dice.below(3) == 0;
            let mut operands: Vec<Value> = (0..count).map(|_| value(&mut dice)).collect();
            if let Some(first) = operands.first().filter(|_| same).cloned() {
                operands.fill(first);
            }
            // Three operands that fit are too rare.
            if kind == OpKind::Rotary && dice.below(2) == 0 {
                operands[1] = Tensor::new([1, 2], vec![0i64, 3]).into();
                operands[2] = Tensor::new([1], vec![0.5f32]).into();
            }
            let op = Op::build(kind, &mut |name| {
                let decl = kind.attrs().iter().find(|decl| decl.name == name)?;
                if decl.optional && dice.below(2) == 0 {
                    return None;
                }
                let mut int = || dice.pick(&[0, 1, 2, -1, -2, 3, 1, 0, -1, 4, -4, i64::MIN, i64::MAX]);
                Some(match decl.kind {
                    AttrKind::Int | AttrKind::OptionalInt => Attr::Int(int()),
                    AttrKind::Ints => Attr::Ints((0..int().clamp(0, 3)).map(|_| int().clamp(-3, 3)).collect()),
                    AttrKind::Dims => Attr::Ints((0..int().clamp(0, 3)).map(|_| int()).collect()),
                    AttrKind::Float | AttrKind::OptionalFloat => Attr::Float(Float::new(int() as f64)),
                    AttrKind::Bool => Attr::Bool(int() > 0),
                    AttrKind::Type | AttrKind::OptionalType => {
                        Attr::Type(Type::tensor(DType::F32, [Dim::known(int().clamp(0, 3)), Dim::known(2)]))
                    }
                    AttrKind::DType | AttrKind::OptionalDType => Attr::DType(DType::ALL[int().rem_euclid(8) as usize]),
                    AttrKind::Name => Attr::Name(dice.pick(&["name", "{}", "{} {{}} {}", "ij->ji", "...i,...i->...i", "ab"]).into()),
                    AttrKind::Body => Attr::Body(Body::default()),
                    AttrKind::Literal => Attr::Literal(Literal::from(&Tensor::scalar(int()))),
                    AttrKind::Reduction => Attr::Reduction(Reduction::ALL[int().rem_euclid(4) as usize]),
                })
            })
            .unwrap();
            let operands: Vec<&Value> = operands.iter().collect();
            let result = eval(&op, &operands);
            let types: Vec<Type> = operands.iter().map(|operand| operand.ty()).collect();
            if let Ok(ty) = infer(&op, &types.iter().collect::<Vec<_>>(), &BTreeMap::new()) {
                match result {
                    Ok(value) => assert_eq!(value.ty(), ty, "{op:?} of {operands:?}"),
                    // What ids, masks and divisors hold, and that nobody has so much memory, is seen only here.
                    Err(error) => assert!(
                        ["out of range: there are", "elements are found", "too large", "divided by 0"]
                            .iter()
                            .any(|what| error.message().contains(what)),
                        "{error} in {op:?} of {operands:?}"
                    ),
                }
                typed += 1;
            }
        }
        assert!(typed > 0, "no case of `{}` has a type", kind.name());
    }
}

fn number(value: i64) -> Value {
    Tensor::scalar(value).into()
}

fn list(of: Option<Type>, items: &[&Value]) -> Value {
    eval(&Op::List { of: of.map(Box::new) }, items).unwrap()
}

#[test]
fn lists_grow_and_give_their_values() {
    let (a, b) = (number(4), number(5));
    let both = list(None, &[&a, &b]);
    assert_eq!((both.ty().to_string(), both.bytes(), both.as_list().map(<[Value]>::len)), ("list<tensor<i64>>".to_owned(), 16, Some(2)));
    let empty = list(Some(a.ty()), &[]);
    let grown = eval(&Op::Append {}, &[&eval(&Op::Append {}, &[&empty, &a]).unwrap(), &b]).unwrap();
    assert!(grown.same_bits(&both) && !grown.same_bits(&empty) && empty.as_list() == Some(&[]));
    let four = eval(&Op::Join {}, &[&both, &grown]).unwrap();
    assert!(eval(&Op::Length {}, &[&four]).unwrap().same_bits(&number(4)));
    let item = |index: Option<i64>, at: &[&Value]| eval(&Op::Item { index }, &[&[&four], at].concat());
    for (index, expected) in [(0, &a), (1, &b), (-1, &b), (-4, &a), (3, &b)] {
        assert!(item(Some(index), &[]).unwrap().same_bits(expected) && item(None, &[&number(index)]).unwrap().same_bits(expected));
    }
    // Lists of themselves do not grow without bound.
    let doubled = |list: Value| eval(&Op::Join {}, &[&list, &list]);
    let longest = (2..20).try_fold(four.clone(), |list, _| doubled(list)).unwrap();
    assert_eq!((longest.as_list().map(<[Value]>::len), doubled(longest.clone()).is_err()), (Some(1 << 20), true));
    for index in [4, -5, i64::MAX, i64::MIN] {
        let message = format!("`item`: item {index} is out of range: there are 4");
        assert_eq!(item(Some(index), &[]).unwrap_err().message(), message);
    }
    assert!(item(None, &[]).is_err() && item(Some(0), &[&a]).is_err() && item(None, &[&Tensor::scalar(0.0f32).into()]).is_err());

    // Symbols stand for any size; a list of one size refuses others.
    let rows = |count: usize| Value::from(Tensor::new([count, 2], vec![0f32; 2 * count]));
    let any = Type::tensor(DType::F32, [Dim::symbol("N"), Dim::known(2)]);
    let mixed = list(Some(any.clone()), &[&rows(1), &rows(3)]);
    assert_eq!(mixed.ty(), Type::List(any.into()));
    assert!(eval(&Op::Append {}, &[&mixed, &rows(2)]).is_ok() && eval(&Op::Append {}, &[&mixed, &a]).is_err());
    assert!(eval(&Op::List { of: None }, &[&rows(1), &rows(3)]).is_err() && eval(&Op::List { of: None }, &[]).is_err());
    assert!(eval(&Op::Join {}, &[&both, &mixed]).is_err() && eval(&Op::Length {}, &[&a]).is_err());
}

#[test]
fn texts_show_values() {
    let shown = |template: &str, operands: &[&Value]| {
        let text = eval(&Op::Format { template: template.into() }, operands).map_err(|error| error.to_string())?;
        Ok::<String, String>(text.as_str().unwrap_or_default().to_owned())
    };
    let matrix = Value::from(Tensor::new([2, 2], vec![1.0f32, 0.1, f32::NAN, f32::NEG_INFINITY]));
    let narrow = Value::from(Tensor::new([1], vec![half::f16::from_f32(0.1)]));
    let text = Value::Str("a \"b\"".into());
    assert_eq!(shown("{}: {}{{}}", &[&number(-3), &matrix]).unwrap(), "-3: [[1.0, 0.1], [nan, -inf]]{}");
    assert_eq!(shown("{} {}", &[&text, &narrow]).unwrap(), "a \"b\" [0.1]");
    let tuple = Value::Tuple([text, number(1), list(None, &[&number(2), &number(3)])].into());
    assert_eq!(shown("{}", &[&tuple]).unwrap(), r#"("a \"b\"", 1, [2, 3])"#);
    let long = Value::from(Tensor::new([5, 20], (0..100).collect::<Vec<i64>>()));
    assert_eq!(shown("{}", &[&long]).unwrap(), "tensor<5x20xi64> [0, 1, 2, 3, 4, 5, 6, 7, …]");
    let many = list(None, &[&number(1); 65]);
    assert_eq!(shown("{}", &[&many]).unwrap(), "[1, 1, 1, 1, 1, 1, 1, 1, …]");
    let empty = Value::from(Tensor::new([1 << 30, 0], Vec::<f32>::new()));
    assert_eq!(shown("{}", &[&empty]).unwrap(), "tensor<1073741824x0xf32> []");
    assert!(shown("{", &[]).unwrap_err().contains("brace") && shown("{}", &[]).unwrap_err().contains("1 places"));
    // Texts of texts do not grow without end.
    let mut text = Value::Str("a".into());
    let error = (0..64).find_map(|_| match eval(&Op::Format { template: "{}{}".into() }, &[&text, &text]) {
        Ok(longer) => {
            text = longer;
            None
        }
        Err(error) => Some(error),
    });
    assert!(error.is_some_and(|error| error.message().contains("too large")));
}

/// Sums and products have one order, whatever the sizes.
#[test]
fn einsum_is_the_matrix_product() {
    let mut dice = Dice(9);
    let (a, b) = (dice.tensor(&[2, 3, 70]), dice.tensor(&[2, 70, 5]));
    let product = run(Op::Matmul {}, &[&a, &b]);
    assert!(run(Op::Einsum { equation: "bij,bjk->bik".into() }, &[&a, &b]).same_bits(&product));
    let turned = run(Op::Transpose { dim0: 1, dim1: 2 }, &[&product]);
    assert!(run(Op::Einsum { equation: "...ij,...jk->...ki".into() }, &[&a, &b]).same_bits(&turned));
}

/// Random operations give what they say, by attributes and stream alone.
#[test]
fn random_tensors_have_types_and_streams() {
    let shape = vec![Dim::known(3), Dim::known(2)];
    let draw = |stream: Option<i64>| {
        let op = Op::RandomNormal { shape: shape.clone(), seed: 1, mean: Float::new(0.0), std: Float::new(1.0), dtype: DType::BF16 };
        eval(&op, &stream.map(number).iter().collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(draw(None).ty().to_string(), "tensor<3x2xbf16>");
    assert!(draw(None).same_bits(&draw(Some(0))) && !draw(None).same_bits(&draw(Some(1))));
    let int = |low, high, dtype| eval(&Op::RandomInt { shape: shape.clone(), seed: 1, low, high, dtype }, &[]);
    assert!(
        int(0, 256, DType::U8).is_ok()
            && int(0, 257, DType::U8).is_err()
            && int(3, 3, DType::I64).is_err()
            && int(0, 2, DType::F32).is_err()
    );
    let one = int(7, 8, DType::I32).unwrap();
    assert!(one.as_tensor().is_some_and(|one| one.to_f64() == [7.0; 6]));
}
