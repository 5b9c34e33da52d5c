//! An ONNX graph while it is written: operators one after the other, whose outputs have fresh names, and equal constants once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use irc_ir::{
    attr::Literal,
    eval::{Value, eval},
    op::Op,
    tensor::Tensor,
    types::{DType, TensorType},
};
use prost::Message;

use super::proto::{self, DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// The operator set: the first one with `Swish`.
const OPSET: i64 = 24;
/// A bound that no dimension reaches; engines may hold bounds in 32 bits.
pub(super) const FAR: i64 = i32::MAX as i64;

/// The graph so far.
#[derive(Default)]
pub struct GraphBuilder {
    onnx: GraphProto,
    constants: BTreeMap<Literal, String>,
    fresh: usize,
    /// Names that the fresh ones keep away from.
    reserved: BTreeSet<String>,
    /// Operators by what they are, where equal ones shall be one, with the names of their outputs.
    known: Option<HashMap<Vec<u8>, String>>,
}

impl GraphBuilder {
    pub(super) fn new(name: &str) -> GraphBuilder {
        GraphBuilder { onnx: GraphProto::new(name), ..GraphBuilder::default() }
    }

    pub(super) fn finish(self) -> ModelProto {
        ModelProto::new(self.onnx).opset("", OPSET)
    }

    /// From now on, equal operators on the same inputs are one: layers share angles of positions and masks. Not for models in
    /// which values are replaced while they run.
    pub(super) fn share(&mut self) {
        self.known.get_or_insert_default();
    }

    /// Keeps a name for an input or an output.
    pub(super) fn reserve(&mut self, name: &str) {
        self.reserved.insert(name.to_owned());
    }

    pub(super) fn add_input(&mut self, value: ValueInfoProto) {
        self.onnx.input.push(value);
    }

    pub(super) fn add_output(&mut self, value: ValueInfoProto) {
        self.onnx.output.push(value);
    }

    pub(super) fn add_constant(&mut self, tensor: TensorProto) {
        self.onnx.initializer.push(tensor);
    }

    pub(super) fn add_node(&mut self, node: NodeProto) {
        self.onnx.node.push(node);
    }

    /// A name that nothing has.
    pub(super) fn fresh(&mut self) -> String {
        loop {
            self.fresh += 1;
            let name = format!("value.{}", self.fresh);
            if !self.reserved.contains(&name) {
                return name;
            }
        }
    }

    /// A constant inside the model; equal ones are one.
    pub(super) fn constant(&mut self, tensor: &Tensor) -> String {
        let key = Literal::from(tensor);
        if let Some(name) = self.constants.get(&key) {
            return name.clone();
        }
        let mut name = format!("const.{}", self.constants.len());
        while self.reserved.contains(&name) {
            name.push('\'');
        }
        self.add_constant(TensorProto::raw(&name, data_type(tensor.dtype()), tensor.shape(), tensor.to_le_bytes()));
        self.constants.insert(key, name.clone());
        name
    }

    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(&Tensor::new([values.len()], values.to_vec()))
    }

    /// One operator with one output of a fresh name.
    pub(super) fn emit(&mut self, op: &str, inputs: &[&str], attrs: impl FnOnce(NodeProto) -> NodeProto) -> String {
        let mut node = attrs(proto::node(op, inputs.iter().copied(), [""; 0]));
        let key = self.known.is_some().then(|| node.encode_to_vec());
        if let (Some(known), Some(key)) = (&self.known, &key)
            && let Some(out) = known.get(key)
        {
            return out.clone();
        }
        let out = self.fresh();
        if let (Some(known), Some(key)) = (&mut self.known, key) {
            known.insert(key, out.clone());
        }
        node.output.push(out.clone());
        self.add_node(node);
        out
    }

    pub(super) fn plain(&mut self, op: &str, inputs: &[&str]) -> String {
        self.emit(op, inputs, |node| node)
    }

    /// The value as another element type.
    pub(super) fn cast(&mut self, name: &str, from: DType, to: DType) -> String {
        match to {
            _ if from == to => name.to_owned(),
            // Engines that keep bools as integers would cut 0.5 to 0, and leave 2 a 2.
            DType::Bool => {
                let zero = self.constant(&Tensor::from_le_bytes(from, [], &[0; 8][..from.size()]).unwrap_or_else(|| Tensor::scalar(0f32)));
                let is_zero = self.plain("Equal", &[name, &zero]);
                self.plain("Not", &[&is_zero])
            }
            DType::I64 | DType::I32 | DType::U8 if from.is_float() => self.truncated(name, from, to),
            _ => self.converted(name, to),
        }
    }

    fn converted(&mut self, name: &str, to: DType) -> String {
        self.emit("Cast", &[name], |node| node.attr("to", data_type(to) as i64))
    }

    /// Floats as integers: the smallest and the largest for what lies outside, 0 for NaN, of which ONNX says nothing.
    fn truncated(&mut self, name: &str, from: DType, to: DType) -> String {
        let (least, most) = match to {
            DType::I32 => (i32::MIN.into(), i32::MAX.into()),
            DType::U8 => (0, u8::MAX.into()),
            DType::I64 | DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::Bool => (i64::MIN, i64::MAX),
        };
        let number = |this: &mut Self, value: Tensor, dtype: DType| this.constant(&cast(value, dtype));
        // As floats they are at least as far out.
        let [low, high] = [least, most].map(|bound| number(self, Tensor::scalar(bound as f64), from));
        let [zero, least, most] = [(0, from), (least, to), (most, to)].map(|(value, dtype)| number(self, Tensor::scalar(value), dtype));
        let (above, below) = (self.plain("GreaterOrEqual", &[name, &high]), self.plain("LessOrEqual", &[name, &low]));
        let (after, before) = (self.plain("Greater", &[name, &low]), self.plain("Less", &[name, &high]));
        let inside = self.plain("And", &[&after, &before]);
        let inner = self.plain("Where", &[&inside, name, &zero]);
        let inner = self.converted(&inner, to);
        let lower = self.plain("Where", &[&below, &least, &inner]);
        self.plain("Where", &[&above, &most, &lower])
    }

    pub(super) fn unsqueeze(&mut self, x: &str, at: i64) -> String {
        let axes = self.ints(&[at]);
        self.plain("Unsqueeze", &[x, &axes])
    }

    pub(super) fn concat(&mut self, parts: &[String], at: i64) -> String {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.emit("Concat", &parts, |node| node.attr("axis", at))
    }

    pub(super) fn slice(&mut self, x: &str, axis: i64, start: i64, end: i64, step: i64) -> String {
        let [start, end, axis, step] = [start, end, axis, step].map(|value| self.ints(&[value.clamp(-FAR, FAR)]));
        self.plain("Slice", &[x, &start, &end, &axis, &step])
    }

    /// The value under other sizes, all of them known.
    pub(super) fn reshape(&mut self, x: &str, from: &[usize], to: &[usize]) -> String {
        if from == to {
            return x.to_owned();
        }
        let sizes: Vec<i64> = to.iter().map(|size| *size as i64).collect();
        let sizes = self.ints(&sizes);
        let empty = to.contains(&0);
        self.emit("Reshape", &[x, &sizes], |node| if empty { node.attr("allowzero", 1) } else { node })
    }
}

/// A number as an element type.
pub(super) fn cast(value: Tensor, dtype: DType) -> Tensor {
    let cast = eval(&Op::Cast { dtype }, &[&Value::from(value.clone())]).ok().and_then(Value::into_tensor);
    cast.unwrap_or(value)
}

/// A value with a type that may have open sizes.
pub(super) fn value_info(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dims = ty.shape.iter().map(|dim| match dim.as_known() {
        Some(size) => proto::Dim::from(size),
        None => proto::Dim::from(dim.to_string().as_str()),
    });
    ValueInfoProto::tensor(name, data_type(ty.dtype), dims.collect::<Vec<_>>())
}

pub(crate) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F64 => DataType::Double,
        DType::F32 => DataType::Float,
        DType::F16 => DataType::Float16,
        DType::BF16 => DataType::Bfloat16,
        DType::I64 => DataType::Int64,
        DType::I32 => DataType::Int32,
        DType::U8 => DataType::Uint8,
        DType::Bool => DataType::Bool,
    }
}
