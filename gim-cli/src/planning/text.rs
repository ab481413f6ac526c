//! Plans as text, with what they assume.

use std::fmt::{self, Display, Formatter};

use super::cores::speed_up_on_64;
use super::whole::RunCost;
use super::{ConfigPlan, RunsPlan, ScalingRow};
use crate::experiment::domain::DomainKind;
use crate::output::count;

/// What is assumed of other numbers of cores than `threads`.
pub(super) fn of_cores(threads: usize) -> Vec<String> {
    let [audio, vision] = DomainKind::ALL.map(speed_up_on_64);
    let efficiency = |speed_up: f64| 100.0 * speed_up / 64.0;
    vec![
        format!(
            "Module costs were measured here, on {threads} threads and random input. Other numbers of cores are \
             assumed, not measured: Amdahl's law through a step {audio} times as fast on 64 cores as on one (audio, \
             efficiency {:.0} %) and {vision} times (images, {:.0} %). These come from a simulation and are upper \
             bounds for the paper's widths.",
            efficiency(audio),
            efficiency(vision)
        ),
        "All cores are like those of this machine, and nothing else runs on them.".to_owned(),
    ]
}

/// What is assumed of ranks.
pub(super) fn of_ranks() -> Vec<String> {
    [
        "The batch stays the same for any number of ranks, so there are at most as many replicas as items in it.",
        "A replica's share of a batch takes its share of the time and of the activations.",
        "Activations travel beside computing, both ways at once. A step takes as long as the slowest rank or link.",
        "Replicas sum gradients around a ring, 2 (r − 1) / r of their bytes through each, after the backward pass. \
         The same holds end to end; its hidden time, in which sums overlap with computing as far as possible, is a \
         lower bound.",
        "With replicas, times, traffic and memory are lower bounds for train.replicas: this version computes losses \
         and recurrent contexts at every replica, hands every batch and every output to each, and keeps whole \
         batches in memory. Its result is that of one process, bit for bit.",
        "Measured on one machine: no number here has been compared with several machines. Contention for cores, \
         memory bandwidth and switches is left out.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What is assumed of whole runs.
pub(super) fn of_runs() -> Vec<String> {
    [
        "A run is its training steps and one pass that makes features. Probes, views of the published protocol, \
         validation, checkpoints and reading of data are not in it.",
        "Features are float32, uncompressed, of all modules, and of the random encoder unless another run has it. \
         With probe.by_module they are those of the largest module, in one run at a time, and lower modules run \
         again for each.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn write_assumptions(f: &mut Formatter<'_>, assumptions: &[String]) -> fmt::Result {
    f.write_str("\nassumed:\n")?;
    assumptions.iter().try_for_each(|a| writeln!(f, "- {a}"))
}

/// A value that may be missing, with so many decimals.
fn or_dash(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".into(), |v| format!("{v:.decimals$}"))
}

impl Display for ConfigPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: costs of a batch of {}, measured on {} threads",
            self.configuration, self.batch, self.threads
        )?;
        let names = ["module", "forward s", "train s", "parameters", "state MB", "working MB", "input MB"];
        writeln!(
            f,
            "{:<10} {:>10} {:>9} {:>11} {:>9} {:>11} {:>9}",
            names[0], names[1], names[2], names[3], names[4], names[5], names[6]
        )?;
        let end_to_end = self.end_to_end.iter().map(|m| ("end to end".to_owned(), m));
        for (name, m) in self.modules.iter().map(|m| (m.module.to_string(), m)).chain(end_to_end) {
            let [state, working, input] = [m.state_bytes, m.working_bytes, m.input_bytes].map(|b| b as f64 / 1e6);
            writeln!(
                f,
                "{name:<10} {:>10.4} {:>9.4} {:>11} {state:>9.1} {working:>11.1} {input:>9.2}",
                m.forward_seconds, m.train_seconds, m.parameters
            )?;
        }
        for gbit in &self.machines.bandwidths {
            let (cores, latency) = (self.machines.cores, self.machines.latency);
            writeln!(f, "\npredicted, not measured: {gbit} Gb/s, {latency} µs, cores a rank: {cores}")?;
            writeln!(f, "{}\n{}", HEADS[0], HEADS[1])?;
            let rows = self.predictions.iter().filter(|r| r.bandwidth_gbit == *gbit);
            rows.map(scaling_line).try_for_each(|line| writeln!(f, "{line}"))?;
        }
        writeln!(f, "\nthe whole run on one machine, predicted; dataset: {}", self.dataset)?;
        write_runs(f, std::slice::from_ref(&self.run))?;
        write_assumptions(f, &self.assumptions)
    }
}

/// Heads of the table of ranks.
const HEADS: [&str; 2] = [
    "        one rank each  with replicas                              end to end, data-parallel",
    "ranks     step s idle   used   step s idle  sent MB  rank MB   used   step s   hidden idle  sent MB  rank MB   \
     groups: one rank each; with replicas",
];

/// A number of ranks: greedy modules without and with replicas, end to end, the groups.
fn scaling_line(r: &ScalingRow) -> String {
    let used = r.end_to_end_used.map_or_else(|| "–".into(), |n| n.to_string());
    format!(
        "{:>5} {:>10.4} {:>2.0} % {:>6} {:>8.4} {:>2.0} % {:>8.1} {:>8.0} {used:>6} {:>8} {:>8} {:>2} % {:>8} {:>8}   \
         {}; {} × {}",
        r.ranks,
        r.plain_seconds,
        100.0 * r.plain_idle,
        r.used,
        r.step_seconds,
        100.0 * r.idle,
        r.traffic_mb,
        r.rank_mb,
        or_dash(r.end_to_end_seconds, 4),
        or_dash(r.end_to_end_hidden_seconds, 4),
        or_dash(r.end_to_end_idle.map(|i| 100.0 * i), 0),
        or_dash(r.end_to_end_traffic_mb, 1),
        or_dash(r.end_to_end_rank_mb, 0),
        r.plain_groups,
        r.groups,
        r.replicas
    )
}

/// A table of runs.
fn write_runs(f: &mut Formatter<'_>, runs: &[RunCost]) -> fmt::Result {
    let width = runs.iter().map(|r| r.run.chars().count()).max().unwrap_or(0).max("run".len());
    writeln!(
        f,
        "{:<width$} {:>5} {:>9} {:>8} {:>10} {:>9} {:>9} {:>9} {:>11}",
        "run", "seeds", "steps", "step s", "days on 2", "on 16", "on 64", "state MB", "features GB"
    )?;
    for r in runs {
        writeln!(
            f,
            "{:<width$} {:>5} {:>9} {:>8.4} {:>10.3} {:>9.3} {:>9.3} {:>9.1} {:>11.3}",
            r.run, r.seeds, r.steps, r.step_seconds, r.days_2, r.days_16, r.days_64, r.checkpoint_mb, r.features_gb
        )?;
    }
    Ok(())
}

impl Display for RunsPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { comparison, measured, threads, datasets, days, .. } = self;
        writeln!(
            f,
            "{comparison}: predicted from {} measured on {}",
            count(*measured, "network"),
            count(*threads, "thread")
        )?;
        writeln!(f, "datasets: {}", datasets.join("; "))?;
        writeln!(f, "days of training and features, all seeds, and GB of features:\n")?;
        write_runs(f, &self.runs)?;
        let [two, sixteen, many] = days;
        writeln!(
            f,
            "\nall runs, one after the other: {two:.2} days on 2 cores, {sixteen:.2} on 16, {many:.2} on 64; \
             {:.1} GB of features if all are kept",
            self.features_gb
        )?;
        write_assumptions(f, &self.assumptions)
    }
}
