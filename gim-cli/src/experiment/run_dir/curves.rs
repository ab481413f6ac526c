//! The log of training, `train.csv`, and the copy of it that every checkpoint carries.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use gim_core::files::{hex, write_atomic};
use gim_core::{Error, Result};
use gim_eval::TrainRow;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RunDir;
use crate::experiment::averages::Sums;
use crate::output::note;

/// Name of the file in a checkpoint's folder.
const FILE: &str = "curves.json";
/// Columns of the log. The last is the only one that differs between two runs of one configuration.
const HEADER: &str = "step,epoch,module,loss,accuracy,seconds\n";

/// Training curves up to a checkpoint. Two runs of one configuration have the same, so they hold no
/// times.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Curves {
    /// Rows of `train.csv` without their times.
    rows: Vec<String>,
    /// Sums of the row that is not finished.
    pub unfinished: Vec<Sums>,
    /// Rows of `validation.csv`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<String>,
    /// Rows of `online.csv`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub online: Vec<String>,
    /// Rows of `alignment.csv`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alignment: Vec<String>,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Sealed {
    curves: Curves,
    /// SHA-256 of the curves as JSON, in hexadecimal.
    digest: String,
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::file(path, format_args!("is damaged: {what}"), "copy it again, or remove the folder of this step")
}

impl Curves {
    fn digest(&self, path: &Path) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|e| Error::internal(path.display(), &e).caused_by(e))?;
        Ok(hex(Sha256::digest(text)))
    }

    /// Writes the curves into the folder of a checkpoint.
    pub(super) fn write(&self, checkpoint: &Path) -> Result<()> {
        let path = checkpoint.join(FILE);
        let sealed = Sealed { curves: self.clone(), digest: self.digest(&path)? };
        let text = serde_json::to_vec(&sealed).map_err(|e| Error::internal(path.display(), &e).caused_by(e))?;
        write_atomic(&path, &text)
    }

    /// Reads the curves of a checkpoint and verifies their digest.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub(super) fn read(checkpoint: &Path) -> Result<Self> {
        let path = checkpoint.join(FILE);
        let text = fs::read(&path).map_err(|e| Error::io(&path, "read the curves of the checkpoint", e))?;
        let sealed: Sealed = serde_json::from_slice(&text).map_err(|e| damaged(&path, e))?;
        if sealed.curves.digest(&path)? != sealed.digest {
            return Err(damaged(&path, "its digest does not hold"));
        }
        Ok(sealed.curves)
    }
}

impl RunDir {
    /// Opens the log of training to append to it. It then holds the rows of `curves`: rows behind the
    /// checkpoint are cut off, since their steps will be done again. Rows that are missing or were
    /// changed are written anew, without their times, and standard error says so.
    ///
    /// # Errors
    /// When the log cannot be read or written.
    pub(crate) fn open_log(&self, curves: Curves) -> Result<TrainLog> {
        let path = self.train_file();
        let old = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io(&path, "read the log", e)),
        };
        let text = String::from_utf8_lossy(&old);
        // A full disk cuts the last line short.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut had = whole.lines().skip(1).map(|l| l.rsplit_once(',').unwrap_or((l, "")));
        let (mut out, mut seconds, mut restored) = (HEADER.to_owned(), 0.0, 0);
        for row in &curves.rows {
            match had.next() {
                Some((values, time)) if values == row && time.parse::<f64>().is_ok_and(f64::is_finite) => {
                    seconds = time.parse().unwrap_or(seconds);
                    out += &format!("{row},{time}\n");
                }
                _ => {
                    restored += 1;
                    out += &format!("{row},\n");
                }
            }
        }
        if restored > 0 {
            let (n, path) = (curves.rows.len(), path.display());
            let what = format!("lacked {restored} of the {n} rows of the steps done; they are restored without times");
            note(format_args!("note: {path} {what}"));
        }
        if out.as_bytes() != old {
            write_atomic(&path, out.as_bytes())?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, "open the log", e))?;
        Ok(TrainLog { path, file, rows: curves.rows, seconds })
    }
}

/// The open log of training.
pub(crate) struct TrainLog {
    path: PathBuf,
    file: File,
    rows: Vec<String>,
    seconds: f64,
}

impl TrainLog {
    /// What a checkpoint carries: the rows so far, and the sums of the row that is not finished.
    pub(crate) fn curves(&self, unfinished: Vec<Sums>) -> Curves {
        Curves { rows: self.rows.clone(), unfinished, ..Curves::default() }
    }

    /// Seconds of training that were logged when the log was opened.
    pub(crate) fn seconds_before(&self) -> f64 {
        self.seconds
    }

    /// Appends rows.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn append(&mut self, rows: &[TrainRow]) -> Result<()> {
        let mut text = String::new();
        for row in rows {
            let values = values(row);
            text += &format!("{values},{:.3}\n", row.seconds.unwrap_or(0.0));
            self.rows.push(values);
        }
        self.file.write_all(text.as_bytes()).map_err(|e| Error::io(&self.path, "write the log", e))
    }
}

/// A row without its time.
pub(super) fn values(r: &TrainRow) -> String {
    format!("{},{},{},{:.6},{:.6}", r.step, r.epoch, r.module, r.loss, r.accuracy.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, seconds: Option<f64>) -> TrainRow {
        TrainRow { step, epoch: 0, module: 1, loss: 2.0, accuracy: Some(0.5), seconds }
    }

    #[test]
    fn a_log_is_mended_from_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        let timed = |step| row(step, Some(1.0));
        let mut log = run.open_log(Curves::default()).unwrap();
        log.append(&[timed(2), timed(4)]).unwrap();
        let curves = log.curves(Vec::new());
        log.append(&[timed(6)]).unwrap();

        // Rows behind the checkpoint and a line that a full disk cut short are dropped.
        fs::write(run.train_file(), fs::read_to_string(run.train_file()).unwrap() + "8,0,1,1.").unwrap();
        let mut log = run.open_log(curves.clone()).unwrap();
        assert_eq!((run.train_rows().unwrap(), log.seconds_before()), (vec![timed(2), timed(4)], 1.0));
        log.append(&[timed(6)]).unwrap();
        assert_eq!(run.train_rows().unwrap(), [timed(2), timed(4), timed(6)]);

        let whole = fs::read_to_string(run.train_file()).unwrap();
        for damaged in ["", HEADER, &whole[..whole.len() / 2], &whole.replace("2.000000", "1.000000")] {
            fs::write(run.train_file(), damaged).unwrap();
            run.open_log(curves.clone()).unwrap();
            let steps: Vec<_> = run.train_rows().unwrap().iter().map(|r| (r.step, r.loss)).collect();
            assert_eq!(steps, [(2, 2.0), (4, 2.0)], "{damaged}");
        }
        fs::remove_file(run.train_file()).unwrap();
        run.open_log(curves).unwrap();
        assert_eq!(run.train_rows().unwrap(), [row(2, None), row(4, None)]);
        run.open_log(Curves::default()).unwrap();
        assert_eq!(run.train_rows().unwrap(), []);
    }

    #[test]
    fn curves_are_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let curves = Curves {
            rows: vec!["2,0,1,2.000000,0.500000".into()],
            unfinished: vec![[u64::MAX, 2, 3]],
            ..Curves::default()
        };
        curves.write(folder.path()).unwrap();
        assert_eq!(Curves::read(folder.path()).unwrap(), curves);
        let file = folder.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        for damaged in [&text[..text.len() - 9], &text.replace("2.000000", "2.000001"), "{}"] {
            fs::write(&file, damaged).unwrap();
            assert!(Curves::read(folder.path()).unwrap_err().to_string().contains("is damaged"), "{damaged}");
        }
    }
}
