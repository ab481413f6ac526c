//! Losses of two views: of neighboring positions, or of two augmented views of an item.

use std::fmt;

use documented::DocumentedFields;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::mlp::Mlp;
use super::{LocalLoss, LossReport, LossRule, Place, Prediction, StepInfo, context_gradient};
use crate::activations::{Activations, Layout, Shape};
use crate::kernels::vector::{add_scaled, dot};
use crate::param::{Param, Params};
use crate::sampler::permutation_tail;
use crate::{Error, Key, Pool, Purpose, Result, Scalar};

/// A loss of two aligned sets of features: row i of both is a pair that belongs together.
///
/// It does not know where the rows come from. [`Pairs`] makes them.
pub trait TwoViewLoss<F: Scalar>: Send {
    /// A short description for reports.
    fn describe(&self) -> String;

    /// [`LocalLoss::stops_gradients`].
    fn stops_gradients(&self) -> bool {
        false
    }

    /// `views` (2n, C): n rows of the first view, then n of the second → gradients `dviews` (2n, C),
    /// overwritten.
    fn value_and_grad(&mut self, views: &[F], channels: usize, dviews: &mut [F], pool: &Pool<F>) -> LossReport;

    /// Multiply-adds of one evaluation with gradients, on n pairs of rows of `channels`.
    fn multiply_adds(&self, n: usize, channels: usize) -> usize;
}

/// What the two of a pair are.
///
/// A batch with two views of each item has them side by side: the views of item i are the batch's items
/// 2i and 2i + 1. Loaders make such batches, labels are repeated in the same order, and a loss that
/// knows nothing of views sees twice as many items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// Neighboring positions of an item: consecutive frames, or neighboring patches.
    #[default]
    Neighbors,
    /// The two views of an item, each the mean over its positions: one row for each item and view, as
    /// in SimCLR (Chen 2020). The views may be cut at different places.
    Views,
    /// The same position of the two views of an item. It says something only where both views are cut
    /// at the same place.
    ViewPositions,
}

impl Compare {
    /// Whether a batch must hold two views of each item.
    pub fn needs_views(self) -> bool {
        self != Self::Neighbors
    }
}

/// The pairs that a step takes: numbers of some of all, without replacement.
#[derive(Default)]
pub(super) struct Drawn {
    pub(super) pairs: Vec<u32>,
    scratch: Vec<u32>,
}

impl Drawn {
    /// Draws `most` of `all` pairs, or takes all where there are no more.
    pub(super) fn draw(&mut self, all: usize, most: usize, step: StepInfo<'_>) {
        self.pairs.clear();
        if all <= most {
            self.pairs.extend(0..all as u32);
        } else {
            self.pairs.resize(most, 0);
            permutation_tail(all, &mut self.pairs, &mut self.scratch, &mut step.key(Purpose::Window).rng());
        }
    }
}

/// A [`TwoViewLoss`] on pairs of features of a batch, as [`Compare`] says.
///
/// Each step draws some of all pairs without replacement, or takes all where there are no more. Where
/// there is a context network, contexts are compared. A projector may stand between features and loss.
pub struct Pairs<F: Scalar, L> {
    loss: L,
    channels: usize,
    pairs: usize,
    compare: Compare,
    /// Positions from one neighbor to the other.
    distance: usize,
    /// Whether neighbors lie along the height, and along the width.
    ways: [bool; 2],
    projector: Mlp<F>,
    drawn: Drawn,
    /// (2n) memory rows of the views; of views that are means, the first of each.
    rows: Vec<u32>,
}

/// Settings of [`Pairs`].
#[derive(Debug, Clone, Copy)]
pub(super) struct PairsConfig<'a> {
    /// What is compared.
    pub compare: Compare,
    /// Pairs drawn in a step, at most.
    pub pairs: usize,
    /// Positions from one neighbor to the other; skipped positions are added.
    pub distance: usize,
    /// Channels of the projector's layers; empty for none.
    pub projector: &'a [usize],
}

/// The settings of a [`TwoViewLoss`] on [`Pairs`]: all that [`LossRule`] asks follows from them.
pub(super) trait PairRule:
    Default + Clone + PartialEq + fmt::Debug + Serialize + DeserializeOwned + DocumentedFields
{
    /// The loss.
    type Loss<F: Scalar>: TwoViewLoss<F> + 'static;

    /// What pairs it compares.
    fn pairs(&self) -> PairsConfig<'_>;

    /// The loss of rows of `channels`.
    ///
    /// # Errors
    /// [`Error::Config`] when it cannot be computed.
    fn loss<F: Scalar>(&self, channels: usize) -> Result<Self::Loss<F>>;
}

impl<R: PairRule> LossRule for R {
    fn need(&self, prediction: &Prediction) -> usize {
        let pairs = self.pairs();
        if pairs.compare.needs_views() { 1 } else { pairs.distance + prediction.skip + 1 }
    }

    fn needs_views(&self) -> bool {
        self.pairs().compare.needs_views()
    }

    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
        let PairsConfig { compare, pairs, distance, projector } = self.pairs();
        let projector = Mlp::new("loss.projector", place.context, projector, key);
        Ok(Box::new(Pairs {
            loss: self.loss::<F>(projector.out_channels())?,
            channels: place.context,
            pairs,
            compare,
            distance: distance + place.prediction.skip,
            ways: place.prediction.ways()?,
            projector,
            drawn: Drawn::default(),
            rows: Vec::new(),
        }))
    }
}

impl<F: Scalar, L> Pairs<F, L> {
    /// Neighbors along the height and along the width of features of shape `z`.
    fn neighbors(&self, z: Shape) -> [usize; 2] {
        let [down, across] = self.ways;
        let along = |extent: usize, used: bool| if used { extent.saturating_sub(self.distance) } else { 0 };
        [z.batch * along(z.height, down) * z.width, z.batch * z.height * along(z.width, across)]
    }

    /// All pairs of features of shape `z`.
    fn available(&self, z: Shape) -> usize {
        match self.compare {
            Compare::Neighbors => self.neighbors(z).iter().sum(),
            Compare::Views => z.batch / 2,
            Compare::ViewPositions => z.batch / 2 * z.height * z.width,
        }
    }

    /// Memory rows that are averaged for each row of the loss.
    fn pooled(&self, z: Shape) -> usize {
        if self.compare == Compare::Views { z.height * z.width } else { 1 }
    }

    /// Draws the pairs of a step: fills `rows` with the memory rows of both views.
    fn draw(&mut self, layout: Layout, step: StepInfo<'_>) {
        let all = self.available(layout.shape);
        self.drawn.draw(all, self.pairs, step);
        let n = self.drawn.pairs.len();
        self.rows.resize(2 * n, 0);
        for i in 0..n {
            let ends = self.ends(layout, self.drawn.pairs[i] as usize);
            (self.rows[i], self.rows[n + i]) = (ends[0] as u32, ends[1] as u32);
        }
    }

    /// Memory rows of the two of a pair.
    fn ends(&self, layout: Layout, pair: usize) -> [usize; 2] {
        let z = layout.shape;
        match self.compare {
            Compare::Neighbors => {
                let ([down, _], distance) = (self.neighbors(z), self.distance);
                if pair < down {
                    let (x, rest) = (pair % z.width, pair / z.width);
                    let (y, item) = (rest % (z.height - distance), rest / (z.height - distance));
                    [layout.row(item, y, x), layout.row(item, y + distance, x)]
                } else {
                    let pair = pair - down;
                    let (x, rest) = (pair % (z.width - distance), pair / (z.width - distance));
                    let (y, item) = (rest % z.height, rest / z.height);
                    [layout.row(item, y, x), layout.row(item, y, x + distance)]
                }
            }
            Compare::Views => [layout.row(2 * pair, 0, 0), layout.row(2 * pair + 1, 0, 0)],
            Compare::ViewPositions => {
                let positions = z.height * z.width;
                let (at, item) = (pair % positions, pair / positions);
                [2 * item, 2 * item + 1].map(|view| layout.row(view, 0, 0) + at)
            }
        }
    }
}

impl<F: Scalar, L> Params<F> for Pairs<F, L> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.projector.visit(f);
    }
}

impl<F: Scalar, L: TwoViewLoss<F>> LocalLoss<F> for Pairs<F, L> {
    fn describe(&self) -> String {
        let of = match self.compare {
            Compare::Neighbors => format!("neighbors at distance {}", self.distance),
            Compare::Views => "two views of an item".to_owned(),
            Compare::ViewPositions => "positions of two views of an item".to_owned(),
        };
        format!("{}, {of}", self.loss.describe())
    }

    fn stops_gradients(&self) -> bool {
        self.loss.stops_gradients()
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        let z = c.unwrap_or(z);
        assert_eq!(z.channels, self.channels, "features do not fit the projector");
        let views = self.compare.needs_views();
        if views && !z.batch.is_multiple_of(2) {
            let what = format!("compares two views of each item, but a batch holds {} items", z.batch);
            return Err(Error::config("loss", what, "make batches with two views of each item"));
        }
        if self.available(z) >= 2 {
            return Ok(());
        }
        let (what, remedy) = if views {
            (format!("two views of {} items are fewer than two pairs", z.batch / 2), "use more items")
        } else {
            let (h, w, n, d) = (z.height, z.width, z.batch, self.distance);
            let what = format!("{h} × {w} positions of {n} items hold fewer than two pairs at distance {d}");
            (what, "use longer inputs, more items, or a shorter distance")
        };
        Err(Error::config("loss", what, remedy))
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
        let features = c.unwrap_or(z);
        self.draw(features.layout(), step);
        let pooled = self.pooled(features.shape());
        let share = F::of(1.0 / pooled as f64);
        let (channels, out, n) = (self.channels, self.projector.out_channels(), self.rows.len());
        let mut x = pool.take(n * channels);
        for (to, row) in x.chunks_exact_mut(channels).zip(&self.rows) {
            let row = *row as usize;
            to.copy_from_slice(features.at(row));
            if pooled > 1 {
                (row + 1..row + pooled).for_each(|row| add_scaled(to, F::one(), features.at(row)));
                to.iter_mut().for_each(|x| *x *= share);
            }
        }
        let projected = self.projector.forward(&x, n, pool);
        let mut dviews = pool.take(n * out);
        let report = self.loss.value_and_grad(projected.last(&x), out, &mut dviews, pool);
        let dx = self.projector.backward(&x, &projected, dviews, n, pool);
        if let Some(into) = context_gradient(c, dz, dc) {
            into.memory_mut().fill(F::zero());
            for (from, row) in dx.chunks_exact(channels).zip(&self.rows) {
                let row = *row as usize;
                (row..row + pooled).for_each(|row| add_scaled(into.at_mut(row), share, from));
            }
        }
        report
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        let n = self.available(z).min(self.pairs);
        let projector = 2 * n * self.projector.multiply_adds();
        (projector + self.loss.multiply_adds(n, self.projector.out_channels())) as u64
    }
}

/// `weight` times the mean squared difference of the two views (2n, C) in `views`; its gradients are
/// written to `dviews`.
pub(super) fn apart<F: Scalar>(views: &[F], dviews: &mut [F], weight: f64) -> f64 {
    let half = views.len() / 2;
    let ((a, b), (da, db)) = (views.split_at(half), dviews.split_at_mut(half));
    let share = 1.0 / half as f64;
    let mut sum = 0.0;
    for (((a, b), da), db) in a.iter().zip(b).zip(da).zip(db) {
        let d = *a - *b;
        sum += (d * d).f64();
        *da = F::of(2.0 * weight * share) * d;
        *db = -*da;
    }
    weight * sum * share
}

/// Subtracts the mean of every column of x (n, C).
pub(super) fn center<F: Scalar>(x: &mut [F], channels: usize, pool: &Pool<F>) {
    let mut mean = pool.zeros(channels);
    let share = F::of(-1.0 / (x.len() / channels) as f64);
    x.chunks_exact(channels).for_each(|row| add_scaled(&mut mean, share, row));
    x.chunks_exact_mut(channels).for_each(|row| add_scaled(row, F::one(), &mean));
}

/// Mean squares (C) of the columns of x (n, C), with n − `less` instead of n.
pub(super) fn mean_squares<F: Scalar>(x: &[F], channels: usize, less: usize, out: &mut [F]) {
    let share = F::of(1.0 / (x.len() / channels - less) as f64);
    out.fill(F::zero());
    for row in x.chunks_exact(channels) {
        out.iter_mut().zip(row).for_each(|(out, x)| *out += share * *x * *x);
    }
}

/// Σ x², widened.
pub(super) fn sum_squares<F: Scalar>(x: &[F]) -> f64 {
    dot(x, x).f64()
}
