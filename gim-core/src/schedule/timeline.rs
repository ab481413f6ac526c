//! Where the time of every module goes. What is kept does not grow with the length of training.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Scalar;
use crate::link::{Packet, Sink, Source};

/// Training steps of a module whose spans are kept: the last ones.
const KEPT: usize = 64;

/// Where a module's time went in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Training step of the run, 0-based.
    pub step: u64,
    /// When the step began with waiting for a batch.
    pub begin: Instant,
    /// Waiting for a batch from below.
    pub receive: Duration,
    /// Forward pass.
    pub forward: Duration,
    /// Handing the output on, which includes waiting for room in the link.
    pub send: Duration,
    /// Loss, backward pass and update.
    pub train: Duration,
}

/// Where a module's time went: sums over all steps, and the last steps one by one.
#[derive(Debug, Clone)]
pub struct ModuleTimeline {
    /// One-based module number.
    pub module: usize,
    /// One-based number of its group, and the group's threads.
    pub group: usize,
    /// Threads of the group.
    pub threads: usize,
    /// Steps it has taken.
    pub steps: u64,
    /// From the first step's beginning to the end of the schedule.
    pub wall: Duration,
    /// Sums of [`Span`]'s times.
    pub receive: Duration,
    /// Sum of forward passes.
    pub forward: Duration,
    /// Sum of sending.
    pub send: Duration,
    /// Sum of training.
    pub train: Duration,
    /// Sum over all steps of the input's staleness, see [`Taken`](super::Taken), and the largest.
    pub staleness: u64,
    /// The largest staleness.
    pub most_stale: u64,
    /// The last steps, oldest first.
    pub recent: VecDeque<Span>,
}

impl ModuleTimeline {
    pub(super) fn new(module: usize, group: usize, threads: usize) -> Self {
        let zero = Duration::ZERO;
        let recent = VecDeque::with_capacity(KEPT);
        let (wall, receive, forward, send, train) = (zero, zero, zero, zero, zero);
        let (steps, staleness, most_stale) = (0, 0, 0);
        Self { module, group, threads, steps, wall, receive, forward, send, train, staleness, most_stale, recent }
    }

    pub(super) fn add(&mut self, span: Span, staleness: u64) {
        self.steps += 1;
        self.staleness += staleness;
        self.most_stale = self.most_stale.max(staleness);
        self.receive += span.receive;
        self.forward += span.forward;
        self.send += span.send;
        self.train += span.train;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(span);
    }

    /// Adds the time that the last step waited for its batch, from `begin` on.
    pub(super) fn add_waiting(&mut self, begin: Instant, receive: Duration) {
        self.receive += receive;
        if let Some(last) = self.recent.back_mut() {
            last.receive += receive;
            last.begin = begin;
        }
    }

    /// Adds what the module did after all that is in here, in the same group.
    pub fn append(&mut self, later: Self) {
        self.steps += later.steps;
        self.wall += later.wall;
        self.receive += later.receive;
        self.forward += later.forward;
        self.send += later.send;
        self.train += later.train;
        self.staleness += later.staleness;
        self.most_stale = self.most_stale.max(later.most_stale);
        self.recent.extend(later.recent);
        self.recent.drain(..self.recent.len().saturating_sub(KEPT));
    }

    /// Time in which the module's thread did something else than this module: it worked for other
    /// modules of its group, or had no batch left.
    pub fn idle(&self) -> Duration {
        self.wall.saturating_sub(self.receive + self.forward + self.send + self.train)
    }
}

/// Notes the times of one step of [`run_module`](super::run_module), from outside.
pub(super) struct Watch {
    begin: Instant,
    received: Cell<Instant>,
    forwarded: Cell<Instant>,
    sent: Cell<Instant>,
}

impl Watch {
    pub(super) fn start() -> Self {
        let begin = Instant::now();
        Self { begin, received: Cell::new(begin), forwarded: Cell::new(begin), sent: Cell::new(begin) }
    }

    pub(super) fn stop(self, step: u64) -> Span {
        let (received, forwarded, sent) = (self.received.get(), self.forwarded.get(), self.sent.get());
        Span {
            step,
            begin: self.begin,
            receive: received - self.begin,
            forward: forwarded - received,
            send: sent - forwarded,
            train: sent.elapsed(),
        }
    }
}

/// A link whose use is noted on a watch.
pub(super) struct Timed<'a, L: ?Sized> {
    link: &'a mut L,
    watch: &'a Watch,
}

impl<'a, L: ?Sized> Timed<'a, L> {
    pub(super) fn new(link: &'a mut L, watch: &'a Watch) -> Self {
        Self { link, watch }
    }
}

impl<F: Scalar, L: Source<F> + ?Sized> Source<F> for Timed<'_, L> {
    fn recv(&mut self) -> Option<Packet<F>> {
        let packet = self.link.recv()?;
        self.watch.received.set(Instant::now());
        Some(packet)
    }
}

impl<F: Scalar, L: Sink<F> + ?Sized> Sink<F> for Timed<'_, L> {
    fn send(&mut self, packet: Packet<F>) {
        self.watch.forwarded.set(Instant::now());
        self.link.send(packet);
        self.watch.sent.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_keeps_all_sums_and_the_last_spans() {
        let mut timeline = ModuleTimeline::new(1, 1, 1);
        let ms = Duration::from_millis(1);
        let span = Span { step: 0, begin: Instant::now(), receive: ms, forward: 2 * ms, send: ms, train: 4 * ms };
        (0..100).for_each(|step| timeline.add(Span { step, ..span }, step % 3));
        timeline.wall = Duration::from_secs(1);
        assert_eq!((timeline.steps, timeline.train, timeline.idle()), (100, 400 * ms, 200 * ms));
        assert_eq!((timeline.staleness, timeline.most_stale), (99, 2));
        assert_eq!((timeline.recent.len(), timeline.recent[0].step), (KEPT, 100 - KEPT as u64));

        let mut parts = ModuleTimeline::new(1, 1, 1);
        for steps in [0..70, 70..97, 97..100] {
            let mut part = ModuleTimeline::new(1, 1, 1);
            part.wall = ms * steps.clone().count() as u32 * 10;
            steps.for_each(|step| part.add(Span { step, ..span }, step % 3));
            parts.append(part);
        }
        assert_eq!(format!("{parts:?}"), format!("{timeline:?}"));
    }
}
