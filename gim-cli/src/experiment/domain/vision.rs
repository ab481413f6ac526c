//! Pictures: random views cut into patches; features are means over the grid of patches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::data::loader::LoaderStats;
use gim_core::kernels::on_pool_thread;
use gim_core::loss::Supervision;
use gim_core::module::Mode;
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Pool, Result};
use gim_eval::{GroupId, LabelSpec, Per, Split, Task};
use gim_vision::dataset::image::{Colour, Picture};
use gim_vision::dataset::loader::{ImageLoader, ViewConfig, centre_view, check_sizes, small_view};
use gim_vision::dataset::standardize::Standardize;
use gim_vision::dataset::{self, CorpusOptions, ImageCorpus};
use gim_vision::layers::patches::Patches;
use gim_vision::network::{LossConfig, NetworkConfig, NetworkKind, Target};
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::{BatchSource, DomainName, Experiment, Extracted, Extractor, Sections, folder, method};
use crate::experiment::train_config::TrainConfig;

/// Where the pictures come from, and how they are looked at; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VisionData {
    /// Folder of the corpus; empty for `GIM_DATA`, then the embedded corpus; `embedded` for that one whatever `GIM_DATA` is.
    pub path: String,
    /// Side of the square cut out: at random in training, in the middle for features.
    pub crop: usize,
    /// Pictures are resized so that their shorter side is this; 0 leaves them as they are.
    pub short_side: usize,
    /// Pixels mirrored at each edge before a random crop.
    pub pad: usize,
    /// Half of the training views are mirrored.
    pub flip: bool,
    /// `grey` or `rgb`.
    pub colour: Colour,
    /// Go on without pictures that cannot be read or whose label is out of range, and list them.
    pub skip_bad: bool,
    /// Decoded pictures kept in memory, MB.
    pub cache_mb: usize,
}

impl Default for VisionData {
    fn default() -> Self {
        Self {
            path: String::new(),
            crop: 64,
            short_side: 0,
            pad: 0,
            flip: true,
            colour: Colour::Grey,
            skip_bad: false,
            cache_mb: 1024,
        }
    }
}

/// The configuration of pictures; the default is the paper's.
pub type VisionConfig = Sections<VisionData, NetworkConfig, LossConfig>;

/// Side of the raw pictures that a probe sees as a baseline.
const RAW_SIDE: usize = 32;
/// Pictures whose features are computed together.
const TOGETHER: usize = 16;

impl VisionConfig {
    fn corpus(&self) -> Result<Arc<dyn ImageCorpus>> {
        let d = &self.data;
        // Features look at the middle of pictures as they are: what is only large enough with margins could not be probed.
        let min_side = if d.skip_bad && d.short_side == 0 { d.crop } else { 0 };
        let options = CorpusOptions { skip_bad: self.data.skip_bad, min_side, ..CorpusOptions::default() };
        dataset::open(&self.folder()?, &options)
    }

    /// With `check`, only once all pictures have been read: a damaged one is found before work is done.
    fn open(&self, check: bool) -> Result<(Arc<dyn ImageCorpus>, Standardize)> {
        let corpus = self.corpus()?;
        for split in [Split::Train, Split::Test] {
            check_sizes(&*corpus, split, self.data.crop, self.data.short_side)?;
        }
        if check {
            corpus.check()?;
        }
        let standardize = Standardize::measure(&*corpus, self.data.colour)?;
        Ok((corpus, standardize))
    }

    fn pictures(&self, n: usize) -> Shape {
        let crop = self.data.crop;
        Shape { items: n, steps: crop, cols: crop, channels: self.data.colour.channels() }
    }

    /// Looks at pictures of the corpus as features are computed.
    ///
    /// # Errors
    /// When the corpus cannot be used.
    pub fn view(&self) -> Result<View> {
        let (corpus, standardize) = self.open(false)?;
        Ok(View { config: self.clone(), corpus, standardize, patches: self.network.patches()? })
    }
}

/// The corpus as features see it: views from the middle.
pub struct View {
    config: VisionConfig,
    corpus: Arc<dyn ImageCorpus>,
    standardize: Standardize,
    patches: Patches,
}

impl View {
    /// The corpus.
    pub fn corpus(&self) -> &dyn ImageCorpus {
        &*self.corpus
    }

    /// How pictures are cut.
    pub fn patches(&self) -> Patches {
        self.patches
    }

    /// The middle of a picture, in its own colours.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn picture(&self, i: usize) -> Result<Picture> {
        let picture = self.corpus.read(i)?;
        let side = self.config.data.short_side;
        let picture = if side > 0 { picture.with_short_side(side) } else { picture };
        Ok(picture.centre(self.config.data.crop))
    }

    /// Features of the patches of some pictures in each module of a stack, (pictures · patches, channels).
    ///
    /// # Errors
    /// When a picture is too small.
    pub fn patch_features(
        &self,
        pictures: &[Picture],
        stack: &mut Stack<f32>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Array2<f32>>> {
        let data = &self.config.data;
        let mut pixels = Vec::new();
        for picture in pictures {
            pixels.extend(centre_view(picture, data.crop, data.colour, &self.standardize)?);
        }
        let shape = self.config.pictures(pictures.len());
        let layouts = stack.layouts(self.patches.shape(shape))?;
        let mut x = self.patches.cut(&pixels, shape, layouts[0], pool).detach();
        let positions = layouts[0].shape.items;
        let inside = self.config.network.kind == NetworkKind::Cpc;
        let mut out = Vec::new();
        for (i, module) in stack.modules_mut().iter_mut().enumerate() {
            let mode = if inside { Mode::Learn } else { Mode::Frozen };
            on_pool_thread(|| module.forward(&x, layouts[i + 1], mode));
            let mut keep = |a: &Activations<f32>| out.push(per_patch(a, positions));
            if inside {
                // As published, CPC is judged at its encoder: contexts see nothing below their row.
                module.layer_outputs().into_iter().take(self.config.network.blocks.len()).for_each(|(_, a)| keep(a));
            } else {
                keep(module.features());
            }
            x = module.output();
            module.release();
        }
        Ok(out)
    }
}

/// Activations of the patches (or of a grid of patches) as one row per patch: means over whatever pixels there are.
fn per_patch(a: &Activations<f32>, positions: usize) -> Array2<f32> {
    let c = a.shape().channels;
    let pixels = a.shape().positions() / positions;
    let dense = a.to_vec();
    let mut out = Array2::zeros((positions, c));
    for (row, mut to) in dense.chunks_exact(pixels * c).zip(out.outer_iter_mut()) {
        for pixel in row.chunks_exact(c) {
            to.iter_mut().zip(pixel).for_each(|(t, p)| *t += *p);
        }
        to /= pixels as f32;
    }
    out
}

struct ImageBatchSource {
    corpus: Arc<dyn ImageCorpus>,
    loader: ImageLoader,
    patches: Patches,
    pictures: Shape,
}

impl BatchSource for ImageBatchSource {
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
        Ok((self.patches.cut(&batch.data, self.pictures, layout, pool), batch.labels.into()))
    }

    fn stats(&self) -> LoaderStats {
        self.loader.stats()
    }
}

impl Experiment for VisionConfig {
    fn name(&self) -> DomainName {
        DomainName::Vision
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Classes]
    }

    fn baseline(&self) -> GroupId {
        GroupId::Pixels
    }

    fn input(&self, batch: usize) -> Result<Shape> {
        let patches = self.network.patches()?;
        patches.check(self.data.crop, self.data.crop, self.loss.need())?;
        Ok(patches.shape(self.pictures(batch)))
    }

    fn build(&self, optimizer: &OptimizerConfig, seed: u64, pool: &Pool<f32>) -> Result<Stack<f32>> {
        let channels = self.data.colour.channels();
        let supervision = match self.loss.target {
            Target::Future => None,
            Target::Classes => Some(Supervision { classes: self.corpus()?.classes().len(), bins: 1 }),
        };
        self.network.build(self.data.crop, channels, &self.loss, supervision, optimizer, seed, pool)
    }

    fn batch_source(&self, train: &TrainConfig, first: u64) -> Result<Box<dyn BatchSource>> {
        let (corpus, standardize) = self.open(true)?;
        let d = &self.data;
        let views = ViewConfig {
            batch: train.batch,
            crop: d.crop,
            flip: d.flip,
            colour: d.colour,
            pad: d.pad,
            short_side: d.short_side,
            skip_bad: d.skip_bad,
            seed: train.seed,
            cache_mb: d.cache_mb,
            // Large pictures take longer to decode than a step takes to learn from them.
            threads: rayon::current_num_threads(),
            ..ViewConfig::default()
        };
        let split = match self.loss.target {
            Target::Future => Split::Unlabeled,
            Target::Classes => Split::Train,
        };
        let loader = ImageLoader::start(Arc::clone(&corpus), standardize, &views, split, first)?;
        let (patches, pictures) = (self.network.patches()?, self.pictures(train.batch));
        Ok(Box::new(ImageBatchSource { corpus, loader, patches, pictures }))
    }

    fn extractor(&self) -> Result<Box<dyn Extractor>> {
        let view = self.view()?;
        let part = |split, as_| view.corpus.split(split).iter().map(move |i| (*i, as_)).collect::<Vec<_>>();
        let mut items = part(Split::Train, Split::Train);
        items.extend(part(Split::Test, Split::Test));
        items.sort_by_key(|i| i.0);
        Ok(Box::new(PictureExtractor { view, items }))
    }

    fn folder(&self) -> Result<PathBuf> {
        folder(&self.data.path, "imagenette96", "fashion-mini")
    }

    fn synthetic_labels(&self, batch: usize) -> Arc<[i32]> {
        vec![0; if self.loss.target == Target::Future { 0 } else { batch }].into()
    }

    fn negatives(&self) -> Option<usize> {
        (self.loss.target == Target::Future).then_some(self.loss.negatives)
    }

    fn input_name(&self) -> String {
        let (n, p) = (self.data.crop, self.network.patch);
        format!("pictures, {n} × {n}, as patches of {p} × {p}")
    }

    fn size_name(&self) -> String {
        format!("widths {:?}", self.network.widths)
    }

    fn method(&self) -> String {
        method(self.network.kind == NetworkKind::Cpc, self.loss.target != Target::Future)
    }

    fn sections(&self) -> [(&'static str, String); 3] {
        self.to_toml()
    }
}

struct PictureExtractor {
    view: View,
    items: Vec<(usize, Split)>,
}

impl Extractor for PictureExtractor {
    fn items(&self) -> &[(usize, Split)] {
        &self.items
    }

    fn id(&self, item: usize) -> String {
        self.view.corpus.id(item)
    }

    fn batch(&self) -> usize {
        TOGETHER
    }

    fn labels(&self) -> Vec<LabelSpec> {
        vec![LabelSpec {
            task: Task::Classes.label().into(),
            per: Per::Item,
            classes: self.view.corpus.classes().len(),
        }]
    }

    fn digest(&self) -> &str {
        self.view.corpus.digest()
    }

    fn root(&self) -> &Path {
        self.view.corpus.root()
    }

    fn noun(&self) -> &'static str {
        "pictures"
    }

    fn extract(
        &mut self,
        items: &[usize],
        trained: &mut Stack<f32>,
        random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Option<Extracted>>> {
        let pictures = items.iter().map(|i| self.view.picture(*i)).collect::<Result<Vec<_>>>()?;
        let mut groups = self.view.patch_features(&pictures, trained, pool)?;
        let baselines = random.is_some();
        if let Some(random) = random {
            groups.extend(self.view.patch_features(&pictures, random, pool)?);
        }
        let mut out = Vec::new();
        for (n, (i, picture)) in items.iter().zip(&pictures).enumerate() {
            let mean = |all: &Array2<f32>| {
                let rows = all.nrows() / items.len();
                let part: ArrayView2<'_, f32> = all.slice(ndarray::s![n * rows..(n + 1) * rows, ..]);
                part.mean_axis(Axis(0)).unwrap_or_default().insert_axis(Axis(0))
            };
            let mut features: Vec<Array2<f32>> = groups.iter().map(mean).collect();
            if baselines {
                let raw = small_view(picture, RAW_SIDE, self.view.config.data.colour, &self.view.standardize)?;
                features.push(Array2::from_shape_fn((1, raw.len()), |(_, j)| raw[j]));
            }
            let label = self.view.corpus.label(*i).map_or(-1, |l| l as i32);
            out.push(Some(Extracted { id: self.view.corpus.id(*i), groups: features, labels: vec![vec![label]] }));
        }
        Ok(out)
    }
}
