//! Records of module outputs, and the table of what they took.

use std::path::PathBuf;

use gim_core::data::store;
use gim_core::{Error, Result};
use gim_eval::{RecordRow, table};

use super::RunDir;
use crate::experiment::train_config::TrainConfig;

impl RunDir {
    fn records_folder(&self) -> PathBuf {
        self.path.join("record")
    }

    /// Folder of the output of module number `module` (one-based).
    pub(crate) fn record_folder(&self, module: usize) -> PathBuf {
        self.records_folder().join(format!("module_{module}"))
    }

    pub(super) fn record_file(&self) -> PathBuf {
        self.path.join("record.csv")
    }

    /// Removes all records but that of one module; `None` removes nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn remove_records(&self, but: Option<usize>) -> Result<()> {
        let Some(but) = but else { return Ok(()) };
        let kept = self.record_folder(but);
        let Ok(entries) = std::fs::read_dir(self.records_folder()) else { return Ok(()) };
        entries.flatten().map(|e| e.path()).filter(|f| *f != kept).try_for_each(|folder| store::remove(&folder))
    }

    /// Removes what is left of records that nobody will read: those of a run that `is_done`, or that
    /// trains without records by now.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn sweep_records(&self, train: &TrainConfig, is_done: bool) -> Result<()> {
        if train.keep_record || (train.record && !is_done) {
            return Ok(());
        }
        // No module has this number.
        self.remove_records(Some(0))?;
        let folder = self.records_folder();
        match std::fs::remove_dir(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&folder, "remove the records", e)),
            _ => Ok(()),
        }
    }

    /// Adds a row to the table of records, which replaces that of the same module.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub(crate) fn merge_record_row(&self, row: RecordRow) -> Result<()> {
        let path = self.record_file();
        let mut rows: Vec<RecordRow> = table::read_rows_if_any(&path)?;
        rows.retain(|r| r.module != row.module);
        rows.push(row);
        rows.sort_by_key(|r| r.module);
        table::write_rows(&path, &rows)
    }
}
