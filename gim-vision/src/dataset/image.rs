//! Images in memory: decoding, orientation, color and size.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use gim_core::data::guarded;
use gim_core::{Error, Result};
use image::imageops::{FilterType, resize};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, RgbImage};
use serde::{Deserialize, Serialize};

use super::png;

/// Images whose pixels take more bytes than this are refused, because a damaged header may declare
/// any size.
const MAX_BYTES: u64 = 1 << 30;

/// Pixels of an image after resizing, at most: 2²⁶, 192 MiB in color. Resizing the shorter side of
/// a long strip multiplies both.
pub const MOST_PIXELS: usize = 1 << 26;

/// Bytes at the beginning of a file in which nearly all images have all their headers.
const HEAD: usize = 1 << 16;

/// The channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// One channel, the luma.
    #[default]
    Grayscale,
    /// Three channels: red, green, blue.
    Rgb,
}

impl Color {
    /// Values in a pixel.
    pub fn channels(self) -> usize {
        match self {
            Self::Grayscale => 1,
            Self::Rgb => 3,
        }
    }
}

/// Pixels (H, W, C), interleaved, row after row from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Height H.
    pub height: usize,
    /// Width W.
    pub width: usize,
    /// Channels C: 1 (gray) or 3 (red, green, blue).
    pub channels: usize,
    /// (H, W, C), from 0 to 255.
    pub pixels: Vec<u8>,
}

impl Image {
    /// An image of pixels (H, W, C), C = 1 or 3.
    pub fn new(height: usize, width: usize, channels: usize, pixels: Vec<u8>) -> Self {
        assert!(channels == 1 || channels == 3, "{channels} channels");
        assert_eq!(pixels.len(), height * width * channels, "pixels of ({height}, {width}, {channels})");
        Self { height, width, channels, pixels }
    }

    /// Decodes a JPEG, PNG or WebP file, whatever its name, and turns it upright by its EXIF orientation.
    /// Of an animation it is the first image. Transparency is dropped, 16 bits become 8, palettes and CMYK become red, green and blue.
    ///
    /// # Errors
    /// When the file is unreadable, neither JPEG nor PNG nor WebP, of a kind of JPEG that is not supported,
    /// damaged, cut short, or its pixels take more than 1 GiB.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        guarded(path, || {
            let mut decoder = decoder(path, &bytes)?;
            let orientation = orientation(&mut decoder, &bytes, Cursor::new(&bytes));
            check_bytes(path, &decoder)?;
            if bytes.starts_with(JPEG) && !is_complete(&bytes) {
                return Err(Error::file(path, "the JPEG is cut short", "copy or download the file again"));
            }
            if is_webp(&bytes) && !is_whole_webp(&bytes) {
                return Err(Error::file(path, "the WebP is cut short", "copy or download the file again"));
            }
            let mut image = DynamicImage::from_decoder(decoder).map_err(|e| damaged(path, e))?;
            image.apply_orientation(orientation);
            let (height, width) = (image.height() as usize, image.width() as usize);
            Ok(if image.color().has_color() {
                Self::new(height, width, 3, image.into_rgb8().into_raw())
            } else {
                Self::new(height, width, 1, image.into_luma8().into_raw())
            })
        })
    }

    /// (height, width) of a JPEG, PNG or WebP file, turned upright. Only its headers are read.
    ///
    /// # Errors
    /// When the file is unreadable, neither JPEG nor PNG nor WebP, or its headers are damaged.
    pub fn size_of(path: &Path) -> Result<(usize, usize)> {
        let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let mut bytes = Vec::new();
        (&file).take(HEAD as u64).read_to_end(&mut bytes).map_err(|e| Error::io(path, "read", e))?;
        guarded(path, || {
            // The orientation of a WebP file is behind its pixels.
            if !is_webp(&bytes) || bytes.len() < HEAD {
                let found = upright_size(path, &bytes, &file);
                if found.is_ok() || bytes.len() < HEAD {
                    return found;
                }
            }
            // A color profile or a preview can push the size further back.
            file.seek(SeekFrom::Start(HEAD as u64)).map_err(|e| Error::io(path, "read", e))?;
            file.read_to_end(&mut bytes).map_err(|e| Error::io(path, "read", e))?;
            upright_size(path, &bytes, &file)
        })
    }

    /// Converts to one channel, the luma of ITU-R 601: L = .299 R + .587 G + .114 B, in 16-bit
    /// fixed point and rounded, as Pillow's mode L.
    pub fn grayscale(self) -> Self {
        if self.channels == 1 {
            return self;
        }
        let luma = |p: &[u8]| {
            let (r, g, b) = (u32::from(p[0]), u32::from(p[1]), u32::from(p[2]));
            ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
        };
        Self { channels: 1, pixels: self.pixels.chunks_exact(3).map(luma).collect(), ..self }
    }

    /// Converts to three channels; those of a gray image are equal.
    pub fn rgb(self) -> Self {
        if self.channels == 3 {
            return self;
        }
        Self { channels: 3, pixels: self.pixels.iter().flat_map(|&l| [l; 3]).collect(), ..self }
    }

    /// Converts to the channels of `color`.
    pub fn in_color(self, color: Color) -> Self {
        match color {
            Color::Grayscale => self.grayscale(),
            Color::Rgb => self.rgb(),
        }
    }

    /// Resizes to (height, width), at least 1 each, with a triangle filter: bilinear interpolation
    /// when enlarging, averages over the area of a pixel when shrinking.
    pub fn resized(self, height: usize, width: usize) -> Self {
        if (height, width) == (self.height, self.width) {
            return self;
        }
        let (w, h) = (self.width as u32, self.height as u32);
        let (to_w, to_h) = (width as u32, height as u32);
        let pixels = if self.channels == 1 {
            GrayImage::from_raw(w, h, self.pixels).map(|x| resize(&x, to_w, to_h, FilterType::Triangle).into_raw())
        } else {
            RgbImage::from_raw(w, h, self.pixels).map(|x| resize(&x, to_w, to_h, FilterType::Triangle).into_raw())
        };
        // `None` means too few pixels, which cannot be: the fields are checked where they are made.
        Self::new(height, width, self.channels, pixels.unwrap_or_default())
    }

    /// Resizes so that the shorter side is `side`, with the same proportions. A `side` of 0 changes
    /// nothing.
    pub fn with_short_side(self, side: usize) -> Self {
        let (height, width) = short_side((self.height, self.width), side);
        self.resized(height, width)
    }

    /// The largest square in the middle.
    pub fn center_square(&self) -> Self {
        let side = self.height.min(self.width);
        self.center(side)
    }

    /// The `side` × `side` pixels in the middle; `side` is at most the shorter side.
    pub fn center(&self, side: usize) -> Self {
        let (top, left) = ((self.height - side) / 2, (self.width - side) / 2);
        let mut pixels = Vec::with_capacity(side * side * self.channels);
        for y in top..top + side {
            pixels.extend_from_slice(&self.pixels[(y * self.width + left) * self.channels..][..side * self.channels]);
        }
        Self { height: side, width: side, channels: self.channels, pixels }
    }
}

/// (height, width) of an image resized so that its shorter side is `to`; unchanged if `to` is 0.
pub fn short_side((height, width): (usize, usize), to: usize) -> (usize, usize) {
    let short = height.min(width);
    if to == 0 || short == 0 || short == to {
        return (height, width);
    }
    let scaled = |side: usize| ((side * to + short / 2) / short).max(1);
    (scaled(height), scaled(width))
}

const JPEG: &[u8] = &[0xff, 0xd8, 0xff];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Whether a file that begins with `bytes` is WebP: a RIFF file of that kind.
fn is_webp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")
}

/// Whether a WebP file is as long as it says; the decoder takes less.
fn is_whole_webp(bytes: &[u8]) -> bool {
    let declared = bytes.get(4..8).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
    bytes.len() as u64 >= u64::from(declared) + 8
}

/// The decoder for the format that the first bytes show.
fn decoder<'a>(path: &Path, bytes: &'a [u8]) -> Result<impl ImageDecoder + 'a> {
    if bytes.is_empty() {
        return Err(Error::file(path, "the file is empty", "copy or make it again"));
    }
    if !bytes.starts_with(JPEG) && !bytes.starts_with(PNG) && !is_webp(bytes) {
        return Err(Error::file(path, "is no JPEG, PNG or WebP", "convert it to one of them, or remove it"));
    }
    if let Some(kind) = unsupported_jpeg(bytes) {
        let what = format!("this kind of JPEG is not supported: {kind}");
        return Err(Error::file(path, what, "the file may be whole: convert it to baseline JPEG or to PNG"));
    }
    // The decoder takes sides of 2³¹ and more for damage.
    if let Some((width, height)) = png_size(bytes)
        && u64::from(width) * u64::from(height) > MAX_BYTES
    {
        return Err(too_large(path, height, width));
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| Error::io(path, "read", e))?;
    reader.into_decoder().map_err(|e| damaged(path, e))
}

fn check_bytes(path: &Path, decoder: &impl ImageDecoder) -> Result<()> {
    let (width, height) = decoder.dimensions();
    if decoder.total_bytes() <= MAX_BYTES { Ok(()) } else { Err(too_large(path, height, width)) }
}

fn too_large(path: &Path, height: u32, width: u32) -> Error {
    let what = format!("an image of {height} x {width} is too large: its pixels take more than {MAX_BYTES} bytes");
    Error::file(path, what, "make it smaller, or remove it")
}

/// Width and height in the header of a PNG file; `None` where it has none.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(PNG)?.get(4..16)?.strip_prefix(b"IHDR")?;
    let (width, height) = header.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*width), u32::from_be_bytes(*height.first_chunk()?)))
}

/// The orientation of the image in a file that begins with `bytes`.
fn orientation(decoder: &mut impl ImageDecoder, bytes: &[u8], file: impl Read + Seek) -> Orientation {
    // The decoder only sees what comes before the pixels; ImageMagick puts it behind them.
    let found = if bytes.starts_with(PNG) { png::orientation(file).ok().flatten() } else { decoder.orientation().ok() };
    found.unwrap_or(Orientation::NoTransforms)
}

/// What a JPEG uses that the decoder does not know, told from its frame header (ITU-T T.81, table
/// B.1).
fn unsupported_jpeg(bytes: &[u8]) -> Option<&'static str> {
    let mut at = 2;
    while bytes.starts_with(JPEG) {
        let [0xff, marker, high, low] = *bytes.get(at..at + 4)?.first_chunk::<4>()? else { return None };
        match marker {
            0xc3 => return Some("lossless coding"),
            0xc5..=0xc7 => return Some("hierarchical coding"),
            0xc9..=0xcf => return Some("arithmetic coding"),
            0xc0..=0xc2 if bytes.get(at + 4).is_some_and(|bits| *bits != 8) => {
                return Some("other than 8 bits a sample");
            }
            // The frame that it knows, or the pixels.
            0xc0..=0xc2 | 0xda => return None,
            0xff => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2),
        }
    }
    None
}

/// (height, width), turned upright, of a file that begins with `bytes`.
fn upright_size(path: &Path, bytes: &[u8], file: impl Read + Seek) -> Result<(usize, usize)> {
    use Orientation as O;
    let mut decoder = decoder(path, bytes)?;
    check_bytes(path, &decoder)?;
    let (width, height) = decoder.dimensions();
    if height == 0 || width == 0 {
        return Err(Error::file(path, "the image has no pixels", "copy or make the file again"));
    }
    let orientation = orientation(&mut decoder, bytes, file);
    let turned = matches!(orientation, O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH);
    let (height, width) = if turned { (width, height) } else { (height, width) };
    Ok((height as usize, width as usize))
}

fn damaged(path: &Path, cause: image::ImageError) -> Error {
    // Some decoders end their messages with a new line.
    let what = cause.to_string().trim_end().replace('\n', " ");
    let error = if let image::ImageError::Unsupported(_) = cause {
        let remedy = "the file may be whole: convert it to an ordinary JPEG or PNG";
        Error::file(path, format_args!("the image is not supported: {what}"), remedy)
    } else {
        Error::file(path, format_args!("the image is damaged: {what}"), "copy or download the file again")
    };
    error.caused_by(cause)
}

/// Whether a JPEG continues to its end marker; the decoder silently fills what is missing with
/// gray. Walks from segment to segment, because a preview inside one has its own end marker.
fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (0xff, 0xd9) => return true,
            // Another image begins before this one has ended.
            (0xff, 0xd8) => return false,
            // Fill bytes, escaped 255s and restarts in the coded data, markers without a length.
            (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd7) => at += 2,
            (0xff, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4).and_then(|b| b.first_chunk()) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
            _ => at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_is_pillows() {
        // from PIL import Image; Image.new("RGB", (1, 1), c).convert("L").getpixel((0, 0))
        for (rgb, want) in
            [([255, 0, 0], 76), ([0, 255, 0], 150), ([0, 0, 255], 29), ([255; 3], 255), ([10, 20, 30], 18)]
        {
            assert_eq!(Image::new(1, 1, 3, rgb.to_vec()).grayscale().pixels, [want]);
        }
        let gray = Image::new(1, 2, 1, vec![3, 200]);
        assert_eq!(gray.clone().rgb().pixels, [3, 3, 3, 200, 200, 200]);
        assert_eq!(gray.clone().rgb().grayscale(), gray);
    }

    #[test]
    fn sizes_and_centers() {
        assert_eq!(short_side((375, 500), 96), (96, 128));
        assert_eq!(short_side((500, 375), 0), (500, 375));
        assert_eq!(short_side((1, 1000), 3), (3, 3000));
        let x = Image::new(3, 4, 1, (0..12).collect());
        assert_eq!(x.center(2).pixels, [1, 2, 5, 6]);
        assert_eq!(x.center_square().pixels, [0, 1, 2, 4, 5, 6, 8, 9, 10]);
        assert_eq!(x.clone().resized(3, 4), x);
        let flat = Image::new(40, 30, 3, vec![77; 3600]).with_short_side(7);
        assert_eq!((flat.height, flat.width), (9, 7));
        assert!(flat.pixels.iter().all(|&p| p == 77));
        // Downwards the whole area counts: every second column white gives gray.
        let stripes = Image::new(32, 32, 1, (0..1024).map(|i| if i % 2 == 0 { 255 } else { 0 }).collect());
        assert!(stripes.resized(4, 4).pixels.iter().all(|&p| (110..=145).contains(&p)));
    }
}
