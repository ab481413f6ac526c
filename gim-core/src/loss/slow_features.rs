//! Slow feature analysis (Wiskott & Sejnowski 2002) by gradient descent.

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::LossReport;
use super::pairs::{Compare, PairRule, PairsConfig, TwoViewLoss, apart, center};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::{Pool, Result, Scalar};

/// [`SlowFeatures`] by configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct SlowFeaturesRule {
    /// Weight of the constraints.
    pub decorrelation: f64,
    /// What is compared: `neighbors`, positions of one item; `views`, the two views of an item that a batch
    /// of `data.views` = 2 holds, each the mean over its positions; `view-positions`, the same positions of
    /// the two views.
    pub compare: Compare,
    /// Pairs in a step, at most.
    pub pairs: usize,
    /// Positions between the two of a pair of neighbors.
    pub distance: usize,
    /// Channels of the projector's layers; by default the module's own features are slowed.
    pub projector: Vec<usize>,
}

impl Default for SlowFeaturesRule {
    fn default() -> Self {
        Self { decorrelation: 1.0, compare: Compare::Neighbors, pairs: 1024, distance: 1, projector: Vec::new() }
    }
}

impl PairRule for SlowFeaturesRule {
    type Loss<F: Scalar> = SlowFeatures;

    fn pairs(&self) -> PairsConfig<'_> {
        let Self { compare, pairs, distance, ref projector, .. } = *self;
        PairsConfig { compare, pairs, distance, projector }
    }

    fn loss<F: Scalar>(&self, _: usize) -> Result<SlowFeatures> {
        Ok(SlowFeatures { decorrelation: self.decorrelation })
    }
}

/// `1/C Σ_j ⟨(z_{t+d,j} − z_{t,j})²⟩ + β/C · ‖Cov(z) − I‖²`: the mean Δ-value of the features
/// (Wiskott & Sejnowski 2002, eq. 1), with a penalty for the constraints of unit variance and
/// decorrelation (eqs. 3 and 4).
///
/// Differs from the source: it solves for exact constraints in closed form, channel by channel from the
/// slowest on. Here all channels are equal, and β weighs the constraints.
#[derive(Debug, Clone, Copy)]
pub struct SlowFeatures {
    /// β.
    pub decorrelation: f64,
}

impl<F: Scalar> TwoViewLoss<F> for SlowFeatures {
    fn describe(&self) -> String {
        format!("slow features, β = {}", self.decorrelation)
    }

    fn value_and_grad(&mut self, views: &[F], channels: usize, dviews: &mut [F], pool: &Pool<F>) -> LossReport {
        let (rows, c) = (views.len() / channels, channels as f64);
        let fast = apart(views, dviews, 1.0);
        let mut centered = pool.take(views.len());
        centered.copy_from_slice(views);
        center(&mut centered, channels, pool);
        let z = Mat::new(&centered, rows, channels);
        let mut cov = pool.take(channels * channels);
        matmul(z.t(), z, MatMut::new(&mut cov, channels, channels), Store::Overwrite, pool);
        let mut penalty = 0.0;
        for (i, row) in cov.chunks_exact_mut(channels).enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                let apart = x.f64() / rows as f64 - f64::from(u8::from(i == j));
                penalty += self.decorrelation / c * apart * apart;
                // ∂/∂z = 4β/(nC) · (z − mean) · (Cov − I).
                *x = F::of(4.0 * self.decorrelation / (c * rows as f64) * apart);
            }
        }
        let cov = Mat::new(&cov, channels, channels);
        matmul(z, cov, MatMut::new(dviews, rows, channels), Store::Add, pool);
        LossReport { loss: fast + penalty, accuracy: f64::NAN }
    }

    fn multiply_adds(&self, n: usize, channels: usize) -> usize {
        4 * n * channels * channels
    }
}
