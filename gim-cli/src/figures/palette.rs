//! Colors and text styles of all figures.

use super::canvas::{Color, TextStyle};

/// Okabe and Ito's colors, which color-blind readers can tell apart; yellow last, because it is
/// weak on white.
pub(super) const PALETTE: [Color; 8] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, Color::BLACK, YELLOW];
pub(super) const BLUE: Color = Color(0, 114, 178);
pub(super) const VERMILLION: Color = Color(213, 94, 0);
pub(super) const GREEN: Color = Color(0, 158, 115);
pub(super) const PURPLE: Color = Color(204, 121, 167);
pub(super) const ORANGE: Color = Color(230, 159, 0);
pub(super) const SKY: Color = Color(86, 180, 233);
const YELLOW: Color = Color(240, 228, 66);
/// For gradient blocks and gradients only: what must read as "stop". Their shape differs, too.
pub(super) const RED: Color = Color(200, 32, 32);
pub(super) const TEXT: Color = Color(34, 34, 34);
pub(super) const MUTED: Color = Color(95, 95, 95);
pub(super) const GRID: Color = Color(228, 228, 228);
pub(super) const FRAME: Color = Color(150, 150, 150);

pub(super) const LABEL: TextStyle = TextStyle::new(14.0, TEXT);
pub(super) const NOTE: TextStyle = TextStyle::new(14.0, MUTED);
pub(super) const AXIS_TITLE: TextStyle = TextStyle::new(15.0, TEXT);
/// Title of a panel or of a row.
pub(super) const PANEL_TITLE: TextStyle = TextStyle::bold(15.0, TEXT);

/// Free space at the edges of a figure, in pixels.
pub(super) const MARGIN: f64 = 22.0;
