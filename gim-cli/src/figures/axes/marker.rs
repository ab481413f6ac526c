//! Markers, error bars, and the samples of a legend.

use crate::figures::canvas::{Canvas, Color};

/// The shape of a marker: beside the color, a second way to tell series apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Down,
}

pub(crate) const SHAPES: [Shape; 5] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Down];

impl Shape {
    /// Draws the marker, about as large as a disc of this radius in pixels; a hollow one is white
    /// inside.
    pub(crate) fn draw(self, canvas: &mut Canvas, at: (f64, f64), radius: f64, color: Color, hollow: bool) {
        self.fill(canvas, at, radius, color);
        if hollow {
            self.fill(canvas, at, radius * 0.58, Color::WHITE);
        }
    }

    fn fill(self, canvas: &mut Canvas, (x, y): (f64, f64), r: f64, color: Color) {
        let corners: &[(f64, f64)] = match self {
            Self::Circle => return canvas.disc((x, y), r, color),
            Self::Square => &[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
            Self::Triangle => &[(0.0, -1.25), (1.12, 0.75), (-1.12, 0.75)],
            Self::Diamond => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
            Self::Down => &[(0.0, 1.25), (1.12, -0.75), (-1.12, -0.75)],
        };
        canvas.polygon(corners.iter().map(|&(dx, dy)| (x + dx * r, y + dy * r)).collect(), color);
    }
}

/// Draws a vertical error bar with caps, from `low` to `high` in pixels.
pub(crate) fn error_bar(canvas: &mut Canvas, low: (f64, f64), high: (f64, f64), color: Color) {
    canvas.line(vec![low, high], color, 1.6);
    for (x, y) in [low, high] {
        canvas.line(vec![(x - 4.5, y), (x + 4.5, y)], color, 1.6);
    }
}

/// Width of a sample in the legend, in pixels.
pub(super) const SAMPLE_WIDTH: f64 = 32.0;

/// How a series looks, in the panel and in the legend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sample {
    Line(Color),
    Dashed(Color),
    Dotted(Color),
    Marked(Color, Shape),
    MarkedDashed(Color, Shape),
    Marker(Color, Shape),
}

impl Sample {
    /// Draws a line of this kind; a marker alone has none.
    pub(crate) fn stroke(self, canvas: &mut Canvas, from: (f64, f64), to: (f64, f64)) {
        match self {
            Self::Line(color) | Self::Marked(color, _) => canvas.line(vec![from, to], color, 2.0),
            Self::Dashed(color) | Self::MarkedDashed(color, _) => canvas.dashes(from, to, color, 1.8, 7.0, 5.0),
            Self::Dotted(color) => canvas.dashes(from, to, color, 1.8, 2.0, 4.0),
            Self::Marker(..) => {}
        }
    }

    /// Draws the sample for the legend, [`SAMPLE_WIDTH`] wide.
    pub(super) fn draw(self, canvas: &mut Canvas, left: f64, middle: f64) {
        self.stroke(canvas, (left, middle), (left + SAMPLE_WIDTH, middle));
        let at = (left + SAMPLE_WIDTH / 2.0, middle);
        match self {
            Self::Marked(color, shape) | Self::MarkedDashed(color, shape) | Self::Marker(color, shape) => {
                shape.draw(canvas, at, 5.0, color, false);
            }
            Self::Line(_) | Self::Dashed(_) | Self::Dotted(_) => {}
        }
    }
}
