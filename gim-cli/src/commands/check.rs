use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gim_core::{Error, Result};
use tempfile::TempDir;

use super::comparison::Comparison;
use crate::comparison::check;
use crate::comparison::reproduce::{Plan, Scope, reproduce};
use crate::experiment::interrupt::{Scratch, save_on_interrupt};
use crate::experiment::progress::Mode;
use crate::output::{print, print_line};

/// Run a comparison and check its accuracies against a baseline.
///
/// The exit code is 1 when an accuracy differs from the baseline by more than its tolerance.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim check quick --baseline results/baseline.csv")]
pub struct Args {
    #[command(flatten)]
    comparison: Comparison,
    /// Table of expected values.
    #[arg(long, default_value = "results/baseline.csv")]
    baseline: PathBuf,
    /// Write the baseline instead of checking. Tolerances come from the spread over seeds.
    #[arg(long)]
    update: bool,
}

impl Args {
    pub(super) fn run(mut self, show: Mode) -> Result<ExitCode> {
        // Runs left by other code say nothing about this code, so the folder is new.
        let scratch = match self.comparison.out {
            Some(_) => None,
            None => Some(scratch()?),
        };
        self.comparison.out = self.comparison.out.or_else(|| scratch.as_ref().map(|s| s.path().to_owned()));
        let plan = self.comparison.plan(Scope::RegressionCheck)?;
        check::ready(&plan, &self.baseline, self.update)?;
        save_on_interrupt()?;
        let _gone_on_signals = scratch.as_ref().map(|s| Scratch::new(s.path())).transpose()?;
        let within = match (compare(&plan, &self.baseline, self.update, show), &scratch) {
            (Err(Error::Interrupted { step, .. }), Some(_)) => {
                let remedy = "nothing is kept; to be able to resume, use --out".into();
                Err(Error::Interrupted { step, remedy })
            }
            (compared, _) => compared,
        };
        if let Some(scratch) = scratch {
            let path = scratch.path().to_owned();
            scratch.close().map_err(|e| Error::io(&path, "remove", e))?;
        }
        Ok(if within? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A new temporary folder. It is removed when it is dropped.
fn scratch() -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("gim-check-").tempdir();
    made.map_err(|e| Error::io(std::env::temp_dir(), "make a temporary folder", e))
}

/// Makes the runs, then writes the baseline or compares them with it. Returns whether all values
/// are within their tolerances.
fn compare(plan: &Plan, baseline: &Path, update: bool, show: Mode) -> Result<bool> {
    let _lock = plan.out.lock()?;
    let outcome = reproduce(plan, show)?;
    if update {
        let values = check::update(plan, &outcome.summary, baseline)?;
        print_line(format_args!("{values} values in {}", baseline.display()))?;
        return Ok(true);
    }
    let (deviations, compared) = check::check(plan, &outcome.summary, baseline)?;
    print(check::print(&deviations, compared))?;
    Ok(deviations.is_empty())
}
