//! The figures of a report: functions from rows of result files to a [`Figure`], one file each.
//!
//! | figure | function |
//! |---|---|
//! | training loss, a panel per module | [`loss_by_module()`] |
//! | accuracy by module, beside baselines | [`accuracy_by_module()`] |
//! | error by module, methods overlaid | [`error_by_module()`] |
//! | t-SNE of labeled items, a panel per module | [`latent_space()`] |
//! | the modules and the gradient blocks between them | [`architecture()`] |
//! | top-activating image patches, a row per module | [`patches()`] |
//! | nearest neighbors of images, a row per module | [`neighbors()`] |
//! | confusion matrix of a probe | [`confusion()`] |
//! | linear CKA between modules and methods | [`similarity()`] |
//! | times, in multiples of the arithmetic limit | [`speed()`] |
//! | peak memory by method and schedule | [`memory()`] |
//! | staleness of each module's input | [`staleness()`] |
//! | what each module does over a few steps | [`timeline()`] |
//!
//! The same input gives the same bytes. A chart reads nothing but its argument; the font is part of
//! the program. Lengths are in pixels.
//!
//! | shared part | module |
//! |---|---|
//! | drawing surface, PNG, SVG and PDF files, captions in PNG files | `canvas` |
//! | axes, markers, panels, sheets of panels | `axes` |
//! | title and subtitle | `heading` |
//! | colors and text styles | `palette` |
//! | charts of horizontal bars | `bars` |
//! | square maps of shares | `heat_map` |

mod accuracy_by_module;
mod architecture;
mod axes;
mod bars;
mod canvas;
mod confusion;
mod error_by_module;
#[cfg(test)]
mod gallery;
mod heading;
mod heat_map;
mod latent_space;
mod loss_by_module;
mod memory;
mod neighbors;
mod online;
mod palette;
mod patches;
mod scaling;
mod similarity;
mod speed;
mod staleness;
#[cfg(test)]
mod testing;
mod timeline;
mod tsne;

use std::path::{Path, PathBuf};

use gim_core::files::{create_folder, write_atomic};
use gim_core::{Error, Result};
use gim_eval::{Group, Interval, ProbeRow, Protocol, Task};

pub(crate) use accuracy_by_module::{AccuracyByModule, accuracy_by_module};
pub(crate) use architecture::{Architecture, Contrast, ModuleBox, architecture};
pub(crate) use canvas::{Canvas, Tile, caption_of};
pub(crate) use confusion::{ConfusionMap, confusion};
pub(crate) use error_by_module::{ErrorByModule, ErrorCurve, PaperCurve, error_by_module};
pub(crate) use latent_space::{LatentPanel, LatentSpace, latent_space};
pub(crate) use loss_by_module::{LossByModule, LossRun, loss_by_module};
pub(crate) use memory::{MemoryBar, MemoryBars, memory};
pub(crate) use neighbors::{Neighbor, NeighborRow, Neighbors, QueryBlock, neighbors};
pub(crate) use online::{OnlineCurves, online};
pub(crate) use palette::Role;
pub(crate) use patches::{Neuron, PatchFigure, PatchRow, patches};
pub(crate) use scaling::{ScalingCurves, ScalingPoint, scaling};
pub(crate) use similarity::{SimilarityMap, similarity};
pub(crate) use speed::{SpeedBars, WorkBars, speed};
pub(crate) use staleness::{StalenessBars, staleness};
pub(crate) use timeline::{Timeline, timeline};
pub(crate) use tsne::Tsne;

/// What error bars are, as in tables.
const BARS: &str = "bars: 95 % CI over seeds";

/// A drawing and its caption.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// What is drawn.
    pub canvas: Canvas,
    /// Caption for a report: what is shown, over which data, what error bars and smoothing are.
    pub caption: String,
}

impl Figure {
    /// Writes `<name>.png`, which holds the caption, `<name>.svg` and `<name>.pdf` in `folder`, and makes
    /// the folder if it does not exist. Returns the three paths.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub(crate) fn save(&self, folder: &Path, name: &str) -> Result<[PathBuf; 3]> {
        create_folder(folder)?;
        let paths = ["png", "svg", "pdf"].map(|extension| folder.join(format!("{name}.{extension}")));
        write_atomic(&paths[0], &self.canvas.png(&self.caption)?)?;
        write_atomic(&paths[1], self.canvas.svg()?.as_bytes())?;
        write_atomic(&paths[2], &self.canvas.pdf()?)?;
        Ok(paths)
    }
}

/// The error of a figure that has nothing to draw.
fn nothing_to_draw(figure: &str, what: &str, remedy: &str) -> Error {
    Error::data(format_args!("figure '{figure}'"), what, remedy)
}

/// Mean and half-width of its 95 % CI (0 for a single value).
fn mean_and_half_width(values: &[f64]) -> (f64, f64) {
    Interval::of(values).map_or((f64::NAN, 0.0), |i| (i.mean, if i.n > 1 { i.half_width } else { 0.0 }))
}

/// A mean and the half-width of its interval, in percent; the interval is left out where it is 0.
fn percent(mean: f64, half: f64) -> String {
    if half > 0.0 { format!("{mean:.1} ± {half:.1} %") } else { format!("{mean:.1} %") }
}

/// A number with three significant digits, or all digits before the point.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let digits = (2.0 - value.abs().max(1e-6).log10().floor()).max(0.0) as usize;
    format!("{value:.digits$}")
}

/// Rows of one task and protocol.
///
/// # Errors
/// When protocols are mixed, because their mean means nothing, or no module has an accuracy.
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
        Task::Column(name) => name.as_str(),
    }
}
