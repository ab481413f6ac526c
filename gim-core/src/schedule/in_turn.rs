//! Modules that take turns on one thread: simultaneous and iterative training.

use super::overlapping::step_overlapping;
use super::{ModuleReport, StackSteps};
use crate::kernels::on_pool_thread;
use crate::link::{Packet, Slot};
use crate::module::Mode;
use crate::stack::Stack;
use crate::{Result, Scalar};

/// Runs one batch through the modules, one after the other, in these `modes`. Modules beyond the length
/// of `modes` do not run.
///
/// With [`Mode::Train`] for all, this is a step of *simultaneous* training. With [`Mode::Train`] for the
/// last and [`Mode::Eval`] for those below, it is a step of *iterative* training. With
/// [`Mode::Validate`], it is a batch of validation; `seed` and the packet's step then name its draws.
///
/// # Errors
/// When a module diverges.
///
/// # Panics
/// When some of several modules that [share losses](crate::module::Overlap) train, and not all.
pub fn step_in_turn<F: Scalar>(
    stack: &mut Stack<F>,
    packet: Packet<F>,
    seed: u64,
    modes: &[Mode],
    observe: &mut (dyn FnMut(ModuleReport) + Send),
) -> Result<()> {
    let modules = stack.modules_mut();
    let running = modules.len().min(modes.len());
    let modules = &mut modules[..running];
    if modes.contains(&Mode::Train) && modules.iter_mut().any(|m| m.overlapping().is_some()) {
        assert!(modes.iter().all(|mode| *mode == Mode::Train), "modules that share losses train together: {modes:?}");
        return on_pool_thread(|| step_overlapping(modules, packet, seed, &mut *observe));
    }
    on_pool_thread(|| {
        let steps = StackSteps { seed, below: 0, modes };
        let mut observe = |_, report: Option<ModuleReport>, _| report.into_iter().for_each(&mut *observe);
        steps.take_turns(0, modules, packet, &mut Slot::default(), &mut observe)
    })
}

/// Modes of the modules at a step of iterative training, in which each module in turn trains for
/// `steps_each` steps.
pub fn iterative_modes(step: u64, steps_each: u64, modules: usize) -> Vec<Mode> {
    let learning = ((step / steps_each.max(1)) as usize).min(modules.saturating_sub(1));
    (0..=learning).map(|m| if m == learning { Mode::Train } else { Mode::Eval }).collect()
}
