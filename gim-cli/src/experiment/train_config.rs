//! How long, in which order and with which means a run trains.

use gim_core::kernels::memory::give_large_buffers_back;
use gim_core::{Pool, Result};
use serde::{Deserialize, Serialize};

/// The order in which modules learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// All at every step.
    #[default]
    Simultaneous,
    /// One after the other, on the frozen ones below.
    Iterative,
}

/// How long and in which order modules learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Crops of a step.
    pub batch: usize,
    /// Steps (of each module, when iterative); 0 to count epochs instead.
    pub steps: u64,
    /// Epochs, when `steps` is 0.
    pub epochs: u64,
    /// Order in which modules learn.
    pub schedule: Schedule,
    /// Seed of all randomness.
    pub seed: u64,
    /// Steps averaged in a row of train.csv.
    pub log_every: u64,
    /// Steps between checkpoints; a multiple of `log_every`.
    pub checkpoint_every: u64,
    /// Shares of all steps after which weights are kept for good, for figures of what training does; each is rounded to a row of
    /// train.csv.
    pub snapshots: Vec<f64>,
    /// Whether less memory is worth a longer step (images: little more than half of the memory, a tenth more time):
    /// little more is held than is in use, and outputs are computed once more instead of kept. Results may differ in their
    /// last bits.
    pub low_memory: bool,
}

impl TrainConfig {
    /// Whether modules learn one after the other.
    pub fn iterative(&self) -> bool {
        self.schedule == Schedule::Iterative
    }

    /// An empty pool for a stack and its batches.
    pub fn pool(&self) -> Pool<f32> {
        if self.low_memory {
            give_large_buffers_back();
            Pool::low_memory()
        } else {
            Pool::new()
        }
    }

    /// Steps after which weights are kept for good, of `total` steps.
    pub fn snapshots(&self, total: u64) -> Vec<u64> {
        let row = |share: &f64| (share * total as f64 / self.log_every as f64).round().max(1.0) as u64 * self.log_every;
        let mut steps: Vec<u64> = self.snapshots.iter().map(row).filter(|step| *step < total).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// Steps that each module learns for; `epoch_len` is asked for only when epochs are counted.
    ///
    /// # Errors
    /// When the length of an epoch cannot be told.
    pub fn steps_each(&self, epoch_len: impl FnOnce() -> Result<u64>) -> Result<u64> {
        if self.steps > 0 { Ok(self.steps) } else { Ok(self.epochs * epoch_len()?) }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch: 8,
            steps: 0,
            epochs: 1,
            schedule: Schedule::Simultaneous,
            seed: 1,
            log_every: 10,
            checkpoint_every: 200,
            snapshots: vec![0.03, 0.2],
            low_memory: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_rows_of_the_log_before_the_end() {
        let train = TrainConfig { snapshots: vec![0.2, 0.001, 0.21, 0.99], log_every: 10, ..TrainConfig::default() };
        assert_eq!(train.snapshots(1000), [10, 200, 210, 990]);
        assert_eq!(train.snapshots(100), [10, 20]);
        assert_eq!(train.snapshots(5), [0; 0]);
    }
}
