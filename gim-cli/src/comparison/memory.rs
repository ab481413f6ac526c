//! Measured memory of a training step by method and schedule.
//!
//! All buffers of a step come from one pool, which counts what is in use. Modules that take turns
//! share their memory, so all of them need little more than the largest one alone.

use std::fmt::{self, Display};
use std::iter;

use gim_core::activations::Activations;
use gim_core::link::Packet;
use gim_core::module::Mode;
use gim_core::schedule::step_in_turn;
use gim_core::{Pool, Result};
use gim_eval::table;
use serde::{Deserialize, Serialize};

use crate::comparison::comparison_dir::ComparisonDir;
use crate::comparison::paper::{self, Method, with_mark};
use crate::comparison::reproduce::FinishedRun;
use crate::comparison::sweep::Entry;
use crate::experiment::config::Config;
use crate::experiment::domain::DomainKind;

/// What trains in a measured step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) enum StepSchedule {
    /// The whole network as one module.
    EndToEnd,
    /// All modules, one after the other.
    AllModules,
    /// The module of this one-based number, above frozen ones.
    ModuleAlone(usize),
}

impl StepSchedule {
    /// Modes of the modules that a step runs, in a stack of `n`.
    fn modes(self, n: usize) -> Vec<Mode> {
        match self {
            Self::EndToEnd | Self::AllModules => vec![Mode::Train; n],
            Self::ModuleAlone(k) => (1..=k).map(|m| if m == k { Mode::Train } else { Mode::Eval }).collect(),
        }
    }
}

impl Display for StepSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndToEnd => f.write_str("end to end"),
            Self::AllModules => f.write_str("all modules"),
            Self::ModuleAlone(k) => write!(f, "module {k} alone"),
        }
    }
}

impl From<StepSchedule> for String {
    fn from(schedule: StepSchedule) -> Self {
        schedule.to_string()
    }
}

impl TryFrom<String> for StepSchedule {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let module = || text.strip_prefix("module ")?.strip_suffix(" alone")?.parse().ok();
        [Self::EndToEnd, Self::AllModules]
            .into_iter()
            .chain(module().map(Self::ModuleAlone))
            .find(|schedule| schedule.to_string() == text)
            .ok_or_else(|| format!("`{text}` is not a schedule"))
    }
}

/// Peak memory of a training step of one method and schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peak {
    /// Name of the run.
    pub run: String,
    /// Domain of the run.
    pub domain: DomainKind,
    /// Title of the run.
    pub title: String,
    /// What trains.
    pub schedule: StepSchedule,
    /// MB of activations, gradients and scratch: the most that was in use at once.
    pub buffers_mb: f64,
    /// MB of the parameters of the modules that take part, and of the optimizer's moments.
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

/// Memory of the methods. Read from the comparison's table if it has all methods; else measured on
/// one step of each.
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
    let n = config.domain.model().build(None, &config.optimizer, config.train.seed, &Pool::new())?.modules().len();
    let schedules: Vec<StepSchedule> = match n {
        1 => vec![StepSchedule::EndToEnd],
        _ => iter::once(StepSchedule::AllModules).chain((1..=n).map(StepSchedule::ModuleAlone)).collect(),
    };
    let domain = config.domain.kind();
    let peak = |schedule: StepSchedule| {
        let (buffers_mb, state_mb) = measure(config, &schedule.modes(n))?;
        let method = match (entry.paper, schedule) {
            (Some(Method::Gim), StepSchedule::AllModules) => Some(Method::GimAllModules),
            (Some(Method::Gim), StepSchedule::ModuleAlone(1)) => Some(Method::GimFirstModule),
            (method, StepSchedule::EndToEnd) => method,
            _ => None,
        };
        let reported = method.and_then(|method| paper::memory(method, domain));
        Ok(Peak {
            run: entry.name.clone(),
            domain,
            title: entry.title.clone(),
            schedule,
            buffers_mb,
            state_mb,
            total_mb: buffers_mb + state_mb,
            paper_gb: reported.as_ref().map(|v| v.value),
            paper_mark: reported.map(|v| v.mark),
        })
    };
    schedules.into_iter().map(peak).collect()
}

/// MB of (buffers, parameters and optimizer's moments) of a step with these modes of the modules.
fn measure(config: &Config, modes: &[Mode]) -> Result<(f64, f64)> {
    let pool = config.train.pool();
    let model = config.domain.model();
    let mut stack = model.build(None, &config.optimizer, config.train.seed, &pool)?;
    let layouts = stack.layouts(model.input(config.train.batch)?)?;
    let values: Vec<f32> = (0..layouts[0].shape.len()).map(|i| (i as f32 * 0.37).sin()).collect();
    let labels = config.domain.dataset().synthetic_labels(config.train.batch);
    for step in 0..2 {
        let x = Activations::from_slice(layouts[0], &values, &pool).detach();
        let packet = Packet { x, step, labels: labels.clone(), layouts: layouts.clone() };
        step_in_turn(&mut stack, packet, config.train.seed, modes, &mut |_| {})?;
    }
    let taking_part = stack.modules_mut().iter_mut().take(modes.len());
    let n_values: usize = taking_part
        .zip(modes)
        // A frozen module has weights; one that trains has its optimizer's moments as well.
        .map(|(m, mode)| {
            let (params, optimizer) = m.state();
            params.n_params() * if *mode == Mode::Train { 1 + optimizer.moments().len() } else { 1 }
        })
        .sum();
    Ok((pool.peak_bytes() as f64 / 1e6, n_values as f64 * 4.0 / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_they_are_written() {
        for schedule in [StepSchedule::EndToEnd, StepSchedule::AllModules, StepSchedule::ModuleAlone(12)] {
            assert_eq!(StepSchedule::try_from(schedule.to_string()), Ok(schedule));
        }
        assert!(StepSchedule::try_from("module one alone".to_owned()).is_err());
        assert!(StepSchedule::try_from("module +1 alone".to_owned()).is_err());
    }
}
