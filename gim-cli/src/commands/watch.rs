use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;

use crate::watch::watch;

/// Watch runs in the terminal while they train: curves by module, pace and time left.
///
/// Looks into folders of runs and of comparisons, and below them. Nothing is changed. Keys: 1 to 9 hide and show
/// modules, m shows another measure, Tab another run, q leaves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim watch runs/a\n         gim watch runs")]
pub struct Args {
    /// Folders of runs or comparisons.
    #[arg(default_value = "runs", value_name = "FOLDER")]
    folders: Vec<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        watch(&self.folders)?;
        Ok(ExitCode::SUCCESS)
    }
}
