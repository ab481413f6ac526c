//! The one error type of the workspace: what is wrong, where, and what to do about it.

use std::error::Error as StdError;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::files::free_space;

/// Result of anything that can meet bad input.
pub type Result<T> = std::result::Result<T, Error>;

/// The error of a library below, as [`StdError::source`] gives it.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// What went wrong. Displayed in one line as `place: what (remedy)`.
///
/// The text of a cause is part of `what`, so printing the error alone loses nothing. The cause itself
/// is the [`StdError::source`].
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
        /// The error of the reader, writer or system, if there is one.
        source: Option<Cause>,
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
        /// The error of the parser, if there is one.
        source: Option<Cause>,
    },
    /// Arrays in memory that do not fit each other or the computation: shapes, labels, values.
    #[error("{name}: {what} ({remedy})")]
    Data {
        /// What the data are for, e.g. `examples`.
        name: String,
        /// What is wrong with them.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// A module's loss stopped being finite, or grew beyond all that learning gives.
    #[error("module {module} diverged at step {step}: {what} ({remedy})")]
    Diverged {
        /// One-based module number.
        module: usize,
        /// The training step of this loss.
        step: u64,
        /// The loss, in words.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// The user asked to stop; everything up to `step` is saved.
    #[error("interrupted after step {step} ({remedy})")]
    Interrupted {
        /// Training steps finished and saved.
        step: u64,
        /// How to resume.
        remedy: String,
    },
    /// A defect of the program.
    #[error("{place}: {what} (this is a defect of the program; please report it)")]
    Internal {
        /// The part of the program that failed.
        place: String,
        /// How it failed.
        what: String,
        /// The error behind it, if there is one.
        source: Option<Cause>,
    },
}

impl Error {
    /// [`Error::File`] without a cause.
    pub fn file(path: impl AsRef<Path>, what: impl Display, remedy: impl Display) -> Self {
        let (what, remedy) = (what.to_string(), remedy.to_string());
        Self::File { path: path.as_ref().to_owned(), what, remedy, source: None }
    }

    /// [`Error::File`] for an input or output error while `doing` something with `path`. The remedy
    /// follows from the kind of the error, which is kept as the cause.
    pub fn io(path: impl AsRef<Path>, doing: &str, source: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let remedy = match source.kind() {
            K::NotFound => "check the path",
            K::PermissionDenied | K::ReadOnlyFilesystem => "check the permissions",
            K::StorageFull => {
                let free = free_space(path.as_ref()).filter(|_| is_on_disk(path.as_ref()));
                let free = free.map_or(String::new(), |free| format!("{:.1} MB are free there; ", free as f64 / 1e6));
                let remedy = format!("{free}free some space and run again; what was saved before is intact");
                return Self::file(path, format_args!("cannot {doing}: {source}"), remedy).caused_by(source);
            }
            K::QuotaExceeded => "your quota is used up: remove files of yours; what was saved before is intact",
            K::FileTooLarge => {
                "no larger file is allowed there: raise the limit (`ulimit -f`), or use another disk; what was saved \
                 before is intact"
            }
            K::UnexpectedEof => "the file is cut short; copy or make it again",
            _ => "check the file and the disk",
        };
        Self::file(path, format_args!("cannot {doing}: {source}"), remedy).caused_by(source)
    }

    /// [`Error::Config`] without a cause.
    pub fn config(key: impl Display, what: impl Display, remedy: impl Display) -> Self {
        Self::Config { key: key.to_string(), what: what.to_string(), remedy: remedy.to_string(), source: None }
    }

    /// [`Error::Data`].
    pub fn data(name: impl Display, what: impl Display, remedy: impl Display) -> Self {
        Self::Data { name: name.to_string(), what: what.to_string(), remedy: remedy.to_string() }
    }

    /// [`Error::Internal`] without a cause.
    pub fn internal(place: impl Display, what: impl Display) -> Self {
        Self::Internal { place: place.to_string(), what: what.to_string(), source: None }
    }

    /// The same error with `cause` as its source. `what` should hold the cause's text already.
    ///
    /// # Panics
    /// On variants without a source: [`Error::Data`], [`Error::Diverged`], [`Error::Interrupted`].
    pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        match &mut self {
            Self::File { source, .. } | Self::Config { source, .. } | Self::Internal { source, .. } => {
                *source = Some(cause.into());
            }
            other => panic!("this error has no cause: {other}"),
        }
        self
    }
}

/// Whether free space in the folder of `path` is space for it: it is no device, no pipe, and no mere name such as
/// `standard output`.
fn is_on_disk(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(meta) => meta.is_file() || meta.is_dir(),
        Err(_) => path.parent().is_some_and(Path::is_dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn every_text_names_place_cause_and_remedy() {
        let diverged =
            Error::Diverged { module: 2, step: 7, what: "the loss is NaN".into(), remedy: "lower it".into() };
        for (error, text) in [
            (Error::file("a/b.csv", "is empty", "fill it"), "a/b.csv: is empty (fill it)"),
            (Error::config("loss.window", "is 0", "use 1 or more"), "loss.window: is 0 (use 1 or more)"),
            (Error::data("examples", "no labels", "give some"), "examples: no labels (give some)"),
            (diverged, "module 2 diverged at step 7: the loss is NaN (lower it)"),
            (Error::Interrupted { step: 3, remedy: "resume".into() }, "interrupted after step 3 (resume)"),
            (
                Error::internal("loader", "it panicked"),
                "loader: it panicked (this is a defect of the program; please report it)",
            ),
        ] {
            assert_eq!(error.to_string(), text);
            assert!(error.source().is_none());
        }
    }

    #[test]
    fn causes_are_kept() {
        let error = Error::io("weights", "read", io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.to_string(), "weights: cannot read: permission denied (check the permissions)");
        let cause = error.source().and_then(|e| e.downcast_ref::<io::Error>());
        assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::PermissionDenied));
        for error in [Error::config("a", "b", "c"), Error::internal("a", "b")] {
            assert_eq!(error.caused_by("cause").source().map(ToString::to_string).as_deref(), Some("cause"));
        }
    }

    #[test]
    fn a_full_disk_is_told_with_its_space() {
        let text = Error::io("Cargo.toml", "write", io::ErrorKind::StorageFull.into()).to_string();
        let space = text.split_once(" (").and_then(|(_, rest)| rest.split_once(" MB are free there; free some space"));
        assert!(space.is_some_and(|(megabytes, _)| megabytes.parse::<f64>().is_ok()), "{text}");
        let text = Error::io("src/new.csv", "write", io::ErrorKind::StorageFull.into()).to_string();
        assert!(text.contains(" MB are free there; free some space"), "{text}");
        for path in ["no/such/folder/x", "/dev/full", "standard output"] {
            let text = Error::io(path, "write", io::ErrorKind::StorageFull.into()).to_string();
            assert!(text.contains("(free some space"), "{text}");
        }
        for (kind, says) in [(io::ErrorKind::QuotaExceeded, "your quota"), (io::ErrorKind::FileTooLarge, "ulimit -f")] {
            let text = Error::io("Cargo.toml", "write", kind.into()).to_string();
            assert!(text.contains(says) && !text.contains("MB are free"), "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "has no cause")]
    fn data_has_no_cause() {
        let _ = Error::data("a", "b", "c").caused_by("d");
    }
}
