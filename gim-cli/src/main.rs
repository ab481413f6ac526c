//! The `gim` program: parses the arguments, runs one command, reports one error.

use std::process::ExitCode;

use clap::Parser;
use gim_cli::Mode;
use gim_cli::commands::Program;
use gim_core::{Error, Result};

fn main() -> ExitCode {
    let Program { quiet, threads, command } = Program::parse();
    match use_threads(threads).and_then(|()| command.run(Mode::detect(quiet))) {
        Ok(code) => code,
        Err(e) => {
            gim_cli::note_error(&e);
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
