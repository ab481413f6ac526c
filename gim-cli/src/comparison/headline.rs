//! The result of a comparison in one short table: the input, the random encoder, the modules of the
//! first method, and the last module of each other method.

use std::fmt::Write as _;

use gim_eval::{Group, Task};

use crate::comparison::reproduce::Outcome;
use crate::comparison::summary::{Summary, with};
use crate::experiment::probe;

/// Width of the first column.
const NAMES: usize = 26;

/// The table as text, of the probes with all labels. A column is a task and a protocol.
pub(crate) fn headline(outcome: &Outcome) -> String {
    let whole: Vec<&Summary> = outcome.summary.iter().filter(|s| s.labels == 1.0).collect();
    let mut columns: Vec<(Task, String)> = Vec::new();
    for column in whole.iter().map(|s| (s.task, s.how())) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let heads: Vec<String> = columns.iter().map(|(task, how)| format!("{task}, {how}")).collect();
    let mut out = format!("{:<NAMES$}", "accuracy, %");
    heads.iter().for_each(|head| _ = write!(out, "  {head}"));
    for (name, run, group, module) in rows(outcome, &whole) {
        let cells = columns.iter().map(|(task, how)| {
            let of =
                |s: &&&Summary| (&s.run, s.group, s.module, s.task) == (run, group, module, *task) && s.how() == *how;
            whole.iter().find(of).map_or("–".into(), |s| {
                let (mean, half) = s.primary_accuracy();
                with(mean, half)
            })
        });
        _ = write!(out, "\n{name:<NAMES$}");
        cells.zip(&heads).for_each(|(cell, head)| _ = write!(out, "  {cell:>width$}", width = head.chars().count()));
    }
    out + "\n"
}

/// Name, run, group and module of every row.
fn rows<'a>(outcome: &'a Outcome, whole: &[&'a Summary]) -> Vec<(String, &'a String, Group, usize)> {
    let Some(first) = outcome.runs.first().map(|r| &r.entry.name) else { return Vec::new() };
    let last = |run: &String, group| whole.iter().filter(|s| &s.run == run && s.group == group).map(|s| s.module).max();
    let mut rows = Vec::new();
    let mut add = |title: &str, run, group, module| {
        if let Some(module) = module {
            let name = if module == 0 { title.to_owned() } else { format!("{title}, module {module}") };
            rows.push((name, run, group, module));
        }
    };
    for input in [Group::Mfcc, Group::Raw] {
        let title = probe::name(input, 0).unwrap_or_default();
        add(&title, first, input, last(first, input));
    }
    add("random encoder", first, Group::Random, last(first, Group::Random));
    for module in 1..=last(first, Group::Trained).unwrap_or(0) {
        add(&outcome.runs[0].entry.title, first, Group::Trained, Some(module));
    }
    for run in outcome.runs.iter().skip(1).filter(|r| r.is_method()) {
        add(&run.entry.title, &run.entry.name, Group::Trained, last(&run.entry.name, Group::Trained));
    }
    rows
}
