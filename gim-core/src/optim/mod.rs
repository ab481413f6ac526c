//! Optimizers: one per module, since modules share nothing.

mod adam;
mod rate;
mod sgd;

pub use adam::{Adam, AdamConfig};
pub use rate::{Decay, RateSchedule};
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
    /// Decoupled weight decay, as in AdamW: each step takes this share, times the learning rate, of every
    /// weight and bias.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises linearly from near zero; 0 for none.
    pub warmup_steps: u64,
    /// How the learning rate falls after them: `none`, `cosine` (to zero), or `milestones` (to a tenth at
    /// each).
    pub decay: Decay,
    /// The milestones, as shares of a module's training steps.
    pub milestones: Vec<f64>,
    /// Training steps of a module, over which the learning rate decays. The run sets it; with 0, nothing
    /// decays.
    #[serde(skip)]
    pub decay_steps: u64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        let AdamConfig { lr, beta1, beta2, eps, weight_decay, .. } = AdamConfig::default();
        Self {
            kind: OptimizerKind::Adam,
            lr,
            beta1,
            beta2,
            eps,
            momentum: SgdConfig::default().momentum,
            weight_decay,
            warmup_steps: 0,
            decay: Decay::None,
            milestones: vec![0.6, 0.8],
            decay_steps: 0,
        }
    }
}

impl OptimizerConfig {
    /// An optimizer that has not taken a step.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn build<F: Scalar>(&self) -> Result<Box<dyn Optimizer<F>>> {
        let Self { lr, beta1, beta2, eps, momentum, weight_decay, .. } = *self;
        let rate = RateSchedule {
            warmup: self.warmup_steps,
            decay: self.decay,
            milestones: self.milestones.clone(),
            steps: self.decay_steps,
        };
        match self.kind {
            OptimizerKind::Adam => Ok(Box::new(Adam::new(AdamConfig { lr, beta1, beta2, eps, weight_decay, rate })?)),
            OptimizerKind::Sgd => Ok(Box::new(Sgd::new(SgdConfig { lr, momentum, weight_decay, rate })?)),
        }
    }
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
