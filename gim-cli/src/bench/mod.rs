//! `gim bench`: time, memory and arithmetic of training steps, features and probes.
//!
//! Compares them with other programs and with the processor's peak rate. Measures growth with the size
//! of the problem, and scaling with threads. Each measurement has its own process and memory peak.
//! Compared programs alternate: ours, theirs, ours. Files are complete after every measurement.

pub(crate) mod chunks;
pub(crate) mod estimate;
mod plan;
mod probe;
mod readings;
mod readme;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use gim_core::kernels::gemm;
use gim_core::{Error, Result};
use gim_eval::table;
use serde::{Serialize, Serializer};

use crate::bench::chunks::Chunks;
use crate::bench::estimate::median;
use crate::bench::readings::{Reading, estimate, fits, run, torch};
use crate::experiment::environment::{Environment, rfc3339};
use crate::experiment::progress::Mode;
use crate::figures::{Figure, SpeedBars, WorkBars, speed};
use crate::output::count;
use crate::output::note;
use gim_core::files::{create_folder, write_atomic};
use plan::{Item, Other, Section};
pub(crate) use probe::ProbeWork;

/// What to measure, and with what.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Folder for bench.csv, chunks.csv, README.md and the chart [default: results/bench/DATE-PROCESSOR].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Measure only names that begin with this: step, features, small, probe, scaling, growth,
    /// chunks, or a longer prefix such as step/audio.
    #[arg(long, value_name = "PREFIX")]
    pub only: Option<String>,
    /// Python with PyTorch, for the comparison.
    #[arg(long, value_name = "PATH", env = "TORCH_PYTHON", requires = "torch_bench")]
    pub torch_python: Option<PathBuf>,
    /// Script that runs the same steps in PyTorch and prints a line of JSON.
    #[arg(long, value_name = "PATH", env = "TORCH_BENCH", requires = "torch_python")]
    pub torch_bench: Option<PathBuf>,
    /// Python with scikit-learn, for the comparison of probes.
    #[arg(long, value_name = "PATH", env = "SKLEARN_PYTHON")]
    pub sklearn_python: Option<PathBuf>,
    /// Use tiny sizes and single steps. This only shows that everything runs.
    #[arg(long)]
    pub quick: bool,
}

/// Name of this program in tables.
const OURS: &str = "gim";
/// The table of a benchmark.
const TABLE: &str = "bench.csv";

/// A row of bench.csv: one workload, one program. Times are in seconds, memory in MB (10⁶ bytes).
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    /// The page's table.
    #[serde(skip)]
    pub section: Section,
    /// `section/workload`, then the value that varies.
    pub name: String,
    /// `gim`, `PyTorch` or `scikit-learn`.
    pub program: String,
    /// Description of the workload.
    pub work: String,
    /// In section `growth`, the size that varies; in section `scaling`, the number of threads.
    pub x: Option<f64>,
    /// Threads.
    pub threads: usize,
    /// Processes that were measured.
    pub runs: usize,
    /// Median time.
    pub seconds: f64,
    /// Shortest time.
    pub seconds_min: f64,
    /// Longest time.
    pub seconds_max: f64,
    /// Peak resident memory of the process.
    pub peak_mb: Option<f64>,
    /// Memory of activations, gradients, scratch, parameters and optimizer moments.
    pub held_mb: Option<f64>,
    /// Arithmetic of the workload.
    pub gflop: Option<f64>,
    /// GFLOP a second.
    pub gflop_per_second: Option<f64>,
    /// Peak rate of this processor: fused multiply-adds on values in registers and first-level
    /// caches, on as many threads.
    pub peak_gflop_per_second: Option<f64>,
    /// Time of this arithmetic at the peak rate.
    pub limit_seconds: Option<f64>,
    /// `limit_seconds` divided by `seconds`.
    pub of_limit: Option<f64>,
    /// Objective of a probe at its solution.
    pub objective: Option<f64>,
    /// All times that the program reports.
    #[serde(serialize_with = "in_one_cell")]
    pub times: Vec<f64>,
    /// Command line.
    pub command: String,
}

fn in_one_cell<S: Serializer>(times: &[f64], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&times.iter().map(|t| format!("{t:.5}")).collect::<Vec<_>>().join(" "))
}

/// A running benchmark.
struct Bench {
    folder: PathBuf,
    options: Options,
    environment: Environment,
    /// Load average over a minute at the start: work of other programs.
    load: Option<f64>,
    begun: Instant,
    rows: Vec<Row>,
    chunks: Vec<(Item, Chunks)>,
    /// Highest measured rate by number of threads, GFLOP/s. Clocks vary; the highest rate is the limit.
    peaks: Vec<(usize, f64)>,
    /// Versions and failures of the other programs.
    versions: Vec<String>,
    notes: Vec<String>,
    /// Folder of the probe's data.
    scratch: PathBuf,
}

/// Runs the benchmark. Returns the files it wrote.
///
/// # Errors
/// When `--only` matches nothing, a measurement of ours fails, or a file cannot be written. If
/// another program fails, the report says so.
pub(crate) fn bench(options: &Options, show: Mode) -> Result<Vec<PathBuf>> {
    let threads = rayon::current_num_threads();
    let mut items = plan::items(options.quick, threads);
    items.retain(|i| options.only.as_ref().is_none_or(|prefix| i.name().starts_with(prefix.as_str())));
    if items.is_empty() {
        let prefix = options.only.as_deref().unwrap_or_default();
        let what = format_args!("nothing begins with `{prefix}`");
        return Err(Error::config("--only", what, "see gim bench --help"));
    }
    let environment = Environment::capture(0, threads);
    let folder = options.out.clone().unwrap_or_else(|| default_folder(&environment));
    if folder.join(TABLE).exists() {
        return Err(Error::file(&folder, "holds a benchmark already", "choose another --out, or remove it"));
    }
    create_folder(&folder)?;
    let load = std::fs::read_to_string("/proc/loadavg").ok().and_then(|l| l.split(' ').next()?.parse().ok());
    let mut bench = Bench {
        folder,
        options: options.clone(),
        environment,
        load,
        begun: Instant::now(),
        rows: Vec::new(),
        chunks: Vec::new(),
        peaks: Vec::new(),
        versions: Vec::new(),
        notes: Vec::new(),
        scratch: std::env::temp_dir().join(format!("gim-bench-{}", std::process::id())),
    };
    let (count, mut files) = (items.len(), Vec::new());
    let measured = items.into_iter().enumerate().try_for_each(|(i, item)| {
        if show != Mode::Quiet {
            note(format_args!("{:>4} s  {}/{count}  {}", bench.begun.elapsed().as_secs(), i + 1, item.name()));
        }
        bench.measure(item)?;
        files = bench.write()?;
        Ok(())
    });
    if bench.scratch.is_dir() {
        std::fs::remove_dir_all(&bench.scratch).map_err(|e| Error::io(&bench.scratch, "remove", e))?;
    }
    measured.map(|()| files)
}

/// The default folder, e.g. `results/bench/2026-01-31-amd-epyc-7763`.
fn default_folder(environment: &Environment) -> PathBuf {
    let words = |text: &str| {
        let plain: String =
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
        plain.split_whitespace().collect::<Vec<_>>().join("-")
    };
    let date = rfc3339(SystemTime::now()).chars().take(10).collect::<String>();
    let cpu = words(environment.cpu.as_deref().unwrap_or("unknown"));
    Path::new("results/bench").join(format!("{date}-{cpu}"))
}

impl Bench {
    /// Measures ours, the other program, ours.
    fn measure(&mut self, item: Item) -> Result<()> {
        let threads = item.threads.unwrap_or(self.environment.threads);
        self.note_peak(threads)?;
        self.ours(&item, threads)?;
        let Some((other, args)) = &item.other else { return Ok(()) };
        match self.other(*other, args) {
            None => {}
            Some(Ok((reading, command))) => {
                if let Some(version) = &reading.version {
                    let version = format!("{} {version}", other.name());
                    if !self.versions.contains(&version) {
                        self.versions.push(version);
                    }
                }
                self.record(&item, other.name(), threads, reading, command);
            }
            Some(Err(e)) => self.notes.push(format!("{} did not do {}: {e}", other.name(), item.name())),
        }
        if !self.options.quick {
            self.ours(&item, threads)?;
        }
        Ok(())
    }

    fn ours(&mut self, item: &Item, threads: usize) -> Result<()> {
        let program = std::env::current_exe().map_err(|e| Error::io("gim", "find the program", e))?;
        let mut command = Command::new(program);
        command.args(["--quiet", "--threads", &threads.to_string()]).args(&item.gim);
        let probes = item.gim[0] == "bench-probe";
        if probes {
            command.arg("--write").arg(&self.scratch);
        }
        let said = run(&mut command)?;
        let mut reading = if probes { fits(&said)? } else { estimate(&said)? };
        if let Some(chunks) = reading.chunks.take() {
            self.chunks.push((item.clone(), chunks));
        }
        self.record(item, OURS, threads, reading, format!("gim --threads {threads} {}", item.gim.join(" ")));
        Ok(())
    }

    /// Measures the other program. Returns its reading and command line; `None` when it is missing.
    fn other(&self, other: Other, args: &[String]) -> Option<Result<(Reading, String)>> {
        let options = &self.options;
        Some(match other {
            Other::PyTorch => {
                let (python, script) = (options.torch_python.as_ref()?, options.torch_bench.as_ref()?);
                let command = format!("$TORCH_PYTHON $TORCH_BENCH {}", args.join(" "));
                run(Command::new(python).arg(script).args(args)).and_then(|said| Ok((torch(&said)?, command)))
            }
            Other::ScikitLearn => {
                const SCRIPT: &str = include_str!("../../assets/probe_sklearn.py");
                let python = options.sklearn_python.as_ref()?;
                let command = format!("$SKLEARN_PYTHON parity/probe_sklearn.py FOLDER {}", args.join(" "));
                let mut call = Command::new(python);
                call.args(["-c", SCRIPT]).arg(&self.scratch).args(args);
                run(&mut call).and_then(|said| Ok((fits(&said)?, command)))
            }
        })
    }

    /// Adds a reading to the row of its workload and program.
    fn record(&mut self, item: &Item, program: &str, threads: usize, reading: Reading, command: String) {
        let at = self.rows.iter().position(|r| r.name == item.name() && r.program == program);
        let mut times = at.map_or(Vec::new(), |i| self.rows[i].times.clone());
        times.extend(&reading.times);
        let most = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        let row = Row {
            section: item.section,
            name: item.name(),
            program: program.into(),
            work: item.title.clone(),
            x: item.x,
            threads,
            runs: 1 + at.map_or(0, |i| self.rows[i].runs),
            seconds: median(&times),
            seconds_min: times.iter().copied().fold(f64::INFINITY, f64::min),
            seconds_max: times.iter().copied().fold(0.0, f64::max),
            peak_mb: most(reading.peak_mb, at.and_then(|i| self.rows[i].peak_mb)),
            held_mb: reading.held_mb,
            gflop: reading.gflop,
            gflop_per_second: None,
            peak_gflop_per_second: None,
            limit_seconds: None,
            of_limit: None,
            objective: reading.objective,
            times,
            command,
        };
        match at {
            Some(i) => self.rows[i] = row,
            None => self.rows.push(row),
        }
    }

    /// Measures the peak rate of this many threads, and keeps the highest.
    fn note_peak(&mut self, threads: usize) -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Error::config("--threads", e, "use fewer threads"))?;
        let rate = pool.install(gemm::peak_gflops::<f32>);
        match self.peaks.iter_mut().find(|p| p.0 == threads) {
            Some(peak) => peak.1 = peak.1.max(rate),
            None => self.peaks.push((threads, rate)),
        }
        Ok(())
    }

    /// Compares every row with the limit. All programs do the same arithmetic for a workload.
    fn hold_against_limit(&mut self) {
        let known: Vec<(String, Option<f64>)> = self.rows.iter().map(|r| (r.name.clone(), r.gflop)).collect();
        for row in &mut self.rows {
            row.gflop = known.iter().find_map(|(name, gflop)| gflop.filter(|_| *name == row.name));
            row.peak_gflop_per_second = self.peaks.iter().find(|p| p.0 == row.threads).map(|p| p.1);
            row.gflop_per_second = row.gflop.map(|g| g / row.seconds);
            row.limit_seconds = row.gflop.zip(row.peak_gflop_per_second).map(|(g, peak)| g / peak);
            row.of_limit = row.limit_seconds.map(|l| l / row.seconds);
        }
    }

    /// Writes everything measured so far.
    fn write(&mut self) -> Result<Vec<PathBuf>> {
        self.hold_against_limit();
        let file = |name: &str| self.folder.join(name);
        let mut files = vec![file(TABLE)];
        table::write_rows(&files[0], &self.rows)?;
        if !self.chunks.is_empty() {
            files.push(file("chunks.csv"));
            let mut rows = vec![chunks::header()];
            rows.extend(self.chunks.iter().flat_map(|(item, c)| c.rows(&item.name())));
            table::write_rows(&files[1], &rows)?;
        }
        let chart = self.chart()?;
        let drawn = chart.as_ref().map(|figure| figure.save(&self.folder, "speed")).transpose()?;
        files.extend(drawn.into_iter().flatten());
        files.push(file("README.md"));
        let text = readme::markdown(self, chart.map(|c| c.caption).as_deref());
        write_atomic(&self.folder.join("README.md"), text.as_bytes())?;
        Ok(files)
    }

    /// The row of a workload and program.
    fn row(&self, name: &str, program: &str) -> Option<&Row> {
        self.rows.iter().find(|r| r.name == name && r.program == program)
    }

    /// Our rows of some sections.
    fn ours_of<'a>(&'a self, sections: &'a [Section]) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(|r| r.program == OURS && sections.contains(&r.section))
    }

    /// Name of the processor and its threads.
    fn processor(&self) -> String {
        let e = &self.environment;
        format!("{}, {}", e.cpu.as_deref().unwrap_or("unknown processor"), count(e.threads, "thread"))
    }

    /// The chart of workloads with an arithmetic limit and a compared program; `None` without any.
    fn chart(&self) -> Result<Option<Figure>> {
        let works: Vec<WorkBars> = self
            .ours_of(&Section::COMPARED)
            .filter_map(|r| {
                let other = self.row(&r.name, Other::PyTorch.name()).map(|o| o.seconds);
                Some(WorkBars { label: r.work.clone(), limit: r.limit_seconds?, ours: r.seconds, other })
            })
            .collect();
        let date: String = self.environment.started.chars().take(10).collect();
        let spec = SpeedBars {
            title: "Time of a training step and of features, in multiples of what arithmetic alone takes".into(),
            subtitle: format!("{}, {date}{}", self.processor(), if self.options.quick { ", tiny sizes" } else { "" }),
            other: Other::PyTorch.name().into(),
            works,
        };
        if spec.works.is_empty() { Ok(None) } else { speed(&spec).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_date_and_processor() {
        let environment = Environment { cpu: Some("AMD EPYC(TM) 7-B13".into()), ..Environment::capture(0, 1) };
        let name = default_folder(&environment).to_string_lossy().into_owned();
        assert!(name.starts_with("results/bench/20") && name.ends_with("-amd-epyc-tm-7-b13"), "{name}");
    }
}
