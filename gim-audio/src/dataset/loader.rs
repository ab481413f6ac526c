//! Batches of crops, or whole utterances, made on threads of their own while training goes on.
//!
//! The content of a batch depends only on seed, epoch, step and place in the batch ([`CropPlan`]).
//! It does not depend on the number of loader threads, the cache, or the step at which the loader
//! was started. The threads are those of [`gim_core::data::loader`].
//!
//! A batch may hold two views of each utterance, in the order of [`gim_core::loss::Compare`].

use std::collections::BTreeSet;
use std::sync::Arc;

pub use gim_core::data::LoaderStats;
use gim_core::data::{Cache, EpochOrder, Loader, below};
use gim_core::{Buffer, Error, Key, Pool, Purpose, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::dataset::augment::{self, Augment};
use crate::dataset::corpus::{Corpus, Split};
use crate::dataset::decode;
use crate::dataset::standardize::Standardize;

/// Crops start at multiples of this many samples (10 ms), where the windows of phone labels start.
pub const CROP_GRID: usize = 160;

/// What to do with utterances shorter than a crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShortPolicy {
    /// Leave them out.
    #[default]
    Skip,
    /// Append zeros to the standardized samples.
    Pad,
}

/// Settings of a [`CropLoader`]; the default is the paper's.
#[derive(Debug, Clone, PartialEq)]
pub struct CropConfig {
    /// Utterances in a batch.
    pub batch: usize,
    /// Views of each utterance, a crop each: 1 or 2.
    pub views: usize,
    /// Samples in a crop.
    pub len: usize,
    /// What is done to crops.
    pub augment: Augment,
    /// The run's seed.
    pub seed: u64,
    /// Whole utterances instead of crops, one a step, in the order of the split file: one view without
    /// augmentation. `batch`, `len` and `short` then say nothing.
    pub whole: bool,
    /// Utterances shorter than a crop.
    pub short: ShortPolicy,
    /// Utterances of the training split that are not trained on.
    pub held_out: BTreeSet<usize>,
    /// Decoded audio kept in memory, in MB (10⁶ bytes). Beyond that, the range of a crop is decoded
    /// every time.
    pub cache_mb: usize,
    /// Threads that make batches.
    pub threads: usize,
    /// Batches that each thread makes in advance.
    pub prefetch: usize,
}

impl Default for CropConfig {
    fn default() -> Self {
        Self {
            batch: 8,
            views: 1,
            len: 20_480,
            augment: Augment::default(),
            seed: 0,
            whole: false,
            short: ShortPolicy::Skip,
            held_out: BTreeSet::new(),
            cache_mb: 512,
            threads: 1,
            prefetch: 3,
        }
    }
}

/// One crop: samples `start .. start + len` of an utterance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// Index into [`Corpus::utterances`].
    pub utterance: usize,
    /// First sample, a multiple of [`CROP_GRID`].
    pub start: usize,
    /// Samples taken from the utterance; the rest of a padded crop is zeros.
    pub len: usize,
}

impl Crop {
    /// A crop of `len` samples at a random place of an utterance of `total` samples; all of a shorter
    /// one. The place follows from `key`.
    pub fn draw(utterance: usize, total: usize, len: usize, key: Key) -> Self {
        let starts = total.saturating_sub(len) / CROP_GRID + 1;
        let start = CROP_GRID * below(key.rng().random(), starts);
        Self { utterance, start, len: len.min(total - start) }
    }

    /// An utterance of `total` samples without what is left of them after the last 10 ms, as
    /// published.
    pub fn whole(utterance: usize, total: usize) -> Self {
        Self { utterance, start: 0, len: total / CROP_GRID * CROP_GRID }
    }
}

/// Decides which crops are in which batch.
#[derive(Debug, Clone)]
pub struct CropPlan {
    /// Utterance and length of each item.
    items: Arc<[(usize, usize)]>,
    cut: Cut,
}

/// What a batch takes of the items.
#[derive(Debug, Clone)]
enum Cut {
    /// Crops of some items in random order.
    Crops {
        len: usize,
        seed: u64,
        order: EpochOrder,
        /// Of each item.
        views: usize,
        /// Whether all views of an item are of one place.
        same_crop: bool,
    },
    /// One item after the other.
    Whole,
}

impl CropPlan {
    /// A plan over `items`, pairs of utterance and length in samples: at least `batch` of them.
    /// `batch` and `len` are positive. There is one view of each item.
    pub fn new(items: impl Into<Arc<[(usize, usize)]>>, batch: usize, len: usize, seed: u64) -> Self {
        let items = items.into();
        assert!(len > 0, "crops of no samples");
        let order = EpochOrder::new(items.len(), batch, seed);
        Self { items, cut: Cut::Crops { len, seed, order, views: 1, same_crop: true } }
    }

    /// Crops of each item in a batch, at least one, and whether they are of the same place. Whole items
    /// stay single.
    #[must_use]
    pub fn views(mut self, n: usize, same: bool) -> Self {
        assert!(n > 0, "batches of no views");
        if let Cut::Crops { views, same_crop, .. } = &mut self.cut {
            (*views, *same_crop) = (n, same);
        }
        self
    }

    /// A plan that takes `items`, of which there is one at least, one after the other.
    pub fn whole(items: impl Into<Arc<[(usize, usize)]>>) -> Self {
        Self { items: items.into(), cut: Cut::Whole }
    }

    /// Steps in an epoch; an incomplete last batch is left out.
    pub fn epoch_len(&self) -> u64 {
        match &self.cut {
            Cut::Crops { order, .. } => order.epoch_len(),
            Cut::Whole => self.items.len() as u64,
        }
    }

    /// Overwrites `crops` with the crops of a step (counted from 0 over the whole run).
    pub fn fill(&mut self, step: u64, crops: &mut Vec<Crop>) {
        crops.clear();
        match &mut self.cut {
            Cut::Crops { len, seed, order, views, same_crop } => {
                let (epoch, items) = order.batch(step);
                let place = Key::new(*seed, Purpose::Crop).with_epoch(epoch).with_step(step);
                for (i, &item) in items.iter().enumerate() {
                    let (utterance, total) = self.items[item as usize];
                    for view in 0..*views {
                        let at = if *same_crop { i } else { i * *views + view };
                        crops.push(Crop::draw(utterance, total, *len, place.with_item(at as u32)));
                    }
                }
            }
            Cut::Whole => {
                let (utterance, total) = self.items[(step % self.items.len() as u64) as usize];
                crops.push(Crop::whole(utterance, total));
            }
        }
    }

    /// The key of what is done to the crops of a step; without their place in the batch. `None` for whole
    /// items, which stay as they are.
    fn augment_key(&self, step: u64) -> Option<Key> {
        let Cut::Crops { seed, order, .. } = &self.cut else { return None };
        let epoch = (step / order.epoch_len()) as u32;
        Some(Key::new(*seed, Purpose::Augment).with_epoch(epoch).with_step(step))
    }

    /// Samples of an item's row in a batch of `crops`.
    fn row(&self, crops: &[Crop]) -> usize {
        match self.cut {
            Cut::Crops { len, .. } => len,
            Cut::Whole => crops.iter().map(|c| c.len).sum(),
        }
    }

    /// Numbers of samples that rows may have, each once.
    fn rows(&self) -> BTreeSet<usize> {
        match self.cut {
            Cut::Crops { len, .. } => BTreeSet::from([len]),
            Cut::Whole => self.items.iter().map(|(u, total)| Crop::whole(*u, *total).len).collect(),
        }
    }
}

/// A batch of B crops of T samples. Its memory goes back to the loader when it is dropped.
#[derive(Debug)]
pub struct Batch {
    /// Step it belongs to.
    pub step: u64,
    /// Standardized samples (B, T).
    pub data: Buffer<f32>,
}

/// Makes batches on its own threads; see the [module](self).
#[derive(Debug)]
pub struct CropLoader {
    loader: Loader<Batch>,
    shared: Arc<Shared>,
    plan: CropPlan,
    crops: Vec<Crop>,
    notes: Vec<String>,
}

impl CropLoader {
    /// Starts making the batches of steps `first_step`, `first_step + 1`, … from the training
    /// split.
    ///
    /// # Errors
    /// When a size is 0, or there are fewer usable utterances than a batch takes.
    pub fn start(corpus: Arc<Corpus>, standardize: Standardize, config: &CropConfig, first_step: u64) -> Result<Self> {
        for (key, value) in [("batch", config.batch), ("crop length", config.len), ("loader threads", config.threads)] {
            if value == 0 {
                return Err(Error::config(key, "is 0", "give a positive number"));
            }
        }
        if !(1..=2).contains(&config.views) {
            return Err(Error::config("views", format_args!("is {}", config.views), "use 1 or 2"));
        }
        config.augment.check()?;
        let set = if config.whole { corpus.listed(Split::Train) } else { corpus.split(Split::Train) };
        let train = set.iter().copied();
        let train: Vec<usize> = train.filter(|u| !config.held_out.contains(u)).collect();
        let length = |u: usize| corpus.utterances()[u].len;
        let least = if config.whole { CROP_GRID } else { config.len };
        let short = train.iter().filter(|&&u| length(u) < least).count();
        let mut notes = Vec::new();
        if short > 0 {
            let done = if config.short == ShortPolicy::Skip || config.whole { "left out" } else { "padded with zeros" };
            notes.push(format!(
                "{short} of {} training utterances are shorter than {} of {least} samples: {done}",
                train.len(),
                if config.whole { "a step" } else { "a crop" }
            ));
        }
        let items: Vec<(usize, usize)> = train
            .iter()
            .map(|&u| (u, length(u)))
            .filter(|&(_, len)| (config.short == ShortPolicy::Pad && !config.whole) || len >= least)
            .collect();
        let batch = if config.whole { 1 } else { config.batch };
        if items.len() < batch {
            let what = format!(
                "{} training utterances ({short} of {} are shorter than a crop), but a batch takes {}",
                items.len(),
                train.len(),
                batch
            );
            return Err(Error::file(corpus.root(), what, "use a smaller batch, shorter crops or more audio"));
        }
        let plan = match config.whole {
            true => CropPlan::whole(items),
            false => {
                let plan = CropPlan::new(items, batch, config.len, config.seed);
                plan.views(config.views, config.augment.same_crop)
            }
        };
        let shared = Arc::new(Shared {
            clips: Cache::new(corpus.utterances().len(), config.cache_mb.saturating_mul(1_000_000)),
            corpus,
            standardize,
            augment: config.augment,
            pool: Pool::new(),
        });
        let of_threads = (Arc::clone(&shared), plan.clone());
        let loader = Loader::start(config.threads, config.prefetch, first_step, shared.corpus.root(), move || {
            let ((shared, mut plan), mut crops, mut buffer) = (of_threads.clone(), Vec::new(), Vec::new());
            move |step| shared.make(&mut plan, step, &mut crops, &mut buffer)
        })?;
        Ok(Self { loader, shared, plan, crops: Vec::with_capacity(config.batch * config.views), notes })
    }

    /// The next batch, waiting for it if need be.
    ///
    /// # Errors
    /// When a file of this batch cannot be decoded. Later batches can still be requested.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let step = self.loader.next_step();
        let batch = self.loader.next_batch();
        self.plan.fill(step, &mut self.crops);
        batch
    }

    /// Continues with the batches of steps `step`, `step + 1`, …
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn seek(&mut self, step: u64) -> Result<()> {
        self.loader.seek(step)
    }

    /// The crops of the last batch returned, row by row. Labels are looked up by them.
    pub fn crops(&self) -> &[Crop] {
        &self.crops
    }

    /// Step of the next batch.
    pub fn next_step(&self) -> u64 {
        self.loader.next_step()
    }

    /// Steps in an epoch.
    pub fn epoch_len(&self) -> u64 {
        self.plan.epoch_len()
    }

    /// Views of each utterance.
    pub fn views(&self) -> usize {
        match self.plan.cut {
            Cut::Crops { views, .. } => views,
            Cut::Whole => 1,
        }
    }

    /// Numbers of samples that a row of a batch may have, each once.
    pub fn lengths(&self) -> BTreeSet<usize> {
        self.plan.rows()
    }

    /// What the user should know: utterances left out or padded.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Waiting time and memory so far.
    pub fn stats(&self) -> LoaderStats {
        self.loader.stats(self.shared.clips.bytes(), self.shared.pool.allocated())
    }
}

/// A decoded utterance. 16-bit audio is stored as integers, in half the memory; x/32768 restores
/// the same bits.
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

/// What all loader threads share.
#[derive(Debug)]
struct Shared {
    corpus: Arc<Corpus>,
    standardize: Standardize,
    augment: Augment,
    clips: Cache<Clip>,
    pool: Pool<f32>,
}

impl Shared {
    fn make(&self, plan: &mut CropPlan, step: u64, crops: &mut Vec<Crop>, buffer: &mut Vec<f32>) -> Result<Batch> {
        plan.fill(step, crops);
        let len = plan.row(crops);
        let key = plan.augment_key(step).filter(|_| !self.augment.is_off());
        let mut data = self.pool.take(crops.len() * len);
        for (i, (crop, row)) in crops.iter().zip(data.chunks_exact_mut(len)).enumerate() {
            let (audio, padding) = row.split_at_mut(crop.len);
            match key {
                Some(key) => {
                    let total = self.corpus.utterances()[crop.utterance].len;
                    let read = |crop: &Crop, out: &mut [f32]| self.fetch(crop, out);
                    augmented(&self.augment, crop, total, key.with_item(i as u32), read, buffer, audio)?;
                }
                None => self.fetch(crop, audio)?,
            }
            self.standardize.apply(audio);
            padding.fill(0.0);
        }
        Ok(Batch { step, data })
    }

    fn fetch(&self, crop: &Crop, out: &mut [f32]) -> Result<()> {
        if let Some(clip) = self.clips.get(crop.utterance) {
            clip.copy(crop.start, out);
            return Ok(());
        }
        // Reserved at 16 bits a sample before decoding; settled when the true size is known.
        let utterance = &self.corpus.utterances()[crop.utterance];
        let guess = utterance.len.saturating_mul(2);
        if !self.clips.reserve(guess) {
            return decode::decode_range(&utterance.path, crop.start, out);
        }
        let made = self.corpus.decode(crop.utterance).map(Clip::of);
        let made = made.inspect_err(|_| self.clips.release(guess))?;
        made.copy(crop.start, out);
        let bytes = made.bytes();
        self.clips.keep(crop.utterance, made, guess, bytes);
        Ok(())
    }
}

/// A crop of an utterance of `total` samples → out (samples of the crop), augmented. `read` reads crops; the
/// place of a crop that is to be faster moves forward where the utterance ends before. `buffer` is used
/// again.
fn augmented(
    augment: &Augment,
    crop: &Crop,
    total: usize,
    key: Key,
    read: impl FnOnce(&Crop, &mut [f32]) -> Result<()>,
    buffer: &mut Vec<f32>,
    out: &mut [f32],
) -> Result<()> {
    if augment.tempo > 0.0 {
        let tempo = augment::possible(augment.draw_tempo(key), crop.len, total);
        let len = augment::source(crop.len, tempo).min(total);
        buffer.resize(len, 0.0);
        read(&Crop { start: crop.start.min(total - len), len, ..*crop }, buffer)?;
        augment::stretch(buffer, tempo, out);
    } else {
        read(crop, out)?;
    }
    augment.apply(out, key);
    Ok(())
}

/// A crop of a corpus as training makes it, augmented by `key` and standardized. It is decoded anew.
///
/// # Errors
/// When its file cannot be decoded.
pub fn training_view(
    corpus: &Corpus,
    augment: &Augment,
    crop: &Crop,
    standardize: &Standardize,
    key: Key,
) -> Result<Vec<f32>> {
    let utterance = &corpus.utterances()[crop.utterance];
    let read = |crop: &Crop, out: &mut [f32]| decode::decode_range(&utterance.path, crop.start, out);
    let mut out = vec![0.0; crop.len];
    augmented(augment, crop, utterance.len, key, read, &mut Vec::new(), &mut out)?;
    standardize.apply(&mut out);
    Ok(out)
}
