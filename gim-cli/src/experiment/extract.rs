//! Features of a whole dataset, of every module, the random encoder and the input itself, in one HDF5 file.

use std::path::{Path, PathBuf};

use gim_core::files::temporary_name;
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};
use gim_eval::{FeatureFile, FeatureWriter, GroupId, Item, LabelSpec, Layout, Per, Provenance, Seal, Split, seal_of};
use ndarray::{ArrayView2, Axis};

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::{Extracted, Extractor};
use crate::experiment::environment::{Environment, TrainedOn};
use crate::experiment::feature_file;
use crate::experiment::groups::{Groups, spec, specs};
use crate::experiment::interrupt::{NothingToSave, Scratch, undisturbed};
use crate::experiment::latent::LatentSample;
use crate::experiment::probe_config::{Baselines, Contents};
use crate::experiment::progress::{Mode as Show, Progress};
use crate::experiment::run_dir::{RunDir, Weights};
use crate::experiment::train;
use crate::output::note;

/// The groups of a feature file that hold the trained modules.
pub(crate) fn trained_modules(file: &FeatureFile) -> Vec<GroupId> {
    let ids = file.groups().filter_map(|g| g.parse::<GroupId>().ok());
    ids.filter(|id| matches!(id, GroupId::Trained(_))).collect()
}

/// The feature file of a run: of its newest weights and of the dataset at hand. One that is not is
/// made anew, and standard error says why.
///
/// # Errors
/// As [`extract`]; also when the dataset at hand is not the run's, unless `any_dataset`.
pub(crate) fn features_of(run: &RunDir, contents: Contents, any_dataset: bool, show: Show) -> Result<PathBuf> {
    let file = run.features_file();
    if must_be_made(run, &file, contents, any_dataset, show)? {
        extract(run, &file, contents, any_dataset, show)?;
    }
    Ok(file)
}

/// Whether a file of the run's features is missing, or not of its newest weights and of the dataset at
/// hand. Standard error says why it cannot be used.
///
/// # Errors
/// When the dataset at hand is not the run's, unless `any_dataset`, or cannot be read.
pub(super) fn must_be_made(
    run: &RunDir,
    file: &Path,
    contents: Contents,
    any_dataset: bool,
    show: Show,
) -> Result<bool> {
    let here = dataset_at_hand(&run.config()?)?;
    if let Some(here) = &here {
        same_dataset(run, here, any_dataset)?;
    }
    if !file.is_file() {
        return Ok(true);
    }
    if here.is_none() && show != Show::Quiet {
        note(format_args!("note: the dataset is not at hand; {} is used without comparing them", file.display()));
    }
    let why = unfit(run, file, contents, here.as_ref())?;
    if let Some(why) = &why {
        note(format_args!("note: {} {why}: it is made anew", file.display()));
    }
    Ok(why.is_some())
}

/// Name and digest of the dataset, if its folder is there.
fn dataset_at_hand(config: &Config) -> Result<Option<TrainedOn>> {
    let dataset = config.domain.dataset();
    match dataset.folder() {
        Ok(folder) if folder.is_dir() => {
            let _quick = NothingToSave::new();
            dataset.digest().map(Some)
        }
        _ => Ok(None),
    }
}

/// Why a file of the run's features cannot be used; none when it can.
fn unfit(run: &RunDir, file: &Path, contents: Contents, here: Option<&TrainedOn>) -> Result<Option<String>> {
    if seal_of(file)? != Seal::Holds {
        return Ok(Some("was changed since it was written".into()));
    }
    let file = match feature_file::open(file) {
        Ok(file) => file,
        Err(e) => return Ok(Some(format!("cannot be used ({e})"))),
    };
    let made = file.provenance();
    if let Some(weights) = run.weights()?
        && made.checkpoint != weights.digest
    {
        let of = made.step.map_or("an unknown step".to_owned(), |step| format!("step {step}"));
        return Ok(Some(format!("is of other weights ({of}) than the newest checkpoint (step {})", weights.step)));
    }
    if let Some(here) = here.filter(|here| here.digest != made.dataset_digest) {
        return Ok(Some(format!("is of other files, labels or splits (digest {}) than {here}", made.dataset_digest)));
    }
    if made.pooling != contents.pooled() {
        let name = |pooled: Option<u64>| pooled.map_or("means".to_owned(), |n| format!("maps of {n} × {n}"));
        return Ok(Some(format!("holds {} of images, not {}", name(made.pooling), name(contents.pooled()))));
    }
    if let Some(module) = made.module.filter(|m| contents.module.map(|m| m as u64) != Some(*m)) {
        return Ok(Some(format!("holds module {module} alone")));
    }
    let groups: Vec<GroupId> = file.groups().filter_map(|g| g.parse().ok()).collect();
    let lacks = |is: fn(&GroupId) -> bool| !groups.iter().any(is);
    if contents.has_random() && lacks(|id| matches!(id, GroupId::Random(_)))
        || contents.baselines == Baselines::All && lacks(|id| matches!(id, GroupId::Mfcc | GroupId::Pixels))
    {
        return Ok(Some("lacks the baselines".to_owned()));
    }
    let lacks_all = contents.concatenate && !groups.contains(&GroupId::AllTrained);
    Ok(lacks_all.then(|| "lacks the modules side by side".to_owned()))
}

/// Writes the feature file of a run: groups `module_k` and what else `contents` says. Unless `any_dataset`, they are of the
/// dataset that it was trained on.
///
/// # Errors
/// When the run or the dataset cannot be read, or the file cannot be written.
pub(crate) fn extract(run: &RunDir, out: &Path, contents: Contents, any_dataset: bool, show: Show) -> Result<()> {
    let (_quick, _unfinished) = (NothingToSave::new(), Scratch::new(&temporary_name(out)?)?);
    let pool = Pool::new();
    let (config, mut trained, _) = train::open(run, &pool)?;
    let weights = run.weights()?;
    let record = run.need_dataset()?;
    let mut random = contents.stacks(&mut trained, || config.build(Some(&record), &pool))?;
    let mut extractor = config.domain.dataset().extractor(&record, contents.pooling)?;
    same_dataset(run, &TrainedOn::new(extractor.root(), extractor.digest()), any_dataset)?;
    let made = provenance(&config, extractor.digest(), &record, weights, contents)?;
    let layout = Layout { labels: extractor.labels(), frames: record.frames(), ..Layout::default() };
    let mut writing = Writing::new(out, layout, Groups::of(contents, &*extractor), made);
    let mut progress = Progress::new(extractor.items().len() as u64, extractor.noun(), show);
    let mut take = |item: Extracted, split| writing.append(item, split);
    let short = each_item(&mut *extractor, &mut trained, random.as_mut(), &pool, &mut progress, &mut take)?;
    let written = writing.finish(&*extractor)?;
    progress.finish(&format!("features of {written} {}", extractor.noun()));
    if !short.is_empty() && show != Show::Quiet {
        let (n, noun, names) = (short.len(), extractor.noun(), short.join(", "));
        let of = extractor.items().len();
        note(format_args!("note: {n} of {of} {noun} are too short for features and left out: {names}"));
    }
    Ok(())
}

/// Hands the features of all items to `take`, in order, long items in parts, and gives the ids of those that are too short.
///
/// # Errors
/// When a file cannot be read, or `take` fails.
pub(super) fn each_item(
    extractor: &mut dyn Extractor,
    trained: &mut Stack<f32>,
    mut random: Option<&mut Stack<f32>>,
    pool: &Pool<f32>,
    progress: &mut Progress,
    take: &mut dyn FnMut(Extracted, Split) -> Result<()>,
) -> Result<Vec<String>> {
    let items = extractor.items().to_vec();
    let (mut done, mut short) = (0, Vec::new());
    for part in items.chunks(extractor.batch()) {
        let numbers: Vec<usize> = part.iter().map(|i| i.0).collect();
        let mut given = vec![false; part.len()];
        extractor.extract(&numbers, trained, random.as_deref_mut(), pool, &mut |at, item| {
            given[at] = true;
            take(item, part[at].1)
        })?;
        done += part.len() as u64;
        short.extend(numbers.iter().zip(given).filter(|(_, given)| !given).map(|(number, _)| extractor.id(*number)));
        if extractor.batch() == 1 {
            // Every item has buffers of its own size; kept, they would add up.
            pool.trim();
        }
        progress.tick(done, String::new);
    }
    Ok(short)
}

/// A feature file that begins with its first item, which shows the groups.
pub(super) struct Writing<'a> {
    out: &'a Path,
    layout: Layout,
    groups: Groups,
    made: Provenance,
    writer: Option<FeatureWriter>,
}

impl<'a> Writing<'a> {
    /// A file at `out`, of a layout whose groups are not known yet.
    pub(super) fn new(out: &'a Path, layout: Layout, groups: Groups, made: Provenance) -> Self {
        Self { out, layout, groups, made, writer: None }
    }

    /// Appends an item, or a part of one.
    ///
    /// # Errors
    /// As [`FeatureWriter::create`] and [`FeatureWriter::append`].
    pub(super) fn append(&mut self, mut item: Extracted, split: Split) -> Result<()> {
        let ids = self.groups.complete(&mut item);
        let writer = match &mut self.writer {
            Some(w) => w,
            none => {
                let layout = Layout { groups: specs(&ids, &item), ..self.layout.clone() };
                none.insert(undisturbed(|| FeatureWriter::create(self.out, layout, &self.made))?)
            }
        };
        let features: Vec<ArrayView2<'_, f32>> = item.groups.iter().map(|g| g.view()).collect();
        let labels: Vec<&[i32]> = item.labels.iter().map(Vec::as_slice).collect();
        let rows = Item { id: &item.id, split, features: &features, labels: &labels };
        if item.more { writer.append_part(rows) } else { writer.append(rows) }
    }

    /// Completes the file, and gives the number of items.
    ///
    /// # Errors
    /// When there are none, or the disk failed.
    pub(super) fn finish(self, of: &dyn Extractor) -> Result<usize> {
        let Some(writer) = self.writer else {
            return Err(Error::file(of.root(), "has nothing that is long enough", "use longer files"));
        };
        let written = writer.n_items();
        writer.finish()?;
        Ok(written)
    }
}

pub(super) fn provenance(
    config: &Config,
    dataset: &str,
    record: &DatasetRecord,
    weights: Option<Weights>,
    contents: Contents,
) -> Result<Provenance> {
    Ok(Provenance {
        configuration: config.to_toml(),
        seed: config.train.seed,
        commit: Environment::capture(config.train.seed, 1).git_commit.unwrap_or_else(|| "unknown".into()),
        dataset_digest: dataset.to_owned(),
        trained_on: record.to_json()?,
        step: weights.as_ref().map(|w| w.step),
        checkpoint: weights.map_or(String::new(), |w| w.digest),
        pooling: contents.pooled(),
        module: contents.module.map(|m| m as u64),
    })
}

pub(super) fn same_dataset(run: &RunDir, here: &TrainedOn, any_dataset: bool) -> Result<()> {
    match run.trained_on()? {
        Some(on) if on.digest != here.digest && !any_dataset => {
            let what = format!("was trained on {on}, not on {here}");
            let remedy = "restore its files, labels and splits, name that dataset by GIM_DATA, or say --any-dataset";
            Err(Error::file(run.path(), what, remedy))
        }
        _ => Ok(()),
    }
}

/// Writes the features of a run's snapshots to `out`: means over time of the utterances that the latent-space figure
/// shows of `features`, before the first step and at each snapshot. Nothing for images.
///
/// # Errors
/// When the run, the features or the dataset cannot be read, or the file cannot be written.
pub(crate) fn snapshots(run: &RunDir, features: &Path, out: &Path, any_dataset: bool, show: Show) -> Result<()> {
    let config = run.config()?;
    if !config.domain.dataset().has_speakers() {
        return Ok(());
    }
    let (_quick, _unfinished) = (NothingToSave::new(), Scratch::new(&temporary_name(out)?)?);
    let end = feature_file::open(features)?;
    let sample = LatentSample::of(&end)?;
    let pool = Pool::new();
    let mut stacks = train::snapshots(run, &pool)?;
    let record = run.need_dataset()?;
    let mut extractor = config.domain.dataset().extractor(&record, 1)?;
    same_dataset(run, &TrainedOn::new(extractor.root(), extractor.digest()), any_dataset)?;
    let per_item = |label: &LabelSpec| label.per == Per::Item;
    let kept: Vec<bool> = extractor.labels().iter().map(per_item).collect();
    let labels: Vec<_> = extractor.labels().into_iter().filter(per_item).collect();
    let wanted: Vec<_> = extractor.items().iter().copied().filter(|i| sample.holds(&extractor.id(i.0))).collect();
    // Means over the input, as without any pooling.
    let contents = Contents { pooling: 1, ..config.probe.contents() };
    let made = provenance(&config, extractor.digest(), &record, run.weights()?, contents)?;
    let mut writer: Option<FeatureWriter> = None;
    let mut progress = Progress::new(wanted.len() as u64, "utterances at earlier steps", show);
    for (done, (number, split)) in wanted.into_iter().enumerate() {
        let (mut groups, mut specs, mut labeled) = (Vec::new(), Vec::new(), None);
        for (step, stack) in &mut stacks {
            let Some(item) = extractor.extract_whole(&[number], stack, &pool)?.pop().flatten() else { continue };
            for (i, frames) in item.groups.iter().enumerate() {
                let Some(mean) = frames.mean_axis(Axis(0)) else { continue };
                let mean = mean.insert_axis(Axis(0));
                specs.push(spec(GroupId::Snapshot { step: *step, module: i + 1 }, &mean));
                groups.push(mean);
            }
            labeled = Some((item.id, item.labels));
        }
        let Some((id, all)) = labeled else { continue };
        let writer = match &mut writer {
            Some(w) => w,
            none => {
                let layout = Layout { groups: specs, labels: labels.clone(), frames: None, deflate: None };
                none.insert(undisturbed(|| FeatureWriter::create(out, layout, &made))?)
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
        let steps = stacks.len();
        progress.finish(&format!("{written} utterances at {steps} earlier steps in {}", out.display()));
    }
    Ok(())
}
