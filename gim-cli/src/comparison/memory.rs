//! Memory of a training step by method and schedule, measured: every buffer a step takes comes from one pool, which counts what is in
//! use. Modules that take turns hand their memory on, so all of them need little more than the largest alone.

use gim_core::activations::Activations;
use gim_core::link::Packet;
use gim_core::module::Mode;
use gim_core::schedule::step_in_turn;
use gim_core::{Pool, Result};
use gim_eval::table;
use serde::{Deserialize, Serialize};

use crate::comparison::comparison_dir::ComparisonDir;
use crate::comparison::reproduce::FinishedRun;
use crate::comparison::summary::{PaperValue, paper, with_mark};
use crate::comparison::sweep::Entry;
use crate::experiment::config::Config;
use crate::experiment::domain::DomainKind;

/// Peak memory of one way to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peak {
    /// Name of the run.
    pub run: String,
    /// What it is called.
    pub title: String,
    /// `end to end`, `all modules`, or `module k alone` (the ones below it frozen).
    pub schedule: String,
    /// MB of activations, gradients and scratch: the most that was in use at once.
    pub buffers_mb: f64,
    /// MB of the parameters and moments of the modules that take part.
    pub state_mb: f64,
    /// Both.
    pub total_mb: f64,
    /// The paper's GB on a GPU, at its batch and networks.
    pub paper_gb: Option<f64>,
    /// How the paper's value is known.
    pub paper_mark: Option<String>,
}

impl Peak {
    /// The paper's GB, for people.
    pub(crate) fn reported(&self) -> Option<String> {
        let (value, mark) = self.paper_gb.zip(self.paper_mark.as_deref())?;
        Some(with_mark(value, mark).replace(" (", " GB ("))
    }
}

/// Memory of the methods: what the comparison's table holds of all of them, or else measured on one step of each.
///
/// # Errors
/// When the table is damaged, or as [`peaks`].
pub(crate) fn of_methods(runs: &[FinishedRun], dir: &ComparisonDir) -> Result<Vec<Peak>> {
    let table = dir.memory_table();
    let methods = || runs.iter().filter(|r| r.is_method());
    if table.is_file() {
        let rows: Vec<Peak> = table::read_rows(&table)?;
        if methods().all(|m| rows.iter().any(|r| r.run == m.entry.name)) {
            return Ok(rows);
        }
    }
    let mut rows = Vec::new();
    for run in methods() {
        rows.extend(peaks(&run.entry, &run.config)?);
    }
    Ok(rows)
}

/// One row per schedule: all modules at once, and each alone.
///
/// # Errors
/// When the configuration cannot be built, or a module diverges on noise.
fn peaks(entry: &Entry, config: &Config) -> Result<Vec<Peak>> {
    let n = config.domain.model().build(&config.optimizer, config.train.seed, &Pool::new())?.modules().len();
    let together = if n == 1 { "end to end".to_owned() } else { "all modules".to_owned() };
    let mut ways = vec![(together, vec![Mode::Train; n])];
    if n > 1 {
        for k in 0..n {
            let modes = (0..=k).map(|m| if m == k { Mode::Train } else { Mode::Eval }).collect();
            ways.push((format!("module {} alone", k + 1), modes));
        }
    }
    let domain = config.domain.kind();
    let reported: Vec<PaperValue> =
        paper().into_iter().filter(|p| p.table == "memory" && domain == DomainKind::Vision).collect();
    ways.into_iter()
        .map(|(schedule, modes)| {
            let (buffers_mb, state_mb) = measure(config, &modes)?;
            let name = match (entry.paper.as_deref(), schedule.as_str()) {
                (Some("gim"), "all modules") => Some("gim all modules"),
                (Some("gim"), "module 1 alone") => Some("gim first module"),
                (name, "end to end") => name,
                _ => None,
            };
            let value = name.and_then(|name| reported.iter().find(|p| p.method == name));
            Ok(Peak {
                run: entry.name.clone(),
                title: entry.title.clone(),
                schedule,
                buffers_mb,
                state_mb,
                total_mb: buffers_mb + state_mb,
                paper_gb: value.map(|v| v.value),
                paper_mark: value.map(|v| v.mark.clone()),
            })
        })
        .collect()
}

/// MB of (buffers, parameters and moments) of a step in which the modules do what `modes` says.
fn measure(config: &Config, modes: &[Mode]) -> Result<(f64, f64)> {
    let pool = config.train.pool();
    let model = config.domain.model();
    let mut stack = model.build(&config.optimizer, config.train.seed, &pool)?;
    let layouts = stack.layouts(model.input(config.train.batch)?)?;
    let values: Vec<f32> = (0..layouts[0].shape.len()).map(|i| (i as f32 * 0.37).sin()).collect();
    let labels = config.domain.dataset().synthetic_labels(config.train.batch);
    for step in 0..2 {
        let x = Activations::from_slice(layouts[0], &values, &pool).detach();
        let packet = Packet { x, step, labels: labels.clone() };
        step_in_turn(&mut stack, &layouts, packet, config.train.seed, modes, &mut |_| {})?;
    }
    let taking_part = stack.modules_mut().iter_mut().take(modes.len());
    let numbers: usize = taking_part
        .zip(modes)
        // A frozen module has weights; one that learns has its optimizer's moments as well.
        .map(|(m, mode)| {
            let (params, optimizer) = m.state();
            params.n_params() * if *mode == Mode::Train { 1 + optimizer.moments().len() } else { 1 }
        })
        .sum();
    Ok((pool.peak_bytes() as f64 / 1e6, numbers as f64 * 4.0 / 1e6))
}
