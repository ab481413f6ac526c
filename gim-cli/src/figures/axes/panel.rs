//! A panel: the inner area of one chart.

use gim_core::Result;

use super::{Sample, Scale};
use crate::figures::canvas::{Align, Canvas, text_width};
use crate::figures::palette::{FRAME, GRID, LABEL, NOTE};

/// The inner area of one chart.
///
/// Lengths are in pixels.
pub(crate) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: Scale,
    pub(super) y: Scale,
}

impl Panel {
    /// Pixel of a value; values outside the axes go to the edge.
    pub(crate) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.left + self.width * self.x.at(x), self.top + self.height * (1.0 - self.y.at(y)))
    }

    /// Draws a horizontal line at `y` across the panel.
    pub(crate) fn horizontal_line(&self, canvas: &mut Canvas, y: f64, sample: Sample) {
        let (_, y) = self.at(0.0, y);
        sample.stroke(canvas, (self.left, y), (self.left + self.width, y));
    }

    /// Writes in the panel's middle why it is empty.
    pub(crate) fn message(&self, canvas: &mut Canvas, text: &str) {
        canvas.text((self.left + self.width / 2.0, self.top + self.height / 2.0), Align::Middle, text, NOTE);
    }

    /// The y axis.
    pub(crate) fn y_scale(&self) -> &Scale {
        &self.y
    }

    /// Draws the grid, the numbers of the axes that have them, and the outline.
    pub(super) fn draw_grid(&self, canvas: &mut Canvas, y_numbers: bool, x_numbers: bool) -> Result<()> {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for &value in &self.y.minor {
            let (_, y) = self.at(0.0, value);
            canvas.line(vec![(self.left, y), (right, y)], GRID.faint(0.45), 1.0);
        }
        for (value, label) in &self.y.ticks {
            let (_, y) = self.at(0.0, *value);
            canvas.line(vec![(self.left, y), (right, y)], GRID, 1.0);
            if y_numbers {
                canvas.text((self.left - 8.0, y + 5.0), Align::End, label.as_str(), LABEL);
            }
        }
        let mut free_from = f64::NEG_INFINITY;
        for (value, label) in &self.x.ticks {
            let (x, _) = self.at(*value, 0.0);
            canvas.line(vec![(x, self.top), (x, bottom)], GRID, 1.0);
            let half = text_width(label, LABEL)? / 2.0;
            // Leave out a number that would touch the one before it; the grid line stays.
            if x_numbers && x - half > free_from {
                canvas.text((x, bottom + 20.0), Align::Middle, label.as_str(), LABEL);
                free_from = x + half + 8.0;
            }
        }
        canvas.outline((self.left, self.top, self.width, self.height), FRAME);
        Ok(())
    }
}
