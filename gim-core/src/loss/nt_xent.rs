//! NT-Xent, the loss of SimCLR (Chen, Kornblith, Norouzi, Hinton 2020).

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::LossReport;
use super::pairs::{Compare, PairRule, PairsConfig, TwoViewLoss, sum_squares};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::kernels::vector::{add_scaled, dot, exp_shifted};
use crate::{Pool, Result, Scalar};

/// [`NtXent`] by configuration; the temperature is the paper's for CIFAR-10.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct NtXentRule {
    /// Temperature τ.
    pub temperature: f64,
    /// What is compared: `neighbors`, positions of one item; `views`, the two views of an item that a batch
    /// of `data.views` = 2 holds, each the mean over its positions; `view-positions`, the same positions of
    /// the two views.
    pub compare: Compare,
    /// Pairs in a step, at most. Memory grows with its square.
    pub pairs: usize,
    /// Positions between the two of a pair of neighbors.
    pub distance: usize,
    /// Channels of the projector's layers. The paper's is `[2048, 128]` on 2048 channels; by default the
    /// module's own features are compared.
    pub projector: Vec<usize>,
}

impl Default for NtXentRule {
    fn default() -> Self {
        Self { temperature: 0.5, compare: Compare::Neighbors, pairs: 256, distance: 1, projector: Vec::new() }
    }
}

impl PairRule for NtXentRule {
    type Loss<F: Scalar> = NtXent;

    fn pairs(&self) -> PairsConfig<'_> {
        let Self { compare, pairs, distance, ref projector, .. } = *self;
        PairsConfig { compare, pairs, distance, projector }
    }

    fn loss<F: Scalar>(&self, _: usize) -> Result<NtXent> {
        Ok(NtXent { temperature: self.temperature })
    }
}

/// Added to squared norms, so that features of length 0 have a direction.
const EPSILON: f64 = 1e-12;

/// The mean over all 2n rows i of `−log( exp(s_ij/τ) / Σ_{k≠i} exp(s_ik/τ) )`, where j is the other view
/// of i and s the cosine similarity (Chen 2020, eq. 1).
///
/// The other pairs of a step are the negatives. Some may come from the same item.
#[derive(Debug, Clone, Copy)]
pub struct NtXent {
    /// τ.
    pub temperature: f64,
}

impl<F: Scalar> TwoViewLoss<F> for NtXent {
    fn describe(&self) -> String {
        format!("NT-Xent, τ = {}", self.temperature)
    }

    fn value_and_grad(&mut self, views: &[F], channels: usize, dviews: &mut [F], pool: &Pool<F>) -> LossReport {
        let rows = views.len() / channels;
        let mut unit = pool.take(views.len());
        let mut inverse = pool.take(rows);
        for ((unit, z), inverse) in unit.chunks_exact_mut(channels).zip(views.chunks_exact(channels)).zip(&mut *inverse)
        {
            *inverse = F::of((sum_squares(z) + EPSILON).sqrt().recip());
            unit.iter_mut().zip(z).for_each(|(u, z)| *u = *z * *inverse);
        }
        // Similarities (2n, 2n), which become the gradient by each.
        let mut d = pool.take(rows * rows);
        let u = Mat::new(&unit, rows, channels);
        matmul(u, u.t(), MatMut::new(&mut d, rows, rows), Store::Overwrite, pool);
        let (cold, share) = (F::of(1.0 / self.temperature), F::of(1.0 / (rows as f64 * self.temperature)));
        let (mut loss, mut won) = (0.0, 0usize);
        for (i, row) in d.chunks_exact_mut(rows).enumerate() {
            let other = (i + rows / 2) % rows;
            row.iter_mut().for_each(|s| *s *= cold);
            row[i] = F::neg_infinity();
            let positive = row[other];
            won += usize::from(row.iter().enumerate().all(|(j, s)| j == other || *s < positive));
            let (max, sum) = exp_shifted(row);
            loss += (max - positive + sum.ln()).f64();
            let unit = share / sum;
            row.iter_mut().for_each(|p| *p *= unit);
            row[other] -= share;
        }
        let d = Mat::new(&d, rows, rows);
        matmul(d, u, MatMut::new(dviews, rows, channels), Store::Overwrite, pool);
        matmul(d.t(), u, MatMut::new(dviews, rows, channels), Store::Add, pool);
        // Through the norm: ∂/∂z = (d − u·(u·d))/|z|.
        for ((d, u), inverse) in dviews.chunks_exact_mut(channels).zip(unit.chunks_exact(channels)).zip(&*inverse) {
            let along = dot(d, u);
            add_scaled(d, -along, u);
            d.iter_mut().for_each(|d| *d *= *inverse);
        }
        LossReport { loss: loss / rows as f64, accuracy: won as f64 / rows as f64 }
    }

    fn multiply_adds(&self, n: usize, channels: usize) -> usize {
        3 * (2 * n) * (2 * n) * channels
    }
}
