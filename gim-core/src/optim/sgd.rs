//! Stochastic gradient descent with momentum.

use super::{Optimizer, ensure, remaining};
use crate::kernels::vector::add_scaled;
use crate::param::Params;
use crate::{Error, Result, Scalar};

/// Settings of [`Sgd`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last update that is kept; 0 for plain descent.
    pub momentum: f64,
    /// Steps over which the step size falls to zero along half a cosine; 0 keeps it.
    pub decay_steps: u64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { lr: 0.01, momentum: 0.9, decay_steps: 0 }
    }
}

/// `m = μ m + g; w −= α m`.
#[derive(Debug)]
pub struct Sgd<F> {
    config: SgdConfig,
    steps: u64,
    momentum: Vec<Vec<F>>,
}

impl<F: Scalar> Sgd<F> {
    /// An optimizer that has not taken a step.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn new(config: SgdConfig) -> Result<Self> {
        if !(config.lr > 0.0 && config.lr.is_finite() && (0.0..1.0).contains(&config.momentum)) {
            return Err(Error::config(
                "optimizer",
                format_args!("{config:?} is out of range"),
                "lr > 0, 0 ≤ momentum < 1",
            ));
        }
        Ok(Self { config, steps: 0, momentum: Vec::new() })
    }
}

impl<F: Scalar> Optimizer<F> for Sgd<F> {
    fn update(&mut self, params: &mut dyn Params<F>) {
        let SgdConfig { lr, momentum, decay_steps } = self.config;
        let (lr, mu) = (F::of(lr * remaining(self.steps, decay_steps)), F::of(momentum));
        self.steps += 1;
        let state = &mut self.momentum;
        let mut at = 0;
        params.visit(&mut |p| {
            let (value, grad) = p.value_and_grad();
            if !grad.is_empty() {
                let m = ensure(state, at, value.len());
                m.iter_mut().zip(grad).for_each(|(m, g)| *m = mu * *m + *g);
                add_scaled(value, -lr, m);
            }
            at += 1;
        });
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn moments(&self) -> &'static [&'static str] {
        &["momentum"]
    }

    fn visit_state(&mut self, sizes: &[usize], f: &mut dyn FnMut(usize, usize, &mut Vec<F>)) {
        for (i, len) in sizes.iter().enumerate() {
            f(0, i, ensure(&mut self.momentum, i, *len));
        }
    }

    fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }
}
