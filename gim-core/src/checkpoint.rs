//! A module's checkpoint: one safetensors file with parameters, optimizer state and what they belong to.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use crate::module::Module;
use crate::{Error, Result, Scalar};

/// Version of the file format.
pub const FORMAT: u32 = 1;

/// What a checkpoint belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// One-based module number.
    pub module: usize,
    /// Steps of the run that are done.
    pub step: u64,
    /// Steps the optimizer has taken.
    pub optimizer_steps: u64,
    /// The settings it must agree with.
    pub configuration: String,
}

/// The bytes of a module's checkpoint.
///
/// # Errors
/// When serialization fails, which is a defect.
pub fn to_bytes<F: Scalar>(module: &mut dyn Module<F>, meta: &CheckpointMeta) -> Result<Vec<u8>> {
    let (params, optimizer) = module.state();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let encode = |values: &[F]| {
        let mut bytes = Vec::with_capacity(values.len() * F::BYTES);
        values.iter().for_each(|v| v.write_le(&mut bytes));
        bytes
    };
    params.visit(&mut |p| tensors.push((p.name.clone(), p.shape.clone(), encode(&p.value))));
    let sizes: Vec<usize> = tensors.iter().map(|t| t.1.iter().product()).collect();
    let moments = optimizer.moments();
    let mut state = Vec::new();
    optimizer.visit_state(&sizes, &mut |moment, param, values| {
        let (name, shape, _) = &tensors[param];
        state.push((format!("optimizer.{}.{name}", moments[moment]), shape.clone(), encode(values)));
    });
    tensors.extend(state);

    let meta = CheckpointMeta { optimizer_steps: optimizer.steps(), ..meta.clone() };
    let broken =
        |e: &dyn std::fmt::Display| Error::config("checkpoint", e, "this is a defect of the program; report it");
    let text = serde_json::to_string(&meta).map_err(|e| broken(&e))?;
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| TensorView::new(F::DTYPE, shape.clone(), bytes).map(|v| (name.as_str(), v)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| broken(&e))?;
    serialize(views, Some(HashMap::from([("gim".to_owned(), text)]))).map_err(|e| broken(&e))
}

/// Puts a checkpoint into a module. Nothing is changed unless everything fits.
///
/// # Errors
/// When the file cannot be read, is damaged, or belongs to a module of another shape.
pub fn load<F: Scalar>(path: &Path, module: &mut dyn Module<F>) -> Result<CheckpointMeta> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read the checkpoint", e))?;
    let damaged = |what: &dyn std::fmt::Display| {
        Error::file(
            path,
            format_args!("is no intact checkpoint: {what}"),
            "remove its folder: the one before it is used then",
        )
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
    let text =
        header.metadata().as_ref().and_then(|m| m.get("gim")).ok_or_else(|| damaged(&"it has no `gim` entry"))?;
    let meta: CheckpointMeta = serde_json::from_str(text).map_err(|e| damaged(&e))?;
    if meta.format != FORMAT {
        return Err(Error::file(
            path,
            format_args!("is of format {}, this program reads {FORMAT}", meta.format),
            "use the version of the program that wrote it",
        ));
    }

    let other = |what: String| Error::file(path, what, "use the configuration that this checkpoint was made with");
    let (params, optimizer) = module.state();
    let moments = optimizer.moments();
    let mut wanted = Vec::new();
    params.visit(&mut |p| wanted.push((p.name.clone(), p.shape.clone())));
    let names = wanted.iter().map(|w| w.0.clone());
    let of_moment = |m: &&str| wanted.iter().map(|w| format!("optimizer.{m}.{}", w.0)).collect::<Vec<_>>();
    let all: Vec<String> = names.chain(moments.iter().flat_map(of_moment)).collect();
    if let Some(extra) = file.names().into_iter().find(|n| !all.iter().any(|a| a == n)) {
        return Err(other(format!("has `{extra}`, which this module does not have")));
    }
    let mut values: Vec<Vec<F>> = Vec::with_capacity(all.len());
    for (i, name) in all.iter().enumerate() {
        let shape = &wanted[i % wanted.len()].1;
        let tensor = file.tensor(name).map_err(|_| other(format!("lacks `{name}`")))?;
        if tensor.shape() != shape || tensor.dtype() != F::DTYPE {
            return Err(other(format!(
                "`{name}` is {:?} {:?}, the module's is {:?} {shape:?}",
                tensor.dtype(),
                tensor.shape(),
                F::DTYPE
            )));
        }
        values.push(tensor.data().chunks_exact(F::BYTES).map(F::read_le).collect());
        if values[i].iter().any(|v| !v.is_finite()) {
            return Err(damaged(&format_args!("`{name}` holds numbers that are not finite")));
        }
    }

    let sizes: Vec<usize> = wanted.iter().map(|w| w.1.iter().product()).collect();
    let mut state = values.split_off(wanted.len());
    let mut at = 0;
    params.visit(&mut |p| {
        p.value = std::mem::take(&mut values[at]);
        at += 1;
    });
    optimizer
        .visit_state(&sizes, &mut |moment, param, v| *v = std::mem::take(&mut state[moment * wanted.len() + param]));
    optimizer.set_steps(meta.optimizer_steps);
    Ok(meta)
}
