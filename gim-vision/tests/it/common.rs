//! Files the tests write and find.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_vision::dataset::image::Image;
use gim_vision::dataset::{self, DatasetOptions, ImageDataset};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Opens a dataset, or says what is wrong.
pub(crate) fn open(root: &Path) -> Result<Arc<dyn ImageDataset>, String> {
    dataset::open(root, &DatasetOptions::default()).map_err(|e| e.to_string())
}

/// Writes a file, making its folders.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// An image that differs in every pixel from its neighbors, and with `kind`.
pub(crate) fn scene(height: usize, width: usize, channels: usize, kind: usize) -> Image {
    let mut state = (kind as u32 + 1).wrapping_mul(2_654_435_761);
    let pixels = (0..height * width * channels)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((i * 200 / (height * width * channels)) as u32 + (state >> 24) % 50) as u8
        })
        .collect();
    Image::new(height, width, channels, pixels)
}

fn kind(p: &Image) -> ExtendedColorType {
    if p.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 }
}

/// The bytes of a PNG file.
pub(crate) fn png(p: &Image) -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out).write_image(&p.pixels, p.width as u32, p.height as u32, kind(p)).unwrap();
    out
}

/// The bytes of a JPEG file.
pub(crate) fn jpeg(p: &Image) -> Vec<u8> {
    let mut out = Vec::new();
    JpegEncoder::new(&mut out).write_image(&p.pixels, p.width as u32, p.height as u32, kind(p)).unwrap();
    out
}

/// The embedded dataset.
pub(crate) fn fashion_mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/fashion-mini")
}

/// A large dataset that is not part of the project, if it is there; says so if not.
pub(crate) fn big(name: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let root = std::env::var_os("GIM_DATA").map_or(shared, PathBuf::from).join(name);
    if root.is_dir() {
        return Some(root);
    }
    println!("skipped: there is no {}; GIM_DATA names the folder it is in", root.display());
    None
}
