//! Random augmentations of speech: tempo, gain, additive noise and time masks, in this order.
//!
//! They work on samples before standardization. Kharitonov et al. 2021 (WavAugment) compare such
//! augmentations for contrastive learning from waveforms; tempo is that of Ko et al. 2015.

use std::f64::consts::TAU;

use documented::DocumentedFields;
use gim_core::data::below;
use gim_core::kernels::vector::dot;
use gim_core::{Error, Key, Purpose, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// What is done to training crops. By default, nothing; the settings of what is off are a source's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Both views of an utterance are of the same crop; otherwise, each is of a crop of its own.
    pub same_crop: bool,
    /// Largest gain, up or down, in dB; 0 for none.
    pub gain: f64,
    /// Probability of additive white noise; 0 for never.
    pub noise: f64,
    /// Signal-to-noise ratio, from and to, in dB. WavAugment's is 5 to 20.
    pub snr: [f64; 2],
    /// Time masks: stretches of zeros; 0 for none.
    pub masks: usize,
    /// Length of a time mask at most, in samples. WavAugment's is 800: 50 ms.
    pub mask_samples: usize,
    /// Largest change of tempo, as a share; 0 for none. The pitch stays. Ko et al. have 0.1.
    pub tempo: f64,
}

impl Default for Augment {
    fn default() -> Self {
        Self { same_crop: true, gain: 0.0, noise: 0.0, snr: [5.0, 20.0], masks: 0, mask_samples: 800, tempo: 0.0 }
    }
}

impl Augment {
    /// Whether crops stay as they are.
    pub fn is_off(&self) -> bool {
        self.gain == 0.0 && self.noise == 0.0 && self.masks == 0 && self.tempo == 0.0
    }

    /// Checks what the ranges of single numbers do not say.
    ///
    /// # Errors
    /// [`Error::Config`] when the interval of signal-to-noise ratios is empty, or masks have no samples.
    pub fn check(&self) -> Result<()> {
        let [from, to] = self.snr;
        if !(from.is_finite() && to.is_finite() && from <= to) {
            let what = format!("goes from {from} to {to}");
            return Err(Error::config("data.augment.snr", what, "give two numbers of dB, the smaller one first"));
        }
        if self.masks > 0 && self.mask_samples == 0 {
            return Err(Error::config(
                "data.augment.mask_samples",
                "is 0, but there are masks",
                "use 1 or more, or masks = 0",
            ));
        }
        Ok(())
    }

    /// The tempo of a crop by `key`, which has everything but the purpose: how many times as fast as the
    /// recording it is. A crop of `len` samples then takes [`source`] samples.
    pub(super) fn draw_tempo(&self, key: Key) -> f64 {
        let share = unit(key.with_purpose(Purpose::Augment).rng().random());
        1.0 + self.tempo * (2.0 * share - 1.0)
    }

    /// Changes samples in place: all but the tempo. `key` has everything but the purpose.
    pub fn apply(&self, samples: &mut [f32], key: Key) {
        let mut rng = key.with_purpose(Purpose::Augment).rng();
        // The first number is the tempo's.
        let [_, gain, noisy, snr]: [u64; 4] = rng.random();
        if self.gain > 0.0 {
            let by = decibels(self.gain * (2.0 * unit(gain) - 1.0)) as f32;
            samples.iter_mut().for_each(|x| *x *= by);
        }
        let masks: Vec<[u64; 2]> = (0..self.masks).map(|_| rng.random()).collect();
        if unit(noisy) < self.noise {
            let [from, to] = self.snr;
            add_noise(samples, from + (to - from) * unit(snr), &mut || rng.random());
        }
        for [length, start] in masks {
            // A mask is shorter than the crop.
            let length = below(length, self.mask_samples.min(samples.len() / 2) + 1);
            let start = below(start, samples.len() - length + 1);
            samples[start..start + length].fill(0.0);
        }
    }
}

/// A number in 0 .. 1 from 64 random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The factor of amplitudes that dB are.
fn decibels(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// Adds Gaussian white noise at a signal-to-noise ratio in dB: the ratio of mean squares. Silence stays.
fn add_noise(samples: &mut [f32], snr: f64, next: &mut impl FnMut() -> u64) {
    let power = samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.len().max(1) as f64;
    let deviation = power.sqrt() / decibels(snr);
    for two in samples.chunks_mut(2) {
        // Box & Muller 1958: two numbers of a normal distribution from two even ones; 1 − u is never 0.
        let (radius, angle) = (deviation * (-2.0 * (1.0 - unit(next())).ln()).sqrt(), TAU * unit(next()));
        let (sin, cos) = angle.sin_cos();
        two.iter_mut().zip([cos, sin]).for_each(|(x, n)| *x += (radius * n) as f32);
    }
}

/// Samples of a frame of [`stretch`]: 30 ms.
const FRAME: usize = 480;
/// Samples from one frame of the output to the next.
const HOP: usize = FRAME / 2;
/// How far from its even place a frame of the input may begin, in samples: a period of 75 Hz within both.
const SEARCH: usize = 107;

/// Samples that [`stretch`] reads at a tempo for `len` samples of output.
pub(super) fn source(len: usize, tempo: f64) -> usize {
    (len as f64 * tempo).ceil() as usize
}

/// The tempo at which `len` samples of output take no more than `there` samples, near `tempo`.
pub(super) fn possible(tempo: f64, len: usize, there: usize) -> f64 {
    if source(len, tempo) > there { there as f64 / len as f64 } else { tempo }
}

/// Changes the tempo and keeps the pitch: `from`, [`source`] samples for this output → `to`.
///
/// WSOLA (Verhelst & Roelands 1993): frames of the input are added with overlap. Each begins near its
/// even place, where it continues the frame before best: at the least squared difference.
pub(super) fn stretch(from: &[f32], tempo: f64, to: &mut [f32]) {
    // A frame where the input ends is filled up with zeros.
    let mut frame = [0.0; FRAME];
    let fill = |frame: &mut [f32; FRAME], at: usize| {
        let there = &from[at.min(from.len())..(at + FRAME).min(from.len())];
        frame[..there.len()].copy_from_slice(there);
        frame[there.len()..].fill(0.0);
    };
    let rises: [f32; HOP] = std::array::from_fn(|n| {
        let half = std::f32::consts::PI * (n as f32 + 0.5) / FRAME as f32;
        half.sin().powi(2)
    });
    // The first frame begins the output at full loudness.
    let mut at = 0;
    fill(&mut frame, 0);
    let first = to.len().min(HOP);
    to[..first].copy_from_slice(&frame[..first]);
    for (n, out) in to.chunks_mut(HOP).enumerate().skip(1) {
        // What would follow: the second half of the last frame.
        fill(&mut frame, at + HOP);
        let natural = frame;
        let even = (n as f64 * HOP as f64 * tempo) as usize;
        at = best(from, even, &natural[..out.len()]).unwrap_or(even);
        fill(&mut frame, at);
        for (i, out) in out.iter_mut().enumerate() {
            *out = (1.0 - rises[i]) * natural[i] + rises[i] * frame[i];
        }
    }
}

/// Where a frame near `even` begins that is most like `natural`; the nearest of equals. `None` where the
/// input has no such frame.
fn best(from: &[f32], even: usize, natural: &[f32]) -> Option<usize> {
    let last = from.len().checked_sub(natural.len())?;
    let places = even.saturating_sub(SEARCH)..=(even + SEARCH).min(last);
    let apart = |at: usize| {
        let there = &from[at..at + natural.len()];
        dot(there, there) - 2.0 * dot(there, natural)
    };
    places
        .map(|at| (apart(at), at.abs_diff(even), at))
        .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
        .map(|m| m.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(n: usize, hz: f64) -> Vec<f32> {
        (0..n).map(|i| (0.5 * (TAU * hz * i as f64 / 16_000.0).sin()) as f32).collect()
    }

    fn key(item: u32) -> Key {
        Key::new(5, Purpose::Crop).with_item(item)
    }

    /// Times that a wave goes up through 0.
    fn rises(x: &[f32]) -> usize {
        x.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count()
    }

    #[test]
    fn nothing_is_the_default() {
        let before = tone(1000, 300.0);
        let mut after = before.clone();
        assert!(Augment::default().is_off());
        Augment::default().apply(&mut after, key(0));
        assert_eq!(after, before);
        assert_eq!(Augment::default().draw_tempo(key(0)), 1.0);
    }

    #[test]
    fn gain_is_within_its_limits() {
        let augment = Augment { gain: 6.0, ..Augment::default() };
        let (mut least, mut most) = (f32::MAX, 0f32);
        for item in 0..200 {
            let mut one = [1.0];
            augment.apply(&mut one, key(item));
            (least, most) = (least.min(one[0]), most.max(one[0]));
        }
        assert!((0.501..0.53).contains(&least) && (1.9..1.9953).contains(&most), "{least} {most}");
    }

    #[test]
    fn noise_has_its_ratio_to_the_signal() {
        let signal = tone(40_000, 440.0);
        for snr in [0.0, 15.0] {
            let augment = Augment { noise: 1.0, snr: [snr, snr], ..Augment::default() };
            let mut noisy = signal.clone();
            augment.apply(&mut noisy, key(1));
            let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
            let noise: Vec<f64> = noisy.iter().zip(&signal).map(|(n, s)| f64::from(n - s)).collect();
            let of_signal = square(&mut signal.iter().map(|x| f64::from(*x)));
            let ratio = 10.0 * (of_signal / square(&mut noise.iter().copied())).log10();
            assert!((ratio - snr).abs() < 0.15, "{ratio} dB instead of {snr}");
            let variance = square(&mut noise.iter().copied()) / 40_000.0;
            let within = noise.iter().filter(|n| n.powi(2) < variance).count();
            assert!((0.66..0.70).contains(&(within as f64 / 40_000.0)), "a normal distribution: {within} within σ");
        }
        let mut silence = vec![0.0; 100];
        Augment { noise: 1.0, ..Augment::default() }.apply(&mut silence, key(1));
        assert_eq!(silence, [0.0; 100]);
    }

    #[test]
    fn masks_are_zeros_of_a_limited_length() {
        let augment = Augment { masks: 2, mask_samples: 50, ..Augment::default() };
        let mut longest = 0;
        for item in 0..200 {
            let mut x = vec![1.0; 400];
            augment.apply(&mut x, key(item));
            let zeros = x.iter().filter(|x| **x == 0.0).count();
            assert!(zeros <= 100 && x.iter().all(|x| *x == 0.0 || *x == 1.0));
            longest = longest.max(zeros);
        }
        assert!(longest > 60, "{longest}");
        let mut short = [1.0; 3];
        augment.apply(&mut short, key(1));
        assert!(short.contains(&1.0), "never all");
        Augment { masks: 1, ..Augment::default() }.apply(&mut [], key(1));
    }

    /// Another tempo: other lengths, the same pitch and loudness. The tempo of the recording: the same samples.
    #[test]
    fn tempo_keeps_the_pitch() {
        for tempo in [0.8, 0.9, 1.0, 1.1, 1.25] {
            let from = tone(source(16_000, tempo), 220.0);
            let mut to = vec![f32::NAN; 16_000];
            stretch(&from, tempo, &mut to);
            // Half a second of the tone, whatever the tempo.
            let heard = rises(&to[4000..12_000]);
            assert!((109..=111).contains(&heard), "{tempo}: {heard}");
            let square = to[1000..15_000].iter().map(|x| x * x).sum::<f32>() / 14_000.0;
            assert!((square - 0.125).abs() < 0.005, "{tempo}: {square}");
            if tempo == 1.0 {
                assert!(from.iter().zip(&to).all(|(a, b)| (a - b).abs() < 1e-6));
            }
        }
        // A tone begins where the tempo puts it.
        let mut from = tone(source(16_000, 1.25), 220.0);
        from[..10_000].fill(0.0);
        let mut to = vec![0.0; 16_000];
        stretch(&from, 1.25, &mut to);
        let begins = to.iter().position(|x| x.abs() > 0.25).unwrap();
        assert!(begins.abs_diff(8000) < FRAME, "{begins}");
        for n in [0, 1, HOP - 1, HOP + 1, 1000] {
            let mut to = vec![f32::NAN; n];
            stretch(&tone(source(n, 1.1), 100.0), 1.1, &mut to);
            assert!(to.iter().all(|x| x.is_finite()), "{n}");
        }
        assert_eq!((possible(1.1, 1000, 1050), possible(1.1, 1000, 1100), possible(0.9, 10, 10)), (1.05, 1.1, 0.9));
    }

    #[test]
    fn wrong_settings_are_named() {
        let all = Augment::default();
        for (wrong, key) in [
            (Augment { snr: [9.0, 3.0], ..all }, "data.augment.snr"),
            (Augment { masks: 1, mask_samples: 0, ..all }, "data.augment.mask_samples"),
        ] {
            assert!(wrong.check().unwrap_err().to_string().contains(key));
        }
        all.check().unwrap();
    }
}
