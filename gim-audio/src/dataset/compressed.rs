//! MP3 and OGG Vorbis files.
//!
//! They are decoded from their beginning, also for a range: what a block decodes to depends on those before it, and a
//! sample must have the same bits in a range and in the whole file. Long recordings are better kept as FLAC.

use std::path::Path;

use gim_core::{Error, Result};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Fault;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use crate::dataset::decode::{Between, push_mono, say};

/// What to do about a file that cannot be decoded.
const REMEDY: &str = "convert it to FLAC, or remove it";

/// An open file.
pub(super) struct Compressed {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    pub(super) rate: u32,
    pub(super) channels: usize,
    /// Where the stream begins and ends in the file.
    place: (u64, u64),
    /// Whether some of it was decoded already.
    begun: bool,
}

/// Whether a file that begins with these bytes is one: an OGG page, or a frame of MPEG audio, layer III.
pub(super) fn is_compressed(magic: &[u8]) -> bool {
    magic.starts_with(b"OggS") || matches!(magic, [0xff, second, ..] if second & 0xe6 == 0xe2)
}

impl Compressed {
    /// Opens a stream of a file.
    pub(super) fn open(path: &Path, stream: Between) -> Result<Self> {
        let place = stream.place();
        let stream = MediaSourceStream::new(Box::new(stream), Default::default());
        let (options, meta) = (FormatOptions::default(), MetadataOptions::default());
        let format = symphonia::default::get_probe().probe(&Hint::new(), stream, options, meta).map_err(|e| {
            let what = format!("its header cannot be read: {}", say(&e));
            Error::file(path, what, REMEDY).caused_by(e)
        })?;
        let track = format.default_track(TrackType::Audio);
        let Some((track, codec)) = track.and_then(|t| Some((t.id, t.codec_params.as_ref()?.audio()?.clone()))) else {
            return Err(Error::file(path, "has no audio track that can be decoded", REMEDY));
        };
        let options = AudioDecoderOptions::default();
        let decoder = symphonia::default::get_codecs().make_audio_decoder(&codec, &options).map_err(|e| {
            let what = format!("its encoding is not supported: {}", say(&e));
            Error::file(path, what, REMEDY).caused_by(e)
        })?;
        let (rate, channels) = (codec.sample_rate.unwrap_or(0), codec.channels.as_ref().map_or(0, |c| c.count()));
        if channels == 0 {
            return Err(Error::file(path, "has no channels", REMEDY));
        }
        Ok(Self { format, decoder, track, rate, channels, place, begun: false })
    }

    /// Mono samples `first .. last`; fewer when the file ends before `last`.
    pub(super) fn read(&mut self, path: &Path, first: u64, last: u64) -> Result<Vec<f32>> {
        if std::mem::replace(&mut self.begun, true) {
            *self = Self { begun: true, ..Self::open(path, Between::again(path, self.place)?)? };
        }
        let damaged = |at: u64, e: Fault| {
            let what = format!("it is damaged at sample {at}: {}", say(&e));
            Error::file(path, what, "copy or encode the file again").caused_by(e)
        };
        let (mut out, mut frames, mut at) = (Vec::new(), Vec::new(), 0u64);
        while at < last {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(Fault::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(damaged(at, e)),
            };
            if packet.track_id != self.track {
                continue;
            }
            let decoded = self.decoder.decode(&packet).map_err(|e| damaged(at, e))?;
            if (decoded.spec().rate(), decoded.spec().channels().count()) != (self.rate, self.channels) {
                let what = format!("its sample rate or its channels change at sample {at}");
                return Err(Error::file(path, what, REMEDY));
            }
            frames.clear();
            decoded.copy_to_vec_interleaved::<f32>(&mut frames);
            let n = (frames.len() / self.channels) as u64;
            let (lo, hi) = (first.clamp(at, at + n) - at, last.clamp(at, at + n) - at);
            let wanted = &frames[lo as usize * self.channels..hi as usize * self.channels];
            push_mono(path, at + lo, wanted, self.channels, &mut out)?;
            at += n;
        }
        Ok(out)
    }
}
