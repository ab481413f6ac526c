//! CLAPP: contrastive, local and predictive plasticity (Illing, Ventura, Bellec, Gerstner 2021).

use documented::DocumentedFields;
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::infonce::{memory_row, window_contexts};
use super::{LocalLoss, LossReport, LossRule, Place, Prediction, StepInfo};
use crate::activations::{Activations, Shape};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::kernels::profile::Tasks;
use crate::kernels::vector::{add_scaled, dot};
use crate::param::{Param, Params};
use crate::sampler::{Direction, PredictionGrid};
use crate::{Error, Key, Pool, Purpose, Result, Scalar};

/// [`Clapp`] by configuration. What it predicts is set for all losses that predict ([`Prediction`]);
/// a prediction has one negative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct ClappRule {
    /// Margin by which scores should exceed 0 for positives, and fall below it for negatives.
    pub margin: f64,
    /// Which gradient the update follows: `gradient`, that of the loss; `two-weights`, with weights of their
    /// own for prediction and retrodiction; `target`, none through the context; `scalar`, predictions that
    /// decide whether a score learns, but not in which direction.
    pub update: ClappUpdate,
}

impl Default for ClappRule {
    fn default() -> Self {
        Self { margin: 1.0, update: ClappUpdate::Gradient }
    }
}

/// The update of [`Clapp`]. For a score u of sign y, γ = −y where the margin is missed, else 0. SG is a
/// stopped gradient.
///
/// | | ∂/∂z | ∂/∂c | ∂/∂W |
/// |---|---|---|---|
/// | `gradient` | γ W c | γ Wᵀz | γ z cᵀ |
/// | `two-weights` | γ₂ V c | γ₁ Wᵀz | γ₁ z cᵀ, and γ₂ z cᵀ for V |
/// | `target` | γ W c | 0 | γ z cᵀ |
/// | `scalar` | γ 1 | γ 1 | γ z cᵀ |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClappUpdate {
    /// The gradient of the loss: CLAPP-s of the paper, whose prediction W c and retrodiction Wᵀz share their
    /// weights.
    #[default]
    Gradient,
    /// No weight transport: `u₁ = SG(z)ᵀ W c` teaches the context, `u₂ = zᵀ V SG(c)` the target, and the loss
    /// is the sum of both (`asymmetric_W_pred` of the published code).
    TwoWeights,
    /// The context is a constant: `u = zᵀ W SG(c)` (`detach_c` of the published code).
    Target,
    /// No feedback of the prediction to the neurons that learn: W c, and Wᵀz for the context, are replaced
    /// by ones. Prediction reaches them as the scalar γ alone. The published code has this ablation as
    /// `no_pred`.
    ///
    /// Differs from the published code: there the score itself becomes the sum of activations. Here the
    /// score, and so γ and the update of W, stay.
    Scalar,
}

impl ClappUpdate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gradient, Self::TwoWeights, Self::Target, Self::Scalar];

    /// Scores of a pair: the number of their weights, and whether they teach target and context.
    fn scores(self) -> &'static [(usize, bool, bool)] {
        match self {
            Self::Gradient | Self::Scalar => &[(0, true, true)],
            Self::TwoWeights => &[(0, false, true), (1, true, false)],
            Self::Target => &[(0, true, false)],
        }
    }
}

impl LossRule for ClappRule {
    fn least_items(&self) -> usize {
        2
    }

    fn need(&self, prediction: &Prediction) -> usize {
        prediction.need()
    }

    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
        Ok(Box::new(Clapp::new(self.clone(), place, key)?))
    }
}

/// `max(0, m − y·zᵀ W_k c)`: y = +1 for `z_{t+k}` of the item of c, y = −1 for `z_{t+k}` of another item
/// of the batch (Illing 2021, eq. 2). The loss is the mean over directions, k = 1..=K, positions and
/// both signs: m when nothing is known, 0 when all margins are kept. [`ClappUpdate`] may cut some of its
/// gradient.
///
/// Every position of a step takes its negative from the same other item, at the same place.
pub struct Clapp<F: Scalar> {
    rule: ClappRule,
    channels: usize,
    context: usize,
    prediction: Prediction,
    directions: Vec<Direction>,
    /// W (directions·K·C, D): those of a direction after each other, rows (k−1)·C..k·C predict
    /// distance k.
    predictor: Param<F>,
    /// V of [`ClappUpdate::TwoWeights`], as W.
    retrodictor: Option<Param<F>>,
    /// Loss, and whether the positive scores above the negative, of each row of one distance.
    losses: Vec<(f64, bool)>,
}

/// Rows of a task: a constant, so that results do not depend on the number of threads.
const TASK_ROWS: usize = 64;

impl<F: Scalar> Clapp<F> {
    /// A loss with a predictor drawn from U(±1/√D).
    ///
    /// # Errors
    /// [`Error::Config`] when no direction is named, or one twice.
    pub fn new(rule: ClappRule, place: &Place, key: Key) -> Result<Self> {
        let prediction = place.prediction.clone();
        let directions = prediction.distinct_directions()?.to_vec();
        let rows = directions.len() * prediction.prediction_steps * place.channels;
        let bound = 1.0 / (place.context as f64).sqrt();
        let predictor = Param::uniform("loss.predictor.weight", &[rows, place.context], bound, key).transported();
        let retrodictor = (rule.update == ClappUpdate::TwoWeights).then(|| {
            let key = key.with_item(key.item + 1);
            Param::uniform("loss.retrodictor.weight", &[rows, place.context], bound, key).transported()
        });
        let (channels, context) = (place.channels, place.context);
        Ok(Self { rule, channels, context, prediction, directions, predictor, retrodictor, losses: Vec::new() })
    }

    /// W, or V.
    fn weights(&mut self, number: usize) -> &mut Param<F> {
        match &mut self.retrodictor {
            Some(retrodictor) if number == 1 => retrodictor,
            _ => &mut self.predictor,
        }
    }

    fn grid(&self, shape: Shape, direction: Direction, step: StepInfo<'_>) -> PredictionGrid {
        let (along, across) = direction.extent(shape);
        let window = self.prediction.window.map_or(along, |w| w.min(along));
        let key = step.key(Purpose::Window).with_item(direction as u32);
        PredictionGrid {
            items: shape.batch,
            along,
            across,
            direction,
            start: key.rng().random_range(0..=along - window),
            window,
            first_offset: 1 + self.prediction.skip,
            prediction_steps: self.prediction.prediction_steps,
            negatives: 1,
        }
    }

    /// Scores the predictions `q` (rows, C) of distance k against their own item and the one `shift`
    /// further. `dq` (rows, C) and `slopes` (rows, 2), ∂loss/∂score, are overwritten. `share` is the
    /// weight of a score.
    fn score(
        &mut self,
        grid: &PredictionGrid,
        (k, shift): (usize, usize),
        z: &Activations<F>,
        q: &[F],
        (dq, slopes): (&mut [F], &mut [F]),
        share: f64,
    ) {
        let (channels, margin) = (self.channels, self.rule.margin);
        self.losses.resize(grid.rows(k), (0.0, false));
        (dq.par_chunks_mut(channels), slopes.par_chunks_mut(2), &mut self.losses)
            .into_par_iter()
            .enumerate()
            .with_min_len(TASK_ROWS)
            .for_each_task("margins", |(row, (dq, slopes, out))| {
                let (t, item, line) = grid.place(row);
                let q = &q[row * channels..][..channels];
                dq.fill(F::zero());
                *out = (0.0, false);
                let mut scores = [0.0; 2];
                for (i, y) in [1.0, -1.0].into_iter().enumerate() {
                    let of = (item + i * shift) % grid.items;
                    let at = z.at(z.layout().row_of(grid.position(t + grid.offset(k), of, line)));
                    scores[i] = dot(q, at).f64();
                    let missing = margin - y * scores[i];
                    // Not `max`, which would hide NaN: a module stops when its loss is not finite.
                    out.0 += if missing < 0.0 { 0.0 } else { share * missing };
                    slopes[i] = F::of(if missing > 0.0 { -share * y } else { 0.0 });
                    add_scaled(dq, slopes[i], at);
                }
                out.1 = scores[0] > scores[1];
            });
    }
}

/// Adds the gradients of the targets of distance k: those at position t of the window are row t − offset's
/// positive, and the negative of that row of the item `shift` before.
fn add_target_gradients<F: Scalar>(
    grid: &PredictionGrid,
    (k, shift): (usize, usize),
    q: &[F],
    slopes: &[F],
    dtargets: &mut [F],
    channels: usize,
) {
    let lines = grid.items * grid.across;
    let from = grid.offset(k) * lines;
    dtargets[from * channels..].par_chunks_mut(channels).enumerate().with_min_len(TASK_ROWS).for_each_task(
        "gradients of targets",
        |(row, to)| {
            let (t, item, line) = grid.place(row);
            let other = (t * grid.items + (item + grid.items - shift) % grid.items) * grid.across + line;
            add_scaled(to, slopes[2 * row], &q[row * channels..][..channels]);
            add_scaled(to, slopes[2 * other + 1], &q[other * channels..][..channels]);
        },
    );
}

impl<F: Scalar> Params<F> for Clapp<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.predictor);
        self.retrodictor.iter_mut().for_each(f);
    }
}

impl<F: Scalar> LocalLoss<F> for Clapp<F> {
    fn describe(&self) -> String {
        let update = match self.rule.update {
            ClappUpdate::Gradient => "",
            ClappUpdate::TwoWeights => ", two weights",
            ClappUpdate::Target => ", targets learn alone",
            ClappUpdate::Scalar => ", scalar predictions",
        };
        format!("CLAPP, K = {}, {} direction(s){update}", self.prediction.prediction_steps, self.directions.len())
    }

    fn stops_gradients(&self) -> bool {
        self.rule.update != ClappUpdate::Gradient
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        assert_eq!((z.channels, c.unwrap_or(z).channels), (self.channels, self.context), "features do not fit");
        let need = self.prediction.need();
        let along = self.directions.iter().map(|d| d.extent(z).0).min().unwrap_or(0);
        if along.min(self.prediction.window.unwrap_or(along)) < need {
            let what = format!("{along} positions, or the window, are too few for the farthest prediction");
            let remedy = format!("use inputs and a window of {need} positions or more, or predict fewer");
            return Err(Error::config("loss.prediction_steps", what, remedy));
        }
        if z.batch < 2 {
            return Err(Error::config("batch", "a single item has no negatives", "use a larger batch"));
        }
        Ok(())
    }

    fn value_and_grad(
        &mut self,
        z: &Activations<F>,
        c: Option<&Activations<F>>,
        step: StepInfo<'_>,
        mut dz: Option<&mut Activations<F>>,
        mut dc: Option<&mut Activations<F>>,
        pool: &Pool<F>,
    ) -> LossReport {
        let (channels, context) = (self.channels, self.context);
        let shape = z.shape();
        // The other item: a shift of the batch, drawn from the step's key, so that a resumed run draws
        // it again.
        let shift = step.key(Purpose::Negatives).rng().random_range(1..shape.batch);
        for into in [dz.as_deref_mut(), dc.as_deref_mut()].into_iter().flatten() {
            into.memory_mut().fill(F::zero());
        }
        let (ways, steps) = (self.directions.len(), self.prediction.prediction_steps);
        let (scores, scalar) = (self.rule.update.scores(), self.rule.update == ClappUpdate::Scalar);
        let (mut loss, mut accuracy) = (0.0, 0.0);
        for (way, direction) in self.directions.clone().into_iter().enumerate() {
            let grid = self.grid(shape, direction, step);
            let cw = window_contexts(&grid, c.unwrap_or(z), pool);
            let mut dcw = pool.zeros(cw.len());
            let mut dtargets = pool.zeros(grid.window * grid.items * grid.across * channels);
            for (k, (number, to_target, to_context)) in (1..=steps).flat_map(|k| scores.iter().map(move |s| (k, *s))) {
                let rows = grid.rows(k);
                let weights = (way * steps + k - 1) * channels * context..(way * steps + k) * channels * context;
                let contexts = Mat::new(&cw, rows, context);
                let (mut q, mut dq) = (pool.take(rows * channels), pool.take(rows * channels));
                let mut slopes = pool.take(2 * rows);
                // q = W_k c: the features that are expected.
                let w = Mat::new(&self.weights(number).value[weights.clone()], channels, context);
                matmul(contexts, w.t(), MatMut::new(&mut q, rows, channels), Store::Overwrite, pool);
                let share = 0.5 / (ways * steps * rows) as f64;
                self.score(&grid, (k, shift), z, &q, (&mut dq, &mut slopes), share);
                loss += self.losses.iter().map(|l| l.0).sum::<f64>();
                let won = self.losses.iter().filter(|l| l.1).count() as f64;
                accuracy += 2.0 * share * won / scores.len() as f64;
                if to_target {
                    if scalar {
                        q.fill(F::one());
                    }
                    add_target_gradients(&grid, (k, shift), &q, &slopes, &mut dtargets, channels);
                }
                // ∂/∂c = dq W and ∂/∂W = dqᵀ c.
                let dq = Mat::new(&dq, rows, channels);
                if to_context && scalar {
                    for (dc, slopes) in dcw.chunks_exact_mut(context).zip(slopes.chunks_exact(2)) {
                        dc.iter_mut().for_each(|dc| *dc += slopes[0] + slopes[1]);
                    }
                } else if to_context {
                    let w = Mat::new(&self.weights(number).feedback()[weights.clone()], channels, context);
                    matmul(dq, w, MatMut::new(&mut dcw, rows, context), Store::Add, pool);
                }
                let dw = MatMut::new(&mut self.weights(number).grad_mut()[weights], channels, context);
                matmul(dq.t(), contexts, dw, Store::Add, pool);
            }
            let add = |into: &mut Activations<F>, from: &[F], channels: usize| {
                for (row, from) in from.chunks_exact(channels).enumerate() {
                    let at = memory_row(&grid, into.layout(), row);
                    add_scaled(into.at_mut(at), F::one(), from);
                }
            };
            if let Some(dz) = dz.as_deref_mut() {
                add(dz, &dtargets, channels);
            }
            if let Some(into) = if c.is_some() { dc.as_deref_mut() } else { dz.as_deref_mut() } {
                add(into, &dcw, context);
            }
        }
        LossReport { loss, accuracy }
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        let per_row = 3 * self.channels * (self.context + 2);
        let rows = |direction: &Direction| {
            let (along, across) = direction.extent(z);
            let window = self.prediction.window.map_or(along, |w| w.min(along));
            (1..=self.prediction.prediction_steps)
                .map(|k| window.saturating_sub(k + self.prediction.skip) * z.batch * across)
                .sum::<usize>()
        };
        (self.rule.update.scores().len() * self.directions.iter().map(rows).sum::<usize>() * per_row) as u64
    }
}
