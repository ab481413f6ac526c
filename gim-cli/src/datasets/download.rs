//! A file from one of its addresses: resumed after a break, checked, then put in place.
//!
//! What is there so far is in `NAME.part`, and what the server called that state of the file in
//! `NAME.part.state`. Bytes of another state are never joined to it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use gim_core::files::{free_space, remove_if_there, write_atomic};
use gim_core::{Error, Result};

use super::digest::Seen;
use super::http::{self, Answer, Failure, Reply, Request};
use super::registry::Source;
use super::size;
use crate::experiment::progress::{Mode, Progress};

/// How files are asked for.
#[derive(Debug)]
pub(crate) struct Net {
    /// Address of a folder that has all files, in place of the publishers' addresses.
    pub(crate) mirror: Option<String>,
    /// Take files of other lengths and checksums than published.
    pub(crate) any_checksum: bool,
    /// The connection is broken when nothing arrives for so long.
    pub(crate) timeout: Duration,
    /// Tries without any progress, after which an address is given up.
    pub(crate) tries: u32,
    pub(crate) show: Mode,
}

/// Most bytes of a file of unknown length, beyond twice the published length.
const SPARE: u64 = 64_000_000;

/// Between reports of progress.
pub(super) const MB: u64 = 1_000_000;

/// A file in the folder of downloads, and what it was seen to be.
#[derive(Debug)]
pub(super) struct Downloaded {
    pub(super) path: PathBuf,
    pub(super) seen: Seen,
    /// Where it came from.
    pub(super) address: String,
}

/// Bytes of `source` that are still to be downloaded into `folder`.
pub(super) fn missing(source: &Source, folder: &Path) -> u64 {
    let there = |path: PathBuf| fs::metadata(path).map_or(0, |m| m.len());
    let have = there(folder.join(source.name)).max(there(part_of(source, folder)));
    source.bytes.saturating_sub(have)
}

fn part_of(source: &Source, folder: &Path) -> PathBuf {
    folder.join(format!("{}.part", source.name))
}

/// Downloads a file into `folder`, unless it is there.
///
/// # Errors
/// When no address gives it, or it has other checksums than published, or the disk is full.
pub(super) fn download(source: &Source, folder: &Path, net: &Net) -> Result<Downloaded> {
    let path = folder.join(source.name);
    let addresses: Vec<String> = match &net.mirror {
        Some(mirror) => vec![format!("{}/{}", mirror.trim_end_matches('/'), source.name)],
        None => source.addresses.iter().map(ToString::to_string).collect(),
    };
    if path.is_file() {
        let seen = check(&path, net)?;
        if net.any_checksum || seen.differs(source.checksums).is_none() {
            return Ok(Downloaded { path, seen, address: addresses[0].clone() });
        }
        fs::remove_file(&path).map_err(|e| Error::io(&path, "remove a damaged file", e))?;
    }
    let mut part = Part::open(source, folder, net)?;
    let mut failures = Vec::new();
    for address in &addresses {
        match part.fill(address) {
            Ok(seen) => {
                part.finish(&path)?;
                return Ok(Downloaded { path, seen, address: address.clone() });
            }
            Err(Failure::Own(e)) => return Err(e),
            Err(Failure::Passing(what) | Failure::Lasting(what)) => failures.push(format!("{address}: {what}")),
            Err(Failure::PastEnd(_)) => failures.push(format!("{address}: its file is shorter")),
        }
    }
    let last = failures.pop().unwrap_or_default();
    let (address, what) = last.split_once(": ").unwrap_or((last.as_str(), ""));
    let before = if failures.is_empty() { String::new() } else { format!("; before that, {}", failures.join("; ")) };
    let remedy =
        "run again to resume, check the network and the proxy variables, or give --mirror; see `gim data info`";
    Err(Error::file(address, format_args!("{what}{before}"), remedy))
}

fn check(path: &Path, net: &Net) -> Result<Seen> {
    let bytes = fs::metadata(path).map_or(0, |m| m.len());
    let mut progress = Progress::new(bytes.div_ceil(MB), "MB", net.show);
    Seen::of(path, |done| progress.tick(done.div_ceil(MB), || "checking".to_owned()))
}

/// A file that is there in part.
struct Part<'a> {
    source: &'a Source,
    net: &'a Net,
    path: PathBuf,
    state_path: PathBuf,
    file: File,
    /// Bytes that are there.
    have: u64,
    /// The server's name for the state of the file that they are of.
    state: Option<String>,
    /// Whether they came in several parts.
    joined: bool,
}

impl<'a> Part<'a> {
    fn open(source: &'a Source, folder: &Path, net: &'a Net) -> Result<Self> {
        let path = part_of(source, folder);
        let state_path = folder.join(format!("{}.part.state", source.name));
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| Error::io(&path, "open", e))?;
        let have = file.metadata().map_err(|e| Error::io(&path, "read", e))?.len();
        let state = fs::read_to_string(&state_path).ok().filter(|state| !state.is_empty());
        let mut part = Self { source, net, path, state_path, file, have, state, joined: have > 0 };
        // Without published checksums, only the server can tell whether the bytes fit together.
        if (net.any_checksum && part.state.is_none()) || (!net.any_checksum && have > source.bytes) {
            part.restart()?;
        }
        Ok(part)
    }

    /// Forgets what is there.
    fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|e| Error::io(&self.path, "shorten", e))?;
        (self.have, self.joined, self.state) = (0, false, None);
        remove_if_there(&self.state_path, "remove")
    }

    /// Gets the whole file from an address, with several tries, and checks it.
    fn fill(&mut self, address: &str) -> Reply<Seen> {
        let total = self.source.bytes.div_ceil(MB);
        let mut progress = Progress::resumed(self.have / MB, total, "MB", self.net.show);
        let (mut best, mut failures) = (self.have, 0);
        loop {
            let what = match self.attempt(address, &mut progress) {
                Ok(()) => match self.sort_out()? {
                    Ok(seen) => {
                        progress.finish(&format!("downloaded {} ({})", self.source.name, size(self.have)));
                        return Ok(seen);
                    }
                    Err(what) => {
                        let joined = self.joined;
                        self.restart().map_err(Failure::Own)?;
                        if !joined {
                            return Err(Failure::Lasting(what));
                        }
                        // Parts of two states of the file: the whole may be right.
                        best = 0;
                        what
                    }
                },
                Err(Failure::PastEnd(_)) => {
                    self.restart().map_err(Failure::Own)?;
                    "what was there is longer than the file".to_owned()
                }
                Err(Failure::Passing(what)) => what,
                Err(other) => return Err(other),
            };
            failures = if self.have > best { 0 } else { failures + 1 };
            best = best.max(self.have);
            if failures >= self.net.tries {
                return Err(Failure::Passing(format!("{what}; {failures} tries in a row brought nothing new")));
            }
            progress.note(&format!("{address}: {what}; trying again from {}", size(self.have)));
            sleep(pause(failures));
        }
    }

    /// Whether the bytes that are there are the published ones; else why not.
    fn sort_out(&self) -> Reply<std::result::Result<Seen, String>> {
        let seen = check(&self.path, self.net).map_err(Failure::Own)?;
        if self.net.any_checksum {
            return Ok(Ok(seen));
        }
        Ok(match seen.differs(self.source.checksums) {
            None => Ok(seen),
            Some((sum, own)) => Err(format!(
                "the {} of {} is {own}, but {} says {}: the file is damaged or another one (--any-checksum takes it)",
                sum.algorithm, self.source.name, sum.by, sum.digest
            )),
        })
    }

    /// One request. Returns when the file is there to its end.
    fn attempt(&mut self, address: &str, progress: &mut Progress) -> Reply<()> {
        let published = (!self.net.any_checksum).then_some(self.source.bytes);
        if published == Some(self.have) {
            return Ok(());
        }
        let validator = self.state.clone();
        let request = Request { address, from: self.have, validator: validator.as_deref(), timeout: self.net.timeout };
        let answer = match http::get(&request) {
            Err(Failure::PastEnd(Some(total))) if total == self.have && self.have > 0 => return Ok(()),
            other => other?,
        };
        let most = published.unwrap_or(2 * self.source.bytes + SPARE);
        let end = answer.total.or(published);
        if let Some(total) = answer.total.filter(|total| *total > most || published.is_some_and(|p| p != *total)) {
            let name = self.source.name;
            let what = format!("its {name} has {total} bytes, the published one {}", self.source.bytes);
            return Err(Failure::Lasting(what));
        }
        self.begin(&answer)?;
        if let Some(end) = end {
            enough_space(&self.path, end - self.have.min(end)).map_err(Failure::Own)?;
        }
        self.receive(answer.body, most, progress)?;
        match end {
            Some(end) if self.have < end => {
                Err(Failure::Passing(format!("the connection ended after {} of {end} bytes", self.have)))
            }
            _ => Ok(()),
        }
    }

    /// Makes what is there fit the answer: its first byte is the next.
    fn begin(&mut self, answer: &Answer) -> Reply<()> {
        if answer.start == 0 {
            self.restart().map_err(Failure::Own)?;
            self.state.clone_from(&answer.validator);
            if let Some(state) = &self.state {
                write_atomic(&self.state_path, state.as_bytes()).map_err(Failure::Own)?;
            }
        } else if answer.start != self.have {
            let what = format!("it sends from byte {} on, not from {}", answer.start, self.have);
            self.restart().map_err(Failure::Own)?;
            return Err(Failure::Passing(what));
        } else {
            self.joined = true;
        }
        Ok(())
    }

    fn receive(&mut self, mut body: Box<dyn Read>, most: u64, progress: &mut Progress) -> Reply<()> {
        let mut bytes = vec![0; 1 << 17];
        loop {
            let n = match body.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure::Passing(format!("the connection broke: {e}"))),
            };
            if self.have + n as u64 > most {
                self.restart().map_err(Failure::Own)?;
                return Err(Failure::Lasting(format!("it sends more than {most} bytes")));
            }
            let wrote = self.file.write_all(&bytes[..n]);
            wrote.map_err(|e| Failure::Own(Error::io(&self.path, "write the file", e)))?;
            self.have += n as u64;
            progress.tick(self.have / MB, || self.source.name.to_owned());
        }
    }

    /// Puts the file in place.
    fn finish(&mut self, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.path, "write the file", e))?;
        fs::rename(&self.path, path).map_err(|e| Error::io(path, "put the file in place", e))?;
        // What is left names a state that is of no use any more.
        let _ = fs::remove_file(&self.state_path);
        Ok(())
    }
}

/// Time before the next try: from 0.2 s on, doubled with each failure, up to 30 s.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(200 << failures.min(8)).min(Duration::from_secs(30))
}

/// Checks that so many bytes fit on the disk of `path`.
///
/// # Errors
/// When they do not. Where the system does not say, they are taken to fit.
pub(super) fn enough_space(path: &Path, needed: u64) -> Result<()> {
    fits(path, needed, free_space(path))
}

fn fits(path: &Path, needed: u64, free: Option<u64>) -> Result<()> {
    match free {
        Some(free) if free < needed => {
            let what = format!("{} are needed on its disk, and {} are free", size(needed), size(free));
            Err(Error::file(path, what, "free some space, or choose another disk with --out"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
