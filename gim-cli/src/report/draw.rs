//! The figures of a run, or of several seeds, from the files of the runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gim_core::files::create_folder;
use gim_core::{Error, Pool, Result};
use gim_eval::{FeatureFile, Head, ProbeRow, Protocol, Split, Task, cka_matrix};

use crate::comparison::paper;
use crate::experiment::config::Config;
use crate::experiment::environment::dataset_name;
use crate::experiment::feature_file;
use crate::experiment::final_rows;
use crate::experiment::fingerprint::difference;
use crate::experiment::probe::{name_of, views_note};
use crate::experiment::run_dir::RunDir;
use crate::experiment::train_config::Schedule;
use crate::figures::{
    AccuracyByModule, Architecture, Contrast, ErrorByModule, ErrorCurve, Figure, LossByModule, LossRun, ModuleBox,
    OnlineCurves, PaperCurve, Role, SimilarityMap, StalenessBars, Timeline, accuracy_by_module, architecture,
    error_by_module, loss_by_module, online, similarity, staleness, timeline,
};
use crate::report::{image_figures, latent};

/// Figures with their file names.
type Named = Vec<(Figure, String)>;

/// Draws every figure that the runs' files allow into `out`. Returns the PNG files.
///
/// # Errors
/// When a run lacks its log, or a figure cannot be written.
pub(crate) fn draw(runs: &[RunDir], out: &Path) -> Result<Vec<PathBuf>> {
    let mut saved = draw_rows(runs, out)?;
    saved.extend(draw_features(&runs[0], out)?);
    Ok(saved)
}

/// Draws the figures of a run's features, if it has some. Returns the PNG files.
///
/// # Errors
/// When the features are of other weights or of another dataset, or a figure cannot be written.
pub(crate) fn draw_features(run: &RunDir, out: &Path) -> Result<Vec<PathBuf>> {
    if !run.has_features() {
        return Ok(Vec::new());
    }
    let config = run.config()?;
    let size = config.domain.figures().size_name();
    let subtitle = format!("{}, seed {}, {size}", dataset_of(run, &config)?, config.train.seed);
    save(of_features(run, &config, subtitle)?, out)
}

/// Draws the network and the figures of rows: losses, probes, times. Returns the PNG files.
///
/// # Errors
/// As [`draw`].
pub(crate) fn draw_rows(runs: &[RunDir], out: &Path) -> Result<Vec<PathBuf>> {
    let Some(first) = runs.first() else {
        return Err(Error::config("RUN", "no run is given", "name the folders of one or more runs"));
    };
    let config = first.config()?;
    for run in &runs[1..] {
        let mut other = run.config()?;
        other.train.seed = config.train.seed;
        if let Some(what) = difference(&config.fingerprint(), &other.fingerprint()) {
            let what = format!("is of another configuration than {}: {what}", first.path().display());
            return Err(Error::file(run.path(), what, "draw each configuration by itself"));
        }
    }
    let dataset = dataset_of(first, &config)?;
    let seeds = if runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", runs.len()) };
    let subtitle = format!("{dataset}, {seeds}, {}", config.domain.figures().size_name());
    let mut figures = vec![(network(&config, first)?, "architecture".to_owned())];
    let spec = LossByModule {
        title: "Training loss by module".into(),
        subtitle: subtitle.clone(),
        runs: runs.iter().map(losses_of).collect::<Result<_>>()?,
        loss: config.domain.model().loss_kind()?,
        negatives: config.domain.model().compared().map(|c| c.negatives),
    };
    figures.push((loss_by_module(&spec)?, "loss".into()));
    let rows = first.online_rows()?;
    if !rows.is_empty() {
        let spec = OnlineCurves { title: "Probes during training".into(), subtitle: subtitle.clone(), rows };
        figures.push((online(&spec)?, "online".into()));
    }
    if first.has_timeline() {
        let rows = first.timeline_rows()?;
        if rows.iter().any(|r| r.step > rows[0].step) {
            let spec = Timeline { title: "Modules at work".into(), subtitle: subtitle.clone(), rows };
            figures.push((timeline(&spec)?, "timeline".into()));
        }
        if config.train.schedule == Schedule::Async {
            let rows = first.schedule_rows()?;
            // A module alone takes every batch as it is made.
            if rows.len() > 1 {
                let spec = StalenessBars { title: "Staleness by module".into(), subtitle: subtitle.clone(), rows };
                figures.push((staleness(&spec)?, "staleness".into()));
            }
        }
    }
    let mut probed: Vec<ProbeRow> = Vec::new();
    for run in runs.iter().filter(|r| r.has_probes()) {
        probed.extend(final_rows::current(run)?);
    }
    let tasks: BTreeSet<Task> = probed.iter().map(|row| row.task).collect();
    for task in tasks {
        for protocol in [Protocol::Converged, Protocol::Paper, Protocol::Knn] {
            figures.extend(probes(&config, &probed, task, protocol, &subtitle)?);
        }
    }
    save(figures, out)
}

/// What figures call the dataset of a run.
fn dataset_of(run: &RunDir, config: &Config) -> Result<String> {
    match run.trained_on()? {
        Some(dataset) => Ok(dataset.name),
        None => Ok(dataset_name(&config.domain.dataset().folder()?)),
    }
}

/// Writes figures. Returns the PNG files.
fn save(figures: Named, out: &Path) -> Result<Vec<PathBuf>> {
    create_folder(out)?;
    let png = |(figure, name): (Figure, String)| figure.save(out, &name).map(|[png, ..]| png);
    figures.into_iter().map(png).collect()
}

/// The stack with its gradient blocks.
fn network(config: &Config, run: &RunDir) -> Result<Figure> {
    let record = run.dataset()?;
    let stack = config.build(record.as_ref(), &Pool::new())?;
    let compared = config.domain.model().compared();
    let modules = stack.modules().iter().enumerate().map(|(i, m)| {
        let d = m.describe();
        // A context network ends the last module only.
        let output = if d.context.is_some() { "c".into() } else { format!("z{}", i + 1) };
        let contrast = compared.map(|compared| Contrast { network: d.context.is_some(), compared });
        ModuleBox {
            name: format!("Module {}", i + 1),
            layers: d.layers.into_iter().chain(d.context).collect(),
            loss: d.loss,
            output,
            contrast,
        }
    });
    let modules = modules.collect();
    architecture(&Architecture {
        title: "Network".into(),
        input: config.domain.figures().input_name(),
        modules,
        modules_per_loss: config.domain.modules_per_loss(),
    })
}

/// The linear probes of one task and protocol with all labels; where they saw different views, those
/// with the most.
pub(crate) fn linear_probes(probed: &[ProbeRow], task: Task, protocol: Protocol) -> Vec<ProbeRow> {
    let wanted = |r: &&ProbeRow| r.task == task && r.protocol == protocol && r.head == Head::Linear && r.labels == 1.0;
    let mut rows: Vec<ProbeRow> = probed.iter().filter(wanted).cloned().collect();
    let views = rows.iter().map(|r| r.views).max().flatten();
    rows.retain(|r| r.views == views);
    rows
}

/// How rows of one task and protocol were made, and the name of their figures. `converged` is what the
/// figure calls a probe.
pub(crate) fn how(rows: &[ProbeRow], task: Task, protocol: Protocol, converged: &str) -> (String, String) {
    let note = rows.first().and_then(|r| views_note(protocol, task, r.views));
    let note = note.map_or(String::new(), |note| format!(", {note}"));
    match protocol {
        Protocol::Converged => (converged.to_owned(), task.to_string()),
        Protocol::Paper => (format!("{converged} (paper's protocol{note})"), format!("{task}-paper-protocol")),
        Protocol::Knn => ("20 nearest neighbors".into(), format!("{task}-knn")),
    }
}

/// Accuracy by module of one task and protocol; for speakers by the published protocol also the error,
/// beside the paper's. Empty without such probes.
fn probes(config: &Config, probed: &[ProbeRow], task: Task, protocol: Protocol, subtitle: &str) -> Result<Named> {
    let rows = linear_probes(probed, task, protocol);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let (how, name) = how(&rows, task, protocol, "Linear probe");
    let spec = AccuracyByModule {
        title: format!("{how} for {task}, by module"),
        subtitle: subtitle.to_owned(),
        method: config.domain.figures().method(),
        task,
        protocol: Some(protocol),
        rows: rows.clone(),
    };
    let mut figures = vec![(accuracy_by_module(&spec)?, format!("accuracy-{name}"))];
    let paper = paper_errors(task, &rows);
    // Without the paper's errors, a chart of errors says what that of accuracies says.
    if !paper.is_empty() {
        let kind = config.domain.figures().method();
        let method = |label: &str, role| ErrorCurve { label: label.into(), role, rows: rows.clone() };
        let spec = ErrorByModule {
            title: format!("{how}: speaker error by module"),
            subtitle: subtitle.to_owned(),
            task,
            protocol: Some(protocol),
            methods: vec![method(kind.name(), Role::Method(kind)), method("Random encoder", Role::Random)],
            paper,
        };
        figures.push((error_by_module(&spec)?, format!("error-{name}")));
    }
    Ok(figures)
}

/// Figures of a run's features.
fn of_features(run: &RunDir, config: &Config, subtitle: String) -> Result<Named> {
    let features = run.features_file();
    let file = feature_file::open(&features)?;
    let made = file.provenance();
    if let Some(weights) = run.weights()?.filter(|w| w.digest != made.checkpoint) {
        let remedy = format!("`gim extract {}` makes it anew", run.path().display());
        let what = format!("is of other weights than the newest checkpoint (step {})", weights.step);
        return Err(Error::file(&features, what, remedy));
    }
    let named: Vec<_> = file.groups().map(|g| (name_of(g), &file, g.to_owned())).collect();
    let mut figures = vec![(alike(&named, "Similarity of features", &subtitle)?, "similarity".to_owned())];
    if config.domain.dataset().has_speakers() {
        figures.push((latent::space(&file, &run.snapshots_file(), subtitle.clone())?, "latent-space".into()));
    }
    // Only figures of images need the dataset; runs of older versions lack the record.
    if !config.domain.dataset().has_speakers()
        && let Some(crops) = config.domain.figures().center_crops(&run.need_dataset()?)?
    {
        for (figure, name) in image_figures::draw(run, &crops, &features, &subtitle)? {
            figures.push((figure, name.into()));
        }
    }
    Ok(figures)
}

/// The losses of a run, named by its seed.
pub(crate) fn losses_of(run: &RunDir) -> Result<LossRun> {
    let label = format!("seed {}", run.config()?.train.seed);
    Ok(LossRun { label, rows: run.train_rows()?, held_out: run.validation_rows()? })
}

/// Rows that similarities are computed on. With few rows per dimension, CKA of unrelated features is
/// high.
const SIMILARITY_ROWS: usize = 4000;

/// Linear CKA between groups of feature files with the same items, on test rows.
pub(crate) fn alike(groups: &[(String, &FeatureFile, String)], title: &str, subtitle: &str) -> Result<Figure> {
    let (mut features, mut names) = (Vec::new(), Vec::new());
    for (name, file, group) in groups {
        let split = file.split();
        let per_item = file.index();
        let test: Vec<usize> =
            (0..split.len()).filter(|i| split[*i] == Split::Test).flat_map(|i| per_item.rows(i)).collect();
        let step = test.len().div_ceil(SIMILARITY_ROWS).max(1);
        let rows: Vec<usize> = test.into_iter().step_by(step).collect();
        let own = file.select_rows(group, &rows)?;
        // CKA is undefined for a module that maps everything to one point.
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

/// The paper's errors by module, which it has for speakers; none unless all rows are of its own
/// protocol.
pub(crate) fn paper_errors(task: Task, rows: &[ProbeRow]) -> Vec<PaperCurve> {
    let mut curves: Vec<PaperCurve> = Vec::new();
    if task != Task::Speakers || !rows.iter().all(ProbeRow::is_published) {
        return curves;
    }
    for p in paper::values().iter().filter(|p| p.table == paper::Table::ErrorByModule) {
        let label = format!("{}, LibriSpeech", p.method);
        match curves.iter_mut().find(|c| c.label == label) {
            Some(curve) => curve.errors.push(p.value),
            None => curves.push(PaperCurve { label, method: p.method.kind(), errors: vec![p.value] }),
        }
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::summary::test_row;
    use gim_eval::Group;

    fn speakers(protocol: Protocol, views: Option<usize>, head: Head) -> ProbeRow {
        ProbeRow { task: Task::Speakers, protocol, views, head, ..test_row(Group::Trained, 1, 1, 0.9) }
    }

    #[test]
    fn the_papers_curves_stand_beside_its_own_protocol_only() {
        let n = |protocol, views| paper_errors(Task::Speakers, &[speakers(protocol, views, Head::Linear)]).len();
        assert_eq!(n(Protocol::Paper, Some(50)), 4);
        assert_eq!(n(Protocol::Paper, Some(10)), 0);
        assert_eq!(n(Protocol::Paper, None), 0);
        assert_eq!(n(Protocol::Converged, None), 0);
        let phones = ProbeRow { protocol: Protocol::Paper, ..test_row(Group::Trained, 1, 1, 0.9) };
        assert!(paper_errors(Task::Phones, &[phones]).is_empty());
    }

    #[test]
    fn figures_show_linear_probes_of_one_number_of_views() {
        let rows = [
            speakers(Protocol::Paper, Some(10), Head::Linear),
            speakers(Protocol::Paper, Some(50), Head::Linear),
            speakers(Protocol::Paper, Some(50), Head::Mlp),
            speakers(Protocol::Converged, None, Head::Linear),
        ];
        let shown = linear_probes(&rows, Task::Speakers, Protocol::Paper);
        assert_eq!(shown, rows[1..2]);
        let how = |rows: &[ProbeRow], protocol| how(rows, Task::Speakers, protocol, "Linear probe").0;
        assert_eq!(how(&shown, Protocol::Paper), "Linear probe (paper's protocol)");
        assert_eq!(how(&rows[..1], Protocol::Paper), "Linear probe (paper's protocol, 10 views)");
        assert_eq!(how(&rows[3..], Protocol::Converged), "Linear probe");
    }
}
