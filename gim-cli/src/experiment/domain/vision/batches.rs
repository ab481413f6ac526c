//! Training batches of views, and the images that are held out of training.

use std::ops::Range;
use std::sync::Arc;

use gim_core::activations::{Activations, Shape};
use gim_core::data::LoaderStats;
use gim_core::stack::LayoutPlans;
use gim_core::{Key, Pool, Purpose, Result};
use gim_vision::dataset::ImageDataset;
use gim_vision::dataset::loader::{ImageLoader, center_view};
use gim_vision::dataset::standardize::Standardize;
use gim_vision::features::CenterCrops;
use gim_vision::layers::patches::Patches;
use gim_vision::network::Target;
use rayon::prelude::*;

use super::VisionData;
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::BatchSource;

pub(super) struct ImageBatches {
    pub(super) dataset: Arc<dyn ImageDataset>,
    pub(super) loader: ImageLoader,
    pub(super) patches: Patches,
    /// Shape of a view.
    pub(super) image: Shape,
    /// Images in a batch, each in all its views.
    pub(super) batch: usize,
    pub(super) record: DatasetRecord,
    pub(super) held_out: HeldOutImages,
    /// Training images without the label that is learned.
    pub(super) unusable: usize,
}

/// Images that are held out of training. Each is in one view, cut and mirrored as in training, without
/// augmentation; for a loss that compares views, in two that are made as in training.
pub(super) struct HeldOutImages {
    pub(super) items: Vec<usize>,
    /// Of each image.
    pub(super) views: usize,
    pub(super) crops: CenterCrops,
    pub(super) standardize: Standardize,
    pub(super) data: VisionData,
    /// Of the views.
    pub(super) seed: u64,
    /// What the loss has labels of.
    pub(super) target: Target,
}

impl HeldOutImages {
    /// The views of an image, standardized, one after the other.
    fn views(&self, i: usize) -> Result<Vec<f32>> {
        let VisionData { crop, flip, pad, color, .. } = self.data;
        let key = Key::new(self.seed, Purpose::View);
        if self.views == 1 {
            let view = self.crops.random_view(i, flip, pad, key)?;
            return center_view(&view, crop, color, &self.standardize);
        }
        let recipe = self.data.recipe();
        let view = |v: usize| self.crops.training_view(i, &recipe, key.with_module(v as u32));
        Ok((0..self.views).map(view).collect::<Result<Vec<_>>>()?.concat())
    }
}

impl BatchSource for ImageBatches {
    fn notes(&self) -> Vec<String> {
        let mut notes = vec![self.dataset.summary()];
        notes.extend(self.dataset.notes().iter().chain(self.loader.notes()).cloned());
        if self.unusable > 0 {
            notes.push(format!("{} training images do not have the label that is learned: left out", self.unusable));
        }
        if !self.held_out.items.is_empty() {
            notes.push(format!("{} training images are held out for validation", self.held_out.items.len()));
        }
        notes
    }

    fn record(&self) -> &DatasetRecord {
        &self.record
    }

    fn epoch_len(&self) -> u64 {
        self.loader.epoch_len()
    }

    fn shapes(&self) -> Vec<Shape> {
        let held_out = self.held_out.items.len();
        let held_out = [held_out.min(self.batch), held_out % self.batch].map(|images| images * self.held_out.views);
        let sizes = self.loader.batch_sizes().chain(held_out.into_iter().filter(|views| *views > 0));
        sizes.map(|batch| self.patches.shape(Shape { batch, ..self.image })).collect()
    }

    fn next(&mut self, plans: &LayoutPlans, pool: &Pool<f32>) -> Result<(Activations<f32>, Arc<[i32]>)> {
        let batch = self.loader.next_batch()?;
        let images = Shape { batch: batch.labels.len(), ..self.image };
        let layout = plans.of(self.patches.shape(images))[0];
        Ok((self.patches.cut(&batch.data, images, layout, pool), batch.labels.into()))
    }

    fn seek(&mut self, step: u64) -> Result<()> {
        self.loader.seek(step)
    }

    fn held_out(&self) -> usize {
        self.held_out.items.len()
    }

    fn held_out_batch(
        &self,
        items: Range<usize>,
        plans: &LayoutPlans,
        pool: &Pool<f32>,
    ) -> Result<(Activations<f32>, Arc<[i32]>)> {
        let held_out = &self.held_out;
        let items = &held_out.items[items];
        let pixels = items.par_iter().map(|i| held_out.views(*i)).collect::<Result<Vec<_>>>()?.concat();
        // A loss that compares views learns without labels.
        let label = |i: &usize| self.dataset.label_in(*i, self.held_out.target.column());
        let labeled = self.held_out.target != Target::Future;
        let labels = if labeled { items.iter().map(label).collect() } else { Arc::from([]) };
        let images = Shape { batch: items.len() * held_out.views, ..self.image };
        let layout = plans.of(self.patches.shape(images))[0];
        Ok((self.patches.cut(&pixels, images, layout, pool), labels))
    }

    fn stats(&self) -> LoaderStats {
        self.loader.stats()
    }
}
