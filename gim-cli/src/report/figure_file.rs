//! Figure files of a comparison, and how the page shows them.

use std::path::{Path, PathBuf};

use gim_core::{Error, Result};

use super::compact::compact;
use super::links::url_of;
use super::preview::{Preview, preview};
use crate::figures::caption_of;

/// Size in bytes up to which an SVG stands in the page; above, a bitmap is smaller.
const LARGE_VECTOR: usize = 96 << 10;

/// A figure's PNG file.
#[derive(Debug, Clone)]
pub(crate) struct FigureFile {
    /// Path of the file.
    pub(crate) path: PathBuf,
    /// Whether it was drawn by an earlier command, from features that no longer exist.
    pub(crate) earlier: bool,
}

/// A figure on the page.
#[derive(Debug)]
pub(super) struct ShownFigure {
    /// Names of run and figure.
    pub(crate) name: String,
    /// Caption stored in the file.
    pub(crate) caption: String,
    /// The file, relative to the comparison's folder.
    pub(crate) path: String,
    /// The same as a URL.
    pub(crate) url: String,
    /// How the page shows it.
    pub(crate) drawing: Drawing,
}

/// A figure inside the page.
#[derive(Debug)]
pub(super) enum Drawing {
    /// An SVG element.
    Vector(String),
    /// A bitmap, linked to the file.
    Bitmap(Preview),
}

impl FigureFile {
    /// Reads the file of a figure of the comparison in `folder`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(&self, folder: &Path) -> Result<ShownFigure> {
        let bytes = std::fs::read(&self.path).map_err(|e| Error::io(&self.path, "read", e))?;
        let mut caption = caption_of(&bytes).unwrap_or_default();
        if self.earlier {
            caption += " Drawn earlier: the features it shows were not kept.";
        }
        // The SVG is written after the PNG: an older one is of another state of the runs.
        let vector = self.path.with_extension("svg");
        let written = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        let vector = (written(&vector) >= written(&self.path)).then(|| std::fs::read_to_string(&vector).ok()).flatten();
        let drawing = match vector.map(|svg| compact(&svg)).filter(|svg| svg.len() <= LARGE_VECTOR) {
            Some(svg) => Drawing::Vector(svg),
            None => Drawing::Bitmap(preview(&bytes)),
        };
        let file = match drawing {
            Drawing::Vector(_) => self.path.with_extension("svg"),
            Drawing::Bitmap(_) => self.path.clone(),
        };
        let file = file.strip_prefix(folder).unwrap_or(&file);
        Ok(ShownFigure {
            name: figure_name(&self.path, folder),
            caption: caption.trim().to_owned(),
            url: url_of(file),
            path: file.to_string_lossy().into_owned(),
            drawing,
        })
    }
}

/// `audio/gim/figures/loss.png` in the comparison's folder → `audio/gim: loss`. Figures of all runs
/// have no prefix.
fn figure_name(path: &Path, folder: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let run = path.parent().and_then(|figures| figures.strip_prefix(folder).ok()?.parent());
    match run.map(|r| r.to_string_lossy()) {
        Some(run) if !run.is_empty() => format!("{run}: {stem}"),
        _ => stem.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_named_by_run() {
        let name = |file: &str| figure_name(&Path::new("runs/figures").join(file), Path::new("runs/figures"));
        assert_eq!(name("audio/gim/figures/loss.png"), "audio/gim: loss");
        assert_eq!(name("figures/error-speakers.png"), "error-speakers");
    }
}
