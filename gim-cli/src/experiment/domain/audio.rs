//! Speech: configuration of corpus, network and loss.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_audio::dataset::corpus::{self, Corpus, CorpusOptions, MissingPolicy};
use gim_audio::dataset::loader::{Crop, CropConfig, CropLoader, ShortPolicy};
use gim_audio::dataset::phones::PhoneLabels;
use gim_audio::dataset::standardize::Standardize;
use gim_audio::features::FeatureExtractor;
use gim_audio::geometry::LABEL_HOP;
use gim_audio::network::{LossConfig, NetworkConfig, NetworkKind, Target};
use gim_core::activations::{Activations, Layout, Shape};
use gim_core::data::LoaderStats;
use gim_core::loss::Supervision;
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Purpose, Result};
use gim_eval::{GroupId, LabelSpec, Per, Split, Task};
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::figures::{FigureSpec, method};
use super::{BatchSource, DatasetSpec, Extracted, Extractor, ModelSpec, Sections, folder};
use crate::experiment::embedded::Embedded;
use crate::experiment::train_config::TrainConfig;

/// The corpus, and how it is cut into crops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioData {
    /// Folder of the corpus. Empty: `GIM_DATA`.
    /// `embedded`: the embedded corpus.
    pub path: String,
    /// Length of a crop, in samples.
    pub crop: usize,
    /// Utterances shorter than a crop: `skip` or `pad`.
    pub short: ShortPolicy,
    /// Split files that name absent utterances: `error` or `ignore`.
    pub missing: MissingPolicy,
    /// Leave out audio files that cannot be read, and list them.
    pub skip_bad: bool,
    /// Decoded audio kept in memory, in MB.
    pub cache_mb: usize,
}

impl Default for AudioData {
    fn default() -> Self {
        Self {
            path: String::new(),
            crop: 20_480,
            short: ShortPolicy::Skip,
            missing: MissingPolicy::Error,
            skip_bad: false,
            cache_mb: 512,
        }
    }
}

/// The configuration of speech; the default is the paper's.
pub(crate) type AudioConfig = Sections<AudioData, NetworkConfig, LossConfig>;

impl AudioConfig {
    fn corpus(&self) -> Result<Corpus> {
        let AudioData { missing, skip_bad, .. } = self.data;
        let options = CorpusOptions { missing, skip_bad, ..CorpusOptions::default() };
        Corpus::open(&self.folder()?, &options)
    }

    /// Opens the corpus, decodes all its files and measures it.
    fn open(&self) -> Result<(Arc<Corpus>, Standardize)> {
        let corpus = self.corpus()?;
        let standardize = corpus.check_and_measure()?;
        Ok((Arc::new(corpus), standardize))
    }
}

/// Checks that supervised training has labels to learn from.
fn check_labels(corpus: &Corpus, labels: &PhoneLabels) -> Result<()> {
    let train = corpus.split(corpus::Split::Train);
    if train.iter().any(|&u| labels.get(&corpus.utterances()[u].id).is_some()) {
        return Ok(());
    }
    let (theirs, ours) = (labels.ids().min(), train.first().map(|&u| corpus.utterances()[u].id.as_str()));
    let what = format!(
        "no training utterance has labels: it names utterances like {:?}, the corpus has {:?}",
        theirs.unwrap_or_default(),
        ours.unwrap_or_default()
    );
    Err(Error::file(labels.path(), what, "name the utterances as their audio files, without extension"))
}

struct SpeechBatches {
    corpus: Arc<Corpus>,
    loader: CropLoader,
    target: Target,
    /// Samples of a crop.
    crop: usize,
}

impl SpeechBatches {
    /// Labels of the crops of the batch at hand.
    fn labels(&self) -> Arc<[i32]> {
        let crops = self.loader.crops().iter();
        match self.target {
            Target::Future => Arc::from([]),
            Target::Phones => crops.flat_map(|c| self.corpus.phones_of(c.utterance, c.start, self.crop)).collect(),
            Target::Speakers => crops.map(|c| self.corpus.utterances()[c.utterance].speaker as i32).collect(),
        }
    }
}

impl BatchSource for SpeechBatches {
    fn notes(&self) -> Vec<String> {
        let mut notes = self.corpus.summary();
        notes.extend(self.corpus.notes().iter().chain(self.loader.notes()).cloned());
        notes
    }

    fn corpus(&self) -> (&Path, &str) {
        (self.corpus.root(), self.corpus.digest())
    }

    fn epoch_len(&self) -> u64 {
        self.loader.epoch_len()
    }

    fn next(&mut self, layout: Layout, pool: &Pool<f32>) -> Result<(Activations<f32>, Arc<[i32]>)> {
        let batch = self.loader.next_batch()?;
        Ok((Activations::from_slice(layout, &batch.data, pool), self.labels()))
    }

    fn stats(&self) -> LoaderStats {
        self.loader.stats()
    }
}

impl DatasetSpec for AudioConfig {
    fn folder(&self) -> Result<PathBuf> {
        let what = "a folder of speech in LibriSpeech's layout";
        folder(&self.data.path, "speech", Embedded::SpeechMini, what)
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Phones, Task::Speakers]
    }

    fn batch_source(&self, train: &TrainConfig, first: u64) -> Result<Box<dyn BatchSource>> {
        let (corpus, standardize) = self.open()?;
        let crops = CropConfig {
            batch: train.batch,
            len: self.data.crop,
            seed: train.seed,
            short: self.data.short,
            cache_mb: self.data.cache_mb,
            ..CropConfig::default()
        };
        let loader = CropLoader::start(Arc::clone(&corpus), standardize, &crops, first)?;
        Ok(Box::new(SpeechBatches { corpus, loader, target: self.loss.target, crop: self.data.crop }))
    }

    fn extractor(&self) -> Result<Box<dyn Extractor>> {
        let (corpus, standardize) = self.open()?;
        let train = corpus.split(corpus::Split::Train).iter().map(|u| (*u, Split::Train));
        let test = corpus.split(corpus::Split::Test).iter().map(|u| (*u, Split::Test));
        let mut items: Vec<(usize, Split)> = train.chain(test).collect();
        items.sort_by_key(|i| i.0);
        let features = FeatureExtractor::new(&self.network)?;
        Ok(Box::new(SpeechExtractor { corpus, standardize, items, features, crop: self.data.crop }))
    }

    fn synthetic_labels(&self, batch: usize) -> Arc<[i32]> {
        let n = match self.loss.target {
            Target::Future => 0,
            Target::Phones => batch * (self.data.crop / LABEL_HOP),
            Target::Speakers => batch,
        };
        vec![0; n].into()
    }
}

impl ModelSpec for AudioConfig {
    fn input(&self, batch: usize) -> Result<Shape> {
        Ok(Shape::sequence(batch, self.data.crop, 1))
    }

    fn build(&self, optimizer: &OptimizerConfig, seed: u64, pool: &Pool<f32>) -> Result<Stack<f32>> {
        let supervision = match self.loss.target {
            Target::Future => None,
            Target::Phones => {
                let corpus = self.corpus()?;
                let Some(phones) = corpus.labels() else {
                    return Err(Error::file(corpus.root(), "has no phone labels", "use loss.target = \"speakers\""));
                };
                check_labels(&corpus, phones)?;
                Some(Supervision { classes: phones.n_classes(), bins: self.data.crop / LABEL_HOP })
            }
            Target::Speakers => {
                let corpus = self.corpus()?;
                let classes = corpus.speakers().len();
                if classes < 2 {
                    let what = "has one speaker: there is nothing to learn from labels";
                    return Err(Error::file(corpus.root(), what, "use loss.target = \"future\""));
                }
                Some(Supervision { classes, bins: 1 })
            }
        };
        self.network.build(&self.loss, supervision, optimizer, seed, pool)
    }

    fn negatives(&self) -> Option<usize> {
        (self.loss.target == Target::Future).then_some(self.loss.negatives)
    }
}

impl FigureSpec for AudioConfig {
    fn input_name(&self) -> String {
        format!("audio, {} samples", self.data.crop)
    }

    fn size_name(&self) -> String {
        format!("{} channels", self.network.width)
    }

    fn method(&self) -> String {
        method(self.network.kind == NetworkKind::Cpc, self.loss.target != Target::Future)
    }
}

struct SpeechExtractor {
    corpus: Arc<Corpus>,
    standardize: Standardize,
    items: Vec<(usize, Split)>,
    features: FeatureExtractor,
    /// Samples of a view.
    crop: usize,
}

impl SpeechExtractor {
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

    fn labels(&self) -> Vec<LabelSpec> {
        let mut labels = vec![LabelSpec {
            task: "speaker".into(),
            per: Per::Item,
            classes: self.corpus.speakers().len(),
            silence: None,
        }];
        if let Some(phones) = self.corpus.labels() {
            let (classes, silence) = (phones.n_classes(), phones.silence());
            labels.push(LabelSpec { task: "phone".into(), per: Per::Frame, classes, silence });
        }
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
            let Some(layouts) = self.features.layouts(trained, waveform.len()) else {
                out.push(None);
                continue;
            };
            let mut groups = self.features.features(trained, &layouts, &waveform, pool);
            if let Some(random) = random.as_deref_mut() {
                groups.extend(self.features.features(random, &layouts, &waveform, pool));
                groups.push(self.features.mfcc(&waveform));
            }
            let mut labels = vec![vec![utterance.speaker as i32]];
            if self.corpus.labels().is_some() {
                // Features are on the labels' own grid already: label n belongs to row n.
                labels.push(self.corpus.phones_of(*u, 0, groups[0].nrows() * LABEL_HOP));
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
                let labels = vec![vec![utterance.speaker as i32]];
                let groups = rows.as_ref().map(|rows| rows[n].clone());
                out.push(groups.map(|groups| Extracted { id: utterance.id.clone(), groups, labels }));
            }
            first += together.len();
        }
        Ok(out)
    }
}
