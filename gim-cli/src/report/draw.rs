//! The figures of one or several runs (seeds), from the files those runs left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gim_core::{Error, Pool, Result};
use gim_eval::{FeatureFile, Split, cka_matrix, table};
use ndarray::Axis;

use crate::comparison::memory::Peak;
use crate::comparison::reproduce::Method;
use crate::comparison::summary::paper;
use crate::comparison::sweep::Entry;
use crate::experiment::config::Config;
use crate::experiment::domain::{DOMAINS, Domain};
use crate::experiment::environment::{Environment, corpus_name};
use crate::experiment::extract::SNAPSHOTS;
use crate::experiment::latent;
use crate::experiment::probe::name_of;
use crate::figures::{
    AccuracyByModule, Architecture, ErrorByModule, ErrorCurve, LossByModule, LossRun, MemoryBar, MemoryBars, ModuleBox,
    PaperCurve, SimilarityMap, accuracy_by_module, architecture, error_by_module, loss_by_module, memory, similarity,
};
use crate::report::image_figures;
use gim_core::files::create_folder;
use gim_eval::{Group, ProbeRow, TrainRow};

/// Draws everything that the runs' files allow into `out`. Gives the PNG files.
///
/// # Errors
/// When a run lacks its log, or a figure cannot be written.
pub fn draw(runs: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let Some(first) = runs.first() else {
        return Err(Error::config("RUN", "no run is given", "name the folders of one or more runs"));
    };
    create_folder(out)?;
    let config = Config::of_run(first)?;
    let experiment = config.domain.experiment();
    let corpus = match Environment::of_run(first)?.corpus {
        Some(corpus) => corpus.name,
        None => corpus_name(&experiment.folder()?),
    };
    let seeds = if runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", runs.len()) };
    let subtitle = format!("{corpus}, {seeds}, {}", experiment.size_name());
    let mut saved = Vec::new();
    let mut keep = |figure: crate::figures::Figure, name: &str| -> Result<()> {
        let [png, _svg] = figure.save(out, name)?;
        saved.push(png);
        Ok(())
    };

    let stack = experiment.build(&config.optimizer, config.train.seed, &Pool::new())?;
    let modules = stack.modules().iter().enumerate().map(|(i, m)| {
        let d = m.describe();
        let last = i + 1 == stack.modules().len();
        let layers = d.layers.into_iter().chain(d.context).collect();
        ModuleBox {
            name: format!("Module {}", i + 1),
            layers,
            loss: d.loss,
            output: if last { "c".into() } else { format!("z{}", i + 1) },
        }
    });
    let input = experiment.input_name();
    keep(architecture(&Architecture { title: "Network".into(), input, modules: modules.collect() })?, "architecture")?;

    let mut losses = Vec::new();
    let mut probed: Vec<ProbeRow> = Vec::new();
    for run in runs {
        losses.push(losses_of(run)?);
        let probes = run.join("probe.csv");
        if probes.is_file() {
            probed.extend(table::read_rows::<ProbeRow>(&probes)?);
        }
    }
    let spec = LossByModule {
        title: "Training loss by module".into(),
        subtitle: subtitle.clone(),
        runs: losses,
        negatives: experiment.negatives(),
    };
    keep(loss_by_module(&spec)?, "loss")?;
    for task in experiment.tasks().iter().copied() {
        for protocol in ["converged", "paper", "knn"] {
            let rows: Vec<ProbeRow> = probed
                .iter()
                .filter(|r| r.task == task && r.protocol == protocol && r.labels == 1.0)
                .cloned()
                .collect();
            if rows.is_empty() {
                continue;
            }
            let (judge, name) = match protocol {
                "paper" => ("Linear probe (paper's protocol)", format!("{task}-paper-protocol")),
                "knn" => ("20 nearest neighbours", format!("{task}-knn")),
                _ => ("Linear probe", task.to_owned()),
            };
            let spec = AccuracyByModule {
                title: format!("{judge} for {task}, by module"),
                subtitle: subtitle.clone(),
                task: task.into(),
                protocol: Some(protocol.into()),
                rows: rows.clone(),
            };
            keep(accuracy_by_module(&spec)?, &format!("accuracy-{name}"))?;
            if task == "speakers" {
                let method = |label: &str, group| ErrorCurve { label: label.into(), group, rows: rows.clone() };
                let spec = ErrorByModule {
                    title: "Speaker error by module".into(),
                    subtitle: subtitle.clone(),
                    task: task.into(),
                    protocol: Some(protocol.into()),
                    methods: vec![
                        method(&experiment.method(), Group::Trained),
                        method("Random encoder", Group::Random),
                    ],
                    paper: paper_errors(),
                };
                keep(error_by_module(&spec)?, &format!("error-{name}"))?;
            }
        }
    }
    let features = first.join("features.h5");
    if features.is_file() {
        let file = FeatureFile::open(&features)?;
        let groups: Vec<String> = file.groups().map(str::to_owned).collect();
        let subtitle = format!("{corpus}, seed {}, {}", config.train.seed, experiment.size_name());
        let named = groups.iter().map(|g| (name_of(g), &file, g.as_str())).collect::<Vec<_>>();
        keep(alike(&named, "Similarity of features", &subtitle)?, "similarity")?;
        match &config.domain {
            Domain::Audio(_) => keep(latent::space(&file, &first.join(SNAPSHOTS), subtitle)?, "latent-space")?,
            Domain::Vision(vision) => {
                for (figure, name) in image_figures::draw(first, vision, &features, &subtitle)? {
                    keep(figure, name)?;
                }
            }
        }
    }
    Ok(saved)
}

/// The losses of a run, named by its seed.
fn losses_of(run: &Path) -> Result<LossRun> {
    let seed = Config::of_run(run)?.train.seed;
    Ok(LossRun { label: format!("seed {seed}"), rows: table::read_rows(run.join("train.csv"))? })
}

/// Rows that similarities are computed on: many more than features have dimensions, or unrelated ones look alike.
const SIMILARITY_ROWS: usize = 4000;

/// Linear CKA between groups of feature files that hold the same items, on test rows.
fn alike(groups: &[(String, &FeatureFile, &str)], title: &str, subtitle: &str) -> Result<crate::figures::Figure> {
    let (mut features, mut names) = (Vec::new(), Vec::new());
    for (name, file, group) in groups {
        let split = file.split();
        let per_item = file.index();
        let test: Vec<usize> =
            (0..split.len()).filter(|i| split[*i] == Split::Test).flat_map(|i| per_item.rows(i)).collect();
        let step = test.len().div_ceil(SIMILARITY_ROWS).max(1);
        let rows: Vec<usize> = test.into_iter().step_by(step).collect();
        let own = file.read_group(group)?.select(Axis(0), &rows);
        // A module that has collapsed to one point resembles nothing.
        if own.outer_iter().any(|row| row != own.row(0)) {
            features.push(own);
            names.push(name.clone());
        }
    }
    let views: Vec<_> = features.iter().map(|f| f.view()).collect();
    similarity(&SimilarityMap {
        title: title.into(),
        subtitle: subtitle.into(),
        names,
        rows: features.first().map_or(0, |f| f.nrows()),
        cka: cka_matrix(&views)?,
    })
}

/// Similarity of the modules of all methods of a domain, first seeds.
fn alike_methods(runs: &[(Entry, Vec<PathBuf>)], out: &Path) -> Result<Vec<PathBuf>> {
    let mut saved = Vec::new();
    for domain in DOMAINS {
        let mut files = Vec::new();
        for (entry, folders) in runs.iter().filter(|r| r.0.ablation_of.is_none()) {
            let of = entry.config(&[])?.domain.experiment().name() == domain;
            let features = folders.first().map(|f| f.join("features.h5")).filter(|f| of && f.is_file());
            if let Some(features) = features {
                files.push((entry.title.clone(), FeatureFile::open(&features)?));
            }
        }
        // Runs on other corpora or with other crops have other items: they cannot be compared.
        let same = |f: &FeatureFile| files.first().is_some_and(|first| first.1.items() == f.items());
        let mut groups = Vec::new();
        let names: Vec<Vec<String>> = files
            .iter()
            .map(|f| f.1.groups().filter(|g| g.starts_with("module_")).map(str::to_owned).collect())
            .collect();
        for ((title, file), names) in files.iter().zip(&names).filter(|f| same(&f.0.1)) {
            for name in names {
                groups.push((format!("{title}, {}", name.replace("module_", "")), file, name.as_str()));
            }
        }
        if files.len() > 1 {
            let figure = alike(&groups, &format!("Similarity of the modules of all methods, {domain}"), "first seeds")?;
            let [png, _svg] = figure.save(out, &format!("similarity-{domain}"))?;
            saved.push(png);
        }
    }
    Ok(saved)
}

/// The figures that lay the methods of a comparison over each other: error by module for every task, similarity, and losses by
/// schedule. Gives the PNG files.
///
/// # Errors
/// When a table cannot be read, or a figure not written.
pub fn compare(runs: &[(Entry, Vec<PathBuf>)], out: &Path) -> Result<Vec<PathBuf>> {
    let mut by_task: BTreeMap<String, Vec<(&Entry, Vec<ProbeRow>)>> = BTreeMap::new();
    for (entry, folders) in runs.iter().filter(|r| r.0.ablation_of.is_none()) {
        let mut rows: Vec<ProbeRow> = Vec::new();
        for folder in folders {
            rows.extend(table::read_rows::<ProbeRow>(&folder.join("probe.csv"))?);
        }
        rows.retain(|r| r.protocol == "converged" && r.labels == 1.0);
        for task in entry.tasks()? {
            let own: Vec<ProbeRow> = rows.iter().filter(|r| r.task == task).cloned().collect();
            if !own.is_empty() {
                by_task.entry(task).or_default().push((entry, own));
            }
        }
    }
    let mut saved = Vec::new();
    for (task, methods) in by_task.iter().filter(|t| t.1.len() > 1) {
        create_folder(out)?;
        let curve =
            |label: &str, group, rows: &[ProbeRow]| ErrorCurve { label: label.into(), group, rows: rows.to_vec() };
        let mut curves: Vec<ErrorCurve> = methods.iter().map(|(e, r)| curve(&e.title, Group::Trained, r)).collect();
        curves.push(curve("Random encoder", Group::Random, &methods[0].1));
        let seeds = methods.iter().map(|m| m.1.iter().map(|r| r.seed).collect::<BTreeSet<_>>().len());
        let (least, most) = seeds.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
        let figure = error_by_module(&ErrorByModule {
            title: format!("Linear probe error for {task}, by module and method"),
            subtitle: match most {
                1 => "one seed".into(),
                _ if least < most => format!("{least} to {most} seeds"),
                _ => format!("{most} seeds"),
            },
            task: task.clone(),
            protocol: Some("converged".into()),
            methods: curves,
            paper: if task == "speakers" { paper_errors() } else { Vec::new() },
        })?;
        let [png, _svg] = figure.save(out, &format!("error-{task}"))?;
        saved.push(png);
    }
    create_folder(out)?;
    saved.extend(alike_methods(runs, out)?);
    saved.extend(schedules(runs, out)?);
    Ok(saved)
}

/// Memory by method and schedule, a figure for each domain. Gives the PNG files.
///
/// # Errors
/// When a figure cannot be written.
pub fn memory_of(peaks: &[Peak], methods: &[Method], out: &Path) -> Result<Vec<PathBuf>> {
    let mut saved = Vec::new();
    for domain in DOMAINS {
        let Some(first) = methods.iter().find(|m| m.domain == domain) else { continue };
        let bars: Vec<MemoryBar> = peaks
            .iter()
            .filter(|p| methods.iter().any(|m| m.run == p.run && m.domain == domain))
            .map(|p| MemoryBar {
                method: p.title.clone(),
                schedule: p.schedule.clone(),
                buffers: p.buffers_mb,
                state: p.state_mb,
                paper: p.reported(),
            })
            .collect();
        if !bars.is_empty() {
            let title = format!("Memory of a training step by method and schedule, {domain}");
            let figure = memory(&MemoryBars { title, subtitle: first.size.clone(), bars })?;
            let [png, _svg] = figure.save(out, &format!("memory-{domain}"))?;
            saved.push(png);
        }
    }
    Ok(saved)
}

/// The losses of modules trained one after the other over those of modules trained at once, counted by the steps each module
/// has learnt.
fn schedules(runs: &[(Entry, Vec<PathBuf>)], out: &Path) -> Result<Vec<PathBuf>> {
    let mut saved = Vec::new();
    for (entry, folders) in runs {
        let config = entry.config(&[])?;
        let other = runs.iter().find(|r| Some(&r.0.name) == entry.ablation_of.as_ref());
        let (Some((full, other)), true) = (other, config.train.iterative()) else { continue };
        // Runs of other lengths would leave half of the axis to one of them.
        let length = |c: &Config| (c.train.steps, c.train.epochs);
        if length(&full.config(&[])?) != length(&config) {
            continue;
        }
        let mut losses = Vec::new();
        for folder in other {
            let LossRun { label, rows } = losses_of(folder)?;
            losses.push(LossRun { label: format!("all at once, {label}"), rows });
        }
        for folder in folders {
            let LossRun { label, mut rows } = losses_of(folder)?;
            let last = |of: fn(&TrainRow) -> u64| rows.iter().map(of).max().unwrap_or(0);
            let each = last(|r| r.step) / last(|r| r.module as u64).max(1);
            rows.iter_mut().for_each(|r| r.step -= each * (r.module as u64 - 1));
            losses.push(LossRun { label: format!("one after the other, {label}"), rows });
        }
        let experiment = config.domain.experiment();
        let figure = loss_by_module(&LossByModule {
            title: "Training loss by module and schedule".into(),
            subtitle: experiment.size_name(),
            runs: losses,
            negatives: experiment.negatives(),
        })?;
        let [png, _svg] = figure.save(out, &format!("schedules-{}", experiment.name()))?;
        saved.push(png);
    }
    Ok(saved)
}

/// The paper's speaker errors by module, from the table of reported values.
fn paper_errors() -> Vec<PaperCurve> {
    let mut curves: Vec<PaperCurve> = Vec::new();
    for p in paper().iter().filter(|p| p.table == "error by module") {
        let method = if p.method.len() <= 3 { p.method.to_uppercase() } else { p.method.clone() };
        let label = format!("{method}, LibriSpeech");
        match curves.iter_mut().find(|c| c.label == label) {
            Some(curve) => curve.errors.push(p.value),
            None => curves.push(PaperCurve { label, errors: vec![p.value] }),
        }
    }
    curves
}
