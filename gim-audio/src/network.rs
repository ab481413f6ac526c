//! The paper's networks for speech, from configuration.

use documented::DocumentedFields;
use gim_core::credit::CreditAssignment;
use gim_core::data::LabelName;
use gim_core::layers::Layer;
use gim_core::layers::Sequential;
use gim_core::loss::{InputBlock, LossChoice, LossKind, LossSettings, Place, Prediction, Supervision};
use gim_core::module::{Module, Overlap, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::sampler::SamplerKind;
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Result, Scalar};
use serde::{Deserialize, Serialize};

use crate::geometry::{ConvSpec, PAPER_STACK};
use crate::layers::conv1d::{Conv1d, Conv1dConfig};
use crate::layers::gru::{Gru, GruConfig};

// Items of the key that initial weights are drawn from. Other values give other weights for the
// same seed.
/// Items from one convolution to the next.
const CONV_ITEMS: u32 = 10;
/// Item of a context network.
const CONTEXT_ITEM: u32 = 1_000;
/// Item of a loss.
const LOSS_ITEM: u32 = 2_000;

/// How the stack is cut into modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKind {
    /// Every convolution is a module, and the context network is another.
    SeparateContext,
    /// Every convolution is a module; the last one contains the context network.
    FusedContext,
    /// One module, trained end to end: contrastive predictive coding, or, with labels, supervised
    /// learning.
    Cpc,
}

/// Shape of the network; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// How it is cut into modules.
    pub kind: NetworkKind,
    /// Channels of every convolution.
    pub width: usize,
    /// Channels of the GRU; 0 for no context network.
    pub context: usize,
    /// Kernel size of each convolution, in positions of its input.
    pub kernel_sizes: Vec<usize>,
    /// Stride of each convolution, in positions of its input.
    pub strides: Vec<usize>,
    /// Zeros before and after the input of each convolution.
    pub paddings: Vec<usize>,
    /// Back-propagation through time in the GRU; without it, gradients stay within a frame.
    pub bptt: bool,
    /// Every convolution's module has a GRU of its own. As published, there is no module of the
    /// context network alone then, so `separate-context` is the same as `fused-context`.
    pub context_per_module: bool,
    /// How errors go down within a module: `backpropagation`, `feedback-alignment` (through fixed random weights) or
    /// `direct-feedback-alignment` (to each layer through a fixed random matrix).
    pub credit: CreditAssignment,
    /// Modules that learn from each loss: its own and those right below it. 1 is Greedy InfoMax; more need
    /// `train.schedule = "simultaneous"`.
    pub modules_per_loss: usize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let of = |f: fn(&ConvSpec) -> usize| PAPER_STACK.iter().map(f).collect();
        Self {
            kind: NetworkKind::SeparateContext,
            width: 512,
            context: 256,
            kernel_sizes: of(|s| s.kernel_size),
            strides: of(|s| s.stride),
            paddings: of(|s| s.padding),
            bptt: true,
            context_per_module: false,
            credit: CreditAssignment::default(),
            modules_per_loss: 1,
        }
    }
}

/// What modules learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Target {
    /// Their own features at later steps: InfoNCE, without labels.
    Future,
    /// The phone of every 10 ms: cross-entropy.
    Phones,
    /// The speaker of a crop: cross-entropy.
    Speakers,
    /// A column of labels of utterances: cross-entropy.
    Column(LabelName),
}

impl Target {
    /// The column of labels, if it is one.
    pub fn column(self) -> Option<LabelName> {
        if let Self::Column(name) = self { Some(name) } else { None }
    }

    /// Those that are no columns.
    const ALL: [Self; 3] = [Self::Future, Self::Phones, Self::Speakers];
}

impl From<Target> for &'static str {
    fn from(target: Target) -> Self {
        match target {
            Target::Future => "future",
            Target::Phones => "phones",
            Target::Speakers => "speakers",
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
    /// What every module learns from: `future`, without labels, or labels: `phones`,
    /// `speakers`, or a column of labels that the corpus has.
    pub target: Target,
    /// Number of steps K that are predicted: distances 1 to K.
    pub prediction_steps: usize,
    /// Number of negatives N for each prediction.
    pub negatives: usize,
    /// Negative sampler.
    pub sampler: SamplerKind,
    /// Steps of the scored window; 0 scores everything.
    pub window: usize,
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
            prediction_steps: 12,
            negatives: 10,
            sampler: SamplerKind::Permuted,
            window: 128,
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

    fn prediction(&self) -> Prediction {
        Prediction {
            prediction_steps: self.prediction_steps,
            negatives: self.negatives,
            sampler: self.sampler,
            skip: 0,
            window: (self.window > 0).then_some(self.window),
            epsilon: (self.epsilon > 0.0).then_some(self.epsilon),
            directions: None,
        }
    }
}

impl NetworkConfig {
    /// The convolutions.
    ///
    /// # Errors
    /// When the three lists differ in length or are empty.
    pub fn convs(&self) -> Result<Vec<ConvSpec>> {
        let n = self.kernel_sizes.len();
        if n == 0 || n != self.strides.len() || n != self.paddings.len() {
            return Err(Error::config(
                "network.kernel_sizes",
                format_args!("{n} kernels, {} strides, {} paddings", self.strides.len(), self.paddings.len()),
                "give one of each for every convolution",
            ));
        }
        let lists = self.kernel_sizes.iter().zip(&self.strides).zip(&self.paddings);
        Ok(lists
            .map(|((kernel_size, stride), padding)| ConvSpec {
                kernel_size: *kernel_size,
                stride: *stride,
                padding: *padding,
            })
            .collect())
    }

    /// The convolutions of each module, and whether it has a GRU.
    fn cuts(&self) -> Result<Vec<(std::ops::Range<usize>, bool)>> {
        let n = self.convs()?.len();
        let (gru, lower) = (self.context > 0, self.context_per_module);
        Ok(match self.kind {
            NetworkKind::Cpc => vec![(0..n, gru)],
            NetworkKind::FusedContext => (0..n).map(|i| (i..i + 1, gru && (lower || i + 1 == n))).collect(),
            NetworkKind::SeparateContext => {
                let mut cuts: Vec<_> = (0..n).map(|i| (i..i + 1, gru && lower)).collect();
                if gru && !lower {
                    cuts.push((n..n, true));
                }
                cuts
            }
        })
    }

    /// Builds the stack at its initial weights; untrained, it is the random encoder. Its input is
    /// waveforms (N, samples, 1, 1).
    ///
    /// With `supervision`, every module learns from labels: one module is the paper's supervised
    /// network, several are greedy supervised learning.
    ///
    /// A layer's initial weights depend on the seed and its place in the network, not on how the
    /// network is cut into modules. So all methods share one random encoder.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn build<F: Scalar>(
        &self,
        loss: &LossConfig,
        supervision: Option<Supervision>,
        optimizer: &OptimizerConfig,
        seed: u64,
        pool: &Pool<F>,
    ) -> Result<Stack<F>> {
        self.credit.build(|purpose| self.draw(loss, supervision, optimizer, Key::new(seed, purpose), pool))
    }

    /// [`Self::build`] with weights drawn by `layer`.
    fn draw<F: Scalar>(
        &self,
        loss: &LossConfig,
        supervision: Option<Supervision>,
        optimizer: &OptimizerConfig,
        layer: Key,
        pool: &Pool<F>,
    ) -> Result<Stack<F>> {
        let kind = loss.kind.kind(supervision.is_some())?;
        let convs = self.convs()?;
        let mut modules: Vec<Box<dyn Module<F>>> = Vec::new();
        let cuts = self.cuts()?;
        let n_modules = cuts.len();
        let overlap = Overlap { modules_per_loss: self.modules_per_loss, n_modules };
        for (m, (layers, gru)) in cuts.into_iter().enumerate() {
            let own = layer.with_module(m as u32 + 1);
            let mut encoder: Vec<Box<dyn Layer<F>>> = Vec::new();
            // A position of the output is as many of the input as the strides skip.
            let channels = if layers.start == 0 { 1 } else { self.width };
            let mut input = InputBlock { height: 1, width: 1, channels };
            for i in layers {
                let ConvSpec { kernel_size, stride, padding } = convs[i];
                input.height *= stride;
                let in_channels = if i == 0 { 1 } else { self.width };
                let config = Conv1dConfig { in_channels, out_channels: self.width, kernel_size, stride, padding };
                encoder.push(Box::new(Conv1d::new(config, layer.with_item(CONV_ITEMS * i as u32))?));
            }
            let mut context: Option<Box<dyn Layer<F>>> = None;
            if gru {
                // Those of lower modules belong to their modules.
                let key = if m + 1 == n_modules { layer } else { own };
                let config = GruConfig { in_channels: self.width, hidden: self.context, bptt: self.bptt };
                context = Some(Box::new(Gru::new(config, key.with_item(CONTEXT_ITEM))?));
            }
            let place = Place {
                channels: self.width,
                context: if gru { self.context } else { self.width },
                input,
                prediction: loss.prediction(),
                supervision,
            };
            let loss = loss.settings.build(kind, &place, own.with_item(LOSS_ITEM))?;
            let mut encoder = Sequential::new(encoder);
            self.credit.prepare(&mut encoder, own);
            let parts = Parts { encoder, readout: None, context, loss, optimizer: optimizer.build()? };
            modules.push(overlap.module(m + 1, parts, pool.clone())?);
        }
        Ok(Stack::new(modules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_in_every_module_leave_no_module_for_the_top_one() {
        let cuts = |kind, context_per_module| {
            let network = NetworkConfig { kind, context_per_module, ..NetworkConfig::default() };
            network.cuts().unwrap()
        };
        use NetworkKind::{FusedContext, SeparateContext};
        let modules = [(SeparateContext, false), (SeparateContext, true), (FusedContext, true)];
        assert_eq!(modules.map(|(kind, each)| cuts(kind, each).len()), [6, 5, 5]);
        assert_eq!(cuts(SeparateContext, true), cuts(FusedContext, true));
    }
}
