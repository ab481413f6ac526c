//! Training with modules on threads of their own.
//!
//! The threads of modules report and save; this thread alone writes rows and checkpoints, step by
//! step, as if all modules had taken turns.

use gim_core::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gim_core::activations::Layout;
use gim_core::module::{Mode, Module};
use gim_core::schedule::{
    FinishedStep, Group, ModuleTimeline, OnThreads, Order, balance, group_by, run_async, run_pipelined,
};
use gim_core::stack::Stack;
use gim_eval::ScheduleRow;

use super::save_clock::SaveClock;
use super::{Record, Stamp, Training, name_last_checkpoint};
use crate::experiment::interrupt;
use crate::experiment::progress::Progress;
use crate::experiment::run_dir::{Keep, OrderLog, RunDir, recorded_order};
use crate::experiment::train_config::{Groups, Schedule, TrainConfig};

/// Steps at the start of which the modules' costs are measured; the first one is not counted.
const MEASURED: u64 = 4;

/// The groups that the configuration names, if it names any; asynchronous training always does. A
/// group's threads follow from the arithmetic of its modules.
///
/// # Errors
/// When they do not name every module once, or more modules are slowed than there are.
pub(super) fn named_groups(train: &TrainConfig, stack: &Stack<f32>, layouts: &[Layout]) -> Result<Option<Vec<Group>>> {
    let n = stack.modules().len();
    if train.slow.len() > n {
        let what = format!("{:?} are more factors than the {n} modules", train.slow);
        return Err(Error::config("train.slow", what, "give at most one for each module"));
    }
    let by = |lists: &[Vec<usize>]| group_by(lists, &module_costs(stack, layouts), rayon::current_num_threads());
    // Wrong ones are refused under every schedule.
    let named = match &train.groups {
        Groups::Lists(lists) => Some(by(lists)?),
        Groups::Auto(_) => None,
    };
    match (train.schedule, named) {
        (Schedule::Simultaneous | Schedule::Iterative, _) => Ok(None),
        (Schedule::Async, None) => by(&(1..=n).map(|m| vec![m]).collect::<Vec<_>>()).map(Some),
        (Schedule::Pipelined | Schedule::Async, named) => Ok(named),
    }
}

/// The arithmetic of each module.
pub(super) fn module_costs(stack: &Stack<f32>, layouts: &[Layout]) -> Vec<f64> {
    let modules = stack.modules().iter().zip(layouts);
    let multiply_adds = modules.map(|(module, x)| module.multiply_adds(x.shape));
    multiply_adds.map(|(forward, backward)| (forward + backward) as f64).collect()
}

/// The steps that each group of asynchronous training is to take, where the configuration names a
/// file.
///
/// # Errors
/// When that is not the order of such a network.
pub(super) fn order(train: &TrainConfig, groups: Option<&[Group]>, total: u64) -> Result<Option<Vec<BTreeSet<u64>>>> {
    match (train.schedule, groups) {
        (Schedule::Async, Some(groups)) if !train.order.is_empty() => {
            recorded_order(Path::new(&train.order), groups, total).map(Some)
        }
        _ => Ok(None),
    }
}

impl<'a> Training<'a> {
    /// What writes the run's rows and checkpoints; no order of batches.
    pub(super) fn writer<'w>(&self, record: Record, progress: Progress, seconds: &'w dyn Fn() -> f64) -> Writer<'w>
    where
        'a: 'w,
    {
        Writer {
            record,
            progress,
            seconds,
            epoch_len: self.source.epoch_len(),
            run: self.run,
            train: &self.config.train,
            total: self.total,
            keep: self.keep.clone(),
            order: None,
            wanted: Arc::new(Wanted::new(&self.config.train)),
        }
    }
}

impl Training<'_> {
    /// Takes the steps that are left; `seconds` are those of the run so far.
    pub(super) fn steps_on_threads(
        &mut self,
        record: Record,
        progress: Progress,
        seconds: &dyn Fn() -> f64,
    ) -> Result<Progress> {
        let n = self.stack.modules().len();
        let order = self.is_async().then(|| self.run.open_order(self.first)).transpose()?;
        let mut writer = Writer { order, ..self.writer(record, progress, seconds) };
        let threads = rayon::current_num_threads();
        let mut done = self.first;
        let groups = match self.named_groups.clone() {
            Some(groups) => groups,
            None => {
                // These steps are a part of training, too: all modules on one thread, which
                // computes on all.
                let one = [Group { modules: 0..n, threads }];
                let end = (done + MEASURED).min(self.total);
                let timelines = self.segments(&mut done, end, &one, &mut writer)?;
                balance(&costs(&timelines), threads)
            }
        };
        if done < self.total {
            let timelines = self.segments(&mut done, self.total, &groups, &mut writer)?;
            let rows = self.run.write_timelines(&timelines, &self.link_bytes(&groups))?;
            self.summary = rows.iter().map(shares).collect();
        }
        Ok(writer.progress)
    }

    fn is_async(&self) -> bool {
        self.config.train.schedule == Schedule::Async
    }

    /// Takes the steps from `done` to `end`. All groups end where a measurement is due: the stack is then whole, in
    /// the state after that step.
    fn segments(
        &mut self,
        done: &mut u64,
        end: u64,
        groups: &[Group],
        writer: &mut Writer<'_>,
    ) -> Result<Vec<ModuleTimeline>> {
        let mut all: Vec<ModuleTimeline> = Vec::new();
        while *done < end {
            let stop = self.next_measurement(*done).min(end);
            let new = self.steps_of_groups(done, stop, groups, writer)?;
            if all.is_empty() {
                all = new;
            } else {
                all.iter_mut().zip(new).for_each(|(timeline, new)| timeline.append(new));
            }
            self.measure_and_save(*done, writer)?;
        }
        Ok(all)
    }

    /// Measures what is due after `done` steps. The checkpoint of such a step comes after, because it has the rows.
    fn measure_and_save(&mut self, done: u64, writer: &mut Writer<'_>) -> Result<()> {
        if !self.measures(done) {
            return Ok(());
        }
        self.measure(done, &mut writer.record)?;
        if writer.wanted.clock.saves(self.keep.due(done)) {
            writer.flush()?;
            self.save(done, &writer.record)?;
        }
        Ok(())
    }

    /// Takes the steps from `done` to `end`.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the run is asked to stop before `end`, with everything saved.
    fn steps_of_groups(
        &mut self,
        done: &mut u64,
        end: u64,
        groups: &[Group],
        writer: &mut Writer<'_>,
    ) -> Result<Vec<ModuleTimeline>> {
        let (train, first, total, keep) = (&self.config.train, *done, self.total, &self.keep);
        let (fingerprint, dataset) = (&self.fingerprint, &self.dataset);
        let (is_async, measured) = (self.is_async(), self.measures(end));
        let wanted = Arc::clone(&writer.wanted);
        let save = |module: &mut dyn Module<f32>, index: usize, step: u64| {
            if measured && step == end {
                return Ok(None);
            }
            let stamp = Stamp { step, fingerprint, dataset };
            let wanted =
                wanted.is(index, step, Due { by_steps: keep.due(step), in_step: !is_async, last: step == total });
            wanted.then(|| stamp.bytes(module, index)).transpose()
        };
        let (source, plans, pool) = (&mut self.source, &self.plans, &self.pool);
        let mut unreadable = None;
        let mut feed = || {
            let step = *done;
            if step == end || interrupt::requested() {
                return None;
            }
            let (x, labels) = source.next(plans, pool).map_err(|e| unreadable = Some(e)).ok()?;
            *done += 1;
            Some(plans.packet(x, step, labels))
        };
        let modes = vec![Mode::Train; self.stack.modules().len()];
        let on = OnThreads { seed: train.seed, modes: &modes, groups, first, slow: &train.slow };
        let mut finished = |step| writer.finished(step);
        let order = self.order.as_deref().map_or(Order::Newest, Order::Recorded);
        let timelines = match is_async {
            true => run_async(&mut self.stack, on, order, &mut feed, &save, &mut finished),
            false => run_pipelined(&mut self.stack, on, train.link_depth, &mut feed, &save, &mut finished),
        };
        let timelines = timelines.map_err(|e| name_last_checkpoint(e, self.run))?;
        // All modules have done the same steps, whatever has ended them, and if it was before the first of these.
        if self.first < *done && *done < end && (is_async || !self.keep.due(*done)) {
            writer.flush()?;
            self.save(*done, &writer.record)?;
        }
        match unreadable {
            Some(e) => Err(e),
            None if *done < end => Err(self.interrupted(*done)),
            None => Ok(timelines),
        }
    }

    /// Most bytes that may wait in the link below each module.
    fn link_bytes(&self, groups: &[Group]) -> Vec<u64> {
        let depth = if self.is_async() { 1 } else { self.config.train.link_depth };
        let bytes = |layout: &Layout| (depth * layout.len() * size_of::<f32>()) as u64;
        let linked = |m: usize| m > 0 && groups.iter().any(|g| g.modules.start == m);
        let layouts = self.plans.largest().iter().take(self.stack.modules().len()).enumerate();
        layouts.map(|(m, layout)| if linked(m) { bytes(layout) } else { 0 }).collect()
    }
}

/// Time of a step of each module: the least of its last ones, which other programs have disturbed
/// least.
fn costs(timelines: &[ModuleTimeline]) -> Vec<f64> {
    let cost = |t: &ModuleTimeline| {
        let warm = t.recent.iter().skip(1).chain(t.recent.front());
        let warm = warm.take(t.recent.len().saturating_sub(1).max(1));
        warm.map(|span| (span.forward + span.train).as_secs_f64()).fold(f64::INFINITY, f64::min)
    };
    timelines.iter().map(cost).collect()
}

/// Where a module's time went, for people.
pub(super) fn shares(row: &ScheduleRow) -> String {
    let percent = |seconds: f64| 100.0 * seconds / row.wall.max(f64::MIN_POSITIVE);
    let threads = if row.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", row.threads) };
    format!(
        "module {} (group {}, {threads}): forward {:.0} %, train {:.0} %, receive {:.0} %, send {:.0} %, idle {:.0} %; \
         {} steps, staleness {:.1}",
        row.module,
        row.group,
        percent(row.forward),
        percent(row.train),
        percent(row.receive),
        percent(row.send),
        percent(row.idle),
        row.steps,
        row.staleness,
    )
}

/// Writes what modules have done, step by step.
pub(super) struct Writer<'a> {
    pub(super) record: Record,
    pub(super) progress: Progress,
    /// Seconds of the run so far.
    pub(super) seconds: &'a dyn Fn() -> f64,
    pub(super) epoch_len: u64,
    pub(super) run: &'a RunDir,
    pub(super) train: &'a TrainConfig,
    pub(super) total: u64,
    pub(super) keep: Keep,
    /// Who has taken which batch, in asynchronous training.
    pub(super) order: Option<OrderLog>,
    pub(super) wanted: Arc<Wanted>,
}

/// Checkpoints that have been begun and are not written yet.
pub(super) struct Wanted {
    begun: Mutex<BTreeSet<u64>>,
    clock: SaveClock,
}

/// What is known of a checkpoint after some steps.
struct Due {
    /// The number of steps asks for it.
    by_steps: bool,
    /// All modules do the same steps, so that it never waits for slow ones.
    in_step: bool,
    /// It is that of the last step.
    last: bool,
}

/// Checkpoints that wait for slow modules; further ones are left out, so that memory stays bounded.
const BEGUN: usize = 2;

impl Wanted {
    /// None begun; the clock starts.
    fn new(train: &TrainConfig) -> Self {
        Self { begun: Mutex::default(), clock: SaveClock::new(train.checkpoint_minutes) }
    }

    fn steps(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // A set is whole whatever has panicked meanwhile.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the module takes part in the checkpoint after `done` steps. The first module, which
    /// comes to it before all others, decides; the last is never left out.
    fn is(&self, index: usize, done: u64, due: Due) -> bool {
        let mut steps = self.steps();
        let may_wait = steps.len() < BEGUN || due.last || due.in_step && due.by_steps;
        if index == 0 && may_wait && self.clock.saves(due.by_steps) {
            steps.insert(done);
        }
        steps.contains(&done)
    }
}

impl Writer<'_> {
    fn flush(&mut self) -> Result<()> {
        self.order.as_mut().map_or(Ok(()), OrderLog::flush)
    }

    pub(super) fn finished(&mut self, step: FinishedStep<Vec<u8>>) -> Result<()> {
        step.taken.iter().for_each(|t| self.record.averages.add(&t.report));
        if let Some(order) = &mut self.order {
            order.add(&step.taken);
        }
        let done = step.step + 1;
        if done.is_multiple_of(self.train.log_every) || done == self.total {
            self.record.write_rows(done, step.step / self.epoch_len, (self.seconds)())?;
            self.flush()?;
        }
        if !step.saved.is_empty() {
            self.wanted.steps().remove(&done);
            self.flush()?;
            self.record.save(self.run, step.saved.into_iter().map(Ok), done, &self.keep)?;
        }
        self.progress.tick(done, || self.record.averages.shown());
        Ok(())
    }
}
