//! Direct feedback alignment (Nøkland 2016, "Direct feedback alignment provides learning in deep neural networks"):
//! the error of a chain's output goes to the output of each layer through a fixed random matrix.

use crate::activations::{Activations, Layout, Shape};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::kernels::vector::add_scaled;
use crate::param::Param;
use crate::{Key, Pool, Scalar};

/// The matrices of a chain of layers.
#[derive(Debug)]
pub(super) struct DirectFeedback<F: Scalar> {
    key: Key,
    /// Of each layer but the last: (C', C), from the C channels of the chain's output to the C' of the layer's.
    matrices: Vec<Vec<F>>,
}

impl<F: Scalar> DirectFeedback<F> {
    /// Matrices drawn by `key`, when the channels are known.
    pub(super) fn new(key: Key) -> Self {
        Self { key, matrices: Vec::new() }
    }

    /// The matrix of a layer, drawn from U(±1/√C).
    pub(super) fn matrix(key: Key, layer: usize, channels: usize, top: usize) -> Vec<F> {
        let bound = 1.0 / (top as f64).sqrt();
        let key = key.with_item(key.item + layer as u32);
        Param::uniform("feedback", &[channels, top], bound, key).value
    }

    /// Draws what is missing, for layers with outputs of so many channels below an output of `top`.
    pub(super) fn draw(&mut self, channels: impl Iterator<Item = usize>, top: usize) {
        for (layer, channels) in channels.enumerate().skip(self.matrices.len()) {
            self.matrices.push(Self::matrix(self.key, layer, channels, top));
        }
    }

    /// The error of the output of `layer`, which is stored as `y` (N, H', W', C'), from the error `e` (N, H, W, C) of
    /// the chain's output: B e at the nearest position of the output, of which each position takes the same share.
    pub(super) fn error(&self, layer: usize, e: &Activations<F>, y: Layout, pool: &Pool<F>) -> Activations<F> {
        let (from, to) = (e.shape(), y.shape);
        let rows = from.height * from.width;
        let share = F::of(rows as f64 / (to.height * to.width) as f64);
        let matrix = Mat::new(&self.matrices[layer], to.channels, from.channels);
        let mut projected = pool.take(rows * to.channels);
        let mut dy = Activations::new(y, pool);
        for item in 0..from.batch {
            let product = MatMut::new(&mut projected, rows, to.channels);
            matmul(Mat::new(e.item(item), rows, from.channels), matrix.t(), product, Store::Overwrite, pool);
            for (position, dy) in dy.item_mut(item).chunks_exact_mut(to.channels).enumerate() {
                let at = nearest(position, from, to);
                dy.fill(F::zero());
                add_scaled(dy, share, &projected[at * to.channels..][..to.channels]);
            }
        }
        dy
    }
}

/// The position within an item of shape `from` that is nearest to number `position` within one of shape `to`.
fn nearest(position: usize, from: Shape, to: Shape) -> usize {
    let (row, column) = (position / to.width, position % to.width);
    row * from.height / to.height * from.width + column * from.width / to.width
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Purpose;

    #[test]
    fn each_position_takes_its_share_of_the_nearest_error() {
        let (pool, key) = (Pool::<f64>::new(), Key::new(1, Purpose::Feedback));
        let shape = |height, width| Shape { batch: 2, height, width, channels: 1 };
        let e = Activations::from_slice(Layout::dense(shape(2, 1)), &[1.0, 2.0, 3.0, 4.0], &pool);
        let mut direct = DirectFeedback::new(key);
        direct.draw([1, 1].into_iter(), 1);
        let b = direct.matrices[1][0];
        assert!(b != direct.matrices[0][0] && b == DirectFeedback::<f64>::matrix(key, 1, 1, 1)[0]);
        pool.poison();
        let y = Layout::padded(shape(3, 2), 1, 5);
        let dy = direct.error(1, &e, y, &pool);
        let want = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 4.0, 4.0].map(|e| e * b * (1.0 / 3.0));
        assert!(dy.to_vec().iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-12), "{dy:?}");
        assert!((dy.memory().iter().sum::<f64>() - want.iter().sum::<f64>()).abs() < 1e-12, "margins are not zero");
    }
}
