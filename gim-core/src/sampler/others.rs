//! Uniform over all positions of the batch but the positive.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid};

/// Uniform, with replacement, over all positions of the batch except the positive itself.
///
/// Not in the published code. Negatives belong to a *target*, not to a row: all predictions of a target
/// share its negatives. So there are as few draws, and as few distinct rows to read, as with
/// [`Permuted`](super::Permuted).
#[derive(Debug, Default)]
pub struct Others {
    /// (rows(1), N) negatives of the target of each row of prediction 1.
    draws: Vec<u32>,
}

impl NegativeSampler for Others {
    fn name(&self) -> &'static str {
        "others"
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        self.draws.resize(grid.rows(1) * grid.negatives, 0);
        let n = grid.positions() as u32;
        for (row, draws) in self.draws.chunks_exact_mut(grid.negatives).enumerate() {
            let target = grid.target(row, 1) as u32;
            for out in draws {
                let other = rng.random_range(0..n - 1);
                *out = if other < target { other } else { other + 1 };
            }
        }
    }

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        // Row r of prediction k has the target of row r + (k − 1)·items·across of prediction 1.
        let from = (k - 1) * grid.items * grid.across * grid.negatives;
        out.copy_from_slice(&self.draws[from..][..out.len()]);
    }
}
