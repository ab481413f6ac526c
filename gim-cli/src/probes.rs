//! Linear probes of a feature file.

use std::path::Path;

use gim_core::{Error, Key, Purpose, Result};
use gim_eval::{ConvergedProbe, FeatureFile, PaperProbe, Probe, Split, table};
use serde::{Deserialize, Serialize};

use crate::figures::Group;
use crate::progress::{Mode as Show, Progress};

/// A row of probe.csv; figures read a part of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// What was probed.
    pub group: Group,
    /// One-based module number; 0 for MFCC.
    pub module: usize,
    /// `phones` or `speakers`.
    pub task: String,
    /// `paper` or `converged`.
    pub protocol: String,
    /// Dimensions of the features.
    pub dims: usize,
    /// Rows fitted on.
    pub train_rows: usize,
    /// Rows judged.
    pub test_rows: usize,
    /// Share of right rows.
    pub accuracy: f64,
    /// The same without silence (phones only).
    pub accuracy_no_silence: Option<f64>,
    /// Mean recall over classes.
    pub macro_accuracy: f64,
    /// Accuracy of the most frequent training class.
    pub majority: f64,
    /// L2 penalty chosen.
    pub l2: Option<f64>,
    /// Iterations of the final fit.
    pub iterations: usize,
    /// Whether it reached its tolerance.
    pub converged: bool,
    /// Seconds of the fit.
    pub seconds: f64,
    /// Seed of the run.
    pub seed: u64,
}

fn kind(group: &str) -> (Group, usize) {
    let number = |prefix: &str| group.strip_prefix(prefix).and_then(|n| n.parse().ok());
    if let Some(n) = number("module_") {
        (Group::Trained, n)
    } else if let Some(n) = number("random_") {
        (Group::Random, n)
    } else if group == "baseline_mfcc" {
        (Group::Mfcc, 0)
    } else {
        (Group::Other, 0)
    }
}

/// Probes all groups (or the trained `module`, with its baselines) for `phones` or `speakers`.
///
/// # Errors
/// When the file has no such labels, or cannot be read.
pub fn probe(file: &Path, task: &str, protocol: &str, module: Option<usize>, show: Show) -> Result<Vec<Row>> {
    let features = FeatureFile::open(file)?;
    let (label, silence, paper) = match task {
        "phones" => ("phone", Some(0), PaperProbe::phones()),
        "speakers" => ("speaker", None, PaperProbe::speakers()),
        other => {
            return Err(Error::config("--task", format_args!("there is no task `{other}`"), "use phones or speakers"));
        }
    };
    let probe = match protocol {
        "paper" => Probe::Paper(paper),
        "converged" => Probe::Converged(ConvergedProbe {
            path_rows: 10_000,
            max_iterations: 150,
            tolerance: 1e-3,
            ..ConvergedProbe::default()
        }),
        other => {
            return Err(Error::config(
                "--protocol",
                format_args!("there is no protocol `{other}`"),
                "use paper or converged",
            ));
        }
    };
    let wanted = |g: &&String| {
        let (_, n) = kind(g);
        module.is_none_or(|m| n == 0 || n == m)
    };
    let names: Vec<String> = features.groups().map(str::to_owned).collect();
    let groups: Vec<&String> = names.iter().filter(wanted).collect();
    let seed = features.provenance().seed;
    let mut progress = Progress::new(groups.len() as u64, "probe", show);
    let mut rows = Vec::new();
    for (done, name) in groups.iter().enumerate() {
        let examples = features.examples(name, label)?;
        let (train, test) = (examples.part(Split::Train), examples.part(Split::Test));
        let fitted = probe.fit(&train, Key::new(seed, Purpose::Probe))?;
        let score = fitted.evaluate(&test, silence)?;
        let row = gim_eval::ProbeRow::new(name, label, &fitted, &train, &score, seed);
        let (group, module) = kind(name);
        rows.push(Row {
            group,
            module,
            task: task.into(),
            protocol: protocol.into(),
            dims: row.dims,
            train_rows: row.train_rows,
            test_rows: row.test_rows,
            accuracy: row.accuracy,
            accuracy_no_silence: row.accuracy_no_silence,
            macro_accuracy: row.macro_accuracy,
            majority: row.majority,
            l2: row.l2,
            iterations: row.iterations,
            converged: row.converged,
            seconds: row.seconds,
            seed,
        });
        progress.tick(done as u64 + 1, || format!("{name} {:.1} %", 100.0 * score.accuracy));
    }
    progress.finish(&format!("{} probes for {task}", rows.len()));
    Ok(rows)
}

/// Adds rows to a table, replacing those of the same group, module, task, protocol and seed.
///
/// # Errors
/// When the table cannot be read or written.
pub fn merge(path: &Path, new: &[Row]) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = if path.is_file() { table::read_rows(path)? } else { Vec::new() };
    let id = |r: &Row| (r.group, r.module, r.task.clone(), r.protocol.clone(), r.seed);
    rows.retain(|old| !new.iter().any(|n| id(n) == id(old)));
    rows.extend_from_slice(new);
    table::write_rows(path, &rows)?;
    Ok(rows)
}

/// The rows as an aligned table for people, in percent.
pub fn print(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<12} {:<9} {:>5} {:>8} {:>11} {:>8} {:>8}\n",
        "features", "task", "dims", "all", "no silence", "macro", "majority"
    );
    let percent = |x: f64| format!("{:.1}", 100.0 * x);
    for r in rows {
        let name = match r.group {
            Group::Trained => format!("module {}", r.module),
            Group::Random => format!("random {}", r.module),
            Group::Mfcc => "MFCC".into(),
            _ => "other".into(),
        };
        out += &format!(
            "{name:<12} {:<9} {:>5} {:>8} {:>11} {:>8} {:>8}\n",
            r.task,
            r.dims,
            percent(r.accuracy),
            r.accuracy_no_silence.map_or("–".into(), percent),
            percent(r.macro_accuracy),
            percent(r.majority)
        );
    }
    out
}
