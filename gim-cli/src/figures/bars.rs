//! What charts of horizontal bars share.

use gim_core::Result;

use super::axes::LABEL;
use super::canvas::{Align, Ink, Picture, text_width};

/// Width of the picture and its margin, height of a bar, and of a line of its label.
pub(super) const WIDTH: f64 = 980.0;
pub(super) const MARGIN: f64 = 22.0;
pub(super) const BAR: f64 = 18.0;
pub(super) const LINE: f64 = 19.0;

/// A row of filled boxes and what they mean, from `at` on.
pub(super) fn legend_of_bars<'a>(
    picture: &mut Picture,
    at: (f64, f64),
    entries: impl IntoIterator<Item = (Ink, &'a str)>,
) -> Result<()> {
    let (mut x, y) = at;
    for (ink, name) in entries {
        picture.rect(x, y + 4.0, 22.0, 14.0, ink);
        picture.text((x + 30.0, y + 16.0), Align::Start, name, LABEL);
        x += 30.0 + text_width(name, LABEL)? + 28.0;
    }
    Ok(())
}
