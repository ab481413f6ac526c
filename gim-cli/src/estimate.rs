//! What a configuration costs: parameters, arithmetic, memory and measured time, on synthetic input.

use std::time::Instant;

use gim_core::activations::Activations;
use gim_core::module::Mode;
use gim_core::schedule::{Packet, step_in_turn};
use gim_core::{Key, Pool, Purpose, Result};
use rand::RngExt;
use serde::Serialize;

use crate::config::Config;
use crate::environment::peak_resident_bytes;

/// Cost of one module.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleCost {
    /// One-based number.
    pub module: usize,
    /// Learnable numbers.
    pub parameters: usize,
    /// GFLOP of a step: forward, loss and backward.
    pub gflop: f64,
    /// MB of parameters and optimiser state.
    pub state_mb: f64,
    /// MB of its output for a batch.
    pub output_mb: f64,
    /// Median seconds of its turn: forward, loss, backward, update.
    pub seconds: f64,
}

/// Cost of a step.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Module by module.
    pub modules: Vec<ModuleCost>,
    /// Median seconds of a step.
    pub seconds: f64,
    /// Fastest and slowest step.
    pub spread: [f64; 2],
    /// GFLOP of a step.
    pub gflop: f64,
    /// GFLOP/s.
    pub gflop_per_second: f64,
    /// Peak resident memory of this process, MB.
    pub peak_mb: Option<f64>,
    /// Buffers made during the measured steps; 0 when nothing is allocated.
    pub new_buffers: usize,
    /// Threads.
    pub threads: usize,
}

/// Times `steps` steps after two to warm up.
///
/// # Errors
/// When the configuration cannot be built.
pub fn estimate(config: &Config, steps: usize) -> Result<Estimate> {
    let pool = Pool::<f32>::new();
    let experiment = config.domain.experiment();
    let mut stack = experiment.build(&config.optimizer, config.train.seed, &pool)?;
    let n = stack.modules().len();
    let layouts = stack.layouts(experiment.input(config.train.batch)?)?;
    let mut rng = Key::new(0, Purpose::Synthetic).rng();
    let sound: Vec<f32> = (0..layouts[0].shape.len()).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
    let mut turns = vec![Vec::new(); n];
    let mut times = Vec::new();
    let mut warm = 0;
    for step in 0..steps + 2 {
        if step == 2 {
            warm = pool.made();
        }
        let started = Instant::now();
        let mut last = started;
        let x = Activations::from_slice(layouts[0], &sound, &pool).detach();
        let packet = Packet { x, step: step as u64, labels: [].into() };
        step_in_turn(&mut stack, &layouts, packet, 1, &vec![Mode::Learn; n], &mut |r| {
            if step >= 2 {
                turns[r.module - 1].push(last.elapsed().as_secs_f64());
            }
            last = Instant::now();
        })?;
        if step >= 2 {
            times.push(started.elapsed().as_secs_f64());
        }
    }
    let median = |t: &mut Vec<f64>| {
        t.sort_by(f64::total_cmp);
        t.get(t.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let seconds = median(&mut times);
    let mut modules = Vec::new();
    for (i, module) in stack.modules_mut().iter_mut().enumerate() {
        let (forward, rest) = module.multiply_adds(layouts[i].shape);
        let parameters = module.params().n_params();
        modules.push(ModuleCost {
            module: i + 1,
            parameters,
            gflop: 2.0 * (forward + rest) as f64 / 1e9,
            state_mb: parameters as f64 * 12.0 / 1e6,
            output_mb: layouts[i + 1].len() as f64 * 4.0 / 1e6,
            seconds: median(&mut turns[i]),
        });
    }
    let gflop: f64 = modules.iter().map(|m| m.gflop).sum();
    Ok(Estimate {
        modules,
        seconds,
        spread: [times.first().copied().unwrap_or(seconds), times.last().copied().unwrap_or(seconds)],
        gflop,
        gflop_per_second: gflop / seconds,
        peak_mb: peak_resident_bytes().map(|b| b as f64 / 1e6),
        new_buffers: pool.made() - warm,
        threads: rayon::current_num_threads(),
    })
}

/// The estimate for people.
pub fn print(e: &Estimate) -> String {
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
    let peak = e.peak_mb.map_or("unknown".into(), |p| format!("{p:.0} MB"));
    out + &format!(
        "step: {:.4} s ({:.4} to {:.4}), {:.1} GFLOP, {:.1} GFLOP/s on {} threads; peak memory {peak}; {} buffers made once warm\n",
        e.seconds, e.spread[0], e.spread[1], e.gflop, e.gflop_per_second, e.threads, e.new_buffers
    )
}
