//! Rows of a run's CSV files. Further columns are ignored.

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

/// A row of `probe.csv`: one probe of one module, or of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRow {
    /// What was probed.
    pub group: Group,
    /// One-based module number; 0 for the input itself.
    pub module: usize,
    /// `phones`, `speakers` or `classes`.
    pub task: String,
    /// `converged`, `paper` or `knn`.
    pub protocol: String,
    /// Share of the training labels that were fitted on.
    #[serde(default = "all_labels")]
    pub labels: f64,
    /// Dimensions of the features.
    pub dims: usize,
    /// Rows fitted on.
    pub train_rows: usize,
    /// Rows judged.
    pub test_rows: usize,
    /// Share of right rows.
    pub accuracy: f64,
    /// The same without silence (phones only).
    pub accuracy_no_silence: Option<f64>,
    /// Mean recall over classes.
    pub macro_accuracy: f64,
    /// Share of rows whose class is among the five best.
    #[serde(default)]
    pub top5: Option<f64>,
    /// Accuracy of the most frequent training class.
    pub majority: f64,
    /// L2 penalty chosen.
    pub l2: Option<f64>,
    /// Iterations of the final fit; 0 without one.
    pub iterations: usize,
    /// Whether it reached its tolerance.
    pub converged: bool,
    /// Seconds of the fit.
    pub seconds: f64,
    /// Seed of the run.
    pub seed: u64,
}

impl ProbeRow {
    /// What the probe is judged by: the share of right rows, without silence for phones.
    pub fn judged(&self) -> f64 {
        self.accuracy_no_silence.unwrap_or(self.accuracy)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::table::read_rows;

    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn tolerates_further_missing_and_empty_columns() {
        let numbers = "4,10,10,0.4,,0.3,0.1,,1,true,0.5,1";
        let (_folder, path) = written(&format!(
            "group,module,task,protocol,extra,dims,train_rows,test_rows,accuracy,accuracy_no_silence,macro_accuracy,\
             majority,l2,iterations,converged,seconds,seed\n\
             mfcc,0,phones,paper,x,{numbers}\nsupervised,1,phones,paper,y,{numbers}\n",
        ));
        let rows: Vec<ProbeRow> = read_rows(&path).unwrap();
        assert_eq!(rows.iter().map(|r| r.group).collect::<Vec<_>>(), [Group::Mfcc, Group::Other]);
        // Tables of older versions know neither shares of labels nor the five best.
        assert_eq!((rows[0].labels, rows[0].top5, rows[0].l2, rows[0].macro_accuracy), (1.0, None, None, 0.3));
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
