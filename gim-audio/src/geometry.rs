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
//! Differs from the published code, which drops the *first* frames until there are as many as
//! labels. An utterance mostly has two frames more than labels, so frame n + 2 is paired with label
//! n, 8.8 ms after its center; where lengths round differently, it is frame n + 1 or n + 3. Here
//! frames are paired with labels by their centers ([`ReceptiveField`]).

/// Samples between labels (10 ms).
pub const LABEL_HOP: usize = 160;
/// Samples that a label is made from (25 ms).
pub const LABEL_WINDOW: usize = 400;
/// Number of labels (and MFCC frames) of an utterance of n `samples`: ⌊(n − 400)/160⌋ + 1, and 0
/// below 400.
pub fn label_frames(samples: usize) -> usize {
    if samples < LABEL_WINDOW { 0 } else { (samples - LABEL_WINDOW) / LABEL_HOP + 1 }
}

/// The geometry of a convolution along time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSpec {
    /// Kernel size, in steps of the input.
    pub kernel_size: usize,
    /// Steps of the input from one output to the next.
    pub stride: usize,
    /// Zeros before and after the input, in steps.
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
