//! The loss of every module, from configuration.

use documented::DocumentedFields;
use gim_core::data::LabelName;
use gim_core::loss::{LossChoice, LossKind, LossSettings, Prediction};
use gim_core::sampler::{Direction, SamplerKind};
use gim_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What modules learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Target {
    /// Their own features further along the grid of patches: InfoNCE, without labels.
    Future,
    /// The class of an image: cross-entropy.
    Classes,
    /// A column of labels of images: cross-entropy.
    Column(LabelName),
}

impl Target {
    /// The column of labels, if it is one.
    pub fn column(self) -> Option<LabelName> {
        if let Self::Column(name) = self { Some(name) } else { None }
    }

    /// Those that are no columns.
    const ALL: [Self; 2] = [Self::Future, Self::Classes];
}

impl From<Target> for &'static str {
    fn from(target: Target) -> Self {
        match target {
            Target::Future => "future",
            Target::Classes => "classes",
            Target::Column(name) => name.as_str(),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        match Self::ALL.into_iter().find(|target| <&str>::from(*target) == name) {
            Some(target) => Ok(target),
            None => name.parse().map(Self::Column),
        }
    }
}

/// The loss of every module; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(default)]
pub struct LossConfig {
    /// The loss; `auto` is InfoNCE, or cross-entropy where the target has labels.
    pub kind: LossChoice,
    /// What every module learns from: `future`, without labels, or labels: `classes`, or a
    /// column of labels that the dataset has.
    pub target: Target,
    /// Number of steps K along the grid that are predicted: distances 1 to K, after `skip`.
    pub prediction_steps: usize,
    /// Number of negatives N for each prediction.
    pub negatives: usize,
    /// Negative sampler.
    pub sampler: SamplerKind,
    /// Rows skipped before the first prediction: neighboring patches overlap.
    pub skip: usize,
    /// Ways of prediction, of which the losses are averaged: down, up, right, left.
    pub directions: Vec<Direction>,
    /// ε inside the published logarithm; 0 for the exact log-softmax.
    pub epsilon: f64,
    /// Settings of each kind of loss.
    #[serde(flatten)]
    pub settings: LossSettings,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            kind: LossChoice::default(),
            target: Target::Future,
            prediction_steps: 5,
            negatives: 16,
            sampler: SamplerKind::Targets,
            skip: 1,
            directions: vec![Direction::Down],
            epsilon: 0.0,
            settings: LossSettings::default(),
        }
    }
}

impl LossConfig {
    /// The kind of loss.
    ///
    /// # Errors
    /// When it does not fit the target.
    pub fn kind(&self) -> Result<LossKind> {
        self.kind.kind(self.target != Target::Future)
    }

    /// Smallest number of rows and columns of patches that the loss can be computed on.
    ///
    /// # Errors
    /// As [`Self::kind`].
    pub fn need(&self) -> Result<usize> {
        Ok(self.settings.need(self.kind()?, &self.prediction()))
    }

    pub(super) fn prediction(&self) -> Prediction {
        Prediction {
            prediction_steps: self.prediction_steps,
            negatives: self.negatives,
            sampler: self.sampler,
            skip: self.skip,
            window: None,
            epsilon: (self.epsilon > 0.0).then_some(self.epsilon),
            directions: Some(self.directions.clone()),
        }
    }
}
