//! Features of utterances.

use std::path::Path;
use std::sync::Arc;

use gim_audio::dataset::corpus::{self, Corpus};
use gim_audio::dataset::loader::Crop;
use gim_audio::dataset::standardize::Standardize;
use gim_audio::features::FeatureExtractor;
use gim_audio::geometry::label_frames;
use gim_core::stack::Stack;
use gim_core::{Key, Pool, Purpose, Result};
use gim_eval::{GroupId, ItemIndex, LabelSpec, Per, Split, Task, mean_over_time};
use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::{AudioConfig, standardize_of};
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::{Extracted, Extractor, column_specs};
use crate::experiment::input::Level;

/// Extracts features.
pub(super) struct SpeechExtractor {
    corpus: Arc<Corpus>,
    standardize: Standardize,
    items: Vec<(usize, Split)>,
    features: FeatureExtractor,
    /// Samples of a view.
    crop: usize,
    level: Level,
}

impl SpeechExtractor {
    /// Features of both splits of a corpus, each in the order of its file: the published probe for phones
    /// learns from utterances in that order.
    ///
    /// # Errors
    /// When the network or the record cannot be used.
    pub(super) fn new(config: &AudioConfig, corpus: Corpus, record: &DatasetRecord, level: Level) -> Result<Self> {
        let train = corpus.listed(corpus::Split::Train).iter().map(|u| (*u, Split::Train));
        let test = corpus.listed(corpus::Split::Test).iter().map(|u| (*u, Split::Test));
        let items: Vec<(usize, Split)> = train.chain(test).collect();
        let (standardize, features) = (standardize_of(record)?, FeatureExtractor::new(&config.network)?);
        Ok(Self { corpus: Arc::new(corpus), standardize, items, features, crop: config.data.crop, level })
    }

    /// The speaker of an utterance, if the corpus knows speakers.
    fn speaker(&self, utterance: usize) -> Option<Vec<i32>> {
        let known = !self.corpus.speakers().is_empty();
        known.then(|| vec![self.corpus.utterances()[utterance].speaker as i32])
    }

    /// Features of crops of the same number of samples, a row each; `None` when they are too short.
    fn of_crops(
        &self,
        crops: &[Vec<f32>],
        trained: &mut Stack<f32>,
        random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
    ) -> Option<Vec<Vec<Array2<f32>>>> {
        let samples = crops.first().map_or(0, Vec::len);
        let layouts = self.features.crop_layouts(trained, crops.len(), samples)?;
        let mut groups = self.features.crop_means(trained, &layouts, crops, pool);
        let baselines = random.is_some();
        if let Some(random) = random {
            groups.extend(self.features.crop_means(random, &layouts, crops, pool));
        }
        let row = |n: usize| {
            let mut own: Vec<_> = groups.iter().map(|g| g.select(Axis(0), &[n])).collect();
            let mfcc = baselines.then(|| self.features.mfcc(&crops[n]).mean_axis(Axis(0))).flatten();
            own.extend(mfcc.map(|m| m.insert_axis(Axis(0))));
            own
        };
        Some((0..crops.len()).map(row).collect())
    }
}

impl Extractor for SpeechExtractor {
    fn items(&self) -> &[(usize, Split)] {
        &self.items
    }

    fn id(&self, item: usize) -> String {
        self.corpus.utterances()[item].id.clone()
    }

    fn rows(&self) -> usize {
        self.items.iter().map(|(u, _)| label_frames(self.corpus.utterances()[*u].len)).sum()
    }

    fn labels(&self) -> Vec<LabelSpec> {
        let names = self.corpus.speakers().to_vec();
        let (task, classes) = (Task::Speakers.label().into(), names.len());
        let speakers = LabelSpec { task, per: Per::Item, classes, silence: None, names };
        let mut labels = if classes > 0 { vec![speakers] } else { Vec::new() };
        if let Some(phones) = self.corpus.labels() {
            let (classes, silence) = (phones.n_classes(), phones.silence());
            let names = phones.names().map_or_else(Vec::new, <[_]>::to_vec);
            labels.push(LabelSpec { task: Task::Phones.label().into(), per: Per::Frame, classes, silence, names });
        }
        labels.extend(column_specs(self.corpus.columns()));
        labels
    }

    fn baseline(&self) -> GroupId {
        GroupId::Mfcc
    }

    fn digest(&self) -> &str {
        self.corpus.digest()
    }

    fn root(&self) -> &Path {
        self.corpus.root()
    }

    fn noun(&self) -> &'static str {
        "utterances"
    }

    fn amount(&self) -> String {
        let all: Vec<usize> = self.items.iter().map(|i| i.0).collect();
        format!("{} utterances ({})", all.len(), self.corpus.duration(&all))
    }

    fn notes(&self) -> &[String] {
        self.corpus.notes()
    }

    fn is_too_short(&self, item: usize, stack: &Stack<f32>) -> bool {
        self.features.crop_layouts(stack, 1, self.corpus.utterances()[item].len).is_none()
    }

    fn extract(
        &mut self,
        items: &[usize],
        trained: &mut Stack<f32>,
        mut random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Option<Extracted>>> {
        let mut out = Vec::new();
        for u in items {
            let utterance = &self.corpus.utterances()[*u];
            let waveform = self.corpus.whole(*u, &self.standardize)?;
            // The random stack has the same shapes.
            let Some(passes) = self.features.passes(trained, waveform.len()) else {
                out.push(None);
                continue;
            };
            let mut groups = self.features.features(trained, &passes, &waveform, pool);
            if let Some(random) = random.as_deref_mut() {
                groups.extend(self.features.features(random, &passes, &waveform, pool));
                groups.push(self.features.mfcc(&waveform));
            }
            let mut labels = Vec::from_iter(self.speaker(*u));
            if self.corpus.labels().is_some() {
                // Features are on the labels' own grid already: label n belongs to row n.
                labels.push(self.corpus.phones_of(*u, 0..groups[0].nrows() as isize));
            }
            labels.extend(self.corpus.columns().of(*u));
            if self.level == Level::Utterance {
                let mean = |g: &Array2<f32>| mean_over_time(g.view(), &ItemIndex::from_counts([g.nrows()]));
                groups = groups.iter().map(mean).collect();
            }
            out.push(Some(Extracted { id: utterance.id.clone(), groups, labels }));
        }
        Ok(out)
    }

    fn views(
        &mut self,
        items: &[usize],
        split: Split,
        key: Key,
        trained: &mut Stack<f32>,
        mut random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Option<Extracted>>> {
        let key = key.with_purpose(Purpose::View).with_module(u32::from(split == Split::Test));
        let read = |u: &usize| {
            let crop = Crop::draw(*u, self.corpus.utterances()[*u].len, self.crop, key.with_item(*u as u32));
            self.corpus.part(*u, crop.start..crop.start + crop.len, &self.standardize)
        };
        let crops = items.par_iter().map(read).collect::<Result<Vec<_>>>()?;
        let (mut out, mut first) = (Vec::new(), 0);
        // Crops of whole length go through the network together.
        for together in crops.chunk_by(|a, b| a.len() == b.len()) {
            let rows = self.of_crops(together, trained, random.as_deref_mut(), pool);
            for (n, u) in items[first..first + together.len()].iter().enumerate() {
                let utterance = &self.corpus.utterances()[*u];
                let labels = self.speaker(*u).into_iter().chain(self.corpus.columns().of(*u)).collect::<Vec<_>>();
                let groups = rows.as_ref().map(|rows| rows[n].clone());
                out.push(groups.map(|groups| Extracted { id: utterance.id.clone(), groups, labels }));
            }
            first += together.len();
        }
        Ok(out)
    }
}
