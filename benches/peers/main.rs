//! irc beside what a user would run instead: `IRC_PEERS_PYTHON=PYTHON cargo bench --bench peers [-- WORDS]`; README.md says how.
//!
//! The tasks are written as plain loops of traces in one session, and measured from the first line that a person writes to the
//! results, with the model loaded before. Sides run in turns in one run; CPU time of all threads.

mod ablation;
mod agreement;
mod measure;
#[path = "../forward/pages.rs"]
mod pages;
mod peer;
mod tasks;

use std::{env, process::ExitCode};

use irc::{models::Model, passes::Strategy};
use measure::Ours;
use peer::{PYTHON, Peer};
use tasks::{Lab, TASKS, Task};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(5);
    let named: Vec<&Task> = TASKS.iter().filter(|task| has(task.name)).collect();
    let tasks = if named.is_empty() { TASKS.iter().collect() } else { named };
    let unknown = args.iter().find(|arg| {
        let known = ["ablation", "breakdown", "loop"].contains(&arg.as_str()) || TASKS.iter().any(|task| task.name == **arg);
        !known && arg.parse::<usize>().is_err()
    });
    if let Some(word) = unknown {
        println!(
            "`{word}` is neither a task ({}) nor a number of rounds, `ablation`, `breakdown` or `loop`",
            TASKS.iter().map(|task| task.name).collect::<Vec<_>>().join(", ")
        );
        return ExitCode::from(2);
    }
    let model = match Model::fetch("smollm2", &mut |_| {}) {
        Ok(model) => model,
        Err(error) => {
            println!("SKIPPED: SmolLM2 is not here: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let lab = Lab::new(model).expect("SmolLM2 has a tokenizer");
    if has("ablation") {
        ablation::measure(&tasks, &lab, rounds);
    } else if has("breakdown") {
        ablation::breakdown(&tasks, &lab, &ablation::backend(&lab.model, Strategy::default()), rounds);
    } else if has("loop") {
        let backend = ablation::backend(&lab.model, Strategy::default());
        tasks.iter().for_each(|task| ablation::repeat(task, &lab, &backend, rounds));
    } else if !side_by_side(&tasks, &lab, rounds) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Whether all targets were met and all sides agree, as far as there are others.
fn side_by_side(tasks: &[&Task], lab: &Lab, rounds: usize) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let ours = [
        Ours { name: "irc", backend: ablation::backend(&lab.model, Strategy::default()), prefixes: true },
        Ours {
            name: "irc, prefixes left out",
            backend: ablation::backend(&lab.model, Strategy { prefixes: false, ..Strategy::default() }),
            prefixes: false,
        },
    ];
    pages::gather_and_say();
    let mut peers = vec![];
    let folder = lab.model.handle().map_err(|error| error.to_string()).and_then(|handle| peer::folder(&lab.model, &handle));
    for tool in ["torch", "nnsight"] {
        match folder.clone().and_then(|folder| Peer::start(tool, &folder, lab, threads)) {
            Ok(peer) => {
                println!("{tool}: {}", peer.versions);
                peers.push(peer);
            }
            Err(error) => println!("SKIPPED: {tool} IS NOT MEASURED, AND NOTHING IS COMPARED WITH IT: {error}"),
        }
    }
    if peers.is_empty() {
        println!("{PYTHON} names a Python that has what benches/peers/requirements.txt says");
    }
    println!("{threads} threads; times in ms\n");
    let met: Vec<bool> = tasks.iter().map(|task| measure::measure(task, lab, &ours, &mut peers, rounds)).collect();
    met.iter().all(|met| *met)
}
