use std::process::ExitCode;

use clap::Subcommand;
use gim_core::{Error, Result};

use crate::comparison::sweep::SWEEPS;
use crate::experiment::config::{Config, PRESETS};
use crate::experiment::settings;
use crate::output::{print, print_line};

/// List presets, show their settings, and explain any setting.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim config show audio-small > mine.toml\n         gim config explain train.schedule")]
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
        /// Comparison: demo, quick, small, local, paper-tables or paper-ablations.
        name: String,
    },
    /// Show all settings of a preset or file, as TOML with comments.
    #[command(after_help = "Example: gim config show vision-paper")]
    Show {
        /// Preset or TOML file.
        name: String,
        /// Settings without comments.
        #[arg(long)]
        plain: bool,
    },
    /// Explain a setting, or all settings of a section: default, meaning, range.
    #[command(after_help = "Example: gim config explain loss.negatives\n         gim config explain train")]
    Explain {
        /// Setting or section, such as optimizer.lr or optimizer.
        key: String,
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
                    let names: Vec<&str> = SWEEPS.iter().map(|s| s.0).collect();
                    return Err(Error::config("sweep", what, format_args!("use {}", names.join(", "))));
                }
            },
            What::Show { name, plain } => {
                let config = Config::load(&name, &[])?;
                print(if plain { config.to_toml() } else { settings::commented(&config) })?;
            }
            What::Explain { key } => print(settings::explain(&key)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
