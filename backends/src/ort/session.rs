//! Sessions of ONNX Runtime on tensors of ours, with weights in place.

use std::{
    borrow::Cow,
    ffi::c_void,
    ptr::{self, NonNull},
    sync::{Arc, Mutex, PoisonError},
};

use irc_ir::{diagnostic::Diagnostic, tensor::Tensor, types::DType};
use ort::{
    AsPointer,
    logging::LogLevel,
    memory::{Allocator, MemoryInfo},
    session::{
        OutputSelector, RunOptions, Session as OrtSession, SessionInputValue,
        builder::{GraphOptimizationLevel, PrepackedWeights},
    },
    sys::ONNXTensorElementDataType as ElementType,
    value::{DynValue, TensorRef},
};

use super::runtime::Runtime;
use crate::{failed, onnx::proto::ModelProto};

/// A session that is ready to run. One run at a time: others wait.
pub(super) struct Session(Mutex<OrtSession>);

/// How sessions of one model are made.
pub(super) struct Options<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) optimization: GraphOptimizationLevel,
    /// The packed weights, which all sessions of a model share.
    pub(super) packed: &'a PrepackedWeights,
}

/// A weight in memory that outlives the sessions that use it.
pub(super) struct SharedWeight<'a> {
    pub(super) name: &'a str,
    pub(super) shape: Vec<i64>,
    pub(super) bytes: &'a [u8],
}

impl Session {
    /// Makes a session.
    ///
    /// # Safety
    /// The bytes of the weights are f32 and stay where they are as long as the session lives.
    pub(super) unsafe fn new(
        options: &Options<'_>,
        model: &ModelProto,
        weights: &[(SharedWeight<'_>, Arc<DynValue>)],
    ) -> Result<Session, Diagnostic> {
        let make = || -> ort::Result<OrtSession> {
            let mut builder = OrtSession::builder(&options.runtime.environment)?
                .with_optimization_level(options.optimization)?
                // It warns of each value that can be replaced.
                .with_log_level(LogLevel::Error)?
                .with_env_allocators()?
                .with_prepacked_weights(options.packed)?;
            for (weight, value) in weights {
                builder = builder.with_initializer(weight.name, value.clone())?;
            }
            builder.commit_from_memory(&model.to_bytes())
        };
        make().map(|session| Session(Mutex::new(session))).map_err(|error| failed(format!("ONNX Runtime refuses the model: {error}")))
    }

    /// Computes outputs from inputs, each [1, N, …] for a tensor [N, …] of ours.
    ///
    /// # Errors
    /// E4003 if the session fails.
    pub(super) fn run(&self, inputs: Vec<(&str, SessionInputValue<'_>)>, outputs: &[&str]) -> Result<Vec<Tensor>, Diagnostic> {
        let broken = |error: ort::Error| failed(format!("ONNX Runtime stopped: {error}"));
        // What was selected or terminated stays with the options, so that each run has its own.
        let selected = outputs.iter().fold(OutputSelector::no_default(), |selected, name| selected.with(*name));
        let options = RunOptions::new().map_err(broken)?.with_outputs(selected);
        let inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = inputs.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let mut session = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = session.run_with_options(inputs, &options).map_err(broken)?;
        outputs
            .iter()
            .map(|name| {
                let value = found.get(name).ok_or_else(|| failed(format!("ONNX Runtime left `{name}` out")))?;
                let (shape, values) = value.try_extract_tensor::<f32>().map_err(broken)?;
                match &shape[..] {
                    [1, shape @ ..] => Ok(Tensor::new(shape.iter().map(|size| *size as usize).collect::<Vec<_>>(), values.to_vec())),
                    shape => Err(failed(format!("ONNX Runtime gives {shape:?} for one sequence"))),
                }
            })
            .collect()
    }
}

/// A tensor [N, …] of ours as an input [1, N, …], in place.
pub(super) fn one_sequence(tensor: &Tensor) -> Result<SessionInputValue<'_>, Diagnostic> {
    let shape: Vec<usize> = [1].into_iter().chain(tensor.shape().iter().copied()).collect();
    let broken = |error: ort::Error| failed(format!("ONNX Runtime cannot take a tensor: {error}"));
    match (tensor.values::<f32>(), tensor.values::<i64>()) {
        (Some(values), _) => Ok(TensorRef::from_array_view((shape, values)).map_err(broken)?.into()),
        (_, Some(values)) => Ok(TensorRef::from_array_view((shape, values)).map_err(broken)?.into()),
        _ => Err(failed(format!("the engine takes {} and {}, not {}", DType::F32, DType::I64, tensor.dtype()))),
    }
}

/// A weight as a value that points into its file.
///
/// # Safety
/// The bytes are f32 of this shape, and stay where they are as long as the value lives.
pub(super) unsafe fn in_place(weight: &SharedWeight<'_>) -> Result<DynValue, Diagnostic> {
    let info = MemoryInfo::default();
    let mut value = ptr::null_mut();
    // SAFETY: the length is that of the bytes, which ONNX Runtime compares with shape and type; it only reads them.
    let status = unsafe {
        (ort::api().CreateTensorWithDataAsOrtValue)(
            info.ptr(),
            weight.bytes.as_ptr().cast_mut().cast::<c_void>(),
            weight.bytes.len(),
            weight.shape.as_ptr(),
            weight.shape.len(),
            ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            &mut value,
        )
    };
    match (NonNull::new(status.0), NonNull::new(value)) {
        // SAFETY: the value is new and nobody else's.
        (None, Some(value)) => Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) }),
        (status, _) => {
            // SAFETY: a status belongs to who gets it.
            status.into_iter().for_each(|status| unsafe { (ort::api().ReleaseStatus)(status.as_ptr()) });
            Err(failed(format!("ONNX Runtime cannot take the weight `{}`", weight.name)))
        }
    }
}
