//! A loaded ONNX model that computes any of its values from any others.
//!
//! A thin, safe layer over `rten`, whose types do not show. Any value of the graph may be given, also one that a node
//! would compute (that node, and what only it needs, then does not run), and any may be wanted. The engine's graph
//! optimizer stays off, so that every value of the model keeps its name and a wanted value never changes another.
//!
//! What this layer adds to `rten`: weights in files of any name and mapped in place; ids that are checked; errors where
//! the engine would panic, or silently ignore what it was given (a constant cannot be overridden).

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use rten_tensor::Layout;
use thiserror::Error;

use super::proto::{DataLocation, GraphProto, ModelProto};
use crate::weights::release_pages;

/// The threads that sessions compute on; clones share them.
///
/// Work of ones own can run on the same threads: inside [`Threads::run`], `rayon`'s parallel iterators use them, and a
/// [`Session::run`] does not have to wake another thread first. Idle threads sleep.
#[derive(Clone)]
pub struct Threads(Arc<rten::ThreadPool>);

impl Threads {
    /// Starts `count` threads, at least one.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(rten::ThreadPool::with_num_threads(count.max(1))))
    }

    /// Runs `work` on one of the threads.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.run(work)
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

/// How a [`Session`] is made.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The threads to compute on.
    pub threads: Threads,
    /// Whether to keep a copy of each weight matrix in the layout that multiplication likes: as much memory again, and
    /// two to three times the speed on few tokens. Results differ from those without in the last bits.
    pub prepack: bool,
}

/// A value of a [`Session`]'s graph. Means nothing to another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

/// What a session can be given: a shape, and elements in row-major order.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// The shape; empty for a scalar.
    pub shape: &'a [usize],
    /// The elements.
    pub data: DataRef<'a>,
}

impl<'a> TensorRef<'a> {
    /// A tensor of `f32`, in place.
    pub fn f32(shape: &'a [usize], data: &'a [f32]) -> Self {
        Self { shape, data: DataRef::F32(data) }
    }

    /// A tensor of `i64`, which is narrowed to the engine's 32 bits.
    pub fn i64(shape: &'a [usize], data: &'a [i64]) -> Self {
        Self { shape, data: DataRef::I64(data) }
    }

    /// A tensor of `i32`, in place.
    pub fn i32(shape: &'a [usize], data: &'a [i32]) -> Self {
        Self { shape, data: DataRef::I32(data) }
    }
}

/// The elements of a [`TensorRef`]. `F32` and `I32` are used in place. The engine has neither 64-bit integers nor truth
/// values, in the model's words it reads 32-bit integers for both: these are converted.
#[derive(Clone, Copy, Debug)]
pub enum DataRef<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// Integers, also for what the model declares as 64-bit integers or truth values.
    I32(&'a [i32]),
    /// Integers that fit 32 bits.
    I64(&'a [i64]),
    /// Truth values.
    Bool(&'a [bool]),
}

impl DataRef<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::I32(data) => data.len(),
            Self::I64(data) => data.len(),
            Self::Bool(data) => data.len(),
        }
    }
}

/// What a session gives back: a shape, and elements in row-major order, moved out of the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorOut {
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Data,
}

impl TensorOut {
    /// The elements of a tensor of numbers.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(data) => Some(data),
            Data::I32(_) => None,
        }
    }

    /// The elements of a tensor of numbers, moved out.
    pub fn into_f32(self) -> Option<Vec<f32>> {
        match self.data {
            Data::F32(data) => Some(data),
            Data::I32(_) => None,
        }
    }

    /// The elements of a tensor of integers or truth values.
    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.data {
            Data::F32(_) => None,
            Data::I32(data) => Some(data),
        }
    }

    /// The tensor as something to give.
    pub fn view(&self) -> TensorRef<'_> {
        let data = match &self.data {
            Data::F32(data) => DataRef::F32(data),
            Data::I32(data) => DataRef::I32(data),
        };
        TensorRef { shape: &self.shape, data }
    }
}

/// The elements of a [`TensorOut`]. The vectors may have room to spare: the engine reuses buffers within a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Numbers.
    F32(Vec<f32>),
    /// Integers, also what the model declares as 64-bit integers or truth values.
    I32(Vec<i32>),
}

/// Why a model does not load, or does not run.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A file that holds the weights cannot be read.
    #[error("cannot read the weights in {}: {reason}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The model is not one that the engine takes.
    #[error("the engine refuses the model: {0}")]
    Model(String),
    /// No value has this name, or this id.
    #[error("the model has no value {0}")]
    UnknownValue(String),
    /// A value is given twice, or wanted twice.
    #[error("{0} is named twice")]
    Twice(String),
    /// A constant is given: only computed values and inputs can be.
    #[error("{0} is a constant of the model and cannot be given")]
    Constant(String),
    /// A given tensor is not one, or not one that this value can have.
    #[error("the tensor given for {value}: {reason}")]
    Given {
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine stopped with an error.
    #[error("the engine stopped: {0}")]
    Run(String),
}

/// One name of the graph.
struct Value {
    name: String,
    node: rten::NodeId,
    constant: bool,
}

/// A model, ready to run. Shared between threads as `&Session`.
pub struct Session {
    // Before `files`, whose memory it refers to: fields are dropped in this order.
    model: rten::Model,
    values: Vec<Value>,
    ids: HashMap<String, ValueId>,
    options: SessionOptions,
    // Only kept alive.
    _files: Vec<Mmap>,
}

impl Session {
    /// Loads a model.
    ///
    /// `external` is where its external tensors are: a folder in which the locations that the model names are files, or
    /// one file that is meant by all of them (a safetensors file, say: offsets count from its start). The file is
    /// mapped, and must not change while the session lives.
    ///
    /// # Errors
    ///
    /// If the weights cannot be read or end too early, or the engine refuses the model.
    pub fn load(mut model: ModelProto, external: Option<&Path>, options: SessionOptions) -> Result<Self, SessionError> {
        let graph = model.graph.as_mut().ok_or_else(|| SessionError::Model("it has no graph".to_owned()))?;
        let locations = take_locations(graph);
        let names = value_names(graph);

        let mut files = Vec::with_capacity(locations.len());
        let mut loader = rten::ModelOptions::with_all_ops();
        loader.enable_optimization(false).prepack_weights(options.prepack);
        for (index, location) in locations.iter().enumerate() {
            let path = weights_path(external, location)?;
            let file = map_file(&path)?;
            // SAFETY: the slice lives as long as the mapping, which this session keeps until after the engine's model,
            // the only holder of the slice, is dropped; no value that the model gives out borrows from it.
            let bytes = unsafe { std::slice::from_raw_parts(file.as_ptr(), file.len()) };
            loader.external_data_static(&engine_location(index), bytes);
            files.push(file);
        }

        let bytes = model.to_bytes();
        drop(model);
        let model =
            guarded(|| loader.load(bytes)).map_err(SessionError::Model)?.map_err(|error| SessionError::Model(with_sources(&error)))?;
        if options.prepack {
            files.iter().for_each(release_pages);
        }

        let mut values = Vec::with_capacity(names.len());
        let mut ids = HashMap::with_capacity(names.len());
        for (name, constant) in names {
            // Names that are nowhere used have no node.
            if let Some(node) = model.find_node(&name) {
                let id = ValueId(u32::try_from(values.len()).map_err(|_| SessionError::Model("too many values".to_owned()))?);
                ids.insert(name.clone(), id);
                values.push(Value { name, node, constant });
            }
        }
        Ok(Self { model, values, ids, options, _files: files })
    }

    /// The id of the value called `name`: an input, an output, a constant, or anything in between.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.ids.get(name).copied()
    }

    /// As [`Session::find`], with an error that says which value is missing.
    ///
    /// # Errors
    ///
    /// If no value has this name.
    pub fn value(&self, name: &str) -> Result<ValueId, SessionError> {
        self.find(name).ok_or_else(|| SessionError::UnknownValue(format!("`{name}`")))
    }

    /// The name of a value.
    pub fn name(&self, id: ValueId) -> Option<&str> {
        self.values.get(id.0 as usize).map(|value| value.name.as_str())
    }

    /// The threads that the session computes on.
    pub fn threads(&self) -> &Threads {
        &self.options.threads
    }

    /// Computes `want` from `given`, in the order of `want`.
    ///
    /// Nothing runs that is not needed for that. Inputs of the model that are not needed need not be given.
    ///
    /// # Errors
    ///
    /// If a value is unknown, named twice, a given constant, or given with a shape or type that it cannot have; if
    /// something that is needed is neither given nor computed; if an operator refuses its inputs.
    pub fn run(&self, given: &[(ValueId, TensorRef<'_>)], want: &[ValueId]) -> Result<Vec<TensorOut>, SessionError> {
        let narrowed = given.iter().map(|(id, tensor)| self.narrow(*id, tensor)).collect::<Result<Vec<_>, _>>()?;
        let mut inputs: Vec<(rten::NodeId, rten::ValueOrView<'_>)> = Vec::with_capacity(given.len());
        for ((id, tensor), narrowed) in given.iter().zip(&narrowed) {
            let value = self.entry(*id)?;
            if value.constant {
                return Err(SessionError::Constant(quoted(value)));
            }
            if inputs.iter().any(|(node, _)| *node == value.node) {
                return Err(SessionError::Twice(quoted(value)));
            }
            inputs.push((value.node, view(tensor, narrowed.as_deref(), value)?.into()));
        }
        let mut outputs = Vec::with_capacity(want.len());
        for id in want {
            let value = self.entry(*id)?;
            if outputs.contains(&value.node) {
                return Err(SessionError::Twice(quoted(value)));
            }
            outputs.push(value.node);
        }

        let run = rten::RunOptions::default().with_thread_pool(Some(self.options.threads.0.clone()));
        let results = guarded(|| self.model.run(inputs, &outputs, Some(run)))
            .map_err(SessionError::Run)?
            .map_err(|error| SessionError::Run(with_sources(&error)))?;
        results.into_iter().map(tensor_out).collect()
    }

    fn entry(&self, id: ValueId) -> Result<&Value, SessionError> {
        self.values.get(id.0 as usize).ok_or_else(|| SessionError::UnknownValue(format!("number {}", id.0)))
    }

    /// The elements as 32-bit integers, if they have to be converted to that.
    fn narrow(&self, id: ValueId, tensor: &TensorRef<'_>) -> Result<Option<Vec<i32>>, SessionError> {
        match tensor.data {
            DataRef::F32(_) | DataRef::I32(_) => Ok(None),
            DataRef::Bool(data) => Ok(Some(data.iter().map(|&x| i32::from(x)).collect())),
            DataRef::I64(data) => {
                let narrow = |&x: &i64| {
                    i32::try_from(x).map_err(|_| SessionError::Given {
                        value: self.name(id).unwrap_or_default().to_owned(),
                        reason: format!("{x} does not fit the engine's 32-bit integers"),
                    })
                };
                data.iter().map(narrow).collect::<Result<_, _>>().map(Some)
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("values", &self.values.len()).field("options", &self.options).finish_non_exhaustive()
    }
}

/// The name under which the engine is given the file of the `index`th location. It takes only plain names with this
/// ending, so that the model's own, whatever they are, are replaced.
fn engine_location(index: usize) -> String {
    format!("{index}.data")
}

/// Replaces the locations of external tensors by [`engine_location`]s, and returns those that were there.
fn take_locations(graph: &mut GraphProto) -> Vec<String> {
    let mut locations: Vec<String> = Vec::new();
    for tensor in &mut graph.initializer {
        if tensor.data_location() != DataLocation::External {
            continue;
        }
        for entry in tensor.external_data.iter_mut().filter(|entry| entry.key == "location") {
            let index = locations.iter().position(|location| *location == entry.value).unwrap_or_else(|| {
                locations.push(std::mem::take(&mut entry.value));
                locations.len() - 1
            });
            entry.value = engine_location(index);
        }
    }
    locations
}

/// The names of the graph's values, and which of them are constants.
fn value_names(graph: &GraphProto) -> Vec<(String, bool)> {
    let mut seen = HashSet::new();
    let constants = graph.initializer.iter().map(|tensor| (&tensor.name, true));
    let made_constants = graph.node.iter().filter(|node| node.op_type == "Constant").flat_map(|node| &node.output);
    let inputs = graph.input.iter().chain(&graph.output).map(|value| &value.name);
    let used = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output));
    constants
        .chain(made_constants.map(|name| (name, true)))
        .chain(inputs.chain(used).map(|name| (name, false)))
        .filter(|(name, _)| !name.is_empty() && seen.insert(name.as_str()))
        .map(|(name, constant)| (name.clone(), constant))
        .collect()
}

/// The file that holds `location`.
fn weights_path(external: Option<&Path>, location: &str) -> Result<PathBuf, SessionError> {
    let missing = |reason: &str| SessionError::Weights { path: PathBuf::from(location), reason: reason.to_owned() };
    let external = external.ok_or_else(|| missing("the model has weights outside of itself and no folder was given for them"))?;
    if !external.is_dir() {
        return Ok(external.to_owned());
    }
    // A model may come from anywhere: it must not name files outside of its folder.
    let location = Path::new(location);
    if location.as_os_str().is_empty() || !location.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(missing("not a path inside of a folder"));
    }
    Ok(external.join(location))
}

fn map_file(path: &Path) -> Result<Mmap, SessionError> {
    let weights = |error: std::io::Error| SessionError::Weights { path: path.to_owned(), reason: error.to_string() };
    let file = File::open(path).map_err(weights)?;
    if !file.metadata().map_err(weights)?.is_file() {
        return Err(SessionError::Weights { path: path.to_owned(), reason: "not a file".to_owned() });
    }
    // SAFETY: the mapping is only read. That nobody truncates the file meanwhile cannot be checked; the documentation of
    // `load` says so, as every program that maps its weights does.
    unsafe { Mmap::map(&file) }.map_err(weights)
}

/// A view of a given tensor, whose integers are in `narrowed` if they had to be converted.
fn view<'a>(tensor: &TensorRef<'a>, narrowed: Option<&'a [i32]>, value: &Value) -> Result<rten::ValueView<'a>, SessionError> {
    let wrong = |reason: String| SessionError::Given { value: quoted(value), reason };
    let elements = tensor.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if elements != Some(tensor.data.len()) {
        return Err(wrong(format!("{} elements do not have the shape {:?}", tensor.data.len(), tensor.shape)));
    }
    let view = match (tensor.data, narrowed) {
        (_, Some(data)) | (DataRef::I32(data), None) => rten::ValueView::from_shape(tensor.shape, data).map_err(|e| e.to_string()),
        (DataRef::F32(data), None) => rten::ValueView::from_shape(tensor.shape, data).map_err(|e| e.to_string()),
        (DataRef::I64(_) | DataRef::Bool(_), None) => Err("not converted".to_owned()),
    };
    view.map_err(wrong)
}

fn tensor_out(value: rten::Value) -> Result<TensorOut, SessionError> {
    match value {
        rten::Value::FloatTensor(tensor) => Ok(TensorOut { shape: tensor.shape().to_vec(), data: Data::F32(tensor.into_data()) }),
        rten::Value::Int32Tensor(tensor) => Ok(TensorOut { shape: tensor.shape().to_vec(), data: Data::I32(tensor.into_data()) }),
        other => Err(SessionError::Run(format!("a wanted value is a {}, which is not supported", other.dtype()))),
    }
}

fn quoted(value: &Value) -> String {
    format!("`{}`", value.name)
}

/// Runs the engine, and turns a panic of its into a message. The engine has no state that a panic could leave half done:
/// a run owns its buffers, and of a model that fails to load nothing is kept.
fn guarded<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload: Box<dyn Any + Send>| {
        let message = payload.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| payload.downcast_ref::<String>().cloned());
        format!("internal error: {}", message.unwrap_or_else(|| "unknown".to_owned()))
    })
}

/// An error's message with those of its causes.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Many errors repeat their cause.
        if !message.contains(&cause) {
            message.push_str(": ");
            message.push_str(&cause);
        }
        source = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::super::proto::{DataType, TensorProto, ValueInfoProto, node};
    use super::*;

    /// `y = tanh(x w)`, `s = y + y`, and a constant that is a value too.
    fn tiny(w: TensorProto) -> ModelProto {
        let graph = GraphProto::new("tiny")
            .input(ValueInfoProto::tensor("x", DataType::Float, ["N".into(), super::super::proto::Dim::from(2)]))
            .input(ValueInfoProto::tensor("i", DataType::Int64, ["M"]))
            .constant(w)
            .node(node("MatMul", ["x", "w"], ["h"]).named("op.h"))
            .node(node("Tanh", ["h"], ["y"]))
            .node(node("Add", ["y", "y"], ["s"]))
            .node(node("Gather", ["w", "i"], ["g"]).attr("axis", 0))
            .node(node("Add", ["i", "i"], ["ii"]))
            .output(ValueInfoProto::unshaped("s", DataType::Float));
        ModelProto::new(graph).opset("", 23)
    }

    const W: [f32; 4] = [0.5, -1.0, 2.0, 0.25];

    fn inline() -> TensorProto {
        TensorProto::f32("w", &[2, 2], &W)
    }

    fn options(threads: usize) -> SessionOptions {
        SessionOptions { threads: Threads::new(threads), prepack: true }
    }

    fn session() -> Session {
        Session::load(tiny(inline()), None, options(1)).unwrap()
    }

    fn run(session: &Session, given: &[(&str, TensorRef<'_>)], want: &[&str]) -> Result<Vec<TensorOut>, SessionError> {
        let given = given.iter().map(|(name, tensor)| Ok((session.value(name)?, *tensor))).collect::<Result<Vec<_>, _>>()?;
        let want = want.iter().map(|name| session.value(name)).collect::<Result<Vec<_>, _>>()?;
        session.run(&given, &want)
    }

    const X: [f32; 6] = [1.0, 2.0, -0.5, 0.75, 3.0, -4.0];

    #[test]
    fn any_value_can_be_wanted_and_given() {
        let session = session();
        let x = ("x", TensorRef::f32(&[3, 2], &X));
        let all = run(&session, &[x], &["s", "h", "y", "x", "w"]).unwrap();
        assert_eq!(all[1].shape, [3, 2]);
        assert_eq!(all[1].as_f32().unwrap()[..2], [1.0 * 0.5 + 2.0 * 2.0, -1.0 + 2.0 * 0.25]);
        assert_eq!((all[3].as_f32(), all[4].as_f32()), (Some(&X[..]), Some(&W[..])));
        // Wanting more changes nothing, and neither does giving a value back; what is upstream of it is not needed.
        assert_eq!(run(&session, &[x], &["s"]).unwrap(), all[..1]);
        assert_eq!(run(&session, &[x, ("h", all[1].view())], &["s"]).unwrap(), all[..1]);
        assert_eq!(run(&session, &[("y", all[2].view())], &["s"]).unwrap(), all[..1]);
    }

    #[test]
    fn rows_and_threads_keep_their_bits() {
        let sessions = [session(), Session::load(tiny(inline()), None, options(2)).unwrap()];
        let x: Vec<f32> = (0..600).map(|i| (i as f32 * 0.37).sin()).collect();
        let whole = run(&sessions[0], &[("x", TensorRef::f32(&[300, 2], &x))], &["s"]).unwrap();
        assert_eq!(run(&sessions[1], &[("x", TensorRef::f32(&[300, 2], &x))], &["s"]).unwrap(), whole);
        assert_eq!(sessions[1].threads().run(|| run(&sessions[1], &[("x", TensorRef::f32(&[300, 2], &x))], &["s"])).unwrap(), whole);
        for row in [0, 17, 298] {
            let part = run(&sessions[0], &[("x", TensorRef::f32(&[2, 2], &x[row * 2..][..4]))], &["s"]).unwrap();
            assert_eq!(part[0].as_f32().unwrap(), &whole[0].as_f32().unwrap()[row * 2..][..4]);
        }
        let none = run(&sessions[0], &[("x", TensorRef::f32(&[0, 2], &[]))], &["s"]).unwrap();
        assert_eq!((none[0].shape.as_slice(), none[0].as_f32()), (&[0, 2][..], Some(&[][..])));
    }

    #[test]
    fn integers_are_narrowed() {
        let session = session();
        let out = run(&session, &[("i", TensorRef::i64(&[3], &[1, 0, -1]))], &["g", "ii"]).unwrap();
        assert_eq!(out[0].as_f32().unwrap(), [2.0, 0.25, 0.5, -1.0, 2.0, 0.25]);
        assert_eq!(out[1].as_i32().unwrap(), [2, 0, -2]);
        assert_eq!(run(&session, &[("i", TensorRef::i32(&[1], &[1]))], &["ii"]).unwrap()[0].as_i32().unwrap(), [2]);
        let wide = run(&session, &[("i", TensorRef::i64(&[1], &[1 << 40]))], &["g"]);
        assert!(matches!(wide, Err(SessionError::Given { .. })), "{wide:?}");
        // Out of range for the operator, not for the engine.
        let far = run(&session, &[("i", TensorRef::i64(&[1], &[2]))], &["g"]);
        assert!(matches!(far, Err(SessionError::Run(_))), "{far:?}");
    }

    #[test]
    fn bad_runs_are_errors() {
        let session = session();
        let x = ("x", TensorRef::f32(&[3, 2], &X));
        let error = |given: &[(&str, TensorRef<'_>)], want: &[&str]| run(&session, given, want).unwrap_err();
        assert!(matches!(error(&[x], &["nothing"]), SessionError::UnknownValue(_)));
        assert!(matches!(error(&[x], &["op.h"]), SessionError::UnknownValue(_)), "an operator is not a value");
        assert!(matches!(error(&[x, x], &["s"]), SessionError::Twice(_)));
        assert!(matches!(error(&[x], &["s", "s"]), SessionError::Twice(_)));
        assert!(matches!(error(&[x, ("w", TensorRef::f32(&[2, 2], &W))], &["s"]), SessionError::Constant(_)));
        assert!(matches!(error(&[("x", TensorRef::f32(&[4, 2], &X))], &["s"]), SessionError::Given { .. }));
        assert!(matches!(error(&[("x", TensorRef::f32(&[usize::MAX, 2], &X))], &["s"]), SessionError::Given { .. }));
        // The engine's own checks: the declared shape and type, and what operators refuse.
        assert!(matches!(error(&[("x", TensorRef::f32(&[2, 3], &X))], &["s"]), SessionError::Run(_)));
        assert!(matches!(error(&[("x", TensorRef::i32(&[1, 2], &[1, 2]))], &["s"]), SessionError::Run(_)));
        assert!(matches!(
            error(&[("y", TensorRef::i32(&[1, 2], &[1, 2])), ("h", TensorRef::i32(&[1], &[1]))], &["nope"]),
            SessionError::UnknownValue(_)
        ));
        assert!(matches!(error(&[("h", TensorRef::i32(&[1], &[1]))], &["y"]), SessionError::Run(_)));
        assert!(matches!(error(&[], &["s"]), SessionError::Run(_)), "a missing input");
        assert!(matches!(session.run(&[], &[ValueId(999)]), Err(SessionError::UnknownValue(_))));
    }

    /// A file that is removed at the end.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("irc-session-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            Self(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn weights_may_be_in_the_middle_of_any_file() {
        let mut bytes = vec![0xab; 64];
        bytes.extend(W.iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend([0xcd; 9]);
        let file = Temporary::new("weights.safetensors", &bytes);
        let name = file.0.file_name().unwrap().to_str().unwrap();
        let external =
            |location: &str, offset: u64, length: u64| TensorProto::external("w", DataType::Float, &[2, 2], location, offset, length);
        let load = |tensor: TensorProto, path: Option<&Path>| Session::load(tiny(tensor), path, options(1));
        let x = ("x", TensorRef::f32(&[3, 2], &X));
        let expected = run(&session(), &[x], &["s"]).unwrap();
        // By file, whatever the model calls it, and by folder.
        for (location, path) in [("elsewhere/model.bin", file.0.as_path()), (name, file.0.parent().unwrap())] {
            let session = load(external(location, 64, 16), Some(path)).unwrap();
            assert_eq!(run(&session, &[x], &["s"]).unwrap(), expected);
        }

        let error = |tensor: TensorProto, path: Option<&Path>| load(tensor, path).unwrap_err();
        let path = Some(file.0.as_path());
        assert!(matches!(error(external(name, 64, 16), None), SessionError::Weights { .. }), "no folder");
        assert!(matches!(error(external("no-such-file", 64, 16), file.0.parent()), SessionError::Weights { .. }));
        assert!(matches!(error(external("../etc/passwd", 64, 16), file.0.parent()), SessionError::Weights { .. }));
        assert!(matches!(error(external(name, 80, 16), path), SessionError::Model(_)), "ends too early");
        assert!(matches!(error(external(name, u64::MAX, 16), path), SessionError::Model(_)));
        assert!(matches!(error(external(name, 62, 16), path), SessionError::Model(_)), "not aligned");
        assert!(matches!(error(external(name, 64, 12), path), SessionError::Model(_)), "fewer elements than the shape");
        let empty = Temporary::new("empty", &[]);
        assert!(load(external(name, 0, 16), Some(&empty.0)).is_err());
    }

    #[test]
    fn bad_models_are_errors() {
        let load = |model: ModelProto| Session::load(model, None, options(1)).map(|_| ());
        assert!(matches!(load(ModelProto::default()), Err(SessionError::Model(_))));
        let with = |change: &dyn Fn(&mut GraphProto)| {
            let mut model = tiny(inline());
            change(model.graph.as_mut().unwrap());
            load(model)
        };
        assert!(with(&|_| ()).is_ok());
        assert!(matches!(with(&|g| g.node[0].op_type = "NoSuchOp".to_owned()), Err(SessionError::Model(_))));
        assert!(matches!(with(&|g| g.node[0].domain = "nowhere".to_owned()), Err(SessionError::Model(_))));
        assert!(matches!(with(&|g| g.initializer[0].dims = vec![-1, 2]), Err(SessionError::Model(_))));
        assert!(matches!(with(&|g| g.initializer[0].dims = vec![3, 2]), Err(SessionError::Model(_))));
        assert!(matches!(with(&|g| g.initializer[0].data_type = 77), Err(SessionError::Model(_))));
        assert!(matches!(with(&|g| g.input[0].name.clear()), Err(SessionError::Model(_))));
        // Circles and loose ends load; running into them is the error.
        let mut circle = tiny(inline());
        circle.graph.as_mut().unwrap().node[0].input[0] = "s".to_owned();
        let circle = Session::load(circle, None, options(1)).unwrap();
        assert!(matches!(run(&circle, &[], &["s"]), Err(SessionError::Run(_))));
    }
}
