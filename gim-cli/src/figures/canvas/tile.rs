//! Small images shown enlarged.

use gim_core::{Error, Result};

/// A small image to be shown enlarged, its pixels as squares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// 1 (gray) or 3 (red, green, blue).
    pub channels: usize,
    /// Values (height, width, channels), rows from the top.
    pub pixels: Vec<u8>,
}

impl Tile {
    /// Checks that the tile can be drawn in `figure`.
    ///
    /// # Errors
    /// When it has no pixels, neither 1 nor 3 channels, or not height·width·channels values.
    pub(crate) fn check(&self, figure: &str) -> Result<()> {
        let right = self.height.checked_mul(self.width).and_then(|n| n.checked_mul(self.channels));
        if !self.pixels.is_empty() && matches!(self.channels, 1 | 3) && right == Some(self.pixels.len()) {
            return Ok(());
        }
        let what = format_args!(
            "a tile has {} values for {} × {} pixels of {} channels",
            self.pixels.len(),
            self.height,
            self.width,
            self.channels
        );
        Err(Error::data(format_args!("figure '{figure}'"), what, "give whole tiles of 1 or 3 channels"))
    }

    /// Red, green and blue of a pixel.
    pub(super) fn rgb(&self, row: usize, column: usize) -> [u8; 3] {
        let pixel = &self.pixels[(row * self.width + column) * self.channels..][..self.channels];
        let last = self.channels - 1;
        [pixel[0], pixel[last.min(1)], pixel[last]]
    }
}

/// A tile and the area it fills, in pixels of the canvas.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlacedTile {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) tile: Tile,
}

impl PlacedTile {
    /// The tile as large as fits into a square, in its middle.
    pub(super) fn in_square(left: f64, top: f64, side: f64, tile: &Tile) -> Self {
        let (h, w) = (tile.height as f64, tile.width as f64);
        let (width, height) = (side * (w / h).min(1.0), side * (h / w).min(1.0));
        let (left, top) = (left + (side - width) / 2.0, top + (side - height) / 2.0);
        Self { left, top, width, height, tile: tile.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_must_be_whole() {
        let tile = Tile { height: 2, width: 2, channels: 1, pixels: vec![0; 4] };
        tile.check("f").unwrap();
        let error = Tile { channels: 3, ..tile.clone() }.check("f").unwrap_err().to_string();
        assert!(error.contains("4 values for 2 × 2 pixels of 3 channels"), "{error}");
        assert!(Tile { width: 1, channels: 2, ..tile.clone() }.check("f").is_err());
        assert!(Tile { height: 0, pixels: vec![], ..tile }.check("f").is_err());
    }
}
