//! Arguments of the commands that run a comparison.

use std::path::{Path, PathBuf};

use gim_core::{Error, Result};

use crate::comparison::comparison_dir::ComparisonDir;
use crate::comparison::reproduce::{Outcome, Plan, Scope, remove_features, reproduce};
use crate::comparison::sweep::Sweep;
use crate::experiment::progress::Mode;
use crate::{output, report};

/// Largest number of seeds.
const MOST_SEEDS: u64 = 10_000;

/// A comparison, and overrides of its settings.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Comparison {
    /// Comparison: demo, quick (embedded data), small and local (real data, see GIM_DATA), paper-tables, paper-ablations, or a TOML file
    /// that lists runs.
    #[arg(value_name = "COMPARISON", default_value = "quick")]
    what: String,
    /// Only runs whose names begin with this, e.g. audio or vision/gim, and the runs they are
    /// compared with.
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// Number of seeds [default: the comparison's].
    #[arg(long)]
    seeds: Option<u64>,
    /// Most random views of a training item in the paper's protocol [default: the comparison's].
    #[arg(long, value_name = "N")]
    views: Option<usize>,
    /// Folder for runs, tables, figures and report [default: runs/COMPARISON; `gim check` uses a
    /// temporary folder].
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Override a setting of every run that has it, e.g. --set train.steps=100. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Makes a comparison: prints its `table`, then writes figures, tables and page, and removes the features that
/// they were drawn from unless they are kept. Returns also the files.
///
/// # Errors
/// The error that stopped it. Calling again resumes it.
pub(super) fn make(
    plan: &Plan,
    show: Mode,
    table: impl Fn(&Outcome) -> String,
    keep_features: bool,
) -> Result<(Outcome, Vec<PathBuf>)> {
    let _lock = plan.out.lock()?;
    let outcome = reproduce(plan, show)?;
    // The table first: a page that cannot be written must not hide it.
    output::print(table(&outcome))?;
    let files = report::comparison::write(plan, &outcome)?;
    if !keep_features {
        remove_features(&outcome)?;
    }
    Ok((outcome, files))
}

impl Comparison {
    /// A built-in comparison as it is.
    pub(super) fn named(what: &str, out: PathBuf) -> Self {
        Self { what: what.into(), only: None, seeds: None, views: None, out: Some(out), set: Vec::new() }
    }

    pub(super) fn plan(&self, scope: Scope) -> Result<Plan> {
        let mut sweep = Sweep::load(&self.what)?;
        if let Some(prefix) = &self.only {
            sweep = sweep.only(prefix);
            if sweep.run.is_empty() {
                let what = format_args!("no run begins with `{prefix}`");
                return Err(Error::config("--only", what, "see gim config sweep"));
            }
        }
        sweep.seeds = self.seeds.unwrap_or(sweep.seeds);
        if !(1..=MOST_SEEDS).contains(&sweep.seeds) {
            let what = format_args!("{} is out of range", sweep.seeds);
            return Err(Error::config("--seeds", what, format_args!("use 1 to {MOST_SEEDS}")));
        }
        sweep.check_overrides(&self.set)?;
        sweep.views.train = self.views.or(sweep.views.train);
        sweep.views.check("--views", "test_views")?;
        let name = Path::new(&self.what).file_stem().map_or("comparison".into(), |n| n.to_string_lossy().into_owned());
        let out = ComparisonDir::new(self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&name)));
        Ok(Plan { name, sweep, out, set: self.set.clone(), scope })
    }
}
