//! Local losses: what a module learns from, without anything from above.

mod cross_entropy;
mod directions;
mod infonce;

pub use cross_entropy::{CrossEntropy, CrossEntropyConfig, Supervision};
pub use directions::Directions;
pub use infonce::{InfoNce, InfoNceConfig};

use crate::activations::{Activations, Shape};
use crate::param::Params;
use crate::{Key, Pool, Result, Scalar};

/// A training step, as far as a loss needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct StepInfo<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run, 0-based.
    pub step: u64,
    /// One-based number of the module.
    pub module: u32,
    /// Classes for supervised losses, as many as the loss has bins per item, item by item; empty for self-supervision.
    pub labels: &'a [i32],
}

impl StepInfo<'_> {
    /// The key of a draw in this step and module.
    pub fn key(&self, purpose: crate::Purpose) -> Key {
        Key::new(self.seed, purpose).with_module(self.module).with_step(self.step)
    }
}

/// What a loss reports of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossReport {
    /// Mean loss in nats.
    pub loss: f64,
    /// Share of rows whose best-scored candidate is the right one. Where it shares its score, InfoNCE counts the row, cross-entropy
    /// does not.
    pub accuracy: f64,
}

/// A loss on a grid of features `z` and contexts `c`.
pub trait LocalLoss<F: Scalar>: Params<F> + Send {
    /// A short description for reports.
    fn describe(&self) -> String;

    /// Checks that a grid of this shape can be scored.
    ///
    /// # Errors
    /// When the grid is too small.
    ///
    /// # Panics
    /// When it has the wrong number of channels.
    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()>;

    /// Value of the loss; parameter gradients are accumulated, `dz` and `dc` overwritten.
    ///
    /// * `z` (N, H, W, C) features; `c` (N, H, W, D) contexts, or `None` when they are the features themselves;
    /// * `dz` ∂loss/∂z, `None` when z comes from below a gradient block. Without `c` it includes the contexts' part;
    /// * `dc` ∂loss/∂c, when `c` is given.
    fn value_and_grad(
        &mut self,
        z: &Activations<F>,
        c: Option<&Activations<F>>,
        step: StepInfo<'_>,
        dz: Option<&mut Activations<F>>,
        dc: Option<&mut Activations<F>>,
        pool: &Pool<F>,
    ) -> LossReport;

    /// Multiply-adds of one evaluation with gradients.
    fn multiply_adds(&self, z: Shape) -> u64;
}
