//! Runs a whole comparison: train, extract and probe for several seeds, then summarize. Finished
//! work is not repeated.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use gim_core::{Error, Result};
use gim_eval::{Protocol, Task};

use crate::comparison::ablations::{Ablation, ablations};
use crate::comparison::comparison_dir::ComparisonDir;
use crate::comparison::seed_run::{SeedRun, is_finished};
use crate::comparison::summary::{self, Summary};
use crate::comparison::sweep::{Entry, Sweep};
use crate::experiment::config::Config;
use crate::experiment::domain::{DomainKind, no_such_labels};
use crate::experiment::environment::TrainedOn;
use crate::experiment::probe::ProbeSpec;
use crate::experiment::progress::Mode as Show;
use crate::experiment::run_dir::RunDir;
use crate::experiment::train_config::TrainConfig;
use crate::output::note;

/// A comparison to run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Name of the comparison, for titles.
    pub name: String,
    /// Its runs.
    pub sweep: Sweep,
    /// Folder for runs, tables, figures and the report.
    pub out: ComparisonDir,
    /// Overrides of the settings of every run.
    pub set: Vec<String>,
    /// How much of it to run.
    pub scope: Scope,
}

/// How much of a comparison to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that is missing, then tables, figures and page.
    Whole,
    /// Tables, figures and page of the finished runs, without training or probing.
    Finished,
    /// Runs and their probes with all labels: what the regression check needs.
    RegressionCheck,
}

/// Results of a comparison.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The finished runs, with a folder for each seed.
    pub runs: Vec<FinishedRun>,
    /// Every probe of every run.
    pub summary: Vec<Summary>,
    /// The ablations.
    pub ablations: Vec<Ablation>,
}

/// A run of a comparison, after training and probing.
#[derive(Debug, Clone)]
pub(crate) struct FinishedRun {
    /// Its entry in the list of runs.
    pub entry: Entry,
    /// Configuration of its first seed.
    pub config: Config,
    /// Folders of its seeds.
    pub seeds: Vec<RunDir>,
}

impl FinishedRun {
    /// Whether it is a method, not an ablation.
    pub(crate) fn is_method(&self) -> bool {
        self.entry.ablation_of.is_none()
    }

    /// Domain of the run.
    pub(crate) fn domain(&self) -> DomainKind {
        self.config.domain.kind()
    }
}

/// Protocols of a task's probes.
fn protocols(task: Task) -> &'static [Protocol] {
    match task {
        Task::Classes | Task::Column(_) => &[Protocol::Converged, Protocol::Paper, Protocol::Knn],
        Task::Phones | Task::Speakers => &[Protocol::Converged, Protocol::Paper],
    }
}

impl Plan {
    /// Seeds of a run; the first is the one in its configuration.
    pub(super) fn seeds(&self, config: &Config) -> std::ops::Range<u64> {
        config.train.seed..config.train.seed + self.sweep.seeds
    }

    /// Whether figures show a run of this entry and seed, and its features are kept.
    pub(super) fn is_in_figures(&self, entry: &Entry, seed: u64, first: u64) -> bool {
        self.scope != Scope::RegressionCheck && entry.ablation_of.is_none() && seed == first
    }
}

/// Makes the missing runs within the plan's scope, and summarizes all. The plan's folder exists and is
/// locked.
///
/// # Errors
/// The error that stopped a run. Calling again resumes it.
pub(crate) fn reproduce(plan: &Plan, show: Show) -> Result<Outcome> {
    let (mut summary, mut runs) = (Vec::new(), Vec::new());
    let mut corpora = Corpora::of(plan)?;
    if plan.scope != Scope::Finished {
        check_columns(plan)?;
    }
    for (i, entry) in plan.sweep.run.iter().enumerate() {
        let config = entry.config(&plan.set)?;
        let (mut rows, mut seeds) = (Vec::new(), Vec::new());
        let wanted = wanted(entry, plan)?;
        let first = config.train.seed;
        for seed in plan.seeds(&config) {
            let run = plan.out.run(&entry.name, seed);
            if plan.scope == Scope::Finished && !is_finished(&wanted, &run, &config)? {
                continue;
            }
            if show != Show::Quiet {
                note(format_args!("run {} of {}: {}, seed {seed}", i + 1, plan.sweep.run.len(), entry.name));
            }
            let config = Config { train: TrainConfig { seed, ..config.train.clone() }, ..config.clone() };
            let seed_run = SeedRun {
                wanted: &wanted,
                run: &run,
                baselines: entry.baselines.as_ref().map(|name| plan.out.run(name, seed)),
                trained_on: corpora.expected(&config),
                keep_features: plan.is_in_figures(entry, seed, first),
                config: &config,
            };
            rows.extend(seed_run.finish(show)?);
            corpora.note(&config, &run)?;
            seeds.push(run);
        }
        if !seeds.is_empty() {
            summary.extend(summary::summarize(entry, config.domain.kind(), &rows));
            runs.push(FinishedRun { entry: entry.clone(), config, seeds });
        }
    }
    if runs.is_empty() {
        return Err(Error::file(plan.out.path(), "holds no finished run", "omit --finished to train them"));
    }
    let ablations = ablations(&plan.sweep.run, &summary);
    Ok(Outcome { runs, summary, ablations })
}

/// Refuses columns of labels that a dataset lacks, before anything is trained. Each dataset is opened once.
fn check_columns(plan: &Plan) -> Result<()> {
    let mut known = BTreeMap::new();
    for entry in &plan.sweep.run {
        let columns = entry.columns()?;
        if columns.is_empty() {
            continue;
        }
        let config = entry.config(&plan.set)?;
        let classes = match known.entry(Corpora::key(&config)) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => slot.insert(config.domain.dataset().classes()?),
        };
        if let Some(task) = columns.iter().find(|task| !classes.contains_key(task.label())) {
            let what = format!("{} has {}", entry.name, no_such_labels(task.name(), classes.keys()));
            return Err(Error::config("tasks", what, "name labels that its dataset has"));
        }
    }
    Ok(())
}

/// Removes the features that figures were drawn from. They are many times as large as all else, and the
/// weights give them again.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn remove_features(outcome: &Outcome) -> Result<()> {
    for run in outcome.runs.iter().flat_map(|run| &run.seeds).filter(|run| run.has_features()) {
        let _lock = run.lock()?;
        run.remove_features()?;
        run.remove_snapshots()?;
    }
    Ok(())
}

/// The datasets that the runs were trained on. Runs with the same data settings must have read the
/// same dataset, or their results could not be compared.
pub(super) struct Corpora(BTreeMap<(DomainKind, String), TrainedOn>);

impl Corpora {
    /// The datasets of the runs that have started.
    pub(super) fn of(plan: &Plan) -> Result<Self> {
        let mut corpora = Self(BTreeMap::new());
        for entry in &plan.sweep.run {
            let config = entry.config(&plan.set)?;
            for run in plan.seeds(&config).map(|seed| plan.out.run(&entry.name, seed)) {
                if run.has_environment() {
                    corpora.note(&config, &run)?;
                }
            }
        }
        Ok(corpora)
    }

    /// Domain and settings of the data.
    fn key(config: &Config) -> (DomainKind, String) {
        let [(_, data), ..] = config.domain.sections();
        (config.domain.kind(), data)
    }

    /// The dataset that a run of this configuration must use, if another run has used one.
    pub(super) fn expected(&self, config: &Config) -> Option<&TrainedOn> {
        self.0.get(&Self::key(config))
    }

    /// Records the dataset that a run was trained on.
    fn note(&mut self, config: &Config, run: &RunDir) -> Result<()> {
        let Some(own) = run.trained_on()? else { return Ok(()) };
        match self.expected(config).filter(|other| other.digest != own.digest) {
            Some(other) => {
                let what = format!("was trained on {own}, other runs of this comparison on {other}");
                Err(Error::file(run.path(), what, "choose another --out, or remove the folders of one kind"))
            }
            None => {
                self.0.insert(Self::key(config), own);
                Ok(())
            }
        }
    }
}

/// The probes that a run needs.
pub(super) fn wanted(entry: &Entry, plan: &Plan) -> Result<Vec<ProbeSpec>> {
    // Methods are also evaluated with few labels; ablations with all labels only.
    let few = entry.ablation_of.is_none() && plan.scope != Scope::RegressionCheck;
    let shares: &[f64] = if few { &plan.sweep.label_shares } else { &[] };
    let mut all = Vec::new();
    for task in entry.tasks()? {
        let spec = |protocol| ProbeSpec::new(task, protocol, plan.sweep.views);
        all.extend(protocols(task).iter().map(|p| spec(*p)));
        all.extend(shares.iter().map(|labels| ProbeSpec { labels: *labels, ..spec(Protocol::Converged) }));
    }
    // Tables that were kept without weights may be of other views, or older than they.
    if plan.scope == Scope::Finished {
        all.retain(|spec| spec.protocol != Protocol::Paper);
    }
    Ok(all)
}
