//! The order in which modules of asynchronous training have taken batches.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use gim_core::files::write_atomic;
use gim_core::schedule::{Group, Taken};
use gim_core::{Error, Result};
use gim_eval::{OrderRow, table};

use super::RunDir;

/// Columns of the file.
const HEADER: &str = "module,step,staleness\n";

impl RunDir {
    pub(super) fn order_file(&self) -> PathBuf {
        self.path.join("order.csv")
    }

    /// Opens the order to append to it, with the batches below step `first` kept: those behind the
    /// checkpoint will be taken again, maybe in another order.
    ///
    /// # Errors
    /// When the file is damaged, or cannot be written.
    pub(crate) fn open_order(&self, first: u64) -> Result<OrderLog> {
        let path = self.order_file();
        let mut text = HEADER.to_owned();
        if first > 0 {
            // A full disk or a kill cuts the last line short.
            let bytes = fs::read(&path).map_err(|e| Error::io(&path, "read the order", e))?;
            let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
            write_atomic(&path, &bytes[..whole])?;
            let rows = table::read_rows::<OrderRow>(&path)?;
            if !rows.iter().filter(|r| r.module == 1 && r.step < first).map(|r| r.step).eq(0..first) {
                let what = format!("does not hold the order of the {first} steps before");
                return Err(Error::file(&path, what, "restore the file, or train another run"));
            }
            text.extend(rows.iter().filter(|r| r.step < first).map(line));
        }
        write_atomic(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, "open the order", e))?;
        Ok(OrderLog { path, file, text: String::new() })
    }
}

/// The open order of a run.
pub(crate) struct OrderLog {
    path: PathBuf,
    file: File,
    /// Rows that are not written yet.
    text: String,
}

impl OrderLog {
    /// Notes who has taken a batch.
    pub(crate) fn add(&mut self, taken: &[Taken]) {
        let row = |t: &Taken| OrderRow { module: t.report.module, step: t.report.step, staleness: t.staleness };
        self.text.extend(taken.iter().map(|t| line(&row(t))));
    }

    /// Writes what has been noted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.text);
        self.file.write_all(text.as_bytes()).map_err(|e| Error::io(&self.path, "write the order", e))
    }
}

fn line(r: &OrderRow) -> String {
    format!("{},{},{}\n", r.module, r.step, r.staleness)
}

/// The steps that each group takes by the order in this file, of a run of `total` steps.
///
/// # Errors
/// When it is no order, a module is missing, the first one does not take all steps, or another takes
/// one that the one below does not.
pub(crate) fn recorded_order(path: &Path, groups: &[Group], total: u64) -> Result<Vec<BTreeSet<u64>>> {
    let rows = table::read_rows::<OrderRow>(path)?;
    let of = |module: usize| -> BTreeSet<u64> { rows.iter().filter(|r| r.module == module).map(|r| r.step).collect() };
    let steps = |g: &Group| {
        let first = of(g.modules.start + 1);
        // Modules of a group take the same batches.
        match g.modules.clone().find(|m| first.is_empty() || of(m + 1) != first) {
            None => Ok(first),
            Some(m) => {
                let what = format!("holds no order of the group of module {}", m + 1);
                Err(Error::file(path, what, "give the order.csv of a run with this network and these train.groups"))
            }
        }
    };
    let order = groups.iter().map(steps).collect::<Result<Vec<_>>>()?;
    let all = order.first().is_some_and(|first| first.range(..total).copied().eq(0..total));
    if !all || order.windows(2).any(|pair| !pair[1].is_subset(&pair[0])) {
        let what = format!("is not the order of {total} whole steps");
        return Err(Error::file(path, what, "give the order.csv of a run of as many steps, whole from step 0 on"));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use gim_core::loss::LossReport;
    use gim_core::schedule::ModuleReport;

    use super::*;

    #[test]
    fn an_order_goes_on_behind_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        let taken = |module, step| {
            let loss = LossReport { loss: 1.0, accuracy: 0.0 };
            let report = ModuleReport { module, step, loss, gradient_norm: None };
            Taken { report, staleness: 1 }
        };
        let mut log = run.open_order(0).unwrap();
        log.add(&[taken(1, 0), taken(2, 0), taken(1, 1)]);
        log.flush().unwrap();
        let file = folder.path().join("order.csv");
        fs::write(&file, fs::read_to_string(&file).unwrap() + "2,").unwrap();
        let mut log = run.open_order(1).unwrap();
        log.add(&[taken(1, 1), taken(1, 2), taken(2, 2)]);
        log.flush().unwrap();
        let groups = [Group { modules: 0..1, threads: 1 }, Group { modules: 1..2, threads: 1 }];
        let order = recorded_order(&file, &groups, 3).unwrap();
        let e = recorded_order(&file, &groups, 4).unwrap_err().to_string();
        assert!(e.contains("4 whole steps"), "{e}");
        assert!(run.open_order(4).is_err(), "step 3 is missing");
        assert_eq!(order, [BTreeSet::from([0, 1, 2]), BTreeSet::from([0, 2])]);
        for (modules, named) in [(2..3, "module 3"), (0..2, "module 2")] {
            let e = recorded_order(&file, &[Group { modules, threads: 1 }], 3).unwrap_err().to_string();
            assert!(e.contains(named), "{e}");
        }
    }
}
