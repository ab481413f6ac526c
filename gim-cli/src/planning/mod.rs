//! Predictions: what a configuration would cost on more cores, on several ranks, and as a whole run.
//!
//! `measure` measures modules on this machine; `predict` says what follows for ranks, `whole` for runs,
//! `cores` what is assumed of more cores, and `text` prints all of it with its assumptions.

mod cores;
mod dataset;
mod measure;
mod predict;
mod runs;
#[cfg(test)]
mod testing;
mod text;
mod whole;

use std::path::{Path, PathBuf};

use gim_core::{Error, Result};
use gim_eval::table::write_rows;
use serde::Serialize;

use self::cores::speed_up;
use self::dataset::DatasetSize;
use self::measure::{ModuleCost, measure};
use self::predict::{Cost, Link, Placed, Setting, data_parallel, greedy, place};
pub(crate) use self::runs::{RunsPlan, plan_runs};
use self::whole::{Encoders, RunCost};
use crate::experiment::config::Config;
use crate::experiment::environment::peak_resident_bytes;
use crate::figures::{ScalingCurves, ScalingPoint, scaling};

/// What to predict for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Machines {
    /// Numbers of ranks.
    pub ranks: Vec<usize>,
    /// Cores of each rank.
    pub cores: usize,
    /// Gb/s between ranks, each way; a table for each.
    pub bandwidths: Vec<f64>,
    /// Microseconds of an empty message.
    pub latency: f64,
}

/// A number of ranks, predicted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ScalingRow {
    /// Gb/s between ranks.
    pub bandwidth_gbit: f64,
    /// Ranks.
    pub ranks: usize,
    /// Ranks that have work.
    pub used: usize,
    /// Modules of each group, for instance `[[1, 2], [3]]`.
    pub groups: String,
    /// Ranks of each group that share its batches.
    pub replicas: String,
    /// Whether groups have replicas. The figures are lower bounds then: see the assumptions.
    pub has_replicas: bool,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Share of the ranks' time without computing.
    pub idle: f64,
    /// MB that all ranks send in a step.
    pub traffic_mb: f64,
    /// Most MB of a rank.
    pub rank_mb: f64,
    /// Modules of each group without replicas.
    pub plain_groups: String,
    /// Seconds of a step of these.
    pub plain_seconds: f64,
    /// Share of the ranks' time without computing.
    pub plain_idle: f64,
    /// Ranks that data-parallel end-to-end training uses.
    pub end_to_end_used: Option<usize>,
    /// Seconds of its step, gradients summed after the backward pass.
    pub end_to_end_seconds: Option<f64>,
    /// The same with sums hidden as far as possible.
    pub end_to_end_hidden_seconds: Option<f64>,
    /// Share of its ranks' time without computing.
    pub end_to_end_idle: Option<f64>,
    /// MB that all its ranks send in a step.
    pub end_to_end_traffic_mb: Option<f64>,
    /// Most MB of one of its ranks.
    pub end_to_end_rank_mb: Option<f64>,
}

/// A configuration's plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ConfigPlan {
    /// Preset or file.
    pub configuration: String,
    /// Threads that costs were measured on.
    pub threads: usize,
    /// Items of a batch.
    pub batch: usize,
    /// Measured costs of each module.
    pub modules: Vec<ModuleCost>,
    /// Measured costs of the same network, trained end to end.
    pub end_to_end: Option<ModuleCost>,
    /// The dataset that the run's length follows from.
    pub dataset: String,
    /// What the ranks are assumed to be.
    pub machines: Machines,
    /// Predictions by bandwidth and number of ranks.
    pub predictions: Vec<ScalingRow>,
    /// The whole run on one machine, predicted.
    pub run: RunCost,
    /// What all of this assumes.
    pub assumptions: Vec<String>,
}

/// Setting that makes a network one module, trained end to end.
const END_TO_END: &str = "network.kind=cpc";

/// Measures a configuration on `steps` steps and predicts.
///
/// # Errors
/// When it, or the same network end to end, cannot be built or trained.
pub(crate) fn plan_config(source: &str, set: &[String], machines: Machines, steps: usize) -> Result<ConfigPlan> {
    let process = peak_resident_bytes().unwrap_or(0) as f64;
    let config = Config::load(source, set)?;
    let dataset = DatasetSize::of(&config)?;
    let modules = measure(&config, &dataset, steps)?;
    let mut lacking = None;
    let whole = match config.domain.model().is_end_to_end() {
        true => None,
        false => {
            let config = Config::load(source, &[set, &[END_TO_END.to_owned()]].concat());
            match config.and_then(|config| measure(&config, &dataset, steps)) {
                Ok(mut modules) => modules.pop(),
                // Not every stack of modules can be one.
                Err(Error::Config { key, what, .. }) => {
                    lacking = Some(format!("no end-to-end network is beside it: {key}: {what}"));
                    None
                }
                Err(e) => return Err(e),
            }
        }
    };
    let threads = rayon::current_num_threads();
    let domain = config.domain.kind();
    let faster = speed_up(domain, machines.cores) / speed_up(domain, threads);
    let costs: Vec<Cost> = modules.iter().map(|m| cost(m, faster)).collect();
    let end_to_end = whole.as_ref().map(|m| cost(m, faster));
    let setting = |gbit| Setting {
        batch: config.train.batch,
        link_depth: config.train.link_depth,
        link: Link::new(gbit, machines.latency),
        process,
    };
    let rows = |gbit: &f64| {
        let setting = setting(*gbit);
        machines.ranks.iter().map(|r| row(&costs, end_to_end.as_ref(), &setting, *gbit, *r)).collect::<Vec<_>>()
    };
    let predictions = machines.bandwidths.iter().flat_map(rows).collect();
    let run = RunCost::of(source, 1, &config, &modules, &dataset, Encoders::TrainedAndRandom, threads);
    let assumptions = [text::of_cores(threads), text::of_ranks(), text::of_runs(), Vec::from_iter(lacking)].concat();
    Ok(ConfigPlan {
        configuration: source.to_owned(),
        threads,
        batch: config.train.batch,
        modules,
        end_to_end: whole,
        dataset: dataset.name,
        machines,
        predictions,
        run,
        assumptions,
    })
}

/// A module's cost on ranks that compute so many times as fast as this machine.
fn cost(module: &ModuleCost, faster: f64) -> Cost {
    Cost {
        seconds: module.seconds() / faster,
        input: module.input_bytes as f64,
        gradients: (module.parameters * size_of::<f32>()) as f64,
        state: module.state_bytes as f64,
        working: module.working_bytes as f64,
    }
}

/// One-based modules of each group, as `train.groups` takes them.
fn groups(placed: &[Placed]) -> String {
    let groups: Vec<Vec<usize>> = placed.iter().map(|p| p.modules.clone().map(|m| m + 1).collect()).collect();
    format!("{groups:?}")
}

fn row(costs: &[Cost], whole: Option<&Cost>, setting: &Setting, gbit: f64, ranks: usize) -> ScalingRow {
    let placed = place(costs, setting, ranks, usize::MAX);
    let step = greedy(costs, &placed, setting, ranks);
    let plain = place(costs, setting, ranks, 1);
    let plain_step = greedy(costs, &plain, setting, ranks);
    let parallel = whole.map(|w| data_parallel(w, setting, ranks));
    let replicas: Vec<usize> = placed.iter().map(|p| p.replicas).collect();
    ScalingRow {
        bandwidth_gbit: gbit,
        ranks,
        used: replicas.iter().sum(),
        groups: groups(&placed),
        replicas: format!("{replicas:?}"),
        has_replicas: replicas.iter().any(|r| *r > 1),
        step_seconds: step.seconds,
        idle: step.idle,
        traffic_mb: step.traffic / 1e6,
        rank_mb: step.memory / 1e6,
        plain_groups: groups(&plain),
        plain_seconds: plain_step.seconds,
        plain_idle: plain_step.idle,
        end_to_end_used: parallel.map(|p| p.ranks),
        end_to_end_seconds: parallel.map(|p| p.step.seconds),
        end_to_end_hidden_seconds: parallel.map(|p| p.hidden),
        end_to_end_idle: parallel.map(|p| p.step.idle),
        end_to_end_traffic_mb: parallel.map(|p| p.step.traffic / 1e6),
        end_to_end_rank_mb: parallel.map(|p| p.step.memory / 1e6),
    }
}

impl ConfigPlan {
    /// Writes `plan.csv` and the figure of predicted scaling; returns their paths.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn save(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let panel = |gbit: &f64| {
            let rows = self.predictions.iter().filter(|r| r.bandwidth_gbit == *gbit);
            let mut points: Vec<ScalingPoint> = rows.map(ScalingRow::point).collect();
            points.sort_by_key(|p| p.ranks);
            (format!("{gbit} Gb/s"), points)
        };
        let Machines { cores, bandwidths, latency, .. } = &self.machines;
        let figure = scaling(&ScalingCurves {
            title: format!("Predicted scaling: {}", self.configuration),
            subtitle: format!("batch {}, cores a rank: {cores}, latency {latency} µs", self.batch),
            panels: bandwidths.iter().map(panel).collect(),
        })?;
        let mut paths = figure.save(folder, "scaling")?.to_vec();
        paths.insert(0, save_rows(folder, &self.predictions)?);
        Ok(paths)
    }
}

impl ScalingRow {
    fn point(&self) -> ScalingPoint {
        let end_to_end = self.end_to_end_seconds.zip(self.end_to_end_hidden_seconds);
        ScalingPoint { ranks: self.ranks, greedy: self.step_seconds, plain: self.plain_seconds, end_to_end }
    }
}

/// Writes `plan.csv`.
fn save_rows(folder: &Path, rows: &[impl Serialize]) -> Result<PathBuf> {
    gim_core::files::create_folder(folder)?;
    let path = folder.join("plan.csv");
    write_rows(&path, rows)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::testing::cost as made_up;
    use super::*;

    #[test]
    fn rows_say_who_does_what() {
        let costs: Vec<Cost> = (1..=3).map(|m| cost(&made_up(m, 1.0, 2.0), 1.5)).collect();
        let setting = Setting { batch: 4, link_depth: 1, link: Link::new(10.0, 50.0), process: 0.0 };
        let one = row(&costs, Some(&costs[0]), &setting, 10.0, 1);
        assert_eq!((one.groups.as_str(), one.replicas.as_str(), one.has_replicas), ("[[1, 2, 3]]", "[1]", false));
        assert_eq!((one.step_seconds, one.end_to_end_seconds), (6.0, Some(2.0)));
        let many = row(&costs, None, &setting, 10.0, 256);
        assert!(many.has_replicas && many.used <= 12 && many.step_seconds < 1.0, "{many:?}");
        assert_eq!((many.plain_groups.as_str(), many.plain_seconds), ("[[1], [2], [3]]", 2.0));
        assert_eq!(many.end_to_end_seconds, None);
    }

    #[test]
    fn files_and_figure_are_written() {
        let costs: Vec<Cost> = (1..=3).map(|m| cost(&made_up(m, 1.0, 2.0), 1.0)).collect();
        let setting = Setting { batch: 4, link_depth: 1, link: Link::new(10.0, 50.0), process: 0.0 };
        let ranks = vec![1, 2, 4];
        let config = Config::load("audio-quick", &[]).unwrap();
        let dataset = DatasetSize { name: "d".into(), epoch_steps: 1, rows: 1, record: None };
        let modules: Vec<ModuleCost> = (1..=3).map(|m| made_up(m, 1.0, 2.0)).collect();
        let plan = ConfigPlan {
            configuration: "c".into(),
            threads: 2,
            batch: 4,
            end_to_end: None,
            dataset: "d".into(),
            predictions: ranks.iter().map(|r| row(&costs, None, &setting, 10.0, *r)).collect(),
            machines: Machines { ranks, cores: 2, bandwidths: vec![10.0], latency: 50.0 },
            run: RunCost::of("c", 1, &config, &modules, &dataset, Encoders::Trained, 2),
            modules,
            assumptions: text::of_ranks(),
        };
        let folder = tempfile::tempdir().unwrap();
        let paths = plan.save(&folder.path().join("new")).unwrap();
        assert_eq!(paths.len(), 4);
        let table = std::fs::read_to_string(&paths[0]).unwrap();
        assert!(table.starts_with("bandwidth_gbit,ranks,used,groups,") && table.lines().count() == 4, "{table}");
        let printed = plan.to_string();
        assert!(
            printed.contains("predicted")
                && printed.contains("[[1], [2], [3]]")
                && printed.contains("[[1, 2, 3]] × [4]"),
            "{printed}"
        );
    }
}
