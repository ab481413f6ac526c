//! One seed of one run of a comparison: training, features, probes. Finished work is not repeated.

use gim_core::{Error, Pool, Result};
use gim_eval::{Group, ProbeRow};

use crate::experiment::config::Config;
use crate::experiment::environment::TrainedOn;
use crate::experiment::probe::{Opened, ProbeSpec};
use crate::experiment::probe_config::{Baselines, Contents};
use crate::experiment::progress::Mode as Show;
use crate::experiment::run_dir::RunDir;
use crate::experiment::train::{DatasetPolicy, Start};
use crate::experiment::views::{ViewCounts, views_of};
use crate::experiment::{extract, final_rows, interrupt, train};

/// Whether a run has been trained and has all its probes. Weights and features may be missing.
pub(super) fn is_finished(wanted: &[ProbeSpec], run: &RunDir, config: &Config) -> Result<bool> {
    Ok(run.has_curves() && made_and_missing(wanted, run, config)?.1.is_empty())
}

/// The rows of the finished probes of the final weights, and the probes that lack a module.
fn made_and_missing(wanted: &[ProbeSpec], run: &RunDir, config: &Config) -> Result<(Vec<ProbeRow>, Vec<ProbeSpec>)> {
    let made = if run.has_probes() { final_rows::of_final_weights(run, config)? } else { Vec::new() };
    let modules = if run.has_curves() { modules_of(run)? } else { 0 };
    let mut missing = wanted.to_vec();
    missing.retain(|spec| !(1..=modules.max(1)).all(|module| is_made(spec, module, &made)));
    Ok((made, missing))
}

/// Modules that a run has trained.
fn modules_of(run: &RunDir) -> Result<usize> {
    Ok(run.train_rows()?.iter().map(|r| r.module).max().unwrap_or(0))
}

/// Whether a probe of a trained module is among the rows.
fn is_made(spec: &ProbeSpec, module: usize, rows: &[ProbeRow]) -> bool {
    rows.iter().any(|r| spec.made(r) && r.group == Group::Trained && r.module == module)
}

/// One seed of one run, and what it needs.
pub(super) struct SeedRun<'a> {
    pub(super) config: &'a Config,
    pub(super) run: &'a RunDir,
    pub(super) wanted: &'a [ProbeSpec],
    /// The run whose baselines (random encoder and input) this run shares, if any.
    pub(super) baselines: Option<RunDir>,
    /// The dataset it must be trained on, if known.
    pub(super) trained_on: Option<&'a TrainedOn>,
    pub(super) keep_features: bool,
}

impl SeedRun<'_> {
    /// Does the training and probes that are missing. Returns the rows of all probes.
    pub(super) fn finish(&self, show: Show) -> Result<Vec<ProbeRow>> {
        let run = self.run;
        if run.is_begun() && run.config()? != *self.config {
            let what = "holds a run of another configuration";
            return Err(Error::file(run.path(), what, "choose another --out, or remove this folder"));
        }
        let (mut done, missing) = made_and_missing(self.wanted, run, self.config)?;
        let mut lock = None;
        // A finished run may have kept its tables and curves only.
        if !missing.is_empty() || !run.has_curves() {
            self.train(show)?;
            lock = Some(run.lock()?);
            done = if self.config.probe.by_module {
                self.probe_by_module(&missing, done, show)?
            } else {
                if self.keep_features {
                    let features = extract::features_of(run, self.contents(), false, show)?;
                    extract::snapshots(run, &features, &run.snapshots_file(), false, show)?;
                }
                self.probe_all(&missing, self.contents(), show)?
            };
        }
        // Others may read what is removed here.
        let _lock = lock.map_or_else(|| run.lock(), Ok)?;
        if !self.keep_features || self.config.probe.by_module {
            run.remove_features()?;
        }
        // No figure needs them, and they are many times as large as the features.
        run.remove_views()?;
        Ok(done)
    }

    /// What its feature files hold.
    fn contents(&self) -> Contents {
        let baselines = if self.baselines.is_none() { Baselines::All } else { Baselines::None };
        Contents { baselines, ..self.config.probe.contents() }
    }

    /// Makes these probes of features with these contents. Returns the rows of all probes so far.
    fn probe_all(&self, specs: &[ProbeSpec], contents: Contents, show: Show) -> Result<Vec<ProbeRow>> {
        // Opening a file reads all of it.
        let (mut whole, mut viewed) = (None, None);
        for spec in specs {
            let source = match (spec.views, &mut whole) {
                (Some(counts), _) => self.views(&mut viewed, counts, contents, show)?,
                (None, Some(opened)) => &*opened,
                (None, empty) => {
                    let features = extract::features_of(self.run, contents, false, show)?;
                    &*empty.insert(Opened::new(features, None, self.config.probe.budget())?)
                }
            };
            self.probe(source, spec, show)?;
        }
        final_rows::of_final_weights(self.run, self.config)
    }

    /// The same, a module after the other. `done` are the rows so far.
    fn probe_by_module(&self, specs: &[ProbeSpec], done: Vec<ProbeRow>, show: Show) -> Result<Vec<ProbeRow>> {
        for module in 1..=modules_of(self.run)? {
            let of = |s: &ProbeSpec| ProbeSpec { module: Some(module), ..s.clone() };
            let missing: Vec<ProbeSpec> = specs.iter().filter(|s| !is_made(s, module, &done)).map(of).collect();
            let contents = self.contents().of_module(module);
            // The input is probed once.
            let contents = match (contents.baselines, module) {
                (Baselines::All, 2..) => Contents { baselines: Baselines::Random, ..contents },
                _ => contents,
            };
            self.probe_all(&missing, contents, show)?;
        }
        final_rows::of_final_weights(self.run, self.config)
    }

    /// Runs the remaining training steps.
    fn train(&self, show: Show) -> Result<()> {
        let begun = self.run.is_begun();
        if !begun || !train::is_complete(self.run, self.config)? {
            let policy = self.trained_on.map_or(DatasetPolicy::Begun, DatasetPolicy::Only);
            let start = if begun { Start::Resume } else { Start::New };
            train::train(self.config, self.run, start, policy, show, None)?;
        }
        Ok(())
    }

    /// The file of so many views, from `open` if it is the one.
    fn views<'o>(
        &self,
        open: &'o mut Option<Opened>,
        counts: ViewCounts,
        contents: Contents,
        show: Show,
    ) -> Result<&'o Opened> {
        if open.as_ref().is_none_or(|o| !o.holds(counts)) {
            // Closed before it is made anew.
            *open = None;
            let file = views_of(self.run, counts, contents, false, show)?;
            *open = Some(Opened::new(file, Some(counts), self.config.probe.budget())?);
        }
        open.as_ref().ok_or_else(|| Error::internal("views", "were not opened"))
    }

    /// Runs a probe of a file, and saves its rows.
    fn probe(&self, opened: &Opened, spec: &ProbeSpec, show: Show) -> Result<()> {
        if interrupt::requested() {
            let (.., step) = train::open(self.run, &Pool::new())?;
            let remedy = "finished work is saved; the same command resumes".into();
            return Err(Error::Interrupted { step, remedy });
        }
        let mut rows = opened.probe(spec, show)?;
        if let Some(baselines) = &self.baselines {
            let shared = baselines.probe_rows()?;
            rows.extend(beside(&rows, shared.iter().filter(|r| spec.made(r)), self.run)?);
        }
        self.run.merge_probe_rows(&rows)?;
        Ok(())
    }
}

/// The baseline rows of `others` that `rows` lacks: those of the input, and of the random encoder at
/// the same modules.
fn beside<'a>(rows: &[ProbeRow], others: impl Iterator<Item = &'a ProbeRow>, run: &RunDir) -> Result<Vec<ProbeRow>> {
    let mut out = Vec::new();
    let lacks = |o: &&ProbeRow| !rows.iter().any(|r| (r.group, r.module) == (o.group, o.module));
    for other in others.filter(|o| o.group != Group::Trained).filter(lacks) {
        match rows.iter().find(|r| r.group == Group::Trained && r.module == other.module) {
            Some(own) if own.dims != other.dims => {
                let what = format!(
                    "module {} has {} features, but {} in the run that its baselines come from",
                    own.module, own.dims, other.dims
                );
                return Err(Error::file(
                    run.path(),
                    what,
                    "remove `baselines` from this run in the list, so that it makes its own",
                ));
            }
            None if other.module > 0 => {}
            _ => out.push(other.clone()),
        }
    }
    Ok(out)
}
