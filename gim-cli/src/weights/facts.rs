//! What an exported file says of its run, beside the weights: enough to import it without questions,
//! and to standardize its input elsewhere.

use gim_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;

/// What is written as `gim.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Means that are subtracted from the input, one a channel.
    pub mean: Vec<f64>,
    /// Standard deviations that the input is divided by, one a channel.
    pub std: Vec<f64>,
    /// Strides of the audio convolutions.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub strides: Vec<usize>,
    /// Paddings of the audio convolutions.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub paddings: Vec<usize>,
    /// Side of a patch and pixels that neighbors share, for images.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub patches: Option<[usize; 2]>,
    /// Training steps behind the weights.
    pub step: u64,
    /// The run's configuration, as TOML, without the dataset's folder.
    pub configuration: String,
    /// What the run keeps of its dataset.
    pub dataset: DatasetRecord,
}

impl Facts {
    /// # Errors
    /// Never for a run that could be opened.
    pub(super) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::internal("export", &e).caused_by(e))
    }
}

/// The configuration as others may see it: where the dataset lies is nobody's business.
pub(super) fn shareable(config: &Config) -> Result<String> {
    Ok(Config::parse("the run's configuration", &config.to_toml(), &["data.path=\"\"".to_owned()])?.to_toml())
}
