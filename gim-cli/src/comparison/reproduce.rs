//! Runs a whole comparison: train, extract and probe for several seeds, then summarize. Finished
//! work is not repeated.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use gim_core::{Error, Pool, Result};
use gim_eval::{Group, ProbeRow, Protocol, Task};

use crate::comparison::ablations::{Ablation, ablations};
use crate::comparison::comparison_dir::ComparisonDir;
use crate::comparison::summary::{self, Summary};
use crate::comparison::sweep::{Entry, Sweep};
use crate::experiment::config::Config;
use crate::experiment::domain::{DomainKind, no_such_labels};
use crate::experiment::environment::TrainedOn;
use crate::experiment::probe::{Opened, ProbeSpec};
use crate::experiment::probe_config::Contents;
use crate::experiment::progress::Mode as Show;
use crate::experiment::run_dir::RunDir;
use crate::experiment::train::{DatasetPolicy, Start};
use crate::experiment::train_config::TrainConfig;
use crate::experiment::views::{ViewCounts, views_of};
use crate::experiment::{extract, final_rows, interrupt, train};
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

/// Whether a run has been trained and has all its probes. Weights and features may be missing.
fn is_finished(wanted: &[ProbeSpec], run: &RunDir, config: &Config) -> Result<bool> {
    Ok(run.has_curves() && made_and_missing(wanted, run, config)?.1.is_empty())
}

/// The rows of the finished probes of the final weights, and the probes that lack a module.
fn made_and_missing(wanted: &[ProbeSpec], run: &RunDir, config: &Config) -> Result<(Vec<ProbeRow>, Vec<ProbeSpec>)> {
    let made = if run.has_probes() { final_rows::of_final_weights(run, config)? } else { Vec::new() };
    let curves = if run.has_curves() { run.train_rows()? } else { Vec::new() };
    let modules = curves.iter().map(|r| r.module).max().unwrap_or(0);
    let mut missing = wanted.to_vec();
    missing.retain(|spec| {
        let of = |m| made.iter().any(|r| spec.made(r) && r.group == Group::Trained && r.module == m);
        !(1..=modules.max(1)).all(of)
    });
    Ok((made, missing))
}

/// One seed of one run, and what it needs.
pub(super) struct SeedRun<'a> {
    pub(super) config: &'a Config,
    pub(super) run: &'a RunDir,
    pub(super) wanted: &'a [ProbeSpec],
    /// The run whose baselines (random encoder and input) this run shares, if any.
    pub(super) baselines: Option<RunDir>,
    /// The dataset it must be trained on, if known.
    pub(super) trained_on: Option<&'a TrainedOn>,
    pub(super) keep_features: bool,
}

impl SeedRun<'_> {
    /// Does the training and probes that are missing. Returns the rows of all probes.
    pub(super) fn finish(&self, show: Show) -> Result<Vec<ProbeRow>> {
        let run = self.run;
        if run.is_begun() && run.config()? != *self.config {
            let what = "holds a run of another configuration";
            return Err(Error::file(run.path(), what, "choose another --out, or remove this folder"));
        }
        let (mut done, missing) = made_and_missing(self.wanted, run, self.config)?;
        let mut lock = None;
        // A finished run may have kept its tables and curves only.
        if !missing.is_empty() || !run.has_curves() {
            self.train(show)?;
            lock = Some(run.lock()?);
            let features = extract::features_of(run, self.contents(), false, show)?;
            if self.keep_features {
                extract::snapshots(run, &features, &run.snapshots_file(), false, show)?;
            }
            // Opening a file reads all of it.
            let (mut whole, mut viewed) = (None, None);
            for spec in &missing {
                let source = match spec.views {
                    None => match &mut whole {
                        Some(opened) => &*opened,
                        empty => &*empty.insert(Opened::new(features.clone(), None, self.config.probe.budget())?),
                    },
                    Some(counts) => self.views(&mut viewed, counts, show)?,
                };
                done = self.probe(source, spec, show)?;
            }
        }
        // Others may read what is removed here.
        let _lock = lock.map_or_else(|| run.lock(), Ok)?;
        if !self.keep_features {
            run.remove_features()?;
        }
        // No figure needs them, and they are many times as large as the features.
        run.remove_views()?;
        Ok(done)
    }

    /// What its feature files hold.
    fn contents(&self) -> Contents {
        Contents { baselines: self.baselines.is_none(), ..self.config.probe.contents() }
    }

    /// Runs the remaining training steps.
    fn train(&self, show: Show) -> Result<()> {
        let begun = self.run.is_begun();
        if !begun || !train::is_complete(self.run, self.config)? {
            let policy = self.trained_on.map_or(DatasetPolicy::Begun, DatasetPolicy::Only);
            let start = if begun { Start::Resume } else { Start::New };
            train::train(self.config, self.run, start, policy, show, None)?;
        }
        Ok(())
    }

    /// The file of so many views, from `open` if it is the one.
    fn views<'o>(&self, open: &'o mut Option<Opened>, counts: ViewCounts, show: Show) -> Result<&'o Opened> {
        if open.as_ref().is_none_or(|o| !o.holds(counts)) {
            // Closed before it is made anew.
            *open = None;
            let file = views_of(self.run, counts, self.contents(), false, show)?;
            *open = Some(Opened::new(file, Some(counts), self.config.probe.budget())?);
        }
        open.as_ref().ok_or_else(|| Error::internal("views", "were not opened"))
    }

    /// Runs a probe of a file. Returns the rows of all probes so far.
    fn probe(&self, opened: &Opened, spec: &ProbeSpec, show: Show) -> Result<Vec<ProbeRow>> {
        if interrupt::requested() {
            let (.., step) = train::open(self.run, &Pool::new())?;
            let remedy = "finished work is saved; the same command resumes".into();
            return Err(Error::Interrupted { step, remedy });
        }
        let mut rows = opened.probe(spec, show)?;
        if let Some(baselines) = &self.baselines {
            let shared = baselines.probe_rows()?;
            rows.extend(beside(&rows, shared.iter().filter(|r| spec.made(r)), self.run)?);
        }
        self.run.merge_probe_rows(&rows)?;
        final_rows::of_final_weights(self.run, self.config)
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

/// The baseline rows of `others` that `rows` lacks: those of the input, and of the random encoder at
/// the same modules.
fn beside<'a>(rows: &[ProbeRow], others: impl Iterator<Item = &'a ProbeRow>, run: &RunDir) -> Result<Vec<ProbeRow>> {
    let mut out = Vec::new();
    let lacks = |o: &&ProbeRow| !rows.iter().any(|r| (r.group, r.module) == (o.group, o.module));
    for other in others.filter(|o| o.group != Group::Trained).filter(lacks) {
        match rows.iter().find(|r| r.group == Group::Trained && r.module == other.module) {
            Some(own) if own.dims != other.dims => {
                let what = format!(
                    "module {} has {} features, but {} in the run that its baselines come from",
                    own.module, own.dims, other.dims
                );
                return Err(Error::file(
                    run.path(),
                    what,
                    "remove `baselines` from this run in the list, so that it makes its own",
                ));
            }
            None if other.module > 0 => {}
            _ => out.push(other.clone()),
        }
    }
    Ok(out)
}
