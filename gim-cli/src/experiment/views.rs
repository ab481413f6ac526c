//! Features of random views of a whole dataset, which the paper's protocol needs.

use std::path::{Path, PathBuf};

use gim_core::files::temporary_name;
use gim_core::{Error, Key, Pool, Purpose, Result};
use gim_eval::{Item, LabelSpec, Layout, PaperProbe, Per, Split, Task, ViewFile, ViewWriter};
use ndarray::ArrayView2;

use crate::experiment::domain::Extracted;
use crate::experiment::environment::TrainedOn;
use crate::experiment::extract::{must_be_made, provenance, same_dataset};
use crate::experiment::groups::{Groups, specs};
use crate::experiment::interrupt::{self, Scratch, undisturbed};
use crate::experiment::probe_config::Contents;
use crate::experiment::progress::{Mode as Show, Progress};
use crate::experiment::run_dir::RunDir;
use crate::experiment::train;

/// Random crops of each test utterance. The published code draws one; the mean over several depends
/// less on the draw.
pub(crate) const TEST_VIEWS: usize = 10;

/// Numbers of views of each item, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewLimits {
    /// The most random views of a training item; `None` for a fresh one in every epoch, as published.
    pub train: Option<usize>,
    /// Random crops of a test utterance. Test images have one view, their center.
    pub test: usize,
}

impl Default for ViewLimits {
    fn default() -> Self {
        Self { train: None, test: TEST_VIEWS }
    }
}

/// Numbers of views of each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewCounts {
    /// Random views of a training item.
    pub train: usize,
    /// Views of a test item.
    pub test: usize,
}

impl ViewCounts {
    /// Those of a file.
    pub(crate) fn of(file: &ViewFile) -> Self {
        Self { train: file.views(), test: file.test_views() }
    }
}

impl ViewLimits {
    /// Refuses numbers of zero, by the names of their settings.
    ///
    /// # Errors
    /// When one is 0.
    pub(crate) fn check(self, train: &'static str, test: &'static str) -> Result<()> {
        for (name, views) in [(train, self.train), (test, Some(self.test))] {
            if views == Some(0) {
                return Err(Error::config(name, "is 0", "give a positive number"));
            }
        }
        Ok(())
    }

    /// The views that the paper's protocol needs for a task; `None` where it sees whole items.
    pub(crate) fn of(self, task: Task) -> Option<ViewCounts> {
        let epochs = PaperProbe::of(task).view_epochs()?;
        let train = self.train.unwrap_or(epochs).min(epochs);
        Some(ViewCounts { train, test: if task == Task::Classes { 1 } else { self.test } })
    }
}

/// The file of a run's views, made anew when it has others, when the run has been trained since, or
/// when it lacks the baselines that are wanted.
///
/// # Errors
/// When the run or the dataset cannot be read, or the file cannot be written.
pub(crate) fn views_of(
    run: &RunDir,
    counts: ViewCounts,
    contents: Contents,
    any_dataset: bool,
    show: Show,
) -> Result<PathBuf> {
    let path = run.views_file();
    if must_be_made(run, &path, contents, any_dataset, show)? || !holds(&path, counts)? {
        extract(run, &path, counts, contents, any_dataset, show)?;
    }
    Ok(path)
}

/// Whether a file holds these views.
fn holds(path: &Path, counts: ViewCounts) -> Result<bool> {
    Ok(ViewCounts::of(&ViewFile::open(path)?) == counts)
}

/// Writes the views of a run: groups as in its feature file.
fn extract(
    run: &RunDir,
    out: &Path,
    counts: ViewCounts,
    contents: Contents,
    any_dataset: bool,
    show: Show,
) -> Result<()> {
    let _unfinished = Scratch::new(&temporary_name(out)?)?;
    let pool = Pool::new();
    let (config, mut trained, step) = train::open(run, &pool)?;
    let record = run.need_dataset()?;
    let mut random = contents.stacks(&mut trained, || config.build(Some(&record), &pool))?;
    let mut extractor = config.domain.dataset().extractor(&record, contents.pooling)?;
    same_dataset(run, &TrainedOn::new(extractor.root(), extractor.digest()), any_dataset)?;
    let of = |split| extractor.items().iter().filter(move |i| i.1 == split).map(|i| i.0).collect::<Vec<usize>>();
    let parts = [(Split::Train, of(Split::Train), counts.train), (Split::Test, of(Split::Test), counts.test)];
    let labels: Vec<LabelSpec> = extractor.labels().into_iter().filter(|l| l.per == Per::Item).collect();
    let made_of = provenance(&config, extractor.digest(), &record, run.weights()?, contents)?;
    let groups = Groups::of(contents, &*extractor);
    let mut writer: Option<ViewWriter> = None;
    let total: usize = parts.iter().map(|(_, items, views)| items.len() * views).sum();
    let (mut progress, mut done) = (Progress::new(total as u64, "views", show), 0);
    let batch = extractor.views_batch();
    for (split, items, views) in &parts {
        for view in 0..*views {
            let key = Key::new(config.train.seed, Purpose::View).with_epoch(view as u32);
            for some in items.chunks(batch) {
                if interrupt::requested() {
                    let remedy = "views are made again; the same command resumes".into();
                    return Err(Error::Interrupted { step, remedy });
                }
                let extracted = extractor.views(some, *split, key, &mut trained, random.as_mut(), &pool)?;
                for mut item in extracted.into_iter().flatten() {
                    let ids = groups.complete(&mut item);
                    let writer = match &mut writer {
                        Some(w) => w,
                        none => {
                            let groups = specs(&ids, &item);
                            let layout = Layout { groups, labels: labels.clone(), frames: None, deflate: None };
                            none.insert(undisturbed(|| ViewWriter::create(out, layout, &made_of))?)
                        }
                    };
                    append(writer, view, *split, &item)?;
                }
                done += some.len() as u64;
                progress.tick(done, String::new);
            }
        }
    }
    let Some(writer) = writer else {
        return Err(Error::file(extractor.root(), "has nothing that is long enough", "use another dataset"));
    };
    writer.finish()?;
    let (train, test) = (counts.train, counts.test);
    progress.finish(&format!("{train} views of each training item, {test} of each test item in {}", out.display()));
    Ok(())
}

fn append(writer: &mut ViewWriter, view: usize, split: Split, item: &Extracted) -> Result<()> {
    let features: Vec<ArrayView2<'_, f32>> = item.groups.iter().map(|g| g.view()).collect();
    let labels: Vec<&[i32]> = item.labels.iter().map(Vec::as_slice).collect();
    writer.append(view, Item { id: &item.id, split, features: &features, labels: &labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_never_exceed_the_epochs() {
        let of = |train, task| ViewLimits { train, test: 4 }.of(task).map(|c| (c.train, c.test));
        assert_eq!(of(None, Task::Speakers), Some((50, 4)));
        assert_eq!(of(None, Task::Classes), Some((300, 1)));
        assert_eq!(of(Some(8), Task::Classes), Some((8, 1)));
        assert_eq!(of(Some(80), Task::Speakers), Some((50, 4)));
        assert_eq!(of(None, Task::Phones), None);
    }
}
