use std::process::ExitCode;

use gim_core::Result;

use super::json;
use crate::bench::ProbeWork;

/// One measurement of `bench`: fits a linear probe to synthetic features and prints JSON.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    work: ProbeWork,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        println!("{}", json(&self.work.measure()?, false)?);
        Ok(ExitCode::SUCCESS)
    }
}
