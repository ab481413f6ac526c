//! How modules take turns. All schedules are the same loop over links; only the links and the modes differ.
//!
//! A module's training step is: receive, forward, send, train. Nothing ever comes back from above, so
//! sending before training is exact, and every schedule that gives every batch to every module in order
//! gives the same bits.

mod in_turn;

use std::sync::Arc;

pub use in_turn::{iterative_modes, step_in_turn};

use crate::activations::Layout;
use crate::link::{Packet, Sink, Source};
use crate::loss::{LossReport, StepInfo};
use crate::module::{Mode, Module};
use crate::{Result, Scalar};

/// What a module reports of a training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModuleReport {
    /// One-based module number.
    pub module: usize,
    /// Training step of the run, 0-based.
    pub step: u64,
    /// Its loss.
    pub loss: LossReport,
}

/// What all training steps of a module have in common.
#[derive(Debug, Clone, Copy)]
pub struct ModuleStep {
    /// Seed of the run.
    pub seed: u64,
    /// One-based number of the module.
    pub module: usize,
    /// What it is to do.
    pub mode: Mode,
    /// How its output is stored.
    pub output: Layout,
}

/// Runs a module on all batches of `source`: the one loop behind every schedule.
///
/// # Errors
/// When the module diverges; the batches after that are not received.
pub fn run_module<F: Scalar>(
    module: &mut dyn Module<F>,
    source: &mut dyn Source<F>,
    sink: &mut dyn Sink<F>,
    work: ModuleStep,
    observe: &mut dyn FnMut(ModuleReport),
) -> Result<()> {
    while let Some(Packet { x, step, labels }) = source.recv() {
        module.forward(&x, work.output, work.mode);
        sink.send(Packet { x: module.output(), step, labels: Arc::clone(&labels) });
        if work.mode == Mode::Train {
            let info = StepInfo { seed: work.seed, step, module: work.module as u32, labels: &labels };
            let loss = module.train(&x, info)?;
            observe(ModuleReport { module: work.module, step, loss });
        }
        module.release();
    }
    Ok(())
}
