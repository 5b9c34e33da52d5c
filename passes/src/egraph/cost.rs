//! What an operation costs: one number, its arithmetic and the bytes that it moves, from the operation and the types.
//!
//! It compares forms of one value with each other, and says nothing of time. An operation of the host or of an engine costs
//! something even on nothing, so of two forms that move as much the one with fewer operations is taken.

use irc_ir::{
    op::{Op, OpKind, Scope},
    types::{Dim, Type, elements},
};

/// What an operation costs at least: about what calling it takes, in flops.
const CALL: i64 = 256;

/// What a size is taken for that is not known.
const UNKNOWN: i64 = 1_024;

/// The kinds of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Not looked into: it belongs to a forward, a loop, the host or a model.
    Outside,
    /// Values that are there, alone, in a tuple or in a list.
    None,
    /// The same elements in the same order, under another shape.
    View,
    /// All elements in another order, or repeated.
    Move,
    /// Some of the elements.
    Part,
    /// Elements picked by ids.
    Pick,
    /// A copy of the first operand with other elements in it.
    Replace,
    /// Several tensors as one.
    Join,
    /// Elements from nothing, for so many flops each.
    Make(i64),
    /// A function of each element, for so many flops.
    Elementwise(i64),
    /// So many flops for each element of the operands.
    Along(i64),
    /// A matrix product.
    Matmul,
    /// Sums of products.
    Einsum,
}

/// What kind of work an operation is.
#[rustfmt::skip]
pub(super) const fn work(kind: OpKind) -> Work {
    use OpKind::*;
    if !matches!(kind.scope(), Scope::Anywhere) {
        return Work::Outside;
    }
    match kind {
        Forward | Read | Write | Apply | Extend | Loop | Call | Param | EffectResult | Input | Weight | Hook => Work::Outside,
        Const | Tuple | Get | List | Append | Join | Item | Length | Format => Work::None,
        Reshape | Unsqueeze | Squeeze | Flatten => Work::View,
        Transpose | Permute | Expand | Flip | Roll | Repeat | RepeatInterleave => Work::Move,
        Slice | Index | Split | Chunk | Diagonal => Work::Part,
        Gather | Embedding | IndexSelect | IndexBy | MaskedSelect => Work::Pick,
        Update | IndexPut | Scatter | ScatterAdd => Work::Replace,
        Cat | Stack => Work::Join,
        Full | Arange | Eye | OneHot => Work::Make(0),
        Linspace => Work::Make(2),
        RandomUniform | RandomInt => Work::Make(20),
        RandomNormal => Work::Make(40),
        Add | Sub | Mul | Maximum | Minimum | Neg | Abs | Sign | Square | Floor | Ceil | Round | Trunc | Frac | Clamp | Relu | LeakyRelu
        | Eq | Ne | Lt | Le | Gt | Ge | And | Or | Xor | Not | Isnan | Isinf | Isfinite | Select | Cast => Work::Elementwise(1),
        Div | FloorDiv | Remainder | Fmod | Reciprocal | Rsqrt | Sqrt => Work::Elementwise(4),
        Pow | Atan2 | Logaddexp | Exp | Exp2 | Expm1 | Log | Log1p | Log2 | Log10 | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh
        | Erf | Sigmoid | Tanh | Silu | Gelu | Elu | Softplus | Mish | LogSigmoid => Work::Elementwise(16),
        Sum | Mean | Max | Min | Prod | Any | All | Argmax | Argmin | Cumsum | Cumprod | Tril | Triu | CausalMask | NonZero => Work::Along(1),
        Norm | Var | Std | CosineSimilarity | RmsNorm | LayerNorm | Rotary => Work::Along(4),
        Softmax | LogSoftmax | Logsumexp | CrossEntropy | KlDiv | Sort | TopK | Sample => Work::Along(20),
        Matmul => Work::Matmul,
        Einsum => Work::Einsum,
    }
}

/// Whether each element of the result follows from the operands' elements at its place, after broadcasting, alone.
pub(crate) const fn is_elementwise(op: &Op) -> bool {
    matches!(work(op.kind()), Work::Elementwise(_))
}

/// What an operation costs on operands of these types.
pub(super) fn cost(op: &Op, operands: &[&Type], result: &Type) -> i64 {
    let read = || operands.iter().fold(0i64, |sum, ty| sum.saturating_add(bytes(ty)));
    let written = bytes(result);
    let flops = |each: i64, ty: &Type| count(ty).saturating_mul(each);
    let of_largest = |each: i64| operands.iter().map(|ty| flops(each, ty)).max().unwrap_or(0);
    let moved = match work(op.kind()) {
        Work::Outside | Work::None => return 0,
        Work::View => 0,
        Work::Move | Work::Part => written.saturating_mul(2),
        // What is picked is read, and so are the ids.
        Work::Pick => written.saturating_mul(2).saturating_add(operands.iter().skip(1).fold(0, |sum, ty| sum.saturating_add(bytes(ty)))),
        Work::Replace | Work::Join => read().saturating_add(written),
        Work::Make(each) => written.saturating_add(flops(each, result)),
        Work::Elementwise(each) => read().saturating_add(written).saturating_add(flops(each, result)),
        Work::Along(each) => read().saturating_add(written).saturating_add(of_largest(each)),
        Work::Matmul => {
            let inner = operands.first().and_then(|ty| ty.as_tensor()?.shape.last()).map_or(1, size);
            read().saturating_add(written).saturating_add(flops(2, result).saturating_mul(inner))
        }
        Work::Einsum => read().saturating_add(written).saturating_add(products(op, operands)),
    };
    moved.saturating_add(CALL)
}

/// Two flops for each combination of the sizes that an `einsum` names.
fn products(op: &Op, operands: &[&Type]) -> i64 {
    let Op::Einsum { equation } = op else { return 0 };
    let inputs = equation.split("->").next().unwrap_or_default().split(',');
    let mut sizes: Vec<(char, i64)> = vec![];
    let mut total = 2i64;
    for (letters, ty) in inputs.zip(operands) {
        let Some(ty) = ty.as_tensor() else { continue };
        let letters: Vec<char> = letters.chars().filter(|letter| letter.is_ascii_alphabetic()).collect();
        if letters.len() != ty.rank() {
            // Some are behind `...`: all sizes of the largest operand, then.
            total = total.max(elements(&ty.shape).as_known().unwrap_or(UNKNOWN).saturating_mul(2));
            continue;
        }
        for (letter, dim) in letters.into_iter().zip(&ty.shape) {
            match sizes.iter_mut().find(|(known, _)| *known == letter) {
                Some((_, known)) => *known = size(dim).max(*known),
                None => sizes.push((letter, size(dim))),
            }
        }
    }
    sizes.into_iter().fold(total, |product, (_, size)| product.saturating_mul(size))
}

fn size(dim: &Dim) -> i64 {
    dim.substitute(&|_| Some(Dim::known(UNKNOWN))).as_known().unwrap_or(UNKNOWN).max(0)
}

/// The number of elements; of a tuple, those of its parts.
fn count(ty: &Type) -> i64 {
    match ty {
        Type::Tensor(tensor) => size(&elements(&tensor.shape)),
        Type::Tuple(parts) => parts.iter().fold(0, |sum, part| sum.saturating_add(count(part))),
        Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => 0,
    }
}

fn bytes(ty: &Type) -> i64 {
    match ty {
        Type::Tensor(tensor) => count(ty).saturating_mul(tensor.dtype.size() as i64),
        Type::Tuple(parts) => parts.iter().fold(0, |sum, part| sum.saturating_add(bytes(part))),
        Type::List(_) | Type::Str | Type::Opaque | Type::Forward(_) => 0,
    }
}
