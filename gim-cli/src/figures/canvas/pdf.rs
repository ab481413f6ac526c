//! PDF documents. Texts are outlines, so a viewer needs no font.

use std::io::Write as _;

use ab_glyph::{Font, OutlineCurve, ScaleFont};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use gim_core::Result;
use pdf_writer::types::LineJoinStyle;
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref};

use super::text::{TextMark, font};
use super::tile::PlacedTile;
use super::{Canvas, Color, Mark, Point, defect};

/// Points of a page per pixel.
const POINTS: f32 = 0.75;
/// From the end of a quarter of a circle to its control point, in radii.
const QUARTER: f64 = 0.552_284_75;
/// Numbers of the objects that every document has; tiles follow, then opacities.
const CATALOG: i32 = 1;
const PAGES: i32 = 2;
const PAGE: i32 = 3;
const CONTENT: i32 = 4;
const FIRST_TILE: i32 = 5;

impl Canvas {
    /// The canvas as a PDF document of one page.
    pub(crate) fn pdf(&self) -> Result<Vec<u8>> {
        let mut drawing = Drawing { content: Content::new(), opacities: Vec::new() };
        let height = self.height as f32 * POINTS;
        // From here on y points downward, and lengths are in pixels.
        drawing.content.transform([POINTS, 0.0, 0.0, -POINTS, 0.0, height]);
        drawing.content.set_line_join(LineJoinStyle::RoundJoin);
        self.marks.iter().try_for_each(|mark| drawing.mark(mark))?;
        self.tiles.iter().enumerate().for_each(|(i, placed)| drawing.tile(i, placed));

        let mut pdf = Pdf::new();
        pdf.catalog(Ref::new(CATALOG)).pages(Ref::new(PAGES));
        pdf.pages(Ref::new(PAGES)).kids([Ref::new(PAGE)]).count(1);
        let tile = |i: usize| Ref::new(FIRST_TILE + i as i32);
        let opacity = |i: usize| tile(self.tiles.len() + i);
        let mut page = pdf.page(Ref::new(PAGE));
        page.media_box(Rect::new(0.0, 0.0, self.width as f32 * POINTS, height));
        page.parent(Ref::new(PAGES)).contents(Ref::new(CONTENT));
        let mut resources = page.resources();
        let mut images = resources.x_objects();
        for i in 0..self.tiles.len() {
            images.pair(Name(tile_name(i).as_bytes()), tile(i));
        }
        images.finish();
        let mut states = resources.ext_g_states();
        for i in 0..drawing.opacities.len() {
            states.pair(Name(opacity_name(i).as_bytes()), opacity(i));
        }
        states.finish();
        resources.finish();
        page.finish();
        for (i, share) in drawing.opacities.iter().enumerate() {
            pdf.ext_graphics(opacity(i)).non_stroking_alpha(*share as f32);
        }
        for (i, placed) in self.tiles.iter().enumerate() {
            let (rows, columns) = (placed.tile.height, placed.tile.width);
            let all = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
            let pixels: Vec<u8> = all.flat_map(|(row, column)| placed.tile.rgb(row, column)).collect();
            let pixels = deflate(&pixels)?;
            let mut image = pdf.image_xobject(tile(i), &pixels);
            image.filter(Filter::FlateDecode);
            image.width(columns as i32).height(rows as i32).bits_per_component(8).color_space().device_rgb();
        }
        let content = deflate(&drawing.content.finish())?;
        pdf.stream(Ref::new(CONTENT), &content).filter(Filter::FlateDecode);
        Ok(pdf.finish())
    }
}

fn tile_name(i: usize) -> String {
    format!("T{i}")
}

fn opacity_name(i: usize) -> String {
    format!("O{i}")
}

fn deflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
    out.write_all(bytes).and_then(|()| out.finish()).map_err(defect)
}

/// The content of the page so far.
struct Drawing {
    content: Content,
    /// Opacities in use, below 1.
    opacities: Vec<f64>,
}

impl Drawing {
    fn mark(&mut self, mark: &Mark) -> Result<()> {
        match mark {
            Mark::Polygon { points, color, opacity } => {
                self.content.save_state();
                self.fill_with(*color);
                if *opacity < 1.0 {
                    let known = self.opacities.iter().position(|o| o == opacity);
                    let i = known.unwrap_or(self.opacities.len());
                    if known.is_none() {
                        self.opacities.push(*opacity);
                    }
                    self.content.set_parameters(Name(opacity_name(i).as_bytes()));
                }
                self.path(points);
                self.content.close_path().fill_nonzero().restore_state();
            }
            Mark::Line { points, color, width } => {
                let [r, g, b] = shares(*color);
                self.content.set_stroke_rgb(r, g, b).set_line_width(*width as f32);
                self.path(points);
                self.content.stroke();
            }
            Mark::Disc { at, radius, color } => {
                self.fill_with(*color);
                self.disc(*at, *radius);
            }
            Mark::Text(text) => self.text(text)?,
        }
        Ok(())
    }

    fn fill_with(&mut self, color: Color) {
        let [r, g, b] = shares(color);
        self.content.set_fill_rgb(r, g, b);
    }

    fn path(&mut self, points: &[Point]) {
        for (i, &(x, y)) in points.iter().enumerate() {
            let (x, y) = (coordinate(x as f32), coordinate(y as f32));
            if i == 0 {
                self.content.move_to(x, y)
            } else {
                self.content.line_to(x, y)
            };
        }
    }

    fn disc(&mut self, (x, y): Point, radius: f64) {
        let at = |dx: f64, dy: f64| ((x + radius * dx) as f32, (y + radius * dy) as f32);
        let (x0, y0) = at(1.0, 0.0);
        self.content.move_to(x0, y0);
        for (from, to) in
            [((1.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (-1.0, 0.0)), ((-1.0, 0.0), (0.0, -1.0)), ((0.0, -1.0), (1.0, 0.0))]
        {
            let (a, b) = at(from.0 + QUARTER * to.0, from.1 + QUARTER * to.1);
            let (c, d) = at(to.0 + QUARTER * from.0, to.1 + QUARTER * from.1);
            let (e, f) = at(to.0, to.1);
            self.content.cubic_to(a, b, c, d, e, f);
        }
        self.content.close_path().fill_nonzero();
    }

    /// The outlines of a text's letters, filled.
    fn text(&mut self, mark: &TextMark) -> Result<()> {
        let TextMark { at, upward, text, style, .. } = mark;
        let font = font(style.bold, style.size)?;
        let mut along = mark.start()? as f32;
        let scale = font.h_scale_factor();
        self.fill_with(style.color);
        for letter in text.chars() {
            let id = font.glyph_id(letter);
            let place = |p: ab_glyph::Point| {
                // The font's y points upward.
                let (x, y) = (along + scale * p.x, -scale * p.y);
                let (x, y) =
                    if *upward { (at.0 as f32 + y, at.1 as f32 - x) } else { (at.0 as f32 + x, at.1 as f32 + y) };
                (coordinate(x), coordinate(y))
            };
            if let Some(outline) = font.font.outline(id) {
                self.outline(&outline.curves, place);
                self.content.fill_nonzero();
            }
            along += font.h_advance(id);
        }
        Ok(())
    }

    fn outline(&mut self, curves: &[OutlineCurve], place: impl Fn(ab_glyph::Point) -> (f32, f32)) {
        let mut last = None;
        for curve in curves {
            let (from, bends, to) = parts(curve);
            if last != Some(from) {
                let (x, y) = place(from);
                self.content.move_to(x, y);
            }
            let (x, y) = place(to);
            match bends.map(|[a, b]| (place(a), place(b))) {
                Some(((ax, ay), (bx, by))) => self.content.cubic_to(ax, ay, bx, by, x, y),
                None => self.content.line_to(x, y),
            };
            last = Some(to);
        }
    }

    fn tile(&mut self, i: usize, placed: &PlacedTile) {
        let [left, top, width, height] = [placed.left, placed.top, placed.width, placed.height].map(|x| x as f32);
        self.content.save_state();
        // An image fills the unit square from its bottom up.
        self.content.transform([width, 0.0, 0.0, -height, left, top + height]);
        self.content.x_object(Name(tile_name(i).as_bytes())).restore_state();
    }
}

/// Red, green and blue, 0 to 1.
fn shares(color: Color) -> [f32; 3] {
    [color.0, color.1, color.2].map(|c| f32::from(c) / 255.0)
}

/// Start of a curve, its control points as a cubic Bézier curve unless it is straight, and its end.
fn parts(curve: &OutlineCurve) -> (ab_glyph::Point, Option<[ab_glyph::Point; 2]>, ab_glyph::Point) {
    let toward = |a: ab_glyph::Point, b: ab_glyph::Point| {
        ab_glyph::point(a.x + 2.0 / 3.0 * (b.x - a.x), a.y + 2.0 / 3.0 * (b.y - a.y))
    };
    match *curve {
        OutlineCurve::Line(a, b) => (a, None, b),
        OutlineCurve::Quad(a, b, c) => (a, Some([toward(a, b), toward(c, b)]), c),
        OutlineCurve::Cubic(a, b, c, d) => (a, Some([b, c]), d),
    }
}

/// A coordinate with as many digits as can be seen.
fn coordinate(x: f32) -> f32 {
    (1000.0 * x).round() / 1000.0
}
