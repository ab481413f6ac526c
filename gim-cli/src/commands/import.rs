use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gim_core::{Error, Result};

use crate::experiment::domain::DomainKind;
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::RunDir;
use crate::output::{note, print_line};
use crate::weights::{Given, import};

/// Make a run of weights from PyTorch.
///
/// Reads checkpoints of the published code (torch.save, in its present and its older container),
/// safetensors with the same names, and what `gim export` writes. Nothing in a file is executed.
///
/// The configuration follows from the shapes and is printed. What shapes do not tell is as published,
/// unless --set says otherwise. `gim extract` and `gim probe` then take the run as any other.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: gim import model_100.ckpt --as audio --out runs/published --set data.path=LibriSpeech\n         \
                        gim extract runs/published"
)]
pub struct Args {
    /// Checkpoints: one file, or those of the modules in order.
    #[arg(required = true, value_name = "CKPT")]
    files: Vec<PathBuf>,
    /// What the network is for.
    #[arg(long = "as", value_name = "DOMAIN")]
    kind: DomainKind,
    /// Folder of the new run.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// A setting that shapes do not tell, e.g. --set network.patch=8. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Means that training subtracted from its input, one a channel [default: the published ones].
    #[arg(long, value_name = "M", value_delimiter = ',', allow_hyphen_values = true, requires = "std")]
    mean: Vec<f64>,
    /// Standard deviations that training divided its input by, one a channel.
    #[arg(long, value_name = "S", value_delimiter = ',', requires = "mean")]
    std: Vec<f64>,
    /// Dataset that the weights were trained on: its mean and standard deviation are measured.
    #[arg(long, value_name = "DIR")]
    trained_on: Option<PathBuf>,
    /// Training steps behind the weights [default: what the file says, else 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..100_000_000))]
    step: Option<u64>,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let run = RunDir::new(self.out);
        if run.path().exists() && !is_empty(run.path()) {
            return Err(Error::file(run.path(), "is not an empty folder", "choose another --out"));
        }
        let (mean, std) = (self.mean, self.std);
        let given = Given { kind: self.kind, set: self.set, mean, std, dataset: self.trained_on, step: self.step };
        for text in import(&self.files, &given, &run)? {
            if show != Mode::Quiet {
                note(format_args!("note: {text}"));
            }
        }
        print_line(run.path().display())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
