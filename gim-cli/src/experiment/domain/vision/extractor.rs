//! Features of images.

use std::path::Path;

use gim_core::stack::Stack;
use gim_core::{Key, Pool, Result};
use gim_eval::{GroupId, LabelSpec, Per, Split, Task};
use gim_vision::dataset;
use gim_vision::dataset::image::Image;
use gim_vision::features::{CenterCrops, grid_mean, grid_of};
use ndarray::{Array2, s};
use rayon::prelude::*;

use super::VisionData;
use crate::experiment::domain::{Extracted, Extractor, column_specs};
use crate::experiment::input::Level;

/// Images whose features are computed together.
const TOGETHER: usize = 16;

/// Extracts features.
pub(super) struct ImageExtractor {
    crops: CenterCrops,
    items: Vec<(usize, Split)>,
    /// As training mirrors and pads.
    flip: bool,
    pad: usize,
    level: Level,
    /// Rows and columns of maps; 1 for their mean.
    pooling: usize,
}

impl ImageExtractor {
    /// Features of both splits of a dataset.
    pub(super) fn new(crops: CenterCrops, data: &VisionData, level: Level, pooling: usize) -> Self {
        let part = |split, as_| crops.dataset().split(split).iter().map(move |i| (*i, as_)).collect::<Vec<_>>();
        let mut items = part(dataset::Split::Train, Split::Train);
        items.extend(part(dataset::Split::Test, Split::Test));
        items.sort_by_key(|i| i.0);
        Self { crops, items, flip: data.flip, pad: data.pad, level, pooling }
    }

    /// Features of crops of some images in each module, by image.
    fn of_stack(&self, images: &[Image], stack: &mut Stack<f32>, pool: &Pool<f32>) -> Result<Vec<Vec<Array2<f32>>>> {
        let n = images.len();
        let of = |groups: &[Array2<f32>], own: &dyn Fn(&Array2<f32>, usize) -> Array2<f32>| -> Vec<Vec<Array2<f32>>> {
            (0..n).map(|i| groups.iter().map(|g| own(g, i)).collect()).collect()
        };
        if self.level != Level::Patch && self.pooling > 1 {
            let groups = self.crops.pooled_features(images, stack, pool, self.pooling)?;
            return Ok(of(&groups, &|g, i| g.slice(s![i..=i, ..]).to_owned()));
        }
        let groups = self.crops.patch_features(images, stack, pool)?;
        Ok(match self.level {
            Level::Patch => of(&groups, &|g, i| grid_of(g, i, n).to_owned()),
            _ => of(&groups, &|g, i| grid_mean(g, i, n)),
        })
    }

    /// Features of crops of some images.
    fn of_images(
        &self,
        items: &[usize],
        images: &[Image],
        trained: &mut Stack<f32>,
        random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Extracted>> {
        let of_modules = self.of_stack(images, trained, pool)?;
        let baselines = random.is_some();
        let of_random = match random {
            Some(random) => self.of_stack(images, random, pool)?,
            None => vec![Vec::new(); images.len()],
        };
        let mut out = Vec::new();
        for ((i, image), (mut features, random)) in items.iter().zip(images).zip(of_modules.into_iter().zip(of_random))
        {
            features.extend(random);
            if baselines {
                features.push(self.crops.raw_pixels(image)?);
            }
            let dataset = self.crops.dataset();
            let label = dataset.label(*i).map_or(-1, |l| l as i32);
            let mut labels = if dataset.classes().is_empty() { Vec::new() } else { vec![vec![label]] };
            labels.extend(dataset.columns().of(*i));
            out.push(Extracted { id: dataset.id(*i), groups: features, labels, more: false });
        }
        Ok(out)
    }
}

impl Extractor for ImageExtractor {
    fn items(&self) -> &[(usize, Split)] {
        &self.items
    }

    fn id(&self, item: usize) -> String {
        self.crops.dataset().id(item)
    }

    fn batch(&self) -> usize {
        TOGETHER
    }

    fn labels(&self) -> Vec<LabelSpec> {
        let names = self.crops.dataset().classes().to_vec();
        let classes = names.len();
        let of_classes =
            LabelSpec { task: Task::Classes.label().into(), per: Per::Item, classes, silence: None, names };
        let mut labels = if classes > 0 { vec![of_classes] } else { Vec::new() };
        labels.extend(column_specs(self.crops.dataset().columns()));
        labels
    }

    fn baseline(&self) -> GroupId {
        GroupId::Pixels
    }

    fn digest(&self) -> &str {
        self.crops.dataset().digest()
    }

    fn root(&self) -> &Path {
        self.crops.dataset().root()
    }

    fn noun(&self) -> &'static str {
        "images"
    }

    fn amount(&self) -> String {
        format!("{} images", self.items.len())
    }

    fn notes(&self) -> &[String] {
        self.crops.dataset().notes()
    }

    fn is_too_short(&self, _: usize, _: &Stack<f32>) -> bool {
        // Sizes are checked when the dataset is opened.
        false
    }

    fn extract(
        &mut self,
        items: &[usize],
        trained: &mut Stack<f32>,
        random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
        give: &mut dyn FnMut(usize, Extracted) -> Result<()>,
    ) -> Result<()> {
        let images = items.iter().map(|i| self.crops.image(*i)).collect::<Result<Vec<_>>>()?;
        let extracted = self.of_images(items, &images, trained, random, pool)?;
        extracted.into_iter().enumerate().try_for_each(|(at, item)| give(at, item))
    }

    fn views(
        &mut self,
        items: &[usize],
        split: Split,
        key: Key,
        trained: &mut Stack<f32>,
        random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Option<Extracted>>> {
        let view = |i: &usize| match split {
            Split::Test => self.crops.image(*i),
            Split::Train | Split::Unlabeled => self.crops.random_view(*i, self.flip, self.pad, key),
        };
        let images = items.par_iter().map(view).collect::<Result<Vec<_>>>()?;
        Ok(self.of_images(items, &images, trained, random, pool)?.into_iter().map(Some).collect())
    }
}
