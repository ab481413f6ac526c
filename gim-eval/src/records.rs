//! Rows of a run's CSV files. Further columns are ignored.

use std::fmt;
use std::str::FromStr;

use gim_core::data::LabelName;
use gim_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::numbers::{seconds, share};
use crate::probe::PaperProbe;

/// A row of `train.csv`: one module, one reported step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainRow {
    /// Training step.
    pub step: u64,
    /// Epoch the step belongs to.
    pub epoch: u32,
    /// One-based module number.
    pub module: usize,
    /// Loss in nats; may be NaN.
    pub loss: f64,
    /// Share of positives that score above all their negatives.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// Seconds since the run began.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// A row of `measures.csv`: what is known of features without fitting anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureRow {
    /// Kind of features.
    pub group: Group,
    /// One-based module number; 0 for the input itself.
    pub module: usize,
    /// Dimensions of the features.
    pub dims: usize,
    /// How many of them are used: the [participation ratio](crate::participation_ratio) over items.
    pub used_dims: f64,
    /// [ABX](crate::abx) error within speakers, a share.
    #[serde(serialize_with = "share")]
    pub abx_within: Option<f64>,
    /// ABX error across speakers.
    #[serde(serialize_with = "share")]
    pub abx_across: Option<f64>,
    /// The list of these items; none for the triphones of the test part.
    pub abx_list: Option<String>,
    /// Items of ABX.
    pub abx_items: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Training steps behind the features of a trained module.
    pub step: Option<u64>,
    /// Digest of the checkpoint behind the features of a trained module.
    pub checkpoint: Option<String>,
}

/// A row of `online.csv`: how good a probe of a module was while training went on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnlineRow {
    /// Training steps done.
    pub step: u64,
    /// One-based module number.
    pub module: usize,
    /// What was predicted.
    pub task: Task,
    /// Share of right predictions.
    pub accuracy: f64,
}

/// A row of `alignment.csv`: how far a weight was from the feedback weights that errors take in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlignmentRow {
    /// Training steps done.
    pub step: u64,
    /// One-based module number.
    pub module: usize,
    /// Name of the weight within its module.
    pub weight: String,
    /// The angle between the two, in degrees: 90 for independent weights, 0 for the same.
    pub degrees: f64,
}

/// A row of `schedule.csv`: where the time of a module on a thread of its group went. Times are in
/// seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleRow {
    /// One-based module number.
    pub module: usize,
    /// One-based number of its group.
    pub group: usize,
    /// Threads that compute for the group.
    pub threads: usize,
    /// Training steps measured.
    pub steps: u64,
    /// From the beginning to the end of the measurement.
    pub wall: f64,
    /// Waiting for batches from below.
    pub receive: f64,
    /// Forward passes.
    pub forward: f64,
    /// Handing outputs on, with waiting for room in the link.
    pub send: f64,
    /// Losses, backward passes and updates.
    pub train: f64,
    /// The rest: the thread worked for other modules of the group, or had no batch left.
    pub idle: f64,
    /// Mean staleness of the input: the updates that the module below had made since it computed a
    /// batch, when the batch was taken; 1 where modules take turns.
    pub staleness: f64,
    /// The largest staleness.
    pub most_stale: u64,
    /// Most bytes of activations that may wait in the link below the module; 0 within a group.
    pub link_bytes: u64,
}

/// A row of `record.csv`: what it took to train a module from a record. Times are in seconds, of the
/// process that ended the module's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordRow {
    /// One-based number of the module that trained from the record.
    pub module: usize,
    /// How values were stored.
    pub value_type: String,
    /// Batches of the record.
    pub batches: u64,
    /// Size of the record in MB.
    pub megabytes: f64,
    /// Of the batches, those that this process wrote.
    pub written: u64,
    /// Running the modules below on them, and writing.
    pub write_seconds: f64,
    /// Training steps of the module in this process.
    pub steps: u64,
    /// These steps, with logs and checkpoints.
    pub train_seconds: f64,
    /// Of that, waiting for the disk.
    pub wait_seconds: f64,
    /// MB of activations, gradients and scratch that training from the record held.
    pub buffers_mb: f64,
}

/// A row of `order.csv`: a batch that a module of asynchronous training has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// One-based module number.
    pub module: usize,
    /// Training step of the run, 0-based.
    pub step: u64,
    /// Updates that the module below had made since it computed the batch.
    pub staleness: u64,
}

/// A row of `timeline.csv`: one of the last training steps of a module. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineRow {
    /// One-based module number.
    pub module: usize,
    /// One-based number of its group.
    pub group: usize,
    /// Training step of the run, 0-based.
    pub step: u64,
    /// When the step began, since the first row's.
    pub begin: f64,
    /// Waiting for the batch from below.
    pub receive: f64,
    /// Forward pass.
    pub forward: f64,
    /// Handing the output on, with waiting for room in the link.
    pub send: f64,
    /// Loss, backward pass and update.
    pub train: f64,
}

/// Kind of features that a probe was fitted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Mel-frequency cepstral coefficients of the audio.
    Mfcc,
    /// The input itself.
    Raw,
    /// An encoder of the same shape with random weights.
    Random,
    /// The trained encoder.
    Trained,
    /// All modules of the random encoder, side by side.
    #[serde(rename = "all-random")]
    AllRandom,
    /// All modules of the trained encoder, side by side.
    All,
    /// A kind that this version does not know; figures skip it.
    #[serde(other)]
    Other,
}

impl Group {
    /// Whether the features depend on what was learned.
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Trained | Self::All)
    }

    /// Whether they are those of an encoder with random weights.
    pub fn is_random(self) -> bool {
        matches!(self, Self::Random | Self::AllRandom)
    }

    /// Whether they are those of all modules, side by side.
    pub fn is_of_all(self) -> bool {
        matches!(self, Self::All | Self::AllRandom)
    }
}

/// A group of a feature file. Displayed and parsed as its name in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupId {
    /// `module_3`: the trained module of this one-based number.
    Trained(usize),
    /// `random_3`: the same module at its initial weights.
    Random(usize),
    /// `all_modules`: all trained modules, side by side.
    AllTrained,
    /// `all_random`: the same at their initial weights.
    AllRandom,
    /// `baseline_mfcc`: mel-frequency cepstral coefficients.
    Mfcc,
    /// `baseline_pixels`: the image itself.
    Pixels,
    /// `snapshot_00000200_module_3`: a module after so many steps of training.
    Snapshot {
        /// Steps done.
        step: u64,
        /// One-based number.
        module: usize,
    },
}

impl GroupId {
    /// The kind of features, as tables name it.
    pub fn group(self) -> Group {
        match self {
            Self::Trained(_) => Group::Trained,
            Self::Random(_) => Group::Random,
            Self::AllTrained => Group::All,
            Self::AllRandom => Group::AllRandom,
            Self::Mfcc => Group::Mfcc,
            Self::Pixels => Group::Raw,
            Self::Snapshot { .. } => Group::Other,
        }
    }

    /// One-based module number; 0 for the input itself and for all modules.
    pub fn module(self) -> usize {
        match self {
            Self::Trained(module) | Self::Random(module) | Self::Snapshot { module, .. } => module,
            Self::Mfcc | Self::Pixels | Self::AllTrained | Self::AllRandom => 0,
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trained(module) => write!(f, "module_{module}"),
            Self::Random(module) => write!(f, "random_{module}"),
            Self::AllTrained => f.write_str("all_modules"),
            Self::AllRandom => f.write_str("all_random"),
            Self::Mfcc => f.write_str("baseline_mfcc"),
            Self::Pixels => f.write_str("baseline_pixels"),
            Self::Snapshot { step, module } => write!(f, "snapshot_{step:08}_module_{module}"),
        }
    }
}

impl FromStr for GroupId {
    type Err = Error;

    /// # Errors
    /// When the program writes no group of this name.
    fn from_str(name: &str) -> Result<Self> {
        let number = |prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse().ok());
        let snapshot = || {
            let (step, module) = name.strip_prefix("snapshot_")?.split_once("_module_")?;
            Some(Self::Snapshot { step: step.parse().ok()?, module: module.parse().ok()? })
        };
        match name {
            "all_modules" => Some(Self::AllTrained),
            "all_random" => Some(Self::AllRandom),
            "baseline_mfcc" => Some(Self::Mfcc),
            "baseline_pixels" => Some(Self::Pixels),
            _ => number("module_").map(Self::Trained).or_else(|| number("random_").map(Self::Random)).or_else(snapshot),
        }
        .ok_or_else(|| Error::config("group", format_args!("unknown group `{name}`"), "see the groups of the file"))
    }
}

/// What a probe predicts; in the order of tables: the built-in tasks by name, then columns by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Task {
    /// The class of an image.
    Classes,
    /// The phone of every 10 ms of speech.
    Phones,
    /// The speaker of an utterance.
    Speakers,
    /// A column of labels of items that the dataset brings along.
    Column(LabelName),
}

impl Task {
    /// Those that are built in.
    pub const ALL: [Self; 3] = [Self::Phones, Self::Speakers, Self::Classes];

    /// Name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Phones => "phones",
            Self::Speakers => "speakers",
            Self::Classes => "classes",
            Self::Column(name) => name.as_str(),
        }
    }

    /// Name of its labels in a feature file.
    pub fn label(self) -> &'static str {
        match self {
            Self::Phones => "phone",
            Self::Speakers => "speaker",
            Self::Classes => "class",
            Self::Column(name) => name.as_str(),
        }
    }

    /// The task of labels of a feature file; none where their name cannot be that of a column.
    pub fn of_label(label: &str) -> Option<Self> {
        let built_in = Self::ALL.into_iter().find(|task| task.label() == label);
        built_in.or_else(|| label.parse().ok().map(Self::Column))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Task {
    type Err = Error;

    /// # Errors
    /// When `name` is that of no built-in task, and cannot be that of a column.
    fn from_str(name: &str) -> Result<Self> {
        if let Some(task) = Self::ALL.into_iter().find(|task| task.name() == name) {
            return Ok(task);
        }
        name.parse().map(Self::Column).map_err(|_| {
            let names = Self::ALL.map(Self::name).join(", ");
            let remedy = format_args!("use one of {names}, or the name of a column of labels");
            Error::config("task", format_args!("unknown name `{name}`"), remedy)
        })
    }
}

impl TryFrom<String> for Task {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Task> for &'static str {
    fn from(task: Task) -> Self {
        task.name()
    }
}

/// How features are evaluated; in the order of tables, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A linear probe fitted to convergence.
    Converged,
    /// Nearest neighbors, without any fit.
    Knn,
    /// A probe as the published code fits it.
    Paper,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Converged, Self::Paper, Self::Knn];

    /// Name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Paper => "paper",
            Self::Knn => "knn",
        }
    }
}

/// What a probe of the paper's protocol puts on the features; in the order of tables, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// One linear map.
    #[default]
    Linear,
    /// Linear map, ReLU, dropout, linear map.
    Mlp,
}

impl Head {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Linear, Self::Mlp];

    /// Name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Mlp => "mlp",
        }
    }
}

/// Display and FromStr by the names of a closed set.
macro_rules! by_name {
    ($set:ty, $key:literal) => {
        impl fmt::Display for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $set {
            type Err = Error;

            /// # Errors
            /// Lists the names when `name` is none of them.
            fn from_str(name: &str) -> Result<Self> {
                Self::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| {
                    let names = Self::ALL.map(Self::name).join(", ");
                    Error::config($key, format_args!("unknown name `{name}`"), format_args!("use one of {names}"))
                })
            }
        }
    };
}

by_name!(Protocol, "protocol");
by_name!(Head, "head");

fn all_labels() -> f64 {
    1.0
}

/// A row of `probe.csv`: one probe of one module, or of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRow {
    /// Kind of features.
    pub group: Group,
    /// One-based module number; 0 for the input itself and for all modules.
    pub module: usize,
    /// Task of the probe.
    pub task: Task,
    /// Protocol of the evaluation.
    pub protocol: Protocol,
    /// What the probe puts on the features.
    #[serde(default)]
    pub head: Head,
    /// Random views of each training item that the epochs take turns with. None: whole utterances, or
    /// the centers of images.
    #[serde(default)]
    pub views: Option<usize>,
    /// Views of each test item; the accuracy is the mean over them. None as above.
    #[serde(default)]
    pub test_views: Option<usize>,
    /// Share of the training labels that were fitted on.
    #[serde(default = "all_labels")]
    pub labels: f64,
    /// Cells along a side that maps of images were averaged to. None: means over the image, and audio.
    #[serde(default)]
    pub pooling: Option<u64>,
    /// Dimensions of the features.
    pub dims: usize,
    /// Rows fitted on.
    pub train_rows: usize,
    /// Rows evaluated; those of one view where there are several.
    pub test_rows: usize,
    /// Share of right rows.
    #[serde(serialize_with = "share")]
    pub accuracy: f64,
    /// The same without silence (phones only).
    #[serde(serialize_with = "share")]
    pub accuracy_no_silence: Option<f64>,
    /// Mean recall over classes.
    #[serde(serialize_with = "share")]
    pub macro_accuracy: f64,
    /// Share of rows whose class is among the five best.
    #[serde(default, serialize_with = "share")]
    pub top5: Option<f64>,
    /// Accuracy of the most frequent training class.
    #[serde(serialize_with = "share")]
    pub majority: f64,
    /// Selected L2 penalty.
    pub l2: Option<f64>,
    /// Iterations of the final fit; 0 without one.
    pub iterations: usize,
    /// Whether it reached its tolerance.
    pub converged: bool,
    /// Seconds of the fit.
    #[serde(serialize_with = "seconds")]
    pub seconds: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Training steps behind the features of a trained module; unknown in tables of older versions.
    #[serde(default)]
    pub step: Option<u64>,
    /// Digest of the checkpoint behind the features of a trained module; unknown in tables of older
    /// versions.
    #[serde(default)]
    pub checkpoint: Option<String>,
}

impl ProbeRow {
    /// The primary accuracy: without silence for phones, else of all rows.
    pub fn primary_accuracy(&self) -> f64 {
        self.accuracy_no_silence.unwrap_or(self.accuracy)
    }

    /// Whether the row is of the published protocol itself, which the paper's own values may stand
    /// beside: a linear head on all labels, of images on means, and, where the published code draws
    /// views, a fresh one in every epoch.
    pub fn is_published(&self) -> bool {
        let fresh = |epochs| self.views.is_some_and(|v| v >= epochs);
        self.pooling.is_none()
            && self.protocol == Protocol::Paper
            && !matches!(self.task, Task::Column(_))
            && self.head == Head::Linear
            && self.labels == 1.0
            && PaperProbe::of(self.task).view_epochs().is_none_or(fresh)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::table::read_rows;

    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn tolerates_further_missing_and_empty_columns() {
        let numbers = "4,10,10,0.4,,0.3,0.1,,1,true,0.5,1";
        let (_folder, path) = written(&format!(
            "group,module,task,protocol,extra,dims,train_rows,test_rows,accuracy,accuracy_no_silence,macro_accuracy,\
             majority,l2,iterations,converged,seconds,seed\n\
             mfcc,0,phones,paper,x,{numbers}\nsupervised,1,phones,paper,y,{numbers}\n",
        ));
        let rows: Vec<ProbeRow> = read_rows(&path).unwrap();
        assert_eq!(rows.iter().map(|r| r.group).collect::<Vec<_>>(), [Group::Mfcc, Group::Other]);
        // Tables of older versions know neither heads, views, shares of labels nor the five best.
        assert_eq!((rows[0].head, rows[0].views, rows[0].test_views), (Head::Linear, None, None));
        assert_eq!((rows[0].labels, rows[0].top5, rows[0].l2, rows[0].macro_accuracy), (1.0, None, None, 0.3));
        assert_eq!((rows[0].step, &rows[0].checkpoint), (None, &None));
    }

    #[test]
    fn only_fresh_views_are_the_published_protocol() {
        let numbers = "4,10,10,0.4,,0.3,0.1,,1,true,0.5,1";
        let row = |kind: &str| -> ProbeRow {
            let (_folder, path) = written(&format!(
                "group,module,task,protocol,head,views,test_views,labels,dims,train_rows,test_rows,accuracy,\
                 accuracy_no_silence,macro_accuracy,majority,l2,iterations,converged,seconds,seed\n\
                 trained,1,{kind},{numbers}\n"
            ));
            read_rows(&path).unwrap().remove(0)
        };
        for (kind, published) in [
            ("speakers,paper,linear,50,10,1", true),
            ("speakers,paper,linear,49,10,1", false),
            ("speakers,paper,linear,,,1", false),
            ("speakers,paper,mlp,50,10,1", false),
            ("speakers,converged,linear,,,1", false),
            ("classes,paper,linear,300,1,1", true),
            ("classes,paper,linear,300,1,0.5", false),
            ("phones,paper,linear,,,1", true),
        ] {
            assert_eq!(row(kind).is_published(), published, "{kind}");
        }
        let mlp = row("speakers,paper,mlp,5,10,1");
        assert_eq!((mlp.head, mlp.views, mlp.test_views), (Head::Mlp, Some(5), Some(10)));
    }

    #[test]
    fn names_come_back() {
        let groups = [
            GroupId::Trained(3),
            GroupId::Random(12),
            GroupId::AllTrained,
            GroupId::AllRandom,
            GroupId::Mfcc,
            GroupId::Pixels,
            GroupId::Snapshot { step: 200, module: 2 },
        ];
        let names = [
            "module_3",
            "random_12",
            "all_modules",
            "all_random",
            "baseline_mfcc",
            "baseline_pixels",
            "snapshot_00000200_module_2",
        ];
        for (group, name) in groups.into_iter().zip(names) {
            assert_eq!((group.to_string().as_str(), name.parse::<GroupId>().unwrap()), (name, group));
        }
        assert!("module_x".parse::<GroupId>().is_err() && "labels".parse::<GroupId>().is_err());
        assert!(Task::ALL.iter().all(|t| t.to_string().parse::<Task>().unwrap() == *t));
        assert!(Protocol::ALL.iter().all(|p| p.to_string().parse::<Protocol>().unwrap() == *p));
        assert!(Head::ALL.iter().all(|h| h.to_string().parse::<Head>().unwrap() == *h));
        let sorted = |names: Vec<&str>| names.is_sorted();
        let (mut tasks, mut protocols) = (Task::ALL, Protocol::ALL);
        tasks.sort_unstable();
        protocols.sort_unstable();
        assert!(sorted(tasks.map(Task::name).to_vec()) && sorted(protocols.map(Protocol::name).to_vec()));
        assert!("two words".parse::<Task>().unwrap_err().to_string().contains("phones, speakers, classes"));
        assert!("speaker".parse::<Task>().is_err(), "the name of labels is not that of a task");
        let digit: Task = "digit".parse().unwrap();
        assert_eq!((digit.name(), digit.label(), Task::of_label("digit")), ("digit", "digit", Some(digit)));
        assert!(Task::ALL.iter().all(|t| Task::of_label(t.label()) == Some(*t) && *t < digit));
    }

    #[test]
    fn reads_losses_that_are_not_numbers() {
        let (_folder, path) = written("step,epoch,module,loss,accuracy,seconds\n0,0,1,NaN,,0.5\n10,0,1,inf,0.1,1\n");
        let rows: Vec<TrainRow> = read_rows(&path).unwrap();
        assert!(rows[0].loss.is_nan() && rows[1].loss.is_infinite() && rows[0].accuracy.is_none());
    }

    #[test]
    fn says_which_line_is_wrong() {
        let (_folder, path) = written("step,epoch,module,loss\n0,0,one,2.0\n");
        let error = read_rows::<TrainRow>(&path).unwrap_err().to_string();
        assert!(error.contains("rows.csv") && error.contains("line: 2"), "{error}");
        assert!(read_rows::<TrainRow>(Path::new("missing.csv")).is_err());
    }
}
