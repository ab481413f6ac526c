//! The bitmap back end: PNG files, with the caption as a text of the file.

use ab_glyph::{ScaleFont, point};
use gim_core::Result;
use plotters::prelude::{BitMapBackend, Circle, IntoDrawingArea, RGBColor, Rectangle};
use plotters::style::Color as _;

use super::text::{TextMark, font};
use super::tile::PlacedTile;
use super::{Area, BackEnd, Canvas, Color, Point, Tile, defect};

/// Bitmap pixels per pixel of the finished PNG, per direction.
const SUPERSAMPLE: u32 = 4;
/// Keyword of the caption among a PNG file's texts.
const CAPTION: &str = "Description";

impl Canvas {
    /// The canvas as a PNG file, RGB, with its caption as a text of the file; see [`caption_of`].
    pub(crate) fn png(&self, caption: &str) -> Result<Vec<u8>> {
        let (w, h) = (self.width * SUPERSAMPLE, self.height * SUPERSAMPLE);
        let mut large = vec![255u8; (w * h * 3) as usize];
        {
            let area = BitMapBackend::with_buffer(&mut large, (w, h)).into_drawing_area();
            self.draw(&area, f64::from(SUPERSAMPLE))?;
            for tile in &self.tiles {
                draw_tile(&area, f64::from(SUPERSAMPLE), tile)?;
            }
            area.present().map_err(defect)?;
        }
        let small = average_down(&large, w as usize, SUPERSAMPLE as usize);
        encode(self.width, self.height, png::ColorType::Rgb, &small, Some(caption))
    }
}

impl Tile {
    /// The tile as a PNG file, a pixel each.
    pub(super) fn png(&self) -> Result<Vec<u8>> {
        let color = if self.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb };
        encode(self.width as u32, self.height as u32, color, &self.pixels, None)
    }
}

/// The caption in a PNG file that [`Canvas::png`] made.
pub(crate) fn caption_of(png: &[u8]) -> Option<String> {
    let reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().ok()?;
    reader.info().utf8_text.iter().find(|t| t.keyword == CAPTION)?.get_text().ok()
}

fn encode(width: u32, height: u32, color: png::ColorType, pixels: &[u8], caption: Option<&str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    if let Some(caption) = caption {
        encoder.add_itxt_chunk(CAPTION.into(), caption.into()).map_err(defect)?;
    }
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(defect)?;
    writer.write_image_data(pixels).map_err(defect)?;
    writer.finish().map_err(defect)?;
    Ok(bytes)
}

impl BackEnd for BitMapBackend<'_> {
    /// Plotters turns a thick path into one polygon, which overlaps itself where a curve jags.
    /// Here the segments are drawn one by one, with discs at the joints.
    fn paint_line(area: &Area<Self>, points: &[Point], color: Color, width: f64) -> Result<()> {
        let half = width / 2.0;
        for ends in points.windows(2) {
            if let Some(corners) = thick_segment(ends[0], ends[1], half) {
                let corners = corners.map(|(x, y)| (x.round() as i32, y.round() as i32)).to_vec();
                area.draw(&plotters::element::Polygon::new(corners, color.rgb().filled())).map_err(defect)?;
            }
        }
        for &(x, y) in &points[1..points.len() - 1] {
            let at = (x.round() as i32, y.round() as i32);
            area.draw(&Circle::new(at, half.round() as i32, color.rgb().filled())).map_err(defect)?;
        }
        Ok(())
    }

    /// Glyph by glyph: plotters ignores their side bearings.
    fn paint_text(area: &Area<Self>, scale: f64, mark: &TextMark) -> Result<()> {
        let TextMark { at, upward, text, style, .. } = mark;
        let font = font(style.bold, style.size * scale)?;
        let mut along = (mark.start()? * scale) as f32;
        let (x, y) = ((at.0 * scale) as f32, (at.1 * scale) as f32);
        for letter in text.chars() {
            let mut glyph = font.scaled_glyph(letter);
            let advance = font.h_advance(glyph.id);
            // An upward text is drawn horizontally from the origin and its pixels are turned.
            glyph.position = if *upward { point(along, 0.0) } else { point(x + along, y) };
            along += advance;
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            let mut result = Ok(());
            outline.draw(|column, row, coverage| {
                let (px, py) = (corner.x as i32 + column as i32, corner.y as i32 + row as i32);
                let (px, py) = if *upward { (x.round() as i32 + py, y.round() as i32 - px) } else { (px, py) };
                let color = style.color.rgb().mix(f64::from(coverage.min(1.0)));
                if result.is_ok() {
                    result = area.draw_pixel((px, py), &color).map_err(defect);
                }
            });
            result?;
        }
        Ok(())
    }
}

/// Draws the tile's pixels as rectangles that meet without overlap or gap.
fn draw_tile(area: &Area<BitMapBackend<'_>>, scale: f64, placed: &PlacedTile) -> Result<()> {
    let PlacedTile { left, top, width, height, tile } = placed;
    let edge = |start: f64, length: f64, part: usize, of: usize| {
        ((start + length * part as f64 / of as f64) * scale).round() as i32
    };
    let x = |column| edge(*left, *width, column, tile.width);
    let y = |row| edge(*top, *height, row, tile.height);
    for row in 0..tile.height {
        for column in 0..tile.width {
            // In bitmaps the far edges are outside.
            let corners = [(x(column), y(row)), (x(column + 1), y(row + 1))];
            let [r, g, b] = tile.rgb(row, column);
            area.draw(&Rectangle::new(corners, RGBColor(r, g, b).filled())).map_err(defect)?;
        }
    }
    Ok(())
}

/// The corners of a segment `2·half` wide; none for a segment without length.
fn thick_segment(a: Point, b: Point, half: f64) -> Option<[Point; 4]> {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = dx.hypot(dy);
    if length == 0.0 {
        return None;
    }
    let (nx, ny) = (-dy / length * half, dx / length * half);
    Some([(a.0 + nx, a.1 + ny), (b.0 + nx, b.1 + ny), (b.0 - nx, b.1 - ny), (a.0 - nx, a.1 - ny)])
}

/// Averages `factor` × `factor` blocks of an RGB image `width` pixels wide.
fn average_down(large: &[u8], width: usize, factor: usize) -> Vec<u8> {
    let rows = large.chunks_exact(width * 3 * factor);
    let mut small = Vec::with_capacity(large.len() / (factor * factor));
    let mut sums = vec![0u32; width / factor * 3];
    for block in rows {
        sums.fill(0);
        for row in block.chunks_exact(width * 3) {
            for (i, pixels) in row.chunks_exact(3 * factor).enumerate() {
                for pixel in pixels.chunks_exact(3) {
                    for channel in 0..3 {
                        sums[3 * i + channel] += u32::from(pixel[channel]);
                    }
                }
            }
        }
        let n = (factor * factor) as u32;
        small.extend(sums.iter().map(|&s| ((s + n / 2) / n) as u8));
    }
    small
}

#[cfg(test)]
mod tests {
    use super::super::check::{pixel, sample};
    use super::*;

    #[test]
    fn has_the_marks_where_they_belong() {
        let bytes = sample().png("Ö: 95 % – what is seen").unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let info = reader.info();
        assert_eq!((info.width, info.height, info.color_type), (120, 60, png::ColorType::Rgb));
        assert_eq!(pixel(&bytes, 20, 20), [200, 0, 0]);
        assert_eq!(pixel(&bytes, 5, 5), [255, 255, 255]);
        assert_eq!(pixel(&bytes, 50, 20), [0, 0, 200]);
        assert_eq!(caption_of(&bytes).as_deref(), Some("Ö: 95 % – what is seen"));
        assert_eq!((caption_of(&bytes[..40]), caption_of(b"no image")), (None, None));
    }

    #[test]
    fn tiles_keep_their_pixels_and_shape() {
        let mut canvas = Canvas::new(60.0, 30.0);
        let color = Tile { height: 1, width: 2, channels: 3, pixels: vec![250, 0, 0, 0, 0, 250] };
        let gray = Tile { height: 2, width: 2, channels: 1, pixels: vec![0, 80, 160, 240] };
        canvas.tile(5.0, 5.0, 20.0, &color);
        canvas.tile(35.0, 5.0, 20.0, &gray);
        let png = canvas.png("").unwrap();
        // Twice as wide as high: white above and below.
        let seen =
            [(8, 8), (8, 12), (14, 18), (16, 12), (37, 7), (53, 7), (37, 23), (53, 23)].map(|(x, y)| pixel(&png, x, y));
        let white = [255; 3];
        let (red, blue) = ([250, 0, 0], [0, 0, 250]);
        assert_eq!(seen, [white, red, red, blue, [0; 3], [80; 3], [160; 3], [240; 3]]);
    }
}
