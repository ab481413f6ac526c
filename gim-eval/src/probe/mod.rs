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
use crate::metrics::{Score, argmax, top_k};

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

/// The elements of an array that was made row-major.
fn row_major(logits: &Array2<f32>) -> &[f32] {
    logits.as_slice().unwrap_or_else(|| unreachable!("logits are row-major"))
}

/// Standardizes features to mean 0 and variance 1, by the statistics of the training rows.
#[derive(Debug, Clone, PartialEq)]
struct Standardize {
    mean: Vec<f32>,
    /// 1/std; 0 for a constant dimension, which removes it.
    inverse_std: Vec<f32>,
}

/// Rows of a partial sum.
const ROWS: usize = 1024;

impl Standardize {
    fn of(part: &Part<'_>) -> Self {
        let (n, d) = (part.n_rows(), part.dims());
        // Sums of differences from one row: no cancellation when the mean is far from zero.
        let origin = part.row(0);
        let sums: Vec<Vec<(f64, f64)>> = (0..n.div_ceil(ROWS))
            .into_par_iter()
            .map(|i| {
                let mut sums = vec![(0f64, 0f64); d];
                for row in i * ROWS..n.min((i + 1) * ROWS) {
                    for ((s, x), o) in sums.iter_mut().zip(part.row(row)).zip(origin) {
                        let x = f64::from(*x) - f64::from(*o);
                        s.0 += x;
                        s.1 += x * x;
                    }
                }
                sums
            })
            .collect();
        let (mut mean, mut inverse_std) = (Vec::with_capacity(d), Vec::with_capacity(d));
        for j in 0..d {
            let (sum, square) = sums.iter().fold((0.0, 0.0), |(a, b), s| (a + s[j].0, b + s[j].1));
            let m = sum / n as f64;
            let std = (square / n as f64 - m * m).max(0.0).sqrt();
            let center = f64::from(origin[j]) + m;
            mean.push(center as f32);
            // Less variation than the features' own rounding is none.
            let varies = std > 1e-6 * center.abs() && std > f64::from(f32::MIN_POSITIVE);
            inverse_std.push(if varies { (1.0 / std).min(f64::from(f32::MAX)) as f32 } else { 0.0 });
        }
        Self { mean, inverse_std }
    }
}

/// `out (rows, D)` = these rows of `part`, standardized if `standardize` is given.
fn gather(part: &Part<'_>, rows: &[usize], by: Option<&Standardize>, out: &mut [f32]) {
    let d = part.dims();
    out.par_chunks_mut(d * 64).zip(rows.par_chunks(64)).for_each(|(out, rows)| {
        for (out, row) in out.chunks_exact_mut(d).zip(rows) {
            out.copy_from_slice(part.row(*row));
            if let Some(by) = by {
                let scale = by.mean.iter().zip(&by.inverse_std);
                out.iter_mut().zip(scale).for_each(|(x, (m, s))| *x = (*x - m) * s);
            }
        }
    });
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

    /// Scores (rows, classes) of the rows of a part.
    ///
    /// # Errors
    /// When the part is empty, its features are not finite, or it is of another size than the training part.
    pub fn logits(&self, part: &Part<'_>) -> Result<Array2<f32>> {
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
        let mut logits = Array2::zeros((part.n_rows(), c));
        let rows: Vec<usize> = (0..part.n_rows()).collect();
        let out = logits.as_slice_mut().unwrap_or_else(|| unreachable!("a new array is row-major"));
        for (rows, z) in rows.chunks(8192).zip(out.chunks_mut(8192 * c)) {
            let mut x = pool.take(rows.len() * d);
            gather(part, rows, self.standardize.as_ref(), &mut x);
            if let Some(map) = &self.hidden {
                let mut h = pool.take(rows.len() * outputs);
                softmax::scores(&x, rows.len(), d, &map.weights, &map.bias, &mut h, &pool);
                h.iter_mut().for_each(|h| *h = h.max(0.0));
                x = h;
            }
            softmax::scores(&x, rows.len(), self.weights.len() / c, &self.weights, &self.bias, z, &pool);
        }
        Ok(logits)
    }

    /// Class of each row of a part.
    ///
    /// # Errors
    /// As [`FittedProbe::logits`].
    pub fn predict(&self, part: &Part<'_>) -> Result<Vec<u32>> {
        let logits = self.logits(part)?;
        Ok(row_major(&logits).chunks_exact(self.bias.len()).map(argmax).collect())
    }

    /// Evaluates the probe on a part, also without the class `silence` if given.
    ///
    /// # Errors
    /// As [`FittedProbe::logits`].
    pub fn evaluate(&self, part: &Part<'_>, silence: Option<usize>) -> Result<Score> {
        let logits = self.logits(part)?;
        let (logits, c, truth) = (row_major(&logits), self.bias.len(), part.labels());
        let predicted: Vec<u32> = logits.chunks_exact(c).map(argmax).collect();
        let top5 = top_k(c, logits, truth, 5).unwrap_or(f64::NAN);
        Ok(Score::new(c, truth, &predicted, top5, self.majority, silence))
    }
}
