//! The engine on ONNX Runtime against ONNX Runtime's own run of the whole model, with its fused attention.

use std::time::Instant;

use cpu_time::ProcessTime;
use irc::{
    backends::{
        execute::Driven,
        ort::{OnnxModel, Ort, runtime::Runtime},
    },
    ir::{tensor::Tensor, verify::Verified},
    models::Model,
    ort::Target,
};

use super::{Bench, anonymous_kib, config, ids, packed_bytes, pages, paired::compare, whole_graph};

/// The whole model as one session.
struct Whole(OnnxModel);

impl Whole {
    fn forward(&self, ids: &[i64]) -> Vec<f32> {
        let tokens = Tensor::new([1, ids.len()], ids.to_vec());
        let lengths = Tensor::new([1], vec![ids.len() as i32 - 1]);
        let total = Tensor::scalar(ids.len() as i32);
        let given = [("tokens", &tokens), ("lengths", &lengths), ("total", &total)];
        let mut out = self.0.run(&given, &["logits"]).expect("the graph runs");
        out.remove(0).into_values::<f32>().expect("logits are f32")
    }
}

/// `peer_first`: the whole model as one session is loaded before ours.
pub(crate) fn measure(model: &Model, rounds: usize, peer_first: bool) {
    let path = match irc::ort::library_or_setup(Target::Cpu, &mut |_| {}) {
        Ok(path) => path,
        Err(error) => return println!("SKIPPED: ONNX Runtime is not here: {error}"),
    };
    let runtime = Runtime::load(&path, None).expect("the library loads");
    let handle = model.handle().expect("the weights are whole");
    let load_whole = || {
        let whole = whole_graph::build(&config(model), &handle);
        Whole(OnnxModel::load(&runtime, whole, &handle.weights, handle.spec.weights()).expect("the graph loads"))
    };
    let peer = peer_first.then(load_whole);
    let start = Instant::now();
    let bench = Bench::on(Driven::new(Ort::new(runtime.clone(), None).expect("there are threads")), model);
    println!("loaded in {:.2?}; anonymous memory {:.0} MB", start.elapsed(), anonymous_kib() * 1024.0 / 1e6);

    twenty_programs(&bench, model);
    let whole = peer.unwrap_or_else(load_whole);
    println!("{:<52} ratio [quartiles]", "");
    let (few, ids8) = (bench.program(model, 8, &[], true), ids(8));
    let ratio = compare(rounds * 2, || bench.run(&few), || drop(whole.forward(&ids8)));
    ratio.print("forward / whole graph, 8 tokens, as loaded", None);
    pages::gather_and_say();
    for (tokens, rounds) in [(8, rounds * 2), (128, rounds)] {
        let ids = ids(tokens);
        let program = bench.program(model, tokens, &[], true);
        bench.agree(&program, &whole.forward(&ids));
        let ratio = compare(rounds, || bench.run(&program), || drop(whole.forward(&ids)));
        ratio.print(&format!("forward / ONNX Runtime's whole graph, {tokens} tokens"), None);
    }
    let hooks: Vec<String> =
        (0..30).flat_map(|layer| ["self_attn.output", "mlp.output", "output"].map(|hook| format!("model.layers.{layer}.{hook}"))).collect();
    let hooks: Vec<&str> = hooks.iter().map(String::as_str).collect();
    let saved = bench.program(model, 128, &hooks, true);
    let ids128 = ids(128);
    compare(rounds, || bench.run(&saved), || drop(whole.forward(&ids128))).print("90 saved / whole graph, 128 tokens", Some(1.10));
    for hook in ["output", "mlp.output"] {
        let patch = patched(model, 15, hook);
        let ratio = compare(rounds * 2, || bench.run(&patch), || drop(whole.forward(&ids8)));
        ratio.print(&format!("one patch (layers.15.{hook}) / whole graph, 8 tokens"), Some(1.15));
    }
    let probe = bench.program(model, 128, &["model.layers.3.output"], false);
    let target = 4.0 / 30.0 * 1.1;
    compare(rounds, || bench.run(&probe), || drop(whole.forward(&ids128))).print("layer 3 only / whole graph, 128 tokens", Some(target));
}

/// A forward of eight tokens whose last position is set at a hook of a layer.
fn patched(model: &Model, layer: usize, hook: &str) -> Verified {
    let session = model.session();
    let trace = session.trace(ids(8));
    trace.hook(format!("model.layers.{layer}.{hook}")).at((.., -1)).set(session.tensor(Tensor::new([1, 576], vec![0.5f32; 576])));
    trace.hook("lm_head.output").save("logits");
    let models = [("m".into(), model.clone())].into();
    irc::run::check(session.program().expect("the program is right"), &models).expect("the program is right")
}

/// The first run of programs never seen against later runs of theirs (target: at most 2 ms more), and the memory that all of
/// them leave.
fn twenty_programs(bench: &Bench, model: &Model) {
    let hooks = ["output", "mlp.output", "self_attn.output", "post_attention_layernorm.output"];
    let programs: Vec<Verified> = (0..20).map(|at| patched(model, at, hooks[at % hooks.len()])).collect();
    // The process is warm, the programs are not.
    bench.run(&bench.program(model, 8, &[], true));
    // A program has one first run. What else the machine does shows in it, if less in CPU time, and in one of its later runs as
    // much: by that it is judged.
    let more: Vec<[f64; 2]> = programs
        .iter()
        .map(|program| {
            let time = || {
                let start = ProcessTime::now();
                bench.run(program);
                start.elapsed().as_secs_f64() * 1e3
            };
            let (first, second) = (time(), time());
            let mut later: Vec<f64> = (0..9).map(|_| time()).collect();
            later.sort_by(f64::total_cmp);
            [first - later[4], second - later[4]]
        })
        .collect();
    for (at, what) in ["first", "second"].iter().enumerate() {
        let mut more: Vec<f64> = more.iter().map(|more| more[at]).collect();
        more.sort_by(f64::total_cmp);
        let [median, quartile, most] = [more[10], more[15], more[19]];
        println!(
            "{what:>6} run of a program - median of nine later ones, CPU time, 20 programs: median {median:.2} ms, upper quartile {quartile:.2} ms, most {most:.2} ms"
        );
    }
    println!(
        "anonymous memory after them: {:.0} MB; packed weights {:.0} MB (target: at most 300 MB more)",
        anonymous_kib() * 1024.0 / 1e6,
        packed_bytes(&bench.handle) as f64 / 1e6
    );
}
