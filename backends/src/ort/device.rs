//! Where ONNX Runtime computes, in what, and how tensors of ours get there and back.

use std::{collections::BTreeMap, fmt, ptr, str::FromStr, sync::Arc};

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    eval::{Value, eval},
    model::WeightDecl,
    op::Op,
    tensor::{Element, Tensor},
    types::{DType, Name},
};
use ort::{
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::builder::{GraphOptimizationLevel, PrepackedWeights},
    value::{DynTensor, DynValue, PrimitiveTensorElementType, TensorElementType},
};

use super::{
    runtime::Runtime,
    session::{Options, Session},
};
use crate::{
    cancel::Cancel,
    failed,
    onnx::{
        builder::data_type,
        proto::{GraphProto, ModelProto, ValueInfoProto, node},
    },
    weights::Weights,
};

/// Where ONNX Runtime computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Device {
    /// On the processor.
    #[default]
    Cpu,
    /// On an NVIDIA card.
    Cuda {
        /// Which one, from 0.
        id: i32,
    },
}

impl fmt::Display for Device {
    /// `cpu`, `cuda:0`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => out.write_str("cpu"),
            Device::Cuda { id } => write!(out, "cuda:{id}"),
        }
    }
}

/// What models compute in. Values of programs keep their types.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits: 11 for the digits. What is above 65,504 is infinite, weights and writes too. On the processor a model for
    /// tests: it computes in f32 and rounds.
    F16,
    /// 16 bits: 8 for the digits, and the range of f32. The processor has no kernels for it.
    Bf16,
}

impl FromStr for Device {
    type Err = String;

    /// `cpu`, `cuda`, `cuda:1`.
    fn from_str(text: &str) -> Result<Device, String> {
        let card = match text {
            "cpu" => return Ok(Device::Cpu),
            "cuda" => Some("0"),
            _ => text.strip_prefix("cuda:"),
        };
        let id = card.and_then(|id| id.parse::<u16>().ok()).ok_or("it is `cpu`, `cuda`, or `cuda:1` for the second card")?;
        Ok(Device::Cuda { id: id.into() })
    }
}

impl FromStr for Precision {
    type Err = String;

    /// `f32`, `f16`, `bf16`.
    fn from_str(text: &str) -> Result<Precision, String> {
        let all = [Precision::F32, Precision::F16, Precision::Bf16];
        let known = all.into_iter().find(|precision| precision.dtype().name() == text);
        known.ok_or_else(|| "it is `f32`, `f16` or `bf16`".to_owned())
    }
}

impl Precision {
    /// The element type.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::BF16,
        }
    }
}

impl Device {
    /// Memory that its kernels read and write.
    pub(super) fn memory(self) -> Result<MemoryInfo<'static>, Diagnostic> {
        let memory = match self {
            Device::Cpu => MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default),
            Device::Cuda { id } => MemoryInfo::new(AllocationDevice::CUDA, id, AllocatorType::Device, MemoryType::Default),
        };
        memory.map_err(|error| failed(format!("ONNX Runtime has no such memory: {error}")))
    }
}

/// A session that copies weights to a device, all of one element type.
pub(super) struct Upload {
    session: Session,
    device: Device,
}

impl Upload {
    /// Starts the device.
    ///
    /// # Errors
    /// E0016 if it cannot be used, with what is missing.
    pub(super) fn new(runtime: &Runtime, device: Device, dtype: DType) -> Result<Upload, Diagnostic> {
        let packed = PrepackedWeights::new();
        let options =
            Options { runtime, optimization: GraphOptimizationLevel::Disable, file: None, packed: &packed, device, profile: None };
        let [x, y] = ["x", "y"].map(|name| ValueInfoProto::unshaped(name, data_type(dtype)));
        let graph = GraphProto::new("upload").input(x).node(node("Identity", ["x"], ["y"])).output(y);
        // SAFETY: there are no weights.
        let session = unsafe { Session::new(&options, ModelProto::new(graph).opset("", 21), vec![]) };
        Ok(Upload { session: session.map_err(|error| unusable(device, &error))?, device })
    }

    pub(super) fn upload(&self, value: &DynValue) -> Result<DynValue, Diagnostic> {
        let mut found = self.session.run_bound(&[("x", value)], &[("y", &self.device.memory()?)], &Cancel::new())?;
        found.pop().ok_or_else(|| failed("ONNX Runtime copies nothing"))
    }
}

/// Says which library it is that a device lacks, where ONNX Runtime does.
fn unusable(device: Device, error: &Diagnostic) -> Diagnostic {
    let message = error.message.rsplit("refuses the model: ").next().unwrap_or(&error.message).trim();
    let words = message.split_whitespace();
    let library = message.contains("cannot open shared object file").then(|| {
        let mut named = words.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())).filter(|word| word.contains(".so"));
        named.next_back().map(str::to_owned)
    });
    let unusable = |why: &str| Diagnostic::error(Code::E0016, format!("ONNX Runtime cannot be used on {device}: {why}"));
    match library.flatten() {
        Some(library) => unusable(&format!("the library {library} is missing"))
            .note(message)
            .help("install CUDA and cuDNN of the versions that it is built for, or name their folders in LD_LIBRARY_PATH"),
        None if message.contains("not enabled in this build") => {
            unusable("this build of it is for processors").help("`irc setup ort --cuda` brings one for NVIDIA cards")
        }
        None => unusable(message).help("`irc backends` says what CUDA lacks here"),
    }
}

/// A tensor of ours as a value that owns a copy of it, in the processor's memory.
pub(super) fn to_value(tensor: &Tensor) -> Result<DynValue, Diagnostic> {
    let element = match tensor.dtype() {
        DType::F64 => TensorElementType::Float64,
        DType::F32 => TensorElementType::Float32,
        DType::F16 => TensorElementType::Float16,
        DType::BF16 => TensorElementType::Bfloat16,
        DType::I64 => TensorElementType::Int64,
        DType::I32 => TensorElementType::Int32,
        DType::U8 => TensorElementType::Uint8,
        DType::Bool => TensorElementType::Bool,
    };
    let shape: Vec<i64> = tensor.shape().iter().map(|size| *size as i64).collect();
    let made = DynTensor::new(&Allocator::default(), element, shape);
    let mut value = made.map_err(|error| failed(format!("ONNX Runtime cannot take a tensor: {error}")))?;
    // ONNX Runtime runs on little-endian machines.
    let bytes = tensor.to_le_bytes();
    // SAFETY: the value is new, and has as many elements of this type as the tensor.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), value.data_ptr_mut().cast::<u8>(), bytes.len()) };
    Ok(value.into_dyn())
}

/// A value in the processor's memory as a tensor of ours.
pub(super) fn to_tensor(value: &DynValue) -> Result<Tensor, Diagnostic> {
    fn of<T: PrimitiveTensorElementType + Element>(value: &DynValue) -> Option<Tensor> {
        let (shape, values) = value.try_extract_tensor::<T>().ok()?;
        Some(Tensor::new(shape.iter().map(|size| *size as usize).collect::<Vec<_>>(), values.to_vec()))
    }
    let tensor = of::<f32>(value).or_else(|| of::<i64>(value)).or_else(|| of::<bool>(value)).or_else(|| of::<i32>(value));
    tensor.ok_or_else(|| failed(format!("ONNX Runtime gives a value of type {:?}", value.dtype())))
}

/// The weights of a model as values on a device, each brought there when it is first used.
pub(super) struct DeviceWeights {
    values: BTreeMap<Name, Arc<DynValue>>,
}

impl DeviceWeights {
    pub(super) fn new() -> DeviceWeights {
        DeviceWeights { values: BTreeMap::new() }
    }

    /// A weight as an element type.
    ///
    /// # Errors
    /// E0012 if it cannot be read.
    pub(super) fn get(&mut self, weights: &Weights, decl: &WeightDecl, upload: &Upload, dtype: DType) -> Result<Arc<DynValue>, Diagnostic> {
        if let Some(value) = self.values.get(&decl.name) {
            return Ok(value.clone());
        }
        let tensor = weights.tensor(decl)?;
        let tensor = match tensor.dtype() == dtype || !tensor.dtype().is_float() {
            true => tensor,
            false => {
                let cast = eval(&Op::Cast { dtype }, &[&Value::Tensor(tensor)]).map_err(|error| failed(error.message()))?;
                cast.into_tensor().ok_or_else(|| failed("a weight is a tensor"))?
            }
        };
        let value = Arc::new(upload.upload(&to_value(&tensor)?)?);
        self.values.insert(decl.name.clone(), value.clone());
        Ok(value)
    }
}
