use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use gim_core::{Error, Result};
use gim_eval::{Protocol, Task};

use super::json;
use crate::experiment::extract::features_of;
use crate::experiment::probe::{self, ProbeSpec};
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::{RunDir, merge_probe_rows};
use crate::output::{print, print_line};

/// Evaluate features with a linear probe or nearest neighbors.
///
/// Prints a row for each module and baseline, and saves the rows in the run's probe.csv.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim probe runs/a --task phones")]
pub struct Args {
    /// Folder of a run, or a feature file.
    source: PathBuf,
    /// What to predict.
    #[arg(long, value_parser = PossibleValuesParser::new(Task::ALL.map(Task::name)).try_map(|s| s.parse::<Task>()))]
    task: Task,
    /// How to evaluate. paper: the paper's linear probe; converged: a linear probe fitted to
    /// convergence; knn: 20 nearest neighbors.
    #[arg(
        long,
        default_value = "converged",
        value_parser = PossibleValuesParser::new(Protocol::ALL.map(Protocol::name)).try_map(|s| s.parse::<Protocol>())
    )]
    protocol: Protocol,
    /// Module to evaluate: all, or a number from 1.
    #[arg(long, default_value = "all")]
    module: String,
    /// Share of the training labels to fit on, between 0 and 1.
    #[arg(long, default_value_t = 1.0)]
    labels: f64,
    /// Use the present dataset even if the run was trained on another.
    #[arg(long)]
    any_corpus: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let module = match self.module.as_str() {
            "all" => None,
            n => Some(n.parse().map_err(|_| {
                Error::config("--module", format_args!("`{n}` is not a number"), "use all, or a number from 1")
            })?),
        };
        let spec = ProbeSpec { task: self.task, protocol: self.protocol, module, labels: self.labels };
        let rows = if self.source.is_dir() {
            let run = RunDir::new(self.source);
            let _lock = run.lock()?;
            let rows = probe::probe(&features_of(&run, true, self.any_corpus, show)?, &spec, show)?;
            run.merge_probe_rows(&rows)?;
            rows
        } else {
            let rows = probe::probe(&self.source, &spec, show)?;
            merge_probe_rows(&self.source.with_extension("probe.csv"), &rows)?;
            rows
        };
        if self.json {
            print_line(json(&rows, true)?)?;
        } else {
            print(probe::print(&rows))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
