//! The vector back end: SVG documents.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gim_core::Result;
use plotters::prelude::{FontDesc, FontFamily, FontStyle, IntoDrawingArea, PathElement, SVGBackend, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontTransform, WHITE};

use super::text::TextMark;
use super::tile::PlacedTile;
use super::{Align, Area, BackEnd, Canvas, Color, Hint, Point, defect};

/// SVG user units per nominal pixel.
const UNITS: u32 = 10;
/// The committed font, as a CSS list: a viewer without DejaVu takes one of nearly equal width.
const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";
/// Plotters divides a font size by this before it writes it.
const SIZE_RATIO: f64 = 1.24;
/// Plotters writes the position of a text's top and shifts the baseline down by this part of an
/// em.
const BASELINE: f64 = 0.76;

impl Canvas {
    /// The canvas as an SVG document. Tiles become `<image>` elements, their pixels as PNGs.
    pub(crate) fn svg(&self) -> Result<String> {
        let (w, h) = (self.width * UNITS, self.height * UNITS);
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (w, h)).into_drawing_area();
            area.fill(&WHITE).map_err(defect)?;
            self.draw(&area, f64::from(UNITS))?;
            area.present().map_err(defect)?;
        }
        let (nominal, real) = (format!("width=\"{w}\" height=\"{h}\""), (self.width, self.height));
        let mut text = text.replacen(&nominal, &format!("width=\"{}\" height=\"{}\"", real.0, real.1), 1);
        if !self.tiles.is_empty() || !self.hints.is_empty() {
            let end = text.rfind("</svg>").ok_or_else(|| defect("the SVG has no end"))?;
            let images = self.tiles.iter().map(|p| image_element(p, f64::from(UNITS))).collect::<Result<String>>()?;
            let hints: String = self.hints.iter().map(|h| hint_element(h, f64::from(UNITS))).collect();
            text.insert_str(end, &(images + &hints));
        }
        Ok(text)
    }
}

impl BackEnd for SVGBackend<'_> {
    fn paint_line(area: &Area<Self>, points: &[Point], color: Color, width: f64) -> Result<()> {
        let points: Vec<_> = points.iter().map(|&(x, y)| (x.round() as i32, y.round() as i32)).collect();
        let stroke = color.rgb().stroke_width(width.round() as u32);
        area.draw(&PathElement::new(points, stroke)).map_err(defect)
    }

    fn paint_text(area: &Area<Self>, scale: f64, mark: &TextMark) -> Result<()> {
        let TextMark { at, align, upward, text, style } = mark;
        let em = style.size * scale;
        let anchor = match align {
            Align::Start => HPos::Left,
            Align::Middle => HPos::Center,
            Align::End => HPos::Right,
        };
        let baseline = BASELINE * em;
        let (x, y) = (at.0 * scale, at.1 * scale);
        let (transform, x, y) = match upward {
            false => (FontTransform::None, x, y - baseline),
            true => (FontTransform::Rotate270, x - baseline, y),
        };
        let weight = if style.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = FontDesc::new(FontFamily::Name(FAMILY), em * SIZE_RATIO, weight).transform(transform);
        let color = style.color.rgb();
        let style = plotters::style::TextStyle::from(font).color(&color).pos(Pos::new(anchor, VPos::Top));
        area.draw(&Text::new(text.as_str(), (x.round() as i32, y.round() as i32), style)).map_err(defect)
    }
}

/// Radius of the disc that shows a hint, in pixels.
const HINT: f64 = 8.0;

/// An invisible disc with a title.
fn hint_element(hint: &Hint, scale: f64) -> String {
    let [x, y, radius] = [hint.at.0, hint.at.1, HINT].map(|v| (v * scale).round());
    let text = hint.text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"none\" pointer-events=\"all\"><title>{text}</title></circle>\n"
    )
}

/// The `<image>` element of a tile.
fn image_element(placed: &PlacedTile, scale: f64) -> Result<String> {
    let [x, y, width, height] = [placed.left, placed.top, placed.width, placed.height].map(|v| (v * scale).round());
    let data = STANDARD.encode(placed.tile.png()?);
    // Older viewers know `optimizeSpeed` only; later declarations win where they are understood.
    let style = "image-rendering:optimizeSpeed;image-rendering:pixelated";
    Ok(format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
         style=\"{style}\" href=\"data:image/png;base64,{data}\"/>\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::Tile;
    use super::super::check::sample;
    use super::*;

    #[test]
    fn has_its_nominal_size_and_escapes_text() {
        let text = sample().svg().unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let root = document.root_element();
        assert_eq!((root.attribute("width"), root.attribute("height")), (Some("120"), Some("60")));
        assert_eq!(root.attribute("viewBox"), Some("0 0 1200 600"));
        let texts: Vec<_> = document.descendants().filter(|n| n.has_tag_name("text")).collect();
        assert_eq!(texts[0].text().unwrap().trim(), "a < b");
    }

    #[test]
    fn hints_become_titles() {
        let mut canvas = sample();
        canvas.hint((20.0, 30.0), "a < b & c");
        let svg = canvas.svg().unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let title = document.descendants().find(|n| n.has_tag_name("title")).unwrap();
        assert_eq!(title.text(), Some("a < b & c"));
        assert_eq!(title.parent_element().and_then(|c| c.attribute("cx")), Some("200"));
    }

    #[test]
    fn tiles_become_images() {
        let mut canvas = Canvas::new(60.0, 30.0);
        let color = Tile { height: 1, width: 2, channels: 3, pixels: vec![250, 0, 0, 0, 0, 250] };
        let gray = Tile { height: 2, width: 2, channels: 1, pixels: vec![0, 80, 160, 240] };
        canvas.tile(5.0, 5.0, 20.0, &color);
        canvas.tile(35.0, 5.0, 20.0, &gray);
        let svg = canvas.svg().unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let images: Vec<_> = document.descendants().filter(|n| n.has_tag_name("image")).collect();
        assert_eq!(images.len(), 2);
        let place = ["x", "y", "width", "height"].map(|name| images[0].attribute(name).unwrap());
        assert_eq!(place, ["50", "100", "200", "100"]);
        let data = format!("data:image/png;base64,{}", STANDARD.encode(color.png().unwrap()));
        assert_eq!(images[0].attribute("href"), Some(data.as_str()));
    }
}
