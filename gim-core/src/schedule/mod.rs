//! How modules take turns. All schedules are the same loop over links; only the links and the modes differ.
//!
//! A module's training step is: receive, forward, send, train. Nothing ever comes back from above, so
//! sending before training is exact, and every schedule that gives every batch to every module in order
//! gives the same bits.

mod gather;
mod groups;
mod in_turn;
mod newest;
mod on_threads;
mod overlapping;
mod pipelined;
mod recorded;
mod timeline;

use std::sync::Arc;

pub use gather::{FinishedStep, Taken};
pub use groups::{Group, balance, group_by};
pub use in_turn::{iterative_modes, step_in_turn};
pub use newest::{Order, run_async};
pub use on_threads::{NextBatch, OnThreads, Part, SaveState};
pub use pipelined::{run_pipelined, run_pipelined_part};
pub use recorded::{record_batch, step_from_record};
pub use timeline::{ModuleTimeline, Span};

use crate::link::{Packet, Sink, Slot, Source};
use crate::loss::{LossReport, StepInfo};
use crate::module::{Mode, Module};
use crate::{Result, Scalar};
use timeline::{Timed, Watch};

/// What a module reports of a training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModuleReport {
    /// One-based module number.
    pub module: usize,
    /// Training step of the run, 0-based.
    pub step: u64,
    /// Its loss.
    pub loss: LossReport,
    /// [`Module::gradient_norm`] of the step.
    pub gradient_norm: Option<f64>,
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
    while let Some(Packet { x, step, labels, layouts }) = source.recv() {
        module.forward(&x, layouts[work.module], work.mode);
        sink.send(Packet { x: module.output(), step, labels: Arc::clone(&labels), layouts });
        let info = StepInfo { seed: work.seed, step, module: work.module as u32, labels: &labels };
        let loss = match work.mode {
            Mode::Train => Some(module.train(&x, info)?),
            Mode::Validate => Some(module.validate(info)),
            Mode::Eval | Mode::Inspect => None,
        };
        if let Some(loss) = loss {
            observe(ModuleReport { module: work.module, step, loss, gradient_norm: module.gradient_norm() });
        }
        module.release();
    }
    Ok(())
}

/// What the steps of all modules of a stack have in common.
#[derive(Debug, Clone, Copy)]
struct StackSteps<'a> {
    seed: u64,
    /// Modules of the network below the first one.
    below: usize,
    /// What each module is to do. Modules beyond these do not run.
    modes: &'a [Mode],
}

impl StackSteps<'_> {
    /// Runs one batch through `modules`, one after the other; the last one hands its output to
    /// `sink`. The first is number `first` (0-based) of its stack. `observe` is given what each
    /// module reports, and its times.
    fn take_turns<F: Scalar>(
        self,
        first: usize,
        modules: &mut [Box<dyn Module<F>>],
        packet: Packet<F>,
        sink: &mut dyn Sink<F>,
        observe: &mut dyn FnMut(usize, Option<ModuleReport>, Span),
    ) -> Result<()> {
        let step = packet.step;
        let mut source = Slot::new(Some(packet));
        let last = modules.len().saturating_sub(1);
        for (i, module) in modules.iter_mut().enumerate() {
            let mut next = Slot::default();
            let index = first + i;
            let work = ModuleStep { seed: self.seed, module: self.below + index + 1, mode: self.modes[index] };
            let watch = Watch::start();
            let mut report = None;
            let to: &mut dyn Sink<F> = if i == last { &mut *sink } else { &mut next };
            let (mut from, mut to) = (Timed::new(&mut source, &watch), Timed::new(to, &watch));
            run_module(&mut **module, &mut from, &mut to, work, &mut |r| report = Some(r))?;
            observe(index, report, watch.stop(step));
            source = next;
        }
        Ok(())
    }
}
