//! What the compiler costs: `cargo bench --bench compiler`.

use std::{collections::BTreeMap, hint::black_box};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use irc::{
    ir::{graph::Graph, text, types::Name, verify::Verified},
    models::Model,
    passes::{optimize, schedule},
};

/// A sweep of `traces` patches on the toy model, written as a plain loop of traces.
fn sweep(traces: usize) -> Graph {
    let model = Model::open("induction").expect("it is built in");
    let session = model.session();
    let source = session.trace("<s> Eiffel Paris Buckingham London Eiffel");
    for at in 0..traces {
        let (layer, position) = (at % 4, (at / 4 % 6) as i64);
        let h = source.hook(format!("model.layers.{layer}.output")).at((.., position));
        let trace = session.trace("<s> Colosseum Rome Prado Madrid Colosseum");
        trace.hook(format!("model.layers.{layer}.output")).at((.., position)).set(&h * (at as f64));
        trace.hook("lm_head.output").at((.., -1)).softmax(-1).save(format!("p{at}"));
    }
    session.program().expect("the program is right")
}

fn checked(graph: &Graph) -> Verified {
    let models = BTreeMap::from([(Name::from("m"), Model::open("induction").expect("it is built in"))]);
    irc::run::check(graph.clone(), &models).expect("the program is right")
}

fn compiler(c: &mut Criterion) {
    // The last has 100,000 nodes.
    for traces in [100, 1000, 11_800] {
        let graph = sweep(traces);
        let text_form = text::print(&graph, None);
        let verified = checked(&graph);
        let mut group = c.benchmark_group("sweep");
        group.throughput(Throughput::Elements(graph.len() as u64));
        if graph.len() > 50_000 {
            group.sample_size(10);
        }
        group.bench_function(BenchmarkId::new("parse", graph.len()), |b| b.iter(|| black_box(text::parse(&text_form))));
        group.bench_function(BenchmarkId::new("print", graph.len()), |b| b.iter(|| black_box(text::print(&graph, None))));
        group.bench_function(BenchmarkId::new("bind and verify", graph.len()), |b| b.iter(|| black_box(checked(&graph))));
        group.bench_function(BenchmarkId::new("optimize", graph.len()), |b| b.iter(|| black_box(optimize(&verified, &Default::default()))));
        group.bench_function(BenchmarkId::new("schedule", graph.len()), |b| b.iter(|| black_box(schedule(&verified, &Default::default()))));
        group.finish();
    }
}

/// Head patching over 80 layers of 64 heads on a handle of 70B geometry without weights, as 5,120 plain traces.
fn heads(c: &mut Criterion) {
    let model = seventy_billion();
    let session = model.session();
    let (clean, corrupt) = (vec![791i64, 6864, 315, 9822, 374, 279, 3363, 315], vec![791i64, 6864, 315, 6457, 374, 279, 3363, 315]);
    let source = session.trace(vec![clean]);
    for (layer, head) in (0..80).flat_map(|layer| (0..64).map(move |head| (layer, head))) {
        let hook = format!("model.layers.{layer}.self_attn.o_proj.input");
        let columns = head * 128..(head + 1) * 128;
        let z = source.hook(&*hook).at((.., .., columns.clone()));
        let trace = session.trace(vec![corrupt.clone()]);
        trace.hook(&*hook).at((.., .., columns)).set(&z);
        let logits = trace.hook("lm_head.output").at((.., -1));
        (logits.at((.., 9822)) - logits.at((.., 6457))).save(format!("{layer}.{head}"));
    }
    let graph = session.program().expect("the program is right");
    let text_form = text::print(&graph, None);
    let models = BTreeMap::from([(Name::from("m"), model)]);
    let check = |graph: Graph| irc::run::check(graph, &models).expect("the program is right");
    let verified = check(graph.clone());
    let mut group = c.benchmark_group("5,120 heads");
    group.sample_size(10);
    let whole = || {
        let graph = text::parse(&text_form).into_result().expect("it was printed");
        let optimized = optimize(&check(graph), &Default::default()).expect("it verifies");
        schedule(&optimized.program, &Default::default())
    };
    group.bench_function(BenchmarkId::new("optimize", graph.len()), |b| b.iter(|| black_box(optimize(&verified, &Default::default()))));
    group.bench_function(BenchmarkId::new("schedule", graph.len()), |b| b.iter(|| black_box(schedule(&verified, &Default::default()))));
    group.bench_function(BenchmarkId::new("parse to schedule", graph.len()), |b| b.iter(|| black_box(whole())));
    group.finish();
}

/// A Llama of 80 layers that is known by its configuration alone.
fn seventy_billion() -> Model {
    let folder = std::env::temp_dir().join(format!("irc-70b-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the configuration");
    let config = r#"{"model_type": "llama", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": false}"#;
    std::fs::write(folder.join("config.json"), config).expect("the configuration is written");
    let model = Model::open(&folder.to_string_lossy());
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    model.unwrap_or_else(|error| panic!("{error}"))
}

/// The session of two traces that the project began with, on the same handle.
fn session(c: &mut Criterion) {
    let text_form = r#"graph @session models { m: "m" } {
      %a = forward([[791, 469, 3168, 301, 22703, 374, 304, 279, 3363, 315]]) {model: m}
      save argmax(read(%a) {hook: "lm_head.output"}) {dim: -1} as "t1"
      %h = slice(read(%a) {hook: "model.layers.79.output"}) {dim: 1, start: -1}
      %b = forward([[75804, 34211, 28573, 374, 304, 279, 3363, 315]]) {model: m}
      %w = write(%b, update(read(%b) {hook: "model.layers.1.output"}, %h) {dim: 1, start: -1}) {hook: "model.layers.1.output"}
      save argmax(read(%w) {hook: "lm_head.output"}) {dim: -1} as "t2"
    }"#;
    let models = BTreeMap::from([(Name::from("m"), seventy_billion())]);
    let whole = || {
        let graph = text::parse(text_form).into_result().expect("it is right");
        let checked = irc::run::check(graph, &models).expect("it is right");
        let optimized = optimize(&checked, &Default::default()).expect("it verifies");
        schedule(&optimized.program, &Default::default())
    };
    c.bench_function("a session of two traces/parse to schedule", |b| b.iter(|| black_box(whole())));
}

criterion_group!(benches, compiler, heads, session);
criterion_main!(benches);
