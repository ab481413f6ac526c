//! Stages of iterative training from a record: the modules below run once over the batches to come,
//! and what they give is stored. Then the next module trains from the store.

use std::sync::Arc;

use super::{ModuleReport, ModuleStep, StackSteps, run_module};
use crate::data::store::{StoreReader, StoreWriter};
use crate::kernels::on_pool_thread;
use crate::link::{Packet, Slot, Source};
use crate::module::{Mode, Module};
use crate::stack::{LayoutPlans, Stack};
use crate::{Error, Result};

/// Runs the first `below` modules on a batch, without training them, and hands what the last one of
/// them gives to `record`, with the batch's labels.
///
/// # Errors
/// When the record could not be written.
pub fn record_batch(
    stack: &mut Stack<f32>,
    below: usize,
    packet: Packet<f32>,
    seed: u64,
    record: &mut StoreWriter,
) -> Result<()> {
    let modes = vec![Mode::Eval; below];
    let modules = &mut stack.modules_mut()[..below];
    on_pool_thread(|| {
        let steps = StackSteps { seed, below: 0, modes: &modes };
        steps.take_turns(0, modules, packet, record, &mut |_, _, _| {})
    })?;
    record.check()
}

/// Takes step `step` of the run with a module alone, on the next batch of its record.
///
/// # Errors
/// When the module diverges, or the record is damaged.
pub fn step_from_record(
    module: &mut dyn Module<f32>,
    record: &mut StoreReader,
    step: u64,
    plans: &LayoutPlans,
    work: ModuleStep,
    observe: &mut (dyn FnMut(ModuleReport) + Send),
) -> Result<()> {
    let mut source = NextBatch { record, plans, module: work.module - 1, step: Some(step), failed: None };
    on_pool_thread(|| run_module(module, &mut source, &mut Slot::default(), work, observe))?;
    source.failed.map_or(Ok(()), Err)
}

/// The next batch of a record, as that of a step.
struct NextBatch<'a> {
    record: &'a mut StoreReader,
    plans: &'a LayoutPlans,
    /// Number of the module (0-based).
    module: usize,
    step: Option<u64>,
    failed: Option<Error>,
}

impl Source<f32> for NextBatch<'_> {
    fn recv(&mut self) -> Option<Packet<f32>> {
        let step = self.step.take()?;
        match self.record.next_batch() {
            Ok((x, labels)) => {
                let layouts = Arc::clone(self.plans.at(self.module, x.shape()));
                Some(Packet { x, step, labels, layouts })
            }
            Err(e) => {
                self.failed = Some(e);
                None
            }
        }
    }
}
