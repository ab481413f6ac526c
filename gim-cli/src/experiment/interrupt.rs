//! Ctrl-C, SIGTERM and SIGHUP: the first saves and stops, the second stops at once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use gim_core::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// A folder that is of no use once the process has ended.
static SCRATCH: Mutex<Option<PathBuf>> = Mutex::new(None);

/// From now on, Ctrl-C, SIGTERM and SIGHUP ask the work to save and stop.
///
/// # Errors
/// When the system refuses, or this is called twice.
pub(crate) fn save_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            if let Ok(scratch) = SCRATCH.lock()
                && let Some(folder) = &*scratch
            {
                let _ = std::fs::remove_dir_all(folder);
            }
            // Nothing is lost but the steps since the last checkpoint.
            std::process::exit(130);
        }
        // The terminal may be gone, which is what SIGHUP says.
        let _ = writeln!(std::io::stderr(), "saving; press Ctrl-C again to stop at once");
    })
    .map_err(|e| Error::config("Ctrl-C", e, "run again"))
}

/// From now on, a second signal removes this folder before the process ends.
pub(crate) fn remove_at_once(scratch: &Path) {
    if let Ok(mut known) = SCRATCH.lock() {
        *known = Some(scratch.to_owned());
    }
}

/// Whether the work shall save and stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
