//! InfoNCE on a grid (van den Oord 2018, eq. 4; Löwe 2019, eq. 2).

use rand::RngExt;
use rayon::prelude::*;

use super::{LocalLoss, LossReport, StepInfo};
use crate::activations::{Activations, Shape};
use crate::kernels::gemm::{Mat, MatMut, Store, gemm};
use crate::kernels::vector::{add_scaled, dot, exp_shifted};
use crate::param::{Param, Params};
use crate::sampler::{NegativeSampler, Scene};
use crate::{Error, Key, Pool, Purpose, Result, Scalar};

/// Settings of [`InfoNce`]; the default is the paper's for sound.
#[derive(Debug, Clone, PartialEq)]
pub struct InfoNceConfig {
    /// Channels C of the features that are predicted.
    pub channels: usize,
    /// Channels D of the contexts.
    pub context: usize,
    /// Prediction distances K.
    pub ahead: usize,
    /// Negatives N for each positive.
    pub negatives: usize,
    /// Steps skipped before the first prediction (neighbouring patches overlap).
    pub skip: usize,
    /// Contexts and positives come from a random window of this many steps; `None` scores the whole grid.
    pub window: Option<usize>,
    /// Adds ε to the probability inside the logarithm, as the published code does (1e-11). Its gradient vanishes where the
    /// softmax saturates; `None`, the default, is the exact log-softmax.
    pub epsilon: Option<f64>,
}

impl Default for InfoNceConfig {
    fn default() -> Self {
        Self { channels: 512, context: 512, ahead: 12, negatives: 10, skip: 0, window: Some(128), epsilon: None }
    }
}

/// `f_k(z, c) = exp(zᵀ W_k c)`; loss = mean over k and rows of −log f_k(positive) / Σ f_k(positive and negatives).
///
/// Every prediction distance weighs the same. Nothing of size rows × negatives × channels is ever made: negatives are named
/// by position and their rows are read where they lie.
pub struct InfoNce<F: Scalar> {
    config: InfoNceConfig,
    sampler: Box<dyn NegativeSampler>,
    /// W (K·C, D): rows (k−1)·C..k·C predict distance k.
    predictor: Param<F>,
    fixed_start: Option<usize>,
    per_ahead: Vec<f64>,
    /// Candidates of the rows of one distance, as memory rows: (rows, 1 + negatives), the positive first.
    candidates: Vec<u32>,
    negatives: Vec<u32>,
    losses: Vec<(f64, bool)>,
}

/// Rows of a scoring task, and channels of a scatter task. Constants, so that results do not depend on threads.
const SCORE_ROWS: usize = 64;
const SCATTER_CHANNELS: usize = 64;

impl<F: Scalar> InfoNce<F> {
    /// A loss with a predictor drawn from U(±1/√D).
    ///
    /// # Errors
    /// When a count is zero.
    pub fn new(config: InfoNceConfig, sampler: Box<dyn NegativeSampler>, key: Key) -> Result<Self> {
        for (key, value) in
            [("loss.ahead", config.ahead), ("loss.negatives", config.negatives), ("channels", config.channels)]
        {
            if value == 0 {
                return Err(Error::config(key, "must not be 0", "use 1 or more"));
            }
        }
        if let Some(window) = config.window
            && window <= config.ahead + config.skip
        {
            return Err(Error::config(
                "loss.window",
                format_args!("a window of {window} steps cannot hold {} predictions", config.ahead),
                format_args!("use {} or more", config.ahead + config.skip + 1),
            ));
        }
        let shape = [config.ahead * config.channels, config.context];
        let bound = 1.0 / (config.context as f64).sqrt();
        let predictor = Param::uniform("loss.predictor.weight", &shape, bound, key);
        let per_ahead = vec![0.0; config.ahead];
        Ok(Self {
            config,
            sampler,
            predictor,
            fixed_start: None,
            per_ahead,
            candidates: Vec::new(),
            negatives: Vec::new(),
            losses: Vec::new(),
        })
    }

    /// Pins the window's first step instead of drawing it, for parity and gradient checks.
    pub fn with_fixed_start(mut self, start: usize) -> Self {
        self.fixed_start = Some(start);
        self
    }

    /// Loss of each distance k = 1..=K in the last step.
    pub fn per_ahead(&self) -> &[f64] {
        &self.per_ahead
    }

    fn scene(&self, shape: Shape, step: StepInfo<'_>) -> Scene {
        let window = self.config.window.map_or(shape.steps, |w| w.min(shape.steps));
        // Differs from the published code: the last window can be drawn too.
        let start =
            self.fixed_start.unwrap_or_else(|| step.key(Purpose::Window).rng().random_range(0..=shape.steps - window));
        Scene {
            items: shape.items,
            steps: shape.steps,
            cols: shape.cols,
            start,
            window,
            first_offset: 1 + self.config.skip,
            ahead: self.config.ahead,
            negatives: self.config.negatives,
        }
    }
}

impl<F: Scalar> Params<F> for InfoNce<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.predictor);
    }
}

impl<F: Scalar> LocalLoss<F> for InfoNce<F> {
    fn describe(&self) -> String {
        let c = &self.config;
        format!("InfoNCE, K = {}, N = {} ({})", c.ahead, c.negatives, self.sampler.name())
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        let config = &self.config;
        assert_eq!(z.channels, config.channels, "features do not fit the predictor");
        assert_eq!(c.map_or(z.channels, |c| c.channels), config.context, "contexts do not fit the predictor");
        let need = config.ahead + config.skip + 1;
        if z.steps < need {
            return Err(Error::config(
                "loss.ahead",
                format_args!("{} steps cannot be predicted {} ahead (skipping {})", z.steps, config.ahead, config.skip),
                format_args!("use inputs that give {need} steps or more, or predict fewer"),
            ));
        }
        if z.positions() < 2 || z.items * z.cols * (z.steps - need + 1) < 2 {
            return Err(Error::config("batch", "a single row has no negatives", "use a larger batch"));
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
        let scene = self.scene(z.shape(), step);
        self.sampler.draw(&scene, &mut step.key(Purpose::Negatives).rng());
        let contexts = c.unwrap_or(z);

        // Contexts of the window as one matrix, step by step, so that distance k uses its first rows.
        let all = scene.window * scene.items * scene.cols;
        let memory_row = |a: &Activations<F>, row: usize| {
            let (step, item, col) = scene.place(row);
            a.layout().row(item, scene.start + step, col)
        };
        let mut cw = pool.take(all * context);
        for (row, to) in cw.chunks_exact_mut(context).enumerate() {
            to.copy_from_slice(contexts.at(memory_row(contexts, row)));
        }
        let mut dcw = pool.zeros(all * context);
        if let Some(dz) = dz.as_deref_mut() {
            dz.memory_mut().fill(F::zero());
        }

        let width = 1 + scene.negatives;
        let mut hits = 0.0;
        for k in 1..=scene.ahead {
            let rows = scene.rows(k);
            self.negatives.resize(rows * scene.negatives, 0);
            self.sampler.negatives(&scene, k, &mut self.negatives);
            self.candidates.clear();
            for (row, negatives) in self.negatives.chunks_exact(scene.negatives).enumerate() {
                let positions = std::iter::once(scene.target(row, k)).chain(negatives.iter().map(|n| *n as usize));
                self.candidates.extend(positions.map(|p| z.layout().row_of(p) as u32));
            }

            // q = c W_kᵀ: what distance k expects, (rows, C).
            let weights = (k - 1) * channels * context..k * channels * context;
            let mut q = pool.take(rows * channels);
            let cw_k = Mat::new(&cw, rows, context);
            let w_k = Mat::new(&self.predictor.value[weights.clone()], channels, context);
            gemm(cw_k, w_k.t(), MatMut::new(&mut q, rows, channels), Store::Overwrite, pool);

            // Scores, their gradients, and dq, while a row's candidates are in cache.
            let scale = F::of(1.0 / (rows as f64 * scene.ahead as f64));
            let mut dq = pool.take(rows * channels);
            let mut dscores = pool.take(rows * width);
            self.losses.resize(rows, (0.0, false));
            let epsilon = self.config.epsilon;
            (
                q.par_chunks(SCORE_ROWS * channels),
                dq.par_chunks_mut(SCORE_ROWS * channels),
                dscores.par_chunks_mut(SCORE_ROWS * width),
                self.candidates.par_chunks(SCORE_ROWS * width),
                self.losses.par_chunks_mut(SCORE_ROWS),
            )
                .into_par_iter()
                .for_each(|(q, dq, dscores, candidates, losses)| {
                    let rows = q.chunks_exact(channels).zip(dq.chunks_exact_mut(channels));
                    let rows = rows.zip(dscores.chunks_exact_mut(width)).zip(candidates.chunks_exact(width));
                    for ((((q, dq), dscores), candidates), loss) in rows.zip(losses) {
                        for (s, row) in dscores.iter_mut().zip(candidates) {
                            *s = dot(q, z.at(*row as usize));
                        }
                        *loss = score_gradient(dscores, candidates, epsilon, scale);
                        dq.fill(F::zero());
                        for (s, row) in dscores.iter().zip(candidates) {
                            add_scaled(dq, *s, z.at(*row as usize));
                        }
                    }
                });
            self.per_ahead[k - 1] = self.losses.iter().map(|l| l.0).sum::<f64>() / rows as f64;
            hits += self.losses.iter().filter(|l| l.1).count() as f64 / rows as f64;

            if let Some(dz) = dz.as_deref_mut() {
                scatter(dz, &self.candidates, &dscores, &q, width);
            }
            // ∂/∂W_k = dqᵀ c and ∂/∂c = dq W_k.
            let dq = Mat::new(&dq, rows, channels);
            let w_k = Mat::new(&self.predictor.value[weights.clone()], channels, context);
            gemm(dq, w_k, MatMut::new(&mut dcw, rows, context), Store::Add, pool);
            let dw = MatMut::new(&mut self.predictor.grad_mut()[weights], channels, context);
            gemm(dq.t(), cw_k, dw, Store::Add, pool);
        }

        if let Some(into) = if c.is_some() { dc } else { dz } {
            if c.is_some() {
                into.memory_mut().fill(F::zero());
            }
            for (row, from) in dcw.chunks_exact(context).enumerate() {
                let at = memory_row(into, row);
                add_scaled(into.at_mut(at), F::one(), from);
            }
        }
        let ahead = scene.ahead as f64;
        LossReport { loss: self.per_ahead.iter().sum::<f64>() / ahead, accuracy: hits / ahead }
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        let c = &self.config;
        let window = c.window.map_or(z.steps, |w| w.min(z.steps));
        let per_row = c.channels * c.context * 3 + c.channels * (c.negatives + 1) * 3;
        (1..=c.ahead).map(|k| (window.saturating_sub(k + c.skip) * z.items * z.cols * per_row) as u64).sum()
    }
}

/// Turns the scores of a row (the positive first) into `scale`·∂loss/∂score, and gives loss and whether the positive won.
///
/// ∂L/∂s_j = p_j − 1[j=0] (van den Oord 2018, eq. 4). With ε the loss is −log(p_0 + ε), whose gradient has the factor
/// p_0/(p_0 + ε). A negative that is the positive itself never beats it.
#[inline(always)]
fn score_gradient<F: Scalar>(scores: &mut [F], candidates: &[u32], epsilon: Option<f64>, scale: F) -> (f64, bool) {
    let won = scores[1..].iter().zip(&candidates[1..]).all(|(s, c)| *s <= scores[0] || *c == candidates[0]);
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

/// `dz[candidate]` += dscore · q for all rows and candidates, in row order; tasks share out the channels.
fn scatter<F: Scalar>(dz: &mut Activations<F>, candidates: &[u32], dscores: &[F], q: &[F], width: usize) {
    let channels = dz.shape().channels;
    let memory = Columns { data: dz.memory_mut().as_mut_ptr(), len: dz.memory().len(), channels };
    (0..channels.div_ceil(SCATTER_CHANNELS)).into_par_iter().for_each(|block| {
        let from = block * SCATTER_CHANNELS;
        let n = SCATTER_CHANNELS.min(channels - from);
        {
            for ((q, candidates), dscores) in
                q.chunks_exact(channels).zip(candidates.chunks(width)).zip(dscores.chunks(width))
            {
                for (row, s) in candidates.iter().zip(dscores) {
                    // SAFETY: tasks own disjoint channel ranges, and this task holds one such slice at a time.
                    let to = unsafe { memory.part(*row as usize, from, n) };
                    add_scaled(to, *s, &q[from..from + n]);
                }
            }
        }
    });
}

/// A (rows, channels) matrix whose column blocks are written by different threads.
struct Columns<F> {
    data: *mut F,
    len: usize,
    channels: usize,
}
// SAFETY: only used inside `scatter`, which gives every thread columns of its own and outlives the threads' work.
unsafe impl<F: Send> Sync for Columns<F> {}

impl<F> Columns<F> {
    /// Channels `from..from + n` of a row.
    ///
    /// # Safety
    /// No other reference to these numbers may be alive.
    #[allow(clippy::mut_from_ref)] // Exclusive access is what the caller promises.
    #[inline(always)]
    unsafe fn part(&self, row: usize, from: usize, n: usize) -> &mut [F] {
        let at = row * self.channels + from;
        assert!(at + n <= self.len, "row {row} is outside the activations");
        // SAFETY: inside the buffer as just checked; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(at), n) }
    }
}
