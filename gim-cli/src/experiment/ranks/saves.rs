//! Which states of modules a rank saves.

use std::sync::atomic::{AtomicU64, Ordering};

use gim_core::Result;
use gim_core::module::Module;

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::run_dir::Keep;
use crate::experiment::train::Stamp;

/// Before the end is known.
const UNKNOWN: u64 = u64::MAX;

/// Saves the states that are due, and those at the end: also where the run is stopped.
pub(crate) struct Saves {
    fingerprint: String,
    /// What the run keeps of its dataset, as JSON.
    dataset: String,
    keep: Keep,
    /// Steps done before.
    first: u64,
    /// Modules of the network below those of the rank.
    below: usize,
    /// Steps at the end, which all ranks come to.
    end: AtomicU64,
}

impl Saves {
    /// For the modules above the first `below`.
    ///
    /// # Errors
    /// When the record cannot be written as JSON.
    pub(crate) fn new(
        config: &Config,
        record: &DatasetRecord,
        keep: Keep,
        (first, below): (u64, usize),
    ) -> Result<Self> {
        let (fingerprint, dataset) = (config.fingerprint(), record.to_json()?);
        Ok(Self { fingerprint, dataset, keep, first, below, end: AtomicU64::new(UNKNOWN) })
    }

    /// All ranks end after so many steps.
    pub(crate) fn end_after(&self, steps: u64) {
        self.end.store(steps, Ordering::Relaxed);
    }

    /// The checkpoint of module `index` (0-based) of the rank after so many steps of the run, if it is
    /// wanted.
    ///
    /// # Errors
    /// When a value is not finite.
    pub(crate) fn state(&self, module: &mut dyn Module<f32>, index: usize, step: u64) -> Result<Option<Vec<u8>>> {
        let is_end = step == self.end.load(Ordering::Relaxed) && step > self.first;
        let stamp = Stamp { step, fingerprint: &self.fingerprint, dataset: &self.dataset };
        (is_end || self.keep.due(step)).then(|| stamp.bytes(module, self.below + index)).transpose()
    }
}
