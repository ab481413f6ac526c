//! The regression check of accuracies: a comparison's numbers against a committed baseline.

use std::collections::BTreeMap;
use std::path::Path;

use gim_core::{Error, Result};
use gim_eval::{Baseline, Deviation, Interval, Measured, Protocol, compare, table};

use crate::comparison::reproduce::Plan;
use crate::comparison::summary::Summary;
use gim_core::files::create_folder;

/// Least tolerance in points: other processors round differently, and training carries that on.
const LEAST_TOLERANCE: f64 = 3.0;
/// Tolerance in standard deviations over seeds.
const DEVIATIONS: f64 = 4.0;
/// Least tolerance in test rows: where there are few, other rounding tips one of them over, whatever the spread over seeds was.
const LEAST_ROWS: f64 = 2.0;

/// How far a mean over seeds may lie from the baseline, in points, given its standard deviation and the test rows of a seed.
fn tolerance(spread: f64, test_rows: usize) -> f64 {
    (DEVIATIONS * spread).max(LEAST_TOLERANCE).max(100.0 * LEAST_ROWS / test_rows.max(1) as f64)
}

/// Name of a value in the baseline.
fn name(s: &Summary) -> Option<String> {
    // Few labels add noise and no eyes.
    if s.labels < 1.0 {
        return None;
    }
    let how = match s.protocol {
        Protocol::Converged => "",
        Protocol::Paper => " by the paper's protocol",
        Protocol::Knn => " by neighbors",
    };
    s.features().map(|features| format!("{}: {}{how}, {features}", s.run, s.task))
}

/// The run that a value's name begins with.
fn run_of(name: &str) -> &str {
    name.split(": ").next().unwrap_or_default()
}

/// Whether a value is of a run that the plan lists.
fn listed(plan: &Plan, value: &Baseline) -> bool {
    plan.sweep.run.iter().any(|e| e.name == run_of(&value.name))
}

/// Mean and standard deviation (NaN for one) over seeds of what each probe is judged by, and its test rows; for modules also of what
/// they are above the random encoder of the same seed, which varies less where both depend on the seed: a module that has learned
/// nothing is none above.
fn values(summary: &[Summary]) -> BTreeMap<String, (f64, f64, usize)> {
    let mut out = BTreeMap::new();
    for s in summary {
        let Some(name) = name(s) else { continue };
        let above = (format!("{name} over random"), &s.over_random_by_seed);
        for (name, by_seed) in [above, (name, &s.by_seed)] {
            let seeds: Vec<f64> = by_seed.values().copied().collect();
            if let Some(i) = Interval::of(&seeds) {
                out.insert(name, (i.mean, i.std, s.test_rows));
            }
        }
    }
    out
}

/// Digest of the corpus of every run in the plan.
fn digests(plan: &Plan) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    let mut known: BTreeMap<std::path::PathBuf, String> = BTreeMap::new();
    for entry in &plan.sweep.run {
        let config = entry.config(&plan.set)?;
        let dataset = config.domain.dataset();
        let folder = dataset.folder()?;
        let digest = match known.get(&folder) {
            Some(d) => d.clone(),
            None => dataset.extractor()?.digest().to_owned(),
        };
        known.insert(folder, digest.clone());
        out.insert(entry.name.clone(), digest);
    }
    Ok(out)
}

/// Digest of the corpus of the run that a value is of.
fn digest_of(digests: &BTreeMap<String, String>, value: &str) -> Result<String> {
    let unknown = || Error::internal("check", format_args!("`{value}` is of no run of the plan"));
    digests.get(run_of(value)).cloned().ok_or_else(unknown)
}

/// Whether there will be something to say, before anything is trained.
///
/// # Errors
/// As [`check`] or, with `update`, [`update`].
pub(crate) fn ready(plan: &Plan, baseline: &Path, update: bool) -> Result<()> {
    if update { spread(plan) } else { wanted(plan, baseline).map(drop) }
}

/// One seed has no spread to derive tolerances from.
fn spread(plan: &Plan) -> Result<()> {
    if plan.sweep.seeds < 2 {
        return Err(Error::config("--update", "one seed has no spread", "add --seeds 3 or more"));
    }
    Ok(())
}

/// What the baseline holds of the plan's runs.
fn wanted(plan: &Plan, baseline: &Path) -> Result<Vec<Baseline>> {
    if !baseline.is_file() {
        return Err(Error::file(baseline, "is not there", "make it with gim check --update"));
    }
    let rows: Vec<Baseline> = table::read_rows(baseline)?;
    let wanted: Vec<Baseline> = rows.into_iter().filter(|b| listed(plan, b)).collect();
    if wanted.is_empty() {
        return Err(Error::file(baseline, "has no value of these runs", "make it with gim check --update"));
    }
    Ok(wanted)
}

/// Every value that lies outside its tolerance, is missing, or belongs to another corpus; and how many were compared.
///
/// # Errors
/// When there is no baseline, or it cannot be read.
pub(crate) fn check(plan: &Plan, summary: &[Summary], baseline: &Path) -> Result<(Vec<Deviation>, usize)> {
    let wanted = wanted(plan, baseline)?;
    let digests = digests(plan)?;
    let measured = values(summary)
        .into_iter()
        .map(|(name, (value, ..))| {
            let digest = digest_of(&digests, &name)?;
            Ok((name, Measured { value, digest }))
        })
        .collect::<Result<_>>()?;
    Ok((compare(&measured, &wanted), wanted.len()))
}

/// Writes the summary as the new baseline, with tolerances from its spread over seeds. Runs it does not hold stay as they are.
///
/// # Errors
/// When it has one seed and so no spread, or the file cannot be written.
pub(crate) fn update(plan: &Plan, summary: &[Summary], baseline: &Path) -> Result<usize> {
    spread(plan)?;
    let mut rows: Vec<Baseline> = if baseline.is_file() { table::read_rows(baseline)? } else { Vec::new() };
    rows.retain(|b| !listed(plan, b));
    let digests = digests(plan)?;
    for (name, (value, spread, test_rows)) in values(summary) {
        let tolerance = tolerance(spread, test_rows);
        let digest = digest_of(&digests, &name)?;
        let round = |x: f64| (x * 100.0).round() / 100.0;
        let (value, spread, tolerance) = (round(value), round(spread), round(tolerance));
        rows.push(Baseline { name, value, spread, tolerance, digest });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(folder) = baseline.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_folder(folder)?;
    }
    table::write_rows(baseline, &rows)?;
    Ok(rows.len())
}

/// What fell or rose, and by how much, for people.
pub(crate) fn print(deviations: &[Deviation], compared: usize) -> String {
    if deviations.is_empty() {
        return format!("all {compared} values lie within their tolerances\n");
    }
    let length = |d: &Deviation| match d {
        Deviation::Moved { name, .. } | Deviation::OtherDigest { name, .. } | Deviation::Missing { name } => {
            name.chars().count()
        }
    };
    let wide = deviations.iter().map(length).max().unwrap_or(0);
    let mut out = format!("{} of {compared} values moved\n", deviations.len());
    out += &format!("{:<wide$} {:>9} {:>9} {:>8}\n", "value", "baseline", "now", "change");
    for d in deviations {
        out += &match d {
            Deviation::Moved { name, expected, measured, .. } => {
                format!("{name:<wide$} {expected:>9.2} {measured:>9.2} {:>+8.2}\n", measured - expected)
            }
            Deviation::OtherDigest { name, .. } => format!("{name:<wide$} belongs to another corpus\n"),
            Deviation::Missing { name } => format!("{name:<wide$} was not measured\n"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_never_below_two_test_rows() {
        assert_eq!(tolerance(0.0, 32), 6.25);
        assert_eq!(tolerance(0.5, 10_000), LEAST_TOLERANCE);
        assert_eq!(tolerance(2.0, 32), 8.0);
    }
}
