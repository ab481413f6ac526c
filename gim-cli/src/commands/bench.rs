use std::process::ExitCode;

use gim_core::Result;

use crate::bench::{self, Options};
use crate::experiment::progress::Mode;
use crate::output::print_line;

/// Measure the time and memory of training steps, features and probes.
///
/// Compares them with PyTorch, scikit-learn and the arithmetic limit. Measures how they grow with
/// the size of the problem, and how far more threads could help. Takes about 15 minutes on two
/// cores.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim bench --quick")]
pub struct Args {
    #[command(flatten)]
    options: Options,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        bench::bench(&self.options, show)?.iter().try_for_each(|f| print_line(f.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
