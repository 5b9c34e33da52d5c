//! What the compiler costs: `cargo bench --bench compiler`.

use std::{collections::BTreeMap, hint::black_box};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use irc::{
    ir::{graph::Graph, text, types::Name, verify::Verified},
    models::Model,
    passes::{optimize, schedule},
};

#[path = "compiler/programs.rs"]
mod programs;

fn checked(graph: &Graph) -> Verified {
    let models = BTreeMap::from([(Name::from("m"), Model::open("induction").expect("it is built in"))]);
    irc::run::check(graph.clone(), &models).expect("the program is right")
}

fn compiler(c: &mut Criterion) {
    // The last has 100,000 nodes.
    for traces in [100, 1000, 11_800] {
        let graph = programs::sweep(traces);
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
    let model = programs::seventy_billion();
    let graph = programs::heads(&model, 5120);
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
    let models = BTreeMap::from([(Name::from("m"), programs::seventy_billion())]);
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
