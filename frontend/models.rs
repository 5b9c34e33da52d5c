//! Models: found by name or path, described without weights, loaded when something runs.
//!
//! One file an architecture ([`llama`] and others, which [`architectures`] lists; [`induction`]), one a format ([`huggingface`],
//! [`gguf`]); [`cache`] keeps what was converted, and [`fetch`] brings it.

pub mod activation;
pub mod architectures;
pub mod cache;
mod config;
mod convert;
pub mod decode_stream;
pub mod fetch;
pub mod generation;
pub mod gguf;
pub mod gpt2;
pub mod gpt_neox;
pub mod huggingface;
pub mod induction;
pub mod llama;
pub mod mistral;
pub mod qwen2;
pub mod qwen3;
mod rope;
pub mod tokenizer;
pub(crate) mod wheel;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use irc_backends::{Handle, weights::Weights};
use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    model::ModelSpec,
    types::{DType, Name, TensorType},
};

use crate::trace::Session;
use cache::{Cache, CachedModel, OnProgress};
use tokenizer::Tokenizer;

/// The name of the model that is part of the program.
pub const BUILT_IN: &str = "induction";

/// A model: what the compiler knows of it, its tokenizer, and where its weights are. Clones are the same model.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    name: String,
    spec: Arc<ModelSpec>,
    source: Source,
    tokenizer: OnceLock<Tokenizer>,
    weights: Mutex<Option<Arc<Weights>>>,
}

/// Where a model is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// In the program.
    BuiltIn,
    /// In the cache, ready to run.
    Cached(CachedModel),
    /// In a Hugging Face folder; its weights, should it have some, are converted into the cache at the first run.
    Folder(huggingface::Folder),
    /// In a GGUF file; its weights are converted into the cache at the first run.
    Gguf(PathBuf),
}

impl Model {
    /// Opens a model by its name, or by the path of a model's folder or of a GGUF file. Weights are not read yet; a Hugging Face
    /// folder with a configuration alone can be opened, too, and programs can be checked with it.
    ///
    /// # Errors
    /// E4002 if there is no such model here, with what to do; E0011 and E0012 if it is damaged.
    pub fn open(name: &str) -> Result<Model, Diagnostic> {
        Model::open_with(name, &mut |_| {})
    }

    /// [`Model::open`], with the progress of what takes long: the conversion of a package that is new.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(name: &str, progress: OnProgress<'_>) -> Result<Model, Diagnostic> {
        // A name is not a path: a folder that happens to be called like a model must not hide it.
        let path = Path::new(name);
        let is_path = path.components().count() > 1
            || path.is_absolute()
            || name.starts_with('.')
            || name.ends_with(std::path::is_separator)
            || path.extension().is_some_and(|end| end == "gguf");
        if name == BUILT_IN {
            let tokenizer = Tokenizer::from_words(induction::WORDS);
            return Ok(Model::new(name.to_owned(), induction::spec()?, Source::BuiltIn, Some(tokenizer)));
        }
        if is_path && path.is_dir() {
            if CachedModel::is_at(path) {
                return Model::cached(name, CachedModel::open(path)?);
            }
            let folder = huggingface::Folder::open(path)?;
            return Ok(Model::new(name.to_owned(), folder.spec()?, Source::Folder(folder), None));
        }
        if is_path && gguf::Gguf::is_at(path) {
            return Ok(Model::new(name.to_owned(), gguf::spec(path)?, Source::Gguf(path.to_owned()), None));
        }
        if is_path && path.is_file() {
            return Model::cached(name, fetch::import(path, progress)?);
        }
        match Cache::of_user()?.find(name)? {
            Some(model) => Model::cached(name, model),
            None => Err(not_here(name)),
        }
    }

    /// Fetches a model that has a name, unless it is in the cache, and opens it.
    ///
    /// # Errors
    /// E0013 and E4002 if it cannot be had, with what to do.
    pub fn fetch(name: &str, progress: OnProgress<'_>) -> Result<Model, Diagnostic> {
        let folder = fetch::fetch(name, None, progress)?;
        Model::cached(name, CachedModel::open(&folder)?)
    }

    fn new(name: String, spec: ModelSpec, source: Source, tokenizer: Option<Tokenizer>) -> Model {
        let tokenizer = tokenizer.map_or_else(OnceLock::new, OnceLock::from);
        Model(Arc::new(Inner { name, spec: Arc::new(spec), source, tokenizer, weights: Mutex::default() }))
    }

    fn cached(name: &str, cached: CachedModel) -> Result<Model, Diagnostic> {
        let path = cached.config();
        let spec = huggingface::spec(&huggingface::read_config(&path, Code::E0012)?, &path)?;
        Ok(Model::new(name.to_owned(), spec, Source::Cached(cached), None))
    }

    /// The name or path that it was opened by.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What the compiler knows of it.
    pub fn spec(&self) -> &Arc<ModelSpec> {
        &self.0.spec
    }

    /// Where it is.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// The model's folder in the cache; a Hugging Face folder or a GGUF file is converted unless that was done before. None for
    /// the built-in model.
    ///
    /// # Errors
    /// E4002 if the folder has no weights; E0011 and E0012 if they are damaged or do not fit.
    pub fn in_cache(&self, progress: OnProgress<'_>) -> Result<Option<CachedModel>, Diagnostic> {
        match &self.0.source {
            Source::BuiltIn => Ok(None),
            Source::Cached(cached) => Ok(Some(cached.clone())),
            Source::Folder(folder) => fetch::import(folder.path(), progress).map(Some),
            Source::Gguf(path) => fetch::import(path, progress).map(Some),
        }
    }

    /// The tokenizer, read at its first use.
    ///
    /// # Errors
    /// E2008 if it has none, E0011 if its file is damaged.
    pub fn tokenizer(&self) -> Result<&Tokenizer, Diagnostic> {
        if let Some(tokenizer) = self.0.tokenizer.get() {
            return Ok(tokenizer);
        }
        let tokenizer = match &self.0.source {
            Source::BuiltIn => None,
            Source::Cached(cached) => cached.tokenizer().map(|path| Tokenizer::open(&path)),
            Source::Folder(folder) => folder.tokenizer().map(|path| Tokenizer::open(&path)),
            Source::Gguf(path) => Some(Tokenizer::from_gguf(path)),
        };
        let tokenizer = tokenizer.ok_or_else(|| {
            Diagnostic::error(Code::E2008, format!("`{}` has no tokenizer: there is no {}", self.name(), cache::TOKENIZER))
                .help("give token ids; or, in Python, `AutoTokenizer.from_pretrained(name).save_pretrained(folder)` writes the file")
        })?;
        let tokenizer = tokenizer?;
        Ok(self.0.tokenizer.get_or_init(|| tokenizer))
    }

    /// The token ids of a text, without special tokens around it.
    ///
    /// # Errors
    /// E0012 if the tokenizer is damaged; E2008 if the text has words that the model does not know.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>, Diagnostic> {
        self.tokenizer()?.encode(text)
    }

    /// The text of token ids. Without a tokenizer: the ids.
    pub fn decode(&self, ids: &[i64]) -> String {
        match self.tokenizer() {
            Ok(tokenizer) => tokenizer.decode(ids),
            Err(_) => format!("{ids:?}"),
        }
    }

    /// The model with its weights, which are mapped at the first call.
    ///
    /// # Errors
    /// As [`Model::in_cache`].
    pub fn handle(&self) -> Result<Handle, Diagnostic> {
        self.handle_with(&mut |_| {})
    }

    /// [`Model::handle`], with the progress of what takes long: the conversion of a folder or file that is new.
    ///
    /// # Errors
    /// As [`Model::in_cache`].
    pub fn handle_with(&self, progress: OnProgress<'_>) -> Result<Handle, Diagnostic> {
        let mut kept = self.0.weights.lock().unwrap_or_else(PoisonError::into_inner);
        let weights = match &*kept {
            Some(weights) => weights.clone(),
            None => {
                let weights = match self.in_cache(progress)? {
                    None => Weights::from_tensors(induction::weights()),
                    Some(cached) => map_weights(&cached)?,
                };
                weights.check(self.spec())?;
                kept.insert(weights).clone()
            }
        };
        Ok(Handle { spec: self.spec().clone(), weights })
    }

    /// A session of traces of this model, which programs call `m`.
    #[track_caller]
    pub fn session(&self) -> Session {
        let session = Session::new();
        session.with_model("m", self);
        session
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Model").field(&self.name()).finish()
    }
}

/// The weights of a cached model: a safetensors file, whose tensors engines read in place.
fn map_weights(cached: &CachedModel) -> Result<Arc<Weights>, Diagnostic> {
    let path = cached.weights();
    let (begin, metadata) = cached.header()?;
    let table = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let ty = TensorType::new(DType::F32, info.shape.iter().map(|&size| size.into()));
        (Name::from(name), ty, begin + start as u64, (end - start) as u64)
    });
    Weights::mapped(&path, table)
}

fn not_here(name: &str) -> Diagnostic {
    let known: Vec<&str> = fetch::KNOWN.iter().map(|known| known.name).collect();
    let error = Diagnostic::error(Code::E4002, format!("there is no model `{name}` here"));
    if known.contains(&name) {
        return error.help(format!("fetch it once: `irc model fetch {name}`"));
    }
    let error = error.suggest(name, known.into_iter().chain([BUILT_IN]));
    if Path::new(name).exists() {
        return error.help(format!("`./{name}` is the path of what is here under this name"));
    }
    error.help("give a name that `irc model list` shows, or the path of a model's folder (config.json, safetensors) or of a GGUF file, such as `./model`")
}
