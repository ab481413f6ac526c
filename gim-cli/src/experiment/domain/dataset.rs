//! The dataset of a domain: folder, training batches, features and labels.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_core::activations::{Activations, Shape};
use gim_core::data::LoaderStats;
use gim_core::stack::{LayoutPlans, Stack};
use gim_core::{Error, Key, Pool, Result};
use gim_eval::{GroupId, LabelSpec, Per, Split, Task};
use ndarray::{Array2, Axis};

use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::environment::TrainedOn;
use crate::experiment::held_out::HeldOut;
use crate::experiment::input::{Level, LooseFiles};
use crate::experiment::train_config::TrainConfig;

/// The dataset of a configuration.
pub trait DatasetSpec {
    /// Folder of the dataset.
    ///
    /// # Errors
    /// When no folder is given and the embedded dataset is not there.
    fn folder(&self) -> Result<PathBuf>;

    /// What is held out of training.
    fn held_out(&self) -> &HeldOut;

    /// Views of each item in a training batch.
    fn views(&self) -> usize;

    /// Checks settings of views against each other.
    ///
    /// # Errors
    /// Names a setting that does not fit.
    fn check_views(&self) -> Result<()>;

    /// Names of the tasks that probes can be trained for.
    fn tasks(&self) -> &'static [Task];

    /// Whether items are utterances of known speakers.
    fn has_speakers(&self) -> bool {
        self.tasks().contains(&Task::Speakers)
    }

    /// Names of the classes of all kinds of labels, by their name in feature files. Reads no more of the dataset
    /// than its listing.
    ///
    /// # Errors
    /// When the dataset cannot be opened.
    fn classes(&self) -> Result<BTreeMap<String, Vec<String>>>;

    /// Folder and digest of the dataset. Reads no more of it than its listing.
    ///
    /// # Errors
    /// When the dataset cannot be used.
    fn digest(&self) -> Result<TrainedOn>;

    /// Opens the dataset, reads all its files and starts making the batches of steps `first`,
    /// `first + 1`, … A run that resumes gives its `record`, whose standardization is kept; else the
    /// training split is measured.
    ///
    /// # Errors
    /// When the dataset cannot be used.
    fn batch_source(
        &self,
        train: &TrainConfig,
        first: u64,
        record: Option<&DatasetRecord>,
    ) -> Result<Box<dyn BatchSource>>;

    /// Opens the dataset for features, which are standardized as in the run of `record`. Maps of images are
    /// averaged to `pooling` rows and columns; 1 for their mean.
    ///
    /// # Errors
    /// When the dataset cannot be used.
    fn extractor(&self, record: &DatasetRecord, pooling: usize) -> Result<Box<dyn Extractor>>;

    /// Whether a file's name is that of one that [`Self::extractor_of`] reads.
    fn reads(&self, path: &Path) -> bool;

    /// Checks files that belong to no dataset, for features of this level, which are otherwise as those of
    /// [`Self::extractor`].
    ///
    /// # Errors
    /// When files cannot be used: all are named. With `files.skip_bad`, when none can.
    fn extractor_of(
        &self,
        record: &DatasetRecord,
        files: LooseFiles,
        level: Level,
        pooling: usize,
    ) -> Result<Box<dyn Extractor>>;

    /// Labels of a batch of so many items for measurements without a dataset: class 0 everywhere; empty
    /// without supervision.
    fn synthetic_labels(&self, batch: usize) -> Arc<[i32]>;
}

/// Training batches, for whichever thread the first module is on.
pub trait BatchSource: Send {
    /// Notes on the data for the user.
    fn notes(&self) -> Vec<String>;

    /// What a run keeps of the dataset.
    fn record(&self) -> &DatasetRecord;

    /// Steps of an epoch.
    fn epoch_len(&self) -> u64;

    /// Shapes of all inputs that there may be, in training and of held-out items.
    fn shapes(&self) -> Vec<Shape>;

    /// The input of the next step, stored as `plans` say for its shape, and its labels (−1 unknown),
    /// if there are any.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn next(&mut self, plans: &LayoutPlans, pool: &Pool<f32>) -> Result<(Activations<f32>, Arc<[i32]>)>;

    /// Goes to the batch of step `step`: [`Self::next`] gives it, and then those after it.
    ///
    /// # Errors
    /// When the system has no more threads.
    fn seek(&mut self, step: u64) -> Result<()>;

    /// Items that are held out of training.
    fn held_out(&self) -> usize;

    /// Input and labels of some of them, up to a batch: one view of each item without augmentation; for a loss
    /// that compares views, two as [`Self::next`] gives them. Always the same for the same items.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn held_out_batch(
        &self,
        items: Range<usize>,
        plans: &LayoutPlans,
        pool: &Pool<f32>,
    ) -> Result<(Activations<f32>, Arc<[i32]>)>;

    /// Waits and memory so far.
    fn stats(&self) -> LoaderStats;
}

/// Features and labels of an item, or of some rows of a long one.
pub struct Extracted {
    /// Its name.
    pub id: String,
    /// A matrix (rows, dims) for each group: the modules; with baselines the random encoder's
    /// modules and the input itself; then what [`Self::concatenate`] adds.
    pub groups: Vec<Array2<f32>>,
    /// Labels in the order of [`Extractor::labels`]: one a row, or a single one of the item.
    pub labels: Vec<Vec<i32>>,
    /// Whether more rows of the item follow.
    pub more: bool,
}

impl Extracted {
    /// Appends the rows that follow; `specs` are [`Extractor::labels`].
    fn extend(&mut self, next: Self, specs: &[LabelSpec]) -> Result<()> {
        for (rows, next) in self.groups.iter_mut().zip(&next.groups) {
            rows.append(Axis(0), next.view()).map_err(|e| Error::internal("parts of an item", e))?;
        }
        for ((labels, next), spec) in self.labels.iter_mut().zip(next.labels).zip(specs) {
            if spec.per == Per::Frame {
                labels.extend(next);
            }
        }
        self.more = next.more;
        Ok(())
    }
}

impl Extracted {
    /// Adds the features of all modules side by side and, with baselines, those of the random encoder's modules.
    pub fn concatenate(&mut self, baselines: bool) {
        let (sets, modules) = if baselines { (2, self.groups.len() / 2) } else { (1, self.groups.len()) };
        for set in 0..sets {
            let views: Vec<_> = self.groups[set * modules..][..modules].iter().map(|g| g.view()).collect();
            let all = ndarray::concatenate(Axis(1), &views);
            self.groups.push(all.unwrap_or_else(|e| unreachable!("modules have the same rows: {e}")));
        }
    }
}

/// Features of a whole dataset.
pub trait Extractor {
    /// Items to extract, in order: index into the dataset, and split.
    fn items(&self) -> &[(usize, Split)];

    /// Name of an item.
    fn id(&self, item: usize) -> String;

    /// Items handled at a time.
    fn batch(&self) -> usize {
        1
    }

    /// Rows of the features of a module: one an item, or one for each of its frames.
    fn rows(&self) -> usize {
        self.items().len()
    }

    /// Kinds of labels.
    fn labels(&self) -> Vec<LabelSpec>;

    /// Group of feature files that holds the input itself.
    fn baseline(&self) -> GroupId;

    /// Digest of the dataset.
    fn digest(&self) -> &str;

    /// Folder of the dataset.
    fn root(&self) -> &Path;

    /// What an item is called in messages.
    fn noun(&self) -> &'static str;

    /// How much there is, e.g. `3 utterances (0.02 h)`.
    fn amount(&self) -> String;

    /// What was left out, for the user to read.
    fn notes(&self) -> &[String];

    /// Whether an item is too short for features of a stack.
    fn is_too_short(&self, item: usize, stack: &Stack<f32>) -> bool;

    /// Features of some items by a stack and, as baselines, by the random one and the input itself. `give`
    /// gets each item's place among `items` with its features, those of long items in several parts; items
    /// that are too short are left out.
    ///
    /// # Errors
    /// When a file cannot be read, or `give` fails.
    fn extract(
        &mut self,
        items: &[usize],
        trained: &mut Stack<f32>,
        random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
        give: &mut dyn FnMut(usize, Extracted) -> Result<()>,
    ) -> Result<()>;

    /// [`Self::extract`] of a stack alone, with long items whole; `None` for an item that is too short.
    ///
    /// # Errors
    /// As [`Self::extract`].
    fn extract_whole(
        &mut self,
        items: &[usize],
        stack: &mut Stack<f32>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Option<Extracted>>> {
        let specs = self.labels();
        let mut all: Vec<Option<Extracted>> = items.iter().map(|_| None).collect();
        self.extract(items, stack, None, pool, &mut |at, part| match &mut all[at] {
            Some(begun) => begun.extend(part, &specs),
            none => {
                *none = Some(part);
                Ok(())
            }
        })?;
        Ok(all)
    }

    /// Items handled at a time by [`Extractor::views`].
    fn views_batch(&self) -> usize {
        16
    }

    /// Features of one view of some items, a row each, as the paper's protocol sees them: random crops
    /// of the length in training, mirrored or not where training mirrors; of test images the center.
    /// The view follows from `key`, which has the seed and the view's number, and from split and item.
    /// Labels are those of items only.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn views(
        &mut self,
        items: &[usize],
        split: Split,
        key: Key,
        trained: &mut Stack<f32>,
        random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Option<Extracted>>>;
}
