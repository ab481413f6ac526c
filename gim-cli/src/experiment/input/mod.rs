//! Features of files that belong to no dataset: without labels and splits, standardized as the run's
//! own.

mod arrays;
mod files;

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use gim_core::data::{all_bad, left_out};
use gim_core::files::{is_same_file, temporary_name};
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};
use gim_eval::{FrameTimes, Layout};

use crate::experiment::domain::{DomainKind, Extracted, Extractor};
use crate::experiment::extract::{Writing, each_item, provenance};
use crate::experiment::groups::Groups;
use crate::experiment::interrupt::{NothingToSave, Scratch};
use crate::experiment::probe_config::{Baselines, ContentArgs, Contents};
use crate::experiment::progress::{Mode as Show, Progress};
use crate::experiment::run_dir::RunDir;
use crate::experiment::train;
use crate::output::note;

pub(crate) use arrays::{FeatureFormat, write_as};
pub(crate) use files::{Input, LooseFiles};

/// What a row of the features is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Audio: 10 ms.
    Frame,
    /// Audio: a file, the mean over its frames.
    Utterance,
    /// Images: a patch, row after row of the grid.
    Patch,
    /// Images: a file, the mean over its patches.
    Image,
}

impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "frame",
            Self::Utterance => "utterance",
            Self::Patch => "patch",
            Self::Image => "image",
        })
    }
}

impl Level {
    /// The level that was asked for, or what feature files of a dataset have.
    ///
    /// # Errors
    /// When it is one of the other domain.
    fn of(asked: Option<Self>, domain: DomainKind) -> Result<Self> {
        match (domain, asked) {
            (DomainKind::Audio, None) => Ok(Self::Frame),
            (DomainKind::Vision, None) => Ok(Self::Image),
            (DomainKind::Audio, Some(level @ (Self::Frame | Self::Utterance)))
            | (DomainKind::Vision, Some(level @ (Self::Patch | Self::Image))) => Ok(level),
            (DomainKind::Audio, Some(level)) => Err(level.refused("audio", Self::Frame, Self::Utterance)),
            (DomainKind::Vision, Some(level)) => Err(level.refused("images", Self::Patch, Self::Image)),
        }
    }

    fn refused(self, of: &str, fine: Self, coarse: Self) -> Error {
        let what = format!("the run is of {of}, which have no level {self}");
        Error::config("--level", what, format_args!("use {fine} or {coarse}"))
    }
}

/// What to extract.
#[derive(Debug)]
pub(crate) struct Request {
    /// Files and folders, or standard input.
    pub(crate) input: Input,
    pub(crate) level: Option<Level>,
    /// What the features of images are, and of all modules.
    pub(crate) contents: ContentArgs,
    /// Leave bad files out.
    pub(crate) skip_bad: bool,
    /// The file that the user named, which is none of the input.
    pub(crate) out: PathBuf,
}

/// Writes the features of files to an HDF5 file: groups `module_k`. Nothing in the run changes.
///
/// # Errors
/// When the run cannot be read, or files are bad: all are named, and nothing is written. When the file
/// cannot be written.
pub(crate) fn extract_files(run: &RunDir, request: &Request, out: &Path, show: Show) -> Result<()> {
    let (_quick, _unfinished) = (NothingToSave::new(), Scratch::new(&temporary_name(out)?)?);
    let pool = Pool::new();
    let (config, mut trained, _) = train::open(run, &pool)?;
    let level = Level::of(request.level, config.domain.kind())?;
    let record = run.need_dataset()?;
    let dataset = config.domain.dataset();
    let files = request.input.list(|path| dataset.reads(path), request.skip_bad)?;
    if let Some((_, file)) = files.files.iter().find(|(_, file)| is_same_file(file, &request.out)) {
        return Err(Error::file(
            &request.out,
            format_args!("is the input {}", file.display()),
            "name another file for --out",
        ));
    }
    let mut notes = files.notes.clone();
    let good = LooseFiles { skip_bad: true, ..files.clone() };
    let contents = request.contents.over(&config.probe);
    let pooling = if level == Level::Image { contents.pooling } else { 1 };
    let contents = Contents { baselines: Baselines::None, pooling, ..contents };
    contents.stacks(&mut trained, || config.build(Some(&record), &pool))?;
    let mut extractor = dataset.extractor_of(&record, files, level, pooling).map_err(|e| {
        // Those that can be read may be too short: one error names them, too.
        let short =
            dataset.extractor_of(&record, good, level, pooling).map_or(Vec::new(), |rest| too_short(&*rest, &trained));
        request.input.name(and_short(e, &short))
    })?;
    if !request.skip_bad {
        all_bad(extractor.root(), too_short(&*extractor, &trained)).map_err(|e| request.input.name(e))?;
    }
    notes.extend_from_slice(extractor.notes());
    say(notes.iter().map(|n| format!("note: {n}")), show);
    say([format!("read: {}", extractor.amount())], show);

    let made = provenance(&config, extractor.digest(), &record, run.weights()?, contents)?;
    let groups = Groups::of(contents, &*extractor);
    let frames = record.frames().filter(|_| level == Level::Frame);
    let mut writing = Writing::new(out, Layout { frames, ..Layout::default() }, groups, made);
    let mut progress = Progress::new(extractor.items().len() as u64, extractor.noun(), show);
    let mut first = true;
    let mut take = |item: Extracted, split| {
        if std::mem::take(&mut first) {
            say([understood(&item, contents.module, level, frames)], show);
        }
        writing.append(item, split)
    };
    let short = each_item(&mut *extractor, &mut trained, None, &pool, &mut progress, &mut take)?;
    let written = writing.finish(&*extractor)?;
    progress.finish(&format!("features of {written} {}", extractor.noun()));
    if !short.is_empty() {
        say([format!("note: {}", left_out(&short, "file", "too short"))], show);
    }
    Ok(())
}

/// Modules, dimensions and rows, for the user to read.
fn understood(item: &Extracted, module: Option<usize>, level: Level, frames: Option<FrameTimes>) -> String {
    let dims: Vec<String> = item.groups.iter().map(|g| g.ncols().to_string()).collect();
    let hop = frames.map_or(String::new(), |times| format!(" ({} ms)", times.hop * 1000.0));
    let of = match module {
        Some(module) => format!("module {module} of {}", dims[module - 1]),
        None => format!("{} modules of {}", dims.len(), dims.join(", ")),
    };
    format!("features: {of} dimensions, a row per {level}{hop}")
}

/// An error of bad files that names those that are too short besides.
fn and_short(e: Error, short: &[Error]) -> Error {
    match e {
        Error::File { path, what, remedy, source } if !short.is_empty() => {
            let names: Vec<String> = short.iter().map(file_of).collect();
            Error::File { path, what: format!("{what}; too short for features: {}", names.join(", ")), remedy, source }
        }
        e => e,
    }
}

/// The file that an error is of.
fn file_of(e: &Error) -> String {
    match e {
        Error::File { path, .. } => path.display().to_string(),
        other => other.to_string(),
    }
}

/// An error for each file that has no features.
fn too_short(extractor: &dyn Extractor, stack: &Stack<f32>) -> Vec<Error> {
    let short = extractor.items().iter().filter(|(item, _)| extractor.is_too_short(*item, stack));
    let file = |item: usize| match extractor.root() {
        folder if folder.is_dir() => folder.join(extractor.id(item)),
        _ => PathBuf::from(extractor.id(item)),
    };
    let error = |item: usize| Error::file(file(item), "is too short for features", "remove it");
    short.map(|(item, _)| error(*item)).collect()
}

fn say(lines: impl IntoIterator<Item = String>, show: Show) {
    if show != Show::Quiet {
        lines.into_iter().for_each(note);
    }
}
