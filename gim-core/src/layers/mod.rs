//! The layer trait, and layers for every domain.

mod direct;
mod itemwise;
mod readout;
mod sequential;

pub use itemwise::{ItemLayer, Itemwise, Pass, Work};
pub use readout::{Readout, ReadoutGrad};
pub use sequential::{Sequential, Stage};

use std::ops::Range;

use crate::activations::{Activations, Layout, Shape};
use crate::param::Params;
use crate::replicas::Replicas;
use crate::{Pool, Result, Scalar};

/// Where a layer's input gradient goes.
#[derive(Debug)]
pub enum InputGrad<'a, F: Scalar> {
    /// Nowhere: the input comes from below a gradient block, so it is not even computed.
    Stop,
    /// It replaces what is there.
    Overwrite(&'a mut Activations<F>),
    /// It is added to what is there: the input also feeds something else.
    Add(&'a mut Activations<F>),
}

/// What a forward pass keeps besides its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// What backward needs: a backward pass will follow.
    ForBackward,
    /// Outputs of the layers in a chain, for inspection; nothing within a layer.
    Outputs,
    /// Nothing: only the output is wanted.
    Nothing,
}

/// Part of a sequence that is too long for one pass: what the next forward pass goes over.
///
/// Passes overlap, because frames near a cut do not see all that they should. Each frame of the
/// sequence is own to one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Steps of the pass that are its own. The first follows the last of the pass before.
    pub own: Range<usize>,
    /// Whether the sequence begins here.
    pub first: bool,
}

/// A layer's description, output shape and cost.
pub trait LayerInfo {
    /// A short description such as `conv 8/4 → 512`.
    fn describe(&self) -> String;

    /// Shape of the output for an input of shape `x`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when the input is too small, which a configuration can
    /// cause.
    ///
    /// # Panics
    /// When `x` has the wrong number of channels or cannot be an input otherwise: a defect of the program.
    fn output(&self, x: Shape) -> Result<Shape>;

    /// Multiply-adds of one forward pass. Backward costs the same for the weights and again for the input.
    fn multiply_adds(&self, x: Shape) -> u64;

    /// Multiply-adds of the gradient of `x` itself. A module's first layer leaves it out, because nothing below trains.
    fn first_multiply_adds(&self, x: Shape) -> u64 {
        self.multiply_adds(x)
    }
}

/// A differentiable map between activations, x (N, H, W, C) → y (N, H', W', C').
///
/// Parameter gradients accumulate, outputs overwrite, scratch may be dirty. What the backward pass needs
/// besides `x` and `y`, the layer keeps in buffers of its own, which return to the pool when the pass is
/// done. The trait is object-safe, so that networks can be built from configuration.
pub trait Layer<F: Scalar>: LayerInfo + Params<F> + Send + Sync {
    /// The layout this layer needs for an input of shape `x` when its output is stored as `y`.
    fn input_layout(&self, x: Shape, _y: Layout) -> Layout {
        Layout::dense(x)
    }

    /// The layout that suits this layer best for an output of shape `y`, where no layer above needs
    /// another.
    fn output_layout(&self, y: Shape) -> Layout {
        Layout::dense(y)
    }

    /// For layers with a state along time: the next forward pass goes over this part of a sequence,
    /// and its state follows from that of the part before. `None`: passes are whole sequences again.
    ///
    /// Parts are for features: their passes keep nothing for a backward pass.
    fn set_part(&mut self, _part: Option<Part>) {}

    /// From now on, these share the layer's arithmetic. `x`, `y`, `dx`, `dy` and the gradients of parameters
    /// are then whole, and the same, at every replica. A layer that cannot be cut ignores them: each
    /// replica computes it by itself.
    fn set_replicas(&mut self, _replicas: &Replicas<F>) {}

    /// `x` → `y`. `y`'s margins are left zero.
    fn forward(&mut self, x: &Activations<F>, y: &mut Activations<F>, keep: Keep, pool: &Pool<F>);

    /// `dy` = ∂loss/∂y → parameter gradients (accumulated) and `dx`. `dy`'s margins are zero on entry;
    /// its values may be overwritten.
    fn backward(
        &mut self,
        x: &Activations<F>,
        y: &Activations<F>,
        dy: &mut Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    );
}
