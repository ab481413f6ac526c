//! Columns of labels that datasets of any domain may bring along.

use std::collections::BTreeMap;
use std::path::Path;

use gim_core::data::{Columns, LabelName};
use gim_core::loss::Supervision;
use gim_core::{Error, Result};
use gim_eval::{LabelSpec, Per, Task};

use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::settings::nearest;

/// The columns in feature files: a label an item.
pub(super) fn column_specs(columns: &Columns) -> impl Iterator<Item = LabelSpec> {
    columns.iter().map(|column| LabelSpec {
        task: column.name.to_string(),
        per: Per::Item,
        classes: column.classes.len(),
        silence: None,
        names: column.classes.clone(),
    })
}

/// What supervised training on a column learns: one label of each item. `classes` are those of all kinds
/// of labels of the dataset in `folder`.
///
/// # Errors
/// When there is no such column, or it has one class.
pub(super) fn supervision(
    name: LabelName,
    classes: &BTreeMap<String, Vec<String>>,
    folder: &Path,
) -> Result<Supervision> {
    match classes.get(name.as_str()).map(Vec::len) {
        None => Err(Error::config("loss.target", no_such_labels(name.as_str(), classes.keys()), "see labels.csv")),
        Some(n @ ..2) => {
            let what = format!("column {name} has {n} class: there is nothing to learn from labels");
            Err(Error::file(folder, what, "use loss.target = \"future\""))
        }
        Some(classes) => Ok(Supervision { classes, bins: Some(1) }),
    }
}

/// Refuses a task that the dataset of a run has no labels for.
///
/// # Errors
/// Then; lists the tasks that there are.
pub(crate) fn check_task(task: Task, record: &DatasetRecord) -> Result<()> {
    if record.classes.contains_key(task.label()) {
        return Ok(());
    }
    let remedy = "name labels that it has; of a dataset with others, add --any-dataset";
    let what = format!("{} has {}", record.trained_on.name, no_such_labels(task.name(), record.classes.keys()));
    Err(Error::config("--task", what, remedy))
}

/// "there are no labels `digti`; did you mean `digit`? There are: digit, phones", of the names that labels
/// have in feature files.
pub(crate) fn no_such_labels<'a>(name: &str, labels: impl Iterator<Item = &'a String>) -> String {
    let there: Vec<&str> = labels.filter_map(|label| Task::of_label(label)).map(Task::name).collect();
    let near = nearest(name, there.iter().copied()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    let list = if there.is_empty() { "there are none".to_owned() } else { format!("there are {}", there.join(", ")) };
    format!("no labels `{name}` ({list}){near}")
}
