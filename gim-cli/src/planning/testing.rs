//! Made-up costs.

use super::measure::ModuleCost;

/// A module that takes so many seconds forward and to train.
pub(super) fn cost(module: usize, forward_seconds: f64, train_seconds: f64) -> ModuleCost {
    ModuleCost {
        module,
        forward_seconds,
        train_seconds,
        parameters: 1000,
        state_bytes: 12_000,
        working_bytes: 50_000,
        input_bytes: 10_000,
        channels: 4,
    }
}
