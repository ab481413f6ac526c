//! What training writes down: rows and checkpoints.

use gim_core::checkpoint::{self, CheckpointMeta};
use gim_core::module::Module;
use gim_core::{Error, Result};
use gim_eval::{AlignmentRow, OnlineRow, TrainRow};

use crate::experiment::averages::Averages;
use crate::experiment::lock::FolderLock;
use crate::experiment::run_dir::{Keep, RunDir, SideLog, TrainLog};
use crate::experiment::tensorboard::EventLog;

/// What a run writes down while it trains.
pub(super) struct Record {
    pub(super) log: TrainLog,
    /// Losses on held-out items.
    pub(super) validation: SideLog,
    /// Accuracies of online probes.
    pub(super) online: SideLog,
    /// Angles between weights and feedback weights.
    pub(super) alignment: SideLog,
    pub(super) averages: Averages,
    /// What TensorBoard shows, where that is asked for.
    pub(super) events: Option<EventLog>,
    pub(super) lock: FolderLock,
}

impl Record {
    /// Writes the averages since the last rows as rows of step `step`.
    pub(super) fn write_rows(&mut self, step: u64, epoch: u64, seconds: f64) -> Result<()> {
        let rows = self.averages.take(step, epoch, seconds);
        self.log.append(&rows)?;
        let norms = self.averages.take_gradient_norms();
        self.events.as_mut().map_or(Ok(()), |events| events.add_rows(&rows, &norms))
    }

    /// Writes losses on held-out items.
    pub(super) fn write_validation(&mut self, rows: &[TrainRow]) -> Result<()> {
        self.validation.append_losses(rows)?;
        self.events.as_mut().map_or(Ok(()), |events| events.add_validation(rows))
    }

    /// Writes accuracies of online probes.
    pub(super) fn write_probes(&mut self, rows: &[OnlineRow]) -> Result<()> {
        self.online.append_probes(rows)?;
        self.events.as_mut().map_or(Ok(()), |events| events.add_probes(rows))
    }

    /// Writes angles between weights and feedback weights.
    pub(super) fn write_angles(&mut self, rows: &[AlignmentRow]) -> Result<()> {
        self.alignment.append_angles(rows)?;
        self.events.as_mut().map_or(Ok(()), |events| events.add_angles(rows))
    }

    /// Writes a checkpoint of `modules` after `step` steps.
    pub(super) fn save(
        &self,
        run: &RunDir,
        modules: impl IntoIterator<Item = Result<Vec<u8>>>,
        step: u64,
        keep: &Keep,
    ) -> Result<()> {
        // A folder that was removed meanwhile is not made anew: it would lack all that was in it.
        self.lock.check()?;
        let mut curves = self.log.curves(self.averages.unfinished());
        curves.validation = self.validation.rows();
        curves.online = self.online.rows();
        curves.alignment = self.alignment.rows();
        run.save(modules, step, &curves, keep)
    }
}

/// What the checkpoint of every module says besides its weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    /// Steps done.
    pub step: u64,
    /// [`Config::fingerprint`].
    pub fingerprint: &'a str,
    /// What the run keeps of its dataset, as JSON.
    pub dataset: &'a str,
}

impl Stamp<'_> {
    /// The checkpoint of module `index` (0-based).
    ///
    /// # Errors
    /// When a value is not finite.
    pub(crate) fn bytes(self, module: &mut dyn Module<f32>, index: usize) -> Result<Vec<u8>> {
        let (configuration, dataset) = (self.fingerprint.to_owned(), self.dataset.to_owned());
        let meta =
            CheckpointMeta { module: index + 1, step: self.step, configuration, dataset, ..CheckpointMeta::default() };
        checkpoint::to_bytes(module, &meta)
    }
}

/// Adds to an error of divergence which checkpoint is good.
pub(super) fn name_last_checkpoint(e: Error, run: &RunDir) -> Error {
    match e {
        Error::Diverged { module, step, what, remedy } => {
            let last = match run.newest_checkpoint() {
                Ok(Some(c)) => format!("the last good checkpoint is {}", c.folder.display()),
                Ok(None) => "there is no checkpoint yet".to_owned(),
                Err(e) => e.to_string(),
            };
            Error::Diverged { module, step, what, remedy: format!("{remedy}; {last}") }
        }
        other => other,
    }
}
