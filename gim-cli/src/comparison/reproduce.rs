//! A whole comparison by one command: train, extract, probe, draw, tabulate, for several seeds. What is done is not done again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use gim_core::{Error, Pool, Result};
use gim_eval::table;

use crate::comparison::claims;
use crate::comparison::memory::{self, Peak};
use crate::comparison::summary::{self, Ablation, Summary, reported, signed, with};
use crate::comparison::sweep::{Entry, Sweep};
use crate::experiment::config::Config;
use crate::experiment::domain::DOMAINS;
use crate::experiment::environment::{Environment, TrainedOn};
use crate::experiment::probe::{ProbeSpec, Row};
use crate::experiment::progress::Mode as Show;
use crate::experiment::{extract, probe, train};
use crate::report::draw;
use crate::report::page::{self as report, Report};
use gim_core::files::{create_folder, write_atomic};
use gim_eval::{Group, TrainRow};

/// What one invocation does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the comparison, for titles.
    pub name: String,
    /// Its runs.
    pub sweep: Sweep,
    /// Folder for runs, tables, figures and the report.
    pub out: PathBuf,
    /// Changes to every run.
    pub set: Vec<String>,
    /// How much of it is made.
    pub scope: Scope,
}

/// How much is made of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What is missing, then tables, figures and page.
    Whole,
    /// Tables, figures and page of the runs that are finished; trains and probes nothing.
    Finished,
    /// What the regression check lacks: runs and their probes with all labels. No tables, figures or page.
    RegressionCheck,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Every probe of every run.
    pub summary: Vec<Summary>,
    /// The ablations.
    pub ablations: Vec<Ablation>,
    /// Tables, figures and the report.
    pub files: Vec<PathBuf>,
}

/// The tables of a run: what its probes found, and its training curves.
const PROBES: &str = "probe.csv";
const CURVES: &str = "train.csv";
const ENVIRONMENT: &str = "environment.json";

/// Shares of the labels that methods are probed with besides all of them.
const LABEL_SHARES: [f64; 2] = [0.01, 0.1];

/// Protocols of a task's probes: pictures get a second opinion.
fn protocols(task: &str) -> &'static [&'static str] {
    if task == "classes" { &["converged", "paper", "knn"] } else { &["converged"] }
}

impl Plan {
    fn folder(&self, entry: &Entry, seed: u64) -> PathBuf {
        self.out.join(&entry.name).join(format!("seed-{seed}"))
    }

    /// Seeds of a run, from its configuration's on.
    fn seeds(&self, config: &Config) -> std::ops::Range<u64> {
        config.train.seed..config.train.seed + self.sweep.seeds
    }
}

/// Runs what is missing, and writes tables, figures and the report, as far as the plan says.
///
/// # Errors
/// Whatever stops a run; calling again goes on from there.
pub fn reproduce(plan: &Plan, show: Show) -> Result<Outcome> {
    create_folder(&plan.out)?;
    let mut summary = Vec::new();
    let mut pictures = Vec::new();
    let mut runs = Vec::new();
    let mut corpora = Corpora::of(plan)?;
    for (i, entry) in plan.sweep.run.iter().enumerate() {
        let config = entry.config(&plan.set)?;
        let mut rows: Vec<Row> = Vec::new();
        let mut folders = Vec::new();
        let wanted = wanted(entry, plan.scope)?;
        for seed in plan.seeds(&config) {
            let folder = plan.folder(entry, seed);
            if plan.scope == Scope::Finished && !is_finished(&wanted, &folder)? {
                continue;
            }
            if show != Show::Quiet {
                eprintln!("run {} of {}: {}, seed {seed}", i + 1, plan.sweep.run.len(), entry.name);
            }
            // Figures look at one seed of every method; the features of the others can be computed again.
            let drawn =
                plan.scope != Scope::RegressionCheck && entry.ablation_of.is_none() && seed == config.train.seed;
            let config = Config {
                train: crate::experiment::config::TrainConfig { seed, ..config.train.clone() },
                ..config.clone()
            };
            let baselines = entry.baselines.as_ref().map(|run| plan.out.join(run).join(format!("seed-{seed}")));
            let on = corpora.expected(&config);
            rows.extend(one_run(&wanted, &config, &folder, baselines.as_deref(), on, drawn, show)?);
            corpora.note(&config, &folder)?;
            folders.push(folder);
        }
        if folders.is_empty() {
            continue;
        }
        summary.extend(summary::summarise(entry, &rows));
        if entry.ablation_of.is_none() && plan.scope != Scope::RegressionCheck {
            let figures = plan.out.join(&entry.name).join("figures");
            let drawn = draw::draw(&folders, &figures)?;
            pictures.extend(and_earlier(drawn, &figures));
        }
        runs.push((entry.clone(), folders));
    }
    if runs.is_empty() {
        return Err(Error::file(&plan.out, "holds no finished run", "leave out --finished to make them"));
    }
    if plan.scope == Scope::RegressionCheck {
        return Ok(Outcome { ablations: summary::ablations(&plan.sweep.run, &summary), summary, files: Vec::new() });
    }
    let mut sweep = plan.sweep.clone();
    sweep.run.retain(|e| runs.iter().any(|r| r.0.name == e.name));
    let plan = &Plan { sweep, ..plan.clone() };
    let figures = plan.out.join("figures");
    let methods = methods(plan)?;
    let peaks = peaks(plan)?;
    let mut drawn = draw::compare(&runs, &figures)?;
    drawn.extend(draw::memory_of(&peaks, &methods, &figures)?);
    pictures.extend(and_earlier(drawn, &figures));
    let ablations = summary::ablations(&plan.sweep.run, &summary);
    let tables = write_tables(plan, &methods, &summary, &ablations, &peaks)?;
    let claims = claims::judge(&plan.sweep.run, &summary, &peaks);
    let report = Report {
        title: format!("Greedy InfoMax: {}", plan.name),
        environments: environments(&runs)?,
        summary: &summary,
        ablations: &ablations,
        peaks: &peaks,
        claims: &claims,
        folder: &plan.out,
        figures: &pictures,
        configurations: plan
            .sweep
            .run
            .iter()
            .map(|e| Ok((e.title.clone(), e.name.clone(), e.config(&plan.set)?.to_toml())))
            .collect::<Result<_>>()?,
    };
    let page = plan.out.join("report.html");
    write_atomic(&page, report::html(&report)?.as_bytes())?;
    write_atomic(&plan.out.join("README.md"), report::markdown(&report).as_bytes())?;
    let mut files: Vec<PathBuf> = pictures.into_iter().map(|p| p.path).collect();
    files.extend(tables);
    files.push(page);
    Ok(Outcome { summary, ablations, files })
}

/// What the runs of a comparison have learnt from: those that look at the same data must have found the same corpus there, or
/// differences between them would be differences between corpora.
struct Corpora(BTreeMap<(&'static str, String), TrainedOn>);

impl Corpora {
    /// Those of the runs that have been begun.
    fn of(plan: &Plan) -> Result<Self> {
        let mut corpora = Self(BTreeMap::new());
        for entry in &plan.sweep.run {
            let config = entry.config(&plan.set)?;
            for folder in plan.seeds(&config).map(|seed| plan.folder(entry, seed)) {
                if folder.join(ENVIRONMENT).is_file() {
                    corpora.note(&config, &folder)?;
                }
            }
        }
        Ok(corpora)
    }

    /// Domain and settings of the data.
    fn key(config: &Config) -> (&'static str, String) {
        let experiment = config.domain.experiment();
        let [(_, data), ..] = experiment.sections();
        (experiment.name(), data)
    }

    /// What a run of this configuration has to be trained on, when another says.
    fn expected(&self, config: &Config) -> Option<&TrainedOn> {
        self.0.get(&Self::key(config))
    }

    /// Takes down what a run was trained on.
    fn note(&mut self, config: &Config, folder: &Path) -> Result<()> {
        let Some(own) = Environment::of_run(folder)?.corpus else { return Ok(()) };
        match self.expected(config).filter(|other| other.digest != own.digest) {
            Some(other) => {
                let what = format!("was trained on {own}, other runs of this comparison on {other}");
                Err(Error::file(folder, what, "choose another --out, or remove the folders of one kind"))
            }
            None => {
                self.0.insert(Self::key(config), own);
                Ok(())
            }
        }
    }
}

/// The figures that were drawn, and those in the folder that were drawn earlier, from features that are gone now.
fn and_earlier(drawn: Vec<PathBuf>, folder: &Path) -> Vec<report::Drawn> {
    let mut there: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|f| Some(f.ok()?.path())).collect();
    there.sort();
    there.retain(|f| f.extension().is_some_and(|e| e == "png") && !drawn.contains(f));
    let as_drawn = |earlier| move |path| report::Drawn { path, earlier };
    drawn.into_iter().map(as_drawn(false)).chain(there.into_iter().map(as_drawn(true))).collect()
}

/// A run that is a method, no ablation.
#[derive(Debug, Clone)]
pub struct Method {
    /// Name of the run.
    pub run: String,
    /// Name of its domain.
    pub domain: &'static str,
    /// Size of its network and batch, in words.
    pub size: String,
}

fn methods(plan: &Plan) -> Result<Vec<Method>> {
    let methods = plan.sweep.run.iter().filter(|e| e.ablation_of.is_none());
    methods
        .map(|e| {
            let config = e.config(&plan.set)?;
            let experiment = config.domain.experiment();
            let size = format!("{}, batch {}", experiment.size_name(), config.train.batch);
            Ok(Method { run: e.name.clone(), domain: experiment.name(), size })
        })
        .collect()
}

/// Whether a run has learnt and all its probes have been made. Weights and features may be gone.
fn is_finished(wanted: &[ProbeSpec], folder: &Path) -> Result<bool> {
    Ok(folder.join(CURVES).is_file() && made_and_missing(wanted, folder)?.1.is_empty())
}

/// The rows of the probes that have been made, and those that have not, be it of one module.
fn made_and_missing(wanted: &[ProbeSpec], folder: &Path) -> Result<(Vec<Row>, Vec<ProbeSpec>)> {
    let (csv, curves) = (folder.join(PROBES), folder.join(CURVES));
    let made: Vec<Row> = if csv.is_file() { table::read_rows(&csv)? } else { Vec::new() };
    let learnt: Vec<TrainRow> = if curves.is_file() { table::read_rows(&curves)? } else { Vec::new() };
    let modules = learnt.iter().map(|r| r.module).max().unwrap_or(0);
    let mut missing = wanted.to_vec();
    missing.retain(|how| {
        let of = |m| made.iter().any(|r| how.made(r) && r.group == Group::Trained && r.module == m);
        !(1..=modules.max(1)).all(of)
    });
    Ok((made, missing))
}

/// Trains one seed of one run and makes the probes that are wanted, as far as that has not been done. Rows of the random encoder
/// and the input are those of the run in `baselines`, if there is one. It is trained on the corpus `on`, if one is known.
fn one_run(
    wanted: &[ProbeSpec],
    config: &Config,
    folder: &Path,
    baselines: Option<&Path>,
    on: Option<&TrainedOn>,
    keep_features: bool,
    show: Show,
) -> Result<Vec<Row>> {
    let made = folder.join("config.toml");
    let started = made.is_file();
    if started && Config::load(&made.to_string_lossy(), &[])? != *config {
        return Err(Error::file(
            folder,
            "holds a run of another configuration",
            "choose another --out, or remove this folder",
        ));
    }
    let (mut done, missing) = made_and_missing(wanted, folder)?;
    let features = folder.join("features.h5");
    // Tables and curves may be all that was kept of a run.
    if !missing.is_empty() || !folder.join(CURVES).is_file() {
        if !started || !train::is_complete(folder, config)? {
            train::train(
                config,
                folder,
                started,
                on.map_or(train::CorpusPolicy::Begun, train::CorpusPolicy::Only),
                show,
            )?;
        }
        let shared: Vec<Row> = baselines.map_or(Ok(Vec::new()), |run| table::read_rows(run.join(PROBES)))?;
        extract::features_of(folder, baselines.is_none(), false, show)?;
        if keep_features {
            extract::snapshots(folder, &features, false, show)?;
        }
        for how in &missing {
            if train::STOP.load(Ordering::Relaxed) {
                let (.., step) = train::open(folder, &Pool::new())?;
                let remedy = "what has been trained and probed is saved; the same command goes on".into();
                return Err(Error::Interrupted { step, remedy });
            }
            let mut rows = probe::probe(&features, how, show)?;
            rows.extend(beside(&rows, shared.iter().filter(|r| how.made(r)), folder)?);
            done = probe::merge(&folder.join(PROBES), &rows)?;
        }
    }
    if !keep_features && features.is_file() {
        std::fs::remove_file(&features).map_err(|e| Error::io(&features, "remove features that are used up", &e))?;
    }
    Ok(done)
}

/// All probes of a run.
fn wanted(entry: &Entry, scope: Scope) -> Result<Vec<ProbeSpec>> {
    // Label efficiency is of methods; ablations are judged with all labels.
    let few = entry.ablation_of.is_none() && scope != Scope::RegressionCheck;
    let shares: &[f64] = if few { &LABEL_SHARES } else { &[] };
    let mut all = Vec::new();
    for task in entry.tasks()? {
        let how =
            |protocol: &str, labels| ProbeSpec { task: task.clone(), protocol: protocol.into(), module: None, labels };
        all.extend(protocols(&task).iter().map(|p| how(p, 1.0)));
        all.extend(shares.iter().map(|s| how("converged", *s)));
    }
    Ok(all)
}

/// The rows of `others` that belong beside `rows`: those of the input, and of the random encoder at the same modules, where
/// `rows` lacks them.
fn beside<'a>(rows: &[Row], others: impl Iterator<Item = &'a Row>, folder: &Path) -> Result<Vec<Row>> {
    let mut out = Vec::new();
    let lacks = |o: &&Row| !rows.iter().any(|r| (r.group, r.module) == (o.group, o.module));
    for other in others.filter(|o| o.group != Group::Trained).filter(lacks) {
        match rows.iter().find(|r| r.group == Group::Trained && r.module == other.module) {
            Some(own) if own.dims != other.dims => {
                let what = format!(
                    "module {} has {} features, that of the run which its baselines come from {}",
                    own.module, own.dims, other.dims
                );
                return Err(Error::file(
                    folder,
                    what,
                    "remove `baselines` from this run's list, so that it makes its own",
                ));
            }
            None if other.module > 0 => {}
            _ => out.push(other.clone()),
        }
    }
    Ok(out)
}

/// Memory of the methods, measured on one step of each.
fn peaks(plan: &Plan) -> Result<Vec<Peak>> {
    let csv = plan.out.join("table_memory.csv");
    if csv.is_file() {
        let rows: Vec<Peak> = table::read_rows(&csv)?;
        let methods = plan.sweep.run.iter().filter(|e| e.ablation_of.is_none());
        if methods.clone().all(|e| rows.iter().any(|r| r.run == e.name)) {
            return Ok(rows);
        }
    }
    let mut rows = Vec::new();
    for entry in plan.sweep.run.iter().filter(|e| e.ablation_of.is_none()) {
        rows.extend(memory::peaks(entry, &entry.config(&plan.set)?)?);
    }
    Ok(rows)
}

fn write_tables(
    plan: &Plan,
    methods: &[Method],
    summary: &[Summary],
    ablations: &[Ablation],
    peaks: &[Peak],
) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for domain in DOMAINS {
        let of = |s: &&Summary| methods.iter().any(|m| m.run == s.run && m.domain == domain);
        let rows: Vec<&Summary> = summary.iter().filter(of).collect();
        if !rows.is_empty() {
            let path = plan.out.join(format!("table_{domain}.csv"));
            table::write_rows(&path, &rows)?;
            written.push(path);
        }
    }
    if !ablations.is_empty() {
        written.push(plan.out.join("table_ablations.csv"));
        table::write_rows(plan.out.join("table_ablations.csv"), ablations)?;
    }
    written.push(plan.out.join("table_memory.csv"));
    table::write_rows(plan.out.join("table_memory.csv"), peaks)?;
    Ok(written)
}

/// What each run was made with, and how long it took: name, environment, seconds of training.
fn environments(runs: &[(Entry, Vec<PathBuf>)]) -> Result<Vec<report::Made>> {
    let mut out = Vec::new();
    for (entry, folders) in runs {
        for folder in folders {
            let environment = Environment::of_run(folder)?;
            let seconds = table::read_rows::<TrainRow>(folder.join(CURVES))?.last().and_then(|r| r.seconds);
            out.push(report::Made { run: entry.name.clone(), environment, seconds });
        }
    }
    Ok(out)
}

/// The outcome for people: every method's modules, then the ablations.
pub fn print(outcome: &Outcome) -> String {
    let mut out = format!(
        "{:<34} {:<9} {:<10} {:<11} {:>13} {:>13} {:>12} {:>9}\n",
        "run", "task", "protocol", "features", "all %", "no silence %", "over random", "paper"
    );
    for (i, s) in outcome.summary.iter().enumerate() {
        let Some(name) = s.features() else { continue };
        let again = outcome.summary.iter().take(i).any(|o| o.covers_baseline(s));
        if again {
            continue;
        }
        out += &format!(
            "{:<34} {:<9} {:<10} {name:<11} {:>13} {:>13} {:>12} {:>9}\n",
            s.run,
            s.task,
            s.protocol,
            with(s.accuracy, s.accuracy_ci95),
            s.no_silence.map_or("–".into(), |m| with(m, s.no_silence_ci95)),
            s.over_random.map_or(String::new(), |d| format!("{d:+.1}")),
            reported(s.paper, s.paper_mark.as_deref()),
        );
    }
    for a in &outcome.ablations {
        out += &format!(
            "{:<34} {:<9} {:<10} module {:<4} {:>13}, {} against {} ({:.1})\n",
            a.run,
            a.task,
            a.protocol,
            a.module,
            with(a.accuracy, a.accuracy_ci95),
            signed(a.difference, a.difference_ci95),
            a.ablation_of,
            a.reference
        );
    }
    out
}
