//! The figures of a report, one file each: functions from rows of result files to a [`Figure`].
//!
//! | figure | function |
//! |---|---|
//! | training loss, a panel per module | [`loss_by_module()`] |
//! | accuracy by module against baselines | [`accuracy_by_module()`] |
//! | error by module, log axis, methods overlaid | [`error_by_module()`] |
//! | t-SNE of labelled items, a panel per module | [`latent_space()`] |
//! | the stack with its gradient blocks | [`architecture()`] |
//! | image patches that excite neurons most, a row per module | [`patches()`] |
//! | nearest neighbours of images, a row per module | [`neighbours()`] |
//! | which classes a probe takes for which | [`confusion()`] |
//! | linear CKA between modules and methods | [`similarity()`] |
//! | times beside the arithmetic limit | [`speed()`] |
//! | memory by method and schedule | [`memory()`] |
//!
//! The same input gives the same bytes. Nothing is read but what is passed in; the font is part of the program.

mod accuracy_by_module;
mod architecture;
mod axes;
mod bars;
mod canvas;
mod confusion;
mod error_by_module;
mod heat_map;
mod latent_space;
mod loss_by_module;
mod memory;
mod neighbours;
mod patches;
mod similarity;
mod speed;
#[cfg(test)]
mod testing;
mod tsne;

use std::path::{Path, PathBuf};

use gim_core::{Error, Result};
use gim_eval::{Group, Interval, ProbeRow, Protocol, Task};

use gim_core::files::{create_folder, write_atomic};

use axes::{MUTED, TEXT};
use canvas::{Align, Type, wrap};

pub use accuracy_by_module::{AccuracyByModule, accuracy_by_module};
pub use architecture::{Architecture, ModuleBox, architecture};
pub use canvas::{Picture, Tile, caption_of};
pub use confusion::{ConfusionMap, confusion};
pub use error_by_module::{ErrorByModule, ErrorCurve, PaperCurve, error_by_module};

pub use latent_space::{LatentPanel, LatentSpace, latent_space};
pub use loss_by_module::{LossByModule, LossRun, loss_by_module};
pub use memory::{MemoryBar, MemoryBars, memory};
pub use neighbours::{Neighbour, NeighbourRow, Neighbours, QueryBlock, neighbours};
pub use patches::{Neuron, PatchFigure, PatchRow, patches};
pub use similarity::{SimilarityMap, similarity};
pub use speed::{SpeedBars, WorkBars, speed};
pub use tsne::{Tsne, tsne};

/// What bars in figures are, as in tables.
const BARS: &str = "bars: 95 % interval over seeds";

/// A picture and what to write below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What is drawn.
    pub picture: Picture,
    /// Caption for a report: what is shown, over what, how errors and smoothing are meant.
    pub caption: String,
}

impl Figure {
    /// Writes `<folder>/<name>.png`, with the caption in it, and `<folder>/<name>.svg` and returns their paths; makes the folder
    /// if need be.
    pub fn save(&self, folder: &Path, name: &str) -> Result<[PathBuf; 2]> {
        create_folder(folder)?;
        let paths = ["png", "svg"].map(|extension| folder.join(format!("{name}.{extension}")));
        write_atomic(&paths[0], &self.picture.png(&self.caption)?)?;
        write_atomic(&paths[1], self.picture.svg()?.as_bytes())?;
        Ok(paths)
    }
}

/// Title and subtitle of a figure, broken into lines: measured first, for the picture's height depends on them.
struct Heading {
    title: Vec<String>,
    subtitle: Vec<String>,
}

impl Heading {
    const TITLE: Type = Type::bold(19.0, TEXT);
    const SUBTITLE: Type = Type::new(15.0, MUTED);
    /// Free space at the end of its height.
    const BELOW: f64 = 10.0;

    fn new(title: &str, subtitle: &str, width: f64) -> Result<Self> {
        Ok(Self { title: wrap(title, Self::TITLE, width)?, subtitle: wrap(subtitle, Self::SUBTITLE, width)? })
    }

    /// From the picture's top to where the figure begins.
    fn height(&self) -> f64 {
        16.0 + 25.0 * self.title.len() as f64 + 21.0 * self.subtitle.len() as f64 + Self::BELOW
    }

    fn draw(&self, picture: &mut Picture, left: f64) {
        let mut y = 16.0;
        for line in &self.title {
            picture.text((left, y + 18.0), Align::Start, line.as_str(), Self::TITLE);
            y += 25.0;
        }
        for line in &self.subtitle {
            picture.text((left, y + 14.0), Align::Start, line.as_str(), Self::SUBTITLE);
            y += 21.0;
        }
    }
}

/// There is nothing to draw.
fn nothing_to_draw(figure: &str, what: &str, remedy: &str) -> Error {
    Error::config(format_args!("figure '{figure}'"), what, remedy)
}

/// Mean and half-width of its 95 % interval (0 for a single value).
fn mean_and_half_width(values: &[f64]) -> (f64, f64) {
    Interval::of(values).map_or((f64::NAN, 0.0), |i| (i.mean, if i.n > 1 { i.half_width } else { 0.0 }))
}

/// `1 seed` or `3 seeds`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// Three digits that count, or all before the point.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let digits = (2.0 - value.abs().max(1e-6).log10().floor()).max(0.0) as usize;
    format!("{value:.digits$}")
}

/// Rows of one task and protocol. Mixed protocols would average numbers that cannot be compared: that is an error.
fn select<'a>(figure: &str, rows: &'a [ProbeRow], task: Task, protocol: Option<Protocol>) -> Result<Vec<&'a ProbeRow>> {
    let wanted = |r: &&ProbeRow| r.task == task && protocol.is_none_or(|p| r.protocol == p) && r.group != Group::Other;
    let chosen: Vec<&ProbeRow> = rows.iter().filter(wanted).collect();
    if let Some(other) = chosen.iter().find(|r| r.protocol != chosen[0].protocol) {
        let what = format!("the rows of '{task}' mix the protocols '{}' and '{}'", chosen[0].protocol, other.protocol);
        return Err(nothing_to_draw(figure, &what, "choose one protocol"));
    }
    if !chosen.iter().any(|r| r.module > 0 && r.accuracy.is_finite()) {
        let what = format!("no module has an accuracy for '{task}'");
        return Err(nothing_to_draw(figure, &what, "run the probe for this task first"));
    }
    Ok(chosen)
}

/// The task's name at the start of a label.
fn task_word(task: Task) -> &'static str {
    match task {
        Task::Phones => "Phone",
        Task::Speakers => "Speaker",
        Task::Classes => "Class",
    }
}
