//! The utterances in the figure of the latent space.

use std::collections::BTreeSet;

use gim_core::Result;
use gim_eval::{FeatureFile, Task};

/// Speakers in the figure, and utterances of each.
const SPEAKERS: usize = 10;
const UTTERANCES: usize = 100;

/// The utterances shown: those of the speakers with the most utterances.
pub(crate) struct LatentSample {
    /// Items of the feature file, and their speakers by rank.
    pub(crate) items: Vec<(usize, usize)>,
    ids: BTreeSet<String>,
    /// Number of speakers.
    pub(crate) speakers: usize,
}

impl LatentSample {
    /// Selects utterances of a feature file.
    ///
    /// # Errors
    /// When it has no speakers.
    pub(crate) fn of(file: &FeatureFile) -> Result<Self> {
        let labels = file.labels(Task::Speakers.label())?;
        let mut counts = vec![0usize; labels.classes];
        for l in labels.values.iter().filter_map(|l| usize::try_from(*l).ok()) {
            counts[l] += 1;
        }
        let mut order: Vec<usize> = (0..counts.len()).filter(|c| counts[*c] > 0).collect();
        order.sort_by_key(|c| (std::cmp::Reverse(counts[*c]), *c));
        order.truncate(SPEAKERS);
        let rank = |label: i32| order.iter().position(|o| usize::try_from(label) == Ok(*o));
        let mut items: Vec<(usize, usize)> =
            labels.values.iter().enumerate().filter_map(|(i, l)| Some((i, rank(*l)?))).collect();
        let mut taken = vec![0; order.len()];
        items.retain(|(_, c)| {
            taken[*c] += 1;
            taken[*c] <= UTTERANCES
        });
        let ids = items.iter().map(|i| file.items()[i.0].clone()).collect();
        Ok(Self { items, ids, speakers: order.len() })
    }

    /// Whether an item is one of them.
    pub(crate) fn holds(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}
