//! Colors and text styles of all figures.

use gim_eval::Group;

use super::canvas::{Color, TextStyle};
use crate::experiment::domain::MethodKind;

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
/// Supervised learning: dark, and no text.
const DARK: Color = Color(64, 64, 64);
/// Raw input: waveform or pixels.
pub(super) const BROWN: Color = Color(130, 90, 70);
/// For gradient blocks and gradients only: what must read as "stop". Their shape differs, too.
pub(super) const RED: Color = Color(200, 32, 32);
pub(super) const TEXT: Color = Color(34, 34, 34);
pub(super) const MUTED: Color = Color(95, 95, 95);
pub(super) const GRID: Color = Color(228, 228, 228);
pub(super) const FRAME: Color = Color(150, 150, 150);

/// Parts of a bar: no method has these colors.
pub(super) const SLATE: Color = Color(84, 104, 128);
pub(super) const SILVER: Color = Color(172, 184, 198);

/// Ten colors that stay apart for color-blind readers (Petroff 2021), for classes.
pub(super) const TEN: [Color; 10] = [
    Color(63, 144, 218),
    Color(255, 169, 14),
    Color(189, 31, 1),
    Color(148, 164, 162),
    Color(131, 45, 182),
    Color(169, 107, 89),
    Color(231, 99, 0),
    Color(185, 172, 112),
    Color(113, 117, 129),
    Color(146, 218, 221),
];

/// What a curve or line stands for; each has its color in all figures that show methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A trained method.
    Method(MethodKind),
    /// A further method of a kind that the comparison already has.
    Further(usize),
    /// A random encoder of the same architecture.
    Random,
    /// MFCC features.
    Mfcc,
    /// The input itself.
    Raw,
}

impl Role {
    /// Its color. No method has the color of a baseline, and no two have one hue: on a dark page, where
    /// light and dark change places, each is still told apart.
    pub(super) fn color(self) -> Color {
        const FURTHER: [Color; 4] = [SKY, Color(120, 120, 40), Color(60, 40, 140), Color(150, 70, 90)];
        match self {
            Self::Method(MethodKind::Gim) => BLUE,
            Self::Method(MethodKind::Cpc) => VERMILLION,
            Self::Method(MethodKind::Supervised) => DARK,
            Self::Method(MethodKind::GreedySupervised) => PURPLE,
            Self::Further(i) => FURTHER[i % FURTHER.len()],
            Self::Random => GREEN,
            Self::Mfcc => ORANGE,
            Self::Raw => BROWN,
        }
    }

    /// The rows of probes that it stands for.
    pub(super) fn group(self) -> Group {
        match self {
            Self::Method(_) | Self::Further(_) => Group::Trained,
            Self::Random => Group::Random,
            Self::Mfcc => Group::Mfcc,
            Self::Raw => Group::Raw,
        }
    }
}

pub(super) const LABEL: TextStyle = TextStyle::new(14.0, TEXT);
pub(super) const NOTE: TextStyle = TextStyle::new(14.0, MUTED);
pub(super) const AXIS_TITLE: TextStyle = TextStyle::new(15.0, TEXT);
/// Title of a panel or of a row.
pub(super) const PANEL_TITLE: TextStyle = TextStyle::bold(15.0, TEXT);

/// Free space at the edges of a figure, in pixels.
pub(super) const MARGIN: f64 = 22.0;
