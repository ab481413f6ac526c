//! The `gim` program: arguments in, library calls, one clear error out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::{Parser, Subcommand};
use gim_cli::config::{Config, PRESETS};
use gim_cli::progress::Mode;
use gim_cli::{extract, probes, run};
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

#[derive(Subcommand)]
enum Command {
    /// Train a network.
    Train {
        /// Preset or TOML file (not needed with --resume).
        #[arg(required_unless_present = "resume")]
        config: Option<String>,
        /// Folder of the run.
        #[arg(long, default_value = "runs/latest")]
        out: PathBuf,
        /// Override a setting, e.g. --set optimizer.lr=1e-3. May be repeated.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Seed (short for --set train.seed=N).
        #[arg(long)]
        seed: Option<u64>,
        /// simultaneous or iterative (short for --set train.schedule=...).
        #[arg(long)]
        schedule: Option<String>,
        /// Go on with the run in this folder.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "seed", "schedule", "set"])]
        resume: Option<PathBuf>,
    },
    /// Write the features of all modules, the random encoder and MFCC to an HDF5 file.
    Extract {
        /// Folder of a run.
        run: PathBuf,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Fit linear probes on frozen features.
    Probe {
        /// Folder of a run, or a feature file.
        source: PathBuf,
        /// phones or speakers.
        #[arg(long)]
        task: String,
        /// converged or paper.
        #[arg(long, default_value = "converged")]
        protocol: String,
        /// all, or the number of a module.
        #[arg(long, default_value = "all")]
        module: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Presets and their settings.
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Names of the presets.
    List,
    /// All settings of a preset or file.
    Show {
        /// Preset or file.
        name: String,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match execute(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("gim: {e}");
            ExitCode::from(2)
        }
    }
}

fn execute(args: Args) -> Result<()> {
    let show = Mode::detect(args.quiet);
    if let Some(n) = args.threads {
        let built = if n > 0 { rayon::ThreadPoolBuilder::new().num_threads(n).build_global().is_ok() } else { false };
        if !built {
            return Err(Error::config("--threads", format_args!("cannot run on {n} threads"), "use 1 or more"));
        }
    }
    match args.command {
        Command::Train { config, out, mut set, seed, schedule, resume } => {
            set.extend(seed.map(|s| format!("train.seed={s}")));
            set.extend(schedule.map(|s| format!("train.schedule={s}")));
            let (config, folder) = match (&resume, config) {
                (Some(folder), _) => {
                    (Config::load(&folder.join("config.toml").to_string_lossy(), &[])?, folder.clone())
                }
                (None, Some(config)) => (Config::load(&config, &set)?, out),
                (None, None) => return Err(Error::config("CONFIG", "is missing", "give a preset or a file")),
            };
            ctrlc::set_handler(|| {
                if run::STOP.swap(true, Ordering::Relaxed) {
                    // The second time the user means it: nothing is lost but the steps since the last checkpoint.
                    std::process::exit(130);
                }
                eprintln!("saving; press Ctrl-C again to stop at once");
            })
            .map_err(|e| Error::config("Ctrl-C", e, "run again"))?;
            run::train(&config, &folder, resume.is_some(), show)?;
            println!("{}", folder.display());
        }
        Command::Extract { run, out } => extract::extract(&run, &out, show)?,
        Command::Probe { source, task, protocol, module, json } => {
            let module = match module.as_str() {
                "all" => None,
                n => Some(n.parse().map_err(|_| {
                    Error::config("--module", format_args!("`{n}` is no number"), "use all, or 1 and up")
                })?),
            };
            let (file, csv) = if source.is_dir() {
                let file = source.join("features.h5");
                if !file.is_file() {
                    extract::extract(&source, &file, show)?;
                }
                (file, source.join("probe.csv"))
            } else {
                (source.clone(), source.with_extension("probe.csv"))
            };
            let rows = probes::probe(&file, &task, &protocol, module, show)?;
            probes::merge(&csv, &rows)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default());
            } else {
                print!("{}", probes::print(&rows));
            }
        }
        Command::Config { what: ConfigCommand::List } => PRESETS.iter().for_each(|p| println!("{}", p.0)),
        Command::Config { what: ConfigCommand::Show { name } } => print!("{}", Config::load(&name, &[])?.to_toml()),
    }
    Ok(())
}
