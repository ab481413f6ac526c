//! Where a network's frames lie beside phone labels at 100 Hz.
//!
//! # Which feature belongs to which label
//!
//! A stack of convolutions with kernels k_i, strides s_i and padding p_i sees, with jump_i = s_1 ⋯ s_i (jump_0 = 1):
//!
//! ```text
//! hop             = jump_n                                            samples between frames
//! receptive field = 1 + Σ (k_i − 1) · jump_{i−1}                      samples
//! center of f     = hop · f + Σ ((k_i − 1)/2 − p_i) · jump_{i−1}      sample at the middle of frame f's field
//! ```
//!
//! For the paper's encoder (kernels 10 8 4 4 4, strides 5 4 2 2 2, padding 2 2 2 2 1): hop 160, field 465, center 160 f + 20.
//! A label is made from a window of 400 samples every 160, so label n's center is 160 n + 199.5. The centers are nearest when
//! f = n + 1 (20 + 160 against 199.5: 1.2 ms apart).
//!
//! The published code drops as many *first* features as there are too many. n samples give ⌊(n−400)/160⌋+1 labels and mostly
//! two features more, so it pairs feature n + 2 with label n, 8.8 ms later than the center, and n + 1 or n + 3 where the lengths
//! round differently. That rule is not here: whoever pairs features with labels goes by the centers ([`ReceptiveField`]).

/// Samples between labels (10 ms).
pub const LABEL_HOP: usize = 160;
/// Samples a label is made from (25 ms).
pub const LABEL_WINDOW: usize = 400;
/// Labels (or MFCC frames) of an utterance of `samples`: ⌊(n − 400)/160⌋ + 1, none below 400.
pub fn label_frames(samples: usize) -> usize {
    if samples < LABEL_WINDOW { 0 } else { (samples - LABEL_WINDOW) / LABEL_HOP + 1 }
}

/// A convolution as seen from its geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSpec {
    /// Taps.
    pub kernel_size: usize,
    /// Samples between outputs.
    pub stride: usize,
    /// Zeros put before (and after) the input.
    pub padding: usize,
}

/// The encoder of the paper.
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
    /// Samples a frame sees.
    pub field: usize,
    /// Sample at the middle of frame 0's field (negative: padding outweighs the kernels).
    pub center: f64,
}

impl ReceptiveField {
    /// Of a chain of convolutions, first layer first.
    pub fn of(stack: &[ConvSpec]) -> Self {
        let mut r = Self { hop: 1, field: 1, center: 0.0 };
        for layer in stack {
            r.field += layer.kernel_size.saturating_sub(1) * r.hop;
            r.center += ((layer.kernel_size as f64 - 1.0) / 2.0 - layer.padding as f64) * r.hop as f64;
            r.hop *= layer.stride;
        }
        r
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_of_the_paper() {
        let r = ReceptiveField::of(&PAPER_STACK);
        assert_eq!(r, ReceptiveField { hop: 160, field: 465, center: 20.0 });
        // The frame nearest to the center of label 0.
        let label = (LABEL_WINDOW as f64 - 1.0) / 2.0;
        assert_eq!(((label - r.center) / r.hop as f64).round(), 1.0);
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
