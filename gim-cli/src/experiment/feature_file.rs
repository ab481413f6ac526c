//! Opens feature files of any origin.
//!
//! Damaged metadata can crash the HDF5 library, and a checksum can be right on a damaged file. So a
//! child process opens the file and reads all of it first: its crash is an error like any other.

use std::env;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gim_core::{Error, Result};
use gim_eval::{FeatureFile, Seal, seal_of};

use crate::output::note;

/// The hidden command that tries a file.
pub(crate) const TRY: &str = "try-features";
/// What the child says of a file that it could read.
pub(crate) const WHOLE: &str = "whole";
/// Longest time that a child may take, and bytes it must read a second besides.
const PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST: u64 = 5_000_000;

/// Opens a feature file. Standard error warns of one that this program did not write, or that was
/// changed since.
///
/// # Errors
/// When the file is missing, damaged, of another kind or version, or inconsistent.
pub(crate) fn open(path: &Path) -> Result<FeatureFile> {
    let seal = seal_of(path)?;
    if !is_hdf5(path)? {
        let what = "it is no HDF5 file";
        return Err(Error::file(path, what, "give one that `gim extract` wrote with --format h5"));
    }
    try_out(path)?;
    let warning = match seal {
        Seal::Holds => None,
        Seal::Broken => Some("was changed since this program wrote it: its checksum does not hold"),
        Seal::Absent => Some("was written by another program: it has no checksum"),
    };
    if let Some(warning) = warning {
        note(format_args!("warning: {} {warning}; it is used as it is", path.display()));
    }
    FeatureFile::open_unsealed(path)
}

/// Whether a file begins as HDF5 files do, at any of the places where they may.
fn is_hdf5(path: &Path) -> Result<bool> {
    const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";
    let io = |e| Error::io(path, "read", e);
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    // A user block before it may have 512 bytes, or any power of two above.
    let mut places = std::iter::successors(Some(512u64), |at| at.checked_mul(2)).take_while(|at| at + 8 <= bytes);
    let begins = |at: u64| {
        let mut first = [0; 8];
        file.read_exact_at(&mut first, at).is_ok() && first == SIGNATURE
    };
    Ok(begins(0) || places.any(begins))
}

/// What the child does: reads all of a file.
///
/// # Errors
/// As [`FeatureFile::open_unsealed`] and [`FeatureFile::read_all`].
pub(crate) fn read_all(path: &Path) -> Result<()> {
    FeatureFile::open_unsealed(path)?.read_all()
}

/// Reads a file in a child process.
fn try_out(path: &Path) -> Result<()> {
    let bytes = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
    let failed = |e: std::io::Error| Error::io(path, "start a process that reads", e);
    // By this name the program is found even when its file was replaced meanwhile.
    let own = Path::new("/proc/self/exe");
    let program = if own.exists() { own.to_owned() } else { env::current_exe().map_err(failed)? };
    let mut child = Command::new(program)
        .arg(TRY)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let patience = PATIENCE + Duration::from_secs(bytes / SLOWEST);
    let status = wait(&mut child, patience).map_err(failed)?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut said).map_err(failed)?;
    }
    let mut lines = said.lines();
    match (status, lines.next()) {
        (Some(status), Some(WHOLE)) if status.success() => Ok(()),
        // An error in the words of the child: what is wrong, and the remedy.
        (Some(status), Some(what)) if status.code() == Some(2) => {
            Err(Error::file(path, what, lines.next().unwrap_or_default()))
        }
        (status, _) => {
            let how = status.map_or("does not come to an end on it".into(), |s| format!("crashes on it ({s})"));
            let what = format!("is damaged: the HDF5 library {how}");
            Err(Error::file(path, what, "write the features again"))
        }
    }
}

/// Waits for a child, and ends it when it takes too long.
fn wait(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
