use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::{Error, Result};

use super::{json, positive};
use crate::comparison::sweep::Sweep;
use crate::experiment::progress::Mode;
use crate::output::{note, print, print_line};
use crate::planning::{Machines, plan_config, plan_runs};

/// Predict time, memory, traffic and disk on more cores and on several machines.
///
/// Measures each module for a few steps on this machine, and predicts the step on ranks: groups of
/// modules, idle share, traffic and memory, beside data-parallel end-to-end training of the same
/// network; then the whole run in days. Of a comparison, the sum over its runs. Predictions are
/// printed with what they assume.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: gim plan audio-paper --bandwidth 10,100 --out plans/audio\n          gim plan paper-tables --steps 1"
)]
pub struct Args {
    /// Preset, comparison (quick, small, paper-tables), or a TOML file of either.
    what: String,
    /// Numbers of ranks to predict for.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128,256")]
    ranks: Vec<usize>,
    /// Cores of each rank [default: the threads that are measured]. Other numbers are scaled by an
    /// assumption; `--threads` measures on fewer.
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Gb/s between ranks, each way. Several give a table each.
    #[arg(long, value_name = "GBIT,…", value_delimiter = ',', default_value = "10")]
    bandwidth: Vec<f64>,
    /// Microseconds of an empty message.
    #[arg(long, value_name = "US", default_value_t = 50.0)]
    latency: f64,
    /// Steps of each module to time, after a warm one.
    #[arg(long, default_value_t = 3, value_parser = positive())]
    steps: usize,
    /// Override a setting. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Of a comparison: only runs whose names begin with this, and the runs they are compared with.
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// Folder for plan.csv and, of a configuration, the figure of predicted scaling.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Most ranks, and most cores of one.
const MOST: usize = 1024;

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let machines = self.machines()?;
        let (text, files) = match self.comparison()? {
            Some(sweep) => {
                let begin = |run: &str| {
                    if show != Mode::Quiet {
                        note(format_args!("measuring the network of {run}"));
                    }
                };
                let plan = plan_runs(&self.what, &sweep, &self.set, self.steps, begin)?;
                let text = if self.json { json(&plan, false)? + "\n" } else { plan.to_string() };
                (text, self.out.as_ref().map(|folder| plan.save(folder)))
            }
            None => {
                let plan = plan_config(&self.what, &self.set, machines, self.steps)?;
                let text = if self.json { json(&plan, false)? + "\n" } else { plan.to_string() };
                (text, self.out.as_ref().map(|folder| plan.save(folder)))
            }
        };
        print(text)?;
        let files = files.transpose()?.unwrap_or_default();
        if !self.json {
            files.iter().try_for_each(|f| print_line(f.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The comparison of this name or in this file; none when it is a configuration.
    fn comparison(&self) -> Result<Option<Sweep>> {
        let listed = std::fs::read_to_string(&self.what).ok().and_then(|text| text.parse::<toml::Table>().ok());
        let lists_runs = listed.is_some_and(|table| table.contains_key("seeds"));
        if !Sweep::is_built_in(&self.what) && !lists_runs {
            return match &self.only {
                Some(_) => Err(Error::config("--only", "is given for a single configuration", "name a comparison")),
                None => Ok(None),
            };
        }
        let sweep = Sweep::load(&self.what)?;
        let sweep = match &self.only {
            Some(prefix) => sweep.only(prefix),
            None => sweep,
        };
        match sweep.run.is_empty() {
            true => Err(Error::config("--only", "no run begins so", "see gim config sweep")),
            false => Ok(Some(sweep)),
        }
    }

    fn machines(&self) -> Result<Machines> {
        let cores = self.cores.unwrap_or_else(rayon::current_num_threads);
        for (key, values) in [("--ranks", &self.ranks), ("--cores", &vec![cores])] {
            if values.is_empty() || values.iter().any(|n| !(1..=MOST).contains(n)) {
                return Err(Error::config(key, format_args!("is {values:?}"), format_args!("use 1 to {MOST}")));
            }
        }
        let in_range = |value: f64, low: f64, high: f64| (low..=high).contains(&value);
        if self.bandwidth.is_empty() || !self.bandwidth.iter().all(|b| in_range(*b, 1e-3, 1e5)) {
            return Err(Error::config("--bandwidth", format_args!("is {:?}", self.bandwidth), "use 0.001 to 100000"));
        }
        if !in_range(self.latency, 0.0, 1e7) {
            return Err(Error::config("--latency", format_args!("is {}", self.latency), "use 0 to 10000000"));
        }
        Ok(Machines { ranks: self.ranks.clone(), cores, bandwidths: self.bandwidth.clone(), latency: self.latency })
    }
}
