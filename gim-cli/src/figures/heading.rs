//! Title and subtitle of a figure.

use gim_core::Result;

use super::canvas::{Align, Canvas, TextStyle, wrap};
use super::palette::{MUTED, TEXT};

/// Title and subtitle, broken into lines. They are measured first: the height of the canvas
/// depends on them.
pub(super) struct Heading {
    title: Vec<String>,
    subtitle: Vec<String>,
}

impl Heading {
    const TITLE: TextStyle = TextStyle::bold(19.0, TEXT);
    const SUBTITLE: TextStyle = TextStyle::new(15.0, MUTED);
    const ABOVE: f64 = 16.0;
    const TITLE_LINE: f64 = 25.0;
    const SUBTITLE_LINE: f64 = 21.0;
    /// Free space at the end of its height.
    pub(super) const BELOW: f64 = 10.0;

    /// Breaks both into lines no wider than `width` pixels; either may be empty.
    pub(super) fn new(title: &str, subtitle: &str, width: f64) -> Result<Self> {
        Ok(Self { title: wrap(title, Self::TITLE, width)?, subtitle: wrap(subtitle, Self::SUBTITLE, width)? })
    }

    /// From the top of the canvas to where the chart begins, in pixels.
    pub(super) fn height(&self) -> f64 {
        Self::ABOVE
            + Self::TITLE_LINE * self.title.len() as f64
            + Self::SUBTITLE_LINE * self.subtitle.len() as f64
            + Self::BELOW
    }

    /// Draws the lines at the top of the canvas, from `left` on.
    pub(super) fn draw(&self, canvas: &mut Canvas, left: f64) {
        let mut y = Self::ABOVE;
        for line in &self.title {
            canvas.text((left, y + 18.0), Align::Start, line.as_str(), Self::TITLE);
            y += Self::TITLE_LINE;
        }
        for line in &self.subtitle {
            canvas.text((left, y + 14.0), Align::Start, line.as_str(), Self::SUBTITLE);
            y += Self::SUBTITLE_LINE;
        }
    }
}
