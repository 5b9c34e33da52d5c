//! ONNX Runtime as a library that may be missing, old or damaged: what the `irc` command says then, and how it gets one.
#![cfg(feature = "ort")]

use std::{fs, path::PathBuf, process::Command};

use irc::{
    backends::ort::runtime::{Runtime, check},
    ir::code::Code,
};
use serde_json::Value as Json;

/// A folder of a test's own, with an empty cache in it; removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("irc-setup-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The exit status, and the object on standard output.
    fn irc(&self, arguments: &[&str], library: Option<&PathBuf>) -> (i32, Json) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_irc"));
        command.args(arguments).env("IRC_CACHE", self.0.join("cache")).env_remove("IRC_ORT_LIBRARY").env_remove("IRC_LOG");
        if let Some(library) = library {
            command.env("IRC_ORT_LIBRARY", library);
        }
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!err.contains("panicked"), "{err}");
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {err}"));
        (output.status.code().expect("it ended by itself"), json)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Files that are no library, each with a part of what is said about it.
fn damaged(folder: &Folder) -> Vec<(PathBuf, &'static str)> {
    // The header of a 64-bit shared library for x86-64, and nothing that it speaks of.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    elf.extend([0xa5; 4096]);
    vec![
        (folder.0.join("none.so"), "no such file"),
        (folder.0.clone(), "no such file"),
        (folder.file("empty.so", b""), "not a library"),
        (folder.file("text.so", b"this is a text"), "not a library"),
        (folder.file("header.so", &elf[..64]), "not a library"),
        (folder.file("elf.so", &elf), "not a library"),
    ]
}

fn backend<'a>(found: &'a Json, name: &str) -> &'a Json {
    found["backends"].as_array().unwrap().iter().find(|backend| backend["name"] == name).unwrap()
}

#[test]
fn what_is_no_library_is_refused() {
    let folder = Folder::new("refused");
    for (path, why) in damaged(&folder) {
        let error = check(&path).unwrap_err();
        assert!(error.code == Code::E0016 && error.message.contains(why), "{error}");
        let named = path.display().to_string();
        for (arguments, library) in [(&["--ort-library", &*named][..], None), (&[], Some(&path))] {
            let run = [&["run", "none.ig", "--engine", "ort", "--json"], arguments].concat();
            let (status, answer) = folder.irc(&run, library);
            let error = &answer["diagnostics"][0];
            assert!(status == 3 && error["code"] == "E0016", "{answer}");
        }
        let (status, found) = folder.irc(&["backends", "--json"], Some(&path));
        let ort = backend(&found, "ort");
        assert!(status == 0 && ort["available"] == false && ort["why"].as_str().unwrap().contains("cannot be used"), "{ort}");
    }
}

#[test]
fn backends_say_what_is_missing() {
    let folder = Folder::new("backends");
    let (status, found) = folder.irc(&["backends", "--json"], None);
    assert_eq!((status, &found["ok"]), (0, &true.into()));
    assert!(["rten", "reference"].iter().all(|name| backend(&found, name)["available"] == true), "{found}");
    let ort = backend(&found, "ort");
    assert!(ort["available"] == false && ort["path"].is_null() && ort["why"].as_str().unwrap().contains("not installed"), "{ort}");
    assert!(ort["help"][0].as_str().unwrap().contains("irc setup ort"), "{ort}");
    let (status, answer) = folder.irc(&["run", "none.ig", "--engine", "ort", "--json"], None);
    assert!(status == 3 && answer["diagnostics"][0]["code"] == "E0016", "{answer}");
    let cuda = backend(&found, "ort CUDA");
    assert!(cuda["available"] == false && cuda["why"].as_str().unwrap().contains("CUDA"), "{cuda}");
    assert!(!folder.0.join("cache").exists(), "looking around made a cache");
}

/// Writes a wheel with these files in it.
fn wheel(folder: &Folder, name: &str, files: &[(&str, &[u8])]) -> String {
    let path = folder.0.join(name);
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (file, content) in files {
        zip.start_file(*file, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, content).unwrap();
    }
    zip.finish().unwrap();
    path.display().to_string()
}

#[cfg(target_os = "linux")]
#[test]
fn a_wheel_that_does_not_do_leaves_nothing() {
    let folder = Folder::new("wheel");
    let library = "onnxruntime/capi/libonnxruntime.so.1.31.1";
    let whole = wheel(&folder, "whole.whl", &[(library, b"this is a text")]);
    let half = fs::read(&whole).unwrap();
    let wheels = [
        (whole, "E0016", "not a library"),
        (wheel(&folder, "old.whl", &[("onnxruntime/capi/libonnxruntime.so.1.22.1", b"")]), "E0016", "does not have"),
        (wheel(&folder, "out.whl", &[("onnxruntime/capi/../libonnxruntime.so.1.31.1", b"")]), "E0016", "does not have"),
        (wheel(&folder, "other.whl", &[("torch/lib/libtorch.so", b"")]), "E0016", "does not have"),
        (folder.file("half.whl", &half[..half.len() / 2]).display().to_string(), "E0011", "damaged"),
        (folder.0.join("none.whl").display().to_string(), "E0010", "cannot open"),
    ];
    for (path, code, said) in wheels {
        let (status, answer) = folder.irc(&["setup", "ort", "--from", &path, "--json"], None);
        let error = &answer["diagnostics"][0];
        assert!(status == 3 && error["code"] == code && error["message"].as_str().unwrap().contains(said), "{path}: {answer}");
        assert_eq!(fs::read_dir(folder.0.join("cache/tmp")).into_iter().flatten().count(), 0);
        assert!(!folder.0.join("cache/runtimes").exists());
    }
}

/// Where pip reaches the package: it is fetched, found, loaded, fetched no second time, mended and removed.
#[test]
fn setup_brings_a_library() {
    let folder = Folder::new("whole");
    let (status, answer) = folder.irc(&["setup", "ort", "--json"], None);
    if status != 0 {
        let error = &answer["diagnostics"][0];
        assert!(status == 3 && (error["code"] == "E4002" || error["code"] == "E0013"), "{answer}");
        assert!(error["help"].to_string().contains("irc setup ort --from PATH"), "{answer}");
        // To the terminal itself, past what the test harness keeps to itself.
        let said = format!("SKIPPED setup_brings_a_library: pip cannot get onnxruntime: {}\n", error["message"]);
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    assert_eq!(answer["version"], "1.31.1");
    let path = PathBuf::from(answer["path"].as_str().unwrap());
    assert!(path.starts_with(folder.0.join("cache")), "{answer}");
    let (_, found) = folder.irc(&["backends", "--json"], None);
    assert!(backend(&found, "ort")["available"] == true && backend(&found, "ort")["path"] == answer["path"], "{found}");
    assert_eq!(Runtime::load(&path, Some(1)).unwrap().version(), "1.31.1");

    let text = br#"graph @g models { m: "induction" } {
  %a = forward("<s> Eiffel Paris Buckingham London Eiffel") {model: m}
  save argmax(index(read(%a) {hook: "lm_head.output"}) {dim: 1, index: -1}) {dim: -1} as "word"
}"#;
    let program = folder.file("word.ig", text).display().to_string();
    let (status, ran) = folder.irc(&["run", &program, "--engine", "ort", "--threads", "1", "--json"], None);
    assert!(status == 0 && ran["saves"][0]["text"] == serde_json::json!(["Paris"]), "{ran}");
    assert!(ran["report"]["numeric_class"].as_str().unwrap().starts_with("onnxruntime 1.31.1, cpu"), "{ran}");

    // One that is there is not built again: this wheel does not even exist.
    let again = ["setup", "ort", "--from", "/none.whl", "--json"];
    assert_eq!(folder.irc(&again, None), (0, answer));
    // One that is damaged is. It is loaded here, so it is replaced, not written to.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "this is a text").unwrap();
    assert_eq!(folder.irc(&again, None).1["diagnostics"][0]["code"], "E0010");
    let (status, cleaned) = folder.irc(&["cache", "clean", "--json"], None);
    assert!(status == 0 && cleaned["freed"].as_u64().unwrap() > 0 && !path.exists(), "{cleaned}");
}
