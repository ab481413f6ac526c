//! Ctrl-C, SIGTERM and SIGHUP: the first saves and stops, the second stops at once.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use gim_core::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on, Ctrl-C, SIGTERM and SIGHUP ask the work to save and stop.
///
/// # Errors
/// When the system refuses, or this is called twice.
pub(crate) fn save_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            // Nothing is lost but the steps since the last checkpoint.
            std::process::exit(130);
        }
        // The terminal may be gone, which is what SIGHUP says.
        let _ = writeln!(std::io::stderr(), "saving; press Ctrl-C again to stop at once");
    })
    .map_err(|e| Error::config("Ctrl-C", e, "run again"))
}

/// Whether the work shall save and stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
