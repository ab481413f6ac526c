//! The paper's protocol: Adam on raw features for a fixed number of epochs.

use gim_core::optim::{Adam, AdamConfig, Optimizer};
use gim_core::param::{Param, Params};
use gim_core::{Error, Key, Pool, Result};
use rand::seq::SliceRandom;

use super::softmax::Softmax;
use super::{FittedProbe, gather};
use crate::examples::Part;
use crate::metrics::majority;

/// Rows of an optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// All rows of one item.
    Item,
    /// This many items; the last batch of an epoch may be smaller.
    Items(usize),
}

/// Settings of the paper's protocol: Adam (β 0.9, 0.999) on the mean cross-entropy of a batch, no penalty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperProbe {
    /// Step size.
    pub lr: f64,
    /// Passes over the training items, in a new order each.
    pub epochs: usize,
    /// Rows of an optimizer step.
    pub batch: Batch,
}

impl PaperProbe {
    /// Phones by frame: rate 1e-4, 20 epochs, one utterance per step.
    pub fn phones() -> Self {
        Self { lr: 1e-4, epochs: 20, batch: Batch::Item }
    }

    /// Speakers by utterance: rate 1e-3, 50 epochs, batches of 64.
    pub fn speakers() -> Self {
        Self { lr: 1e-3, epochs: 50, batch: Batch::Items(64) }
    }

    /// Classes of images: rate 1e-3, 300 epochs, batches of 32.
    pub fn classes() -> Self {
        Self { lr: 1e-3, epochs: 300, batch: Batch::Items(32) }
    }

    pub(super) fn fit(&self, train: &Part<'_>, key: Key) -> Result<FittedProbe> {
        let size = match self.batch {
            Batch::Item => 1,
            Batch::Items(n) => n,
        };
        if self.epochs == 0 || size == 0 || self.epochs > u32::MAX as usize {
            let what = format!("{} epochs of batches of {size}", self.epochs);
            return Err(Error::config("probe", what, "use one epoch and one item at least"));
        }
        let (d, classes) = (train.dims(), train.n_classes());
        let mut map = Linear::new(d, classes, key);
        let mut adam = Adam::new(AdamConfig { lr: self.lr, ..AdamConfig::default() })?;
        let pool = Pool::new();
        map.weight.attach_grad(&pool);
        map.bias.attach_grad(&pool);
        let mut items: Vec<usize> = (0..train.n_items()).collect();
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for epoch in 0..self.epochs {
            items.shuffle(&mut key.with_epoch(epoch as u32).with_item(2).rng());
            for batch in items.chunks(size) {
                rows.clear();
                rows.extend(batch.iter().flat_map(|i| train.index().rows(*i)));
                labels.clear();
                labels.extend(rows.iter().map(|r| train.labels()[*r]));
                let (mut x, mut z) = (pool.take(rows.len() * d), pool.take(rows.len() * classes));
                let mut r = pool.take(rows.len() * classes);
                gather(train, &rows, None, &mut x);
                let problem = Softmax { x: &x, labels: &labels, d, classes, pool: &pool };
                problem.scores(&map.weight.value, &map.bias.value, &mut z);
                problem.loss(&z, None, &mut r);
                problem.gradient(&r, map.weight.grad_mut(), map.bias.grad_mut());
                adam.update(&mut map);
            }
        }
        Ok(FittedProbe {
            weights: map.weight.value,
            bias: map.bias.value,
            standardize: None,
            majority: majority(train.labels(), classes),
            l2: None,
            iterations: self.epochs * items.len().div_ceil(size),
            converged: false,
            path: Vec::new(),
            seconds: 0.0,
        })
    }
}

/// Weight (D, classes) and bias (classes), both from U(±1/√D).
struct Linear {
    weight: Param<f32>,
    bias: Param<f32>,
}

impl Linear {
    fn new(d: usize, classes: usize, key: Key) -> Self {
        let bound = 1.0 / (d as f64).sqrt();
        Self {
            weight: Param::uniform("probe.weight", &[d, classes], bound, key.with_item(0)),
            bias: Param::uniform("probe.bias", &[classes], bound, key.with_item(1)),
        }
    }
}

impl Params<f32> for Linear {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<f32>)) {
        f(&mut self.weight);
        f(&mut self.bias);
    }
}
