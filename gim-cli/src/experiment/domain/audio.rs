//! Speech: crops of utterances; features on the 10 ms grid of the phone labels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_audio::dataset::corpus::{Corpus, CorpusOptions, MissingPolicy};
use gim_audio::dataset::loader::{CropConfig, CropLoader, ShortPolicy};
use gim_audio::dataset::phones::PhoneLabels;
use gim_audio::dataset::standardize::Standardize;
use gim_audio::geometry::{LABEL_HOP, Receptive, label_frames};
use gim_audio::mfcc::{Mfcc, MfccConfig};
use gim_audio::network::{LossConfig, NetworkConfig, NetworkKind, Target};
use gim_core::activations::{Activations, Layout, Shape};
use gim_core::data::loader::LoaderStats;
use gim_core::kernels::on_pool_thread;
use gim_core::link::Packet;
use gim_core::loss::Supervision;
use gim_core::module::Mode;
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};
use gim_eval::{GroupId, LabelSpec, Per, Split, Task};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::{BatchSource, DomainName, Experiment, Extracted, Extractor, Sections, folder, method};
use crate::experiment::train_config::TrainConfig;

/// Where the sound comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioData {
    /// Folder of the corpus; empty for `GIM_DATA`, then the embedded corpus; `embedded` for that one whatever `GIM_DATA` is.
    pub path: String,
    /// Samples of a crop.
    pub crop: usize,
    /// Utterances shorter than a crop: `skip` or `pad`.
    pub short: ShortPolicy,
    /// Split files that name absent utterances: `error` or `ignore`.
    pub missing: MissingPolicy,
    /// Decoded sound kept in memory, MB.
    pub cache_mb: usize,
}

impl Default for AudioData {
    fn default() -> Self {
        Self {
            path: String::new(),
            crop: 20_480,
            short: ShortPolicy::Skip,
            missing: MissingPolicy::Error,
            cache_mb: 512,
        }
    }
}

/// The configuration of sound; the default is the paper's.
pub type AudioConfig = Sections<AudioData, NetworkConfig, LossConfig>;

impl AudioConfig {
    fn corpus(&self) -> Result<Corpus> {
        let options = CorpusOptions { missing: self.data.missing, ..CorpusOptions::default() };
        Corpus::open(&self.folder()?, &options)
    }

    fn open(&self) -> Result<(Arc<Corpus>, Standardize)> {
        let corpus = self.corpus()?;
        let standardize = Standardize::measure(&corpus, Split::Train)?;
        Ok((Arc::new(corpus), standardize))
    }
}

struct AudioBatchSource {
    corpus: Arc<Corpus>,
    loader: CropLoader,
    target: Target,
    /// Samples of a crop.
    crop: usize,
}

impl AudioBatchSource {
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

impl BatchSource for AudioBatchSource {
    fn notes(&self) -> Vec<String> {
        self.corpus.notes().iter().chain(self.loader.notes()).cloned().collect()
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

impl Experiment for AudioConfig {
    fn name(&self) -> DomainName {
        DomainName::Audio
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Phones, Task::Speakers]
    }

    fn baseline(&self) -> GroupId {
        GroupId::Mfcc
    }

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
                Some(Supervision { classes: phones.n_classes(), bins: self.data.crop / LABEL_HOP })
            }
            Target::Speakers => Some(Supervision { classes: self.corpus()?.speakers().len(), bins: 1 }),
        };
        self.network.build(&self.loss, supervision, optimizer, seed, pool)
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
        Ok(Box::new(AudioBatchSource { corpus, loader, target: self.loss.target, crop: self.data.crop }))
    }

    fn extractor(&self) -> Result<Box<dyn Extractor>> {
        let (corpus, standardize) = self.open()?;
        let train = corpus.split(Split::Train).iter().map(|u| (*u, Split::Train));
        let test = corpus.split(Split::Test).iter().map(|u| (*u, Split::Test));
        let mut items: Vec<(usize, Split)> = train.chain(test).collect();
        items.sort_by_key(|i| i.0);
        let convs = self.network.convs()?;
        Ok(Box::new(SoundExtractor {
            items,
            standardize,
            fields: (1..=convs.len()).map(|n| Receptive::of(&convs[..n])).collect(),
            inside: self.network.kind == NetworkKind::Cpc,
            mfcc: Mfcc::new(MfccConfig::default())?,
            corpus,
        }))
    }

    fn folder(&self) -> Result<PathBuf> {
        folder(&self.data.path, "speech", "speech-mini")
    }

    fn synthetic_labels(&self, batch: usize) -> Arc<[i32]> {
        let n = match self.loss.target {
            Target::Future => 0,
            Target::Phones => batch * (self.data.crop / LABEL_HOP),
            Target::Speakers => batch,
        };
        vec![0; n].into()
    }

    fn negatives(&self) -> Option<usize> {
        (self.loss.target == Target::Future).then_some(self.loss.negatives)
    }

    fn input_name(&self) -> String {
        format!("sound, {} samples", self.data.crop)
    }

    fn size_name(&self) -> String {
        format!("{} channels", self.network.width)
    }

    fn method(&self) -> String {
        method(self.network.kind == NetworkKind::Cpc, self.loss.target != Target::Future)
    }

    fn sections(&self) -> [(&'static str, String); 3] {
        self.to_toml()
    }
}

struct SoundExtractor {
    corpus: Arc<Corpus>,
    standardize: Standardize,
    items: Vec<(usize, Split)>,
    /// Where the frames of each convolution look.
    fields: Vec<Receptive>,
    /// The layers inside an end-to-end module are looked at too, so that depths can be compared.
    inside: bool,
    mfcc: Mfcc,
}

/// Samples of the shortest utterance that has a phone label.
const SHORTEST: usize = 400;

impl SoundExtractor {
    /// Features of one utterance, a matrix for each module or, inside an end-to-end module, layer.
    fn features(
        &self,
        stack: &mut Stack<f32>,
        layouts: &[Layout],
        sound: &[f32],
        pool: &Pool<f32>,
    ) -> Vec<Array2<f32>> {
        let slots = label_frames(sound.len());
        let mut packet =
            Packet { x: Activations::from_slice(layouts[0], sound, pool).detach(), step: 0, labels: [].into() };
        let mut out = Vec::new();
        let fields = &self.fields;
        for (i, module) in stack.modules_mut().iter_mut().enumerate() {
            let mode = if self.inside { Mode::Learn } else { Mode::Frozen };
            on_pool_thread(|| module.forward(&packet.x, layouts[i + 1], mode));
            if self.inside {
                for (_, a) in module.layer_outputs() {
                    out.push(on_label_grid(a, &fields[out.len().min(fields.len() - 1)], slots));
                }
            } else {
                out.push(on_label_grid(module.features(), &fields[i.min(fields.len() - 1)], slots));
            }
            packet.x = module.output();
            module.release();
        }
        out
    }
}

impl Extractor for SoundExtractor {
    fn items(&self) -> &[(usize, Split)] {
        &self.items
    }

    fn id(&self, item: usize) -> String {
        self.corpus.utterances()[item].id.clone()
    }

    fn labels(&self) -> Vec<LabelSpec> {
        let mut labels = vec![LabelSpec {
            task: Task::Speakers.label().into(),
            per: Per::Item,
            classes: self.corpus.speakers().len().max(2),
        }];
        if let Some(phones) = self.corpus.labels() {
            labels.push(LabelSpec {
                task: Task::Phones.label().into(),
                per: Per::Frame,
                classes: PhoneLabels::n_classes(phones),
            });
        }
        labels
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
            let sound = self.corpus.whole(*u, &self.standardize)?;
            // Some networks need more than labels do. The random one has the same shapes.
            let layouts = trained.layouts(Shape::sequence(1, sound.len(), 1));
            let (Ok(layouts), true) = (layouts, sound.len() >= SHORTEST) else {
                out.push(None);
                continue;
            };
            let mut groups = self.features(trained, &layouts, &sound, pool);
            if let Some(random) = random.as_deref_mut() {
                groups.extend(self.features(random, &layouts, &sound, pool));
                groups.push(self.mfcc.compute(&sound));
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
}

/// Frames of a tap averaged into each slot of the label grid; a slot without a frame takes the nearest one.
///
/// Label n covers samples 160 n + 119.5 .. 160 n + 279.5 around its centre, frame f is centred at hop·f + centre.
fn on_label_grid(a: &Activations<f32>, receptive: &Receptive, slots: usize) -> Array2<f32> {
    let (frames, channels) = (a.shape().steps, a.shape().channels);
    let (hop, values) = (receptive.hop as f64, a.item(0));
    let first = |sample: f64| ((sample - receptive.centre) / hop).ceil().max(0.0) as usize;
    let mut out = Array2::zeros((slots, channels));
    for (n, mut row) in out.outer_iter_mut().enumerate() {
        let (from, to) = (first(160.0 * n as f64 + 119.5), first(160.0 * n as f64 + 279.5));
        let from = from.min(frames - 1);
        let to = to.clamp(from + 1, frames);
        for f in from..to {
            row.iter_mut().zip(&values[f * channels..]).for_each(|(r, v)| *r += *v);
        }
        row /= (to - from) as f32;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_audio::geometry::PAPER_STACK;

    /// Frames that say where they look must land in the slot of the label made there, to half a hop, for every module.
    #[test]
    fn frames_land_in_the_slot_of_their_time() {
        let samples = 20_480;
        let mut frames = samples;
        for (n, conv) in PAPER_STACK.iter().enumerate() {
            frames = (frames + 2 * conv.padding - conv.kernel) / conv.stride + 1;
            let receptive = Receptive::of(&PAPER_STACK[..=n]);
            let hop = receptive.hop as f64;
            let places: Vec<f32> = (0..frames).map(|f| (hop * f as f64 + receptive.centre) as f32).collect();
            let layout = Layout::dense(Shape::sequence(1, frames, 1));
            let a = Activations::from_slice(layout, &places, &Pool::new());
            let slots = on_label_grid(&a, &receptive, label_frames(samples));
            for (slot, place) in slots.iter().enumerate() {
                let centre = 160.0 * slot as f64 + 199.5;
                assert!((f64::from(*place) - centre).abs() <= hop / 2.0, "module {}, label {slot}: {place}", n + 1);
            }
        }
    }
}
