//! Negative samplers: which positions a context must not mistake for its future.
//!
//! A sampler only names positions; no features are copied. Positions are numbered over the batch without margins:
//! `(item · steps + step) · cols + col`.

mod exact;
mod others;
mod permuted;
mod recorded;
mod targets;
mod within_sequence;

pub use exact::Exact;
pub use others::Others;
pub use permuted::Permuted;
pub use recorded::Recorded;
pub use targets::Targets;
pub use within_sequence::WithinSequence;

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which way a grid is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Along the steps: forward in time, downwards in a image. The paper's.
    #[default]
    Down,
    /// Against the steps.
    Up,
    /// Along the columns.
    Right,
    /// Against the columns.
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

    /// Steps run along the columns of the grid.
    pub fn sideways(self) -> bool {
        matches!(self, Self::Right | Self::Left)
    }
}

/// What is scored in one step: a window of steps inside the grid of a batch.
///
/// At prediction distance `offset`, the context at window step t predicts the position `offset` steps further on. Rows are
/// numbered step by step, then item, then column, so that the rows of a longer distance are the first rows of a shorter one.
///
/// Steps and columns are those of the prediction: with a sideways [`Direction`] a step is a column of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PredictionGrid {
    /// Items of the batch.
    pub items: usize,
    /// Steps of the whole grid, along the direction.
    pub steps: usize,
    /// Columns of the grid, across the direction.
    pub cols: usize,
    /// Which way is predicted.
    pub direction: Direction,
    /// First step of the window.
    pub start: usize,
    /// Steps of the window.
    pub window: usize,
    /// Distance of the first prediction: 1 + skipped steps.
    pub first_offset: usize,
    /// Number of prediction distances K.
    pub prediction_steps: usize,
    /// Negatives for each row.
    pub negatives: usize,
}

impl PredictionGrid {
    /// Positions of the whole batch.
    pub fn positions(&self) -> usize {
        self.items * self.steps * self.cols
    }

    /// Steps between context and target for prediction k = 1..=K.
    pub fn offset(&self, k: usize) -> usize {
        self.first_offset + k - 1
    }

    /// Window steps that have a target for prediction k.
    pub fn context_steps(&self, k: usize) -> usize {
        self.window.saturating_sub(self.offset(k))
    }

    /// Rows scored for prediction k.
    pub fn rows(&self, k: usize) -> usize {
        self.context_steps(k) * self.items * self.cols
    }

    /// `(window step, item, column)` of a row.
    pub fn place(&self, row: usize) -> (usize, usize, usize) {
        let per_step = self.items * self.cols;
        (row / per_step, row % per_step / self.cols, row % self.cols)
    }

    /// Position number of step `along` of the whole grid, of an item and column.
    pub fn at(&self, along: usize, item: usize, col: usize) -> usize {
        let along = match self.direction {
            Direction::Down | Direction::Right => along,
            Direction::Up | Direction::Left => self.steps - 1 - along,
        };
        if self.direction.sideways() {
            (item * self.cols + col) * self.steps + along
        } else {
            (item * self.steps + along) * self.cols + col
        }
    }

    /// Position number of window step `step` of an item and column.
    pub fn position(&self, step: usize, item: usize, col: usize) -> usize {
        self.at(self.start + step, item, col)
    }

    /// Position number of the target of a row of prediction k.
    pub fn target(&self, row: usize, k: usize) -> usize {
        let (step, item, col) = self.place(row);
        self.position(step + self.offset(k), item, col)
    }
}

/// A rule for drawing negatives.
pub trait NegativeSampler: Send {
    /// Name in configuration and tables.
    fn name(&self) -> &'static str;

    /// Makes all random choices of a step.
    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng);

    /// Negatives of prediction k: `out (rows(k), negatives)` position numbers. Call [`draw`](Self::draw) first.
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
    /// Lists the names when `name` is none of them.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::config(
                "loss.sampler",
                format_args!("there is no sampler `{name}`"),
                format_args!("use one of {}", Self::ALL.map(Self::name).join(", ")),
            )
        })
    }
}

/// The last `keep` entries of a random permutation of `0..n`, into `out`.
///
/// Fisher–Yates from the back: only the entries that are used are drawn.
fn permutation_tail(n: usize, out: &mut [u32], scratch: &mut Vec<u32>, rng: &mut ChaCha8Rng) {
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
