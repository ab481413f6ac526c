//! The paper's claims against our results.
//!
//! A claim held if the 95 % interval of a difference over seeds lies on its side. It did not hold
//! if the interval lies on the other side. Otherwise, and with a single seed, it cannot be told.

use crate::comparison::memory::{Peak, StepSchedule};
use crate::comparison::paper::Method;
use crate::comparison::reproduce::FinishedRun;
use crate::comparison::summary::{Summary, difference, last_module, signed};
use crate::experiment::domain::DomainKind;
use crate::experiment::probe::{MOST_ITERATIONS, views_note};
use gim_eval::{Group, Head, Protocol, Task};

/// Whether a claim held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The interval lies on the claim's side.
    Held,
    /// The interval lies on the other side.
    DidNotHold,
    /// The interval lies on both sides, or there is one seed.
    CannotTell,
}

impl Verdict {
    /// The verdict in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::DidNotHold => "did not hold",
            Self::CannotTell => "can't tell at this scale",
        }
    }

    /// Verdict of a difference, mean and half-width, that should be above `least`.
    fn of((mean, half): (f64, Option<f64>), least: f64) -> Self {
        match half {
            Some(h) if mean - h > least => Self::Held,
            Some(h) if mean + h < least => Self::DidNotHold,
            _ => Self::CannotTell,
        }
    }
}

/// A claim, its verdict and the evidence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claim {
    /// The claim of the paper.
    pub text: String,
    /// Whether it held here.
    pub verdict: Verdict,
    /// Differences in points of accuracy, or MB.
    pub evidence: String,
}

/// On which side of a difference a claim lies.
#[derive(Clone, Copy)]
enum Side {
    /// Above so many points.
    Above(f64),
    /// Below none.
    Below,
}

/// Points that count as "near".
const NEAR: f64 = 3.0;

fn points((mean, half): (f64, Option<f64>)) -> String {
    let alone = if half.is_none() { " (one seed)" } else { "" };
    signed(mean, half) + alone
}

/// Says how many probes behind a claim stopped early; empty if none did.
fn stopped<'a>(probes: impl IntoIterator<Item = &'a Summary>) -> String {
    match probes.into_iter().fold((0, 0), |(stopped, all), s| (stopped + s.stopped, all + s.seeds)) {
        (0, _) => String::new(),
        (n, all) => format!("; {n} of the {all} probes were stopped after {MOST_ITERATIONS} iterations"),
    }
}

/// All claims that the rows and the peaks can support.
pub(crate) fn evaluate(runs: &[FinishedRun], rows: &[Summary], peaks: &[Peak]) -> Vec<Claim> {
    let mut out = Vec::new();
    // The paper's probe and the converged probe can disagree.
    for (domain, task, protocol, word) in [
        (DomainKind::Audio, Task::Phones, Protocol::Converged, "phones"),
        (DomainKind::Audio, Task::Phones, Protocol::Paper, "phones, by the paper's probe"),
        (DomainKind::Audio, Task::Speakers, Protocol::Converged, "speakers"),
        (DomainKind::Audio, Task::Speakers, Protocol::Paper, "speakers, by the paper's probe"),
        (DomainKind::Vision, Task::Classes, Protocol::Converged, "images"),
        (DomainKind::Vision, Task::Classes, Protocol::Paper, "images, by the paper's probe"),
    ] {
        let mut probes = Probes { rows, domain, task, protocol, word: word.into() };
        let modules = probes.modules();
        let Some(last) = modules.last() else { continue };
        if let Some(note) = views_note(protocol, task, last.views) {
            probes.word += &format!(" with {note}");
        }
        out.extend(probes.each_module_improves(&modules));
        out.extend(probes.against_baselines(last));
        out.extend(probes.against_methods(last));
    }
    out.extend(runs.iter().filter_map(|run| ablation(run, runs, rows)));
    out.extend(memory(runs, peaks));
    out
}

/// Results of one probe of a domain's methods.
struct Probes<'a> {
    rows: &'a [Summary],
    domain: DomainKind,
    task: Task,
    protocol: Protocol,
    /// What claims call it.
    word: String,
}

impl<'a> Probes<'a> {
    /// Greedy InfoMax's own row of a group and module, with all labels.
    fn own(&self, group: Group, module: usize) -> Option<&'a Summary> {
        self.rows.iter().find(|s| {
            s.domain == self.domain
                && s.method == Some(Method::Gim)
                && s.task == self.task
                && s.protocol == self.protocol
                && s.head == Head::Linear
                && s.labels == 1.0
                && s.group == group
                && s.module == module
        })
    }

    /// Greedy InfoMax's modules from the first on.
    fn modules(&self) -> Vec<&'a Summary> {
        (1..).map_while(|m| self.own(Group::Trained, m)).collect()
    }

    fn each_module_improves(&self, modules: &[&Summary]) -> Option<Claim> {
        let steps: Vec<(f64, Option<f64>)> = modules.windows(2).filter_map(|w| difference(w[1], w[0])).collect();
        let each: Vec<Verdict> = steps.iter().map(|d| Verdict::of(*d, 0.0)).collect();
        let verdict = if each.contains(&Verdict::DidNotHold) {
            Verdict::DidNotHold
        } else if each.iter().all(|v| *v == Verdict::Held) {
            Verdict::Held
        } else {
            Verdict::CannotTell
        };
        let list: Vec<String> = steps.iter().map(|d| points(*d)).collect();
        (!steps.is_empty()).then(|| Claim {
            text: format!("Each module improves on the one below ({}).", self.word),
            verdict,
            evidence: format!("module over the one below: {}{}", list.join(", "), stopped(modules.iter().copied())),
        })
    }

    fn against_baselines(&self, last: &Summary) -> Vec<Claim> {
        let word = &self.word;
        let random = self.own(Group::Random, last.module);
        let text = format!("Greedy InfoMax learns: its last module beats the random encoder ({word}).");
        let learns = compare(text, last, random, "the random encoder", Side::Above(0.0));
        let raw = self.own(Group::Mfcc, 0).or_else(|| self.own(Group::Raw, 0));
        let text = format!("Its last module beats the input itself ({word}).");
        learns.into_iter().chain(compare(text, last, raw, "the input", Side::Above(0.0))).collect()
    }

    fn against_methods(&self, last: &Summary) -> Vec<Claim> {
        let word = &self.word;
        let of = |method: Method| {
            let rows = self.rows.iter().filter(|s| s.domain == self.domain && s.method == Some(method));
            last_module(rows, self.task, self.protocol)
        };
        let text = format!("Without end-to-end gradients it ends at most {NEAR:.0} points below CPC ({word}).");
        let mut out: Vec<Claim> = compare(text, last, of(Method::Cpc), "CPC", Side::Above(-NEAR)).into_iter().collect();
        for method in [Method::GreedySupervised, Method::Supervised] {
            let name = format!("{method} learning");
            // In the paper, supervised learning does better with the labels of phones, not with others.
            let (text, side) = match self.task {
                Task::Phones => (format!("It falls short of {name} ({word})."), Side::Below),
                Task::Speakers | Task::Classes | Task::Column(_) => {
                    (format!("It beats {name} ({word})."), Side::Above(0.0))
                }
            };
            out.extend(compare(text, last, of(method), &name, side));
        }
        out
    }
}

/// A claim about the last module against another probe; none without that probe.
fn compare(text: String, last: &Summary, other: Option<&Summary>, against: &str, side: Side) -> Option<Claim> {
    let other = other?;
    let d = difference(last, other)?;
    let verdict = match side {
        Side::Above(least) => Verdict::of(d, least),
        Side::Below => Verdict::of((-d.0, d.1), 0.0),
    };
    let evidence = format!("last module against {against}: {}{}", points(d), stopped([last, other]));
    Some(Claim { text, verdict, evidence })
}

/// The claim that an ablation tests, if the paper makes one.
fn ablation(run: &FinishedRun, runs: &[FinishedRun], rows: &[Summary]) -> Option<Claim> {
    let reference = run.entry.ablation_of.as_ref()?;
    let same_length = || {
        let full = runs.iter().find(|r| &r.entry.name == reference);
        full.is_some_and(|full| full.config.train.length() == run.config.train.length())
    };
    let (task, word) = match run.domain() {
        DomainKind::Audio => (Task::Phones, "phones"),
        DomainKind::Vision => (Task::Classes, "images"),
    };
    let (text, compared) = match run.entry.paper {
        Some(Method::NoBptt) => ("Back-propagation through time in the GRU helps", "with it against without"),
        Some(Method::NoGru) => ("The GRU helps", "with it against without"),
        None if run.config.train.iterative() && same_length() => {
            ("Modules that learn one after the other end no better", "at once against one after the other")
        }
        _ => return None,
    };
    let last = |name: &str| last_module(rows.iter().filter(|s| s.run == name), task, Protocol::Converged);
    let (full, without) = (last(reference)?, last(&run.entry.name)?);
    let d = difference(full, without)?;
    let evidence = format!("last module {compared}: {}{}", points(d), stopped([full, without]));
    Some(Claim { text: format!("{text} ({word})."), verdict: Verdict::of(d, 0.0), evidence })
}

/// Claims about memory.
fn memory(runs: &[FinishedRun], peaks: &[Peak]) -> Vec<Claim> {
    let mut out = Vec::new();
    for (domain, word) in [(DomainKind::Audio, "audio"), (DomainKind::Vision, "images")] {
        let peak = |method: Method, schedule: StepSchedule| {
            let is_of = |p: &&Peak| {
                p.domain == domain
                    && p.schedule == schedule
                    && runs.iter().any(|r| r.entry.paper == Some(method) && r.entry.name == p.run)
            };
            peaks.iter().find(is_of).map(|p| p.total_mb)
        };
        let Some(whole) = peak(Method::Cpc, StepSchedule::EndToEnd) else { continue };
        for (schedule, text) in [
            (StepSchedule::AllModules, "All modules at once take less memory than end to end"),
            (StepSchedule::ModuleAlone(1), "A module alone takes less memory than end to end"),
        ] {
            let Some(ours) = peak(Method::Gim, schedule) else { continue };
            // A peak is counted, not sampled: it has no spread.
            let verdict = if ours < whole { Verdict::Held } else { Verdict::DidNotHold };
            let evidence = format!("peak of a step: {ours:.1} MB against {whole:.1} MB");
            out.push(Claim { text: format!("{text} ({word})."), verdict, evidence });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::summary::{summarize, test_row};
    use crate::comparison::sweep::Entry;
    use gim_eval::ProbeRow;

    #[test]
    fn verdicts_follow_the_interval() {
        assert_eq!(Verdict::of((2.0, Some(1.0)), 0.0), Verdict::Held);
        assert_eq!(Verdict::of((2.0, Some(3.0)), 0.0), Verdict::CannotTell);
        assert_eq!(Verdict::of((-2.0, Some(1.0)), 0.0), Verdict::DidNotHold);
        assert_eq!(Verdict::of((-2.0, Some(0.5)), -3.0), Verdict::Held);
        assert_eq!(Verdict::of((9.0, None), 0.0), Verdict::CannotTell);
    }

    /// Three seeds, in which nothing varies but by a tenth of a point.
    fn rows(run: &FinishedRun, accuracies: &[(Group, usize, f64)]) -> Vec<Summary> {
        let mut rows = Vec::new();
        for seed in 1..=3 {
            rows.extend(accuracies.iter().map(|(group, module, accuracy)| ProbeRow {
                task: Task::Classes,
                accuracy: accuracy + 1e-3 * ((seed * (7 * module + 3)) % 5) as f64 / 5.0,
                accuracy_no_silence: None,
                ..test_row(*group, *module, seed as u64, *accuracy)
            }));
        }
        summarize(&run.entry, run.domain(), &rows)
    }

    fn run(name: &str, paper: Option<Method>, ablation_of: Option<&str>, set: &[&str]) -> FinishedRun {
        let entry = Entry {
            name: name.into(),
            preset: "vision-quick".into(),
            title: name.into(),
            paper,
            ablation_of: ablation_of.map(Into::into),
            baselines: None,
            tasks: None,
            set: set.iter().map(|s| (*s).to_owned()).collect(),
        };
        FinishedRun { config: entry.config(&[]).unwrap(), entry, seeds: Vec::new() }
    }

    #[test]
    fn claims_are_evaluated_by_what_they_say() {
        use Group::{Random, Raw, Trained};
        let runs = [
            run("gim", Some(Method::Gim), None, &[]),
            run("cpc", Some(Method::Cpc), None, &[]),
            run("supervised", Some(Method::Supervised), None, &[]),
            run("iterative", None, Some("gim"), &["train.schedule=iterative"]),
            run("longer", None, Some("gim"), &["train.schedule=iterative", "train.steps=9999"]),
        ];
        let mut all = rows(&runs[0], &[(Trained, 1, 0.5), (Trained, 2, 0.6), (Random, 2, 0.4), (Raw, 0, 0.65)]);
        all.extend(rows(&runs[1], &[(Trained, 1, 0.62)]));
        all.extend(rows(&runs[2], &[(Trained, 1, 0.6)]));
        all.extend(rows(&runs[3], &[(Trained, 1, 0.5), (Trained, 2, 0.55)]));
        all.extend(rows(&runs[4], &[(Trained, 1, 0.5), (Trained, 2, 0.7)]));
        let peak = |run: &str, schedule, total_mb| Peak {
            run: run.into(),
            domain: DomainKind::Vision,
            title: run.into(),
            schedule,
            buffers_mb: total_mb,
            state_mb: 0.0,
            total_mb,
            paper_gb: None,
            paper_mark: None,
        };
        let peaks = [
            peak("gim", StepSchedule::AllModules, 90.0),
            peak("gim", StepSchedule::ModuleAlone(1), 40.0),
            peak("cpc", StepSchedule::EndToEnd, 80.0),
        ];
        all.iter_mut().find(|s| s.run == "cpc").unwrap().stopped = 2;
        let claims = evaluate(&runs, &all, &peaks);
        let verdict = |part: &str| {
            let found: Vec<&Claim> = claims.iter().filter(|c| c.text.contains(part)).collect();
            assert_eq!(found.len(), 1, "{part}: {claims:?}");
            found[0].verdict
        };
        assert_eq!(verdict("improves on the one below"), Verdict::Held);
        assert_eq!(verdict("beats the random encoder"), Verdict::Held);
        assert_eq!(verdict("beats the input"), Verdict::DidNotHold);
        assert_eq!(verdict("at most 3 points below CPC"), Verdict::Held);
        assert_eq!(verdict("beats supervised learning"), Verdict::CannotTell);
        assert_eq!(verdict("one after the other end no better"), Verdict::Held);
        assert_eq!(verdict("at once take less memory"), Verdict::DidNotHold);
        assert_eq!(verdict("alone takes less memory"), Verdict::Held);
        let cpc = claims.iter().find(|c| c.text.contains("CPC")).unwrap();
        assert!(cpc.evidence.ends_with("2 of the 6 probes were stopped after 150 iterations"), "{}", cpc.evidence);
        assert!(!claims.iter().any(|c| c.text.contains("greedy supervised")), "there are no such runs");
    }
}
