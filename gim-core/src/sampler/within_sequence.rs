//! Sampling method 2 of the published audio code: permutations of the positions of a sequence.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid, permutation_tail};

/// Negatives come from the line of the prediction: the sequence itself, or the same column (sideways:
/// row) of the same image.
///
/// There is one permutation of a line's positions per negative, shared by all lines of all items.
/// It is cut to a window of its own at `start`. Prediction k uses the entries from its distance on.
#[derive(Debug, Default)]
pub struct WithinSequence {
    /// (N, positions of a line).
    permutations: Vec<u32>,
    start: usize,
    scratch: Vec<u32>,
}

impl WithinSequence {
    /// As if these permutations (N, positions of a line) and this window start had been drawn.
    pub fn from_permutations(permutations: Vec<u32>, start: usize) -> Self {
        Self { permutations, start, scratch: Vec::new() }
    }
}

impl NegativeSampler for WithinSequence {
    fn name(&self) -> &'static str {
        "within-sequence"
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        self.permutations.resize(grid.negatives * grid.along, 0);
        for p in self.permutations.chunks_mut(grid.along) {
            permutation_tail(grid.along, p, &mut self.scratch, rng);
        }
        self.start = rng.random_range(0..=grid.along - grid.window);
    }

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        for (row, out) in out.chunks_exact_mut(grid.negatives).enumerate() {
            let (t, item, line) = grid.place(row);
            for (n, out) in out.iter_mut().enumerate() {
                let i = self.permutations[n * grid.along + self.start + grid.offset(k) + t] as usize;
                *out = grid.at(i, item, line) as u32;
            }
        }
    }
}
