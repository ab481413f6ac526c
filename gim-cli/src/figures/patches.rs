//! The top-activating image patches of neurons, a row per module.

use gim_core::Result;

use super::canvas::{Align, Canvas, Tile, text_width, wrap};
use super::heading::Heading;
use super::palette::{MARGIN, NOTE, PANEL_TITLE};
use super::{Figure, nothing_to_draw};
use crate::output::count;

const FIGURE: &str = "patches";

/// Input of [`patches`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatchFigure {
    /// Title; should name the image dataset and the seed.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The modules, first one first.
    pub rows: Vec<PatchRow>,
}

/// The neurons of one module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatchRow {
    /// Its title, e.g. `Module 1`.
    pub title: String,
    /// The neurons to show; about six fit side by side, more continue below.
    pub neurons: Vec<Neuron>,
}

/// A neuron and its top-activating patches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Neuron {
    /// Its channel, written below its patches.
    pub index: usize,
    /// The patches, highest activation first; four in the paper.
    pub patches: Vec<Tile>,
}

/// Widest a line of a row's title may be, in pixels.
const TITLE_WIDTH: f64 = 120.0;
/// Side of a patch.
const SIDE: f64 = 76.0;
/// Between the patches of a neuron, and between neurons.
const HAIR: f64 = 3.0;
const GAP: f64 = 20.0;
/// Height of the number below a neuron, and between rows.
const BELOW: f64 = 24.0;
const ROW_GAP: f64 = 18.0;
/// Largest width of the canvas.
const WIDEST: f64 = 1400.0;

/// Draws every neuron's patches as a block, two by two when there are four, the highest activation
/// at the top left.
///
/// # Errors
/// When there is no module, a module has no neurons, a neuron no patches, or a tile is not whole.
pub(crate) fn patches(spec: &PatchFigure) -> Result<Figure> {
    check(spec)?;
    let layout = Layout::of(spec)?;
    let heading = Heading::new(&spec.title, &spec.subtitle, layout.width - 2.0 * MARGIN)?;
    let rows: f64 = spec.rows.iter().zip(&layout.titles).map(|(r, t)| layout.row_height(r, t)).sum();
    let mut canvas = Canvas::new(layout.width, heading.height() + rows);
    heading.draw(&mut canvas, MARGIN);
    let mut top = heading.height();
    for (row, title) in spec.rows.iter().zip(&layout.titles) {
        for (l, line) in title.iter().enumerate() {
            canvas.text((MARGIN, top + 15.0 + 20.0 * l as f64), Align::Start, line.as_str(), PANEL_TITLE);
        }
        for (n, neuron) in row.neurons.iter().enumerate() {
            let (column, line) = (n % layout.across, n / layout.across);
            let x = layout.left + column as f64 * (layout.block_width() + GAP);
            layout.draw_neuron(&mut canvas, neuron, (x, top + line as f64 * (layout.block_height() + BELOW)));
        }
        top += layout.row_height(row, title);
    }
    let most = most_patches(spec);
    let caption = format!(
        "Top-activating image patches, a row per module: up to {most} {} for each of {}, the highest activation at the top \
         left. The number below is the neuron's.",
        if most == 1 { "patch" } else { "patches" },
        count(spec.rows.iter().map(|r| r.neurons.len()).sum(), "neuron"),
    );
    Ok(Figure { canvas, caption })
}

fn check(spec: &PatchFigure) -> Result<()> {
    if spec.rows.is_empty() || spec.rows.iter().any(|r| r.neurons.is_empty()) {
        return Err(nothing_to_draw(FIGURE, "a module without neurons, or no module", "choose neurons to show"));
    }
    let neurons = || spec.rows.iter().flat_map(|r| &r.neurons);
    if let Some(neuron) = neurons().find(|n| n.patches.is_empty()) {
        let what = format!("neuron {} has no patches", neuron.index);
        return Err(nothing_to_draw(FIGURE, &what, "give its top-activating patches"));
    }
    neurons().flat_map(|n| &n.patches).try_for_each(|tile| tile.check(FIGURE))
}

/// The largest number of patches of a neuron.
fn most_patches(spec: &PatchFigure) -> usize {
    spec.rows.iter().flat_map(|r| &r.neurons).map(|n| n.patches.len()).max().unwrap_or(1)
}

/// Where patches lie, in pixels. All neurons have blocks of one shape, so that those of different
/// modules stand below each other.
struct Layout {
    /// Lines of each row's title.
    titles: Vec<Vec<String>>,
    width: f64,
    /// Left edge of the first neuron.
    left: f64,
    /// Side of a patch.
    side: f64,
    /// Columns and lines of patches in a block.
    columns: usize,
    lines: usize,
    /// Neurons that fit side by side.
    across: usize,
}

impl Layout {
    fn of(spec: &PatchFigure) -> Result<Self> {
        let most = most_patches(spec);
        let columns = most.isqrt() + usize::from(most.isqrt().pow(2) < most);
        let side = SIDE.min((WIDEST - 2.0 * MARGIN - TITLE_WIDTH - GAP) / columns as f64 - HAIR);
        let titles = spec.rows.iter().map(|r| wrap(&r.title, PANEL_TITLE, TITLE_WIDTH)).collect::<Result<Vec<_>>>()?;
        let mut title_width: f64 = 0.0;
        for line in titles.iter().flatten() {
            title_width = title_width.max(text_width(line, PANEL_TITLE)?);
        }
        let left = MARGIN + title_width + GAP;
        let mut layout = Self { titles, width: 0.0, left, side, columns, lines: most.div_ceil(columns), across: 1 };
        let step = layout.block_width() + GAP;
        layout.across = (((WIDEST - MARGIN - left + GAP) / step).floor() as usize).max(1);
        let shown = spec.rows.iter().map(|r| r.neurons.len().min(layout.across)).max().unwrap_or(1);
        layout.width = (left + shown as f64 * step - GAP + MARGIN).max(640.0);
        Ok(layout)
    }

    fn block_width(&self) -> f64 {
        self.columns as f64 * (self.side + HAIR) - HAIR
    }

    fn block_height(&self) -> f64 {
        self.lines as f64 * (self.side + HAIR) - HAIR
    }

    fn row_height(&self, row: &PatchRow, title: &[String]) -> f64 {
        let blocks = row.neurons.len().div_ceil(self.across) as f64 * (self.block_height() + BELOW);
        blocks.max(20.0 * title.len() as f64 + 4.0) + ROW_GAP
    }

    /// Draws a neuron's patches and its number, from `(left, top)` on.
    fn draw_neuron(&self, canvas: &mut Canvas, neuron: &Neuron, (left, top): (f64, f64)) {
        let offset = |i: usize| i as f64 * (self.side + HAIR);
        for (p, tile) in neuron.patches.iter().enumerate() {
            canvas.tile(left + offset(p % self.columns), top + offset(p / self.columns), self.side, tile);
        }
        let at = (left + self.block_width() / 2.0, top + self.block_height() + 17.0);
        canvas.text(at, Align::Middle, neuron.index.to_string(), NOTE);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, tile};
    use super::*;

    fn spec(n_modules: usize, n_neurons: usize, n_patches: usize) -> PatchFigure {
        let neuron = |m: usize, i: usize| Neuron {
            index: 37 * i + m,
            patches: (0..n_patches)
                .map(|p| tile(16, 16, if m == 0 { 1 } else { 3 }, (m * 31 + i * 7 + p) as u64))
                .collect(),
        };
        let row = |m: usize| PatchRow {
            title: format!("Module {}", m + 1),
            neurons: (0..n_neurons).map(|i| neuron(m, i)).collect(),
        };
        PatchFigure {
            title: "Top-activating patches — toy".into(),
            subtitle: "toy images, seed 1".into(),
            rows: (0..n_modules).map(row).collect(),
        }
    }

    #[test]
    fn draws_a_row_per_module() {
        let figure = patches(&spec(3, 6, 4)).unwrap();
        check_figure(&figure, &["Module 1", "Module 3", "37", "187"]);
        assert_eq!(figure.canvas.n_tiles(), 72);
        assert!(figure.caption.contains("up to 4 patches for each of 18 neurons"), "{}", figure.caption);
    }

    #[test]
    fn odd_numbers_fit_too() {
        for (modules, neurons, per_neuron) in [(1, 1, 1), (2, 20, 5), (1, 3, 40), (2, 2, 400)] {
            let mut spec = spec(modules, neurons, per_neuron);
            spec.rows[0].title = "The output of a random encoder, untrained".into();
            spec.rows[0].neurons[0].patches[0] = tile(4, 40, 3, 1);
            let figure = patches(&spec).unwrap();
            check_figure(&figure, &[]);
            assert_eq!(figure.canvas.n_tiles(), modules * neurons * per_neuron);
        }
    }

    #[test]
    fn refuses_what_cannot_be_shown() {
        assert!(patches(&spec(0, 1, 1)).is_err() && patches(&spec(2, 0, 1)).is_err());
        let error = patches(&spec(1, 1, 0)).unwrap_err().to_string();
        assert!(error.contains("neuron 0 has no patches"), "{error}");
        let mut torn = spec(1, 1, 1);
        torn.rows[0].neurons[0].patches[0].pixels.pop();
        assert!(patches(&torn).is_err());
    }
}
