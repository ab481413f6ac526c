use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;

use crate::experiment::extract::{extract, snapshots};
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::RunDir;

/// Write the features of all modules, the random encoder and the input itself to an HDF5 file; and some utterances' at earlier
/// steps to RUN/snapshots.h5, for the figure of the latent space.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a run.
    run: PathBuf,
    /// File to write.
    #[arg(long)]
    out: PathBuf,
    /// Of the corpus there is now, though the run was trained on another.
    #[arg(long)]
    any_corpus: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let run = RunDir::new(self.run);
        extract(&run, &self.out, true, self.any_corpus, show)?;
        snapshots(&run, &self.out, self.any_corpus, show)?;
        Ok(ExitCode::SUCCESS)
    }
}
