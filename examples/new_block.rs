//! An encoder block of one's own: two 3×3 convolutions whose sum into the shortcut has a learned gain for every channel. It is
//! an [`ItemLayer`] made of public pieces, and goes into a chain ([`Itemwise`]) beside the layers of `gim-vision`: two
//! modules of it learn by InfoNCE on the embedded images.
//!
//! ```text
//! cargo run --release -p gim-examples --example new_block
//! ```

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use gim_core::activations::Shape;
use gim_core::kernels::vector::add_scaled;
use gim_core::layers::{ItemLayer, Itemwise, LayerInfo, Pass, Sequential, Work};
use gim_core::link::Packet;
use gim_core::loss::{InfoNce, InfoNceConfig};
use gim_core::module::{LocalModule, Mode, Module, Parts};
use gim_core::optim::{Adam, AdamConfig};
use gim_core::param::{Param, Params};
use gim_core::sampler::SamplerKind;
use gim_core::schedule::step_in_turn;
use gim_core::stack::Stack;
use gim_core::{Key, Pool, Purpose, Result, Scalar};
use gim_vision::dataset::image::Color;
use gim_vision::dataset::loader::{ImageLoader, ViewConfig};
use gim_vision::dataset::standardize::Standardize;
use gim_vision::dataset::{self, DatasetOptions, Split};
use gim_vision::layers::conv2d::{Conv2d, Conv2dConfig};
use gim_vision::layers::patches::{PatchMean, Patches};

/// y = x + g ⊙ f(x), f = ReLU, conv 3×3, ReLU, conv 3×3, with one gain g per channel (LayerScale: Touvron et al. 2021,
/// "Going deeper with image transformers"). Without normalization, small gains keep the variance from growing with depth.
pub struct GainBlock<F: Scalar> {
    /// (C).
    gain: Param<F>,
    first: Conv2d<F>,
    second: Conv2d<F>,
}

impl<F: Scalar> GainBlock<F> {
    /// A block on `channels` channels; all gains are 0.1 in the beginning.
    pub fn new(channels: usize, key: Key) -> Result<Self> {
        let conv = |item, name: &str| {
            let config = Conv2dConfig::square(channels, channels, 3, 1).after_relu();
            let mut conv = Conv2d::new(config, key.with_item(key.item + item))?;
            conv.visit(&mut |p| p.name = format!("{name}.{}", p.name));
            Ok(conv)
        };
        let gain = Param::new("gain", &[channels], vec![F::of(0.1); channels]);
        Ok(Self { gain, first: conv(0, "first")?, second: conv(2, "second")? })
    }
}

impl<F: Scalar> Params<F> for GainBlock<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.gain);
        self.first.visit(f);
        self.second.visit(f);
    }
}

impl<F: Scalar> LayerInfo for GainBlock<F> {
    fn describe(&self) -> String {
        format!("block with gains, {} channels", self.gain.value.len())
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        self.second.output(self.first.output(x)?)
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        self.first.multiply_adds(x) + self.second.multiply_adds(x)
    }
}

impl<F: Scalar> ItemLayer<F> for GainBlock<F> {
    /// Outputs of both convolutions: the second convolution's weights need one, the gains the other.
    fn kept(&self, x: Shape, _: bool) -> usize {
        2 * x.height * x.width * x.channels
    }

    fn pack(&mut self, pass: Pass, x: Shape, pool: &Pool<F>) {
        self.first.pack(pass, x, pool);
        self.second.pack(pass, x, pool);
    }

    fn unpack(&mut self) {
        self.first.unpack();
        self.second.unpack();
    }

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], kept: &mut [F], work: Work<'_, F>) {
        let (hidden, branch) = kept.split_at_mut(shape.len());
        self.first.forward(x, shape, hidden, &mut [], work);
        self.second.forward(hidden, shape, branch, &mut [], work);
        // Channels are innermost, so the gains come round once a position.
        let gains = self.gain.value.iter().cycle();
        for (((y, x), f), gain) in y.iter_mut().zip(x).zip(&*branch).zip(gains) {
            *y = *x + *gain * *f;
        }
    }

    fn backward(
        &self,
        x: &[F],
        shape: Shape,
        kept: &[F],
        dy: &mut [F],
        mut dx: Option<&mut [F]>,
        grads: &mut [F],
        work: Work<'_, F>,
    ) {
        let (hidden, branch) = kept.split_at(shape.len());
        // Gradients lie in the order in which `visit` names the parameters.
        let (dgain, grads) = grads.split_at_mut(shape.channels);
        let (dfirst, dsecond) = grads.split_at_mut(self.first.n_params());
        let (mut dbranch, mut dhidden) = (work.pool.take(shape.len()), work.pool.take(shape.len()));
        for (at, dy) in dy.chunks_exact(shape.channels).enumerate() {
            for (c, dy) in dy.iter().enumerate() {
                let i = at * shape.channels + c;
                dgain[c] += *dy * branch[i];
                dbranch[i] = *dy * self.gain.value[c];
            }
        }
        self.second.backward(hidden, shape, &[], &mut dbranch, Some(&mut dhidden), dsecond, work);
        self.first.backward(x, shape, &[], &mut dhidden, dx.as_deref_mut(), dfirst, work);
        if let Some(dx) = dx {
            add_scaled(dx, F::one(), dy);
        }
    }

    fn n_params(&self) -> usize {
        self.gain.value.len() + self.first.n_params() + self.second.n_params()
    }
}

const WIDTH: usize = 16;
const MODULES: usize = 2;
const NEGATIVES: usize = 8;

/// A stem and a block in the first module, a block in the second; each with a loss and an optimizer of its own.
fn build(grid: [usize; 2], pool: &Pool<f32>) -> Result<Stack<f32>> {
    let mut modules: Vec<Box<dyn Module<f32>>> = Vec::new();
    for m in 0..MODULES {
        let key = Key::new(0, Purpose::Init).with_module(m as u32 + 1);
        let mut layers: Vec<Box<dyn ItemLayer<f32>>> = vec![Box::new(GainBlock::new(WIDTH, key)?)];
        if m == 0 {
            layers.insert(0, Box::new(Conv2d::new(Conv2dConfig::square(1, WIDTH, 3, 1), key.with_item(50))?));
        }
        let loss = InfoNceConfig {
            channels: WIDTH,
            context: WIDTH,
            prediction_steps: 2,
            negatives: NEGATIVES,
            skip: 1,
            window: None,
            ..InfoNceConfig::default()
        };
        let parts = Parts {
            encoder: Sequential::new([Itemwise::new(layers)]),
            readout: Some(Box::new(PatchMean { grid })),
            context: None,
            loss: Box::new(InfoNce::new(loss, SamplerKind::Targets.build(), key.with_item(100))?),
            optimizer: Box::new(Adam::new(AdamConfig { lr: 4e-3, ..AdamConfig::default() })?),
        };
        modules.push(Box::new(LocalModule::new(m + 1, parts, pool.clone())));
    }
    Ok(Stack::new(modules))
}

/// Mean loss of each module over the first and the last ten of 100 steps.
pub fn run() -> Result<Vec<[f64; 2]>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/fashion-mini");
    let dataset = dataset::open(&root, &DatasetOptions::default())?;
    let standardize = Standardize::measure(&*dataset, Color::Grayscale, &BTreeSet::new())?;
    let views = ViewConfig { batch: 8, crop: 28, ..ViewConfig::default() };
    let images = Shape { batch: views.batch, height: views.crop, width: views.crop, channels: 1 };
    let mut loader = ImageLoader::start(dataset, standardize, &views, Split::Unlabeled, 0)?;

    // Images of 28 × 28 are grids of 6 × 6 patches of 8 × 8.
    let (pool, patches) = (Pool::new(), Patches::new(8, 4)?);
    let mut stack = build([patches.along(views.crop); 2], &pool)?;
    let layouts = stack.layouts(patches.shape(images))?;
    let mut losses = [const { Vec::new() }; MODULES];
    for step in 0..100 {
        let x = patches.cut(&loader.next_batch()?.data, images, layouts[0], &pool).detach();
        let packet = Packet { x, step, labels: Arc::from([]), layouts: layouts.clone() };
        step_in_turn(&mut stack, packet, 0, &[Mode::Train; MODULES], &mut |report| {
            losses[report.module - 1].push(report.loss.loss);
        })?;
    }
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    Ok(losses.iter().map(|l| [mean(&l[..10]), mean(&l[l.len() - 10..])]).collect())
}

fn main() -> Result<()> {
    println!("chance: loss {:.3}", ((NEGATIVES + 1) as f64).ln());
    for (m, [first, last]) in run()?.into_iter().enumerate() {
        println!("module {}: loss {first:.3} in the first ten steps, {last:.3} in the last ten", m + 1);
    }
    Ok(())
}
