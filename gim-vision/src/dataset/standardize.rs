//! Zero mean and unit variance of each channel, as the network's input wants it.

use gim_core::{Error, Result};
use rayon::prelude::*;

use crate::dataset::image::Colour;
use crate::dataset::{ImageCorpus, Split};

/// Pictures that are measured at most.
const SAMPLE: usize = 2_000;

/// x → (x/255 − mean)/std, with a mean and std of its own for each channel, the same for all pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standardize {
    colour: Colour,
    mean: [f64; 3],
    std: [f64; 3],
    /// 1/(255 std)
    scale: [f32; 3],
    /// −mean/std
    shift: [f32; 3],
}

impl Standardize {
    /// With given figures (C), in units of white = 1.
    ///
    /// # Errors
    /// Not one mean and std for each channel of `colour`; a figure is not finite, or a std is not positive.
    pub fn given(colour: Colour, mean: &[f64], std: &[f64]) -> Result<Self> {
        let n = colour.channels();
        let fit = |x: &[f64]| x.len() == n && x.iter().all(|v| v.is_finite());
        if !fit(mean) || !fit(std) || std.iter().any(|&s| s < 1e-12) {
            let what = format!("mean {mean:?} and std {std:?} cannot standardise {n} channels");
            return Err(Error::config(
                "data.standardize",
                what,
                "give a finite mean and a positive std for each channel",
            ));
        }
        // A grey picture's only channel is the first; the others are never looked at.
        let wide = |x: &[f64], c: usize| x[c.min(n - 1)];
        let (mean, std) = ([0, 1, 2].map(|c| wide(mean, c)), [0, 1, 2].map(|c| wide(std, c)));
        let scale = [0, 1, 2].map(|c| (1.0 / (255.0 * std[c])) as f32);
        let shift = [0, 1, 2].map(|c| (-mean[c] / std[c]) as f32);
        Ok(Self { colour, mean, std, scale, shift })
    }

    /// Measured over the pixels of 2,000 pictures of the unlabelled split, evenly spaced (of all, if there are fewer). Sums
    /// are of whole numbers, hence exact in any order.
    ///
    /// # Errors
    /// A picture cannot be read, or all pixels of a channel are equal.
    pub fn measure(corpus: &dyn ImageCorpus, colour: Colour) -> Result<Self> {
        let all = corpus.split(Split::Unlabeled);
        let n = all.len().min(SAMPLE);
        let sample: Vec<usize> = (0..n).map(|i| all[i * all.len() / n]).collect();
        let channels = colour.channels();
        let sums: Vec<([u64; 3], [u64; 3], u64)> = sample
            .par_iter()
            .map(|&i| {
                let picture = corpus.read(i)?.in_colour(colour);
                let (mut sum, mut squares) = ([0u64; 3], [0u64; 3]);
                for pixel in picture.pixels.chunks_exact(channels) {
                    for (c, &v) in pixel.iter().enumerate() {
                        sum[c] += u64::from(v);
                        squares[c] += u64::from(v) * u64::from(v);
                    }
                }
                Ok((sum, squares, (picture.height * picture.width) as u64))
            })
            .collect::<Result<_>>()?;
        let (mut sum, mut squares, mut pixels) = ([0u64; 3], [0u64; 3], 0u64);
        for (s, q, k) in sums {
            for c in 0..channels {
                sum[c] += s[c];
                squares[c] += q[c];
            }
            pixels += k;
        }
        let count = pixels.max(1) as f64;
        let mean = [0, 1, 2].map(|c| sum[c] as f64 / count);
        let std = [0, 1, 2].map(|c| (squares[c] as f64 / count - mean[c] * mean[c]).max(0.0).sqrt());
        if std[..channels].iter().any(|&s| s < 1e-6) {
            let what = format!("all pixels of the {n} pictures measured are equal");
            return Err(Error::file(corpus.root(), what, "check the files"));
        }
        Self::given(colour, &mean.map(|m| m / 255.0)[..channels], &std.map(|s| s / 255.0)[..channels])
    }

    /// The channels it is for.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// The means taken off (C), white = 1.
    pub fn mean(&self) -> &[f64] {
        &self.mean[..self.colour.channels()]
    }

    /// The standard deviations divided by (C), white = 1.
    pub fn std(&self) -> &[f64] {
        &self.std[..self.colour.channels()]
    }

    /// Pixels (…, C) → standardised (…, C), both of the same length, overwritten.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len(), "pixels and standardised pixels");
        match self.colour {
            Colour::Grey => {
                for (y, &x) in out.iter_mut().zip(pixels) {
                    *y = f32::from(x) * self.scale[0] + self.shift[0];
                }
            }
            Colour::Rgb => {
                for (y, x) in out.chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
                    for c in 0..3 {
                        y[c] = f32::from(x[c]) * self.scale[c] + self.shift[c];
                    }
                }
            }
        }
    }
}
