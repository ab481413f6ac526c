use std::process::ExitCode;

use gim_core::Result;

use super::{json, positive};
use crate::bench::estimate::{Timed, estimate, print};
use crate::experiment::config::Config;
use crate::output;

/// Measure a training step: parameters, arithmetic, memory and seconds.
///
/// Runs on random input. Only supervised networks need their dataset, for the number of classes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim estimate audio-paper --set train.batch=4")]
pub struct Args {
    /// Preset or TOML file.
    config: String,
    /// Number of steps to time.
    #[arg(long, default_value_t = 5, value_parser = positive())]
    steps: usize,
    /// Override a setting. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Time feature extraction only: a forward pass without losses or gradients.
    #[arg(long)]
    features: bool,
    /// Add a roofline of the matrix products by shape, and how far more threads could help.
    #[arg(long)]
    profile: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let timed = Timed { steps: self.steps, features: self.features, profiled: self.profile };
        let estimate = estimate(&Config::load(&self.config, &self.set)?, timed)?;
        if self.json {
            output::print_line(json(&estimate, false)?)?;
        } else {
            output::print(print(&estimate))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
