//! The checkpoints of a run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use gim_core::checkpoint::{self, CheckpointMeta};
use gim_core::files::{create_folder, write_atomic};
use gim_core::stack::Stack;
use gim_core::{Error, Result};
use sha2::{Digest, Sha256};

use super::RunDir;

/// Checkpoints kept besides the snapshots: the newest, and the one before in case the newest is damaged on disk.
const KEEP: usize = 2;

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
    pub(crate) fn checkpoints(&self) -> Vec<Checkpoint> {
        let Ok(entries) = fs::read_dir(self.checkpoints_folder()) else { return Vec::new() };
        let mut found: Vec<Checkpoint> = entries
            .flatten()
            .filter_map(|e| {
                let step = e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
                Some(Checkpoint { step, folder: e.path() })
            })
            .collect();
        found.sort();
        found
    }

    /// The newest complete checkpoint.
    pub(crate) fn newest_checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoints().pop()
    }

    /// The newest checkpoint whose digests hold; standard error names the newest when it is passed over.
    ///
    /// # Errors
    /// When there are checkpoints and all are damaged: that of the newest.
    pub(crate) fn newest_intact_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let mut newest_damage = None;
        for checkpoint in self.checkpoints().into_iter().rev() {
            let Err(e) = checkpoint.verify() else {
                if let Some(damage) = newest_damage {
                    // Nobody may be there to read it.
                    let used = checkpoint.folder.display();
                    let _ = writeln!(std::io::stderr(), "note: {damage}; {used} is used instead");
                }
                return Ok(Some(checkpoint));
            };
            newest_damage.get_or_insert(e);
        }
        newest_damage.map_or(Ok(None), Err)
    }

    /// The newest weights, by step and digest; none where there is no checkpoint.
    ///
    /// # Errors
    /// As [`RunDir::newest_intact_checkpoint`].
    pub(crate) fn weights(&self) -> Result<Option<Weights>> {
        self.newest_intact_checkpoint()?.map(|c| Ok(Weights { step: c.step, digest: c.digest()? })).transpose()
    }

    /// Removes checkpoints that were not finished, or not wholly removed, when a process ended.
    fn sweep_checkpoints(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(self.checkpoints_folder()) else { return Ok(()) };
        for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "tmp")) {
            fs::remove_dir_all(&path).map_err(|e| Error::io(&path, "remove an unfinished checkpoint", e))?;
        }
        Ok(())
    }

    /// Writes a checkpoint and removes those that are neither new nor one of the `snapshots`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn save(
        &self,
        stack: &mut Stack<f32>,
        step: u64,
        fingerprint: &str,
        dataset: &str,
        snapshots: &[u64],
    ) -> Result<()> {
        let folder = self.checkpoints_folder();
        self.sweep_checkpoints()?;
        let partial = folder.join("partial.tmp");
        create_folder(&partial)?;
        for (i, module) in stack.modules_mut().iter_mut().enumerate() {
            let (configuration, dataset) = (fingerprint.to_owned(), dataset.to_owned());
            let meta = CheckpointMeta { module: i + 1, step, configuration, dataset, ..CheckpointMeta::default() };
            write_atomic(&module_file(&partial, i + 1), &checkpoint::to_bytes(&mut **module, &meta)?)?;
        }
        let done = folder.join(format!("step-{step:08}"));
        if done.exists() {
            remove_checkpoint(&done)?;
        }
        fs::rename(&partial, &done).map_err(|e| Error::io(&done, "put a checkpoint in place", e))?;
        let all = self.checkpoints();
        for old in all[..all.len().saturating_sub(KEEP)].iter().filter(|c| !snapshots.contains(&c.step)) {
            remove_checkpoint(&old.folder)?;
        }
        Ok(())
    }
}

impl Checkpoint {
    /// What the run keeps of its dataset, as JSON; empty in checkpoints of older versions.
    pub(super) fn dataset(&self) -> Result<String> {
        checkpoint::verify(&module_file(&self.folder, 1)).map(|meta| meta.dataset)
    }

    /// SHA-256 (hexadecimal) of the digests of all modules.
    fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for meta in self.verify()? {
            hash.update(format!("{} {}\n", meta.module, meta.digest));
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Verifies the digests of all modules. Gives what they say of themselves, by module.
    fn verify(&self) -> Result<Vec<CheckpointMeta>> {
        let entries = fs::read_dir(&self.folder).map_err(|e| Error::io(&self.folder, "read the checkpoint", e))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        files.sort();
        if files.is_empty() {
            return Err(Error::file(&self.folder, "is damaged: it holds no module", "remove it"));
        }
        let mut all = files.iter().map(|file| checkpoint::verify(file)).collect::<Result<Vec<_>>>()?;
        all.sort_by_key(|meta| meta.module);
        Ok(all)
    }

    /// Loads the weights and the optimizers' state into a stack.
    ///
    /// # Errors
    /// When a file is damaged, or of another configuration.
    pub(crate) fn load(&self, stack: &mut Stack<f32>, fingerprint: &str) -> Result<()> {
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

/// Removes a checkpoint; it is renamed first, so that a kill in between leaves no half of one in sight.
fn remove_checkpoint(folder: &Path) -> Result<()> {
    let hidden = folder.with_extension("removed.tmp");
    fs::rename(folder, &hidden)
        .and_then(|()| fs::remove_dir_all(&hidden))
        .map_err(|e| Error::io(folder, "remove an old checkpoint", e))
}

/// File of one module of a checkpoint.
fn module_file(checkpoint: &Path, module: usize) -> PathBuf {
    checkpoint.join(format!("module_{module}.safetensors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_checkpoints_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        assert_eq!(run.newest_checkpoint(), None);
        for step in [200, 10] {
            fs::create_dir_all(run.checkpoints_folder().join(format!("step-{step:08}"))).unwrap();
        }
        fs::create_dir_all(run.checkpoints_folder().join("partial.tmp")).unwrap();
        assert_eq!(run.checkpoints().iter().map(|c| c.step).collect::<Vec<_>>(), [10, 200]);
        assert_eq!(run.newest_checkpoint().unwrap().step, 200);
    }
}
