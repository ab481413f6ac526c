//! The `gim` program: parses the arguments, runs one command, reports one error.

use std::process::ExitCode;

use clap::Parser;
use gim_cli::Mode;
use gim_cli::commands::Command;
use gim_core::{Error, Result};

/// Greedy InfoMax: gradient-isolated self-supervised learning.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example: gim reproduce quick\n\nRun `gim COMMAND --help` for the options of a command and an example."
)]
struct Args {
    /// Print nothing but results and errors.
    #[arg(long, global = true)]
    quiet: bool,
    /// Number of threads [default: all cores]. Results do not depend on it.
    #[arg(long, global = true)]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let Args { quiet, threads, command } = Args::parse();
    match use_threads(threads).and_then(|()| command.run(Mode::detect(quiet))) {
        Ok(code) => code,
        Err(e) => {
            gim_cli::note(format_args!("gim: {e}"));
            ExitCode::from(2)
        }
    }
}

/// No machine has more cores, and every thread takes memory.
const MOST_THREADS: usize = 1024;

/// Sets the number of threads, if one is given.
fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(n) = threads else { return Ok(()) };
    if (1..=MOST_THREADS).contains(&n) && rayon::ThreadPoolBuilder::new().num_threads(n).build_global().is_ok() {
        Ok(())
    } else {
        Err(Error::config(
            "--threads",
            format_args!("cannot run on {n} threads"),
            format_args!("use 1 to {MOST_THREADS}"),
        ))
    }
}
