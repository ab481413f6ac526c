//! The latent space of a run: which utterances are shown, and their features at the end and at the snapshots before it.

use std::collections::BTreeSet;
use std::path::Path;

use gim_core::Result;
use gim_eval::FeatureFile;
use ndarray::Axis;

use crate::figures::{Figure, LatentPanel, LatentSpace, Tsne, count, latent_space};

/// Speakers in the figure, and utterances of each.
const SPEAKERS: usize = 10;
const UTTERANCES: usize = 100;

/// The utterances that are shown: of the speakers with most of them.
pub(crate) struct LatentSample {
    /// Items of the feature file, and their speakers by rank.
    items: Vec<(usize, usize)>,
    ids: BTreeSet<String>,
    speakers: usize,
}

impl LatentSample {
    /// Of a feature file.
    ///
    /// # Errors
    /// When it has no speakers.
    pub(crate) fn of(file: &FeatureFile) -> Result<Self> {
        let labels = file.labels("speaker")?;
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

/// Step and module of a group of the snapshots' file, and its name.
fn snapshot(group: &str) -> Option<(u64, usize, &str)> {
    let (step, module) = group.strip_prefix("snapshot_")?.split_once("_module_")?;
    Some((step.parse().ok()?, module.parse().ok()?, group))
}

/// t-SNE of the utterances (means over time), a panel for each module; a row of panels for each snapshot, when the file of them
/// belongs to the features.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn space(end: &FeatureFile, snapshots: &Path, subtitle: String) -> Result<Figure> {
    let chosen = LatentSample::of(end)?;
    let rows: Vec<usize> = chosen.items.iter().map(|i| i.0).collect();
    let modules: Vec<String> = end.groups().filter(|g| g.starts_with("module_")).map(str::to_owned).collect();
    let shown = || rows.iter().map(|i| &end.items()[*i]);
    let earlier = match snapshots.is_file() {
        true => Some(FeatureFile::open(snapshots)?)
            .filter(|m| m.items().iter().eq(shown()) && m.provenance().configuration == end.provenance().configuration),
        false => None,
    };
    let mut panels = Vec::new();
    if let Some(file) = &earlier {
        let mut groups: Vec<(u64, usize, &str)> = file.groups().filter_map(snapshot).collect();
        groups.sort_unstable();
        for (step, module, group) in groups {
            panels.push(LatentPanel {
                title: format!("Module {module}, step {step}"),
                features: file.read_means(group)?,
            });
        }
    }
    let end_of = if earlier.is_some() { ", end" } else { "" };
    for group in &modules {
        let title = group.replace("module_", "Module ") + end_of;
        panels.push(LatentPanel { title, features: end.read_means(group)?.select(Axis(0), &rows) });
    }
    let as_training_goes_on = if earlier.is_some() { " as training goes on" } else { "" };
    latent_space(&LatentSpace {
        title: format!("Latent space{as_training_goes_on}: utterances of {}", count(chosen.speakers, "speaker")),
        subtitle,
        columns: earlier.is_some().then_some(modules.len()),
        panels,
        class: chosen.items.iter().map(|i| i.1).collect(),
        names: (1..=chosen.speakers).map(|n| format!("speaker {n}")).collect(),
        what: "speakers".into(),
        tsne: Tsne { perplexity: 30.0, iterations: 1000, seed: end.provenance().seed },
    })
}
