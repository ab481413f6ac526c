//! Which dataset a run may be resumed with.

use gim_core::{Error, Result};

use crate::experiment::environment::TrainedOn;
use crate::experiment::run_dir::RunDir;

/// What a run may be trained on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DatasetPolicy<'a> {
    /// The dataset it was begun on, or any at its beginning.
    Begun,
    /// This one.
    Only(&'a TrainedOn),
    /// Whatever there is.
    Any,
}

impl DatasetPolicy<'_> {
    /// Whether a run that has done `first` steps may resume with `dataset`.
    pub(super) fn check(self, run: &RunDir, first: u64, dataset: &TrainedOn) -> Result<()> {
        let before = match self {
            Self::Any => None,
            _ if first > 0 => run.trained_on()?,
            Self::Only(dataset) => Some(dataset.clone()),
            Self::Begun => None,
        };
        match before {
            Some(before) if before.digest != dataset.digest => {
                let what = format!("belongs to what was begun on {before}, not on {dataset}");
                let remedy = "name that dataset by GIM_DATA, or resume with --any-dataset, or train elsewhere";
                Err(Error::file(run.path(), what, remedy))
            }
            _ => Ok(()),
        }
    }
}
