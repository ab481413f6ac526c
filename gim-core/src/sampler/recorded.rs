//! A sampler with fixed choices, for parity with other implementations and for gradient checks.

use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid};

/// Wraps a sampler whose choices are already made. Drawing does nothing.
pub struct Recorded<S>(pub S);

impl<S: NegativeSampler> NegativeSampler for Recorded<S> {
    fn name(&self) -> &'static str {
        "recorded"
    }

    fn draw(&mut self, _: &PredictionGrid, _: &mut ChaCha8Rng) {}

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        self.0.negatives(grid, k, out);
    }
}
