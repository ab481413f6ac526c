//! What a domain adds to figures: captions, and the images it can show.

use gim_core::Result;
use gim_vision::features::CenterCrops;

use crate::experiment::dataset_record::DatasetRecord;

/// What the figures of a configuration need of its domain.
pub trait FigureSpec {
    /// The input in words, for the network's schematic.
    fn input_name(&self) -> String;

    /// The network's size in words.
    fn size_name(&self) -> String;

    /// The method: how the network is cut, and what it learns from.
    fn method(&self) -> MethodKind;

    /// The dataset's images as features see them, standardized as in the run of `record`; `None`
    /// where items are not images.
    ///
    /// # Errors
    /// When the dataset cannot be used.
    fn center_crops(&self, _record: &DatasetRecord) -> Result<Option<CenterCrops>> {
        Ok(None)
    }
}

/// How a network is cut into modules, and what it learns from. Each kind has one color in all figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// Modules that learn without labels.
    Gim,
    /// A whole network that learns without labels.
    Cpc,
    /// A whole network that learns from labels.
    Supervised,
    /// Modules that learn from labels.
    GreedySupervised,
}

impl MethodKind {
    /// The kind of a network that learns end to end or in modules, from labels or without.
    pub(super) fn new(end_to_end: bool, labels: bool) -> Self {
        match (end_to_end, labels) {
            (false, false) => Self::Gim,
            (true, false) => Self::Cpc,
            (false, true) => Self::GreedySupervised,
            (true, true) => Self::Supervised,
        }
    }

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gim => "Greedy InfoMax",
            Self::Cpc => "CPC",
            Self::Supervised => "Supervised",
            Self::GreedySupervised => "Greedy supervised",
        }
    }
}
