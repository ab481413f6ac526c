//! The checkpoints of a run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gim_core::checkpoint::{self, CheckpointMeta};
use gim_core::files::{create_folder, hex, write_atomic};
use gim_core::stack::Stack;
use gim_core::{Error, Result};
use sha2::{Digest, Sha256};

use super::{Curves, RunDir};
use crate::experiment::fingerprint::difference;
use crate::experiment::train_config::TrainConfig;
use crate::output::note;

/// Checkpoints kept besides the snapshots: the newest, and the one before in case the newest is damaged on disk.
const KEEP: usize = 2;

/// Name of a checkpoint's folder while it is written, and its extension while it is removed.
const PARTIAL: &str = "partial.tmp";
const REMOVED: &str = "removed.tmp";

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// Its folder.
    pub folder: PathBuf,
}

/// The weights of a run: what features and probes belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weights {
    /// Steps done.
    pub step: u64,
    /// Digest of the checkpoint.
    pub digest: String,
}

impl RunDir {
    fn checkpoints_folder(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Complete checkpoints, oldest first.
    ///
    /// # Errors
    /// When their folder is there and cannot be listed.
    pub(crate) fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let folder = self.checkpoints_folder();
        let failed = |e| Error::io(&folder, "list the checkpoints", e);
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if let Some(step) = entry.file_name().to_str().and_then(step_of) {
                found.push(Checkpoint { step, folder: entry.path() });
            }
        }
        found.sort();
        Ok(found)
    }

    /// The newest complete checkpoint.
    ///
    /// # Errors
    /// As [`RunDir::checkpoints`].
    pub(crate) fn newest_checkpoint(&self) -> Result<Option<Checkpoint>> {
        Ok(self.checkpoints()?.pop())
    }

    /// The newest checkpoint whose digests hold; standard error names the newest when it is passed over.
    ///
    /// # Errors
    /// When there are checkpoints and all are damaged: that of the newest.
    pub(crate) fn newest_intact_checkpoint(&self) -> Result<Option<Checkpoint>> {
        Ok(self.newest_intact()?.map(|(checkpoint, _)| checkpoint))
    }

    /// [`RunDir::newest_intact_checkpoint`] with what its modules say of themselves.
    fn newest_intact(&self) -> Result<Option<(Checkpoint, Vec<CheckpointMeta>)>> {
        let mut newest_damage = None;
        let all = self.checkpoints()?;
        // All checkpoints of a run have as many modules. One that lacks its last can be told by the others only.
        let most = all.iter().filter_map(|c| c.modules().ok()).map(|modules| modules.len()).max();
        for checkpoint in all.into_iter().rev() {
            let verified = checkpoint.verify().and_then(|modules| match most.filter(|most| modules.len() < *most) {
                None => Ok(modules),
                Some(most) => {
                    let what = format!("is damaged: it holds {} modules of {most}", modules.len());
                    Err(Error::file(&checkpoint.folder, what, "copy it again, or remove it"))
                }
            });
            match verified {
                Ok(modules) => {
                    if let Some(damage) = newest_damage {
                        note(format_args!("note: {damage}; {} is used instead", checkpoint.folder.display()));
                    }
                    return Ok(Some((checkpoint, modules)));
                }
                Err(e) => drop(newest_damage.get_or_insert(e)),
            }
        }
        newest_damage.map_or(Ok(None), Err)
    }

    /// The newest weights, by step and digest; none where there is no checkpoint.
    ///
    /// # Errors
    /// As [`RunDir::newest_intact_checkpoint`].
    pub(crate) fn weights(&self) -> Result<Option<Weights>> {
        Ok(self.newest_intact()?.map(|(c, modules)| Weights { step: c.step, digest: digest(&modules) }))
    }

    /// Removes checkpoints that were not finished, or not wholly removed, when a process ended.
    pub(super) fn sweep_checkpoints(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(self.checkpoints_folder()) else { return Ok(()) };
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if name.to_str().is_some_and(is_unfinished) {
                fs::remove_dir_all(&path).map_err(|e| Error::io(&path, "remove an unfinished checkpoint", e))?;
            }
        }
        Ok(())
    }

    /// Makes the folder of the checkpoints in that of the run, which exists.
    pub(crate) fn create_checkpoints(&self) -> Result<()> {
        create_folder(&self.checkpoints_folder())
    }

    /// Writes a checkpoint after `step` steps, and removes those that `keep` does not name. `modules` are
    /// the [`checkpoint::to_bytes`] of every module, first module first.
    ///
    /// # Errors
    /// The first of `modules`, or when the disk refuses, or [`Self::create_checkpoints`] was not called.
    pub(crate) fn save(
        &self,
        modules: impl IntoIterator<Item = Result<Vec<u8>>>,
        step: u64,
        curves: &Curves,
        keep: &Keep,
    ) -> Result<()> {
        let folder = self.checkpoints_folder();
        self.sweep_checkpoints()?;
        let partial = folder.join(PARTIAL);
        fs::create_dir(&partial).map_err(|e| Error::io(&partial, "create the folder", e))?;
        for (i, bytes) in modules.into_iter().enumerate() {
            write_atomic(&module_file(&partial, i + 1), &bytes?)?;
        }
        curves.write(&partial)?;
        let done = folder.join(format!("step-{step:08}"));
        if done.exists() {
            remove_checkpoint(&done)?;
        }
        fs::rename(&partial, &done).map_err(|e| Error::io(&done, "put a checkpoint in place", e))?;
        self.remove_superfluous(keep)
    }

    /// Removes the checkpoints that `keep` does not name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn remove_superfluous(&self, keep: &Keep) -> Result<()> {
        keep.superfluous(&self.checkpoints()?).into_iter().try_for_each(|old| remove_checkpoint(&old.folder))
    }
}

/// Which checkpoints of a run are kept.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    /// Steps from one checkpoint to the next.
    pub every: u64,
    /// The last step.
    pub total: u64,
    /// Steps whose checkpoints are kept for good.
    pub snapshots: Vec<u64>,
}

impl Keep {
    /// What the configuration says for a run of `total` steps.
    pub(crate) fn new(train: &TrainConfig, total: u64) -> Self {
        Self { every: train.checkpoint_every, total, snapshots: train.snapshots(total) }
    }

    /// Whether an uninterrupted run has a checkpoint of this step.
    pub(crate) fn due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every) || step == self.total || self.snapshots.contains(&step)
    }

    /// Those of `all`, oldest first, that are neither new nor snapshots. One that an interruption made is
    /// kept until the next: after that, the folder looks as if there had been no interruption.
    fn superfluous<'a>(&self, all: &'a [Checkpoint]) -> Vec<&'a Checkpoint> {
        let Some((newest, older)) = all.split_last() else { return Vec::new() };
        let mut left = if self.due(newest.step) { KEEP - 1 } else { KEEP };
        let mut out = Vec::new();
        for c in older.iter().rev() {
            if self.due(c.step) && left > 0 {
                left -= 1;
            } else if !self.snapshots.contains(&c.step) {
                out.push(c);
            }
        }
        out
    }
}

impl Checkpoint {
    /// What the run keeps of its dataset, as JSON; empty in checkpoints of older versions.
    pub(super) fn dataset(&self) -> Result<String> {
        checkpoint::verify(&module_file(&self.folder, 1)).map(|meta| meta.dataset)
    }

    /// The files of the modules.
    fn modules(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder).map_err(|e| Error::io(&self.folder, "read the checkpoint", e))?;
        let files = entries.flatten().map(|e| e.path());
        let mut modules: Vec<PathBuf> = files.filter(|f| f.extension().is_some_and(|e| e == "safetensors")).collect();
        modules.sort();
        if modules.is_empty() {
            return Err(Error::file(&self.folder, "is damaged: it holds no module", "remove it"));
        }
        Ok(modules)
    }

    /// Verifies the digests of all modules, and that they are modules 1, 2, 3 … of this step. Gives what they say of
    /// themselves, by module.
    fn verify(&self) -> Result<Vec<CheckpointMeta>> {
        let wrong = |path: &Path, what: String| {
            Err(Error::file(path, format_args!("is damaged: {what}"), "copy the checkpoint again, or remove it"))
        };
        let mut all = Vec::new();
        for file in self.modules()? {
            let meta = checkpoint::verify(&file)?;
            if meta.step != self.step {
                return wrong(&file, format!("it is of step {}", meta.step));
            }
            if file != module_file(&self.folder, meta.module) {
                return wrong(&file, format!("it is of module {}", meta.module));
            }
            all.push(meta);
        }
        all.sort_by_key(|meta| meta.module);
        if let Some(k) = (1..=all.len()).find(|k| all[k - 1].module != *k) {
            return wrong(&self.folder, format!("module {k} is missing"));
        }
        self.curves()?;
        Ok(all)
    }

    /// The training curves up to here.
    ///
    /// # Errors
    /// When they are damaged.
    pub(crate) fn curves(&self) -> Result<Curves> {
        Curves::read(&self.folder)
    }

    /// The file of a module (one-based) that is the same after `step` steps.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn frozen(&self, module: usize, step: u64) -> Result<Vec<u8>> {
        checkpoint::restamp(&module_file(&self.folder, module), step)
    }

    /// Refuses settings other than those that the checkpoint was made with.
    ///
    /// # Errors
    /// Names a setting that differs.
    pub(crate) fn check_settings(&self, fingerprint: &str) -> Result<()> {
        let path = module_file(&self.folder, 1);
        let meta = checkpoint::verify(&path)?;
        let Some(what) = difference(&meta.configuration, fingerprint) else { return Ok(()) };
        let remedy = "restore the config.toml it was made with, or train another run";
        Err(Error::file(&path, format_args!("belongs to another configuration: {what}"), remedy))
    }

    /// Loads the weights and the optimizers' state into a stack.
    ///
    /// # Errors
    /// When a file is damaged, or of another configuration.
    pub(crate) fn load(&self, stack: &mut Stack<f32>, fingerprint: &str) -> Result<()> {
        self.check_settings(fingerprint)?;
        let (saved, modules) = (self.modules()?.len(), stack.modules().len());
        if saved != modules {
            let what = format!("holds {saved} modules, but the network has {modules}");
            return Err(Error::file(&self.folder, what, "copy it again, or train another run"));
        }
        for (i, module) in stack.modules_mut().iter_mut().enumerate() {
            let path = module_file(&self.folder, i + 1);
            let meta = checkpoint::load(&path, &mut **module)?;
            if meta.configuration != fingerprint || meta.module != i + 1 {
                let what = "belongs to another configuration";
                return Err(Error::file(&path, what, "use the config.toml it was made with"));
            }
        }
        Ok(())
    }
}

/// SHA-256 (hexadecimal) of the digests of all modules.
fn digest(modules: &[CheckpointMeta]) -> String {
    let mut hash = Sha256::new();
    modules.iter().for_each(|meta| hash.update(format!("{} {}\n", meta.module, meta.digest)));
    hex(hash.finalize())
}

/// Removes a checkpoint; it is renamed first, so that a kill in between leaves no half of one in sight.
fn remove_checkpoint(folder: &Path) -> Result<()> {
    let hidden = folder.with_extension(REMOVED);
    fs::rename(folder, &hidden)
        .and_then(|()| fs::remove_dir_all(&hidden))
        .map_err(|e| Error::io(folder, "remove an old checkpoint", e))
}

/// Whether a name is that of a checkpoint that was not wholly written or removed.
fn is_unfinished(name: &str) -> bool {
    name == PARTIAL || name.strip_suffix(REMOVED).and_then(|n| step_of(n.strip_suffix('.')?)).is_some()
}

/// The steps that the name of a checkpoint's folder says.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok()
}

/// File of one module of a checkpoint.
fn module_file(checkpoint: &Path, module: usize) -> PathBuf {
    checkpoint.join(format!("module_{module}.safetensors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_leaves_no_trace_after_the_next_checkpoint() {
        let keep = Keep { every: 4, total: 14, snapshots: vec![3] };
        let left = |steps: &[u64]| {
            let all: Vec<_> = steps.iter().map(|s| Checkpoint { step: *s, folder: PathBuf::new() }).collect();
            let gone: Vec<u64> = keep.superfluous(&all).iter().map(|c| c.step).collect();
            steps.iter().copied().filter(|s| !gone.contains(s)).collect::<Vec<_>>()
        };
        assert_eq!(left(&[]), [0; 0]);
        assert_eq!(left(&[3, 4, 8]), [3, 4, 8]);
        assert_eq!(left(&[3, 4, 8, 12]), [3, 8, 12]);
        assert_eq!(left(&[3, 4, 8, 9]), [3, 4, 8, 9]);
        assert_eq!(left(&[3, 4, 8, 9, 11]), [3, 4, 8, 11]);
        assert_eq!(left(&[3, 4, 8, 11, 12]), [3, 8, 12]);
        assert_eq!(left(&[3, 8, 12, 14]), [3, 12, 14]);
    }

    #[test]
    fn complete_checkpoints_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        assert_eq!(run.newest_checkpoint().unwrap(), None);
        for step in [200, 10] {
            fs::create_dir_all(run.checkpoints_folder().join(format!("step-{step:08}"))).unwrap();
        }
        fs::create_dir_all(run.checkpoints_folder().join("partial.tmp")).unwrap();
        assert_eq!(run.checkpoints().unwrap().iter().map(|c| c.step).collect::<Vec<_>>(), [10, 200]);
        assert_eq!(run.newest_checkpoint().unwrap().unwrap().step, 200);
    }
}
