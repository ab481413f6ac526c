//! What the paper reports: its methods, and the values in `results/paper.csv`.

use std::fmt::{self, Display};

use gim_eval::Task;
use gim_eval::numbers::percent;
use serde::{Deserialize, Serialize};

use crate::experiment::domain::{DomainKind, MethodKind};

/// How values of the paper are known, by their marks.
pub(crate) const MARKS: [(&str, &str); 4] = [
    ("M and ~", "a value of the paper that is recalled, not checked"),
    ("S", "a value seen in a public source"),
    ("F", "a value read off a figure of the paper"),
    ("C", "a value read in the published code"),
];

/// A row of the paper's tables. Lists of runs and `results/paper.csv` use the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Method {
    /// Greedy InfoMax.
    #[serde(rename = "gim")]
    Gim,
    /// The same loss with gradients through the whole network.
    #[serde(rename = "cpc")]
    Cpc,
    /// Cross-entropy with gradients through the whole network.
    #[serde(rename = "supervised")]
    Supervised,
    /// Cross-entropy in every module.
    #[serde(rename = "greedy supervised")]
    GreedySupervised,
    /// Greedy InfoMax whose GRU passes no gradients through time.
    #[serde(rename = "gim without back-propagation through time")]
    NoBptt,
    /// Greedy InfoMax without the GRU.
    #[serde(rename = "gim without the GRU")]
    NoGru,
    /// Deep InfoMax (Hjelm et al. 2019), as the paper cites it.
    #[serde(rename = "deep infomax")]
    DeepInfomax,
    /// Predsim (Nøkland and Eidnes 2019), as the paper cites it.
    #[serde(rename = "predsim")]
    Predsim,
    /// The encoder at its initial weights.
    #[serde(rename = "random")]
    Random,
    /// Mel-frequency cepstral coefficients.
    #[serde(rename = "mfcc")]
    Mfcc,
    /// Memory of Greedy InfoMax with all modules at once.
    #[serde(rename = "gim all modules")]
    GimAllModules,
    /// Memory of the first module of Greedy InfoMax.
    #[serde(rename = "gim first module")]
    GimFirstModule,
}

impl Method {
    /// What it is as a method of ours, if it is one.
    pub(crate) fn kind(self) -> Option<MethodKind> {
        match self {
            Self::Gim => Some(MethodKind::Gim),
            Self::Cpc => Some(MethodKind::Cpc),
            Self::Supervised => Some(MethodKind::Supervised),
            Self::GreedySupervised => Some(MethodKind::GreedySupervised),
            _ => None,
        }
    }
}

impl Display for Method {
    /// The name in figures and claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gim => "GIM",
            Self::Cpc => "CPC",
            Self::Supervised => "supervised",
            Self::GreedySupervised => "greedy supervised",
            Self::NoBptt => "GIM without back-propagation through time",
            Self::NoGru => "GIM without the GRU",
            Self::DeepInfomax => "Deep InfoMax",
            Self::Predsim => "Predsim",
            Self::Random => "random encoder",
            Self::Mfcc => "MFCC",
            Self::GimAllModules => "GIM, all modules",
            Self::GimFirstModule => "GIM, first module",
        })
    }
}

/// A table of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Table {
    /// Accuracy for images.
    #[serde(rename = "vision")]
    Vision,
    /// Accuracy for speech.
    #[serde(rename = "audio")]
    Audio,
    /// Ablations for speech.
    #[serde(rename = "ablations")]
    Ablations,
    /// Memory of a training step.
    #[serde(rename = "memory")]
    Memory,
    /// Speaker error by module.
    #[serde(rename = "error by module")]
    ErrorByModule,
}

/// What a value of the paper counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// Share of right answers.
    #[serde(rename = "accuracy")]
    Accuracy,
    /// Share of wrong answers.
    #[serde(rename = "error rate")]
    ErrorRate,
    /// Memory.
    #[serde(rename = "GB on a GPU")]
    GpuMemory,
}

/// A value of the paper, and how well it is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PaperValue {
    /// Table of the paper.
    pub table: Table,
    /// Dataset.
    pub dataset: String,
    /// Task; none for memory.
    pub task: Option<Task>,
    /// Method.
    pub method: Method,
    /// Module, when the value is of one.
    pub module: Option<usize>,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// C: read in code. S: seen in a public source. F: read off a figure. M: recalled, not checked.
    pub mark: String,
}

/// All values of the paper.
pub(crate) fn values() -> Vec<PaperValue> {
    let text = include_str!("../../assets/paper.csv");
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize().collect::<Result<_, _>>();
    rows.unwrap_or_else(|e| unreachable!("the table is part of the program: {e}"))
}

/// The paper's accuracy of a method for a task, in percent.
pub(crate) fn accuracy(method: Method, task: Task) -> Option<PaperValue> {
    let wanted = |p: &PaperValue| p.method == method && p.task == Some(task) && p.unit == Unit::Accuracy;
    values().into_iter().find(wanted).map(|p| PaperValue { value: percent::of(p.value), ..p })
}

/// The paper's memory of a method, GB. The paper reports it for images only.
pub(crate) fn memory(method: Method, domain: DomainKind) -> Option<PaperValue> {
    let wanted = |p: &PaperValue| p.table == Table::Memory && p.method == method && domain == DomainKind::Vision;
    values().into_iter().find(wanted)
}

/// A value and its mark, for people: recalled values carry a `~`.
pub(crate) fn with_mark(value: f64, mark: &str) -> String {
    let about = if mark == "M" { "~" } else { "" };
    format!("{about}{value} ({mark})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_method() {
        assert_eq!(accuracy(Method::Gim, Task::Phones).map(|p| p.value), Some(62.5));
        assert_eq!(accuracy(Method::NoGru, Task::Phones).map(|p| p.value), Some(50.8));
        assert_eq!(accuracy(Method::Gim, Task::Speakers).map(|p| p.value), Some(99.4));
        assert_eq!(memory(Method::GimFirstModule, DomainKind::Vision).map(|p| p.value), Some(2.5));
        assert_eq!(memory(Method::GimFirstModule, DomainKind::Audio), None);
        assert_eq!(with_mark(62.5, "M"), "~62.5 (M)");
    }
}
