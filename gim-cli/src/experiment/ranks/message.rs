//! What processes say to each other.

use std::sync::Arc;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::link::Packet;
use gim_core::loss::LossReport;
use gim_core::schedule::{FinishedStep, ModuleReport, Taken};
use gim_core::stack::LayoutPlans;
use gim_core::{Error, Pool, Result};
use gim_eval::ScheduleRow;
use serde::{Deserialize, Serialize};

use super::exchange;
use super::places::Places;
use super::wire::{Body, Buffer};
use crate::experiment::dataset_record::DatasetRecord;

/// The head of a message. Its bodies follow as bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Head {
    /// What to train. Bodies: the checkpoints of the receiver's modules, if training resumes.
    Plan(Box<Plan>),
    /// A batch of this shape for the receiver's first module. Body: its activations, margins included.
    /// With `save`, everybody saves the state before it, although the number of steps does not ask for it.
    Batch { step: u64, shape: Shape, labels: Vec<i32>, save: bool },
    /// What the sender has computed for another replica of its group. Body: the values.
    Values,
    /// There are no more batches. With `done`, all modules below do so many steps, which everybody is
    /// to save.
    End { done: Option<u64> },
    /// A step that all modules of the sender have left behind. Bodies: their checkpoints, if they are
    /// due.
    Step { step: u64, taken: Vec<TakenBits> },
    /// The sender will report no more: where the time of its modules went, or what has stopped it.
    Ended(std::result::Result<Vec<ScheduleRow>, Failure>),
    /// All is done.
    Finish,
}

/// What is to be trained, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The configuration as TOML.
    pub config: String,
    pub record: DatasetRecord,
    /// Of all inputs that there may be.
    pub shapes: Vec<Shape>,
    /// Modules of each process.
    pub places: Places,
    /// Steps done before, steps of each module, and of the whole run.
    pub first: u64,
    pub each: u64,
    pub total: u64,
    /// The folder of the run, as process 0 names it.
    pub run: String,
}

/// A [`Taken`]: module, loss, accuracy, gradient norm and staleness; numbers as their bits.
pub(crate) type TakenBits = (usize, u64, u64, Option<u64>, u64);

/// An error on its way to another process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Failure {
    Diverged { module: usize, step: u64, what: String, remedy: String },
    Other { rank: usize, text: String },
}

impl Failure {
    /// The error of process `rank`.
    pub(crate) fn of(rank: usize, e: &Error) -> Self {
        match e {
            Error::Diverged { module, step, what, remedy } => {
                Self::Diverged { module: *module, step: *step, what: what.clone(), remedy: remedy.clone() }
            }
            other => Self::Other { rank, text: other.to_string() },
        }
    }

    /// The step it belongs to; errors that say none come last.
    pub(crate) fn step(&self) -> u64 {
        match self {
            Self::Diverged { step, .. } => *step,
            Self::Other { .. } => u64::MAX,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Diverged { module, step, what, remedy } => Error::Diverged { module, step, what, remedy },
            Self::Other { rank, text } => Error::data(format_args!("rank {rank}"), text, "see its output"),
        }
    }
}

/// A message with what it carries.
pub(crate) struct Message {
    pub head: Head,
    pub bodies: Vec<Body>,
}

/// A message that has arrived.
pub(crate) struct Arrived {
    pub head: Head,
    pub bodies: Vec<Buffer>,
}

/// How a process stores the values that it receives.
pub(crate) struct Input {
    /// Of batches, one for each shape; none where no batches come.
    pub layouts: Vec<Layout>,
    pub pool: Pool<f32>,
}

/// A head as it is sent, with the lengths of the bodies in bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) head: Head,
    pub(super) lengths: Vec<usize>,
}

impl Message {
    pub(crate) fn bare(head: Head) -> Self {
        Self { head, bodies: Vec::new() }
    }

    pub(crate) fn batch(packet: &Packet<f32>, save: bool) -> Self {
        let head = Head::Batch { step: packet.step, shape: packet.x.shape(), labels: packet.labels.to_vec(), save };
        Self { head, bodies: vec![Body::Values(packet.x.clone())] }
    }

    pub(crate) fn step(step: FinishedStep<Vec<u8>>) -> Self {
        let bits = |t: &Taken| {
            let LossReport { loss, accuracy } = t.report.loss;
            let norm = t.report.gradient_norm.map(f64::to_bits);
            (t.report.module, loss.to_bits(), accuracy.to_bits(), norm, t.staleness)
        };
        let head = Head::Step { step: step.step, taken: step.taken.iter().map(bits).collect() };
        Self { head, bodies: step.saved.into_iter().map(Body::Bytes).collect() }
    }

    /// The head in bytes, and the bodies.
    ///
    /// # Errors
    /// Never for heads as they are.
    pub(super) fn seal(self) -> Result<(Vec<u8>, Vec<Body>)> {
        let lengths = self.bodies.iter().map(Body::len).collect();
        let head = serde_json::to_vec(&Envelope { head: self.head, lengths });
        Ok((head.map_err(|e| Error::internal("message", &e).caused_by(e))?, self.bodies))
    }
}

impl Envelope {
    /// # Errors
    /// When these bytes are no head.
    pub(super) fn open(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|e| Error::internal("message", &e).caused_by(e))
    }

    /// What the bodies are received into.
    ///
    /// # Errors
    /// When a batch is not one of `input`.
    pub(super) fn buffers(&self, input: Option<&Input>) -> Result<Vec<Buffer>> {
        match (&self.head, input) {
            (Head::Batch { shape, .. }, Some(Input { layouts, pool })) => {
                let layout = layouts.iter().find(|layout| layout.shape == *shape);
                let Some(layout) = layout.filter(|layout| self.lengths == [layout.len() * size_of::<f32>()]) else {
                    let what = format!("a batch of {:?} bytes, {shape:?}, fits none of {layouts:?}", self.lengths);
                    return Err(Error::internal("message", what));
                };
                Ok(vec![Buffer::Values(Activations::new(*layout, pool))])
            }
            (Head::Values, Some(Input { pool, .. })) => {
                let values = self.lengths.iter().map(|n| exchange::layout(n / size_of::<f32>()));
                Ok(values.map(|layout| Buffer::Values(Activations::new(layout, pool))).collect())
            }
            _ => Ok(self.lengths.iter().map(|n| Buffer::Bytes(vec![0; *n])).collect()),
        }
    }
}

impl Arrived {
    /// The batch for module number `module` (0-based) that the message is, if it is one.
    pub(crate) fn packet(self, plans: &LayoutPlans, module: usize) -> Option<Packet<f32>> {
        match (self.head, self.bodies.into_iter().next()) {
            (Head::Batch { step, labels, .. }, Some(Buffer::Values(x))) => {
                let layouts = Arc::clone(plans.at(module, x.shape()));
                Some(Packet { x: x.detach(), step, labels: labels.into(), layouts })
            }
            _ => None,
        }
    }

    /// The bodies that are bytes.
    pub(crate) fn bytes(bodies: Vec<Buffer>) -> Vec<Vec<u8>> {
        let bytes = |body| if let Buffer::Bytes(bytes) = body { Some(bytes) } else { None };
        bodies.into_iter().filter_map(bytes).collect()
    }
}

/// The reports of a step, from [`Head::Step`].
pub(crate) fn finished_step(step: u64, taken: Vec<TakenBits>, saved: Vec<Vec<u8>>) -> FinishedStep<Vec<u8>> {
    let of = |(module, loss, accuracy, norm, staleness): TakenBits| {
        let loss = LossReport { loss: f64::from_bits(loss), accuracy: f64::from_bits(accuracy) };
        Taken { report: ModuleReport { module, step, loss, gradient_norm: norm.map(f64::from_bits) }, staleness }
    };
    FinishedStep { step, taken: taken.into_iter().map(of).collect(), saved }
}
