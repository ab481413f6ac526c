//! Tables that grow with training beside `train.csv`. Every checkpoint carries their rows.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use gim_core::files::write_atomic;
use gim_core::{Error, Result};
use gim_eval::{AlignmentRow, OnlineRow, TrainRow, table};

use super::RunDir;
use super::curves::{Curves, values};

/// Columns of `validation.csv`.
const VALIDATION: &str = "step,epoch,module,loss,accuracy\n";
/// Columns of `online.csv`.
const ONLINE: &str = "step,module,task,accuracy\n";
/// Columns of `alignment.csv`.
const ALIGNMENT: &str = "step,module,weight,degrees\n";

impl RunDir {
    pub(super) fn side_files(&self) -> [PathBuf; 3] {
        [self.validation_file(), self.online_file(), self.alignment_file()]
    }

    fn validation_file(&self) -> PathBuf {
        self.path.join("validation.csv")
    }

    /// Losses on held-out items; empty for a run that has none.
    ///
    /// # Errors
    /// When the table is damaged.
    pub(crate) fn validation_rows(&self) -> Result<Vec<TrainRow>> {
        table::read_rows_if_any(&self.validation_file())
    }

    /// Opens `validation.csv`, which then holds the rows of `curves`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn open_validation(&self, curves: &Curves) -> Result<SideLog> {
        SideLog::open(self.validation_file(), VALIDATION, curves.validation.clone())
    }
}

impl RunDir {
    fn online_file(&self) -> PathBuf {
        self.path.join("online.csv")
    }

    /// Accuracies of online probes; empty for a run that has none.
    ///
    /// # Errors
    /// When the table is damaged.
    pub(crate) fn online_rows(&self) -> Result<Vec<OnlineRow>> {
        table::read_rows_if_any(&self.online_file())
    }

    /// Opens `online.csv`, which then holds the rows of `curves`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn open_online(&self, curves: &Curves) -> Result<SideLog> {
        SideLog::open(self.online_file(), ONLINE, curves.online.clone())
    }
}

impl RunDir {
    fn alignment_file(&self) -> PathBuf {
        self.path.join("alignment.csv")
    }

    /// Angles between weights and feedback weights; empty for a run that has none.
    ///
    /// # Errors
    /// When the table is damaged.
    pub(crate) fn alignment_rows(&self) -> Result<Vec<AlignmentRow>> {
        table::read_rows_if_any(&self.alignment_file())
    }

    /// Opens `alignment.csv`, which then holds the rows of `curves`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn open_alignment(&self, curves: &Curves) -> Result<SideLog> {
        SideLog::open(self.alignment_file(), ALIGNMENT, curves.alignment.clone())
    }
}

/// A table to append to. Its rows hold no times, so two runs of one configuration have the same.
pub(crate) struct SideLog {
    path: PathBuf,
    header: &'static str,
    rows: Vec<String>,
}

impl SideLog {
    /// The table with these rows alone: those behind the checkpoint will be made again. A run that
    /// never appends has no file.
    fn open(path: PathBuf, header: &'static str, rows: Vec<String>) -> Result<Self> {
        let log = Self { path, header, rows };
        if log.path.is_file() || !log.rows.is_empty() {
            log.write()?;
        }
        Ok(log)
    }

    fn write(&self) -> Result<()> {
        let rows: String = self.rows.iter().map(|row| format!("{row}\n")).collect();
        write_atomic(&self.path, format!("{}{rows}", self.header).as_bytes())
    }

    /// The rows so far.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.rows.clone()
    }

    /// Appends rows of losses.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn append_losses(&mut self, rows: &[TrainRow]) -> Result<()> {
        self.append(rows.iter().map(values))
    }

    /// Appends rows of online probes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn append_probes(&mut self, rows: &[OnlineRow]) -> Result<()> {
        self.append(rows.iter().map(|r| format!("{},{},{},{:.6}", r.step, r.module, r.task, r.accuracy)))
    }

    /// Appends rows of angles.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn append_angles(&mut self, rows: &[AlignmentRow]) -> Result<()> {
        self.append(rows.iter().map(|r| format!("{},{},{},{:.4}", r.step, r.module, r.weight, r.degrees)))
    }

    fn append(&mut self, rows: impl Iterator<Item = String>) -> Result<()> {
        if self.rows.is_empty() {
            self.rows.extend(rows);
            return self.write();
        }
        let (before, mut text) = (self.rows.len(), String::new());
        self.rows.extend(rows);
        self.rows[before..].iter().for_each(|row| text += &format!("{row}\n"));
        let file = OpenOptions::new().append(true).open(&self.path);
        file.and_then(|mut f| f.write_all(text.as_bytes())).map_err(|e| Error::io(&self.path, "write the table", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_behind_the_checkpoint_are_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        let row = |step| TrainRow { step, epoch: 0, module: 2, loss: f64::NAN, accuracy: Some(0.5), seconds: None };
        let steps = || run.validation_rows().unwrap().iter().map(|r| r.step).collect::<Vec<_>>();
        let mut log = run.open_validation(&Curves::default()).unwrap();
        assert!(!run.validation_file().exists() && steps().is_empty());
        log.append_losses(&[row(2)]).unwrap();
        log.append_losses(&[row(4), row(6)]).unwrap();
        assert_eq!(steps(), [2, 4, 6]);
        assert!(run.validation_rows().unwrap()[0].loss.is_nan());
        let mut curves = Curves::default();
        curves.validation = log.rows()[..2].to_vec();
        for damaged in ["", "step\n", "step,epoch,module,loss,accuracy\n2,0,2,1.0"] {
            std::fs::write(run.validation_file(), damaged).unwrap();
            let mut log = run.open_validation(&curves).unwrap();
            assert_eq!(steps(), [2, 4]);
            log.append_losses(&[row(6)]).unwrap();
            assert_eq!(steps(), [2, 4, 6]);
        }
    }
}
