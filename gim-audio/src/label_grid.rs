//! From frames to the 10 ms grid of the phone labels.

use std::ops::Range;

use gim_core::activations::Activations;
use ndarray::Array2;

use crate::geometry::ReceptiveField;

/// Means of the frames of each label ([`ReceptiveField::label_of`]), of frames that arrive in parts.
/// A label without a frame takes the next one, or the last.
///
/// It holds the labels that have begun and were not taken yet.
pub(crate) struct LabelGrid {
    field: ReceptiveField,
    /// Number of labels.
    labels: usize,
    channels: usize,
    /// Labels taken so far.
    taken: usize,
    /// (labels begun, C): sums of frames, from label `taken` on.
    sums: Vec<f32>,
    /// Frames of each of these labels.
    counts: Vec<usize>,
    /// Frames so far.
    frames: usize,
    /// Labels to which no other frame can come.
    settled: usize,
    /// The last frame.
    last: Vec<f32>,
}

impl LabelGrid {
    pub(crate) fn new(field: ReceptiveField, labels: usize, channels: usize) -> Self {
        let (taken, frames, settled) = (0, 0, 0);
        let (sums, counts, last) = (Vec::new(), Vec::new(), Vec::new());
        Self { field, labels, channels, taken, sums, counts, frames, settled, last }
    }

    fn add_frame(&mut self, label: usize, frame: &[f32]) {
        let row = label - self.taken;
        if row >= self.counts.len() {
            self.counts.resize(row + 1, 0);
            self.sums.resize((row + 1) * self.channels, 0.0);
        }
        let sums = &mut self.sums[row * self.channels..][..self.channels];
        sums.iter_mut().zip(frame).for_each(|(sum, v)| *sum += *v);
        self.counts[row] += 1;
    }

    /// No frame of a label before `label` comes any more: those without one take `frame`.
    fn settle(&mut self, label: usize, frame: &[f32]) {
        while self.settled < label {
            if self.counts.get(self.settled - self.taken).is_none_or(|n| *n == 0) {
                self.add_frame(self.settled, frame);
            }
            self.settled += 1;
        }
    }

    /// frames (1, L, C), of which those `own` follow the frames so far.
    pub(crate) fn add(&mut self, frames: &Activations<f32>, own: Range<usize>) {
        let channels = self.channels;
        let values = &frames.item(0)[own.start * channels..own.end * channels];
        for frame in values.chunks_exact(channels) {
            let label = self.field.label_of(self.frames as f64);
            self.frames += 1;
            let Ok(label) = usize::try_from(label) else { continue };
            self.settle(label.min(self.labels), frame);
            if label < self.labels {
                self.add_frame(label, frame);
            }
        }
        if let Some(last) = values.chunks_exact(channels).next_back() {
            self.last.clear();
            self.last.extend_from_slice(last);
        }
    }

    /// No more frames come: every label is settled.
    ///
    /// # Panics
    /// When there are labels but no frames.
    pub(crate) fn end(&mut self) {
        assert!(self.frames > 0 || self.labels == 0, "{} labels without frames", self.labels);
        let last = std::mem::take(&mut self.last);
        self.settle(self.labels, &last);
    }

    /// Labels whose means are known.
    pub(crate) fn settled(&self) -> usize {
        self.settled
    }

    /// (labels, C): the means of the labels from the last one taken to `to`.
    ///
    /// # Panics
    /// When they are not settled.
    pub(crate) fn take(&mut self, to: usize) -> Array2<f32> {
        assert!(to <= self.settled, "label {to} of {} settled ones", self.settled);
        let rows = to - self.taken;
        let values = self.sums.drain(..rows * self.channels).collect();
        let mut means = Array2::from_shape_vec((rows, self.channels), values)
            .unwrap_or_else(|e| unreachable!("rows of {} channels: {e}", self.channels));
        for (mut row, count) in means.rows_mut().into_iter().zip(self.counts.drain(..rows)) {
            row /= count as f32;
        }
        self.taken = to;
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_core::Pool;
    use gim_core::activations::{Layout, Shape};

    use crate::geometry::{PAPER_STACK, label_frames, label_slots};

    /// frames (L, 1) on the grid, in two parts.
    fn on_grid(values: &[f32], field: ReceptiveField, labels: usize) -> Array2<f32> {
        let layout = Layout::dense(Shape::sequence(1, values.len(), 1));
        let frames = Activations::from_slice(layout, values, &Pool::new());
        let mut grid = LabelGrid::new(field, labels, 1);
        grid.add(&frames, 0..values.len() / 3);
        let mut parts = vec![grid.take(grid.settled())];
        grid.add(&frames, values.len() / 3..values.len());
        grid.end();
        // As soon as they are known, some at a time.
        let (middle, known) = ((grid.taken + grid.settled()) / 2, grid.settled());
        parts.extend([middle, known].map(|to| grid.take(to)));
        ndarray::concatenate(ndarray::Axis(0), &parts.iter().map(|p| p.view()).collect::<Vec<_>>()).unwrap()
    }

    /// Supervised training and probes pair the same frame with a label, in the module that has a
    /// frame every 10 ms.
    #[test]
    fn probes_and_training_pair_the_same_frames_with_labels() {
        let samples = 20_480;
        let slots = label_slots(&PAPER_STACK, samples).unwrap();
        let numbers: Vec<f32> = (0..slots.len()).map(|f| f as f32).collect();
        let probed = on_grid(&numbers, ReceptiveField::of(&PAPER_STACK), label_frames(samples));
        for (label, features) in probed.outer_iter().enumerate() {
            assert_eq!(slots[features[0] as usize], label as isize);
        }
    }

    /// Frames whose value is the sample at their center must land on the label made there, to half
    /// a hop, in every module.
    #[test]
    fn frames_land_on_the_label_of_their_time() {
        let samples = 20_480;
        let mut frames = samples;
        for (n, conv) in PAPER_STACK.iter().enumerate() {
            frames = (frames + 2 * conv.padding - conv.kernel_size) / conv.stride + 1;
            let field = ReceptiveField::of(&PAPER_STACK[..=n]);
            let hop = field.hop as f64;
            let centers: Vec<f32> = (0..frames).map(|f| (hop * f as f64 + field.center) as f32).collect();
            let labels = on_grid(&centers, field, label_frames(samples));
            for (label, at) in labels.iter().enumerate() {
                let center = 160.0 * label as f64 + 199.5;
                assert!((f64::from(*at) - center).abs() <= hop / 2.0, "module {}, label {label}: {at}", n + 1);
            }
        }
    }

    /// Labels that no frame belongs to: with one frame every 30 ms, two of three.
    #[test]
    fn labels_without_a_frame_take_the_next_one() {
        let field = ReceptiveField { hop: 480, field: 400, center: 199.5 };
        let got = on_grid(&[1.0, 2.0, 3.0], field, 9);
        assert_eq!(got.into_raw_vec_and_offset().0, [1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
    }
}
