//! Figure files of a comparison, and how the page shows them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gim_core::{Error, Result};
use image::ImageFormat;
use image::codecs::jpeg::JpegEncoder;

use crate::figures::caption_of;

/// Size in bytes above which a figure may be a photograph, and the JPEG quality for it.
const LARGE_FIGURE: usize = 256 << 10;
const JPEG_QUALITY: u8 = 85;

/// A figure's PNG file.
#[derive(Debug, Clone)]
pub(crate) struct FigureFile {
    /// Path of the file.
    pub(crate) path: PathBuf,
    /// Whether it was drawn by an earlier command, from features that no longer exist.
    pub(crate) earlier: bool,
}

/// A figure on the page.
#[derive(Debug)]
pub(super) struct ShownFigure {
    /// Names of run and figure.
    pub(crate) name: String,
    /// Caption stored in the file.
    pub(crate) caption: String,
    /// The file, relative to the comparison's folder.
    pub(crate) path: String,
    /// The image as a data URL.
    pub(crate) source: String,
}

impl FigureFile {
    /// Reads the file of a figure of the comparison in `folder`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(&self, folder: &Path) -> Result<ShownFigure> {
        let bytes = std::fs::read(&self.path).map_err(|e| Error::io(&self.path, "read", e))?;
        let mut caption = caption_of(&bytes).unwrap_or_default();
        if self.earlier {
            caption += " Drawn earlier: the features it shows were not kept.";
        }
        let (kind, bytes) = embedded(bytes);
        Ok(ShownFigure {
            name: figure_name(&self.path, folder),
            caption: caption.trim().to_owned(),
            path: self.path.strip_prefix(folder).unwrap_or(&self.path).to_string_lossy().into_owned(),
            source: format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)),
        })
    }
}

/// Format and bytes of a figure on the page: JPEG for photographs, which makes them much smaller;
/// the PNG itself for drawings.
fn embedded(png: Vec<u8>) -> (&'static str, Vec<u8>) {
    if png.len() > LARGE_FIGURE
        && let Some(jpeg) = as_jpeg(&png)
        && jpeg.len() < png.len() / 2
    {
        return ("jpeg", jpeg);
    }
    ("png", png)
}

fn as_jpeg(png: &[u8]) -> Option<Vec<u8>> {
    let image = image::load_from_memory_with_format(png, ImageFormat::Png).ok()?.to_rgb8();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(&image).ok()?;
    Some(jpeg)
}

/// `audio/gim/figures/loss.png` in the comparison's folder → `audio/gim: loss`. Figures of all runs
/// have no prefix.
fn figure_name(path: &Path, folder: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let run = path.parent().and_then(|figures| figures.strip_prefix(folder).ok()?.parent());
    match run.map(|r| r.to_string_lossy()) {
        Some(run) if !run.is_empty() => format!("{run}: {stem}"),
        _ => stem.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_named_by_run() {
        let name = |file: &str| figure_name(&Path::new("runs/figures").join(file), Path::new("runs/figures"));
        assert_eq!(name("audio/gim/figures/loss.png"), "audio/gim: loss");
        assert_eq!(name("figures/error-speakers.png"), "error-speakers");
    }

    #[test]
    fn photographs_are_embedded_as_jpeg_and_drawings_as_they_are() {
        let png = |pixel: fn(u32, u32) -> u8| {
            let image = image::GrayImage::from_fn(700, 700, |x, y| image::Luma([pixel(x, y)]));
            let mut bytes = std::io::Cursor::new(Vec::new());
            image.write_to(&mut bytes, ImageFormat::Png).unwrap();
            bytes.into_inner()
        };
        let photograph = png(|x, y| ((x + y) / 6 % 240 + (x * x * 31 + y * y * 17) / 7 % 12) as u8);
        assert!(photograph.len() > LARGE_FIGURE, "{}", photograph.len());
        let (kind, bytes) = embedded(photograph.clone());
        assert!(kind == "jpeg" && bytes.starts_with(&[0xff, 0xd8]) && 2 * bytes.len() < photograph.len());
        let drawing = png(|x, y| if x == y { 0 } else { 255 });
        assert_eq!(embedded(drawing.clone()), ("png", drawing));
        assert_eq!(embedded(vec![7; 2 * LARGE_FIGURE]), ("png", vec![7; 2 * LARGE_FIGURE]));
    }
}
