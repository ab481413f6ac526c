//! Greedy InfoMax for images: networks on patches, datasets, training batches, and features.
//!
//! A network is built from its configuration, trained on images cut into patches, and gives
//! features for each patch:
//!
//! ```
//! use gim_core::activations::Shape;
//! use gim_core::link::Packet;
//! use gim_core::module::Mode;
//! use gim_core::optim::OptimizerConfig;
//! use gim_core::schedule::step_in_turn;
//! use gim_core::{Pool, Result};
//! use gim_vision::layers::residual::BlockKind;
//! use gim_vision::network::{LossConfig, NetworkConfig};
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
//! let images = Shape { batch: 2, height: 12, width: 12, channels: 1 };
//! let pixels: Vec<f32> = (0..images.len()).map(|i| (i as f32 * 0.1).sin()).collect();
//! let patches = network.patches()?;
//! let layouts = stack.layouts(patches.shape(images))?;
//! let x = patches.cut(&pixels, images, layouts[0], &pool).detach();
//! let packet = Packet { x: x.clone(), step: 0, labels: [].into(), layouts: layouts.clone() };
//! let mut losses = Vec::new();
//! step_in_turn(&mut stack, packet, 1, &[Mode::Train; 2], &mut |report| losses.push(report.loss.loss))?;
//! assert_eq!(losses.len(), 2);
//!
//! // Features: 4, then 8 values for each of the 5 × 5 patches of both images.
//! let mut sizes = Vec::new();
//! stack.visit_features(x, &layouts, Mode::Eval, |view| sizes.push(view.features.shape().len()));
//! assert_eq!(sizes, [2 * 5 * 5 * 4, 2 * 5 * 5 * 8]);
//! # Ok(())
//! # }
//! ```

pub mod dataset;
pub mod features;
pub mod layers;
pub mod network;
