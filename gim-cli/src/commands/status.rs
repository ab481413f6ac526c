use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;
use serde::Serialize;

use super::json;
use crate::experiment::lock::FolderLock;
use crate::experiment::status::{RunStatus, State, runs_below};
use crate::output::{count, print_line};

/// Say how far runs are: what runs, where, since when, and what is left.
///
/// Looks into folders of runs and of comparisons, and below them. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim status runs")]
pub struct Args {
    /// Folders of runs or comparisons.
    #[arg(default_value = "runs", value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A run that was found.
#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Known(RunStatus),
    /// A folder whose files cannot be read, and why.
    Unknown {
        folder: PathBuf,
        error: String,
    },
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut all = Vec::new();
        for folder in &self.folders {
            if let Some(holder) = FolderLock::holder(folder).filter(|_| !self.json) {
                print_line(format_args!("{}: in use by {holder}", folder.display()))?;
            }
            for run in runs_below(folder)? {
                all.push(RunStatus::of(&run).map_or_else(
                    |e| Found::Unknown { folder: run.path().to_owned(), error: e.to_string() },
                    Found::Known,
                ));
            }
        }
        if self.json {
            print_line(json(&all, true)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let name = |found: &Found| match found {
            Found::Known(RunStatus { folder, .. }) | Found::Unknown { folder, .. } => folder.display().to_string(),
        };
        let width = all.iter().map(|f| name(f).chars().count()).max().unwrap_or(0);
        for found in &all {
            let line = match found {
                Found::Known(status) => status.line(),
                Found::Unknown { error, .. } => format!("cannot be read: {error}"),
            };
            print_line(format_args!("{:<width$}  {line}", name(found)))?;
        }
        let of = |state| all.iter().filter(|f| matches!(f, Found::Known(s) if s.state == state)).count();
        let [training, evaluating, trained, stopped] =
            [State::Training, State::Evaluating, State::Trained, State::Stopped].map(of);
        print_line(format_args!(
            "{}: {training} training, {evaluating} extracting or probing, {trained} trained, {stopped} stopped",
            count(all.len(), "run")
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
