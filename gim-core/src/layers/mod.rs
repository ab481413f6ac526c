//! The layer trait, and layers that know no domain.

mod itemwise;
mod sequential;

use std::ops::Range;

pub use itemwise::{ItemLayer, Itemwise, Pass, Work};
pub use sequential::Sequential;

use crate::activations::{Activations, Layout, Shape};
use crate::param::Params;
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

/// A layer that read an output, and the gradient of what it made of it.
pub struct Above<'a, F: Scalar> {
    /// The layer.
    pub layer: &'a mut dyn Layer<F>,
    /// Its output.
    pub output: &'a Activations<F>,
    /// ∂loss/∂output.
    pub grad: &'a mut Activations<F>,
}

impl<F: Scalar> Above<'_, F> {
    /// The gradient of the output `y` that the layer read, followed by the backward pass of `below`, which made it.
    pub(crate) fn backward(
        self,
        below: &mut (impl Layer<F> + ?Sized),
        x: &Activations<F>,
        y: &Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        let mut dy = Activations::new(y.layout(), pool);
        self.layer.backward(y, self.output, self.grad, InputGrad::Overwrite(&mut dy), pool);
        below.backward(x, y, &mut dy, dx, pool);
    }
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

/// A differentiable map between activations, object-safe so that networks are put together from configuration.
///
/// Parameter gradients accumulate; outputs overwrite; scratch may be dirty. A layer saves what its backward pass needs beyond
/// `x` and `y` within itself, in buffers that it gives back to the pool when backward is done.
pub trait Layer<F: Scalar>: Params<F> + Send + Sync {
    /// A short description such as `conv 8/4 → 512`.
    fn describe(&self) -> String;

    /// Shape of the output for an input of shape `x`.
    ///
    /// # Errors
    /// When the input is too small, which is the user's business.
    ///
    /// # Panics
    /// When it has the wrong number of channels, or is otherwise no input of this layer: that is the programmer's.
    fn output(&self, x: Shape) -> Result<Shape>;

    /// The margins this layer wants around an input of shape `x` when its output is stored as `y`.
    fn input_layout(&self, x: Shape, _y: Layout) -> Layout {
        Layout::dense(x)
    }

    /// The margins that suit this layer best around an output that nothing above asks for.
    fn output_layout(&self, y: Shape) -> Layout {
        Layout::dense(y)
    }

    /// `x` → `y`. `y`'s margins are left zero.
    fn forward(&mut self, x: &Activations<F>, y: &mut Activations<F>, keep: Keep, pool: &Pool<F>);

    /// `dy` = ∂loss/∂y → parameter gradients (accumulated) and `dx`. May overwrite `dy`; `dy`'s margins are zero on entry.
    fn backward(
        &mut self,
        x: &Activations<F>,
        y: &Activations<F>,
        dy: &mut Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    );

    /// Like [`Layer::backward`], with the gradient of `y` as `above` gives it. A layer that needs it part by part can have it
    /// made part by part.
    fn backward_below(
        &mut self,
        x: &Activations<F>,
        y: &Activations<F>,
        above: Above<'_, F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        above.backward(self, x, y, dx, pool);
    }

    /// Whether [`Layer::grad_of_items`] can be asked: the layer has no parameters, and the gradient of its input follows from `dy`.
    fn splits(&self) -> bool {
        false
    }

    /// The gradient of some items of an input of shape `x`, one after the other: `dx` is overwritten.
    fn grad_of_items(&self, _x: Shape, _dy: &Activations<F>, _items: Range<usize>, _dx: &mut [F]) {
        unreachable!("{} does not split", self.describe())
    }

    /// Multiply-adds of one forward pass. Backward costs the same for the weights and again for the input.
    fn multiply_adds(&self, x: Shape) -> u64;

    /// Multiply-adds of the gradient of `x` itself, which is left out where nothing below learns: in a chain, those of its first
    /// layer.
    fn first_multiply_adds(&self, x: Shape) -> u64 {
        self.multiply_adds(x)
    }
}
