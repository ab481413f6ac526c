//! Measurements while training goes on: losses on held-out items, probes, and angles of feedback weights. All need
//! the whole stack in one thread, in the state after so many steps.

use gim_core::Result;
use gim_core::credit::{Alignment, CreditAssignment, alignments};
use gim_eval::AlignmentRow;

use super::{Record, Training};

impl Training<'_> {
    /// Whether the modules that learn are measured on held-out items after `done` steps; also at the end of a
    /// module's training.
    fn validates(&self, done: u64) -> bool {
        let due = done.is_multiple_of(self.config.train.validate_every) || done.is_multiple_of(self.each);
        due && self.validation.is_some()
    }

    /// Whether the features of all modules are probed after `done` steps.
    fn probes(&self, done: u64) -> bool {
        let due = done == self.total || done.is_multiple_of(self.config.train.probe_every);
        due && self.online.is_some()
    }

    /// Whether the angles of feedback weights are measured after `done` steps: with the rows of train.csv, but on
    /// threads at the end, because the groups would have to end for every row.
    fn measures_angles(&self, done: u64) -> bool {
        let train = &self.config.train;
        let due = done == self.total || train.takes_turns() && done.is_multiple_of(train.log_every);
        due && self.config.domain.credit() == CreditAssignment::FeedbackAlignment
    }

    /// Whether anything is measured after `done` steps.
    pub(super) fn measures(&self, done: u64) -> bool {
        self.validates(done) || self.probes(done) || self.measures_angles(done)
    }

    /// The step after `done` that is measured next, where all modules train at once; the last one where none is.
    pub(super) fn next_measurement(&self, done: u64) -> u64 {
        let next = |every: u64| (done / every + 1).saturating_mul(every);
        let validation = self.validation.as_ref().map(|_| next(self.config.train.validate_every));
        let probes = self.online.as_ref().map(|_| next(self.config.train.probe_every));
        validation.into_iter().chain(probes).fold(self.total, u64::min)
    }

    /// Measures what is due after `done` steps.
    ///
    /// # Errors
    /// When a file cannot be read or written, or features are not finite.
    pub(super) fn measure(&mut self, done: u64, record: &mut Record) -> Result<()> {
        let (validates, probes, modes) = (self.validates(done), self.probes(done), self.modes(done - 1));
        if let Some(validation) = self.validation.as_ref().filter(|_| validates) {
            let at = (done, (done - 1) / self.source.epoch_len());
            let rows = validation.rows(&mut self.stack, &*self.source, &modes, at, &self.plans, &self.pool)?;
            record.write_validation(&rows)?;
        }
        if let Some(online) = self.online.as_mut().filter(|_| probes) {
            record.write_probes(&online.rows(&mut self.stack, done, &self.pool)?)?;
        }
        if self.measures_angles(done) {
            let row = |Alignment { module, weight, degrees }| AlignmentRow {
                step: done,
                module: self.below + module,
                weight,
                degrees,
            };
            record.write_angles(&alignments(&mut self.stack).into_iter().map(row).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
