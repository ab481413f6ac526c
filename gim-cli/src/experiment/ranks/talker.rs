//! The one thread of a process that makes calls of MPI. It never computes, and never waits for those
//! that do.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gim_core::{Error, Result};

use super::beats::Beats;
use super::boxes::{Inbox, Outbox, Stream};
use super::exchange::PeerEnds;
use super::message::{Arrived, Head, Input, Message};
use super::places::Places;
use super::wire::Wire;
use crate::output::note;

/// Naps while there is nothing to do: long enough to leave the core to others, short against a step.
const SHORTEST_NAP: Duration = Duration::from_micros(10);
const LONGEST_NAP: Duration = Duration::from_micros(300);
/// Reports on their way to rank 0.
const REPORTS: usize = 2;
/// Messages from another replica that arrive at a time.
const VALUES: usize = 4;
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
    /// Ends all processes, and says why.
    GiveUp(String),
}

/// What the thread has to know of training.
pub(super) struct Begin {
    /// Silence after which a process is given up.
    pub(super) stall: Duration,
    /// Modules of each process.
    pub(super) places: Places,
    /// The other replicas, if there are any.
    pub(super) peers: Option<PeerEnds>,
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
    /// Batches for other ranks, and reports for rank 0.
    pub(super) up: Receiver<(usize, Message)>,
    pub(super) reports: Receiver<Message>,
    pub(super) beats: Beats,
    control: Vec<Outbox>,
    /// None before training begins, as `values`.
    batches: Vec<Outbox>,
    to_first: Option<Outbox>,
    /// For other replicas: what they are to get, and how it goes there.
    to_peers: Option<Receiver<(usize, Message)>>,
    values: Vec<Outbox>,
    inboxes: Vec<Inbox>,
    /// Where batches go, until it is known from whom they come.
    down: Option<SyncSender<Arrived>>,
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
    pub(super) up: Receiver<(usize, Message)>,
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
            batches: Vec::new(),
            to_first: (rank > 0).then(|| Outbox::new(0, Stream::Reports, REPORTS)),
            to_peers: None,
            values: Vec::new(),
            inboxes,
            down: Some(ends.down),
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
                let waited = self.batches.iter().any(|b| b.to == silent && !b.is_empty());
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
        // Batches leave in the order in which they were made, so no rank gets one that a replica lacks for long.
        if self.batches.iter().all(Outbox::has_room)
            && let Ok((to, message)) = self.up.try_recv()
        {
            outbox(&mut self.batches, to)?.send(&self.wire, message)?;
            busy = true;
        }
        while let Some(Ok((to, message))) = self.to_peers.as_ref().map(Receiver::try_recv) {
            outbox(&mut self.values, to)?.send(&self.wire, message)?;
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
        busy |= self.poll_outboxes();
        Ok(busy)
    }

    /// Lets go of what has been sent; whether there was any.
    fn poll_outboxes(&mut self) -> bool {
        let several = self.control.iter_mut().chain(&mut self.batches).chain(&mut self.values);
        let mut busy = false;
        for out in several.chain(&mut self.to_first) {
            busy |= out.poll();
        }
        busy
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
            Ok(Command::GiveUp(why)) => self.give_up(&why),
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
        let (rank, places, window) = (self.wire.rank, &begin.places, begin.window);
        let to = places.beside(rank).chain(places.above(rank));
        self.batches = to.map(|to| Outbox::new(to, Stream::Batches, window)).collect();
        if let (Some(from), Some(down)) = (places.below(rank), self.down.take()) {
            self.inboxes.push(Inbox::new(from, Stream::Batches, window, down));
        }
        if let Some(PeerEnds { out, from }) = begin.peers {
            self.to_peers = Some(out);
            self.values = from.iter().map(|(to, _)| Outbox::new(*to, Stream::Values, usize::MAX)).collect();
            self.inboxes.extend(from.into_iter().map(|(from, end)| Inbox::new(from, Stream::Values, VALUES, end)));
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
            self.poll_outboxes();
            let mut all = self.control.iter().chain(&self.batches).chain(&self.values).chain(&self.to_first);
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

/// The one to this rank.
///
/// # Errors
/// When there is none: a defect of the program.
fn outbox(all: &mut [Outbox], to: usize) -> Result<&mut Outbox> {
    let found = all.iter_mut().find(|out| out.to == to);
    found.ok_or_else(|| Error::internal("MPI", format_args!("nothing goes to rank {to}")))
}
