//! Simultaneous training of modules that share losses. Gradients come back from above here, so this is no
//! [`run_module`](super::run_module).

use std::sync::Arc;

use super::ModuleReport;
use crate::activations::Detached;
use crate::link::Packet;
use crate::loss::{LossReport, StepInfo};
use crate::module::{Mode, Module, Overlapping};
use crate::{Result, Scalar};

fn open<F: Scalar>(module: &mut dyn Module<F>) -> &mut dyn Overlapping<F> {
    module.overlapping().unwrap_or_else(|| panic!("modules that share losses are among others that do not"))
}

/// A training step of all `modules`: forward passes from the first to the last, then backward passes from the
/// last to the first.
///
/// # Errors
/// When a module diverges; no parameter has changed then.
pub(super) fn step_overlapping<F: Scalar>(
    modules: &mut [Box<dyn Module<F>>],
    packet: Packet<F>,
    seed: u64,
    observe: &mut dyn FnMut(ModuleReport),
) -> Result<()> {
    let Packet { x, step, labels, layouts } = packet;
    let mut inputs = vec![x];
    for (i, module) in modules.iter_mut().enumerate() {
        module.forward(&inputs[i], layouts[i + 1], Mode::Train);
        inputs.push(module.output());
    }
    let losses = score(modules, &inputs, seed, step, &labels).inspect_err(|_| {
        for module in modules.iter_mut() {
            module.params().visit(&mut |p| p.release_grad());
            module.release();
        }
    })?;
    let mut errors = Vec::new();
    for (i, module) in modules.iter_mut().enumerate().rev() {
        // Outputs above are not needed any more: memory falls as the pass goes down.
        inputs.truncate(i + 1);
        let open = open(&mut **module);
        errors = open.backward(&inputs[i], errors);
        open.update();
        module.release();
    }
    for (i, loss) in losses.into_iter().enumerate() {
        observe(ModuleReport { module: i + 1, step, loss, gradient_norm: modules[i].gradient_norm() });
    }
    Ok(())
}

/// Losses of all modules.
fn score<F: Scalar>(
    modules: &mut [Box<dyn Module<F>>],
    inputs: &[Detached<F>],
    seed: u64,
    step: u64,
    labels: &Arc<[i32]>,
) -> Result<Vec<LossReport>> {
    let numbered = (1u32..).zip(modules).zip(inputs);
    numbered
        .map(|((module, open_module), x)| open(&mut **open_module).score(x, StepInfo { seed, step, module, labels }))
        .collect()
}
