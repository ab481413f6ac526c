//! Goodness of groups of channels, after the forward-forward algorithm (Hinton 2022).

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::labels::{check_positions, labels_per_item};
use super::{LocalLoss, LossReport, LossRule, Place, StepInfo, Supervision, bin, context_gradient};
use crate::activations::{Activations, Shape};
use crate::kernels::vector::{add_scaled, dot, softplus};
use crate::param::{Param, Params};
use crate::{Error, Key, Pool, Result, Scalar};

/// [`ForwardForward`] by configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardForwardRule {
    /// Goodness θ that the label's channels should exceed, and all others stay below.
    pub threshold: f64,
}

impl Default for ForwardForwardRule {
    fn default() -> Self {
        Self { threshold: 2.0 }
    }
}

impl LossRule for ForwardForwardRule {
    const LABELS: bool = true;

    fn build<F: Scalar>(&self, place: &Place, _: Key) -> Result<Box<dyn LocalLoss<F>>> {
        let (channels, labels) = (place.context, place.supervision());
        if channels < labels.classes {
            let what = format!("{channels} channels cannot be shared out to {} classes", labels.classes);
            return Err(Error::config("network", what, "use a channel for each class, or more"));
        }
        Ok(Box::new(ForwardForward { threshold: self.threshold, labels, channels }))
    }
}

/// `softplus(θ − g_y) + 1/(J−1) Σ_{j≠y} softplus(g_j − θ)`, the mean over all labels. The goodness g_j is
/// the mean of z² over the positions of a bin and the channels of class j, of J classes. That is
/// −log of the logistic function of Hinton 2022, eq. 1, with the label's goodness as the positive and
/// those of other classes as negatives. A label of −1 means *not labeled* and is left out. The loss has
/// no parameters.
///
/// Differs from the source: there, the label is drawn into the input, and positives and negatives are
/// two forward passes. A module sees a batch once, so each class has channels of its own instead, as in
/// Papachristodoulou et al. 2024. Features are handed on as they are, without normalizing their length.
#[derive(Debug, Clone)]
pub struct ForwardForward {
    threshold: f64,
    labels: Supervision,
    channels: usize,
}

impl ForwardForward {
    /// Channels `from..to` of class `j`.
    fn group(&self, j: usize) -> (usize, usize) {
        let classes = self.labels.classes;
        (j * self.channels / classes, (j + 1) * self.channels / classes)
    }
}

impl<F: Scalar> Params<F> for ForwardForward {
    fn visit(&mut self, _: &mut dyn FnMut(&mut Param<F>)) {}
}

impl<F: Scalar> LocalLoss<F> for ForwardForward {
    fn describe(&self) -> String {
        format!("goodness, θ = {}, {}", self.threshold, self.labels)
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        assert_eq!(c.unwrap_or(z).channels, self.channels, "contexts do not fit the classes");
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
        let classes = self.labels.classes;
        let (shape, stride) = (contexts.shape(), contexts.layout().height_stride());
        let bins = labels_per_item(self.labels.bins, step.labels, shape.batch);
        let mut into = context_gradient(c, dz, dc);
        if let Some(into) = into.as_deref_mut() {
            into.memory_mut().fill(F::zero());
        }
        let labeled = step.labels.iter().filter(|l| **l >= 0).count().max(1) as f64;
        let (mut loss, mut won) = (0.0, 0usize);
        let mut slopes = pool.take(classes);
        for (row, label) in step.labels.iter().enumerate() {
            let Ok(label) = usize::try_from(*label) else { continue };
            assert!(label < classes, "label {label} of {classes} classes");
            let (from, until) = bin(row % bins, bins, shape.height);
            let inside = from * stride..until * stride;
            let positions = ((until - from) * shape.width) as f64;
            let values = contexts.item(row / bins)[inside.clone()].chunks_exact(shape.channels);
            let (mut best, mut own) = (f64::NEG_INFINITY, f64::NAN);
            for j in 0..classes {
                let (first, last) = self.group(j);
                let sum: f64 = values.clone().map(|z| dot(&z[first..last], &z[first..last]).f64()).sum();
                let share = 1.0 / (positions * (last - first) as f64);
                let goodness = sum * share;
                let (sign, weight) = if j == label { (-1.0, 1.0) } else { (1.0, 1.0 / (classes - 1) as f64) };
                let excess = sign * (goodness - self.threshold);
                loss += weight * softplus(excess);
                // ∂g/∂z = 2z · share.
                slopes[j] = F::of(sign * weight / (1.0 + (-excess).exp()) * 2.0 * share / labeled);
                if j == label {
                    own = goodness;
                } else if goodness > best {
                    best = goodness;
                }
            }
            won += usize::from(own > best);
            if let Some(into) = into.as_deref_mut() {
                let to = into.item_mut(row / bins)[inside].chunks_exact_mut(shape.channels);
                for (to, z) in to.zip(values) {
                    for j in 0..classes {
                        let (first, last) = self.group(j);
                        add_scaled(&mut to[first..last], slopes[j], &z[first..last]);
                    }
                }
            }
        }
        LossReport { loss: loss / labeled, accuracy: won as f64 / labeled }
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        2 * z.len() as u64
    }
}
