//! A loss of one's own: CLAPP's hinge (Illing, Ventura, Bellec, Gerstner 2021) in a stack of gradient-isolated convolutions on
//! the embedded speech corpus. It is a [`LocalLoss`] like any other; modules, schedule and optimizer need not know it.
//!
//! ```text
//! cargo run --release -p gim-examples --example clapp_loss
//! ```

use std::path::Path;
use std::sync::Arc;

use gim_audio::dataset::corpus::{Corpus, CorpusOptions, Split};
use gim_audio::dataset::loader::{CropConfig, CropLoader};
use gim_audio::layers::conv1d::{Conv1d, Conv1dConfig};
use gim_core::activations::{Activations, Shape};
use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::kernels::vector::{add_scaled, dot};
use gim_core::layers::{Layer, Sequential};
use gim_core::link::Packet;
use gim_core::loss::{LocalLoss, LossReport, StepInfo};
use gim_core::module::{LocalModule, Mode, Module, Parts};
use gim_core::optim::{Adam, AdamConfig};
use gim_core::param::{Param, Params};
use gim_core::schedule::step_in_turn;
use gim_core::stack::Stack;
use gim_core::{Error, Key, Pool, Purpose, Result, Scalar};
use rand::RngExt;

/// `max(0, 1 − y·zᵀ W_k c)`: y = +1 for z = `z_{t+k}` of the sequence of c, y = −1 for `z_{t+k}` of another sequence of the
/// batch. The loss is the mean over k = 1..=K, positions and both signs: 1 when nothing is known, 0 when all margins are kept.
pub struct ClappLoss<F: Scalar> {
    /// Prediction distances K.
    prediction_steps: usize,
    /// W (K·C, D): rows (k−1)·C..k·C predict distance k.
    predictor: Param<F>,
}

impl<F: Scalar> ClappLoss<F> {
    /// Predicts features of `channels` from contexts of `context` channels, 1..=`prediction_steps` steps ahead.
    pub fn new(channels: usize, context: usize, prediction_steps: usize, key: Key) -> Self {
        let bound = 1.0 / (context as f64).sqrt();
        // The name is the parameter's in checkpoints.
        Self {
            prediction_steps,
            predictor: Param::uniform("loss.predictor.weight", &[prediction_steps * channels, context], bound, key),
        }
    }
}

impl<F: Scalar> Params<F> for ClappLoss<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.predictor);
    }
}

impl<F: Scalar> LocalLoss<F> for ClappLoss<F> {
    fn describe(&self) -> String {
        format!("CLAPP, K = {}", self.prediction_steps)
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        // Channels are the programmer's business, sizes of the input the user's.
        let want = (self.prediction_steps * z.channels, c.unwrap_or(z).channels);
        assert_eq!((self.predictor.shape[0], self.predictor.shape[1]), want, "features do not fit the predictor");
        if z.batch < 2 || z.height <= self.prediction_steps {
            let what =
                format!("{} sequences of {} steps, predicted {} ahead", z.batch, z.height, self.prediction_steps);
            return Err(Error::config("batch", what, "use two sequences or more, longer than the prediction"));
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
        let (shape, context) = (z.shape(), c.unwrap_or(z).shape().channels);
        let (channels, rows) = (shape.channels, shape.positions());
        let per_item = shape.height * shape.width;
        // Dense copies, one row a position: whatever margins the features are stored with, indices stay simple.
        let (features, contexts) = (z.to_vec(), c.unwrap_or(z).to_vec());
        let (mut dfeatures, mut dcontexts) = (pool.zeros(features.len()), pool.zeros(contexts.len()));
        let (mut q, mut dq) = (pool.take(rows * channels), pool.take(rows * channels));
        // The other sequence: a shift of the batch, drawn from the step's own key, so that a resumed run draws it again.
        let shift = step.key(Purpose::Negatives).rng().random_range(1..shape.batch);
        let (weight, dweight) = self.predictor.value_and_grad();
        let (mut loss, mut accuracy) = (0.0, 0.0);
        for k in 1..=self.prediction_steps {
            let part = (k - 1) * channels * context..k * channels * context;
            let w = Mat::new(&weight[part.clone()], channels, context);
            let c = Mat::new(&contexts, rows, context);
            matmul(c, w.t(), MatMut::new(&mut q, rows, channels), Store::Overwrite, pool); // q = W_k c, what is expected
            dq.fill(F::zero());
            let targets = per_item - k * shape.width;
            let share = 1.0 / (self.prediction_steps * shape.batch * targets) as f64;
            for (item, place) in (0..shape.batch).flat_map(|item| (0..targets).map(move |place| (item, place))) {
                let row = (item * per_item + place) * channels;
                let (q, dq) = (&q[row..][..channels], &mut dq[row..][..channels]);
                let mut score = |item: usize, y: f64| {
                    let at = (item * per_item + place + k * shape.width) * channels;
                    let score = dot(q, &features[at..][..channels]).f64();
                    let margin = 1.0 - y * score;
                    // Not `max`, which would hide NaN: a module stops when its loss is not finite.
                    loss += if margin < 0.0 { 0.0 } else { 0.5 * share * margin };
                    if margin > 0.0 {
                        let slope = F::of(-0.5 * share * y);
                        add_scaled(dq, slope, &features[at..][..channels]);
                        add_scaled(&mut dfeatures[at..][..channels], slope, q);
                    }
                    score
                };
                let (own, other) = (score(item, 1.0), score((item + shift) % shape.batch, -1.0));
                accuracy += if own > other { share } else { 0.0 };
            }
            // ∂/∂c = dq W and ∂/∂W = dqᵀ c: a loss adds to its parameters' gradients …
            let dq = Mat::new(&dq, rows, channels);
            matmul(dq, w, MatMut::new(&mut dcontexts, rows, context), Store::Add, pool);
            matmul(dq.t(), c, MatMut::new(&mut dweight[part], channels, context), Store::Add, pool);
        }
        // … and overwrites those of z and c. Without c, z is both.
        if c.is_none() {
            add_scaled(&mut dfeatures, F::one(), &dcontexts);
        }
        for (into, from) in [(dz, &dfeatures), (dc, &dcontexts)] {
            let Some(into) = into else { continue };
            let len = from.len() / shape.batch;
            (0..shape.batch).for_each(|i| into.item_mut(i).copy_from_slice(&from[i * len..][..len]));
        }
        LossReport { loss, accuracy }
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        let (k, c, d) = (self.prediction_steps, z.channels, self.predictor.shape[1]);
        (3 * k * z.positions() * (c * d + 2 * c)) as u64
    }
}

/// Channels of every convolution.
const WIDTH: usize = 32;
/// (kernel, stride, padding) of each convolution, and so of each module: the first of the paper's.
const CONVS: [(usize, usize, usize); 3] = [(10, 5, 2), (8, 4, 2), (4, 2, 2)];

/// Trains each convolution by itself, and gives the loss of each at every step. Modules beyond `modes` do not run.
pub fn train(modes: &[Mode], steps: u64) -> Result<Vec<Vec<f64>>> {
    let pool = Pool::new();
    let mut stack: Vec<Box<dyn Module<f32>>> = Vec::new();
    for (m, (kernel_size, stride, padding)) in CONVS.into_iter().enumerate() {
        let key = Key::new(0, Purpose::Init).with_module(m as u32 + 1);
        let conv = Conv1dConfig {
            in_channels: if m == 0 { 1 } else { WIDTH },
            out_channels: WIDTH,
            kernel_size,
            stride,
            padding,
        };
        let parts = Parts {
            encoder: Sequential::new([Box::new(Conv1d::new(conv, key)?) as Box<dyn Layer<f32>>]),
            readout: None,
            context: None,
            loss: Box::new(ClappLoss::new(WIDTH, WIDTH, 5, key.with_item(100))),
            optimizer: Box::new(Adam::new(AdamConfig { lr: 2e-3, ..AdamConfig::default() })?),
        };
        stack.push(Box::new(LocalModule::new(m + 1, parts, pool.clone())));
    }
    let mut stack = Stack::new(stack);

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/speech-mini");
    let corpus = Arc::new(Corpus::open(&root, &CorpusOptions::default())?);
    let standardize = corpus.measure(Split::Train)?;
    let config = CropConfig { len: 5120, ..CropConfig::default() };
    let layouts = stack.layouts(Shape::sequence(config.batch, config.len, 1))?;
    let mut loader = CropLoader::start(corpus, standardize, &config, 0)?;
    let mut losses = vec![Vec::new(); CONVS.len()];
    for step in 0..steps {
        let x = Activations::from_slice(layouts[0], &loader.next_batch()?.data, &pool).detach();
        let packet = Packet { x, step, labels: Arc::from([]), layouts: layouts.clone() };
        step_in_turn(&mut stack, packet, 0, modes, &mut |report| {
            losses[report.module - 1].push(report.loss.loss);
        })?;
    }
    Ok(losses)
}

/// Mean loss of each module over the first and the last ten of 80 steps.
pub fn run() -> Result<Vec<[f64; 2]>> {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    Ok(train(&[Mode::Train; CONVS.len()], 80)?.iter().map(|l| [mean(&l[..10]), mean(&l[l.len() - 10..])]).collect())
}

fn main() -> Result<()> {
    for (m, [first, last]) in run()?.into_iter().enumerate() {
        println!("module {}: loss {first:.3} in the first ten steps, {last:.3} in the last ten", m + 1);
    }
    Ok(())
}
