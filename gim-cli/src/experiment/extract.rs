//! Features of a whole corpus, of every module, the random encoder and the input itself, in one HDF5 file.

use std::path::{Path, PathBuf};

use gim_core::{Error, Pool, Result};
use gim_eval::{FeatureFile, FeatureWriter, GroupSpec, Item, Layout, Per, Provenance};
use ndarray::{Array2, ArrayView2, Axis};

use crate::experiment::config::Config;
use crate::experiment::domain::Extractor;
use crate::experiment::environment::{Environment, TrainedOn};
use crate::experiment::latent::LatentSample;
use crate::experiment::progress::{Mode as Show, Progress};
use crate::experiment::train;

/// Features of a run's snapshots, beside those of its end.
pub const SNAPSHOTS: &str = "snapshots.h5";

/// The feature file of a run, written anew when the run has been trained since, or when it lacks the baselines that are wanted.
///
/// # Errors
/// As [`extract`].
pub fn features_of(run_folder: &Path, baselines: bool, any_corpus: bool, show: Show) -> Result<PathBuf> {
    let file = run_folder.join("features.h5");
    let changed = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    let trained = train::newest_checkpoint(run_folder).and_then(|c| changed(&c));
    let old = !file.is_file() || changed(&file) < trained;
    if old || (baselines && !FeatureFile::open(&file)?.groups().any(|g| g.starts_with("random_"))) {
        extract(run_folder, &file, baselines, any_corpus, show)?;
    }
    Ok(file)
}

/// Writes the feature file of a run: groups `module_k` and, with baselines, `random_k` and the input's own. Unless `any_corpus`, they
/// are of the corpus that it was trained on.
///
/// # Errors
/// When the run or the corpus cannot be read, or the file cannot be written.
pub fn extract(run_folder: &Path, out: &Path, baselines: bool, any_corpus: bool, show: Show) -> Result<()> {
    let pool = Pool::new();
    let (config, mut trained, _) = train::open(run_folder, &pool)?;
    let experiment = config.domain.experiment();
    let build = || experiment.build(&config.optimizer, config.train.seed, &pool);
    let mut random = baselines.then(build).transpose()?;
    let mut extractor = experiment.extractor()?;
    same_corpus(run_folder, &*extractor, any_corpus)?;
    let items = extractor.items().to_vec();
    let mut writer: Option<FeatureWriter> = None;
    let mut progress = Progress::new(items.len() as u64, extractor.noun(), show);
    let mut done = 0;
    for part in items.chunks(extractor.batch()) {
        let numbers: Vec<usize> = part.iter().map(|i| i.0).collect();
        let extracted = extractor.extract(&numbers, &mut trained, random.as_mut(), &pool)?;
        for (item, (_, split)) in extracted.into_iter().zip(part) {
            done += 1;
            let Some(item) = item else { continue };
            let writer = match &mut writer {
                Some(w) => w,
                none => {
                    let modules = if baselines { item.groups.len() / 2 } else { item.groups.len() };
                    let group = |i: usize| match i {
                        i if i < modules => format!("module_{}", i + 1),
                        i if i < 2 * modules => format!("random_{}", i + 1 - modules),
                        _ => experiment.baseline().to_owned(),
                    };
                    let specs = item.groups.iter().enumerate().map(|(i, g)| spec(group(i), g)).collect();
                    let layout = Layout { groups: specs, labels: extractor.labels(), deflate: None };
                    none.insert(FeatureWriter::create(out, layout, &provenance(&config, &*extractor))?)
                }
            };
            let features: Vec<ArrayView2<'_, f32>> = item.groups.iter().map(|g| g.view()).collect();
            let labels: Vec<&[i32]> = item.labels.iter().map(Vec::as_slice).collect();
            writer.append(Item { id: &item.id, split: *split, features: &features, labels: &labels })?;
        }
        if extractor.batch() == 1 {
            // Every item has buffers of its own size; kept, they would add up.
            pool.trim();
        }
        progress.tick(done, String::new);
    }
    let Some(writer) = writer else {
        return Err(Error::file(extractor.root(), "has nothing that is long enough", "use another corpus"));
    };
    let written = writer.n_items();
    writer.finish()?;
    progress.finish(&format!("features of {written} items in {}", out.display()));
    Ok(())
}

fn spec(group: String, features: &Array2<f32>) -> GroupSpec {
    GroupSpec { name: group.replace('_', " "), group, dims: features.ncols() }
}

fn provenance(config: &Config, extractor: &dyn Extractor) -> Provenance {
    Provenance {
        configuration: config.to_toml(),
        seed: config.train.seed,
        commit: Environment::capture(config.train.seed, 1).git_commit.unwrap_or_default(),
        corpus_digest: extractor.digest().to_owned(),
    }
}

fn same_corpus(run_folder: &Path, extractor: &dyn Extractor, any_corpus: bool) -> Result<()> {
    match Environment::of_run(run_folder)?.corpus {
        Some(on) if on.digest != extractor.digest() && !any_corpus => {
            let here = TrainedOn::new(extractor.root(), extractor.digest());
            let what = format!("was trained on {on}, not on {here}");
            Err(Error::file(run_folder, what, "name that corpus by GIM_DATA, or say --any-corpus"))
        }
        _ => Ok(()),
    }
}

/// Writes `snapshots.h5` into the run's folder: means over time of the utterances that the latent-space figure shows of `features`, as the
/// run's modules had them before the first step and at each of its snapshots: groups `snapshot_STEP_module_k`. Nothing for pictures.
///
/// # Errors
/// When the run, the features or the corpus cannot be read, or the file cannot be written.
pub fn snapshots(run_folder: &Path, features: &Path, any_corpus: bool, show: Show) -> Result<()> {
    let config = Config::of_run(run_folder)?;
    if !config.domain.has_speakers() {
        return Ok(());
    }
    let end = FeatureFile::open(features)?;
    let chosen = LatentSample::of(&end)?;
    let pool = Pool::new();
    let mut stacks = train::snapshots(run_folder, &pool)?;
    let mut extractor = config.domain.experiment().extractor()?;
    same_corpus(run_folder, &*extractor, any_corpus)?;
    let per_item = |label: &gim_eval::LabelSpec| label.per == Per::Item;
    let kept: Vec<bool> = extractor.labels().iter().map(per_item).collect();
    let labels: Vec<_> = extractor.labels().into_iter().filter(per_item).collect();
    let wanted: Vec<_> = extractor.items().iter().copied().filter(|i| chosen.holds(&extractor.id(i.0))).collect();
    let mut writer: Option<FeatureWriter> = None;
    let mut progress = Progress::new(wanted.len() as u64, "utterances at earlier steps", show);
    for (done, (number, split)) in wanted.into_iter().enumerate() {
        let (mut groups, mut specs, mut labelled) = (Vec::new(), Vec::new(), None);
        for (step, stack) in &mut stacks {
            let Some(item) = extractor.extract(&[number], stack, None, &pool)?.pop().flatten() else { continue };
            for (i, frames) in item.groups.iter().enumerate() {
                let mean = frames.mean_axis(Axis(0)).unwrap_or_default().insert_axis(Axis(0));
                specs.push(spec(format!("snapshot_{step:08}_module_{}", i + 1), &mean));
                groups.push(mean);
            }
            labelled = Some((item.id, item.labels));
        }
        let Some((id, all)) = labelled else { continue };
        let writer = match &mut writer {
            Some(w) => w,
            none => {
                let layout = Layout { groups: specs, labels: labels.clone(), deflate: None };
                let out = run_folder.join(SNAPSHOTS);
                none.insert(FeatureWriter::create(&out, layout, &provenance(&config, &*extractor))?)
            }
        };
        let views: Vec<ArrayView2<'_, f32>> = groups.iter().map(|g| g.view()).collect();
        let own: Vec<&[i32]> = all.iter().zip(&kept).filter(|l| *l.1).map(|l| l.0.as_slice()).collect();
        writer.append(Item { id: &id, split, features: &views, labels: &own })?;
        pool.trim();
        progress.tick(done as u64 + 1, String::new);
    }
    if let Some(writer) = writer {
        let written = writer.n_items();
        writer.finish()?;
        progress.finish(&format!("{written} utterances at {} earlier steps in {SNAPSHOTS}", stacks.len()));
    }
    Ok(())
}
