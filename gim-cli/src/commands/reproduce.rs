use std::process::ExitCode;

use gim_core::{Error, Result};

use super::comparison::{Comparison, make};
use crate::comparison::job::{Job, run_job};
use crate::comparison::printed::print;
use crate::comparison::reproduce::{Plan, Scope};
use crate::experiment::interrupt::save_on_interrupt;
use crate::experiment::progress::Mode;
use crate::output;

/// Run a whole comparison: train, extract, probe, then write tables, figures and a report.
///
/// The same command resumes a comparison that was stopped.
///
/// With --run or --index, one run is made and no table is written, so that jobs on several machines can
/// share the work. Afterwards, the command without them collects what the jobs have made.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: gim reproduce quick --only audio/gim --seeds 1\n         gim reproduce small --list\n         \
                        gim reproduce small --index \"$SLURM_ARRAY_TASK_ID\" --out runs/small"
)]
pub struct Args {
    #[command(flatten)]
    comparison: Comparison,
    /// Train and probe nothing: write tables, figures and report of the finished runs.
    #[arg(long)]
    finished: bool,
    /// Keep the features that figures were drawn from. Otherwise they are removed when the page is written;
    /// `gim extract` makes them again from the weights.
    #[arg(long, conflicts_with = "finished")]
    keep_features: bool,
    /// Make this run only, e.g. audio/gim, with the seed of --seed. It makes its own baselines.
    #[arg(long, value_name = "NAME", requires = "seed", conflicts_with = "finished")]
    run: Option<String>,
    /// The seed of --run.
    #[arg(long, value_name = "N", requires = "run")]
    seed: Option<u64>,
    /// Make the run and seed of this number in --list only.
    #[arg(long, value_name = "I", conflicts_with_all = ["finished", "run"])]
    index: Option<usize>,
    /// List all runs and seeds with their numbers, and do nothing.
    #[arg(long, conflicts_with_all = ["finished", "run", "index"])]
    list: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let plan = self.comparison.plan(if self.finished { Scope::Finished } else { Scope::Whole })?;
        if self.list {
            for (i, job) in plan.jobs()?.iter().enumerate() {
                output::print_line(format_args!("{i} {} {}", job.run, job.seed))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        save_on_interrupt()?;
        if let Some(job) = self.job(&plan)? {
            output::print_line(run_job(&plan, &job, show)?.path().display())?;
            return Ok(ExitCode::SUCCESS);
        }
        let (_, files) = make(&plan, show, print, self.finished || self.keep_features)?;
        files.iter().try_for_each(|f| output::print_line(f.display()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The one run to make, if one is named.
    fn job(&self, plan: &Plan) -> Result<Option<Job>> {
        if let (Some(run), Some(seed)) = (&self.run, self.seed) {
            return Ok(Some(Job { run: run.clone(), seed }));
        }
        let Some(index) = self.index else { return Ok(None) };
        let mut jobs = plan.jobs()?;
        if index >= jobs.len() {
            let remedy = format!("use 0 to {}", jobs.len() - 1);
            return Err(Error::config("--index", format_args!("there is no run number {index}"), remedy));
        }
        Ok(Some(jobs.swap_remove(index)))
    }
}
