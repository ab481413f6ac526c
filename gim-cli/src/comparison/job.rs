//! One run of a comparison with one seed, as a job of its own: many machines share a comparison.

use gim_core::{Error, Result};

use crate::comparison::reproduce::{Corpora, Plan, wanted};
use crate::comparison::seed_run::SeedRun;
use crate::experiment::config::Config;
use crate::experiment::progress::Mode as Show;
use crate::experiment::run_dir::RunDir;
use crate::experiment::train_config::TrainConfig;

/// A run of a comparison with one of its seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Name of the run.
    pub run: String,
    /// Seed.
    pub seed: u64,
}

impl Plan {
    /// All runs with all their seeds, in order.
    ///
    /// # Errors
    /// When the configuration of a run is wrong.
    pub(crate) fn jobs(&self) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for entry in &self.sweep.run {
            let config = entry.config(&self.set)?;
            jobs.extend(self.seeds(&config).map(|seed| Job { run: entry.name.clone(), seed }));
        }
        Ok(jobs)
    }
}

/// Makes what is missing of one run with one seed. It also makes the baselines that it would share with
/// another run, and so needs no other: jobs may run at the same time, on several machines.
///
/// # Errors
/// When the comparison has no such run, and the error that stopped it. Calling again resumes it.
pub(crate) fn run_job(plan: &Plan, job: &Job, show: Show) -> Result<RunDir> {
    let jobs = plan.jobs()?;
    let entry = plan.sweep.run.iter().find(|entry| entry.name == job.run);
    let Some(entry) = entry.filter(|_| jobs.contains(job)) else {
        let what = format!("the comparison has no run {} with seed {}", job.run, job.seed);
        return Err(Error::config("--run", what, "see gim reproduce --list"));
    };
    let config = entry.config(&plan.set)?;
    let first = config.train.seed;
    let config = Config { train: TrainConfig { seed: job.seed, ..config.train.clone() }, ..config };
    let (run, wanted) = (plan.out.run(&entry.name, job.seed), wanted(entry, plan)?);
    let corpora = Corpora::of(plan)?;
    let seed_run = SeedRun {
        wanted: &wanted,
        run: &run,
        baselines: None,
        trained_on: corpora.expected(&config),
        keep_features: plan.is_in_figures(entry, job.seed, first),
        config: &config,
    };
    seed_run.finish(show)?;
    Ok(run)
}
