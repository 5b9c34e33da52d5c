//! A Python process that does the tasks with another tool; `peers.py` says how it is talked to.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use irc::{
    backends::Handle,
    ir::{
        model::WeightDecl,
        tensor::Tensor,
        types::{DType, Name},
    },
    models::Model,
};
use serde_json::{Value as Json, json};

use crate::{measure::Time, tasks::Lab};

/// What a Python is found by.
pub(crate) const PYTHON: &str = "IRC_PEERS_PYTHON";

/// A tool in its own process, with the model loaded.
pub(crate) struct Peer {
    pub(crate) tool: &'static str,
    /// Of what it is made, for the record.
    pub(crate) versions: String,
    child: Child,
    ask: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a tool on the weights in a Hugging Face folder.
    pub(crate) fn start(tool: &'static str, folder: &Path, lab: &Lab, threads: usize) -> Result<Peer, String> {
        let python = env::var_os(PYTHON).ok_or_else(|| format!("{PYTHON} does not name a Python"))?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/peers.py");
        let mut command = Command::new(&python);
        command.arg(script).arg(tool).arg(folder).arg(threads.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{} does not start: {error}", python.display()))?;
        let (Some(ask), Some(replies)) = (child.stdin.take(), child.stdout.take()) else { return Err("it has no pipes".to_owned()) };
        let mut peer = Peer { tool, versions: String::new(), child, ask, replies: BufReader::new(replies) };
        let ready = peer.exchange(&json!({ "clean": lab.clean, "corrupt": lab.corrupt, "long": lab.long }))?;
        let versions: BTreeMap<String, String> = serde_json::from_value(ready).map_err(|error| error.to_string())?;
        peer.versions = versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ");
        Ok(peer)
    }

    /// Does a task, and writes what came out into a file if one is given.
    pub(crate) fn run(&mut self, task: &str, into: Option<&Path>) -> Result<Time, String> {
        let reply = self.exchange(&json!({ "run": task, "into": into }))?;
        match (reply["cpu_ms"].as_f64(), reply["wall_ms"].as_f64(), reply["error"].as_str()) {
            (Some(cpu), Some(wall), None) => Ok(Time { cpu, wall }),
            (.., error) => Err(error.unwrap_or("it gave no times").to_owned()),
        }
    }

    fn exchange(&mut self, line: &Json) -> Result<Json, String> {
        let sent = writeln!(self.ask, "{line}").and_then(|()| self.ask.flush());
        let mut reply = String::new();
        let read = sent.and_then(|()| self.replies.read_line(&mut reply));
        match read {
            Ok(0) | Err(_) => {
                Err(format!("it ended: {}", self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())))
            }
            Ok(_) => serde_json::from_str(&reply).map_err(|error| format!("it said {reply:?}: {error}")),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The weights that irc runs as a Hugging Face folder, made once: both sides compute with the same numbers.
pub(crate) fn folder(model: &Model, handle: &Handle) -> Result<PathBuf, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let cached = model.in_cache(&mut |_| {}).map_err(|error| say(&error))?.ok_or("the model is not in the cache")?;
    let name = cached.folder().file_name().ok_or("the cache has no name for the model")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let weights = folder.join("model.safetensors");
    if !weights.exists() {
        fs::create_dir_all(&folder).map_err(|error| say(&error))?;
        let tokenizer = cached.tokenizer().ok_or("the model has no tokenizer")?;
        let copy = |from: PathBuf, to: &str| fs::copy(from, folder.join(to)).map(drop);
        copy(cached.config(), "config.json").and_then(|()| copy(tokenizer, "tokenizer.json")).map_err(|error| say(&error))?;
        let names = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>" });
        fs::write(folder.join("tokenizer_config.json"), names.to_string()).map_err(|error| say(&error))?;
        // Under another name until it is whole.
        let part = folder.join("model.part");
        write_weights(handle, &part).and_then(|()| fs::rename(&part, &weights)).map_err(|error| say(&error))?;
    }
    Ok(folder)
}

fn write_weights(handle: &Handle, path: &Path) -> io::Result<()> {
    let decls = handle.spec.weights().iter();
    let stored =
        decls.filter(|decl| decl.copy_of.is_none()).map(|decl| Ok((as_in_checkpoint(&decl.name), checkpoint_tensor(handle, decl)?)));
    let stored = stored.collect::<io::Result<Vec<_>>>()?;
    safetensors::serialize_to_file(stored, Some([("format".to_owned(), "pt".to_owned())].into()), path).map_err(io::Error::other)
}

fn as_in_checkpoint(name: &Name) -> String {
    name.strip_suffix(".T").unwrap_or(name).to_owned()
}

/// A weight as the checkpoint has it: matrices as [out, in].
fn checkpoint_tensor(handle: &Handle, decl: &WeightDecl) -> io::Result<Stored> {
    let tensor = handle.weights.tensor(decl).map_err(io::Error::other)?;
    let Some(values) = tensor.values::<f32>() else { return Err(io::Error::other(format!("{} is not of f32", decl.name))) };
    let tensor = match *tensor.shape() {
        [rows, columns] if decl.name.ends_with(".T") => {
            let turned: Vec<f32> = (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect();
            Tensor::new([columns, rows], turned)
        }
        _ => tensor,
    };
    debug_assert_eq!(tensor.dtype(), DType::F32);
    Ok(Stored { bytes: tensor.to_le_bytes(), tensor })
}

/// A tensor as safetensors wants it.
struct Stored {
    tensor: Tensor,
    bytes: Vec<u8>,
}

impl safetensors::View for Stored {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
