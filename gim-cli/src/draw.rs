//! The figures of one or several runs (seeds), from the files those runs left.

use std::path::{Path, PathBuf};

use gim_core::{Error, Pool, Result};
use gim_eval::FeatureFile;
use ndarray::Axis;

use crate::config::Config;
use crate::domain::Domain;
use crate::figures::{
    AccuracyByModule, Architecture, ErrorByModule, ErrorCurve, Group, LatentPanel, LatentSpace, LossByModule, LossRun,
    ModuleBox, PaperCurve, ProbeRow, Tsne, accuracy_by_module, architecture, error_by_module, latent_space,
    loss_by_module, read_rows,
};
use crate::files::create_folder;
use crate::pictures;

/// Speakers in the latent-space figure.
const SPEAKERS: usize = 10;

/// Draws everything that the runs' files allow into `out`. Gives the PNG files.
///
/// # Errors
/// When a run lacks its log, or a figure cannot be written.
pub fn draw(runs: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let Some(first) = runs.first() else {
        return Err(Error::config("RUN", "no run is given", "name the folders of one or more runs"));
    };
    create_folder(out)?;
    let config = Config::load(&first.join("config.toml").to_string_lossy(), &[])?;
    let experiment = config.domain.experiment();
    let corpus = experiment.folder()?;
    let corpus = corpus.file_name().map_or("corpus".into(), |n| n.to_string_lossy().into_owned());
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
        let seed = Config::load(&run.join("config.toml").to_string_lossy(), &[])?.train.seed;
        losses.push(LossRun { label: format!("seed {seed}"), rows: read_rows(&run.join("train.csv"))? });
        let probes = run.join("probe.csv");
        if probes.is_file() {
            probed.extend(read_rows::<ProbeRow>(&probes)?);
        }
    }
    let spec = LossByModule {
        title: "Training loss by module".into(),
        subtitle: subtitle.clone(),
        runs: losses,
        negatives: Some(experiment.negatives()),
    };
    keep(loss_by_module(&spec)?, "loss")?;
    for task in experiment.tasks().iter().copied() {
        for protocol in ["converged", "paper", "knn"] {
            let rows: Vec<ProbeRow> =
                probed.iter().filter(|r| r.task == task && r.protocol == protocol).cloned().collect();
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
        match &config.domain {
            Domain::Audio(_) => keep(latent(&features, subtitle)?, "latent-space")?,
            Domain::Vision(vision) => {
                for (figure, name) in pictures::draw(first, vision, &features, &subtitle)? {
                    keep(figure, name)?;
                }
            }
        }
    }
    Ok(saved)
}

/// The paper's speaker errors by module, from the table of reported values.
fn paper_errors() -> Vec<PaperCurve> {
    let mut curves: Vec<PaperCurve> = Vec::new();
    for line in include_str!("../../results/paper.csv").lines() {
        let cells: Vec<&str> = line.split(',').collect();
        if let ["error by module", _, _, method @ ("gim" | "cpc"), _, value, _, _] = cells[..]
            && let Ok(value) = value.parse()
        {
            let label = format!("{}, LibriSpeech", method.to_uppercase());
            match curves.iter_mut().find(|c| c.label == label) {
                Some(curve) => curve.errors.push(value),
                None => curves.push(PaperCurve { label, errors: vec![value] }),
            }
        }
    }
    curves
}

/// t-SNE of the utterances (means over time) of the speakers with most utterances, a panel for each module.
fn latent(path: &Path, subtitle: String) -> Result<crate::figures::Figure> {
    let file = FeatureFile::open(path)?;
    let labels = file.labels("speaker")?;
    let mut counts = vec![0usize; labels.classes];
    for l in labels.values.iter().filter_map(|l| usize::try_from(*l).ok()) {
        counts[l] += 1;
    }
    let mut order: Vec<usize> = (0..counts.len()).filter(|c| counts[*c] > 0).collect();
    order.sort_by_key(|c| (std::cmp::Reverse(counts[*c]), *c));
    order.truncate(SPEAKERS);
    let class = |label: i32| order.iter().position(|o| usize::try_from(label) == Ok(*o));
    let items: Vec<(usize, usize)> =
        labels.values.iter().enumerate().filter_map(|(i, l)| Some((i, class(*l)?))).collect();
    let rows: Vec<usize> = items.iter().map(|i| i.0).collect();
    let groups: Vec<String> = file.groups().filter(|g| g.starts_with("module_")).map(str::to_owned).collect();
    let panels = groups.iter().map(|g| {
        let title = g.replace("module_", "Module ");
        Ok(LatentPanel { title, features: file.read_means(g)?.select(Axis(0), &rows) })
    });
    latent_space(&LatentSpace {
        title: "Latent space: utterances of ten speakers".into(),
        subtitle,
        panels: panels.collect::<Result<_>>()?,
        class: items.iter().map(|i| i.1).collect(),
        names: (1..=order.len()).map(|n| format!("speaker {n}")).collect(),
        what: "speaker".into(),
        tsne: Tsne { perplexity: 30.0, iterations: 1000, seed: file.provenance().seed },
    })
}
