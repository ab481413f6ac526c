//! Settings of training: length, schedule, checkpoints and memory.

use documented::DocumentedFields;
use gim_core::data::store::ValueType;
use gim_core::kernels::memory::give_large_buffers_back;
use gim_core::{Error, Pool, Result};
use serde::{Deserialize, Serialize};

/// How modules take turns in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// All modules at every step.
    #[default]
    Simultaneous,
    /// One module after the other, above the frozen ones below.
    Iterative,
    /// All modules at once, on threads of their own: each trains on its batch while those above
    /// train on earlier ones. The result is that of `simultaneous`, bit for bit.
    Pipelined,
    /// All modules at once, each on the newest batch there is: none waits for those above, and slow
    /// ones leave batches out.
    Async,
}

impl Schedule {
    /// The schedule in which modules take turns that gives the same bits.
    pub(crate) fn in_turn(self) -> Self {
        match self {
            Self::Simultaneous | Self::Pipelined => Self::Simultaneous,
            Self::Iterative => Self::Iterative,
            Self::Async => Self::Async,
        }
    }
}

/// Which modules share a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "use \"auto\", or lists of module numbers such as [[1, 2], [3]]")]
pub enum Groups {
    /// Balanced from the measured cost of each module.
    Auto(Auto),
    /// As these lists of module numbers say, one list a thread.
    Lists(Vec<Vec<usize>>),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// `auto`.
    Auto,
}

/// How many ranks each group of modules has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "use a number, or a list with one for each group such as [1, 2]")]
pub enum Replicas {
    /// Each group has so many.
    Each(usize),
    /// One number for each group.
    ByGroup(Vec<usize>),
}

impl Replicas {
    /// Whether a group has several.
    pub(crate) fn are_several(&self) -> bool {
        match self {
            Self::Each(n) => *n > 1,
            Self::ByGroup(list) => list.iter().any(|n| *n > 1),
        }
    }
}

/// Settings of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Crops in a batch.
    pub batch: usize,
    /// Training steps (of each module, if iterative); 0 to use `epochs` instead.
    pub steps: u64,
    /// Epochs, when `steps` is 0.
    pub epochs: u64,
    /// How modules take turns: `simultaneous`, `iterative`, `pipelined` or `async`.
    pub schedule: Schedule,
    /// Modules that share a thread (`pipelined`, `async`): lists such as [[1, 2], [3]], or "auto":
    /// `pipelined` balances them by measured cost, `async` gives each its own thread.
    pub groups: Groups,
    /// Ranks that have the same group of modules and share its arithmetic (`mpirun`): one number for all
    /// groups, or a list with one for each. The result is that of one process, bit for bit. What negatives
    /// are drawn from is `loss.infonce.negative_shares`.
    pub replicas: Replicas,
    /// Batches that may wait between two groups of modules (`pipelined`).
    pub link_depth: usize,
    /// Modules that the run has, from the first one on; 0 for all of the network.
    pub modules: usize,
    /// How many times as long each module takes (`pipelined`, `async`), as a stress: [1.0, 2.0, 5.0]
    /// slows the second and the third. Empty for as long as it takes.
    pub slow: Vec<f64>,
    /// File `order.csv` of a run, whose order `async` repeats bit for bit; empty for a new order.
    pub order: String,
    /// Seconds of silence after which a rank is given up and the run ends (`mpirun`).
    pub stall_seconds: u64,
    /// Whether the output of the modules below is written once before a module trains, instead of
    /// computed at every step (`iterative`). The modules below are then not in memory.
    pub record: bool,
    /// Epochs of views that are recorded for a module; 0 for as many as it trains, which gives the bits
    /// of training without a record. Fewer are used again and again.
    pub record_epochs: u64,
    /// How recorded values are stored.
    pub record_type: ValueType,
    /// Level of zstd for records; 0 for no compression.
    pub record_zstd: i32,
    /// Whether records are kept when their module is trained.
    pub keep_record: bool,
    /// Seed of all randomness.
    pub seed: u64,
    /// Steps averaged in a row of train.csv.
    pub log_every: u64,
    /// Steps between checkpoints; a multiple of `log_every`.
    pub checkpoint_every: u64,
    /// Minutes after which a checkpoint is saved, however few steps were taken; 0 for none. It is removed after the next
    /// one.
    pub checkpoint_minutes: f64,
    /// Steps between measurements on the items that `data.validate` holds out.
    pub validate_every: u64,
    /// Steps between linear probes of a few training items while training goes on; 0 for none.
    pub probe_every: u64,
    /// Whether losses, accuracies and norms of gradients are also written for TensorBoard, into `tensorboard/` of the
    /// run.
    pub tensorboard: bool,
    /// Shares of all steps after which the weights are kept, for figures of training progress. Each
    /// is rounded to a row of train.csv.
    pub snapshots: Vec<f64>,
    /// Trades speed for memory: idle buffers are freed, and block outputs are recomputed in the
    /// backward pass. On images, a step takes little more than half of the memory and a tenth more
    /// time. Results may differ in their last bits.
    pub low_memory: bool,
}

impl TrainConfig {
    /// Whether modules train one after the other.
    pub fn iterative(&self) -> bool {
        self.schedule == Schedule::Iterative
    }

    /// Whether all modules compute on one thread, one after the other.
    pub(crate) fn takes_turns(&self) -> bool {
        matches!(self.schedule, Schedule::Simultaneous | Schedule::Iterative)
    }

    /// What is said of named groups that have no effect; `on_ranks` tells whether several processes train.
    pub(crate) fn idle_groups(&self, on_ranks: bool) -> Option<String> {
        let idle = matches!(self.groups, Groups::Lists(_)) && self.takes_turns() && !on_ranks;
        idle.then(|| {
            "train.groups has no effect where modules take turns: set train.schedule to pipelined or async".to_owned()
        })
    }

    /// The same settings, without differences that decide no weight: of schedules with the same result,
    /// the one in which modules take turns, and no trace of a record that changes nothing.
    pub(crate) fn deciding(&self) -> Self {
        let (epochs, value_type) =
            if self.record { (self.record_epochs, self.record_type) } else { Default::default() };
        Self { schedule: self.schedule.in_turn(), record_epochs: epochs, record_type: value_type, ..self.clone() }
    }

    /// Refuses records with schedules that cannot have them, and measurements with records. `held_out` tells
    /// whether items are held out of training.
    ///
    /// # Errors
    /// Names the setting.
    pub(crate) fn check_schedule(&self, held_out: bool) -> Result<()> {
        if self.record && !self.iterative() {
            let what = "is set, but only stages of iterative training are recorded";
            return Err(Error::config("train.record", what, "use train.schedule = \"iterative\""));
        }
        if self.replicas.are_several() && !matches!(self.schedule, Schedule::Simultaneous | Schedule::Pipelined) {
            let what = "is above 1, but replicas train on every batch, all modules at once";
            return Err(Error::config(
                "train.replicas",
                what,
                "use train.schedule = \"simultaneous\" or \"pipelined\"",
            ));
        }
        for (key, is_set) in [("data.validate", held_out), ("train.probe_every", self.probe_every > 0)] {
            if is_set && self.record {
                let what = "is set, but the modules below one that trains from a record are not in memory";
                return Err(Error::config(key, what, "use train.record = false, or measure the finished run"));
            }
        }
        Ok(())
    }

    /// Refuses to begin a run with replicas in one process. One that was begun with them may be resumed there.
    ///
    /// # Errors
    /// When a group has several replicas.
    pub(crate) fn check_alone(&self) -> Result<()> {
        let ranks = match &self.replicas {
            Replicas::Each(n) => format!("a multiple of {n}"),
            Replicas::ByGroup(list) => list.iter().sum::<usize>().to_string(),
        };
        if self.replicas.are_several() {
            let remedy = format!("start it with `mpirun -n RANKS gim train …`, RANKS = {ranks}, or leave it at 1");
            return Err(Error::config("train.replicas", "replicas are ranks, and this is one process", remedy));
        }
        Ok(())
    }

    /// Steps and epochs: how long each module trains.
    pub fn length(&self) -> (u64, u64) {
        (self.steps, self.epochs)
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

    /// The steps, of `total`, after which the weights are kept.
    pub fn snapshots(&self, total: u64) -> Vec<u64> {
        let row = |share: &f64| (share * total as f64 / self.log_every as f64).round().max(1.0) as u64 * self.log_every;
        let mut steps: Vec<u64> = self.snapshots.iter().map(row).filter(|step| *step < total).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// Training steps of each module. Calls `epoch_len` only if `steps` is 0.
    ///
    /// # Errors
    /// The error of `epoch_len`.
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
            groups: Groups::Auto(Auto::Auto),
            replicas: Replicas::Each(1),
            link_depth: 1,
            modules: 0,
            slow: Vec::new(),
            order: String::new(),
            stall_seconds: 60,
            record: false,
            record_epochs: 0,
            record_type: ValueType::Float32,
            record_zstd: 0,
            keep_record: false,
            seed: 1,
            log_every: 10,
            checkpoint_every: 200,
            checkpoint_minutes: 15.0,
            validate_every: 200,
            probe_every: 0,
            tensorboard: false,
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
