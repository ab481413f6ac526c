//! The losses' own settings in configurations: a table for each loss, of which a run uses one.

use gim_core::loss::{LossKind, LossSettings};

use crate::experiment::domain::{Domain, text};

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

/// Takes out of a fingerprint what says that the loss is the one that follows from the target, with its
/// default settings: runs of versions that knew no other lack these keys.
pub(super) fn without_defaults(table: &mut toml::Table, domain: &Domain) {
    let Ok(kind) = domain.model().loss_kind() else { return };
    if !matches!(kind, LossKind::InfoNce | LossKind::CrossEntropy) {
        return;
    }
    let Some(loss) = table.get_mut("loss").and_then(toml::Value::as_table_mut) else { return };
    loss.remove("kind");
    let defaults: toml::Table =
        text(&LossSettings::default()).parse().unwrap_or_else(|e| unreachable!("settings are always TOML: {e}"));
    if loss.get(kind.name()) == defaults.get(kind.name()) {
        loss.remove(kind.name());
    }
}
