use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::{Error, Result};

use crate::experiment::feature_file::{WHOLE, read_all};
use crate::output::print_line;

/// Read all of a feature file, and say what is wrong with it.
///
/// The program starts this before it opens a feature file, because a damaged one can crash the HDF5
/// library.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim try-features features.h5")]
pub struct Args {
    /// The feature file.
    file: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match read_all(&self.file) {
            Ok(()) => {
                print_line(WHOLE)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(Error::File { what, remedy, .. }) => {
                print_line(format_args!("{}\n{}", what.replace('\n', " "), remedy.replace('\n', " ")))?;
                Ok(ExitCode::from(2))
            }
            Err(e) => Err(e),
        }
    }
}
