//! Groups of modules on threads of their own: what pipelined and asynchronous training share.
//!
//! A group computes on a rayon pool of its own. A thread that waits for a batch then holds no
//! thread that another group needs; in a shared pool, waiting groups could take all threads and
//! never end.
//!
//! Nothing comes back from above. So the states of all modules after the same number of steps are a
//! consistent cut, whenever each of them was taken, and a group that ends lets those above finish
//! what it has sent.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{ScopedJoinHandle, scope};
use std::time::Instant;

use super::gather::{Event, Gather, Taken};
use super::{FinishedStep, Group, ModuleTimeline, StackSteps};
use crate::link::{Packet, Sink};
use crate::module::{Mode, Module};
use crate::stack::Stack;
use crate::{Error, Result, Scalar};

/// Gives the batches of the first module, one after the other; `None` ends the schedule.
pub type NextBatch<'a, F> = dyn FnMut() -> Option<Packet<F>> + Send + 'a;

/// Saves the state of a module (0-based number) after so many steps of the run, if it is wanted.
pub type SaveState<'a, F, T> = dyn Fn(&mut dyn Module<F>, usize, u64) -> Result<Option<T>> + Sync + 'a;

/// How a stack runs on threads.
#[derive(Debug, Clone, Copy)]
pub struct OnThreads<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// What each module is to do. Modules beyond these do not run.
    pub modes: &'a [Mode],
    /// The modules that run, by thread.
    pub groups: &'a [Group],
    /// Training step of the first batch.
    pub first: u64,
    /// How many times as long as it takes a step of each module is made to last, to see what a slow
    /// one does to the others. Empty for as long as it takes.
    pub slow: &'a [f64],
}

/// A batch on its way between groups.
pub(super) struct Stamped<F: Scalar> {
    pub(super) packet: Packet<F>,
    /// Updates that its maker had made before.
    made: u64,
}

/// The upper end of a link between groups.
pub(super) trait Incoming<F: Scalar>: Send {
    /// Waits for a batch; `None` when there are no more.
    fn take(&mut self) -> Option<Stamped<F>>;
}

/// The lower end of a link between groups. Dropping it ends the link.
pub(super) trait Outgoing<F: Scalar>: Send {
    /// Hands a batch on.
    fn put(&mut self, batch: Stamped<F>);
}

impl<F: Scalar> Incoming<F> for Receiver<Stamped<F>> {
    fn take(&mut self) -> Option<Stamped<F>> {
        self.recv().ok()
    }
}

impl<F: Scalar> Outgoing<F> for SyncSender<Stamped<F>> {
    fn put(&mut self, batch: Stamped<F>) {
        // When the group above has ended, the batch is dropped.
        let _ = self.send(batch);
    }
}

/// Where the modules that run are part of a network whose others run elsewhere.
pub struct Part<'a, F: Scalar> {
    /// Modules of the network below them.
    pub below: usize,
    /// Takes the output of their last module. Dropped when no more will come.
    pub above: Box<dyn Sink<F> + Send + 'a>,
}

impl<F: Scalar> Part<'_, F> {
    /// All modules of a network.
    pub(super) fn whole() -> Self {
        Self { below: 0, above: Box::new(Nowhere) }
    }
}

/// Both ends of a link between two groups.
pub(super) struct Link<'a, F: Scalar> {
    pub(super) sink: Box<dyn Outgoing<F> + 'a>,
    pub(super) source: Box<dyn Incoming<F> + 'a>,
}

/// What all groups see.
struct Shared {
    /// Whether no more batches are wanted.
    stop: AtomicBool,
    /// Steps of the run that every group may still come to.
    end: AtomicU64,
    /// Updates that each module has made here.
    updates: Vec<AtomicU64>,
}

/// Runs the groups until `feed` ends, and hands every step to `finished` once all modules have
/// passed it.
///
/// # Errors
/// That of `finished`, else the one of a module at the earliest step. [`Error::Internal`] when a
/// thread panics.
///
/// # Panics
/// When `groups` are not all modules of `modes` in order, or `links` are not one fewer.
pub(super) fn run_on_threads<'a, F: Scalar, T: Send>(
    stack: &mut Stack<F>,
    on: OnThreads<'a>,
    part: Part<'a, F>,
    links: Vec<Link<'a, F>>,
    feed: &mut NextBatch<'_, F>,
    save: &SaveState<'_, F, T>,
    finished: &mut dyn FnMut(FinishedStep<T>) -> Result<()>,
) -> Result<Vec<ModuleTimeline>> {
    let named: Vec<usize> = on.groups.iter().flat_map(|g| g.modules.clone()).collect();
    assert!(named.iter().copied().eq(0..on.modes.len()), "{:?} for {} modules", on.groups, on.modes.len());
    assert_eq!(links.len() + 1, on.groups.len(), "a link between every two groups");
    let pools = on.groups.iter().map(pool).collect::<Result<Vec<_>>>()?;
    let shared = Shared {
        stop: AtomicBool::new(false),
        end: AtomicU64::new(u64::MAX),
        updates: on.modes.iter().map(|_| AtomicU64::new(0)).collect(),
    };
    let steps = StackSteps { seed: on.seed, below: part.below, modes: on.modes };
    let mut top = Some(part.above);
    scope(|scope| {
        // Bounded, so that a slow disk slows training instead of filling memory.
        let (events, received) = sync_channel(2 * on.modes.len());
        let mut rest = &mut *stack.modules_mut();
        let mut from: Box<dyn Incoming<F> + '_> = Box::new(FeedSource { feed, next: on.first, shared: &shared });
        let mut links = links.into_iter();
        let mut threads = Vec::new();
        for (number, (group, pool)) in on.groups.iter().zip(&pools).enumerate() {
            let (modules, above) = std::mem::take(&mut rest).split_at_mut(group.modules.len());
            rest = above;
            let (sink, next): (Box<dyn Outgoing<F> + '_>, Box<dyn Incoming<F> + '_>) = match links.next() {
                Some(link) => (link.sink, link.source),
                None => (Box::new(ToSink(top.take())), Box::new(Nowhere)),
            };
            let source = std::mem::replace(&mut from, next);
            let (events, shared) = (events.clone(), &shared);
            let (slow, passed) = (on.slow, on.first);
            let thread =
                GroupThread { number, group, modules, source, sink, steps, slow, save, events, shared, passed };
            threads.push(scope.spawn(move || pool.install(|| thread.run())));
        }
        drop(events);
        let written = write(&received, Gather::new(on.first, on.modes.len()), finished);
        if written.is_err() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        // A group that waits for room goes on when nobody receives.
        drop(received);
        let ended = threads.into_iter().map(ended).collect();
        written.and_then(|()| timelines(ended))
    })
}

/// Hands finished steps on until all groups have ended.
fn write<T>(
    events: &Receiver<Event<T>>,
    mut gather: Gather<T>,
    finished: &mut dyn FnMut(FinishedStep<T>) -> Result<()>,
) -> Result<()> {
    for event in events {
        gather.add(event);
        while let Some(step) = gather.finished() {
            finished(step)?;
        }
    }
    Ok(())
}

/// How a group has ended: its timelines, or the step and the error.
type Ended = std::result::Result<Vec<ModuleTimeline>, (u64, Error)>;

fn ended(thread: ScopedJoinHandle<'_, Ended>) -> Ended {
    thread.join().unwrap_or_else(|panic| {
        let what = format!("a thread of modules panicked: {}", message(&*panic));
        Err((u64::MAX, Error::internal("train.schedule", what)))
    })
}

/// The timelines of all groups, or the error of the earliest step.
fn timelines(groups: Vec<Ended>) -> Result<Vec<ModuleTimeline>> {
    let (mut all, mut first) = (Vec::new(), None::<(u64, Error)>);
    for group in groups {
        match group {
            Ok(timelines) => all.extend(timelines),
            Err(e) if first.as_ref().is_none_or(|f| e.0 < f.0) => first = Some(e),
            Err(_) => {}
        }
    }
    first.map_or(Ok(all), |(_, e)| Err(e))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("without a message")
}

/// The pool a group computes on.
fn pool(group: &Group) -> Result<rayon::ThreadPool> {
    let first = group.modules.start + 1;
    rayon::ThreadPoolBuilder::new()
        .num_threads(group.threads)
        .thread_name(move |i| format!("gim-module-{first}-{i}"))
        .build()
        .map_err(|e| Error::config("train.groups", &e, "use fewer groups or threads").caused_by(e))
}

/// The first group's batches.
struct FeedSource<'a, 'b, F: Scalar> {
    feed: &'a mut NextBatch<'b, F>,
    /// Steps of the run given so far.
    next: u64,
    shared: &'a Shared,
}

impl<F: Scalar> Incoming<F> for FeedSource<'_, '_, F> {
    fn take(&mut self) -> Option<Stamped<F>> {
        let stop = self.shared.stop.load(Ordering::Relaxed);
        let packet = if stop { None } else { (self.feed)() };
        match &packet {
            Some(packet) => self.next = packet.step + 1,
            None => drop(self.shared.end.fetch_min(self.next, Ordering::Relaxed)),
        }
        packet.map(|packet| Stamped { packet, made: 0 })
    }
}

/// The link to what is above the last group.
struct ToSink<'a, F: Scalar>(Option<Box<dyn Sink<F> + Send + 'a>>);

impl<F: Scalar> Outgoing<F> for ToSink<'_, F> {
    fn put(&mut self, batch: Stamped<F>) {
        if let Some(sink) = &mut self.0 {
            sink.send(batch.packet);
        }
    }
}

/// Above the last module of a network.
struct Nowhere;

impl<F: Scalar> Sink<F> for Nowhere {
    fn send(&mut self, _: Packet<F>) {}
}

impl<F: Scalar> Incoming<F> for Nowhere {
    fn take(&mut self) -> Option<Stamped<F>> {
        None
    }
}

/// The sink of a group's last module, which stamps what it sends.
struct Stamping<'a, 'b, F: Scalar> {
    link: &'a mut (dyn Outgoing<F> + 'b),
    updates: &'a AtomicU64,
}

impl<F: Scalar> Sink<F> for Stamping<'_, '_, F> {
    fn send(&mut self, packet: Packet<F>) {
        self.link.put(Stamped { packet, made: self.updates.load(Ordering::Relaxed) });
    }
}

/// A group at work.
struct GroupThread<'a, F: Scalar, T> {
    /// 0-based.
    number: usize,
    group: &'a Group,
    modules: &'a mut [Box<dyn Module<F>>],
    source: Box<dyn Incoming<F> + 'a>,
    sink: Box<dyn Outgoing<F> + 'a>,
    steps: StackSteps<'a>,
    slow: &'a [f64],
    save: &'a SaveState<'a, F, T>,
    events: SyncSender<Event<T>>,
    shared: &'a Shared,
    /// The group has done all it will ever do below this step.
    passed: u64,
}

impl<F: Scalar, T> GroupThread<'_, F, T> {
    fn run(mut self) -> Ended {
        // Also when a module panics.
        let stop = StopUnlessWell(Some(self.shared));
        let started = Instant::now();
        let timeline = |m| ModuleTimeline::new(self.steps.below + m + 1, self.number + 1, self.group.threads);
        let mut timelines: Vec<ModuleTimeline> = self.group.modules.clone().map(timeline).collect();
        loop {
            let begin = Instant::now();
            let Some(batch) = self.source.take() else { break };
            let receive = begin.elapsed();
            let step = batch.packet.step;
            self.take(batch, &mut timelines).map_err(|e| {
                self.shared.end.fetch_min(step, Ordering::Relaxed);
                (step, e)
            })?;
            timelines[0].add_waiting(begin, receive);
        }
        let end = self.shared.end.load(Ordering::Relaxed);
        self.pass(end, u64::MAX).map_err(|e| (end, e))?;
        stop.well();
        timelines.iter_mut().for_each(|t| t.wall = started.elapsed());
        Ok(timelines)
    }

    /// One batch through the group.
    fn take(&mut self, Stamped { packet, made }: Stamped<F>, timelines: &mut [ModuleTimeline]) -> Result<()> {
        self.pass(packet.step, packet.step)?;
        let (first, events, shared, slow) = (self.group.modules.start, &self.events, self.shared, self.slow);
        let updates = |module: usize| shared.updates[module].load(Ordering::Relaxed);
        let mut staleness = first.checked_sub(1).map_or(0, |below| updates(below) - made);
        let stamp = &shared.updates[self.group.modules.end - 1];
        let mut sink = Stamping { link: &mut *self.sink, updates: stamp };
        self.steps.take_turns(first, self.modules, packet, &mut sink, &mut |module, report, span| {
            timelines[module - first].add(span, staleness);
            if let Some(report) = report {
                shared.updates[module].fetch_add(1, Ordering::Relaxed);
                shared.tell(events, Event::Trained(Taken { report, staleness }));
            }
            if let Some(factor) = slow.get(module) {
                std::thread::sleep((span.forward + span.train).mul_f64((factor - 1.0).max(0.0)));
            }
            // Within a group, modules take turns.
            staleness = u64::from(report.is_some());
        })
    }

    /// Says that nothing more will come below `step`, with the states after up to `end` steps that
    /// are wanted.
    fn pass(&mut self, end: u64, step: u64) -> Result<()> {
        for (module, index) in self.modules.iter_mut().zip(self.group.modules.clone()) {
            let mut saved = Vec::new();
            for after in self.passed + 1..=end {
                saved.extend((self.save)(&mut **module, index, after)?.map(|state| (after, state)));
            }
            self.shared.tell(&self.events, Event::Passed { module: index, step, saved });
        }
        self.passed = end;
        Ok(())
    }
}

impl Shared {
    /// Hands an event on. When nobody receives, the schedule ends.
    fn tell<T>(&self, events: &SyncSender<Event<T>>, event: Event<T>) {
        if events.send(event).is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Ends the schedule when it is dropped before all was well.
struct StopUnlessWell<'a>(Option<&'a Shared>);

impl StopUnlessWell<'_> {
    fn well(mut self) {
        self.0 = None;
    }
}

impl Drop for StopUnlessWell<'_> {
    fn drop(&mut self) {
        let Some(shared) = self.0 else { return };
        shared.stop.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            // Nobody knows which step the group has come to: no state above it is wanted any more.
            shared.end.store(0, Ordering::Relaxed);
        }
    }
}
