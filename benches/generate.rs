//! What a token of greedy decoding costs, against the floor: the time that reading the weights once takes, with as many threads.
//!
//! `cargo bench --bench generate [-- ROUNDS [as-loaded]]`: SmolLM2 in f32 after a prompt of nine tokens; wall time a token is the difference
//! of a long and a short generation, over the difference of their tokens. All is measured in turns in one process; medians.

#[path = "forward/pages.rs"]
mod pages;

use std::{collections::BTreeMap, env, hint::black_box, thread, time::Instant};

use irc::{
    backends::{Backend, Handles, execute::Driven, rten::Rten},
    ir::{text::parse, types::Name, verify::Verified},
    models::Model,
};

/// New tokens of the two generations.
const TOKENS: [usize; 2] = [9, 57];

fn main() {
    let rounds = env::args().find_map(|arg| arg.parse().ok()).unwrap_or(9);
    let model = match Model::fetch("smollm2", &mut |_| {}) {
        Ok(model) => model,
        Err(error) => return println!("SKIPPED: SmolLM2 is not here: {error}"),
    };
    let threads = thread::available_parallelism().map_or(1, Into::into);
    let handle = model.handle().expect("the weights are whole");
    let matrices = handle.spec.weights().iter().filter(|weight| weight.name.ends_with(".T"));
    let bytes: i64 = matrices.filter_map(|weight| weight.ty.bytes().as_known()).sum();
    let handles = Handles::from([("m".into(), handle)]);
    // Not zeros, which the kernel may keep in one page.
    let memory = vec![1.5f32; bytes as usize / 4];
    let plain = TOKENS.map(|tokens| program(&model, tokens, false));
    let steered = TOKENS.map(|tokens| program(&model, tokens, true));

    let mut backends: Vec<(&str, f64, Box<dyn Backend>)> = vec![("rten", 1.5, Box::new(Driven::new(Rten::new(None))))];
    #[cfg(feature = "ort")]
    match onnx_runtime() {
        Ok(backend) => backends.push(("onnxruntime", 1.3, backend)),
        Err(error) => println!("SKIPPED: ONNX Runtime is not here: {error}"),
    }
    for (_, _, backend) in &backends {
        run(&**backend, &plain[0], &handles);
    }
    if !env::args().any(|arg| arg == "as-loaded") {
        let start = Instant::now();
        pages::gather_and_say();
        println!("that took {:.0} ms", ms(start.elapsed().as_secs_f64()));
    }
    println!("{:.0} MB of matrices, {threads} threads", bytes as f64 / 1e6);
    for (name, target, backend) in &backends {
        let mut times: [Vec<f64>; 3] = Default::default();
        for _ in 0..rounds {
            times[0].push(read(&memory, threads));
            times[1].push(a_token(&**backend, &plain, &handles));
            times[2].push(a_token(&**backend, &steered, &handles));
        }
        let ratios = |of: usize, to: usize| median(times[of].iter().zip(&times[to]).map(|(of, to)| of / to).collect());
        let [floor, plain, steered] = times.clone().map(median);
        let (over, cost) = (ratios(1, 0), ratios(2, 1));
        let rate = bytes as f64 / floor / 1e9;
        println!("{name}: floor {:.2} ms ({rate:.1} GB/s), a token {:.2} ms, steered {:.2} ms", ms(floor), ms(plain), ms(steered));
        println!("{name}: a token / floor {over:.3} (<= {target}: {})", verdict(over <= *target));
        println!("{name}: steered / plain {cost:.3} (<= 1.05: {})", verdict(cost <= 1.05));
    }
}

#[cfg(feature = "ort")]
fn onnx_runtime() -> Result<Box<dyn Backend>, irc::ir::diagnostic::Diagnostic> {
    use irc::backends::ort::{Device, Precision};
    let path = irc::ort::library_or_setup(irc::ort::Target::Cpu, &mut |_| {})?;
    irc::ort::backend(&path, None, Device::Cpu, Precision::F32, false)
}

fn verdict(holds: bool) -> &'static str {
    if holds { "ok" } else { "MISSED" }
}

fn ms(seconds: f64) -> f64 {
    seconds * 1e3
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Greedy, with the values of a layer moved at every step if it is steered.
fn program(model: &Model, tokens: usize, steered: bool) -> Verified {
    let steer = "%g = write(%e, add(read(%e) {hook: \"model.layers.10.output\"}, %v)) {hook: \"model.layers.10.output\"}";
    let text = format!(
        "graph @generate models {{ m: \"smollm2\" }} {{
           %v = full() {{shape: [576], value: 0.01}}
           %f = forward([[504, 15341, 270, 7042, 314, 281, 260, 2240, 282]]) {{model: m}}
           %t = argmax(slice(read(%f) {{hook: \"lm_head.output\"}}) {{dim: 1, start: -1}}) {{dim: -1}}
           %r = loop(%f, %t, %t, %v) {{trip: {}}} (%i, %f: forward<m, 1xT after P>, %t, %all: tensor<1xNxi64>, %v) {{
             {} = extend(%f, %t)
             {}
             %n = argmax(read(%g) {{hook: \"lm_head.output\"}}) {{dim: -1}}
             yield %g, %n, cat(%all, %n) {{dim: 1}}
           }}
           save get(%r) {{index: 2}} as \"tokens\"
         }}",
        tokens - 1,
        if steered { "%e" } else { "%g" },
        if steered { steer } else { "" },
    );
    let models = BTreeMap::from([(Name::from("m"), model.clone())]);
    let graph = parse(&text).into_result().expect("it is a program");
    let verified = irc::run::check(graph, &models).expect("the program is right");
    irc::run::optimized(&verified).expect("it can be optimized")
}

/// Seconds a token.
fn a_token(backend: &dyn Backend, programs: &[Verified; 2], handles: &Handles) -> f64 {
    let [short, long] = [0, 1].map(|at| {
        let start = Instant::now();
        run(backend, &programs[at], handles);
        start.elapsed().as_secs_f64()
    });
    (long - short) / (TOKENS[1] - TOKENS[0]) as f64
}

fn run(backend: &dyn Backend, program: &Verified, handles: &Handles) {
    backend.run(program, handles, &mut |_| {}).expect("the program runs");
}

/// Seconds to read memory once on all threads, the least of five.
fn read(memory: &[f32], threads: usize) -> f64 {
    let one = || {
        let start = Instant::now();
        thread::scope(|scope| {
            for part in memory.chunks(memory.len().div_ceil(threads)) {
                scope.spawn(move || {
                    let mut sums = [0f32; 64];
                    for chunk in part.chunks_exact(64) {
                        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
                    }
                    black_box(sums);
                });
            }
        });
        start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| one()).fold(f64::MAX, f64::min)
}
