//! Learnable parameters: value and gradient side by side, one visitor for optimizer, checkpoint and gradient check.

use rand::RngExt;

use crate::{Buffer, Key, Pool, Scalar};

/// A learnable tensor, row-major.
#[derive(Debug)]
pub struct Param<F: Scalar> {
    /// Name within its module, e.g. `encoder.0.weight`.
    pub name: String,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// The values.
    pub value: Vec<F>,
    /// ∂loss/∂value. Borrowed from a pool during a training step; empty otherwise.
    grad: Buffer<F>,
}

impl<F: Scalar> Param<F> {
    /// A parameter with given values.
    pub fn new(name: impl Into<String>, shape: &[usize], value: Vec<F>) -> Self {
        assert_eq!(value.len(), shape.iter().product::<usize>(), "values do not fit shape {shape:?}");
        Self { name: name.into(), shape: shape.to_vec(), value, grad: Buffer::default() }
    }

    /// A parameter drawn from U(−bound, bound).
    ///
    /// With `bound = 1/√fan_in` this is the default of the published networks, Kaiming-uniform with a = √5.
    pub fn uniform(name: impl Into<String>, shape: &[usize], bound: f64, key: Key) -> Self {
        let mut rng = key.rng();
        let n = shape.iter().product();
        let value = (0..n).map(|_| F::of((rng.random::<f64>() * 2.0 - 1.0) * bound)).collect();
        Self::new(name, shape, value)
    }

    /// Borrows a zeroed gradient from `pool`.
    pub fn attach_grad(&mut self, pool: &Pool<F>) {
        self.grad = pool.zeros(self.value.len());
    }

    /// Returns the gradient's memory to its pool.
    pub fn release_grad(&mut self) {
        self.grad = Buffer::default();
    }

    /// The gradient; empty unless attached.
    pub fn grad(&self) -> &[F] {
        &self.grad
    }

    /// The gradient, to accumulate into. Attach it first.
    pub fn grad_mut(&mut self) -> &mut [F] {
        assert_eq!(self.grad.len(), self.value.len(), "no gradient attached to {}", self.name);
        &mut self.grad
    }

    /// Value to read and gradient to write at once, and value and gradient for an optimizer.
    pub fn value_and_grad(&mut self) -> (&mut [F], &mut [F]) {
        (&mut self.value, &mut self.grad)
    }
}

/// Something that has parameters.
pub trait Params<F: Scalar> {
    /// Calls `f` on every parameter, always in the same order.
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>));

    /// Number of values of all parameters.
    fn n_params(&mut self) -> usize {
        let mut n = 0;
        self.visit(&mut |p| n += p.value.len());
        n
    }
}
