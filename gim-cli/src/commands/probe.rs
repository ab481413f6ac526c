use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use gim_core::{Error, Result};
use gim_eval::{Head, Protocol, Task};

use super::json;
use crate::experiment::domain::{DomainKind, check_task};
use crate::experiment::extract::features_of;
use crate::experiment::probe::{self, ProbeSpec};
use crate::experiment::probe_config::{ContentArgs, ProbeConfig};
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::{RunDir, merge_probe_rows};
use crate::experiment::views::{TEST_VIEWS, ViewLimits, views_of};
use crate::output::{note, print, print_line};

/// Evaluate features with a linear probe or nearest neighbors.
///
/// Prints a row for each module and baseline, and saves the rows in the run's probe.csv.
///
/// The paper's protocol sees speakers and images in random views, a fresh one in every epoch. They are
/// computed first and kept in the run's views.h5.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim probe runs/a --task phones")]
pub struct Args {
    /// Folder of a run, a feature file, or a file of views.
    source: PathBuf,
    /// What to predict: phones, speakers, classes, or a column of labels that the dataset has.
    #[arg(long)]
    task: Task,
    /// How to evaluate. paper: a probe as the published code fits it; converged: a linear probe fitted
    /// to convergence; knn: 20 nearest neighbors.
    #[arg(
        long,
        default_value = "converged",
        value_parser = PossibleValuesParser::new(Protocol::ALL.map(Protocol::name)).try_map(|s| s.parse::<Protocol>())
    )]
    protocol: Protocol,
    /// What the paper's protocol puts on the features. linear: one linear map; mlp: a hidden layer of
    /// 512 units before it.
    #[arg(
        long,
        default_value = "linear",
        value_parser = PossibleValuesParser::new(Head::ALL.map(Head::name)).try_map(|s| s.parse::<Head>())
    )]
    head: Head,
    /// Most random views of a training item that the paper's protocol takes turns with [default: a
    /// fresh one in every epoch, as published].
    #[arg(long, value_name = "N")]
    views: Option<usize>,
    /// Random crops of a test utterance that the paper's protocol averages over; the published code
    /// draws one.
    #[arg(long, value_name = "N", default_value_t = TEST_VIEWS)]
    test_views: usize,
    /// Share of the training labels to fit on, between 0 and 1.
    #[arg(long, default_value_t = 1.0)]
    labels: f64,
    /// Most memory for the features of a module, in MB; larger ones are read in blocks [default:
    /// probe.memory_mb of the run, 4096 for a file].
    #[arg(long, value_name = "MB")]
    memory_mb: Option<u64>,
    #[command(flatten)]
    contents: ContentArgs,
    /// Use the present dataset even if the run was trained on another.
    #[arg(long)]
    any_dataset: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let limits = ViewLimits { train: self.views, test: self.test_views };
        limits.check("--views", "--test-views")?;
        if self.head != Head::Linear && self.protocol != Protocol::Paper {
            let what = format_args!("`{}` is no part of the protocol {}", self.head, self.protocol);
            return Err(Error::config("--head", what, "add --protocol paper"));
        }
        let mut spec = ProbeSpec {
            head: self.head,
            module: self.contents.module,
            labels: self.labels,
            ..ProbeSpec::new(self.task, self.protocol, limits)
        };
        let within = |settings: &ProbeConfig| {
            ProbeConfig { memory_mb: self.memory_mb.unwrap_or(settings.memory_mb), ..settings.clone() }.budget()
        };
        let say = |rows: &[_]| -> Result<()> {
            if self.json {
                return print_line(json(&rows, true)?);
            }
            print(probe::print(rows))?;
            if let (Some(stopped), true) = (probe::stopped(rows), show != Mode::Quiet) {
                note(format_args!("note: {stopped}"));
            }
            Ok(())
        };
        // Results are printed before they are saved: a table that cannot be written loses none.
        if self.source.is_dir() {
            let run = RunDir::new(self.source);
            let _lock = run.lock()?;
            let config = run.config()?;
            self.contents.check(config.domain.kind())?;
            let contents = self.contents.over(&config.probe);
            // A test image has one view, its center.
            if config.domain.kind() == DomainKind::Vision {
                spec.views.iter_mut().for_each(|views| views.test = 1);
            }
            // Before features are computed. Another dataset may have other labels.
            if let Some(record) = run.dataset()?.filter(|_| !self.any_dataset) {
                check_task(self.task, &record)?;
            }
            let file = match spec.views {
                Some(counts) => views_of(&run, counts, contents, self.any_dataset, show)?,
                None => features_of(&run, contents, self.any_dataset, show)?,
            };
            let rows = probe::probe(&file, &spec, within(&config.probe), show)?;
            say(&rows)?;
            run.merge_probe_rows(&rows)?;
        } else {
            self.contents.refuse(&self.source)?;
            let rows = probe::probe(&self.source, &spec, within(&ProbeConfig::default()), show)?;
            say(&rows)?;
            merge_probe_rows(&self.source.with_extension("probe.csv"), &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
