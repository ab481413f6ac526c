//! What the figures with axes share: the palette, scales with round ticks, panels, legends and the layout of a sheet of panels.

use gim_core::Result;

use super::Heading;
use super::canvas::{Align, Ink, Picture, Type, shorten, text_width, wrap};

/// Okabe and Ito's colours, which stay apart for colour-blind readers; yellow last, for it is weak on white.
pub(super) const PALETTE: [Ink; 8] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, Ink(0, 0, 0), Ink(240, 228, 66)];
pub(super) const BLUE: Ink = Ink(0, 114, 178);
pub(super) const VERMILLION: Ink = Ink(213, 94, 0);
pub(super) const GREEN: Ink = Ink(0, 158, 115);
pub(super) const PURPLE: Ink = Ink(204, 121, 167);
pub(super) const ORANGE: Ink = Ink(230, 159, 0);
pub(super) const SKY: Ink = Ink(86, 180, 233);
/// For gradient blocks only: the one thing that must read as "stop"; told apart from the others by its shape, too.
pub(super) const RED: Ink = Ink(200, 32, 32);
pub(super) const TEXT: Ink = Ink(34, 34, 34);
pub(super) const MUTED: Ink = Ink(95, 95, 95);
pub(super) const GRID: Ink = Ink(228, 228, 228);
const FRAME: Ink = Ink(150, 150, 150);

pub(super) const LABEL: Type = Type::new(14.0, TEXT);
pub(super) const NOTE: Type = Type::new(14.0, MUTED);
const AXIS_TITLE: Type = Type::new(15.0, TEXT);
const PANEL_TITLE: Type = Type::bold(15.0, TEXT);

/// The shape of a marker: with the colour, a second way to tell series apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Down,
}

/// Columns for so many panels: three, unless two fill the rows better.
pub(super) fn columns(n_panels: usize) -> usize {
    if n_panels == 2 || n_panels == 4 { 2 } else { 3 }
}

pub(super) const SHAPES: [Shape; 5] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Down];

impl Shape {
    /// Draws the marker, about as large as a disc of this radius; hollow ones are white inside.
    pub(super) fn draw(self, picture: &mut Picture, at: (f64, f64), radius: f64, ink: Ink, hollow: bool) {
        self.fill(picture, at, radius, ink);
        if hollow {
            self.fill(picture, at, radius * 0.58, Ink::WHITE);
        }
    }

    fn fill(self, picture: &mut Picture, (x, y): (f64, f64), r: f64, ink: Ink) {
        let corners: &[(f64, f64)] = match self {
            Self::Circle => return picture.disc((x, y), r, ink),
            Self::Square => &[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
            Self::Triangle => &[(0.0, -1.25), (1.12, 0.75), (-1.12, 0.75)],
            Self::Diamond => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
            Self::Down => &[(0.0, 1.25), (1.12, -0.75), (-1.12, -0.75)],
        };
        picture.polygon(corners.iter().map(|&(dx, dy)| (x + dx * r, y + dy * r)).collect(), ink);
    }
}

/// An axis: its range and its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    ticks: Vec<(f64, String)>,
    minor: Vec<f64>,
}

impl Scale {
    /// A linear axis that covers `low..high`, with at most about `n_ticks` round ticks; its ends are ticks if `to_ticks`.
    pub(super) fn linear(low: f64, high: f64, n_ticks: usize, to_ticks: bool) -> Self {
        Self::stepped(low, high, round_step((high - low) / n_ticks.max(1) as f64), to_ticks)
    }

    /// A linear axis of whole numbers.
    pub(super) fn counts(low: f64, high: f64, n_ticks: usize) -> Self {
        Self::stepped(low, high, round_step((high - low) / n_ticks.max(1) as f64).max(1.0), false)
    }

    fn stepped(mut low: f64, mut high: f64, step: f64, to_ticks: bool) -> Self {
        if high <= low {
            // A single value: it stands in the middle, and is the only tick.
            let step = if low.fract() == 0.0 { 1.0 } else { 0.01 };
            let ticks = vec![(low, number(low, step, low.abs()))];
            return Self { low: low - 1.0, high: low + 1.0, log: false, ticks, minor: Vec::new() };
        }
        if to_ticks {
            (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        }
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let largest = low.abs().max(high.abs());
        let ticks = (first..=last).map(|i| i as f64 * step).map(|v| (v, number(v, step, largest))).collect();
        Self { low, high, log: false, ticks, minor: Vec::new() }
    }

    /// A logarithmic axis that covers `low..high`, both positive: ticks at 1, 2, 5 of a decade, at decades when there
    /// are many, at every digit when there would be few.
    pub(super) fn log(low: f64, high: f64) -> Self {
        let mut scale = Self { low, high, log: true, ticks: Vec::new(), minor: Vec::new() };
        let (dense, short) = ((high / low).log10() <= 2.6, high / low < 5.0);
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        for exponent in first..=last {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(exponent);
                if value < low * (1.0 - 1e-9) || value > high * (1.0 + 1e-9) {
                    continue;
                }
                if digit == 1 || short || (dense && (digit == 2 || digit == 5)) {
                    scale.ticks.push((value, number(value, 10f64.powi(exponent), 1.0)));
                } else {
                    scale.minor.push(value);
                }
            }
        }
        scale
    }

    /// The axis of modules 1..=n.
    pub(super) fn modules(n: usize) -> Self {
        let ticks = (1..=n).map(|m| (m as f64, m.to_string())).collect();
        Self { low: 0.5, high: n as f64 + 0.5, log: false, ticks, minor: Vec::new() }
    }

    /// An axis without ticks.
    pub(super) fn bare(low: f64, high: f64) -> Self {
        Self { low, high, log: false, ticks: Vec::new(), minor: Vec::new() }
    }

    /// Where `value` lies, 0 at the low end, 1 at the high end; values outside are drawn at the ends.
    fn at(&self, value: f64) -> f64 {
        let part = |v: f64| if self.log { v.ln() } else { v };
        let t = (part(value) - part(self.low)) / (part(self.high) - part(self.low));
        if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) }
    }

    /// Lower end of the axis.
    pub(super) fn low(&self) -> f64 {
        self.low
    }

    /// Upper end of the axis.
    pub(super) fn high(&self) -> f64 {
        self.high
    }
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|d| d * power >= step * (1.0 - 1e-9)).unwrap_or(10.0);
    digit * power
}

/// A tick's label with no more digits than the step asks for; on an axis that reaches 10 000, thousands as `k` (and so on).
fn number(value: f64, step: f64, largest: f64) -> String {
    let (unit, suffix) = match largest {
        l if l >= 1e7 => (1e6, "M"),
        l if l >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    if value.abs() < step * 1e-6 {
        return "0".into();
    }
    let digits = (-(step / unit).log10() - 1e-9).ceil().max(0.0) as usize;
    // A minus sign, not a hyphen.
    format!("{:.digits$}{suffix}", value / unit).replace('-', "\u{2212}")
}

/// How a series looks in the legend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sample {
    Line(Ink),
    Dashed(Ink),
    Dotted(Ink),
    Marked(Ink, Shape),
    MarkedDashed(Ink, Shape),
    Marker(Ink, Shape),
}

impl Sample {
    /// The horizontal stroke of the sample, from `from` to `to`.
    pub(super) fn stroke(self, picture: &mut Picture, from: (f64, f64), to: (f64, f64)) {
        match self {
            Self::Line(ink) | Self::Marked(ink, _) => picture.line(vec![from, to], ink, 2.0),
            Self::Dashed(ink) | Self::MarkedDashed(ink, _) => picture.dashes(from, to, ink, 1.8, 7.0, 5.0),
            Self::Dotted(ink) => picture.dashes(from, to, ink, 1.8, 2.0, 4.0),
            Self::Marker(..) => {}
        }
    }

    fn draw(self, picture: &mut Picture, left: f64, middle: f64) {
        self.stroke(picture, (left, middle), (left + SAMPLE_WIDTH, middle));
        let at = (left + SAMPLE_WIDTH / 2.0, middle);
        match self {
            Self::Marked(ink, shape) | Self::MarkedDashed(ink, shape) | Self::Marker(ink, shape) => {
                shape.draw(picture, at, 5.0, ink, false);
            }
            Self::Line(_) | Self::Dashed(_) | Self::Dotted(_) => {}
        }
    }
}

const SAMPLE_WIDTH: f64 = 32.0;
const MARGIN: f64 = 22.0;
/// Between panels: half the widest numbers of two neighbouring axes must fit.
const GAP: f64 = 36.0;

/// A sheet of equal panels under a title and a legend, above notes. The legend has its own strip: it never lies on data.
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) legend: Vec<(Sample, String)>,
    pub(super) panel_titles: Vec<String>,
    pub(super) columns: usize,
    /// Inner width and height of a panel.
    pub(super) panel: (f64, f64),
    pub(super) x_title: String,
    pub(super) y_title: String,
    pub(super) notes: Vec<String>,
    /// Whether axes have numbers: a map without units has none.
    pub(super) numbers: bool,
}

impl Sheet {
    /// Draws everything but the data: returns the picture and, in order, the panels to draw into.
    pub(super) fn lay_out(&self, scale: impl Fn(usize) -> (Scale, Scale)) -> Result<(Picture, Vec<Panel>)> {
        let n = self.panel_titles.len();
        let scales: Vec<(Scale, Scale)> = (0..n).map(scale).collect();
        let columns = self.columns.min(n).max(1);
        let rows = n.div_ceil(columns);
        let mut tick_width: f64 = 0.0;
        for (_, y) in &scales {
            for (_, label) in &y.ticks {
                tick_width = tick_width.max(text_width(label, LABEL)?);
            }
        }
        let (left_axis, below) = match self.numbers {
            true => (MARGIN + 24.0 + tick_width + 10.0, 26.0),
            false => (MARGIN, 4.0),
        };
        let (pw, ph) = self.panel;
        let panel_top = if self.panel_titles.iter().all(String::is_empty) { 8.0 } else { 28.0 };
        let below_last = if self.x_title.is_empty() { below } else { below + 24.0 };
        let natural = left_axis + columns as f64 * pw + (columns - 1) as f64 * GAP + MARGIN;
        let width = natural.max(640.0);

        // Measure the header and the footer first: the picture's height depends on them.
        let inner = width - 2.0 * MARGIN;
        let heading = Heading::new(&self.title, &self.subtitle, inner)?;
        let legend = self.legend_rows(inner)?;
        let notes = self.notes.iter().map(|note| wrap(note, NOTE, inner)).collect::<Result<Vec<_>>>()?.concat();
        let header = heading.height() + 24.0 * legend.len() as f64;
        let body = rows as f64 * (panel_top + ph + below) + (rows - 1) as f64 * 12.0 + (below_last - below);
        let footer = if notes.is_empty() { 16.0 } else { 22.0 + 20.0 * notes.len() as f64 };

        let mut picture = Picture::new(width, header + body + footer);
        heading.draw(&mut picture, MARGIN);
        let mut y = heading.height() - Heading::BELOW;
        for row in &legend {
            let middle = y + 14.0;
            for &(x, index, ref label) in row {
                self.legend[index].0.draw(&mut picture, MARGIN + x, middle);
                let at = (MARGIN + x + SAMPLE_WIDTH + 8.0, middle + 5.0);
                picture.text(at, Align::Start, label.as_str(), LABEL);
            }
            y += 24.0;
        }

        let mut panels = Vec::with_capacity(n);
        for (i, (x_scale, y_scale)) in scales.into_iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let panel = Panel {
                left: left_axis + column as f64 * (pw + GAP),
                top: header + panel_top + row as f64 * (panel_top + ph + below + 12.0),
                width: pw,
                height: ph,
                x: x_scale,
                y: y_scale,
            };
            let title = shorten(&self.panel_titles[i], PANEL_TITLE, pw)?;
            picture.text((panel.left + pw / 2.0, panel.top - 9.0), Align::Middle, title, PANEL_TITLE);
            panel.draw_grid(&mut picture, column == 0 && self.numbers, self.numbers)?;
            // The lowest panel of each column bears the axis title, also when the last row is not full.
            if i + columns >= n && !self.x_title.is_empty() {
                let at = (panel.left + pw / 2.0, panel.top + ph + below + 19.0);
                picture.text(at, Align::Middle, self.x_title.as_str(), AXIS_TITLE);
            }
            if column == 0 && !self.y_title.is_empty() {
                let at = (MARGIN + 12.0, panel.top + ph / 2.0);
                picture.text_upward(at, Align::Middle, self.y_title.as_str(), AXIS_TITLE);
            }
            panels.push(panel);
        }
        let mut y = header + body + 24.0;
        for line in &notes {
            picture.text((MARGIN, y), Align::Start, line.as_str(), NOTE);
            y += 20.0;
        }
        Ok((picture, panels))
    }

    /// Legend entries in rows no wider than `width`: (offset, entry, label).
    fn legend_rows(&self, width: f64) -> Result<Vec<Vec<(f64, usize, String)>>> {
        let mut rows: Vec<Vec<(f64, usize, String)>> = Vec::new();
        let mut x = 0.0;
        for (index, (_, label)) in self.legend.iter().enumerate() {
            let label = shorten(label, LABEL, width - SAMPLE_WIDTH - 8.0)?;
            let entry = SAMPLE_WIDTH + 8.0 + text_width(&label, LABEL)?;
            match rows.last_mut() {
                Some(row) if x + entry <= width => row.push((x, index, label)),
                _ => {
                    x = 0.0;
                    rows.push(vec![(0.0, index, label)]);
                }
            }
            x += entry + 26.0;
        }
        Ok(rows)
    }
}

/// The inner area of one chart.
pub(super) struct Panel {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: Scale,
    y: Scale,
}

impl Panel {
    /// Pixel of a value; values outside the axes go to the edge.
    pub(super) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.left + self.width * self.x.at(x), self.top + self.height * (1.0 - self.y.at(y)))
    }

    /// Draws a horizontal line at `y` across the panel.
    pub(super) fn level(&self, picture: &mut Picture, y: f64, sample: Sample) {
        let (_, y) = self.at(0.0, y);
        sample.stroke(picture, (self.left, y), (self.left + self.width, y));
    }

    /// Says in the panel's middle why it is empty.
    pub(super) fn say(&self, picture: &mut Picture, text: &str) {
        picture.text((self.left + self.width / 2.0, self.top + self.height / 2.0), Align::Middle, text, NOTE);
    }

    /// The y axis.
    pub(super) fn y_scale(&self) -> &Scale {
        &self.y
    }

    fn draw_grid(&self, picture: &mut Picture, y_numbers: bool, x_numbers: bool) -> Result<()> {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for &value in &self.y.minor {
            let (_, y) = self.at(0.0, value);
            picture.line(vec![(self.left, y), (right, y)], GRID.faint(0.45), 1.0);
        }
        for (value, label) in &self.y.ticks {
            let (_, y) = self.at(0.0, *value);
            picture.line(vec![(self.left, y), (right, y)], GRID, 1.0);
            if y_numbers {
                picture.text((self.left - 8.0, y + 5.0), Align::End, label.as_str(), LABEL);
            }
        }
        let mut free_from = f64::NEG_INFINITY;
        for (value, label) in &self.x.ticks {
            let (x, _) = self.at(*value, 0.0);
            picture.line(vec![(x, self.top), (x, bottom)], GRID, 1.0);
            let half = text_width(label, LABEL)? / 2.0;
            // Leave out a number that would touch the one before it; the grid line stays.
            if x_numbers && x - half > free_from {
                picture.text((x, bottom + 20.0), Align::Middle, label.as_str(), LABEL);
                free_from = x + half + 8.0;
            }
        }
        for ends in [
            [(self.left, self.top), (right, self.top)],
            [(right, self.top), (right, bottom)],
            [(self.left, bottom), (right, bottom)],
            [(self.left, self.top), (self.left, bottom)],
        ] {
            picture.line(ends.to_vec(), FRAME, 1.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|(_, l)| l.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Scale::linear(0.0, 100.0, 5, true)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Scale::linear(1.93, 2.61, 4, false)), ["2.0", "2.2", "2.4", "2.6"]);
        assert_eq!(labels(&Scale::linear(0.0, 30_000.0, 3, false)), ["0", "10k", "20k", "30k"]);
        assert_eq!(labels(&Scale::linear(0.0, 2_500.0, 5, false)), ["0", "500", "1000", "1500", "2000", "2500"]);
        assert_eq!(labels(&Scale::linear(-1.0, 1.0, 2, false)), ["\u{2212}1", "0", "1"]);
        assert_eq!(labels(&Scale::linear(7.0, 7.0, 4, false)), ["7"]);
        assert_eq!(labels(&Scale::counts(0.0, 2.0, 4)), ["0", "1", "2"]);
        assert_eq!(labels(&Scale::log(0.5, 100.0)), ["0.5", "1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(&Scale::log(35.0, 90.0)), ["40", "50", "60", "70", "80", "90"]);
        assert_eq!(labels(&Scale::log(0.004, 10.0)), ["0.01", "0.1", "1", "10"]);
    }

    #[test]
    fn values_outside_go_to_the_edge() {
        let scale = Scale::linear(0.0, 1.0, 2, true);
        assert_eq!([scale.at(-5.0), scale.at(0.5), scale.at(f64::INFINITY), scale.at(f64::NAN)], [0.0, 0.5, 1.0, 0.0]);
        assert!((Scale::log(1.0, 100.0).at(10.0) - 0.5).abs() < 1e-12);
    }
}
