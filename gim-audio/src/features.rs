//! Features of utterances on the 10 ms grid of the phone labels.
//!
//! Label n is made from samples 160 n .. 160 n + 400. Its features are the mean of the frames that
//! belong to it by [`ReceptiveField::label_of`]: those whose receptive fields are centered within
//! half a label of the label's center, in samples 160 n + 119.5 .. 160 n + 279.5.

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::module::Mode;
use gim_core::stack::Stack;
use gim_core::{Pool, Result};
use ndarray::Array2;

use crate::geometry::{LABEL_WINDOW, ReceptiveField, label_frames};
use crate::mfcc::{Mfcc, MfccConfig};
use crate::network::{NetworkConfig, NetworkKind};

/// Computes the features of an utterance in every module of a stack, and its MFCCs as a baseline.
pub struct FeatureExtractor {
    /// Receptive field of each convolution's frames.
    fields: Vec<ReceptiveField>,
    mode: Mode,
    mfcc: Mfcc,
}

impl FeatureExtractor {
    /// An extractor for stacks of this network. An end-to-end module gives the features of each of
    /// its layers, so that depths can be compared with those of a stack of modules.
    ///
    /// # Errors
    /// When the network's convolutions cannot be built.
    pub fn new(network: &NetworkConfig) -> Result<Self> {
        let convs = network.convs()?;
        Ok(Self {
            fields: (1..=convs.len()).map(|n| ReceptiveField::of(&convs[..n])).collect(),
            mode: if network.kind == NetworkKind::Cpc { Mode::Inspect } else { Mode::Eval },
            mfcc: Mfcc::new(MfccConfig::default())?,
        })
    }

    /// Receptive field of the frames of each convolution.
    pub fn fields(&self) -> &[ReceptiveField] {
        &self.fields
    }

    /// Layouts of a stack's activations for an utterance of `samples`; `None` when the utterance is
    /// shorter than a label's window (400 samples) or than the layers need. What the losses need does
    /// not count: an utterance too short to predict in has features.
    pub fn layouts(&self, stack: &Stack<f32>, samples: usize) -> Option<Vec<Layout>> {
        self.crop_layouts(stack, 1, samples)
    }

    /// waveform (samples), standardized → a matrix ([`label_frames`]`(samples)`, channels) for each
    /// module or, inside an end-to-end module, layer. `layouts` are [`Self::layouts`] of a stack of
    /// the same network.
    pub fn features(
        &self,
        stack: &mut Stack<f32>,
        layouts: &[Layout],
        waveform: &[f32],
        pool: &Pool<f32>,
    ) -> Vec<Array2<f32>> {
        let labels = label_frames(waveform.len());
        let x = Activations::from_slice(layouts[0], waveform, pool).detach();
        let mut out = Vec::new();
        stack.visit_features(x, layouts, self.mode, |view| {
            // A context network has a frame for each frame of the last convolution.
            let field = &self.fields[out.len().min(self.fields.len() - 1)];
            out.push(on_label_grid(view.features, field, labels));
        });
        out
    }

    /// Crops of the same number of samples, standardized → a matrix (crops, channels) for each module
    /// or, inside an end-to-end module, layer: the mean over the frames. `layouts` are those of
    /// [`Self::crop_layouts`].
    ///
    /// # Panics
    /// When the crops differ in length.
    pub fn crop_means(
        &self,
        stack: &mut Stack<f32>,
        layouts: &[Layout],
        crops: &[Vec<f32>],
        pool: &Pool<f32>,
    ) -> Vec<Array2<f32>> {
        let x = Activations::from_slice(layouts[0], &crops.concat(), pool).detach();
        let mut out = Vec::new();
        stack.visit_features(x, layouts, self.mode, |view| out.push(mean_over_frames(view.features)));
        out
    }

    /// Layouts of a stack's activations for `n` crops of `samples`; `None` as for [`Self::layouts`].
    pub fn crop_layouts(&self, stack: &Stack<f32>, n: usize, samples: usize) -> Option<Vec<Layout>> {
        if samples < LABEL_WINDOW {
            return None;
        }
        stack.eval_layouts(Shape::sequence(n, samples, 1)).ok()
    }

    /// waveform (samples), standardized → MFCCs with Δ and ΔΔ ([`label_frames`]`(samples)`, 39).
    pub fn mfcc(&self, waveform: &[f32]) -> Array2<f32> {
        self.mfcc.compute(waveform)
    }
}

/// frames (N, L, C) → (N, C): the mean over the frames of each sequence, summed in double precision.
fn mean_over_frames(frames: &Activations<f32>) -> Array2<f32> {
    let (n, channels) = (frames.shape().batch, frames.shape().channels);
    let mut out = Array2::zeros((n, channels));
    for (i, mut row) in out.outer_iter_mut().enumerate() {
        let frames = frames.item(i).chunks_exact(channels);
        let count = frames.len() as f64;
        let mut sums = vec![0f64; channels];
        frames.for_each(|frame| sums.iter_mut().zip(frame).for_each(|(s, x)| *s += f64::from(*x)));
        row.iter_mut().zip(sums).for_each(|(r, s)| *r = (s / count) as f32);
    }
    out
}

/// frames (1, L, C) → (`labels`, C): the mean of the frames of each label
/// ([`ReceptiveField::label_of`]). A label without a frame takes the next one, or the last.
///
/// # Panics
/// When there are labels but no frames.
pub fn on_label_grid(frames: &Activations<f32>, field: &ReceptiveField, labels: usize) -> Array2<f32> {
    let (n_frames, channels) = (frames.shape().height, frames.shape().channels);
    let values = frames.item(0);
    let label_of: Vec<isize> = (0..n_frames).map(|f| field.label_of(f as f64)).collect();
    let mut out = Array2::zeros((labels, channels));
    for (n, mut row) in out.outer_iter_mut().enumerate() {
        let from = label_of.partition_point(|label| *label < n as isize).min(n_frames - 1);
        let to = label_of.partition_point(|label| *label <= n as isize).clamp(from + 1, n_frames);
        for f in from..to {
            row.iter_mut().zip(&values[f * channels..]).for_each(|(r, v)| *r += *v);
        }
        row /= (to - from) as f32;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{PAPER_STACK, label_slots};

    /// Supervised training and probes pair the same frame with a label, in the module that has a
    /// frame every 10 ms.
    #[test]
    fn probes_and_training_pair_the_same_frames_with_labels() {
        let samples = 20_480;
        let slots = label_slots(&PAPER_STACK, samples);
        let numbers: Vec<f32> = (0..slots.len()).map(|f| f as f32).collect();
        let frames =
            Activations::from_slice(Layout::dense(Shape::sequence(1, numbers.len(), 1)), &numbers, &Pool::new());
        let probed = on_label_grid(&frames, &ReceptiveField::of(&PAPER_STACK), label_frames(samples));
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
            let layout = Layout::dense(Shape::sequence(1, frames, 1));
            let a = Activations::from_slice(layout, &centers, &Pool::new());
            let labels = on_label_grid(&a, &field, label_frames(samples));
            for (label, at) in labels.iter().enumerate() {
                let center = 160.0 * label as f64 + 199.5;
                assert!((f64::from(*at) - center).abs() <= hop / 2.0, "module {}, label {label}: {at}", n + 1);
            }
        }
    }

    /// The means of a crop among others are those of its own frames, one by one.
    #[test]
    fn means_of_crops_are_means_of_their_frames() {
        let network = NetworkConfig { width: 4, context: 3, ..NetworkConfig::default() };
        let loss = crate::network::LossConfig { negatives: 2, ..Default::default() };
        let pool = Pool::new();
        let optimizer = gim_core::optim::OptimizerConfig::default();
        let mut stack = network.build(&loss, None, &optimizer, 1, &pool).unwrap();
        let extractor = FeatureExtractor::new(&network).unwrap();
        let crop = |c: usize| (0..3_200).map(|i| ((i * (c + 1)) as f32 * 0.05).sin()).collect::<Vec<f32>>();
        let crops: Vec<Vec<f32>> = (0..3).map(crop).collect();
        let layouts = extractor.crop_layouts(&stack, 3, 3_200).unwrap();
        let means = extractor.crop_means(&mut stack, &layouts, &crops, &pool);
        assert_eq!(means.iter().map(|m| m.dim()).collect::<Vec<_>>(), [(3, 4), (3, 4), (3, 4), (3, 4), (3, 4), (3, 3)]);
        for (i, crop) in crops.iter().enumerate() {
            let layouts = extractor.layouts(&stack, crop.len()).unwrap();
            let x = Activations::from_slice(layouts[0], crop, &pool).detach();
            let mut module = 0;
            stack.visit_features(x, &layouts, Mode::Eval, |view| {
                let frames = view.features.view();
                for c in 0..view.features.shape().channels {
                    let values: Vec<f32> = frames.slice(ndarray::s![0, .., 0, c]).to_vec();
                    let mean = values.iter().sum::<f32>() / values.len() as f32;
                    let got = means[module][(i, c)];
                    assert!((got - mean).abs() < 1e-5, "crop {i}, module {}: {got} {mean}", module + 1);
                }
                module += 1;
            });
        }
        assert_eq!(extractor.crop_layouts(&stack, 3, 399), None);
    }

    #[test]
    fn features_and_baseline_have_a_row_for_each_label() {
        let network = NetworkConfig { width: 4, context: 3, ..NetworkConfig::default() };
        let loss = crate::network::LossConfig { negatives: 2, ..Default::default() };
        let pool = Pool::new();
        let build = |network: &NetworkConfig| {
            network.build(&loss, None, &gim_core::optim::OptimizerConfig::default(), 1, &pool).unwrap()
        };
        let waveform: Vec<f32> = (0..4_000).map(|i| (i as f32 * 0.05).sin()).collect();
        let labels = label_frames(waveform.len());
        for (kind, dims) in [(NetworkKind::SeparateContext, [4, 4, 4, 4, 4, 3]), (NetworkKind::Cpc, [4, 4, 4, 4, 4, 3])]
        {
            let network = NetworkConfig { kind, ..network.clone() };
            let extractor = FeatureExtractor::new(&network).unwrap();
            let mut stack = build(&network);
            let layouts = extractor.layouts(&stack, waveform.len()).unwrap();
            let features = extractor.features(&mut stack, &layouts, &waveform, &pool);
            let shapes: Vec<_> = features.iter().map(|f| f.dim()).collect();
            assert_eq!(shapes, dims.map(|d| (labels, d)), "{kind:?}");
            assert_eq!(extractor.mfcc(&waveform).dim(), (labels, 39));
            assert_eq!(extractor.layouts(&stack, 399), None);
        }
    }
}
