//! Costs of every module of a configuration, measured on this machine on random values.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use gim_core::activations::{Activations, Detached, Layout};
use gim_core::kernels::on_pool_thread;
use gim_core::link::{Packet, Sink, Source};
use gim_core::module::{Mode, Module};
use gim_core::schedule::{ModuleStep, run_module};
use gim_core::{Error, Key, Purpose, Result};
use rand::RngExt;
use serde::Serialize;

use super::dataset::DatasetSize;
use crate::bench::estimate::median;
use crate::experiment::config::Config;
use crate::experiment::domain::Domain;

/// Cost of a module for a batch, on all threads of this process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ModuleCost {
    /// One-based module number.
    pub module: usize,
    /// Median seconds of the forward pass.
    pub forward_seconds: f64,
    /// Median seconds of loss, backward pass and update.
    pub train_seconds: f64,
    /// Learnable parameters.
    pub parameters: usize,
    /// Bytes of parameters and optimizer state.
    pub state_bytes: usize,
    /// Most bytes of activations, gradients and scratch during a step.
    pub working_bytes: usize,
    /// Bytes of its input: what a rank below it sends.
    pub input_bytes: usize,
    /// Channels of its features; of an end-to-end module, of all of its layers.
    pub channels: usize,
}

impl ModuleCost {
    pub(crate) fn seconds(&self) -> f64 {
        self.forward_seconds + self.train_seconds
    }
}

/// Steps before those that are timed: buffers are allocated, caches filled.
const WARM: usize = 1;

/// Measures every module by itself, on `steps` steps after a warm one.
///
/// Each has buffers of its own, so that the memory of one is told from that of the others.
///
/// # Errors
/// When the configuration cannot be built, or a step does not fit into memory.
pub(crate) fn measure(config: &Config, dataset: &DatasetSize, steps: usize) -> Result<Vec<ModuleCost>> {
    check_batches(config)?;
    let model = config.domain.model();
    model.size(config.train.batch)?.check()?;
    let input = model.input(config.train.batch)?;
    let labels = config.domain.dataset().synthetic_labels(config.train.batch);
    let mut costs = Vec::new();
    loop {
        let (i, pool) = (costs.len(), config.train.pool());
        let mut stack = config.build(dataset.record.as_ref(), &pool)?;
        let layouts = stack.layouts(input)?;
        let Some(module) = stack.modules_mut().get_mut(i) else { return Ok(costs) };
        let mut rng = Key::new(0, Purpose::Synthetic).with_module(i as u32 + 1).rng();
        let noise: Vec<f32> = (0..layouts[i].shape.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let x = Activations::from_slice(layouts[i], &noise, &pool).detach();
        let batches =
            Batches { x: x.clone(), labels: Arc::clone(&labels), layouts: Arc::clone(&layouts), steps: WARM + steps };
        let spans = on_pool_thread(|| spans(&mut **module, batches, i + 1))?;
        let of = |part: fn(&(f64, f64)) -> f64| median(&spans.iter().skip(WARM).map(part).collect::<Vec<_>>());
        let working_bytes = pool.peak_bytes();
        let channels = channels(&mut **module, &x, layouts[i + 1], model.is_end_to_end());
        let (params, optimizer) = module.state();
        let (parameters, copies) = (params.n_params(), 1 + optimizer.moments().len());
        costs.push(ModuleCost {
            module: i + 1,
            forward_seconds: of(|s| s.0),
            train_seconds: of(|s| s.1),
            parameters,
            state_bytes: parameters * copies * size_of::<f32>(),
            working_bytes,
            input_bytes: layouts[i].len() * size_of::<f32>(),
            channels,
        });
    }
}

/// Refuses modules that do not train by themselves, and batches of no fixed size, of which one step says nothing
/// about the others.
fn check_batches(config: &Config) -> Result<()> {
    if config.domain.modules_per_loss() > 1 {
        let what = "is above 1: a plan measures each module by itself";
        return Err(Error::config(
            "network.modules_per_loss",
            what,
            "plan the same network with 1, or use `gim estimate`",
        ));
    }
    match &config.domain {
        Domain::Audio(a) if a.data.whole => {
            let what = "is set: steps differ in length, and a plan measures one";
            Err(Error::config("data.whole", what, "plan the same network with data.whole=false"))
        }
        Domain::Audio(_) | Domain::Vision(_) => Ok(()),
    }
}

/// Channels of a module's features, or of those of all layers of an `inspected` one.
fn channels(module: &mut dyn Module<f32>, x: &Detached<f32>, z: Layout, inspected: bool) -> usize {
    on_pool_thread(|| {
        module.forward(x, z, if inspected { Mode::Inspect } else { Mode::Eval });
        let channels = match inspected {
            true => module.layer_outputs().iter().map(|(_, layer)| layer.shape().channels).sum(),
            false => module.features().shape().channels,
        };
        module.release();
        channels
    })
}

/// The same batch, again and again.
struct Batches {
    x: Detached<f32>,
    labels: Arc<[i32]>,
    layouts: Arc<[Layout]>,
    steps: usize,
}

/// Seconds of forward pass and training of every step, by the loop of training itself.
fn spans(module: &mut dyn Module<f32>, batches: Batches, number: usize) -> Result<Vec<(f64, f64)>> {
    let last = Cell::new(Instant::now());
    let since = || last.replace(Instant::now()).elapsed().as_secs_f64();
    let forward = Cell::new(0.0);
    let mut source = Repeat { batches, step: 0, begin: &|| last.set(Instant::now()) };
    let mut sink = Drain(&|| forward.set(since()));
    let mut spans = Vec::new();
    let work = ModuleStep { seed: 1, module: number, mode: Mode::Train };
    run_module(module, &mut source, &mut sink, work, &mut |_| spans.push((forward.get(), since())))?;
    Ok(spans)
}

/// Gives a batch for every step.
struct Repeat<'a> {
    batches: Batches,
    step: u64,
    begin: &'a dyn Fn(),
}

impl Source<f32> for Repeat<'_> {
    fn recv(&mut self) -> Option<Packet<f32>> {
        let Batches { x, labels, layouts, steps } = &self.batches;
        let step = self.step;
        self.step += 1;
        (self.begin)();
        let packet = || Packet { x: x.clone(), step, labels: Arc::clone(labels), layouts: Arc::clone(layouts) };
        (step < *steps as u64).then(packet)
    }
}

/// Takes outputs and keeps none.
struct Drain<'a>(&'a dyn Fn());

impl Sink<f32> for Drain<'_> {
    fn send(&mut self, _: Packet<f32>) {
        (self.0)();
    }
}
