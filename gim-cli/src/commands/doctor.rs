use std::env;
use std::path::Path;
use std::process::ExitCode;

use gim_core::files::{create_folder, free_space};
use gim_core::kernels::gemm::best_f32;
use gim_core::{Error, Result};
use gim_eval::features::hdf5_version;
use serde::Serialize;

use super::json;
use crate::experiment::cache_folder::cache_folder;
use crate::experiment::domain::{Domain, DomainKind};
use crate::experiment::environment::Environment;
use crate::output::{print, print_line};

/// Say what this machine offers and which datasets are found, and what to do about what is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim doctor\n\nExit code: 1 if something stops gim from working here, else 0.")]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How well a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Good,
    /// It works, and could be better.
    Warning,
    /// It stops work.
    Bad,
}

/// A thing that was checked.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to do, where something should be done.
    advice: String,
}

impl Finding {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Good, found: found.into(), advice: String::new() }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Warning, found: found.into(), advice: advice.into() }
    }

    /// As it is if `fine`, else a warning with advice.
    fn warn_unless(self, fine: bool, advice: &str) -> Self {
        if fine { self } else { Self::warning(self.name, self.found, advice) }
    }
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let findings = examine();
        if self.json {
            print_line(json(&findings, true)?)?;
        } else {
            for finding in &findings {
                let mark = match finding.state {
                    State::Good => "ok",
                    State::Warning => "note",
                    State::Bad => "BAD",
                };
                print(format_args!("{mark:<5} {:<14} {}\n", finding.name, finding.found))?;
                if !finding.advice.is_empty() {
                    print(format_args!("{:<20} → {}\n", "", finding.advice))?;
                }
            }
        }
        let bad = findings.iter().any(|f| f.state == State::Bad);
        Ok(ExitCode::from(u8::from(bad)))
    }
}

fn examine() -> Vec<Finding> {
    const GB: f64 = 1e9;
    let here = Environment::capture(0, rayon::current_num_threads());
    let changed = if here.git_dirty == Some(true) { ", changed since" } else { "" };
    let program = format!("gim {}, commit {}{changed}, {}", here.version, here.short_commit(), here.rustc);
    let mut findings = vec![
        Finding::good("program", program),
        Finding::good("system", here.os.clone()),
        processor(here.cpu.as_deref().unwrap_or("unknown")),
        Finding::good("threads", format!("{} of {} cores", here.threads, here.cores))
            .warn_unless(here.threads <= here.cores, "more threads than cores slow each other; lower --threads"),
    ];
    if let Some(bytes) = here.memory_bytes {
        let gb = bytes as f64 / GB;
        findings.push(
            Finding::good("memory", format!("{gb:.1} GB, limits of container or batch job included"))
                .warn_unless(gb >= 2.0, "the paper's networks take up to 1.5 GB; use a small preset"),
        );
    }
    if let Some(bytes) = free_space(Path::new(".")) {
        let gb = bytes as f64 / GB;
        findings.push(
            Finding::good("disk", format!("{gb:.1} GB free in this folder"))
                .warn_unless(gb >= 5.0, "features of a run can take gigabytes; choose --out on another disk"),
        );
    }
    findings.push(writing());
    findings.push(caching());
    findings.push(Finding::good("HDF5", hdf5_version()));
    findings.extend(DomainKind::ALL.map(dataset));
    findings
}

/// Whether the processor has what the fast kernels need.
fn processor(model: &str) -> Finding {
    let kernel = best_f32(64).name;
    Finding::good("processor", format!("{model}; kernels: {kernel}"))
        .warn_unless(kernel != "portable", "a processor with AVX2 or AVX-512 is several times as fast")
}

/// Whether files can be made here.
fn writing() -> Finding {
    match tempfile::NamedTempFile::new_in(".") {
        Ok(_) => Finding::good("folder", "files can be written here"),
        Err(e) => Finding {
            name: "folder",
            state: State::Bad,
            found: format!("no file can be written here: {e}"),
            advice: "change to a folder of yours, or give --out".into(),
        },
    }
}

/// Whether embedded datasets can be unpacked.
fn caching() -> Finding {
    let folder = cache_folder();
    let found = folder.display().to_string();
    match create_folder(&folder).and_then(|()| {
        tempfile::NamedTempFile::new_in(&folder).map(drop).map_err(|e| Error::io(&folder, "make a file", e))
    }) {
        Ok(()) => Finding::good("cache", found),
        Err(e) => Finding::warning("cache", e.to_string(), "set XDG_CACHE_HOME to a folder of yours"),
    }
}

/// The dataset that a preset of this domain would take.
fn dataset(kind: DomainKind) -> Finding {
    let name = match kind {
        DomainKind::Audio => "speech",
        DomainKind::Vision => "images",
    };
    let domain = Domain::from(kind);
    if env::var_os("GIM_DATA").is_none_or(|folder| folder.is_empty()) {
        let found = "GIM_DATA is not set; the embedded data are there (data.path=embedded)";
        return Finding::warning(
            name,
            found,
            "set GIM_DATA or data.path to the folder of a dataset to use your own; `gim data list` has public ones",
        );
    }
    match domain.dataset().digest() {
        Ok(on) => Finding::good(name, format!("{on}, by GIM_DATA")),
        Err(e) => Finding::warning(name, "GIM_DATA has no such dataset", e.to_string()),
    }
}
