//! Names of published checkpoints, brought to one form: that of the whole model without prefixes.

use gim_core::{Error, Result};
use std::path::PathBuf;

use super::{Tensor, Tensors};
use crate::experiment::domain::DomainKind;

/// The tensors of the files by name within the whole model, which [`super::places`] has, and how the
/// GRU is named.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub tensors: Tensors,
    /// The GRU's names lack the `_l0` of PyTorch's `GRU`: the published code uses a `GRUCell` when
    /// gradients stay within a frame.
    pub gru_cell: bool,
}

/// Puts the tensors of several files together. A file of one module counts as the module of its place
/// in the list.
///
/// # Errors
/// When two tensors of one name differ.
pub(super) fn whole_model(kind: DomainKind, files: Vec<(PathBuf, Tensors)>) -> Result<Model> {
    let mut model = Model::default();
    for (number, (path, tensors)) in files.into_iter().enumerate() {
        let optimizer = !tensors.is_empty() && tensors.keys().all(|name| name.starts_with("state."));
        if optimizer {
            let what = "holds the state of an optimizer, not weights";
            return Err(Error::file(path, what, "give the model's checkpoint"));
        }
        for (name, tensor) in tensors {
            let name = within_model(kind, &name, number);
            // Masks of the PixelCNN are constants.
            if name.ends_with(".mask") {
                continue;
            }
            let name = match name.rsplit_once(".gru.") {
                Some((module, gate)) if !gate.ends_with("_l0") => {
                    model.gru_cell = true;
                    format!("{module}.gru.{gate}_l0")
                }
                _ => name,
            };
            check(&path, &name, &tensor)?;
            if let Some(before) = model.tensors.get(&name)
                && *before != tensor
            {
                let what = format!("has another `{name}` than what was read before");
                return Err(Error::file(path, what, "give the files of one model"));
            }
            model.tensors.insert(name, tensor);
        }
    }
    Ok(model)
}

fn check(path: &std::path::Path, name: &str, tensor: &Tensor) -> Result<()> {
    if tensor.values.iter().all(|v| v.is_finite()) {
        return Ok(());
    }
    let what = format!("has `{name}`, whose values are not all finite");
    Err(Error::file(path, what, "give a checkpoint from before training diverged"))
}

/// The name without what wraps the model: `module.` of DataParallel, and the list `model` that the
/// image model keeps its parts in as well.
fn within_model(kind: DomainKind, name: &str, file: usize) -> String {
    let mut name = name;
    while let Some(rest) = name.strip_prefix("state_dict.").or_else(|| name.strip_prefix("module.")) {
        name = rest;
    }
    if kind == DomainKind::Audio {
        return name.to_owned();
    }
    if let Some(rest) = name.strip_prefix("model.0.") {
        format!("encoder.{rest}")
    } else if let Some(rest) = name.strip_prefix("model.1.") {
        format!("autoregressor.{rest}")
    } else if name.starts_with("stack.") || name.starts_with("stack_out.") {
        format!("autoregressor.{name}")
    } else if name.starts_with("model.") || name.starts_with("loss.") {
        format!("encoder.{file}.{name}")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_all_names() {
        for (name, wanted) in [
            ("module.encoder.1.model.layer 0.2.conv1.bias", "encoder.1.model.layer 0.2.conv1.bias"),
            ("module.model.0.1.model.layer 0.2.conv1.bias", "encoder.1.model.layer 0.2.conv1.bias"),
            ("model.layer 0.2.conv1.bias", "encoder.4.model.layer 0.2.conv1.bias"),
            ("model.Conv1.weight", "encoder.4.model.Conv1.weight"),
            ("loss.W_k.0.weight", "encoder.4.loss.W_k.0.weight"),
            ("module.model.1.stack_out.bias", "autoregressor.stack_out.bias"),
            ("stack.layers.0.v_to_h_conv.bias", "autoregressor.stack.layers.0.v_to_h_conv.bias"),
            ("state_dict.module.autoregressor.loss.W_k.0.weight", "autoregressor.loss.W_k.0.weight"),
        ] {
            assert_eq!(within_model(DomainKind::Vision, name, 4), wanted);
        }
        let audio = within_model(DomainKind::Audio, "module.fullmodel.0.loss.predictor.weight", 0);
        assert_eq!(audio, "fullmodel.0.loss.predictor.weight");
    }

    #[test]
    fn files_of_two_models_are_noticed() {
        let of =
            |value| Tensors::from([("model.Conv1.bias".to_owned(), Tensor { shape: vec![1], values: vec![value] })]);
        let both = |value| {
            let second = of(value).into_values().map(|t| ("encoder.0.model.Conv1.bias".to_owned(), t)).collect();
            whole_model(DomainKind::Vision, vec![("a".into(), of(1.0)), ("b".into(), second)])
        };
        assert_eq!(both(1.0).unwrap().tensors.len(), 1);
        assert!(both(2.0).unwrap_err().to_string().contains("another `encoder.0.model.Conv1.bias`"));
        assert!(both(f32::NAN).unwrap_err().to_string().contains("finite"));
        let state = Tensors::from([("state.0.exp_avg".to_owned(), Tensor { shape: vec![], values: vec![0.0] })]);
        let error = whole_model(DomainKind::Audio, vec![("optim_0.ckpt".into(), state)]).unwrap_err();
        assert!(error.to_string().contains("optimizer"));
    }
}
