//! Greedy InfoMax for images: networks on patches, datasets, training batches, and features.
//!
//! A network is built from its configuration, trained on images cut into patches, and gives
//! features for each patch:
//!
//! ```
//! use gim_core::optim::OptimizerConfig;
//! use gim_core::{Pool, Result};
//! use gim_vision::layers::residual::BlockKind;
//! use gim_vision::network::{LossConfig, NetworkConfig};
//! use ndarray::Array4;
//!
//! # fn main() -> Result<()> {
//! // Two modules of one residual block each, on patches of 4 × 4 pixels that overlap by 2.
//! let network = NetworkConfig {
//!     block: BlockKind::Basic,
//!     blocks: vec![1, 1],
//!     widths: vec![4, 8],
//!     stem: 3,
//!     patch: 4,
//!     overlap: 2,
//!     ..NetworkConfig::default()
//! };
//! let loss = LossConfig { prediction_steps: 2, negatives: 4, ..LossConfig::default() };
//! let pool = Pool::new();
//! let mut stack = network.build::<f32>(12, 1, &loss, None, &OptimizerConfig::default(), 1, &pool)?;
//!
//! // One training step on a batch of two images of 12 × 12 gray pixels.
//! let images = Array4::from_shape_fn((2, 12, 12, 1), |(n, y, x, _)| ((144 * n + 12 * y + x) as f32 * 0.1).sin());
//! let patches = network.patches()?.of(images.view());
//! let reports = stack.step(patches.view(), &[], 1, 0)?;
//! assert_eq!(reports.len(), 2);
//!
//! // Features: 4, then 8 values for each of the 5 × 5 patches of both images.
//! let features = stack.features(patches.view())?;
//! assert_eq!(features[0].dim(), (2, 5, 5, 4));
//! assert_eq!(features[1].dim(), (2, 5, 5, 8));
//! # Ok(())
//! # }
//! ```

pub mod dataset;
pub mod features;
pub mod layers;
pub mod network;
