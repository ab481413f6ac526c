//! Greedy InfoMax for speech: networks, corpora, training batches, features, and the MFCC baseline.
//!
//! A network is built from its configuration, trained on waveforms at 16 kHz, and gives features
//! every 10 ms:
//!
//! ```
//! use gim_audio::features::FeatureExtractor;
//! use gim_audio::network::{LossConfig, NetworkConfig};
//! use gim_core::optim::OptimizerConfig;
//! use gim_core::{Pool, Result};
//! use ndarray::Array4;
//!
//! # fn main() -> Result<()> {
//! // Six modules: five convolutions of 8 channels, and a GRU of 4.
//! let network = NetworkConfig { width: 8, context: 4, ..NetworkConfig::default() };
//! let loss = LossConfig { prediction_steps: 2, negatives: 4, ..LossConfig::default() };
//! let pool = Pool::new();
//! let mut stack = network.build(&loss, None, &OptimizerConfig::default(), 1, &pool)?;
//!
//! // One training step on a batch of two waveforms of 4,000 samples.
//! let waveforms = Array4::from_shape_fn((2, 4_000, 1, 1), |(n, t, ..)| ((4_000 * n + t) as f32 * 0.1).sin());
//! let reports = stack.step(waveforms.view(), &[], 1, 0)?;
//! assert_eq!(reports.len(), 6);
//!
//! // Features of both in module 6, of the 25 frames that the convolutions give.
//! assert_eq!(stack.features(waveforms.view())?[5].dim(), (2, 25, 1, 4));
//!
//! // What probes get of one waveform: a row of 4 values for each of its 23 labels, one every 10 ms.
//! let extractor = FeatureExtractor::new(&network)?;
//! let waveform: Vec<f32> = (0..4_000).map(|t| (t as f32 * 0.1).sin()).collect();
//! let features = extractor.features(&mut stack, &waveform, &pool).expect("4,000 samples are enough");
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
