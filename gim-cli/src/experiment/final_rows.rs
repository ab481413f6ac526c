//! Which rows of `probe.csv` count: those of a run's own weights, and in a comparison of its final ones.

use gim_core::{Pool, Result};
use gim_eval::ProbeRow;

use crate::experiment::config::Config;
use crate::experiment::run_dir::RunDir;

/// Steps of a whole run.
///
/// # Errors
/// When a run of an older version is given in epochs, and its dataset cannot be opened.
pub(crate) fn total_steps(run: &RunDir, config: &Config) -> Result<u64> {
    let t = &config.train;
    let record = run.dataset()?;
    let each = t.steps_each(|| match &record {
        Some(record) => Ok(record.epoch_steps),
        None => Ok(config.domain.dataset().batch_source(t, 0, None)?.epoch_len()),
    })?;
    // Only turns need to be counted by module, and a stack is not built in no time.
    let turns = if t.iterative() { config.build(record.as_ref(), &Pool::new())?.modules().len() as u64 } else { 1 };
    Ok(each * turns)
}

/// Rows of the run's newest weights. Rows of baselines, of older versions, and those of a run whose
/// weights are gone are kept.
///
/// # Errors
/// When rows or weights cannot be read.
pub(crate) fn current(run: &RunDir) -> Result<Vec<ProbeRow>> {
    let mut rows = run.probe_rows()?;
    if rows.iter().any(|r| r.checkpoint.is_some())
        && let Some(weights) = run.weights()?
    {
        rows.retain(|r| is_baseline(r) || r.checkpoint.as_ref().is_none_or(|c| *c == weights.digest));
    }
    Ok(rows)
}

/// Those of [`current`] that are of the last step of the run.
///
/// # Errors
/// As [`current`] and [`total_steps`].
pub(crate) fn of_final_weights(run: &RunDir, config: &Config) -> Result<Vec<ProbeRow>> {
    let mut rows = current(run)?;
    if rows.iter().any(|r| r.step.is_some()) {
        let total = total_steps(run, config)?;
        rows.retain(|r| is_baseline(r) || r.step.is_none_or(|step| step == total));
    }
    Ok(rows)
}

/// Whether a row does not depend on what was learned.
fn is_baseline(row: &ProbeRow) -> bool {
    !row.group.is_learned()
}
