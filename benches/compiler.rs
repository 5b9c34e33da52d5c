//! What the compiler costs: `cargo bench --bench compiler`.

use std::{collections::BTreeMap, hint::black_box};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use irc::{
    ir::{graph::Graph, text, types::Name, verify::Verified},
    models::Model,
    passes::schedule,
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
        group.bench_function(BenchmarkId::new("schedule", graph.len()), |b| b.iter(|| black_box(schedule(&verified, &Default::default()))));
        group.finish();
    }
}

criterion_group!(benches, compiler);
criterion_main!(benches);
