use std::process::ExitCode;

use gim_core::Result;

use crate::bench::{self, Options};
use crate::experiment::progress::Mode;

/// Time and memory of training steps, features and probes, beside PyTorch, scikit-learn and the arithmetic limit; how they
/// grow, and how far they could be spread over threads. About 15 minutes on two cores.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        bench::bench(&self.options, show)?.iter().for_each(|f| println!("{}", f.display()));
        Ok(ExitCode::SUCCESS)
    }
}
