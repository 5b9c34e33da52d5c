//! What a forward pass of SmolLM2 costs: `cargo bench --bench forward [-- ROUNDS]`; on ONNX Runtime with `-- ort`, or `-- ort
//! peer-first`, which loads the other side first; a few programs on any engine with `-- programs ENGINE DEVICE PRECISION`.
//!
//! CPU time of all threads, in paired interleaved runs; ratios are medians with quartiles. The peer is the same model as one
//! ONNX graph with rten's own fused attention. Start-up and memory are measured in processes of their own.

#[cfg(feature = "ort")]
mod onnx_runtime;
mod pages;
mod paired;
mod programs;
mod whole_graph;

use std::{collections::BTreeMap, env, fs, process::Command, time::Instant};

use irc::{
    backends::{Backend, Handle, Handles, execute::Driven, onnx::session::Threads, rten::Rten},
    ir::{tensor::Tensor, types::Name, verify::Verified},
    models::{Model, llama::LlamaConfig},
};
use paired::compare;
use whole_graph::WholeGraph;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "first-forward") {
        return first_forward();
    }
    let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(15);
    let model = match Model::fetch("smollm2", &mut |_| {}) {
        Ok(model) => model,
        Err(error) => return println!("SKIPPED: SmolLM2 is not here: {error}"),
    };
    if let Some(at) = args.iter().position(|arg| arg == "programs") {
        let words: Vec<&str> = args[at + 1..].iter().take(3).map(String::as_str).collect();
        return programs::measure(&model, &words, rounds);
    }
    #[cfg(feature = "ort")]
    if args.iter().any(|arg| arg == "ort") {
        return onnx_runtime::measure(&model, rounds, args.iter().any(|arg| arg == "peer-first"));
    }
    let bench = Bench::new(&model);
    if let Some(tokens) = args.iter().find_map(|arg| arg.strip_prefix("loop=")?.parse().ok()) {
        return bench.repeat(&model, tokens, args.iter().any(|arg| arg == "peer"));
    }
    println!("{:<52} ratio [quartiles]", "");
    for tokens in [8, 128] {
        let plain = bench.program(&model, tokens, &[], true);
        let saved = bench.program(&model, tokens, &["model.layers.15.output"], true);
        let ratio = compare(rounds, || bench.run(&saved), || bench.run(&plain));
        ratio.print(&format!("one saved hidden state / without, {tokens} tokens"), Some(1.03));
    }
    bench.breakdown(&model, 8);
    let full = bench.program(&model, 128, &[], true);
    let probe = bench.program(&model, 128, &["model.layers.3.output"], false);
    compare(rounds, || bench.run(&probe), || bench.run(&full)).print("layer 3 only / full forward, 128 tokens", Some(0.18));

    let threads = Threads::new(std::thread::available_parallelism().map_or(1, Into::into));
    let peer = WholeGraph::load(&config(&model), &bench.handle, threads);
    pages::gather_and_say();
    for (tokens, rounds, target) in [(8, rounds * 2, Some(1.10)), (128, rounds, Some(1.10)), (1024, rounds / 4 + 1, None)] {
        let ids = ids(tokens);
        let program = bench.program(&model, tokens, &[], true);
        bench.agree(&program, &peer.forward(&ids));
        let ratio = compare(rounds, || bench.run(&program), || drop(peer.forward(&ids)));
        ratio.print(&format!("forward / rten's whole graph, {tokens} tokens"), target);
    }
    start_up();
}

/// SmolLM2 on the engine.
struct Bench {
    backend: Driven,
    handle: Handle,
    handles: Handles,
}

impl Bench {
    fn new(model: &Model) -> Bench {
        Bench::on(Driven::new(Rten::new(None)), model)
    }

    /// SmolLM2 on another engine.
    fn on(backend: Driven, model: &Model) -> Bench {
        let handle = model.handle().expect("the weights are whole");
        backend.load(&handle).expect("the engine takes the model");
        Bench { backend, handles: Handles::from([("m".into(), handle.clone())]), handle }
    }

    /// A forward that saves hooks, and the logits if they are asked for.
    fn program(&self, model: &Model, tokens: usize, hooks: &[&str], logits: bool) -> Verified {
        let session = model.session();
        let trace = session.trace(ids(tokens));
        for hook in hooks.iter().copied().chain(logits.then_some("lm_head.output")) {
            trace.hook(hook).save(hook);
        }
        let models = BTreeMap::from([(Name::from("m"), model.clone())]);
        irc::run::check(session.program().expect("the program is right"), &models).expect("the program is right")
    }

    fn run(&self, program: &Verified) {
        self.backend.run(program, &self.handles, &mut |_| {}).expect("the program runs");
    }

    /// Forty forwards of one kind, for profilers: `loop=TOKENS [peer]`.
    fn repeat(&self, model: &Model, tokens: usize, peer: bool) {
        let program = self.program(model, tokens, &[], true);
        let threads = Threads::new(std::thread::available_parallelism().map_or(1, Into::into));
        let peer = peer.then(|| WholeGraph::load(&config(model), &self.handle, threads));
        let ids = ids(tokens);
        let stat = || {
            fs::read_to_string("/proc/self/stat")
                .unwrap_or_default()
                .split(' ')
                .map(|field| field.parse().unwrap_or(0))
                .collect::<Vec<i64>>()
        };
        let before = stat();
        for _ in 0..40 {
            match &peer {
                Some(peer) => drop(peer.forward(&ids)),
                None => self.run(&program),
            }
        }
        let each: Vec<f64> = [9, 13, 14].map(|field| (stat()[field] - before[field]) as f64 / 40.0).to_vec();
        println!("a forward: {:.0} page faults, {:.1} ms user, {:.1} ms system", each[0], each[1] * 10.0, each[2] * 10.0);
    }

    /// Where the wall time of a forward goes, by the least of twenty runs.
    fn breakdown(&self, model: &Model, tokens: usize) {
        let program = self.program(model, tokens, &[], true);
        let runs = (0..20).map(|_| {
            let start = Instant::now();
            drop(irc::passes::schedule(&program, &Default::default()));
            let scheduled = start.elapsed();
            (self.backend.run(&program, &self.handles, &mut |_| {}).expect("the program runs").report, scheduled)
        });
        let least = runs.min_by_key(|(report, _)| report.total_time);
        if let Some((report, scheduled)) = least {
            println!(
                "{tokens} tokens: {:.2?} of which engine {:.2?} in {} calls, attention {:.2?}, schedule {scheduled:.2?}",
                report.total_time, report.engine_time, report.engine_calls, report.attention_time
            );
        }
    }

    /// Both compute the same, or the comparison means nothing.
    fn agree(&self, program: &Verified, logits: &[f32]) {
        let outcome = self.backend.run(program, &self.handles, &mut |_| {}).expect("the program runs");
        let ours = outcome.get("lm_head.output").and_then(|value| value.as_tensor()).and_then(Tensor::values::<f32>).expect("logits");
        let distance: f64 = ours.iter().zip(logits).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        let norm: f64 = logits.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>().sqrt();
        assert!(ours.len() == logits.len() && distance <= 1e-4 * norm, "the peer computes something else: {distance} of {norm}");
    }
}

fn config(model: &Model) -> LlamaConfig {
    let path = model.in_cache(&mut |_| {}).ok().flatten().expect("SmolLM2 is in the cache").config();
    let config = serde_json::from_str(&fs::read_to_string(path).expect("the configuration can be read")).expect("it is one");
    LlamaConfig::read(&config).expect("it is a Llama's")
}

/// Token ids without a pattern, the same every time.
fn ids(count: usize) -> Vec<i64> {
    let mut state = 7u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % 49_000) as i64 + 100
    };
    (0..count).map(next).collect()
}

/// Opens the model and runs one forward in a process of its own, five times.
fn start_up() {
    let exe = env::current_exe().expect("this program has a path");
    let mut lines: Vec<String> = (0..5)
        .map(|_| {
            let start = Instant::now();
            let output = Command::new(&exe).arg("first-forward").output().expect("this program runs");
            let memory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            format!("{:.3} s wall, {memory}", start.elapsed().as_secs_f64())
        })
        .collect();
    lines.sort();
    println!("open from the cache and a first forward, in a new process: {} (target <= 1.5 s; slowest: {})", lines[0], lines[4]);
}

fn first_forward() {
    let model = Model::open("smollm2").expect("SmolLM2 is in the cache");
    let bench = Bench::new(&model);
    let packed = packed_bytes(&bench.handle);
    let anonymous = anonymous_kib();
    let session = model.session();
    session.trace("The Eiffel Tower is in the city of").hook("lm_head.output").at((.., -1)).argmax(-1).save("next");
    let results = session.run_on(&bench.backend, &mut |_| {}).expect("the program runs");
    assert_eq!(model.decode(results.ints("next").expect("it was saved")), " Paris");
    let mb = |bytes: f64| bytes / 1e6;
    println!(
        "anonymous memory after load {:.0} MB = packed {:.0} MB + {:.0} MB (target <= 60 MB)",
        mb(anonymous * 1024.0),
        mb(packed as f64),
        mb(anonymous * 1024.0 - packed as f64)
    );
}

/// The bytes of the matrices, which engines keep packed.
fn packed_bytes(handle: &Handle) -> i64 {
    let matrices = handle.spec.weights().iter().filter(|weight| weight.name.ends_with(".T"));
    matrices.filter_map(|weight| weight.ty.bytes().as_known()).sum()
}

/// Anonymous memory of this process, KiB.
fn anonymous_kib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0");
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0.0)
}
