use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gim_core::Result;

use crate::experiment::extract::{extract, snapshots};
use crate::experiment::input::{FeatureFormat, Input, Level, Request, extract_files, write_as};
use crate::experiment::probe_config::ContentArgs;
use crate::experiment::progress::Mode;
use crate::experiment::run_dir::RunDir;
use crate::output::note;

/// Write features to a file: of the run's dataset, or of files that you name.
///
/// Without --input, the file holds the features of every module, of the random encoder and of the input itself.
/// Without --out it is RUN/features.h5; if the run has snapshots, RUN/snapshots.h5 then gets features
/// of a few utterances at earlier training steps, for the figure of the latent space. With --out,
/// nothing in the run changes.
///
/// With --input, the file holds the features of every module for audio files (FLAC, WAV, MP3, OGG) or
/// images (JPEG, PNG, WebP), without labels. They are standardized as the run's dataset was. All files are checked
/// before anything is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: gim extract runs/a --out features.h5\n          \
                        gim extract runs/a --input recordings more.wav --out new.h5\n          \
                        sox in.mp3 -t wav - | gim extract runs/a --input - --level utterance --out one.npz")]
pub struct Args {
    /// Folder of a run.
    run: PathBuf,
    /// File to write [default: RUN/features.h5].
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Files, and folders that are searched for them; - is one file from standard input, up to 1 GiB.
    #[arg(short, long, value_name = "PATH", num_args = 1.., requires = "out")]
    input: Vec<PathBuf>,
    /// What a row is of [default: frame of audio, image of images].
    #[arg(long, requires = "input")]
    level: Option<Level>,
    /// Leave out files that cannot be read or are too short or small, and list them.
    #[arg(long, requires = "input")]
    skip_bad: bool,
    /// Kind of file [default: by the name of FILE, else h5].
    #[arg(long, requires = "out")]
    format: Option<FeatureFormat>,
    #[command(flatten)]
    contents: ContentArgs,
    /// Use the present dataset even if the run was trained on another.
    #[arg(long, conflicts_with = "input")]
    any_dataset: bool,
}

impl Args {
    pub(super) fn run(self, show: Mode) -> Result<ExitCode> {
        let run = RunDir::new(self.run);
        // A folder that is not there has no configuration, which says more than a lock could.
        let config = run.config()?;
        self.contents.check(config.domain.kind())?;
        let contents = self.contents.over(&config.probe);
        let format = match (self.format, &self.out) {
            (Some(format), _) => format,
            (None, Some(out)) => FeatureFormat::of(out)?,
            (None, None) => FeatureFormat::H5,
        };
        if let (Some(out), false) = (&self.out, self.input.is_empty()) {
            run.refuse_own(out)?;
            let input = Input::open(self.input)?;
            let request = Request {
                input,
                level: self.level,
                contents: self.contents,
                skip_bad: self.skip_bad,
                out: out.clone(),
            };
            write_as(format, out, |h5| extract_files(&run, &request, h5, show))?;
            written(out, show);
            return Ok(ExitCode::SUCCESS);
        }
        let own = run.features_file();
        // By whichever name the run's own file is given.
        let is_own = |out: &PathBuf| same_folder(out, &own) && out.file_name() == own.file_name();
        let Some(out) = self.out.filter(|out| format != FeatureFormat::H5 || !is_own(out)) else {
            let _lock = run.lock()?;
            extract(&run, &own, contents, self.any_dataset, show)?;
            written(&own, show);
            snapshots(&run, &own, &run.snapshots_file(), self.any_dataset, show)?;
            return Ok(ExitCode::SUCCESS);
        };
        run.refuse_own(&out)?;
        write_as(format, &out, |h5| extract(&run, h5, contents, self.any_dataset, show))?;
        written(&out, show);
        Ok(ExitCode::SUCCESS)
    }
}

/// Says where the features are.
fn written(out: &Path, show: Mode) {
    if show != Mode::Quiet {
        note(format_args!("written to {}", out.display()));
    }
}

/// Whether two files are in one folder, whatever its name.
fn same_folder(a: &Path, b: &Path) -> bool {
    let folder = |file: &Path| std::path::absolute(file).ok()?.parent()?.canonicalize().ok();
    folder(a).is_some_and(|a| folder(b) == Some(a))
}
