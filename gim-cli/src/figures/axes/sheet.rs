//! Sheets: equal panels under a heading and a legend, above notes.

use gim_core::Result;

use super::marker::SAMPLE_WIDTH;
use super::{Panel, Sample, Scale};
use crate::figures::canvas::{Align, Canvas, shorten, text_width, wrap};
use crate::figures::heading::Heading;
use crate::figures::palette::{AXIS_TITLE, FRAME, LABEL, MARGIN, NOTE, PANEL_TITLE};

/// Between panels: half the widest numbers of two neighboring axes must fit.
const GAP: f64 = 36.0;
const ROW_GAP: f64 = 12.0;
const LEGEND_LINE: f64 = 24.0;
const NOTE_LINE: f64 = 20.0;
/// From the panel to the names beside the ends of curves, between two of them, and the widest.
const NAMES: f64 = 20.0;
const NAME_LINE: f64 = 20.0;
const NAME_WIDTH: f64 = 220.0;
/// Most curves that are named at their ends: with more, a name is hard to follow to its curve.
const MOST_NAMED: usize = 5;

/// Whether so many curves are named at their ends.
pub(crate) fn are_named(n_curves: usize) -> bool {
    n_curves <= MOST_NAMED
}

/// Heights in rising order, moved apart to [`NAME_LINE`] and, where they fit, into `top..bottom`.
fn spread(heights: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut out = heights.to_vec();
    let mut free = top;
    for y in &mut out {
        *y = y.max(free);
        free = *y + NAME_LINE;
    }
    let mut free = bottom;
    for y in out.iter_mut().rev() {
        *y = y.min(free);
        free = *y - NAME_LINE;
    }
    out
}

/// Columns for so many panels: three, unless two fill the rows better.
pub(crate) fn columns(n_panels: usize) -> usize {
    if n_panels == 2 || n_panels == 4 { 2 } else { 3 }
}

/// A sheet of equal panels under a title and a legend, above notes. The legend has its own strip:
/// it never lies on data.
pub(crate) struct Sheet {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// Samples and what they mean.
    pub(crate) legend: Vec<(Sample, String)>,
    /// Whether the legend's entries stand beside the ends of their curves, right of the last panel,
    /// instead of above it: [`Sheet::name_ends`] writes them.
    pub(crate) named_ends: bool,
    /// A title for each panel; all may be empty.
    pub(crate) panel_titles: Vec<String>,
    pub(crate) columns: usize,
    /// Inner width and height of a panel, in pixels.
    pub(crate) panel: (f64, f64),
    pub(crate) x_title: String,
    pub(crate) y_title: String,
    /// Lines below the panels.
    pub(crate) notes: Vec<String>,
    /// Whether axes have numbers: a map without units has none.
    pub(crate) numbers: bool,
}

/// A legend entry: offset from the left in pixels, index of the sample, label.
type Entry = (f64, usize, String);

/// Where the parts of a sheet lie, in pixels.
struct Layout {
    heading: Heading,
    legend: Vec<Vec<Entry>>,
    notes: Vec<String>,
    columns: usize,
    width: f64,
    /// From the top of the canvas to the first row of panels.
    header: f64,
    /// Height of all rows.
    body: f64,
    footer: f64,
    /// Left edge of the first panel.
    left: f64,
    /// From the top of a row to its panels.
    panel_top: f64,
    /// Height of the numbers below a panel.
    below: f64,
}

impl Sheet {
    /// Draws everything but the data. `scale` gives the x and the y axis of a panel.
    ///
    /// Returns the canvas and, in order, the panels to draw into.
    pub(crate) fn lay_out(&self, scale: impl Fn(usize) -> (Scale, Scale)) -> Result<(Canvas, Vec<Panel>)> {
        let scales: Vec<(Scale, Scale)> = (0..self.panel_titles.len()).map(scale).collect();
        let layout = self.measure(&scales)?;
        let mut canvas = Canvas::new(layout.width, layout.header + layout.body + layout.footer);
        layout.heading.draw(&mut canvas, MARGIN);
        self.draw_legend(&mut canvas, &layout);
        let mut panels = Vec::with_capacity(scales.len());
        for (i, (x, y)) in scales.into_iter().enumerate() {
            let (row, column) = (i / layout.columns, i % layout.columns);
            let (width, height) = self.panel;
            let row_height = layout.panel_top + height + layout.below + ROW_GAP;
            let left = layout.left + column as f64 * (width + GAP);
            let top = layout.header + layout.panel_top + row as f64 * row_height;
            let panel = Panel { left, top, width, height, x, y };
            self.draw_panel(&mut canvas, &panel, i, &layout)?;
            panels.push(panel);
        }
        let mut y = layout.header + layout.body + 24.0;
        for line in &layout.notes {
            canvas.text((MARGIN, y), Align::Start, line.as_str(), NOTE);
            y += NOTE_LINE;
        }
        Ok((canvas, panels))
    }

    /// Measures all parts: the size of the canvas depends on them.
    fn measure(&self, scales: &[(Scale, Scale)]) -> Result<Layout> {
        let n = scales.len();
        let columns = self.columns.min(n).max(1);
        let rows = n.div_ceil(columns);
        let mut tick_width: f64 = 0.0;
        for (_, label) in scales.iter().flat_map(|(_, y)| &y.ticks) {
            tick_width = tick_width.max(text_width(label, LABEL)?);
        }
        let (left, below) = match self.numbers {
            true => (MARGIN + 24.0 + tick_width + 10.0, 26.0),
            false => (MARGIN, 4.0),
        };
        let (panel_width, panel_height) = self.panel;
        let panel_top = if self.panel_titles.iter().all(String::is_empty) { 8.0 } else { 28.0 };
        let x_title = if self.x_title.is_empty() { 0.0 } else { 24.0 };
        let right = self.names_width()? + MARGIN;
        let natural = left + columns as f64 * panel_width + (columns - 1) as f64 * GAP + right;
        let width = natural.max(640.0);

        let inner = width - 2.0 * MARGIN;
        let heading = Heading::new(&self.title, &self.subtitle, inner)?;
        let legend = if self.named_ends { Vec::new() } else { self.legend_rows(inner)? };
        let notes = self.notes.iter().map(|note| wrap(note, NOTE, inner)).collect::<Result<Vec<_>>>()?.concat();
        Ok(Layout {
            header: heading.height() + LEGEND_LINE * legend.len() as f64,
            body: rows as f64 * (panel_top + panel_height + below) + (rows - 1) as f64 * ROW_GAP + x_title,
            footer: if notes.is_empty() { 16.0 } else { 22.0 + NOTE_LINE * notes.len() as f64 },
            heading,
            legend,
            notes,
            columns,
            width,
            left,
            panel_top,
            below,
        })
    }

    /// Legend entries in rows no wider than `width` pixels.
    fn legend_rows(&self, width: f64) -> Result<Vec<Vec<Entry>>> {
        let mut rows: Vec<Vec<Entry>> = Vec::new();
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

    fn draw_legend(&self, canvas: &mut Canvas, layout: &Layout) {
        let mut middle = layout.heading.height() - Heading::BELOW + 14.0;
        for row in &layout.legend {
            for &(x, index, ref label) in row {
                self.legend[index].0.draw(canvas, MARGIN + x, middle);
                let at = (MARGIN + x + SAMPLE_WIDTH + 8.0, middle + 5.0);
                canvas.text(at, Align::Start, label.as_str(), LABEL);
            }
            middle += LEGEND_LINE;
        }
    }

    /// Room for names beside the ends of curves.
    fn names_width(&self) -> Result<f64> {
        let mut widest: f64 = 0.0;
        for (_, label) in self.legend.iter().filter(|_| self.named_ends) {
            widest = widest.max(NAMES + SAMPLE_WIDTH + 8.0 + text_width(&shorten(label, LABEL, NAME_WIDTH)?, LABEL)?);
        }
        Ok(widest)
    }

    /// Writes each entry of the legend right of the panel, as near to the end of its curve as the
    /// others let it; `ends` (in pixels) are in the order of the legend.
    pub(crate) fn name_ends(&self, canvas: &mut Canvas, panel: &Panel, ends: &[(f64, f64)]) -> Result<()> {
        let mut order: Vec<usize> = (0..ends.len().min(self.legend.len())).collect();
        order.sort_by(|a, b| ends[*a].1.total_cmp(&ends[*b].1));
        let heights =
            spread(&order.iter().map(|i| ends[*i].1).collect::<Vec<_>>(), panel.top, panel.top + panel.height);
        let right = panel.left + panel.width;
        for (i, y) in order.into_iter().zip(heights) {
            let ((x, end), (sample, label)) = (ends[i], &self.legend[i]);
            let left = right + NAMES;
            canvas.line(vec![(x + 8.0, end), (right.max(x + 8.0), end), (left - 3.0, y)], FRAME, 0.7);
            sample.draw(canvas, left, y);
            let label = shorten(label, LABEL, NAME_WIDTH)?;
            canvas.text((left + SAMPLE_WIDTH + 8.0, y + 5.0), Align::Start, label, LABEL);
        }
        Ok(())
    }

    /// Draws the title, grid and axis titles of panel `i`.
    fn draw_panel(&self, canvas: &mut Canvas, panel: &Panel, i: usize, layout: &Layout) -> Result<()> {
        let first_column = i.is_multiple_of(layout.columns);
        let title = shorten(&self.panel_titles[i], PANEL_TITLE, panel.width)?;
        canvas.text((panel.left + panel.width / 2.0, panel.top - 9.0), Align::Middle, title, PANEL_TITLE);
        panel.draw_grid(canvas, first_column && self.numbers, self.numbers)?;
        // The lowest panel of each column bears the axis title, also when the last row is not full.
        if i + layout.columns >= self.panel_titles.len() && !self.x_title.is_empty() {
            let at = (panel.left + panel.width / 2.0, panel.top + panel.height + layout.below + 19.0);
            canvas.text(at, Align::Middle, self.x_title.as_str(), AXIS_TITLE);
        }
        if first_column && !self.y_title.is_empty() {
            let at = (MARGIN + 12.0, panel.top + panel.height / 2.0);
            canvas.text_upward(at, Align::Middle, self.y_title.as_str(), AXIS_TITLE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_apart_and_inside() {
        assert_eq!(spread(&[50.0, 90.0], 0.0, 100.0), [50.0, 90.0]);
        assert_eq!(spread(&[50.0, 51.0, 52.0], 0.0, 200.0), [50.0, 70.0, 90.0]);
        assert_eq!(spread(&[95.0, 99.0, 100.0], 0.0, 100.0), [60.0, 80.0, 100.0]);
        assert!(spread(&[], 0.0, 1.0).is_empty());
    }
}
