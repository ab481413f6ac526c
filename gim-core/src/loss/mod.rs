//! Local losses: what a module trains on, without anything from the modules above.

mod autoencoder;
mod auxiliary;
mod barlow_twins;
mod clapp;
mod cross_entropy;
mod directions;
mod estimator;
mod forward_forward;
mod infonce;
mod labels;
mod lpl;
mod mlp;
mod nt_xent;
mod pairs;
mod permutation_contrastive;
mod predsim;
mod registry;
mod slow_features;
mod time_contrastive;
mod vicreg;

pub use autoencoder::{Autoencoder, AutoencoderRule, InputBlock};
pub use auxiliary::{Auxiliary, AuxiliaryRule};
pub use barlow_twins::{BarlowTwins, BarlowTwinsRule};
pub use clapp::{Clapp, ClappRule, ClappUpdate};
pub use cross_entropy::{CrossEntropy, CrossEntropyConfig, CrossEntropyRule, Supervision, bin};
pub use directions::Directions;
pub use estimator::Estimator;
pub use forward_forward::{ForwardForward, ForwardForwardRule};
pub use infonce::{InfoNce, InfoNceConfig, InfoNceRule};
pub use lpl::{Lpl, LplRule};
pub use nt_xent::{NtXent, NtXentRule};
pub use pairs::{Compare, Pairs, TwoViewLoss};
pub use permutation_contrastive::{PermutationContrastive, PermutationContrastiveRule};
pub use predsim::{Predsim, PredsimRule};
pub use registry::{LossChoice, LossKind, LossRule, LossSettings, Place, Prediction};
pub use slow_features::{SlowFeatures, SlowFeaturesRule};
pub use time_contrastive::{TimeContrastive, TimeContrastiveRule};
pub use vicreg::{VicReg, VicRegRule};

use crate::activations::{Activations, Detached, Shape};
use crate::param::Params;
use crate::{Key, Pool, Result, Scalar};

/// What a loss needs to know of a training step.
#[derive(Debug, Clone, Copy)]
pub struct StepInfo<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// Training step of the run, 0-based.
    pub step: u64,
    /// One-based number of the module.
    pub module: u32,
    /// (N·S) classes for supervised losses, S labels per item, −1 = no label; empty for
    /// self-supervision.
    pub labels: &'a [i32],
}

impl StepInfo<'_> {
    /// The key of a draw in this step and module.
    pub fn key(&self, purpose: crate::Purpose) -> Key {
        Key::new(self.seed, purpose).with_module(self.module).with_step(self.step)
    }
}

/// What a loss reports of a training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossReport {
    /// Mean loss in nats.
    pub loss: f64,
    /// Share of rows in which the right candidate scores above all others. A tie is lost. NaN
    /// for a loss without candidates.
    pub accuracy: f64,
}

/// A loss on a grid of features `z` (N, H, W, C) and contexts `c` (N, H, W, D).
pub trait LocalLoss<F: Scalar>: Params<F> + Send {
    /// A short description for reports.
    fn describe(&self) -> String;

    /// Checks that a grid of this shape can be scored.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when the grid is too small.
    ///
    /// # Panics
    /// When a number of channels does not fit the loss.
    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()>;

    /// Whether some path of the gradient is cut on purpose, as the loss's documentation says: what
    /// [`Self::value_and_grad`] gives is then the gradient of another function than the loss it reports.
    fn stops_gradients(&self) -> bool {
        false
    }

    /// Whether it compares features with the module's input, which [`Self::set_input`] then gives it.
    fn wants_input(&self) -> bool {
        false
    }

    /// Checks that features of shape `z` can be compared with the module's input of shape `x`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when positions of the features have no part in the input.
    fn check_input(&self, _x: Shape, _z: Shape) -> Result<()> {
        Ok(())
    }

    /// The module's input, for the evaluations that follow; `None` releases it. It lies behind a gradient
    /// block: the loss reads it, and no gradient enters it.
    fn set_input(&mut self, _x: Option<&Detached<F>>) {}

    /// Share of the input's values that are zero when features are computed for a training step. What the
    /// module hands on is computed from the whole input.
    fn corruption(&self) -> f64 {
        0.0
    }

    /// Computes the loss. Parameter gradients are accumulated, `dz` and `dc` are overwritten.
    ///
    /// - `z` (N, H, W, C): features.
    /// - `c` (N, H, W, D): contexts; `None` when the features are the contexts.
    /// - `dz` (N, H, W, C): ∂loss/∂z; `None` when z comes from below a gradient block. Without `c` it
    ///   includes the gradient of the contexts.
    /// - `dc` (N, H, W, D): ∂loss/∂c, when `c` is given.
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

/// Where a loss of contexts alone puts ∂loss/∂contexts: `dc`, or `dz` where the features are the contexts.
/// Where they are not, the features have no part in the loss, and `dz` is zero.
fn context_gradient<'a, F: Scalar>(
    c: Option<&Activations<F>>,
    dz: Option<&'a mut Activations<F>>,
    dc: Option<&'a mut Activations<F>>,
) -> Option<&'a mut Activations<F>> {
    if c.is_none() {
        return dz;
    }
    if let Some(dz) = dz {
        dz.memory_mut().fill(F::zero());
    }
    dc
}
