//! The paper's protocol: Adam on raw features for a fixed number of epochs.

use std::time::Instant;

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::kernels::on_pool_thread;
use gim_core::kernels::vector::add_column_sums;
use gim_core::optim::{Adam, AdamConfig, Optimizer};
use gim_core::param::{Param, Params};
use gim_core::{Buffer, Error, Key, Pool, Purpose, Result};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::softmax::{self, Softmax};
use super::{FittedProbe, Map, check_train};
use crate::examples::{Examples, Part};
use crate::metrics::majority;
use crate::records::{Head, Task};

/// Units of the hidden layer of [`Head::Mlp`]. The published code leaves their number open.
pub const HIDDEN: usize = 512;
/// Share of the hidden units that a training step drops, as published.
const DROPPED: f64 = 0.5;

/// Rows of an optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// All rows of one item.
    Item,
    /// This many items; the last batch of an epoch may be smaller.
    Items(usize),
    /// This many items; what is left at the end of an epoch waits for another. Fewer items than that
    /// are one batch.
    Full(usize),
}

/// Order of the training items in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemOrder {
    /// A new order each.
    Shuffled,
    /// That of the file.
    File,
}

/// How the weights of the head begin. Biases begin as U(±1/√fan_in), the default of `nn.Linear`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadInit {
    /// U(±1/√fan_in), the default of `nn.Linear`.
    Uniform,
    /// N(0, 2/(fan_in + fan_out)), Xavier's.
    XavierNormal,
}

/// Settings of the paper's protocol: Adam (β 0.9, 0.999) on the mean cross-entropy of a batch, no penalty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperProbe {
    /// Step size.
    pub lr: f64,
    /// Passes over the training items.
    pub epochs: usize,
    /// Rows of an optimizer step.
    pub batch: Batch,
    /// Order of the items.
    pub order: ItemOrder,
    /// How weights begin.
    pub init: HeadInit,
    /// What is fitted.
    pub head: Head,
}

impl PaperProbe {
    /// Phones by frame: rate 1e-4, 20 epochs, one utterance a step in the order of the file, Xavier's
    /// initial weights.
    pub fn phones() -> Self {
        Self {
            lr: 1e-4,
            epochs: 20,
            batch: Batch::Item,
            order: ItemOrder::File,
            init: HeadInit::XavierNormal,
            head: Head::Linear,
        }
    }

    /// Speakers by utterance: rate 1e-3, 50 epochs, full batches of 64.
    pub fn speakers() -> Self {
        Self {
            lr: 1e-3,
            epochs: 50,
            batch: Batch::Full(64),
            order: ItemOrder::Shuffled,
            init: HeadInit::Uniform,
            head: Head::Linear,
        }
    }

    /// Classes of images: rate 1e-3, 300 epochs, batches of 32.
    pub fn classes() -> Self {
        Self { epochs: 300, batch: Batch::Items(32), ..Self::speakers() }
    }

    /// The published settings for a task, with a linear head; for columns of labels those for speakers.
    pub fn of(task: Task) -> Self {
        match task {
            Task::Phones => Self::phones(),
            // Labels of items that the paper does not have.
            Task::Speakers | Task::Column(_) => Self::speakers(),
            Task::Classes => Self::classes(),
        }
    }

    /// Epochs that each see a fresh random view of the training items; `None` where items are seen
    /// whole.
    pub fn view_epochs(&self) -> Option<usize> {
        (self.batch != Batch::Item).then_some(self.epochs)
    }

    /// Fits the probe on a share of the training items in `views` views: epoch e sees what
    /// `view(e mod views)` gives. `key` needs the run's seed; its purpose is set here.
    ///
    /// # Errors
    /// As [`Probe::fit`](super::Probe::fit) and [`Examples::train_with_labels`]; and those of `view`.
    pub fn fit_views(
        &self,
        views: usize,
        share: f64,
        key: Key,
        mut view: impl FnMut(usize) -> Result<Examples>,
    ) -> Result<FittedProbe> {
        if views == 0 {
            return Err(Error::config("views", "no view of the items", "use one or more"));
        }
        let (begin, mut fit) = (Instant::now(), None);
        for epoch in 0..self.epochs.max(1) {
            let examples = view(epoch % views)?;
            let part = examples.train_with_labels(share, key)?;
            check_train(&part)?;
            let fit = match &mut fit {
                Some(fit) => fit,
                none => none.insert(Fit::new(*self, &part, key.with_purpose(Purpose::Probe))?),
            };
            on_pool_thread(|| fit.epoch(epoch, &part))?;
        }
        let fitted = fit.map(Fit::finish).unwrap_or_else(|| unreachable!("there is an epoch"));
        fitted.checked(begin.elapsed())
    }

    pub(super) fn fit(&self, train: &Part<'_>, key: Key) -> Result<FittedProbe> {
        let mut fit = Fit::new(*self, train, key)?;
        (0..self.epochs).try_for_each(|epoch| fit.epoch(epoch, train))?;
        Ok(fit.finish())
    }
}

/// A head while it is fitted.
struct Fit {
    probe: PaperProbe,
    key: Key,
    net: Net,
    adam: Adam<f32>,
    pool: Pool<f32>,
    majority: u32,
    steps: usize,
}

impl Fit {
    fn new(probe: PaperProbe, train: &Part<'_>, key: Key) -> Result<Self> {
        let size = match probe.batch {
            Batch::Item => 1,
            Batch::Items(n) | Batch::Full(n) => n,
        };
        if probe.epochs == 0 || size == 0 || probe.epochs > u32::MAX as usize {
            let what = format!("{} epochs of batches of {size}", probe.epochs);
            return Err(Error::config("probe", what, "use one epoch and one item at least"));
        }
        let adam = Adam::new(AdamConfig { lr: probe.lr, ..AdamConfig::default() })?;
        let pool = Pool::new();
        let mut net = Net::new(train.dims(), train.n_classes(), &probe, key);
        net.visit(&mut |p| p.attach_grad(&pool));
        let majority = majority(train.labels(), train.n_classes());
        Ok(Self { probe, key, net, adam, pool, majority, steps: 0 })
    }

    /// One pass over the training items.
    fn epoch(&mut self, epoch: usize, train: &Part<'_>) -> Result<()> {
        let mut items: Vec<usize> = (0..train.n_items()).collect();
        if self.probe.order == ItemOrder::Shuffled {
            items.shuffle(&mut self.key.with_epoch(epoch as u32).with_item(2).rng());
        }
        let (size, least) = match self.probe.batch {
            Batch::Item => (1, 1),
            Batch::Items(n) => (n, 1),
            Batch::Full(n) => (n, n.min(items.len())),
        };
        let batches: Vec<&[usize]> = items.chunks(size).filter(|b| b.len() >= least).collect();
        let rows = |batch: usize| batches[batch].iter().flat_map(|i| train.index().rows(*i));
        let mut labels = Vec::new();
        train.for_each_batch(batches.len(), rows, |batch, x| {
            labels.clear();
            labels.extend(rows(batch).map(|r| train.labels()[r]));
            let dropout = self.key.with_step(self.steps as u64).with_item(9);
            self.net.gradient(x, &labels, dropout, &self.pool);
            self.adam.update(&mut self.net);
            self.steps += 1;
            Ok(())
        })
    }

    fn finish(self) -> FittedProbe {
        let Linear { weight, bias } = self.net.output;
        FittedProbe {
            hidden: self.net.hidden.map(|h| Map { weights: h.weight.value, bias: h.bias.value }),
            weights: weight.value,
            bias: bias.value,
            standardize: None,
            majority: self.majority,
            l2: None,
            iterations: self.steps,
            converged: false,
            path: Vec::new(),
            seconds: 0.0,
        }
    }
}

/// Weight (D, outputs) and bias (outputs).
struct Linear {
    weight: Param<f32>,
    bias: Param<f32>,
}

impl Linear {
    /// Draws the weight as item `item` of the key, and the bias as the next one.
    fn new(name: &str, d: usize, outputs: usize, init: HeadInit, key: Key, item: u32) -> Self {
        let bound = 1.0 / (d as f64).sqrt();
        let (name, shape) = (format!("probe.{name}"), [d, outputs]);
        let weight = match init {
            HeadInit::Uniform => Param::uniform(format!("{name}weight"), &shape, bound, key.with_item(item)),
            HeadInit::XavierNormal => {
                let std = (2.0 / (d + outputs) as f64).sqrt();
                Param::new(format!("{name}weight"), &shape, normal(d * outputs, std, key.with_item(item)))
            }
        };
        let bias = Param::uniform(format!("{name}bias"), &[outputs], bound, key.with_item(item + 1));
        Self { weight, bias }
    }

    /// (d, outputs)
    fn shape(&self) -> (usize, usize) {
        (self.weight.shape[0], self.weight.shape[1])
    }
}

/// `n` draws from N(0, std²), by Box and Muller's method.
fn normal(n: usize, std: f64, key: Key) -> Vec<f32> {
    let mut rng = key.rng();
    let draw = |_| {
        // 1 − u lies in (0, 1], where the logarithm is finite.
        let (u, turn): (f64, f64) = (rng.random(), rng.random());
        (std * (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * turn).cos()) as f32
    };
    (0..n).map(draw).collect()
}

/// A head: x → scores. With a hidden layer, h = dropout(ReLU(x·w + b)) lies between.
struct Net {
    hidden: Option<Linear>,
    output: Linear,
}

impl Net {
    fn new(d: usize, classes: usize, probe: &PaperProbe, key: Key) -> Self {
        let init = probe.init;
        match probe.head {
            Head::Linear => Self { hidden: None, output: Linear::new("", d, classes, init, key, 0) },
            Head::Mlp => Self {
                hidden: Some(Linear::new("hidden.", d, HIDDEN, init, key, 7)),
                output: Linear::new("", HIDDEN, classes, init, key, 0),
            },
        }
    }

    /// Writes the gradient of the mean cross-entropy of rows x (n, d). `dropout` keys the units that are
    /// dropped.
    fn gradient(&mut self, x: &[f32], labels: &[u32], dropout: Key, pool: &Pool<f32>) {
        let n = labels.len();
        let Some(hidden) = &mut self.hidden else {
            self.output.gradient(x, labels, pool);
            return;
        };
        let (d, units) = hidden.shape();
        let mut h = pool.take(n * units);
        softmax::scores(x, n, d, &hidden.weight.value, &hidden.bias.value, &mut h, pool);
        let mut rng = dropout.rng();
        let scale = (1.0 / (1.0 - DROPPED)) as f32;
        h.iter_mut().for_each(|h| *h = if rng.random::<f64>() < DROPPED { 0.0 } else { scale * h.max(0.0) });
        let r = self.output.gradient(&h, labels, pool);
        // ∂loss/∂(x·w + b) = r·wᵀ where the unit was kept and above 0; there h is above 0, too.
        let classes = self.output.shape().1;
        let mut dh = pool.take(n * units);
        let weight = Mat::new(&self.output.weight.value, units, classes);
        matmul(Mat::new(&r, n, classes), weight.t(), MatMut::new(&mut dh, n, units), Store::Overwrite, pool);
        dh.iter_mut().zip(h.iter()).for_each(|(dh, h)| *dh = if *h > 0.0 { scale * *dh } else { 0.0 });
        let dw = MatMut::new(hidden.weight.grad_mut(), d, units);
        matmul(Mat::new(x, n, d).t(), Mat::new(&dh, n, units), dw, Store::Overwrite, pool);
        hidden.bias.grad_mut().fill(0.0);
        add_column_sums(hidden.bias.grad_mut(), &dh);
    }
}

impl Linear {
    /// Writes the gradient of the mean cross-entropy of x (n, d), and gives ∂loss/∂scores (n, outputs).
    fn gradient(&mut self, x: &[f32], labels: &[u32], pool: &Pool<f32>) -> Buffer<f32> {
        let (d, classes) = self.shape();
        let (mut z, mut r) = (pool.take(labels.len() * classes), pool.take(labels.len() * classes));
        let problem = Softmax { x, labels, d, classes, pool };
        problem.scores(&self.weight.value, &self.bias.value, &mut z);
        problem.loss(&z, None, &mut r);
        problem.gradient(&r, self.weight.grad_mut(), self.bias.grad_mut());
        r
    }
}

impl Params<f32> for Net {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<f32>)) {
        for map in self.hidden.iter_mut().chain([&mut self.output]) {
            f(&mut map.weight);
            f(&mut map.bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xaviers_weights_have_its_variance() {
        let w = Linear::new("", 300, 100, HeadInit::XavierNormal, Key::new(1, Purpose::Probe), 0).weight.value;
        let moment = |p: i32| w.iter().map(|x| f64::from(*x).powi(p)).sum::<f64>() / w.len() as f64;
        assert!(moment(1).abs() < 2e-3, "{}", moment(1));
        assert!((moment(2) * 200.0 - 1.0).abs() < 0.03, "{}", moment(2));
        // A normal distribution's fourth moment is three times its variance squared.
        assert!((moment(4) / moment(2).powi(2) - 3.0).abs() < 0.1, "{}", moment(4));
    }

    /// Central differences, with the units that the key drops.
    #[test]
    fn gradient_of_a_hidden_layer_agrees_with_finite_differences() {
        let (n, d, classes) = (6, 3, 4);
        let key = Key::new(3, Purpose::Probe);
        let probe = PaperProbe { head: Head::Mlp, ..PaperProbe::speakers() };
        let pool = Pool::new();
        let mut net = Net::new(d, classes, &probe, key);
        net.visit(&mut |p| p.attach_grad(&pool));
        let x: Vec<f32> = (0..n * d).map(|i| (i as f32 * 0.77).sin()).collect();
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 4).collect();
        net.gradient(&x, &labels, key, &pool);
        // The loss in double precision, from the formula.
        let loss = |net: &Net| -> f64 {
            let hidden = net.hidden.as_ref().unwrap();
            let mut rng = key.rng();
            let mut sum = 0.0;
            for (x, y) in x.chunks_exact(d).zip(&labels) {
                let h: Vec<f64> = (0..HIDDEN)
                    .map(|u| {
                        let kept = rng.random::<f64>() >= DROPPED;
                        let z = (0..d).map(|j| f64::from(x[j]) * f64::from(hidden.weight.value[j * HIDDEN + u]));
                        let z = z.sum::<f64>() + f64::from(hidden.bias.value[u]);
                        if kept { 2.0 * z.max(0.0) } else { 0.0 }
                    })
                    .collect();
                let w = &net.output.weight.value;
                let z: Vec<f64> = (0..classes)
                    .map(|c| {
                        let sum: f64 = h.iter().enumerate().map(|(u, h)| h * f64::from(w[u * classes + c])).sum();
                        sum + f64::from(net.output.bias.value[c])
                    })
                    .collect();
                sum += z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[*y as usize];
            }
            sum / n as f64
        };
        let mut grads = Vec::new();
        net.visit(&mut |p| grads.push(p.grad().to_vec()));
        for (p, grad) in grads.iter().enumerate() {
            for i in (0..grad.len()).step_by(1 + grad.len() / 40) {
                let mut at = |by: f32| {
                    let mut n = 0;
                    net.visit(&mut |q| {
                        if n == p {
                            q.value[i] += by;
                        }
                        n += 1;
                    });
                    loss(&net)
                };
                let (up, down) = (at(1e-3), at(-2e-3));
                at(1e-3);
                let want = (up - down) / 2e-3;
                assert!((f64::from(grad[i]) - want).abs() < 1e-3, "{p}, {i}: {} {want}", grad[i]);
            }
        }
    }
}
