//! Linear probes of a feature file.

use std::path::Path;
use std::time::Instant;

use gim_core::{Error, Key, Purpose, Result};
use gim_eval::{
    ConvergedProbe, Group, GroupId, Knn, PaperProbe, Part, Probe, ProbeRow, Protocol, Provenance, Score, Split, Task,
};

use crate::experiment::feature_file;
use crate::experiment::progress::{Mode as Show, Progress};

/// What to probe and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProbeSpec {
    /// What to predict.
    pub task: Task,
    /// Protocol of the evaluation.
    pub protocol: Protocol,
    /// One module with its baselines; `None` for all.
    pub module: Option<usize>,
    /// Share of the training labels to fit on, above 0 and up to 1.
    pub labels: f64,
}

impl ProbeSpec {
    /// Whether a row is a result of this probe.
    pub(crate) fn made(&self, row: &ProbeRow) -> bool {
        row.task == self.task && row.protocol == self.protocol && row.labels == self.labels
    }
}

/// Kind and module number of a group of a feature file.
fn kind(group: &str) -> (Group, usize) {
    group.parse::<GroupId>().map_or((Group::Other, 0), |id| (id.group(), id.module()))
}

/// Probes all groups (or the trained `module`, with its baselines) for a task.
///
/// # Errors
/// When the file has no such labels, or cannot be read.
pub(crate) fn probe(file: &Path, spec: &ProbeSpec, show: Show) -> Result<Vec<ProbeRow>> {
    let features = feature_file::open(file)?;
    let wanted = |g: &&String| {
        let (_, n) = kind(g);
        spec.module.is_none_or(|m| n == 0 || n == m)
    };
    let names: Vec<String> = features.groups().map(str::to_owned).collect();
    let groups: Vec<&String> = names.iter().filter(wanted).collect();
    if let Some(m) = spec.module.filter(|m| !names.contains(&GroupId::Trained(*m).to_string())) {
        return Err(Error::config("--module", format_args!("there is no module {m}"), "use all, or a number from 1"));
    }
    let made = features.provenance();
    let key = Key::new(made.seed, Purpose::Probe);
    let labels = features.labels(spec.task.label())?;
    if labels.classes < 2 {
        return Err(one_class(file, spec.task, labels.values.len()));
    }
    let silence = labels.silence;
    let mut progress = Progress::new(groups.len() as u64, "probes", show);
    let mut rows = Vec::new();
    for (done, name) in groups.iter().enumerate() {
        let examples = features.examples(name, spec.task.label())?;
        let train = examples.train_with_labels(spec.labels, key)?;
        if train.n_rows() > 0 && train.labels().iter().all(|c| *c == train.labels()[0]) {
            return Err(one_class(file, spec.task, train.n_rows()));
        }
        let row = one_probe(spec, kind(name), &train, &examples.part(Split::Test), silence, made)?;
        progress.tick(done as u64 + 1, || format!("{name} {:.1} %", 100.0 * row.accuracy));
        rows.push(row);
    }
    progress.finish(&format!("{} probes for {}", rows.len(), spec.task));
    Ok(rows)
}

/// A probe of one class is always right.
fn one_class(file: &Path, task: Task, labels: usize) -> Error {
    let what = format!("all {labels} labels are of one class: there is nothing to tell apart");
    Error::file(file, what, format_args!("a probe for {task} needs two classes; see notes.txt of the run"))
}

/// Probes one group.
fn one_probe(
    spec: &ProbeSpec,
    (group, module): (Group, usize),
    train: &Part<'_>,
    test: &Part<'_>,
    silence: Option<usize>,
    made: &Provenance,
) -> Result<ProbeRow> {
    let row = |score: &Score| ProbeRow {
        group,
        module,
        task: spec.task,
        protocol: spec.protocol,
        labels: spec.labels,
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
        seed: made.seed,
        step: made.step,
        checkpoint: Some(made.checkpoint.clone()).filter(|c| !c.is_empty()),
    };
    let probe = match spec.protocol {
        Protocol::Knn => {
            let began = Instant::now();
            let score = Knn::default().evaluate(train, test, silence)?;
            return Ok(ProbeRow { seconds: began.elapsed().as_secs_f64(), ..row(&score) });
        }
        Protocol::Paper => Probe::Paper(match spec.task {
            Task::Phones => PaperProbe::phones(),
            Task::Speakers => PaperProbe::speakers(),
            Task::Classes => PaperProbe::classes(),
        }),
        Protocol::Converged => Probe::Converged(converged(train)),
    };
    let fitted = probe.fit(train, Key::new(made.seed, Purpose::Probe))?;
    Ok(ProbeRow {
        l2: fitted.l2(),
        iterations: fitted.iterations(),
        converged: fitted.converged(),
        seconds: fitted.seconds(),
        ..row(&fitted.evaluate(test, silence)?)
    })
}

/// Training items per class, on average, below which the penalty is fixed: too few to hold out. Items
/// are utterances even if frames are evaluated.
pub(crate) const ITEMS_PER_CLASS: usize = 3;
/// Penalty with few training items.
const FEW_L2: f64 = 1e-2;

/// Most iterations of a converged probe. Tables say how many probes stopped there.
pub(crate) const MOST_ITERATIONS: usize = 150;

/// The converged protocol of the tables. Its tolerance is looser than the default, which changes
/// accuracies by less than 0.1 points.
pub(crate) fn converged(train: &Part<'_>) -> ConvergedProbe {
    let default = ConvergedProbe::default();
    let few = train.n_items() < ITEMS_PER_CLASS * train.n_classes();
    let l2 = if few { vec![FEW_L2] } else { default.l2.clone() };
    ConvergedProbe { l2, path_rows: 10_000, max_iterations: MOST_ITERATIONS, tolerance: 1e-3, ..default }
}

/// Name of the features in tables; `None` for groups that tables skip.
pub(crate) fn name(group: Group, module: usize) -> Option<String> {
    match group {
        Group::Trained => Some(format!("module {module}")),
        Group::Random => Some(format!("random {module}")),
        Group::Mfcc => Some("MFCC".into()),
        Group::Raw => Some("raw pixels".into()),
        Group::Other => None,
    }
}

/// Name of a group of a feature file in figures; the group's own name if tables skip it.
pub(crate) fn name_of(group: &str) -> String {
    let (kind, module) = kind(group);
    name(kind, module).unwrap_or_else(|| group.to_owned())
}

/// The rows as an aligned table, in percent.
pub(crate) fn print(rows: &[ProbeRow]) -> String {
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
