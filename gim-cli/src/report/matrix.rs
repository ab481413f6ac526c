//! Tables of method by module: what each module of each method reaches, for one probe.

use std::collections::BTreeMap;

use gim_eval::Group;

use super::links::{Links, SeedFiles};
use crate::comparison::summary::{Summary, with};

/// Methods (rows) by features (columns).
#[derive(Debug)]
pub(super) struct Matrix {
    /// Heads of the columns after the method.
    pub columns: Vec<String>,
    /// Rows, in the order of the methods; baselines last.
    pub rows: Vec<MatrixRow>,
}

/// A method.
#[derive(Debug)]
pub(super) struct MatrixRow {
    /// Its name.
    pub name: String,
    /// Files of its seeds.
    pub files: Vec<SeedFiles>,
    /// A cell for each column.
    pub cells: Vec<MatrixCell>,
}

/// A value, or nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct MatrixCell {
    /// Mean and half-width of the 95 % interval.
    pub text: String,
    /// The value of each seed.
    pub by_seed: String,
    /// Whether no mean of the table is higher.
    pub best: bool,
}

/// The column of a row: 0 for features of the input, else the module.
fn row_name(s: &Summary, features: &str) -> String {
    match s.group {
        Group::Trained => s.title.clone(),
        Group::Random => "Random encoder".into(),
        _ => features.to_owned(),
    }
}

impl Matrix {
    /// The table of these probes, each with the name of its features. All modules side by side have no column.
    pub(super) fn of(shown: &[(&Summary, String)], links: &Links) -> Self {
        let shown: Vec<_> = shown.iter().filter(|(s, _)| !s.group.is_of_all()).collect();
        let mut modules: Vec<usize> = shown.iter().map(|(s, _)| s.module).collect();
        modules.sort_unstable();
        modules.dedup();
        let best = shown.iter().map(|(s, _)| rounded(s)).max().unwrap_or_default();
        let mut rows: Vec<(Group, MatrixRow)> = Vec::new();
        let mut place: BTreeMap<(String, bool), usize> = BTreeMap::new();
        for (s, features) in &shown {
            let name = row_name(s, features);
            let trained = s.group == Group::Trained;
            // Two methods may share a title, and never a name.
            let key = if trained { s.run.clone() } else { name.clone() };
            let row = *place.entry((key, trained)).or_insert_with(|| {
                let cells = vec![MatrixCell::default(); modules.len()];
                rows.push((s.group, MatrixRow { name, files: links.of(&s.run), cells }));
                rows.len() - 1
            });
            let Some(column) = modules.iter().position(|m| *m == s.module) else { continue };
            let (mean, half) = s.primary_accuracy();
            let cell = &mut rows[row].1.cells[column];
            // Baselines of other seeds are further rows of the long table.
            if cell.text.is_empty() {
                let by_seed: Vec<String> = s.by_seed.iter().map(|(n, v)| format!("seed {n}: {v:.1} %")).collect();
                *cell = MatrixCell { text: with(mean, half), by_seed: by_seed.join(", "), best: rounded(s) == best };
            }
        }
        rows.sort_by_key(|r| r.0 != Group::Trained);
        let head = |m: &usize| if *m == 0 { "input".into() } else { format!("module {m}") };
        Self { columns: modules.iter().map(head).collect(), rows: rows.into_iter().map(|r| r.1).collect() }
    }
}

/// The accuracy in tenths of a percent, as tables show it.
fn rounded(s: &Summary) -> i64 {
    (10.0 * s.primary_accuracy().0).round() as i64
}
