use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;

use super::comparison::{Comparison, make};
use crate::comparison::headline::headline;
use crate::comparison::reproduce::{Outcome, Scope};
use crate::comparison::sweep::DEMO;
use crate::experiment::interrupt::save_on_interrupt;
use crate::experiment::progress::Mode;
use crate::output::{print, print_line};

/// Show in a few minutes that the method works: on recorded speech within the program.
///
/// Trains Greedy InfoMax and CPC once each, and probes them for phones beside the input and the random
/// encoder. The same command resumes a demo that was stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim demo")]
pub struct Args {
    /// Folder for runs, tables, figures and page.
    #[arg(short, long, default_value = "runs/demo")]
    out: PathBuf,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let plan = Comparison::named(DEMO, self.out).plan(Scope::Whole)?;
        save_on_interrupt()?;
        let table = |outcome: &Outcome| {
            format!("Phones of 9 minutes of recorded speech, silence left out. One seed.\n\n{}", headline(outcome))
        };
        let (outcome, files) = make(&plan, show, table, false)?;
        let figure = files.iter().find(|f| f.parent() == Some(&plan.out.figures()));
        print_line("")?;
        if let Some(figure) = figure {
            print_line(format_args!("figure  {}", figure.display()))?;
        }
        print_line(format_args!("page    {}", plan.out.page().display()))?;
        print(next(&outcome))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What to try next.
fn next(outcome: &Outcome) -> String {
    let first = outcome.runs.first().and_then(|run| run.seeds.first());
    let run = first.map_or(PathBuf::new(), |run| run.path().to_owned());
    let commands = [
        (format!("gim extract {} --input RECORDINGS --out features.h5", run.display()), "features of your own files"),
        ("gim train audio-small --set data.path=CORPUS --out runs/a".into(), "your own corpus"),
        ("gim reproduce quick".into(), "all methods, on speech and images"),
    ];
    let width = commands.iter().map(|c| c.0.chars().count()).max().unwrap_or(0);
    commands
        .iter()
        .fold("\nNext:\n".into(), |out: String, (command, what)| out + &format!("  {command:<width$}  # {what}\n"))
}
