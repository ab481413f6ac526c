//! How large a configuration's dataset is: the one at hand, or the paper's.

use gim_core::Result;
use gim_eval::Task;

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::DomainKind;

/// What a plan needs to know of a dataset.
#[derive(Debug, Clone)]
pub(crate) struct DatasetSize {
    /// Its name, for people.
    pub name: String,
    /// Training steps of an epoch.
    pub epoch_steps: u64,
    /// Rows of a module's features: frames of 10 ms, or one for each labeled image.
    pub rows: usize,
    /// What stands for the record of a dataset that is not at hand.
    pub record: Option<DatasetRecord>,
}

impl DatasetSize {
    /// The size of the dataset of `config`; the paper's when no folder is given. The one at hand is
    /// read once.
    ///
    /// # Errors
    /// When the dataset at hand cannot be used.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let spec = config.domain.dataset();
        if spec.folder().is_err() {
            return Self::published(config);
        }
        let source = spec.batch_source(&config.train, 0, None)?;
        let record = source.record();
        let rows = spec.extractor(record, config.probe.pooling)?.rows();
        Ok(Self { name: record.trained_on.name.clone(), epoch_steps: source.epoch_len(), rows, record: None })
    }

    fn published(config: &Config) -> Result<Self> {
        let Published { name, train_items, labeled_items, rows, classes } = Published::of(config.domain.kind());
        let supervised = config.domain.model().loss_kind()?.needs_labels();
        let items = if supervised { labeled_items } else { train_items };
        let epoch_steps = (items / config.train.batch.max(1)) as u64;
        let record = DatasetRecord::of_absent(name, epoch_steps, classes);
        let name = format!("{name} (not at hand: its published size)");
        Ok(Self { name, epoch_steps, rows, record: Some(record) })
    }
}

/// Sizes of the paper's datasets.
struct Published {
    name: &'static str,
    /// Items that self-supervised training takes, and those with labels.
    train_items: usize,
    labeled_items: usize,
    /// Rows of features.
    rows: usize,
    classes: &'static [(Task, usize)],
}

impl Published {
    fn of(domain: DomainKind) -> Self {
        match domain {
            // 28,539 utterances of 251 speakers, 100.6 hours; the published split trains on 22,830.
            DomainKind::Audio => Self {
                name: "LibriSpeech train-clean-100",
                train_items: 22_830,
                labeled_items: 22_830,
                rows: 36_200_000,
                classes: &[(Task::Phones, 41), (Task::Speakers, 251)],
            },
            // 100,000 images without labels, 5,000 to train and 8,000 to test a probe on.
            DomainKind::Vision => Self {
                name: "STL-10",
                train_items: 100_000,
                labeled_items: 5_000,
                rows: 13_000,
                classes: &[(Task::Classes, 10)],
            },
        }
    }
}
