//! Nearest neighbours of query images in the feature space of every module: what a module holds to be alike.

use gim_core::Result;

use super::axes::{GREEN, LABEL, MUTED, TEXT, VERMILLION};
use super::canvas::{Align, Ink, Picture, Tile, Type, shorten, text_width, wrap};
use super::{Figure, Heading, count, nothing_to_draw};

const FIGURE: &str = "neighbours";

/// Input of [`neighbours`].
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// Title; should name the corpus and the seed.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The queries, a block each.
    pub queries: Vec<QueryBlock>,
}

/// A query image and its neighbours by several measures.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryBlock {
    /// The query.
    pub tile: Tile,
    /// Its class, written below it; may be empty.
    pub label: String,
    /// A row per module, and any others to compare with: raw pixels, a random encoder.
    pub rows: Vec<NeighbourRow>,
}

/// The neighbours by one measure.
#[derive(Debug, Clone, PartialEq)]
pub struct NeighbourRow {
    /// Its title, e.g. `Module 1` or `raw pixels`.
    pub title: String,
    /// The neighbours, nearest first; eight or so.
    pub neighbours: Vec<Neighbour>,
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// The image.
    pub tile: Tile,
    /// Whether its class is the query's.
    pub same_class: bool,
    /// Its class, written below it; may be empty. Written only when it is another class than the query's, whose name stands
    /// below the query.
    pub label: String,
}

impl Neighbour {
    /// What is written below it.
    fn name(&self) -> Option<&str> {
        (!self.same_class && !self.label.is_empty()).then_some(self.label.as_str())
    }
}

const MARGIN: f64 = 22.0;
const ROW_TITLE: Type = Type::bold(15.0, TEXT);
const NAME: Type = Type::bold(14.0, TEXT);
const OTHER: Type = Type::new(14.0, VERMILLION);
const COUNT: Type = Type::new(14.0, MUTED);
/// Side of the query, and between it and the rows.
const QUERY: f64 = 132.0;
const TITLE_WIDTH: f64 = 112.0;
/// Frame of a neighbour, and the white between frame and image: colours of the image do not touch the frame's.
const FRAME: f64 = 3.0;
const RIM: f64 = 1.0;
const GAP: f64 = 10.0;
const ROW_GAP: f64 = 10.0;
const BLOCK_GAP: f64 = 26.0;
const LEGEND: f64 = 28.0;
const WIDEST: f64 = 1400.0;

/// Draws a block per query: the query at the left, its neighbours by every measure in rows, in a frame that says whether the
/// class is the query's. The frame of another class is broken at the corners, too: colour alone is not for every reader.
pub fn neighbours(spec: &Neighbours) -> Result<Figure> {
    let rows = || spec.queries.iter().flat_map(|q| &q.rows);
    let all = || rows().flat_map(|r| &r.neighbours);
    if all().next().is_none() || spec.queries.iter().any(|q| q.rows.is_empty()) {
        return Err(nothing_to_draw(FIGURE, "a query without neighbours, or no query", "search neighbours first"));
    }
    spec.queries.iter().map(|q| &q.tile).chain(all().map(|n| &n.tile)).try_for_each(|tile| tile.check(FIGURE))?;

    let most = rows().map(|r| r.neighbours.len()).max().unwrap_or(1);
    let mut title_width: f64 = 0.0;
    for line in rows().map(|r| wrap(&r.title, ROW_TITLE, TITLE_WIDTH)).collect::<Result<Vec<_>>>()?.concat() {
        title_width = title_width.max(text_width(&line, ROW_TITLE)?);
    }
    let left = MARGIN + QUERY + 24.0 + title_width + 16.0;
    let score_width = 12.0 + text_width(&format!("{most} of {most}"), COUNT)?;
    // Names want room below the images; without them the images may be smaller.
    let named = all().any(|n| n.name().is_some());
    let room = (WIDEST - MARGIN - left - score_width) / most as f64 - GAP;
    let framed = room.clamp(24.0, if named { 88.0 } else { 72.0 });
    // So many neighbours that even small images do not fit: the nearest are shown.
    let shown = most.min(((WIDEST - MARGIN - left - score_width) / (framed + GAP)).floor() as usize);
    let width = (left + shown as f64 * (framed + GAP) - GAP + score_width + MARGIN).max(640.0);

    let heading = Heading::new(&spec.title, &spec.subtitle, width - 2.0 * MARGIN)?;
    let mut name_lines = 0;
    for name in all().filter_map(Neighbour::name) {
        name_lines = name_lines.max(name_below(name, framed)?.len());
    }
    let name_height = if named { 2.0 + 17.0 * name_lines as f64 } else { 0.0 };
    let row_height = framed + name_height + ROW_GAP;
    let block_height = |q: &QueryBlock| {
        let lines = wrap(&q.label, NAME, QUERY).map_or(0, |lines| lines.len());
        (q.rows.len() as f64 * row_height - ROW_GAP).max(QUERY + 19.0 * lines as f64 + 6.0)
    };
    let body: f64 = spec.queries.iter().map(block_height).sum();
    let height = heading.height() + LEGEND + body + BLOCK_GAP * (spec.queries.len() - 1) as f64 + 18.0;
    let mut picture = Picture::new(width, height);
    heading.draw(&mut picture, MARGIN);
    draw_legend(&mut picture, heading.height())?;

    let mut top = heading.height() + LEGEND;
    for (i, query) in spec.queries.iter().enumerate() {
        if i > 0 {
            let y = top - BLOCK_GAP / 2.0;
            picture.line(vec![(MARGIN, y), (width - MARGIN, y)], MUTED.faint(0.4), 1.0);
        }
        picture.tile(MARGIN, top, QUERY, &query.tile);
        for (l, line) in wrap(&query.label, NAME, QUERY)?.iter().enumerate() {
            let line = shorten(line, NAME, QUERY)?;
            picture.text((MARGIN, top + QUERY + 18.0 + 19.0 * l as f64), Align::Start, line, NAME);
        }
        for (r, row) in query.rows.iter().enumerate() {
            let y = top + r as f64 * row_height;
            draw_title(&mut picture, &row.title, (MARGIN + QUERY + 24.0, y + framed / 2.0), framed)?;
            for (n, neighbour) in row.neighbours.iter().take(shown).enumerate() {
                let x = left + n as f64 * (framed + GAP);
                draw_frame(&mut picture, (x, y), framed, neighbour.same_class);
                let inset = FRAME + RIM;
                picture.tile(x + inset, y + inset, framed - 2.0 * inset, &neighbour.tile);
                for (l, line) in name_below(neighbour.name().unwrap_or_default(), framed)?.into_iter().enumerate() {
                    let baseline = y + framed + 15.0 + 17.0 * l as f64;
                    picture.text((x + framed / 2.0, baseline), Align::Middle, line, OTHER);
                }
            }
            let (same, of) = tally(row);
            let x = left + row.neighbours.len().min(shown) as f64 * (framed + GAP) - GAP + 12.0;
            picture.text((x, y + framed / 2.0 + 5.0), Align::Start, format!("{same} of {of}"), COUNT);
        }
        top += block_height(query) + BLOCK_GAP;
    }
    let left_out = if shown < most { format!(" The nearest {shown} are shown.") } else { String::new() };
    let caption = format!(
        "Nearest neighbours of {}, nearest first, in the feature space of each row. Green, whole frames: the query's class; \
         orange, broken frames: another class. At the right, how many are of the query's class.{left_out}",
        count(spec.queries.len(), "query image"),
    );
    Ok(Figure { picture, caption })
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

/// Neighbours of the query's class, and all.
fn tally(row: &NeighbourRow) -> (usize, usize) {
    (row.neighbours.iter().filter(|n| n.same_class).count(), row.neighbours.len())
}

/// A square frame; for another class with gaps in the middle of its sides.
fn draw_frame(picture: &mut Picture, (left, top): (f64, f64), side: f64, same_class: bool) {
    let ink = if same_class { GREEN } else { VERMILLION };
    picture.boxed((left, top, side, side), Ink::WHITE, ink, FRAME);
    if !same_class {
        let (gap, middle) = (side * 0.4, side * 0.3);
        picture.rect(left + middle, top, gap, side, Ink::WHITE);
        picture.rect(left, top + middle, side, gap, Ink::WHITE);
    }
}

fn draw_legend(picture: &mut Picture, top: f64) -> Result<()> {
    let mut x = MARGIN;
    for (same_class, text) in [(true, "the query's class"), (false, "another class")] {
        draw_frame(picture, (x, top), 16.0, same_class);
        picture.text((x + 24.0, top + 13.0), Align::Start, text, LABEL);
        x += 24.0 + text_width(text, LABEL)? + 30.0;
    }
    Ok(())
}

/// A row's title, its lines about `at.1`; as many lines as the row is high.
fn draw_title(picture: &mut Picture, title: &str, at: (f64, f64), height: f64) -> Result<()> {
    let mut lines = wrap(title, ROW_TITLE, TITLE_WIDTH)?;
    lines.truncate((height / 18.0).floor().max(1.0) as usize);
    let first = at.1 + 5.0 - 9.0 * (lines.len().max(1) - 1) as f64;
    for (l, line) in lines.iter().enumerate() {
        let line = shorten(line, ROW_TITLE, TITLE_WIDTH)?;
        picture.text((at.0, first + 18.0 * l as f64), Align::Start, line, ROW_TITLE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, tile};
    use super::*;

    fn spec(n_queries: usize, n_rows: usize, k: usize, named: bool) -> Neighbours {
        let name = |c: usize| ["cassette player", "English springer", "tench"][c % 3].to_owned();
        let neighbour = |q: usize, r: usize, i: usize| Neighbour {
            tile: tile(24, 24, 3, (q * 100 + r * 10 + i) as u64),
            same_class: (i * 7 + q) % (n_rows + 1) <= r,
            label: if named { name(q + 1 + i % 2) } else { String::new() },
        };
        let row = |q: usize, r: usize| NeighbourRow {
            title: if r == 0 { "raw pixels".into() } else { format!("Module {r}") },
            neighbours: (0..k).map(|i| neighbour(q, r, i)).collect(),
        };
        let query = |q: usize| QueryBlock {
            tile: tile(24, 24, 3, 1000 + q as u64),
            label: name(q),
            rows: (0..n_rows).map(|r| row(q, r)).collect(),
        };
        Neighbours {
            title: "Nearest neighbours by module — toy".into(),
            subtitle: "toy images, seed 1".into(),
            queries: (0..n_queries).map(query).collect(),
        }
    }

    #[test]
    fn draws_a_block_per_query_and_a_row_per_module() {
        for named in [false, true] {
            let spec = spec(2, 4, 8, named);
            let figure = neighbours(&spec).unwrap();
            let (same, of) = tally(&spec.queries[0].rows[2]);
            check_figure(&figure, &["raw pixels", "Module 3", "cassette player", &format!("{same} of {of}")]);
            assert_eq!(figure.picture.n_tiles(), 2 + 2 * 4 * 8);
            assert!(figure.caption.contains("2 query images, nearest first"), "{}", figure.caption);
            let wrong = spec.queries.iter().flat_map(|q| &q.rows).map(|r| 8 - tally(r).0).sum::<usize>();
            let names =
                figure.picture.texts().iter().filter(|t| t.starts_with("English spr") || **t == "tench").count();
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
            check_figure(&neighbours(&spec).unwrap(), &[]);
        }
        let mut ragged = spec(1, 2, 5, false);
        ragged.queries[0].rows[0].neighbours.clear();
        check_figure(&neighbours(&ragged).unwrap(), &["0 of 0"]);
    }

    #[test]
    fn refuses_what_cannot_be_shown() {
        assert!(neighbours(&spec(0, 1, 1, true)).is_err() && neighbours(&spec(1, 0, 1, true)).is_err());
        assert!(neighbours(&spec(1, 1, 0, true)).is_err());
        let mut torn = spec(1, 1, 1, true);
        torn.queries[0].tile.channels = 1;
        assert!(neighbours(&torn).is_err());
    }
}
