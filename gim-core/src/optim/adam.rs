//! Adam (Kingma & Ba 2015, algorithm 1), and AdamW (Loshchilov & Hutter 2019).

use rayon::prelude::*;

use super::{CHUNK, Optimizer, RateSchedule, ensure};
use crate::kernels::profile::Tasks;
use crate::param::Params;
use crate::{Error, Result, Scalar};

/// Settings of [`Adam`]; the default is the paper's.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamConfig {
    /// Learning rate α.
    pub lr: f64,
    /// Decay β₁ of the mean gradient.
    pub beta1: f64,
    /// Decay β₂ of the mean squared gradient.
    pub beta2: f64,
    /// ε, added after the square root.
    pub eps: f64,
    /// λ of AdamW; 0 for Adam.
    pub weight_decay: f64,
    /// The course of α.
    pub rate: RateSchedule,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { lr: 2e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, rate: RateSchedule::default() }
    }
}

/// `w ← (1 − α λ) w − α · m̂ / (√v̂ + ε)` with bias-corrected moments m̂, v̂; gradient, moments and weights are read once.
///
/// Differs from AdamW's algorithm 2 as PyTorch does: λ is multiplied by the learning rate, not by its share alone.
#[derive(Debug)]
pub struct Adam<F> {
    config: AdamConfig,
    steps: u64,
    mean: Vec<Vec<F>>,
    square: Vec<Vec<F>>,
}

impl<F: Scalar> Adam<F> {
    /// An optimizer that has not taken a step.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn new(config: AdamConfig) -> Result<Self> {
        let AdamConfig { lr, beta1, beta2, eps, weight_decay, .. } = config;
        for (key, value, ok) in [
            ("optimizer.lr", lr, lr > 0.0 && lr.is_finite()),
            ("optimizer.beta1", beta1, (0.0..1.0).contains(&beta1)),
            ("optimizer.beta2", beta2, (0.0..1.0).contains(&beta2)),
            ("optimizer.eps", eps, eps > 0.0 && eps.is_finite()),
            ("optimizer.weight_decay", weight_decay, (0.0..=1.0).contains(&(weight_decay * lr))),
        ] {
            if !ok {
                return Err(Error::config(
                    key,
                    format_args!("{value} is out of range"),
                    "rates and ε > 0, 0 ≤ β < 1, 0 ≤ lr · weight_decay ≤ 1",
                ));
            }
        }
        Ok(Self { config, steps: 0, mean: Vec::new(), square: Vec::new() })
    }
}

impl<F: Scalar> Optimizer<F> for Adam<F> {
    fn update(&mut self, params: &mut dyn Params<F>) {
        let AdamConfig { lr, beta1, beta2, eps, weight_decay, .. } = self.config;
        let lr = lr * self.config.rate.share(self.steps);
        let keep = F::of(1.0 - lr * weight_decay);
        self.steps += 1;
        let t = i32::try_from(self.steps).unwrap_or(i32::MAX);
        // α m̂ / (√v̂ + ε) = (α/(1−β₁ᵗ)) m / (√v/√(1−β₂ᵗ) + ε).
        let rate = F::of(lr / (1.0 - beta1.powi(t)));
        let root = F::of(1.0 / (1.0 - beta2.powi(t)).sqrt());
        let (b1, b2, eps) = (F::of(beta1), F::of(beta2), F::of(eps));
        let (r1, r2) = (F::of(1.0 - beta1), F::of(1.0 - beta2));
        let (mean, square) = (&mut self.mean, &mut self.square);
        let mut at = 0;
        params.visit(&mut |p| {
            let (value, grad) = p.value_and_grad();
            if !grad.is_empty() {
                let m = ensure(mean, at, value.len());
                let v = ensure(square, at, value.len());
                (value.par_chunks_mut(CHUNK), grad.par_chunks(CHUNK), m.par_chunks_mut(CHUNK), v.par_chunks_mut(CHUNK))
                    .into_par_iter()
                    .for_each_task("Adam", |(w, g, m, v)| {
                        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                            *m = b1 * *m + r1 * *g;
                            *v = b2 * *v + r2 * *g * *g;
                            *w = keep * *w - rate * *m / (v.sqrt() * root + eps);
                        }
                    });
            }
            at += 1;
        });
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn moments(&self) -> &'static [&'static str] {
        &["mean", "square"]
    }

    fn visit_state(&mut self, sizes: &[usize], f: &mut dyn FnMut(usize, usize, &mut Vec<F>)) {
        for (i, len) in sizes.iter().enumerate() {
            f(0, i, ensure(&mut self.mean, i, *len));
            f(1, i, ensure(&mut self.square, i, *len));
        }
    }

    fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }
}
