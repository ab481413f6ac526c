//! Results of probes, in the run's folder or beside a feature file.

use std::path::Path;

use gim_core::Result;
use gim_eval::{ProbeRow, table};

use super::RunDir;
use crate::output::note;

impl RunDir {
    /// Results of the probes.
    ///
    /// # Errors
    /// When they are missing or damaged.
    pub(crate) fn probe_rows(&self) -> Result<Vec<ProbeRow>> {
        table::read_rows(self.probe_file())
    }

    /// Adds results of probes, which replace those of the same probes. Gives all.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub(crate) fn merge_probe_rows(&self, new: &[ProbeRow]) -> Result<Vec<ProbeRow>> {
        merge_probe_rows(&self.probe_file(), new)
    }
}

/// Adds rows to a table, replacing those of the same group, module, task, protocol, head, views, share
/// of labels and seed, and all of features pooled otherwise: a table compares features of one kind.
///
/// # Errors
/// When the table cannot be read or written.
pub(crate) fn merge_probe_rows(path: &Path, new: &[ProbeRow]) -> Result<Vec<ProbeRow>> {
    let id = |r: &ProbeRow| {
        (r.group, r.module, r.task, r.protocol, (r.head, r.views, r.test_views), r.labels.to_bits(), r.seed)
    };
    let mut others = 0;
    let all = table::update_rows(path, |rows: &mut Vec<ProbeRow>| {
        let before = rows.len();
        rows.retain(|old| new.iter().all(|n| n.pooling == old.pooling));
        others = before - rows.len();
        rows.retain(|old| !new.iter().any(|n| id(n) == id(old)));
        rows.extend_from_slice(new);
    })?;
    if others > 0 {
        let path = path.display();
        note(format_args!("note: {others} rows of {path} were of features with another probe.pooling: they are gone"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use gim_eval::{Group, Head, Protocol, Task};

    use super::*;

    #[test]
    fn probes_replace_their_own_rows() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        let row = |module, labels, accuracy| ProbeRow {
            group: Group::Trained,
            module,
            task: Task::Phones,
            protocol: Protocol::Converged,
            head: Head::Linear,
            views: None,
            test_views: None,
            labels,
            pooling: None,
            dims: 4,
            train_rows: 10,
            test_rows: 10,
            accuracy,
            accuracy_no_silence: None,
            macro_accuracy: accuracy,
            top5: None,
            majority: 0.1,
            l2: None,
            iterations: 1,
            converged: true,
            seconds: 0.0,
            seed: 1,
            step: None,
            checkpoint: None,
        };
        assert!(!run.has_probes() && run.probe_rows().is_err());
        run.merge_probe_rows(&[row(1, 1.0, 0.5), row(1, 0.1, 0.3)]).unwrap();
        let all = run.merge_probe_rows(&[row(1, 1.0, 0.6), row(2, 1.0, 0.7)]).unwrap();
        assert_eq!(all, [row(1, 0.1, 0.3), row(1, 1.0, 0.6), row(2, 1.0, 0.7)]);
        assert_eq!(run.probe_rows().unwrap(), all);
        let pooled = ProbeRow { pooling: Some(2), ..row(1, 1.0, 0.8) };
        assert_eq!(run.merge_probe_rows(std::slice::from_ref(&pooled)).unwrap(), [pooled]);
    }
}
