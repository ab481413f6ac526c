//! Layers one after the other.

use crate::activations::{Activations, Layout, Shape};
use crate::layer::{Above, InputGrad, Keep, Layer};
use crate::param::{Param, Params};
use crate::{Pool, Result, Scalar};

/// A chain of layers; without layers it is the identity.
#[derive(Default)]
pub struct Sequential<F: Scalar> {
    layers: Vec<Box<dyn Layer<F>>>,
    /// Outputs of all layers but the last, kept for backward (and for whoever looks into the chain).
    hidden: Vec<Activations<F>>,
}

impl<F: Scalar> Sequential<F> {
    /// The chain of these layers; parameters are prefixed with their layer's number.
    pub fn new(mut layers: Vec<Box<dyn Layer<F>>>) -> Self {
        for (i, layer) in layers.iter_mut().enumerate() {
            layer.visit(&mut |p| p.name = format!("{i}.{}", p.name));
        }
        let hidden = Vec::with_capacity(layers.len());
        Self { layers, hidden }
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether this is the identity.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers.
    pub fn layers(&self) -> &[Box<dyn Layer<F>>] {
        &self.layers
    }

    /// Outputs of all layers but the last, while they are kept.
    pub fn hidden(&self) -> &[Activations<F>] {
        &self.hidden
    }

    /// Forgets the hidden activations.
    pub fn release(&mut self) {
        self.hidden.clear();
    }

    /// Shapes of input, hidden activations and output.
    ///
    /// # Errors
    /// When a layer cannot take what the one below gives.
    pub fn shapes(&self, x: Shape) -> Result<Vec<Shape>> {
        let mut shapes = vec![x];
        for layer in &self.layers {
            shapes.push(layer.output(shapes[shapes.len() - 1])?);
        }
        Ok(shapes)
    }

    /// The backward pass, the last layer's by `last(layer, input, input gradient)`.
    fn backward_from(
        &mut self,
        x: &Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
        last: impl FnOnce(&mut dyn Layer<F>, &Activations<F>, InputGrad<'_, F>),
    ) {
        let n = self.layers.len();
        assert_eq!(self.hidden.len() + 1, n, "backward without a forward pass that kept its activations");
        let (mut last, mut dx) = (Some(last), Some(dx));
        // Output of layer i, and its gradient; those of the last layer are the caller's.
        let mut above: Option<(Activations<F>, Activations<F>)> = None;
        for i in (0..n).rev() {
            // What is above is not needed any more once its layer is done: peak memory falls as the pass goes down.
            let hidden = self.hidden.pop();
            let mut below = hidden.as_ref().map(|h| Activations::new(h.layout(), pool));
            let input = hidden.as_ref().unwrap_or(x);
            let into = match &mut below {
                Some(below) => InputGrad::Overwrite(below),
                None => dx.take().unwrap_or(InputGrad::Stop),
            };
            match (&mut above, last.take()) {
                (Some((y, dy)), _) => self.layers[i].backward(input, y, dy, into, pool),
                (None, Some(last)) => last(&mut *self.layers[i], input, into),
                (None, None) => unreachable!("only the last layer has nothing above"),
            }
            above = hidden.zip(below);
        }
    }

    /// Layouts of input and hidden activations for an input of shape `x` and an output stored as `y`; index i is what layer i reads.
    fn layout_at(&self, at: usize, x: Shape, y: Layout) -> Layout {
        // Recomputed from the top: a few integer operations, and nothing to keep in step with the batch's shape.
        let mut shape = x;
        for layer in &self.layers[..at] {
            shape = layer.output(shape).unwrap_or_else(|e| unreachable!("shapes were checked when planned: {e}"));
        }
        if at == self.layers.len() {
            return y;
        }
        let above = self.layout_at(at + 1, x, y);
        self.layers[at].input_layout(shape, above)
    }
}

impl<F: Scalar> Params<F> for Sequential<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.layers.iter_mut().for_each(|l| l.visit(f));
    }
}

impl<F: Scalar> Layer<F> for Sequential<F> {
    fn describe(&self) -> String {
        self.layers.iter().map(|l| l.describe()).collect::<Vec<_>>().join(", ")
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        self.layers.iter().try_fold(x, |x, l| l.output(x))
    }

    fn input_layout(&self, x: Shape, y: Layout) -> Layout {
        if self.is_empty() { y } else { self.layout_at(0, x, y) }
    }

    fn output_layout(&self, y: Shape) -> Layout {
        self.layers.last().map_or(Layout::dense(y), |l| l.output_layout(y))
    }

    fn forward(&mut self, x: &Activations<F>, y: &mut Activations<F>, keep: Keep, pool: &Pool<F>) {
        assert!(!self.is_empty(), "the identity has no output of its own");
        self.hidden.clear();
        let last = self.layers.len() - 1;
        for i in 0..last {
            let layout = self.layout_at(i + 1, x.shape(), y.layout());
            let mut out = Activations::new(layout, pool);
            let input = if i == 0 { x } else { &self.hidden[self.hidden.len() - 1] };
            self.layers[i].forward(input, &mut out, keep, pool);
            if keep == Keep::Nothing {
                self.hidden.clear();
            }
            self.hidden.push(out);
        }
        let input = if last == 0 { x } else { &self.hidden[self.hidden.len() - 1] };
        self.layers[last].forward(input, y, keep, pool);
        if keep == Keep::Nothing {
            self.hidden.clear();
        }
    }

    fn backward(
        &mut self,
        x: &Activations<F>,
        y: &Activations<F>,
        dy: &mut Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        self.backward_from(x, dx, pool, |last, x, dx| last.backward(x, y, dy, dx, pool));
    }

    fn backward_below(
        &mut self,
        x: &Activations<F>,
        y: &Activations<F>,
        above: Above<'_, F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        self.backward_from(x, dx, pool, |last, x, dx| last.backward_below(x, y, above, dx, pool));
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        let mut shape = x;
        let mut sum = 0;
        for layer in &self.layers {
            sum += layer.multiply_adds(shape);
            match layer.output(shape) {
                Ok(s) => shape = s,
                Err(_) => return sum,
            }
        }
        sum
    }

    fn reach(&self) -> (usize, usize) {
        self.layers.iter().fold((1, 1), |(taps, stride), l| {
            let (t, s) = l.reach();
            (taps + (t - 1) * stride, stride * s)
        })
    }
}
