//! Cross-entropy on a linear classifier: the local loss of greedy supervised training, and the loss of
//! end-to-end supervision.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{LocalLoss, LossReport, LossRule, Place, Prediction, StepInfo};
use crate::activations::{Activations, Shape};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::kernels::profile::Tasks;
use crate::kernels::vector::{add_column_sums, add_scaled, log_softmax};
use crate::param::{Param, Params};
use crate::{Error, Key, Pool, Result, Scalar};

/// Classes and labels of a supervised network: the settings of [`CrossEntropy`] that follow from the
/// corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervision {
    /// Number of classes.
    pub classes: usize,
    /// Labels per item.
    pub bins: usize,
}

impl Supervision {
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossEntropyRule {}

impl LossRule for CrossEntropyRule {
    const LABELS: bool = true;

    fn need(&self, _: &Prediction) -> usize {
        1
    }

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
    /// Labels per item S: 1 for a speaker or an image, 128 for the phones of a crop.
    pub bins: usize,
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
        if config.classes < 2 || config.bins == 0 || config.channels == 0 {
            return Err(Error::config(
                "loss",
                format_args!("{} classes in {} bins of {} channels", config.classes, config.bins, config.channels),
                "use two classes or more, and at least one bin and channel",
            ));
        }
        let bound = 1.0 / (config.channels as f64).sqrt();
        let weight = Param::uniform("loss.linear.weight", &[config.classes, config.channels], bound, key);
        let bias = Param::uniform("loss.linear.bias", &[config.classes], bound, key.with_item(key.item + 1));
        Ok(Self { config, weight, bias })
    }

    /// Logits (N·S, classes) of contexts `c` (N, H, W, C).
    pub fn logits(&self, c: &Activations<F>, pool: &Pool<F>) -> Vec<F> {
        let pooled = self.pooled(c, pool);
        let rows = c.shape().batch * self.config.bins;
        let mut logits = vec![F::zero(); rows * self.config.classes];
        self.logits_into(&pooled, rows, &mut logits, pool);
        logits
    }

    /// Means of the bins (N·S, C).
    fn pooled(&self, c: &Activations<F>, pool: &Pool<F>) -> crate::Buffer<F> {
        let shape = c.shape();
        let (bins, stride) = (self.config.bins, c.layout().height_stride());
        let mut pooled = pool.zeros(shape.batch * bins * shape.channels);
        for (row, to) in pooled.chunks_exact_mut(shape.channels).enumerate() {
            let (from, until) = bin(row % bins, bins, shape.height);
            let rows = &c.item(row / bins)[from * stride..until * stride];
            let share = F::of(1.0 / ((until - from) * shape.width) as f64);
            rows.chunks_exact(shape.channels).for_each(|r| add_scaled(to, share, r));
        }
        pooled
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
        format!("cross-entropy, {} classes, {} label(s) an item", self.config.classes, self.config.bins)
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        assert_eq!(c.unwrap_or(z).channels, self.config.channels, "contexts do not fit the classifier");
        if z.height == 0 {
            return Err(Error::config("input", "there are no positions to average", "use longer inputs"));
        }
        Ok(())
    }

    fn value_and_grad(
        &mut self,
        z: &Activations<F>,
        c: Option<&Activations<F>>,
        step: StepInfo<'_>,
        mut dz: Option<&mut Activations<F>>,
        dc: Option<&mut Activations<F>>,
        pool: &Pool<F>,
    ) -> LossReport {
        let CrossEntropyConfig { channels, classes, bins } = self.config;
        let contexts = c.unwrap_or(z);
        let rows = contexts.shape().batch * bins;
        assert_eq!(step.labels.len(), rows, "{rows} labels are needed");
        let pooled = self.pooled(contexts, pool);
        let mut d = pool.take(rows * classes);
        self.logits_into(&pooled, rows, &mut d, pool);

        let labeled = step.labels.iter().filter(|l| **l >= 0).count().max(1);
        let scale = F::of(1.0 / labeled as f64);
        let mut losses = vec![(0.0, false); rows];
        (d.par_chunks_mut(classes), losses.par_iter_mut(), step.labels.par_iter())
            .into_par_iter()
            .with_min_len(32)
            .for_each_task("cross-entropy", |(d, loss, label)| {
                let Ok(label) = usize::try_from(*label) else {
                    d.fill(F::zero());
                    return;
                };
                assert!(label < classes, "label {label} of {classes} classes");
                let won = d.iter().enumerate().all(|(j, s)| j == label || *s < d[label]);
                log_softmax(d);
                *loss = (-d[label].f64(), won);
                d.iter_mut().for_each(|x| *x = x.exp() * scale);
                d[label] -= scale;
            });

        let dlogits = Mat::new(&d, rows, classes);
        let dweight = MatMut::new(self.weight.grad_mut(), classes, channels);
        matmul(dlogits.t(), Mat::new(&pooled, rows, channels), dweight, Store::Add, pool);
        add_column_sums(self.bias.grad_mut(), &d);
        if c.is_some()
            && let Some(dz) = dz.as_deref_mut()
        {
            dz.memory_mut().fill(F::zero());
        }
        if let Some(into) = if c.is_some() { dc } else { dz } {
            let mut dpooled = pool.take(rows * channels);
            let weight = Mat::new(&self.weight.value, classes, channels);
            matmul(dlogits, weight, MatMut::new(&mut dpooled, rows, channels), Store::Overwrite, pool);
            into.memory_mut().fill(F::zero());
            let (shape, stride) = (into.shape(), into.layout().height_stride());
            for (row, from) in dpooled.chunks_exact(channels).enumerate() {
                let (first, until) = bin(row % bins, bins, shape.height);
                let share = F::of(1.0 / ((until - first) * shape.width) as f64);
                let rows = &mut into.item_mut(row / bins)[first * stride..until * stride];
                rows.chunks_exact_mut(channels).for_each(|to| add_scaled(to, share, from));
            }
        }
        let n = labeled as f64;
        LossReport {
            loss: losses.iter().map(|l| l.0).sum::<f64>() / n,
            accuracy: losses.iter().filter(|l| l.1).count() as f64 / n,
        }
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        (3 * z.batch * self.config.bins * self.config.channels * self.config.classes) as u64
    }
}
