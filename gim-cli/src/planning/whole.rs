//! Time and disk of whole runs.

use gim_audio::geometry::LABEL_HOP;
use serde::Serialize;

use super::cores::speed_up;
use super::dataset::DatasetSize;
use super::measure::ModuleCost;
use crate::experiment::config::Config;
use crate::experiment::domain::Domain;

const DAY: f64 = 86_400.0;

/// Time and disk of a run, predicted. Probes are not in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunCost {
    /// Its name.
    pub run: String,
    /// Seeds that the costs are the sum of.
    pub seeds: u64,
    /// Training steps of a seed; in iterative training, of all modules together.
    pub steps: u64,
    /// Mean seconds of a step on this machine.
    pub step_seconds: f64,
    /// Seconds of training on this machine.
    pub training_seconds: f64,
    /// Seconds of the forward passes that make features, on this machine.
    pub extraction_seconds: f64,
    /// GB of features; with `probe.by_module`, the most that there are at a time.
    pub features_gb: f64,
    /// MB of a checkpoint of each seed.
    pub checkpoint_mb: f64,
    /// Days of training and extraction on two cores.
    pub days_2: f64,
    /// On 16 cores.
    pub days_16: f64,
    /// On 64 cores.
    pub days_64: f64,
}

/// Whose features are extracted: the trained network's, and the random encoder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoders {
    Trained = 1,
    TrainedAndRandom = 2,
}

impl RunCost {
    /// The cost of `seeds` seeds, from costs of modules on `threads` threads.
    pub(crate) fn of(
        run: &str,
        seeds: u64,
        config: &Config,
        costs: &[ModuleCost],
        dataset: &DatasetSize,
        encoders: Encoders,
        threads: usize,
    ) -> Self {
        let train = &config.train;
        let steps_each = if train.steps > 0 { train.steps } else { train.epochs * dataset.epoch_steps };
        let (steps, one) = match train.iterative() {
            true => (steps_each * costs.len() as u64, steps_each as f64 * stages(costs)),
            false => (steps_each, steps_each as f64 * costs.iter().map(ModuleCost::seconds).sum::<f64>()),
        };
        let (encoders, all) = (encoders as u64 as f64, seeds as f64);
        let channels = costs.iter().map(|c| c.channels);
        let (forward, kept) = match config.probe.by_module {
            // Every module runs those below it again.
            true => (passes(costs), channels.max().unwrap_or(0) as f64),
            false => (costs.iter().map(|c| c.forward_seconds).sum(), all * channels.sum::<usize>() as f64),
        };
        let training_seconds = all * one;
        let extraction_seconds = all * encoders * batches(config, dataset.rows) * forward;
        let state: usize = costs.iter().map(|c| c.state_bytes).sum();
        let domain = config.domain.kind();
        let here = speed_up(domain, threads);
        let days = |cores| (training_seconds + extraction_seconds) / DAY * here / speed_up(domain, cores);
        Self {
            run: run.to_owned(),
            seeds,
            steps,
            step_seconds: one / steps.max(1) as f64,
            training_seconds,
            extraction_seconds,
            features_gb: encoders * kept * (dataset.rows * size_of::<f32>()) as f64 / 1e9,
            checkpoint_mb: state as f64 / 1e6,
            days_2: days(2),
            days_16: days(16),
            days_64: days(64),
        }
    }
}

/// Seconds of a step of every stage of iterative training: all modules in turn, above frozen ones.
fn stages(costs: &[ModuleCost]) -> f64 {
    let mut below = 0.0;
    let stage = |c: &ModuleCost| {
        let seconds = below + c.seconds();
        below += c.forward_seconds;
        seconds
    };
    costs.iter().map(stage).sum()
}

/// Seconds of a forward pass to each module from the input.
fn passes(costs: &[ModuleCost]) -> f64 {
    costs.iter().rev().zip(1..).map(|(c, times)| f64::from(times) * c.forward_seconds).sum()
}

/// Batches of training that hold as much as `rows` rows of features see.
fn batches(config: &Config, rows: usize) -> f64 {
    let batch = (config.train.batch * config.domain.dataset().views()) as f64;
    match &config.domain {
        Domain::Audio(a) => rows as f64 * LABEL_HOP as f64 / (batch * a.data.crop as f64),
        Domain::Vision(_) => rows as f64 / batch,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::cost;
    use super::*;

    #[test]
    fn iterative_training_runs_lower_modules_forward() {
        // 3, then 1 + 3, then 2 + 3.
        assert_eq!(stages(&[cost(1, 1.0, 2.0), cost(2, 1.0, 2.0), cost(3, 1.0, 2.0)]), 12.0);
    }

    #[test]
    fn a_run_costs_its_steps_and_its_features() {
        let load = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
            Config::load("audio-quick", &set).unwrap()
        };
        // 1000 rows of 10 ms are 160,000 samples: ten batches of 8 crops of 2000.
        let set = ["train.batch=8", "data.crop=2000", "train.steps=0", "train.epochs=3"];
        let dataset = DatasetSize { name: "d".into(), epoch_steps: 100, rows: 1000, record: None };
        let costs = [cost(1, 0.5, 1.0), cost(2, 0.5, 1.0)];
        let of = |set: &[&str], seeds, encoders| RunCost::of("r", seeds, &load(set), &costs, &dataset, encoders, 2);
        let run = of(&set, 1, Encoders::TrainedAndRandom);
        assert_eq!((run.steps, run.step_seconds, run.training_seconds), (300, 3.0, 900.0));
        assert_eq!(run.extraction_seconds, 2.0 * 10.0 * 1.0);
        assert_eq!(run.features_gb, 2.0 * 1000.0 * 8.0 * 4.0 / 1e9);
        assert!((run.days_2 - 920.0 / DAY).abs() < 1e-9 && run.days_64 < run.days_16 && run.days_16 < run.days_2);
        let three = of(&set, 3, Encoders::Trained);
        assert_eq!((three.steps, three.training_seconds, three.extraction_seconds), (300, 2700.0, 30.0));
        // The first module runs twice, and the larger of both, in one seed, is on disk.
        let each = of(&[&set[..], &["probe.by_module=true"]].concat(), 3, Encoders::Trained);
        assert_eq!((each.extraction_seconds, each.features_gb), (45.0, 1000.0 * 4.0 * 4.0 / 1e9));
        let iterative = of(&["train.steps=10", "train.schedule=iterative"], 1, Encoders::Trained);
        assert_eq!((iterative.steps, iterative.training_seconds), (20, 35.0));
    }
}
