//! A training run, from wherever its folder has come to.

mod collapse;
mod finished;
mod from_record;
mod measure;
mod network;
#[cfg(not(feature = "mpi"))]
mod no_ranks;
mod notes;
#[cfg(feature = "mpi")]
mod on_ranks;
mod on_threads;
mod online;
mod policy;
mod record;
mod save_clock;
mod validation;

use std::collections::BTreeSet;
use std::time::Instant;

use gim_core::module::Mode;
use gim_core::schedule::{Group, iterative_modes, step_in_turn};
use gim_core::stack::{LayoutPlans, Stack};
use gim_core::{Error, Pool, Result};

use crate::experiment::averages::Averages;
use crate::experiment::config::Config;
use crate::experiment::domain::BatchSource;
use crate::experiment::environment::Environment;
use crate::experiment::final_rows::total_steps;
use crate::experiment::interrupt::{self, NothingToSave, Scratch};
use crate::experiment::launched::Leader;
use crate::experiment::progress::{Mode as Show, Progress};
use crate::experiment::run_dir::{Curves, Keep, RunDir};
use crate::experiment::tensorboard::EventLog;
use crate::experiment::train_config::Schedule;
use crate::output::{self, count};

use collapse::Collapsed;
use from_record::Stage;
pub(crate) use network::whole_network;
use notes::{beginning, print_notes};
use online::OnlineProbes;
pub(crate) use policy::DatasetPolicy;
pub(crate) use record::Stamp;
use record::{Record, name_last_checkpoint};
use save_clock::SaveClock;
use validation::Validation;

/// Whether a run has done all its steps.
///
/// # Errors
/// When the dataset cannot be opened to count an epoch.
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
    let mut stack = config.build(record.as_ref(), pool)?;
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
    let build = || config.build(record.as_ref(), pool);
    let mut all = run.checkpoints()?;
    let snapshots = config.train.snapshots(all.pop().map_or(0, |newest| newest.step));
    let mut out = vec![(0, build()?)];
    for checkpoint in all.into_iter().filter(|c| snapshots.contains(&c.step)) {
        let mut stack = build()?;
        checkpoint.load(&mut stack, &config.fingerprint())?;
        out.push((checkpoint.step, stack));
    }
    Ok(out)
}

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// In a folder that the user has named.
    New,
    /// In a folder that was made for it, which is no run before training begins.
    Claimed,
    /// From its newest checkpoint.
    Resume,
}

/// Trains or resumes the run in `run`: with the processes that `leader` leads, or alone. Gives
/// the steps done.
///
/// # Errors
/// [`Error::Interrupted`] after Ctrl-C, with everything saved; [`Error::Diverged`]; or what keeps the run from going on.
pub(crate) fn train(
    config: &Config,
    run: &RunDir,
    start: Start,
    policy: DatasetPolicy<'_>,
    show: Show,
    leader: Option<&Leader>,
) -> Result<u64> {
    let started = Instant::now();
    let resume = start == Start::Resume;
    // Until it is the folder of a run.
    let scratch = (start == Start::Claimed).then(|| Scratch::new(run.path())).transpose()?;
    // A new folder is made only when everything else is known to be there.
    let lock = run.path().is_dir().then(|| run.lock()).transpose()?;
    let unused = || if resume { Ok(()) } else { refuse_begun(run) };
    unused()?;
    let (mut training, curves) = Training::open(config, run, resume)?;
    let record = training.source.record().clone();
    policy.check(run, training.first, &record.trained_on)?;
    match leader {
        Some(leader) => training.check_ranks(leader)?,
        None if resume => {}
        None => config.train.check_alone()?,
    }
    if training.is_finished() {
        return training.finish_again(curves, policy, show);
    }
    if training.first > 0
        && let Some(begun) = run.dataset()?
    {
        begun.check_batches(&record)?;
    }
    run.create()?;
    // Another process may have taken the new folder meanwhile.
    let lock = lock.map_or_else(|| run.lock(), Ok)?;
    unused()?;
    run.create_checkpoints()?;
    run.sweep_records(&config.train, false)?;
    run.write_config(config)?;
    let mut environment = Environment::capture(config.train.seed, rayon::current_num_threads());
    environment.trained_on = Some(record.trained_on.clone());
    run.write_environment(&environment)?;
    run.write_dataset(&record)?;
    let mut notes = training.source.notes();
    notes.extend(config.train.idle_groups(leader.is_some()));
    run.write_notes(&notes)?;
    if show != Show::Quiet {
        print_notes(&notes, run);
        beginning(&mut training).iter().for_each(output::note);
    }
    drop(scratch);
    let averages = Averages::resume(training.stack.modules().len(), &curves.unfinished);
    let (validation, online) = (run.open_validation(&curves)?, run.open_online(&curves)?);
    let alignment = run.open_alignment(&curves)?;
    let log = run.open_log(curves)?;
    let events = EventLog::for_run(run, config, training.first, training.total)?;
    let record = Record { log, validation, online, alignment, averages, events, lock };
    let before = record.log.seconds_before();
    let progress = Progress::resumed(training.first, training.total, "steps", show);
    let progress = training.steps(leader, record, progress, &|| before + started.elapsed().as_secs_f64())?;
    training.collapsed.look(&training.stack, training.total);
    notes.extend(training.collapsed.notes().map(|n| n.to_owned()));
    run.write_notes(&notes)?;
    environment.note_peak_memory();
    run.write_environment(&environment)?;
    let waited = training.source.stats();
    let waited = match waited.wait_seconds {
        seconds if seconds < 0.01 => String::new(),
        seconds => format!("; waited {seconds:.2} s for data ({:.2} s of it at the start)", waited.first_wait_seconds),
    };
    progress.finish(&format!("{}{waited}", count((training.total - training.first) as usize, "step")));
    if show != Show::Quiet {
        training.collapsed.notes().for_each(|n| output::note(format_args!("note: {n}")));
        training.summary.iter().for_each(output::note);
    }
    Ok(training.total)
}

/// Refuses a folder that holds a run.
///
/// # Errors
/// When it does.
pub(crate) fn refuse_begun(run: &RunDir) -> Result<()> {
    if run.is_begun() {
        let remedy = "continue with --resume, or choose another --out";
        return Err(Error::file(run.path(), "already holds a run", remedy));
    }
    Ok(())
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
    /// Of all batches that there may be.
    plans: LayoutPlans,
    /// Modules that are not in the stack: those below one that trains from a record.
    below: usize,
    stage: Option<Stage>,
    validation: Option<Validation>,
    online: Option<OnlineProbes>,
    /// Steps done before, steps of each module, and steps of the whole run.
    first: u64,
    each: u64,
    total: u64,
    /// Which checkpoints are made and kept.
    keep: Keep,
    /// Groups of modules that the configuration names.
    named_groups: Option<Vec<Group>>,
    /// Steps that each group takes; none for those that come.
    order: Option<Vec<BTreeSet<u64>>>,
    /// Where the time of modules went, for people; empty where modules take turns.
    summary: Vec<String>,
    collapsed: Collapsed,
}

impl<'a> Training<'a> {
    /// Opens the dataset and builds the stack; when resuming, with the newest weights and the curves up
    /// to there.
    fn open(config: &'a Config, run: &'a RunDir, resume: bool) -> Result<(Self, Curves)> {
        config.domain.model().size(config.train.batch)?.check()?;
        let pool = config.train.pool();
        let fingerprint = config.fingerprint();
        let last = if resume { run.newest_intact_checkpoint()? } else { None };
        let first = last.as_ref().map_or(0, |l| l.step);
        let curves = match &last {
            Some(last) => {
                last.check_settings(&fingerprint)?;
                last.curves()?
            }
            None => Curves::default(),
        };
        let before = if first > 0 { run.dataset()? } else { None };
        let source = {
            // All files are read, which can take minutes.
            let _quick = NothingToSave::new();
            config.domain.dataset().batch_source(&config.train, first, before.as_ref())?
        };
        let record = source.record();
        let dataset = record.to_json()?;
        let each = config.train.steps_each(|| Ok(source.epoch_len()))?;
        let (mut stack, plans) = whole_network(config, record, source.shapes(), each, &pool)?;
        let online = OnlineProbes::open(config, record)?;
        let validation = Validation::plan(config, &*source);
        config.truncate(&mut stack)?;
        if let Some(last) = last {
            last.load(&mut stack, &fingerprint)?;
        }
        let turns = if config.train.iterative() { stack.modules().len() as u64 } else { 1 };
        let total = each * turns;
        let keep = Keep::new(&config.train, total);
        let named_groups = on_threads::named_groups(&config.train, &stack, plans.largest())?;
        let order = on_threads::order(&config.train, named_groups.as_deref(), total)?;
        let training = Self {
            config,
            run,
            fingerprint,
            dataset,
            pool,
            source,
            stack,
            plans,
            below: 0,
            stage: None,
            validation,
            online,
            first,
            each,
            total,
            keep,
            named_groups,
            order,
            summary: Vec::new(),
            collapsed: Collapsed::default(),
        };
        training.check_record_space()?;
        Ok((training, curves))
    }

    /// Takes the steps that are left; `seconds` are those of the run so far.
    fn steps(
        &mut self,
        leader: Option<&Leader>,
        record: Record,
        progress: Progress,
        seconds: &dyn Fn() -> f64,
    ) -> Result<Progress> {
        if let Some(leader) = leader {
            return self.steps_on_ranks(leader, record, progress, seconds);
        }
        match self.config.train.schedule {
            Schedule::Simultaneous | Schedule::Iterative => self.steps_in_turn(record, progress, seconds),
            Schedule::Pipelined | Schedule::Async => self.steps_on_threads(record, progress, seconds),
        }
    }

    fn steps_in_turn(
        &mut self,
        mut record: Record,
        mut progress: Progress,
        seconds: &dyn Fn() -> f64,
    ) -> Result<Progress> {
        let clock = SaveClock::new(self.config.train.checkpoint_minutes);
        for step in self.first..self.total {
            self.stop_if_asked(step, &record)?;
            self.step(step, &mut record, &mut progress)?;
            let done = step + 1;
            if done.is_multiple_of(self.config.train.log_every) || done == self.total {
                let epoch = step / self.source.epoch_len();
                record.write_rows(done, epoch, seconds())?;
                self.collapsed.look(&self.stack, done);
            }
            self.measure(done, &mut record)?;
            if clock.saves(self.keep.due(done)) {
                self.save(done, &record)?;
            }
            progress.tick(done, || record.averages.shown());
        }
        self.end_last_stage(&mut progress)?;
        Ok(progress)
    }

    /// One step of all modules whose turn it is.
    fn step(&mut self, step: u64, record: &mut Record, progress: &mut Progress) -> Result<()> {
        if self.is_from_record(step) {
            return self.step_from_record(step, record, progress);
        }
        let (x, labels) = match self.source.next(&self.plans, &self.pool) {
            Ok(batch) => batch,
            Err(e) => {
                // A file that cannot be read says nothing against what has been learned.
                self.save_unless_saved(step, record)?;
                return Err(e);
            }
        };
        let (seed, modes) = (self.config.train.seed, self.modes(step));
        let packet = self.plans.packet(x, step, labels);
        step_in_turn(&mut self.stack, packet, seed, &modes, &mut |r| record.averages.add(&r))
            .map_err(|e| name_last_checkpoint(e, self.run))
    }

    /// What each module does at a step.
    fn modes(&self, step: u64) -> Vec<Mode> {
        let modules = self.stack.modules().len();
        match self.config.train.iterative() {
            true => iterative_modes(step, self.each, modules),
            false => vec![Mode::Train; modules],
        }
    }

    /// Saves and stops before step `step` when that is asked for.
    fn stop_if_asked(&mut self, step: u64, record: &Record) -> Result<()> {
        if !interrupt::requested() {
            return Ok(());
        }
        self.save_unless_saved(step, record)?;
        Err(self.interrupted(step))
    }

    /// The error of a run that was asked to stop, with everything saved.
    fn interrupted(&self, step: u64) -> Error {
        let remedy = format!("everything is saved; continue with `gim train --resume {}`", self.run.path().display());
        Error::Interrupted { step, remedy }
    }

    /// Saves what `step` steps made, if there are new ones.
    fn save_unless_saved(&mut self, step: u64, record: &Record) -> Result<()> {
        if step > self.first && !self.keep.due(step) { self.save(step, record) } else { Ok(()) }
    }

    fn save(&mut self, step: u64, record: &Record) -> Result<()> {
        let stamp = Stamp { step, fingerprint: &self.fingerprint, dataset: &self.dataset };
        let below = self.frozen(step)?;
        let modules = (self.below..).zip(self.stack.modules_mut()).map(|(i, m)| stamp.bytes(&mut **m, i));
        record.save(self.run, below.chain(modules), step, &self.keep)
    }
}
