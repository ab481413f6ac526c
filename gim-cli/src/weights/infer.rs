//! The configuration of a network, from the names and shapes of its tensors.

use std::collections::BTreeMap;

use gim_audio::network::NetworkConfig;
use gim_core::{Error, Result};

use super::Tensor;
use super::import::CKPT;
use super::names::Model;
use crate::experiment::domain::DomainKind;

/// What names and shapes tell.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Inferred {
    /// Settings, as `section.key=value`.
    pub set: Vec<String>,
    /// Settings that nothing in the file tells; they are as published unless given.
    pub assumed: Vec<&'static str>,
    /// Classes of a supervised loss; 0 without one.
    pub classes: usize,
}

impl Inferred {
    fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        self.set.push(format!("{key}={value}"));
    }
}

/// The settings of a published network. `given` are the user's.
///
/// # Errors
/// When there is no such network in the file, or the user must give a setting.
pub(super) fn infer(kind: DomainKind, model: &Model, given: &[String]) -> Result<Inferred> {
    let is_given = |key: &str| given.iter().any(|g| g.split_once('=').is_some_and(|(k, _)| k.trim() == key));
    let mut inferred = match kind {
        DomainKind::Audio => audio(model, &is_given)?,
        DomainKind::Vision => vision(model)?,
    };
    inferred.assumed.retain(|key| !is_given(key));
    Ok(inferred)
}

fn no_network(kind: DomainKind, wanted: &str) -> Error {
    let what = format!("has no `{wanted}`: this is not a published network for {kind}");
    Error::config(CKPT, what, "give the files of one model, and --as audio or --as vision as it is")
}

/// Number and rest of names that begin with `prefix` and a number.
fn numbered<'a>(model: &'a Model, prefix: &'a str) -> impl Iterator<Item = (usize, &'a str, &'a Tensor)> {
    model.tensors.iter().filter_map(move |(name, tensor)| {
        let (number, rest) = name.strip_prefix(prefix)?.split_once('.')?;
        Some((number.parse().ok()?, rest, tensor))
    })
}

/// How many things are numbered after `prefix`.
fn count(model: &Model, prefix: &str) -> usize {
    numbered(model, prefix).map(|(number, ..)| number + 1).max().unwrap_or(0)
}

/// Classes of the linear classifier of any module below `prefix`.
fn classes(model: &Model, prefix: &str) -> usize {
    let of = |(_, rest, tensor): (usize, &str, &Tensor)| {
        (rest == "loss.linear_classifier.0.weight").then(|| tensor.shape.first().copied().unwrap_or(0))
    };
    numbered(model, prefix).find_map(of).unwrap_or(0)
}

fn audio(model: &Model, is_given: &dyn Fn(&str) -> bool) -> Result<Inferred> {
    let (mut out, mut kernels, mut grus) = (Inferred::default(), BTreeMap::new(), Vec::new());
    let (mut width, mut context, mut rows) = (0, 0, 0);
    for (module, rest, tensor) in numbered(model, "fullmodel.") {
        let layer = rest.strip_prefix("encoder.model.layer ").and_then(|r| r.strip_suffix(".0.weight"));
        match (layer.and_then(|l| l.parse::<usize>().ok()), &tensor.shape[..]) {
            (Some(layer), &[channels, _, kernel_size]) => {
                width = channels;
                kernels.insert((module, layer), kernel_size);
            }
            (None, &[_, hidden]) if rest == "autoregressor.gru.weight_hh_l0" => {
                context = hidden;
                grus.push(module);
            }
            (None, &[n, _]) if rest == "loss.predictor.weight" => rows = n,
            _ => {}
        }
    }
    let modules = count(model, "fullmodel.");
    if width == 0 {
        return Err(no_network(DomainKind::Audio, "fullmodel.0.encoder.model.layer 0.0.weight"));
    }
    let has_encoder = |module| kernels.keys().any(|(m, _)| *m == module);
    let kind = match modules {
        1 => "cpc",
        _ if grus.last() == Some(&(modules - 1)) && has_encoder(modules - 1) => "fused-context",
        _ => "separate-context",
    };
    let kernels: Vec<usize> = kernels.into_values().collect();
    out.set("network.kind", kind);
    out.set("network.width", width);
    out.set("network.context", context);
    out.set("network.context_per_module", grus.len() > 1);
    out.set("network.bptt", !model.gru_cell);
    out.set("network.kernel_sizes", format_args!("{kernels:?}"));
    out.classes = classes(model, "fullmodel.");
    if out.classes == 0 {
        out.set("loss.prediction_steps", (rows / width).max(1));
    } else if !is_given("loss.target") {
        let what = format!("a classifier of {} classes does not say what they are", out.classes);
        return Err(Error::config(CKPT, what, "add --set loss.target=phones, or =speakers"));
    }
    let published = NetworkConfig::default();
    for key in ["network.strides", "network.paddings"] {
        if kernels != published.kernel_sizes && !is_given(key) {
            let what = format!("shapes do not tell them, and kernels of {kernels:?} are not the published ones");
            return Err(Error::config(key, what, format_args!("add --set {key}=[…], one for each convolution")));
        }
        out.assumed.push(key);
    }
    out.assumed.extend(["data.crop", "loss.negatives", "loss.sampler"]);
    Ok(out)
}

/// A stage of an image network.
struct Stage {
    blocks: usize,
    width: usize,
}

fn vision(model: &Model) -> Result<Inferred> {
    let shape = |name: &str| model.tensors.get(name).map(|t| &t.shape[..]);
    let Some(&[_, channels, side, _]) = shape("encoder.0.model.Conv1.weight") else {
        return Err(no_network(DomainKind::Vision, "encoder.0.model.Conv1.weight"));
    };
    let (mut stages, mut cuts): (Vec<Stage>, Vec<usize>) = (Vec::new(), Vec::new());
    let modules = count(model, "encoder.");
    for module in 0..modules {
        let layers = format!("encoder.{module}.model.layer ");
        for layer in 0..count(model, &layers) {
            let blocks = format!("{layers}{layer}.");
            let first = format!("{blocks}0.conv1.weight");
            let Some(&[width, ..]) = shape(&first) else { return Err(no_network(DomainKind::Vision, &first)) };
            let n = count(model, &blocks);
            // A stage begins with a stride, and so with a shortcut of its own.
            let begins = module == 0 || layer > 0 || shape(&format!("{blocks}0.shortcut.0.weight")).is_some();
            match stages.last_mut() {
                Some(stage) if !begins => stage.blocks += n,
                _ => stages.push(Stage { blocks: n, width }),
            }
        }
        cuts.push(stages.iter().map(|s| s.blocks).sum());
    }
    let (blocks, widths): (Vec<_>, Vec<_>) = stages.iter().map(|s| (s.blocks, s.width)).unzip();
    let ends: Vec<usize> = blocks
        .iter()
        .scan(0, |sum, b| {
            *sum += b;
            Some(*sum)
        })
        .collect();
    let context_layers = count(model, "autoregressor.stack.layers.");
    let cpc = context_layers > 0 || (modules == 1 && blocks.len() > 1);
    let mut out = Inferred::default();
    out.set("network.kind", if cpc { "cpc" } else { "gim" });
    let bottleneck = shape("encoder.0.model.layer 0.0.conv3.weight").is_some();
    out.set("network.block", if bottleneck { "bottleneck" } else { "basic" });
    out.set("network.blocks", format_args!("{blocks:?}"));
    out.set("network.widths", format_args!("{widths:?}"));
    out.set("network.stem", side);
    if cuts != ends && !cpc {
        // That after the last block says nothing.
        cuts.pop();
        out.set("network.cuts", format_args!("{cuts:?}"));
    }
    if context_layers > 0 {
        out.set("network.context_layers", context_layers);
    }
    out.set("data.color", if channels == 1 { "grayscale" } else { "rgb" });
    out.classes = classes(model, "encoder.");
    if out.classes > 0 {
        out.set("loss.target", "classes");
    } else {
        let loss = if context_layers > 0 { "autoregressor.loss.W_k." } else { "encoder.0.loss.W_k." };
        out.set("loss.prediction_steps", count(model, loss).max(1));
    }
    out.assumed.extend(["network.patch", "network.overlap", "data.crop", "loss.negatives", "loss.skip"]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use gim_core::Pool;

    use super::super::convert::collect;
    use super::super::names::whole_model;
    use super::*;
    use crate::experiment::config::Config;

    fn settings(set: &[&str]) -> Vec<String> {
        set.iter().map(|s| (*s).to_owned()).collect()
    }

    /// The tensors of a network of these settings.
    fn model(preset: &str, set: &[&str]) -> (Config, Model) {
        let config = Config::load(preset, &settings(set)).unwrap();
        let mut stack = config.build(None, &Pool::new()).unwrap();
        let tensors = collect(&mut stack, &config.domain, true).unwrap();
        let model = whole_model(config.domain.kind(), vec![("model.ckpt".into(), tensors)]).unwrap();
        (config, model)
    }

    #[test]
    fn networks_are_told_by_their_shapes() {
        let small = ["network.width=6", "network.context=5", "loss.prediction_steps=4"];
        let images = ["network.widths=[2,4,8]", "network.blocks=[2,1,2]", "network.stem=3", "loss.prediction_steps=2"];
        for (preset, own) in [
            ("audio-paper", &["network.kind=cpc"][..]),
            ("audio-paper", &["network.kind=fused-context"]),
            ("audio-paper", &["network.kind=separate-context"]),
            ("audio-paper", &["network.kind=fused-context", "network.context_per_module=true"]),
            ("audio-paper", &["network.context=0"]),
            ("vision-paper", &[]),
            ("vision-paper", &["network.block=basic", "data.color=rgb"]),
            ("vision-paper", &["network.cuts=[1,3,4]"]),
            ("vision-paper", &["network.block=basic", "network.cuts=[1,4]"]),
            ("vision-paper", &["network.kind=cpc", "network.context_layers=2"]),
        ] {
            let set = [if preset == "audio-paper" { &small[..] } else { &images }, own].concat();
            let (config, model) = model(preset, &set);
            let inferred = infer(config.domain.kind(), &model, &[]).unwrap();
            let again = Config::load(preset, &inferred.set).unwrap();
            assert_eq!(again, config, "{own:?}: {inferred:?}");
        }
    }

    #[test]
    fn what_shapes_do_not_tell_is_asked_for() {
        let kernels =
            ["network.kernel_sizes=[4,4]", "network.strides=[2,2]", "network.paddings=[1,1]", "network.width=4"];
        let (config, model) = model("audio-paper", &kernels);
        let kind = config.domain.kind();
        let error = infer(kind, &model, &[]).unwrap_err().to_string();
        assert!(error.contains("network.strides") && error.contains("[4, 4]"), "{error}");
        let given = settings(&kernels[1..3]);
        assert!(!infer(kind, &model, &given).unwrap().assumed.contains(&"network.strides"));
    }
}
