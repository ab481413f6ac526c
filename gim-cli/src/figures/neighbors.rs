//! Nearest neighbors of query images in the feature space of every module.

use gim_core::Result;

use super::canvas::{Align, Canvas, Color, TextStyle, Tile, shorten, text_width, wrap};
use super::heading::Heading;
use super::palette::{GREEN, LABEL, MARGIN, MUTED, NOTE, PANEL_TITLE, TEXT, VERMILLION};
use super::{Figure, nothing_to_draw};
use crate::output::count;

const FIGURE: &str = "nearest neighbors";

/// Input of [`neighbors`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Neighbors {
    /// Title; should name the image dataset and the seed.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The queries, a block each.
    pub queries: Vec<QueryBlock>,
}

/// A query image and its neighbors in several feature spaces.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueryBlock {
    /// The query.
    pub tile: Tile,
    /// Its class, written below it; may be empty.
    pub label: String,
    /// A row per module, and any baselines: raw pixels, a random encoder.
    pub rows: Vec<NeighborRow>,
}

/// The neighbors in one feature space.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NeighborRow {
    /// Its title, e.g. `Module 1` or `raw pixels`.
    pub title: String,
    /// The neighbors, nearest first; about eight.
    pub neighbors: Vec<Neighbor>,
}

/// One neighbor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Neighbor {
    /// The image.
    pub tile: Tile,
    /// Whether its class is the query's.
    pub same_class: bool,
    /// Its class, written below it unless it is the query's; may be empty.
    pub label: String,
}

impl Neighbor {
    /// The text below it.
    fn name(&self) -> Option<&str> {
        (!self.same_class && !self.label.is_empty()).then_some(self.label.as_str())
    }
}

const NAME: TextStyle = TextStyle::bold(14.0, TEXT);
const OTHER: TextStyle = TextStyle::new(14.0, VERMILLION);
/// Side of the query, in pixels.
const QUERY: f64 = 132.0;
/// Left edge of the rows' titles, and the widest a line of them may be.
const TITLES: f64 = MARGIN + QUERY + 24.0;
const TITLE_WIDTH: f64 = 112.0;
/// Frame of a neighbor, and the white between it and the image: their colors do not touch.
const FRAME: f64 = 3.0;
const RIM: f64 = 1.0;
/// Between neighbors, between rows, and between queries.
const GAP: f64 = 10.0;
const ROW_GAP: f64 = 10.0;
const BLOCK_GAP: f64 = 26.0;
/// Height of the legend, and of a line of a name.
const LEGEND: f64 = 28.0;
const NAME_LINE: f64 = 17.0;
/// Largest width of the canvas.
const WIDEST: f64 = 1400.0;

/// Draws a block per query: the query at the left, its neighbors in rows at the right.
///
/// The frame of a neighbor says whether its class is the query's. That of another class has gaps,
/// too, for readers who cannot rely on color.
///
/// # Errors
/// When there is no query, a query has no rows, no row has a neighbor, or a tile is not whole.
pub(crate) fn neighbors(spec: &Neighbors) -> Result<Figure> {
    let all = || spec.queries.iter().flat_map(|q| &q.rows).flat_map(|r| &r.neighbors);
    if all().next().is_none() || spec.queries.iter().any(|q| q.rows.is_empty()) {
        return Err(nothing_to_draw(FIGURE, "a query without neighbors, or no query", "search neighbors first"));
    }
    spec.queries.iter().map(|q| &q.tile).chain(all().map(|n| &n.tile)).try_for_each(|tile| tile.check(FIGURE))?;

    let layout = Layout::of(spec)?;
    let heading = Heading::new(&spec.title, &spec.subtitle, layout.width - 2.0 * MARGIN)?;
    let heights = spec.queries.iter().map(|q| layout.block_height(q)).collect::<Result<Vec<_>>>()?;
    let body = heights.iter().sum::<f64>() + BLOCK_GAP * (spec.queries.len() - 1) as f64;
    let mut canvas = Canvas::new(layout.width, heading.height() + LEGEND + body + 18.0);
    heading.draw(&mut canvas, MARGIN);
    draw_legend(&mut canvas, heading.height())?;

    let mut top = heading.height() + LEGEND;
    for (i, (query, height)) in spec.queries.iter().zip(heights).enumerate() {
        if i > 0 {
            let y = top - BLOCK_GAP / 2.0;
            canvas.line(vec![(MARGIN, y), (layout.width - MARGIN, y)], MUTED.faint(0.4), 1.0);
        }
        canvas.tile(MARGIN, top, QUERY, &query.tile);
        for (l, line) in wrap(&query.label, NAME, QUERY)?.iter().enumerate() {
            let line = shorten(line, NAME, QUERY)?;
            canvas.text((MARGIN, top + QUERY + 18.0 + 19.0 * l as f64), Align::Start, line, NAME);
        }
        for (r, row) in query.rows.iter().enumerate() {
            layout.draw_row(&mut canvas, row, top + r as f64 * layout.row_height)?;
        }
        top += height + BLOCK_GAP;
    }
    let left_out =
        if layout.shown < layout.most { format!(" Shown: the nearest {}.", layout.shown) } else { String::new() };
    let caption = format!(
        "Nearest neighbors of {}, nearest first, in the feature space of each row. Green, whole frames: the query's class. \
         Orange, broken frames: another class. At the right: precision, the share of the neighbors that have the query's class.{left_out}",
        count(spec.queries.len(), "query image"),
    );
    Ok(Figure { canvas, caption })
}

/// Where neighbors lie, in pixels.
struct Layout {
    width: f64,
    /// Left edge of the first neighbor.
    left: f64,
    /// Side of a neighbor's frame.
    framed: f64,
    /// Height of a row with its gap.
    row_height: f64,
    /// Most neighbors of a row, and how many of them fit.
    most: usize,
    shown: usize,
}

impl Layout {
    fn of(spec: &Neighbors) -> Result<Self> {
        let rows = || spec.queries.iter().flat_map(|q| &q.rows);
        let names = || rows().flat_map(|r| &r.neighbors).filter_map(Neighbor::name);
        let most = rows().map(|r| r.neighbors.len()).max().unwrap_or(1);
        let mut title_width: f64 = 0.0;
        for line in rows().map(|r| wrap(&r.title, PANEL_TITLE, TITLE_WIDTH)).collect::<Result<Vec<_>>>()?.concat() {
            title_width = title_width.max(text_width(&line, PANEL_TITLE)?);
        }
        let left = TITLES + title_width + 16.0;
        let count_width = 12.0 + text_width(&precision(most, most), NOTE)?;
        // Names need room below the images; without them the images may be smaller.
        let named = names().next().is_some();
        let room = WIDEST - MARGIN - left - count_width;
        let framed = (room / most as f64 - GAP).clamp(24.0, if named { 88.0 } else { 72.0 });
        // When even small images do not all fit, the nearest are shown.
        let shown = most.min((room / (framed + GAP) + 1e-9).floor() as usize);
        let width = (left + shown as f64 * (framed + GAP) - GAP + count_width + MARGIN).max(640.0);
        let mut lines = 0;
        for name in names() {
            lines = lines.max(name_below(name, framed)?.len());
        }
        let name_height = if named { 2.0 + NAME_LINE * lines as f64 } else { 0.0 };
        Ok(Self { width, left, framed, row_height: framed + name_height + ROW_GAP, most, shown })
    }

    fn block_height(&self, query: &QueryBlock) -> Result<f64> {
        let lines = wrap(&query.label, NAME, QUERY)?.len();
        Ok((query.rows.len() as f64 * self.row_height - ROW_GAP).max(QUERY + 19.0 * lines as f64 + 6.0))
    }

    /// Left edge of neighbor `n`.
    fn x(&self, n: usize) -> f64 {
        self.left + n as f64 * (self.framed + GAP)
    }

    /// Draws a row: its title, its neighbors and their number of the query's class.
    fn draw_row(&self, canvas: &mut Canvas, row: &NeighborRow, top: f64) -> Result<()> {
        let framed = self.framed;
        draw_title(canvas, &row.title, (TITLES, top + framed / 2.0), framed)?;
        for (n, neighbor) in row.neighbors.iter().take(self.shown).enumerate() {
            let x = self.x(n);
            draw_frame(canvas, (x, top), framed, neighbor.same_class);
            let inset = FRAME + RIM;
            canvas.tile(x + inset, top + inset, framed - 2.0 * inset, &neighbor.tile);
            for (l, line) in name_below(neighbor.name().unwrap_or_default(), framed)?.into_iter().enumerate() {
                let baseline = top + framed + 15.0 + NAME_LINE * l as f64;
                canvas.text((x + framed / 2.0, baseline), Align::Middle, line, OTHER);
            }
        }
        let (same, of) = tally(row);
        let x = self.x(row.neighbors.len().min(self.shown)) - GAP + 12.0;
        canvas.text((x, top + framed / 2.0 + 5.0), Align::Start, precision(same, of), NOTE);
        Ok(())
    }
}

/// The share of a row's neighbors that have the query's class, with the measure's name.
fn precision(same: usize, of: usize) -> String {
    let share = if of == 0 { "none".into() } else { format!("{:.2}", same as f64 / of as f64) };
    format!("precision@{of}: {share}")
}

/// A name below an image `side` wide, in two lines at most.
fn name_below(name: &str, side: f64) -> Result<Vec<String>> {
    let width = side + GAP - 4.0;
    let mut lines = wrap(name, OTHER, width)?;
    if lines.len() > 2 {
        lines = vec![lines[0].clone(), lines[1..].join(" ")];
    }
    lines.iter().map(|line| shorten(line, OTHER, width)).collect()
}

/// Neighbors of the query's class, and all.
fn tally(row: &NeighborRow) -> (usize, usize) {
    (row.neighbors.iter().filter(|n| n.same_class).count(), row.neighbors.len())
}

/// A square frame; that of another class has gaps in the middle of its sides.
fn draw_frame(canvas: &mut Canvas, (left, top): (f64, f64), side: f64, same_class: bool) {
    let color = if same_class { GREEN } else { VERMILLION };
    canvas.framed_rect((left, top, side, side), Color::WHITE, color, FRAME);
    if !same_class {
        let (gap, middle) = (side * 0.4, side * 0.3);
        canvas.rect(left + middle, top, gap, side, Color::WHITE);
        canvas.rect(left, top + middle, side, gap, Color::WHITE);
    }
}

fn draw_legend(canvas: &mut Canvas, top: f64) -> Result<()> {
    let mut x = MARGIN;
    for (same_class, text) in [(true, "the query's class"), (false, "another class")] {
        draw_frame(canvas, (x, top), 16.0, same_class);
        canvas.text((x + 24.0, top + 13.0), Align::Start, text, LABEL);
        x += 24.0 + text_width(text, LABEL)? + 30.0;
    }
    Ok(())
}

/// A row's title, its lines centered on `at.1`; lines that do not fit into `height` are left out.
fn draw_title(canvas: &mut Canvas, title: &str, at: (f64, f64), height: f64) -> Result<()> {
    let mut lines = wrap(title, PANEL_TITLE, TITLE_WIDTH)?;
    lines.truncate((height / 18.0).floor().max(1.0) as usize);
    let first = at.1 + 5.0 - 9.0 * (lines.len().max(1) - 1) as f64;
    for (l, line) in lines.iter().enumerate() {
        let line = shorten(line, PANEL_TITLE, TITLE_WIDTH)?;
        canvas.text((at.0, first + 18.0 * l as f64), Align::Start, line, PANEL_TITLE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, tile};
    use super::*;

    fn spec(n_queries: usize, n_rows: usize, k: usize, named: bool) -> Neighbors {
        let name = |c: usize| ["cassette player", "English springer", "tench"][c % 3].to_owned();
        let neighbor = |q: usize, r: usize, i: usize| Neighbor {
            tile: tile(24, 24, 3, (q * 100 + r * 10 + i) as u64),
            same_class: (i * 7 + q) % (n_rows + 1) <= r,
            label: if named { name(q + 1 + i % 2) } else { String::new() },
        };
        let row = |q: usize, r: usize| NeighborRow {
            title: if r == 0 { "raw pixels".into() } else { format!("Module {r}") },
            neighbors: (0..k).map(|i| neighbor(q, r, i)).collect(),
        };
        let query = |q: usize| QueryBlock {
            tile: tile(24, 24, 3, 1000 + q as u64),
            label: name(q),
            rows: (0..n_rows).map(|r| row(q, r)).collect(),
        };
        Neighbors {
            title: "Nearest neighbors by module — toy".into(),
            subtitle: "toy images, seed 1".into(),
            queries: (0..n_queries).map(query).collect(),
        }
    }

    #[test]
    fn draws_a_block_per_query_and_a_row_per_module() {
        for named in [false, true] {
            let spec = spec(2, 4, 8, named);
            let figure = neighbors(&spec).unwrap();
            let (same, of) = tally(&spec.queries[0].rows[2]);
            check_figure(&figure, &["raw pixels", "Module 3", "cassette player", &precision(same, of)]);
            assert_eq!(figure.canvas.n_tiles(), 2 + 2 * 4 * 8);
            assert!(figure.caption.contains("2 query images, nearest first"), "{}", figure.caption);
            let wrong = spec.queries.iter().flat_map(|q| &q.rows).map(|r| 8 - tally(r).0).sum::<usize>();
            let names = figure.canvas.texts().iter().filter(|t| t.starts_with("English spr") || **t == "tench").count();
            assert_eq!(names >= wrong / 2, named, "{names} names for {wrong} of another class");
        }
    }

    #[test]
    fn odd_numbers_fit_too() {
        for (queries, rows, k) in [(1, 1, 1), (1, 7, 20), (3, 1, 100)] {
            let mut spec = spec(queries, rows, k, true);
            spec.queries[0].rows[0].title = "a random encoder of the same shape, without training".into();
            spec.queries[0].label = "a class whose name is long, and Donaudampfschifffahrtsgesellschaft".into();
            spec.queries[0].tile = tile(7, 30, 1, 5);
            check_figure(&neighbors(&spec).unwrap(), &[]);
        }
        let mut ragged = spec(1, 2, 5, false);
        ragged.queries[0].rows[0].neighbors.clear();
        check_figure(&neighbors(&ragged).unwrap(), &["precision@0: none"]);
    }

    #[test]
    fn refuses_what_cannot_be_shown() {
        assert!(neighbors(&spec(0, 1, 1, true)).is_err() && neighbors(&spec(1, 0, 1, true)).is_err());
        assert!(neighbors(&spec(1, 1, 0, true)).is_err());
        let mut torn = spec(1, 1, 1, true);
        torn.queries[0].tile.channels = 1;
        assert!(neighbors(&torn).is_err());
    }
}
