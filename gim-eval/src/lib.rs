//! How good are the features? Feature files, linear probes, metrics, and the regression check.
//!
//! Data flow one way: frozen features → [`features`] file → [`examples`] → [`probe`] → [`metrics`] →
//! [`table`] → [`regression`].
//!
//! - An *item* is an utterance or an image. A *view* is a random part of one ([`views`]).
//! - A *row* is one frame of an item, or its only one.
//! - A *label* is a class number.
//!
//! Nothing here knows audio or images.
//!
//! # Example
//!
//! Fits a linear probe on features in memory: 20 items of 2 dimensions and 2 classes, half of them to
//! test.
//!
//! ```
//! use gim_eval::{ConvergedProbe, Examples, Key, Probe, Purpose, Split};
//! use ndarray::Array2;
//!
//! # fn main() -> gim_eval::Result<()> {
//! // Class 0 lies around (−1, 0), class 1 around (1, 0).
//! let label = |i: usize| (i / 2 % 2) as i32;
//! let features = Array2::from_shape_fn((20, 2), |(i, d)| match d {
//!     0 => (2 * label(i) - 1) as f32 + 0.3 * (i as f32).sin(),
//!     _ => (i as f32).cos(),
//! });
//! let labels = (0..20).map(label).collect();
//! let split = (0..20).map(|i| if i % 2 == 0 { Split::Train } else { Split::Test }).collect();
//! let examples = Examples::per_item(features, labels, 2, split)?;
//!
//! let probe = Probe::Converged(ConvergedProbe::default());
//! let fitted = probe.fit(&examples.part(Split::Train), Key::new(1, Purpose::Probe))?;
//! let score = fitted.evaluate(&examples.part(Split::Test), None)?;
//! println!("{:.1} %", 100.0 * score.accuracy);
//! assert_eq!(score.accuracy, 1.0);
//! # Ok(())
//! # }
//! ```
//!
//! The features of a run are in a file:
//!
//! ```no_run
//! # fn main() -> gim_eval::Result<()> {
//! let file = gim_eval::FeatureFile::open("features.h5")?;
//! let examples = file.examples("module_1", "phone")?; // rows are frames: phones are labeled by frame
//! # Ok(())
//! # }
//! ```

pub mod abx;
pub mod examples;
pub mod features;
pub mod items;
pub mod knn;
pub mod metrics;
pub mod numbers;
pub mod probe;
pub mod records;
pub mod regression;
mod scratch;
pub mod similarity;
mod source;
pub mod synthetic;
pub mod table;
pub mod views;

pub use examples::{Examples, Part};
pub use features::{
    FeatureFile, FeatureWriter, FrameTimes, GroupSpec, Item, LabelSpec, Labels, Layout, Per, Provenance, Seal, seal_of,
};
pub use gim_core::{Error, Key, Purpose, Result};
pub use items::{ItemIndex, Means, Split, mean_over_time};
pub use knn::{Knn, nearest};
pub use metrics::{Confusion, Interval, Score};
pub use probe::{Batch, ConvergedProbe, FittedProbe, HIDDEN, HeadInit, ItemOrder, PaperProbe, Probe};
pub use records::{
    AlignmentRow, Group, GroupId, Head, MeasureRow, OnlineRow, OrderRow, ProbeRow, Protocol, RecordRow, ScheduleRow,
    Task, TimelineRow, TrainRow,
};
pub use regression::{Baseline, Deviation, Measured, compare};
pub use similarity::{cka_matrix, linear_cka, participation_ratio};
pub use source::Budget;
pub use views::{ViewFile, ViewWriter};
