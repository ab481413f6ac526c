//! Batches made beside training, in order; the parts of a dataset.

pub mod loader;
pub mod split;
