//! The figures that compare the methods of a comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gim_core::Result;
use gim_core::files::create_folder;
use gim_eval::{ProbeRow, Protocol, Task, TrainRow};

use crate::comparison::memory::Peak;
use crate::comparison::reproduce::FinishedRun;
use crate::experiment::domain::DomainKind;
use crate::experiment::extract::trained_modules;
use crate::experiment::feature_file;
use crate::experiment::final_rows;
use crate::experiment::run_dir::RunDir;
use crate::figures::{
    ErrorByModule, ErrorCurve, Figure, LossByModule, LossRun, MemoryBar, MemoryBars, Role, error_by_module,
    loss_by_module, memory,
};
use crate::report::draw::{alike, how, linear_probes, losses_of, paper_errors};

/// Draws error by module for every task, similarity, and losses by schedule. Returns the PNG files.
///
/// # Errors
/// When a table cannot be read, or a figure not written.
pub(crate) fn draw(runs: &[FinishedRun], out: &Path) -> Result<Vec<PathBuf>> {
    create_folder(out)?;
    let methods = runs.iter().filter(|r| r.is_method());
    let probed = methods.map(|m| Ok((m, rows_of(m, |seed| final_rows::of_final_weights(seed, &m.config))?)));
    let mut saved = errors(&probed.collect::<Result<Vec<_>>>()?, out)?;
    saved.extend(similarities(runs, out)?);
    saved.extend(schedules(runs, out)?);
    Ok(saved)
}

/// A method and the rows of its probes over all seeds.
type Probed<'a> = (&'a FinishedRun, Vec<ProbeRow>);

/// The rows of a method over all seeds, given which of a seed count.
///
/// # Errors
/// Those of `of_seed`.
pub(super) fn rows_of(
    method: &FinishedRun,
    of_seed: impl Fn(&RunDir) -> Result<Vec<ProbeRow>>,
) -> Result<Vec<ProbeRow>> {
    let rows: Vec<_> = method.seeds.iter().map(of_seed).collect::<Result<_>>()?;
    Ok(rows.concat())
}

/// The rows of the methods by task: linear probes of a protocol with all labels.
fn by_task<'a>(methods: &[Probed<'a>], protocol: Protocol) -> Result<BTreeMap<Task, Vec<Probed<'a>>>> {
    let mut by_task: BTreeMap<Task, Vec<Probed<'_>>> = BTreeMap::new();
    for (run, rows) in methods {
        for task in run.entry.tasks()? {
            let own = linear_probes(rows, task, protocol);
            if !own.is_empty() {
                by_task.entry(task).or_default().push((run, own));
            }
        }
    }
    Ok(by_task)
}

/// Error by module of all methods, a figure for each fitted protocol and task that several have. Returns the PNG files.
///
/// # Errors
/// When a preset cannot be read, or a figure not written.
pub(super) fn errors(methods: &[(&FinishedRun, Vec<ProbeRow>)], out: &Path) -> Result<Vec<PathBuf>> {
    let mut saved = Vec::new();
    let roles = roles(methods.iter().map(|m| m.0))?;
    for protocol in [Protocol::Paper, Protocol::Converged] {
        for (task, methods) in by_task(methods, protocol)?.into_iter().filter(|t| t.1.len() > 1) {
            let (figure, name) = error_of(task, protocol, &methods, &roles)?;
            let [png, ..] = figure.save(out, &name)?;
            saved.push(png);
        }
    }
    Ok(saved)
}

/// What each method is drawn as, by its name. Methods of one kind that share a task, as those with
/// other losses do, differ.
fn roles<'a>(methods: impl Iterator<Item = &'a FinishedRun>) -> Result<BTreeMap<&'a str, Role>> {
    let mut roles = BTreeMap::new();
    let mut taken: BTreeMap<(DomainKind, Task), Vec<Role>> = BTreeMap::new();
    for run in methods {
        let tasks = run.entry.tasks()?;
        let is_free =
            |role: &Role| tasks.iter().all(|t| taken.get(&(run.domain(), *t)).is_none_or(|r| !r.contains(role)));
        let own = Role::Method(run.config.domain.figures().method());
        let role = std::iter::once(own).chain((0..).map(Role::Further)).find(is_free).unwrap_or(own);
        for task in &tasks {
            taken.entry((run.domain(), *task)).or_default().push(role);
        }
        roles.insert(run.entry.name.as_str(), role);
    }
    Ok(roles)
}

/// Error by module of several methods, and the figure's name.
fn error_of(
    task: Task,
    protocol: Protocol,
    methods: &[Probed<'_>],
    roles: &BTreeMap<&str, Role>,
) -> Result<(Figure, String)> {
    let curve = |label: &str, role, rows: &[ProbeRow]| ErrorCurve { label: label.into(), role, rows: rows.to_vec() };
    let role = |run: &FinishedRun| roles.get(run.entry.name.as_str()).copied().unwrap_or(Role::Further(0));
    let mut curves: Vec<ErrorCurve> =
        methods.iter().map(|(run, rows)| curve(&run.entry.title, role(run), rows)).collect();
    curves.push(curve("Random encoder", Role::Random, &methods[0].1));
    let seeds = methods.iter().map(|m| m.1.iter().map(|r| r.seed).collect::<BTreeSet<_>>().len());
    let (least, most) = seeds.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
    let rows: Vec<ProbeRow> = methods.iter().flat_map(|m| &m.1).cloned().collect();
    let (how, name) = how(&rows, task, protocol, "Linear probe error");
    let figure = error_by_module(&ErrorByModule {
        title: format!("{how} for {task}, by module and method"),
        subtitle: match most {
            1 => "one seed".into(),
            _ if least < most => format!("{least} to {most} seeds"),
            _ => format!("{most} seeds"),
        },
        task,
        protocol: Some(protocol),
        methods: curves,
        paper: paper_errors(task, &rows),
    })?;
    Ok((figure, format!("error-{name}")))
}

/// Similarity of the modules of all methods of a domain, first seeds.
fn similarities(runs: &[FinishedRun], out: &Path) -> Result<Vec<PathBuf>> {
    let mut saved = Vec::new();
    for domain in DomainKind::ALL {
        let mut files = Vec::new();
        for run in runs.iter().filter(|r| r.is_method() && r.domain() == domain) {
            if let Some(seed) = run.seeds.first().filter(|s| s.has_features()) {
                files.push((run.entry.title.clone(), feature_file::open(&seed.features_file())?));
            }
        }
        if files.len() < 2 {
            continue;
        }
        // Runs with other datasets or crops have other items and cannot be compared.
        let mut groups = Vec::new();
        for (title, file) in files.iter().filter(|f| f.1.items() == files[0].1.items()) {
            for id in trained_modules(file) {
                groups.push((format!("{title}, {}", id.module()), file, id.to_string()));
            }
        }
        let figure = alike(&groups, &format!("Similarity of the modules of all methods, {domain}"), "first seeds")?;
        let [png, ..] = figure.save(out, &format!("similarity-{domain}"))?;
        saved.push(png);
    }
    Ok(saved)
}

/// Draws memory by method and schedule, a figure for each domain. Returns the PNG files.
///
/// # Errors
/// When a figure cannot be written.
pub(crate) fn memory_of(peaks: &[Peak], runs: &[FinishedRun], out: &Path) -> Result<Vec<PathBuf>> {
    let mut saved = Vec::new();
    for domain in DomainKind::ALL {
        let methods: Vec<&FinishedRun> = runs.iter().filter(|r| r.is_method() && r.domain() == domain).collect();
        let Some(first) = methods.first() else { continue };
        let bars: Vec<MemoryBar> = peaks
            .iter()
            .filter(|p| methods.iter().any(|m| m.entry.name == p.run))
            .map(|p| MemoryBar {
                method: p.title.clone(),
                schedule: p.schedule.to_string(),
                buffers: p.buffers_mb,
                state: p.state_mb,
                paper: p.reported(),
            })
            .collect();
        if !bars.is_empty() {
            let title = format!("Memory of a training step by method and schedule, {domain}");
            let size = first.config.domain.figures().size_name();
            let subtitle = format!("{size}, batch {}", first.config.train.batch);
            let figure = memory(&MemoryBars { title, subtitle, bars })?;
            let [png, ..] = figure.save(out, &format!("memory-{domain}"))?;
            saved.push(png);
        }
    }
    Ok(saved)
}

/// Losses of modules trained one after the other and of modules trained at once, against the
/// training steps of each module.
fn schedules(runs: &[FinishedRun], out: &Path) -> Result<Vec<PathBuf>> {
    let mut saved = Vec::new();
    for run in runs.iter().filter(|r| r.config.train.iterative()) {
        let Some(full) = runs.iter().find(|r| Some(&r.entry.name) == run.entry.ablation_of.as_ref()) else { continue };
        // Runs of other lengths would share only part of the axis.
        if full.config.train.length() != run.config.train.length() {
            continue;
        }
        let mut losses = Vec::new();
        for seed in &full.seeds {
            let run = losses_of(seed)?;
            losses.push(LossRun { label: format!("all at once, {}", run.label), ..run });
        }
        for seed in &run.seeds {
            let LossRun { label, mut rows, mut held_out } = losses_of(seed)?;
            let last = |of: fn(&TrainRow) -> u64| rows.iter().map(of).max().unwrap_or(0);
            let each = last(|r| r.step) / last(|r| r.module as u64).max(1);
            rows.iter_mut().chain(&mut held_out).for_each(|r| r.step -= each * (r.module as u64 - 1));
            losses.push(LossRun { label: format!("one after the other, {label}"), rows, held_out });
        }
        let config = &run.config;
        let figure = loss_by_module(&LossByModule {
            title: "Training loss by module and schedule".into(),
            subtitle: config.domain.figures().size_name(),
            runs: losses,
            loss: config.domain.model().loss_kind()?,
            negatives: config.domain.model().compared().map(|c| c.negatives),
        })?;
        let [png, ..] = figure.save(out, &format!("schedules-{}", config.domain.kind()))?;
        saved.push(png);
    }
    Ok(saved)
}
