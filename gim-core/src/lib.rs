//! Core of Greedy InfoMax: self-supervised learning without end-to-end backpropagation.
//!
//! A network is cut by depth into modules g₁ … g_M. Module m maps z^{m−1} to z^m; between modules stands a gradient block, so
//! z flows up and no gradient flows down. Every module learns from a loss on its own output. The loss of the paper is InfoNCE:
//! from a context c_t predict the own future z_{t+k}, k = 1..K, among negatives z_j:
//!
//! ```text
//! f_k(z, c) = exp(zᵀ W_k c)          loss = mean over k, t of  −log  f_k(z_{t+k}, c_t) / Σ_{j ∈ X} f_k(z_j, c_t)
//! ```
//!
//! with X = the positive and N negatives, and c_t = z_t or the output of a context network (Löwe, O'Connor, Veeling 2019).
//!
//! | module | what it holds |
//! |---|---|
//! | [`activations`] | channels-last activations; [`Detached`](activations::Detached), the gradient block as a type |
//! | [`layer`], [`layers`] | the layer trait; chains; chunks of items |
//! | [`module`] | [`Module`](module::Module): takes no gradient, gives none |
//! | [`loss`], [`sampler`] | InfoNCE, cross-entropy; negative samplers |
//! | [`optim`], [`param`] | Adam, SGD; parameters |
//! | [`schedule`] | the one loop behind all schedules, and its links |
//! | [`checkpoint`] | one file a module |
//! | [`loader`] | batches made beside training, in order |
//! | [`kernels`], [`pool`], [`rng`], [`scalar`] | matrix products, recycled buffers, counter-based randomness, f32 and f64 |
//! | [`testing`] | gradient checks for layers and losses |
//!
//! The core knows no sound, no image and no command line.

pub mod activations;
pub mod checkpoint;
pub mod data;
mod error;
pub mod files;
pub mod kernels;
pub mod layers;
pub mod link;
pub mod loss;
pub mod module;
pub mod optim;
pub mod param;
pub mod pool;
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
