//! The drawing surface: a list of marks in pixels, written to PNG and SVG by the same code, and to PDF.
//!
//! A figure is a list of marks, so a test can ask what was drawn and whether texts overlap.
//! Plotters writes the files. Two things about it shape this module:
//!
//! - It rounds coordinates to whole pixels and does not smooth thick lines. The bitmap is
//!   therefore drawn large and averaged down; the SVG is drawn large and given a smaller nominal
//!   size.
//! - It ignores the side bearings of glyphs and writes no image into an SVG. Glyphs of the bitmap
//!   and [`Tile`]s of the SVG are placed here.

#[cfg(test)]
mod check;
mod pdf;
mod png;
mod svg;
mod text;
mod tile;

use gim_core::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::{Circle, DrawingArea, DrawingBackend, RGBColor};
use plotters::style::Color as _;

pub(crate) use png::caption_of;
use text::TextMark;
pub(super) use text::{Align, TextStyle, shorten, text_width, wrap};
use tile::PlacedTile;
pub(crate) use tile::Tile;

/// An opaque color: red, green, blue. Faint colors are mixed with white beforehand, because
/// overlapping translucent segments would darken at the joints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Color(pub(super) u8, pub(super) u8, pub(super) u8);

impl Color {
    pub(super) const WHITE: Self = Self(255, 255, 255);
    pub(super) const BLACK: Self = Self(0, 0, 0);

    /// This color mixed with white; `strength` 1 leaves it as it is.
    pub(super) fn faint(self, strength: f64) -> Self {
        let mix = |c: u8| (255.0 - (255.0 - f64::from(c)) * strength).round() as u8;
        Self(mix(self.0), mix(self.1), mix(self.2))
    }

    fn rgb(self) -> RGBColor {
        RGBColor(self.0, self.1, self.2)
    }
}

/// A point in pixels: x to the right, y downward.
type Point = (f64, f64);

#[derive(Debug, Clone, PartialEq)]
enum Mark {
    Polygon { points: Vec<Point>, color: Color, opacity: f64 },
    Line { points: Vec<Point>, color: Color, width: f64 },
    Disc { at: Point, radius: f64, color: Color },
    Text(TextMark),
}

/// A drawing surface of `width` × `height` pixels, the origin at the top left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Canvas {
    width: u32,
    height: u32,
    marks: Vec<Mark>,
    /// Above all marks: plotters writes no image into an SVG, so they are added at its end.
    tiles: Vec<PlacedTile>,
    /// Shown by an SVG viewer while the pointer is over them.
    hints: Vec<Hint>,
}

/// A text for a disc of the drawing.
#[derive(Debug, Clone, PartialEq)]
struct Hint {
    at: Point,
    text: String,
}

impl Canvas {
    /// An empty canvas; fractions of a pixel are rounded up.
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self {
            width: width.ceil() as u32,
            height: height.ceil() as u32,
            marks: Vec::new(),
            tiles: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Width and height in pixels.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// A filled polygon.
    pub(super) fn polygon(&mut self, points: Vec<Point>, color: Color) {
        self.translucent_polygon(points, color, 1.0);
    }

    /// A filled polygon of `opacity` 0 to 1: what is below shows through.
    pub(super) fn translucent_polygon(&mut self, points: Vec<Point>, color: Color, opacity: f64) {
        self.marks.push(Mark::Polygon { points, color, opacity });
    }

    /// A filled rectangle.
    pub(super) fn rect(&mut self, left: f64, top: f64, width: f64, height: f64, color: Color) {
        let (right, bottom) = (left + width, top + height);
        self.polygon(vec![(left, top), (right, top), (right, bottom), (left, bottom)], color);
    }

    /// A filled rectangle (left, top, width, height) with an edge `stroke` wide inside its area.
    pub(super) fn framed_rect(&mut self, area: (f64, f64, f64, f64), fill: Color, edge: Color, stroke: f64) {
        let (left, top, width, height) = area;
        self.rect(left, top, width, height, edge);
        self.rect(left + stroke, top + stroke, width - 2.0 * stroke, height - 2.0 * stroke, fill);
    }

    /// The outline of a rectangle (left, top, width, height), one pixel wide.
    pub(super) fn outline(&mut self, (left, top, width, height): (f64, f64, f64, f64), color: Color) {
        let (right, bottom) = (left + width, top + height);
        for ends in [
            [(left, top), (right, top)],
            [(right, top), (right, bottom)],
            [(left, bottom), (right, bottom)],
            [(left, top), (left, bottom)],
        ] {
            self.line(ends.to_vec(), color, 1.0);
        }
    }

    /// A line through `points`; one point is a dot of the line's width.
    pub(super) fn line(&mut self, points: Vec<Point>, color: Color, width: f64) {
        match points[..] {
            [] => {}
            [at] => self.disc(at, width / 2.0, color),
            _ => self.marks.push(Mark::Line { points, color, width }),
        }
    }

    /// A straight dashed line: strokes `on` pixels long, gaps `off` pixels long.
    pub(super) fn dashes(&mut self, from: Point, to: Point, color: Color, width: f64, on: f64, off: f64) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        let at = |d: f64| (from.0 + dx * d / length, from.1 + dy * d / length);
        let mut start = 0.0;
        while start < length {
            self.line(vec![at(start), at((start + on).min(length))], color, width);
            start += on + off;
        }
    }

    /// A dashed line through points, its strokes and gaps running on around corners; a disc for one
    /// point.
    pub(super) fn dashed_line(&mut self, points: &[Point], color: Color, width: f64, on: f64, off: f64) {
        if let [at] = *points {
            self.disc(at, 1.5 * width, color);
        }
        let mut passed = 0.0;
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            let at = |d: f64| (from.0 + dx * d / length, from.1 + dy * d / length);
            let mut start = 0.0;
            while start < length {
                let phase = passed % (on + off);
                let left = if phase < on { on - phase } else { on + off - phase };
                // However small what is left of a stroke, the line goes on.
                let end = (start + left.max(0.01)).min(length);
                if phase < on {
                    self.line(vec![at(start), at(end)], color, width);
                }
                passed += end - start;
                start = end;
            }
        }
    }

    /// A filled disc.
    pub(super) fn disc(&mut self, at: Point, radius: f64, color: Color) {
        self.marks.push(Mark::Disc { at, radius, color });
    }

    /// A horizontal text; `at.1` is its baseline.
    pub(super) fn text(&mut self, at: Point, align: Align, text: impl Into<String>, style: TextStyle) {
        self.marks.push(Mark::Text(TextMark { at, align, upward: false, text: text.into(), style }));
    }

    /// A text that reads upward; `at.0` is its baseline.
    pub(super) fn text_upward(&mut self, at: Point, align: Align, text: impl Into<String>, style: TextStyle) {
        self.marks.push(Mark::Text(TextMark { at, align, upward: true, text: text.into(), style }));
    }

    /// Shows a tile as large as fits into a square of this side, in its middle. Tiles lie above
    /// everything else.
    pub(super) fn tile(&mut self, left: f64, top: f64, side: f64, tile: &Tile) {
        self.tiles.push(PlacedTile::in_square(left, top, side, tile));
    }

    /// Tells the value at a point to the pointer: a title in the SVG, nothing in a PNG.
    pub(super) fn hint(&mut self, at: Point, text: impl Into<String>) {
        self.hints.push(Hint { at, text: text.into() });
    }

    /// Draws all marks, `scale` units of the back end to the pixel.
    fn draw<B: BackEnd>(&self, area: &Area<B>, scale: f64) -> Result<()> {
        let whole = |(x, y): Point| ((x * scale).round() as i32, (y * scale).round() as i32);
        for mark in &self.marks {
            match mark {
                Mark::Polygon { points, color, opacity } => {
                    let points: Vec<_> = points.iter().copied().map(whole).collect();
                    let fill = color.rgb().mix(*opacity).filled();
                    area.draw(&plotters::element::Polygon::new(points, fill)).map_err(defect)?;
                }
                Mark::Line { points, color, width } => {
                    let points: Vec<_> = points.iter().map(|&(x, y)| (x * scale, y * scale)).collect();
                    B::paint_line(area, &points, *color, width * scale)?;
                }
                Mark::Disc { at, radius, color } => {
                    let radius = (radius * scale).round() as i32;
                    area.draw(&Circle::new(whole(*at), radius, color.rgb().filled())).map_err(defect)?;
                }
                Mark::Text(text) => B::paint_text(area, scale, text)?,
            }
        }
        Ok(())
    }
}

/// What a back end draws on.
type Area<B> = DrawingArea<B, Shift>;

/// What plotters' back ends do differently from what figures need, done here for each.
trait BackEnd: DrawingBackend + Sized {
    /// Draws a line through two or more points; points and width in units of the back end.
    fn paint_line(area: &Area<Self>, points: &[Point], color: Color, width: f64) -> Result<()>;

    /// Draws a text, `scale` units of the back end to the pixel.
    fn paint_text(area: &Area<Self>, scale: f64, text: &TextMark) -> Result<()>;
}

/// An error of drawing in memory: no input can cause it.
fn defect(cause: impl std::fmt::Display) -> Error {
    Error::internal("figure", cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strokes and gaps go on around a corner, and points that lie close get no stroke each.
    #[test]
    fn dashes_follow_a_line() {
        let strokes = |points: &[Point]| {
            let mut canvas = Canvas::new(100.0, 100.0);
            canvas.dashed_line(points, Color::BLACK, 1.0, 6.0, 4.0);
            canvas.marks.len()
        };
        assert_eq!(strokes(&[(0.0, 0.0), (50.0, 0.0)]), 5);
        assert_eq!(strokes(&[(0.0, 0.0), (8.0, 0.0), (8.0, 42.0)]), 5);
        let close: Vec<Point> = (0..=200).map(|i| (0.25 * f64::from(i), 0.0)).collect();
        assert_eq!(strokes(&close), 5 * 24);
        assert_eq!((strokes(&[]), strokes(&[(1.0, 1.0)])), (0, 1));
    }
}
