//! PCL: permutation-contrastive learning (Hyvärinen & Morioka 2017).

use documented::DocumentedFields;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::barlow_twins::Standardized;
use super::pairs::Drawn;
use super::{LocalLoss, LossReport, LossRule, Place, Prediction, StepInfo, context_gradient};
use crate::activations::{Activations, Layout, Shape};
use crate::kernels::vector::{add_scaled, softplus};
use crate::param::{Param, Params};
use crate::sampler::{Direction, PredictionGrid};
use crate::{Error, Key, Pool, Purpose, Result, Scalar};

/// [`PermutationContrastive`] by configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct PermutationContrastiveRule {
    /// Real pairs in a step, at most; there are as many permuted ones.
    pub pairs: usize,
    /// Positions between the two of a real pair.
    pub distance: usize,
}

impl Default for PermutationContrastiveRule {
    fn default() -> Self {
        Self { pairs: 512, distance: 1 }
    }
}

impl LossRule for PermutationContrastiveRule {
    fn need(&self, prediction: &Prediction) -> usize {
        self.distance + prediction.skip + 1
    }

    fn build<F: Scalar>(&self, place: &Place, _: Key) -> Result<Box<dyn LocalLoss<F>>> {
        let channels = place.context;
        let param = |name: &str, rows: &[f64]| {
            let value = rows.iter().flat_map(|x| std::iter::repeat_n(F::of(*x), channels)).collect();
            Param::new(format!("loss.{name}"), &[rows.len(), channels], value)
        };
        Ok(Box::new(PermutationContrastive {
            pairs: self.pairs,
            distance: self.distance + place.prediction.skip,
            channels,
            directions: place.prediction.distinct_directions()?.to_vec(),
            pair: param("pair", &[1.0, -1.0, 0.0]),
            alone: param("alone", &[1.0, 0.0]),
            offset: Param::new("loss.offset", &[1], vec![F::zero()]),
            drawn: Drawn::default(),
            rows: Vec::new(),
        }))
    }
}

/// Logistic regression that tells a real pair (h_t, h_{t−d}) from a permuted one (h_t, h_{t*}), whose second
/// is taken at a random place t* of the same item (Hyvärinen & Morioka 2017). The loss is the
/// mean of `softplus(−r)` over real pairs and `softplus(r)` over permuted ones, in equal number, with
///
/// ```text
/// r(h, h′) = Σ_j [ (ā_j h_j + b̄_j)² − |a_j h_j + b_j h′_j + c_j| ] + m
/// ```
///
/// a log-odds of two pair densities: −|…| is the log-density of a Laplacian autoregression, and the square
/// takes off that of h alone. a, b, c, ā, b̄ and m are learned. They begin as in the published code:
/// a = ā = 1, b = −1, c = b̄ = m = 0.
///
/// h are the module's features, standardized channel by channel over the rows of the step, as by the
/// published code's batch normalization. h_t is the later of the two in the direction of prediction.
/// Accuracy is the share of t at which the real pair has the larger r.
///
/// Differs from the published code: it has one ā² for all channels and no b̄; its normalization counts
/// h_t twice, ours once.
pub struct PermutationContrastive<F: Scalar> {
    pairs: usize,
    distance: usize,
    channels: usize,
    directions: Vec<Direction>,
    /// (3, C): a, b, c.
    pair: Param<F>,
    /// (2, C): ā, b̄.
    alone: Param<F>,
    /// (1): m.
    offset: Param<F>,
    drawn: Drawn,
    /// (3n) memory rows of h_t, then of h_{t−d}, then of h_{t*}.
    rows: Vec<u32>,
}

impl<F: Scalar> PermutationContrastive<F> {
    /// The grid of a direction: a row is a position with one `distance` further on.
    fn grid(&self, direction: Direction, z: Shape) -> PredictionGrid {
        let (along, across) = direction.extent(z);
        PredictionGrid {
            items: z.batch,
            along,
            across,
            direction,
            start: 0,
            window: along,
            first_offset: self.distance,
            prediction_steps: 1,
            negatives: 1,
        }
    }

    /// Real pairs of features of shape `z`.
    fn available(&self, z: Shape) -> usize {
        self.directions.iter().map(|d| self.grid(*d, z).rows(1)).sum()
    }

    /// Draws the pairs of a step: fills `rows`.
    fn draw(&mut self, layout: Layout, step: StepInfo<'_>) {
        let (z, all) = (layout.shape, self.available(layout.shape));
        self.drawn.draw(all, self.pairs, step);
        let (n, positions) = (self.drawn.pairs.len(), z.height * z.width);
        let mut rng = step.key(Purpose::Negatives).rng();
        self.rows.resize(3 * n, 0);
        for i in 0..n {
            let mut pair = self.drawn.pairs[i] as usize;
            for direction in &self.directions {
                let grid = self.grid(*direction, z);
                if pair >= grid.rows(1) {
                    pair -= grid.rows(1);
                    continue;
                }
                let (t, item, line) = grid.place(pair);
                let other = item * positions + rng.random_range(0..positions);
                let places = [grid.target(pair, 1), grid.position(t, item, line), other];
                for (part, place) in places.into_iter().enumerate() {
                    self.rows[part * n + i] = layout.row_of(place) as u32;
                }
                break;
            }
        }
    }

    /// r of `now` and `then` (C).
    fn log_odds(&self, now: &[F], then: &[F]) -> f64 {
        let c = self.channels;
        let (pair, alone) = (&self.pair.value, &self.alone.value);
        let mut sum = self.offset.value[0].f64();
        for j in 0..c {
            let own = alone[j] * now[j] + alone[c + j];
            let both = pair[j] * now[j] + pair[c + j] * then[j] + pair[2 * c + j];
            sum += (own * own - both.abs()).f64();
        }
        sum
    }

    /// Adds `slope`·∂r/∂· to the gradients of the parameters, of `now` and of `then` (C).
    fn add_gradients(&mut self, slope: F, [now, then]: [&[F]; 2], [dnow, dthen]: [&mut [F]; 2]) {
        let (c, two) = (self.channels, F::of(2.0));
        let (pair, dpair) = self.pair.value_and_grad();
        let (alone, dalone) = self.alone.value_and_grad();
        self.offset.grad_mut()[0] += slope;
        for j in 0..c {
            let own = slope * two * (alone[j] * now[j] + alone[c + j]);
            let both = pair[j] * now[j] + pair[c + j] * then[j] + pair[2 * c + j];
            // −∂|x|/∂x, 0 at the kink.
            let sign = if both > F::zero() {
                -slope
            } else if both < F::zero() {
                slope
            } else {
                F::zero()
            };
            dalone[j] += own * now[j];
            dalone[c + j] += own;
            dpair[j] += sign * now[j];
            dpair[c + j] += sign * then[j];
            dpair[2 * c + j] += sign;
            dnow[j] += own * alone[j] + sign * pair[j];
            dthen[j] += sign * pair[c + j];
        }
    }
}

impl<F: Scalar> Params<F> for PermutationContrastive<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.pair);
        f(&mut self.alone);
        f(&mut self.offset);
    }
}

impl<F: Scalar> LocalLoss<F> for PermutationContrastive<F> {
    fn describe(&self) -> String {
        format!("permutation-contrastive, pairs at distance {}", self.distance)
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        let z = c.unwrap_or(z);
        assert_eq!(z.channels, self.channels, "features do not fit the loss");
        if self.available(z) < 2 {
            let Shape { batch, height, width, .. } = z;
            let distance = self.distance;
            let what = format!(
                "{height} × {width} positions of {batch} items hold fewer than two pairs at distance {distance}"
            );
            let remedy = "use longer inputs, more items, or a shorter distance";
            return Err(Error::config("loss.permutation-contrastive", what, remedy));
        }
        Ok(())
    }

    fn value_and_grad(
        &mut self,
        z: &Activations<F>,
        c: Option<&Activations<F>>,
        step: StepInfo<'_>,
        dz: Option<&mut Activations<F>>,
        dc: Option<&mut Activations<F>>,
        pool: &Pool<F>,
    ) -> LossReport {
        let (features, channels) = (c.unwrap_or(z), self.channels);
        self.draw(features.layout(), step);
        let n = self.rows.len() / 3;
        let mut x = pool.take(3 * n * channels);
        for (to, row) in x.chunks_exact_mut(channels).zip(&self.rows) {
            to.copy_from_slice(features.at(*row as usize));
        }
        let h = Standardized::new(&x, channels, pool);
        let mut dh = pool.zeros(3 * n * channels);
        let (mut loss, mut won, share) = (0.0, 0usize, 0.5 / n as f64);
        for i in 0..n {
            let at = |part: usize| (part * n + i) * channels..(part * n + i + 1) * channels;
            let (dnow, rest) = dh.split_at_mut(n * channels);
            let mut odds = [0.0; 2];
            for (part, y) in [(1, 1.0), (2, -1.0)] {
                let rows = [&h.rows[at(0)], &h.rows[at(part)]];
                let r = self.log_odds(rows[0], rows[1]);
                loss += share * softplus(-y * r);
                odds[part - 1] = r;
                // ∂softplus(−y r)/∂r = −y/(1 + e^{y r}).
                let slope = F::of(-y * share / (1.0 + (y * r).exp()));
                self.add_gradients(slope, rows, [&mut dnow[at(0)], &mut rest[at(part - 1)]]);
            }
            won += usize::from(odds[0] > odds[1]);
        }
        h.backward(&mut dh, pool);
        if let Some(into) = context_gradient(c, dz, dc) {
            into.memory_mut().fill(F::zero());
            for (from, row) in dh.chunks_exact(channels).zip(&self.rows) {
                add_scaled(into.at_mut(*row as usize), F::one(), from);
            }
        }
        LossReport { loss, accuracy: won as f64 / n as f64 }
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        (24 * self.available(z).min(self.pairs) * self.channels) as u64
    }
}
