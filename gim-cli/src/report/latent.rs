//! The figure of the latent space, from a run's feature files.

use std::path::Path;

use gim_core::Result;
use gim_eval::{FeatureFile, GroupId, Task};
use ndarray::Axis;

use crate::experiment::extract::trained_modules;
use crate::experiment::feature_file;
use crate::experiment::latent::LatentSample;
use crate::figures::{Figure, LatentPanel, LatentSpace, Tsne, latent_space};
use crate::output::count;

/// t-SNE of utterances (means over time), a panel for each module. If the snapshots belong to the
/// features, each snapshot has a row of panels.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn space(end: &FeatureFile, snapshots: &Path, subtitle: String) -> Result<Figure> {
    let sample = LatentSample::of(end)?;
    let rows: Vec<usize> = sample.items.iter().map(|i| i.0).collect();
    let modules: Vec<GroupId> = trained_modules(end);
    let shown = || rows.iter().map(|i| &end.items()[*i]);
    let earlier = match snapshots.is_file() {
        true => Some(feature_file::open(snapshots)?)
            .filter(|m| m.items().iter().eq(shown()) && m.provenance() == end.provenance()),
        false => None,
    };
    let mut panels = Vec::new();
    if let Some(file) = &earlier {
        let mut groups: Vec<GroupId> = file.groups().filter_map(|g| g.parse::<GroupId>().ok()).collect();
        groups.sort_unstable();
        for group in groups {
            let GroupId::Snapshot { step, module } = group else { continue };
            let title = format!("Module {module}, step {step}");
            panels.push(LatentPanel { title, features: file.read_means(&group.to_string())? });
        }
    }
    let end_of = if earlier.is_some() { ", end" } else { "" };
    for group in &modules {
        let title = format!("Module {}{end_of}", group.module());
        panels.push(LatentPanel { title, features: end.read_means(&group.to_string())?.select(Axis(0), &rows) });
    }
    let during_training = if earlier.is_some() { " during training" } else { "" };
    latent_space(&LatentSpace {
        title: format!("Latent space{during_training}: utterances of {}", count(sample.speakers, "speaker")),
        subtitle,
        columns: earlier.is_some().then_some(modules.len()),
        panels,
        class: sample.items.iter().map(|i| i.1).collect(),
        names: (1..=sample.speakers).map(|n| format!("speaker {n}")).collect(),
        what: Task::Speakers.name().into(),
        tsne: Tsne { perplexity: 30.0, iterations: 1000, seed: end.provenance().seed },
    })
}
