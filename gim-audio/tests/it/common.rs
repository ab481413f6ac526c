//! Files the tests write and find.

use std::path::{Path, PathBuf};

/// How samples are stored in a WAV file.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pcm {
    U8,
    S16,
    S24,
    S32,
    F32,
}

/// The bytes of a WAV file of interleaved samples in −1 .. 1.
pub(crate) fn wav_bytes(x: &[f32], channels: u16, rate: u32, pcm: Pcm) -> Vec<u8> {
    let mut data = Vec::new();
    for &v in x {
        let v64 = f64::from(v);
        match pcm {
            Pcm::U8 => data.push((v64 * 128.0 + 128.0).round() as u8),
            Pcm::S16 => data.extend(((v64 * 32768.0).round() as i16).to_le_bytes()),
            Pcm::S24 => data.extend(&((v64 * 8_388_608.0).round() as i32).to_le_bytes()[..3]),
            Pcm::S32 => data.extend(((v64 * 2_147_483_648.0).round() as i32).to_le_bytes()),
            Pcm::F32 => data.extend(v.to_le_bytes()),
        }
    }
    let (format, bytes) = match pcm {
        Pcm::U8 => (1u16, 1u16),
        Pcm::S16 => (1, 2),
        Pcm::S24 => (1, 3),
        Pcm::S32 => (1, 4),
        Pcm::F32 => (3, 4),
    };
    let mut out = Vec::new();
    out.extend(b"RIFF");
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend(format.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(channels * bytes)).to_le_bytes());
    out.extend((channels * bytes).to_le_bytes());
    out.extend((8 * bytes).to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

/// Writes a file, making its folders.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Writes a 16-bit mono 16 kHz file.
pub(crate) fn write_wav(path: &Path, x: &[f32]) {
    write(path, wav_bytes(x, 1, 16_000, Pcm::S16));
}

/// Reproducible noise on the 16-bit grid.
pub(crate) fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((state >> 16) as u16 as i16) / 65_536.0
        })
        .map(|x| (x * 32_768.0).round() / 32_768.0)
        .collect()
}

/// The corpus that comes with the repository.
pub(crate) fn speech_mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/speech-mini")
}

/// A FLAC file of it.
pub(crate) fn a_flac() -> PathBuf {
    speech_mini().join("181/101267/181-101267-0001.flac")
}

/// A folder of the large corpora (`GIM_DATA`, or `../shared/data` beside the workspace), or a
/// message that says it is missing.
pub(crate) fn big(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GIM_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = root.join(name);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no {} (set GIM_DATA to the folder of corpora)", path.display());
    None
}
