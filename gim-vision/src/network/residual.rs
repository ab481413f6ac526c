//! Residual networks: a stem, and stages of blocks.

use gim_core::layers::ItemLayer;
use gim_core::{Error, Key, Result, Scalar};

use super::{BLOCK_ITEMS, Cut, Init, NetworkConfig, ORTHOGONAL_ITEMS, STEM_ITEM};
use crate::layers::conv2d::{Conv2d, Conv2dConfig, delta_orthogonal};
use crate::layers::normed_residual::NormedResidual;
use crate::layers::residual::Residual;

impl NetworkConfig {
    /// Number of the last block of each stage, one-based.
    fn ends_of_stages(&self) -> Result<Vec<usize>> {
        if self.blocks.is_empty() || self.blocks.len() != self.widths.len() || self.blocks.contains(&0) {
            return Err(Error::config(
                "network.blocks",
                format_args!("{:?} blocks of widths {:?}", self.blocks, self.widths),
                "give one number of blocks, at least 1, and one width for every stage",
            ));
        }
        let mut sum = 0;
        Ok(self
            .blocks
            .iter()
            .map(|b| {
                sum += b;
                sum
            })
            .collect())
    }

    /// Stem and blocks, cut into modules. Their weights are drawn by `layer`.
    pub(super) fn residual<F: Scalar>(&self, in_channels: usize, layer: Key) -> Result<Vec<Cut<F>>> {
        let ends = self.ends(self.ends_of_stages()?)?;
        if !self.pools.is_empty() {
            let what = "residual networks have strides instead of pooling";
            return Err(Error::config("network.pools", what, "leave the pools out, or use network.encoder = \"vgg\""));
        }
        let mut cuts = vec![Cut { stages: vec![Vec::new()], channels: in_channels }];
        let key = |item: u32| layer.with_item(item);
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
                let layer: Box<dyn ItemLayer<F>> = match self.norm.sets(self.norm_groups) {
                    None => Box::new(layer),
                    Some(sets) => Box::new(NormedResidual::new(layer, sets)?),
                };
                cut.stages.last_mut().unwrap_or_else(|| unreachable!("a module has a stage")).push(layer);
            }
        }
        Ok(cuts)
    }
}
