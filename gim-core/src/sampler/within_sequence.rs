//! Published method 2: permutations of the steps of a sequence.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid, permutation_tail};

/// One permutation of the steps per negative, shared by all items; negatives come from the item itself, and in a image from the
/// column (or, sideways, the row) that is predicted along.
///
/// The permutation is cut to a window of its own (`start`), from which prediction k uses the entries from its distance on.
#[derive(Debug, Default)]
pub struct WithinSequence {
    /// (negatives, steps).
    permutations: Vec<u32>,
    start: usize,
    scratch: Vec<u32>,
}

impl WithinSequence {
    /// As if these permutations (negatives, steps) and this window start had been drawn.
    pub fn from_permutations(permutations: Vec<u32>, start: usize) -> Self {
        Self { permutations, start, scratch: Vec::new() }
    }
}

impl NegativeSampler for WithinSequence {
    fn name(&self) -> &'static str {
        "within-sequence"
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        self.permutations.resize(grid.negatives * grid.steps, 0);
        for p in self.permutations.chunks_mut(grid.steps) {
            permutation_tail(grid.steps, p, &mut self.scratch, rng);
        }
        self.start = rng.random_range(0..=grid.steps - grid.window);
    }

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        for (row, out) in out.chunks_exact_mut(grid.negatives).enumerate() {
            let (step, item, col) = grid.place(row);
            for (n, out) in out.iter_mut().enumerate() {
                let t = self.permutations[n * grid.steps + self.start + grid.offset(k) + step] as usize;
                *out = grid.at(t, item, col) as u32;
            }
        }
    }
}
