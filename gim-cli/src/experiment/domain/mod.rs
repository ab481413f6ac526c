//! What differs between sound and pictures, behind one interface: corpus, network, training batches, features.

mod audio;
mod vision;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::data::loader::LoaderStats;
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};
use gim_eval::{GroupId, LabelSpec, Split, Task};
use ndarray::Array2;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use audio::{AudioConfig, AudioData};
pub use vision::{View, VisionConfig, VisionData};

use crate::experiment::train_config::TrainConfig;

/// Training batches.
pub trait BatchSource {
    /// What the user should know about the data.
    fn notes(&self) -> Vec<String>;

    /// Folder and digest of the corpus.
    fn corpus(&self) -> (&Path, &str);

    /// Steps of an epoch.
    fn epoch_len(&self) -> u64;

    /// The input of the next step, stored as `layout`, and its labels (−1 unknown), if there are any.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn next(&mut self, layout: Layout, pool: &Pool<f32>) -> Result<(Activations<f32>, Arc<[i32]>)>;

    /// Waits and memory so far.
    fn stats(&self) -> LoaderStats;
}

/// Features and labels of an item.
pub struct Extracted {
    /// Its name.
    pub id: String,
    /// A matrix (rows, dims) for each group: the modules; with baselines the random encoder's modules and the input itself.
    pub groups: Vec<Array2<f32>>,
    /// Labels in the order of [`Extractor::labels`].
    pub labels: Vec<Vec<i32>>,
}

/// Features of a whole corpus.
pub trait Extractor {
    /// Items to extract, in order.
    fn items(&self) -> &[(usize, Split)];

    /// Name of an item.
    fn id(&self, item: usize) -> String;

    /// Items handled at a time.
    fn batch(&self) -> usize {
        1
    }

    /// Kinds of labels.
    fn labels(&self) -> Vec<LabelSpec>;

    /// Digest of the corpus.
    fn digest(&self) -> &str;

    /// Folder of the corpus.
    fn root(&self) -> &Path;

    /// What an item is called in messages.
    fn noun(&self) -> &'static str;

    /// Features of some items by a stack and, as baselines, by the random one and the input itself; `None` for an item that
    /// is too short.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn extract(
        &mut self,
        items: &[usize],
        trained: &mut Stack<f32>,
        random: Option<&mut Stack<f32>>,
        pool: &Pool<f32>,
    ) -> Result<Vec<Option<Extracted>>>;
}

/// What a domain's configuration can do.
pub trait Experiment {
    /// Name in configuration and tables.
    fn name(&self) -> DomainName;

    /// Tasks of the probes.
    fn tasks(&self) -> &'static [Task];

    /// Group of feature files that holds the input itself.
    fn baseline(&self) -> GroupId;

    /// Shape of a batch as the stack takes it.
    ///
    /// # Errors
    /// When pictures are too small for their patches.
    fn input(&self, batch: usize) -> Result<Shape>;

    /// The stack at its initial weights.
    ///
    /// # Errors
    /// When a setting cannot be used.
    fn build(&self, optimizer: &OptimizerConfig, seed: u64, pool: &Pool<f32>) -> Result<Stack<f32>>;

    /// Opens the corpus and starts making batches from step `first` on.
    ///
    /// # Errors
    /// When the corpus cannot be used.
    fn batch_source(&self, train: &TrainConfig, first: u64) -> Result<Box<dyn BatchSource>>;

    /// Opens the corpus for features.
    ///
    /// # Errors
    /// When the corpus cannot be used.
    fn extractor(&self) -> Result<Box<dyn Extractor>>;

    /// Folder of the corpus.
    ///
    /// # Errors
    /// When there is none.
    fn folder(&self) -> Result<PathBuf>;

    /// Labels of a batch for measurements without a corpus: class 0 everywhere; none without supervision.
    fn synthetic_labels(&self, batch: usize) -> Arc<[i32]>;

    /// Negatives of the loss; none of a loss that has labels.
    fn negatives(&self) -> Option<usize>;

    /// The input in words, for the schematic.
    fn input_name(&self) -> String;

    /// The network's size in words.
    fn size_name(&self) -> String;

    /// The method: how the network is cut.
    fn method(&self) -> String;

    /// Sections of the configuration, as TOML.
    fn sections(&self) -> [(&'static str, String); 3];
}

/// The domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DomainName {
    /// Speech.
    Audio,
    /// Images.
    Vision,
}

impl DomainName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Audio, Self::Vision];

    /// Name in configuration and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Vision => "vision",
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DomainName {
    type Err = Error;

    /// # Errors
    /// Lists the names when `name` is none of them.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|d| d.name() == name)
            .ok_or_else(|| Error::config("domain", format_args!("there is no `{name}`"), "use audio or vision"))
    }
}

/// A domain's part of a configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sections<D, N, L> {
    /// The corpus, and how it is looked at.
    pub data: D,
    /// The network.
    pub network: N,
    /// The loss of every module.
    pub loss: L,
}

impl<D, N, L> Sections<D, N, L>
where
    D: Serialize + DeserializeOwned + Default,
    N: Serialize + DeserializeOwned + Default,
    L: Serialize + DeserializeOwned + Default,
{
    /// The sections, taken out of a configuration's table.
    ///
    /// # Errors
    /// When a value is wrong.
    pub(crate) fn take(table: &mut toml::Table) -> Result<Self> {
        Ok(Self { data: section(table, "data")?, network: section(table, "network")?, loss: section(table, "loss")? })
    }

    /// Name and TOML of each.
    fn to_toml(&self) -> [(&'static str, String); 3] {
        [("data", text(&self.data)), ("network", text(&self.network)), ("loss", text(&self.loss))]
    }
}

/// A section, taken out of the table; its defaults when it is not there.
pub(crate) fn section<T: DeserializeOwned + Default>(table: &mut toml::Table, name: &str) -> Result<T> {
    let Some(value) = table.remove(name) else { return Ok(T::default()) };
    value
        .try_into()
        .map_err(|e: toml::de::Error| Error::config(name, e.to_string().replace('\n', " "), "mend the value"))
}

/// Name of a method in figures.
fn method(end_to_end: bool, labels: bool) -> String {
    match (end_to_end, labels) {
        (false, false) => "Greedy InfoMax",
        (true, false) => "CPC",
        (false, true) => "Greedy supervised",
        (true, true) => "Supervised",
    }
    .into()
}

/// Any part of a configuration as TOML.
pub(crate) fn text(part: &impl Serialize) -> String {
    toml::to_string(part).unwrap_or_else(|e| unreachable!("a configuration is always TOML: {e}"))
}

/// Sound or pictures.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// Sound.
    Audio(AudioConfig),
    /// Pictures.
    Vision(VisionConfig),
}

impl Default for Domain {
    fn default() -> Self {
        Self::Audio(AudioConfig::default())
    }
}

impl Domain {
    /// The default configuration of a domain.
    pub fn default_of(name: DomainName) -> Self {
        match name {
            DomainName::Audio => Self::Audio(AudioConfig::default()),
            DomainName::Vision => Self::Vision(VisionConfig::default()),
        }
    }

    /// Whether items are utterances of known speakers.
    pub fn has_speakers(&self) -> bool {
        self.experiment().tasks().contains(&Task::Speakers)
    }

    /// Whatever the domain is.
    pub fn experiment(&self) -> &dyn Experiment {
        match self {
            Self::Audio(a) => a,
            Self::Vision(v) => v,
        }
    }
}

/// What `data.path` says for the corpus in `data/`, whatever `GIM_DATA` is.
const EMBEDDED: &str = "embedded";

/// A folder given by a setting, else by `GIM_DATA` (its part `name`, when it has one), else embedded in `data/`.
pub(crate) fn folder(path: &str, name: &str, embedded: &str) -> Result<PathBuf> {
    if !path.is_empty() && path != EMBEDDED {
        return Ok(PathBuf::from(path));
    }
    if let Some(folder) = std::env::var_os("GIM_DATA").filter(|f| path != EMBEDDED && !f.is_empty()) {
        let folder = PathBuf::from(folder);
        let part = folder.join(name);
        return Ok(if part.is_dir() { part } else { folder });
    }
    let places =
        [Path::new("data").join(embedded), Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(embedded)];
    places.into_iter().find(|p| p.is_dir()).ok_or_else(|| {
        Error::config("data.path", "no corpus is given and the embedded one is not here", "set data.path or GIM_DATA")
    })
}
