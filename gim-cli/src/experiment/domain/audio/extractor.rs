//! Features of utterances.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use gim_audio::dataset::corpus::{self, Corpus};
use gim_audio::dataset::loader::Crop;
use gim_audio::dataset::standardize::Standardize;
use gim_audio::features::{FeatureExtractor, Grids, Pass};
use gim_audio::geometry::label_frames;
use gim_core::stack::Stack;
use gim_core::{Key, Pool, Purpose, Result};
use gim_eval::{GroupId, LabelSpec, Means, Per, Split, Task};
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

    /// Gives the features of an utterance by the trained stack and, as baselines, by the random one and of the
    /// waveform itself. Those of a long one come as soon as they are known, so that neither its waveform nor
    /// its features are ever whole in memory.
    fn extract_utterance(
        &self,
        utterance: usize,
        passes: &[Pass],
        mut stacks: Vec<&mut Stack<f32>>,
        pool: &Pool<f32>,
        give: &mut dyn FnMut(Extracted) -> Result<()>,
    ) -> Result<()> {
        let len = self.corpus.utterances()[utterance].len;
        let part = |samples: Range<usize>| match samples {
            // A whole file is checked as it is decoded.
            whole if whole.len() == len => self.corpus.whole(utterance, &self.standardize),
            part => self.corpus.part(utterance, part, &self.standardize),
        };
        let mut grids: Vec<Grids> = stacks.iter().map(|_| Grids::new(len)).collect();
        let mut means = (self.level == Level::Utterance).then(Means::default);
        let mut taken = 0;
        for pass in passes {
            let waveform = part(pass.samples())?;
            for (stack, grids) in stacks.iter_mut().zip(&mut grids) {
                self.features.pass(stack, pass, &waveform, grids, pool);
            }
            // Some modules know the labels near a cut sooner than others. A row is left for the last part.
            let most = if pass.is_last() { label_frames(len) } else { label_frames(len) - 1 };
            let known = grids.iter().map(Grids::known).fold(most, usize::min);
            let rows = taken..known;
            if rows.is_empty() {
                continue;
            }
            taken = known;
            let mut groups: Vec<Array2<f32>> = grids.iter_mut().flat_map(|grids| grids.take(known)).collect();
            if stacks.len() > 1 {
                let samples = FeatureExtractor::mfcc_samples(rows.clone(), len);
                let mfcc = if samples == pass.samples() {
                    self.features.mfcc_part(rows.clone(), &waveform)
                } else {
                    self.features.mfcc_part(rows.clone(), &part(samples)?)
                };
                groups.push(mfcc);
            }
            let more = !pass.is_last();
            if let Some(means) = &mut means {
                means.add(&groups);
                if more {
                    continue;
                }
                groups = means.finish();
            }
            let id = self.corpus.utterances()[utterance].id.clone();
            give(Extracted { id, groups, labels: self.labels_of(utterance, rows), more })?;
        }
        Ok(())
    }

    /// Labels of an utterance, and of some rows of its features.
    fn labels_of(&self, utterance: usize, rows: Range<usize>) -> Vec<Vec<i32>> {
        let mut labels = Vec::from_iter(self.speaker(utterance));
        if self.corpus.labels().is_some() {
            // Features are on the labels' own grid already: label n belongs to row n.
            labels.push(self.corpus.phones_of(utterance, rows.start as isize..rows.end as isize));
        }
        labels.extend(self.corpus.columns().of(utterance));
        labels
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
        give: &mut dyn FnMut(usize, Extracted) -> Result<()>,
    ) -> Result<()> {
        for (at, u) in items.iter().enumerate() {
            let len = self.corpus.utterances()[*u].len;
            // The random stack has the same shapes.
            let Some(passes) = self.features.passes(trained, len) else { continue };
            let mut stacks = Vec::from([&mut *trained]);
            stacks.extend(random.as_deref_mut());
            self.extract_utterance(*u, &passes, stacks, pool, &mut |part| give(at, part))?;
        }
        Ok(())
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
                let id = utterance.id.clone();
                out.push(groups.map(|groups| Extracted { id, groups, labels, more: false }));
            }
            first += together.len();
        }
        Ok(out)
    }
}
