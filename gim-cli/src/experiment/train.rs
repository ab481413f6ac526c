//! A training run, from wherever its folder has come to.

use std::time::Instant;

use gim_core::activations::Layout;
use gim_core::link::Packet;
use gim_core::module::Mode;
use gim_core::optim::OptimizerConfig;
use gim_core::schedule::{ModuleReport, iterative_modes, step_in_turn};
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};
use gim_eval::TrainRow;

use crate::experiment::config::Config;
use crate::experiment::domain::BatchSource;
use crate::experiment::environment::{Environment, TrainedOn};
use crate::experiment::final_rows::total_steps;
use crate::experiment::interrupt;
use crate::experiment::progress::{Mode as Show, Progress};
use crate::experiment::run_dir::{RunDir, TrainLog};

/// Characters of a note that are printed.
const MOST_SHOWN: usize = 600;

/// Whether a run has done all its steps.
///
/// # Errors
/// When the corpus cannot be opened to count an epoch.
pub(crate) fn is_complete(run: &RunDir, config: &Config) -> Result<bool> {
    let Some(newest) = run.newest_intact_checkpoint()? else { return Ok(false) };
    Ok(newest.step >= total_steps(run, config)?)
}

/// A run's configuration, its trained stack and the steps it has done.
///
/// # Errors
/// When the folder is not that of a run, or has no intact checkpoint.
pub(crate) fn open(run: &RunDir, pool: &Pool<f32>) -> Result<(Config, Stack<f32>, u64)> {
    let config = run.config()?;
    let record = run.dataset()?;
    let mut stack = config.domain.model().build(record.as_ref(), &config.optimizer, config.train.seed, pool)?;
    let Some(newest) = run.newest_intact_checkpoint()? else {
        return Err(Error::file(run.path(), "has no checkpoint", "train it first"));
    };
    newest.load(&mut stack, &config.fingerprint())?;
    Ok((config, stack, newest.step))
}

/// The snapshots that a trained run has kept: steps and stacks, from before the first step on, without the end.
///
/// # Errors
/// When a checkpoint is damaged.
pub(crate) fn snapshots(run: &RunDir, pool: &Pool<f32>) -> Result<Vec<(u64, Stack<f32>)>> {
    let config = run.config()?;
    let record = run.dataset()?;
    let build = || config.domain.model().build(record.as_ref(), &config.optimizer, config.train.seed, pool);
    let mut all = run.checkpoints();
    let snapshots = config.train.snapshots(all.pop().map_or(0, |newest| newest.step));
    let mut out = vec![(0, build()?)];
    for checkpoint in all.into_iter().filter(|c| snapshots.contains(&c.step)) {
        let mut stack = build()?;
        checkpoint.load(&mut stack, &config.fingerprint())?;
        out.push((checkpoint.step, stack));
    }
    Ok(out)
}

/// What a run may be trained on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CorpusPolicy<'a> {
    /// The corpus it was begun on, or any at its beginning.
    Begun,
    /// This one.
    Only(&'a TrainedOn),
    /// Whatever there is.
    Any,
}

impl CorpusPolicy<'_> {
    /// Whether a run that has done `first` steps may resume with `corpus`.
    fn check(self, run: &RunDir, first: u64, corpus: &TrainedOn) -> Result<()> {
        let before = match self {
            Self::Any => None,
            _ if first > 0 => run.environment()?.corpus,
            Self::Only(corpus) => Some(corpus.clone()),
            Self::Begun => None,
        };
        match before {
            Some(before) if before.digest != corpus.digest => {
                let what = format!("belongs to what was begun on {before}, not on {corpus}");
                let remedy = "name that corpus by GIM_DATA, or resume with --any-corpus, or train elsewhere";
                Err(Error::file(run.path(), what, remedy))
            }
            _ => Ok(()),
        }
    }
}

/// Trains, or goes on with, the run in `run`. Gives the steps done.
///
/// # Errors
/// [`Error::Interrupted`] after Ctrl-C, with everything saved; [`Error::Diverged`]; or what keeps the run from going on.
pub(crate) fn train(config: &Config, run: &RunDir, resume: bool, policy: CorpusPolicy<'_>, show: Show) -> Result<u64> {
    let started = Instant::now();
    if !resume && run.is_begun() {
        let remedy = "continue with --resume, or choose another --out";
        return Err(Error::file(run.path(), "already holds a run", remedy));
    }
    let mut training = Training::open(config, run, resume)?;
    let record = training.source.record().clone();
    policy.check(run, training.first, &record.corpus)?;
    if training.first > 0 && training.first >= training.total {
        // A run of an older version lacks it.
        if !matches!(policy, CorpusPolicy::Any) && run.dataset()?.is_none() {
            run.write_dataset(&record)?;
        }
        // What the finished run was made with stays on record.
        return Ok(training.total);
    }
    run.create()?;
    run.write_config(config)?;
    let mut environment = Environment::capture(config.train.seed, rayon::current_num_threads());
    environment.corpus = Some(record.corpus.clone());
    run.write_environment(&environment)?;
    run.write_dataset(&record)?;
    let notes = training.source.notes();
    run.write_notes(&notes)?;
    if show != Show::Quiet {
        print_notes(&notes, run);
    }
    let (log, rows) = run.open_log(training.first)?;
    let before = rows.last().and_then(|r| r.seconds).unwrap_or(0.0);
    let progress = Progress::resumed(training.first, training.total, "steps", show);
    let progress = training.steps(log, progress, &|| before + started.elapsed().as_secs_f64())?;
    environment.note_peak_memory();
    run.write_environment(&environment)?;
    let waited = training.source.stats();
    progress.finish(&format!(
        "{} steps in {:.0} s; waited {:.2} s for data ({:.2} s of it at the start)",
        training.total - training.first,
        started.elapsed().as_secs_f64(),
        waited.wait_seconds,
        waited.first_wait_seconds
    ));
    Ok(training.total)
}

fn print_notes(notes: &[String], run: &RunDir) {
    for note in notes {
        match note.char_indices().nth(MOST_SHOWN) {
            Some((end, _)) => eprintln!("note: {}… (whole in {})", &note[..end], run.notes_file().display()),
            None => eprintln!("note: {note}"),
        }
    }
}

/// A run that is ready to take steps.
struct Training<'a> {
    config: &'a Config,
    run: &'a RunDir,
    fingerprint: String,
    /// What the run keeps of its dataset, as JSON.
    dataset: String,
    pool: Pool<f32>,
    source: Box<dyn BatchSource>,
    stack: Stack<f32>,
    layouts: Vec<Layout>,
    /// Steps done before, steps of each module, and steps of the whole run.
    first: u64,
    each: u64,
    total: u64,
    /// Steps whose checkpoints are kept for good.
    snapshots: Vec<u64>,
}

impl<'a> Training<'a> {
    /// Opens the corpus and builds the stack; when resuming, with the newest weights.
    fn open(config: &'a Config, run: &'a RunDir, resume: bool) -> Result<Self> {
        let pool = config.train.pool();
        let fingerprint = config.fingerprint();
        let last = if resume { run.newest_intact_checkpoint()? } else { None };
        let first = last.as_ref().map_or(0, |l| l.step);
        let before = if first > 0 { run.dataset()? } else { None };
        let source = config.domain.dataset().batch_source(&config.train, first, before.as_ref())?;
        let record = source.record();
        let dataset = record.to_json()?;
        let each = config.train.steps_each(|| Ok(source.epoch_len()))?;
        let optimizer = OptimizerConfig { decay_steps: each, ..config.optimizer.clone() };
        let mut stack = config.domain.model().build(Some(record), &optimizer, config.train.seed, &pool)?;
        let layouts = stack.layouts(config.domain.model().input(config.train.batch)?)?;
        if let Some(last) = last {
            last.load(&mut stack, &fingerprint)?;
        }
        let turns = if config.train.iterative() { stack.modules().len() as u64 } else { 1 };
        let total = each * turns;
        let snapshots = config.train.snapshots(total);
        Ok(Self { config, run, fingerprint, dataset, pool, source, stack, layouts, first, each, total, snapshots })
    }

    /// Takes the steps that are left; `seconds` are those of the run so far.
    fn steps(&mut self, mut log: TrainLog, mut progress: Progress, seconds: &dyn Fn() -> f64) -> Result<Progress> {
        let mut averages = Averages::new(self.stack.modules().len());
        for step in self.first..self.total {
            self.step(step, &mut averages)?;
            let done = step + 1;
            if done.is_multiple_of(self.config.train.log_every) || done == self.total {
                let epoch = step / self.source.epoch_len();
                log.append(&averages.take(done, epoch, seconds()))?;
                self.after_row(done)?;
            }
            progress.tick(done, || averages.shown());
        }
        Ok(progress)
    }

    /// One step of all modules whose turn it is.
    fn step(&mut self, step: u64, averages: &mut Averages) -> Result<()> {
        let (x, labels) = match self.source.next(self.layouts[0], &self.pool) {
            Ok(batch) => batch,
            Err(e) => {
                // A file that cannot be read says nothing against what has been learned.
                self.save(step)?;
                return Err(e);
            }
        };
        let modules = self.stack.modules().len();
        let train = &self.config.train;
        let modes =
            if train.iterative() { iterative_modes(step, self.each, modules) } else { vec![Mode::Train; modules] };
        let packet = Packet { x: x.detach(), step, labels };
        step_in_turn(&mut self.stack, &self.layouts, packet, train.seed, &modes, &mut |r| averages.add(&r))
            .map_err(|e| name_last_checkpoint(e, self.run))
    }

    /// Saves when it is time to, and stops when that is asked for.
    fn after_row(&mut self, done: u64) -> Result<()> {
        let stop = interrupt::requested();
        let due = done.is_multiple_of(self.config.train.checkpoint_every) || done == self.total;
        if due || self.snapshots.contains(&done) || stop {
            self.save(done)?;
        }
        if stop && done < self.total {
            let remedy =
                format!("everything is saved; continue with `gim train --resume {}`", self.run.path().display());
            return Err(Error::Interrupted { step: done, remedy });
        }
        Ok(())
    }

    fn save(&mut self, step: u64) -> Result<()> {
        self.run.save(&mut self.stack, step, &self.fingerprint, &self.dataset, &self.snapshots)
    }
}

/// Losses and accuracies of the steps since the last row, module by module.
struct Averages {
    /// Sums of losses and of accuracies, and their number.
    sums: Vec<(f64, f64, u64)>,
    /// Losses of the last row; NaN before it.
    latest: Vec<f64>,
}

impl Averages {
    fn new(modules: usize) -> Self {
        Self { sums: vec![(0.0, 0.0, 0); modules], latest: vec![f64::NAN; modules] }
    }

    fn add(&mut self, report: &ModuleReport) {
        let sum = &mut self.sums[report.module - 1];
        *sum = (sum.0 + report.loss.loss, sum.1 + report.loss.accuracy, sum.2 + 1);
    }

    /// The rows of step `step`, after which averages begin anew.
    fn take(&mut self, step: u64, epoch: u64, seconds: f64) -> Vec<TrainRow> {
        let mut rows = Vec::new();
        for (m, sum) in self.sums.iter_mut().enumerate().filter(|s| s.1.2 > 0) {
            let n = sum.2 as f64;
            self.latest[m] = sum.0 / n;
            rows.push(TrainRow {
                step,
                epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
                module: m + 1,
                loss: sum.0 / n,
                accuracy: Some(sum.1 / n),
                seconds: Some(seconds),
            });
            *sum = (0.0, 0.0, 0);
        }
        rows
    }

    /// The latest losses for people; nothing is known of a module before its first row.
    fn shown(&self) -> String {
        let shown = |l: &f64| if l.is_nan() { "–".to_owned() } else { format!("{l:.3}") };
        self.latest.iter().map(shown).collect::<Vec<_>>().join(" ")
    }
}

fn name_last_checkpoint(e: Error, run: &RunDir) -> Error {
    match e {
        Error::Diverged { module, step, what, remedy } => {
            let last = run.newest_checkpoint().map_or("there is no checkpoint yet".to_owned(), |c| {
                format!("the last good checkpoint is {}", c.folder.display())
            });
            Error::Diverged { module, step, what, remedy: format!("{remedy}; {last}") }
        }
        other => other,
    }
}
