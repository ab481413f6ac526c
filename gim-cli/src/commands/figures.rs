use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;

use crate::experiment::run_dir::RunDir;
use crate::experiment::tensorboard;
use crate::output::print_line;
use crate::report::draw::draw;

/// Draw the figures of a run, or of several seeds of one configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim figures runs/quick/audio/gim/seed-1 runs/quick/audio/gim/seed-2 --out figures")]
pub struct Args {
    /// Folders of the runs.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Folder for the figures [default: RUN/figures of the first run].
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let runs: Vec<RunDir> = self.runs.into_iter().map(RunDir::new).collect();
        let out = self.out.unwrap_or_else(|| runs[0].figures());
        let files = draw(&runs, &out)?;
        if let [run] = &runs[..]
            && run.config()?.train.tensorboard
        {
            let step = run.train_rows()?.last().map_or(0, |row| row.step);
            tensorboard::add_figures(run, step, &files)?;
        }
        files.iter().try_for_each(|f| print_line(f.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
