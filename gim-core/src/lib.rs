//! Core of Greedy InfoMax: self-supervised learning without end-to-end backpropagation.
//!
//! A network is cut by depth into modules g₁ … g_M. Module m maps z^{m−1} to z^m. Between modules stands
//! a gradient block: activations flow up, and no gradient flows down. Every module trains on a loss of
//! its own output.
//!
//! The loss of the paper is InfoNCE (Löwe, O'Connor, Veeling 2019). From a context c_t, a
//! module predicts its own future z_{t+k}, k = 1..K, among negatives z_j:
//!
//! ```text
//! f_k(z, c) = exp(zᵀ W_k c)          loss = mean over k, t of  −log  f_k(z_{t+k}, c_t) / Σ_{j ∈ X} f_k(z_j, c_t)
//! ```
//!
//! X holds the positive and N negatives. c_t is z_t, or the output of a context network.
//!
//! # Example
//!
//! Two modules of one linear layer each, trained simultaneously on random sequences:
//!
//! ```
//! use gim_core::layers::{Layer, Sequential};
//! use gim_core::loss::{InfoNce, InfoNceConfig};
//! use gim_core::module::{LocalModule, Module, Parts};
//! use gim_core::optim::OptimizerConfig;
//! use gim_core::sampler::SamplerKind;
//! use gim_core::stack::Stack;
//! use gim_core::testing::{Linear, uniform};
//! use gim_core::{Key, Pool, Purpose, Result};
//! use ndarray::Array4;
//!
//! const SEED: u64 = 7;
//!
//! fn module(number: u32, in_channels: usize, pool: &Pool<f64>) -> Result<Box<dyn Module<f64>>> {
//!     let key = Key::new(SEED, Purpose::Init).with_module(number);
//!     let layer: Box<dyn Layer<f64>> = Box::new(Linear::new(in_channels, 8, key));
//!     let config = InfoNceConfig {
//!         channels: 8,
//!         context: 8,
//!         prediction_steps: 2,
//!         negatives: 4,
//!         window: None,
//!         ..InfoNceConfig::default()
//!     };
//!     let loss = InfoNce::new(config, SamplerKind::Permuted.build(), key.with_item(1))?;
//!     let parts = Parts {
//!         encoder: Sequential::new([layer]),
//!         readout: None,
//!         context: None,
//!         loss: Box::new(loss),
//!         optimizer: OptimizerConfig::default().build()?,
//!     };
//!     Ok(Box::new(LocalModule::new(number as usize, parts, pool.clone())))
//! }
//!
//! # fn main() -> Result<()> {
//! let pool = Pool::new();
//! let mut stack = Stack::new(vec![module(1, 3, &pool)?, module(2, 8, &pool)?]);
//! for step in 0..5 {
//!     // 4 sequences, 16 time steps, 3 channels
//!     let x = Array4::from_shape_vec((4, 16, 1, 3), uniform(4 * 16 * 3, step)).expect("as many values");
//!     for report in stack.step(x.view(), &[], SEED, step)? {
//!         println!("step {step}, module {}: {:.3} nats", report.module, report.loss.loss);
//!         assert!(report.loss.loss.is_finite());
//!     }
//! }
//! let features = stack.features(Array4::zeros((1, 20, 1, 3)).view())?;
//! assert_eq!(features[1].dim(), (1, 20, 1, 8));
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | module | what it holds |
//! |---|---|
//! | [`activations`] | channels-last activations; [`Detached`](activations::Detached), the gradient block as a type |
//! | [`layers`] | the layer trait; chains of layers; layers computed in chunks of items; readouts |
//! | [`module`], [`stack`] | [`Module`](module::Module), which takes and gives no gradient; modules on top of each other |
//! | [`loss`], [`sampler`] | local losses and their registry; negative samplers |
//! | [`collapse`] | whether features are the same everywhere |
//! | [`credit`] | how errors reach the layers below a loss: back-propagation, feedback alignment |
//! | [`optim`], [`param`] | Adam, SGD; parameters |
//! | [`schedule`], [`link`] | the one loop of all schedules; where its batches come from and go to |
//! | [`replicas`] | the same modules in several places, which share the arithmetic of a batch |
//! | [`checkpoint`], [`files`] | one file per module; files that are written whole or not at all |
//! | [`data`] | batches made in parallel with training, in order |
//! | [`pool`], [`rng`], [`scalar`] | recycled buffers, counter-based randomness, f32 and f64 |
//! | [`testing`] | gradient checks for layers and losses |
//!
//! The core knows no audio, no images and no command line.

pub mod activations;
pub mod checkpoint;
pub mod collapse;
pub mod credit;
pub mod data;
mod error;
pub mod files;
// Public for examples of layers and for the benchmark; not an interface to build on.
#[doc(hidden)]
pub mod kernels;
pub mod layers;
pub mod link;
pub mod loss;
pub mod module;
pub mod optim;
pub mod param;
pub mod pool;
pub mod replicas;
pub mod rng;
pub mod sampler;
pub mod scalar;
pub mod schedule;
pub mod stack;
pub mod testing;

pub use error::{Cause, Error, Result};
pub use pool::{Buffer, Pool};
pub use rng::{Key, Purpose};
pub use scalar::Scalar;
