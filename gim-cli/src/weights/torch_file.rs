//! The file that `torch.load` reads: a zip archive of a pickle and raw storages.

use std::io::{Cursor, Write};

use gim_core::{Error, Result};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::Tensor;
use super::container::FACTS;

/// Folder within the archive; any name will do.
const ROOT: &str = "archive";
/// Storages begin at multiples of this, so that PyTorch can map the file into memory.
const ALIGNMENT: u16 = 64;

/// The bytes of a state dictionary. A tensor may have several `names`, which then share its memory.
///
/// # Errors
/// When the archive becomes too large.
pub(super) fn to_bytes(tensors: &[(Vec<String>, Tensor)], facts: &str) -> Result<Vec<u8>> {
    let broken = |e: &dyn std::fmt::Display| Error::internal("export", e);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .with_alignment(ALIGNMENT);
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("{ROOT}/{name}"), options).map_err(|e| broken(&e))?;
        zip.write_all(bytes).map_err(|e| broken(&e))
    };
    add("data.pkl", &pickle(tensors))?;
    add("byteorder", b"little")?;
    for (key, (_, tensor)) in tensors.iter().enumerate() {
        let bytes: Vec<u8> = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        add(&format!("data/{key}"), &bytes)?;
    }
    // Readers of PyTorch ignore what they do not know.
    add(FACTS, facts.as_bytes())?;
    add("version", b"3\n")?;
    Ok(zip.finish().map_err(|e| broken(&e))?.into_inner())
}

/// `OrderedDict((name, _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())), …)` in
/// protocol 2.
fn pickle(tensors: &[(Vec<String>, Tensor)]) -> Vec<u8> {
    let mut out = b"\x80\x02".to_vec();
    out.extend(EMPTY);
    out.push(b'(');
    for (key, (names, tensor)) in tensors.iter().enumerate() {
        for name in names {
            text(&mut out, name);
            out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            text(&mut out, "storage");
            out.extend(b"ctorch\nFloatStorage\n");
            text(&mut out, &key.to_string());
            text(&mut out, "cpu");
            whole(&mut out, tensor.values.len());
            out.extend(b"tQ");
            whole(&mut out, 0);
            tuple(&mut out, &tensor.shape);
            tuple(&mut out, &strides(&tensor.shape));
            out.push(0x89);
            out.extend(EMPTY);
            out.extend(b"tR");
        }
    }
    out.extend(b"u.");
    out
}

/// An empty `OrderedDict`.
const EMPTY: &[u8] = b"ccollections\nOrderedDict\n)R";

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn whole(out: &mut Vec<u8>, n: usize) {
    match i32::try_from(n) {
        Ok(n) => {
            out.push(b'J');
            out.extend(n.to_le_bytes());
        }
        Err(_) => {
            out.extend([0x8a, 8]);
            out.extend((n as u64).to_le_bytes());
        }
    }
}

fn tuple(out: &mut Vec<u8>, items: &[usize]) {
    out.push(b'(');
    items.iter().for_each(|n| whole(out, *n));
    out.push(b't');
}

/// Strides of a row-major tensor.
fn strides(shape: &[usize]) -> Vec<usize> {
    (1..=shape.len()).map(|d| shape[d..].iter().product()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::container::read;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let tensor = |shape: &[usize], first: f32| {
            let n = shape.iter().product::<usize>();
            Tensor { shape: shape.to_vec(), values: (0..n).map(|i| first + i as f32).collect() }
        };
        let (a, b) = (tensor(&[2, 3, 4], 0.5), tensor(&[5], -1.0));
        let bytes =
            to_bytes(&[(vec!["a".into(), "same".into()], a.clone()), (vec!["b".into()], b.clone())], "{}").unwrap();
        let contents = read(&bytes).unwrap();
        assert_eq!(contents.facts.as_deref(), Some("{}"));
        assert_eq!(
            contents.tensors.into_iter().collect::<Vec<_>>(),
            [("a".into(), a.clone()), ("b".into(), b), ("same".into(), a)]
        );
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
    }
}
