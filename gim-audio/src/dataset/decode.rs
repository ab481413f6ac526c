//! FLAC, WAV, MP3 and OGG Vorbis files to mono f32 at 16 kHz: whole files, or a range of samples without decoding
//! the rest.
//!
//! - Integer samples are scaled to [−1, 1): 16-bit x becomes x/32768, exactly.
//! - Several channels are averaged.
//! - Other sample rates are converted by a windowed sinc.
//!
//! A sample has the same bits in a range and in the whole file, because the sinc is evaluated at
//! the sample's absolute position. A streaming resampler could not promise that: its state depends
//! on where it began.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gim_core::data::guarded;
use gim_core::{Error, Result};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Fault;
use symphonia::core::formats::{FormatOptions, FormatReader, SeekMode, SeekTo};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::units::Timestamp;
use symphonia::default::formats::FlacReader;

use crate::dataset::compressed::{Compressed, is_compressed};
use crate::dataset::wav::{Wav, is_wav};

/// The sample rate of everything this crate hands out, in Hz.
pub const RATE: u32 = 16_000;

/// Largest sample of an audio file. Full scale is 1, and in files of floating-point numbers sometimes 32768; a damaged
/// one of 1e30 would spoil the mean and deviation of a whole corpus.
const LOUDEST: f32 = 1e7;

/// Sample rates that can be converted, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// A seek pays off when it skips more than this many samples (two FLAC blocks of the usual size).
const SEEK_FROM: u64 = 8_192;

/// What is known of a file without decoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioInfo {
    /// Length in samples at 16 kHz; `None` when a header does not say (MP3, OGG, or a FLAC stream written to a
    /// pipe).
    pub len: Option<usize>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Its own sample rate, in Hz.
    pub rate: u32,
}

/// Reads the header of an audio file.
///
/// # Errors
/// The file is missing, unreadable, empty, of no known format, has no samples or a sample rate outside
/// 4 to 192 kHz.
pub fn info(path: &Path) -> Result<AudioInfo> {
    guarded(path, || {
        let source = Source::open(path, false)?;
        let len = source.len.map(|n| Rational::of(source.rate).len_out(n));
        Ok(AudioInfo { len, bytes: source.bytes, rate: source.rate })
    })
}

/// Decodes a whole file → (n) mono samples at 16 kHz. A FLAC file's MD5 checksum, if it has one, is
/// verified.
///
/// # Errors
/// As [`info`], and when the file is cut short or damaged, or has a sample that is not finite
/// (named by its position).
pub fn decode(path: &Path) -> Result<Vec<f32>> {
    guarded(path, || {
        let mut source = Source::open(path, true)?;
        let x = source.read(path, 0, u64::MAX)?;
        if let Container::Flac(flac) = &mut source.container
            && flac.decoder.finalize().verify_ok == Some(false)
        {
            return Err(Error::file(
                path,
                "its samples do not match its MD5 checksum",
                "copy or encode the file again",
            ));
        }
        if x.is_empty() {
            return Err(empty(path));
        }
        if source.rate == RATE {
            return Ok(x);
        }
        let mut y = vec![0.0; Rational::of(source.rate).len_out(x.len() as u64)];
        Resampler::shared(source.rate).run(&x, 0, 0, &mut y);
        Ok(y)
    })
}

/// Decodes samples `start .. start + out.len()` (at 16 kHz) into `out`, with the bits [`decode`]
/// gives them.
///
/// Only the FLAC blocks or WAV bytes around the range are read, so an error elsewhere in the file
/// goes unseen.
///
/// # Errors
/// As [`decode`]; and the range is not inside the file.
pub fn decode_range(path: &Path, start: usize, out: &mut [f32]) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    guarded(path, || {
        let mut source = Source::open(path, false)?;
        let ratio = Rational::of(source.rate);
        let end = start + out.len();
        let outside = |len: usize| {
            let what = format!("samples {start}..{end} were asked for, but it has {len}");
            Error::file(path, what, "the file changed since it was listed; start again")
        };
        if let Some(len) = source.len.map(|n| ratio.len_out(n)).filter(|&len| len < end) {
            return Err(outside(len));
        }
        if source.rate == RATE {
            let x = source.read(path, start as u64, end as u64)?;
            if x.len() < out.len() {
                return Err(outside(start + x.len()));
            }
            out.copy_from_slice(&x);
            return Ok(());
        }
        let sinc = Resampler::shared(source.rate);
        let (first, last) = sinc.support(start as u64, end as u64);
        let x = source.read(path, first, last)?;
        let known = first + x.len() as u64;
        if known < last && ratio.len_out(known) < end {
            return Err(outside(ratio.len_out(known)));
        }
        sinc.run(&x, first, start as u64, out);
        Ok(())
    })
}

/// Number of samples at 16 kHz: from the header, or by decoding when the header does not say.
///
/// # Errors
/// As [`info`] and, for files without a declared length, as [`decode`].
pub fn len(path: &Path) -> Result<usize> {
    match info(path)?.len {
        Some(len) => Ok(len),
        None => Ok(decode(path)?.len()),
    }
}

fn empty(path: &Path) -> Error {
    Error::file(path, "it has no samples", "remove the file or make it again")
}

/// Frames of a WAV file decoded at a time.
const WAV_BLOCK: u64 = 1 << 16;

/// An open file.
struct Source {
    container: Container,
    rate: u32,
    channels: usize,
    /// Frames (samples a channel) in the file; `None` when a header does not say.
    len: Option<u64>,
    bytes: u64,
}

enum Container {
    Flac(Flac),
    Wav(Wav),
    Compressed(Compressed),
}

/// An open FLAC file: container and codec.
struct Flac {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    rate: u32,
    channels: usize,
    len: Option<u64>,
    /// Where the stream begins and ends in the file.
    place: (u64, u64),
}

impl Source {
    fn open(path: &Path, verify: bool) -> Result<Self> {
        // Before it is opened: that would wait for the other end of a pipe.
        let meta = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
        if meta.is_dir() {
            return Err(Error::file(path, "is a folder, not an audio file", "check the path"));
        }
        if !meta.is_file() {
            return Err(Error::file(
                path,
                "is a pipe or a device",
                "give a file; `gim extract --input -` reads a pipe",
            ));
        }
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        if meta.len() == 0 {
            return Err(Error::file(path, "the file is empty", "copy or make it again"));
        }
        let (begin, magic) = beginning(&file).map_err(|e| Error::io(path, "read", e))?;
        let source = if magic.starts_with(b"fLaC") {
            let flac = Flac::open(path, Between::tags(path, file, begin, meta.len())?, verify)?;
            let (rate, channels, len) = (flac.rate, flac.channels, flac.len);
            Self { container: Container::Flac(flac), rate, channels, len, bytes: meta.len() }
        } else if is_wav(&magic) {
            let wav = Wav::open(path, file, begin, meta.len())?;
            let (rate, channels, len) = (wav.rate, wav.channels, Some(wav.frames));
            Self { container: Container::Wav(wav), rate, channels, len, bytes: meta.len() }
        } else if is_compressed(&magic) {
            let open = Compressed::open(path, Between::tags(path, file, begin, meta.len())?)?;
            let (rate, channels) = (open.rate, open.channels);
            // Headers give no length, or a guess.
            Self { container: Container::Compressed(open), rate, channels, len: None, bytes: meta.len() }
        } else {
            let what = if magic.starts_with(b"RIFX") {
                "is a big-endian WAV"
            } else {
                "is no FLAC, WAV, MP3 or OGG Vorbis file"
            };
            return Err(Error::file(path, what, "convert it to 16 kHz FLAC, or remove it"));
        };
        if !RATES.contains(&source.rate) {
            let what = format!("its sample rate is {} Hz, outside {} to {}", source.rate, RATES.start(), RATES.end());
            return Err(Error::file(path, what, "resample it to 16000 Hz"));
        }
        if source.len == Some(0) {
            return Err(empty(path));
        }
        Ok(source)
    }

    /// Mono samples `first .. last` at the file's own rate; fewer when the file ends before `last`.
    fn read(&mut self, path: &Path, first: u64, last: u64) -> Result<Vec<f32>> {
        let last = self.len.map_or(last, |len| last.min(len));
        let wav = match &mut self.container {
            Container::Flac(flac) => return flac.read(path, first, last),
            Container::Compressed(open) => return open.read(path, first, last),
            Container::Wav(wav) => wav,
        };
        let mut out = Vec::with_capacity(last.saturating_sub(first) as usize);
        let mut frames = Vec::new();
        let mut at = first;
        while at < last {
            let end = last.min(at + WAV_BLOCK);
            wav.read(at, end, &mut frames).map_err(|e| Error::io(path, "read", e))?;
            push_mono(path, at, &frames, self.channels, &mut out)?;
            at = end;
        }
        Ok(out)
    }
}

/// A file without the tags before and after its stream.
pub(super) struct Between {
    file: File,
    begin: u64,
    end: u64,
}

impl Between {
    /// A file of `len` bytes whose stream begins at byte `begin`.
    fn tags(path: &Path, file: File, begin: u64, len: u64) -> Result<Self> {
        let io = |e| Error::io(path, "read", e);
        let end = ending(&file, len).map_err(io)?;
        Self::rewound(file, begin, end).map_err(io)
    }

    /// Bytes `begin .. end` of a file, from the first on.
    fn rewound(mut file: File, begin: u64, end: u64) -> std::io::Result<Self> {
        file.seek(SeekFrom::Start(begin))?;
        Ok(Self { file, begin, end })
    }

    /// The same bytes of the file, from the first on. It is opened anew.
    pub(super) fn again(path: &Path, (begin, end): (u64, u64)) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        Self::rewound(file, begin, end).map_err(|e| Error::io(path, "read", e))
    }

    /// Where they are in the file.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.begin, self.end)
    }
}

impl Read for Between {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let left = self.end.saturating_sub(self.file.stream_position()?);
        let n = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.file.read(&mut out[..n])
    }
}

impl Seek for Between {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at.saturating_add(self.begin)),
            SeekFrom::End(by) => SeekFrom::Start(self.end.saturating_add_signed(by)),
            SeekFrom::Current(by) => SeekFrom::Current(by),
        };
        Ok(self.file.seek(to)?.saturating_sub(self.begin))
    }
}

impl MediaSource for Between {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.end.saturating_sub(self.begin))
    }
}

/// Where the stream of a file begins, behind an ID3 tag if there is one, and its first bytes. Tag
/// editors put such tags before files of any kind.
fn beginning(file: &File) -> std::io::Result<(u64, [u8; 12])> {
    // A file shorter than the magic number leaves zeros, which match nothing.
    let at = |begin: u64| {
        let mut magic = [0u8; 12];
        file.read_at(&mut magic, begin).map(|_| (begin, magic))
    };
    let (_, magic) = at(0)?;
    // ID3v2.4, section 3.1: the length has 7 bits a byte and leaves out the header and the footer.
    match magic {
        [b'I', b'D', b'3', _, _, flags, size @ ..] if size[..4].iter().all(|b| *b < 0x80) => {
            let body = size[..4].iter().fold(0, |n, b| n << 7 | u64::from(*b));
            at(10 + body + if flags & 0x10 == 0 { 0 } else { 10 })
        }
        _ => at(0),
    }
}

/// Where the stream of a file of `len` bytes ends, before the tags that some programs put there: APE, and
/// behind it ID3v1.
fn ending(file: &File, len: u64) -> std::io::Result<u64> {
    /// Bytes of an ID3v1 tag, and of the header and the footer of an APE tag.
    const ID3: u64 = 128;
    const APE: u64 = 32;
    let mut end = len;
    let mut mark = [0u8; 3];
    if end > ID3 {
        file.read_exact_at(&mut mark, end - ID3)?;
        end -= if mark == *b"TAG" { ID3 } else { 0 };
    }
    if end > APE {
        let mut footer = [0u8; 24];
        file.read_exact_at(&mut footer, end - APE)?;
        if footer.starts_with(b"APETAGEX") {
            // Its length counts the footer, and not the header, which flag 31 declares.
            let word = |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
            let header = if word(20) >> 31 == 1 { APE } else { 0 };
            end = end.saturating_sub(u64::from(word(12)) + header);
        }
    }
    Ok(end)
}

impl Flac {
    /// Opens a stream of a file.
    fn open(path: &Path, stream: Between, verify: bool) -> Result<Self> {
        let place = stream.place();
        let stream = MediaSourceStream::new(Box::new(stream), Default::default());
        let format = FlacReader::try_new(stream, FormatOptions::default()).map_err(|e| {
            let what = format!("its header cannot be read: {}", say(&e));
            Error::file(path, what, "copy or encode the file again")
        })?;
        let track = format.tracks().first();
        let len = track.and_then(|t| t.num_frames);
        let Some(codec) = track.and_then(|t| t.codec_params.as_ref()).and_then(|c| c.audio()) else {
            return Err(Error::file(path, "has no audio track", "copy or encode the file again"));
        };
        let (rate, channels) = (codec.sample_rate.unwrap_or(0), codec.channels.as_ref().map_or(0, |c| c.count()));
        if channels == 0 {
            return Err(Error::file(path, "has no channels", "copy or encode the file again"));
        }
        let options = AudioDecoderOptions::default().verify(verify);
        let decoder = symphonia::default::get_codecs().make_audio_decoder(codec, &options).map_err(|e| {
            let what = format!("its encoding is not supported: {}", say(&e));
            Error::file(path, what, "convert it to FLAC or to PCM WAV").caused_by(e)
        })?;
        Ok(Self { format: Box::new(format), decoder, rate, channels, len, place })
    }

    /// Mono samples `first .. last`; fewer when the file ends before `last`.
    fn read(&mut self, path: &Path, first: u64, last: u64) -> Result<Vec<f32>> {
        if first > SEEK_FROM {
            let to = SeekTo::Timestamp { ts: Timestamp::new(first as i64), track_id: 0 };
            let landed = self.format.seek(SeekMode::Accurate, to).is_ok_and(|s| s.actual_ts.get() as u64 <= first);
            if !landed {
                // Unusual block sizes can mislead the search: start over and decode from the
                // beginning.
                *self = Self::open(path, Between::again(path, self.place)?, false)?;
            }
            self.decoder.reset();
        }
        let channels = self.channels;
        let damaged = |at: u64, why: &str| {
            Error::file(path, format_args!("it is damaged at sample {at}: {why}"), "copy or encode the file again")
        };
        // The header of a damaged file may declare anything: never reserve on its word alone.
        let mut out = Vec::with_capacity((last.saturating_sub(first)).min(self.place.1.saturating_mul(4)) as usize);
        let mut frames: Vec<f32> = Vec::new();
        let mut at: Option<u64> = None;
        loop {
            let here = at.unwrap_or(0);
            if here >= last {
                break;
            }
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(Fault::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(damaged(here, &say(&e)).caused_by(e)),
            };
            let begin = packet.pts.get().max(0) as u64;
            match at {
                Some(here) if here != begin => return Err(damaged(here, &format!("the next block is at {begin}"))),
                None if begin > first => return Err(damaged(begin, "the blocks before it are missing")),
                _ => {}
            }
            let decoded = self.decoder.decode(&packet).map_err(|e| damaged(begin, &say(&e)).caused_by(e))?;
            frames.clear();
            decoded.copy_to_vec_interleaved(&mut frames);
            let n = (frames.len() / channels) as u64;
            if n == 0 {
                break;
            }
            let (lo, hi) = (first.clamp(begin, begin + n) - begin, last.clamp(begin, begin + n) - begin);
            let wanted = &frames[lo as usize * channels..hi as usize * channels];
            push_mono(path, begin + lo, wanted, channels, &mut out)?;
            at = Some(begin + n);
        }
        if let Some(len) = self.len.filter(|_| at.unwrap_or(0) < last) {
            let what = format!("it is cut short: {} of the {len} samples its header declares", at.unwrap_or(0));
            return Err(Error::file(path, what, "copy or download the file again"));
        }
        Ok(out)
    }
}

/// Appends the means over channels of interleaved samples; the first is that of frame `at`.
pub(super) fn push_mono(path: &Path, at: u64, frames: &[f32], channels: usize, out: &mut Vec<f32>) -> Result<()> {
    if let Some(bad) = frames.iter().position(|x| !x.is_finite()) {
        let (sample, value) = (at + (bad / channels) as u64, frames[bad]);
        let what = format!("sample {sample} is {value}, not a finite number");
        return Err(Error::file(path, what, "make the file again, or remove it"));
    }
    if let Some(bad) = frames.iter().position(|x| x.abs() > LOUDEST) {
        let (sample, value) = (at + (bad / channels) as u64, frames[bad]);
        let what = format!("sample {sample} is {value:e}: no sound is that loud");
        return Err(Error::file(path, what, "make the file again, or remove it"));
    }
    if channels == 1 {
        out.extend_from_slice(frames);
    } else {
        let scale = 1.0 / channels as f64;
        let mean = |frame: &[f32]| (frame.iter().map(|&x| f64::from(x)).sum::<f64>() * scale) as f32;
        out.extend(frames.chunks_exact(channels).map(mean));
    }
    Ok(())
}

/// The decoder's message, without its own wording of "damaged".
pub(super) fn say(e: &Fault) -> String {
    match e {
        Fault::DecodeError(s) | Fault::Unsupported(s) | Fault::LimitError(s) => (*s).to_owned(),
        Fault::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => "the file ends too early".to_owned(),
        other => other.to_string(),
    }
}

/// 16000 / rate in lowest terms: `up` output samples for `down` input samples.
#[derive(Debug, Clone, Copy)]
struct Rational {
    up: u64,
    down: u64,
}

impl Rational {
    fn of(rate: u32) -> Self {
        let (mut a, mut b) = (u64::from(RATE), u64::from(rate));
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self { up: u64::from(RATE) / a, down: u64::from(rate) / a }
    }

    /// ⌈n · up / down⌉
    fn len_out(self, n: u64) -> usize {
        (u128::from(n) * u128::from(self.up)).div_ceil(u128::from(self.down)) as usize
    }
}

/// Windowed-sinc interpolation at rational positions.
///
/// y\[n\] = Σ_j h(t − j) x\[j\] at t = n·down/up, with h(u) = c·sinc(c·u)·kaiser(u/W), c just below
/// the lower of the two Nyquist rates: flat to .88 of it, −90 dB above it. Outside the file x = 0.
#[derive(Debug)]
struct Resampler {
    ratio: Rational,
    /// Input samples on each side of ⌊t⌋.
    half: usize,
    /// (up, 2·half): a row of filter coefficients for each fraction of t.
    coefficients: Vec<f32>,
}

impl Resampler {
    /// The table of a rate. It is made once a process, because making it takes longer than decoding
    /// a crop.
    fn shared(rate: u32) -> Arc<Self> {
        static TABLES: Mutex<BTreeMap<u32, Arc<Resampler>>> = Mutex::new(BTreeMap::new());
        let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tables.entry(rate).or_insert_with(|| Arc::new(Self::new(Rational::of(rate)))))
    }

    fn new(ratio: Rational) -> Self {
        const CROSSINGS: f64 = 48.0;
        const CUTOFF: f64 = 0.94;
        const BETA: f64 = 8.96; // Kaiser's window for 90 dB
        let lower = (ratio.up as f64 / ratio.down as f64).min(1.0);
        let (cutoff, width) = (lower * CUTOFF, CROSSINGS / lower);
        let half = width.ceil() as usize;
        let mut coefficients = Vec::with_capacity(ratio.up as usize * 2 * half);
        let mut row = vec![0.0f64; 2 * half];
        for phase in 0..ratio.up {
            let t = phase as f64 / ratio.up as f64;
            for (i, h) in row.iter_mut().enumerate() {
                let u = t - (i as f64 - (half as f64 - 1.0));
                let r = 1.0 - (u / width).powi(2);
                let sinc = if u == 0.0 { 1.0 } else { (PI * cutoff * u).sin() / (PI * cutoff * u) };
                *h = if r < 0.0 { 0.0 } else { sinc * bessel_i0(BETA * r.sqrt()) };
            }
            // Unit gain at 0 Hz in every phase: otherwise a constant would come out with a ripple.
            let gain = 1.0 / row.iter().sum::<f64>();
            coefficients.extend(row.iter().map(|h| (h * gain) as f32));
        }
        Self { ratio, half, coefficients }
    }

    /// Input samples that output samples `start .. end` depend on.
    fn support(&self, start: u64, end: u64) -> (u64, u64) {
        let floor = |n: u64| n * self.ratio.down / self.ratio.up;
        ((floor(start) + 1).saturating_sub(self.half as u64), floor(end - 1) + self.half as u64 + 1)
    }

    /// Output samples `start ..` from input samples `x`, the first of which is sample `first` of
    /// the file.
    fn run(&self, x: &[f32], first: u64, start: u64, out: &mut [f32]) {
        for (i, y) in out.iter_mut().enumerate() {
            let t = (start + i as u64) * self.ratio.down;
            let (whole, phase) = ((t / self.ratio.up) as i64, (t % self.ratio.up) as usize);
            let row = &self.coefficients[phase * 2 * self.half..][..2 * self.half];
            let begin = whole + 1 - self.half as i64 - first as i64;
            let skip = (-begin).clamp(0, row.len() as i64) as usize;
            let from = ((begin + skip as i64) as usize).min(x.len());
            // Added in order of j, zeros outside the file left out: the same bits for a range and
            // for the whole.
            *y = row[skip..].iter().zip(&x[from..]).fold(0.0f64, |s, (h, x)| s + f64::from(*h) * f64::from(*x)) as f32;
        }
    }
}

/// Modified Bessel function of the first kind, order 0: Σ ((x/2)^k / k!)².
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..64 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
        if term < 1e-17 * sum {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_up() {
        assert_eq!(Rational::of(16_000).len_out(7), 7);
        assert_eq!(Rational::of(8_000).len_out(7), 14);
        assert_eq!(Rational::of(48_000).len_out(7), 3);
        assert_eq!(Rational::of(44_100).len_out(44_100), 16_000);
    }

    /// A sine below the cutoff keeps amplitude and phase; one above the new Nyquist rate vanishes.
    #[test]
    fn sines_pass_or_vanish() {
        for rate in [8_000u32, 22_050, 44_100, 48_000] {
            let sine = |f: f64, rate: f64, n: usize| -> Vec<f32> {
                (0..n).map(|i| (2.0 * PI * f * i as f64 / rate).sin() as f32).collect()
            };
            let x = sine(1000.0, f64::from(rate), rate as usize);
            let mut y = vec![0.0; Rational::of(rate).len_out(x.len() as u64)];
            Resampler::shared(rate).run(&x, 0, 0, &mut y);
            let want = sine(1000.0, f64::from(RATE), y.len());
            for i in 1000..15_000 {
                assert!((y[i] - want[i]).abs() < 2e-4, "{rate}, sample {i}: {}, not {}", y[i], want[i]);
            }
            if rate > 20_000 {
                let x = sine(9_000.0, f64::from(rate), rate as usize);
                Resampler::shared(rate).run(&x, 0, 0, &mut y);
                let left = y[1000..15_000].iter().find(|v| v.is_nan() || v.abs() >= 2e-4);
                assert_eq!(left, None, "{rate}: left of a sine above Nyquist");
            }
        }
    }
}
