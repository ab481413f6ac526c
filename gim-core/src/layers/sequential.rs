//! Layers one after the other.

use crate::activations::{Activations, Layout, Shape};
use crate::layers::direct::DirectFeedback;
use crate::layers::{InputGrad, Itemwise, Keep, Layer, LayerInfo, ReadoutGrad};
use crate::param::{Param, Params};
use crate::replicas::Replicas;
use crate::{Key, Pool, Result, Scalar};

/// A part of a [`Sequential`].
pub enum Stage<F: Scalar> {
    /// A layer that takes the batch as a whole.
    Batch(Box<dyn Layer<F>>),
    /// Layers that take the batch chunk by chunk, and so can have the gradient of their output made chunk by chunk.
    Items(Itemwise<F>),
}

impl<F: Scalar> Stage<F> {
    fn get(&self) -> &dyn Layer<F> {
        match self {
            Self::Batch(layer) => &**layer,
            Self::Items(layers) => layers,
        }
    }

    fn get_mut(&mut self) -> &mut dyn Layer<F> {
        match self {
            Self::Batch(layer) => &mut **layer,
            Self::Items(layers) => layers,
        }
    }
}

impl<F: Scalar> From<Box<dyn Layer<F>>> for Stage<F> {
    fn from(layer: Box<dyn Layer<F>>) -> Self {
        Self::Batch(layer)
    }
}

impl<F: Scalar> From<Itemwise<F>> for Stage<F> {
    fn from(layers: Itemwise<F>) -> Self {
        Self::Items(layers)
    }
}

/// A chain of layers; without layers it is the identity.
#[derive(Default)]
pub struct Sequential<F: Scalar> {
    layers: Vec<Stage<F>>,
    /// Outputs of all layers but the last, kept for the backward pass and for inspection.
    hidden: Vec<Activations<F>>,
    /// Where errors go to each layer directly.
    direct: Option<DirectFeedback<F>>,
}

impl<F: Scalar> Sequential<F> {
    /// The chain of these layers; parameters are prefixed with their layer's number.
    pub fn new<S: Into<Stage<F>>>(layers: impl IntoIterator<Item = S>) -> Self {
        let mut layers: Vec<Stage<F>> = layers.into_iter().map(Into::into).collect();
        for (i, layer) in layers.iter_mut().enumerate() {
            layer.get_mut().visit(&mut |p| p.name = format!("{i}.{}", p.name));
        }
        let hidden = Vec::with_capacity(layers.len());
        Self { layers, hidden, direct: None }
    }

    /// From here on, the error of the output goes to the output of each layer through a fixed random matrix, drawn by
    /// `key`, and not through the layers above. Within a layer, which may be a stage of several, it goes down
    /// exactly.
    pub fn set_direct_feedback(&mut self, key: Key) {
        self.direct = Some(DirectFeedback::new(key));
    }

    /// Multiply-adds of the gradients of all weights, and of the inputs that errors go through; of the chain's own
    /// input only if `wanted`. Matrices of direct feedback are small beside them and not counted.
    pub fn backward_multiply_adds(&self, x: Shape, wanted: bool) -> u64 {
        let (mut shape, mut sum) = (x, 0);
        for (i, layer) in self.layers().enumerate() {
            let stops = if i == 0 { !wanted } else { self.direct.is_some() };
            sum += 2 * layer.multiply_adds(shape) - if stops { layer.first_multiply_adds(shape) } else { 0 };
            match layer.output(shape) {
                Ok(s) => shape = s,
                Err(_) => return sum,
            }
        }
        sum
    }

    /// Whether this is the identity.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers.
    pub fn layers(&self) -> impl Iterator<Item = &dyn Layer<F>> {
        self.layers.iter().map(Stage::get)
    }

    /// Outputs of all layers but the last, while they are kept.
    pub fn hidden(&self) -> &[Activations<F>] {
        &self.hidden
    }

    /// Releases the hidden activations.
    pub fn release(&mut self) {
        self.hidden.clear();
    }

    /// The backward pass of a module's encoder, from the gradient of a readout of its output `z`.
    pub fn backward_below(
        &mut self,
        x: &Activations<F>,
        z: &Activations<F>,
        grad: ReadoutGrad<'_, F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        if self.direct.is_some() {
            return self.backward_direct(x, z, &mut grad.whole(z.layout(), pool), dx, pool);
        }
        self.backward_from(x, dx, pool, |last, x, dx| match (last, dx) {
            (Stage::Items(last), dx) => last.backward_below(x, grad, dx, pool),
            (last, dx) => last.get_mut().backward(x, z, &mut grad.whole(z.layout(), pool), dx, pool),
        });
    }

    /// The backward pass by direct feedback, from the error `dz` of the output `z`.
    fn backward_direct(
        &mut self,
        x: &Activations<F>,
        z: &Activations<F>,
        dz: &mut Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        let n = self.layers.len();
        assert_eq!(self.hidden.len() + 1, n, "backward without a forward pass that kept its activations");
        let Some(direct) = &mut self.direct else { unreachable!("a chain with direct feedback") };
        direct.draw(self.hidden.iter().map(|h| h.shape().channels), z.shape().channels);
        // The last layer may overwrite `dz`.
        let mut e = Activations::new(z.layout(), pool);
        e.memory_mut().copy_from_slice(dz.memory());
        let (mut dx, mut output) = (Some(dx), None);
        for i in (0..n).rev() {
            let hidden = self.hidden.pop();
            let input = hidden.as_ref().unwrap_or(x);
            let into = if i == 0 { dx.take().unwrap_or(InputGrad::Stop) } else { InputGrad::Stop };
            let layer = self.layers[i].get_mut();
            match &output {
                None => layer.backward(input, z, dz, into, pool),
                Some(y) => {
                    let y: &Activations<F> = y;
                    layer.backward(input, y, &mut direct.error(i, &e, y.layout(), pool), into, pool);
                }
            }
            output = hidden;
        }
    }

    /// The backward pass, the last layer's by `last(layer, input, input gradient)`.
    fn backward_from(
        &mut self,
        x: &Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
        last: impl FnOnce(&mut Stage<F>, &Activations<F>, InputGrad<'_, F>),
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
                (Some((y, dy)), _) => self.layers[i].get_mut().backward(input, y, dy, into, pool),
                (None, Some(last)) => last(&mut self.layers[i], input, into),
                (None, None) => unreachable!("only the last layer has nothing above"),
            }
            above = hidden.zip(below);
        }
    }

    /// Layout of the input of layer `at`, for an input of the chain of shape `x` and an output stored as
    /// `y`.
    fn layout_at(&self, at: usize, x: Shape, y: Layout) -> Layout {
        // Recomputed from the top: a few integer operations, and nothing stored that a batch of another
        // shape could make wrong.
        let mut shape = x;
        for layer in self.layers().take(at) {
            shape = layer.output(shape).unwrap_or_else(|e| unreachable!("shapes were checked when planned: {e}"));
        }
        if at == self.layers.len() {
            return y;
        }
        let above = self.layout_at(at + 1, x, y);
        self.layers[at].get().input_layout(shape, above)
    }
}

impl<F: Scalar> Params<F> for Sequential<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.layers.iter_mut().for_each(|l| l.get_mut().visit(f));
    }
}

impl<F: Scalar> LayerInfo for Sequential<F> {
    fn describe(&self) -> String {
        self.layers().map(|l| l.describe()).collect::<Vec<_>>().join(", ")
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        self.layers().try_fold(x, |x, l| l.output(x))
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        let mut shape = x;
        let mut sum = 0;
        for layer in self.layers() {
            sum += layer.multiply_adds(shape);
            match layer.output(shape) {
                Ok(s) => shape = s,
                Err(_) => return sum,
            }
        }
        sum
    }

    fn first_multiply_adds(&self, x: Shape) -> u64 {
        self.layers().next().map_or(0, |l| l.first_multiply_adds(x))
    }
}

impl<F: Scalar> Layer<F> for Sequential<F> {
    fn input_layout(&self, x: Shape, y: Layout) -> Layout {
        if self.is_empty() { y } else { self.layout_at(0, x, y) }
    }

    fn output_layout(&self, y: Shape) -> Layout {
        self.layers().last().map_or(Layout::dense(y), |l| l.output_layout(y))
    }

    fn set_replicas(&mut self, replicas: &Replicas<F>) {
        self.layers.iter_mut().for_each(|l| l.get_mut().set_replicas(replicas));
    }

    fn forward(&mut self, x: &Activations<F>, y: &mut Activations<F>, keep: Keep, pool: &Pool<F>) {
        assert!(!self.is_empty(), "the identity has no output of its own");
        self.hidden.clear();
        let last = self.layers.len() - 1;
        let within = if keep == Keep::Outputs { Keep::Nothing } else { keep };
        for i in 0..last {
            let layout = self.layout_at(i + 1, x.shape(), y.layout());
            let mut out = Activations::new(layout, pool);
            let input = if i == 0 { x } else { &self.hidden[self.hidden.len() - 1] };
            self.layers[i].get_mut().forward(input, &mut out, within, pool);
            if keep == Keep::Nothing {
                self.hidden.clear();
            }
            self.hidden.push(out);
        }
        let input = if last == 0 { x } else { &self.hidden[self.hidden.len() - 1] };
        self.layers[last].get_mut().forward(input, y, within, pool);
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
        if self.direct.is_some() {
            return self.backward_direct(x, y, dy, dx, pool);
        }
        self.backward_from(x, dx, pool, |last, x, dx| last.get_mut().backward(x, y, dy, dx, pool));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice its input. Its forward pass counts 3, the gradient of its input 2.
    struct Double;

    impl Params<f64> for Double {
        fn visit(&mut self, _: &mut dyn FnMut(&mut Param<f64>)) {}
    }

    impl LayerInfo for Double {
        fn describe(&self) -> String {
            "double".into()
        }
        fn output(&self, x: Shape) -> Result<Shape> {
            Ok(x)
        }
        fn multiply_adds(&self, _: Shape) -> u64 {
            3
        }
        fn first_multiply_adds(&self, _: Shape) -> u64 {
            2
        }
    }

    impl Layer<f64> for Double {
        fn forward(&mut self, x: &Activations<f64>, y: &mut Activations<f64>, _: Keep, _: &Pool<f64>) {
            for item in 0..x.shape().batch {
                y.item_mut(item).iter_mut().zip(x.item(item)).for_each(|(y, x)| *y = 2.0 * x);
            }
        }
        fn backward(
            &mut self,
            _: &Activations<f64>,
            _: &Activations<f64>,
            dy: &mut Activations<f64>,
            dx: InputGrad<'_, f64>,
            _: &Pool<f64>,
        ) {
            let (dx, add) = match dx {
                InputGrad::Stop => return,
                InputGrad::Overwrite(dx) => (dx, false),
                InputGrad::Add(dx) => (dx, true),
            };
            for item in 0..dy.shape().batch {
                dx.item_mut(item)
                    .iter_mut()
                    .zip(dy.item(item))
                    .for_each(|(dx, dy)| *dx = 2.0 * dy + if add { *dx } else { 0.0 });
            }
        }
    }

    #[test]
    fn only_the_first_layer_has_the_input_gradient() {
        let chain = |n: usize| Sequential::new((0..n).map(|_| Box::new(Double) as Box<dyn Layer<f64>>));
        let x = Shape::sequence(1, 2, 3);
        assert_eq!((chain(0).multiply_adds(x), chain(0).first_multiply_adds(x)), (0, 0));
        assert_eq!((chain(3).multiply_adds(x), chain(3).first_multiply_adds(x)), (9, 2));
        let mut nested = Sequential::new(vec![Box::new(chain(2)) as Box<dyn Layer<f64>>, Box::new(Double)]);
        assert_eq!((nested.multiply_adds(x), nested.first_multiply_adds(x)), (9, 2));
        crate::testing::check_layer(&mut nested, x, 1);
    }
}
