//! A training run and its folder: config.toml, environment.json, notes.txt, train.csv, checkpoints/.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use gim_core::checkpoint::{self, CheckpointMeta};
use gim_core::link::Packet;
use gim_core::module::Mode;
use gim_core::optim::OptimizerConfig;
use gim_core::schedule::{iterative_modes, step_in_turn};
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};
use gim_eval::table;

use crate::experiment::config::Config;
use crate::experiment::environment::{Environment, TrainedOn};
use crate::experiment::progress::{Mode as Show, Progress};
use gim_core::files::{create_folder, write_atomic};
use gim_eval::TrainRow;

/// Checkpoints kept besides the snapshots: the newest, and the one before in case the newest is damaged on disk.
const KEEP: usize = 2;

/// What the user should know about the data, and characters of a note that are printed.
const NOTES: &str = "notes.txt";
const MOST_SHOWN: usize = 600;

/// Set by Ctrl-C; the run then saves and stops.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Folders of complete checkpoints, oldest first, with the steps they hold.
fn checkpoints(run: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?, e.path())))
        .collect();
    found.sort();
    found
}

/// Folder of the newest complete checkpoint of a run.
pub fn newest_checkpoint(run: &Path) -> Option<PathBuf> {
    checkpoints(run).pop().map(|c| c.1)
}

/// Writes a checkpoint and removes those that are neither new nor one of the `snapshots`.
fn save(run: &Path, stack: &mut Stack<f32>, step: u64, fingerprint: &str, snapshots: &[u64]) -> Result<()> {
    let folder = run.join("checkpoints");
    let partial = folder.join("partial.tmp");
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(|e| Error::io(&partial, "remove an unfinished checkpoint", &e))?;
    }
    create_folder(&partial)?;
    for (i, module) in stack.modules_mut().iter_mut().enumerate() {
        let meta = CheckpointMeta {
            format: checkpoint::FORMAT,
            module: i + 1,
            step,
            optimizer_steps: 0,
            configuration: fingerprint.to_owned(),
        };
        write_atomic(
            &partial.join(format!("module_{}.safetensors", i + 1)),
            &checkpoint::to_bytes(&mut **module, &meta)?,
        )?;
    }
    let done = folder.join(format!("step-{step:08}"));
    if done.exists() {
        std::fs::remove_dir_all(&done).map_err(|e| Error::io(&done, "replace a checkpoint", &e))?;
    }
    std::fs::rename(&partial, &done).map_err(|e| Error::io(&done, "put a checkpoint in place", &e))?;
    let all = checkpoints(run);
    for (_, old) in all[..all.len().saturating_sub(KEEP)].iter().filter(|c| !snapshots.contains(&c.0)) {
        std::fs::remove_dir_all(old).map_err(|e| Error::io(old, "remove an old checkpoint", &e))?;
    }
    Ok(())
}

fn load(folder: &Path, stack: &mut Stack<f32>, fingerprint: &str) -> Result<()> {
    for (i, module) in stack.modules_mut().iter_mut().enumerate() {
        let path = folder.join(format!("module_{}.safetensors", i + 1));
        let meta = checkpoint::load(&path, &mut **module)?;
        if meta.configuration != fingerprint || meta.module != i + 1 {
            return Err(Error::file(&path, "belongs to another configuration", "use the config.toml it was made with"));
        }
    }
    Ok(())
}

/// Whether a run has done all its steps.
///
/// # Errors
/// When the corpus cannot be opened to count an epoch.
pub fn is_complete(run: &Path, config: &Config) -> Result<bool> {
    let Some((step, _)) = checkpoints(run).pop() else { return Ok(false) };
    let t = &config.train;
    let experiment = config.domain.experiment();
    let each = t.steps_each(|| Ok(experiment.batch_source(t, step)?.epoch_len()))?;
    // Only turns need to be counted by module, and a stack is not built in no time.
    let turns = if t.iterative() {
        experiment.build(&config.optimizer, t.seed, &Pool::new())?.modules().len() as u64
    } else {
        1
    };
    Ok(step >= each * turns)
}

/// A run's configuration and its trained stack.
///
/// # Errors
/// When the folder is no run, or has no intact checkpoint.
pub fn open(run: &Path, pool: &Pool<f32>) -> Result<(Config, Stack<f32>, u64)> {
    let config = Config::of_run(run)?;
    let mut stack = config.domain.experiment().build(&config.optimizer, config.train.seed, pool)?;
    let Some((step, folder)) = checkpoints(run).pop() else {
        return Err(Error::file(run, "has no checkpoint", "train it first"));
    };
    load(&folder, &mut stack, &config.fingerprint())?;
    Ok((config, stack, step))
}

/// The snapshots that a trained run has kept: steps and stacks, from before the first step on, without the end.
///
/// # Errors
/// When a checkpoint is damaged.
pub fn snapshots(run: &Path, pool: &Pool<f32>) -> Result<Vec<(u64, Stack<f32>)>> {
    let config = Config::of_run(run)?;
    let build = || config.domain.experiment().build(&config.optimizer, config.train.seed, pool);
    let mut all = checkpoints(run);
    let snapshots = config.train.snapshots(all.pop().map_or(0, |newest| newest.0));
    let mut out = vec![(0, build()?)];
    for (step, folder) in all.into_iter().filter(|c| snapshots.contains(&c.0)) {
        let mut stack = build()?;
        load(&folder, &mut stack, &config.fingerprint())?;
        out.push((step, stack));
    }
    Ok(out)
}

/// What a run may be trained on.
#[derive(Debug, Clone, Copy)]
pub enum CorpusPolicy<'a> {
    /// The corpus it was begun on, or any at its beginning.
    Begun,
    /// This one.
    Only(&'a TrainedOn),
    /// Whatever there is.
    Any,
}

/// Trains, or goes on with, the run in `run`. Gives the steps done.
///
/// # Errors
/// [`Error::Interrupted`] after Ctrl-C, with everything saved; [`Error::Diverged`]; or what keeps the run from going on.
pub fn train(config: &Config, run: &Path, resume: bool, policy: CorpusPolicy<'_>, show: Show) -> Result<u64> {
    let started = Instant::now();
    let pool = config.train.pool();
    let seed = config.train.seed;
    let fingerprint = config.fingerprint();
    let experiment = config.domain.experiment();
    let csv = run.join("train.csv");
    let last = if resume {
        checkpoints(run).pop()
    } else if run.join("config.toml").exists() {
        return Err(Error::file(run, "already holds a run", "go on with --resume, or choose another --out"));
    } else {
        None
    };
    let first = last.as_ref().map_or(0, |l| l.0);
    let mut feed = experiment.batch_source(&config.train, first)?;
    let each = config.train.steps_each(|| Ok(feed.epoch_len()))?;
    let optimizer = OptimizerConfig { decay_steps: each, ..config.optimizer.clone() };
    let mut stack = experiment.build(&optimizer, seed, &pool)?;
    let modules = stack.modules().len();
    let layouts = stack.layouts(experiment.input(config.train.batch)?)?;
    if let Some((_, folder)) = last {
        load(&folder, &mut stack, &fingerprint)?;
    }
    let (folder, digest) = feed.corpus();
    let corpus = TrainedOn::new(folder, digest);
    let before = match policy {
        CorpusPolicy::Any => None,
        _ if first > 0 => Environment::of_run(run)?.corpus,
        CorpusPolicy::Only(corpus) => Some(corpus.clone()),
        CorpusPolicy::Begun => None,
    };
    if let Some(before) = before
        && before.digest != corpus.digest
    {
        let what = format!("belongs to what was begun on {before}, not on {corpus}");
        return Err(Error::file(
            run,
            what,
            "name that corpus by GIM_DATA, or go on with --any-corpus, or train elsewhere",
        ));
    }
    let iterative = config.train.iterative();
    let total = if iterative { each * modules as u64 } else { each };
    if first > 0 && first >= total {
        // What the finished run was made with stays on record.
        return Ok(total);
    }
    let snapshots = config.train.snapshots(total);
    create_folder(run)?;
    write_atomic(&run.join("config.toml"), config.to_toml().as_bytes())?;
    let mut environment = Environment::capture(seed, rayon::current_num_threads());
    environment.corpus = Some(corpus);
    write_environment(run, &environment)?;
    let notes = feed.notes();
    if !notes.is_empty() {
        write_atomic(&run.join(NOTES), (notes.join("\n") + "\n").as_bytes())?;
    }
    if show != Show::Quiet {
        for note in &notes {
            match note.char_indices().nth(MOST_SHOWN) {
                Some((end, _)) => eprintln!("note: {}… (whole in {})", &note[..end], run.join(NOTES).display()),
                None => eprintln!("note: {note}"),
            }
        }
    }

    // A full disk cuts the last line short; its steps will be done again.
    if first > 0 && csv.is_file() {
        let bytes = std::fs::read(&csv).map_err(|e| Error::io(&csv, "read the log", &e))?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        write_atomic(&csv, &bytes[..whole])?;
    }
    // Rows behind the checkpoint belong to steps that will be done again.
    let mut rows: Vec<TrainRow> = if first > 0 && csv.is_file() { table::read_rows(&csv)? } else { Vec::new() };
    rows.retain(|r| r.step <= first);
    let before = rows.last().and_then(|r| r.seconds).unwrap_or(0.0);
    write_rows(&csv, &rows)?;
    let mut log =
        std::fs::OpenOptions::new().append(true).open(&csv).map_err(|e| Error::io(&csv, "open the log", &e))?;

    let mut progress = Progress::resumed(first, total, "steps", show);
    let (mut sums, mut latest) = (vec![(0.0, 0.0, 0u64); modules], vec![f64::NAN; modules]);
    let all = vec![Mode::Learn; modules];
    for step in first..total {
        let (x, labels) = match feed.next(layouts[0], &pool) {
            Ok(batch) => batch,
            Err(e) => {
                // A file that cannot be read says nothing against what has been learnt.
                save(run, &mut stack, step, &fingerprint, &snapshots)?;
                return Err(e);
            }
        };
        let modes = if iterative { iterative_modes(step, each, modules) } else { all.clone() };
        let packet = Packet { x: x.detach(), step, labels };
        step_in_turn(&mut stack, &layouts, packet, seed, &modes, &mut |r| {
            let sum = &mut sums[r.module - 1];
            *sum = (sum.0 + r.loss.loss, sum.1 + r.loss.accuracy, sum.2 + 1);
        })
        .map_err(|e| name_last_checkpoint(e, run))?;
        let done = step + 1;
        if done.is_multiple_of(config.train.log_every) || done == total {
            let mut text = String::new();
            for (m, sum) in sums.iter_mut().enumerate().filter(|s| s.1.2 > 0) {
                let n = sum.2 as f64;
                latest[m] = sum.0 / n;
                let seconds = before + started.elapsed().as_secs_f64();
                let epoch = step / feed.epoch_len();
                text += &format!("{done},{epoch},{},{:.6},{:.6},{seconds:.3}\n", m + 1, sum.0 / n, sum.1 / n);
                *sum = (0.0, 0.0, 0);
            }
            log.write_all(text.as_bytes()).map_err(|e| Error::io(&csv, "write the log", &e))?;
            let stop = STOP.load(Ordering::Relaxed);
            let snapshot = snapshots.contains(&done);
            if done.is_multiple_of(config.train.checkpoint_every) || done == total || snapshot || stop {
                save(run, &mut stack, done, &fingerprint, &snapshots)?;
            }
            if stop && done < total {
                return Err(Error::Interrupted {
                    step: done,
                    remedy: format!("everything is saved; go on with `gim train --resume {}`", run.display()),
                });
            }
        }
        // Nothing is known of a module before its first line in the log.
        let shown = |l: &f64| if l.is_nan() { "–".to_owned() } else { format!("{l:.3}") };
        progress.tick(done, || latest.iter().map(shown).collect::<Vec<_>>().join(" "));
    }
    environment.note_peak_memory();
    write_environment(run, &environment)?;
    let waited = feed.stats();
    progress.finish(&format!(
        "{} steps in {:.0} s; waited {:.2} s for data ({:.2} s of it at the start)",
        total - first,
        started.elapsed().as_secs_f64(),
        waited.wait_seconds,
        waited.first_wait_seconds
    ));
    Ok(total)
}

fn name_last_checkpoint(e: Error, run: &Path) -> Error {
    match e {
        Error::Diverged { module, step, what, remedy } => {
            let last = checkpoints(run).pop().map_or("there is no checkpoint yet".to_owned(), |c| {
                format!("the last good checkpoint is {}", c.1.display())
            });
            Error::Diverged { module, step, what, remedy: format!("{remedy}; {last}") }
        }
        other => other,
    }
}

fn write_environment(run: &Path, environment: &Environment) -> Result<()> {
    let text = serde_json::to_string_pretty(environment).unwrap_or_default();
    write_atomic(&run.join("environment.json"), text.as_bytes())
}

fn write_rows(path: &Path, rows: &[TrainRow]) -> Result<()> {
    let mut text = String::from("step,epoch,module,loss,accuracy,seconds\n");
    for r in rows {
        let (a, s) = (r.accuracy.unwrap_or(f64::NAN), r.seconds.unwrap_or(f64::NAN));
        text += &format!("{},{},{},{:.6},{a:.6},{s:.3}\n", r.step, r.epoch, r.module, r.loss);
    }
    write_atomic(path, text.as_bytes())
}
