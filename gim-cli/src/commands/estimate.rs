use std::process::ExitCode;

use gim_core::Result;

use super::json;
use crate::bench::estimate::{Timed, estimate, print};
use crate::experiment::config::Config;

/// Parameters, arithmetic, memory and measured seconds of a training step.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Preset or TOML file.
    config: String,
    /// Steps to time.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Override a setting.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Features only: forward, no losses and no gradients.
    #[arg(long)]
    features: bool,
    /// A roofline of the products, shape by shape, and how far chunks can be spread over threads.
    #[arg(long)]
    profile: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let timed = Timed { steps: self.steps.max(1), features: self.features, profiled: self.profile };
        let estimate = estimate(&Config::load(&self.config, &self.set)?, timed)?;
        if self.json {
            println!("{}", json(&estimate, false)?);
        } else {
            print!("{}", print(&estimate));
        }
        Ok(ExitCode::SUCCESS)
    }
}
