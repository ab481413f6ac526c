//! Networks for images, from configuration: the paper's, and others that the field uses.

mod loss;
mod plain;
mod residual;

use documented::DocumentedFields;
use gim_core::activations::Shape;
use gim_core::credit::CreditAssignment;
use gim_core::layers::{ItemLayer, Itemwise, Layer, LayerInfo, Readout, Sequential};
use gim_core::loss::{InputBlock, LocalLoss, LossKind, Place, Supervision};
use gim_core::module::{Module, Overlap, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::sampler::Direction;
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Result, Scalar};
use serde::{Deserialize, Serialize};

pub use loss::{LossConfig, Target};

use crate::layers::conv2d::ORTHOGONAL_GAIN;
use crate::layers::map_mean::MapMean;
use crate::layers::normalize::NormSets;
use crate::layers::orthonormal::orthonormal;
use crate::layers::patches::{PatchMean, Patches};
use crate::layers::pixelcnn::PixelCnn;
use crate::layers::pool2d::Pooling;
use crate::layers::residual::BlockKind;

// Items of the key that initial weights are drawn from. Other values give other weights for the
// same seed.
/// Item of the stem.
const STEM_ITEM: u32 = 0;
/// Items from one block to the next; the stem comes before the first.
const BLOCK_ITEMS: u32 = 100;
/// What a layer's delta-orthogonal weights add to its item.
const ORTHOGONAL_ITEMS: u32 = 50_000;
/// Item of a context network.
const CONTEXT_ITEM: u32 = 80_000;
/// Item of a loss.
const LOSS_ITEM: u32 = 90_000;

/// How the stack is cut into modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Gradient-isolated modules: one for each stage, or as `cuts` says.
    Gim,
    /// One module, trained end to end: contrastive predictive coding with a PixelCNN as context
    /// network, or supervised learning without one.
    Cpc,
}

/// What the layers of a network are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderKind {
    /// A stem and stages of pre-activation residual blocks: the paper's.
    Residual,
    /// Convolutions 3×3, each with a ReLU, and 2×2 pooling after some of them (Simonyan & Zisserman 2015;
    /// Illing et al. 2021).
    Vgg,
    /// Fully connected layers, each with a ReLU, on the values of a patch.
    Mlp,
}

impl EncoderKind {
    /// Name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Residual => "residual",
            Self::Vgg => "vgg",
            Self::Mlp => "mlp",
        }
    }
}

/// Normalization in front of ReLUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// None, as published for Greedy InfoMax.
    None,
    /// Group normalization (Wu & He 2018).
    Group,
    /// Layer normalization over the channels of each position (Ba et al. 2016).
    Layer,
}

impl Norm {
    /// What is normalized together, with so many groups of channels; nothing without normalization.
    fn sets(self, groups: usize) -> Option<NormSets> {
        match self {
            Self::None => None,
            Self::Group => Some(NormSets::Groups(groups)),
            Self::Layer => Some(NormSets::Positions),
        }
    }
}

/// What the positions of the grid are that losses, context networks and probes see of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadoutKind {
    /// Patches of the image: each is the mean over its positions.
    Patches,
    /// Positions of the module's own map of the whole image.
    Map,
}

/// Initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// U(±1/√fan_in), the published default.
    Uniform,
    /// As the published `--weight_init`: delta-orthogonal convolutions with gain √2, orthonormal
    /// W_k with the same gain, and biases from U(±1/√fan_in). In `cpc`, the PixelCNN is drawn
    /// uniformly: the published code stops there.
    DeltaOrthogonal,
}

/// Shape of the network; the default is the paper's, the first three stages of a ResNet-50 v2
/// without normalization. `docs/encoders.md` has the settings of known networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// How it is cut into modules.
    pub kind: NetworkKind,
    /// `residual` (the paper's), `vgg` (3 × 3 convolutions) or `mlp` (fully connected).
    pub encoder: EncoderKind,
    /// Of `residual`: `bottleneck` (ResNet-50) or `basic` (ResNet-18 and 34).
    pub block: BlockKind,
    /// Of `residual`: blocks of each stage.
    pub blocks: Vec<usize>,
    /// Channels of each stage, of which bottlenecks output four times as many; of `vgg` and `mlp`, of each
    /// layer.
    pub widths: Vec<usize>,
    /// Numbers of the blocks or layers after which a module ends, counted from 1 over all stages; empty
    /// for the ends of stages and, of `vgg` and `mlp`, for every layer.
    pub cuts: Vec<usize>,
    /// Of `residual`: side of the stem's kernel, in pixels.
    pub stem: usize,
    /// Of `vgg`: numbers of the layers, counted from 1, that end with pooling over 2 × 2 positions.
    pub pools: Vec<usize>,
    /// Of `vgg`: `max` or `average` pooling.
    pub pooling: Pooling,
    /// In front of each ReLU: `none` (the paper's), `group` (group normalization) or `layer` (layer
    /// normalization over channels).
    pub norm: Norm,
    /// Groups of channels of `group` normalization.
    pub norm_groups: usize,
    /// Grid that losses and probes see of a module: `patches`, each the mean over its positions, or `map`,
    /// the positions of the module's map, for which the whole image is one patch.
    pub readout: ReadoutKind,
    /// Of `map`: rows and columns that the map is averaged to, if it is larger; 0 leaves it as it is.
    pub readout_side: usize,
    /// Side of a patch, in pixels; `data.crop` for the whole image.
    pub patch: usize,
    /// Pixels that neighboring patches share.
    pub overlap: usize,
    /// Layers of the PixelCNN (`cpc` only).
    pub context_layers: usize,
    /// Initial weights.
    pub init: Init,
    /// How errors go down within a module: `backpropagation`, `feedback-alignment` (through fixed random weights) or
    /// `direct-feedback-alignment` (to each layer through a fixed random matrix).
    pub credit: CreditAssignment,
    /// Modules that learn from each loss: its own and those right below it. 1 is Greedy InfoMax; more need
    /// `train.schedule = "simultaneous"`.
    pub modules_per_loss: usize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            kind: NetworkKind::Gim,
            encoder: EncoderKind::Residual,
            block: BlockKind::Bottleneck,
            blocks: vec![3, 4, 6],
            widths: vec![64, 128, 256],
            cuts: Vec::new(),
            stem: 5,
            pools: Vec::new(),
            pooling: Pooling::Max,
            norm: Norm::None,
            norm_groups: 32,
            readout: ReadoutKind::Patches,
            readout_side: 0,
            patch: 16,
            overlap: 8,
            context_layers: 4,
            init: Init::Uniform,
            credit: CreditAssignment::default(),
            modules_per_loss: 1,
        }
    }
}

/// A module's layers, by stage, and the channels of its output.
struct Cut<F: Scalar> {
    stages: Vec<Vec<Box<dyn ItemLayer<F>>>>,
    channels: usize,
}

impl NetworkConfig {
    /// How images are cut into patches.
    ///
    /// # Errors
    /// When patches have no pixels, or neighbors share all of them.
    pub fn patches(&self) -> Result<Patches> {
        Patches::new(self.patch, self.overlap)
    }

    /// How square images of `side` pixels are cut into patches, for a loss that needs grids of `need` × `need`
    /// positions.
    ///
    /// # Errors
    /// When a setting cannot be used, or the images are too small.
    pub fn patches_for(&self, side: usize, need: usize) -> Result<Patches> {
        let patches = self.patches()?;
        match self.readout {
            ReadoutKind::Patches => patches.check(side, side, need)?,
            ReadoutKind::Map => {
                patches.check(side, side, 1)?;
                let n = patches.along(side);
                if n > 1 {
                    let what = format!("is \"map\", but images of {side} × {side} pixels give {n} × {n} patches");
                    let remedy = format!("use network.patch = {side} and network.overlap = 0, or \"patches\"");
                    return Err(Error::config("network.readout", what, remedy));
                }
            }
        }
        Ok(patches)
    }

    /// Stages of the network, whose features an end-to-end module gives one by one.
    pub fn n_stages(&self) -> usize {
        match self.encoder {
            EncoderKind::Residual => self.blocks.len(),
            EncoderKind::Vgg | EncoderKind::Mlp => self.widths.len(),
        }
    }

    /// Number of the last block or layer of each module, one-based; `natural` are those where nothing is said.
    fn ends(&self, natural: Vec<usize>) -> Result<Vec<usize>> {
        let total = natural.last().copied().unwrap_or(0);
        if self.kind == NetworkKind::Cpc {
            if !self.cuts.is_empty() {
                let what = "a network that learns end to end is not cut";
                return Err(Error::config("network.cuts", what, "leave the cuts out, or use network.kind = \"gim\""));
            }
            return Ok(vec![total]);
        }
        let mut ends = self.cuts.clone();
        if ends.is_empty() {
            ends = natural;
        } else if ends.last() != Some(&total) {
            ends.push(total);
        }
        if ends.windows(2).any(|w| w[0] >= w[1]) || ends[0] == 0 || ends[ends.len() - 1] > total {
            let parts = if self.encoder == EncoderKind::Residual { "blocks" } else { "layers" };
            return Err(Error::config(
                "network.cuts",
                format_args!("{:?} does not rise from 1 to the {total} {parts} there are", self.cuts),
                format_args!("give the numbers of the {parts} after which to cut, in order"),
            ));
        }
        Ok(ends)
    }

    /// All layers, cut into modules. Their weights are drawn by `key`.
    fn layers<F: Scalar>(&self, in_channels: usize, key: Key) -> Result<Vec<Cut<F>>> {
        match self.encoder {
            EncoderKind::Residual => self.residual(in_channels, key),
            EncoderKind::Vgg | EncoderKind::Mlp => self.plain(in_channels, key),
        }
    }

    /// Rows and columns of the map that the loss is given of an output of shape `z`.
    fn map_grid(&self, z: Shape) -> [usize; 2] {
        let side = if self.readout_side == 0 { usize::MAX } else { self.readout_side };
        [z.height.min(side), z.width.min(side)]
    }

    /// The part of a module's input of shape `x` that belongs to a position of what its loss is given of the
    /// output, of shape `z`.
    fn input_block(&self, x: Shape, z: Shape) -> InputBlock {
        let [rows, cols] = if self.readout == ReadoutKind::Patches { [1, 1] } else { self.map_grid(z) };
        InputBlock { height: x.height / rows, width: x.width / cols, channels: x.channels }
    }

    /// What the loss of module `module` is given of an output of shape `z`; none for the output itself.
    fn readout_of<F: Scalar>(
        &self,
        grid: [usize; 2],
        module: usize,
        z: Shape,
        need: usize,
    ) -> Result<Option<Box<dyn Readout<F>>>> {
        if self.readout == ReadoutKind::Patches {
            return Ok(Some(Box::new(PatchMean { grid })));
        }
        let [rows, cols] = self.map_grid(z);
        if rows.min(cols) < need {
            let what = format!(
                "is \"map\", but the grid of module {module} has {rows} × {cols} positions, and the loss needs \
                 {need} × {need}"
            );
            let remedy = "use larger images, pool after fewer layers, raise network.readout_side, lower \
                          loss.prediction_steps or loss.skip, or use a loss that predicts nothing";
            return Err(Error::config("network.readout", what, remedy));
        }
        let readout = MapMean { side: self.readout_side };
        Ok((self.readout_side > 0).then(|| Box::new(readout) as Box<dyn Readout<F>>))
    }

    /// Builds the stack at its initial weights; untrained, it is the random encoder. Its input is
    /// the patches of square images of `side` pixels and `in_channels` channels, as
    /// [`Patches::cut`] gives them.
    ///
    /// With `supervision`, every module learns from labels: one module is the paper's supervised
    /// network, several are greedy supervised learning.
    ///
    /// A layer's initial weights depend on the seed and its place in the network, not on how the
    /// network is cut into modules. So all methods share one random encoder.
    ///
    /// # Errors
    /// When a setting cannot be used, or the images are too small.
    pub fn build<F: Scalar>(
        &self,
        side: usize,
        in_channels: usize,
        loss: &LossConfig,
        supervision: Option<Supervision>,
        optimizer: &OptimizerConfig,
        seed: u64,
        pool: &Pool<F>,
    ) -> Result<Stack<F>> {
        let draw = |purpose| self.draw(side, in_channels, loss, supervision, optimizer, Key::new(seed, purpose), pool);
        self.credit.build(draw)
    }

    /// [`Self::build`] with weights drawn by `layer`.
    fn draw<F: Scalar>(
        &self,
        side: usize,
        in_channels: usize,
        loss: &LossConfig,
        supervision: Option<Supervision>,
        optimizer: &OptimizerConfig,
        layer: Key,
        pool: &Pool<F>,
    ) -> Result<Stack<F>> {
        let kind = loss.kind.kind(supervision.is_some())?;
        let prediction = loss.prediction();
        let need = loss.settings.need(kind, &prediction);
        let patches = self.patches_for(side, need)?;
        let grid = [patches.along(side); 2];
        let mut shape =
            Shape { batch: grid[0] * grid[1], height: self.patch, width: self.patch, channels: in_channels };
        let mut modules: Vec<Box<dyn Module<F>>> = Vec::new();
        let cuts = self.layers::<F>(in_channels, layer)?;
        let overlap = Overlap { modules_per_loss: self.modules_per_loss, n_modules: cuts.len() };
        for (m, cut) in cuts.into_iter().enumerate() {
            let key = layer.with_module(m as u32 + 1);
            let mut context: Option<Box<dyn Layer<F>>> = None;
            if self.kind == NetworkKind::Cpc && supervision.is_none() {
                if prediction.distinct_directions()? != [Direction::Down] {
                    let what = "a PixelCNN's contexts have seen the rows above and beside them: only those below are left to predict";
                    return Err(Error::config("loss.directions", what, "use ['down'], or network.kind = \"gim\""));
                }
                let net = PixelCnn::new(cut.channels, self.context_layers, key.with_item(CONTEXT_ITEM))?;
                context = Some(Box::new(Itemwise::new(vec![Box::new(net)])));
            }
            let mut encoder = Sequential::new(cut.stages.into_iter().map(Itemwise::new));
            self.credit.prepare(&mut encoder, key);
            let below = shape;
            shape = encoder.output(below)?;
            let readout = self.readout_of(grid, m + 1, shape, need)?;
            let place = Place {
                channels: cut.channels,
                context: cut.channels,
                input: self.input_block(below, shape),
                prediction: prediction.clone(),
                supervision,
            };
            let key = key.with_item(LOSS_ITEM);
            let mut loss = loss.settings.build(kind, &place, key)?;
            if kind == LossKind::InfoNce && self.init == Init::DeltaOrthogonal {
                orthogonal_predictors(&mut *loss, cut.channels, key.with_item(key.item + ORTHOGONAL_ITEMS))?;
            }
            let parts = Parts { encoder, readout, context, loss, optimizer: optimizer.build()? };
            modules.push(overlap.module(m + 1, parts, pool.clone())?);
        }
        Ok(Stack::new(modules))
    }
}

/// Makes every W_k (C, C) of `loss` an orthonormal matrix times [`ORTHOGONAL_GAIN`].
fn orthogonal_predictors<F: Scalar>(loss: &mut dyn LocalLoss<F>, channels: usize, key: Key) -> Result<()> {
    let (mut item, mut done) = (key.item, Ok(()));
    loss.visit(&mut |p| {
        for w in p.value.chunks_exact_mut(channels * channels) {
            match orthonormal(channels, channels, key.with_item(item)) {
                Ok(q) => w.iter_mut().zip(&q).for_each(|(w, q)| *w = F::of(ORTHOGONAL_GAIN * q)),
                Err(e) => done = Err(e),
            }
            item += 1;
        }
    });
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delta-orthogonal weights reach the predictors: W_k W_kᵀ = 2 I. Biases are drawn.
    #[test]
    fn delta_orthogonal_predictors() {
        let network = NetworkConfig {
            blocks: vec![1],
            widths: vec![4],
            stem: 3,
            patch: 8,
            overlap: 4,
            init: Init::DeltaOrthogonal,
            ..NetworkConfig::default()
        };
        let loss =
            LossConfig { prediction_steps: 2, directions: vec![Direction::Down, Direction::Up], ..Default::default() };
        let mut stack = network.build::<f64>(28, 1, &loss, None, &OptimizerConfig::default(), 1, &Pool::new()).unwrap();
        let (c, mut seen) = (16, Vec::new());
        stack.modules_mut()[0].params().visit(&mut |p| {
            if p.name.ends_with("bias") {
                assert!(p.value.iter().all(|b| *b != 0.0), "{}", p.name);
            }
            if !p.name.contains("predictor") {
                return;
            }
            for w in p.value.chunks_exact(c * c) {
                seen.push(w.to_vec());
                for (i, j) in (0..c).flat_map(|i| (0..c).map(move |j| (i, j))) {
                    let product: f64 = (0..c).map(|n| w[i * c + n] * w[j * c + n]).sum();
                    assert!((product - 2.0 * f64::from(i == j)).abs() < 1e-12, "rows {i} and {j}: {product}");
                }
            }
        });
        assert_eq!(seen.len(), 4, "two distances in two directions");
        assert!((1..4).all(|i| !seen[..i].contains(&seen[i])), "every W_k is drawn for itself");
    }
}
