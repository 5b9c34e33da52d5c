//! How the compiler's time grows with the program: `cargo bench --bench growth [-- ROUNDS]`.
//!
//! CPU time of the process, user and system, a node, of each part from parse to schedule, each given what the part before it made;
//! `drop` is the time that it takes to give back the memory of what they made. Medians of rounds in which the sizes take turns.

use std::collections::BTreeMap;

use cpu_time::ProcessTime;
use irc::{
    ir::{graph::Graph, text, types::Name},
    models::Model,
    passes::{optimize, schedule},
    run::check,
};

#[path = "compiler/programs.rs"]
mod programs;

const PARTS: [&str; 6] = ["parse", "bind and verify", "optimize", "schedule", "drop", "whole"];

/// A program of some size, as its text and the times of its rounds, in nanoseconds.
struct Program {
    text: String,
    nodes: usize,
    models: BTreeMap<Name, Model>,
    times: [Vec<f64>; PARTS.len()],
}

impl Program {
    fn new(graph: &Graph, model: Model) -> Program {
        let models = BTreeMap::from([(Name::from("m"), model)]);
        Program { text: text::print(graph, None), nodes: graph.len(), models, times: Default::default() }
    }

    fn round(&mut self) {
        let mut at = ProcessTime::now();
        let mut lap = |times: &mut Vec<f64>| {
            times.push(at.elapsed().as_nanos() as f64);
            at = ProcessTime::now();
        };
        let [parse, bind, optimizer, scheduler, drops, whole] = &mut self.times;
        let graph = text::parse(&self.text).into_result().expect("it was printed");
        lap(parse);
        let checked = check(graph, &self.models).expect("the program is right");
        lap(bind);
        let optimized = optimize(&checked, &Default::default()).expect("it verifies");
        lap(optimizer);
        let scheduled = schedule(&optimized.program, &Default::default()).expect("it has no loops");
        lap(scheduler);
        drop((checked, optimized, scheduled));
        lap(drops);
        whole.push([parse, bind, optimizer, scheduler, drops].iter().filter_map(|times| times.last()).sum());
    }

    /// The median of a part, in nanoseconds a node.
    fn median(&self, part: usize) -> f64 {
        let mut times = self.times[part].clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] / self.nodes as f64
    }
}

fn main() {
    let rounds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(9);
    let toy = || Model::open("induction").expect("it is built in");
    let sweeps = [1000, 3000, 11_800].map(|traces| Program::new(&programs::sweep(traces), toy()));
    let heads = [1000, 5120, 11_800].map(|patches| {
        let model = programs::seventy_billion();
        Program::new(&programs::heads(&model, patches), model)
    });
    for (name, mut programs) in [("sweep of patches, toy model", sweeps), ("head patching, 70B geometry", heads)] {
        for _ in 0..rounds {
            for program in &mut programs {
                // As much work for each, so that all are as warm.
                (0..120_000 / program.nodes).for_each(|_| program.round());
            }
        }
        let [small, middle, large] = &programs;
        println!("{name}: ns a node, CPU time, medians of {rounds} rounds");
        println!("{:18} {:>9} {:>9} {:>9}   growth", "", small.nodes, middle.nodes, large.nodes);
        for (at, part) in PARTS.iter().enumerate() {
            let of = |program: &Program| program.median(at);
            println!("{part:18} {:9.0} {:9.0} {:9.0}   {:.2}", of(small), of(middle), of(large), of(large) / of(small));
        }
    }
}
