//! The paper's networks for images, from configuration.

use documented::DocumentedFields;
use gim_core::activations::Shape;
use gim_core::data::LabelName;
use gim_core::layers::{ItemLayer, Itemwise, Layer, LayerInfo, Sequential};
use gim_core::loss::{InputBlock, LocalLoss, LossChoice, LossKind, LossSettings, Place, Prediction, Supervision};
use gim_core::module::{LocalModule, Module, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::sampler::{Direction, SamplerKind};
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Purpose, Result, Scalar};
use serde::{Deserialize, Serialize};

use crate::layers::conv2d::{Conv2d, Conv2dConfig, ORTHOGONAL_GAIN, delta_orthogonal};
use crate::layers::orthonormal::orthonormal;
use crate::layers::patches::{PatchMean, Patches};
use crate::layers::pixelcnn::PixelCnn;
use crate::layers::residual::{BlockKind, Residual};

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
/// without normalization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// How it is cut into modules.
    pub kind: NetworkKind,
    /// `bottleneck` (ResNet-50) or `basic` (ResNet-34).
    pub block: BlockKind,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Channels of each stage; bottlenecks output four times as many.
    pub widths: Vec<usize>,
    /// Numbers of the blocks after which a module ends, counted from 1 over all stages; empty for
    /// the ends of stages.
    pub cuts: Vec<usize>,
    /// Side of the stem's kernel, in pixels.
    pub stem: usize,
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Pixels that neighboring patches share.
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
#[serde(try_from = "String", into = "&'static str")]
pub enum Target {
    /// Their own features further along the grid of patches: InfoNCE, without labels.
    Future,
    /// The class of an image: cross-entropy.
    Classes,
    /// A column of labels of images: cross-entropy.
    Column(LabelName),
}

impl Target {
    /// The column of labels, if it is one.
    pub fn column(self) -> Option<LabelName> {
        if let Self::Column(name) = self { Some(name) } else { None }
    }

    /// Those that are no columns.
    const ALL: [Self; 2] = [Self::Future, Self::Classes];
}

impl From<Target> for &'static str {
    fn from(target: Target) -> Self {
        match target {
            Target::Future => "future",
            Target::Classes => "classes",
            Target::Column(name) => name.as_str(),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        match Self::ALL.into_iter().find(|target| <&str>::from(*target) == name) {
            Some(target) => Ok(target),
            None => name.parse().map(Self::Column),
        }
    }
}

/// The loss of every module; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(default)]
pub struct LossConfig {
    /// The loss; `auto` is InfoNCE, or cross-entropy where the target has labels.
    pub kind: LossChoice,
    /// What every module learns from: `future`, without labels, or labels: `classes`, or a
    /// column of labels that the dataset has.
    pub target: Target,
    /// Number of steps K along the grid that are predicted: distances 1 to K, after `skip`.
    pub prediction_steps: usize,
    /// Number of negatives N for each prediction.
    pub negatives: usize,
    /// Negative sampler.
    pub sampler: SamplerKind,
    /// Rows skipped before the first prediction: neighboring patches overlap.
    pub skip: usize,
    /// Ways of prediction, of which the losses are averaged: down, up, right, left.
    pub directions: Vec<Direction>,
    /// ε inside the published logarithm; 0 for the exact log-softmax.
    pub epsilon: f64,
    /// Settings of each kind of loss.
    #[serde(flatten)]
    pub settings: LossSettings,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            kind: LossChoice::default(),
            target: Target::Future,
            prediction_steps: 5,
            negatives: 16,
            sampler: SamplerKind::Targets,
            skip: 1,
            directions: vec![Direction::Down],
            epsilon: 0.0,
            settings: LossSettings::default(),
        }
    }
}

impl LossConfig {
    /// The kind of loss.
    ///
    /// # Errors
    /// When it does not fit the target.
    pub fn kind(&self) -> Result<LossKind> {
        self.kind.kind(self.target != Target::Future)
    }

    /// Smallest number of rows and columns of patches that the loss can be computed on.
    ///
    /// # Errors
    /// As [`Self::kind`].
    pub fn need(&self) -> Result<usize> {
        Ok(self.settings.need(self.kind()?, &self.prediction()))
    }

    fn prediction(&self) -> Prediction {
        Prediction {
            prediction_steps: self.prediction_steps,
            negatives: self.negatives,
            sampler: self.sampler,
            skip: self.skip,
            window: None,
            epsilon: (self.epsilon > 0.0).then_some(self.epsilon),
            directions: Some(self.directions.clone()),
        }
    }
}

/// A module's blocks, by stage, and the channels of its output.
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
    fn layers<F: Scalar>(&self, in_channels: usize, seed: u64) -> Result<Vec<Cut<F>>> {
        let ends = self.ends()?;
        let mut cuts = vec![Cut { stages: vec![Vec::new()], channels: in_channels }];
        let key = |item: u32| Key::new(seed, Purpose::Init).with_item(item);
        let mut stem = Conv2d::new(Conv2dConfig::square(in_channels, self.widths[0], self.stem, 1), key(STEM_ITEM))?;
        let orthogonal = self.init == Init::DeltaOrthogonal;
        if orthogonal {
            delta_orthogonal(&mut stem, key(STEM_ITEM + ORTHOGONAL_ITEMS))?;
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
                let at = key(BLOCK_ITEMS * (block as u32 + 1));
                let mut layer = Residual::new(self.block, channels, *width, stride, at)?;
                if orthogonal {
                    layer.delta_orthogonal(at.with_item(at.item + ORTHOGONAL_ITEMS))?;
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
        let patches = self.patches()?;
        let kind = loss.kind.kind(supervision.is_some())?;
        let prediction = loss.prediction();
        patches.check(side, side, loss.settings.need(kind, &prediction))?;
        let grid = [patches.along(side); 2];
        let mut modules: Vec<Box<dyn Module<F>>> = Vec::new();
        // Maps of one patch as they enter a module.
        let mut map = Shape { batch: 1, height: self.patch, width: self.patch, channels: in_channels };
        for (m, cut) in self.layers::<F>(in_channels, seed)?.into_iter().enumerate() {
            let key = Key::new(seed, Purpose::Init).with_module(m as u32 + 1);
            let mut context: Option<Box<dyn Layer<F>>> = None;
            if self.kind == NetworkKind::Cpc && supervision.is_none() {
                if prediction.distinct_directions()? != [Direction::Down] {
                    let what = "a PixelCNN's contexts have seen the rows above and beside them: only those below are left to predict";
                    return Err(Error::config("loss.directions", what, "use ['down'], or network.kind = \"gim\""));
                }
                let net = PixelCnn::new(cut.channels, self.context_layers, key.with_item(CONTEXT_ITEM))?;
                context = Some(Box::new(Itemwise::new(vec![Box::new(net)])));
            }
            let encoder = Sequential::new(cut.stages.into_iter().map(Itemwise::new));
            let place = Place {
                channels: cut.channels,
                context: cut.channels,
                input: InputBlock { height: map.height, width: map.width, channels: map.channels },
                prediction: prediction.clone(),
                supervision,
            };
            map = encoder.output(map)?;
            let key = key.with_item(LOSS_ITEM);
            let mut loss = loss.settings.build(kind, &place, key)?;
            if kind == LossKind::InfoNce && self.init == Init::DeltaOrthogonal {
                orthogonal_predictors(&mut *loss, cut.channels, key.with_item(key.item + ORTHOGONAL_ITEMS))?;
            }
            let parts = Parts {
                encoder,
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
