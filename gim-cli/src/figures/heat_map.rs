//! A square heat map with a name for every row and column: what confusions and similarities have in common.

use gim_core::Result;

use super::Heading;
use super::axes::{LABEL, MUTED, TEXT};
use super::canvas::{Align, Ink, Picture, Type, shorten, text_width, wrap};

/// Input of [`heat_map`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeatMap<'a> {
    /// Title.
    pub(super) title: &'a str,
    /// Second line, may be empty.
    pub(super) subtitle: &'a str,
    /// Names of rows and columns.
    pub(super) names: &'a [String],
    /// Shares from 0 to 1, row by row; a row of `None` is grey.
    pub(super) shares: Vec<Option<Vec<f64>>>,
    /// Titles of the vertical and the horizontal axis.
    pub(super) axes: [&'a str; 2],
    /// Line below the map, may be empty.
    pub(super) note: &'a str,
}

const MARGIN: f64 = 22.0;
const AXIS_TITLE: Type = Type::new(15.0, TEXT);
/// Side of the whole map, about.
const SIDE: f64 = 780.0;
/// A cell below this side has no room for `100`.
const ROOM_FOR_NUMBER: f64 = 34.0;
/// Lines of names must not touch.
const SMALLEST: f64 = 18.0;
const LARGEST: f64 = 120.0;
const NAME_WIDTH: f64 = 220.0;
const BAR: f64 = 18.0;
/// Numbers on light cells: black, for the middle blues leave little contrast to spare.
const NUMBER: Ink = Ink(0, 0, 0);
const FRAME: Ink = Ink(150, 150, 150);
/// Classes that are absent from the rows judged.
const ABSENT: Ink = Ink(236, 236, 236);

/// Draws the map, and tells whether cells had room for their numbers.
pub(super) fn heat_map(spec: &HeatMap<'_>) -> Result<(Picture, bool)> {
    let n = spec.names.len();
    let cell = (SIDE / n as f64).clamp(SMALLEST, LARGEST).floor();
    let numbers = cell >= ROOM_FOR_NUMBER;
    let side = cell * n as f64;
    let names = spec.names.iter().map(|name| shorten(name, LABEL, NAME_WIDTH)).collect::<Result<Vec<_>>>()?;
    let mut name_width: f64 = 0.0;
    for name in &names {
        name_width = name_width.max(text_width(name, LABEL)?);
    }
    // Names below the columns stand upright unless all fit side by side.
    let upright = name_width + 8.0 > cell;
    let below = if upright { name_width + 8.0 } else { 22.0 };
    let (left, right) = (MARGIN + 26.0 + name_width + 8.0, 28.0 + BAR + 8.0 + text_width("100 %", LABEL)? + MARGIN);
    let width = (left + side + right).max(640.0);

    let heading = Heading::new(spec.title, spec.subtitle, width - 2.0 * MARGIN)?;
    let notes = wrap(spec.note, Type::new(14.0, MUTED), width - 2.0 * MARGIN)?;
    let top = heading.height() + 8.0;
    let foot = top + side + below + 26.0;
    let mut picture = Picture::new(width, foot + 20.0 * notes.len() as f64 + 14.0);
    heading.draw(&mut picture, MARGIN);

    for t in 0..n {
        let y = top + cell * t as f64;
        let baseline = y + cell / 2.0 + 5.0;
        picture.text((left - 8.0, baseline), Align::End, names[t].as_str(), LABEL);
        let Some(shares) = &spec.shares[t] else {
            picture.rect(left, y, side, cell, ABSENT);
            continue;
        };
        for (p, share) in shares.iter().copied().enumerate() {
            let x = left + cell * p as f64;
            picture.rect(x, y, cell, cell, heat(share));
            let percent = format!("{:.0}", 100.0 * share);
            // A map full of zeros hides the numbers that matter.
            if numbers && percent != "0" {
                let ink = if dark(heat(share)) { Ink::WHITE } else { NUMBER };
                let look = if t == p { Type::bold(14.0, ink) } else { Type::new(14.0, ink) };
                picture.text((x + cell / 2.0, baseline), Align::Middle, percent, look);
            }
        }
    }
    for (p, name) in names.iter().enumerate() {
        let middle = left + cell * (p as f64 + 0.5);
        match upright {
            true => picture.text_upward((middle + 5.0, top + side + 8.0), Align::End, name.as_str(), LABEL),
            false => picture.text((middle, top + side + 19.0), Align::Middle, name.as_str(), LABEL),
        }
    }
    outline(&mut picture, (left, top, side, side));
    picture.text_upward((MARGIN + 12.0, top + side / 2.0), Align::Middle, spec.axes[0], AXIS_TITLE);
    picture.text((left + side / 2.0, foot - 5.0), Align::Middle, spec.axes[1], AXIS_TITLE);
    draw_bar(&mut picture, (left + side + 28.0, top), side);
    for (l, line) in notes.iter().enumerate() {
        picture.text((MARGIN, foot + 18.0 + 20.0 * l as f64), Align::Start, line.as_str(), Type::new(14.0, MUTED));
    }

    Ok((picture, numbers))
}

/// Colour of a share, 0 to 1: from white over blue to nearly black, darker the greater it is, so that it survives grey print.
fn heat(share: f64) -> Ink {
    const STOPS: [Ink; 5] = [Ink::WHITE, Ink(196, 222, 240), Ink(107, 174, 214), Ink(0, 104, 168), Ink(8, 38, 84)];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let i = (place as usize).min(STOPS.len() - 2);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * (place - i as f64)).round() as u8;
    let (a, b) = (STOPS[i], STOPS[i + 1]);
    Ink(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Whether white is easier to read on this colour than black, by the contrast of WCAG 2.
fn dark(ink: Ink) -> bool {
    contrast(ink, Ink::WHITE) > contrast(ink, NUMBER)
}

fn contrast(a: Ink, b: Ink) -> f64 {
    let linear = |c: u8| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    let light = |i: Ink| 0.05 + 0.2126 * linear(i.0) + 0.7152 * linear(i.1) + 0.0722 * linear(i.2);
    light(a).max(light(b)) / light(a).min(light(b))
}

fn outline(picture: &mut Picture, (left, top, width, height): (f64, f64, f64, f64)) {
    let (right, bottom) = (left + width, top + height);
    for ends in [
        [(left, top), (right, top)],
        [(right, top), (right, bottom)],
        [(left, bottom), (right, bottom)],
        [(left, top), (left, bottom)],
    ] {
        picture.line(ends.to_vec(), FRAME, 1.0);
    }
}

/// The colour bar, 100 % at its top.
fn draw_bar(picture: &mut Picture, (left, top): (f64, f64), height: f64) {
    const STEPS: usize = 100;
    let step = height / STEPS as f64;
    for i in 0..STEPS {
        let share = 1.0 - (i as f64 + 0.5) / STEPS as f64;
        // Each down to the bottom: between strips that only meet, viewers let the white through.
        picture.rect(left, top + step * i as f64, BAR, height - step * i as f64, heat(share));
    }
    outline(picture, (left, top, BAR, height));
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let y = top + height * (1.0 - percent / 100.0);
        picture.line(vec![(left + BAR, y), (left + BAR + 4.0, y)], FRAME, 1.0);
        picture.text((left + BAR + 8.0, y + 5.0), Align::Start, format!("{percent} %"), LABEL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_out_from_their_cells() {
        let mut before = f64::INFINITY;
        for i in 0..=100 {
            let cell = heat(f64::from(i) / 100.0);
            let ink = if dark(cell) { Ink::WHITE } else { NUMBER };
            assert!(contrast(cell, ink) >= 4.5, "{i} %: {}", contrast(cell, ink));
            let light = contrast(cell, Ink(0, 0, 0));
            assert!(light < before, "{i} % is not darker than {} %", i - 1);
            before = light;
        }
    }
}
