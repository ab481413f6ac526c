//! Linear probes of a feature file.

use std::path::Path;
use std::time::Instant;

use gim_core::{Error, Key, Purpose, Result};
use gim_eval::{ConvergedProbe, FeatureFile, Knn, PaperProbe, Part, Probe, Score, Split, table};

pub use gim_eval::ProbeRow as Row;

use crate::experiment::progress::{Mode as Show, Progress};
use gim_eval::Group;

fn kind(group: &str) -> (Group, usize) {
    let number = |prefix: &str| group.strip_prefix(prefix).and_then(|n| n.parse().ok());
    if let Some(n) = number("module_") {
        (Group::Trained, n)
    } else if let Some(n) = number("random_") {
        (Group::Random, n)
    } else if group == "baseline_mfcc" {
        (Group::Mfcc, 0)
    } else if group == "baseline_pixels" {
        (Group::Raw, 0)
    } else {
        (Group::Other, 0)
    }
}

/// A way to judge features.
enum Protocol {
    Converged,
    Paper(PaperProbe),
    /// A second opinion without any fit.
    Nearest(Knn),
}

/// What to probe and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSpec {
    /// `phones`, `speakers` or `classes`.
    pub task: String,
    /// `converged`, `paper` or `knn`.
    pub protocol: String,
    /// One module with its baselines; `None` for all.
    pub module: Option<usize>,
    /// Share of the training labels to fit on, above 0 and up to 1.
    pub labels: f64,
}

impl ProbeSpec {
    /// Whether a row came of this.
    pub(crate) fn made(&self, row: &Row) -> bool {
        row.task == self.task && row.protocol == self.protocol && row.labels == self.labels
    }
}

/// Probes all groups (or the trained `module`, with its baselines) for a task.
///
/// # Errors
/// When the file has no such labels, or cannot be read.
pub fn probe(file: &Path, how: &ProbeSpec, show: Show) -> Result<Vec<Row>> {
    let (task, protocol, module, labels) = (how.task.as_str(), how.protocol.as_str(), how.module, how.labels);
    let features = FeatureFile::open(file)?;
    let (label, silence, paper) = match task {
        "phones" => ("phone", Some(0), PaperProbe::phones()),
        "speakers" => ("speaker", None, PaperProbe::speakers()),
        "classes" => ("class", None, PaperProbe::classes()),
        other => {
            let what = format!("there is no task `{other}`");
            return Err(Error::config("--task", what, "use phones, speakers or classes"));
        }
    };
    let chosen = match protocol {
        "paper" => Protocol::Paper(paper),
        "converged" => Protocol::Converged,
        "knn" => Protocol::Nearest(Knn::default()),
        other => {
            let what = format!("there is no protocol `{other}`");
            return Err(Error::config("--protocol", what, "use converged, paper or knn"));
        }
    };
    let wanted = |g: &&String| {
        let (_, n) = kind(g);
        module.is_none_or(|m| n == 0 || n == m)
    };
    let names: Vec<String> = features.groups().map(str::to_owned).collect();
    let groups: Vec<&String> = names.iter().filter(wanted).collect();
    if let Some(m) = module.filter(|m| !names.contains(&format!("module_{m}"))) {
        return Err(Error::config("--module", format_args!("there is no module {m}"), "use all, or 1 and up"));
    }
    let seed = features.provenance().seed;
    let mut progress = Progress::new(groups.len() as u64, "probes", show);
    let mut rows = Vec::new();
    for (done, name) in groups.iter().enumerate() {
        let examples = features.examples(name, label)?;
        let train = examples.train_with_labels(labels, Key::new(seed, Purpose::Probe))?;
        let test = examples.part(Split::Test);
        let (group, module) = kind(name);
        let row = |score: &Score, train: &Part<'_>| Row {
            group,
            module,
            task: task.into(),
            protocol: protocol.into(),
            labels,
            dims: train.dims(),
            train_rows: train.n_rows(),
            test_rows: score.rows,
            accuracy: score.accuracy,
            accuracy_no_silence: score.accuracy_no_silence,
            macro_accuracy: score.macro_accuracy,
            top5: Some(score.top5),
            majority: score.majority,
            l2: None,
            iterations: 0,
            converged: true,
            seconds: 0.0,
            seed,
        };
        let row = match &chosen {
            Protocol::Nearest(knn) => {
                let began = Instant::now();
                let score = knn.evaluate(&train, &test, silence)?;
                Row { seconds: began.elapsed().as_secs_f64(), ..row(&score, &train) }
            }
            linear => {
                let probe = match linear {
                    Protocol::Paper(paper) => Probe::Paper(*paper),
                    _ => Probe::Converged(converged(&train)),
                };
                let fitted = probe.fit(&train, Key::new(seed, Purpose::Probe))?;
                Row {
                    l2: fitted.l2(),
                    iterations: fitted.iterations(),
                    converged: fitted.converged(),
                    seconds: fitted.seconds(),
                    ..row(&fitted.evaluate(&test, silence)?, &train)
                }
            }
        };
        progress.tick(done as u64 + 1, || format!("{name} {:.1} %", 100.0 * row.accuracy));
        rows.push(row);
    }
    progress.finish(&format!("{} probes for {task}", rows.len()));
    Ok(rows)
}

/// Training items for each class, on average, below which none are spared to choose a penalty; and the penalty then. Utterances
/// count as items when their frames are judged, too.
pub(crate) const ITEMS_PER_CLASS: usize = 3;
const FEW_L2: f64 = 1e-2;

/// Iterations after which a converged probe is stopped in any case; tables say how many were.
pub(crate) const MOST_ITERATIONS: usize = 150;

/// The converged protocol as tables use it: a looser tolerance than the default moves accuracies by less than a tenth of a point.
pub(crate) fn converged(train: &Part<'_>) -> ConvergedProbe {
    let default = ConvergedProbe::default();
    let few = train.n_items() < ITEMS_PER_CLASS * train.n_classes();
    let l2 = if few { vec![FEW_L2] } else { default.l2.clone() };
    ConvergedProbe { l2, path_rows: 10_000, max_iterations: MOST_ITERATIONS, tolerance: 1e-3, ..default }
}

/// Adds rows to a table, replacing those of the same group, module, task, protocol, share of labels and seed.
///
/// # Errors
/// When the table cannot be read or written.
pub fn merge(path: &Path, new: &[Row]) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = if path.is_file() { table::read_rows(path)? } else { Vec::new() };
    let id = |r: &Row| (r.group, r.module, r.task.clone(), r.protocol.clone(), r.labels.to_bits(), r.seed);
    rows.retain(|old| !new.iter().any(|n| id(n) == id(old)));
    rows.extend_from_slice(new);
    table::write_rows(path, &rows)?;
    Ok(rows)
}

/// Name of what was probed, for people; `None` for groups that tables skip.
pub fn name(group: Group, module: usize) -> Option<String> {
    match group {
        Group::Trained => Some(format!("module {module}")),
        Group::Random => Some(format!("random {module}")),
        Group::Mfcc => Some("MFCC".into()),
        Group::Raw => Some("raw pixels".into()),
        Group::Other => None,
    }
}

/// Name of a group of a feature file, for people; the group's own where tables skip it.
pub(crate) fn name_of(group: &str) -> String {
    let (kind, module) = kind(group);
    name(kind, module).unwrap_or_else(|| group.to_owned())
}

/// The rows as an aligned table for people, in percent.
pub fn print(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<12} {:<9} {:<10} {:>5} {:>8} {:>11} {:>8} {:>8} {:>8}\n",
        "features", "task", "protocol", "dims", "all", "no silence", "macro", "top-5", "majority"
    );
    let percent = |x: f64| format!("{:.1}", 100.0 * x);
    let maybe = |x: Option<f64>| x.map_or("–".into(), percent);
    for r in rows {
        let Some(name) = name(r.group, r.module) else { continue };
        out += &format!(
            "{name:<12} {:<9} {:<10} {:>5} {:>8} {:>11} {:>8} {:>8} {:>8}\n",
            r.task,
            r.protocol,
            r.dims,
            percent(r.accuracy),
            maybe(r.accuracy_no_silence),
            percent(r.macro_accuracy),
            maybe(r.top5),
            percent(r.majority)
        );
    }
    out
}
