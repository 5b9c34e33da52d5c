//! Attributes of operations as plain values: what the printer, the parser and the e-graph see of them.

use std::{fmt, sync::Arc};

use crate::{
    graph::Body,
    tensor::{Sizes, Tensor},
    types::{DType, Dim, Name, TensorType, Type, known_shape},
};

/// The value of an attribute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Attr {
    /// Not given, where that means something: `end` of a slice.
    None,
    /// A whole number.
    Int(i64),
    /// A flag.
    Bool(bool),
    /// A floating point number.
    Float(Float),
    /// The name of a hook, module, weight or input, or of a model of the program.
    Name(Name),
    /// An element type.
    DType(DType),
    /// A type.
    Type(Type),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Sizes, which may be symbolic.
    Dims(Vec<Dim>),
    /// A tensor or a text.
    Literal(Literal),
    /// The body of a loop.
    Body(Body),
    /// What a loss makes of its elements.
    Reduction(Reduction),
}

/// What an attribute can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum AttrKind {
    Int,
    OptionalInt,
    Bool,
    Float,
    OptionalFloat,
    Name,
    DType,
    OptionalDType,
    Type,
    OptionalType,
    Ints,
    Dims,
    Literal,
    Body,
    Reduction,
}

impl AttrKind {
    /// What a person calls it.
    pub const fn describe(self) -> &'static str {
        match self {
            AttrKind::Int => "a whole number",
            AttrKind::OptionalInt => "a whole number or `none`",
            AttrKind::Bool => "`true` or `false`",
            AttrKind::Float => "a number",
            AttrKind::OptionalFloat => "a number or `none`",
            AttrKind::Name => "a name, such as `m` or \"lm_head.output\"",
            AttrKind::DType => "an element type, such as `f32`",
            AttrKind::OptionalDType => "an element type, such as `f32`, or `none`",
            AttrKind::Type => "a type, such as `tensor<1x576xf32>`",
            AttrKind::OptionalType => "a type, such as `tensor<1x576xf32>`, or `none`",
            AttrKind::Ints => "a list of whole numbers, such as `[0, -1]`",
            AttrKind::Dims => "a list of sizes, such as `[B, T, 64]`",
            AttrKind::Literal => "a number, a list of numbers or a string",
            AttrKind::Body => "the body of a loop",
            AttrKind::Reduction => "`none`, `mean`, `sum` or `batchmean`",
        }
    }
}

/// What a loss makes of the losses of its elements, in PyTorch's words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reduction {
    /// Each stays.
    None,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// Their sum over the size of the first dimension.
    BatchMean,
}

impl Reduction {
    /// Every reduction, in the order of declaration.
    pub const ALL: [Reduction; 4] = [Reduction::None, Reduction::Mean, Reduction::Sum, Reduction::BatchMean];

    /// The name in program text.
    pub const fn name(self) -> &'static str {
        match self {
            Reduction::None => "none",
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
            Reduction::BatchMean => "batchmean",
        }
    }

    /// The reduction called `name` in program text.
    pub fn from_name(name: &str) -> Option<Reduction> {
        Reduction::ALL.into_iter().find(|reduction| reduction.name() == name)
    }
}

/// A floating point attribute, ordered and hashed by its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Float(u64);

impl Float {
    /// Wraps a number.
    pub const fn new(value: f64) -> Float {
        Float(value.to_bits())
    }

    /// The number.
    pub const fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Debug for Float {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.get())
    }
}

/// The value of a `const`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Literal {
    /// A tensor, compared by type, shape and bits.
    Tensor(TensorLiteral),
    /// A text; as the operand of `forward`, a prompt that the frontend turns into token ids.
    Str(Name),
}

/// A tensor as a value that can be compared, ordered and hashed. Clones share it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorLiteral(Arc<Elements>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Elements {
    dtype: DType,
    shape: Sizes,
    /// Little-endian, row-major.
    bytes: Vec<u8>,
}

impl TensorLiteral {
    /// The element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The sizes of the dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The type of the tensor.
    pub fn ty(&self) -> TensorType {
        TensorType { dtype: self.0.dtype, shape: known_shape(&self.0.shape) }
    }

    /// The elements: little-endian, row-major.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The tensor itself.
    pub fn to_tensor(&self) -> Tensor {
        // The bytes came from a tensor of this type and shape, so they fit it.
        Tensor::from_le_bytes(self.0.dtype, &self.0.shape, &self.0.bytes).unwrap_or_else(|| Tensor::new([0], Vec::<f32>::new()))
    }
}

impl fmt::Debug for TensorLiteral {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.to_tensor())
    }
}

impl From<&Tensor> for Literal {
    fn from(tensor: &Tensor) -> Literal {
        let elements = Elements { dtype: tensor.dtype(), shape: tensor.shape().into(), bytes: tensor.to_le_bytes() };
        Literal::Tensor(TensorLiteral(Arc::new(elements)))
    }
}

impl Literal {
    /// The type of the value.
    pub fn ty(&self) -> Type {
        match self {
            Literal::Tensor(tensor) => Type::Tensor(tensor.ty()),
            Literal::Str(_) => Type::Str,
        }
    }
}

/// A Rust type that is the field of an operation.
pub trait AttrValue: Sized {
    /// What the attribute can be.
    const KIND: AttrKind;
    /// The field as an attribute.
    fn to_attr(&self) -> Attr;
    /// The attribute as a field, if it is of the right kind.
    fn from_attr(attr: Attr) -> Option<Self>;
}

macro_rules! attr_values {
    ($($ty:ty => $kind:ident, $variant:ident;)*) => {
        $(impl AttrValue for $ty {
            const KIND: AttrKind = AttrKind::$kind;
            fn to_attr(&self) -> Attr { Attr::$variant(self.clone()) }
            fn from_attr(attr: Attr) -> Option<Self> { if let Attr::$variant(value) = attr { Some(value) } else { None } }
        })*
    };
}

attr_values! {
    i64 => Int, Int;
    bool => Bool, Bool;
    Name => Name, Name;
    DType => DType, DType;
    Literal => Literal, Literal;
    Body => Body, Body;
    Reduction => Reduction, Reduction;
}

/// Types are large, and few operations have one.
impl AttrValue for Box<Type> {
    const KIND: AttrKind = AttrKind::Type;
    fn to_attr(&self) -> Attr {
        Attr::Type(Type::clone(self))
    }
    fn from_attr(attr: Attr) -> Option<Box<Type>> {
        if let Attr::Type(ty) = attr { Some(Box::new(ty)) } else { None }
    }
}

impl AttrValue for Float {
    const KIND: AttrKind = AttrKind::Float;
    fn to_attr(&self) -> Attr {
        Attr::Float(*self)
    }
    fn from_attr(attr: Attr) -> Option<Float> {
        match attr {
            Attr::Float(value) => Some(value),
            Attr::Int(value) => Some(Float::new(value as f64)),
            _ => None,
        }
    }
}

macro_rules! optional_attr_values {
    ($($ty:ty => $kind:ident;)*) => {
        $(impl AttrValue for Option<$ty> {
            const KIND: AttrKind = AttrKind::$kind;
            fn to_attr(&self) -> Attr { self.as_ref().map_or(Attr::None, AttrValue::to_attr) }
            fn from_attr(attr: Attr) -> Option<Option<$ty>> {
                if attr == Attr::None { Some(None) } else { <$ty as AttrValue>::from_attr(attr).map(Some) }
            }
        })*
    };
}

optional_attr_values! {
    i64 => OptionalInt;
    Float => OptionalFloat;
    DType => OptionalDType;
    Box<Type> => OptionalType;
}

impl AttrValue for Vec<i64> {
    const KIND: AttrKind = AttrKind::Ints;
    fn to_attr(&self) -> Attr {
        Attr::Ints(self.clone())
    }
    fn from_attr(attr: Attr) -> Option<Vec<i64>> {
        match attr {
            Attr::Ints(values) => Some(values),
            // A text cannot tell a list of numbers from a list of sizes that are numbers.
            Attr::Dims(dims) => dims.iter().map(Dim::as_known).collect(),
            _ => None,
        }
    }
}

impl AttrValue for Vec<Dim> {
    const KIND: AttrKind = AttrKind::Dims;
    fn to_attr(&self) -> Attr {
        Attr::Dims(self.clone())
    }
    fn from_attr(attr: Attr) -> Option<Vec<Dim>> {
        match attr {
            Attr::Dims(dims) => Some(dims),
            Attr::Ints(values) => Some(values.into_iter().map(Dim::known).collect()),
            _ => None,
        }
    }
}
