//! The orientation that a PNG file asks for, wherever it stands in the file.

use std::io::{Read, Seek, SeekFrom};

use flate2::read::ZlibDecoder;
use image::metadata::Orientation;

/// Length of the signature before the first chunk.
const SIGNATURE: u64 = 8;
/// Longer texts hold no orientation worth reading.
const MOST_TEXT: u64 = 1 << 20;

/// The orientation of a PNG file. Of several, the first in this list counts, as in Pillow:
///
/// 1. the chunk `eXIf`,
/// 2. EXIF data in hexadecimal in a text chunk, as ImageMagick writes `Raw profile type exif`,
/// 3. `tiff:Orientation` in XMP metadata.
///
/// # Errors
/// When the file ends before its last chunk.
pub(super) fn orientation(mut file: impl Read + Seek) -> std::io::Result<Option<Orientation>> {
    let (mut at, mut profile, mut xmp) = (SIGNATURE, None, None);
    loop {
        let mut head = [0u8; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut head)?;
        let [a, b, c, d, name @ ..] = head;
        let len = u32::from_be_bytes([a, b, c, d]);
        let mut body = (&mut file).take(u64::from(len).min(MOST_TEXT));
        match &name {
            b"eXIf" => return Ok(Orientation::from_exif_chunk(&bytes(&mut body)?)),
            b"tEXt" | b"zTXt" | b"iTXt" => match text(&name, &bytes(&mut body)?) {
                Some((key, text)) if key == "Raw profile type exif" || key == "Raw profile type APP1" => {
                    profile = profile.or_else(|| of_profile(&text));
                }
                Some((key, text)) if key == "XML:com.adobe.xmp" => xmp = xmp.or_else(|| of_xmp(&text)),
                _ => {}
            },
            b"IEND" => return Ok(profile.or(xmp)),
            _ => {}
        }
        at += 12 + u64::from(len);
    }
}

fn bytes(body: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    body.read_to_end(&mut out)?;
    Ok(out)
}

/// Keyword and text of a text chunk (PNG, third edition, section 11.3.3); `None` when it is damaged.
fn text(name: &[u8; 4], body: &[u8]) -> Option<(String, String)> {
    let (key, rest) = cut(body)?;
    let (packed, text) = match (name, rest) {
        (b"tEXt", text) => (false, text),
        (b"zTXt", [0, text @ ..]) => (true, text),
        // Language and translated keyword come before the text.
        (b"iTXt", [packed, 0, rest @ ..]) => (*packed == 1, cut(cut(rest)?.1)?.1),
        _ => return None,
    };
    let text = match packed {
        true => bytes(&mut ZlibDecoder::new(text).take(MOST_TEXT)).ok()?,
        false => text.to_vec(),
    };
    Some((String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(&text).into_owned()))
}

/// What stands before and behind the first zero.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = bytes.iter().position(|b| *b == 0)?;
    Some((&bytes[..zero], &bytes[zero + 1..]))
}

/// An empty line, a name, a length and the data in hexadecimal.
fn of_profile(text: &str) -> Option<Orientation> {
    let digits: Vec<u8> = text.lines().skip(3).flat_map(str::bytes).filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let exif = digits.chunks_exact(2).map(byte).collect::<Option<Vec<u8>>>()?;
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif))
}

/// `tiff:Orientation="6"`, or the same as an element.
fn of_xmp(text: &str) -> Option<Orientation> {
    let behind = text.split_once("tiff:Orientation")?.1;
    let value = behind.trim_start_matches(['=', '"', '\'', '>', ' ']).bytes().next()?;
    Orientation::from_exif(value.checked_sub(b'0')?)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    /// Big-endian EXIF data with one entry: the orientation.
    fn exif(orientation: u8) -> Vec<u8> {
        [&b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation, 0, 0, 0, 0, 0, 0]].concat()
    }

    fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Cursor<Vec<u8>> {
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, body) in chunks.iter().chain([&(b"IEND", Vec::new())]) {
            out.extend([&(body.len() as u32).to_be_bytes()[..], &name[..], body, &[0; 4]].concat());
        }
        Cursor::new(out)
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// ImageMagick's form, 36 digits a line.
    fn profile(orientation: u8) -> Vec<u8> {
        let exif = [b"Exif\0\0".to_vec(), exif(orientation)].concat();
        let hex: Vec<String> = exif.chunks(36).map(|c| c.iter().map(|b| format!("{b:02x}")).collect()).collect();
        format!("\nexif\n{:8}\n{}\n", exif.len(), hex.join("\n")).into_bytes()
    }

    #[test]
    fn every_place_of_the_orientation_is_read() {
        let xmp = br#"<rdf:Description tiff:Orientation="6"/>"#;
        let element = b"<tiff:Orientation>6</tiff:Orientation>";
        let long = b"XML:com.adobe.xmp\0".to_vec();
        for chunk in [
            (b"eXIf", exif(6)),
            (b"tEXt", [b"Raw profile type exif\0".to_vec(), profile(6)].concat()),
            (b"zTXt", [b"Raw profile type exif\0\0".to_vec(), packed(&profile(6))].concat()),
            (b"zTXt", [b"Raw profile type APP1\0\0".to_vec(), packed(&profile(6))].concat()),
            (b"iTXt", [&long[..], b"\0\0\0\0", xmp].concat()),
            (b"iTXt", [&long[..], b"\x01\0en\0XMP\0", &packed(element)].concat()),
        ] {
            // Behind the pixels too, and not taken from another text.
            let file =
                png(&[(b"IDAT", vec![1, 2, 3]), (b"tEXt", b"Comment\0tiff:Orientation=3".to_vec()), chunk.clone()]);
            assert_eq!(orientation(file).unwrap(), Some(Orientation::Rotate90), "{:?}", chunk.0);
        }
        let both = png(&[(b"iTXt", [&long[..], b"\0\0\0\0", xmp].concat()), (b"eXIf", exif(3))]);
        assert_eq!(orientation(both).unwrap(), Some(Orientation::Rotate180));
    }

    #[test]
    fn damaged_text_turns_nothing() {
        for body in
            [&b""[..], b"Raw profile type exif", b"Raw profile type exif\0\nexif\n 2\nzz", b"XML:com.adobe.xmp\0"]
        {
            for name in [b"tEXt", b"zTXt", b"iTXt"] {
                assert_eq!(orientation(png(&[(name, body.to_vec())])).unwrap(), None);
            }
        }
        let mut cut = png(&[(b"eXIf", exif(6))]).into_inner();
        cut.truncate(14);
        assert!(orientation(Cursor::new(cut)).is_err());
    }
}
