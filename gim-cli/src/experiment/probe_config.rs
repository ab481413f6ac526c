//! Settings of probes. They decide no weight.

use std::path::Path;

use documented::DocumentedFields;
use gim_core::{Error, Result};
use gim_eval::Budget;
use serde::{Deserialize, Serialize};

use crate::experiment::domain::DomainKind;

/// Settings of probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Most memory for the features of a module while it is probed, in MB: features, their standardized
    /// copy and scores. Larger features are read from their file in blocks, which takes longer.
    pub memory_mb: u64,
    /// Features of an image: its map in a module, averaged to so many rows and columns and written out
    /// side by side; 1 is the mean. Smaller maps stay as they are.
    pub pooling: usize,
    /// Probe the features of all modules side by side, besides those of each.
    pub concatenate: bool,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { memory_mb: 4096, pooling: 1, concatenate: false }
    }
}

impl ProbeConfig {
    /// The same for the probes of `gim-eval`.
    pub(crate) fn budget(&self) -> Budget {
        Budget { bytes: self.memory_mb.saturating_mul(1_000_000) }
    }

    /// What feature files hold.
    pub(crate) fn contents(&self) -> Contents {
        Contents { baselines: true, pooling: self.pooling, concatenate: self.concatenate }
    }
}

/// What feature files and files of views hold of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The random encoder and the input itself, besides the modules.
    pub baselines: bool,
    /// Rows and columns of the maps of images; 1 for their mean.
    pub pooling: usize,
    /// All modules side by side, besides each.
    pub concatenate: bool,
}

impl Contents {
    /// The rows and columns where they are not those of a mean, as files and tables say them.
    pub(crate) fn pooled(&self) -> Option<u64> {
        (self.pooling > 1).then_some(self.pooling as u64)
    }
}

// Options of the command line that take the place of a run's settings. Documentation here would become that of the
// commands.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct ContentArgs {
    /// Rows and columns that the map of an image is averaged to in each module; 1 is the mean [default: probe.pooling
    /// of the run].
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MOST_CELLS))]
    pub pooling: Option<usize>,
    /// Add the features of all modules side by side [default: probe.concatenate of the run].
    #[arg(long)]
    pub concatenate: bool,
}

/// Most rows and columns of the maps of images.
pub(crate) const MOST_CELLS: u64 = 64;

impl ContentArgs {
    /// The settings of a run, with what the command line says instead.
    pub(crate) fn over(self, settings: &ProbeConfig) -> Contents {
        let own = settings.contents();
        Contents {
            pooling: self.pooling.unwrap_or(own.pooling),
            concatenate: self.concatenate || own.concatenate,
            ..own
        }
    }

    /// Refuses maps of audio.
    ///
    /// # Errors
    /// When features of audio are to be maps.
    pub(crate) fn check(self, domain: DomainKind) -> Result<()> {
        match self.pooling {
            Some(n) if n > 1 && domain == DomainKind::Audio => Err(Error::config(
                "--pooling",
                format_args!("is {n}, but features of audio have no maps"),
                "leave it out",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses all of them, for a file whose features are what they are.
    ///
    /// # Errors
    /// When anything was said.
    pub(crate) fn refuse(self, file: &Path) -> Result<()> {
        if self.pooling.is_none() && !self.concatenate {
            return Ok(());
        }
        let what = format_args!("{} holds features already", file.display());
        Err(Error::config("--pooling, --concatenate", what, "give them to `gim extract`, or name the folder of a run"))
    }
}
