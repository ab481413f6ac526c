//! Gradient-isolated modules.

mod overlap;

use rand::RngExt;
use rayon::prelude::*;

use crate::activations::{Activations, Detached, Layout, Shape};
use crate::collapse::spread;
use crate::kernels::profile::Tasks;
use crate::layers::{InputGrad, Keep, Layer, LayerInfo, Part, Readout, ReadoutGrad, Sequential};
use crate::loss::{LocalLoss, LossReport, StepInfo};
use crate::optim::Optimizer;
use crate::param::{Param, Params};
use crate::replicas::Replicas;
use crate::{Error, Key, Pool, Purpose, Result, Scalar};

pub use overlap::{Errors, Overlap, Overlapping};

/// What a module does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forward, then a training step on the module's own loss.
    Train,
    /// Forward only. Activations between layers are freed as soon as the next layer has read them.
    Eval,
    /// Forward as in [`Mode::Eval`], then the loss, without a training step.
    Validate,
    /// Forward only, with the outputs of all layers kept for [`Module::layer_outputs`].
    Inspect,
}

/// A part of a network that trains on its own loss.
///
/// Isolation is in the signatures: input and output are [`Detached`], and no gradient is taken or given.
/// Training a module changes nothing below it and needs nothing above it.
pub trait Module<F: Scalar>: Send {
    /// Shapes of output and features for an input of shape `x`. Checks that the loss can be computed.
    ///
    /// # Errors
    /// [`Error::Config`] when the input is too small.
    ///
    /// # Panics
    /// When `x` has the wrong number of channels.
    fn shapes(&self, x: Shape) -> Result<ModuleShapes>;

    /// [`Module::shapes`] without the loss: features need fewer steps than a prediction does.
    ///
    /// # Errors
    /// When the input is too small for the layers.
    fn eval_shapes(&self, x: Shape) -> Result<ModuleShapes>;

    /// The layout the module needs for an input of shape `x` when the output is stored as `z`.
    fn input_layout(&self, x: Shape, z: Layout) -> Layout;

    /// The layout that suits the module best for an output of shape `z`; `None` when its output is its
    /// input.
    fn output_layout(&self, z: Shape) -> Option<Layout>;

    /// Computes the output and, in [`Mode::Train`], what [`Self::train`] needs. The output is stored as
    /// `z`, whose shape is [`ModuleShapes::output`].
    fn forward(&mut self, x: &Detached<F>, z: Layout, mode: Mode);

    /// The next [`Self::forward`] goes over this part of a sequence: [`Layer::set_part`] of the context
    /// network, whose features outside of [`Part::own`] are then unspecified.
    fn set_part(&mut self, part: Option<Part>);

    /// From now on, these hold the same module and share its arithmetic ([`Layer::set_replicas`]). All must
    /// be given the same batches. Readout, loss and optimizer are computed by each.
    fn set_replicas(&mut self, replicas: &Replicas<F>);

    /// The input of the next module.
    fn output(&self) -> Detached<F>;

    /// What a probe is given: the contexts if there is a context network, else the output after the
    /// readout.
    fn features(&self) -> &Activations<F>;

    /// One training step on the batch `x` of the last [`Self::forward`]; then releases the batch.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss is not finite, or above [`LARGEST_LOSS`]. Parameters are then
    /// unchanged.
    fn train(&mut self, x: &Detached<F>, step: StepInfo<'_>) -> Result<LossReport>;

    /// The loss on the batch of the last [`Self::forward`], which may have kept nothing for a backward
    /// pass. Parameters and optimizer stay as they are; the loss may be anything, NaN included.
    fn validate(&mut self, step: StepInfo<'_>) -> LossReport;

    /// [`spread`] of the features of the last training step; `None` before it.
    fn spread(&self) -> Option<f64>;

    /// Says whether [`Self::train`] measures its gradient, which it does not at first. No result depends on it.
    fn measure_gradient(&mut self, on: bool);

    /// ‖∂loss/∂θ‖₂ over all parameters θ at the last training step, before the optimizer; `None` where it was
    /// not measured.
    fn gradient_norm(&self) -> Option<f64>;

    /// Releases the batch: output, features and the activations between layers. What a layer keeps for a
    /// backward pass that never comes returns to the pool at its next forward pass.
    fn release(&mut self);

    /// Parameters of encoder, context network and loss.
    fn params(&mut self) -> &mut dyn Params<F>;

    /// Parameters and optimizer at once, for checkpoints.
    fn state(&mut self) -> (&mut dyn Params<F>, &mut dyn Optimizer<F>);

    /// Outputs of the layers inside, with their names, input side first.
    ///
    /// They exist after a forward pass in [`Mode::Train`] or [`Mode::Inspect`], until [`Self::train`] or
    /// [`Self::release`]. The encoder's output is given after the readout. The last entry equals
    /// [`Self::features`].
    fn layer_outputs(&self) -> Vec<(String, &Activations<F>)>;

    /// Descriptions of the module's parts.
    fn describe(&self) -> ModuleDescription;

    /// Multiply-adds of (forward pass, loss and backward pass) for an input of shape `x`.
    fn multiply_adds(&self, x: Shape) -> (u64, u64);

    /// The module as one of several that share losses; `None` for a module that trains by itself. One that shares
    /// losses has no [`Self::train`].
    fn overlapping(&mut self) -> Option<&mut dyn Overlapping<F>> {
        None
    }
}

/// Largest loss of a module that learns, in nats. Chance is below 20 for any number of candidates; a
/// loss this large comes from scores in the thousands, which only grow.
pub const LARGEST_LOSS: f64 = 1e4;

/// Shapes that follow from a module's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleShapes {
    /// Shape of the next module's input.
    pub output: Shape,
    /// Shape of what a probe is given.
    pub features: Shape,
}

/// Descriptions of a module's parts, for schematics and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleDescription {
    /// Layers of the encoder, input side first.
    pub layers: Vec<String>,
    /// Context network, if any.
    pub context: Option<String>,
    /// The local loss.
    pub loss: String,
}

/// The parts of a [`LocalModule`].
pub struct Parts<F: Scalar> {
    /// z = encoder(x). Without layers z = x, and only context network and loss train.
    pub encoder: Sequential<F>,
    /// What loss and probes are given of z, such as the mean over a patch; `None` for z itself.
    pub readout: Option<Box<dyn Readout<F>>>,
    /// c = context(z); `None` for c = z.
    pub context: Option<Box<dyn Layer<F>>>,
    /// The loss.
    pub loss: Box<dyn LocalLoss<F>>,
    /// The optimizer.
    pub optimizer: Box<dyn Optimizer<F>>,
}

struct Learnable<F: Scalar> {
    encoder: Sequential<F>,
    readout: Option<Box<dyn Readout<F>>>,
    context: Option<Box<dyn Layer<F>>>,
    loss: Box<dyn LocalLoss<F>>,
}

impl<F: Scalar> Params<F> for Learnable<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.encoder.visit(f);
        if let Some(c) = &mut self.context {
            c.visit(f);
        }
        self.loss.visit(f);
    }
}

/// √Σ g² over the attached gradients, added up in the order of the parameters.
fn gradient_norm<F: Scalar>(params: &mut dyn Params<F>) -> f64 {
    let mut sum = 0.0;
    params.visit(&mut |p| sum += p.grad().iter().map(|g| g.f64() * g.f64()).sum::<f64>());
    sum.sqrt()
}

/// A copy of `x` in which each value is zero with probability `share`. Every item draws from a stream of
/// its own.
fn corrupt<F: Scalar>(x: &Activations<F>, share: f64, key: Key, pool: &Pool<F>) -> Activations<F> {
    let layout = x.layout();
    let mut y = Activations::new(layout, pool);
    let inside = layout.before * layout.height_stride()..(layout.before + layout.shape.height) * layout.height_stride();
    y.memory_mut().par_chunks_mut(layout.batch_stride().max(1)).enumerate().for_each_task("corruption", |(i, y)| {
        let mut rng = key.with_item(i as u32).rng();
        for (y, x) in y[inside.clone()].iter_mut().zip(x.item(i)) {
            *y = if rng.random::<f64>() < share { F::zero() } else { *x };
        }
    });
    y
}

/// What is at a module's borders, as a type: whether gradients may pass.
pub trait Border<F: Scalar>: Send + Sized {
    /// The modules that learn from this one's loss, where it is not the only one.
    fn overlap(&self) -> Option<Overlap>;

    /// [`Module::overlapping`].
    fn open(module: &mut LocalModule<F, Self>) -> Option<&mut dyn Overlapping<F>>;
}

/// No gradient enters or leaves.
#[derive(Debug, Clone, Copy)]
pub struct Isolated;

impl<F: Scalar> Border<F> for Isolated {
    fn overlap(&self) -> Option<Overlap> {
        None
    }

    fn open(_: &mut LocalModule<F, Self>) -> Option<&mut dyn Overlapping<F>> {
        None
    }
}

/// Encoder → (readout) → (context network) → local loss, with an optimizer of its own.
///
/// Gradients stay within, unless the type says otherwise: `LocalModule<F, Overlap>`.
pub struct LocalModule<F: Scalar, B: Border<F> = Isolated> {
    border: B,
    number: usize,
    learnable: Learnable<F>,
    optimizer: Box<dyn Optimizer<F>>,
    pool: Pool<F>,
    /// The input, for a loss that wants it when it validates.
    x: Option<Detached<F>>,
    z: Option<Detached<F>>,
    read: Option<Activations<F>>,
    c: Option<Activations<F>>,
    /// ∂loss/∂(readout of z), between loss and backward pass of a module that shares losses.
    dread: Option<Activations<F>>,
    spread: Option<f64>,
    measures_gradient: bool,
    gradient_norm: Option<f64>,
}

impl<F: Scalar> LocalModule<F> {
    /// Module `number` (one-based) of its stack.
    pub fn new(number: usize, parts: Parts<F>, pool: Pool<F>) -> Self {
        Self::with_border(number, parts, pool, Isolated)
    }
}

impl<F: Scalar, B: Border<F>> LocalModule<F, B> {
    fn with_border(number: usize, mut parts: Parts<F>, pool: Pool<F>, border: B) -> Self {
        parts.encoder.visit(&mut |p| p.name = format!("encoder.{}", p.name));
        if let Some(context) = &mut parts.context {
            context.visit(&mut |p| p.name = format!("context.{}", p.name));
        }
        let Parts { encoder, readout, context, loss, optimizer } = parts;
        let learnable = Learnable { encoder, readout, context, loss };
        Self {
            border,
            number,
            learnable,
            optimizer,
            pool,
            x: None,
            z: None,
            read: None,
            c: None,
            dread: None,
            spread: None,
            measures_gradient: false,
            gradient_norm: None,
        }
    }

    /// One-based number in its stack.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Shapes of the output, of what is read out of it, and of the contexts.
    fn forward_shapes(&self, x: Shape) -> Result<(Shape, Shape, Option<Shape>)> {
        let l = &self.learnable;
        let output = l.encoder.output(x)?;
        let read = l.readout.as_ref().map_or(Ok(output), |r| r.output(output))?;
        let c = l.context.as_ref().map(|c| c.output(read)).transpose()?;
        Ok((output, read, c))
    }

    fn z(&self) -> &Detached<F> {
        self.z.as_ref().unwrap_or_else(|| panic!("module {} has not seen a batch", self.number))
    }

    /// Computes output, readout and contexts of `x`. `inner` says what the encoder keeps, `keep` what the
    /// context network keeps.
    fn encode(&mut self, x: &Detached<F>, layout: Layout, inner: Keep, keep: Keep) {
        let Learnable { encoder, readout, context, .. } = &mut self.learnable;
        let z = if encoder.is_empty() {
            // The identity's output is its input, gradient block included.
            x.clone()
        } else {
            let mut z = Activations::new(layout, &self.pool);
            encoder.forward(x, &mut z, inner, &self.pool);
            z.detach()
        };
        if let Some(readout) = readout {
            let shape = readout.output(z.shape()).unwrap_or_else(|e| panic!("shapes were not checked: {e}"));
            let mut read = Activations::new(Layout::dense(shape), &self.pool);
            readout.forward(&z, &mut read, &self.pool);
            self.read = Some(read);
        }
        if let Some(context) = context {
            let read: &Activations<F> = self.read.as_ref().unwrap_or(&z);
            let shape = context.output(read.shape()).unwrap_or_else(|e| panic!("shapes were not checked: {e}"));
            let mut c = Activations::new(Layout::dense(shape), &self.pool);
            context.forward(read, &mut c, keep, &self.pool);
            self.c = Some(c);
        }
        self.z = Some(z);
    }

    /// Loss and gradients of loss and context network, for what the last [`Self::encode`] made, whose output is
    /// `z`. Gives ∂loss/∂(readout of z), if `wanted`. `x` is the module's input.
    fn differentiate(
        &mut self,
        x: &Detached<F>,
        z: &Detached<F>,
        step: StepInfo<'_>,
        wanted: bool,
    ) -> Result<(LossReport, Option<Activations<F>>)> {
        let pool = self.pool.clone();
        self.learnable.visit(&mut |p| p.attach_grad(&pool));
        let Learnable { context, loss, .. } = &mut self.learnable;
        let read: &Activations<F> = self.read.as_ref().unwrap_or(z);
        let mut dread = wanted.then(|| Activations::new(read.layout(), &pool));
        let mut dc = self.c.as_ref().map(|c| Activations::new(c.layout(), &pool));
        loss.set_input(Some(x));
        let report = loss.value_and_grad(read, self.c.as_ref(), step, dread.as_mut(), dc.as_mut(), &pool);
        loss.set_input(None);
        if !report.loss.is_finite() || report.loss > LARGEST_LOSS {
            self.learnable.visit(&mut |p| p.release_grad());
            self.release();
            return Err(Error::Diverged {
                module: self.number,
                step: step.step,
                what: format!("the loss is {:.4e}", report.loss),
                remedy: "lower optimizer.lr, or look for damaged input".into(),
            });
        }
        if let (Some(context), Some(c), Some(mut dc)) = (context, self.c.take(), dc) {
            let into = dread.as_mut().map_or(InputGrad::Stop, InputGrad::Add);
            context.backward(read, &c, &mut dc, into, &pool);
        }
        Ok((report, dread))
    }

    /// The encoder's backward pass from `dread`, ∂loss/∂(readout of `z`); `x` is what was encoded.
    fn backward_read(
        &mut self,
        x: &Activations<F>,
        z: &Activations<F>,
        mut dread: Activations<F>,
        dx: InputGrad<'_, F>,
    ) {
        let Learnable { encoder, readout, .. } = &mut self.learnable;
        match readout {
            Some(readout) => {
                let grad = ReadoutGrad { readout: &**readout, dy: &dread };
                encoder.backward_below(x, z, grad, dx, &self.pool);
            }
            None => encoder.backward(x, z, &mut dread, dx, &self.pool),
        }
    }

    /// Updates all parameters by their gradients, which it releases.
    fn update(&mut self) {
        self.gradient_norm = self.measures_gradient.then(|| gradient_norm(&mut self.learnable));
        self.optimizer.update(&mut self.learnable);
        self.learnable.visit(&mut |p| p.release_grad());
        self.learnable.encoder.release();
    }
}

impl<F: Scalar, B: Border<F>> Module<F> for LocalModule<F, B> {
    fn shapes(&self, x: Shape) -> Result<ModuleShapes> {
        let (output, read, c) = self.forward_shapes(x)?;
        self.learnable.loss.check(read, c)?;
        self.learnable.loss.check_input(x, c.unwrap_or(read))?;
        Ok(ModuleShapes { output, features: c.unwrap_or(read) })
    }

    fn eval_shapes(&self, x: Shape) -> Result<ModuleShapes> {
        let (output, read, c) = self.forward_shapes(x)?;
        Ok(ModuleShapes { output, features: c.unwrap_or(read) })
    }

    fn input_layout(&self, x: Shape, z: Layout) -> Layout {
        self.learnable.encoder.input_layout(x, z)
    }

    fn output_layout(&self, z: Shape) -> Option<Layout> {
        let encoder = &self.learnable.encoder;
        (!encoder.is_empty()).then(|| encoder.output_layout(z))
    }

    fn forward(&mut self, x: &Detached<F>, layout: Layout, mode: Mode) {
        self.release();
        // The context network's inner activations are never inspected.
        let (inner, keep) = match mode {
            Mode::Train => (Keep::ForBackward, Keep::ForBackward),
            Mode::Eval | Mode::Validate => (Keep::Nothing, Keep::Nothing),
            Mode::Inspect => (Keep::Outputs, Keep::Nothing),
        };
        self.encode(x, layout, inner, keep);
        self.x = (mode == Mode::Validate && self.learnable.loss.wants_input()).then(|| x.clone());
    }

    fn set_part(&mut self, part: Option<Part>) {
        if let Some(context) = &mut self.learnable.context {
            context.set_part(part);
        }
    }

    fn set_replicas(&mut self, replicas: &Replicas<F>) {
        self.learnable.encoder.set_replicas(replicas);
        if let Some(context) = &mut self.learnable.context {
            context.set_replicas(replicas);
        }
    }

    fn output(&self) -> Detached<F> {
        self.z().clone()
    }

    fn features(&self) -> &Activations<F> {
        self.c.as_ref().or(self.read.as_ref()).unwrap_or_else(|| self.z())
    }

    fn train(&mut self, x: &Detached<F>, step: StepInfo<'_>) -> Result<LossReport> {
        let pool = self.pool.clone();
        assert!(self.z.is_some(), "module {} trains before it has seen a batch", self.number);
        assert!(self.border.overlap().is_none(), "module {} shares losses: it does not train alone", self.number);
        self.spread = Some(spread(self.features(), &pool));
        let share = self.learnable.loss.corruption();
        let corrupted = (share > 0.0).then(|| corrupt(x, share, step.key(Purpose::Augment), &pool).detach());
        if let Some(corrupted) = &corrupted {
            let layout = self.z().layout();
            self.release();
            self.encode(corrupted, layout, Keep::ForBackward, Keep::ForBackward);
        }
        let (seen, z) = (corrupted.as_ref().unwrap_or(x), self.z().clone());
        self.z = None;
        // Without trainable layers below the loss, the features' gradient has no use.
        let wanted = !self.learnable.encoder.is_empty();
        let (report, dread) = self.differentiate(x, &z, step, wanted)?;
        if let Some(dread) = dread {
            // The module's input lies below a gradient block: its gradient is never computed.
            self.backward_read(seen, &z, dread, InputGrad::Stop);
        }
        self.read = None;
        self.update();
        Ok(report)
    }

    fn validate(&mut self, step: StepInfo<'_>) -> LossReport {
        let pool = self.pool.clone();
        let Some(z) = self.z.take() else { panic!("module {} validates before it has seen a batch", self.number) };
        self.learnable.visit(&mut |p| p.attach_grad(&pool));
        let read: &Activations<F> = self.read.as_ref().unwrap_or(&z);
        // A loss computes its own parameters' gradients with its value; nothing ever reads these.
        let mut dc = self.c.as_ref().map(|c| Activations::new(c.layout(), &pool));
        let loss = &mut self.learnable.loss;
        loss.set_input(self.x.as_ref());
        let report = loss.value_and_grad(read, self.c.as_ref(), step, None, dc.as_mut(), &pool);
        loss.set_input(None);
        self.learnable.visit(&mut |p| p.release_grad());
        self.release();
        report
    }

    fn spread(&self) -> Option<f64> {
        self.spread
    }

    fn measure_gradient(&mut self, on: bool) {
        self.measures_gradient = on;
    }

    fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm
    }

    fn release(&mut self) {
        (self.x, self.z, self.read, self.c, self.dread) = (None, None, None, None, None);
        self.learnable.encoder.release();
    }

    fn params(&mut self) -> &mut dyn Params<F> {
        &mut self.learnable
    }

    fn state(&mut self) -> (&mut dyn Params<F>, &mut dyn Optimizer<F>) {
        (&mut self.learnable, &mut *self.optimizer)
    }

    fn layer_outputs(&self) -> Vec<(String, &Activations<F>)> {
        let l = &self.learnable;
        let mut names = l.encoder.layers().map(|l| l.describe());
        let mut outputs: Vec<_> = l.encoder.hidden().iter().zip(names.by_ref()).map(|(a, n)| (n, a)).collect();
        if let Some(name) = names.next() {
            outputs.push((name, self.read.as_ref().unwrap_or_else(|| self.z())));
        }
        if let (Some(context), Some(c)) = (&l.context, &self.c) {
            outputs.push((context.describe(), c));
        }
        outputs
    }

    fn describe(&self) -> ModuleDescription {
        let l = &self.learnable;
        ModuleDescription {
            layers: l.encoder.layers().map(|l| l.describe()).collect(),
            context: l.context.as_ref().map(|c| c.describe()),
            loss: l.loss.describe(),
        }
    }

    fn multiply_adds(&self, x: Shape) -> (u64, u64) {
        let l = &self.learnable;
        let encoder = l.encoder.multiply_adds(x);
        let mut forward = encoder;
        // Weight gradients of all layers, input gradients of all but the first.
        let mut backward = l.encoder.backward_multiply_adds(x, false);
        let overlap = self.border.overlap();
        if let Some(overlap) = overlap {
            let (passes, further) = overlap.passes(self.number - 1);
            let whole = l.encoder.backward_multiply_adds(x, true);
            backward = (passes - further) * backward + further * whole + (passes - 1) * encoder;
        }
        let Ok(mut shape) = l.encoder.output(x) else { return (forward, backward) };
        if let Some(r) = &l.readout {
            let n = r.multiply_adds(shape);
            (forward, backward) = (forward + n, backward + 2 * n);
            shape = r.output(shape).unwrap_or(shape);
        }
        if let Some(c) = &l.context {
            let n = c.multiply_adds(shape);
            forward += n;
            backward += if l.encoder.is_empty() && overlap.is_none() { n } else { 2 * n };
        }
        // A corrupted input is encoded once more.
        let again = if l.loss.corruption() > 0.0 { forward } else { 0 };
        (forward, backward + again + l.loss.multiply_adds(shape))
    }

    fn overlapping(&mut self) -> Option<&mut dyn Overlapping<F>> {
        B::open(self)
    }
}
