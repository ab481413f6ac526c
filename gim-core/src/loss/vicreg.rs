//! VICReg: variance, invariance, covariance (Bardes, Ponce, LeCun 2022).

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::LossReport;
use super::pairs::{Compare, PairRule, PairsConfig, TwoViewLoss, apart, center, mean_squares};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::{Pool, Result, Scalar};

/// [`VicReg`] by configuration; the weights are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct VicRegRule {
    /// Weight λ of invariance.
    pub invariance: f64,
    /// Weight μ of variance.
    pub variance: f64,
    /// Weight ν of covariance.
    pub covariance: f64,
    /// What is compared: `neighbors`, positions of one item; `views`, the two views of an item that a batch
    /// of `data.views` = 2 holds, each the mean over its positions; `view-positions`, the same positions of
    /// the two views.
    pub compare: Compare,
    /// Pairs in a step, at most.
    pub pairs: usize,
    /// Positions between the two of a pair of neighbors.
    pub distance: usize,
    /// Channels of the projector's layers. The paper's is `[8192, 8192, 8192]`, with batch
    /// normalization; by default the module's own features are compared.
    pub projector: Vec<usize>,
}

impl Default for VicRegRule {
    fn default() -> Self {
        Self {
            invariance: 25.0,
            variance: 25.0,
            covariance: 1.0,
            compare: Compare::Neighbors,
            pairs: 1024,
            distance: 1,
            projector: Vec::new(),
        }
    }
}

impl PairRule for VicRegRule {
    type Loss<F: Scalar> = VicReg;

    fn pairs(&self) -> PairsConfig<'_> {
        let Self { compare, pairs, distance, ref projector, .. } = *self;
        PairsConfig { compare, pairs, distance, projector }
    }

    fn loss<F: Scalar>(&self, _: usize) -> Result<VicReg> {
        Ok(VicReg { invariance: self.invariance, variance: self.variance, covariance: self.covariance })
    }
}

/// ε under the root of the standard deviation.
const EPSILON: f64 = 1e-4;
/// Standard deviation γ that every channel should have at least.
const GAMMA: f64 = 1.0;

/// λ·s(Z, Z′) + μ·[v(Z) + v(Z′)]/2 + ν·[c(Z) + c(Z′)] on views Z and Z′ (n, C), with
///
/// ```text
/// s = 1/(nC) Σ_ij (Z_ij − Z′_ij)²
/// v = 1/C Σ_j max(0, γ − √(Var Z_j + ε))          γ = 1, ε = 1e-4
/// c = 1/C Σ_{i≠j} Cov(Z)_ij²
/// ```
///
/// (Bardes, Ponce, LeCun 2022, eqs. 1–6). The means in s and v are those of the published code; the
/// paper's eq. 5 and 6 sum over channels in s and over views in v.
#[derive(Debug, Clone, Copy)]
pub struct VicReg {
    /// λ.
    pub invariance: f64,
    /// μ.
    pub variance: f64,
    /// ν.
    pub covariance: f64,
}

/// Σ_{i≠j} Cov(Z)_ij² / `over` of the centered rows z (n, C), with n − 1 in the covariances. `weight` times
/// its gradient is added to `dz`.
pub(super) fn off_diagonal_covariance<F: Scalar>(
    z: &[F],
    channels: usize,
    over: f64,
    weight: f64,
    dz: &mut [F],
    pool: &Pool<F>,
) -> f64 {
    let n = z.len() / channels;
    let freedom = (n - 1) as f64;
    let mut cov = pool.take(channels * channels);
    let rows = Mat::new(z, n, channels);
    matmul(rows.t(), rows, MatMut::new(&mut cov, channels, channels), Store::Overwrite, pool);
    let mut covariance = 0.0;
    for (i, row) in cov.chunks_exact_mut(channels).enumerate() {
        row[i] = F::zero();
        covariance += row.iter().map(|x| x.f64() * x.f64()).sum::<f64>() / (freedom * freedom * over);
        // ∂/∂Z = 4/((n−1)·over) · Z · Cov without its diagonal.
        let scale = F::of(4.0 * weight / (freedom * freedom * over));
        row.iter_mut().for_each(|x| *x *= scale);
    }
    let cov = Mat::new(&cov, channels, channels);
    matmul(rows, cov, MatMut::new(dz, n, channels), Store::Add, pool);
    covariance
}

impl VicReg {
    /// Variance and covariance of one view, whose gradients are added to `dz`.
    fn regularize<F: Scalar>(self, z: &[F], channels: usize, dz: &mut [F], pool: &Pool<F>) -> f64 {
        let n = z.len() / channels;
        let (freedom, c) = ((n - 1) as f64, channels as f64);
        let mut centered = pool.take(z.len());
        centered.copy_from_slice(z);
        center(&mut centered, channels, pool);
        let mut slope = pool.take(channels);
        mean_squares(&centered, channels, 1, &mut slope);
        let mut variance = 0.0;
        for s in slope.iter_mut() {
            let deviation = (s.f64() + EPSILON).sqrt();
            let missing = GAMMA - deviation;
            // Not `max`, which would hide NaN.
            variance += if missing < 0.0 { 0.0 } else { missing / c };
            let active = if missing > 0.0 { 1.0 } else { 0.0 };
            // ∂v/∂Z_ij = −(Z_ij − mean)/((n−1)·C·√(Var + ε)).
            *s = F::of(-active * 0.5 * self.variance / (freedom * c * deviation));
        }
        for (dz, z) in dz.chunks_exact_mut(channels).zip(centered.chunks_exact(channels)) {
            for ((dz, z), slope) in dz.iter_mut().zip(z).zip(slope.iter()) {
                *dz += *slope * *z;
            }
        }
        let covariance = off_diagonal_covariance(&centered, channels, c, self.covariance, dz, pool);
        0.5 * self.variance * variance + self.covariance * covariance
    }
}

impl<F: Scalar> TwoViewLoss<F> for VicReg {
    fn describe(&self) -> String {
        format!("VICReg, λ = {}, μ = {}, ν = {}", self.invariance, self.variance, self.covariance)
    }

    fn value_and_grad(&mut self, views: &[F], channels: usize, dviews: &mut [F], pool: &Pool<F>) -> LossReport {
        let invariance = apart(views, dviews, self.invariance);
        let (a, b) = views.split_at(views.len() / 2);
        let (da, db) = dviews.split_at_mut(views.len() / 2);
        let regularized = self.regularize(a, channels, da, pool) + self.regularize(b, channels, db, pool);
        LossReport { loss: invariance + regularized, accuracy: f64::NAN }
    }

    fn multiply_adds(&self, n: usize, channels: usize) -> usize {
        4 * n * channels * channels
    }
}
