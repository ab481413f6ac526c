//! Settings of a speech corpus.

use documented::DocumentedFields;
use gim_audio::dataset::augment::Augment;
use gim_audio::dataset::corpus::MissingPolicy;
use gim_audio::dataset::loader::ShortPolicy;
use serde::{Deserialize, Serialize};

use crate::experiment::held_out::HeldOut;

/// The corpus, and how it is cut into crops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct AudioData {
    /// Folder of the corpus. Empty: `GIM_DATA`.
    /// `embedded`: the synthetic corpus within the program; `embedded:speechocean-mini`: the recorded one.
    pub path: String,
    /// Table that lists the files: `path`, `split`, `speaker`, and labels of any kind by column. Paths begin at
    /// `data.path`, else at the table. Empty: all files in the folder.
    pub manifest: String,
    /// Table of labels of utterances, a kind a column. Empty: `labels.csv` in the folder, if it is
    /// there.
    pub labels: String,
    /// List of training utterances, one a line. Empty: `train_split.txt` in the folder, if it is there.
    pub train_split: String,
    /// List of test utterances, one a line. Empty: `test_split.txt` in the folder, if it is there.
    pub test_split: String,
    /// Phones of utterances: a list of labels, a CTM file, or a folder of TextGrid files. Empty:
    /// `phone_labels.txt` or `converted_aligned_phones.txt` in the folder, if one is there.
    pub phone_labels: String,
    /// Names of the phones in a list of labels. Empty: `phones.txt` in the folder, if it is there.
    pub phones: String,
    /// Views of each utterance in a training batch: 1, or 2 for a loss that compares views. `train.batch`
    /// counts utterances.
    pub views: usize,
    /// Length of a crop, in samples.
    pub crop: usize,
    /// Supervised training learns from whole utterances, one a step, in the order of the split file.
    pub whole: bool,
    /// Utterances shorter than a crop: `skip` or `pad`.
    pub short: ShortPolicy,
    /// Split files that name absent utterances: `error` or `ignore`.
    pub missing: MissingPolicy,
    /// Leave out audio files that cannot be read, and list them.
    pub skip_bad: bool,
    /// Training utterances held out to validate on: a share such as 0.2, or a file that lists them;
    /// 0 for none.
    pub validate: HeldOut,
    /// Decoded audio kept in memory, in MB.
    pub cache_mb: usize,
    /// What is done to training crops; features see none of it.
    pub augment: Augment,
}

impl Default for AudioData {
    fn default() -> Self {
        Self {
            path: String::new(),
            manifest: String::new(),
            labels: String::new(),
            train_split: String::new(),
            test_split: String::new(),
            phone_labels: String::new(),
            phones: String::new(),
            views: 1,
            crop: 20_480,
            whole: false,
            short: ShortPolicy::Skip,
            missing: MissingPolicy::Error,
            skip_bad: false,
            validate: HeldOut::default(),
            cache_mb: 512,
            augment: Augment::default(),
        }
    }
}
