//! Batches made beside training: the part of every loader that knows no domain.
//!
//! Worker w of n makes steps w, w + n, w + 2n … and has a bounded queue of its own, so that batches come in order without
//! sorting, and nobody can wait for anybody in a circle. What is in a batch is the maker's business; as long as it is a
//! function of the step alone, it depends neither on the number of threads nor on the step the loader was started at.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::{Error, Key, Purpose, Result};

/// Permutes `items`: Fisher–Yates on the key's stream. Written out so that the order outlives changes of library.
pub fn shuffle<T>(items: &mut [T], key: Key) {
    let mut rng = key.rng();
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng.random(), i + 1));
    }
}

/// Draws a fifth of a group's items for testing: at least one, of two or more. It moves them to the front, and gives their number.
/// Each group of a corpus (a speaker, a class) draws for itself.
pub fn draw_fifth<T>(items: &mut [T], seed: u64, group: usize) -> usize {
    shuffle(items, Key::new(seed, Purpose::Probe).with_item(group as u32));
    if items.len() < 2 { 0 } else { ((items.len() + 2) / 5).max(1) }
}

/// `work` on the file at `path`, by a decoder of another's making. A damaged file must not bring a run down: should the decoder
/// panic on one, that is an error of the file.
///
/// # Errors
/// Those of `work`, or that it panicked.
pub fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let what = "the decoder failed on it: the file is damaged";
        Err(Error::file(path, what, "copy, download or make the file again"))
    })
}

/// 0 .. n from 64 random bits; the bias, n/2⁶⁴, is beyond measuring.
pub fn below(bits: u64, n: usize) -> usize {
    ((u128::from(bits) * n as u128) >> 64) as usize
}

/// The order of items: a new permutation for each epoch, cut into batches.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    n: usize,
    batch: usize,
    seed: u64,
    /// The order of the epoch looked at last.
    order: Vec<u32>,
    epoch: Option<u32>,
}

impl EpochOrder {
    /// Over items 0 .. n, at least `batch` of them, `batch` positive.
    pub fn new(n: usize, batch: usize, seed: u64) -> Self {
        assert!(batch > 0 && n >= batch && n <= u32::MAX as usize, "{n} items, batch {batch}");
        Self { n, batch, seed, order: Vec::with_capacity(n), epoch: None }
    }

    /// Steps in an epoch: an incomplete last batch is left out.
    pub fn epoch_len(&self) -> u64 {
        (self.n / self.batch) as u64
    }

    /// Epoch of a step (counted from 0 over the whole run), and the items of its batch.
    pub fn batch(&mut self, step: u64) -> (u32, &[u32]) {
        let (epoch, within) = ((step / self.epoch_len()) as u32, (step % self.epoch_len()) as usize);
        if self.epoch != Some(epoch) {
            self.order.clear();
            self.order.extend(0..self.n as u32);
            shuffle(&mut self.order, Key::new(self.seed, Purpose::Shuffle).with_epoch(epoch));
            self.epoch = Some(epoch);
        }
        (epoch, &self.order[within * self.batch..][..self.batch])
    }
}

/// How a loader is doing.
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
    /// Batch buffers ever made.
    pub buffers: usize,
}

/// Makes batches `B` on its own threads; see the [module](self).
#[derive(Debug)]
pub struct Loader<B> {
    queues: Vec<Receiver<Result<B>>>,
    workers: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// What an error that belongs to no file names.
    place: PathBuf,
    next: u64,
    first: u64,
    wait: Duration,
    first_wait: Duration,
}

impl<B: Send + 'static> Loader<B> {
    /// Starts making the batches of steps `first_step`, `first_step + 1`, … on `threads` threads, each up to `prefetch` (at
    /// least one) batches ahead of the consumer. `maker` is called once a thread and gives that thread's own function from
    /// step to batch. `place` is the folder to name when a thread itself fails.
    ///
    /// # Errors
    /// `threads` is 0, or the system has no more threads.
    pub fn start<M>(
        threads: usize,
        prefetch: usize,
        first_step: u64,
        place: &Path,
        mut maker: impl FnMut() -> M,
    ) -> Result<Self>
    where
        M: FnMut(u64) -> Result<B> + Send + 'static,
    {
        if threads == 0 {
            return Err(Error::config("loader threads", "is 0", "give a positive number"));
        }
        // Whole from the beginning: should a thread fail to start, dropping it ends those before.
        let mut loader = Self {
            queues: Vec::with_capacity(threads),
            workers: Vec::with_capacity(threads),
            stop: Arc::default(),
            place: place.to_owned(),
            next: first_step,
            first: first_step,
            wait: Duration::ZERO,
            first_wait: Duration::ZERO,
        };
        for worker in 0..threads as u64 {
            let (send, receive) = sync_channel(prefetch.max(1));
            let (make, stop, place) = (maker(), Arc::clone(&loader.stop), loader.place.clone());
            let steps = (first_step + worker..).step_by(threads);
            let spawned = std::thread::Builder::new()
                .name(format!("gim-loader-{worker}"))
                .spawn(move || work(make, steps, &send, &stop, &place))
                .map_err(|e| Error::config("loader threads", e, "use fewer threads"))?;
            loader.queues.push(receive);
            loader.workers.push(spawned);
        }
        Ok(loader)
    }

    /// The next batch, waiting for it if need be.
    ///
    /// # Errors
    /// This batch could not be made. The batches after it can still be asked for.
    pub fn next_batch(&mut self) -> Result<B> {
        let began = Instant::now();
        let queue = ((self.next - self.first) % self.queues.len() as u64) as usize;
        let batch = self.queues[queue].recv();
        let waited = began.elapsed();
        self.wait += waited;
        if self.next == self.first {
            self.first_wait = waited;
        }
        let Ok(batch) = batch else {
            // Only a worker that is gone closes its queue.
            let what = format!("the loader thread has ended before step {}", self.next);
            return Err(Error::file(&self.place, what, "start the run again"));
        };
        self.next += 1;
        batch
    }

    /// Step of the next batch.
    pub fn next_step(&self) -> u64 {
        self.next
    }

    /// Waits so far, beside the caller's figures of memory.
    pub fn stats(&self, cached_bytes: usize, buffers: usize) -> LoaderStats {
        LoaderStats {
            batches: self.next - self.first,
            wait_seconds: self.wait.as_secs_f64(),
            first_wait_seconds: self.first_wait.as_secs_f64(),
            cached_bytes,
            buffers,
        }
    }
}

impl<B> Drop for Loader<B> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A worker that waits for room in its queue wakes up, because nobody can receive any more.
        self.queues.clear();
        for worker in self.workers.drain(..) {
            // A worker catches its panics and says so in its queue; there is nothing left to report here.
            let _ = worker.join();
        }
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
            let what = format!("the loader failed at step {step}");
            Err(Error::file(place, what, "this is a defect of the program; please report it"))
        });
        if queue.send(batch).is_err() {
            return;
        }
    }
}

/// Decoded items kept in memory up to a limit, first come, first kept. Shared by the threads of a loader.
pub struct Cache<T> {
    slots: Vec<OnceLock<T>>,
    /// Bytes it may still take.
    free: AtomicUsize,
    held: AtomicUsize,
}

impl<T> Cache<T> {
    /// For items 0 .. n, of at most `bytes` together.
    pub fn new(n: usize, bytes: usize) -> Self {
        let slots = (0..n).map(|_| OnceLock::new()).collect();
        Self { slots, free: AtomicUsize::new(bytes), held: AtomicUsize::new(0) }
    }

    /// Item i, if it is kept.
    pub fn get(&self, i: usize) -> Option<&T> {
        self.slots[i].get()
    }

    /// Takes `bytes` of what is free; false if there is not as much.
    pub fn reserve(&self, bytes: usize) -> bool {
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }

    /// Gives back what was reserved and not used.
    pub fn release(&self, bytes: usize) {
        self.free.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Keeps item i, which takes `bytes`, of which `reserved` are reserved; settles the difference. It is not kept if it
    /// turns out too large, or another thread was faster.
    pub fn keep(&self, i: usize, item: T, reserved: usize, bytes: usize) {
        let fits = bytes <= reserved || self.reserve(bytes - reserved);
        let taken = if fits { reserved.max(bytes) } else { reserved };
        if fits && self.slots[i].set(item).is_ok() {
            self.held.fetch_add(bytes, Ordering::Relaxed);
            self.release(taken - bytes);
        } else {
            self.release(taken);
        }
    }

    /// Bytes of the items kept.
    pub fn bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl<T> fmt::Debug for Cache<T> {
    /// How full it is: the items themselves would fill screens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("slots", &self.slots.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
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
            let stats = loader.stats(1, 2);
            assert_eq!((stats.batches, stats.cached_bytes, stats.buffers), (50, 1, 2));
            assert!(stats.wait_seconds >= stats.first_wait_seconds);
        }
        assert!(Loader::start(0, 1, 0, Path::new("here"), || |_| Ok(())).is_err());
    }

    /// Errors and panics belong to their step; each thread has a state of its own, and goes on.
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
            let maker = || {
                let alive = Arc::clone(&alive);
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

    /// Which items depends on the order they come in, the seed and the group, for ever: corpora are split by it.
    #[test]
    fn a_fifth_is_drawn() {
        let fifth = |n: usize, seed, group| {
            let mut items: Vec<usize> = (0..n).collect();
            let fifth = draw_fifth(&mut items, seed, group);
            let drawn = items[..fifth].to_vec();
            items.sort_unstable();
            assert!(items.iter().copied().eq(0..n));
            drawn
        };
        assert_eq!([0, 1, 2, 7, 8, 10, 100].map(|n| fifth(n, 0, 0).len()), [0, 0, 1, 1, 2, 2, 20]);
        assert_eq!(fifth(100, 3, 1), fifth(100, 3, 1));
        assert_ne!(fifth(100, 3, 1), fifth(100, 3, 2));
        assert_ne!(fifth(100, 3, 1), fifth(100, 4, 1));
    }

    #[test]
    fn a_panic_is_an_error_of_the_file() {
        let path = Path::new("some.flac");
        assert_eq!(guarded(path, || Ok(3)).unwrap(), 3);
        let failed = guarded::<()>(path, || panic!("a panic that a test wants")).unwrap_err().to_string();
        assert!(failed.contains("some.flac") && failed.contains("damaged"), "{failed}");
        let own = guarded::<()>(path, || Err(Error::config("a", "b", "c"))).unwrap_err().to_string();
        assert_eq!(own, "a: b (c)");
    }

    #[test]
    fn an_epoch_is_a_permutation() {
        let mut order = EpochOrder::new(10, 3, 7);
        assert_eq!(order.epoch_len(), 3);
        let mut epochs = Vec::new();
        for epoch in 0..2u32 {
            let mut seen: Vec<u32> = Vec::new();
            for step in 0..3 {
                let (e, items) = order.batch(u64::from(epoch) * 3 + step);
                assert_eq!(e, epoch);
                seen.extend(items);
            }
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 9);
            epochs.push(seen);
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_eq!(EpochOrder::new(10, 3, 7).batch(4).1, &epochs[1][3..6]);
    }

    #[test]
    fn cache_keeps_to_its_limit() {
        let cache = Cache::new(4, 100);
        assert!(cache.reserve(60) && !cache.reserve(50));
        cache.keep(0, "a", 60, 50);
        assert_eq!((cache.get(0), cache.bytes()), (Some(&"a"), 50));
        assert!(cache.reserve(40));
        cache.keep(1, "larger than it said", 40, 70);
        assert_eq!((cache.get(1), cache.bytes()), (None, 50));
        assert!(cache.reserve(50));
        cache.keep(0, "again", 50, 50);
        assert_eq!((cache.get(0), cache.bytes()), (Some(&"a"), 50));
        assert!(cache.reserve(30));
        cache.keep(2, "grown", 30, 50);
        assert_eq!((cache.get(2), cache.bytes()), (Some(&"grown"), 100));
        assert!(!cache.reserve(1));
    }
}
