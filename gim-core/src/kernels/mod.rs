//! Free functions on slices, without state: what the layers and losses are made of.

pub(crate) mod dot4;
pub mod exp;
pub mod gemm;
pub mod memory;
pub mod profile;
pub mod vector;

/// Runs work with many parallel loops on a thread of rayon's pool, where each loop begins at once. From outside, every one of
/// them would put the caller to sleep and wake another thread.
pub fn on_pool_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
