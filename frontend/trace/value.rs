//! Values: what is inside a forward pass, and what is computed from it.

use irc_ir::{
    attr::{Float, Reduction},
    code::Code,
    diagnostic::Diagnostic,
    graph::EffectKind,
    op::Op,
    types::{DType, Dim},
};

use super::{Dims, Indices, Operand, Part, Session, here};
use crate::recorder::{Ref, Scope};

/// A tensor of a program, or a view of one. Clones are the same tensor.
///
/// Numbers, tensors and other values can stand on the right of `+ - * /`, `f64` and `i64` on the left, too. Shapes are
/// broadcast and element types promoted as in PyTorch. `!`, `&`, `|` and `^` work on comparisons. `value += 1.0` changes the
/// tensor in place; [`Value::add_`] and its like do so without a variable.
#[derive(Clone, Debug)]
pub struct Value {
    pub(crate) session: Session,
    pub(crate) at: Ref,
}

/// Parts and shapes: views, which share the tensor.
impl Value {
    /// Python's `h[…]`: `h.at((.., -1))` is `h[:, -1]`, `h.at((.., -1..))` is `h[:, -1:]`, `h.at(0)` is `h[0]`. An index
    /// takes its dimension away, a range keeps it, ids pick entries of it; see [`Indices`].
    ///
    /// What ids pick (`h.at((.., [0, 3]))`) is a tensor of its own, as in PyTorch: it does not change when `h` does. To set it is
    /// `h[:, [0, 3]] = value`, and changes `h`. Of ids that come twice the last value counts.
    ///
    /// Two ellipses are an error (E1008).
    #[track_caller]
    pub fn at(&self, indices: impl Indices) -> Value {
        let parts = indices.parts();
        let is_ellipsis = |part: &Part| matches!(part, Part::Ellipsis);
        let ellipses = parts.iter().filter(|part| is_ellipsis(part)).count();
        if ellipses > 1 {
            return self.mistake(Code::E1008, "only one of the indices can be an ellipsis");
        }
        // Before an ellipsis dimensions count from the first, after it from the last.
        let split = parts.iter().position(is_ellipsis).unwrap_or(parts.len());
        let (mut value, mut dim) = (self.clone(), 0);
        let (mut ids, mut dims) = (vec![], vec![]);
        for part in &parts[..split] {
            value = value.part(dim, part);
            if let Part::Ids(operand) = part {
                ids.push(operand.clone());
                dims.push(dim);
            }
            dim += i64::from(!matches!(part, Part::Index(_)));
        }
        let last = &parts[split..];
        for (at, part) in last.iter().enumerate() {
            let after = &last[at + 1..];
            value = value.part(-1 - after.len() as i64, part);
            if let Part::Ids(operand) = part {
                ids.push(operand.clone());
                // Of the dimensions after it, those with an index disappear.
                dims.push(-1 - after.iter().filter(|part| !matches!(part, Part::Index(_))).count() as i64);
            }
        }
        if ids.is_empty() { value } else { value.pick(ids, dims) }
    }

    /// Part of one dimension: `h.slice(1, -1..)` is `h[:, -1:]`. An index takes the dimension away.
    ///
    /// More than one part is an error (E1008).
    #[track_caller]
    pub fn slice(&self, dim: i64, part: impl Indices) -> Value {
        match part.parts().as_slice() {
            [Part::Ids(ids)] => self.pick(vec![ids.clone()], vec![dim]),
            [part] => self.part(dim, part),
            _ => self.mistake(Code::E1008, "`slice` takes a part of one dimension; `at` takes several"),
        }
    }

    /// One index of a dimension, which disappears.
    #[track_caller]
    pub fn index(&self, dim: i64, index: i64) -> Value {
        self.unary(Op::Index { dim, index })
    }

    /// The same elements under another shape. One size may be -1: what is left.
    #[track_caller]
    pub fn reshape(&self, shape: impl AsRef<[i64]>) -> Value {
        self.unary(Op::Reshape { shape: shape.as_ref().iter().copied().map(Dim::known).collect() })
    }

    /// Two dimensions swapped.
    #[track_caller]
    pub fn transpose(&self, dim0: i64, dim1: i64) -> Value {
        self.unary(Op::Transpose { dim0, dim1 })
    }

    /// A new dimension of size 1, at `dim` of the result.
    #[track_caller]
    pub fn unsqueeze(&self, dim: i64) -> Value {
        self.unary(Op::Unsqueeze { dim })
    }

    #[track_caller]
    fn part(&self, dim: i64, part: &Part) -> Value {
        match part.op(dim) {
            Some(op) => self.unary(op),
            None => self.clone(),
        }
    }
}

/// In place: seen by everyone who shares the tensor, and by the forward pass where it is that of a hook.
impl Value {
    /// `h[:] = value`: the elements become those of `value`, broadcast and cast to this one's type.
    ///
    /// A value that comes from a later hook of the same forward pass is an error (E2007), as is one of a later trace or
    /// another session (E3003).
    #[track_caller]
    pub fn set(&self, value: impl Into<Operand>) {
        let span = here();
        let refs = self.session.resolve(vec![self.into(), value.into()], span.clone());
        if let [target, value] = refs.as_slice() {
            self.session.record().set(target, value, span);
        }
    }

    /// `h += value`, for hooks without a variable: `trace.hook("…").add_(&vector)`.
    #[track_caller]
    pub fn add_(&self, value: impl Into<Operand>) {
        self.set(self.binary(Op::Add {}, value));
    }

    /// `h -= value`.
    #[track_caller]
    pub fn sub_(&self, value: impl Into<Operand>) {
        self.set(self.binary(Op::Sub {}, value));
    }

    /// `h *= value`.
    #[track_caller]
    pub fn mul_(&self, value: impl Into<Operand>) {
        self.set(self.binary(Op::Mul {}, value));
    }

    /// `h /= value`.
    #[track_caller]
    pub fn div_(&self, value: impl Into<Operand>) {
        self.set(self.binary(Op::Div {}, value));
    }
}

/// What leaves the program.
impl Value {
    /// Returns the value to the user under a name: what it is at this line, whatever is set later.
    ///
    /// Two saves of one name are an error (E3001).
    #[track_caller]
    pub fn save(&self, name: impl AsRef<str>) -> Value {
        let kind = EffectKind::Save { name: name.as_ref().into() };
        self.session.effect(kind, self.into(), Scope::Value, here());
        self.clone()
    }

    /// Shows the value while the program runs, with something said before it.
    #[track_caller]
    pub fn log<'a>(&self, label: impl Into<Option<&'a str>>) -> Value {
        let kind = EffectKind::Log { label: label.into().map(Into::into) };
        self.session.effect(kind, self.into(), Scope::Value, here());
        self.clone()
    }

    /// What the value was in each step of a generation in which it exists, as a list that is there after it. To save a value of
    /// several steps saves this list.
    ///
    /// A value of no generation is an error (E3003).
    #[track_caller]
    pub fn over_steps(&self) -> Value {
        self.session.value(|session, span| session.record().collected(&self.at, span))
    }

    /// Names the value for the reader of the program.
    pub fn named(&self, name: impl AsRef<str>) -> Value {
        self.session.record().name(&self.at, name.as_ref());
        self.clone()
    }

    /// The session that the value belongs to.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

macro_rules! unary {
    ($($(#[doc = $doc:literal])+ $name:ident $op:ident;)*) => { $(
        $(#[doc = $doc])+
        #[track_caller]
        pub fn $name(&self) -> Value { self.unary(Op::$op {}) }
    )* };
}

macro_rules! binary {
    ($($(#[doc = $doc:literal])+ $name:ident $op:ident;)*) => { $(
        $(#[doc = $doc])+
        #[track_caller]
        pub fn $name(&self, other: impl Into<Operand>) -> Value { self.binary(Op::$op {}, other) }
    )* };
}

macro_rules! reductions {
    ($($(#[doc = $doc:literal])+ $name:ident $op:ident;)*) => { $(
        $(#[doc = $doc])+
        #[track_caller]
        pub fn $name(&self, dims: impl Dims) -> Value {
            let along = dims.reduction();
            self.unary(Op::$op { dims: along.dims, keepdim: along.keepdim })
        }
    )* };
}

/// Element by element.
impl Value {
    unary! {
        /// The absolute value.
        abs Abs;
        /// e to the power of each element.
        exp Exp;
        /// The natural logarithm.
        ln Log;
        /// The square root.
        sqrt Sqrt;
        /// 1 / (1 + e^-x).
        sigmoid Sigmoid;
        /// The hyperbolic tangent.
        tanh Tanh;
        /// x * sigmoid(x), of floats.
        silu Silu;
        /// -1, 0 or 1: the sign. That of NaN is 0.
        sign Sign;
        /// x * x.
        square Square;
        /// The largest whole number that is not above it.
        floor Floor;
        /// The smallest whole number that is not below it.
        ceil Ceil;
        /// The nearest whole number; of two, the even one.
        round Round;
        /// The whole number next to it towards zero.
        trunc Trunc;
        /// What `trunc` leaves over, of floats.
        frac Frac;
        /// 1 / x.
        reciprocal Reciprocal;
        /// 1 / sqrt(x).
        rsqrt Rsqrt;
        /// 2 to the power of each element.
        exp2 Exp2;
        /// e^x - 1, precise near 0.
        expm1 Expm1;
        /// ln(1 + x), precise near 0.
        log1p Log1p;
        /// The logarithm to base 2.
        log2 Log2;
        /// The logarithm to base 10.
        log10 Log10;
        /// The sine.
        sin Sin;
        /// The cosine.
        cos Cos;
        /// The tangent.
        tan Tan;
        /// The inverse of the sine.
        asin Asin;
        /// The inverse of the cosine.
        acos Acos;
        /// The inverse of the tangent.
        atan Atan;
        /// The hyperbolic sine.
        sinh Sinh;
        /// The hyperbolic cosine.
        cosh Cosh;
        /// The error function.
        erf Erf;
        /// The larger of x and 0; NaN stays.
        relu Relu;
        /// x * tanh(ln(1 + e^x)), of floats.
        mish Mish;
        /// The logarithm of the sigmoid, of floats.
        log_sigmoid LogSigmoid;
        /// Whether it is NaN, as bool.
        isnan Isnan;
        /// Whether it is infinity or -infinity, as bool.
        isinf Isinf;
        /// Whether it is neither infinite nor NaN, as bool.
        isfinite Isfinite;
    }

    binary! {
        /// The larger of both; NaN wins.
        maximum Maximum;
        /// The smaller of both; NaN wins.
        minimum Minimum;
        /// This to the power of the other.
        pow Pow;
        /// What a division that rounds down leaves over, with the sign of the divisor: Python's `%`.
        remainder Remainder;
        /// What a division that rounds towards zero leaves over, with the sign of this: the `%` of Rust.
        fmod Fmod;
        /// The quotient rounded down: Python's `//`.
        floor_div FloorDiv;
        /// The angle of the point (other, this), from -pi to pi.
        atan2 Atan2;
        /// ln(e^x + e^y), of floats.
        logaddexp Logaddexp;
        /// Whether both are equal, as bool.
        eq Eq;
        /// Whether they differ, as bool.
        ne Ne;
        /// Whether this is less, as bool.
        lt Lt;
        /// Whether this is less or equal, as bool.
        le Le;
        /// Whether this is greater, as bool.
        gt Gt;
        /// Whether this is greater or equal, as bool.
        ge Ge;
    }

    /// `yes` where this (bool) holds, elsewhere `no`: `torch.where(self, yes, no)`.
    #[track_caller]
    pub fn select(&self, yes: impl Into<Operand>, no: impl Into<Operand>) -> Value {
        self.session.compute(Op::Select {}, vec![self.into(), yes.into(), no.into()])
    }

    /// The nearest number between bounds, of which one may be `None`.
    #[track_caller]
    pub fn clamp(&self, min: impl Into<Option<f64>>, max: impl Into<Option<f64>>) -> Value {
        self.unary(Op::Clamp { min: min.into().map(Float::new), max: max.into().map(Float::new) })
    }

    /// x where it is positive, elsewhere `slope` of it; of floats.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Value {
        self.unary(Op::LeakyRelu { slope: Float::new(slope) })
    }

    /// x where it is not negative, elsewhere alpha * (e^x - 1); of floats.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Value {
        self.unary(Op::Elu { alpha: Float::new(alpha) })
    }

    /// ln(1 + e^(beta x)) / beta, of floats; x itself where beta x is above 20.
    #[track_caller]
    pub fn softplus(&self, beta: f64) -> Value {
        self.unary(Op::Softplus { beta: Float::new(beta), threshold: Float::new(20.0) })
    }

    /// The same values as another element type.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Value {
        self.unary(Op::Cast { dtype })
    }
}

/// Along dimensions. `dims` is one dimension, an array of several, or `..` for all; [`keep`](super::keep) leaves them there
/// with size 1.
impl Value {
    reductions! {
        /// The sum; bool and integers become i64.
        sum Sum;
        /// The mean, of floats.
        mean Mean;
        /// The largest element; NaN wins.
        max Max;
        /// The smallest element; NaN wins.
        min Min;
        /// The product; bool and integers become i64.
        prod Prod;
        /// Whether any element is not zero, as bool.
        any Any;
        /// Whether no element is zero, as bool.
        all All;
        /// The logarithm of the sum of e^x.
        logsumexp Logsumexp;
    }

    /// (sum of |x|^p)^(1/p), of floats; the largest |x| for an infinite p.
    #[track_caller]
    pub fn norm(&self, p: f64, dims: impl Dims) -> Value {
        let along = dims.reduction();
        self.unary(Op::Norm { p: Float::new(p), dims: along.dims, keepdim: along.keepdim })
    }

    /// The mean of squared distances from the mean, of floats; `correction` is taken from the number of elements, 1 for
    /// PyTorch's default.
    #[track_caller]
    pub fn var(&self, dims: impl Dims, correction: i64) -> Value {
        let along = dims.reduction();
        self.unary(Op::Var { dims: along.dims, correction, keepdim: along.keepdim })
    }

    /// The square root of [`Value::var`].
    #[track_caller]
    pub fn std(&self, dims: impl Dims, correction: i64) -> Value {
        let along = dims.reduction();
        self.unary(Op::Std { dims: along.dims, correction, keepdim: along.keepdim })
    }

    /// The index of the largest element, i64; `argmax(..)` counts in the flat tensor.
    ///
    /// Several dimensions are an error (E1008).
    #[track_caller]
    pub fn argmax(&self, dim: impl Dims) -> Value {
        let along = dim.reduction();
        match along.dims.as_slice() {
            [] => self.unary(Op::Argmax { dim: None, keepdim: along.keepdim }),
            [dim] => self.unary(Op::Argmax { dim: Some(*dim), keepdim: along.keepdim }),
            _ => self.mistake(Code::E1008, "`argmax` works along one dimension, or on the flat tensor: `argmax(..)`"),
        }
    }

    /// The index of the smallest element, i64; `argmin(..)` counts in the flat tensor.
    ///
    /// Several dimensions are an error (E1008).
    #[track_caller]
    pub fn argmin(&self, dim: impl Dims) -> Value {
        let along = dim.reduction();
        match along.dims.as_slice() {
            [] => self.unary(Op::Argmin { dim: None, keepdim: along.keepdim }),
            [dim] => self.unary(Op::Argmin { dim: Some(*dim), keepdim: along.keepdim }),
            _ => self.mistake(Code::E1008, "`argmin` works along one dimension, or on the flat tensor: `argmin(..)`"),
        }
    }

    /// The elements in order, the smallest first, and their indices (i64). Equal elements keep their order.
    #[track_caller]
    pub fn sort(&self, dim: i64) -> (Value, Value) {
        let both = self.unary(Op::Sort { dim, descending: false });
        (both.get(0), both.get(1))
    }

    /// The elements in order, the largest first, and their indices (i64). Equal elements keep their order.
    #[track_caller]
    pub fn sort_descending(&self, dim: i64) -> (Value, Value) {
        let both = self.unary(Op::Sort { dim, descending: true });
        (both.get(0), both.get(1))
    }

    /// The sum of each element and those before it.
    #[track_caller]
    pub fn cumsum(&self, dim: i64) -> Value {
        self.unary(Op::Cumsum { dim })
    }

    /// The product of each element and those before it.
    #[track_caller]
    pub fn cumprod(&self, dim: i64) -> Value {
        self.unary(Op::Cumprod { dim })
    }

    /// The `k` largest elements in order, and their indices (i64).
    #[track_caller]
    pub fn topk(&self, k: i64, dim: i64) -> (Value, Value) {
        let both = self.unary(Op::TopK { k, dim, largest: true });
        (both.get(0), both.get(1))
    }

    /// The `k` smallest elements in order, and their indices (i64).
    #[track_caller]
    pub fn bottomk(&self, k: i64, dim: i64) -> (Value, Value) {
        let both = self.unary(Op::TopK { k, dim, largest: false });
        (both.get(0), both.get(1))
    }

    /// e^x over its sum along a dimension, of floats.
    #[track_caller]
    pub fn softmax(&self, dim: i64) -> Value {
        self.unary(Op::Softmax { dim })
    }

    /// The logarithm of the softmax along a dimension, of floats.
    #[track_caller]
    pub fn log_softmax(&self, dim: i64) -> Value {
        self.unary(Op::LogSoftmax { dim })
    }

    /// Elements picked along a dimension by indices with as many dimensions: `torch.gather`.
    #[track_caller]
    pub fn gather(&self, dim: i64, indices: impl Into<Operand>) -> Value {
        self.binary(Op::Gather { dim }, indices)
    }
}

/// Losses and similarities, of floats.
impl Value {
    /// The cosine of the angle between vectors along a dimension of both, which disappears. Vectors are taken to be at least
    /// 1e-8 long.
    #[track_caller]
    pub fn cosine_similarity(&self, other: impl Into<Operand>, dim: i64) -> Value {
        self.binary(Op::CosineSimilarity { dim, eps: Float::new(1e-8) }, other)
    }

    /// -ln of the softmax at the right class: logits \[N, C, …\] or \[C\], classes i64 of that shape without C, of which -100
    /// does not count.
    #[track_caller]
    pub fn cross_entropy(&self, classes: impl Into<Operand>, reduction: Reduction) -> Value {
        self.binary(Op::CrossEntropy { reduction, ignore_index: -100, label_smoothing: Float::new(0.0) }, classes)
    }

    /// target * (ln(target) - input), where the input holds logarithms.
    #[track_caller]
    pub fn kl_div(&self, target: impl Into<Operand>, reduction: Reduction) -> Value {
        self.binary(Op::KlDiv { reduction, log_target: false }, target)
    }
}

/// Linear algebra and the parts of transformers.
impl Value {
    /// The matrix product of `torch.matmul`; leading dimensions are broadcast.
    #[track_caller]
    pub fn matmul(&self, other: impl Into<Operand>) -> Value {
        self.binary(Op::Matmul {}, other)
    }

    /// Rows of this matrix, picked by ids.
    #[track_caller]
    pub fn embedding(&self, ids: impl Into<Operand>) -> Value {
        self.binary(Op::Embedding {}, ids)
    }

    /// x / sqrt(mean(x^2) + eps) * weight along the last dimension.
    #[track_caller]
    pub fn rms_norm(&self, weight: impl Into<Operand>, eps: f64) -> Value {
        self.binary(Op::RmsNorm { eps: Float::new(eps) }, weight)
    }

    /// (x - mean) / sqrt(variance + eps) along the last dimension; a weight and a bias are `* weight + bias` after it.
    #[track_caller]
    pub fn layer_norm(&self, eps: f64) -> Value {
        self.unary(Op::LayerNorm { eps: Float::new(eps) })
    }

    /// x times the normal distribution function of x; `approximate` is `none` or `tanh`.
    #[track_caller]
    pub fn gelu(&self, approximate: &str) -> Value {
        self.unary(Op::Gelu { approximate: approximate.into() })
    }

    /// Rotary position embedding of \[batch, tokens, heads, size\] by positions i64 \[batch, tokens\] and inverse
    /// frequencies f32 \[pairs\]; cosines and sines are multiplied by `scale`.
    #[track_caller]
    pub fn rotary(&self, positions: impl Into<Operand>, inverse_frequencies: impl Into<Operand>, scale: f64) -> Value {
        let operands = vec![self.into(), positions.into(), inverse_frequencies.into()];
        self.session.compute(Op::Rotary { scale: Float::new(scale) }, operands)
    }

    /// Scores \[.., queries, keys\] with -infinity where the key lies after the query, or `window` or more before it.
    #[track_caller]
    pub fn causal_mask(&self, window: impl Into<Option<i64>>) -> Value {
        self.unary(Op::CausalMask { window: window.into() })
    }

    /// One value of a tuple.
    #[track_caller]
    pub fn get(&self, index: i64) -> Value {
        self.unary(Op::Get { index })
    }

    #[track_caller]
    pub(super) fn unary(&self, op: Op) -> Value {
        self.session.compute(op, vec![self.into()])
    }

    #[track_caller]
    pub(super) fn binary(&self, op: Op, other: impl Into<Operand>) -> Value {
        self.session.compute(op, vec![self.into(), other.into()])
    }

    #[track_caller]
    pub(super) fn mistake(&self, code: Code, message: &str) -> Value {
        let span = here();
        if !self.at.is_poisoned() {
            self.session.record().error(Diagnostic::error(code, message).label(span.clone(), ""));
        }
        Value { session: self.session.clone(), at: Ref::poisoned(span) }
    }
}
