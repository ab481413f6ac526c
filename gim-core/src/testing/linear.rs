//! The smallest layer that trains, for tests and examples.

use crate::activations::{Activations, Shape};
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::layers::{InputGrad, Keep, Layer, LayerInfo};
use crate::param::{Param, Params};
use crate::{Key, Pool, Result, Scalar};

/// A linear map of the channels at every position: x (N, H, W, C), weight (O, C) → y (N, H, W, O).
pub struct Linear<F: Scalar> {
    weight: Param<F>,
}

impl<F: Scalar> Linear<F> {
    /// Weights drawn from U(±1/√C).
    pub fn new(in_channels: usize, out_channels: usize, key: Key) -> Self {
        let bound = 1.0 / (in_channels as f64).sqrt();
        Self { weight: Param::uniform("weight", &[out_channels, in_channels], bound, key).transported() }
    }

    /// (O, C).
    fn size(&self) -> (usize, usize) {
        (self.weight.shape[0], self.weight.shape[1])
    }
}

impl<F: Scalar> Params<F> for Linear<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.weight);
    }
}

impl<F: Scalar> LayerInfo for Linear<F> {
    fn describe(&self) -> String {
        let (o, c) = self.size();
        format!("linear {c} → {o}")
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        let (o, c) = self.size();
        assert_eq!(x.channels, c, "channels of the input of {}", self.describe());
        Ok(x.with_channels(o))
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        (x.len() * self.size().0) as u64
    }
}

impl<F: Scalar> Layer<F> for Linear<F> {
    fn forward(&mut self, x: &Activations<F>, y: &mut Activations<F>, _: Keep, pool: &Pool<F>) {
        let ((o, c), n) = (self.size(), x.shape().height * x.shape().width);
        let weight = Mat::new(&self.weight.value, o, c);
        for i in 0..x.shape().batch {
            let y = MatMut::new(y.item_mut(i), n, o);
            matmul(Mat::new(x.item(i), n, c), weight.t(), y, Store::Overwrite, pool);
        }
    }

    fn backward(
        &mut self,
        x: &Activations<F>,
        _: &Activations<F>,
        dy: &mut Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        let ((o, c), n) = (self.size(), x.shape().height * x.shape().width);
        for i in 0..x.shape().batch {
            let dw = MatMut::new(self.weight.grad_mut(), o, c);
            matmul(Mat::new(dy.item(i), n, o).t(), Mat::new(x.item(i), n, c), dw, Store::Add, pool);
        }
        let (dx, store) = match dx {
            InputGrad::Stop => return,
            InputGrad::Overwrite(dx) => (dx, Store::Overwrite),
            InputGrad::Add(dx) => (dx, Store::Add),
        };
        let weight = Mat::new(self.weight.feedback(), o, c);
        for i in 0..x.shape().batch {
            matmul(Mat::new(dy.item(i), n, o), weight, MatMut::new(dx.item_mut(i), n, c), store, pool);
        }
    }
}
