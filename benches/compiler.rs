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

/// The programs that the project began with, on the same handle: a session of two traces, a log, a function of the user's between a
/// read and a write in every step of a generation, and a chat whose words a function of the user's puts together.
const FIRST: [(&str, &str); 4] = [
    (
        "a session of two traces",
        r#"graph @session models { m: "m" } {
          %a = forward([[791, 469, 3168, 301, 22703, 374, 304, 279, 3363, 315]]) {model: m}
          save argmax(read(%a) {hook: "lm_head.output"}) {dim: -1} as "t1"
          %h = slice(read(%a) {hook: "model.layers.79.output"}) {dim: 1, start: -1}
          %b = forward([[75804, 34211, 28573, 374, 304, 279, 3363, 315]]) {model: m}
          %w = write(%b, update(read(%b) {hook: "model.layers.1.output"}, %h) {dim: 1, start: -1}) {hook: "model.layers.1.output"}
          save argmax(read(%w) {hook: "lm_head.output"}) {dim: -1} as "t2"
        }"#,
    ),
    (
        "a log",
        r#"graph @log models { m: "m" } {
          %f = forward([[128000, 15339]]) {model: m}
          log index(index(index(read(%f) {hook: "model.layers.79.output"}) {dim: 0, index: 0}) {dim: 0, index: 0}) {dim: 0, index: 0}
          save read(%f) {hook: "lm_head.output"} as "out"
        }"#,
    ),
    (
        "a function in every step",
        r#"graph @ablation models { m: "m" } {
          %f = forward([[128000, 15339]]) {model: m}
          %h = call(read(%f) {hook: "model.layers.79.output"}) {name: "my_local_fn", returns: tensor<1x2x8192xf32>}
          %w = write(%f, %h) {hook: "model.layers.79.output"}
          %t = argmax(slice(read(%w) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
          %r = do loop(%w, %t) {trip: 19} (%i, %f: forward<m, 1xT after P>, %t) {
            %g = extend(%f, %t)
            %h = do call(read(%g) {hook: "model.layers.79.output"}) {name: "my_local_fn", returns: tensor<1x1x8192xf32>}
            %w = write(%g, %h) {hook: "model.layers.79.output"}
            %n = argmax(read(%w) {hook: "lm_head.output"}) {dim: -1}
            until eq(%n, 128001)
            yield %w, %n
          }
          save get(%r) {index: 1} as "last"
        }"#,
    ),
    (
        "a chat",
        r#"graph @chat models { m: "m" } {
          %f = forward([[128000, 32, 3577, 4984, 374, 459, 4033]]) {model: m}
          %t = argmax(slice(read(%f) {hook: "lm_head.output"}) {dim: 1, start: -1}) {dim: -1}
          %s = do call(%t) {name: "start"}
          %r = do loop(%f, %t, %s, append(list() {of: tensor<1x1xi64>}, %t)) {trip: 49} (%i, %f: forward<m, 1xT after P>, %t, %s, %all) {
            %g = extend(%f, %t)
            %n = argmax(softmax(read(%g) {hook: "lm_head.output"}) {dim: -1}) {dim: -1}
            %next = do call(%n, %s) {name: "my_decoding_function"}
            until eq(%n, 128001)
            yield %g, %n, %next, append(%all, %n)
          }
          save get(%r) {index: 3} as "all_tokens"
        }"#,
    ),
];

fn first(c: &mut Criterion) {
    let models = BTreeMap::from([(Name::from("m"), programs::seventy_billion())]);
    let mut group = c.benchmark_group("parse to schedule");
    for (name, text_form) in FIRST {
        let whole = || {
            let graph = text::parse(text_form).into_result().unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
            let checked = irc::run::check(graph, &models).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
            let optimized = optimize(&checked, &Default::default()).expect("it verifies");
            schedule(&optimized.program, &Default::default()).expect("it can be scheduled")
        };
        group.bench_function(name, |b| b.iter(|| black_box(whole())));
    }
    group.finish();
}

criterion_group!(benches, compiler, heads, first);
criterion_main!(benches);
