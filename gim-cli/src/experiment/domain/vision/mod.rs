//! Images: configuration of dataset, network and loss.

mod batches;
mod extractor;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use documented::DocumentedFields;
use gim_core::activations::Shape;
use gim_core::loss::{Estimator, LossKind, Supervision};
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};
use gim_eval::Task;
use gim_vision::dataset::augment::Augment;
use gim_vision::dataset::image::{Color, short_side};
use gim_vision::dataset::loader::{ImageLoader, ViewConfig, ViewRecipe, check_sizes};
use gim_vision::dataset::standardize::Standardize;
use gim_vision::dataset::{self, DatasetOptions, ImageDataset};
use gim_vision::features::{CenterCrop, CenterCrops};
use gim_vision::network::{LossConfig, NetworkConfig, NetworkKind, Target};
use serde::{Deserialize, Serialize};

use self::batches::{HeldOutImages, ImageBatches};
use self::extractor::ImageExtractor;
use super::figures::{FigureSpec, MethodKind};
use super::size::{self, StepSize};
use super::{BatchSource, Compared, DatasetSpec, Extractor, ModelSpec, Sections, columns, folder_of, given};
use crate::experiment::cache_folder::index_of;
use crate::experiment::dataset_record::{DatasetRecord, splits_digest};
use crate::experiment::embedded::Embedded;
use crate::experiment::environment::TrainedOn;
use crate::experiment::held_out::{self, HeldOut};
use crate::experiment::input::{Level, LooseFiles};
use crate::experiment::train_config::TrainConfig;

/// The dataset, and how its images are cut; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct VisionData {
    /// Folder of the dataset. Empty: `GIM_DATA`.
    /// `embedded`: the embedded dataset.
    pub path: String,
    /// Table that lists the files: `path`, `split`, `class`, and labels of any kind by column. Paths begin at
    /// `data.path`, else at the table. Empty: all files in the folder.
    pub manifest: String,
    /// Table of labels of images, a kind a column. Empty: `labels.csv` in the folder, if it is there.
    pub labels: String,
    /// Views of each image in a training batch: 1, or 2 for a loss that compares views. `train.batch` counts
    /// images.
    pub views: usize,
    /// Side of the square that is cut out, in pixels: at random in training, in the middle for
    /// features.
    pub crop: usize,
    /// Images are resized so that their shorter side is this, in pixels; 0 leaves them as they are.
    pub short_side: usize,
    /// Pixels mirrored at each edge before a random crop.
    pub pad: usize,
    /// Half of the training views are mirrored.
    pub flip: bool,
    /// `grayscale` or `rgb`.
    pub color: Color,
    /// Leave out images that cannot be read or whose label is out of range, and list them.
    pub skip_bad: bool,
    /// Training images held out to validate on: a share such as 0.2, or a file that lists them; 0
    /// for none.
    pub validate: HeldOut,
    /// Decoded images kept in memory, in MB.
    pub cache_mb: usize,
    /// What else is done to training views; features see none of it.
    pub augment: Augment,
}

impl VisionData {
    /// How training views are made.
    fn recipe(&self) -> ViewRecipe {
        let Self { crop, flip, pad, augment, .. } = *self;
        ViewRecipe { crop, flip, pad, augment }
    }
}

impl Default for VisionData {
    fn default() -> Self {
        Self {
            path: String::new(),
            manifest: String::new(),
            labels: String::new(),
            views: 1,
            crop: 64,
            short_side: 0,
            pad: 0,
            flip: true,
            color: Color::Grayscale,
            skip_bad: false,
            validate: HeldOut::default(),
            cache_mb: 1024,
            augment: Augment::default(),
        }
    }
}

/// The configuration of images; the default is the paper's.
pub(crate) type VisionConfig = Sections<VisionData, NetworkConfig, LossConfig>;

impl VisionConfig {
    fn dataset(&self) -> Result<Arc<dyn ImageDataset>> {
        let mut options = self.options(self.data.skip_bad);
        if !self.data.skip_bad {
            // Training may pad images that are too small.
            options.min_side = 0;
        }
        let folder = self.folder()?;
        options.index = index_of(&folder);
        dataset::open(&folder, &options)
    }

    /// Features see the middle of images without padding: an image that is only large enough with it
    /// could not be probed.
    fn options(&self, skip_bad: bool) -> DatasetOptions {
        let VisionData { crop, short_side, .. } = self.data;
        let min_side = if short_side == 0 { crop } else { 0 };
        let (manifest, columns) = (given(&self.data.manifest), given(&self.data.labels));
        DatasetOptions { skip_bad, min_side, short_side, manifest, columns, ..DatasetOptions::default() }
    }

    /// Opens the dataset and checks the images' sizes.
    fn open(&self) -> Result<Arc<dyn ImageDataset>> {
        let dataset = self.dataset()?;
        for split in [dataset::Split::Train, dataset::Split::Test] {
            check_sizes(&*dataset, split, self.data.crop, self.data.short_side)?;
        }
        Ok(dataset)
    }

    /// The standardization of a run.
    fn standardize_of(&self, record: &DatasetRecord) -> Result<Standardize> {
        Standardize::given(self.data.color, &record.mean, &record.std)
    }

    /// What a run keeps of the dataset.
    fn record(
        dataset: &dyn ImageDataset,
        standardize: &Standardize,
        held_out: &BTreeSet<usize>,
        epoch_steps: u64,
    ) -> DatasetRecord {
        let parts = [
            ("unlabeled", dataset::Split::Unlabeled),
            ("train", dataset::Split::Train),
            ("test", dataset::Split::Test),
        ];
        let ids = parts
            .into_iter()
            .flat_map(|(part, split)| dataset.split(split).iter().map(move |i| (part, dataset.id(*i))));
        let ids = ids.chain(held_out.iter().map(|i| ("held out", dataset.id(*i))));
        DatasetRecord {
            trained_on: TrainedOn::new(dataset.root(), dataset.digest()),
            splits_digest: splits_digest(ids),
            mean: standardize.mean().to_vec(),
            std: standardize.std().to_vec(),
            epoch_steps,
            classes: names(dataset),
            silence: None,
            time: None,
        }
    }

    fn images(&self, n: usize) -> Shape {
        let crop = self.data.crop;
        Shape { batch: n, height: crop, width: crop, channels: self.data.color.channels() }
    }

    /// The dataset's images as features see them.
    fn crops(&self, record: &DatasetRecord) -> Result<CenterCrops> {
        self.crops_of(self.open()?, self.standardize_of(record)?)
    }

    fn crops_of(&self, dataset: Arc<dyn ImageDataset>, standardize: Standardize) -> Result<CenterCrops> {
        let VisionData { crop, short_side, color, .. } = self.data;
        CenterCrops::new(dataset, standardize, CenterCrop { side: crop, short_side, color }, &self.network)
    }
}

/// Names of the classes of all kinds of labels.
fn names(dataset: &dyn ImageDataset) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<_, _> = dataset.columns().classes().collect();
    if !dataset.classes().is_empty() {
        names.insert(Task::Classes.label().to_owned(), dataset.classes().to_vec());
    }
    names
}

impl DatasetSpec for VisionConfig {
    fn folder(&self) -> Result<PathBuf> {
        let what = "a folder of images: STL-10, CIFAR, IDX files or class folders";
        folder_of(&self.data.path, &self.data.manifest, "imagenette96", &[Embedded::Clothes], what)
    }

    fn held_out(&self) -> &HeldOut {
        &self.data.validate
    }

    fn views(&self) -> usize {
        self.data.views
    }

    fn check_views(&self) -> Result<()> {
        self.data.augment.check()
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Classes]
    }

    fn classes(&self) -> Result<BTreeMap<String, Vec<String>>> {
        Ok(names(&*self.dataset()?))
    }

    fn digest(&self) -> Result<TrainedOn> {
        let dataset = self.dataset()?;
        Ok(TrainedOn::new(dataset.root(), dataset.digest()))
    }

    fn batch_source(
        &self,
        train: &TrainConfig,
        first: u64,
        record: Option<&DatasetRecord>,
    ) -> Result<Box<dyn BatchSource>> {
        let dataset = self.open()?;
        // Damaged images are found before training.
        dataset.check()?;
        let d = &self.data;
        let split = match self.loss.target {
            Target::Future => dataset::Split::Unlabeled,
            Target::Classes | Target::Column(_) => dataset::Split::Train,
        };
        let held_out = d.validate.of(dataset.split(split), |i| dataset.id(i), train.seed)?;
        let standardize = match record {
            Some(record) => self.standardize_of(record)?,
            None => Standardize::measure(&*dataset, d.color, &held_out)?,
        };
        let column = self.loss.target.column();
        let unlabeled = |i: &usize| column.is_some() && dataset.label_in(*i, column) < 0;
        let unusable: BTreeSet<usize> = dataset.split(split).iter().copied().filter(unlabeled).collect();
        let views = ViewConfig {
            batch: train.batch,
            views: d.views,
            crop: d.crop,
            flip: d.flip,
            augment: d.augment,
            color: d.color,
            pad: d.pad,
            short_side: d.short_side,
            skip_bad: d.skip_bad,
            keep_last: self.loss.target != Target::Future,
            held_out: &held_out | &unusable,
            column,
            seed: train.seed,
            cache_mb: d.cache_mb,
            // Decoding a batch of large images takes longer than training on it.
            threads: rayon::current_num_threads(),
            ..ViewConfig::default()
        };
        let loader = ImageLoader::start(Arc::clone(&dataset), standardize, &views, split, first)?;
        let (patches, image, batch) = (self.network.patches()?, self.images(1), train.batch);
        let before = record;
        let record = Self::record(&*dataset, &standardize, &held_out, loader.epoch_len());
        d.validate.check(before, &record)?;
        let large_enough = |i: &usize| {
            let (height, width) = short_side(dataset.size(*i), d.short_side);
            height.min(width) + 2 * d.pad >= d.crop
        };
        let views = if self.needs_views()? { d.views } else { 1 };
        let mut items: Vec<usize> =
            held_out.into_iter().filter(large_enough).filter(|i| !unusable.contains(i)).collect();
        items.truncate(held_out::measurable(items.len(), batch, self.loss.settings.least_items(self.loss.kind()?)));
        let held_out = HeldOutImages {
            items,
            crops: self.crops_of(Arc::clone(&dataset), standardize)?,
            views,
            standardize,
            data: d.clone(),
            seed: held_out::draw_seed(train.seed),
            target: self.loss.target,
        };
        let unusable = unusable.len();
        Ok(Box::new(ImageBatches { dataset, loader, patches, image, batch, record, held_out, unusable }))
    }

    fn extractor(&self, record: &DatasetRecord, pooling: usize) -> Result<Box<dyn Extractor>> {
        Ok(Box::new(ImageExtractor::new(self.crops(record)?, &self.data, Level::Image, pooling)))
    }

    fn reads(&self, path: &Path) -> bool {
        dataset::is_image(path)
    }

    fn extractor_of(
        &self,
        record: &DatasetRecord,
        files: LooseFiles,
        level: Level,
        pooling: usize,
    ) -> Result<Box<dyn Extractor>> {
        let dataset = dataset::of_files(&files.root, files.files, &self.options(files.skip_bad))?;
        let crops = self.crops_of(dataset, self.standardize_of(record)?)?;
        Ok(Box::new(ImageExtractor::new(crops, &self.data, level, pooling)))
    }

    fn synthetic_labels(&self, batch: usize) -> Arc<[i32]> {
        vec![0; if self.loss.target == Target::Future { 0 } else { batch * self.data.views }].into()
    }
}

impl ModelSpec for VisionConfig {
    fn input(&self, batch: usize) -> Result<Shape> {
        let patches = self.network.patches_for(self.data.crop, self.loss.need()?)?;
        Ok(patches.shape(self.images(batch * self.data.views)))
    }

    fn size_of(&self, x: Shape) -> Result<StepSize> {
        size::of_images(&self.network, &self.loss, x)
    }

    fn build(
        &self,
        record: Option<&DatasetRecord>,
        optimizer: &OptimizerConfig,
        seed: u64,
        pool: &Pool<f32>,
    ) -> Result<Stack<f32>> {
        let channels = self.data.color.channels();
        let supervision = match self.loss.target {
            Target::Future => None,
            Target::Column(name) => {
                let classes = match record {
                    Some(record) => record.classes.clone(),
                    None => self.classes()?,
                };
                Some(columns::supervision(name, &classes, &self.folder()?)?)
            }
            Target::Classes => {
                let classes = match record {
                    Some(record) => record.n_classes(Task::Classes),
                    None => self.dataset()?.classes().len(),
                };
                if classes < 2 {
                    let what = format!("has {classes} classes: there is nothing to learn from labels");
                    return Err(Error::file(self.folder()?, what, "use loss.target = \"future\""));
                }
                Some(Supervision { classes, bins: Some(1) })
            }
        };
        self.network.build(self.data.crop, channels, &self.loss, supervision, optimizer, seed, pool)
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

impl FigureSpec for VisionConfig {
    fn input_name(&self) -> String {
        let (n, p) = (self.data.crop, self.network.patch);
        if n == p { format!("images, {n} × {n}") } else { format!("images, {n} × {n}, as patches of {p} × {p}") }
    }

    fn size_name(&self) -> String {
        format!("widths {:?}", self.network.widths)
    }

    fn method(&self) -> MethodKind {
        MethodKind::new(self.is_end_to_end(), self.loss.target != Target::Future)
    }

    fn center_crops(&self, record: &DatasetRecord) -> Result<Option<CenterCrops>> {
        self.crops(record).map(Some)
    }
}
