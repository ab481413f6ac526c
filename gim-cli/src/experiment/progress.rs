//! Progress on standard error: a bar on a terminal, occasional lines elsewhere, nothing if quiet.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::note;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A bar that redraws itself.
    Bar,
    /// Plain lines, a few a minute at most: for logs and pipes.
    Lines,
    /// Nothing.
    Quiet,
}

impl Mode {
    /// The mode for this process: nothing when `quiet`, else what standard error can show.
    pub fn detect(quiet: bool) -> Self {
        match (quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }

    /// Least time between two reports: smooth for the eye, sparse in a log.
    fn interval(self) -> Duration {
        match self {
            Self::Bar => Duration::from_millis(200),
            Self::Lines => Duration::from_secs(5),
            Self::Quiet => Duration::MAX,
        }
    }
}

/// Reports how much work is done, its speed and the time left.
pub(crate) struct Progress {
    total: u64,
    unit: String,
    interval: Duration,
    started: Instant,
    /// Work done before this process took over (a resumed run): it must not count as speed.
    first: u64,
    last_report: Option<Instant>,
    out: Out,
}

enum Out {
    Bar(ProgressBar),
    Lines(Box<dyn Write + Send>),
    Quiet,
}

impl Progress {
    /// Progress of `total` `unit`s (plural, e.g. `"steps"`), none of which is done.
    pub(crate) fn new(total: u64, unit: &str, mode: Mode) -> Self {
        Self::resumed(0, total, unit, mode)
    }

    /// Progress of work of which `done` of `total` `unit`s were done before.
    pub(crate) fn resumed(done: u64, total: u64, unit: &str, mode: Mode) -> Self {
        let out = match mode {
            Mode::Bar => Out::Bar(bar(done, total)),
            Mode::Lines => Out::Lines(Box::new(io::stderr())),
            Mode::Quiet => Out::Quiet,
        };
        Self {
            total,
            unit: unit.to_owned(),
            interval: mode.interval(),
            started: Instant::now(),
            first: done,
            last_report: None,
            out,
        }
    }

    /// Records that `done` units are done. Call it after every unit.
    ///
    /// Reads the clock. Calls `message` (e.g. for the losses) and prints only when a report is due.
    pub(crate) fn tick(&mut self, done: u64, message: impl FnOnce() -> String) {
        if matches!(self.out, Out::Quiet) {
            return;
        }
        let now = Instant::now();
        if self.last_report.is_some_and(|last| now.duration_since(last) < self.interval) {
            return;
        }
        self.last_report = Some(now);
        let pace = self.pace(done, now.duration_since(self.started));
        let message = message();
        // The message first: a narrow terminal cuts off the end.
        self.report(done, &[message.as_str(), pace.as_str()]);
    }

    /// Shows a line between the reports, unless quiet.
    pub(crate) fn note(&mut self, line: &str) {
        match &mut self.out {
            Out::Bar(bar) => bar.suspend(|| note(line)),
            Out::Lines(out) => drop(writeln!(out, "{line}")),
            Out::Quiet => {}
        }
    }

    /// Ends the progress with a last message, shown unless quiet.
    pub(crate) fn finish(mut self, message: &str) {
        let took = duration(self.started.elapsed());
        match &mut self.out {
            Out::Bar(bar) => {
                bar.finish_and_clear();
                note(format_args!("{message} ({took})"));
            }
            // A log that cannot be written must not stop the work.
            Out::Lines(out) => drop(writeln!(out, "{message} ({took})")),
            Out::Quiet => {}
        }
    }

    fn report(&mut self, done: u64, parts: &[&str]) {
        let (total, unit) = (self.total, &self.unit);
        let text = parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join("  ");
        match &mut self.out {
            Out::Bar(bar) => {
                bar.set_message(format!("{done}/{total} {unit}  {text}"));
                bar.set_position(done);
                bar.tick();
            }
            Out::Lines(out) => {
                let percent = 100.0 * done as f64 / total.max(1) as f64;
                let _ = writeln!(out, "{percent:3.0} %  {done}/{total} {unit}  {text}");
            }
            Out::Quiet => {}
        }
    }

    /// Throughput and time left; empty before there is anything to measure.
    fn pace(&self, done: u64, elapsed: Duration) -> String {
        let (here, seconds) = (done.saturating_sub(self.first) as f64, elapsed.as_secs_f64());
        if here == 0.0 || seconds == 0.0 {
            return String::new();
        }
        let rate = here / seconds;
        let left = Duration::from_secs_f64((self.total.saturating_sub(done) as f64 / rate).min(1e9));
        let digits = if rate < 10.0 { 2 } else { 0 };
        format!("{rate:.digits$} {}/s, {} left", self.unit, duration(left))
    }
}

fn bar(done: u64, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_position(done);
    // The template is a constant; should the library ever reject it, its own style is good enough.
    let style = ProgressStyle::with_template("{bar:16.cyan/black.bright} {percent:>3} %  {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸━"));
    bar
}

/// A duration to two units: `7 s`, `3 min 05 s`, `2 h 11 min`, `5 d 03 h`.
pub(crate) fn duration(d: Duration) -> String {
    let s = (d.as_secs_f64()).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {:02} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {:02} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(interval: Duration, first: u64) -> (Progress, Log) {
        let log = Log::default();
        let mut progress = Progress::resumed(first, 1000, "steps", Mode::Quiet);
        progress.out = Out::Lines(Box::new(log.clone()));
        progress.interval = interval;
        (progress, log)
    }

    #[test]
    fn lines_are_rate_limited() {
        let (mut progress, log) = lines(Duration::from_secs(3600), 0);
        let mut asked = 0;
        for step in 1..=1000 {
            progress.tick(step, || {
                asked += 1;
                "loss 2.10 1.98".into()
            });
        }
        progress.finish("trained");
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!((asked, text.lines().count()), (1, 2), "{text}");
        assert!(text.contains("1/1000 steps") && text.contains("loss 2.10 1.98") && text.contains("trained"), "{text}");
    }

    #[test]
    fn quiet_never_asks_for_the_message() {
        let mut progress = Progress::new(10, "steps", Mode::Quiet);
        progress.tick(1, || unreachable!());
        progress.finish("");
    }

    #[test]
    fn resumed_work_does_not_count_as_speed() {
        let (progress, _) = lines(Duration::ZERO, 900);
        assert_eq!(progress.pace(950, Duration::from_secs(100)), "0.50 steps/s, 1 min 40 s left");
        assert_eq!(progress.pace(900, Duration::from_secs(100)), "");
        assert_eq!(progress.pace(1000, Duration::from_secs(1)), "100 steps/s, 0 s left");
    }

    #[test]
    fn durations_read_well() {
        let text = |s| duration(Duration::from_secs(s));
        assert_eq!([text(59), text(185), text(7_860), text(443_000)], ["59 s", "3 min 05 s", "2 h 11 min", "5 d 03 h"]);
    }
}
