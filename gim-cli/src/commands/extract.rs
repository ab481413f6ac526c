use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gim_core::Result;

use crate::experiment::extract::{extract, snapshots};
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::RunDir;

/// Write the features of a run to an HDF5 file.
///
/// The file holds the features of every module, of the random encoder and of the input itself.
/// Without --out it is RUN/features.h5; if the run has snapshots, RUN/snapshots.h5 then gets features
/// of a few utterances at earlier training steps, for the figure of the latent space. With --out,
/// nothing in the run changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim extract runs/a --out features.h5")]
pub struct Args {
    /// Folder of a run.
    run: PathBuf,
    /// HDF5 file to write [default: RUN/features.h5].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Use the present dataset even if the run was trained on another.
    #[arg(long)]
    any_corpus: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let run = RunDir::new(self.run);
        // A folder that is not there has no configuration, which says more than a lock could.
        run.config()?;
        let own = run.features_file();
        // By whichever name the run's own file is given.
        let is_own = |out: &PathBuf| same_folder(out, &own) && out.file_name() == own.file_name();
        let Some(out) = self.out.filter(|out| !is_own(out)) else {
            let _lock = run.lock()?;
            extract(&run, &own, true, self.any_corpus, show)?;
            snapshots(&run, &own, &run.snapshots_file(), self.any_corpus, show)?;
            return Ok(ExitCode::SUCCESS);
        };
        extract(&run, &out, true, self.any_corpus, show)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether two files are in one folder, whatever its name.
fn same_folder(a: &Path, b: &Path) -> bool {
    let folder = |file: &Path| std::path::absolute(file).ok()?.parent()?.canonicalize().ok();
    folder(a).is_some_and(|a| folder(b) == Some(a))
}
