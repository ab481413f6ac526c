//! Windows over a long utterance, in which frames have the bits that they have in the whole.
//!
//! Frames near a cut see zeros where the waveform goes on, so windows overlap and such frames are
//! left out. The convolutions compute outputs 2i and 2i + 1 together
//! ([`conv1d_winograd`](crate::layers)), and a last one without a partner alone, which rounds
//! otherwise. So windows begin at multiples of two hops of the last convolution, where the frames of
//! all convolutions are even, and a last frame without a partner is left out, except at the end of
//! the utterance.

use std::ops::Range;

use crate::geometry::{ConvSpec, ReceptiveField};

/// A part of an utterance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// Its samples.
    pub(crate) samples: Range<usize>,
    /// For each convolution, the frames, counted from the window's first one, that no window before
    /// had.
    pub(crate) own: Vec<Range<usize>>,
}

/// Frames of each convolution in a window, counted from its first one, that are as in the whole.
fn whole_frames(convs: &[ConvSpec], samples: &Range<usize>, total: usize) -> Vec<Range<usize>> {
    let (starts, ends) = (samples.start == 0, samples.end == total);
    let mut n = samples.len();
    let mut valid = 0..n;
    let frames = |ConvSpec { kernel_size, stride, padding }: &ConvSpec| {
        // Frame f sees f · stride − padding .. f · stride − padding + kernel_size.
        let count = |len: usize| (len + padding).checked_sub(*kernel_size).map_or(0, |n| n / stride + 1);
        n = count(n + padding);
        let from = if starts { 0 } else { (valid.start + padding).div_ceil(*stride) };
        let to = if ends { n } else { count(valid.end).min(n / 2 * 2) };
        valid = from..to.max(from);
        valid.clone()
    };
    convs.iter().map(frames).collect()
}

/// Windows over an utterance of `total` samples, each of `len` or few more; one when it is not
/// longer.
pub(crate) fn windows(convs: &[ConvSpec], total: usize, len: usize) -> Vec<Window> {
    let hops: Vec<usize> = (1..=convs.len()).map(|n| ReceptiveField::of(&convs[..n]).hop).collect();
    let top = ReceptiveField::of(convs);
    // With less, windows would hardly be longer than their overlap.
    let len = len.max(4 * (top.field + 2 * top.hop));
    let mut next = vec![0; convs.len()];
    let mut windows = Vec::new();
    let mut samples = 0..len.min(total);
    loop {
        let valid = whole_frames(convs, &samples, total);
        let mut own = Vec::new();
        for ((valid, hop), next) in valid.iter().zip(&hops).zip(&mut next) {
            let first = samples.start / hop;
            let from = *next - first;
            assert!(valid.start <= from, "frames {from}.. are own to a window that has {valid:?}");
            own.push(from..valid.end.max(from));
            *next = first + valid.end.max(from);
        }
        windows.push(Window { samples: samples.clone(), own });
        if samples.end == total {
            return windows;
        }
        // The last multiple of two hops from which on all wanted frames are whole.
        let lost = whole_frames(convs, &(1..len), total);
        let starts = lost.iter().zip(&next).zip(&hops).map(|((lost, next), hop)| (*next - lost.start) * hop);
        let start = starts.min().unwrap_or(0) / (2 * top.hop) * (2 * top.hop);
        assert!(start > samples.start, "windows of {len} samples do not advance");
        samples = start..total.min(start + len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::PAPER_STACK;

    /// Every frame is own to one window, in order.
    #[test]
    fn windows_cover_all_frames_once() {
        for convs in [&PAPER_STACK[..], &PAPER_STACK[..2], &[ConvSpec { kernel_size: 3, stride: 1, padding: 0 }]] {
            for (total, len) in [(50_000, 5_000), (50_001, 1), (16_000, 40_000), (33_333, 4_161), (9_999, 3_140)] {
                let windows = windows(convs, total, len);
                let mut frames = total;
                for (n, conv) in convs.iter().enumerate() {
                    frames = (frames + 2 * conv.padding - conv.kernel_size) / conv.stride + 1;
                    let hop = ReceptiveField::of(&convs[..=n]).hop;
                    let mut next = 0;
                    for w in &windows {
                        assert_eq!(w.samples.start / hop + w.own[n].start, next);
                        next += w.own[n].len();
                    }
                    assert_eq!(next, frames, "convolution {} of {total} samples in windows of {len}", n + 1);
                }
                assert_eq!(windows.len() == 1, total <= len.max(4 * 785));
            }
        }
    }
}
