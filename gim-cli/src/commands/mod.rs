//! The commands of the program, one file each: arguments and action.

mod bench;
mod bench_probe;
mod check;
mod comparison;
mod completions;
mod config;
mod data;
mod demo;
mod doctor;
mod estimate;
mod export;
mod extract;
mod figures;
mod import;
mod measure;
mod plan;
mod probe;
mod report;
mod reproduce;
mod status;
mod train;
mod try_features;
mod watch;

use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand};
use gim_core::{Error, Result};
use serde::Serialize;

use crate::experiment::progress::Mode;

/// Heading of the options that every command takes.
const EVERYWHERE: &str = "Options of every command";

/// Greedy InfoMax: gradient-isolated self-supervised learning.
#[derive(Debug, Parser)]
#[command(
    name = "gim",
    version,
    after_help = "Example: gim demo\n\nRun `gim COMMAND --help` for the options of a command and an example.\n\n\
                  Exit codes: 0 success; 1 a check found something (check, data verify, doctor); 2 an error, or wrong arguments."
)]
pub struct Program {
    /// Print nothing but results and errors.
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// Number of threads [default: all cores]. Results do not depend on it.
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub threads: Option<usize>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the arguments of each command carry its help")]
pub enum Command {
    Demo(demo::Args),
    Train(train::Args),
    Extract(extract::Args),
    Import(import::Args),
    Export(export::Args),
    Probe(probe::Args),
    Measure(measure::Args),
    Figures(figures::Args),
    Report(report::Args),
    #[command(visible_alias = "sweep")]
    Reproduce(reproduce::Args),
    Check(check::Args),
    Status(status::Args),
    Watch(watch::Args),
    Estimate(estimate::Args),
    Plan(plan::Args),
    Bench(bench::Args),
    #[command(hide = true)]
    BenchProbe(bench_probe::Args),
    Config(config::Args),
    Data(data::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    TryFeatures(try_features::Args),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// The error that stopped it.
    pub fn run(self, show: Mode) -> Result<ExitCode> {
        match self {
            Self::Demo(args) => args.run(show),
            Self::Train(args) => args.run(show),
            Self::Extract(args) => args.run(show),
            Self::Import(args) => args.run(show),
            Self::Export(args) => args.run(show),
            Self::Probe(args) => args.run(show),
            Self::Measure(args) => args.run(show),
            Self::Figures(args) => args.run(),
            Self::Report(args) => args.run(),
            Self::Reproduce(args) => args.run(show),
            Self::Check(args) => args.run(show),
            Self::Status(args) => args.run(),
            Self::Watch(args) => args.run(),
            Self::Estimate(args) => args.run(),
            Self::Plan(args) => args.run(show),
            Self::Bench(args) => args.run(show),
            Self::BenchProbe(args) => args.run(),
            Self::Config(args) => args.run(),
            Self::Data(args) => args.run(show),
            Self::Doctor(args) => args.run(),
            Self::Completions(args) => args.run(),
            Self::TryFeatures(args) => args.run(),
        }
    }
}

/// Parses a number of things to do, of which there is at least one.
fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1_000_000)
}

/// Serializes a value as JSON.
fn json(value: &impl Serialize, pretty: bool) -> Result<String> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map_err(|e| Error::internal("--json", &e).caused_by(e))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_a_purpose_and_an_example() {
        let program = Program::command();
        program.clone().debug_assert();
        for verb in program.get_subcommands() {
            let name = verb.get_name();
            assert!(verb.get_about().is_some_and(|a| a.to_string().len() > 10), "{name}");
            assert!(verb.get_after_help().is_some_and(|h| h.to_string().contains(&format!("gim {name}"))), "{name}");
        }
    }

    #[test]
    fn closed_sets_are_parsed() {
        let probe = |task| Program::try_parse_from(["gim", "probe", "run", "--task", task]);
        assert!(matches!(probe("phones").map(|p| p.command), Ok(Command::Probe(_))));
        // A column of labels may have any name that is one.
        assert!(probe("vowels").is_ok() && probe("two words").is_err());
        let train = |schedule| Program::try_parse_from(["gim", "train", "audio-quick", "--schedule", schedule]);
        assert!(train("iterative").is_ok() && train("both").is_err());
        for verb in ["plan", "estimate"] {
            let steps = |n| Program::try_parse_from(["gim", verb, "audio-quick", "--steps", n]);
            assert!(steps("1").is_ok() && steps("0").unwrap_err().to_string().contains("1..=1000000"), "{verb}");
        }
    }
}
