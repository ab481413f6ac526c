//! Batches made beside training, in order.

pub mod loader;
