//! The `gim` program: arguments in, one command, one clear error out.

use std::process::ExitCode;

use clap::Parser;
use gim_cli::Mode;
use gim_cli::commands::Command;
use gim_core::{Error, Result};

/// Greedy InfoMax: gradient-isolated self-supervised learning.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Print nothing but results and errors.
    #[arg(long, global = true)]
    quiet: bool,
    /// Threads; results do not depend on it.
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
            eprintln!("gim: {e}");
            ExitCode::from(2)
        }
    }
}

/// Computes on so many threads, if a number is given.
fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(n) = threads else { return Ok(()) };
    if n > 0 && rayon::ThreadPoolBuilder::new().num_threads(n).build_global().is_ok() {
        Ok(())
    } else {
        Err(Error::config("--threads", format_args!("cannot run on {n} threads"), "use 1 or more"))
    }
}
