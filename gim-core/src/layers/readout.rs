//! Readouts: what a module's loss and probes are given of its output.

use std::ops::Range;

use super::LayerInfo;
use crate::activations::{Activations, Layout, Shape};
use crate::{Pool, Scalar};

/// A linear map without parameters from a module's output `z` (N, H, W, C) to what its loss and probes
/// are given, such as the mean over a patch.
///
/// Its input gradient follows from `dy` alone and can be computed for some items at a time, so the
/// gradient of a whole batch of patches is never in memory.
pub trait Readout<F: Scalar>: LayerInfo + Send + Sync {
    /// `z` → `y`, whose shape is [`LayerInfo::output`] of `z`'s. `y` is overwritten.
    fn forward(&self, z: &Activations<F>, y: &mut Activations<F>, pool: &Pool<F>);

    /// `dy` = ∂loss/∂y → ∂loss/∂z for `items` of a `z` of shape `z`. `dz` (items, H, W, C), dense, is
    /// overwritten.
    fn input_grad(&self, z: Shape, dy: &Activations<F>, items: Range<usize>, dz: &mut [F]);
}

/// The gradient of a module's output `z`, in the form of a readout and the gradient of its result.
#[derive(Clone, Copy)]
pub struct ReadoutGrad<'a, F: Scalar> {
    /// The readout.
    pub readout: &'a dyn Readout<F>,
    /// ∂loss/∂y, of the readout's output.
    pub dy: &'a Activations<F>,
}

impl<F: Scalar> ReadoutGrad<'_, F> {
    /// ∂loss/∂z for some items of a `z` of shape `z`; `dz` is overwritten.
    pub fn of_items(&self, z: Shape, items: Range<usize>, dz: &mut [F]) {
        self.readout.input_grad(z, self.dy, items, dz);
    }

    /// ∂loss/∂z for all items, stored as `z`; margins are zero.
    pub fn whole(&self, z: Layout, pool: &Pool<F>) -> Activations<F> {
        let mut dz = Activations::new(z, pool);
        for item in 0..z.shape.batch {
            self.of_items(z.shape, item..item + 1, dz.item_mut(item));
        }
        dz
    }
}
