//! Heat map of the similarity (linear CKA) of features: of modules, inputs, or methods.

use gim_core::{Error, Result};
use ndarray::Array2;

use super::heat_map::{HeatMap, Measure, heat_map};
use super::{Figure, nothing_to_draw};

const FIGURE: &str = "similarity";

/// Input of [`similarity`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SimilarityMap {
    /// Title; should name the dataset.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// Names of the n groups of features.
    pub names: Vec<String>,
    /// Linear CKA (n, n), 0 to 1.
    pub cka: Array2<f64>,
    /// Number of test rows it was computed on.
    pub rows: usize,
}

/// Draws linear CKA from 0 to 1: 1 for features that are the same up to rotation and scale.
///
/// # Errors
/// When there are no features, or `cka` is not (n, n) for n names.
pub(crate) fn similarity(spec: &SimilarityMap) -> Result<Figure> {
    let n = spec.names.len();
    if n == 0 {
        return Err(nothing_to_draw(FIGURE, "there are no features", "extract some first"));
    }
    if spec.cka.dim() != (n, n) {
        let what = format_args!("{n} names for {:?} similarities", spec.cka.dim());
        return Err(Error::data(format_args!("figure '{FIGURE}'"), what, "give one name per group of features"));
    }
    let shares = spec.cka.outer_iter().map(|row| Some(row.to_vec())).collect();
    let (canvas, _) = heat_map(&HeatMap {
        title: &spec.title,
        subtitle: &spec.subtitle,
        names: &spec.names,
        shares,
        axes: ["Features", "Features"],
        measure: Measure::Cka,
        note: "",
    })?;
    let caption = format!(
        "Linear CKA (Kornblith et al. 2019), from 0 to 1, between {n} groups of features of the same {} test rows. \
         1: the same up to rotation and scale.",
        spec.rows
    );
    Ok(Figure { canvas, caption })
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    #[test]
    fn draws_a_named_square() {
        let names: Vec<String> = (1..=4).map(|i| format!("module {i}")).collect();
        let cka = Array2::from_shape_fn((4, 4), |(i, j)| if i == j { 1.0 } else { 0.37 });
        let spec = SimilarityMap { title: "Similarity".into(), subtitle: String::new(), names, cka, rows: 50 };
        let figure = similarity(&spec).unwrap();
        check_figure(&figure, &["module 1", "1.00", "0.37", "Features", "linear CKA"]);
        assert!(figure.caption.contains("50 test rows"));
        assert!(similarity(&SimilarityMap { names: vec!["a".into()], ..spec.clone() }).is_err());
        assert!(similarity(&SimilarityMap { names: Vec::new(), ..spec }).is_err());
    }
}
