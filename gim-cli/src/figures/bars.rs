//! What charts of horizontal bars share.

use gim_core::Result;

use super::canvas::{Align, Canvas, Color, text_width};
use super::palette::{GRID, LABEL};

/// Width of the canvas, in pixels.
pub(super) const WIDTH: f64 = 980.0;
/// Height of a bar, and of a line of its label.
pub(super) const BAR: f64 = 18.0;
pub(super) const LINE: f64 = 19.0;
/// From the legend to the bars, and from the bars to the end of the canvas.
pub(super) const LEGEND: f64 = 34.0;
pub(super) const AXIS: f64 = 64.0;

/// The horizontal axis, which begins at 0; lengths in pixels.
pub(super) struct BarAxis<'a> {
    pub(super) title: &'a str,
    pub(super) left: f64,
    /// Where the area of the bars begins and ends.
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// Pixels for a value of 1.
    pub(super) unit: f64,
    /// Between ticks, in values.
    pub(super) step: f64,
    /// The largest value.
    pub(super) most: f64,
}

impl BarAxis<'_> {
    /// Draws the grid, its numbers and the title.
    pub(super) fn draw(&self, canvas: &mut Canvas) {
        for tick in (0..).map(|n| f64::from(n) * self.step).take_while(|t| *t <= self.most) {
            let x = self.left + tick * self.unit;
            canvas.line(vec![(x, self.top), (x, self.bottom)], GRID, 1.0);
            canvas.text((x, self.bottom + 20.0), Align::Middle, format!("{tick}"), LABEL);
        }
        canvas.text((self.left, self.bottom + 44.0), Align::Start, self.title, LABEL);
    }
}

/// A row of filled boxes and what they mean, from `at` on.
pub(super) fn legend_of_bars<'a>(
    canvas: &mut Canvas,
    at: (f64, f64),
    entries: impl IntoIterator<Item = (Color, &'a str)>,
) -> Result<()> {
    let (mut x, y) = at;
    for (color, name) in entries {
        canvas.rect(x, y + 4.0, 22.0, 14.0, color);
        canvas.text((x + 30.0, y + 16.0), Align::Start, name, LABEL);
        x += 30.0 + text_width(name, LABEL)? + 28.0;
    }
    Ok(())
}
