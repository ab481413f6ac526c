//! A picture as a list of marks in pixels, drawn to PNG and SVG by the same code.
//!
//! Figures are functions from rows to a list of marks, so tests can ask what was drawn and whether texts overlap. Plotters
//! rasterises the list and writes the SVG. It rounds coordinates to whole pixels and does not smooth thick lines, hence the two
//! scales below: the bitmap is drawn large and averaged down, the SVG is drawn large and given a smaller nominal size. Glyphs of
//! the bitmap are placed here, for plotters ignores their side bearings. Small images ([`Tile`]) become `<image>` elements of the
//! SVG, each with its pixels as a PNG.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gim_core::{Error, Result};
use plotters::prelude::*;
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Bitmap pixels per pixel of the finished PNG, per direction.
const SUPERSAMPLE: u32 = 4;
/// SVG user units per nominal pixel.
const SVG_UNITS: u32 = 10;
/// The committed font, as a CSS list: an SVG viewer without DejaVu takes a relative of nearly equal width.
const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";
/// Plotters divides a font size by this before it writes it into an SVG.
const SVG_SIZE_RATIO: f64 = 1.24;

/// An opaque colour. Faint ink is mixed with white beforehand: overlapping translucent segments would darken at the joints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink(pub(super) u8, pub(super) u8, pub(super) u8);

impl Ink {
    pub(super) const WHITE: Self = Self(255, 255, 255);

    /// This colour mixed with white; `strength` 1 leaves it as it is.
    pub(super) fn faint(self, strength: f64) -> Self {
        let mix = |c: u8| (255.0 - (255.0 - f64::from(c)) * strength).round() as u8;
        Self(mix(self.0), mix(self.1), mix(self.2))
    }

    fn rgb(self) -> RGBColor {
        RGBColor(self.0, self.1, self.2)
    }
}

/// Which end of a text its position names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Type {
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) ink: Ink,
}

impl Type {
    pub(super) const fn new(size: f64, ink: Ink) -> Self {
        Self { size, bold: false, ink }
    }

    pub(super) const fn bold(size: f64, ink: Ink) -> Self {
        Self { size, bold: true, ink }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Mark {
    Polygon { points: Vec<(f64, f64)>, ink: Ink, opacity: f64 },
    Line { points: Vec<(f64, f64)>, ink: Ink, width: f64 },
    Disc { at: (f64, f64), radius: f64, ink: Ink },
    Text { at: (f64, f64), align: Align, upward: bool, text: String, look: Type },
}

/// A small image to be shown enlarged, its pixels as squares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows from the top, pixels from the left, channels of a pixel side by side: height·width·channels numbers.
    pub pixels: Vec<u8>,
}

impl Tile {
    /// Refuses a tile without pixels, with other channels than it can have, or with too few or too many numbers.
    pub(super) fn check(&self, figure: &str) -> Result<()> {
        let right = self.height.checked_mul(self.width).and_then(|n| n.checked_mul(self.channels));
        if !self.pixels.is_empty() && matches!(self.channels, 1 | 3) && right == Some(self.pixels.len()) {
            return Ok(());
        }
        let what = format_args!(
            "a tile has {} numbers for {} × {} pixels of {} channels",
            self.pixels.len(),
            self.height,
            self.width,
            self.channels
        );
        Err(Error::config(format_args!("figure '{figure}'"), what, "give whole tiles of 1 or 3 channels"))
    }

    fn rgb(&self, row: usize, column: usize) -> RGBColor {
        let pixel = &self.pixels[(row * self.width + column) * self.channels..][..self.channels];
        let last = self.channels - 1;
        RGBColor(pixel[0], pixel[last.min(1)], pixel[last])
    }

    fn png(&self) -> Result<Vec<u8>> {
        let color = if self.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb };
        encode_png(self.width as u32, self.height as u32, color, &self.pixels, None)
    }
}

/// A tile and the area it fills.
#[derive(Debug, Clone, PartialEq)]
struct Placed {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    tile: Tile,
}

/// A picture of `width` × `height` pixels, the origin at the top left.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    width: u32,
    height: u32,
    marks: Vec<Mark>,
    /// Above all marks: plotters writes no image into an SVG, so they are added at its end.
    tiles: Vec<Placed>,
}

impl Picture {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width: width.ceil() as u32, height: height.ceil() as u32, marks: Vec::new(), tiles: Vec::new() }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    pub(super) fn polygon(&mut self, points: Vec<(f64, f64)>, ink: Ink) {
        self.veil(points, ink, 1.0);
    }

    /// A translucent polygon: what is below shows through.
    pub(super) fn veil(&mut self, points: Vec<(f64, f64)>, ink: Ink, opacity: f64) {
        self.marks.push(Mark::Polygon { points, ink, opacity });
    }

    pub(super) fn rect(&mut self, left: f64, top: f64, width: f64, height: f64, ink: Ink) {
        let (right, bottom) = (left + width, top + height);
        self.polygon(vec![(left, top), (right, top), (right, bottom), (left, bottom)], ink);
    }

    /// A filled rectangle with an outline of `stroke` inside its edges.
    pub(super) fn boxed(&mut self, area: (f64, f64, f64, f64), fill: Ink, edge: Ink, stroke: f64) {
        let (left, top, width, height) = area;
        self.rect(left, top, width, height, edge);
        self.rect(left + stroke, top + stroke, width - 2.0 * stroke, height - 2.0 * stroke, fill);
    }

    /// A line through `points`; one point is a dot of the line's width.
    pub(super) fn line(&mut self, points: Vec<(f64, f64)>, ink: Ink, width: f64) {
        match points[..] {
            [] => {}
            [at] => self.disc(at, width / 2.0, ink),
            _ => self.marks.push(Mark::Line { points, ink, width }),
        }
    }

    pub(super) fn dashes(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink, width: f64, on: f64, off: f64) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        let at = |d: f64| (from.0 + dx * d / length, from.1 + dy * d / length);
        let mut start = 0.0;
        while start < length {
            self.line(vec![at(start), at((start + on).min(length))], ink, width);
            start += on + off;
        }
    }

    pub(super) fn disc(&mut self, at: (f64, f64), radius: f64, ink: Ink) {
        self.marks.push(Mark::Disc { at, radius, ink });
    }

    /// A horizontal text; `at.1` is its baseline.
    pub(super) fn text(&mut self, at: (f64, f64), align: Align, text: impl Into<String>, look: Type) {
        self.marks.push(Mark::Text { at, align, upward: false, text: text.into(), look });
    }

    /// A text that reads upward; `at.0` is its baseline.
    pub(super) fn text_upward(&mut self, at: (f64, f64), align: Align, text: impl Into<String>, look: Type) {
        self.marks.push(Mark::Text { at, align, upward: true, text: text.into(), look });
    }

    /// Shows a tile as large as fits into a square of this side, in its middle; tiles lie above everything else.
    pub(super) fn tile(&mut self, left: f64, top: f64, side: f64, tile: &Tile) {
        let (h, w) = (tile.height as f64, tile.width as f64);
        let (width, height) = (side * (w / h).min(1.0), side * (h / w).min(1.0));
        let (left, top) = (left + (side - width) / 2.0, top + (side - height) / 2.0);
        self.tiles.push(Placed { left, top, width, height, tile: tile.clone() });
    }

    /// The picture as a PNG file, RGB, with its caption as a text of the file; see [`caption_of`].
    pub fn png(&self, caption: &str) -> Result<Vec<u8>> {
        let (w, h) = (self.width * SUPERSAMPLE, self.height * SUPERSAMPLE);
        let mut large = vec![255u8; (w * h * 3) as usize];
        {
            let area = BitMapBackend::with_buffer(&mut large, (w, h)).into_drawing_area();
            self.draw(&area, f64::from(SUPERSAMPLE), Medium::Bitmap)?;
            for placed in &self.tiles {
                placed.draw(&area, f64::from(SUPERSAMPLE))?;
            }
            area.present().map_err(broken)?;
        }
        let small = average_down(&large, w as usize, SUPERSAMPLE as usize);
        encode_png(self.width, self.height, png::ColorType::Rgb, &small, Some(caption))
    }

    /// The picture as an SVG document.
    pub fn svg(&self) -> Result<String> {
        let (w, h) = (self.width * SVG_UNITS, self.height * SVG_UNITS);
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (w, h)).into_drawing_area();
            area.fill(&plotters::style::WHITE).map_err(broken)?;
            self.draw(&area, f64::from(SVG_UNITS), Medium::Svg)?;
            area.present().map_err(broken)?;
        }
        let (nominal, real) = (format!("width=\"{w}\" height=\"{h}\""), (self.width, self.height));
        let mut text = text.replacen(&nominal, &format!("width=\"{}\" height=\"{}\"", real.0, real.1), 1);
        if !self.tiles.is_empty() {
            let end = text.rfind("</svg>").ok_or_else(|| broken("the SVG has no end"))?;
            let images = self.tiles.iter().map(|p| p.svg(f64::from(SVG_UNITS))).collect::<Result<String>>()?;
            text.insert_str(end, &images);
        }
        Ok(text)
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
        scale: f64,
        medium: Medium,
    ) -> Result<()> {
        let px = |(x, y): (f64, f64)| ((x * scale).round() as i32, (y * scale).round() as i32);
        for mark in &self.marks {
            match mark {
                Mark::Polygon { points, ink, opacity } => {
                    let points: Vec<_> = points.iter().copied().map(px).collect();
                    let fill = ink.rgb().mix(*opacity).filled();
                    area.draw(&plotters::element::Polygon::new(points, fill)).map_err(broken)?;
                }
                Mark::Line { points, ink, width } if medium == Medium::Svg => {
                    let points: Vec<_> = points.iter().copied().map(px).collect();
                    let stroke = ink.rgb().stroke_width((width * scale).round() as u32);
                    area.draw(&PathElement::new(points, stroke)).map_err(broken)?;
                }
                Mark::Line { points, ink, width } => {
                    // Plotters turns a thick path into one polygon, which overlaps itself where a curve jags: draw the
                    // segments one by one, with discs at the joints.
                    let half = width * scale / 2.0;
                    let scaled: Vec<_> = points.iter().map(|&(x, y)| (x * scale, y * scale)).collect();
                    for ends in scaled.windows(2) {
                        if let Some(corners) = thick_segment(ends[0], ends[1], half) {
                            let corners = corners.map(|(x, y)| (x.round() as i32, y.round() as i32)).to_vec();
                            area.draw(&plotters::element::Polygon::new(corners, ink.rgb().filled())).map_err(broken)?;
                        }
                    }
                    for &(x, y) in &scaled[1..scaled.len() - 1] {
                        let at = (x.round() as i32, y.round() as i32);
                        area.draw(&Circle::new(at, half.round() as i32, ink.rgb().filled())).map_err(broken)?;
                    }
                }
                Mark::Disc { at, radius, ink } => {
                    let radius = (radius * scale).round() as i32;
                    area.draw(&Circle::new(px(*at), radius, ink.rgb().filled())).map_err(broken)?;
                }
                Mark::Text { at, align, upward, text, look } => match medium {
                    Medium::Bitmap => draw_glyphs(area, scale, *at, *align, *upward, text, *look)?,
                    Medium::Svg => write_text(area, scale, *at, *align, *upward, text, *look)?,
                },
            }
        }
        Ok(())
    }
}

impl Placed {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, plotters::coord::Shift>, scale: f64) -> Result<()> {
        let edge = |start: f64, length: f64, part: usize, of: usize| {
            ((start + length * part as f64 / of as f64) * scale).round() as i32
        };
        for row in 0..self.tile.height {
            for column in 0..self.tile.width {
                let x = |c| edge(self.left, self.width, c, self.tile.width);
                let y = |r| edge(self.top, self.height, r, self.tile.height);
                // In bitmaps the far edges are outside: squares meet without overlap or gap.
                let corners = [(x(column), y(row)), (x(column + 1), y(row + 1))];
                let square = Rectangle::new(corners, self.tile.rgb(row, column).filled());
                area.draw(&square).map_err(broken)?;
            }
        }
        Ok(())
    }

    fn svg(&self, scale: f64) -> Result<String> {
        let [x, y, width, height] = [self.left, self.top, self.width, self.height].map(|v| (v * scale).round());
        let data = STANDARD.encode(self.tile.png()?);
        // Older viewers know `optimizeSpeed` only; later declarations win where they are understood.
        let style = "image-rendering:optimizeSpeed;image-rendering:pixelated";
        Ok(format!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
             style=\"{style}\" href=\"data:image/png;base64,{data}\"/>\n"
        ))
    }
}

/// Keyword of the caption among a PNG file's texts.
const CAPTION: &str = "Description";

/// The caption in a PNG file that [`Picture::png`] made.
pub fn caption_of(png: &[u8]) -> Option<String> {
    let reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().ok()?;
    reader.info().utf8_text.iter().find(|t| t.keyword == CAPTION)?.get_text().ok()
}

fn encode_png(width: u32, height: u32, color: png::ColorType, pixels: &[u8], caption: Option<&str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    if let Some(caption) = caption {
        encoder.add_itxt_chunk(CAPTION.into(), caption.into()).map_err(broken)?;
    }
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(broken)?;
    writer.write_image_data(pixels).map_err(broken)?;
    writer.finish().map_err(broken)?;
    Ok(bytes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Bitmap,
    Svg,
}

/// Draws a text into a bitmap, glyph by glyph, its baseline through `at`.
fn draw_glyphs<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    scale: f64,
    at: (f64, f64),
    align: Align,
    upward: bool,
    text: &str,
    look: Type,
) -> Result<()> {
    let font = font(look.bold)?.as_scaled(glyph_scale(look.bold, look.size * scale)?);
    let mut along = match align {
        Align::Start => 0.0,
        Align::Middle => -text_width(text, look)? * scale / 2.0,
        Align::End => -text_width(text, look)? * scale,
    } as f32;
    let (x, y) = ((at.0 * scale) as f32, (at.1 * scale) as f32);
    for letter in text.chars() {
        let mut glyph = font.scaled_glyph(letter);
        let advance = font.h_advance(glyph.id);
        // An upward text is drawn horizontally from the origin and its pixels are turned.
        glyph.position = if upward { point(along, 0.0) } else { point(x + along, y) };
        along += advance;
        let Some(outline) = font.outline_glyph(glyph) else { continue };
        let corner = outline.px_bounds().min;
        let mut result = Ok(());
        outline.draw(|column, row, coverage| {
            let (px, py) = (corner.x as i32 + column as i32, corner.y as i32 + row as i32);
            let (px, py) = if upward { (x.round() as i32 + py, y.round() as i32 - px) } else { (px, py) };
            let color = look.ink.rgb().mix(f64::from(coverage.min(1.0)));
            if result.is_ok() {
                result = area.draw_pixel((px, py), &color).map_err(broken);
            }
        });
        result?;
    }
    Ok(())
}

/// Writes a text into an SVG, its baseline through `at`.
fn write_text<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    scale: f64,
    at: (f64, f64),
    align: Align,
    upward: bool,
    text: &str,
    look: Type,
) -> Result<()> {
    let em = look.size * scale;
    let anchor = match align {
        Align::Start => HPos::Left,
        Align::Middle => HPos::Center,
        Align::End => HPos::Right,
    };
    // Plotters writes the position of a text's top and shifts the baseline down by this part of an em.
    let baseline = 0.76 * em;
    let (x, y) = (at.0 * scale, at.1 * scale);
    let (transform, x, y) = match upward {
        false => (FontTransform::None, x, y - baseline),
        true => (FontTransform::Rotate270, x - baseline, y),
    };
    let style = if look.bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::Name(FAMILY), em * SVG_SIZE_RATIO, style).transform(transform);
    let ink = look.ink.rgb();
    let style = TextStyle::from(font).color(&ink).pos(Pos::new(anchor, VPos::Top));
    area.draw(&Text::new(text, (x.round() as i32, y.round() as i32), style)).map_err(broken)
}

/// The corners of a segment `2·half` wide; none for a segment without length.
fn thick_segment(a: (f64, f64), b: (f64, f64), half: f64) -> Option<[(f64, f64); 4]> {
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

/// Width of a text in pixels.
pub(super) fn text_width(text: &str, look: Type) -> Result<f64> {
    let font = font(look.bold)?.as_scaled(glyph_scale(look.bold, look.size)?);
    Ok(text.chars().map(|letter| f64::from(font.h_advance(font.glyph_id(letter)))).sum())
}

/// Breaks a text into lines no wider than `width` (a longer word stays whole).
pub(super) fn wrap(text: &str, look: Type, width: f64) -> Result<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), look)? <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    Ok(lines)
}

/// A text cut to `width` with an ellipsis.
pub(super) fn shorten(text: &str, look: Type, width: f64) -> Result<String> {
    if text_width(text, look)? <= width {
        return Ok(text.to_owned());
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let cut = format!("{}…", kept.iter().collect::<String>().trim_end());
        if text_width(&cut, look)? <= width {
            return Ok(cut);
        }
    }
    Ok(String::new())
}

/// The committed font: no figure depends on what a machine has installed.
fn font(bold: bool) -> Result<&'static FontRef<'static>> {
    static FONTS: OnceLock<[Option<FontRef<'static>>; 2]> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        [
            FontRef::try_from_slice(include_bytes!("../../assets/DejaVuSans.subset.ttf")).ok(),
            FontRef::try_from_slice(include_bytes!("../../assets/DejaVuSans-Bold.subset.ttf")).ok(),
        ]
    });
    fonts[usize::from(bold)].as_ref().ok_or_else(|| broken("the built-in font cannot be read"))
}

/// The scale that gives an em of so many pixels: the rasteriser counts ascent to descent.
fn glyph_scale(bold: bool, em: f64) -> Result<PxScale> {
    let font = font(bold)?;
    let per_em = font.height_unscaled() / font.units_per_em().unwrap_or(2048.0);
    Ok(PxScale::from(em as f32 * per_em))
}

/// Drawing in memory cannot fail for anything the user did.
fn broken(cause: impl std::fmt::Display) -> Error {
    Error::config("figure", cause, "this is a defect of the program; please report it")
}

#[cfg(test)]
impl Picture {
    /// Every text drawn, in order.
    pub(super) fn texts(&self) -> Vec<&str> {
        self.marks
            .iter()
            .filter_map(|m| if let Mark::Text { text, .. } = m { Some(text.as_str()) } else { None })
            .collect()
    }

    /// Panics when two texts overlap, a text leaves the picture or is too small to read, a tile hides a text or another tile.
    pub(super) fn check_texts(&self) {
        let mut boxes: Vec<(f64, f64, f64, f64, &str)> = Vec::new();
        for mark in &self.marks {
            let Mark::Text { at: (x, y), align, upward, text, look } = mark else { continue };
            assert!(look.size >= 14.0, "{text} is too small");
            let width = text_width(text, *look).unwrap();
            let before = match align {
                Align::Start => 0.0,
                Align::Middle => width / 2.0,
                Align::End => width,
            };
            let (up, down) = (0.74 * look.size, 0.2 * look.size);
            let area = match upward {
                false => (x - before, y - up, x - before + width, y + down),
                true => (x - up, y + before - width, x + down, y + before),
            };
            let (w, h) = (f64::from(self.width), f64::from(self.height));
            assert!(area.0 >= 0.0 && area.1 >= 0.0 && area.2 <= w && area.3 <= h, "'{text}' leaves the picture");
            for other in &boxes {
                let apart = area.2 <= other.0 || other.2 <= area.0 || area.3 <= other.1 || other.3 <= area.1;
                assert!(apart, "'{text}' overlaps '{}'", other.4);
            }
            boxes.push((area.0, area.1, area.2, area.3, text));
        }
        for (i, tile) in self.tiles.iter().enumerate() {
            let (right, bottom) = (tile.left + tile.width, tile.top + tile.height);
            let (w, h) = (f64::from(self.width), f64::from(self.height));
            assert!(tile.left >= 0.0 && tile.top >= 0.0 && right <= w && bottom <= h, "tile {i} leaves the picture");
            let over = |area: (f64, f64, f64, f64)| {
                area.0 < right && tile.left < area.2 && area.1 < bottom && tile.top < area.3
            };
            for other in &boxes {
                assert!(!over((other.0, other.1, other.2, other.3)), "tile {i} hides '{}'", other.4);
            }
            for other in &self.tiles[..i] {
                let area = (other.left, other.top, other.left + other.width, other.top + other.height);
                assert!(!over(area), "tile {i} hides another");
            }
        }
    }

    /// Number of tiles shown.
    pub(super) fn n_tiles(&self) -> usize {
        self.tiles.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Picture {
        let mut picture = Picture::new(120.0, 60.0);
        picture.rect(10.0, 10.0, 20.0, 20.0, Ink(200, 0, 0));
        picture.line(vec![(40.0, 10.0), (80.0, 50.0), (100.0, 10.0)], Ink(0, 0, 200), 2.0);
        picture.text((60.0, 30.0), Align::Middle, "a < b", Type::new(14.0, Ink(0, 0, 0)));
        picture
    }

    #[test]
    fn png_has_the_marks_where_they_belong() {
        let bytes = sample().png("Ö: 95 % – what is seen").unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, info.color_type), (120, 60, png::ColorType::Rgb));
        let at = |x: usize, y: usize| &pixels[3 * (y * 120 + x)..][..3];
        assert_eq!(at(20, 20), [200, 0, 0]);
        assert_eq!(at(5, 5), [255, 255, 255]);
        assert_eq!(at(50, 20), [0, 0, 200]);
        assert_eq!(caption_of(&bytes).as_deref(), Some("Ö: 95 % – what is seen"));
        assert_eq!((caption_of(&bytes[..40]), caption_of(b"no picture")), (None, None));
    }

    #[test]
    fn svg_has_its_nominal_size_and_escapes_text() {
        let text = sample().svg().unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let root = document.root_element();
        assert_eq!((root.attribute("width"), root.attribute("height")), (Some("120"), Some("60")));
        assert_eq!(root.attribute("viewBox"), Some("0 0 1200 600"));
        let texts: Vec<_> = document.descendants().filter(|n| n.has_tag_name("text")).collect();
        assert_eq!(texts[0].text().unwrap().trim(), "a < b");
    }

    fn at(bytes: &[u8], x: usize, y: usize) -> [u8; 3] {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let start = 3 * (y * info.width as usize + x);
        [pixels[start], pixels[start + 1], pixels[start + 2]]
    }

    #[test]
    fn tiles_keep_their_pixels_and_shape() {
        let mut picture = Picture::new(60.0, 30.0);
        let colour = Tile { height: 1, width: 2, channels: 3, pixels: vec![250, 0, 0, 0, 0, 250] };
        let grey = Tile { height: 2, width: 2, channels: 1, pixels: vec![0, 80, 160, 240] };
        picture.tile(5.0, 5.0, 20.0, &colour);
        picture.tile(35.0, 5.0, 20.0, &grey);
        let png = picture.png("").unwrap();
        // Twice as wide as high: white above and below.
        let seen =
            [(8, 8), (8, 12), (14, 18), (16, 12), (37, 7), (53, 7), (37, 23), (53, 23)].map(|(x, y)| at(&png, x, y));
        let white = [255; 3];
        let (red, blue) = ([250, 0, 0], [0, 0, 250]);
        assert_eq!(seen, [white, red, red, blue, [0; 3], [80; 3], [160; 3], [240; 3]]);

        let svg = picture.svg().unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let images: Vec<_> = document.descendants().filter(|n| n.has_tag_name("image")).collect();
        assert_eq!(images.len(), 2);
        let place = ["x", "y", "width", "height"].map(|name| images[0].attribute(name).unwrap());
        assert_eq!(place, ["50", "100", "200", "100"]);
        let data = format!("data:image/png;base64,{}", STANDARD.encode(colour.png().unwrap()));
        assert_eq!(images[0].attribute("href"), Some(data.as_str()));
    }

    #[test]
    fn tiles_must_be_whole() {
        let tile = Tile { height: 2, width: 2, channels: 1, pixels: vec![0; 4] };
        tile.check("f").unwrap();
        let error = Tile { channels: 3, ..tile.clone() }.check("f").unwrap_err().to_string();
        assert!(error.contains("4 numbers for 2 × 2 pixels of 3 channels"), "{error}");
        assert!(Tile { width: 1, channels: 2, ..tile.clone() }.check("f").is_err());
        assert!(Tile { height: 0, pixels: vec![], ..tile }.check("f").is_err());
    }

    #[test]
    fn wrapping_keeps_every_word() {
        let look = Type::new(14.0, Ink(0, 0, 0));
        let text = "one two three fourteen fifteen";
        let lines = wrap(text, look, 100.0).unwrap();
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), text);
        assert!(lines.iter().all(|l| text_width(l, look).unwrap() <= 100.0));
        assert!(shorten(text, look, 80.0).unwrap().ends_with('…'));
    }
}
