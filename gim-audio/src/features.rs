//! Features of utterances on the 10 ms grid of the phone labels.
//!
//! Label n is made from samples 160 n .. 160 n + 400. Its features are the mean of the frames that
//! belong to it by [`ReceptiveField::label_of`]: those whose receptive fields are centered within
//! half a label of the label's center, in samples 160 n + 119.5 .. 160 n + 279.5.

use std::ops::Range;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::layers::Part;
use gim_core::module::Mode;
use gim_core::stack::Stack;
use gim_core::{Pool, Result};
use ndarray::Array2;

use crate::geometry::{ConvSpec, LABEL_HOP, LABEL_WINDOW, ReceptiveField, label_frames};
use crate::label_grid::LabelGrid;
use crate::mfcc::{Mfcc, MfccConfig};
use crate::network::{NetworkConfig, NetworkKind};
use crate::windows::{Window, windows};

/// Samples of a pass, unless told otherwise: 40 s, longer than any utterance of LibriSpeech.
const PASS: usize = 640_000;

/// Labels on each side that the ΔΔ of a label depend on.
const MFCC_SEES: usize = 4;

/// A pass of the network over an utterance, or over a part of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    window: Window,
    layouts: Vec<Layout>,
    /// Samples of the utterance.
    total: usize,
}

impl Pass {
    /// Its samples of the utterance.
    pub fn samples(&self) -> Range<usize> {
        self.window.samples.clone()
    }

    fn is_first(&self) -> bool {
        self.window.samples.start == 0
    }

    /// Whether it reaches the end of the utterance.
    pub fn is_last(&self) -> bool {
        self.window.samples.end == self.total
    }
}

/// Features of an utterance by one stack, on the grid of the labels, while passes go over it. They
/// are taken as soon as they are known, so that those of a long utterance need not be held.
pub struct Grids {
    labels: usize,
    /// One for each module or, inside an end-to-end module, layer; none before the first pass.
    grids: Vec<LabelGrid>,
}

impl Grids {
    /// Before the first pass over an utterance of `samples`.
    pub fn new(samples: usize) -> Self {
        Self { labels: label_frames(samples), grids: Vec::new() }
    }

    /// Labels whose features are known in every module.
    pub fn known(&self) -> usize {
        self.grids.iter().map(LabelGrid::settled).min().unwrap_or(0)
    }

    /// A matrix (labels, channels) for each module or layer: the labels from the last one taken to
    /// `to`.
    ///
    /// # Panics
    /// When they are not [known](Self::known).
    pub fn take(&mut self, to: usize) -> Vec<Array2<f32>> {
        self.grids.iter_mut().map(|grid| grid.take(to)).collect()
    }
}

/// Computes the features of an utterance in every module of a stack, and its MFCCs as a baseline.
pub struct FeatureExtractor {
    /// Receptive field of each convolution's frames.
    fields: Vec<ReceptiveField>,
    convs: Vec<ConvSpec>,
    mode: Mode,
    mfcc: Mfcc,
    /// Most samples of a pass.
    pass: usize,
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
            convs,
            pass: PASS,
        })
    }

    /// Receptive field of the frames of each convolution.
    pub fn fields(&self) -> &[ReceptiveField] {
        &self.fields
    }

    /// Longer utterances than `samples` go through the network in passes of so many. Features have
    /// the same bits for any length. Those of too few samples are made longer.
    #[must_use]
    pub fn with_pass(self, samples: usize) -> Self {
        Self { pass: samples, ..self }
    }

    /// The passes of a stack over an utterance of `samples`; `None` when the utterance is shorter
    /// than a label's window (400 samples) or than the layers need. What the losses need does not
    /// count: an utterance too short to predict in has features.
    pub fn passes(&self, stack: &Stack<f32>, samples: usize) -> Option<Vec<Pass>> {
        self.crop_layouts(stack, 1, samples)?;
        let pass = |window: Window| {
            let layouts = self.crop_layouts(stack, 1, window.samples.len())?;
            Some(Pass { window, layouts, total: samples })
        };
        windows(&self.convs, samples, self.pass).into_iter().map(pass).collect()
    }

    /// One of the passes over an utterance, which follow one another: `waveform` holds the
    /// [samples](Pass::samples) of the pass, standardized, and `grids` what the passes before it gave.
    /// `pass` is one of [`Self::passes`] of a stack of the same network.
    pub fn pass(&self, stack: &mut Stack<f32>, pass: &Pass, waveform: &[f32], grids: &mut Grids, pool: &Pool<f32>) {
        let Pass { window, layouts, .. } = pass;
        let (last_conv, in_parts) = (self.convs.len() - 1, !(pass.is_first() && pass.is_last()));
        if in_parts {
            for (m, module) in stack.modules_mut().iter_mut().enumerate() {
                // An end-to-end module has all convolutions, a context network's own module none.
                let conv = if self.mode == Mode::Inspect { last_conv } else { m.min(last_conv) };
                let part = Part { own: window.own[conv].clone(), first: pass.is_first() };
                module.set_part(Some(part));
            }
        }
        let x = Activations::from_slice(layouts[0], waveform, pool).detach();
        let Grids { labels, grids } = grids;
        let mut n = 0;
        stack.visit_features(x, layouts, self.mode, |view| {
            // A context network has a frame for each frame of the last convolution.
            let conv = n.min(last_conv);
            if n == grids.len() {
                grids.push(LabelGrid::new(self.fields[conv], *labels, view.features.shape().channels));
            }
            grids[n].add(view.features, window.own[conv].clone());
            n += 1;
        });
        if pass.is_last() {
            stack.modules_mut().iter_mut().for_each(|module| module.set_part(None));
            grids.iter_mut().for_each(LabelGrid::end);
        }
    }

    /// A waveform (samples), standardized → a matrix ([`label_frames`]`(samples)`, channels) for each
    /// module or, inside an end-to-end module, layer; `None` as for [`Self::passes`].
    pub fn features(&self, stack: &mut Stack<f32>, waveform: &[f32], pool: &Pool<f32>) -> Option<Vec<Array2<f32>>> {
        let mut grids = Grids::new(waveform.len());
        for pass in self.passes(stack, waveform.len())? {
            self.pass(stack, &pass, &waveform[pass.samples()], &mut grids, pool);
        }
        Some(grids.take(grids.known()))
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

    /// Layouts of a stack's activations for `n` crops of `samples`; `None` as for [`Self::passes`].
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

    /// Samples of an utterance of `samples` that MFCCs of some of its labels depend on.
    pub fn mfcc_samples(labels: Range<usize>, samples: usize) -> Range<usize> {
        let first = labels.start.saturating_sub(MFCC_SEES) * LABEL_HOP;
        let end = (labels.end + MFCC_SEES - 1) * LABEL_HOP + LABEL_WINDOW;
        first..end.min(samples)
    }

    /// MFCCs of some labels of an utterance, as [`Self::mfcc`] gives them: `waveform` holds
    /// [`Self::mfcc_samples`].
    pub fn mfcc_part(&self, labels: Range<usize>, waveform: &[f32]) -> Array2<f32> {
        let before = labels.start.min(MFCC_SEES);
        self.mfcc.compute(waveform).slice_move(ndarray::s![before..before + labels.len(), ..])
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let layouts = extractor.crop_layouts(&stack, 1, crop.len()).unwrap();
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

    /// A noise-like waveform, and a stack for it.
    fn long_utterance(network: &NetworkConfig, samples: usize, pool: &Pool<f32>) -> (Vec<f32>, Stack<f32>) {
        let loss = crate::network::LossConfig { negatives: 2, ..Default::default() };
        let optimizer = gim_core::optim::OptimizerConfig::default();
        let waveform = gim_core::testing::uniform(samples, 7).into_iter().map(|x| x as f32).collect();
        (waveform, network.build(&loss, None, &optimizer, 1, pool).unwrap())
    }

    /// Features of a long utterance have the same bits in one pass and in several, whatever their
    /// length, for every kind of network.
    #[test]
    fn passes_over_parts_have_the_bits_of_one_pass() {
        let pool = Pool::new();
        let kinds = [
            (NetworkKind::SeparateContext, false),
            (NetworkKind::FusedContext, false),
            (NetworkKind::Cpc, false),
            (NetworkKind::FusedContext, true),
        ];
        for (kind, context_per_module) in kinds {
            // Wide enough for shared products of two outputs in all but the first convolution.
            let network = NetworkConfig { kind, context_per_module, width: 32, context: 6, ..NetworkConfig::default() };
            for samples in [20_000, 20_167] {
                let (waveform, mut stack) = long_utterance(&network, samples, &pool);
                let mut features = |pass| {
                    let extractor = FeatureExtractor::new(&network).unwrap().with_pass(pass);
                    let passes = extractor.passes(&stack, samples).unwrap().len();
                    pool.poison();
                    (passes, extractor.features(&mut stack, &waveform, &pool).unwrap())
                };
                let (one, whole) = features(samples);
                assert_eq!(one, 1);
                for pass in [1, 4_007, 8_000, 15_000, samples - 1] {
                    let (n, parts) = features(pass);
                    assert!(n > 1, "{pass} of {samples} samples in one pass");
                    for (m, (whole, parts)) in whole.iter().zip(&parts).enumerate() {
                        let differ = whole.iter().zip(parts).position(|(a, b)| a.to_bits() != b.to_bits());
                        let what = format!("{kind:?}, module {}, {n} passes of {pass} of {samples} samples", m + 1);
                        assert_eq!((differ, whole.dim()), (None, parts.dim()), "{what}");
                    }
                }
            }
        }
    }

    /// Features that are taken as soon as they are known are those of the whole, with the MFCCs of the
    /// same labels, and few are held at a time.
    #[test]
    fn features_are_taken_in_parts() {
        let pool = Pool::new();
        let network = NetworkConfig { width: 4, context: 3, ..NetworkConfig::default() };
        let (waveform, mut stack) = long_utterance(&network, 60_000, &pool);
        let extractor = FeatureExtractor::new(&network).unwrap().with_pass(8_000);
        let whole = extractor.features(&mut stack, &waveform, &pool).unwrap();
        let mfcc = extractor.mfcc(&waveform);
        let (mut grids, mut taken, mut most) = (Grids::new(waveform.len()), 0, 0);
        for pass in extractor.passes(&stack, waveform.len()).unwrap() {
            extractor.pass(&mut stack, &pass, &waveform[pass.samples()], &mut grids, &pool);
            let rows = taken..grids.known();
            for (part, whole) in grids.take(rows.end).iter().zip(&whole) {
                assert_eq!(part, whole.slice(ndarray::s![rows.clone(), ..]), "labels {rows:?}");
            }
            let samples = FeatureExtractor::mfcc_samples(rows.clone(), waveform.len());
            let part = extractor.mfcc_part(rows.clone(), &waveform[samples]);
            assert_eq!(part, mfcc.slice(ndarray::s![rows.clone(), ..]), "labels {rows:?}");
            (taken, most) = (rows.end, most.max(rows.len()));
        }
        assert_eq!(taken, label_frames(waveform.len()));
        assert!(most < taken / 4, "{most} of {taken} labels at a time");
    }

    /// Memory of the network depends on the passes, not on the utterance.
    #[test]
    fn memory_is_that_of_a_pass() {
        let network = NetworkConfig { width: 16, context: 8, ..NetworkConfig::default() };
        let peak = |samples: usize, pass: usize| {
            let pool = Pool::new();
            let (waveform, mut stack) = long_utterance(&network, samples, &pool);
            let extractor = FeatureExtractor::new(&network).unwrap().with_pass(pass);
            extractor.features(&mut stack, &waveform, &pool).unwrap();
            pool.peak_bytes()
        };
        let one_pass = peak(16_000, 16_000);
        assert!(peak(160_000, 16_000) <= one_pass + one_pass / 8, "{} > {one_pass}", peak(160_000, 16_000));
        assert!(peak(160_000, 160_000) > 8 * one_pass);
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
            let features = extractor.features(&mut stack, &waveform, &pool).unwrap();
            let shapes: Vec<_> = features.iter().map(|f| f.dim()).collect();
            assert_eq!(shapes, dims.map(|d| (labels, d)), "{kind:?}");
            assert_eq!(extractor.mfcc(&waveform).dim(), (labels, 39));
            assert_eq!(extractor.passes(&stack, 399), None);
        }
    }
}
