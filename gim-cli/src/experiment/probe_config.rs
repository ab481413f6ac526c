//! Settings of probes. They decide no weight.

use std::path::Path;

use documented::DocumentedFields;
use gim_core::stack::Stack;
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
    /// In comparisons, extract and probe one module after the other: the disk then holds the features of one
    /// module, and of none when the run is finished. Lower modules compute their features again for each.
    pub by_module: bool,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { memory_mb: 4096, pooling: 1, concatenate: false, by_module: false }
    }
}

impl ProbeConfig {
    /// The same for the probes of `gim-eval`.
    pub(crate) fn budget(&self) -> Budget {
        Budget { bytes: self.memory_mb.saturating_mul(1_000_000) }
    }

    /// What feature files hold.
    pub(crate) fn contents(&self) -> Contents {
        let Self { pooling, concatenate, .. } = *self;
        Contents { baselines: Baselines::All, pooling, concatenate, module: None }
    }
}

/// What a file holds besides the features of trained modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Baselines {
    /// Nothing.
    None,
    /// Features of the random encoder.
    Random,
    /// Those, and the input itself.
    All,
}

/// What feature files and files of views hold of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// What there is besides the modules.
    pub baselines: Baselines,
    /// Rows and columns of the maps of images; 1 for their mean.
    pub pooling: usize,
    /// All modules side by side, besides each.
    pub concatenate: bool,
    /// The only module, from 1; `None` for all.
    pub module: Option<usize>,
}

impl Contents {
    /// The same of one module.
    pub(crate) fn of_module(self, module: usize) -> Self {
        Self { module: Some(module), concatenate: false, ..self }
    }

    /// Whether there is a random encoder.
    pub(crate) fn has_random(&self) -> bool {
        self.baselines != Baselines::None
    }

    /// The trained stack without the modules that no feature needs, and the random one, if it is wanted.
    ///
    /// # Errors
    /// When there is no such module, or `random` fails.
    pub(crate) fn stacks(
        &self,
        trained: &mut Stack<f32>,
        random: impl FnOnce() -> Result<Stack<f32>>,
    ) -> Result<Option<Stack<f32>>> {
        let mut random = self.has_random().then(random).transpose()?;
        if let Some(module) = self.module {
            let modules = trained.modules().len();
            if !(1..=modules).contains(&module) {
                return Err(no_such_module(module, modules));
            }
            trained.truncate(module);
            random.iter_mut().for_each(|stack| stack.truncate(module));
        }
        Ok(random)
    }

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
    #[arg(long, conflicts_with = "module")]
    pub concatenate: bool,
    /// Only this module, from 1, with its baselines [default: all]. No features of others are computed or stored.
    #[arg(long, value_name = "K", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub module: Option<usize>,
}

/// A run has so many modules.
pub(crate) fn no_such_module(module: usize, modules: usize) -> Error {
    let remedy = format_args!("use 1 to {modules}, or leave it out for all");
    Error::config("--module", format_args!("there is no module {module}"), remedy)
}

/// Most rows and columns of the maps of images.
pub(crate) const MOST_CELLS: u64 = 64;

impl ContentArgs {
    /// The settings of a run, with what the command line says instead.
    pub(crate) fn over(self, settings: &ProbeConfig) -> Contents {
        let own = settings.contents();
        let all = Contents {
            pooling: self.pooling.unwrap_or(own.pooling),
            concatenate: self.concatenate || own.concatenate,
            ..own
        };
        self.module.map_or(all, |module| all.of_module(module))
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

    /// Refuses what a file decides, for a file whose features are what they are.
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
