//! The paper's networks for sound, from configuration.

use gim_core::layers::Layer;
use gim_core::layers::Sequential;
use gim_core::loss::{InfoNce, InfoNceConfig, LocalLoss, Supervision};
use gim_core::module::{LocalModule, Module, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::sampler::SamplerKind;
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Purpose, Result, Scalar};
use serde::{Deserialize, Serialize};

use crate::geometry::{ConvSpec, PAPER_STACK};
use crate::layers::conv1d::{Conv1d, Conv1dConfig};
use crate::layers::gru::{Gru, GruConfig};

/// How the stack is cut into modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Every convolution a module, and the context network another.
    Gim6,
    /// The context network together with the last convolution.
    Gim5,
    /// One module, trained end to end: contrastive predictive coding, or, with labels, supervised learning.
    Cpc,
}

/// Shape of the network; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// How it is cut.
    pub kind: NetworkKind,
    /// Channels of every convolution.
    pub width: usize,
    /// Width of the GRU; 0 for no context network.
    pub context: usize,
    /// Kernel of each convolution.
    pub kernels: Vec<usize>,
    /// Stride of each convolution.
    pub strides: Vec<usize>,
    /// Padding of each convolution.
    pub paddings: Vec<usize>,
    /// Back-propagation through time in the GRU.
    pub through_time: bool,
    /// Every module has a GRU of its own for its contexts, not the last one alone.
    pub lower_contexts: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let of = |f: fn(&ConvSpec) -> usize| PAPER_STACK.iter().map(f).collect();
        Self {
            kind: NetworkKind::Gim6,
            width: 512,
            context: 256,
            kernels: of(|s| s.kernel),
            strides: of(|s| s.stride),
            paddings: of(|s| s.padding),
            through_time: true,
            lower_contexts: false,
        }
    }
}

/// What modules learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The future of their own features: InfoNCE, without labels.
    Future,
    /// The phone of every 10 ms: cross-entropy.
    Phones,
    /// The speaker of a crop: cross-entropy.
    Speakers,
}

/// The loss of every module; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// What every module learns from: `future` (InfoNCE), or labels: `phones` or `speakers`.
    pub target: Target,
    /// Prediction distances K.
    pub ahead: usize,
    /// Negatives N.
    pub negatives: usize,
    /// Negative sampler.
    pub sampler: SamplerKind,
    /// Steps of the scored window; 0 scores everything.
    pub window: usize,
    /// ε inside the published logarithm; 0 for the exact log-softmax.
    pub epsilon: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            target: Target::Future,
            ahead: 12,
            negatives: 10,
            sampler: SamplerKind::Permuted,
            window: 128,
            epsilon: 0.0,
        }
    }
}

impl NetworkConfig {
    /// The convolutions.
    ///
    /// # Errors
    /// When the three lists differ in length or are empty.
    pub fn convs(&self) -> Result<Vec<ConvSpec>> {
        let n = self.kernels.len();
        if n == 0 || n != self.strides.len() || n != self.paddings.len() {
            return Err(Error::config(
                "network.kernels",
                format_args!("{n} kernels, {} strides, {} paddings", self.strides.len(), self.paddings.len()),
                "give one of each for every convolution",
            ));
        }
        let lists = self.kernels.iter().zip(&self.strides).zip(&self.paddings);
        Ok(lists
            .map(|((kernel, stride), padding)| ConvSpec { kernel: *kernel, stride: *stride, padding: *padding })
            .collect())
    }

    /// Which convolutions, and whether the GRU, each module has.
    fn cuts(&self) -> Result<Vec<(std::ops::Range<usize>, bool)>> {
        let n = self.convs()?.len();
        let (gru, lower) = (self.context > 0, self.lower_contexts);
        Ok(match self.kind {
            NetworkKind::Cpc => vec![(0..n, gru)],
            NetworkKind::Gim5 => (0..n).map(|i| (i..i + 1, gru && (lower || i + 1 == n))).collect(),
            NetworkKind::Gim6 => {
                let mut cuts: Vec<_> = (0..n).map(|i| (i..i + 1, gru && lower)).collect();
                if gru {
                    cuts.push((n..n, true));
                }
                cuts
            }
        })
    }

    /// The stack at its initial weights: what is trained, and, untrained, the random encoder. With `supervision` every module
    /// learns from labels: the paper's supervised network when there is one module, greedy supervised learning otherwise.
    ///
    /// A layer's initial weights follow from the seed and its place in the network, wherever that is cut: the random encoder is
    /// the same for every method.
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
        let convs = self.convs()?;
        let mut modules: Vec<Box<dyn Module<F>>> = Vec::new();
        let cuts = self.cuts()?;
        let n_modules = cuts.len();
        for (m, (layers, gru)) in cuts.into_iter().enumerate() {
            let layer = Key::new(seed, Purpose::Init);
            let own = layer.with_module(m as u32 + 1);
            let mut encoder: Vec<Box<dyn Layer<F>>> = Vec::new();
            for i in layers {
                let ConvSpec { kernel, stride, padding } = convs[i];
                let c_in = if i == 0 { 1 } else { self.width };
                let config = Conv1dConfig { c_in, c_out: self.width, taps: kernel, stride, padding };
                encoder.push(Box::new(Conv1d::new(config, layer.with_item(10 * i as u32))?));
            }
            let mut context: Option<Box<dyn Layer<F>>> = None;
            if gru {
                // Those of lower modules belong to their modules.
                let key = if m + 1 == n_modules { layer } else { own };
                let config = GruConfig { c_in: self.width, hidden: self.context, through_time: self.through_time };
                context = Some(Box::new(Gru::new(config, key.with_item(1000))?));
            }
            let channels = if gru { self.context } else { self.width };
            let config = InfoNceConfig {
                channels: self.width,
                context: channels,
                ahead: loss.ahead,
                negatives: loss.negatives,
                window: (loss.window > 0).then_some(loss.window),
                epsilon: (loss.epsilon > 0.0).then_some(loss.epsilon),
                ..InfoNceConfig::default()
            };
            let key = own.with_item(2000);
            let loss: Box<dyn LocalLoss<F>> = match supervision {
                None => Box::new(InfoNce::new(config, loss.sampler.build(), key)?),
                Some(labels) => Box::new(labels.loss(channels, key)?),
            };
            let parts = Parts {
                encoder: Sequential::new(encoder),
                readout: None,
                context,
                loss,
                optimizer: optimizer.build()?,
            };
            modules.push(Box::new(LocalModule::new(m + 1, parts, pool.clone())));
        }
        Ok(Stack::new(modules))
    }
}
