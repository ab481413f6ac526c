use std::process::ExitCode;

use gim_core::Result;

use super::comparison::Comparison;
use crate::comparison::reproduce::{Scope, print, reproduce};
use crate::experiment::interrupt::save_on_interrupt;
use crate::experiment::progress::Mode;
use crate::report;

/// Train, extract, probe, draw and tabulate a whole comparison; goes on where it was stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    comparison: Comparison,
    /// Train and probe nothing: tables, figures and page of the runs that are finished.
    #[arg(long)]
    finished: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let plan = self.comparison.plan(if self.finished { Scope::Finished } else { Scope::Whole })?;
        save_on_interrupt()?;
        let outcome = reproduce(&plan, show)?;
        let files = report::comparison::write(&plan, &outcome)?;
        print!("{}", print(&outcome));
        files.iter().for_each(|f| println!("{}", f.display()));
        Ok(ExitCode::SUCCESS)
    }
}
