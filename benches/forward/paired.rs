//! Paired measurements: two pieces of work in turns, so that whatever else the machine does hits both alike.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

/// The ratio of two pieces of work in CPU time of all threads.
pub(crate) struct Ratio {
    /// The median of the ratios of neighbouring runs.
    pub(crate) median: f64,
    /// A quarter of the ratios lie below, a quarter above.
    pub(crate) quartiles: (f64, f64),
    /// The least CPU time of each.
    pub(crate) least: [Duration; 2],
    /// The least wall time of each.
    pub(crate) wall: [Duration; 2],
}

/// Runs both in turns, `rounds` times after one to warm up; the order changes from round to round.
pub(crate) fn compare(rounds: usize, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> Ratio {
    ours();
    theirs();
    let mut ratios = vec![];
    let (mut least, mut wall) = ([Duration::MAX; 2], [Duration::MAX; 2]);
    for round in 0..rounds {
        let mut times = [Duration::ZERO; 2];
        for at in [round % 2, 1 - round % 2] {
            let (cpu, start) = (ProcessTime::now(), Instant::now());
            if at == 0 {
                ours()
            } else {
                theirs()
            }
            times[at] = cpu.elapsed();
            least[at] = least[at].min(times[at]);
            wall[at] = wall[at].min(start.elapsed());
        }
        ratios.push(times[0].as_secs_f64() / times[1].as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
    Ratio { median: at(0.5), quartiles: (at(0.25), at(0.75)), least, wall }
}

impl Ratio {
    /// A line of a table: the ratio with its spread, the least times, the target.
    pub(crate) fn print(&self, what: &str, target: Option<f64>) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (low, high) = self.quartiles;
        let least = ms(self.least[0]) / ms(self.least[1]);
        let verdict = match target {
            Some(target) if self.median <= target => format!("<= {target} ok"),
            Some(target) => format!("<= {target} MISSED"),
            None => "reported".to_owned(),
        };
        println!(
            "{what:<52} {:.3} [{low:.3} .. {high:.3}]  of least {least:.3}   cpu {:7.1} / {:7.1} ms   wall {:7.1} / {:7.1} ms   {verdict}",
            self.median,
            ms(self.least[0]),
            ms(self.least[1]),
            ms(self.wall[0]),
            ms(self.wall[1]),
        );
    }
}
