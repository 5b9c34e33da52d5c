//! What is tried of each operation.

use irc_ir::{
    attr::Float,
    eval::eval,
    infer::{Models, infer},
    model::RotaryShape,
    op::{Op, OpKind},
    tensor::Tensor,
    types::{DType, Dim, Type},
};

/// An operation on operands.
pub(crate) type Case = (Op, Vec<Tensor>);

/// Numbers that look random and are the same each time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        match dtype {
            DType::F32 => Tensor::new(shape, (0..count).map(|_| self.next() as f32 / (1u64 << 29) as f32 - 2.0).collect()),
            DType::I64 => Tensor::new(shape, (0..count).map(|_| self.next() as i64 % 9 - 4).collect()),
            DType::I32 => Tensor::new(shape, (0..count).map(|_| self.next() as i32 % 9 - 4).collect()),
            DType::Bool => Tensor::new(shape, (0..count).map(|_| self.next().is_multiple_of(2)).collect()),
            other => panic!("the engine has no {other}"),
        }
    }

    pub(crate) fn ids(&mut self, end: usize, shape: &[usize]) -> Tensor {
        Tensor::new(shape, (0..shape.iter().product()).map(|_| (self.next() % end as u64) as i64).collect())
    }
}

const DTYPES: [DType; 3] = [DType::F32, DType::I64, DType::Bool];

pub(crate) fn known(shape: &[i64]) -> Vec<Dim> {
    shape.iter().map(|size| Dim::known(*size)).collect()
}

/// What is tried of an operation; nothing for those that only models, programs or the host have.
pub(crate) fn cases(kind: OpKind) -> Vec<Case> {
    // By the name, so that a new operation changes nothing for the others.
    let seed = kind.name().bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut random = Random(seed);
    let r = &mut random;
    let mut cases: Vec<Case> = vec![];
    let nan = || Tensor::new([2, 3], vec![1.0, f32::NAN, -2.0, f32::INFINITY, f32::NEG_INFINITY, 0.5]);
    match kind {
        OpKind::Const => {
            for dtype in DTYPES {
                for shape in [&[][..], &[3], &[2, 3], &[0, 2]] {
                    cases.push((Op::Const { value: (&r.tensor(dtype, shape)).into() }, vec![]));
                }
            }
        }
        // Operations of programs and of models: the driver evaluates them, or declares them.
        OpKind::Forward | OpKind::Read | OpKind::Write | OpKind::Apply | OpKind::Input | OpKind::Weight => {}
        OpKind::Extend | OpKind::Loop | OpKind::Call | OpKind::Param | OpKind::EffectResult => {}
        OpKind::Hook => cases.extend(DTYPES.map(|dtype| (Op::Hook { name: "h".into() }, vec![r.tensor(dtype, &[2, 3])]))),

        OpKind::Slice => {
            for dtype in DTYPES {
                for (dim, start, end, step) in parts() {
                    cases.push((Op::Slice { dim, start, end, step }, vec![r.tensor(dtype, &[2, 7, 3])]));
                }
            }
        }
        OpKind::Index => {
            for dtype in DTYPES {
                for (dim, index) in [(0, 0), (0, 1), (1, -1), (1, 4), (-1, 2), (-3, -2), (-2, -5)] {
                    cases.push((Op::Index { dim, index }, vec![r.tensor(dtype, &[2, 5, 3])]));
                }
                cases.push((Op::Index { dim: 0, index: -1 }, vec![r.tensor(dtype, &[4])]));
            }
        }
        OpKind::Update => {
            for dtype in DTYPES {
                for (dim, start, end, step) in parts() {
                    let x = r.tensor(dtype, &[2, 7, 3]);
                    let part = eval(&Op::Slice { dim, start, end, step }, &[&x.clone().into()]).expect("it is a part");
                    let shape = part.as_tensor().expect("of a tensor").shape().to_vec();
                    for value in DTYPES {
                        cases.push((Op::Update { dim, start, end, step }, vec![x.clone(), r.tensor(value, &[])]));
                    }
                    cases.push((Op::Update { dim, start, end, step }, vec![x.clone(), r.tensor(dtype, &shape)]));
                    cases.push((Op::Update { dim, start, end, step }, vec![x.clone(), r.tensor(dtype, &shape[2..])]));
                    let ones: Vec<usize> = shape.iter().enumerate().map(|(at, size)| if at == 1 { 1 } else { *size }).collect();
                    cases.push((Op::Update { dim, start, end, step }, vec![x, r.tensor(DType::I64, &ones)]));
                }
                for (start, end) in
                    [(None, Some(-1)), (Some(-1), None), (Some(1), Some(0)), (Some(-1), Some(-1)), (Some(0), Some(1)), (None, None)]
                {
                    cases.push((Op::Update { dim: 0, start, end, step: 1 }, vec![r.tensor(dtype, &[4, 3]), r.tensor(dtype, &[3])]));
                }
                let op = Op::Update { dim: 0, start: Some(1), end: Some(6), step: 2 };
                cases.push((op, vec![r.tensor(dtype, &[7]), r.tensor(dtype, &[3])]));
            }
        }
        OpKind::Gather => {
            for dtype in DTYPES {
                for (dim, shape) in [(0, [4, 5]), (1, [3, 2]), (-1, [2, 9]), (-2, [1, 1]), (0, [0, 5])] {
                    let x = r.tensor(dtype, &[3, 5]);
                    let ids = r.ids(3, &shape);
                    cases.push((Op::Gather { dim }, vec![x.clone(), ids.clone()]));
                    let narrow: Vec<i32> = ids.to_f64().into_iter().map(|id| id as i32).collect();
                    cases.push((Op::Gather { dim }, vec![x, Tensor::new(shape, narrow)]));
                }
            }
        }
        OpKind::Embedding => {
            for dtype in DTYPES {
                for shape in [&[][..], &[4], &[2, 3], &[2, 1, 3], &[0]] {
                    cases.push((Op::Embedding {}, vec![r.tensor(dtype, &[6, 3]), r.ids(6, shape)]));
                }
            }
        }
        OpKind::IndexSelect => {
            for dtype in DTYPES {
                for (dim, shape) in [(0, &[3][..]), (1, &[4]), (-1, &[1]), (-2, &[]), (0, &[0])] {
                    cases.push((Op::IndexSelect { dim }, vec![r.tensor(dtype, &[4, 5]), r.ids(4, shape)]));
                }
            }
        }
        OpKind::IndexBy => {
            for dtype in DTYPES {
                for (dims, shape) in [(vec![], &[3][..]), (vec![1], &[2, 2]), (vec![-1], &[]), (vec![0], &[0])] {
                    let ids: Vec<i64> = r.ids(8, shape).to_f64().into_iter().map(|id| id as i64 - 4).collect();
                    cases.push((Op::IndexBy { dims }, vec![r.tensor(dtype, &[4, 5]), Tensor::new(shape, ids)]));
                }
            }
        }
        OpKind::Squeeze => {
            for dtype in DTYPES {
                for dim in [None, Some(0), Some(1), Some(-1)] {
                    cases.push((Op::Squeeze { dim }, vec![r.tensor(dtype, &[2, 1, 3, 1])]));
                }
                cases.push((Op::Squeeze { dim: None }, vec![r.tensor(dtype, &[])]));
            }
        }
        OpKind::Expand => {
            for dtype in DTYPES {
                for (from, to) in [
                    (&[2, 1][..], &[2, 3][..]),
                    (&[2, 1], &[-1, 4]),
                    (&[3], &[2, -1]),
                    (&[], &[2, 2]),
                    (&[2, 3], &[2, 3]),
                    (&[3, 1, 2], &[4, 3, 2, 2]),
                ] {
                    cases.push((Op::Expand { shape: known(to) }, vec![r.tensor(dtype, from)]));
                }
            }
        }
        OpKind::Permute => {
            for dtype in DTYPES {
                for dims in [[0, 1, 2], [2, 0, 1], [-1, 1, 0], [0, 2, 1]] {
                    cases.push((Op::Permute { dims: dims.to_vec() }, vec![r.tensor(dtype, &[2, 3, 4])]));
                }
            }
        }
        OpKind::Flatten => {
            for dtype in DTYPES {
                for (start, end) in [(0, -1), (1, 2), (0, 1), (-1, -1)] {
                    cases.push((Op::Flatten { start, end }, vec![r.tensor(dtype, &[2, 3, 4])]));
                }
                cases.push((Op::Flatten { start: 0, end: -1 }, vec![r.tensor(dtype, &[])]));
            }
        }
        OpKind::Split | OpKind::Chunk => {
            for dtype in DTYPES {
                for dim in [1, -1] {
                    let x = r.tensor(dtype, &[2, 4, 4]);
                    cases.push(match kind {
                        OpKind::Split => (Op::Split { size: Some(3), sizes: vec![], dim }, vec![x]),
                        _ => (Op::Chunk { chunks: 2, dim }, vec![x]),
                    });
                }
                let x = r.tensor(dtype, &[5]);
                cases.push(match kind {
                    OpKind::Split => (Op::Split { size: None, sizes: vec![1, 0, 4], dim: 0 }, vec![x]),
                    _ => (Op::Chunk { chunks: 4, dim: 0 }, vec![x]),
                });
            }
        }
        OpKind::Flip => {
            for dtype in DTYPES {
                for dims in [vec![], vec![0], vec![-1], vec![1, 0]] {
                    cases.push((Op::Flip { dims }, vec![r.tensor(dtype, &[2, 3])]));
                }
            }
        }
        OpKind::Repeat => {
            for dtype in DTYPES {
                for repeats in [vec![1, 2], vec![3, 1], vec![2, 1, 2], vec![0, 1]] {
                    cases.push((Op::Repeat { repeats }, vec![r.tensor(dtype, &[2, 3])]));
                }
            }
        }
        OpKind::RepeatInterleave => {
            for dtype in DTYPES {
                for dim in [None, Some(0), Some(1), Some(-1)] {
                    cases.push((Op::RepeatInterleave { repeats: 3, dim }, vec![r.tensor(dtype, &[2, 3])]));
                }
            }
        }
        OpKind::Tril | OpKind::Triu => {
            for dtype in [DType::F32, DType::I64] {
                for diagonal in [-2, 0, 1, 9] {
                    for shape in [&[3, 4][..], &[2, 3, 3]] {
                        let op = if kind == OpKind::Tril { Op::Tril { diagonal } } else { Op::Triu { diagonal } };
                        cases.push((op, vec![r.tensor(dtype, shape)]));
                    }
                }
            }
        }
        // Constants, once their attributes are known.
        OpKind::Full => {
            for value in DTYPES.map(|dtype| r.tensor(dtype, &[])) {
                cases.push((Op::Full { shape: known(&[2, 3]), value: (&value).into(), dtype: None }, vec![]));
            }
        }
        OpKind::Arange => {
            for dtype in [DType::F32, DType::I64] {
                let float = Float::new;
                cases.push((Op::Arange { start: float(1.0), end: float(8.0), step: float(2.0), dtype }, vec![]));
            }
        }
        OpKind::Linspace => {
            cases.push((Op::Linspace { start: Float::new(-1.0), end: Float::new(2.0), steps: 5, dtype: DType::F32 }, vec![]));
        }
        OpKind::Eye => cases.extend(DTYPES.map(|dtype| (Op::Eye { rows: 2, columns: Some(3), dtype }, vec![]))),
        OpKind::RandomUniform => {
            let (low, high) = (Float::new(-1.0), Float::new(1.0));
            cases.push((Op::RandomUniform { shape: known(&[5]), seed: 1, low, high, dtype: DType::F32 }, vec![]));
        }
        OpKind::RandomNormal => {
            let (mean, std) = (Float::new(0.0), Float::new(1.0));
            cases.push((Op::RandomNormal { shape: known(&[5]), seed: 1, mean, std, dtype: DType::F32 }, vec![]));
        }
        OpKind::RandomInt => {
            cases.push((Op::RandomInt { shape: known(&[5]), seed: 1, low: -3, high: 9, dtype: DType::I64 }, vec![]));
        }
        OpKind::OneHot => {
            for shape in [&[][..], &[4], &[2, 3]] {
                cases.push((Op::OneHot { classes: 5 }, vec![r.ids(5, shape)]));
            }
        }
        OpKind::Einsum => {
            for (equation, shapes) in [
                ("ij,jk->ik", &[&[2, 3][..], &[3, 4]][..]),
                ("ij,jk", &[&[2, 3], &[3, 4]]),
                ("bqhd,bkhd->bhqk", &[&[2, 3, 2, 4], &[2, 5, 2, 4]]),
                ("i,j->ij", &[&[2], &[3]]),
                ("ij->ji", &[&[2, 3]]),
                ("ij->j", &[&[2, 3]]),
            ] {
                let operands = shapes.iter().map(|shape| r.tensor(DType::F32, shape)).collect();
                cases.push((Op::Einsum { equation: equation.into() }, operands));
            }
        }
        // The host's alone; see `what_cannot_be_lowered_is_an_error`.
        OpKind::Sample
        | OpKind::IndexPut
        | OpKind::Scatter
        | OpKind::ScatterAdd
        | OpKind::NonZero
        | OpKind::MaskedSelect
        | OpKind::Roll
        | OpKind::Diagonal
        | OpKind::List
        | OpKind::Append
        | OpKind::Join
        | OpKind::Item
        | OpKind::Length
        | OpKind::Format => {}
        OpKind::Reshape => {
            for dtype in DTYPES {
                for (from, to) in [
                    (&[2, 6][..], &[3, 4][..]),
                    (&[2, 6], &[-1]),
                    (&[2, 6], &[2, -1, 3]),
                    (&[12], &[1, 12, 1]),
                    (&[1], &[]),
                    (&[], &[1, 1]),
                    (&[0, 3], &[3, 0]),
                    (&[0, 3], &[0]),
                    (&[2, 0], &[0, 5]),
                ] {
                    cases.push((Op::Reshape { shape: known(to) }, vec![r.tensor(dtype, from)]));
                }
            }
        }
        OpKind::Transpose => {
            for dtype in DTYPES {
                for (dim0, dim1) in [(0, 1), (0, 2), (-1, -2), (1, 1), (-3, -1)] {
                    cases.push((Op::Transpose { dim0, dim1 }, vec![r.tensor(dtype, &[2, 3, 4])]));
                }
            }
        }
        OpKind::Unsqueeze => {
            for dtype in DTYPES {
                for dim in [0, 1, 2, -1, -2, -3] {
                    cases.push((Op::Unsqueeze { dim }, vec![r.tensor(dtype, &[2, 3])]));
                }
                cases.push((Op::Unsqueeze { dim: -1 }, vec![r.tensor(dtype, &[])]));
            }
        }
        OpKind::Cat => {
            for dtypes in mixed() {
                for (dim, other) in [(0, [4, 3]), (-2, [1, 3]), (1, [2, 5]), (-1, [2, 0])] {
                    cases.push((Op::Cat { dim }, vec![r.tensor(dtypes[0], &[2, 3]), r.tensor(dtypes[1], &other)]));
                }
                cases.push((Op::Cat { dim: 0 }, vec![r.tensor(dtypes[0], &[2]), r.tensor(dtypes[1], &[1]), r.tensor(dtypes[0], &[3])]));
                cases.push((Op::Cat { dim: -1 }, vec![r.tensor(dtypes[0], &[2])]));
            }
        }
        OpKind::Stack => {
            for dtypes in mixed() {
                for dim in [0, 1, 2, -1, -3] {
                    cases.push((Op::Stack { dim }, vec![r.tensor(dtypes[0], &[2, 3]), r.tensor(dtypes[1], &[2, 3])]));
                }
                cases.push((Op::Stack { dim: 0 }, vec![r.tensor(dtypes[0], &[]), r.tensor(dtypes[1], &[]), r.tensor(dtypes[0], &[])]));
                cases.push((Op::Stack { dim: -1 }, vec![r.tensor(dtypes[0], &[2])]));
            }
        }
        OpKind::Cast => {
            let odd = Tensor::new([9], vec![0.0, -0.0, 0.5, -0.5, 1.5, -2.7, 1e4, f32::NAN, 1e-30]);
            for to in [DType::F32, DType::I64, DType::I32, DType::Bool] {
                for from in [DType::F32, DType::I64, DType::I32, DType::Bool] {
                    cases.push((Op::Cast { dtype: to }, vec![r.tensor(from, &[3, 4])]));
                    cases.push((Op::Cast { dtype: to }, vec![r.tensor(from, &[])]));
                }
                cases.push((Op::Cast { dtype: to }, vec![odd.clone()]));
            }
        }

        OpKind::Add
        | OpKind::Sub
        | OpKind::Mul
        | OpKind::Div
        | OpKind::Maximum
        | OpKind::Minimum
        | OpKind::Eq
        | OpKind::Ne
        | OpKind::Lt
        | OpKind::Le
        | OpKind::Gt
        | OpKind::Ge
        | OpKind::And
        | OpKind::Or
        | OpKind::Xor => {
            let op = || Op::build(kind, &mut |_| None).expect("it has no attributes");
            for dtypes in mixed() {
                if kind == OpKind::Sub && dtypes.contains(&DType::Bool) {
                    continue;
                }
                for (a, b) in [
                    (&[2, 3][..], &[2, 3][..]),
                    (&[2, 3], &[3]),
                    (&[2, 1], &[1, 4]),
                    (&[2, 3], &[]),
                    (&[], &[4]),
                    (&[], &[]),
                    (&[0, 3], &[3]),
                ] {
                    cases.push((op(), vec![r.tensor(dtypes[0], a), r.tensor(dtypes[1], b)]));
                }
            }
            let swapped = Tensor::new([2, 3], vec![f32::NAN, 1.0, -2.0, f32::INFINITY, 0.0, f32::NAN]);
            cases.push((op(), vec![nan(), swapped]));
        }
        OpKind::Neg
        | OpKind::Abs
        | OpKind::Exp
        | OpKind::Log
        | OpKind::Sqrt
        | OpKind::Sigmoid
        | OpKind::Tanh
        | OpKind::Silu
        | OpKind::Not
        | OpKind::Sign
        | OpKind::Square
        | OpKind::Floor
        | OpKind::Ceil
        | OpKind::Round
        | OpKind::Trunc
        | OpKind::Frac
        | OpKind::Reciprocal
        | OpKind::Rsqrt
        | OpKind::Exp2
        | OpKind::Log2
        | OpKind::Log10
        | OpKind::Sin
        | OpKind::Cos
        | OpKind::Tan
        | OpKind::Asin
        | OpKind::Acos
        | OpKind::Atan
        | OpKind::Sinh
        | OpKind::Cosh
        | OpKind::Erf
        | OpKind::Relu
        | OpKind::LeakyRelu
        | OpKind::Elu
        | OpKind::Softplus
        | OpKind::Mish
        | OpKind::LogSigmoid
        | OpKind::Isnan
        | OpKind::Isinf
        | OpKind::Isfinite => {
            let op = || Op::build(kind, &mut |_| None).expect("its attributes have defaults");
            for dtype in DTYPES {
                if infer(&op(), &[&Type::tensor(dtype, [])], &Models::new()).is_err() {
                    continue;
                }
                for shape in [&[][..], &[1], &[40], &[2, 3, 5], &[0]] {
                    cases.push((op(), vec![r.tensor(dtype, shape)]));
                }
            }
            cases.push((op(), vec![nan()]));
            let steep = vec![0.0f32, -0.0, 1e-20, -1e-20, 20.0, -20.0, 87.0, -87.0, 1e5, -1e5];
            cases.push((op(), vec![Tensor::new([10], steep)]));
        }
        OpKind::Remainder | OpKind::Fmod | OpKind::Pow => {
            let op = || Op::build(kind, &mut |_| None).expect("it has no attributes");
            for dtype in [DType::F32, DType::I64] {
                if (kind, dtype) == (OpKind::Pow, DType::I64) {
                    continue;
                }
                for (a, b) in
                    [(&[2, 3][..], &[2, 3][..]), (&[2, 3], &[3]), (&[2, 1], &[1, 4]), (&[2, 3], &[]), (&[], &[4]), (&[], &[1]), (&[], &[])]
                {
                    let divisor = r.tensor(dtype, b);
                    let three = Tensor::scalar(3i64);
                    // Integers cannot be divided by 0.
                    let zero = eval(&Op::Eq {}, &[&divisor.clone().into(), &Tensor::scalar(0i64).into()]).expect("numbers are compared");
                    let divisor = eval(&Op::Select {}, &[&zero, &three.into(), &divisor.into()]).expect("they are of one shape");
                    cases.push((op(), vec![r.tensor(dtype, a), divisor.into_tensor().expect("a tensor")]));
                }
            }
            for by in [2.0, 0.5, 3.0, -1.5, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
                cases.push((op(), vec![r.tensor(DType::F32, &[7]), Tensor::scalar(by)]));
                cases.push((op(), vec![nan(), Tensor::scalar(by)]));
            }
        }
        OpKind::Clamp => {
            let float = |bound: Option<f64>| bound.map(Float::new);
            for dtype in DTYPES {
                for (min, max) in
                    [(Some(-1.0), Some(1.0)), (Some(1.0), None), (None, Some(0.0)), (Some(2.0), Some(-1.0)), (Some(0.25), None)]
                {
                    cases.push((Op::Clamp { min: float(min), max: float(max) }, vec![r.tensor(dtype, &[2, 5])]));
                }
            }
            cases.push((Op::Clamp { min: float(Some(-1.0)), max: float(Some(1.5)) }, vec![nan()]));
        }
        OpKind::Select => {
            for dtypes in mixed() {
                for (c, a, b) in [
                    (&[2, 3][..], &[2, 3][..], &[2, 3][..]),
                    (&[3], &[2, 3], &[]),
                    (&[2, 1], &[], &[1, 4]),
                    (&[], &[2], &[2]),
                    (&[4], &[], &[]),
                ] {
                    cases.push((Op::Select {}, vec![r.tensor(DType::Bool, c), r.tensor(dtypes[0], a), r.tensor(dtypes[1], b)]));
                }
            }
        }

        OpKind::Softmax | OpKind::LogSoftmax => {
            let op = |dim| if kind == OpKind::Softmax { Op::Softmax { dim } } else { Op::LogSoftmax { dim } };
            for dim in [0, 1, 2, -1, -2, -3] {
                cases.push((op(dim), vec![r.tensor(DType::F32, &[2, 5, 7])]));
            }
            cases.push((op(-1), vec![r.tensor(DType::F32, &[1])]));
            cases.push((op(-1), vec![Tensor::new([2, 3], vec![1.0, f32::NEG_INFINITY, 90.0, 5e4, 5e4, -5e4])]));
        }
        OpKind::Argmax | OpKind::Argmin => {
            let op = |dim, keepdim| if kind == OpKind::Argmax { Op::Argmax { dim, keepdim } } else { Op::Argmin { dim, keepdim } };
            for dtype in [DType::F32, DType::I64] {
                for keepdim in [false, true] {
                    for dim in [None, Some(0), Some(1), Some(2), Some(-1), Some(-3)] {
                        cases.push((op(dim, keepdim), vec![r.tensor(dtype, &[2, 5, 3])]));
                    }
                    cases.push((op(None, keepdim), vec![r.tensor(dtype, &[])]));
                    cases.push((op(Some(0), keepdim), vec![r.tensor(dtype, &[4])]));
                    // Of equals the first.
                    cases.push((op(Some(-1), keepdim), vec![Tensor::new([2, 4], vec![1i64, 3, 3, 2, 0, 0, 0, 0])]));
                }
            }
            for dim in [None, Some(0), Some(1)] {
                cases.push((op(dim, false), vec![nan()]));
            }
        }
        OpKind::Sort => {
            for descending in [false, true] {
                for dtype in DTYPES {
                    for dim in [0, 1, 2, -1, -3] {
                        cases.push((Op::Sort { dim, descending }, vec![r.tensor(dtype, &[2, 5, 3])]));
                    }
                    cases.push((Op::Sort { dim: 0, descending }, vec![r.tensor(dtype, &[40])]));
                }
                cases.push((Op::Sort { dim: 1, descending }, vec![nan()]));
                cases.push((Op::Sort { dim: -1, descending }, vec![Tensor::new([2, 0], Vec::<f32>::new())]));
            }
        }
        OpKind::Cumsum => {
            for dtype in DTYPES {
                for dim in [0, 1, 2, -1, -3] {
                    cases.push((Op::Cumsum { dim }, vec![r.tensor(dtype, &[2, 5, 3])]));
                }
                cases.push((Op::Cumsum { dim: 0 }, vec![r.tensor(dtype, &[1])]));
            }
            cases.push((Op::Cumsum { dim: 1 }, vec![nan()]));
        }
        OpKind::TopK => {
            for dtype in [DType::F32, DType::I64] {
                for (k, dim, largest) in [
                    (1, -1, true),
                    (3, 1, true),
                    (2, 1, false),
                    (5, 1, true),
                    (5, 1, false),
                    (2, 0, true),
                    (1, -3, false),
                    (0, 1, true),
                    (3, 2, true),
                ] {
                    cases.push((Op::TopK { k, dim, largest }, vec![r.tensor(dtype, &[2, 5, 3])]));
                }
                cases.push((Op::TopK { k: 40, dim: -1, largest: true }, vec![r.tensor(dtype, &[100])]));
            }
            let equal = Tensor::new([12], vec![2i64, 7, 7, 1, 7, 2, 2, 1, 7, 0, 0, 7]);
            for (k, largest) in [(3, true), (7, true), (3, false), (12, true), (12, false)] {
                cases.push((Op::TopK { k, dim: 0, largest }, vec![equal.clone()]));
                let floats: Vec<f32> = equal.to_f64().into_iter().map(|x| x as f32).collect();
                cases.push((Op::TopK { k, dim: 0, largest }, vec![Tensor::new([12], floats)]));
            }
            for (k, largest) in [(1, true), (3, true), (1, false), (3, false)] {
                cases.push((Op::TopK { k, dim: 1, largest }, vec![nan()]));
            }
        }
        OpKind::Sum
        | OpKind::Mean
        | OpKind::Max
        | OpKind::Min
        | OpKind::Prod
        | OpKind::Any
        | OpKind::All
        | OpKind::Logsumexp
        | OpKind::Norm
        | OpKind::Var
        | OpKind::Std => {
            let op = |dims: &[i64], keepdim: bool| match kind {
                OpKind::Sum => Op::Sum { dims: dims.to_vec(), keepdim },
                OpKind::Mean => Op::Mean { dims: dims.to_vec(), keepdim },
                OpKind::Max => Op::Max { dims: dims.to_vec(), keepdim },
                OpKind::Prod => Op::Prod { dims: dims.to_vec(), keepdim },
                OpKind::Any => Op::Any { dims: dims.to_vec(), keepdim },
                OpKind::All => Op::All { dims: dims.to_vec(), keepdim },
                OpKind::Logsumexp => Op::Logsumexp { dims: dims.to_vec(), keepdim },
                OpKind::Norm => Op::Norm { p: Float::new(2.0), dims: dims.to_vec(), keepdim },
                OpKind::Var => Op::Var { dims: dims.to_vec(), correction: i64::from(!keepdim), keepdim },
                OpKind::Std => Op::Std { dims: dims.to_vec(), correction: i64::from(!keepdim), keepdim },
                _ => Op::Min { dims: dims.to_vec(), keepdim },
            };
            for dtype in DTYPES {
                if infer(&op(&[], false), &[&Type::tensor(dtype, [])], &Models::new()).is_err() {
                    continue;
                }
                for keepdim in [false, true] {
                    for dims in [&[][..], &[0], &[1], &[-1], &[0, 2], &[-1, 0], &[2, 1, 0]] {
                        cases.push((op(dims, keepdim), vec![r.tensor(dtype, &[2, 5, 3])]));
                    }
                    cases.push((op(&[], keepdim), vec![r.tensor(dtype, &[])]));
                    cases.push((op(&[-1], keepdim), vec![r.tensor(dtype, &[1])]));
                    if matches!(kind, OpKind::Sum | OpKind::Prod | OpKind::Any | OpKind::All | OpKind::Norm) {
                        cases.push((op(&[0], keepdim), vec![r.tensor(dtype, &[0, 3])]));
                    }
                    cases.push((op(&[1], keepdim), vec![r.tensor(dtype, &[0, 3])]));
                }
            }
            cases.push((op(&[1], false), vec![nan()]));
            cases.push((op(&[], false), vec![nan()]));
            if kind == OpKind::Norm {
                for p in [0.0, 1.0, 3.0, 0.5, -1.0, f64::INFINITY, f64::NEG_INFINITY] {
                    for dims in [vec![], vec![1], vec![0, -1]] {
                        let op = Op::Norm { p: Float::new(p), dims, keepdim: false };
                        cases.push((op.clone(), vec![r.tensor(DType::F32, &[2, 5])]));
                        cases.push((op, vec![nan()]));
                    }
                }
            }
            if kind == OpKind::Logsumexp {
                let far = vec![f32::NEG_INFINITY, f32::NEG_INFINITY, 1e3, 1e3, f32::INFINITY, 0.0];
                cases.push((op(&[1], false), vec![Tensor::new([3, 2], far)]));
            }
        }

        OpKind::Matmul => {
            for (a, b) in [
                (&[2, 3][..], &[3, 4][..]),
                (&[3], &[3]),
                (&[3], &[3, 4]),
                (&[2, 3], &[3]),
                (&[5, 2, 3], &[3, 4]),
                (&[2, 3], &[5, 3, 4]),
                (&[5, 1, 2, 3], &[7, 3, 4]),
                (&[5, 2, 3], &[5, 3, 1]),
                (&[5, 2, 3], &[3]),
                (&[3], &[5, 3, 2]),
                (&[1, 1], &[1, 1]),
                (&[0, 3], &[3, 4]),
                (&[33, 40], &[40, 21]),
            ] {
                // The engine multiplies no matrices of integers.
                cases.push((Op::Matmul {}, vec![r.tensor(DType::F32, a), r.tensor(DType::F32, b)]));
            }
        }
        OpKind::RmsNorm => {
            for (shape, eps) in [(&[5][..], 1e-5), (&[2, 8], 1e-6), (&[2, 3, 33], 0.5), (&[1, 1], 0.0), (&[0, 4], 1e-5)] {
                let weight = r.tensor(DType::F32, &shape[shape.len() - 1..]);
                cases.push((Op::RmsNorm { eps: Float::new(eps) }, vec![r.tensor(DType::F32, shape), weight]));
            }
        }
        OpKind::LayerNorm => {
            for (shape, eps) in [(&[5][..], 1e-5), (&[2, 8], 1e-6), (&[2, 3, 33], 0.5), (&[0, 4], 1e-5), (&[3, 1], 1e-5)] {
                for given in 1..=3 {
                    let weights = (1..given).map(|_| r.tensor(DType::F32, &shape[shape.len() - 1..])).collect::<Vec<_>>();
                    let operands = [r.tensor(DType::F32, shape)].into_iter().chain(weights).collect();
                    cases.push((Op::LayerNorm { eps: Float::new(eps) }, operands));
                }
            }
        }
        OpKind::Gelu => {
            for approximate in ["none", "tanh"] {
                for shape in [&[][..], &[7], &[2, 33], &[0, 3]] {
                    cases.push((Op::Gelu { approximate: approximate.into() }, vec![r.tensor(DType::F32, shape)]));
                }
            }
        }
        OpKind::Rotary => {
            for (shape, rotated) in
                [([1, 5, 2, 8], 8), ([2, 3, 1, 8], 4), ([2, 3, 3, 6], 2), ([1, 1, 1, 2], 2), ([1, 0, 2, 4], 4), ([1, 2, 1, 5], 4)]
            {
                for (base, scale) in [(10_000.0, 1.0), (10.0, 1.25)] {
                    let positions = r.ids(60, &shape[..2]);
                    let frequencies = RotaryShape::new(base, rotated).inverse_frequencies;
                    let frequencies = Tensor::new([frequencies.len()], frequencies.to_vec());
                    cases.push((Op::Rotary { scale: Float::new(scale) }, vec![r.tensor(DType::F32, &shape), positions, frequencies]));
                }
            }
        }
        OpKind::CausalMask => {
            for shape in [&[4, 4][..], &[2, 3, 3], &[2, 2, 3, 7], &[1, 1], &[5, 2], &[1, 6]] {
                for window in [None, Some(1), Some(2), Some(100)] {
                    cases.push((Op::CausalMask { window }, vec![r.tensor(DType::F32, shape)]));
                }
            }
        }

        OpKind::FloorDiv
        | OpKind::Atan2
        | OpKind::Logaddexp
        | OpKind::Expm1
        | OpKind::Log1p
        | OpKind::Cumprod
        | OpKind::CosineSimilarity
        | OpKind::CrossEntropy
        | OpKind::KlDiv => {}

        // Tuples are names of several values; `run` takes each apart.
        OpKind::Tuple | OpKind::Get => {
            for dtypes in mixed() {
                cases.push((Op::Tuple {}, vec![r.tensor(dtypes[0], &[2]), r.tensor(dtypes[1], &[])]));
            }
        }
    }
    cases
}

/// Pairs of element types.
fn mixed() -> impl Iterator<Item = [DType; 2]> {
    DTYPES.into_iter().flat_map(|a| DTYPES.map(|b| [a, b]))
}

/// Dimensions, bounds and steps of a part of [2, 7, 3].
fn parts() -> Vec<(i64, Option<i64>, Option<i64>, i64)> {
    let mut parts =
        vec![(0, Some(1), None, 1), (-3, None, Some(1), 1), (2, Some(1), Some(2), 1), (-1, Some(-1), None, 1), (2, None, None, 2)];
    for (start, end) in [
        (None, None),
        (Some(2), Some(5)),
        (Some(-3), None),
        (None, Some(-2)),
        (Some(-100), Some(100)),
        (Some(5), Some(2)),
        (Some(100), None),
        (Some(6), Some(7)),
    ] {
        parts.extend([1, 2, 3, 100].map(|step| (1, start, end, step)));
    }
    parts.push((1, Some(i64::MIN), Some(i64::MAX), i64::MAX));
    parts
}
