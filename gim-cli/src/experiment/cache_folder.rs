//! The user's folder for what can be made again: embedded datasets, and what is known of datasets' files.

use std::env;
use std::path::{Path, PathBuf};

use gim_core::files::hex;
use sha2::{Digest, Sha256};

/// `$XDG_CACHE_HOME/gim`, `~/.cache/gim`, or a folder for temporary files.
pub(crate) fn cache_folder() -> PathBuf {
    let given = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let given = |name| given(name).filter(|path: &PathBuf| path.is_absolute());
    given("XDG_CACHE_HOME")
        .or_else(|| given("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("gim")
}

/// The file that keeps what was learned of the files of a dataset in `folder`.
pub(crate) fn index_of(folder: &Path) -> Option<PathBuf> {
    // The same folder by another name is the same dataset.
    let folder = folder.canonicalize().ok()?;
    let name = hex(&Sha256::digest(folder.as_os_str().as_encoded_bytes())[..16]);
    Some(cache_folder().join("index").join(format!("{name}.json")))
}
