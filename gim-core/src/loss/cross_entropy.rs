//! Cross-entropy on a linear classifier: the local loss of greedy supervised training, and the loss of
//! end-to-end supervision.

use std::fmt::{self, Display};

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::labels::{check_positions, cross_entropy_rows, labels_per_item, pool_bins, pool_bins_backward};
use super::{LocalLoss, LossReport, LossRule, Place, StepInfo, context_gradient};
use crate::activations::{Activations, Shape};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::kernels::vector::add_column_sums;
use crate::param::{Param, Params};
use crate::{Error, Key, Pool, Result, Scalar};

/// Classes and labels of a supervised network: the settings of [`CrossEntropy`] that follow from the
/// corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervision {
    /// Number of classes.
    pub classes: usize,
    /// Labels per item; `None` for as many as come with a batch.
    pub bins: Option<usize>,
}

impl Display for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bins {
            Some(bins) => write!(f, "{} classes, {bins} label(s) an item", self.classes),
            None => write!(f, "{} classes, labels of whole items", self.classes),
        }
    }
}

impl Supervision {
    /// Rows of logits for a batch of shape `z`; at most one a position where batches bring as many
    /// labels as they have.
    pub(super) fn rows(self, z: Shape) -> usize {
        z.batch * self.bins.unwrap_or(z.height)
    }

    /// The loss on contexts of `channels` channels.
    ///
    /// # Errors
    /// As [`CrossEntropy::new`].
    pub fn loss<F: Scalar>(self, channels: usize, key: Key) -> Result<CrossEntropy<F>> {
        CrossEntropy::new(CrossEntropyConfig { channels, classes: self.classes, bins: self.bins }, key)
    }
}

/// [`CrossEntropy`] by configuration: classes and labels follow from the dataset, and nothing is left to
/// set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields)]
pub struct CrossEntropyRule {}

impl LossRule for CrossEntropyRule {
    const LABELS: bool = true;

    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
        Ok(Box::new(place.supervision().loss(place.context, key)?))
    }
}

/// Rows `from..to` along the height H that bin `i` of S averages: ⌊iH/S⌋..⌈(i+1)H/S⌉. Bins overlap when
/// S does not divide H.
pub fn bin(i: usize, bins: usize, height: usize) -> (usize, usize) {
    (i * height / bins, ((i + 1) * height).div_ceil(bins))
}

/// Settings of [`CrossEntropy`].
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropyConfig {
    /// Channels of the contexts.
    pub channels: usize,
    /// Number of classes.
    pub classes: usize,
    /// Labels per item S: 1 for a speaker or an image, 128 for the phones of a crop; `None` for as many
    /// as come with a batch: the phones of an utterance of any length.
    pub bins: Option<usize>,
}

/// Contexts (N, H, W, C) are averaged to S bins along the height. A linear map gives logits (N·S,
/// classes). The loss is their mean cross-entropy in nats. A label of −1 means *not labeled* and is
/// left out.
pub struct CrossEntropy<F: Scalar> {
    config: CrossEntropyConfig,
    weight: Param<F>,
    bias: Param<F>,
}

impl<F: Scalar> CrossEntropy<F> {
    /// Weights and bias from U(±1/√channels).
    ///
    /// # Errors
    /// [`Error::Config`] when there are fewer than two classes, no bins, or no channels.
    pub fn new(config: CrossEntropyConfig, key: Key) -> Result<Self> {
        if config.classes < 2 || config.bins == Some(0) || config.channels == 0 {
            return Err(Error::config(
                "loss",
                format_args!("{} classes in {:?} bins of {} channels", config.classes, config.bins, config.channels),
                "use two classes or more, and at least one bin and channel",
            ));
        }
        let bound = 1.0 / (config.channels as f64).sqrt();
        let shape = [config.classes, config.channels];
        let weight = Param::uniform("loss.linear.weight", &shape, bound, key).transported();
        let bias = Param::uniform("loss.linear.bias", &[config.classes], bound, key.with_item(key.item + 1));
        Ok(Self { config, weight, bias })
    }

    /// Logits (N·S, classes) of contexts `c` (N, H, W, C), S = `bins`.
    pub fn logits(&self, c: &Activations<F>, bins: usize, pool: &Pool<F>) -> Vec<F> {
        let pooled = pool_bins(c, bins, pool);
        let rows = c.shape().batch * bins;
        let mut logits = vec![F::zero(); rows * self.config.classes];
        self.logits_into(&pooled, rows, &mut logits, pool);
        logits
    }

    fn logits_into(&self, pooled: &[F], rows: usize, logits: &mut [F], pool: &Pool<F>) {
        let (channels, classes) = (self.config.channels, self.config.classes);
        logits.chunks_exact_mut(classes).for_each(|row| row.copy_from_slice(&self.bias.value));
        let weight = Mat::new(&self.weight.value, classes, channels);
        matmul(Mat::new(pooled, rows, channels), weight.t(), MatMut::new(logits, rows, classes), Store::Add, pool);
    }
}

impl<F: Scalar> Params<F> for CrossEntropy<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.weight);
        f(&mut self.bias);
    }
}

impl<F: Scalar> LocalLoss<F> for CrossEntropy<F> {
    fn describe(&self) -> String {
        let CrossEntropyConfig { classes, bins, .. } = self.config;
        format!("cross-entropy, {}", Supervision { classes, bins })
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        assert_eq!(c.unwrap_or(z).channels, self.config.channels, "contexts do not fit the classifier");
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
        let CrossEntropyConfig { channels, classes, bins } = self.config;
        let contexts = c.unwrap_or(z);
        let items = contexts.shape().batch;
        let bins = labels_per_item(bins, step.labels, items);
        let rows = items * bins;
        let pooled = pool_bins(contexts, bins, pool);
        let mut d = pool.take(rows * classes);
        self.logits_into(&pooled, rows, &mut d, pool);

        let report = cross_entropy_rows(&mut d, classes, step.labels);
        let dlogits = Mat::new(&d, rows, classes);
        let dweight = MatMut::new(self.weight.grad_mut(), classes, channels);
        matmul(dlogits.t(), Mat::new(&pooled, rows, channels), dweight, Store::Add, pool);
        add_column_sums(self.bias.grad_mut(), &d);
        if let Some(into) = context_gradient(c, dz, dc) {
            let mut dpooled = pool.take(rows * channels);
            let weight = Mat::new(self.weight.feedback(), classes, channels);
            matmul(dlogits, weight, MatMut::new(&mut dpooled, rows, channels), Store::Overwrite, pool);
            pool_bins_backward(&dpooled, bins, into);
        }
        report
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        (3 * z.batch * self.config.bins.unwrap_or(z.height) * self.config.channels * self.config.classes) as u64
    }
}
