//! Prediction and similarity matching (Nøkland & Eidnes 2019).

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::labels::{check_positions, cross_entropy_rows, labels_per_item, pool_bins, pool_bins_backward};
use super::mlp::Mlp;
use super::{LocalLoss, LossReport, LossRule, Place, StepInfo, Supervision, context_gradient};
use crate::activations::{Activations, Shape};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::kernels::vector::{add_scaled, dot, sum};
use crate::param::{Param, Params};
use crate::{Buffer, Error, Key, Pool, Result, Scalar};

/// [`Predsim`] by configuration; β is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct PredsimRule {
    /// Weight β of similarity matching; prediction has 1 − β.
    pub similarity: f64,
}

impl Default for PredsimRule {
    fn default() -> Self {
        Self { similarity: 0.99 }
    }
}

impl LossRule for PredsimRule {
    const LABELS: bool = true;

    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
        let (channels, labels) = (place.context, place.supervision());
        if channels < 2 {
            return Err(Error::config("network", "one channel has no direction to compare", "use 2 channels or more"));
        }
        Ok(Box::new(Predsim {
            rule: self.clone(),
            labels,
            channels,
            predict: Mlp::new("loss.linear", channels, &[labels.classes], key),
            compare: Mlp::new("loss.similarity", channels, &[channels], key.with_item(key.item + 2)),
        }))
    }
}

/// `(1 − β)·CE(W h, y) + β·‖S(V h) − S(y)‖²/n²` on means h (n, C) of the bins of all items, with
/// one-hot labels y. S are the cosine similarities of all pairs of rows, after the mean of each row over
/// its own channels is subtracted (Nøkland & Eidnes 2019, eqs. 1–3). Rows without a label are left out.
///
/// The squares are expanded, ‖AAᵀ − BBᵀ‖² = ‖AᵀA‖² − 2‖AᵀB‖² + ‖BᵀB‖², so that nothing of size
/// rows × rows is made.
///
/// Differs from the source: V is linear on the mean over positions. There it is a 3 × 3 convolution,
/// whose standard deviation over positions is compared.
pub struct Predsim<F: Scalar> {
    rule: PredsimRule,
    labels: Supervision,
    channels: usize,
    predict: Mlp<F>,
    compare: Mlp<F>,
}

/// Added to squared norms, so that rows of length 0 have a direction.
const EPSILON: f64 = 1e-16;

/// x (rows, C) → rows of mean 0 and length 1, and 1/length of each.
fn directions<F: Scalar>(x: &[F], channels: usize, pool: &Pool<F>) -> (Buffer<F>, Buffer<F>) {
    let (mut unit, mut inverse) = (pool.take(x.len()), pool.take(x.len() / channels));
    for ((unit, x), inverse) in unit.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(&mut *inverse) {
        let mean = sum(x) / F::of(channels as f64);
        unit.iter_mut().zip(x).for_each(|(u, x)| *u = *x - mean);
        *inverse = F::of((dot(unit, unit).f64() + EPSILON).sqrt().recip());
        unit.iter_mut().for_each(|u| *u *= *inverse);
    }
    (unit, inverse)
}

/// aᵀb of a (rows, m) and b (rows, n), and its squared norm.
fn products<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>, pool: &Pool<F>) -> (Buffer<F>, f64) {
    let (m, n) = (a.dim().1, b.dim().1);
    let mut out = pool.take(m * n);
    matmul(a.t(), b, MatMut::new(&mut out, m, n), Store::Overwrite, pool);
    let norm = out.iter().map(|x| x.f64() * x.f64()).sum();
    (out, norm)
}

impl<F: Scalar> Predsim<F> {
    /// Similarity matching of `x` (rows, C): the loss and its gradient, times `weight`.
    fn similarity(&self, x: &[F], labels: &[i32], weight: f64, pool: &Pool<F>) -> (f64, Buffer<F>) {
        let (channels, classes, rows) = (self.channels, self.labels.classes, labels.len());
        let labeled = labels.iter().filter(|l| **l >= 0).count().max(1) as f64;
        let mut hot = pool.zeros(rows * classes);
        for (row, label) in hot.chunks_exact_mut(classes).zip(labels) {
            if let Ok(label) = usize::try_from(*label) {
                row[label] = F::one();
            }
        }
        let ((mut a, inverse), (b, _)) = (directions(x, channels, pool), directions(&hot, classes, pool));
        for (a, _) in a.chunks_exact_mut(channels).zip(labels).filter(|(_, label)| **label < 0) {
            a.fill(F::zero());
        }
        let [a_rows, b_rows] = [Mat::new(&a, rows, channels), Mat::new(&b, rows, classes)];
        let ((aa, own), (ba, both), (_, target)) =
            (products(a_rows, a_rows, pool), products(b_rows, a_rows, pool), products(b_rows, b_rows, pool));
        // ∂/∂A = 4/n² (A AᵀA − B BᵀA).
        let mut d = pool.take(rows * channels);
        matmul(b_rows, Mat::new(&ba, classes, channels), MatMut::new(&mut d, rows, channels), Store::Overwrite, pool);
        d.iter_mut().for_each(|d| *d = -*d);
        let aa = Mat::new(&aa, channels, channels);
        matmul(a_rows, aa, MatMut::new(&mut d, rows, channels), Store::Add, pool);
        let scale = F::of(4.0 * weight / (labeled * labeled));
        for (((d, a), inverse), label) in
            d.chunks_exact_mut(channels).zip(a.chunks_exact(channels)).zip(&*inverse).zip(labels)
        {
            if *label < 0 {
                d.fill(F::zero());
                continue;
            }
            // Through the length and the mean of the row: (d − a·(a·d))/length, less its mean.
            let along = dot(d, a);
            add_scaled(d, -along, a);
            let mean = sum(d) / F::of(channels as f64);
            d.iter_mut().for_each(|d| *d = scale * *inverse * (*d - mean));
        }
        (weight * (own - 2.0 * both + target) / (labeled * labeled), d)
    }
}

impl<F: Scalar> Params<F> for Predsim<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.predict.visit(f);
        self.compare.visit(f);
    }
}

impl<F: Scalar> LocalLoss<F> for Predsim<F> {
    fn describe(&self) -> String {
        format!("predsim, β = {}, {}", self.rule.similarity, self.labels)
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        assert_eq!(c.unwrap_or(z).channels, self.channels, "contexts do not fit the classifier");
        check_positions(z)
    }

    fn value_and_grad(
        &mut self,
        z: &Activations<F>,
        c: Option<&Activations<F>>,
        step: StepInfo<'_>,
        dz: Option<&mut Activations<F>>,
        dc: Option<&mut Activations<F>>,
        pool: &Pool<F>,
    ) -> LossReport {
        let contexts = c.unwrap_or(z);
        let bins = labels_per_item(self.labels.bins, step.labels, contexts.shape().batch);
        let beta = self.rule.similarity;
        let pooled = pool_bins(contexts, bins, pool);
        let rows = contexts.shape().batch * bins;

        let outputs = self.predict.forward(&pooled, rows, pool);
        let logits = outputs.last(&pooled);
        let mut d = pool.take(logits.len());
        d.copy_from_slice(logits);
        let mut report = cross_entropy_rows(&mut d, self.labels.classes, step.labels);
        d.iter_mut().for_each(|d| *d *= F::of(1.0 - beta));
        let mut dpooled = self.predict.backward(&pooled, &outputs, d, rows, pool);

        let outputs = self.compare.forward(&pooled, rows, pool);
        let (similarity, d) = self.similarity(outputs.last(&pooled), step.labels, beta, pool);
        let compared = self.compare.backward(&pooled, &outputs, d, rows, pool);
        add_scaled(&mut dpooled, F::one(), &compared);
        report.loss = (1.0 - beta) * report.loss + similarity;

        if let Some(into) = context_gradient(c, dz, dc) {
            pool_bins_backward(&dpooled, bins, into);
        }
        report
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        let (rows, c, k) = (self.labels.rows(z), self.channels, self.labels.classes);
        let maps = self.predict.multiply_adds() + self.compare.multiply_adds();
        (rows * (maps + 2 * c * c + 2 * c * k + k * k)) as u64
    }
}
