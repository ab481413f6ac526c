//! The guard on accuracies: a comparison's numbers against a committed baseline.

use std::collections::BTreeMap;
use std::path::Path;

use gim_core::{Error, Result};
use gim_eval::{Baseline, Deviation, Measured, compare, table};

use crate::files::create_folder;
use crate::reproduce::Plan;
use crate::summary::Summary;

/// Least tolerance in points: other processors round differently, and training carries that on.
const LEAST_TOLERANCE: f64 = 3.0;
/// Tolerance in standard deviations over seeds.
const DEVIATIONS: f64 = 4.0;

/// Name of a value in the baseline.
fn name(s: &Summary) -> Option<String> {
    // Few labels and neighbours add noise and no eyes.
    let judged = s.protocol == "converged" && s.labels == 1.0;
    s.features().filter(|_| judged).map(|features| format!("{}: {}, {features}", s.run, s.task))
}

/// Mean and standard deviation over seeds of what each probe is judged by.
fn values(summary: &[Summary]) -> BTreeMap<String, (f64, f64)> {
    let mut out = BTreeMap::new();
    for s in summary {
        if let Some(name) = name(s) {
            let mean = s.judged().0;
            let n = s.by_seed.len() as f64;
            let variance = s.by_seed.values().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
            out.insert(name, (mean, variance.sqrt()));
        }
    }
    out
}

/// Digest of the corpus of every domain in the plan.
fn digests(plan: &Plan) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    let mut known: BTreeMap<std::path::PathBuf, String> = BTreeMap::new();
    for entry in &plan.sweep.run {
        let config = entry.config(&plan.set)?;
        let experiment = config.domain.experiment();
        let folder = experiment.folder()?;
        let digest = match known.get(&folder) {
            Some(d) => d.clone(),
            None => experiment.extractor()?.digest().to_owned(),
        };
        known.insert(folder, digest.clone());
        out.insert(entry.name.clone(), digest);
    }
    Ok(out)
}

/// Every value that lies outside its tolerance, is missing, or belongs to another corpus; and how many were compared.
///
/// # Errors
/// When there is no baseline, or it cannot be read.
pub fn check(plan: &Plan, summary: &[Summary], baseline: &Path) -> Result<(Vec<Deviation>, usize)> {
    if !baseline.is_file() {
        return Err(Error::file(baseline, "is not there", "make it with gim check --update"));
    }
    let rows: Vec<Baseline> = table::read_rows(baseline)?;
    let wanted: Vec<Baseline> = rows
        .into_iter()
        .filter(|b| plan.sweep.run.iter().any(|e| b.name.starts_with(&format!("{}: ", e.name))))
        .collect();
    if wanted.is_empty() {
        return Err(Error::file(baseline, "has no value of these runs", "make it with gim check --update"));
    }
    let digests = digests(plan)?;
    let digest_of = |name: &str| {
        let run = name.split(": ").next().unwrap_or_default();
        digests.get(run).cloned().unwrap_or_default()
    };
    let measured = values(summary)
        .into_iter()
        .map(|(name, (value, _))| (name.clone(), Measured { value, digest: digest_of(&name) }))
        .collect();
    Ok((compare(&measured, &wanted), wanted.len()))
}

/// Writes the summary as the new baseline, with tolerances from its spread over seeds. Runs it does not hold stay as they are.
///
/// # Errors
/// When it has one seed and so no spread, or the file cannot be written.
pub fn update(plan: &Plan, summary: &[Summary], baseline: &Path) -> Result<usize> {
    if plan.sweep.seeds < 2 {
        return Err(Error::config("--update", "one seed has no spread", "add --seeds 3 or more"));
    }
    let mut rows: Vec<Baseline> = if baseline.is_file() { table::read_rows(baseline)? } else { Vec::new() };
    rows.retain(|b| !plan.sweep.run.iter().any(|e| b.name.starts_with(&format!("{}: ", e.name))));
    let digests = digests(plan)?;
    for (name, (value, spread)) in values(summary) {
        let run = name.split(": ").next().unwrap_or_default().to_owned();
        let tolerance = (DEVIATIONS * spread).max(LEAST_TOLERANCE);
        let digest = digests.get(&run).cloned().unwrap_or_default();
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
pub fn print(deviations: &[Deviation], compared: usize) -> String {
    if deviations.is_empty() {
        return format!("all {compared} values lie within their tolerances\n");
    }
    let mut out = format!("{} of {compared} values moved\n", deviations.len());
    out += &format!("{:<58} {:>9} {:>9} {:>8}\n", "value", "baseline", "now", "change");
    for d in deviations {
        out += &match d {
            Deviation::Moved { name, expected, measured, .. } => {
                format!("{name:<58} {expected:>9.2} {measured:>9.2} {:>+8.2}\n", measured - expected)
            }
            Deviation::OtherDigest { name, .. } => format!("{name:<58} belongs to another corpus\n"),
            Deviation::Missing { name } => format!("{name:<58} was not measured\n"),
        };
    }
    out
}
