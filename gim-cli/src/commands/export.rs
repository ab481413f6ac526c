use std::path::PathBuf;
use std::process::ExitCode;

use gim_core::Result;

use crate::experiment::progress::Mode;
use crate::experiment::run_dir::RunDir;
use crate::output::{note, print_line};
use crate::weights::{Format, export};

/// Write the weights of a run for PyTorch or ONNX.
///
/// torch: a file that `torch.load` reads and `load_state_dict` of the published code takes, with its
/// names and layouts. safetensors: the same tensors. onnx: the network from raw input to the features
/// of every module, standardization included.
///
/// All of them carry the configuration and the standardization of the run as JSON (`gim.json`), so
/// that `gim import` takes them back without questions and with the same bits.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim export runs/a --to torch --out a.ckpt")]
pub struct Args {
    /// Folder of a run.
    run: PathBuf,
    /// Kind of file.
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Training step of a snapshot or checkpoint that the run has kept [default: the newest].
    #[arg(long, value_name = "N")]
    step: Option<u64>,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let run = RunDir::new(self.run);
        run.refuse_own(&self.out)?;
        let step = export(&run, self.to, self.step, &self.out)?;
        if show != Mode::Quiet {
            note(format_args!("note: these are the weights after {step} steps"));
        }
        print_line(self.out.display())?;
        Ok(ExitCode::SUCCESS)
    }
}
