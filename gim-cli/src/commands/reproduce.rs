use std::process::ExitCode;

use gim_core::Result;

use super::comparison::Comparison;
use crate::comparison::reproduce::{Scope, print, reproduce};
use crate::experiment::interrupt::save_on_interrupt;
use crate::experiment::progress::Mode;
use crate::output;
use crate::report;

/// Run a whole comparison: train, extract, probe, then write tables, figures and a report.
///
/// The same command resumes a comparison that was stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim reproduce quick --only audio/gim --seeds 1")]
pub struct Args {
    #[command(flatten)]
    comparison: Comparison,
    /// Train and probe nothing: write tables, figures and report of the finished runs.
    #[arg(long)]
    finished: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let plan = self.comparison.plan(if self.finished { Scope::Finished } else { Scope::Whole })?;
        save_on_interrupt()?;
        let _lock = plan.out.lock()?;
        let outcome = reproduce(&plan, show)?;
        // Tables first: a page that cannot be written must not hide them.
        output::print(print(&outcome))?;
        let files = report::comparison::write(&plan, &outcome)?;
        files.iter().try_for_each(|f| output::print_line(f.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
