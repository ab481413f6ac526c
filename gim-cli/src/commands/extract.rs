use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;

use crate::experiment::extract::{extract, snapshots};
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::RunDir;

/// Write the features of a run to an HDF5 file.
///
/// The file holds the features of every module, of the random encoder and of the input itself. If
/// the run has snapshots, RUN/snapshots.h5 gets features of a few utterances at earlier training
/// steps, for the figure of the latent space.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim extract runs/a --out runs/a/features.h5")]
pub struct Args {
    /// Folder of a run.
    run: PathBuf,
    /// HDF5 file to write.
    #[arg(long)]
    out: PathBuf,
    /// Use the present dataset even if the run was trained on another.
    #[arg(long)]
    any_corpus: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let run = RunDir::new(self.run);
        // A folder that is not there has no configuration, which says more than a lock could.
        run.config()?;
        let _lock = run.lock()?;
        extract(&run, &self.out, true, self.any_corpus, show)?;
        snapshots(&run, &self.out, self.any_corpus, show)?;
        Ok(ExitCode::SUCCESS)
    }
}
