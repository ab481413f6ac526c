//! The figures of one or several runs (seeds), from the files those runs left.

use std::path::{Path, PathBuf};

use gim_audio::network::NetworkKind;
use gim_core::{Error, Pool, Result};
use gim_eval::FeatureFile;
use ndarray::Axis;

use crate::config::Config;
use crate::figures::{
    AccuracyByModule, Architecture, ErrorByModule, ErrorCurve, Group, LatentPanel, LatentSpace, LossByModule, LossRun,
    ModuleBox, PaperCurve, ProbeRow, Tsne, accuracy_by_module, architecture, error_by_module, latent_space,
    loss_by_module, read_rows,
};
use crate::files::create_folder;

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
    let corpus = crate::config::corpus_folder(&config.data)?;
    let corpus = corpus.file_name().map_or("corpus".into(), |n| n.to_string_lossy().into_owned());
    let seeds = if runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", runs.len()) };
    let subtitle = format!("{corpus}, {seeds}, {} channels", config.network.width);
    let mut saved = Vec::new();
    let mut keep = |figure: crate::figures::Figure, name: &str| -> Result<()> {
        let [png, _svg] = figure.save(out, name)?;
        saved.push(png);
        Ok(())
    };

    let stack = config.network.build::<f32>(&config.loss, &config.optimizer, config.train.seed, &Pool::new())?;
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
    let input = format!("sound, {} samples", config.data.crop);
    keep(architecture(&Architecture { title: "Network".into(), input, modules: modules.collect() })?, "architecture")?;

    let mut losses = Vec::new();
    let (mut phones, mut speakers): (Vec<ProbeRow>, Vec<ProbeRow>) = (Vec::new(), Vec::new());
    for run in runs {
        let seed = Config::load(&run.join("config.toml").to_string_lossy(), &[])?.train.seed;
        losses.push(LossRun { label: format!("seed {seed}"), rows: read_rows(&run.join("train.csv"))? });
        let probes = run.join("probe.csv");
        if probes.is_file() {
            for row in read_rows::<ProbeRow>(&probes)? {
                match row.task.as_str() {
                    "phones" => phones.push(row),
                    "speakers" => speakers.push(row),
                    _ => {}
                }
            }
        }
    }
    let spec = LossByModule {
        title: "Training loss by module".into(),
        subtitle: subtitle.clone(),
        runs: losses,
        negatives: Some(config.loss.negatives),
    };
    keep(loss_by_module(&spec)?, "loss")?;
    for (task, rows) in [("phones", &phones), ("speakers", &speakers)] {
        for protocol in ["converged", "paper"] {
            let rows: Vec<ProbeRow> = rows.iter().filter(|r| r.protocol == protocol).cloned().collect();
            if rows.is_empty() {
                continue;
            }
            let name = if protocol == "paper" { format!("{task}-paper-protocol") } else { task.to_owned() };
            let spec = AccuracyByModule {
                title: format!("Linear probe for {task}, by module"),
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
                        method(&name_of(config.network.kind), Group::Trained),
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
        keep(latent(&features, subtitle)?, "latent-space")?;
    }
    Ok(saved)
}

/// What the method is called in figures.
fn name_of(kind: NetworkKind) -> String {
    match kind {
        NetworkKind::Gim6 => "GIM".into(),
        NetworkKind::Gim5 => "GIM, five modules".into(),
        NetworkKind::Cpc => "CPC, end to end".into(),
    }
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
