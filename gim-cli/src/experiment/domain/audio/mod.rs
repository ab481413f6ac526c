//! Speech: configuration of corpus, network and loss.

mod batches;
mod data;
mod extractor;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_audio::dataset::corpus::{self, Corpus, CorpusOptions, Utterance};
use gim_audio::dataset::decode::RATE;
use gim_audio::dataset::loader::{Crop, CropConfig, CropLoader, ShortPolicy};
use gim_audio::dataset::phones::PhoneLabels;
use gim_audio::dataset::standardize::Standardize;
use gim_audio::features::FeatureExtractor;
use gim_audio::geometry::{ConvSpec, LABEL_HOP, ReceptiveField, label_center, label_frames, label_slots, n_slots};
use gim_audio::network::{LossConfig, NetworkConfig, NetworkKind, Target};
use gim_core::activations::Shape;
use gim_core::loss::{Estimator, LossKind, Supervision};
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Purpose, Result};
use gim_eval::Task;

use self::batches::{HeldOutCrops, SpeechBatches};
pub(crate) use self::data::AudioData;
use self::extractor::SpeechExtractor;
use super::figures::{FigureSpec, MethodKind};
use super::size::{self, StepSize};
use super::{BatchSource, Compared, DatasetSpec, Extractor, ModelSpec, Sections, columns, folder_of, given};
use crate::experiment::cache_folder::index_of;
use crate::experiment::dataset_record::{DatasetRecord, Field, TimeAxis, splits_digest};
use crate::experiment::embedded::Embedded;
use crate::experiment::environment::TrainedOn;
use crate::experiment::held_out::{self, HeldOut};
use crate::experiment::input::{Level, LooseFiles};
use crate::experiment::train_config::TrainConfig;

/// The configuration of speech; the default is the paper's.
pub(crate) type AudioConfig = Sections<AudioData, NetworkConfig, LossConfig>;

impl AudioConfig {
    fn corpus(&self) -> Result<Corpus> {
        let folder = self.folder()?;
        let data = &self.data;
        let options = CorpusOptions {
            manifest: given(&data.manifest),
            train_split: given(&data.train_split),
            test_split: given(&data.test_split),
            phone_labels: given(&data.phone_labels),
            phones: given(&data.phones),
            columns: given(&data.labels),
            missing: data.missing,
            skip_bad: data.skip_bad,
            seed: 0,
            index: index_of(&folder),
        };
        Corpus::open(&folder, &options)
    }

    /// Labels and their number in a crop that supervised training learns from.
    fn supervision(&self, record: Option<&DatasetRecord>) -> Result<Option<Supervision>> {
        let (task, bins) = match self.loss.target {
            Target::Future => return Ok(None),
            Target::Phones => (Task::Phones, (!self.data.whole).then(|| n_slots(self.data.crop))),
            Target::Speakers => (Task::Speakers, Some(1)),
            Target::Column(name) => {
                let classes = record.map_or_else(|| self.classes(), |record| Ok(record.classes.clone()));
                return columns::supervision(name, &classes?, &self.folder()?).map(Some);
            }
        };
        let classes = match record {
            Some(record) => record.n_classes(task),
            None => self.classes()?.get(task.label()).map_or(0, Vec::len),
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

    /// Checks what training on whole utterances needs.
    fn check_whole(&self, batch: usize) -> Result<()> {
        let (what, remedy) = match (self.data.whole, self.loss.target, batch) {
            (true, Target::Future, _) => ("is set, but nothing is learned from labels", "use loss.target = \"phones\""),
            (true, _, 2..) => ("is set, but a batch has several utterances", "use train.batch = 1"),
            _ => return Ok(()),
        };
        Err(Error::config("data.whole", what, remedy))
    }

    /// Training utterances that cannot be learned from: without the label, or not as a whole.
    fn unusable(&self, corpus: &Corpus, convs: &[ConvSpec]) -> BTreeSet<usize> {
        let usable = |u: &Utterance| {
            let len = Crop::whole(0, u.len).len;
            let labeled = self.loss.target != Target::Phones || corpus.labels().is_some_and(|l| l.get(&u.id).is_some());
            labeled && label_frames(len) > 0 && label_slots(convs, len).is_ok()
        };
        let column = self.loss.target.column().and_then(|name| corpus.columns().get(name));
        let unlabeled = |u: usize| column.is_some_and(|column| column.labels[u] < 0);
        let train = corpus.split(corpus::Split::Train).iter().copied();
        train.filter(|u| unlabeled(*u) || self.data.whole && !usable(&corpus.utterances()[*u])).collect()
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
            // Training on whole utterances takes them in this order.
            let set = if self.data.whole { corpus.listed(split) } else { corpus.split(split) };
            set.iter().map(move |u| (part, corpus.utterances()[*u].id.clone()))
        });
        let ids = ids.chain(held_out.iter().map(|u| ("held out", corpus.utterances()[*u].id.clone())));
        Ok(DatasetRecord {
            trained_on: TrainedOn::new(corpus.root(), corpus.digest()),
            splits_digest: splits_digest(ids),
            mean: vec![standardize.mean()],
            std: vec![standardize.std()],
            epoch_steps,
            classes: names(corpus),
            silence: corpus.labels().and_then(PhoneLabels::silence),
            time: Some(self.time_axis()?),
        })
    }

    /// Times of features and frames.
    ///
    /// # Errors
    /// When the convolutions cannot be used.
    pub(crate) fn time_axis(&self) -> Result<TimeAxis> {
        let fields = FeatureExtractor::new(&self.network)?;
        let field = |f: &ReceptiveField| Field { hop: f.hop, length: f.field, center: f.center };
        Ok(TimeAxis {
            rate: RATE,
            hop: LABEL_HOP,
            first_center: label_center(0),
            fields: fields.fields().iter().map(field).collect(),
        })
    }
}

/// Names of the classes of all kinds of labels; phones without names are numbered.
fn names(corpus: &Corpus) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::from([(Task::Speakers.label().to_owned(), corpus.speakers().to_vec())]);
    if let Some(phones) = corpus.labels() {
        let numbers = || (0..phones.n_classes()).map(|c| c.to_string()).collect();
        names.insert(Task::Phones.label().to_owned(), phones.names().map_or_else(numbers, <[_]>::to_vec));
    }
    names.extend(corpus.columns().classes());
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
        folder_of(
            &self.data.path,
            &self.data.manifest,
            "speech",
            &[Embedded::SyntheticSpeech, Embedded::RecordedSpeech],
            what,
        )
    }

    fn held_out(&self) -> &HeldOut {
        &self.data.validate
    }

    fn views(&self) -> usize {
        self.data.views
    }

    fn check_views(&self) -> Result<()> {
        let AudioData { views, whole, augment, .. } = &self.data;
        augment.check()?;
        if *whole && (*views > 1 || !augment.is_off()) {
            let what = "is set, but whole utterances have one view, as they are";
            return Err(Error::config("data.whole", what, "use data.views = 1 without data.augment, or crops"));
        }
        if augment.tempo > 0.0 && self.loss.target == Target::Phones {
            let what = "moves frames, but the labels of phones stay where they are";
            return Err(Error::config("data.augment.tempo", what, "use 0, or another loss.target"));
        }
        Ok(())
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Phones, Task::Speakers]
    }

    fn classes(&self) -> Result<BTreeMap<String, Vec<String>>> {
        Ok(names(&self.corpus()?))
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
        self.check_whole(train.batch)?;
        let convs = self.network.convs()?;
        let corpus = Arc::new(self.corpus()?);
        if let (Target::Phones, Some(phones)) = (self.loss.target, corpus.labels()) {
            check_labels(&corpus, phones)?;
        }
        let id = |u: usize| corpus.utterances()[u].id.clone();
        let held_out = self.data.validate.of(corpus.split(corpus::Split::Train), id, train.seed)?;
        let measured = corpus.check_and_measure(&held_out)?;
        let standardize = record.map_or(Ok(measured), standardize_of)?;
        let unusable = self.unusable(&corpus, &convs);
        let crops = CropConfig {
            batch: train.batch,
            views: self.data.views,
            augment: self.data.augment,
            len: self.data.crop,
            seed: train.seed,
            whole: self.data.whole,
            short: self.data.short,
            held_out: &held_out | &unusable,
            cache_mb: self.data.cache_mb,
            ..CropConfig::default()
        };
        let loader = CropLoader::start(Arc::clone(&corpus), standardize, &crops, first)?;
        let before = record;
        let record = self.record(&corpus, &standardize, &held_out, loader.epoch_len())?;
        self.data.validate.check(before, &record)?;
        let key = Key::new(held_out::draw_seed(train.seed), Purpose::Crop);
        let AudioData { whole, short, crop: samples, augment, .. } = self.data;
        let views = if self.needs_views()? { self.data.views } else { 1 };
        let len = |u: usize| corpus.utterances()[u].len;
        let long_enough =
            |u: &usize| !unusable.contains(u) && (whole || short == ShortPolicy::Pad || len(*u) >= samples);
        let crop = |u, view: usize| match whole {
            true => Crop::whole(u, len(u)),
            false => {
                let place = if augment.same_crop { 0 } else { view };
                Crop::draw(u, len(u), samples, key.with_item(u as u32).with_module(place as u32))
            }
        };
        let mut utterances: Vec<usize> = held_out.into_iter().filter(long_enough).collect();
        utterances.truncate(held_out::measurable(
            utterances.len(),
            train.batch,
            self.loss.settings.least_items(self.loss.kind()?),
        ));
        let crops = |u| (0..views).map(move |view| crop(u, view));
        let crops = utterances.into_iter().flat_map(crops).collect();
        let held_out = HeldOutCrops { crops, views, augment, key };
        let (target, batch, crop, unusable) =
            (self.loss.target, train.batch, (!whole).then_some(samples), unusable.len());
        Ok(Box::new(SpeechBatches {
            corpus,
            standardize,
            loader,
            target,
            convs,
            record,
            held_out,
            batch,
            crop,
            unusable,
        }))
    }

    fn extractor(&self, record: &DatasetRecord, _: usize) -> Result<Box<dyn Extractor>> {
        Ok(Box::new(SpeechExtractor::new(self, self.corpus()?, record, Level::Frame)?))
    }

    fn reads(&self, path: &Path) -> bool {
        corpus::is_audio(path)
    }

    fn extractor_of(
        &self,
        record: &DatasetRecord,
        files: LooseFiles,
        level: Level,
        _: usize,
    ) -> Result<Box<dyn Extractor>> {
        let corpus = Corpus::of_files(&files.root, files.files, files.skip_bad)?;
        Ok(Box::new(SpeechExtractor::new(self, corpus, record, level)?))
    }

    fn synthetic_labels(&self, batch: usize) -> Arc<[i32]> {
        let batch = batch * self.data.views;
        let n = match self.loss.target {
            Target::Future => 0,
            Target::Phones => batch * n_slots(self.data.crop),
            Target::Speakers | Target::Column(_) => batch,
        };
        vec![0; n].into()
    }
}

impl ModelSpec for AudioConfig {
    fn input(&self, batch: usize) -> Result<Shape> {
        Ok(Shape::sequence(batch * self.data.views, self.data.crop, 1))
    }

    fn size_of(&self, x: Shape) -> Result<StepSize> {
        size::of_speech(&self.network, &self.loss, x)
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

    fn is_end_to_end(&self) -> bool {
        self.network.kind == NetworkKind::Cpc
    }

    fn compared(&self) -> Option<Compared> {
        let estimated = self.loss.settings.infonce.estimator == Estimator::InfoNce;
        let LossConfig { prediction_steps, negatives, .. } = self.loss;
        (estimated && matches!(self.loss_kind(), Ok(LossKind::InfoNce)))
            .then_some(Compared { prediction_steps, negatives })
    }

    fn needs_views(&self) -> Result<bool> {
        Ok(self.loss.settings.needs_views(self.loss.kind()?))
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

    fn method(&self) -> MethodKind {
        MethodKind::new(self.is_end_to_end(), self.loss.target != Target::Future)
    }
}

#[cfg(test)]
mod tests;
