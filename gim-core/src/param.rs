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
    /// Whether errors go down through this weight's transpose.
    transported: bool,
    /// Fixed weights that errors go down through instead; empty for the value itself.
    feedback: Vec<F>,
}

impl<F: Scalar> Param<F> {
    /// A parameter with given values.
    pub fn new(name: impl Into<String>, shape: &[usize], value: Vec<F>) -> Self {
        assert_eq!(value.len(), shape.iter().product::<usize>(), "values do not fit shape {shape:?}");
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            value,
            grad: Buffer::default(),
            transported: false,
            feedback: Vec::new(),
        }
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

    /// Declares that the backward pass multiplies by [`Self::feedback`] wherever it would multiply by the value: the
    /// weight transport that feedback alignment does without (Lillicrap et al. 2016).
    pub fn transported(mut self) -> Self {
        self.transported = true;
        self
    }

    /// Whether the backward pass multiplies by [`Self::feedback`].
    pub fn is_transported(&self) -> bool {
        self.transported
    }

    /// What errors are multiplied by on their way down: the value, or the fixed weights of
    /// [`Self::set_feedback`].
    pub fn feedback(&self) -> &[F] {
        if self.feedback.is_empty() { &self.value } else { &self.feedback }
    }

    /// From here on errors go down through `weights`, shaped as the value; none for the value itself. Checkpoints
    /// do not hold them.
    ///
    /// # Panics
    /// When the parameter is not [`Self::transported`], or `weights` has another length.
    pub fn set_feedback(&mut self, weights: Option<Vec<F>>) {
        let weights = weights.unwrap_or_default();
        let fits = weights.is_empty() || self.transported && weights.len() == self.value.len();
        assert!(fits, "{} feedback weights for {}, {:?}", weights.len(), self.name, self.shape);
        self.feedback = weights;
    }

    /// Angle between value and feedback weights, in degrees: 90 for random weights, 0 where they are the same but
    /// for their scale. `None` without feedback weights, NaN where either is zero.
    pub fn feedback_angle(&self) -> Option<f64> {
        (!self.feedback.is_empty()).then(|| {
            let dot = |a: &[F], b: &[F]| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum::<f64>();
            let (w, b) = (&self.value, &self.feedback);
            let cosine = dot(w, b) / (dot(w, w).sqrt() * dot(b, b).sqrt());
            // Rounding may leave it above 1; not `min`, which would hide NaN.
            if cosine > 1.0 { 0.0 } else { cosine.acos().to_degrees() }
        })
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
