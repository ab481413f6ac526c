//! The model of a domain: the network and the loss of every module.

use gim_core::activations::Shape;
use gim_core::loss::LossKind;
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Pool, Result};

use super::size::StepSize;
use crate::experiment::dataset_record::DatasetRecord;

/// The model of a configuration.
pub trait ModelSpec {
    /// Shape of a batch of so many items, with all their views, as the stack takes it.
    ///
    /// # Errors
    /// When images are too small for their patches.
    fn input(&self, batch: usize) -> Result<Shape>;

    /// What a training step takes at least. Nothing is allocated.
    ///
    /// # Errors
    /// As [`Self::input`].
    fn size(&self, batch: usize) -> Result<StepSize> {
        self.size_of(self.input(batch)?)
    }

    /// What a training step on an input of shape `x` takes at least.
    ///
    /// # Errors
    /// When a setting cannot be used.
    fn size_of(&self, x: Shape) -> Result<StepSize>;

    /// The stack at its initial weights. A supervised one has the classes of `record`, which a run
    /// keeps of its dataset; without it, the dataset's.
    ///
    /// # Errors
    /// When a setting cannot be used, or there are no labels to learn from.
    fn build(
        &self,
        record: Option<&DatasetRecord>,
        optimizer: &OptimizerConfig,
        seed: u64,
        pool: &Pool<f32>,
    ) -> Result<Stack<f32>>;

    /// Whether the network is one module, trained end to end.
    fn is_end_to_end(&self) -> bool;

    /// What InfoNCE compares; `None` for any other loss or estimator.
    fn compared(&self) -> Option<Compared>;

    /// Whether the loss compares two views of each item.
    ///
    /// # Errors
    /// As [`Self::loss_kind`].
    fn needs_views(&self) -> Result<bool>;

    /// The kind of loss.
    ///
    /// # Errors
    /// When it does not fit the target.
    fn loss_kind(&self) -> Result<LossKind>;
}

/// What InfoNCE compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// K: the positive lies 1 to K positions ahead.
    pub prediction_steps: usize,
    /// N: negatives of a positive.
    pub negatives: usize,
}
