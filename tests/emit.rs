//! Models that `irc emit onnx` wrote, run in stock ONNX Runtime and compared with the reference backend, hook by hook.
//!
//! Needs a Python with onnxruntime and numpy: the one that `IRC_PYTHON` names, else one in a virtual environment that is made
//! once, under `target/tmp`. Where neither can be had, what needs it is skipped, loudly.
//!
//! Tolerance, per position: relative L2 distance at most 1e-4. Integers are equal.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use irc::{backends::reference::Reference, models::Model, prelude::*};
use serde_json::Value as Json;

const ROWS: [[i64; 7]; 2] = [[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]];

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("irc-emit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn irc(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_irc"));
        command.args(arguments).env("IRC_CACHE", self.0.join("cache")).output().unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A Python with onnxruntime and numpy.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let works = |python: &Path| {
        let probe = Command::new(python).args(["-c", "import numpy, onnxruntime"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    let find = || {
        if let Some(named) = std::env::var_os("IRC_PYTHON").map(PathBuf::from) {
            assert!(works(&named), "IRC_PYTHON has no onnxruntime and numpy");
            return Some(named);
        }
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnxruntime");
        let python = venv.join("bin/python");
        if !works(&python) {
            let ran = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
            let made = ran(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            let _ = made && ran(Command::new(&python).args(["-m", "pip", "install", "--quiet", "onnxruntime==1.31.1", "numpy"]));
        }
        works(&python).then_some(python)
    };
    let python = PYTHON.get_or_init(find).as_deref();
    if python.is_none() {
        eprintln!("SKIPPED: no Python with onnxruntime; set IRC_PYTHON to one, or make `pip install onnxruntime` possible");
    }
    python
}

/// What ONNX Runtime computes: each output with its shape and bytes.
fn run(python: &Path, folder: &Path) -> Vec<(String, String, Vec<usize>, Vec<u8>)> {
    let rows: Vec<String> = ROWS.iter().map(|row| row.map(|id| id.to_string()).join(",")).collect();
    let out = folder.join("out");
    let ran =
        Command::new(python).arg(root().join("tests/scripts/run_onnx.py")).arg(folder).arg(rows.join(";")).arg(&out).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let index: Json = serde_json::from_slice(&fs::read(out.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["inputs"], serde_json::json!(["tokens"]));
    let output = |(at, entry): (usize, &Json)| {
        let shape = entry["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
        let word = |key: &str| entry[key].as_str().unwrap().to_owned();
        (word("name"), word("dtype"), shape, fs::read(out.join(format!("{at}.raw"))).unwrap())
    };
    index["outputs"].as_array().unwrap().iter().enumerate().map(output).collect()
}

/// The largest relative L2 distance of rows of the last dimension; infinities have to be in the same places.
fn distance(a: &[f32], b: &[f32], size: usize) -> f64 {
    let one = |(a, b): (&[f32], &[f32])| {
        let pairs = || a.iter().zip(b).filter(|(a, b)| a != b);
        let apart: f64 = pairs().map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let length: f64 = b.iter().filter(|b| b.is_finite()).map(|b| f64::from(*b).powi(2)).sum();
        if apart == 0.0 { 0.0 } else { (apart / length).sqrt() }
    };
    a.chunks(size).zip(b.chunks(size)).map(one).fold(0.0, |worst, one| if one.is_nan() { f64::INFINITY } else { worst.max(one) })
}

fn is_as_the_reference(name: &str) {
    let folder = Folder::new(name);
    let source = root().join("tests/data").join(name);
    let model = source.to_str().unwrap();
    let emitted = folder.irc(&["emit", "onnx", "--model", model, "-o", &folder.path("onnx"), "--hook", "**"]);
    assert!(emitted.status.success(), "{}", text(&emitted.stderr));
    let Some(python) = python() else { return };
    let outputs = run(python, &folder.0.join("onnx"));

    let model = Model::open(model).unwrap();
    let names: Vec<&str> = model.spec().hook_ids().map(|(_, hook)| &*hook.name).collect();
    assert_eq!(outputs.iter().map(|(name, ..)| &**name).collect::<Vec<_>>(), names);
    let session = model.session();
    let trace = session.trace(Tensor::new([ROWS.len(), ROWS[0].len()], ROWS.concat()));
    for name in &names {
        trace.hook(name).save(*name);
    }
    let expected = session.run_on(&Reference, &mut |_| {}).unwrap();
    for (name, dtype, shape, bytes) in outputs {
        let expected = expected.tensor(&name).unwrap();
        assert_eq!(shape, expected.shape(), "{name}");
        match expected.dtype() {
            DType::F32 => {
                let found = Tensor::from_le_bytes(DType::F32, shape.clone(), &bytes).unwrap();
                assert_eq!(dtype, "float32", "{name}");
                let size = *shape.last().unwrap();
                let apart = distance(found.values::<f32>().unwrap(), expected.values::<f32>().unwrap(), size);
                assert!(apart <= 1e-4, "{name}: relative L2 {apart:e}");
            }
            _ => assert_eq!(bytes, expected.to_le_bytes(), "{name}"),
        }
    }
}

#[test]
fn tiny_llama_in_onnx_runtime() {
    is_as_the_reference("tiny-llama");
}

#[test]
fn tiny_gpt2_in_onnx_runtime() {
    is_as_the_reference("tiny-gpt2");
}

/// Weights in memory; a stage; what is not overwritten; what is no hook.
#[test]
fn what_is_written() {
    let folder = Folder::new("toy");
    let out = folder.path("onnx");
    let emit = |more: &[&str]| {
        let ran = folder.irc(&[&["emit", "onnx", "--model", "induction", "-o", &out, "--json"], more].concat());
        let json: Json = serde_json::from_slice(&ran.stdout).unwrap();
        (ran.status.code().unwrap(), json)
    };
    let names =
        |json: &Json, key: &str| json[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>();

    let (status, json) = emit(&["--hook", "model.layers.*.output"]);
    assert_eq!((status, names(&json, "inputs")), (0, vec!["tokens".to_owned()]));
    let outputs: Vec<String> = (0..4).map(|layer| format!("model.layers.{layer}.output")).chain(["lm_head.output".to_owned()]).collect();
    assert_eq!(names(&json, "outputs"), outputs);
    if let Some(python) = python() {
        assert_eq!(run(python, Path::new(&out)).len(), outputs.len());
    }

    let before = fs::read(Path::new(&out).join("model.onnx")).unwrap();
    let (status, json) = emit(&[]);
    assert_eq!((status, json["diagnostics"][0]["code"].as_str()), (3, Some("E0010")));
    assert_eq!(fs::read(Path::new(&out).join("model.onnx")).unwrap(), before);

    let (status, json) = emit(&["--force"]);
    assert_eq!(status, 0);
    assert!(!names(&json, "outputs").iter().any(|name| name.ends_with(".scores") || name.ends_with(".pattern")));

    // What a stage takes, an earlier one gives under the same name.
    let mut known = vec!["tokens".to_owned(), "positions".to_owned()];
    for stage in 0..Model::open("induction").unwrap().spec().stages().len() {
        let (status, json) = emit(&["--force", "--stage", &stage.to_string()]);
        assert_eq!(status, 0, "{json}");
        assert!(names(&json, "inputs").iter().all(|name| known.contains(name)), "{json}");
        known.extend(names(&json, "outputs"));
    }
    assert!(known.contains(&"lm_head.output".to_owned()));

    assert_eq!(emit(&["--force", "--stage", "1000"]).0, 2);
    assert_eq!(emit(&["--force", "--hook", "model.layer.*"]).0, 2);
}
