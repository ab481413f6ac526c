//! Training batches made beside training.
//!
//! What is in a batch is a function of seed, epoch, step and place in the batch alone ([`CropPlan`]): not of the number of
//! loader threads, the cache, or the step at which the loader was started. Worker w of n makes steps w, w + n, w + 2n … and
//! has a bounded queue of its own, so that batches come in order without sorting, and nobody can wait for anybody in a circle.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gim_core::{Buffer, Error, Key, Pool, Purpose, Result};
use rand::RngExt;

use crate::corpus::{Corpus, Split};
use crate::decode;
use crate::standardize::Standardize;

/// Crops start on a grid of this many samples (10 ms), the grid of the phone labels.
pub const CROP_GRID: usize = 160;

/// What to do with utterances shorter than a crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShortPolicy {
    /// Leave them out.
    #[default]
    Skip,
    /// Put zeros (after standardisation) behind them.
    Pad,
}

/// What a [`CropLoader`] makes; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CropConfig {
    /// Crops in a batch.
    pub batch: usize,
    /// Samples in a crop.
    pub len: usize,
    /// The run's seed.
    pub seed: u64,
    /// Utterances shorter than a crop.
    pub short: ShortPolicy,
    /// Decoded audio kept in memory, in MB (10⁶ bytes). Beyond it, the range needed is decoded every time.
    pub cache_mb: usize,
    /// Threads that make batches.
    pub threads: usize,
    /// Batches made ahead by each thread.
    pub ahead: usize,
}

impl Default for CropConfig {
    fn default() -> Self {
        Self { batch: 8, len: 20_480, seed: 0, short: ShortPolicy::Skip, cache_mb: 512, threads: 1, ahead: 3 }
    }
}

/// One crop: samples `start .. start + len` of an utterance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// Index into [`Corpus::utterances`].
    pub utterance: usize,
    /// First sample, a multiple of [`CROP_GRID`].
    pub start: usize,
    /// Samples taken; fewer than a crop's only for padded utterances.
    pub len: usize,
}

/// Permutes `items`: Fisher–Yates on the key's stream. Written out so that the order outlives changes of library.
pub fn shuffle<T>(items: &mut [T], key: Key) {
    let mut rng = key.rng();
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng.random(), i + 1));
    }
}

/// 0 .. n from 64 random bits; the bias, n/2⁶⁴, is beyond measuring.
fn below(bits: u64, n: usize) -> usize {
    ((u128::from(bits) * n as u128) >> 64) as usize
}

/// Which crops are in which batch.
#[derive(Debug, Clone)]
pub struct CropPlan {
    /// Utterance and length of each item.
    items: Arc<[(usize, usize)]>,
    batch: usize,
    len: usize,
    seed: u64,
    /// The order of the epoch looked at last.
    order: Vec<u32>,
    epoch: Option<u32>,
}

impl CropPlan {
    /// Over `items` = (utterance, its length). At least `batch` of them, `batch` and `len` positive.
    pub fn new(items: impl Into<Arc<[(usize, usize)]>>, batch: usize, len: usize, seed: u64) -> Self {
        let items = items.into();
        assert!(batch > 0 && len > 0 && items.len() >= batch, "{} items, batch {batch}, crop {len}", items.len());
        let order = Vec::with_capacity(items.len());
        Self { items, batch, len, seed, order, epoch: None }
    }

    /// Steps in an epoch: an incomplete last batch is left out.
    pub fn epoch_len(&self) -> u64 {
        (self.items.len() / self.batch) as u64
    }

    /// Overwrites `crops` with the crops of a step (counted from 0 over the whole run).
    pub fn fill(&mut self, step: u64, crops: &mut Vec<Crop>) {
        let (epoch, within) = ((step / self.epoch_len()) as u32, (step % self.epoch_len()) as usize);
        if self.epoch != Some(epoch) {
            self.order.clear();
            self.order.extend(0..self.items.len() as u32);
            shuffle(&mut self.order, Key::new(self.seed, Purpose::Shuffle).with_epoch(epoch));
            self.epoch = Some(epoch);
        }
        crops.clear();
        let place = Key::new(self.seed, Purpose::Crop).with_epoch(epoch).with_step(step);
        for (i, &item) in self.order[within * self.batch..][..self.batch].iter().enumerate() {
            let (utterance, total) = self.items[item as usize];
            let starts = total.saturating_sub(self.len) / CROP_GRID + 1;
            let start = CROP_GRID * below(place.with_item(i as u32).rng().random(), starts);
            crops.push(Crop { utterance, start, len: self.len.min(total - start) });
        }
    }
}

/// A batch (B, T), row after row, standardised. Its memory goes back to the loader when it is dropped.
#[derive(Debug)]
pub struct Batch {
    /// Step it belongs to.
    pub step: u64,
    /// (B, T)
    pub data: Buffer<f32>,
}

/// How the loader is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoaderStats {
    /// Batches handed out.
    pub batches: u64,
    /// Time the consumer waited for them, all together.
    pub wait_seconds: f64,
    /// Of that, the wait for the first batch, which nothing can hide.
    pub first_wait_seconds: f64,
    /// Bytes of decoded audio in the cache.
    pub cached_bytes: usize,
    /// Batch buffers ever made.
    pub buffers: usize,
}

/// Makes batches on its own threads; see the [module](self).
#[derive(Debug)]
pub struct CropLoader {
    queues: Vec<Receiver<Result<Batch>>>,
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    plan: CropPlan,
    crops: Vec<Crop>,
    next: u64,
    first: u64,
    wait: Duration,
    first_wait: Duration,
    notes: Vec<String>,
}

impl CropLoader {
    /// Starts making the batches of steps `first_step`, `first_step + 1`, … from the training split.
    ///
    /// # Errors
    /// A size is 0, or there are fewer utterances (long enough, if short ones are skipped) than a batch takes.
    pub fn start(corpus: Arc<Corpus>, standardize: Standardize, config: &CropConfig, first_step: u64) -> Result<Self> {
        for (key, value) in [("batch", config.batch), ("crop length", config.len), ("loader threads", config.threads)] {
            if value == 0 {
                return Err(Error::config(key, "is 0", "give a positive number"));
            }
        }
        let train = corpus.split(Split::Train);
        let length = |u: usize| corpus.utterances()[u].len;
        let short = train.iter().filter(|&&u| length(u) < config.len).count();
        let mut notes = Vec::new();
        if short > 0 {
            let done = if config.short == ShortPolicy::Skip { "left out" } else { "padded with zeros" };
            notes.push(format!(
                "{short} of {} training utterances are shorter than a crop of {} samples: {done}",
                train.len(),
                config.len
            ));
        }
        let items: Vec<(usize, usize)> = train
            .iter()
            .map(|&u| (u, length(u)))
            .filter(|&(_, len)| config.short == ShortPolicy::Pad || len >= config.len)
            .collect();
        if items.len() < config.batch {
            let what = format!(
                "{} training utterances ({short} of {} are shorter than a crop), but a batch takes {}",
                items.len(),
                train.len(),
                config.batch
            );
            return Err(Error::file(corpus.root(), what, "use a smaller batch, shorter crops or more audio"));
        }
        let plan = CropPlan::new(items, config.batch, config.len, config.seed);
        let n = corpus.utterances().len();
        let shared = Arc::new(Shared {
            corpus,
            standardize,
            clips: (0..n).map(|_| OnceLock::new()).collect(),
            free: AtomicUsize::new(config.cache_mb.saturating_mul(1_000_000)),
            cached: AtomicUsize::new(0),
            pool: Pool::new(),
            stop: AtomicBool::new(false),
        });
        let (mut queues, mut workers) = (Vec::new(), Vec::new());
        for worker in 0..config.threads as u64 {
            let (send, receive) = sync_channel(config.ahead.max(1));
            let (shared, plan) = (Arc::clone(&shared), plan.clone());
            let steps = (first_step + worker..).step_by(config.threads);
            let spawned = std::thread::Builder::new()
                .name(format!("gim-loader-{worker}"))
                .spawn(move || shared.work(plan, steps, &send))
                .map_err(|e| Error::config("loader threads", e, "use fewer threads"))?;
            queues.push(receive);
            workers.push(spawned);
        }
        Ok(Self {
            queues,
            workers,
            shared,
            plan,
            crops: Vec::with_capacity(config.batch),
            next: first_step,
            first: first_step,
            wait: Duration::ZERO,
            first_wait: Duration::ZERO,
            notes,
        })
    }

    /// The next batch, waiting for it if need be.
    ///
    /// # Errors
    /// A file of this batch cannot be decoded. The batches after it can still be asked for.
    pub fn next_batch(&mut self) -> Result<Batch> {
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
            return Err(Error::file(self.shared.corpus.root(), what, "start the run again"));
        };
        self.plan.fill(self.next, &mut self.crops);
        self.next += 1;
        batch
    }

    /// The crops of the batch handed out last, row by row: what a supervised loss takes its labels from.
    pub fn crops(&self) -> &[Crop] {
        &self.crops
    }

    /// Step of the next batch.
    pub fn next_step(&self) -> u64 {
        self.next
    }

    /// Steps in an epoch.
    pub fn epoch_len(&self) -> u64 {
        self.plan.epoch_len()
    }

    /// What the user should know: utterances left out or padded.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Waits and memory so far.
    pub fn stats(&self) -> LoaderStats {
        LoaderStats {
            batches: self.next - self.first,
            wait_seconds: self.wait.as_secs_f64(),
            first_wait_seconds: self.first_wait.as_secs_f64(),
            cached_bytes: self.shared.cached.load(Ordering::Relaxed),
            buffers: self.shared.pool.made(),
        }
    }
}

impl Drop for CropLoader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A worker that waits for room in its queue wakes up, because nobody can receive any more.
        self.queues.clear();
        for worker in self.workers.drain(..) {
            // A worker catches its panics and says so in its queue; there is nothing left to report here.
            let _ = worker.join();
        }
    }
}

/// A decoded utterance. 16-bit audio is kept as such: half the memory, and x/32768 gives back the same bits.
#[derive(Debug)]
enum Clip {
    Short(Box<[i16]>),
    Float(Box<[f32]>),
}

impl Clip {
    fn of(x: Vec<f32>) -> Self {
        let exact = |x: &f32| {
            let y = x * 32768.0;
            (-32768.0..=32767.0).contains(&y) && (f32::from(y as i16) / 32768.0).to_bits() == x.to_bits()
        };
        if x.iter().all(exact) {
            Self::Short(x.iter().map(|x| (x * 32768.0) as i16).collect())
        } else {
            Self::Float(x.into())
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Short(x) => size_of_val(&x[..]),
            Self::Float(x) => size_of_val(&x[..]),
        }
    }

    fn copy(&self, start: usize, out: &mut [f32]) {
        match self {
            Self::Short(x) => {
                for (y, &x) in out.iter_mut().zip(&x[start..]) {
                    *y = f32::from(x) / 32768.0;
                }
            }
            Self::Float(x) => out.copy_from_slice(&x[start..start + out.len()]),
        }
    }
}

/// What all workers use.
#[derive(Debug)]
struct Shared {
    corpus: Arc<Corpus>,
    standardize: Standardize,
    clips: Vec<OnceLock<Clip>>,
    /// Bytes the cache may still take.
    free: AtomicUsize,
    cached: AtomicUsize,
    pool: Pool<f32>,
    stop: AtomicBool,
}

impl Shared {
    fn work(&self, mut plan: CropPlan, steps: impl Iterator<Item = u64>, queue: &SyncSender<Result<Batch>>) {
        let mut crops = Vec::with_capacity(plan.batch);
        for step in steps {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let made = catch_unwind(AssertUnwindSafe(|| self.make(&mut plan, step, &mut crops)));
            let batch = made.unwrap_or_else(|_| {
                let what = format!("the loader failed at step {step}");
                Err(Error::file(self.corpus.root(), what, "this is a defect of the program; please report it"))
            });
            if queue.send(batch).is_err() {
                return;
            }
        }
    }

    fn make(&self, plan: &mut CropPlan, step: u64, crops: &mut Vec<Crop>) -> Result<Batch> {
        plan.fill(step, crops);
        let mut data = self.pool.take(plan.batch * plan.len);
        for (crop, row) in crops.iter().zip(data.chunks_exact_mut(plan.len)) {
            let (audio, padding) = row.split_at_mut(crop.len);
            self.fetch(crop, audio)?;
            self.standardize.apply(audio);
            padding.fill(0.0);
        }
        Ok(Batch { step, data })
    }

    fn fetch(&self, crop: &Crop, out: &mut [f32]) -> Result<()> {
        let (clip, utterance) = (&self.clips[crop.utterance], &self.corpus.utterances()[crop.utterance]);
        if let Some(clip) = clip.get() {
            clip.copy(crop.start, out);
            return Ok(());
        }
        // Reserved at 16 bits a sample before decoding; settled when the true size is known.
        let guess = utterance.len.saturating_mul(2);
        if !self.reserve(guess) {
            return decode::decode_range(&utterance.path, crop.start, out);
        }
        let made = self.corpus.decode(crop.utterance).map(Clip::of);
        let made = made.inspect_err(|_| self.release(guess))?;
        made.copy(crop.start, out);
        let bytes = made.bytes();
        let fits = bytes <= guess || self.reserve(bytes - guess);
        if fits && clip.set(made).is_ok() {
            self.cached.fetch_add(bytes, Ordering::Relaxed);
        } else {
            // Too large after all, or another worker was faster.
            self.release(if fits { bytes.max(guess) } else { guess });
        }
        Ok(())
    }

    fn reserve(&self, bytes: usize) -> bool {
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.free.fetch_add(bytes, Ordering::Relaxed);
    }
}
