use std::process::ExitCode;

use clap::Subcommand;
use gim_core::{Error, Result};

use crate::comparison::sweep::SWEEPS;
use crate::experiment::config::{Config, PRESETS};

/// Presets and their settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Names of the presets.
    List,
    /// The runs of a comparison, as the TOML that gim reproduce takes.
    Sweep {
        /// quick, small or paper.
        name: String,
    },
    /// All settings of a preset or file.
    Show {
        /// Preset or file.
        name: String,
    },
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.what {
            What::List => PRESETS.iter().for_each(|p| println!("{}", p.0)),
            What::Sweep { name } => match SWEEPS.iter().find(|s| s.0 == name) {
                Some(sweep) => print!("{}", sweep.1),
                None => {
                    let what = format_args!("there is no `{name}`");
                    return Err(Error::config("sweep", what, "use quick, small or paper"));
                }
            },
            What::Show { name } => print!("{}", Config::load(&name, &[])?.to_toml()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
