//! ONNX Runtime as a library that may be missing, old or damaged: what the `irc` command says then, and how it gets one.
#![cfg(feature = "ort")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

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

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_irc"));
        command.args(arguments).env("IRC_CACHE", self.0.join("cache")).env_remove("IRC_ORT_LIBRARY").env_remove("IRC_LOG");
        command
    }

    fn irc(&self, arguments: &[&str], library: Option<&PathBuf>) -> (i32, Json) {
        let mut command = self.command(arguments);
        if let Some(library) = library {
            command.env("IRC_ORT_LIBRARY", library);
        }
        answer(&mut command)
    }

    /// Neither a library nor any work in progress is in the cache.
    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(fs::read_dir(self.0.join("cache/tmp")).into_iter().flatten().count(), 0);
        assert!(!self.0.join("cache/runtimes").exists());
    }
}

/// The exit status, and the object on standard output.
fn answer(command: &mut Command) -> (i32, Json) {
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!err.contains("panicked"), "{err}");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {err}"));
    (output.status.code().expect("it ended by itself"), json)
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
    assert!(cuda["available"] == false && cuda["why"].as_str().unwrap().contains("no build for it is set up"), "{cuda}");
    assert!(cuda["help"][0].as_str().unwrap().contains("irc setup ort --cuda"), "{cuda}");
    assert!(!folder.0.join("cache").exists(), "looking around made a cache");
}

/// A driver of NVIDIA that has as many cards and is for as new a CUDA as the environment says, and nothing else.
const DRIVER: &str = r#"
use std::{env, ffi::{c_char, c_int, c_uint}};
fn told(name: &str) -> c_int { env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(0) }
#[unsafe(no_mangle)] extern "C" fn cuInit(_: c_uint) -> c_int { if told("CARDS") == 0 { 100 } else { 0 } }
#[unsafe(no_mangle)] unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int { unsafe { *version = told("CUDA") }; 0 }
#[unsafe(no_mangle)] unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int { unsafe { *count = told("CARDS") }; 0 }
#[unsafe(no_mangle)] unsafe extern "C" fn cuDeviceGet(device: *mut c_int, at: c_int) -> c_int { unsafe { *device = at }; 0 }
#[unsafe(no_mangle)] unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, _: c_int, device: c_int) -> c_int {
    for (at, byte) in format!("Card {device}\0").bytes().enumerate() { unsafe { *name.add(at) = byte as c_char } }
    0
}
#[unsafe(no_mangle)] unsafe extern "C" fn cuGetErrorString(_: c_int, text: *mut *const c_char) -> c_int {
    unsafe { *text = c"no CUDA-capable device is detected".as_ptr() };
    0
}
"#;

/// The row for CUDA, with libraries that answer as those of NVIDIA would: what the loader and the driver say is what it says.
#[cfg(target_os = "linux")]
#[test]
fn cuda_is_available_where_nothing_is_missing() {
    let folder = Folder::new("cuda");
    let real = match irc::ort::setup(irc::ort::Target::Cpu, None, &mut |_| {}) {
        Ok(library) => library.path,
        Err(error) => {
            return skipped("cuda_is_available_where_nothing_is_missing", &format!("there is no ONNX Runtime: {}", error.message));
        }
    };
    // A build for CUDA is one with this provider beside it.
    let library = folder.0.join("libonnxruntime.so.1.31.1");
    std::os::unix::fs::symlink(&real, &library).unwrap();
    let row = |libraries: &str, cards: &str, cuda: &str| {
        let mut command = folder.command(&["backends", "--json"]);
        command.env("IRC_ORT_LIBRARY", &library).env("LD_LIBRARY_PATH", folder.0.join(libraries)).env("CARDS", cards).env("CUDA", cuda);
        backend(&answer(&mut command).1, "ort CUDA").clone()
    };
    let why = |row: &Json| row["why"].as_str().unwrap_or_default().to_owned();
    assert!(why(&row("none", "1", "13000")).contains("built without it"));
    folder.file("libonnxruntime_providers_cuda.so", b"");

    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let source = folder.file("driver.rs", DRIVER.as_bytes());
    for libraries in ["driver", "all"] {
        fs::create_dir(folder.0.join(libraries)).unwrap();
    }
    let driver = folder.0.join("driver/libcuda.so.1");
    let built = Command::new(rustc).args(["--edition=2024", "--crate-type=cdylib", "-o"]).arg(&driver).arg(&source).status().unwrap();
    assert!(built.success());
    fs::copy(&driver, folder.0.join("all/libcuda.so.1")).unwrap();
    let nvidia = irc::backends::ort::cuda::LIBRARIES;
    for name in nvidia {
        fs::copy(&driver, folder.0.join("all").join(name)).unwrap();
    }

    // Where the system itself has some of them, they are not missing.
    if irc::backends::ort::cuda::unloadable() == nvidia {
        let nothing = row("none", "1", "13000");
        assert!(nvidia.iter().all(|name| why(&nothing).contains(name)) && nothing["available"] == false, "{nothing}");
        let driver = row("driver", "1", "13000");
        assert!(nvidia.iter().all(|name| why(&driver).contains(name)) && !why(&driver).contains("driver"), "{driver}");
        assert!(driver["help"][0].as_str().unwrap().contains("LD_LIBRARY_PATH"), "{driver}");
    }
    assert!(why(&row("all", "0", "13000")).ends_with("no CUDA-capable device is detected (CUDA error 100)"));
    assert!(why(&row("all", "1", "12040")).contains("for CUDA 12.4, and 13.0 is the oldest"));
    let two = row("all", "2", "13010");
    assert!(two["available"] == true && two["cards"] == serde_json::json!(["Card 0", "Card 1"]) && two["version"] == "1.31.1", "{two}");
}

/// Writes a wheel with these files in it.
fn wheel(folder: &Folder, name: &str, files: &[(&str, &[u8])]) -> String {
    let path = folder.0.join(name);
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (file, content) in files {
        zip.start_file(*file, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
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
        // It is never loaded: no library with this content was published.
        (whole, "E0013", "does not hold what was published as onnxruntime 1.31.1"),
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
        if code == "E0013" {
            let note = error["notes"][0].as_str().unwrap();
            let (expected, found) = note.split_once("expected ").unwrap().1.split_once(", found ").unwrap();
            // SHA-256 of `this is a text`.
            assert_eq!((expected.len(), found), (64, "01c917c4fae3bfd2937f008cf7a2f0ab3f55bf5ac404dc3f68429b72e565c4ef"), "{note}");
        }
        folder.assert_untouched();
    }
}

/// A package index on this machine: it has one wheel of onnxruntime, and a connection that is cut in the middle of it.
struct Index {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    /// How often the wheel was asked for.
    asked: Arc<AtomicUsize>,
}

impl Index {
    fn new(wheel: Vec<u8>) -> Index {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let index = Index { address: listener.local_addr().unwrap(), cut: Arc::new(true.into()), asked: Arc::default() };
        let (cut, asked) = (index.cut.clone(), index.asked.clone());
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let page = br#"<!DOCTYPE html><a href="/onnxruntime-1.31.1-py3-none-any.whl">onnxruntime-1.31.1-py3-none-any.whl</a>"#;
                let (kind, body) = match request.contains(".whl") {
                    true => ("application/octet-stream", &wheel[..]),
                    false => ("text/html", &page[..]),
                };
                let mut sent = body.len();
                if request.contains(".whl") {
                    asked.fetch_add(1, Ordering::SeqCst);
                    if cut.load(Ordering::SeqCst) {
                        sent /= 2;
                    }
                }
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                // pip may have gone away.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
            }
        });
        index
    }

    /// `irc setup ort` with this index and no other.
    fn setup(&self, folder: &Folder) -> (i32, Json) {
        let index = format!("http://{}/simple", self.address);
        let pip = [("PIP_INDEX_URL", &*index), ("PIP_CONFIG_FILE", "/dev/null"), ("PIP_EXTRA_INDEX_URL", ""), ("PIP_FIND_LINKS", "")];
        let mut command = folder.command(&["setup", "ort", "--json"]);
        command.envs(pip).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        answer(&mut command)
    }
}

/// The files of a package of version 1.31.1 with these libraries.
fn package(libraries: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let info = "onnxruntime-1.31.1.dist-info";
    let mut files = vec![
        (format!("{info}/METADATA"), b"Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.31.1\n".to_vec()),
        (format!("{info}/WHEEL"), b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_vec()),
        (format!("{info}/RECORD"), vec![]),
    ];
    files.extend(libraries.iter().map(|(name, content)| (format!("onnxruntime/capi/{name}"), content.clone())));
    files
}

#[cfg(unix)]
#[test]
fn a_cut_connection_leaves_nothing() {
    let folder = Folder::new("cut");
    // What was published, where it is here or can be had.
    let real = irc::ort::setup(irc::ort::Target::Cpu, None, &mut |_| {});
    let libraries: Vec<(String, Vec<u8>)> = match &real {
        Ok(library) => fs::read_dir(library.path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect(),
        Err(_) => vec![("libonnxruntime.so.1.31.1".into(), vec![7; 1 << 20])],
    };
    let files = package(&libraries);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (&**name, &**content)).collect();
    let index = Index::new(fs::read(wheel(&folder, "index.whl", &files)).unwrap());

    let (status, answer) = index.setup(&folder);
    let error = &answer["diagnostics"][0];
    if error["code"] == "E4002" {
        return skipped("a_cut_connection_leaves_nothing", &format!("there is no pip: {}", error["message"]));
    }
    // Some versions of pip say that it was cut, others take what came for the whole.
    assert!(status == 3 && (error["code"] == "E0013" || error["code"] == "E0011"), "{answer}");
    assert!(error["help"][0].as_str().is_some(), "{answer}");
    assert!(index.asked.load(Ordering::SeqCst) > 0, "{answer}");
    folder.assert_untouched();

    index.cut.store(false, Ordering::SeqCst);
    let (status, answer) = index.setup(&folder);
    if let Err(error) = real {
        let found = &answer["diagnostics"][0];
        assert!(status == 3 && found["code"] == "E0013" && found["notes"][0].as_str().unwrap().contains("expected"), "{answer}");
        return skipped("the second half of a_cut_connection_leaves_nothing", &format!("pip cannot get onnxruntime: {}", error.message));
    }
    assert!(status == 0 && answer["version"] == "1.31.1" && answer["sha256_checked"] == true, "{answer}");
    let path = PathBuf::from(answer["path"].as_str().unwrap());
    assert!(path.starts_with(folder.0.join("cache/runtimes")), "{answer}");
    assert_eq!(fs::read_dir(folder.0.join("cache/tmp")).into_iter().flatten().count(), 0);
    let (status, cleaned) = folder.irc(&["cache", "clean", "--json"], None);
    assert!(status == 0 && cleaned["freed"].as_u64().unwrap() > 0 && !path.exists(), "{cleaned}");
}

/// Says it to the terminal itself, past what the test harness keeps to itself.
fn skipped(what: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED {what}: {why}\n").as_bytes());
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
        return skipped("setup_brings_a_library", &format!("pip cannot get onnxruntime: {}", error["message"]));
    }
    assert_eq!((&answer["version"], &answer["sha256_checked"]), (&"1.31.1".into(), &true.into()));
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
    let (_, listed) = folder.irc(&["cache", "list", "--json"], None);
    let runtime = &listed["runtimes"][0];
    assert_eq!((&runtime["name"], &listed["models"]), (&"onnxruntime-1.31.1-cpu".into(), &Json::Array(vec![])));
    let bytes: u64 = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(runtime["bytes"], bytes);
    let (status, wrong) = folder.irc(&["cache", "clean", "onnxruntime-1.31.1", "--json"], None);
    let error = &wrong["diagnostics"][0];
    assert!(status == 2 && error["code"] == "E4004" && error["help"].to_string().contains("onnxruntime-1.31.1-cpu"), "{wrong}");
    let (status, cleaned) = folder.irc(&["cache", "clean", "onnxruntime-1.31.1-cpu", "--json"], None);
    assert!(status == 0 && cleaned["freed"] == bytes && !path.parent().unwrap().exists(), "{cleaned}");
    assert_eq!(folder.irc(&["cache", "list", "--json"], None).1["runtimes"], Json::Array(vec![]));
}
