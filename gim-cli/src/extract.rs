//! Features of a whole corpus, of every module, the random encoder and the input itself, in one HDF5 file.

use std::path::{Path, PathBuf};

use gim_core::{Error, Pool, Result};
use gim_eval::{FeatureFile, FeatureWriter, GroupSpec, Item, Layout, Provenance};
use ndarray::ArrayView2;

use crate::environment::{Environment, TrainedOn};
use crate::progress::{Mode as Show, Progress};
use crate::run;

/// The feature file of a run, written anew when the run has been trained since, or when it lacks the baselines that are wanted.
///
/// # Errors
/// As [`extract`].
pub fn features_of(run_folder: &Path, baselines: bool, any_corpus: bool, show: Show) -> Result<PathBuf> {
    let file = run_folder.join("features.h5");
    let changed = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    let trained = run::newest_checkpoint(run_folder).and_then(|c| changed(&c));
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
    let (config, mut trained, _) = run::open(run_folder, &pool)?;
    let experiment = config.domain.experiment();
    let build = || experiment.build(&config.optimizer, config.train.seed, &pool);
    let mut random = baselines.then(build).transpose()?;
    let mut extractor = experiment.extractor()?;
    if let Some(on) = Environment::of_run(run_folder)?.corpus
        && on.digest != extractor.digest()
        && !any_corpus
    {
        let here = TrainedOn::new(extractor.root(), extractor.digest());
        let what = format!("was trained on {on}, not on {here}");
        return Err(Error::file(run_folder, what, "name that corpus by GIM_DATA, or say --any-corpus"));
    }
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
                    let specs = item.groups.iter().enumerate().map(|(i, g)| {
                        let group = group(i);
                        GroupSpec { name: group.replace('_', " "), group, dims: g.ncols() }
                    });
                    let layout = Layout { groups: specs.collect(), labels: extractor.labels(), deflate: None };
                    let provenance = Provenance {
                        configuration: config.to_toml(),
                        seed: config.train.seed,
                        commit: Environment::capture(config.train.seed, 1).git_commit.unwrap_or_default(),
                        corpus_digest: extractor.digest().to_owned(),
                    };
                    none.insert(FeatureWriter::create(out, layout, &provenance)?)
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
