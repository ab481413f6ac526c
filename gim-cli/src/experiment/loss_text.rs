//! Tables within the sections of a configuration. There is one for each loss, of which a run uses one.

use gim_core::loss::LossKind;

use crate::experiment::domain::text;

/// A section, whose tables get their full names.
pub(super) fn with_full_names((name, section): (&'static str, String)) -> (&'static str, String) {
    let line = |line: &str| match line.strip_prefix('[') {
        Some(table) => format!("[{name}.{table}\n"),
        None => format!("{line}\n"),
    };
    (name, section.lines().map(line).collect())
}

/// The section of a loss, of whose tables the one of `kind` is left, if it has settings; all of them
/// when the loss is not known.
pub(super) fn with_own_settings(
    (name, section): (&'static str, String),
    kind: Option<LossKind>,
) -> (&'static str, String) {
    let Some(kind) = kind else { return (name, section) };
    let table: toml::Table = section.parse().unwrap_or_else(|e| unreachable!("a section is always TOML: {e}"));
    let own = table.get(kind.name()).and_then(toml::Value::as_table).filter(|own| !own.is_empty()).cloned();
    // The keys in the order of the settings, then the table under its full name.
    let keys: String = section.lines().take_while(|l| !l.starts_with('[')).map(|l| format!("{l}\n")).collect();
    match own {
        None => (name, format!("{}\n", keys.trim_end())),
        Some(own) => (name, format!("{}\n\n[{name}.{}]\n{}", keys.trim_end(), kind.name(), text(&own))),
    }
}
