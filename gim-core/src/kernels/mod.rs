//! Free functions on slices, without state, that layers and losses are built on.

pub(crate) mod dot4;
pub mod exp;
pub mod gemm;
pub mod memory;
pub mod profile;
pub mod vector;

/// Runs `work` on a thread of rayon's pool, where parallel loops begin at once. From outside the pool,
/// every loop puts the caller to sleep and wakes another thread.
pub fn on_pool_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
