//! The one thread of a process that makes calls of MPI. It never computes, and never waits for those
//! that do.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gim_core::Result;

use super::beats::Beats;
use super::boxes::{Inbox, Outbox, Stream};
use super::message::{Arrived, Head, Input, Message};
use super::wire::Wire;
use crate::output::note;

/// Naps while there is nothing to do: long enough to leave the core to others, short against a step.
const SHORTEST_NAP: Duration = Duration::from_micros(10);
const LONGEST_NAP: Duration = Duration::from_micros(300);
/// Reports on their way to rank 0.
const REPORTS: usize = 2;
/// A process that was stopped for longer than this knows nothing about the silence of others.
const ABSENT: Duration = Duration::from_millis(500);
/// Exit code of a process that gives up.
const FAILED: i32 = 2;

/// What the thread is asked to do.
pub(super) enum Command {
    /// Sends to a process that waits for its plan.
    Send(usize, Message),
    /// Training begins.
    Begin(Begin),
}

/// What the thread has to know of training.
pub(super) struct Begin {
    /// Silence after which a process is given up.
    pub(super) stall: Duration,
    /// Modules of each process, 0-based.
    pub(super) places: Vec<Range<usize>>,
    /// How batches from below are stored.
    pub(super) input: Option<Input>,
    /// Batches that may be on their way from a process to the next.
    pub(super) window: usize,
    /// What the user can do after a failure.
    pub(super) remedy: String,
}

pub(super) struct Talker {
    pub(super) wire: Wire,
    /// None once the other threads of the process want nothing more.
    pub(super) commands: Option<Receiver<Command>>,
    /// Batches for the next rank, and reports for rank 0.
    pub(super) up: Receiver<Message>,
    pub(super) reports: Receiver<Message>,
    pub(super) beats: Beats,
    control: Vec<Outbox>,
    batches: Option<Outbox>,
    to_first: Option<Outbox>,
    inboxes: Vec<Inbox>,
    input: Option<Input>,
    remedy: String,
    /// The rank has said that it reports no more.
    has_ended: bool,
    /// Nothing more is to be done.
    is_over: bool,
}

/// Where the thread takes from and gives to.
pub(super) struct Ends {
    pub(super) commands: Receiver<Command>,
    pub(super) up: Receiver<Message>,
    pub(super) reports: Receiver<Message>,
    pub(super) control: SyncSender<Arrived>,
    pub(super) down: SyncSender<Arrived>,
    /// Of the ranks above 0.
    pub(super) reports_of: Vec<SyncSender<Arrived>>,
}

impl Talker {
    pub(super) fn new(wire: Wire, ends: Ends) -> Self {
        let (rank, size) = (wire.rank, wire.size);
        let mut inboxes = Vec::new();
        if rank > 0 {
            inboxes.push(Inbox::new(0, Stream::Control, 1, ends.control));
            // Closed until it is known how batches are stored.
            inboxes.push(Inbox::new(rank - 1, Stream::Batches, 0, ends.down));
        } else {
            let others = ends.reports_of.into_iter().enumerate();
            inboxes.extend(others.map(|(i, out)| Inbox::new(i + 1, Stream::Reports, REPORTS, out)));
        }
        let control = if rank == 0 { 1..size } else { 0..0 };
        Self {
            commands: Some(ends.commands),
            up: ends.up,
            reports: ends.reports,
            beats: Beats::new(rank, size),
            control: control.map(|to| Outbox::new(to, Stream::Control, usize::MAX)).collect(),
            batches: (rank + 1 < size).then(|| Outbox::new(rank + 1, Stream::Batches, 1)),
            to_first: (rank > 0).then(|| Outbox::new(0, Stream::Reports, REPORTS)),
            inboxes,
            input: None,
            remedy: String::new(),
            has_ended: false,
            is_over: false,
            wire,
        }
    }

    /// Talks until all is done, or a process is lost.
    pub(super) fn run(mut self) {
        if let Err(e) = self.talk().and_then(|()| self.leave()) {
            self.give_up(&e.to_string());
        }
        // The library's own end waits for all processes, too.
        let stall = self.beats.stall();
        std::thread::spawn(move || {
            sleep(stall);
            note("gim: another rank does not end");
            std::process::exit(FAILED);
        });
    }

    fn talk(&mut self) -> Result<()> {
        let (mut nap, mut last) = (SHORTEST_NAP, Instant::now());
        while !self.is_over {
            let busy = self.turn()?;
            let now = Instant::now();
            if now - last > ABSENT {
                self.beats.excuse(now - last);
            }
            last = now;
            self.beats.send(&self.wire);
            if let Some(silent) = self.beats.silent() {
                let waited = self.batches.as_ref().is_some_and(|b| b.to == silent && !b.is_empty());
                let text = self.beats.complaint(silent, waited);
                self.give_up(&format!("{text} ({})", self.remedy));
            }
            nap = if busy { SHORTEST_NAP } else { (nap * 2).min(LONGEST_NAP) };
            sleep(nap);
        }
        Ok(())
    }

    /// Looks once at everything; whether anything has moved.
    fn turn(&mut self) -> Result<bool> {
        let mut busy = self.obey()?;
        if let Some(out) = self.batches.as_mut().filter(|out| out.has_room())
            && let Ok(message) = self.up.try_recv()
        {
            out.send(&self.wire, message)?;
            busy = true;
        }
        if let Some(out) = self.to_first.as_mut().filter(|out| out.has_room())
            && let Ok(message) = self.reports.try_recv()
        {
            self.has_ended |= matches!(message.head, Head::Ended(_));
            out.send(&self.wire, message)?;
            busy = true;
        }
        busy |= self.receive()?;
        for out in self.control.iter_mut().chain(&mut self.batches).chain(&mut self.to_first) {
            busy |= out.poll();
        }
        Ok(busy)
    }

    fn receive(&mut self) -> Result<bool> {
        let mut busy = self.beats.receive(&self.wire);
        for inbox in &mut self.inboxes {
            let polled = inbox.poll(&self.wire, self.input.as_ref())?;
            if polled.heard {
                self.beats.hear(inbox.from);
            }
            self.is_over |= polled.finish;
            busy |= polled.heard || polled.handed;
        }
        Ok(busy)
    }

    /// Does what the other threads ask for.
    fn obey(&mut self) -> Result<bool> {
        let Some(commands) = &self.commands else {
            // Rank 0 has told the others to finish: once they know, all is done.
            self.is_over |= self.wire.rank == 0 && self.control.iter().all(Outbox::is_empty);
            return Ok(false);
        };
        match commands.try_recv() {
            Ok(Command::Send(to, message)) => self.control[to - 1].send(&self.wire, message)?,
            Ok(Command::Begin(begin)) => self.begin(begin),
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => {
                self.commands = None;
                if self.wire.rank > 0 && !self.has_ended {
                    self.give_up(&format!("rank {} has ended before its work", self.wire.rank));
                }
                for out in &mut self.control {
                    out.send(&self.wire, Message::bare(Head::Finish))?;
                }
            }
        }
        Ok(true)
    }

    fn begin(&mut self, begin: Begin) {
        if let Some(out) = &mut self.batches {
            out.set_window(begin.window);
        }
        if let Some(inbox) = self.inboxes.get_mut(1).filter(|_| self.wire.rank > 0) {
            inbox.set_window(begin.window);
        }
        self.beats.begin(begin.stall, begin.places);
        (self.input, self.remedy) = (begin.input, begin.remedy);
    }

    /// Ends what is on its way, and waits until all processes have done so.
    fn leave(&mut self) -> Result<()> {
        let begun = Instant::now();
        let mut barrier = None;
        loop {
            self.receive()?;
            let outboxes = self.control.iter_mut().chain(&mut self.batches).chain(&mut self.to_first);
            outboxes.for_each(|out| _ = out.poll());
            let mut all = self.control.iter().chain(&self.batches).chain(&self.to_first);
            if barrier.is_none() && all.all(Outbox::is_empty) && self.beats.are_done() {
                barrier = Some(self.wire.barrier());
            }
            if barrier.as_mut().is_some_and(|barrier| barrier.is_passed()) {
                return Ok(());
            }
            if begun.elapsed() > self.beats.stall() {
                self.give_up("another rank does not end");
            }
            sleep(LONGEST_NAP);
        }
    }

    /// Ends all processes, after the others have had the time to say what they miss.
    fn give_up(&mut self, why: &str) {
        note(format_args!("gim: {why}"));
        let begun = Instant::now();
        while begun.elapsed() < self.beats.grace() {
            self.beats.send(&self.wire);
            self.beats.receive(&self.wire);
            sleep(LONGEST_NAP);
        }
        self.wire.abort(FAILED);
        std::process::exit(FAILED);
    }
}
