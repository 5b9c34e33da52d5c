//! The library of ONNX Runtime: found, checked, loaded once a process.

use std::{
    ffi::CStr,
    path::{Path, PathBuf},
    ptr::{self, NonNull},
    sync::{Arc, Mutex, PoisonError},
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};
use ort::{
    AsPointer,
    environment::{Environment, GlobalThreadPoolOptions},
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    sys::OrtStatusPtr,
};

/// The oldest minor version of ONNX Runtime 1 that is taken: older ones lack functions, and some of those abort the process.
pub const OLDEST: u32 = 24;

/// ONNX Runtime, loaded.
pub struct Runtime {
    path: PathBuf,
    version: String,
    pub(crate) environment: Environment,
}

/// A process has one, for as long as it lives: the library cannot be unloaded, nor its environment made twice.
static LOADED: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

impl Runtime {
    /// Loads the library at `path`. All sessions share `threads` threads, which sleep while there is nothing to do; all cores
    /// where none are given.
    ///
    /// What is loaded first stays: a second call with the same path gives what is there, whatever threads it asks for.
    ///
    /// # Errors
    /// E0016 if there is no such library, it is damaged or older than 1.24, or another one is loaded already.
    pub fn load(path: &Path, threads: Option<usize>) -> Result<Arc<Runtime>, Diagnostic> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let path = path.canonicalize().map_err(|error| unusable(path, format!("it cannot be opened: {error}")))?;
        if let Some(runtime) = &*loaded {
            return match runtime.path == path {
                true => Ok(runtime.clone()),
                false => Err(unusable(&path, format!("this process already runs on {}", runtime.path.display()))),
            };
        }
        check(&path)?;
        let builder = ort::init_from(&path).map_err(|error| unusable(&path, error))?;
        let pool = GlobalThreadPoolOptions::default().with_spin_control(false);
        let pool = pool.and_then(|pool| pool.with_intra_threads(threads.unwrap_or(0))).map_err(|error| unusable(&path, error))?;
        let environment =
            builder.with_name("irc").with_telemetry(false).with_global_thread_pool(pool).build().map_err(|error| unusable(&path, error))?;
        share_arena(&environment).map_err(|error| unusable(&path, error))?;
        let runtime = Arc::new(Runtime { version: version(&path), path, environment });
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// Where the library is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version: `1.31.1`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Whether the file is a library of ONNX Runtime that can be used; it is not kept loaded.
///
/// # Errors
/// E0016 with what is wrong with it.
pub fn check(path: &Path) -> Result<u32, Diagnostic> {
    if !path.is_file() {
        return Err(unusable(path, "there is no such file"));
    }
    match ort::util::probe(path) {
        Some(minor) if minor >= OLDEST => Ok(minor),
        Some(minor) => Err(unusable(path, format!("it is version 1.{minor}, and 1.{OLDEST} is the oldest that works"))),
        None => Err(unusable(path, "it is not a library of ONNX Runtime that can be loaded here")),
    }
}

/// Gives all sessions one arena for their temporaries: each would keep its own largest ones otherwise, for every layer anew.
fn share_arena(environment: &Environment) -> ort::Result<()> {
    let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
    // SAFETY: both pointers are of live objects, and no configuration means the default one.
    let status = unsafe { (ort::api().CreateAndRegisterAllocator)(environment.ptr().cast_mut(), info.ptr(), ptr::null()) };
    checked(status)
}

/// What the functions of the library return: nothing, or why they failed.
pub(super) fn checked(status: OrtStatusPtr) -> ort::Result<()> {
    match NonNull::new(status.0) {
        None => Ok(()),
        Some(status) => {
            // SAFETY: a status belongs to who gets it; its text is copied before it goes.
            let message = unsafe { CStr::from_ptr((ort::api().GetErrorMessage)(status.as_ptr())) }.to_string_lossy().into_owned();
            unsafe { (ort::api().ReleaseStatus)(status.as_ptr()) };
            Err(ort::Error::new(message))
        }
    }
}

/// The version of a library that [`check`] takes: `1.31.1`, or `1.31` where its name says no more.
pub fn version(path: &Path) -> String {
    // The API has no call for the whole version; wheels name their library after it.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let named = name.split_once(".so.").map(|(_, version)| version.to_owned());
    named.unwrap_or_else(|| ort::util::probe(path).map_or_else(|| "1".to_owned(), |minor| format!("1.{minor}")))
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(Code::E0016, format!("ONNX Runtime cannot be used: {why}"))
        .label(Span::file(path, ""), "")
        .help("`irc setup ort` brings a version that works")
}
