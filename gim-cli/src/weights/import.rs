//! A run folder from published weights.

use std::path::PathBuf;

use gim_core::files::is_same_file;
use gim_core::{Error, Pool, Result};
use gim_eval::Task;

use super::container::open;
use super::convert::fill;
use super::facts::Facts;
use super::infer::infer;
use super::names::{Model, whole_model};
use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::{Domain, DomainKind};
use crate::experiment::one_module::write_begun;
use crate::experiment::run_dir::RunDir;
use crate::experiment::train::refuse_begun;

/// What the published code subtracts from samples in [−1, 1) and divides them by. Its numbers,
/// −1456218.75 and 135303504, are of samples of 32 bits.
const AUDIO: (&[f64], &[f64]) = (&[-1_456_218.75 / 2_147_483_648.0], &[135_303_504.0 / 2_147_483_648.0]);
/// The same for images whose white is 1: STL-10.
const GRAYSCALE: (&[f64], &[f64]) = (&[0.4120], &[0.2570]);
const RGB: (&[f64], &[f64]) = (&[0.4313, 0.4156, 0.3663], &[0.2683, 0.2610, 0.2687]);

/// What the user says of the weights.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// The domain.
    pub kind: DomainKind,
    /// Settings, as `section.key=value`.
    pub set: Vec<String>,
    /// Mean and standard deviation that the input was standardized with, one a channel; empty for the
    /// published ones.
    pub mean: Vec<f64>,
    /// See `mean`.
    pub std: Vec<f64>,
    /// Dataset that the weights were trained on.
    pub dataset: Option<PathBuf>,
    /// Training steps behind them.
    pub step: Option<u64>,
}

/// Reads published weights into a new run. Gives what the user should know.
///
/// # Errors
/// When a file cannot be read or is damaged, the network is not a published one, a setting has to be
/// given, or the folder holds a run.
pub(crate) fn import(files: &[PathBuf], given: &Given, run: &RunDir) -> Result<Vec<String>> {
    if let Some(k) = (1..files.len()).find(|k| files[..*k].iter().any(|before| is_same_file(before, &files[*k]))) {
        return Err(Error::file(&files[k], "is named twice", "name each file of the model once"));
    }
    import_whole(files, given, run).map_err(|e| match e {
        // Parts of a model may be in any of its files.
        Error::Config { key, what, remedy, source } if key == CKPT => {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            Error::Config { key: names.join(", "), what, remedy, source }
        }
        e => e,
    })
}

/// What errors call a model before its files are named.
pub(super) const CKPT: &str = "CKPT";

fn import_whole(files: &[PathBuf], given: &Given, run: &RunDir) -> Result<Vec<String>> {
    refuse_begun(run)?;
    let (mut facts, mut all) = (None, Vec::new());
    for path in files {
        let contents = open(path)?;
        facts = facts.or(contents.facts.map(|text| (path, text)));
        all.push((path.clone(), contents.tensors));
    }
    let facts = facts.map(|(path, text)| {
        let damaged = |e: serde_json::Error| {
            let what = format!("has a damaged gim.json: {e}");
            Error::file(path, what, "export it again").caused_by(e)
        };
        serde_json::from_str::<Facts>(&text).map_err(damaged)
    });
    let (facts, mut model, mut notes) = (facts.transpose()?, whole_model(given.kind, all)?, Vec::new());
    let mut set = given.set.clone();
    set.extend(given.dataset.iter().map(|folder| format!("data.path={}", folder.display())));
    let (config, record) = match &facts {
        Some(facts) => of_gim(facts, given, &set)?,
        None => of_published(&model, given, &set, &mut notes)?,
    };
    let (pool, trained_on) = (Pool::new(), record.trained_on.clone());
    let mut stack = config.build(Some(&record), &pool)?;
    fill(&mut stack, &config.domain, &mut model.tensors)?;
    check_rest(&model)?;
    let step = given.step.or(facts.map(|f| f.step)).unwrap_or(1);
    let trained_on = Some(trained_on).filter(|on| !on.digest.is_empty());
    write_begun(&config, run, &mut stack, &record, trained_on, step)?;
    Ok(notes)
}

/// Every tensor must have found its place. The published CPC for images has a loss at its encoder
/// that is never used.
fn check_rest(model: &Model) -> Result<()> {
    let unused = |name: &str| name.starts_with("encoder.0.loss.");
    match model.tensors.keys().find(|name| !unused(name)) {
        None => Ok(()),
        Some(name) => {
            let what = format!("has `{name}`, which the network does not have");
            Err(Error::config(CKPT, what, "give the files of one published model"))
        }
    }
}

/// Configuration and record of a run that `gim export` wrote.
fn of_gim(facts: &Facts, given: &Given, set: &[String]) -> Result<(Config, DatasetRecord)> {
    let config = Config::parse("gim.json", &facts.configuration, set)?;
    if config.domain.kind() != given.kind {
        let what = format!("these weights are of {}", config.domain.kind());
        return Err(Error::config("--as", what, format_args!("use --as {}", config.domain.kind())));
    }
    let mut record = facts.dataset.clone();
    standardized_as_given(given, &mut record);
    Ok((config, record))
}

fn standardized_as_given(given: &Given, record: &mut DatasetRecord) {
    for (given, own) in [(&given.mean, &mut record.mean), (&given.std, &mut record.std)] {
        if !given.is_empty() {
            own.clone_from(given);
        }
    }
}

/// Configuration and record of other weights. What is assumed goes into the notes.
fn of_published(
    model: &Model,
    given: &Given,
    set: &[String],
    notes: &mut Vec<String>,
) -> Result<(Config, DatasetRecord)> {
    let inferred = infer(given.kind, model, set)?;
    let preset = match given.kind {
        DomainKind::Audio => "audio-paper",
        DomainKind::Vision => "vision-paper",
    };
    let config = Config::load(preset, &[&inferred.set[..], set].concat())?;
    notes.push(format!("from the shapes: {}", inferred.set.join(", ")));
    if !inferred.assumed.is_empty() {
        notes.push(format!("as published, unless --set says otherwise: {}", inferred.assumed.join(", ")));
    }
    let mut record = match given.dataset {
        Some(_) => config.domain.dataset().batch_source(&config.train, 0, None)?.record().clone(),
        None => published_record(&config, inferred.classes)?,
    };
    standardized_as_given(given, &mut record);
    let from = match (given.mean.is_empty(), &given.dataset) {
        (false, _) => "given",
        (true, Some(_)) => "measured on the dataset",
        (true, None) => "those of the published code, unless --mean and --std say otherwise",
    };
    notes.push(format!("input standardized with mean {:?} and deviation {:?}: {from}", record.mean, record.std));
    Ok((config, record))
}

/// What a run keeps of a dataset that nobody names: how the published code standardizes, and numbers
/// for names of classes.
fn published_record(config: &Config, classes: usize) -> Result<DatasetRecord> {
    let (task, (mean, std), time) = match &config.domain {
        Domain::Audio(audio) => {
            use gim_audio::network::Target;
            let task = match audio.loss.target {
                Target::Future | Target::Phones => Task::Phones,
                Target::Speakers => Task::Speakers,
                Target::Column(name) => Task::Column(name),
            };
            (task, AUDIO, Some(audio.time_axis()?))
        }
        Domain::Vision(vision) if vision.data.color.channels() == 1 => (Task::Classes, GRAYSCALE, None),
        Domain::Vision(_) => (Task::Classes, RGB, None),
    };
    let classes = if classes == 0 { None } else { Some((task, classes)) };
    let record = DatasetRecord::of_absent("unknown", 1, classes.as_slice());
    Ok(DatasetRecord { mean: mean.to_vec(), std: std.to_vec(), time, ..record })
}
