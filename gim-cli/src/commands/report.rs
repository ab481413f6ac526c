use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;

use crate::experiment::status::runs_in;
use crate::output::print_line;
use crate::report::runs;

/// Write a page about any runs: losses, accuracies, settings that differ, how they were made.
///
/// The page is report.html, its twin in Markdown README.md. Runs that differ in their seed alone are shown as one,
/// with intervals over seeds. Nothing is trained, extracted or probed: what a run lacks is left out, and the page says
/// so. Figures of features (similarity, latent space; of images also patches, neighbors, confusion) are drawn where a
/// run still has its features.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim report runs/a runs/b --out runs/a-and-b")]
pub struct Args {
    /// Folders of runs, or folders above them.
    #[arg(required = true, value_name = "RUN")]
    folders: Vec<PathBuf>,
    /// Folder for the page and its figures.
    #[arg(long)]
    out: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        print_line(runs::write(runs_in(&self.folders)?, self.out)?.display())?;
        Ok(ExitCode::SUCCESS)
    }
}
