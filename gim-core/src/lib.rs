//! Core of Greedy InfoMax.
pub mod error;
pub mod kernels;
pub mod pool;
pub mod rng;
pub mod scalar;

pub use error::{Error, Result};
pub use pool::{Buffer, Pool};
pub use rng::{Key, Purpose};
pub use scalar::Scalar;
