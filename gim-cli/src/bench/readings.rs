//! Reads the output of the measured processes.

use std::path::Path;
use std::process::Command;

use gim_core::{Error, Result};
use serde::Deserialize;

use crate::bench::chunks::Chunks;
use crate::bench::estimate::Estimate;
use crate::bench::probe::Fits;

/// The measurements of a process.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) times: Vec<f64>,
    pub(super) peak_mb: Option<f64>,
    pub(super) held_mb: Option<f64>,
    pub(super) gflop: Option<f64>,
    pub(super) objective: Option<f64>,
    pub(super) chunks: Option<Chunks>,
    pub(super) version: Option<String>,
}

/// A line of JSON as PyTorch's script prints it.
#[derive(Deserialize)]
struct TorchStep {
    torch: String,
    seconds: f64,
    /// Shortest and longest.
    spread: [f64; 2],
    /// MiB.
    peak_rss_mb: f64,
}

/// Runs a program and gives the last line it printed.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program()).to_owned();
    let out = command.output().map_err(|e| Error::io(&program, "run the program", e))?;
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().trim().to_owned()
    };
    if out.status.success() {
        Ok(last(&out.stdout))
    } else {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Err(Error::config(name, format_args!("{}: {}", out.status, last(&out.stderr)), "run its command by hand"))
    }
}

fn parse<'a, T: Deserialize<'a>>(said: &'a str) -> Result<T> {
    serde_json::from_str(said).map_err(|e| {
        Error::config("bench", format_args!("`{said}` is not the JSON it should be: {e}"), "run its command by hand")
            .caused_by(e)
    })
}

pub(super) fn estimate(said: &str) -> Result<Reading> {
    let e: Estimate = parse(said)?;
    let state: f64 = e.modules.iter().map(|m| m.state_mb).sum();
    Ok(Reading {
        times: e.times,
        peak_mb: e.peak_mb,
        held_mb: Some(e.buffers_mb + state),
        gflop: Some(e.gflop),
        chunks: e.chunks,
        ..Reading::default()
    })
}

pub(super) fn fits(said: &str) -> Result<Reading> {
    let f: Fits = parse(said)?;
    Ok(Reading {
        times: f.times,
        peak_mb: f.peak_mb,
        objective: Some(f.objective),
        version: f.version,
        ..Reading::default()
    })
}

pub(super) fn torch(said: &str) -> Result<Reading> {
    let t: TorchStep = parse(said)?;
    Ok(Reading {
        times: vec![t.spread[0], t.seconds, t.spread[1]],
        peak_mb: Some(t.peak_rss_mb * 1.048_576),
        version: Some(t.torch),
        ..Reading::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_are_understood() {
        let said = r#"{"torch": "2.9", "task": "audio", "seconds": 2.0, "spread": [1.5, 3.0], "peak_rss_mb": 1000, "losses": [1.0]}"#;
        let reading = torch(said).unwrap();
        assert_eq!((reading.times, reading.version.as_deref()), (vec![1.5, 2.0, 3.0], Some("2.9")));
        assert!((reading.peak_mb.unwrap() - 1048.576).abs() < 1e-9);
        assert!(torch("Segmentation fault").is_err());
        let said = r#"{"version": "1.9", "times": [0.5], "objective": 0.25, "iterations": 9, "peak_mb": 200.0}"#;
        assert_eq!(fits(said).unwrap().objective, Some(0.25));
    }
}
