//! Training batches of crops, and the crops that are held out of training.

use std::ops::Range;
use std::sync::Arc;

use gim_audio::dataset::augment::Augment;
use gim_audio::dataset::corpus::Corpus;
use gim_audio::dataset::loader::{Crop, CropLoader, training_view};
use gim_audio::dataset::standardize::Standardize;
use gim_audio::geometry::{ConvSpec, LABEL_HOP, label_slots};
use gim_audio::network::Target;
use gim_core::activations::{Activations, Shape};
use gim_core::data::LoaderStats;
use gim_core::stack::LayoutPlans;
use gim_core::{Key, Pool, Result};
use rayon::prelude::*;

use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::BatchSource;

pub(super) struct SpeechBatches {
    pub(super) corpus: Arc<Corpus>,
    pub(super) standardize: Standardize,
    pub(super) loader: CropLoader,
    pub(super) target: Target,
    /// The network's convolutions, from which follows which frame has which phone.
    pub(super) convs: Vec<ConvSpec>,
    pub(super) record: DatasetRecord,
    pub(super) held_out: HeldOutCrops,
    /// Utterances in a batch, each in all its views.
    pub(super) batch: usize,
    /// Samples of a crop; `None` for whole utterances.
    pub(super) crop: Option<usize>,
    /// Training utterances that are too short for a step, or have no labels.
    pub(super) unusable: usize,
}

/// Crops of the utterances that are held out of training: one of each without augmentation; for a loss that
/// compares views, two that are made as in training.
pub(super) struct HeldOutCrops {
    /// The views of an utterance one after the other.
    pub(super) crops: Vec<Crop>,
    /// Of each utterance.
    pub(super) views: usize,
    pub(super) augment: Augment,
    /// Of the augmentation; without the utterance and its view.
    pub(super) key: Key,
}

impl HeldOutCrops {
    fn utterances(&self) -> usize {
        self.crops.len() / self.views
    }

    /// The samples of a crop, which is view number `view` of its utterance, standardized.
    fn read(&self, crop: &Crop, view: usize, corpus: &Corpus, standardize: &Standardize) -> Result<Vec<f32>> {
        if self.views == 1 {
            return corpus.part(crop.utterance, crop.start..crop.start + crop.len, standardize);
        }
        let key = self.key.with_item(crop.utterance as u32).with_module(view as u32);
        training_view(corpus, &self.augment, crop, standardize, key)
    }
}

impl SpeechBatches {
    /// Labels of crops of `samples`.
    fn labels(&self, crops: &[Crop], samples: usize) -> Result<Arc<[i32]>> {
        Ok(match self.target {
            Target::Future => Arc::from([]),
            Target::Phones => {
                // From the label at a crop's first sample.
                let slots = label_slots(&self.convs, samples)?;
                crops.iter().flat_map(|c| self.phones(c, &slots)).collect()
            }
            Target::Speakers => crops.iter().map(|c| self.corpus.utterances()[c.utterance].speaker as i32).collect(),
            Target::Column(name) => {
                let labels = self.corpus.columns().get(name).map(|column| &column.labels);
                crops.iter().map(|c| labels.map_or(-1, |labels| labels[c.utterance])).collect()
            }
        })
    }

    fn phones(&self, crop: &Crop, slots: &[isize]) -> Vec<i32> {
        let first = (crop.start / LABEL_HOP) as isize;
        self.corpus.phones_of(crop.utterance, slots.iter().map(|n| first + n))
    }
}

/// waveforms (B, T), B = `n` → the network's input (B, T, 1).
fn input(waveforms: &[f32], n: usize, plans: &LayoutPlans, pool: &Pool<f32>) -> Activations<f32> {
    let layouts = plans.of(Shape::sequence(n, waveforms.len() / n, 1));
    Activations::from_slice(layouts[0], waveforms, pool)
}

impl BatchSource for SpeechBatches {
    fn notes(&self) -> Vec<String> {
        let mut notes = self.corpus.summary();
        notes.extend(self.corpus.notes().iter().chain(self.loader.notes()).cloned());
        if self.unusable > 0 {
            let n = self.unusable;
            notes.push(format!("{n} training utterances are too short for a step or have no labels: left out"));
        }
        if self.held_out() > 0 {
            notes.push(format!("{} training utterances are held out for validation", self.held_out()));
        }
        notes
    }

    fn record(&self) -> &DatasetRecord {
        &self.record
    }

    fn epoch_len(&self) -> u64 {
        self.loader.epoch_len()
    }

    fn shapes(&self) -> Vec<Shape> {
        let held_out = self.held_out();
        let held_out = [held_out.min(self.batch), held_out % self.batch].map(|n| n * self.held_out.views);
        let mut lengths = self.loader.lengths();
        if self.crop.is_none() {
            lengths.extend(self.held_out.crops.iter().map(|c| c.len));
        }
        let sizes = [self.batch * self.loader.views()].into_iter().chain(held_out.into_iter().filter(|n| *n > 0));
        sizes.flat_map(|n| lengths.iter().map(move |len| Shape::sequence(n, *len, 1))).collect()
    }

    fn next(&mut self, plans: &LayoutPlans, pool: &Pool<f32>) -> Result<(Activations<f32>, Arc<[i32]>)> {
        let batch = self.loader.next_batch()?;
        let crops = self.loader.crops();
        let labels = self.labels(crops, batch.data.len() / crops.len())?;
        Ok((input(&batch.data, crops.len(), plans, pool), labels))
    }

    fn seek(&mut self, step: u64) -> Result<()> {
        self.loader.seek(step)
    }

    fn held_out(&self) -> usize {
        self.held_out.utterances()
    }

    fn held_out_batch(
        &self,
        items: Range<usize>,
        plans: &LayoutPlans,
        pool: &Pool<f32>,
    ) -> Result<(Activations<f32>, Arc<[i32]>)> {
        let (held_out, views) = (&self.held_out, self.held_out.views);
        let crops = &held_out.crops[items.start * views..items.end * views];
        let (corpus, standardize, len) = (&self.corpus, &self.standardize, self.crop);
        let read = |(i, crop): (usize, &Crop)| {
            let mut x = held_out.read(crop, i % views, corpus, standardize)?;
            x.resize(len.unwrap_or(crop.len), 0.0);
            Ok(x)
        };
        let read = crops.par_iter().enumerate().map(read).collect::<Result<Vec<_>>>()?;
        let labels = self.labels(crops, read[0].len())?;
        Ok((input(&read.concat(), crops.len(), plans, pool), labels))
    }

    fn stats(&self) -> LoaderStats {
        self.loader.stats()
    }
}
