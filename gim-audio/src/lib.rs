//! Greedy InfoMax for speech: networks, corpora, training batches, features, and the MFCC baseline.
//!
//! A network is built from its configuration, trained on waveforms at 16 kHz, and gives features
//! every 10 ms:
//!
//! ```
//! use gim_audio::features::FeatureExtractor;
//! use gim_audio::network::{LossConfig, NetworkConfig};
//! use gim_core::activations::{Activations, Shape};
//! use gim_core::link::Packet;
//! use gim_core::module::Mode;
//! use gim_core::optim::OptimizerConfig;
//! use gim_core::schedule::step_in_turn;
//! use gim_core::{Pool, Result};
//!
//! # fn main() -> Result<()> {
//! // Six modules: five convolutions of 8 channels, and a GRU of 4.
//! let network = NetworkConfig { width: 8, context: 4, ..NetworkConfig::default() };
//! let loss = LossConfig { prediction_steps: 2, negatives: 4, ..LossConfig::default() };
//! let pool = Pool::new();
//! let mut stack = network.build(&loss, None, &OptimizerConfig::default(), 1, &pool)?;
//!
//! // One training step on a batch of two waveforms of 4,000 samples.
//! let waveforms: Vec<f32> = (0..2 * 4_000).map(|i| (i as f32 * 0.1).sin()).collect();
//! let layouts = stack.layouts(Shape::sequence(2, 4_000, 1))?;
//! let x = Activations::from_slice(layouts[0], &waveforms, &pool).detach();
//! let packet = Packet { x, step: 0, labels: [].into(), layouts: layouts.clone() };
//! let mut losses = Vec::new();
//! step_in_turn(&mut stack, packet, 1, &[Mode::Train; 6], &mut |report| losses.push(report.loss.loss))?;
//! assert_eq!(losses.len(), 6);
//!
//! // Features of one waveform in the last module: a row of 4 values for each of its 23 labels.
//! let extractor = FeatureExtractor::new(&network)?;
//! let waveform = &waveforms[..4_000];
//! let passes = extractor.passes(&stack, waveform.len()).expect("4,000 samples are enough");
//! let features = extractor.features(&mut stack, &passes, waveform, &pool);
//! assert_eq!(features[5].dim(), (23, 4));
//! # Ok(())
//! # }
//! ```

pub mod dataset;
pub mod features;
pub mod geometry;
mod label_grid;
pub mod layers;
pub mod mfcc;
pub mod network;
mod windows;
