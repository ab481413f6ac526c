//! The one error type of the workspace: what is wrong, where, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of anything that can meet bad input.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in three parts a person can act on: place, cause, remedy.
///
/// Displayed as `place: cause (remedy)`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder that is missing, unreadable, malformed or inconsistent.
    #[error("{}: {what} ({remedy})", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// A configuration value or command-line argument that cannot be used.
    #[error("{key}: {what} ({remedy})")]
    Config {
        /// The key, as written in the configuration.
        key: String,
        /// What is wrong with its value.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// A module's loss stopped being finite.
    #[error("module {module} diverged at step {step}: {what} ({remedy})")]
    Diverged {
        /// One-based module number.
        module: usize,
        /// The step at which it was noticed.
        step: u64,
        /// What it is now.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// The user asked to stop; everything up to `step` is saved.
    #[error("interrupted after step {step} ({remedy})")]
    Interrupted {
        /// Steps finished and saved.
        step: u64,
        /// How to go on.
        remedy: String,
    },
}

impl Error {
    /// A bad file or folder.
    pub fn file(path: impl AsRef<Path>, what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::File { path: path.as_ref().to_owned(), what: what.to_string(), remedy: remedy.to_string() }
    }

    /// An input/output error while `doing` something with `path`; the remedy follows from the error's kind.
    pub fn io(path: impl AsRef<Path>, doing: &str, source: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let remedy = match source.kind() {
            K::NotFound => "check the path",
            K::PermissionDenied | K::ReadOnlyFilesystem => "check the permissions",
            K::StorageFull | K::QuotaExceeded => "free some space and run again; what was saved before is intact",
            K::UnexpectedEof => "the file is cut short; copy or make it again",
            _ => "check the file and the disk",
        };
        Self::file(path, format_args!("cannot {doing}: {source}"), remedy)
    }

    /// A bad configuration value.
    pub fn config(key: impl fmt::Display, what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::Config { key: key.to_string(), what: what.to_string(), remedy: remedy.to_string() }
    }
}
