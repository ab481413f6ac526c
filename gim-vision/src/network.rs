//! The paper's networks for pictures, from configuration.

use gim_core::layers::Layer;
use gim_core::layers::{ItemLayer, Itemwise, Sequential};
use gim_core::loss::{Directions, InfoNceConfig, LocalLoss, Supervision};
use gim_core::module::{LocalModule, Module, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::sampler::{Direction, SamplerKind};
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Purpose, Result, Scalar};
use serde::{Deserialize, Serialize};

use crate::layers::conv2d::{Conv2d, Conv2dConfig, delta_orthogonal};
use crate::layers::patches::{PatchMean, Patches};
use crate::layers::pixelcnn::PixelCnn;
use crate::layers::residual::{BlockKind, Residual};

/// How the stack is cut into modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Gradient-isolated modules: the stages, or as `cuts` says.
    Gim,
    /// One module, trained end to end: contrastive predictive coding with a PixelCNN context, or, with labels, supervised
    /// learning without one.
    Cpc,
}

/// Initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// U(±1/√fan_in), the published default.
    Uniform,
    /// Delta-orthogonal convolutions, zero biases.
    DeltaOrthogonal,
}

/// Shape of the network; the default is the paper's, the first three stages of a ResNet-50 v2 without normalisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// How it is cut.
    pub kind: NetworkKind,
    /// `bottleneck` (ResNet-50) or `basic` (ResNet-34).
    pub block: BlockKind,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Width of each stage; bottlenecks put out four times as many channels.
    pub widths: Vec<usize>,
    /// Blocks, counted over all stages, after which a module ends; empty for the ends of the stages.
    pub cuts: Vec<usize>,
    /// Side of the stem's kernel.
    pub stem: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Pixels that neighbouring patches share.
    pub overlap: usize,
    /// Layers of the PixelCNN (`cpc` only).
    pub context_layers: usize,
    /// Initial weights.
    pub init: Init,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            kind: NetworkKind::Gim,
            block: BlockKind::Bottleneck,
            blocks: vec![3, 4, 6],
            widths: vec![64, 128, 256],
            cuts: Vec::new(),
            stem: 5,
            patch: 16,
            overlap: 8,
            context_layers: 4,
            init: Init::Uniform,
        }
    }
}

/// What modules learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Their own features further along the grid: InfoNCE, without labels.
    Future,
    /// The class of a picture: cross-entropy.
    Classes,
}

/// The loss of every module; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// What every module learns from: `future` (InfoNCE), or labels: `classes`.
    pub target: Target,
    /// Prediction distances K.
    pub ahead: usize,
    /// Negatives N.
    pub negatives: usize,
    /// Negative sampler.
    pub sampler: SamplerKind,
    /// Rows skipped before the first prediction: neighbouring patches overlap.
    pub skip: usize,
    /// Ways of prediction, of which the losses are averaged: down, up, right, left.
    pub directions: Vec<Direction>,
    /// ε inside the published logarithm; 0 for the exact log-softmax.
    pub epsilon: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            target: Target::Future,
            ahead: 5,
            negatives: 16,
            sampler: SamplerKind::Targets,
            skip: 1,
            directions: vec![Direction::Down],
            epsilon: 0.0,
        }
    }
}

impl LossConfig {
    /// Rows (or columns) of patches that the loss needs.
    pub fn need(&self) -> usize {
        match self.target {
            Target::Future => self.ahead + self.skip + 1,
            Target::Classes => 1,
        }
    }

    /// The directions, each of which may be named once.
    fn distinct_directions(&self) -> Result<&[Direction]> {
        let ways = &self.directions;
        if ways.is_empty() || (1..ways.len()).any(|i| ways[..i].contains(&ways[i])) {
            let what =
                format!("[{}] names none, or one twice", ways.iter().map(|d| d.name()).collect::<Vec<_>>().join(", "));
            let names = Direction::ALL.map(Direction::name).join(", ");
            return Err(Error::config("loss.directions", what, format_args!("use some of {names}")));
        }
        Ok(ways)
    }
}

/// A module's part of the network: a part of each stage it reaches into.
struct Cut<F: Scalar> {
    stages: Vec<Vec<Box<dyn ItemLayer<F>>>>,
    channels: usize,
}

impl NetworkConfig {
    /// How pictures are cut into patches.
    ///
    /// # Errors
    /// When patches have no size, or share all their pixels.
    pub fn patches(&self) -> Result<Patches> {
        Patches::new(self.patch, self.overlap)
    }

    /// Number of the last block of each module, one-based.
    fn ends(&self) -> Result<Vec<usize>> {
        let total: usize = self.blocks.iter().sum();
        if self.blocks.len() != self.widths.len() || self.blocks.contains(&0) || total == 0 {
            return Err(Error::config(
                "network.blocks",
                format_args!("{:?} blocks of widths {:?}", self.blocks, self.widths),
                "give one number of blocks, at least 1, and one width for every stage",
            ));
        }
        if self.kind == NetworkKind::Cpc {
            if !self.cuts.is_empty() {
                let what = "a network that learns end to end is not cut";
                return Err(Error::config("network.cuts", what, "leave the cuts out, or use network.kind = \"gim\""));
            }
            return Ok(vec![total]);
        }
        let mut ends = self.cuts.clone();
        if ends.is_empty() {
            let mut sum = 0;
            ends.extend(self.blocks.iter().map(|b| {
                sum += b;
                sum
            }));
        } else if ends.last() != Some(&total) {
            ends.push(total);
        }
        if ends.windows(2).any(|w| w[0] >= w[1]) || ends[0] == 0 || ends[ends.len() - 1] > total {
            return Err(Error::config(
                "network.cuts",
                format_args!("{:?} does not rise from 1 to the {total} blocks there are", self.cuts),
                "give the numbers of the blocks after which to cut, in order",
            ));
        }
        Ok(ends)
    }

    /// Stem and blocks, cut into modules.
    fn layers<F: Scalar>(&self, c_in: usize, seed: u64) -> Result<Vec<Cut<F>>> {
        let ends = self.ends()?;
        let mut cuts = vec![Cut { stages: vec![Vec::new()], channels: c_in }];
        let key = |item: usize| Key::new(seed, Purpose::Init).with_item(item as u32);
        let mut stem = Conv2d::new(Conv2dConfig::square(c_in, self.widths[0], self.stem, 1), key(0))?;
        let orthogonal = self.init == Init::DeltaOrthogonal;
        if orthogonal {
            delta_orthogonal(&mut stem, key(50_000))?;
        }
        cuts[0].stages[0].push(Box::new(stem));
        let (mut channels, mut block, mut module) = (self.widths[0], 0, 0);
        for (stage, (n, width)) in self.blocks.iter().zip(&self.widths).enumerate() {
            for b in 0..*n {
                if block == ends[module] {
                    module += 1;
                    cuts.push(Cut { stages: vec![Vec::new()], channels });
                } else if b == 0 && stage > 0 {
                    cuts[module].stages.push(Vec::new());
                }
                let stride = if b == 0 && stage > 0 { 2 } else { 1 };
                let at = key(100 * (block + 1));
                let mut layer = Residual::new(self.block, channels, *width, stride, at)?;
                if orthogonal {
                    layer.delta_orthogonal(at.with_item(at.item + 50_000))?;
                }
                channels = self.block.channels(*width);
                block += 1;
                let cut = &mut cuts[module];
                cut.channels = channels;
                cut.stages.last_mut().unwrap_or_else(|| unreachable!("a module has a stage")).push(Box::new(layer));
            }
        }
        Ok(cuts)
    }

    /// The stack at its initial weights for square pictures of `side` pixels and `c_in` channels: what is trained, and,
    /// untrained, the random encoder. Its input is the pictures' patches. With `supervision` every module learns from labels:
    /// the paper's supervised network when there is one module, greedy supervised learning otherwise.
    ///
    /// A layer's initial weights follow from the seed and its place in the network, wherever that is cut: the random encoder is
    /// the same for every method.
    ///
    /// # Errors
    /// When a setting cannot be used, or the pictures are too small.
    pub fn build<F: Scalar>(
        &self,
        side: usize,
        c_in: usize,
        loss: &LossConfig,
        supervision: Option<Supervision>,
        optimizer: &OptimizerConfig,
        seed: u64,
        pool: &Pool<F>,
    ) -> Result<Stack<F>> {
        let patches = self.patches()?;
        patches.check(side, side, loss.need())?;
        let grid = [patches.along(side); 2];
        let mut modules: Vec<Box<dyn Module<F>>> = Vec::new();
        for (m, cut) in self.layers::<F>(c_in, seed)?.into_iter().enumerate() {
            let key = Key::new(seed, Purpose::Init).with_module(m as u32 + 1);
            let encoder = cut.stages.into_iter().map(|s| -> Box<dyn Layer<F>> { Box::new(Itemwise::new(s)) });
            let mut context: Option<Box<dyn Layer<F>>> = None;
            if self.kind == NetworkKind::Cpc && supervision.is_none() {
                if loss.distinct_directions()? != [Direction::Down] {
                    let what = "a PixelCNN's contexts have seen the rows above and beside them: only those below are left to predict";
                    return Err(Error::config("loss.directions", what, "use ['down'], or network.kind = \"gim\""));
                }
                let net = PixelCnn::new(cut.channels, self.context_layers, key.with_item(80_000))?;
                context = Some(Box::new(Itemwise::new(vec![Box::new(net)])));
            }
            let config = InfoNceConfig {
                channels: cut.channels,
                context: cut.channels,
                ahead: loss.ahead,
                negatives: loss.negatives,
                skip: loss.skip,
                window: None,
                epsilon: (loss.epsilon > 0.0).then_some(loss.epsilon),
                ..InfoNceConfig::default()
            };
            let sampler = || loss.sampler.build();
            let key = key.with_item(90_000);
            let loss: Box<dyn LocalLoss<F>> = match supervision {
                None => Box::new(Directions::new(&config, loss.distinct_directions()?, sampler, key)?),
                Some(labels) => Box::new(labels.loss(cut.channels, key)?),
            };
            let parts = Parts {
                encoder: Sequential::new(encoder.collect()),
                readout: Some(Box::new(PatchMean { grid })),
                context,
                loss,
                optimizer: optimizer.build()?,
            };
            modules.push(Box::new(LocalModule::new(m + 1, parts, pool.clone())));
        }
        Ok(Stack::new(modules))
    }
}
