use std::process::ExitCode;

use gim_core::Result;

use super::json;
use crate::bench::ProbeWork;
use crate::output::print_line;

/// Fit a linear probe to synthetic features and print the time as JSON, for `gim bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim bench-probe --rows 5000 --dims 1024 --classes 10 --l2 1e-3")]
pub struct Args {
    #[command(flatten)]
    work: ProbeWork,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        print_line(json(&self.work.measure()?, false)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
