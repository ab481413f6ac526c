//! Images as grids of overlapping patches, and the way back from patches to a grid of features.

use std::ops::Range;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::kernels::profile::Tasks;
use gim_core::layers::{LayerInfo, Readout};
use gim_core::{Error, Pool, Result, Scalar};
use ndarray::{Array4, ArrayView4};
use rayon::prelude::*;

/// How images are cut into patches; the default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    /// Side of a patch, in pixels.
    pub size: usize,
    /// Pixels between one patch and the next.
    pub stride: usize,
}

impl Default for Patches {
    fn default() -> Self {
        Self { size: 16, stride: 8 }
    }
}

impl Patches {
    /// Patches of side `size`; neighbors share `overlap` pixels.
    ///
    /// # Errors
    /// When `size` is 0, or neighbors would share all pixels.
    pub fn new(size: usize, overlap: usize) -> Result<Self> {
        if size == 0 || overlap >= size {
            return Err(Error::config(
                "network.overlap",
                format_args!("patches of {size} pixels cannot share {overlap}"),
                "use an overlap smaller than the patch",
            ));
        }
        Ok(Self { size, stride: size - overlap })
    }

    /// Number of patches along a side of `pixels`: ⌊(pixels − size)/stride⌋ + 1.
    pub fn along(&self, pixels: usize) -> usize {
        pixels.checked_sub(self.size).map_or(0, |n| n / self.stride + 1)
    }

    /// Smallest side, in pixels, that gives `n` patches.
    pub fn pixels(&self, n: usize) -> usize {
        (n.max(1) - 1) * self.stride + self.size
    }

    /// Checks that images of this size give a grid of at least `need` × `need` patches.
    ///
    /// # Errors
    /// When the grid is smaller. The error names the smallest size that is enough.
    pub fn check(&self, height: usize, width: usize, need: usize) -> Result<()> {
        let need = need.max(1);
        if self.along(height) < need || self.along(width) < need {
            let side = self.pixels(need);
            return Err(Error::config(
                "data.crop",
                format_args!(
                    "images of {height} × {width} pixels give {} × {} patches, and {need} × {need} are needed",
                    self.along(height),
                    self.along(width)
                ),
                format_args!(
                    "use images of {side} × {side} or larger, smaller patches, fewer predictions, or \
                     network.readout = \"map\""
                ),
            ));
        }
        Ok(())
    }

    /// Shape of the patches of images (B, H, W, C): (B·rows·columns, size, size, C), in the order
    /// image, row, column.
    pub fn shape(&self, images: Shape) -> Shape {
        let (rows, cols) = (self.along(images.height), self.along(images.width));
        Shape { batch: images.batch * rows * cols, height: self.size, width: self.size, channels: images.channels }
    }

    /// Patches of images: (B, H, W, C) → (B·rows·columns, size, size, C), in the order image, row,
    /// column. [`Stack::step`](gim_core::stack::Stack::step) takes them.
    pub fn of<F: Scalar>(&self, images: ArrayView4<'_, F>) -> Array4<F> {
        let shape = Shape::of(&images);
        let pixels: Vec<F> = images.iter().copied().collect();
        self.cut(&pixels, shape, Layout::dense(self.shape(shape)), &Pool::new()).view().to_owned()
    }

    /// Cuts images into patches: pixels of shape `images`, (B, H, W, C) → activations stored as
    /// `layout`, whose shape is [`shape`](Self::shape) of `images`.
    pub fn cut<F: Scalar>(&self, pixels: &[F], images: Shape, layout: Layout, pool: &Pool<F>) -> Activations<F> {
        assert_eq!(pixels.len(), images.len(), "{images:?} needs {} values", images.len());
        assert_eq!(layout.shape, self.shape(images), "the patches of {images:?}");
        let (rows, cols) = (self.along(images.height), self.along(images.width));
        let line = images.width * images.channels;
        let len = self.size * images.channels;
        let mut out = Activations::new(layout, pool);
        for patch in 0..layout.shape.batch {
            let (image, at) = (patch / (rows * cols), patch % (rows * cols));
            let corner =
                (image * images.height + at / cols * self.stride) * line + at % cols * self.stride * images.channels;
            for (y, to) in out.item_mut(patch).chunks_exact_mut(len).enumerate() {
                to.copy_from_slice(&pixels[corner + y * line..][..len]);
            }
        }
        out
    }
}

/// Mean over each patch: (B·rows·columns, h, w, C) → (B, rows, columns, C). Loss and probes see
/// this of a module.
pub struct PatchMean {
    /// Rows and columns of the grid of patches.
    pub grid: [usize; 2],
}

impl LayerInfo for PatchMean {
    fn describe(&self) -> String {
        format!("mean over each of {} × {} patches", self.grid[0], self.grid[1])
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        let [rows, cols] = self.grid;
        assert!(x.batch.is_multiple_of(rows * cols), "{x:?} are no grids of {rows} × {cols} patches");
        Ok(Shape { batch: x.batch / (rows * cols), height: rows, width: cols, channels: x.channels })
    }

    fn multiply_adds(&self, _: Shape) -> u64 {
        0
    }
}

impl<F: Scalar> Readout<F> for PatchMean {
    fn forward(&self, x: &Activations<F>, y: &mut Activations<F>, pool: &Pool<F>) {
        let c = x.shape().channels;
        let share = F::of(1.0 / (x.shape().height * x.shape().width) as f64);
        let mut means = pool.zeros(x.shape().batch * c);
        means.par_chunks_mut(c).enumerate().for_each_task("means of patches", |(patch, to)| {
            for pixel in x.item(patch).chunks_exact(c) {
                to.iter_mut().zip(pixel).for_each(|(t, p)| *t += *p);
            }
            to.iter_mut().for_each(|t| *t *= share);
        });
        for (patch, mean) in means.chunks_exact(c).enumerate() {
            let row = y.layout().row_of(patch);
            y.at_mut(row).copy_from_slice(mean);
        }
    }

    fn input_grad(&self, x: Shape, dy: &Activations<F>, items: Range<usize>, dx: &mut [F]) {
        let pixels = x.height * x.width;
        let share = F::of(1.0 / pixels as f64);
        for (patch, dx) in items.zip(dx.chunks_exact_mut((pixels * x.channels).max(1))) {
            let from = dy.at(dy.layout().row_of(patch));
            for pixel in dx.chunks_exact_mut(x.channels) {
                pixel.iter_mut().zip(from).for_each(|(p, f)| *p = share * *f);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_an_array_are_those_of_its_values() {
        let (patches, pool) = (Patches { size: 4, stride: 3 }, Pool::new());
        let pixel = |n: usize, y: usize, x: usize, c: usize| (n * 1000 + y * 100 + x * 10 + c) as f32;
        let images = Array4::from_shape_fn((2, 10, 8, 3), |(n, y, x, c)| pixel(n, y, x, c));
        let shape = Shape::of(&images.view());
        let values: Vec<f32> = images.iter().copied().collect();
        let cut = patches.cut(&values, shape, Layout::dense(patches.shape(shape)), &pool);
        assert_eq!(patches.of(images.view()), cut.view());
        // Three rows of two patches an image: the last one of the second image.
        assert_eq!(patches.of(images.view())[[11, 2, 3, 1]], pixel(1, 6 + 2, 3 + 3, 1));
    }
}
