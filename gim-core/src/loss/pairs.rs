//! Losses of two views, on pairs of neighboring positions.

use super::mlp::Mlp;
use super::{LocalLoss, LossReport, Place, StepInfo, context_gradient};
use crate::activations::{Activations, Layout, Shape};
use crate::kernels::vector::{add_scaled, dot};
use crate::param::{Param, Params};
use crate::sampler::permutation_tail;
use crate::{Error, Key, Pool, Purpose, Result, Scalar};

/// A loss of two aligned sets of features: row i of both is a pair that belongs together.
///
/// It does not know where the rows come from. [`Neighbors`] makes them of neighboring positions; two
/// augmented views of the same items would serve as well.
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

/// A [`TwoViewLoss`] whose two views are the features at neighboring positions of an item: consecutive
/// frames, or neighboring patches.
///
/// Each step draws some of all pairs without replacement, or takes all where there are no more. Where
/// there is a context network, contexts are compared. A projector may stand between features and loss.
pub struct Neighbors<F: Scalar, L> {
    loss: L,
    channels: usize,
    pairs: usize,
    distance: usize,
    /// Whether pairs lie along the height, and along the width.
    ways: [bool; 2],
    projector: Mlp<F>,
    /// Pairs drawn in this step, and scratch of the draw.
    drawn: Vec<u32>,
    scratch: Vec<u32>,
    /// (2n) memory rows of the views.
    rows: Vec<u32>,
}

/// Settings of [`Neighbors`].
#[derive(Debug, Clone, Copy)]
pub(super) struct NeighborsConfig<'a> {
    /// Pairs drawn in a step, at most.
    pub pairs: usize,
    /// Positions from one of a pair to the other; skipped positions are added.
    pub distance: usize,
    /// Channels of the projector's layers; empty for none.
    pub projector: &'a [usize],
}

impl<F: Scalar, L> Neighbors<F, L> {
    /// `loss` on pairs of neighbors at `place`.
    ///
    /// # Errors
    /// [`Error::Config`] when no direction is named, or one twice.
    pub(super) fn new(config: NeighborsConfig<'_>, loss: L, place: &Place, key: Key) -> Result<Self> {
        let directions = place.prediction.distinct_directions()?;
        Ok(Self {
            loss,
            channels: place.context,
            pairs: config.pairs,
            distance: config.distance + place.prediction.skip,
            ways: [false, true].map(|sideways| directions.iter().any(|d| d.sideways() == sideways)),
            projector: Mlp::new("loss.projector", place.context, config.projector, key),
            drawn: Vec::new(),
            scratch: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Pairs along the height and along the width of features of shape `z`.
    fn available(&self, z: Shape) -> [usize; 2] {
        let [down, across] = self.ways;
        let along = |extent: usize, used: bool| if used { extent.saturating_sub(self.distance) } else { 0 };
        [z.batch * along(z.height, down) * z.width, z.batch * z.height * along(z.width, across)]
    }

    /// Draws the pairs of a step: fills `rows` with the memory rows of both views.
    fn draw(&mut self, layout: Layout, step: StepInfo<'_>) {
        let (z, [down, across]) = (layout.shape, self.available(layout.shape));
        let all = down + across;
        self.drawn.clear();
        if all <= self.pairs {
            self.drawn.extend(0..all as u32);
        } else {
            self.drawn.resize(self.pairs, 0);
            permutation_tail(all, &mut self.drawn, &mut self.scratch, &mut step.key(Purpose::Window).rng());
        }
        let (n, distance) = (self.drawn.len(), self.distance);
        self.rows.resize(2 * n, 0);
        for (i, pair) in self.drawn.iter().enumerate() {
            let pair = *pair as usize;
            let ends = if pair < down {
                let (x, rest) = (pair % z.width, pair / z.width);
                let (y, item) = (rest % (z.height - distance), rest / (z.height - distance));
                [layout.row(item, y, x), layout.row(item, y + distance, x)]
            } else {
                let pair = pair - down;
                let (x, rest) = (pair % (z.width - distance), pair / (z.width - distance));
                let (y, item) = (rest % z.height, rest / z.height);
                [layout.row(item, y, x), layout.row(item, y, x + distance)]
            };
            (self.rows[i], self.rows[n + i]) = (ends[0] as u32, ends[1] as u32);
        }
    }
}

impl<F: Scalar, L> Params<F> for Neighbors<F, L> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.projector.visit(f);
    }
}

impl<F: Scalar, L: TwoViewLoss<F>> LocalLoss<F> for Neighbors<F, L> {
    fn describe(&self) -> String {
        format!("{}, neighbors at distance {}", self.loss.describe(), self.distance)
    }

    fn stops_gradients(&self) -> bool {
        self.loss.stops_gradients()
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        let z = c.unwrap_or(z);
        assert_eq!(z.channels, self.channels, "features do not fit the projector");
        let [down, across] = self.available(z);
        if down + across < 2 {
            let what = format!(
                "{} × {} positions of {} items hold fewer than two pairs at distance {}",
                z.height, z.width, z.batch, self.distance
            );
            return Err(Error::config("loss", what, "use longer inputs, more items, or a shorter distance"));
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
        let features = c.unwrap_or(z);
        self.draw(features.layout(), step);
        let (channels, out, n) = (self.channels, self.projector.out_channels(), self.rows.len());
        let mut x = pool.take(n * channels);
        for (to, row) in x.chunks_exact_mut(channels).zip(&self.rows) {
            to.copy_from_slice(features.at(*row as usize));
        }
        let projected = self.projector.forward(&x, n, pool);
        let mut dviews = pool.take(n * out);
        let report = self.loss.value_and_grad(projected.last(&x), out, &mut dviews, pool);
        let dx = self.projector.backward(&x, &projected, dviews, n, pool);
        if let Some(into) = context_gradient(c, dz, dc) {
            into.memory_mut().fill(F::zero());
            for (from, row) in dx.chunks_exact(channels).zip(&self.rows) {
                add_scaled(into.at_mut(*row as usize), F::one(), from);
            }
        }
        report
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        let n = self.available(z).iter().sum::<usize>().min(self.pairs);
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
