//! Random augmentations of images: those of SimCLR (Chen, Kornblith, Norouzi, Hinton 2020, appendix A).
//!
//! A view is cut and resized, mirrored, its colors are changed, it is turned gray, and blurred, in this
//! order. The formulas are torchvision's, whose names the paper uses. They work on values from 0 to 255
//! without rounding, before standardization.

use documented::DocumentedFields;
use gim_core::data::below;
use gim_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::loader::mirror;

/// What is done to training views beyond cutting and mirroring them. By default, nothing; the settings of
/// what is off are the source's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Views are random resized crops: of a random area and aspect ratio, resized to `data.crop`.
    pub resized_crop: bool,
    /// Area of a resized crop, from and to, as a share of the image.
    pub scale: [f64; 2],
    /// Aspect ratio of a resized crop, from and to: width by height.
    pub ratio: [f64; 2],
    /// Strength s of color jitter; 0 for none. The source has 1 for ImageNet and 0.5 for CIFAR-10.
    pub strength: f64,
    /// Probability of color jitter.
    pub jitter: f64,
    /// Largest change of brightness for s = 1, as a share.
    pub brightness: f64,
    /// Largest change of contrast for s = 1, as a share.
    pub contrast: f64,
    /// Largest change of saturation for s = 1, as a share. Images in grayscale have none.
    pub saturation: f64,
    /// Largest change of hue for s = 1, as a share of the circle. Images in grayscale have none.
    pub hue: f64,
    /// Probability that a view in color loses its colors; 0 for never. The source has 0.2.
    pub grayscale: f64,
    /// Probability of Gaussian blur; 0 for never. The source has 0.5, and 0 for CIFAR-10.
    pub blur: f64,
    /// Standard deviation σ of the blur, from and to, in pixels.
    pub sigma: [f64; 2],
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            resized_crop: false,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            strength: 0.0,
            jitter: 0.8,
            brightness: 0.8,
            contrast: 0.8,
            saturation: 0.8,
            hue: 0.2,
            grayscale: 0.0,
            blur: 0.0,
            sigma: [0.1, 2.0],
        }
    }
}

impl Augment {
    /// Whether views are only cut and mirrored.
    pub fn is_off(&self) -> bool {
        let Self { resized_crop, strength, jitter, grayscale, blur, .. } = *self;
        !resized_crop && (strength == 0.0 || jitter == 0.0) && grayscale == 0.0 && blur == 0.0
    }

    /// Checks what the ranges of single numbers do not say.
    ///
    /// # Errors
    /// [`Error::Config`] when an interval is empty or begins at or below 0, an area is larger than the
    /// image, or a hue is turned by more than half of the circle.
    pub fn check(&self) -> Result<()> {
        for (key, [from, to], most) in
            [("scale", self.scale, 1.0), ("ratio", self.ratio, f64::MAX), ("sigma", self.sigma, f64::MAX)]
        {
            if !(from > 0.0 && from <= to && to <= most) {
                let what = format!("goes from {from} to {to}");
                let remedy = if most == 1.0 {
                    "give two numbers above 0, up to 1, the smaller one first"
                } else {
                    "give two numbers above 0, the smaller one first"
                };
                return Err(Error::config(format_args!("data.augment.{key}"), what, remedy));
            }
        }
        if self.strength * self.hue > 0.5 {
            let what = format!("a strength of {} turns hues by up to {}", self.strength, self.strength * self.hue);
            return Err(Error::config("data.augment.hue", what, "make strength · hue 0.5 or less, half of the circle"));
        }
        Ok(())
    }

    /// Top, left, height and width of the rectangle that a view of an image (height, width) is resized
    /// from, by `next`, which gives random bits. After ten rectangles that do not fit, it is the largest
    /// one in the middle of an allowed aspect ratio, as in torchvision's `RandomResizedCrop`.
    pub(super) fn rectangle(&self, height: usize, width: usize, next: &mut impl FnMut() -> u64) -> [usize; 4] {
        let (h, w) = (height as f64, width as f64);
        for _ in 0..10 {
            let area = h * w * between(next(), self.scale);
            let ratio = between(next(), self.ratio.map(f64::ln)).exp();
            let (tall, wide) = ((area / ratio).sqrt().round() as usize, (area * ratio).sqrt().round() as usize);
            if (1..=height).contains(&tall) && (1..=width).contains(&wide) {
                return [below(next(), height - tall + 1), below(next(), width - wide + 1), tall, wide];
            }
        }
        let [narrow, broad] = self.ratio;
        let (tall, wide) = if w / h < narrow {
            (((w / narrow).round() as usize).clamp(1, height), width)
        } else if w / h > broad {
            (height, ((h * broad).round() as usize).clamp(1, width))
        } else {
            (height, width)
        };
        [(height - tall) / 2, (width - wide) / 2, tall, wide]
    }
}

/// A number in 0 .. 1 from 64 random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// A number between two.
fn between(bits: u64, [from, to]: [f64; 2]) -> f64 {
    from + (to - from) * unit(bits)
}

/// What color jitter changes. A [`Jitter`] lists them in the order in which they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Values are multiplied.
    Brightness,
    /// Distances from the mean of the luma are multiplied.
    Contrast,
    /// Distances from the luma are multiplied.
    Saturation,
    /// Hues are turned.
    Hue,
}

/// Color jitter as drawn: changes in random order. Factors are 1 and the hue is 0 for no change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// Each with its factor; of the hue, the share of the circle.
    pub changes: [(Change, f32); 4],
}

/// What is done to the values of a view, as drawn.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Effects {
    /// Color jitter.
    pub jitter: Option<Jitter>,
    /// Loss of all colors.
    pub gray: bool,
    /// σ of Gaussian blur, in pixels.
    pub sigma: Option<f32>,
}

impl Effects {
    /// Random numbers that a draw takes, whatever the settings.
    pub(super) const DRAWS: usize = 9;

    /// Effects by random bits.
    pub(super) fn draw(augment: &Augment, bits: [u64; Self::DRAWS]) -> Self {
        let [jitters, order, brightness, contrast, saturation, hue, gray, blurs, sigma] = bits;
        let Augment { strength: s, .. } = *augment;
        let factor = |bits, most: f64| between(bits, [(1.0 - s * most).max(0.0), 1.0 + s * most]) as f32;
        let mut changes = [
            (Change::Brightness, factor(brightness, augment.brightness)),
            (Change::Contrast, factor(contrast, augment.contrast)),
            (Change::Saturation, factor(saturation, augment.saturation)),
            (Change::Hue, between(hue, [-s * augment.hue, s * augment.hue]) as f32),
        ];
        // One of the 24 orders, by Fisher–Yates.
        let mut order = below(order, 24);
        for i in (1..4).rev() {
            changes.swap(i, order % (i + 1));
            order /= i + 1;
        }
        Self {
            jitter: (s > 0.0 && unit(jitters) < augment.jitter).then_some(Jitter { changes }),
            gray: unit(gray) < augment.grayscale,
            sigma: (unit(blurs) < augment.blur).then(|| between(sigma, augment.sigma) as f32),
        }
    }

    /// Changes values (side, side, C) from 0 to 255, in place. They stay in this range.
    pub fn apply(&self, values: &mut [f32], side: usize, scratch: &mut Vec<f32>) {
        let channels = values.len() / (side * side);
        for (change, by) in self.jitter.iter().flat_map(|j| j.changes) {
            match change {
                Change::Brightness => values.iter_mut().for_each(|v| *v = clamp(by * *v)),
                Change::Contrast => contrast(values, channels, by),
                Change::Saturation => saturate(values, channels, by),
                Change::Hue => turn_hue(values, channels, by),
            }
        }
        if self.gray {
            saturate(values, channels, 0.0);
        }
        if let Some(sigma) = self.sigma {
            blur(values, side, channels, sigma, scratch);
        }
    }
}

/// The largest value.
const WHITE: f32 = 255.0;

fn clamp(value: f32) -> f32 {
    value.clamp(0.0, WHITE)
}

/// The luma as torchvision's tensors have it: .2989 R + .587 G + .114 B.
fn luma(pixel: &[f32]) -> f32 {
    match *pixel {
        [r, g, b] => 0.2989 * r + 0.587 * g + 0.114 * b,
        _ => pixel[0],
    }
}

/// v → mean + by·(v − mean), with the mean of the luma of all pixels.
fn contrast(values: &mut [f32], channels: usize, by: f32) {
    let pixels = values.len() / channels;
    let mean = values.chunks_exact(channels).map(|p| f64::from(luma(p))).sum::<f64>() / pixels as f64;
    let rest = (1.0 - by) * mean as f32;
    values.iter_mut().for_each(|v| *v = clamp(by * *v + rest));
}

/// v → luma + by·(v − luma); nothing in grayscale.
fn saturate(values: &mut [f32], channels: usize, by: f32) {
    if channels == 3 {
        for pixel in values.as_chunks_mut::<3>().0 {
            let rest = (1.0 - by) * luma(pixel);
            pixel.iter_mut().for_each(|v| *v = clamp(by * *v + rest));
        }
    }
}

/// Turns hues by a share of the circle; nothing in grayscale.
///
/// In the hexagon of hue, saturation and value (Smith 1978). Value and saturation stay.
fn turn_hue(values: &mut [f32], channels: usize, by: f32) {
    if channels != 3 || by == 0.0 {
        return;
    }
    for pixel in values.as_chunks_mut::<3>().0 {
        let [r, g, b] = *pixel;
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        let range = max - min;
        if range == 0.0 {
            continue;
        }
        let sector = if max == r {
            (g - b) / range
        } else if max == g {
            2.0 + (b - r) / range
        } else {
            4.0 + (r - g) / range
        };
        let turned = (sector + 6.0 * by).rem_euclid(6.0);
        let within = turned - turned.floor();
        let (falling, rising) = (max - range * within, min + range * within);
        *pixel = match turned as u32 {
            0 | 6 => [max, rising, min],
            1 => [falling, max, min],
            2 => [min, max, rising],
            3 => [min, falling, max],
            4 => [rising, min, max],
            _ => [max, min, falling],
        };
    }
}

/// Pixels on each side of the middle of a Gaussian kernel: a tenth of the side in all, as in the source,
/// and never none.
fn radius(side: usize) -> usize {
    (side / 20).max(1)
}

/// Gaussian blur of values (side, side, C). Beyond the edges they are mirrored, as torchvision does; the
/// published code has zeros there, which darken the edges.
fn blur(values: &mut [f32], side: usize, channels: usize, sigma: f32, scratch: &mut Vec<f32>) {
    let radius = radius(side);
    let gauss = |n: usize| (-0.5 * ((n as f32 - radius as f32) / sigma).powi(2)).exp();
    let sum: f32 = (0..=2 * radius).map(gauss).sum();
    let kernel: Vec<f32> = (0..=2 * radius).map(|n| gauss(n) / sum).collect();
    let line = side * channels;
    scratch.clear();
    scratch.resize(values.len(), 0.0);
    for y in 0..side {
        let to = &mut scratch[y * line..][..line];
        for (n, weight) in kernel.iter().enumerate() {
            let from = &values[mirror(y + n, radius, side) * line..][..line];
            to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
        }
    }
    for (to, from) in values.chunks_exact_mut(line).zip(scratch.chunks_exact(line)) {
        match channels {
            1 => blur_line::<1>(to, from, &kernel),
            _ => blur_line::<3>(to, from, &kernel),
        }
    }
}

/// A line of pixels of C channels, blurred.
fn blur_line<const C: usize>(to: &mut [f32], from: &[f32], kernel: &[f32]) {
    let (to, from) = (to.as_chunks_mut::<C>().0, from.as_chunks::<C>().0);
    for (x, to) in to.iter_mut().enumerate() {
        let mut sum = [0.0; C];
        for (n, weight) in kernel.iter().enumerate() {
            let pixel = &from[mirror(x + n, kernel.len() / 2, from.len())];
            (0..C).for_each(|c| sum[c] += weight * pixel[c]);
        }
        // Weights add up to 1 but for rounding.
        *to = sum.map(clamp);
    }
}

/// Weights by which `to` values are averages of `from`: those of each begin at `first` and are
/// `weights[i · most ..]`.
///
/// A triangle filter as wide as a value of the output, as Pillow's bilinear resize has: interpolation
/// when enlarging, averages over the area when shrinking.
#[derive(Debug, Default)]
struct Taps {
    first: Vec<usize>,
    weights: Vec<f32>,
    most: usize,
}

impl Taps {
    fn fill(&mut self, from: usize, to: usize) {
        let scale = from as f64 / to as f64;
        let support = scale.max(1.0);
        self.most = (2.0 * support).ceil() as usize + 1;
        self.first.clear();
        self.weights.clear();
        for i in 0..to {
            let center = scale * (i as f64 + 0.5);
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let weight = |j: usize| (1.0 - ((j as f64 + 0.5 - center) / support).abs()).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            self.first.push(first);
            self.weights.extend((first..end).map(|j| (weight(j) / sum) as f32));
            self.weights.resize((i + 1) * self.most, 0.0);
        }
    }

    /// Averages of a line of pixels of C channels, from right to left if `flip`.
    fn line<const C: usize>(&self, from: &[f32], flip: bool, to: &mut [f32]) {
        let (from, to) = (from.as_chunks::<C>().0, to.as_chunks_mut::<C>().0);
        for i in 0..to.len() {
            let (first, weights) = self.of(i);
            let mut sum = [0.0; C];
            for (weight, pixel) in weights.iter().zip(&from[first..]) {
                (0..C).for_each(|c| sum[c] += weight * pixel[c]);
            }
            to[if flip { to.len() - 1 - i } else { i }] = sum;
        }
    }

    /// First value and weights of the i-th average; the weights end with zeros where there are fewer.
    fn of(&self, i: usize) -> (usize, &[f32]) {
        (self.first[i], &self.weights[i * self.most..][..self.most])
    }
}

/// Buffers of a resize, to be used again.
#[derive(Debug, Default)]
pub(super) struct Resize {
    down: Taps,
    across: Taps,
    columns: Vec<usize>,
    rows: Vec<f32>,
    line: Vec<f32>,
}

impl Resize {
    /// The rectangle (top, left, height, width) of an image of pixels (H, W, C) with `pad` mirrored pixels
    /// at each edge → values (side, side, C) from 0 to 255, mirrored left to right if `flip`.
    pub(super) fn cut(
        &mut self,
        (pixels, [h, w, channels]): (&[u8], [usize; 3]),
        [top, left, height, width]: [usize; 4],
        (pad, flip): (usize, bool),
        out: &mut [f32],
    ) {
        let side = (out.len() / channels).isqrt();
        self.down.fill(height, side);
        self.across.fill(width, side);
        self.columns.clear();
        self.columns.extend((0..width).map(|x| mirror(left + x, pad, w) * channels));
        self.rows.clear();
        self.rows.resize(height * side * channels, 0.0);
        for (y, row) in self.rows.chunks_exact_mut(side * channels).enumerate() {
            let from = &pixels[mirror(top + y, pad, h) * w * channels..][..w * channels];
            self.line.clear();
            self.line.extend(self.columns.iter().flat_map(|x| &from[*x..*x + channels]).map(|v| f32::from(*v)));
            match channels {
                1 => self.across.line::<1>(&self.line, flip, row),
                _ => self.across.line::<3>(&self.line, flip, row),
            }
        }
        let line = side * channels;
        for (y, to) in out.chunks_exact_mut(line).enumerate() {
            let (first, weights) = self.down.of(y);
            to.fill(0.0);
            for (weight, from) in weights.iter().zip(self.rows[first * line..].chunks_exact(line)) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
            }
            to.iter_mut().for_each(|v| *v = clamp(*v));
        }
    }
}

#[cfg(test)]
mod tests;
