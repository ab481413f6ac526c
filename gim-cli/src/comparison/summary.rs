//! Means and spreads over seeds, as tables show them.

use std::collections::BTreeMap;

use gim_eval::numbers::percent;
use gim_eval::{Group, Head, Interval, ProbeRow, Protocol, Task};
use serde::Serialize;

use crate::comparison::paper::{self, Method, with_mark};
use crate::comparison::sweep::Entry;
use crate::experiment::domain::DomainKind;
use crate::experiment::probe;

/// Mean and spread of one probe of one run over seeds, in percent; files hold shares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Name of the run.
    pub run: String,
    /// Domain of the run.
    #[serde(skip)]
    pub domain: DomainKind,
    /// The paper's method that the run repeats, if any.
    #[serde(skip)]
    pub method: Option<Method>,
    /// Title of the run.
    pub title: String,
    /// Kind of features.
    pub group: Group,
    /// Module number; 0 for the input itself.
    pub module: usize,
    /// Task.
    pub task: Task,
    /// Protocol.
    pub protocol: Protocol,
    /// What the probe puts on the features.
    pub head: Head,
    /// Random views of a training item in the paper's protocol.
    pub views: Option<usize>,
    /// Share of the training labels.
    pub labels: f64,
    /// Seeds.
    pub seeds: usize,
    /// Mean accuracy, %.
    #[serde(serialize_with = "percent::serialize")]
    pub accuracy: f64,
    /// Half-width of its 95 % interval over seeds; empty for one seed.
    #[serde(serialize_with = "percent::serialize")]
    pub accuracy_ci95: Option<f64>,
    /// Mean accuracy without silence, %.
    #[serde(serialize_with = "percent::serialize")]
    pub no_silence: Option<f64>,
    /// Half-width of its 95 % interval.
    #[serde(serialize_with = "percent::serialize")]
    pub no_silence_ci95: Option<f64>,
    /// Mean macro-averaged accuracy, %.
    #[serde(serialize_with = "percent::serialize")]
    pub macro_accuracy: f64,
    /// `accuracy` (without silence for phones) minus that of the random encoder at the same module.
    #[serde(serialize_with = "percent::serialize")]
    pub over_random: Option<f64>,
    /// The paper's accuracy, beside the method's last module.
    #[serde(serialize_with = "percent::serialize")]
    pub paper: Option<f64>,
    /// How the paper's value is known.
    pub paper_mark: Option<String>,
    /// Accuracy (without silence for phones) of every seed, for differences between runs.
    #[serde(skip)]
    pub by_seed: BTreeMap<u64, f64>,
    /// Seeds whose probe was stopped before it met its tolerance.
    #[serde(skip)]
    pub stopped: usize,
    /// Test rows of a seed; the fewest over seeds.
    #[serde(skip)]
    pub test_rows: usize,
    /// Training rows of a seed; the most over seeds.
    #[serde(skip)]
    pub train_rows: usize,
    /// `by_seed` minus the random encoder at the same module, for seeds that have both.
    #[serde(skip)]
    pub over_random_by_seed: BTreeMap<u64, f64>,
}

impl Summary {
    /// Name of the features in tables; `None` for groups that tables skip.
    pub(crate) fn features(&self) -> Option<String> {
        probe::name(self.group, self.module)
    }

    /// How the probe was made, for tables.
    pub(crate) fn how(&self) -> String {
        probe::how(self.protocol, self.head, self.task, self.views)
    }

    /// Whether `other` repeats this probe of an untrained baseline: the same accuracies, for the same
    /// seeds or some of them.
    pub(crate) fn covers_baseline(&self, other: &Self) -> bool {
        let key = |s: &Self| (s.group, s.module, s.task, s.protocol, s.head, s.views, s.labels.to_bits());
        let same = |(seed, accuracy)| self.by_seed.get(seed) == Some(accuracy);
        !self.group.is_learned() && key(self) == key(other) && other.by_seed.iter().all(same)
    }

    /// Mean and half-width of the primary accuracy: without silence for phones.
    pub(crate) fn primary_accuracy(&self) -> (f64, Option<f64>) {
        match self.no_silence {
            Some(mean) => (mean, self.no_silence_ci95),
            None => (self.accuracy, self.accuracy_ci95),
        }
    }
}

/// The paper's value and its mark as text; empty without a value.
pub(crate) fn reported(value: Option<f64>, mark: Option<&str>) -> String {
    value.zip(mark).map_or(String::new(), |(v, m)| with_mark(v, m))
}

/// A difference and its half-width as text.
pub(crate) fn signed(mean: f64, half: Option<f64>) -> String {
    // No "-0.0" of what rounds to nothing.
    let mean = if mean.abs() < 0.05 { 0.0 } else { mean };
    half.map_or(format!("{mean:+.1}"), |h| format!("{mean:+.1} ± {h:.1}"))
}

/// A mean and its half-width as text.
pub(crate) fn with(mean: f64, half: Option<f64>) -> String {
    half.map_or(format!("{mean:.1}"), |h| format!("{mean:.1} ± {h:.1}"))
}

/// Summarizes the probes of one run over all its seeds.
pub(crate) fn summarize(entry: &Entry, domain: DomainKind, rows: &[ProbeRow]) -> Vec<Summary> {
    type Key = (Task, Protocol, Head, Option<usize>, u64, Group, usize);
    let mut by: BTreeMap<Key, Vec<&ProbeRow>> = BTreeMap::new();
    for r in rows {
        by.entry((r.task, r.protocol, r.head, r.views, r.labels.to_bits(), r.group, r.module)).or_default().push(r);
    }
    let mean = |rows: &[&ProbeRow], f: &dyn Fn(&ProbeRow) -> Option<f64>| -> Option<Interval> {
        Interval::of(&rows.iter().map(|r| f(r).map(|x| 100.0 * x)).collect::<Option<Vec<f64>>>()?)
    };
    let last = rows.iter().filter(|r| r.group == Group::Trained).map(|r| r.module).max();
    let mut out = Vec::new();
    for ((task, protocol, head, views, labels, group, module), rows) in &by {
        let Some(accuracy) = mean(rows, &|r| Some(r.accuracy)) else { continue };
        let no_silence = mean(rows, &|r| r.accuracy_no_silence);
        let half = |i: &Interval| (i.n > 1).then_some(i.half_width);
        let ours = |rows: &[&ProbeRow]| {
            Interval::of(&rows.iter().map(|r| 100.0 * r.primary_accuracy()).collect::<Vec<_>>()).map(|i| i.mean)
        };
        let twin = match group {
            Group::Trained => Some(Group::Random),
            Group::All => Some(Group::AllRandom),
            _ => None,
        };
        let random = twin.and_then(|twin| by.get(&(*task, *protocol, *head, *views, *labels, twin, *module)));
        let over = random.and_then(|r| Some(ours(rows)? - ours(r)?));
        let of_seed = |seed| random.and_then(|rows| rows.iter().find(|r| r.seed == seed)).map(|r| r.primary_accuracy());
        let over_by_seed =
            rows.iter().filter_map(|r| Some((r.seed, 100.0 * (r.primary_accuracy() - of_seed(r.seed)?)))).collect();
        let method = match group {
            Group::Trained if Some(*module) == last => entry.paper,
            Group::Random if Some(*module) == last => Some(Method::Random),
            Group::Mfcc => Some(Method::Mfcc),
            _ => None,
        };
        let reported = method.filter(|_| rows[0].is_published()).and_then(|method| paper::accuracy(method, *task));
        out.push(Summary {
            run: entry.name.clone(),
            domain,
            method: entry.paper,
            title: entry.title.clone(),
            group: *group,
            module: *module,
            task: *task,
            protocol: *protocol,
            head: *head,
            views: *views,
            labels: rows[0].labels,
            seeds: rows.len(),
            accuracy: accuracy.mean,
            accuracy_ci95: half(&accuracy),
            no_silence: no_silence.as_ref().map(|i| i.mean),
            no_silence_ci95: no_silence.as_ref().and_then(half),
            macro_accuracy: mean(rows, &|r| Some(r.macro_accuracy)).map_or(f64::NAN, |i| i.mean),
            over_random: over,
            paper: reported.as_ref().map(|p| p.value),
            paper_mark: reported.map(|p| p.mark),
            by_seed: rows.iter().map(|r| (r.seed, 100.0 * r.primary_accuracy())).collect(),
            stopped: rows.iter().filter(|r| r.protocol == Protocol::Converged && !r.converged).count(),
            test_rows: rows.iter().map(|r| r.test_rows).min().unwrap_or(0),
            train_rows: rows.iter().map(|r| r.train_rows).max().unwrap_or(0),
            over_random_by_seed: over_by_seed,
        });
    }
    out
}

/// Mean and half-width of the differences between the seeds that both have.
pub(crate) fn difference(a: &Summary, b: &Summary) -> Option<(f64, Option<f64>)> {
    let paired: Vec<f64> = a.by_seed.iter().filter_map(|(seed, x)| Some(x - b.by_seed.get(seed)?)).collect();
    let interval = Interval::of(&paired)?;
    Some((interval.mean, (interval.n > 1).then_some(interval.half_width)))
}

/// The row of the last trained module with all labels, among the rows of one run.
pub(crate) fn last_module<'a>(
    rows: impl Iterator<Item = &'a Summary>,
    task: Task,
    protocol: Protocol,
) -> Option<&'a Summary> {
    rows.filter(|s| s.task == task && s.protocol == protocol && s.head == Head::Linear && s.labels == 1.0)
        .filter(|s| s.group == Group::Trained)
        .max_by_key(|s| s.module)
}

/// A row of a converged probe for phones, with all labels.
#[cfg(test)]
pub(crate) fn test_row(group: Group, module: usize, seed: u64, accuracy: f64) -> ProbeRow {
    ProbeRow {
        group,
        module,
        task: Task::Phones,
        protocol: Protocol::Converged,
        head: Head::Linear,
        views: None,
        test_views: None,
        labels: 1.0,
        pooling: None,
        dims: 4,
        train_rows: 10,
        test_rows: 10,
        accuracy,
        accuracy_no_silence: Some(accuracy - 0.1),
        macro_accuracy: accuracy,
        top5: None,
        majority: 0.1,
        l2: None,
        iterations: 1,
        converged: true,
        seconds: 0.0,
        seed,
        step: None,
        checkpoint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{test_row as row, *};
    use crate::comparison::ablations::ablations;

    fn entry(name: &str, ablation_of: Option<&str>) -> Entry {
        Entry {
            name: name.into(),
            preset: "audio-quick".into(),
            title: name.into(),
            paper: Some(Method::Gim),
            ablation_of: ablation_of.map(Into::into),
            baselines: None,
            tasks: None,
            set: Vec::new(),
        }
    }

    #[test]
    fn means_differences_and_the_papers_values() {
        let rows = [
            row(Group::Random, 1, 1, 0.3),
            row(Group::Trained, 1, 1, 0.5),
            row(Group::Trained, 2, 1, 0.6),
            row(Group::Trained, 2, 2, 0.7),
        ]
        .map(|r| ProbeRow { protocol: Protocol::Paper, ..r });
        let of = summarize(&entry("a", None), DomainKind::Audio, &rows);
        let find = |module| of.iter().find(|s| s.group == Group::Trained && s.module == module).unwrap();
        assert_eq!((find(1).seeds, find(1).accuracy_ci95, find(1).paper), (1, None, None));
        assert!((find(1).over_random.unwrap() - 20.0).abs() < 1e-9);
        let last = find(2);
        assert!((last.accuracy - 65.0).abs() < 1e-9 && (last.primary_accuracy().0 - 55.0).abs() < 1e-9);
        assert_eq!((last.paper, last.paper_mark.as_deref(), last.over_random), (Some(62.5), Some("M"), None));

        // The paper's value does not stand beside another protocol.
        let converged: Vec<ProbeRow> =
            rows.iter().map(|r| ProbeRow { protocol: Protocol::Converged, ..r.clone() }).collect();
        let converged = summarize(&entry("a", None), DomainKind::Audio, &converged);
        assert!(converged.iter().all(|s| s.paper.is_none() && s.paper_mark.is_none()));

        let better: Vec<ProbeRow> = rows
            .iter()
            .map(|r| ProbeRow { protocol: Protocol::Paper, ..row(r.group, r.module, r.seed, r.accuracy + 0.05) })
            .collect();
        let mut all = of.clone();
        all.extend(summarize(&entry("b", Some("a")), DomainKind::Audio, &better));
        let found = ablations(&[entry("a", None), entry("b", Some("a"))], &all);
        assert_eq!(found.len(), 1);
        assert!((found[0].difference - 5.0).abs() < 1e-9 && found[0].difference_ci95.unwrap() < 1e-6);
        assert_eq!((found[0].module, found[0].ablation_of.as_str()), (2, "a"));
    }

    /// Rows of other heads and other numbers of views are not averaged, and carry no value of the paper.
    #[test]
    fn heads_and_views_are_kept_apart() {
        let speakers = |head, views| ProbeRow {
            task: Task::Speakers,
            protocol: Protocol::Paper,
            head,
            views,
            ..row(Group::Trained, 1, 1, 0.5)
        };
        let rows = [speakers(Head::Linear, Some(50)), speakers(Head::Linear, Some(2)), speakers(Head::Mlp, Some(50))];
        let of = summarize(&entry("a", None), DomainKind::Audio, &rows);
        assert_eq!(of.len(), 3);
        for s in &of {
            let published = (s.head, s.views) == (Head::Linear, Some(50));
            assert_eq!(s.paper, published.then_some(99.4), "{}", s.how());
        }
        let mut how: Vec<String> = of.iter().map(Summary::how).collect();
        how.sort();
        assert_eq!(how, ["paper", "paper, 2 views", "paper, mlp"]);
    }

    #[test]
    fn baselines_of_fewer_seeds_are_covered() {
        let of = |seeds: &[u64], group, accuracy| {
            let rows: Vec<ProbeRow> = seeds.iter().map(|s| row(group, 1, *s, accuracy + 0.01 * *s as f64)).collect();
            summarize(&entry("a", None), DomainKind::Audio, &rows).remove(0)
        };
        let random = |seeds: &[u64]| of(seeds, Group::Random, 0.3);
        assert!(random(&[1, 2, 3]).covers_baseline(&random(&[1, 2, 3])));
        assert!(random(&[1, 2, 3]).covers_baseline(&random(&[2])));
        assert!(!random(&[1, 2]).covers_baseline(&random(&[1, 2, 3])));
        assert!(!random(&[1]).covers_baseline(&of(&[1], Group::Random, 0.4)));
        assert!(!random(&[1]).covers_baseline(&of(&[1], Group::Mfcc, 0.3)));
        assert!(!of(&[1], Group::Trained, 0.3).covers_baseline(&of(&[1], Group::Trained, 0.3)));
    }
}
