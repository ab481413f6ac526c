//! Watches for modules whose features collapse.

use gim_core::collapse::LEAST_SPREAD;
use gim_core::stack::Stack;

/// The modules whose features have collapsed, each with what is said of it.
#[derive(Debug, Default)]
pub(super) struct Collapsed(Vec<(usize, String)>);

impl Collapsed {
    /// Looks at the last training step of every module, after `done` steps of the run.
    pub(super) fn look(&mut self, stack: &Stack<f32>, done: u64) {
        for (m, module) in (1..).zip(stack.modules()) {
            let Some(spread) = module.spread().filter(|s| *s < LEAST_SPREAD) else { continue };
            if self.0.iter().all(|c| c.0 != m) {
                let loss = module.describe().loss;
                let note = format!(
                    "module {m}: its features have collapsed by step {done}: their variance is {spread:.1e} of their \
                     mean square (limit {LEAST_SPREAD:.0e}); {loss} keeps them apart too weakly here"
                );
                self.0.push((m, note));
            }
        }
    }

    /// What is said, in the order in which modules collapsed.
    pub(super) fn notes(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|c| &c.1)
    }
}
