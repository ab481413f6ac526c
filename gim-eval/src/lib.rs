//! Evaluation of features: feature files, linear probes, metrics, and the regression check.
//!
//! Data flows one way: frozen features → [`features`] file → [`examples`] → [`probe`] → [`metrics`]
//! → [`table`] → [`regression`].
//!
//! An *item* is an utterance or an image. A *row* is one of its frames, or its only row. A *label* is
//! a class index. Nothing here depends on audio or images.
//!
//! ```no_run
//! use gim_eval::{ConvergedProbe, FeatureFile, Key, Probe, Purpose, Split};
//! # fn main() -> gim_eval::Result<()> {
//! let file = FeatureFile::open("features.h5")?;
//! let examples = file.examples("module_1", "phone")?; // rows are frames, since phones are labeled by frame
//! let probe = Probe::Converged(ConvergedProbe::default());
//! let fitted = probe.fit(&examples.part(Split::Train), Key::new(1, Purpose::Probe))?;
//! let score = fitted.evaluate(&examples.part(Split::Test), None)?;
//! println!("{:.1} %", 100.0 * score.accuracy);
//! # Ok(())
//! # }
//! ```

pub mod examples;
pub mod features;
pub mod items;
pub mod knn;
pub mod metrics;
pub mod probe;
pub mod records;
pub mod regression;
pub mod similarity;
pub mod synthetic;
pub mod table;

pub use examples::{Examples, Part};
pub use features::{FeatureFile, FeatureWriter, GroupSpec, Item, LabelSpec, Labels, Layout, Per, Provenance};
pub use gim_core::{Error, Key, Purpose, Result};
pub use items::{ItemIndex, Split, mean_over_time};
pub use knn::{Knn, nearest};
pub use metrics::{Confusion, Interval, Score};
pub use probe::{Batch, ConvergedProbe, FittedProbe, PaperProbe, Probe};
pub use records::{Group, GroupId, ProbeRow, Protocol, Task, TrainRow};
pub use regression::{Baseline, Deviation, Measured, compare};
pub use similarity::{cka_matrix, linear_cka};
