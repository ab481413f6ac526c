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

/// Saves the states that are due, by steps or by the clock of rank 0, and those at the end: also where the run is
/// stopped.
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
    /// Steps after which a state is wanted although it is not due: the newest such number. The rank comes to
    /// the state before it hears of another.
    extra: AtomicU64,
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
        let [end, extra] = [UNKNOWN; 2].map(AtomicU64::new);
        Ok(Self { fingerprint, dataset, keep, first, below, end, extra })
    }

    /// Whether the state after so many steps is due by their number.
    pub(crate) fn due(&self, steps: u64) -> bool {
        self.keep.due(steps)
    }

    /// The state after so many steps is wanted, too.
    pub(crate) fn also_after(&self, steps: u64) {
        self.extra.store(steps, Ordering::Relaxed);
    }

    /// Whether that was asked for.
    pub(crate) fn is_extra(&self, steps: u64) -> bool {
        self.extra.load(Ordering::Relaxed) == steps
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
        let is_asked = (step == self.end.load(Ordering::Relaxed) || self.is_extra(step)) && step > self.first;
        let stamp = Stamp { step, fingerprint: &self.fingerprint, dataset: &self.dataset };
        (is_asked || self.keep.due(step)).then(|| stamp.bytes(module, self.below + index)).transpose()
    }
}
