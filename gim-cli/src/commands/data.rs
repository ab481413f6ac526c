use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use gim_core::{Error, Result};
use serde::Serialize;

use super::json;
use crate::datasets::fetch::{Lists, Net, Outcome, Plan};
use crate::datasets::registry::{Dataset, Known};
use crate::datasets::size;
use crate::datasets::verify::verify;
use crate::experiment::progress::Mode;
use crate::output::{note, print, print_line};

/// List public datasets, fetch one, and check what was fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim data list\n         gim data fetch fashion-mnist --yes\n         \
                        gim data verify datasets/fashion-mnist")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Info(Info),
    Fetch(Box<Fetch>),
    Verify(Verify),
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        match self.what {
            What::List(args) => args.run(),
            What::Info(args) => args.run(),
            What::Fetch(args) => args.run(show),
            What::Verify(args) => args.run(show),
        }
    }
}

/// A dataset, and where it is when it was fetched.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    dataset: &'static Dataset,
    download_bytes: u64,
    /// Its usual folder, if it is there.
    folder: Option<PathBuf>,
}

impl Entry {
    fn of(dataset: &'static Dataset) -> Self {
        let folder = Some(dataset.usual_folder()).filter(|folder| folder.is_dir());
        Self { dataset, download_bytes: dataset.download_bytes(), folder }
    }
}

/// List the datasets that can be fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim data list --json")]
struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(self) -> Result<ExitCode> {
        let entries: Vec<Entry> = Dataset::all().map(Entry::of).collect();
        if self.json {
            print_line(json(&entries, true)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        for Entry { dataset, download_bytes, folder } in &entries {
            let (name, domain, license) = (dataset.name.to_string(), dataset.domain.to_string(), dataset.license.name);
            let (download, title) = (size(*download_bytes), dataset.title);
            let here = folder.as_ref().map_or(String::new(), |folder| format!(" [{}]", folder.display()));
            print(format_args!("{name:<16} {domain:<7} {download:>9}  {title} ({license}){here}\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Say what is known of a dataset: addresses, sizes, checksums, license, and what is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim data info stl10")]
struct Info {
    /// Dataset.
    name: Known,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Info {
    fn run(self) -> Result<ExitCode> {
        let entry = Entry::of(Dataset::of(self.name));
        if self.json {
            print_line(json(&entry, true)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Entry { dataset, download_bytes, folder } = entry;
        let field = |name: &str, text: &str| print(format_args!("{name:<12} {text}\n"));
        field("name", &dataset.name.to_string())?;
        field("title", dataset.title)?;
        field("holds", dataset.about)?;
        field("page", dataset.homepage)?;
        field("license", &format!("{}. {}", dataset.license.name, dataset.license.terms))?;
        let unpacked = size(dataset.unpacked_bytes);
        field("size", &format!("{} to download, about {unpacked} on disk", size(download_bytes)))?;
        for file in dataset.files {
            field("file", &format!("{} ({} bytes)", file.name, file.bytes))?;
            for address in file.addresses {
                field("", address)?;
            }
            for sum in file.checksums {
                field("", &format!("{} {}, by {}", sum.algorithm, sum.digest, sum.by))?;
            }
        }
        dataset.notes.iter().try_for_each(|text| field("note", text))?;
        dataset.not_checked.iter().try_for_each(|text| field("not checked", text))?;
        let there = folder.unwrap_or_else(|| dataset.usual_folder());
        field("use", &dataset.command(&there))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Download, check and unpack a dataset.
///
/// A download that was stopped continues where it was. A dataset that is there is not fetched again.
///
/// Proxies are taken from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; certificate authorities from
/// the file in SSL_CERT_FILE, if it is set.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: gim data fetch cifar10 --yes --out /data/cifar10\n         gim data fetch librispeech-100 \
                        --train-split train_split.txt --test-split test_split.txt \
                        --phone-labels converted_aligned_phones.txt"
)]
struct Fetch {
    /// Dataset.
    name: Known,
    /// Folder of the dataset [default: datasets/NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Accept the license.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    lists: Lists,
    /// Address of a folder that has the files, in place of the publisher's.
    #[arg(long, value_name = "URL", env = "GIM_MIRROR")]
    mirror: Option<String>,
    /// Take files whose lengths and checksums are not the published ones. They are recorded.
    #[arg(long)]
    any_checksum: bool,
    /// Seconds without any data after which a connection counts as broken.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Tries in a row without any progress after which an address is given up.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: u32,
}

impl Fetch {
    fn run(self, show: Mode) -> Result<ExitCode> {
        let dataset = Dataset::of(self.name);
        let out = self.out.unwrap_or_else(|| dataset.usual_folder());
        let (mirror, any_checksum, tries) = (self.mirror.filter(|m| !m.is_empty()), self.any_checksum, self.tries);
        if mirror.as_ref().is_some_and(|address| address.contains('@')) {
            // It would be written into the manifest.
            let what = "an address with a name and a password is not taken";
            return Err(Error::config("--mirror", what, "use an address without"));
        }
        let net = Net { mirror, any_checksum, timeout: Duration::from_secs(self.timeout), tries, show };
        let plan = Plan { dataset, out: &out, net, lists: &self.lists };
        let (outcome, understood) = plan.run(|| consent(dataset, self.yes, show))?;
        if show != Mode::Quiet {
            note(match &outcome {
                Outcome::Fetched => format!("{}: fetched {}", out.display(), dataset.title),
                Outcome::Present => format!("{}: is there already; nothing was done", out.display()),
                Outcome::ListsAdded(names) => {
                    format!("{}: is there already; added {}", out.display(), names.join(", "))
                }
            });
            for line in &understood {
                note(format_args!("{line}"));
            }
        }
        print_line(dataset.command(&out))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Shows the license, and has it accepted.
fn consent(dataset: &Dataset, yes: bool, show: Mode) -> Result<()> {
    let license = format!("license of {}: {}. {}", dataset.title, dataset.license.name, dataset.license.terms);
    if yes {
        if show != Mode::Quiet {
            note(format_args!("{license} Accepted by --yes."));
        }
        return Ok(());
    }
    let refused = |what: &str| {
        Err(Error::config("--yes", what, format_args!("read the terms at {}, then say --yes", dataset.homepage)))
    };
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return refused(&format!("the license is not accepted yet, and nobody is there to ask. {license}"));
    }
    note(format_args!("{license}\nPage: {}", dataset.homepage));
    note(format_args!("Fetch {} under these terms? [y/N]", size(dataset.download_bytes())));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|e| Error::io("standard input", "read", e))?;
    if is_yes(&answer) { Ok(()) } else { refused("the license was not accepted") }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

/// Compare a fetched dataset with the list of its files.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: gim data verify datasets/stl10\n\nExit code: 1 if files are missing or changed, else 0."
)]
struct Verify {
    /// Folder of the dataset, or name of a dataset in its usual folder.
    #[arg(value_name = "FOLDER|NAME")]
    folder: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Bad files that are named one by one.
const NAMED: usize = 20;

impl Verify {
    fn run(self, show: Mode) -> Result<ExitCode> {
        let folder = self.place();
        let report = verify(&folder, show)?;
        if self.json {
            print_line(json(&report, true)?)?;
        } else {
            for (file, what) in report.bad.iter().take(NAMED) {
                print(format_args!("{}: {what}\n", folder.join(file).display()))?;
            }
            if report.bad.len() > NAMED {
                print(format_args!("and {} more\n", report.bad.len() - NAMED))?;
            }
            for name in &report.not_as_published {
                print(format_args!("{name} was taken with another checksum than published\n"))?;
            }
            if !report.unknown.is_empty() {
                let some: Vec<&str> = report.unknown.iter().take(5).map(String::as_str).collect();
                let more = if report.unknown.len() > some.len() { ", …" } else { "" };
                print(format_args!(
                    "{} files are not of the dataset: {}{more}\n",
                    report.unknown.len(),
                    some.join(", ")
                ))?;
            }
            let (good, all) = (report.files - report.bad.len(), report.files);
            let bytes = size(report.bytes);
            print(format_args!("{}: {good} of {all} files ({bytes}) are as fetched\n", report.dataset))?;
            if !report.bad.is_empty() {
                print_line(format_args!("remove {} and fetch it again", folder.display()))?;
            }
        }
        Ok(ExitCode::from(u8::from(!report.bad.is_empty())))
    }

    /// A folder counts before a name.
    fn place(&self) -> PathBuf {
        let named = self.folder.to_str().and_then(|name| Known::from_str(name, false).ok());
        match named {
            Some(known) if !self.folder.is_dir() => Dataset::of(known).usual_folder(),
            _ => self.folder.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        assert!(["y\n", "Yes\n", " YES "].iter().all(|a| is_yes(a)));
        assert!(!["", "\n", "n\n", "yep\n", "no yes"].iter().any(|a| is_yes(a)));
    }

    #[test]
    fn a_name_stands_for_the_usual_folder() {
        let place = |name: &str| Verify { folder: name.into(), json: false }.place();
        assert_eq!(place("stl10"), Path::new("datasets/stl10"));
        assert_eq!(place("elsewhere/stl10"), Path::new("elsewhere/stl10"));
    }
}
