//! Signs of life: every process sends them to all others, and notes when it has last heard of each.

use std::time::{Duration, Instant};

use super::boxes::Stream;
use super::places::Places;
use super::wire::{Body, Sending, Wire};
use crate::experiment::interrupt;
use crate::experiment::train_config::TrainConfig;

/// Longest time between two signs of life.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Beats {
    rank: usize,
    stall: Duration,
    /// Once training has begun.
    places: Option<Places>,
    /// When each process was last heard of.
    heard: Vec<Instant>,
    /// The last sign of life to each process, unless it has received it: at most one is on its way.
    sending: Vec<Option<Sending>>,
    sent: Option<Instant>,
}

impl Beats {
    pub(super) fn new(rank: usize, size: usize) -> Self {
        let stall = Duration::from_secs(TrainConfig::default().stall_seconds);
        let sending = (0..size).map(|_| None).collect();
        Self { rank, stall, places: None, heard: vec![Instant::now(); size], sending, sent: None }
    }

    pub(super) fn begin(&mut self, stall: Duration, places: Places) {
        (self.stall, self.places) = (stall, Some(places));
    }

    pub(super) fn stall(&self) -> Duration {
        self.stall
    }

    fn interval(&self) -> Duration {
        INTERVAL.min(self.stall / 5)
    }

    /// In which all others notice a silence that this process has noticed.
    pub(super) fn grace(&self) -> Duration {
        2 * self.interval()
    }

    pub(super) fn hear(&mut self, from: usize) {
        self.heard[from] = Instant::now();
    }

    /// This process itself was absent for so long.
    pub(super) fn excuse(&mut self, absent: Duration) {
        self.heard.iter_mut().for_each(|heard| *heard += absent);
    }

    /// Sends what is due. A sign says whether the process was asked to stop.
    pub(super) fn send(&mut self, wire: &Wire) {
        self.sending.iter_mut().for_each(|s| drop(s.take_if(Sending::is_done)));
        if self.sent.is_some_and(|sent| sent.elapsed() < self.interval()) {
            return;
        }
        self.sent = Some(Instant::now());
        let stop = u8::from(interrupt::requested());
        for (to, sending) in self.sending.iter_mut().enumerate().filter(|(to, s)| *to != self.rank && s.is_none()) {
            *sending = Some(wire.send(to, Stream::Beats as i32, Body::Bytes(vec![stop])));
        }
    }

    /// Receives signs; whether there were any.
    pub(super) fn receive(&mut self, wire: &Wire) -> bool {
        self.sending.iter_mut().for_each(|s| drop(s.take_if(Sending::is_done)));
        let mut any = false;
        while let Some((from, said)) = wire.poll(None, Stream::Beats as i32) {
            self.hear(from);
            if self.rank == 0 && said == [1] {
                interrupt::request();
            }
            any = true;
        }
        any
    }

    /// Whether all signs have been received.
    pub(super) fn are_done(&self) -> bool {
        self.sending.iter().all(Option::is_none)
    }

    /// A process that was not heard of for too long: the one for longest.
    pub(super) fn silent(&self) -> Option<usize> {
        let others = (0..self.heard.len()).filter(|rank| *rank != self.rank);
        others.min_by_key(|rank| self.heard[*rank]).filter(|rank| self.heard[*rank].elapsed() > self.stall)
    }

    /// Who waits for whom; `sends` when batches are on their way to the silent process.
    pub(super) fn complaint(&self, silent: usize, sends: bool) -> String {
        let places = self.places.as_ref();
        let waits = match silent {
            _ if places.is_some_and(|p| p.below(self.rank) == Some(silent)) => "waits for batches from",
            _ if places.is_some_and(|p| p.replicas(self.rank).contains(&silent)) => "waits for the part of",
            _ if sends => "waits for room in the link to",
            _ if self.rank == 0 => "waits for reports of",
            0 => "waits for the end of its work from",
            _ => "works with",
        };
        let seconds = self.heard[silent].elapsed().as_secs_f64();
        format!("{} {waits} {}, which has been silent for {seconds:.1} s", self.name(self.rank), self.name(silent))
    }

    fn name(&self, rank: usize) -> String {
        let Some(places) = &self.places else { return format!("rank {rank}") };
        let (modules, replicas) = (places.modules(rank), places.replicas(rank));
        let modules = match modules.len() {
            1 => format!("module {}", modules.end),
            _ => format!("modules {}–{}", modules.start + 1, modules.end),
        };
        match replicas.len() {
            1 => format!("rank {rank} ({modules})"),
            n => format!("rank {rank} ({modules}, replica {} of {n})", rank - replicas.start + 1),
        }
    }
}
