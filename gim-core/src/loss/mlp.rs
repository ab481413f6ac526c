//! A multilayer perceptron on rows: the projector of two-view losses and the head of supervised ones.

use crate::activations::Activations;
use crate::kernels::gemm::{Mat, MatMut, Store, matmul};
use crate::kernels::vector::{add_column_sums, relu};
use crate::param::{Param, Params};
use crate::{Buffer, Key, Pool, Scalar};

/// Linear layers with ReLU between them. Without layers it is the identity.
pub(super) struct Mlp<F: Scalar> {
    in_channels: usize,
    /// Weight (O, I) and bias (O) of each layer.
    layers: Vec<[Param<F>; 2]>,
}

/// Outputs of the layers of an [`Mlp`], after ReLU but for the last: what its backward pass needs.
pub(super) struct Outputs<F: Scalar>(Vec<Buffer<F>>);

impl<F: Scalar> Outputs<F> {
    /// The output; `x` itself without layers.
    pub(super) fn last<'a>(&'a self, x: &'a [F]) -> &'a [F] {
        self.0.last().map_or(x, |y| y)
    }
}

impl<F: Scalar> Mlp<F> {
    /// Layers of `widths` outputs, drawn from U(±1/√I), as PyTorch does. Parameters are named
    /// `NAME.i.weight` and `NAME.i.bias`.
    pub(super) fn new(name: &str, in_channels: usize, widths: &[usize], key: Key) -> Self {
        let (mut layers, mut inputs) = (Vec::new(), in_channels);
        for (i, width) in widths.iter().enumerate() {
            let bound = 1.0 / (inputs as f64).sqrt();
            let key = |part| key.with_item(key.item + 2 * i as u32 + part);
            layers.push([
                Param::uniform(format!("{name}.{i}.weight"), &[*width, inputs], bound, key(0)).transported(),
                Param::uniform(format!("{name}.{i}.bias"), &[*width], bound, key(1)),
            ]);
            inputs = *width;
        }
        Self { in_channels, layers }
    }

    /// Whether it has no layers.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Channels of the output.
    pub(super) fn out_channels(&self) -> usize {
        self.layers.last().map_or(self.in_channels, |[_, bias]| bias.value.len())
    }

    /// x (rows, I) → outputs of all layers.
    pub(super) fn forward(&self, x: &[F], rows: usize, pool: &Pool<F>) -> Outputs<F> {
        let mut outputs: Vec<Buffer<F>> = Vec::with_capacity(self.layers.len());
        for (i, [weight, bias]) in self.layers.iter().enumerate() {
            let (out, inputs) = (weight.shape[0], weight.shape[1]);
            let mut y = pool.take(rows * out);
            y.chunks_exact_mut(out).for_each(|row| row.copy_from_slice(&bias.value));
            let x = Mat::new(outputs.last().map_or(x, |y| y), rows, inputs);
            let weight = Mat::new(&weight.value, out, inputs);
            matmul(x, weight.t(), MatMut::new(&mut y, rows, out), Store::Add, pool);
            if i + 1 < self.layers.len() {
                y.iter_mut().for_each(|y| *y = relu(*y));
            }
            outputs.push(y);
        }
        Outputs(outputs)
    }

    /// `dy` (rows, O) = ∂loss/∂output → parameter gradients (accumulated) and ∂loss/∂x (rows, I).
    pub(super) fn backward(
        &mut self,
        x: &[F],
        outputs: &Outputs<F>,
        dy: Buffer<F>,
        rows: usize,
        pool: &Pool<F>,
    ) -> Buffer<F> {
        let mut dy = dy;
        for (i, [weight, bias]) in self.layers.iter_mut().enumerate().rev() {
            let (out, inputs) = (weight.shape[0], weight.shape[1]);
            let below: &[F] = if i == 0 { x } else { &outputs.0[i - 1] };
            let d = Mat::new(&dy, rows, out);
            let dweight = MatMut::new(weight.grad_mut(), out, inputs);
            matmul(d.t(), Mat::new(below, rows, inputs), dweight, Store::Add, pool);
            add_column_sums(bias.grad_mut(), &dy);
            let mut dx = pool.take(rows * inputs);
            let weight = Mat::new(weight.feedback(), out, inputs);
            matmul(d, weight, MatMut::new(&mut dx, rows, inputs), Store::Overwrite, pool);
            if i > 0 {
                dx.iter_mut().zip(below).filter(|(_, y)| **y <= F::zero()).for_each(|(dx, _)| *dx = F::zero());
            }
            dy = dx;
        }
        dy
    }

    /// Forward and backward over the positions of each item of `features` (N, H, W, I). `differentiate` gets an
    /// item's number and its outputs (H·W, O), and turns these into ∂loss/∂outputs. ∂loss/∂features goes to
    /// `into`, overwritten.
    pub(super) fn by_item(
        &mut self,
        features: &Activations<F>,
        mut into: Option<&mut Activations<F>>,
        pool: &Pool<F>,
        mut differentiate: impl FnMut(usize, &mut [F]),
    ) {
        let shape = features.shape();
        let rows = shape.height * shape.width;
        if let Some(into) = into.as_deref_mut() {
            into.memory_mut().fill(F::zero());
        }
        for item in 0..shape.batch {
            let x = features.item(item);
            let outputs = self.forward(x, rows, pool);
            let mut d = pool.take(rows * self.out_channels());
            d.copy_from_slice(outputs.last(x));
            differentiate(item, &mut d);
            let dx = self.backward(x, &outputs, d, rows, pool);
            if let Some(into) = into.as_deref_mut() {
                into.item_mut(item).copy_from_slice(&dx);
            }
        }
    }

    /// Multiply-adds of a forward and a backward pass over one row.
    pub(super) fn multiply_adds(&self) -> usize {
        self.layers.iter().map(|[weight, _]| 3 * weight.value.len()).sum()
    }
}

impl<F: Scalar> Params<F> for Mlp<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.layers.iter_mut().flatten().for_each(f);
    }
}
