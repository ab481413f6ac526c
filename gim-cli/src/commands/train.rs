use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use gim_core::{Error, Result};

use crate::experiment::config::Config;
use crate::experiment::interrupt::save_on_interrupt;
use crate::experiment::launched::{Joined, Leader, join};
use crate::experiment::one_module::begin;
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::RunDir;
use crate::experiment::train::{DatasetPolicy, Start, train};
use crate::experiment::train_config::Schedule;
use crate::output::{note, print_line};

/// Train a network.
///
/// Saves the configuration, losses and checkpoints in the run's folder. After Ctrl-C, --resume
/// continues from the last step.
///
/// Started by mpirun, each process trains some of the modules; see docs/distributed.md.
///
/// With --modules K --from RUN, module K alone is trained, above the modules of RUN, which stay as
/// they are. The result is that of the same turn of the iterative schedule.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim train audio-quick --out runs/a\n         gim train --resume runs/a\n         \
                        gim train audio-quick --modules 3 --from runs/a --out runs/a-3")]
pub struct Args {
    /// Preset or TOML file (not needed with --resume).
    #[arg(required_unless_present = "resume")]
    config: Option<String>,
    /// Folder of the run [default: a new folder, runs/CONFIG-1, runs/CONFIG-2, …].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Override a setting, e.g. --set optimizer.lr=1e-3. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Leave out audio files or images that cannot be read, and images whose label is out of range, and list them,
    /// also in notes.txt of the run (short for --set data.skip_bad=true). A file of many images that is cut short remains an error.
    #[arg(long)]
    skip_bad: bool,
    /// Seed (short for --set train.seed=N).
    #[arg(long)]
    seed: Option<u64>,
    /// How modules take turns (short for --set train.schedule=...).
    #[arg(long)]
    schedule: Option<Schedule>,
    /// Write losses, accuracies and norms of gradients for TensorBoard, too, into tensorboard/ of the run (short for
    /// --set train.tensorboard=true).
    #[arg(long)]
    tensorboard: bool,
    /// Train module K alone, above the first K − 1 modules of --from.
    #[arg(long, value_name = "K", requires = "from", conflicts_with = "schedule", value_parser = clap::value_parser!(u16).range(1..))]
    modules: Option<u16>,
    /// Run that the modules below come from; its dataset, network and loss must be the same.
    #[arg(long, value_name = "RUN", requires = "modules")]
    from: Option<PathBuf>,
    /// Resume the run in this folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "out", "seed", "schedule", "modules", "from", "set", "skip_bad"])]
    resume: Option<PathBuf>,
    /// Resume even if the dataset has changed.
    #[arg(long, requires = "resume")]
    any_dataset: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        match join()? {
            Joined::Follows(follower) => follower.serve().map(|()| ExitCode::SUCCESS),
            Joined::Leads(leader) => self.train(show, Some(&leader)),
            Joined::Alone => self.train(show, None),
        }
    }

    fn train(self, show: Mode, leader: Option<&Leader>) -> Result<ExitCode> {
        let from = self.from.clone().map(RunDir::new);
        let policy = if self.any_dataset { DatasetPolicy::Any } else { DatasetPolicy::Begun };
        let is_new = self.resume.is_none() && self.out.is_none();
        let start = match (&self.resume, &from) {
            (None, None) if is_new => Start::Claimed,
            (None, None) => Start::New,
            _ => Start::Resume,
        };
        let (config, run) = self.config_and_run(show)?;
        let begun = from.map_or(Ok(()), |from| begin(&config, &run, &from));
        let trained =
            begun.and_then(|()| save_on_interrupt()).and_then(|()| train(&config, &run, start, policy, show, leader));
        if is_new {
            // A run that could not start leaves nothing.
            run.remove_if_empty();
        }
        trained?;
        print_line(run.path().display())?;
        Ok(ExitCode::SUCCESS)
    }

    fn config_and_run(self, show: Mode) -> Result<(Config, RunDir)> {
        if let Some(folder) = self.resume {
            let run = RunDir::new(folder);
            if run.has_probes() && run.newest_checkpoint()?.is_none() {
                // Training from the start would leave probes of other weights in the folder.
                let what = "holds the results of a run whose weights are missing";
                return Err(Error::file(run.path(), what, "train into another folder"));
            }
            let mut config = run.config()?;
            config.train.tensorboard |= self.tensorboard;
            return Ok((config, run));
        }
        let Some(config) = self.config else {
            return Err(Error::config("CONFIG", "is missing", "give a preset or a file"));
        };
        let mut set = self.set;
        set.extend(self.skip_bad.then(|| "data.skip_bad=true".to_owned()));
        set.extend(self.seed.map(|s| format!("train.seed={s}")));
        set.extend(self.tensorboard.then(|| "train.tensorboard=true".to_owned()));
        if let Some(k) = self.modules {
            set.extend([format!("train.modules={k}"), "train.schedule=iterative".to_owned()]);
        }
        let schedule = self.schedule.and_then(|s| s.to_possible_value());
        set.extend(schedule.map(|s| format!("train.schedule={}", s.get_name())));
        let loaded = Config::load(&config, &set)?;
        if show != Mode::Quiet {
            loaded.unused(&set).into_iter().for_each(note);
        }
        let run = match self.out {
            Some(out) => RunDir::new(out),
            None => RunDir::claim(Path::new("runs"), &name_of(&config))?,
        };
        Ok((loaded, run))
    }
}

/// Name of a preset, or of a file without its extension.
fn name_of(config: &str) -> String {
    Path::new(config).file_stem().map_or("run".into(), |n| n.to_string_lossy().into_owned())
}
