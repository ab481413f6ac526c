//! The tables of a comparison's page: the finding in a sentence, the values, and notes.

use super::links::Links;
use super::matrix::Matrix;
use super::protocol_notes;
use crate::comparison::ablations::Ablation;
use crate::comparison::memory::Peak;
use crate::comparison::summary::{Summary, reported, signed, with};
use crate::experiment::domain::DomainKind;
use crate::experiment::probe::{ITEMS_PER_CLASS, stopped_of, views_note};
use crate::output::count;
use crate::template::table::Table;
use gim_eval::{Group, Head, Protocol, Task};

/// A table with its heading, finding and notes, as plain text.
#[derive(Debug)]
pub(super) struct Section {
    /// Anchor of the section.
    pub id: String,
    /// Heading.
    pub title: String,
    /// The finding in a sentence.
    pub finding: Option<String>,
    /// The primary accuracies by method and module.
    pub matrix: Option<Matrix>,
    /// Whether the finding stands in the page's summary.
    pub leading: bool,
    /// The values.
    pub table: Table,
    /// Notes below the table.
    pub notes: Vec<String>,
}

/// Sections for probes by task and protocol, then ablations, then memory. Those without rows are
/// left out.
pub(super) fn sections(summary: &[Summary], ablations: &[Ablation], peaks: &[Peak], links: &Links) -> Vec<Section> {
    let methods: Vec<&Summary> = summary.iter().filter(|s| !ablations.iter().any(|a| a.run == s.run)).collect();
    let mut keys: Vec<ProbeKey> = Vec::new();
    for key in methods.iter().map(|s| ProbeKey::of(s)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    // Methods are evaluated with all labels first, with few of them later.
    keys.sort_by_key(ProbeKey::few_labels);
    let probes = keys.iter().enumerate().map(|(i, key)| {
        let id = format!("probes-{}", i + 1);
        probe_section(key, &methods, id, links)
    });
    probes.chain(ablation_section(ablations)).chain(memory_section(peaks)).collect()
}

/// Properties that all probes of a table share.
#[derive(PartialEq)]
struct ProbeKey {
    domain: DomainKind,
    task: Task,
    protocol: Protocol,
    head: Head,
    /// Random views of a training item.
    views: Option<usize>,
    /// Share of the training labels.
    labels: f64,
}

impl ProbeKey {
    fn of(s: &Summary) -> Self {
        let Summary { domain, task, protocol, head, views, labels, .. } = *s;
        Self { domain, task, protocol, head, views, labels }
    }

    fn few_labels(&self) -> bool {
        self.labels < 1.0
    }

    fn title(&self) -> String {
        let task = match self.task {
            Task::Phones => "Phone accuracy".to_owned(),
            Task::Speakers => "Speaker accuracy".to_owned(),
            Task::Classes => "Image class accuracy".to_owned(),
            Task::Column(name) => format!("Accuracy for {name}"),
        };
        let protocol = match self.protocol {
            Protocol::Knn => "20 nearest neighbors",
            Protocol::Paper if self.head == Head::Mlp => "probe with a hidden layer, the paper's protocol",
            Protocol::Paper => "linear probe, the paper's protocol",
            Protocol::Converged => "linear probe to convergence",
        };
        let views = views_note(self.protocol, self.task, self.views);
        let views = views.map_or(String::new(), |note| format!(" with {note}"));
        let few = if self.few_labels() { format!(", {} % of the labels", 100.0 * self.labels) } else { String::new() };
        format!("{task} ({}): {protocol}{views}{few}", self.domain)
    }
}

/// The probes of one task, protocol and share of labels, by method and module.
fn probe_section(key: &ProbeKey, methods: &[&Summary], id: String, links: &Links) -> Section {
    let mut shown: Vec<(&Summary, String)> = Vec::new();
    for s in methods.iter().filter(|s| ProbeKey::of(s) == *key) {
        let Some(features) = s.features() else { continue };
        // Input and random encoder are the same for all methods.
        if !shown.iter().any(|(other, _)| other.covers_baseline(s)) {
            shown.push((s, features));
        }
    }
    // Only phones have frames of silence; elsewhere the two accuracies would be one.
    let phones = key.task == Task::Phones;
    let mut names = vec!["method", "features", "seeds"];
    names.extend(if phones { &["accuracy without silence", "of all frames"][..] } else { &["accuracy"] });
    names.extend(["macro", "over random", "paper"]);
    let row = |(s, features): &(&Summary, String)| {
        let (accuracy, half) = s.primary_accuracy();
        let mut row = vec![method(s), features.clone(), s.seeds.to_string(), with(accuracy, half)];
        if phones {
            row.push(with(s.accuracy, s.accuracy_ci95));
        }
        row.extend([
            format!("{:.1}", s.macro_accuracy),
            s.over_random.map_or(String::new(), |d| format!("{d:+.1}")),
            reported(s.paper, s.paper_mark.as_deref()),
        ]);
        row
    };
    Section {
        id,
        title: key.title(),
        finding: highest(&shown),
        matrix: Some(Matrix::of(&shown, links)),
        leading: !key.few_labels(),
        table: Table::new(&names, shown.iter().map(row).collect()),
        notes: probe_notes(key, &shown),
    }
}

fn method(s: &Summary) -> String {
    match s.group {
        Group::Trained | Group::All => s.title.clone(),
        Group::Random | Group::AllRandom => "Random encoder".into(),
        _ => "Input".into(),
    }
}

/// The highest accuracy of the trained modules, of the random encoder and of the input.
fn highest(shown: &[(&Summary, String)]) -> Option<String> {
    let of = |wanted: fn(Group) -> bool| {
        let part = shown.iter().filter(|(s, _)| wanted(s.group));
        let (s, features) = part.max_by(|a, b| a.0.primary_accuracy().0.total_cmp(&b.0.primary_accuracy().0))?;
        let (accuracy, half) = s.primary_accuracy();
        Some((format!("{}, {features}", method(s)), format!("{} %", with(accuracy, half))))
    };
    let (name, accuracy) = of(Group::is_learned)?;
    let mut out = format!("Highest mean: {accuracy} ({name}).");
    let others = [of(Group::is_random), of(|g| !g.is_learned() && !g.is_random())];
    for (name, accuracy) in others.into_iter().flatten() {
        out += &format!(" {name}: {accuracy}.");
    }
    Some(out)
}

fn probe_notes(key: &ProbeKey, shown: &[(&Summary, String)]) -> Vec<String> {
    let mut notes = Vec::new();
    if key.task == Task::Phones && shown.iter().any(|(s, _)| s.paper.is_some()) {
        notes.push("The paper's phone accuracy is of all frames, silence included.".to_owned());
    }
    if key.protocol == Protocol::Paper {
        notes.extend(protocol_notes::of(key.head, key.task, key.views));
    }
    let rows = shown.iter().map(|(s, _)| s.train_rows);
    // The input and the random encoder are fitted on what the method is fitted on.
    let rows = match rows.clone().min().zip(rows.max()) {
        Some((least, most)) if key.few_labels() && least < most => format!("{least} to {most} rows"),
        Some((least, _)) => format!("{least} rows"),
        None => "no rows".into(),
    };
    notes.push(match key.protocol {
        Protocol::Knn => format!("The neighbors come from {rows}."),
        _ => format!("Each probe is fitted on {rows}."),
    });
    if key.few_labels() {
        notes.push(format!(
            "Every class keeps at least one labeled item. With fewer than {ITEMS_PER_CLASS} a class, the penalty is fixed."
        ));
    }
    let (stopped, all) = shown.iter().fold((0, 0), |(n, all), (s, _)| (n + s.stopped, all + s.seeds));
    if stopped > 0 {
        notes.push(stopped_of(stopped, all));
    }
    notes
}

fn ablation_section(ablations: &[Ablation]) -> Option<Section> {
    let row = |a: &Ablation| {
        vec![
            a.run.clone(),
            a.title.clone(),
            format!("{}, {}", a.task, a.how()),
            with(a.accuracy, a.accuracy_ci95),
            format!("{:.1}", a.reference),
            signed(a.difference, a.difference_ci95),
            reported(a.paper, a.paper_mark.as_deref()),
        ]
    };
    let clear = |sign: f64| {
        let beyond = |a: &&Ablation| a.difference_ci95.is_some_and(|half| sign * a.difference > half);
        ablations.iter().filter(beyond).count()
    };
    let (lower, higher) = (clear(-1.0), clear(1.0));
    (!ablations.is_empty()).then(|| Section {
        id: "ablations".into(),
        title: "Ablations: their last module against the full method's".into(),
        finding: Some(format!(
            "Of {}, {higher} are above zero by more than their 95 % interval and {lower} below. \
             The others cannot be told from zero, or have one seed.",
            count(ablations.len(), "difference")
        )),
        matrix: None,
        leading: true,
        table: Table::new(
            &["run", "change", "task", "accuracy", "full method", "difference", "paper"],
            ablations.iter().map(row).collect(),
        ),
        notes: vec![
            "Differences are in points, between runs of the same seed.".into(),
            "Phone accuracy leaves out silence; the paper's includes it.".into(),
        ],
    })
}

fn memory_section(peaks: &[Peak]) -> Option<Section> {
    let row = |p: &Peak| {
        vec![
            p.run.clone(),
            p.title.clone(),
            p.schedule.to_string(),
            format!("{:.1}", p.buffers_mb),
            format!("{:.1}", p.state_mb),
            format!("{:.1}", p.total_mb),
            p.reported().unwrap_or_default(),
        ]
    };
    let mut domains: Vec<DomainKind> = peaks.iter().map(|p| p.domain).collect();
    domains.dedup();
    let range = |of: &DomainKind| {
        let part = || peaks.iter().filter(|p| p.domain == *of);
        let least = part().min_by(|a, b| a.total_mb.total_cmp(&b.total_mb))?;
        let most = part().max_by(|a, b| a.total_mb.total_cmp(&b.total_mb))?;
        let name = |p: &Peak| format!("{:.1} MB ({}, {})", p.total_mb, p.title, p.schedule);
        Some(format!("A training step of {of} takes from {} to {}.", name(least), name(most)))
    };
    (!peaks.is_empty()).then(|| Section {
        id: "memory".into(),
        title: "Peak memory of a training step, by method and schedule".into(),
        finding: Some(domains.iter().filter_map(range).collect::<Vec<_>>().join(" ")),
        matrix: None,
        leading: false,
        table: Table::new(
            &["run", "method", "schedule", "buffers, MB", "state, MB", "total, MB", "paper"],
            peaks.iter().map(row).collect(),
        ),
        notes: vec![
            "Buffers: the most that activations, gradients and scratch took at once, measured; 1 MB is 10⁶ bytes."
                .into(),
            "State: the parameters and Adam's moments of the modules that take part.".into(),
            "The paper's values are for its own networks on a GPU.".into(),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::memory::StepSchedule;
    use std::collections::BTreeMap;

    fn domain(run: &str) -> DomainKind {
        if run.starts_with("audio/") { DomainKind::Audio } else { DomainKind::Vision }
    }

    /// A probe of `domain/method`.
    fn probe(run: &str, group: Group, module: usize, task: Task, labels: f64, accuracy: f64) -> Summary {
        Summary {
            run: run.into(),
            domain: domain(run),
            method: None,
            title: run.into(),
            group,
            module,
            task,
            protocol: Protocol::Converged,
            head: Head::Linear,
            views: None,
            labels,
            seeds: 1,
            accuracy,
            accuracy_ci95: None,
            no_silence: (task == Task::Phones).then_some(accuracy - 10.0),
            no_silence_ci95: None,
            macro_accuracy: accuracy,
            over_random: None,
            paper: None,
            paper_mark: None,
            by_seed: BTreeMap::from([(1, accuracy)]),
            stopped: 1,
            test_rows: 10,
            train_rows: 20,
            over_random_by_seed: BTreeMap::new(),
        }
    }

    #[test]
    fn probes_of_one_kind_share_a_table_and_baselines_are_shown_once() {
        let rows = [
            probe("audio/gim", Group::Trained, 1, Task::Phones, 0.1, 30.0),
            probe("audio/gim", Group::Trained, 1, Task::Phones, 1.0, 40.0),
            probe("audio/gim", Group::Random, 1, Task::Phones, 1.0, 20.0),
            probe("audio/cpc", Group::Trained, 1, Task::Phones, 1.0, 45.0),
            probe("audio/cpc", Group::Random, 1, Task::Phones, 1.0, 20.0),
            probe("vision/gim", Group::Trained, 1, Task::Classes, 1.0, 50.0),
        ];
        let sections = sections(&rows, &[], &[], &Links::default());
        let titles: Vec<&str> = sections.iter().map(|s| s.title.as_str()).collect();
        let expected = [
            "Phone accuracy (audio): linear probe to convergence",
            "Image class accuracy (vision): linear probe to convergence",
            "Phone accuracy (audio): linear probe to convergence, 10 % of the labels",
        ];
        assert_eq!(titles, expected);
        let [phones, images, few] = &sections[..] else { unreachable!() };
        let matrix = phones.matrix.as_ref().unwrap();
        let shown: Vec<_> = matrix.rows.iter().map(|r| (r.name.as_str(), &*r.cells[0].text, r.cells[0].best)).collect();
        assert_eq!(
            shown,
            [("audio/gim", "30.0", false), ("audio/cpc", "35.0", true), ("Random encoder", "10.0", false)]
        );
        assert_eq!(phones.table.rows.len(), 3);
        assert_eq!(phones.table.rows[2][..5], ["audio/cpc", "module 1", "1", "35.0", "45.0"]);
        let finding = "Highest mean: 35.0 % (audio/cpc, module 1). Random encoder, random 1: 10.0 %.";
        assert_eq!(phones.finding.as_deref(), Some(finding));
        assert!(phones.notes[1].starts_with("3 of these 3 probes stopped at 150"), "{:?}", phones.notes);
        assert_eq!((images.table.columns.len(), phones.table.columns.len()), (7, 8));
        assert!(few.notes.iter().any(|n| n.contains("at least one labeled item")), "{:?}", few.notes);
    }

    #[test]
    fn ablations_and_memory_have_findings() {
        let ablation = |difference, difference_ci95| Ablation {
            run: "audio/no-gru".into(),
            title: "No GRU".into(),
            task: Task::Phones,
            protocol: Protocol::Converged,
            views: None,
            module: 5,
            accuracy: 20.0,
            accuracy_ci95: None,
            ablation_of: "audio/gim".into(),
            reference: 25.0,
            difference,
            difference_ci95,
            paper: None,
            paper_mark: None,
        };
        let ablations = [ablation(-5.0, Some(1.0)), ablation(5.0, Some(6.0)), ablation(-9.0, None)];
        let peak = |run: &str, total_mb| Peak {
            run: run.into(),
            domain: domain(run),
            title: "GIM".into(),
            schedule: StepSchedule::AllModules,
            buffers_mb: 1.0,
            state_mb: 2.0,
            total_mb,
            paper_gb: None,
            paper_mark: None,
        };
        let sections = sections(
            &[],
            &ablations,
            &[peak("audio/a", 3.0), peak("audio/b", 2.0), peak("vision/a", 9.0)],
            &Links::default(),
        );
        let finding = |i: usize| sections[i].finding.clone().unwrap();
        let expected = "Of 3 differences, 0 are above zero by more than their 95 % interval and 1 below.";
        assert!(finding(0).starts_with(expected), "{}", finding(0));
        assert!(finding(1).contains("of audio takes from 2.0 MB (GIM, all modules) to 3.0 MB"), "{}", finding(1));
        assert!(finding(1).contains("of vision takes from 9.0 MB"), "{}", finding(1));
    }
}
