//! Tables of results as CSV files: the form in which figures and reports read numbers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use gim_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::examples::Part;
use crate::metrics::Score;
use crate::probe::FittedProbe;

/// One probe on one group of features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRow {
    /// Group of the feature file, or the module's name.
    pub group: String,
    /// What was probed, e.g. `phone`.
    pub task: String,
    /// `paper` or `converged`.
    pub protocol: String,
    /// Dimensions of a row of features.
    pub dims: usize,
    /// Labelled rows fitted on.
    pub train_rows: usize,
    /// Labelled rows judged.
    pub test_rows: usize,
    /// Share of right test rows.
    pub accuracy: f64,
    /// The same over rows that are not silence; empty when the task knows no silence.
    pub accuracy_no_silence: Option<f64>,
    /// Mean recall over the classes present in the test rows.
    pub macro_accuracy: f64,
    /// Accuracy of always answering the most frequent training class.
    pub majority: f64,
    /// L2 penalty of the final fit; empty for the paper's protocol.
    pub l2: Option<f64>,
    /// Iterations (converged) or optimiser steps (paper) of the final fit.
    pub iterations: usize,
    /// Whether the final fit reached its tolerance; always false for the paper's protocol, which has none.
    pub converged: bool,
    /// Wall-clock seconds of the fit, selection of the penalty included.
    pub seconds: f64,
    /// Seed of the run.
    pub seed: u64,
}

impl ProbeRow {
    /// The row of a fitted probe and its score.
    pub fn new(group: &str, task: &str, fitted: &FittedProbe, train: &Part<'_>, score: &Score, seed: u64) -> Self {
        Self {
            group: group.to_owned(),
            task: task.to_owned(),
            protocol: fitted.protocol().to_owned(),
            dims: train.dims(),
            train_rows: train.n_rows(),
            test_rows: score.rows,
            accuracy: score.accuracy,
            accuracy_no_silence: score.accuracy_no_silence,
            macro_accuracy: score.macro_accuracy,
            majority: score.majority,
            l2: fitted.l2(),
            iterations: fitted.iterations(),
            converged: fitted.converged(),
            seconds: fitted.seconds(),
            seed,
        }
    }
}

/// All rows of a table.
///
/// # Errors
/// When the file is missing or a row does not fit the columns of `T`.
pub fn read_rows<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    reader.deserialize().collect::<std::result::Result<_, _>>().map_err(|e| {
        Error::file(path, format_args!("not the table it should be: {e}"), "make the file again, or move it away")
    })
}

/// Writes a table whole: to `<path>.tmp`, then renamed, so that a reader sees the old table or the new one.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_rows<T: Serialize>(path: impl AsRef<Path>, rows: &[T]) -> Result<()> {
    let path = path.as_ref();
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer
            .serialize(row)
            .map_err(|e| Error::file(path, format_args!("cannot write a row: {e}"), "check the row"))?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|e| Error::file(path, format_args!("cannot finish the table: {}", e.error()), "check the rows"))?;
    let temporary = temporary(path);
    let put = || -> std::io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    put().map_err(|e| {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        Error::io(path, "write", &e)
    })
}

/// Adds rows to a table, making it if there is none.
///
/// # Errors
/// When the table that is there has other columns, or cannot be written.
pub fn append_rows<T: Serialize + DeserializeOwned + Clone>(path: impl AsRef<Path>, rows: &[T]) -> Result<()> {
    let path = path.as_ref();
    let mut all: Vec<T> = if path.exists() { read_rows(path)? } else { Vec::new() };
    all.extend_from_slice(rows);
    write_rows(path, &all)
}

/// `<path>.tmp`.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, silence: Option<f64>) -> ProbeRow {
        ProbeRow {
            group: group.into(),
            task: "phone".into(),
            protocol: "converged".into(),
            dims: 512,
            train_rows: 10,
            test_rows: 5,
            accuracy: 0.1 + 0.2,
            accuracy_no_silence: silence,
            macro_accuracy: 0.25,
            majority: 0.2,
            l2: silence,
            iterations: 7,
            converged: true,
            seconds: 0.5,
            seed: 3,
        }
    }

    #[test]
    fn rows_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.csv");
        append_rows(&path, &[row("mfcc", None)]).unwrap();
        append_rows(&path, &[row("a, \"quoted\"", Some(1e-7)), row("1", None)]).unwrap();
        let back: Vec<ProbeRow> = read_rows(&path).unwrap();
        assert_eq!(back, [row("mfcc", None), row("a, \"quoted\"", Some(1e-7)), row("1", None)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary stays behind");
    }

    #[test]
    fn another_table_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.csv");
        fs::write(&path, "a,b\n1,2\n").unwrap();
        let error = append_rows(&path, &[row("1", None)]).unwrap_err().to_string();
        assert!(error.contains("probe.csv"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a,b\n1,2\n");
        assert!(write_rows(folder.path().join("no/such.csv"), &[row("1", None)]).is_err());
    }
}
