//! Sampling method 0 of the published audio code: never the positive.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid};

/// The targets of other rows of the same prediction.
///
/// The row is chosen by a random cyclic distance in 1..rows, so it is never the own one unless there
/// is no other. Negatives come from the window only. Every (row, negative, k) has a draw of its own.
#[derive(Debug, Default)]
pub struct Exact {
    /// For each k: (N, rows(k)) cyclic distances, rows in the published order (item, t, line).
    offsets: Vec<Vec<u32>>,
}

impl Exact {
    /// As if these cyclic distances had been drawn, a (N, rows(k)) table for each k.
    pub fn from_offsets(offsets: Vec<Vec<u32>>) -> Self {
        Self { offsets }
    }
}

impl NegativeSampler for Exact {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        self.offsets.resize_with(grid.prediction_steps, Vec::new);
        for (k, offsets) in (1..).zip(&mut self.offsets) {
            let rows = grid.rows(k);
            offsets.clear();
            // A lone row has itself at every distance.
            let end = rows.max(2) as u32;
            offsets.extend((0..grid.negatives * rows).map(|_| rng.random_range(1..end)));
        }
    }

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        let (rows, contexts) = (grid.rows(k), grid.contexts(k));
        let offsets = &self.offsets[k - 1];
        for (row, out) in out.chunks_exact_mut(grid.negatives).enumerate() {
            let (t, item, line) = grid.place(row);
            let published = (item * contexts + t) * grid.across + line;
            for (n, out) in out.iter_mut().enumerate() {
                let other = (published + offsets[n * rows + published] as usize) % rows;
                let (item, rest) = (other / (contexts * grid.across), other % (contexts * grid.across));
                *out = grid.position(rest / grid.across + grid.offset(k), item, rest % grid.across) as u32;
            }
        }
    }
}
