//! The files that say where the time of each module went.

use std::path::PathBuf;

use gim_core::Result;
use gim_core::schedule::ModuleTimeline;
use gim_eval::{ScheduleRow, TimelineRow, table};

use super::RunDir;

impl RunDir {
    pub(super) fn schedule_file(&self) -> PathBuf {
        self.path.join("schedule.csv")
    }

    pub(super) fn timeline_file(&self) -> PathBuf {
        self.path.join("timeline.csv")
    }

    /// Whether modules have run on threads of their own.
    pub(crate) fn has_timeline(&self) -> bool {
        self.timeline_file().is_file()
    }

    /// The last training steps of each module.
    ///
    /// # Errors
    /// When they are missing or damaged.
    pub(crate) fn timeline_rows(&self) -> Result<Vec<TimelineRow>> {
        table::read_rows(self.timeline_file())
    }

    /// Where the time of each module went.
    ///
    /// # Errors
    /// When the table is missing or damaged.
    pub(crate) fn schedule_rows(&self) -> Result<Vec<ScheduleRow>> {
        table::read_rows(self.schedule_file())
    }

    /// Sums of each module; `link_bytes` may wait below each.
    pub(crate) fn rows_of(timelines: &[ModuleTimeline], link_bytes: &[u64]) -> Vec<ScheduleRow> {
        timelines.iter().zip(link_bytes).map(|(t, bytes)| schedule_row(t, *bytes)).collect()
    }

    /// Writes the sums of each module.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write_schedule(&self, rows: &[ScheduleRow]) -> Result<()> {
        table::write_rows(self.schedule_file(), rows)
    }

    /// Writes both tables of one process. `link_bytes` may wait below each module. Gives the rows
    /// of `schedule.csv`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write_timelines(&self, timelines: &[ModuleTimeline], link_bytes: &[u64]) -> Result<Vec<ScheduleRow>> {
        let schedule = Self::rows_of(timelines, link_bytes);
        self.write_schedule(&schedule)?;
        table::write_rows(self.timeline_file(), &timeline_rows(timelines))?;
        Ok(schedule)
    }
}

fn schedule_row(t: &ModuleTimeline, link_bytes: u64) -> ScheduleRow {
    ScheduleRow {
        module: t.module,
        group: t.group,
        threads: t.threads,
        steps: t.steps,
        wall: t.wall.as_secs_f64(),
        receive: t.receive.as_secs_f64(),
        forward: t.forward.as_secs_f64(),
        send: t.send.as_secs_f64(),
        train: t.train.as_secs_f64(),
        idle: t.idle().as_secs_f64(),
        staleness: t.staleness as f64 / t.steps.max(1) as f64,
        most_stale: t.most_stale,
        link_bytes,
    }
}

fn timeline_rows(timelines: &[ModuleTimeline]) -> Vec<TimelineRow> {
    let Some(origin) = timelines.iter().filter_map(|t| t.recent.front()).map(|span| span.begin).min() else {
        return Vec::new();
    };
    let row = |t: &ModuleTimeline, span: &gim_core::schedule::Span| TimelineRow {
        module: t.module,
        group: t.group,
        step: span.step,
        begin: (span.begin - origin).as_secs_f64(),
        receive: span.receive.as_secs_f64(),
        forward: span.forward.as_secs_f64(),
        send: span.send.as_secs_f64(),
        train: span.train.as_secs_f64(),
    };
    timelines.iter().flat_map(|t| t.recent.iter().map(move |span| row(t, span))).collect()
}
