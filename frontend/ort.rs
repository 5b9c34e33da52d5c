//! Where ONNX Runtime is found, and how it gets here.
//!
//! It is a library that is loaded when it is asked for: one of the user's own, or one from a wheel that `pip` downloads into the
//! cache. Nothing of a wheel is run or installed.

pub mod cuda;
mod setup;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use irc_backends::{
    Backend,
    execute::Driven,
    ort::{
        Device, Ort, Precision, WholeGraph,
        runtime::{self, Runtime, check},
    },
};
use irc_ir::{code::Code, diagnostic::Diagnostic};

use crate::models::cache::{Cache, OnProgress};

pub use setup::{setup, unchecked};

/// The version that [`setup`] brings.
pub const VERSION: &str = "1.31.1";

/// The variable of the environment that names a library of one's own.
pub const VARIABLE: &str = "IRC_ORT_LIBRARY";

/// What a wheel of ONNX Runtime is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The processor.
    Cpu,
    /// The processor, and NVIDIA cards by way of CUDA 13.
    Cuda,
}

impl Target {
    /// The name of the package on PyPI.
    pub fn package(self) -> &'static str {
        match self {
            Target::Cpu => "onnxruntime",
            Target::Cuda => "onnxruntime-gpu",
        }
    }

    /// The sizes of the Linux wheels on x86-64; those of other systems differ little.
    fn wheel_bytes(self) -> u64 {
        match self {
            Target::Cpu => 23_753_652,
            Target::Cuda => 255_569_273,
        }
    }

    fn folder(self, cache: &Cache) -> PathBuf {
        let name = match self {
            Target::Cpu => "cpu",
            Target::Cuda => "cuda",
        };
        cache.runtimes().join(format!("onnxruntime-{VERSION}-{name}"))
    }
}

/// A library that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Library {
    /// Where it is.
    pub path: PathBuf,
    /// Its version: `1.31.1`.
    pub version: String,
    /// The providers that lie beside it, each a way to compute: `cuda`, `shared`, `tensorrt`.
    pub providers: Vec<String>,
}

impl Library {
    /// Looks at the library at `path`.
    ///
    /// # Errors
    /// E0016 if it cannot be used.
    pub fn open(path: &Path) -> Result<Library, Diagnostic> {
        check(path)?;
        let beside = path.parent().map(names_in).unwrap_or_default();
        let mut providers: Vec<String> = beside.iter().filter_map(|name| provider(name)).map(str::to_owned).collect();
        providers.sort();
        Ok(Library { path: path.to_owned(), version: runtime::version(path), providers })
    }

    /// Whether the provider for CUDA lies beside it.
    pub fn has_cuda(&self) -> bool {
        self.providers.iter().any(|name| name == "cuda")
    }

    /// The library in a folder of the cache.
    fn in_folder(folder: &Path) -> Result<Library, Diagnostic> {
        Library::open(&library_in(folder).ok_or_else(|| missing(&format!("there is none in {}", folder.display())))?)
    }
}

/// Where ONNX Runtime is: `explicit`, else what `IRC_ORT_LIBRARY` names, else what `irc setup ort` brought.
///
/// What is named is given back as it is; that it can be used is found when it is loaded.
///
/// # Errors
/// E0016 if none is named and none is in the cache.
pub fn library(explicit: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    if let Some(path) = own_library() {
        return Ok(path);
    }
    cached(&[Target::Cpu, Target::Cuda])?.ok_or_else(|| missing("it is not installed"))
}

/// ONNX Runtime as a backend, from the library at `path`: stage by stage where that can be, on the processor in f32, unless
/// `whole_graph`; otherwise with programs as whole graphs. It computes on `threads` threads, or on all cores.
///
/// # Errors
/// E0016 if the library or the device cannot be used; E4005 if the device has no kernels for the precision; E4003 if the system
/// gives no threads.
pub fn backend(
    path: &Path,
    threads: Option<usize>,
    device: Device,
    precision: Precision,
    whole_graph: bool,
) -> Result<Box<dyn Backend>, Diagnostic> {
    let runtime = Runtime::load(path, threads)?;
    Ok(match (device, precision) {
        (Device::Cpu, Precision::F32) if !whole_graph => Box::new(Driven::new(Ort::new(runtime, threads)?)),
        _ => Box::new(WholeGraph::new(runtime, device, precision)?),
    })
}

/// ONNX Runtime for `target`: what `IRC_ORT_LIBRARY` names, else what is in the cache, else what [`setup`] brings there.
///
/// # Errors
/// Those of [`setup`].
pub fn library_or_setup(target: Target, progress: OnProgress<'_>) -> Result<PathBuf, Diagnostic> {
    if let Some(path) = own_library() {
        return Ok(path);
    }
    // The build for CUDA computes on the processor, too.
    let builds = match target {
        Target::Cpu => &[Target::Cpu, Target::Cuda][..],
        Target::Cuda => &[Target::Cuda],
    };
    match cached(builds)? {
        Some(path) => Ok(path),
        None => setup(target, None, progress).map(|library| library.path),
    }
}

/// The library that the environment names.
fn own_library() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The first of these builds that is in the cache.
fn cached(builds: &[Target]) -> Result<Option<PathBuf>, Diagnostic> {
    let cache = Cache::of_user()?;
    Ok(builds.iter().find_map(|target| library_in(&target.folder(&cache))))
}

fn missing(why: &str) -> Diagnostic {
    Diagnostic::error(Code::E0016, format!("ONNX Runtime cannot be used: {why}"))
        .help("run `irc setup ort`")
        .help(format!("or name a library of your own with `--ort-library PATH` or {VARIABLE}"))
}

/// The version in the name of the library itself: `libonnxruntime.so.1.31.1`, on macOS `libonnxruntime.1.31.1.dylib`.
fn library_version(name: &str) -> Option<&str> {
    let version = match cfg!(target_os = "macos") {
        true => name.strip_prefix("libonnxruntime.")?.strip_suffix(".dylib")?,
        false => name.strip_prefix("libonnxruntime.so.")?,
    };
    version.starts_with(|first: char| first.is_ascii_digit()).then_some(version)
}

/// The provider that a library beside the main one is.
fn provider(name: &str) -> Option<&str> {
    let end = if cfg!(target_os = "macos") { ".dylib" } else { ".so" };
    name.strip_prefix("libonnxruntime_providers_")?.strip_suffix(end)
}

fn library_in(folder: &Path) -> Option<PathBuf> {
    let names = names_in(folder);
    names.iter().find(|name| library_version(name).is_some()).map(|name| folder.join(name))
}

fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
