//! Sessions of ONNX Runtime on tensors of ours, with weights in place.

use std::{
    borrow::Cow,
    ffi::c_void,
    path::Path,
    ptr::{self, NonNull},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use irc_ir::{diagnostic::Diagnostic, model::WeightDecl, tensor::Tensor, types::DType};
use ort::{
    AsPointer,
    ep::CUDA,
    logging::LogLevel,
    memory::{Allocator, MemoryInfo},
    session::{
        OutputSelector, RunOptions, SelectedOutputMarker, Session as OrtSession, SessionInputValue,
        builder::{GraphOptimizationLevel, PrepackedWeights},
    },
    sys::ONNXTensorElementDataType as ElementType,
    value::{DynValue, TensorRef},
};

use super::{
    device::Device,
    runtime::{Runtime, checked},
};
use crate::{cancel::Cancel, failed, onnx::proto::ModelProto, weights::Weights};

/// A session that is ready to run. One run at a time: others wait.
pub(super) struct Session {
    session: Mutex<OrtSession>,
    profiled: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.profiled {
            // Without it the file stays empty. Nobody is left to hear that it could not be written.
            let _ = self.session.get_mut().unwrap_or_else(PoisonError::into_inner).end_profiling();
        }
    }
}

/// How sessions of one model are made.
pub(super) struct Options<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) optimization: GraphOptimizationLevel,
    /// The file that external tensors are in.
    pub(super) file: Option<&'a Path>,
    /// The packed weights, which all sessions of a model share.
    pub(super) packed: &'a PrepackedWeights,
    /// Where it computes.
    pub(super) device: Device,
    /// The folder in which each session writes a profile of its runs when it is dropped.
    pub(super) profile: Option<&'a Path>,
}

/// A weight in memory that outlives the sessions that use it.
pub(super) struct SharedWeight<'a> {
    /// In the ONNX model.
    name: Cow<'a, str>,
    shape: Vec<i64>,
    bytes: &'a [u8],
}

impl<'a> SharedWeight<'a> {
    /// A weight that is in a file.
    pub(super) fn new(weights: &'a Weights, decl: &'a WeightDecl) -> Result<SharedWeight<'a>, Diagnostic> {
        let bytes = weights.mapped_bytes(weights.place(decl)?).ok_or_else(|| failed(format!("`{}` is in no file", decl.name)))?;
        if decl.ty.dtype != DType::F32 {
            return Err(failed(format!("the engine takes weights of {}, but `{}` is {}", DType::F32, decl.name, decl.ty)));
        }
        Ok(SharedWeight { name: Cow::Borrowed(&*decl.name), shape: decl.ty.shape.iter().filter_map(|dim| dim.as_known()).collect(), bytes })
    }
}

impl SharedWeight<'_> {
    /// The same under another name.
    pub(super) fn named(self, name: String) -> Self {
        SharedWeight { name: name.into(), ..self }
    }
}

impl Session {
    /// Makes a session.
    ///
    /// # Safety
    /// The bytes of the weights are f32 and stay where they are as long as the session lives.
    pub(super) unsafe fn new(options: &Options<'_>, mut model: ModelProto, weights: Vec<SharedWeight<'_>>) -> Result<Session, Diagnostic> {
        // SAFETY: as the caller says.
        let values =
            weights.iter().map(|weight| Ok((&*weight.name, unsafe { in_place(weight) }?))).collect::<Result<Vec<_>, Diagnostic>>()?;
        // The tensors are given in memory, but that their file exists is looked at all the same.
        let file = options.file.and_then(|file| Some((file.parent()?.to_str()?, file.file_name()?.to_str()?)));
        let tensors = model.graph.iter_mut().flat_map(|graph| &mut graph.initializer).flat_map(|tensor| &mut tensor.external_data);
        if let Some((_, name)) = file {
            tensors.filter(|entry| entry.key == "location").for_each(|entry| name.clone_into(&mut entry.value));
        }
        let make = move || -> ort::Result<OrtSession> {
            let mut builder = OrtSession::builder(&options.runtime.environment)?
                .with_optimization_level(options.optimization)?
                // It warns of each value that can be replaced.
                .with_log_level(LogLevel::Error)?
                .with_env_allocators()?
                .with_prepacked_weights(options.packed)?;
            if let Device::Cuda { id } = options.device {
                // f32 is f32, and a card that cannot be used is an error, not a silent run on the processor.
                let cuda = CUDA::default().with_device_id(id).with_tf32(false).build().error_on_failure();
                builder = builder.with_execution_providers([cuda])?;
            }
            if let Some(folder) = options.profile {
                // It adds the time to the name, in seconds.
                static COUNT: AtomicUsize = AtomicUsize::new(0);
                builder = builder.with_profiling(folder.join(format!("session-{}", COUNT.fetch_add(1, Ordering::Relaxed))))?;
            }
            if let Some((folder, _)) = file {
                builder = builder.with_config_entry("session.model_external_initializers_file_folder_path", folder)?;
            }
            for (name, value) in values {
                builder = builder.with_initializer(name, value)?;
            }
            builder.commit_from_memory(&model.to_bytes())
        };
        let profiled = options.profile.is_some();
        make()
            .map(|session| Session { session: Mutex::new(session), profiled })
            .map_err(|error| failed(format!("ONNX Runtime refuses the model: {error}")))
    }

    /// Computes outputs from inputs, until somebody cancels: then it ends after the operations that it is in.
    ///
    /// # Errors
    /// E4003 if the session fails; E4006 if it was cancelled.
    pub(super) fn run(
        &self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        outputs: &[&str],
        cancel: &Cancel,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        let broken = |error: ort::Error| failed(format!("ONNX Runtime stopped: {error}"));
        // What was selected or terminated stays with the options, so that each run has its own.
        let selected = outputs.iter().fold(OutputSelector::no_default(), |selected, name| selected.with(*name));
        let options = Arc::new(Shared(RunOptions::new().map_err(broken)?.with_outputs(selected)));
        let inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = inputs.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = options.clone();
        let _watch = cancel.on_cancel(move || watched.terminate());
        // It has no status of its own for runs that were ended.
        let found = session.run_with_options(inputs, &options.0).map_err(|error| cancel.check().err().unwrap_or_else(|| broken(error)))?;
        outputs
            .iter()
            .map(|name| {
                let value = found.get(name).ok_or_else(|| failed(format!("ONNX Runtime left `{name}` out")))?;
                let (shape, values) = value.try_extract_tensor::<f32>().map_err(broken)?;
                Ok(Tensor::new(shape.iter().map(|size| *size as usize).collect::<Vec<_>>(), values.to_vec()))
            })
            .collect()
    }
}

impl Session {
    /// Computes outputs from inputs that may be on its device, each output to where it is asked for, until somebody cancels.
    ///
    /// # Errors
    /// E4003 if the session fails; E4006 if it was cancelled.
    pub(super) fn run_bound(
        &self,
        inputs: &[(&str, &DynValue)],
        outputs: &[(&str, &MemoryInfo<'_>)],
        cancel: &Cancel,
    ) -> Result<Vec<DynValue>, Diagnostic> {
        let broken = |error: ort::Error| failed(format!("ONNX Runtime stopped: {error}"));
        let options = Arc::new(Shared(RunOptions::new().map_err(broken)?));
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut binding = session.create_binding().map_err(broken)?;
        for (name, value) in inputs {
            binding.bind_input(*name, value).map_err(broken)?;
        }
        for (name, memory) in outputs {
            binding.bind_output_to_device(*name, memory).map_err(broken)?;
        }
        let watched = options.clone();
        let _watch = cancel.on_cancel(move || watched.terminate());
        let found = session.run_binding_with_options(&binding, &options.0);
        let mut found = found.map_err(|error| cancel.check().err().unwrap_or_else(|| broken(error)))?;
        outputs.iter().map(|(name, _)| found.remove(name).ok_or_else(|| failed(format!("ONNX Runtime left `{name}` out")))).collect()
    }
}

/// The options of a run that another thread may end.
struct Shared<O: SelectedOutputMarker>(RunOptions<O>);

// SAFETY: `ort` withholds this for the sake of outputs that are allocated beforehand, of which there are none here. All that is
// done from other threads is to end the run, and the library takes that from any thread.
unsafe impl<O: SelectedOutputMarker> Sync for Shared<O> {}

impl<O: SelectedOutputMarker> Shared<O> {
    fn terminate(&self) {
        if let Err(error) = self.0.terminate() {
            // The run ends all the same, if later: whoever asked for it looks at the cancel, too.
            tracing::warn!("ONNX Runtime goes on although it was cancelled: {error}");
        }
    }
}

/// A whole ONNX model over the weights of a model of ours: named tensors to named tensors, all of it in every run.
pub struct OnnxModel {
    // Before the weights, whose memory it refers to: fields are dropped in this order.
    session: Session,
    _weights: Arc<Weights>,
}

impl OnnxModel {
    /// Loads a model with its matrices packed. `tensors` are its external tensors: they have the names and the bytes of the
    /// weights of a model.
    ///
    /// # Errors
    /// E0012 if a weight is missing; E4003 if ONNX Runtime refuses the model.
    pub fn load(runtime: &Runtime, model: ModelProto, weights: &Arc<Weights>, tensors: &[WeightDecl]) -> Result<OnnxModel, Diagnostic> {
        let packed = PrepackedWeights::new();
        let options = Options {
            runtime,
            optimization: GraphOptimizationLevel::All,
            file: weights.file(),
            packed: &packed,
            device: Device::Cpu,
            profile: None,
        };
        let shared = tensors.iter().map(|decl| SharedWeight::new(weights, decl)).collect::<Result<Vec<_>, _>>()?;
        // SAFETY: the mapping is kept, and dropped after the session.
        let session = unsafe { Session::new(&options, model, shared) }?;
        weights.release_pages();
        Ok(OnnxModel { session, _weights: weights.clone() })
    }

    /// Computes outputs, which are f32.
    ///
    /// # Errors
    /// E4003 if the model fails.
    pub fn run(&self, inputs: &[(&str, &Tensor)], outputs: &[&str]) -> Result<Vec<Tensor>, Diagnostic> {
        let inputs = inputs.iter().map(|(name, tensor)| Ok((*name, in_view(tensor, tensor.shape())?)));
        self.session.run(inputs.collect::<Result<_, Diagnostic>>()?, outputs, &Cancel::new())
    }
}

/// A tensor of ours as an input of this shape, in place.
pub(super) fn in_view<'a>(tensor: &'a Tensor, shape: &[usize]) -> Result<SessionInputValue<'a>, Diagnostic> {
    let broken = |error: ort::Error| failed(format!("ONNX Runtime cannot take a tensor: {error}"));
    let shape = shape.to_vec();
    Ok(match (tensor.values::<f32>(), tensor.values::<i64>(), tensor.values::<i32>(), tensor.values::<bool>()) {
        (Some(values), ..) => TensorRef::from_array_view((shape, values)).map_err(broken)?.into(),
        (_, Some(values), ..) => TensorRef::from_array_view((shape, values)).map_err(broken)?.into(),
        (.., Some(values), _) => TensorRef::from_array_view((shape, values)).map_err(broken)?.into(),
        (.., Some(values)) => TensorRef::from_array_view((shape, values)).map_err(broken)?.into(),
        _ => return Err(failed(format!("the engine does not take {}", tensor.dtype()))),
    })
}

/// A weight as a value that points into its file.
///
/// # Safety
/// The bytes are f32 of this shape, and stay where they are as long as the value lives.
unsafe fn in_place(weight: &SharedWeight<'_>) -> Result<DynValue, Diagnostic> {
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
    let broken = |why: String| failed(format!("ONNX Runtime cannot take the weight `{}`: {why}", weight.name));
    checked(status).map_err(|error| broken(error.to_string()))?;
    let value = NonNull::new(value).ok_or_else(|| broken("it gives no value".to_owned()))?;
    // SAFETY: the value is new and nobody else's.
    Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) })
}
