//! Linear probes of a feature file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use gim_core::{Error, Key, Purpose, Result};
use gim_eval::{
    Budget, ConvergedProbe, Examples, FeatureFile, FittedProbe, Group, GroupId, Head, Knn, PaperProbe, Part, Probe,
    ProbeRow, Protocol, Provenance, Score, Split, Task, ViewFile,
};

use crate::experiment::domain::no_such_labels;
use crate::experiment::feature_file;
use crate::experiment::probe_config::no_such_module;
use crate::experiment::progress::{Mode as Show, Progress};
use crate::experiment::views::{ViewCounts, ViewLimits};
use crate::output::note;

/// What to probe and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProbeSpec {
    /// What to predict.
    pub task: Task,
    /// Protocol of the evaluation.
    pub protocol: Protocol,
    /// What a probe of the paper's protocol puts on the features; linear under the others.
    pub head: Head,
    /// Views that the paper's protocol sees; none under the others, and for phones.
    pub views: Option<ViewCounts>,
    /// One module with its baselines; `None` for all.
    pub module: Option<usize>,
    /// Share of the training labels to fit on, above 0 and up to 1.
    pub labels: f64,
}

impl ProbeSpec {
    /// A probe of all modules on all labels, with a linear head; `limits` are of the views.
    pub(crate) fn new(task: Task, protocol: Protocol, limits: ViewLimits) -> Self {
        let views = if protocol == Protocol::Paper { limits.of(task) } else { None };
        Self { task, protocol, head: Head::Linear, views, module: None, labels: 1.0 }
    }

    /// Whether a row is a result of this probe.
    pub(crate) fn made(&self, row: &ProbeRow) -> bool {
        row.task == self.task
            && row.protocol == self.protocol
            && row.head == self.head
            && row.views == self.views.map(|v| v.train)
            && row.test_views == self.views.map(|v| v.test)
            && row.labels == self.labels
    }
}

/// Kind and module number of a group of a feature file.
pub(crate) fn kind(group: &str) -> (Group, usize) {
    group.parse::<GroupId>().map_or((Group::Other, 0), |id| (id.group(), id.module()))
}

/// Probes all groups (or the trained `module`, with its baselines) for a task. `file` holds views when
/// the probe needs them, else whole items. Features above `budget` stay in the file.
///
/// # Errors
/// When the file has no such labels, or cannot be read.
pub(crate) fn probe(file: &Path, spec: &ProbeSpec, budget: Budget, show: Show) -> Result<Vec<ProbeRow>> {
    Opened::new(file.to_owned(), spec.views, budget)?.probe(spec, show)
}

/// A file that several probes read. Opening it reads all of it.
pub(crate) struct Opened {
    file: PathBuf,
    /// Those in it, if it is one of views.
    views: Option<ViewCounts>,
    source: Source,
}

impl Opened {
    /// Opens a feature file of whole items, or of `views`. Features above `budget` stay in it.
    ///
    /// # Errors
    /// As [`feature_file::open`], or when it holds the other of the two.
    pub(crate) fn new(file: PathBuf, views: Option<ViewCounts>, budget: Budget) -> Result<Self> {
        let whole = feature_file::open(&file)?.with_budget(budget);
        let source = match views {
            Some(_) => Source::Views(ViewFile::new(&file, whole)?),
            None => Source::Whole(whole),
        };
        Ok(Self { file, views, source })
    }

    /// Whether these are the views in it.
    pub(crate) fn holds(&self, views: ViewCounts) -> bool {
        self.views == Some(views)
    }

    /// As [`probe`] of its file.
    ///
    /// # Errors
    /// As [`probe`].
    pub(crate) fn probe(&self, spec: &ProbeSpec, show: Show) -> Result<Vec<ProbeRow>> {
        probe_opened(&self.source, &self.file, spec, show)
    }
}

fn probe_opened(source: &Source, file: &Path, spec: &ProbeSpec, show: Show) -> Result<Vec<ProbeRow>> {
    let features = source.file();
    let wanted = |g: &&String| {
        let (group, n) = kind(g);
        spec.module.is_none_or(|m| n == m || (n == 0 && !group.is_of_all()))
    };
    let names: Vec<String> = features.groups().map(str::to_owned).collect();
    let groups: Vec<&String> = names.iter().filter(wanted).collect();
    if let Some(m) = spec.module.filter(|m| !names.contains(&GroupId::Trained(*m).to_string())) {
        let modules = names.iter().filter(|name| kind(name).0 == Group::Trained).count();
        return Err(no_such_module(m, modules));
    }
    if !features.tasks().any(|label| label == spec.task.label()) {
        let there: Vec<String> = features.tasks().map(str::to_owned).collect();
        let what = no_such_labels(spec.task.name(), there.iter());
        return Err(Error::file(file, what, "name labels that it has"));
    }
    let labels = features.labels(spec.task.label())?;
    if labels.classes < 2 {
        return Err(one_class(file, spec.task, labels.values.len()));
    }
    let mut progress = Progress::new(groups.len() as u64, "probes", show);
    let mut rows = Vec::new();
    for (done, name) in groups.iter().enumerate() {
        let row = source.probe(file, spec, name, show)?;
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

/// Says that features are not in memory.
fn note_streamed(group: &str, examples: &Examples) {
    if let Some(need) = examples.streamed() {
        let megabytes = need as f64 / 1e6;
        note(format_args!("{group}: {megabytes:.1} MB exceed probe.memory_mb, so features are read in blocks"));
    }
}

/// What probes read.
enum Source {
    /// Whole items.
    Whole(FeatureFile),
    /// Random views of them.
    Views(ViewFile),
}

impl Source {
    fn file(&self) -> &FeatureFile {
        match self {
            Self::Whole(file) => file,
            Self::Views(views) => views.file(),
        }
    }

    /// Probes one group.
    fn probe(&self, file: &Path, spec: &ProbeSpec, group: &str, show: Show) -> Result<ProbeRow> {
        let (made, task) = (self.file().provenance(), spec.task.label());
        let silence = self.file().labels(task)?.silence;
        let key = Key::new(made.seed, Purpose::Probe);
        let examples = match self {
            Self::Whole(features) => features.examples(group, task)?,
            Self::Views(views) => views.train(group, task, 0)?,
        };
        if show != Show::Quiet {
            note_streamed(group, &examples);
        }
        let train = examples.train_with_labels(spec.labels, key)?;
        if train.n_rows() > 0 && train.labels().iter().all(|c| *c == train.labels()[0]) {
            return Err(one_class(file, spec.task, train.n_rows()));
        }
        let row = |score: &Score, views| row(spec, kind(group), &train, score, views, made);
        match self {
            Self::Whole(_) => {
                let test = examples.part(Split::Test);
                let Some(probe) = spec.fitted(&train) else {
                    let began = Instant::now();
                    let score = Knn::default().evaluate(&train, &test, silence)?;
                    return Ok(ProbeRow { seconds: began.elapsed().as_secs_f64(), ..row(&score, None) });
                };
                let fitted = probe.fit(&train, key)?;
                Ok(with_fit(row(&fitted.evaluate(&test, silence)?, None), &fitted))
            }
            Self::Views(views) => {
                let fitted =
                    spec.paper().fit_views(views.views(), spec.labels, key, |view| views.train(group, task, view))?;
                let test = views.test(group, task)?;
                let score = fitted.evaluate(&test.part(Split::Test), silence)?;
                Ok(with_fit(row(&score, Some(ViewCounts::of(views))), &fitted))
            }
        }
    }
}

impl ProbeSpec {
    /// The paper's probe for the task.
    fn paper(&self) -> PaperProbe {
        PaperProbe { head: self.head, ..PaperProbe::of(self.task) }
    }

    /// The probe to fit; none for neighbors.
    fn fitted(&self, train: &Part<'_>) -> Option<Probe> {
        match self.protocol {
            Protocol::Knn => None,
            Protocol::Paper => Some(Probe::Paper(self.paper())),
            Protocol::Converged => Some(Probe::Converged(converged(train))),
        }
    }
}

/// The row of a score over whole items, or over the views of a file, without a fit.
fn row(
    spec: &ProbeSpec,
    (group, module): (Group, usize),
    train: &Part<'_>,
    score: &Score,
    views: Option<ViewCounts>,
    made: &Provenance,
) -> ProbeRow {
    ProbeRow {
        group,
        module,
        task: spec.task,
        protocol: spec.protocol,
        head: spec.head,
        views: views.map(|v| v.train),
        test_views: views.map(|v| v.test),
        labels: spec.labels,
        pooling: made.pooling,
        dims: train.dims(),
        train_rows: train.n_rows(),
        test_rows: score.rows / views.map_or(1, |v| v.test),
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
        // Baselines depend on no weights.
        step: made.step.filter(|_| group.is_learned()),
        checkpoint: Some(&made.checkpoint).filter(|c| group.is_learned() && !c.is_empty()).cloned(),
    }
}

/// The row with how its fit went.
fn with_fit(row: ProbeRow, fitted: &FittedProbe) -> ProbeRow {
    ProbeRow {
        l2: fitted.l2(),
        iterations: fitted.iterations(),
        converged: fitted.converged(),
        seconds: fitted.seconds(),
        ..row
    }
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
        Group::All => Some("all modules".into()),
        Group::AllRandom => Some("all random".into()),
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

/// How a probe was made, for tables: the protocol, and in what it differs from the published one.
pub(crate) fn how(protocol: Protocol, head: Head, task: Task, views: Option<usize>) -> String {
    let mut out = protocol.to_string();
    if head != Head::Linear {
        out += &format!(", {head}");
    }
    if let Some(note) = views_note(protocol, task, views) {
        out += &format!(", {note}");
    }
    out
}

/// What views a probe of the paper's protocol took turns with, where they are not the published ones.
pub(crate) fn views_note(protocol: Protocol, task: Task, views: Option<usize>) -> Option<String> {
    let epochs = PaperProbe::of(task).view_epochs().filter(|_| protocol == Protocol::Paper)?;
    match views {
        Some(v) if v >= epochs => None,
        Some(1) => Some("1 view".into()),
        Some(v) => Some(format!("{v} views")),
        None => Some("no random views".into()),
    }
}

/// How many of these probes were cut off before they converged, for the user to read; `None` if none.
pub(crate) fn stopped(rows: &[ProbeRow]) -> Option<String> {
    let fitted = rows.iter().filter(|row| row.protocol == Protocol::Converged);
    let (all, stopped) = fitted.fold((0, 0), |(all, n), row| (all + 1, n + usize::from(!row.converged)));
    (stopped > 0).then(|| stopped_of(stopped, all))
}

/// That some of all probes were cut off.
pub(crate) fn stopped_of(stopped: usize, all: usize) -> String {
    format!(
        "{stopped} of these {all} probes stopped at {MOST_ITERATIONS} iterations, before they reached their tolerance."
    )
}

/// The rows as an aligned table, in percent.
pub(crate) fn print(rows: &[ProbeRow]) -> String {
    let mut out = format!(
        "{:<12} {:<9} {:<24} {:>5} {:>8} {:>11} {:>8} {:>8} {:>8}\n",
        "features", "task", "protocol", "dims", "all %", "no silence", "macro", "top-5", "majority"
    );
    let percent = |x: f64| format!("{:.1}", 100.0 * x);
    let maybe = |x: Option<f64>| x.map_or("–".into(), percent);
    for r in rows {
        let Some(name) = name(r.group, r.module) else { continue };
        out += &format!(
            "{name:<12} {:<9} {:<24} {:>5} {:>8} {:>11} {:>8} {:>8} {:>8}\n",
            r.task,
            how(r.protocol, r.head, r.task, r.views),
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
