//! InfoNCE on a grid (van den Oord 2018, eq. 4; Löwe 2019, eq. 2).

use documented::DocumentedFields;
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::estimator::LogMean;
use super::{Directions, Estimator, LocalLoss, LossReport, LossRule, Place, Prediction, StepInfo};
use crate::activations::{Activations, Layout, Shape};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul, prefetch};
use crate::kernels::profile::Tasks;
use crate::kernels::vector::{add_all_scaled, add_scaled, dots, exp_shifted};
use crate::param::{Param, Params};
use crate::sampler::{Direction, NegativeSampler, PredictionGrid};
use crate::{Buffer, Error, Key, Pool, Purpose, Result, Scalar};

/// Settings of [`InfoNce`]. The default is the paper's for audio.
#[derive(Debug, Clone, PartialEq)]
pub struct InfoNceConfig {
    /// Channels C of the features that are predicted.
    pub channels: usize,
    /// Channels D of the contexts.
    pub context: usize,
    /// Number of prediction distances K.
    pub prediction_steps: usize,
    /// Negatives N for each positive.
    pub negatives: usize,
    /// Positions skipped before the first prediction, because neighboring patches overlap.
    pub skip: usize,
    /// Direction in which the grid is predicted.
    pub direction: Direction,
    /// Factor of all gradients, for a loss that is one of several. The reported loss is without it.
    pub weight: f64,
    /// Length of the random window that contexts and positives come from, in positions along the
    /// direction. `None` scores the whole grid.
    pub window: Option<usize>,
    /// Adds ε to the probability inside the logarithm, as the published code does (1e-11). The
    /// gradient then vanishes where the softmax saturates. `None`, the default, is the exact
    /// log-softmax.
    pub epsilon: Option<f64>,
    /// What is made of the scores. ε belongs to InfoNCE alone.
    pub estimator: Estimator,
}

impl Default for InfoNceConfig {
    fn default() -> Self {
        Self {
            channels: 512,
            context: 512,
            prediction_steps: 12,
            negatives: 10,
            skip: 0,
            direction: Direction::Down,
            weight: 1.0,
            window: Some(128),
            epsilon: None,
            estimator: Estimator::InfoNce,
        }
    }
}

/// `f_k(z, c) = exp(zᵀ W_k c)`. The loss is the mean over k and rows of
/// `−log( f_k(positive) / Σ f_k(positive and negatives) )` (van den Oord 2018, eq. 4).
///
/// Every prediction distance has the same weight. Negatives are named by position and read where they
/// lie, so nothing of size rows × negatives × channels is ever made.
pub struct InfoNce<F: Scalar> {
    config: InfoNceConfig,
    sampler: Box<dyn NegativeSampler>,
    /// W (K·C, D): rows (k−1)·C..k·C predict distance k.
    predictor: Param<F>,
    fixed_start: Option<usize>,
    per_prediction_step: Vec<f64>,
    /// (rows, distances, 1 + N) candidates of a [`Group`] as memory rows, the positive first.
    candidates: Vec<u32>,
    index: Index,
    /// (rows, N) negatives of one distance, as position numbers.
    negatives: Vec<u32>,
    /// (rows, distances) of a [`Group`]: loss, and whether the positive has the highest score.
    losses: Vec<(f64, bool)>,
}

/// [`InfoNce`] by configuration. What it predicts is set for all losses that predict ([`Prediction`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct InfoNceRule {
    /// What is made of the scores: `infonce`, `jsd`, `dv` or `nwj`.
    pub estimator: Estimator,
    /// Shares of the batch, of contiguous items, that draw negatives from their own items only; 1: from
    /// the whole batch.
    pub negative_shares: usize,
}

impl Default for InfoNceRule {
    fn default() -> Self {
        Self { estimator: Estimator::InfoNce, negative_shares: 1 }
    }
}

/// Name of the setting [`InfoNceRule::negative_shares`].
const NEGATIVE_SHARES: &str = "loss.infonce.negative_shares";

impl LossRule for InfoNceRule {
    fn need(&self, prediction: &Prediction) -> usize {
        prediction.need()
    }

    fn least_items(&self) -> usize {
        self.negative_shares.max(1)
    }

    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
        let p = &place.prediction;
        if self.negative_shares == 0 {
            return Err(Error::config(NEGATIVE_SHARES, "must not be 0", "use 1 or more"));
        }
        if self.negative_shares > 1 && self.estimator == Estimator::Dv {
            let what = "the estimator dv takes one mean over the negatives of the whole batch";
            return Err(Error::config(NEGATIVE_SHARES, what, "use 1, or another estimator"));
        }
        let sampler = || p.sampler.build_shares(self.negative_shares);
        let config = InfoNceConfig {
            channels: place.channels,
            context: place.context,
            prediction_steps: p.prediction_steps,
            negatives: p.negatives,
            skip: p.skip,
            window: p.window,
            epsilon: p.epsilon,
            estimator: self.estimator,
            ..InfoNceConfig::default()
        };
        Ok(match p.directions {
            None => Box::new(InfoNce::new(config, sampler(), key)?),
            Some(_) => Box::new(Directions::new(&config, p.distinct_directions()?, sampler, key)?),
        })
    }
}

/// Scored rows of a task, and rows of a task that adds up gradients. They are constants, so that
/// results do not depend on the number of threads.
const SCORED: usize = 128;
const TARGET_ROWS: usize = 64;
/// Columns of one product of predictions, about: distances are grouped until they have so many. Wide
/// enough to be fast, small enough to stay in cache.
const GROUP_COLUMNS: usize = 2048;
/// How many scores ahead of its use a row is prefetched.
const LATER: usize = 8;
/// Candidate of a row that has no target at its distance.
const NO_TARGET: u32 = u32::MAX;

/// Prediction distances `first .. first + count`, whose predictions are one product.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: usize,
    count: usize,
}

impl<F: Scalar> InfoNce<F> {
    /// A loss with a predictor drawn from U(±1/√D).
    ///
    /// # Errors
    /// [`Error::Config`] when a count is zero, or the window is too short for the farthest prediction.
    pub fn new(config: InfoNceConfig, sampler: Box<dyn NegativeSampler>, key: Key) -> Result<Self> {
        for (key, value) in [
            ("loss.prediction_steps", config.prediction_steps),
            ("loss.negatives", config.negatives),
            ("channels", config.channels),
            ("context", config.context),
        ] {
            if value == 0 {
                return Err(Error::config(key, "must not be 0", "use 1 or more"));
            }
        }
        if let Some(window) = config.window
            && window <= config.prediction_steps + config.skip
        {
            return Err(Error::config(
                "loss.window",
                format_args!("a window of {window} positions cannot hold {} predictions", config.prediction_steps),
                format_args!("use {} or more", config.prediction_steps + config.skip + 1),
            ));
        }
        let shape = [config.prediction_steps * config.channels, config.context];
        let bound = 1.0 / (config.context as f64).sqrt();
        let predictor = Param::uniform("loss.predictor.weight", &shape, bound, key).transported();
        let per_prediction_step = vec![0.0; config.prediction_steps];
        Ok(Self {
            config,
            sampler,
            predictor,
            fixed_start: None,
            per_prediction_step,
            candidates: Vec::new(),
            index: Index::default(),
            negatives: Vec::new(),
            losses: Vec::new(),
        })
    }

    /// Fixes the window's first position instead of drawing it, for parity and gradient checks.
    pub fn with_fixed_start(mut self, start: usize) -> Self {
        self.fixed_start = Some(start);
        self
    }

    /// Mean loss in nats of each distance k = 1..=K in the last evaluation.
    pub fn per_prediction_step(&self) -> &[f64] {
        &self.per_prediction_step
    }

    /// Fills `candidates` for a group of distances, from features stored as `z`.
    fn name_candidates(&mut self, grid: &PredictionGrid, Group { first, count }: Group, z: Layout) {
        let width = 1 + grid.negatives;
        self.candidates.clear();
        self.candidates.resize(grid.rows(first) * count * width, NO_TARGET);
        for i in 0..count {
            let rows = grid.rows(first + i);
            self.negatives.resize(rows * grid.negatives, 0);
            self.sampler.negatives(grid, first + i, &mut self.negatives);
            for (row, negatives) in self.negatives.chunks_exact(grid.negatives).enumerate() {
                let to = &mut self.candidates[(row * count + i) * width..][..width];
                to[0] = z.row_of(grid.target(row, first + i)) as u32;
                to[1..].iter_mut().zip(negatives).for_each(|(to, n)| *to = z.row_of(*n as usize) as u32);
            }
        }
    }

    /// The key of a draw. Every direction has draws of its own.
    fn key(&self, step: StepInfo<'_>, purpose: Purpose) -> Key {
        step.key(purpose).with_item(self.config.direction as u32)
    }

    fn grid(&self, shape: Shape, step: StepInfo<'_>) -> PredictionGrid {
        let (along, across) = self.config.direction.extent(shape);
        let window = self.config.window.map_or(along, |w| w.min(along));
        // Differs from the published code: the last window can be drawn too.
        let draw = || self.key(step, Purpose::Window).rng().random_range(0..=along - window);
        let start = self.fixed_start.unwrap_or_else(draw);
        PredictionGrid {
            items: shape.batch,
            along,
            across,
            direction: self.config.direction,
            start,
            window,
            first_offset: 1 + self.config.skip,
            prediction_steps: self.config.prediction_steps,
            negatives: self.config.negatives,
        }
    }

    /// Scores of a group, with losses and gradients, while a row's candidates are in cache.
    ///
    /// `q` (rows, distances · C) predicted features → `dq` of the same shape, `dscores` (rows,
    /// distances, 1 + N) and `self.losses`; all are overwritten.
    fn score(
        &mut self,
        grid: &PredictionGrid,
        Group { first, count }: Group,
        z: &Activations<F>,
        q: &[F],
        dq: &mut [F],
        dscores: &mut [F],
    ) {
        let (channels, width) = (self.config.channels, 1 + grid.negatives);
        self.losses.resize(grid.rows(first) * count, (0.0, false));
        let InfoNceConfig { epsilon, weight, estimator, .. } = self.config;
        let parts = q.chunks_exact(channels).zip(dq.chunks_exact_mut(channels));
        let parts = parts.zip(dscores.chunks_exact_mut(width)).zip(self.candidates.chunks_exact(width));
        let mut scored: Vec<Scored<'_, F>> = parts
            .zip(&mut self.losses)
            .enumerate()
            .map(|(i, ((((q, dq), dscores), own), loss))| {
                let rows = grid.rows(first + i % count) * grid.prediction_steps;
                Scored { q, dq, dscores, own, loss, scale: F::of(weight / rows as f64), distance: i % count }
            })
            .collect();
        // Distances may share negatives, as in the published sampler. Those that share are scored one
        // after the other, while the negatives are in cache.
        scored.sort_unstable_by_key(|s| s.own[1]);
        scored.par_chunks_mut(SCORED).for_each_task("scores", |scored| {
            let mut rest = scored;
            while let Some((row, next)) = rest.split_first_mut() {
                match estimator {
                    Estimator::InfoNce => row.score(z, epsilon, next.first()),
                    _ => row.dots(z, next.first()),
                }
                rest = next;
            }
        });
        if estimator != Estimator::InfoNce {
            let log_means = log_means(&scored, count);
            scored.par_chunks_mut(SCORED).for_each_task("scores", |scored| {
                scored.iter_mut().for_each(|row| row.estimate(z, estimator, log_means[row.distance]));
            });
        }
    }

    /// Mean loss of each distance of a group; returns the sum of their accuracies.
    fn tally(&mut self, grid: &PredictionGrid, Group { first, count }: Group) -> f64 {
        let mut hits = 0.0;
        for i in 0..count {
            let n = grid.rows(first + i) as f64;
            let (mut loss, mut won) = (0.0, 0usize);
            for l in self.losses.iter().skip(i).step_by(count) {
                loss += l.0;
                won += usize::from(l.1);
            }
            self.per_prediction_step[first - 1 + i] = loss / n;
            hits += won as f64 / n;
        }
        hits
    }
}

/// log E_Q[eˢ] of each distance of a group, over the negatives of all its rows.
fn log_means<F: Scalar>(scored: &[Scored<'_, F>], count: usize) -> Vec<f64> {
    let mut means = vec![LogMean::NONE; count];
    for row in scored.iter().filter(|row| row.own[0] != NO_TARGET) {
        row.dscores[1..].iter().for_each(|s| means[row.distance].add(s.f64()));
    }
    means.into_iter().map(LogMean::value).collect()
}

/// Memory row of the context of a scored row, in activations stored as `layout`.
pub(super) fn memory_row(grid: &PredictionGrid, layout: Layout, row: usize) -> usize {
    let (t, item, line) = grid.place(row);
    layout.row_of(grid.position(t, item, line))
}

/// Contexts of the window as one matrix (window · items · across, D), position by position along the
/// direction, so that distance k uses its first rows.
pub(super) fn window_contexts<F: Scalar>(
    grid: &PredictionGrid,
    contexts: &Activations<F>,
    pool: &Pool<F>,
) -> Buffer<F> {
    let channels = contexts.shape().channels;
    let mut cw = pool.take(grid.window * grid.items * grid.across * channels);
    for (row, to) in cw.chunks_exact_mut(channels).enumerate() {
        to.copy_from_slice(contexts.at(memory_row(grid, contexts.layout(), row)));
    }
    cw
}

impl<F: Scalar> Params<F> for InfoNce<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.predictor);
    }
}

impl<F: Scalar> LocalLoss<F> for InfoNce<F> {
    fn describe(&self) -> String {
        let c = &self.config;
        let sampler = match self.sampler.shares() {
            1 => self.sampler.name().to_owned(),
            n => format!("{} in {n} shares", self.sampler.name()),
        };
        format!("{}, K = {}, N = {} ({sampler})", c.estimator.name(), c.prediction_steps, c.negatives)
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        let config = &self.config;
        assert_eq!(z.channels, config.channels, "features do not fit the predictor");
        assert_eq!(c.map_or(z.channels, |c| c.channels), config.context, "contexts do not fit the predictor");
        let need = config.prediction_steps + config.skip + 1;
        let (along, across) = self.config.direction.extent(z);
        if along < need {
            return Err(Error::config(
                "loss.prediction_steps",
                format_args!(
                    "{along} positions are too few to predict {} of them after skipping {}",
                    config.prediction_steps, config.skip
                ),
                format_args!("use inputs that give {need} positions or more, or predict fewer"),
            ));
        }
        if z.positions() < 2 || z.batch * across * (along - need + 1) < 2 {
            return Err(Error::config("batch", "a single row has no negatives", "use a larger batch"));
        }
        let shares = self.sampler.shares();
        if shares > 1 && z.batch / shares * across * (along - need + 1) < 2 {
            return Err(Error::config(
                NEGATIVE_SHARES,
                format_args!("a batch of {} in {shares} shares leaves one with less than two rows", z.batch),
                "use fewer shares, or a larger batch",
            ));
        }
        Ok(())
    }

    fn value_and_grad(
        &mut self,
        z: &Activations<F>,
        c: Option<&Activations<F>>,
        step: StepInfo<'_>,
        mut dz: Option<&mut Activations<F>>,
        dc: Option<&mut Activations<F>>,
        pool: &Pool<F>,
    ) -> LossReport {
        let (channels, context) = (self.config.channels, self.config.context);
        let grid = self.grid(z.shape(), step);
        self.sampler.draw(&grid, &mut self.key(step, Purpose::Negatives).rng());
        let cw = window_contexts(&grid, c.unwrap_or(z), pool);
        let mut dcw = pool.zeros(cw.len());
        let per_group = (GROUP_COLUMNS / channels).clamp(1, grid.prediction_steps);
        let mut hits = 0.0;
        for first in (1..=grid.prediction_steps).step_by(per_group) {
            let group = Group { first, count: per_group.min(grid.prediction_steps + 1 - first) };
            let (rows, cols) = (grid.rows(first), group.count * channels);
            self.name_candidates(&grid, group, z.layout());

            // q = c Wᵀ (rows, distances · C): the features that these distances predict.
            let weights = (first - 1) * channels * context..(first - 1 + group.count) * channels * context;
            let mut q = pool.take(rows * cols);
            let cw = Mat::new(&cw, rows, context);
            let w = Mat::new(&self.predictor.value[weights.clone()], cols, context);
            matmul(cw, w.t(), MatMut::new(&mut q, rows, cols), Store::Overwrite, pool);

            let mut dq = pool.take(rows * cols);
            let mut dscores = pool.take(rows * group.count * (1 + grid.negatives));
            self.score(&grid, group, z, &q, &mut dq, &mut dscores);
            hits += self.tally(&grid, group);
            if let Some(dz) = dz.as_deref_mut() {
                self.index.build(&self.candidates, dz.layout().len() / channels);
                self.index.add_gradients(dz, &dscores, &q, 1 + grid.negatives, first == 1);
            }
            // ∂/∂W = dqᵀ c and ∂/∂c = dq W.
            let dq = Mat::new(&dq, rows, cols);
            let w = Mat::new(&self.predictor.feedback()[weights.clone()], cols, context);
            matmul(dq, w, MatMut::new(&mut dcw, rows, context), Store::Add, pool);
            let dw = MatMut::new(&mut self.predictor.grad_mut()[weights], cols, context);
            matmul(dq.t(), cw, dw, Store::Add, pool);
        }

        if let Some(into) = if c.is_some() { dc } else { dz } {
            if c.is_some() {
                into.memory_mut().fill(F::zero());
            }
            for (row, from) in dcw.chunks_exact(context).enumerate() {
                let at = memory_row(&grid, into.layout(), row);
                add_scaled(into.at_mut(at), F::one(), from);
            }
        }
        let prediction_steps = grid.prediction_steps as f64;
        LossReport {
            loss: self.per_prediction_step.iter().sum::<f64>() / prediction_steps,
            accuracy: hits / prediction_steps,
        }
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        let c = &self.config;
        let (along, across) = self.config.direction.extent(z);
        let window = c.window.map_or(along, |w| w.min(along));
        let per_row = c.channels * c.context * 3 + c.channels * (c.negatives + 1) * 3;
        (1..=c.prediction_steps).map(|k| (window.saturating_sub(k + c.skip) * z.batch * across * per_row) as u64).sum()
    }
}

/// A row at one distance: its prediction, its candidates, and where its results go.
struct Scored<'a, F> {
    /// (C) predicted features, and ∂loss/∂q.
    q: &'a [F],
    dq: &'a mut [F],
    /// (1 + N) ∂loss/∂score of the candidates.
    dscores: &'a mut [F],
    /// (1 + N) memory rows of the candidates, the positive first. The first is [`NO_TARGET`] where
    /// there is no target.
    own: &'a [u32],
    /// Loss, and whether the positive has the highest score.
    loss: &'a mut (f64, bool),
    /// Factor of the gradient.
    scale: F,
    /// Number of its distance in the group.
    distance: usize,
}

impl<F: Scalar> Scored<'_, F> {
    /// Computes scores, loss and their gradients.
    fn score(&mut self, z: &Activations<F>, epsilon: Option<f64>, next: Option<&Self>) {
        self.dots(z, next);
        if self.own[0] != NO_TARGET {
            *self.loss = score_gradient(self.dscores, self.own, epsilon, self.scale);
            self.add_query_gradient(z);
        }
    }

    /// Turns scores into loss and gradients. `log_mean` is log E_Q[eˢ] of the row's distance.
    fn estimate(&mut self, z: &Activations<F>, estimator: Estimator, log_mean: f64) {
        if self.own[0] != NO_TARGET {
            let won = wins(self.dscores, self.own);
            *self.loss = (estimator.gradient(self.dscores, log_mean, self.scale), won);
            self.add_query_gradient(z);
        }
    }

    /// ∂loss/∂q from the gradients of the scores.
    fn add_query_gradient(&mut self, z: &Activations<F>) {
        let dscores = &*self.dscores;
        add_all_scaled(self.dq, dscores.len(), |j| (dscores[j], z.at(self.own[j] as usize)));
    }

    /// Computes scores. Candidates lie anywhere in memory, so those of the `next` row are prefetched
    /// meanwhile.
    fn dots(&mut self, z: &Activations<F>, next: Option<&Self>) {
        self.dq.fill(F::zero());
        *self.loss = (0.0, false);
        if let Some(next) = next {
            prefetch(next.q);
            prefetch(next.dq);
            let known = if next.own[1..] == self.own[1..] { 1 } else { next.own.len() };
            next.own[..known].iter().filter(|r| **r != NO_TARGET).for_each(|r| prefetch(z.at(*r as usize)));
        }
        if self.own[0] == NO_TARGET {
            return;
        }
        dots(self.q, |j| z.at(self.own[j] as usize), self.dscores);
    }
}

/// Whether every other candidate has a lower score than the positive, which is the first. A negative that
/// is the positive itself is no other candidate.
#[inline(always)]
fn wins<F: Scalar>(scores: &[F], candidates: &[u32]) -> bool {
    scores[1..].iter().zip(&candidates[1..]).all(|(s, c)| *s < scores[0] || *c == candidates[0])
}

/// Turns the `scores` (1 + N) of a row, the positive first, into `scale`·∂L/∂score. Returns the loss L
/// and whether every other candidate has a lower score than the positive.
///
/// L = −log p_0 with p = softmax(scores), so ∂L/∂s_j = p_j − 1[j=0] (van den Oord 2018, eq. 4). With ε,
/// L = −log(p_0 + ε), whose gradient has the additional factor p_0/(p_0 + ε).
#[inline(always)]
fn score_gradient<F: Scalar>(scores: &mut [F], candidates: &[u32], epsilon: Option<f64>, scale: F) -> (f64, bool) {
    let won = wins(scores, candidates);
    let positive = scores[0];
    let (max, sum) = exp_shifted(scores);
    let (loss, factor) = match epsilon {
        None => ((max - positive + sum.ln()).f64(), F::one()),
        Some(e) => {
            let p = (scores[0] / sum).f64();
            (-(p + e).ln(), F::of(p / (p + e)))
        }
    };
    // 1 − p_0 as a sum of the others: no cancellation when the positive is nearly certain.
    let others: F = scores[1..].iter().copied().sum();
    let unit = factor * scale / sum;
    scores[0] = -others * unit;
    scores[1..].iter_mut().for_each(|s| *s *= unit);
    (loss, won)
}

/// For each row of features, the scores it took part in.
#[derive(Debug, Default)]
struct Index {
    /// (rows + 1) where each memory row's entries begin.
    begins: Vec<u32>,
    /// Places in the table of candidates, sorted by the row they name, then by place.
    places: Vec<u32>,
}

impl Index {
    /// Counting sort. It is stable, so every row's gradients are added in the same order for any number
    /// of threads.
    fn build(&mut self, candidates: &[u32], rows: usize) {
        self.begins.clear();
        self.begins.resize(rows + 1, 0);
        for row in candidates.iter().filter(|r| **r != NO_TARGET) {
            self.begins[*row as usize + 1] += 1;
        }
        for row in 0..rows {
            self.begins[row + 1] += self.begins[row];
        }
        self.places.resize(self.begins[rows] as usize, 0);
        // Fill from the back, which turns each end into the beginning it should be.
        for (place, row) in candidates.iter().enumerate().rev().filter(|c| *c.1 != NO_TARGET) {
            let end = &mut self.begins[*row as usize + 1];
            *end -= 1;
            self.places[*end as usize] = place as u32;
        }
        self.begins.rotate_left(1);
        self.begins[rows] = self.places.len() as u32;
    }

    /// `dz[row]` += Σ dscore · q over the scores the row took part in (= with `overwrite`). Every row is
    /// written once, by one task.
    fn add_gradients<F: Scalar>(&self, dz: &mut Activations<F>, dscores: &[F], q: &[F], width: usize, overwrite: bool) {
        let channels = dz.shape().channels;
        dz.memory_mut().par_chunks_mut(TARGET_ROWS * channels).enumerate().for_each_task(
            "gradients of candidates",
            |(chunk, rows)| {
                for (row, to) in rows.chunks_exact_mut(channels).enumerate() {
                    if overwrite {
                        to.fill(F::zero());
                    }
                    let row = chunk * TARGET_ROWS + row;
                    let places = &self.places[self.begins[row] as usize..];
                    let predicted = |place: u32| &q[place as usize / width * channels..][..channels];
                    add_all_scaled(to, (self.begins[row + 1] - self.begins[row]) as usize, |i| {
                        // The predictions of a row's scores lie anywhere in memory.
                        if let Some(later) = places.get(i + LATER) {
                            prefetch(predicted(*later));
                        }
                        (dscores[places[i] as usize], predicted(places[i]))
                    });
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_lists_every_place_in_order() {
        let mut index = Index::default();
        for candidates in [&[3, 0, 3, NO_TARGET, 1, 3][..], &[2, 2][..]] {
            index.build(candidates, 5);
            for row in 0..5 {
                let want: Vec<u32> = (0..).zip(candidates).filter(|c| *c.1 == row as u32).map(|c| c.0).collect();
                assert_eq!(
                    index.places[index.begins[row] as usize..index.begins[row + 1] as usize],
                    want[..],
                    "row {row}"
                );
            }
        }
    }
}
