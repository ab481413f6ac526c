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
    fn method(&self) -> String;

    /// The dataset's images as features see them, standardized as in the run of `record`; `None`
    /// where items are not images.
    ///
    /// # Errors
    /// When the dataset cannot be used.
    fn center_crops(&self, _record: &DatasetRecord) -> Result<Option<CenterCrops>> {
        Ok(None)
    }
}

/// Name of a method in figures.
pub(super) fn method(end_to_end: bool, labels: bool) -> String {
    match (end_to_end, labels) {
        (false, false) => "Greedy InfoMax",
        (true, false) => "CPC",
        (false, true) => "Greedy supervised",
        (true, true) => "Supervised",
    }
    .into()
}
