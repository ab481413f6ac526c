//! Streams of messages from one process to another, in order and bounded.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};

use gim_core::Result;

use super::message::{Arrived, Envelope, Head, Input, Message};
use super::wire::{Body, Buffer, Receiving, Sending, Wire};

/// A stream. Heads have its number as their tag, bodies the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Stream {
    /// Signs of life.
    Beats = 0,
    /// From rank 0 to the others.
    Control = 2,
    /// From each rank to those with the modules above, and from rank 0 to those with its own.
    Batches = 4,
    /// From the others to rank 0.
    Reports = 6,
    /// Between replicas of a group.
    Values = 8,
}

/// Messages to another process.
pub(super) struct Outbox {
    pub(super) to: usize,
    stream: Stream,
    /// Messages that may be on their way.
    window: usize,
    leaving: VecDeque<Vec<Sending>>,
}

impl Outbox {
    pub(super) fn new(to: usize, stream: Stream, window: usize) -> Self {
        Self { to, stream, window, leaving: VecDeque::new() }
    }

    /// Whether another message may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.leaving.len() < self.window
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leaving.is_empty()
    }

    pub(super) fn send(&mut self, wire: &Wire, message: Message) -> Result<()> {
        let (head, bodies) = message.seal()?;
        let tag = self.stream as i32;
        let mut sends = vec![wire.send(self.to, tag, Body::Bytes(head))];
        sends.extend(bodies.into_iter().map(|body| wire.send(self.to, tag + 1, body)));
        self.leaving.push_back(sends);
        Ok(())
    }

    /// Lets go of what has been sent; whether there was any.
    pub(super) fn poll(&mut self) -> bool {
        let before = self.leaving.len();
        self.leaving.retain_mut(|sends| {
            sends.retain_mut(|sending| !sending.is_done());
            !sends.is_empty()
        });
        self.leaving.len() < before
    }
}

/// Messages from another process, for a thread of this one.
pub(super) struct Inbox {
    pub(super) from: usize,
    stream: Stream,
    /// Messages that may be received at a time.
    window: usize,
    arriving: VecDeque<Arriving>,
    out: SyncSender<Arrived>,
}

struct Arriving {
    head: Head,
    /// Bodies on their way, and those that are here.
    coming: VecDeque<Receiving>,
    bodies: Vec<Buffer>,
}

impl Inbox {
    pub(super) fn new(from: usize, stream: Stream, window: usize, out: SyncSender<Arrived>) -> Self {
        Self { from, stream, window, arriving: VecDeque::new(), out }
    }

    /// Receives what there is room for, and hands on what is whole. A message that nobody wants any
    /// more is dropped. Gives whether anything has arrived, and the end of the process's work, if
    /// the message says it.
    pub(super) fn poll(&mut self, wire: &Wire, input: Option<&Input>) -> Result<Polled> {
        let mut polled = Polled::default();
        while self.arriving.len() < self.window
            && let Some((_, bytes)) = wire.poll(Some(self.from), self.stream as i32)
        {
            polled.heard = true;
            let envelope = Envelope::open(&bytes)?;
            let buffers = envelope.buffers(input)?;
            let tag = self.stream as i32 + 1;
            let coming = buffers.into_iter().map(|buffer| wire.receive(self.from, tag, buffer)).collect();
            self.arriving.push_back(Arriving { head: envelope.head, coming, bodies: Vec::new() });
        }
        for message in &mut self.arriving {
            while let Some(body) = message.coming.front_mut().and_then(Receiving::take) {
                message.coming.pop_front();
                message.bodies.push(body);
                polled.heard = true;
            }
        }
        while self.arriving.front().is_some_and(|m| m.coming.is_empty())
            && let Some(Arriving { head, bodies, .. }) = self.arriving.pop_front()
        {
            if matches!(head, Head::Finish) {
                polled.finish = true;
                continue;
            }
            if let Err(TrySendError::Full(Arrived { head, bodies })) = self.out.try_send(Arrived { head, bodies }) {
                self.arriving.push_front(Arriving { head, coming: VecDeque::new(), bodies });
                break;
            }
            polled.handed = true;
        }
        Ok(polled)
    }
}

/// What a look into an inbox has found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Polled {
    /// Something has arrived.
    pub(super) heard: bool,
    /// A thread has taken a message.
    pub(super) handed: bool,
    /// [`Head::Finish`] has arrived.
    pub(super) finish: bool,
}
