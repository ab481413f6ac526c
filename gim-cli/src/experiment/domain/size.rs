//! Parameters and memory of a training step, estimated from shapes before anything is allocated.

use gim_audio::network as audio;
use gim_core::activations::Shape;
use gim_core::loss::LossKind;
use gim_core::{Error, Result};
use gim_vision::layers::residual::BlockKind;
use gim_vision::network as vision;
use gim_vision::network::EncoderKind;

use crate::experiment::environment::memory;

/// Bytes of a parameter at least: its value and one moment. Gradients exist for one module at a time.
const PARAMETER_BYTES: f64 = 8.0;
/// Bytes of a value.
const VALUE_BYTES: f64 = 4.0;
const GB: f64 = 1e9;

/// What a training step takes at least. Numbers are `f64`: those of absurd settings overflow integers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepSize {
    /// Learnable parameters.
    pub parameters: f64,
    /// Values of the largest input and output of a module.
    pub activations: f64,
    /// Candidates of the contrastive loss.
    pub candidates: f64,
}

impl StepSize {
    /// Bytes.
    pub(crate) fn bytes(&self) -> f64 {
        PARAMETER_BYTES * self.parameters + VALUE_BYTES * (self.activations + self.candidates)
    }

    /// Refuses a step that the memory of this machine, or of its container, cannot hold.
    ///
    /// # Errors
    /// Names what the step needs and what there is.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(there) = memory() else { return Ok(()) };
        self.check_against(there as f64)
    }

    fn check_against(&self, there: f64) -> Result<()> {
        if self.bytes() <= there {
            return Ok(());
        }
        let what = format!(
            "a training step needs at least {:.1} GB ({:.3e} parameters, {:.3e} values of activations), this machine \
             has {:.1} GB",
            self.bytes() / GB,
            self.parameters,
            self.activations + self.candidates,
            there / GB
        );
        Err(Error::config("network, train.batch, data.crop", what, "use a smaller network, batch or crop"))
    }

    /// Adds a module, or a part of one. Two modules never have their activations at the same time.
    fn add_module(&mut self, parameters: f64, activations: f64) {
        self.parameters += parameters;
        self.activations = self.activations.max(activations);
    }
}

/// Size of a step on waveforms of shape `x`.
pub(super) fn of_speech(network: &audio::NetworkConfig, loss: &audio::LossConfig, x: Shape) -> Result<StepSize> {
    let (batch, width, context) = (x.batch as f64, network.width as f64, network.context as f64);
    let mut size = StepSize::default();
    let (mut length, mut channels) = (x.height as f64, 1.0);
    for conv in network.convs()? {
        let kernel = conv.kernel_size as f64;
        let input = batch * length * channels;
        length = ((length + 2.0 * conv.padding as f64 - kernel) / conv.stride as f64).floor().max(0.0) + 1.0;
        size.add_module(channels * kernel * width + width, input + batch * length * width);
        channels = width;
    }
    let top = if context > 0.0 { context } else { width };
    if context > 0.0 {
        // Three gates and the state of every step.
        size.add_module(3.0 * context * (width + context + 2.0), batch * length * (width + 4.0 * context));
    }
    if matches!(loss.kind()?, LossKind::InfoNce | LossKind::Clapp) {
        size.parameters += loss.prediction_steps as f64 * width * top;
        let scored = if loss.window > 0 { length.min(loss.window as f64) } else { length };
        size.candidates = batch * scored * (loss.negatives as f64 + 1.0);
    }
    Ok(size)
}

/// Size of a step on patches of shape `x`: the patches of all images are its items.
pub(super) fn of_images(network: &vision::NetworkConfig, loss: &vision::LossConfig, x: Shape) -> Result<StepSize> {
    let mut size = StepSize::default();
    let channels = match network.encoder {
        EncoderKind::Residual => residual(&mut size, network, x),
        EncoderKind::Vgg | EncoderKind::Mlp => plain(&mut size, network, x),
    };
    if matches!(loss.kind()?, LossKind::InfoNce | LossKind::Clapp) {
        size.parameters += loss.prediction_steps as f64 * channels * channels;
        size.candidates = x.batch as f64 * (loss.negatives as f64 + 1.0);
    }
    Ok(size)
}

/// Adds the layers of a plain network, and gives the channels of its output.
fn plain(size: &mut StepSize, network: &vision::NetworkConfig, x: Shape) -> f64 {
    let (patches, mut side, mut channels) = (x.batch as f64, x.height as f64, x.channels as f64);
    for (layer, width) in network.widths.iter().enumerate() {
        let width = *width as f64;
        let kernel = match network.encoder {
            EncoderKind::Mlp if layer == 0 => side,
            EncoderKind::Mlp => 1.0,
            EncoderKind::Vgg | EncoderKind::Residual => 3.0,
        };
        let input = patches * side * side * channels;
        if network.encoder == EncoderKind::Mlp {
            side = 1.0;
        } else if network.pools.contains(&(layer + 1)) {
            side = (side / 2.0).floor();
        }
        size.add_module(kernel * kernel * channels * width, input + patches * side * side * width);
        channels = width;
    }
    channels
}

/// Adds the blocks of a residual network, and gives the channels of its output.
fn residual(size: &mut StepSize, network: &vision::NetworkConfig, x: Shape) -> f64 {
    let (patches, mut side) = (x.batch as f64, x.height as f64);
    let mut channels = network.widths.first().map_or(0.0, |w| *w as f64);
    let stem = (network.stem * network.stem * x.channels) as f64;
    size.add_module(stem * channels, patches * side * side * (x.channels as f64 + channels));
    for (stage, (blocks, width)) in network.blocks.iter().zip(&network.widths).enumerate() {
        let (blocks, w) = (*blocks as f64, *width as f64);
        let out = network.block.channels(*width) as f64;
        let input = patches * side * side * channels;
        if stage > 0 {
            side = (side / 2.0).ceil();
        }
        let inner = match network.block {
            BlockKind::Bottleneck => 9.0 * w * w + w * out,
            BlockKind::Basic => 9.0 * w * w,
        };
        // Kernels at the input of a block: of the first, then of the others.
        let at_input = |channels: f64| match network.block {
            BlockKind::Bottleneck => channels * w,
            BlockKind::Basic => 9.0 * channels * w,
        };
        let parameters = blocks * inner + at_input(channels) + (blocks - 1.0) * at_input(out);
        size.add_module(parameters, input + patches * side * side * out);
        channels = out;
    }
    channels
}

#[cfg(test)]
mod tests {
    use gim_core::Pool;

    use super::*;
    use crate::experiment::config::Config;

    /// The estimate is a lower bound, and most of the parameters that are then built.
    #[test]
    fn most_parameters_are_counted_and_none_twice() {
        let settings: [(&str, &[&str]); 9] = [
            ("audio-quick", &[]),
            ("audio-small", &["network.kind=cpc"]),
            ("audio-quick", &["network.context=0"]),
            ("vision-quick", &[]),
            ("vision-quick", &["network.block=basic"]),
            ("vision-small", &["network.blocks=[1,3,2]"]),
            ("vision-vgg32", &[]),
            ("vision-vgg96", &["network.norm=group"]),
            (
                "vision-vgg32",
                &[
                    "network.encoder=mlp",
                    "network.pools=[]",
                    "network.readout=patches",
                    "network.patch=8",
                    "network.overlap=4",
                    "loss.kind=nt-xent",
                ],
            ),
        ];
        for (preset, set) in settings {
            let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
            let config = Config::load(preset, &set).unwrap();
            let mut stack = config.domain.model().build(None, &config.optimizer, 1, &Pool::new()).unwrap();
            let mut built = 0;
            for module in stack.modules_mut() {
                module.params().visit(&mut |p| built += p.value.len());
            }
            let counted = config.domain.model().size(config.train.batch).unwrap().parameters;
            let share = counted / built as f64;
            assert!((0.3..=1.0).contains(&share), "{preset} {set:?}: {counted} of {built}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let size = StepSize { parameters: 2e9, activations: 1e9, candidates: 0.0 };
        size.check_against(20e9).unwrap();
        let said = size.check_against(19.9e9).unwrap_err().to_string();
        assert!(said.contains("at least 20.0 GB") && said.contains("has 19.9 GB"), "{said}");
    }
}
