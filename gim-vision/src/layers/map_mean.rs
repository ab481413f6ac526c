//! A module's map, averaged to a coarser grid.

use std::ops::Range;

use gim_core::activations::{Activations, Shape};
use gim_core::kernels::profile::Tasks;
use gim_core::kernels::vector::add_scaled;
use gim_core::layers::{LayerInfo, Readout};
use gim_core::{Pool, Result, Scalar};
use rayon::prelude::*;

/// Averages a map: x (N, H, W, C) → y (N, min(G, H), min(G, W), C). Loss and probes see this of a module
/// that sees whole images.
///
/// Cell i of n along an extent H is the mean of positions ⌊iH/n⌋ to ⌈(i + 1)H/n⌉, the last excluded:
/// `AdaptiveAvgPool2d(n)` of PyTorch. A map that is smaller than the grid stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapMean {
    /// Rows and columns G of the grid.
    pub side: usize,
}

/// Positions of an extent that cell `i` of `n` is the mean of.
fn cell(i: usize, n: usize, extent: usize) -> Range<usize> {
    i * extent / n..((i + 1) * extent).div_ceil(n)
}

impl MapMean {
    fn out(self, x: Shape) -> Shape {
        Shape { height: x.height.min(self.side), width: x.width.min(self.side), ..x }
    }

    /// Calls `f` with the number of each cell of an item, and with the positions that it is the mean of and their
    /// number.
    fn cells(self, x: Shape, mut f: impl FnMut(usize, &mut dyn Iterator<Item = usize>, usize)) {
        let y = self.out(x);
        for at in 0..y.height * y.width {
            let rows = cell(at / y.width, y.height, x.height);
            let cols = cell(at % y.width, y.width, x.width);
            let n = rows.len() * cols.len();
            f(at, &mut rows.flat_map(|row| cols.clone().map(move |col| row * x.width + col)), n);
        }
    }

    /// Averages one item (H, W, C) of shape `x` into `y` (min(G, H), min(G, W), C), which is overwritten.
    pub(crate) fn of_item<F: Scalar>(self, x: Shape, from: &[F], y: &mut [F]) {
        let c = x.channels;
        self.cells(x, |at, positions, n| {
            let to = &mut y[at * c..][..c];
            to.fill(F::zero());
            positions.for_each(|p| add_scaled(to, F::one(), &from[p * c..][..c]));
            let share = F::of(1.0 / n as f64);
            to.iter_mut().for_each(|t| *t *= share);
        });
    }
}

impl LayerInfo for MapMean {
    fn describe(&self) -> String {
        format!("means of a grid of {0} × {0}", self.side)
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        assert!(self.side > 0, "a grid without cells");
        Ok(self.out(x))
    }

    fn multiply_adds(&self, _: Shape) -> u64 {
        0
    }
}

impl<F: Scalar> Readout<F> for MapMean {
    fn forward(&self, x: &Activations<F>, y: &mut Activations<F>, pool: &Pool<F>) {
        let shape = x.shape();
        let item = self.out(shape).len() / shape.batch.max(1);
        let mut means = pool.take(item * shape.batch);
        means.par_chunks_mut(item).enumerate().for_each_task("means of maps", |(i, to)| {
            self.of_item(shape, x.item(i), to);
        });
        means.chunks_exact(item).enumerate().for_each(|(i, from)| y.item_mut(i).copy_from_slice(from));
    }

    fn input_grad(&self, x: Shape, dy: &Activations<F>, items: Range<usize>, dx: &mut [F]) {
        let c = x.channels;
        dx.fill(F::zero());
        for (item, dx) in items.zip(dx.chunks_exact_mut((x.height * x.width * c).max(1))) {
            let dy = dy.item(item);
            self.cells(x, |at, positions, n| {
                let share = F::of(1.0 / n as f64);
                positions.for_each(|p| add_scaled(&mut dx[p * c..][..c], share, &dy[at * c..][..c]));
            });
        }
    }
}
