//! What tests ask of a canvas.

use super::text::TextMark;
use super::{Align, Canvas, Color, Mark, TextStyle, text_width};

/// An area of the canvas: left, top, right, bottom.
type Area = (f64, f64, f64, f64);

fn overlap(a: Area, b: Area) -> bool {
    a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3
}

/// The area that a text covers, letters with descenders included.
fn area_of(mark: &TextMark) -> Area {
    let ((x, y), style) = (mark.at, mark.style);
    let width = text_width(&mark.text, style).unwrap();
    let before = match mark.align {
        Align::Start => 0.0,
        Align::Middle => width / 2.0,
        Align::End => width,
    };
    let (up, down) = (0.74 * style.size, 0.2 * style.size);
    match mark.upward {
        false => (x - before, y - up, x - before + width, y + down),
        true => (x - up, y + before - width, x + down, y + before),
    }
}

impl Canvas {
    fn text_marks(&self) -> impl Iterator<Item = &TextMark> {
        self.marks.iter().filter_map(|m| if let Mark::Text(text) = m { Some(text) } else { None })
    }

    /// Every text drawn, in order.
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.text_marks().map(|t| t.text.as_str()).collect()
    }

    /// Number of tiles shown.
    pub(crate) fn n_tiles(&self) -> usize {
        self.tiles.len()
    }

    /// Panics when two texts overlap, a text leaves the canvas or is too small to read, or a tile
    /// hides a text or another tile.
    pub(crate) fn check_texts(&self) {
        let (w, h) = (f64::from(self.width), f64::from(self.height));
        let inside = |area: Area| area.0 >= 0.0 && area.1 >= 0.0 && area.2 <= w && area.3 <= h;
        let mut texts: Vec<(Area, &str)> = Vec::new();
        for mark in self.text_marks() {
            let (area, text) = (area_of(mark), mark.text.as_str());
            assert!(mark.style.size >= 14.0, "{text} is too small");
            assert!(inside(area), "'{text}' leaves the canvas");
            for other in &texts {
                assert!(!overlap(area, other.0), "'{text}' overlaps '{}'", other.1);
            }
            texts.push((area, text));
        }
        let mut tiles: Vec<Area> = Vec::new();
        for tile in &self.tiles {
            let (area, i) = ((tile.left, tile.top, tile.left + tile.width, tile.top + tile.height), tiles.len());
            assert!(inside(area), "tile {i} leaves the canvas");
            for text in &texts {
                assert!(!overlap(area, text.0), "tile {i} hides '{}'", text.1);
            }
            assert!(tiles.iter().all(|other| !overlap(area, *other)), "tile {i} hides another");
            tiles.push(area);
        }
    }
}

/// A canvas with a mark of every kind.
pub(super) fn sample() -> Canvas {
    let mut canvas = Canvas::new(120.0, 60.0);
    canvas.rect(10.0, 10.0, 20.0, 20.0, Color(200, 0, 0));
    canvas.line(vec![(40.0, 10.0), (80.0, 50.0), (100.0, 10.0)], Color(0, 0, 200), 2.0);
    canvas.text((60.0, 30.0), Align::Middle, "a < b", TextStyle::new(14.0, Color::BLACK));
    canvas
}

/// Red, green and blue of a pixel of a PNG file.
pub(super) fn pixel(bytes: &[u8], x: usize, y: usize) -> [u8; 3] {
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let start = 3 * (y * info.width as usize + x);
    [pixels[start], pixels[start + 1], pixels[start + 2]]
}

#[test]
#[should_panic(expected = "'b' overlaps 'a < b'")]
fn overlapping_texts_are_found() {
    let mut canvas = sample();
    canvas.text((60.0, 34.0), Align::Start, "b", TextStyle::new(14.0, Color::BLACK));
    canvas.check_texts();
}
