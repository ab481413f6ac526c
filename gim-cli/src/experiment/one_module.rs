//! A run that trains one module above the frozen modules of another run.
//!
//! It begins with a checkpoint at the step at which the iterative schedule comes to this module, and
//! is resumed from there. So it takes the same batches and draws as that turn, and gives the same
//! bits.

use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::environment::{Environment, TrainedOn};
use crate::experiment::fingerprint::may_change;
use crate::experiment::run_dir::{Curves, Keep, RunDir};
use crate::experiment::train::{Stamp, refuse_begun};

/// Begins `run`, whose last module is to be trained: those below are the trained ones of `from`.
///
/// # Errors
/// When `run` is begun already, `from` has not trained the modules below, or the settings of dataset,
/// network and loss differ.
pub(crate) fn begin(config: &Config, run: &RunDir, from: &RunDir) -> Result<()> {
    refuse_begun(run)?;
    let theirs = from.config()?;
    check_settings(config, &theirs, from)?;
    let pool = Pool::new();
    let record = from.need_dataset()?;
    let mut stack = config.build(Some(&record), &pool)?;
    let below = stack.modules().len() - 1;
    // The dataset is opened only to count batches of another size.
    let same = config.train.batch == theirs.train.batch;
    let source = |c: &Config| c.domain.dataset().batch_source(&c.train, 0, Some(&record));
    let epoch_steps = if same { record.epoch_steps } else { source(config)?.epoch_len() };
    if below > 0 {
        let mut lower = theirs.build(Some(&record), &pool)?;
        let needed = theirs.train.steps_each(|| Ok(record.epoch_steps))?
            * if theirs.train.iterative() { below as u64 } else { 1 };
        let newest = from.newest_intact_checkpoint()?.filter(|c| c.step >= needed);
        let Some(newest) = newest.filter(|_| lower.modules().len() >= below) else {
            let what = format!("has not finished the {below} modules below");
            return Err(Error::file(from.path(), what, "train them first"));
        };
        newest.load(&mut lower, &theirs.fingerprint())?;
        let pairs = stack.modules_mut().iter_mut().zip(lower.modules_mut());
        pairs.take(below).for_each(|(ours, trained)| std::mem::swap(ours, trained));
    }
    let first = config.train.steps_each(|| Ok(epoch_steps))? * below as u64;
    let record = DatasetRecord { epoch_steps, ..record };
    write_begun(config, run, &mut stack, &record, from.trained_on()?, first)
}

/// Writes a run that begins with the weights of `stack`, at `step`. `trained_on` is what they were
/// trained on, where that is known.
///
/// # Errors
/// When a value is not finite, or the disk refuses.
pub(crate) fn write_begun(
    config: &Config,
    run: &RunDir,
    stack: &mut Stack<f32>,
    record: &DatasetRecord,
    trained_on: Option<TrainedOn>,
    step: u64,
) -> Result<()> {
    run.create()?;
    let _lock = run.lock()?;
    run.create_checkpoints()?;
    let mut environment = Environment::capture(config.train.seed, rayon::current_num_threads());
    environment.trained_on = trained_on;
    run.write_environment(&environment)?;
    run.write_dataset(record)?;
    let (fingerprint, dataset) = (config.fingerprint(), record.to_json()?);
    let stamp = Stamp { step, fingerprint: &fingerprint, dataset: &dataset };
    let modules = stack.modules_mut().iter_mut().enumerate();
    let keep = Keep { every: 1, total: step, snapshots: Vec::new() };
    run.save(modules.map(|(i, m)| stamp.bytes(&mut **m, i)), step, &Curves::default(), &keep)?;
    // Last: a folder without it is not that of a run, whose modules below would be trained anew.
    run.write_config(config)
}

/// Checks that what the modules below see, are and have learned from is the same.
fn check_settings(ours: &Config, theirs: &Config, from: &RunDir) -> Result<()> {
    let differs = |key: String, here: String, there: String| {
        let what = format!("is {here}, but {there} in {}", from.path().display());
        Err(Error::config(key, what, "use the same dataset, network and loss"))
    };
    let (here, there) = (ours.domain.kind(), theirs.domain.kind());
    if here != there {
        return differs("domain".into(), here.to_string(), there.to_string());
    }
    for ((section, here), (_, there)) in ours.domain.sections().iter().zip(theirs.domain.sections()) {
        let parse = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
        let there = parse(&there);
        for (key, value) in parse(here) {
            let (other, name) = (there.get(&key), format!("{section}.{key}"));
            if other != Some(&value) && !may_change(&name) {
                let other = other.map_or("absent".to_owned(), ToString::to_string);
                return differs(name, value.to_string(), other);
            }
        }
    }
    Ok(())
}
