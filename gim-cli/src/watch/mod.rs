//! Live curves in the terminal: `screen` is what is shown and what keys do to it, `draw` turns it into text, and
//! this file reads the runs and the keys.

mod draw;
mod screen;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gim_core::{Error, Result};
use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, crossterm};

use crate::experiment::run_dir::RunDir;
use crate::experiment::status::{RunStatus, runs_in};
use screen::{Screen, Seen};

/// How often tables are read again.
const EVERY: Duration = Duration::from_secs(1);
/// Readings after which folders are searched again for new runs.
const SEARCH: usize = 10;

/// Shows the runs in these folders until a key ends it.
///
/// # Errors
/// When there is no run, standard input or output is not a terminal, or the terminal fails.
pub(crate) fn watch(folders: &[PathBuf]) -> Result<()> {
    let mut runs = Runs::search(folders)?;
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let remedy = "`gim status` prints the same as text";
        return Err(Error::config("gim watch", "standard input or output is not a terminal", remedy));
    }
    let is_colorful = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen::new(runs.names(), is_colorful);
    let mut terminal = OpenTerminal::open()?;
    let mut reading = 0;
    loop {
        if reading > 0 && reading % SEARCH == 0 && runs.search_again(folders) {
            screen.rename(runs.names());
        }
        // So that many runs take no more time than two, the state of one other is read.
        let other = reading % screen.names.len();
        screen.states[other] = runs.read(other).state();
        screen.show(runs.read(screen.selected()));
        reading += 1;
        let next = Instant::now() + EVERY;
        loop {
            terminal.0.draw(|frame| draw::draw(frame, &screen)).map_err(failed)?;
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() || !event::poll(left).map_err(failed)? {
                break;
            }
            let Event::Key(key) = event::read().map_err(failed)? else { continue };
            let before = screen.selected();
            if screen.press(key) {
                return Ok(());
            }
            if screen.selected() != before {
                screen.show(runs.read(screen.selected()));
            }
        }
    }
}

/// The runs that are watched.
struct Runs {
    found: Vec<RunDir>,
    /// Steps of each whole run, where they are known: to count them may take building the network.
    totals: BTreeMap<PathBuf, u64>,
}

impl Runs {
    fn search(folders: &[PathBuf]) -> Result<Self> {
        Ok(Self { found: runs_in(folders)?, totals: BTreeMap::new() })
    }

    /// Searches the folders for other runs. Gives whether there are any.
    fn search_again(&mut self, folders: &[PathBuf]) -> bool {
        // Folders that are gone say nothing new.
        let Ok(found) = runs_in(folders) else { return false };
        let are_other = found != self.found;
        self.found = found;
        are_other
    }

    fn names(&self) -> Vec<String> {
        self.found.iter().map(|run| run.path().display().to_string()).collect()
    }

    fn read(&mut self, at: usize) -> Seen {
        let run = &self.found[at];
        let seen = run.rows_so_far().and_then(|rows| {
            let total = match self.totals.get(run.path()) {
                Some(total) => Some(*total),
                None => RunStatus::total(run)?,
            };
            self.totals.extend(total.map(|total| (run.path().to_owned(), total)));
            Ok(Seen::Read(Box::new(RunStatus::with_rows(run, &rows.train, total)?), rows))
        });
        seen.unwrap_or_else(|e| Seen::Unreadable(e.to_string()))
    }
}

fn failed(e: io::Error) -> Error {
    Error::io("the terminal", "use", e)
}

/// A terminal that shows the screen. It is as before when this is dropped, after a panic, and after a signal.
struct OpenTerminal(DefaultTerminal);

impl OpenTerminal {
    fn open() -> Result<Self> {
        ctrlc::set_handler(|| {
            ratatui::restore();
            std::process::exit(130);
        })
        .map_err(|e| Error::config("signals", e, "run again"))?;
        // Also sets a hook that restores the terminal before a panic is told.
        let terminal = ratatui::try_init().inspect_err(|_| drop(crossterm::terminal::disable_raw_mode()));
        Ok(Self(terminal.map_err(failed)?))
    }
}

impl Drop for OpenTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = ratatui::try_restore();
    }
}
