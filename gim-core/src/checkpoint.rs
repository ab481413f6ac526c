//! A module's checkpoint: one safetensors file with parameters, optimizer state and what they belong to.
//!
//! The metadata holds a digest of everything else in the file, which is verified at every load.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::hex;
use crate::module::Module;
use crate::{Error, Result, Scalar};

/// Version of the file format.
pub const FORMAT: u32 = 2;

/// What a checkpoint belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// One-based module number.
    pub module: usize,
    /// Steps of the run that are done.
    pub step: u64,
    /// Steps the optimizer has taken.
    pub optimizer_steps: u64,
    /// The settings it must agree with, as TOML.
    pub configuration: String,
    /// What the run keeps of its dataset, as the program writes it; empty when it says nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dataset: String,
    /// SHA-256 of the other entries and of all tensors, in hexadecimal.
    pub digest: String,
}

/// The bytes of a module's checkpoint. Its format, optimizer steps and digest are filled in.
///
/// # Errors
/// [`Error::Diverged`] when a value is not finite.
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

    if let Some((name, ..)) = tensors.iter().find(|t| t.2.chunks_exact(F::BYTES).any(|v| !F::read_le(v).is_finite())) {
        return Err(Error::Diverged {
            module: meta.module,
            step: meta.step,
            what: format!("`{name}` holds values that are not finite"),
            remedy: "lower optimizer.lr, or look for damaged input".into(),
        });
    }

    tensors.sort();
    let meta = CheckpointMeta { format: FORMAT, optimizer_steps: optimizer.steps(), ..meta.clone() };
    let parts = tensors.iter().map(|(name, shape, bytes)| (name.as_str(), shape.as_slice(), bytes.as_slice()));
    seal(meta, F::DTYPE, &parts.collect::<Vec<_>>())
}

/// Name, shape and values of a tensor.
type Tensor<'a> = (&'a str, &'a [usize], &'a [u8]);

/// The bytes of a file. Its digest is filled in. `tensors` are sorted by name.
fn seal(mut meta: CheckpointMeta, dtype: Dtype, tensors: &[Tensor<'_>]) -> Result<Vec<u8>> {
    let broken =
        |e: &dyn std::fmt::Display| Error::config("checkpoint", e, "this is a defect of the program; report it");
    meta.digest = digest(&meta, tensors.iter().copied()).map_err(|e| broken(&e))?;
    let text = serde_json::to_string(&meta).map_err(|e| broken(&e))?;
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| TensorView::new(dtype, shape.to_vec(), bytes).map(|v| (*name, v)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| broken(&e))?;
    serialize(views, Some(HashMap::from([("gim".to_owned(), text)]))).map_err(|e| broken(&e))
}

/// The bytes of a checkpoint of another `step`: that of a module that was frozen in between.
///
/// # Errors
/// When the file cannot be read, is damaged, or is of another format.
pub fn restamp(path: &Path, step: u64) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    let (file, meta) = parse(path, &bytes)?;
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let dtype = tensors.first().map_or(Dtype::F32, |t| t.1.dtype());
    let parts = tensors.iter().map(|(name, t)| (name.as_str(), t.shape(), t.data()));
    seal(CheckpointMeta { step, ..meta }, dtype, &parts.collect::<Vec<_>>())
}

/// SHA-256 (hexadecimal) of the parameters of modules, whatever their optimizers hold: what their
/// outputs depend on.
pub fn digest_of_parameters<F: Scalar>(modules: &mut [Box<dyn Module<F>>]) -> String {
    let (mut hash, mut bytes) = (Sha256::new(), Vec::new());
    for (i, module) in modules.iter_mut().enumerate() {
        module.params().visit(&mut |p| {
            hash.update(format!("{i} {} {:?}\n", p.name, p.shape));
            bytes.clear();
            p.value.iter().for_each(|v| v.write_le(&mut bytes));
            hash.update(&bytes);
        });
    }
    hex(hash.finalize())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(path, "read the checkpoint", e))
}

/// Digest of what a checkpoint says of itself and of its tensors, given by name in order.
fn digest<'a>(meta: &CheckpointMeta, tensors: impl Iterator<Item = Tensor<'a>>) -> serde_json::Result<String> {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(&serde_json::to_vec(&CheckpointMeta { digest: String::new(), ..meta.clone() })?);
    for (name, shape, bytes) in tensors {
        add(name.as_bytes());
        add(format!("{shape:?}").as_bytes());
        add(bytes);
    }
    Ok(hex(hash.finalize()))
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::file(path, format_args!("is damaged: {what}"), "copy it again, or remove the folder of this step")
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<(SafeTensors<'a>, CheckpointMeta)> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(path, e))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(path, e))?;
    let text =
        header.metadata().as_ref().and_then(|m| m.get("gim")).ok_or_else(|| damaged(path, "it has no `gim` entry"))?;
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| damaged(path, e))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format != u64::from(FORMAT) => {
            return Err(Error::file(
                path,
                format_args!("is of format {format}, this program reads {FORMAT}"),
                "use the version of the program that wrote it",
            ));
        }
        _ => {}
    }
    let meta: CheckpointMeta = serde_json::from_value(value).map_err(|e| damaged(path, e))?;
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let parts = tensors.iter().map(|(name, t)| (name.as_str(), t.shape(), t.data()));
    if digest(&meta, parts).map_err(|e| damaged(path, e))? != meta.digest {
        return Err(damaged(path, "its digest does not hold"));
    }
    Ok((file, meta))
}

/// What a checkpoint says of itself, after its digest has been verified.
///
/// # Errors
/// When the file cannot be read, is damaged, or is of another format.
pub fn verify(path: &Path) -> Result<CheckpointMeta> {
    let bytes = read(path)?;
    Ok(parse(path, &bytes)?.1)
}

/// Puts a checkpoint into a module. Nothing is changed unless everything fits.
///
/// # Errors
/// When the file cannot be read, is damaged, or belongs to a module of another shape.
pub fn load<F: Scalar>(path: &Path, module: &mut dyn Module<F>) -> Result<CheckpointMeta> {
    let bytes = read(path)?;
    from_bytes(path, &bytes, module)
}

/// As [`load`], from the contents of a file. Errors name `path`.
///
/// # Errors
/// When the contents are damaged, or belong to a module of another shape.
pub fn from_bytes<F: Scalar>(path: &Path, bytes: &[u8], module: &mut dyn Module<F>) -> Result<CheckpointMeta> {
    let (file, meta) = parse(path, bytes)?;
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
            return Err(damaged(path, format_args!("`{name}` holds values that are not finite")));
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
