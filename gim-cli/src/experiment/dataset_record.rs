//! What a run keeps of its dataset, so that it can be used without it: `dataset.json` of the run,
//! also in the metadata of its checkpoints and in its feature files.

use std::collections::BTreeMap;

use gim_core::files::hex;
use gim_core::{Error, Result};
use gim_eval::{FrameTimes, Task};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::experiment::environment::TrainedOn;

/// Facts about the dataset of a run. Features are computed with them, never with those of another
/// dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetRecord {
    /// Name and digest of the dataset: files, labels and splits.
    pub trained_on: TrainedOn,
    /// Digest of the splits alone; see [`splits_digest`].
    pub splits_digest: String,
    /// Means that are subtracted from the input, one a channel.
    pub mean: Vec<f64>,
    /// Standard deviations that the input is divided by, one a channel.
    pub std: Vec<f64>,
    /// Steps of an epoch.
    pub epoch_steps: u64,
    /// Names of the classes of each kind of labels, by its name in feature files.
    pub classes: BTreeMap<String, Vec<String>>,
    /// The phone that is silence, if one is.
    pub silence: Option<usize>,
    /// The time axis of audio; none for images.
    pub time: Option<TimeAxis>,
}

/// The time axis of audio, in samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeAxis {
    /// Samples a second.
    pub rate: u32,
    /// Samples from one row of the features to the next.
    pub hop: usize,
    /// Sample at the center of the first row.
    pub first_center: f64,
    /// What a frame of each convolution sees.
    pub fields: Vec<Field>,
}

/// What a frame of a convolution sees of the waveform, in samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// From one frame to the next.
    pub hop: usize,
    /// Length of the receptive field.
    pub length: usize,
    /// Center of the receptive field of frame 0.
    pub center: f64,
}

impl DatasetRecord {
    /// What stands for the record of a dataset that is not at hand: numbers for names of so many classes, and no
    /// standardization.
    pub(crate) fn of_absent(name: &str, epoch_steps: u64, classes: &[(Task, usize)]) -> Self {
        let numbers = |n: usize| (0..n).map(|c| c.to_string()).collect();
        Self {
            trained_on: TrainedOn { name: name.to_owned(), digest: String::new() },
            splits_digest: String::new(),
            mean: Vec::new(),
            std: Vec::new(),
            epoch_steps,
            classes: classes.iter().map(|(task, n)| (task.label().to_owned(), numbers(*n))).collect(),
            silence: None,
            time: None,
        }
    }

    /// Number of classes of a task; 0 when it has no labels.
    pub fn n_classes(&self, task: Task) -> usize {
        self.classes.get(task.label()).map_or(0, Vec::len)
    }

    /// Times of the rows of features; none for images.
    pub(crate) fn frames(&self) -> Option<FrameTimes> {
        let time = self.time.as_ref()?;
        let rate = f64::from(time.rate);
        Some(FrameTimes { first: time.first_center / rate, hop: time.hop as f64 / rate })
    }

    /// Refuses to resume a run whose epochs have other batches than those of `now`, on the same dataset.
    ///
    /// # Errors
    /// Then.
    pub(crate) fn check_batches(&self, now: &Self) -> Result<()> {
        let batches = |r: &Self| (r.epoch_steps, r.splits_digest.clone());
        if self.trained_on.digest != now.trained_on.digest || batches(self) == batches(now) {
            return Ok(());
        }
        let what =
            format!("was begun with epochs of other batches ({} steps, not {})", self.epoch_steps, now.epoch_steps);
        Err(Error::config("the run", what, "resume it with the version it was begun with, or train another run"))
    }

    /// As JSON on one line.
    ///
    /// # Errors
    /// Never for values that a dataset can have.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::internal("dataset record", &e).caused_by(e))
    }
}

/// SHA-256 (hexadecimal) of the items' names by part.
pub(crate) fn splits_digest(items: impl Iterator<Item = (&'static str, String)>) -> String {
    let mut hash = Sha256::new();
    for (part, id) in items {
        hash.update(format!("{part}\t{id}\n"));
    }
    hex(hash.finalize())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_bit_comes_back_from_json() {
        let values: Vec<f64> = (1..2_000).map(|i| (1.0 / f64::from(i)).sqrt()).collect();
        let record = DatasetRecord {
            trained_on: TrainedOn::new(Path::new("speech"), "ab"),
            splits_digest: splits_digest([("train", "one".to_owned()), ("test", "two".to_owned())].into_iter()),
            mean: values.iter().map(|v| -v).collect(),
            std: values,
            epoch_steps: 7,
            classes: BTreeMap::from([("phone".to_owned(), vec!["SIL".to_owned(), "AA".to_owned()])]),
            silence: Some(0),
            time: None,
        };
        let back: DatasetRecord = serde_json::from_str(&record.to_json().unwrap()).unwrap();
        assert_eq!(back, record);
        assert_eq!([Task::Phones, Task::Speakers].map(|t| back.n_classes(t)), [2, 0]);
    }

    #[test]
    fn the_digest_of_splits_knows_parts() {
        let digest = |part| splits_digest([(part, "one".to_owned())].into_iter());
        assert!(digest("train") != digest("test") && digest("train").len() == 64);
    }
}
