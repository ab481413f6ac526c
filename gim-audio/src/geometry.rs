//! Which samples a network's frames see, and which phone label they belong to.
//!
//! # Which feature belongs to which label
//!
//! For a stack of convolutions with kernel sizes k_i, strides s_i and padding p_i, and jump_i = s_1
//! ⋯ s_i (jump_0 = 1):
//!
//! ```text
//! hop             = jump_n                                            samples between frames
//! receptive field = 1 + Σ (k_i − 1) · jump_{i−1}                      samples
//! center of f     = hop · f + Σ ((k_i − 1)/2 − p_i) · jump_{i−1}      sample at the middle of frame f's field
//! ```
//!
//! For the paper's encoder (kernels 10 8 4 4 4, strides 5 4 2 2 2, padding 2 2 2 2 1): hop 160,
//! field 465, center 160 f + 20. A label is made from a window of 400 samples every 160, so the
//! center of label n is 160 n + 199.5. The frame nearest to it is f = n + 1, 1.2 ms before it.
//!
//! [`ReceptiveField::label_of`] is the one rule, for supervised training ([`label_slots`]) and for
//! features of probes ([`FeatureExtractor`](crate::features::FeatureExtractor)).
//!
//! The published code has another rule for probes. It drops the *first* frames until there are as
//! many as labels. An utterance mostly has two frames more than labels, so frame n + 2 is paired
//! with label n, 8.8 ms after its center; where lengths round differently, it is frame n + 1 or
//! n + 3.

use gim_core::loss::bin;
use gim_core::{Error, Result};

/// Samples between labels (10 ms).
pub const LABEL_HOP: usize = 160;
/// Samples that a label is made from (25 ms).
pub const LABEL_WINDOW: usize = 400;
/// Number of labels (and MFCC frames) of an utterance of n `samples`: ⌊(n − 400)/160⌋ + 1, and 0
/// below 400.
pub fn label_frames(samples: usize) -> usize {
    if samples < LABEL_WINDOW { 0 } else { (samples - LABEL_WINDOW) / LABEL_HOP + 1 }
}

/// Where the window of label `n` has its center, in samples.
pub fn label_center(n: usize) -> f64 {
    (LABEL_HOP * n) as f64 + (LABEL_WINDOW as f64 - 1.0) / 2.0
}

/// The geometry of a convolution along time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSpec {
    /// Kernel size, in positions of the input.
    pub kernel_size: usize,
    /// Positions of the input from one output to the next.
    pub stride: usize,
    /// Zeros before and after the input.
    pub padding: usize,
}

/// The convolutions of the paper's encoder.
pub const PAPER_STACK: [ConvSpec; 5] = [
    ConvSpec { kernel_size: 10, stride: 5, padding: 2 },
    ConvSpec { kernel_size: 8, stride: 4, padding: 2 },
    ConvSpec { kernel_size: 4, stride: 2, padding: 2 },
    ConvSpec { kernel_size: 4, stride: 2, padding: 2 },
    ConvSpec { kernel_size: 4, stride: 2, padding: 1 },
];

/// What a frame of a stack sees of the waveform; see the [module](self) for the formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReceptiveField {
    /// Samples between frames.
    pub hop: usize,
    /// Samples that a frame sees.
    pub field: usize,
    /// Sample at the middle of what frame 0 sees; negative when padding outweighs the kernels.
    pub center: f64,
}

impl ReceptiveField {
    /// The receptive field of a chain of convolutions, first layer first.
    pub fn of(stack: &[ConvSpec]) -> Self {
        let mut r = Self { hop: 1, field: 1, center: 0.0 };
        for layer in stack {
            r.field += layer.kernel_size.saturating_sub(1) * r.hop;
            r.center += ((layer.kernel_size as f64 - 1.0) / 2.0 - layer.padding as f64) * r.hop as f64;
            r.hop *= layer.stride;
        }
        r
    }

    /// The label whose center is nearest to that of `frame`, the later of two; below 0 before the
    /// first. A fraction is a place between frames.
    pub fn label_of(&self, frame: f64) -> isize {
        let sample = self.hop as f64 * frame + self.center;
        ((sample - label_center(0)) / LABEL_HOP as f64 + 0.5).floor() as isize
    }
}

/// Slots of 10 ms in `samples`: the bins that supervised training averages frames to.
pub fn n_slots(samples: usize) -> usize {
    samples / LABEL_HOP
}

/// The label of each of the [`n_slots`] of a waveform of `samples`: the nearest to the middle of the
/// frames that [`bin`] gives the slot, counted from the label at sample 0. Those out of range (−1
/// for the first slot of the paper's encoder) have no samples here, but may have some in what the
/// waveform was cut from.
///
/// The frames are those of the whole stack. Slots of lower modules cover the same samples.
///
/// # Errors
/// When the waveform is too short for a convolution.
pub fn label_slots(stack: &[ConvSpec], samples: usize) -> Result<Vec<isize>> {
    let frames = stack.iter().try_fold(samples, |n, conv| {
        (n + 2 * conv.padding).checked_sub(conv.kernel_size).map(|rest| rest / conv.stride + 1)
    });
    let Some(frames) = frames else {
        let what = format!("{samples} samples are too few for the convolutions");
        return Err(Error::config("data.crop", what, "use a longer crop"));
    };
    let (field, slots) = (ReceptiveField::of(stack), n_slots(samples));
    let middle = |slot| {
        let (from, to) = bin(slot, slots, frames);
        (from + to - 1) as f64 / 2.0
    };
    Ok((0..slots).map(|slot| field.label_of(middle(slot))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_of_the_paper() {
        let r = ReceptiveField::of(&PAPER_STACK);
        assert_eq!(r, ReceptiveField { hop: 160, field: 465, center: 20.0 });
        // The frame nearest to the center of label 0 is the second.
        assert_eq!([0.0, 1.0, 2.0].map(|frame| r.label_of(frame)), [-1, 0, 1]);
    }

    /// In every module, the frames of a slot are nearest to the label before it.
    #[test]
    fn slots_have_the_label_of_their_time() {
        for samples in [20_480, 10_240, 16_000] {
            let labels = label_slots(&PAPER_STACK, samples).unwrap();
            assert_eq!(labels.len(), samples / 160);
            assert_eq!(labels[..3], [-1, 0, 1]);
            for depth in 1..=PAPER_STACK.len() {
                assert_eq!(label_slots(&PAPER_STACK[..depth], samples).unwrap(), labels, "module {depth}");
            }
        }
    }

    /// The center by brute force: which inputs does a frame depend on?
    #[test]
    fn center_is_the_middle_of_what_a_frame_sees() {
        let (mut lo, mut hi) = (40isize, 40isize);
        for layer in PAPER_STACK.iter().rev() {
            lo = lo * layer.stride as isize - layer.padding as isize;
            hi = hi * layer.stride as isize - layer.padding as isize + layer.kernel_size as isize - 1;
        }
        let r = ReceptiveField::of(&PAPER_STACK);
        assert_eq!((hi - lo + 1) as usize, r.field);
        assert_eq!((lo + hi) as f64 / 2.0, r.center + 160.0 * 40.0);
    }

    #[test]
    fn label_frames_at_the_edges() {
        assert_eq!([0, 399, 400, 559, 560, 20_480].map(label_frames), [0, 0, 1, 1, 2, 126]);
    }
}
