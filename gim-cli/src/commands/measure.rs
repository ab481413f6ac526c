use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;
use gim_eval::{MeasureRow, table};

use super::json;
use crate::experiment::extract::features_of;
use crate::experiment::measure::{measures, print as table_of};
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::RunDir;
use crate::output::{print, print_line};

/// Measure features without fitting anything.
///
/// Prints a row for each module and baseline: how many dimensions are in use (the participation ratio of the
/// covariance) and, of speech with phones and speakers, ABX errors: how often a triphone is taken for one that
/// differs in its middle phone, within a speaker and across speakers. Saves the rows in the run's measures.csv.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim measure runs/a\n         gim measure features.h5 --items dev-clean.item")]
pub struct Args {
    /// Folder of a run, or a feature file.
    source: PathBuf,
    /// List of ABX items as ZeroSpeech gives it, instead of the triphones of the test part.
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,
    /// Use the present dataset even if the run was trained on another.
    #[arg(long)]
    any_dataset: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let (_lock, out, file) = if self.source.is_dir() {
            let run = RunDir::new(self.source);
            let lock = run.lock()?;
            let contents = run.config()?.probe.contents();
            (Some(lock), run.measures_file(), features_of(&run, contents, self.any_dataset, show)?)
        } else {
            (None, self.source.with_extension("measures.csv"), self.source)
        };
        let rows = measures(&file, self.items.as_deref(), show)?;
        // Results are printed before they are saved: a table that cannot be written loses none.
        if self.json {
            print_line(json(&rows, true)?)?
        } else {
            print(table_of(&rows))?
        }
        // Rows of other lists stay.
        table::update_rows(&out, |all: &mut Vec<MeasureRow>| {
            all.retain(|old| rows.iter().all(|new| new.abx_list != old.abx_list));
            all.extend_from_slice(&rows);
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
