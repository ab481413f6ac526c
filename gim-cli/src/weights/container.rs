//! The files that hold tensors: PyTorch's zip archive, its older container, and safetensors.
//!
//! Sizes are checked against the length of the file before anything is allocated: a damaged or
//! hostile file is refused in memory of its own order.

use std::collections::HashMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::rc::Rc;

use gim_core::{Error, Result};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use zip::ZipArchive;

use super::pickle::{Node, Pickle, Refusal, StorageRef, TensorRef, Value};
use super::{Tensor, Tensors};

/// Largest file that is read, in bytes.
const MOST_BYTES: u64 = 4 << 30;
/// Most values of all tensors for each byte of the file: a checkpoint may name a tensor twice.
const MOST_VALUES_PER_BYTE: usize = 2;
/// Most dictionaries inside each other that are read for tensors.
const MOST_DEPTH: usize = 4;
/// First value of the older container, in hexadecimal.
const MAGIC: &str = "6cfc9c46f9206aa85019";
/// Name under which `gim export` puts what it knows of the run.
pub(super) const FACTS: &str = "gim.json";

/// Types of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    /// Whole numbers and truth values of this many bytes: no weights, and left out.
    Other(usize),
}

impl Element {
    /// The type of PyTorch's storage of this name.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "LongStorage" => Self::Other(8),
            "IntStorage" => Self::Other(4),
            "ShortStorage" => Self::Other(2),
            "CharStorage" | "ByteStorage" | "BoolStorage" => Self::Other(1),
            _ => return None,
        })
    }

    fn of_dtype(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            other => Self::Other(other.bitsize().div_ceil(8)),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Other(n) => n,
        }
    }

    /// Element `at` of little-endian `bytes` as f32; NaN for types that are no weights.
    fn get(self, bytes: &[u8], at: usize) -> f32 {
        let b = &bytes[at * self.bytes()..][..self.bytes()];
        match (self, b) {
            (Self::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
            (Self::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Self::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
            (Self::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            _ => f32::NAN,
        }
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The tensors of floating-point numbers, by name; names of nested dictionaries are joined by
    /// dots.
    pub tensors: Tensors,
    /// What `gim export` put beside them, as JSON.
    pub facts: Option<String>,
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read, is none of the three kinds, or is damaged.
pub(super) fn open(path: &Path) -> Result<Contents> {
    let io = |e| Error::io(path, "read the weights", e);
    let length = fs::metadata(path).map_err(io)?.len();
    if length > MOST_BYTES {
        let what = format!("has {length} bytes, more than weights can have");
        return Err(Error::file(path, what, "give a file that torch.save wrote"));
    }
    let bytes = fs::read(path).map_err(io)?;
    let remedy = "give a state dictionary as torch.save writes it, or safetensors";
    read(&bytes).map_err(|what| Error::file(path, what, remedy))
}

/// Reads the bytes of a file.
pub(super) fn read(bytes: &[u8]) -> std::result::Result<Contents, Refusal> {
    match bytes {
        [b'P', b'K', ..] => read_zip(bytes),
        [0x80, 2, ..] => read_legacy(bytes),
        [_, _, _, _, _, _, _, 0, b'{', ..] => read_safetensors(bytes),
        _ => Err("is neither a file of PyTorch nor safetensors".into()),
    }
}

fn read_zip(bytes: &[u8]) -> std::result::Result<Contents, Refusal> {
    let damaged = |e: &dyn std::fmt::Display| format!("is a damaged archive: {e}");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(&e))?;
    let suffix = "/data.pkl";
    let root = archive.file_names().flatten().find_map(|n| n.strip_suffix(suffix).map(str::to_owned));
    let root = root.ok_or("is an archive without data.pkl")?;
    let mut left = bytes.len();
    let mut entry = |name: &str| {
        let file = archive.by_name(&format!("{root}/{name}")).map_err(|e| damaged(&e))?;
        let mut out = Vec::new();
        // What headers say of sizes is not believed.
        file.take(left as u64 + 1).read_to_end(&mut out).map_err(|e| damaged(&e))?;
        left = left.checked_sub(out.len()).ok_or("holds more than its length")?;
        Ok::<_, Refusal>(out)
    };
    if let Ok(order) = entry("byteorder")
        && order != b"little"
    {
        return Err("is big-endian".into());
    }
    let pickle = Pickle::read(&entry("data.pkl")?)?;
    let mut storages = HashMap::new();
    for storage in storages_of(&pickle) {
        if !storages.contains_key(&storage.key) {
            storages.insert(Rc::clone(&storage.key), entry(&format!("data/{}", storage.key))?);
        }
    }
    let facts = entry(FACTS).ok().and_then(|text| String::from_utf8(text).ok());
    let slices = storages.iter().map(|(key, bytes)| (Rc::clone(key), bytes.as_slice())).collect();
    Ok(Contents { tensors: tensors_of(&pickle, &slices, bytes.len())?, facts })
}

/// Five pickles (magic number, protocol, byte order, the object, keys of its storages), then the
/// storages in the order of their keys, each after its number of elements.
fn read_legacy(bytes: &[u8]) -> std::result::Result<Contents, Refusal> {
    let mut at = 0;
    let mut next = || {
        let pickle = Pickle::read(&bytes[at..])?;
        at += pickle.length;
        Ok::<_, Refusal>(pickle)
    };
    if next()?.value != Value::Text(MAGIC.into()) {
        return Err("is a pickle, but not one that torch.save wrote".into());
    }
    let (_protocol, _system, object, keys) = (next()?, next()?, next()?, next()?);
    let Some(Node::List(keys)) = keys.node(&keys.value) else { return Err("lacks the list of its storages".into()) };
    let elements: HashMap<Rc<str>, Element> = storages_of(&object).map(|s| (Rc::clone(&s.key), s.element)).collect();
    let mut storages = HashMap::new();
    for key in keys {
        let Value::Text(key) = key else { return Err("has a storage without a name".into()) };
        let element = elements.get(key).ok_or("has a storage that no tensor uses")?;
        let rest = &bytes[at..];
        let (count, rest) = rest.split_first_chunk::<8>().ok_or("is cut short")?;
        let size = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|n| n.checked_mul(element.bytes()));
        let data = size.and_then(|size| rest.get(..size)).ok_or("is cut short")?;
        at += 8 + data.len();
        storages.insert(Rc::clone(key), data);
    }
    Ok(Contents { tensors: tensors_of(&object, &storages, bytes.len())?, facts: None })
}

fn read_safetensors(bytes: &[u8]) -> std::result::Result<Contents, Refusal> {
    let damaged = |e| format!("is a damaged safetensors file: {e}");
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let facts = header.metadata().as_ref().and_then(|m| m.get(FACTS).cloned());
    let mut tensors = Tensors::new();
    for (name, tensor) in file.tensors() {
        let (element, data) = (Element::of_dtype(tensor.dtype()), tensor.data());
        if !matches!(element, Element::Other(_)) {
            let values = (0..data.len() / element.bytes()).map(|at| element.get(data, at)).collect();
            tensors.insert(name, Tensor { shape: tensor.shape().to_vec(), values });
        }
    }
    Ok(Contents { tensors, facts })
}

fn storages_of(pickle: &Pickle) -> impl Iterator<Item = &StorageRef> {
    pickle.nodes().iter().filter_map(|n| if let Node::Storage(storage) = n { Some(storage) } else { None })
}

/// The tensors that the dictionary of a pickle names.
fn tensors_of(
    pickle: &Pickle,
    storages: &HashMap<Rc<str>, &[u8]>,
    length: usize,
) -> std::result::Result<Tensors, Refusal> {
    let (mut out, mut left) = (Tensors::new(), length * MOST_VALUES_PER_BYTE);
    let mut open = vec![(String::new(), &pickle.value, 0)];
    let mut visited = 0;
    while let Some((name, value, depth)) = open.pop() {
        match pickle.node(value) {
            Some(Node::Dict(items)) if depth < MOST_DEPTH => {
                visited += items.len();
                // Dictionaries may be shared, so walking them is bounded, too.
                if visited > length {
                    return Err("names more than it holds".into());
                }
                for (key, value) in items {
                    let key = match key {
                        Value::Text(text) => text.to_string(),
                        Value::Int(n) => n.to_string(),
                        _ => return Err("has a key that is not a name".into()),
                    };
                    let name = if depth == 0 { key } else { format!("{name}.{key}") };
                    open.push((name, value, depth + 1));
                }
            }
            Some(Node::Tensor(tensor)) if !matches!(tensor.storage.element, Element::Other(_)) => {
                let tensor = gather(&name, tensor, storages, &mut left)?;
                out.insert(name, tensor);
            }
            _ => {}
        }
    }
    Ok(out)
}

/// The values of a view of a storage. Takes their number from those that are `left`.
fn gather(
    name: &str,
    tensor: &TensorRef,
    storages: &HashMap<Rc<str>, &[u8]>,
    left: &mut usize,
) -> std::result::Result<Tensor, Refusal> {
    let TensorRef { storage, offset, shape, strides } = tensor;
    let bad = || format!("has a tensor `{name}` that does not fit its storage");
    let data = storages.get(&storage.key).ok_or_else(bad)?;
    let held = data.len() / storage.element.bytes();
    let count = shape.iter().try_fold(1_usize, |n, s| n.checked_mul(*s)).ok_or_else(bad)?;
    let steps = shape.iter().zip(strides);
    let last = steps.clone().try_fold(*offset, |last, (n, stride)| {
        n.saturating_sub(1).checked_mul(*stride).and_then(|step| last.checked_add(step))
    });
    let fits = strides.len() == shape.len() && held >= storage.count && count <= storage.count;
    if !fits || (count > 0 && last.is_none_or(|last| last >= storage.count)) {
        return Err(bad());
    }
    *left = left.checked_sub(count).ok_or("names more than it holds")?;
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0; shape.len()];
    let mut at = *offset;
    while values.len() < count {
        values.push(storage.element.get(data, at));
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            at += strides[d];
            if index[d] < shape[d] {
                break;
            }
            at -= index[d] * strides[d];
            index[d] = 0;
        }
    }
    Ok(Tensor { shape: shape.clone(), values })
}

#[cfg(test)]
mod tests;
