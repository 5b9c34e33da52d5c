//! Elements picked and arranged, tensors from nothing, lists and texts.

use irc_ir::{
    attr::{Float, Literal},
    code::Code,
    op::Op,
    tensor::Tensor,
    types::{DType, Dim, Type},
};

use super::{Operand, Session, Value, here};

fn dims(sizes: impl AsRef<[i64]>) -> Vec<Dim> {
    sizes.as_ref().iter().copied().map(Dim::known).collect()
}

/// Other views, which share the tensor.
impl Value {
    /// Without a dimension, if its size is 1; or without all of size 1: `squeeze(None)`.
    #[track_caller]
    pub fn squeeze(&self, dim: impl Into<Option<i64>>) -> Value {
        self.unary(Op::Squeeze { dim: dim.into() })
    }

    /// Dimensions of size 1, and new first ones, repeated to a shape; -1 keeps a size. As in PyTorch, it cannot be set.
    #[track_caller]
    pub fn expand(&self, shape: impl AsRef<[i64]>) -> Value {
        self.unary(Op::Expand { shape: dims(shape) })
    }

    /// The dimensions in another order.
    #[track_caller]
    pub fn permute(&self, order: impl AsRef<[i64]>) -> Value {
        self.unary(Op::Permute { dims: order.as_ref().to_vec() })
    }

    /// The dimensions from `start` to `end`, both included, as one: `flatten(0, -1)` is a vector.
    #[track_caller]
    pub fn flatten(&self, start: i64, end: i64) -> Value {
        self.unary(Op::Flatten { start, end })
    }

    /// A diagonal of two dimensions, which becomes the last dimension.
    #[track_caller]
    pub fn diagonal(&self, offset: i64, dim0: i64, dim1: i64) -> Value {
        self.unary(Op::Diagonal { offset, dim0, dim1 })
    }

    /// The pieces of a dimension, each of `size`; the last may be smaller.
    ///
    /// A dimension of tokens has no known number of pieces before the prompt is bound (E1005); see [`Value::split_sizes`].
    #[track_caller]
    pub fn split(&self, size: i64, dim: i64) -> Vec<Value> {
        self.pieces(Op::Split { size: Some(size), sizes: vec![], dim })
    }

    /// The pieces of a dimension, of these sizes.
    #[track_caller]
    pub fn split_sizes(&self, sizes: impl AsRef<[i64]>, dim: i64) -> Vec<Value> {
        self.pieces(Op::Split { size: None, sizes: sizes.as_ref().to_vec(), dim })
    }

    /// A dimension in about equal pieces, at most `chunks`: `torch.chunk`. What is said of [`Value::split`] holds here, too.
    #[track_caller]
    pub fn chunk(&self, chunks: i64, dim: i64) -> Vec<Value> {
        self.pieces(Op::Chunk { chunks, dim })
    }

    #[track_caller]
    fn pieces(&self, split: Op) -> Vec<Value> {
        let all = self.unary(split);
        let count = match self.session.record().ty(&all.at) {
            Some(Type::Tuple(parts)) => Some(parts.len()),
            _ => None,
        };
        let Some(count) = count else {
            all.mistake(Code::E1005, "the number of pieces is not known here");
            return vec![];
        };
        (0..count as i64).map(|index| all.get(index)).collect()
    }
}

/// Other arrangements of the elements: tensors of their own.
impl Value {
    /// The reverse order along dimensions.
    #[track_caller]
    pub fn flip(&self, dims: impl AsRef<[i64]>) -> Value {
        self.unary(Op::Flip { dims: dims.as_ref().to_vec() })
    }

    /// Elements moved by `shift` along a dimension; those that leave at the end come in at the beginning.
    #[track_caller]
    pub fn roll(&self, shift: i64, dim: i64) -> Value {
        self.unary(Op::Roll { shifts: vec![shift], dims: vec![dim] })
    }

    /// The whole tensor several times along each dimension.
    #[track_caller]
    pub fn repeat(&self, repeats: impl AsRef<[i64]>) -> Value {
        self.unary(Op::Repeat { repeats: repeats.as_ref().to_vec() })
    }

    /// Each entry of a dimension, or of the flat tensor, several times.
    #[track_caller]
    pub fn repeat_interleave(&self, repeats: i64, dim: impl Into<Option<i64>>) -> Value {
        self.unary(Op::RepeatInterleave { repeats, dim: dim.into() })
    }

    /// Matrices with zeros above a diagonal.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Value {
        self.unary(Op::Tril { diagonal })
    }

    /// Matrices with zeros below a diagonal.
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Value {
        self.unary(Op::Triu { diagonal })
    }

    /// The outer product of two vectors.
    #[track_caller]
    pub fn outer(&self, other: impl Into<Operand>) -> Value {
        self.binary(Op::Einsum { equation: "i,j->ij".into() }, other)
    }
}

/// By ids and masks. [`Value::at`] takes ids, too.
impl Value {
    #[track_caller]
    pub(super) fn pick(&self, ids: Vec<Operand>, dims: Vec<i64>) -> Value {
        self.session.value(|session, span| {
            let refs = session.resolve([self.into()].into_iter().chain(ids).collect(), span.clone());
            match refs.as_slice() {
                [of, ids @ ..] => session.record().pick(of, &ids.iter().collect::<Vec<_>>(), dims, span),
                [] => crate::recorder::Ref::poisoned(span),
            }
        })
    }

    /// Entries of a dimension picked by a vector of ids: `torch.index_select`.
    #[track_caller]
    pub fn index_select(&self, dim: i64, ids: impl Into<Operand>) -> Value {
        self.binary(Op::IndexSelect { dim }, ids)
    }

    /// The tensor with values added to the entries that ids pick along a dimension; ids may come several times.
    #[track_caller]
    pub fn index_add(&self, dim: i64, ids: impl Into<Operand>, values: impl Into<Operand>) -> Value {
        let op = Op::IndexPut { dims: vec![dim], accumulate: true };
        self.session.compute(op, vec![self.into(), values.into(), ids.into()])
    }

    /// The tensor with elements of `src` put where ids say, along a dimension: `torch.scatter`.
    #[track_caller]
    pub fn scatter(&self, dim: i64, ids: impl Into<Operand>, src: impl Into<Operand>) -> Value {
        self.session.compute(Op::Scatter { dim }, vec![self.into(), ids.into(), src.into()])
    }

    /// The tensor with elements of `src` added where ids say, along a dimension: `torch.scatter_add`.
    #[track_caller]
    pub fn scatter_add(&self, dim: i64, ids: impl Into<Operand>, src: impl Into<Operand>) -> Value {
        self.session.compute(Op::ScatterAdd { dim }, vec![self.into(), ids.into(), src.into()])
    }

    /// `value` where the mask (bool) holds, elsewhere this.
    #[track_caller]
    pub fn masked_fill(&self, mask: impl Into<Operand>, value: impl Into<Operand>) -> Value {
        self.session.compute(Op::Select {}, vec![mask.into(), value.into(), self.into()])
    }

    /// The elements where the mask (bool) holds, as a vector of a stated size. More elements are an error when the program
    /// runs; so are fewer, unless the rest is filled.
    #[track_caller]
    pub fn masked_select(&self, mask: impl Into<Operand>, size: i64, fill: impl Into<Option<f64>>) -> Value {
        self.binary(Op::MaskedSelect { size, fill: fill.into().map(Float::new) }, mask)
    }

    /// Where elements are not zero, i64 \[size, dimensions\], with the rule of [`Value::masked_select`].
    #[track_caller]
    pub fn nonzero(&self, size: i64, fill: impl Into<Option<i64>>) -> Value {
        self.unary(Op::NonZero { size, fill: fill.into() })
    }

    /// 1 at each id along a new last dimension and 0 elsewhere, i64.
    #[track_caller]
    pub fn one_hot(&self, classes: i64) -> Value {
        self.unary(Op::OneHot { classes })
    }
}

macro_rules! casts {
    ($($name:ident $dtype:ident $doc:literal;)*) => {
        /// Casts by PyTorch's names.
        impl Value { $(
            #[doc = $doc]
            #[track_caller]
            pub fn $name(&self) -> Value { self.cast(DType::$dtype) }
        )* }
    };
}

casts! {
    double F64 "As f64.";
    float F32 "As f32.";
    half F16 "As f16.";
    bfloat16 BF16 "As bf16.";
    long I64 "As i64; floats are truncated.";
    int I32 "As i32; floats are truncated.";
    bool Bool "Whether elements are not zero.";
}

/// Lists.
impl Value {
    /// The list with one more value.
    #[track_caller]
    pub fn append(&self, item: impl Into<Operand>) -> Value {
        self.binary(Op::Append {}, item)
    }

    /// The values of both lists, one after the other.
    #[track_caller]
    pub fn join(&self, other: &Value) -> Value {
        self.binary(Op::Join {}, other)
    }

    /// One value of a list, by an i64 that is computed or a plain number; negative counts from the end.
    #[track_caller]
    pub fn item(&self, index: impl Into<Operand>) -> Value {
        self.binary(Op::Item { index: None }, index)
    }

    /// How many values a list has, i64.
    #[track_caller]
    pub fn length(&self) -> Value {
        self.unary(Op::Length {})
    }
}

/// Tensors from nothing, lists and texts.
impl Session {
    /// One number everywhere, of its own element type.
    ///
    /// A value that is computed is an error (E1008): expand it.
    #[track_caller]
    pub fn full(&self, shape: impl AsRef<[i64]>, value: impl Into<Operand>) -> Value {
        match value.into().literal() {
            Some(value) => self.compute(Op::Full { shape: dims(shape), value, dtype: None }, vec![]),
            None => {
                let nothing = self.value(|_, span| crate::recorder::Ref::poisoned(span));
                let error = irc_ir::diagnostic::Diagnostic::error(Code::E1008, "`full` takes a number that is known here");
                self.record().error(error.label(here(), "").help("a computed number is repeated with `expand`"));
                nothing
            }
        }
    }

    /// Zeros of an element type.
    #[track_caller]
    pub fn zeros(&self, shape: impl AsRef<[i64]>, dtype: DType) -> Value {
        self.filled(shape, 0, dtype)
    }

    /// Ones of an element type.
    #[track_caller]
    pub fn ones(&self, shape: impl AsRef<[i64]>, dtype: DType) -> Value {
        self.filled(shape, 1, dtype)
    }

    #[track_caller]
    fn filled(&self, shape: impl AsRef<[i64]>, value: i64, dtype: DType) -> Value {
        self.compute(Op::Full { shape: dims(shape), value: Literal::from(&Tensor::scalar(value)), dtype: Some(dtype) }, vec![])
    }

    /// start, start + step, … before end.
    #[track_caller]
    pub fn arange(&self, start: f64, end: f64, step: f64, dtype: DType) -> Value {
        let [start, end, step] = [start, end, step].map(Float::new);
        self.compute(Op::Arange { start, end, step, dtype }, vec![])
    }

    /// Evenly spaced f32, both ends among them.
    #[track_caller]
    pub fn linspace(&self, start: f64, end: f64, steps: i64) -> Value {
        self.compute(Op::Linspace { start: Float::new(start), end: Float::new(end), steps, dtype: DType::F32 }, vec![])
    }

    /// The identity matrix.
    #[track_caller]
    pub fn eye(&self, rows: i64, dtype: DType) -> Value {
        self.compute(Op::Eye { rows, columns: None, dtype }, vec![])
    }

    /// Random tensors of a seed. The same seed gives the same numbers, on every machine.
    pub fn random(&self, seed: i64) -> Random {
        Random { session: self.clone(), seed, stream: None, dtype: None }
    }

    /// Sums of products over named dimensions: `torch.einsum`.
    #[track_caller]
    pub fn einsum(&self, equation: &str, operands: impl IntoIterator<Item: Into<Operand>>) -> Value {
        self.compute(Op::Einsum { equation: equation.into() }, operands.into_iter().map(Into::into).collect())
    }

    /// A list of values of one type, of which there must be one; see [`Session::list_of`].
    #[track_caller]
    pub fn list(&self, items: impl IntoIterator<Item: Into<Operand>>) -> Value {
        self.compute(Op::List { of: None }, items.into_iter().map(Into::into).collect())
    }

    /// A list that is empty at first, of values of a type. Symbols in it stand for any size.
    #[track_caller]
    pub fn list_of(&self, ty: Type) -> Value {
        self.compute(Op::List { of: Some(Box::new(ty)) }, vec![])
    }

    /// A text with a value for each `{}` of the template, to be logged or saved.
    #[track_caller]
    pub fn format(&self, template: &str, values: impl IntoIterator<Item: Into<Operand>>) -> Value {
        self.compute(Op::Format { template: template.into() }, values.into_iter().map(Into::into).collect())
    }
}

/// Where random tensors come from; see [`Session::random`].
#[derive(Clone, Debug)]
pub struct Random {
    session: Session,
    seed: i64,
    stream: Option<Operand>,
    dtype: Option<DType>,
}

impl Random {
    /// Another stream of numbers: an i64, known or computed. Without one it is stream 0.
    pub fn stream(self, stream: impl Into<Operand>) -> Random {
        Random { stream: Some(stream.into()), ..self }
    }

    /// An element type, instead of f32 and i64.
    pub fn dtype(self, dtype: DType) -> Random {
        Random { dtype: Some(dtype), ..self }
    }

    /// Numbers from `low` on and below `high`.
    #[track_caller]
    pub fn uniform(self, shape: impl AsRef<[i64]>, low: f64, high: f64) -> Value {
        let dtype = self.dtype.unwrap_or(DType::F32);
        let op = Op::RandomUniform { shape: dims(shape), seed: self.seed, low: Float::new(low), high: Float::new(high), dtype };
        self.session.compute(op, self.stream.into_iter().collect())
    }

    /// Numbers of a normal distribution.
    #[track_caller]
    pub fn normal(self, shape: impl AsRef<[i64]>, mean: f64, std: f64) -> Value {
        let dtype = self.dtype.unwrap_or(DType::F32);
        let op = Op::RandomNormal { shape: dims(shape), seed: self.seed, mean: Float::new(mean), std: Float::new(std), dtype };
        self.session.compute(op, self.stream.into_iter().collect())
    }

    /// Whole numbers from `low` to `high` - 1.
    #[track_caller]
    pub fn int(self, shape: impl AsRef<[i64]>, low: i64, high: i64) -> Value {
        let op = Op::RandomInt { shape: dims(shape), seed: self.seed, low, high, dtype: self.dtype.unwrap_or(DType::I64) };
        self.session.compute(op, self.stream.into_iter().collect())
    }
}
