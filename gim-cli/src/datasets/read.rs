//! Whether `gim` reads a folder, and lists that the user adds to a corpus.

use std::fs;
use std::path::{Path, PathBuf};

use gim_audio::dataset::corpus::{Corpus, CorpusOptions, PHONE_LABELS, PHONES, TEST_SPLIT, TRAIN_SPLIT};
use gim_core::files::write_atomic;
use gim_core::{Error, Result};
use gim_vision::dataset::{self, DatasetOptions};

use crate::experiment::domain::DomainKind;

/// Lists of a corpus that the user names, to be copied into it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Lists {
    /// Speech: list of the training utterances, one a line.
    #[arg(long, value_name = "FILE")]
    train_split: Option<PathBuf>,
    /// Speech: list of the test utterances.
    #[arg(long, value_name = "FILE")]
    test_split: Option<PathBuf>,
    /// Speech: phone labels, `utterance id id …` a line, 100 ids a second.
    #[arg(long, value_name = "FILE")]
    phone_labels: Option<PathBuf>,
    /// Speech: names of the phones, `id NAME` a line.
    #[arg(long, value_name = "FILE")]
    phones: Option<PathBuf>,
}

impl Lists {
    fn all(&self) -> [(&'static str, Option<&PathBuf>); 4] {
        [
            (TRAIN_SPLIT, self.train_split.as_ref()),
            (TEST_SPLIT, self.test_split.as_ref()),
            (PHONE_LABELS, self.phone_labels.as_ref()),
            (PHONES, self.phones.as_ref()),
        ]
    }

    /// Whether none is given.
    pub(super) fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, file)| file.is_none())
    }

    /// Refuses lists of a dataset that has no place for them.
    ///
    /// # Errors
    /// Then.
    pub(super) fn check(&self, domain: DomainKind) -> Result<()> {
        if self.is_empty() || domain == DomainKind::Audio {
            return Ok(());
        }
        let what = "only a corpus of speech takes lists of utterances and phones";
        Err(Error::config("--train-split and the like", what, "leave them out"))
    }

    /// Copies the lists into a corpus, which they fit. Returns their names there.
    ///
    /// # Errors
    /// When they cannot be read or do not fit the corpus, which then stays as it was.
    pub(super) fn add_to(&self, corpus: &Path) -> Result<Vec<&'static str>> {
        let options = CorpusOptions {
            train_split: self.train_split.clone(),
            test_split: self.test_split.clone(),
            phone_labels: self.phone_labels.clone(),
            phones: self.phones.clone(),
            ..CorpusOptions::default()
        };
        Corpus::open(corpus, &options)?;
        let mut added = Vec::new();
        for (name, file) in self.all() {
            if let Some(file) = file {
                let bytes = fs::read(file).map_err(|e| Error::io(file, "read", e))?;
                write_atomic(&corpus.join(name), &bytes)?;
                added.push(name);
            }
        }
        Ok(added)
    }
}

/// What `gim` reads in a folder, a line each.
///
/// # Errors
/// When it cannot read it.
pub(super) fn understood(domain: DomainKind, folder: &Path) -> Result<Vec<String>> {
    let (mut lines, notes) = match domain {
        DomainKind::Audio => {
            let corpus = Corpus::open(folder, &CorpusOptions::default())?;
            (corpus.summary(), corpus.notes().to_vec())
        }
        DomainKind::Vision => {
            let images = dataset::open(folder, &DatasetOptions::default())?;
            (vec![images.summary()], images.notes().to_vec())
        }
    };
    lines.extend(notes.into_iter().map(|note| format!("note: {note}")));
    Ok(lines)
}
