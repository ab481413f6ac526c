//! Resuming a run that has done all its steps.

use gim_core::Result;

use super::{DatasetPolicy, Training};
use crate::experiment::progress::Mode as Show;
use crate::experiment::run_dir::{Curves, Keep};
use crate::output;

impl Training<'_> {
    /// Whether no step is left.
    pub(super) fn is_finished(&self) -> bool {
        self.first > 0 && self.first >= self.total
    }

    /// Writes the tables of the finished run once more, which stay on record with what it was made with. Gives its
    /// steps, and says what can be done with it.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(super) fn finish_again(&self, curves: Curves, policy: DatasetPolicy<'_>, show: Show) -> Result<u64> {
        let (run, train) = (self.run, &self.config.train);
        // A run of an older version lacks it.
        if !matches!(policy, DatasetPolicy::Any) && run.dataset()?.is_none() {
            run.write_dataset(self.source.record())?;
        }
        run.open_validation(&curves)?;
        run.open_online(&curves)?;
        run.open_alignment(&curves)?;
        run.open_log(curves)?;
        run.sweep_records(train, true)?;
        // A kill may have come between the last checkpoint and the removal of those before it.
        run.remove_superfluous(&Keep::new(train, self.total))?;
        if show != Show::Quiet {
            output::note(self.next_steps());
        }
        Ok(self.total)
    }

    fn next_steps(&self) -> String {
        let (run, steps) = (self.run.path().display(), self.first);
        let length = if self.config.train.steps > 0 { "train.steps" } else { "train.epochs" };
        let more = match self.config.length_decides() {
            false => format!("; to train on, raise {length} in {run}/config.toml and resume"),
            true => String::new(),
        };
        format!(
            "note: the run has finished: all its {steps} steps are done. `gim probe {run} --task TASK` evaluates it, \
             `gim figures {run}` draws it{more}"
        )
    }
}
