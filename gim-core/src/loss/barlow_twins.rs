//! Barlow Twins: redundancy reduction between two views (Zbontar, Jing, Misra, LeCun, Deny 2021).

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::LossReport;
use super::pairs::{Compare, PairRule, PairsConfig, TwoViewLoss, center, mean_squares};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::{Buffer, Pool, Result, Scalar};

/// [`BarlowTwins`] by configuration; λ is the published code's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct BarlowTwinsRule {
    /// Weight λ of redundancy.
    pub redundancy: f64,
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

impl Default for BarlowTwinsRule {
    fn default() -> Self {
        Self { redundancy: 0.0051, compare: Compare::Neighbors, pairs: 1024, distance: 1, projector: Vec::new() }
    }
}

impl PairRule for BarlowTwinsRule {
    type Loss<F: Scalar> = BarlowTwins;

    fn pairs(&self) -> PairsConfig<'_> {
        let Self { compare, pairs, distance, ref projector, .. } = *self;
        PairsConfig { compare, pairs, distance, projector }
    }

    fn loss<F: Scalar>(&self, _: usize) -> Result<BarlowTwins> {
        Ok(BarlowTwins { redundancy: self.redundancy })
    }
}

/// ε of the standardization, as in PyTorch's batch normalization.
const EPSILON: f64 = 1e-5;

/// `Σ_i (1 − C_ii)² + λ Σ_{i≠j} C_ij²` with the cross-correlation `C = Âᵀ B̂ / n` of views A and B (n, C),
/// whose columns are standardized (Zbontar 2021, eqs. 1 and 2).
#[derive(Debug, Clone, Copy)]
pub struct BarlowTwins {
    /// λ.
    pub redundancy: f64,
}

/// A view (n, C) with columns of mean 0 and variance 1, and 1/√(variance + ε) of each (C).
pub(super) struct Standardized<F: Scalar> {
    pub(super) rows: Buffer<F>,
    scale: Buffer<F>,
}

impl<F: Scalar> Standardized<F> {
    pub(super) fn new(view: &[F], channels: usize, pool: &Pool<F>) -> Self {
        let (mut rows, mut scale) = (pool.take(view.len()), pool.take(channels));
        rows.copy_from_slice(view);
        center(&mut rows, channels, pool);
        mean_squares(&rows, channels, 0, &mut scale);
        scale.iter_mut().for_each(|s| *s = (*s + F::of(EPSILON)).sqrt().recip());
        for row in rows.chunks_exact_mut(channels) {
            row.iter_mut().zip(scale.iter()).for_each(|(x, s)| *x *= *s);
        }
        Self { rows, scale }
    }

    /// ∂loss/∂standardized → ∂loss/∂view, in place: s·(d − mean d − x̂·mean(d·x̂)).
    pub(super) fn backward(&self, d: &mut [F], pool: &Pool<F>) {
        let channels = self.scale.len();
        let share = F::of(1.0 / (d.len() / channels) as f64);
        let mut along = pool.zeros(channels);
        for (d, x) in d.chunks_exact(channels).zip(self.rows.chunks_exact(channels)) {
            along.iter_mut().zip(d).zip(x).for_each(|((a, d), x)| *a += share * *d * *x);
        }
        center(d, channels, pool);
        for (d, x) in d.chunks_exact_mut(channels).zip(self.rows.chunks_exact(channels)) {
            for j in 0..channels {
                d[j] = self.scale[j] * (d[j] - x[j] * along[j]);
            }
        }
    }
}

impl<F: Scalar> TwoViewLoss<F> for BarlowTwins {
    fn describe(&self) -> String {
        format!("Barlow Twins, λ = {}", self.redundancy)
    }

    fn value_and_grad(&mut self, views: &[F], channels: usize, dviews: &mut [F], pool: &Pool<F>) -> LossReport {
        let half = views.len() / 2;
        let n = half / channels;
        let [a, b] = [&views[..half], &views[half..]].map(|view| Standardized::new(view, channels, pool));
        let [rows_a, rows_b] = [&a, &b].map(|view| Mat::new(&view.rows, n, channels));
        let mut corr = pool.take(channels * channels);
        matmul(rows_a.t(), rows_b, MatMut::new(&mut corr, channels, channels), Store::Overwrite, pool);
        let (share, mut loss) = (1.0 / n as f64, 0.0);
        for (i, row) in corr.chunks_exact_mut(channels).enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                let c = x.f64() * share;
                let (weight, apart) = if i == j { (1.0, c - 1.0) } else { (self.redundancy, c) };
                loss += weight * apart * apart;
                *x = F::of(2.0 * weight * apart * share);
            }
        }
        // ∂/∂Â = B̂ (∂/∂C)ᵀ / n and ∂/∂B̂ = Â ∂/∂C / n.
        let corr = Mat::new(&corr, channels, channels);
        let (da, db) = dviews.split_at_mut(half);
        matmul(rows_b, corr.t(), MatMut::new(da, n, channels), Store::Overwrite, pool);
        matmul(rows_a, corr, MatMut::new(db, n, channels), Store::Overwrite, pool);
        a.backward(da, pool);
        b.backward(db, pool);
        LossReport { loss, accuracy: f64::NAN }
    }

    fn multiply_adds(&self, n: usize, channels: usize) -> usize {
        3 * n * channels * channels
    }
}
