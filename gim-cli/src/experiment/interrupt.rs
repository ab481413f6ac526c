//! Ctrl-C, SIGTERM and SIGHUP: the first saves and stops, the second stops at once. Where there is
//! nothing to save, the first stops at once.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gim_core::{Error, Result};

use crate::output::note;

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Whether the command saves when it is asked to.
static SAVES: AtomicBool = AtomicBool::new(false);
/// Whether another process decides when to stop, and says so.
#[cfg(feature = "mpi")]
static FOLLOWS: AtomicBool = AtomicBool::new(false);
/// How much work is under way that has nothing to save.
static NOTHING_TO_SAVE: AtomicUsize = AtomicUsize::new(0);
/// Whether signals are handled yet.
static HANDLED: Mutex<bool> = Mutex::new(false);
/// Files and folders that are of no use once the process has ended.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From now on, Ctrl-C, SIGTERM and SIGHUP ask the work to save and stop.
///
/// # Errors
/// When the system refuses.
pub(crate) fn save_on_interrupt() -> Result<()> {
    SAVES.store(true, Ordering::SeqCst);
    handle()
}

/// As [`save_on_interrupt`], for a process that saves with others: the first of them says so.
///
/// # Errors
/// When the system refuses.
#[cfg(feature = "mpi")]
pub(crate) fn pass_on_to_rank_0() -> Result<()> {
    FOLLOWS.store(true, Ordering::SeqCst);
    save_on_interrupt()
}

/// Asks the work to save and stop.
#[cfg(feature = "mpi")]
pub(crate) fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

fn handle() -> Result<()> {
    let Ok(mut handled) = HANDLED.lock() else { return Ok(()) };
    if !*handled {
        ctrlc::set_handler(on_signal).map_err(|e| Error::config("Ctrl-C", e, "run again"))?;
        *handled = true;
    }
    Ok(())
}

fn on_signal() {
    let saves = SAVES.load(Ordering::SeqCst) && NOTHING_TO_SAVE.load(Ordering::SeqCst) == 0;
    if !saves || REQUESTED.swap(true, Ordering::Relaxed) {
        // Held until the process has ended: other threads make no scratch files meanwhile.
        let scratch = SCRATCH.lock();
        for path in scratch.iter().flat_map(|paths| paths.iter()) {
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
        // Nothing is lost but the steps since the last checkpoint.
        std::process::exit(130);
    }
    #[cfg(feature = "mpi")]
    if FOLLOWS.load(Ordering::SeqCst) {
        return;
    }
    // The terminal may be gone, which is what SIGHUP says.
    note("saving; press Ctrl-C again to stop at once");
}

/// A file or folder that goes when a signal ends the process, as long as this lives.
#[derive(Debug)]
#[must_use]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// # Errors
    /// When the system refuses to hand over signals.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        handle()?;
        if let Ok(mut scratch) = SCRATCH.lock() {
            scratch.push(path.to_owned());
        }
        Ok(Self(path.to_owned()))
    }
}

/// Does `work`, which makes a scratch file. A signal waits until it is made, so as not to leave it behind.
pub(crate) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _held = SCRATCH.lock();
    work()
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Ok(mut scratch) = SCRATCH.lock() {
            scratch.retain(|path| *path != self.0);
        }
    }
}

/// Work that has nothing to save, as long as this lives: the first signal ends the process.
#[must_use]
pub(crate) struct NothingToSave(());

impl NothingToSave {
    pub(crate) fn new() -> Self {
        NOTHING_TO_SAVE.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for NothingToSave {
    fn drop(&mut self) {
        NOTHING_TO_SAVE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the work shall save and stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
