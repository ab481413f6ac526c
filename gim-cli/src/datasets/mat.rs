//! Arrays of whole numbers from MATLAB files of level 5, as far as the labels of Flowers-102 need it.
//!
//! Source: MathWorks, *MAT-File Format*, chapter 1.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;
use gim_core::{Error, Result};

const HEADER: usize = 128;
/// No array here is larger, unpacked.
const MOST_BYTES: u64 = 16_000_000;

/// Types of data elements.
mod kind {
    pub(super) const INT8: u32 = 1;
    pub(super) const UINT8: u32 = 2;
    pub(super) const INT16: u32 = 3;
    pub(super) const UINT16: u32 = 4;
    pub(super) const INT32: u32 = 5;
    pub(super) const UINT32: u32 = 6;
    pub(super) const DOUBLE: u32 = 9;
    pub(super) const MATRIX: u32 = 14;
    pub(super) const COMPRESSED: u32 = 15;
}

/// The values of the array `name`, which are whole and not negative.
///
/// # Errors
/// When the file is damaged, holds no such array, or another kind of array.
pub(super) fn read(path: &Path, name: &str) -> Result<Vec<usize>> {
    let wrong = |what: &str| Error::file(path, what, "download the file again");
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    if bytes.get(126..HEADER) != Some(b"IM") {
        return Err(wrong("it is no MATLAB file of level 5, least byte first"));
    }
    let mut rest = &bytes[HEADER..];
    while !rest.is_empty() {
        let (found, content) = element(&mut rest).ok_or_else(|| wrong("it is cut short"))?;
        let mut unpacked = Vec::new();
        let (found, content) = if found == kind::COMPRESSED {
            let packed = ZlibDecoder::new(content).take(MOST_BYTES);
            { packed }.read_to_end(&mut unpacked).map_err(|e| wrong(&format!("it cannot be unpacked: {e}")))?;
            element(&mut &unpacked[..]).ok_or_else(|| wrong("an array is cut short"))?
        } else {
            (found, content)
        };
        if found != kind::MATRIX {
            continue;
        }
        let (own, values) = matrix(content).ok_or_else(|| wrong("an array is damaged, or not of whole numbers"))?;
        if own == name.as_bytes() {
            return Ok(values);
        }
    }
    Err(wrong(&format!("it has no array named {name}")))
}

/// Type and content of the first element, which is taken off `bytes`.
fn element<'a>(bytes: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let tag = word(0)?;
    // Up to four bytes stand in the tag itself, their number in its upper half.
    let (kind, start, len, end) = match tag >> 16 {
        0 => {
            let len = word(4)? as usize;
            let padded = if tag == kind::COMPRESSED { len } else { len.next_multiple_of(8) };
            (tag, 8, len, 8 + padded)
        }
        len => (tag & 0xffff, 4, len as usize, 8),
    };
    let content = bytes.get(start..start + len)?;
    *bytes = bytes.get(end..).unwrap_or_default();
    Some((kind, content))
}

/// Name and values of an array: flags, dimensions, name, real part.
fn matrix(mut content: &[u8]) -> Option<(&[u8], Vec<usize>)> {
    let _flags = element(&mut content)?;
    let (_, dimensions) = element(&mut content)?;
    let (_, name) = element(&mut content)?;
    let (kind, data) = element(&mut content)?;
    let values = numbers(kind, data)?;
    let mut shape = dimensions.as_chunks().0.iter().map(|d| u32::from_le_bytes(*d) as usize);
    let len = shape.try_fold(1usize, usize::checked_mul)?;
    (len == values.len()).then_some((name, values))
}

fn numbers(kind: u32, data: &[u8]) -> Option<Vec<usize>> {
    fn all<const N: usize, T: TryInto<usize>>(data: &[u8], of: impl Fn([u8; N]) -> T) -> Option<Vec<usize>> {
        let (chunks, []) = data.as_chunks::<N>() else { return None };
        chunks.iter().map(|bytes| of(*bytes).try_into().ok()).collect()
    }
    match kind {
        kind::INT8 => all(data, i8::from_le_bytes),
        kind::UINT8 => all(data, u8::from_le_bytes),
        kind::INT16 => all(data, i16::from_le_bytes),
        kind::UINT16 => all(data, u16::from_le_bytes),
        kind::INT32 => all(data, i32::from_le_bytes),
        kind::UINT32 => all(data, u32::from_le_bytes),
        kind::DOUBLE => {
            let whole = |x: f64| if x.fract() == 0.0 && x.abs() < 1e9 { x as i64 } else { -1 };
            all(data, |bytes| whole(f64::from_le_bytes(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// `scipy.io.savemat(f, {"labels": np.array([77, 3, 102], "u1"), "trnid": np.array([1.0, 300.0])},
    /// do_compression=…)`, without the text of the header.
    const PLAIN: &str = "
        0e00000038000000060000000800000009000000000000000500000008000000
        010000000300000001000000060000006c6162656c730000020003004d036600
        0e00000048000000060000000800000006000000000000000500000008000000
        0100000002000000010000000500000074726e69640000000900000010000000
        000000000000f03f0000000000c07240";

    fn bytes_of(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    fn file(elements: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut header = vec![b' '; HEADER - 4];
        header.extend([0, 1, b'I', b'M']);
        file.write_all(&[&header, elements].concat()).unwrap();
        file
    }

    #[test]
    fn arrays_of_scipy_are_read() {
        let elements = bytes_of(PLAIN);
        let plain = file(&elements);
        assert_eq!(read(plain.path(), "labels").unwrap(), [77, 3, 102]);
        assert_eq!(read(plain.path(), "trnid").unwrap(), [1, 300]);
        assert!(read(plain.path(), "tstid").unwrap_err().to_string().contains("no array named tstid"));
        // Compressed, each array is an element of its own.
        let mut rest = &elements[..];
        let mut packed = Vec::new();
        while !rest.is_empty() {
            let before = rest;
            element(&mut rest).unwrap();
            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            zlib.write_all(&before[..before.len() - rest.len()]).unwrap();
            let zlib = zlib.finish().unwrap();
            packed.extend(kind::COMPRESSED.to_le_bytes());
            packed.extend((zlib.len() as u32).to_le_bytes());
            packed.extend(zlib);
        }
        let compressed = file(&packed);
        assert_eq!(read(compressed.path(), "labels").unwrap(), [77, 3, 102]);
        assert_eq!(read(compressed.path(), "trnid").unwrap(), [1, 300]);
    }

    #[test]
    fn damage_is_an_error_of_the_file() {
        let elements = bytes_of(PLAIN);
        for cut in 1..elements.len() {
            let file = file(&elements[..elements.len() - cut]);
            let told = read(file.path(), "absent").unwrap_err().to_string();
            assert!(told.contains(&*file.path().to_string_lossy()), "{told}");
        }
        for at in 0..elements.len() {
            let mut damaged = elements.clone();
            damaged[at] ^= 0xff;
            let _ = read(file(&damaged).path(), "trnid");
        }
        let other = tempfile::NamedTempFile::new().unwrap();
        assert!(read(other.path(), "labels").unwrap_err().to_string().contains("no MATLAB file"));
    }
}
