//! The checkpoints of a run.

use std::fs;
use std::path::{Path, PathBuf};

use gim_core::checkpoint::{self, CheckpointMeta};
use gim_core::files::{create_folder, write_atomic};
use gim_core::stack::Stack;
use gim_core::{Error, Result};

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

    /// Writes a checkpoint and removes those that are neither new nor one of the `snapshots`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn save(&self, stack: &mut Stack<f32>, step: u64, fingerprint: &str, snapshots: &[u64]) -> Result<()> {
        let folder = self.checkpoints_folder();
        let partial = folder.join("partial.tmp");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|e| Error::io(&partial, "remove an unfinished checkpoint", e))?;
        }
        create_folder(&partial)?;
        for (i, module) in stack.modules_mut().iter_mut().enumerate() {
            let meta = CheckpointMeta {
                format: checkpoint::FORMAT,
                module: i + 1,
                step,
                optimizer_steps: 0,
                configuration: fingerprint.to_owned(),
            };
            write_atomic(&module_file(&partial, i + 1), &checkpoint::to_bytes(&mut **module, &meta)?)?;
        }
        let done = folder.join(format!("step-{step:08}"));
        if done.exists() {
            fs::remove_dir_all(&done).map_err(|e| Error::io(&done, "replace a checkpoint", e))?;
        }
        fs::rename(&partial, &done).map_err(|e| Error::io(&done, "put a checkpoint in place", e))?;
        let all = self.checkpoints();
        for old in all[..all.len().saturating_sub(KEEP)].iter().filter(|c| !snapshots.contains(&c.step)) {
            fs::remove_dir_all(&old.folder).map_err(|e| Error::io(&old.folder, "remove an old checkpoint", e))?;
        }
        Ok(())
    }
}

impl Checkpoint {
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
