//! Batches made in parallel with training, for every domain.
//!
//! Domains bring the decoding. This module brings the threads that make batches in order ([`Loader`]), the order of items
//! ([`EpochOrder`]) and what is kept of decoded items ([`Cache`]) and of their
//! files ([`FileIndex`]). Activations are kept on disk by a [`store`].

mod bad;
mod cache;
mod columns;
mod index;
mod lines;
mod loader;
mod manifest;
mod name;
mod split;
pub mod store;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use bad::{SKIP_BAD, all_bad, because, left_out, or_skip};
pub use cache::Cache;
pub use columns::{Column, Columns, LabelTable};
pub use index::FileIndex;
pub use lines::{Lines, normalized};
pub use loader::{Loader, LoaderStats};
pub use manifest::{ItemId, Items, Manifest, ManifestItem, labels_of};
pub use name::{LabelName, RESERVED};
pub use split::{EpochOrder, Split, SplitFolder, below, draw_fifth, draw_share, shuffle};
pub use table::Table;

use crate::{Error, Result};

/// Runs a third-party decoder on the file at `path`. If the decoder panics, that is an error of the file,
/// so that a damaged file does not end a run.
///
/// # Errors
/// Those of `work`, and [`Error::File`] when it panics.
pub fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let what = "the decoder failed on it: the file is damaged";
        Err(Error::file(path, what, "copy, download or make the file again"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_file() {
        let path = Path::new("some.flac");
        assert_eq!(guarded(path, || Ok(3)).unwrap(), 3);
        let failed = guarded::<()>(path, || panic!("a panic that a test wants")).unwrap_err().to_string();
        assert!(failed.contains("some.flac") && failed.contains("damaged"), "{failed}");
        let own = guarded::<()>(path, || Err(Error::config("a", "b", "c"))).unwrap_err().to_string();
        assert_eq!(own, "a: b (c)");
    }
}
