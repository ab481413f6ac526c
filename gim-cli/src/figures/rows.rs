//! Rows of a run's CSV files, as far as figures need them. Further columns are ignored.

use std::path::Path;

use gim_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A row of `train.csv`: one module, one reported step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainRow {
    /// Training step.
    pub step: u64,
    /// Epoch the step belongs to.
    pub epoch: u32,
    /// One-based module number.
    pub module: usize,
    /// Loss in nats; may be NaN.
    pub loss: f64,
    /// Part of the positives that score above all their negatives.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// Seconds since the run began.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// What a probe looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Mel-frequency cepstral coefficients of the sound.
    Mfcc,
    /// The input itself.
    Raw,
    /// An encoder of the same shape with random weights.
    Random,
    /// The trained encoder.
    Trained,
    /// Anything a later version may add; figures skip it.
    #[serde(other)]
    Other,
}

fn all_labels() -> f64 {
    1.0
}

/// A row of `probe.csv`: one probe of one module (or of an input).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRow {
    /// What was probed.
    pub group: Group,
    /// One-based module number; 0 for inputs.
    pub module: usize,
    /// What the probe predicts, e.g. `phones`.
    pub task: String,
    /// How it was trained and split.
    #[serde(default)]
    pub protocol: String,
    /// Share of the training labels.
    #[serde(default = "all_labels")]
    pub labels: f64,
    /// Numbers per feature vector.
    #[serde(default)]
    pub dims: Option<usize>,
    /// Rows the probe learned from.
    #[serde(default)]
    pub train_rows: Option<usize>,
    /// Rows it was judged on.
    #[serde(default)]
    pub test_rows: Option<usize>,
    /// Part of the test rows predicted right.
    pub accuracy: f64,
    /// The same without rows whose class is silence.
    #[serde(default)]
    pub accuracy_no_silence: Option<f64>,
    /// Mean over classes of the part predicted right.
    #[serde(default)]
    pub macro_accuracy: Option<f64>,
    /// Accuracy of always saying the commonest class.
    #[serde(default)]
    pub majority: Option<f64>,
    /// Seed of the run.
    #[serde(default)]
    pub seed: Option<u64>,
}

/// Reads a CSV file with a header into rows.
pub fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read(path).map_err(|e| Error::io(path, "read the file", &e))?;
    let rows: std::result::Result<Vec<T>, csv::Error> =
        csv::Reader::from_reader(text.as_slice()).deserialize().collect();
    rows.map_err(|e| Error::file(path, e, "the file is not what this program writes; make it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn tolerates_further_missing_and_empty_columns() {
        let (_folder, path) = written(
            "group,module,task,protocol,extra,accuracy,macro_accuracy,seed\n\
             mfcc,0,phones,linear,x,0.4,,1\ntrained,1,phones,linear,y,0.5,0.3,1\nsupervised,1,phones,linear,y,0.5,0.3,1\n",
        );
        let rows: Vec<ProbeRow> = read_rows(&path).unwrap();
        assert_eq!(rows.iter().map(|r| r.group).collect::<Vec<_>>(), [Group::Mfcc, Group::Trained, Group::Other]);
        assert_eq!((rows[0].macro_accuracy, rows[1].macro_accuracy, rows[0].majority), (None, Some(0.3), None));
    }

    #[test]
    fn reads_losses_that_are_not_numbers() {
        let (_folder, path) = written("step,epoch,module,loss,accuracy,seconds\n0,0,1,NaN,,0.5\n10,0,1,inf,0.1,1\n");
        let rows: Vec<TrainRow> = read_rows(&path).unwrap();
        assert!(rows[0].loss.is_nan() && rows[1].loss.is_infinite() && rows[0].accuracy.is_none());
    }

    #[test]
    fn says_which_line_is_wrong() {
        let (_folder, path) = written("step,epoch,module,loss\n0,0,one,2.0\n");
        let error = read_rows::<TrainRow>(&path).unwrap_err().to_string();
        assert!(error.contains("rows.csv") && error.contains("line: 2"), "{error}");
        assert!(read_rows::<TrainRow>(Path::new("missing.csv")).is_err());
    }
}
