//! A square heat map of shares with a name for every row and column.

use gim_core::Result;

use super::canvas::{Align, Canvas, Color, TextStyle, shorten, text_width, wrap};
use super::heading::Heading;
use super::palette::{AXIS_TITLE, FRAME, LABEL, MARGIN, NOTE};

/// Input of [`heat_map`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeatMap<'a> {
    /// Title.
    pub(super) title: &'a str,
    /// Second line, may be empty.
    pub(super) subtitle: &'a str,
    /// Names of the n rows, and of the n columns.
    pub(super) names: &'a [String],
    /// Shares from 0 to 1: n rows of n; a row of `None` is gray.
    pub(super) shares: Vec<Option<Vec<f64>>>,
    /// Titles of the vertical and the horizontal axis.
    pub(super) axes: [&'a str; 2],
    /// Line below the map, may be empty.
    pub(super) note: &'a str,
    /// What a share is.
    pub(super) measure: Measure,
}

/// What the shares of a map are, and how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Percent of a row: 0 to 100.
    OfRow,
    /// Linear centered kernel alignment: 0 to 1.
    Cka,
}

impl Measure {
    /// Its name beside the color bar.
    fn name(self) -> &'static str {
        match self {
            Self::OfRow => "share of the row (%)",
            Self::Cka => "linear CKA",
        }
    }

    /// A share as a number in a cell; empty where numbers would only hide others.
    fn cell(self, share: f64) -> String {
        match self {
            Self::OfRow => format!("{:.0}", 100.0 * share).trim_start_matches('0').to_owned(),
            Self::Cka => format!("{share:.2}"),
        }
    }

    /// A share as a number at the color bar.
    fn tick(self, share: f64) -> String {
        match self {
            Self::OfRow => format!("{:.0}", 100.0 * share),
            Self::Cka => format!("{share:.2}"),
        }
    }
}

/// Side of the whole map, about, in pixels.
const SIDE: f64 = 780.0;
/// Side of the smallest cell with room for `100` or `0.37`.
const ROOM_FOR_NUMBER: f64 = 34.0;
/// Smallest and largest side of a cell; below the smallest, lines of names would touch.
const SMALLEST: f64 = 18.0;
const LARGEST: f64 = 120.0;
/// Widest a name may be.
const NAME_WIDTH: f64 = 220.0;
/// Width of the color bar.
const BAR: f64 = 18.0;
/// Numbers on light cells are black: the middle blues leave little contrast to spare.
const NUMBER: Color = Color::BLACK;
/// Rows without shares.
const ABSENT: Color = Color(236, 236, 236);

/// Draws the map. Returns whether cells had room for their numbers.
pub(super) fn heat_map(spec: &HeatMap<'_>) -> Result<(Canvas, bool)> {
    let n = spec.names.len();
    let names = spec.names.iter().map(|name| shorten(name, LABEL, NAME_WIDTH)).collect::<Result<Vec<_>>>()?;
    let mut name_width: f64 = 0.0;
    for name in &names {
        name_width = name_width.max(text_width(name, LABEL)?);
    }
    let cell = (SIDE / n as f64).clamp(SMALLEST, LARGEST).floor();
    let side = cell * n as f64;
    // Names below the columns stand upright unless all fit side by side.
    let upright = name_width + 8.0 > cell;
    let below = if upright { name_width + 8.0 } else { 22.0 };
    let (left, right) =
        (MARGIN + 26.0 + name_width + 8.0, 28.0 + BAR + 8.0 + text_width("0.00", LABEL)? + 24.0 + MARGIN);
    let width = (left + side + right).max(640.0);

    let heading = Heading::new(spec.title, spec.subtitle, width - 2.0 * MARGIN)?;
    let notes = wrap(spec.note, NOTE, width - 2.0 * MARGIN)?;
    let top = heading.height() + 8.0;
    let foot = top + side + below + 26.0;
    let mut canvas = Canvas::new(width, foot + 20.0 * notes.len() as f64 + 14.0);
    heading.draw(&mut canvas, MARGIN);

    let grid = Grid { left, top, cell, n };
    let numbers = cell >= ROOM_FOR_NUMBER;
    grid.draw_rows(&mut canvas, &names, spec, numbers);
    grid.draw_column_names(&mut canvas, &names, upright);
    canvas.outline((left, top, side, side), FRAME);
    canvas.text_upward((MARGIN + 12.0, top + side / 2.0), Align::Middle, spec.axes[0], AXIS_TITLE);
    canvas.text((left + side / 2.0, foot - 5.0), Align::Middle, spec.axes[1], AXIS_TITLE);
    draw_bar(&mut canvas, (left + side + 28.0, top), side, spec.measure)?;
    for (l, line) in notes.iter().enumerate() {
        canvas.text((MARGIN, foot + 18.0 + 20.0 * l as f64), Align::Start, line.as_str(), NOTE);
    }
    Ok((canvas, numbers))
}

/// Where the n × n cells lie, in pixels.
struct Grid {
    left: f64,
    top: f64,
    cell: f64,
    n: usize,
}

impl Grid {
    /// Draws every row: its name, its cells and, where there is room, their numbers.
    fn draw_rows(&self, canvas: &mut Canvas, names: &[String], spec: &HeatMap<'_>, numbers: bool) {
        let Self { left, top, cell, n } = *self;
        for (row, (name, shares)) in names.iter().zip(&spec.shares).enumerate() {
            let y = top + cell * row as f64;
            let baseline = y + cell / 2.0 + 5.0;
            canvas.text((left - 8.0, baseline), Align::End, name.as_str(), LABEL);
            let Some(shares) = shares else {
                canvas.rect(left, y, cell * n as f64, cell, ABSENT);
                continue;
            };
            for (column, share) in shares.iter().copied().enumerate() {
                let x = left + cell * column as f64;
                canvas.rect(x, y, cell, cell, heat(share));
                if !numbers {
                    let value = format!("{name}, {}: {}", names[column], spec.measure.tick(share));
                    canvas.hint((x + cell / 2.0, y + cell / 2.0), value);
                }
                let number = spec.measure.cell(share);
                if numbers && !number.is_empty() {
                    let color = if dark(heat(share)) { Color::WHITE } else { NUMBER };
                    let style = if row == column { TextStyle::bold(14.0, color) } else { TextStyle::new(14.0, color) };
                    canvas.text((x + cell / 2.0, baseline), Align::Middle, number, style);
                }
            }
        }
    }

    fn draw_column_names(&self, canvas: &mut Canvas, names: &[String], upright: bool) {
        let bottom = self.top + self.cell * self.n as f64;
        for (column, name) in names.iter().enumerate() {
            let middle = self.left + self.cell * (column as f64 + 0.5);
            match upright {
                true => canvas.text_upward((middle + 5.0, bottom + 8.0), Align::End, name.as_str(), LABEL),
                false => canvas.text((middle, bottom + 19.0), Align::Middle, name.as_str(), LABEL),
            }
        }
    }
}

/// Color of a share, 0 to 1: from white over blue to nearly black. The greater the share, the
/// darker, so that the map survives gray print.
fn heat(share: f64) -> Color {
    const STOPS: [Color; 5] =
        [Color::WHITE, Color(196, 222, 240), Color(107, 174, 214), Color(0, 104, 168), Color(8, 38, 84)];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let i = (place as usize).min(STOPS.len() - 2);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * (place - i as f64)).round() as u8;
    let (a, b) = (STOPS[i], STOPS[i + 1]);
    Color(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Whether white is easier to read on this color than black, by the contrast of WCAG 2.
fn dark(color: Color) -> bool {
    contrast(color, Color::WHITE) > contrast(color, NUMBER)
}

/// Contrast of WCAG 2, 1 to 21.
fn contrast(a: Color, b: Color) -> f64 {
    let linear = |c: u8| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    let light = |i: Color| 0.05 + 0.2126 * linear(i.0) + 0.7152 * linear(i.1) + 0.0722 * linear(i.2);
    light(a).max(light(b)) / light(a).min(light(b))
}

/// The color bar, 1 at its top, with the name of what it shows.
fn draw_bar(canvas: &mut Canvas, (left, top): (f64, f64), height: f64, measure: Measure) -> Result<()> {
    const STEPS: usize = 100;
    let step = height / STEPS as f64;
    for i in 0..STEPS {
        let share = 1.0 - (i as f64 + 0.5) / STEPS as f64;
        // Each down to the bottom: between strips that only meet, viewers let the white through.
        canvas.rect(left, top + step * i as f64, BAR, height - step * i as f64, heat(share));
    }
    canvas.outline((left, top, BAR, height), FRAME);
    let mut widest: f64 = 0.0;
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (y, tick) = (top + height * (1.0 - share), measure.tick(share));
        canvas.line(vec![(left + BAR, y), (left + BAR + 4.0, y)], FRAME, 1.0);
        widest = widest.max(text_width(&tick, LABEL)?);
        canvas.text((left + BAR + 8.0, y + 5.0), Align::Start, tick, LABEL);
    }
    let at = (left + BAR + 8.0 + widest + 20.0, top + height / 2.0);
    canvas.text_upward(at, Align::Middle, measure.name(), AXIS_TITLE);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_out_from_their_cells() {
        let mut before = f64::INFINITY;
        for i in 0..=100 {
            let cell = heat(f64::from(i) / 100.0);
            let color = if dark(cell) { Color::WHITE } else { NUMBER };
            assert!(contrast(cell, color) >= 4.5, "{i} %: {}", contrast(cell, color));
            let light = contrast(cell, Color::BLACK);
            assert!(light < before, "{i} % is not darker than {} %", i - 1);
            before = light;
        }
    }
}
