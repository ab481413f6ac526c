//! Ablations beside the runs they are compared with.

use std::collections::BTreeSet;

use gim_eval::numbers::percent;
use gim_eval::{Head, Protocol, Task};
use serde::{Deserialize, Serialize};

use crate::comparison::summary::{Summary, difference, last_module};
use crate::comparison::sweep::Entry;
use crate::experiment::probe;

/// An ablation and the run it is compared with, at the last module of each, in percent; files hold shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ablation {
    /// Name of the run.
    pub run: String,
    /// What was changed.
    pub title: String,
    /// Task.
    pub task: Task,
    /// Protocol.
    pub protocol: Protocol,
    /// Random views of a training item in the paper's protocol.
    #[serde(default)]
    pub views: Option<usize>,
    /// Its last module.
    pub module: usize,
    /// Mean accuracy (without silence for phones), %.
    #[serde(with = "percent")]
    pub accuracy: f64,
    /// Half-width of its 95 % interval over seeds.
    #[serde(with = "percent")]
    pub accuracy_ci95: Option<f64>,
    /// Name of the run it is compared with.
    pub ablation_of: String,
    /// That run's accuracy at its last module.
    #[serde(with = "percent")]
    pub reference: f64,
    /// Mean difference over the seeds that both have.
    #[serde(with = "percent")]
    pub difference: f64,
    /// Half-width of the difference's 95 % interval.
    #[serde(with = "percent")]
    pub difference_ci95: Option<f64>,
    /// The paper's accuracy.
    #[serde(with = "percent")]
    pub paper: Option<f64>,
    /// How the paper's value is known.
    pub paper_mark: Option<String>,
}

impl Ablation {
    /// How the probes were made, for tables.
    pub(crate) fn how(&self) -> String {
        probe::how(self.protocol, Head::Linear, self.task, self.views)
    }
}

/// All ablations of a comparison.
pub(crate) fn ablations(entries: &[Entry], rows: &[Summary]) -> Vec<Ablation> {
    let mut out = Vec::new();
    for e in entries {
        let Some(reference) = &e.ablation_of else { continue };
        let own = rows.iter().filter(|s| s.run == e.name);
        let tasks: BTreeSet<(Task, Protocol)> = own.map(|s| (s.task, s.protocol)).collect();
        for (task, protocol) in tasks {
            let last = |run: &str| last_module(rows.iter().filter(|s| s.run == run), task, protocol);
            let (Some(a), Some(b)) = (last(&e.name), last(reference)) else {
                continue;
            };
            let Some((difference, difference_ci95)) = difference(a, b) else { continue };
            let (accuracy, accuracy_ci95) = a.primary_accuracy();
            out.push(Ablation {
                run: e.name.clone(),
                title: e.title.clone(),
                task,
                protocol,
                views: a.views,
                module: a.module,
                accuracy,
                accuracy_ci95,
                ablation_of: reference.clone(),
                reference: b.primary_accuracy().0,
                difference,
                difference_ci95,
                paper: a.paper,
                paper_mark: a.paper_mark.clone(),
            });
        }
    }
    out
}
