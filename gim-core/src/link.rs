//! Links between modules: where a module's batches come from, and where its output goes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use crate::Scalar;
use crate::activations::{Detached, Layout};

/// A batch on its way up through the modules.
#[derive(Debug)]
pub struct Packet<F: Scalar> {
    /// Activations of the module below, or the input.
    pub x: Detached<F>,
    /// Training step of the run, 0-based.
    pub step: u64,
    /// Labels for supervised losses; empty otherwise.
    pub labels: Arc<[i32]>,
    /// [`Stack::layouts`](crate::stack::Stack::layouts) of the batch: of the input and of every
    /// module's output. Batches of a run may differ in shape.
    pub layouts: Arc<[Layout]>,
}

/// Where a module's batches come from.
pub trait Source<F: Scalar> {
    /// The next batch; `None` when there are no more.
    fn recv(&mut self) -> Option<Packet<F>>;
}

/// Where a module's output goes.
pub trait Sink<F: Scalar> {
    /// Hands a batch on.
    fn send(&mut self, packet: Packet<F>);
}

/// A link within a thread: holds one batch.
#[derive(Debug, Default)]
pub struct Slot<F: Scalar>(Option<Packet<F>>);

impl<F: Scalar> Slot<F> {
    /// A slot with a batch in it, or an empty one.
    pub fn new(packet: Option<Packet<F>>) -> Self {
        Self(packet)
    }
}

impl<F: Scalar> Source<F> for Slot<F> {
    fn recv(&mut self) -> Option<Packet<F>> {
        self.0.take()
    }
}

impl<F: Scalar> Sink<F> for Slot<F> {
    fn send(&mut self, packet: Packet<F>) {
        self.0 = Some(packet);
    }
}

impl<F: Scalar> Source<F> for Receiver<Packet<F>> {
    fn recv(&mut self) -> Option<Packet<F>> {
        Receiver::recv(self).ok()
    }
}

impl<F: Scalar> Sink<F> for SyncSender<Packet<F>> {
    fn send(&mut self, packet: Packet<F>) {
        // When the module above has stopped, the batch is dropped.
        let _ = SyncSender::send(self, packet);
    }
}
