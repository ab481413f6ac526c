//! The page of any runs, as `gim report` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, PathBuf};

use gim_core::Result;
use gim_core::loss::LossKind;
use gim_eval::{ProbeRow, Task};

use super::compare;
use super::comparison::{environments, save};
use super::draw::{draw_features, draw_rows, losses_of};
use super::figure_file::FigureFile;
use super::links::Links;
use super::page::{Page, Report};
use super::tables::Section;
use crate::comparison::comparison_dir::ComparisonDir;
use crate::comparison::reproduce::FinishedRun;
use crate::comparison::summary::{Summary, summarize};
use crate::comparison::sweep::Entry;
use crate::experiment::config::{Config, flat};
use crate::experiment::domain::DomainKind;
use crate::experiment::final_rows;
use crate::experiment::fingerprint::may_change;
use crate::experiment::run_dir::RunDir;
use crate::figures::{LossByModule, LossRun, loss_by_module};
use crate::output::count;
use crate::template::table::Table;

/// The setting in which the seeds of one method differ.
const SEED: &str = "train.seed";

/// Settings by `section.key`, as text.
type Settings = BTreeMap<String, String>;

/// Writes figures and page of `runs` into the folder `out`. Returns the page's file.
///
/// # Errors
/// When a file of a run cannot be read, or a file cannot be written.
pub(crate) fn write(runs: Vec<RunDir>, out: PathBuf) -> Result<PathBuf> {
    let runs = distinct(runs);
    let out = ComparisonDir::new(out);
    let mut methods = methods(&runs)?;
    let rows: Vec<Vec<ProbeRow>> = methods.iter().map(|m| compare::rows_of(m, probes)).collect::<Result<_>>()?;
    for (method, rows) in methods.iter_mut().zip(&rows) {
        // Its tasks are those that it was probed for.
        let tasks: BTreeSet<Task> = rows.iter().map(|row| row.task).collect();
        method.entry.tasks = Some(tasks.into_iter().collect());
    }
    let _lock = out.lock()?;
    let mut figures = losses(&methods, &out)?;
    let probed: Vec<_> = methods.iter().zip(rows).collect();
    figures.extend(compare::errors(&probed, &out.figures())?);
    let mut lead = lead(&methods);
    for method in &methods {
        let folder = out.figures_of(&method.entry);
        let trained: Vec<RunDir> = method.seeds.iter().filter(|s| s.has_curves()).cloned().collect();
        if !trained.is_empty() {
            figures.extend(draw_rows(&trained, &folder)?);
        }
        // A report needs no dataset, and features may be older than the weights.
        if let Some(run) = method.seeds.iter().find(|s| s.has_features()) {
            match draw_features(run, &folder) {
                Ok(drawn) => figures.extend(drawn),
                Err(e) => lead.push(format!("Without figures of the features of {}: {e}.", run.path().display())),
            }
        }
    }
    let summary: Vec<Summary> =
        probed.iter().flat_map(|(method, rows)| summarize(&method.entry, method.domain(), rows)).collect();
    let figures: Vec<_> = figures.into_iter().map(|path| FigureFile { path, earlier: false }).collect();
    let configuration = |m: &FinishedRun| (m.entry.title.clone(), m.entry.name.clone(), m.config.to_toml());
    let report = Report {
        title: if runs.len() == 1 { methods[0].entry.title.clone() } else { count(runs.len(), "run") },
        environments: environments(&known(&methods))?,
        summary: &summary,
        ablations: &[],
        peaks: &[],
        lead,
        claims: &[],
        further: differences(&methods).into_iter().collect(),
        links: Links::new(&methods, out.path()),
        folder: out.path(),
        figures: &figures,
        configurations: methods.iter().map(configuration).collect(),
    };
    save(&Page::new(report)?, &out)
}

/// The runs, each once, whatever it is called.
fn distinct(runs: Vec<RunDir>) -> Vec<RunDir> {
    let mut seen = BTreeSet::new();
    runs.into_iter().filter(|run| seen.insert(real(run))).collect()
}

/// Runs that differ in their seed alone are seeds of one method.
fn methods(runs: &[RunDir]) -> Result<Vec<FinishedRun>> {
    let mut methods: Vec<(Settings, BTreeSet<u64>, FinishedRun)> = Vec::new();
    for (run, name) in runs.iter().zip(short_names(runs)) {
        let config = run.config()?;
        let mut own = settings(&config);
        own.retain(|key, _| key != SEED && !may_change(key));
        let seed = config.train.seed;
        match methods.iter_mut().find(|(settings, seeds, _)| *settings == own && !seeds.contains(&seed)) {
            Some((_, seeds, method)) => {
                seeds.insert(seed);
                method.entry.title += &format!(", {name}");
                method.seeds.push(run.clone());
            }
            None => {
                let method = FinishedRun { entry: entry(name), config, seeds: vec![run.clone()] };
                methods.push((own, BTreeSet::from([seed]), method));
            }
        }
    }
    Ok(methods.into_iter().map(|m| m.2).collect())
}

/// What tables call a run.
fn entry(name: String) -> Entry {
    Entry {
        title: name.clone(),
        name,
        preset: String::new(),
        paper: None,
        ablation_of: None,
        baselines: None,
        tasks: None,
        set: Vec::new(),
    }
}

/// The probes of a run's newest weights; none of a run that has none.
fn probes(run: &RunDir) -> Result<Vec<ProbeRow>> {
    if run.has_probes() { final_rows::current(run) } else { Ok(Vec::new()) }
}

/// The folder of a run without links and `..`, where that is known.
fn real(run: &RunDir) -> PathBuf {
    run.path().canonicalize().unwrap_or_else(|_| run.path().to_owned())
}

/// The last folders of each path, as many as it takes to tell the runs apart.
fn short_names(runs: &[RunDir]) -> Vec<String> {
    let folders = |path: PathBuf| -> Vec<String> {
        let names = path.components().filter(|c| matches!(c, Component::Normal(_)));
        names.map(|c| c.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let paths: Vec<Vec<String>> = runs.iter().map(|run| folders(real(run))).collect();
    let longest = paths.iter().map(Vec::len).max().unwrap_or(0);
    let last = |n: usize| -> Vec<String> { paths.iter().map(|p| p[p.len().saturating_sub(n)..].join("/")).collect() };
    let differ = |names: &Vec<String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    (1..longest).map(last).find(differ).unwrap_or_else(|| last(longest))
}

/// What the page begins with: what is missing.
fn lead(methods: &[FinishedRun]) -> Vec<String> {
    let without = |what: &str, has: fn(&RunDir) -> bool| {
        let seeds = methods.iter().flat_map(|m| &m.seeds).filter(|run| !has(run));
        let names: Vec<String> = seeds.map(|run| run.path().display().to_string()).collect();
        (!names.is_empty()).then(|| format!("Without {what}: {}.", names.join(", ")))
    };
    let missing = [without("losses", RunDir::has_curves), without("probes", RunDir::has_probes)];
    missing.into_iter().flatten().collect()
}

/// Losses of all runs that share a kind of loss, a figure for each kind that several have.
fn losses(methods: &[FinishedRun], out: &ComparisonDir) -> Result<Vec<PathBuf>> {
    let mut kinds: BTreeMap<(DomainKind, LossKind, Option<usize>), Vec<LossRun>> = BTreeMap::new();
    for method in methods {
        let model = method.config.domain.model();
        let kind = (method.domain(), model.loss_kind()?, model.compared().map(|c| c.negatives));
        for seed in method.seeds.iter().filter(|s| s.has_curves()) {
            let label = match method.seeds.len() {
                1 => method.entry.title.clone(),
                _ => format!("{}, seed {}", method.entry.name, seed.config()?.train.seed),
            };
            kinds.entry(kind).or_default().push(LossRun { label, ..losses_of(seed)? });
        }
    }
    let mut saved = Vec::new();
    for (at, ((domain, loss, negatives), runs)) in kinds.into_iter().filter(|k| k.1.len() > 1).enumerate() {
        let subtitle = domain.to_string();
        let title = "Training loss by module".into();
        let figure = loss_by_module(&LossByModule { title, subtitle, runs, loss, negatives })?;
        let [png, ..] = figure.save(&out.figures(), &format!("loss-{}", at + 1))?;
        saved.push(png);
    }
    Ok(saved)
}

/// The methods, with the seeds that say how they were made.
fn known(methods: &[FinishedRun]) -> Vec<FinishedRun> {
    let seeds = |m: &FinishedRun| m.seeds.iter().filter(|s| s.has_environment()).cloned().collect();
    methods.iter().map(|m| FinishedRun { seeds: seeds(m), ..m.clone() }).collect()
}

/// The settings in which the methods differ; none for a single one.
fn differences(methods: &[FinishedRun]) -> Option<Section> {
    if methods.len() < 2 {
        return None;
    }
    let of: Vec<Settings> = methods.iter().map(|m| settings(&m.config)).collect();
    let keys: BTreeSet<&String> = of.iter().flat_map(Settings::keys).filter(|key| *key != SEED).collect();
    let cell = |settings: &Settings, key: &String| settings.get(key).cloned().unwrap_or_default();
    let row = |key: &String| -> Vec<String> { of.iter().map(|settings| cell(settings, key)).collect() };
    let rows: Vec<(String, Vec<String>)> = keys.into_iter().map(|key| (key.clone(), row(key))).collect();
    let differ = rows.into_iter().filter(|(_, cells)| cells.iter().any(|cell| *cell != cells[0]));
    let rows: Vec<Vec<String>> = differ.map(|(key, cells)| [vec![key], cells].concat()).collect();
    let names: Vec<&str> = std::iter::once("setting").chain(methods.iter().map(|m| m.entry.title.as_str())).collect();
    Some(Section {
        id: "settings".into(),
        title: "Settings that differ".into(),
        finding: rows.is_empty().then(|| "No setting differs but the seed.".to_owned()),
        matrix: None,
        leading: false,
        table: Table::new(&names, rows),
        notes: vec!["An empty cell: the run has no such setting.".into()],
    })
}

fn settings(config: &Config) -> Settings {
    flat(&config.to_table()).into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_may_be() {
        let names = |paths: &[&str]| short_names(&paths.iter().map(|p| RunDir::new(*p)).collect::<Vec<_>>());
        assert_eq!(names(&["x/runs/a", "x/runs/b"]), ["a", "b"]);
        assert_eq!(names(&["x/gim/seed-1", "x/cpc/seed-1", "y"]), ["gim/seed-1", "cpc/seed-1", "y"]);
        assert_eq!(names(&["../x/a"]), ["a"]);
    }

    #[test]
    fn settings_that_differ_are_told() {
        let method = |name: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
            FinishedRun {
                entry: entry(name.into()),
                config: Config::load("audio-quick", &set).unwrap(),
                seeds: Vec::new(),
            }
        };
        assert!(differences(&[method("a", &[])]).is_none());
        let same = differences(&[method("a", &[]), method("b", &["train.seed=2"])]).unwrap();
        assert!(same.table.rows.is_empty() && same.finding.is_some());
        let all = [method("a", &[]), method("b", &["optimizer.lr=0.5", "train.seed=2"]), method("c", &[])];
        let section = differences(&all).unwrap();
        assert_eq!((section.table.rows.len(), section.table.columns.len()), (1, 4));
        assert_eq!((section.table.rows[0][0].as_str(), section.table.rows[0][2].as_str()), ("optimizer.lr", "0.5"));
    }
}
