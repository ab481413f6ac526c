//! Small bitmaps of figures that the page cannot show as SVG.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, thumbnail};
use image::{ImageFormat, Rgb, RgbImage};

/// A bitmap inside the page.
#[derive(Debug)]
pub(super) struct Preview {
    /// As a data URL.
    pub(super) source: String,
    /// Whether it is a chart, which the page may show light on dark, and not a photograph.
    pub(super) is_chart: bool,
}

/// Width in pixels up to which a chart keeps its size; a wider one has half of it.
const WIDE: u32 = 720;
/// Colors of a chart, to which the rest is rounded: the most frequent ones, and some that differ from
/// them by more than a square distance.
const COLORS: usize = 32;
const COMMON: usize = 26;
const UNLIKE: i32 = 48 * 48;
/// A chart has no more colors than that, those of smooth edges included.
const MOST_COLORS: usize = 12_000;
/// Width in pixels and JPEG quality of a photograph.
const PHOTOGRAPH: u32 = 520;
const JPEG_QUALITY: u8 = 45;

/// A smaller image of a PNG: with few colors if it is a chart, as a JPEG if it is a photograph. What
/// cannot be read or does not get smaller stays as it is.
pub(super) fn preview(png: &[u8]) -> Preview {
    let url = |kind: &str, bytes: &[u8]| format!("data:image/{kind};base64,{}", STANDARD.encode(bytes));
    let Ok(image) = image::load_from_memory_with_format(png, ImageFormat::Png) else {
        return Preview { source: url("png", png), is_chart: false };
    };
    let image = image.to_rgb8();
    let is_chart = image.pixels().collect::<HashSet<_>>().len() <= MOST_COLORS;
    let small = if is_chart { chart(&image) } else { photograph(&image) };
    let source = match small.filter(|bytes| bytes.len() < png.len()) {
        Some(bytes) => url(if is_chart { "png" } else { "jpeg" }, &bytes),
        None => url("png", png),
    };
    Preview { source, is_chart }
}

/// A PNG of indexed colors.
fn chart(image: &RgbImage) -> Option<Vec<u8>> {
    let (width, height) = image.dimensions();
    let halved = (width > WIDE).then(|| thumbnail(image, width / 2, (height / 2).max(1)));
    let image = halved.as_ref().unwrap_or(image);
    let mut counts: HashMap<Rgb<u8>, usize> = HashMap::new();
    for pixel in image.pixels() {
        *counts.entry(*pixel).or_default() += 1;
    }
    let mut order: Vec<(Rgb<u8>, usize)> = counts.into_iter().collect();
    order.sort_by_key(|(color, n)| (std::cmp::Reverse(*n), color.0));
    let away = |a: Rgb<u8>, b: Rgb<u8>| (0..3).map(|c| (i32::from(a[c]) - i32::from(b[c])).pow(2)).sum::<i32>();
    let mut palette: Vec<Rgb<u8>> = Vec::new();
    for (color, _) in &order {
        // The last few are for colors unlike all others, such as that of thin letters.
        let unlike = || palette.iter().all(|other| away(*color, *other) > UNLIKE);
        if palette.len() < COMMON || palette.len() < COLORS && unlike() {
            palette.push(*color);
        }
    }
    let nearest = |color: &Rgb<u8>| {
        let places = palette.iter().enumerate();
        places.min_by_key(|(_, other)| away(*color, **other)).map_or(0, |(i, _)| i as u8)
    };
    let index: HashMap<Rgb<u8>, u8> = order.iter().map(|(color, _)| (*color, nearest(color))).collect();
    let indices: Vec<u8> = image.pixels().map(|p| index[p]).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette.iter().flat_map(|c| c.0).collect::<Vec<u8>>());
    encoder.set_compression(png::Compression::High);
    // Neighboring indices are not near in color: a filter would only make noise of them.
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&indices).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}

fn photograph(image: &RgbImage) -> Option<Vec<u8>> {
    let (width, height) = image.dimensions();
    let small = width.min(PHOTOGRAPH);
    let scaled = image::imageops::resize(image, small, (height * small / width.max(1)).max(1), FilterType::Triangle);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(&scaled).ok()?;
    Some(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_of(image: &RgbImage) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn decoded(preview: &Preview) -> RgbImage {
        let data = preview.source.split_once("base64,").unwrap().1;
        image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap().to_rgb8()
    }

    #[test]
    fn charts_keep_their_colors() {
        let colors = [[255, 255, 255], [0, 114, 178], [213, 94, 0], [34, 34, 34]];
        let chart = RgbImage::from_fn(1400, 700, |x, y| Rgb(colors[(x / 100 + y / 100) as usize % 4]));
        let shown = preview(&png_of(&chart));
        assert!(shown.is_chart && shown.source.starts_with("data:image/png"));
        let small = decoded(&shown);
        assert_eq!(small.dimensions(), (700, 350));
        assert!(small.enumerate_pixels().all(|(x, y, p)| p.0 == colors[(x / 50 + y / 50) as usize % 4]));
    }

    #[test]
    fn photographs_are_small_jpegs() {
        let noise = |x: u32, y: u32| ((x * x * 31 + y * y * 17) / 7) as u8;
        let image = RgbImage::from_fn(1040, 520, |x, y| Rgb([noise(x, y), noise(y, x), noise(x + y, 3 * y)]));
        let png = png_of(&image);
        let shown = preview(&png);
        assert!(!shown.is_chart && shown.source.starts_with("data:image/jpeg") && shown.source.len() < png.len());
        assert_eq!(decoded(&shown).dimensions(), (520, 260));
    }

    #[test]
    fn what_cannot_be_read_stays() {
        assert!(preview(b"damaged").source.starts_with("data:image/png;base64,"));
        let dot = png_of(&RgbImage::new(1, 1));
        assert!(preview(&dot).source.starts_with("data:image/png;base64,"));
    }
}
