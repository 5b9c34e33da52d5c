//! What is done with bytes that somebody else wrote: each function takes a file's content, and may only succeed or say what
//! is wrong. The bounded runs of `tests/hostile.rs` and the fuzzers of `tests/fuzz` call the same functions.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

use irc::{
    ir::{
        cbor,
        diagnostic::{Diagnostics, Source},
        graph::Graph,
        infer::Models,
        text,
        verify::verify,
    },
    models::Model,
};

/// Models of the names that seeds use.
fn models() -> &'static (Models, BTreeMap<irc::ir::types::Name, Model>) {
    static MODELS: OnceLock<(Models, BTreeMap<irc::ir::types::Name, Model>)> = OnceLock::new();
    MODELS.get_or_init(|| {
        let model = Model::open("induction").expect("it is built in");
        (Models::from([("m".into(), model.spec().clone())]), BTreeMap::from([("m".into(), model)]))
    })
}

/// A program that was read: it prints, reads back as the same, and the verifier has an answer.
fn program(graph: &Graph, origin: &Source) {
    let printed = text::print(graph, None);
    let again = text::parse(&printed).into_result();
    let again = again.unwrap_or_else(|errors| panic!("what is printed does not read back: {}", render(&errors, &printed)));
    assert_eq!(again, *graph, "what is printed reads back as something else:\n{printed}");
    if let Err(errors) = verify(graph.clone(), &models().0) {
        errors.render(origin, false);
    }
    drop(irc::run::check(graph.clone(), &models().1));
}

fn render(errors: &Diagnostics, text: &str) -> String {
    errors.render(&Source::new("printed", text), false)
}

/// The text of a program.
pub fn program_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source::new("fuzz", text);
    match text::parse(text).into_result() {
        Ok(graph) => program(&graph, &source),
        Err(errors) => drop(errors.render(&source, false)),
    }
}

/// A program as CBOR.
pub fn program_cbor(data: &[u8]) {
    if let Ok(graph) = cbor::decode(data) {
        assert_eq!(cbor::decode(&cbor::encode(&graph)).as_ref(), Ok(&graph), "what is written does not read back");
        program(&graph, &Source::new("fuzz", ""));
    }
}

/// A `config.json` in a Hugging Face folder.
pub fn config(data: &[u8]) {
    in_folder("config.json", data);
}

/// A `tokenizer.json` in a Hugging Face folder.
pub fn tokenizer(data: &[u8]) {
    in_folder("tokenizer.json", data);
}

/// A `model.safetensors` in a Hugging Face folder.
pub fn safetensors(data: &[u8]) {
    in_folder("model.safetensors", data);
}

/// A `model.safetensors.index.json` in a Hugging Face folder whose only shard is right.
pub fn shards(data: &[u8]) {
    in_folder("model.safetensors.index.json", data);
}

/// A GGUF file.
pub fn gguf(data: &[u8]) {
    let path = scratch().join("model.gguf");
    fs::write(&path, data).expect("the scratch folder can be written");
    open(&path);
}

/// A tiny GPT-2 in which one file is somebody else's.
fn in_folder(file: &str, data: &[u8]) {
    let folder = scratch().join("folder");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the scratch folder can be written");
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|at| at.join("tests/data/tiny-gpt2")).find(|at| at.is_dir());
    let whole = whole.expect("the test data is beside the sources");
    for other in ["config.json", "tokenizer.json"] {
        fs::copy(whole.join(other), folder.join(other)).expect("the test data can be copied");
    }
    let shard = if file.ends_with("index.json") { "model-00001-of-00001.safetensors" } else { "model.safetensors" };
    fs::copy(whole.join("model.safetensors"), folder.join(shard)).expect("the test data can be copied");
    fs::write(folder.join(file), data).expect("the scratch folder can be written");
    open(&folder);
}

/// Everything that is done with a model before it runs.
fn open(path: &Path) {
    let Ok(model) = Model::open(&path.display().to_string()) else { return };
    let _ = model.encode("The Eiffel Tower, \u{1f5fc}");
    model.decode(&[0, 1, -1, i64::MAX]);
    if let Ok(handle) = model.handle() {
        assert!(handle.weights.check(&handle.spec).is_ok());
    }
    let _ = fs::remove_dir_all(scratch().join("cache"));
}

/// A folder of this process, with the cache in it.
fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let path = env::temp_dir().join(format!("irc-hostile-{}", process::id()));
        fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        // SAFETY: nothing else runs yet in this process that could read the environment.
        unsafe { env::set_var("IRC_CACHE", path.join("cache")) };
        path
    })
}

/// Removes what the targets left behind.
pub fn clean() {
    let _ = fs::remove_dir_all(scratch());
}
