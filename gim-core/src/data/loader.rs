//! Batches made in parallel with training: the part of every loader that knows no domain.
//!
//! Worker w of n makes the batches of training steps w, w + n, w + 2n, … Each worker has a bounded queue
//! of its own, so batches come in order without sorting, and workers never wait for each other.
//!
//! A batch must be a function of the training step alone. Then it depends neither on the number of
//! threads nor on the step at which the loader was started.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Counts, waiting times and memory of a loader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoaderStats {
    /// Batches handed out.
    pub batches: u64,
    /// Time the consumer waited for them, all together.
    pub wait_seconds: f64,
    /// Of that, the wait for the first batch, which nothing can hide.
    pub first_wait_seconds: f64,
    /// Bytes of decoded data in the cache.
    pub cached_bytes: usize,
    /// Batch buffers allocated so far.
    pub buffers: usize,
}

/// A thread's function from training step to batch.
type Make<B> = Box<dyn FnMut(u64) -> Result<B> + Send>;

/// Makes batches `B` on its own threads; see the [module](self).
pub struct Loader<B> {
    queues: Vec<Receiver<Result<B>>>,
    workers: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Gives each thread its function.
    maker: Box<dyn FnMut() -> Make<B> + Send>,
    threads: usize,
    prefetch: usize,
    /// The place that an error of a thread names.
    place: PathBuf,
    next: u64,
    first: u64,
    batches: u64,
    wait: Duration,
    first_wait: Option<Duration>,
}

impl<B: Send + 'static> Loader<B> {
    /// Starts making the batches of steps `first_step`, `first_step + 1`, … on `threads` threads, each up to `prefetch` (at
    /// least one) batches ahead of the consumer. `maker` is called once per thread and returns that
    /// thread's function from training step to batch. `place` is the folder that errors of a thread name.
    ///
    /// # Errors
    /// [`Error::Config`] when `threads` is 0 or the system has no more threads.
    pub fn start<M>(
        threads: usize,
        prefetch: usize,
        first_step: u64,
        place: &Path,
        mut maker: impl FnMut() -> M + Send + 'static,
    ) -> Result<Self>
    where
        M: FnMut(u64) -> Result<B> + Send + 'static,
    {
        if threads == 0 {
            return Err(Error::config("loader threads", "is 0", "give a positive number"));
        }
        let mut loader = Self {
            queues: Vec::with_capacity(threads),
            workers: Vec::with_capacity(threads),
            stop: Arc::default(),
            maker: Box::new(move || Box::new(maker())),
            threads,
            prefetch,
            place: place.to_owned(),
            next: first_step,
            first: first_step,
            batches: 0,
            wait: Duration::ZERO,
            first_wait: None,
        };
        loader.spawn()?;
        Ok(loader)
    }

    /// Continues with the batches of steps `step`, `step + 1`, … Those that were made ahead are dropped.
    ///
    /// # Errors
    /// [`Error::Config`] when the system has no more threads.
    pub fn seek(&mut self, step: u64) -> Result<()> {
        if step == self.next {
            return Ok(());
        }
        self.end();
        (self.next, self.first) = (step, step);
        self.spawn()
    }

    /// Starts the threads. If one fails to start, dropping the loader ends the others.
    fn spawn(&mut self) -> Result<()> {
        self.stop = Arc::default();
        for worker in 0..self.threads as u64 {
            let (send, receive) = sync_channel(self.prefetch.max(1));
            let (make, stop, place) = ((self.maker)(), Arc::clone(&self.stop), self.place.clone());
            let steps = (self.first + worker..).step_by(self.threads);
            let spawned = std::thread::Builder::new()
                .name(format!("gim-loader-{worker}"))
                .spawn(move || work(make, steps, &send, &stop, &place))
                .map_err(|e| Error::config("loader threads", &e, "use fewer threads").caused_by(e))?;
            self.queues.push(receive);
            self.workers.push(spawned);
        }
        Ok(())
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// Those of `maker`'s function for this batch; [`Error::Internal`] when it panicked. The batches after
    /// it can still be requested.
    pub fn next_batch(&mut self) -> Result<B> {
        let began = Instant::now();
        let queue = ((self.next - self.first) % self.queues.len() as u64) as usize;
        let batch = self.queues[queue].recv();
        let waited = began.elapsed();
        self.wait += waited;
        self.first_wait.get_or_insert(waited);
        let Ok(batch) = batch else {
            // Only a worker that is gone closes its queue.
            let what = format!("the loader thread has ended before step {}", self.next);
            return Err(Error::internal(self.place.display(), what));
        };
        self.next += 1;
        self.batches += 1;
        batch
    }

    /// Training step of the next batch.
    pub fn next_step(&self) -> u64 {
        self.next
    }

    /// Statistics so far. The caller gives the two about memory.
    pub fn stats(&self, cached_bytes: usize, buffers: usize) -> LoaderStats {
        LoaderStats {
            batches: self.batches,
            wait_seconds: self.wait.as_secs_f64(),
            first_wait_seconds: self.first_wait.unwrap_or_default().as_secs_f64(),
            cached_bytes,
            buffers,
        }
    }
}

impl<B> Loader<B> {
    /// Ends the threads.
    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A worker that waits for room in its queue wakes up when the receiver is gone.
        self.queues.clear();
        for worker in self.workers.drain(..) {
            // A worker catches its panics and says so in its queue; there is nothing left to report here.
            let _ = worker.join();
        }
    }
}

impl<B> Drop for Loader<B> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<B> fmt::Debug for Loader<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("threads", &self.threads).field("next", &self.next).finish_non_exhaustive()
    }
}

fn work<B>(
    mut make: impl FnMut(u64) -> Result<B>,
    steps: impl Iterator<Item = u64>,
    queue: &SyncSender<Result<B>>,
    stop: &AtomicBool,
    place: &Path,
) {
    for step in steps {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let batch = catch_unwind(AssertUnwindSafe(|| make(step))).unwrap_or_else(|_| {
            Err(Error::internal(place.display(), format_args!("the loader failed at step {step}")))
        });
        if queue.send(batch).is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn squares(threads: usize, prefetch: usize, first: u64) -> Loader<u64> {
        Loader::start(threads, prefetch, first, Path::new("here"), || |step| Ok(step * step)).unwrap()
    }

    #[test]
    fn batches_come_in_order_whatever_the_threads() {
        for (threads, prefetch, first) in [(1, 1, 0), (2, 0, 0), (3, 2, 5), (7, 3, 100)] {
            let mut loader = squares(threads, prefetch, first);
            for step in first..first + 50 {
                assert_eq!(loader.next_step(), step);
                assert_eq!(loader.next_batch().unwrap(), step * step);
            }
            for step in [first + 20, first + 20, 3, 70].into_iter().flat_map(|s| [s, s + 1]) {
                loader.seek(step).unwrap();
                assert_eq!(loader.next_batch().unwrap(), step * step);
            }
            let stats = loader.stats(1, 2);
            assert_eq!((stats.batches, stats.cached_bytes, stats.buffers), (58, 1, 2));
            assert!(stats.wait_seconds >= stats.first_wait_seconds);
        }
        assert!(Loader::start(0, 1, 0, Path::new("here"), || |_| Ok(())).is_err());
    }

    /// Errors and panics belong to their training step. Each thread has its own state and continues.
    #[test]
    fn a_failure_is_of_its_step_only() {
        let maker = || {
            let mut calls = 0;
            move |step| {
                calls += 1;
                match step {
                    3 => Err(Error::config("step", "is 3", "take another")),
                    4 => panic!("a panic that a test wants"),
                    _ => Ok((step, calls)),
                }
            }
        };
        let mut loader = Loader::start(2, 2, 0, Path::new("here"), maker).unwrap();
        for step in 0..10 {
            let got = loader.next_batch();
            match step {
                3 => assert!(got.unwrap_err().to_string().contains("is 3")),
                4 => assert!(got.unwrap_err().to_string().contains("failed at step 4")),
                _ => assert_eq!(got.unwrap(), (step, step / 2 + 1)),
            }
        }
    }

    #[test]
    fn dropping_ends_the_threads() {
        let alive = Arc::new(());
        for taken in [0, 1, 9] {
            let shared = Arc::clone(&alive);
            let maker = move || {
                let alive = Arc::clone(&shared);
                move |_| Ok(Arc::strong_count(&alive))
            };
            let mut loader = Loader::start(3, 2, 0, Path::new("here"), maker).unwrap();
            for _ in 0..taken {
                loader.next_batch().unwrap();
            }
            drop(loader);
            assert_eq!(Arc::strong_count(&alive), 1);
        }
    }
}
