//! The results of a comparison as text, for the terminal.

use crate::comparison::paper;
use crate::comparison::reproduce::Outcome;
use crate::comparison::summary::{reported, signed, with};

/// The results as text: the modules of every method, then the ablations.
pub(crate) fn print(outcome: &Outcome) -> String {
    let mut out = format!(
        "{:<34} {:<9} {:<24} {:<11} {:>13} {:>13} {:>12}  {:>12}\n",
        "run", "task", "protocol", "features", "all %", "no silence %", "over random", "paper, all %"
    );
    for (i, s) in outcome.summary.iter().enumerate() {
        let Some(name) = s.features() else { continue };
        let again = outcome.summary.iter().take(i).any(|o| o.covers_baseline(s));
        if again {
            continue;
        }
        out += &format!(
            "{:<34} {:<9} {:<24} {name:<11} {:>13} {:>13} {:>12}  {:>12}\n",
            s.run,
            s.task,
            s.how(),
            with(s.accuracy, s.accuracy_ci95),
            s.no_silence.map_or("–".into(), |m| with(m, s.no_silence_ci95)),
            s.over_random.map_or(String::new(), |d| signed(d, None)),
            reported(s.paper, s.paper_mark.as_deref()),
        );
    }
    for a in &outcome.ablations {
        out += &format!(
            "{:<34} {:<9} {:<24} module {:<4} {:>13}, {} against {} ({:.1})\n",
            a.run,
            a.task,
            a.how(),
            a.module,
            with(a.accuracy, a.accuracy_ci95),
            signed(a.difference, a.difference_ci95),
            a.ablation_of,
            a.reference
        );
    }
    if outcome.summary.iter().any(|s| s.no_silence.is_some() && s.over_random.is_some()) {
        out += "over random: of phones without silence\n";
    }
    let used = |mark: &str| outcome.summary.iter().any(|s| s.paper_mark.as_ref().is_some_and(|m| mark.starts_with(m)));
    for (mark, meaning) in paper::MARKS.iter().filter(|(mark, _)| used(mark)) {
        out += &format!("paper ({mark}): {meaning}\n");
    }
    out
}
