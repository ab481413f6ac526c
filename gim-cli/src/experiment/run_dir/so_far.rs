//! Tables of a run that another process may be writing just now.

use gim_core::Result;
use gim_eval::{OnlineRow, TrainRow, table};

use super::RunDir;

/// The rows that are there so far; none of a table that is not begun.
#[derive(Debug, Default)]
pub(crate) struct RowsSoFar {
    /// Losses by training step.
    pub train: Vec<TrainRow>,
    /// Losses on held-out items.
    pub validation: Vec<TrainRow>,
    /// Accuracies of online probes.
    pub online: Vec<OnlineRow>,
}

impl RunDir {
    /// The rows of training so far. A last row that is half written is left out.
    ///
    /// # Errors
    /// When a table cannot be read, or is damaged.
    pub(crate) fn rows_so_far(&self) -> Result<RowsSoFar> {
        let [validation, online, _] = self.side_files();
        Ok(RowsSoFar {
            train: table::read_finished_rows(&self.train_file())?,
            validation: table::read_finished_rows(&validation)?,
            online: table::read_finished_rows(&online)?,
        })
    }
}
