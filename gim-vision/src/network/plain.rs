//! Plain networks: convolutions or fully connected layers, one after the other.

use gim_core::layers::ItemLayer;
use gim_core::{Error, Key, Result, Scalar};

use super::{BLOCK_ITEMS, Cut, EncoderKind, Init, NetworkConfig, ORTHOGONAL_ITEMS};
use crate::layers::conv2d::{Conv2d, Conv2dConfig, delta_orthogonal};
use crate::layers::normalize::Normalize;
use crate::layers::pool2d::Pool2d;
use crate::layers::relu::Relu;

/// Side of the squares that are pooled.
const POOLED: usize = 2;

impl NetworkConfig {
    /// Checks the settings that only some networks have.
    fn check_plain(&self) -> Result<()> {
        if self.widths.is_empty() || self.widths.contains(&0) {
            let what = format!("{:?} are no widths of layers", self.widths);
            return Err(Error::config("network.widths", what, "give one width, at least 1, for every layer"));
        }
        let n = self.widths.len();
        let rises = self.pools.windows(2).all(|w| w[0] < w[1]);
        if !rises || self.pools.first() == Some(&0) || self.pools.last().is_some_and(|last| *last > n) {
            let what = format!("{:?} does not rise from 1 to the {n} layers there are", self.pools);
            let remedy = "give the numbers of the layers that end with pooling, in order";
            return Err(Error::config("network.pools", what, remedy));
        }
        if self.encoder == EncoderKind::Mlp && !self.pools.is_empty() {
            let what = "fully connected layers have no positions to pool";
            return Err(Error::config("network.pools", what, "leave the pools out, or use network.encoder = \"vgg\""));
        }
        if self.encoder == EncoderKind::Mlp && self.init == Init::DeltaOrthogonal {
            let what = "delta-orthogonal weights are those of convolutions";
            return Err(Error::config("network.init", what, "use \"uniform\", or another network.encoder"));
        }
        Ok(())
    }

    /// Layer number `i` (from 0), on `channels` channels.
    fn plain_conv(&self, i: usize, channels: usize) -> Conv2dConfig {
        let width = self.widths[i];
        match self.encoder {
            // A fully connected layer on a patch is a convolution whose kernel is the patch.
            EncoderKind::Mlp if i == 0 => {
                Conv2dConfig { padding: [0; 4], ..Conv2dConfig::square(channels, width, self.patch, 1) }
            }
            EncoderKind::Mlp => Conv2dConfig::square(channels, width, 1, 1),
            EncoderKind::Vgg | EncoderKind::Residual => Conv2dConfig::square(channels, width, 3, 1),
        }
    }

    /// Layers with normalization, ReLU and pooling, each a stage, cut into modules. Their weights are drawn by
    /// `layer`.
    pub(super) fn plain<F: Scalar>(&self, in_channels: usize, layer: Key) -> Result<Vec<Cut<F>>> {
        self.check_plain()?;
        let ends = self.ends((1..=self.widths.len()).collect())?;
        let mut cuts: Vec<Cut<F>> = Vec::with_capacity(ends.len());
        let (mut channels, mut from) = (in_channels, 0);
        for end in ends {
            let mut stages = Vec::with_capacity(end - from);
            for i in from..end {
                let key = layer.with_item(BLOCK_ITEMS * (i as u32 + 1));
                let mut conv = Conv2d::new(self.plain_conv(i, channels), key)?;
                if self.init == Init::DeltaOrthogonal {
                    delta_orthogonal(&mut conv, key.with_item(key.item + ORTHOGONAL_ITEMS))?;
                }
                channels = self.widths[i];
                let mut stage: Vec<Box<dyn ItemLayer<F>>> = vec![Box::new(conv)];
                if let Some(sets) = self.norm.sets(self.norm_groups) {
                    stage.push(Box::new(Normalize::new(sets, channels)?));
                }
                stage.push(Box::new(Relu));
                if self.pools.contains(&(i + 1)) {
                    stage.push(Box::new(Pool2d::new(self.pooling, POOLED)?));
                }
                stages.push(stage);
            }
            cuts.push(Cut { stages, channels });
            from = end;
        }
        Ok(cuts)
    }
}
