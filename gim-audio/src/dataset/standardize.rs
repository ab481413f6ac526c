//! Zero mean and unit variance of waveforms, the network's input.

use std::path::Path;

use gim_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// x → (x − mean)/std, the same for every sample of the corpus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standardize {
    mean: f64,
    std: f64,
    /// The mean, rounded.
    shift: f32,
    /// 1/std
    scale: f32,
}

impl Standardize {
    /// With a given mean and standard deviation; full scale is 1.
    ///
    /// # Errors
    /// When a value is not finite, or `std` is not positive.
    pub fn given(mean: f64, std: f64) -> Result<Self> {
        if !mean.is_finite() || !std.is_finite() || std < 1e-12 {
            let what = format!("mean {mean} and std {std} cannot standardize anything");
            return Err(Error::config("data.standardize", what, "give a finite mean and a positive std"));
        }
        Ok(Self { mean, std, shift: mean as f32, scale: (1.0 / std) as f32 })
    }

    /// With mean and standard deviation of all samples of `waveforms`, which come from the folder
    /// `root`.
    ///
    /// Sums are taken in f64, within each waveform and then over waveforms in their order. The
    /// result does not depend on the number of threads.
    ///
    /// # Errors
    /// When a waveform cannot be decoded, or all samples are equal.
    pub fn measure(root: &Path, waveforms: impl IndexedParallelIterator<Item = Result<Vec<f32>>>) -> Result<Self> {
        let sums: Vec<Sums> = waveforms.map(|x| x.map(|x| Sums::of(&x))).collect::<Result<_>>()?;
        Self::from_sums(root, sums.into_iter())
    }

    /// With the [`Sums`] of all waveforms, in their order.
    ///
    /// # Errors
    /// When all samples are equal.
    pub(super) fn from_sums(root: &Path, sums: impl Iterator<Item = Sums>) -> Result<Self> {
        let (mut sum, mut squares, mut n) = (0.0, 0.0, 0);
        for s in sums {
            (sum, squares, n) = (sum + s.sum, squares + s.squares, n + s.n);
        }
        let mean = sum / n.max(1) as f64;
        let std = (squares / n.max(1) as f64 - mean * mean).max(0.0).sqrt();
        if std < 1e-9 {
            return Err(Error::file(root, "its training audio is silent or empty", "check the files"));
        }
        Self::given(mean, std)
    }

    /// The mean that is subtracted.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation that is divided by.
    pub fn std(&self) -> f64 {
        self.std
    }

    /// Standardizes one sample.
    #[inline]
    pub fn one(&self, x: f32) -> f32 {
        (x - self.shift) * self.scale
    }

    /// Standardizes samples in place.
    pub fn apply(&self, x: &mut [f32]) {
        for v in x {
            *v = self.one(*v);
        }
    }
}

/// Sums over the samples of one waveform. In files, they are bits: decimal digits may lose the last one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, usize)", into = "(u64, u64, usize)")]
pub(super) struct Sums {
    sum: f64,
    squares: f64,
    n: usize,
}

impl From<(u64, u64, usize)> for Sums {
    fn from((sum, squares, n): (u64, u64, usize)) -> Self {
        Self { sum: f64::from_bits(sum), squares: f64::from_bits(squares), n }
    }
}

impl From<Sums> for (u64, u64, usize) {
    fn from(sums: Sums) -> Self {
        (sums.sum.to_bits(), sums.squares.to_bits(), sums.n)
    }
}

impl Sums {
    /// Number of samples.
    pub(super) fn samples(&self) -> usize {
        self.n
    }

    pub(super) fn of(x: &[f32]) -> Self {
        let (mut sum, mut squares) = (0.0f64, 0.0f64);
        for v in x.iter().map(|&v| f64::from(v)) {
            sum += v;
            squares += v * v;
        }
        Self { sum, squares, n: x.len() }
    }
}
