//! LPL: latent predictive learning (Halvagal & Zenke 2023).

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::LossReport;
use super::pairs::{Compare, PairRule, PairsConfig, TwoViewLoss, center, mean_squares};
use super::vicreg::off_diagonal_covariance;
use crate::{Error, Pool, Result, Scalar};

/// [`Lpl`] by configuration; the weights are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct LplRule {
    /// Weight λ₁ of the Hebbian term, which keeps the variance of every channel up.
    pub hebbian: f64,
    /// Weight λ₂ of decorrelation.
    pub decorrelation: f64,
    /// What is compared: `neighbors`, positions of one item; `views`, the two views of an item that a batch
    /// of `data.views` = 2 holds, each the mean over its positions; `view-positions`, the same positions of
    /// the two views.
    pub compare: Compare,
    /// Pairs in a step, at most.
    pub pairs: usize,
    /// Positions between the two of a pair of neighbors.
    pub distance: usize,
    /// Channels of the projector's layers; by default, as in the paper, the module's own features learn.
    pub projector: Vec<usize>,
}

impl Default for LplRule {
    fn default() -> Self {
        let compare = Compare::Neighbors;
        Self { hebbian: 1.0, decorrelation: 10.0, compare, pairs: 1024, distance: 1, projector: Vec::new() }
    }
}

impl PairRule for LplRule {
    type Loss<F: Scalar> = Lpl;

    fn pairs(&self) -> PairsConfig<'_> {
        let Self { compare, pairs, distance, ref projector, .. } = *self;
        PairsConfig { compare, pairs, distance, projector }
    }

    fn loss<F: Scalar>(&self, channels: usize) -> Result<Lpl> {
        if channels < 2 {
            return Err(Error::config("loss.lpl", "one channel has none to decorrelate", "use 2 channels or more"));
        }
        Ok(Lpl { hebbian: self.hebbian, decorrelation: self.decorrelation })
    }
}

/// ε beside the variance.
const EPSILON: f64 = 1e-4;

/// For pairs of an earlier row `z_{t−d}` and a later one `z_t`, n of them with C channels,
///
/// ```text
/// 1/(2nC) Σ (z_t − SG z_{t−d})²                    predictive
/// − λ₁/C Σ_j log(Var z_{t,j} + ε)                  Hebbian        ε = 1e-4
/// + λ₂/(C² − C) Σ_{j≠k} Cov(z_t)_jk²               decorrelation
/// ```
///
/// (Halvagal & Zenke 2023, Methods, with the decorrelation of their erratum). SG stops the gradient: the
/// earlier row is a constant, and all terms teach the later one. Variances and covariances have n − 1
/// in the denominator.
///
/// Differs from the published code: it stops no gradient in the predictive term, which is the plain mean
/// of squares, and takes the other terms as means over both rows. It pairs two augmented views; here
/// pairs are neighbors unless `compare` says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Lpl {
    /// λ₁.
    pub hebbian: f64,
    /// λ₂.
    pub decorrelation: f64,
}

impl<F: Scalar> TwoViewLoss<F> for Lpl {
    fn describe(&self) -> String {
        format!("LPL, λ₁ = {}, λ₂ = {}", self.hebbian, self.decorrelation)
    }

    fn stops_gradients(&self) -> bool {
        true
    }

    fn value_and_grad(&mut self, views: &[F], channels: usize, dviews: &mut [F], pool: &Pool<F>) -> LossReport {
        let half = views.len() / 2;
        let ((before, z), (dbefore, dz)) = (views.split_at(half), dviews.split_at_mut(half));
        let (n, c) = (half / channels, channels as f64);
        dbefore.fill(F::zero());
        let share = F::of(1.0 / half as f64);
        let mut loss = 0.0;
        for ((before, z), dz) in before.iter().zip(z).zip(dz.iter_mut()) {
            let change = *z - *before;
            loss += (change * change).f64();
            *dz = share * change;
        }
        loss *= 0.5 / half as f64;

        let (mut centered, mut slope) = (pool.take(half), pool.take(channels));
        centered.copy_from_slice(z);
        center(&mut centered, channels, pool);
        mean_squares(&centered, channels, 1, &mut slope);
        for s in slope.iter_mut() {
            let variance = s.f64() + EPSILON;
            loss -= self.hebbian / c * variance.ln();
            // ∂/∂z = −2 (z − mean)/((n − 1)·C·(Var + ε)).
            *s = F::of(-2.0 * self.hebbian / ((n - 1) as f64 * c * variance));
        }
        for (dz, z) in dz.chunks_exact_mut(channels).zip(centered.chunks_exact(channels)) {
            for ((dz, z), slope) in dz.iter_mut().zip(z).zip(slope.iter()) {
                *dz += *slope * *z;
            }
        }
        let covariance = off_diagonal_covariance(&centered, channels, c * (c - 1.0), self.decorrelation, dz, pool);
        loss += self.decorrelation * covariance;
        LossReport { loss, accuracy: f64::NAN }
    }

    fn multiply_adds(&self, n: usize, channels: usize) -> usize {
        2 * n * channels * channels
    }
}
