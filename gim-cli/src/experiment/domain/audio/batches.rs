//! Training batches of crops, and the crops that are held out of training.

use std::ops::Range;
use std::sync::Arc;

use gim_audio::dataset::corpus::Corpus;
use gim_audio::dataset::loader::{Crop, CropLoader};
use gim_audio::dataset::standardize::Standardize;
use gim_audio::geometry::LABEL_HOP;
use gim_audio::network::Target;
use gim_core::activations::{Activations, Layout};
use gim_core::data::LoaderStats;
use gim_core::{Pool, Result};
use rayon::prelude::*;

use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::BatchSource;

pub(super) struct SpeechBatches {
    pub(super) corpus: Arc<Corpus>,
    pub(super) standardize: Standardize,
    pub(super) loader: CropLoader,
    pub(super) target: Target,
    /// Label of each slot of a crop, from the one at the crop's first sample.
    pub(super) slots: Vec<isize>,
    pub(super) record: DatasetRecord,
    /// One crop of every utterance that is held out, and the samples of a crop.
    pub(super) held_out: Vec<Crop>,
    pub(super) crop: usize,
}

impl SpeechBatches {
    /// Labels of crops.
    fn labels(&self, crops: &[Crop]) -> Arc<[i32]> {
        match self.target {
            Target::Future => Arc::from([]),
            Target::Phones => crops.iter().flat_map(|c| self.phones(c)).collect(),
            Target::Speakers => crops.iter().map(|c| self.corpus.utterances()[c.utterance].speaker as i32).collect(),
        }
    }

    fn phones(&self, crop: &Crop) -> Vec<i32> {
        let first = (crop.start / LABEL_HOP) as isize;
        self.corpus.phones_of(crop.utterance, self.slots.iter().map(|n| first + n))
    }
}

impl BatchSource for SpeechBatches {
    fn notes(&self) -> Vec<String> {
        let mut notes = self.corpus.summary();
        notes.extend(self.corpus.notes().iter().chain(self.loader.notes()).cloned());
        if !self.held_out.is_empty() {
            notes.push(format!("{} training utterances are held out for validation", self.held_out.len()));
        }
        notes
    }

    fn record(&self) -> &DatasetRecord {
        &self.record
    }

    fn epoch_len(&self) -> u64 {
        self.loader.epoch_len()
    }

    fn next(&mut self, layout: Layout, pool: &Pool<f32>) -> Result<(Activations<f32>, Arc<[i32]>)> {
        let batch = self.loader.next_batch()?;
        Ok((Activations::from_slice(layout, &batch.data, pool), self.labels(self.loader.crops())))
    }

    fn seek(&mut self, step: u64) -> Result<()> {
        self.loader.seek(step)
    }

    fn held_out(&self) -> usize {
        self.held_out.len()
    }

    fn held_out_batch(
        &self,
        items: Range<usize>,
        layout: Layout,
        pool: &Pool<f32>,
    ) -> Result<(Activations<f32>, Arc<[i32]>)> {
        let crops = &self.held_out[items];
        let (corpus, standardize, len) = (&self.corpus, &self.standardize, self.crop);
        let read = |c: &Crop| {
            let mut x = corpus.part(c.utterance, c.start..c.start + c.len, standardize)?;
            x.resize(len, 0.0);
            Ok(x)
        };
        let read = crops.par_iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok((Activations::from_slice(layout, &read.concat(), pool), self.labels(crops)))
    }

    fn stats(&self) -> LoaderStats {
        self.loader.stats()
    }
}
