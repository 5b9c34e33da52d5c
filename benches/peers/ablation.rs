//! What each part of a schedule contributes: the tasks with one part left out, and with all; and where irc's own time goes.

use std::{collections::BTreeMap, time::Duration};

use irc::{
    backends::{Report, execute::Driven, rten::Rten},
    ir::types::Name,
    models::Model,
    passes::Strategy,
};

use crate::{
    agreement::Found,
    measure::{Time, task_as_recorded, whole_task},
    tasks::{Lab, Task},
};

/// Longer tasks run once.
const LONG_MS: f64 = 3_000.0;

/// A name, what the schedule may do, and whether the optimizer comes before it. The optimizer makes equal forwards one, so that it
/// is left out where the schedule is not to.
fn strategies() -> Vec<(&'static str, Strategy, bool)> {
    let all = Strategy::default();
    vec![
        ("everything", all, true),
        ("without optimizer", all, false),
        ("without live", Strategy { live: false, ..all }, true),
        ("without share", Strategy { share: false, ..all }, false),
        ("without prefixes", Strategy { prefixes: false, ..all }, true),
        ("without cone", Strategy { cone: false, ..all }, true),
        ("without positions", Strategy { positions: false, ..all }, true),
        ("without batch", Strategy { batch: false, ..all }, true),
        ("without fuse", Strategy { fuse: false, ..all }, true),
        ("as written", Strategy::AS_WRITTEN, false),
    ]
}

/// One cell of the table.
struct Cell {
    least: Time,
    report: Report,
    found: Found,
}

/// Prints the table of each task.
pub(crate) fn measure(tasks: &[&Task], lab: &Lab, rounds: usize) {
    let mut tables: Vec<Vec<Cell>> = tasks.iter().map(|_| vec![]).collect();
    let strategies = strategies();
    for (name, strategy, optimized) in &strategies {
        eprintln!("{name} …");
        let backend = Driven::new(Rten::new(None)).with_strategy(*strategy);
        for (task, table) in tasks.iter().zip(&mut tables) {
            table.push(cell(task, lab, &backend, *optimized, rounds));
        }
    }
    for (task, table) in tasks.iter().zip(&tables) {
        println!("{}: {}", task.name, task.what);
        println!(
            "  {:<18} {:>9} {:>9} {:>8} {:>13} {:>8} {:>10} {:>10}   same bits",
            "", "least cpu", "wall", "times", "token-stages", "calls", "engine", "attention"
        );
        let whole = &table[0];
        for ((name, ..), Cell { least, report, found }) in strategies.iter().zip(table) {
            let same = if *found == whole.found { "yes" } else { "NO" };
            println!(
                "  {name:<18} {:>9.1} {:>9.1} {:>8.2} {:>13} {:>8} {:>10.1} {:>10.1}   {same}",
                least.cpu,
                least.wall,
                least.cpu / whole.least.cpu,
                report.token_stages,
                report.engine_calls,
                ms(report.engine_time),
                ms(report.attention_time),
            );
        }
        println!();
    }
}

fn cell(task: &Task, lab: &Lab, backend: &Driven, optimized: bool, rounds: usize) -> Cell {
    let run = || if optimized { whole_task(task, lab, backend) } else { task_as_recorded(task, lab, backend) };
    let (results, first) = run();
    let found = Found::of(&results, task.answer);
    let mut least = first;
    let mut report = results.report().clone();
    for _ in 0..if first.cpu > LONG_MS { 0 } else { rounds } {
        let (results, time) = run();
        if time.cpu < least.cpu {
            (least, report) = (time, results.report().clone());
        }
    }
    Cell { least, report, found }
}

/// Where the time of irc goes, by the run of the least wall time: writing the traces, checking the program, its schedule, and the
/// run of it: the engine, attention, and the driver with what the program itself computes.
pub(crate) fn breakdown(tasks: &[&Task], lab: &Lab, backend: &Driven, rounds: usize) {
    let models = BTreeMap::from([(Name::from("m"), lab.model.clone())]);
    let handles = BTreeMap::from([(Name::from("m"), lab.model.handle().expect("the weights are whole"))]);
    println!(
        "{:<18} {:>9} {:>8} {:>8} {:>9} {:>8} {:>8} {:>9} {:>8} {:>7} {:>13}",
        "wall, ms", "traces", "check", "schedule", "run", "engine", "attention", "the rest", "calls", "nodes", "token-stages"
    );
    for task in tasks {
        let runs = (0..rounds.max(1)).map(|_| {
            let (graph, traces) = Time::of(|| (task.write)(lab).program().expect("the program is right"));
            let nodes = graph.len();
            let (program, check) = Time::of(|| irc::run::check(graph, &models).expect("the program is right"));
            let (_, schedule) = Time::of(|| irc::passes::schedule(&program, &backend.target()).expect("the program can be run"));
            let run = |program| irc::backends::Backend::run(backend, program, &handles, &mut |_| {}).expect("the program runs").report;
            (run(&program), [traces, check, schedule].map(|time| time.wall), nodes)
        });
        let Some((report, [traces, check, schedule], nodes)) = runs.min_by_key(|(report, ..)| report.total_time) else { continue };
        let (total, engine, attention) = (ms(report.total_time), ms(report.engine_time), ms(report.attention_time));
        println!(
            "{:<18} {traces:>9.2} {check:>8.2} {schedule:>8.2} {:>9.1} {engine:>8.1} {attention:>8.2} {:>9.2} {:>8} {nodes:>7} {:>13}",
            task.name,
            total - schedule,
            total - schedule - engine - attention,
            report.engine_calls,
            report.token_stages,
        );
    }
}

/// One task again and again, for profilers.
pub(crate) fn repeat(task: &Task, lab: &Lab, backend: &Driven, times: usize) {
    let (_, time) = Time::of(|| (0..times).for_each(|_| drop(whole_task(task, lab, backend))));
    println!("{}: {:.1} ms of CPU time, {:.1} ms of wall time a run", task.name, time.cpu / times as f64, time.wall / times as f64);
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The model, on a backend of its own.
pub(crate) fn backend(model: &Model, strategy: Strategy) -> Driven {
    let backend = Driven::new(Rten::new(None)).with_strategy(strategy);
    backend.load(&model.handle().expect("the weights are whole")).expect("the engine takes the model");
    backend
}
