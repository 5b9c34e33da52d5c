//! Models and programs that `irc emit onnx` wrote, run in stock ONNX Runtime and compared with the reference backend.
//!
//! Needs a Python with onnxruntime and numpy: the one that `IRC_PYTHON` names, else one in a virtual environment that is made
//! once, under `target/tmp`. Where neither can be had, what needs it is skipped, loudly. ONNX's own checker looks at the files
//! where that Python has it.
//!
//! Tolerance, per position: relative L2 distance at most 1e-4. Integers are equal.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use irc::{backends::reference::Reference, ir::text::parse, models::Model, prelude::*};
use serde_json::{Value as Json, json};

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
            let _ = made && ran(Command::new(&python).args(["-m", "pip", "install", "--quiet", "onnxruntime==1.31.1", "onnx", "numpy"]));
        }
        works(&python).then_some(python)
    };
    let python = PYTHON.get_or_init(find).as_deref();
    if python.is_none() {
        eprintln!("SKIPPED: no Python with onnxruntime; set IRC_PYTHON to one, or make `pip install onnxruntime` possible");
    }
    python
}

/// An output of a model: its name, element type, shape and bytes.
type Computed = (String, String, Vec<usize>, Vec<u8>);

/// What ONNX Runtime computes, and the names of the inputs.
fn run(python: &Path, folder: &Path, feeds: &Json) -> (Vec<String>, Vec<Computed>) {
    let out = folder.join("out");
    let script = root().join("tests/scripts/run_onnx.py");
    let ran = Command::new(python).arg(script).arg(folder).arg(feeds.to_string()).arg(&out).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let index: Json = serde_json::from_slice(&fs::read(out.join("index.json")).unwrap()).unwrap();
    if index["checked"] == false {
        eprintln!("SKIPPED: that Python has no onnx, whose checker would look at the file");
    }
    let output = |(at, entry): (usize, &Json)| {
        let shape = entry["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
        let word = |key: &str| entry[key].as_str().unwrap().to_owned();
        (word("name"), word("dtype"), shape, fs::read(out.join(format!("{at}.raw"))).unwrap())
    };
    let inputs = index["inputs"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    (inputs, index["outputs"].as_array().unwrap().iter().enumerate().map(output).collect())
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
    let (inputs, outputs) = run(python, &folder.0.join("onnx"), &json!({ "tokens": ROWS }));
    assert_eq!(inputs, ["tokens"]);

    let model = Model::open(model).unwrap();
    let names: Vec<&str> = model.spec().hook_ids().map(|(_, hook)| &*hook.name).collect();
    assert_eq!(outputs.iter().map(|(name, ..)| &**name).collect::<Vec<_>>(), names);
    let session = model.session();
    let trace = session.trace(Tensor::new([ROWS.len(), ROWS[0].len()], ROWS.concat()));
    for name in &names {
        trace.hook(name).save(*name);
    }
    let expected = session.run_on(&Reference, &mut |_| {}).unwrap();
    for output in &outputs {
        agree(output, expected.tensor(&output.0).unwrap());
    }
}

fn agree((name, dtype, shape, bytes): &Computed, expected: &Tensor) {
    assert_eq!(shape, expected.shape(), "{name}");
    match expected.dtype() {
        DType::F32 => {
            let found = Tensor::from_le_bytes(DType::F32, shape.clone(), bytes).unwrap();
            assert_eq!(dtype, "float32", "{name}");
            let size = *shape.last().unwrap_or(&1);
            let apart = distance(found.values::<f32>().unwrap(), expected.values::<f32>().unwrap(), size);
            assert!(apart <= 1e-4, "{name}: relative L2 {apart:e}");
        }
        _ => assert_eq!(*bytes, expected.to_le_bytes(), "{name}"),
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
        assert_eq!(run(python, Path::new(&out), &json!({ "tokens": ROWS })).1.len(), outputs.len());
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

/// The program, with the paths of its models in it.
fn with_models(program: &str) -> String {
    ["tiny-llama", "tiny-gpt2"].iter().fold(program.to_owned(), |text, name| {
        let path = root().join("tests/data").join(name);
        text.replace(&format!("{name:?}"), &format!("{:?}", path.to_str().unwrap()))
    })
}

/// What the reference backend saves, part by part.
fn saved(program: &str) -> Vec<(String, Tensor)> {
    let graph = parse(program).into_result().unwrap_or_else(|errors| panic!("{errors:?}"));
    let models = graph.models.iter().map(|decl| (decl.name.clone(), Model::open(&decl.reference).unwrap())).collect::<BTreeMap<_, _>>();
    let results = irc::run::run(graph, &models, &Reference, &mut |_| {}).unwrap_or_else(|errors| panic!("{errors}"));
    let mut all = vec![];
    for (name, value) in results.iter() {
        match value {
            HostValue::Tensor(tensor) => all.push((name.to_owned(), tensor.clone())),
            HostValue::Tuple(parts) => {
                let parts = parts.iter().enumerate().map(|(at, part)| (format!("{name}.{at}"), part.as_tensor().unwrap().clone()));
                all.extend(parts);
            }
            HostValue::List { items, .. } => {
                let items = items.iter().enumerate().map(|(at, item)| (format!("{name}.{at}"), item.as_tensor().unwrap().clone()));
                all.extend(items);
            }
            other => panic!("{name} is {other:?}"),
        }
    }
    all
}

/// Emits a program, runs it as it is written and on other tokens, and compares all that it saves. `tokens` are the texts that
/// are replaced, under the names of their inputs.
fn program_is_as_the_reference(name: &str, program: &str, tokens: &[(&str, &str, &str)]) {
    let folder = Folder::new(name);
    let program = with_models(program);
    let file = folder.path("program.ig");
    fs::write(&file, &program).unwrap();
    let emitted = folder.irc(&["emit", "onnx", &file, "-o", &folder.path("onnx"), "--json"]);
    let json: Json = serde_json::from_slice(&emitted.stdout).unwrap();
    assert!(emitted.status.success(), "{json}");
    let names: Vec<&str> = tokens.iter().map(|(name, ..)| *name).collect();
    assert_eq!(json["inputs"], json!(names), "{name}");
    let Some(python) = python() else { return };

    let other = tokens.iter().fold(program.clone(), |text, (_, old, new)| text.replace(old, new));
    let feed = |(name, _, ids): &(&str, &str, &str)| ((*name).to_owned(), serde_json::from_str(ids).unwrap());
    let feeds = Json::Object(tokens.iter().map(feed).collect());
    for (program, feeds) in [(&program, json!({})), (&other, feeds)] {
        let (inputs, outputs) = run(python, &folder.0.join("onnx"), &feeds);
        assert_eq!(inputs, names);
        let expected = saved(program);
        assert_eq!(outputs.iter().map(|(name, ..)| name).collect::<Vec<_>>(), expected.iter().map(|(name, _)| name).collect::<Vec<_>>());
        for (output, (_, tensor)) in outputs.iter().zip(&expected) {
            agree(output, tensor);
        }
    }
}

/// One patch between prompts of different lengths, a sweep of it over the layers, choices at the end; a log is left out.
#[test]
fn patches_and_sweeps_in_onnx_runtime() {
    let program = r#"graph @patch models { m: "tiny-llama" } {
  %a = forward([[3, 1, 4, 1, 5]]) {model: m}
  %b = forward([[2, 7, 1, 8, 2, 8, 1]]) {model: m}
  %h0 = index(read(%a) {hook: "model.layers.0.output"}) {dim: 1, index: -1}
  %r0 = read(%b) {hook: "model.layers.0.output"}
  %w0 = write(%b, update(%r0, unsqueeze(%h0) {dim: 1}) {dim: 1, start: -1}) {hook: "model.layers.0.output"}
  %h2 = index(read(%a) {hook: "model.layers.2.output"}) {dim: 1, index: -1}
  %r2 = read(%b) {hook: "model.layers.2.mlp.output"}
  %w2 = write(%b, update(%r2, unsqueeze(%h2) {dim: 1}) {dim: 1, start: 2, end: 3}) {hook: "model.layers.2.mlp.output"}
  %w3 = write(%w2, mul(read(%w2) {hook: "model.layers.3.self_attn.z"}, 0.5)) {hook: "model.layers.3.self_attn.z"}
  %l0 = index(read(%w0) {hook: "lm_head.output"}) {dim: 1, index: -1}
  %l3 = index(read(%w3) {hook: "lm_head.output"}) {dim: 1, index: -1}
  log "left out", %l0
  save softmax(%l0) {dim: -1} as "patched at 0"
  save argmax(%l3) {dim: -1} as "t3"
  save topk(%l3) {k: 4, dim: -1} as "best"
  save list(%l0, %l3) as "both"
  save read(%b) {hook: "model.layers.1.self_attn.k"} as "keys"
}"#;
    let tokens =
        [("a.tokens", "[[3, 1, 4, 1, 5]]", "[[9, 2, 6, 5, 3]]"), ("b.tokens", "[[2, 7, 1, 8, 2, 8, 1]]", "[[1, 1, 2, 3, 5, 8, 13]]")];
    program_is_as_the_reference("patch", program, &tokens);
}

/// Scores and patterns of several rows read and set, of prompts of which some have equal lengths.
#[test]
fn attention_in_onnx_runtime() {
    let program = r#"graph @attention models { m: "tiny-gpt2" } {
  %x = [[3, 1, 4], [1, 5, 9]]
  %a = forward(%x) {model: m}
  %b = forward([[2, 7, 1]]) {model: m}
  %c = forward([[2, 7, 1, 8, 2]]) {model: m}
  %p = read(%a) {hook: "transformer.h.0.attn.pattern"}
  %wa = write(%a, flip(%p) {dims: [1]}) {hook: "transformer.h.0.attn.pattern"}
  %pb = read(%b) {hook: "transformer.h.0.attn.pattern"}
  %wb = write(%b, slice(%p) {dim: 0, start: 1}) {hook: "transformer.h.0.attn.pattern"}
  %wc = write(%c, mul(read(%c) {hook: "transformer.h.1.attn.scores"}, 2.0)) {hook: "transformer.h.1.attn.scores"}
  save read(%wa) {hook: "transformer.h.1.attn.scores"} as "scores"
  save read(%wc) {hook: "transformer.h.1.attn.pattern"} as "pattern"
  save read(%wa) {hook: "lm_head.output"} as "a"
  save read(%wb) {hook: "lm_head.output"} as "b"
  save index(read(%wc) {hook: "lm_head.output"}) {dim: 1, index: -1} as "c"
  save %pb as "b.tokens"
  save apply(mul(read(%c) {hook: "transformer.h.0.output"}, 2.0)) {model: m, module: "transformer.ln_f"} as "lens"
}"#;
    let tokens = [
        ("x", "[[3, 1, 4], [1, 5, 9]]", "[[8, 8, 8], [1, 2, 3]]"),
        // An output has the name already.
        ("b.tokens.given", "[[2, 7, 1]]", "[[5, 6, 7]]"),
        ("c.tokens", "[[2, 7, 1, 8, 2]]", "[[9, 8, 7, 6, 5]]"),
    ];
    program_is_as_the_reference("attention", program, &tokens);
}

/// Activations of one model in another, each with its own file of weights; a constant that is no prompt.
#[test]
fn two_models_in_onnx_runtime() {
    let program = r#"graph @two models { l: "tiny-llama", g: "tiny-gpt2" } {
  %a = forward([[3, 1, 4, 1]]) {model: l}
  %b = forward([[3, 1, 4, 1]]) {model: g}
  %w = write(%b, add(read(%a) {hook: "model.layers.1.output"}, cast([[[1], [2], [0], [5]]]) {dtype: f32})) {hook: "transformer.h.0.output"}
  save read(%w) {hook: "lm_head.output"} as "logits"
}"#;
    let tokens = [("a.tokens", "[[3, 1, 4, 1]]", "[[9, 8, 7, 6]]"), ("constant.0", "[[[1], [2], [0], [5]]]", "[[[3], [0], [1], [-4]]]")];
    program_is_as_the_reference("two", program, &tokens);
}

/// Saves may be called as weights, inputs or inner values are, and as nothing else in ONNX is.
#[test]
fn names_are_whatever_people_like() {
    let program = r#"graph @names models { m: "tiny-llama" } {
  %const = [[3, 1, 4, 1]]
  %l = read(forward(%const) {model: m}) {hook: "lm_head.output"}
  save %l as "model.norm.weight"
  save mul(%l, 2.0) as "value.2"
  save neg(%l) as "const.0"
  save mul(index(%l) {dim: 1, index: 0}, 3.0) as "const"
  save full() {shape: [0, 3], value: 1.0} as "with a space/and: \"quotes\" é漢"
}"#;
    let tokens = [("const.given", "[[3, 1, 4, 1]]", "[[9, 8, 7, 6]]")];
    program_is_as_the_reference("names", program, &tokens);
}

/// What no file can do is refused at its place, before anything is written.
#[test]
fn what_is_refused() {
    let folder = Folder::new("refused");
    let emit = |body: &str, more: &[&str]| {
        let file = folder.path("program.ig");
        fs::write(&file, format!("graph @p models {{ m: \"induction\" }} {{\n{body}\n}}")).unwrap();
        let ran = folder.irc(&[&["emit", "onnx", &file, "-o", &folder.path("out"), "--json"], more].concat());
        let json: Json = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| json!({ "stderr": text(&ran.stderr) }));
        (ran.status.code().unwrap(), json)
    };
    let forward = "%f = forward([[0, 2, 3]]) {model: m}\n%l = read(%f) {hook: \"lm_head.output\"}\n";
    let doubled: String = (0..40).map(|at| format!("%l{} = join(%l{at}, %l{at})\n", at + 1)).collect();
    let doubled = format!("%l0 = list(%l)\n{doubled}save %l40 as \"x\"");
    for (body, code, message) in [
        ("save call(%l) {name: \"probe\", returns: tensor<f32>} as \"x\"", "E4005", "`probe`"),
        ("do call(%l) {name: \"probe\"}", "E4005", "`probe`"),
        ("save %l as \"x\" if gt(max(%l), 0.0)", "E4005", "condition"),
        ("save %l as \"x\"\nstop", "E4005", "a stop"),
        ("save read(extend(%f, [[2]])) {hook: \"lm_head.output\"} as \"x\"", "E4005", "extends"),
        ("save get(loop(%l) {trip: 3} (%i, %x) { yield mul(%x, 2.0) }) {index: 0} as \"x\"", "E4005", "loop"),
        ("log %l", "E4005", "saves nothing"),
        (&doubled, "E4001", "8192 values"),
        ("save list() {of: tensor<f32>} as \"x\"", "E4005", "saves nothing"),
        ("save read(write(%f, [[0, 2, -1]]) {hook: \"model.embed_tokens.input\"}) {hook: \"lm_head.output\"} as \"x\"", "E4003", "id -1"),
        ("save format(%l) {template: \"{}\"} as \"x\"", "E4005", "text"),
        ("save roll(%l) {shifts: [1], dims: [-1]} as \"x\"", "E4003", "`roll`"),
        ("save %l as \"x.0\"\nsave tuple(%l, %l) as \"x\"", "E3001", "x.0"),
    ] {
        let (status, json) = emit(&format!("{forward}{body}"), &[]);
        let found = &json["diagnostics"][0];
        assert_eq!(found["code"], code, "{body}: {json}");
        assert!(status != 0 && found["message"].as_str().unwrap().contains(message), "{body}: {json}");
        assert!(code == "E4005" && message == "saves nothing" || !found["labels"].as_array().unwrap().is_empty(), "{json}");
        assert!(!folder.0.join("out").exists(), "{body}");
    }
    // A program has its own hooks, and its models names.
    let body = format!("{forward}save %l as \"x\"");
    assert_eq!(emit(&body, &["--hook", "**"]).0, 2);
    assert_eq!(emit(&body, &["--stage", "1"]).0, 2);
    assert_eq!(emit(&body, &["--model", "n=induction"]).0, 2);
    assert_eq!(emit(&body, &["--model", "m=induction"]).0, 0);
    let two = folder.irc(&["emit", "onnx", "--model", "induction", "--model", "induction", "-o", &folder.path("two")]);
    assert_eq!(two.status.code(), Some(2), "{}", text(&two.stderr));
}
