//! Links from the page to the files of runs, relative to the comparison's folder.

use std::collections::BTreeMap;
use std::path::Path;

use crate::comparison::reproduce::FinishedRun;
use crate::experiment::run_dir::RunDir;

/// Files of one seed of a run, as relative URLs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeedFiles {
    /// Name of the seed's folder.
    pub seed: String,
    /// Its `config.toml`.
    pub config: String,
    /// Its `probe.csv`.
    pub probes: String,
    /// Its `train.csv`.
    pub losses: String,
}

/// The files of all runs, by the run's name.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeMap<String, Vec<SeedFiles>>);

impl Links {
    /// The files of `runs` below `folder`; runs elsewhere have none.
    pub(crate) fn new(runs: &[FinishedRun], folder: &Path) -> Self {
        let files = |run: &FinishedRun| run.seeds.iter().filter_map(|s| SeedFiles::of(s, folder)).collect();
        Self(runs.iter().map(|r| (r.entry.name.clone(), files(r))).collect())
    }

    /// The files of a run's seeds; none if it is unknown.
    pub(super) fn of(&self, run: &str) -> Vec<SeedFiles> {
        self.0.get(run).cloned().unwrap_or_default()
    }

    /// The configuration of the run that a cell names.
    pub(super) fn config(&self, cell: &str) -> Option<&str> {
        Some(&self.0.get(cell)?.first()?.config)
    }
}

impl SeedFiles {
    fn of(seed: &RunDir, folder: &Path) -> Option<Self> {
        let url = |file: &Path| Some(url_of(file.strip_prefix(folder).ok()?));
        Some(Self {
            seed: seed.path().file_name()?.to_string_lossy().into_owned(),
            config: url(&seed.config_file())?,
            probes: url(&seed.probe_file())?,
            losses: url(&seed.train_file())?,
        })
    }
}

/// A relative path as a URL: what is not a letter, a digit or one of `-_./` is escaped.
pub(super) fn url_of(path: &Path) -> String {
    let path = path.to_string_lossy();
    let escaped = |byte: u8| match byte {
        b'-' | b'_' | b'.' | b'/' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    path.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_escaped() {
        let files = SeedFiles::of(&RunDir::new("out/audio/a b#?/seed-1"), Path::new("out")).unwrap();
        assert_eq!((files.seed.as_str(), files.config.as_str()), ("seed-1", "audio/a%20b%23%3F/seed-1/config.toml"));
        assert_eq!(files.probes, "audio/a%20b%23%3F/seed-1/probe.csv");
        assert_eq!(SeedFiles::of(&RunDir::new("elsewhere/seed-1"), Path::new("out")), None);
    }
}
