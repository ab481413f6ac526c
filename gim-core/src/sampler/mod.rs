//! Negative samplers: which positions serve as negatives for a prediction.
//!
//! A sampler only names positions; no features are copied. Positions of a batch (N, H, W, C) are
//! numbered without margins: `(item · H + y) · W + x`.

mod exact;
mod others;
mod permuted;
mod recorded;
mod shares;
mod targets;
mod within_sequence;

pub use exact::Exact;
pub use others::Others;
pub use permuted::Permuted;
pub use recorded::Recorded;
pub use shares::Shares;
pub use targets::Targets;
pub use within_sequence::WithinSequence;

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::activations::Shape;
use crate::{Error, Result};

/// Direction in which a grid is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Forward in time, downwards in an image: the paper's.
    #[default]
    Down,
    /// Backward in time, upwards in an image.
    Up,
    /// From left to right in an image.
    Right,
    /// From right to left in an image.
    Left,
}

impl Direction {
    /// All of them, the paper's first.
    pub const ALL: [Self; 4] = [Self::Down, Self::Up, Self::Right, Self::Left];

    /// Name in configuration and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::Right => "right",
            Self::Left => "left",
        }
    }

    /// Whether predictions run along a row of the image.
    pub fn sideways(self) -> bool {
        matches!(self, Self::Right | Self::Left)
    }

    /// (positions along the direction, lines across it) of features of shape `z`.
    pub fn extent(self, z: Shape) -> (usize, usize) {
        if self.sideways() { (z.width, z.height) } else { (z.height, z.width) }
    }
}

/// What one evaluation of a loss scores: a window inside the grid of a batch.
///
/// The grid consists of lines that run along the [`Direction`]: columns of an image downwards and
/// upwards, rows sideways, one line for a sequence. `t` counts positions of a line from the beginning
/// of the window. The context at t predicts the positions t + [`offset`](Self::offset)(k), k = 1..=K.
///
/// A scored row is a context with a target. Rows are numbered by t, then item, then line, so that the
/// rows of a longer distance are the first rows of a shorter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PredictionGrid {
    /// Items of the batch.
    pub items: usize,
    /// Positions of a line: extent of the grid along the direction.
    pub along: usize,
    /// Lines of an item: extent of the grid across the direction.
    pub across: usize,
    /// Direction of the prediction.
    pub direction: Direction,
    /// First position of the window in a line.
    pub start: usize,
    /// Positions of the window in a line.
    pub window: usize,
    /// Distance of the first prediction: 1 + skipped positions.
    pub first_offset: usize,
    /// Number of prediction distances K.
    pub prediction_steps: usize,
    /// Negatives for each row.
    pub negatives: usize,
}

impl PredictionGrid {
    /// Positions of the whole batch.
    pub fn positions(&self) -> usize {
        self.items * self.along * self.across
    }

    /// Distance in positions from context to target for prediction k = 1..=K.
    pub fn offset(&self, k: usize) -> usize {
        self.first_offset + k - 1
    }

    /// Contexts of a line that have a target for prediction k.
    pub fn contexts(&self, k: usize) -> usize {
        self.window.saturating_sub(self.offset(k))
    }

    /// Rows scored for prediction k.
    pub fn rows(&self, k: usize) -> usize {
        self.contexts(k) * self.items * self.across
    }

    /// `(t, item, line)` of a scored row.
    pub fn place(&self, row: usize) -> (usize, usize, usize) {
        let lines = self.items * self.across;
        (row / lines, row % lines / self.across, row % self.across)
    }

    /// Position number of the `i`-th position of a whole line, counted in the direction.
    pub fn at(&self, i: usize, item: usize, line: usize) -> usize {
        let i = match self.direction {
            Direction::Down | Direction::Right => i,
            Direction::Up | Direction::Left => self.along - 1 - i,
        };
        if self.direction.sideways() {
            (item * self.across + line) * self.along + i
        } else {
            (item * self.along + i) * self.across + line
        }
    }

    /// Position number of position `t` of the window in a line.
    pub fn position(&self, t: usize, item: usize, line: usize) -> usize {
        self.at(self.start + t, item, line)
    }

    /// Position number of the target of a scored row of prediction k.
    pub fn target(&self, row: usize, k: usize) -> usize {
        let (t, item, line) = self.place(row);
        self.position(t + self.offset(k), item, line)
    }
}

/// A rule for drawing negatives.
pub trait NegativeSampler: Send {
    /// Name in configuration and tables.
    fn name(&self) -> &'static str;

    /// Shares of the batch that negatives do not cross.
    fn shares(&self) -> usize {
        1
    }

    /// Makes all random choices of one evaluation of the loss.
    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng);

    /// Writes the negatives of prediction k as position numbers to `out` (rows(k), N). Call
    /// [`draw`](Self::draw) first.
    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]);
}

/// The samplers that a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// [`Permuted`].
    Permuted,
    /// [`WithinSequence`].
    WithinSequence,
    /// [`Exact`].
    Exact,
    /// [`Others`].
    Others,
    /// [`Targets`].
    Targets,
}

impl SamplerKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Permuted, Self::WithinSequence, Self::Exact, Self::Others, Self::Targets];

    /// Name in configuration and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Permuted => "permuted",
            Self::WithinSequence => "within-sequence",
            Self::Exact => "exact",
            Self::Others => "others",
            Self::Targets => "targets",
        }
    }

    /// A sampler that has drawn nothing, for a batch in so many [`Shares`].
    ///
    /// # Panics
    /// When there are none.
    pub fn build_shares(self, shares: usize) -> Box<dyn NegativeSampler> {
        match shares {
            1 => self.build(),
            _ => Box::new(Shares::new((0..shares).map(|_| self.build()).collect())),
        }
    }

    /// A sampler that has drawn nothing.
    pub fn build(self) -> Box<dyn NegativeSampler> {
        match self {
            Self::Permuted => Box::new(Permuted::default()),
            Self::WithinSequence => Box::new(WithinSequence::default()),
            Self::Exact => Box::new(Exact::default()),
            Self::Others => Box::new(Others::default()),
            Self::Targets => Box::new(Targets::default()),
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] with the list of names when `name` is none of them.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::config(
                "loss.sampler",
                format_args!("unknown sampler `{name}`"),
                format_args!("use one of {}", Self::ALL.map(Self::name).join(", ")),
            )
        })
    }
}

/// The last `keep` entries of a random permutation of `0..n`, into `out`.
///
/// Fisher–Yates from the back: only the entries that are used are drawn.
pub(crate) fn permutation_tail(n: usize, out: &mut [u32], scratch: &mut Vec<u32>, rng: &mut ChaCha8Rng) {
    let keep = out.len();
    scratch.clear();
    scratch.extend(0..n as u32);
    for i in 0..keep {
        let last = n - 1 - i;
        scratch.swap(last, rng.random_range(0..=last));
        out[keep - 1 - i] = scratch[last];
    }
}

#[cfg(test)]
mod tests;
