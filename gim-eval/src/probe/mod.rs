//! Linear probes: linear classifiers of frozen features.
//!
//! There are two protocols:
//!
//! - [`PaperProbe`] repeats the published code: Adam on raw features for a fixed number of epochs, each
//!   on fresh random views of the items ([`PaperProbe::fit_views`]). The result depends on the scale of
//!   the features and on the number of epochs.
//! - [`ConvergedProbe`] solves the problem: L-BFGS to a tolerance on standardized features. The L2
//!   penalty is selected on held-out items of the training part. It is faster.
//!
//! A probe is fitted on the training part only and returns a [`FittedProbe`], which predicts.

mod converged;
mod lbfgs;
mod paper;
mod precondition;
mod problem;
mod softmax;

use std::time::{Duration, Instant};

use gim_core::kernels::on_pool_thread;
use gim_core::{Error, Key, Pool, Purpose, Result};
use ndarray::Array2;
use rayon::prelude::*;

pub use converged::ConvergedProbe;
pub use paper::{Batch, HIDDEN, HeadInit, ItemOrder, PaperProbe};

use crate::examples::Part;
use crate::items::Split;
use crate::metrics::{Score, among_top, argmax};
use crate::source::UNIT;

/// A protocol with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// The paper's.
    Paper(PaperProbe),
    /// Solved to convergence.
    Converged(ConvergedProbe),
}

impl Probe {
    /// Fits the probe on a training part. `key` needs the run's seed; its purpose is set here.
    ///
    /// # Errors
    /// When the part is a test part, is empty, or has features that are not finite; when a setting is out of range.
    pub fn fit(&self, train: &Part<'_>, key: Key) -> Result<FittedProbe> {
        check_train(train)?;
        let key = key.with_purpose(Purpose::Probe);
        let begin = Instant::now();
        let fitted = on_pool_thread(|| match self {
            Self::Paper(p) => p.fit(train, key),
            Self::Converged(p) => p.fit(train, key),
        })?;
        fitted.checked(begin.elapsed())
    }
}

/// Refuses a part that no probe may be fitted on.
fn check_train(train: &Part<'_>) -> Result<()> {
    if train.split() != Split::Train {
        return Err(Error::config("probe", "asked to fit a test part", "fit the training part"));
    }
    train.check()
}

/// Standardizes features to mean 0 and variance 1, by the statistics of the training rows.
#[derive(Debug, Clone, PartialEq)]
struct Standardize {
    mean: Vec<f32>,
    /// 1/std; 0 for a constant dimension, which removes it.
    inverse_std: Vec<f32>,
}

/// Rows of a partial sum.
const ROWS: usize = UNIT;

impl Standardize {
    fn of(part: &Part<'_>) -> Result<Self> {
        let (n, d) = (part.n_rows(), part.dims());
        // Sums of differences from one row: no cancellation when the mean is far from zero.
        let mut origin = vec![0.0; d];
        part.gather([0], &mut origin)?;
        let mut all = vec![(0f64, 0f64); d];
        part.for_each_block(|_, x| {
            let sums = x.par_chunks(ROWS * d).map(|rows| {
                let mut sums = vec![(0f64, 0f64); d];
                for row in rows.chunks_exact(d) {
                    for ((s, x), o) in sums.iter_mut().zip(row).zip(&origin) {
                        let x = f64::from(*x) - f64::from(*o);
                        s.0 += x;
                        s.1 += x * x;
                    }
                }
                sums
            });
            let sums: Vec<Vec<(f64, f64)>> = sums.collect();
            for sums in sums {
                all.iter_mut().zip(sums).for_each(|(all, s)| *all = (all.0 + s.0, all.1 + s.1));
            }
            Ok(())
        })?;
        let (mut mean, mut inverse_std) = (Vec::with_capacity(d), Vec::with_capacity(d));
        for (o, (sum, square)) in origin.iter().zip(all) {
            let m = sum / n as f64;
            let std = (square / n as f64 - m * m).max(0.0).sqrt();
            let center = f64::from(*o) + m;
            mean.push(center as f32);
            // Less variation than the features' own rounding is none.
            let varies = std > 1e-6 * center.abs() && std > f64::from(f32::MIN_POSITIVE);
            inverse_std.push(if varies { (1.0 / std).min(f64::from(f32::MAX)) as f32 } else { 0.0 });
        }
        Ok(Self { mean, inverse_std })
    }

    /// Standardizes rows x (n, D).
    fn apply(&self, x: &mut [f32]) {
        let d = self.mean.len();
        x.par_chunks_mut(d * 64).for_each(|rows| {
            for row in rows.chunks_exact_mut(d) {
                let scale = self.mean.iter().zip(&self.inverse_std);
                row.iter_mut().zip(scale).for_each(|(x, (m, s))| *x = (*x - m) * s);
            }
        });
    }
}

/// A linear map of rows.
#[derive(Debug, Clone)]
struct Map {
    /// (D, outputs), row-major.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// A classifier, ready to predict: linear, or with a hidden layer before the linear map.
#[derive(Debug, Clone)]
pub struct FittedProbe {
    hidden: Option<Map>,
    /// (D, classes), row-major.
    weights: Vec<f32>,
    bias: Vec<f32>,
    standardize: Option<Standardize>,
    /// Most frequent class of the training rows.
    majority: u32,
    l2: Option<f64>,
    iterations: usize,
    converged: bool,
    /// Penalty and validation accuracy of each fit that selected the penalty.
    path: Vec<(f64, f64)>,
    seconds: f64,
}

impl FittedProbe {
    /// Refuses a probe that diverged, and notes how long it took.
    fn checked(mut self, took: Duration) -> Result<Self> {
        let hidden = self.hidden.iter().flat_map(|h| h.weights.iter().chain(&h.bias));
        if hidden.chain(&self.weights).chain(&self.bias).any(|w| !w.is_finite()) {
            return Err(Error::config("probe.lr", "the probe diverged", "use a smaller rate, or smaller features"));
        }
        self.seconds = took.as_secs_f64();
        Ok(self)
    }

    /// Weights (D, classes), row-major; they apply to standardized features under the protocol
    /// `converged`, and to the hidden units of a probe that has some.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Bias (classes).
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// L2 penalty λ of the final fit (mean loss + λ/2 ‖weights‖²); `None` under the protocol `paper`.
    pub fn l2(&self) -> Option<f64> {
        self.l2
    }

    /// Iterations of the final fit (`converged`) or optimizer steps (`paper`).
    pub fn iterations(&self) -> usize {
        self.iterations
    }

    /// Whether the final fit reached its tolerance.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// (λ, accuracy on held-out training items) of the fits that selected the penalty, in order.
    pub fn path(&self) -> &[(f64, f64)] {
        &self.path
    }

    /// Wall-clock seconds of the fit.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Calls `each` with the first row of a block of rows and their scores (rows, classes), block by block.
    fn score(&self, part: &Part<'_>, mut each: impl FnMut(usize, &[f32]) + Send) -> Result<()> {
        let (d, c) = (part.dims(), self.bias.len());
        let (first, outputs) = self.hidden.as_ref().map_or((&self.weights, c), |h| (&h.weights, h.bias.len()));
        if d * outputs != first.len() || part.n_classes() != c {
            return Err(Error::data(
                "examples",
                format_args!("{d} dimensions and {} classes, unlike those fitted", part.n_classes()),
                "evaluate the probe on the examples it was fitted on",
            ));
        }
        part.check()?;
        let pool = Pool::new();
        part.for_each_block(|first, x| {
            let rows = x.len() / d;
            if let Some(by) = &self.standardize {
                by.apply(x);
            }
            let mut z = pool.take(rows * c);
            let mut scores = |x: &[f32]| {
                softmax::scores(x, rows, self.weights.len() / c, &self.weights, &self.bias, &mut z, &pool);
            };
            match &self.hidden {
                None => scores(x),
                Some(map) => {
                    let mut h = pool.take(rows * outputs);
                    softmax::scores(x, rows, d, &map.weights, &map.bias, &mut h, &pool);
                    h.iter_mut().for_each(|h| *h = h.max(0.0));
                    scores(&h);
                }
            }
            each(first, &z);
            Ok(())
        })
    }

    /// Scores (rows, classes) of the rows of a part.
    ///
    /// # Errors
    /// When the part is empty, its features are not finite or cannot be read, or it is of another size
    /// than the training part.
    pub fn logits(&self, part: &Part<'_>) -> Result<Array2<f32>> {
        let c = self.bias.len();
        let mut logits = Array2::zeros((part.n_rows(), c));
        let out = logits.as_slice_mut().unwrap_or_else(|| unreachable!("a new array is row-major"));
        self.score(part, |first, z| out[first * c..][..z.len()].copy_from_slice(z))?;
        Ok(logits)
    }

    /// Class of each row of a part.
    ///
    /// # Errors
    /// As [`FittedProbe::logits`].
    pub fn predict(&self, part: &Part<'_>) -> Result<Vec<u32>> {
        let mut predicted = Vec::with_capacity(part.n_rows());
        self.score(part, |_, z| predicted.extend(z.chunks_exact(self.bias.len()).map(argmax)))?;
        Ok(predicted)
    }

    /// Evaluates the probe on a part, also without the class `silence` if given.
    ///
    /// # Errors
    /// As [`FittedProbe::logits`].
    pub fn evaluate(&self, part: &Part<'_>, silence: Option<usize>) -> Result<Score> {
        let (c, truth) = (self.bias.len(), part.labels());
        let (mut predicted, mut in_five) = (Vec::with_capacity(truth.len()), 0);
        self.score(part, |first, z| {
            predicted.extend(z.chunks_exact(c).map(argmax));
            in_five += among_top(c, z, &truth[first..first + z.len() / c], 5);
        })?;
        let top5 = in_five as f64 / truth.len() as f64;
        Ok(Score::new(c, truth, &predicted, top5, self.majority, silence))
    }
}
