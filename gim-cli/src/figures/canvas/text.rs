//! Texts: how they look, how wide they are, and the committed font.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScale, PxScaleFont, ScaleFont};
use gim_core::Result;

use super::{Color, Point, defect};

/// Which end of a text its position names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TextStyle {
    /// The em in pixels.
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) color: Color,
}

impl TextStyle {
    pub(crate) const fn new(size: f64, color: Color) -> Self {
        Self { size, bold: false, color }
    }

    pub(crate) const fn bold(size: f64, color: Color) -> Self {
        Self { size, bold: true, color }
    }
}

/// A text on the canvas, its baseline through `at`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextMark {
    pub(super) at: Point,
    pub(super) align: Align,
    /// Whether it reads upward.
    pub(super) upward: bool,
    pub(super) text: String,
    pub(super) style: TextStyle,
}

impl TextMark {
    /// Where the text begins, in pixels from its position along its direction.
    pub(super) fn start(&self) -> Result<f64> {
        Ok(match self.align {
            Align::Start => 0.0,
            Align::Middle => -text_width(&self.text, self.style)? / 2.0,
            Align::End => -text_width(&self.text, self.style)?,
        })
    }
}

/// Width of a text in pixels.
pub(crate) fn text_width(text: &str, style: TextStyle) -> Result<f64> {
    let font = font(style.bold, style.size)?;
    Ok(text.chars().map(|letter| f64::from(font.h_advance(font.glyph_id(letter)))).sum())
}

/// Breaks a text into lines no wider than `width` pixels; a longer word stays whole.
pub(crate) fn wrap(text: &str, style: TextStyle, width: f64) -> Result<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), style)? <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    Ok(lines)
}

/// A text cut to `width` pixels with an ellipsis.
pub(crate) fn shorten(text: &str, style: TextStyle, width: f64) -> Result<String> {
    if text_width(text, style)? <= width {
        return Ok(text.to_owned());
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let cut = format!("{}…", kept.iter().collect::<String>().trim_end());
        if text_width(&cut, style)? <= width {
            return Ok(cut);
        }
    }
    Ok(String::new())
}

/// The committed font, plain and bold.
const FONT_FILES: [&[u8]; 2] = [
    include_bytes!("../../../assets/DejaVuSans.subset.ttf"),
    include_bytes!("../../../assets/DejaVuSans-Bold.subset.ttf"),
];

/// The committed font with an em of so many pixels: no figure depends on what a machine has
/// installed.
pub(super) fn font(bold: bool, em: f64) -> Result<PxScaleFont<&'static FontRef<'static>>> {
    static FONTS: OnceLock<[Option<FontRef<'static>>; 2]> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| FONT_FILES.map(|file| FontRef::try_from_slice(file).ok()));
    let font = fonts[usize::from(bold)].as_ref().ok_or_else(|| defect("the built-in font cannot be read"))?;
    // The rasterizer's scale is ascent to descent, not the em.
    let per_em = font.height_unscaled() / font.units_per_em().unwrap_or(2048.0);
    Ok(font.as_scaled(PxScale::from(em as f32 * per_em)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_every_word() {
        let style = TextStyle::new(14.0, Color::BLACK);
        let text = "one two three fourteen fifteen";
        let lines = wrap(text, style, 100.0).unwrap();
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), text);
        assert!(lines.iter().all(|l| text_width(l, style).unwrap() <= 100.0));
        assert!(shorten(text, style, 80.0).unwrap().ends_with('…'));
    }
}
