//! The whole experiment by one command: train, extract, probe and draw, for several seeds. What is done is not done again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gim_core::{Error, Result};
use gim_eval::{Interval, table};
use serde::Serialize;

use crate::config::Config;
use crate::environment::Environment;
use crate::figures::{Group, TrainRow, read_rows};
use crate::files::{create_folder, write_atomic};
use crate::probes::Row;
use crate::progress::Mode as Show;
use crate::{draw, extract, probes, run};

/// Mean and spread of one probe over seeds, in percent.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// What was probed.
    pub group: Group,
    /// Module number; 0 for the input itself.
    pub module: usize,
    /// Task.
    pub task: String,
    /// Protocol.
    pub protocol: String,
    /// Seeds.
    pub seeds: usize,
    /// Mean accuracy, %.
    pub accuracy: f64,
    /// Half-width of its 95 % interval over seeds; empty for one seed.
    pub accuracy_ci95: Option<f64>,
    /// Mean accuracy without silence, %.
    pub no_silence: Option<f64>,
    /// Half-width of its 95 % interval.
    pub no_silence_ci95: Option<f64>,
    /// Mean macro-averaged accuracy, %.
    pub macro_accuracy: f64,
    /// `accuracy` (without silence for phones) minus that of the random encoder at the same module.
    pub over_random: Option<f64>,
}

/// What one invocation does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Preset.
    pub config: Config,
    /// Folder for runs, tables and figures.
    pub out: PathBuf,
    /// Number of seeds, from the configuration's seed on.
    pub seeds: u64,
}

/// Protocols of a task's probes: pictures get a second opinion.
fn protocols(task: &str) -> &'static [&'static str] {
    if task == "classes" { &["converged", "knn"] } else { &["converged"] }
}

/// Runs what is missing and summarises. Gives the summary and the figures.
///
/// # Errors
/// Whatever stops a run; calling again goes on from there.
pub fn reproduce(plan: &Plan, show: Show) -> Result<(Vec<Summary>, Vec<PathBuf>)> {
    create_folder(&plan.out)?;
    let experiment = plan.config.domain.experiment();
    let mut runs = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for seed in plan.config.train.seed..plan.config.train.seed + plan.seeds {
        let mut config = plan.config.clone();
        config.train.seed = seed;
        let folder = plan.out.join(format!("seed-{seed}"));
        let started = folder.join("config.toml").is_file();
        run::train(&config, &folder, started, show)?;
        let features = extract::features_of(&folder, show)?;
        for task in experiment.tasks() {
            for protocol in protocols(task) {
                let csv = folder.join("probe.csv");
                let done: Vec<Row> = if csv.is_file() { table::read_rows(&csv)? } else { Vec::new() };
                if !done.iter().any(|r| r.task == *task && r.protocol == *protocol) {
                    probes::merge(&csv, &probes::probe(&features, task, protocol, None, show)?)?;
                }
            }
        }
        rows.extend(table::read_rows::<Row>(&folder.join("probe.csv"))?);
        runs.push(folder);
    }
    let summary = summarise(&rows);
    table::write_rows(table_path(plan), &summary)?;
    let figures = draw::draw(&runs, &plan.out.join("figures"))?;
    write_atomic(&plan.out.join("README.md"), readme(&runs, &summary)?.as_bytes())?;
    Ok((summary, figures))
}

/// What was run, where, and what came out, in Markdown.
fn readme(runs: &[PathBuf], summary: &[Summary]) -> Result<String> {
    let mut out = String::from(
        "# Results\n\n| run | command | commit | CPU, threads | started | training, s | peak memory, MB |\n|---|---|---|---|---|---|---|\n",
    );
    for run in runs {
        let file = run.join("environment.json");
        let text = std::fs::read(&file).map_err(|e| Error::io(&file, "read", &e))?;
        let e: Environment = serde_json::from_slice(&text)
            .map_err(|e| Error::file(&file, format_args!("is damaged: {e}"), "train again"))?;
        let seconds = read_rows::<TrainRow>(&run.join("train.csv"))?.last().and_then(|r| r.seconds);
        let commit = e.git_commit.map_or("unknown".into(), |c| c.chars().take(10).collect::<String>());
        let changed = if e.git_dirty == Some(true) { " with changes" } else { "" };
        out += &format!(
            "| {} | `{}` | {commit}{changed} | {}, {} | {} | {} | {} |\n",
            run.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            e.command.join(" "),
            e.cpu.unwrap_or_else(|| "unknown".into()),
            e.threads,
            e.started,
            seconds.map_or("–".into(), |s| format!("{s:.0}")),
            e.peak_resident_bytes.map_or("–".into(), |b| format!("{:.0}", b as f64 / 1e6)),
        );
    }
    out += "\nAccuracy in percent, mean ± half-width of the 95 % interval over seeds. *Over random* compares with the random encoder at the same\n\
            module (phones: without silence).\n\n\
            | task | protocol | features | all | without silence | macro | over random |\n|---|---|---|---|---|---|---|\n";
    for s in summary {
        let Some(name) = s.name() else { continue };
        out += &format!(
            "| {} | {} | {name} | {} | {} | {:.1} | {} |\n",
            s.task,
            s.protocol,
            with(s.accuracy, s.accuracy_ci95),
            s.no_silence.map_or("–".into(), |m| with(m, s.no_silence_ci95)),
            s.macro_accuracy,
            s.over_random.map_or(String::new(), |d| format!("{d:+.1}"))
        );
    }
    Ok(out)
}

fn with(mean: f64, half: Option<f64>) -> String {
    half.map_or(format!("{mean:.1}"), |h| format!("{mean:.1} ± {h:.1}"))
}

impl Summary {
    fn name(&self) -> Option<String> {
        probes::name(self.group, self.module)
    }
}

fn summarise(rows: &[Row]) -> Vec<Summary> {
    type Key = (String, String, Group, usize);
    let mut by: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
    for r in rows {
        by.entry((r.task.clone(), r.protocol.clone(), r.group, r.module)).or_default().push(r);
    }
    let mean = |rows: &[&Row], f: &dyn Fn(&Row) -> Option<f64>| -> Option<Interval> {
        Interval::of(&rows.iter().map(|r| f(r).map(|x| 100.0 * x)).collect::<Option<Vec<f64>>>()?)
    };
    let judged = |r: &Row| r.accuracy_no_silence.or(Some(r.accuracy));
    let mut out = Vec::new();
    for ((task, protocol, group, module), rows) in &by {
        let Some(accuracy) = mean(rows, &|r| Some(r.accuracy)) else { continue };
        let no_silence = mean(rows, &|r| r.accuracy_no_silence);
        let random =
            by.get(&(task.clone(), protocol.clone(), Group::Random, *module)).filter(|_| *group == Group::Trained);
        let over = random.and_then(|r| Some(mean(rows, &judged)?.mean - mean(r, &judged)?.mean));
        let half = |i: &Interval| (i.n > 1).then_some(i.half_width);
        out.push(Summary {
            group: *group,
            module: *module,
            task: task.clone(),
            protocol: protocol.clone(),
            seeds: rows.len(),
            accuracy: accuracy.mean,
            accuracy_ci95: half(&accuracy),
            no_silence: no_silence.as_ref().map(|i| i.mean),
            no_silence_ci95: no_silence.as_ref().and_then(half),
            macro_accuracy: mean(rows, &|r| Some(r.macro_accuracy)).map_or(f64::NAN, |i| i.mean),
            over_random: over,
        });
    }
    out
}

/// The summary for people.
pub fn print(summary: &[Summary]) -> String {
    let mut out = format!(
        "{:<10} {:<10} {:<11} {:>14} {:>14} {:>7} {:>12}\n",
        "task", "protocol", "features", "all %", "no silence %", "macro", "over random"
    );
    for s in summary {
        let Some(name) = s.name() else { continue };
        out += &format!(
            "{:<10} {:<10} {name:<11} {:>14} {:>14} {:>7.1} {:>12}\n",
            s.task,
            s.protocol,
            with(s.accuracy, s.accuracy_ci95),
            s.no_silence.map_or("–".into(), |m| with(m, s.no_silence_ci95)),
            s.macro_accuracy,
            s.over_random.map_or(String::new(), |d| format!("{d:+.1}"))
        );
    }
    out
}

/// The table of a plan.
pub fn table_path(plan: &Plan) -> PathBuf {
    plan.out.join(format!("table_{}.csv", plan.config.domain.experiment().name()))
}
