//! Cost of a configuration: parameters, arithmetic, memory and measured time, on synthetic input.

use std::time::{Duration, Instant};

use gim_core::activations::{Activations, Layout};
use gim_core::kernels::gemm;
use gim_core::kernels::profile::{self, Kind};
use gim_core::link::Packet;
use gim_core::module::Mode;
use gim_core::schedule::step_in_turn;
use gim_core::stack::Stack;
use gim_core::{Key, Purpose, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::bench::chunks::{Chunks, THREADS};
use crate::experiment::config::Config;
use crate::experiment::environment::peak_resident_bytes;
use crate::experiment::progress::duration;

/// Cost of one module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModuleCost {
    /// One-based module number.
    pub module: usize,
    /// Learnable parameters.
    pub parameters: usize,
    /// GFLOP of a step: forward, loss and backward.
    pub gflop: f64,
    /// MB of parameters and optimizer state.
    pub state_mb: f64,
    /// MB of its output for a batch.
    pub output_mb: f64,
    /// Median seconds of a step of this module: forward, loss, backward and update. For features,
    /// forward only.
    pub seconds: f64,
}

/// Cost of the matrix products of one shape.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProductCost {
    /// `gemm` (outputs, input gradients) or `gemm_tn` (weight gradients).
    pub kind: String,
    /// Rows or positions of a step.
    pub m: u64,
    /// Rows of the weight.
    pub k: usize,
    /// Columns of the weight.
    pub n: usize,
    /// GFLOP of a step.
    pub gflop: f64,
    /// Seconds of a step on all threads.
    pub seconds: f64,
    /// GFLOP/s.
    pub gflop_per_second: f64,
    /// Share of the kernel's peak rate, measured on values in the first-level cache.
    pub of_peak: f64,
    /// Least memory traffic, MB.
    pub mb: f64,
}

/// Cost of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Estimate {
    /// Cost of each module.
    pub modules: Vec<ModuleCost>,
    /// Median seconds of a step.
    pub seconds: f64,
    /// Fastest and slowest step.
    pub spread: [f64; 2],
    /// Seconds of each step.
    pub times: Vec<f64>,
    /// GFLOP of a step.
    pub gflop: f64,
    /// GFLOP/s.
    pub gflop_per_second: f64,
    /// Peak resident memory of this process, MB.
    pub peak_mb: Option<f64>,
    /// Peak MB of activations, gradients and scratch.
    pub buffers_mb: f64,
    /// Buffers allocated during the measured steps.
    pub new_buffers: usize,
    /// Threads.
    pub threads: usize,
    /// Peak GFLOP/s of the innermost kernel on all threads, measured. Profiles only.
    pub peak_gflop_per_second: Option<f64>,
    /// Products by shape, longest first. Profiles only.
    pub products: Vec<ProductCost>,
    /// How the step scales with threads. Profiles only.
    pub chunks: Option<Chunks>,
    /// A whole run; none for features, iterative training, or steps that follow from the dataset.
    pub whole: Option<WholeRun>,
}

/// All training steps of a run, at the measured pace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WholeRun {
    /// Training steps.
    pub steps: u64,
    /// Seconds.
    pub seconds: f64,
}

impl WholeRun {
    /// Of a configuration that names its steps and trains all modules at each.
    fn of(config: &Config, step_seconds: f64) -> Option<Self> {
        let steps = config.train.steps;
        (steps > 0 && !config.train.iterative())
            .then(|| Self { steps, seconds: (steps as f64 * step_seconds).min(1e10) })
    }
}

/// What is timed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    /// Steps to time, after two warm-up steps.
    pub steps: usize,
    /// Times feature extraction, which is a forward pass only, instead of a training step.
    pub features: bool,
    /// Adds a roofline of the products and a simulation of more threads.
    pub profiled: bool,
}

/// Times steps on random input.
///
/// # Errors
/// When the configuration cannot be built.
pub(crate) fn estimate(config: &Config, timed: Timed) -> Result<Estimate> {
    let Timed { steps, features, profiled } = timed;
    let pool = config.train.pool();
    let model = config.domain.model();
    model.size(config.train.batch)?.check()?;
    let mut stack = model.build(None, &config.optimizer, config.train.seed, &pool)?;
    let n = stack.modules().len();
    let layouts = stack.layouts(model.input(config.train.batch)?)?;
    let mut rng = Key::new(0, Purpose::Synthetic).rng();
    let noise: Vec<f32> = (0..layouts[0].shape.len()).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
    let mut module_seconds = vec![Vec::new(); n];
    let mut times = Vec::new();
    let mut warm = 0;
    for step in 0..steps + 2 {
        if step == 2 {
            warm = pool.allocated();
            if profiled {
                profile::start();
            }
        }
        let started = Instant::now();
        let mut last = started;
        let x = Activations::from_slice(layouts[0], &noise, &pool).detach();
        let mut module_done = |module: usize| {
            if step >= 2 {
                module_seconds[module].push(last.elapsed().as_secs_f64());
            }
            last = Instant::now();
        };
        if features {
            stack.visit_features(x, &layouts, Mode::Eval, |view| module_done(view.module - 1));
        } else {
            let labels = config.domain.dataset().synthetic_labels(config.train.batch);
            let packet = Packet { x, step: step as u64, labels, layouts: layouts.clone() };
            let modes = vec![Mode::Train; n];
            step_in_turn(&mut stack, packet, 1, &modes, &mut |r| module_done(r.module - 1))?;
        }
        if step >= 2 {
            times.push(started.elapsed().as_secs_f64());
        }
    }
    let seconds = median(&times);
    let (mut peak, mut products, mut chunks) = (None, Vec::new(), None);
    if profiled {
        let (rows, loops) = profile::stop();
        chunks = Some(Chunks::of(&loops, &times)?);
        let rate = gemm::peak_gflops::<f32>();
        products = rows.iter().map(|r| product_cost(r, steps, rate)).collect();
        peak = Some(rate);
    }
    if config.domain.modules_per_loss() > 1 && !features {
        share_steps(&mut stack, &layouts, &times, &mut module_seconds);
    }
    let modules = module_costs(&mut stack, &layouts, features, &module_seconds);
    let gflop: f64 = modules.iter().map(|m| m.gflop).sum();
    Ok(Estimate {
        modules,
        seconds,
        spread: [times.iter().copied().fold(seconds, f64::min), times.iter().copied().fold(seconds, f64::max)],
        times,
        gflop,
        gflop_per_second: gflop / seconds,
        peak_mb: peak_resident_bytes().map(|b| b as f64 / 1e6),
        buffers_mb: pool.peak_bytes() as f64 / 1e6,
        new_buffers: pool.allocated() - warm,
        threads: rayon::current_num_threads(),
        peak_gflop_per_second: peak,
        products,
        chunks,
        whole: WholeRun::of(config, seconds).filter(|_| !features),
    })
}

/// Shares the time of each step by arithmetic: passes of modules that share losses take turns within a step, so their
/// times are not measured one by one.
fn share_steps(stack: &mut Stack<f32>, layouts: &[Layout], times: &[f64], module_seconds: &mut [Vec<f64>]) {
    let sum = |(forward, rest): (u64, u64)| (forward + rest) as f64;
    let modules = stack.modules_mut().iter_mut().zip(layouts);
    let work: Vec<f64> = modules.map(|(module, x)| sum(module.multiply_adds(x.shape))).collect();
    let all: f64 = work.iter().sum();
    for (seconds, work) in module_seconds.iter_mut().zip(work) {
        *seconds = times.iter().map(|time| time * work / all.max(1.0)).collect();
    }
}

/// Cost of each module, given the seconds of its steps.
fn module_costs(
    stack: &mut Stack<f32>,
    layouts: &[Layout],
    features: bool,
    module_seconds: &[Vec<f64>],
) -> Vec<ModuleCost> {
    let mut modules = Vec::new();
    for (i, module) in stack.modules_mut().iter_mut().enumerate() {
        let (forward, rest) = module.multiply_adds(layouts[i].shape);
        let (params, optimizer) = module.state();
        let (parameters, copies) = (params.n_params(), 1 + optimizer.moments().len());
        modules.push(ModuleCost {
            module: i + 1,
            parameters,
            gflop: 2.0 * (forward + if features { 0 } else { rest }) as f64 / 1e9,
            state_mb: (4 * copies * parameters) as f64 / 1e6,
            output_mb: layouts[i + 1].len() as f64 * 4.0 / 1e6,
            seconds: median(&module_seconds[i]),
        });
    }
    modules
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = &sorted[sorted.len().saturating_sub(1) / 2..sorted.len() / 2 + usize::from(!sorted.is_empty())];
    middle.iter().sum::<f64>() / middle.len() as f64
}

fn product_cost(row: &profile::Row, steps: usize, peak: f64) -> ProductCost {
    let share = steps as f64;
    let seconds = row.time.as_secs_f64() * row.threads as f64 / rayon::current_num_threads() as f64 / share;
    let gflop = row.flops() / 1e9 / share;
    ProductCost {
        kind: match row.kind {
            Kind::Gemm => "gemm",
            Kind::GemmTn => "gemm_tn",
        }
        .to_owned(),
        m: row.m / steps as u64,
        k: row.k,
        n: row.n,
        gflop,
        seconds,
        gflop_per_second: gflop / seconds,
        of_peak: gflop / seconds / peak,
        mb: row.values() * 4.0 / 1e6 / share,
    }
}

/// The estimate as text.
pub(crate) fn print(e: &Estimate) -> String {
    let mut out = format!(
        "{:<8} {:>12} {:>9} {:>10} {:>10} {:>9}\n",
        "module", "parameters", "GFLOP", "state MB", "output MB", "seconds"
    );
    for m in &e.modules {
        out += &format!(
            "{:<8} {:>12} {:>9.2} {:>10.1} {:>10.1} {:>9.4}\n",
            m.module, m.parameters, m.gflop, m.state_mb, m.output_mb, m.seconds
        );
    }
    if let Some(peak) = e.peak_gflop_per_second {
        out += &format!(
            "\n{:<8} {:>8} {:>6} {:>6} {:>8} {:>9} {:>9} {:>8} {:>8}\n",
            "kind", "m", "k", "n", "GFLOP", "seconds", "GFLOP/s", "of peak", "MB"
        );
        for p in &e.products {
            out += &format!(
                "{:<8} {:>8} {:>6} {:>6} {:>8.2} {:>9.4} {:>9.1} {:>6.0} % {:>8.0}\n",
                p.kind,
                p.m,
                p.k,
                p.n,
                p.gflop,
                p.seconds,
                p.gflop_per_second,
                100.0 * p.of_peak,
                p.mb
            );
        }
        let products: f64 = e.products.iter().map(|p| p.seconds).sum();
        let gflop: f64 = e.products.iter().map(|p| p.gflop).sum();
        out += &format!(
            "products: {products:.4} s a step, {gflop:.1} GFLOP; everything else {:.4} s; kernel {peak:.1} GFLOP/s, so no step below {:.4} s\n\n",
            e.seconds - products,
            gflop / peak
        );
    }
    if let Some(chunks) = &e.chunks {
        let speed_ups = THREADS.iter().zip(chunks.speed_ups());
        let speed_ups: Vec<String> = speed_ups.map(|(threads, s)| format!("{s:.2} on {threads}")).collect();
        out += &format!(
            "cut into chunks, a step could be this much faster on more threads: {}; {:.4} s are outside of all parallel loops\n",
            speed_ups.join(", "),
            chunks.serial
        );
    }
    let peak = e.peak_mb.map_or("unknown".into(), |p| format!("{p:.0} MB"));
    out += &format!(
        "step: {:.4} s ({:.4} to {:.4}), {:.1} GFLOP, {:.1} GFLOP/s on {} threads; peak memory {peak}; {} buffers made once warm\n",
        e.seconds, e.spread[0], e.spread[1], e.gflop, e.gflop_per_second, e.threads, e.new_buffers
    );
    if let Some(whole) = &e.whole {
        let time = duration(Duration::from_secs_f64(whole.seconds));
        out += &format!("training: {} steps, {time}; gim plan adds features\n", whole.steps);
    }
    out
}
