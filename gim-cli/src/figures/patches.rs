//! The image patches that excite neurons most, a row per module: what a module has learned to see.

use gim_core::Result;

use super::axes::{MUTED, TEXT};
use super::canvas::{Align, Picture, Tile, Type, text_width, wrap};
use super::{Figure, Heading, count, nothing_to_draw};

const FIGURE: &str = "patches";

/// Input of [`patches`].
#[derive(Debug, Clone, PartialEq)]
pub struct PatchFigure {
    /// Title; should name the corpus and the seed.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The modules, first one first.
    pub rows: Vec<PatchRow>,
}

/// The neurons of one module.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchRow {
    /// Its title, e.g. `Module 1`.
    pub title: String,
    /// The neurons to show; six or so stand side by side, more go on below.
    pub neurons: Vec<Neuron>,
}

/// A neuron and what excites it.
#[derive(Debug, Clone, PartialEq)]
pub struct Neuron {
    /// Its number, written below its patches.
    pub index: usize,
    /// The patches, the most exciting first; four in the paper.
    pub patches: Vec<Tile>,
}

const MARGIN: f64 = 22.0;
const ROW_TITLE: Type = Type::bold(15.0, TEXT);
const INDEX: Type = Type::new(14.0, MUTED);
/// Widest a row's title may be before it is broken.
const TITLE_WIDTH: f64 = 120.0;
/// Side of a patch.
const SIDE: f64 = 76.0;
/// Between the patches of a neuron, and between neurons.
const HAIR: f64 = 3.0;
const GAP: f64 = 20.0;
const BELOW: f64 = 24.0;
const ROW_GAP: f64 = 18.0;
const WIDEST: f64 = 1400.0;

/// Draws every neuron's patches as a block: two by two when there are four, the most exciting at the top left.
pub fn patches(spec: &PatchFigure) -> Result<Figure> {
    let neurons = || spec.rows.iter().flat_map(|r| &r.neurons);
    if spec.rows.iter().any(|r| r.neurons.is_empty()) || neurons().next().is_none() {
        return Err(nothing_to_draw(FIGURE, "a module without neurons, or no module", "choose neurons to show"));
    }
    if let Some(neuron) = neurons().find(|n| n.patches.is_empty()) {
        let what = format!("neuron {} has no patches", neuron.index);
        return Err(nothing_to_draw(FIGURE, &what, "give the patches that excite it most"));
    }
    neurons().flat_map(|n| &n.patches).try_for_each(|tile| tile.check(FIGURE))?;

    // All blocks have one shape, so that neurons of different modules stand below each other.
    let most = neurons().map(|n| n.patches.len()).max().unwrap_or(1);
    let columns = most.isqrt() + usize::from(most.isqrt().pow(2) < most);
    let lines = most.div_ceil(columns);
    let side = SIDE.min((WIDEST - 2.0 * MARGIN - TITLE_WIDTH - GAP) / columns as f64 - HAIR);
    let block = |n: usize| n as f64 * (side + HAIR) - HAIR;
    let titles = spec.rows.iter().map(|r| wrap(&r.title, ROW_TITLE, TITLE_WIDTH)).collect::<Result<Vec<_>>>()?;
    let mut title_width: f64 = 0.0;
    for line in titles.iter().flatten() {
        title_width = title_width.max(text_width(line, ROW_TITLE)?);
    }
    let left = MARGIN + title_width + GAP;
    let step = block(columns) + GAP;
    let fitting = (((WIDEST - MARGIN - left + GAP) / step).floor() as usize).max(1);
    let across = spec.rows.iter().map(|r| r.neurons.len().min(fitting)).max().unwrap_or(1);
    let width = (left + across as f64 * step - GAP + MARGIN).max(640.0);

    let heading = Heading::new(&spec.title, &spec.subtitle, width - 2.0 * MARGIN)?;
    let line_height = block(lines) + BELOW;
    let row_height = |i: usize| {
        let blocks = spec.rows[i].neurons.len().div_ceil(fitting) as f64 * line_height;
        blocks.max(20.0 * titles[i].len() as f64 + 4.0) + ROW_GAP
    };
    let height = heading.height() + (0..spec.rows.len()).map(row_height).sum::<f64>();
    let mut picture = Picture::new(width, height);
    heading.draw(&mut picture, MARGIN);
    let mut top = heading.height();
    for (i, row) in spec.rows.iter().enumerate() {
        for (l, line) in titles[i].iter().enumerate() {
            picture.text((MARGIN, top + 15.0 + 20.0 * l as f64), Align::Start, line.as_str(), ROW_TITLE);
        }
        for (n, neuron) in row.neurons.iter().enumerate() {
            let (x, y) = (left + (n % fitting) as f64 * step, top + (n / fitting) as f64 * line_height);
            for (p, tile) in neuron.patches.iter().enumerate() {
                let at = |i: usize| i as f64 * (side + HAIR);
                picture.tile(x + at(p % columns), y + at(p / columns), side, tile);
            }
            let at = (x + block(columns) / 2.0, y + block(lines) + 17.0);
            picture.text(at, Align::Middle, neuron.index.to_string(), INDEX);
        }
        top += row_height(i);
    }
    let caption = format!(
        "Image patches that excite single neurons most, a row per module: up to {} for each of {}, the most exciting at the \
         top left. The number below is the neuron's.",
        count(most, "patch").replace("patchs", "patches"),
        count(neurons().count(), "neuron"),
    );
    Ok(Figure { picture, caption })
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
            title: "What excites a neuron most — toy".into(),
            subtitle: "toy images, seed 1".into(),
            rows: (0..n_modules).map(row).collect(),
        }
    }

    #[test]
    fn draws_a_row_per_module() {
        let figure = patches(&spec(3, 6, 4)).unwrap();
        check_figure(&figure, &["Module 1", "Module 3", "37", "187"]);
        assert_eq!(figure.picture.n_tiles(), 72);
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
            assert_eq!(figure.picture.n_tiles(), modules * neurons * per_neuron);
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
