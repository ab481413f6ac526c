//! Optimizers: one per module, since modules share nothing.

mod adam;
mod sgd;

pub use adam::{Adam, AdamConfig};
pub use sgd::{Sgd, SgdConfig};

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use crate::param::Params;
use crate::{Result, Scalar};

/// Values handed to a thread at once when parameters are updated.
const CHUNK: usize = 1 << 14;

/// An update rule with the state it keeps between training steps.
pub trait Optimizer<F: Scalar>: Send {
    /// Updates `params` by their gradients. Parameters without an attached gradient stay as they are.
    fn update(&mut self, params: &mut dyn Params<F>);

    /// Steps taken so far.
    fn steps(&self) -> u64;

    /// Names of the moments kept per parameter.
    fn moments(&self) -> &'static [&'static str];

    /// Calls `f(moment, parameter index, values)` on all state, in the order of [`Params::visit`]; `sizes` are the
    /// parameters' sizes, for which missing state is created as zeros.
    fn visit_state(&mut self, sizes: &[usize], f: &mut dyn FnMut(usize, usize, &mut Vec<F>));

    /// Sets the number of steps taken, when a checkpoint is loaded.
    fn set_steps(&mut self, steps: u64);
}

/// How the step size changes during training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// It is constant, as in the paper.
    #[default]
    None,
    /// It falls to zero along half a cosine (Loshchilov & Hutter 2017, equation 5, one cycle).
    Cosine,
}

/// The update rules that a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// [`Adam`], the paper's.
    #[default]
    Adam,
    /// [`Sgd`].
    Sgd,
}

/// Which optimizer every module gets, as configuration; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// `adam` or `sgd`.
    pub kind: OptimizerKind,
    /// Learning rate.
    pub lr: f64,
    /// Adam's β₁.
    pub beta1: f64,
    /// Adam's β₂.
    pub beta2: f64,
    /// Adam's ε.
    pub eps: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// `none` or `cosine`.
    pub decay: Decay,
    /// Training steps of a module, over which the step size decays. The run sets it; with 0, nothing
    /// decays.
    #[serde(skip)]
    pub decay_steps: u64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        let AdamConfig { lr, beta1, beta2, eps, decay_steps } = AdamConfig::default();
        Self {
            kind: OptimizerKind::Adam,
            lr,
            beta1,
            beta2,
            eps,
            momentum: SgdConfig::default().momentum,
            decay: Decay::None,
            decay_steps,
        }
    }
}

impl OptimizerConfig {
    /// An optimizer that has not taken a step.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn build<F: Scalar>(&self) -> Result<Box<dyn Optimizer<F>>> {
        let Self { lr, beta1, beta2, eps, momentum, .. } = *self;
        let decay_steps = if self.decay == Decay::Cosine { self.decay_steps } else { 0 };
        match self.kind {
            OptimizerKind::Adam => Ok(Box::new(Adam::new(AdamConfig { lr, beta1, beta2, eps, decay_steps })?)),
            OptimizerKind::Sgd => Ok(Box::new(Sgd::new(SgdConfig { lr, momentum, decay_steps })?)),
        }
    }
}

/// Share of the step size that is left after `taken` of `over` steps of a cosine; 1 when `over` is 0.
fn remaining(taken: u64, over: u64) -> f64 {
    if over == 0 {
        return 1.0;
    }
    let done = (taken as f64 / over as f64).min(1.0);
    0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

/// State number `at` with `len` values, allocated as zeros at the first use.
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
