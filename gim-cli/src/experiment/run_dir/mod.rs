//! The folder of a run: every file name in it, and every read and write of these files.
//!
//! ```text
//! config.toml  environment.json  dataset.json  notes.txt   how it was made, and of what
//! validation.csv  online.csv                          losses on held-out items, probes on the way
//! alignment.csv                                       angles between weights and feedback weights
//! train.csv  probe.csv                                what it learned, and how good that is
//! schedule.csv  timeline.csv  order.csv               where modules' time went, which batches they took
//! record/module_1/  record.csv                        outputs that the next module trains from
//! features.h5  snapshots.h5  views.h5                 features at the end, on the way, of random views
//! checkpoints/step-00000200/module_1.safetensors      weights
//! checkpoints/step-00000200/curves.json               train.csv up to there
//! figures/  tensorboard/
//! ```

mod checkpoints;
mod curves;
mod order;
mod probes;
mod recorded;
mod side_log;
mod so_far;
mod timeline;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gim_core::files::{create_folder, remove_if_there, remove_unfinished, write_atomic};
use gim_core::{Error, Result};
use gim_eval::{TrainRow, table};

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::environment::{Environment, TrainedOn};
use crate::experiment::lock::FolderLock;

pub(crate) use checkpoints::{Keep, Weights};
pub(crate) use curves::{Curves, TrainLog};
pub(crate) use order::{OrderLog, recorded_order};
pub(crate) use probes::merge_probe_rows;
pub(crate) use side_log::SideLog;
pub(crate) use so_far::RowsSoFar;

/// The folder of a run. Nothing has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The run in this folder.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new, empty folder for a run: `folder/name-1`, or the next number that is free.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn claim(folder: &Path, name: &str) -> Result<Self> {
        create_folder(folder)?;
        for n in 1_u64.. {
            let path = folder.join(format!("{name}-{n}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io(&path, "create the folder", e)),
            }
        }
        unreachable!("there is always a next number")
    }

    /// Removes the folder if nothing is in it.
    pub(crate) fn remove_if_empty(&self) {
        // The system refuses to remove one that holds something.
        let _ = fs::remove_dir(&self.path);
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> Result<()> {
        create_folder(&self.path)
    }

    /// Keeps other processes from writing into the folder, and removes what a killed one has left half
    /// done. Files of other names stay.
    ///
    /// # Errors
    /// When there is no such folder, another process has locked it, or the disk refuses.
    pub(crate) fn lock(&self) -> Result<FolderLock> {
        let lock = FolderLock::take(&self.path)?;
        let own = [self.config_file(), self.environment_file(), self.notes_file(), self.train_file()];
        let results = [self.probe_file(), self.features_file(), self.snapshots_file(), self.views_file()];
        let more =
            [self.dataset_file(), self.schedule_file(), self.timeline_file(), self.order_file(), self.record_file()];
        [&own[..], &results, &more, &self.side_files()].concat().iter().try_for_each(|file| remove_unfinished(file))?;
        self.sweep_checkpoints()?;
        Ok(lock)
    }

    /// The configuration of the run.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    fn environment_file(&self) -> PathBuf {
        self.path.join("environment.json")
    }

    fn dataset_file(&self) -> PathBuf {
        self.path.join("dataset.json")
    }

    /// What the user should know about the data.
    pub(crate) fn notes_file(&self) -> PathBuf {
        self.path.join("notes.txt")
    }

    /// Losses by training step.
    pub(crate) fn train_file(&self) -> PathBuf {
        self.path.join("train.csv")
    }

    /// The rows of all probes.
    pub(crate) fn probe_file(&self) -> PathBuf {
        self.path.join("probe.csv")
    }

    /// What is known of the features without fitting.
    pub(crate) fn measures_file(&self) -> PathBuf {
        self.path.join("measures.csv")
    }

    /// Features of the trained run and its baselines.
    pub(crate) fn features_file(&self) -> PathBuf {
        self.path.join("features.h5")
    }

    /// Features of some items at the run's snapshots.
    pub(crate) fn snapshots_file(&self) -> PathBuf {
        self.path.join("snapshots.h5")
    }

    /// Features of random views of the items.
    pub(crate) fn views_file(&self) -> PathBuf {
        self.path.join("views.h5")
    }

    /// Folder of the figures.
    pub(crate) fn figures(&self) -> PathBuf {
        self.path.join("figures")
    }

    /// Folder of the event files that TensorBoard reads.
    pub(crate) fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// Whether a run has been begun here.
    pub(crate) fn is_begun(&self) -> bool {
        self.config_file().is_file()
    }

    /// Whether an environment was written here.
    pub(crate) fn has_environment(&self) -> bool {
        self.environment_file().is_file()
    }

    /// Whether there are training curves.
    pub(crate) fn has_curves(&self) -> bool {
        self.train_file().is_file()
    }

    /// Whether there are results of probes.
    pub(crate) fn has_probes(&self) -> bool {
        self.probe_file().is_file()
    }

    /// Whether there are features.
    pub(crate) fn has_features(&self) -> bool {
        self.features_file().is_file()
    }

    /// The run's configuration.
    ///
    /// # Errors
    /// When the folder is not that of a run, or its configuration is wrong.
    pub(crate) fn config(&self) -> Result<Config> {
        if !self.is_begun() {
            return Err(Error::file(
                &self.path,
                "is not the folder of a run: it has no config.toml",
                "give the folder that gim train made",
            ));
        }
        let file = self.config_file();
        let text = fs::read_to_string(&file).map_err(|e| Error::io(&file, "read", e))?;
        // Every configuration that this program writes begins with it; one cut short would mean defaults.
        if !text.lines().any(|line| line.starts_with("domain")) {
            let what = "is damaged: it does not say the domain";
            return Err(Error::file(&file, what, "restore it from a copy, or write `gim config show PRESET` there"));
        }
        Config::of_file(&file.to_string_lossy(), &text, &[])
    }

    pub(crate) fn write_config(&self, config: &Config) -> Result<()> {
        write_atomic(&self.config_file(), config.to_toml().as_bytes())
    }

    /// What the run was trained on, by its record of the dataset, else by environment.json; none where neither says.
    ///
    /// # Errors
    /// When it has no record, and environment.json is missing or damaged.
    pub(crate) fn trained_on(&self) -> Result<Option<TrainedOn>> {
        match self.dataset()? {
            Some(record) => Ok(Some(record.trained_on).filter(|on| !on.digest.is_empty())),
            None => Ok(self.environment()?.trained_on),
        }
    }

    /// Refuses to write over what is in the run's folder.
    ///
    /// # Errors
    /// When `out` is there and in the folder, by whichever name.
    pub(crate) fn refuse_own(&self, out: &Path) -> Result<()> {
        let (Ok(out_path), Ok(folder)) = (out.canonicalize(), self.path.canonicalize()) else { return Ok(()) };
        if out_path.starts_with(&folder) {
            return Err(Error::file(out, "is a file of the run", "name another file for --out"));
        }
        Ok(())
    }

    /// How the run was made.
    ///
    /// # Errors
    /// When there is no such file, or it holds something else.
    pub(crate) fn environment(&self) -> Result<Environment> {
        let file = self.environment_file();
        let text = fs::read(&file).map_err(|e| Error::io(&file, "read", e))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::file(&file, format_args!("is damaged: {e}"), "train again").caused_by(e))
    }

    pub(crate) fn write_environment(&self, environment: &Environment) -> Result<()> {
        let file = self.environment_file();
        let mut text = serde_json::to_string_pretty(environment)
            .map_err(|e| Error::internal(file.display(), format_args!("cannot be written: {e}")).caused_by(e))?;
        text.push('\n');
        write_atomic(&file, text.as_bytes())
    }

    /// What the run keeps of its dataset: its own file or, without it, the newest checkpoint's copy.
    /// None for runs of older versions.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(crate) fn dataset(&self) -> Result<Option<DatasetRecord>> {
        let file = self.dataset_file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => match self.newest_intact_checkpoint()? {
                Some(checkpoint) => checkpoint.dataset()?,
                None => return Ok(None),
            },
            Err(e) => return Err(Error::io(&file, "read", e)),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let remedy = "restore the file, or remove it to use the checkpoint's copy";
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| Error::file(&file, format_args!("is damaged: {e}"), remedy).caused_by(e))
    }

    /// As [`RunDir::dataset`], for what cannot do without.
    ///
    /// # Errors
    /// Also when there is none.
    pub(crate) fn need_dataset(&self) -> Result<DatasetRecord> {
        self.dataset()?.ok_or_else(|| {
            let what = "does not say how its input was standardized: an older version made it";
            let remedy = format!("`gim train --resume {}` on its dataset writes that down", self.path.display());
            Error::file(&self.path, what, remedy)
        })
    }

    pub(crate) fn write_dataset(&self, record: &DatasetRecord) -> Result<()> {
        let file = self.dataset_file();
        let text = serde_json::to_string_pretty(record)
            .map_err(|e| Error::internal(file.display(), format_args!("cannot be written: {e}")).caused_by(e))?;
        write_atomic(&file, text.as_bytes())
    }

    /// Writes the notes, one a line; nothing where there are none.
    pub(crate) fn write_notes(&self, notes: &[String]) -> Result<()> {
        if notes.is_empty() { Ok(()) } else { write_atomic(&self.notes_file(), (notes.join("\n") + "\n").as_bytes()) }
    }

    /// The training curves.
    ///
    /// # Errors
    /// When they are missing or damaged.
    pub(crate) fn train_rows(&self) -> Result<Vec<TrainRow>> {
        table::read_rows(self.train_file())
    }

    /// Removes the features, when they are used up.
    pub(crate) fn remove_features(&self) -> Result<()> {
        remove_used_up(&self.features_file())
    }

    /// Removes the features of snapshots, when they are used up.
    pub(crate) fn remove_snapshots(&self) -> Result<()> {
        remove_used_up(&self.snapshots_file())
    }

    /// Removes the views, when they are used up.
    pub(crate) fn remove_views(&self) -> Result<()> {
        remove_used_up(&self.views_file())
    }
}

fn remove_used_up(file: &Path) -> Result<()> {
    remove_if_there(file, "remove features that are used up")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, RunDir) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        (folder, run)
    }

    #[test]
    fn what_was_left_half_done_is_removed() {
        let (folder, run) = run();
        let leftovers = [
            ".environment.json.tmp",
            ".features.h5.tmp",
            "checkpoints/partial.tmp/",
            "checkpoints/step-00000004.removed.tmp/",
        ];
        let others = ["mine.tmp", "checkpoints/mine.tmp", "checkpoints/step-mine.removed.tmp/", "train.csv"];
        for name in leftovers.iter().chain(&others) {
            let path = folder.path().join(name);
            let parent = if name.ends_with('/') { path.as_path() } else { path.parent().unwrap() };
            fs::create_dir_all(parent).unwrap();
            let file = if name.ends_with('/') { path.join("module_1.safetensors") } else { path.clone() };
            fs::write(file, "half").unwrap();
        }
        let _lock = run.lock().unwrap();
        assert!(leftovers.iter().all(|name| !folder.path().join(name).exists()));
        assert!(others.iter().all(|name| folder.path().join(name).exists()));
    }

    #[test]
    fn every_claim_is_a_folder_of_its_own() {
        let (folder, _) = run();
        let claim = || RunDir::claim(&folder.path().join("runs"), "audio-quick").unwrap();
        let (first, second) = (claim(), claim());
        assert!(first.path().ends_with("audio-quick-1") && second.path().ends_with("audio-quick-2"));
        first.remove_if_empty();
        assert_eq!(claim().path(), first.path());
        fs::write(second.path().join("config.toml"), "").unwrap();
        second.remove_if_empty();
        assert!(second.is_begun());
    }

    #[test]
    fn a_folder_without_a_run_says_so() {
        let (_folder, run) = run();
        assert!(!run.is_begun() && run.newest_checkpoint().unwrap().is_none());
        assert!(run.config().unwrap_err().to_string().contains("is not the folder of a run"));
    }
}
