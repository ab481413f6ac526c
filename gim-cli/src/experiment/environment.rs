//! What `environment.json` of a run holds: enough to say which program, on which machine, made its numbers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What a run was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainedOn {
    /// Name of the dataset's folder; the folders it lies in are nobody's business.
    pub name: String,
    /// Digest of the dataset.
    pub digest: String,
}

impl TrainedOn {
    /// The dataset in `folder`.
    pub(crate) fn new(folder: &Path, digest: &str) -> Self {
        Self { name: dataset_name(folder), digest: digest.to_owned() }
    }
}

impl std::fmt::Display for TrainedOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (digest {})", self.name, self.digest)
    }
}

/// What tables and figures call the dataset in `folder`.
pub(crate) fn dataset_name(folder: &Path) -> String {
    folder.file_name().map_or("dataset".into(), |n| n.to_string_lossy().into_owned())
}

/// The program, the machine and the command behind a run.
///
/// Holds no host name, user name or path but those the user typed: results folders are meant to be shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// Version of the program.
    pub version: String,
    /// Commit the program was built from; none when it was built outside a git checkout.
    pub git_commit: Option<String>,
    /// Whether the sources differed from that commit when the program was built.
    pub git_dirty: Option<bool>,
    /// Compiler that built the program.
    pub rustc: String,
    /// Operating system and kernel.
    pub os: String,
    /// Model of the processor.
    pub cpu: Option<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// Threads the run uses.
    pub threads: usize,
    /// Memory of the machine, or of the container if that is less, in bytes.
    pub memory_bytes: Option<u64>,
    /// Program name and arguments as typed.
    pub command: Vec<String>,
    /// What it was trained on: a configuration that leaves that to `GIM_DATA` does not say. None for runs of older versions.
    #[serde(default)]
    pub trained_on: Option<TrainedOn>,
    /// Seed of the run.
    pub seed: u64,
    /// Start of the run, UTC, RFC 3339.
    pub started: String,
    /// Most memory the process has held, in bytes; see [`peak_resident_bytes`]. None until the run ends.
    pub peak_resident_bytes: Option<u64>,
}

impl Environment {
    /// The commit, as short as people write it.
    pub(crate) fn short_commit(&self) -> String {
        self.git_commit.as_deref().map_or("unknown".into(), |c| c.chars().take(10).collect())
    }

    /// The environment of this process, now.
    pub(crate) fn capture(seed: u64, threads: usize) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: Some(env!("GIM_GIT_COMMIT")).filter(|c| !c.is_empty()).map(str::to_owned),
            git_dirty: env!("GIM_GIT_DIRTY").parse().ok(),
            rustc: env!("GIM_RUSTC").to_owned(),
            os: os(),
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            threads,
            memory_bytes: memory(),
            command: command(std::env::args_os().map(|a| a.to_string_lossy().into_owned())),
            trained_on: None,
            seed,
            started: rfc3339(SystemTime::now()),
            peak_resident_bytes: None,
        }
    }

    /// Notes the peak memory so far; call it when the run ends.
    pub(crate) fn note_peak_memory(&mut self) {
        self.peak_resident_bytes = peak_resident_bytes();
    }
}

/// Most resident memory this process has held so far, in bytes. None where the system does not say (only Linux does).
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// Seconds-precision UTC time as RFC 3339, e.g. `2024-02-29T23:59:59Z`. Times before 1970 count as 1970.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days: years start in March, so that the leap day is a year's last.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The command line with the program's folder cut off: where it was installed is nobody's business.
fn command(mut args: impl Iterator<Item = String>) -> Vec<String> {
    let program = args.next().unwrap_or_else(|| "gim".into());
    let name = Path::new(&program).file_name().map_or(program.clone(), |n| n.to_string_lossy().into_owned());
    std::iter::once(name).chain(args).collect()
}

/// The value of `Name:   123 kB` in a `/proc` file, in bytes.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Memory of the machine, or of the control group (container, batch job) if that is less, in bytes.
pub(crate) fn memory() -> Option<u64> {
    let machine = kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = |file: PathBuf| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    Some(memory_limits(&groups).into_iter().filter_map(limit).fold(machine, u64::min))
}

/// The files that may limit this process's memory, given `/proc/self/cgroup`: those of its group and of
/// all groups above, of either version.
fn memory_limits(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        files.extend(Path::new(path.trim_start_matches('/')).ancestors().map(|p| Path::new(root).join(p).join(file)));
    }
    files
}

fn os() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME="))
        .map_or(std::env::consts::OS, |n| n.trim_matches('"'));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{name}, {} {} {}", std::env::consts::OS, kernel.trim(), std::env::consts::ARCH).replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_rfc3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn command_drops_the_programs_folder_only() {
        let args = ["/opt/x/bin/gim", "train", "/data/mine"].map(str::to_owned);
        assert_eq!(command(args.into_iter()), ["gim", "train", "/data/mine"]);
    }

    #[test]
    fn reads_proc_fields() {
        assert_eq!(kib_field("VmPeak:\t  9 kB\nVmHWM:\t   12 kB\n", "VmHWM"), Some(12 * 1024));
        assert_eq!(kib_field("VmHWM: many\n", "VmHWM"), None);
        assert_eq!(kib_field("", "VmHWM"), None);
        #[cfg(target_os = "linux")]
        assert!(peak_resident_bytes().unwrap() > 1 << 20);
    }

    #[test]
    fn limits_of_all_groups_above_count() {
        let files = memory_limits("5:cpu,memory:/job\n4:cpu:/other\n0::/a/b\n");
        let names: Vec<_> = files.iter().map(|f| f.to_string_lossy().into_owned()).collect();
        assert_eq!(
            names,
            [
                "/sys/fs/cgroup/memory/job/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert!(memory().is_some_and(|bytes| bytes > 1 << 24));
    }

    #[test]
    fn survives_a_round_trip_through_json() {
        let mut here = Environment::capture(7, 2);
        here.note_peak_memory();
        here.trained_on = Some(TrainedOn::new(Path::new("/data/mine/"), "abc"));
        let text = serde_json::to_string_pretty(&here).unwrap();
        assert_eq!(serde_json::from_str::<Environment>(&text).unwrap(), here);
        assert!(here.rustc.starts_with("rustc ") && here.cores > 0 && here.seed == 7, "{text}");
        // Runs of older versions do not name their dataset.
        let older = text.replace("\"trained_on\"", "\"something\"");
        assert_eq!(serde_json::from_str::<Environment>(&older).unwrap().trained_on, None);
        assert!(text.contains("\"name\": \"mine\""), "{text}");
    }
}
