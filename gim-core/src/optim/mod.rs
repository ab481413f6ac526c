//! Optimisers: one per module, since modules share nothing.

mod adam;
mod sgd;

pub use adam::{Adam, AdamConfig};
pub use sgd::{Sgd, SgdConfig};

use crate::Scalar;
use crate::param::Params;

/// Numbers handed to a thread at once when parameters are updated.
const CHUNK: usize = 1 << 14;

/// An update rule with the state it keeps between steps.
pub trait Optimizer<F: Scalar>: Send {
    /// A short description for reports.
    fn describe(&self) -> String;

    /// One step on the gradients of `params`. Parameters without an attached gradient are left alone.
    fn update(&mut self, params: &mut dyn Params<F>);

    /// Steps taken so far.
    fn steps(&self) -> u64;

    /// Number of moments kept per parameter, with their names.
    fn moments(&self) -> &'static [&'static str];

    /// Calls `f(moment, parameter index, values)` on all state, in the order of [`Params::visit`]; `sizes` are the
    /// parameters' sizes, for which missing state is created as zeros.
    fn visit_state(&mut self, sizes: &[usize], f: &mut dyn FnMut(usize, usize, &mut Vec<F>));

    /// Sets the number of steps taken, when a checkpoint is loaded.
    fn set_steps(&mut self, steps: u64);
}

/// State of the shape of the parameters, made at the first use.
fn ensure<F: Scalar>(state: &mut Vec<Vec<F>>, at: usize, len: usize) -> &mut Vec<F> {
    if state.len() <= at {
        state.resize_with(at + 1, Vec::new);
    }
    let s = &mut state[at];
    if s.len() != len {
        *s = vec![F::zero(); len];
    }
    s
}
