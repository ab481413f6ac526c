//! Names of the files in the folder of a comparison.

use std::path::{Path, PathBuf};

use gim_core::Result;
use gim_core::files::{create_folder, remove_unfinished};

use crate::comparison::sweep::Entry;
use crate::experiment::domain::DomainKind;
use crate::experiment::lock::FolderLock;
use crate::experiment::run_dir::RunDir;

/// The folder of a comparison: a folder for each run and seed, tables, figures, and the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComparisonDir {
    path: PathBuf,
}

impl ComparisonDir {
    /// The comparison in this folder.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder, keeps other processes from writing into it, and removes what a killed one has
    /// left half done.
    ///
    /// # Errors
    /// When it cannot be made, another process has locked it, or the disk refuses.
    pub(crate) fn lock(&self) -> Result<FolderLock> {
        create_folder(&self.path)?;
        let lock = FolderLock::take(&self.path)?;
        let own = [self.ablations_table(), self.memory_table(), self.page(), self.readme()];
        let tables = DomainKind::ALL.map(|domain| self.methods_table(domain));
        own.iter().chain(&tables).try_for_each(|file| remove_unfinished(file))?;
        Ok(lock)
    }

    /// One seed of the run of this name.
    pub(crate) fn run(&self, name: &str, seed: u64) -> RunDir {
        RunDir::new(self.path.join(name).join(format!("seed-{seed}")))
    }

    /// Figures of one run over its seeds.
    pub(crate) fn figures_of(&self, entry: &Entry) -> PathBuf {
        self.path.join(&entry.name).join("figures")
    }

    /// Figures that lay the runs over each other.
    pub(crate) fn figures(&self) -> PathBuf {
        self.path.join("figures")
    }

    /// The probes of a domain's methods.
    pub(crate) fn methods_table(&self, domain: DomainKind) -> PathBuf {
        self.path.join(format!("table_{domain}.csv"))
    }

    /// The ablations.
    pub(crate) fn ablations_table(&self) -> PathBuf {
        self.path.join("table_ablations.csv")
    }

    /// Memory by method and schedule.
    pub(crate) fn memory_table(&self) -> PathBuf {
        self.path.join("table_memory.csv")
    }

    /// The page.
    pub(crate) fn page(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// The tables in Markdown.
    pub(crate) fn readme(&self) -> PathBuf {
        self.path.join("README.md")
    }
}
