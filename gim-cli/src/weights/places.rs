//! Where our parameters lie in published tensors: one table for import and export.
//!
//! Names are those of the published code within its whole model: `fullmodel.M.…` for audio,
//! `encoder.M.…` and `autoregressor.…` for images.

use gim_core::{Error, Result};
use gim_vision::layers::residual::BlockKind;
use gim_vision::network::{EncoderKind, NetworkConfig, NetworkKind, Norm};

use crate::experiment::domain::Domain;

/// Where values of one of our parameters lie in a published tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// Name of the published tensor.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    order: Order,
    /// Index of the first value in our parameter.
    first: usize,
}

/// How the values of a published tensor are ordered in ours.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// The same way.
    Same,
    /// (O, C, kernel) there, (O, kernel, C) here.
    ChannelsLast,
    /// (O, C, 3, 3) there, whose last row is masked; (O, 2·3, C) here.
    Masked,
    /// (O, I) there, (I, O) here.
    Transposed,
}

impl Place {
    fn same(name: String, shape: &[usize]) -> Self {
        Self { name, shape: shape.to_vec(), order: Order::Same, first: 0 }
    }

    /// Index in our parameter of value `at` of the published tensor; none for a masked value.
    pub(super) fn ours(&self, at: usize) -> Option<usize> {
        let kernel = || self.shape[2..].iter().product::<usize>();
        Some(match self.order {
            Order::Same => at,
            Order::ChannelsLast | Order::Masked => {
                let (channels, kernel) = (self.shape[1], kernel());
                let kept = if self.order == Order::Masked { kernel - self.shape[3] } else { kernel };
                let (out, channel, place) = (at / (channels * kernel), at / kernel % channels, at % kernel);
                if place >= kept {
                    return None;
                }
                (out * kept + place) * channels + channel
            }
            Order::Transposed => {
                let [rows, columns] = [self.shape[0], self.shape[1]];
                self.first + at % columns * rows + at / columns
            }
        })
    }

    /// Number of values of the published tensor.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Where the values of parameter `name` of `module` (from 0) lie; `shape` is ours.
///
/// # Errors
/// When the published code has no such parameter.
pub(super) fn places(domain: &Domain, module: usize, name: &str, shape: &[usize]) -> Result<Vec<Place>> {
    let found = match domain {
        Domain::Audio(_) => audio(module, name, shape),
        Domain::Vision(vision) => {
            let network = &vision.network;
            if network.encoder != EncoderKind::Residual || network.norm != Norm::None {
                return Err(not_published(module, name, network));
            }
            let cpc = network.kind == NetworkKind::Cpc;
            Images { block: network.block, stem: network.stem, cpc, prediction_steps: vision.loss.prediction_steps }
                .places(module, name, shape)
        }
    };
    found.ok_or_else(|| {
        let what = format!("module {} has `{name}`, which the published code does not have", module + 1);
        let remedy = "export a published network with a published loss; `gim extract` writes the features of any run";
        Error::config("--to", what, remedy)
    })
}

/// The error of a layer of a network that the published code does not have.
fn not_published(module: usize, layer: &str, network: &NetworkConfig) -> Error {
    let of = match network.encoder {
        EncoderKind::Residual => "a residual network with normalization".to_owned(),
        other => format!("network.encoder = \"{}\"", other.name()),
    };
    let what = format!("module {} has `{layer}` of {of}, which the published code does not have", module + 1);
    Error::config("--to", what, "residual networks without normalization can be exported; `gim extract` takes any")
}

fn audio(module: usize, name: &str, shape: &[usize]) -> Option<Vec<Place>> {
    let prefix = format!("fullmodel.{module}.");
    let (part, rest) = name.split_once('.')?;
    Some(vec![match (part, rest) {
        ("encoder", rest) => {
            let (layer, kind) = rest.split_once('.')?;
            let name = format!("{prefix}encoder.model.layer {layer}.0.{kind}");
            if kind == "bias" {
                Place::same(name, shape)
            } else {
                // The first convolution reads the waveform; all layers have the same width.
                let channels = if module == 0 && layer == "0" { 1 } else { shape[0] };
                channels_last(name, shape[0], channels, &[shape[1] / channels])
            }
        }
        ("context", gate) => Place::same(format!("{prefix}autoregressor.gru.{gate}_l0"), shape),
        ("loss", "predictor.weight") => Place::same(format!("{prefix}loss.predictor.weight"), shape),
        ("loss", rest) => {
            let kind = rest.strip_prefix("linear.")?;
            Place::same(format!("{prefix}loss.linear_classifier.0.{kind}"), shape)
        }
        _ => return None,
    }])
}

/// What the names of parameters of an image network depend on.
struct Images {
    block: BlockKind,
    stem: usize,
    cpc: bool,
    prediction_steps: usize,
}

impl Images {
    fn places(&self, module: usize, name: &str, shape: &[usize]) -> Option<Vec<Place>> {
        let (part, rest) = name.split_once('.')?;
        let encoder = format!("encoder.{module}.");
        Some(match part {
            "encoder" => vec![self.of_encoder(&encoder, module == 0, rest, shape)?],
            "context" => vec![self.of_context(rest.strip_prefix("0.")?, shape)?],
            _ if rest == "predictor.down.weight" => {
                let loss = if self.cpc { "autoregressor." } else { &encoder };
                let (targets, contexts) = (shape[0] / self.prediction_steps, shape[1]);
                let of = |k| Place {
                    name: format!("{loss}loss.W_k.{k}.weight"),
                    shape: vec![contexts, targets, 1, 1],
                    order: Order::Transposed,
                    first: k * targets * contexts,
                };
                (0..self.prediction_steps).map(of).collect()
            }
            _ => {
                let kind = rest.strip_prefix("linear.")?;
                vec![Place::same(format!("{encoder}loss.linear_classifier.0.{kind}"), shape)]
            }
        })
    }

    /// `STAGE.LAYER.CONV.weight`; the stem is layer 0 of stage 0 of the first module.
    fn of_encoder(&self, prefix: &str, has_stem: bool, rest: &str, shape: &[usize]) -> Option<Place> {
        let (stage, rest) = rest.split_once('.')?;
        let (layer, rest) = rest.split_once('.')?;
        let layer: usize = layer.parse().ok()?;
        let after_stem = has_stem && stage == "0";
        let (name, side) = if after_stem && layer == 0 {
            (format!("{prefix}model.Conv1.{rest}"), self.stem)
        } else {
            let block = layer - usize::from(after_stem);
            let (conv, kind) = rest.split_once('.')?;
            let side = match (self.block, conv) {
                (_, "shortcut") | (BlockKind::Bottleneck, "conv1" | "conv3") => 1,
                _ => 3,
            };
            let conv = if conv == "shortcut" { "shortcut.0" } else { conv };
            (format!("{prefix}model.layer {stage}.{block}.{conv}.{kind}"), side)
        };
        Some(conv2d(name, shape, [side, side]))
    }

    fn of_context(&self, rest: &str, shape: &[usize]) -> Option<Place> {
        let prefix = "autoregressor.";
        if let Some(kind) = rest.strip_prefix("out.") {
            return Some(conv2d(format!("{prefix}stack_out.{kind}"), shape, [1, 1]));
        }
        let (layer, rest) = rest.split_once('.')?;
        let (conv, kind) = rest.split_once('.')?;
        let (conv, kernel) = match conv {
            "vertical" => ("vertical_conv", [3, 3]),
            "horizontal" => ("horizontal_conv", [1, 3]),
            "down" => ("v_to_h_conv", [1, 1]),
            "residual" => ("residual_vertical", [1, 1]),
            "output" => ("horizontal_output", [1, 1]),
            _ => return None,
        };
        let name = format!("{prefix}stack.layers.{layer}.{conv}.{kind}");
        if conv == "vertical_conv" && shape.len() == 2 {
            let shape = vec![shape[0], shape[1] / 6, 3, 3];
            return Some(Place { name, shape, order: Order::Masked, first: 0 });
        }
        Some(conv2d(name, shape, kernel))
    }
}

/// The weight (O, kh·kw·C) or bias (O) of a convolution.
fn conv2d(name: String, shape: &[usize], kernel: [usize; 2]) -> Place {
    match shape {
        &[out, window] => channels_last(name, out, window / (kernel[0] * kernel[1]), &kernel),
        _ => Place::same(name, shape),
    }
}

fn channels_last(name: String, out: usize, channels: usize, kernel: &[usize]) -> Place {
    let shape = [&[out, channels], kernel].concat();
    Place { name, shape, order: Order::ChannelsLast, first: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value of ours has one place, whatever the order.
    #[test]
    fn orders_are_one_to_one() {
        let masked = Place { order: Order::Masked, ..channels_last(String::new(), 2, 5, &[3, 3]) };
        let transposed = Place { order: Order::Transposed, ..Place::same(String::new(), &[4, 3, 1, 1]) };
        for (place, values) in [(channels_last(String::new(), 2, 3, &[2, 5]), 60), (masked, 60), (transposed, 12)] {
            let mut all: Vec<_> = (0..place.len()).filter_map(|at| place.ours(at)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..values).collect::<Vec<_>>(), "{place:?}");
        }
    }

    #[test]
    fn values_keep_their_meaning() {
        // (o, c, place) = (1, 2, 4) of (2, 3, 5) is (1, 4, 2) of (2, 5, 3).
        assert_eq!(channels_last(String::new(), 2, 3, &[5]).ours(15 + 2 * 5 + 4), Some(15 + 4 * 3 + 2));
        let second = Place { order: Order::Transposed, first: 6, ..Place::same(String::new(), &[2, 3, 1, 1]) };
        assert_eq!(second.ours(3 + 2), Some(6 + 2 * 2 + 1));
    }
}
