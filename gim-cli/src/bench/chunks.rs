//! Simulates a training step on more threads than this machine has.
//!
//! The recorded tasks of every parallel loop go, in order, to the first free simulated thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use gim_core::kernels::profile::Loop;
use gim_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Numbers of simulated threads.
pub(crate) const THREADS: [usize; 5] = [1, 2, 8, 32, 64];

/// Parallel loops of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoopCost {
    /// Name of the loops.
    pub name: String,
    /// Loops in a step.
    pub loops: usize,
    /// Fewest and most tasks of a loop.
    pub tasks: [usize; 2],
    /// Seconds of the longest task.
    pub longest: f64,
    /// Seconds of a step for each number of threads in [`THREADS`].
    pub seconds: [f64; THREADS.len()],
}

/// Columns of chunks.csv.
pub(super) fn header() -> Vec<String> {
    let columns = ["name", "part", "loops", "fewest_tasks", "most_tasks", "longest_seconds"].map(str::to_owned);
    columns.into_iter().chain(THREADS.map(|t| format!("seconds_{t}"))).collect()
}

/// How a training step scales with threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Chunks {
    /// The loops by name, longest first.
    pub loops: Vec<LoopCost>,
    /// Seconds of a step outside all loops. More threads do not shorten them.
    pub serial: f64,
    /// Seconds of a step for each number of threads in [`THREADS`].
    pub seconds: [f64; THREADS.len()],
}

impl Chunks {
    /// From the loops of equal steps, in order, and the seconds of each step. Interruptions only add
    /// time, so each task counts with its shortest time in any step.
    ///
    /// # Errors
    /// When the steps have different chunks.
    pub(crate) fn of(recorded: &[Loop], steps: &[f64]) -> Result<Self> {
        let each = recorded.len() / steps.len().max(1);
        let first = &recorded[..each];
        let alike = |a: &Loop, b: &Loop| a.name == b.name && a.tasks.len() == b.tasks.len();
        let whole = each * steps.len() == recorded.len();
        if each == 0 || !whole || !recorded.chunks(each).all(|s| s.iter().zip(first).all(|(a, b)| alike(a, b))) {
            return Err(Error::config(
                "profile",
                "the steps were not cut alike",
                "measure one configuration at a time",
            ));
        }
        let outside = |(step, loops): (&f64, &[Loop])| step - loops.iter().map(|l| l.wall.as_secs_f64()).sum::<f64>();
        let serial = steps.iter().zip(recorded.chunks(each)).map(outside).fold(f64::INFINITY, f64::min).max(0.0);

        let mut loops: Vec<LoopCost> = Vec::new();
        for i in 0..each {
            let least = |task: usize| recorded.iter().skip(i).step_by(each).map(|l| l.tasks[task]).min();
            let tasks: Vec<f64> =
                (0..first[i].tasks.len()).filter_map(|task| Some(least(task)?.as_secs_f64())).collect();
            let at = loops.iter().position(|l| l.name == first[i].name).unwrap_or_else(|| {
                loops.push(LoopCost {
                    name: first[i].name.to_owned(),
                    loops: 0,
                    tasks: [usize::MAX, 0],
                    longest: 0.0,
                    seconds: [0.0; THREADS.len()],
                });
                loops.len() - 1
            });
            let cost = &mut loops[at];
            cost.loops += 1;
            cost.tasks = [cost.tasks[0].min(tasks.len()), cost.tasks[1].max(tasks.len())];
            cost.longest = tasks.iter().copied().fold(cost.longest, f64::max);
            cost.seconds.iter_mut().zip(THREADS).for_each(|(s, threads)| *s += greedy(&tasks, threads));
        }
        loops.sort_by(|a, b| b.seconds[0].total_cmp(&a.seconds[0]));
        let mut seconds = [serial; THREADS.len()];
        for cost in &loops {
            seconds.iter_mut().zip(cost.seconds).for_each(|(all, s)| *all += s);
        }
        Ok(Self { loops, serial, seconds })
    }

    /// Lines of chunks.csv for a workload: its loops, all time outside loops, and a step, for each number of
    /// simulated threads. [`header`] names their columns.
    pub(crate) fn rows(&self, workload: &str) -> Vec<Vec<String>> {
        let row = |part: &str, [loops, fewest, most, longest]: [String; 4], seconds: [f64; THREADS.len()]| {
            let cells = [workload.to_owned(), part.to_owned(), loops, fewest, most, longest].into_iter();
            cells.chain(seconds.map(|s| s.to_string())).collect()
        };
        let of_loop = |l: &LoopCost| {
            let cells = [l.loops.to_string(), l.tasks[0].to_string(), l.tasks[1].to_string(), l.longest.to_string()];
            row(&l.name, cells, l.seconds)
        };
        let mut rows: Vec<_> = self.loops.iter().map(of_loop).collect();
        rows.push(row("outside of loops", Default::default(), [self.serial; THREADS.len()]));
        rows.push(row("step", Default::default(), self.seconds));
        rows
    }

    /// Speed-up for each number of threads in [`THREADS`].
    pub(crate) fn speed_ups(&self) -> [f64; THREADS.len()] {
        self.seconds.map(|s| self.seconds[0] / s)
    }
}

/// Time until all tasks are done, if each goes, in order, to the first free thread.
fn greedy(tasks: &[f64], threads: usize) -> f64 {
    // Nanoseconds: integers have a total order.
    let mut free: BinaryHeap<Reverse<u64>> = (0..threads).map(|_| Reverse(0)).collect();
    let mut last = 0;
    for task in tasks {
        let Reverse(from) = free.pop().unwrap_or(Reverse(0));
        let done = from + (task * 1e9).round() as u64;
        last = last.max(done);
        free.push(Reverse(done));
    }
    last as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn tasks_go_to_the_first_free_thread() {
        let tasks = [3.0, 1.0, 1.0, 1.0, 4.0];
        assert_eq!([1, 2, 5, 64].map(|t| greedy(&tasks, t)), [10.0, 7.0, 4.0, 4.0]);
        assert_eq!(greedy(&[], 2), 0.0);
    }

    #[test]
    fn loops_and_what_lies_between_them_add_up() {
        let seconds = |s: &[u64]| s.iter().map(|s| Duration::from_secs(*s)).collect::<Vec<_>>();
        let recorded = |name, tasks: &[u64]| Loop { name, tasks: seconds(tasks), wall: seconds(tasks).iter().sum() };
        let loops = [
            recorded("a", &[2, 2]),
            recorded("b", &[1; 4]),
            recorded("a", &[6]),
            // The second step was interrupted once.
            recorded("a", &[2, 9]),
            recorded("b", &[1; 4]),
            recorded("a", &[6]),
        ];
        let chunks = Chunks::of(&loops, &[15.0, 23.0]).unwrap();
        assert_eq!((chunks.serial, chunks.loops.len()), (1.0, 2));
        let a = &chunks.loops[0];
        assert_eq!((a.name.as_str(), a.loops, a.tasks, a.longest), ("a", 2, [1, 2], 6.0));
        assert_eq!(chunks.seconds, [15.0, 11.0, 10.0, 10.0, 10.0]);
        assert_eq!(chunks.speed_ups()[2], 1.5);
        assert!(Chunks::of(&loops[..5], &[15.0, 23.0]).is_err());
        assert!(Chunks::of(&[], &[15.0]).is_err());
    }
}
