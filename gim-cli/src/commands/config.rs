use std::process::ExitCode;

use clap::Subcommand;
use gim_core::{Error, Result};

use crate::comparison::sweep::SWEEPS;
use crate::experiment::config::{Config, PRESETS};
use crate::output::{print, print_line};

/// List presets and show their settings.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim config show audio-small > mine.toml")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the presets.
    List,
    /// Show the runs of a comparison, as TOML for `gim reproduce`.
    #[command(after_help = "Example: gim config sweep small > mine.toml")]
    Sweep {
        /// Comparison: quick, small or paper.
        name: String,
    },
    /// Show all settings of a preset or file, as TOML.
    #[command(after_help = "Example: gim config show vision-paper")]
    Show {
        /// Preset or TOML file.
        name: String,
    },
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.what {
            What::List => PRESETS.iter().try_for_each(|p| print_line(p.0))?,
            What::Sweep { name } => match SWEEPS.iter().find(|s| s.0 == name) {
                Some(sweep) => print(sweep.1)?,
                None => {
                    let what = format_args!("unknown comparison `{name}`");
                    return Err(Error::config("sweep", what, "use quick, small or paper"));
                }
            },
            What::Show { name } => print(Config::load(&name, &[])?.to_toml())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
