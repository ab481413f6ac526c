//! Pooling over squares of positions that do not overlap.

use std::ops::Range;

use gim_core::activations::Shape;
use gim_core::kernels::vector::add_scaled;
use gim_core::layers::{ItemLayer, LayerInfo, Pass, Work};
use gim_core::param::{Param, Params};
use gim_core::{Error, Pool, Result, Scalar};
use serde::{Deserialize, Serialize};

/// What is taken of a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The largest value of each channel.
    Max,
    /// The mean of each channel.
    Average,
}

/// Pooling: x (N, H, W, C) → y (N, ⌊H/s⌋, ⌊W/s⌋, C), over squares of s × s positions. Rows and columns
/// at the end that fill no square are left out.
///
/// As `MaxPool2d(s)` and `AvgPool2d(s)` of PyTorch. Of equal values in a square, the first one, row by
/// row, has the gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    pooling: Pooling,
    side: usize,
}

impl Pool2d {
    /// Pooling over squares of `side` × `side` positions.
    ///
    /// # Errors
    /// When `side` is 0.
    pub fn new(pooling: Pooling, side: usize) -> Result<Self> {
        if side == 0 {
            return Err(Error::config("network", "pooling over squares of no positions", "use a side of 1 or more"));
        }
        Ok(Self { pooling, side })
    }

    /// The output's shape; empty where the input is smaller than a square.
    fn out(&self, x: Shape) -> Shape {
        Shape { height: x.height / self.side, width: x.width / self.side, ..x }
    }

    /// Calls `f` with every position of the output and the first position of its square in the input.
    fn squares(&self, x: Shape, mut f: impl FnMut(usize, usize)) {
        let y = self.out(x);
        for at in 0..y.positions() {
            let (item, row, col) = (at / (y.height * y.width), at / y.width % y.height, at % y.width);
            f(at, (item * x.height + row * self.side) * x.width + col * self.side);
        }
    }

    /// Where the values of each position of a square lie in the input, row by row.
    fn taps(&self, x: Shape, corner: usize) -> impl Iterator<Item = Range<usize>> {
        let (c, side) = (x.channels, self.side);
        (0..side * side).map(move |tap| {
            let from = (corner + tap / side * x.width + tap % side) * c;
            from..from + c
        })
    }

    /// The largest value of each channel of a square.
    fn most<F: Scalar>(&self, x: &[F], shape: Shape, corner: usize, most: &mut [F]) {
        most.fill(F::neg_infinity());
        for tap in self.taps(shape, corner) {
            most.iter_mut().zip(&x[tap]).for_each(|(m, x)| *m = if exceeds(*x, *m) { *x } else { *m });
        }
    }
}

/// Whether `value` takes the place of the largest one so far. NaN stays, so that a module with a weight that is not
/// finite is noticed.
fn exceeds<F: Scalar>(value: F, most: F) -> bool {
    value > most || (value.is_nan() && !most.is_nan())
}

impl<F: Scalar> Params<F> for Pool2d {
    fn visit(&mut self, _: &mut dyn FnMut(&mut Param<F>)) {}
}

impl LayerInfo for Pool2d {
    fn describe(&self) -> String {
        let name = match self.pooling {
            Pooling::Max => "max",
            Pooling::Average => "average",
        };
        format!("{name} pooling, {0}×{0}", self.side)
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        let y = self.out(x);
        if y.height == 0 || y.width == 0 {
            let what = format!("{} × {} positions are too few for {}", x.height, x.width, self.describe());
            return Err(Error::config(
                "network.pools",
                what,
                "pool after fewer layers, or use larger images or patches",
            ));
        }
        Ok(y)
    }

    fn multiply_adds(&self, _: Shape) -> u64 {
        0
    }
}

impl<F: Scalar> ItemLayer<F> for Pool2d {
    fn kept(&self, _: Shape, _: bool) -> usize {
        0
    }

    fn pack(&mut self, _: Pass, _: Shape, _: &Pool<F>) {}

    fn unpack(&mut self) {}

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], _: &mut [F], _: Work<'_, F>) {
        let (c, share) = (shape.channels, F::of(1.0 / (self.side * self.side) as f64));
        self.squares(shape, |at, corner| {
            let y = &mut y[at * c..][..c];
            match self.pooling {
                Pooling::Max => self.most(x, shape, corner, y),
                Pooling::Average => {
                    y.fill(F::zero());
                    self.taps(shape, corner).for_each(|tap| add_scaled(y, share, &x[tap]));
                }
            }
        });
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, x: &[F], shape: Shape, _: &[F], y: &mut [F], work: Work<'_, F>) {
        self.forward(x, shape, y, &mut [], work);
    }

    fn backward(
        &self,
        x: &[F],
        shape: Shape,
        _: &[F],
        dy: &mut [F],
        dx: Option<&mut [F]>,
        _: &mut [F],
        work: Work<'_, F>,
    ) {
        let Some(dx) = dx else { return };
        dx.fill(F::zero());
        let (c, share) = (shape.channels, F::of(1.0 / (self.side * self.side) as f64));
        let mut most = work.pool.take(c);
        self.squares(shape, |at, corner| {
            let dy = &dy[at * c..][..c];
            match self.pooling {
                Pooling::Average => self.taps(shape, corner).for_each(|tap| add_scaled(&mut dx[tap], share, dy)),
                Pooling::Max => {
                    self.most(x, shape, corner, &mut most);
                    for (i, (most, dy)) in most.iter().zip(dy).enumerate() {
                        let first = self.taps(shape, corner).find(|tap| x[tap.start + i] == *most);
                        if let Some(tap) = first {
                            dx[tap.start + i] = *dy;
                        }
                    }
                }
            }
        });
    }

    fn n_params(&self) -> usize {
        0
    }
}
