//! Where the time of a training step goes: a roofline with one row per shape of product, and the parallel
//! loops with the times of their tasks.
//!
//! Nothing is recorded until [`start`] is called. Then every product adds its time to the row of its
//! shape, and every parallel loop records the times of its tasks. They show how evenly work is cut, for
//! any number of threads.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// What is summed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Rows times weights: outputs and input gradients.
    Gemm,
    /// Positions times positions: weight gradients.
    GemmTn,
}

/// Products of one shape: `m` rows (or positions) in all, a weight of `k × n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What is summed over.
    pub kind: Kind,
    /// Rows of the weight.
    pub k: usize,
    /// Columns of the weight.
    pub n: usize,
    /// Rows of the left side, or positions, of all calls.
    pub m: u64,
    /// Calls.
    pub calls: u64,
    /// Threads that worked on each call.
    pub threads: usize,
    /// Time of all calls, on each of those threads.
    pub time: Duration,
}

impl Row {
    /// Additions and multiplications.
    pub fn flops(&self) -> f64 {
        2.0 * self.m as f64 * (self.k * self.n) as f64
    }

    /// Values read and written at least: both sides and the result of every call.
    pub fn values(&self) -> f64 {
        let weight = (self.k * self.n) as f64 * self.calls as f64;
        self.m as f64 * (self.k + self.n) as f64 + if self.kind == Kind::GemmTn { 2.0 * weight } else { weight }
    }
}

/// A parallel loop: tasks that do not wait for each other. The loop ends when all of them are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// What it does.
    pub name: &'static str,
    /// Time of each task on the thread that did it, in the order of the loop. Loops inside a task are a part of it.
    pub tasks: Vec<Duration>,
    /// Time from the loop's beginning to its end.
    pub wall: Duration,
}

type Key = (Kind, usize, usize, usize);

static ON: AtomicBool = AtomicBool::new(false);
static ROWS: Mutex<BTreeMap<Key, Row>> = Mutex::new(BTreeMap::new());
static LOOPS: Mutex<Vec<Loop>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread is doing a task.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Forgets what was recorded and records from here on.
pub fn start() {
    ROWS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    LOOPS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    ON.store(true, Ordering::Relaxed);
}

/// What was recorded since [`start`]: rows, those that took most time first, and loops in the order in which they ended.
pub fn stop() -> (Vec<Row>, Vec<Loop>) {
    ON.store(false, Ordering::Relaxed);
    let mut rows: Vec<Row> = ROWS.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect();
    rows.sort_by_key(|r| std::cmp::Reverse(r.time * r.threads as u32));
    (rows, std::mem::take(&mut *LOOPS.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Parallel loops that can be recorded.
pub trait Tasks: ParallelIterator {
    /// `for_each`, of which the tasks' times are kept while recording. A task is one item; `name` says what the loop does.
    fn for_each_task(self, name: &'static str, f: impl Fn(Self::Item) + Sync + Send) {
        each(self, name, &f);
    }
}

/// The loop, compiled once for a kind of iterator: rayon's part of it is more code than most closures.
fn each<I: ParallelIterator>(items: I, name: &'static str, f: &(dyn Fn(I::Item) + Sync)) {
    // The tasks of a loop within a task would be counted twice.
    if !ON.load(Ordering::Relaxed) || INSIDE.get() {
        return items.for_each(f);
    }
    let begin = Instant::now();
    let timed = |item| {
        // A thread that waits inside a task may do another one meanwhile.
        let outer = INSIDE.replace(true);
        let from = Instant::now();
        f(item);
        INSIDE.set(outer);
        from.elapsed()
    };
    let tasks = items.map(timed).collect();
    let wall = begin.elapsed();
    LOOPS.lock().unwrap_or_else(PoisonError::into_inner).push(Loop { name, tasks, wall });
}

impl<I: ParallelIterator> Tasks for I {}

/// Runs `f`, and adds its time to the row of its shape while recording.
#[inline]
pub(super) fn timed(kind: Kind, (m, k, n): (usize, usize, usize), threads: usize, f: impl FnOnce()) {
    if !ON.load(Ordering::Relaxed) {
        return f();
    }
    let from = Instant::now();
    f();
    let time = from.elapsed();
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let row =
        rows.entry((kind, k, n, threads)).or_insert(Row { kind, k, n, m: 0, calls: 0, threads, time: Duration::ZERO });
    row.m += m as u64;
    row.calls += 1;
    row.time += time;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn loops_leave_their_tasks_but_not_those_inside() {
        let sum = AtomicUsize::new(0);
        let work = || {
            (0..5usize).into_par_iter().for_each_task("test, outside", |i| {
                (0..3usize).into_par_iter().for_each_task("test, inside", |j| {
                    sum.fetch_add(i * j, Ordering::Relaxed);
                });
            });
        };
        work();
        start();
        work();
        let (_, loops) = stop();
        assert_eq!(sum.into_inner(), 60);
        // Other tests may have left loops of theirs.
        let own: Vec<&Loop> = loops.iter().filter(|l| l.name.starts_with("test, ")).collect();
        assert_eq!(own.len(), 1);
        assert_eq!((own[0].name, own[0].tasks.len()), ("test, outside", 5));
        assert!(own[0].tasks.iter().all(|t| *t <= own[0].wall));
    }
}
