//! Speech: configuration of corpus, network and loss.

mod batches;
mod extractor;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use gim_audio::dataset::corpus::{self, Corpus, CorpusOptions, MissingPolicy};
use gim_audio::dataset::decode::RATE;
use gim_audio::dataset::loader::{Crop, CropConfig, CropLoader, ShortPolicy};
use gim_audio::dataset::phones::PhoneLabels;
use gim_audio::dataset::standardize::Standardize;
use gim_audio::features::FeatureExtractor;
use gim_audio::geometry::{LABEL_HOP, LABEL_WINDOW, ReceptiveField, label_slots, n_slots};
use gim_audio::network::{LossConfig, NetworkConfig, NetworkKind, Target};
use gim_core::activations::Shape;
use gim_core::loss::{Estimator, LossKind, Supervision};
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Purpose, Result};
use gim_eval::{Split, Task};
use serde::{Deserialize, Serialize};

use self::batches::SpeechBatches;
use self::extractor::SpeechExtractor;
use super::figures::{FigureSpec, method};
use super::size::{self, StepSize};
use super::{BatchSource, DatasetSpec, Extractor, ModelSpec, Sections, folder};
use crate::experiment::dataset_record::{DatasetRecord, Field, TimeAxis, splits_digest};
use crate::experiment::embedded::Embedded;
use crate::experiment::environment::TrainedOn;
use crate::experiment::held_out::{self, HeldOut};
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
    /// Training utterances held out to validate on: a share such as 0.2, or a file that lists them;
    /// 0 for none.
    pub validate: HeldOut,
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
            validate: HeldOut::default(),
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

    /// Labels and their number in a crop that supervised training learns from.
    fn supervision(&self, record: Option<&DatasetRecord>) -> Result<Option<Supervision>> {
        let (task, bins) = match self.loss.target {
            Target::Future => return Ok(None),
            Target::Phones => (Task::Phones, n_slots(self.data.crop)),
            Target::Speakers => (Task::Speakers, 1),
        };
        let classes = match record {
            Some(record) => record.n_classes(task),
            None => names(&self.corpus()?).get(task.label()).map_or(0, Vec::len),
        };
        match (self.loss.target, classes) {
            (Target::Phones, 0) => {
                Err(Error::file(self.folder()?, "has no phone labels", "use loss.target = \"speakers\""))
            }
            (Target::Speakers, 0 | 1) => {
                let what = "has one speaker: there is nothing to learn from labels";
                Err(Error::file(self.folder()?, what, "use loss.target = \"future\""))
            }
            _ => Ok(Some(Supervision { classes, bins })),
        }
    }

    /// What a run keeps of the corpus.
    fn record(
        &self,
        corpus: &Corpus,
        standardize: &Standardize,
        held_out: &BTreeSet<usize>,
        epoch_steps: u64,
    ) -> Result<DatasetRecord> {
        let parts = [("train", corpus::Split::Train), ("test", corpus::Split::Test)];
        let ids = parts.into_iter().flat_map(|(part, split)| {
            corpus.split(split).iter().map(move |u| (part, corpus.utterances()[*u].id.clone()))
        });
        let ids = ids.chain(held_out.iter().map(|u| ("held out", corpus.utterances()[*u].id.clone())));
        let fields = FeatureExtractor::new(&self.network)?;
        let field = |f: &ReceptiveField| Field { hop: f.hop, length: f.field, center: f.center };
        Ok(DatasetRecord {
            corpus: TrainedOn::new(corpus.root(), corpus.digest()),
            splits_digest: splits_digest(ids),
            mean: vec![standardize.mean()],
            std: vec![standardize.std()],
            epoch_steps,
            classes: names(corpus),
            silence: corpus.labels().and_then(PhoneLabels::silence),
            time: Some(TimeAxis {
                rate: RATE,
                hop: LABEL_HOP,
                first_center: (LABEL_WINDOW as f64 - 1.0) / 2.0,
                fields: fields.fields().iter().map(field).collect(),
            }),
        })
    }
}

/// Names of speakers and phones; phones without names are numbered.
fn names(corpus: &Corpus) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::from([(Task::Speakers.label().to_owned(), corpus.speakers().to_vec())]);
    if let Some(phones) = corpus.labels() {
        let numbers = || (0..phones.n_classes()).map(|c| c.to_string()).collect();
        names.insert(Task::Phones.label().to_owned(), phones.names().map_or_else(numbers, <[_]>::to_vec));
    }
    names
}

/// The standardization of a run.
fn standardize_of(record: &DatasetRecord) -> Result<Standardize> {
    match (&record.mean[..], &record.std[..]) {
        ([mean], [std]) => Standardize::given(*mean, *std),
        (mean, std) => {
            let what = format!("mean {mean:?} and std {std:?} are not of one channel");
            Err(Error::config("dataset.json", what, "restore the file, or remove it to use the checkpoint's copy"))
        }
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

impl DatasetSpec for AudioConfig {
    fn folder(&self) -> Result<PathBuf> {
        let what = "a folder of speech in LibriSpeech's layout";
        folder(&self.data.path, "speech", Embedded::SpeechMini, what)
    }

    fn held_out(&self) -> &HeldOut {
        &self.data.validate
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Phones, Task::Speakers]
    }

    fn digest(&self) -> Result<TrainedOn> {
        let corpus = self.corpus()?;
        Ok(TrainedOn::new(corpus.root(), corpus.digest()))
    }

    fn batch_source(
        &self,
        train: &TrainConfig,
        first: u64,
        record: Option<&DatasetRecord>,
    ) -> Result<Box<dyn BatchSource>> {
        let corpus = Arc::new(self.corpus()?);
        if let (Target::Phones, Some(phones)) = (self.loss.target, corpus.labels()) {
            check_labels(&corpus, phones)?;
        }
        let measured = corpus.check_and_measure()?;
        let standardize = record.map_or(Ok(measured), standardize_of)?;
        let id = |u: usize| corpus.utterances()[u].id.clone();
        let held_out = self.data.validate.of(corpus.split(corpus::Split::Train), id, train.seed)?;
        let crops = CropConfig {
            batch: train.batch,
            len: self.data.crop,
            seed: train.seed,
            short: self.data.short,
            held_out: held_out.clone(),
            cache_mb: self.data.cache_mb,
            ..CropConfig::default()
        };
        let loader = CropLoader::start(Arc::clone(&corpus), standardize, &crops, first)?;
        let before = record;
        let record = self.record(&corpus, &standardize, &held_out, loader.epoch_len())?;
        self.data.validate.check(before, &record)?;
        let slots = match self.loss.target {
            Target::Phones => label_slots(&self.network.convs()?, self.data.crop)?,
            Target::Future | Target::Speakers => Vec::new(),
        };
        let key = Key::new(held_out::draw_seed(train.seed), Purpose::Crop);
        let long_enough =
            |u: &usize| self.data.short == ShortPolicy::Pad || corpus.utterances()[*u].len >= self.data.crop;
        let crop = |u| Crop::draw(u, corpus.utterances()[u].len, self.data.crop, key.with_item(u as u32));
        let held_out = held_out.into_iter().filter(long_enough).map(crop).collect();
        let (target, crop) = (self.loss.target, self.data.crop);
        Ok(Box::new(SpeechBatches { corpus, standardize, loader, target, slots, record, held_out, crop }))
    }

    fn extractor(&self, record: &DatasetRecord) -> Result<Box<dyn Extractor>> {
        let corpus = Arc::new(self.corpus()?);
        let standardize = standardize_of(record)?;
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
            Target::Phones => batch * n_slots(self.data.crop),
            Target::Speakers => batch,
        };
        vec![0; n].into()
    }
}

impl ModelSpec for AudioConfig {
    fn input(&self, batch: usize) -> Result<Shape> {
        Ok(Shape::sequence(batch, self.data.crop, 1))
    }

    fn size(&self, batch: usize) -> Result<StepSize> {
        size::of_speech(&self.network, &self.loss, self.input(batch)?)
    }

    fn build(
        &self,
        record: Option<&DatasetRecord>,
        optimizer: &OptimizerConfig,
        seed: u64,
        pool: &Pool<f32>,
    ) -> Result<Stack<f32>> {
        let supervision = self.supervision(record)?;
        self.network.build(&self.loss, supervision, optimizer, seed, pool)
    }

    fn negatives(&self) -> Option<usize> {
        let chance = self.loss.settings.infonce.estimator == Estimator::InfoNce;
        (chance && matches!(self.loss_kind(), Ok(LossKind::InfoNce))).then_some(self.loss.negatives)
    }

    fn loss_kind(&self) -> Result<LossKind> {
        self.loss.kind()
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

#[cfg(test)]
mod tests {
    use gim_audio::geometry::label_frames;
    use gim_core::module::Mode;

    use std::path::Path;

    use super::super::{Domain, Extracted};
    use super::*;
    use crate::experiment::config::Config;

    /// A corpus of two speakers with three utterances of noise each; label n is of class n.
    fn corpus_of_numbered_labels(root: &Path) {
        let samples = 30_000u32;
        let (mut labels, mut state) = (String::new(), 1u32);
        for id in ["ann-0", "ann-1", "ann-2", "ben-0", "ben-1", "ben-2"] {
            let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
            wav[4..8].copy_from_slice(&(36 + 2 * samples).to_le_bytes());
            wav.extend((2 * samples).to_le_bytes());
            for _ in 0..samples {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                wav.extend(((state >> 16) as u16).to_le_bytes());
            }
            std::fs::write(root.join(format!("{id}.wav")), wav).unwrap();
            let classes: Vec<String> = (0..label_frames(samples as usize)).map(|n| n.to_string()).collect();
            labels.push_str(&format!("{id}\t{}\n", classes.join(" ")));
        }
        std::fs::write(root.join("phone_labels.txt"), labels).unwrap();
        std::fs::write(root.join("test_split.txt"), "ann-2\nben-2\n").unwrap();
    }

    /// A frame of the last convolution has the same label in supervised training as in probes,
    /// wherever the crop begins.
    #[test]
    fn training_and_probes_give_a_frame_the_same_label() {
        let dir = tempfile::tempdir().unwrap();
        corpus_of_numbered_labels(dir.path());
        let path = format!("data.path={}", dir.path().display());
        let set = [&path, "loss.target=phones", "network.width=8", "network.context=0", "train.batch=4"];
        let config = Config::load("audio-quick", &set.map(str::to_owned)).unwrap();
        let Domain::Audio(audio) = &config.domain else { panic!("audio-quick is of audio") };
        let pool = Pool::new();
        let mut source = audio.batch_source(&config.train, 0, None).unwrap();
        let record = source.record().clone();
        let mut stack = audio.build(Some(&record), &config.optimizer, 1, &pool).unwrap();

        let layouts = stack.layouts(audio.input(4).unwrap()).unwrap();
        let (x, labels) = source.next(layouts[0], &pool).unwrap();
        let mut trained = Vec::new();
        stack.visit_features(x.detach(), &layouts, Mode::Eval, |view| trained = view.features.to_vec());

        let mut extractor = audio.extractor(&record).unwrap();
        let all: Vec<usize> = extractor.items().iter().map(|i| i.0).collect();
        let probed = extractor.extract(&all, &mut stack, None, &pool).unwrap();
        let slots = labels.len() / 4;
        assert_eq!(trained.len(), labels.len() * 8, "a frame every 10 ms");
        for (crop, labels) in trained.chunks_exact(slots * 8).zip(labels.chunks_exact(slots)) {
            // Frames at a crop's ends see its padding.
            let same = |item: &Extracted| {
                (4..slots - 4).all(|slot| {
                    let row = item.labels[1].iter().position(|class| *class == labels[slot]).unwrap();
                    let probed = item.groups[4].row(row);
                    crop[slot * 8..].iter().zip(probed).all(|(a, b)| (a - b).abs() < 1e-5)
                })
            };
            assert!(probed.iter().flatten().any(same), "labels {labels:?}");
        }
    }
}
