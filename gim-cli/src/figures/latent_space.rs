//! t-SNE maps of the same labeled items, a panel per module.

use gim_core::{Error, Result};
use ndarray::Array2;

use super::axes::{SHAPES, Sample, Scale, Shape, Sheet, columns};
use super::canvas::Color;
use super::palette::TEN;
use super::tsne::{Tsne, tsne};
use super::{Figure, nothing_to_draw};

const FIGURE: &str = "latent space";

/// Input of [`latent_space`].
#[derive(Debug, Clone)]
pub(crate) struct LatentSpace {
    /// Title; should name the dataset, and the seed.
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
    let sheet = sheet(spec, small);
    let (mut canvas, panels) = sheet.lay_out(|i| ranges(&maps[i], sheet.panel.0 / sheet.panel.1))?;
    let radius = match spec.class.len() {
        _ if small => 2.6,
        301.. => 3.4,
        _ => 4.2,
    };
    for (panel, map) in panels.iter().zip(&maps) {
        // Class by class: in an SVG, marks of one color that follow each other share a path.
        for class in 0..spec.names.len() {
            let own = || spec.class.iter().zip(map.outer_iter()).filter(move |(c, _)| **c == class);
            // A white rim keeps classes apart where they crowd.
            for (radius, color) in [(radius + 1.0, Color::WHITE), (radius, color(class))] {
                own().for_each(|(_, xy)| shape(class).draw(&mut canvas, panel.at(xy[0], xy[1]), radius, color, false));
            }
        }
    }
    let rows = if spec.columns.is_some() { ", a row per snapshot of training" } else { "" };
    let caption = format!(
        "t-SNE of {} items of {} {} in the feature space of each module{rows} (features standardized; exact, \
         perplexity {:.0}, {} iterations, PCA initialization; both axes of a map have one scale).",
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
        maps.push(tsne(standardized(&panel.features).view(), &spec.tsne)?);
    }
    Ok(maps)
}

fn sheet(spec: &LatentSpace, small: bool) -> Sheet {
    let n = spec.panels.len();
    Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend: spec.names.iter().enumerate().map(|(c, name)| (marker(c), name.clone())).collect(),
        named_ends: false,
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

/// Features (n_items, D) with mean 0 and variance 1 in each dimension, so that none outweighs the
/// others by its scale; a constant one is 0.
fn standardized(features: &Array2<f32>) -> Array2<f32> {
    let mut out = features.clone();
    for mut column in out.columns_mut() {
        let n = column.len() as f64;
        let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = column.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
        column.mapv_inplace(|v| ((f64::from(v) - mean) * scale) as f32);
    }
    out
}

/// Ten colors; those after them repeat with another shape.
fn color(class: usize) -> Color {
    TEN[class % TEN.len()]
}

/// Neighbors in the list have different shapes, and so have classes of one color.
fn shape(class: usize) -> Shape {
    SHAPES[(class + class / TEN.len()) % SHAPES.len()]
}

/// Axes of a map (n_items, 2) in a panel of this ratio of width to height, with a margin for the
/// markers: a unit is as long along one as along the other.
fn ranges(map: &Array2<f64>, ratio: f64) -> (Scale, Scale) {
    let ends = |coordinate: usize| {
        let column = map.column(coordinate);
        let low = column.iter().copied().fold(f64::INFINITY, f64::min);
        let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        ((low + high) / 2.0, (high - low).max(1e-9) / 2.0)
    };
    let ((x, half_x), (y, half_y)) = (ends(0), ends(1));
    let half = 1.12 * half_y.max(half_x / ratio);
    (Scale::bare(x - ratio * half, x + ratio * half), Scale::bare(y - half, y + half))
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
    fn dimensions_weigh_the_same_and_axes_have_one_scale() {
        let features = ndarray::arr2(&[[0.0, 5.0, 100.0], [2.0, 5.0, 300.0], [4.0, 5.0, 500.0]]);
        let out = standardized(&features);
        assert!(out.column(0).iter().zip(out.column(2)).all(|(a, b)| (a - b).abs() < 1e-6), "{out}");
        assert_eq!(out.column(1).to_vec(), [0.0; 3]);
        let (x, y) = ranges(&ndarray::arr2(&[[0.0, 0.0], [30.0, 2.0]]), 1.5);
        let (width, height) = (x.high() - x.low(), y.high() - y.low());
        assert!((width / height - 1.5).abs() < 1e-9 && width > 30.0 && (x.low() + x.high() - 30.0).abs() < 1e-9);
    }

    #[test]
    fn ten_classes_have_ten_colors() {
        let colors: std::collections::BTreeSet<_> = (0..10).map(|c| (color(c).0, color(c).1, color(c).2)).collect();
        assert_eq!(colors.len(), 10);
        assert!((0..40).all(|c| (0..c).all(|d| (color(c), shape(c)) != (color(d), shape(d)))));
    }

    #[test]
    fn refuses_inconsistent_input() {
        assert!(latent_space(&LatentSpace { panels: vec![], ..spec(1) }).is_err());
        let error = latent_space(&LatentSpace { class: vec![0; 7], ..spec(1) }).unwrap_err().to_string();
        assert!(error.contains("60 items for 7 labels"), "{error}");
        assert!(latent_space(&LatentSpace { names: vec![], ..spec(1) }).is_err());
    }
}
