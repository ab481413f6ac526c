//! Writes the figures, tables and page of a comparison.

use std::path::{Path, PathBuf};

use gim_core::Result;
use gim_core::files::write_atomic;
use gim_eval::table;

use crate::comparison::claims;
use crate::comparison::comparison_dir::ComparisonDir;
use crate::comparison::memory::{self, Peak};
use crate::comparison::reproduce::{FinishedRun, Outcome, Plan};
use crate::comparison::summary::Summary;
use crate::experiment::domain::DomainKind;
use crate::report::figure_file::FigureFile;
use crate::report::links::Links;
use crate::report::page::{Page, Report, RunProvenance, verdict};
use crate::report::{compare, draw};

/// Draws all figures, and writes the tables and the page. Returns the files.
///
/// # Errors
/// When a run's files cannot be read, or a file cannot be written.
pub(crate) fn write(plan: &Plan, outcome: &Outcome) -> Result<Vec<PathBuf>> {
    let runs = &outcome.runs;
    let folder = plan.out.figures();
    let peaks = memory::of_methods(runs, &plan.out)?;
    let mut drawn = compare::draw(runs, &folder)?;
    drawn.extend(compare::memory_of(&peaks, runs, &folder)?);
    // What compares methods comes first: the page begins with it.
    let mut figures = and_earlier(drawn, &folder);
    for run in runs.iter().filter(|r| r.is_method()) {
        let folder = plan.out.figures_of(&run.entry);
        figures.extend(and_earlier(draw::draw(&run.seeds, &folder)?, &folder));
    }
    let tables = write_tables(plan, outcome, &peaks)?;
    let page = write_page(plan, outcome, &peaks, &figures)?;
    Ok(figures.into_iter().map(|f| f.path).chain(tables).chain([page]).collect())
}

/// The figures drawn now, and those in the folder drawn earlier from features that no longer exist.
fn and_earlier(drawn: Vec<PathBuf>, folder: &Path) -> Vec<FigureFile> {
    let mut there: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|f| Some(f.ok()?.path())).collect();
    there.sort();
    there.retain(|f| f.extension().is_some_and(|e| e == "png") && !drawn.contains(f));
    let as_drawn = |earlier| move |path| FigureFile { path, earlier };
    drawn.into_iter().map(as_drawn(false)).chain(there.into_iter().map(as_drawn(true))).collect()
}

fn write_tables(plan: &Plan, outcome: &Outcome, peaks: &[Peak]) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for domain in DomainKind::ALL {
        let is_of = |r: &FinishedRun, s: &Summary| r.is_method() && r.domain() == domain && r.entry.name == s.run;
        let rows: Vec<&Summary> = outcome.summary.iter().filter(|s| outcome.runs.iter().any(|r| is_of(r, s))).collect();
        if !rows.is_empty() {
            let path = plan.out.methods_table(domain);
            table::write_rows(&path, &rows)?;
            written.push(path);
        }
    }
    if !outcome.ablations.is_empty() {
        let path = plan.out.ablations_table();
        table::write_rows(&path, &outcome.ablations)?;
        written.push(path);
    }
    let path = plan.out.memory_table();
    table::write_rows(&path, peaks)?;
    written.push(path);
    Ok(written)
}

fn write_page(plan: &Plan, outcome: &Outcome, peaks: &[Peak], figures: &[FigureFile]) -> Result<PathBuf> {
    let several = outcome.runs.iter().any(|r| r.seeds.len() > 1);
    let claims = several.then(|| claims::evaluate(&outcome.runs, &outcome.summary, peaks));
    let configuration = |r: &FinishedRun| (r.entry.title.clone(), r.entry.name.clone(), r.config.to_toml());
    let report = Report {
        title: format!("Greedy InfoMax: {}", plan.name),
        environments: environments(&outcome.runs)?,
        summary: &outcome.summary,
        ablations: &outcome.ablations,
        peaks,
        lead: vec![verdict(claims.as_deref())],
        claims: claims.as_deref().unwrap_or_default(),
        further: Vec::new(),
        links: Links::new(&outcome.runs, plan.out.path()),
        folder: plan.out.path(),
        figures,
        configurations: outcome.runs.iter().map(configuration).collect(),
    };
    save(&Page::new(report)?, &plan.out)
}

/// Writes a page and its twin. Returns the page's file.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn save(page: &Page, out: &ComparisonDir) -> Result<PathBuf> {
    let file = out.page();
    write_atomic(&file, page.html().as_bytes())?;
    write_atomic(&out.readme(), page.markdown().as_bytes())?;
    Ok(file)
}

/// How each run was made, and how long it took.
///
/// # Errors
/// When a run does not say how it was made, or its log cannot be read.
pub(super) fn environments(runs: &[FinishedRun]) -> Result<Vec<RunProvenance>> {
    let mut out = Vec::new();
    for run in runs {
        for seed in &run.seeds {
            let environment = seed.environment()?;
            let rows = if seed.has_curves() { seed.train_rows()? } else { Vec::new() };
            let seconds = rows.last().and_then(|r| r.seconds);
            out.push(RunProvenance { run: run.entry.name.clone(), environment, seconds });
        }
    }
    Ok(out)
}
