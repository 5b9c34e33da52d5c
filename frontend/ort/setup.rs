//! How ONNX Runtime gets into the cache: out of a wheel, which holds what its makers published or is refused.

use std::{
    collections::BTreeMap,
    env::consts,
    fs,
    path::{Path, PathBuf},
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};

use super::{Library, Target, VARIABLE, VERSION, library_version, names_in, provider};
use crate::models::{
    cache::{Cache, OnProgress, cannot, sha256_of},
    wheel::{self, Package},
};

/// There is a wheel for every version of Python, and on some systems the libraries in them differ, so it is always that of this
/// one, whichever Python is here: it is not this Python that will use them.
const PYTHON: &str = "3.12";

/// Names of libraries and the SHA-256 of their content.
type Digests = &'static [(&'static str, &'static str)];

/// What the wheel of version [`VERSION`] for [`PYTHON`] holds, as published on PyPI; none for a system whose wheel is not known.
fn published(target: Target, system: &str, architecture: &str) -> Option<Digests> {
    match (target, system, architecture) {
        (Target::Cpu, "linux", "x86_64") => Some(&[
            ("libonnxruntime.so.1.31.1", "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3"),
            ("libonnxruntime_providers_shared.so", "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d"),
        ]),
        (Target::Cpu, "linux", "aarch64") => Some(&[
            ("libonnxruntime.so.1.31.1", "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467"),
            ("libonnxruntime_providers_shared.so", "3b6be288fbfb7dff8770d08a23defdde18e8f7e0f5a2b344a0e5e238c999ea88"),
        ]),
        (Target::Cpu, "macos", "aarch64") => {
            Some(&[("libonnxruntime.1.31.1.dylib", "d586cbe89effc085a09d3341b3cfbd5c322517f9d397aeb20814af21433f2b36")])
        }
        (Target::Cuda, "linux", "x86_64") => Some(&[
            ("libonnxruntime.so.1.31.1", "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303"),
            ("libonnxruntime_providers_cuda.so", "8387867e857499e045caff5d13ac6a5de29571c801562fa2dde0e45f1f31de52"),
            ("libonnxruntime_providers_shared.so", "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d"),
            ("libonnxruntime_providers_tensorrt.so", "1882ee49fdb0e6fc2d272b00cfaf9a3310bf8580a34385c0eec4d82014ea172e"),
        ]),
        _ => None,
    }
}

/// Why what [`setup`] brings for `target` is taken as it is, where it is: the content of the wheels for this system is not known
/// to this version.
pub fn unchecked(target: Target) -> Option<String> {
    let known = published(target, consts::OS, consts::ARCH);
    let of = || format!("no SHA-256 is known of {} {VERSION} for {} on {}", target.package(), consts::OS, consts::ARCH);
    known.is_none().then(of)
}

/// Puts ONNX Runtime into the user's cache, and says what is there. One that is there already, with the content that it was
/// published with, costs no download.
///
/// `from` is a wheel of version [`VERSION`], for machines without a network.
///
/// # Errors
/// E4002 without Python or pip, E0013 if the download fails or a wheel holds something else than was published, E0011 for a
/// damaged wheel, E0016 if the wheel has no library that works here.
pub fn setup(target: Target, from: Option<&Path>, progress: OnProgress<'_>) -> Result<Library, Diagnostic> {
    if !cfg!(any(target_os = "linux", target_os = "macos")) {
        return Err(Diagnostic::error(Code::E0016, "ONNX Runtime can be set up on Linux and macOS only")
            .help(format!("name a library of your own with `--ort-library PATH` or {VARIABLE}")));
    }
    let cache = Cache::of_user()?;
    let known = published(target, consts::OS, consts::ARCH);
    let open = |folder: &Path| {
        // To look at a library is to run it, so what it holds is compared before.
        known.map_or(Ok(()), |known| compare(folder, known, &mut |_| {})).map_err(|difference| difference.in_cache(folder))?;
        open(target, folder)
    };
    cache.get_or_build(&target.folder(&cache), open, progress, |tmp, made, progress| {
        let wheel = match from {
            Some(wheel) => wheel.to_owned(),
            None => download(target, tmp, progress)?,
        };
        unpack(&wheel, made, progress)?;
        if let Some(known) = known {
            compare(made, known, progress).map_err(|difference| difference.in_wheel(target, &wheel, from.is_some()))?;
        }
        // What is unpacked goes where it does not work; the wheel is what can be spoken of.
        let not_here = |error: Diagnostic| {
            let error = Diagnostic::error(error.code, error.message).label(Span::file(&wheel, ""), "");
            let error = match target {
                Target::Cpu => error,
                Target::Cuda => error.help(format!("CUDA needs the package {}", target.package())),
            };
            error.help(format!("a library of your own can be named with `--ort-library PATH` or {VARIABLE}"))
        };
        self::open(target, made).map(drop).map_err(not_here)
    })
}

/// The library in a folder, where it is one for `target`.
fn open(target: Target, folder: &Path) -> Result<Library, Diagnostic> {
    let library = Library::in_folder(folder)?;
    match target == Target::Cuda && !library.has_cuda() {
        true => Err(Diagnostic::error(Code::E0016, "ONNX Runtime cannot be used: it was built without CUDA")),
        false => Ok(library),
    }
}

fn download(target: Target, tmp: &Path, progress: OnProgress<'_>) -> Result<PathBuf, Diagnostic> {
    let flag = if target == Target::Cuda { " --cuda" } else { "" };
    let package = Package {
        name: target.package(),
        version: VERSION,
        python: Some(PYTHON),
        bytes: target.wheel_bytes(),
        purpose: "setting up ONNX Runtime",
        from: format!("irc setup ort{flag} --from PATH"),
    };
    wheel::download(&package, tmp, progress)
}

/// A library that is not what was published.
enum Difference {
    /// It has another content, is not there, or should not be there.
    Content { name: String, expected: Option<&'static str>, found: Option<String> },
    /// It could not be read.
    Unreadable(Diagnostic),
}

/// Compares the libraries in a folder with what was published.
fn compare(folder: &Path, published: Digests, progress: OnProgress<'_>) -> Result<(), Difference> {
    let mut expected: BTreeMap<String, Option<&'static str>> = names_in(folder).into_iter().map(|name| (name, None)).collect();
    expected.extend(published.iter().map(|(name, sha256)| ((*name).to_owned(), Some(*sha256))));
    for (name, expected) in expected {
        let path = folder.join(&name);
        let found = path.exists().then(|| sha256_of(&path, progress)).transpose().map_err(Difference::Unreadable)?;
        if found.as_deref() != expected {
            return Err(Difference::Content { name, expected, found });
        }
    }
    Ok(())
}

impl Difference {
    fn in_cache(self, folder: &Path) -> Diagnostic {
        match self {
            Difference::Unreadable(error) => error,
            Difference::Content { name, .. } => Diagnostic::error(Code::E0012, format!("{name} is not what was published"))
                .label(Span::file(&folder.join(name), "sha256"), ""),
        }
    }

    /// What is wrong with a wheel, which came from pip or, if it is `own`, from the user.
    fn in_wheel(self, target: Target, wheel: &Path, own: bool) -> Diagnostic {
        let (name, expected, found) = match self {
            Difference::Unreadable(error) => return error,
            Difference::Content { name, expected, found } => {
                (name, expected.unwrap_or("no such file"), found.unwrap_or("no such file".into()))
            }
        };
        let package = target.package();
        let error = Diagnostic::error(Code::E0013, format!("the wheel does not hold what was published as {package} {VERSION}"))
            .label(Span::file(wheel, name.as_str()), "")
            .note(format!("SHA-256 of {name}: expected {expected}, found {found}"));
        let error = match own {
            true => error.help(format!(
                "the wheel that is known is that for Python {PYTHON}: `pip download --no-deps --only-binary=:all: --python-version {PYTHON} \
                 {package}=={VERSION}`"
            )),
            false => error.help("try again; if it stays so, ask whoever runs the package index or the proxy that pip uses"),
        };
        error.help(format!("a library that you trust can be named with `--ort-library PATH` or {VARIABLE}"))
    }
}

/// Takes the library and its providers out of a wheel.
fn unpack(wheel: &Path, to: &Path, progress: OnProgress<'_>) -> Result<(), Diagnostic> {
    let mut archive = wheel::open(wheel)?;
    let members: Vec<String> = archive.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect();
    // The names are those of files right there: none leads out of the folder.
    let wanted = |member: &&String| capi(member).is_some_and(|name| library_version(name).is_some() || provider(name).is_some());
    let wanted: Vec<&String> = members.iter().filter(wanted).collect();
    let versions: Vec<&str> = wanted.iter().filter_map(|member| library_version(capi(member)?)).collect();
    if versions != [VERSION] {
        let found = if versions.is_empty() { "none for this system".to_owned() } else { versions.join(", ") };
        return Err(Diagnostic::error(Code::E0016, format!("the wheel does not have ONNX Runtime {VERSION}"))
            .label(Span::file(wheel, ""), "")
            .note(format!("it has {found}"))
            .help(format!("a library of another version can be named with `--ort-library PATH` or {VARIABLE}")));
    }
    for member in wanted {
        let Some(name) = capi(member) else { continue };
        wheel::unpack(&mut archive, wheel, member, &to.join(name), progress)?;
    }
    fs::File::open(to).and_then(|folder| folder.sync_all()).map_err(|error| cannot("write", to, &error))
}

/// The name of a file in the folder of the wheel that has the libraries.
fn capi(member: &str) -> Option<&str> {
    member.strip_prefix("onnxruntime/capi/").filter(|name| !name.contains(['/', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_is_unpacked() {
        let mut known = 0;
        for (system, architecture) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "aarch64"), ("freebsd", "x86_64")] {
            for digests in [Target::Cpu, Target::Cuda].into_iter().filter_map(|target| published(target, system, architecture)) {
                known += 1;
                assert!(digests.iter().all(|(_, sha256)| sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit())));
                assert!(digests.iter().any(|(name, _)| name.contains(VERSION)), "the library itself");
                if system == consts::OS {
                    assert!(digests.iter().all(|(name, _)| library_version(name) == Some(VERSION) || provider(name).is_some()));
                }
            }
        }
        assert_eq!(known, 4);
    }
}
