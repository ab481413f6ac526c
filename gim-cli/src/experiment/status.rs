//! How far runs are: what runs, where, since when, and what is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gim_core::{Error, Result};
use gim_eval::TrainRow;
use serde::Serialize;

use crate::experiment::final_rows::{current, total_steps};
use crate::experiment::lock::FolderLock;
use crate::experiment::progress::duration;
use crate::experiment::run_dir::RunDir;
use crate::output::count;

/// Depth to which folders are searched for runs.
const DEPTH: usize = 6;

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// A process trains it.
    Training,
    /// All steps are done, and a process extracts or probes its features.
    Evaluating,
    /// All steps are done.
    Trained,
    /// Steps are missing, and no process works on it.
    Stopped,
}

/// How far a run is.
#[derive(Debug, Serialize)]
pub(crate) struct RunStatus {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is doing.
    pub state: State,
    /// The process that holds it, on which machine, and since when.
    pub held_by: Option<String>,
    /// Training steps done, as far as the folder says.
    pub step: u64,
    /// Steps of the whole run; unknown until its dataset was read.
    pub total: Option<u64>,
    /// Step of the newest checkpoint: what a kill now would leave.
    pub checkpoint: Option<u64>,
    /// Loss by module at the newest row of train.csv.
    pub losses: Vec<f64>,
    /// Pace of the newest rows; only while it trains.
    pub steps_per_second: Option<f64>,
    /// Seconds of training left at this pace.
    pub seconds_left: Option<f64>,
    /// Results of probes of the newest weights; none where they were not counted.
    pub probes: Option<usize>,
}

impl RunStatus {
    /// Of the run in this folder. Nothing is locked or written.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub(crate) fn of(run: &RunDir) -> Result<Self> {
        let total = Self::total(run)?;
        let probes = if run.has_probes() { current(run)?.len() } else { 0 };
        Ok(Self { probes: Some(probes), ..Self::with_rows(run, &run.rows_so_far()?.train, total)? })
    }

    /// Steps of the whole run; none until its dataset was read. The dataset is not opened for this.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub(crate) fn total(run: &RunDir) -> Result<Option<u64>> {
        let config = run.config()?;
        let known = config.train.steps > 0 || run.dataset()?.is_some();
        known.then(|| total_steps(run, &config)).transpose()
    }

    /// As [`RunStatus::of`], from rows of train.csv and the steps of the whole run, which are known. Probes are not
    /// counted: that takes reading the weights.
    ///
    /// # Errors
    /// When its checkpoints cannot be listed.
    pub(crate) fn with_rows(run: &RunDir, rows: &[TrainRow], total: Option<u64>) -> Result<Self> {
        let held_by = FolderLock::holder(run.path());
        let newest = rows.iter().map(|r| r.step).max();
        let checkpoint = run.newest_checkpoint()?.map(|c| c.step);
        let step = newest.into_iter().chain(checkpoint).max().unwrap_or(0);
        let state = match (total.is_some_and(|total| checkpoint == Some(total)), held_by.is_some()) {
            (true, true) => State::Evaluating,
            (true, false) => State::Trained,
            (false, true) => State::Training,
            (false, false) => State::Stopped,
        };
        let mut losses: Vec<_> = rows.iter().filter(|r| Some(r.step) == newest).collect();
        losses.sort_by_key(|r| r.module);
        let steps_per_second = if state == State::Training { pace(rows) } else { None };
        let left = total.map(|total| total.saturating_sub(step) as f64);
        Ok(Self {
            folder: run.path().to_owned(),
            state,
            held_by,
            step,
            total,
            checkpoint,
            losses: losses.iter().map(|r| r.loss).collect(),
            steps_per_second,
            seconds_left: left.zip(steps_per_second).map(|(left, pace)| left / pace),
            probes: None,
        })
    }

    /// What is there and what is left, in a line.
    pub(crate) fn line(&self) -> String {
        let total = self.total.map_or("?".into(), |total| total.to_string());
        let mut out = match self.state {
            State::Training => format!("training, {} of {total} steps", self.step),
            State::Evaluating => format!("trained ({total} steps), extracting or probing"),
            State::Trained => format!("trained ({total} steps)"),
            State::Stopped => format!("stopped at {} of {total} steps", self.checkpoint.unwrap_or(0)),
        };
        if let Some(left) = self.seconds_left {
            out += &format!(", {} left", duration(Duration::from_secs_f64(left.min(1e9))));
        }
        if let Some(n) = self.probes.filter(|n| *n > 0) {
            out += &format!(", {}", count(n, "probe result"));
        }
        if !self.losses.is_empty() && self.state != State::Trained {
            let losses: Vec<String> = self.losses.iter().map(|l| format!("{l:.3}")).collect();
            out += &format!(", loss {}", losses.join(" "));
        }
        if let Some(holder) = &self.held_by {
            out += &format!("; {holder}");
        }
        out
    }
}

/// Steps per second between the two newest steps that have times.
fn pace(rows: &[TrainRow]) -> Option<f64> {
    let mut times = rows.iter().rev().filter_map(|r| Some((r.step, r.seconds?)));
    let last = times.next()?;
    let before = times.find(|t| t.0 < last.0)?;
    let rate = (last.0 - before.0) as f64 / (last.1 - before.1);
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// The runs in all these folders and below them.
///
/// # Errors
/// When there is none in one of them.
pub(crate) fn runs_in(folders: &[PathBuf]) -> Result<Vec<RunDir>> {
    let found: Vec<_> = folders.iter().map(|folder| runs_below(folder)).collect::<Result<_>>()?;
    Ok(found.concat())
}

/// The runs in a folder and the folders below it, by path.
///
/// # Errors
/// When there is none.
pub(crate) fn runs_below(folder: &Path) -> Result<Vec<RunDir>> {
    let mut found = Vec::new();
    search(folder, DEPTH, &mut found);
    if found.is_empty() {
        let what = if folder.is_dir() { "holds no run" } else { "is not a folder" };
        return Err(Error::file(folder, what, "give the folder of a run or of a comparison"));
    }
    Ok(found)
}

fn search(folder: &Path, depth: usize, found: &mut Vec<RunDir>) {
    let run = RunDir::new(folder);
    if run.is_begun() {
        found.push(run);
        return;
    }
    let Some(deeper) = depth.checked_sub(1) else { return };
    let mut below: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    below.sort();
    below.iter().filter(|path| path.is_dir()).for_each(|path| search(path, deeper, found));
}
