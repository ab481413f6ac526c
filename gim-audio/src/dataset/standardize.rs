//! Zero mean and unit variance of the waveform, as the network's input wants it.

use gim_core::{Error, Result};
use rayon::prelude::*;

use crate::dataset::corpus::{Corpus, Split};

/// x → (x − mean)/std, the same for every sample of the corpus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standardize {
    mean: f32,
    std: f32,
    scale: f32,
}

impl Standardize {
    /// With given figures, in units of full scale = 1.
    ///
    /// # Errors
    /// A figure is not finite, or `std` is not positive.
    pub fn given(mean: f64, std: f64) -> Result<Self> {
        if !mean.is_finite() || !std.is_finite() || std < 1e-12 {
            let what = format!("mean {mean} and std {std} cannot standardize anything");
            return Err(Error::config("data.standardize", what, "give a finite mean and a positive std"));
        }
        Ok(Self { mean: mean as f32, std: std as f32, scale: (1.0 / std) as f32 })
    }

    /// Measured over a split: sums in f64 within each utterance, then over utterances in their order, whatever the threads.
    ///
    /// # Errors
    /// A file cannot be decoded, or all samples are equal.
    pub fn measure(corpus: &Corpus, split: Split) -> Result<Self> {
        let sums: Vec<(f64, f64, usize)> = corpus
            .split(split)
            .par_iter()
            .map(|&u| {
                let x = corpus.decode(u)?;
                let (mut sum, mut squares) = (0.0f64, 0.0f64);
                for v in x.iter().map(|&v| f64::from(v)) {
                    sum += v;
                    squares += v * v;
                }
                Ok((sum, squares, x.len()))
            })
            .collect::<Result<_>>()?;
        let (mut sum, mut squares, mut n) = (0.0, 0.0, 0);
        for (s, q, k) in sums {
            (sum, squares, n) = (sum + s, squares + q, n + k);
        }
        let mean = sum / n.max(1) as f64;
        let std = (squares / n.max(1) as f64 - mean * mean).max(0.0).sqrt();
        if std < 1e-9 {
            return Err(Error::file(corpus.root(), "its training audio is silent or empty", "check the files"));
        }
        Self::given(mean, std)
    }

    /// The mean taken off.
    pub fn mean(&self) -> f32 {
        self.mean
    }

    /// The standard deviation divided by.
    pub fn std(&self) -> f32 {
        self.std
    }

    /// One sample.
    #[inline]
    pub fn one(&self, x: f32) -> f32 {
        (x - self.mean) * self.scale
    }

    /// All samples, in place.
    pub fn apply(&self, x: &mut [f32]) {
        for v in x {
            *v = self.one(*v);
        }
    }
}
