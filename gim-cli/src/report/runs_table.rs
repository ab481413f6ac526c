//! The table of runs: command, machine and time of each.

use super::page::RunProvenance;
use super::tables::Section;
use crate::output::count;
use crate::template::table::Table;

/// How each run was made.
pub(super) fn runs(runs: &[RunProvenance]) -> Section {
    let row = |r: &RunProvenance| {
        let e = &r.environment;
        let changed = if e.git_dirty == Some(true) { " with local changes" } else { "" };
        vec![
            r.run.clone(),
            e.seed.to_string(),
            e.trained_on.as_ref().map_or(String::new(), |c| c.name.clone()),
            e.command.join(" "),
            format!("{}{changed}", e.short_commit()),
            format!("{}, {}", e.cpu.as_deref().unwrap_or("unknown"), count(e.threads, "thread")),
            e.started.clone(),
            r.seconds.map_or(String::new(), |s| format!("{s:.0}")),
        ]
    };
    let hours = runs.iter().filter_map(|r| r.seconds).sum::<f64>() / 3600.0;
    Section {
        id: "runs".into(),
        title: "Runs".into(),
        finding: Some(format!("{} trained for {hours:.1} hours in all.", count(runs.len(), "run"))),
        matrix: None,
        leading: false,
        table: Table::new(
            &["run", "seed", "dataset", "command", "commit", "processor", "started", "training, s"],
            runs.iter().map(row).collect(),
        ),
        notes: vec!["Features and probes take further time, which is not counted here.".into()],
    }
}
