//! Decoupled greedy learning: cross-entropy through an auxiliary head (Belilovsky, Eickenberg, Oyallon 2020).

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::labels::{check_positions, cross_entropy_rows, labels_per_item, pool_bins, pool_bins_backward};
use super::mlp::Mlp;
use super::{LocalLoss, LossReport, LossRule, Place, StepInfo, Supervision, context_gradient};
use crate::activations::{Activations, Layout, Shape};
use crate::kernels::vector::relu;
use crate::param::{Param, Params};
use crate::{Key, Pool, Result, Scalar};

/// [`Auxiliary`] by configuration. The default is the paper's MLP-aux; `pointwise = 3` is the
/// convolutional head of its MLP-SR-aux.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct AuxiliaryRule {
    /// Convolutions of kernel size 1 before the mean, each followed by ReLU, with as many channels as
    /// the features.
    pub pointwise: usize,
    /// Hidden layers after the mean, with as many channels as the features.
    pub hidden: usize,
}

impl Default for AuxiliaryRule {
    fn default() -> Self {
        Self { pointwise: 0, hidden: 2 }
    }
}

impl LossRule for AuxiliaryRule {
    const LABELS: bool = true;

    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
        Ok(Box::new(Auxiliary::new(self, place, key)))
    }
}

/// Contexts (N, H, W, C) → pointwise convolutions with ReLU → means of S bins along the height
/// → a multilayer perceptron → logits (N·S, classes). The loss is their mean cross-entropy in nats
/// (Belilovsky 2020, section 4.1). A label of −1 means *not labeled* and is left out.
///
/// Differs from the source: it pools images to 2 × 2 before the perceptron and to a quarter of the
/// positions before pointwise convolutions. Here the mean is over all positions of a bin.
pub struct Auxiliary<F: Scalar> {
    labels: Supervision,
    channels: usize,
    pointwise: Mlp<F>,
    head: Mlp<F>,
}

impl<F: Scalar> Auxiliary<F> {
    /// A head for the contexts at `place`.
    pub fn new(rule: &AuxiliaryRule, place: &Place, key: Key) -> Self {
        let (channels, labels) = (place.context, place.supervision());
        let mut widths = vec![channels; rule.hidden];
        widths.push(labels.classes);
        let head = Mlp::new("loss.head", channels, &widths, key.with_item(key.item + 2 * rule.pointwise as u32));
        let pointwise = Mlp::new("loss.pointwise", channels, &vec![channels; rule.pointwise], key);
        Self { labels, channels, pointwise, head }
    }
}

impl<F: Scalar> Params<F> for Auxiliary<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.pointwise.visit(f);
        self.head.visit(f);
    }
}

impl<F: Scalar> LocalLoss<F> for Auxiliary<F> {
    fn describe(&self) -> String {
        format!("auxiliary head, {}", self.labels)
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        assert_eq!(c.unwrap_or(z).channels, self.channels, "contexts do not fit the head");
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
        let shape = contexts.shape();
        let bins = labels_per_item(self.labels.bins, step.labels, shape.batch);
        let (rows, positions) = (shape.batch * bins, shape.positions());
        let dense = Layout::dense(shape);
        let mut x = Activations::new(dense, pool);
        for item in 0..shape.batch {
            x.item_mut(item).copy_from_slice(contexts.item(item));
        }
        let maps = self.pointwise.forward(x.memory(), positions, pool);
        // ReLU after the last pointwise convolution, too; without any, the contexts themselves.
        let mut mapped = Activations::new(dense, pool);
        mapped.memory_mut().copy_from_slice(maps.last(x.memory()));
        if !self.pointwise.is_empty() {
            mapped.memory_mut().iter_mut().for_each(|y| *y = relu(*y));
        }
        let pooled = pool_bins(&mapped, bins, pool);
        let outputs = self.head.forward(&pooled, rows, pool);
        let logits = outputs.last(&pooled);
        let mut d = pool.take(logits.len());
        d.copy_from_slice(logits);
        let report = cross_entropy_rows(&mut d, self.labels.classes, step.labels);
        let dpooled = self.head.backward(&pooled, &outputs, d, rows, pool);
        let into = context_gradient(c, dz, dc);
        if self.pointwise.is_empty() {
            if let Some(into) = into {
                pool_bins_backward(&dpooled, bins, into);
            }
            return report;
        }
        let mut dmapped = Activations::new(dense, pool);
        pool_bins_backward(&dpooled, bins, &mut dmapped);
        let mut dy = pool.take(shape.len());
        for ((dy, d), y) in dy.iter_mut().zip(dmapped.memory()).zip(mapped.memory()) {
            *dy = if *y > F::zero() { *d } else { F::zero() };
        }
        let dx = self.pointwise.backward(x.memory(), &maps, dy, positions, pool);
        if let Some(into) = into {
            into.memory_mut().fill(F::zero());
            for (item, from) in dx.chunks_exact(shape.len() / shape.batch).enumerate() {
                into.item_mut(item).copy_from_slice(from);
            }
        }
        report
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        let rows = self.labels.rows(z);
        (z.positions() * self.pointwise.multiply_adds() + rows * self.head.multiply_adds()) as u64
    }
}
