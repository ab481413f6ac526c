//! Mel-frequency cepstral coefficients: the baseline every learned representation is measured against.
//!
//! Frames lie on the grid of the phone labels: 25 ms every 10 ms, ⌊(n−400)/160⌋+1 of them. A frame is, in this order,
//! pre-emphasized (x\[i\] − .97 x\[i−1\], its first sample against itself, as Kaldi does), windowed, transformed (512 points),
//! its power spectrum summed in triangular mel bands, the logarithm taken, and the bands decorrelated by an orthonormal DCT-II.
//! Δ and ΔΔ are regressions over ±2 frames, the first and last frame repeated beyond the ends.

use std::f64::consts::PI;
use std::sync::Arc;

use gim_core::{Error, Result};
use ndarray::Array2;
use realfft::{RealFftPlanner, RealToComplex};

use crate::dataset::decode::RATE;
use crate::geometry::{LABEL_HOP, LABEL_WINDOW, label_frames};

/// The window's shape, over n points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Window {
    /// .54 − .46 cos(2πi/(n−1))
    #[default]
    Hamming,
    /// .5 − .5 cos(2πi/(n−1))
    Hann,
    /// Hann to the power .85, as in Kaldi.
    Povey,
}

/// What is computed; the default is 13 coefficients with Δ and ΔΔ: 39 numbers a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct MfccConfig {
    /// Pre-emphasis.
    pub preemphasis: f64,
    /// Window.
    pub window: Window,
    /// Mel bands.
    pub bands: usize,
    /// Lower edge of the lowest band, in Hz.
    pub low: f64,
    /// Upper edge of the highest band, in Hz.
    pub high: f64,
    /// Coefficients, the zeroth included.
    pub coefficients: usize,
    /// Powers below this count as this much before the logarithm.
    pub floor: f64,
    /// Sinusoidal liftering c_k · (1 + L/2 · sin(πk/L)) with this L; 0: none.
    pub lifter: f64,
    /// Append Δ and ΔΔ.
    pub deltas: bool,
    /// Subtract each column's mean over the utterance.
    pub center: bool,
}

impl Default for MfccConfig {
    fn default() -> Self {
        Self {
            preemphasis: 0.97,
            window: Window::Hamming,
            bands: 40,
            low: 20.0,
            high: 8000.0,
            coefficients: 13,
            floor: 1e-10,
            lifter: 0.0,
            deltas: true,
            center: false,
        }
    }
}

const FFT: usize = 512;
const BINS: usize = FFT / 2 + 1;
/// Δ_t = Σ_{k=1..2} k (c_{t+k} − c_{t−k}) / (2 (1² + 2²))
const REGRESSION: usize = 2;

/// Tables for a configuration.
pub struct Mfcc {
    config: MfccConfig,
    fft: Arc<dyn RealToComplex<f64>>,
    /// (400)
    window: Vec<f64>,
    /// First bin and weights of each band.
    mel: Vec<(usize, Vec<f64>)>,
    /// (coefficients, bands), liftering included
    dct: Array2<f64>,
}

impl Mfcc {
    /// Makes the tables.
    ///
    /// # Errors
    /// No bands, more coefficients than bands, a band that covers no bin of the spectrum, or edges outside 0 to 8 kHz.
    pub fn new(config: MfccConfig) -> Result<Self> {
        let bad = |what: String| Err(Error::config("mfcc", what, "the default is 40 bands from 20 to 8000 Hz"));
        if config.bands == 0 || config.coefficients == 0 || config.coefficients > config.bands {
            return bad(format!("{} coefficients of {} bands", config.coefficients, config.bands));
        }
        if !(0.0 <= config.low && config.low < config.high && config.high <= f64::from(RATE) / 2.0) {
            return bad(format!("bands from {} to {} Hz", config.low, config.high));
        }
        let window = (0..LABEL_WINDOW).map(|i| {
            let cos = (2.0 * PI * i as f64 / (LABEL_WINDOW as f64 - 1.0)).cos();
            match config.window {
                Window::Hamming => 0.54 - 0.46 * cos,
                Window::Hann => 0.5 - 0.5 * cos,
                Window::Povey => (0.5 - 0.5 * cos).powf(0.85),
            }
        });
        let to_mel = |f: f64| 2595.0 * (1.0 + f / 700.0).log10();
        let (low, high) = (to_mel(config.low), to_mel(config.high));
        let step = (high - low) / (config.bands as f64 + 1.0);
        let mut mel = Vec::new();
        for band in 0..config.bands {
            let center = low + (band as f64 + 1.0) * step;
            // Triangles are straight in mel, not in Hz.
            let weight = |bin: usize| {
                let m = to_mel(bin as f64 * f64::from(RATE) / FFT as f64);
                (1.0 - (m - center).abs() / step).max(0.0)
            };
            let Some(first) = (0..BINS).find(|&bin| weight(bin) > 0.0) else {
                return bad(format!("band {} of {} lies between two bins of the spectrum", band + 1, config.bands));
            };
            mel.push((first, (first..BINS).map(weight).take_while(|w| *w > 0.0).collect()));
        }
        let n = config.bands as f64;
        let dct = Array2::from_shape_fn((config.coefficients, config.bands), |(k, m)| {
            let scale = if k == 0 { (1.0 / n).sqrt() } else { (2.0 / n).sqrt() };
            let lifter = match config.lifter {
                l if l > 0.0 => 1.0 + l / 2.0 * (PI * k as f64 / l).sin(),
                _ => 1.0,
            };
            lifter * scale * (PI * k as f64 * (m as f64 + 0.5) / n).cos()
        });
        let fft = RealFftPlanner::new().plan_fft_forward(FFT);
        Ok(Self { window: window.collect(), mel, dct, fft, config })
    }

    /// Numbers a frame.
    pub fn dim(&self) -> usize {
        self.config.coefficients * if self.config.deltas { 3 } else { 1 }
    }

    /// samples (n) at 16 kHz → ([`label_frames`]`(n)`, [`dim`](Self::dim)): c₀ c₁ …, then their Δ, then ΔΔ.
    pub fn compute(&self, samples: &[f32]) -> Array2<f32> {
        let (frames, c) = (label_frames(samples.len()), self.config.coefficients);
        let mut out = Array2::<f64>::zeros((frames, self.dim()));
        let mut time = vec![0.0; FFT];
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let mut bands = vec![0.0; self.config.bands];
        for t in 0..frames {
            let frame = &samples[t * LABEL_HOP..][..LABEL_WINDOW];
            let mut before = f64::from(frame[0]);
            for (i, &x) in frame.iter().enumerate() {
                let x = f64::from(x);
                time[i] = (x - self.config.preemphasis * before) * self.window[i];
                before = x;
            }
            time[LABEL_WINDOW..].fill(0.0);
            self.fft
                .process_with_scratch(&mut time, &mut spectrum, &mut scratch)
                .expect("buffers come from the plan, so their lengths fit");
            for (band, (first, weights)) in bands.iter_mut().zip(&self.mel) {
                let power: f64 = spectrum[*first..].iter().zip(weights).map(|(z, w)| z.norm_sqr() * w).sum();
                *band = power.max(self.config.floor).ln();
            }
            for k in 0..c {
                out[[t, k]] = self.dct.row(k).iter().zip(&bands).map(|(a, b)| a * b).sum();
            }
        }
        if self.config.deltas {
            for block in 1..3 {
                for t in 0..frames {
                    for k in (block - 1) * c..block * c {
                        let at = |t: isize| out[[t.clamp(0, frames as isize - 1) as usize, k]];
                        let slope = |d: usize| d as f64 * (at(t as isize + d as isize) - at(t as isize - d as isize));
                        let norm = 2.0 * (1..=REGRESSION).map(|d| (d * d) as f64).sum::<f64>();
                        let delta = (1..=REGRESSION).map(slope).sum::<f64>() / norm;
                        out[[t, k + c]] = delta;
                    }
                }
            }
        }
        if self.config.center {
            for mut column in out.columns_mut() {
                let mean = column.sum() / frames.max(1) as f64;
                column -= mean;
            }
        }
        out.mapv(|x| x as f32)
    }
}
