//! SHA-256 of files that are written, and of files that are read; the latter is remembered.
//!
//! A model is known by the SHA-256 of its files, and to compute that of many gigabytes at every run would take longer than the
//! run. So it is kept beside the file's size, its times and its place on the disk, and counts as long as none of them changes.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use irc_ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Cache, FileRecord, OnProgress, Progress, Stage, cannot, make_folder, read_limited};

/// A file of a model that is being written: counts and hashes what goes into it.
pub(in crate::models) struct Recorded {
    path: PathBuf,
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Recorded {
    pub(in crate::models) fn create(path: &Path) -> Result<Recorded, Diagnostic> {
        let file = File::create(path).map_err(|error| cannot("write", path, &error))?;
        Ok(Recorded { path: path.to_owned(), file, hash: Sha256::new(), bytes: 0 })
    }

    /// Waits until the bytes are on the disk: a rename must not become durable before what it names.
    pub(in crate::models) fn finish(self) -> Result<FileRecord, Diagnostic> {
        self.file.sync_all().map_err(|error| cannot("write", &self.path, &error))?;
        Ok(FileRecord { bytes: self.bytes, sha256: hex(self.hash) })
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256_of(path: &Path, progress: OnProgress<'_>) -> Result<String, Diagnostic> {
    let mut file = File::open(path).map_err(|error| cannot("open", path, &error))?;
    let total = file.metadata().map_or(0, |file| file.len());
    sha256_of_reader(&mut file, total, progress).map_err(|error| cannot("read", path, &error))
}

/// SHA-256 of all that a reader gives, in hexadecimal.
pub(in crate::models) fn sha256_of_reader(reader: &mut dyn Read, total: u64, progress: OnProgress<'_>) -> io::Result<String> {
    let (mut hash, mut buffer, mut done) = (Sha256::new(), vec![0; 1 << 18], 0);
    loop {
        progress(Progress { stage: Stage::Checking, done, total });
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex(hash)),
            Ok(count) => {
                hash.update(&buffer[..count]);
                done += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// SHA-256 of a text, in hexadecimal.
pub(in crate::models) fn sha256_of_text(text: &str) -> String {
    hex(Sha256::new_with_prefix(text))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of what is remembered; one small file a path, named by its SHA-256.
pub(super) const DIGESTS: &str = "digests";

/// A file that changed less than this ago could change again without a sign of it: clocks of file systems are coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// What is remembered of a file.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    sha256: String,
    state: State,
}

/// What changes when a file does.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct State {
    bytes: u64,
    /// When it was last written to, since 1970.
    modified: Duration,
    /// Where the system tells: the device, the number of the file, and when its content, name or times were last changed, which
    /// no program can set.
    identity: Option<[i64; 4]>,
}

impl State {
    fn of(file: &Metadata) -> Option<State> {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            Some([file.dev().cast_signed(), file.ino().cast_signed(), file.ctime(), file.ctime_nsec()])
        };
        #[cfg(not(unix))]
        let identity = None;
        let modified = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(State { bytes: file.len(), modified, identity })
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = self.identity.map_or(self.modified, |[.., seconds, _]| Duration::from_secs(seconds.max(0).cast_unsigned()));
        now.duration_since(UNIX_EPOCH).is_ok_and(|now| now.saturating_sub(changed.max(self.modified)) > SETTLED)
    }
}

impl Cache {
    /// SHA-256 of one of the user's files, in hexadecimal: read, or as it was found when the file was in its present state.
    pub(in crate::models) fn sha256_of(&self, path: &Path, progress: OnProgress<'_>) -> Result<String, Diagnostic> {
        let state = || fs::metadata(path).ok().and_then(|file| State::of(&file));
        let kept = path.canonicalize().ok().map(|path| self.root.join(DIGESTS).join(sha256_of_text(&path.to_string_lossy())));
        let (Some(before), Some(kept)) = (state(), kept) else { return sha256_of(path, progress) };
        let known = read_limited(&kept, 1 << 12).ok().and_then(|text| serde_json::from_slice::<Remembered>(&text).ok());
        if let Some(known) = known.filter(|known| known.state == before) {
            return Ok(known.sha256);
        }
        let now = SystemTime::now();
        let sha256 = sha256_of(path, progress)?;
        if before.is_settled(now) && state().as_ref() == Some(&before) {
            let remembered = Remembered { sha256: sha256.clone(), state: before };
            // Should this not work, it is computed again the next time.
            let _ = serde_json::to_vec(&remembered).map(|text| make_folder(&self.root.join(DIGESTS)).map(|()| fs::write(&kept, text)));
        }
        Ok(sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Scratch, *};

    #[test]
    fn a_digest_is_kept_until_the_file_changes() {
        let scratch = Scratch::new("digest");
        let cache = Cache::at(scratch.0.join("cache"));
        let path = scratch.0.join("file");
        let digest = || {
            let mut read = 0;
            let sha256 = cache.sha256_of(&path, &mut |_| read += 1).unwrap();
            (sha256, read > 0)
        };
        let (one, two) = (sha256_of_text("one"), sha256_of_text("two"));
        fs::write(&path, "one").unwrap();
        // Just written, so it is read each time.
        assert_eq!((digest(), digest()), ((one.clone(), true), (one.clone(), true)));
        assert!(!State::of(&fs::metadata(&path).unwrap()).unwrap().is_settled(SystemTime::now()));
        assert!(State::of(&fs::metadata(&path).unwrap()).unwrap().is_settled(SystemTime::now() + 2 * SETTLED));

        // As if it had been settled.
        let remember = |sha256: &str| {
            let state = State::of(&fs::metadata(&path).unwrap()).unwrap();
            let kept = cache.root.join(DIGESTS).join(sha256_of_text(&path.canonicalize().unwrap().to_string_lossy()));
            make_folder(kept.parent().unwrap()).unwrap();
            fs::write(kept, serde_json::to_vec(&Remembered { sha256: sha256.into(), state }).unwrap()).unwrap();
        };
        remember("known");
        assert_eq!(digest(), ("known".to_owned(), false));
        // Of the same size, and with the same time of writing: the system knows better.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        if cfg!(unix) {
            assert_eq!(digest(), (two, true));
        }
        assert!(cache.clean().is_ok() && !cache.root.join(DIGESTS).exists());
    }
}
