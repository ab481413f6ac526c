//! What is known of features without fitting anything: ABX errors and the dimensions in use.

use std::collections::BTreeSet;
use std::path::Path;

use gim_core::{Error, Result};
use gim_eval::abx::{Abx, AbxErrors, AbxItem, listed_items, triphones};
use gim_eval::{FeatureFile, Group, MeasureRow, Split, Task, participation_ratio};
use ndarray::{Array2, Axis, concatenate};

use crate::experiment::feature_file;
use crate::experiment::probe::{kind, name};
use crate::experiment::progress::{Mode as Show, Progress};
use crate::output::note;

/// Most rows that dimensions are counted on; of more, every n-th counts.
const ROWS: usize = 20_000;

/// Measures of all groups of a feature file: of the test part or, where `items` names a list of ABX items, of the
/// utterances in it.
///
/// # Errors
/// When a file cannot be read, or features are not finite.
pub(crate) fn measures(file: &Path, items: Option<&Path>, show: Show) -> Result<Vec<MeasureRow>> {
    let features = feature_file::open(file)?;
    let list = items.map(|list| list.display().to_string());
    let Wanted { utterances, items } = Wanted::of(&features, file, items, show)?;
    let groups: Vec<String> = features.groups().map(str::to_owned).collect();
    let mut progress = Progress::new(groups.len() as u64, "groups of features", show);
    let mut rows = Vec::new();
    for (done, group) in groups.iter().enumerate() {
        let parts = utterances.iter().map(|u| features.read_rows(group, features.index().rows(*u)));
        let parts = parts.collect::<Result<Vec<Array2<f32>>>>()?;
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let x = concatenate(Axis(0), &views).map_err(|e| Error::internal("rows of features", e))?;
        let none = AbxErrors { within: None, across: None, within_pairs: 0, across_pairs: 0 };
        let abx = if items.is_empty() { none } else { Abx::default().errors(x.view(), &items)? };
        let every = x.nrows().div_ceil(ROWS).max(1) as isize;
        let ((kind, module), made) = (kind(group), features.provenance());
        // Baselines depend on no weights.
        let trained = kind == Group::Trained;
        rows.push(MeasureRow {
            group: kind,
            module,
            dims: x.ncols(),
            used_dims: participation_ratio(x.slice(ndarray::s![..;every, ..]))?,
            abx_within: abx.within,
            abx_across: abx.across,
            abx_list: list.clone(),
            abx_items: items.len(),
            seed: made.seed,
            step: made.step.filter(|_| trained),
            checkpoint: Some(&made.checkpoint).filter(|c| trained && !c.is_empty()).cloned(),
        });
        progress.tick(done as u64 + 1, || group.clone());
    }
    progress.finish(&format!("{} groups of features measured", rows.len()));
    Ok(rows)
}

/// What is measured.
struct Wanted {
    /// Their rows follow one another.
    utterances: Vec<usize>,
    /// Items, with rows counted from the first utterance's first.
    items: Vec<AbxItem>,
}

impl Wanted {
    fn of(features: &FeatureFile, file: &Path, list: Option<&Path>, show: Show) -> Result<Self> {
        let index = features.index();
        let is_test = |u: usize| features.split()[u] == Split::Test;
        let items = match list {
            Some(list) => {
                let Some(times) = features.frames() else {
                    let what = "has no times of frames, which a list of items needs";
                    return Err(Error::file(file, what, "extract features of speech with --level frame"));
                };
                let found = listed_items(list, features.items(), index, times)?;
                if found.unknown + found.short > 0 && show != Show::Quiet {
                    note(format_args!(
                        "note: of {}, {} items are of files without features, {} shorter than a frame",
                        list.display(),
                        found.unknown,
                        found.short
                    ));
                }
                found.items
            }
            None => match [Task::Phones, Task::Speakers].map(|task| features.labels(task.label()).ok()) {
                [Some(phones), Some(speakers)] => {
                    triphones(&phones.values, phones.silence, &speakers.values, index, is_test)
                }
                _ => Vec::new(),
            },
        };
        let starts: Vec<usize> = index.iter().map(|rows| rows.start).collect();
        let utterance_of = |item: &AbxItem| starts.partition_point(|start| *start <= item.rows.start) - 1;
        let wanted: BTreeSet<usize> = match list {
            Some(_) => items.iter().map(utterance_of).collect(),
            None => (0..index.n_items()).filter(|u| is_test(*u)).collect(),
        };
        let utterances: Vec<usize> = wanted.into_iter().collect();
        if utterances.is_empty() {
            return Err(Error::file(file, "has no test part to measure", "extract features of a dataset with one"));
        }
        // Rows of the utterances that are left out fall away.
        let mut before = vec![0; index.n_items()];
        let mut rows = 0;
        for u in &utterances {
            (before[*u], rows) = (index.rows(*u).start - rows, rows + index.rows(*u).len());
        }
        let moved = |item: AbxItem| {
            let before = before[utterance_of(&item)];
            AbxItem { rows: item.rows.start - before..item.rows.end - before, ..item }
        };
        Ok(Self { items: items.into_iter().map(moved).collect(), utterances })
    }
}

/// The measures as a table.
pub(crate) fn print(rows: &[MeasureRow]) -> String {
    let heads = ["features", "dims", "used", "ABX within %", "ABX across %"];
    let line = |cells: [&str; 5]| {
        let [features, dims, used, within, across] = cells;
        format!("{features:<12} {dims:>5} {used:>7} {within:>13} {across:>13}\n")
    };
    let mut out = line(heads);
    let percent = |x: Option<f64>| x.map_or("–".into(), |x| format!("{:.1}", 100.0 * x));
    for r in rows {
        let Some(name) = name(r.group, r.module) else { continue };
        let (dims, used) = (r.dims.to_string(), format!("{:.1}", r.used_dims));
        out += &line([&name, &dims, &used, &percent(r.abx_within), &percent(r.abx_across)]);
    }
    out
}
