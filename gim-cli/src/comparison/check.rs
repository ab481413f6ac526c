//! The regression check: accuracies of a comparison against a committed baseline.

use std::collections::BTreeMap;
use std::path::Path;

use gim_core::{Error, Result};
use gim_eval::{Baseline, Deviation, Head, Interval, Measured, Protocol, compare, table};

use crate::comparison::reproduce::Plan;
use crate::comparison::summary::Summary;
use crate::experiment::probe::views_note;
use gim_core::files::create_folder;

/// Least tolerance in points. Processors round differently, and training amplifies it.
const LEAST_TOLERANCE: f64 = 3.0;
/// Tolerance in standard deviations over seeds.
const DEVIATIONS: f64 = 4.0;
/// Least tolerance in test rows. With few rows, a different rounding can change one prediction.
const LEAST_ROWS: f64 = 2.0;

/// Tolerance in points of a mean over seeds, given its standard deviation and the test rows of a
/// seed.
fn tolerance(spread: f64, test_rows: usize) -> f64 {
    (DEVIATIONS * spread).max(LEAST_TOLERANCE).max(100.0 * LEAST_ROWS / test_rows.max(1) as f64)
}

/// Name of a value in the baseline.
fn name(s: &Summary) -> Option<String> {
    // Probes with few labels are noisy, and other heads are not in every run. They detect nothing more.
    if s.labels < 1.0 || s.head != Head::Linear {
        return None;
    }
    let how = match s.protocol {
        Protocol::Converged => String::new(),
        Protocol::Paper => {
            let views = views_note(s.protocol, s.task, s.views).map(|note| format!(" with {note}"));
            format!(" by the paper's protocol{}", views.unwrap_or_default())
        }
        Protocol::Knn => " by neighbors".into(),
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

/// Mean and standard deviation over seeds (NaN for one) of each probe's primary accuracy, and its
/// test rows.
///
/// For modules also the difference to the random encoder of the same seed. It varies less than the
/// accuracy, and is about 0 for a module that has learned nothing.
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

/// Digest of the dataset of every run in the plan.
fn digests(plan: &Plan) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    let mut known: BTreeMap<std::path::PathBuf, String> = BTreeMap::new();
    for entry in &plan.sweep.run {
        let config = entry.config(&plan.set)?;
        let dataset = config.domain.dataset();
        let folder = dataset.folder()?;
        let digest = match known.get(&folder) {
            Some(d) => d.clone(),
            None => dataset.digest()?.digest,
        };
        known.insert(folder, digest.clone());
        out.insert(entry.name.clone(), digest);
    }
    Ok(out)
}

/// Digest of the dataset of the run that a value belongs to.
fn digest_of(digests: &BTreeMap<String, String>, value: &str) -> Result<String> {
    let unknown = || Error::internal("check", format_args!("`{value}` is of no run of the plan"));
    digests.get(run_of(value)).cloned().ok_or_else(unknown)
}

/// Fails before training if the check or the update cannot succeed.
///
/// # Errors
/// As [`check`] or, with `update`, [`update`].
pub(crate) fn ready(plan: &Plan, baseline: &Path, update: bool) -> Result<()> {
    if update { spread(plan) } else { wanted(plan, baseline).map(drop) }
}

/// Refuses a single seed: tolerances come from the spread over seeds.
fn spread(plan: &Plan) -> Result<()> {
    if plan.sweep.seeds < 2 {
        return Err(Error::config("--update", "one seed has no spread", "add --seeds 3 or more"));
    }
    Ok(())
}

/// The baseline's values for the plan's runs.
fn wanted(plan: &Plan, baseline: &Path) -> Result<Vec<Baseline>> {
    if !baseline.is_file() {
        return Err(Error::file(baseline, "does not exist", "write it with gim check --update"));
    }
    let rows: Vec<Baseline> = table::read_rows(baseline)?;
    let wanted: Vec<Baseline> = rows.into_iter().filter(|b| listed(plan, b)).collect();
    if wanted.is_empty() {
        return Err(Error::file(baseline, "has no value of these runs", "write it with gim check --update"));
    }
    Ok(wanted)
}

/// Returns the values outside their tolerance, missing or of another dataset, and the number of
/// compared values.
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

/// Writes the summary as the new baseline, with tolerances from the spread over seeds. Values of
/// other runs stay as they are. Returns the number of values in the file.
///
/// # Errors
/// When there is one seed, or the file cannot be written.
pub(crate) fn update(plan: &Plan, summary: &[Summary], baseline: &Path) -> Result<usize> {
    spread(plan)?;
    let mut rows: Vec<Baseline> = table::read_rows_if_any(baseline)?;
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

/// The deviations as a table.
pub(crate) fn print(deviations: &[Deviation], compared: usize) -> String {
    if deviations.is_empty() {
        return format!("all {compared} values are within their tolerances\n");
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
            Deviation::OtherDigest { name, .. } => format!("{name:<wide$} belongs to another dataset\n"),
            Deviation::Missing { name } => format!("{name:<wide$} was not measured\n"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use gim_eval::{Group, ProbeRow, Task};

    use super::*;
    use crate::comparison::summary::{summarize, test_row};
    use crate::comparison::sweep::Entry;
    use crate::experiment::domain::DomainKind;

    /// Another number of views is another value; the published one needs no word.
    #[test]
    fn names_say_how_many_views() {
        let entry = Entry {
            name: "a".into(),
            preset: "audio-quick".into(),
            title: "A".into(),
            paper: None,
            ablation_of: None,
            baselines: None,
            tasks: None,
            set: Vec::new(),
        };
        let of = |protocol, head, views| {
            let row = test_row(Group::Trained, 1, 1, 0.5);
            let row = ProbeRow { task: Task::Speakers, protocol, head, views, ..row };
            name(&summarize(&entry, DomainKind::Audio, &[row])[0])
        };
        let paper = |head, views| of(Protocol::Paper, head, views);
        assert_eq!(of(Protocol::Converged, Head::Linear, None).as_deref(), Some("a: speakers, module 1"));
        let exact = "a: speakers by the paper's protocol, module 1";
        assert_eq!(paper(Head::Linear, Some(50)).as_deref(), Some(exact));
        let few = "a: speakers by the paper's protocol with 2 views, module 1";
        assert_eq!(paper(Head::Linear, Some(2)).as_deref(), Some(few));
        assert_eq!(paper(Head::Mlp, Some(50)), None);
    }

    #[test]
    fn a_tolerance_is_never_below_two_test_rows() {
        assert_eq!(tolerance(0.0, 32), 6.25);
        assert_eq!(tolerance(0.5, 10_000), LEAST_TOLERANCE);
        assert_eq!(tolerance(2.0, 32), 8.0);
    }
}
