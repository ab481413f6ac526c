//! Losses on items that are held out of training.

use std::ops::Range;

use gim_core::module::Mode;
use gim_core::schedule::step_in_turn;
use gim_core::stack::{LayoutPlans, Stack};
use gim_core::{Pool, Result};
use gim_eval::TrainRow;

use crate::experiment::config::Config;
use crate::experiment::domain::BatchSource;
use crate::experiment::held_out::draw_seed;

/// Batches of held-out items. They are the same at every measurement, and so are their draws: losses
/// of different steps differ by the weights alone.
pub(super) struct Validation {
    /// Items of each batch; the last batch may be short.
    batches: Vec<Range<usize>>,
    seed: u64,
}

impl Validation {
    /// Plans the batches; none when no item is held out.
    pub(super) fn plan(config: &Config, source: &dyn BatchSource) -> Option<Self> {
        let (n, batch) = (source.held_out(), config.train.batch);
        let batches = (0..n).step_by(batch).map(|first| first..(first + batch).min(n)).collect();
        (n > 0).then(|| Self { batches, seed: draw_seed(config.train.seed) })
    }

    /// Mean loss and accuracy over the held-out items of the modules that train in `modes`. Weights stay as
    /// they are. A row's step and epoch are `done` and `epoch`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn rows(
        &self,
        stack: &mut Stack<f32>,
        source: &dyn BatchSource,
        modes: &[Mode],
        (done, epoch): (u64, u64),
        plans: &LayoutPlans,
        pool: &Pool<f32>,
    ) -> Result<Vec<TrainRow>> {
        let modes: Vec<Mode> = modes.iter().map(|m| if *m == Mode::Train { Mode::Validate } else { *m }).collect();
        let mut sums = vec![(0.0, 0.0); modes.len()];
        for (at, items) in self.batches.iter().enumerate() {
            let n = items.len() as f64;
            let (x, labels) = source.held_out_batch(items.clone(), plans, pool)?;
            let packet = plans.packet(x, at as u64, labels);
            step_in_turn(stack, packet, self.seed, &modes, &mut |r| {
                let sum = &mut sums[r.module - 1];
                *sum = (sum.0 + n * r.loss.loss, sum.1 + n * r.loss.accuracy);
            })?;
        }
        let n = source.held_out() as f64;
        let measured = modes.iter().zip(sums).enumerate().filter(|(_, (mode, _))| **mode == Mode::Validate);
        let row = |(m, (_, (loss, accuracy))): (usize, (&Mode, (f64, f64)))| TrainRow {
            step: done,
            epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
            module: m + 1,
            loss: loss / n,
            accuracy: Some(accuracy / n),
            seconds: None,
        };
        Ok(measured.map(row).collect())
    }
}
