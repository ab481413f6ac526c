//! t-SNE maps of the same labeled items, a panel per module.

use gim_core::{Error, Result};
use ndarray::Array2;

use super::axes::{SHAPES, Sample, Scale, Shape, Sheet, columns};
use super::canvas::Color;
use super::palette::PALETTE;
use super::tsne::{Tsne, tsne};
use super::{Figure, nothing_to_draw};

const FIGURE: &str = "latent space";

/// Input of [`latent_space`].
#[derive(Debug, Clone)]
pub(crate) struct LatentSpace {
    /// Title; should name the corpus or image dataset, and the seed.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The maps: one a module, or one a snapshot of training and module, row by row.
    pub panels: Vec<LatentPanel>,
    /// Panels in a row, when a row is a snapshot of training; `None`: what looks best.
    pub columns: Option<usize>,
    /// Class of every item (n_items): an index into `names`.
    pub class: Vec<usize>,
    /// Names of the classes, e.g. speakers; readers can tell about ten apart.
    pub names: Vec<String>,
    /// What a class is, for the caption: `speakers`.
    pub what: String,
    /// Settings of t-SNE.
    pub tsne: Tsne,
}

/// One map.
#[derive(Debug, Clone)]
pub(crate) struct LatentPanel {
    /// Its title, e.g. `Module 1`.
    pub title: String,
    /// Feature vectors (n_items, D), the same items in every panel.
    pub features: Array2<f32>,
}

/// Draws a t-SNE map of the items for every panel, colored by class.
///
/// # Errors
/// When there are no panels or items, an item's class has no name, panels hold other items than
/// `class`, or t-SNE refuses the features.
pub(crate) fn latent_space(spec: &LatentSpace) -> Result<Figure> {
    let maps = maps(spec)?;
    let small = spec.columns.is_some_and(|c| c > 3);
    let (mut canvas, panels) = sheet(spec, small).lay_out(|i| (range(&maps[i], 0), range(&maps[i], 1)))?;
    let radius = match spec.class.len() {
        _ if small => 2.6,
        301.. => 3.4,
        _ => 4.2,
    };
    for (panel, map) in panels.iter().zip(&maps) {
        for (i, &class) in spec.class.iter().enumerate() {
            let at = panel.at(map[[i, 0]], map[[i, 1]]);
            // A white rim keeps markers apart where they crowd.
            shape(class).draw(&mut canvas, at, radius + 1.0, Color::WHITE, false);
            shape(class).draw(&mut canvas, at, radius, color(class), false);
        }
    }
    let rows = if spec.columns.is_some() { ", a row per snapshot of training" } else { "" };
    let caption = format!(
        "t-SNE of {} items of {} {} in the feature space of each module{rows} (exact, perplexity {:.0}, {} iterations, \
         PCA initialization).",
        spec.class.len(),
        spec.names.len(),
        spec.what,
        spec.tsne.perplexity_for(spec.class.len()),
        spec.tsne.iterations,
    );
    Ok(Figure { canvas, caption })
}

/// The t-SNE map (n_items, 2) of every panel.
fn maps(spec: &LatentSpace) -> Result<Vec<Array2<f64>>> {
    if spec.panels.is_empty() || spec.class.is_empty() {
        return Err(nothing_to_draw(FIGURE, "there are no features", "extract features first"));
    }
    let place = || format!("figure '{FIGURE}'");
    if let Some(class) = spec.class.iter().find(|&&c| c >= spec.names.len()) {
        let what = format!("class {class} of an item has no name among {}", spec.names.len());
        return Err(Error::data(place(), what, "name every class"));
    }
    let mut maps = Vec::with_capacity(spec.panels.len());
    for panel in &spec.panels {
        if panel.features.nrows() != spec.class.len() {
            let what = format!("{} has {} items for {} labels", panel.title, panel.features.nrows(), spec.class.len());
            return Err(Error::data(place(), what, "give features and labels of the same items"));
        }
        maps.push(tsne(panel.features.view(), &spec.tsne)?);
    }
    Ok(maps)
}

fn sheet(spec: &LatentSpace, small: bool) -> Sheet {
    let n = spec.panels.len();
    Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend: spec.names.iter().enumerate().map(|(c, name)| (marker(c), name.clone())).collect(),
        panel_titles: spec.panels.iter().map(|p| p.title.clone()).collect(),
        columns: spec.columns.unwrap_or_else(|| columns(n)),
        panel: match n {
            1 => (620.0, 560.0),
            _ if small => (190.0, 180.0),
            _ => (360.0, 330.0),
        },
        x_title: String::new(),
        y_title: String::new(),
        notes: vec![
            "t-SNE: only neighborhoods have a meaning; axes, distances and sizes of clusters have none.".into(),
        ],
        numbers: false,
    }
}

fn marker(class: usize) -> Sample {
    Sample::Marker(color(class), shape(class))
}

/// Seven colors (yellow, the eighth, is too weak for small marks) and five shapes: 35
/// classes look different.
fn color(class: usize) -> Color {
    PALETTE[class % 7]
}

fn shape(class: usize) -> Shape {
    SHAPES[class % SHAPES.len()]
}

/// The range of one coordinate of a map (n_items, 2), with a margin for the markers.
fn range(map: &Array2<f64>, coordinate: usize) -> Scale {
    let column = map.column(coordinate);
    let low = column.iter().copied().fold(f64::INFINITY, f64::min);
    let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.06 * (high - low).max(1e-9);
    Scale::bare(low - margin, high + margin)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{blobs, check_figure};
    use super::*;

    fn spec(n_modules: usize) -> LatentSpace {
        let (features, class) = blobs(10, 6, 12, 1.0, 5);
        let panels = (1..=n_modules)
            .map(|m| LatentPanel { title: format!("Module {m}"), features: features.mapv(|v| v * m as f32) })
            .collect();
        LatentSpace {
            title: "Latent space — toy".into(),
            subtitle: String::new(),
            panels,
            columns: None,
            class,
            names: (0..10).map(|i| format!("speaker {i}")).collect(),
            what: "speakers".into(),
            tsne: Tsne { iterations: 50, ..Tsne::default() },
        }
    }

    #[test]
    fn draws_a_panel_per_module() {
        let figure = latent_space(&spec(4)).unwrap();
        check_figure(&figure, &["Module 1", "Module 4", "speaker 0", "speaker 9"]);
        let rows = latent_space(&LatentSpace { columns: Some(4), ..spec(8) }).unwrap();
        check_figure(&rows, &["Module 1", "Module 8"]);
        assert!(
            figure.caption.contains("60 items of 10 speakers") && figure.caption.contains("perplexity 20"),
            "{}",
            figure.caption
        );
    }

    #[test]
    fn refuses_inconsistent_input() {
        assert!(latent_space(&LatentSpace { panels: vec![], ..spec(1) }).is_err());
        let error = latent_space(&LatentSpace { class: vec![0; 7], ..spec(1) }).unwrap_err().to_string();
        assert!(error.contains("60 items for 7 labels"), "{error}");
        assert!(latent_space(&LatentSpace { names: vec![], ..spec(1) }).is_err());
    }
}
