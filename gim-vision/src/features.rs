//! Features of images: means over patches and over the grid of patches, coarse maps, and raw pixels
//! as a baseline.

use std::sync::Arc;

use gim_core::activations::{Activations, Shape};
use gim_core::module::Mode;
use gim_core::stack::{FeatureView, Stack};
use gim_core::{Key, Pool, Result};
use ndarray::{Array2, ArrayView2, Axis};

use crate::dataset::ImageDataset;
use crate::dataset::image::{Color, Image};
use crate::dataset::loader::{RandomCrop, ViewRecipe, center_view, small_view};
use crate::dataset::standardize::Standardize;
use crate::layers::map_mean::MapMean;
use crate::layers::patches::Patches;
use crate::network::{NetworkConfig, NetworkKind};

/// Side of the image that the baseline of raw pixels sees.
const RAW_SIDE: usize = 32;

/// How the center of an image is cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CenterCrop {
    /// Side of the square, in pixels.
    pub side: usize,
    /// The image is resized first so that its shorter side is this, in pixels; 0 leaves it as it
    /// is.
    pub short_side: usize,
    /// Channels.
    pub color: Color,
}

/// The center crops of a dataset's images, and their features in a stack of modules.
pub struct CenterCrops {
    dataset: Arc<dyn ImageDataset>,
    standardize: Standardize,
    crop: CenterCrop,
    patches: Patches,
    /// Number of stages when the network is one end-to-end module.
    stages: Option<usize>,
}

impl CenterCrops {
    /// Crops of `dataset` for stacks of this network. An end-to-end module gives the features of
    /// each of its stages, so that depths can be compared with those of a stack of modules.
    ///
    /// # Errors
    /// When the network's patches have no size or share all their pixels.
    pub fn new(
        dataset: Arc<dyn ImageDataset>,
        standardize: Standardize,
        crop: CenterCrop,
        network: &NetworkConfig,
    ) -> Result<Self> {
        let stages = (network.kind == NetworkKind::Cpc).then_some(network.n_stages());
        Ok(Self { dataset, standardize, crop, patches: network.patches()?, stages })
    }

    /// The dataset.
    pub fn dataset(&self) -> &dyn ImageDataset {
        &*self.dataset
    }

    /// How crops are cut into patches.
    pub fn patches(&self) -> Patches {
        self.patches
    }

    /// The center crop of image `i`, in its own colors.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn image(&self, i: usize) -> Result<Image> {
        let image = self.dataset.read(i)?.with_short_side(self.crop.short_side);
        Ok(image.center(self.crop.side))
    }

    /// A random view of image `i` as training cuts it, in its own colors: a crop at a random place, of
    /// an image padded by `pad` mirrored pixels, mirrored in half of the draws if `flip`. `key` needs
    /// seed and epoch; the image is set here.
    ///
    /// # Errors
    /// When the image cannot be read, or is smaller than a crop.
    pub fn random_view(&self, i: usize, flip: bool, pad: usize, key: Key) -> Result<Image> {
        let image = self.dataset.read(i)?.with_short_side(self.crop.short_side);
        RandomCrop { side: self.crop.side, flip, pad }.view(&image, key.with_item(i as u32))
    }

    /// A random view of image `i` as training makes it by `recipe`, augmentations included, standardized →
    /// (crop, crop, C). `key` needs the seed; the image is set here.
    ///
    /// # Errors
    /// When the image cannot be read, or is smaller than a crop.
    pub fn training_view(&self, i: usize, recipe: &ViewRecipe, key: Key) -> Result<Vec<f32>> {
        let image = self.dataset.read(i)?.in_color(self.crop.color).with_short_side(self.crop.short_side);
        recipe.view(&image, &self.standardize, key.with_item(i as u32))
    }

    /// Center crops (B) → a matrix (B · patches, channels) for each module or, inside an end-to-end
    /// module, stage: the mean of each patch.
    ///
    /// # Errors
    /// When an image is too small.
    pub fn patch_features(
        &self,
        images: &[Image],
        stack: &mut Stack<f32>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Array2<f32>>> {
        let mut out = Vec::new();
        self.visit(images, stack, pool, |view, n_patches| out.push(patch_means(view.features, n_patches)))?;
        Ok(out)
    }

    /// Center crops (B) → a matrix (B, rows · columns · channels) for each module or stage, as in
    /// [`Self::patch_features`]: its map, averaged to `side` × `side` cells, or fewer where the map is smaller
    /// ([`MapMean`]), and written out row by row, channels fastest.
    ///
    /// The map of an image that is one patch is the module's output. That of an image of several patches has a position
    /// for each patch, the patch's mean.
    ///
    /// # Errors
    /// When an image is too small.
    pub fn pooled_features(
        &self,
        images: &[Image],
        stack: &mut Stack<f32>,
        pool: &Pool<f32>,
        side: usize,
    ) -> Result<Vec<Array2<f32>>> {
        let (along, stages, mut out) = (self.patches.along(self.crop.side), self.stages, Vec::new());
        self.visit(images, stack, pool, |view, n_patches| {
            let channels = view.features.shape().channels;
            if along > 1 {
                let means = patch_means(view.features, n_patches);
                let grid = Shape { batch: images.len(), height: along, width: along, channels };
                let means: Vec<f32> = means.iter().copied().collect();
                return out.push(pooled(&means, grid, side));
            }
            // What is shown of the encoder's last stage has gone through the readout.
            let last = view.layer.as_ref().is_none_or(|(layer, _)| Some(layer + 1) == stages);
            let map = if last { view.output } else { view.features };
            out.push(pooled(&map.to_vec(), map.shape(), side));
        })?;
        Ok(out)
    }

    /// Shows `take` the features of center crops, and the number of patches that they are of: those of each module or,
    /// inside an end-to-end module, stage.
    fn visit(
        &self,
        images: &[Image],
        stack: &mut Stack<f32>,
        pool: &Pool<f32>,
        mut take: impl FnMut(&FeatureView<'_, f32>, usize),
    ) -> Result<()> {
        let CenterCrop { side, color, .. } = self.crop;
        let mut pixels = Vec::new();
        for image in images {
            pixels.extend(center_view(image, side, color, &self.standardize)?);
        }
        let shape = Shape { batch: images.len(), height: side, width: side, channels: color.channels() };
        let layouts = stack.eval_layouts(self.patches.shape(shape))?;
        let x = self.patches.cut(&pixels, shape, layouts[0], pool).detach();
        let n_patches = layouts[0].shape.batch;
        let mode = if self.stages.is_some() { Mode::Inspect } else { Mode::Eval };
        stack.visit_features(x, &layouts, mode, |view| {
            // As published, CPC is evaluated at its encoder: contexts see nothing below their row.
            let is_context = view.layer.as_ref().zip(self.stages).is_some_and(|((layer, _), stages)| *layer >= stages);
            if !is_context {
                take(&view, n_patches);
            }
        });
        Ok(())
    }

    /// The center square of an image, resized to 32 × 32 and standardized → (1, 32 · 32 · C).
    ///
    /// # Errors
    /// When the image has no pixels.
    pub fn raw_pixels(&self, image: &Image) -> Result<Array2<f32>> {
        let raw = small_view(image, RAW_SIDE, self.crop.color, &self.standardize)?;
        Ok(Array2::from_shape_fn((1, raw.len()), |(_, j)| raw[j]))
    }
}

/// Activations of patches (`n_patches`, H, W, C), or of grids of already averaged patches →
/// (`n_patches`, C): the mean over each patch's positions.
fn patch_means(a: &Activations<f32>, n_patches: usize) -> Array2<f32> {
    let c = a.shape().channels;
    let positions = a.shape().positions() / n_patches;
    let dense = a.to_vec();
    let mut out = Array2::zeros((n_patches, c));
    for (row, mut to) in dense.chunks_exact(positions * c).zip(out.outer_iter_mut()) {
        for position in row.chunks_exact(c) {
            to.iter_mut().zip(position).for_each(|(t, p)| *t += *p);
        }
        to /= positions as f32;
    }
    out
}

/// Maps (B, H, W, C) → (B, rows · columns · C): averaged to `side` × `side` cells, row by row.
fn pooled(maps: &[f32], shape: Shape, side: usize) -> Array2<f32> {
    let mean = MapMean { side };
    let dims = shape.height.min(side) * shape.width.min(side) * shape.channels;
    let item = shape.len() / shape.batch;
    let mut out = Array2::zeros((shape.batch, dims));
    let values = out.as_slice_mut().unwrap_or_else(|| unreachable!("new arrays are in order"));
    for (map, to) in maps.chunks_exact(item).zip(values.chunks_exact_mut(dims)) {
        mean.of_item(shape, map, to);
    }
    out
}

/// Features of patches (B · patches, C) → the features (1, C) of image `i` of `n_images`: the mean
/// over its grid of patches.
pub fn grid_mean(patches: &Array2<f32>, i: usize, n_images: usize) -> Array2<f32> {
    grid_of(patches, i, n_images).mean_axis(Axis(0)).unwrap_or_default().insert_axis(Axis(0))
}

/// Features of patches (B · patches, C) → those (patches, C) of image `i` of `n_images`, row after row
/// of its grid.
pub fn grid_of(patches: &Array2<f32>, i: usize, n_images: usize) -> ArrayView2<'_, f32> {
    let rows = patches.nrows() / n_images;
    patches.slice(ndarray::s![i * rows..(i + 1) * rows, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_core::activations::Layout;

    #[test]
    fn means_of_patches_and_grids() {
        // Two images of two patches of 1 × 2 positions, two channels.
        let values: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let layout = Layout::dense(Shape { batch: 4, height: 1, width: 2, channels: 2 });
        let a = Activations::from_slice(layout, &values, &Pool::new());
        let patches = patch_means(&a, 4);
        assert_eq!(patches, ndarray::array![[1.0, 2.0], [5.0, 6.0], [9.0, 10.0], [13.0, 14.0]]);
        assert_eq!(grid_mean(&patches, 0, 2), ndarray::array![[3.0, 4.0]]);
        assert_eq!(grid_mean(&patches, 1, 2), ndarray::array![[11.0, 12.0]]);
    }

    #[test]
    fn maps_are_averaged_to_cells_and_written_out_by_row() {
        // Two images of 4 × 2 positions, one channel.
        let values: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let shape = Shape { batch: 2, height: 4, width: 2, channels: 1 };
        assert_eq!(pooled(&values, shape, 1), ndarray::array![[3.5], [11.5]]);
        assert_eq!(pooled(&values, shape, 2), ndarray::array![[1.0, 2.0, 5.0, 6.0], [9.0, 10.0, 13.0, 14.0]]);
        // Three cells of four rows overlap; two columns stay as they are.
        assert_eq!(
            pooled(&values[..8], Shape { batch: 1, ..shape }, 3).row(0).to_vec(),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        );
    }
}
