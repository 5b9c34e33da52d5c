//! The part of `onnx.proto3` that this crate writes, as plain structs.
//!
//! Written by hand, so that building needs neither `protoc` nor a build script: the field numbers are those of the ONNX
//! specification, and fields that are never written here (functions, training, sparse tensors, quantization
//! annotations) are left out. Protocol Buffers skip unknown fields, so a file that has them still decodes.
//!
//! Two places differ from what a generator would make of `onnx.proto3`, in ways that every conforming reader accepts.
//! Repeated numbers are not packed: the files of the `onnx` package are not either, and rten reads them only so. Scalar
//! attributes (`f`, `i`, `s`) have explicit presence: a zero is written, not left out.
//!
//! ```text
//! let graph = GraphProto::new("stage")
//!     .input(ValueInfoProto::tensor("x", DataType::Float, [Dim::from(1), Dim::from("N"), Dim::from(576)]))
//!     .node(node("MatMul", ["x", "w"], ["y"]))
//!     .node(node("Softmax", ["y"], ["p"]).attr("axis", -1))
//!     .output(ValueInfoProto::untyped("p"));
//! let bytes = ModelProto::new(graph).opset("", 23).to_bytes();
//! ```

use std::fmt;

use prost::Message;

/// The version of the ONNX file format that [`ModelProto::new`] declares: the one of operator set 23.
pub const IR_VERSION: i64 = 11;

/// A whole model: a graph, and the versions of the operator sets that it speaks.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// Version of the file format.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// Name of the program that wrote the model.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// Version of the program that wrote the model.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// The graph.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Operator sets in use, one entry a domain.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Free text for people and tools.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// A computation: nodes in topological order, constants, inputs and outputs.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    /// Operators, each after those whose outputs it reads.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Name of the graph; the ONNX checker wants one.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constants: weights and tables.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// Values that the caller gives.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// Values that the caller gets.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// Types of values in between.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
}

/// One application of an operator.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of the values read; an empty name is an optional input that is not given.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the values made; an empty name is an output that nobody wants.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name of the node, for messages.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Its parameters.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// The operator's domain; empty for ONNX's own.
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// A named parameter of a node. One of the value fields is set, as `type` says.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// Name of the parameter.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A number.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// An integer.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// A string, in UTF-8.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    /// A graph: the body of a branch or a loop.
    #[prost(message, optional, tag = "6")]
    pub g: Option<GraphProto>,
    /// Numbers.
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    /// Integers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Strings, in UTF-8.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    /// Which of the fields above holds the value.
    #[prost(enumeration = "AttributeType", tag = "20")]
    pub r#type: i32,
}

/// A constant tensor. Its elements are in `raw_data`, or in a file that `external_data` names.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// Shape; empty for a scalar.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Type of the elements.
    #[prost(enumeration = "DataType", tag = "2")]
    pub data_type: i32,
    /// Name by which nodes refer to it.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Elements, little-endian, in row-major order. Absent, not empty, when they are elsewhere: engines look here first.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub raw_data: Option<Vec<u8>>,
    /// `location`, `offset` and `length` of the elements in another file.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// Whether `external_data` holds.
    #[prost(enumeration = "DataLocation", tag = "14")]
    pub data_location: i32,
}

/// The name of a value, and its type where known.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    /// Name of the value.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// The type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// What kind of value it is.
    #[prost(oneof = "type_proto::Value", tags = "1")]
    pub value: Option<type_proto::Value>,
}

/// What a [`TypeProto`] is made of.
pub mod type_proto {
    /// The kind of a value. Sequences, maps and optionals are never written here.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        /// A dense tensor.
        #[prost(message, tag = "1")]
        TensorType(Tensor),
    }

    /// The type of a dense tensor.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Tensor {
        /// Type of the elements.
        #[prost(enumeration = "super::DataType", tag = "1")]
        pub elem_type: i32,
        /// Shape; absent where even the rank is unknown.
        #[prost(message, optional, tag = "2")]
        pub shape: Option<super::TensorShapeProto>,
    }
}

/// The shape of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// Dimensions, outermost first.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<tensor_shape_proto::Dimension>,
}

/// What a [`TensorShapeProto`] is made of.
pub mod tensor_shape_proto {
    /// One dimension.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Dimension {
        /// Its size, if anything is known of it.
        #[prost(oneof = "Value", tags = "1, 2")]
        pub value: Option<Value>,
    }

    /// The size of a dimension.
    #[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
    pub enum Value {
        /// A number.
        #[prost(int64, tag = "1")]
        DimValue(i64),
        /// A symbol.
        #[prost(string, tag = "2")]
        DimParam(String),
    }
}

/// A key and a value.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct StringStringEntryProto {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// One operator set.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct OperatorSetIdProto {
    /// Its domain; empty for ONNX's own.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Its version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// Types of elements (`TensorProto.DataType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// None; in no valid tensor.
    Undefined = 0,
    /// 32-bit floating point.
    Float = 1,
    /// 8-bit unsigned integer.
    Uint8 = 2,
    /// 8-bit signed integer.
    Int8 = 3,
    /// 16-bit unsigned integer.
    Uint16 = 4,
    /// 16-bit signed integer.
    Int16 = 5,
    /// 32-bit signed integer.
    Int32 = 6,
    /// 64-bit signed integer.
    Int64 = 7,
    /// A string.
    String = 8,
    /// True or false, one byte.
    Bool = 9,
    /// 16-bit floating point, IEEE 754.
    Float16 = 10,
    /// 64-bit floating point.
    Double = 11,
    /// 32-bit unsigned integer.
    Uint32 = 12,
    /// 64-bit unsigned integer.
    Uint64 = 13,
    /// 16-bit floating point with the exponent of 32 bits.
    Bfloat16 = 16,
}

impl DataType {
    /// Bytes of one element, `None` for those without a fixed size.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Undefined | Self::String => None,
            Self::Uint8 | Self::Int8 | Self::Bool => Some(1),
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => Some(2),
            Self::Float | Self::Int32 | Self::Uint32 => Some(4),
            Self::Int64 | Self::Double | Self::Uint64 => Some(8),
        }
    }
}

/// Which field of an [`AttributeProto`] holds its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AttributeType {
    /// None; in no valid attribute.
    Undefined = 0,
    /// `f`.
    Float = 1,
    /// `i`.
    Int = 2,
    /// `s`.
    String = 3,
    /// `t`.
    Tensor = 4,
    /// `g`.
    Graph = 5,
    /// `floats`.
    Floats = 6,
    /// `ints`.
    Ints = 7,
    /// `strings`.
    Strings = 8,
}

/// Where the elements of a [`TensorProto`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DataLocation {
    /// In the message itself.
    Default = 0,
    /// In another file.
    External = 1,
}

/// One dimension of a shape that is being written: `Dim::from(576)` or `Dim::from("N")`.
pub type Dim = tensor_shape_proto::Dimension;

impl From<i64> for Dim {
    fn from(size: i64) -> Self {
        Self { value: Some(tensor_shape_proto::Value::DimValue(size)) }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        // No tensor has more elements than an address has values, so this saturates for nonsense only.
        Self::from(i64::try_from(size).unwrap_or(i64::MAX))
    }
}

impl From<i32> for Dim {
    fn from(size: i32) -> Self {
        Self::from(i64::from(size))
    }
}

impl From<&str> for Dim {
    fn from(symbol: &str) -> Self {
        Self { value: Some(tensor_shape_proto::Value::DimParam(symbol.to_owned())) }
    }
}

/// A value for [`NodeProto::attr`].
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A number.
    Float(f32),
    /// An integer, or a truth value as 0 or 1.
    Int(i64),
    /// A string.
    String(String),
    /// A tensor.
    Tensor(TensorProto),
    /// A graph.
    Graph(GraphProto),
    /// Numbers.
    Floats(Vec<f32>),
    /// Integers.
    Ints(Vec<i64>),
    /// Strings.
    Strings(Vec<String>),
}

/// `From<type> for Attribute`, one line a type.
macro_rules! attribute_from {
    ($($from:ty => |$value:ident| $into:expr;)*) => {
        $(impl From<$from> for Attribute {
            fn from($value: $from) -> Self {
                $into
            }
        })*
    };
}

attribute_from! {
    f32 => |value| Self::Float(value);
    i32 => |value| Self::Int(value.into());
    i64 => |value| Self::Int(value);
    bool => |value| Self::Int(value.into());
    &str => |value| Self::String(value.to_owned());
    String => |value| Self::String(value);
    TensorProto => |value| Self::Tensor(value);
    GraphProto => |value| Self::Graph(value);
    Vec<f32> => |value| Self::Floats(value);
    &[f32] => |value| Self::Floats(value.to_vec());
    Vec<i64> => |value| Self::Ints(value);
    &[i64] => |value| Self::Ints(value.to_vec());
    Vec<String> => |value| Self::Strings(value);
}

impl<const N: usize> From<[i64; N]> for Attribute {
    fn from(values: [i64; N]) -> Self {
        Self::Ints(values.to_vec())
    }
}

/// A node that applies `op` to values by name. An empty name stands for an optional input that is not given.
pub fn node(
    op: &str,
    inputs: impl IntoIterator<Item = impl Into<String>>,
    outputs: impl IntoIterator<Item = impl Into<String>>,
) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        input: inputs.into_iter().map(Into::into).collect(),
        output: outputs.into_iter().map(Into::into).collect(),
        ..NodeProto::default()
    }
}

impl NodeProto {
    /// Adds an attribute.
    #[must_use]
    pub fn attr(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        let mut attribute = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
        let kind = match value.into() {
            Attribute::Float(value) => {
                attribute.f = Some(value);
                AttributeType::Float
            }
            Attribute::Int(value) => {
                attribute.i = Some(value);
                AttributeType::Int
            }
            Attribute::String(value) => {
                attribute.s = Some(value.into_bytes());
                AttributeType::String
            }
            Attribute::Tensor(value) => {
                attribute.t = Some(value);
                AttributeType::Tensor
            }
            Attribute::Graph(value) => {
                attribute.g = Some(value);
                AttributeType::Graph
            }
            Attribute::Floats(values) => {
                attribute.floats = values;
                AttributeType::Floats
            }
            Attribute::Ints(values) => {
                attribute.ints = values;
                AttributeType::Ints
            }
            Attribute::Strings(values) => {
                attribute.strings = values.into_iter().map(String::into_bytes).collect();
                AttributeType::Strings
            }
        };
        attribute.set_type(kind);
        self.attribute.push(attribute);
        self
    }

    /// Sets the domain, such as `com.microsoft`.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// Sets the name that messages of an engine show. Keep it apart from the names of values: some engines have one
    /// space of names for both.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl GraphProto {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Appends a node.
    #[must_use]
    pub fn node(mut self, node: NodeProto) -> Self {
        self.node.push(node);
        self
    }

    /// Appends a constant.
    #[must_use]
    pub fn constant(mut self, tensor: TensorProto) -> Self {
        self.initializer.push(tensor);
        self
    }

    /// Appends an input.
    #[must_use]
    pub fn input(mut self, value: ValueInfoProto) -> Self {
        self.input.push(value);
        self
    }

    /// Appends an output.
    #[must_use]
    pub fn output(mut self, value: ValueInfoProto) -> Self {
        self.output.push(value);
        self
    }
}

impl ModelProto {
    /// A model of `graph` that imports no operator set yet.
    pub fn new(graph: GraphProto) -> Self {
        Self {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(graph),
            ..Self::default()
        }
    }

    /// Imports an operator set: `("", 23)`, `("com.microsoft", 1)`.
    #[must_use]
    pub fn opset(mut self, domain: &str, version: i64) -> Self {
        self.opset_import.push(OperatorSetIdProto { domain: domain.to_owned(), version });
        self
    }

    /// The model as the bytes of an `.onnx` file. The same model gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads the bytes of an `.onnx` file.
    ///
    /// # Errors
    ///
    /// If they are not such a message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedModel> {
        Self::decode(bytes).map_err(|error| MalformedModel(error.to_string()))
    }
}

/// Bytes that are no ONNX model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedModel(String);

impl fmt::Display for MalformedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an ONNX model: {}", self.0)
    }
}

impl std::error::Error for MalformedModel {}

impl TensorProto {
    /// A tensor of `f32` inside the message.
    pub fn f32(name: &str, dims: &[usize], data: &[f32]) -> Self {
        Self::raw(name, DataType::Float, dims, data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// A tensor of `i64` inside the message.
    pub fn i64(name: &str, dims: &[usize], data: &[i64]) -> Self {
        Self::raw(name, DataType::Int64, dims, data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// A tensor of any type inside the message, from its little-endian bytes.
    pub fn raw(name: &str, data_type: DataType, dims: &[usize], bytes: Vec<u8>) -> Self {
        let mut tensor = Self::shaped(name, data_type, dims);
        tensor.raw_data = Some(bytes);
        tensor
    }

    /// A tensor whose elements are the bytes `offset .. offset + length` of the file `location`.
    ///
    /// `offset` must be a multiple of the element's size; a page boundary is kind to engines that map pages.
    pub fn external(name: &str, data_type: DataType, dims: &[usize], location: &str, offset: u64, length: u64) -> Self {
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        let mut tensor = Self::shaped(name, data_type, dims);
        tensor.external_data =
            vec![entry("location", location.to_owned()), entry("offset", offset.to_string()), entry("length", length.to_string())];
        tensor.set_data_location(DataLocation::External);
        tensor
    }

    fn shaped(name: &str, data_type: DataType, dims: &[usize]) -> Self {
        let mut tensor = Self {
            name: name.to_owned(),
            dims: dims.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect(),
            ..Self::default()
        };
        tensor.set_data_type(data_type);
        tensor
    }
}

impl ValueInfoProto {
    /// A tensor of known type and rank.
    pub fn tensor(name: &str, data_type: DataType, dims: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        let shape = TensorShapeProto { dim: dims.into_iter().map(Into::into).collect() };
        Self::of(name, data_type, Some(shape))
    }

    /// A tensor of known element type and unknown shape.
    pub fn unshaped(name: &str, data_type: DataType) -> Self {
        Self::of(name, data_type, None)
    }

    /// A value of which only the name is known.
    pub fn untyped(name: &str) -> Self {
        Self { name: name.to_owned(), r#type: None }
    }

    fn of(name: &str, data_type: DataType, shape: Option<TensorShapeProto>) -> Self {
        let tensor = type_proto::Tensor { elem_type: data_type as i32, shape };
        let value = Some(type_proto::Value::TensorType(tensor));
        Self { name: name.to_owned(), r#type: Some(TypeProto { value }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_survives_its_bytes() {
        let graph = GraphProto::new("g")
            .input(ValueInfoProto::tensor("x", DataType::Float, [Dim::from("N"), Dim::from(2)]))
            .constant(TensorProto::f32("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]))
            .constant(TensorProto::external("e", DataType::Float, &[4], "weights.data", 64, 16))
            .node(node("MatMul", ["x", "w"], ["y"]).named("op.y"))
            .node(node("Softmax", ["y"], ["p"]).attr("axis", 0).attr("eps", 1e-5).attr("perm", [0i64, 1]).domain("d"))
            .output(ValueInfoProto::untyped("p"));
        let model = ModelProto::new(graph).opset("", 23);
        let bytes = model.to_bytes();
        assert_eq!(ModelProto::from_bytes(&bytes).as_ref(), Ok(&model));
        assert_eq!(ModelProto::from_bytes(&bytes).map(|model| model.to_bytes()), Ok(bytes));
    }

    #[test]
    fn field_numbers_are_those_of_the_specification() {
        // 1: ir_version = 11; 7: graph { 2: name = "g" }; 8: opset_import { 2: version = 23 }.
        let mut model = ModelProto::new(GraphProto::new("g")).opset("", 23);
        model.producer_name.clear();
        model.producer_version.clear();
        assert_eq!(model.to_bytes(), [0x08, 11, 0x3a, 3, 0x12, 1, b'g', 0x42, 2, 0x10, 23]);
        // A zero attribute is written: 1: name = "a"; 3: i = 0; 20: type = INT.
        let node = node("O", [""; 0], [""; 0]).attr("a", 0);
        assert_eq!(node.attribute[0].encode_to_vec(), [0x0a, 1, b'a', 0x18, 0, 0xa0, 0x01, 2]);
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(ModelProto::from_bytes(&[0xff; 32]).is_err());
        assert!(ModelProto::from_bytes(b"\x3a\x7f").is_err());
    }
}
