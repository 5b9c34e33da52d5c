//! The engine on `rten`: pure Rust, nothing to install, the same bits for a row whatever else is in the batch.
//!
//! A model is one ONNX graph of its position-wise stages, loaded once with its matrices packed; every call computes some of
//! its values from others and prunes the rest. `rten` drops packed weights for matrices of one row and sums in another
//! order then, so batches have two rows at least.

use std::{collections::BTreeMap, sync::Arc, thread};

use irc_ir::{
    diagnostic::{Diagnostic, Span},
    graph::NodeId,
    tensor::Tensor,
    types::DType,
};

use crate::{
    Call, Caps, Engine, Handle, LoadedModel, failed,
    memory::keep_large_buffers,
    onnx::{
        lower::lower_model,
        session::{Data, Session, SessionError, SessionOptions, TensorRef, Threads, ValueId},
    },
};

/// The version of the crate that [`Rten`] runs on.
pub const VERSION: &str = "0.27";

/// The engine.
pub struct Rten {
    threads: Threads,
}

impl Rten {
    /// An engine on `threads` threads; all cores where none are given.
    pub fn new(threads: Option<usize>) -> Rten {
        keep_large_buffers();
        let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into));
        Rten { threads: Threads::new(threads) }
    }
}

impl Engine for Rten {
    fn caps(&self) -> Caps {
        // Larger buffers go back to the system after each call and come back as page faults; in this range a layer's
        // weights stay in the last-level cache between chunks and multiplication is at its peak.
        Caps { engine: format!("rten {VERSION}"), chunk: 64, min_rows: 2, edits: false, splices: false, prunes: true }
    }

    fn load(&self, model: &Handle) -> Result<Arc<dyn LoadedModel>, Diagnostic> {
        let lowered = lower_model(&model.spec, &model.weights)?;
        let options = SessionOptions { threads: self.threads.clone(), prepack: true };
        let session = Session::load(lowered.model, model.weights.file(), options).map_err(|error| match error {
            SessionError::Weights { ref path, .. } => failed(&error).label(Span::file(path, ""), ""),
            error => failed(error),
        })?;
        let ids = lowered.names.into_iter().filter_map(|(node, name)| Some((node, session.find(&name)?))).collect();
        Ok(Arc::new(RtenModel { session, ids, class: format!("rten {VERSION}, f32, packed") }))
    }

    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        self.threads.run(work);
    }
}

struct RtenModel {
    session: Session,
    ids: BTreeMap<NodeId, ValueId>,
    class: String,
}

impl RtenModel {
    fn id(&self, node: NodeId) -> Result<ValueId, Diagnostic> {
        self.ids.get(&node).copied().ok_or_else(|| failed(format!("the engine has no value for node {node:?} of the model")))
    }
}

impl LoadedModel for RtenModel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let Call { given, want, .. } = *call;
        // The engine's batch is one sequence of all tokens.
        let shapes: Vec<Vec<usize>> =
            given.iter().map(|(_, tensor)| [1].into_iter().chain(tensor.shape().iter().copied()).collect()).collect();
        let mut inputs = Vec::with_capacity(given.len());
        for ((node, tensor), shape) in given.iter().zip(&shapes) {
            let view = match (tensor.values::<f32>(), tensor.values::<i64>()) {
                (Some(values), _) => TensorRef::f32(shape, values),
                (_, Some(values)) => TensorRef::i64(shape, values),
                _ => return Err(failed(format!("the engine takes f32 and i64, not {}", tensor.dtype()))),
            };
            inputs.push((self.id(*node)?, view));
        }
        let want = want.iter().map(|node| self.id(*node)).collect::<Result<Vec<_>, _>>()?;
        let outputs = self.session.run(&inputs, &want).map_err(failed)?;
        outputs
            .into_iter()
            .map(|out| match (&out.shape[..], out.data) {
                ([1, shape @ ..], Data::F32(values)) => Ok(Tensor::new(shape, values)),
                (shape, Data::F32(_)) => Err(failed(format!("the engine gives {shape:?} for one sequence"))),
                (_, Data::I32(_)) => Err(failed(format!("the engine gives integers for {}", DType::F32))),
            })
            .collect()
    }

    fn numeric_class(&self) -> String {
        self.class.clone()
    }
}
