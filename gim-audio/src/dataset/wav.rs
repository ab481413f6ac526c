//! WAV files: RIFF, RF64 and BW64, of integer, float, A-law and µ-law samples.
//!
//! Chunk lengths are hints, because many writers get them wrong. As libsndfile, ffmpeg and sox do,
//! this reader takes the file's own length over what the header declares:
//!
//! | header | read as |
//! |---|---|
//! | RIFF length wrong | not used |
//! | ID3 tag before the file | skipped |
//! | odd chunk without its pad byte | the next chunk is found where its name is |
//! | length of the samples 0, with samples behind; 0x7FFF0000 and up, beyond the file | a stream: up to the end of the file |
//! | length of the samples too long, but the RIFF length is that of the file, or by no more than a header | up to the end of the file |
//! | length of the samples too long otherwise | an error: cut short |
//!
//! The layout of samples is never guessed: a block align that contradicts channels and bits, a
//! missing channel count and other codecs are errors.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use gim_core::{Error, Result};

/// Declared lengths from here on stand for "not known" when the file is shorter: ffmpeg writes
/// 0xFFFFFFFF, sox 0x7FFFF000, others 0x7FFFFFFF or 0x80000000.
const UNKNOWN: u64 = 0x7fff_0000;
/// Names of chunks that follow others in practice.
const KNOWN: [&[u8; 4]; 12] =
    [b"fmt ", b"data", b"LIST", b"fact", b"bext", b"JUNK", b"id3 ", b"ID3 ", b"cue ", b"smpl", b"PEAK", b"iXML"];
/// Chunks that may come before the samples.
const MOST_CHUNKS: usize = 10_000;
/// The largest number of channels.
const MOST_CHANNELS: u16 = 64;

/// How a sample is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// Integers of this many bytes; of one byte, unsigned.
    Int(usize),
    Float32,
    Float64,
    ALaw,
    MuLaw,
}

impl Encoding {
    fn bytes(self) -> usize {
        match self {
            Self::Int(n) => n,
            Self::Float32 => 4,
            Self::Float64 => 8,
            Self::ALaw | Self::MuLaw => 1,
        }
    }

    /// The sample of these bytes in [−1, 1].
    fn value(self, b: &[u8]) -> f32 {
        match (self, b) {
            (Self::Int(1), [x]) => (f32::from(*x) - 128.0) / 128.0,
            (Self::Int(2), [x, y]) => f32::from(i16::from_le_bytes([*x, *y])) / 32_768.0,
            // Shifted to the top of 32 bits.
            (Self::Int(3), [x, y, z]) => (f64::from(i32::from_le_bytes([0, *x, *y, *z])) / 2_147_483_648.0) as f32,
            (Self::Int(4), [x, y, z, w]) => (f64::from(i32::from_le_bytes([*x, *y, *z, *w])) / 2_147_483_648.0) as f32,
            (Self::Float32, [x, y, z, w]) => f32::from_le_bytes([*x, *y, *z, *w]),
            (Self::Float64, b) => b.first_chunk::<8>().map_or(f32::NAN, |b| f64::from_le_bytes(*b) as f32),
            (Self::ALaw, [x]) => a_law(*x),
            (Self::MuLaw, [x]) => mu_law(*x),
            _ => f32::NAN,
        }
    }
}

/// ITU-T G.711, A-law: 13 bits, here left-aligned in 16.
fn a_law(x: u8) -> f32 {
    let x = x ^ 0x55;
    let (exponent, mantissa) = (u32::from((x >> 4) & 7), i32::from(x & 15));
    let magnitude = if exponent == 0 { (mantissa << 4) + 8 } else { ((mantissa << 4) + 0x108) << (exponent - 1) };
    (if x & 0x80 == 0 { -magnitude } else { magnitude }) as f32 / 32_768.0
}

/// ITU-T G.711, µ-law: 14 bits, here left-aligned in 16.
fn mu_law(x: u8) -> f32 {
    let x = !x;
    let magnitude = (((i32::from(x & 15) << 3) + 0x84) << u32::from((x >> 4) & 7)) - 0x84;
    (if x & 0x80 == 0 { magnitude } else { -magnitude }) as f32 / 32_768.0
}

/// An open WAV file.
#[derive(Debug)]
pub(super) struct Wav {
    file: File,
    pub(super) rate: u32,
    pub(super) channels: usize,
    encoding: Encoding,
    /// Offset of the samples in the file.
    start: u64,
    /// Frames (samples a channel).
    pub(super) frames: u64,
}

/// Whether a file begins like a WAV file.
pub(super) fn is_wav(magic: &[u8; 12]) -> bool {
    [b"RIFF", b"RF64", b"BW64"].iter().any(|m| magic.starts_with(*m)) && magic.ends_with(b"WAVE")
}

/// What a chunk `fmt ` says.
struct Format {
    encoding: Encoding,
    channels: u16,
    rate: u32,
}

impl Wav {
    /// Reads the header of a file of `len` bytes that [`is_wav`] from byte `begin` on.
    ///
    /// # Errors
    /// When there is no format before the samples, the format is not understood, there are no
    /// samples, or fewer than declared.
    pub(super) fn open(path: &Path, file: File, begin: u64, len: u64) -> Result<Self> {
        let io = |e: std::io::Error| Error::io(path, "read", e);
        let broken = |what: &str| Error::file(path, what, "copy or encode the file again");
        let mut riff = [0u8; 12];
        file.read_exact_at(&mut riff, begin).map_err(io)?;
        let riff_len = u64::from(u32_at(&riff, 4));
        let (mut at, mut format, mut long_data) = (begin + 12, None, None);
        for _ in 0..MOST_CHUNKS {
            let mut head = [0u8; 8];
            if at + 8 > len {
                return Err(broken("its header cannot be read: there is no chunk of samples"));
            }
            file.read_exact_at(&mut head, at).map_err(io)?;
            let (name, size, body) = ([head[0], head[1], head[2], head[3]], u64::from(u32_at(&head, 4)), at + 8);
            match &name {
                b"data" => {
                    let Some(Format { encoding, channels, rate }) = format else {
                        return Err(broken("its header cannot be read: the samples come before their format"));
                    };
                    let frame = encoding.bytes() as u64 * u64::from(channels);
                    let declared = long_data.filter(|_| size == u64::from(u32::MAX)).unwrap_or(size);
                    let whole = riff_len + 8 == len - begin;
                    let bytes = available(&file, body, len, declared, whole).map_err(io)?;
                    let Some(bytes) = bytes else {
                        let (have, want) = ((len - body) / frame, declared / frame);
                        let what = format!("it is cut short: {have} of the {want} samples its header declares");
                        return Err(Error::file(path, what, "copy or download the file again"));
                    };
                    let frames = bytes / frame;
                    if frames == 0 {
                        return Err(Error::file(path, "it has no samples", "remove the file or make it again"));
                    }
                    return Ok(Self { file, rate, channels: channels.into(), encoding, start: body, frames });
                }
                b"fmt " => {
                    let mut fmt = vec![0u8; size.min(40).min(len - body) as usize];
                    file.read_exact_at(&mut fmt, body).map_err(io)?;
                    format = Some(read_format(path, &fmt)?);
                }
                b"ds64" if size >= 24 && body + 24 <= len => {
                    let mut sizes = [0u8; 24];
                    file.read_exact_at(&mut sizes, body).map_err(io)?;
                    long_data = sizes[8..].first_chunk().map(|b| u64::from_le_bytes(*b));
                }
                _ => {}
            }
            at = next_chunk(&file, body + size, len).map_err(io)?;
        }
        Err(broken("its header cannot be read: it has too many chunks"))
    }

    /// Reads interleaved samples of frames `first .. last` (inside the file) into `out`.
    pub(super) fn read(&self, first: u64, last: u64, out: &mut Vec<f32>) -> std::io::Result<()> {
        let width = self.encoding.bytes();
        let frame = (width * self.channels) as u64;
        let mut bytes = vec![0; ((last - first) * frame) as usize];
        self.file.read_exact_at(&mut bytes, self.start + first * frame)?;
        out.clear();
        out.extend(bytes.chunks_exact(width).map(|b| self.encoding.value(b)));
        Ok(())
    }
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// Bytes of samples from `body` on; `None` when the file of `len` bytes ends before them. `whole`:
/// the RIFF length is that of the file.
fn available(file: &File, body: u64, len: u64, declared: u64, whole: bool) -> std::io::Result<Option<u64>> {
    let rest = len - body;
    if declared == 0 {
        return Ok(Some(if only_chunks(file, body, len)? { 0 } else { rest }));
    }
    // Some writers add the header to the length of the samples.
    let miscounted = whole || declared - declared.min(rest) <= body;
    Ok(if declared <= rest {
        Some(declared)
    } else if declared >= UNKNOWN || miscounted {
        Some(rest)
    } else {
        None
    })
}

/// Whether nothing but whole chunks lies between `at` and the end: tags of a file without samples.
fn only_chunks(file: &File, mut at: u64, len: u64) -> std::io::Result<bool> {
    while at + 8 <= len {
        let mut head = [0u8; 8];
        file.read_exact_at(&mut head, at)?;
        if !is_name(&head[..4]) {
            return Ok(false);
        }
        at = next_chunk(file, at + 8 + u64::from(u32_at(&head, 4)), len)?;
    }
    Ok(at >= len && at <= len + 1)
}

fn is_name(name: &[u8]) -> bool {
    name.iter().all(|b| (b' '..=b'~').contains(b))
}

/// Where the chunk after one that ends at `end` begins. A chunk of odd length has a pad byte, which
/// some writers leave out.
fn next_chunk(file: &File, end: u64, len: u64) -> std::io::Result<u64> {
    if end.is_multiple_of(2) || end + 4 > len {
        return Ok(end + end % 2);
    }
    let mut name = [0u8; 4];
    file.read_exact_at(&mut name, end)?;
    Ok(if KNOWN.contains(&&name) { end } else { end + 1 })
}

/// Reads the body of a chunk `fmt `, or its first 40 bytes.
fn read_format(path: &Path, fmt: &[u8]) -> Result<Format> {
    let refuse = |what: String| Error::file(path, what, "convert it to FLAC or to PCM WAV");
    if fmt.len() < 16 {
        return Err(refuse(format!("its header cannot be read: its format has {} bytes, not 16 or more", fmt.len())));
    }
    let (mut tag, channels, rate) = (u16_at(fmt, 0), u16_at(fmt, 2), u32_at(fmt, 4));
    let (align, bits) = (u16_at(fmt, 12), u16_at(fmt, 14));
    let extensible = tag == 0xfffe;
    if extensible {
        // The format is the first two bytes of a GUID; the rest says that it is one of these.
        const GUID: [u8; 8] = [0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
        if fmt.len() < 40 || fmt[32..40] != GUID {
            return Err(refuse("its encoding is not supported: an extensible format of another kind".into()));
        }
        tag = u16_at(fmt, 24);
    }
    if channels == 0 || channels > MOST_CHANNELS {
        let what = if channels == 0 { "has no channels".into() } else { format!("has {channels} channels") };
        return Err(refuse(what));
    }
    let bytes = bits.div_ceil(8);
    let encoding = match (tag, bytes) {
        (1, 1..=4) => Encoding::Int(bytes.into()),
        (3, 4) => Encoding::Float32,
        (3, 8) => Encoding::Float64,
        (6, 1) => Encoding::ALaw,
        (7, 1) => Encoding::MuLaw,
        (1 | 3 | 6 | 7, _) => return Err(refuse(format!("its encoding is not supported: {bits} bits a sample"))),
        (other, _) => return Err(refuse(format!("its encoding is not supported: {}", codec(other)))),
    };
    if u32::from(align) != u32::from(channels) * u32::from(bytes) {
        let what = format!(
            "its header contradicts itself: {align} bytes a frame, but {channels} channels of {bits} bits make {}",
            u32::from(channels) * u32::from(bytes)
        );
        return Err(refuse(what));
    }
    Ok(Format { encoding, channels, rate })
}

/// Name of a format tag.
fn codec(tag: u16) -> String {
    let name = match tag {
        2 => "Microsoft ADPCM",
        0x11 => "IMA ADPCM",
        0x31 => "GSM 6.10",
        0x50 => "MPEG audio",
        0x55 => "MP3",
        0x161 | 0x162 => "Windows Media Audio",
        _ => return format!("format {tag:#06x}"),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the tables of G.711 (as CPython's audioop.ulaw2lin and alaw2lin give them).
    #[test]
    fn companded_samples() {
        let mu = [(0x00, -32_124), (0x80, 32_124), (0xff, 0), (0x7f, 0), (0xf0, 120), (0x23, -7_164)];
        for (x, want) in mu {
            assert_eq!(mu_law(x) * 32_768.0, want as f32, "µ-law {x:#x}");
        }
        for (x, want) in [(0x55, -8), (0xd5, 8), (0x2a, -32_256), (0xaa, 32_256), (0x00, -5_504)] {
            assert_eq!(a_law(x) * 32_768.0, want as f32, "A-law {x:#x}");
        }
    }
}
