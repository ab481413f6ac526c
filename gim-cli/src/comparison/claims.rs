//! The paper's claims against our numbers, by rule: a claim holds when the 95 % interval of a difference over seeds lies on its
//! side, does not when the interval lies on the other, and cannot be told in between or from a single seed.

use crate::comparison::memory::Peak;
use crate::comparison::summary::{Summary, difference, last_module, signed};
use crate::comparison::sweep::Entry;
use crate::experiment::domain::DomainKind;
use crate::experiment::probe::MOST_ITERATIONS;
use gim_eval::{Group, Protocol, Task};

/// What the numbers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The interval lies on the claim's side.
    Held,
    /// The interval lies on the other side.
    DidNotHold,
    /// The interval crosses, or there is one seed.
    CannotTell,
}

impl Verdict {
    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::DidNotHold => "did not hold",
            Self::CannotTell => "can't tell at this scale",
        }
    }

    /// Of a difference that should be above `least`.
    fn of((mean, half): (f64, Option<f64>), least: f64) -> Self {
        match half {
            Some(h) if mean - h > least => Self::Held,
            Some(h) if mean + h < least => Self::DidNotHold,
            _ => Self::CannotTell,
        }
    }
}

/// A claim, what became of it, and the numbers behind that.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claim {
    /// What the paper says.
    pub text: String,
    /// What ours says.
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

/// That probes behind a claim were stopped; nothing where none was.
fn stopped<'a>(probes: impl IntoIterator<Item = &'a Summary>) -> String {
    match probes.into_iter().fold((0, 0), |(stopped, all), s| (stopped + s.stopped, all + s.seeds)) {
        (0, _) => String::new(),
        (n, all) => format!("; {n} of the {all} probes were stopped after {MOST_ITERATIONS} iterations"),
    }
}

/// All claims that the rows and the peaks have numbers for.
pub(crate) fn evaluate(entries: &[Entry], rows: &[Summary], peaks: &[Peak]) -> Vec<Claim> {
    let mut out = Vec::new();
    // Images are evaluated twice: the paper's probe and one that goes on until nothing moves do not see the same.
    for (domain, task, protocol, word) in [
        (DomainKind::Audio, Task::Phones, Protocol::Converged, "phones"),
        (DomainKind::Audio, Task::Speakers, Protocol::Converged, "speakers"),
        (DomainKind::Vision, Task::Classes, Protocol::Converged, "images"),
        (DomainKind::Vision, Task::Classes, Protocol::Paper, "images, by the paper's probe"),
    ] {
        let probes = Probes { rows, domain, task, protocol, word };
        let modules = probes.modules();
        let Some(last) = modules.last() else { continue };
        out.extend(probes.each_module_improves(&modules));
        out.extend(probes.against_baselines(last));
        out.extend(probes.against_methods(last));
    }
    out.extend(entries.iter().filter_map(|entry| ablation(entry, rows)));
    out.extend(memory(peaks));
    out
}

/// Results of one probe of a domain's methods.
struct Probes<'a> {
    rows: &'a [Summary],
    domain: DomainKind,
    task: Task,
    protocol: Protocol,
    /// What claims call it.
    word: &'static str,
}

impl<'a> Probes<'a> {
    /// Greedy InfoMax's own row of a group and module, with all labels.
    fn own(&self, group: Group, module: usize) -> Option<&'a Summary> {
        let run = format!("{}/gim", self.domain);
        self.rows.iter().find(|s| {
            s.run == run
                && s.task == self.task
                && s.protocol == self.protocol
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
        let word = self.word;
        let random = self.own(Group::Random, last.module);
        let text = format!("Greedy InfoMax learns: its last module beats the random encoder ({word}).");
        let learns = compare(text, last, random, "the random encoder", Side::Above(0.0));
        let raw = self.own(Group::Mfcc, 0).or_else(|| self.own(Group::Raw, 0));
        let text = format!("Its last module beats the input itself ({word}).");
        learns.into_iter().chain(compare(text, last, raw, "the input", Side::Above(0.0))).collect()
    }

    fn against_methods(&self, last: &Summary) -> Vec<Claim> {
        let (domain, task, word) = (self.domain, self.task, self.word);
        let of = |run: &str| last_module(self.rows, &format!("{domain}/{run}"), task, self.protocol);
        let text = format!("Without end-to-end gradients it ends at most {NEAR:.0} points below CPC ({word}).");
        let mut out: Vec<Claim> = compare(text, last, of("cpc"), "CPC", Side::Above(-NEAR)).into_iter().collect();
        let suffix = match domain {
            DomainKind::Audio => format!("-{task}"),
            DomainKind::Vision => String::new(),
        };
        for (name, method) in
            [("greedy-supervised", "greedy supervised learning"), ("supervised", "supervised learning")]
        {
            // With the labels of phones, supervised learning does better in the paper; with others, it does not.
            let (text, side) = match task {
                Task::Phones => (format!("It falls short of {method} ({word})."), Side::Below),
                Task::Speakers | Task::Classes => (format!("It beats {method} ({word})."), Side::Above(0.0)),
            };
            out.extend(compare(text, last, of(&format!("{name}{suffix}")), method, side));
        }
        out
    }
}

/// A claim about the last module against something else; none where that has no numbers.
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

/// The claim that an ablation is about, if the paper makes one.
fn ablation(entry: &Entry, rows: &[Summary]) -> Option<Claim> {
    let reference = entry.ablation_of.as_ref()?;
    let (task, text) = match entry.name.as_str() {
        "audio/no-bptt" => (Task::Phones, "Back-propagation through time in the GRU helps (phones)."),
        "audio/no-gru" => (Task::Phones, "The GRU helps (phones)."),
        "audio/iterative" => (Task::Phones, "Modules that learn one after the other end no better (phones)."),
        "vision/iterative" => (Task::Classes, "Modules that learn one after the other end no better (images)."),
        _ => return None,
    };
    let full = last_module(rows, reference, task, Protocol::Converged)?;
    let without = last_module(rows, &entry.name, task, Protocol::Converged)?;
    let d = difference(full, without)?;
    let evidence = match entry.name.ends_with("iterative") {
        true => format!("last module at once against one after the other: {}", points(d)),
        false => format!("last module with it against without: {}", points(d)),
    };
    let evidence = evidence + &stopped([full, without]);
    Some(Claim { text: text.into(), verdict: Verdict::of(d, 0.0), evidence })
}

/// Claims about memory.
fn memory(peaks: &[Peak]) -> Vec<Claim> {
    let mut out = Vec::new();
    for (domain, word) in [(DomainKind::Audio, "sound"), (DomainKind::Vision, "images")] {
        let peak = |run: &str, schedule: &str| {
            peaks.iter().find(|p| p.run == format!("{domain}/{run}") && p.schedule == schedule).map(|p| p.total_mb)
        };
        let Some(whole) = peak("cpc", "end to end") else { continue };
        for (schedule, text) in [
            ("all modules", "All modules at once take less memory than end to end"),
            ("module 1 alone", "A module alone takes less memory than end to end"),
        ] {
            let Some(ours) = peak("gim", schedule) else { continue };
            // A peak is counted, not sampled: there is no spread.
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
    use crate::comparison::summary::summarize;
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
    fn rows(run: &str, accuracies: &[(Group, usize, f64)]) -> Vec<Summary> {
        let mut rows = Vec::new();
        for seed in 1..=3 {
            rows.extend(accuracies.iter().map(|(group, module, accuracy)| ProbeRow {
                group: *group,
                module: *module,
                task: Task::Classes,
                protocol: Protocol::Converged,
                labels: 1.0,
                dims: 4,
                train_rows: 10,
                test_rows: 10,
                accuracy: accuracy + 1e-3 * ((seed * (7 * module + 3)) % 5) as f64 / 5.0,
                accuracy_no_silence: None,
                macro_accuracy: *accuracy,
                top5: None,
                majority: 0.1,
                l2: None,
                iterations: 1,
                converged: true,
                seconds: 0.0,
                seed: seed as u64,
            }));
        }
        summarize(&entry(run, None), &rows)
    }

    fn entry(run: &str, ablation_of: Option<&str>) -> Entry {
        Entry {
            name: run.into(),
            preset: "vision-quick".into(),
            title: run.into(),
            paper: None,
            ablation_of: ablation_of.map(Into::into),
            baselines: None,
            tasks: None,
            set: Vec::new(),
        }
    }

    #[test]
    fn claims_are_evaluated_by_what_they_say() {
        use Group::{Random, Raw, Trained};
        let mut all = rows("vision/gim", &[(Trained, 1, 0.5), (Trained, 2, 0.6), (Random, 2, 0.4), (Raw, 0, 0.65)]);
        all.extend(rows("vision/cpc", &[(Trained, 1, 0.62)]));
        all.extend(rows("vision/supervised", &[(Trained, 1, 0.6)]));
        all.extend(rows("vision/iterative", &[(Trained, 1, 0.5), (Trained, 2, 0.55)]));
        let entries = [entry("vision/gim", None), entry("vision/iterative", Some("vision/gim"))];
        let peak = |run: &str, schedule: &str, total_mb| Peak {
            run: run.into(),
            title: run.into(),
            schedule: schedule.into(),
            buffers_mb: total_mb,
            state_mb: 0.0,
            total_mb,
            paper_gb: None,
            paper_mark: None,
        };
        let peaks = [
            peak("vision/gim", "all modules", 90.0),
            peak("vision/gim", "module 1 alone", 40.0),
            peak("vision/cpc", "end to end", 80.0),
        ];
        all.iter_mut().find(|s| s.run == "vision/cpc").unwrap().stopped = 2;
        let claims = evaluate(&entries, &all, &peaks);
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
