//! The plan of a comparison: the sum over its runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gim_core::Result;
use serde::Serialize;

use super::dataset::DatasetSize;
use super::measure::{ModuleCost, measure};
use super::whole::{Encoders, RunCost};
use super::{save_rows, text};
use crate::comparison::sweep::Sweep;
use crate::experiment::config::Config;
use crate::experiment::train_config::TrainConfig;

/// A comparison's plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunsPlan {
    /// Its name or file.
    pub comparison: String,
    /// Threads that costs were measured on.
    pub threads: usize,
    /// Networks that were measured; runs share them.
    pub measured: usize,
    /// Names of the datasets.
    pub datasets: Vec<String>,
    /// Each run, over all of its seeds.
    pub runs: Vec<RunCost>,
    /// Days of all runs on 2, 16 and 64 cores, one after the other.
    pub days: [f64; 3],
    /// GB of all features, if all are kept.
    pub features_gb: f64,
    /// What all of this assumes.
    pub assumptions: Vec<String>,
}

/// Measures each network of a comparison once, on `steps` steps, and predicts all runs. `begin` is
/// told of each network before it is measured.
///
/// # Errors
/// When a run's configuration cannot be built or trained.
pub(crate) fn plan_runs(
    source: &str,
    sweep: &Sweep,
    set: &[String],
    steps: usize,
    begin: impl Fn(&str),
) -> Result<RunsPlan> {
    let threads = rayon::current_num_threads();
    let mut known: BTreeMap<String, (Vec<ModuleCost>, DatasetSize)> = BTreeMap::new();
    let mut runs = Vec::new();
    for entry in &sweep.run {
        let config = entry.config(set)?;
        let key = what_costs(&config);
        if !known.contains_key(&key) {
            begin(&entry.name);
            let dataset = DatasetSize::of(&config)?;
            known.insert(key.clone(), (measure(&config, &dataset, steps)?, dataset));
        }
        let (costs, dataset) = &known[&key];
        let encoders = if entry.baselines.is_some() { Encoders::Trained } else { Encoders::TrainedAndRandom };
        runs.push(RunCost::of(&entry.name, sweep.seeds, &config, costs, dataset, encoders, threads));
    }
    let mut datasets: Vec<String> = known.values().map(|(_, d)| d.name.clone()).collect();
    datasets.sort();
    datasets.dedup();
    let sum = |of: fn(&RunCost) -> f64| runs.iter().map(of).sum();
    Ok(RunsPlan {
        comparison: source.to_owned(),
        threads,
        measured: known.len(),
        datasets,
        days: [sum(|r| r.days_2), sum(|r| r.days_16), sum(|r| r.days_64)],
        features_gb: sum(|r| r.features_gb),
        runs,
        assumptions: [text::of_cores(threads), text::of_runs()].concat(),
    })
}

/// The settings that costs of modules and the length of an epoch depend on, as text.
fn what_costs(config: &Config) -> String {
    let TrainConfig { batch, modules, low_memory, .. } = config.train;
    let train = TrainConfig { batch, modules, low_memory, ..TrainConfig::default() };
    Config { train, ..config.clone() }.to_toml()
}

impl RunsPlan {
    /// Writes `plan.csv`; returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        Ok(vec![save_rows(folder, &self.runs)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_network_share_its_costs() {
        let load = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
            what_costs(&Config::load("audio-quick", &set).unwrap())
        };
        let own = load(&[]);
        assert_eq!(own, load(&["train.schedule=iterative", "train.steps=7", "train.seed=3"]));
        for other in ["train.batch=3", "network.width=48", "loss.negatives=7", "train.low_memory=true"] {
            assert_ne!(own, load(&[other]), "{other}");
        }
    }
}
