//! Stochastic gradient descent with momentum.

use super::{Optimizer, RateSchedule, ensure};
use crate::kernels::vector::add_scaled;
use crate::param::Params;
use crate::{Error, Result, Scalar};

/// Settings of [`Sgd`].
#[derive(Debug, Clone, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last update that is kept; 0 for plain descent.
    pub momentum: f64,
    /// Decoupled weight decay λ (Loshchilov & Hutter 2019, algorithm 1), multiplied by the learning rate.
    pub weight_decay: f64,
    /// The course of the learning rate.
    pub rate: RateSchedule,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { lr: 0.01, momentum: 0.9, weight_decay: 0.0, rate: RateSchedule::default() }
    }
}

/// `m = μ m + g; w ← (1 − α λ) w − α m`.
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
        let SgdConfig { lr, momentum, weight_decay, .. } = config;
        let decays = (0.0..=1.0).contains(&(weight_decay * lr));
        if !(lr > 0.0 && lr.is_finite() && (0.0..1.0).contains(&momentum) && decays) {
            return Err(Error::config(
                "optimizer",
                format_args!("{config:?} is out of range"),
                "lr > 0, 0 ≤ momentum < 1, 0 ≤ lr · weight_decay ≤ 1",
            ));
        }
        Ok(Self { config, steps: 0, momentum: Vec::new() })
    }
}

impl<F: Scalar> Optimizer<F> for Sgd<F> {
    fn update(&mut self, params: &mut dyn Params<F>) {
        let SgdConfig { lr, momentum, weight_decay, .. } = self.config;
        let lr = lr * self.config.rate.share(self.steps);
        let (lr, mu, keep) = (F::of(lr), F::of(momentum), F::of(1.0 - lr * weight_decay));
        self.steps += 1;
        let state = &mut self.momentum;
        let mut at = 0;
        params.visit(&mut |p| {
            let (value, grad) = p.value_and_grad();
            if !grad.is_empty() {
                let m = ensure(state, at, value.len());
                m.iter_mut().zip(grad).for_each(|(m, g)| *m = mu * *m + *g);
                if weight_decay > 0.0 {
                    value.iter_mut().for_each(|w| *w *= keep);
                }
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
