//! All sides of a task in turns, so that whatever else the machine does hits all alike.

use std::{path::Path, time::Instant};

use cpu_time::ProcessTime;
use irc::{
    backends::{execute::Driven, host::Functions},
    prelude::*,
};

use crate::{
    agreement::{self, Found},
    peer::Peer,
    tasks::{Answer, Lab, Rival, Target, Task},
};

/// What a run took, ms.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    /// CPU time of all threads.
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
}

impl Time {
    /// What a piece of work of this process takes, with what it makes.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, Time) {
        let (cpu, wall) = (ProcessTime::now(), Instant::now());
        let made = work();
        let (cpu, wall) = (cpu.elapsed(), wall.elapsed());
        (made, Time { cpu: cpu.as_secs_f64() * 1e3, wall: wall.as_secs_f64() * 1e3 })
    }
}

/// A task from the first line that a person writes to the results: traces, checks, schedule, run.
pub(crate) fn whole_task(task: &Task, lab: &Lab, backend: &Driven) -> (Results, Time) {
    let (results, time) = Time::of(|| (task.write)(lab).run_on(backend, &mut |_| {}));
    (results.expect("the program runs"), time)
}

/// The same without the optimizer.
pub(crate) fn task_as_recorded(task: &Task, lab: &Lab, backend: &Driven) -> (Results, Time) {
    let (results, time) = Time::of(|| (task.write)(lab).run_as_recorded(backend, &mut Functions::new(|_| {})));
    (results.expect("the program runs"), time)
}

/// The runs of one side.
#[derive(Default)]
struct Runs(Vec<Time>);

impl Runs {
    /// The least and the median of something of each.
    fn least_and_median(&self, of: impl Fn(&Time) -> f64) -> [f64; 2] {
        let mut times: Vec<f64> = self.0.iter().map(of).collect();
        times.sort_by(f64::total_cmp);
        [times[0], times[times.len() / 2]]
    }

    fn print(&self, side: &str, rest: &str) {
        let [least, median] = self.least_and_median(|time| time.cpu);
        let [_, wall] = self.least_and_median(|time| time.wall);
        println!("  {side:<36} {least:>9.1} {median:>9.1} {wall:>9.1} {:>4}   {rest}", self.0.len());
    }
}

/// Ways in which irc runs the tasks, and what they are called.
pub(crate) struct Ours {
    pub(crate) name: &'static str,
    pub(crate) backend: Driven,
    /// Whether forwards whose tokens begin alike share what is alike.
    pub(crate) prefixes: bool,
}

/// Runs one task on all sides, prints what it took and whether they agree; says whether all targets were met.
pub(crate) fn measure(task: &Task, lab: &Lab, ours: &[Ours], peers: &mut [Peer], rounds: usize) -> bool {
    println!("{}: {}", task.name, task.what);
    println!("  {:<36} {:>9} {:>9} {:>9} {:>4}", "", "least cpu", "median", "wall", "runs");
    let of_interest = |task: &Task, way: &&Ours| way.prefixes || task.rivals.iter().any(|rival| rival.needs_both());
    let ours: Vec<&Ours> = ours.iter().filter(|way| of_interest(task, way)).collect();

    // Every side once: it warms up, and what it finds is compared.
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{}", std::process::id()));
    let mut our_runs: Vec<Runs> = ours.iter().map(|_| Runs::default()).collect();
    let found: Vec<Found> = ours.iter().map(|way| Found::of(&whole_task(task, lab, &way.backend).0, task.answer)).collect();
    let mut rivals: Vec<(&Rival, &mut Runs, Option<Found>)> = vec![];
    let mut their_runs: Vec<Runs> = task.rivals.iter().map(|_| Runs::default()).collect();
    let mut complaints = vec![];
    for (rival, runs) in task.rivals.iter().zip(&mut their_runs) {
        let Some(peer) = peers.iter_mut().find(|peer| peer.tool == rival.tool) else { continue };
        match peer.run(rival.task, Some(&scratch)) {
            Ok(time) => {
                if rival.slow {
                    runs.0.push(time);
                }
                rivals.push((rival, runs, Found::read(&scratch, task.answer).map_err(|error| complaints.push(error)).ok()));
            }
            Err(error) => complaints.push(format!("{} {}: {error}", rival.tool, rival.task)),
        }
    }
    let reference = reference(task, peers, &rivals, &scratch).map_err(|error| complaints.push(error)).ok().flatten();
    // It is gone already if there are no peers.
    let _ = std::fs::remove_file(&scratch);

    for _ in 0..rounds {
        for (way, runs) in ours.iter().zip(&mut our_runs) {
            runs.0.push(whole_task(task, lab, &way.backend).1);
        }
        for (rival, runs, _) in rivals.iter_mut().filter(|(rival, ..)| !rival.slow) {
            let Some(peer) = peers.iter_mut().find(|peer| peer.tool == rival.tool) else { continue };
            match peer.run(rival.task, None) {
                Ok(time) => runs.0.push(time),
                Err(error) => complaints.push(format!("{} {}: {error}", rival.tool, rival.task)),
            }
        }
    }

    let mut met = true;
    for ((way, runs), found) in ours.iter().zip(&our_runs).zip(&found) {
        runs.print(way.name, &agreement::say(found, reference.as_ref()));
        met &= reference.as_ref().is_none_or(|reference| reference.holds(found));
    }
    for (rival, runs, found) in rivals.iter().filter(|(_, runs, _)| !runs.0.is_empty()) {
        let agrees = found.as_ref().map_or_else(String::new, |found| agreement::say(found, reference.as_ref()));
        runs.print(&format!("{} {}", rival.tool, rival.task), &agrees);
        for (way, ours) in ours.iter().zip(&our_runs) {
            met &= rival.verdict(way, ours, runs);
        }
    }
    met &= complaints.is_empty();
    complaints.iter().for_each(|complaint| println!("  FAILED {complaint}"));
    println!();
    met
}

/// What the torch peer finds in the way that all others are compared with.
fn reference(
    task: &Task,
    peers: &mut [Peer],
    rivals: &[(&Rival, &mut Runs, Option<Found>)],
    scratch: &Path,
) -> Result<Option<agreement::Reference>, String> {
    let Some(torch) = peers.iter_mut().find(|peer| peer.tool == "torch") else { return Ok(None) };
    let known = rivals.iter().find(|(rival, ..)| rival.tool == "torch" && rival.task == task.reference);
    let found = match known.and_then(|(.., found)| found.clone()) {
        Some(found) => found,
        None => {
            torch.run(task.reference, Some(scratch))?;
            Found::read(scratch, task.answer)?
        }
    };
    let leads = match task.answer {
        Answer::Rows(_) => vec![],
        Answer::Choices { lead } => {
            torch.run(lead, Some(scratch))?;
            agreement::floats(scratch)?
        }
    };
    Ok(Some(agreement::Reference { found, leads }))
}

impl Rival {
    fn needs_both(&self) -> bool {
        matches!(self.target, Some(Target::TimesWithoutAndWithPrefixes(..)))
    }

    /// Prints how irc compares, and says whether the target is met.
    fn verdict(&self, way: &Ours, ours: &Runs, theirs: &Runs) -> bool {
        let [our_least, our_median] = ours.least_and_median(|time| time.cpu);
        let [their_least, their_median] = theirs.least_and_median(|time| time.cpu);
        let (part, of_least) = (our_median / their_median, our_least / their_least);
        let times = |part: f64| 1.0 / part;
        let target = match self.target {
            None => None,
            // They are targets of what irc does by default.
            Some(Target::Times(_) | Target::Part(_)) if !way.prefixes => None,
            Some(Target::Times(most)) => Some((part <= times(most), format!(">= {most} times"))),
            Some(Target::Part(most)) => Some((part <= most, format!("<= {most}"))),
            Some(Target::TimesWithoutAndWithPrefixes(without, with)) => {
                let most = if way.prefixes { with } else { without };
                Some((part <= times(most), format!(">= {most} times")))
            }
        };
        let verdict = match &target {
            None => "reported".to_owned(),
            Some((true, target)) => format!("{target} ok"),
            Some((false, target)) => format!("{target} MISSED"),
        };
        println!(
            "      {:<32} {part:.3} of it, {:.1} times less; of the least {of_least:.3}, {:.1} times   {verdict}",
            way.name,
            times(part),
            times(of_least)
        );
        target.is_none_or(|(met, _)| met)
    }
}
