//! A run's weights as a file of another program.

use std::collections::HashMap;
use std::path::Path;

use gim_core::files::write_atomic;
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};
use gim_vision::network::NetworkKind;
use safetensors::tensor::{Dtype, TensorView};

use super::container::FACTS;
use super::convert::collect;
use super::facts::{Facts, shareable};
use super::{Tensor, Tensors, onnx, torch_file};
use crate::experiment::config::Config;
use crate::experiment::domain::Domain;
use crate::experiment::run_dir::RunDir;

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A state dictionary that the published code loads: torch.load, load_state_dict.
    Torch,
    /// The same tensors by name, each once.
    Safetensors,
    /// The network as a graph, from raw input to features; without the losses.
    Onnx,
}

/// Writes the weights of a run to `out`: the newest, or those of a `step`. Gives the step.
///
/// # Errors
/// When the run has no such checkpoint, its network is not a published one, or the disk refuses.
pub(crate) fn export(run: &RunDir, format: Format, step: Option<u64>, out: &Path) -> Result<u64> {
    let config = run.config()?;
    let record = run.need_dataset()?;
    let checkpoint = match step {
        None => run.newest_intact_checkpoint()?,
        Some(step) => run.checkpoints()?.into_iter().find(|c| c.step == step),
    };
    let all = run.checkpoints()?;
    let checkpoint = checkpoint.ok_or_else(|| {
        let steps: Vec<String> = all.iter().map(|c| c.step.to_string()).collect();
        let what = step.map_or("has no checkpoint".into(), |step| format!("has no checkpoint of step {step}"));
        let remedy =
            if steps.is_empty() { "train it first".into() } else { format!("use --step {}", steps.join(", or ")) };
        Error::file(run.path(), what, remedy)
    })?;
    let mut stack: Stack<f32> = config.build(Some(&record), &Pool::new())?;
    checkpoint.load(&mut stack, &config.fingerprint())?;
    // ONNX has features only, so any loss will do.
    let tensors = collect(&mut stack, &config.domain, format != Format::Onnx)?;
    let facts = facts(&config, record, checkpoint.step)?;
    let bytes = match format {
        Format::Torch => torch_file::to_bytes(&as_published(&config.domain, tensors), &facts.to_json()?)?,
        Format::Safetensors => to_safetensors(&tensors, facts.to_json()?)?,
        Format::Onnx => onnx::to_bytes(&config.domain, &tensors, &facts)?,
    };
    write_atomic(out, &bytes)?;
    Ok(checkpoint.step)
}

fn facts(config: &Config, dataset: crate::experiment::dataset_record::DatasetRecord, step: u64) -> Result<Facts> {
    let mut facts = Facts {
        mean: dataset.mean.clone(),
        std: dataset.std.clone(),
        strides: Vec::new(),
        paddings: Vec::new(),
        patches: None,
        step,
        configuration: shareable(config)?,
        dataset,
    };
    match &config.domain {
        Domain::Audio(audio) => {
            facts.strides.clone_from(&audio.network.strides);
            facts.paddings.clone_from(&audio.network.paddings);
        }
        Domain::Vision(vision) => facts.patches = Some([vision.network.patch, vision.network.overlap]),
    }
    Ok(facts)
}

/// The state dictionary of the published model, which DataParallel wraps. The image model holds its
/// parts twice, by two names. The audio model has a `GRUCell` where gradients stay within a frame,
/// whose names lack the `_l0`.
fn as_published(domain: &Domain, mut tensors: Tensors) -> Vec<(Vec<String>, Tensor)> {
    let vision = match domain {
        Domain::Vision(vision) => vision,
        Domain::Audio(audio) => {
            let bptt = audio.network.bptt;
            let published = |name: String| match name.strip_suffix("_l0") {
                Some(gate) if !bptt => vec![format!("module.{gate}")],
                _ => vec![format!("module.{name}")],
            };
            return tensors.into_iter().map(|(name, tensor)| (published(name), tensor)).collect();
        }
    };
    if vision.network.kind == NetworkKind::Cpc {
        tensors.extend(unused_by_cpc(&tensors));
    }
    let names = |name: &str| {
        let (part, rest) = name.split_once('.').unwrap_or((name, ""));
        let list = if part == "encoder" { 0 } else { 1 };
        vec![format!("module.model.{list}.{rest}"), format!("module.{name}")]
    };
    tensors.into_iter().map(|(name, tensor)| (names(&name), tensor)).collect()
}

/// What the published CPC model for images holds besides: the masks of its PixelCNN, and a loss at
/// its encoder that is never used, here zeros.
fn unused_by_cpc(tensors: &Tensors) -> Tensors {
    let mut out = Tensors::new();
    for (name, tensor) in tensors {
        if let Some(conv) = name.strip_suffix("_conv.weight").filter(|c| !c.ends_with("v_to_h")) {
            let [.., rows, columns] = tensor.shape[..] else { continue };
            let kept = rows / 2 + 1;
            let of = |at: usize| if at / columns % rows < kept { 1.0 } else { 0.0 };
            let values = (0..tensor.values.len()).map(of).collect();
            out.insert(format!("{conv}_conv.mask"), Tensor { shape: tensor.shape.clone(), values });
        } else if let Some(rest) = name.strip_prefix("autoregressor.loss.") {
            let zeros = vec![0.0; tensor.values.len()];
            out.insert(format!("encoder.0.loss.{rest}"), Tensor { shape: tensor.shape.clone(), values: zeros });
        }
    }
    out
}

fn to_safetensors(tensors: &Tensors, facts: String) -> Result<Vec<u8>> {
    let broken = |e: &dyn std::fmt::Display| Error::internal("export", e);
    let bytes = |t: &Tensor| t.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let all: Vec<_> = tensors.iter().map(|(name, t)| (name, &t.shape, bytes(t))).collect();
    let views = all
        .iter()
        .map(|(name, shape, bytes)| TensorView::new(Dtype::F32, (*shape).clone(), bytes).map(|view| (name, view)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| broken(&e))?;
    safetensors::serialize(views, Some(HashMap::from([(FACTS.to_owned(), facts)]))).map_err(|e| broken(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in a state dictionary of a network of these settings.
    fn names(preset: &str, set: &[&str]) -> Vec<String> {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        let config = Config::load(preset, &set).unwrap();
        let mut stack = config.build(None, &Pool::new()).unwrap();
        let tensors = collect(&mut stack, &config.domain, true).unwrap();
        as_published(&config.domain, tensors).into_iter().flat_map(|(names, _)| names).collect()
    }

    #[test]
    fn names_are_those_of_the_published_models() {
        let small = ["network.width=4", "network.context=3", "network.bptt=false"];
        let cell = names("audio-paper", &small);
        assert!(cell.iter().all(|n| n.starts_with("module.fullmodel.") && !n.ends_with("_l0")), "{cell:?}");
        assert!(names("audio-paper", &small[..2]).contains(&"module.fullmodel.5.autoregressor.gru.bias_hh_l0".into()));
        let cpc = names("vision-paper", &["network.kind=cpc", "network.widths=[2,4,8]", "network.blocks=[1,1,1]"]);
        for name in ["model.1.", "autoregressor."].map(|part| format!("module.{part}stack.layers.3.vertical_conv.mask"))
        {
            assert!(cpc.contains(&name), "{name}: {cpc:?}");
        }
        for name in ["module.model.0.0.model.Conv1.bias", "module.encoder.0.loss.W_k.4.weight"] {
            assert!(cpc.iter().any(|n| n == name), "{name}: {cpc:?}");
        }
        assert!(!cpc.iter().any(|n| n.contains("v_to_h_conv.mask")), "{cpc:?}");
    }

    #[test]
    fn masks_hide_the_last_row() {
        let weight = Tensor { shape: vec![1, 1, 3, 3], values: vec![5.0; 9] };
        let name = "autoregressor.stack.layers.0.vertical_conv.weight".to_owned();
        let mask = unused_by_cpc(&Tensors::from([(name, weight)])).into_values().next().unwrap();
        assert_eq!(mask.values, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }
}
