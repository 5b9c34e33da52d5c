//! The `irc` command as people use it: what it prints where, and how it ends.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use irc::{
    ir::{canonical::content_hash, graph::Graph, text::parse},
    models::Model,
    run::check,
};
use serde_json::Value as Json;

/// A patch between two runs of the toy: alone, the second says `Rome`.
const PATCH: &str = r#"
graph @patch models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %x = slice(read(%a) {hook: "model.layers.3.output"}) {dim: 1, start: -1}
  %b = forward("<s> Colosseum Rome Prado Madrid Colosseum") {model: m}
  %r = read(%b) {hook: "model.layers.1.output"}
  %w = write(%b, update(%r, %x) {dim: 1, start: -1}) {hook: "model.layers.1.output"}
  %l = read(%w) {hook: "lm_head.output"}
  log "logits", %l
  save argmax(index(%l) {dim: 1, index: -1}) {dim: -1} as "word"
  save topk(index(%l) {dim: 1, index: -1}) {k: 2} as "best"
}
"#;

/// A folder of a test's own, with an empty cache in it; removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("irc-cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_irc"));
        command.args(arguments).env("IRC_CACHE", self.0.join("cache")).env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        command
    }

    fn irc(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    fn irc_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn ends_with(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

#[test]
fn check_says_whether_a_program_is_right() {
    let folder = Folder::new("check");
    let good = folder.irc(&["check", &folder.file("good.ig", PATCH)]).ends_with(0);
    assert_eq!(good.out, "");
    assert!(good.err.starts_with("@patch is right: ") && good.err.contains("2 forwards, 1 log, 2 saves"), "{}", good.err);

    // All that is wrong, in its order, in one go: a model, a word of the prompt, the syntax, a hook, a shape.
    let bad = r#"
graph @bad models { m: "induktion", n: "induction" } {
  %a = forward("<s> Eiffel Pariss") {model: n}
  %b = forward("<s>") {model: n}
  %c = raed(%b) {hook: "lm_head.output"}
  %d = read(%b) {hook: "lm_head.ouptut"}
  save add([1, 2, 3], [1, 2]) as "e"
}
"#;
    let path = folder.file("bad.ig", bad);
    let ran = folder.irc(&["check", &path]).ends_with(1);
    let codes: Vec<&str> = ran.err.lines().filter_map(|line| line.strip_prefix("error[")?.split(']').next()).collect();
    assert_eq!(codes, ["E4002", "E2004", "E0004", "E2001", "E1003"], "{}", ran.err);
    assert!(ran.err.contains("bad.ig:2:21") && ran.err.contains("did you mean `induction`?"), "{}", ran.err);
    let json = folder.irc(&["check", "--json", &path]).ends_with(1).json();
    assert_eq!((&json["ok"], &json["status"]), (&false.into(), &1.into()));
    assert_eq!(json["diagnostics"][2]["labels"][0]["span"]["line"], 5);
}

#[test]
fn the_exit_status_tells_who_has_to_act() {
    let folder = Folder::new("status");
    let patch = folder.file("patch.ig", PATCH);
    folder.irc(&["check"]).ends_with(2);
    folder.irc(&["check", "none.ig"]).ends_with(3);
    folder.irc(&["check", &patch, "--model", "q=induction"]).ends_with(2);
    folder.irc(&["check", &patch, "--model", "m=induction"]).ends_with(0);
    folder.irc(&["check", &patch, "--model", "induction"]).ends_with(0);
    // The model is missing, the program is fine.
    let missing = folder.irc(&["check", &patch, "--model", "smollm2"]).ends_with(3);
    assert!(missing.err.contains("irc model fetch smollm2"), "{}", missing.err);
    folder.irc(&["run", &patch, "--backend", "reference", "--threads", "2"]).ends_with(2);
    folder.irc(&["run", &patch, "--out", &folder.0.join("none/r.safetensors").display().to_string()]).ends_with(3);
}

#[test]
fn run_prints_logs_and_saves() {
    let folder = Folder::new("run");
    let patch = folder.file("patch.ig", PATCH);
    for backend in ["rten", "reference"] {
        let ran = folder.irc(&["run", &patch, "--backend", backend]).ends_with(0);
        let lines: Vec<&str> = ran.out.lines().collect();
        assert!(lines[0].starts_with("LOG logits: tensor<1x6x16xf32> ["), "{}", ran.out);
        assert_eq!(lines[1], r#"word    tensor<1xi64>    [3]      "Paris""#);
        assert_eq!(lines[2], "best.0  tensor<1x2xf32>  [10, 5]");
        assert_eq!(lines[3], r#"best.1  tensor<1x2xi64>  [3, 1]   "Paris" "?""#);
        assert!(ran.err.starts_with(backend), "{}", ran.err);
    }
    let quiet = folder.irc(&["run", &patch, "--quiet", "--threads", "1"]).ends_with(0);
    assert_eq!((quiet.out.lines().count(), quiet.err.as_str()), (1, ""));
    // From standard input, too.
    let piped = folder.irc_with(&["run", "-", "--quiet"], PATCH).ends_with(0);
    assert_eq!(piped.out, quiet.out);
}

/// Greedy generation, a log in each iteration, until the program stops itself; the prompt of the second forward stands in the
/// body of a loop.
const GENERATE: &str = r#"
graph @generate models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  %r = loop(%f, %t, %t) {trip: 3} (%i, %f: forward<m, 1xT after P>, %t, %all: tensor<1xNxi64>) {
    %g = extend(%f, %t)
    %n = argmax(read(%g) {hook: "lm_head.output"}) {dim: -1}
    until eq(%n, 0)
    yield %g, %n, cat(%all, %n) {dim: 1}
  }
  save get(%r) {index: 2} as "text"
  do loop() {trip: 5} (%i) {
    %f = forward("<s> Eiffel Paris Eiffel") {model: m}
    %n = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
    log "again", %n
    save %n as "next"
    stop "enough" if eq(%i, 1)
  }
  save 1 as "never"
}
"#;

#[test]
fn loops_are_checked_dumped_and_run() {
    let folder = Folder::new("loops");
    let file = folder.file("generate.ig", GENERATE);
    let checked = folder.irc(&["check", &file]).ends_with(0);
    assert!(checked.err.contains("3 forwards, 2 loops, 1 stop, 1 log, 3 saves"), "{}", checked.err);
    for backend in ["rten", "reference"] {
        let ran = folder.irc(&["run", &file, "--backend", backend]).ends_with(0);
        assert_eq!(ran.out.lines().filter(|line| line.starts_with("LOG again: ")).count(), 2, "{}", ran.out);
        assert!(ran.out.contains("text  tensor<1x4xi64>  [3, 4, 5, 2]") && ran.out.contains("next  tensor<1x1xi64>"), "{}", ran.out);
        assert!(ran.err.contains("the program stopped itself: enough") && !ran.out.contains("never"), "{}{}", ran.out, ran.err);
    }
    let json = folder.irc(&["run", &file, "--backend", "reference", "--json"]).ends_with(0).json();
    assert_eq!((&json["stopped"]["reason"], &json["stopped"]["span"]["line"]), (&"enough".into(), &17.into()));
    let carried = "graph @g { %r = loop(tuple(1, %f)) {trip: 2} (%i, %t) { yield %t } save read(get(get(%r) {index: 0}) {index: 1}) {hook: \"lm_head.output\"} as \"x\" }";
    let carried = carried.replace("graph @g {", "graph @g models { m: \"induction\" } { %f = forward(\"<s> Eiffel\") {model: m}");
    let refused = folder.irc(&["run", &folder.file("carried.ig", &carried), "--no-optimize"]).ends_with(2);
    assert!(refused.err.contains("E4005") && refused.err.contains("--backend reference") && refused.out.is_empty(), "{}", refused.err);

    let text = folder.irc(&["dump", &file]).ends_with(0).out;
    assert!(text.contains(": forward<m, 1x1 after (P+T)>"), "{text}");
    let again = folder.file("again.ig", &text);
    assert_eq!(folder.irc(&["dump", &again]).ends_with(0).out, text);
    let json = folder.irc(&["dump", &file, "--format", "json"]).ends_with(0).json();
    let body = &json["effects"][1]["body"];
    assert_eq!((&body["nodes"][0]["op"], &body["effects"][2]["kind"]), (&"param".into(), &"stop".into()));
    assert_eq!(body["nodes"][2]["type"], "forward<m, 1x4>");
    let dot = folder.irc(&["dump", &file, "--format", "dot"]).ends_with(0).out;
    assert!(dot.contains("do loop"), "{dot}");

    let calls = folder.file("calls.ig", "graph @g { do call() {name: \"f\"} }");
    let ran = folder.irc(&["run", &calls]).ends_with(1);
    assert!(ran.err.contains("E3009") && ran.err.contains("Functions::add"), "{}", ran.err);
}

#[test]
fn run_gives_json_and_files() {
    let folder = Folder::new("json");
    let (patch, out) = (folder.file("patch.ig", PATCH), folder.0.join("results.safetensors"));
    let ran = folder.irc(&["run", &patch, "--json", "--out", &out.display().to_string()]).ends_with(0);
    let json = ran.json();
    assert_eq!(json["saves"][0]["name"], "word");
    assert_eq!(json["saves"][0]["text"], Json::from(vec!["Paris"]));
    assert_eq!(json["saves"][1]["values"], Json::from(vec![10.0, 5.0]));
    assert_eq!(json["logs"][0]["label"], "logits");
    assert!(json["report"]["stages_run"].as_u64().is_some_and(|stages| stages > 0));
    assert!(ran.err.starts_with("LOG logits"), "{}", ran.err);
    let bytes = fs::read(out).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    assert_eq!(names, ["best.0", "best.1", "word"]);
    assert_eq!(tensors.tensor("word").unwrap().data(), 3i64.to_le_bytes());
}

#[test]
fn dump_prints_programs() {
    let folder = Folder::new("dump");
    let patch = folder.file("patch.ig", PATCH);
    let text = folder.irc(&["dump", &patch]).ends_with(0).out;
    assert!(text.contains(r#"%r = read(%b) {hook: "model.layers.1.output"}"#) && text.contains(": tensor<1x6x64xf32>"), "{text}");
    // What is dumped is a program again, the same one.
    let again = folder.file("again.ig", &text);
    assert_eq!(folder.irc(&["dump", &again]).ends_with(0).out, text);
    // Without the model there are no types, unless they are asked for.
    let unknown = folder.file("unknown.ig", &PATCH.replace("induction", "nowhere"));
    let ran = folder.irc(&["dump", &unknown]).ends_with(0);
    assert!(!ran.out.contains("tensor<") && ran.err.contains("there is no model `nowhere` here"), "{}{}", ran.out, ran.err);
    folder.irc(&["dump", &unknown, "--types"]).ends_with(3);

    let json = folder.irc(&["dump", &patch, "--format", "json"]).ends_with(0).json();
    assert_eq!((&json["format"], &json["version"], &json["name"]), (&"irc.graph".into(), &1.into(), &"patch".into()));
    let nodes = json["nodes"].as_array().unwrap();
    let write = nodes.iter().find(|node| node["op"] == "write").unwrap();
    assert_eq!((&write["label"], &write["attrs"]["hook"]), (&"w".into(), &"model.layers.1.output".into()));
    assert_eq!(nodes[1]["type"], "forward<m, 1x6>");
    assert_eq!(json["effects"][1]["kind"], "save");

    let dot = folder.irc(&["dump", &patch, "--format", "dot"]).ends_with(0).out;
    assert!(dot.starts_with("digraph \"patch\" {") && dot.contains(r"%w = write\nmodel.layers.1.output"), "{dot}");
}

#[test]
fn programs_are_reduced() {
    let folder = Folder::new("reduce");
    let text = PATCH.replace(
        "save topk",
        r#"%n = loop(0.0) {trip: 8} (%i, %s) { %t = add(%s, exp(%s))  yield add(%t, mul(%t, 2.0)) }
  save get(%n) {index: 0} as "sum"
  save topk"#,
    );
    let file = folder.file("patch.ig", &text);

    // Whatever has a softmax-free way to `write`: everything else goes.
    let ran = folder.irc(&["reduce", &file, "--check", "grep -q 'write('"]).ends_with(0);
    assert!(
        ran.out.contains("write(") && !ran.out.contains("update") && !ran.out.contains("loop") && !ran.out.contains("slice"),
        "{}",
        ran.out
    );
    let small = std::fs::read_to_string(folder.0.join("patch.reduced.ig")).unwrap();
    assert_eq!(small, ran.out);
    folder.irc(&["check", &folder.0.join("patch.reduced.ig").display().to_string()]).ends_with(0);

    // What is inside a loop, by a command that runs the program; twice the same.
    let irc = env!("CARGO_BIN_EXE_irc");
    let check = format!("'{irc}' check {{}} && grep -q 'exp(' {{}}");
    let out = folder.0.join("loop.ig").display().to_string();
    let ran = folder.irc(&["reduce", &file, "--check", &check, "-o", &out, "--json"]).ends_with(0).json();
    let small = std::fs::read_to_string(&out).unwrap();
    assert!(small.contains("exp(") && !small.contains("forward") && !small.contains("mul(") && !small.contains("models"), "{small}");
    assert!(small.contains("trip: 0") || small.contains("trip: 1"), "{small}");
    assert_eq!(ran["after"]["effects"], 1);
    let again = folder.irc(&["reduce", &file, "--check", &check, "-o", &out, "--json"]).ends_with(0).json();
    assert_eq!((ran, small), (again, std::fs::read_to_string(&out).unwrap()));

    // A check that does not succeed, or is none.
    let ran = folder.irc(&["reduce", &file, "--check", "grep -q nowhere"]).ends_with(2);
    assert!(ran.err.contains("does not succeed for the program itself") && ran.err.contains("grep -q nowhere"), "{}", ran.err);
    let ran = folder.irc(&["reduce", &file, "--check", "no-such-command {}"]).ends_with(2);
    assert!(ran.err.contains("cannot run the check"), "{}", ran.err);
}

#[test]
fn programs_in_binary_are_programs() {
    let folder = Folder::new("binary");
    let patch = folder.file("patch.ig", PATCH);
    let binary = folder.0.join("patch.igb").display().to_string();
    assert_eq!(folder.irc(&["dump", &patch, "--format", "cbor", "--out", &binary]).ends_with(0).out, "");
    // By what it begins with, not by its name.
    let renamed = folder.0.join("patch.txt").display().to_string();
    fs::copy(&binary, &renamed).unwrap();
    for file in [&binary, &renamed] {
        for command in [&["dump"][..], &["run", "--backend", "reference"], &["check", "--json"], &["dump", "--hash"]] {
            let of = |file: &str| folder.irc(&[command, &[file]].concat()).ends_with(0).out;
            assert_eq!(of(file), of(&patch), "{command:?}");
        }
    }
    let hash = folder.irc(&["dump", "--hash", "--json", &binary]).ends_with(0).json();
    assert_eq!(hash["hash"], folder.irc(&["check", "--json", &patch]).ends_with(0).json()["hash"]);
    assert_eq!((hash["ok"].as_bool(), hash["hash"].as_str().map(str::len)), (Some(true), Some(64)));

    // A mistake has a place in the program as it would be printed.
    let wrong = folder.file("wrong.ig", &PATCH.replace("layers.3", "layers.30"));
    folder.irc(&["dump", &wrong, "--types=never", "--format", "cbor", "--out", &binary]).ends_with(0);
    let error = folder.irc(&["check", &binary]).ends_with(1).err;
    assert!(error.contains("patch.igb, as text:3:") && error.contains("error[E2001]"), "{error}");
    // Damage is that of a file.
    let bytes = fs::read(&binary).unwrap();
    fs::write(&binary, &bytes[..bytes.len() / 2]).unwrap();
    let error = folder.irc(&["check", &binary]).ends_with(3).err;
    assert!(error.contains("error[E0015]") && error.contains("patch.igb"), "{error}");
}

/// Written by hand in another order and under other names, or recorded: one program.
#[test]
fn a_trace_and_its_text_have_one_hash() {
    let model = Model::open("induction").unwrap();
    let session = model.session();
    let a = session.trace("<s> Eiffel Paris Buckingham London Eiffel");
    let x = a.hook("model.layers.3.output").slice(1, -1..);
    let b = session.trace("<s> Colosseum Rome Prado Madrid Colosseum");
    b.hook("model.layers.1.output").slice(1, -1..).set(&x);
    b.hook("lm_head.output").argmax(-1).save("word");
    let recorded = session.program().unwrap();
    let reference = &recorded.models[0].reference;
    let text = format!(
        r#"graph @other models {{ toy: "{reference}" }} {{
          %second = forward("<s> Colosseum Rome Prado Madrid Colosseum") {{model: toy}}
          %nobody = read(%second) {{hook: "model.layers.0.output"}}
          %old = read(%second) {{hook: "model.layers.1.output"}}
          %first = forward("<s> Eiffel Paris Buckingham London Eiffel") {{model: toy}}
          %new = update(%old, slice(read(%first) {{hook: "model.layers.3.output"}}) {{dim: 1, start: -1}}) {{dim: 1, start: -1}}
          save argmax(read(write(%second, %new) {{hook: "model.layers.1.output"}}) {{hook: "lm_head.output"}}) {{dim: -1}} as "word"
        }}"#
    );
    let written = parse(&text).into_result().unwrap();
    assert_eq!(content_hash(&recorded), content_hash(&written));
    // Bound to token ids, too, where they are other programs: the hash is of what the verifier gets.
    let bound =
        |graph: &Graph| content_hash(check(graph.clone(), &[(graph.models[0].name.clone(), model.clone())].into()).unwrap().graph());
    assert_eq!(bound(&recorded), bound(&written));
    assert_ne!(bound(&recorded), content_hash(&recorded));
}

#[test]
fn models_can_be_looked_into() {
    let folder = Folder::new("model");
    let list = folder.irc(&["model", "list"]).ends_with(0).out;
    assert!(list.contains("induction  built in") && list.contains("smollm2    to fetch"), "{list}");
    assert!(folder.irc(&["model", "open", "induction"]).ends_with(0).out.contains("4 layers"));
    assert_eq!(folder.irc(&["model", "info", "induction", "--json"]).ends_with(0).json()["layers"], 4);
    folder.irc(&["model", "verify", "induction"]).ends_with(0);
    folder.irc(&["model", "info", "nothing"]).ends_with(3);
    folder.irc(&["model", "fetch", "nothing"]).ends_with(2);

    let hooks = folder.irc(&["model", "hooks", "induction", "model.layers.{1..2}.output"]).ends_with(0).out;
    assert_eq!(hooks, "model.layers.1.output  tensor<BxTx64xf32>\nmodel.layers.2.output  tensor<BxTx64xf32>\n");
    let all = folder.irc(&["model", "hooks", "induction", "--json"]).ends_with(0).json();
    assert!(all["hooks"].as_array().is_some_and(|hooks| hooks.len() > 50));
    // Patterns, and what else hooks are called.
    let last = folder.irc(&["model", "hooks", "induction", "**.-1.*.{q,k}"]).ends_with(0).out;
    assert!(last.starts_with("model.layers.3.self_attn.q ") && last.lines().count() == 2, "{last}");
    let other = folder.irc(&["model", "hooks", "induction", "blocks[-1].hook_resid_post"]).ends_with(0).out;
    assert_eq!(other, "model.layers.3.output  tensor<BxTx64xf32>\n");
    let aliases = folder.irc(&["model", "hooks", "induction", "--transformer-lens"]).ends_with(0);
    assert!(aliases.out.contains("blocks.2.attn.hook_z "), "{}", aliases.out);
    assert!(aliases.err.contains("blocks.#.attn.hook_attn_scores: no hook, it has minus infinity"), "{}", aliases.err);
    let json = folder.irc(&["model", "hooks", "induction", "layers.0.input", "--transformer-lens", "--json"]).ends_with(0).json();
    assert_eq!(json["aliases"][0]["transformer_lens"], "blocks.0.hook_resid_pre");
    let none = folder.irc(&["model", "hooks", "induction", "self_atn"]).ends_with(2);
    assert!(none.err.contains("did you mean"), "{}", none.err);

    assert_eq!(folder.irc(&["cache", "list"]).ends_with(0).out, "");
    folder.irc(&["cache", "clean", "nothing"]).ends_with(2);
    assert_eq!(folder.irc(&["cache", "clean"]).ends_with(0).out, "0 bytes are free again\n");
}

#[test]
fn folders_of_hugging_face_run() {
    runs_as_transformers("tiny-llama");
    runs_as_transformers("tiny-gpt2");
}

/// A folder in tests/data against transformers (`tests/scripts/record_folders.py`): the logits of the last token within 1e-4 of
/// their norm.
fn runs_as_transformers(name: &str) {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let recorded: Json = serde_json::from_slice(&fs::read(data.join("tiny.json")).unwrap()).unwrap();
    let folder = Folder::new(name);
    let path = data.join(name).display().to_string();
    let program = folder.file(
        "logits.ig",
        &format!(
            "graph @logits models {{ m: {path:?} }} {{\n  %f = forward({}) {{model: m}}\n  \
             save index(read(%f) {{hook: \"lm_head.output\"}}) {{dim: 1, index: -1}} as \"logits\"\n}}\n",
            recorded["prompt"]
        ),
    );
    let numbers = |json: &Json| json.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect::<Vec<f64>>();
    let ran = folder.irc(&["run", &program, "--json"]).ends_with(0);
    assert!(ran.err.contains("converting weights"), "{}", ran.err);
    let (found, wanted) = (numbers(&ran.json()["saves"][0]["values"]), numbers(&recorded[name]["logits"]));
    let distance = found.iter().zip(&wanted).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let norm = wanted.iter().map(|b| b.powi(2)).sum::<f64>().sqrt();
    assert!(found.len() == wanted.len() && distance <= 1e-4 * norm, "{name}: {distance} of {norm}");
    // Converted once, and only then.
    assert!(!folder.irc(&["run", &program, "--json"]).ends_with(0).err.contains("converting"));
    folder.irc(&["model", "verify", &path]).ends_with(0);
    let fetched = folder.irc(&["model", "fetch", "mine", "--from", &path]).ends_with(0);
    assert!(fetched.out.starts_with("mine: "), "{}", fetched.out);
    folder.irc(&["run", &program, "--model", "mine", "--quiet"]).ends_with(0);
}

#[test]
fn a_configuration_is_enough_to_check() {
    let folder = Folder::new("handle");
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-llama");
    let path = folder.0.join("tiny").display().to_string();
    fs::create_dir_all(&path).unwrap();
    folder.irc(&["model", "info", &path]).ends_with(3);
    fs::copy(data.join("config.json"), folder.0.join("tiny/config.json")).unwrap();
    let hooks = folder.irc(&["model", "hooks", &path, "model.layers.{0..3}.output"]).ends_with(0).out;
    assert!(hooks.lines().count() == 4 && hooks.starts_with("model.layers.0.output  tensor<BxTx32xf32>\n"), "{hooks}");
    let info = folder.irc(&["model", "info", &path]).ends_with(0).out;
    assert!(info.contains("has no weights here"), "{info}");

    let program = "graph @p { models } { save read(forward([[1, 2, 3]]) {model: m}) {hook: \"lm_head.output\"} as \"l\" }";
    let program = folder.file("p.ig", &program.replace("{ models }", &format!("models {{ m: {path:?} }}")));
    folder.irc(&["check", &program]).ends_with(0);
    let ran = folder.irc(&["run", &program]).ends_with(3);
    assert!(ran.err.contains("error[E4002]") && ran.err.contains("missing: model.safetensors"), "{}", ran.err);
    let prompt = folder.file("prompt.ig", &fs::read_to_string(&program).unwrap().replace("[[1, 2, 3]]", "\"a text\""));
    let checked = folder.irc(&["check", &prompt]).ends_with(1);
    assert!(checked.err.contains("error[E2008]") && checked.err.contains("tokenizer.json"), "{}", checked.err);
    fs::copy(data.join("tokenizer.json"), folder.0.join("tiny/tokenizer.json")).unwrap();
    folder.irc(&["check", &prompt]).ends_with(0);

    // As large as they come: the configuration of Llama 3.1 70B, whose published number of parameters this is.
    let path = folder.0.join("large").display().to_string();
    fs::create_dir_all(&path).unwrap();
    let config = r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 128000, "eos_token_id": 128009,
        "hidden_act": "silu", "hidden_size": 8192, "intermediate_size": 28672, "max_position_embeddings": 131072, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 64, "num_hidden_layers": 80, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3"}, "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 128256}"#;
    folder.file("large/config.json", config);
    assert_eq!(folder.irc(&["model", "info", &path, "--json"]).ends_with(0).json()["weights"], 70_553_706_496_u64);
    let hooks = folder.irc(&["model", "hooks", &path]).ends_with(0).out;
    assert!(hooks.lines().any(|line| line.starts_with("model.layers.79.mlp.output ")), "{hooks}");
}

#[test]
fn prompts_are_shown_as_tokens() {
    let folder = Folder::new("tokens");
    let shown = folder.irc(&["tokens", "induction", "<s> Eiffel  Paris"]).ends_with(0).out;
    assert_eq!(shown, "0  0  \"<s>\"\n1  2  \"Eiffel\"\n2  3  \"Paris\"\n");
    let json = folder.irc(&["tokens", "induction", "<s> Eiffel  Paris", "--json"]).ends_with(0).json();
    assert_eq!(json["tokens"][2], serde_json::json!({"position": 2, "id": 3, "text": "Paris", "piece": "Paris", "start": 12, "end": 17}));
    assert!(folder.irc(&["tokens", "induction", "<s> Eifel"]).ends_with(1).err.contains("did you mean `Eiffel`"));
    folder.irc(&["tokens", "nothing", "x"]).ends_with(3);
}

/// What is planned is what then runs, in words, as JSON and as a page.
#[test]
fn plans_are_explained() {
    let folder = Folder::new("explain");
    let patch = folder.file("patch.ig", PATCH);
    let words = folder.irc(&["explain", &patch]).ends_with(0);
    for part in ["2 forwards", "as written", "planned", "layers.1 after attention", "optimizer"] {
        assert!(words.out.contains(part), "{part} is missing:\n{}", words.out);
    }
    assert!(!words.out.contains("measured"), "it did not run");
    let page = folder.0.join("page.html").display().to_string();
    let json = folder.irc(&["explain", &patch, "--analyze", "--json", "--html", &page]).ends_with(0).json();
    let (planned, written, report) = (&json["planned"], &json["as_written"], &json["report"]);
    for (of_plan, of_run) in [("bytes_in", "bytes_in"), ("bytes_out", "bytes_out"), ("calls", "engine_calls"), ("tokens", "token_stages")] {
        assert_eq!(planned[of_plan], report[of_run], "{of_plan}");
        assert!(planned[of_plan].as_u64().unwrap() > 0, "{of_plan}");
    }
    assert!(planned["matrix_flops"].as_u64().unwrap() < written["matrix_flops"].as_u64().unwrap());
    assert!(json["stages"].as_array().unwrap().iter().all(|stage| stage["actual"]["calls"] == stage["planned"]["calls"]));
    assert!(json["optimizer"]["counters"]["nodes interned"].as_u64().unwrap() > 0);
    assert_eq!(json["after"], folder.irc(&["opt", &patch, "--json"]).ends_with(0).json()["program"]);
    let written = folder.irc(&["explain", &patch, "--json", "--no-optimize"]).ends_with(0).json();
    assert!(written["optimizer"].is_null() && written["after"].is_null());

    // The page needs nothing but itself, and has the same numbers in it.
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("<svg") && !page.contains("src=") && !page.contains("href="), "it loads nothing");
    let data = page.split("const data = ").nth(1).and_then(|rest| rest.split(";\n").next()).unwrap();
    let data: Json = serde_json::from_str(&data.replace("<\\/", "</")).unwrap();
    assert_eq!(&data["planned"], planned);
}

#[test]
fn codes_are_explained() {
    let folder = Folder::new("explain");
    assert!(folder.irc(&["explain-code", "e1003"]).ends_with(0).out.starts_with("E1003: Shapes do not fit"));
    let unknown = folder.irc(&["explain-code", "E1033"]).ends_with(2);
    assert!(unknown.err.contains("did you mean `E1003`"), "{}", unknown.err);
    assert!(folder.irc(&["explain-code"]).ends_with(0).out.lines().count() > 30);
}

#[test]
fn the_demo_needs_no_network() {
    let folder = Folder::new("demo");
    let ran = folder.irc(&["demo", "--no-network", "--color", "never"]).ends_with(0);
    assert!(ran.out.ends_with("All 8 known answers hold.\n"), "{}", ran.out);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 80) && !ran.out.contains('\u{1b}'), "{}", ran.out);
    let colored = folder.irc(&["demo", "--no-network", "--color", "always"]).ends_with(0).out;
    assert!(colored.contains("\u{1b}["), "{colored}");
    let ascii = folder.command(&["demo", "--no-network"]).env("LC_ALL", "C").output().unwrap();
    assert!(ascii.status.success() && ascii.stdout.is_ascii(), "{}", String::from_utf8_lossy(&ascii.stdout));
    let json = folder.irc(&["demo", "--no-network", "--json"]).ends_with(0).json();
    assert_eq!((&json["predictions"]["t1"], &json["predictions"]["alone"]), (&"Paris".into(), &"Rome".into()));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = Folder::new("pipe");
    for arguments in [&["model", "hooks", "induction"][..], &["completions", "zsh"], &["demo", "--no-network"]] {
        let mut child = folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ran = Ran::of(child.wait_with_output().unwrap()).ends_with(0);
        assert!(!ran.err.contains("panic"), "{}", ran.err);
    }
}

/// Runs a program that logs, and interrupts it when it has; `more` is what is done with the process when it has heard of it.
#[cfg(unix)]
fn interrupted(folder: &Folder, program: &str, more: impl FnOnce(&mut dyn FnMut())) -> std::process::Output {
    use std::io::{BufRead, BufReader};

    let out = folder.0.join("out.safetensors").display().to_string();
    let arguments = ["run", &folder.file("long.ig", program), "--backend", "reference", "--out", &out];
    let mut child = folder.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let kill = format!("kill -INT {}", child.id());
    let mut interrupt = || assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("LOG "));
    // Somebody has to read, or it waits.
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).count());
    interrupt();
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    messages.read_line(&mut said).unwrap();
    assert!(said.starts_with("cancelling: "), "{said}");
    more(&mut interrupt);
    let mut output = child.wait_with_output().unwrap();
    std::io::Read::read_to_end(&mut messages, &mut output.stderr).unwrap();
    rest.join().unwrap();
    assert!(!folder.0.join("out.safetensors").exists());
    output
}

#[test]
#[cfg(unix)]
fn an_interrupt_cancels_a_run() {
    let folder = Folder::new("interrupt");
    // Far longer than anybody waits.
    let program = r#"graph @long models { m: "induction" } {
  save 1 as "early"
  do loop() {trip: 1000000} (%i) {
    log read(forward("<s> Eiffel Paris Eiffel") {model: m}) {hook: "lm_head.output"}
  }
}"#;
    let ran = Ran::of(interrupted(&folder, program, |_| {})).ends_with(130);
    assert!(ran.err.starts_with("error[E4006]: the run was cancelled"), "{}", ran.err);
}

/// What cannot be cancelled, one operation, is killed. Only that is left when the program says that it begins.
#[test]
#[cfg(unix)]
fn the_second_interrupt_kills() {
    use std::os::unix::process::ExitStatusExt;

    let folder = Folder::new("interrupts");
    let program = r#"graph @long {
  %a = random_uniform {shape: [5000, 5000], seed: 1}
  log "begin", max(%a)
  save sum(matmul(%a, %a)) as "late"
}"#;
    let output = interrupted(&folder, program, |interrupt| interrupt());
    assert_eq!(output.status.signal(), Some(2), "{output:?}");
}

/// A loop's tokens are words as they come, and in the end; what no iteration saved is named.
#[test]
fn run_shows_words_that_come_out_of_loops() {
    let folder = Folder::new("words");
    let program = r#"
graph @generate models { m: "induction" } {
  %f = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
  log "token", %t
  %none = list() {of: tensor<1x1xi64>}
  %r = do loop(%f, %t, %t, %none) {trip: 2} (%i, %f: forward<m, 1xT after P>, %t, %all: tensor<1xNxi64>, %list) {
    %g = extend(%f, %t)
    %n = sample(read(%g) {hook: "lm_head.output"}, %i) {seed: 1, top_k: 1}
    log "token", %n
    save %n as "reached" if eq(%i, 1)
    save %n as "unreached" if eq(%i, 7)
    yield %g, %n, cat(%all, %n) {dim: 1}, append(%list, %n)
  }
  save get(%r) {index: 2} as "text"
  save get(%r) {index: 3} as "list"
}
"#;
    let path = folder.file("generate.ig", program);
    let ran = folder.irc(&["run", &path]).ends_with(0);
    let logged: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("LOG")).map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(logged, ["\"Paris\"", "\"Buckingham\"", "\"London\""], "{}", ran.out);
    let line = |name: &str| ran.out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {}", ran.out));
    assert!(line("text").ends_with("\"Paris\" \"Buckingham\" \"London\"") && line("reached").ends_with("\"London\""), "{}", ran.out);
    assert!(line("list.1").ends_with("\"London\""), "{}", ran.out);
    assert!(ran.err.contains("not saved, as nothing came to it: \"unreached\""), "{}", ran.err);
    let json = folder.irc(&["run", "--json", &path]).ends_with(0).json();
    assert_eq!((&json["unset"][0], &json["logs"][2]["text"][0]), (&"unreached".into(), &"London".into()));
}

#[test]
fn chat_answers_line_by_line() {
    let folder = Folder::new("chat");
    let chat = ["chat", "--model", "induction", "--max-new-tokens", "2"];
    let lines = "<s> Eiffel Paris Buckingham London Eiffel\n\nnonsense\nPrado Madrid Prado\n";
    let ran = folder.irc_with(&chat, lines).ends_with(0);
    assert_eq!(ran.out, "Paris Buckingham\nMadrid Prado\n", "{}", ran.err);
    assert!(ran.err.contains("`nonsense` is not a word"), "{}", ran.err);

    let intervention = |name: &str, write: &str| {
        let program = format!("graph @i models {{ x: \"smollm2\" }} {{\n  %f = forward(\"Paris\") {{model: x}}\n{write}\n}}");
        folder.file(name, &program)
    };
    let rome = r#"  %l = read(%f) {hook: "lm_head.output"}
  %w = write(%f, add(%l, mul(cast(one_hot(index(read(forward("Rome") {model: x}) {hook: "model.input"}) {dim: 1, index: 0}) {classes: 16}) {dtype: f32}, 1000.0))) {hook: "lm_head.output"}"#;
    let wrong = intervention("wrong.ig", rome);
    let ran = folder.irc_with(&[&chat[..], &["--intervention", &wrong]].concat(), lines).ends_with(1);
    assert!(ran.err.contains("E3010") && ran.err.contains("wrong.ig:4"), "{}", ran.err);
    let zero = intervention("zero.ig", r#"  %w = write(%f, mul(read(%f) {hook: "lm_head.output"}, -1.0)) {hook: "lm_head.output"}"#);
    let ran = folder.irc_with(&[&chat[..], &["--intervention", &zero]].concat(), "<s> Eiffel Paris Eiffel\n").ends_with(0);
    assert!(!ran.out.contains("Paris") && ran.out.lines().count() == 1, "{}", ran.out);

    // The same seed draws the same words; another one others, somewhere in twelve of them.
    let drawn = |seed: &str| {
        let arguments = ["chat", "--model", "induction", "--max-new-tokens", "12", "--temperature", "100", "--top-k", "0", "--seed", seed];
        folder.irc_with(&arguments, "<s> Eiffel Paris\n").ends_with(0).out
    };
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
    folder.irc(&["chat", "--model", "induction", "--greedy", "--seed", "1"]).ends_with(2);
    folder.irc(&["chat", "--model", "induction", "--top-p", "2"]).ends_with(2);
}
