//! The `gim` program: arguments in, library calls, one clear error out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::{Parser, Subcommand};
use gim_cli::bench::estimate;
use gim_cli::bench::{self, ProbeWork};
use gim_cli::comparison::reproduce::Scope;
use gim_cli::comparison::sweep::{SWEEPS, Sweep};
use gim_cli::comparison::{check, reproduce};
use gim_cli::experiment::config::{Config, PRESETS};
use gim_cli::experiment::probe::ProbeSpec;
use gim_cli::experiment::progress::Mode;
use gim_cli::experiment::{extract, probe, train};
use gim_cli::report::draw;
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
        /// Go on without pictures that cannot be read or whose label is out of range, and list them, also in notes.txt of the
        /// run (short for --set data.skip_bad=true). A file of many pictures that is cut short remains an error.
        #[arg(long)]
        skip_bad: bool,
        /// Seed (short for --set train.seed=N).
        #[arg(long)]
        seed: Option<u64>,
        /// simultaneous or iterative (short for --set train.schedule=...).
        #[arg(long)]
        schedule: Option<String>,
        /// Go on with the run in this folder.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "out", "seed", "schedule", "set", "skip_bad"])]
        resume: Option<PathBuf>,
        /// Go on though the corpus has changed since.
        #[arg(long, requires = "resume")]
        any_corpus: bool,
    },
    /// Write the features of all modules, the random encoder and the input itself to an HDF5 file; and some utterances' at earlier
    /// steps to RUN/snapshots.h5, for the figure of the latent space.
    Extract {
        /// Folder of a run.
        run: PathBuf,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
        /// Of the corpus there is now, though the run was trained on another.
        #[arg(long)]
        any_corpus: bool,
    },
    /// Fit linear probes on frozen features.
    Probe {
        /// Folder of a run, or a feature file.
        source: PathBuf,
        /// What to predict.
        #[arg(long, value_parser = ["phones", "speakers", "classes"])]
        task: String,
        /// How; knn are 20 nearest neighbours.
        #[arg(long, default_value = "converged", value_parser = ["converged", "paper", "knn"])]
        protocol: String,
        /// all, or the number of a module.
        #[arg(long, default_value = "all")]
        module: String,
        /// Share of the training labels to fit on.
        #[arg(long, default_value_t = 1.0)]
        labels: f64,
        /// On the corpus there is now, though the run was trained on another.
        #[arg(long)]
        any_corpus: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Draw the figures of one or more runs (seeds).
    Figures {
        /// Folders of runs.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// Folder for the figures [default: RUN/figures of the first run].
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Train, extract, probe, draw and tabulate a whole comparison; goes on where it was stopped.
    #[command(visible_alias = "sweep")]
    Reproduce {
        #[command(flatten)]
        comparison: Comparison,
        /// Train and probe nothing: tables, figures and page of the runs that are finished.
        #[arg(long)]
        finished: bool,
    },
    /// Run a comparison and hold its accuracies against a baseline; exit code 1 when one has moved.
    Check {
        #[command(flatten)]
        comparison: Comparison,
        /// Table of expected values.
        #[arg(long, default_value = "results/baseline.csv")]
        baseline: PathBuf,
        /// Write the baseline instead, with tolerances from the spread over seeds.
        #[arg(long)]
        update: bool,
    },
    /// Parameters, arithmetic, memory and measured seconds of a training step.
    Estimate {
        /// Preset or TOML file.
        config: String,
        /// Steps to time.
        #[arg(long, default_value_t = 5)]
        steps: usize,
        /// Override a setting.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Features only: forward, no losses and no gradients.
        #[arg(long)]
        features: bool,
        /// A roofline of the products, shape by shape, and how far chunks can be spread over threads.
        #[arg(long)]
        profile: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Time and memory of training steps, features and probes, beside PyTorch, scikit-learn and the arithmetic limit; how they
    /// grow, and how far they could be spread over threads. About 15 minutes on two cores.
    Bench(bench::Options),
    /// One measurement of `bench`: fits a linear probe to synthetic features and prints JSON.
    #[command(hide = true)]
    BenchProbe(ProbeWork),
    /// Presets and their settings.
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

/// A comparison and what to change about it.
#[derive(Clone, clap::Args)]
struct Comparison {
    /// quick (embedded corpora), small (real corpora, see GIM_DATA), paper, or a TOML file that lists runs.
    #[arg(default_value = "quick")]
    what: String,
    /// Only runs whose names begin so, e.g. audio or vision/gim (and those they are compared with).
    #[arg(long)]
    only: Option<String>,
    /// Number of seeds.
    #[arg(long)]
    seeds: Option<u64>,
    /// Folder for runs, tables, figures and report [default: runs/WHAT; for check a temporary one].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Override a setting of every run.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Comparison {
    fn plan(&self) -> Result<reproduce::Plan> {
        let mut sweep = Sweep::load(&self.what)?;
        if let Some(prefix) = &self.only {
            sweep = sweep.only(prefix);
            if sweep.run.is_empty() {
                return Err(Error::config(
                    "--only",
                    format_args!("no run begins with `{prefix}`"),
                    "see gim config sweep",
                ));
            }
        }
        if self.seeds == Some(0) {
            return Err(Error::config("--seeds", "no seed is left", "use 1 or more"));
        }
        sweep.seeds = self.seeds.unwrap_or(sweep.seeds);
        let name = std::path::Path::new(&self.what).file_stem().map_or("comparison".into(), |n| n.to_string_lossy());
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&*name));
        Ok(reproduce::Plan { name: name.into_owned(), sweep, out, set: self.set.clone(), scope: Scope::Whole })
    }
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Names of the presets.
    List,
    /// The runs of a comparison, as the TOML that gim reproduce takes.
    Sweep {
        /// quick, small or paper.
        name: String,
    },
    /// All settings of a preset or file.
    Show {
        /// Preset or file.
        name: String,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match execute(args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("gim: {e}");
            ExitCode::from(2)
        }
    }
}

fn execute(args: Args) -> Result<ExitCode> {
    let show = Mode::detect(args.quiet);
    if let Some(n) = args.threads {
        let built = if n > 0 { rayon::ThreadPoolBuilder::new().num_threads(n).build_global().is_ok() } else { false };
        if !built {
            return Err(Error::config("--threads", format_args!("cannot run on {n} threads"), "use 1 or more"));
        }
    }
    match args.command {
        Command::Train { config, out, mut set, skip_bad, seed, schedule, resume, any_corpus } => {
            set.extend(skip_bad.then(|| "data.skip_bad=true".to_owned()));
            set.extend(seed.map(|s| format!("train.seed={s}")));
            set.extend(schedule.map(|s| format!("train.schedule={s}")));
            let (config, folder) = match (&resume, config) {
                (Some(folder), _) => {
                    if folder.join("probe.csv").is_file() && train::newest_checkpoint(folder).is_none() {
                        // Training from the start would put other curves beside its probes.
                        let what = "holds the results of a run whose weights are gone";
                        return Err(Error::file(folder, what, "train into another folder"));
                    }
                    (Config::of_run(folder)?, folder.clone())
                }
                (None, Some(config)) => (Config::load(&config, &set)?, out),
                (None, None) => return Err(Error::config("CONFIG", "is missing", "give a preset or a file")),
            };
            save_on_interrupt()?;
            let policy = if any_corpus { train::CorpusPolicy::Any } else { train::CorpusPolicy::Begun };
            train::train(&config, &folder, resume.is_some(), policy, show)?;
            println!("{}", folder.display());
        }
        Command::Extract { run, out, any_corpus } => {
            extract::extract(&run, &out, true, any_corpus, show)?;
            extract::snapshots(&run, &out, any_corpus, show)?;
        }
        Command::Probe { source, task, protocol, module, labels, any_corpus, json } => {
            let module = match module.as_str() {
                "all" => None,
                n => Some(n.parse().map_err(|_| {
                    Error::config("--module", format_args!("`{n}` is no number"), "use all, or 1 and up")
                })?),
            };
            let (file, csv) = if source.is_dir() {
                let file = extract::features_of(&source, true, any_corpus, show)?;
                (file, source.join("probe.csv"))
            } else {
                (source.clone(), source.with_extension("probe.csv"))
            };
            let rows = probe::probe(&file, &ProbeSpec { task, protocol, module, labels }, show)?;
            probe::merge(&csv, &rows)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default());
            } else {
                print!("{}", probe::print(&rows));
            }
        }
        Command::Figures { runs, out } => {
            let out = out.unwrap_or_else(|| runs[0].join("figures"));
            draw::draw(&runs, &out)?.iter().for_each(|f| println!("{}", f.display()));
        }
        Command::Reproduce { comparison, finished } => {
            let scope = if finished { Scope::Finished } else { Scope::Whole };
            let plan = reproduce::Plan { scope, ..comparison.plan()? };
            save_on_interrupt()?;
            let outcome = reproduce::reproduce(&plan, show)?;
            print!("{}", reproduce::print(&outcome));
            outcome.files.iter().for_each(|f| println!("{}", f.display()));
        }
        Command::Check { comparison, baseline, update } => {
            // What other code left behind says nothing about this code.
            let scratch = comparison
                .out
                .is_none()
                .then(|| std::env::temp_dir().join(format!("gim-check-{}", std::process::id())));
            let comparison = Comparison { out: comparison.out.clone().or_else(|| scratch.clone()), ..comparison };
            let plan = reproduce::Plan { scope: Scope::RegressionCheck, ..comparison.plan()? };
            check::ready(&plan, &baseline, update)?;
            save_on_interrupt()?;
            let judged = reproduce::reproduce(&plan, show).and_then(|outcome| {
                if update {
                    println!("{} values in {}", check::update(&plan, &outcome.summary, &baseline)?, baseline.display());
                    return Ok(true);
                }
                let (deviations, compared) = check::check(&plan, &outcome.summary, &baseline)?;
                print!("{}", check::print(&deviations, compared));
                Ok(deviations.is_empty())
            });
            let held = match (judged, &scratch) {
                (Err(Error::Interrupted { step, .. }), Some(_)) => {
                    let remedy = "nothing is kept; give --out to be able to go on".into();
                    Err(Error::Interrupted { step, remedy })
                }
                (judged, _) => judged,
            };
            if let Some(scratch) = scratch.filter(|s| s.is_dir()) {
                std::fs::remove_dir_all(&scratch).map_err(|e| Error::io(&scratch, "remove", &e))?;
            }
            return Ok(if held? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Estimate { config, steps, set, features, profile, json } => {
            let timed = estimate::Timed { steps: steps.max(1), features, profiled: profile };
            let estimate = estimate::estimate(&Config::load(&config, &set)?, timed)?;
            if json {
                println!("{}", serde_json::to_string(&estimate).unwrap_or_default());
            } else {
                print!("{}", estimate::print(&estimate));
            }
        }
        Command::Bench(options) => {
            bench::bench(&options, show)?.iter().for_each(|f| println!("{}", f.display()));
        }
        Command::BenchProbe(work) => println!("{}", serde_json::to_string(&work.measure()?).unwrap_or_default()),
        Command::Config { what: ConfigCommand::List } => PRESETS.iter().for_each(|p| println!("{}", p.0)),
        Command::Config { what: ConfigCommand::Sweep { name } } => match SWEEPS.iter().find(|s| s.0 == name) {
            Some(sweep) => print!("{}", sweep.1),
            None => {
                return Err(Error::config("sweep", format_args!("there is no `{name}`"), "use quick, small or paper"));
            }
        },
        Command::Config { what: ConfigCommand::Show { name } } => print!("{}", Config::load(&name, &[])?.to_toml()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The first Ctrl-C saves and stops, the second stops at once.
fn save_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if train::STOP.swap(true, Ordering::Relaxed) {
            // Nothing is lost but the steps since the last checkpoint.
            std::process::exit(130);
        }
        eprintln!("saving; press Ctrl-C again to stop at once");
    })
    .map_err(|e| Error::config("Ctrl-C", e, "run again"))
}
