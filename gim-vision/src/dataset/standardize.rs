//! Zero mean and unit variance of each channel, the network's input.

use std::collections::BTreeSet;

use gim_core::{Error, Result};
use rayon::prelude::*;

use crate::dataset::image::Color;
use crate::dataset::{ImageDataset, Split};

/// Largest number of images that are measured.
const SAMPLE: usize = 2_000;

/// x → (x/255 − mean)/std. Each channel has its own mean and std; all images share them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standardize {
    color: Color,
    mean: [f64; 3],
    std: [f64; 3],
    /// 1/(255 std)
    scale: [f32; 3],
    /// −mean/std
    shift: [f32; 3],
}

impl Standardize {
    /// With given means (C) and standard deviations (C); white is 1.
    ///
    /// # Errors
    /// When there is not one mean and std for each channel of `color`, a value is not finite, or a
    /// std is not positive.
    pub fn given(color: Color, mean: &[f64], std: &[f64]) -> Result<Self> {
        let n = color.channels();
        let fit = |x: &[f64]| x.len() == n && x.iter().all(|v| v.is_finite());
        if !fit(mean) || !fit(std) || std.iter().any(|&s| s < 1e-12) {
            let what = format!("mean {mean:?} and std {std:?} cannot standardize {n} channels");
            return Err(Error::config(
                "data.standardize",
                what,
                "give a finite mean and a positive std for each channel",
            ));
        }
        // A gray image only has the first channel; the others are never read.
        let wide = |x: &[f64], c: usize| x[c.min(n - 1)];
        let (mean, std) = ([0, 1, 2].map(|c| wide(mean, c)), [0, 1, 2].map(|c| wide(std, c)));
        let scale = [0, 1, 2].map(|c| (1.0 / (255.0 * std[c])) as f32);
        let shift = [0, 1, 2].map(|c| (-mean[c] / std[c]) as f32);
        Ok(Self { color, mean, std, scale, shift })
    }

    /// With means and standard deviations of the pixels of at most 2,000 images, evenly spaced in
    /// the unlabeled split without those `held_out`. Sums are of integers, so they are exact in any order.
    ///
    /// # Errors
    /// When an image cannot be read, or all pixels of a channel are equal.
    pub fn measure(dataset: &dyn ImageDataset, color: Color, held_out: &BTreeSet<usize>) -> Result<Self> {
        let all = dataset.split(Split::Unlabeled).iter().copied();
        let all: Vec<usize> = all.filter(|i| !held_out.contains(i)).collect();
        let n = all.len().min(SAMPLE);
        let sample: Vec<usize> = (0..n).map(|i| all[i * all.len() / n]).collect();
        let channels = color.channels();
        let sums: Vec<([u64; 3], [u64; 3], u64)> = sample
            .par_iter()
            .map(|&i| {
                let image = dataset.read(i)?.in_color(color);
                let (mut sum, mut squares) = ([0u64; 3], [0u64; 3]);
                for pixel in image.pixels.chunks_exact(channels) {
                    for (c, &v) in pixel.iter().enumerate() {
                        sum[c] += u64::from(v);
                        squares[c] += u64::from(v) * u64::from(v);
                    }
                }
                Ok((sum, squares, (image.height * image.width) as u64))
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
            let what = format!("all pixels of the {n} images measured are equal");
            return Err(Error::file(dataset.root(), what, "check the files"));
        }
        Self::given(color, &mean.map(|m| m / 255.0)[..channels], &std.map(|s| s / 255.0)[..channels])
    }

    /// The channels that it standardizes.
    pub fn color(&self) -> Color {
        self.color
    }

    /// The means (C) that are subtracted; white is 1.
    pub fn mean(&self) -> &[f64] {
        &self.mean[..self.color.channels()]
    }

    /// The standard deviations (C) that are divided by; white is 1.
    pub fn std(&self) -> &[f64] {
        &self.std[..self.color.channels()]
    }

    /// Standardizes values (…, C) from 0 to 255 in place: those that are whole as [`Self::apply`] does.
    pub fn apply_to(&self, values: &mut [f32]) {
        let channels = self.color.channels();
        for values in values.chunks_exact_mut(channels) {
            for (c, value) in values.iter_mut().enumerate() {
                *value = *value * self.scale[c] + self.shift[c];
            }
        }
    }

    /// pixels (…, C) → out (…, C), standardized; both have the same length.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len(), "pixels and standardized pixels");
        match self.color {
            Color::Grayscale => {
                for (y, &x) in out.iter_mut().zip(pixels) {
                    *y = f32::from(x) * self.scale[0] + self.shift[0];
                }
            }
            Color::Rgb => {
                for (y, x) in out.chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
                    for c in 0..3 {
                        y[c] = f32::from(x[c]) * self.scale[c] + self.shift[c];
                    }
                }
            }
        }
    }
}
