//! Training with modules on several processes, as rank 0 sees it.
//!
//! A thread trains the modules of this rank. The main thread puts together what all ranks report,
//! and writes rows and checkpoints, step by step, as if all modules had taken turns.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::scope;

use gim_core::link::Packet;
use gim_core::module::{Mode, Module};
use gim_core::schedule::{FinishedStep, Group, OnThreads, Part, run_pipelined_part};
use gim_core::{Error, Result};
use gim_eval::ScheduleRow;

use super::on_threads::{Writer, module_costs, shares};
use super::save_clock::SaveClock;
use super::{Record, Stamp, Training, name_last_checkpoint};
use crate::experiment::interrupt;
use crate::experiment::launched::Leader;
use crate::experiment::progress::Progress;
use crate::experiment::ranks::{
    Arrived, Distress, Failure, Head, Message, Places, Plan, Saves, Up, check_settings, finished_step, no_talker,
    rows_of_group,
};

/// Steps of this rank that may wait for the others.
const AHEAD: usize = 16;

/// What a rank reports.
enum Report {
    Step(FinishedStep<Vec<u8>>),
    Ended(std::result::Result<Vec<ScheduleRow>, Failure>),
}

impl Training<'_> {
    /// Checks that ranks can train this.
    ///
    /// # Errors
    /// When a setting needs all modules in one process, or there are more ranks than modules.
    pub(super) fn check_ranks(&self, leader: &Leader) -> Result<()> {
        self.places(leader).map(drop)
    }

    /// The modules of each rank.
    fn places(&self, leader: &Leader) -> Result<Places> {
        check_settings(self.config)?;
        let costs = module_costs(&self.stack, self.plans.largest());
        Places::new(&self.config.train, &costs, leader.size)
    }

    /// Takes the steps that are left; `seconds` are those of the run so far.
    pub(super) fn steps_on_ranks(
        &mut self,
        leader: &Leader,
        record: Record,
        progress: Progress,
        seconds: &dyn Fn() -> f64,
    ) -> Result<Progress> {
        let places = self.places(leader)?;
        let run = self.run.path().display().to_string();
        let plan = Plan {
            config: self.config.to_toml(),
            record: self.source.record().clone(),
            shapes: self.source.shapes(),
            places: places.clone(),
            first: self.first,
            each: self.each,
            total: self.total,
            run: run.clone(),
        };
        let saves = Saves::new(self.config, &plan.record, self.keep.clone(), (self.first, 0))?;
        let (replicas, distress) = leader.begin(&self.config.train, &places, &self.pool, &run);
        for to in 1..leader.size {
            let states = if self.first > 0 { self.states(places.modules(to))? } else { Vec::new() };
            leader.send_plan(to, plan.clone(), states);
        }
        self.stack.keep(places.modules(0));
        self.stack.modules_mut().iter_mut().for_each(|module| module.set_replicas(&replicas));
        let mut writer = self.writer(record, progress, seconds);
        let rows = self.run_ranks(leader, &places, distress, &saves, &mut writer)?;
        self.run.write_schedule(&rows)?;
        self.summary = rows.iter().map(shares).collect();
        Ok(writer.progress)
    }

    /// The checkpoints of some modules as they are.
    fn states(&mut self, modules: Range<usize>) -> Result<Vec<Vec<u8>>> {
        let stamp = Stamp { step: self.first, fingerprint: &self.fingerprint, dataset: &self.dataset };
        let all = self.stack.modules_mut()[modules.clone()].iter_mut().zip(modules);
        all.map(|(module, index)| stamp.bytes(&mut **module, index)).collect()
    }

    /// Trains until all ranks have ended. Gives where the time of all modules went.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the run is asked to stop, with everything saved; that of a rank.
    fn run_ranks(
        &mut self,
        leader: &Leader,
        places: &Places,
        distress: Distress,
        saves: &Saves,
        writer: &mut Writer<'_>,
    ) -> Result<Vec<ScheduleRow>> {
        let (train, first, total, n) = (&self.config.train, self.first, self.total, self.stack.modules().len());
        let (source, plans, pool, stack) = (&mut self.source, &self.plans, &self.pool, &mut self.stack);
        let (stop, mut done, mut unreadable) = (AtomicBool::new(false), first, None);
        let clock = SaveClock::new(train.checkpoint_minutes);
        let (own, from_own) = sync_channel(AHEAD);
        let up = leader.up.clone();
        let outcome = scope(|scope| {
            let (stop, done, unreadable) = (&stop, &mut done, &mut unreadable);
            let beside = Up { out: up.clone(), to: places.beside(0).collect(), saves };
            scope.spawn(move || {
                let mut feed = || {
                    let step = *done;
                    let go_on = step < total && !interrupt::requested() && !stop.load(Ordering::Relaxed);
                    let next = if go_on { source.next(plans, pool) } else { return end(saves, step) };
                    let Ok((x, labels)) = next.map_err(|e| *unreadable = Some(e)) else { return end(saves, step) };
                    if step > first && clock.saves(saves.due(step)) {
                        saves.also_after(step);
                    }
                    *done += 1;
                    let packet = plans.packet(x, step, labels);
                    beside.hand_on(&packet);
                    Some(packet)
                };
                let save = |module: &mut dyn Module<f32>, index: usize, step| saves.state(module, index, step);
                let mut finished = |step| own.send(Report::Step(step)).map_err(|_| no_talker());
                let groups = [Group { modules: 0..n, threads: rayon::current_num_threads() }];
                let modes = vec![Mode::Train; n];
                let on = OnThreads {
                    seed: train.seed,
                    modes: &modes,
                    groups: &groups,
                    first,
                    slow: &train.slow[..n.min(train.slow.len())],
                };
                let part = Part { below: 0, above: Box::new(Up { out: up.clone(), to: places.above(0), saves }) };
                let timelines = run_pipelined_part(stack, on, part, train.link_depth, &mut feed, &save, &mut finished);
                let ended = timelines.map(|t| rows_of_group(&t, 0, 0)).map_err(|e| {
                    distress.tell(0, &e);
                    Failure::of(0, &e)
                });
                let end = ended.is_ok().then_some(*done);
                let _ = own.send(Report::Ended(ended));
                for to in places.beside(0).chain(places.above(0)) {
                    let _ = up.send((to, Message::bare(Head::End { done: end })));
                }
            });
            put_together(&from_own, &leader.reports, places, writer, stop)
        });
        let rows = outcome.map_err(|e| name_last_checkpoint(e, self.run))?;
        match unreadable {
            Some(e) => Err(e),
            None if done < total => Err(self.interrupted(done)),
            None => Ok(rows),
        }
    }
}

/// No more batches.
fn end(saves: &Saves, steps: u64) -> Option<Packet<f32>> {
    saves.end_after(steps);
    None
}

/// Writes the steps that all ranks have left behind, until all have ended.
///
/// # Errors
/// That of the disk, or the one of a rank at the earliest step.
fn put_together(
    own: &Receiver<Report>,
    others: &[Receiver<Arrived>],
    places: &Places,
    writer: &mut Writer<'_>,
    stop: &AtomicBool,
) -> Result<Vec<ScheduleRow>> {
    let mut ended: Vec<Option<std::result::Result<Vec<ScheduleRow>, Failure>>> = vec![None; others.len() + 1];
    let mut written = Ok(());
    while ended.iter().any(Option::is_none) {
        let mut step: Option<FinishedStep<Vec<u8>>> = None;
        for rank in (0..ended.len()).filter(|rank| ended[*rank].is_none()).collect::<Vec<_>>() {
            match receive(own, others, rank)? {
                Report::Ended(how) => ended[rank] = Some(how),
                Report::Step(new) => match &mut step {
                    Some(step) if !places.is_first(rank) => written = written.and(agrees(step, &new, rank)),
                    Some(step) => {
                        step.taken.extend(new.taken);
                        step.saved.extend(new.saved);
                    }
                    None => step = Some(new),
                },
            }
        }
        // A step that a rank has not come to is not finished.
        if let Some(step) = step.filter(|_| ended.iter().all(Option::is_none) && written.is_ok()) {
            written = writer.finished(step);
        }
        if written.is_err() || ended.iter().flatten().any(std::result::Result::is_err) {
            stop.store(true, Ordering::Relaxed);
        }
    }
    written?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for how in ended.into_iter().flatten() {
        match how {
            Ok(of_rank) => rows.extend(of_rank),
            Err(failure) => failures.push(failure),
        }
    }
    failures.into_iter().min_by_key(Failure::step).map_or(Ok(rows), |failure| Err(failure.into_error()))
}

/// Checks that a replica has the losses of the first one, whose reports are among `step`: others could only
/// come from other arithmetic.
///
/// # Errors
/// When it has not.
fn agrees(step: &FinishedStep<Vec<u8>>, replica: &FinishedStep<Vec<u8>>, rank: usize) -> Result<()> {
    let other = replica.taken.iter().find(|taken| !step.taken.contains(taken));
    other.map_or(Ok(()), |taken| {
        let (module, step) = (taken.report.module, replica.step);
        let what = format!("rank {rank} has another loss of module {module} at step {step} than its replica");
        Err(Error::data("train.replicas", what, "use machines of one kind"))
    })
}

fn receive(own: &Receiver<Report>, others: &[Receiver<Arrived>], rank: usize) -> Result<Report> {
    let Some(other) = rank.checked_sub(1) else { return own.recv().map_err(|_| no_talker()) };
    let Arrived { head, bodies } = others[other].recv().map_err(|_| no_talker())?;
    match head {
        Head::Step { step, taken } => Ok(Report::Step(finished_step(step, taken, Arrived::bytes(bodies)))),
        Head::Ended(how) => Ok(Report::Ended(how)),
        other => Err(Error::internal("MPI", format_args!("rank {rank} reports {other:?}"))),
    }
}
