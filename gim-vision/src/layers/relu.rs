//! max(0, x), as a layer of its own.

use gim_core::activations::Shape;
use gim_core::kernels::vector::relu;
use gim_core::layers::{ItemLayer, LayerInfo, Pass, Work};
use gim_core::param::{Param, Params};
use gim_core::{Pool, Result, Scalar};

/// y = max(0, x): x (N, H, W, C) → y (N, H, W, C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relu;

impl<F: Scalar> Params<F> for Relu {
    fn visit(&mut self, _: &mut dyn FnMut(&mut Param<F>)) {}
}

impl LayerInfo for Relu {
    fn describe(&self) -> String {
        "ReLU".into()
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        Ok(x)
    }

    fn multiply_adds(&self, _: Shape) -> u64 {
        0
    }
}

impl<F: Scalar> ItemLayer<F> for Relu {
    fn kept(&self, _: Shape, _: bool) -> usize {
        0
    }

    fn pack(&mut self, _: Pass, _: Shape, _: &Pool<F>) {}

    fn unpack(&mut self) {}

    fn forward(&self, x: &[F], _: Shape, y: &mut [F], _: &mut [F], _: Work<'_, F>) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = relu(*x));
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, x: &[F], shape: Shape, _: &[F], y: &mut [F], work: Work<'_, F>) {
        self.forward(x, shape, y, &mut [], work);
    }

    /// ∂loss/∂x = dy where x > 0, else 0.
    fn backward(&self, x: &[F], _: Shape, _: &[F], dy: &mut [F], dx: Option<&mut [F]>, _: &mut [F], _: Work<'_, F>) {
        let Some(dx) = dx else { return };
        for ((dx, dy), x) in dx.iter_mut().zip(&*dy).zip(x) {
            *dx = if *x > F::zero() { *dy } else { F::zero() };
        }
    }

    fn n_params(&self) -> usize {
        0
    }
}
