//! The operations: THE table. One row makes an operation known to the printer, the parser, the e-graph and the docs;
//! the compiler then asks for its type ([`crate::infer`]), its meaning ([`crate::eval`]) and its ONNX form.
//!
//! All operations are pure and have one result. Effects are entries of a graph's effect list.

#[macro_use]
mod reflection;

use Arity::{AtLeast, Between, Exactly};

use crate::{
    attr::{Attr, AttrValue, Float, Literal, Reduction},
    graph::Body,
    types::{DType, Dim, Name, Type},
};

pub use reflection::{Arity, AttrDecl, AttrError, Scope};

ops! {
    /// A constant tensor or text.
    Const = "const" (Exactly(0), Anywhere) {
        /// The value.
        value: Literal,
    }

    // Forward passes as values.

    /// The forward pass of a model on token ids, i64 [batch, tokens].
    Forward = "forward" (Exactly(1), Program) {
        /// The program's name for the model.
        model: Name,
    }
    /// The value at a hook in a forward pass.
    Read = "read" (Exactly(1), Program) {
        /// The hook, by its Hugging Face path.
        hook: Name,
    }
    /// The forward pass in which a hook was set to a value: `write(f, v)`.
    Write = "write" (Exactly(2), Program) {
        /// The hook, by its Hugging Face path.
        hook: Name,
    }
    /// A module of a model on a given value: `lm_head(norm(h))` is the logit lens.
    ///
    /// Modules that work position by position take any leading dimensions; others take [batch, tokens, …].
    Apply = "apply" (Exactly(1), Program) {
        /// The program's name for the model.
        model: Name,
        /// The module, by its Hugging Face path.
        module: Name,
    }

    /// The forward pass that goes on with more tokens, i64 [batch, tokens]: `extend(f, tokens)`.
    ///
    /// Its hooks show the new positions, which see the keys and values of the earlier ones, writes of `f` included. Writes of
    /// `f` do not apply to the new positions.
    Extend = "extend" (Exactly(2), Program) {}

    // Loops and functions of the user's.

    /// A body without effects that runs again and again: the tuple of its results after the last iteration.
    ///
    /// The first operands are what the body's results begin with, the others are the same in every iteration.
    Loop = "loop" (AtLeast(0), Program) {
        /// How often the body runs at most.
        trip: i64,
        /// What runs.
        body: Body,
    }
    /// A function of the user's that has no effects, on values: it may be called once for two equal uses, or not at all.
    Call = "call" (AtLeast(0), Program) {
        /// The name under which the user registered it.
        name: Name,
        /// The type of what it returns.
        returns: Box<Type> = Box::new(Type::Opaque),
    }
    /// A parameter of the body of a loop.
    Param = "param" (Exactly(0), Body) {
        /// Which one: 0 is the number of the iteration, then come the operands of the loop.
        index: i64,
        /// Its type, where that is more general than the type of the operand: symbols stand for sizes that change.
        ty: Option<Box<Type>> = None,
    }
    /// The result of an entry of the effect list.
    EffectResult = "effect_result" (Exactly(0), Program) {
        /// Which entry, from 0.
        entry: i64,
    }

    // The inside of models.

    /// An input of the model: `tokens` and `positions`, both i64 [B, T].
    Input = "input" (Exactly(0), Model) {
        /// The name of the input.
        name: Name,
        /// The element type.
        dtype: DType,
        /// The shape, over the symbols B and T.
        shape: Vec<Dim>,
    }
    /// A weight of the model. Names end in `.T` where the matrix is stored as [in, out].
    Weight = "weight" (Exactly(0), Model) {
        /// The name of the weight.
        name: Name,
        /// The element type.
        dtype: DType,
        /// The shape.
        shape: Vec<Dim>,
    }
    /// A point where a value can be read or set. Without a write it is the identity.
    Hook = "hook" (Exactly(1), Model) {
        /// The Hugging Face path.
        name: Name,
    }

    // Parts and shapes.

    /// Part of a dimension, as `x[start:end:step]` in Python: negative bounds count from the end, bounds beyond it are
    /// moved to it.
    Slice = "slice" (Exactly(1), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
        /// The first index; none is the beginning.
        start: Option<i64> = None,
        /// One past the last index; none is the end.
        end: Option<i64> = None,
        /// The distance of indices, at least 1.
        step: i64 = 1,
    }
    /// One index of a dimension, which disappears: `x[:, 3]`.
    Index = "index" (Exactly(1), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
        /// The index; negative counts from the end.
        index: i64,
    }
    /// The first operand with a slice of a dimension replaced by the second, which is broadcast and cast to it:
    /// `x[start:end:step] = v`.
    Update = "update" (Exactly(2), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
        /// The first index; none is the beginning.
        start: Option<i64> = None,
        /// One past the last index; none is the end.
        end: Option<i64> = None,
        /// The distance of indices, at least 1.
        step: i64 = 1,
    }
    /// Elements picked along a dimension by an index tensor of the same rank: `torch.gather`.
    Gather = "gather" (Exactly(2), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// Rows of a matrix picked by ids: `embedding(weight, ids)`.
    Embedding = "embedding" (Exactly(2), Anywhere) {}
    /// Entries of a dimension picked by a vector of ids: `torch.index_select`. A single id leaves a dimension of size 1.
    IndexSelect = "index_select" (Exactly(2), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// Entries picked by tensors of ids, one for each of some dimensions: `x[i, :, j]` is `index_by(x, i, j) {dims: [0, 2]}`.
    ///
    /// The ids are broadcast together; negative ones count from the end. Their dimensions stand where the indexed ones stood
    /// if those are neighbours, and first otherwise, as in PyTorch.
    IndexBy = "index_by" (AtLeast(2), Anywhere) {
        /// The dimensions that the ids pick from, in the order of the ids; none given means the first ones.
        dims: Vec<i64> = Vec::new(),
    }
    /// The first operand with entries replaced by the second, which is broadcast and cast to them: `x[i, :, j] = v` is
    /// `index_put(x, v, i, j) {dims: [0, 2]}`. Ids are those of `index_by`.
    ///
    /// Of several values for one entry the last counts, in the row-major order of what `index_by` gives.
    IndexPut = "index_put" (AtLeast(3), Anywhere) {
        /// The dimensions that the ids pick from, in the order of the ids; none given means the first ones.
        dims: Vec<i64> = Vec::new(),
        /// Whether the values are added to the entries, one after the other, instead of replacing them; each sum is rounded.
        accumulate: bool = false,
    }
    /// The first operand with `x[ids[i][j]][j] = src[i][j]` (for dimension 0): `scatter(x, ids, src)`, the reverse of `gather`.
    /// A source without dimensions is every element. Of several values for one element the last counts.
    Scatter = "scatter" (Exactly(3), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// `scatter` that adds the values to the elements, one after the other: `torch.scatter_add`. Sums of f16 and bf16 are rounded
    /// once.
    ScatterAdd = "scatter_add" (Exactly(3), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// Where elements are not zero, in row-major order: i64 [size, dimensions].
    ///
    /// The size is stated, as types must not depend on values. More elements than that are an error when the program runs; so
    /// are fewer, unless it is said what to fill the rest with.
    NonZero = "nonzero" (Exactly(1), Anywhere) {
        /// The number of rows of the result.
        size: i64,
        /// What the rows beyond the last found hold; none means that all are found.
        fill: Option<i64> = None,
    }
    /// The elements where a mask (bool) holds, in row-major order, as a vector of a stated size: `masked_select(x, mask)`. Both
    /// are broadcast together. More or fewer elements are what they are to `nonzero`.
    MaskedSelect = "masked_select" (Exactly(2), Anywhere) {
        /// The number of elements of the result.
        size: i64,
        /// What the elements beyond the last found are; none means that all are found.
        fill: Option<Float> = None,
    }
    /// The same elements under another shape. One size may be -1: what is left.
    Reshape = "reshape" (Exactly(1), Anywhere) {
        /// The new shape.
        shape: Vec<Dim>,
    }
    /// Two dimensions swapped.
    Transpose = "transpose" (Exactly(1), Anywhere) {
        /// One dimension; negative counts from the last.
        dim0: i64,
        /// The other.
        dim1: i64,
    }
    /// A new dimension of size 1.
    Unsqueeze = "unsqueeze" (Exactly(1), Anywhere) {
        /// Its place in the result; negative counts from the last.
        dim: i64,
    }
    /// Without dimensions of size 1.
    Squeeze = "squeeze" (Exactly(1), Anywhere) {
        /// The dimension, which stays if it has another size; none is all of size 1.
        dim: Option<i64> = None,
    }
    /// Dimensions of size 1, and new first ones, repeated to a shape.
    Expand = "expand" (Exactly(1), Anywhere) {
        /// The new shape; -1 keeps a size.
        shape: Vec<Dim>,
    }
    /// The dimensions in another order.
    Permute = "permute" (Exactly(1), Anywhere) {
        /// The old dimension at each place; negative counts from the last.
        dims: Vec<i64>,
    }
    /// Neighbouring dimensions as one. A tensor without dimensions gets one.
    Flatten = "flatten" (Exactly(1), Anywhere) {
        /// The first of them; negative counts from the last.
        start: i64 = 0,
        /// The last of them; negative counts from the last.
        end: i64 = -1,
    }
    /// The pieces of a dimension, as a tuple: all of one size but the last, or of given sizes.
    Split = "split" (Exactly(1), Anywhere) {
        /// The size of a piece; the last may be smaller. None where `sizes` are given.
        size: Option<i64> = None,
        /// The sizes of the pieces, whose sum is that of the dimension; none where `size` is given.
        sizes: Vec<i64> = Vec::new(),
        /// The dimension; negative counts from the last.
        dim: i64 = 0,
    }
    /// A dimension in about equal pieces, as a tuple: `torch.chunk`. Pieces are size / chunks, rounded up; so the last may be
    /// smaller, and there may be fewer pieces.
    Chunk = "chunk" (Exactly(1), Anywhere) {
        /// How many pieces, at most.
        chunks: i64,
        /// The dimension; negative counts from the last.
        dim: i64 = 0,
    }
    /// The reverse order along dimensions.
    Flip = "flip" (Exactly(1), Anywhere) {
        /// The dimensions; negative ones count from the last.
        dims: Vec<i64>,
    }
    /// Elements moved along dimensions; those that leave at the end come in at the beginning.
    Roll = "roll" (Exactly(1), Anywhere) {
        /// How far, for each dimension; negative moves to the beginning.
        shifts: Vec<i64>,
        /// The dimensions; none given means that the flat tensor rolls by the only shift.
        dims: Vec<i64> = Vec::new(),
    }
    /// The whole tensor several times along each dimension: `x.repeat(2, 3)`, NumPy's `tile`.
    Repeat = "repeat" (Exactly(1), Anywhere) {
        /// How often; those before the dimensions that there are make new ones.
        repeats: Vec<i64>,
    }
    /// Each entry of a dimension several times, one after the other.
    RepeatInterleave = "repeat_interleave" (Exactly(1), Anywhere) {
        /// How often.
        repeats: i64,
        /// The dimension; none is the flat tensor.
        dim: Option<i64> = None,
    }
    /// Matrices with zeros above a diagonal.
    Tril = "tril" (Exactly(1), Anywhere) {
        /// The last diagonal that stays: 0 is the main one, 1 the one above.
        diagonal: i64 = 0,
    }
    /// Matrices with zeros below a diagonal.
    Triu = "triu" (Exactly(1), Anywhere) {
        /// The first diagonal that stays: 0 is the main one, 1 the one above.
        diagonal: i64 = 0,
    }
    /// A diagonal of two dimensions, which becomes the last dimension.
    Diagonal = "diagonal" (Exactly(1), Anywhere) {
        /// Which one: 0 is the main one, 1 the one above.
        offset: i64 = 0,
        /// The dimension of the rows; negative counts from the last.
        dim0: i64 = 0,
        /// The dimension of the columns.
        dim1: i64 = 1,
    }
    /// Tensors one after the other along a dimension.
    Cat = "cat" (AtLeast(1), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// Tensors of one shape along a new dimension.
    Stack = "stack" (AtLeast(1), Anywhere) {
        /// The new dimension's place in the result; negative counts from the last.
        dim: i64,
    }
    /// The same values as another element type. Floats to integers truncate towards zero.
    Cast = "cast" (Exactly(1), Anywhere) {
        /// The element type.
        dtype: DType,
    }

    // Tensors from nothing.

    /// One value everywhere; zeros and ones are such.
    Full = "full" (Exactly(0), Anywhere) {
        /// The shape, of numbers.
        shape: Vec<Dim>,
        /// The value, a single number.
        value: Literal,
        /// The element type; none is that of the value.
        dtype: Option<DType> = None,
    }
    /// start, start + step, … before end.
    Arange = "arange" (Exactly(0), Anywhere) {
        /// The first number.
        start: Float = Float::new(0.0),
        /// What is not reached.
        end: Float,
        /// The distance of numbers, not 0.
        step: Float = Float::new(1.0),
        /// The element type; integers need whole numbers.
        dtype: DType = DType::I64,
    }
    /// Evenly spaced numbers, both ends among them.
    Linspace = "linspace" (Exactly(0), Anywhere) {
        /// The first number.
        start: Float,
        /// The last number.
        end: Float,
        /// How many numbers.
        steps: i64,
        /// The element type, of floats.
        dtype: DType = DType::F32,
    }
    /// A matrix with ones on its diagonal and zeros elsewhere.
    Eye = "eye" (Exactly(0), Anywhere) {
        /// The number of rows.
        rows: i64,
        /// The number of columns; none is as many.
        columns: Option<i64> = None,
        /// The element type.
        dtype: DType = DType::F32,
    }
    /// 1 at each id along a new last dimension and 0 elsewhere, i64.
    OneHot = "one_hot" (Exactly(1), Anywhere) {
        /// The size of the new dimension.
        classes: i64,
    }
    /// Random numbers of a range, which holds `low` and, but for rounding, not `high`: a function of the seed, the stream and
    /// the place of the element.
    ///
    /// The generator is Philox4x32-10 (Salmon et al. 2011). An optional operand, an i64 without dimensions, is the stream: each
    /// has numbers of its own, so that a loop can draw new ones. Draws of one seed and stream begin with the same bits.
    RandomUniform = "random_uniform" (Between(0, 1), Anywhere) {
        /// The shape, of numbers.
        shape: Vec<Dim>,
        /// The seed.
        seed: i64,
        /// The lowest number.
        low: Float = Float::new(0.0),
        /// The end of the range.
        high: Float = Float::new(1.0),
        /// The element type, of floats.
        dtype: DType = DType::F32,
    }
    /// Random numbers of a normal distribution, by the method of Box and Muller from the generator of `random_uniform`, with
    /// the same optional stream.
    RandomNormal = "random_normal" (Between(0, 1), Anywhere) {
        /// The shape, of numbers.
        shape: Vec<Dim>,
        /// The seed.
        seed: i64,
        /// The mean.
        mean: Float = Float::new(0.0),
        /// The standard deviation.
        std: Float = Float::new(1.0),
        /// The element type, of floats.
        dtype: DType = DType::F32,
    }
    /// Random whole numbers from `low` to `high` - 1, from the generator of `random_uniform`, with the same optional stream.
    RandomInt = "random_int" (Between(0, 1), Anywhere) {
        /// The shape, of numbers.
        shape: Vec<Dim>,
        /// The seed.
        seed: i64,
        /// The lowest number.
        low: i64 = 0,
        /// One more than the highest number.
        high: i64,
        /// The element type, of integers.
        dtype: DType = DType::I64,
    }

    /// An index of the last dimension for each row of logits, i64, drawn by their probabilities: `sample(logits)`, or with the
    /// stream of `random_uniform`, `sample(logits, stream)`.
    ///
    /// The filters are Hugging Face's, in their order; which index a row's logits, its number, seed and stream lead to is said
    /// in `ir/src/eval/sample.rs`.
    Sample = "sample" (Between(1, 2), Anywhere) {
        /// The seed.
        seed: i64,
        /// What logits are divided by, above 0.
        temperature: Float = Float::new(1.0),
        /// How many of the largest logits stay, and those equal to the last of them; none is all.
        top_k: Option<i64> = None,
        /// The most probable stay that have this probability together; 1 is all.
        top_p: Float = Float::new(1.0),
        /// Those stay that have at least this share of the largest probability.
        min_p: Float = Float::new(0.0),
    }

    // Arithmetic, with PyTorch's broadcasting and promotion.

    /// Sum.
    Add = "add" (Exactly(2), Anywhere) {}
    /// Difference.
    Sub = "sub" (Exactly(2), Anywhere) {}
    /// Product.
    Mul = "mul" (Exactly(2), Anywhere) {}
    /// True division: integers become f32.
    Div = "div" (Exactly(2), Anywhere) {}
    /// The largest whole number that is not above the quotient: Python's `//`. Integers cannot be divided by 0.
    FloorDiv = "floor_div" (Exactly(2), Anywhere) {}
    /// What `floor_div` leaves over, with the sign of the divisor: Python's `%`. Integers cannot be divided by 0.
    Remainder = "remainder" (Exactly(2), Anywhere) {}
    /// What a division that rounds towards zero leaves over, with the sign of the dividend: `torch.fmod`. Integers cannot be
    /// divided by 0.
    Fmod = "fmod" (Exactly(2), Anywhere) {}
    /// The first to the power of the second. Integers to a negative power are 0, but for powers of 1 and -1.
    Pow = "pow" (Exactly(2), Anywhere) {}
    /// The larger of both; NaN wins.
    Maximum = "maximum" (Exactly(2), Anywhere) {}
    /// The smaller of both; NaN wins.
    Minimum = "minimum" (Exactly(2), Anywhere) {}
    /// The angle of the point (second, first), from -pi to pi: `torch.atan2(y, x)`; integers become f32.
    Atan2 = "atan2" (Exactly(2), Anywhere) {}
    /// ln(e^x + e^y), of floats, without overflow.
    Logaddexp = "logaddexp" (Exactly(2), Anywhere) {}
    /// The negative.
    Neg = "neg" (Exactly(1), Anywhere) {}
    /// The absolute value.
    Abs = "abs" (Exactly(1), Anywhere) {}
    /// -1, 0 or 1: the sign. That of NaN is 0.
    Sign = "sign" (Exactly(1), Anywhere) {}
    /// x * x; bool becomes i64.
    Square = "square" (Exactly(1), Anywhere) {}
    /// The largest whole number that is not above it.
    Floor = "floor" (Exactly(1), Anywhere) {}
    /// The smallest whole number that is not below it.
    Ceil = "ceil" (Exactly(1), Anywhere) {}
    /// The nearest whole number; of two, the even one.
    Round = "round" (Exactly(1), Anywhere) {}
    /// The whole number next to it towards zero.
    Trunc = "trunc" (Exactly(1), Anywhere) {}
    /// What `trunc` leaves over, with the sign of x; of floats.
    Frac = "frac" (Exactly(1), Anywhere) {}
    /// The nearest number between two bounds, of which one may be missing; NaN stays, and where they are crossed `max` holds.
    ///
    /// Integers with bounds that are whole numbers stay integers (bool becomes i64), others become f32.
    Clamp = "clamp" (Exactly(1), Anywhere) {
        /// The lower bound.
        min: Option<Float> = None,
        /// The upper bound.
        max: Option<Float> = None,
    }
    /// 1 / x; integers become f32.
    Reciprocal = "reciprocal" (Exactly(1), Anywhere) {}
    /// 1 / sqrt(x); integers become f32.
    Rsqrt = "rsqrt" (Exactly(1), Anywhere) {}
    /// e to the power of x; integers become f32.
    Exp = "exp" (Exactly(1), Anywhere) {}
    /// 2 to the power of x; integers become f32.
    Exp2 = "exp2" (Exactly(1), Anywhere) {}
    /// e^x - 1, precise near 0; integers become f32.
    Expm1 = "expm1" (Exactly(1), Anywhere) {}
    /// The natural logarithm; integers become f32.
    Log = "log" (Exactly(1), Anywhere) {}
    /// ln(1 + x), precise near 0; integers become f32.
    Log1p = "log1p" (Exactly(1), Anywhere) {}
    /// The logarithm to base 2; integers become f32.
    Log2 = "log2" (Exactly(1), Anywhere) {}
    /// The logarithm to base 10; integers become f32.
    Log10 = "log10" (Exactly(1), Anywhere) {}
    /// The square root; integers become f32.
    Sqrt = "sqrt" (Exactly(1), Anywhere) {}
    /// The sine; integers become f32.
    Sin = "sin" (Exactly(1), Anywhere) {}
    /// The cosine; integers become f32.
    Cos = "cos" (Exactly(1), Anywhere) {}
    /// The tangent; integers become f32.
    Tan = "tan" (Exactly(1), Anywhere) {}
    /// The inverse of the sine, from -pi/2 to pi/2; integers become f32.
    Asin = "asin" (Exactly(1), Anywhere) {}
    /// The inverse of the cosine, from 0 to pi; integers become f32.
    Acos = "acos" (Exactly(1), Anywhere) {}
    /// The inverse of the tangent, from -pi/2 to pi/2; integers become f32.
    Atan = "atan" (Exactly(1), Anywhere) {}
    /// The hyperbolic sine; integers become f32.
    Sinh = "sinh" (Exactly(1), Anywhere) {}
    /// The hyperbolic cosine; integers become f32.
    Cosh = "cosh" (Exactly(1), Anywhere) {}
    /// The error function: 2 / sqrt(pi) times the integral of e^-t^2 from 0 to x; integers become f32.
    Erf = "erf" (Exactly(1), Anywhere) {}
    /// 1 / (1 + e^-x); integers become f32.
    Sigmoid = "sigmoid" (Exactly(1), Anywhere) {}
    /// The hyperbolic tangent; integers become f32.
    Tanh = "tanh" (Exactly(1), Anywhere) {}
    /// x * sigmoid(x), of floats.
    Silu = "silu" (Exactly(1), Anywhere) {}
    /// x times the normal distribution function of x, of floats.
    Gelu = "gelu" (Exactly(1), Anywhere) {
        /// `none`: x * 0.5 * (1 + erf(x / sqrt(2))); `tanh`: x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
        approximate: Name = Name::from("none"),
    }
    /// The larger of x and 0; NaN stays.
    Relu = "relu" (Exactly(1), Anywhere) {}
    /// x where it is positive, elsewhere `slope` of it; of floats.
    LeakyRelu = "leaky_relu" (Exactly(1), Anywhere) {
        /// What numbers that are not positive are multiplied by.
        slope: Float = Float::new(0.01),
    }
    /// x where it is not negative, elsewhere alpha * (e^x - 1); of floats.
    Elu = "elu" (Exactly(1), Anywhere) {
        /// What very negative numbers go to, without its sign.
        alpha: Float = Float::new(1.0),
    }
    /// ln(1 + e^(beta x)) / beta, of floats; x itself where beta x is above the threshold.
    Softplus = "softplus" (Exactly(1), Anywhere) {
        /// How sharp the bend is.
        beta: Float = Float::new(1.0),
        /// Where it is straight.
        threshold: Float = Float::new(20.0),
    }
    /// x * tanh(ln(1 + e^x)), of floats.
    Mish = "mish" (Exactly(1), Anywhere) {}
    /// The logarithm of the sigmoid, of floats.
    LogSigmoid = "log_sigmoid" (Exactly(1), Anywhere) {}

    // Comparisons and logic; the result is bool.

    /// Equal.
    Eq = "eq" (Exactly(2), Anywhere) {}
    /// Not equal.
    Ne = "ne" (Exactly(2), Anywhere) {}
    /// Less.
    Lt = "lt" (Exactly(2), Anywhere) {}
    /// Less or equal.
    Le = "le" (Exactly(2), Anywhere) {}
    /// Greater.
    Gt = "gt" (Exactly(2), Anywhere) {}
    /// Greater or equal.
    Ge = "ge" (Exactly(2), Anywhere) {}
    /// Both are not zero.
    And = "and" (Exactly(2), Anywhere) {}
    /// One or both are not zero.
    Or = "or" (Exactly(2), Anywhere) {}
    /// One is not zero, and the other is.
    Xor = "xor" (Exactly(2), Anywhere) {}
    /// It is zero.
    Not = "not" (Exactly(1), Anywhere) {}
    /// It is no number: NaN.
    Isnan = "isnan" (Exactly(1), Anywhere) {}
    /// It is infinity or -infinity.
    Isinf = "isinf" (Exactly(1), Anywhere) {}
    /// It is neither infinite nor NaN.
    Isfinite = "isfinite" (Exactly(1), Anywhere) {}
    /// The second where the first (bool) holds, elsewhere the third: `torch.where`.
    Select = "select" (Exactly(3), Anywhere) {}

    // Along dimensions.

    /// e^x over its sum along a dimension, of floats.
    Softmax = "softmax" (Exactly(1), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// The logarithm of the softmax along a dimension, of floats.
    LogSoftmax = "log_softmax" (Exactly(1), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// The index of the largest element (the first of equals; the first NaN), i64.
    Argmax = "argmax" (Exactly(1), Anywhere) {
        /// The dimension; none is the flat tensor.
        dim: Option<i64> = None,
        /// Whether the dimension stays, with size 1.
        keepdim: bool = false,
    }
    /// The index of the smallest element (the first of equals; the first NaN), i64.
    Argmin = "argmin" (Exactly(1), Anywhere) {
        /// The dimension; none is the flat tensor.
        dim: Option<i64> = None,
        /// Whether the dimension stays, with size 1.
        keepdim: bool = false,
    }
    /// The elements in order and their indices: (values, indices i64). Equal elements keep their order; NaN counts as the
    /// largest.
    Sort = "sort" (Exactly(1), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64 = -1,
        /// The largest first, or else the smallest.
        descending: bool = false,
    }
    /// The sum of each element and those before it; bool and integers become i64.
    Cumsum = "cumsum" (Exactly(1), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// The product of each element and those before it; bool and integers become i64.
    Cumprod = "cumprod" (Exactly(1), Anywhere) {
        /// The dimension; negative counts from the last.
        dim: i64,
    }
    /// The k largest (or smallest) elements in order and their indices: (values, indices i64). Of equal elements the
    /// one with the lower index comes first; NaN counts as the largest.
    TopK = "topk" (Exactly(1), Anywhere) {
        /// How many.
        k: i64,
        /// The dimension; negative counts from the last.
        dim: i64 = -1,
        /// The largest, or else the smallest.
        largest: bool = true,
    }
    /// The sum; bool and integers become i64.
    Sum = "sum" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// The mean, of floats.
    Mean = "mean" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// The largest element; NaN wins.
    Max = "max" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// The smallest element; NaN wins.
    Min = "min" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// The product; bool and integers become i64.
    Prod = "prod" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// Whether any element is not zero, as bool; of u8, as u8.
    Any = "any" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// Whether no element is zero, as bool; of u8, as u8.
    All = "all" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// The logarithm of the sum of e^x, without overflow; integers become f32.
    Logsumexp = "logsumexp" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// (sum of |x|^p)^(1/p), of floats: `torch.linalg.vector_norm`. With p = inf the largest |x|, with -inf the smallest,
    /// with 0 how many are not zero.
    Norm = "norm" (Exactly(1), Anywhere) {
        /// The power.
        p: Float = Float::new(2.0),
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// The mean of squared distances from the mean, of floats.
    Var = "var" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// What the divisor is less than the number of elements: 1 for the estimate from a sample, 0 for the mean itself.
        correction: i64 = 1,
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }
    /// The square root of `var`, of floats.
    Std = "std" (Exactly(1), Anywhere) {
        /// The dimensions; none given means all.
        dims: Vec<i64> = Vec::new(),
        /// As in `var`.
        correction: i64 = 1,
        /// Whether the dimensions stay, with size 1.
        keepdim: bool = false,
    }

    // Linear algebra and the parts of transformers.

    /// The matrix product of `torch.matmul`: operands without or with leading dimensions, which are broadcast.
    Matmul = "matmul" (Exactly(2), Anywhere) {}
    /// Sums of products over named dimensions: `torch.einsum`, as in `einsum(q, k) {equation: "bqhd,bkhd->bhqk"}`.
    ///
    /// A letter names a dimension, twice in one operand its diagonal; `...` stands for any others, which are broadcast. Without
    /// `->` the result has the letters that occur once, in the order of ASCII. Operands are combined from the left, two at a
    /// time; each result of two has one sum, in the order in which its letters first occur.
    Einsum = "einsum" (AtLeast(1), Anywhere) {
        /// What is summed.
        equation: Name,
    }
    /// x / sqrt(mean(x^2) + eps) * weight along the last dimension: `rms_norm(x, weight)`.
    RmsNorm = "rms_norm" (Exactly(2), Anywhere) {
        /// Added to the mean of squares.
        eps: Float,
    }
    /// (x - mean) / sqrt(variance + eps) along the last dimension, then times a weight, then plus a bias, where they are
    /// given: `layer_norm(x, weight, bias)`.
    LayerNorm = "layer_norm" (Between(1, 3), Anywhere) {
        /// Added to the variance, which is the mean of squares of x - mean.
        eps: Float,
    }
    /// Rotary position embedding, Hugging Face's `rotate_half` form: `rotary(x, positions, inverse_frequencies)` with x
    /// [B, T, heads, size], positions i64 [B, T] and an f32 inverse frequency for each pair of elements that turns.
    ///
    /// Of P pairs, pair i (elements i and i + P of each head) turns by the position times inverse frequency i, in f32; the
    /// elements after all pairs stay as they are. Usual inverse frequencies are 1 / base^(i / P); scaling them is data.
    Rotary = "rotary" (Exactly(3), Anywhere) {
        /// What cosines and sines are multiplied by.
        scale: Float = Float::new(1.0),
    }
    /// Scores [.., queries, keys] with -infinity where the key lies after the query. The last query sees the last key.
    CausalMask = "causal_mask" (Exactly(1), Anywhere) {
        /// How many keys a query sees at most, itself included; none is all.
        window: Option<i64> = None,
    }

    // Losses and similarities, of floats.

    /// The cosine of the angle between vectors along a dimension of both, after broadcasting.
    CosineSimilarity = "cosine_similarity" (Exactly(2), Anywhere) {
        /// The dimension of the vectors, which disappears; negative counts from the last.
        dim: i64 = 1,
        /// Vectors are taken to be at least this long.
        eps: Float = Float::new(1e-8),
    }
    /// -ln of the softmax at the right class: `cross_entropy(logits, classes)` with logits [N, C, …], or of C alone, and
    /// classes i64 of that shape without C.
    CrossEntropy = "cross_entropy" (Exactly(2), Anywhere) {
        /// What becomes of the losses; `mean` leaves those out that are ignored.
        reduction: Reduction = Reduction::Mean,
        /// The class whose losses are 0 and do not count.
        ignore_index: i64 = -100,
        /// From 0 to 1: how much of the target lies on all classes alike.
        label_smoothing: Float = Float::new(0.0),
    }
    /// target * (ln(target) - input), where the input holds logarithms: `torch.nn.functional.kl_div(input, target)`.
    KlDiv = "kl_div" (Exactly(2), Anywhere) {
        /// What becomes of the pointwise losses.
        reduction: Reduction = Reduction::Mean,
        /// Whether the target holds logarithms, too.
        log_target: bool = false,
    }

    // Tuples.

    /// Several values as one.
    Tuple = "tuple" (AtLeast(0), Anywhere) {}
    /// One value of a tuple.
    Get = "get" (Exactly(1), Anywhere) {
        /// Which one, from 0.
        index: i64,
    }

    // Lists and texts.

    /// Any number of values of one type.
    List = "list" (AtLeast(0), Anywhere) {
        /// The type of the values; none is that of the first. Symbols in it stand for any size, in each value another.
        of: Option<Box<Type>> = None,
    }
    /// The list with one more value: `append(list, x)`; with a third operand, one bool, only where that holds.
    Append = "append" (Between(2, 3), Anywhere) {}
    /// The values of both lists, one after the other.
    Join = "join" (Exactly(2), Anywhere) {}
    /// One value of a list: `item(list) {index: 0}`, or `item(list, i)` with an i64 without dimensions. Negative counts from the
    /// end.
    Item = "item" (Between(1, 2), Anywhere) {
        /// Which one; none where it is an operand.
        index: Option<i64> = None,
    }
    /// How many values a list has, i64.
    Length = "length" (Exactly(1), Anywhere) {}
    /// A text with values in it: `format(layer, loss) {template: "layer {}: {}"}`.
    ///
    /// Numbers are the shortest decimals that are read as them, tensors lists of such; of more than 64 elements the type and the
    /// first eight are shown.
    Format = "format" (AtLeast(0), Anywhere) {
        /// The text, with `{}` for each operand; `{{` and `}}` are braces.
        template: Name,
    }
}
